"""Radial and spiral sampling by finufft, where it is installed; one sentence where it is not."""

from __future__ import annotations

import importlib
import math
import sys
from dataclasses import replace

import pytest
import torch
from diffusion_engine.classical.sense import cg_sense_steps
from diffusion_engine.classical.wavelet import wavelet_steps
from diffusion_engine.likelihoods.gaussian import GaussianLikelihood
from diffusion_engine.physics.coil_maps import espirit_maps
from diffusion_engine.physics.mri import MultiCoilFourier
from diffusion_engine.physics.non_cartesian import (
    GOLDEN_RADIAL_RAD,
    NonCartesianFourier,
    density_weights,
    gridded,
    radial,
    sampled,
    spiral,
)
from mri_coils import head, ring_maps
from torch import Tensor

needs_finufft = pytest.mark.skipif(
    importlib.util.find_spec("finufft") is None, reason="finufft, which is optional, is not installed"
)


def random(*shape: int, seed: int = 1, dtype: torch.dtype = torch.complex128) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def trajectories() -> dict[str, Tensor]:
    return {"radial": radial(7, 20), "golden": radial(5, 16, golden=True), "spiral": spiral(3, 40, 4.0)}


def test_trajectories() -> None:
    spokes = radial(4, 8)
    assert spokes.shape == (4, 8, 2)
    assert not bool(spokes[:, 4].any())
    torch.testing.assert_close(spokes[0, :, 1], torch.arange(-4, 4).double() * math.pi / 4)
    assert float(spokes[2, 0, 0]) == pytest.approx(-math.pi)
    golden = radial(3, 8, golden=True)[:, -1]
    turn = torch.atan2(golden[1, 0], golden[1, 1]) - torch.atan2(golden[0, 0], golden[0, 1])
    assert float(turn) == pytest.approx(GOLDEN_RADIAL_RAD)
    assert math.degrees(GOLDEN_RADIAL_RAD) == pytest.approx(111.246, abs=1e-3)
    arms = spiral(2, 50, 3.0)
    radius = arms.norm(dim=-1)
    torch.testing.assert_close(radius[0], torch.arange(50).double() * math.pi / 50)
    assert float(radius.max()) < math.pi


@needs_finufft
@pytest.mark.parametrize("name", list(trajectories()))
@pytest.mark.parametrize("shape", [(16, 16), (15, 18)])
@pytest.mark.parametrize(("dtype", "most"), [(torch.complex128, 1e-10), (torch.complex64, 1e-5)])
def test_it_is_the_written_out_sum_and_its_adjoint(
    name: str, shape: tuple[int, int], dtype: torch.dtype, most: float
) -> None:
    k = trajectories()[name]
    own = NonCartesianFourier(random(2, 3, *shape, seed=5, dtype=dtype), k)
    x = random(2, *shape, dtype=dtype)
    r, c = (torch.arange(n, dtype=torch.float64) - n // 2 for n in shape)
    waves = torch.exp(-1j * (k[..., 0, None, None] * r[:, None] + k[..., 1, None, None] * c)) / math.prod(shape) ** 0.5
    expected = torch.einsum("vsrc,nqrc->nqvs", waves, (own.maps * x[:, None]).to(torch.complex128))
    found = own.forward(x)
    assert found.dtype == dtype
    assert float((found - expected).norm() / expected.norm()) < most
    y = random(2, *own.out_shape, seed=2, dtype=dtype)
    left, right = (found.conj() * y).sum(), (x.conj() * own.adjoint(y)).sum()
    assert abs(complex(left - right)) < most * float(found.norm() * y.norm())


@needs_finufft
def test_on_the_grid_it_is_the_cartesian_operator() -> None:
    rows, columns = 12, 10
    k = torch.stack(torch.meshgrid(
        (torch.arange(rows) - rows // 2).double() * (2 * math.pi / rows),
        (torch.arange(columns) - columns // 2).double() * (2 * math.pi / columns), indexing="ij",
    ), -1)
    maps, x = random(1, 3, rows, columns, seed=5), random(2, rows, columns)
    own, grid = NonCartesianFourier(maps, k), MultiCoilFourier(maps, torch.ones(1, rows, columns, dtype=torch.bool))
    torch.testing.assert_close(own.forward(x), grid.forward(x), rtol=1e-9, atol=1e-9)
    weights = density_weights(k, (rows, columns))
    torch.testing.assert_close(weights, torch.ones_like(weights), rtol=0, atol=0.05)
    torch.testing.assert_close(gridded(own.forward(x), k, torch.ones(rows, columns), (rows, columns)), own.forward(x))


@needs_finufft
def test_parts_of_views_and_images() -> None:
    own = NonCartesianFourier(random(2, 3, 12, 10, seed=5), radial(6, 16))
    x = random(2, 12, 10)
    torch.testing.assert_close(own.subset(slice(0, None, 2)).forward(x), own.forward(x)[..., ::2, :])
    torch.testing.assert_close(own.of_images(slice(1, 2)).forward(x[1:]), own.forward(x)[1:])
    likelihood = GaussianLikelihood(own, own.forward(x), torch.tensor(0.1, dtype=torch.float64))
    assert likelihood.residual_per_view(x).shape == (2, 6)
    torch.testing.assert_close(likelihood.select(slice(1, 2)).gradient(0 * x[1:]), likelihood.gradient(0 * x)[1:])
    basis = torch.eye(120, dtype=torch.complex128).reshape(120, 12, 10)
    smooth = NonCartesianFourier(ring_maps(3, 12, 10), own.trajectory)
    true = float(torch.linalg.matrix_norm(smooth.forward(basis).flatten(1), 2) ** 2)
    assert true <= float(smooth.squared_norm) < 2 * true


@needs_finufft
@pytest.mark.parametrize("name", ["radial", "spiral"])
def test_density_weights_give_the_image_back(name: str) -> None:
    """Enough samples: A'(w A x) is the image nearly; spokes weigh as |k|."""
    k = radial(76, 64) if name == "radial" else spiral(24, 220, 4.0)
    image = head(32, 32)
    own = NonCartesianFourier(ring_maps(3, 32, 32), k)
    weights = density_weights(k, (32, 32))
    back = own.adjoint(own.forward(image) * weights)
    assert float((back - image).norm() / image.norm()) < 0.2
    assert float((own.adjoint(own.forward(image)) - image).norm() / image.norm()) > 1
    found = espirit_maps(gridded(own.forward(image), k, weights, (32, 32)), torch.ones(1, 32, 32, dtype=torch.bool))
    cosine = (found * own.maps.conj()).sum(1).abs()[image.abs() > 0.1]
    assert float(cosine.median()) > 0.999
    if name == "radial":
        ramp = k[0, 36:60].norm(dim=-1)
        ratio = weights[:, 36:60].mean(0) / ramp
        assert float(ratio.std() / ratio.mean()) < 0.1


@needs_finufft
def test_classical_methods_take_spokes() -> None:
    image = head(32, 32)
    own = NonCartesianFourier(ring_maps(4, 32, 32), radial(24, 64))
    noise = 0.01 * random(1, *own.out_shape, seed=3)
    likelihood = GaussianLikelihood(own, own.forward(image) + noise, torch.tensor(1e-4, dtype=torch.float64))
    *_, least = cg_sense_steps(likelihood, iterations=15)
    *_, sparse = wavelet_steps(likelihood, weight=0.0005, iterations=60)
    for found in (least, sparse):
        assert float((found - image).norm() / image.norm()) < 0.15


@needs_finufft
def test_trajectory_refusals() -> None:
    maps, k = random(1, 2, 8, 8), radial(3, 8)
    with pytest.raises(ValueError, match="complex coil sensitivities"):
        NonCartesianFourier(maps[0], k)
    with pytest.raises(ValueError, match=r"expected a trajectory \(views, samples, 2\)"):
        NonCartesianFourier(maps, k[..., :1])
    with pytest.raises(ValueError, match="within pi radians a pixel"):
        NonCartesianFourier(maps, k * 8)
    with pytest.raises(ValueError, match="within pi radians a pixel, found nan"):
        NonCartesianFourier(maps, k * torch.nan)
    with pytest.raises(ValueError, match="within pi"):
        replace(NonCartesianFourier(maps, k), trajectory=k * 2)


def test_one_sentence_where_finufft_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "finufft", None)
    with pytest.raises(ValueError, match="need the package finufft, which is not installed"):
        NonCartesianFourier(random(1, 2, 8, 8), radial(3, 8))
    with pytest.raises(ValueError, match="need the package finufft"):
        sampled(random(1, 8, 8), radial(3, 8))
