"""A job folder's result as Slicer shows it: a picture of four views, and a scene bundle that opens displayed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import slicer
import slicer.util
from diffusion_engine.io.images import read_volume
from scipy import ndimage

from host.application import makeApplication, saveBundle
from host.views import FourViews

BODY_HU, LUNG_HU = -500.0, -600.0
SEGMENTS = {
    1: ("Body", (0.85, 0.72, 0.62), 0.25),
    2: ("Lungs", (0.45, 0.75, 0.95), 0.6),
    3: ("Bone", (0.95, 0.93, 0.80), 1.0),
    4: ("Nodules", (1.0, 0.45, 0.25), 1.0),
}


def publishAndRender(
    jobFolder: str | Path,
    outFolder: str | Path,
    inputNode: slicer.vtkMRMLScalarVolumeNode | None = None,
    size: int = 512,
) -> dict[str, str]:
    """Publish a job folder's result in a headless scene; write `views.png` and `scene.mrb` into `outFolder`.

    `inputNode`, if given, lives in the current scene, which is then used; else a fresh one is made. Label values in
    `segments.nrrd` of the job folder (1 body, 2 lungs, 3 bone, 4 nodules) are shown; without it the mean is segmented
    by thresholds. Returns {"views": path, "scene": path}.
    """
    # It imports what only the application module, imported above, offers.
    from DiffusionReconLib.scene.publish import publishResult

    application = makeApplication() if inputNode is None else slicer.app.hostApplication
    views = FourViews(application, size)
    nodes = publishResult(jobFolder, inputNode)
    labelFile = Path(jobFolder) / "segments.nrrd"
    if labelFile.is_file():
        labels = read_volume(labelFile).array
    else:
        labels = thresholdLabels(slicer.util.arrayFromVolume(nodes["mean"]), nodes["mean"].GetSpacing()[0])
    addSegmentation(labels, nodes["mean"])
    views.fit()
    outFolder = Path(outFolder)
    outFolder.mkdir(parents=True, exist_ok=True)
    return {
        "views": str(views.save(outFolder / "views.png")),
        "scene": str(saveBundle(application.scene, outFolder / "scene.mrb")),
    }


def thresholdLabels(hu: np.ndarray, pixelMm: float) -> np.ndarray:
    """Labels (K,J,I) uint8 by thresholds: 1 body, 2 lungs (air enclosed in a slice's body), 3 bone (over 250 HU)."""
    # Opened by about 3 mm, so that a table or a sheet that touches the body is not taken for it.
    opening = round(3.0 / pixelMm)
    labels = np.zeros(hu.shape, np.uint8)
    for k, plane in enumerate(hu):
        parts, count = ndimage.label(_opened(plane > BODY_HU, opening))
        if not count:
            continue
        largest = parts == 1 + int(np.argmax(np.bincount(parts.ravel())[1:]))
        body = ndimage.binary_fill_holes(largest)
        labels[k][body] = 1
        labels[k][body & (plane < LUNG_HU)] = 2
        labels[k][body & (plane > 250.0)] = 3
    return labels


def addSegmentation(
    labels: np.ndarray, referenceNode: slicer.vtkMRMLScalarVolumeNode
) -> slicer.vtkMRMLSegmentationNode:
    """Show labels as outlines in the slice views and as surfaces in the 3D view, in the reference's geometry."""
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", f"{referenceNode.GetName()} segments")
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(referenceNode)
    node.SetAndObserveTransformNodeID(referenceNode.GetTransformNodeID())
    display = node.GetDisplayNode()
    for value, (name, colour, opacity) in SEGMENTS.items():
        # The body's segment is all of it, so that its surface closes around the others.
        mask = (labels >= 1) if value == 1 else labels == value
        if not mask.any():
            continue
        segmentID = node.GetSegmentation().AddEmptySegment(name, name, colour)
        slicer.util.updateSegmentBinaryLabelmapFromArray(mask.astype(np.uint8), node, segmentID, referenceNode)
        display.SetSegmentOpacity3D(segmentID, opacity)
    node.CreateClosedSurfaceRepresentation()
    display.SetVisibility2DFill(False)
    display.SetVisibility2DOutline(True)
    return node


def _opened(mask: np.ndarray, iterations: int) -> np.ndarray:
    return ndimage.binary_opening(mask, iterations=iterations) if iterations else mask
