"""What a mask of measured samples says of an acquisition: its lines, their pattern, the fully sampled middle.

No torch here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

FEWEST_LINES = 8
"""Of a middle that tells maps or phase."""
FEWEST_BEYOND = 6
"""Lines on one side of k-space that are further out than any on the other: then part of that was left out."""


@dataclass(frozen=True)
class Sampled:
    """Of masks (slices, rows, columns), bool.

    ``rows``: whether the lines of phase encoding are rows; ``axes``: 1 where lines are whole, 2 where samples differ
    along both; ``pattern``: "uniform" where they lie at even distances, else "random"; ``lines``: fully sampled ones in
    the middle, the fewest of all slices; ``partial``: one side of k-space was left out; ``acceleration``: all samples
    over measured ones.
    """

    rows: bool
    axes: int
    pattern: str
    lines: int
    partial: bool
    acceleration: float


def sampled(masks: np.ndarray) -> Sampled:
    """What the masks of a stack say."""
    together = masks.any(0)
    whole_rows, whole_columns = (_whole(masks, axis) for axis in (2, 1))
    rows = whole_rows or not whole_columns
    across = masks if rows else masks.swapaxes(1, 2)
    lines = np.flatnonzero(across.any((0, 2)))
    middle = across.shape[1] // 2
    before, after = middle - lines[lines < middle], lines[lines >= middle] - middle
    both = min(int(part.max(initial=0)) for part in (before, after)) + 1
    beyond = max(int((part > both).sum()) for part in (before, after))
    axes = 1 if whole_rows or whole_columns else 2
    even = _even(np.asarray(across.any(0))) if axes == 1 else _even_samples(masks[0])
    return Sampled(
        rows, axes, "uniform" if even else "random",
        min(middle_lines(mask) for mask in masks), beyond >= FEWEST_BEYOND,
        together.size * len(masks) / int(masks.sum()),
    )


def _whole(masks: np.ndarray, axis: int) -> bool:
    return bool((masks.all(axis) == masks.any(axis)).all())


def _even(mask: np.ndarray) -> bool:
    """Whether nine tenths of the distances between measured lines outside the middle are the same, and of entries."""
    top, bottom, *_ = middle_block(mask)
    lines = np.flatnonzero(mask.any(1))
    steps = np.concatenate([np.diff(lines[lines < top]), np.diff(lines[lines >= bottom])])
    return steps.size == 0 or bool((steps == np.median(steps)).mean() >= 0.9)


def _even_samples(mask: np.ndarray) -> bool:
    """Whether nine tenths of the distances between neighbours outside the middle, in their rows, are the same."""
    top, bottom, left, right = middle_block(mask)
    outside = mask.copy()
    outside[top:bottom, left:right] = False
    row, column = np.nonzero(outside)
    inside = (row[:-1] == row[1:]) & ~((row[1:] >= top) & (row[1:] < bottom))
    steps = np.diff(column)[inside]
    return steps.size == 0 or bool((steps == np.median(steps)).mean() >= 0.9)


def middle_block(mask: np.ndarray) -> tuple[int, int, int, int]:
    """The fully sampled rectangle around the entry of frequency zero: first row, last + 1, first column, last + 1.

    ``mask``: bool (rows, columns). It grows by a row or a column at a time as long as one is fully sampled; it is empty
    where frequency zero was not measured.
    """
    rows, columns = mask.shape
    top, left = rows // 2, columns // 2
    if not mask[top, left]:
        return top, top, left, left
    bottom, right = top + 1, left + 1
    grown = True
    while grown:
        grown = False
        if left > 0 and mask[top:bottom, left - 1].all():
            left, grown = left - 1, True
        if right < columns and mask[top:bottom, right].all():
            right, grown = right + 1, True
        if top > 0 and mask[top - 1, left:right].all():
            top, grown = top - 1, True
        if bottom < rows and mask[bottom, left:right].all():
            bottom, grown = bottom + 1, True
    return top, bottom, left, right


def middle_lines(mask: np.ndarray) -> int:
    """The shorter side of :func:`middle_block`: the ACS lines of a mask of lines."""
    top, bottom, left, right = middle_block(mask)
    return min(bottom - top, right - left)
