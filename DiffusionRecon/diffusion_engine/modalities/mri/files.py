"""MR raw data on disk: formats that are known by their content, and ISMRMRD in a job's folder.

The readers are imported when they are called: a panel reads the table before any set-up.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..contract import Files
from .parts import parts

if TYPE_CHECKING:
    from .kspace import KSpace

KSPACE = "kspace.h5"


def recognise(path: Path, description: Path | None) -> bool:
    """Whether a file holds MR raw data by its content; one that is damaged counts, :func:`read` says what is wrong."""
    from .readings.formats import format_of

    try:
        return format_of(path) is not None
    except ValueError:
        return True


def read(path: Path, description: Path | None) -> KSpace:
    """The k-space of a file, with the JSON file beside it that says what the file does not; raises ValueError."""
    from .readings.formats import read as read_any

    return read_any(path, description)


def write(kspace: KSpace, place: Path) -> tuple[str, str | None]:
    """Write k-space into a folder as ISMRMRD; the name of its file, which needs no description."""
    from .readings.own import write_kspace

    write_kspace(kspace, place / KSPACE)
    return KSPACE, None


def size(kspace: KSpace) -> int:
    """Bytes of the samples, and of the maps and calibration data where there are some."""
    return sum(int(part.nbytes) for part in (kspace.values, kspace.mask, kspace.maps, kspace.calibration)
               if part is not None)


def summarise(kspace: KSpace) -> str:
    """Such as "k-space (ISMRMRD): 1 slice, 4 coils, 256 x 256, 1.8 x fewer samples, pixels of 1 x 1 mm, 3 T"."""
    facts = kspace.facts
    rows, columns = kspace.shape
    parts = [_counted(kspace.slices, "slice"), _counted(kspace.coils, "coil"), f"{rows} x {columns}"]
    parts.append("fully sampled" if kspace.mask.all() else f"{kspace.acceleration:.3g} x fewer samples")
    pixel = kspace.pixel_mm
    parts.append("pixel size not known" if pixel is None else f"pixels of {pixel[0]:.3g} x {pixel[1]:.3g} mm")
    machine = " ".join(str(facts[name]) for name in ("vendor", "model") if name in facts)
    field = f"{facts['field_T']:g} T" if "field_T" in facts else ""
    parts += [part for part in (" ".join(filter(None, (machine, field))),) if part]
    return f"k-space ({facts.get('format', 'simulated')}): {', '.join(parts)}"


def named(description: Any) -> Mapping[str, object]:
    """The files of mask and maps that a description names."""
    if not isinstance(description, dict):
        return {}
    found = {"the mask of the job's input": description.get("mask"), "the coil maps of the job's input":
             description.get("maps")}
    return {what: name for what, name in found.items() if name not in (None, "full", "nonzero")}


def _counted(count: int, name: str) -> str:
    return f"{count} {name}" if count == 1 else f"{count} {name}s"


FILES = Files((KSPACE,), False, recognise, read, write, size, summarise, named, parts, greedy=True)
