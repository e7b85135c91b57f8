"""A person's review of a result: its findings, a verdict for each and one for the whole, kept in a table node."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import slicer
from diffusion_engine.posterior.findings import Finding
from diffusion_engine.posterior.segments import IntensityRule, SegmentInterval

from DiffusionReconLib.results import Nodes

VERDICTS = ("trust", "doubt", "rescan")


@dataclass(frozen=True)
class Verdict:
    """What a reviewer decided ("" while undecided), why, who and when (ISO 8601 with time zone)."""

    verdict: str = ""
    comment: str = ""
    reviewer: str = ""
    time: str = ""


@dataclass(frozen=True)
class BannerLine:
    """One line of the banner; `state` is "good", "warning", "bad" or "plain"."""

    text: str
    state: str


def makeReview(
    nodes: Nodes,
    threshold: float | None = None,
    shareThreshold: float = 0.5,
    minimumMm3: float = 50.0,
    segmentationNode: slicer.vtkMRMLSegmentationNode | None = None,
) -> slicer.vtkMRMLTableNode:
    """Find the regions of a published result and add the review's table and the highlighted findings to the scene.

    `threshold`: half width of a voxel's 90 % interval, in the image's unit (default: half of the overlay's window).
    """
    raise NotImplementedError


def reviewOf(nodes: Nodes) -> slicer.vtkMRMLTableNode | None:
    """The newest review of a result, also in a reopened scene."""
    raise NotImplementedError


def findings(review: slicer.vtkMRMLTableNode) -> list[Finding]:
    """The findings, read back from the table."""
    raise NotImplementedError


def verdict(review: slicer.vtkMRMLTableNode, number: int | None = None) -> Verdict:
    """The verdict on finding `number`, or on the whole result for None."""
    raise NotImplementedError


def setVerdict(
    review: slicer.vtkMRMLTableNode,
    number: int | None,
    verdict: str,
    comment: str = "",
    reviewer: str = "",
    time: datetime | None = None,
) -> None:
    """Record a verdict (one of VERDICTS, or "" to take it back) on a finding, or on the whole result for None."""
    raise NotImplementedError


def goToFinding(review: slicer.vtkMRMLTableNode, number: int) -> Finding:
    """All slice views jump to the finding's peak, and its outline stands out from the others'."""
    raise NotImplementedError


def currentFinding(review: slicer.vtkMRMLTableNode) -> int | None:
    """The number of the finding last gone to, None before the first."""
    raise NotImplementedError


def nextFinding(review: slicer.vtkMRMLTableNode) -> Finding | None:
    """Go to the finding after the current one (round to the first); None without findings."""
    raise NotImplementedError


def previousFinding(review: slicer.vtkMRMLTableNode) -> Finding | None:
    """Go to the finding before the current one (round to the last); None without findings."""
    raise NotImplementedError


def segmentRows(
    nodes: Nodes,
    segmentationNode: slicer.vtkMRMLSegmentationNode,
    rules: dict[str, IntensityRule] | None = None,
) -> tuple[SegmentInterval, ...]:
    """Mean value and volume of every segment with 90 % intervals over the result's draws (`rules` by segment name)."""
    raise NotImplementedError


def banner(report: dict) -> list[BannerLine]:
    """The banner of a result: residual test, likeness to the training data, label, calibration, and its limits."""
    raise NotImplementedError
