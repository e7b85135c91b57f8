"""Samples that do not look like k-space: the energy of an image's transform lies around the middle, and in peaks."""

from __future__ import annotations

import numpy as np

LEAST_IN_MIDDLE = 0.6
"""Share of the energy in the middle half of an axis: even values have .5, images of patients more than .9."""
LEAST_PEAK = 5.0
"""Largest magnitude over the root mean square of what was measured: noise has 3, images 3 to 6, k-space 10 to 100."""
SMALLEST = 16
"""Samples of an axis from which it is judged."""
MOST_COILS = 32
"""So many coils are not questioned, however small the image."""


def question_samples(values: np.ndarray, mask: np.ndarray, trusted: bool) -> None:
    """Raise ValueError, one sentence, for samples (slices, coils, rows, columns) that are no k-space, unless trusted.

    ``mask``: (slices, rows, columns), true where measured.
    """
    if trusted:
        return
    found = _fault(values, mask)
    if found:
        raise ValueError(f"{found}; if the samples are right all the same, say \"trust\": true in the description")


def _fault(values: np.ndarray, mask: np.ndarray) -> str:
    coils, smaller = values.shape[1], min(values.shape[2:])
    if coils > max(MOST_COILS, smaller):
        return (
            f"expected fewer coils than rows and columns, found {coils} coils and {smaller}: are axes exchanged? Name "
            "them in the description's \"axes\""
        )
    energy = np.einsum("scij,scij->sij", values, values.conj()).real.astype(np.float64)
    power, count = energy.sum(0), mask.sum(0)
    for axis, name in ((0, "rows"), (1, "columns")):
        fault = _off_middle(power, count, axis, name)
        if fault:
            return fault
    if min(power.shape) < SMALLEST:
        return ""
    peak = float(np.sqrt(energy.max() / (energy.sum() / mask.sum())))
    if peak < LEAST_PEAK:
        return (
            f"expected k-space with a strong middle, found samples whose largest is {peak:.2g} times their root mean "
            "square: is this an image, or noise? Give the data before the Fourier transform"
        )
    return ""


def _off_middle(power: np.ndarray, count: np.ndarray, axis: int, name: str) -> str:
    """A sentence where the energy along an axis does not lie around index size // 2."""
    size = power.shape[axis]
    if size < SMALLEST:
        return ""
    measured = count.sum(1 - axis)
    profile = np.divide(power.sum(1 - axis), measured, out=np.zeros(size), where=measured > 0)
    if not profile.any():
        return ""
    inner = slice(size // 4, size - size // 4)
    share = float(profile[inner].sum() / profile.sum())
    if share >= LEAST_IN_MIDDLE:
        return ""
    shifted = np.fft.fftshift(profile)
    if float(shifted[inner].sum() / profile.sum()) >= LEAST_IN_MIDDLE:
        return (
            f"expected k = 0 in the middle of the {name}, found the energy at their ends: say \"centre\": \"corner\" "
            "in the description"
        )
    return (
        f"expected the energy of k-space around the middle of its {size} {name}, found {100 * share:.0f} % in the "
        "middle half: are axes exchanged, or is this an image? Name them in the description's \"axes\""
    )
