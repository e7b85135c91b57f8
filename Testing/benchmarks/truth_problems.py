"""Small problems whose posterior is known: in closed form, or by a long Markov chain that is checked.

Images are in network units, with a pixel standard deviation near 0.5. Each problem gives a denoiser, a likelihood for
each of several measurements, and the true posterior's marginals in the coordinates in which spreads are compared.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from diffusion_engine.likelihoods.gaussian import GaussianLikelihood
from diffusion_engine.physics.ct import ImageGrid, make_projector, parallel_geometry
from diffusion_engine.priors.analytic import GaussianDenoiser, MixtureDenoiser
from scipy.stats import norm
from torch import Tensor


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
    """A prior and measurements under it; ``draws`` to take of each; ``linear``: Gaussian noise on a linear scan."""

    name: str
    denoiser: Any
    cases: list[Case]
    draws: int
    linear: bool


class HartleyMask:
    """Masked Fourier samples of real images in real form: Re F x - Im F x, an orthonormal transform.

    With a mask symmetric under negation of the frequency this is the complex masked transform up to a rotation of real
    and imaginary parts. Its singular vectors are the Hartley waves: `to_spectral` and `from_spectral` give them.
    """

    def __init__(self, mask: Tensor) -> None:
        self.mask = mask
        self.in_shape = self.out_shape = tuple(mask.shape)
        self.singular_values = mask

    def forward(self, x: Tensor) -> Tensor:
        return hartley(x) * self.mask

    def adjoint(self, y: Tensor) -> Tensor:
        return hartley(y * self.mask)

    def to_spectral(self, x: Tensor) -> Tensor:
        return hartley(x)

    def from_spectral(self, c: Tensor) -> Tensor:
        return hartley(c)

    def data_to_spectral(self, y: Tensor) -> Tensor:
        return y * self.mask


class Blur:
    """Periodic Gaussian blur of ``width`` pixels."""

    def __init__(self, width: float, size: int) -> None:
        frequency = torch.fft.fftfreq(size)
        self.gain = torch.exp(-2 * math.pi**2 * width**2 * (frequency[:, None] ** 2 + frequency**2))
        self.in_shape = self.out_shape = (size, size)
        self.singular_values = self.gain

    def forward(self, x: Tensor) -> Tensor:
        return torch.fft.ifft2(self.gain * torch.fft.fft2(x)).real

    adjoint = forward

    def to_spectral(self, x: Tensor) -> Tensor:
        return hartley(x)

    from_spectral = data_to_spectral = to_spectral


class LogPoisson:
    """Counts y ~ Poisson(B exp(u)) of the log image u: misfit and gradient, ``matrix`` B (readings, pixels)."""

    def __init__(self, matrix: Tensor, counts: Tensor) -> None:
        self.matrix, self.counts = matrix, counts

    def misfit(self, x: Tensor) -> Tensor:
        expected = x.flatten(1).exp() @ self.matrix.T
        return (expected - self.counts * expected.log()).sum(1)

    def gradient(self, x: Tensor) -> Tensor:
        activity = x.flatten(1).exp()
        expected = activity @ self.matrix.T
        return (activity * ((1 - self.counts / expected) @ self.matrix)).reshape(x.shape)


def hartley(x: Tensor) -> Tensor:
    """Orthonormal 2D Hartley transform, its own inverse."""
    transformed = torch.fft.fft2(x, norm="ortho")
    return transformed.real - transformed.imag


def power_law(size: int, power: float = 3.0, knee: float = 2.0, std: float = 0.5) -> Tensor:
    """S(k) ~ (k^2 + knee^2)^(-power / 2), k in waves an image, scaled to pixel standard deviation ``std``."""
    k = torch.fft.fftfreq(size) * size
    spectrum = (k[:, None] ** 2 + k**2 + knee**2) ** (-power / 2)
    return spectrum * std**2 / spectrum.mean()


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
            (spectrum * mask / noise**2 > 1).flatten(), _gaussian_content(hartley(mean), std),
        )
        likelihood = GaussianLikelihood(operator, data[None], torch.tensor(noise**2))
        cases.append(_case(likelihood, true, truth, {"noise": noise, "measured_share": round(float(mask.mean()), 3)}))
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
    values, vectors = torch.linalg.eigh(covariance)
    root, inverse_root = (vectors * values**e @ vectors.T for e in (0.5, -0.5))
    grid = ImageGrid(size, size, (1.0, 1.0))
    cases = []
    for number, (views, noise) in enumerate(scans):
        operator = make_projector(parallel_geometry(grid, views), grid)
        matrix = operator.forward(eye.float()).double().flatten(1).T
        generator = torch.Generator().manual_seed(20 + number)
        true = (root @ torch.randn(size * size, generator=generator, dtype=torch.float64)).reshape(size, size)
        clean = matrix @ true.flatten()
        data = clean + noise * torch.randn(clean.shape, generator=generator, dtype=torch.float64)
        gain = covariance @ matrix.T @ torch.linalg.inv(
            matrix @ covariance @ matrix.T + noise**2 * torch.eye(len(matrix), dtype=torch.float64)
        )
        mean = gain @ data
        information, directions = torch.linalg.eigh(root @ matrix.T @ matrix @ root / noise**2)
        information = information.clamp_min(0)
        turn = directions.T @ inverse_root
        std = (covariance - gain @ matrix @ covariance).diagonal().clamp_min(0).sqrt().reshape(size, size)
        truth = Truth(
            lambda x, turn=turn: x.double().flatten(1) @ turn.T, turn @ mean, 1 / (1 + information), information > 1,
            _gaussian_content(mean.reshape(size, size).float(), std.float()),
        )
        shaped = data.float().reshape(1, *operator.out_shape)
        likelihood = GaussianLikelihood(operator, shaped, torch.tensor(noise**2))
        percent = round(100 * noise / float(clean.abs().max()), 2)
        cases.append(_case(likelihood, true.float(), truth, {"views": views, "noise": noise, "noise_percent": percent}))
    return TruthProblem("gauss_ct", prior, cases, draws, True)


def mixture(draws: int = 1600, seeds: tuple[int, ...] = (0, 2)) -> TruthProblem:
    """Two anatomies 38 standard deviations apart, 32 x 32, a blur of 8 pixels and noise 0.5: the data cannot decide."""
    size, std, width, noise = 32, 0.1, 8.0, 0.5
    means = torch.stack([_anatomy(size, mirrored) for mirrored in (False, True)])
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
        parts = [_gaussian_content(centre, pixel) for centre in centres]

        def content(low: Tensor, high: Tensor, parts: list = parts, share: Tensor = share) -> Tensor:
            return sum(w * part(low, high) for w, part in zip(share, parts, strict=True))

        def mode_of(x: Tensor, centres: Tensor = centres) -> Tensor:
            return ((x[:, None] - centres) ** 2).flatten(2).sum(-1).argmin(1)

        truth = Truth(lambda x: x.flatten(1), mean.flatten(), variance.flatten(), None, content, mode_of, share)
        likelihood = GaussianLikelihood(operator, data[None], torch.tensor(noise**2))
        remarks = {"noise": noise, "true_weights": [round(float(w), 4) for w in share]}
        cases.append(_case(likelihood, true, truth, remarks))
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
        samples, checks = _elliptical_slice(likelihood, spectrum, generator)
        flat = samples.flatten(1)
        ordered = flat.sort(0).values

        def content(low: Tensor, high: Tensor, ordered: Tensor = ordered) -> Tensor:
            count = len(ordered)
            below = torch.searchsorted(ordered.T.contiguous(), low.flatten()[:, None].contiguous())
            up_to = torch.searchsorted(ordered.T.contiguous(), high.flatten()[:, None].contiguous(), right=True)
            return ((up_to - below).double() / count).reshape(low.shape)

        truth = Truth(lambda x: x.flatten(1), flat.mean(0), flat.var(0), None, content)
        start = torch.zeros(size, size)
        remarks = {"counts": int(counts.sum()), "readings": readings, **checks}
        cases.append(Case(likelihood, start, float((start - true).square().mean().sqrt()), truth, remarks))
    return TruthProblem("poisson", prior, cases, draws, False)


def _elliptical_slice(
    likelihood: LogPoisson, spectrum: Tensor, generator: torch.Generator, chains: int = 16, length: int = 4000,
    burn: int = 500, thin: int = 5,
) -> tuple[Tensor, dict[str, Any]]:
    """Draws of the exact posterior, (n, rows, columns), and the chains' own checks."""
    shape = (chains, *spectrum.shape)

    def prior_draw() -> Tensor:
        return hartley(spectrum.sqrt() * torch.randn(shape, generator=generator))

    u = prior_draw()
    energy = likelihood.misfit(u)
    kept = []
    for step in range(length):
        other = prior_draw()
        bound = energy - torch.log(torch.rand(chains, generator=generator))
        angle = 2 * math.pi * torch.rand(chains, generator=generator)
        low, high = angle - 2 * math.pi, angle.clone()
        proposal, found = u, energy
        waiting = torch.ones(chains, dtype=torch.bool)
        while bool(waiting.any()):
            turned = angle.cos()[:, None, None] * u + angle.sin()[:, None, None] * other
            value = likelihood.misfit(turned)
            good = waiting & (value < bound)
            proposal = torch.where(good[:, None, None], turned, proposal)
            found = torch.where(good, value, found)
            waiting = waiting & ~good
            low, high = torch.where(angle < 0, angle, low), torch.where(angle >= 0, angle, high)
            angle = torch.where(waiting, low + (high - low) * torch.rand(chains, generator=generator), angle)
        u, energy = proposal, found
        if step >= burn and step % thin == 0:
            kept.append(u)
    samples = torch.stack(kept, 1)
    return samples.flatten(0, 1), {"r_hat": round(_r_hat(samples), 4), "effective_samples": round(_effective(samples))}


def _r_hat(samples: Tensor) -> float:
    """Largest split R-hat over pixels; samples (chains, n, rows, columns)."""
    halves = torch.cat(samples.flatten(2).double().chunk(2, 1)[:2], 0)
    count = halves.shape[1]
    within = halves.var(1).mean(0)
    between = halves.mean(1).var(0)
    return float((((count - 1) / count * within + between) / within).sqrt().max())


def _effective(samples: Tensor) -> float:
    """Smallest effective sample size over pixels, by Geyer's initial positive sequence."""
    x = samples.flatten(2).double()
    chains, count, _ = x.shape
    x = x - x.mean(1, keepdim=True)
    spectrum = torch.fft.rfft(x, 2 * count, dim=1).abs() ** 2
    auto = torch.fft.irfft(spectrum, dim=1)[:, :count].mean(0) / count
    rho = (auto / auto[0]).numpy()
    pairs = rho[1:-1:2] + rho[2::2][: len(rho[1:-1:2])]
    # Sum of autocorrelation pairs until the first negative one.
    positive = np.minimum.accumulate(pairs > 0, axis=0)
    return float((chains * count / (1 + 2 * (pairs * positive).sum(0))).min())


def _anatomy(size: int, mirrored: bool) -> Tensor:
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


def _gaussian_content(mean: Tensor, std: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    def content(low: Tensor, high: Tensor) -> Tensor:
        upper, lower = (torch.from_numpy(norm.cdf(((b - mean) / std).numpy())) for b in (high, low))
        return upper - lower

    return content


def _case(likelihood: GaussianLikelihood, true: Tensor, truth: Truth, remarks: dict[str, Any]) -> Case:
    """The ridge estimate (prior variance 0.25) as classical start, and its true error."""
    start = likelihood.proximal(torch.zeros(1, *true.shape), 0.25, 50)[0]
    return Case(likelihood, start, float((start - true).square().mean().sqrt()), truth, remarks)


PROBLEMS: dict[str, Callable[..., TruthProblem]] = {
    "gauss_fourier": gauss_fourier, "gauss_ct": gauss_ct, "mixture": mixture, "poisson": poisson,
}
