"""A small PET whose posterior is known: Gaussian activities seen through Poisson counts, against long Markov chains.

    x ~ N(m, C),  y ~ Poisson(A x + b),  A = k diag(survival) P

of 32 x 32 pixels of 4 mm, 20 angles of 46 bins, with a background b of 30 % of the trues.

p(x | y) has one peak, as its logarithm is concave. The chains walk on what is left of it when its own Gaussian around
that peak is taken out (generalised elliptical slice sampling, arXiv:1210.7477): with x = x_map + H^-1/2 u and
E = -log p(x | y), they have N(0, I) as their prior of u and E - u'u / 2 as their misfit, and are exact however far
from a Gaussian the posterior is. Their R-hat and effective sample size are those of u, all of it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from diffusion_engine.classical.osem import osem_steps
from diffusion_engine.likelihoods.poisson import PoissonEmission
from diffusion_engine.physics.attenuation import WATER_PER_MM, survival
from diffusion_engine.physics.grid import ImageGrid
from diffusion_engine.physics.pet import EmissionProjector, emission_geometry, emission_lines, smoothed
from diffusion_engine.priors.analytic import DenseMixtureDenoiser
from torch import Tensor
from truth_chain import elliptical_slice
from truth_problems import Case, Truth, TruthProblem, sampled_content
from truth_uneven import correlated

SIZE, PIXEL_MM, ANGLES, BINS = 32, 4.0, 20, 46
TRUES = (20_000, 2_000)
BACKGROUND = 0.3
"""Of the trues, the same in each bin."""
CHAINS, LENGTH, BURN = 32, 900, 100
"""Of the reference, in steps."""


def pet_field(
    draws: int = 1600, trues: tuple[int, ...] = TRUES, size: int = SIZE, length: int = LENGTH
) -> TruthProblem:
    """Activities of 2 +- 0.5 everywhere, correlated over 3 pixels, nothing attenuated: no pixel is near 0."""
    mean = torch.full((size, size), 2.0)
    covariance = correlated(torch.full((size, size), 0.5, dtype=torch.float64))
    return _problem("pet_field", mean, covariance, None, draws, trues, length)


def pet_body(
    draws: int = 800, trues: tuple[int, ...] = TRUES, size: int = SIZE, length: int = LENGTH
) -> TruthProblem:
    """A body of water with activities of 1.5 +- 0.4, as 4 standard deviations away from 0 as the air's 0.04 +- 0.01."""
    axis = torch.linspace(-1, 1, size, dtype=torch.float64)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    body = (x / 0.8) ** 2 + (y / 0.65) ** 2 < 1
    mean = torch.where(body, 1.5, 0.04).float()
    covariance = correlated(torch.where(body, 0.4, 0.01))
    return _problem("pet_body", mean, covariance, WATER_PER_MM * body.float(), draws, trues, length)


@dataclass(frozen=True, eq=False)
class CountsAround:
    """What of -log p(x | y) its Gaussian around the peak leaves out, as a misfit of u with x = peak + root u.

    The prior's part is that of the Gaussian, so that only the readings' own is left, f(m) = m - y ln m beyond its
    parabola at the peak's m. ``peak`` (pixels,), ``root`` H^-1/2 (pixels, pixels), ``expected`` m there and ``counts``
    y (readings,), ``changes`` A root (readings, pixels): all float64.
    """

    peak: Tensor
    root: Tensor
    expected: Tensor
    counts: Tensor
    changes: Tensor

    @classmethod
    def of(cls, matrix: Tensor, background: Tensor, counts: Tensor, mean: Tensor, covariance: Tensor) -> CountsAround:
        """Around the peak for a prior N(mean, covariance), by Newton's method; float64, ``matrix`` A."""
        precision = torch.linalg.inv(covariance)
        peak = mean
        for _ in range(30):
            expected = matrix @ peak + background
            slope = precision @ (peak - mean) + matrix.T @ (1 - counts / expected)
            hessian = precision + (matrix.T * (counts / expected**2)) @ matrix
            move = torch.linalg.solve(hessian, slope)
            if float(move.abs().max()) < 1e-9:
                break
            while bool((matrix @ (peak - move) + background <= 0).any()):
                move = move / 2
            peak = peak - move
        else:
            raise ValueError("the posterior's peak was not found: give a mean whose expected counts are above 0")
        values, vectors = torch.linalg.eigh(hessian)
        root = vectors * values.rsqrt() @ vectors.T
        return cls(peak, root, expected, counts, matrix @ root)

    def image(self, u: Tensor) -> Tensor:
        """x of u: (n, pixels), float64."""
        return self.peak + u.double().flatten(1) @ self.root

    def misfit(self, u: Tensor) -> Tensor:
        """E(x) - E(peak) - u'u / 2 of each, (n,), infinite where a bin would expect no counts."""
        share = u.double().flatten(1) @ self.changes.T / self.expected
        left = share.square() / 2 - share + torch.log1p(share.clamp_min(-1))
        return torch.where(self.counts > 0, -self.counts * left, 0.0).sum(1).where((share > -1).all(1), torch.inf)


def _problem(
    name: str, mean: Tensor, covariance: Tensor, mu: Tensor | None, draws: int, trues: tuple[int, ...], length: int
) -> TruthProblem:
    prior = DenseMixtureDenoiser(mean[None], covariance[None], torch.ones(1))
    cases = [_case(mean, covariance, mu, total, 100 + number, length) for number, total in enumerate(trues)]
    return TruthProblem(name, prior, cases, draws, False, "pet")


def _case(mean: Tensor, covariance: Tensor, mu: Tensor | None, trues: int, seed: int, length: int) -> Case:
    """A scan of an image of the prior; coordinates along the eigenvectors of C^1/2 A' diag(1 / m) A C^1/2."""
    size = len(mean)
    generator = torch.Generator().manual_seed(seed)
    values, vectors = torch.linalg.eigh(covariance)
    root, inverse_root = (vectors * values**power @ vectors.T for power in (0.5, -0.5))
    true = mean.flatten().double() + root @ torch.randn(len(root), generator=generator, dtype=torch.float64)
    image = true.reshape(1, size, size).float()
    likelihood = scan(image, mu, trues, generator)
    matrix = likelihood.operator.forward(torch.eye(size * size).reshape(-1, size, size)).double().flatten(1).T
    background, counts = (part.double().flatten() for part in (likelihood.background, likelihood.data))
    around = CountsAround.of(matrix, background, counts, mean.flatten().double(), covariance)
    chain, checks = elliptical_slice(
        around, torch.ones(size, size), generator, chains=CHAINS, length=length, burn=BURN, thin=2
    )
    samples = around.image(chain)
    expected = matrix @ around.peak + background
    information, directions = torch.linalg.eigh(root @ (matrix.T / expected) @ matrix @ root)
    turn = directions.T @ inverse_root
    seen = samples @ turn.T
    truth = Truth(
        lambda x: x.double().flatten(1) @ turn.T, seen.mean(0), seen.var(0), information > 1,
        sampled_content(samples.float()),
    )
    remarks = {"trues": trues, "measured_directions": int((information > 1).sum()), **checks}
    return counted(likelihood, image, truth, remarks)


def counted(likelihood: PoissonEmission, image: Tensor, truth: Truth, remarks: dict[str, Any]) -> Case:
    """With an early, filtered OSEM image as the start, as a run has it; ``image``: the true one."""
    start = smoothed(deque(osem_steps(likelihood, subsets=10, iterations=2), 1).pop(), (PIXEL_MM, PIXEL_MM), 5.0)
    error = float((start - image).square().mean().sqrt())
    return Case(likelihood, start[0], error, truth, {"counts": int(likelihood.data.sum()), **remarks})


def scan(image: Tensor, mu: Tensor | None, trues: int, generator: torch.Generator) -> PoissonEmission:
    """Counts of an image (1, rows, columns): ``trues`` expected and 30 % of them beside; ``mu`` in 1/mm, if any."""
    size = image.shape[-1]
    grid = ImageGrid(size, size, (PIXEL_MM, PIXEL_MM))
    angles = tuple(torch.pi * n / ANGLES for n in range(ANGLES))
    lines = emission_lines(emission_geometry(angles, BINS * size // SIZE, PIXEL_MM), grid)
    through = torch.ones(lines.out_shape) if mu is None else survival(mu[None], lines)[0]
    factors = trues / float((through * lines.forward(image[0])).sum()) * through
    operator = EmissionProjector(lines, factors, grid.pixel_mm)
    background = torch.full((1, *operator.out_shape), BACKGROUND * trues / factors.numel())
    return PoissonEmission(operator, torch.poisson(operator.forward(image) + background, generator), background)


PET: dict[str, Callable[..., TruthProblem]] = {"pet_field": pet_field, "pet_body": pet_body}
