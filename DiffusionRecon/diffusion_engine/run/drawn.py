"""All draws of a problem at once and what is made of them, for evaluations and calibrations: no progress is shown."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from ..modalities.prepared import Prepared
from ..posterior.moments import RunningMoments
from ..posterior.spread import Spread
from ..priors.library import Prior
from ..priors.slices import resample
from .costs import fallback_iterations
from .draws import DrawStep, diffusion_draws
from .settings import Settings
from .surer import surer


@dataclass(frozen=True, eq=False)
class Drawn:
    """Images (slices, rows, columns) in the delivered unit: the ``first`` draw, the ``mean`` of all, their ``spread``.

    ``spread``: None of a single draw; ``sigma_start``: the level at which each slice began; ``seconds``: until the
    first draw, and until the mean.
    """

    first: np.ndarray
    mean: np.ndarray
    spread: Spread | None
    sigma_start: tuple[float, ...]
    seconds: tuple[float, float]


def drawn(problem: Prepared[Any], settings: Settings, prior: Prior, mean: bool = True) -> Drawn:
    """All slices by the solver of the settings, and one more draw for the pull of the data where there is one.

    Without the ``mean`` the first draw takes its place, for the pull alone.
    """
    start, whole = time.perf_counter(), slice(0, problem.slices)
    surrogate = problem.classical(settings.entry.fallback, fallback_iterations(settings, False))
    moments, first, began, levels = RunningMoments(), np.zeros(0), 0.0, tuple[float, ...]()
    made = settings if mean else settings.changed(draws=1)
    for state in diffusion_draws(problem, made, prior, whole, surrogate):
        if state.finished:
            draw = _delivered(problem, state)
            moments.add(draw)
            if state.draw == 1:
                first, levels, began = draw.cpu().numpy(), state.sigma_start, time.perf_counter() - start
    image, pull = moments.mean.cpu().numpy(), None
    seconds = (began, time.perf_counter() - start)
    if settings.draws < 2:
        return Drawn(first, image, None, levels, seconds)
    asked = surer(settings)
    if asked is not None:
        *_, last = diffusion_draws(problem, asked, prior, whole, surrogate)
        pull = problem.shown(first) - problem.shown(_delivered(problem, last).cpu().numpy())
        seconds = (began, time.perf_counter() - start)
    std = moments.std.cpu().numpy() if mean else np.zeros(problem.shape, np.float32)
    unit = settings.entry.trust.unit(problem.scale)
    spread = Spread(std, settings.draws, problem.shown(image), pull, unit)
    return Drawn(first, image, spread, levels, seconds)


def _delivered(problem: Prepared[Any], state: DrawStep) -> Tensor:
    return problem.scale.from_network(resample(state.estimate, *problem.delivered.grid.shape))
