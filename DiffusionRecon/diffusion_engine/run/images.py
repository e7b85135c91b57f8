"""The images of some slices by every method of a run: classical ones, then the draws and what is made of them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..modalities.prepared import Prepared
from ..posterior.draws import DrawStore
from ..posterior.typicality import typicality_scores
from ..priors.library import Prior
from ..priors.slices import resample
from ..volume import Volume
from .costs import SURROGATE_ITERATIONS, Costs, fallback_iterations
from .draws import diffusion_draws, parts_of
from .likeness import judged_images, numbers_of_slices
from .products import DrawProducts
from .report import Tally
from .settings import Settings
from .surer import PULL, STAGE, surer


@dataclass(frozen=True, eq=False)
class Progress:
    """Where a run is: ``stage``, ``step`` of ``total`` in it, ``fraction`` of the whole, sometimes a preview."""

    stage: str
    step: int
    total: int
    fraction: float
    preview: Volume | None = None


def chunk_images(
    problem: Prepared[Any], settings: Settings, prior: Prior | None, costs: Costs, chunk: slice, tally: Tally,
    into: dict[str, np.ndarray], store: DrawStore | None, in_slabs: bool = False,
) -> Iterator[Progress]:
    """Reconstruct some slices by every method into ``into``, and the draws into ``store``.

    ``in_slabs``: see :func:`diffusion_draws`; classical images and what is made of the draws always are.
    """
    parts, surrogate = parts_of(chunk, settings.slab), list[Tensor]()
    for part in parts:
        yield from _classical(problem, settings, prior, costs, part, tally, into, surrogate)
    if prior is None:
        return
    start = time.perf_counter()
    products = [DrawProducts(problem, settings, prior, part, into, store, tally.gain) for part in parts]
    for state in diffusion_draws(problem, settings, prior, chunk, torch.cat(surrogate), in_slabs):
        if state.step.index == 1 and state.draw == 1:
            tally.sigma_start += [round(level, 4) for level in state.sigma_start]
        # The simulated scan of the residual test is not what a reader sees.
        if into is tally.images:
            tally.efforts.add(state.step.effort)
        wanted = state.finished or state.step.index % 5 == 0
        grid = problem.delivered.grid
        current = problem.scale.from_network(resample(state.estimate, *grid.shape)) if wanted else None
        if state.finished and current is not None:
            for part, product in zip(parts, products, strict=True):
                own = current[part.start - chunk.start : part.stop - chunk.start]
                product.add(own.to(problem.device))
        work = costs.draw / state.step.total * (chunk.stop - chunk.start)
        stage = f"draw {state.draw} of {settings.draws}"
        yield _advanced(problem, tally, chunk, stage, state.step.index, state.step.total, work, current)
    asked = surer(settings)
    if asked is not None and PULL in into:
        yield from _surer(
            problem, asked, prior, costs, chunk, tally, parts, products, torch.cat(surrogate), in_slabs
        )
    for product in products:
        product.finish()
    tally.spend("diffusion", start)


def _surer(
    problem: Prepared[Any], asked: Settings, prior: Prior, costs: Costs, chunk: slice, tally: Tally,
    parts: list[slice], products: list[DrawProducts], surrogate: Tensor, in_slabs: bool,
) -> Iterator[Progress]:
    """The draw with the surer prior of some slices into the ``products`` of their ``parts``."""
    for state in diffusion_draws(problem, asked, prior, chunk, surrogate, in_slabs):
        if state.finished:
            image = problem.scale.from_network(resample(state.estimate, *problem.delivered.grid.shape))
            for part, product in zip(parts, products, strict=True):
                product.compare(image[part.start - chunk.start : part.stop - chunk.start])
        work = costs.surer / state.step.total * (chunk.stop - chunk.start)
        yield _advanced(problem, tally, chunk, STAGE, state.step.index, state.step.total, work)


def _classical(
    problem: Prepared[Any], settings: Settings, prior: Prior | None, costs: Costs, part: slice, tally: Tally,
    into: dict[str, np.ndarray], surrogate: list[Tensor],
) -> Iterator[Progress]:
    """The classical images of some slices; the fallback, or a rough one, is added to ``surrogate``, network units.

    The first of the modality's images is made in any case: it shows what comes. The fallback is made where draws are.
    """
    system, entry = problem.delivered.select(part), settings.entry
    last = rough = torch.zeros(0)
    for kind in entry.classical:
        name, base = kind.name, kind.name == entry.fallback
        if name not in into and kind is not entry.classical[0] and not (base and prior is not None):
            continue
        start = time.perf_counter()
        total = fallback_iterations(settings, name in into) if base else settings.iterations(name)
        for step, image in enumerate(system.classical(name, total), 1):
            last = image
            rough = image if step <= SURROGATE_ITERATIONS else rough
            if kind.at_once:
                yield _advanced(problem, tally, part, name, 1, 1, 0.0, problem.scale.from_network(image))
            elif step % 20 == 0:
                shown = problem.scale.from_network(image) if step % 100 == 0 else None
                work = 20 * costs.classical_iteration * (part.stop - part.start)
                yield _advanced(problem, tally, part, name, step, total, work, shown)
        if name in into:
            into[name][part] = problem.scale.from_network(last).cpu().numpy()
            tally.spend(name, start)
        if not base or prior is None:
            continue
        surrogate.append(last)
        # The simulated scan of the residual test has images of its own: nothing is asked about its likeness.
        if into is tally.images and prior.card.typicality:
            for step, image in enumerate(judged_images(entry.trust, system, rough, prior.card.typicality), 1):
                last = image
                if step % 20 == 0:
                    work = 20 * costs.classical_iteration * (part.stop - part.start)
                    yield _advanced(problem, tally, part, "likeness", step, SURROGATE_ITERATIONS, work)
            numbers = numbers_of_slices(entry.trust, system)
            tally.scores += typicality_scores(prior, last, problem.prior.grid, numbers, prior.card.typicality)


def _advanced(
    problem: Prepared[Any], tally: Tally, slices: slice, stage: str, step: int, total: int, work: float,
    image: Tensor | None = None,
) -> Progress:
    """A step of some ``slices`` that took so many seconds of ``work``, with a delivered image to show."""
    tally.done += work
    preview = None if image is None else problem.preview(image, slices)
    return Progress(stage, step, total, tally.fraction, preview)
