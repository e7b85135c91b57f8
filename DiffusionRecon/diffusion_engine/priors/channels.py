"""The channels of conditions: label maps and images as planes, bits of segmentations, and what is left out of them."""

from __future__ import annotations

import torch
from torch import Tensor

from .conditions import BIT, MASK, SEGMENT, UNKNOWN, Condition


def pair(condition: Condition, image: Tensor, given: Tensor) -> tuple[Tensor, Tensor]:
    """Clean channels and condition planes of a slice: (outputs, rows, columns), (channels, rows, columns).

    ``image``: (1, rows, columns) in network units; ``given``: its label map (rows, columns), or the other image.
    """
    count = len(condition.classes)
    if condition.kind == SEGMENT:
        return bits(given, count), image
    return image, one_hot(given, count) if condition.kind == MASK else given[None].to(image)


def left_out(condition: Condition, planes: Tensor, generator: torch.Generator) -> Tensor:
    """The planes (channels, rows, columns) without random classes, or without all of them, as zeros."""
    chances = torch.full((len(planes),), condition.ablation if condition.kind == MASK else 0.0)
    kept = torch.rand(len(planes), generator=generator) >= chances
    if float(torch.rand(1, generator=generator)) < condition.dropped:
        kept = torch.zeros_like(kept)
    return planes * kept[:, None, None]


def one_hot(labels: Tensor, classes: int) -> Tensor:
    """Planes (..., classes, rows, columns) of 1 where a label map (..., rows, columns) has the class, else 0.

    Zero in all where the label is 255, not known. Raises ValueError for other values without a class.
    """
    found = labels.long()
    known = found != UNKNOWN
    if bool((known & ((found < 0) | (found >= classes))).any()):
        wrong = sorted({int(v) for v in found[known & ((found < 0) | (found >= classes))].unique()})
        raise ValueError(
            f"expected labels from 0 to {classes - 1}, or {UNKNOWN} where nothing is known, found {wrong[:5]}: map "
            "them to the classes first"
        )
    return torch.stack([(found == c).float() for c in range(classes)], -3)


def bits(labels: Tensor, classes: int) -> Tensor:
    """One channel a class, 1/2 where a label map has it, else -1/2: (..., classes, rows, columns)."""
    return (one_hot(labels, classes) - 0.5) * (2 * BIT)


def labels_of(planes: Tensor) -> Tensor:
    """The class with the highest value of (..., classes, rows, columns), uint8 (..., rows, columns)."""
    return planes.argmax(-3).to(torch.uint8)
