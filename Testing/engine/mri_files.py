"""Small files of MR raw data for tests, written record by record as scanners and other programs write them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from diffusion_engine.modalities.mri.readings.own import HEAD

AXIAL = {"read_dir": (1.0, 0.0, 0.0), "phase_dir": (0.0, 1.0, 0.0), "slice_dir": (0.0, 0.0, 1.0)}
"""Columns run to the patient's left, rows to posterior, slices to superior (LPS)."""


def flag(*numbers: int) -> int:
    """The flags with some numbers, counted from 1."""
    return sum(1 << (number - 1) for number in numbers)


def space(matrix: Sequence[float], fov: Sequence[float]) -> str:
    size, field = ("".join(f"<{a}>{n:g}</{a}>" for a, n in zip("xyz", v, strict=True)) for v in (matrix, fov))
    return f"<matrixSize>{size}</matrixSize><fieldOfView_mm>{field}</fieldOfView_mm>"


def header(
    matrix: Sequence[float] = (32, 24, 1), fov: Sequence[float] = (32, 36, 5), recon: Sequence[float] | None = None,
    recon_fov: Sequence[float] | None = None, lines: tuple[int, int] | None = (23, 12), more: str = "",
    trajectory: str = "cartesian", machine: str = "",
) -> bytes:
    """An XML header; ``lines``: the largest index and that of k = 0; ``more``: of the encoding."""
    limits = "" if lines is None else (
        f"<encodingLimits><kspace_encoding_step_1><minimum>0</minimum><maximum>{lines[0]}</maximum>"
        f"<center>{lines[1]}</center></kspace_encoding_step_1></encodingLimits>"
    )
    return (
        f'<?xml version="1.0"?><ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD"><acquisitionSystemInformation>'
        f"{machine}</acquisitionSystemInformation><encoding><encodedSpace>{space(matrix, fov)}</encodedSpace>"
        f"<reconSpace>{space(recon or matrix, recon_fov or fov)}</reconSpace>{limits}"
        f"<trajectory>{trajectory}</trajectory>{more}</encoding></ismrmrdHeader>"
    ).encode()


def record(data: np.ndarray, line: int, flags: int = 0, **given: Any) -> dict[str, Any]:
    """A readout (coils, samples); ``given``: fields of its head, counters among them."""
    return {"data": data, "kspace_encode_step_1": line, "flags": flags, "center_sample": data.shape[1] // 2, **given}


def all_lines(values: np.ndarray, lines: Sequence[int] | None = None, **given: Any) -> list[dict[str, Any]]:
    """The readouts of k-space (coils, rows, columns), or some lines of it."""
    return [record(values[:, n], n, **given) for n in (range(values.shape[1]) if lines is None else lines)]


def write_ismrmrd(path: Path, records: Sequence[Mapping[str, Any]], text: bytes | None = None) -> Path:
    """A file with these readouts in their order."""
    numbers = h5py.vlen_dtype(np.dtype("<f4"))
    block = np.zeros(len(records), np.dtype([("head", HEAD), ("traj", numbers), ("data", numbers)]))
    for n, given in enumerate(records):
        data = np.asarray(given["data"], np.complex64)
        head = np.zeros((), HEAD)
        head["active_channels"], head["number_of_samples"] = data.shape
        for name, value in {**AXIAL, **given}.items():
            if name in (HEAD["idx"].names or ()):
                head["idx"][name] = value
            elif name != "data":
                head[name] = value
        block[n]["head"], block[n]["traj"] = head, np.zeros(0, np.float32)
        block[n]["data"] = np.ascontiguousarray(data).view(np.float32).ravel()
    with h5py.File(path, "w") as file:
        group = file.create_group("dataset")
        group.create_dataset("data", data=block, maxshape=(None,), chunks=(1,))
        group.create_dataset("xml", data=np.array([text or header()], object), dtype=h5py.string_dtype())
    return path


def write_bart(path: Path, *arrays: np.ndarray, several: bool = False) -> Path:
    """A .cfl/.hdr pair with the arrays, BART's axes in order; several: as a multi-array file."""
    flat = [np.asarray(array, np.complex64).ravel(order="F") for array in arrays]
    shapes = [" ".join(map(str, array.shape)) for array in arrays]
    lines = ["# Dimensions", shapes[0]] if not several else [
        "# Dimensions", str(sum(part.size for part in flat)), "# SizesDimensions",
        " ".join(str(array.ndim) for array in arrays), "# MultiDimensions", *shapes,
    ]
    path.with_suffix(".hdr").write_text("\n".join([*lines, "# Creator", "test"]) + "\n", encoding="ascii")
    np.concatenate(flat).tofile(path.with_suffix(".cfl"))
    return path.with_suffix(".cfl")


def describe(path: Path, **content: Any) -> Path:
    """The JSON file beside a file of raw data."""
    place = path.with_suffix(".json")
    place.write_text(json.dumps(content), encoding="utf-8")
    return place
