"""The posterior's own denoiser, from the first two moments of the prior's: exact for a Gaussian prior.

    p(x0 | x) ~ N(D(x; s), s^2 J),  J = dD/dx                              (Tweedie's second moment)
    D_y(x; s) = D + s^2 J A' w,  (V + A s^2 J A') w = y - A D

Each iteration for w takes one product with J, a backward pass through the network
(:func:`..likelihoods.conditional.minimal_residual_mean`). They are preconditioned by the stationary matrix
F' diag(j) F in the place of J, whose radial spectrum j is measured by one product with a random vector. An error of D_y
moves a draw by about as much; a flow shrinks it in proportion to s until s is below the posterior's own width, so the
allowed error is a share of s. Two moments do not describe several peaks: where images far apart fit the data and
p(x0 | x) has several peaks, their weights come out too even, however exactly the systems are solved (measured: 0.35
for a share of 0.19).

Source: moment matching, arXiv:2405.13712.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..denoiser import Denoiser
from ..likelihoods.conditional import Solved, SolveSettings
from ..likelihoods.gaussian import GaussianLikelihood
from ..sampling.noise import Noise
from .broad import Broad
from .contract import SolverStep, finite, linearise
from .effort import Effort

SMALLEST_SHARE = 1e-4
"""Floor of the measured spectrum of J, whose eigenvalues lie between 0 and 1."""


@dataclass(frozen=True)
class PosteriorSettings(Broad, SolveSettings):
    """``products`` with J a step at most; ``tolerance``: error of D_y at which a step has enough, in noise levels.

    ``steps`` from noise level ``sigma_max`` down to ``sigma_min`` (network units); with ``broad_std`` above 0 the prior
    is no longer the network's own, and draws are not of its posterior. Raises ValueError for fewer than one
    product.
    """

    broad_std: float = 0.0
    products: int = 24
    tolerance: float = 0.01
    steps: int = 30
    sigma_max: float = 80.0
    sigma_min: float = 0.0005

    def allowed(self, sigma: float) -> float:
        """Error of D_y that is small enough at ``sigma``, in units of it: the tolerance."""
        return self.tolerance


class PosteriorDenoiser:
    """D_y of one draw, which adds up what its data steps take."""

    def __init__(
        self, denoiser: Denoiser, likelihood: GaussianLikelihood, settings: PosteriorSettings, noise: Noise,
        condition: Tensor | None = None,
    ) -> None:
        self.denoiser, self.likelihood, self.settings = denoiser, likelihood, settings
        self.noise, self.condition = noise, condition
        self.taken: list[Effort] = []

    def __call__(self, x: Tensor, sigma: float) -> Tensor:
        """See :func:`posterior_denoiser`."""
        solved = posterior_denoiser(
            self.denoiser, self.likelihood, x, sigma, self.settings, self.noise, self.condition
        )
        self.taken.append(Effort(solved.products, solved.error / sigma, self.settings.allowed(sigma)))
        return solved.image

    def step(self, index: int, total: int, sigma: float, clean: Tensor) -> SolverStep:
        """The step's record, with what was taken since the last one and the accuracy of the last solution."""
        effort = replace(self.taken[-1], products=sum(effort.products for effort in self.taken))
        self.taken.clear()
        return SolverStep(index, total, sigma, clean, effort)


def posterior_denoiser(
    denoiser: Denoiser, likelihood: GaussianLikelihood, x: Tensor, sigma: float, settings: PosteriorSettings,
    noise: Noise, condition: Tensor | None = None,
) -> Solved:
    """D_y(x; sigma) ~ E[clean | x, y]: (batch, rows, columns), network units; ``noise`` draws the probing vector.

    Raises FloatingPointError where the result is not finite.
    """
    estimate, product = linearise(denoiser, x, sigma, condition)
    spectrum = sigma**2 * jacobian_spectrum(product, noise.normal(x))
    broad = settings.root(0.0, x)
    if broad.broad is not None:
        spectrum = spectrum + broad.broad**2

    def stationary(v: Tensor) -> Tensor:
        if not v.is_complex():
            return torch.fft.ifft2(spectrum * torch.fft.fft2(v)).real
        # A ring's gain is even in the frequency, so that each part stays real.
        real, imaginary = (torch.fft.ifft2(spectrum[n] * torch.fft.fft2(part)).real for n, part in enumerate(_parts(v)))
        return torch.complex(real, imaginary)

    solved = likelihood.conditional_mean_within(
        estimate, lambda v: sigma**2 * product(v) + broad.covariance(v), stationary, settings,
        settings.allowed(sigma) * sigma,
    )
    finite(solved.image, sigma)
    return solved


def jacobian_spectrum(product: Callable[[Tensor], Tensor], probe: Tensor) -> Tensor:
    """Mean gain of J at each spatial frequency's magnitude: (batch, rows, columns), between SMALLEST_SHARE and 1.

    j(k) = mean of Re F z* F J z over a ring of frequencies, for each image; z: ``probe`` (standard normal) with all of
    its Fourier coefficients given the same magnitude, so that all of a ring count alike. Of complex images, whose parts
    may differ as much as an image from its noise, the real part's gain and the imaginary one's: (2, batch, rows,
    columns), by one product, too.
    """
    if not probe.is_complex():
        source, white = _whitened(probe)
        return _gain(source, product(white))
    sources, whites = zip(*(_whitened(part) for part in _parts(probe)), strict=True)
    response = product(torch.complex(*whites))
    return torch.stack([_gain(source, seen) for source, seen in zip(sources, _parts(response), strict=True)])


def _parts(x: Tensor) -> tuple[Tensor, Tensor]:
    return x.real, x.imag


def _whitened(probe: Tensor) -> tuple[Tensor, Tensor]:
    """Coefficients of magnitude 1 with the phases of a real ``probe``'s, and the real images that they make."""
    spectrum = torch.fft.fft2(probe, norm="ortho")
    source = spectrum / spectrum.abs().clamp_min(torch.finfo(spectrum.real.dtype).tiny)
    return source, torch.fft.ifft2(source, norm="ortho").real


def _gain(source: Tensor, answer: Tensor) -> Tensor:
    """j(k) from coefficients (batch, rows, columns) and J's answer to their images."""
    response = torch.fft.fft2(answer, norm="ortho")
    rows, columns = source.shape[-2:]
    size = max(rows, columns)
    fy = torch.fft.fftfreq(rows, 1 / size, device=source.device)
    fx = torch.fft.fftfreq(columns, 1 / size, device=source.device)
    ring = (fy[:, None] ** 2 + fx**2).sqrt().round().long()
    count = int(ring.max()) + 1

    def gathered(values: Tensor) -> Tensor:
        empty = torch.zeros((len(values), count), dtype=values.dtype, device=values.device)
        return empty.index_add(1, ring.flatten(), values.flatten(1))

    gain = gathered((source.conj() * response).real) / gathered(source.abs() ** 2)
    return gain.clamp(SMALLEST_SHARE, 1.0)[:, ring]
