"""What was measured, where a file holds an array only: said by the user, or plain from the array itself."""

from __future__ import annotations

import numpy as np

from .description import Description


def measured(values: np.ndarray, description: Description, pattern: np.ndarray | None) -> np.ndarray:
    """The mask of k-space (slices, coils, rows, columns): bool (slices, rows, columns).

    ``pattern``: the mask's file, (slices or 1, rows, columns), where the description names one. Without a statement
    k-space that has no zeros was measured wholly; one that has some is asked about: raises ValueError.
    """
    seen: np.ndarray = np.asarray(values.any(axis=1))
    if pattern is not None:
        return pattern
    if description.mask == "nonzero":
        return seen
    share = 1 - np.count_nonzero(seen) / seen.size
    if description.mask == "full" or not (share > 0.02 or _blank_lines(seen)):
        return np.ones(seen.shape, bool)
    raise ValueError(
        f"expected to be told what was measured, found {100 * share:.3g} % of k-space exactly zero in every coil: say "
        "\"mask\": \"nonzero\" in the description if only the rest was measured, or name a file with the mask"
    )


def checked_pattern(array: np.ndarray, name: str) -> np.ndarray:
    """A mask from a file, of type bool; ValueError unless it holds zeros and ones alone."""
    real = array.real if np.iscomplexobj(array) and not array.imag.any() else array
    if np.iscomplexobj(real) or not np.isin(real, (0, 1)).all():
        raise ValueError(f"expected zeros and ones in the mask '{name}', found other values: compare it with zero")
    return real.astype(bool)


def _blank_lines(seen: np.ndarray) -> bool:
    return not (seen.any(axis=1).all() and seen.any(axis=2).all())
