"""Enhanced (multi-frame) DICOM: every frame by its own functional groups, checked like a classic series."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from dicom_files import AXIAL, axial, header, one, save, stored, write_enhanced, write_slice
from diffusion_engine.io.images import read_volume
from diffusion_engine.volume import Volume, check_image
from pydicom.uid import (
    EnhancedMRImageStorage,
    LegacyConvertedEnhancedCTImageStorage,
    MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
    NuclearMedicineImageStorage,
    RLELossless,
    RTDoseStorage,
)

Groups = Callable[[int], dict[str, Any]]


def read(path: Path) -> Volume:
    """A volume that must come without a remark."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return read_volume(path)


def rescale(slope: float, intercept: float) -> dict[str, Any]:
    return {"PixelValueTransformationSequence": one(RescaleIntercept=intercept, RescaleSlope=slope, RescaleType="HU")}


@pytest.mark.parametrize("sop_class", [None, LegacyConvertedEnhancedCTImageStorage])
def test_frames_in_order(tmp_path: Path, sop_class: str | None) -> None:
    fields = {"SOPClassUID": sop_class} if sop_class else {}
    volume = read(write_enhanced(tmp_path / "e.dcm", stored(), axial(5), **fields))
    assert np.array_equal(volume.array, stored() - 1024)
    assert volume.array.dtype == np.float32
    assert volume.unit == "HU"
    wanted = [[-0.7, 0, 0, 10], [0, -0.9, 0, 20], [0, 0, 2.5, 30], [0, 0, 0, 1]]
    np.testing.assert_allclose(volume.ijk_to_ras, wanted, atol=1e-9)


def test_shuffled_frames_are_sorted_in_space(tmp_path: Path) -> None:
    order = [0, 2, 4, 1, 3]
    path = write_enhanced(tmp_path / "e.dcm", stored()[order], [axial(5)[n] for n in order])
    volume = read(path)
    assert np.array_equal(volume.array, stored() - 1024)
    assert volume.spacing_mm == pytest.approx((0.7, 0.9, 2.5))
    assert volume.origin == pytest.approx((10.0, 20.0, 30.0))


def test_every_frame_has_its_own_rescale(tmp_path: Path) -> None:
    slopes, intercepts = (1.0, 2.0, 1.0, 0.5, 1.0), (-1024.0, -1024.0, 0.0, -1000.0, -1024.0)
    path = write_enhanced(tmp_path / "e.dcm", stored(), axial(5), lambda n: rescale(slopes[n], intercepts[n]))
    wanted = stored() * np.array(slopes)[:, None, None] + np.array(intercepts)[:, None, None]
    assert np.array_equal(read(path).array, wanted)


def test_rounded_positions_are_even(tmp_path: Path) -> None:
    places = [(-10.0, -20.0, z) for z in (0.0, 5.01, 10.0, 14.99, 20.0)]
    assert read(write_enhanced(tmp_path / "e.dcm", stored(), places)).spacing_mm[2] == pytest.approx(5.0)
    places = [(-10.0 + 1e-6 * (-1) ** n, -20.0 - 2e-6 * n, 5.0 * n + 3e-6 * (n % 3)) for n in range(5)]
    volume = read(write_enhanced(tmp_path / "e.dcm", stored(), places))
    assert volume.spacing_mm == pytest.approx((0.7, 0.9, 5.0), abs=1e-5)
    check_image(volume)
    # A tenth of a pixel aside at the end is rounding; more is a leaning, kept as it is stated.
    for aside, upright in ((0.02, True), (0.08, False)):
        places = [(-10.0 + aside * n / 4, -20.0, 2.0 * n) for n in range(5)]
        volume = read(write_enhanced(tmp_path / "e.dcm", stored(), places))
        assert volume.ijk_to_ras[0, 2] == pytest.approx(0 if upright else -aside / 4, abs=1e-9)


@pytest.mark.parametrize("seed", [1, 2])
def test_oblique_frames_keep_their_places(tmp_path: Path, seed: int) -> None:
    axes, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    axes[:, 2] = np.cross(axes[:, 0], axes[:, 1])
    places = [np.round(axes[:, 2] * 2.5 * n + (3, -4, 5), 2) for n in range(5)]
    shared = {"PlaneOrientationSequence": one(ImageOrientationPatient=[f"{v:.4f}" for v in axes[:, :2].T.ravel()])}
    volume = read(write_enhanced(tmp_path / "e.dcm", stored(), places, shared=shared))
    assert np.array_equal(volume.array, stored() - 1024)
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ volume.ijk_to_ras
    np.testing.assert_allclose(lps[:3, :3] / volume.spacing_mm, axes, atol=5e-3)
    np.testing.assert_allclose(lps[:3, 3], places[0], atol=1e-9)
    check_image(volume)  # rounded positions make no sheared grid


def test_coronal_frames_against_their_normal(tmp_path: Path) -> None:
    """Rows run to the left, columns to the feet, so that the normal points backwards; frames are stored front first."""
    shared = {"PlaneOrientationSequence": one(ImageOrientationPatient=[1, 0, 0, 0, 0, -1])}
    places = [(-10.0, 30.0 - 4.0 * n, 50.0) for n in range(5)]
    volume = read(write_enhanced(tmp_path / "e.dcm", stored(), places, shared=shared))
    for n, place in enumerate(places):
        i, j, k, _ = np.linalg.inv(volume.ijk_to_ras) @ (-place[0], -place[1], place[2], 1)
        assert np.allclose((i, j), 0, atol=1e-9)
        assert np.array_equal(volume.array[round(k)], stored()[n] - 1024)


def content(**fields: Any) -> dict[str, Any]:
    return {"FrameContentSequence": one(**fields)}


def turned_at_the_end(n: int) -> dict[str, Any]:
    turned = [1, 0, 0, 0, 0.9848078, 0.1736482]
    return {"PlaneOrientationSequence": one(ImageOrientationPatient=turned)} if n > 2 else {}


@pytest.mark.parametrize(
    ("places", "at", "says"),
    [
        ([(-10, -20 + 1.339746 * n, 5.0 * n) for n in range(5)], lambda n: {}, r"leaning by 15\.0 degrees"),
        (np.delete(axial(6), 2, axis=0), lambda n: {}, r"found 5 mm between slices 2 and 3 where most are 2\.5"),
        ([(-10, -20, z) for z in (0, 5, 0, 5, 10)], lambda n: {}, "near slice 1 .*2 at each of 3 places.*frame 3"),
        ([(-10, -20, z) for z in (0, 0.004, 5, 5.004, 10)], lambda n: {}, "several near slice 1"),
        (axial(5), turned_at_the_end, "one orientation in e.dcm, found several .*frame 4 of e.dcm"),
        (
            [(-10, -20, z) for z in (0, 5, 10, 2.5, 7.5)],
            lambda n: content(TemporalPositionIndex=1 + n // 3),
            "found 2 time points of 3 and 2 images",
        ),
        (
            [(-10, -20, z) for z in (0, 5, 10, 2.5, 7.5)],
            lambda n: content(StackID=str(1 + n // 3)),
            "found 2 stacks of 3 and 2 images",
        ),
        (
            axial(5),
            lambda n: {"PixelMeasuresSequence": one(PixelSpacing=[0.9, 0.8])} if n == 2 else {},
            r"one pixel spacing in e.dcm, found several \(0\.9 x 0\.8 in frame 3 of e.dcm, most have 0\.9 x 0\.7\)",
        ),
        (axial(5), lambda n: rescale(0, -1024) if n == 1 else {}, "rescale slope other than 0, found 0 in frame 2"),
        ([(-10, -20 + 9.0 * (n == 2), 5.0 * n) for n in range(5)], lambda n: {}, "frame 3 of e.dcm 9 mm aside"),
    ],
)
def test_frames_must_be_one_even_stack(tmp_path: Path, places: list, at: Groups, says: str) -> None:
    path = write_enhanced(tmp_path / "e.dcm", stored(), places, at)
    with pytest.raises(ValueError, match=says) as caught:
        read_volume(path)
    assert "\n" not in str(caught.value)


def test_stacks_one_behind_the_other_are_one(tmp_path: Path) -> None:
    path = write_enhanced(tmp_path / "e.dcm", stored(), axial(5), lambda n: content(StackID=str(1 + n // 3)))
    assert np.array_equal(read(path).array, stored() - 1024)


def test_several_files_of_one_series(tmp_path: Path) -> None:
    folder = tmp_path / "series"
    write_enhanced(folder / "b", stored()[:3], axial(3))
    write_enhanced(folder / "a", stored()[3:], axial(5)[3:])
    assert np.array_equal(read(folder).array, stored() - 1024)
    write_enhanced(folder / "a", stored()[3:], axial(2))
    with pytest.raises(ValueError, match=r"several near slice 1 .*frame 1 of a and frame 1 of b"):
        read_volume(folder)
    write_enhanced(folder / "a", stored()[3:], axial(5)[3:], shared={"PixelMeasuresSequence": one(PixelSpacing=[1, 1])})
    with pytest.raises(ValueError, match=r"one pixel spacing in DICOM series 1\.2\.3\.4"):
        read_volume(folder)


def test_classic_and_converted_images_of_one_series(tmp_path: Path) -> None:
    """Slices kept beside their conversion are copies of its frames."""
    write_enhanced(tmp_path / "e.dcm", stored(), axial(5), SOPClassUID=LegacyConvertedEnhancedCTImageStorage)
    for n, place in enumerate(axial(5)):
        write_slice(tmp_path / f"{n}.dcm", stored()[n], place)
    with pytest.warns(UserWarning, match="5 of 10 images .* are copies"):
        assert np.array_equal(read_volume(tmp_path).array, stored() - 1024)


def test_localizer_frame_is_left_out(tmp_path: Path) -> None:
    def at(n: int) -> dict[str, Any]:
        kind = ["ORIGINAL", "PRIMARY", "VOLUME" if n else "LOCALIZER", "NONE"]
        turned = {} if n else {"PlaneOrientationSequence": one(ImageOrientationPatient=[1, 0, 0, 0, 0, -1])}
        return {"CTImageFrameTypeSequence": one(FrameType=kind)} | turned

    path = write_enhanced(tmp_path / "e.dcm", stored(6), [(0, 0, 0), *axial(5)], at)
    with pytest.warns(UserWarning, match="1 of 6 images in e.dcm are localizers"):
        assert np.array_equal(read_volume(path).array, stored(6)[1:] - 1024)


def test_one_frame(tmp_path: Path) -> None:
    volume = read(write_enhanced(tmp_path / "e.dcm", stored(1), axial(1)))
    assert np.array_equal(volume.array, stored(1) - 1024)
    assert volume.spacing_mm == pytest.approx((0.7, 0.9, 2.5))


def test_enhanced_mr_needs_no_rescale(tmp_path: Path) -> None:
    shared = {"PixelValueTransformationSequence": None}
    fields = {"SOPClassUID": EnhancedMRImageStorage, "Modality": "MR"}
    volume = read(write_enhanced(tmp_path / "e.dcm", stored(), axial(5), shared=shared, **fields))
    assert np.array_equal(volume.array, stored())
    assert volume.unit == "a.u."


def test_rescale_of_some_frames_only(tmp_path: Path) -> None:
    path = write_enhanced(
        tmp_path / "e.dcm", stored(), axial(5), lambda n: rescale(1, -1024) if n else {},
        {"PixelValueTransformationSequence": None},
    )  # fmt: skip
    with pytest.raises(ValueError, match=r"1 of 5 without .*frame 1 of e\.dcm"):
        read_volume(path)


def test_frames_without_groups(tmp_path: Path) -> None:
    data = pydicom.dcmread(write_enhanced(tmp_path / "e.dcm", stored(), axial(5)))
    del data.PerFrameFunctionalGroupsSequence[-1]
    save(data, tmp_path / "e.dcm")
    with pytest.raises(ValueError, match=r"each of the 5 frames of e\.dcm, found 4"):
        read_volume(tmp_path / "e.dcm")
    data.PerFrameFunctionalGroupsSequence.append(pydicom.Dataset())
    data.ImagePositionPatient = [0, 0, 0]
    save(data, tmp_path / "e.dcm")
    with pytest.raises(ValueError, match=r"frame 5 of e\.dcm without"):
        read_volume(tmp_path / "e.dcm")


def test_secondary_capture_has_no_places(tmp_path: Path) -> None:
    fields = {"SOPClassUID": MultiFrameGrayscaleWordSecondaryCaptureImageStorage, "NumberOfFrames": 5}
    path = save(header(stored(), **fields), tmp_path / "sc.dcm")
    with pytest.raises(ValueError, match=r"position of each of the 5 frames of sc\.dcm, found none \(a secondary"):
        read_volume(path)


def test_dose_grid_and_emission_tomogram(tmp_path: Path) -> None:
    place = {"ImagePositionPatient": [-10, -20, 30], "ImageOrientationPatient": list(AXIAL)}
    common = {"NumberOfFrames": 5, "PixelSpacing": [0.9, 0.7]}
    dose = {"SOPClassUID": RTDoseStorage, "Modality": "RTDOSE", "GridFrameOffsetVector": [0, 2.5, 5, 7.5, 10]}
    volume = read(save(header(stored(), DoseGridScaling=0.25, **dose, **place, **common), tmp_path / "d.dcm"))
    assert np.array_equal(volume.array, stored() / 4)
    assert volume.spacing_mm == pytest.approx((0.7, 0.9, 2.5))
    spect = {"SOPClassUID": NuclearMedicineImageStorage, "Modality": "NM", "SliceVector": [1, 2, 3, 4, 5]}
    spect |= {"SpacingBetweenSlices": -2.5, "DetectorInformationSequence": one(**place)}
    volume = read(save(header(stored(), **spect, **common), tmp_path / "n.dcm"))
    assert np.array_equal(volume.array, stored()[::-1])
    assert volume.origin == pytest.approx((10, 20, 20))
    for offsets, orientation in (([30, 32.5, 35, 37.5, 40], AXIAL), ([30, 27.5, 25, 22.5, 20], (1, 0, 0, 0, -1, 0))):
        dose["GridFrameOffsetVector"], place["ImageOrientationPatient"] = offsets, list(orientation)
        volume = read(save(header(stored(), **dose, **place, **common), tmp_path / "d.dcm"))
        assert volume.ijk_to_ras[2, 2:].tolist() == [orientation[4] * 2.5, 30]
    dose["GridFrameOffsetVector"] = [5, 7.5, 10, 12.5, 15]
    with pytest.raises(ValueError, match="to begin with 0"):
        read_volume(save(header(stored(), **dose, **place, **common), tmp_path / "d.dcm"))
    dose["GridFrameOffsetVector"] = [0, 2.5, 5, 7.5, 20]
    path = save(header(stored(), **dose, **place, **common), tmp_path / "d.dcm")
    with pytest.raises(ValueError, match=r"even slice spacing in d\.dcm"):
        read_volume(path)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_compressed_frames(tmp_path: Path, photometric: str) -> None:
    """Unpacked in stored order, then sorted and rescaled by frame; MONOCHROME1 is a way to show, no other values."""
    order = [0, 2, 4, 1, 3]
    path = write_enhanced(
        tmp_path / "e.dcm", stored()[order], [axial(5)[n] for n in order],
        lambda n: rescale(1 + order[n], -1024), PhotometricInterpretation=photometric,
    )  # fmt: skip
    wanted = stored() * np.arange(1, 6)[:, None, None] - 1024
    assert np.array_equal(read(path).array, wanted)
    data = pydicom.dcmread(path)
    data.compress(RLELossless, generate_instance_uid=False)
    data.save_as(path)
    assert np.array_equal(read(path).array, wanted)
    path.write_bytes(path.read_bytes()[:-150])
    with pytest.raises(ValueError, match=r"expected a complete image in .*e\.dcm.*cannot be read"):
        read_volume(path)


def test_float_pixels(tmp_path: Path) -> None:
    values = stored().astype(np.float32) / 3
    shared = {"PixelValueTransformationSequence": None}
    fields = {"Modality": "MR", "PixelData": None, "FloatPixelData": values.tobytes(), "BitsAllocated": 32}
    path = write_enhanced(tmp_path / "e.dcm", stored(), axial(5), shared=shared, **fields)
    assert np.array_equal(read(path).array, values)
    fields |= {"FloatPixelData": values[:3].tobytes()}
    write_enhanced(path, stored(), axial(5), shared=shared, **fields)
    with pytest.raises(ValueError, match=r"expected 960 bytes of pixels in e\.dcm .*found 576"):
        read_volume(path)
