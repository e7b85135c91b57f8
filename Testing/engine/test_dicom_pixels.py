"""DICOM pixels: as many as the header says, of the bits that it says, and padding made air with a word."""

from __future__ import annotations

import tracemalloc
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from dicom_files import axial, stored, write_enhanced, write_slice, write_slices
from diffusion_engine.io.images import read_volume
from diffusion_engine.volume import Volume
from pydicom.filereader import read_file_meta_info
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, RLELossless


def read(path: Path) -> Volume:
    """A volume that must come without a remark."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return read_volume(path)


def test_pixels_shorter_than_the_header_says(tmp_path: Path) -> None:
    write_slices(tmp_path / "series", stored(), lambda n: {"PixelData": bytes(4 * 8 * 2)} if n == 2 else {})
    for path in (tmp_path / "series", tmp_path / "series" / "002.dcm"):
        says = r"expected 96 bytes of pixels in 002\.dcm \(1 x 6 x 8 of 16 bits\), found 64 \(4 rows\)"
        with pytest.raises(ValueError, match=says):
            read_volume(path)
    write_enhanced(tmp_path / "e.dcm", stored(), axial(5), PixelData=bytes(478))
    with pytest.raises(ValueError, match=r"expected 480 bytes of pixels in e\.dcm"):
        read_volume(tmp_path / "e.dcm")


@pytest.mark.parametrize(("tail", "good"), [(b"\0", True), (bytes(16), True), (bytes(18), False), (b"\0\1\0\0", False)])
def test_pixels_longer_than_the_header_says(tmp_path: Path, tail: bytes, good: bool) -> None:
    """A tail of zeros of up to a row is a writer's padding; anything longer is an image cut off."""
    pixels = stored(1)[0]
    path = write_slice(tmp_path / "x.dcm", pixels, (0, 0, 0), PixelData=pixels.astype("<u2").tobytes() + tail)
    if good:
        assert np.array_equal(read(path).array[0], pixels - 1024)
    else:
        with pytest.raises(ValueError, match=r"expected 96 bytes of pixels in x\.dcm"):
            read_volume(path)


@pytest.mark.parametrize("packed", [False, True])
def test_sizes_are_checked_before_anything_is_allocated(tmp_path: Path, packed: bool) -> None:
    path = write_slice(tmp_path / "x.dcm", stored(1)[0], (0, 0, 0))
    data = pydicom.dcmread(path)
    if packed:
        data.compress(RLELossless, generate_instance_uid=False)
    data.Rows = data.Columns = 60000
    data.save_as(path)
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"of (pixels|7200000000 bytes) in x\.dcm"):
        read_volume(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20e6


def test_deflated_file_and_bomb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = pydicom.dcmread(write_slice(tmp_path / "x.dcm", stored(1)[0], (0, 0, 0)))
    data.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    data.save_as(tmp_path / "x.dcm", enforce_file_format=True)
    assert np.array_equal(read(tmp_path / "x.dcm").array, stored(1) - 1024)
    monkeypatch.setattr("diffusion_engine.io.dicom_file.INFLATED_LIMIT", 1 << 20)
    content = (tmp_path / "x.dcm").read_bytes()
    head = content[: 144 + read_file_meta_info(tmp_path / "x.dcm").FileMetaInformationGroupLength]
    packer = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    (tmp_path / "x.dcm").write_bytes(head + packer.compress(bytes(1 << 24)) + packer.flush())
    with pytest.raises(ValueError, match=r"x\.dcm, found one that cannot be read \(a deflated file of more than"):
        read_volume(tmp_path / "x.dcm")


def test_byte_order(tmp_path: Path) -> None:
    read_back = pydicom.dcmread(write_slice(tmp_path / "x.dcm", stored(1)[0], (0, 0, 0)))
    data = pydicom.Dataset()
    data.update(read_back)
    data.file_meta = read_back.file_meta
    data.file_meta.TransferSyntaxUID, data.PixelData = ExplicitVRBigEndian, stored(1).astype(">u2").tobytes()
    data.save_as(tmp_path / "x.dcm", enforce_file_format=True)
    assert np.array_equal(read(tmp_path / "x.dcm").array, stored(1) - 1024)


@pytest.mark.parametrize("dtype", ["u1", "<i2", "<u2", "<i4", "<u4"])
def test_number_types(tmp_path: Path, dtype: str) -> None:
    kind = np.dtype(dtype)
    ends = np.iinfo(kind)
    pixels = np.array([[ends.min, 1, 100], [7, 99, ends.max]], kind)
    bits = 8 * kind.itemsize
    fields = {"BitsAllocated": bits, "BitsStored": bits, "HighBit": bits - 1, "PixelData": pixels.tobytes()}
    fields |= {"PixelRepresentation": int(kind.kind == "i"), "Modality": "MR"}
    volume = read(write_slice(tmp_path / "x.dcm", pixels, (0, 0, 0), **fields))
    assert np.array_equal(volume.array[0], pixels.astype(np.float64) - 1024)


def test_bits_beside_the_stored_ones(tmp_path: Path) -> None:
    twelve = {"BitsStored": 12, "HighBit": 11}
    signed = np.array([[-2000, -1, 0, 5]])
    # Negative numbers of 12 bits, with the sign repeated above them and without.
    for words in (signed, signed & 0xFFF):
        path = write_slice(tmp_path / "x.dcm", words & 0xFFFF, (0, 0, 0), PixelRepresentation=1, **twelve)
        assert np.array_equal(read(path).array[0], signed - 1024)
    shifted = write_slice(tmp_path / "x.dcm", np.array([[16, 0xFFF0]]), (0, 0, 0), BitsStored=12, HighBit=15)
    assert np.array_equal(read(shifted).array[0], [[1 - 1024, 4095 - 1024]])
    words = np.array([[5, 4096 + 7, 9, 11]])
    with pytest.raises(ValueError, match=r"pixels of 12 bits in x\.dcm, found 1 beyond them \(up to 4103\)"):
        read_volume(write_slice(tmp_path / "x.dcm", words, (0, 0, 0), **twelve))
    data = pydicom.dcmread(tmp_path / "x.dcm")
    data.add_new(0x60000100, "US", 1)
    data.add_new(0x60000102, "US", 12)
    data.save_as(tmp_path / "x.dcm")
    assert np.array_equal(read(tmp_path / "x.dcm").array[0], [[5 - 1024, 7 - 1024, 9 - 1024, 11 - 1024]])


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"}, "found 3 numbers a pixel of RGB"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "found 1 number a pixel of PALETTE COLOR"),
        ({"ModalityLUTSequence": [pydicom.Dataset()]}, "modality lookup table"),
        ({"BitsAllocated": 12}, "8, 16 or 32 bits"),
        ({"BitsStored": 20}, "8, 16 or 32 bits"),
        ({"Rows": 0}, "expected pixels in x.dcm"),
        ({"Rows": None, "Columns": None}, "complete image .*a header without Rows"),
    ],
)
def test_pixels_that_are_no_grey_values(tmp_path: Path, fields: dict[str, Any], says: str) -> None:
    path = write_slice(tmp_path / "x.dcm", stored(1)[0], (0, 0, 0), **fields)
    with pytest.raises(ValueError, match=says):
        read_volume(path)


def padded(count: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Stored numbers and where they are padding: the corners of every slice."""
    where = np.zeros((count, 6, 8), bool)
    where[:, :2, :2] = where[:, -1, -1] = True
    return stored(count), where


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("as_signed", [False, True])
@pytest.mark.parametrize("bits", [16, 12])
def test_padding_becomes_air(tmp_path: Path, signed: bool, as_signed: bool, bits: int) -> None:
    """-2000 = 63536, whichever of the two the tag says, and also beyond the bits that are stored."""
    pixels, where = padded()
    fields = {"PixelRepresentation": int(signed), "BitsStored": bits, "HighBit": bits - 1}
    for path in write_slices(tmp_path, np.where(where, 63536, pixels), **fields):
        data = pydicom.dcmread(path)
        data.add_new("PixelPaddingValue", *(("SS", -2000) if as_signed else ("US", 63536)))
        data.save_as(path)
    with pytest.warns(UserWarning, match="15 voxels of DICOM series .* were set to air, -1000 HU") as caught:
        volume = read_volume(tmp_path)
    assert len(caught) == 1
    assert np.array_equal(volume.array, np.where(where, -1000, pixels - 1024))


def test_padding_range(tmp_path: Path) -> None:
    pixels, where = padded()
    rim = np.where(where, 60000 + pixels % 7, pixels)
    write_slices(tmp_path, rim, PixelPaddingValue=60006, PixelPaddingRangeLimit=60000)
    with pytest.warns(UserWarning, match="15 voxels"):
        assert np.array_equal(read_volume(tmp_path).array, np.where(where, -1000, pixels - 1024))


def test_padding_of_enhanced_frames(tmp_path: Path) -> None:
    pixels, where = padded()
    path = write_enhanced(tmp_path / "e.dcm", np.where(where, 63536, pixels), axial(3), PixelPaddingValue=63536)
    with pytest.warns(UserWarning, match=r"15 voxels of e\.dcm"):
        assert np.array_equal(read_volume(path).array, np.where(where, -1000, pixels - 1024))


@pytest.mark.parametrize("padding", [None, 5, 63536, 0])
def test_padding_that_changes_nothing(tmp_path: Path, padding: int | None) -> None:
    """No tag; a value that does not occur; one that is air already (stored 0, -1024 HU)."""
    pixels, where = padded()
    write_slices(tmp_path, np.where(where, 0, pixels), PixelPaddingValue=padding)
    assert np.array_equal(read(tmp_path).array, np.where(where, 0, pixels) - 1024)


def test_low_values_without_a_tag_stay(tmp_path: Path) -> None:
    pixels, where = padded()
    signed = np.where(where, -2000, pixels) & 0xFFFF
    write_slices(tmp_path, signed, PixelRepresentation=1)
    assert np.array_equal(read(tmp_path).array, np.where(where, -2000, pixels) - 1024)


def test_padding_that_may_be_tissue_stays_and_is_said(tmp_path: Path) -> None:
    pixels, where = padded()
    write_slices(tmp_path, np.where(where, 0, pixels), PixelPaddingValue=0, RescaleIntercept=0)
    with pytest.warns(UserWarning, match=r"15 voxels .* hold the padding value of its header \(0\); they were left"):
        assert np.array_equal(read_volume(tmp_path).array, np.where(where, 0, pixels))


def test_padding_of_other_modalities(tmp_path: Path) -> None:
    """Where no value means air, padding stays: 0 without a word, anything else with one."""
    pixels, where = padded()
    fields = {"Modality": "MR", "RescaleIntercept": None, "RescaleSlope": None}
    write_slices(tmp_path, np.where(where, 0, pixels), PixelPaddingValue=0, **fields)
    assert np.array_equal(read(tmp_path).array, np.where(where, 0, pixels))
    write_slices(tmp_path, np.where(where, 63536, pixels), PixelPaddingValue=63536, **fields)
    with pytest.warns(UserWarning, match=r"15 voxels .* \(63536\); they were left"):
        assert np.array_equal(read_volume(tmp_path).array, np.where(where, 63536, pixels))
