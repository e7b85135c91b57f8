"""DICOM files and folders in: the series found, the one chosen, its planes checked and stacked."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..volume import Volume
from .conventions import LPS_TO_RAS, UNKNOWN_UNIT
from .dicom_file import DicomFile, is_image, open_dicom
from .dicom_padding import PaddingCount, is_padding, words_beyond
from .dicom_pixels import FrameReader, check_size
from .frames import planes_of
from .planes import Plane, by_place, check_alike, check_even, check_one_stack, lps_matrix


@dataclass(frozen=True)
class DicomSeries:
    """One series of a folder: its UID, modality, description and image files in the order of their names."""

    uid: str
    modality: str
    description: str
    files: tuple[DicomFile, ...]

    @property
    def images(self) -> int:
        """How many images it has: frames of all files."""
        return sum(file.shape[0] for file in self.files)

    def __str__(self) -> str:
        name = f'"{self.description}" ' if self.description else ""
        return f"{self.modality or 'unknown'} {name}of {self.images} images, {self.uid}"


def is_dicom(path: str | os.PathLike[str]) -> bool:
    """Whether a file of any name holds a DICOM image: by the mark "DICM", or without it by the tags of an image.

    False for a DICOMDIR, a report and other files without pixels; true for a truncated image (reading it says so).
    """
    marked = _looks_like_dicom(Path(path))
    if marked is None:
        return False
    try:
        file = open_dicom(path)
    except ValueError:
        return marked
    return is_image(file) and (marked or "SOPClassUID" in file.data)


def list_series(folder: str | os.PathLike[str]) -> list[DicomSeries]:
    """The DICOM image series directly in a folder, the largest first; an empty list when there are none."""
    return _scan(Path(folder))[0]


def choose_series(found: list[DicomSeries], folder: Path, uid: str | None = None) -> DicomSeries:
    """The series with this UID, or the one that is clearly the largest: more than twice the images of any other.

    A choice among several gives a warning (``warnings.warn``). Raises ValueError, naming the series, when none stands
    out.
    """
    if not found:
        raise ValueError(f"expected DICOM images in the folder {folder}, found none: choose the folder of the slices")
    if uid is not None:
        for series in found:
            if series.uid == uid:
                return series
        raise ValueError(f"expected DICOM series {uid} in {folder}, found {'; '.join(map(str, found))}: name one")
    if len(found) > 1:
        if found[0].images <= 2 * found[1].images:
            raise ValueError(
                f"expected one DICOM series in {folder}, found {len(found)} ({'; '.join(map(str, found))}): "
                "name one by its UID or put it into a folder of its own"
            )
        warnings.warn(
            f"The folder {folder.name} holds {len(found)} DICOM series; the largest was read ({found[0]}).",
            stacklevel=4,
        )
    return found[0]


def read_dicom(path: str | os.PathLike[str], unit: str | None = None, series: str | None = None) -> Volume:
    """The volume of a DICOM file, or of one series of a folder: float32, every image rescaled by its own numbers.

    Classic images and the frames of enhanced (multi-frame) ones go the same way: sorted along their normal, then
    checked for one orientation, size and spacing, one image at each place, even distances and no leaning. Copies of an
    image are left out, and padding outside the field of view of a CT becomes air, both with a warning. ``unit``: of the
    values, None for "HU" in CT whose header rescales to it, else "a.u."; ``series``: see :func:`choose_series`. Pixels
    of more than 24 bits become float64. Raises ValueError, one sentence, for everything that is not one even stack.
    """
    place = Path(path)
    if place.is_dir():
        found, broken = _scan(place)
        if broken:
            raise ValueError(
                f"expected complete DICOM images in {place}, found {broken[0]} that cannot be read: "
                "copy it again or take it out of the folder"
            )
        chosen = choose_series(found, place, series)
        return _stacked(chosen.files, f"DICOM series {chosen.uid}", unit)
    try:
        if _looks_like_dicom(place) is None:
            raise ValueError("no DICOM header")
        file = open_dicom(place)
    except ValueError as error:
        raise ValueError(
            f"expected a complete image in {place}, found one that cannot be read ({error}): copy it again"
        ) from error
    if not is_image(file):
        raise ValueError(f"expected a DICOM image, found {place} without pixels of one: choose CT, MR or PET")
    if "Rows" not in file.data:
        raise ValueError(f"expected a complete image in {place}, found a header without Rows: copy it again")
    return _stacked([file], place.name, unit)


def _looks_like_dicom(path: Path) -> bool | None:
    """True for a file with the mark "DICM", False for one that begins as a bare data set does, None for others."""
    try:
        with open(path, "rb") as stream:
            head = stream.read(132)
    except OSError:
        return None
    if head[128:] == b"DICM":
        return True
    # A bare data set begins with a low element of group 2 or 8, little endian.
    return False if head[:2] in (b"\x02\x00", b"\x08\x00") and head[3:4] == b"\x00" else None


def _scan(folder: Path) -> tuple[list[DicomSeries], list[str]]:
    """The series of a folder, the largest first, and the names of images that are cut short or damaged."""
    series: dict[str, list[DicomFile]] = {}
    broken = []
    for path in sorted(folder.iterdir()):
        if not path.is_file():
            continue
        marked = _looks_like_dicom(path)
        named = path.suffix.lower() == ".dcm" and not path.name.startswith(".")
        if marked is None and not named:
            continue
        try:
            file = open_dicom(path)
        except ValueError:
            if marked or named:
                broken.append(path.name)
            continue
        if not is_image(file):
            if marked is None:
                broken.append(path.name)
        elif _is_cut(file):
            broken.append(path.name)
        else:
            series.setdefault(file.text("SeriesInstanceUID"), []).append(file)
    found = [
        DicomSeries(uid, files[0].text("Modality"), files[0].text("SeriesDescription"), tuple(files))
        for uid, files in series.items()
    ]
    return sorted(found, key=lambda s: (-s.images, s.uid)), broken


def _is_cut(file: DicomFile) -> bool:
    """Whether the file ends before its pixels do."""
    return "Rows" not in file.data or file.pixels is None or (file.pixels.length or 0) > file.pixels.available


def _stacked(files: Sequence[DicomFile], name: str, unit: str | None) -> Volume:
    """The volume of all planes of some files; ``name``: what a message calls them."""
    for file in files:
        check_size(file)
    _check_one_origin(files, name)
    planes = planes_of(files, name)
    check_alike(planes, name)
    check_one_stack(planes, name)
    is_ct = files[0].text("Modality") == "CT"
    is_hu = is_ct and planes[0].rescaled and planes[0].kind == ""
    values = _Values(files, is_hu)
    chosen = _one_of_each(by_place(planes), values, name)
    check_even(chosen, name)
    wide = any(file.whole("BitsAllocated", 0) > 16 and file.whole("BitsStored", 0) > 24 for file in files)
    array = np.empty((len(chosen), *chosen[0].shape), np.float64 if wide else np.float32)
    for k in sorted(range(len(chosen)), key=lambda k: chosen[k].source):  # each file is opened once
        array[k] = values.of(chosen[k], count=True)
    values.padding.tell(name)
    commas = next((file.commas[0] for file in files if file.commas), None)
    for remark, holds in (
        (f"writes numbers with decimal commas ({commas}), which were read as points", commas is not None),
        ("lacks a rescale slope or intercept: its values are not known to be HU", is_ct and not planes[0].rescaled),
        ("states no slice thickness: 1 mm was taken", len(chosen) == 1 and chosen[0].thickness is None),
    ):
        if holds:
            warnings.warn(f"The header of {name} {remark}.", stacklevel=4)
    return Volume(array, LPS_TO_RAS @ lps_matrix(chosen), unit or ("HU" if is_hu else UNKNOWN_UNIT))


def _check_one_origin(files: Sequence[DicomFile], name: str) -> None:
    """Raise ValueError for files of several modalities, whose values do not compare; frames of reference are remarked.

    A file that names none belongs to any. Frames of reference differ within a stack where each file was given names of
    its own to hide the patient.
    """
    modalities, frames = (
        sorted({file.text(keyword) for file in files} - {""}) for keyword in ("Modality", "FrameOfReferenceUID")
    )
    if len(modalities) > 1:
        raise ValueError(
            f"expected one modality in {name}, found {len(modalities)} ({', '.join(modalities)}): put the images of "
            "each into a folder of their own"
        )
    if len(frames) > 1:
        warnings.warn(
            f"The images of {name} name {len(frames)} frames of reference; their positions were taken as those of one.",
            stacklevel=5,
        )


class _Values:
    """The rescaled values of planes, the last two files kept at hand."""

    def __init__(self, files: Sequence[DicomFile], is_hu: bool) -> None:
        self.files, self.is_hu, self.padding = files, is_hu, PaddingCount()
        self._open: dict[int, FrameReader] = {}

    def of(self, plane: Plane, count: bool = False) -> np.ndarray:
        """Values of a plane, float64 (rows, columns); ``count`` its padding."""
        number, index = plane.source
        if number not in self._open:
            if len(self._open) > 1:  # two files at most, so that copies can be compared frame by frame
                del self._open[next(iter(self._open))]
            self._open[number] = FrameReader(self.files[number])
        reader = self._open[number]
        raw = reader.raw(index)
        beyond = words_beyond(reader.file, reader.words, raw)
        numbers = reader.numbers(raw, beyond)
        padding = is_padding(reader.file, reader.words, numbers) | beyond
        values = numbers.astype(np.float64) * plane.slope + plane.intercept
        (self.padding if count else PaddingCount()).settle(values, padding, beyond, self.is_hu)
        return values


def _one_of_each(places: list[list[Plane]], values: _Values, name: str) -> list[Plane]:
    """One plane of each place, in spatial order: of copies the first, with a warning; ValueError for others."""
    chosen, copies = [], 0
    for n, place in enumerate(places):
        first = min(place, key=lambda plane: plane.source)
        chosen.append(first)
        if len(place) == 1:
            continue
        wanted = values.of(first)
        for plane in place:
            if plane is first:
                continue
            moved = np.abs(np.subtract(plane.position, first.position)).max() > 0.01 * min(first.spacing)
            if moved or not np.array_equal(values.of(plane), wanted, equal_nan=True):
                several = max(len(p) for p in places)
                raise ValueError(
                    f"expected one image at each place in {name}, found several near slice {n + 1} (up to {several} at "
                    f"each of {len(places)} places, such as {first.name} and {plane.name}): "
                    "split its time points or phases"
                )
            copies += 1
    if copies:
        warnings.warn(
            f"{copies} of {sum(map(len, places))} images of {name} are copies of others (the same place and values); "
            "one of each was read.",
            stacklevel=5,
        )
    return chosen
