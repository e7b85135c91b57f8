"""geometry.json beside a measured sinogram: read, checked and written. GEOMETRY.md describes it with a drawing.

Version 2 adds what is known of the noise; files of version 1, which name no version, are read as before.
"""

from __future__ import annotations

import json
import math
import os
import sys
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path

from ...physics.ct_geometry import CTGeometry

VALUES = ("line_integrals", "counts")
_REQUIRED = ("type", "angles_rad", "detector_spacing_mm", "detector_count", "slice_spacing_mm", "values")
_OPTIONAL = ("version", "detector_offset_mm", "source_to_isocentre_mm", "source_to_detector_mm", "i0",
             "electronic_std", "noise_std", "variance")
VERSION = 2
_LARGEST = int(sys.float_info.max)
_MOST_NOISE = 1e15  # standard deviations whose square is still a number of single precision


@dataclass(frozen=True)
class SinogramExtras:
    """What geometry.json says about the sinogram besides where the rays run."""

    slice_spacing_mm: float
    values: str  # "line_integrals" | "counts"
    i0: float | None  # unattenuated count, None where unknown
    electronic_std: float = 0.0  # of the counts
    noise_std: float | None = None  # of the line integrals, None where unknown or in a variance file
    variance: str | None = None  # name of a file beside geometry.json: variance of each line integral


def read_geometry(path: str | os.PathLike[str]) -> tuple[CTGeometry, SinogramExtras]:
    """The geometry and extras of a geometry.json. Raises ValueError with one sentence for the first fault found."""
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8-sig"))
    except OSError as fault:
        raise ValueError(f"Cannot read the geometry file {path}: {fault.strerror}.") from fault
    except (ValueError, RecursionError) as fault:  # also numbers of thousands of digits, and nesting without end
        raise ValueError(f"The geometry file {path} is not valid JSON: {fault}.") from fault
    if not isinstance(content, dict):
        raise ValueError(f"Expected one JSON object in {path}, found {type(content).__name__}.")
    unknown = sorted(set(content) - {*_REQUIRED, *_OPTIONAL})
    if unknown:
        raise ValueError(f"Unknown key {unknown[0]!r} in {path}: expected only {', '.join((*_REQUIRED, *_OPTIONAL))}.")
    version = content.get("version", 1)
    if not _is_number(version) or version not in range(1, VERSION + 1):
        raise ValueError(f"Expected version 1 to {VERSION} in {path}, found {version!r}: use a newer engine, or write "
                         f"the file as version {VERSION}.")
    absent = [key for key in _REQUIRED if key not in content]
    if absent:
        raise ValueError(f"The key {absent[0]!r} is missing in {path}: see GEOMETRY.md for its meaning.")
    angles = content["angles_rad"]
    if not isinstance(angles, list) or not all(_is_number(a) for a in angles):
        raise ValueError(f"Expected angles_rad to be a list of numbers in radians in {path}.")
    if not isinstance(content["type"], str):
        raise ValueError(f"Expected type to be a text in {path}, found {content['type']!r}.")
    if content["values"] not in VALUES:
        raise ValueError(f"Expected values to be line_integrals or counts in {path}, found {content['values']!r}.")
    count = content["detector_count"]
    if not _is_number(count) or not math.isfinite(count) or int(count) != count:
        raise ValueError(f"Expected detector_count to be a whole number in {path}, found {str(count)[:40]!r}.")
    geometry = CTGeometry(content["type"], tuple(angles), int(count), _number(content, "detector_spacing_mm", path),
                          _number(content, "detector_offset_mm", path, 0.0),
                          _optional_number(content, "source_to_isocentre_mm", path),
                          _optional_number(content, "source_to_detector_mm", path))
    extras = SinogramExtras(_number(content, "slice_spacing_mm", path), content["values"],
                            _optional_number(content, "i0", path), _number(content, "electronic_std", path, 0.0),
                            _optional_number(content, "noise_std", path), _variance_name(content, path))
    for name, value in (("slice_spacing_mm", extras.slice_spacing_mm), ("i0", extras.i0),
                        ("noise_std", extras.noise_std)):
        if value is not None and (not math.isfinite(value) or value <= 0):
            raise ValueError(f"Expected a positive, finite {name} in {path}, found {value}.")
    if not math.isfinite(extras.electronic_std) or extras.electronic_std < 0:
        raise ValueError(f"Expected an electronic_std of at least 0 counts in {path}, found {extras.electronic_std}.")
    if extras.electronic_std > 0 and extras.values != "counts":
        raise ValueError(f"The electronic_std in {path} is in counts, but values are line_integrals: give noise_std.")
    if extras.noise_std is not None and not 1 / _MOST_NOISE < extras.noise_std < _MOST_NOISE:
        raise ValueError(f"Expected the noise_std of line integrals in {path}, found {extras.noise_std}: correct it.")
    if extras.noise_std is not None and extras.variance is not None:
        raise ValueError(f"Expected either noise_std or variance in {path}, found both: remove one.")
    return geometry, extras


def write_geometry(path: str | os.PathLike[str], geometry: CTGeometry, extras: SinogramExtras) -> None:
    """Write a geometry.json that read_geometry gives back unchanged; no half-written file under the final name."""
    content = {
        "version": VERSION, "type": geometry.type, "angles_rad": list(geometry.angles_rad),
        "source_to_isocentre_mm": geometry.source_to_isocentre_mm,
        "source_to_detector_mm": geometry.source_to_detector_mm,
        "detector_spacing_mm": geometry.detector_spacing_mm, "detector_count": geometry.detector_count,
        "detector_offset_mm": geometry.detector_offset_mm, "slice_spacing_mm": extras.slice_spacing_mm,
        "values": extras.values, "i0": extras.i0, "electronic_std": extras.electronic_std,
        "noise_std": extras.noise_std, "variance": extras.variance,
    }
    target = Path(path)
    temporary = target.with_name(target.name + ".part")
    try:
        temporary.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        os.replace(temporary, target)
    except OSError as fault:
        temporary.unlink(missing_ok=True)
        raise ValueError(f"Cannot write the geometry file {path}: {fault.strerror}.") from fault


def check_sinogram_shape(shape: tuple[int, ...], geometry: CTGeometry) -> None:
    """Refuse a sinogram whose axes are not (slices, views, detectors) of this geometry."""
    expected = (geometry.views, geometry.detector_count)
    if len(shape) != 3 or tuple(shape[1:]) != expected or shape[0] < 1:
        turned = len(shape) == 3 and any(
            (shape[b], shape[c]) == expected for a, b, c in permutations(range(3)) if (a, b, c) != (0, 1, 2)
        )
        advice = "exchange its axes, they are in another order" if turned else (
            "correct angles_rad, detector_count or the axes")
        raise ValueError(f"Expected a sinogram of shape (slices, {expected[0]} views, {expected[1]} detectors) as "
                         f"geometry.json says, found {tuple(shape)}: {advice}.")


def _variance_name(content: dict[str, object], path: object) -> str | None:
    """The name of the variance file, which lies in the same folder."""
    name = content.get("variance")
    if name is None:
        return None
    if not isinstance(name, str) or not name or name in (".", "..") or any(sign in name for sign in "/\\:"):
        raise ValueError(f"Expected variance to be the name of a file beside {path}, found {name!r}: put it there.")
    return name


def _is_number(value: object) -> bool:
    """Whether a value is a number; a whole one that no float holds is none."""
    if isinstance(value, int) and not isinstance(value, bool):
        return -_LARGEST <= value <= _LARGEST
    return isinstance(value, float)


def _number(content: dict[str, object], key: str, path: object, default: float | None = None) -> float:
    value = content.get(key, default)
    if not isinstance(value, (int, float)) or not _is_number(value):
        raise ValueError(f"Expected {key} to be a number in {path}, found {str(value)[:40]!r}.")
    return float(value)


def _optional_number(content: dict[str, object], key: str, path: object) -> float | None:
    return None if content.get(key) is None else _number(content, key, path)
