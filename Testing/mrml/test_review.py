"""Review of a result: findings, verdicts, jumps and banner, on a real MRML scene with real slice views off screen."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest
import slicer
import slicer.util
from diffusion_engine.posterior.intervals import spread_factor
from diffusion_engine.posterior.segments import IntensityRule
from diffusion_engine.solvers.contract import SPREADS
from diffusion_engine.volume import Volume
from DiffusionReconLib.review import findings as review
from DiffusionReconLib.review import measure, words
from DiffusionReconLib.review.banner import labels
from DiffusionReconLib.review.table import escaped, readDraws, readLevel, unescaped
from DiffusionReconLib.scene import results
from DiffusionReconLib.scene.publish import publishResult
from DiffusionReconLib.scene.volumes import nodeFromVolume
from full_results import DRAWS, regionMasks, writeFullResult
from host.application import Application, openBundle, saveBundle
from host.render import addSegmentation, thresholdLabels
from host.views import FourViews, SliceView

SHAPE = (8, 48, 48)
TRICKY = 'Bewegung?\n\tSiehe "Serie 3" \\n; Größe 测试, <b> & =1+1 '


@pytest.fixture
def nodes(application: Application, tmp_path: Path) -> results.Nodes:
    return publishResult(writeFullResult(tmp_path / "job", SHAPE), withDraws=True)


def inSlice(view: SliceView, place: tuple[float, float, float]) -> np.ndarray:
    """The place in a view's own coordinates, mm: right and up from its centre, and out of its plane."""
    return (np.linalg.inv(slicer.util.arrayFromVTKMatrix(view.node.GetSliceToRAS())) @ [*place, 1.0])[:3]


def test_reviewFindsTheRegionsAndNamesTheirPlace(nodes: results.Nodes) -> None:
    labels = thresholdLabels(slicer.util.arrayFromVolume(nodes["reference"]), nodes["mean"].GetSpacing()[0])
    table = review.makeReview(nodes, segmentationNode=addSegmentation(labels, nodes["mean"]))
    nodule, strip = review.findings(table)
    masks = regionMasks(SHAPE)
    voxel = float(np.prod(nodes["mean"].GetSpacing()))
    assert nodule.volume_mm3 == pytest.approx(masks["nodule"].sum() * voxel)
    assert strip.volume_mm3 == pytest.approx(masks["strip"].sum() * voxel)
    assert (nodule.reason, strip.reason) == ("uncertain and not determined by the scan", "uncertain")
    assert nodule.not_seen_share == pytest.approx(0.8)
    assert (nodule.segment, strip.segment) == ("Lungs", "Body")
    assert (nodule.basis, nodule.level) == ("draws", None)
    draws = [draw[masks["nodule"]].astype(float) for draw in results.drawArrays(nodes)]
    means = [draw.mean() for draw in draws]
    assert nodule.interval == pytest.approx((min(means), max(means)))
    # The map is stretched by a calibration, the draws are not: neither is the half width beside their spread.
    assert nodule.half_width == pytest.approx(spread_factor(DRAWS) * np.std(draws, axis=0, ddof=1).max(), rel=1e-4)
    outlines = table.GetNodeReference("DiffusionPriors.Review.Segmentation")
    names = [outlines.GetSegmentation().GetNthSegment(n).GetName() for n in range(2)]
    assert names == ["Finding 1: uncertain and not determined by the scan", "Finding 2: uncertain"]
    for index, name in enumerate(("nodule", "strip")):
        segmentID = outlines.GetSegmentation().GetNthSegmentID(index)
        shown = slicer.util.arrayFromSegmentBinaryLabelmap(outlines, segmentID, nodes["mean"]) > 0
        assert np.array_equal(shown, masks[name])


def test_thresholdsDecideAndNoFindingIsAnAnswerToo(nodes: results.Nodes) -> None:
    assert len(review.findings(review.makeReview(nodes, threshold=175.0, shareThreshold=1.0))) == 1
    empty = review.makeReview(nodes, threshold=1e4)
    assert review.findings(empty) == []
    assert review.nextFinding(empty) is None
    assert review.currentFinding(empty) is None
    assert review.reviewOf(nodes) is empty


def test_resultWithoutUncertaintyIsRefusedAndTheSceneStays(nodes: results.Nodes) -> None:
    count = slicer.mrmlScene.GetNumberOfNodes()
    with pytest.raises(ValueError, match="has no 'uncertainty'"):
        review.makeReview({key: node for key, node in nodes.items() if key != "uncertainty"})
    with pytest.raises(ValueError, match="threshold above 0"):
        review.makeReview(nodes, threshold=-1.0)
    assert slicer.mrmlScene.GetNumberOfNodes() == count


def test_verdictsSurviveTheSceneFile(nodes: results.Nodes, application: Application, tmp_path: Path) -> None:
    table = review.makeReview(nodes)
    before = review.findings(table)
    assert review.verdict(table, 1) == review.Verdict()
    when = datetime(2025, 3, 4, 5, 6, 7, tzinfo=timezone(timedelta(hours=-7)))
    review.setVerdict(table, 1, "doubt", TRICKY, "Dr. Ö \"X\"", when)
    review.setVerdict(table, 2, "trust")
    review.setVerdict(table, None, "rescan", TRICKY, "Ö", when)
    given = [review.verdict(table, number) for number in (1, 2, None)]
    assert (given[0].comment, given[0].reviewer) == (TRICKY, 'Dr. Ö "X"')
    assert datetime.fromisoformat(given[0].time) == when
    assert abs(datetime.fromisoformat(given[1].time) - datetime.now(timezone.utc)) < timedelta(minutes=5)
    saveBundle(application.scene, tmp_path / "scene.mrb")
    openBundle(tmp_path / "scene.mrb")
    again = results.resultNodes(results.resultReports()[0])
    table = review.reviewOf(again)
    assert review.findings(table) == before
    assert [review.verdict(table, number) for number in (1, 2, None)] == given
    assert table.GetAttribute("DiffusionPriors.Unit") == "HU"
    review.setVerdict(table, 1, "trust")
    assert review.verdict(table, 1).verdict == "trust"
    assert review.goToFinding(table, 2) == before[1]


def test_everyTextSurvivesEscaping() -> None:
    for text in (TRICKY, "", "\\", "\\\\q", '"\\"', "\r\n", "\\x", "ends with \\"):
        assert unescaped(escaped(text)) == text
        assert not set(escaped(text)) & set('"\t\n\r')


def test_unknownVerdictsAndNumbersAreRefused(nodes: results.Nodes) -> None:
    table = review.makeReview(nodes)
    with pytest.raises(ValueError, match="one of trust, doubt, rescan"):
        review.setVerdict(table, 1, "maybe")
    with pytest.raises(ValueError, match="none with the number 9"):
        review.setVerdict(table, 9, "trust")
    with pytest.raises(ValueError, match="none with the number 0"):
        review.goToFinding(table, 0)


def test_viewsJumpToTheFindingAlsoUnderATransform(application: Application, tmp_path: Path) -> None:
    views = FourViews(application, 96)
    nodes = publishResult(writeFullResult(tmp_path / "job", SHAPE))
    views.fit()
    table = review.makeReview(nodes)
    for finding in review.findings(table):
        assert review.goToFinding(table, finding.number) == finding
        for view in views.slices.values():
            assert inSlice(view, finding.peak_ras_mm)[2] == pytest.approx(0.0, abs=1e-3)
    red = views.slices["Red"]
    # A view that shows the place already keeps its frame.
    assert inSlice(red, (0.0, 0.0, 0.0))[:2] == pytest.approx([0.0, 0.0], abs=6.0)
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "table")
    matrix = np.eye(4)
    matrix[:3, 3] = (300.0, -20.0, 7.0)
    transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
    nodes["mean"].SetAndObserveTransformNodeID(transform.GetID())
    finding = review.goToFinding(table, 1)
    moved = tuple(np.add(finding.peak_ras_mm, matrix[:3, 3]))
    for view in views.slices.values():
        assert inSlice(view, moved)[2] == pytest.approx(0.0, abs=1e-3)
    assert inSlice(red, moved) == pytest.approx(np.zeros(3), abs=1e-3)


def shownOutlines(table: slicer.vtkMRMLTableNode) -> list[str]:
    outlines = table.GetNodeReference("DiffusionPriors.Review.Segmentation")
    display, segments = outlines.GetDisplayNode(), outlines.GetSegmentation()
    ids = [segments.GetNthSegmentID(index) for index in range(segments.GetNumberOfSegments())]
    return [segments.GetSegment(each).GetName() for each in ids if display.GetSegmentVisibility(each)]


def test_nextAndPreviousGoRoundAndTheCurrentOneAloneIsOutlined(nodes: results.Nodes) -> None:
    table = review.makeReview(nodes)
    assert review.currentFinding(table) is None
    assert shownOutlines(table) == []
    assert [review.nextFinding(table).number for _ in range(3)] == [1, 2, 1]
    assert [review.previousFinding(table).number for _ in range(2)] == [2, 1]
    assert review.currentFinding(table) == 1
    assert shownOutlines(table) == ["Finding 1: uncertain and not determined by the scan"]
    review.hideOutlines(table)
    assert shownOutlines(table) == []


def test_outlineOfTheFindingIsInThePicture(application: Application, tmp_path: Path) -> None:
    views = FourViews(application, 192)
    nodes = publishResult(writeFullResult(tmp_path / "job", SHAPE), withDraws=True)
    views.fit()
    results.showMean(nodes)
    table = review.makeReview(nodes)
    review.goToFinding(table, 1)
    picture = views.slices["Red"].image().astype(int)[20:172, 12:180]
    magenta = (picture[..., 0] - picture[..., 1] > 60) & (picture[..., 2] - picture[..., 1] > 30)
    rows, columns = np.nonzero(magenta)
    assert 40 < magenta.sum() < 2500
    # The nodule lies in the patient's left half, left of the middle in i, so right in the view (L at the right edge).
    assert abs(np.median(columns) + 12 - 96) > 15
    assert abs(np.median(rows) + 20 - 96) < 25


def test_segmentsHaveIntervalsOverTheDraws(nodes: results.Nodes) -> None:
    labels = thresholdLabels(slicer.util.arrayFromVolume(nodes["reference"]), nodes["mean"].GetSpacing()[0])
    segmentation = addSegmentation(labels, nodes["mean"])
    rows = {row.name: row for row in review.segmentRows(nodes, segmentation, {"Lungs": IntensityRule(high=-400.0)})}
    lungs = rows["Lungs"]
    assert len(results.drawArrays(nodes)) == DRAWS
    means = [draw[labels == 2].astype(float).mean() for draw in results.drawArrays(nodes)]
    assert lungs.mean_interval == pytest.approx((min(means), max(means)))
    assert lungs.level is None
    assert review.spreadHeading(nodes) == f"range of {DRAWS} samples"
    assert lungs.volume_interval_mm3 is not None
    assert lungs.rule == "voxels of the mask up to -400 HU"
    assert rows["Bone"].volume_interval_mm3 is None
    assert rows["Bone"].volume_mm3 == pytest.approx((labels == 3).sum() * float(np.prod(nodes["mean"].GetSpacing())))


REPORT = {
    "prior": "ct-body",
    "spread": "concentrated",
    "residual_tests": [{"kind": "mean", "ratio": 1.2, "accepted": [0.7, 1.6], "passed": True}],
    "gate": {"score": 1.0, "threshold": 2.0, "passed": True, "blend": 0.0, "sentence": "fine"},
    "calibration": {
        "matched": True, "factor": 2.0, "coverage90": 0.5, "coverage90_calibrated": 0.9, "sentence": "fine",
    },
}  # fmt: skip


def lines(**changes: object) -> list[tuple[str, str]]:
    return [(line.text, line.state) for line in review.banner({**REPORT, **changes})]


def test_bannerOfAGoodResult() -> None:
    assert lines() == [
        ("Residual test passed: 1.20 times the noise (normal here: 0.70 to 1.60). It cannot see invented structure.",
         "good"),
        ("Like the model's training data: score 1.00, limit 2.00.", "good"),
        ("The uncertainty is a spread of estimates, not an error bar.", "warning"),
        ("Uncertainty calibrated for this acquisition: 90 % intervals held 90 % of the truth on held-out cases (50 % "
         "before).", "good"),
        ("Not for diagnostic use.", "warning"),
    ]  # fmt: skip


def test_bannerSaysWhatIsWrongOrUnknown() -> None:
    failed = [
        {"kind": "mean", "ratio": 3.0, "accepted": [0.7, 1.6], "passed": False, "explains": True, "advice": "Go."}
    ]
    gate = {"score": 3.4, "threshold": 2.0, "passed": False, "blend": 0.7, "sentence": "unlike"}
    bad = lines(residual_tests=failed, gate=gate, calibration={**REPORT["calibration"], "matched": False})
    assert [state for _, state in bad] == ["bad", "bad", "warning", "warning", "warning"]
    assert bad[0][0].startswith("Residual test failed: 3.00 times the noise (normal here: 0.70 to 1.60).")
    assert "70 % of the shown image is the classical one" in bad[1][0]
    assert bad[3][0] == "Uncertainty not calibrated for this acquisition."
    unknown = lines(residual_tests=[], gate=None, calibration=None, spread="posterior")
    assert [text.partition(":")[0] for text, _ in unknown[:2]] == [
        "Residual test", "Likeness to the model's training data",
    ]  # fmt: skip
    assert unknown[2] == ("The uncertainty is a posterior standard deviation under this trained model.", "plain")
    near = lines(spread="near-posterior")
    assert near[2] == ("The uncertainty is a spread of samples near the posterior, not an error bar.", "warning")
    assert set(labels()) == set(SPREADS)


def test_bannerSaysWhatIsSmoothAndInNoImage() -> None:
    misfit = "Over broad groups of readings the residual is 3.0 times their noise: do not measure them."
    test = {"kind": "mean", "ratio": 1.0, "accepted": [0.7, 1.6], "passed": False, "explains": True, "advice": ""}
    found = lines(residual_tests=[{**test, "misfit": misfit}])
    assert found[0] == (f"Residual test failed: 1.00 times the noise (normal here: 0.70 to 1.60). {misfit}", "bad")
    both = lines(residual_tests=[{**test, "advice": "Go.", "misfit": misfit}])
    assert both[0][0].endswith(f"1.60). Go. {misfit}")


def test_bannerRecommendsNoImageWhereNoneExplainsTheData() -> None:
    """What the engine advises is said, and neither a fallback nor the classical image is praised."""
    advice = "No image that was made explains the data: use none of the images."
    failed = [
        {"kind": kind, "ratio": 16878.0, "accepted": [9e3, 3e4], "passed": False, "explains": False, "advice": advice}
        for kind in ("tv", "mean")
    ]
    gate = {"score": 3.4, "threshold": 2.0, "passed": False, "blend": 0.0, "sentence": "unlike"}
    found = lines(residual_tests=failed, gate=gate, calibration=None)
    text, state = found[0]
    assert state == "bad"
    assert text == (
        f"Residual test failed: 16878.00 times the noise, too large a part of the data themselves. {advice}"
    )
    assert found[1] == (
        "Unlike the model's training data: score 3.40, limit 2.00; no image explains the data, so none takes its "
        "place.", "bad",
    )
    assert not any("lassical" in text for text, _ in found)


def test_anUnlikeImageThatWasKeptIsAWarning() -> None:
    """Nothing says that no image explains the data; a report of an earlier version has no such entry."""
    gate = {"score": 3.4, "threshold": 2.0, "passed": False, "blend": 0.0, "sentence": "unlike", "kept": True}
    assert lines(gate=gate)[1] == (
        "Unlike the model's training data: score 3.40, limit 2.00; the classical image was found to be no better, so "
        "the mean stays.", "warning",
    )
    assert "no image explains" in lines(gate={**gate, "kept": False})[1][0]


def test_percentagesAreOnlyOfManyDrawsOfAPosteriorMethod(application: Application, tmp_path: Path) -> None:
    """Of an earlier version's review, which claimed a level of any draws, nothing is claimed."""
    nodes = publishResult(writeFullResult(tmp_path / "job", SHAPE, spread="posterior"), withDraws=True)
    table = review.makeReview(nodes)
    assert review.spreadHeading(nodes) == f"range of {DRAWS} samples"
    assert (readLevel(table), readDraws(table)) == (None, DRAWS)
    many = [results.drawArrays(nodes)[n % DRAWS] for n in range(19)]
    with pytest.MonkeyPatch.context() as patched:
        for module in (review, measure):
            patched.setattr(module, "drawArrays", lambda given: many)
        assert review.spreadHeading(nodes) == "90 %, under the trained model"
        claimed = review.makeReview(nodes)
    assert (readLevel(claimed), readDraws(claimed)) == (0.9, 19)
    assert {each.level for each in review.findings(claimed)} == {0.9}
    claimed.RemoveAttribute("DiffusionPriors.Draws")
    assert readLevel(claimed) is None
    bare = {key: node for key, node in nodes.items() if key != "draws"}
    assert review.spreadHeading(bare) == "± of its voxels"
    assert {each.basis for each in review.findings(review.makeReview(bare))} == {"map"}


def test_bannerOfAClassicalResultSpeaksOfNoPrior() -> None:
    tests = [{"kind": "tv", "ratio": 1.0, "accepted": [0.5, 2.0], "passed": True}]
    texts = [text for text, _ in lines(prior=None, spread=None, gate=None, calibration=None, residual_tests=tests)]
    assert len(texts) == 2
    assert texts[0].startswith("Residual test passed: 1.00")
    assert texts[-1] == "Not for diagnostic use."


def test_bannerOfOneDrawClaimsNoUncertainty() -> None:
    texts = [text for text, _ in lines(draws=1)]
    assert texts[2:] == ["One estimate only: it has no uncertainty.", "Not for diagnostic use."]


def test_oldReportsWithoutTheNewKeysHaveABanner() -> None:
    old = {key: REPORT[key] for key in ("prior", "spread", "residual_tests")}
    assert [line.state for line in review.banner(old)] == ["good", "warning", "warning", "warning", "warning"]


def test_findingAgainTakesOverWhatWasSaidOfTheSameRegions(nodes: results.Nodes) -> None:
    first = review.makeReview(nodes)
    review.setVerdict(first, 1, "doubt", TRICKY, "Ö")
    review.setVerdict(first, 2, "", "only a comment")
    review.setVerdict(first, None, "trust", "all in all")
    review.goToFinding(first, 1)
    labels = thresholdLabels(slicer.util.arrayFromVolume(nodes["reference"]), nodes["mean"].GetSpacing()[0])
    again = review.makeReview(nodes, segmentationNode=addSegmentation(labels, nodes["mean"]))
    assert review.reviewOf(nodes) is again
    assert [review.verdict(again, number) for number in (1, 2, None)] == [
        review.verdict(first, number) for number in (1, 2, None)
    ]
    assert shownOutlines(first) == []
    # Of other regions nothing is taken over, and the earlier review keeps it.
    other = review.makeReview(nodes, minimumMm3=12500.0)
    (left,) = review.findings(other)
    assert (left.reason, review.verdict(other, 1).comment) == ("uncertain", "only a comment")
    assert review.verdict(first, 1).comment == TRICKY
    # Taken back, nothing remains, neither a name nor a time.
    review.setVerdict(other, 1, "", "", "Ö")
    assert review.verdict(other, 1) == review.Verdict()


def test_theFirstRegionsAreListedAndTheOthersAreKept(
    nodes: results.Nodes, application: Application, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(review, "MOST", 1)
    table = review.makeReview(nodes)
    assert [each.number for each in review.listed(table)] == [1]
    assert (len(review.findings(table)), review.foundCount(table)) == (2, 2)
    assert review.nextFinding(table).number == review.nextFinding(table).number == 1
    review.listAll(table, True)
    saveBundle(application.scene, tmp_path / "scene.mrb")
    openBundle(tmp_path / "scene.mrb")
    table = review.reviews()[0]
    assert [each.number for each in review.listed(table)] == [1, 2]
    review.listAll(table, False)
    review.setVerdict(table, 2, "", "see here")
    assert [each.number for each in review.listed(table)] == [1, 2]
    monkeypatch.setattr(review, "MOST_KEPT", 1)
    fewer = review.makeReview(results.resultNodes(results.resultReports()[0]))
    assert (len(review.findings(fewer)), review.foundCount(fewer)) == (1, 2)


def test_tablesOfEarlierVersionsAreRead(nodes: results.Nodes) -> None:
    table = review.makeReview(nodes)
    before = review.findings(table)
    table.RenameColumn(table.GetColumnIndex("Not determined (share)"), "Not-seen share")
    for name in ("Contrast", "Score (mm)"):
        table.RemoveColumn(table.GetColumnIndex(name))
    table.SetCellText(0, table.GetColumnIndex("Reason"), "uncertain and not seen")
    table.RemoveAttribute("DiffusionPriors.Found")
    review.setVerdict(table, 1, "doubt", "as before")
    assert review.verdict(table, 1).comment == "as before"
    first = review.findings(table)[0]
    assert first == replace(before[0], contrast=None, score_mm=None)
    assert words.reasonWords(first, "HU").startswith("Spread of ±207 HU over 29 mm")
    assert review.foundCount(table) == 2


def test_aReadableStepIsOnePartInAHundredOfTheWindow(nodes: results.Nodes) -> None:
    assert review.readableContrast(nodes) == review.defaultThreshold(nodes) == pytest.approx(14.0)
    other = nodeFromVolume(Volume(np.linspace(0, 8, 1001, dtype=np.float32).reshape(7, 11, 13), np.eye(4), "g/mL"), "x")
    assert review.readableContrast({"mean": other}) == pytest.approx(0.01 * 8 * 0.99)
    even = nodeFromVolume(Volume(np.ones((3, 4, 5), np.float32), np.eye(4), "g/mL"), "even")
    assert 0 < review.defaultThreshold({"mean": even}) < 1e-30


def test_findingsInWords(nodes: results.Nodes) -> None:
    finding = replace(
        review.findings(review.makeReview(nodes))[0], volume_mm3=np.pi / 6 * 8.0**3, mean_value=-860.4,
        interval=(-920.0, -800.0), contrast=40.0, not_seen_share=0.634, segment="Lungs", peak_ras_mm=(1.6, -2.4, 30.0),
    )  # fmt: skip
    assert words.reasonWords(finding, "HU") == "Spread of ±60 HU on an edge of 40 HU, 8 mm"
    assert words.reasonWords(replace(finding, contrast=14.0), "HU") == "Spread of ±60 HU in even tissue, 8 mm"
    alone = replace(finding, reason="not determined by the scan")
    assert words.reasonWords(alone, "HU") == "Spread of ±60 HU on an edge of 40 HU, 8 mm; not determined by the scan"
    assert words.detailWords(finding, "HU", 6).split("\n") == [
        "Place (R, A, S): 2, -2, 30 mm",
        "Mean -860 [-920, -800] HU (smallest to largest of 6 samples)",
        "Volume 268 mm³",
        "Not determined by the scan: 63 % of the variance",
        "In Lungs",
    ]
    assert words.intervalWords(-832.943, (-832.978, -832.919), "HU") == "-832.9 [-833.0, -832.9] HU"
    assert words.intervalWords(0.0213, (0.0201, 0.0222), "1/mm") == "0.0213 [0.0201, 0.0222] 1/mm"
    assert words.intervalWords(5.0, (5.0, 5.0), "") == "5.00 [5.00, 5.00]"
    assert words.intervalWords(0.0, None, "HU") == "0.0 HU"
    assert [words.volumeWords(each) for each in (48.2, 999.0, 12345.0, 1856e3)] == [
        "48.2 mm³", "999 mm³", "12.3 cm³", "1856 cm³",
    ]  # fmt: skip
    assert words.volumeWords(2000.0, (1500.0, 2600.0)) == "2.00 [1.50, 2.60] cm³"
    assert [words.verdictWords(each) for each in ("", *review.VERDICTS)] == ["", "Trust", "Doubt", "Needs another scan"]
