"""How far an image is from those that the prior was trained on, told from the prior's own denoising.

For a classical image x (so that nothing of the prior is in it yet) and noise n of a few levels s,

    f_s = log mean |D(x + s n; s) - x|^2,

the log of how much the denoiser would change it. Over training images scanned like this one, f is nearly normal, with a
mean that moves with a few numbers of the scan which its modality gives, such as the logs of its density and noise. The
score is the Mahalanobis distance of f from there: about 1.6 for typical slices. It is about the object only where x is
converged: how far iterations have come depends on the noise of the scan. Too small an f is as telling as too large a
one (a plain disc is easier to denoise than any patient). Sources of the idea: denoising error as a typicality test,
arXiv:2211.07740.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..denoiser import Denoiser, positions
from ..physics.grid import ImageGrid
from ..priors.slices import resample

SIGMAS = (0.1, 0.3, 1.0)
"""Noise levels in network units: texture, organs, the body as a whole."""


def denoising_features(
    denoiser: Denoiser, images: Tensor, grid: ImageGrid, sigmas: Sequence[float] = SIGMAS, seed: int = 0
) -> Tensor:
    """f above: (slices, levels), float64.

    ``images``: (slices, rows, columns) in network units, of complex ones the magnitude counts; ``grid``: the prior's,
    to which they are resampled. All slices get the same noise, so that none depends on its neighbours.
    """
    generator = torch.Generator().manual_seed(seed)
    clean = resample(images.abs() if images.is_complex() else images, *grid.shape)[:, None]
    place = positions(*grid.shape, grid.pixel_mm, grid.centre_mm).to(clean.device)
    features = []
    for sigma in sigmas:
        noise = torch.randn((1, 1, *grid.shape), generator=generator, ).to(clean)
        with torch.no_grad():
            change = denoiser(clean + sigma * noise, torch.tensor(sigma), place) - clean
        features.append(change.double().square().mean((1, 2, 3)).clamp_min(1e-30).log())
    return torch.stack(features, -1).cpu()


def fit_typicality(features: np.ndarray, covariates: np.ndarray, groups: Sequence[str]) -> dict[str, Any]:
    """The card's entry from training images: mean and precision of f, and the thresholds of the gate.

    ``features``: (images, levels); ``covariates``: the numbers of their scans, (images, numbers); ``groups``: the
    volume that each image is from.
    Every volume is scored by a fit without it; "threshold" is the 95 %, "full" the 99 % quantile of these scores: they
    are the training images' own false-alarm rates. Raises ValueError for fewer than three volumes.
    """
    names = np.asarray(groups)
    if len(set(groups)) < 3:
        raise ValueError(f"expected images of 3 volumes or more, found {len(set(groups))}: give more training data")
    scores = np.concatenate([
        typicality(
            features[names == name], covariates[names == name], _fit(features[names != name], covariates[names != name])
        )
        for name in sorted(set(groups))
    ])
    threshold, full = (float(np.quantile(scores, q)) for q in (0.95, 0.99))
    return {
        **_fit(features, covariates), "threshold": round(threshold, 4), "full": round(max(full, 1.05 * threshold), 4),
        "images": len(features), "volumes": len(set(groups)),
    }


def typicality(
    features: np.ndarray, covariates: np.ndarray | Sequence[float] | float, entry: Mapping[str, Any]
) -> np.ndarray:
    """Mahalanobis distances of ``features`` (images, levels) from the training images of ``entry``.

    ``covariates``: (images, numbers), or the numbers of one scan that all are from. An older entry knows the first
    alone.
    """
    slope = np.atleast_2d(entry["slope"])
    moved = np.atleast_2d(np.asarray(covariates, float))[:, : len(slope)] @ slope
    away = features - np.asarray(entry["mean"]) - moved
    return np.sqrt(np.einsum("ni,ij,nj->n", away, np.asarray(entry["precision"]), away))


def typicality_scores(
    denoiser: Denoiser, images: Tensor, grid: ImageGrid, covariates: np.ndarray | Sequence[float] | float,
    entry: Mapping[str, Any], seed: int = 0,
) -> list[float]:
    """The score of each slice (slices, rows, columns), network units, by the card's ``entry``.

    ``covariates`` as of :func:`typicality`.
    """
    features = denoising_features(denoiser, images, grid, entry["sigma"], seed).numpy()
    return [float(score) for score in typicality(features, covariates, entry)]


def of_rough_images(entry: Mapping[str, Any]) -> bool:
    """Whether an entry is an older one, fitted to rough images and a single number of the scan."""
    return np.ndim(entry["slope"]) == 1


def _fit(features: np.ndarray, covariates: np.ndarray) -> dict[str, Any]:
    design = np.column_stack([np.ones(len(features)), covariates])
    line, *_ = np.linalg.lstsq(design, features, rcond=None)
    spread = np.cov((features - design @ line).T)
    return {
        "sigma": list(SIGMAS), "mean": line[0].round(5).tolist(), "slope": line[1:].round(5).tolist(),
        "precision": np.linalg.inv(np.atleast_2d(spread)).round(4).tolist(),
    }
