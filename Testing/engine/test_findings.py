"""Regions that the draws or the measurement leave open: found, placed, measured and explained."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from diffusion_engine.posterior import findings
from diffusion_engine.posterior.findings import BOTH, NOT_SEEN, UNCERTAIN, Finding, find_regions, half_width
from diffusion_engine.posterior.intervals import prediction_interval, spread_factor
from diffusion_engine.posterior.pieces import components
from diffusion_engine.volume import Volume

SHAPE = (8, 20, 24)
SPACING = (0.8, 1.0, 2.5)
VOXEL_MM3 = 2.0


def oblique() -> np.ndarray:
    """An oblique right-handed grid of 0.8 x 1.0 x 2.5 mm."""
    a, b = np.radians(25), np.radians(-40)
    turn_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    turn_z = np.array([[np.cos(b), -np.sin(b), 0], [np.sin(b), np.cos(b), 0], [0, 0, 1]])
    matrix = np.eye(4)
    matrix[:3, :3] = turn_z @ turn_x * SPACING
    matrix[:3, 3] = (11.0, -7.0, 130.0)
    return matrix


def volume(array: np.ndarray, unit: str = "HU") -> Volume:
    return Volume(np.asarray(array, np.float32), oblique(), unit)


def scene() -> tuple[Volume, Volume, Volume]:
    """Uncertainty, mean and share with three regions: wide, unseen and faint, and both."""
    spread, share = np.full(SHAPE, 1.0), np.full(SHAPE, 0.1)
    spread[1:4, 2:6, 3:7] = 50.0  # 48 voxels over three slices
    spread[2, 3, 4] = 80.0
    spread[5:7, 12:15, 12:16] = 12.0  # under the threshold of 20 / factor, but not seen: 24 voxels
    share[5:7, 12:15, 12:16] = 0.8
    spread[6, 2:5, 18:22] = 40.0  # 12 voxels, both
    share[6, 2:5, 18:22] = 0.9
    share[0, 18, 2] = 1.0  # all of next to nothing
    return volume(spread), volume(np.arange(np.prod(SHAPE)).reshape(SHAPE) % 97), volume(share, "1")


def found(**changes: object) -> tuple[Finding, ...]:
    spread, mean, share = scene()
    arguments = {
        "uncertainty": spread, "mean": mean, "not_seen_share": share, "draws": [], "threshold": 40.0,
        "share_threshold": 0.5, "minimum_mm3": 10.0, "segments": {}, **changes,
    }  # fmt: skip
    return find_regions(**arguments).findings


def test_regions_are_whole_in_order_and_in_their_place() -> None:
    spread, mean, share = scene()
    regions = find_regions(spread, mean, share, [], 40.0, 0.5, 10.0, {})
    wide, both, unseen = regions.findings
    assert [each.number for each in regions.findings] == [1, 2, 3]
    assert [each.reason for each in regions.findings] == [UNCERTAIN, BOTH, NOT_SEEN]
    assert [each.volume_mm3 for each in regions.findings] == pytest.approx([48 * VOXEL_MM3, 24.0, 48.0])
    matrix = oblique()
    assert wide.peak_ras_mm == pytest.approx(tuple(matrix[:3] @ [4, 3, 2, 1]))
    assert wide.centre_ras_mm == pytest.approx(tuple(matrix[:3] @ [4.5, 3.5, 2, 1]))
    assert unseen.centre_ras_mm == pytest.approx(tuple(matrix[:3] @ [13.5, 13, 5.5, 1]))
    assert both.not_seen_share == pytest.approx(0.9)
    assert np.bincount(regions.labels.ravel())[1:].tolist() == [48, 12, 24]
    assert set(np.unique(regions.labels[1:4, 2:6, 3:7])) == {1}


def test_peak_of_a_plateau_is_in_its_middle() -> None:
    spread = np.zeros(SHAPE)
    spread[1:6, 4:9, 6:13] = 50.0
    (plateau,) = found(uncertainty=volume(spread), not_seen_share=None)
    assert plateau.peak_ras_mm == pytest.approx(tuple(oblique()[:3] @ [9, 6, 3, 1]))
    assert plateau.peak_ras_mm == pytest.approx(plateau.centre_ras_mm)


def test_minimum_volume_and_thresholds_decide() -> None:
    assert [each.volume_mm3 for each in found(minimum_mm3=30.0)] == pytest.approx([96.0, 48.0])
    assert [each.reason for each in found(share_threshold=0.95)] == ["uncertain", "uncertain"]
    assert [each.reason for each in found(not_seen_share=None)] == ["uncertain", "uncertain"]
    assert found(not_seen_share=None)[0].not_seen_share is None
    assert found(threshold=1000.0) == ()


def test_a_share_of_next_to_nothing_is_no_finding() -> None:
    assert all(each.volume_mm3 > VOXEL_MM3 for each in found(minimum_mm3=0.0))


def test_half_width_grows_as_draws_get_fewer() -> None:
    few, many = found(draw_count=2)[0], found(draw_count=None)[0]
    assert few.half_width == pytest.approx(80.0 * spread_factor(2))
    assert many.half_width == pytest.approx(80.0 * 1.6449, rel=1e-4)
    assert half_width(np.ones(3), 8) == pytest.approx(np.full(3, spread_factor(8)))


def test_interval_of_the_mean_comes_from_the_draws_or_says_that_it_does_not() -> None:
    _, mean, _ = scene()
    rng = np.random.default_rng(0)
    draws = [mean.array + rng.normal(0, 1, SHAPE).astype(np.float32) for _ in range(6)]
    for draw in draws:
        draw[1:4, :10, :11] += rng.normal(0, 50)
    spread, _, share = scene()
    regions = find_regions(spread, mean, share, draws, 40.0, 0.5, 10.0, {}, level=0.9)
    drawn, region = regions.findings[0], regions.labels == 1
    low, high = prediction_interval(np.array([np.mean(draw[region], dtype=float) for draw in draws]))
    assert drawn.basis == "draws"
    assert drawn.interval == pytest.approx((float(low), float(high)))
    ends = found(draws=draws)[0]
    values = [float(np.mean(draw[region], dtype=float)) for draw in draws]
    assert ends.interval == pytest.approx((min(values), max(values)))
    assert (drawn.level, ends.level) == (0.9, None)
    assert ends.spread_in_words(6) == "smallest to largest of 6 samples"
    assert drawn.spread_in_words(6) == "90 % interval of 6 samples, under the trained model"
    assert drawn.mean_value == pytest.approx(float(mean.array[region].mean()), rel=1e-5)
    mapped = found(draw_count=6, level=0.9)[0]
    assert (mapped.basis, mapped.level) == ("map", None)
    assert mapped.spread_in_words(6) == "average half width of the voxels, from the map"
    assert mapped.mean_value == pytest.approx(float(mean.array[1:4, 2:6, 3:7].mean()), rel=1e-5)
    half = spread_factor(6) * (47 * 50.0 + 80.0) / 48
    assert mapped.interval == pytest.approx((mapped.mean_value - half, mapped.mean_value + half))
    # Voxels that vary on their own average out; the map cannot know that.
    alone = [mean.array + rng.normal(0, 30, SHAPE).astype(np.float32) for _ in range(6)]
    assert found(draws=alone, not_seen_share=None) == ()


@pytest.mark.parametrize("stretch", [1.0, 2.5])
def test_widths_of_a_row_are_all_of_the_draws_or_all_of_the_map(stretch: float) -> None:
    """A calibration stretches the map of the voxels and not the draws."""
    _, mean, _ = scene()
    rng = np.random.default_rng(0)
    draws = [mean.array + rng.normal(0, 30, SHAPE).astype(np.float32) for _ in range(6)]
    raw = np.std(draws, axis=0, ddof=1)
    (row,) = found(draws=draws, uncertainty=volume(stretch * raw), not_seen_share=None, threshold=1.0)
    assert row.half_width == pytest.approx(spread_factor(6) * raw.max(), rel=1e-3)
    (mapped,) = found(draw_count=6, uncertainty=volume(stretch * raw), not_seen_share=None, threshold=1.0)
    assert mapped.half_width == pytest.approx(stretch * spread_factor(6) * raw.max(), rel=1e-3)
    half = stretch * spread_factor(6) * raw.mean()
    assert mapped.interval[1] - mapped.mean_value == pytest.approx(half, rel=1e-3)


def test_segment_is_the_smallest_that_holds_half_of_the_region() -> None:
    body, lung = np.ones(SHAPE, bool), np.zeros(SHAPE, bool)
    lung[:, :, :8] = True
    assert [each.segment for each in found(segments={"body": body, "lung": lung})] == ["lung", "body", "body"]
    assert [each.segment for each in found(segments={"lung": lung})] == ["lung", None, None]
    lung[:, 4:] = False  # half of the first region, so still the more telling name
    assert found(segments={"body": body, "lung": lung})[0].segment == "lung"
    body[:, :, 5:], lung[:, :, :6] = False, False  # neither holds half
    body[2, 3, 4] = False
    assert found(segments={"lung": lung, "body": body})[0].segment == "body"


def test_regions_that_touch_at_corners_only_stay_apart() -> None:
    spread = np.zeros(SHAPE)
    spread[2, 4:8, 4:8] = spread[3, 8:12, 8:12] = 100.0
    assert len(found(uncertainty=volume(spread), not_seen_share=None)) == 2


def by_looking_through_all(parts: np.ndarray) -> list[np.ndarray]:
    """The same places by going through the whole volume for every part."""
    return [np.flatnonzero(parts == part) for part in range(1, int(parts.max()) + 1)]


@pytest.mark.parametrize("seed", range(4))
def test_regions_are_those_of_looking_through_all(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(seed)
    spread, share = rng.gamma(0.7, 12.0, SHAPE), rng.random(SHAPE)
    mean, draws = volume(rng.normal(0, 300, SHAPE)), [rng.normal(0, 300, SHAPE).astype(np.float32) for _ in range(3)]
    masks = {"a": rng.random(SHAPE) < 0.6, "b": rng.random(SHAPE) < 0.5, "c": np.zeros(SHAPE, bool)}
    arguments = (volume(spread), mean, volume(share, "1"), draws if seed % 2 else [], 40.0, 0.5, 4.0, masks)
    quick = find_regions(*arguments)
    monkeypatch.setattr(findings, "_places", lambda parts, sizes: by_looking_through_all(parts))
    slow = find_regions(*arguments)
    assert len(quick.findings) > 20
    assert quick.findings == slow.findings
    np.testing.assert_array_equal(quick.labels, slow.labels)


class Watched(np.ndarray):
    """Counts the elements that are gone through in whole-array operations."""

    seen = 0

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: object, **named: object) -> object:
        Watched.seen += max(getattr(each, "size", 1) for each in inputs)
        plain = [np.asarray(each) if isinstance(each, Watched) else each for each in inputs]
        return getattr(ufunc, method)(*plain, **named)

    def __array_function__(self, function: object, types: object, arguments: tuple, named: dict) -> object:
        Watched.seen += max(getattr(each, "size", 1) for each in arguments)
        plain = [np.asarray(each) if isinstance(each, Watched) else each for each in arguments]
        return function(*plain, **named)


def test_eight_thousand_regions_are_found_in_a_few_looks_at_the_volume(monkeypatch: pytest.MonkeyPatch) -> None:
    """A volume that is gone through once for every region makes 8,000 times its voxels; here it is some 10 times."""
    shape = (40, 40, 40)
    spread = np.full(shape, 1.0)
    spread[::2, ::2, ::2] = 50.0
    grid = [Volume(np.asarray(each, np.float32), np.eye(4), "HU") for each in (spread, np.zeros(shape))]
    whole = components(spread > 20)
    Watched.seen = 0
    monkeypatch.setattr(findings, "pieces", lambda *_: whole.view(Watched))
    masks = {name: np.ones(shape, bool).view(Watched) for name in ("body", "more")}
    regions = find_regions(*grid, None, [], 40.0, 0.5, 0.5, masks)
    assert len(regions.findings) == 8000
    assert regions.findings[0].segment == "body"
    assert 0 < Watched.seen < 30 * spread.size


def test_refusals() -> None:
    spread, mean, _ = scene()
    with pytest.raises(ValueError, match="uncertainty in the mean's shape"):
        found(uncertainty=volume(spread.array[1:]))
    with pytest.raises(ValueError, match="segment lung"):
        found(segments={"lung": np.ones((2, 2, 2))})
    with pytest.raises(ValueError, match="threshold above 0"):
        found(threshold=0.0)
    broken = mean.array.copy()
    broken[0, 0, 0] = np.nan
    with pytest.raises(FloatingPointError, match="draw 2"):
        found(draws=[mean.array, broken])


def test_needs_no_torch() -> None:
    code = (
        "import sys; import diffusion_engine.posterior.findings, diffusion_engine.posterior.segments; "
        "print([name for name in ('torch', 'scipy.stats', 'slicer') if name in sys.modules])"
    )
    engine = Path(__file__).resolve().parents[2] / "DiffusionRecon"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=engine, check=True)
    assert run.stdout.strip() == "[]"
