"""K-space in memory: what is accepted, and one sentence for what is not."""

from __future__ import annotations

import numpy as np
import pytest
from diffusion_engine.modalities.mri.kspace import KSpace
from mri_kspaces import line_mask, samples, smooth_maps

FULL = np.ones((24, 32), bool)


def test_one_mask_serves_all_slices_and_the_acceleration_is_the_true_one() -> None:
    mask = line_mask(24, 32)
    kspace = KSpace(samples(2) * mask, mask, pixel_mm=(1.0, 0.9))
    assert kspace.mask.shape == (2, 24, 32)
    assert kspace.values.dtype == np.complex64
    assert (kspace.slices, kspace.coils, kspace.shape) == (2, 3, (24, 32))
    assert kspace.acceleration == pytest.approx(24 / mask[:, 0].sum())


@pytest.mark.parametrize(("coils", "rows", "columns"), [(1, 24, 32), (3, 25, 31), (1, 7, 9)])
def test_one_coil_and_odd_sizes_are_fine(coils: int, rows: int, columns: int) -> None:
    kspace = KSpace(samples(1, coils, rows, columns), np.ones((rows, columns), bool))
    assert kspace.shape == (rows, columns)
    assert kspace.acceleration == 1


def test_maps_of_one_slice_serve_all() -> None:
    kspace = KSpace(samples(2), FULL, maps=smooth_maps(3)[None])
    assert kspace.maps is not None
    assert kspace.maps.shape == (2, 3, 24, 32)


def _with(where: tuple[int, ...], value: complex) -> np.ndarray:
    values = samples()
    values[where] = value
    return values


@pytest.mark.parametrize(("values", "mask", "sentence"), [
    (samples()[0], FULL, "name its axes"),
    (np.abs(samples()), FULL, "lost its phase"),
    (_with((0, 1, 2, 3), np.nan), FULL, "1 that are NaN or infinite, the first in slice 0, coil 1, row 2, column 3"),
    (np.full((1, 1, 24, 32), 1e60 + 0j), FULL, "NaN or infinite"),
    (samples(), FULL.astype(np.uint8), "found uint8: compare the weights with zero"),
    (samples(), np.ones((32, 24), bool), "exchange its rows and columns"),
    (samples(), np.ones((23, 32), bool), "give the mask of this acquisition"),
    (samples(2), np.ones((3, 24, 32), bool), "give the mask of this acquisition"),
    (samples(), np.zeros((24, 32), bool), "false in a whole slice"),
    (samples(), line_mask(24, 32), "288 samples with values there: the mask does not match"),
    (samples() * line_mask(24, 32), FULL, "9 whole lines, exactly zero in every coil: the k-space was filled"),
    (samples() * (np.random.default_rng(0).random((24, 32)) < 0.9), FULL, "exactly zero in every coil"),
    (samples() * 0, FULL, "exactly zero in every coil"),
    (np.zeros((1, 0, 24, 32), np.complex64), FULL, "at least one slice and coil"),
])  # fmt: skip
def test_bad_samples_and_masks_are_refused_in_one_sentence(
    values: np.ndarray, mask: np.ndarray, sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        KSpace(values, mask)


def test_a_dead_coil_is_no_zero_filling() -> None:
    values = samples()
    values[:, 1] = 0
    assert KSpace(values, FULL).coils == 3


PLACE = np.diag([0.9, 1.0, 5.0, 1.0])


@pytest.mark.parametrize(("given", "sentence"), [
    ({"maps": smooth_maps(4)[None]}, "coil maps in the k-space's shape"),
    ({"maps": smooth_maps(3).swapaxes(1, 2)[None]}, "exchange its rows and columns"),
    ({"maps": 0 * smooth_maps(3)[None]}, "a slice where all are zero"),
    ({"maps": np.abs(smooth_maps(3))[None]}, "complex numbers as coil maps"),
    ({"calibration": samples(2)}, "calibration data in the k-space's shape"),
    ({"noise_covariance": np.eye(2)}, "3 x 3 coils"),
    ({"noise_covariance": np.zeros((3, 3))}, "positive definite"),
    ({"noise_covariance": np.triu(np.ones((3, 3)))}, "Hermitian"),
    ({"noise_covariance": np.full((3, 3), np.nan)}, "positive definite"),
    ({"pixel_mm": (0.0, 1.0)}, "positive lengths as pixel_mm"),
    ({"pixel_mm": (1.0,)}, "row and column as pixel_mm"),
    ({"slice_spacing_mm": np.nan}, "positive lengths as slice_spacing_mm"),
    ({"pixel_mm": (0.9, 1.0), "slice_spacing_mm": 5.0, "ijk_to_ras": PLACE}, "as ijk_to_ras says"),
    ({"slice_spacing_mm": 5.0, "ijk_to_ras": PLACE}, "as ijk_to_ras says"),
])
def test_what_belongs_to_the_samples_must_fit_them(given: dict, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        KSpace(samples(), FULL, **given)


def test_geometry_that_agrees_is_kept() -> None:
    kspace = KSpace(samples(), FULL, slice_spacing_mm=5.0, pixel_mm=(1.0, 0.9), ijk_to_ras=PLACE)
    np.testing.assert_array_equal(kspace.ijk_to_ras, PLACE)


def test_exchanged_rows_and_columns_keep_every_sample_at_its_place() -> None:
    mask = line_mask(24, 32)
    kspace = KSpace(
        samples(2) * mask, mask, 5.0, (1.0, 0.9), maps=smooth_maps(3)[None], ijk_to_ras=PLACE, calibration=samples(2)
    )
    turned = kspace.exchanged()
    np.testing.assert_array_equal(turned.values, kspace.values.swapaxes(2, 3))
    assert turned.maps is not None
    np.testing.assert_array_equal(turned.maps[0], smooth_maps(3).astype(np.complex64).swapaxes(1, 2))
    assert (turned.shape, turned.pixel_mm) == ((32, 24), (0.9, 1.0))
    assert turned.ijk_to_ras is not None
    np.testing.assert_array_equal(turned.ijk_to_ras @ [3, 7, 1, 1], PLACE @ [7, 3, 1, 1])
    back = turned.exchanged()
    for name in ("values", "mask", "maps", "calibration", "ijk_to_ras"):
        np.testing.assert_array_equal(getattr(back, name), getattr(kspace, name))
