"""Stored numbers of a DICOM file's frames: checked for size before they are read, unpacked, decompressed."""

from __future__ import annotations

import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
import SimpleITK as sitk
from pydicom.tag import Tag
from pydicom.uid import UID, MultiFrameGrayscaleWordSecondaryCaptureImageStorage

from .dicom_file import DicomFile, Pixels

LARGE = 1 << 30
PACKED_RATIO = 1000
"""Pixels of more than ``LARGE`` bytes that are packed more than this many times are taken for a wrong header."""

PIXEL_FORM = frozenset(
    Tag(keyword)
    for keyword in (
        "SOPInstanceUID", "SamplesPerPixel", "NumberOfFrames", "Rows", "Columns", "BitsAllocated", "BitsStored",
        "HighBit", "PixelRepresentation", "PixelData",
    )
)  # fmt: skip
OVERLAY_GROUPS = range(0x6000, 0x6020, 2)


@dataclass(frozen=True)
class Words:
    """How the pixels of a file are stored: ``kind`` "i", "f" or "d", ``allocated`` bits each, of which ``stored`` are
    used, up to bit ``high`` (from 0), as ``signed`` numbers or not."""

    kind: str
    allocated: int
    stored: int
    high: int
    signed: bool


def words_of(file: DicomFile) -> Words:
    """How a file's pixels are stored; ValueError, one sentence, for colour, palettes and impossible bits."""
    samples, colours = file.whole("SamplesPerPixel", 1), file.text("PhotometricInterpretation")
    if samples != 1 or colours not in ("MONOCHROME1", "MONOCHROME2", ""):
        raise ValueError(
            f"expected grey values in {file.path}, found {samples} number{'s' if samples > 1 else ''} a pixel of "
            f"{colours or 'unknown colours'} (colour or vector image): convert it to a scalar image"
        )
    if file.items("ModalityLUTSequence"):
        raise ValueError(
            f"expected a rescale slope and intercept in {file.path.name}, found a modality lookup table: "
            "export the series with linear values"
        )
    kind = file.pixels.kind if file.pixels else "i"
    if kind != "i":
        bits = 32 if kind == "f" else 64
        return Words(kind, bits, bits, bits - 1, True)
    allocated = file.whole("BitsAllocated")
    stored = file.whole("BitsStored", allocated)
    high = file.whole("HighBit", stored - 1)
    if allocated not in (8, 16, 32) or not 1 <= stored <= high + 1 <= allocated:
        raise ValueError(
            f"expected 8, 16 or 32 bits a pixel in {file.path.name}, found {allocated} allocated, {stored} stored up "
            f"to bit {high}: export it again"
        )
    return Words(kind, allocated, stored, high, file.whole("PixelRepresentation", 0) == 1)


def check_size(file: DicomFile) -> None:
    """Raise ValueError, one sentence that names the file, unless it holds the pixels that its header states.

    Nothing is allocated. More bytes than stated are refused too, but for a tail of zeros of up to one row.
    """
    frames, rows, columns = file.shape
    words = words_of(file)
    if min(frames, rows, columns) < 1:
        raise ValueError(f"expected pixels in {file.path.name}, found {frames} x {rows} x {columns}: export it again")
    pixels = file.pixels
    if pixels is None or (pixels.length or 0) > pixels.available:
        found = "no pixels" if pixels is None else f"{pixels.available} of {pixels.length} bytes of pixels"
        raise ValueError(
            f"expected a complete image in {file.path}, found one that cannot be read ({found} before its end): "
            "copy it again"
        )
    row = columns * words.allocated // 8
    wanted = frames * rows * row
    if pixels.length is None:
        if wanted > max(LARGE, PACKED_RATIO * pixels.available):
            raise ValueError(
                f"expected compressed pixels of {wanted} bytes in {file.path.name}, found {pixels.available} bytes in "
                "all: export it again"
            )
        return
    extra = pixels.length - wanted
    if extra < 0 or (extra > 1 and (extra > row or any(_bytes(file, pixels, wanted, extra)))):
        raise ValueError(
            f"expected {wanted} bytes of pixels in {file.path.name} ({frames} x {rows} x {columns} of "
            f"{words.allocated} bits), found {pixels.length} ({pixels.length / row:.4g} rows): "
            "copy or export the image again"
        )


class FrameReader:
    """The stored numbers of the frames of one file, whose size is checked first; ValueError when it is not right."""

    def __init__(self, file: DicomFile) -> None:
        check_size(file)
        self.file, self.words = file, words_of(file)
        packed = file.pixels is not None and file.pixels.length is None
        self._unpacked = _decompressed(file) if packed else None

    def raw(self, index: int) -> np.ndarray:
        """The words of a frame as they lie in the file, unsigned or floating-point numbers, shape (rows, columns)."""
        _, rows, columns = self.file.shape
        kind, size = "u" if self.words.kind == "i" else "f", self.words.allocated // 8
        if self._unpacked is not None:
            return self._unpacked[index].astype(f"i{size}", copy=False).view(f"u{size}")
        assert self.file.pixels is not None  # check_size has seen them
        dtype = np.dtype(f"{'>' if self.file.pixels.big else '<'}{kind}{size}")
        length = rows * columns * size
        content = _bytes(self.file, self.file.pixels, index * length, length)
        if len(content) < length:
            raise ValueError(f"expected a complete image in {self.file.path}, found it cut short: copy it again")
        return np.frombuffer(content, dtype).reshape(rows, columns).astype(dtype.newbyteorder("="), copy=False)

    def numbers(self, raw: np.ndarray, ignore: np.ndarray) -> np.ndarray:
        """The stored numbers of a frame's words, unused bits put aside; ``ignore`` (bool): words that may be anything.

        Unused bits may repeat the sign or hold an overlay; ValueError, one sentence, when they hold anything else.
        """
        words = self.words
        signed = np.dtype(f"i{raw.dtype.itemsize}")
        if words.kind != "i" or words.stored == words.allocated:
            return raw if words.kind != "i" or not words.signed else raw.view(signed)
        shift = words.high + 1 - words.stored
        above = words.allocated - words.high - 1
        # Shifted up and down again, the number keeps its sign and loses what lies beside it.
        up = raw << raw.dtype.type(above)
        numbers = (up.view(signed) if words.signed else up) >> (above + shift)
        mask = np.array(((1 << words.stored) - 1) << shift, raw.dtype)
        for group in OVERLAY_GROUPS:
            bit = self.file.field(group << 16 | 0x0102)
            if isinstance(bit, int) and 0 <= bit < words.allocated:
                mask |= np.array(1 << bit, raw.dtype)
        rest = raw & ~mask
        sign = (numbers << shift).view(raw.dtype) & ~mask if words.signed else np.zeros_like(rest)
        odd = (rest != 0) & (rest != sign) & ~ignore
        if odd.any():
            raise ValueError(
                f"expected pixels of {words.stored} bits in {self.file.path.name}, found {int(odd.sum())} beyond them "
                f"(up to {int(raw[odd].max())}): correct BitsStored or export the image again"
            )
        return numbers


def _bytes(file: DicomFile, pixels: Pixels, start: int, length: int) -> bytes:
    """A part of the pixels' bytes; fewer where the file ends."""
    if file.inflated is not None:
        return file.inflated[start : start + length]
    with open(file.path, "rb") as stream:
        stream.seek(pixels.offset + start)
        return stream.read(length)


def _decompressed(file: DicomFile) -> np.ndarray:
    """The stored numbers of all frames of a compressed file, in stored order, shape (frames, rows, columns).

    GDCM (in SimpleITK) unpacks them from a copy that has the pixels only, as it would apply the first frame's slope
    to all and invert MONOCHROME1; pydicom, with its plugins, what GDCM cannot. ValueError when neither can.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            array = _by_gdcm(pydicom.dcmread(file.path))
        except Exception:  # a syntax that GDCM does not know, or a header that pydicom cannot copy
            try:
                array = pydicom.dcmread(file.path).pixel_array
            except Exception as error:  # whatever a plugin raises
                syntax = UID(file.text("TransferSyntaxUID", file.data.file_meta)).name
                raise ValueError(
                    f"expected a complete image in {file.path}, found one that cannot be read (its compressed pixels, "
                    f"{syntax}): copy it again or convert it to uncompressed DICOM"
                ) from error
    if array.size != np.prod(file.shape):
        raise ValueError(
            f"expected {' x '.join(map(str, file.shape))} pixels in {file.path.name}, found {array.shape} unpacked: "
            "export the image again"
        )
    return array.reshape(file.shape)


def _by_gdcm(data: pydicom.Dataset) -> np.ndarray:
    """All frames as GDCM reads them from a file that states the pixels' form and nothing else."""
    for tag in list(data.keys()):
        if tag not in PIXEL_FORM:
            del data[tag]
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = MultiFrameGrayscaleWordSecondaryCaptureImageStorage
    data.PhotometricInterpretation = "MONOCHROME2"
    quiet = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        with tempfile.TemporaryDirectory() as folder:
            place = str(Path(folder, "pixels.dcm"))
            data.save_as(place)
            reader = sitk.ImageFileReader()
            reader.SetImageIO("GDCMImageIO")
            reader.SetFileName(place)
            return sitk.GetArrayFromImage(reader.Execute())
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(quiet)
