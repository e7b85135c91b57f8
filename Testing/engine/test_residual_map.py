"""The residual as an image: of unit variance under noise alone, and large where the image is wrong."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from diffusion_engine.likelihoods.gaussian import GaussianLikelihood
from diffusion_engine.physics.ct import ImageGrid, make_projector, parallel_geometry
from diffusion_engine.posterior.residual_map import residual_map
from diffusion_engine.sampling.noise import seeded

GRID = ImageGrid(40, 48, (2.0, 2.0))


@pytest.fixture(scope="module", params=["shared", "each reading"])
def scan(request: pytest.FixtureRequest) -> tuple[GaussianLikelihood, torch.Tensor]:
    """Forty noisy scans of the same image, with one noise level a scan or one a reading, and the image."""
    operator = make_projector(parallel_geometry(GRID, 24, np.pi), GRID, device=torch.device("cpu"))
    generator = torch.Generator().manual_seed(0)
    image = torch.rand((1, 40, 48), generator=generator) * 0.02
    clean = operator.forward(image)
    variance = torch.full((40, 1, 1), 0.04**2)
    variance[20:] *= 9
    if request.param == "each reading":
        variance = variance * (0.5 + torch.rand(clean.shape[1:], generator=generator))
    noise = torch.randn((40, *clean.shape[1:]), generator=generator)
    return GaussianLikelihood(operator, clean + variance.sqrt() * noise, variance), image


def test_noise_alone_has_unit_variance(scan: tuple) -> None:
    likelihood, image = scan
    residual = residual_map(likelihood, image.expand(40, 40, 48), seeded(1))
    spread = residual.square().mean(0).sqrt()
    assert float(spread.mean()) == pytest.approx(1, abs=0.06)
    # In every part of the image, the corners included.
    for rows in (slice(0, 8), slice(16, 24), slice(32, 40)):
        for columns in (slice(0, 8), slice(20, 28), slice(40, 48)):
            assert float(spread[rows, columns].mean()) == pytest.approx(1, abs=0.2)
    assert float(residual.mean(0).abs().mean()) < 0.4


def test_a_missing_object_stands_out_where_it_is(scan: tuple) -> None:
    likelihood, image = scan
    wrong = image.clone()
    wrong[0, 10:14, 30:34] -= 0.02
    residual = residual_map(likelihood, wrong.expand(40, 40, 48), seeded(1)).mean(0)
    assert float(residual[10:14, 30:34].mean()) > 5 * float(residual[24:38, 2:16].abs().mean())
    assert residual.argmax() // 48 in range(9, 15)


def test_a_pixel_that_no_ray_meets_has_no_residual() -> None:
    narrow = parallel_geometry(ImageGrid(8, 8, (1.0, 1.0)), 6, np.pi)
    operator = make_projector(narrow, GRID, device=torch.device("cpu"))
    likelihood = GaussianLikelihood(operator, torch.ones((1, *operator.out_shape)), torch.tensor(0.01))
    residual = residual_map(likelihood, torch.zeros(1, 40, 48), seeded(0))
    assert bool(torch.isfinite(residual).all())
    assert float(residual[0, 0, 0]) == 0
    assert float(residual[0, 20, 24]) > 1
