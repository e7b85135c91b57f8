"""Volumes: geometry kept by crop and bin, bad input refused, units reversible."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from diffusion_engine.modalities.ct.hu_question import question_hu
from diffusion_engine.modalities.ct.scale import attenuation_to_hu, hu_to_attenuation
from diffusion_engine.volume import WATER_PER_MM, IntensityScale, Volume, check_image, check_size


def oblique_matrix() -> np.ndarray:
    """A rotated, anisotropic grid away from the origin."""
    axes, _ = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))
    matrix = np.eye(4)
    matrix[:3, :3] = axes * (0.7, 0.9, 2.5)
    matrix[:3, 3] = (-123.25, 41.5, 1000.125)
    return matrix


def make(array: np.ndarray, unit: str = "HU") -> Volume:
    return Volume(array, oblique_matrix(), unit)


def place(volume: Volume, k: float, j: float, i: float) -> np.ndarray:
    return (volume.ijk_to_ras @ (i, j, k, 1.0))[:3]


def ct_like() -> np.ndarray:
    array = np.full((3, 20, 20), -1000.0, dtype=np.float32)
    array[:, 5:15, 5:15] = 40.0
    return array


def test_spacing_and_origin() -> None:
    volume = make(np.zeros((2, 3, 4)))
    assert volume.spacing_mm == pytest.approx((0.7, 0.9, 2.5), abs=1e-12)
    assert volume.origin == (-123.25, 41.5, 1000.125)


@pytest.mark.parametrize(
    ("array", "matrix", "unit", "says"),
    [
        (np.zeros((4, 4)), np.eye(4), "HU", "slices, rows, columns"),
        (np.zeros((2, 2, 2), dtype=complex), np.eye(4), "HU", "real numbers"),
        (np.zeros((2, 2, 2)), np.eye(3), "HU", r"\(4, 4\)"),
        (np.zeros((2, 2, 2)), np.full((4, 4), np.nan), "HU", "finite"),
        (np.zeros((2, 2, 2)), np.diag([1.0, 1.0, 0.0, 1.0]), "HU", "singular"),
        (np.zeros((2, 2, 2)), np.diag([1.0, 1.0, 1.0, 2.0]), "HU", "0 0 0 1"),
        (np.zeros((2, 2, 2)), np.eye(4), " ", "unit"),
    ],
)
def test_construction_refuses(array: np.ndarray, matrix: np.ndarray, unit: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Volume(array, matrix, unit)


def test_small_and_large_spacing_is_no_singular_matrix() -> None:
    assert Volume(np.zeros((1, 2, 2)), np.diag([1e-4, 1e-4, 1e-4, 1.0]), "HU").spacing_mm == (1e-4, 1e-4, 1e-4)


def test_matrix_is_a_copy_that_nobody_changes() -> None:
    matrix = oblique_matrix()
    volume = Volume(np.zeros((1, 2, 2)), matrix, "HU")
    matrix[0, 3] = 7.0
    assert volume.ijk_to_ras[0, 3] == -123.25
    with pytest.raises(ValueError, match="read-only"):
        volume.ijk_to_ras[0, 0] = 1.0


def test_with_array_keeps_place_and_unit() -> None:
    volume = make(np.zeros((2, 3, 4)))
    other = volume.with_array(np.ones((2, 3, 4)), unit="1/mm")
    assert other.unit == "1/mm"
    assert volume.with_array(other.array).unit == "HU"
    assert np.array_equal(other.ijk_to_ras, volume.ijk_to_ras)
    with pytest.raises(ValueError, match=r"\(2, 3, 4\)"):
        volume.with_array(np.ones((2, 4, 3)))


def test_crop_keeps_every_voxel_in_place() -> None:
    volume = make(np.arange(4 * 5 * 6, dtype=np.float32).reshape(4, 5, 6))
    part = volume.crop(slices=(1, 3), rows=(2, 5), columns=(4, 6))
    assert part.array.shape == (2, 3, 2)
    assert part.array[0, 0, 0] == volume.array[1, 2, 4]
    np.testing.assert_allclose(place(part, 1, 2, 1), place(volume, 2, 4, 5), atol=1e-9)


@pytest.mark.parametrize("bounds", [(2, 2), (3, 2), (-1, 2), (0, 5)])
def test_crop_refuses(bounds: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="slices first < last within 0 to 4"):
        make(np.zeros((4, 5, 6))).crop(slices=bounds)


def test_bin_is_mean_at_block_centres() -> None:
    volume = make(np.random.default_rng(0).normal(size=(2, 6, 9)))
    binned = volume.bin_in_plane(3)
    assert binned.array.shape == (2, 2, 3)
    assert binned.array[1, 1, 2] == pytest.approx(volume.array[1, 3:6, 6:9].mean())
    np.testing.assert_allclose(place(binned, 1, 1, 2), place(volume, 1, 4, 7), atol=1e-9)
    assert binned.spacing_mm == pytest.approx((2.1, 2.7, 2.5))


def test_bin_trims_what_fills_no_block() -> None:
    volume = make(np.random.default_rng(0).normal(size=(1, 11, 8)).astype(np.float32))
    binned = volume.bin_in_plane(4)
    assert binned.array.shape == (1, 2, 2)
    assert binned.array.dtype == np.float32
    assert binned.array[0, 0, 0] == pytest.approx(volume.array[0, 1:5, 0:4].mean(), abs=1e-6)
    np.testing.assert_allclose(place(binned, 0, 0, 0), place(volume, 0, 2.5, 1.5), atol=1e-9)
    with pytest.raises(ValueError, match="from 1 to 8"):
        volume.bin_in_plane(9)


def test_bin_of_integers_does_not_overflow() -> None:
    assert (Volume(np.full((1, 4, 4), 30000, dtype=np.int16), np.eye(4), "HU").bin_in_plane(4).array == 30000).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_check_names_the_first_bad_voxel(value: float) -> None:
    array = ct_like()
    array[1, 7, 3] = array[2, 0, 0] = value
    with pytest.raises(ValueError, match="found 2 NaN or infinite, the first in slice 1, row 7, column 3"):
        check_image(make(array))


@pytest.mark.parametrize("shape", [(0, 4, 4), (1, 1, 1), (5, 1, 4), (1, 0, 0)])
def test_check_refuses_tiny(shape: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="2 x 2 pixels"):
        check_image(make(np.zeros(shape)))


@pytest.mark.parametrize(
    ("spacing", "shape"),
    [
        ((0.7, 0.7, 5.0), (400, 512, 512)), ((1.0, 1.0, 1.0), (2100, 4, 500)), ((0.01, 0.01, 0.01), (3, 64, 64)),
        ((0.01, 0.01, 0.01), (1, 16, 16)), ((0.0006, 0.0006, 0.0006), (1, 8, 1024)), ((50.0, 50.0, 50.0), (2, 40, 40)),
        ((4.0, 4.0, 25.0), (3, 64, 64)),
    ],
)
def test_sizes_of_patients_and_specimens_are_accepted(spacing: tuple[float, ...], shape: tuple[int, ...]) -> None:
    check_size(np.diag([-spacing[0], -spacing[1], spacing[2], 1]), shape)


@pytest.mark.parametrize("factor", [1e3, 1e-3])
@pytest.mark.parametrize(
    ("spacing", "shape"),
    [((3.6, 3.6, 5.0), (1, 96, 96)), ((0.7, 0.7, 5.0), (40, 512, 512)), ((1.5, 1.5, 1.5), (3, 256, 256))],
)
def test_micrometres_and_metres_taken_as_mm_are_refused(
    factor: float, spacing: tuple[float, ...], shape: tuple[int, ...]
) -> None:
    sizes = [n * factor for n in spacing]
    volume = Volume(np.zeros(shape, np.int16), np.diag([-sizes[0], -sizes[1], sizes[2], 1]), "HU")
    with pytest.raises(ValueError, match=f"found voxels of {sizes[0]:.4g} x .* in another unit than mm") as caught:
        check_image(volume)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("spacing", [(101.0, 1.0, 1.0), (1.0, 1.0, 1600.0), (9e-5, 9e-5, 1.0), (12.0, 12.0, 1.0)])
def test_sizes_beyond_the_limits_are_refused(spacing: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="a patient or a specimen"):
        check_size(np.diag([*spacing, 1.0]), (2, 300, 4))


def test_check_refuses_shear_and_accepts_rounding() -> None:
    matrix = oblique_matrix()
    check_image(Volume(ct_like(), matrix.astype(np.float32).astype(np.float64), "HU"))
    matrix[:3, 2] += 0.02 * matrix[:3, 1]
    with pytest.raises(ValueError, match=r"sheared by 0\.41 degrees"):
        check_image(Volume(ct_like(), matrix, "HU"))


def test_ct_is_not_questioned() -> None:
    metal = ct_like()
    metal[:, 9, 9] = 25000.0
    padded = ct_like()
    padded[:, 0] = -3024.0
    for array in (ct_like(), metal, padded, ct_like().astype(np.int16)):
        assert question_hu(make(array)) is None
    assert question_hu(make(ct_like(), "a.u.")) is None


@pytest.mark.parametrize(
    ("array", "unit", "says"),
    [
        (np.random.default_rng(0).gamma(2.0, 200.0, size=(3, 20, 20)), "HU", "nowhere negative"),
        (ct_like() + 1024.0, "a.u.", "nowhere negative"),
        (ct_like() / 1000.0, "HU", "span only 1.04"),
        (np.random.default_rng(0).normal(size=(3, 20, 20)), "a.u.", "span only"),
        (np.full((3, 20, 20), -1000.0), "HU", "nothing denser"),
        (ct_like() * 1e6, "HU", "beyond any CT number"),
        (ct_like(), "SUV", "are in SUV"),
    ],
)
def test_other_images_are_questioned(array: np.ndarray, unit: str, says: str) -> None:
    assert says in (question_hu(make(array, unit)) or "")


def test_attenuation_of_known_materials() -> None:
    assert hu_to_attenuation(0.0) == WATER_PER_MM
    assert hu_to_attenuation(-1000.0) == 0.0
    assert hu_to_attenuation(1000.0, water_per_mm=0.02) == pytest.approx(0.04)


@pytest.mark.parametrize("kind", [np.float64, np.float32, torch.float64, torch.float32])
def test_units_are_reversible_without_clipping(kind: object) -> None:
    hu = np.array([-3024.0, -1000.0, -0.5, 0.0, 40.0, 30000.0])
    values = torch.tensor(hu, dtype=kind) if isinstance(kind, torch.dtype) else hu.astype(kind)  # type: ignore[call-overload]
    bound = 1e-9 if "64" in str(kind) else 4e-3
    scale = IntensityScale(unit="HU", offset=-24.0, scale=512.0)
    for there_and_back in (
        attenuation_to_hu(hu_to_attenuation(values)),
        scale.from_network(scale.to_network(values)),
    ):
        assert there_and_back.dtype == values.dtype
        assert type(there_and_back) is type(values)
        assert float(abs(there_and_back - values).max()) < bound


def test_scale_is_recorded() -> None:
    scale = IntensityScale()
    assert scale.to_network(40.0) == pytest.approx(0.04)
    assert scale.to_dict() == {"unit": "HU", "offset": 0.0, "scale": 1000.0}
    assert IntensityScale.from_dict({"unit": "SUV", "offset": 1.0, "scale": 5.0}) == IntensityScale("SUV", 1.0, 5.0)
    for bad in ({"unit": "HU"}, {"unit": "HU", "offset": 0.0, "scale": 1.0, "clip": True}):
        with pytest.raises(ValueError, match="intensity scale"):
            IntensityScale.from_dict(bad)
    for offset, width in ((0.0, 0.0), (0.0, -1.0), (np.nan, 1.0), (0.0, np.inf), ("0", 1.0)):
        with pytest.raises(ValueError, match="intensity scale"):
            IntensityScale("HU", offset, width)  # type: ignore[arg-type]
