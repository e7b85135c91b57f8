"""Of which image likeness to the training data is asked, and by which numbers of its scan: in runs and fits alike."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from torch import Tensor

from ..modalities.contract import System, Trust
from ..posterior.typicality import of_rough_images


def judged_images(trust: Trust, system: System, rough: Tensor, entry: Mapping[str, Any] | None) -> Iterator[Tensor]:
    """Iterates of the image to be judged, network units, the last one counts: the ``rough`` fallback, or a better one.

    ``entry``: the card's, None for one that is yet to be fitted; an older one was fitted to rough images.
    """
    if trust.surrogate is None or (entry is not None and of_rough_images(entry)):
        return iter([rough])
    return trust.surrogate(system)


def numbers_of_slices(trust: Trust, system: System) -> np.ndarray:
    """The covariates of each slice by itself, (slices, numbers)."""
    each = [trust.covariates(system.select(slice(n, n + 1))) for n in range(len(system.data))]
    return np.array([np.atleast_1d(own) for own in each], dtype=float)
