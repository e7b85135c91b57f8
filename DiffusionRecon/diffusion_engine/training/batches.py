"""The data of one training step, drawn while the step before it is still being computed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from .augment import Variants, varied

Item = TypeVar("Item")


@dataclass(frozen=True, eq=False)
class Batch:
    """Patches (n, channels, size, size), their planes, noise levels (n,), noise like the patches, variants or None.

    Or of volumes, with slices before the rows, which are all varied alike.
    ``after``: state of the random numbers after it was drawn, for a checkpoint of this step.
    """

    clean: Tensor
    place: Tensor
    sigma: Tensor
    noise: Tensor
    variants: Variants | None
    after: Tensor

    def on(self, device: torch.device) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Patches, planes, noise levels and noise on the device, varied there."""
        clean, place = self.clean.to(device), self.place.to(device)
        if self.variants is not None:
            found = varied(clean.flatten(1, -3), place.flatten(1, -3), self.variants.to(device))
            clean, place = found[0].reshape(clean.shape), found[1].reshape(place.shape)
        return clean, place, self.sigma.to(device), self.noise.to(device)


def one_ahead(make: Callable[[], Item], count: int) -> Iterator[Item]:
    """The results of ``count`` calls of ``make()``, each made in a thread while the caller uses the one before."""
    if count < 1:
        return
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(make)
        for _ in range(count - 1):
            item = coming.result()
            coming = pool.submit(make)
            yield item
        yield coming.result()
