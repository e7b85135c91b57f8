"""The image volumes below a folder, one after the other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from ..volume import Volume, check_image
from .dicom import list_series
from .images import READABLE, read_volume


def volumes_below(
    folder: Path, unit: str | None, wanted: Callable[[Path], bool] = lambda _: True
) -> Iterator[tuple[Path, Volume | str]]:
    """Path below ``folder`` and volume of every image file, or, where it cannot be used, the reason as a sentence.

    ``unit``: of the values, None for what each file states; ``wanted``: whether a path below the folder is to be read
    at all. Several .dcm files of one folder are its DICOM series: the path is the folder's, with the UID below it where
    there are several series.
    """
    files = sorted(p for p in folder.rglob("*") if p.name.lower().endswith(READABLE))
    slices = Counter(p.parent for p in files if p.suffix.lower() == ".dcm")
    stacks = {place for place, count in slices.items() if count > 1}
    for path in sorted({p.parent if p.suffix.lower() == ".dcm" and p.parent in stacks else p for p in files}):
        place = path.relative_to(folder)
        if not wanted(place):
            continue
        series: list[str | None] = [s.uid for s in list_series(path)] if path.is_dir() else []
        for uid in series or [None]:
            try:
                volume = read_volume(path, unit, uid)
                check_image(volume)
            except ValueError as error:
                found: Volume | str = str(error)
            else:
                found = volume
            yield place / uid if uid is not None and len(series) > 1 else place, found
