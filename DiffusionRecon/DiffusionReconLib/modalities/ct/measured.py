"""A file of measured CT readings: what it holds, in phrases, and what does not look right about it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from DiffusionReconLib.modalities.contract import MeasuredSummary

LONGEST_LOOK_BYTES = 64_000_000
"""Larger sinogram files are only looked at by the run: the panel waits for what it reads."""


@dataclass(frozen=True)
class MeasuredCT(MeasuredSummary):
    """A measured sinogram; `photons` a ray without an object, None where that is not known."""

    views: int = 0
    photons: float | None = None


def measuredCT(sinogramPath: Path, geometryPath: Path | None = None) -> MeasuredCT:
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
    return MeasuredCT(
        lines=(
            _("CT sinogram (NRRD with geometry.json)"),
            _("{slices} slices, {views} views, {bins} detector bins").format(slices=slices, views=rows, bins=columns),
            _("{kind}, {arc:.0f} degrees, largest gap {gap:.3g} degrees, bins of {bin:.3g} mm").format(
                kind=names[rays.type], arc=math.degrees(seen.covered_rad), gap=math.degrees(seen.largest_gap_rad),
                bin=rays.detector_spacing_mm),
            _noisePhrase(extras),
        ),
        shape=(slices, columns, columns),
        files=(str(sinogramPath), str(geometryPath)),
        remarks=remarksOnReadings(sinogramPath, geometryPath),
        views=rows,
        photons=_photons(extras),
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
            sizes = line.split(b":", 1)[1].split()
            if len(sizes) == 3 and all(size.isdigit() for size in sizes):
                columns, rows, slices = map(int, sizes)
                return columns, rows, slices
            break
    raise ValueError(_("'{name}' has not the three axes detectors, views and slices: write it again.").format(
        name=path.name))


def _photons(extras: Any) -> float | None:
    """The unattenuated count a ray, where the file tells one."""
    return None if extras.values == "line_integrals" or extras.i0 is None else float(extras.i0)


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
