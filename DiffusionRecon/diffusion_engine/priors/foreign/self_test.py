"""Does a prior denoise? A test on a few clean images that finds a wrong scale, offset or noise schedule."""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ...denoiser import Denoiser
from ...sampling.noise import Noise, seeded
from .rescaled import Rescaled
from .schedules import LevelError

FACTORS = (0.5, 0.71, 1.0, 1.41, 2.0)
"""Noise levels told to the denoiser, relative to the true one."""
NEAR = (0.71, 1.0, 1.41)
SCALES = (0.5, 2.0)
"""Intensity scales tried beside the declared one, which must not be beaten by more than SCALE_DB."""
SCALE_DB = 0.3
BALANCE = (0.85, 1.15)
LEVELS = (0.1, 0.3, 0.8)
"""Noise levels tried, relative to the standard deviation of the images."""


@dataclass(frozen=True)
class LevelTest:
    """At one noise level: PSNR (peak = range of the images) noisy, best Gaussian smoothing, denoised.

    ``best_factor``: told level, relative to the true one, at which the error is least; ``balance``:
    (|x - D|^2 + |D - clean|^2) / |x - clean|^2, which is 1 for the posterior mean by orthogonality; ``rescaled_db``:
    the best PSNR with all intensities times a half, one or two, and ``best_scale`` that factor.
    """

    sigma: float
    noisy_db: float
    smoothed_db: float
    denoised_db: float
    best_factor: float
    balance: float
    rescaled_db: float
    best_scale: float

    @property
    def complaint(self) -> str:
        """What is wrong at this level, or nothing."""
        if self.denoised_db <= max(self.noisy_db, self.smoothed_db):
            return (
                f"denoises to {self.denoised_db:.1f} dB where the noisy image has {self.noisy_db:.1f} dB and plain "
                f"smoothing {self.smoothed_db:.1f} dB"
            )
        if self.best_factor not in NEAR:
            return f"denoises best when told {self.best_factor:g} times the true noise level"
        if self.rescaled_db > self.denoised_db + SCALE_DB:
            gain = self.rescaled_db - self.denoised_db
            return f"denoises better by {gain:.1f} dB at {self.best_scale:g} times the scale"
        if not BALANCE[0] <= self.balance <= BALANCE[1]:
            return f"removes {'too little' if self.balance < 1 else 'too much'} (balance {self.balance:.2f}, ideal 1)"
        return ""


@dataclass(frozen=True)
class SelfTest:
    """The outcome: passed or not, one sentence, and a record a noise level.

    ``change``: root mean square change that the denoiser makes at a noise level of 1 % of the images' standard
    deviation, relative to that level; near or below 1 for a denoiser that leaves clean images alone.
    """

    passed: bool
    sentence: str
    change: float
    levels: tuple[LevelTest, ...]


def self_test(
    denoiser: Denoiser, images: Tensor, condition: Tensor | None = None, levels: tuple[float, ...] = LEVELS,
    noise: Noise | None = None,
) -> SelfTest:
    """Test a prior on clean images (batch, channels, rows, columns) in its units, of the kind it was trained on.

    At each of ``levels`` (relative to the images' standard deviation) it must beat the noisy image and the best
    Gaussian smoothing, denoise best when told about the true level and at the declared scale (half and twice are tried,
    about the offset of a :class:`Rescaled`, else about 0), and keep the balance of a posterior mean; at a hundredth it
    must leave the images as they are. The same ``noise`` (default: of seed 0) gives the same outcome. Raises
    ValueError for constant images and for a prior that does not know these levels, FloatingPointError where an
    estimate is not finite.
    """
    spread = float(images.std())
    if not spread > 0:
        raise ValueError("the test images are constant: give images with structure")
    noise = noise or seeded(0)
    with torch.no_grad():
        small = 0.01 * spread
        changed = _estimate(denoiser, images, images + small * noise.normal(images), small, condition)
        change = float((changed - images).square().mean().sqrt()) / small
        tests = tuple(_level(denoiser, images, level * spread, condition, noise) for level in levels)
    complaint = next((f"at noise level {t.sigma:.3g} it {t.complaint}" for t in tests if t.complaint), "")
    if change > 2:
        complaint = f"it changes all but clean images by {change:.1f} times their noise"
    if complaint:
        sentence = f"The prior failed its self-test: {complaint}. Check scale, offset and noise schedule."
    else:
        gain = min(t.denoised_db - max(t.noisy_db, t.smoothed_db) for t in tests)
        sentence = f"The prior passed its self-test: it beats plain smoothing by {gain:.1f} dB or more at every level."
    return SelfTest(not complaint, sentence, change, tests)


def _estimate(denoiser: Denoiser, like: Tensor, x: Tensor, sigma: float, condition: Tensor | None) -> Tensor:
    found = denoiser(x, torch.tensor(sigma, dtype=like.dtype), condition)
    if not bool(torch.isfinite(found).all()):
        raise FloatingPointError(f"the prior's estimate is not finite at noise level {sigma:.3g}: check its weights")
    return found


def _level(denoiser: Denoiser, images: Tensor, sigma: float, condition: Tensor | None, noise: Noise) -> LevelTest:
    x = images + sigma * noise.normal(images)
    found = _estimate(denoiser, images, x, sigma, condition)
    removed = float((x - found).square().mean())
    errors = {1.0: float((found - images).square().mean())}
    for factor in set(FACTORS) - {1.0}:
        # A network need not know levels that the test alone tells it.
        with suppress(LevelError):
            found = _estimate(denoiser, images, x, factor * sigma, condition)
            errors[factor] = float((found - images).square().mean())
    noisy = float((x - images).square().mean())
    smoothed = min(float((smooth(x, width) - images).square().mean()) for width in (0.4, 0.6, 0.8, 1.1, 1.5, 2, 3, 4))
    peak = float(images.max() - images.min())

    def psnr(error: float) -> float:
        return 10 * math.log10(peak**2 / max(error, 1e-30))

    best = min(errors, key=lambda factor: errors[factor])
    centre = denoiser.offset if isinstance(denoiser, Rescaled) else 0.0
    scaled = {1.0: errors[1.0]}
    for scale in SCALES:
        other = Rescaled(denoiser, scale, centre * (1 - scale))
        with suppress(LevelError):
            scaled[scale] = float((_estimate(other, images, x, sigma, condition) - images).square().mean())
    scale = min(scaled, key=lambda scale: scaled[scale])
    return LevelTest(
        sigma, psnr(noisy), psnr(smoothed), psnr(errors[1.0]), best, (removed + errors[1.0]) / noisy,
        psnr(scaled[scale]), scale,
    )


def smooth(images: Tensor, width: float) -> Tensor:
    """Gaussian smoothing of standard deviation ``width`` pixels, borders repeated."""
    reach = min(max(1, round(4 * width)), min(images.shape[-2:]) - 1)
    place = torch.arange(-reach, reach + 1, dtype=images.dtype, device=images.device)
    kernel = torch.softmax(-(place**2) / (2 * width**2), 0)
    flat = images.reshape(-1, 1, *images.shape[-2:])
    flat = F.conv2d(F.pad(flat, (0, 0, reach, reach), mode="replicate"), kernel[None, None, :, None])
    flat = F.conv2d(F.pad(flat, (reach, reach, 0, 0), mode="replicate"), kernel[None, None, None, :])
    return flat.reshape(images.shape)
