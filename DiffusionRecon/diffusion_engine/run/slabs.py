"""DDS of tied stacks whose steps do not fit in memory at once: a slab of slices at a time, at every noise level.

A step with its network and conjugate gradients needs some 24 arrays of each slice that it works on. Here the whole
stack has four: the state x, the denoiser's estimate, how much it changes and, with z-TV, the duals; they stay on the
CPU, and the device works on one slab with a few slices beyond either end.

A denoiser that looks at neighbours sees ``reach`` slices beyond its slab, all as they were before the step: what the
whole stack gives, bit for bit, as far as denoiser and projector treat an image alike in batches of any size (the stored
projection matrix sums in another order below four slices). With z-TV the proximal step sees ``halo`` slices beyond
either end. What a slice does to another falls quickly with their distance, and a slab's result approaches the whole
stack's, up to the tolerance of the conjugate gradients.

Source of the steps: see solvers/dds.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from ..coupling.ztv import NO_COVARIANCE, ztv_proximal
from ..denoiser import Denoiser
from ..likelihoods.gaussian import GaussianLikelihood
from ..likelihoods.root import Root
from ..sampling.grids import poly_grid
from ..sampling.movers import ddim
from ..sampling.noise import Noise
from ..solvers.contract import SolverStep, denoise, finite
from ..solvers.dds import DDSSettings
from ..solvers.listing import BEYOND_A_SLAB
from ..solvers.local_variance import LocalVariance

PLANES_OF_EACH = 4
"""Dimensions of a condition that differs from slice to slice."""
Start = Callable[[slice], Tensor]
"""The classical images of some slices (slices, rows, columns), network units."""


@dataclass(frozen=True)
class Slabs:
    """``slices`` of a slab, at most; z-TV: ``weight`` (0: none), ``sweeps``, and ``halo`` slices beyond either end.

    ``reach``: slices beyond either end that the denoiser looks at. Raises ValueError for numbers below these.
    """

    slices: int = 16
    weight: float = 0.0
    sweeps: int = 2
    halo: int = BEYOND_A_SLAB
    reach: int = 0

    def __post_init__(self) -> None:
        if self.slices < 1 or not self.weight >= 0 or self.sweeps < 1 or self.halo < 1 or self.reach < 0:
            raise ValueError(
                f"slabs need 1 slice or more, a weight and a reach of 0 or more, 1 sweep and 1 halo slice or more, "
                f"found {self}: correct them"
            )

    def parts(self, count: int) -> list[slice]:
        """The slabs of ``count`` slices, in order, whose sizes differ by one slice at most."""
        parts = -(-count // self.slices)
        bounds = [n * count // parts for n in range(parts + 1)]
        return [slice(a, b) for a, b in pairwise(bounds)]


def dds_in_slabs(
    denoiser: Denoiser, likelihood: GaussianLikelihood, start: Start, settings: DDSSettings, noise: Noise,
    slabs: Slabs, condition: Tensor | None = None,
) -> Iterator[SolverStep]:
    """One draw of a stack as :func:`..solvers.dds.dds` makes it, from the same numbers; estimates are on the CPU.

    ``condition``: planes of all slices, or of each (slices, planes, rows, columns); ``likelihood``: of the whole stack
    without z-TV, network units. The estimate of a step is the denoiser's and lives until the next step, the last one is
    the result. Raises ValueError for the covariance of the network, which would
    be that of the whole stack, FloatingPointError where an estimate is not finite.
    """
    if settings.products > 0:
        raise ValueError(NO_COVARIANCE)
    run = _Run(denoiser, likelihood, settings, noise, slabs, condition)
    levels = poly_grid(settings.sigma_start, settings.sigma_end, settings.steps).tolist()
    run.begin(start, levels[0])
    for index, (sigma, following) in enumerate(pairwise(levels)):
        run.step(index, sigma, following)
        yield SolverStep(index + 1, settings.steps, sigma, run.estimate if following > 0 else run.state)


class _Run:
    """The arrays of a draw, and what is done to a slab of them."""

    def __init__(
        self, denoiser: Denoiser, likelihood: GaussianLikelihood, settings: DDSSettings, noise: Noise, slabs: Slabs,
        condition: Tensor | None,
    ) -> None:
        self.denoiser, self.likelihood, self.settings, self.condition = denoiser, likelihood, settings, condition
        self.noise, self.slabs, self.device = noise, slabs, likelihood.data.device
        self.parts = slabs.parts(len(likelihood.data))
        self.iterations = likelihood.iterations(settings.cg_iterations)
        shape = (len(likelihood.data), *likelihood.operator.in_shape)
        self.state, self.estimate, self.change = (torch.zeros(shape) for _ in range(3))
        self.dual = torch.zeros(shape if slabs.weight > 0 else 0)

    def begin(self, start: Start, sigma: float) -> None:
        """The start with noise of the first level."""
        call = self.noise.take()
        for part in self.parts:
            image = start(part)
            self.state[part] = (image + sigma * self.noise.part(call, part.start, image)).cpu()

    def step(self, index: int, sigma: float, following: float) -> None:
        """From ``sigma`` to ``following``: all estimates first, so that each sees its neighbours before the move."""
        call = self.noise.take()
        for part in self.parts:
            self._denoise(part, index, sigma)
        carried: Tensor | None = None
        for part in self.parts:
            x, estimate = self._read(self.state, part), self._read(self.estimate, part)
            if self.slabs.weight > 0:
                clean, carried = self._tied(part, sigma, index == 0, carried)
            else:
                own = self.likelihood.select(part)
                clean = own.proximal(
                    estimate, self._root(sigma, part), own.iterations(self.settings.cg_iterations),
                    self.settings.cg_tolerance,
                )
            clean = finite(clean, sigma)
            fresh = self.noise.part(call, part.start, x)
            moved = ddim(x, estimate, clean, sigma, following, self.settings.eta, fresh)
            # The last level is 0: what is left in the state is the result.
            self.state[part] = (moved if following > 0 else clean).cpu()

    def _denoise(self, part: slice, index: int, sigma: float) -> None:
        """The estimate of a slab in call ``index``, and how much it changed."""
        low, wide = self._around(part, self.slabs.reach)
        own = self.condition
        if own is not None and own.ndim == PLANES_OF_EACH:
            own = own[wide]
        seen = denoise(self.denoiser, self._read(self.state, wide), sigma, own, self.settings.mirrors(index))
        estimate = seen[part.start - low : part.stop - low]
        known = (self._read(self.estimate, part), self._read(self.change, part)) if index else (None, None)
        self.change[part] = LocalVariance(*known).update(estimate, sigma).cpu()
        self.estimate[part] = estimate.cpu()

    def _tied(self, part: slice, sigma: float, cold: bool, carried: Tensor | None) -> tuple[Tensor, Tensor]:
        """The proximal step with z-TV of a slab and its halo: its own slices, and the duals that the next needs.

        Dual k belongs to the difference of slices k and k + 1. ``carried``: the duals of the lower halo as they were
        before the slab below replaced them, so that all slabs of a step start from the same ones; ``cold``: there are
        none yet.
        """
        low, wide = self._around(part, self.slabs.halo)
        dual = self._read(self.dual, slice(low, wide.stop - 1)).clone()
        if carried is not None:
            dual[: part.start - low] = carried
        clean, new = ztv_proximal(
            self.likelihood.select(wide), self._read(self.estimate, wide),
            self._root(sigma, wide), self.slabs.weight,
            None if cold else dual, self.slabs.sweeps, self.iterations, self.settings.cg_tolerance,
        )
        last = min(part.stop, wide.stop - 1)
        self.dual[part.start : last] = new[part.start - low : last - low].cpu()
        following = max(0, part.stop - self.slabs.halo)
        return clean[part.start - low : part.stop - low], dual[following - low : last - low]

    def _root(self, sigma: float, part: slice) -> Root:
        """Of the prior's covariance of a slab."""
        change = self._read(self.change, part)
        return self.settings.root(self.settings.variance(sigma, change), change)

    def _around(self, part: slice, slices: int) -> tuple[int, slice]:
        """Where a slab with so many slices beyond either end begins, and the whole of it."""
        low = max(0, part.start - slices)
        return low, slice(low, min(len(self.state), part.stop + slices))

    def _read(self, volume: Tensor, part: slice) -> Tensor:
        return volume[part].to(self.device)
