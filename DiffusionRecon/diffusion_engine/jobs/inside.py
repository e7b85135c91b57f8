"""Names in a job folder: they lead to files of that folder alone, and a result is none of the job's own files."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..checks import is_plain


def inside(place: Path, name: object, what: str, remedy: str) -> Path:
    """The file of that name in the folder; raises ValueError where there is none or it lies elsewhere.

    ``what`` it is and the ``remedy`` are for the sentence.
    """
    if not is_plain(name):
        raise ValueError(f"expected the name of a file in the folder {place} as {what}, found {name!r}: {remedy}")
    path = place / str(name)
    if not path.is_file():
        raise ValueError(f"expected the file {name} in the folder {place} as {what}, found none: {remedy}")
    if path.resolve().parent != place.resolve():
        raise ValueError(f"expected {what} in the folder {place}, found {name} as a link to elsewhere: {remedy}")
    return path


def result_path(place: Path, name: object, own: Iterable[Path]) -> Path:
    """Where a result of that name lies or will lie; raises ValueError for what is no result: a path, an ``own`` file.

    A name of another case, or with a final dot, may be the same file: the file system is asked.
    """
    if not is_plain(name) or not str(name).lower().endswith(".nrrd"):
        raise ValueError(
            f"expected results as names of .nrrd files in the folder {place}, found {name!r}: run the job again"
        )
    path = place / str(name)
    if any(path == each or _same(path, each) for each in own):
        raise ValueError(
            f"expected other names for results than those of the job's own files, found {name} in {place}: "
            "run the job again"
        )
    return path


def named_files(place: Path, listing: Path) -> list[Path]:
    """The files of the folder that a JSON file there names at its top level; none where it cannot be read."""
    content = readable(listing)
    if not isinstance(content, dict):
        return []
    return [place / value for value in content.values() if isinstance(value, str) and is_plain(value)]


def readable(path: Path) -> Any:
    """What a JSON file holds; None where it cannot be read."""
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError):
        return None


def _same(path: Path, other: Path) -> bool:
    try:
        return os.path.samefile(path, other)
    except OSError:
        return False
