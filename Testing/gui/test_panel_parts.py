"""What the sections of the panel share, on the stand-in: paths that are cleared, tooltips, colours on both styles."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ctk
import pytest
import qt
from DiffusionReconLib.panel import curves, part, tones
from host.pythonqt import plainToolTip
from prepared import OpenPanel

DARK, LIGHT = "#353535", "#efefef"


@pytest.mark.parametrize("history", [True, False])
def test_standInAPathThatIsClearedIsNoticed(history: bool) -> None:
    edit, got = ctk.ctkPathLineEdit(), []
    edit.nameFilters = ["Geometries (*.json)"]
    edit.showHistoryButton = history
    part.onPathEdited(edit, got.append)
    for text in ("a.json", "a.txt", ""):
        edit.currentPath = text
    assert got == ["a.json", "a.txt", ""]


def test_standInMeasuredPathsAreCleared(openPanel: OpenPanel, tmp_path: Path) -> None:
    panel = openPanel()
    ui, parameters = panel.widget.ui, panel.widget.logic.getParameterNode()
    ui.sourceComboBox.currentIndex = 1
    for edit, field, ending in ((ui.sinogramPathEdit, "sinogramPath", "nrrd"),
                                (ui.geometryPathEdit, "geometryPath", "json")):
        edit.currentPath = str(tmp_path / f"none.{ending}")
        assert getattr(parameters.ct, field) == str(tmp_path / f"none.{ending}")
        edit.currentPath = ""
        assert getattr(parameters.ct, field) == ""
    assert plainToolTip(ui.applyButton) == "Choose a file of measured data first"


def test_standInTooltipsDoNotGrow(openPanel: OpenPanel) -> None:
    """Slicer rewrites what a tooltip was set to: it is never read back and put into the next one."""
    ui = openPanel().widget.ui
    first = plainToolTip(ui.presetComboBox)
    title, _line, tip = first.partition("\n")
    assert title == ui.presetComboBox.currentText
    assert tip == part.tipOf(ui.presetComboBox) != ""
    for index in (1, 0, 1, 0):
        ui.presetComboBox.currentIndex = index
    ui.presetComboBox.currentIndex = ui.presetComboBox.findText(title)
    assert plainToolTip(ui.presetComboBox) == first
    assert "<" not in first


@pytest.mark.parametrize("background", [DARK, LIGHT, "#ffffff", "#000000", "#3c3f41", "#808080"])
@pytest.mark.parametrize("state", list(tones.TONES))
def test_tonesCanBeRead(background: str, state: str) -> None:
    assert tones.contrast(tones.toneOn(background, state), background) >= 4.5


@pytest.mark.parametrize("background", [DARK, LIGHT])
@pytest.mark.parametrize("ink", curves.INK)
def test_curvesCanBeRead(background: str, ink: str) -> None:
    assert tones.contrast(tones.readable(ink, background), background) >= 4.5
    assert tones.readable("#000000", "#ffffff") == "#000000"  # what can be read stays as it is


def test_standInCurvesAreDrawnInColoursThatCanBeRead() -> None:
    label = qt.QLabel()
    made = palette(DARK, "#ffffff")
    made.setColor(qt.QPalette.Base, qt.QColor(DARK))
    label.setPalette(made)
    entries = [{"step": step, "loss": 1.0, "psnr_db": {"0.05": 30.0}} for step in (1, 100)]
    image = curves.curvesPixmap(entries, "HU", False, label, 300).toImage()
    found = {tones.nameOf(image.pixelColor(x, y)) for x in range(0, 300, 3) for y in range(image.height())}
    assert tones.readable(curves.INK[0], DARK) in found
    assert curves.INK[0] not in found


def test_contrastOfKnownPairs() -> None:
    """Black on white is 21 to 1; #767676 is the lightest grey that WCAG lets stand on white."""
    assert tones.contrast("#000000", "#ffffff") == pytest.approx(21.0)
    assert tones.contrast("#767676", "#ffffff") == pytest.approx(4.54, abs=0.01)


def palette(background: str, text: str) -> Any:
    made = qt.QPalette()
    made.setColor(qt.QPalette.Window, qt.QColor(background))
    made.setColor(qt.QPalette.WindowText, qt.QColor(text))
    return made


@pytest.mark.parametrize(("background", "text"), [(DARK, "#ffffff"), (LIGHT, "#000000")])
def test_standInLabelsFollowTheStyle(background: str, text: str) -> None:
    window = qt.QWidget()
    window.setPalette(palette(background, text))
    label = qt.QLabel(window)
    label.setVisible(True)
    window.show()
    part.setText(label, "Something is wrong.", bad=True)
    colour = label.styleSheet.removeprefix("color: ").removesuffix(";")
    assert tones.contrast(colour, background) >= 4.5
    assert tones.nameOf(label.palette.color(qt.QPalette.WindowText)) == colour  # as the style sheet says
    assert tones.toneColour(label, tones.PLAIN) == text
    part.setText(label, "All is well.")
    assert label.styleSheet == ""
