"""Which of two images is the better one, without a truth: the one that foretells readings that were left out.

Both are made anew without these readings r of noise s, a draw and the classical image, and

    e = mean ((r - A x) / s)^2

says how far each is from them; noise adds about 1 to both. Readings weigh coarse errors more than fine ones, in which a
draw of what the prior does not know is the worse one: so it must be better by far, and by more than chance.
"""

from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..modalities.contract import System
from ..modalities.divisible import Divisible
from ..modalities.prepared import Prepared
from ..priors.library import Prior
from ..priors.slices import resample
from .draws import diffusion_draws
from .images import Progress
from .report import Tally
from .settings import Settings

SLICES = 3
"""Slices that are tried at most: those whose scores are nearest to the deciding one, the median."""
BETTER = 0.5
"""Of the mean squared error beyond noise: at equal PSNR a draw of an object of rods had 0.57 of the fallback's, of an
even disc that it drew 0.5 dB worse 0.68."""
STAGE = "readings left out"


@dataclass(frozen=True)
class Foretold:
    """e above of a draw and of the classical image, means over the slices that were tried; ``readings``: in all."""

    draw: float
    classical: float
    readings: int

    @property
    def draw_is_better(self) -> bool:
        """Whether e - 1 is less than half of the classical image's, and e below it by three deviations of chance."""
        chance = 3 * math.sqrt(2 / self.readings)
        return max(self.draw - 1, 0.0) <= BETTER * (self.classical - 1) and self.draw < self.classical - chance


def foretell(
    problem: Prepared[Any], settings: Settings, prior: Prior, tally: Tally
) -> Generator[Progress, None, Foretold | None]:
    """Try a few slices of a run; returns None where its data cannot be divided."""
    errors, readings = [], 0
    for place in deciding(tally.scores, SLICES):
        parts = _divided(problem.select(slice(place, place + 1)))
        if parts is None:
            return None
        rest, apart = parts
        classical = yield from _classical(rest, settings, tally)
        draw = yield from _draw(rest, settings, prior, classical, tally)
        readings += apart.data.numel()
        errors.append([float(apart.groups(image.to(problem.device)).mean()) for image in (draw, classical)])
    draws, others = np.mean(errors, axis=0).tolist()
    return Foretold(draws, others, readings)


def deciding(scores: list[float], count: int) -> list[int]:
    """The places of the ``count`` scores that are nearest to their median, in order."""
    away = np.abs(np.asarray(scores) - np.median(scores))
    return sorted(np.argsort(away, kind="stable")[:count].tolist())


def _divided(problem: Prepared[Any]) -> tuple[Prepared[Any], System] | None:
    """The problem without some of its readings, and these on the delivered grid."""
    if not isinstance(problem.delivered, Divisible):
        return None
    parts = problem.delivered.divided()
    if parts is None:
        return None
    rest, apart = parts
    if problem.one_grid:
        return replace(problem, delivered=rest, prior=rest), apart
    other = problem.prior.divided()
    assert other is not None
    return replace(problem, delivered=rest, prior=other[0]), apart


def _classical(problem: Prepared[Any], settings: Settings, tally: Tally) -> Generator[Progress, None, Tensor]:
    name = settings.entry.fallback
    total = settings.iterations(name)
    last = torch.zeros(0)
    for step, image in enumerate(problem.delivered.classical(name, total), 1):
        last = image
        if step % 20 == 0:
            yield Progress(STAGE, step, total, tally.fraction)
    return last


def _draw(
    problem: Prepared[Any], settings: Settings, prior: Prior, surrogate: Tensor, tally: Tally
) -> Generator[Progress, None, Tensor]:
    last = torch.zeros(0)
    for state in diffusion_draws(problem, replace(settings, draws=1), prior, slice(0, 1), surrogate):
        last = state.estimate
        yield Progress(STAGE, state.step.index, state.step.total, tally.fraction)
    return resample(last, *problem.delivered.grid.shape)
