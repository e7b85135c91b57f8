"""A student taught on the states of few-step reconstructions, and the differentiable proximal step within."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusion_engine.denoiser import EDMDenoiser
from diffusion_engine.likelihoods.gaussian import GaussianLikelihood
from diffusion_engine.likelihoods.implicit import proximal
from diffusion_engine.physics.ct import ImageGrid, make_projector, parallel_geometry
from diffusion_engine.priors.networks import PatchUNet
from diffusion_engine.training.data import TrainingSlices
from diffusion_engine.training.few_steps import FewStepSettings, losses, scanned_slice, teach

SETTINGS = FewStepSettings(
    steps=12, calls=3, views=(10, 16), warmup_steps=2, average_halflife_steps=2, learning_rate=0.2, bf16=False
)


def sources(size: int = 192) -> list[TrainingSlices]:
    """Two slices: discs of soft tissue, lung and bone in air, on pixels of 2 mm."""
    axis = (torch.arange(size) - (size - 1) / 2) * 2
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    values = torch.full((2, size, size), -1.0)
    for image, shift in zip(values, (0.0, 20.0), strict=True):
        for cx, cy, radius, value in ((0, 0, 160, 0.0), (-60, shift, 50, -0.8), (70, 10, 45, -0.7), (0, 100, 20, 0.6)):
            image[(x - cx) ** 2 + (y - cy) ** 2 < radius**2] = value
    return [TrainingSlices("discs", values.numpy().astype(np.float16), np.full(2, 2.0))]


def small(seed: int = 0) -> PatchUNet:
    torch.manual_seed(seed)
    return PatchUNet(channels=(8, 8), blocks=1)


def test_the_proximal_step_has_the_gradient_of_its_solution() -> None:
    grid = ImageGrid(4, 5, (1.0, 1.0))
    geometry = parallel_geometry(grid, 3)
    projector = make_projector(geometry, grid, dtype=torch.float64)
    torch.manual_seed(0)
    data = torch.randn(2, geometry.views, geometry.detector_count, dtype=torch.float64)
    likelihood = GaussianLikelihood(projector, data, torch.tensor(0.7, dtype=torch.float64))
    x = torch.randn(2, 4, 5, dtype=torch.float64, requires_grad=True)
    result = proximal(likelihood, x, 0.3, 40, 1e-13)
    torch.testing.assert_close(result.detach(), likelihood.proximal(x.detach(), 0.3, 40, 1e-13))
    assert torch.autograd.gradcheck(lambda v: proximal(likelihood, v, 0.3, 40, 1e-13), (x,), atol=1e-6)


def test_a_scan_is_of_the_slice_with_another_discretisation() -> None:
    scanned = scanned_slice(sources()[0], 0, 90, 0.1, torch.Generator().manual_seed(0))
    assert scanned.clean.shape == scanned.start.shape == (1, 192, 192)
    assert scanned.place.shape == (2, 192, 192)
    ratio = float(scanned.likelihood.residual_ratio(scanned.clean))
    assert 1.0 < ratio < 20.0  # The truth on the coarse grid misses the data by the discretisation, and no more.
    assert float((scanned.start - scanned.clean).square().mean().sqrt()) < 0.15


def test_each_call_has_a_loss_of_its_own() -> None:
    settings = FewStepSettings(calls=3, views=(16,), bf16=False)
    network = small()
    scanned = scanned_slice(sources()[0], 0, 16, 0.2, torch.Generator().manual_seed(0))
    found = list(losses(EDMDenoiser(network), scanned, settings, torch.Generator().manual_seed(1)))
    assert len(found) == 3
    for loss in found:
        network.zero_grad()
        loss.backward()
        assert any(p.grad is not None and float(p.grad.abs().max()) > 0 for p in network.parameters())


def test_teaching_lowers_the_error_of_reconstructions() -> None:
    network = small()
    before = copy.deepcopy(network)
    steps = list(teach(network, sources(), SETTINGS))
    assert [s.step for s in steps] == list(range(1, 13))
    scanned = scanned_slice(sources()[0], 1, 16, 0.2, torch.Generator().manual_seed(5))

    def last(weights: PatchUNet) -> float:
        with torch.no_grad():
            return float(list(losses(EDMDenoiser(weights), scanned, SETTINGS, torch.Generator().manual_seed(6)))[-1])

    assert last(network) < last(before) - 0.1


def test_resumed_teaching_is_unbroken_teaching(tmp_path: Path) -> None:
    settings = FewStepSettings(steps=4, calls=2, views=(10,), warmup_steps=1, average_halflife_steps=2, bf16=False)
    whole = small()
    list(teach(whole, sources(), settings))
    broken, run = small(), tmp_path / "run.checkpoint"
    for step in teach(broken, sources(), settings, run, save_every=2):
        if step.step == 3:
            break
    again = small(1)
    assert [s.step for s in teach(again, sources(), settings, run, save_every=2)] == [3, 4]
    for name, value in whole.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name


def test_narrow_slices_are_refused() -> None:
    narrow = TrainingSlices("limb", np.zeros((3, 100, 120), np.float16), np.full(3, 2.0))
    with pytest.raises(ValueError, match="no training slice of 192 x 192 pixels"):
        next(teach(small(), [narrow], SETTINGS))
