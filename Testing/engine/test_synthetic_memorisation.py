"""Synthetic images against their nearest training images, compared with the training set's own distances."""

from __future__ import annotations

import numpy as np
import pytest
from diffusion_engine.synthesis.memorisation import neighbours
from diffusion_engine.training.data import TrainingSlices
from scipy import ndimage


def slices(seed: int, count: int = 2) -> TrainingSlices:
    noise = np.random.default_rng(seed).normal(0, 1, (count, 48, 48))
    values = 3 * ndimage.gaussian_filter(noise, (0, 3, 3))
    return TrainingSlices(f"volume {seed}", values.astype(np.float16), np.full(count, 1.0))


TRAINING = [slices(seed) for seed in range(3)]


def test_new_images_are_as_far_away_as_other_patients() -> None:
    found = neighbours([slices(9)], TRAINING, size=24)
    assert not found["suspicious"]
    assert 0.7 < found["ratio"] < 1.4
    assert len(found["own"]) == 3 * len(found["samples"])
    assert found["sentence"].endswith(".")
    assert found == neighbours([slices(9)], TRAINING, size=24), "the same every time"


def test_copies_are_suspicious() -> None:
    found = neighbours([TRAINING[1]], TRAINING, size=24)
    assert found["suspicious"]
    assert found["ratio"] < 0.2
    assert "may repeat" in found["sentence"]


def test_one_copy_among_new_images_is_suspicious() -> None:
    values = np.concatenate([slices(9, 6).values, TRAINING[0].values[:1]])
    mixed = TrainingSlices("mixed", values, np.full(len(values), 1.0))
    found = neighbours([mixed], TRAINING, size=24, count=32)
    assert found["ratio"] > 0.5
    assert found["closest"] < 0.5
    assert found["suspicious"]


def test_too_little_to_compare_is_refused() -> None:
    with pytest.raises(ValueError, match="expected synthetic images to compare, found none"):
        neighbours([], TRAINING)
    with pytest.raises(ValueError, match="at least two training volumes, found 1"):
        neighbours([slices(9)], TRAINING[:1])
