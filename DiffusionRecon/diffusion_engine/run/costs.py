"""What a run will cost, from a measured micro-run on its own data: seconds a step, memory, whether it fits."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import psutil
import torch

from ..denoiser import positions
from ..jobs.forecast import MEGABYTE, MicroRun, forecast
from ..modalities.prepared import Extent, Prepared
from ..physics.grid import ImageGrid
from ..priors.library import Prior
from ..priors.real_part import for_images
from ..solvers.listing import listed_method, working_megabytes
from .settings import Settings
from .surer import surer_work

SURROGATE_ITERATIONS = 60
"""Iterations of the rough fallback image from which the error of the diffusion start is predicted."""
ARRAYS_OF_DATA = 3
"""Arrays of 32 bits of the size of the data while a scan is made: readings, their noise, and a copy."""


@dataclass(frozen=True)
class Costs:
    """Seconds for one slice: an iteration of the fallback image, a draw (0 without a prior), the surer draw.

    ``moved``: the copy of the residual test needs that draw too, because it moves the mean.
    """

    classical_iteration: float
    draw: float
    surer: float = 0.0
    moved: bool = False

    def slice_seconds(self, settings: Settings) -> float:
        """Seconds for one slice of a run."""
        asked = settings.entry.fallback in settings.methods
        used = fallback_iterations(settings, asked) if asked or self.draw else 0
        if self.draw and settings.entry.trust.surrogate is not None:
            # The image whose likeness is asked for takes about as long as the rough one.
            used += SURROGATE_ITERATIONS
        return used * self.classical_iteration + settings.draws * self.draw + 1e-3

    def seconds(self, settings: Settings, slices: int) -> float:
        """Seconds for a run of so many slices: one more is the residual test's."""
        return (slices + 1) * self.slice_seconds(settings) + (slices + self.moved) * self.surer


def fallback_iterations(settings: Settings, delivered: bool) -> int:
    """Of the fallback image where it is ``delivered``, else of the rough one."""
    name = settings.entry.fallback
    return settings.iterations(name) if delivered or settings.entry.image(name).at_once else SURROGATE_ITERATIONS


def measure(problem: Prepared[Any], settings: Settings, prior: Prior | None, moved: bool = False) -> Costs:
    """Time two iterations of the fallback and a network call with a data step on up to two slices, after a warm-up."""
    chunk = slice(0, min(2, problem.slices))
    count = chunk.stop
    system, name = problem.delivered.select(chunk), settings.entry.fallback
    iterations = min(2, settings.iterations(name))
    iteration = _timed(lambda: deque(system.classical(name, iterations), 0)) / iterations / count
    if prior is None:
        return Costs(iteration, 0.0)
    working = problem.prior.select(chunk)
    grid: ImageGrid = working.grid
    place = positions(*grid.shape, grid.pixel_mm).to(problem.device)
    kind = torch.complex64 if working.complex_images else torch.float32
    image = torch.zeros((count, *grid.shape), dtype=kind, device=problem.device)
    network, denoiser = working.local_gaussian(image), for_images(prior, working.imaginary_std)

    def step() -> None:
        network.proximal(denoiser(image[:, None], torch.tensor(0.2), place)[:, 0], 0.04)

    work = listed_method(settings.solver, settings.modality).draw_work(settings.steps, settings.options)
    call = _timed(step) / count
    return Costs(iteration, work * call, surer_work(settings) * call, moved)


def foresee(extent: Extent, settings: Settings, costs: Costs) -> tuple[dict[str, Any], bool]:
    """Seconds and memory of the run, and whether tied slices must be solved in slabs to have room.

    Raises ValueError with advice when it cannot fit.
    """
    rows, columns = extent.grid.shape
    diffusion = settings.draws_images
    method = listed_method(settings.solver, settings.modality)
    split = settings.draws > 1 and "not_seen" in settings.keep
    ways = working_megabytes(
        method, settings.coupling, settings.options, extent.pixels, extent.slices, settings.slab, split
    ) if diffusion else [(method.step_megabytes(extent.pixels, min(settings.slab, extent.slices), {}), 0.0)]
    units = settings.draws if diffusion else 1
    base = psutil.Process().memory_info().rss / MEGABYTE + ARRAYS_OF_DATA * 4 * extent.readings / MEGABYTE
    wanted = {**settings.to_dict(), "slices": None, "region": None}
    plan: dict[str, Any] = {}
    for number, way in enumerate(ways):
        micro = MicroRun(0.0, costs.seconds(settings, extent.slices) / (extent.slices * units), base, *way)
        plan = forecast((extent.slices, rows, columns), wanted, partial(_same, micro))
        if plan["fits"]:
            return {"seconds": round(plan["seconds"], 3), "memory_mb": round(plan["memory_mb"])}, number > 0
    raise ValueError(plan["advice"])


def extent_of(problem: Prepared[Any]) -> Extent:
    """How large a problem is whose data are there."""
    return Extent(problem.slices, problem.delivered.grid, problem.prior.grid)


def slabs_note(settings: Settings) -> str:
    """What the report says about tied slices that were not solved all at once."""
    close = "as all at once would give them" if settings.coupling == "neighbours" else "nearly as all at once would"
    return (
        f"The slices are tied to each other, and all at once would not fit in the memory: they were solved "
        f"{settings.slab} at a time at every noise level, with slices beyond either end, {close}."
    )


def _same(micro: MicroRun) -> MicroRun:
    return micro


def _timed(run: Callable[[], object]) -> float:
    run()
    start = time.perf_counter()
    run()
    return time.perf_counter() - start
