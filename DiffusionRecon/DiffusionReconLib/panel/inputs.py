"""Inputs: where the measurement comes from, its acquisition, and which part to reconstruct."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from DiffusionReconLib.jobs.extent import slicesAndRegion, slicesOfMeasured
from DiffusionReconLib.modalities.ct import MODALITIES, MeasuredSummary, Modality, guessModality, presetOf
from DiffusionReconLib.panel.part import Choices, Part, onPathEdited, setText

CUSTOM = "custom"


class InputsPart(Part):
    """The section Inputs."""

    def __init__(self, ui: Any) -> None:
        super().__init__(ui)
        self._source = self.choices("sourceComboBox", "source")
        self._source.fill([("volume", _("Simulate a scan of a volume")), ("measured", _("Measured data"))])
        self._modality = self.choices("modalityComboBox", "modality")
        self._modality.fill((modality.name, modality.title) for modality in MODALITIES.values())
        self._scan = Choices(ui.acquisitionPresetComboBox, self._takePreset)
        self._geometry = self.choices("geometryComboBox", "geometry")
        self._geometry.fill([("parallel", _("Parallel")), ("fan_curved", _("Fan, curved detector")),
                             ("fan_flat", _("Fan, flat detector"))])
        self._noise = self.choices("noiseKindComboBox", "noiseKind")
        self._noise.fill([("percent", _("Gaussian, in percent")), ("photons", _("Photon counts"))])
        self._extent = self.choices("extentComboBox", "extent")
        ui.sinogramPathEdit.nameFilters = [_("Sinograms (*.nrrd)")]
        ui.geometryPathEdit.nameFilters = [_("Geometries (*.json)")]
        onPathEdited(ui.sinogramPathEdit, lambda path: self.store("sinogramPath", path))
        onPathEdited(ui.geometryPathEdit, lambda path: self.store("geometryPath", path))
        self._looked: tuple | None = None
        self._summary: MeasuredSummary | None = None
        self._trouble = ""
        self._guessed: str | None = None

    @property
    def modality(self) -> Modality | None:
        """The modality that the parameters name, else the guess for the input; None when there is no telling."""
        name = self.parameters.modality or self._guessed or (
            "ct" if self.parameters.source == "measured" else None)
        return MODALITIES.get(name) if name else None

    def inputNode(self) -> Any:
        """The volume to scan, None for measured data."""
        return self.parameters.inputVolume if self.parameters.source == "volume" else None

    def measured(self) -> MeasuredSummary | None:
        """What the measured file holds, None for a volume or a file that cannot be used."""
        return self._summary if self.parameters.source == "measured" else None

    def extent(self) -> tuple[tuple[int, int] | None, tuple[int, int, int, int] | None]:
        """Slices and region to reconstruct; raises ValueError when there are none."""
        if self.parameters.source == "measured":
            return slicesOfMeasured(self.parameters, self._summary.shape[0]), None
        return slicesAndRegion(self.parameters, self.parameters.inputVolume)

    def notReady(self) -> str:
        """Why nothing can be run yet, "" when it can."""
        if self.parameters.source == "measured":
            return self._trouble or ("" if self._summary else _("Choose a file of measured data first"))
        node = self.parameters.inputVolume
        if node is None:
            return _("Choose an input volume first")
        if node.GetImageData() is None:
            return _("The volume '{name}' holds no voxels").format(name=node.GetName())
        if self.modality is None:
            return _("Choose the modality: neither DICOM nor the unit of the volume tells it")
        try:
            self.extent()
        except ValueError as error:
            return str(error)
        return ""

    def update(self) -> None:
        """Show the parameters."""
        measured = self.parameters.source == "measured"
        self._source.show(self.parameters.source)
        self.ui.volumeGroup.setVisible(not measured)
        self.ui.measuredGroup.setVisible(measured)
        self._guessed = None if measured else guessModality(self.parameters.inputVolume)
        modality = self.modality
        self._modality.show(modality.name if modality else "")
        # Without an input there is nothing to guess from: the table's first entry stands for what could be set.
        nothing = not measured and self.parameters.inputVolume is None
        self._updateScan(modality or (next(iter(MODALITIES.values())) if nothing else None), measured)
        self._updateExtent(measured)
        if measured:
            self._updateMeasured()

    def _updateScan(self, modality: Modality | None, measured: bool) -> None:
        for other in MODALITIES.values():
            group = getattr(self.ui, other.acquisitionWidget)
            group.setVisible(not measured and other is modality)
        if modality is None:
            return
        custom = presetOf(modality, self.parameters) is None
        titles = [(preset.name, preset.title) for preset in modality.presets]
        self._scan.fill([*titles, (CUSTOM, _("Custom"))] if custom else titles)
        found = presetOf(modality, self.parameters)
        self._scan.show(found.name if found else CUSTOM)
        self._geometry.show(self.parameters.geometry)
        photons = self.parameters.noiseKind == "photons"
        self._noise.show(self.parameters.noiseKind)
        self.showRow("noisePercentSpinBox", not photons)
        self.showRow("photonsSpinBox", photons)
        self.showRow("electronicSpinBox", photons)

    def _updateExtent(self, measured: bool) -> None:
        entries = [("middle", _("From the middle")), ("range", _("By number")), ("all", _("All"))]
        if not measured:
            entries.insert(1, ("current", _("The axial view's")))
        self._extent.fill(entries)
        self._extent.show("middle" if measured and self.parameters.extent == "current" else self.parameters.extent)
        byRegion = not measured and self.parameters.region is not None
        self.ui.extentComboBox.enabled = not byRegion
        self.showRow("sliceCountSpinBox", not byRegion and self.parameters.extent == "middle")
        for widget in ("firstSliceSpinBox", "lastSliceSpinBox"):
            self.showRow(widget, not byRegion and self.parameters.extent == "range")
        self.showRow("regionSelector", not measured)

    def _updateMeasured(self) -> None:
        parameters = self.parameters
        for edit, path in ((self.ui.sinogramPathEdit, parameters.sinogramPath),
                           (self.ui.geometryPathEdit, parameters.geometryPath)):
            if edit.currentPath != path:
                edit.currentPath = path
        asked = (parameters.sinogramPath, parameters.geometryPath)
        if asked != self._looked:
            self._looked = asked
            self._look(*asked)
        text = self._trouble or (self._summary.text if self._summary else "")
        remarked = self._summary is not None and bool(self._summary.remarks)
        setText(self.ui.measuredSummaryLabel, text, bool(self._trouble) or remarked)

    def _look(self, sinogram: str, geometry: str) -> None:
        """Look at the measured file."""
        self._summary, self._trouble = None, ""
        if not sinogram:
            return
        try:
            self._summary = self.modality.summarise(Path(sinogram), Path(geometry) if geometry else None)
        except (ValueError, OSError) as error:
            self._trouble = str(error)

    def _takePreset(self, name: str) -> None:
        modality = self.modality
        preset = next((each for each in modality.presets if each.name == name), None)
        if preset is None or self.parameters is None:
            return
        before = self.parameters.StartModify()
        for field, value in preset.values.items():
            self.store(field, value)
        self.parameters.EndModify(before)
