"""That the parts of a run are joined as they should be: one number for each joint that could come loose unseen."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from diffusion_engine.classical.tv import tv
from diffusion_engine.modalities.ct.problem import Problem, prepare
from diffusion_engine.modalities.ct.scale import hu_to_attenuation
from diffusion_engine.modalities.ct.simulate import readings, simulate
from diffusion_engine.modalities.ct.trust import TRUST, covariates_of
from diffusion_engine.phantoms import synthetic_chest
from diffusion_engine.posterior.intervals import spread_factor
from diffusion_engine.posterior.residual import UNFITTED_SLACK
from diffusion_engine.posterior.spread import PULL, smoothed
from diffusion_engine.priors.card import PriorCard
from diffusion_engine.run import images as images_module
from diffusion_engine.run import verdicts as verdicts_module
from diffusion_engine.run.draws import asked_acquisition, options_of
from diffusion_engine.run.pipeline import Result, reconstruct
from diffusion_engine.run.settings import Settings
from diffusion_engine.volume import Volume
from stub_priors import FAILS, PASSES, stub_prior, typicality

CPU = torch.device("cpu")
RUN: dict[str, Any] = {
    "methods": ["tv", "diffusion"], "views": 16, "draws": 2, "steps": 4, "tv_iterations": 120, "device": "cpu",
    "keep": ["mean", "uncertainty", "draws"], "noise_percent": 0.5, "solver_options": {"broad_std": 0.0},
}
ROOM: dict[str, Any] = {**RUN, "solver_options": {}, "keep": ["mean", "uncertainty", "draws", "prior_decided"]}
"""With room for what the network missed, so that there is one more draw."""


@pytest.fixture(scope="module")
def small() -> Volume:
    """A slice of the chest, 32 x 40 pixels of 9 mm."""
    return synthetic_chest((1, 32, 40), (10.0, 9.0, 9.0))[0]


def problem_of(volume: Volume, card: PriorCard | None = None, **changes: Any) -> Problem:
    return prepare(volume, Settings.from_dict({**RUN, **changes}), CPU, card)


def entry(prior: Any, **changes: Any) -> dict[str, Any]:
    """A calibration that fits RUN."""
    return {
        "geometry": "parallel", "views": 16, "arc_degrees": 180.0, "noise_percent": 0.5, "solver": "dds", "steps": 4,
        "draws": 2, "slices": 6, "factor": 2.5, "floor": 2.0, "coverage90": 0.6, "coverage90_calibrated": 0.9,
        "options": None if prior is None else options_of(Settings.from_dict(RUN), prior), **changes,
    }


def spread(result: Result) -> np.ndarray:
    """Standard deviation of the two draws."""
    return np.abs(result.volumes["draw_1"].array - result.volumes["draw_2"].array) / 2**0.5


@pytest.mark.parametrize(("limits", "factor"), [(PASSES, 2.5), (FAILS, None)])
def test_a_spread_is_calibrated_only_where_the_gate_passed(
    small: Volume, monkeypatch: pytest.MonkeyPatch, limits: dict, factor: float | None
) -> None:
    plain = stub_prior(monkeypatch)
    prior = stub_prior(monkeypatch, calibration=[entry(plain)], typicality=typicality(limits))
    result = reconstruct(small, RUN)
    assert prior.asked
    assert result.report["gate"]["passed"] == (factor is not None)
    assert result.report["calibration"]["matched"] == (factor is not None)
    smooth = np.sqrt(smoothed(spread(result) ** 2))
    expected = spread(result) if factor is None else factor * np.maximum(smooth, 2)
    np.testing.assert_allclose(result.volumes["uncertainty"].array, expected, rtol=0.01, atol=0.3)
    assert any("narrower than the true error" in note for note in result.report["notes"]) == (factor is None)


def test_the_pull_of_the_data_moves_mean_and_draws_and_widens_the_spread(
    small: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pull: draw 1 minus the same draw with options that leave no room; a gain of 2 and a factor of 1 are known."""
    options = options_of(Settings.from_dict(ROOM), stub_prior(monkeypatch))
    known = {"options": options, "pull": True, "gain": 2.0, "factor": 1.0, "factors": {"soft tissue": 3.0}}
    prior = stub_prior(monkeypatch, calibration=[entry(None, **{**known, "gain": 0.0})], typicality=typicality(PASSES))
    plain = reconstruct(small, ROOM)
    stated = {"broad_std": 0.0, "prior_variance": 1.0}
    sure = reconstruct(small, {**ROOM, "draws": 1, "keep": ["mean"], "solver_options": stated})
    pull = plain.volumes["draw_1"].array - sure.volumes["mean"].array
    assert float(np.abs(pull).max()) > 1.0
    prior = stub_prior(monkeypatch, calibration=[entry(None, **known)], typicality=typicality(PASSES))
    result = reconstruct(small, ROOM)
    assert prior.asked
    away = smoothed(pull)
    for key in ("mean", "draw_1", "draw_2"):
        moved = result.volumes[key].array - plain.volumes[key].array
        np.testing.assert_allclose(moved, 2 * away, atol=0.6)
    mean = result.volumes["mean"].array
    wide = np.hypot(np.maximum(np.sqrt(smoothed(spread(result) ** 2)), 2), PULL * away / spread_factor(2))
    classes = np.where((mean >= -400) & (mean < 150), 3.0, 1.0)
    near = np.abs(result.volumes["uncertainty"].array - classes * wide) < 0.02 * classes * wide + 0.5
    assert near.mean() > 0.99
    assert (plain.report["gain"], result.report["gain"]) == (0.0, 2.0)
    assert "moved by 2 times the pull of the data" in " ".join(result.report["notes"])
    assert "widened where the data pull away from the prior" in result.report["calibration"]["sentence"]
    shown = result.volumes["prior_decided"].array
    inside = np.abs(shown) > 0
    assert inside.any()
    assert float(np.corrcoef(shown[inside], away[inside])[0, 1]) > 0.5
    assert "not moved by the pull" not in " ".join(result.report["notes"])
    # An image that is unlike is moved all the same, and the note says that it is unlike.
    stub_prior(monkeypatch, calibration=[entry(None, **known)], typicality=typicality(FAILS))
    unlike = reconstruct(small, ROOM)
    assert "This image is unlike those." in " ".join(unlike.report["notes"])
    # What was fitted without a pull is not for a run that has one.
    stub_prior(monkeypatch, calibration=[entry(None, **{**known, "pull": False})])
    unknown = reconstruct(small, ROOM).report
    assert not unknown["calibration"]["matched"]
    assert "Mean and samples were not moved by the pull of the data" in " ".join(unknown["notes"])


def test_a_spread_is_not_calibrated_where_the_image_does_not_explain_the_data(
    small: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = stub_prior(monkeypatch)
    stub_prior(monkeypatch, calibration=[entry(plain)])
    monkeypatch.setattr(verdicts_module, "ceiling", lambda *given: 0.0)
    report = reconstruct(small, RUN).report
    assert report["calibration"]["sentence"] == (
        "The spread is not calibrated: the image does not explain the data."
    )


@pytest.mark.parametrize(("name", "value"), [("draws", 3), ("sigma_start", 0.5), ("views", 24), ("steps", 5)])
def test_a_spread_is_calibrated_only_for_the_run_it_was_made_for(
    small: Volume, monkeypatch: pytest.MonkeyPatch, name: str, value: float
) -> None:
    plain = stub_prior(monkeypatch)
    stub_prior(monkeypatch, calibration=[entry(plain)])
    assert not reconstruct(small, {**RUN, name: value}).report["calibration"]["matched"]


def test_the_scan_of_the_residual_test_has_the_noise_of_the_data(small: Volume) -> None:
    """FBP of 40 views hardly fits the noise, so about all of it is left: of a scan without noise a tenth would be."""
    report = reconstruct(small, RUN, methods=["fbp"], views=40, noise_percent=5.0).report
    low, high = report["residual_tests"][0]["accepted"]
    # It was not fitted, so it cannot fit too well.
    assert low == 0
    assert 0.5 < high / UNFITTED_SLACK < 1.5
    problem = problem_of(small, noise_percent=5.0)
    assert problem.reference is not None
    again = problem.rescanned(problem.reference[0], 0, 0)
    image = torch.from_numpy(hu_to_attenuation(problem.reference, 0.0193).astype(np.float32))
    added = again.delivered.measured.data - readings(image, problem.delivered.geometry, problem.delivered.grid)
    assert float(added.std()) == pytest.approx(problem.delivered.noise_std, rel=0.1)
    assert float((added * (problem.delivered.measured.data - image.mean())).mean().abs()) < problem.delivered.noise_std


@pytest.mark.parametrize("older", [False, True])
def test_likeness_is_asked_of_the_image_that_the_scores_were_fitted_on(
    small: Volume, monkeypatch: pytest.MonkeyPatch, older: bool
) -> None:
    """That is TV of 60 iterations from the filtered image on, of older cards from zero on, whatever is delivered."""
    limits = typicality(PASSES)
    prior = stub_prior(monkeypatch, typicality=limits if older else {**limits, "slope": [limits["slope"]] * 2})
    scored = []

    def noted(denoiser: Any, images: torch.Tensor, grid: Any, numbers: Any, limits: Any) -> list[float]:
        assert (denoiser, limits) == (prior, prior.card.typicality)
        np.testing.assert_allclose(numbers, [covariates_of(16, 0.5)], atol=0.05)
        scored.append(images)
        return [1.0] * len(images)

    monkeypatch.setattr(images_module, "typicality_scores", noted)
    reconstruct(small, RUN)
    assert len(scored) == 1
    system = problem_of(small, prior.card).delivered
    water = system.measured.scaled(0.0193, 0.0)
    rough, (*_, refined) = tv(water, iterations=60) - 1, TRUST.surrogate(system)
    torch.testing.assert_close(scored[0], rough if older else refined, atol=1e-4, rtol=0)
    assert float((rough - refined).abs().max()) > 0.05


def test_the_level_of_the_start_grows_with_the_noise_of_the_scan(
    small: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FBP of 60 views errs by little but the noise."""
    stub_prior(monkeypatch, start_error={"ratio": 1.0, "smallest": 1e-3, "largest": 9.0})
    quiet, loud = (
        reconstruct(small, RUN, views=60, noise_percent=percent, methods=["diffusion"]).report["sigma_start"][0]
        for percent in (2.0, 8.0)
    )
    assert 2.5 < loud / quiet < 4.5


@pytest.mark.parametrize("levels", [(0.05, 0.4), (0.1, 3.0)])
def test_no_network_is_asked_beyond_the_noise_levels_of_its_card(
    small: Volume, monkeypatch: pytest.MonkeyPatch, levels: tuple[float, float]
) -> None:
    prior = stub_prior(monkeypatch, sigma=levels)
    reconstruct(small, RUN, methods=["diffusion"], draws=1, solver="tmpd", steps=5)
    # The micro-run that measures the costs asks for one level of its own, 0.2.
    solved = [sigma for sigma in prior.asked if sigma != pytest.approx(0.2)]
    assert max(solved) == pytest.approx(levels[1], rel=1e-3)
    assert min(solved) == pytest.approx(levels[0], rel=0.01)


def test_electronic_noise_is_in_the_counts_and_in_their_variance(small: Volume) -> None:
    """In air a reading of 1,000 photons and 60 counts of electronics varies by 1,000 + 3,600."""
    settings = Settings.from_dict({**RUN, "i0": 1e3, "electronic_std": 60.0})
    scan = simulate(small, settings, 1).measurement
    problem = problem_of(small, i0=1e3, electronic_std=60.0)
    air = (readings(torch.full((1, 32, 40), 1.0), scan.geometry, problem.delivered.grid) == 0)[0].numpy()
    clean = simulate(small, Settings.from_dict({**RUN, "noise_percent": 1e-6}), 1).measurement.values[0]
    air |= clean < 1e-3
    assert air.sum() > 50
    assert float(np.var(scan.values[0][air])) == pytest.approx(4600, rel=0.4)
    expected = np.median(problem.delivered.measured.variance[0].numpy()[air])
    assert expected == pytest.approx(4600 / 1e6, rel=0.15)


def test_the_noise_of_a_calibration_is_that_of_all_rays(small: Volume, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of counted photons the ray through the middle has ten times the noise of one through air."""
    prior = stub_prior(monkeypatch)
    settings = Settings.from_dict({**RUN, "i0": 1e4})
    problem = prepare(small, settings, CPU, prior.card)
    asked = asked_acquisition(problem, settings, prior)
    variance, data = problem.delivered.measured.variance[0].numpy(), problem.delivered.measured.data[0].numpy()
    assert asked.scan.noise_percent == pytest.approx(100 * np.sqrt(variance.mean()) / data.max(), rel=1e-3)
    assert asked.scan.noise_percent > 3 * 100 * np.sqrt(variance[0, 0]) / data.max()
    assert asked.scan.noise_range > 3
