"""MetaImage by its format: data files, scaling, axes and units, or one sentence."""

from __future__ import annotations

import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from diffusion_engine.io.images import read_volume
from diffusion_engine.volume import Volume

VALUES = np.arange(24, dtype="<i2").reshape(2, 3, 4) - 7
PLACE = "TransformMatrix = 1 0 0 0 1 0 0 0 1\nOffset = 1 2 3\nElementSpacing = .7 .8 2.5"
LPS = np.array([[-0.7, 0, 0, -1], [0, -0.8, 0, -2], [0, 0, 2.5, 3]])


def write(path: Path, fields: str, data: bytes = VALUES.tobytes(), source: str = "LOCAL", kind: str = "SHORT") -> Path:
    head = f"ObjectType = Image\nNDims = 3\nDimSize = 4 3 2\nElementType = MET_{kind}\n{fields}\n"
    path.write_bytes(f"{head}ElementDataFile = {source}\n".encode() + data)
    return path


def read(path: Path) -> Volume:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return read_volume(path)


def check(path: Path) -> None:
    volume = read(path)
    assert volume.array.dtype == np.int16
    assert np.array_equal(volume.array, VALUES)
    np.testing.assert_allclose(volume.ijk_to_ras[:3], LPS)


@pytest.mark.parametrize(
    ("fields", "data"),
    [
        ("", VALUES.tobytes()),
        ("CompressedData = True", zlib.compress(VALUES.tobytes())),
        ("CompressedData = True\nCompressedDataSize = 60", zlib.compress(VALUES.tobytes()) + b"\n"),
        ("BinaryData = False", " ".join(map(str, VALUES.ravel())).encode()),
        ("BinaryDataByteOrderMSB = True", VALUES.astype(">i2").tobytes()),
        ("ElementByteOrderMSB = True", VALUES.astype(">i2").tobytes()),
    ],
)
def test_encodings(tmp_path: Path, fields: str, data: bytes) -> None:
    check(write(tmp_path / "x.mha", f"{fields}\n{PLACE}", data))
    (tmp_path / "a b.raw").write_bytes(data)
    check(write(tmp_path / "x.mhd", f"{fields}\n{PLACE}", b"", "a b.raw"))


def test_bytes_passed_over(tmp_path: Path) -> None:
    (tmp_path / "d.raw").write_bytes(b"12345" + VALUES.tobytes())
    check(write(tmp_path / "x.mhd", f"HeaderSize = 5\n{PLACE}", b"", "d.raw"))
    check(write(tmp_path / "x.mhd", f"HeaderSize = -1\n{PLACE}", b"", "d.raw"))
    check(write(tmp_path / "x.mha", f"HeaderSize = -1\n{PLACE}", b"12345" + VALUES.tobytes()))
    (tmp_path / "d.zraw").write_bytes(b"12345" + zlib.compress(VALUES.tobytes()))
    check(write(tmp_path / "x.mhd", f"HeaderSize = 5\nCompressedData = True\n{PLACE}", b"", "d.zraw"))


def test_slices_in_files(tmp_path: Path) -> None:
    for k, values in enumerate(VALUES):
        (tmp_path / f"s{k + 1:02d}.raw").write_bytes(values.tobytes())
    check(write(tmp_path / "x.mhd", PLACE, b"s01.raw\ns02.raw\n", "LIST"))
    check(write(tmp_path / "x.mhd", PLACE, b"s01.raw\r\ns02.raw", "LIST 2"))
    check(write(tmp_path / "x.mhd", PLACE, b"", "s%02d.raw 1 2 1"))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("CHAR", "i1"), ("UCHAR", "u1"), ("SHORT", "i2"), ("USHORT", "u2"), ("INT", "i4"), ("ULONG", "u4"),
        ("LONG_LONG", "i8"), ("ULONG_LONG", "u8"), ("FLOAT", "f4"), ("DOUBLE", "f8"),
    ],
)
def test_every_type_is_kept(tmp_path: Path, name: str, kind: str, order: str) -> None:
    values = (np.arange(24) * 5).astype(kind).reshape(2, 3, 4)
    fields = f"BinaryDataByteOrderMSB = {order == '>'}\n{PLACE}"
    found = read(write(tmp_path / "x.mha", fields, values.astype(order + kind).tobytes(), kind=name)).array
    assert found.dtype == np.dtype(kind)
    assert np.array_equal(found, values)


def test_scaling_is_applied(tmp_path: Path) -> None:
    scaling = "ElementToIntensityFunctionSlope = 0.5\nElementToIntensityFunctionOffset = -1024"
    found = read(write(tmp_path / "x.mha", f"{scaling}\n{PLACE}")).array
    assert found.dtype == np.float32
    assert np.array_equal(found, 0.5 * VALUES - 1024)


@pytest.mark.parametrize(("unit", "factor"), [("um", 1e3), ("mm", 1.0), ("?", 1.0), ("cm", 0.1), ("m", 1e-3)])
def test_units_of_length(tmp_path: Path, unit: str, factor: float) -> None:
    place = (
        f"TransformMatrix = 1 0 0 0 1 0 0 0 1\nPosition = {factor} {2 * factor} {3 * factor}\n"
        f"ElementSpacing = {0.7 * factor} {0.8 * factor} {2.5 * factor}\nDistanceUnits = {unit}"
    )
    check(write(tmp_path / "x.mha", place))


def test_rows_of_the_matrix_are_the_axes(tmp_path: Path) -> None:
    place = "Rotation = 0 1 0 0 0 1 1 0 0\nOrigin = 1 2 3\nElementSpacing = .7 .8 2.5\nAnatomicalOrientation = AIR"
    matrix = read(write(tmp_path / "x.mha", place)).ijk_to_ras
    np.testing.assert_allclose(matrix[:3], [[0, 0, -2.5, -1], [-0.7, 0, 0, -2], [0, 0.8, 0, 3]])


@pytest.mark.parametrize("letters", ["RAI", "LPS", "???", ""])
def test_letters_of_orientation_that_agree(tmp_path: Path, letters: str) -> None:
    check(write(tmp_path / "x.mha", f"{PLACE}\nAnatomicalOrientation = {letters}\nElementSize = 1 1 9"))


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ("ElementSpacing = .7 .8 2.5\nOffset = 1 2 3", "states no orientation in the patient"),
        (f"{PLACE}\nAnatomicalOrientation = LAI", "states the orientation LAI, which its matrix does not have"),
        ("ElementSpacing = .7 .8 2.5\nOffset = 1 2 3\nAnatomicalOrientation = RIA", "states the orientation RIA"),
        ("ElementSize = .7 .8 2.5\nOffset = 1 2 3", "states no orientation"),
    ],
)
def test_doubts_are_said(tmp_path: Path, fields: str, says: str) -> None:
    write(tmp_path / "x.mha", fields)
    with pytest.warns(UserWarning, match=says):
        np.testing.assert_allclose(read_volume(tmp_path / "x.mha").ijk_to_ras[:3], LPS)


def test_missing_voxel_size_is_said(tmp_path: Path) -> None:
    write(tmp_path / "x.mha", "TransformMatrix = 1 0 0 0 1 0 0 0 1")
    with pytest.warns(UserWarning, match="states no voxel size; it was taken as 1 mm"):
        assert read_volume(tmp_path / "x.mha").spacing_mm == (1.0, 1.0, 1.0)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        (PLACE.replace(".8", "0"), "positive voxel sizes in .*found 0.7 x 0 x 2.5"),
        (PLACE.replace(".8", "-.8"), "positive voxel sizes"),
        (PLACE.replace("1 0 0 0 1 0 0 0 1", "2 0 0 0 2 0 0 0 2"), "unit vectors as TransformMatrix .*lengths 2 2 2"),
        (PLACE.replace("1 0 0 0 1 0 0 0 1", "1 0 0 0 .98 .199 0 0 1"), "sheared by 11.48 degrees"),
        (PLACE.replace("1 0 0 0 1 0 0 0 1", "1 0 0 0 1 0"), "9 numbers as 'TransformMatrix'"),
        (
            f"{PLACE.replace('1 0 0 0 1 0 0 0 1', '0 1 0 0 0 1 1 0 0')}\nCenterOfRotation = 5 6 7",
            "CenterOfRotation 0 in .*found 5 6 7",
        ),
        (f"{PLACE}\nDistanceUnits = px", "a unit of length .*found 'px'"),
        (f"{PLACE}\nElementToIntensityFunctionSlope = 0", "other than 0 .*found 0"),
        (f"{PLACE}\nElementToIntensityFunctionOffset = nan", "offset nan"),
        (f"{PLACE}\nElementNumberOfChannels = 3", "colour or vector"),
        (f"{PLACE}\nElementType = MET_LONG_DOUBLE", "found the type 'MET_LONG_DOUBLE'"),
        (f"{PLACE}\nDimSize = 4 3", "3 whole numbers as 'DimSize'"),
        (f"{PLACE}\nDimSize = 4 -3 -2", "axes of 4 x -3 x -2"),
        (f"{PLACE}\nNDims = 4\nDimSize = 4 3 1 2", "one time point"),
        (f"{PLACE}\nObjectType = Tube", "no MetaImage header"),
        (f"{PLACE}\nCompressedData = True", "a compressed stream that is damaged"),
        (f"{PLACE}\nBinaryData = False", "text that is not whole numbers"),
        (f"{PLACE}\nHeaderSize = -2", "HeaderSize = -2"),
    ],
)
def test_refuses(tmp_path: Path, fields: str, says: str) -> None:
    path = write(tmp_path / "x.mha", fields, b"x" * 48)
    with pytest.raises(ValueError, match=says) as caught:
        read(path)
    assert "x.mha" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_centre_of_rotation_of_no_rotation_is_nothing(tmp_path: Path) -> None:
    check(write(tmp_path / "x.mha", f"{PLACE}\nCenterOfRotation = 5 6 7"))
