"""Noise that differs from ray to ray: estimated from line integrals alone, and used by what reconstructs."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from ct_phantoms import disc_sinogram
from diffusion_engine.classical.tv import tv
from diffusion_engine.likelihoods.gaussian import GaussianLikelihood
from diffusion_engine.modalities.ct.readings.line_integrals import as_line_integrals, estimated_variance
from diffusion_engine.physics.ct import ImageGrid, make_projector, parallel_geometry
from diffusion_engine.physics.noise import log_data
from diffusion_engine.physics.noise_by_ray import variance_by_ray
from diffusion_engine.priors.analytic import GaussianDenoiser
from diffusion_engine.sampling.noise import Noise
from diffusion_engine.solvers.catalogue import method_named
from readings_scans import BODY, geometry, lines, photons


def from_counts(i0: float, electronic: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Line integrals of the body by counts, and the expectation of their variance."""
    measured = photons(geometry(), i0, electronic=electronic)
    values, _ = log_data(torch.from_numpy(measured.values), i0, electronic)
    clean = sum(disc_sinogram(geometry(), *disc) for disc in BODY).numpy()[None]
    counts = i0 * np.exp(-clean)
    return values.numpy(), (counts + electronic**2) / counts**2


@pytest.mark.parametrize(("i0", "most"), [(5e3, 0.1), (2e4, 0.15)])
def test_noise_of_counts_is_found_from_their_line_integrals(i0: float, most: float) -> None:
    """Detail finer than a bin counts as noise, a little more where there is less of it."""
    values, true = from_counts(i0)
    found = variance_by_ray(values)
    assert found is not None
    assert found.shape == values.shape
    away = 0.5 * np.log(found / true)
    assert abs(np.median(away)) < most
    assert np.sqrt(np.mean(away**2)) < 0.25
    # One number for all is wrong by far more.
    assert np.std(0.5 * np.log(true)) > 0.7


@pytest.mark.parametrize("std", [0.002, 0.01, 0.1])
def test_equal_noise_stays_one_number(std: float) -> None:
    good = lines(geometry(), std)
    assert variance_by_ray(good.values) is None
    notes: list[str] = []
    variance = estimated_variance(torch.from_numpy(good.values), None, notes)
    assert variance.shape == ()
    assert notes == [
        f"The noise was estimated from the data: standard deviation {math.sqrt(variance):.4g} of the line integrals."
    ]


def test_readings_that_are_none_play_no_part() -> None:
    values, true = from_counts(1e4)
    rng = np.random.default_rng(0)
    used = np.ones(values.shape, bool)
    used[..., 60:64] = False
    spoiled = np.where(used, values, 5 * rng.standard_normal(values.shape))
    found = variance_by_ray(spoiled, used)
    assert found is not None
    keep = np.ones(values.shape, bool)
    keep[..., 56:68] = False
    assert np.sqrt(np.mean((0.5 * np.log(found / true))[keep] ** 2)) < 0.25


def test_noise_below_the_detail_of_a_bin_stays_one_number() -> None:
    """Weights of noise that is not what is left would lend the thin rays' errors too much weight."""
    values, _ = from_counts(1e8)
    assert variance_by_ray(values) is None


def test_too_few_readings_have_one_number() -> None:
    values, _ = from_counts(1e4)
    assert variance_by_ray(values[:, :8]) is None


def test_a_measurement_without_a_variance_gets_one_by_ray_and_says_so() -> None:
    values, true = from_counts(1e4)
    measurement = replace(lines(geometry()), values=values.astype(np.float32))
    used = np.ones(values.shape, bool)
    used[:, 3] = False
    notes: list[str] = []
    read = as_line_integrals(measurement, notes, used)
    assert read.variance is not None
    assert np.isinf(read.variance[:, 3]).all()
    assert np.sqrt(np.mean((0.5 * np.log(read.variance / true))[used] ** 2)) < 0.25
    (note,) = notes
    assert "noise was estimated from the data and grows with what a ray crossed" in note


def unequal() -> tuple[GaussianLikelihood, GaussianLikelihood]:
    """A disc whose readings of half the rays are nonsense of large variance, and the same called equal."""
    grid = ImageGrid(16, 16, (1.0, 1.0))
    projector = make_projector(parallel_geometry(grid, 24), grid)
    y, x = np.mgrid[:16, :16] - 7.5
    clean = projector.forward(torch.tensor((x**2 + y**2 < 36).astype(np.float32))[None])
    variance = torch.full_like(clean, 0.01)
    variance[..., 1::2, :] = 100.0
    draw = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    data = clean + variance.sqrt() * draw
    return GaussianLikelihood(projector, data, variance), GaussianLikelihood(projector, data, variance.mean())


def error(image: torch.Tensor) -> float:
    y, x = np.mgrid[:16, :16] - 7.5
    return float((image[0] - torch.tensor((x**2 + y**2 < 36).astype(np.float32))).square().mean().sqrt())


@pytest.mark.parametrize("name", ["dds", "tmpd", "mmps"])
def test_solvers_weight_every_ray_by_its_own_noise(name: str) -> None:
    weighted, equal = unequal()
    options: dict[str, Any] = {"steps": 8, "sigma_start": 1.0}
    found = []
    for likelihood in (weighted, equal):
        method = method_named(name)
        settings = method.options({}, **options)
        prior, start = GaussianDenoiser(torch.tensor(0.3), torch.tensor(0.25)), torch.zeros(1, 16, 16)
        last = start
        for step in method.solve(prior, likelihood, start, settings, Noise(0, 1, "draw"), None):
            last = step.estimate
        found.append(error(last))
    assert found[0] < 0.6 * found[1]


def test_tv_and_the_residual_weight_every_ray_by_its_own_noise() -> None:
    weighted, equal = unequal()
    assert error(tv(weighted, iterations=300)) < 0.6 * error(tv(equal, iterations=300))
    y, x = np.mgrid[:16, :16] - 7.5
    truth = torch.tensor((x**2 + y**2 < 36).astype(np.float32))[None]
    by_view = weighted.residual_per_view(truth)[0]
    assert float(by_view[0::2].mean()) == pytest.approx(1, abs=0.2)
    assert float(by_view[1::2].mean()) == pytest.approx(1, abs=0.2)
