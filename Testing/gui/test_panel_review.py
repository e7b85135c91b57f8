"""The review's three tabs on the stand-in: looks, findings, keys, comments, export; not run in the application."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import slicer
import slicer.util
from DiffusionReconLib.panel.tones import contrast
from DiffusionReconLib.review import findings as review
from DiffusionReconLib.scene import results
from DiffusionReconLib.scene.publish import publishResult
from host.application import saveBundle
from host.dialogs import Recorder
from host.eventloop import turn
from host.guiapplication import Panel
from host.window import neededHeight
from mrml.full_results import writeFullResult
from prepared import SHAPE, OpenPanel, addChest
from PySide6 import QtCore, QtGui, QtTest, QtWidgets

WIDTH = 373
LOOKS = (
    "uncertainty", "compare", "mean", "draws", "flicker", "difference", "notSeen", "residual", "priorDecided",
    "dataDisagree",
)


def reviewed(openPanel: OpenPanel, folder: Path) -> Panel:
    """A panel with a result, as after a run, shown as wide as Slicer's panel is at 1280 pixels."""
    panel = openPanel()
    slicer.app.layoutManager()
    addResult(panel, folder / "first")
    panel.container.show()
    fitted(panel)
    return panel


def addResult(panel: Panel, folder: Path) -> dict[str, Any]:
    nodes = publishResult(writeFullResult(folder, SHAPE), withDraws=True)
    panel.widget.panel.review.show(nodes)
    return nodes


def fitted(panel: Panel) -> None:
    for _again in range(2):
        turn()
        panel.container.resize(WIDTH, neededHeight(panel.container, WIDTH))
    turn()


def openTab(panel: Panel, name: str) -> None:
    """Click the tab."""
    tabs = panel.widget.ui.reviewTabs
    bar = tabs.tabBar()
    index = [tabs.tabText(each) for each in range(tabs.count)].index(name)
    QtTest.QTest.mouseClick(bar, QtCore.Qt.LeftButton, QtCore.Qt.NoModifier, bar.tabRect(index).center())
    turn()


def verdicts(panel: Panel) -> list[str]:
    table = panel.widget.ui.findingsTable
    return [table.item(row, 2).text() for row in range(table.rowCount)]


def marked(panel: Panel) -> list[str]:
    return [name for name in LOOKS if getattr(panel.widget.ui, f"{name}Button").checked]


def test_standInThreeClicksFromAResultToTheFirstVerdict(openPanel: OpenPanel, tmp_path: Path) -> None:
    panel = reviewed(openPanel, tmp_path)
    ui, clicks = panel.widget.ui, []
    assert not ui.reviewCollapsibleButton.collapsed
    assert [ui.reviewTabs.tabText(each) for each in range(3)] == ["View", "Findings", "Export"]
    openTab(panel, "Findings")
    clicks.append("Findings")
    for name in ("findButton", "trustButton"):
        assert getattr(ui, name).isVisible()
        QtTest.QTest.mouseClick(getattr(ui, name), QtCore.Qt.LeftButton)
        clicks.append(name)
    assert verdicts(panel) == ["Trust", ""]
    assert len(clicks) <= 3


def test_standInTheActiveLookIsMarkedAndComparedViewsShowNothingElse(openPanel: OpenPanel, tmp_path: Path) -> None:
    panel = reviewed(openPanel, tmp_path)
    ui = panel.widget.ui
    layout = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLLayoutNode")
    before = layout.GetViewArrangement()
    assert marked(panel) == []
    for name in ("mean", "uncertainty", "uncertainty", "draws", "draws"):
        getattr(ui, f"{name}Button").click()
        assert marked(panel) == [name]
        assert not ui.verdictLabel.text
    ui.compareButton.click()
    assert marked(panel) == ["compare"]
    assert layout.GetViewArrangement() != before
    ui.compareButton.click()
    assert (marked(panel), layout.GetViewArrangement()) == (["draws"], before)
    ui.compareButton.click()
    ui.notSeenButton.click()  # the views side by side are labelled: they end first
    assert (marked(panel), layout.GetViewArrangement()) == (["notSeen"], before)
    # What fails leaves the mark where it was.
    slicer.mrmlScene.RemoveNode(panel.widget.panel.review.nodes["residual"])
    ui.residualButton.click()
    assert "has no 'residual'" in ui.verdictLabel.text
    assert marked(panel) == ["notSeen"]
    addResult(panel, tmp_path / "second")
    assert marked(panel) == []


def test_standInTheFirstFindingsAreListedAndTheOthersOnDemand(
    openPanel: OpenPanel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    panel = reviewed(openPanel, tmp_path)
    ui = panel.widget.ui
    ui.reviewTabs.setCurrentIndex(1)
    ui.findButton.click()
    assert ui.findingsLabel.text == "2 regions, those most worth a look first."
    assert not ui.showAllButton.isVisible()
    monkeypatch.setattr(review, "MOST", 1)
    ui.findButton.click()
    assert (ui.findingsTable.rowCount, ui.showAllButton.text) == (1, "Show all 2")
    assert ui.findingsLabel.text == "1 of 2 regions, those most worth a look first."
    ui.nextButton.click()
    assert ui.findingsTable.currentRow() == 0  # round to the first: the second is not listed
    ui.showAllButton.click()
    assert ui.findingsTable.rowCount == 2
    ui.nextButton.click()
    assert ui.findingsTable.currentRow() == 1
    # Of more regions than were kept there is no "all".
    found = ui.showAllButton.text
    monkeypatch.setattr(review, "foundCount", lambda current: 549)
    panel.widget.panel.review._findings.show()
    assert (found, ui.showAllButton.text) == ("Show all 2", "Show the first 2")
    ui.doubtButton.click()
    ui.showAllButton.click()
    # What was judged stays in sight.
    assert verdicts(panel) == ["", "Doubt"]
    assert ui.findingsTable.item(0, 1).text().startswith("Spread of ±")
    assert ui.findingsTable.item(0, 1).text().endswith(" HU in even tissue, 19 mm")
    assert "Mean" in ui.findingsTable.item(0, 1).toolTip()


def test_standInNoFindingIsAnAnswer(openPanel: OpenPanel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    panel = reviewed(openPanel, tmp_path)
    ui = panel.widget.ui
    monkeypatch.setattr(review, "defaultThreshold", lambda nodes: 1e6)
    ui.reviewTabs.setCurrentIndex(1)
    ui.findButton.click()
    assert ui.findingsLabel.text.startswith("No region has a spread that could change a reading.")
    assert not ui.findingsTable.isVisible()
    assert not ui.trustButton.enabled
    assert ui.wholeCheckBox.enabled
    ui.wholeCheckBox.checked = True
    ui.rescanButton.click()
    assert ui.verdictLabel.text == "The whole result: Needs another scan"


def test_standInFindingAgainKeepsWhatWasSaid(openPanel: OpenPanel, tmp_path: Path) -> None:
    panel = reviewed(openPanel, tmp_path)
    ui = panel.widget.ui
    ui.reviewTabs.setCurrentIndex(1)
    ui.findButton.click()
    ui.commentEdit.text = "a vessel"
    ui.doubtButton.click()
    ui.wholeCheckBox.checked = True
    ui.trustButton.click()
    ui.findButton.click()
    assert len(review.reviews()) == 2
    assert verdicts(panel) == ["Doubt", ""]
    assert ui.commentEdit.text == "a vessel"
    assert review.verdict(review.reviews()[-1]).verdict == "trust"


@pytest.fixture
def focusedView(openPanel: OpenPanel, application: Any, tmp_path: Path) -> tuple[Panel, Any]:
    """A panel with findings beside a slice view that can have the keyboard."""
    panel = reviewed(openPanel, tmp_path)
    panel.container.activateWindow()
    window = application.mainWindow
    view = slicer.app.layoutManager().sliceWidget("Red")
    view.sliceView().setFocusPolicy(QtCore.Qt.StrongFocus)
    window.setCentralWidget(view)
    window.show()
    openTab(panel, "Findings")
    panel.widget.ui.findButton.click()
    return panel, view.sliceView()


def press(widget: Any, keys: str) -> None:
    widget.window().activateWindow()
    widget.setFocus()
    turn()
    assert widget.hasFocus()
    for key in keys:
        QtTest.QTest.keyClick(widget, key)


def test_standInVerdictKeysWorkInASliceView(focusedView: tuple[Panel, Any]) -> None:
    panel, view = focusedView
    ui = panel.widget.ui
    press(view, "3N2")
    assert verdicts(panel) == ["Needs another scan", "Doubt"]
    press(view, "P1")
    assert verdicts(panel) == ["Trust", "Doubt"]
    press(ui.findingsTable, "N1")
    assert verdicts(panel) == ["Trust", "Trust"]
    count = len(review.reviews())
    press(view, "F")  # Slicer's own: the next slice
    assert len(review.reviews()) == count


def test_standInVerdictKeysWorkNowhereElse(focusedView: tuple[Panel, Any], application: Any) -> None:
    panel, view = focusedView
    ui = panel.widget.ui
    press(ui.commentEdit, "1n2p3")
    assert ui.commentEdit.text == "1n2p3"
    assert verdicts(panel) == ["", ""]
    # A key of another part of the application is that part's, and the first after it in a view counts again.
    other = QtWidgets.QPushButton(application.mainWindow)
    other.show()
    press(other, "1")
    assert verdicts(panel) == ["", ""]
    box = QtWidgets.QSpinBox(view.parentWidget())  # as in the bar over a slice view
    box.show()
    press(box, "12")
    assert verdicts(panel) == ["", ""]
    for index in (0, 2):
        ui.reviewTabs.setCurrentIndex(index)
        press(view, "1")
        assert verdicts(panel) == ["", ""]
    ui.reviewTabs.setCurrentIndex(1)
    panel.container.hide()  # another module is shown
    press(view, "1")
    assert verdicts(panel) == ["", ""]
    panel.container.show()
    press(view, "1")
    assert verdicts(panel) == ["Trust", ""]
    panel.close()
    turn()
    press(view, "2")


def written(name: str = "Comment") -> list[str]:
    table = review.reviews()[-1]
    return [getattr(review.verdict(table, number), name.lower()) for number in (1, 2, None)]


@pytest.mark.parametrize("leave", ["finding", "tab", "result", "whole", "find", "all", "module"])
def test_standInATypedCommentIsNeverLost(leave: str, openPanel: OpenPanel, tmp_path: Path) -> None:
    panel = reviewed(openPanel, tmp_path)
    ui = panel.widget.ui
    first = panel.widget.panel.review.nodes["report"].GetID()
    ui.reviewTabs.setCurrentIndex(1)
    ui.findButton.click()
    ui.commentEdit.setFocus()
    QtTest.QTest.keyClicks(ui.commentEdit, "near the vessel")
    if leave == "finding":
        ui.nextButton.click()
        assert ui.commentEdit.text == ""
        ui.previousButton.click()
    elif leave == "tab":
        ui.reviewTabs.setCurrentIndex(2)
        ui.reviewTabs.setCurrentIndex(1)
    elif leave == "result":
        addResult(panel, tmp_path / "second")
        assert (ui.commentEdit.text, ui.commentEdit.enabled) == ("", False)
        ui.resultComboBox.currentIndex = ui.resultComboBox.findData(first)
        assert panel.widget.panel.review.nodes["report"].GetID() == first
    elif leave == "whole":
        ui.wholeCheckBox.checked = True
        assert ui.commentEdit.text == ""
        ui.wholeCheckBox.checked = False
    elif leave == "find":
        ui.findButton.click()
    elif leave == "all":
        ui.findingsTable.selectRow(1)
        ui.findingsTable.selectRow(0)
    else:
        panel.widget.enter()
    assert written() == ["near the vessel", "", ""]
    assert ui.commentEdit.text == "near the vessel"


def test_standInACommentThatIsBeingTypedIsSavedAndExported(
    openPanel: OpenPanel, tmp_path: Path, recordedDialogs: Recorder
) -> None:
    panel = reviewed(openPanel, tmp_path)
    ui = panel.widget.ui
    ui.reviewTabs.setCurrentIndex(1)
    ui.findButton.click()
    ui.doubtButton.click()
    ui.commentEdit.setFocus()
    QtTest.QTest.keyClicks(ui.commentEdit, "half a wo")
    path = tmp_path / "review.json"
    recordedDialogs.answer(str(path))
    ui.exportJsonButton.click()
    content = json.loads(path.read_text(encoding="utf-8"))
    assert (content["findings"][0]["comment"], content["findings"][0]["verdict"]) == ("half a wo", "doubt")
    saved = saveBundle(slicer.mrmlScene, tmp_path / "scene.mrb")
    assert slicer.mrmlScene.ReadFromMRB(str(saved), True)
    assert written() == ["half a wo", "", ""]
    assert written("Verdict") == ["doubt", "", ""]


def test_standInNothingIsCutOffAtThePanelsWidth(openPanel: OpenPanel, tmp_path: Path) -> None:
    panel = reviewed(openPanel, tmp_path)
    ui = panel.widget.ui
    segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "parts")
    segmentation.CreateDefaultDisplayNodes()
    node = addChest()
    segmentation.SetReferenceImageGeometryParameterFromVolumeNode(node)
    for name, low in (("Soft tissue", -500), ("Bone", 200)):
        identifier = segmentation.GetSegmentation().AddEmptySegment("", name, (1.0, 0.0, 0.0))
        mask = (slicer.util.arrayFromVolume(node) > low).astype("uint8")
        slicer.util.updateSegmentBinaryLabelmapFromArray(mask, segmentation, identifier, node)
    ui.segmentationSelector.setCurrentNode(segmentation)
    heights = []
    for index, table in ((0, ui.segmentsTable), (1, ui.findingsTable), (2, None)):
        ui.reviewTabs.setCurrentIndex(index)
        if index == 1:
            ui.findButton.click()
            ui.rescanButton.click()
        fitted(panel)
        heights.append(ui.reviewTabs.height)
        for name in ("viewContent", "findingsContent", "exportContent"):
            for button in getattr(ui, name).findChildren(QtWidgets.QPushButton):
                assert not button.isVisible() or button.width >= button.sizeHint.width() - 1, button.text
        if table is None:
            continue
        assert table.rowCount == 2
        assert table.horizontalHeader().length() <= table.viewport().width
        rows = sum(table.rowHeight(row) for row in range(table.rowCount))
        assert 0 <= table.viewport().height - rows <= 2  # as high as its rows: nothing to scroll, nothing empty
        for column in range(table.columnCount):
            heading = table.horizontalHeaderItem(column).text()
            assert table.fontMetrics().horizontalAdvance(heading) <= table.columnWidth(column), heading
            for row in range(table.rowCount):
                text = table.item(row, column).text()
                room = QtCore.QRect(0, 0, table.columnWidth(column) - 6, 1000)
                needed = table.fontMetrics().boundingRect(room, QtCore.Qt.TextWordWrap.value, text)
                assert needed.width() <= room.width(), text
                assert needed.height() <= table.rowHeight(row), text
    assert heights[2] < heights[0] < heights[1]  # each tab as high as it needs


@pytest.mark.parametrize("background", ["#efefef", "#353535"])
def test_standInBannerIsReadableOnLightAndDark(background: str, openPanel: OpenPanel, tmp_path: Path) -> None:
    before = QtWidgets.QApplication.palette()
    QtWidgets.QApplication.setPalette(QtGui.QPalette(QtGui.QColor(background)))
    try:
        panel = reviewed(openPanel, tmp_path)
        label = panel.widget.ui.bannerLabel
        shown = label.palette.color(QtGui.QPalette.Window).name()
        colours = [part.partition('"')[0] for part in label.text.split('style="color: ')[1:]]
        assert len(colours) == 7
        assert min(contrast(colour, shown) for colour in colours) >= 4.5
        other = {"#efefef": "#353535", "#353535": "#efefef"}[background]  # the style is changed while it is on show
        QtWidgets.QApplication.setPalette(QtGui.QPalette(QtGui.QColor(other)))
        turn()
        panel.widget.enter()
        shown = label.palette.color(QtGui.QPalette.Window).name()
        colours = [part.partition('"')[0] for part in label.text.split('style="color: ')[1:]]
        assert min(contrast(colour, shown) for colour in colours) >= 4.5
    finally:
        QtWidgets.QApplication.setPalette(before)


def test_standInOutlinesOfAnotherResultAreNotShown(openPanel: OpenPanel, tmp_path: Path) -> None:
    panel = reviewed(openPanel, tmp_path)
    panel.widget.ui.findButton.click()
    outlines = review.reviews()[0].GetNodeReference("DiffusionPriors.Review.Segmentation")
    display, segments = outlines.GetDisplayNode(), outlines.GetSegmentation()
    ids = [segments.GetNthSegmentID(each) for each in range(segments.GetNumberOfSegments())]
    assert [display.GetSegmentVisibility(each) for each in ids] == [True, False]
    addResult(panel, tmp_path / "second")
    assert [display.GetSegmentVisibility(each) for each in ids] == [False, False]
    assert len(results.resultReports()) == 2
