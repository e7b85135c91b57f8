"""The acquisition of CT in the panel: its parameters, its widgets, and the engine's settings that they mean.

Only Slicer (and the stand-in) has `slicer.parameterNodeWrapper`, so only the panel imports this file.
"""

# No `from __future__ import annotations`: Slicer reads the annotations of the pack.
from pathlib import Path
from typing import Annotated, Any

from slicer.i18n import tr as _
from slicer.parameterNodeWrapper import WithinRange, parameterPack

from DiffusionReconLib.modalities.contract import Form
from DiffusionReconLib.modalities.ct.measured import MeasuredCT, measuredCT


@parameterPack
class CTAcquisition:
    """A simulated scan, and where a measured one is read from."""

    geometry: str = "parallel"
    views: Annotated[int, WithinRange(2, 10000)] = 60
    arcDegrees: Annotated[float, WithinRange(1, 360)] = 180.0
    noiseKind: str = "percent"
    noisePercent: Annotated[float, WithinRange(0.01, 50)] = 0.2
    photons: Annotated[float, WithinRange(10, 1e9)] = 1e5
    electronicStd: Annotated[float, WithinRange(0, 10000)] = 0.0
    scatterPercent: Annotated[float, WithinRange(0, 50)] = 0.0
    beamHardening: bool = False
    sinogramPath: str = ""
    geometryPath: str = ""


class CTRows:
    """The widgets of AcquisitionCT.ui: beam, views, arc and noise of a simulated scan, or a measured one's files."""

    def __init__(self, form: Form) -> None:
        self._form = form
        self._geometry = form.choices("geometryComboBox", "geometry")
        self._geometry.fill([("parallel", _("Parallel")), ("fan_curved", _("Fan, curved detector")),
                             ("fan_flat", _("Fan, flat detector"))])
        self._noise = form.choices("noiseKindComboBox", "noiseKind")
        self._noise.fill([("percent", _("Gaussian, in percent")), ("photons", _("Photon counts"))])
        form.path("sinogramPathEdit", "sinogramPath", [_("Sinograms (*.nrrd)")])
        form.path("geometryPathEdit", "geometryPath", [_("Geometries (*.json)")])

    def update(self, values: Any, measured: bool) -> None:
        """Show the pack's values."""
        self._form.ui.measuredGroup.setVisible(measured)
        self._form.ui.acquisitionCollapsibleButton.setVisible(not measured)
        self._geometry.show(values.geometry)
        self._noise.show(values.noiseKind)
        photons = values.noiseKind == "photons"
        self._form.showRow("noisePercentSpinBox", not photons)
        self._form.showRow("photonsSpinBox", photons)
        self._form.showRow("electronicSpinBox", photons)


def scanSettings(values: Any) -> dict[str, Any]:
    """The engine's settings of the simulated scan; ValueError for a noise that this version does not have."""
    settings = {"geometry": values.geometry, "views": int(values.views), "arc_degrees": float(values.arcDegrees)}
    if values.scatterPercent > 0:
        settings["scatter_percent"] = float(values.scatterPercent)
    if values.beamHardening:
        settings["beam_hardening"] = True
    if values.noiseKind == "photons":
        return {**settings, "i0": float(values.photons), "electronic_std": float(values.electronicStd)}
    if values.noiseKind != "percent":
        raise ValueError(_("This version has no noise '{name}': choose another one.").format(name=values.noiseKind))
    return {**settings, "noise_percent": float(values.noisePercent)}


def sources(values: Any) -> tuple[str, ...]:
    """The paths of the measured data."""
    return values.sinogramPath, values.geometryPath


def summarise(values: Any) -> MeasuredCT | None:
    """What the measured data hold, None where no file is chosen; ValueError for what cannot be used."""
    sinogram, geometry = sources(values)
    return measuredCT(Path(sinogram), Path(geometry) if geometry else None) if sinogram else None
