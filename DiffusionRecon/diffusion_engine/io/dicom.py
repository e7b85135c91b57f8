"""DICOM folders in: the series found, the one chosen, and its slices checked for even spacing."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
import SimpleITK as sitk

UNEVEN_FRACTION = 0.1
"""Largest distance of a slice from its place on an even grid, as a fraction of the slice spacing."""


@dataclass(frozen=True)
class DicomSeries:
    """One series of a folder: its UID, modality, description and files in spatial order."""

    uid: str
    modality: str
    description: str
    files: tuple[str, ...]

    def __str__(self) -> str:
        name = f'"{self.description}" ' if self.description else ""
        return f"{self.modality or 'unknown'} {name}of {len(self.files)} images, {self.uid}"


def is_dicom(path: str | os.PathLike[str]) -> bool:
    """Whether a file begins like DICOM: 128 bytes and "DICM"."""
    with open(path, "rb") as stream:
        return stream.read(132)[128:] == b"DICM"


def list_series(folder: str | os.PathLike[str]) -> list[DicomSeries]:
    """The DICOM image series directly in a folder, the largest first; an empty list when there are none."""
    found = []
    quiet = sitk.ProcessObject.GetGlobalWarningDisplay()
    # Files that are no DICOM are common in such folders; ITK would print a warning for a folder without any.
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        for uid in sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(folder)):
            files = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), uid)
            if files:
                first = header(files[0])
                true_uid, modality, description = (first.get(f, "") for f in ("0020|000e", "0008|0060", "0008|103e"))
                found.append(DicomSeries(true_uid or uid, modality, description, tuple(files)))
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(quiet)
    return sorted(found, key=lambda series: (-len(series.files), series.uid))


def check_whole(folder: str | os.PathLike[str], found: list[DicomSeries]) -> None:
    """Raise ValueError when the folder holds a DICOM image that no series lists because it cannot be read.

    GDCM leaves truncated files out without a word; a series that lacks its last slice looks complete.
    """
    listed = {Path(file).name for series in found for file in series.files}
    for path in sorted(Path(folder).iterdir()):
        if path.name in listed or not path.is_file():
            continue
        with open(path, "rb") as stream:
            if stream.read(132)[128:] != b"DICM":
                continue
        data = pydicom.dcmread(path, stop_before_pixels=True)
        if "Rows" in data:
            raise ValueError(
                f"expected complete DICOM images in {folder}, found {path.name} that cannot be read: "
                "copy it again or take it out of the folder"
            )


def choose_series(found: list[DicomSeries], folder: Path, uid: str | None = None) -> DicomSeries:
    """The series with this UID, or the one that is clearly the largest: more than twice the images of any other.

    A choice among several is said by ``warnings.warn``. Raises ValueError, naming the series, when none stands out.
    """
    if not found:
        raise ValueError(f"expected DICOM images in the folder {folder}, found none: choose the folder of the slices")
    if uid is not None:
        for series in found:
            if series.uid == uid:
                return series
        raise ValueError(f"expected DICOM series {uid} in {folder}, found {'; '.join(map(str, found))}: name one")
    if len(found) > 1:
        if len(found[0].files) <= 2 * len(found[1].files):
            raise ValueError(
                f"expected one DICOM series in {folder}, found {len(found)} ({'; '.join(map(str, found))}): "
                "name one by its UID or put it into a folder of its own"
            )
        warnings.warn(
            f"The folder {folder.name} holds {len(found)} DICOM series; the largest was read ({found[0]}).",
            stacklevel=3,
        )
    return found[0]


def header(path: str | os.PathLike[str]) -> dict[str, str]:
    """The DICOM text fields of a file by their "group|element" name, without its pixels."""
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    # GDCM pads text with blanks to an even length.
    return {key: reader.GetMetaData(key).strip() for key in reader.GetMetaDataKeys()}


def read_series(series: DicomSeries) -> sitk.Image:
    """The image of a series as float32, its rescale slope and intercept applied slice by slice.

    Raises ValueError when the slices do not lie evenly on one line perpendicular to them (missing or double
    slices, tilted gantry), RuntimeError from SimpleITK when a file cannot be read.
    """
    if len(series.files) == 1:
        reader = sitk.ImageFileReader()
        reader.SetImageIO("GDCMImageIO")
        reader.SetFileName(series.files[0])
        return reader.Execute()
    check_even(series)
    stack = sitk.ImageSeriesReader()
    stack.SetImageIO("GDCMImageIO")
    stack.SetFileNames(series.files)
    # The first slice's slope would decide the pixel type of all: PET slices have one slope each.
    stack.SetOutputPixelType(sitk.sitkFloat32)
    return stack.Execute()


def check_even(series: DicomSeries) -> None:
    """Raise ValueError, one sentence, unless the slices are one stack with one orientation, size and even spacing."""
    headers = [header(path) for path in series.files]
    shapes = {(h.get("0028|0010"), h.get("0028|0011")) for h in headers}
    if len(shapes) > 1:
        raise ValueError(f"expected slices of one size in DICOM series {series.uid}, found several: split the series")
    if any("0020|0032" not in h or "0020|0037" not in h for h in headers):
        raise ValueError(
            f"expected a position and orientation in all images of DICOM series {series.uid}, found some without: "
            "choose an axial series"
        )
    places = np.array([_numbers(h["0020|0032"]) for h in headers])
    orientations = np.array([_numbers(h["0020|0037"]) for h in headers])
    if np.abs(orientations - orientations[0]).max() > 1e-3:
        raise ValueError(f"expected one orientation in DICOM series {series.uid}, found several: split the series")
    normal = np.cross(orientations[0, :3], orientations[0, 3:])
    along = places @ normal
    gaps = np.diff(along)
    usual = float(np.median(gaps))
    if gaps.min() < 1e-3:
        at = int(np.argmin(gaps))
        raise ValueError(
            f"expected one image at each place in DICOM series {series.uid}, found several near slice {at + 1}: "
            "split its time points or phases"
        )
    step = (places[-1] - places[0]) / (len(places) - 1)
    even = places[0] + np.arange(len(places))[:, None] * step
    if np.abs((places - even) @ normal).max() > UNEVEN_FRACTION * usual:
        at = int(np.argmax(np.abs(gaps - usual)))
        raise ValueError(
            f"expected even slice spacing in DICOM series {series.uid}, found {gaps[at]:.3g} mm between slices "
            f"{at + 1} and {at + 2} where most are {usual:.3g} mm apart: complete the series or resample it"
        )
    sideways = np.linalg.norm(step - (step @ normal) * normal) / np.linalg.norm(step)
    if sideways > 1e-2:
        raise ValueError(
            f"expected slices stacked along their normal in DICOM series {series.uid}, found a stack leaning by "
            f"{np.degrees(np.arcsin(min(1.0, float(sideways)))):.1f} degrees (tilted gantry): resample it first"
        )


def _numbers(text: str) -> list[float]:
    """The numbers of a DICOM decimal string with several values."""
    return [float(part) for part in text.split("\\")]
