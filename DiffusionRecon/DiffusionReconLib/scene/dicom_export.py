"""Result volumes as DICOM series: derived, secondary, in the input's study."""

from __future__ import annotations

import datetime
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pydicom
import slicer
from diffusion_engine import __version__
from diffusion_engine.io.dicom_files import write_slices
from diffusion_engine.volume import Volume
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from pydicom.valuerep import format_number_as_ds
from slicer.i18n import tr as _

from DiffusionReconLib.scene import dicom_pet
from DiffusionReconLib.scene.publish import ATTRIBUTE_PREFIX
from DiffusionReconLib.scene.volumes import volumeFromNode

CT_STORAGE = "1.2.840.10008.5.1.4.1.1.2"
MR_STORAGE = "1.2.840.10008.5.1.4.1.1.4"
SECONDARY_CAPTURE_STORAGE = "1.2.840.10008.5.1.4.1.1.7"
# Results that are no intensities; their unit is stored with the code that "a.u." has, too.
RATIOS = ("not_seen_share", "residual", "prior_decided", "data_disagree")
SERIES_NUMBER = 9000
STORED_MAXIMUM = 65535
LONGEST_DESCRIPTION = 64
LPS = np.diag([-1.0, -1.0, 1.0])
# What a result shares with the images that it was made from.
PATIENT_AND_STUDY = (
    "SpecificCharacterSet", "PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex",
    "PatientAge", "PatientSize", "PatientWeight", "StudyInstanceUID", "StudyDate", "StudyTime", "StudyID",
    "StudyDescription", "AccessionNumber", "ReferringPhysicianName",
)  # fmt: skip
# Needed, possibly empty, where the sources lack them or there are none.
REQUIRED = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID",
    "AccessionNumber", "ReferringPhysicianName",
)  # fmt: skip
BURNED_IN = "NO"
DISCLAIMER = "Reconstructed with a diffusion prior. Not for diagnostic use."


def sourceDatasets(node: slicer.vtkMRMLVolumeNode | None) -> list[pydicom.Dataset]:
    """The headers of the DICOM files that a node was loaded from, by Slicer's database; empty without them.

    Slicer's DICOM plugins leave the instances' UIDs, with blanks between, in the node's attribute DICOM.instanceUIDs.
    """
    database = getattr(slicer, "dicomDatabase", None)
    uids = (node.GetAttribute("DICOM.instanceUIDs") or "").split() if node is not None else []
    if database is None or not uids:
        return []
    files = [database.fileForInstance(uid) for uid in uids]
    return [pydicom.dcmread(file, stop_before_pixels=True) for file in files if file and Path(file).is_file()]


def exportSeries(
    node: slicer.vtkMRMLScalarVolumeNode,
    folder: str | Path,
    sources: Sequence[pydicom.Dataset] = (),
    seriesNumber: int = SERIES_NUMBER,
) -> list[Path]:
    """Write a result's volume as one DICOM series of single-slice files; returns the files, in slice order.

    Values are stored as 16 bits with one slope and intercept, so to 1/65535 of the volume's range; the geometry is the
    node's own, without its parent transform. With `sources` it lies in their patient and study and names them, else in
    a new study. Raises ValueError for a grid that DICOM cannot hold and for a folder that holds files or cannot be
    written; nothing is left behind then.
    """
    volume = volumeFromNode(node)
    if len({source.StudyInstanceUID for source in sources}) > 1:
        raise ValueError(_("The source images belong to several studies: give those of one."))
    folder = Path(folder)
    _refuseFull(folder)
    common = _common(node, volume, sources, seriesNumber)
    slope, intercept = _rescale(volume.array, common.Modality == "PT")
    common.RescaleSlope, common.RescaleIntercept = slope, intercept
    stored = np.rint((volume.array.astype(np.float64) - float(intercept)) / float(slope))
    planes = np.clip(stored, 0, STORED_MAXIMUM).astype("<u2")
    try:
        return write_slices(folder, planes, lambda index, plane, _name: _slice(common, volume, index, plane))
    except OSError as error:
        raise _unwritable(folder, error) from error


def _refuseFull(folder: Path) -> None:
    try:
        full = folder.is_dir() and any(folder.iterdir())
    except OSError as error:
        raise _unwritable(folder, error) from error
    if full:
        raise ValueError(_(
            "A DICOM series needs an empty folder, but '{folder}' holds files: choose another one."
        ).format(folder=folder))


def _unwritable(folder: Path, error: OSError) -> ValueError:
    return ValueError(_(
        "The DICOM series could not be written to '{folder}' ({reason}): choose a writable folder."
    ).format(folder=folder, reason=error.strerror))


def _rescale(array: np.ndarray, fromZero: bool) -> tuple[str, str]:
    """Slope and intercept as the texts that DICOM stores: rounded first, then used.

    `fromZero`: the intercept is 0, as PET wants it, where no value is negative.
    """
    low, high = float(array.min()), float(array.max())
    if fromZero and low >= 0:
        low = 0.0
    intercept = format_number_as_ds(low)
    # A little wider than the range, so that its top still fits after rounding to 16 characters.
    slope = (high - float(intercept)) / STORED_MAXIMUM * (1 + 1e-9)
    return format_number_as_ds(slope if slope > 0 else 1.0), intercept


def _common(
    node: slicer.vtkMRMLScalarVolumeNode, volume: Volume, sources: Sequence[pydicom.Dataset], seriesNumber: int
) -> pydicom.Dataset:
    """What all slices share: patient, study, series, frame of reference, how it was derived, pixel format."""
    key = node.GetAttribute(ATTRIBUTE_PREFIX + "Result") or "volume"
    modality = (node.GetAttribute(ATTRIBUTE_PREFIX + "Modality") or "").upper()
    now = datetime.datetime.now()
    data = pydicom.Dataset()
    first = sources[0] if sources else pydicom.Dataset()
    data.SpecificCharacterSet = "ISO_IR 192"
    data.StudyInstanceUID, data.StudyDate, data.StudyTime = generate_uid(), f"{now:%Y%m%d}", f"{now:%H%M%S}"
    for name in REQUIRED:
        if name not in data:
            setattr(data, name, "")
    for name in PATIENT_AND_STUDY:
        # Texts are written again, all in UTF-8.
        if name in first and name != "SpecificCharacterSet":
            data[name] = first[name]
    isCT = modality == "CT" and volume.unit == "HU"
    isMR = modality == "MRI" and key not in RATIOS
    isPET = modality == "PET" and key not in RATIOS and volume.unit in dicom_pet.UNITS
    data.SOPClassUID = (
        CT_STORAGE if isCT else MR_STORAGE if isMR else dicom_pet.PET_STORAGE if isPET else SECONDARY_CAPTURE_STORAGE)
    data.Modality = "CT" if isCT else "MR" if isMR else "PT" if isPET else "OT"
    if isCT:
        data.KVP, data.AcquisitionNumber = None, None
    elif isMR:
        _mrImage(data, first)
    elif not isPET:
        data.ConversionType = "WSD"
    # AXIAL is what CT asks for in the third place, also of an oblique grid; OTHER is what MR has for new kinds.
    plane = "OTHER" if isMR else "AXIAL"
    data.ImageType = ["DERIVED", "SECONDARY", plane, re.sub(r"[^A-Z0-9 _]", "_", key.upper())[:16]]
    data.SeriesInstanceUID, data.SeriesNumber = generate_uid(), seriesNumber
    data.SeriesDate, data.SeriesTime = f"{now:%Y%m%d}", f"{now:%H%M%S}"
    data.ContentDate, data.ContentTime = data.SeriesDate, data.SeriesTime
    if isPET:
        dicom_pet.petImage(data, volume.unit, len(volume.array), sources)
    data.SeriesDescription = _seriesDescription(node.GetName())
    data.DerivationDescription = f"{node.GetName()}. {_derivation(node)}{DISCLAIMER}"[:1024]
    data.ImageComments = DISCLAIMER
    data.Manufacturer, data.ManufacturerModelName = "DiffusionPriors", "DiffusionPriors"
    data.SoftwareVersions = __version__
    data.FrameOfReferenceUID = first.get("FrameOfReferenceUID") or generate_uid()
    data.PositionReferenceIndicator = first.get("PositionReferenceIndicator", "")
    data.BurnedInAnnotation = BURNED_IN
    if sources:
        data.SourceImageSequence = [_reference(source) for source in sources]
    for name in ("PatientPosition", "BodyPartExamined"):
        if name in first:
            data[name] = first[name]
    _pixelFormat(data, volume)
    return data


def _mrImage(data: pydicom.Dataset, source: pydicom.Dataset) -> None:
    """What MR images need of their acquisition: as the source states it, else research mode and empty times."""
    data.ScanningSequence, data.SequenceVariant, data.ScanOptions = "RM", "NONE", ""
    data.MRAcquisitionType, data.AcquisitionNumber = "", None
    data.RepetitionTime, data.EchoTime, data.EchoTrainLength = None, None, None
    for name in (
        "ScanningSequence", "SequenceVariant", "ScanOptions", "MRAcquisitionType", "RepetitionTime", "EchoTime",
        "EchoTrainLength", "InversionTime", "FlipAngle", "MagneticFieldStrength",
    ):
        if name in source:
            data[name] = source[name]


def _seriesDescription(name: str) -> str:
    """A node's name in DICOM's 64 characters: a longer one without what stands in brackets at its end, then with dots.

    The derivation description has all of it.
    """
    short = name if len(name) <= LONGEST_DESCRIPTION else name.rpartition(" (")[0] or name
    return short if len(short) <= LONGEST_DESCRIPTION else short[: LONGEST_DESCRIPTION - 3] + "..."


def _pixelFormat(data: pydicom.Dataset, volume: Volume) -> None:
    columnsMm, rowsMm, slicesMm = volume.spacing_mm
    axes = LPS @ (volume.ijk_to_ras[:3, :3] / np.asarray(volume.spacing_mm))
    data.ImageOrientationPatient = [format_number_as_ds(float(v)) for v in (*axes[:, 0], *axes[:, 1])]
    data.PixelSpacing = [format_number_as_ds(rowsMm), format_number_as_ds(columnsMm)]
    data.SliceThickness = data.SpacingBetweenSlices = format_number_as_ds(slicesMm)
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    _, data.Rows, data.Columns = volume.array.shape
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 0
    data.RescaleType = "HU" if volume.unit == "HU" else "US"


def _slice(common: pydicom.Dataset, volume: Volume, index: int, plane: np.ndarray) -> FileDataset:
    """One slice's file."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = common.SOPClassUID, generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128, is_implicit_VR=False, is_little_endian=True)
    data.update(common)
    data.SOPInstanceUID, data.InstanceNumber = meta.MediaStorageSOPInstanceUID, index + 1
    if data.Modality == "PT":
        data.ImageIndex = index + 1
    place = LPS @ (volume.ijk_to_ras @ [0.0, 0.0, index, 1.0])[:3]
    data.ImagePositionPatient = [format_number_as_ds(float(v)) for v in place]
    data.PixelData = plane.tobytes()
    return data


def _derivation(node: slicer.vtkMRMLScalarVolumeNode) -> str:
    """Method, prior, seed and draws, as the node's attributes say."""
    names = ("Method", "Prior", "Spread", "Draws", "Seed")
    found = {name.lower(): node.GetAttribute(ATTRIBUTE_PREFIX + name) for name in names}
    text = ", ".join(f"{name} {value}" for name, value in found.items() if value)
    return f"{text}. " if text else ""


def _reference(source: pydicom.Dataset) -> pydicom.Dataset:
    item = pydicom.Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = source.SOPClassUID, source.SOPInstanceUID
    return item
