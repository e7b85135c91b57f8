"""NRRD by its format: encodings, data files, spaces and units, or one sentence."""

from __future__ import annotations

import bz2
import gzip
import warnings
from pathlib import Path

import numpy as np
import pytest
from diffusion_engine.io.images import read_array, read_volume
from diffusion_engine.volume import Volume

VALUES = np.arange(24, dtype="<i2").reshape(2, 3, 4) - 7
DIRECTIONS = "space directions: (.7,0,0) (0,.8,0) (0,0,2.5)\nspace origin: (1,2,3)"
PLACE = f"space: left-posterior-superior\n{DIRECTIONS}"
LPS = np.array([[-0.7, 0, 0, -1], [0, -0.8, 0, -2], [0, 0, 2.5, 3]])
BASE = "type: short\ndimension: 3\nsizes: 4 3 2\nendian: little"


def write(path: Path, fields: str, data: bytes = VALUES.tobytes(), base: str = BASE) -> Path:
    path.write_bytes(f"NRRD0004\n# a comment\n{base}\n{fields}\n\n".encode() + data)
    return path


def read(path: Path) -> Volume:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return read_volume(path)


@pytest.mark.parametrize(
    ("encoding", "data"),
    [
        ("raw", VALUES.tobytes()),
        # Without the time of day: all test processes must find the same data.
        ("gzip", gzip.compress(VALUES.tobytes(), mtime=0)),
        ("gz", gzip.compress(VALUES.tobytes()[:20], mtime=0) + gzip.compress(VALUES.tobytes()[20:], mtime=0)),
        ("bzip2", bz2.compress(VALUES.tobytes())),
        ("ascii", " ".join(map(str, VALUES.ravel())).encode()),
        ("txt", "\n".join(map(str, VALUES.ravel())).encode() + b"\n"),
        ("hex", VALUES.tobytes().hex().encode() + b"\n"),
    ],
)
def test_encodings(tmp_path: Path, encoding: str, data: bytes) -> None:
    def check(path: Path) -> None:
        volume = read(path)
        assert volume.array.dtype == np.int16
        assert np.array_equal(volume.array, VALUES)
        np.testing.assert_allclose(volume.ijk_to_ras[:3], LPS)

    check(write(tmp_path / "a.nrrd", f"encoding: {encoding}\n{PLACE}", data))
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a b.data").write_bytes(b"first\nsecond\n" + data)
    check(write(tmp_path / "a.nhdr", f"encoding: {encoding}\n{PLACE}\nline skip: 2\ndata file: sub/a b.data", b""))
    header = (tmp_path / "a.nhdr").read_bytes().replace(b"\n", b"\r\n").rstrip(b"\r\n")  # no blank line, another end
    (tmp_path / "b.nhdr").write_bytes(header)
    check(tmp_path / "b.nhdr")


def test_bytes_passed_over(tmp_path: Path) -> None:
    raw = VALUES.tobytes()
    (tmp_path / "d").write_bytes(b"12345" + raw + b"67")
    (tmp_path / "z").write_bytes(gzip.compress(b"12345" + raw))
    for fields in (
        "encoding: raw\nbyte skip: 5\ndata file: d",
        "encoding: raw\nbyteskip: -3\ndatafile: d",  # counted from the end, where two other bytes follow
        "encoding: gzip\nbyte skip: 5\ndata file: z",  # of the unpacked bytes
    ):
        assert np.array_equal(read(write(tmp_path / "x.nhdr", f"{PLACE}\n{fields}", b"")).array, VALUES)


def test_slices_in_files(tmp_path: Path) -> None:
    for k, values in enumerate(VALUES):
        (tmp_path / f"s{k + 1:02d}.raw").write_bytes(values.tobytes())
    (tmp_path / "all.raw").write_bytes(VALUES.tobytes())
    for source in (
        "LIST\ns01.raw\ns02.raw", "LIST 2\ns01.raw\ns02.raw", "LIST 3\ns01.raw\ns02.raw", "LIST 3\nall.raw",
        "s%02d.raw 1 2 1", "s%02d.raw 1 2 1 2",
    ):
        volume = read(write(tmp_path / "x.nhdr", f"{PLACE}\nencoding: raw\ndata file: {source}", b""))
        assert np.array_equal(volume.array, VALUES)
    backwards = read(write(tmp_path / "x.nhdr", f"{PLACE}\nencoding: raw\ndata file: s%02d.raw 2 1 -1", b""))
    assert np.array_equal(backwards.array, VALUES[::-1])


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("int8", "i1"), ("unsigned char", "u1"), ("short", "i2"), ("uint16", "u2"), ("int", "i4"), ("uint32_t", "u4"),
        ("long long int", "i8"), ("unsigned long long", "u8"), ("float", "f4"), ("double", "f8"),
    ],
)
def test_every_type_is_kept(tmp_path: Path, name: str, kind: str, order: str) -> None:
    values = (np.arange(24) * 5).astype(kind).reshape(2, 3, 4)
    if kind[0] == "f":
        values[0, 0, 0] = np.nan
    base = BASE.replace("short", name).replace("little", "big" if order == ">" else "little")
    for encoding, data in (
        ("raw", values.astype(order + kind).tobytes()),
        ("text", " ".join(map(str, values.ravel().tolist())).encode()),
    ):
        found = read(write(tmp_path / "x.nrrd", f"encoding: {encoding}\n{PLACE}", data, base)).array
        assert found.dtype == np.dtype(kind)
        assert np.array_equal(found, values, equal_nan=kind[0] == "f")


@pytest.mark.parametrize(
    ("space", "signs"),
    [
        ("left-posterior-superior", (-1, -1, 1)), ("LPS", (-1, -1, 1)), ("right-anterior-superior", (1, 1, 1)),
        ("RAS", (1, 1, 1)), ("left-anterior-superior", (-1, 1, 1)),
    ],
)
def test_spaces_of_the_patient(tmp_path: Path, space: str, signs: tuple[int, ...]) -> None:
    path = write(tmp_path / "x.nrrd", f"space: {space}\nencoding: raw\n{DIRECTIONS}")
    stated = np.array([[0.7, 0, 0, 1], [0, 0.8, 0, 2], [0, 0, 2.5, 3]])
    np.testing.assert_allclose(read(path).ijk_to_ras[:3], stated * np.array(signs)[:, None])


@pytest.mark.parametrize("unit", ["um", "micrometers", "m", "cm", "mm", "", "???"])
def test_units_of_length(tmp_path: Path, unit: str) -> None:
    n = {"um": 1e3, "micrometers": 1e3, "m": 1e-3, "cm": 0.1}.get(unit, 1.0)
    units = f'"{unit}" "{unit}" "{unit}"'
    vectors = f"({0.7 * n},0,0) (0,{0.8 * n},0) (0,0,{2.5 * n})\nspace origin: ({n},{2 * n},{3 * n})"
    path = write(tmp_path / "x.nrrd", f"encoding: raw\nspace: LPS\nspace directions: {vectors}\nspace units: {units}")
    np.testing.assert_allclose(read(path).ijk_to_ras[:3], LPS)
    write(path, f"encoding: raw\nspacings: {0.7 * n} {0.8 * n} {2.5 * n}\nunits: {units}")
    with pytest.warns(UserWarning, match="states no orientation"):
        assert read_volume(path).spacing_mm == pytest.approx((0.7, 0.8, 2.5))


@pytest.mark.parametrize(
    "space", ["space: 3D-right-handed\n", "space: scanner-xyz\n", "space dimension: 3\n"]
)
def test_missing_orientation_is_said(tmp_path: Path, space: str) -> None:
    path = write(tmp_path / "x.nrrd", f"encoding: raw\n{space}{DIRECTIONS}")
    with pytest.warns(UserWarning, match="states no orientation in the patient"):
        np.testing.assert_allclose(read_volume(path).ijk_to_ras[:3], LPS)


@pytest.mark.parametrize(
    ("fields", "says", "spacing", "corner"),
    [
        ("spacings: .7 .8 2.5", "states no orientation", (0.7, 0.8, 2.5), (0, 0, 0)),
        ("spacings: .7 .8 2.5\naxis mins: 1 2 3", "states no orientation", (0.7, 0.8, 2.5), (-1.35, -2.4, 4.25)),
        ("axis mins: 1 2 3\naxis maxs: 3 5 7", "states no orientation", (0.5, 1, 2), (-1.25, -2.5, 4)),
        (
            "axis mins: 1 2 3\naxis maxs: 4 4 4\ncenterings: node node node",
            "states no orientation", (1, 1, 1), (-1, -2, 3),
        ),
        ("content: x", "states no voxel size; it was taken as 1 mm", (1, 1, 1), (0, 0, 0)),
        ("spacings: .7 .8 nan", "states no voxel size", (0.7, 0.8, 1), (0, 0, 0)),
    ],
)
def test_plain_headers(
    tmp_path: Path, fields: str, says: str, spacing: tuple[float, ...], corner: tuple[float, ...]
) -> None:
    path = write(tmp_path / "x.nrrd", f"encoding: raw\n{fields}")
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        volume = read_volume(path)
    assert says in " ".join(str(w.message) for w in said)
    assert volume.spacing_mm == pytest.approx(spacing)
    assert volume.origin == pytest.approx(corner)


def test_quantised_numbers_are_said(tmp_path: Path) -> None:
    path = write(tmp_path / "x.nrrd", f"encoding: raw\nold min: -1000\n{PLACE}")
    with pytest.warns(UserWarning, match="numbers that were quantised"):
        read_volume(path)


def test_what_means_nothing_for_a_scalar_image_is_passed_over(tmp_path: Path) -> None:
    extra = "measurement frame: (1,0,0) (0,1,0) (0,0,1)\nthicknesses: nan nan 9\ncenterings: cell cell node"
    volume = read(write(tmp_path / "x.nrrd", f"encoding: raw\n{PLACE}\n{extra}"))
    np.testing.assert_allclose(volume.ijk_to_ras[:3], LPS)


@pytest.mark.parametrize(
    ("sizes", "kinds", "directions"),
    [("1 4 3 2", "vector domain domain domain", "none {}"), ("4 3 2 1", "domain domain domain list", "{} none")],
)
def test_axis_of_one_channel_is_left_out(tmp_path: Path, sizes: str, kinds: str, directions: str) -> None:
    base = BASE.replace("4 3 2", sizes).replace("dimension: 3", "dimension: 4")
    place = PLACE.replace("(.7,0,0) (0,.8,0) (0,0,2.5)", directions.format("(.7,0,0) (0,.8,0) (0,0,2.5)"))
    volume = read(write(tmp_path / "x.nrrd", f"encoding: raw\nkinds: {kinds}\n{place}", base=base))
    assert np.array_equal(volume.array, VALUES)
    np.testing.assert_allclose(volume.ijk_to_ras[:3], LPS)


def test_one_slice_in_space(tmp_path: Path) -> None:
    base = BASE.replace("4 3 2", "4 6").replace("dimension: 3", "dimension: 2")
    coronal = "space: LPS\nspace directions: (.5,0,0) (0,0,-.6)\nspace origin: (1,2,3)"
    matrix = read(write(tmp_path / "x.nrrd", f"encoding: raw\n{coronal}", base=base)).ijk_to_ras
    np.testing.assert_allclose(matrix[:3], [[-0.5, 0, 0, -1], [0, 0, 1, -2], [0, -0.6, 0, 3]])
    flat = "space dimension: 2\nspace directions: (.5,0) (0,.6)\nspace origin: (1,2)"
    matrix = read(write(tmp_path / "x.nrrd", f"encoding: raw\n{flat}", base=base)).ijk_to_ras
    np.testing.assert_allclose(matrix[:3], [[-0.5, 0, 0, -1], [0, -0.6, 0, -2], [0, 0, 1, 0]])


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        (PLACE, "as encoding of"),
        (f"encoding: lzma\n{PLACE}", "as encoding of .*found 'lzma'"),
        (f"encoding: raw\nspace: 3D-left-handed\n{DIRECTIONS}", "found 3d-left-handed, which may mirror it"),
        ("encoding: raw\nspacings: .7 0 2.5", "positive voxel sizes in .*found 0.7 x 0 x 2.5"),
        ("encoding: raw\nspacings: -.7 .8 2.5", "positive voxel sizes"),
        ("encoding: raw\nspacings: .7 .8", "3 numbers as 'spacings'"),
        (f"encoding: raw\n{PLACE.replace('(0,.8,0)', '(0,0,0)')}", "positive voxel sizes"),
        (f"encoding: raw\n{PLACE.replace('(0,.8,0)', '(0,nan,0)')}", "3 finite numbers"),
        (f"encoding: raw\n{PLACE.replace('(0,.8,0)', '(0,.8)')}", "3 finite numbers"),
        (f"encoding: raw\n{PLACE.replace('(1,2,3)', '(1,2,inf)')}", "3 finite numbers"),
        (f"encoding: raw\n{PLACE.replace('(0,.8,0)', '(0,.8,.2)')}", r"sheared by 14\.04 degrees"),
        (f'encoding: raw\n{PLACE}\nspace units: "px" "px" "px"', "a unit of length in .*found 'px'"),
        (f'encoding: raw\n{PLACE}\nspace units: "mm" "mm"', "3 space units"),
        (f"encoding: raw\n{PLACE}\nkinds: domain domain", "of 3 axes in"),
        (f"encoding: raw\n{PLACE}\nkinds: domain domain time", "one time point"),
        (f"encoding: raw\n{PLACE}\nkinds: domain domain RGB-color", r"found 2 \(colour or vector"),
        (f"encoding: raw\n{PLACE}\nkinds: complex domain domain", "real voxels"),
        (f"encoding: gzip\nbyte skip: -1\n{PLACE}", "byte skip -1"),
        (f"encoding: raw\nthis is no field\n{PLACE}", "a header line 'this is no field'"),
        (f"encoding: ascii\n{PLACE}", "text that is not whole numbers"),
        (f"encoding: hex\n{PLACE}", "not hexadecimal digits"),
        (f"encoding: gzip\n{PLACE}", "a compressed stream that is damaged"),
        (f"encoding: bzip2\n{PLACE}", "a compressed stream that is damaged"),
    ],
)
def test_refuses(tmp_path: Path, fields: str, says: str) -> None:
    path = write(tmp_path / "x.nrrd", fields, b"x" * 200)
    with pytest.raises(ValueError, match=says) as caught:
        read(path)
    assert "x.nrrd" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("\nendian: little", "", "endian: little or big"),
        ("short", "block", "the type 'block'"),
        ("4 3 2", "4 3", "3 whole numbers as 'sizes'"),
        ("4 3 2", "4 0 2", "axes of 4 x 0 x 2 voxels"),
        ("4 3 2", "4 -3 -2", "axes of 4 x -3 x -2 voxels"),
        ("dimension: 3\n", "", "a whole number as 'dimension'"),
    ],
)
def test_refuses_bad_sizes_and_types(tmp_path: Path, old: str, new: str, says: str) -> None:
    path = write(tmp_path / "x.nrrd", f"encoding: raw\n{PLACE}", base=BASE.replace(old, new))
    with pytest.raises(ValueError, match=says):
        read(path)


def test_a_field_stated_twice(tmp_path: Path) -> None:
    """Two statements that differ are no image; the same words twice are one."""
    for field in ("sizes: 3 4 2", "space directions: (.8,0,0) (0,.8,0) (0,0,2.5)"):
        with pytest.raises(ValueError, match=f"found two statements of '{field.partition(':')[0]}' in its header"):
            read_volume(write(tmp_path / "a.nrrd", f"encoding: raw\n{PLACE}\n{field}"))
    assert np.array_equal(read(write(tmp_path / "a.nrrd", f"encoding: raw\n{PLACE}\nsizes: 4 3 2")).array, VALUES)


def test_text_outside_the_type_is_refused(tmp_path: Path) -> None:
    for base, text in ((BASE, "40000"), (BASE.replace("short", "uchar"), "-1"), (BASE, "1.5")):
        path = write(tmp_path / "x.nrrd", f"encoding: text\n{PLACE}", f"{text} ".encode() * 24, base)
        with pytest.raises(ValueError, match=r"outside int16|not whole numbers"):
            read(path)


def test_an_array_needs_no_place(tmp_path: Path) -> None:
    path = write(tmp_path / "x.nrrd", f"encoding: raw\n{PLACE.replace('(0,.8,0)', '(0,0,0)')}")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.array_equal(read_array(path), VALUES)
