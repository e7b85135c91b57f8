"""Problems whose prior is not stationary: body and air differ in standard deviation, and two correlated anatomies.

Images of 32 x 32 with exponential correlation of 3 pixels, dense exact denoisers, posteriors by dense algebra.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from diffusion_engine.likelihoods.gaussian import GaussianLikelihood
from diffusion_engine.physics.ct import ImageGrid, make_projector, parallel_geometry
from diffusion_engine.priors.analytic import DenseMixtureDenoiser
from torch import Tensor
from truth_problems import Truth, TruthProblem, anatomy, case_of, gaussian_content, gaussian_posterior
from truth_scans import PixelMask

SIZE, CORRELATION, BODY_STD = 32, 3.0, 0.5
SCANS: tuple[tuple[int, float], ...] = ((20, 0.05), (8, 0.1))
"""Parallel views over half a turn, and the standard deviation of the noise of a line integral, pixels of 1 mm."""


def uneven_ct(ratio: float, draws: int = 200, scans: tuple[tuple[int, float], ...] = SCANS) -> TruthProblem:
    """Parallel-beam scans of images whose standard deviation is ``ratio`` times larger in the body than in air."""
    covariance = body_covariance(ratio)
    operators = [(scanner(views), noise, {"views": views}) for views, noise in scans]
    return _gaussian(f"uneven_{ratio:g}_ct", covariance, operators, draws)


def uneven_inpainting(ratio: float, draws: int = 200, seen: float = 0.3, noise: float = 0.05) -> TruthProblem:
    """The same images, a random ``seen`` part of whose pixels is measured with ``noise``."""
    mask = (torch.rand(SIZE, SIZE, generator=torch.Generator().manual_seed(60)) < seen).float()
    operators = [(PixelMask(mask), noise, {"measured_share": round(float(mask.mean()), 3)})]
    return _gaussian(f"uneven_{ratio:g}_inpainting", body_covariance(ratio), operators, draws)


def _gaussian(name: str, covariance: Tensor, operators: list[tuple[Any, float, dict]], draws: int) -> TruthProblem:
    prior = DenseMixtureDenoiser(torch.zeros(1, SIZE, SIZE), covariance[None], torch.ones(1))
    cases = [
        gaussian_posterior(covariance, operator, noise, 70 + number, remarks)
        for number, (operator, noise, remarks) in enumerate(operators)
    ]
    return TruthProblem(name, prior, cases, draws, True)


@dataclass(frozen=True, eq=False)
class _Component:
    """One anatomy's share of the posterior: its weight's logarithm, centre and covariance of flat images."""

    score: Tensor
    centre: Tensor
    covariance: Tensor


def uneven_mixture(draws: int = 400, seeds: tuple[int, ...] = (1, 7), noise: float = 2.0) -> TruthProblem:
    """Two correlated anatomies, mirrored top to bottom, by 6 views within 20 degrees of the vertical."""
    pixels = SIZE * SIZE
    means = 0.5 * torch.stack([anatomy(SIZE, False).T, anatomy(SIZE, True).T])
    covariances = torch.stack([correlated(0.02 + 0.2 * mean.double()) for mean in means])
    weights = torch.tensor([0.5, 0.5])
    prior = DenseMixtureDenoiser(means, covariances, weights)
    grid = ImageGrid(SIZE, SIZE, (1.0, 1.0))
    arc = math.radians(20)
    operator = make_projector(parallel_geometry(grid, 6, arc, start_rad=math.pi / 2 - arc / 2), grid)
    matrix = _matrix(operator)
    cases = []
    for seed in seeds:
        generator = torch.Generator().manual_seed(seed)
        chosen = int(torch.rand(1, generator=generator) > 0.5)
        root = torch.linalg.cholesky(covariances[chosen])
        true = means[chosen].flatten().double() + root @ torch.randn(pixels, generator=generator, dtype=torch.float64)
        data = matrix @ true + noise * torch.randn(len(matrix), generator=generator, dtype=torch.float64)
        parts = [
            _conditioned(mean.flatten().double(), c, matrix, data, noise)
            for mean, c in zip(means, covariances, strict=True)
        ]
        share = torch.softmax(torch.stack([part.score for part in parts]), 0)
        likelihood = GaussianLikelihood(operator, data.float().reshape(1, *operator.out_shape), torch.tensor(noise**2))
        remarks = {"views": 6, "arc_deg": 20, "noise": noise, "true_weights": [round(float(w), 4) for w in share]}
        cases.append(case_of(likelihood, true.reshape(SIZE, SIZE).float(), _mixed(parts, share, prior), remarks))
    return TruthProblem("uneven_mixture", prior, cases, draws, True)


def _conditioned(mean: Tensor, covariance: Tensor, matrix: Tensor, data: Tensor, noise: float) -> _Component:
    system = matrix @ covariance @ matrix.T + noise**2 * torch.eye(len(matrix), dtype=torch.float64)
    gain = covariance @ matrix.T @ torch.linalg.inv(system)
    away = data - matrix @ mean
    score = -0.5 * (away @ torch.linalg.solve(system, away) + torch.logdet(system))
    return _Component(score, mean + gain @ away, covariance - gain @ matrix @ covariance)


def _mixed(parts: list[_Component], share: Tensor, prior: DenseMixtureDenoiser) -> Truth:
    mean = sum(w * part.centre for w, part in zip(share, parts, strict=True))
    variance = sum(
        w * (part.covariance.diagonal() + (part.centre - mean) ** 2) for w, part in zip(share, parts, strict=True)
    )
    contents = [
        gaussian_content(part.centre.reshape(SIZE, SIZE).float(), _std(part.covariance).float()) for part in parts
    ]

    def content(low: Tensor, high: Tensor) -> Tensor:
        return sum(w * part(low, high) for w, part in zip(share, contents, strict=True))

    def mode_of(x: Tensor) -> Tensor:
        # Which anatomy an image is of does not depend on the data once the image is known.
        return prior.shares(x[:, None], torch.tensor(0.02)).argmax(1)

    return Truth(lambda x: x.flatten(1), mean, variance, None, content, mode_of, share)


def body_covariance(ratio: float, size: int = SIZE) -> Tensor:
    """Covariance of zero-mean images: standard deviation BODY_STD within an ellipse, 1 / ``ratio`` of it outside."""
    axis = torch.linspace(-1, 1, size, dtype=torch.float64)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    body = (x / 0.8) ** 2 + (y / 0.65) ** 2 < 1
    return correlated(BODY_STD * torch.where(body, 1.0, 1.0 / ratio))


def correlated(std: Tensor) -> Tensor:
    """Covariance (pixels, pixels) of a field with this ``std`` (rows, columns), correlation exp(-d / CORRELATION)."""
    rows, columns = std.shape
    place = torch.cartesian_prod(torch.arange(rows), torch.arange(columns)).double()
    return std.flatten()[:, None] * torch.exp(-torch.cdist(place, place) / CORRELATION) * std.flatten()


def scanner(views: int) -> Any:
    """A parallel-beam projector of ``views`` over half a turn, pixels of 1 mm."""
    grid = ImageGrid(SIZE, SIZE, (1.0, 1.0))
    return make_projector(parallel_geometry(grid, views), grid)


def _matrix(operator: Any) -> Tensor:
    eye = torch.eye(SIZE * SIZE).reshape(-1, SIZE, SIZE)
    return operator.forward(eye).double().flatten(1).T


def _std(covariance: Tensor) -> Tensor:
    return covariance.diagonal().clamp_min(0).sqrt().reshape(SIZE, SIZE)


UNEVEN: dict[str, Callable[..., TruthProblem]] = {
    "uneven_3_ct": partial(uneven_ct, 3.0),
    "uneven_30_ct": partial(uneven_ct, 30.0),
    "uneven_3_inpainting": partial(uneven_inpainting, 3.0),
    "uneven_30_inpainting": partial(uneven_inpainting, 30.0),
    "uneven_mixture": uneven_mixture,
}
