"""ISMRMRD raw data (.h5): readouts as records with flags, and an XML header. Read with h5py alone.

Source: Inati et al., ISMRM Raw data format, Magn Reson Med 77 (2017), doi:10.1002/mrm.26089.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from ..kspace import KSpace
from .acquisition import Acquisition, to_kspace
from .description import CHOICES, Description
from .hdf5 import opened
from .header import Encoding, Header, parse_header
from .lines import Lines, forward, need_memory, select
from .own import OWN, own_kspace
from .raw import Raw

NOISE, CALIBRATION, CALIBRATION_AND_IMAGING, REVERSE = 19, 20, 21, 22
LEFT_OUT = {
    23: "navigator", 24: "phase correction", 26: "feedback", 27: "dummy", 28: "feedback", 29: "coil correction",
    30: "phase stabilisation", 31: "phase stabilisation",
}
"""Readouts that are no part of the image, by their flag's number; number n is bit n - 1."""
AT_ONCE = 256


def read_ismrmrd(path: Path, description: Description) -> KSpace:
    """The k-space of an ISMRMRD file; raises ValueError, one sentence, for what cannot be told or is damaged."""
    with opened(path) as file:
        group = _group(file, path, description.variable)
        if OWN in group:
            return own_kspace(group, path)
        header = parse_header(_text(group["xml"][()]))
        table = group["data"]
        heads = table.fields("head")[()]
        raw = Raw("ISMRMRD", np.zeros(0), np.zeros(0))
        raw.facts.update(header.facts)
        return to_kspace(_acquisition(table, heads, header, description, raw), raw, description, path)


def has_flag(flags: np.ndarray, number: int) -> np.ndarray:
    """Which of the records have a flag by its number, from 1 on."""
    found: np.ndarray = (flags.astype(np.uint64) >> np.uint64(number - 1)) & np.uint64(1) == 1
    return found


def _group(file: Any, path: Path, wanted: str | None) -> Any:
    """The group that holds raw data; ValueError where there is none, or several and none is named."""
    names = [name for name in file if getattr(file[name], "keys", None) and {"xml", "data"} <= set(file[name])]
    if wanted is not None:
        names = [name for name in names if name == wanted]
    if len(names) == 1:
        return file[names[0]]
    found = f"several ({', '.join(names)}): name one as \"variable\" in the description" if names else (
        "none: images alone cannot be reconstructed, give the raw data")
    raise ValueError(f"expected one group of raw data with header in {path.name}, found {found}")


def _text(stored: Any) -> bytes:
    first = np.atleast_1d(stored)
    if len(first) != 1:
        raise ValueError(f"expected one header, found {len(first)}: write the file again")
    return first[0] if isinstance(first[0], bytes) else str(first[0]).encode()


def _acquisition(table: Any, heads: np.ndarray, header: Header, description: Description, raw: Raw) -> Acquisition:
    flags, index = heads["flags"], _indices(heads)
    noise = has_flag(flags, NOISE)
    skipped = np.zeros(len(heads), bool)
    for number, name in LEFT_OUT.items():
        those = has_flag(flags, number) & ~noise
        if those.any():
            raw.facts["left_out"] = sorted({*raw.facts.get("left_out", ()), name})
        skipped |= those
    only_calibration = has_flag(flags, CALIBRATION) & ~has_flag(flags, CALIBRATION_AND_IMAGING) & ~noise & ~skipped
    imaging = ~(noise | skipped | only_calibration)
    if not imaging.any():
        raise ValueError(f"expected imaging readouts, found none among {len(heads)}: give the raw data of the image")
    space = heads["encoding_space_ref"]
    reference = int(space[imaging][0])
    if (space[imaging] != reference).any():
        raw.remark("several_encodings", "The file holds images of several matrices; the first was read.")
        imaging &= space == reference
    encoding = _encoding(header, reference)
    # Calibration lines within the image's own scan are samples of it like the others.
    embedded = only_calibration & (space == reference) if encoding.calibration == "embedded" else np.zeros_like(noise)
    imaging = select(index, imaging | embedded, description, raw)
    apart = only_calibration & ~embedded
    calibration = has_flag(flags, CALIBRATION) | has_flag(flags, CALIBRATION_AND_IMAGING)
    raw.facts.update(lines=int(imaging.sum()), calibration_lines=int((calibration & imaging).sum()))
    raw.facts["trajectory"] = encoding.trajectory or "not stated"
    first = int(np.flatnonzero(imaging)[0])
    slices = np.unique(index["slice"][imaging])
    chosen = {int(n): int(np.flatnonzero(imaging & (index["slice"] == n))[0]) for n in slices}
    dwell = heads["sample_time_us"]
    return Acquisition(
        _lines(table, heads, imaging, index), encoding,
        {n: heads["position"][at].astype(np.float64) for n, at in chosen.items()},
        {n: np.stack([heads[name][at] for name in ("read_dir", "phase_dir", "slice_dir")], 1).astype(np.float64)
         for n, at in chosen.items()},
        _lines(table, heads, apart, index) if apart.any() else None,
        _encoding(header, int(space[apart][0])) if apart.any() else None,
        _noise(table, heads, noise) if noise.any() else None,
        (float(dwell[first]), float(dwell[noise][0]) if noise.any() else 0.0), header.noise_bandwidth,
    )


def _encoding(header: Header, reference: int) -> Encoding:
    """An encoding of the header, an empty one where it states none; ValueError unless it is Cartesian."""
    if header.encodings and reference >= len(header.encodings):
        raise ValueError(
            f"expected {len(header.encodings)} encodings as the header says, found a readout of number {reference}: "
            "write the file again"
        )
    encoding = header.encodings[reference] if header.encodings else Encoding()
    if encoding.trajectory not in ("cartesian", ""):
        raise ValueError(
            f"expected a Cartesian trajectory, found {encoding.trajectory}: grid the data first (EPI also needs its "
            "ramps and ghosts corrected)"
        )
    return encoding


def _indices(heads: np.ndarray) -> dict[str, np.ndarray]:
    names = {"line": "kspace_encode_step_1", "partition": "kspace_encode_step_2", "slice": "slice",
             "average": "average", **{name: name for name in CHOICES}}
    return {name: heads["idx"][stored].astype(np.int64) for name, stored in names.items()}


def _lines(table: Any, heads: np.ndarray, wanted: np.ndarray, index: dict[str, np.ndarray]) -> Lines:
    """The readouts that are ``wanted``; ValueError unless all have the same coils and samples."""
    where = np.flatnonzero(wanted)
    shapes = {(int(h["active_channels"]), int(h["number_of_samples"])) for h in heads[where]}
    if len(shapes) > 1:
        found = " and ".join(f"{coils} x {samples}" for coils, samples in sorted(shapes)[:3])
        raise ValueError(f"expected readouts of the same coils and samples, found {found}: split the file")
    coils, samples = shapes.pop()
    need_memory(len(where), coils, samples)
    own = heads[where]
    stated = own["center_sample"].astype(np.int64)
    centre = stated if (stated > 0).any() else np.full(len(where), -1)
    return forward(
        np.stack(list(_records(table, where, coils, samples))), {name: found[where] for name, found in index.items()},
        centre, (own["discard_pre"].astype(np.int64), own["discard_post"].astype(np.int64)),
        has_flag(own["flags"], REVERSE),
    )


def _noise(table: Any, heads: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Noise readouts (lines, coils, samples), those like the first one."""
    where = np.flatnonzero(noise)
    first = heads[where[0]]
    coils, samples = int(first["active_channels"]), int(first["number_of_samples"])
    alike = (heads["active_channels"][where] == coils) & (heads["number_of_samples"][where] == samples)
    return np.stack(list(_records(table, where[alike], coils, samples)))


def _records(table: Any, where: np.ndarray, coils: int, samples: int) -> Iterable[np.ndarray]:
    """The samples (coils, samples) of records by their numbers, a few hundred read at once."""
    for begin in range(0, len(where), AT_ONCE):
        numbers = where[begin:begin + AT_ONCE]
        block = table.fields("data")[int(numbers[0]):int(numbers[-1]) + 1]
        for number in numbers:
            flat = np.asarray(block[number - numbers[0]], np.float32)
            if flat.size != 2 * coils * samples:
                raise ValueError(
                    f"expected {coils} coils of {samples} samples in readout {number}, found {flat.size // 2} numbers: "
                    "the file is damaged, copy it again"
                )
            yield flat.view(np.complex64).reshape(coils, samples)
