"""Mean value and volume of segments, with their intervals over draws."""

from __future__ import annotations

import numpy as np
import pytest
from diffusion_engine.posterior.segments import IntensityRule, segment_intervals
from diffusion_engine.volume import Volume

SHAPE = (4, 10, 10)
VOXEL_MM3 = 3.0


def volume(array: np.ndarray) -> Volume:
    return Volume(np.asarray(array, np.float32), np.diag([-1.0, -1.5, 2.0, 1.0]), "HU")


def ball() -> np.ndarray:
    mask = np.zeros(SHAPE, bool)
    mask[1:3, 2:8, 2:8] = True
    return mask


def draws_around(image: np.ndarray, count: int, seed: int = 0) -> list[np.ndarray]:
    """Draws that differ by one number each: the mean over any mask differs by just that."""
    shifts = np.random.default_rng(seed).normal(0, 10, count)
    return [(image + shift).astype(np.float32) for shift in shifts]


def test_mean_and_its_interval_cover_a_further_draw() -> None:
    image, mask = np.zeros(SHAPE), ball()
    held = 0
    for seed in range(400):
        *given, further = draws_around(image, 9, seed)
        (row,) = segment_intervals(volume(image), given, {"ball": mask}, level=0.9)
        low, high = row.mean_interval
        held += low <= further[mask].mean() <= high
    assert abs(held / 400 - 0.9) < 4 * np.sqrt(0.09 / 400)


def test_volume_by_a_rule_varies_with_the_draws_and_stays_within_the_mask() -> None:
    image = np.full(SHAPE, -850.0)
    image[1:3, 3:7, 3:7] = 40.0
    rng = np.random.default_rng(3)
    draws = [image + rng.normal(0, 5, SHAPE) for _ in range(4)]
    for draw, columns in zip(draws, (5, 6, 7, 8), strict=True):
        draw[1:3, 3:7, 3:columns] = 40.0
        draw[1:3, 3:7, columns:8] = -850.0
    rules = {"nodule": IntensityRule(low=-300.0)}
    (row,) = segment_intervals(volume(image), draws, {"nodule": ball()}, rules, level=0.9)
    assert row.volume_mm3 == pytest.approx(32 * VOXEL_MM3)
    low, high = row.volume_interval_mm3
    assert 0 <= low < 16 * VOXEL_MM3
    assert 40 * VOXEL_MM3 < high <= 72 * VOXEL_MM3
    assert row.rule == "voxels of the mask from -300 HU up"


def test_without_a_level_the_ends_are_the_smallest_and_the_largest_draw() -> None:
    image, mask = np.zeros(SHAPE), ball()
    draws = [np.full(SHAPE, value) for value in (3.0, -2.0, 7.0)]
    (row,) = segment_intervals(volume(image), draws, {"ball": mask}, {"ball": IntensityRule(low=0.0)})
    assert (row.level, row.mean_interval) == (None, (-2.0, 7.0))
    assert row.volume_interval_mm3 == (0.0, pytest.approx(72 * VOXEL_MM3))
    assert segment_intervals(volume(image), draws, {"ball": mask}, level=0.9)[0].level == 0.9


def test_fixed_mask_has_a_volume_without_interval_and_says_so() -> None:
    image = np.zeros(SHAPE)
    (row,) = segment_intervals(volume(image), draws_around(image, 5), {"ball": ball()})
    assert row.volume_mm3 == pytest.approx(72 * VOXEL_MM3)
    assert row.volume_interval_mm3 is None
    assert row.rule == "all voxels of the mask, the same in every draw"
    assert row.mean_interval is not None


def test_without_draws_there_is_no_interval() -> None:
    image = np.full(SHAPE, 7.0)
    for draws in ([], draws_around(image, 1)):
        (row,) = segment_intervals(volume(image), draws, {"ball": ball()}, {"ball": IntensityRule(high=8.0)})
        assert (row.mean, row.mean_interval, row.volume_interval_mm3) == (7.0, None, None)


def test_empty_segments_are_left_out() -> None:
    rows = segment_intervals(volume(np.zeros(SHAPE)), [], {"none": np.zeros(SHAPE, bool), "ball": ball()})
    assert [row.name for row in rows] == ["ball"]


def test_rules_are_named_in_words() -> None:
    assert IntensityRule(-50.0, 120.0).describe("HU") == "voxels of the mask from -50 to 120 HU"
    assert IntensityRule(high=-300.0).describe("HU") == "voxels of the mask up to -300 HU"
    with pytest.raises(ValueError, match="low < high"):
        IntensityRule(5.0, 5.0)


def test_refusals() -> None:
    image = np.zeros(SHAPE)
    with pytest.raises(ValueError, match="correct a name"):
        segment_intervals(volume(image), [], {"ball": ball()}, {"bowl": IntensityRule()})
    with pytest.raises(ValueError, match="'ball' in the mean's shape"):
        segment_intervals(volume(image), [], {"ball": ball()[1:]})
    broken = image.copy()
    broken[1, 3, 3] = np.nan
    with pytest.raises(FloatingPointError, match="ball"):
        segment_intervals(volume(broken), [], {"ball": ball()})
    with pytest.raises(FloatingPointError, match="draw"):
        segment_intervals(volume(image), [image, broken], {"ball": ball()})
