"""Which part of a volume to reconstruct: slices and an in-plane region, as indices of its voxels."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import slicer
import slicer.util
import vtk
from slicer.i18n import tr as _

VIEW_OF_SLICES = "vtkMRMLSliceNodeRed"


def slicesAndRegion(
    parameters: Any, node: slicer.vtkMRMLScalarVolumeNode
) -> tuple[tuple[int, int] | None, tuple[int, int, int, int] | None]:
    """[first, last) slices and [i0, i1, j0, j1) of the node's voxels that the parameters ask for; None for all.

    A region of interest gives both, whatever the slices' choice says. Raises ValueError when it misses the volume.
    """
    columns, rows, count = node.GetImageData().GetDimensions()
    if parameters.region is not None:
        (i0, i1), (j0, j1), (k0, k1) = _boundsInVoxels(parameters.region, node)
        return (k0, k1), None if (i0, i1, j0, j1) == (0, columns, 0, rows) else (i0, i1, j0, j1)
    if parameters.extent == "all":
        return None, None
    if parameters.extent == "middle":
        wanted = min(int(parameters.sliceCount), count)
        first = (count - wanted) // 2
        return (first, first + wanted), None
    if parameters.extent == "current":
        index = currentSlice(node)
        return (index, index + 1), None
    first, last = int(parameters.firstSlice), int(parameters.lastSlice)
    if not 0 <= first <= last < count:
        raise ValueError(_outside(first, last, count))
    return (first, last + 1), None


def currentSlice(node: slicer.vtkMRMLScalarVolumeNode) -> int:
    """The slice of the volume that the axial view shows."""
    view = slicer.mrmlScene.GetNodeByID(VIEW_OF_SLICES)
    if view is None:
        raise ValueError(_("There is no axial slice view: choose the slices by number."))
    centre = slicer.util.arrayFromVTKMatrix(view.GetSliceToRAS())[:3, 3]
    k = round(float(_toVoxels(node, centre[None])[0, 2]))
    count = node.GetImageData().GetDimensions()[2]
    if not 0 <= k < count:
        raise ValueError(_("The axial view shows no slice of '{name}': scroll to one, or choose slices by number.")
                         .format(name=node.GetName()))
    return k


def slicesOfMeasured(parameters: Any, count: int | None) -> tuple[int, int] | None:
    """[first, last) slices of measured data with `count` slices, None for all; there is no view to take one from.

    `count` None: how many there are is not known, and the run refuses those that there are not. Raises ValueError.
    """
    if parameters.extent == "all":
        return None
    if parameters.extent == "range":
        first, last = int(parameters.firstSlice), int(parameters.lastSlice)
        if count is not None and not 0 <= first <= last < count:
            raise ValueError(_outside(first, last, count))
        return first, last + 1
    if count is None:
        raise ValueError(_(
            "How many slices there are is found by the run: choose all of them or slices by number under Part of the "
            "volume."
        ))
    wanted = min(int(parameters.sliceCount), count)
    first = (count - wanted) // 2
    return first, first + wanted


def partText(slices: tuple[int, int] | None, region: tuple[int, ...] | None, count: int) -> str:
    """A part of `count` slices as a short title, counted from 1."""
    first, end = slices if slices is not None else (0, count)
    if (first, end) == (0, count) and count > 1:
        text = _("All {count} slices").format(count=count)
    elif end - first == 1:
        text = _("Slice {first} of {count}").format(first=end, count=count)
    else:
        text = _("Slices {first} to {last} of {count}").format(first=first + 1, last=end, count=count)
    return text if region is None else _("{slices}, region").format(slices=text)


def fitRegion(region: slicer.vtkMRMLMarkupsROINode, node: slicer.vtkMRMLScalarVolumeNode) -> None:
    """Make a region the box around a volume, along the axes of the patient."""
    bounds = [0.0] * 6
    node.GetRASBounds(bounds)
    low, high = np.array(bounds[::2]), np.array(bounds[1::2])
    region.SetXYZ(*(low + high) / 2)
    region.SetRadiusXYZ(*(high - low) / 2)
    region.CreateDefaultDisplayNodes()


def _outside(first: int, last: int, count: int) -> str:
    return _("Expected slices first to last from 1 to {end}, found {first} to {last}: choose others.").format(
        end=count, first=first + 1, last=last + 1)


def _boundsInVoxels(
    region: slicer.vtkMRMLMarkupsROINode, node: slicer.vtkMRMLScalarVolumeNode
) -> list[tuple[int, int]]:
    """[first, last) of i, j, k: the voxels whose centres lie in the axis-aligned box around the region."""
    if min(region.GetSize()) <= 0:
        raise ValueError(_("The region '{region}' has no size: draw it, or choose another one.").format(
            region=region.GetName()))
    bounds = [0.0] * 6
    region.GetRASBounds(bounds)
    corners = np.array(list(itertools.product(bounds[:2], bounds[2:4], bounds[4:])))
    voxels = _toVoxels(node, corners)
    result = []
    for low, high, size in zip(voxels.min(0), voxels.max(0), node.GetImageData().GetDimensions(), strict=True):
        first, last = max(0, math.ceil(low - 1e-6)), min(size, math.floor(high + 1e-6) + 1)
        if first >= last:
            raise ValueError(_("The region '{region}' does not meet the volume '{volume}': move it there.").format(
                region=region.GetName(), volume=node.GetName()))
        result.append((first, last))
    return result


def _toVoxels(node: slicer.vtkMRMLVolumeNode, world: np.ndarray) -> np.ndarray:
    """World places (n, 3) in mm as voxel indices (i, j, k) of a node, through its parent transforms."""
    inverse = vtk.vtkMatrix4x4()
    node.GetRASToIJKMatrix(inverse)
    transform = vtk.vtkGeneralTransform()
    slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(None, node.GetParentTransformNode(), transform)
    local = np.array([transform.TransformPoint(*place) for place in world])
    matrix = slicer.util.arrayFromVTKMatrix(inverse)
    return local @ matrix[:3, :3].T + matrix[:3, 3]
