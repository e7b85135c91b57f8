"""Image files in and out: NRRD, NIfTI, MetaImage and DICOM, with their geometry and unit."""

from __future__ import annotations

import gzip
import os
import re
import struct
import uuid
import zlib
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ..volume import Volume
from . import dicom
from .conventions import LPS_TO_RAS, UNKNOWN_UNIT

READABLE = (".nrrd", ".nhdr", ".nii", ".nii.gz", ".mha", ".mhd", ".dcm")
WRITABLE = (".nrrd", ".nii", ".nii.gz", ".mha")


def read_volume(path: str | os.PathLike[str], unit: str | None = None, series: str | None = None) -> Volume:
    """Read an image file (.nrrd, .nhdr, .nii, .nii.gz, .mha, .mhd), a DICOM file of any name or a DICOM folder.

    ``unit`` of the values; when None, the one stored by :func:`write_volume`, "HU" for DICOM CT, else "a.u.".
    ``series``: UID of the DICOM series to take; when None, the only one or, with a warning, the one that has
    more than twice the images of any other. The stored voxel type is kept (DICOM: float32, rescaled).
    A 2D image becomes one slice. Raises ValueError, one sentence that names the file, for a missing, truncated,
    unsupported, colour, vector, complex or 4D image, and for DICOM slices that are unevenly spaced or leaning.
    """
    place = Path(path)
    if not place.exists():
        raise ValueError(f"expected an image file or DICOM folder, found nothing at {place}: check the path")
    if place.is_dir() or _ending(place) == ".dcm" or (_ending(place) not in READABLE and dicom.is_dicom(place)):
        return dicom.read_dicom(place, unit, series)
    try:
        image, fields = _read_file(place)
    except RuntimeError as error:
        raise ValueError(
            f"expected a complete image in {place}, found one that cannot be read ({_cause(error)}): copy it again"
        ) from error
    if "complex" in image.GetPixelIDTypeAsString():
        raise ValueError(f"expected real voxels in {place}, found complex ones: take the magnitude first")
    if image.GetNumberOfComponentsPerPixel() != 1:
        raise ValueError(
            f"expected one number a voxel in {place}, found {image.GetNumberOfComponentsPerPixel()} "
            "(colour or vector image): convert it to a scalar image"
        )
    return Volume(_array(image), _ijk_to_ras(image), unit or _stored_unit(fields))


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
            _check_nifti_complete(partial)
        os.replace(partial, place)
    except (RuntimeError, OSError, ValueError) as error:
        raise ValueError(
            f"expected to write {place}, but it failed ({_cause(error)}): "
            "free disk space or choose a folder that you may write to"
        ) from error
    finally:
        partial.unlink(missing_ok=True)


def _read_file(place: Path) -> tuple[sitk.Image, dict[str, str]]:
    """The image in a file and its text fields."""
    ending = _ending(place)
    if ending not in READABLE:
        raise ValueError(
            f"expected {', '.join(READABLE)} or a DICOM folder, found the file {place.name}: convert it to one of these"
        )
    reader = sitk.ImageFileReader()
    if ending in (".nii", ".nii.gz"):
        try:
            _check_nifti_complete(place)
        except ValueError as error:
            raise ValueError(f"expected a complete image in {place}, found {error}: copy or export it again") from error
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
    """The unit that a file's text fields name; ITK keeps DICOM's fields in what it writes from it."""
    if "0008|0060" in fields:
        is_hu = fields["0008|0060"].strip() == "CT" and fields.get("0028|1054", "HU").strip() in ("HU", "")
        return "HU" if is_hu else UNKNOWN_UNIT
    if fields.get("unit", "").strip():
        return fields["unit"].strip()
    note = re.fullmatch(r"unit=(.+)", fields.get("descrip", fields.get("ITK_FileNotes", "")).strip())
    return note.group(1) if note else UNKNOWN_UNIT


def _check_nifti_complete(place: Path) -> None:
    """Raise ValueError when a NIfTI-1 or -2 file holds fewer bytes than its header announces.

    ITK's NIfTI reader fills missing voxels and its writer ends on a full disk, both without an error.
    """
    with open(place, "rb") as stream:
        packed = stream.read(2) == b"\x1f\x8b"
    try:
        with gzip.open(place, "rb") if packed else open(place, "rb") as stream:
            head = stream.read(540)
            wanted = _nifti_bytes(head)
            found = len(head)
            while chunk := stream.read(1 << 22):
                found += len(chunk)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError("a compressed stream that breaks off") from error
    if found < wanted:
        raise ValueError(f"{found} of {wanted} bytes")


def _nifti_bytes(head: bytes) -> int:
    """Length of the whole uncompressed file by its header (header size first tells version and byte order)."""
    for order in "<>":
        size = struct.unpack(f"{order}i", head[:4])[0] if len(head) >= 4 else 0
        if size == 348 and len(head) >= 348:
            extents = struct.unpack(f"{order}8h", head[40:56])
            bits = struct.unpack(f"{order}h", head[72:74])[0]
            offset = int(struct.unpack(f"{order}f", head[108:112])[0])
            detached = head[344:347] == b"ni1"
        elif size == 540 and len(head) >= 540:
            extents = struct.unpack(f"{order}8q", head[16:80])
            bits = struct.unpack(f"{order}h", head[14:16])[0]
            offset = struct.unpack(f"{order}q", head[168:176])[0]
            detached = head[4:7] == b"ni2"
        else:
            continue
        if detached:
            raise ValueError("only the header of a .hdr/.img pair")
        voxels = 1
        for extent in extents[1 : 1 + max(0, min(extents[0], 7))]:
            voxels *= max(1, extent)
        return offset + voxels * bits // 8
    raise ValueError("no NIfTI header")


def _cause(error: Exception) -> str:
    """The last line of a SimpleITK error, which holds the reason, or an operating system's own words."""
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1].rstrip(".:") if lines else type(error).__name__
