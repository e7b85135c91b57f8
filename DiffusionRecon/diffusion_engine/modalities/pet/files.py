"""PET counts on disk: formats that are known by their content, and one file in a job's folder.

The readers are imported when they are called: a panel reads the table before any set-up.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..rules import Files
from .parts import is_file_name, parts

if TYPE_CHECKING:
    from ...volume import Volume
    from .sinogram import Sinogram

SINOGRAM = "sinogram.npz"
FACTORS = {"background": "the background", "attenuation": "the attenuation", "attenuation_factors": "the attenuation",
           "efficiency": "the efficiency", "normalisation": "the normalisation"}


def recognise(path: Path, description: Path | None) -> bool:
    """Whether a file holds counts of PET by its content, or an array by its description; one that is damaged counts,
    :func:`read` says what is wrong."""
    from .readings.formats import format_of

    try:
        return format_of(path, description) is not None
    except ValueError:
        return True


def read(path: Path, description: Path | None) -> Sinogram:
    """The counts of a file, with the JSON file beside it that says what the file does not; raises ValueError."""
    from .readings.formats import read as read_any

    return read_any(path, description)


def image(path: Path) -> Volume | None:
    """See :func:`.readings.images.own_image`."""
    from .readings.images import own_image

    return own_image(path)


def write(sinogram: Sinogram, place: Path) -> tuple[str, str | None]:
    """Write counts into a folder; the name of their file, which needs no description."""
    from .readings.arrays import write_npz

    write_npz(sinogram, place / SINOGRAM)
    return SINOGRAM, None


def size(sinogram: Sinogram) -> int:
    """Bytes of the counts and of what is known of them."""
    parts = (sinogram.prompts, sinogram.background, sinogram.attenuation, sinogram.efficiency)
    return sum(int(part.nbytes) for part in parts if part is not None)


def summarise(sinogram: Sinogram) -> str:
    """Such as "PET counts (Interfile): 27 slices, 64 angles, 75 bins of 3 mm, 1.2e+06 prompts a slice, 30 %
    background, attenuation known, 60 s, F-18"."""
    facts = sinogram.facts
    total = float(sinogram.prompts.sum(dtype="float64"))
    parts = [_counted(sinogram.slices, "slice"), _counted(sinogram.angles, "angle"),
             f"{sinogram.bins} bins of {sinogram.bin_mm:.3g} mm", f"{total / sinogram.slices:.3g} prompts a slice"]
    if sinogram.background is None:
        parts.append("background not known")
    else:
        parts.append(f"{100 * float(sinogram.background.sum(dtype='float64')) / total:.2g} % background")
    parts.append(f"attenuation {'not known' if sinogram.attenuation is None else 'known'}")
    if sinogram.duration_s is not None:
        parts.append(f"{sinogram.duration_s:g} s")
    parts += [str(facts[name]) for name in ("isotope", "scanner") if name in facts]
    return f"PET counts ({facts.get('format', 'simulated')}): {', '.join(parts)}"


def named(description: Any) -> Mapping[str, object]:
    """The files of background, attenuation and efficiency that a description names."""
    if not isinstance(description, dict):
        return {}
    return {f"{what} of the job's input": description[key] for key, what in FACTORS.items()
            if isinstance(description.get(key), str) and is_file_name(description[key])}


def _counted(count: int, name: str) -> str:
    return f"{count} {name}" if count == 1 else f"{count} {name}s"


FILES = Files((SINOGRAM,), False, recognise, read, write, size, summarise, named, parts, image=image)
