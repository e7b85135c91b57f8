"""Small problems whose posterior is known: in closed form, or by a long Markov chain that is checked.

Images are in network units, with a pixel standard deviation near 0.5. Each problem gives a denoiser, a likelihood for
each of several measurements, and the true posterior's marginals in the coordinates in which spreads are compared.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from diffusion_engine.likelihoods.gaussian import GaussianLikelihood
from diffusion_engine.physics.ct import ImageGrid, make_projector, parallel_geometry
from diffusion_engine.priors.analytic import GaussianDenoiser, MixtureDenoiser
from scipy.stats import norm
from torch import Tensor
from truth_chain import elliptical_slice
from truth_scans import Blur, HartleyMask, LogPoisson, hartley, power_law


@dataclass(frozen=True, eq=False)
class Truth:
    """What is known of one posterior.

    ``coordinates``: images (n, rows, columns) -> (n, k), independent under the posterior where it is Gaussian;
    ``mean`` and ``variance`` (k,) of them; ``measured`` (k,) True where the data say more than the prior, None where
    the question does not arise; ``content``: probability between two bounds of each pixel; ``mode_of``: images -> mode
    number, with ``mode_weights``, for a mixture.
    """

    coordinates: Callable[[Tensor], Tensor]
    mean: Tensor
    variance: Tensor
    measured: Tensor | None
    content: Callable[[Tensor, Tensor], Tensor]
    mode_of: Callable[[Tensor], Tensor] | None = None
    mode_weights: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Case:
    """One measurement: its likelihood, a classical start with its root mean square error, the truth, and remarks."""

    likelihood: Any
    start: Tensor
    start_error: float
    truth: Truth
    remarks: dict[str, Any]


@dataclass(frozen=True, eq=False)
class TruthProblem:
    """A prior and measurements under it; ``draws`` to take of each; ``linear``: Gaussian noise on a linear scan.

    ``modality``: whose usual settings the methods have, instead of their own defaults.
    """

    name: str
    denoiser: Any
    cases: list[Case]
    draws: int
    linear: bool
    modality: str = ""


def gauss_fourier(draws: int = 400, noises: tuple[float, ...] = (0.05, 0.2)) -> TruthProblem:
    """Power-law Gaussian images, 64 x 64, a quarter of all frequencies at random and the lowest ones measured."""
    size = 64
    spectrum = power_law(size)
    prior = GaussianDenoiser(torch.zeros(size, size), spectrum)
    generator = torch.Generator().manual_seed(3)
    k = torch.fft.fftfreq(size) * size
    kept = (torch.rand(size, size, generator=generator) < 0.25) | ((k[:, None] ** 2 + k**2).sqrt() < 6)
    mirrored = torch.roll(kept.flip(0, 1), (1, 1), (0, 1))
    mask = (kept | mirrored).float()
    operator = HartleyMask(mask)
    cases = []
    for number, noise in enumerate(noises):
        generator = torch.Generator().manual_seed(10 + number)
        true = hartley(spectrum.sqrt() * torch.randn(size, size, generator=generator))
        data = operator.forward(true) + noise * torch.randn(size, size, generator=generator) * mask
        variance = 1 / (1 / spectrum + mask / noise**2)
        mean = variance * data * mask / noise**2
        std = _pixel_std(variance)
        truth = Truth(
            lambda x: hartley(x).flatten(1), mean.flatten(), variance.flatten(),
            (spectrum * mask / noise**2 > 1).flatten(), gaussian_content(hartley(mean), std),
        )
        likelihood = GaussianLikelihood(operator, data[None], torch.tensor(noise**2))
        cases.append(case_of(likelihood, true, truth, {"noise": noise, "measured_share": round(float(mask.mean()), 3)}))
    return TruthProblem("gauss_fourier", prior, cases, draws, True)


def gauss_ct(
    draws: int = 400, scans: tuple[tuple[int, float], ...] = ((12, 0.1), (20, 0.5))
) -> TruthProblem:
    """The same prior on 48 x 48, parallel-beam scans of few views with noise of 0.4 to 2 % of the largest reading."""
    size = 48
    spectrum = power_law(size)
    prior = GaussianDenoiser(torch.zeros(size, size), spectrum)
    eye = torch.eye(size * size, dtype=torch.float64).reshape(-1, size, size)
    covariance = torch.fft.ifft2(spectrum.double() * torch.fft.fft2(eye)).real.flatten(1)
    grid = ImageGrid(size, size, (1.0, 1.0))
    cases = [
        gaussian_posterior(covariance, make_projector(parallel_geometry(grid, views), grid), noise, 20 + number,
                           {"views": views})
        for number, (views, noise) in enumerate(scans)
    ]
    return TruthProblem("gauss_ct", prior, cases, draws, True)


def gaussian_posterior(covariance: Tensor, operator: Any, noise: float, seed: int, remarks: dict[str, Any]) -> Case:
    """A scan of an image drawn from N(0, ``covariance``) (pixels, pixels), float64, with its posterior.

    Coordinates: along the eigenvectors of C^1/2 A'A C^1/2 / noise^2, in which prior and posterior are independent.
    """
    rows, columns = operator.in_shape
    values, vectors = torch.linalg.eigh(covariance)
    root, inverse_root = (vectors * values**e @ vectors.T for e in (0.5, -0.5))
    eye = torch.eye(len(covariance)).reshape(-1, rows, columns)
    matrix = operator.forward(eye).double().flatten(1).T
    generator = torch.Generator().manual_seed(seed)
    true = (root @ torch.randn(len(covariance), generator=generator, dtype=torch.float64)).reshape(rows, columns)
    clean = matrix @ true.flatten()
    data = clean + noise * torch.randn(clean.shape, generator=generator, dtype=torch.float64)
    gain = covariance @ matrix.T @ torch.linalg.inv(
        matrix @ covariance @ matrix.T + noise**2 * torch.eye(len(matrix), dtype=torch.float64)
    )
    mean = gain @ data
    information, directions = torch.linalg.eigh(root @ matrix.T @ matrix @ root / noise**2)
    information = information.clamp_min(0)
    turn = directions.T @ inverse_root
    std = (covariance - gain @ matrix @ covariance).diagonal().clamp_min(0).sqrt().reshape(rows, columns)
    truth = Truth(
        lambda x: x.double().flatten(1) @ turn.T, turn @ mean, 1 / (1 + information), information > 1,
        gaussian_content(mean.reshape(rows, columns).float(), std.float()),
    )
    shaped = data.float().reshape(1, *operator.out_shape)
    likelihood = GaussianLikelihood(operator, shaped, torch.tensor(noise**2))
    percent = round(100 * noise / float(clean.abs().max()), 2)
    return case_of(likelihood, true.float(), truth, {**remarks, "noise": noise, "noise_percent": percent})


def mixture(draws: int = 1600, seeds: tuple[int, ...] = (0, 2)) -> TruthProblem:
    """Two anatomies 38 standard deviations apart, 32 x 32, a blur of 8 pixels and noise 0.5: the data cannot decide."""
    size, std, width, noise = 32, 0.1, 8.0, 0.5
    means = torch.stack([anatomy(size, mirrored) for mirrored in (False, True)])
    weights = torch.tensor([0.5, 0.5])
    prior = MixtureDenoiser(means, torch.full((2,), std**2), weights)
    operator = Blur(width, size)
    cases = []
    for seed in seeds:
        generator = torch.Generator().manual_seed(seed)
        chosen = int(torch.rand(1, generator=generator) > 0.5)
        true = means[chosen] + std * torch.randn(size, size, generator=generator)
        data = operator.forward(true) + noise * torch.randn(size, size, generator=generator)
        total = operator.gain**2 * std**2 + noise**2
        away = hartley(data - operator.forward(means))
        share = torch.softmax((-0.5 * (away**2 / total).flatten(1).sum(1) + weights.log()).double(), 0)
        gain = operator.gain * std**2 / total
        centres = means + hartley(gain * away)
        pixel = _pixel_std(std**2 - gain * operator.gain * std**2)
        mean = (share[:, None, None] * centres).sum(0).float()
        variance = (share[:, None, None] * (pixel**2 + (centres - mean) ** 2)).sum(0).float()
        parts = [gaussian_content(centre, pixel) for centre in centres]

        def content(low: Tensor, high: Tensor, parts: list = parts, share: Tensor = share) -> Tensor:
            return sum(w * part(low, high) for w, part in zip(share, parts, strict=True))

        def mode_of(x: Tensor, centres: Tensor = centres) -> Tensor:
            return ((x[:, None] - centres) ** 2).flatten(2).sum(-1).argmin(1)

        truth = Truth(lambda x: x.flatten(1), mean.flatten(), variance.flatten(), None, content, mode_of, share)
        likelihood = GaussianLikelihood(operator, data[None], torch.tensor(noise**2))
        remarks = {"noise": noise, "true_weights": [round(float(w), 4) for w in share]}
        cases.append(case_of(likelihood, true, truth, remarks))
    return TruthProblem("mixture", prior, cases, draws, True)


def poisson(draws: int = 400, scales: tuple[float, ...] = (4.0, 20.0)) -> TruthProblem:
    """Counts of a positive 8 x 8 image whose logarithm is Gaussian, 24 blurred readings, against a long Markov chain.

    The reference: elliptical slice sampling (arXiv:1001.0175), 16 chains; R-hat and effective sample size reported.
    """
    size, readings = 8, 24
    spectrum = power_law(size, std=0.7)
    prior = GaussianDenoiser(torch.zeros(size, size), spectrum)
    generator = torch.Generator().manual_seed(40)
    place = torch.rand(readings, 2, generator=generator) * size
    axis = torch.arange(size) + 0.5
    away = (axis[None, :, None] - place[:, 0, None, None]) ** 2 + (axis[None, None, :] - place[:, 1, None, None]) ** 2
    rows = torch.exp(-away / (2 * 1.5**2)).flatten(1)
    rows = rows / rows.sum(1, keepdim=True)
    cases = []
    for number, scale in enumerate(scales):
        generator = torch.Generator().manual_seed(50 + number)
        true = hartley(spectrum.sqrt() * torch.randn(size, size, generator=generator))
        counts = torch.poisson(scale * rows @ true.exp().flatten(), generator=generator)
        likelihood = LogPoisson(scale * rows, counts)
        samples, checks = elliptical_slice(likelihood, spectrum, generator)
        flat = samples.flatten(1)
        truth = Truth(lambda x: x.flatten(1), flat.mean(0), flat.var(0), None, sampled_content(flat))
        start = torch.zeros(size, size)
        remarks = {"counts": int(counts.sum()), "readings": readings, **checks}
        cases.append(Case(likelihood, start, float((start - true).square().mean().sqrt()), truth, remarks))
    return TruthProblem("poisson", prior, cases, draws, False)


def anatomy(size: int, mirrored: bool) -> Tensor:
    """A body with a large bright organ on one side and a faint one on the other."""
    axis = torch.linspace(-1, 1, size)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    x = -x if mirrored else x
    body = 0.4 * ((x / 0.85) ** 2 + (y / 0.7) ** 2 < 1)
    organs = 0.5 * ((x + 0.3) ** 2 + y**2 < 0.06) + 0.1 * ((x - 0.3) ** 2 + y**2 < 0.06)
    return body + organs


def _pixel_std(spectrum: Tensor) -> Tensor:
    """Pixel standard deviation of a stationary image from the variances of its Hartley coefficients."""
    return spectrum.mean().sqrt().expand(spectrum.shape)


def gaussian_content(mean: Tensor, std: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    def content(low: Tensor, high: Tensor) -> Tensor:
        upper, lower = (torch.from_numpy(norm.cdf(((b - mean) / std).numpy())) for b in (high, low))
        return upper - lower

    return content


def sampled_content(samples: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    """Shares of the ``samples`` (n, pixels) between two bounds of each pixel."""
    ordered = samples.sort(0).values.T.contiguous()

    def content(low: Tensor, high: Tensor) -> Tensor:
        below = torch.searchsorted(ordered, low.flatten()[:, None].contiguous())
        up_to = torch.searchsorted(ordered, high.flatten()[:, None].contiguous(), right=True)
        return ((up_to - below).double() / len(samples)).reshape(low.shape)

    return content


def case_of(likelihood: GaussianLikelihood, true: Tensor, truth: Truth, remarks: dict[str, Any]) -> Case:
    """The ridge estimate (prior variance 0.25) as classical start, and its true error."""
    start = likelihood.proximal(torch.zeros(1, *true.shape), 0.25, 50)[0]
    return Case(likelihood, start, float((start - true).abs().square().mean().sqrt()), truth, remarks)


PROBLEMS: dict[str, Callable[..., TruthProblem]] = {
    "gauss_fourier": gauss_fourier, "gauss_ct": gauss_ct, "mixture": mixture, "poisson": poisson,
}
