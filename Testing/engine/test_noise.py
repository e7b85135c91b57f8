"""Noise: counts scale as they should, their log data carry the right variance, and estimates find what was put in."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from ct_phantoms import disc_sinogram
from diffusion_engine.physics.ct import CTGeometry
from diffusion_engine.physics.noise import (
    estimate_air_counts,
    estimate_noise_std,
    log_data,
    simulate_counts,
    typical_noise_std,
)


def seeded(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.fixture(scope="module")
def clean() -> torch.Tensor:
    """Exact line integrals of a round body with lungs and a spine, shifted from slice to slice, (4, 60, 240)."""
    geometry = CTGeometry("parallel", tuple(np.linspace(0, math.pi, 60, endpoint=False)), 240, 1.5)
    discs = ((0, 0, 150, 0.02), (-70, 0, 45, -0.015), (70, 0, 45, -0.015), (0, 90, 20, 0.02))
    return torch.stack([sum(disc_sinogram(geometry, x + k, y, r, v) for x, y, r, v in discs) for k in range(4)]).float()


@pytest.mark.parametrize(("i0", "electronic"), [(1e3, 0.0), (1e5, 0.0), (1e4, 30.0)])
@pytest.mark.parametrize("p", [0.0, 2.0])
def test_counts_have_poisson_plus_electronic_variance(i0: float, electronic: float, p: float) -> None:
    counts = simulate_counts(torch.full((200_000,), p), i0, electronic, seeded())
    mean = i0 * math.exp(-p)
    assert float(counts.double().mean()) == pytest.approx(mean, rel=5 / math.sqrt(mean * 200_000) + 1e-3)
    assert float(counts.double().var()) == pytest.approx(mean + electronic**2, rel=0.02)


@pytest.mark.parametrize(("i0", "electronic", "p"), [(1e4, 0.0, 1.0), (1e5, 20.0, 4.0)])
def test_log_data_variance_is_the_variance_of_the_log_data(i0: float, electronic: float, p: float) -> None:
    counts = simulate_counts(torch.full((200_000,), p, dtype=torch.float64), i0, electronic, seeded())
    values, variance = log_data(counts, i0, electronic)
    assert float(values.mean()) == pytest.approx(p, abs=0.01)
    assert float(variance.mean()) == pytest.approx(float(values.var()), rel=0.03)


def test_quadrupled_dose_halves_the_noise() -> None:
    p = torch.full((100_000,), 2.0)
    low, high = (log_data(simulate_counts(p, i0, 0.0, seeded()), i0)[0].std() for i0 in (1e4, 4e4))
    assert float(low / high) == pytest.approx(2.0, rel=0.02)


def test_starved_readings_are_finite_and_all_but_ignored() -> None:
    values, variance = log_data(torch.tensor([-3.0, 0.0, 0.4, 1.0, 1e4]), 1e4)
    assert bool(torch.isfinite(values).all())
    assert values[:4].tolist() == pytest.approx([math.log(1e4)] * 4)
    assert variance[:3].tolist() == pytest.approx([math.log(1e4) ** 2] * 3)
    assert variance[3:].tolist() == pytest.approx([1.0, 1e-4])
    _, variance = log_data(torch.tensor([12.0, 50.0]), 1e4, electronic_std=20.0)
    assert float(variance[0]) > 20 * float(variance[1])


@pytest.mark.parametrize("percent", [0.2, 1.0, 3.0])
def test_gaussian_noise_is_found_again(clean: torch.Tensor, percent: float) -> None:
    std = percent / 100 * float(clean.max())
    noisy = clean + std * torch.from_numpy(seeded().standard_normal(clean.shape, np.float32))
    assert float((noisy - clean).std()) == pytest.approx(std, rel=0.01)
    assert estimate_noise_std(noisy) == pytest.approx(std, rel=0.2 if percent < 1 else 0.05)


@pytest.mark.parametrize("i0", [2e3, 3e4])
def test_the_counts_of_air_are_found_again(clean: torch.Tensor, i0: float) -> None:
    counts = simulate_counts(clean, i0, 0.0, seeded())
    assert estimate_air_counts(counts) == pytest.approx(i0, rel=0.1)


def test_a_few_bins_do_not_set_the_noise(clean: torch.Tensor) -> None:
    noisy = clean + 0.05 * torch.from_numpy(seeded().standard_normal(clean.shape, np.float32))
    right = estimate_noise_std(noisy)
    noisy[..., [60, 100, 101]] = 0.0
    used = torch.ones(240, dtype=torch.bool)
    used[[60, 100, 101]] = False
    assert estimate_noise_std(noisy) == pytest.approx(right, rel=0.1)
    assert estimate_noise_std(noisy, used) == pytest.approx(right, rel=0.02)


def test_readings_that_were_set_say_nothing_about_the_noise(clean: torch.Tensor) -> None:
    noisy = clean + 0.05 * torch.from_numpy(seeded().standard_normal(clean.shape, np.float32))
    for masked in (torch.where(clean < 3.5, 0.0, noisy), noisy.clamp(min=0.0), noisy.clamp(max=5.0)):
        assert estimate_noise_std(masked) == pytest.approx(0.05, rel=0.15)
    assert estimate_noise_std(torch.zeros(2, 3, 20)) == 0


def test_dead_and_starved_readings_do_not_speak_for_the_others() -> None:
    variance = torch.full((1, 40, 128), 4e-4)
    assert typical_noise_std(variance) == pytest.approx(0.02)
    variance[..., 5] = 98.0
    variance[..., 6] = math.inf
    assert typical_noise_std(variance) == pytest.approx(0.02)
    assert typical_noise_std(torch.tensor([4.0, math.inf])) == pytest.approx(2.0)


@pytest.mark.parametrize("i0", [200.0, 2e4, 1e6])
def test_the_level_of_the_air_is_not_that_of_its_noise_or_of_hot_bins(clean: torch.Tensor, i0: float) -> None:
    counts = simulate_counts(clean, i0, 0.0, seeded())
    assert estimate_air_counts(counts) == pytest.approx(i0, rel=0.01)
    counts[..., [20, 60, 61, 62, 63, 100]] = 3 * i0
    used = torch.ones(240, dtype=torch.bool)
    used[[20, 60, 61, 62, 63, 100]] = False
    assert estimate_air_counts(counts, used) == pytest.approx(i0, rel=0.01)


def test_same_seed_same_noise() -> None:
    p = torch.ones(3, 4)
    assert torch.equal(simulate_counts(p, 100.0, 2.0, seeded(4)), simulate_counts(p, 100.0, 2.0, seeded(4)))
    assert not torch.equal(simulate_counts(p, 100.0, 2.0, seeded(4)), simulate_counts(p, 100.0, 2.0, seeded(5)))


def test_faults_are_refused() -> None:
    p = torch.ones(3)
    with pytest.raises(ValueError, match="i0"):
        simulate_counts(p, 0.0, 0.0, seeded())
    with pytest.raises(ValueError, match="electronic_std"):
        log_data(p, 10.0, -1.0)
    with pytest.raises(ValueError, match="NaN"):
        log_data(torch.tensor([math.nan]), 10.0)
    with pytest.raises(ValueError, match="16 detector bins"):
        estimate_noise_std(torch.zeros(3, 5))
