"""Raw data that lie anywhere, with what a user says about them: as files of a job's folder, or read where they lie."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

from ...io.json_object import content_of
from ..rules import Described, Parts
from .kspace import KSpace

NAME, DESCRIPTION = "kspace", "kspace.json"
FURTHER = ("mask", "maps")
"""Keys of a description that may name a file."""
BART = (".cfl", ".hdr")


def parts(path: Path, description: Described) -> Parts:
    """The raw data, their description and the files of mask and coil maps that it names, under names of their own.

    ``description``: its file, which names others beside it; or its content, which may also name them by full paths
    and otherwise beside the data. Raises ValueError, one sentence, where a file is not there or there is no JSON.
    """
    copies = _copies(path, NAME)
    data = NAME + _ending(path)
    content = content_of(description)
    if content is None:
        return Parts(data, None, copies)
    folder = description.parent if isinstance(description, Path) else path.parent
    written = dict(content)
    for key in FURTHER:
        named = content.get(key)
        if not isinstance(named, str) or named in ("full", "nonzero"):
            continue
        if isinstance(description, Path) and Path(named).is_absolute():
            raise ValueError(
                f"expected the name of a file beside {description} as {key}, found '{named}': put it there"
            )
        further = _copies(folder / named, f"{NAME}.{key}")
        copies.update(further)
        written[key] = next(iter(further))
    return Parts(data, DESCRIPTION, copies, {DESCRIPTION: written})


def read_anywhere(path: Path, description: Described) -> KSpace:
    """The k-space of a file with what is said about it, see :func:`parts`; raises ValueError, one sentence."""
    from .readings.formats import read

    if isinstance(description, Path) or not description:
        return read(path, description if isinstance(description, Path) else None)
    found = parts(path, description)
    with tempfile.TemporaryDirectory(prefix="kspace-", ignore_cleanup_errors=True) as temporary:
        place = Path(temporary)
        for name, source in found.copies.items():
            if name.startswith(tuple(f"{NAME}.{key}" for key in FURTHER)):
                shutil.copyfile(source, place / name)
        for name, content in found.written.items():
            (place / name).write_text(json.dumps(content), encoding="utf-8")
        return read(path, place / DESCRIPTION)


def _ending(path: Path) -> str:
    """That of a data file; of BART's pair that of the data, by whichever of the two it was named."""
    ending = path.suffix.lower()
    return BART[0] if ending in BART or (not ending and path.with_name(path.name + BART[1]).is_file()) else ending


def _copies(path: Path, name: str) -> dict[str, Path]:
    """A data file by its new name, the first of them, and what belongs to it."""
    ending = _ending(path)
    base = path.with_suffix("") if path.suffix.lower() in BART else path
    places = [base.with_name(base.name + each) for each in BART] if ending in BART else [path]
    _check_there(places)
    return {name + each: place for each, place in zip(BART if ending in BART else (ending,), places, strict=True)}


def _check_there(places: Iterable[Path]) -> None:
    for place in places:
        if not place.is_file():
            raise ValueError(f"expected a file of MR raw data at {place}, found none: check the path")
