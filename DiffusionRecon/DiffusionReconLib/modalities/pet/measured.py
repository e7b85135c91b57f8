"""A file of measured PET counts: what kind it is, what it holds, and what is to be asked about it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from slicer.i18n import tr as _

from DiffusionReconLib.modalities.contract import MeasuredSummary
from DiffusionReconLib.modalities.measured_files import LONGEST_LOOK_BYTES, axesOf, descriptionBeside


@dataclass(frozen=True)
class Questions:
    """What a file of this kind leaves open.

    `axes`: how many an array has whose file does not name them, 0 for others; `factors`: background, attenuation and
    calibration may be given beside it.
    """

    axes: int = 0
    factors: bool = False


@dataclass(frozen=True)
class MeasuredPET(MeasuredSummary):
    """Measured counts; `counts`: prompts a slice, 0 where that is not known yet; `placed`: whether they say where in
    the patient they lie, None where that is not known yet; `attenuation`: the remarks that a volume of it answers.
    """

    counts: float = 0.0
    placed: bool | None = None
    attenuation: tuple[str, ...] = ()


def measuredPET(path: Path, description: Path | None, answers: Mapping[str, Any]) -> MeasuredPET:
    """What a file of counts holds, with its description and the panel's answers by the description's keys.

    Without `description` it is looked for beside the file. Raises ValueError, one sentence, for what cannot be used and
    for what has to be asked: axes, bins, angles, spacing.
    """
    from diffusion_engine.modalities.pet.files import FILES
    from diffusion_engine.modalities.pet.judge import judge
    from diffusion_engine.modalities.pet.parts import parts, read_anywhere

    if not path.is_file():
        raise ValueError(_("Expected PET counts (Interfile header, NumPy or MATLAB arrays), found no file '{path}': "
                           "choose another file.").format(path=path.name))
    described = said(path, description or descriptionBeside(path), answers)
    files = (str(path), str(described) if isinstance(described, Path) else described)
    given = described or None
    largest = max(place.stat().st_size for place in parts(path, given).copies.values())
    if largest > LONGEST_LOOK_BYTES:
        text = _("A large file ({size:.0f} MB): the run alone reads it.").format(size=largest / 1e6)
        return MeasuredPET((text,), None, files)
    sinogram = read_anywhere(path, given)
    remarks = [*sinogram.remarks, *judge(sinogram, sinogram.attenuation is not None)]
    return MeasuredPET(
        lines=(FILES.summarise(sinogram),),
        shape=(sinogram.slices, sinogram.bins, sinogram.bins),
        files=files,
        remarks=tuple(remark.sentence for remark in remarks),
        counts=float(sinogram.prompts.sum(dtype=np.float64)) / sinogram.slices,
        placed=sinogram.ijk_to_ras is not None,
        attenuation=tuple(remark.sentence for remark in remarks if remark.kind == "attenuation"),
    )


def said(path: Path, description: Path | None, answers: Mapping[str, Any]) -> Any:
    """What describes the data: the file, or its content with the panel's answers over it, or "".

    Files that the description names are given by their full paths, as the answers lie elsewhere than it.
    """
    from diffusion_engine.modalities.pet.parts import is_file_name
    from diffusion_engine.modalities.pet.readings.description import FACTORS, read_description

    read_description(description)  # its faults are told under its own name
    if not answers:
        return description or ""
    content = {} if description is None else json.loads(description.read_text(encoding="utf-8-sig"))
    for key in FACTORS:
        if isinstance(content.get(key), str) and is_file_name(content[key]):
            content[key] = str(description.with_name(content[key]))
    if "arc_deg" in answers:
        content.pop("angles_deg", None)
    if "attenuation" in answers:
        content.pop("attenuation_factors", None)
    return {**content, **answers}


def questionsOf(path: Path) -> Questions:
    """What is to be asked about a file; nothing about one that holds no counts."""
    try:
        changed = path.stat().st_mtime_ns
    except OSError:
        return Questions()
    return _questionsOf(path, changed)


@lru_cache(maxsize=8)
def _questionsOf(path: Path, _changed: int) -> Questions:
    from diffusion_engine.modalities.pet.readings.arrays import is_own
    from diffusion_engine.modalities.pet.readings.formats import ARRAY_ENDINGS, format_of

    if path.suffix.lower() in ARRAY_ENDINGS:
        return Questions() if path.suffix.lower() == ".npz" and is_own(path) else Questions(axesOf(path, 3), True)
    try:
        return Questions(0, format_of(path) is not None)
    except (ValueError, OSError):
        return Questions()
