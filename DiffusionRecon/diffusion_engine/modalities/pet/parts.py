"""PET counts that lie anywhere, with what a user says about them: as files of a job folder, or read where they lie."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ...io.json_object import content_of
from ..rules import Described, Parts
from .readings.description import FACTORS
from .sinogram import Sinogram

NAME, DESCRIPTION = "counts", "counts.json"


def parts(path: Path, description: Described) -> Parts:
    """The counts, their description and the files of factors that it names, under names of their own.

    ``description``: its file, which names others beside it; or its content, which may also name them by full paths
    and otherwise beside the counts. Headers of Interfile keep the name of their data file, which comes along. Raises
    ValueError, one sentence, where a file is not there or there is no JSON.
    """
    copies = dict(_copies(path, NAME))
    data = next(iter(copies))
    content = content_of(description)
    if content is None:
        return Parts(data, None, copies)
    folder = description.parent if isinstance(description, Path) else path.parent
    written = dict(content)
    for key in FACTORS:
        named = content.get(key)
        if not isinstance(named, str) or not named:
            continue
        if isinstance(description, Path) and Path(named).is_absolute():
            raise ValueError(
                f"expected the name of a file beside {description} as {key}, found '{named}': put it there")
        if not is_file_name(named) and not (folder / named).is_file():
            continue  # a variable of the same file
        further = dict(_copies(folder / named, f"{NAME}.{key}"))
        _check_apart(copies, further)
        copies.update(further)
        written[key] = next(iter(further))
    return Parts(data, DESCRIPTION, copies, {DESCRIPTION: written})


def read_anywhere(path: Path, description: Described) -> Sinogram:
    """The counts of a file with what is said about them, see :func:`parts`; raises ValueError, one sentence."""
    from .files import read

    if isinstance(description, Path) or not description:
        return read(path, description if isinstance(description, Path) else None)
    found = parts(path, description)
    with tempfile.TemporaryDirectory(prefix="counts-", ignore_cleanup_errors=True) as temporary:
        place = Path(temporary)
        for name, source in found.copies.items():
            shutil.copyfile(source, place / name)
        (place / DESCRIPTION).write_text(json.dumps(found.written[DESCRIPTION]), encoding="utf-8")
        return read(place / found.input, place / DESCRIPTION)


def is_file_name(name: str) -> bool:
    """Whether a factor is named as a file: with an ending, or a path; else it is a variable of the counts' own file."""
    return Path(name).suffix != "" or Path(name).is_absolute()


def _copies(path: Path, name: str) -> Iterator[tuple[str, Path]]:
    """A file by its new name, the first of them, and what belongs to it by its own name."""
    from .readings.interfile_header import is_interfile, read_header
    from .readings.interfile_sinogram import check_kind

    if not path.is_file():
        raise ValueError(f"expected a file of PET counts at {path}, found none: check the path")
    yield name + path.suffix.lower(), path
    if is_interfile(path):
        header = read_header(path)
        if name == NAME:  # what it is comes before where its data are
            check_kind(header)
        place = header.data_file()
        if place.parent != path.parent:
            raise ValueError(f"expected the data file of {path.name} beside it, found {place}: put both files together "
                             "and correct the name in the header")
        yield place.name, place


def _check_apart(copies: dict[str, Path], further: dict[str, Path]) -> None:
    """ValueError where two data files of one name lie in different folders: in the job's they would be one."""
    for name, place in further.items():
        if name in copies and not place.samefile(copies[name]):
            raise ValueError(f"expected data files with names of their own, found {copies[name]} and {place}: rename "
                             "one, and in its header too")
