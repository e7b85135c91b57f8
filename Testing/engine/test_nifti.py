"""NIfTI by its standard: values, voxel sizes, units and place, or one sentence."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from diffusion_engine.io.images import read_volume, write_volume
from diffusion_engine.modalities.ct.geometry_json import SinogramExtras, write_geometry
from diffusion_engine.modalities.ct.measurement import read_measurement
from diffusion_engine.physics.ct_geometry import CTGeometry
from diffusion_engine.volume import Volume, check_image
from nifti_files import CODES, SFORM, write_nifti

LEANING = SFORM + np.array([[0, 0, 0, 0], [0, 0, 0.3, 0], [0, 0, 0, 0]])


def values(kind: str = "i2") -> np.ndarray:
    return (np.arange(24) + 1).astype(kind).reshape(2, 3, 4)


def read(path: Path, stored: np.ndarray | None = None, **fields: Any) -> Volume:
    """What comes back from a file made by hand; a remark is an error."""
    write_nifti(path, values() if stored is None else stored, **fields)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return read_volume(path)


@pytest.mark.parametrize("kind", CODES)
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("version", [1, 2])
def test_every_type_is_kept(tmp_path: Path, kind: str, order: str, version: int) -> None:
    stored = values(kind)
    if kind[0] in "iu":
        stored[0, 0, :2] = np.iinfo(kind).min, np.iinfo(kind).max
    for name in ("x.nii", "x.nii.gz"):
        volume = read(tmp_path / name, stored, order=order, version=version)
        assert volume.array.dtype == np.dtype(kind)
        assert np.array_equal(volume.array, stored)
        np.testing.assert_allclose(volume.ijk_to_ras[:3], SFORM, atol=1e-5)


@pytest.mark.parametrize("name", ["x.nii", "x.nii.gz"])
def test_nan_stays_nan(tmp_path: Path, name: str) -> None:
    stored = values("f4")
    stored[0, 1, 2], stored[1, 0, 0] = np.nan, np.inf
    volume = read(tmp_path / name, stored)
    assert np.array_equal(volume.array, stored, equal_nan=True)
    with pytest.raises(ValueError, match="expected finite voxels, found 2 NaN or infinite"):
        check_image(volume)
    assert np.isnan(read(tmp_path / name, stored, slope=2.0, inter=1.0).array[0, 1, 2])


def test_nan_in_a_sinogram_is_refused(tmp_path: Path) -> None:
    stored = values("f4")
    geometry = CTGeometry("parallel", (0.0, 1.0, 2.0), 4, 1.0)
    write_geometry(tmp_path / "geometry.json", geometry, SinogramExtras(1.0, "line_integrals", None))
    write_nifti(tmp_path / "x.nii", stored, sform=None, sizes=(0, 0, 0))  # a sinogram's place means nothing
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.array_equal(read_measurement(tmp_path / "x.nii", tmp_path / "geometry.json").values, stored)
    stored[0, 1, 2] = np.nan
    write_nifti(tmp_path / "x.nii", stored)
    with pytest.raises(ValueError, match="1 NaN or infinite readings"):
        read_measurement(tmp_path / "x.nii", tmp_path / "geometry.json")


@pytest.mark.parametrize(("slope", "inter"), [(0.0, -1024.0), (np.nan, 0.0), (np.nan, np.nan), (0.0, np.nan)])
def test_slope_zero_or_unset_means_no_scaling(tmp_path: Path, slope: float, inter: float) -> None:
    volume = read(tmp_path / "x.nii", slope=slope, inter=inter)
    assert volume.array.dtype == np.int16
    assert np.array_equal(volume.array, values())


@pytest.mark.parametrize("kind", CODES)
def test_scaling(tmp_path: Path, kind: str) -> None:
    volume = read(tmp_path / "x.nii.gz", values(kind), slope=0.5, inter=-1024.0)
    assert volume.array.dtype == (np.float32 if kind in ("i1", "u1", "i2", "u2", "f4") else np.float64)
    assert np.array_equal(volume.array, 0.5 * (np.arange(24) + 1).reshape(2, 3, 4) - 1024)
    large = np.full((1, 2, 2), 2**24 + 1, np.int32)  # float32 does not hold it
    assert read(tmp_path / "x.nii", large, slope=1.0, inter=1.0).array[0, 0, 0] == 2**24 + 2


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"slope": np.inf}, "finite scl_slope and scl_inter in .*found inf and 0"),
        ({"slope": np.nan, "inter": 5.0}, "finite scl_slope"),
        ({"slope": 2.0, "inter": np.nan}, "finite scl_slope"),
        ({"sform": None, "sizes": (0.7, 0.8, 0.0)}, "positive voxel sizes in .*found 0.7 x 0.8 x 0"),
        ({"sform": None, "sizes": (-0.7, 0.8, 2.5)}, "positive voxel sizes"),
        ({"qform": (1, (0, 0, 0, 0, 0, 0)), "sizes": (0.7, np.nan, 2.5)}, "positive voxel sizes"),
        ({"qform": (1, (np.nan, 0, 0, 0, 0, 0))}, "a usable qform or sform"),
        ({"sform": (1, np.zeros(12))}, "a usable qform or sform"),
        ({"units": 5}, "metres, mm or micrometres .*found the unit 5"),
        ({"units": 3}, "one voxel size in .*0.0007 x 0.0008 x 0.0025 mm as pixdim and 0.7 x"),
        ({"code": 1536, "bits": 128}, "128-bit floats"),
        ({"code": 128, "bits": 24}, "colour or vector"),
        ({"code": 32, "bits": 64}, "real voxels"),
        ({"code": 1, "bits": 1}, "single bits"),
        ({"bits": 32}, "32 bits a voxel of int16"),
        ({"dim": (4, 4, 3, 1, 2)}, "one time point"),
        ({"dim": (5, 4, 3, 1, 1, 2)}, "colour or vector"),
        ({"dim": (3, 4, -3, 2)}, "axes of 4 x -3 x 2 voxels"),
        ({"dim": (9, 4, 3, 2)}, "a NIfTI header with 9 axes"),
        ({"start": 0}, "begin at byte 0, within the header"),
        ({"start": np.nan}, "within the header"),
        ({"sform": (1, LEANING)}, r"sheared by 6\.84 degrees \(tilted"),
        (
            {"sform": (1, LEANING), "qform": (1, (0, 0, 1, 10, 20, 30))},
            "sheared by",
        ),
        ({"sform": (1, SFORM), "qform": (1, (0, 0, 0, 10, 20, 30))}, "a qform and an sform that disagree"),
    ],
)
def test_refuses(tmp_path: Path, fields: dict[str, Any], says: str, capfd: pytest.CaptureFixture[str]) -> None:
    if fields.get("units") == 3:
        fields = {**fields, "sform": (1, SFORM * 1000)}
    with pytest.raises(ValueError, match=says) as caught:
        read(tmp_path / "x.nii", **fields)
    assert "x.nii" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("sizes", [(0.7, 0.8, 0.0), (0.7, 0.8, -2.5), (0.7, np.nan, 2.5)])
def test_voxel_size_comes_from_the_sform(
    tmp_path: Path, sizes: tuple[float, ...], capfd: pytest.CaptureFixture[str]
) -> None:
    for form in ({}, {"sform": (1, SFORM), "qform": (1, (0, 0, 1, 10, 20, 30))}):
        volume = read(tmp_path / "x.nii", sizes=sizes, **form)
        assert volume.spacing_mm == pytest.approx((0.7, 0.8, 2.5))
    assert capfd.readouterr() == ("", "")


def test_voxel_size_that_contradicts_the_sform_is_said(tmp_path: Path) -> None:
    write_nifti(tmp_path / "x.nii", values(), sizes=(1, 1, 1))
    with pytest.warns(UserWarning, match=r"voxels of 1 x 1 x 1 mm and an sform with 0\.7 x 0\.8 x 2\.5 mm; the sform"):
        assert read_volume(tmp_path / "x.nii").spacing_mm == pytest.approx((0.7, 0.8, 2.5))


@pytest.mark.parametrize(("units", "factor"), [(0, 1.0), (1, 1e-3), (2, 1.0), (3, 1e3)])
def test_units_of_length(tmp_path: Path, units: int, factor: float) -> None:
    sizes = tuple(n * factor for n in (0.7, 0.8, 2.5))
    forms = (
        {"sform": (1, SFORM * factor)},
        {"qform": (1, (0, 0, 1, 10 * factor, 20 * factor, 30 * factor))},
    )
    for form in forms:
        volume = read(tmp_path / "x.nii", units=units, sizes=sizes, **form)
        np.testing.assert_allclose(volume.ijk_to_ras[:3], SFORM, atol=1e-5)
    assert read(tmp_path / "x.nii", units=units | 8, sizes=sizes, sform=(1, SFORM * factor)).spacing_mm[2] == (
        pytest.approx(2.5)  # the time's unit beside it
    )


def test_quaternion_and_left_handed_slices(tmp_path: Path) -> None:
    half = np.sqrt(0.5)
    turned = read(tmp_path / "x.nii", qform=(1, (half, 0, 0, 1, 2, 3)))  # a quarter turn about x
    np.testing.assert_allclose(turned.ijk_to_ras[:3], [[0.7, 0, 0, 1], [0, 0, -2.5, 2], [0, 0.8, 0, 3]], atol=1e-6)
    left = read(tmp_path / "x.nii", qfac=-1.0, qform=(1, (half, 0, 0, 1, 2, 3)))
    np.testing.assert_allclose(left.ijk_to_ras[:3], [[0.7, 0, 0, 1], [0, 0, 2.5, 2], [0, 0.8, 0, 3]], atol=1e-6)


@pytest.mark.parametrize(("codes", "taken"), [((1, 2), "sform"), ((2, 1), "qform"), ((4, 2), "qform")])
def test_of_two_places_the_scanner_is_taken_and_said(tmp_path: Path, codes: tuple[int, int], taken: str) -> None:
    write_nifti(tmp_path / "x.nii", values(), sform=(codes[0], SFORM), qform=(codes[1], (0, 0, 0, 1, 2, 3)))
    with pytest.warns(UserWarning, match=f"a qform and an sform that disagree; the {taken} was taken"):
        volume = read_volume(tmp_path / "x.nii")
    expected = SFORM if taken == "sform" else [[0.7, 0, 0, 1], [0, 0.8, 0, 2], [0, 0, 2.5, 3]]
    np.testing.assert_allclose(volume.ijk_to_ras[:3], expected, atol=1e-5)


def test_forms_that_agree_up_to_rounding(tmp_path: Path) -> None:
    volume = read(tmp_path / "x.nii", sform=(2, SFORM), qform=(1, (0, 0.001, 1, 10.01, 20, 30)))
    np.testing.assert_allclose(volume.ijk_to_ras[:3], SFORM, atol=1e-5)


def test_tiny_turns_that_a_quaternion_loses_are_rounding(tmp_path: Path) -> None:
    turn = np.array([[-1, 6e-4, 0, 300], [-6e-4, -1, 0, 300], [0, 0, 1, 0]]) * (0.7, 0.7, 0.7, 1)
    stored = np.zeros((2, 1024, 1024), np.uint8)
    volume = read(tmp_path / "x.nii", stored, sizes=(0.7,) * 3, sform=(1, turn), qform=(1, (0, 0, 1, 300, 300, 0)))
    np.testing.assert_allclose(volume.ijk_to_ras[:3], turn, atol=1e-4)


def test_missing_orientation_is_said(tmp_path: Path) -> None:
    write_nifti(tmp_path / "x.nii", values(), sform=None)
    with pytest.warns(UserWarning, match=r"x\.nii states no orientation in the patient"):
        volume = read_volume(tmp_path / "x.nii")
    assert np.allclose(volume.ijk_to_ras, np.diag([-0.7, -0.8, 2.5, 1]))


@pytest.mark.parametrize(
    "fields",
    [
        {"dim": (2, 4, 3), "sizes": (0.7, 0.8, 0.0)},
        {"dim": (3, 4, 3, 1), "sizes": (0.7, 0.8, 0.0), "sform": (1, SFORM * [[1, 1, 0, 1]])},
        {"dim": (3, 4, 3, 1), "sizes": (0.7, 0.8, 0.0), "qform": (1, (0, 0, 1, 10, 20, 30))},
        {"dim": (3, 4, 3, 1), "sizes": (700, 800, 0), "qform": (1, (0, 0, 1, 10e3, 20e3, 30e3)), "units": 3},
    ],
)
def test_one_slice_needs_no_slice_distance(tmp_path: Path, fields: dict[str, Any]) -> None:
    volume = read(tmp_path / "x.nii", values()[:1], **fields)
    np.testing.assert_allclose(volume.ijk_to_ras[:3], SFORM * [[1, 1, 0.4, 1]], atol=1e-4)


def test_axes_of_one_at_the_end_are_left_out(tmp_path: Path) -> None:
    assert read(tmp_path / "x.nii", dim=(5, 4, 3, 2, 1, 1)).array.shape == (2, 3, 4)


def test_analyze_header_is_refused(tmp_path: Path) -> None:
    content = write_nifti(tmp_path / "x.nii", values())
    (tmp_path / "x.nii").write_bytes(content[:344] + b"\0\0\0\0" + content[348:])
    with pytest.raises(ValueError, match=r"Analyze 7\.5"):
        read_volume(tmp_path / "x.nii")


def test_a_like_name_beside_is_not_read(tmp_path: Path) -> None:
    matrix = np.diag([-1.0, -1.0, 1.0, 1.0])
    write_volume(Volume(values(), matrix, "HU"), tmp_path / "x.nii.gz")
    write_volume(Volume(-values(), matrix, "HU"), tmp_path / "x.nii")
    assert np.array_equal(read_volume(tmp_path / "x.nii.gz").array, values())
