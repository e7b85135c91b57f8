"""Ways to look at a result, on a real MRML scene with real slice views off screen, not run in the application."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import slicer
import slicer.util
from DiffusionReconLib.scene import comparison, results
from DiffusionReconLib.scene.publish import firstImage, publishResult
from full_results import DRAWS, writeFullResult
from host.application import Application, openBundle, saveBundle
from host.views import SLICE_VIEWS, FourViews, SliceView

SHAPE = (8, 48, 48)


@pytest.fixture
def views(application: Application) -> FourViews:
    return FourViews(application, 128)


@pytest.fixture
def nodes(views: FourViews, tmp_path: Path) -> results.Nodes:
    return publishResult(writeFullResult(tmp_path / "job", SHAPE), withDraws=True)


def layers(name: str = "Red") -> slicer.vtkMRMLSliceCompositeNode:
    return next(n for n in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode") if n.GetLayoutName() == name)


def shownKeys(nodes: results.Nodes) -> set[tuple[str | None, str | None]]:
    """(background, foreground) by the result's keys, over all slice views."""
    names = {node.GetID(): key for key, node in nodes.items()}
    every = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
    return {(names.get(n.GetBackgroundVolumeID()), names.get(n.GetForegroundVolumeID())) for n in every}


def visibleLegends() -> list[str]:
    legends = slicer.util.getNodesByClass("vtkMRMLColorLegendDisplayNode")
    return [legend.GetTitleText() for legend in legends if legend.GetVisibility()]


def test_eachViewShowsWhatItSaysWithItsOwnLegendOnly(nodes: results.Nodes) -> None:
    results.showNotSeen(nodes)
    assert shownKeys(nodes) == {("mean", "not_seen_share")}
    assert visibleLegends() == ["Not det.\nshare"]
    results.showNotSeen(nodes, share=False)
    assert shownKeys(nodes) == {("mean", "not_seen")}
    assert visibleLegends() == ["Not det.\nHU"]
    results.showResidual(nodes)
    assert shownKeys(nodes) == {("mean", "residual")}
    assert visibleLegends() == ["Residual\nnoise s.d."]
    results.showUncertainty(nodes, opacity=0.8, threshold=50.0)
    assert shownKeys(nodes) == {("mean", "uncertainty")}
    assert visibleLegends() == ["Spread\nHU"]
    assert layers().GetForegroundOpacity() == pytest.approx(0.8)
    assert nodes["uncertainty"].GetDisplayNode().GetLowerThreshold() == 50.0
    results.showMean(nodes)
    assert shownKeys(nodes) == {("mean", None)}
    assert visibleLegends() == []


def test_thresholdAndColoursReachThePicture(nodes: results.Nodes, views: FourViews) -> None:
    views.fit()
    results.showMean(nodes)
    plain = views.slices["Red"].image().astype(int)
    assert np.ptp(plain[20:108, 20:108], axis=2).max() < 3
    results.showUncertainty(nodes, opacity=1.0, threshold=50.0)
    shown = views.slices["Red"].image().astype(int)[20:108, 20:80]
    coloured = np.ptp(shown, axis=2) > 40
    assert 0.01 < coloured.mean() < 0.35
    results.showUncertainty(nodes, opacity=1.0, threshold=1e4)
    assert (np.ptp(views.slices["Red"].image().astype(int)[20:108, 20:80], axis=2) > 40).mean() < 0.002


def test_legendComesBackInThePicture(nodes: results.Nodes, views: FourViews) -> None:
    """Each press makes the legend visible again, whatever was shown before."""
    views.fit()
    results.showUncertainty(nodes)
    first = views.slices["Red"].image().astype(int)
    results.showMean(nodes)
    none = views.slices["Red"].image().astype(int)
    results.showNotSeen(nodes)
    results.showUncertainty(nodes)
    again = views.slices["Red"].image().astype(int)
    assert (np.abs(first - again).max(axis=2) > 8).mean() < 0.002
    corner = (slice(0, 70), slice(104, 128))
    assert (np.abs(first - none)[corner].max(axis=2) > 60).mean() > 0.02


def test_lettersOfALegendHaveADarkGroundOnALightPicture(nodes: results.Nodes, views: FourViews) -> None:
    views.fit()
    results.showDifference(nodes)
    legend = slicer.modules.colors.logic().GetColorLegendDisplayNode(nodes["difference"])
    picture = views.slices["Red"].image().astype(int)
    legend.SetVisibility(False)
    without = views.slices["Red"].image().astype(int)
    letters = (np.abs(picture - without).max(axis=2) > 20)[:, 90:]
    grey = picture.mean(axis=2)[:, 90:]
    assert without[20:108, 20:108].mean() > 200
    # White letters with a shadow alone darken few of the pixels that they touch.
    assert (grey[letters] < 130).mean() > 0.5


def test_drawsAreShownOneAtATime(nodes: results.Nodes) -> None:
    browser = results.showDraws(nodes)
    proxy = browser.GetProxyNode(nodes["draws"])
    assert layers().GetBackgroundVolumeID() == proxy.GetID()
    assert not browser.GetPlaybackActive()
    for index in (3, 0, DRAWS - 1):
        results.selectDraw(nodes, index)
        assert np.array_equal(slicer.util.arrayFromVolume(proxy), results.drawArrays(nodes)[index])
    with pytest.raises(ValueError, match=f"samples 0 to {DRAWS - 1}"):
        results.selectDraw(nodes, DRAWS)
    assert results.showDraws(nodes, playing=True).GetPlaybackActive()


def test_compareLaysOutLinkedViewsSideBySide(
    nodes: results.Nodes, application: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLLayoutNode")
    before = layout.GetViewArrangement()
    names = comparison.compare(nodes)
    for name in names:  # what an earlier comparison's view showed over its image
        layers(name).SetLabelVolumeID(nodes["tv"].GetID())
        layers(name).SetForegroundVolumeID(nodes["tv"].GetID())
    assert comparison.compare(nodes) == names
    assert {(layers(name).GetLabelVolumeID(), layers(name).GetForegroundVolumeID()) for name in names} == {(None, None)}
    assert [layers(name).GetBackgroundVolumeID() for name in names] == [
        nodes[key].GetID() for key in ("reference", "tv", "mean")
    ]
    assert all(layers(name).GetLinkedControl() and layers(name).GetHotLinkedControl() for name in names)
    # Slicer's own layout logic reads the description and makes exactly these view nodes.
    logic = slicer.vtkMRMLLayoutLogic()
    logic.SetMRMLScene(slicer.mrmlScene)
    made = {node.GetLayoutName(): node for node in slicer.util.getNodesByClass("vtkMRMLSliceNode")}
    assert set(names) <= set(made)
    assert [made[name].GetLayoutLabel() for name in names] == ["Ref", "TV", "Mean"]
    inLayout = logic.GetViewNodes()
    assert [inLayout.GetItemAsObject(n).GetLayoutName() for n in range(inLayout.GetNumberOfItems())] == names
    monkeypatch.setattr("host.views.SLICE_VIEWS", {**SLICE_VIEWS, **{n: ("Axial", n[-1], (1, 1, 1)) for n in names}})
    shown = [SliceView(application, name, 96) for name in names]
    comparison.compare(nodes)
    assert layout.GetViewArrangement() != before
    pictures = [view.image().astype(int) for view in shown]
    assert all(picture[30:66, 30:66].std() > 20 for picture in pictures)
    comparison.endCompare()
    assert layout.GetViewArrangement() == before
    comparison.endCompare()
    assert layout.GetViewArrangement() == before


def test_compareNeedsTwoToFourImages(nodes: results.Nodes) -> None:
    with pytest.raises(ValueError, match="Two to 4 images"):
        comparison.compare(nodes, ["mean"])
    assert comparison.compareKeys({key: nodes[key] for key in ("fbp", "mean")}) == ["fbp", "mean"]
    assert len(comparison.compare(nodes, ["fbp", "mean"])) == 2


def test_classicalImagesAreThoseOfTheEnginesTable(nodes: results.Nodes) -> None:
    assert list(results.resultTitles(nodes).items()) == [("tv", "TV"), ("fbp", "FBP")]
    assert results.flickerKeys(nodes) == ("tv", "mean")
    assert results.flickerKeys({key: nodes[key] for key in ("tv", "reference")}) is None
    assert results.resultImage({key: nodes[key] for key in ("fbp", "tv", "reference")}) is nodes["tv"]
    assert firstImage("ct", ["reference", "fbp", "tv"]) == "tv"
    assert firstImage("ct", ["tv", "mean", "fallback"]) == "fallback"
    assert firstImage("another", ["tv"]) is None


def test_flickerTogglesInPlace(nodes: results.Nodes) -> None:
    assert [results.flicker(nodes) for _ in range(3)] == ["mean", "tv", "mean"]
    assert shownKeys(nodes) == {("tv", "mean")}
    assert layers().GetForegroundOpacity() == 1.0
    assert results.flicker(nodes) == "tv"
    assert layers().GetForegroundOpacity() == 0.0
    assert results.flicker(nodes, "reference", "mean") == "mean"
    assert visibleLegends() == []


def test_differenceIsSignedSymmetricAndMadeOnce(nodes: results.Nodes) -> None:
    made = results.showDifference(nodes)
    expected = slicer.util.arrayFromVolume(nodes["mean"]) - slicer.util.arrayFromVolume(nodes["reference"])
    assert np.array_equal(slicer.util.arrayFromVolume(made), expected)
    display = made.GetDisplayNode()
    assert display.GetWindowLevelMin() == -display.GetWindowLevelMax() < 0
    assert display.GetColorNode().GetName() == "Diffusion difference"
    assert layers().GetBackgroundVolumeID() == made.GetID()
    assert visibleLegends() == ["Diff.\nHU"]
    count = slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode")
    again = results.showDifference(nodes, "tv")
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == count
    label = nodes["report"].GetName().removeprefix("CT: ")
    assert again.GetName() == f"CT TV minus CT reference ({label})"
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    places = {hierarchy.GetItemParent(hierarchy.GetItemByDataNode(each)) for each in (again, nodes["mean"])}
    assert len(places) == 1


def test_differenceOfOtherGridsIsRefused(nodes: results.Nodes) -> None:
    other = slicer.util.addVolumeFromArray(np.full((2, 3, 4), -1000.0), name="Other")
    with pytest.raises(ValueError, match="resample"):
        results.showDifference(nodes, "mean", other)
    assert "difference" not in nodes


def test_whatAResultLacksIsSaid(application: Application, tmp_path: Path) -> None:
    from host.results import writeResultFolder

    bare = publishResult(writeResultFolder(tmp_path / "bare", SHAPE))
    for press in (results.showNotSeen, results.showResidual, results.showDraws):
        with pytest.raises(ValueError, match=r"has no '.*': reconstruct again and keep it"):
            press(bare)
    assert results.drawArrays(bare) == []


def test_resultIsFoundAgainInAReopenedScene(nodes: results.Nodes, application: Application, tmp_path: Path) -> None:
    saveBundle(application.scene, tmp_path / "scene.mrb")
    draws = [array.copy() for array in results.drawArrays(nodes)]
    openBundle(tmp_path / "scene.mrb")
    (report,) = results.resultReports()
    again = results.resultNodes(report)
    assert set(again) == set(nodes)
    assert results.resultReport(again)["gate"]["passed"] is True
    assert all(np.array_equal(one, two) for one, two in zip(results.drawArrays(again), draws, strict=True))
    results.selectDraw(again, 2)
    proxy = again["draws_browser"].GetProxyNode(again["draws"])
    assert np.array_equal(slicer.util.arrayFromVolume(proxy), draws[2])
