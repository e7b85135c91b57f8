"""The panel's look on the stand-in: nothing is clipped in a narrow panel or with large text."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import qt
from host.eventloop import turn, waitUntil
from host.guiapplication import Panel
from host.window import textScale
from pet_inputs import addBody, addCT, inDatabase, writeArray, writeSeries
from prepared import OpenPanel, addChest, idle, makeRunner, useRunner

FOLDS = ("inputs", "acquisition", "part", "method", "outputs", "advanced", "train", "review")


@pytest.fixture
def scrolled(application: Any) -> Iterator[Callable[..., Panel]]:
    """Puts a panel into a scroll area as Slicer's: as wide as the area, as high as its rows need."""
    areas = []

    def put(panel: Panel, width: int, height: int = 600) -> Panel:
        area = qt.QScrollArea()
        area.setWidgetResizable(True)
        area.setFrameShape(qt.QFrame.NoFrame)
        for bar in ("Horizontal", "Vertical"):
            getattr(area, f"set{bar}ScrollBarPolicy")(qt.Qt.ScrollBarAlwaysOff)
        area.setWidget(panel.container)
        area.resize(width, height)
        area.show()
        areas.append(area)
        turn()
        return panel

    yield put
    for area in areas:
        area.takeWidget()


def unfold(panel: Panel) -> None:
    """Open every section."""
    for name in FOLDS:
        getattr(panel.widget.ui, f"{name}CollapsibleButton").collapsed = False
    turn()


def clipped(panel: Panel) -> list[str]:
    """The visible widgets with a text that have less room than it needs; an elided text must be in the tooltip."""
    ui, found = panel.widget.ui, []
    for name, part in vars(ui).items():
        if not (hasattr(part, "isVisible") and part.isVisible()):
            continue
        kind = part.className()
        if kind in ("QComboBox", "qMRMLNodeComboBox"):  # they elide
            text = part.currentText if kind == "QComboBox" else _nodeName(part)
            if _comboNeeds(part, text) > part.width and text not in part.toolTip:
                found.append(f"{name}: '{text}' of {_comboNeeds(part, text)} in {part.width}")
            if part.height < part.fontMetrics().height():
                found.append(f"{name}: {part.height} high")
            continue
        if kind in ("QSpinBox", "QDoubleSpinBox"):
            if part.width < part.minimumSizeHint.width() - 1 or part.height < part.fontMetrics().height():
                found.append(f"{name}: {part.width} x {part.height} of {part.minimumSizeHint.width()}")
            continue
        if not getattr(part, "text", ""):
            continue
        if kind == "QLabel" and part.wordWrap:
            short = part.height < part.heightForWidth(part.width)
            word = max((part.fontMetrics().horizontalAdvance(each) for each in _plain(part.text).split()), default=0)
            if short or part.width < min(word, 10_000):
                found.append(f"{name}: {part.width} x {part.height}")
        elif kind in ("QLabel", "QPushButton", "QCheckBox") and (
            part.width < part.sizeHint.width() - 1 or part.height < part.sizeHint.height() - 1
        ):
            found.append(f"{name}: {part.width} x {part.height} of {part.sizeHint.width()} x {part.sizeHint.height()}")
    if panel.container.width > panel.container.parentWidget().width:
        found.append("the panel is wider than its window")
    return found


def _comboNeeds(combo: Any, text: str) -> int:
    """The width that a combo box needs for a text: with its frame and arrow."""
    return combo.fontMetrics().horizontalAdvance(text) + 2 * combo.fontMetrics().height()


def _nodeName(combo: Any) -> str:
    node = combo.currentNode()
    return "" if node is None else node.GetName()


def _plain(text: str) -> str:
    document = qt.QTextDocument()
    document.setHtml(text)
    return document.toPlainText()


@pytest.mark.parametrize(("width", "scale"), [(320, 1.0), (640, 2.0), (320, 2.0)])
def test_standInNothingIsClipped(
    width: int, scale: float, openPanel: OpenPanel, scrolled: Callable[..., Panel], tmp_path: Path
) -> None:
    """320 pixels at 100 %; 640 pixels of half the size, text and widgets twice as large; 320 with text at 200 %."""
    with textScale(scale):
        panel = scrolled(openPanel(), width)
        useRunner(panel, makeRunner(tmp_path))
        addChest()
        unfold(panel)
        assert panel.container.width == width
        assert clipped(panel) == []
        panel.widget.ui.applyButton.click()
        assert panel.widget.ui.queueButton.isVisible()
        turn()
        assert clipped(panel) == []
        idle(panel)
        for tab in (2, 0, 1):
            panel.widget.ui.reviewTabs.setCurrentIndex(tab)
            for _settling in range(2):
                turn()
            assert panel.container.width == width
            assert clipped(panel) == []
        panel.widget.ui.findButton.click()
        for _settling in range(2):
            turn()
        assert panel.container.width == width
        assert clipped(panel) == []
        # The check itself sees what is too narrow, and a text that is too long for its room.
        panel.widget.ui.applyButton.setMaximumWidth(40)
        panel.widget.ui.presetLabel.setFixedHeight(3)
        panel.widget.ui.priorComboBox.setMaximumWidth(60)
        panel.widget.ui.priorComboBox.toolTip = "The prior"
        turn()
        assert {each.partition(":")[0] for each in clipped(panel)} == {"presetLabel", "applyButton", "priorComboBox"}


@pytest.mark.parametrize(("width", "scale"), [(320, 1.0), (373, 2.0)])
def test_standInTheRowsOfUptakeAreNotClipped(
    width: int, scale: float, openPanel: OpenPanel, scrolled: Callable[..., Panel], tmp_path: Path, monkeypatch: Any
) -> None:
    """With factors and reasons on show, then those of measured counts."""
    with textScale(scale):
        panel = scrolled(openPanel(), width)
        ui, node = panel.widget.ui, addBody("Torso PET")
        inDatabase(monkeypatch, node, writeSeries(tmp_path / "series"))
        unfold(panel)
        for name in ("petDetails", "suv"):
            getattr(ui, f"{name}CollapsibleButton").collapsed = False
        ui.suvFactorsButton.click()
        ui.attenuationSelector.setCurrentNode(addCT())
        ui.acquisitionPresetComboBox.currentIndex = ui.acquisitionPresetComboBox.count - 1
        for _settling in range(3):
            turn()
        assert "minutes of decay" in ui.suvLabel.text
        assert panel.container.width == width
        assert clipped(panel) == []
        ui.sourceComboBox.currentIndex = 1
        ui.modalityComboBox.currentIndex = ui.modalityComboBox.findText("PET")
        ui.countsPathEdit.currentPath = str(writeArray(tmp_path))
        for _settling in range(3):
            turn()
        assert ui.countsCalibrationSpinBox.isVisible()
        assert panel.container.width == width
        assert clipped(panel) == []


@pytest.mark.parametrize(("scale", "most"), [(1.0, 320), (2.0, 373)])
def test_standInThePanelCanBeNarrow(
    scale: float, most: int, openPanel: OpenPanel, scrolled: Callable[..., Panel], tmp_path: Path
) -> None:
    """Its least width before a run, with a result and with findings; Slicer's panel is 373 pixels wide."""
    with textScale(scale):
        panel = scrolled(openPanel(), 373)
        ui, widths = panel.widget.ui, []
        useRunner(panel, makeRunner(tmp_path))
        addChest()
        for folded in (True, False):
            for name in FOLDS:
                getattr(ui, f"{name}CollapsibleButton").collapsed = folded
            turn()
            widths.append(panel.container.minimumSizeHint.width())
        ui.applyButton.click()
        idle(panel)
        for tab in (2, 0, 1):
            ui.reviewTabs.setCurrentIndex(tab)
            turn()
            widths.append(panel.container.minimumSizeHint.width())
        ui.findButton.click()
        turn()
        widths.append(panel.container.minimumSizeHint.width())
        assert max(widths) <= most, widths
        ui.solverComboBox.setMinimumWidth(most)  # the check sees what is wide in a section
        turn()
        assert panel.container.minimumSizeHint.width() > most


def test_standInAFoldedSectionShowsNothing(openPanel: OpenPanel, scrolled: Callable[..., Panel]) -> None:
    """Also one whose rows came and went before the panel was first shown: the volume first, then the panel."""
    addChest()
    panel = openPanel()
    panel.widget.ui.acquisitionPresetComboBox.currentIndex = 1  # rows for photons in place of those for percent
    panel.widget.ui.acquisitionPresetComboBox.currentIndex = 0
    scrolled(panel, 373)
    shown = []
    for name in FOLDS:
        section = getattr(panel.widget.ui, f"{name}CollapsibleButton")
        inside = [part for part in section.findChildren(qt.QWidget) if section.collapsed and part.isVisible()]
        shown += [(name, part.objectName) for part in inside]
    assert shown == []
    assert panel.widget.ui.acquisitionCollapsibleButton.collapsed
    panel.widget.ui.acquisitionCollapsibleButton.collapsed = False
    assert panel.widget.ui.noisePercentSpinBox.isVisible()
    assert not panel.widget.ui.photonsSpinBox.isVisible()


def halfHidden(panel: Panel) -> list[str]:
    """The forms of which some rows are hidden and some are not."""
    found = []
    for form in panel.container.findChildren(qt.QFormLayout):
        around = form.parentWidget().children()
        parts = [each for each in around if each.isWidgetType() and form.indexOf(each) >= 0]
        if len({part.isHidden() for part in parts}) > 1:
            found.append(form.objectName)
    return found


def test_standInRowsComeAndGoWithTheirForms(openPanel: OpenPanel) -> None:
    """Where long rows wrap, Qt 6.4 takes the height of single hidden rows from others that are on show."""
    panel = openPanel()
    ui = panel.widget.ui
    addChest()
    for name in ("acquisitionPresetComboBox", "noiseKindComboBox", "presetComboBox", "extentComboBox",
                 "sourceComboBox"):
        combo = getattr(ui, name)
        for index in range(combo.count):
            combo.currentIndex = index
            assert halfHidden(panel) == [], (name, index)
    ui.sourceComboBox.currentIndex = 0
    assert ui.regionSelector.isVisibleTo(ui.partRows)
    ui.noisePercentSpinBoxLabel.setVisible(False)  # the check sees one
    assert halfHidden(panel) == ["noisePercentSpinBoxRowLayout"]


CONTROLS = ("QComboBox", "qMRMLNodeComboBox", "QSpinBox", "QDoubleSpinBox", "QLineEdit", "QCheckBox", "ctkPathLineEdit")


def shownAbove(panel: Panel, bottom: Any, kinds: tuple[str, ...]) -> list[str]:
    """The visible widgets of these kinds above another one, from top to bottom."""
    def top(part: Any) -> int:
        return part.mapTo(panel.container, qt.QPoint(0, 0)).y()

    found = [(top(part), name) for name, part in vars(panel.widget.ui).items()
             if part.className() in kinds and part.isVisible() and top(part) < top(bottom)]
    return [name for _top, name in sorted(found)]


@pytest.mark.parametrize("scan", ["Sparse view, 60", "Sparse view, 8"])
def test_standInFromVolumeToApplyWithoutScrolling(
    scan: str, openPanel: OpenPanel, scrolled: Callable[..., Panel], tmp_path: Path
) -> None:
    """In a window of 1280 x 800 Slicer's panel is about 373 wide and 600 high; with a suggested preset as well."""
    addChest()
    panel = scrolled(openPanel(), 373, 600)
    useRunner(panel, makeRunner(tmp_path, hold=2))
    ui = panel.widget.ui
    ui.acquisitionPresetComboBox.currentIndex = ui.acquisitionPresetComboBox.findText(scan)
    turn()
    assert ui.suggestionLabel.isVisible() == (scan == "Sparse view, 8")
    assert shownAbove(panel, ui.applyButton, CONTROLS) == [
        "modalityComboBox", "sourceComboBox", "inputSelector", "acquisitionPresetComboBox", "presetComboBox"]
    folded = shownAbove(panel, ui.applyButton, ("ctkCollapsibleButton",))
    assert folded == ["inputsCollapsibleButton", "acquisitionCollapsibleButton", "partCollapsibleButton",
                      "methodCollapsibleButton"]
    assert ui.applyButton.enabled

    def bottom(part: Any) -> int:
        return part.mapTo(panel.container, qt.QPoint(0, part.height)).y()

    assert bottom(ui.applyButton) <= 600
    assert clipped(panel) == []
    # One click runs what is there; a preset before it is the second.
    ui.applyButton.click()
    waitUntil(lambda: ui.statusLabel.isVisible() and ui.progressBar.isVisible(), 5, "the progress")
    turn()
    assert clipped(panel) == []
    assert bottom(ui.progressBar) <= 600
    ui.applyButton.click()
    idle(panel)


def test_standInSectionsInTheOrderOfTheirUse(openPanel: OpenPanel, scrolled: Callable[..., Panel]) -> None:
    panel = scrolled(openPanel(), 373, 600)
    ui = panel.widget.ui
    found = [*shownAbove(panel, ui.trainCollapsibleButton, ("ctkCollapsibleButton", "QPushButton")),
             "trainCollapsibleButton"]
    assert [name for name in found if name not in ("acquisitionCollapsibleButton", "partCollapsibleButton")] == [
        "inputsCollapsibleButton", "methodCollapsibleButton", "applyButton", "reviewCollapsibleButton",
        "advancedCollapsibleButton", "trainCollapsibleButton"]


def test_standInEveryControlHasATooltip(openPanel: OpenPanel, application: Any) -> None:
    panel = openPanel()
    named = [
        name for name, part in vars(panel.widget.ui).items()
        if name.endswith(("ComboBox", "SpinBox", "CheckBox", "Selector", "Slider", "Edit", "Table"))
        or (name.endswith("Button") and "Collapsible" not in name and name != "setupButton")
        if not part.toolTip and name not in ("SpinBox", "Slider")  # parts of ctkSliderWidget
    ]
    assert named == []
