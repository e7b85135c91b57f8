"""DICOM files that are written whole, a series of them all or none. pydicom is imported when it is called."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any


def write_slices(folder: Path, planes: Iterable[Any], made_of: Callable[[int, Any, str], Any]) -> list[Path]:
    """Write one file for each plane; returns them in order. After any error neither files nor a new folder stay behind.

    ``made_of``: the data set of an index, its plane and the name of its file. Raises OSError where none can be written.
    """
    written: list[Path] = []
    made = not folder.is_dir()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for index, plane in enumerate(planes):
            path = folder / f"IMG{index + 1:05d}.dcm"
            data = made_of(index, plane, path.name)
            written.append(path)
            data.save_as(path, **strictly())
    except BaseException:
        with suppress(OSError):  # the first error is the one to tell
            for path in written:
                path.unlink(missing_ok=True)
            if made and folder.is_dir():
                folder.rmdir()
        raise
    return written


def strictly() -> dict[str, bool]:
    """What `Dataset.save_as` takes to write a complete file: pydicom 3 has another name for it than pydicom 2."""
    import pydicom

    return {"write_like_original": False} if pydicom.__version__.startswith("2.") else {"enforce_file_format": True}
