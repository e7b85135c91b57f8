"""What is made of the draws of some slices: mean, spread, the part of it that the scanner does not see, kept draws."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..modalities.contract import DIFFUSION
from ..modalities.prepared import Prepared
from ..posterior.disagreement import disagreement
from ..posterior.draws import DrawStore
from ..posterior.moments import RunningMoments
from ..posterior.residual_map import residual_map
from ..posterior.split import SplitMoments
from ..posterior.spread import moved_by
from ..priors.library import Prior
from .draws import gaussian_near_start
from .settings import DATA_DISAGREE, PRIOR_DECIDED, Settings
from .surer import PULL, map_keys, surer

SPLIT_TOLERANCE, SPLIT_ITERATIONS = 1e-2, 400
"""Of the solve that splits a draw: about 100 iterations at 60 views and 0.2 % noise, which leave an error of 1e-3 of
the spread. Data of much less noise end at the bound, and the part that is not seen is then a little too small."""


REAL = ("uncertainty", "not_seen", "not_seen_share", PULL, PRIOR_DECIDED, DATA_DISAGREE)
"""The images that are real numbers also where images are complex."""


def product_keys(settings: Settings) -> list[str]:
    """The images, by result key, that a run makes; those of the draws themselves are kept apart.

    Maps that warn need mean and spread, which are then made though they are not delivered.
    """
    keys = [m for m in settings.methods if m != DIFFUSION]
    if not settings.draws_images:
        return keys
    keys.append("mean")
    if settings.draws > 1:
        keys += ["uncertainty"] if "uncertainty" in settings.keep or map_keys(settings) else []
        keys += ["not_seen", "not_seen_share"] if "not_seen" in settings.keep else []
    keys += [] if surer(settings) is None else [PULL]
    keys += ["residual"] if "residual" in settings.keep else []
    return keys + [key for key in map_keys(settings) if key != PRIOR_DECIDED]


class DrawProducts:
    """Takes the draws of one chunk of slices, in the delivered unit and grid, one at a time."""

    def __init__(
        self, problem: Prepared[Any], settings: Settings, prior: Prior, chunk: slice, into: dict[str, np.ndarray],
        store: DrawStore | None, gain: float = 0.0,
    ) -> None:
        """``gain``: of the pull, by which the mean is moved."""
        self._gain, self._first = gain, np.zeros(0)
        self._problem, self._settings, self._chunk, self._into, self._store = problem, settings, chunk, into, store
        self._moments = RunningMoments()
        self._split: SplitMoments | None = None
        if "not_seen" in into:
            network = gaussian_near_start(problem.delivered.select(chunk))
            self._split = SplitMoments(network, prior.card.sigma_data**2, SPLIT_TOLERANCE, SPLIT_ITERATIONS)

    def add(self, draw: Tensor) -> None:
        """Take in the next draw (slices, rows, columns)."""
        if self._store is not None:
            self._store.write(self._moments.count, self._chunk, draw.cpu().numpy())
        if PULL in self._into and self._moments.count == 0:
            self._first = self._problem.shown(draw.cpu().numpy())
        self._moments.add(draw)
        if self._split is not None:
            self._split.add(self._problem.scale.to_network(draw))

    def compare(self, draw: Tensor) -> None:
        """Take in the draw (slices, rows, columns) with the surer prior, which has the noise of the first one."""
        self._into[PULL][self._chunk] = self._first - self._problem.shown(draw.cpu().numpy())

    def finish(self) -> None:
        """Write what was asked for to its place."""
        into, chunk = self._into, self._chunk
        mean = self._moments.mean
        if self._gain and PULL in into:
            mean = mean + torch.from_numpy(moved_by(into[PULL][chunk], self._gain)).to(mean.device)
        into["mean"][chunk] = mean.cpu().numpy()
        if "uncertainty" in into:
            into["uncertainty"][chunk] = self._moments.std.cpu().numpy()
        if self._split is not None:
            into["not_seen"][chunk] = self._problem.scale.scale * self._split.unseen_std.cpu().numpy()
            into["not_seen_share"][chunk] = self._split.unseen_share.cpu().numpy()
        for key, of in (("residual", residual_map), (DATA_DISAGREE, disagreement)):
            if key in into:
                network = self._problem.scale.to_network(mean)
                likelihood, image = self._problem.delivered.select(chunk).physical(network)
                noise = self._problem.noise(self._settings.seed, "residual", chunk)
                into[key][chunk] = of(likelihood, image, noise).cpu().numpy()
