"""Sinograms on disk: an image file with axes slices, views, detectors, and the geometry.json beside it.

The readers of image files are imported when they are called: a panel reads the table before any set-up.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...checks import is_plain
from ..contract import Files
from ..rules import Described, Parts

if TYPE_CHECKING:
    from .measurement import Measurement

SINOGRAM, GEOMETRY, VARIANCE = "sinogram.nrrd", "geometry.json", "geometry.variance.nrrd"


def recognise(path: Path, description: Path | None) -> bool:
    """Whether these are a sinogram and its geometry: the description speaks of angles or a detector.

    One that cannot be read is taken for a geometry, which :func:`read` refuses in its own words.
    """
    if description is None:
        return False
    try:
        content = json.loads(description.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError):
        return True
    return not isinstance(content, dict) or not {"angles_rad", "detector_count"}.isdisjoint(content)


def read(path: Path, description: Path | None) -> Measurement:
    """The measurement; raises ValueError where the geometry is lacking or unusable."""
    from .measurement import read_measurement

    if description is None:
        raise ValueError("a sinogram needs its geometry: give --geometry geometry.json")
    return read_measurement(path, description)


def write(measurement: Measurement, place: Path) -> tuple[str, str | None]:
    """Write the measurement into a folder; the names of sinogram and geometry."""
    from .measurement import write_measurement

    write_measurement(measurement, place / SINOGRAM, place / GEOMETRY)
    return SINOGRAM, GEOMETRY


def size(measurement: Measurement) -> int:
    """Bytes of the readings and their variance."""
    variance = measurement.variance
    return int(measurement.values.nbytes) + (0 if variance is None else int(np.asarray(variance).nbytes))


def summarise(measurement: Measurement) -> str:
    """Such as "sinogram: 1 slice, 60 views of 96 bins, parallel, counts"."""
    slices, views, bins = measurement.values.shape
    kind = measurement.kind.replace("_", " ")
    several = "" if slices == 1 else "s"
    return f"sinogram: {slices} slice{several}, {views} views of {bins} bins, {measurement.geometry.type}, {kind}"


def named(description: Any) -> Mapping[str, object]:
    """The file of the variance, where a geometry.json names one."""
    name = description.get("variance") if isinstance(description, dict) else None
    return {} if name is None else {"the variance of the job's input": name}


def parts(path: Path, description: Described) -> Parts:
    """Sinogram, geometry, and the file of the variance that the geometry may name beside it; raises ValueError."""
    if not path.is_file() or path.suffix.lower() != ".nrrd":
        raise ValueError(f"The sinogram must be an existing .nrrd file, but '{path}' is not: choose another one.")
    if not isinstance(description, Path) or not description.is_file() or description.suffix.lower() != ".json":
        given = "" if description is None else description
        raise ValueError(f"The geometry must be an existing .json file, but '{given}' is not: choose another one.")
    try:
        content = json.loads(description.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"The geometry '{description}' is not valid JSON ({error}): write it again.") from error
    found = Parts(SINOGRAM, GEOMETRY, {SINOGRAM: path, GEOMETRY: description})
    name = next(iter(named(content).values()), None)
    if name is None:
        return found
    if not is_plain(name) or not description.with_name(str(name)).is_file():
        raise ValueError(
            f"The variance must be the name of a file beside '{description}', but {name!r} is not: put it there."
        )
    return replace(
        found, copies={SINOGRAM: path, VARIANCE: description.with_name(str(name))},
        written={GEOMETRY: {**content, "variance": VARIANCE}},
    )


FILES = Files((SINOGRAM, GEOMETRY, VARIANCE), True, recognise, read, write, size, summarise, named, parts)
