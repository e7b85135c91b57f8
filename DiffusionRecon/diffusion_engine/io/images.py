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
from typing import TYPE_CHECKING

import numpy as np

from ..volume import Volume, check_rectangular
from . import metaimage, nifti, nrrd_header
from .conventions import LPS_TO_RAS, UNKNOWN_UNIT
from .layout import Layout
from .voxels import check_voxels, read_voxels

if TYPE_CHECKING:  # loaded where they are used: a program that reads NRRD alone starts without them
    import SimpleITK as sitk

READABLE = (".nrrd", ".nhdr", ".nii", ".nii.gz", ".mha", ".mhd", ".dcm")
WRITABLE = (".nrrd", ".nii", ".nii.gz", ".mha")
NOTE_BYTES = 79
"""Of the free text of a NIfTI header, without its end."""
HEADERS: dict[str, Callable[[Path], Layout]] = {
    ".nrrd": nrrd_header.read_header, ".nhdr": nrrd_header.read_header, ".nii": nifti.read_header,
    ".nii.gz": nifti.read_header, ".mha": metaimage.read_header, ".mhd": metaimage.read_header,
}


def read_volume(path: str | os.PathLike[str], unit: str | None = None, series: str | None = None) -> Volume:
    """Read an image file (.nrrd, .nhdr, .nii, .nii.gz, .mha, .mhd), a DICOM file of any name or a DICOM folder.

    ``unit`` of the values; when None, the one stored by :func:`write_volume`, "HU" for DICOM CT, else "a.u.".
    ``series``: UID of the DICOM series to take; when None, the only one or, with a warning, the one that has
    more than twice the images of any other. The stored voxel type is kept (DICOM: float32, rescaled).
    A 2D image becomes one slice; NaN stays NaN. What a header leaves open (orientation, voxel size, one of two places)
    is said by ``warnings.warn``. Raises ValueError, one sentence that names the file, for a missing, truncated,
    contradictory, unsupported, sheared, colour, vector, complex or 4D image, one that exceeds the free memory, and for
    DICOM slices that are unevenly spaced or leaning.
    """
    place = _existing(path)
    layout = _layout(place)
    if layout is None:
        from . import dicom

        return dicom.read_dicom(place, unit, series)
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
    if layout is None:
        from . import dicom

        return dicom.read_dicom(place).array
    return read_voxels(layout)


def write_volume(volume: Volume, path: str | os.PathLike[str], description: str = "") -> None:
    """Write a volume, compressed, as .nrrd, .mha, .nii.gz or .nii (uncompressed), with its unit and a description.

    NIfTI has room for 80 bytes of unit and description together; the rest of a longer one is left out, dots in place.

    The file appears under its name only when complete: it is written beside it and then moved there. NRRD and
    MetaImage keep the geometry in double precision, NIfTI in single. Raises ValueError, one sentence, for an
    unsupported ending, a folder that is missing or cannot be written, and a full disk; nothing is left behind.
    """
    import SimpleITK as sitk

    place = Path(path)
    ending = _ending(place)
    if ending not in WRITABLE:
        raise ValueError(f"expected a file name ending in {', '.join(WRITABLE)}, found {place.name}: rename it")
    if not place.parent.is_dir():
        raise ValueError(f"expected an existing folder for {place.name}, found none at {place.parent}: create it first")
    if place.is_dir():
        raise ValueError(f"expected a file name, found the folder {place}: choose another name")
    image = _image(volume, description)
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
        from . import dicom

        if dicom.is_dicom(place):
            return None
        raise ValueError(
            f"expected {', '.join(READABLE)} or a DICOM folder, found the file {place.name}: convert it to one of these"
        )
    try:
        return HEADERS[ending](place)
    except OSError as error:
        raise ValueError(f"expected to read {place}, but it failed ({_cause(error)}): check the file") from error


def _ending(place: Path) -> str:
    """The file name's ending in small letters, ".nii.gz" as one."""
    name = place.name.lower()
    return ".nii.gz" if name.endswith(".nii.gz") else place.suffix.lower()


def _image(volume: Volume, description: str) -> sitk.Image:
    """The SimpleITK image of a volume, in LPS, its unit and description among the text fields."""
    import SimpleITK as sitk

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
    note = f"unit={volume.unit}"
    if description:
        image.SetMetaData("description", " ".join(description.split()))
        note = f"{note}; {' '.join(description.split())}"
        if len(note.encode()) > NOTE_BYTES:
            note = note.encode()[: NOTE_BYTES - 3].decode(errors="ignore") + "..."
    image.SetMetaData("ITK_FileNotes", note)  # the only free text that NIfTI keeps
    return image


def _cause(error: Exception) -> str:
    """The last line of a SimpleITK error, which holds the reason, or an operating system's own words."""
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1].rstrip(".:") if lines else type(error).__name__
