"""K-space as an ISMRMRD file that gives everything back: what the format has no place for lies in a group beside.

Other programs read the readouts, the header and the slices' places; this group they pass over. A noise covariance and
coil maps are in the group alone.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import numpy as np

from ....io.conventions import LPS_TO_RAS
from ...rules import Remark
from ..kspace import KSpace

OWN = "diffusion_priors"
ARRAYS = ("mask", "maps", "noise_covariance", "ijk_to_ras")
CALIBRATION_FLAG = 1 << 19
FIRST_IN_SLICE, LAST_IN_SLICE = 1 << 6, 1 << 7
COUNTERS = (
    "kspace_encode_step_1", "kspace_encode_step_2", "average", "slice", "contrast", "phase", "repetition", "set",
    "segment",
)
HEAD = np.dtype([
    ("version", "<u2"), ("flags", "<u8"), ("measurement_uid", "<u4"), ("scan_counter", "<u4"),
    ("acquisition_time_stamp", "<u4"), ("physiology_time_stamp", "<u4", (3,)), ("number_of_samples", "<u2"),
    ("available_channels", "<u2"), ("active_channels", "<u2"), ("channel_mask", "<u8", (16,)), ("discard_pre", "<u2"),
    ("discard_post", "<u2"), ("center_sample", "<u2"), ("encoding_space_ref", "<u2"), ("trajectory_dimensions", "<u2"),
    ("sample_time_us", "<f4"), ("position", "<f4", (3,)), ("read_dir", "<f4", (3,)), ("phase_dir", "<f4", (3,)),
    ("slice_dir", "<f4", (3,)), ("patient_table_position", "<f4", (3,)),
    ("idx", [*((name, "<u2") for name in COUNTERS), ("user", "<u2", (8,))]),
    ("user_int", "<i4", (8,)), ("user_float", "<f4", (8,)),
])
"""The head of a readout as the ISMRMRD standard lays it out, without padding."""


def write_kspace(kspace: KSpace, path: str | os.PathLike[str]) -> None:
    """Write k-space as ISMRMRD, a record for each line that was measured; :func:`own_kspace` gives all of it back.

    The file appears under its name when complete. Raises ValueError, one sentence, where it cannot be written.
    """
    import h5py

    place = Path(path)
    partial = place.with_name(f".{uuid.uuid4().hex}.h5")
    try:
        with h5py.File(partial, "w") as file:
            group = file.create_group("dataset")
            text = h5py.string_dtype("utf-8")
            group.create_dataset("xml", data=np.array([_header(kspace)], object), dtype=text)
            _write_records(group, kspace)
            beside = group.create_group(OWN)
            for name in ARRAYS:
                value = getattr(kspace, name)
                if value is not None:
                    beside.create_dataset(name, data=value, **({"compression": 1} if name == "mask" else {}))
            beside.attrs["slice_spacing_mm"] = kspace.slice_spacing_mm
            beside.attrs["pixel_mm"] = kspace.pixel_mm or ()
            beside.attrs["calibrated"] = kspace.calibration is not None
            beside.attrs["facts"] = json.dumps(dict(kspace.facts))
            beside.attrs["remarks"] = json.dumps([[r.kind, r.sentence, r.certain] for r in kspace.remarks])
        os.replace(partial, place)
    except OSError as error:
        raise ValueError(
            f"expected to write {place}, but it failed ({error.strerror or error}): free disk space or choose a folder "
            "that you may write to"
        ) from error
    finally:
        partial.unlink(missing_ok=True)


def own_kspace(group: Any, path: Path) -> KSpace:
    """The k-space that :func:`write_kspace` wrote, from its group of an open file; ValueError where it is damaged."""
    beside, table = group[OWN], group["data"]
    arrays = {name: beside[name][()] for name in ARRAYS if name in beside}
    heads = table.fields("head")[()]
    if "mask" not in arrays or len(heads) == 0 or (heads["flags"] & CALIBRATION_FLAG).all():
        raise ValueError(f"expected k-space with its mask in {path.name}, found parts of it: write it again")
    slices, rows, columns = arrays["mask"].shape
    shape = (slices, int(heads["active_channels"][0]), rows, columns)
    values = np.zeros(shape, np.complex64)
    calibration = np.zeros(shape, np.complex64) if beside.attrs["calibrated"] else None
    for head, flat in zip(heads, table.fields("data")[()], strict=True):
        numbers = np.asarray(flat, np.float32)
        target = calibration if int(head["flags"]) & CALIBRATION_FLAG else values
        at = int(head["idx"]["slice"]), int(head["idx"]["kspace_encode_step_1"])
        if target is None or numbers.size != 2 * shape[1] * columns or at[0] >= slices or at[1] >= rows:
            raise ValueError(f"expected lines of {shape} in {path.name}, found others: the file is damaged, write it "
                             "again")
        target[at[0], :, at[1]] = numbers.view(np.complex64).reshape(shape[1], columns)
    pixel = tuple(float(n) for n in beside.attrs["pixel_mm"])
    return KSpace(
        values, arrays["mask"].astype(bool), float(beside.attrs["slice_spacing_mm"]),
        (pixel[0], pixel[1]) if pixel else None, arrays.get("noise_covariance"), arrays.get("maps"), calibration,
        arrays.get("ijk_to_ras"), tuple(Remark(*found) for found in json.loads(beside.attrs["remarks"])),
        json.loads(beside.attrs["facts"]),
    )


def _write_records(group: Any, kspace: KSpace) -> None:
    import h5py

    numbers = h5py.vlen_dtype(np.dtype("<f4"))
    records = np.dtype([("head", HEAD), ("traj", numbers), ("data", numbers)])
    entries = list(_lines(kspace))
    table = group.create_dataset("data", shape=(len(entries),), dtype=records, maxshape=(None,), chunks=(1,))
    block = np.zeros(len(entries), records)
    for n, (flags, at, row, line) in enumerate(entries):
        head = np.zeros((), HEAD)
        coils, columns = line.shape
        head["version"], head["flags"], head["scan_counter"] = 1, flags, n
        head["number_of_samples"], head["center_sample"] = columns, columns // 2
        head["available_channels"] = head["active_channels"] = coils
        head["idx"]["slice"], head["idx"]["kspace_encode_step_1"] = at, row
        for name, value in _place(kspace, at).items():
            head[name] = value
        block[n]["head"] = head
        block[n]["traj"] = np.zeros(0, np.float32)
        block[n]["data"] = np.ascontiguousarray(line).view(np.float32).ravel()
    table[...] = block


def _lines(kspace: KSpace) -> Iterator[tuple[int, int, int, np.ndarray]]:
    """Flags, slice, row and samples (coils, columns) of each line to write, calibration acquired apart first."""
    for values, measured, flag in (
        (kspace.calibration, kspace.calibration, CALIBRATION_FLAG),
        (kspace.values, kspace.mask[:, None], 0),
    ):
        if values is None or measured is None:
            continue
        for at in range(kspace.slices):
            rows = np.flatnonzero(measured[at].any(axis=(0, 2)))
            for row in rows:
                edge = (FIRST_IN_SLICE if row == rows[0] else 0) | (LAST_IN_SLICE if row == rows[-1] else 0)
                yield flag | edge, at, int(row), values[at, :, row]


def _place(kspace: KSpace, at: int) -> dict[str, np.ndarray]:
    """Position and directions of a slice in LPS; nothing where they are not known."""
    if kspace.ijk_to_ras is None:
        return {}
    matrix = LPS_TO_RAS @ kspace.ijk_to_ras
    rows, columns = kspace.shape
    axes = matrix[:3, :3] / np.linalg.norm(matrix[:3, :3], axis=0)
    position = (matrix @ [columns // 2, rows // 2, at, 1.0])[:3]
    return {"position": position, "read_dir": axes[:, 0], "phase_dir": axes[:, 1], "slice_dir": axes[:, 2]}


def _header(kspace: KSpace) -> str:
    """The XML header: matrix, field of view (0 where not known), limits, coils, vendor and model."""
    rows, columns = kspace.shape
    tall, wide = kspace.pixel_mm or (0.0, 0.0)
    space = (
        f"<matrixSize><x>{columns}</x><y>{rows}</y><z>1</z></matrixSize><fieldOfView_mm><x>{wide * columns:.9g}</x>"
        f"<y>{tall * rows:.9g}</y><z>{kspace.slice_spacing_mm:.9g}</z></fieldOfView_mm>"
    )

    def limits(name: str, size: int, centre: int) -> str:
        return (f"<{name}><minimum>0</minimum><maximum>{size - 1}</maximum><center>{centre}</center></{name}>")

    machine = "".join(
        f"<{tag}>{escape(str(kspace.facts[name]))}</{tag}>"
        for name, tag in (("vendor", "systemVendor"), ("model", "systemModel")) if name in kspace.facts
    )
    hertz = round(float(kspace.facts.get("field_T", 0)) * 42.577478518e6)
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n<ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD">'
        f"<acquisitionSystemInformation>{machine}<receiverChannels>{kspace.coils}</receiverChannels>"
        f"</acquisitionSystemInformation><experimentalConditions><H1resonanceFrequency_Hz>{hertz}"
        f"</H1resonanceFrequency_Hz></experimentalConditions><encoding><encodedSpace>{space}</encodedSpace>"
        f"<reconSpace>{space}</reconSpace><encodingLimits>{limits('kspace_encoding_step_0', columns, columns // 2)}"
        f"{limits('kspace_encoding_step_1', rows, rows // 2)}{limits('slice', kspace.slices, 0)}</encodingLimits>"
        "<trajectory>cartesian</trajectory></encoding></ismrmrdHeader>"
    )
