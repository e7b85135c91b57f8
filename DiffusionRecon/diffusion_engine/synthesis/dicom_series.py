"""A synthetic volume as a DICOM series of its own patient and study, made from nothing of the source's header."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .. import __version__
from ..io.dicom_files import write_slices
from ..volume import Volume, check_image
from .provenance import LONGEST, MARK, SENTENCE, Provenance, check_clean

STORAGE = {"CT": "1.2.840.10008.5.1.4.1.1.2", "MR": "1.2.840.10008.5.1.4.1.1.4"}
STORED_MAXIMUM = 65535
LPS = np.diag([-1.0, -1.0, 1.0])
EMPTY = ("PatientBirthDate", "PatientSex", "StudyID", "AccessionNumber", "ReferringPhysicianName")


def write_series(
    volume: Volume, folder: Path, provenance: Provenance, modality: str = "CT",
    identity: Mapping[str, set[str]] | None = None,
) -> list[Path]:
    """Write a synthetic volume as single-slice DICOM files; returns them in slice order.

    New study, series, frame of reference and instances; the patient's ID and name begin with SYNTHETIC; image type
    DERIVED, SECONDARY, with a derivation description. Values are stored as 16 bits with one slope and intercept, so to
    1/65535 of the volume's range. ``modality``: "CT" or "MR". ``identity``: of the source, see
    :func:`.provenance.identity_of`: every header is checked against it before it is written.
    Raises ValueError, one sentence, for another modality, a grid or values that DICOM cannot hold, a folder that holds
    files or cannot be written, and where something of the source is left; no file stays behind then.
    """
    from pydicom.valuerep import format_number_as_ds

    if modality not in STORAGE:
        raise ValueError(f"expected CT or MR as modality of a synthetic series, found {modality!r}: choose one")
    check_image(volume)
    _check_empty(folder)
    low, high = float(volume.array.min()), float(volume.array.max())
    intercept = format_number_as_ds(low)
    # A little wider than the range, so that its top still fits after rounding to 16 characters.
    step = (high - float(intercept)) / STORED_MAXIMUM * (1 + 1e-9)
    slope = format_number_as_ds(step if step > 0 else 1.0)
    common = _common(volume, provenance, modality)
    common.RescaleSlope, common.RescaleIntercept = slope, intercept
    stored = np.rint((volume.array.astype(np.float64) - float(intercept)) / float(slope)).astype("<u2")

    def made_of(index: int, plane: np.ndarray, name: str) -> Any:
        data = _slice(common, volume, index, plane)
        check_clean(data, identity or {}, name)
        return data

    try:
        return write_slices(folder, stored, made_of)
    except OSError as error:
        raise _unwritable(folder, error) from error


def _check_empty(folder: Path) -> None:
    try:
        full = folder.is_dir() and any(folder.iterdir())
    except OSError as error:
        raise _unwritable(folder, error) from error
    if full:
        raise ValueError(f"expected an empty folder for a DICOM series, found files in {folder}: choose another one")


def _unwritable(folder: Path, error: OSError) -> ValueError:
    return ValueError(f"expected to write a DICOM series to {folder}, but it failed ({error.strerror}): choose another")


def _common(volume: Volume, provenance: Provenance, modality: str) -> Any:
    """What all slices share."""
    import pydicom
    from pydicom.uid import generate_uid
    from pydicom.valuerep import format_number_as_ds

    now = datetime.datetime.now()
    data = pydicom.Dataset()
    data.SpecificCharacterSet = "ISO_IR 192"
    for name in EMPTY:
        setattr(data, name, "")
    data.PatientID, data.PatientName = provenance.patient, f"{MARK}^{provenance.identity}"
    data.PatientIdentityRemoved, data.DeidentificationMethod = "YES", "Synthetic: never a patient's"
    data.StudyInstanceUID, data.SeriesInstanceUID, data.FrameOfReferenceUID = (generate_uid() for _ in range(3))
    data.PositionReferenceIndicator = ""
    data.StudyDate = data.SeriesDate = data.ContentDate = f"{now:%Y%m%d}"
    data.StudyTime = data.SeriesTime = data.ContentTime = f"{now:%H%M%S}"
    data.SOPClassUID, data.Modality, data.SeriesNumber = STORAGE[modality], modality, 1
    data.StudyDescription = data.SeriesDescription = f"{MARK} {modality} ({provenance.kind})"
    data.ImageType = ["DERIVED", "SECONDARY", "AXIAL" if modality == "CT" else "OTHER", MARK]
    data.DerivationDescription, data.ImageComments = provenance.description(LONGEST), SENTENCE
    data.Manufacturer = data.ManufacturerModelName = "DiffusionPriors"
    data.SoftwareVersions, data.BurnedInAnnotation = __version__, "NO"
    data.AcquisitionNumber = None
    if modality == "CT":
        data.KVP, data.RescaleType = None, "HU" if volume.unit == "HU" else "US"
    else:
        data.ScanningSequence, data.SequenceVariant, data.ScanOptions = "RM", "NONE", ""
        data.MRAcquisitionType, data.RescaleType = "", "US"
        data.RepetitionTime, data.EchoTime, data.EchoTrainLength = None, None, None
    wide, tall, deep = volume.spacing_mm
    axes = LPS @ (volume.ijk_to_ras[:3, :3] / np.asarray(volume.spacing_mm))
    data.ImageOrientationPatient = [format_number_as_ds(float(v)) for v in (*axes[:, 0], *axes[:, 1])]
    data.PixelSpacing = [format_number_as_ds(tall), format_number_as_ds(wide)]
    data.SliceThickness = data.SpacingBetweenSlices = format_number_as_ds(deep)
    _, data.Rows, data.Columns = volume.array.shape
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 0
    return data


def _slice(common: Any, volume: Volume, index: int, plane: np.ndarray) -> Any:
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid
    from pydicom.valuerep import format_number_as_ds

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = common.SOPClassUID, generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128, is_implicit_VR=False, is_little_endian=True)
    data.update(common)
    data.SOPInstanceUID, data.InstanceNumber = meta.MediaStorageSOPInstanceUID, index + 1
    place = LPS @ (volume.ijk_to_ras @ [0.0, 0.0, index, 1.0])[:3]
    data.ImagePositionPatient = [format_number_as_ds(float(v)) for v in place]
    data.PixelData = plane.tobytes()
    return data
