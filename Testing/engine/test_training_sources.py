"""A folder of volumes as people have it: storage orders, pixels, DICOM of any name, and what else lies there."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from diffusion_engine.io import folder as walk
from diffusion_engine.io.folder import left_out, volumes_below
from diffusion_engine.io.images import write_volume
from diffusion_engine.training.import_prior import ImportRequest, slices_to_test
from diffusion_engine.training.run import describe_sources
from diffusion_engine.training.sources import as_source, load_sources, told
from diffusion_engine.training.units import LINE_INTEGRAL, rule_of
from diffusion_engine.volume import Volume
from test_images import straight, write_dicom
from test_upright import stored


def ct(slices: int = 3, rows: int = 24, columns: int = 24, spacing: tuple[float, ...] = (2.0, 2.0, 5.0)) -> Volume:
    """Standard axial slices: a body off the centre, every slice brighter than the one below."""
    array = np.full((slices, rows, columns), -1000.0, np.float32)
    for n in range(slices):
        array[n, rows // 4 : -rows // 3, columns // 3 : -columns // 4] = 20.0 + 10 * n
    return Volume(array, np.diag([-spacing[0], -spacing[1], spacing[2], 1.0]), "HU")


def test_every_storage_order_gives_the_same_network_values(tmp_path: Path) -> None:
    cube = ct(24, spacing=(2.0, 2.0, 2.0))
    orders = [((0, 1, 2), ()), ((0, 1, 2), (1,)), ((0, 1, 2), (0, 2)), ((2, 0, 1), (1,)), ((1, 0, 2), (0, 1, 2))]
    for n, (axes, flips) in enumerate(orders):
        write_volume(stored(cube, axes, flips), tmp_path / f"{n}{'.nii.gz' if n % 2 else '.nrrd'}")
    for unit in ("HU", LINE_INTEGRAL):
        sources, skipped = load_sources(tmp_path, unit=unit)
        assert skipped == []
        for source in sources:
            np.testing.assert_array_equal(source.values, sources[0].values)
            assert source.slice_mm == sources[0].slice_mm
            assert source.left_right == (unit == "HU")
    assert [s.made for s in sources] == ["", "", "", *["axial slices of another stack"] * 2]
    assert told(sources, ["x: y"]) == [
        "left out x: y", "3.nii.gz: axial slices of another stack", "4.nrrd: axial slices of another stack",
    ]
    entries = describe_sources(sources)
    assert "made" not in entries[0]
    assert entries[3]["made"] == "axial slices of another stack"
    held = slices_to_test(ImportRequest(Path("m"), "monai", "HU", 1000.0, data=tmp_path), rule_of("HU"))
    assert len(held) == len(orders)
    for source in held:
        np.testing.assert_array_equal(source.values, held[0].values)


def test_pixels_that_are_not_square_are_averaged_and_said(tmp_path: Path) -> None:
    """Bodies are as wide as they are tall afterwards; a sagittal stack of thick slices is left out with a reason."""
    wide = ct(2, 24, 48, (1.0, 2.0, 5.0))
    write_volume(wide, tmp_path / "a.nrrd")
    write_volume(stored(ct(24, 24, 8, (6.0, 2.0, 2.0)), (2, 0, 1), ()), tmp_path / "b.nrrd")
    (source,), skipped = load_sources(tmp_path)
    assert source.values.shape == (2, 24, 24)
    assert source.pixel_mm.tolist() == [2.0, 2.0]
    np.testing.assert_allclose(
        source.values.astype(float), wide.array.reshape(2, 24, 24, 2).mean(3) / 1000, atol=1e-3
    )
    assert source.made == "pixels of 2 x 1 mm averaged to squares of 2 mm"
    assert len(skipped) == 1
    assert "b.nrrd: expected axial slices" in skipped[0]
    assert "pixels of 2 x 6 mm" in skipped[0]
    with pytest.raises(ValueError, match="expected square pixels in a, found 2 x 1 mm"):
        as_source("a", wide)


def test_reasons_are_told_when_nothing_is_left(tmp_path: Path) -> None:
    raw = ct()
    for name in "abcde":
        write_volume(raw.with_array(raw.array + 1024), tmp_path / f"{name}.nrrd")
    with pytest.raises(ValueError, match=(
        r"no CT volume in HU below .* \(left out: a\.nrrd: These values from 24 to 1064 are nowhere negative.*; "
        r"b\.nrrd: .*; c\.nrrd: .*; and 2 more\): give"
    )):
        load_sources(tmp_path)
    (tmp_path / "none").mkdir()
    with pytest.raises(ValueError, match=r"no CT volume in HU below [^(]*: give DICOM, NRRD"):
        load_sources(tmp_path / "none")
    with pytest.raises(ValueError, match=r"no volume in HU to test on below .*left out: a\.nrrd: .*and 2 more"):
        slices_to_test(ImportRequest(Path("m"), "monai", "HU", 1000.0, data=tmp_path), rule_of("HU"))
    assert left_out([]) == ""


def test_what_else_lies_in_a_folder_is_passed_over_with_a_line(tmp_path: Path) -> None:
    place = tmp_path / "case"
    place.mkdir()
    write_volume(ct(), place / "ct.nrrd")
    write_volume(ct(), place / "pair.nrrd")
    (place / "slices.csv").write_text("subject,age\n1,50\n")
    for name in ("notes.txt", "thumb.png", "preview.jpg", "meta.json", "._ct.nrrd", "DICOMDIR"):
        (place / name).write_bytes(b"\0" * 128 + b"DICM" if name == "DICOMDIR" else b"something else")
    (place / "empty.nii.gz").touch()
    (place / "broken.nrrd").write_bytes(b"NRRD0004\nnot an image")
    (place / "gone.nrrd").symlink_to(place / "nowhere.nrrd")
    (tmp_path / "linked").symlink_to(place, target_is_directory=True)
    (tmp_path / ".git").mkdir()
    write_volume(ct(), tmp_path / ".git" / "ct.nrrd")
    image = place / "header.mhd"
    image.write_text(
        "ObjectType = Image\nNDims = 3\nDimSize = 2 2 2\nElementType = MET_UCHAR\nElementDataFile = header.raw\n"
    )
    (place / "header.raw").write_bytes(bytes(8))
    sources, skipped = load_sources(tmp_path)
    assert [s.name for s in sources] == ["case/ct.nrrd", "case/pair.nrrd"]
    assert all(s.slice_mm == 5.0 for s in sources)
    reasons = dict(line.split(": ", 1) for line in skipped)
    assert set(reasons) == {
        ".git", "linked", "case/._ct.nrrd", "case/broken.nrrd", "case/empty.nii.gz", "case/gone.nrrd",
        "case/header.mhd", "case/slices.csv",
    }
    assert reasons["case/._ct.nrrd"].startswith("neither .nrrd")
    assert reasons["case/._ct.nrrd"].endswith(", like DICOMDIR, meta.json, notes.txt and 2 more beside it")
    assert reasons["case/slices.csv"] == (
        "no table of slices of this software (it lacks the column pixel_mm_256), passed over"
    )
    assert "hidden folder" in reasons[".git"]
    assert "not followed" in reasons["linked"]
    assert reasons["case/empty.nii.gz"] == "an empty file"
    assert reasons["case/gone.nrrd"] == "a link to a file that does not exist"
    assert reasons["case/header.mhd"].startswith("All voxels are 0")
    # A pattern of file names asks for those alone.
    assert load_sources(tmp_path, files="ct*")[1] == [
        f"case/slices.csv: {reasons['case/slices.csv']}",
    ]


def test_what_cannot_be_entered_or_breaks_a_reader_is_a_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "shut").mkdir()
    write_volume(ct(), tmp_path / "a.nrrd")
    write_volume(ct(), tmp_path / "b.nrrd")
    scan, read = os.scandir, walk.read_volume

    def refused(path):
        if Path(path).name == "shut":
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    def breaking(path, *more):
        if path.name == "a.nrrd":
            raise KeyError("PixelData")
        return read(path, *more)

    monkeypatch.setattr(os, "scandir", refused)
    monkeypatch.setattr(walk, "read_volume", breaking)
    found = {place.as_posix(): volume for place, volume in volumes_below(tmp_path, "HU")}
    assert found["shut"] == "cannot be entered (Permission denied)"
    assert found["a.nrrd"] == "cannot be read (KeyError: 'PixelData')"
    assert isinstance(found["b.nrrd"], Volume)


@pytest.mark.parametrize("content", [b"\xff\xfe\x00broken", b"", b"pixel_mm\n1.5\n"])
def test_tables_of_others_do_not_count(tmp_path: Path, content: bytes) -> None:
    write_volume(ct(), tmp_path / "ct.nrrd")
    (tmp_path / "slices.csv").write_bytes(content)
    (source,), skipped = load_sources(tmp_path)
    assert source.slice_mm == 5.0
    assert len(skipped) == 1
    assert skipped[0].startswith("slices.csv: no table")


def test_own_tables_follow_their_slices_and_must_be_right(tmp_path: Path) -> None:
    """The rows are in the order of storage, also where slices run from superior to inferior."""
    for name, flips in (("up", ()), ("down", (0,))):
        (tmp_path / name).mkdir()
        write_volume(stored(ct(), (0, 1, 2), flips), tmp_path / name / "ct.nrrd")
        sizes = [1.3, 1.4, 1.5][:: -1 if flips else 1]
        table = "\ufeffpixel_mm_256\n" + "".join(f"{size}\n" for size in sizes)
        (tmp_path / name / "slices.csv").write_text(table, encoding="utf-8")
    down, up = load_sources(tmp_path)[0]
    assert up.pixel_mm.tolist() == down.pixel_mm.tolist() == [1.3, 1.4, 1.5]
    np.testing.assert_array_equal(up.values, down.values)
    assert (up.slice_mm, down.slice_mm) == (0.0, 0.0)
    (tmp_path / "up" / "slices.csv").write_text("pixel_mm_256\n1.3\n\n-1\n1.5\n")
    with pytest.raises(ValueError, match="expected a pixel size in mm in every row"):
        load_sources(tmp_path)
    (tmp_path / "up" / "slices.csv").write_text("pixel_mm_256\n1.3\n1.3\n1.3\n")
    write_volume(stored(ct(24, spacing=(2.0, 2.0, 2.0)), (2, 0, 1), ()), tmp_path / "down" / "ct.nrrd")
    (tmp_path / "down" / "slices.csv").write_text("pixel_mm_256\n" + "1.3\n" * 24)
    sources, skipped = load_sources(tmp_path)
    assert [s.name for s in sources] == ["up/ct.nrrd"]
    assert "beside slices.csv" in skipped[0]


def test_dicom_files_are_known_by_their_content(tmp_path: Path) -> None:
    stored_values = np.full((3, 16, 16), 24, np.int16)
    stored_values[:, 4:12, 5:11] = 1064
    write_dicom(tmp_path / "one", stored_values, straight(3))
    write_dicom(tmp_path / "two", stored_values, straight(3))
    for n, path in enumerate(sorted((tmp_path / "two").iterdir())):
        path.rename(path.with_name(f"IM{n:04d}" if n else "1.2.840.0"))
    (tmp_path / "two" / "README").write_text("about these files")
    sources, skipped = load_sources(tmp_path)
    assert [(s.name, len(s.values)) for s in sources] == [("one", 3), ("two", 3)]
    np.testing.assert_array_equal(sources[0].values, sources[1].values)
    assert len(skipped) == 1
    assert skipped[0].startswith("two/README: neither")
