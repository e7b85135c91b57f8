"""A file of measured k-space: what kind it is, what it holds, and what is to be asked about it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from DiffusionReconLib.modalities.contract import MeasuredSummary
from DiffusionReconLib.modalities.measured_files import LONGEST_LOOK_BYTES, axesOf, descriptionBeside

ARRAYS = ("NumPy", "MATLAB")
WITHOUT_HEADER = (*ARRAYS, "BART")


@dataclass(frozen=True)
class Questions:
    """What a file of this kind leaves open.

    `known`: it is raw data at all; `axes`: how many an array has whose file does not name them, 0 for others;
    `samples`: it does not say what was measured; `maps`: coil maps may be given beside it.
    """

    known: bool = False
    axes: int = 0
    samples: bool = False
    maps: bool = False


@dataclass(frozen=True)
class MeasuredMRI(MeasuredSummary):
    """Measured k-space; `acceleration`: all samples over the measured ones, 0 where that is not known yet."""

    acceleration: float = 0.0


def measuredMRI(path: Path, description: Path | None, answers: Mapping[str, Any]) -> MeasuredMRI:
    """What a file of raw data holds, with its description and the panel's answers by the description's keys.

    Without `description` it is looked for beside the file. Raises ValueError, one sentence, for what cannot be used and
    for what has to be asked: the size of pixels, the order of axes, what was measured.
    """
    from diffusion_engine.modalities.mri.files import FILES
    from diffusion_engine.modalities.mri.judge import judge
    from diffusion_engine.modalities.mri.parts import parts, read_anywhere

    _checkKind(path)
    described = said(path, description or descriptionBeside(path), answers)
    files = (str(path), str(described) if isinstance(described, Path) else described)
    given = described or None
    largest = max(place.stat().st_size for place in parts(path, given).copies.values())
    if largest > LONGEST_LOOK_BYTES:
        text = _("A large file ({size:.0f} MB): the run alone reads it.").format(size=largest / 1e6)
        return MeasuredMRI((text,), None, files)
    try:
        kspace = read_anywhere(path, given)
    except ImportError as error:
        text = _("'{name}' is looked at by the run: the first Apply sets up what is needed ({package}).").format(
            name=path.name, package=error.name)
        return MeasuredMRI((text,), None, files)
    if "maps" in answers and kspace.maps is None:
        raise ValueError(_("'{name}' brings no place for coil maps: leave them out, they are estimated.").format(
            name=path.name))
    if kspace.pixel_mm is None:
        raise ValueError(_("'{name}' does not say how wide its pixels are: enter the pixel size, which is the field of "
                           "view over the matrix.").format(name=path.name))
    remarks = [*kspace.remarks, *judge(kspace)]
    return MeasuredMRI(
        lines=(FILES.summarise(kspace), *_lines(kspace)),
        shape=(kspace.slices, *kspace.shape),
        files=files,
        remarks=tuple(remark.sentence for remark in remarks),
        acceleration=kspace.acceleration,
    )


def said(path: Path, description: Path | None, answers: Mapping[str, Any]) -> Any:
    """What describes the data: the file, or its content with the panel's answers over it, or "".

    Files that the description names are given by their full paths, as the answers lie elsewhere than it.
    """
    from diffusion_engine.modalities.mri.parts import FURTHER
    from diffusion_engine.modalities.mri.readings.description import read_description

    read_description(description)  # its faults are told under its own name
    if not answers:
        return description or ""
    content = {} if description is None else json.loads(description.read_text(encoding="utf-8-sig"))
    for key in FURTHER:
        if content.get(key) not in (None, "full", "nonzero"):
            content[key] = str((path if description is None else description).with_name(content[key]))
    return {**content, **answers}


def questionsOf(path: Path) -> Questions:
    """What is to be asked about a file; nothing about one that is no raw data."""
    try:
        changed = path.stat().st_mtime_ns
    except OSError:
        return Questions()
    return _questionsOf(path, changed)


@lru_cache(maxsize=8)
def _questionsOf(path: Path, _changed: int) -> Questions:
    from diffusion_engine.modalities.mri.readings.formats import format_of

    try:
        kind = format_of(path)
    except (ImportError, ValueError, OSError):
        return Questions()
    if kind is None:
        return Questions()
    free = kind.title in WITHOUT_HEADER
    return Questions(True, axesOf(path, 0) if kind.title in ARRAYS else 0, free, free)


def _checkKind(path: Path) -> None:
    """ValueError for a file that is not there or holds no raw data; a missing package is no reason."""
    from diffusion_engine.modalities.mri.readings.formats import format_of

    try:
        kind = format_of(path)
    except ImportError:
        return
    if kind is None:
        raise ValueError(_(
            "Expected MR raw data (ISMRMRD or fastMRI .h5, BART .cfl, Siemens .dat, NumPy or MATLAB arrays), found "
            "'{path}': choose another file."
        ).format(path=path.name))


def _lines(kspace: Any) -> list[str]:
    """What the header says that a user looks for, and which maps and noise there are."""
    facts, lines = kspace.facts, []
    if facts.get("protocol"):
        lines.append(_("Protocol {name}").format(name=facts["protocol"]))
    if kspace.maps is not None:
        maps = _("Coil maps given")
    elif kspace.coils == 1:
        maps = _("One coil")
    elif kspace.calibration is not None:
        maps = _("Coil maps are estimated from the calibration that was acquired apart")
    else:
        maps = _("Coil maps are estimated from the middle of k-space")
    known = kspace.noise_covariance is not None
    noise = _("noise known from a noise scan") if known else _("noise is estimated from the data")
    return [*lines, f"{maps}; {noise}"]
