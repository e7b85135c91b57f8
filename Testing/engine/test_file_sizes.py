"""Files that hold less or more than their header says, or claim what cannot be: refused before anything is read."""

from __future__ import annotations

import bz2
import gzip
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from diffusion_engine import memory
from diffusion_engine.io import voxels
from diffusion_engine.io.images import read_volume
from diffusion_engine.volume import Volume
from nifti_files import write_nifti

VALUES = np.arange(24, dtype="<i2").reshape(2, 3, 4)
RAW = VALUES.tobytes()
PLACE = "space: LPS\nspace directions: (1,0,0) (0,1,0) (0,0,1)"
TURN = "TransformMatrix = 1 0 0 0 1 0 0 0 1\nElementSpacing = 1 1 1"


def nrrd(path: Path, data: bytes, sizes: str = "4 3 2", encoding: str = "raw", fields: str = "") -> None:
    head = f"NRRD0004\ntype: short\ndimension: 3\nsizes: {sizes}\nendian: little\nencoding: {encoding}\n{PLACE}\n"
    path.write_bytes(f"{head}{fields}\n".encode() + data)


def meta(path: Path, data: bytes, sizes: str = "4 3 2", fields: str = "", source: str = "LOCAL") -> None:
    head = f"ObjectType = Image\nNDims = 3\nDimSize = {sizes}\nElementType = MET_SHORT\n{TURN}\n{fields}"
    path.write_bytes(f"{head}ElementDataFile = {source}\n".encode() + data)


def refused(path: Path, says: str, most: float = 8e6) -> None:
    """The file is refused in one sentence that names it, with little memory on the way."""
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=says) as caught:
            read_volume(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert path.stem in str(caught.value)
    assert "\n" not in str(caught.value)
    assert peak < most


HUGE = "60000 60000 60000"


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("x.nrrd", lambda p: nrrd(p, RAW, HUGE)),
        ("x.nrrd", lambda p: nrrd(p, gzip.compress(RAW), HUGE, "gzip")),
        ("x.nrrd", lambda p: nrrd(p, b"1 2 3", HUGE, "ascii")),
        ("x.nrrd", lambda p: nrrd(p, b"0102", HUGE, "hex")),
        ("x.nrrd", lambda p: nrrd(p, RAW, "2000000000 2000000000 2000000000")),
        ("x.mha", lambda p: meta(p, RAW, HUGE)),
        ("x.mha", lambda p: meta(p, zlib.compress(RAW), HUGE, "CompressedData = True\n")),
        ("x.nii", lambda p: write_nifti(p, VALUES, dim=(3, 30000, 30000, 30000))),
        ("x.nii.gz", lambda p: write_nifti(p, VALUES, dim=(3, 30000, 30000, 30000))),
        ("x.nii.gz", lambda p: write_nifti(p, VALUES, start=2.0**40)),
        ("x.nii", lambda p: write_nifti(p, VALUES, version=2, dim=(3, 2**40, 2**40, 2**40))),
    ],
)
def test_claims_that_the_file_cannot_hold(tmp_path: Path, name: str, write: Callable[[Path], None]) -> None:
    write(tmp_path / name)
    refused(tmp_path / name, "of [0-9]+ bytes: copy|cannot hold", 2e6)


@pytest.mark.parametrize("encoding", ["raw", "gzip", "bzip2", "ascii", "hex"])
@pytest.mark.parametrize("detached", [False, True])
def test_short_nrrd(tmp_path: Path, encoding: str, detached: bool) -> None:
    packers = {
        "raw": bytes, "gzip": gzip.compress, "bzip2": bz2.compress, "hex": lambda b: b.hex().encode(),
        "ascii": lambda b: " ".join(map(str, np.frombuffer(b, "<i2"))).encode(),
    }
    pack = packers[encoding]
    broken = [pack(RAW[:-2])] + ([pack(RAW)[:-6]] if encoding not in ("ascii", "hex") else [])
    for data in broken:
        name = "x.nhdr" if detached else "x.nrrd"
        (tmp_path / "x.data").write_bytes(data)
        nrrd(tmp_path / name, b"" if detached else data, encoding=encoding,
             fields="data file: x.data\n" if detached else "")
        refused(tmp_path / name, "expected a complete image in")


def test_short_data_files(tmp_path: Path) -> None:
    for n in (1, 2):
        (tmp_path / f"x{n}.raw").write_bytes(RAW[: 24 if n == 1 else 20])
    (tmp_path / "x.raw").write_bytes(RAW[:-1])
    nrrd(tmp_path / "x.nhdr", b"x1.raw\nx2.raw\n", fields="data file: LIST\n")
    # A header's blank line ends it, so the list stands before.
    (tmp_path / "x.nhdr").write_bytes((tmp_path / "x.nhdr").read_bytes().replace(b"LIST\n\n", b"LIST\n"))
    refused(tmp_path / "x.nhdr", "20 of 24 bytes")
    nrrd(tmp_path / "x.nhdr", b"", fields="byte skip: -1\ndata file: x.raw\n")
    refused(tmp_path / "x.nhdr", "47 of 48 bytes")
    nrrd(tmp_path / "x.nhdr", b"", fields="byte skip: 4\ndata file: x.raw\n")
    refused(tmp_path / "x.nhdr", "47 of 52 bytes")
    nrrd(tmp_path / "x.nhdr", b"", fields="line skip: 3\ndata file: x.raw\n")
    refused(tmp_path / "x.nhdr", "fewer lines")
    meta(tmp_path / "x.mhd", b"", source="x%d.raw 1 2 1")
    refused(tmp_path / "x.mhd", "20 of 24 bytes")
    meta(tmp_path / "x.mhd", b"x1.raw\nx2.raw", source="LIST")
    refused(tmp_path / "x.mhd", "20 of 24 bytes")
    meta(tmp_path / "x.mhd", b"", fields="HeaderSize = 4\n", source="x.raw")
    refused(tmp_path / "x.mhd", "47 of 52 bytes")
    meta(tmp_path / "x.mhd", b"", fields="HeaderSize = -1\n", source="x.raw")
    refused(tmp_path / "x.mhd", "47 of 48 bytes")


@pytest.mark.parametrize("packed", [False, True])
def test_short_metaimage(tmp_path: Path, packed: bool) -> None:
    for data in (zlib.compress(RAW[:-2]), zlib.compress(RAW)[:-6]) if packed else (RAW[:-1],):
        meta(tmp_path / "x.mha", data, fields=f"CompressedData = {packed}\n")
        refused(tmp_path / "x.mha", "expected a complete image in")


@pytest.mark.parametrize("encoding", ["gzip", "bzip2"])
def test_stream_that_unpacks_to_far_more(tmp_path: Path, encoding: str) -> None:
    pack = {"gzip": gzip.compress, "bzip2": bz2.compress}[encoding]
    bomb = pack(RAW + bytes(16_000_000))
    assert len(bomb) < 20_000
    nrrd(tmp_path / "x.nrrd", bomb, encoding=encoding)
    refused(tmp_path / "x.nrrd", "expected 48 bytes of voxels in .*found far more")
    (tmp_path / "x.data").write_bytes(bomb)
    nrrd(tmp_path / "x.nhdr", b"", encoding=encoding, fields="data file: x.data\n")
    refused(tmp_path / "x.nhdr", "found far more")


def test_nifti_that_unpacks_to_far_more(tmp_path: Path) -> None:
    content = write_nifti(tmp_path / "x.nii", VALUES)
    (tmp_path / "x.nii.gz").write_bytes(gzip.compress(content + bytes(16_000_000)))
    refused(tmp_path / "x.nii.gz", "found far more")
    (tmp_path / "x.nii").write_bytes(content + bytes(2_000_000))
    refused(tmp_path / "x.nii", "found far more")


def test_metaimage_that_unpacks_to_far_more(tmp_path: Path) -> None:
    meta(tmp_path / "x.mha", zlib.compress(RAW + bytes(16_000_000)), fields="CompressedData = True\n")
    refused(tmp_path / "x.mha", "found far more")


def test_padding_is_no_fault(tmp_path: Path) -> None:
    content = write_nifti(tmp_path / "x.nii", VALUES)
    (tmp_path / "x.nii").write_bytes(content + bytes(1000))
    (tmp_path / "x.nii.gz").write_bytes(gzip.compress(content[:100]) + gzip.compress(content[100:]) + bytes(1000))
    nrrd(tmp_path / "x.nrrd", RAW + b"\n")
    (tmp_path / "x.raw").write_bytes(RAW + bytes(3_000_000))  # a data file may hold other images too
    nrrd(tmp_path / "x.nhdr", b"", fields="data file: x.raw\n")
    meta(tmp_path / "x.mhd", b"", source="x.raw")
    for name in ("x.nii", "x.nii.gz", "x.nrrd", "x.nhdr", "x.mhd"):
        assert np.array_equal(read_volume(tmp_path / name).array, VALUES), name


@pytest.mark.parametrize("name", ["../x.raw", "/{}/x.raw", "sub/../../x.raw", "C:\\x.raw", "..\\x.raw", "\\\\host\\x"])
def test_data_files_elsewhere(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (tmp_path / "x.raw").write_bytes(RAW)
    name = name.format(str(tmp_path).strip("/"))
    nrrd(folder / "x.nhdr", b"", fields=f"data file: {name}\n")
    refused(folder / "x.nhdr", "in the same folder, found .* points elsewhere")
    meta(folder / "x.mhd", b"", source=name)
    refused(folder / "x.mhd", "points elsewhere")
    meta(folder / "x.mhd", f"x1.raw\n{name}\n".encode(), source="LIST")
    refused(folder / "x.mhd", "points elsewhere")


def test_missing_data_files_and_wrong_numbers_of_them(tmp_path: Path) -> None:
    nrrd(tmp_path / "x.nhdr", b"", fields="data file: y.raw\n")
    refused(tmp_path / "x.nhdr", "x.raw|y.raw, found none")
    for fields, count in (("x%03d.raw 1 999999999 1", 3), ("x%03d.raw 1 1 1", 1), ("x%03d.raw 2 1 1", 0)):
        nrrd(tmp_path / "x.nhdr", b"", fields=f"data file: {fields}\n")
        refused(tmp_path / "x.nhdr", f"2 data files in .*found {count}")
        meta(tmp_path / "x.mhd", b"", source=fields)
        refused(tmp_path / "x.mhd", f"2 data files in .*found {count}")


def test_headers_without_an_end(tmp_path: Path) -> None:
    for name, start in (("x.nrrd", b"NRRD0004\n"), ("x.nhdr", b"NRRD0004\ndata file: x\n"), ("x.mha", b"NDims = 3\n")):
        (tmp_path / name).write_bytes(start + (b"# x = 1" + b" " * 5000 + b"\n") * 300)
        refused(tmp_path / name, "expected a complete image in", 2e7)


@pytest.mark.parametrize("name", ["x.nii", "x.nii.gz", "x.nrrd", "x.mha"])
def test_more_than_the_free_memory(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.zeros((10, 300, 300), np.int16)
    if "nii" in name:
        write_nifti(tmp_path / name, values)
    else:
        (nrrd if "nrrd" in name else meta)(tmp_path / name, values.tobytes(), "300 300 10")
    assert read_volume(tmp_path / name).array.shape == values.shape
    monkeypatch.setattr(memory, "free_memory_mb", lambda: 1.0)
    refused(tmp_path / name, r"free memory of 1 MB, found .*300 x 300 x 10 voxels \(2 MB\)")


def test_scaled_voxels_need_their_memory_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_nifti(tmp_path / "x.nii", np.zeros((10, 300, 300), np.int16), slope=2.0)
    monkeypatch.setattr(memory, "free_memory_mb", lambda: 4.0)
    refused(tmp_path / "x.nii", r"voxels \(5 MB\)")


def test_reading_holds_the_voxels_once(tmp_path: Path) -> None:
    values = np.broadcast_to(np.arange(40, dtype=np.int16)[:, None, None] * 3, (40, 256, 512)).copy()
    write_nifti(tmp_path / "x.nii.gz", values, ">")
    tracemalloc.start()
    volume: Volume = read_volume(tmp_path / "x.nii.gz")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert np.array_equal(volume.array, values)
    assert peak < values.nbytes + 6 * voxels.CHUNK
