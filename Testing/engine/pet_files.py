"""PET files for tests, written by the documents of their formats and apart from the code under test."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

SIGNS = {"head_in supine": (1, 1, -1), "head_in prone": (-1, -1, -1), "feet_in supine": (-1, 1, 1),
         "feet_in prone": (1, -1, 1)}
"""Signs of STIR's x, y, z in LPS."""


def header_text(fields: dict[str, Any], end: str = "\n") -> str:
    lines = ["!INTERFILE :=", *(f"{key} := {value}" for key, value in fields.items()), "!END OF INTERFILE :=", ""]
    return end.join(lines)


def sinogram_fields(data: str, shape: tuple[int, int, int], **changes: Any) -> dict[str, Any]:
    """STIR's keys of one direct segment (views, planes, bins); ``None`` takes a key out; "_" stands for a blank."""
    views, planes, bins = shape
    fields: dict[str, Any] = {
        "!imaging modality": "PT", "name of data file": data, "!type of data": "PET",
        "imagedata byte order": "LITTLEENDIAN", "!PET data type": "Emission",
        "applied corrections": "{arc correction}", "!number format": "float", "!number of bytes per pixel": 4,
        "number of dimensions": 4, "matrix axis label [4]": "segment", "!matrix size [4]": 1,
        "matrix axis label [3]": "view", "!matrix size [3]": views, "matrix axis label [2]": "axial coordinate",
        "!matrix size [2]": f"{{ {planes}}}", "matrix axis label [1]": "tangential coordinate",
        "!matrix size [1]": bins, "minimum ring difference per segment": "{ 0}",
        "maximum ring difference per segment": "{ 0}", "Number of rings": planes,
        "Number of detectors per ring": 2 * views, "Inner ring diameter (cm)": 60,
        "Average depth of interaction (cm)": 0.7, "Distance between rings (cm)": 0.6, "Default bin size (cm)": 0.3,
        "View offset (degrees)": 0, "effective central bin size (cm)": 0.4, "number of time frames": 1,
        "image duration (sec)[1]": 60,
    }
    for key, value in changes.items():
        fields[key] = value
    return {key: value for key, value in fields.items() if value is not None}


def write_sinogram(folder: Path, counts: np.ndarray, name: str = "scan", end: str = "\n", dtype: str = "<f4",
                   **changes: Any) -> Path:
    """One direct segment (views, planes, bins) with its header."""
    (folder / f"{name}.s").write_bytes(counts.astype(dtype).tobytes())
    path = folder / f"{name}.hs"
    path.write_bytes(header_text(sinogram_fields(f"{name}.s", counts.shape, **changes), end).encode())
    return path


def describe(path: Path, **keys: Any) -> Path:
    place = path.with_suffix(".json")
    place.write_text(json.dumps(keys))
    return place
