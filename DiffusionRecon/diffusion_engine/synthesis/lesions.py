"""Lesions in real images, and out of them: a part is made anew as its class and a wanted mean say, all else stays.

    x ~ p(inside | outside, labels),   labels inside: the lesion's class, and, without a lesion, what surrounds it

by :mod:`.inpaint` in a window about the segment, guided by the label map (see :mod:`.guidance`). A wanted mean m is a
linear measurement a'x = m, a the mean over the segment; every clean estimate is moved onto it by a'(aa')^-1, the least
change: x + 1 (m - a'x) inside. Texture is a matter of classes: of a model that was trained on more than one kind.

Sources: LeFusion, arXiv:2403.14066; projection onto measurements, arXiv:2212.00490.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from ..denoiser import Denoiser
from ..priors.conditions import Condition, values_of
from ..sampling.grids import poly_grid
from ..sampling.noise import Noise
from .guidance import Guided, planes_of_labels
from .inpaint import JUMPS, check_part, inpainted

MARGIN = 32
"""Pixels of a window about the segment on each side; the network has seen patches of twice as many."""
SLICES = 2
"""Whole slices about it."""


@dataclass(frozen=True)
class LesionSettings:
    """How a part is made anew: ``weight`` of what the labels say, noise steps, passes of each.

    ``mean``: of the values inside, in network units, None for what the model makes. Raises ValueError for values out
    of range.
    """

    weight: float = 1.0
    mean: float | None = None
    steps: int = 18
    sigma: tuple[float, float] = (0.02, 3.0)
    jumps: int = JUMPS

    def __post_init__(self) -> None:
        if self.mean is not None and not math.isfinite(self.mean):
            raise ValueError(f"expected a finite mean of the lesion, found {self.mean}: correct it")

    @property
    def levels(self) -> list[float]:
        """Noise levels falling to 0."""
        levels: list[float] = poly_grid(self.sigma[1], self.sigma[0], self.steps).tolist()
        return levels


class Changed(NamedTuple):
    """A volume (slices, 1, rows, columns) with a part made anew, its label map, and what is inside: mean, deviation."""

    image: Tensor
    labels: Tensor
    mean: float
    deviation: float


def with_lesion(
    denoiser: Denoiser, image: Tensor, segment: Tensor, labels: Tensor, lesion: str, place: Tensor,
    condition: Condition, settings: LesionSettings, noise: Noise,
) -> Iterator[Changed]:
    """The volume with a lesion in ``segment``, after each level; the last is the result.

    ``denoiser``: of slices or stacks with the planes of label maps; ``image``: (slices, 1, rows, columns) in network
    units; ``segment``: truth values, ``labels``: of the whole image, both (slices, rows, columns); ``lesion``: the name
    of its class; ``place``: positions (2, rows, columns). Outside the segment every value stays, bit by bit. Raises
    ValueError for a class that the model does not know, and what :func:`inpainted` and :func:`planes_of_labels` refuse.
    """
    value, = values_of(condition.classes, [lesion])
    _check_labels(segment, labels)
    changed = torch.where(segment, torch.full_like(labels, value), labels)
    return _changed(denoiser, image, segment, changed, place, condition, settings, noise)


def without_lesion(
    denoiser: Denoiser, image: Tensor, segment: Tensor, labels: Tensor, place: Tensor, condition: Condition,
    settings: LesionSettings, noise: Noise, spacing_mm: tuple[float, float, float] = (1.0, 1.0, 1.0),
) -> Iterator[Changed]:
    """The volume without what lies in ``segment``: there it is made anew as the class of the nearest voxel outside.

    As :func:`with_lesion`; ``spacing_mm``: (x, y, z), which says what is nearest.
    """
    _check_labels(segment, labels)
    check_part(image, segment[:, None])
    inside = segment.cpu().numpy()
    index = ndimage.distance_transform_edt(
        inside, spacing_mm[::-1], return_distances=False, return_indices=True
    )
    changed = torch.from_numpy(labels.cpu().numpy()[tuple(index)]).to(labels.device)
    return _changed(denoiser, image, segment, changed, place, condition, settings, noise)


def _changed(
    denoiser: Denoiser, image: Tensor, segment: Tensor, labels: Tensor, place: Tensor, condition: Condition,
    settings: LesionSettings, noise: Noise,
) -> Iterator[Changed]:
    unknown = segment[:, None]
    check_part(image, unknown)
    window = around(segment.cpu().numpy())
    planes = planes_of_labels(place[:, window[1], window[2]], labels[window], condition)
    part = (window[0], slice(None), window[1], window[2])
    inside = unknown[part]
    adjust = None if settings.mean is None else to_mean(inside, settings.mean)
    run = inpainted(
        Guided(denoiser, settings.weight), image[part], inside, planes, settings.levels,
        noise.of(range(window[0].start, window[0].stop)), settings.jumps, adjust,
    )

    def told() -> Iterator[Changed]:
        for made in run:
            whole = image.clone()
            whole[part] = made
            values = made[inside].double()
            yield Changed(whole, labels, float(values.mean()), float(values.std(correction=0)))

    return told()


def to_mean(inside: Tensor, mean: float) -> Callable[[Tensor], Tensor]:
    """What moves an image to this mean inside, by one shift of all values there."""

    def moved(estimate: Tensor) -> Tensor:
        shift = mean - estimate[inside].double().mean()
        return torch.where(inside, estimate + shift.to(estimate), estimate)

    return moved


def around(inside: np.ndarray, margin: int = MARGIN, slices: int = SLICES) -> tuple[slice, slice, slice]:
    """The window about true voxels (slices, rows, columns), of ``margin`` pixels and ``slices`` on each side."""
    found = []
    for axis, more in enumerate((slices, margin, margin)):
        there = np.flatnonzero(inside.any(tuple(n for n in range(3) if n != axis)))
        found.append(slice(max(0, int(there[0]) - more), min(inside.shape[axis], int(there[-1]) + 1 + more)))
    return found[0], found[1], found[2]


def _check_labels(segment: Tensor, labels: Tensor) -> None:
    if segment.shape != labels.shape or segment.ndim != 3:
        raise ValueError(
            f"expected a segment and a label map of the same image (slices, rows, columns), found "
            f"{tuple(segment.shape)} and {tuple(labels.shape)}: resample one to the other"
        )
