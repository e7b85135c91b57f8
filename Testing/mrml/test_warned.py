"""Maps that warn in the scene and in the review: names, colours, looks, findings, banner, reports; no application."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
import slicer
import slicer.util
from diffusion_engine.posterior.findings import BOTH, NOT_SEEN, UNCERTAIN, WARNED
from DiffusionReconLib.review import findings as review
from DiffusionReconLib.review import report, words
from DiffusionReconLib.review.banner import BannerLine, banner
from DiffusionReconLib.review.outlines import REASON_COLOURS
from DiffusionReconLib.review.structured_report import REASONS
from DiffusionReconLib.scene import results
from DiffusionReconLib.scene.publish import publishResult
from full_results import writeFullResult
from host.application import Application, openBundle, saveBundle
from host.views import FourViews
from test_report import sourceImage

SHAPE = (8, 48, 48)
MAPS = ("prior_decided", "data_disagree")


@pytest.fixture
def nodes(application: Application, tmp_path: Path) -> results.Nodes:
    return publishResult(writeFullResult(tmp_path / "job", SHAPE, warns=True), withDraws=True)


def test_mapsAreShownAboutZeroInOneWindow(nodes: results.Nodes, application: Application) -> None:
    views = FourViews(application, 64)
    names = [nodes[key].GetName().partition(" (DDS")[0] for key in MAPS]
    assert [name.partition(" map of ")[2] for name in names] == [
        "where the model decided (standard deviations)", "where data and image disagree (standard deviations)",
    ]
    layers = views.slices["Red"].logic.GetSliceCompositeNode()
    looks = (results.showPriorDecided, results.showDataDisagree)
    for key, show, title in zip(MAPS, looks, ("Model dec.\ns.d.", "Disagree\ns.d."), strict=True):
        display = nodes[key].GetDisplayNode()
        assert (display.GetWindowLevelMin(), display.GetWindowLevelMax()) == (-6.0, 6.0)
        assert display.GetColorNode().GetName() == "Diffusion difference"
        assert not display.GetApplyThreshold()
        show(nodes)
        assert layers.GetForegroundVolumeID() == nodes[key].GetID()
        legends = slicer.util.getNodesByClass("vtkMRMLColorLegendDisplayNode")
        assert [legend.GetTitleText() for legend in legends if legend.GetVisibility()] == [title]
    slicer.mrmlScene.RemoveNode(nodes["prior_decided"])
    with pytest.raises(ValueError, match="has no 'prior_decided'"):
        results.showPriorDecided(nodes)


def test_aWarnedPlaceIsTheFirstFindingAndIsJumpedTo(
    nodes: results.Nodes, application: Application, tmp_path: Path
) -> None:
    views = FourViews(application, 64)
    table = review.makeReview(nodes)
    first, second, third = review.findings(table)
    assert (first.reason, first.z, second.z, third.z) == ("the model decided", 7.0, None, None)
    assert second.reason == "uncertain and not determined by the scan"
    assert first.volume_mm3 == pytest.approx(27 * np.prod(nodes["mean"].GetSpacing()))
    text = words.reasonWords(first, "HU")
    assert text.startswith("The model decided here: z +7.0, ")
    assert text.endswith(" mm")
    review.goToFinding(table, 1)
    outlines = table.GetNodeReference("DiffusionPriors.Review.Segmentation")
    assert outlines.GetSegmentation().GetNthSegment(0).GetName() == "Finding 1: the model decided"
    for view in views.slices.values():
        inPlane = np.linalg.inv(slicer.util.arrayFromVTKMatrix(view.node.GetSliceToRAS())) @ [*first.peak_ras_mm, 1.0]
        assert abs(inPlane[2]) < 1e-3
    path = saveBundle(application.scene, tmp_path / "scene.mrb")
    before = review.findings(table)
    openBundle(path)
    assert review.findings(review.reviews()[0]) == before


def test_aMapThatIsGoneWarnsOfNothing(nodes: results.Nodes) -> None:
    slicer.mrmlScene.RemoveNode(nodes["prior_decided"])
    left = results.resultNodes(nodes["report"])
    assert [each.z for each in review.findings(review.makeReview(left))] == [None, None]


def test_everyReasonHasWordsAColourAndACode(nodes: results.Nodes) -> None:
    assert set(REASON_COLOURS) == set(REASONS) == {UNCERTAIN, NOT_SEEN, BOTH, *WARNED}
    assert all(len(code) <= 16 for code, _ in REASONS.values())
    first = review.findings(review.makeReview(nodes))[0]
    said = {words.reasonWords(replace(first, reason=reason), "HU") for reason in WARNED}
    assert len(said) == 3


def test_reportsNameTheMapsAndTheirPlaces(nodes: results.Nodes, tmp_path: Path) -> None:
    table = review.makeReview(nodes)
    content = json.loads(report.exportJson(table, tmp_path / "r.json").read_text(encoding="utf-8"))
    assert content["findings"][0]["z"] == 7.0
    assert content["findings"][1]["z"] is None
    lines = report.exportCsv(table, tmp_path / "r.csv").read_text(encoding="utf-8-sig").splitlines()
    rows = list(csv.DictReader(lines))
    assert [row["z"] for row in rows] == ["7.0", "", ""]
    page = report.exportHtml(table, tmp_path / "r.html").read_text(encoding="utf-8")
    assert "Where the model decided: 1 place to look at, limit z 5.0, 0.9 false alarms in 32 ordinary slices." in page
    assert "The model decided here: z +7.0" in page
    pytest.importorskip("highdicom", reason="highdicom is not installed (it is optional)")
    path = report.exportStructuredReport(table, tmp_path / "review.dcm", [sourceImage()])
    meanings = [str(each.value) for each in pydicom.dcmread(path).iterall() if each.keyword == "CodeMeaning"]
    assert "Region of a reconstruction in which the model decided" in meanings
    assert meanings.count("Height of the warning map in standard deviations of its null") == 1


def test_theBannerSaysWhatTheMapsWarnOf() -> None:
    def said(**changes: object) -> BannerLine:
        told = {"threshold": 5.0, "false_alarms_per_32_slices": 0.9, "warnings": [], **changes}
        lines = banner({"prior": "ct-body", "spread": "concentrated", "draws": 4, "maps": {"data_disagree": told}})
        return next(line for line in lines if line.text.startswith("Where the data and this image disagree: "))

    place = {"ras": [0, 0, 0], "z": 6.0}
    assert said() == BannerLine(
        "Where the data and this image disagree: no place stands out, limit z 5.0, 0.9 false alarms in 32 ordinary "
        "slices. That excludes no lesion.", "plain")
    assert said(warnings=[place, place]).text.endswith(
        "2 places to look at, limit z 5.0, 0.9 false alarms in 32 ordinary slices.")
    assert said(warnings=[place]).state == "bad"
    assert "rate of false alarms not known here" in said(false_alarms_per_32_slices=None).text
    assert said(threshold=None, false_alarms_per_32_slices=None) == BannerLine(
        "Where the data and this image disagree: not calibrated for this acquisition, warns of no place.", "warning")
    assert not [line for line in banner({"prior": "ct-body", "spread": "point"}) if "disagree" in line.text]
