"""Fourier transforms along one axis of raw data: readout oversampling taken off, a fully sampled axis transformed away.

All are orthonormal and centred (origin at index size // 2), so that the noise of a sample keeps its variance.
"""

from __future__ import annotations

import numpy as np

MOST_CUT = 0.03
"""Share of the signal that may lie where readouts are oversampled: next to none, but for what spreads from edges."""


def to_image(values: np.ndarray, axis: int) -> np.ndarray:
    """Inverse transform along an axis, complex64."""
    moved = np.fft.ifft(np.fft.ifftshift(values, axis), axis=axis, norm="ortho")
    return np.fft.fftshift(moved, axis).astype(np.complex64)


def to_kspace(values: np.ndarray, axis: int) -> np.ndarray:
    """Forward transform along an axis, complex64."""
    moved = np.fft.fft(np.fft.ifftshift(values, axis), axis=axis, norm="ortho")
    return np.fft.fftshift(moved, axis).astype(np.complex64)


def cropped(values: np.ndarray, size: int, axis: int) -> np.ndarray:
    """The middle ``size`` entries of an axis: index size // 2 of the result is that of the whole."""
    first = values.shape[axis] // 2 - size // 2
    return np.take(values, np.arange(first, first + size), axis)


def without_oversampling(values: np.ndarray, size: int) -> np.ndarray:
    """K-space of the middle ``size`` pixels along the last axis."""
    if size == values.shape[-1]:
        return values
    return to_kspace(cropped(to_image(values, -1), size, -1), -1)


def doubt_of_cut(values: np.ndarray, size: int) -> str | None:
    """A sentence where more than MOST_CUT of the signal lies outside the middle ``size`` pixels along the last axis.

    Signal: the energy of a column of the image above three times the quietest tenth of all columns, which hold noise.
    """
    energy = (np.abs(to_image(values, -1)) ** 2).reshape(-1, values.shape[-1]).mean(0)
    signal = np.maximum(energy - 3 * np.quantile(energy, 0.1), 0)
    kept = cropped(signal, size, 0).sum()
    share = 1 - kept / signal.sum() if signal.sum() > 0 else 0.0
    if share <= MOST_CUT:
        return None
    return (
        f"What was cut off as readout oversampling ({values.shape[-1] / size:.3g}) held {100 * share:.0f} % of the "
        "signal: part of the patient is missing, unless \"oversampling\" is right."
    )


def thinned(mask: np.ndarray, size: int) -> np.ndarray:
    """Of ``size`` samples of the readout without oversampling, those whose place in k-space was measured.

    A new sample at k lies between measured ones at k * ratio; one beyond the measured range, of an echo that was cut,
    is none.
    """
    whole = mask.shape[-1]
    if size == whole:
        return mask
    at = (np.arange(size) - size // 2) * (whole / size) + whole // 2
    low, high = np.floor(at).astype(int), np.ceil(at).astype(int)
    return np.take(mask, np.maximum(low, 0), -1) & np.take(mask, np.minimum(high, whole - 1), -1)


def decoupled(values: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray, tuple[int, int, int]]:
    """3D k-space as 2D problems that do not depend on each other: a fully sampled axis is transformed away.

    ``values``: (partitions, coils, rows, columns); ``mask``: (partitions, rows, columns). Returns values (slices,
    coils, rows, columns), their mask, and which of (partitions, rows, columns) became slices, rows and columns.
    Raises ValueError where no axis is fully sampled.
    """
    for order in ((0, 1, 2), (2, 1, 0), (1, 0, 2)):
        pattern = mask.transpose(order)
        if not (pattern == pattern[:1]).all():
            continue
        axes = (0, 2, 3)
        turned = values.transpose(axes[order[0]], 1, axes[order[1]], axes[order[2]])
        return to_image(turned, 0), np.ascontiguousarray(pattern[:1]), order
    raise ValueError(
        "expected 3D k-space with one fully sampled axis, found gaps along all three: leave the file to a program that "
        "solves in three dimensions, or give one whose readouts are whole"
    )
