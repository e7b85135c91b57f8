"""Room for broad structure in the data step: its spectrum, the root of a covariance, and what it does to lesions."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusion_engine.coupling.ztv import couple_z
from diffusion_engine.likelihoods.conjugate_gradient import conjugate_gradient, item_dot
from diffusion_engine.likelihoods.gaussian import GaussianLikelihood
from diffusion_engine.likelihoods.root import Root, broad_spectrum, filtered
from diffusion_engine.run.slabs import Slabs, dds_in_slabs
from diffusion_engine.sampling.noise import seeded
from diffusion_engine.solvers.catalogue import METHODS, method_named
from diffusion_engine.solvers.consistency import ConsistencySettings, consistency
from diffusion_engine.solvers.dds import DDSSettings, dds
from diffusion_engine.solvers.mmps import MMPSSettings, mmps
from torch import Tensor

SIZE, BATCH, NOISE = 8, 3, 0.1


def images(seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(BATCH, SIZE, SIZE, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def spectrum(std: float = 0.3, size: int = SIZE) -> Tensor:
    found = broad_spectrum((size, size), std, 1.6, torch.zeros(1, dtype=torch.float64))
    assert found is not None
    return found.double()


def test_the_field_has_the_spread_and_the_width_that_are_asked_for() -> None:
    """White noise through it: std 0.3, correlation exp(-d^2 / (4 w^2)) at a distance of d pixels."""
    size = 256
    field = filtered(torch.randn(8, size, size, generator=torch.Generator().manual_seed(0), dtype=torch.float64),
                     spectrum(size=size))
    assert float(field.std()) == pytest.approx(0.3, rel=0.02)
    apart = (field * field.roll(3, -1)).mean() / field.square().mean()
    assert float(apart) == pytest.approx(2.718281828 ** (-9 / (4 * 1.6**2)), abs=0.03)
    assert broad_spectrum((4, 4), 0.0, 1.6, field) is None
    with pytest.raises(ValueError, match="spread of 0 or more"):
        broad_spectrum((4, 4), -1.0, 1.6, field)


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_a_root_and_its_adjoint_make_the_covariance(dtype: torch.dtype) -> None:
    root = Root(images(1).abs(), spectrum())
    u = torch.stack([images(2, dtype), images(3, dtype)], 1)
    z = images(4, dtype)
    torch.testing.assert_close((root.forward(u).conj() * z).sum(), (u.conj() * root.adjoint(z)).sum())
    torch.testing.assert_close(root.covariance(z), root.forward(root.adjoint(z)))
    torch.testing.assert_close(Root(2.0).covariance(z), 4 * z)


def dense_covariance(root: Root) -> Tensor:
    basis = torch.eye(SIZE * SIZE, dtype=torch.float64).reshape(-1, SIZE, SIZE)
    return root.covariance(basis).reshape(SIZE * SIZE, -1)


@pytest.mark.parametrize("broad", [None, spectrum()])
def test_the_data_step_is_the_dense_solution(dense: Any, broad: Tensor | None) -> None:
    operator = dense((SIZE, SIZE), (4, 6), dtype=torch.float64)
    data = torch.randn(BATCH, 4, 6, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    likelihood = GaussianLikelihood(operator, data, torch.tensor(NOISE**2, dtype=torch.float64))
    root, x, a = Root(0.2, broad), images(2), operator.matrix
    found = likelihood.proximal(x, root, 400, 1e-12)
    c = dense_covariance(root)
    gain = c @ a.T @ torch.linalg.inv(a @ c @ a.T + NOISE**2 * torch.eye(len(a), dtype=torch.float64))
    torch.testing.assert_close(found.flatten(1), x.flatten(1) + (data.flatten(1) - x.flatten(1) @ a.T) @ gain.T)
    torch.testing.assert_close(couple_z(likelihood, 0.0).proximal(x, root, 400, 1e-12), found)
    # Slices that are alike are not changed by a tie between them.
    alike = GaussianLikelihood(operator, data[:1].repeat(BATCH, 1, 1), likelihood.variance)
    tied = couple_z(alike, 1.0, sweeps=3).proximal(x[:1].repeat(BATCH, 1, 1), root, 400, 1e-12)
    torch.testing.assert_close(tied, found[:1].repeat(BATCH, 1, 1))


class Sure:
    """A denoiser that takes every image for empty and is sure of it: its Jacobian is 0."""

    def __call__(self, x: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
        return 0.0 * x


class Identity:
    in_shape = out_shape = (16, 16)

    def forward(self, x: Tensor) -> Tensor:
        return x

    adjoint = forward


def kept(solve: Any, settings: Any) -> float:
    """The share of a lesion, of 0.06 and 5 pixels, that is left; the data show it, with little noise."""
    y, x = torch.meshgrid(torch.arange(16.0) - 7.5, torch.arange(16.0) - 7.5, indexing="ij")
    lesion = 0.06 * (y**2 + x**2 < 6.3).float()[None]
    likelihood = GaussianLikelihood(Identity(), lesion, torch.tensor(0.01**2))
    *_, last = solve(Sure(), likelihood, torch.zeros(1, 16, 16), settings, seeded(0))
    return float(last.estimate[lesion > 0].mean()) / 0.06


@pytest.mark.parametrize(("solve", "settings"), [
    (dds, DDSSettings), (consistency, ConsistencySettings), (dds, lambda **k: DDSSettings(products=2, **k)),
    (mmps, lambda **k: MMPSSettings(sigma_max=1.0, sigma_min=0.01, **k)),
])
def test_a_lesion_that_the_network_does_not_believe_in_stays_possible(solve: Any, settings: Any) -> None:
    """At a last level of 0.001 the data move nothing by themselves; the broad part lets them show the lesion."""
    last = {} if solve is mmps else {"sigma_end": 0.001}
    without = kept(solve, settings(steps=6, broad_std=0.0, **last))
    with_it = kept(solve, settings(steps=6, broad_std=0.02, **last))
    assert without < 0.1 < 0.7 < with_it < 1.1


def test_slabs_leave_the_same_room(dense: Any) -> None:
    operator = dense((SIZE, SIZE), (4, 6), dtype=torch.float32)
    data = torch.randn(5, 4, 6, generator=torch.Generator().manual_seed(5))
    likelihood = GaussianLikelihood(operator, data, torch.tensor(NOISE**2))
    settings = DDSSettings(steps=4, broad_std=0.3, cg_tolerance=1e-7, cg_iterations=60)
    start = torch.zeros(5, SIZE, SIZE)
    *_, whole = dds(Sure(), likelihood, start, settings, seeded(0))
    *_, parts = dds_in_slabs(Sure(), likelihood, lambda part: start[part], settings, seeded(0), Slabs(2))
    torch.testing.assert_close(parts.estimate, whole.estimate, rtol=0, atol=1e-4)


def test_the_label_of_a_widened_prior_is_not_that_of_the_posterior() -> None:
    method = method_named("tmpd")
    assert method.spread_for("ct") in ("posterior", "near-posterior")
    assert method.spread_for("ct", {"broad_std": 0.01}) == "concentrated"
    # What earned its label did so without.
    assert all(getattr(entry.settings, "broad_std", 0.0) == 0 for entry in METHODS.values() if entry.earned)


def test_data_of_uneven_weight_take_more_iterations() -> None:
    """Photon counts: rays through the body weigh a hundredth of those beside it; 8 iterations leave much undone."""
    data = torch.zeros(1, 16, 16)
    even = GaussianLikelihood(Identity(), data, torch.full((1, 16, 16), 0.5))
    uneven = GaussianLikelihood(Identity(), data, torch.logspace(-4, 0, 256).reshape(1, 16, 16))
    dead = torch.where(torch.arange(16.0) < 14, 0.5, torch.inf).expand(1, 16, 16)
    some_dead = GaussianLikelihood(Identity(), data, dead)
    assert [given.iterations(8).tolist() for given in (even, uneven, some_dead)] == [[8], [24], [8]]
    assert GaussianLikelihood(Identity(), data, torch.tensor(0.5)).iterations(8).tolist() == [8]
    # Each image of a batch by its own data.
    both = GaussianLikelihood(Identity(), data.repeat(2, 1, 1), torch.cat([even.variance, uneven.variance]))
    assert both.iterations(8).tolist() == [8, 24]


def test_each_item_may_have_its_own_number_of_iterations() -> None:
    matrix = torch.diag(torch.arange(1.0, 17.0, dtype=torch.float64))
    right = torch.ones(2, 1, 16, dtype=torch.float64)
    found = conjugate_gradient(lambda x: x @ matrix, right, torch.tensor([2, 9]), 0.0, item_dot)
    for n, number in enumerate((2, 9)):
        torch.testing.assert_close(found[n : n + 1], conjugate_gradient(lambda x: x @ matrix, right[:1], number))
