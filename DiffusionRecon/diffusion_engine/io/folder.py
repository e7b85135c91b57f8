"""The image volumes below a folder, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from ..volume import Volume, check_image
from .images import READABLE, read_volume


def volumes_below(
    folder: Path, unit: str | None, wanted: Callable[[Path], bool] = lambda _: True
) -> Iterator[tuple[Path, Volume | str]]:
    """Path below ``folder`` and volume of every image file, or, where it cannot be used, the reason as a sentence.

    ``unit``: of the values, None for what each file states; ``wanted``: whether a path below the folder is to be read
    at all.
    """
    for path in sorted(p for p in folder.rglob("*") if p.name.lower().endswith(READABLE)):
        place = path.relative_to(folder)
        if not wanted(place):
            continue
        try:
            volume = read_volume(path, unit=unit)
            check_image(volume)
        except ValueError as error:
            yield place, str(error)
        else:
            yield place, volume
