"""The stand-in's window and its pictures: a panel beside the views, at several widths and scales."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import computer
import demo
import numpy as np
import pytest
import qt
import slicer
from computer import SetUpError
from host import window
from host.guiapplication import GuiApplication, Panel


def test_standInWindowAsAPicture(application: GuiApplication, openPanel: Callable[..., Panel], tmp_path: Path) -> None:
    panel = openPanel()
    array = np.zeros((4, 16, 16), np.int16)
    array[:, 4:12, 4:12] = 1000
    node = slicer.util.addVolumeFromArray(array, name="volume")
    node.CreateDefaultDisplayNodes()
    shown = window.arrange(application, panel, 900, 600)
    slicer.util.setSliceViewerLayers(background=node, fit=True)
    window.renderViews(application)
    picture = qt.QImage(str(window.grab(shown, tmp_path / "window.png", 900, 600)))
    assert (picture.width(), picture.height()) == (900, 600)
    view = slicer.app.layoutManager().sliceWidget("Red")
    middle = view.mapTo(shown, view.rect.center())
    assert picture.pixelColor(middle).lightness() > 20  # the volume in the axial view
    assert slicer.util.mainWindow() is shown
    assert panel.container.isVisible()


@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_standInPanelAsAPicture(
    application: GuiApplication, openPanel: Callable[..., Panel], tmp_path: Path, scale: float
) -> None:
    panel = openPanel()
    picture = qt.QImage(str(window.grab(panel.container, tmp_path / "Größe.png", 320, scale=scale)))
    assert picture.width() == 320 * scale
    assert picture.height() >= scale * panel.widget.ui.applyButton.geometry.bottom()


def test_standInTextGrows(application: GuiApplication, openPanel: Callable[..., Panel]) -> None:
    button = openPanel().widget.ui.applyButton
    before = button.sizeHint.height()
    with window.textScale(2.0):
        assert button.sizeHint.height() > 1.5 * before
    assert button.sizeHint.height() == before


def test_standInPictureThatCannotBeWritten(application: GuiApplication, tmp_path: Path) -> None:
    label = qt.QLabel("x")
    with pytest.raises(RuntimeError, match="could not be written"):
        window.grab(label, tmp_path / "none" / "x.png")


def test_guiOfTheDemoOnTheStandIn() -> None:
    """What `demo.py --gui` opens: the window with the volume in its views."""
    volume, _labels = demo.load(demo.parse(["--gui", "--slices", "2"]))
    application = window.openWindow(demo.ROOT / "DiffusionRecon" / "DiffusionRecon.py", volume)
    node = slicer.mrmlScene.GetFirstNodeByName("Input")
    shown = application.mainWindow
    assert shown.windowTitle == "Diffusion Reconstruction: stand-in for 3D Slicer"
    axial = slicer.app.layoutManager().sliceWidget("Red")
    assert axial.mrmlSliceCompositeNode().GetBackgroundVolumeID() == node.GetID()
    assert axial.sliceView().image().max() > 200
    application.close()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux may have no display")
def test_guiWithoutADisplayIsOneSentence(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SetUpError, match="Expected a display") as caught:
        computer.check_display({})
    assert "\n" not in str(caught.value)
    computer.check_display({"QT_QPA_PLATFORM": "offscreen"})
    monkeypatch.setattr(computer, "missing_libraries", lambda names: list(names))
    with pytest.raises(SetUpError, match="apt install libxcb-cursor0"):
        computer.check_display({"DISPLAY": ":0"})
    computer.check_display({"WAYLAND_DISPLAY": "wayland-0"})
    with pytest.raises(SetUpError, match="found no libGL"):
        computer.check_qt()
