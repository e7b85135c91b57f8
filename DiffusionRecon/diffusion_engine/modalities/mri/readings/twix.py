"""Siemens raw data (.dat, "twix"), read by the package twixtools where it is installed.

In-plane directions are left out: how the sign of k and the stored rotation go together is not published, and the
programs that read these files do not agree. What is certain, the order and distance of slices, is taken.
"""

from __future__ import annotations

import contextlib
import io
import struct
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from ..kspace import KSpace
from .acquisition import Acquisition, to_kspace
from .description import Description
from .header import Encoding
from .lines import Lines, forward, need_memory, select
from .raw import Raw

NEEDED = (
    "Siemens raw data need the Python package twixtools: install it (pip install twixtools), or convert the file to "
    "ISMRMRD with siemens_to_ismrmrd"
)
FAULTS = (ValueError, OSError, KeyError, IndexError, TypeError, AttributeError, RuntimeError, EOFError, struct.error)
COUNTERS = {
    "line": "cLin", "partition": "cPar", "slice": "cSlc", "average": "cAve", "contrast": "cEco", "phase": "cPhs",
    "repetition": "cRep", "set": "cSet",
}
AXES = ("dSag", "dCor", "dTra")
NO_DIRECTIONS = (
    "The place of Siemens raw data in the patient is left out, as the sign of their in-plane axes is not stated: "
    "convert the file with siemens_to_ismrmrd, and compare with the scanner's own images."
)


def read_twix(path: Path, description: Description) -> KSpace:
    """The k-space of the last measurement of a file; raises ValueError, one sentence."""
    twixtools = _package()
    _whole(path)
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            scans = twixtools.read_twix(
                str(path), parse_pmu=False, parse_geometry=False, verbose=False, keep_acqend=True
            )
            scan = scans[-1]
            blocks = list(scan["mdb"])
            header = scan["hdr"]
            if not blocks or not blocks[-1].is_flag_set("ACQEND"):
                raise ValueError("expected the end of the measurement, found none: the file is cut, copy it again")
            raw = Raw("Siemens twix", np.zeros(0), np.zeros(0), facts=_facts(header))
            if len(scans) > 1:
                raw.facts["measurements"] = len(scans)
            readouts = [block for block in blocks if not block.is_flag_set("ACQEND")]
            found = _acquisition(readouts, header, description, raw)
    except FAULTS as error:
        known = isinstance(error, ValueError) and str(error).startswith("expected")
        text = str(error) if known else (
            f"expected whole Siemens raw data, but reading failed ({(str(error) or type(error).__name__)[:120]}): copy "
            "the file again"
        )
        raise ValueError(f"{path.name}: {text}") from error
    raw.remark("no_directions", NO_DIRECTIONS)
    return to_kspace(found, raw, description, path)


def _package() -> ModuleType:
    try:
        import twixtools
    except ImportError as error:
        raise ValueError(NEEDED) from error
    module: ModuleType = twixtools
    return module


def _whole(path: Path) -> None:
    """Refuse a file that is shorter than its own table of measurements says."""
    with path.open("rb") as stream:
        head = stream.read(32 + 152 * 64)
    first, count = struct.unpack_from("<II", head)
    if first >= 10_000 or len(head) < 8 + 152 * count:
        return
    size = path.stat().st_size
    for n in range(count):
        offset, length = struct.unpack_from("<QQ", head, 16 + 152 * n)
        if offset + length > size:
            raise ValueError(
                f"{path.name}: expected {offset + length} bytes as its table says, found {size}: copy the file again"
            )


def _acquisition(blocks: Sequence[Any], header: Any, description: Description, raw: Raw) -> Acquisition:
    def flagged(name: str) -> np.ndarray:
        return np.array([bool(block.is_flag_set(name)) for block in blocks])

    noise = flagged("NOISEADJSCAN")
    calibration, both = flagged("PATREFSCAN"), flagged("PATREFANDIMASCAN")
    image = np.array([bool(block.is_image_scan()) for block in blocks])
    apart = calibration & ~both & ~noise
    apart &= ~np.logical_or.reduce([flagged(name) for name in ("PHASCOR", "RTFEEDBACK", "HPFEEDBACK", "SYNCDATA")])
    index = {name: np.array([int(getattr(block, stored)) for block in blocks]) for name, stored in COUNTERS.items()}
    if not image.any():
        raise ValueError("expected imaging readouts, found none: give the raw data of the image")
    image = select(index, image, description, raw)
    lines = _lines([b for b, taken in zip(blocks, image, strict=True) if taken], index, image)
    encoding = _encoding(header, lines, blocks[int(np.flatnonzero(image)[0])], description, raw)
    raw.facts.update(lines=int(image.sum()), calibration_lines=int((both & image).sum()), trajectory="not stated")
    slices = np.unique(index["slice"][image])
    first = {int(n): blocks[int(np.flatnonzero(image & (index["slice"] == n))[0])] for n in slices}
    if len(slices) > 1:
        raw.slice_spacing_mm = None
    return Acquisition(
        lines, encoding, {n: _position(block) for n, block in first.items()},
        {n: np.zeros((3, 3)) for n in first},
        _lines([b for b, taken in zip(blocks, apart, strict=True) if taken], index, apart) if apart.any() else None,
        encoding if apart.any() else None,
        np.stack([b.data for b, taken in zip(blocks, noise, strict=True) if taken]) if noise.any() else None,
    )


def _lines(blocks: Sequence[Any], index: Mapping[str, np.ndarray], wanted: np.ndarray) -> Lines:
    shapes = {(int(b.mdh.UsedChannels), int(b.mdh.SamplesInScan)) for b in blocks}
    if len(shapes) > 1:
        found = " and ".join(f"{coils} x {samples}" for coils, samples in sorted(shapes)[:3])
        raise ValueError(f"expected readouts of the same coils and samples, found {found}: split the file")
    need_memory(len(blocks), *shapes.pop())
    return forward(
        np.stack([np.asarray(b.data, np.complex64) for b in blocks]), {n: v[wanted] for n, v in index.items()},
        np.array([int(b.mdh.CenterCol) for b in blocks]),
        (np.array([int(b.mdh.CutOff.Pre) for b in blocks]), np.array([int(b.mdh.CutOff.Post) for b in blocks])),
        np.array([bool(b.is_flag_set("REFLECT")) for b in blocks]),
    )


def _encoding(header: Any, lines: Lines, block: Any, description: Description, raw: Raw) -> Encoding:
    """Matrix and field of view from the protocol; what contradicts the readouts is asked about."""
    yaps = header["MeasYaps"]
    grid, plane = yaps["sKSpace"], yaps["sSliceArray"]["asSlice"][0]
    base, samples = int(grid["lBaseResolution"]), lines.data.shape[-1]
    factor = description.oversampling or float(header["Dicom"].get("flReadoutOSFactor") or 0)
    readout = samples if description.oversampling else round(factor * base)
    if samples > readout:
        raise ValueError(
            f"expected readouts of up to {readout} samples ({base}, oversampled by {factor:g}), found {samples}: "
            f"say \"oversampling\" in the description, 1 if the image has {samples} columns"
        )
    name = str(yaps.get("tSequenceFileName", ""))
    if "pulseq" in name.lower():
        raw.remark("stated_fov", "The sequence is a Pulseq one, whose field of view need not be the one in the "
                                 "protocol: give \"pixel_mm\" in the description if it is known.", False)
    stated = int(float(header["Meas"].get("iNoOfFourierLines") or 0))
    most = int(lines.index["line"].max()) + 1
    rows = stated if stated >= most else most
    if stated < most:
        raw.remark("stated_lines", f"The protocol states {stated} lines; the {most} of the file were taken.", False)
    partitions = int(lines.index["partition"].max()) + 1
    if int(grid.get("ucDimension", 2)) == 4:
        partitions = max(partitions, int(grid.get("lPartitions", 1)))
    line = int(block.mdh.CenterLin)
    tall = float(plane["dPhaseFOV"]) * (1 + float(grid.get("dPhaseOversamplingForDialog", 0)))
    deep = float(plane["dThickness"]) * (1 + float(grid.get("dSliceOversamplingForDialog", 0)))
    wide = float(plane["dReadoutFOV"])
    return Encoding(
        "cartesian", (readout, rows, partitions), (wide * factor, tall, deep), (base, rows, partitions),
        (wide, tall, deep), line if line > 0 else None, int(block.mdh.CenterPar) if partitions > 1 else None,
    )


def _position(block: Any) -> np.ndarray:
    """Of a slice's middle in LPS, mm."""
    place = block.mdh.SliceData.SlicePos
    return np.array([float(getattr(place, name)) for name in ("Sag", "Cor", "Tra")])


def _facts(header: Any) -> dict[str, Any]:
    """Machine and sequence, nothing on the patient."""
    machine, yaps = header["Dicom"], header["MeasYaps"]
    facts: dict[str, Any] = {"vendor": "Siemens"}
    for name, value in (
        ("model", machine.get("ManufacturersModelName")), ("protocol", yaps.get("tProtocolName")),
        ("sequence", yaps.get("tSequenceFileName")),
    ):
        if value:
            facts[name] = str(value)[:200]
    if machine.get("flMagneticFieldStrength"):
        facts["field_T"] = round(float(machine["flMagneticFieldStrength"]), 2)
    for name, key in (("TR_ms", "alTR"), ("TE_ms", "alTE")):
        if yaps.get(key):
            facts[name] = float(np.atleast_1d(yaps[key])[0]) / 1000
    return facts
