"""Image files in and out: NRRD, NIfTI, MetaImage and DICOM, with their geometry and unit.

NRRD, NIfTI and MetaImage are read here by their standards: ITK's readers turn NaN into 0, replace voxel sizes, pass
over units of length and give memory contents where a file ends early.
"""

from __future__ import annotations

import os
import uuid
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ..volume import Volume, check_rectangular
from . import dicom, metaimage, nifti, nrrd_header
from .layout import Layout
from .voxels import check_voxels, read_voxels

READABLE = (".nrrd", ".nhdr", ".nii", ".nii.gz", ".mha", ".mhd", ".dcm")
WRITABLE = (".nrrd", ".nii", ".nii.gz", ".mha")
UNKNOWN_UNIT = "a.u."
HEADERS: dict[str, Callable[[Path], Layout]] = {
    ".nrrd": nrrd_header.read_header, ".nhdr": nrrd_header.read_header, ".nii": nifti.read_header,
    ".nii.gz": nifti.read_header, ".mha": metaimage.read_header, ".mhd": metaimage.read_header,
}
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def read_volume(path: str | os.PathLike[str], unit: str | None = None, series: str | None = None) -> Volume:
    """Read an image file (.nrrd, .nhdr, .nii, .nii.gz, .mha, .mhd, .dcm) or a folder of DICOM slices.

    ``unit`` of the values; when None, the one stored by :func:`write_volume`, "HU" for DICOM CT, else "a.u.".
    ``series``: UID of the DICOM series to take; when None, the only one or, with a warning, the one that has
    more than twice the images of any other. The stored voxel type is kept (DICOM series: float32, rescaled).
    A 2D image becomes one slice; NaN stays NaN. What a header leaves open (orientation, voxel size, one of two places)
    is said by ``warnings.warn``. Raises ValueError, one sentence that names the file, for a missing, truncated,
    contradictory, unsupported, sheared, colour, vector, complex or 4D image, one that exceeds the free memory, and for
    DICOM slices that are unevenly spaced or leaning.
    """
    place = _existing(path)
    layout = _layout(place)
    if layout is None:
        return _read_dicom(place, unit, series)
    matrix, remarks = layout.grid()
    try:
        check_rectangular(matrix)
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from error
    array = read_voxels(layout)
    for remark in (*remarks, *layout.remarks):
        warnings.warn(f"{place} {remark}.", stacklevel=2)
    return Volume(array, matrix, unit or layout.unit or UNKNOWN_UNIT)


def read_array(path: str | os.PathLike[str]) -> np.ndarray:
    """The values alone, (slices, rows, columns), of a file that is no picture of a patient, such as a sinogram.

    As :func:`read_volume`, but what the file says of place and voxel size is not looked at.
    """
    place = _existing(path)
    layout = _layout(place)
    return _read_dicom(place, None, None).array if layout is None else read_voxels(layout)


def write_volume(volume: Volume, path: str | os.PathLike[str]) -> None:
    """Write a volume, compressed, as .nrrd, .mha, .nii.gz or .nii (uncompressed), with its unit.

    The file appears under its name only when complete: it is written beside it and then moved there. NRRD and
    MetaImage keep the geometry in double precision, NIfTI in single. Raises ValueError, one sentence, for an
    unsupported ending, a folder that is missing or cannot be written, and a full disk; nothing is left behind.
    """
    place = Path(path)
    ending = _ending(place)
    if ending not in WRITABLE:
        raise ValueError(f"expected a file name ending in {', '.join(WRITABLE)}, found {place.name}: rename it")
    if not place.parent.is_dir():
        raise ValueError(f"expected an existing folder for {place.name}, found none at {place.parent}: create it first")
    if place.is_dir():
        raise ValueError(f"expected a file name, found the folder {place}: choose another name")
    image = _image(volume)
    partial = place.with_name(f".{uuid.uuid4().hex}{ending}")
    try:
        # SimpleITK meets an unwritable folder with an error text that names its own source files.
        partial.touch()
        sitk.WriteImage(image, str(partial), useCompression=ending != ".nii")
        if ending in (".nii", ".nii.gz"):
            check_voxels(nifti.read_header(partial))  # ITK ends on a full disk without an error
        os.replace(partial, place)
    except (RuntimeError, OSError, ValueError) as error:
        raise ValueError(
            f"expected to write {place}, but it failed ({_cause(error)}): "
            "free disk space or choose a folder that you may write to"
        ) from error
    finally:
        partial.unlink(missing_ok=True)


def _existing(path: str | os.PathLike[str]) -> Path:
    place = Path(path)
    if not place.exists():
        raise ValueError(f"expected an image file or DICOM folder, found nothing at {place}: check the path")
    return place


def _layout(place: Path) -> Layout | None:
    """The layout of an image file, None for DICOM; ValueError for another file and one that cannot be opened."""
    ending = _ending(place)
    if place.is_dir() or ending == ".dcm":
        return None
    if ending not in HEADERS:
        raise ValueError(
            f"expected {', '.join(READABLE)} or a DICOM folder, found the file {place.name}: convert it to one of these"
        )
    try:
        return HEADERS[ending](place)
    except OSError as error:
        raise ValueError(f"expected to read {place}, but it failed ({_cause(error)}): check the file") from error


def _read_dicom(place: Path, unit: str | None, series: str | None) -> Volume:
    """A DICOM file or folder."""
    try:
        if place.is_dir():
            found = dicom.list_series(place)
            dicom.check_whole(place, found)
            chosen = dicom.choose_series(found, place, series)
            image = dicom.read_series(chosen)
            fields = dicom.header(chosen.files[0])
        else:
            image, fields = _read_file(place)
    except RuntimeError as error:
        raise ValueError(
            f"expected a complete image in {place}, found one that cannot be read ({_cause(error)}): copy it again"
        ) from error
    if image.GetNumberOfComponentsPerPixel() != 1:
        raise ValueError(
            f"expected one number a voxel in {place}, found {image.GetNumberOfComponentsPerPixel()} "
            "(colour or vector image): convert it to a scalar image"
        )
    return Volume(_array(image), _ijk_to_ras(image), unit or _stored_unit(fields))


def _read_file(place: Path) -> tuple[sitk.Image, dict[str, str]]:
    """The image in a DICOM file and its text fields."""
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(str(place))
    reader.ReadImageInformation()
    if reader.GetDimension() > 3:
        raise ValueError(
            f"expected a 3D image in {place}, found {reader.GetDimension()} axes {reader.GetSize()}: "
            "extract one time point or channel"
        )
    fields = {key: reader.GetMetaData(key) for key in reader.GetMetaDataKeys()}
    return reader.Execute(), fields


def _ending(place: Path) -> str:
    """The file name's ending in small letters, ".nii.gz" as one."""
    name = place.name.lower()
    return ".nii.gz" if name.endswith(".nii.gz") else place.suffix.lower()


def _array(image: sitk.Image) -> np.ndarray:
    """The voxels (slices, rows, columns); a 2D image is one slice."""
    array = sitk.GetArrayFromImage(image)
    return array[None] if array.ndim == 2 else array


def _ijk_to_ras(image: sitk.Image) -> np.ndarray:
    """Index to patient matrix: ITK has x = direction diag(spacing) index + origin in LPS; RAS flips the first two."""
    n = image.GetDimension()
    matrix = np.eye(4)
    direction = np.asarray(image.GetDirection(), dtype=np.float64).reshape(n, n)
    matrix[:n, :n] = direction * np.asarray(image.GetSpacing(), dtype=np.float64)
    matrix[:n, 3] = image.GetOrigin()
    return LPS_TO_RAS @ matrix


def _image(volume: Volume) -> sitk.Image:
    """The SimpleITK image of a volume, in LPS, its unit among the text fields."""
    array = volume.array
    if array.dtype == bool:
        array = array.astype(np.uint8)
    elif array.dtype == np.float16:
        array = array.astype(np.float32)
    image = sitk.GetImageFromArray(np.ascontiguousarray(array))
    spacing = np.asarray(volume.spacing_mm)
    matrix = LPS_TO_RAS @ volume.ijk_to_ras
    image.SetSpacing(spacing.tolist())
    image.SetDirection((matrix[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(matrix[:3, 3].tolist())
    image.SetMetaData("unit", volume.unit)
    image.SetMetaData("ITK_FileNotes", f"unit={volume.unit}")  # the only free text that NIfTI keeps
    return image


def _stored_unit(fields: dict[str, str]) -> str:
    """The unit that a DICOM file's fields name."""
    is_hu = fields.get("0008|0060", "").strip() == "CT" and fields.get("0028|1054", "HU").strip() in ("HU", "")
    return "HU" if is_hu else UNKNOWN_UNIT


def _cause(error: Exception) -> str:
    """The last line of a SimpleITK error, which holds the reason, or an operating system's own words."""
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1].rstrip(".:") if lines else type(error).__name__
