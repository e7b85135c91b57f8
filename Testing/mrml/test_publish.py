"""Publishing a finished job folder, on a real MRML scene, not run in the Slicer application."""

from __future__ import annotations

import datetime
import json
import re
from pathlib import Path

import numpy as np
import pytest
import slicer
import slicer.util
from diffusion_engine.io.images import read_volume, write_volume
from diffusion_engine.solvers.contract import SPREADS
from diffusion_engine.volume import Volume
from DiffusionReconLib.scene import publish
from DiffusionReconLib.scene.colours import differenceColours, uncertaintyColours
from DiffusionReconLib.scene.display import SPREAD_TITLES, niceUpperLimit
from DiffusionReconLib.scene.publish import publishResult
from host.application import Application
from host.results import analyticThorax, axialMatrix, writeResultFolder
from host.views import FourViews

SHAPE = (6, 32, 32)


@pytest.fixture
def inputNode(application: Application) -> slicer.vtkMRMLScalarVolumeNode:
    """A chest CT in a study, under a parent transform."""
    node = slicer.util.addVolumeFromArray(analyticThorax(SHAPE).astype(np.int16), axialMatrix(SHAPE), "Chest")
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "table")
    node.SetAndObserveTransformNodeID(transform.GetID())
    hierarchy = subjectHierarchy()
    study = hierarchy.CreateStudyItem(hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), "Patient"), "Study")
    hierarchy.SetItemParent(hierarchy.GetItemByDataNode(node) or hierarchy.CreateItem(study, node), study)
    return node


@pytest.fixture
def jobFolder(application: Application) -> Path:
    return writeResultFolder(Path(slicer.app.temporaryPath) / "job ö", SHAPE)


def addVolumes(folder: Path, others: dict[str, tuple[str, np.ndarray]] | None = None) -> None:
    """Add a not-seen map, its share and a residual (or `others`: unit and array by key) to a finished job."""
    rng = np.random.default_rng(1)
    spread = read_volume(folder / "uncertainty.nrrd")
    arrays = others or {
        "not_seen": ("HU", spread.array / 2),
        "not_seen_share": ("1", rng.uniform(0, 1, spread.array.shape)),
        "residual": ("1", rng.normal(0, 1, spread.array.shape)),
    }
    report = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    for key, (unit, array) in arrays.items():
        write_volume(Volume(array.astype(np.float32), spread.ijk_to_ras, unit), folder / f"{key}.nrrd")
        report["files"][key] = f"{key}.nrrd"
    (folder / "result.json").write_text(json.dumps(report), encoding="utf-8")


def subjectHierarchy() -> slicer.vtkMRMLSubjectHierarchyNode:
    return slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)


def snapshot() -> tuple:
    """Everything that a failure must leave as it was."""
    nodes = slicer.mrmlScene.GetNodes()
    layers = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
    return (
        [nodes.GetItemAsObject(index).GetID() for index in range(nodes.GetNumberOfItems())],
        subjectHierarchy().GetNumberOfItems(),
        [(each.GetBackgroundVolumeID(), each.GetForegroundVolumeID(), each.GetForegroundOpacity()) for each in layers],
    )


def test_nodesLieBesideTheInputWithItsTransformAndProvenance(
    inputNode: slicer.vtkMRMLScalarVolumeNode, jobFolder: Path
) -> None:
    nodes = publishResult(jobFolder, inputNode)
    assert set(nodes) == {"mean", "uncertainty", "fbp", "tv", "reference", "report"}
    hierarchy = subjectHierarchy()
    folders = {hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node)) for node in nodes.values()}
    assert len(folders) == 1
    (folder,) = folders
    assert hierarchy.GetItemName(folder) == nodes["report"].GetName()
    assert re.fullmatch(r"Chest: DIFFUSION, \d\d:\d\d", nodes["report"].GetName())
    assert hierarchy.GetItemParent(folder) == hierarchy.GetItemParent(hierarchy.GetItemByDataNode(inputNode))
    for key in set(nodes) - {"report"}:
        node = nodes[key]
        assert node.GetTransformNodeID() == inputNode.GetTransformNodeID()
        assert slicer.util.arrayFromVolume(node).dtype == np.float32
        assert node.GetVoxelValueUnits().GetCodeValue() == "[hnsf'U]"
        assert node.GetNodeReference("DiffusionPriors.Input") is inputNode
        for name, value in {"Result": key, "Seed": "7", "Prior": "ct-body", "Spread": "concentrated"}.items():
            assert node.GetAttribute(f"DiffusionPriors.{name}") == value
    assert json.loads(nodes["report"].GetText())["notes"] == ["Made for a test, not reconstructed: Größe in mm."]
    assert slicer.util.arrayFromVolume(nodes["reference"]) == pytest.approx(analyticThorax(SHAPE))


def test_uncertaintyIsNamedForWhatItIs(application: Application, tmp_path: Path) -> None:
    concentrated = publishResult(writeResultFolder(tmp_path / "a", SHAPE, "concentrated"))
    posterior = publishResult(writeResultFolder(tmp_path / "b", SHAPE, "posterior"))
    near = publishResult(writeResultFolder(tmp_path / "c", SHAPE, "near-posterior"))
    assert concentrated["uncertainty"].GetName().startswith("CT spread of estimates, not an error bar (HU) (")
    assert posterior["uncertainty"].GetName().startswith("CT posterior standard deviation (HU) (")
    assert near["uncertainty"].GetName().startswith("CT spread of samples, not an error bar (HU) (")
    legends = [each.GetTitleText() for each in slicer.util.getNodesByClass("vtkMRMLColorLegendDisplayNode")]
    assert legends == ["Spread\nHU", "Std. dev.\nHU", "Spread\nHU"]
    assert set(publish.SPREAD_NAMES) == set(SPREAD_TITLES) == set(SPREADS)


def test_labelTellsMethodViewsAndTime() -> None:
    time = datetime.datetime(2024, 5, 17, 14, 32, 59)
    diffusion = {"method": "tmpd", "solver": "tmpd", "geometry": {"views": 60}}
    assert publish.resultLabel(diffusion, time) == "TMPD, 60 views, 14:32"
    classical = {"method": "tv", "solver": None, "settings": {"views": 20}}
    assert publish.resultLabel(classical, time) == "TV, 20 views, 14:32"
    accelerated = {**diffusion, "modality": "mri", "geometry": {"acceleration": 3.96}, "settings": {"acceleration": 8}}
    assert publish.resultLabel(accelerated, time) == "TMPD, 3.96-fold acceleration, 14:32"
    assert publish.resultLabel({**diffusion, "modality": "us"}, time) == "TMPD, 14:32"


def test_twoResultsNeverCarryOneName(inputNode: slicer.vtkMRMLScalarVolumeNode, jobFolder: Path) -> None:
    results = [publishResult(jobFolder, inputNode, withDraws=True) for _ in range(3)]
    for key in results[0]:
        assert len({nodes[key].GetName() for nodes in results}) == 3, key
    hierarchy = subjectHierarchy()
    folders = [hierarchy.GetItemParent(hierarchy.GetItemByDataNode(nodes["report"])) for nodes in results]
    assert len({hierarchy.GetItemName(folder) for folder in folders}) == 3
    shown = [node for node in slicer.util.getNodesByClass("vtkMRMLColorLegendDisplayNode") if node.GetVisibility()]
    logic = slicer.modules.colors.logic()
    assert shown == [logic.GetColorLegendDisplayNode(results[-1]["uncertainty"])]  # the newest result's alone


def test_everythingIsDisplayedExplicitly(application: Application, jobFolder: Path) -> None:
    views = FourViews(application, 128)
    nodes = publishResult(jobFolder)
    image, overlay = nodes["mean"].GetDisplayNode(), nodes["uncertainty"].GetDisplayNode()
    assert (image.GetWindow(), image.GetLevel(), image.GetAutoWindowLevel()) == (1400.0, -300.0, 0)
    high = float(np.percentile(slicer.util.arrayFromVolume(nodes["uncertainty"]), 99.5))
    assert overlay.GetWindowLevelMin() == 0.0
    assert high <= overlay.GetWindowLevelMax() <= 2.5 * high
    assert overlay.GetApplyThreshold()
    assert 0 < overlay.GetLowerThreshold() < overlay.GetWindowLevelMax() / 4
    assert overlay.GetColorNode().GetName() == "Diffusion uncertainty"
    legend = slicer.modules.colors.logic().GetColorLegendDisplayNode(nodes["uncertainty"])
    assert legend.GetVisibility()
    for name, view in views.slices.items():
        layers = view.logic.GetSliceCompositeNode()
        assert layers.GetBackgroundVolumeID() == nodes["mean"].GetID(), name
        assert layers.GetForegroundVolumeID() == nodes["uncertainty"].GetID(), name
        assert layers.GetForegroundOpacity() == pytest.approx(0.45)


def test_drawsAreASequenceOnlyOnRequest(inputNode: slicer.vtkMRMLScalarVolumeNode, jobFolder: Path) -> None:
    assert "draws" not in publishResult(jobFolder, inputNode)
    report = json.loads((jobFolder / "result.json").read_text(encoding="utf-8"))
    second = read_volume(jobFolder / "draw_1.nrrd")
    write_volume(second.with_array(second.array + 5), jobFolder / "draw_2.nrrd")
    report["files"]["draw_2"] = "draw_2.nrrd"
    (jobFolder / "result.json").write_text(json.dumps(report), encoding="utf-8")
    nodes = publishResult(jobFolder, inputNode, withDraws=True)
    sequence, browser = nodes["draws"], nodes["draws_browser"]
    assert sequence.GetName().startswith("Chest samples (")
    assert sequence.GetNumberOfDataNodes() == 2
    assert slicer.mrmlScene.GetFirstNodeByName(f"{sequence.GetName()} 2") is None
    shown = browser.GetProxyNode(sequence)
    for index in (1, 0):
        browser.SetSelectedItemNumber(index)
        kept = slicer.util.arrayFromVolume(sequence.GetNthDataNode(index))
        assert np.array_equal(slicer.util.arrayFromVolume(shown), kept)
        assert np.array_equal(kept, second.array + 5 * index)
    assert shown.GetTransformNodeID() == inputNode.GetTransformNodeID()
    assert shown.GetDisplayNode().GetWindow() == 1400.0


def test_newVolumesAreNamedAndShownForWhatTheyAre(application: Application, jobFolder: Path) -> None:
    addVolumes(jobFolder)
    nodes = publishResult(jobFolder)
    label = nodes["report"].GetName().removeprefix("CT: ")
    keys = ("not_seen", "not_seen_share", "residual")
    names = {key: nodes[key].GetName().removesuffix(f" ({label})") for key in keys}
    assert names == {
        "not_seen": "CT spread not determined by the scan (HU)",
        "not_seen_share": "CT share of the variance not determined by the scan",
        "residual": "CT residual (noise standard deviations)",
    }
    share, residual = nodes["not_seen_share"].GetDisplayNode(), nodes["residual"].GetDisplayNode()
    assert (share.GetWindowLevelMin(), share.GetWindowLevelMax()) == (0.0, 1.0)
    assert residual.GetWindowLevelMin() == -residual.GetWindowLevelMax() <= -3.0
    assert residual.GetColorNode().GetName() == "Diffusion difference"
    assert not residual.GetApplyThreshold()


def test_failedGateShowsTheFallbackFirst(application: Application, jobFolder: Path) -> None:
    views = FourViews(application, 64)
    addVolumes(jobFolder, {"fallback": ("HU", np.zeros(SHAPE))})
    nodes = publishResult(jobFolder)
    assert nodes["fallback"].GetName().startswith("CT diffusion blended towards TV (")
    for view in views.slices.values():
        assert view.logic.GetSliceCompositeNode().GetBackgroundVolumeID() == nodes["fallback"].GetID()
        assert view.logic.GetSliceCompositeNode().GetForegroundVolumeID() is None


def test_classicalResultAndSingleDrawNeedNoSpread(application: Application, jobFolder: Path) -> None:
    views = FourViews(application, 64)
    report = json.loads((jobFolder / "result.json").read_text(encoding="utf-8"))
    classical, single = {"spread": None, "prior": None, "draws": 0}, {"draws": 1}
    unkept = {"settings": {"keep": ["mean"]}}
    for keys, changes in (
        (("fbp", "tv"), classical), (("fbp", "tv", "mean"), single), (("mean",), {"spread": "point"}),
        (("fbp", "mean"), unkept), (("tv",), {"settings": {"keep": []}}),
    ):  # fmt: skip
        changed = {**report, **changes, "files": {key: f"{key}.nrrd" for key in keys}}
        (jobFolder / "result.json").write_text(json.dumps(changed), encoding="utf-8")
        nodes = publishResult(jobFolder)
        assert set(nodes) == {*keys, "report"}
        shown = views.slices["Red"].logic.GetSliceCompositeNode().GetBackgroundVolumeID()
        assert shown == nodes[keys[-1]].GetID()


def test_imagesOfAnotherUnitShareOneWindow(application: Application, jobFolder: Path) -> None:
    report = json.loads((jobFolder / "result.json").read_text(encoding="utf-8"))
    for name in report["files"].values():
        volume = read_volume(jobFolder / name)
        write_volume(Volume(volume.array + 1000, volume.ijk_to_ras, "Bq/mL"), jobFolder / name)
    (jobFolder / "result.json").write_text(json.dumps({**report, "modality": "pet"}), encoding="utf-8")
    nodes = publishResult(jobFolder)
    ranges = {
        (nodes[key].GetDisplayNode().GetWindowLevelMin(), nodes[key].GetDisplayNode().GetWindowLevelMax())
        for key in ("mean", "fbp", "tv", "reference")
    }
    highest = float(np.percentile(slicer.util.arrayFromVolume(nodes["mean"]), 99.5))
    assert len(ranges) == 1
    assert ranges.pop() == (0.0, pytest.approx(highest))


def test_twoResultsShareOneColourTableAndHaveFoldersOfTheirOwn(application: Application, jobFolder: Path) -> None:
    first, second = publishResult(jobFolder), publishResult(jobFolder)
    tables = {each["uncertainty"].GetDisplayNode().GetColorNodeID() for each in (first, second)}
    assert len(tables) == 1
    hierarchy = subjectHierarchy()
    items = [hierarchy.GetItemByDataNode(each["mean"]) for each in (first, second)]
    assert len({hierarchy.GetItemName(hierarchy.GetItemParent(item)) for item in items}) == 2


@pytest.mark.parametrize(
    "step", ["displayImage", "displayOverlay", "addLegend", "_addReport", "_addDraws", "nodeFromVolume"]
)
def test_failureAtAnyStepLeavesTheSceneAsItWas(
    step: str, application: Application, inputNode: slicer.vtkMRMLNode, jobFolder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    FourViews(application, 64)
    slicer.util.setSliceViewerLayers(background=inputNode, foreground=None, foregroundOpacity=0.2)
    before = snapshot()
    real = getattr(publish, step)

    def failAfterwards(*arguments: object) -> None:
        real(*arguments)
        raise RuntimeError("no memory")

    monkeypatch.setattr(publish, step, failAfterwards)
    with pytest.raises(RuntimeError, match="no memory"):
        publishResult(jobFolder, inputNode, withDraws=True)
    assert snapshot() == before
    monkeypatch.undo()
    assert publishResult(jobFolder, inputNode)["mean"].GetName().startswith("Chest diffusion mean (")


def test_brokenResultsAreRefusedBeforeAnyNodeIsMade(application: Application, jobFolder: Path) -> None:
    before = snapshot()
    report = json.loads((jobFolder / "result.json").read_text(encoding="utf-8"))

    def refused(words: str, **changes: object) -> None:
        (jobFolder / "result.json").write_text(json.dumps({**report, **changes}), encoding="utf-8")
        with pytest.raises(ValueError, match=words):
            publishResult(jobFolder)
        assert snapshot() == before

    refused("no 'uncertainty' volume", files={"mean": "mean.nrrd"})
    refused("says spread 'wide'", spread="wide")
    refused("has no image", spread="point", files={"uncertainty": "uncertainty.nrrd"})
    whole = (jobFolder / "tv.nrrd").read_bytes()
    (jobFolder / "tv.nrrd").write_bytes(whole[: len(whole) // 2])
    refused("tv.nrrd")


def test_colourTableIsPerceptual() -> None:
    """CIE lightness grows with every entry and its steps stay within a factor of the mean step."""
    colours = uncertaintyColours()
    linear = np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
    luminance = linear @ [0.2126, 0.7152, 0.0722]
    lightness = np.where(luminance > 0.008856, 116 * np.cbrt(luminance) - 16, 903.3 * luminance)
    steps = np.diff(lightness)
    assert steps.min() > 0
    assert steps.max() < 3 * steps.mean()
    assert lightness[-1] - lightness[0] > 70


def test_differenceColoursAreEvenAboutZero() -> None:
    """As dark at both ends, lightest and without colour in the middle, lightness even on both sides."""
    colours = differenceColours(255)
    linear = np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
    lightness = np.cbrt(linear @ [0.2126, 0.7152, 0.0722])
    assert int(np.argmax(lightness)) == 127
    assert np.ptp(colours[127]) < 0.01
    assert abs(lightness[0] - lightness[-1]) < 0.06
    assert colours[0, 2] > colours[0, 0] + 0.3
    assert colours[-1, 0] > colours[-1, 2] + 0.3
    assert (np.diff(lightness[:128]) > 0).all()
    assert (np.diff(lightness[127:]) < 0).all()


def test_niceUpperLimit() -> None:
    assert [niceUpperLimit(value) for value in (0.0, 0.9, 1.0, 23.0, 26.0, 51.0, 180.0)] == [1, 1, 1, 25, 50, 100, 200]
