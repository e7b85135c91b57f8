"""What a run will cost, from a measured micro-run on its own data: seconds a step, memory, whether it fits."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import psutil
import torch

from .classical.tv import tv
from .jobs.forecast import MEGABYTE, MicroRun, forecast
from .priors.denoiser import positions
from .priors.library import Prior
from .problem import Problem
from .settings import Settings
from .solvers.listing import listed_methods

SURROGATE_ITERATIONS = 60
"""TV iterations of the rough image from which the error of the diffusion start is predicted."""


@dataclass(frozen=True)
class Costs:
    """Seconds for one slice: a TV iteration, a draw (0 without a prior)."""

    tv_iteration: float
    draw: float

    def slice_seconds(self, settings: Settings) -> float:
        """Seconds for one slice of a run."""
        iterations = settings.tv_iterations if "tv" in settings.methods else SURROGATE_ITERATIONS
        used = iterations if "tv" in settings.methods or self.draw else 0
        return used * self.tv_iteration + settings.draws * self.draw + 1e-3


def measure(problem: Problem, settings: Settings, prior: Prior | None) -> Costs:
    """Time two TV iterations and a network call with a data step on up to two slices, after a warm-up of each."""
    chunk = slice(0, min(2, problem.slices))
    count = chunk.stop
    classical = problem.likelihood.select(chunk).scaled(settings.water_per_mm, 0.0)
    iteration = _timed(lambda: tv(classical, iterations=2)) / 2 / count
    if prior is None:
        return Costs(iteration, 0.0)
    network = problem.prior_likelihood.select(chunk).scaled(settings.water_per_mm, 1.0)
    place = positions(*problem.prior_grid.shape, problem.prior_grid.pixel_mm).to(network.data.device)
    image = torch.zeros((count, *problem.prior_grid.shape), device=network.data.device)

    def step() -> None:
        network.proximal(prior(image[:, None], torch.tensor(0.2), place)[:, 0], 0.04)

    work = listed_methods()[settings.solver].draw_work(settings.steps, settings.solver_options)
    return Costs(iteration, work * _timed(step) / count)


def foresee(problem: Problem, settings: Settings, costs: Costs, slices_at_once: int) -> dict[str, Any]:
    """Seconds and memory of the run; raises ValueError with advice when it cannot fit."""
    rows, columns = problem.grid.shape
    pixels = max(rows * columns, problem.prior_grid.rows * problem.prior_grid.columns)
    method, together = listed_methods()[settings.solver], min(slices_at_once, problem.slices)
    batch = method.step_megabytes(pixels, together, settings.solver_options)
    units = settings.draws if "diffusion" in settings.methods else 1
    micro = MicroRun(0.0, costs.slice_seconds(settings) / units, psutil.Process().memory_info().rss / MEGABYTE, batch)
    wanted = {**settings.to_dict(), "slices": None, "region": None}
    plan = forecast((problem.slices, rows, columns), wanted, lambda: micro)
    if not plan["fits"]:
        raise ValueError(plan["advice"])
    # One slice more: the simulated scan of the residual test.
    seconds = plan["seconds"] * (problem.slices + 1) / problem.slices
    return {"seconds": round(seconds, 3), "memory_mb": round(plan["memory_mb"])}


def _timed(run: Callable[[], object]) -> float:
    run()
    start = time.perf_counter()
    run()
    return time.perf_counter() - start
