"""Draws on disk: how exactly they come back, and intervals that cover what they promise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from diffusion_engine.posterior import draws as module
from diffusion_engine.posterior.draws import DrawStore, binomial_interval, exchangeable_quantile


def filled(folder: Path, values: np.ndarray) -> DrawStore:
    store = DrawStore(len(values), values.shape[1:], folder)
    for n, image in enumerate(values):
        for start in range(0, values.shape[1], 2):
            store.write(n, slice(start, start + 2), image[start : start + 2])
    return store


@pytest.fixture
def values() -> np.ndarray:
    """Seven draws of five slices: lung, tissue and metal, 100 HU apart or so."""
    rng = np.random.default_rng(0)
    base = rng.choice([-1000.0, -850.0, 40.0, 3071.0], size=(1, 5, 6, 4))
    return (base + rng.normal(0, 60, (7, 5, 6, 4))).astype(np.float32)


def test_draws_come_back_to_the_stated_rounding(values: np.ndarray, tmp_path: Path) -> None:
    with filled(tmp_path / "draws", values) as store:
        np.testing.assert_array_equal(store.read(0), values[0])
        for n in range(1, 7):
            bound = np.abs(values[n] - values[0]) / 2048 + 2 * np.spacing(np.abs(values[n]))
            assert (np.abs(store.read(n) - values[n]) <= bound).all()
        np.testing.assert_array_equal(store.read(3, slice(1, 3)), store.read(3)[1:3])
        with pytest.raises(ValueError, match="from 0 to 6, found 7"):
            store.read(7)


def test_slabs_change_nothing(values: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with filled(tmp_path / "draws", values) as store:
        whole = [store.quantile(0.5), *store.interval(0.9), *store.exceedance(0.0)]
        monkeypatch.setattr(module, "SLAB_BYTES", 1)
        assert [part for part, _ in store.slabs()] == [slice(n, n + 1) for n in range(5)]
        again = [store.quantile(0.5), *store.interval(0.9), *store.exceedance(0.0)]
        for a, b in zip(whole, again, strict=True):
            np.testing.assert_array_equal(a, b)
        np.testing.assert_allclose(whole[0], np.median(values, 0), atol=0.2)
        np.testing.assert_allclose(whole[3], (values > 0).mean(0), atol=1e-6)


def test_the_files_go_with_the_store(values: np.ndarray, tmp_path: Path) -> None:
    store = filled(tmp_path / "draws", values)
    assert len(list(tmp_path.rglob("*.npy"))) == 2
    assert max(path.stat().st_size for path in tmp_path.rglob("*.npy")) < 1.1 * values[1:].nbytes / 2 + 200
    store.close()
    store.close()
    assert list(tmp_path.iterdir()) == []
    with DrawStore(1, (1, 2, 2), tmp_path / "draws") as one:
        one.write(0, slice(0, 1), np.ones((1, 2, 2), np.float32))
        assert one.read(0).tolist() == [[[1, 1], [1, 1]]]


def test_what_cannot_be_kept_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="1 draw or more"):
        DrawStore(0, (1, 2, 2))
    with DrawStore(2, (1, 1, 2), tmp_path / "draws") as store:
        store.write(0, slice(0, 1), np.zeros((1, 1, 2), np.float32))
        for bad in (np.nan, np.inf):
            with pytest.raises(FloatingPointError, match="NaN or infinite"):
                store.write(1, slice(0, 1), np.full((1, 1, 2), bad, np.float32))
        with pytest.raises(FloatingPointError, match="half precision"):
            store.write(1, slice(0, 1), np.full((1, 1, 2), 1e5, np.float32))


@pytest.mark.parametrize(("count", "level"), [(2, 0.95), (8, 0.05), (16, 0.5), (19, 0.95), (64, 0.05)])
def test_a_quantile_bounds_one_more_normal_draw(count: int, level: float) -> None:
    """Monte Carlo error of a share of 100,000: 0.0015 or less."""
    values = np.random.default_rng(count).normal(50, 7, (count + 1, 100_000))
    assert (values[count] <= exchangeable_quantile(values[:count], level)).mean() == pytest.approx(level, abs=0.006)


def test_order_statistics_cover_without_a_normal_distribution() -> None:
    """Raw quantiles of 16 draws fall short (0.81); order statistics of 39 skewed draws do not."""
    values = np.random.default_rng(5).exponential(size=(40, 100_000))
    low, high = exchangeable_quantile(values[:39], 0.05), exchangeable_quantile(values[:39], 0.95)
    assert ((values[39] >= low) & (values[39] <= high)).mean() == pytest.approx(0.9, abs=0.004)
    few = np.random.default_rng(6).normal(size=(17, 100_000))
    raw_low, raw_high = np.quantile(few[:16], [0.05, 0.95], axis=0)
    assert ((few[16] >= raw_low) & (few[16] <= raw_high)).mean() < 0.83


def test_exceedance_intervals_hold_their_probability() -> None:
    low, high = binomial_interval(16, 0.9)
    assert (low[0], high[16]) == (0.0, 1.0)
    assert high[0] == pytest.approx(1 - 0.05 ** (1 / 16))
    hits = np.random.default_rng(1).binomial(16, 0.3, 50_000)
    assert ((low[hits] <= 0.3) & (high[hits] >= 0.3)).mean() >= 0.9
    share = np.arange(17) / 16
    assert ((low <= share) & (share <= high)).all()


def test_too_few_draws_have_no_quantile() -> None:
    with pytest.raises(ValueError, match="2 draws or more"):
        exchangeable_quantile(np.zeros((1, 3)), 0.5)
