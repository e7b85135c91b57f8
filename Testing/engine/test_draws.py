"""Draws on disk: how exactly they come back, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from diffusion_engine.posterior.draws import DrawStore


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
    with filled(tmp_path, values) as store:
        np.testing.assert_array_equal(store.read(0), values[0])
        for n in range(1, 7):
            bound = np.abs(values[n] - values[0]) / 2048 + 2 * np.spacing(np.abs(values[n]))
            assert (np.abs(store.read(n) - values[n]) <= bound).all()
        np.testing.assert_array_equal(store.read(3, slice(1, 3)), store.read(3)[1:3])
        with pytest.raises(ValueError, match="from 0 to 6, found 7"):
            store.read(7)


def test_the_files_go_with_the_store(values: np.ndarray, tmp_path: Path) -> None:
    store = filled(tmp_path, values)
    assert len(list(tmp_path.rglob("*.npy"))) == 2
    assert max(path.stat().st_size for path in tmp_path.rglob("*.npy")) < 1.1 * values[1:].nbytes / 2 + 200
    store.close()
    store.close()
    assert list(tmp_path.iterdir()) == []
    with DrawStore(1, (1, 2, 2), tmp_path) as one:
        one.write(0, slice(0, 1), np.ones((1, 2, 2), np.float32))
        assert one.read(0).tolist() == [[[1, 1], [1, 1]]]


def test_what_cannot_be_kept_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="1 draw or more"):
        DrawStore(0, (1, 2, 2))
    with DrawStore(2, (1, 1, 2), tmp_path) as store:
        store.write(0, slice(0, 1), np.zeros((1, 1, 2), np.float32))
        for bad in (np.nan, np.inf):
            with pytest.raises(FloatingPointError, match="NaN or infinite"):
                store.write(1, slice(0, 1), np.full((1, 1, 2), bad, np.float32))
        with pytest.raises(FloatingPointError, match="half precision"):
            store.write(1, slice(0, 1), np.full((1, 1, 2), 1e5, np.float32))
