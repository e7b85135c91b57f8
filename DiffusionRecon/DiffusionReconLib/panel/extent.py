"""Part of the volume: slices, counted from 1 for the user, or a region of interest."""

from __future__ import annotations

from typing import Any

import qt
import slicer
import vtk
from slicer.i18n import tr as _

from DiffusionReconLib.jobs.extent import (
    VIEW_OF_SLICES,
    fitRegion,
    partText,
    slicesAndRegion,
    slicesOfMeasured,
)
from DiffusionReconLib.panel.part import Part

SLICE_BOXES = (("firstSliceSpinBox", "firstSlice"), ("lastSliceSpinBox", "lastSlice"))
"""Widgets that count from 1, and parameters that count from 0."""
FOLLOW_MILLISECONDS = 100

Extent = tuple[tuple[int, int] | None, tuple[int, int, int, int] | None]


class ExtentPart(Part):
    """The fold Part of the volume; `scrolled` is called when the axial view, which is followed, shows another slice."""

    def __init__(self, ui: Any, scrolled: Any) -> None:
        super().__init__(ui)
        self._extent = self.choices("extentComboBox", "extent")
        for box, field in SLICE_BOXES:
            getattr(ui, box).connect("valueChanged(int)", self._number(field))
        ui.regionSelector.connect("nodeAddedByUser(vtkMRMLNode*)", self._fit)
        self._view: Any = None
        self._tag = 0
        self._timer = qt.QTimer()
        self._timer.setSingleShot(True)
        self._timer.setInterval(FOLLOW_MILLISECONDS)
        self._timer.connect("timeout()", scrolled)

    def extent(self, node: Any, measuredSlices: int | None) -> Extent:
        """Slices and region to reconstruct of a volume, or slices of measured data; ValueError when there are none."""
        if measuredSlices is not None:
            return slicesOfMeasured(self.parameters, measuredSlices), None
        return slicesAndRegion(self.parameters, node)

    def show(self, node: Any, measured: bool, count: int | None) -> None:
        """Show the parameters, for an input of `count` slices (None while that is not known)."""
        parameters = self.parameters
        entries = [("middle", _("From the middle")), ("range", _("By number")), ("all", _("All"))]
        if not measured:
            entries.insert(1, ("current", _("The axial view's")))
        self._extent.fill(entries)
        kind = "middle" if measured and parameters.extent == "current" else parameters.extent
        self._extent.show(kind)
        byRegion = not measured and parameters.region is not None
        self.ui.extentComboBox.enabled = not byRegion
        self.showRow("sliceCountSpinBox", not byRegion and kind == "middle")
        for box, field in SLICE_BOXES:
            self.showRow(box, not byRegion and kind == "range")
            number = getattr(parameters, field) + 1
            if getattr(self.ui, box).value != number:
                getattr(self.ui, box).value = number
        self.showRow("regionSelector", not measured)
        self._follow(not byRegion and kind == "current")
        try:
            text = partText(*self.extent(node, count if measured else None), count) if count else ""
        except ValueError:
            text = ""
        title = text or _("Part of the volume")
        if self.ui.partCollapsibleButton.text != title:
            self.ui.partCollapsibleButton.text = title

    def setParameters(self, parameters: Any) -> None:
        """Work on another parameter node; without one no view is followed."""
        super().setParameters(parameters)
        if parameters is None:
            self._follow(False)

    def close(self) -> None:
        """Follow nothing any more."""
        self._timer.stop()
        self._follow(False)

    def _number(self, field: str) -> Any:
        return lambda number: self.store(field, int(number) - 1)

    def _fit(self, region: Any) -> None:
        """A region that was just made here is as large as the volume, to be drawn smaller."""
        if self.parameters is not None and self.parameters.inputVolume is not None:
            fitRegion(region, self.parameters.inputVolume)

    def _follow(self, wanted: bool) -> None:
        """Observe the axial view, or no longer."""
        view = slicer.mrmlScene.GetNodeByID(VIEW_OF_SLICES) if wanted else None
        if view is self._view:
            return
        if self._view is not None:
            self._view.RemoveObserver(self._tag)
        self._view = view
        if view is not None:
            self._tag = view.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_caller: self._timer.start())
