"""A complex problem whose posterior is known: images of little imaginary part in the k-space of four coils.

    Re x ~ N(0, F' diag(S) F),  Im x ~ N(0, t^2 I),  y_c = M F S_c x + n,  E|n|^2 = v

as in MRI once the smooth phase is taken out. It is a Gaussian problem of the 2 n real numbers (Re x, Im x), whose
readings are the real and imaginary parts, with noise of variance v / 2 each: posterior by dense algebra.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from diffusion_engine.likelihoods.gaussian import GaussianLikelihood
from diffusion_engine.physics.mri import MultiCoilFourier
from diffusion_engine.priors.analytic import GaussianDenoiser
from diffusion_engine.priors.real_part import RealPart
from torch import Tensor
from truth_problems import Case, Truth, TruthProblem, case_of, gaussian_content
from truth_scans import hartley, power_law

IMAGINARY_STD = 0.05
SCANS: tuple[tuple[int, float], ...] = ((14, 0.05), (10, 0.2))
"""Lines of 32 that are measured, and the standard deviation of a complex sample's noise."""


def coils_fourier(
    draws: int = 200, size: int = 32, coils: int = 4, scans: tuple[tuple[int, float], ...] = SCANS
) -> TruthProblem:
    """Power-law real parts and small imaginary ones, lines of k-space dense in the middle, four coils in a ring."""
    spectrum = power_law(size)
    prior = RealPart(GaussianDenoiser(torch.zeros(size, size), spectrum), IMAGINARY_STD)
    cases = [
        _case(spectrum, MultiCoilFourier(ring(coils, size), lines(size, count, 90 + number)), noise, 80 + number)
        for number, (count, noise) in enumerate(scans)
    ]
    return TruthProblem("coils_fourier", prior, cases, draws, True)


def ring(coils: int, size: int) -> Tensor:
    """Sensitivities that fall with the distance from coils around the image, sum |S|^2 = 1: (1, coils, size, size)."""
    axis = torch.linspace(-1, 1, size)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    maps = []
    for number in range(coils):
        angle = 2 * math.pi * number / coils
        away = torch.complex(x - 1.5 * math.cos(angle), y - 1.5 * math.sin(angle))
        maps.append(away.conj() / away.abs() ** 2)
    stacked = torch.stack(maps)
    return (stacked / stacked.abs().square().sum(0).sqrt())[None]


def lines(size: int, count: int, seed: int) -> Tensor:
    """A mask of ``count`` whole rows, the middle ones and others at random: (1, size, size)."""
    middle = range(size // 2 - count // 4, size // 2 + count // 4)
    others = torch.tensor([n for n in range(size) if n not in middle])
    chosen = others[torch.randperm(len(others), generator=torch.Generator().manual_seed(seed))[: count - len(middle)]]
    mask = torch.zeros(1, size, size, dtype=torch.bool)
    mask[:, [*middle, *chosen.tolist()]] = True
    return mask


def parts(x: Tensor) -> Tensor:
    """Complex images (n, rows, columns) as real vectors (n, 2 rows columns): real parts, then imaginary ones."""
    return torch.cat([x.real.flatten(1), x.imag.flatten(1)], 1)


def _case(spectrum: Tensor, operator: MultiCoilFourier, noise: float, seed: int) -> Case:
    size, pixels = len(spectrum), spectrum.numel()
    eye = torch.eye(pixels, dtype=torch.float64).reshape(-1, size, size)

    def covariance(power: float) -> Tensor:
        real = torch.fft.ifft2(spectrum.double() ** power * torch.fft.fft2(eye)).real.flatten(1)
        return torch.block_diag(real, IMAGINARY_STD ** (2 * power) * torch.eye(pixels, dtype=torch.float64))

    measured = operator.mask.expand(operator.out_shape).flatten()
    basis = torch.cat([torch.complex(eye, 0 * eye), torch.complex(0 * eye, eye)])
    matrix = parts(operator.forward(basis).flatten(1)[:, measured]).T
    generator = torch.Generator().manual_seed(seed)
    real = hartley(spectrum.sqrt() * torch.randn(size, size, generator=generator))
    true = torch.complex(real, IMAGINARY_STD * torch.randn(size, size, generator=generator))
    clean = operator.forward(true[None])
    white = torch.randn(clean.shape, generator=generator, dtype=clean.dtype)
    data = (clean + noise * white) * operator.mask
    level = noise**2 / 2
    root, inverse_root = covariance(0.5), covariance(-0.5)
    information, directions = torch.linalg.eigh(root @ matrix.T @ matrix @ root / level)
    information = information.clamp_min(0)
    turn, back = directions.T @ inverse_root, root @ directions
    readings = parts(data.flatten(1)[:, measured]).double()
    mean = back @ ((back.T @ (matrix.T @ readings[0])) / level / (1 + information))
    std = (back.square() / (1 + information)).sum(1).sqrt()
    truth = Truth(
        lambda x: parts(x).double() @ turn.T, turn @ mean, 1 / (1 + information), information > 1,
        _content(mean, std, size),
    )
    likelihood = GaussianLikelihood(operator, data, operator.variance(torch.tensor(noise**2)))
    share = round(float(operator.mask.float().mean()), 3)
    return case_of(likelihood, true, truth, {"coils": len(operator.maps[0]), "noise": noise, "measured_share": share})


def _content(mean: Tensor, std: Tensor, size: int) -> Callable[[Tensor, Tensor], Tensor]:
    """Of bounds (size, size, 2), as real and imaginary parts stand side by side in a complex image."""
    return gaussian_content(
        *(values.reshape(2, size, size).movedim(0, -1).float().contiguous() for values in (mean, std))
    )


COMPLEX: dict[str, Callable[..., TruthProblem]] = {"coils_fourier": coils_fourier}
