"""The image volumes below a folder, one after the other, and a line for all else that lies there."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from ..volume import Volume, check_image
from .dicom import is_dicom, list_series
from .images import READABLE, read_volume

SIDECARS = (".raw", ".zraw", ".raw.gz", ".gz")
"""Endings of the voxels that belong to a header (.mhd, .nhdr) of the same name."""
NAMED = 3
"""So many names or reasons are given, and the others counted."""


def volumes_below(
    folder: Path, unit: str | None, wanted: Callable[[Path], bool] = lambda _: True,
    own: Callable[[Path], Volume | None] = lambda _: None,
) -> Iterator[tuple[Path, Volume | str]]:
    """Path below ``folder`` and volume of every image file, or, where it cannot be used, the reason as a sentence.

    ``unit``: of the values, None for what each file states; ``wanted``: whether a path below the folder is to be read
    at all; ``own``: reads images in a way of its own, None of other files. DICOM files are known by their content, not
    by their name. Several of one folder are its DICOM series: the path is the folder's, with the UID below it where
    there are several series. What else lies there is passed over, with one reason a folder after all volumes; no file
    ends the walk.
    """
    places: list[Path] = []
    passed_over: list[tuple[Path, str]] = []
    further: list[tuple[Path, Volume | str]] = []
    for place, files, reasons in _folders(folder):
        passed_over += [(path, reason) for path, reason in reasons if wanted(path.relative_to(folder))]
        images, slices, others = _sorted_out(files)
        others = [path for path in others if wanted(path.relative_to(folder))]
        for path in [*others]:
            found = _checked(partial(own, path))
            if found is not None:
                others.remove(path)
                further.append((path, found))
        if others:
            like = f", like {_listed([path.name for path in others[1:]])} beside it" if len(others) > 1 else ""
            passed_over.append((others[0], f"neither {', '.join(READABLE)} nor a DICOM image, passed over{like}"))
        places += [*images, *([place] if len(slices) > 1 else slices)]
    for path in sorted(places):
        if wanted(path.relative_to(folder)):
            yield from _read(path, path.relative_to(folder), unit, own)
    for path, found in further:
        yield path.relative_to(folder), found
    for path, reason in passed_over:
        yield path.relative_to(folder), reason


def left_out(skipped: Sequence[str]) -> str:
    """Reasons as part of a sentence: the first three, and how many more; "" without any."""
    if not skipped:
        return ""
    more = len(skipped) - NAMED
    return f" (left out: {'; '.join(skipped[:NAMED])}{f'; and {more} more' if more > 0 else ''})"


def _folders(folder: Path) -> Iterator[tuple[Path, list[Path], list[tuple[Path, str]]]]:
    """Every folder with its files and what of it cannot be entered, with the reason."""
    failed: list[OSError] = []
    for name, below, names in os.walk(folder, onerror=failed.append):
        place = Path(name)
        reasons = [(place / d, "a hidden folder, passed over") for d in below if d.startswith(".")]
        reasons += [
            (place / d, "a link to a folder, which is not followed: give that folder itself")
            for d in below if (place / d).is_symlink()
        ]
        below[:] = sorted(d for d in below if not d.startswith("."))
        yield place, [place / file for file in sorted(names)], reasons
    for error in failed:
        yield folder, [], [(Path(error.filename), f"cannot be entered ({error.strerror})")]


def _sorted_out(files: list[Path]) -> tuple[list[Path], list[Path], list[Path]]:
    """Image files, DICOM files, and the others, without tables of slices and the voxels of headers."""
    images, slices, others = [], [], []
    headers = tuple(f"{path.stem}." for path in files if path.suffix.lower() in (".mhd", ".nhdr"))
    for path in files:
        name = path.name.lower()
        if name.startswith(".") or name == "dicomdir":
            others.append(path)
        elif name.endswith(".dcm"):
            slices.append(path)
        elif name.endswith(READABLE):
            images.append(path)
        elif _is_dicom(path):
            slices.append(path)
        elif name != "slices.csv" and not (name.endswith(SIDECARS) and path.name.startswith(headers)):
            others.append(path)
    return images, slices, others


def _is_dicom(path: Path) -> bool:
    try:
        return path.is_file() and is_dicom(path)
    except OSError:
        return False


def _read(
    path: Path, place: Path, unit: str | None, own: Callable[[Path], Volume | None]
) -> Iterator[tuple[Path, Volume | str]]:
    """The volumes of a file or of a folder of DICOM files."""
    if path.is_symlink() and not path.exists():
        yield place, "a link to a file that does not exist"
        return
    if path.is_file() and path.stat().st_size == 0:
        yield place, "an empty file"
        return
    series: list[str | None] = [None]
    try:
        series = [found.uid for found in list_series(path)] or series if path.is_dir() else series
    except Exception as error:
        yield place, _reason(error)
        return
    for uid in series:
        found = _checked(partial(_any, path, unit, uid, own))
        assert found is not None
        yield place / uid if uid is not None and len(series) > 1 else place, found


def _any(path: Path, unit: str | None, uid: str | None, own: Callable[[Path], Volume | None]) -> Volume:
    return own(path) or read_volume(path, unit, uid)


def _checked(read: Callable[[], Volume | None]) -> Volume | str | None:
    """What is read, or why it cannot be used."""
    try:
        volume = read()
        if volume is not None:
            check_image(volume)
        return volume
    except Exception as error:
        # Foreign files break readers in ways of their own; each is a reason to leave this one out.
        return _reason(error)


def _reason(error: Exception) -> str:
    if isinstance(error, ValueError) and type(error) is ValueError:
        return str(error)
    return f"cannot be read ({type(error).__name__}: {' '.join(str(error).split())[:200]})"


def _listed(names: list[str]) -> str:
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")
