"""The regions of a review as segments, of which the slice views show the current one alone."""

from __future__ import annotations

import numpy as np
import slicer
import slicer.util
from diffusion_engine.posterior.findings import BOTH, NOT_SEEN, UNCERTAIN, WARNED, Regions

# Told apart without red and green; the reason is in the segment's name too.
REASON_COLOURS = {UNCERTAIN: (1.0, 0.6, 0.1), NOT_SEEN: (0.25, 0.75, 1.0), BOTH: (1.0, 0.3, 0.75)}
REASON_COLOURS.update(dict.fromkeys(WARNED, (1.0, 0.95, 0.2)))
OUTLINE, FILL = 1.0, 0.2


def addOutlines(name: str, regions: Regions, image: slicer.vtkMRMLScalarVolumeNode) -> slicer.vtkMRMLSegmentationNode:
    """The findings as segments of a new node in the image's grid, none of them shown."""
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
    changes = display.StartModify()
    for finding in regions.findings:
        identifier = ids[finding.number]
        segment = segments.GetSegment(identifier)
        segment.SetName(f"{_prefix(finding.number)} {finding.reason}")
        segment.SetColor(*REASON_COLOURS[finding.reason])
        display.SetSegmentVisibility(identifier, False)
    display.EndModify(changes)
    return node


def showOutline(outlines: slicer.vtkMRMLSegmentationNode, number: int | None) -> None:
    """Outline this finding alone; None: none of them."""
    segments, display = outlines.GetSegmentation(), outlines.GetDisplayNode()
    if display is None:
        return
    changes = display.StartModify()
    for index in range(segments.GetNumberOfSegments()):
        identifier = segments.GetNthSegmentID(index)
        shown = number is not None and segments.GetNthSegment(index).GetName().startswith(_prefix(number))
        if shown:
            display.SetSegmentOpacity2DOutline(identifier, OUTLINE)
            display.SetSegmentOpacity2DFill(identifier, FILL)
        if display.GetSegmentVisibility(identifier) != shown:
            display.SetSegmentVisibility(identifier, shown)
    display.EndModify(changes)


def _prefix(number: int) -> str:
    """What a finding's segment is called first, also in scenes of earlier versions."""
    return f"Finding {number}:"
