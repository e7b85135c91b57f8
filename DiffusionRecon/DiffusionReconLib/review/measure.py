"""What a result's draws say about segments: their mean and volume with intervals, and what the intervals are."""

from __future__ import annotations

import numpy as np
import slicer
import slicer.util
from diffusion_engine.posterior.intervals import claimed_level
from diffusion_engine.posterior.segments import IntensityRule, SegmentInterval, segment_intervals
from slicer.i18n import tr as _

from DiffusionReconLib.scene.results import Nodes, drawArrays, resultImage, resultReport
from DiffusionReconLib.scene.volumes import volumeFromNode


def segmentRows(
    nodes: Nodes,
    segmentationNode: slicer.vtkMRMLSegmentationNode,
    rules: dict[str, IntensityRule] | None = None,
) -> tuple[SegmentInterval, ...]:
    """Mean value and volume of every segment with their spread over the result's draws (`rules` by segment name).

    Smallest to largest of the draws; an interval with its level only over many draws of a posterior method.
    """
    image, draws = resultImage(nodes), drawArrays(nodes)
    level = levelOf(nodes, len(draws))
    return segment_intervals(volumeFromNode(image), draws, masksOf(segmentationNode, image), rules, level=level)


def spreadHeading(nodes: Nodes) -> str:
    """What stands in brackets behind a value of the result's tables, in a few words."""
    count = len(drawArrays(nodes))
    level = levelOf(nodes, count)
    if count < 2:
        return _("± of its voxels")
    if level is None:
        return _("range of {count} samples").format(count=count)
    return _("{level} %, under the trained model").format(level=f"{100 * level:g}")


def levelOf(nodes: Nodes, draws: int) -> float | None:
    """The level that intervals of the result's draws may claim, None: smallest to largest."""
    return claimed_level(resultReport(nodes).get("spread"), draws)


def drawCount(nodes: Nodes) -> int | None:
    """How many draws the result's uncertainty is of, None where that is not known."""
    count = int(resultReport(nodes).get("draws") or 0)
    return count if count > 1 else None


def masksOf(
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
