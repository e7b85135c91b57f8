"""Segmentation with its uncertainty: label maps drawn by a denoiser of bits that is told the image.

    b_d ~ p(bits | image),   class of a voxel: argmax over channels,   d = 1..draws
    P(class) = share of the draws,   variance P (1 - P),   agreement: mean Dice of all pairs of draws

Shares are smoothed towards ignorance, (k + 1/classes) / (draws + 1), where a probability is asked for: a few draws
alone cannot say 0 or 1. The variance is that of the shares themselves.

Sources: analog bits, arXiv:2208.04202; ensembles of drawn masks, arXiv:2112.03145; several plausible masks of an
image, arXiv:2304.04745.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..denoiser import Denoiser
from ..priors.channels import labels_of
from ..priors.conditions import SEGMENT, Condition
from ..sampling.noise import Noise
from .generate import Generation, generated
from .guidance import planes_of_images


class Segmentation(NamedTuple):
    """After ``draws`` draws; the axes of classes come before slices, rows and columns.

    ``labels``: (slices, rows, columns) uint8, the class that most draws have, the first of equally many;
    ``probability``: smoothed shares (classes, ...), summing to 1; ``variance``: (classes, ...), 0 to 1/4;
    ``agreement``: mean Dice of pairs of draws for each class, NaN for a single draw or where no draw has the class.
    """

    draws: int
    labels: Tensor
    probability: Tensor
    variance: Tensor
    agreement: Tensor


def segmented(
    denoiser: Denoiser, image: Tensor, place: Tensor, condition: Condition, how: Generation, draws: int, noise: Noise
) -> Iterator[Segmentation]:
    """The segmentation after each draw; the last is the result. Slices are drawn one by one.

    ``denoiser``: of bits, such as a prior whose card has a condition to segment; ``image``: (slices, 1, rows, columns)
    in the units it was told in training; ``place``: positions (2, rows, columns). Raises ValueError for no draws, a
    model that does not segment, and an image of another shape or not finite.
    """
    if draws < 1:
        raise ValueError(f"expected 1 draw or more, found {draws}: ask for some")
    if condition.kind != SEGMENT:
        raise ValueError(f"expected a model that segments, found one told a condition for '{condition.kind}'")
    planes = planes_of_images(place, image)

    def told() -> Iterator[Segmentation]:
        ensemble = Ensemble(condition.outputs)
        for _, own in noise.draws(draws):
            ensemble.add(drawn_labels(denoiser, planes, condition, how, own))
            yield ensemble.result()

    return told()


def drawn_labels(
    denoiser: Denoiser, planes: Tensor, condition: Condition, how: Generation, noise: Noise
) -> Tensor:
    """One label map (slices, rows, columns), uint8, of a stack with its planes (slices, 3, rows, columns)."""
    found = []
    for number in range(len(planes)):
        shape = (1, condition.outputs, *planes.shape[-2:])
        for bits in generated(denoiser, shape, planes[number : number + 1], how, noise.of([number])):
            last = bits
        found.append(labels_of(last)[0])
    return torch.stack(found)


class Ensemble:
    """Label maps of one image, added one by one; only what is needed of them is kept."""

    def __init__(self, classes: int) -> None:
        self.classes = classes
        self.maps: list[Tensor] = []
        self.counts: Tensor | None = None
        self.pairs: list[list[float]] = [[] for _ in range(classes)]

    def add(self, labels: Tensor) -> None:
        """One more draw, of the shape of the others."""
        for c in range(self.classes):
            dice = [overlap(labels == c, earlier == c) for earlier in self.maps]
            self.pairs[c] += [value for value in dice if value is not None]
        self.maps.append(labels)
        own = torch.stack([labels == c for c in range(self.classes)]).short()
        self.counts = own if self.counts is None else self.counts + own

    def result(self) -> Segmentation:
        """What the draws so far say; raises ValueError before the first."""
        if self.counts is None:
            raise ValueError("expected 1 draw or more before the ensemble says something, found none")
        draws = len(self.maps)
        share = self.counts.float() / draws
        smooth = (self.counts.float() + 1 / self.classes) / (draws + 1)
        agreement = torch.tensor([sum(p) / len(p) if p else float("nan") for p in self.pairs])
        return Segmentation(draws, self.counts.argmax(0).to(torch.uint8), smooth, share * (1 - share), agreement)


def overlap(one: Tensor, other: Tensor) -> float | None:
    """Dice 2 |a and b| / (|a| + |b|) of two masks, None where both are empty."""
    size = int(one.sum()) + int(other.sum())
    return 2 * int((one & other).sum()) / size if size else None


def calibration_error(probability: Tensor, labels: Tensor, bins: int = 10, ignored: Sequence[int] = ()) -> float:
    """Expected calibration error: mean |confidence - accuracy| over bins of the highest probability, by their voxels.

    ``probability``: (classes, ...); ``labels``: the truth (...), voxels of ``ignored`` classes left out. Raises
    ValueError where none is left. Source: arXiv:1706.04599.
    """
    confidence, predicted = probability.max(0)
    counted = torch.ones_like(labels, dtype=torch.bool)
    for value in ignored:
        counted &= labels != value
    if not bool(counted.any()):
        raise ValueError("expected voxels to calibrate on, found none: ignore fewer classes")
    right = (predicted == labels)[counted].double()
    sure = confidence[counted].double()
    place = (sure * bins).long().clamp(0, bins - 1)
    size = torch.zeros(bins, dtype=torch.float64).index_add(0, place, torch.ones_like(sure))
    gap = torch.zeros(bins, dtype=torch.float64).index_add(0, place, sure - right)
    return float(gap.abs().sum() / size.sum())
