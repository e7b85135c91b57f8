"""What is smooth in the readings and in no image is noticed: over broad blocks of a sinogram, and in a run."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from diffusion_engine.likelihoods.gaussian import GaussianLikelihood
from diffusion_engine.modalities.ct.smooth import BINS, VIEWS, smooth_sums
from diffusion_engine.modalities.ct.system import CTSystem
from diffusion_engine.phantoms import synthetic_chest
from diffusion_engine.physics.ct import ImageGrid, make_projector, parallel_geometry
from diffusion_engine.posterior.residual import LIMITATION, SMOOTH_SLACK, ResidualTest, advised, smooth_limit
from diffusion_engine.run.pipeline import reconstruct
from diffusion_engine.volume import Volume
from stub_priors import stub_prior

CLASSICAL: dict[str, Any] = {
    "methods": ["fbp", "tv"], "views": 30, "device": "cpu", "pixel_mm": 9.0, "tv_iterations": 150,
}
MISFIT = "Over broad groups of readings the residual is"


@pytest.fixture(scope="module")
def small() -> Volume:
    """A slice of the chest, 32 x 40 pixels of 9 mm."""
    return synthetic_chest((1, 32, 40), (10.0, 9.0, 9.0))[0]


def system_of(noise: torch.Tensor, order: np.ndarray | None = None) -> CTSystem:
    """Noise (1, 20, detectors) of standard deviation 0.1 on the line integrals of air."""
    grid = ImageGrid(16, 16, (4.0, 4.0))
    rays = parallel_geometry(grid, 20, detector_count=32)
    if order is not None:
        rays = replace(rays, angles_rad=tuple(np.asarray(rays.angles_rad)[order]))
        noise = noise[:, order]
    return CTSystem(rays, grid, GaussianLikelihood(make_projector(rays, grid), noise, torch.tensor(0.01)), 0.0193)


def test_noise_alone_is_as_large_as_chance_in_every_block() -> None:
    noise = 0.1 * torch.from_numpy(np.random.default_rng(0).standard_normal((40, 20, 32)).astype(np.float32))
    sums = smooth_sums(system_of(noise), torch.full((40, 16, 16), -1.0))
    assert sums.shape == (40, VIEWS * BINS)
    assert float(sums.mean()) == pytest.approx(0, abs=0.06)
    assert float(sums.square().mean()) == pytest.approx(1, abs=0.08)


def test_an_offset_of_a_block_is_that_times_the_root_of_its_readings() -> None:
    """Two views and four bins a block; the order in which views are stored plays no part, nor do lost readings."""
    offset = torch.zeros(1, 20, 32)
    offset[0, 4:6, 12:16] = 0.3
    air = torch.full((1, 16, 16), -1.0)
    found = smooth_sums(system_of(offset), air)
    wanted = torch.zeros(1, VIEWS * BINS)
    wanted[0, 2 * BINS + 3] = 3 * math.sqrt(8)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
    shuffled = np.random.default_rng(1).permutation(20)
    torch.testing.assert_close(smooth_sums(system_of(offset, shuffled), air), wanted, rtol=1e-4, atol=1e-4)
    lost = system_of(offset)
    variance = torch.full((1, 20, 32), 0.01)
    variance[0, 5] = math.inf
    lost = replace(lost, measured=replace(lost.measured, variance=variance))
    assert float(smooth_sums(lost, air)[0, 2 * BINS + 3]) == pytest.approx(3 * 2, rel=1e-4)


def test_the_limit_is_twice_the_simulated_scans_and_chance() -> None:
    assert smooth_limit(1.5, 80) == pytest.approx(SMOOTH_SLACK * 1.5 * (1 + 3 * math.sqrt(2 / 80)))
    assert smooth_limit(1.5, 16) > smooth_limit(1.5, 80)


def test_a_smooth_misfit_fails_the_test_in_a_sentence_of_its_own() -> None:
    good = ResidualTest("tv", 1.0, (1.0, 1.0), (0.6, 1.6), smooth=(2.0, 2.5), causes="a cause")
    assert good.passed
    assert (good.misfit, good.statement.endswith(LIMITATION)) == ("", True)
    (bad,) = advised([replace(good, smooth=(9.0, 2.25))], "TV", ["tv"])
    assert not bad.passed
    assert bad.advice == ""
    assert bad.misfit == (
        "Over broad groups of readings the residual is 3.0 times their noise (normal here: up to 1.5), as a cause "
        "may leave it: values may be several percent wrong, do not measure them."
    )
    assert bad.statement.endswith(bad.misfit)
    assert "does not" not in bad.statement
    large = replace(bad, ratio=3.0)
    assert "inconsistent with geometry" in large.statement
    assert large.statement.endswith(large.misfit)
    assert ResidualTest("tv", 1.0, (1.0,), (0.6, 1.6)).misfit == ""


@pytest.mark.parametrize("beam", ["parallel", "fan_curved"])
def test_scatter_is_noticed_and_a_clean_scan_passes(small: Volume, beam: str) -> None:
    def tested(**more: Any) -> tuple[dict[str, Any], dict[str, Any], str]:
        report = reconstruct(small, CLASSICAL, geometry=beam, **more).report
        return *report["residual_tests"], " ".join(report["notes"])

    fbp, tv, notes = tested()
    assert (fbp["smooth"], tv["passed"], tv["misfit"]) == (None, True, "")
    assert tv["smooth"][0] <= tv["smooth"][1]
    assert MISFIT not in notes
    _, tv, notes = tested(scatter_percent=5.0)
    assert not tv["passed"]
    assert tv["smooth"][0] > tv["smooth"][1]
    assert "scatter, beam hardening or a wrong count" in tv["misfit"]
    assert notes.count(MISFIT) == 1


def test_a_spread_is_not_called_calibrated_where_something_smooth_is_missed(
    small: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    stub_prior(monkeypatch)
    settings = {**CLASSICAL, "methods": ["tv", "diffusion"], "draws": 2, "steps": 4, "scatter_percent": 10.0}
    report = reconstruct(small, settings).report
    assert report["residual_tests"][-1]["misfit"]
    assert "something smooth in the data is in no image" in report["calibration"]["sentence"]
