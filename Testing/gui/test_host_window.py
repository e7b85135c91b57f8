"""The stand-in's window and its pictures: a panel beside the views, at several widths and scales."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import demo
import environment
import numpy as np
import pytest
import qt
import slicer
from environment import SetUpError
from host import window
from host.eventloop import turn
from host.guiapplication import GuiApplication, Panel


def test_standInWindowAsAPicture(application: GuiApplication, openPanel: Callable[..., Panel], tmp_path: Path) -> None:
    panel = openPanel()
    node = slicer.util.addVolumeFromArray(np.full((4, 16, 16), 500, np.int16), name="volume")
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


def test_guiOfTheDemoOnTheStandIn(monkeypatch: pytest.MonkeyPatch) -> None:
    """`demo.py --gui` opens the window with the volume in its views, and ends with it."""
    seen = []

    def look() -> None:
        shown = slicer.util.mainWindow()
        seen.append(slicer.mrmlScene.GetFirstNodeByName("Input").GetClassName())
        seen.append(shown.windowTitle)
        shown.close()
        qt.QApplication.exit(0)

    qt.QTimer.singleShot(0, look)
    assert demo.show(demo.parse(["--gui", "--slices", "2"])) == 0
    assert seen == ["vtkMRMLScalarVolumeNode", "Diffusion Reconstruction: stand-in for 3D Slicer"]
    turn()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux may have no display")
def test_guiWithoutADisplayIsOneSentence(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SetUpError, match="Expected a display") as caught:
        environment.check_display({})
    assert "\n" not in str(caught.value)
    environment.check_display({"QT_QPA_PLATFORM": "offscreen"})
    monkeypatch.setattr(environment, "missing_libraries", lambda names: list(names))
    with pytest.raises(SetUpError, match="apt install libxcb-cursor0"):
        environment.check_display({"DISPLAY": ":0"})
    environment.check_display({"WAYLAND_DISPLAY": "wayland-0"})
    with pytest.raises(SetUpError, match="found no libGL"):
        environment.check_qt()
