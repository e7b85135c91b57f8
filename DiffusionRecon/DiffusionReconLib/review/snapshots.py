"""Pictures of the slice views, as they are now, for the exported review."""

from __future__ import annotations

import numpy as np
import slicer
import vtk
from vtk.util import numpy_support


def snapshots() -> dict[str, np.ndarray]:
    """The slice views on show by their name, each (rows, columns, 3) uint8, top row first; empty without views.

    Slicer lists every view that was ever made; those that are not in the present layout, or hidden there, are left out.
    """
    manager = slicer.app.layoutManager()
    if manager is None:
        return {}
    widgets = {name: manager.sliceWidget(name) for name in manager.sliceViewNames()}
    return {
        name: _picture(widget.sliceView().renderWindow())
        for name, widget in widgets.items() if widget.mrmlSliceNode().IsViewVisibleInLayout()
    }


def _picture(window: vtk.vtkRenderWindow) -> np.ndarray:
    grab = vtk.vtkWindowToImageFilter()
    grab.SetInput(window)
    grab.ReadFrontBufferOff()
    grab.Update()
    output = grab.GetOutput()
    columns, rows, _ = output.GetDimensions()
    pixels = numpy_support.vtk_to_numpy(output.GetPointData().GetScalars()).reshape(rows, columns, -1)
    return np.ascontiguousarray(pixels[::-1, :, :3])
