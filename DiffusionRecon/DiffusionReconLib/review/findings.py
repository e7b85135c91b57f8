"""A person's review of a result: its findings, a verdict for each and one for the whole, kept in a table node.

Places are in the result's own frame (RAS, mm); a parent transform is applied only on the way to the views.
"""

from __future__ import annotations

from dataclasses import astuple
from datetime import datetime, timezone

import numpy as np
import slicer
import slicer.util
from diffusion_engine.posterior.findings import DATA_DISAGREE, PRIOR_DECIDED, Finding, find_regions
from diffusion_engine.posterior.warned import Warned, with_warnings
from slicer.i18n import tr as _

from DiffusionReconLib.review.banner import BannerLine, banner
from DiffusionReconLib.review.measure import drawCount, levelOf, masksOf, segmentRows, spreadHeading
from DiffusionReconLib.review.outlines import addOutlines, showOutline
from DiffusionReconLib.review.table import (
    DRAWS,
    Verdict,
    addTable,
    escaped,
    readDraws,
    readFindings,
    readVerdict,
    rowOf,
    unescaped,
    writeVerdict,
)
from DiffusionReconLib.scene.display import CT_WINDOW_LEVEL
from DiffusionReconLib.scene.publish import ATTRIBUTE_PREFIX, sceneKeptOnFailure
from DiffusionReconLib.scene.results import Nodes, drawArrays, needed, resultImage, resultReport
from DiffusionReconLib.scene.volumes import unitOfNode, volumeFromNode

__all__ = [
    "MOST", "VERDICTS", "BannerLine", "Verdict", "banner", "currentFinding", "defaultThreshold", "findings",
    "foundCount", "goToFinding", "hideOutlines", "imageUnit", "listAll", "listed", "listsAll", "makeReview",
    "nextFinding", "previousFinding", "readDraws", "readableContrast", "reviewOf", "reviews", "segmentRows",
    "setVerdict", "spreadHeading", "unitOf", "verdict",
]  # fmt: skip

VERDICTS = ("trust", "doubt", "rescan")
REPORT_REFERENCE = "DiffusionPriors.Review.Report"
IMAGE_REFERENCE = "DiffusionPriors.Review.Image"
SEGMENTATION_REFERENCE = "DiffusionPriors.Review.Segmentation"
CURRENT = ATTRIBUTE_PREFIX + "Current"
LIST_ALL = ATTRIBUTE_PREFIX + "ListAll"
# How many regions a reader is shown unless more are asked for, those most worth a look first.
MOST = 20
# How many are kept at all: nobody looks at more, and each has an outline in the scene.
MOST_KEPT = 100
# A sphere of 6 mm: the follow-up of a solid lung nodule begins there (Fleischner Society, 2017,
# doi:10.1148/radiol.2017161659).
MINIMUM_MM3 = 113.0
# With it, a region of 6 mm is listed from a spread of 1/11 of the contrast around it on, one of 30 mm from 1/59 on.
LEAST_SCORE_MM = 0.5
# What a finding is called that a map of this key warned of.
WARNING_MAPS = {"prior_decided": PRIOR_DECIDED, "data_disagree": DATA_DISAGREE}
# Part of the display's window under which a step of grey is not told from none.
READABLE_SHARE = 0.01


def makeReview(
    nodes: Nodes,
    threshold: float | None = None,
    shareThreshold: float = 0.5,
    minimumMm3: float = MINIMUM_MM3,
    segmentationNode: slicer.vtkMRMLSegmentationNode | None = None,
    leastScoreMm: float = LEAST_SCORE_MM,
) -> slicer.vtkMRMLTableNode:
    """Find the regions of a published result and add the review's table and the outlines of its findings to the scene.

    Places that the result's maps warn of come first.
    `threshold`: half width of a structure of a few mm, in the image's unit (default: `defaultThreshold`);
    `segmentationNode`: its segments name the places of the findings; `leastScoreMm`: what ranks them, at the least
    (`diffusion_engine.posterior.worth.score_mm`). What an earlier review of the result said of the same regions, and
    of the whole, is taken over; that review stays in the scene. Raises ValueError for a result without uncertainty,
    with the scene as it was.
    """
    spread, image = needed(nodes, "uncertainty"), needed(nodes, "mean")
    share = nodes.get("not_seen_share")
    threshold = defaultThreshold(nodes) if threshold is None else threshold
    draws, masks = drawArrays(nodes), masksOf(segmentationNode, image)
    level, count = levelOf(nodes, len(draws)), drawCount(nodes)
    uncertainty, mean, unseen = (None if each is None else volumeFromNode(each) for each in (spread, image, share))
    regions = find_regions(
        uncertainty,
        mean,
        unseen,
        draws,
        threshold,
        shareThreshold,
        minimumMm3,
        masks,
        draw_count=count,
        level=level,
        readable=readableContrast(nodes),
        least_score_mm=leastScoreMm,
        most=MOST_KEPT,
    )
    regions = with_warnings(
        regions, _warned(nodes), uncertainty, mean, unseen, draws, masks, draw_count=count, level=level
    )
    earlier = reviewOf(nodes)
    with sceneKeptOnFailure():
        node = addTable(f"{image.GetName()} review", regions.findings)
        described = {"Unit": volumeFromNode(image).unit, "Threshold": threshold, "ShareThreshold": shareThreshold}
        described |= {"MinimumMm3": minimumMm3, "Level": "" if level is None else level, DRAWS: len(draws)}
        described |= {"LeastScoreMm": leastScoreMm, "Found": regions.count}
        for name, value in described.items():
            node.SetAttribute(ATTRIBUTE_PREFIX + name, str(value))
        node.SetNodeReferenceID(REPORT_REFERENCE, nodes["report"].GetID())
        node.SetNodeReferenceID(IMAGE_REFERENCE, image.GetID())
        outlines = addOutlines(f"{image.GetName()} findings", regions, image)
        node.SetNodeReferenceID(SEGMENTATION_REFERENCE, outlines.GetID())
        hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
        folder = hierarchy.GetItemParent(hierarchy.GetItemByDataNode(image))
        for each in (node, outlines):
            hierarchy.SetItemParent(hierarchy.GetItemByDataNode(each) or hierarchy.CreateItem(folder, each), folder)
    if earlier is not None:
        _takeOver(earlier, node)
        hideOutlines(earlier)
    return node


def _warned(nodes: Nodes) -> list[Warned]:
    """What the maps of a result warn of; one whose volume was removed from the scene warns of nothing."""
    found = []
    for key, told in (resultReport(nodes).get("maps") or {}).items():
        if key in WARNING_MAPS and key in nodes and told["warnings"]:
            places = tuple(tuple(each["ras"]) for each in told["warnings"])
            found.append(Warned(WARNING_MAPS[key], volumeFromNode(nodes[key]), told["threshold"], places))
    return found


def readableContrast(nodes: Nodes) -> float:
    """The smallest step of grey that a reader tells from none, in the image's unit: READABLE_SHARE of its window.

    The window is the first one that the image is displayed with, not what a user has made of it.
    """
    volume = volumeFromNode(needed(nodes, "mean"))
    if volume.unit == "HU":
        return READABLE_SHARE * CT_WINDOW_LEVEL[0]
    low, high = np.percentile(volume.array, (0.5, 99.5))
    return READABLE_SHARE * float(high - low)


def imageUnit(nodes: Nodes) -> str:
    """The unit of the result's image."""
    return unitOfNode(resultImage(nodes))


def defaultThreshold(nodes: Nodes) -> float:
    """A half width that shows: a readable step of grey."""
    # An image of one value has no window, and any spread shows.
    return readableContrast(nodes) or float(np.finfo(np.float32).tiny)


def reviews() -> list[slicer.vtkMRMLTableNode]:
    """All reviews in the scene, oldest first."""
    tables = slicer.util.getNodesByClass("vtkMRMLTableNode")
    return [node for node in tables if node.GetNodeReference(REPORT_REFERENCE) is not None]


def reviewOf(nodes: Nodes) -> slicer.vtkMRMLTableNode | None:
    """The newest review of a result, also in a reopened scene."""
    own = [node for node in reviews() if node.GetNodeReference(REPORT_REFERENCE) is nodes["report"]]
    return own[-1] if own else None


def findings(review: slicer.vtkMRMLTableNode) -> list[Finding]:
    """All findings, read back from the table."""
    return readFindings(review)


def listed(review: slicer.vtkMRMLTableNode) -> list[Finding]:
    """The findings to show: the first MOST and those that somebody said something about, or all after `listAll`."""
    every = findings(review)
    if listsAll(review):
        return every
    return [each for each in every if each.number <= MOST or _isJudged(verdict(review, each.number))]


def listAll(review: slicer.vtkMRMLTableNode, every: bool) -> None:
    """List all findings from now on, or the first ones only; kept in the scene."""
    review.SetAttribute(LIST_ALL, "1" if every else "")


def listsAll(review: slicer.vtkMRMLTableNode) -> bool:
    """Whether all findings are listed."""
    return review.GetAttribute(LIST_ALL) == "1"


def foundCount(review: slicer.vtkMRMLTableNode) -> int:
    """How many regions were found, also those of the lowest ranks that were not kept."""
    return int(review.GetAttribute(ATTRIBUTE_PREFIX + "Found") or review.GetNumberOfRows())


def unitOf(review: slicer.vtkMRMLTableNode) -> str:
    """The unit of the reviewed image."""
    return review.GetAttribute(ATTRIBUTE_PREFIX + "Unit") or ""


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
    """Record a verdict (one of VERDICTS, or "" for none) and a comment on a finding, or on the whole result for None.

    `time`: default now; one without a zone is taken for local time. Raises ValueError for another word or number.
    """
    if verdict not in ("", *VERDICTS):
        raise ValueError(_(
            "A verdict is one of {verdicts}, but '{verdict}' was given."
        ).format(verdicts=", ".join(VERDICTS), verdict=verdict))
    when = (time or datetime.now(timezone.utc)).astimezone().isoformat(timespec="seconds")
    entry = Verdict(verdict, comment, reviewer, when) if verdict or comment else Verdict()
    if number is not None:
        writeVerdict(review, number, entry)
        return
    for name, text in zip(("Verdict", "Comment", "Reviewer", "Time"), astuple(entry), strict=True):
        review.SetAttribute(ATTRIBUTE_PREFIX + name, escaped(text))


def goToFinding(review: slicer.vtkMRMLTableNode, number: int) -> Finding:
    """All slice views jump to the finding's peak, and its outline is shown, alone.

    A view that shows the place already only changes its slice; another one is centred on it. Raises ValueError for an
    unknown number or when the result's image is gone from the scene.
    """
    rowOf(review, number)
    finding = next(each for each in findings(review) if each.number == number)
    image = review.GetNodeReference(IMAGE_REFERENCE)
    if image is None:
        raise ValueError(_("The reviewed image is no longer in the scene: reconstruct and review again."))
    world = [0.0, 0.0, 0.0]
    image.TransformPointToWorld(finding.peak_ras_mm, world)
    for node in slicer.util.getNodesByClass("vtkMRMLSliceNode"):
        (node.JumpSliceByOffsetting if _inView(node, world) else node.JumpSliceByCentering)(*world)
    review.SetAttribute(CURRENT, str(number))
    outlines = review.GetNodeReference(SEGMENTATION_REFERENCE)
    if outlines is not None:
        showOutline(outlines, number)
    return finding


def hideOutlines(review: slicer.vtkMRMLTableNode) -> None:
    """Show no finding's outline until the next one is gone to."""
    outlines = review.GetNodeReference(SEGMENTATION_REFERENCE)
    if outlines is not None:
        showOutline(outlines, None)


def currentFinding(review: slicer.vtkMRMLTableNode) -> int | None:
    """The number of the finding last gone to, None before the first."""
    text = review.GetAttribute(CURRENT)
    return int(text) if text else None


def nextFinding(review: slicer.vtkMRMLTableNode) -> Finding | None:
    """Go to the listed finding after the current one (round to the first); None without findings."""
    return _step(review, 1)


def previousFinding(review: slicer.vtkMRMLTableNode) -> Finding | None:
    """Go to the listed finding before the current one (round to the last); None without findings."""
    return _step(review, -1)


def _takeOver(earlier: slicer.vtkMRMLTableNode, review: slicer.vtkMRMLTableNode) -> None:
    """Give a new review what an earlier one said of the whole and of regions of the same place and size."""
    given = {_region(each): verdict(earlier, each.number) for each in findings(earlier)}
    for finding in findings(review):
        entry = given.get(_region(finding))
        if entry is not None and _isJudged(entry):
            writeVerdict(review, finding.number, entry)
    for name in ("Verdict", "Comment", "Reviewer", "Time"):
        review.SetAttribute(ATTRIBUTE_PREFIX + name, earlier.GetAttribute(ATTRIBUTE_PREFIX + name) or "")


def _region(finding: Finding) -> tuple[float, ...]:
    return (*finding.centre_ras_mm, finding.volume_mm3)


def _isJudged(entry: Verdict) -> bool:
    return bool(entry.verdict or entry.comment)


def _inView(node: slicer.vtkMRMLSliceNode, world: list[float]) -> bool:
    """Whether the place lies within the part of its plane that the view shows."""
    toSlice = np.linalg.inv(slicer.util.arrayFromVTKMatrix(node.GetSliceToRAS()))
    place = toSlice @ [*world, 1.0]
    width, height, _ = node.GetFieldOfView()
    return bool(abs(place[0]) <= width / 2 and abs(place[1]) <= height / 2)


def _step(review: slicer.vtkMRMLTableNode, step: int) -> Finding | None:
    numbers = [each.number for each in listed(review)]
    if not numbers:
        return None
    current = currentFinding(review)
    at = numbers.index(current) + step if current in numbers else (0 if step > 0 else -1)
    return goToFinding(review, numbers[at % len(numbers)])
