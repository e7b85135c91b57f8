"""DICOM files made anew for the tests: classic slices and enhanced files with functional groups."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage, ExplicitVRLittleEndian, generate_uid

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def header(pixels: np.ndarray, **fields: Any) -> pydicom.Dataset:
    """The fields that all images share, with unsigned pixels of 16 bits; None leaves a field out."""
    data = pydicom.Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.SOPInstanceUID = generate_uid()
    data.StudyInstanceUID, data.SeriesInstanceUID, data.Modality = "1.2.3", "1.2.3.4", "CT"
    data.Rows, data.Columns = pixels.shape[-2:]
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 0
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.PixelData = pixels.astype("<u2").tobytes()
    for keyword, value in fields.items():
        if value is not None:
            setattr(data, keyword, value)
        elif keyword in data:
            delattr(data, keyword)
    return data


def save(data: pydicom.Dataset, path: Path) -> Path:
    path.parent.mkdir(exist_ok=True, parents=True)
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
    data.save_as(path, enforce_file_format=True)
    return path


def write_slice(path: Path, pixels: np.ndarray, place: Sequence[float], **fields: Any) -> Path:
    """One classic CT slice of 0.7 x 0.9 mm pixels, HU = stored - 1024."""
    usual = {
        "SOPClassUID": CTImageStorage,
        "ImagePositionPatient": list(place),
        "ImageOrientationPatient": list(AXIAL),
        "PixelSpacing": [0.9, 0.7],
        "SliceThickness": 2.5,
        "RescaleIntercept": -1024,
        "RescaleSlope": 1,
    }
    return save(header(pixels, **(usual | fields)), path)


def write_slices(folder: Path, pixels: np.ndarray, at: Callable[[int], dict[str, Any]] = lambda n: {}, **fields: Any):
    """A series of slices 2.5 mm apart; ``at``: fields of slice n alone."""
    return [
        write_slice(folder / f"{n:03d}.dcm", plane, (-10.0, -20.0, 30.0 + 2.5 * n), **(fields | at(n)))
        for n, plane in enumerate(pixels)
    ]


def one(**fields: Any) -> list[pydicom.Dataset]:
    """A sequence of one item."""
    item = pydicom.Dataset()
    for keyword, value in fields.items():
        setattr(item, keyword, value)
    return [item]


def write_enhanced(
    path: Path,
    pixels: np.ndarray,
    places: Sequence[Sequence[float]],
    at: Callable[[int], dict[str, Any]] = lambda n: {},
    shared: dict[str, Any] | None = None,
    **fields: Any,
) -> Path:
    """An enhanced CT file, HU = stored - 1024; ``at``: functional groups of frame n, ``shared``: of all of them."""
    common = {
        "PlaneOrientationSequence": one(ImageOrientationPatient=list(AXIAL)),
        "PixelMeasuresSequence": one(PixelSpacing=[0.9, 0.7], SliceThickness=2.5),
        "PixelValueTransformationSequence": one(RescaleIntercept=-1024, RescaleSlope=1, RescaleType="HU"),
    } | (shared or {})
    data = header(pixels, **({"SOPClassUID": EnhancedCTImageStorage, "NumberOfFrames": len(pixels)} | fields))
    data.SharedFunctionalGroupsSequence = one(**{k: v for k, v in common.items() if v is not None})
    data.PerFrameFunctionalGroupsSequence = [
        one(**({"PlanePositionSequence": one(ImagePositionPatient=list(place))} | at(n)))[0]
        for n, place in enumerate(places)
    ]
    return save(data, path)


def axial(count: int, step: float = 2.5, first: float = 30.0) -> list[tuple[float, float, float]]:
    return [(-10.0, -20.0, round(first + step * n, 4)) for n in range(count)]


def stored(count: int = 5) -> np.ndarray:
    """Stored numbers of a CT, shape (count, 6, 8), all different."""
    return np.arange(24, 24 + count * 48).reshape(count, 6, 8) * 7
