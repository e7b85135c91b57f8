"""What a solver is given, and where its draws go: units, options, slices, and the images made of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from diffusion_engine.classical.fbp import fbp
from diffusion_engine.coupling import coupling_named
from diffusion_engine.metrics import psnr
from diffusion_engine.modalities.ct.measurement import Measurement
from diffusion_engine.modalities.ct.problem import Problem, prepare
from diffusion_engine.modalities.ct.scale import attenuation_to_hu
from diffusion_engine.modalities.ct.simulate import simulate
from diffusion_engine.modalities.prepared import Prepared
from diffusion_engine.phantoms import synthetic_chest
from diffusion_engine.posterior.split import SplitMoments
from diffusion_engine.run.pipeline import reconstruct
from diffusion_engine.run.settings import Settings
from diffusion_engine.solvers.catalogue import method_named
from diffusion_engine.solvers.contract import SolverStep
from diffusion_engine.volume import Volume
from stub_priors import StubPrior, stub_prior, typicality
from torch import Tensor

CPU = torch.device("cpu")
RUN: dict[str, Any] = {
    "methods": ["diffusion"], "views": 16, "draws": 2, "steps": 4, "device": "cpu", "noise_percent": 0.5,
    "keep": ["mean", "uncertainty"],
}
SPLIT = ["mean", "uncertainty", "not_seen", "draws"]


@pytest.fixture(scope="module")
def small() -> Volume:
    """A slice of the chest, 32 x 40 pixels of 9 mm."""
    return synthetic_chest((1, 32, 40), (10.0, 9.0, 9.0))[0]


@pytest.fixture(scope="module")
def two(small: Volume) -> Volume:
    """That slice, and it turned round at half its contrast: nothing of one fits the other."""
    return Volume(np.concatenate([small.array, small.array[:, ::-1] / 2 - 500]), small.ijk_to_ras, "HU")


class Given:
    """A solver's stand-in, which notes what it was given and draws what it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *drawn: float) -> None:
        self.calls: list[tuple[Any, Any, Tensor, Any]] = []
        self.drawn = drawn or (0.0,)
        method = replace(method_named("dds"), solve=self.solve)
        monkeypatch.setattr("diffusion_engine.run.draws.method_named", lambda name: method)

    def solve(
        self, denoiser: Any, likelihood: Any, start: Tensor, options: Any, noise: Any, place: Tensor
    ) -> Iterator[SolverStep]:
        value = self.drawn[len(self.calls) % len(self.drawn)]
        self.calls.append((denoiser, likelihood, start, options))
        yield SolverStep(1, 1, 0.1, torch.full_like(start, value))


def problem_of(volume: Volume, prior: StubPrior, **changes: Any) -> Problem:
    return prepare(volume, Settings.from_dict({**RUN, **changes}), CPU, prior.card)


def test_a_solver_works_in_network_units(small: Volume, monkeypatch: pytest.MonkeyPatch) -> None:
    """Data and start are of HU / 1000: the object itself fits the data there; the start is near it, not below air."""
    prior, given = stub_prior(monkeypatch), Given(monkeypatch)
    reconstruct(small, RUN, views=48)
    _, likelihood, start, _ = given.calls[0]
    reference = problem_of(small, prior, views=48).reference
    assert reference is not None
    truth = torch.from_numpy(reference / 1000)
    assert float(likelihood.residual_ratio(truth)) < 4
    assert float(likelihood.residual_ratio(truth + 0.1)) > 30
    assert float(start.min()) >= -1
    assert float((start - truth).square().mean().sqrt()) < 0.2
    assert abs(float((start - truth).mean())) < 0.05


def test_a_solver_gets_the_options_of_the_run_and_of_the_prior(small: Volume, monkeypatch: pytest.MonkeyPatch) -> None:
    """The card's noise scale; what the prior was taught with in place of the defaults; what the user asks for first."""
    stub_prior(monkeypatch, sigma_data=0.7, sampler={"method": "dds", "eta": 0.25, "prior_variance": 3.0})
    given = Given(monkeypatch)
    reconstruct(small, RUN, draws=1, steps=7, solver_options={"prior_variance": 2.0})
    options = given.calls[0][3]
    assert (options.sigma_data, options.eta, options.prior_variance, options.steps) == (0.7, 0.25, 2.0, 7)
    assert options.sigma_start == pytest.approx(0.1, abs=2)
    reconstruct(small, RUN, draws=1, sigma_start=0.33)
    assert given.calls[-1][3].sigma_start == pytest.approx(0.33)


def test_mean_and_spread_are_of_the_draws(small: Volume, monkeypatch: pytest.MonkeyPatch) -> None:
    """Draws of 0.1 and 0.3 in network units: mean 200 HU, standard deviation of two 141 HU, all of it in the draws."""
    stub_prior(monkeypatch)
    Given(monkeypatch, 0.1, 0.3)
    volumes = reconstruct(small, RUN, keep=SPLIT).volumes
    np.testing.assert_allclose(volumes["mean"].array, 200, atol=0.1)
    np.testing.assert_allclose(volumes["uncertainty"].array, 200 / 2**0.5, rtol=1e-3)
    np.testing.assert_allclose(volumes["draw_1"].array, 100, atol=0.1)
    np.testing.assert_allclose(volumes["draw_2"].array, 300, atol=0.2)
    # A change of the whole image is seen by every view: of its variance next to nothing is left open.
    share = volumes["not_seen"].array ** 2 / volumes["uncertainty"].array ** 2
    np.testing.assert_allclose(volumes["not_seen_share"].array, share, atol=1e-3)
    assert float(np.median(share)) < 0.01


def test_the_split_of_a_draw_knows_the_prior_and_the_noise(small: Volume, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a prior as narrow as the noise leaves the data wide, what counts as seen depends on both."""
    prior = stub_prior(monkeypatch, sigma_data=0.02)
    Given(monkeypatch, 0.1, 0.3)
    volumes = reconstruct(small, RUN, keep=SPLIT, noise_percent=5.0).volumes
    water = problem_of(small, prior, noise_percent=5.0).delivered.measured.scaled(0.0193, 0.0)
    split = SplitMoments(water, 0.02**2, 1e-4, 400)
    for value in (0.1, 0.3):
        split.add(torch.full((1, 32, 40), value))
    expected = 1000 * split.unseen_std.numpy()
    assert float(np.median(expected)) > 10
    np.testing.assert_allclose(volumes["not_seen"].array, expected, atol=0.03 * float(expected.max()))


def test_what_few_views_leave_open_is_most_of_a_fine_pattern(small: Volume, monkeypatch: pytest.MonkeyPatch) -> None:
    """Independent of the scan's views: 2 of them see next to nothing of white noise, of which a draw consists here."""
    prior = stub_prior(monkeypatch)
    generator = torch.Generator().manual_seed(0)

    def solve(denoiser: Any, likelihood: Any, start: Tensor, *rest: Any) -> Iterator[SolverStep]:
        yield SolverStep(1, 1, 0.1, 0.1 * torch.randn(start.shape, generator=generator))

    method = replace(method_named("dds"), solve=solve)
    monkeypatch.setattr("diffusion_engine.run.draws.method_named", lambda name: method)
    open_part = [
        float(np.mean(volumes["not_seen"].array ** 2) / np.mean(volumes["uncertainty"].array ** 2))
        for volumes in (reconstruct(small, RUN, views=views, keep=SPLIT).volumes for views in (2, 40))
    ]
    assert prior.card.sigma_data == 0.5
    assert open_part[0] > 0.85
    assert open_part[1] < 0.5


@pytest.mark.parametrize("slab", [1, 2])
def test_every_slice_gets_its_own_data(two: Volume, monkeypatch: pytest.MonkeyPatch, slab: int) -> None:
    """Solved singly or together: images, draws and residuals lie in their own slices."""
    prior = stub_prior(monkeypatch)
    changes = {"methods": ["fbp", "tv", "diffusion"], "tv_iterations": 60, "keep": ["mean", "draws", "residual"]}
    result = reconstruct(two, RUN, slab=slab, **changes)
    problem = problem_of(two, prior)
    assert problem.reference is not None
    for key in ("fbp", "tv", "mean", "draw_1", "draw_2"):
        own = [psnr(result.volumes[key].array[n], problem.reference[n]) for n in (0, 1)]
        other = [psnr(result.volumes[key].array[n], problem.reference[1 - n]) for n in (0, 1)]
        assert min(own) > max(other) + 3
    assert float(np.std(result.volumes["residual"].array)) < 3
    mean = (result.volumes["draw_1"].array + result.volumes["draw_2"].array) / 2
    np.testing.assert_allclose(result.volumes["mean"].array, mean, atol=0.5)
    for test in result.report["residual_tests"]:
        assert test["explains"]


def test_the_simulated_scan_of_the_residual_test_is_of_the_middle_slice(two: Volume, monkeypatch: Any) -> None:
    """With the noise of that slice: the second of these two has half the line integrals of the first."""
    stub_prior(monkeypatch)
    scanned = []

    real = Prepared.rescanned

    def noted(problem: Problem, image: np.ndarray, index: int, seed: int) -> Problem:
        again = real(problem, image, index, seed)
        scanned.append((index, float(again.delivered.measured.variance.flatten()[0]), image))
        return again

    monkeypatch.setattr(Prepared, "rescanned", noted)
    result = reconstruct(two, RUN)
    problem = problem_of(two, stub_prior(monkeypatch))
    ((index, variance, image),) = scanned
    assert index == 1
    assert variance == pytest.approx(float(problem.delivered.measured.variance.flatten()[1]))
    assert variance < 0.5 * float(problem.delivered.measured.variance.flatten()[0])
    np.testing.assert_allclose(image, np.maximum(result.volumes["mean"].array[1], -1000), atol=0.01)


def test_the_priors_pixels_cover_the_same_field(small: Volume, monkeypatch: pytest.MonkeyPatch) -> None:
    """9 mm pixels for a prior that knows 5 mm at most: a whole number of them, so not quite 5 mm."""
    prior = stub_prior(monkeypatch, pixel_mm=(1.0, 5.0))
    problem = problem_of(small, prior)
    fine, coarse = problem.prior.grid, problem.delivered.grid
    assert fine.shape == (58, 72)
    for count, pixel, rows, mm in zip(fine.shape, fine.pixel_mm, coarse.shape, coarse.pixel_mm, strict=True):
        assert count * pixel == pytest.approx(rows * mm)
    image = torch.full((1, 58, 72), 0.02)
    clean = problem.prior.measured.operator.forward(image)
    same = problem.delivered.measured.operator.forward(torch.full((1, 32, 40), 0.02))
    torch.testing.assert_close(clean.sum(-1), same.sum(-1), rtol=2e-3, atol=0)


def test_a_coupling_knows_how_far_apart_the_slices_are(two: Volume, monkeypatch: pytest.MonkeyPatch) -> None:
    """10 mm, as the volume says."""
    stub_prior(monkeypatch)
    given, real = Given(monkeypatch), coupling_named("none")
    noted: list[float] = []

    def denoiser(prior: Any, spacing_mm: float) -> Any:
        noted.append(spacing_mm)
        return real.denoiser(prior, spacing_mm)

    def couple(likelihood: Any, noise: Any, spacing_mm: float) -> Any:
        noted.append(spacing_mm)
        return real.couple(likelihood, noise, spacing_mm)

    stand_in = SimpleNamespace(denoiser=denoiser, couple=couple)
    monkeypatch.setattr("diffusion_engine.run.draws.coupling_named", lambda name: stand_in)
    reconstruct(two, RUN)
    assert given.calls
    assert noted
    assert set(noted) == {10.0}


def test_chosen_slices_keep_their_own_noise(two: Volume) -> None:
    scan = simulate(two, Settings(views=16), 1).measurement
    assert scan.variance is not None
    problem = prepare(scan, Settings(slices=(1, 2)), CPU, None)
    assert problem.slices == 1
    variance = problem.delivered.measured.variance
    np.testing.assert_allclose(variance.flatten()[0], scan.variance[1].flatten()[0], rtol=1e-5)


def test_the_fallback_is_blended_as_the_gate_says_and_judged_itself(
    small: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    stub_prior(monkeypatch, typicality=typicality({"threshold": 2.0, "full": 200.0}))
    result = reconstruct(small, RUN, methods=["tv", "diffusion"], tv_iterations=80)
    blend = result.report["gate"]["blend"]
    assert 0.05 < blend < 0.95
    mean, classical, fallback = (result.volumes[key].array for key in ("mean", "tv", "fallback"))
    np.testing.assert_allclose(fallback, (1 - blend) * mean + blend * classical, atol=0.5)
    own = psnr(fallback, result.volumes["reference"].array)
    assert result.report["metrics"]["fallback"]["psnr"] == pytest.approx(own, abs=0.01)


def test_a_region_is_judged_alone(small: Volume) -> None:
    """Figures are of the delivered part."""
    result = reconstruct(small, RUN, methods=["fbp"], region=[5, 20, 4, 20])
    delivered = psnr(result.volumes["fbp"].array, result.volumes["reference"].array)
    assert result.report["metrics"]["fbp"]["psnr"] == pytest.approx(delivered, abs=0.01)


def test_values_below_air_are_scanned_as_air(small: Volume) -> None:
    array = np.where(small.array < -990, -3000, small.array).astype(np.float32)
    settings = Settings.from_dict(RUN)
    padded, plain = (
        simulate(small.with_array(np.maximum(values, least)), settings, 1)
        for values, least in ((array, -3000), (array, -1000))
    )
    np.testing.assert_allclose(padded.measurement.values, plain.measurement.values, atol=1e-5)
    assert float(padded.reference.array.min()) >= -1000


def test_cut_off_data_are_extended_for_backprojection_and_start(small: Volume, monkeypatch: pytest.MonkeyPatch) -> None:
    prior, given = stub_prior(monkeypatch), Given(monkeypatch)
    scan = simulate(small, Settings(views=48), 1).measurement
    cut = slice(scan.geometry.detector_count // 4, -(scan.geometry.detector_count // 4))
    values = np.ascontiguousarray(scan.values[:, :, cut])
    narrow = Measurement(values, replace(scan.geometry, detector_count=values.shape[2]), variance=scan.variance)
    settings = Settings.from_dict({**RUN, "methods": ["fbp", "diffusion"]})
    result = reconstruct(narrow, settings)
    problem = prepare(narrow, settings, CPU, prior.card)
    assert problem.delivered.truncated
    wide = fbp(problem.delivered.measured.data, problem.delivered.geometry, problem.delivered.grid, extend=True)
    np.testing.assert_allclose(result.volumes["fbp"].array, attenuation_to_hu(wide, 0.0193).numpy(), atol=0.5)
    start = (wide.clamp_min(0) / 0.0193 - 1).numpy()
    np.testing.assert_allclose(given.calls[0][2].numpy(), start, atol=1e-3)
    short = fbp(problem.delivered.measured.data, problem.delivered.geometry, problem.delivered.grid)
    assert float((short - wide).abs().max()) > 0.1 * 0.0193


def test_photons_are_those_of_a_whole_reading(small: Volume) -> None:
    """Bins are summed from finer ones: in air there are i0 photons, and their logarithm is zero."""
    settings = Settings.from_dict({**RUN, "i0": 2e3})
    scan = simulate(small, settings, 1).measurement
    clean = simulate(small, Settings.from_dict({**RUN, "noise_percent": 1e-6}), 1).measurement.values
    air = clean < 1e-3
    assert air.sum() > 50
    assert float(scan.values[air].mean()) == pytest.approx(2e3, rel=0.03)
