"""What the panel knows of each modality: one entry in a table; nothing else in the panel names one.

An entry brings the name of its group of acquisition widgets, its presets, how to recognise its images, and its reader
of measured data.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import slicer
from slicer.i18n import tr as _

NOISE_KINDS = ("percent", "photons")
LONGEST_LOOK_BYTES = 64_000_000
"""Larger sinogram files are only looked at by the run: the panel waits for what it reads."""


@dataclass(frozen=True)
class AcquisitionPreset:
    """A simulated scan by name: `values` are fields of the panel's parameters."""

    name: str
    title: str
    description: str
    values: Mapping[str, Any]


@dataclass(frozen=True)
class MeasuredSummary:
    """What a file of measured data holds: format, size, geometry, noise, each a phrase; `shape` of the readings.

    `remarks`: sentences on readings and geometry that do not look right.
    """

    format: str
    size: str
    geometry: str
    noise: str
    shape: tuple[int, int, int]
    geometryPath: Path
    remarks: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """All of it in a few short lines."""
        return "\n".join([self.format, self.size, self.geometry, self.noise, *self.remarks])


@dataclass(frozen=True)
class Modality:
    """An entry of the table.

    `units` and `dicom`: what its images are recognised by; `acquisitionWidget`: the panel's group of acquisition
    settings; `summarise` looks at a measured file (ValueError, one sentence, for what it cannot use).
    """

    name: str
    title: str
    units: tuple[str, ...]
    dicom: tuple[str, ...]
    acquisitionWidget: str
    presets: tuple[AcquisitionPreset, ...]
    summarise: Callable[[Path, Path | None], MeasuredSummary]


def measuredCT(sinogramPath: Path, geometryPath: Path | None = None) -> MeasuredSummary:
    """What a sinogram file and its geometry.json hold; without `geometryPath` it is looked for beside the sinogram."""
    from diffusion_engine.modalities.ct.geometry_json import check_sinogram_shape, read_geometry
    from diffusion_engine.physics.arc import seen_arc

    if not sinogramPath.is_file() or sinogramPath.suffix.lower() != ".nrrd":
        raise ValueError(_("Expected a sinogram as .nrrd file, found '{path}'.").format(path=sinogramPath.name))
    geometryPath = geometryPath or geometryBeside(sinogramPath)
    if geometryPath is None:
        raise ValueError(_("No geometry was found beside '{name}': give its geometry.json.").format(
            name=sinogramPath.name))
    rays, extras = read_geometry(geometryPath)
    columns, rows, slices = nrrdSizes(sinogramPath)
    check_sinogram_shape((slices, rows, columns), rays)
    seen = seen_arc(rays)
    names = {"parallel": _("parallel beam"), "fan_flat": _("fan beam, flat detector"),
             "fan_curved": _("fan beam, curved detector")}
    return MeasuredSummary(
        _("CT sinogram (NRRD with geometry.json)"),
        _("{slices} slices, {views} views, {bins} detector bins").format(slices=slices, views=rows, bins=columns),
        _("{kind}, {arc:.0f} degrees, largest gap {gap:.3g} degrees, bins of {bin:.3g} mm").format(
            kind=names[rays.type], arc=math.degrees(seen.covered_rad), gap=math.degrees(seen.largest_gap_rad),
            bin=rays.detector_spacing_mm),
        _noisePhrase(extras),
        (slices, rows, columns),
        geometryPath,
        remarksOnReadings(sinogramPath, geometryPath),
    )


def remarksOnReadings(sinogramPath: Path, geometryPath: Path) -> tuple[str, ...]:
    """What does not look right about the readings, as sentences; none for files that take long to read.

    What a run would refuse is one of them; it says what to do. ValueError for readings that are damaged.
    """
    from diffusion_engine.modalities.ct.measurement import read_measurement
    from diffusion_engine.modalities.ct.readings.judge import first_look

    if sinogramPath.stat().st_size > LONGEST_LOOK_BYTES:
        return ()
    measurement = read_measurement(sinogramPath, geometryPath)
    try:
        return tuple(remark.sentence for remark in first_look(measurement).remarks)
    except ValueError as error:
        return (str(error),)


def geometryBeside(sinogramPath: Path) -> Path | None:
    """The geometry file that belongs to a sinogram: of the same name, or the folder's geometry.json."""
    for candidate in (sinogramPath.with_suffix(".json"), sinogramPath.with_name("geometry.json")):
        if candidate.is_file():
            return candidate
    return None


def nrrdSizes(path: Path) -> tuple[int, int, int]:
    """The three sizes that an NRRD file's header names; ValueError for another file."""
    with open(path, "rb") as stream:
        head = stream.read(4096)
    if not head.startswith(b"NRRD"):
        raise ValueError(_("'{name}' is not an NRRD file.").format(name=path.name))
    for line in head.splitlines():
        if line.startswith(b"sizes:"):
            sizes = tuple(int(size) for size in line.split(b":", 1)[1].split())
            if len(sizes) == 3:
                return sizes
            break
    raise ValueError(_("'{name}' has not the three axes detectors, views and slices.").format(name=path.name))


def _noisePhrase(extras: Any) -> str:
    if extras.variance is not None:
        return _("{values} with the variance of each reading").format(
            values=_("line integrals") if extras.values == "line_integrals" else _("photon counts"))
    if extras.noise_std is not None:
        return _("noise of {std:.3g} in line integrals").format(std=extras.noise_std)
    if extras.values == "line_integrals":
        return _("line integrals; their noise is estimated from the data")
    if extras.i0 is None:
        return _("photon counts; the unattenuated count is estimated from the air")
    return _("photon counts, {count:.3g} a ray without an object").format(count=extras.i0)


def _scan(name: str, title: str, description: str, **changes: Any) -> AcquisitionPreset:
    plain = {"geometry": "parallel", "views": 60, "arcDegrees": 180.0, "noiseKind": "percent", "noisePercent": 0.2,
             "photons": 1e5, "electronicStd": 0.0}
    return AcquisitionPreset(name, title, description, MappingProxyType({**plain, **changes}))


MODALITIES: Mapping[str, Modality] = MappingProxyType({
    "ct": Modality(
        "ct", "CT", ("HU",), ("CT",), "ctAcquisitionGroup",
        (
            _scan("sparse-60", _("Sparse view, 60"), _("60 parallel views over 180 degrees")),
            _scan("sparse-20", _("Sparse view, 20"), _("20 parallel views over 180 degrees"), views=20),
            _scan("sparse-8", _("Sparse view, 8"), _("8 parallel views over 180 degrees"), views=8),
            _scan("low-dose", _("Low dose"), _("360 views, 10 000 photons a ray, electronic noise"), views=360,
                  noiseKind="photons", photons=1e4, electronicStd=5.0),
            _scan("limited-arc", _("Limited arc, 90 degrees"), _("60 parallel views over 90 degrees"),
                  arcDegrees=90.0),
            _scan("fan", _("Fan beam, 60 views"), _("60 views over 360 degrees, clinical distances"),
                  geometry="fan_curved", arcDegrees=360.0),
        ),
        measuredCT,
    ),
})


def presetOf(modality: Modality, parameters: Any) -> AcquisitionPreset | None:
    """The acquisition preset that the parameters' values are, None for values of one's own."""
    for preset in modality.presets:
        if all(_same(getattr(parameters, name), value) for name, value in _relevant(preset, parameters).items()):
            return preset
    return None


def guessModality(node: slicer.vtkMRMLScalarVolumeNode | None) -> str | None:
    """The modality of a volume, from its DICOM modality, else from its unit; None when neither tells."""
    from DiffusionReconLib.scene.volumes import dicomModality, unitOfNode

    if node is None or node.GetImageData() is None:
        return None
    dicom = dicomModality(node)
    for modality in MODALITIES.values():
        if dicom in modality.dicom:
            return modality.name
    if dicom:
        return None
    unit = unitOfNode(node)
    return next((modality.name for modality in MODALITIES.values() if unit in modality.units), None)


def _relevant(preset: AcquisitionPreset, parameters: Any) -> dict[str, Any]:
    unused = ("photons", "electronicStd") if preset.values["noiseKind"] == "percent" else ("noisePercent",)
    return {name: value for name, value in preset.values.items() if name not in unused}


def _same(found: Any, wanted: Any) -> bool:
    return abs(found - wanted) <= 1e-6 * abs(wanted) if isinstance(wanted, float) else found == wanted
