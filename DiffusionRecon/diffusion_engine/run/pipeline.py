"""From a source and settings to volumes: scan (or take measured data), FBP, TV, diffusion draws, gate, residual test.

A generator: every step can be shown, and a caller that stops iterating has cancelled.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..classical.fbp import fbp
from ..classical.tv import tv_steps
from ..modalities.ct.measurement import Measurement
from ..modalities.ct.problem import Problem, prepare, rescan
from ..posterior.calibration import matching_entry, rescaled
from ..posterior.draws import DrawStore
from ..posterior.gate import assess, blended, without_fallback
from ..posterior.residual import (
    CONVERGED,
    LEAST_HU,
    UNFITTED,
    UNFITTED_SHARE,
    UNRESOLVED,
    ResidualTest,
    accepted_range,
    advised,
    ceiling,
    summarise,
)
from ..posterior.typicality import typicality_scores
from ..priors.card import check_use
from ..priors.library import Prior, load_prior
from ..priors.slices import resample
from ..volume import AIR_HU, Volume, attenuation_to_hu, hu_to_attenuation
from .costs import SURROGATE_ITERATIONS, Costs, extent_of, foresee, measure, slabs_note
from .draws import DrawStep, asked_acquisition, check_method, diffusion_draws, parts_of, solved_together
from .products import DrawProducts, product_keys
from .report import Tally, make_report
from .settings import PRECISIONS, Settings

__all__ = ["DrawStep", "Progress", "Result", "choose_device", "diffusion_draws", "reconstruct", "reconstruct_steps"]


@dataclass(frozen=True, eq=False)
class Progress:
    """Where a run is: ``stage``, ``step`` of ``total`` in it, ``fraction`` of the whole, sometimes a preview in HU."""

    stage: str
    step: int
    total: int
    fraction: float
    preview: Volume | None = None


@dataclass(frozen=True, eq=False)
class Result:
    """Volumes on one grid by key ("mean", "uncertainty", "fbp", "tv", "draw_1", "reference", ...) and the report.

    HU, but for "not_seen_share" (0 to 1) and "residual" (noise standard deviations), whose unit is "1".
    """

    volumes: dict[str, Volume]
    report: dict[str, Any]


def reconstruct(
    source: Volume | Measurement, settings: Settings | dict[str, Any] | None = None, **changes: Any
) -> Result:
    """Reconstruct CT slices and return volumes and report.

    ``source``: a Volume in HU, of which a scan is simulated, or a Measurement; ``settings``: see
    :class:`diffusion_engine.run.settings.Settings`, ``changes`` are single settings by name. Raises ValueError for
    input that cannot be used, FloatingPointError where numbers stop being finite.
    """
    if isinstance(settings, Settings):
        asked = settings.changed(**changes)
    else:
        asked = Settings.from_dict({**(settings or {}), **changes})
    result = None
    for step in reconstruct_steps(source, asked):
        result = step
    assert isinstance(result, Result)
    return result


def reconstruct_steps(
    source: Volume | Measurement, settings: Settings, folder: Path | None = None
) -> Iterator[Progress | Result]:
    """The steps of :func:`reconstruct`: many Progress, last the Result. ``folder``: a new one for kept draws."""
    began = time.perf_counter()
    yield Progress("prepare", 0, 1, 0.0)
    device = choose_device(settings.device)
    check_method(settings)
    prior = None
    if "diffusion" in settings.methods:
        prior = load_prior(settings.prior, device, bf16=PRECISIONS[settings.precision])
        check_use(prior.card, settings.solver, settings.coupling)
    problem = prepare(
        source, settings, device, prior.card if prior else None,
        lambda extent: foresee(extent, settings, Costs(0.0, 0.0)),
    )
    yield Progress("prepare", 1, 1, 0.01)
    shape = (problem.slices, *problem.grid.shape)
    tally = Tally({key: np.zeros(shape, np.float32) for key in product_keys(settings)})
    costs = measure(problem, settings, prior)
    tally.plan, in_slabs = foresee(extent_of(problem), settings, costs)
    if in_slabs:
        problem.notes.append(slabs_note(settings))
    together = solved_together(problem.slices, settings)
    tally.total = (problem.slices + 1) * costs.slice_seconds(settings)
    kept = settings.draws if prior is not None and settings.keeps_draws else 0
    with DrawStore(kept, shape, folder) if kept else nullcontext() as store:
        for first in range(0, problem.slices, together):
            chunk = slice(first, min(first + together, problem.slices))
            yield from _chunk(problem, settings, prior, costs, chunk, tally, tally.images, store, in_slabs)
        yield from _residual_tests(problem, settings, prior, costs, tally)
        if prior is not None:
            tally.gate = assess(tally.scores, prior.card.typicality)
            yield from _fall_back(problem, settings, tally)
            _calibrate(problem, settings, prior, tally)
        report = make_report(problem, settings, prior, tally, time.perf_counter() - began)
        volumes = _delivered(problem, settings, tally.images)
        if store is not None:
            volumes.update({f"draw_{n + 1}": problem.deliver(store.read(n)) for n in range(kept)})
    yield Result(volumes, report)


def choose_device(name: str) -> torch.device:
    """The torch device of a setting; "auto" is the first CUDA device, else the CPU. Raises ValueError."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(
            f"the device '{name}' cannot be used ({str(error).splitlines()[0]}): choose cpu or auto"
        ) from None
    return device


def _delivered(problem: Problem, settings: Settings, images: dict[str, np.ndarray]) -> dict[str, Volume]:
    shown = {key: image for key, image in images.items() if key != "mean" or "mean" in settings.keep}
    if problem.reference is not None:
        shown["reference"] = problem.reference
    volumes = {key: problem.deliver(image) for key, image in shown.items()}
    for key in {"not_seen_share", "residual"} & set(volumes):
        volumes[key] = volumes[key].with_array(volumes[key].array, "1")
    return volumes


def _chunk(
    problem: Problem, settings: Settings, prior: Prior | None, costs: Costs, chunk: slice, tally: Tally,
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
    products = [DrawProducts(problem, settings, prior, part, into, store) for part in parts]
    for state in diffusion_draws(problem, settings, prior, chunk, torch.cat(surrogate), in_slabs):
        if state.step.index == 1 and state.draw == 1:
            tally.sigma_start += [round(level, 4) for level in state.sigma_start]
        # The simulated scan of the residual test is not what a reader sees.
        if into is tally.images:
            tally.efforts.add(state.step.effort)
        wanted = state.finished or state.step.index % 5 == 0
        current = resample(state.estimate, *problem.grid.shape) * 1000 if wanted else None
        if state.finished and current is not None:
            for part, product in zip(parts, products, strict=True):
                own = current[part.start - chunk.start : part.stop - chunk.start]
                product.add(own.to(problem.likelihood.data.device))
        work = costs.draw / state.step.total * (chunk.stop - chunk.start)
        stage = f"draw {state.draw} of {settings.draws}"
        yield _advanced(problem, tally, chunk, stage, state.step.index, state.step.total, work, current)
    for product in products:
        product.finish()
    tally.spend("diffusion", start)


def _classical(
    problem: Problem, settings: Settings, prior: Prior | None, costs: Costs, part: slice, tally: Tally,
    into: dict[str, np.ndarray], surrogate: list[Tensor],
) -> Iterator[Progress]:
    """FBP and TV of some slices; the TV image, or a rough one, is added to ``surrogate`` in units of water."""
    water = settings.water_per_mm
    likelihood = problem.likelihood.select(part)
    start = time.perf_counter()
    analytic = fbp(likelihood.data, problem.geometry, problem.grid, extend=problem.truncated)
    if "fbp" in into:
        into["fbp"][part] = attenuation_to_hu(analytic, water).cpu().numpy()
        tally.spend("fbp", start)
    yield _advanced(problem, tally, part, "fbp", 1, 1, 0.0, attenuation_to_hu(analytic, water))
    if "tv" not in into and prior is None:
        return
    start = time.perf_counter()
    iterations = settings.tv_iterations if "tv" in into else SURROGATE_ITERATIONS
    smooth = rough = analytic
    for step, image in enumerate(tv_steps(likelihood.scaled(water, 0.0), iterations=iterations), 1):
        smooth = image
        rough = image if step <= SURROGATE_ITERATIONS else rough
        if step % 20 == 0:
            shown = (image - 1) * 1000 if step % 100 == 0 else None
            work = 20 * costs.tv_iteration * (part.stop - part.start)
            yield _advanced(problem, tally, part, "tv", step, iterations, work, shown)
    if "tv" in into:
        into["tv"][part] = ((smooth - 1) * 1000).cpu().numpy()
        tally.spend("tv", start)
    surrogate.append(smooth)
    # The simulated scan of the residual test has images of its own: nothing is asked about its likeness.
    if prior is not None and into is tally.images and prior.card.typicality:
        views = len(problem.geometry.angles_rad)
        tally.scores += typicality_scores(prior, rough - 1, problem.prior_grid, views, prior.card.typicality)


def _advanced(
    problem: Problem, tally: Tally, slices: slice, stage: str, step: int, total: int, work: float,
    image: Tensor | None = None,
) -> Progress:
    """A step of some ``slices`` that took so many seconds of ``work``, with an image in HU to show."""
    tally.done += work
    preview = None if image is None else problem.preview(image, slices)
    return Progress(stage, step, total, min(0.99, 0.01 + 0.98 * tally.done / tally.total), preview)


def _fall_back(problem: Problem, settings: Settings, tally: Tally) -> Iterator[Progress]:
    """Blend the mean towards TV where the gate did not pass; TV is made now if it was not asked for.

    Not where TV does not explain the data: then no image is recommended.
    """
    if tally.gate is None or tally.gate.passed:
        return
    classical = tally.images.get("tv")
    if classical is None:
        classical = np.empty_like(tally.images["mean"])
        for first in range(0, problem.slices, settings.slab):
            chunk = slice(first, min(first + settings.slab, problem.slices))
            water = problem.likelihood.select(chunk).scaled(settings.water_per_mm, 0.0)
            total = settings.tv_iterations
            for step, image in enumerate(tv_steps(water, iterations=total), 1):
                if step % 20 == 0:
                    yield Progress("tv", step, total, min(0.99, 0.01 + 0.98 * tally.done / tally.total))
                if step == total:
                    classical[chunk] = ((image - 1) * 1000).cpu().numpy()
    ratio = _ratio(problem.residuals(classical, problem.likelihood))
    if not _explains(problem, settings, "tv", classical, ratio):
        tally.gate = without_fallback(tally.gate, ratio)
        return
    tally.images["fallback"] = blended(tally.gate, tally.images["mean"], classical)


def _calibrate(problem: Problem, settings: Settings, prior: Prior, tally: Tally) -> None:
    """Rescale the spread where the prior's card knows by how much for this acquisition, and nothing speaks against."""
    if "uncertainty" not in tally.images:
        return
    explained = all(test.explains for test in tally.tests if test.kind == "mean")
    doubt = "" if explained else "the image does not explain the data"
    if tally.gate is not None and not tally.gate.passed:
        doubt = "the image is unlike those it was calibrated on"
    tally.calibration = matching_entry(prior.card.calibration, asked_acquisition(problem, settings, prior), doubt)
    if tally.calibration.entry is not None:
        tally.images["uncertainty"] = rescaled(tally.images["uncertainty"], tally.calibration.entry)


def _residual_tests(
    problem: Problem, settings: Settings, prior: Prior | None, costs: Costs, tally: Tally
) -> Iterator[Progress]:
    """Residual of every kind of image, and what the same kind reaches on a simulated scan of the central slice."""
    middle = problem.slices // 2
    best = "mean" if prior is not None else settings.methods[-1]
    image = tally.images[best][middle]
    # Nothing attenuates less than air: of an image with such values no other image would explain the scan.
    again = rescan(problem, image if best == UNFITTED else np.maximum(image, AIR_HU), middle, settings)
    copies = {key: np.zeros_like(image[:1]) for key, image in tally.images.items() if key in ("fbp", "tv", "mean")}
    seconds = dict(tally.seconds)
    levels = list(tally.sigma_start)
    yield from _chunk(again, settings, prior, costs, slice(0, 1), tally, copies, None)
    tally.seconds, tally.sigma_start = seconds, levels
    readings = problem.likelihood.data[0].numel()
    tests = []
    for key, copy in copies.items():
        expected = _ratio(problem.residuals(copy, again.likelihood))
        views = problem.residuals(tally.images[key], problem.likelihood)
        ratio = _ratio(views)
        per_view = tuple(round(float(v), 3) for v in views.mean(0))
        allowed = UNRESOLVED**2 * _signal(problem) if key == "mean" else 0.0
        accepted = accepted_range(expected, readings, fitted=key != UNFITTED, allowed=allowed)
        explains = _explains(problem, settings, key, tally.images[key], ratio)
        tests.append(ResidualTest(key, ratio, per_view, accepted, explains))
    tally.tests = advised(tests)


def _ratio(views: Tensor) -> float:
    """Mean over the slices of a residual (slices, views); raises where one is not finite."""
    return summarise([float(v) for v in views.mean(-1)])


def _signal(problem: Problem) -> float:
    """Mean square of the data in units of their noise."""
    return float((problem.likelihood.data.square() / problem.likelihood.variance).mean())


def _explains(problem: Problem, settings: Settings, kind: str, images: np.ndarray, ratio: float) -> bool:
    """Whether the residual of images in HU, ``ratio`` times the noise, is small against the data themselves.

    Of images with values that no body has, the residual of what is possible in them counts.
    """
    data, variance = problem.likelihood.data, problem.likelihood.variance
    if kind != UNFITTED:
        if float(images.min()) < LEAST_HU:
            ratio = _ratio(problem.residuals(np.maximum(images, LEAST_HU), problem.likelihood))
        iterations = settings.tv_iterations if kind == "tv" else CONVERGED
        return ratio <= ceiling(_signal(problem), data[0].numel(), iterations)
    attenuation = hu_to_attenuation(np.maximum(images, AIR_HU), problem.water_per_mm).astype(np.float32)
    left = data - problem.likelihood.operator.forward(torch.from_numpy(attenuation).to(data.device))
    counted = (variance < torch.inf).expand_as(data)
    return bool(left[counted].norm() <= UNFITTED_SHARE * data[counted].norm())
