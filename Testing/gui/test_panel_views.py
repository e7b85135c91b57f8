"""What the views show around a run and a result, on the stand-in with its real views."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer
from diffusion_engine.io.images import read_volume
from DiffusionReconLib.review.snapshots import snapshots
from DiffusionReconLib.scene import comparison, results
from DiffusionReconLib.scene.preview import Preview
from DiffusionReconLib.scene.publish import publishResult
from host.application import saveBundle
from host.eventloop import turn, waitUntil
from host.guiapplication import GuiApplication
from host.results import writeResultFolder
from prepared import OpenPanel, addChest, idle, makeRunner, useRunner

SHAPE = (6, 32, 32)


def layersOf(name: str = "Red") -> Any:
    return slicer.app.layoutManager().sliceWidget(name).mrmlSliceCompositeNode()


def shownLegends() -> list[Any]:
    every = slicer.util.getNodesByClass("vtkMRMLColorLegendDisplayNode")
    return [legend for legend in every if legend.GetVisibility()]


def startPreview(folder: Path, node: Any) -> Preview:
    """A preview on show, as after the first message of a run."""
    (folder / "preview.nrrd").write_bytes((folder / "tv.nrrd").read_bytes())
    preview = Preview(folder, node)
    preview.load("preview.nrrd")
    waitUntil(preview.poll, 10, "the preview")
    return preview


def test_standInCompareFitsWhenItsViewsHaveTheirSize(application: GuiApplication, tmp_path: Path) -> None:
    """Three narrow views: the whole width of the image is in each of them."""
    slicer.app.layoutManager()
    nodes = publishResult(writeResultFolder(tmp_path, SHAPE))
    names = comparison.compare(nodes)
    turn(5)
    bounds, labels = [0.0] * 6, ["Ref", "TV", "Mean"]
    nodes["mean"].GetRASBounds(bounds)
    for name in names:
        node = slicer.app.layoutManager().sliceWidget(name).mrmlSliceNode()
        assert node.GetDimensions()[0] < node.GetDimensions()[1]
        assert (node.GetLayoutLabel(), node.GetOrientation()) == (labels.pop(0), "Axial")
        assert node.GetFieldOfView()[0] >= bounds[1] - bounds[0], name


def test_standInCompareOfASceneThatIsGone(application: GuiApplication, tmp_path: Path) -> None:
    slicer.app.layoutManager()
    comparison.compare(publishResult(writeResultFolder(tmp_path, SHAPE)))
    application.scene.Clear(0)
    turn(5)


def test_standInASceneClosedWhileComparingLeavesNoComparison(openPanel: OpenPanel, tmp_path: Path) -> None:
    """The layout of before comes back with the scene's end, and Compare leads back to it of the next result too."""
    manager, panel = slicer.app.layoutManager(), openPanel()
    layout = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLLayoutNode")
    before = slicer.vtkMRMLLayoutNode.SlicerLayoutConventionalView
    manager.setLayout(before)
    ui, review = panel.widget.ui, panel.widget.panel.review
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        review.show(publishResult(writeResultFolder(tmp_path / name, SHAPE)))
        assert layout.GetViewArrangement() == before
        ui.compareButton.click()
        assert comparison.isCompared()
        ui.compareButton.click()
        assert layout.GetViewArrangement() == before
        ui.compareButton.click()
        slicer.mrmlScene.Clear(0)
        turn()
        assert layout.GetViewArrangement() == before
    assert manager.layout == before


def test_standInCompareNeverGoesBackToItself(application: GuiApplication, tmp_path: Path) -> None:
    """Where the layout of before was lost, or is one of its own, four views come back."""
    slicer.app.layoutManager()
    layout, fourUp = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLLayoutNode"), 3
    nodes = publishResult(writeResultFolder(tmp_path, SHAPE))
    comparison.compare(nodes)
    for before in (None, str(comparison.COMPARE_LAYOUT_FIRST + 3), "none"):
        layout.SetAttribute(comparison.LAYOUT_BEFORE, before)
        comparison.compare(nodes, ["tv", "mean"])
        comparison.endCompare()
        assert layout.GetViewArrangement() == fourUp, before
        comparison.compare(nodes)
    layout.SetViewArrangement(slicer.vtkMRMLLayoutNode.SlicerLayoutOneUpRedSliceView)  # chosen in Slicer's own menu
    comparison.endCompare()
    assert layout.GetViewArrangement() == slicer.vtkMRMLLayoutNode.SlicerLayoutOneUpRedSliceView
    comparison.compare(nodes)
    comparison.endCompare()
    assert layout.GetViewArrangement() == slicer.vtkMRMLLayoutNode.SlicerLayoutOneUpRedSliceView


def test_standInAComparisonOfAnotherSessionEnds(openPanel: OpenPanel, tmp_path: Path) -> None:
    """A scene that was saved while comparing: its layout is not known here, so no view would show."""
    slicer.app.layoutManager()
    panel = openPanel()
    layout = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLLayoutNode")
    layout.SetViewArrangement(comparison.COMPARE_LAYOUT_FIRST + 4)
    panel.widget.panel.review.show(publishResult(writeResultFolder(tmp_path, SHAPE)))
    assert layout.GetViewArrangement() == slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView


def test_standInSnapshotsAreOfTheViewsOnShow(application: GuiApplication, tmp_path: Path) -> None:
    slicer.app.layoutManager()
    nodes = publishResult(writeResultFolder(tmp_path, SHAPE))
    assert list(snapshots()) == ["Red", "Green", "Yellow"]
    names = comparison.compare(nodes)
    turn()
    assert list(snapshots()) == names
    comparison.endCompare()
    assert list(snapshots()) == ["Red", "Green", "Yellow"]
    slicer.app.layoutManager().sliceWidget("Green").mrmlSliceNode().SetVisibility(False)  # another view is maximised
    assert list(snapshots()) == ["Red", "Yellow"]


def test_standInSceneSavedDuringARunOpensWithItsViews(
    application: GuiApplication, openPanel: OpenPanel, tmp_path: Path
) -> None:
    slicer.app.layoutManager()
    panel, runner = openPanel(), makeRunner(tmp_path, hold=2)
    useRunner(panel, runner)
    node = addChest()
    node.CreateDefaultDisplayNodes()
    slicer.util.setSliceViewerLayers(background=node)
    panel.widget.ui.applyButton.click()
    waitUntil(lambda: slicer.mrmlScene.GetFirstNodeByName("Chest preview"), what="the preview")
    path = saveBundle(application.scene, tmp_path / "during.mrb")
    application.scene.Clear(0)
    idle(panel)
    assert application.scene.ReadFromMRB(str(path), True)
    assert slicer.mrmlScene.GetFirstNodeByName("Chest preview") is None
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    assert hierarchy.GetItemByName("Chest preview") == 0
    for name in ("Red", "Green", "Yellow"):
        volume = application.scene.GetNodeByID(layersOf(name).GetBackgroundVolumeID())
        assert volume is not None, name
        assert volume.GetName() == "Chest"
        foreground = layersOf(name).GetForegroundVolumeID()
        assert not foreground or application.scene.GetNodeByID(foreground) is None


def test_standInThePreviewHidesTheImageUnderIt(application: GuiApplication, tmp_path: Path) -> None:
    """Rendered: where it lies, its values are seen and not the input's."""
    manager = slicer.app.layoutManager()
    folder = writeResultFolder(tmp_path, SHAPE)
    other = read_volume(folder / "tv.nrrd")
    node = slicer.util.addVolumeFromArray(np.full(SHAPE, 400, np.int16), other.ijk_to_ras, "Bright")
    node.CreateDefaultDisplayNodes()
    slicer.util.setSliceViewerLayers(background=node)
    manager.resetSliceViews()
    view = manager.sliceWidget("Red").sliceView()
    before = view.image()
    preview = startPreview(folder, node)
    during = view.image()
    preview.close()
    assert np.abs(during.astype(int) - before)[60:196, 60:196].mean() > 40
    assert np.array_equal(view.image(), before)


@pytest.mark.parametrize("newResult", [False, True])
def test_standInTheOldLegendDoesNotStayOverThePreview(
    application: GuiApplication, tmp_path: Path, newResult: bool
) -> None:
    slicer.app.layoutManager()
    first = publishResult(writeResultFolder(tmp_path, SHAPE))
    before = shownLegends()
    assert len(before) == 1
    preview = startPreview(tmp_path, None)
    assert shownLegends() == []
    preview.close()
    assert shownLegends() == before
    assert layersOf().GetForegroundVolumeID() == first["uncertainty"].GetID()
    if newResult:
        second = publishResult(writeResultFolder(tmp_path, SHAPE))
        assert [legend.GetDisplayableNode() for legend in shownLegends()] == [second["uncertainty"]]


def test_standInWhatTheUserShowsDuringARunStays(application: GuiApplication, tmp_path: Path) -> None:
    slicer.app.layoutManager()
    nodes = publishResult(writeResultFolder(tmp_path, SHAPE))
    preview = startPreview(tmp_path, None)
    results.showMean(nodes)
    preview.close()
    assert (layersOf().GetBackgroundVolumeID(), layersOf().GetForegroundVolumeID()) == (nodes["mean"].GetID(), None)
    assert shownLegends() == []


def test_standInAResultRemovedDuringARun(application: GuiApplication, tmp_path: Path) -> None:
    slicer.app.layoutManager()
    nodes = publishResult(writeResultFolder(tmp_path, SHAPE))
    preview = startPreview(tmp_path, None)
    for node in nodes.values():
        application.scene.RemoveNode(node)
    preview.close()
    assert slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode") == []
