"""What real receivers do that a simulation does not: filtered ends of the readout, noise scans of another scale."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from benchmarks.mri_measured import case_of, outer
from diffusion_engine.likelihoods.conditional import SolveSettings
from diffusion_engine.likelihoods.gaussian import GaussianLikelihood, ScaledOperator
from diffusion_engine.modalities.mri.kspace import KSpace
from diffusion_engine.modalities.mri.problem import prepare
from diffusion_engine.modalities.mri.sampled import middle_block, sampled
from diffusion_engine.physics.masked_fourier import centred_fft
from diffusion_engine.physics.mri import MultiCoilFourier
from diffusion_engine.physics.mri_masks import Sampling, sampling_mask
from diffusion_engine.physics.mri_noise import estimate_noise, noise_levels
from diffusion_engine.physics.operator import Rows, on_support
from diffusion_engine.priors.adapter_card import SHIPPED
from diffusion_engine.priors.card import read_card
from diffusion_engine.sampling.noise import Noise
from mri_coils import head, ring_maps
from mri_scans import CPU, as_measured, asked, kspace, problem
from small_modalities import Shrinking
from torch import Tensor

CARD = replace(read_card(SHIPPED / "mr-head.json"), calibration=[], typicality={}, unit="a.u.", pixel_mm=(1.0, 2.0))
STD = 0.02


def noise(*shape: int, seed: int = 0) -> Tensor:
    return STD * torch.randn(shape, dtype=torch.complex64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("other", [None, 30.0])
def test_the_noise_of_samples_goes_along_to_other_pixels(other: float | None) -> None:
    """Of noise alone the residual of an empty image is 1, on the matrix of the file and on the prior's."""
    values = noise(1, 4, 64, 60).numpy()
    values[:, :, 26:38, 24:36] += 1  # a middle that tells maps
    full = KSpace(values, np.ones((1, 64, 60), bool), 5.0, (3.6, 3.6), noise_covariance=STD**2 * np.eye(4))
    ready = prepare(full, asked(), CPU, CARD)
    assert ready.prior.grid.shape == (115, 108)
    quiet = noise(1, 4, 64, 60, seed=1) * (1 if other is None else other)
    for system in (ready.delivered, ready.prior):
        again = system.with_data(quiet)
        assert again.data.shape[-2:] == system.grid.shape
        ratio = float(again.groups(torch.zeros((1, *system.grid.shape), dtype=torch.complex64)).mean())
        assert ratio == pytest.approx(1 if other is None else other**2, rel=0.05)


def test_a_scan_made_again_reaches_the_prior_s_pixels() -> None:
    ready = prepare(as_measured(kspace()), asked(), CPU, CARD)
    assert not ready.one_grid
    image = ready.scale.from_network(ready.delivered.start()).numpy()[0]
    again = ready.rescanned(image, 0, seed=0)
    assert again.prior.data.shape[-2:] == ready.prior.grid.shape
    fine, coarse = (system.start().abs() for system in (again.prior, again.delivered))
    assert float(fine.mean()) == pytest.approx(float(coarse.mean()), rel=0.1)


def test_images_are_zero_where_no_coil_sees_them() -> None:
    """Inside they are what they would be otherwise; outside only the prior could say something."""
    maps = ring_maps(3, 24, 20)
    maps[..., :6, :] = 0
    mask = torch.rand(1, 24, 20, generator=torch.Generator().manual_seed(0)) < 0.6
    own = MultiCoilFourier(maps, mask)
    data = own.forward(head(24, 20))
    likelihood = GaussianLikelihood(own, data, own.variance(torch.tensor(STD**2, dtype=torch.float64)))
    wrong = torch.ones(1, 24, 20, dtype=torch.complex128)

    def even(v: Tensor) -> Tensor:
        return 0.1 * v

    asked_for = SolveSettings(1, 1e-3, 5, 1e-2)
    expected = head(24, 20) * (torch.arange(24) >= 6)[:, None]
    for image in (
        likelihood.proximal(wrong, 0.1, 12, 1e-4), likelihood.conditional_mean(wrong, even, even, asked_for),
        likelihood.conditional_mean_within(wrong, even, even, asked_for, 1e-2).image,
        likelihood.conditional_draw(wrong, 0.1, Noise(0, 0), 5),
    ):
        assert float(image[:, :6].abs().max()) == 0
        assert float(image[:, 6:].abs().max()) > 0
    found = likelihood.proximal(wrong, 0.1, 12, 1e-4)
    free = likelihood.proximal(torch.where(own.support, wrong, 5.0), 0.1, 12, 1e-4)
    torch.testing.assert_close(found, free)
    assert float((found - expected).abs().mean()) < float((wrong - expected).abs().mean())
    for wrapped in (ScaledOperator(own, 2.0), Rows(own, slice(None), 24)):
        torch.testing.assert_close(on_support(wrapped, wrong), on_support(own, wrong))
    assert bool((on_support(own, wrong)[:, :6] == 0).all())


@pytest.mark.parametrize("along", [0, 1])
def test_the_filtered_ends_of_a_readout_are_not_the_noise(along: int) -> None:
    """A receiver lets a third of the noise through at the ends of the field, over a fifth of it."""
    rows, columns = 128, 112
    size = (rows, columns)[along]
    passed = (torch.minimum(torch.arange(size), torch.arange(size).flip(0)) / (0.2 * size)).clamp(0.3, 1)
    filtered = noise(2, 4, rows, columns) * (passed[:, None] if along == 0 else passed)
    clean = centred_fft(head(rows, columns)[:, None] * ring_maps(4, rows, columns))
    y, x = torch.arange(rows) - rows // 2, torch.arange(columns) - columns // 2
    smooth = torch.exp(-40 * (y / rows)[:, None] ** 2 - 40 * (x / columns) ** 2)
    samples = centred_fft(filtered) + (clean * smooth).to(torch.complex64)
    found = estimate_noise(samples, torch.ones(1, rows, columns, dtype=torch.bool))
    typical = STD * float(passed.square().mean()) ** 0.5
    assert float(noise_levels(found.covariance).mean()) == pytest.approx(typical, rel=0.08)
    assert found.confirmed


def test_a_noise_scan_of_another_scale_is_left_out() -> None:
    """Two places of the data hold the same noise, 50 times as much as the scan; or the scan more than all of them."""
    samples = as_measured(kspace(acceleration=1.0, noise_percent=4.0))
    assert samples.noise_covariance is not None
    right = problem(samples)
    assert not any(remark.kind == "noise_scan_left_out" for remark in right.remarks)
    for factor in (1 / 50, 2.5):
        given = replace(samples, noise_covariance=samples.noise_covariance * factor**2)
        found = problem(given)
        remark = next(own for own in found.remarks if own.kind == "noise_scan_left_out")
        assert "not recorded alike" in remark.sentence
        assert found.delivered.noise_std == pytest.approx(right.delivered.noise_std, rel=0.15)
    simulated = replace(samples, noise_covariance=samples.noise_covariance / 2500, facts={"simulated": True})
    assert not any(remark.kind == "noise_scan_left_out" for remark in problem(simulated).remarks)


def test_single_samples_are_random_or_uniform_by_themselves() -> None:
    """Every line may hold some of them, so that lines alone tell nothing of their pattern."""
    for pattern in ("poisson", "random"):
        mask = sampling_mask((96, 80), Sampling(pattern, 3.0, 16, axes=2), 0).numpy()[None]
        assert (sampled(mask).pattern, sampled(mask).axes) == ("random", 2)
    even = np.zeros((1, 96, 80), bool)
    even[:, ::2, ::2] = True
    even[:, 40:56, 32:48] = True
    assert (sampled(even).pattern, sampled(even).axes) == ("uniform", 2)


def test_samples_that_are_held_out_are_not_used() -> None:
    """Nor is one of the middle held out; further acceleration takes samples away and holds out the same."""
    samples = as_measured(kspace(axes=2, pattern="poisson", acceleration=2.0))
    prior = Shrinking(replace(CARD, pixel_mm=(0.5, 8.0)))
    once, twice = (case_of(samples, factor, asked(), prior) for factor in (1.0, 2.0))
    top, bottom, left, right = middle_block(samples.mask[0])
    assert not outer(samples.mask[0])[top:bottom, left:right].any()
    assert torch.equal(once.held, twice.held)
    for case in (once, twice):
        used = case.used.delivered.measured.operator.mask[0]
        assert not bool((used & case.held).any())
        assert bool(used[top:bottom, left:right].all())
        assert case.error(torch.zeros(1, 64, 64, dtype=torch.complex64)) == pytest.approx(1)
        assert 0 < case.floor < 1
    assert int(once.held.sum()) == round(0.1 * outer(samples.mask[0]).sum())
    assert twice.acceleration > 1.3 * once.acceleration
    whole = once.foretold
    image = whole.scale.from_network(whole.classical("sense", 30))
    assert once.error(image) < 1.5 * once.floor + 0.05
