"""A person's review of a result: its findings, a verdict for each and one for the whole, kept in a table node.

Places are in the result's own frame (RAS, mm); a parent transform is applied only on the way to the views.
"""

from __future__ import annotations

from datetime import datetime, timezone

import numpy as np
import slicer
import slicer.util
from diffusion_engine.posterior.findings import BOTH, NOT_SEEN, UNCERTAIN, Finding, Regions, find_regions
from diffusion_engine.posterior.intervals import claimed_level, spread_factor
from diffusion_engine.posterior.segments import IntensityRule, SegmentInterval, segment_intervals

from DiffusionReconLib.review.banner import BannerLine, banner
from DiffusionReconLib.review.table import (
    DRAWS,
    Verdict,
    addTable,
    escaped,
    readFindings,
    readVerdict,
    rowOf,
    unescaped,
    writeVerdict,
)
from DiffusionReconLib.scene.display import WINDOW_PERCENTILE, niceUpperLimit
from DiffusionReconLib.scene.publish import ATTRIBUTE_PREFIX, sceneKeptOnFailure
from DiffusionReconLib.scene.results import Nodes, drawArrays, needed, resultImage, resultReport
from DiffusionReconLib.scene.volumes import volumeFromNode

__all__ = [
    "VERDICTS", "BannerLine", "Verdict", "banner", "currentFinding", "defaultThreshold", "findings", "goToFinding",
    "makeReview", "nextFinding", "previousFinding", "reviewOf", "reviews", "segmentRows", "setVerdict", "spreadHeading",
    "verdict",
]  # fmt: skip

VERDICTS = ("trust", "doubt", "rescan")
REPORT_REFERENCE = "DiffusionPriors.Review.Report"
IMAGE_REFERENCE = "DiffusionPriors.Review.Image"
SEGMENTATION_REFERENCE = "DiffusionPriors.Review.Segmentation"
CURRENT = ATTRIBUTE_PREFIX + "Current"
# Told apart without red and green; the reason is in the segment's name too.
REASON_COLOURS = {UNCERTAIN: (1.0, 0.6, 0.1), NOT_SEEN: (0.25, 0.75, 1.0), BOTH: (1.0, 0.3, 0.75)}
OUTLINE, OUTLINE_CURRENT, FILL_CURRENT = 0.55, 1.0, 0.25


def makeReview(
    nodes: Nodes,
    threshold: float | None = None,
    shareThreshold: float = 0.5,
    minimumMm3: float = 50.0,
    segmentationNode: slicer.vtkMRMLSegmentationNode | None = None,
) -> slicer.vtkMRMLTableNode:
    """Find the regions of a published result and add the review's table and the highlighted findings to the scene.

    `threshold`: half width of a voxel in the map of the uncertainty, in the image's unit (default: `defaultThreshold`);
    `segmentationNode`: its segments name the places of the findings. Raises ValueError for a result without
    uncertainty, with the scene as it was.
    """
    spread, image = needed(nodes, "uncertainty"), needed(nodes, "mean")
    share = nodes.get("not_seen_share")
    threshold = defaultThreshold(nodes) if threshold is None else threshold
    draws = drawArrays(nodes)
    level = _level(nodes, len(draws))
    regions = find_regions(
        volumeFromNode(spread),
        volumeFromNode(image),
        None if share is None else volumeFromNode(share),
        draws,
        threshold,
        shareThreshold,
        minimumMm3,
        _masks(segmentationNode, image),
        draw_count=_drawCount(nodes),
        level=level,
    )
    with sceneKeptOnFailure():
        node = addTable(f"{image.GetName()} review", regions.findings)
        described = {"Unit": volumeFromNode(image).unit, "Threshold": threshold, "ShareThreshold": shareThreshold}
        described |= {"MinimumMm3": minimumMm3, "Level": "" if level is None else level, DRAWS: len(draws)}
        for name, value in described.items():
            node.SetAttribute(ATTRIBUTE_PREFIX + name, str(value))
        node.SetNodeReferenceID(REPORT_REFERENCE, nodes["report"].GetID())
        node.SetNodeReferenceID(IMAGE_REFERENCE, image.GetID())
        outlines = _addOutlines(f"{image.GetName()} findings", regions, image)
        node.SetNodeReferenceID(SEGMENTATION_REFERENCE, outlines.GetID())
        hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
        folder = hierarchy.GetItemParent(hierarchy.GetItemByDataNode(image))
        for each in (node, outlines):
            hierarchy.SetItemParent(hierarchy.GetItemByDataNode(each) or hierarchy.CreateItem(folder, each), folder)
    return node


def defaultThreshold(nodes: Nodes) -> float:
    """A half width that stands out: that of a standard deviation of half the overlay's first window."""
    values = slicer.util.arrayFromVolume(needed(nodes, "uncertainty"))
    limit = niceUpperLimit(float(np.percentile(values, WINDOW_PERCENTILE)))
    return limit / 2 * spread_factor(_drawCount(nodes))


def reviews() -> list[slicer.vtkMRMLTableNode]:
    """All reviews in the scene, oldest first."""
    tables = slicer.util.getNodesByClass("vtkMRMLTableNode")
    return [node for node in tables if node.GetNodeReference(REPORT_REFERENCE) is not None]


def reviewOf(nodes: Nodes) -> slicer.vtkMRMLTableNode | None:
    """The newest review of a result, also in a reopened scene."""
    own = [node for node in reviews() if node.GetNodeReference(REPORT_REFERENCE) is nodes["report"]]
    return own[-1] if own else None


def findings(review: slicer.vtkMRMLTableNode) -> list[Finding]:
    """The findings, read back from the table."""
    return readFindings(review)


def verdict(review: slicer.vtkMRMLTableNode, number: int | None = None) -> Verdict:
    """The verdict on finding `number`, or on the whole result for None."""
    if number is not None:
        return readVerdict(review, number)
    names = ("Verdict", "Comment", "Reviewer", "Time")
    return Verdict(*(unescaped(review.GetAttribute(ATTRIBUTE_PREFIX + name) or "") for name in names))


def setVerdict(
    review: slicer.vtkMRMLTableNode,
    number: int | None,
    verdict: str,
    comment: str = "",
    reviewer: str = "",
    time: datetime | None = None,
) -> None:
    """Record a verdict (one of VERDICTS, or "" to take it back) on a finding, or on the whole result for None.

    `time`: default now; one without a zone is taken for local time. Raises ValueError for another word or number.
    """
    if verdict not in ("", *VERDICTS):
        raise ValueError(f"A verdict is one of {', '.join(VERDICTS)}, but '{verdict}' was given.")
    when = (time or datetime.now(timezone.utc)).astimezone().isoformat(timespec="seconds")
    entry = Verdict(verdict, comment, reviewer, when)
    if number is not None:
        writeVerdict(review, number, entry)
        return
    texts = {"Verdict": verdict, "Comment": comment, "Reviewer": reviewer, "Time": when}
    for name, text in texts.items():
        review.SetAttribute(ATTRIBUTE_PREFIX + name, escaped(text))


def goToFinding(review: slicer.vtkMRMLTableNode, number: int) -> Finding:
    """All slice views jump to the finding's peak, and its outline stands out from the others'.

    A view that shows the place already only changes its slice; another one is centred on it. Raises ValueError for an
    unknown number or when the result's image is gone from the scene.
    """
    rowOf(review, number)
    finding = next(each for each in findings(review) if each.number == number)
    image = review.GetNodeReference(IMAGE_REFERENCE)
    if image is None:
        raise ValueError("The reviewed image is no longer in the scene: reconstruct and review again.")
    world = [0.0, 0.0, 0.0]
    image.TransformPointToWorld(finding.peak_ras_mm, world)
    for node in slicer.util.getNodesByClass("vtkMRMLSliceNode"):
        (node.JumpSliceByOffsetting if _inView(node, world) else node.JumpSliceByCentering)(*world)
    review.SetAttribute(CURRENT, str(number))
    outlines = review.GetNodeReference(SEGMENTATION_REFERENCE)
    if outlines is not None:
        _emphasise(outlines, finding)
    return finding


def currentFinding(review: slicer.vtkMRMLTableNode) -> int | None:
    """The number of the finding last gone to, None before the first."""
    text = review.GetAttribute(CURRENT)
    return int(text) if text else None


def nextFinding(review: slicer.vtkMRMLTableNode) -> Finding | None:
    """Go to the finding after the current one (round to the first); None without findings."""
    return _step(review, 1)


def previousFinding(review: slicer.vtkMRMLTableNode) -> Finding | None:
    """Go to the finding before the current one (round to the last); None without findings."""
    return _step(review, -1)


def segmentRows(
    nodes: Nodes,
    segmentationNode: slicer.vtkMRMLSegmentationNode,
    rules: dict[str, IntensityRule] | None = None,
) -> tuple[SegmentInterval, ...]:
    """Mean value and volume of every segment with their spread over the result's draws (`rules` by segment name).

    Smallest to largest of the draws; an interval with its level only over many draws of a posterior method.
    """
    image, draws = resultImage(nodes), drawArrays(nodes)
    level = _level(nodes, len(draws))
    return segment_intervals(volumeFromNode(image), draws, _masks(segmentationNode, image), rules, level=level)


def spreadHeading(nodes: Nodes) -> str:
    """What stands in brackets behind a value of the result's tables, in a few words."""
    count = len(drawArrays(nodes))
    level = _level(nodes, count)
    if count < 2:
        return "± of its voxels"
    return f"range of {count} draws" if level is None else f"{100 * level:g} %, under the prior"


def _level(nodes: Nodes, draws: int) -> float | None:
    return claimed_level(resultReport(nodes).get("spread"), draws)


def _drawCount(nodes: Nodes) -> int | None:
    count = int(resultReport(nodes).get("draws") or 0)
    return count if count > 1 else None


def _masks(
    segmentation: slicer.vtkMRMLSegmentationNode | None, image: slicer.vtkMRMLScalarVolumeNode
) -> dict[str, np.ndarray]:
    """The segments in the image's grid, by name; of equal names the later ones get their number."""
    masks: dict[str, np.ndarray] = {}
    if segmentation is None:
        return masks
    segments = segmentation.GetSegmentation()
    for index in range(segments.GetNumberOfSegments()):
        name = segments.GetNthSegment(index).GetName()
        name = f"{name} ({index + 1})" if name in masks else name
        array = slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, segments.GetNthSegmentID(index), image)
        masks[name] = np.asarray(array) > 0
    return masks


def _addOutlines(
    name: str, regions: Regions, image: slicer.vtkMRMLScalarVolumeNode
) -> slicer.vtkMRMLSegmentationNode:
    """The findings as segments, outlined in the slice views."""
    scene = slicer.mrmlScene
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(image)
    node.SetAndObserveTransformNodeID(image.GetTransformNodeID())
    display = node.GetDisplayNode()
    display.SetVisibility3D(False)
    if not regions.findings:
        return node
    # All segments in one label map: a hundred findings take no more room than one.
    labels = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", f"{name} labels")
    labels.CopyOrientation(image)
    labels.SetAndObserveTransformNodeID(image.GetTransformNodeID())
    slicer.util.updateVolumeFromArray(labels, regions.labels.astype(np.int32))
    slicer.modules.segmentations.logic().ImportLabelmapToSegmentationNode(labels, node)
    scene.RemoveNode(labels)
    segments = node.GetSegmentation()
    ids = {
        segments.GetNthSegment(index).GetLabelValue(): segments.GetNthSegmentID(index)
        for index in range(segments.GetNumberOfSegments())
    }
    for finding in regions.findings:
        segment = segments.GetSegment(ids[finding.number])
        segment.SetName(_segmentName(finding))
        segment.SetColor(*REASON_COLOURS[finding.reason])
        _setEmphasis(display, ids[finding.number], False)
    return node


def _segmentName(finding: Finding) -> str:
    return f"Finding {finding.number}: {finding.reason}"


def _emphasise(outlines: slicer.vtkMRMLSegmentationNode, finding: Finding) -> None:
    segments, display = outlines.GetSegmentation(), outlines.GetDisplayNode()
    for index in range(segments.GetNumberOfSegments()):
        current = segments.GetNthSegment(index).GetName() == _segmentName(finding)
        _setEmphasis(display, segments.GetNthSegmentID(index), current)


def _setEmphasis(display: slicer.vtkMRMLSegmentationDisplayNode, segmentID: str, current: bool) -> None:
    display.SetSegmentOpacity2DOutline(segmentID, OUTLINE_CURRENT if current else OUTLINE)
    display.SetSegmentOpacity2DFill(segmentID, FILL_CURRENT if current else 0.0)


def _inView(node: slicer.vtkMRMLSliceNode, world: list[float]) -> bool:
    """Whether the place lies within the part of its plane that the view shows."""
    toSlice = np.linalg.inv(slicer.util.arrayFromVTKMatrix(node.GetSliceToRAS()))
    place = toSlice @ [*world, 1.0]
    width, height, _ = node.GetFieldOfView()
    return bool(abs(place[0]) <= width / 2 and abs(place[1]) <= height / 2)


def _step(review: slicer.vtkMRMLTableNode, step: int) -> Finding | None:
    numbers = [each.number for each in findings(review)]
    if not numbers:
        return None
    current = currentFinding(review)
    at = numbers.index(current) + step if current in numbers else (0 if step > 0 else -1)
    return goToFinding(review, numbers[at % len(numbers)])
