"""Classic DICOM series: headers that differ or lack something, copies, files without an ending."""

from __future__ import annotations

import shutil
import struct
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from dicom_files import axial, header, save, stored, write_enhanced, write_slice, write_slices
from diffusion_engine.io.dicom import is_dicom, list_series
from diffusion_engine.io.images import read_volume, write_volume
from diffusion_engine.volume import Volume
from pydicom.uid import ComprehensiveSRStorage, MRSpectroscopyStorage, SegmentationStorage, generate_uid


def read(path: Path) -> Volume:
    """A volume that must come without a remark."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return read_volume(path)


def rewrite(path: Path, tag: int, before: bytes, after: bytes) -> None:
    """Replace the text of a field in a file by one of the same length, which pydicom would not write."""
    content = path.read_bytes()
    at = content.index(struct.pack("<HH", tag >> 16, tag & 0xFFFF))
    assert content[at + 8 :].startswith(before)
    assert len(before) == len(after)
    path.write_bytes(content[: at + 8] + after + content[at + 8 + len(before) :])


PIXEL_SPACING, POSITION, INTERCEPT = 0x00280030, 0x00200032, 0x00281052


def test_a_stack_is_of_one_modality_and_frames_of_reference_are_remarked(tmp_path: Path) -> None:
    pixels = np.full((4, 5), 1024)
    for k, (modality, frame) in enumerate((("CT", "1.2.3.5"), ("CT", "1.2.3.6"), ("PT", "1.2.3.5"))):
        place = (0, 0, 5 * k)
        write_slice(tmp_path / "mixed" / f"{k}.dcm", pixels, place, Modality=modality)
        write_slice(tmp_path / "frames" / f"{k}.dcm", pixels, place, FrameOfReferenceUID=frame)
        write_slice(tmp_path / "one" / f"{k}.dcm", pixels, place, FrameOfReferenceUID=None if k else frame)
    with pytest.raises(ValueError, match=r"expected one modality in .*found 2 \(CT, PT\)"):
        read_volume(tmp_path / "mixed")
    with pytest.warns(UserWarning, match="name 2 frames of reference"):
        assert read_volume(tmp_path / "frames").array.shape == (3, 4, 5)
    assert read(tmp_path / "one").array.shape == (3, 4, 5)  # an image that names none belongs to any


@pytest.mark.parametrize(
    ("at", "says"),
    [
        ({"PixelSpacing": [0.9, 0.8]}, r"one pixel spacing .*0\.9 x 0\.8 in 002\.dcm, most have 0\.9 x 0\.7"),
        ({"PixelSpacing": None}, r"expected a pixel spacing in all images, found 002\.dcm without"),
        ({"PixelSpacing": None, "ImagerPixelSpacing": [0.9, 0.7]}, r"002\.dcm without \(its ImagerPixelSpacing"),
        ({"PixelSpacing": [0, 0.7]}, r"positive pixel spacing in 002\.dcm"),
        ({"ImageOrientationPatient": None}, r"position and orientation in all images, found 002\.dcm"),
        ({"ImagePositionPatient": None}, r"position and orientation in all images, found 002\.dcm"),
        ({"ImageOrientationPatient": [1, 0, 0, 0.5, 1, 0]}, r"perpendicular unit vectors as orientation of 002\.dcm"),
        ({"ImageOrientationPatient": [1, 0, 0, 0, -1, 0]}, r"one orientation .* in 002\.dcm"),
        ({"RescaleSlope": 0}, r"rescale slope other than 0, found 0 in 002\.dcm"),
        ({"RescaleSlope": None}, r"1 of 5 without \(the first is 002\.dcm\)"),
        ({"RescaleType": "US"}, r"one kind of values .*US in 002\.dcm"),
        ({"Rows": 8, "Columns": 6}, r"one size .*8 x 6 in 002\.dcm, most have 6 x 8"),
    ],
)
def test_one_slice_differs(tmp_path: Path, at: dict[str, Any], says: str) -> None:
    write_slices(tmp_path, stored(), lambda n: at if n == 2 else {})
    with pytest.raises(ValueError, match=says) as caught:
        read_volume(tmp_path)
    assert "\n" not in str(caught.value)


def test_spacing_rounded_in_one_slice(tmp_path: Path) -> None:
    write_slices(tmp_path, stored(), lambda n: {"PixelSpacing": [0.9, 0.7001]} if n == 2 else {"RescaleType": "HU"})
    assert np.array_equal(read(tmp_path).array, stored() - 1024)


def test_slice_without_a_place(tmp_path: Path) -> None:
    path = write_slice(tmp_path / "x.dcm", stored(1)[0], (0, 0, 0), ImagePositionPatient=None)
    with pytest.raises(ValueError, match=r"position and orientation in all images, found x\.dcm without"):
        read_volume(path)


def test_order_is_that_of_the_positions(tmp_path: Path) -> None:
    """Neither file names nor instance numbers decide, and every slice is rescaled by its own numbers."""
    slopes = (1, 3, 0.5, 2, 1)
    for n, k in enumerate((3, 0, 4, 1, 2)):
        fields = {"InstanceNumber": 9 - n, "RescaleSlope": slopes[k], "RescaleIntercept": -100 * k}
        write_slice(tmp_path / f"{n}.dcm", stored()[k], (0, 0, 4.0 * k), **fields)
    wanted = stored() * np.array(slopes)[:, None, None] - 100 * np.arange(5)[:, None, None]
    assert np.array_equal(read(tmp_path).array, wanted)


def test_slice_beside_the_line(tmp_path: Path) -> None:
    write_slices(tmp_path, stored(), lambda n: {"ImagePositionPatient": [-10, -15, 35]} if n == 2 else {})
    with pytest.raises(ValueError, match=r"one line .* 002\.dcm 5 mm aside"):
        read_volume(tmp_path)


def test_decimal_commas(tmp_path: Path) -> None:
    files = write_slices(tmp_path, stored(), PixelSpacing=["0.9", "0.75"], RescaleIntercept="-1000.5")
    for path in files:
        rewrite(path, PIXEL_SPACING, rb"0.9\0.75", rb"0,9\0,75")
        rewrite(path, INTERCEPT, b"-1000.5", b"-1000,5")
    with pytest.warns(UserWarning, match=r"decimal commas.*0,9") as caught:
        volume = read_volume(tmp_path)
    assert len(caught) == 1
    assert volume.spacing_mm == pytest.approx((0.75, 0.9, 2.5))
    assert np.array_equal(volume.array, stored() - 1000.5)


@pytest.mark.parametrize("text", [b"nan", b"inf", b"x.7"])
def test_spacing_that_is_no_number(tmp_path: Path, text: bytes) -> None:
    for path in write_slices(tmp_path, stored()):
        rewrite(path, PIXEL_SPACING, rb"0.9\0.7", rb"0.9" + b"\\" + text)
    with pytest.raises(ValueError, match=r"expected 2 finite numbers as PixelSpacing in 000\.dcm"):
        read_volume(tmp_path)


def test_thickness_of_a_series_is_not_needed(tmp_path: Path) -> None:
    tag = 0x00180050
    for path in write_slices(tmp_path, stored(), SliceThickness="2.50"):
        rewrite(path, tag, b"2.50", b"2 mm")
    assert read(tmp_path).spacing_mm[2] == pytest.approx(2.5)


def test_ct_without_rescale_is_not_called_hu(tmp_path: Path) -> None:
    write_slices(tmp_path, stored(), RescaleIntercept=None, RescaleSlope=None)
    with pytest.warns(UserWarning, match="lacks a rescale slope or intercept"):
        volume = read_volume(tmp_path)
    assert volume.unit == "a.u."
    assert np.array_equal(volume.array, stored())
    shutil.rmtree(tmp_path)
    write_slices(tmp_path, stored(), RescaleIntercept=None, RescaleSlope=None, Modality="MR")
    assert read(tmp_path).unit == "a.u."


def test_every_slice_twice(tmp_path: Path) -> None:
    for path in write_slices(tmp_path, stored()):
        shutil.copy(path, tmp_path / f"copy of {path.name}")
    with pytest.warns(UserWarning, match="5 of 10 images .* are copies"):
        assert np.array_equal(read_volume(tmp_path).array, stored() - 1024)


def test_copies_under_new_names_and_one_slice_twice(tmp_path: Path) -> None:
    write_slices(tmp_path, stored())
    write_slice(tmp_path / "again.dcm", stored()[4], (-10, -20, 40), SOPInstanceUID=generate_uid())
    with pytest.warns(UserWarning, match="1 of 6 images"):
        assert np.array_equal(read_volume(tmp_path).array, stored() - 1024)


def test_phases_are_no_copies(tmp_path: Path) -> None:
    """Not even when they share an instance UID or all but one pixel."""
    same = {"SOPInstanceUID": "1.2.3.4.5"}
    write_slices(tmp_path, stored(), **same)
    other = stored()
    other[3, 0, 0] += 1
    write_slices(tmp_path / "b", other, **same)
    for path in (tmp_path / "b").iterdir():
        path.rename(tmp_path / f"b{path.name}")
    with pytest.raises(ValueError, match=r"several near slice 4 .*2 at each of 5 places.*003\.dcm and b003\.dcm"):
        read_volume(tmp_path)
    shutil.rmtree(tmp_path)
    for n in range(2):  # the same stored numbers, rescaled otherwise
        for path in write_slices(tmp_path / "c", stored(), RescaleSlope=n + 1):
            path.rename(tmp_path / f"{n}{path.name}")
    with pytest.raises(ValueError, match="several near slice 1"):
        read_volume(tmp_path)


def test_time_points_between_each_other(tmp_path: Path) -> None:
    """Two time points half a spacing apart make one even grid of places, but no stack; one after the other they do."""
    for n, plane in enumerate(np.tile(stored(), (2, 1, 1))):
        z = 30 + 2.5 * (n % 5) + 1.25 * (n // 5)
        write_slice(tmp_path / f"{n}.dcm", plane, (0, 0, z), TemporalPositionIdentifier=n // 5 + 1)
    with pytest.raises(ValueError, match="found 2 time points of 5 and 5 images: split the series by its time points"):
        read_volume(tmp_path)
    write_slices(tmp_path / "one", stored(), TemporalPositionIdentifier=1, NumberOfTemporalPositions=1)
    write_slices(tmp_path / "each", stored(), lambda n: {"TemporalPositionIdentifier": n + 1})
    for folder in ("one", "each"):
        assert np.array_equal(read(tmp_path / folder).array, stored() - 1024)


def test_localizer_of_the_series_is_left_out(tmp_path: Path) -> None:
    write_slices(tmp_path, stored(), ImageType=["ORIGINAL", "PRIMARY", "AXIAL"])
    scout = {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"], "ImageOrientationPatient": [1, 0, 0, 0, 0, -1]}
    path = write_slice(tmp_path / "scout.dcm", np.zeros((20, 30)), (0, 0, 0), **scout)
    with pytest.warns(UserWarning, match="1 of 6 images .* are localizers"):
        assert np.array_equal(read_volume(tmp_path).array, stored() - 1024)
    assert read(path).array.shape == (1, 20, 30)


def test_single_slice_is_as_thick_as_it_says(tmp_path: Path) -> None:
    for fields, wanted in (({}, 2.5), ({"SpacingBetweenSlices": 3}, 3.0), ({"SliceThickness": 0}, 1.0)):
        path = write_slice(tmp_path / "x.dcm", stored(1)[0], (0, 0, 0), **fields)
        if wanted > 1:
            assert read(path).spacing_mm[2] == pytest.approx(wanted)
            continue
        with pytest.warns(UserWarning, match="no slice thickness"):
            assert read_volume(path).spacing_mm[2] == pytest.approx(wanted)


def test_other_files_of_a_folder(tmp_path: Path) -> None:
    """What is no image of the series is passed over: a directory, a report, segmentations, notes."""
    write_slices(tmp_path, stored())
    report = header(stored(1), SOPClassUID=ComprehensiveSRStorage, Rows=None, Columns=None, PixelData=None)
    save(report, tmp_path / "report.dcm")
    shutil.copy(tmp_path / "report.dcm", tmp_path / "DICOMDIR")
    spectrum = header(stored(1), SOPClassUID=MRSpectroscopyStorage, PixelData=None)
    save(spectrum, tmp_path / "spectrum.dcm")
    for kind, ending in ((SegmentationStorage, ".dcm"), ("1.2.840.10008.5.1.4.1.1.66.7", "")):
        marks = {"SOPClassUID": kind, "Modality": "SEG", "SeriesInstanceUID": f"1.2.3.{kind[-1]}"}
        write_enhanced(tmp_path / f"organs{ending}", np.tile(stored(), (3, 1, 1)), axial(5) * 3, **marks)
    (tmp_path / "notes.txt").write_text("of no interest")
    (tmp_path / "empty").touch()
    (tmp_path / "._000.dcm").write_bytes(bytes(4096))
    (tmp_path / "below").mkdir()
    assert np.array_equal(read(tmp_path).array, stored() - 1024)
    with pytest.raises(ValueError, match=r"expected a DICOM image, found .*report\.dcm without pixels"):
        read_volume(tmp_path / "report.dcm")
    with pytest.raises(ValueError, match=r"expected a DICOM image, found .*organs\.dcm without pixels of one"):
        read_volume(tmp_path / "organs.dcm")


@pytest.mark.parametrize("kept", [0, 100, 140, 400, 700])
def test_last_slice_cut_short_anywhere(tmp_path: Path, kept: int) -> None:
    victim = write_slices(tmp_path, stored())[-1]
    victim.write_bytes(victim.read_bytes()[:kept])
    with pytest.raises(ValueError, match=r"found 004\.dcm that cannot be read"):
        read_volume(tmp_path)
    with pytest.raises(ValueError, match=r"expected a (complete|DICOM) image.*004\.dcm"):
        read_volume(victim)


def bare(path: Path) -> None:
    """Take the preamble and the file's meta information away, as old archives do."""
    data = pydicom.dcmread(path)
    content = path.read_bytes()
    path.write_bytes(content[132 + 12 + data.file_meta.FileMetaInformationGroupLength :])


@pytest.mark.parametrize("without_mark", [False, True])
def test_files_without_an_ending(tmp_path: Path, without_mark: bool) -> None:
    for n, path in enumerate(write_slices(tmp_path, stored())):
        if without_mark:
            bare(path)
        path.rename(tmp_path / f"IM{n:04d}")
    assert is_dicom(tmp_path / "IM0003")
    volume = read(tmp_path / "IM0003")
    assert np.array_equal(volume.array, stored()[3:4] - 1024)
    assert volume.unit == "HU"
    assert np.array_equal(read(tmp_path).array, stored() - 1024)
    assert [s.images for s in list_series(tmp_path)] == [5]


def test_what_is_no_dicom(tmp_path: Path) -> None:
    write_volume(Volume(stored().astype(np.int16), np.eye(4), "HU"), tmp_path / "x.nrrd")
    (tmp_path / "x").write_text("no image at all")
    (tmp_path / "zero").write_bytes(bytes(1000))
    (tmp_path / "eight").write_bytes(b"\x08\x00\x05\x00" + bytes(1000))
    save(header(stored(1), SOPClassUID=ComprehensiveSRStorage, Rows=None, PixelData=None), tmp_path / "report")
    for path in (*tmp_path.iterdir(), tmp_path, tmp_path / "nothing"):
        assert not is_dicom(path), path
    with pytest.raises(ValueError, match="convert it"):
        read_volume(tmp_path / "x")
