"""One DICOM file: its header, and where its pixels lie, before any of them is read."""

from __future__ import annotations

import math
import os
import struct
import warnings
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import pydicom
from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.filereader import read_file_meta_info
from pydicom.multival import MultiValue
from pydicom.tag import Tag
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian

PIXEL_KINDS = {0x0010: "i", 0x0008: "f", 0x0009: "d"}
"""Elements of group 7FE0 that hold pixels: whole numbers, single and double precision."""

UNDEFINED_LENGTH = 0xFFFFFFFF
IMAGE_CLASSES = ("Image Storage", "Dose Storage", "Parametric Map Storage")
"""How the names of the DICOM classes of images end; spectra and reports are no images, even with rows."""

SEGMENTATIONS = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")
"""The classes of segmentations: by segment and, unknown to older versions of pydicom, by label."""

INFLATED_LIMIT = 256 << 20
"""Largest deflated file once inflated, in bytes: pydicom inflates the whole of it before it reads a tag."""


@dataclass(frozen=True)
class Pixels:
    """The bytes of a file that hold its pixels, of ``kind`` "i" (whole), "f" (single) or "d" (double precision).

    ``offset``: of the first; ``length``: as the element states it, None for the items of a compressed syntax;
    ``available``: bytes from the offset to the file's end; ``big``: big-endian numbers.
    """

    kind: str
    offset: int
    length: int | None
    available: int
    big: bool


@dataclass(frozen=True, eq=False)
class DicomFile:
    """The header of a DICOM image file; ``pixels`` is None where the file ends before them.

    ``inflated``: the pixels' bytes where the file is deflated as a whole. ``commas``: the first number with a
    decimal comma, noted while the header is looked at.
    """

    path: Path
    data: pydicom.Dataset
    pixels: Pixels | None
    inflated: bytes | None = None
    commas: list[str] = field(default_factory=list)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Frames, rows and columns, as the header states them."""
        return self.whole("NumberOfFrames", 1) or 1, self.whole("Rows"), self.whole("Columns")

    def text(self, keyword: str, item: pydicom.Dataset | None = None) -> str:
        """A text field of the header, or of an item of its sequences; "" when it is missing or empty."""
        return "\\".join(self._texts(keyword, item))

    def whole(self, keyword: str, default: int | None = None) -> int:
        """A whole number of the header; ValueError where it is broken, or missing without a default."""
        found = self.numbers(keyword, 1)
        if found is None and default is not None:
            return default
        if found is None or not found[0].is_integer():
            raise ValueError(
                f"expected a whole number as {keyword} in {self.path.name}, found "
                f"{'none' if found is None else f'{found[0]:g}'}: export the image again"
            )
        return int(found[0])

    def numbers(
        self, keyword: str, count: int | None = None, item: pydicom.Dataset | None = None
    ) -> tuple[float, ...] | None:
        """The numbers of a field, None when it is missing or empty; ValueError when they are not ``count`` finite ones.

        A comma is read as the decimal point, and noted: no DICOM number holds one otherwise.
        """
        texts = self._texts(keyword, item)
        if not any(texts):
            return None
        if not self.commas and any("," in text for text in texts):
            self.commas.append(f"{keyword} {_shown(texts)}")
        try:
            values = tuple(float(text.replace(",", ".")) for text in texts)
        except ValueError:
            values = ()
        if not values or not all(map(math.isfinite, values)) or count not in (None, len(values)):
            wanted = f"{count} finite number{'' if count == 1 else 's'}" if count else "finite numbers"
            raise ValueError(
                f"expected {wanted} as {keyword} in {self.path.name}, found {_shown(texts)}: "
                "correct the header or export the image again"
            )
        return values

    def padding(self, keyword: str) -> tuple[int, int] | None:
        """A padding value as a signed and as an unsigned number: writers disagree on which of the two it is."""
        value = self.field(keyword)
        if not isinstance(value, int):
            return None
        bits = 16 if -(1 << 15) <= value < 1 << 16 else 32
        word = value & ((1 << bits) - 1)
        return word - (1 << bits) if word >> (bits - 1) else word, word

    def items(self, keyword: str, item: pydicom.Dataset | None = None) -> Sequence[pydicom.Dataset]:
        """The items of a sequence of the header, or of an item of another one; none where it is missing."""
        found = self.field(keyword, item)
        return found if isinstance(found, pydicom.Sequence) else ()

    def field(self, keyword: str | int, item: pydicom.Dataset | None = None) -> object:
        """The value of a field, None when it is missing; ValueError, one sentence, when it cannot be understood.

        Decimal and whole numbers written as text, codes and UIDs come as they are written: pydicom's own conversion
        raises at a decimal comma.
        """
        data, tag = self.data if item is None else item, Tag(keyword)
        if tag not in data:
            return None
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                element = data.get_item(tag)
                kind = dictionary_VR(tag) if dictionary_has_tag(tag) else ""
                if isinstance(element, RawDataElement) and kind in ("DS", "IS", "CS", "UI"):
                    return (element.value or b"").decode("ascii", "replace").split("\\")
                return data[tag].value
        except Exception as error:  # pydicom has no common base for what it raises at damaged fields
            raise ValueError(
                f"expected a header that can be understood in {self.path.name}, found {keyword} damaged "
                f"({type(error).__name__}): copy or export the image again"
            ) from error

    def _texts(self, keyword: str, item: pydicom.Dataset | None) -> list[str]:
        """The values of a field as texts without their blanks; none where it is missing."""
        value = self.field(keyword, item)
        values = value if isinstance(value, (list, tuple, MultiValue)) else [value]
        return ["" if v is None else str(v).strip(" \0") for v in values]


def open_dicom(path: str | os.PathLike[str]) -> DicomFile:
    """The header of a DICOM file, also of a bare data set; ValueError with the cause when it cannot be read."""
    place = Path(path)
    try:
        with open(place, "rb") as stream, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydicom remarks on unusual texts that nobody here asks for
            if is_marked(stream) and _is_deflated(place):
                return _open_deflated(place, stream)
            data = pydicom.dcmread(stream, stop_before_pixels=True, force=True)
            pixels = _find_pixels(stream, os.fstat(stream.fileno()).st_size)
    except (OSError, ValueError) as error:
        raise ValueError(getattr(error, "strerror", None) or str(error).partition("\n")[0]) from error
    except Exception as error:  # pydicom has no common base for what it raises at damaged headers
        raise ValueError(f"a damaged header, {type(error).__name__}") from error
    if not len(data):
        raise ValueError("no DICOM header")
    return DicomFile(place, data, pixels)


def is_marked(stream: BinaryIO) -> bool:
    """Whether a file carries the mark "DICM" behind its preamble; the stream is left at its start."""
    stream.seek(0)
    head = stream.read(132)
    stream.seek(0)
    return head[128:] == b"DICM"


def is_image(file: DicomFile) -> bool:
    """Whether a file is an image: by its rows and pixels, or, where it breaks off before them, by its class.

    A segmentation is none: its frames say where something lies, and there may be more of them than of the image's.
    """
    try:
        meta = getattr(file.data, "file_meta", pydicom.Dataset())
        uid = UID(file.text("MediaStorageSOPClassUID", meta) or file.text("SOPClassUID"))
    except ValueError:  # a damaged class names nothing
        uid = UID("")
    if uid in SEGMENTATIONS:
        return False
    if "Rows" in file.data and file.pixels is not None:
        return True
    known = uid.name != str(uid)
    return uid.name.endswith(IMAGE_CLASSES) or ("Rows" in file.data and not known)


def _shown(texts: Sequence[str]) -> str:
    """The first letters of a field for a message."""
    return "".join(c if c.isprintable() else "?" for c in " ".join(texts)[:60])


def _is_deflated(place: Path) -> bool:
    return read_file_meta_info(place).get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian


def _open_deflated(place: Path, stream: BinaryIO) -> DicomFile:
    """A file whose whole data set is deflated; ValueError, before it is held, when it inflates beyond the limit."""
    meta = read_file_meta_info(place)
    stream.seek(132 + 12 + int(meta.FileMetaInformationGroupLength))
    inflate, length = zlib.decompressobj(-zlib.MAX_WBITS), 0
    while packed := stream.read(1 << 14):
        length += len(inflate.decompress(packed))
        if length > INFLATED_LIMIT:
            raise ValueError(f"a deflated file of more than {INFLATED_LIMIT >> 20} MiB, convert it to plain pixels")
    data = pydicom.dcmread(place)
    element = data.get("PixelData")
    if not isinstance(element, bytes):
        return DicomFile(place, data, None)
    del data.PixelData
    return DicomFile(place, data, Pixels("i", 0, len(element), len(element), False), element)


def _find_pixels(stream: BinaryIO, end: int) -> Pixels | None:
    """The pixel element that the stream stands at, None at the end of the file."""
    head = stream.read(8)
    for big in (False, True):
        if len(head) < 8:
            return None
        order = ">" if big else "<"
        group, element = struct.unpack(f"{order}2H", head[:4])
        if group != 0x7FE0 or element not in PIXEL_KINDS:
            continue
        if head[4:6] in (b"OB", b"OW", b"OF", b"OD", b"UN"):
            head += stream.read(4)
        if len(head) in (8, 12):
            length = struct.unpack(f"{order}I", head[-4:])[0]
            start = stream.tell()
            stated = None if length == UNDEFINED_LENGTH else length
            return Pixels(PIXEL_KINDS[element], start, stated, end - start, big)
    return None
