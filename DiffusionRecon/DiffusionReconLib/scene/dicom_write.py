"""Writing a DICOM dataset as a whole file, with the pydicom that Slicer brings: 2.4 or 3."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import pydicom


def writeDicom(data: pydicom.Dataset, target: str | Path | BinaryIO) -> None:
    """Write a dataset with preamble and file meta information, in the transfer syntax that these name.

    Raises OSError where the file cannot be written, ValueError where file meta information is missing.
    """
    if int(pydicom.__version__.split(".")[0]) >= 3:
        data.save_as(target, enforce_file_format=True)
        return
    syntax = data.file_meta.TransferSyntaxUID
    data.is_little_endian, data.is_implicit_VR = syntax.is_little_endian, syntax.is_implicit_VR
    data.save_as(target, write_like_original=False)
