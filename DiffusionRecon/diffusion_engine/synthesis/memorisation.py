"""Whether synthetic images repeat training images: their nearest training neighbours against the training set's own."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..training.data import PatchSampler, TrainingSlices
from ..training.memorisation import NEAR, nearest

NOT_CHECKED = (
    "Not compared with the training images, which are not here: whether this image repeats one of them is not known."
)
PATCHES = 16
"""Of the synthetic images, and of each training volume."""


def neighbours(
    made: Sequence[TrainingSlices], training: Sequence[TrainingSlices], seed: int = 0, size: int = 64,
    count: int = PATCHES,
) -> dict[str, Any]:
    """How far synthetic images are from their nearest training images, and those from each other's volumes.

    d(patch, S) is :func:`..training.memorisation.nearest`. Synthetic patches are compared with all training volumes,
    training patches with all volumes but their own. ``made``, ``training``: slices in network units, of one pixel size
    or nearly; ``size`` in pixels, ``count`` patches of the synthetic images, and of each training volume.
    Returns "samples" and "own" (distances), "ratio" of their medians, "closest" (ratio of their least ones, so that one
    copy among many is seen), "suspicious" where one of both is below 0.5, and a "sentence".
    Raises ValueError without synthetic images, and for fewer than two training volumes.
    """
    if not made:
        raise ValueError("expected synthetic images to compare, found none: make at least one")
    if len(training) < 2:
        raise ValueError(
            f"expected at least two training volumes, found {len(training)}: "
            "without another one the training set has no distance of its own"
        )
    size = min(size, *(min(source.values.shape[1:]) for source in (*made, *training)))
    samples = nearest(_patches(made, count, size, seed), training).tolist()
    own: list[float] = []
    for n, source in enumerate(training):
        others = [other for m, other in enumerate(training) if m != n]
        own += nearest(_patches([source], count, size, seed + 1 + n), others).tolist()
    ratio = statistics.median(samples) / max(statistics.median(own), 1e-9)
    closest = min(samples) / max(min(own), 1e-9)
    suspicious = min(ratio, closest) < NEAR
    sentence = (
        f"These images are {ratio:.2f} times as far from their nearest training images as those are from each other's "
        f"volumes, the nearest of them {closest:.2f} times"
        + (": they may repeat what the network was trained on; do not pass them on as new." if suspicious else ".")
    )
    return {
        "samples": [round(d, 4) for d in samples], "own": [round(d, 4) for d in own], "ratio": round(ratio, 4),
        "closest": round(closest, 4), "suspicious": suspicious, "sentence": sentence,
    }


def _patches(sources: Sequence[TrainingSlices], count: int, size: int, seed: int) -> Tensor:
    """Patches (count, size, size) that mostly show more than air."""
    sampler = PatchSampler(list(sources), empty_std=0.2)
    return sampler.draw(count, size, torch.Generator().manual_seed(seed))[0][:, 0]
