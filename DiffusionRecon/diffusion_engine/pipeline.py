"""From a source and settings to volumes: scan (or take measured data), FBP, TV, diffusion draws, residual test.

A generator: every step can be shown, and a caller that stops iterating has cancelled.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from . import __version__, metrics
from .classical.fbp import fbp
from .classical.tv import tv_steps
from .costs import SURROGATE_ITERATIONS, Costs, foresee, measure
from .measurement import Measurement
from .posterior.moments import RunningMoments
from .posterior.residual import ResidualTest, accepted_range, summarise
from .priors.denoiser import positions
from .priors.library import Prior, load_prior
from .priors.slices import resample
from .problem import Problem, prepare, rescan
from .sampling.noise import Noise
from .settings import Settings
from .solvers.catalogue import method_named
from .solvers.contract import SolverStep
from .solvers.start import predicted_start_error, start_level
from .volume import Volume, attenuation_to_hu

SLICES_AT_ONCE = 8


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
    """Volumes in HU on one grid ("mean", "uncertainty", "fbp", "tv", "draw_1", "reference") and the report."""

    volumes: dict[str, Volume]
    report: dict[str, Any]


@dataclass
class _Tally:
    """What a run accumulates: images by key and slice, seconds a method, work done."""

    images: dict[str, np.ndarray]
    seconds: dict[str, float] = field(default_factory=dict)
    done: float = 0.0
    total: float = 1.0
    plan: dict[str, Any] = field(default_factory=dict)
    sigma_start: list[float] = field(default_factory=list)

    def spend(self, method: str, since: float) -> None:
        self.seconds[method] = self.seconds.get(method, 0.0) + time.perf_counter() - since


def reconstruct(
    source: Volume | Measurement, settings: Settings | dict[str, Any] | None = None, **changes: Any
) -> Result:
    """Reconstruct CT slices and return volumes and report.

    ``source``: a Volume in HU, of which a scan is simulated, or a Measurement; ``settings``: see
    :class:`diffusion_engine.settings.Settings`, ``changes`` are single settings by name. Raises ValueError for
    input that cannot be used, FloatingPointError where numbers stop being finite.
    """
    values = settings.to_dict() if isinstance(settings, Settings) else dict(settings or {})
    result = None
    for step in reconstruct_steps(source, Settings.from_dict({**values, **changes})):
        result = step
    assert isinstance(result, Result)
    return result


def reconstruct_steps(source: Volume | Measurement, settings: Settings) -> Iterator[Progress | Result]:
    """The steps of :func:`reconstruct`: many Progress, last the Result."""
    began = time.perf_counter()
    yield Progress("prepare", 0, 1, 0.0)
    device = choose_device(settings.device)
    method_named(settings.solver).options(settings.solver_options)
    prior = load_prior(settings.prior, device) if "diffusion" in settings.methods else None
    problem = prepare(source, settings, device, prior.card if prior else None)
    yield Progress("prepare", 1, 1, 0.01)
    keys = _keys(settings)
    shape = (problem.slices, *problem.grid.shape)
    tally = _Tally({key: np.zeros(shape, np.float32) for key in keys})
    costs = measure(problem, settings, prior)
    tally.plan = foresee(problem, settings, costs, SLICES_AT_ONCE)
    tally.total = (problem.slices + 1) * costs.slice_seconds(settings)
    for first in range(0, problem.slices, SLICES_AT_ONCE):
        chunk = slice(first, min(first + SLICES_AT_ONCE, problem.slices))
        yield from _chunk(problem, settings, prior, costs, chunk, tally, tally.images)
    tests: list[ResidualTest] = []
    yield from _residual_tests(problem, settings, prior, costs, tally, tests)
    seconds = time.perf_counter() - began
    report = _report(problem, settings, prior, tally, tests, seconds)
    yield Result({key: problem.deliver(image) for key, image in _delivered(problem, tally.images).items()}, report)


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


def _keys(settings: Settings) -> list[str]:
    keys = [m for m in settings.methods if m != "diffusion"]
    if "diffusion" in settings.methods:
        keys += ["mean"] + (["uncertainty"] if settings.draws > 1 else [])
        keys += [f"draw_{n + 1}" for n in range(settings.draws)] if settings.keep_draws else []
    return keys


def _delivered(problem: Problem, images: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    reference = {} if problem.reference is None else {"reference": problem.reference}
    return {**images, **reference}


def _chunk(
    problem: Problem, settings: Settings, prior: Prior | None, costs: Costs, chunk: slice, tally: _Tally,
    into: dict[str, np.ndarray],
) -> Iterator[Progress]:
    """Reconstruct some slices by every method into ``into`` (HU)."""
    water = settings.water_per_mm
    likelihood = problem.likelihood.select(chunk)
    count = likelihood.data.shape[0]

    def advance(stage: str, step: int, total: int, work: float, image: Tensor | None = None) -> Progress:
        tally.done += work * count
        preview = None if image is None else problem.preview(image, chunk)
        return Progress(stage, step, total, min(0.99, 0.01 + 0.98 * tally.done / tally.total), preview)

    start = time.perf_counter()
    analytic = fbp(likelihood.data, problem.geometry, problem.grid, extend=problem.truncated)
    if "fbp" in into:
        into["fbp"][chunk] = attenuation_to_hu(analytic, water).cpu().numpy()
        tally.spend("fbp", start)
    yield advance("fbp", 1, 1, 0.0, attenuation_to_hu(analytic, water))
    start = time.perf_counter()
    iterations = settings.tv_iterations if "tv" in into else SURROGATE_ITERATIONS
    smooth = analytic
    if "tv" in into or prior is not None:
        relative = likelihood.scaled(water, 0.0)
        for step, image in enumerate(tv_steps(relative, iterations=iterations), 1):
            smooth = image
            if step % 20 == 0:
                shown = (image - 1) * 1000 if step % 100 == 0 else None
                yield advance("tv", step, iterations, 20 * costs.tv_iteration, shown)
        if "tv" in into:
            into["tv"][chunk] = ((smooth - 1) * 1000).cpu().numpy()
            tally.spend("tv", start)
    if prior is None:
        return
    start = time.perf_counter()
    moments = RunningMoments()
    for state in diffusion_draws(problem, settings, prior, chunk, smooth):
        if state.step.index == 1 and state.draw == 1:
            tally.sigma_start.append(round(state.sigma_start, 4))
        wanted = state.finished or state.step.index % 5 == 0
        current = resample(state.estimate, *problem.grid.shape) * 1000 if wanted else None
        if state.finished and current is not None:
            moments.add(current)
            if f"draw_{state.draw}" in into:
                into[f"draw_{state.draw}"][chunk] = current.cpu().numpy()
        stage = f"draw {state.draw} of {settings.draws}"
        yield advance(stage, state.step.index, state.step.total, costs.solver_step, current)
    into["mean"][chunk] = moments.mean.cpu().numpy()
    if "uncertainty" in into:
        into["uncertainty"][chunk] = moments.std.cpu().numpy()
    tally.spend("diffusion", start)


@dataclass(frozen=True, eq=False)
class DrawStep:
    """One solver step of one draw (from 1), and the noise level at which the draw began."""

    draw: int
    step: SolverStep
    sigma_start: float

    @property
    def estimate(self) -> Tensor:
        """Clean image so far, (slices, rows, columns), network units, on the prior's grid."""
        return self.step.estimate

    @property
    def finished(self) -> bool:
        return self.step.index == self.step.total


def diffusion_draws(
    problem: Problem, settings: Settings, prior: Prior, chunk: slice, surrogate: Tensor
) -> Iterator[DrawStep]:
    """``settings.draws`` draws of some slices, a solver step at a time.

    ``surrogate``: (slices, rows, columns) in units of water, a rough image from which the error of the start is
    predicted.
    """
    water, grid = settings.water_per_mm, problem.prior_grid
    likelihood = problem.prior_likelihood.select(chunk)
    generator = torch.Generator().manual_seed(settings.seed * 1_000_003 + chunk.start)

    def classical(data: Tensor) -> Tensor:
        # Nothing attenuates less than air: what a filtered image has below it is known to be error.
        return fbp(data, problem.geometry, grid, extend=problem.truncated).clamp_min(0)

    sigma = settings.sigma_start
    if sigma is None:
        attenuation = resample(surrogate, *grid.shape) * water
        error = predicted_start_error(attenuation, likelihood, classical, generator) / water
        sigma = start_level(error, prior.card.start_error)
    start = classical(likelihood.data) / water - 1
    network = likelihood.scaled(water, 1.0)
    method = method_named(settings.solver)
    options = method.options(
        settings.solver_options, steps=settings.steps, sigma_start=sigma, sigma_data=prior.card.sigma_data
    )
    place = positions(*grid.shape, grid.pixel_mm, grid.centre_mm).to(start.device)
    noise = Noise(generator)
    for draw in range(1, settings.draws + 1):
        for step in method.solve(prior, network, start, options, noise, place):
            yield DrawStep(draw, step, float(sigma))


def _residual_tests(
    problem: Problem, settings: Settings, prior: Prior | None, costs: Costs, tally: _Tally, tests: list[ResidualTest],
) -> Iterator[Progress]:
    """Residual of every kind of image, and what the same kind reaches on a simulated scan of the central slice."""
    middle = problem.slices // 2
    best = "mean" if prior is not None else settings.methods[-1]
    again = rescan(problem, tally.images[best][middle], middle, settings)
    copies = {key: np.zeros_like(image[:1]) for key, image in tally.images.items() if key in ("fbp", "tv", "mean")}
    seconds = dict(tally.seconds)
    levels = list(tally.sigma_start)
    yield from _chunk(again, settings, prior, costs, slice(0, 1), tally, copies)
    tally.seconds, tally.sigma_start = seconds, levels
    readings = problem.likelihood.data[0].numel()
    for key, copy in copies.items():
        simulated = problem.residuals(copy, again.likelihood)
        views = problem.residuals(tally.images[key], problem.likelihood)
        expected = summarise([float(v) for v in simulated.mean(-1)])
        ratio = summarise([float(v) for v in views.mean(-1)])
        per_view = tuple(round(float(v), 3) for v in views.mean(0))
        accepted = accepted_range(expected, readings, fitted=key != "fbp")
        tests.append(ResidualTest(key, ratio, per_view, accepted))


def _report(
    problem: Problem, settings: Settings, prior: Prior | None, tally: _Tally, tests: list[ResidualTest], seconds: float
) -> dict[str, Any]:
    names = {"mean": "diffusion"}
    scores: dict[str, dict[str, Any]] = {}
    for test in tests:
        name = names.get(test.kind, test.kind)
        scores[name] = {"residual_ratio": round(test.ratio, 4), "seconds": round(tally.seconds.get(name, 0.0), 3)}
        if problem.reference is not None:
            image = problem.cropped(tally.images[test.kind])
            reference = problem.cropped(problem.reference)
            scores[name]["psnr"] = round(metrics.psnr(image, reference), 3)
            scores[name]["ssim"] = round(metrics.ssim(image, reference), 4)
    notes = list(problem.notes)
    if prior is not None and settings.draws > 1:
        notes.append(
            "The uncertainty is the spread of concentrated estimates (DDS): it shows where the prior had to decide, "
            "but is narrower than the true error; do not read it as a posterior standard deviation."
        )
    notes += [test.statement for test in tests]
    return {
        "modality": settings.modality,
        "method": settings.solver if prior is not None else settings.methods[-1],
        "prior": prior.card.name if prior is not None else None,
        "seed": settings.seed,
        "draws": settings.draws if prior is not None else 0,
        "spread": method_named(settings.solver).spread if prior is not None else None,
        "seconds": round(seconds, 3),
        "peak_memory_mb": None,
        "metrics": scores,
        "files": {},
        "forecast": tally.plan,
        "residual_tests": [
            {"kind": t.kind, "ratio": t.ratio, "accepted": t.accepted, "passed": t.passed, "per_view": t.per_view}
            for t in tests
        ],
        "sigma_start": tally.sigma_start,
        "intensity": {"unit": "HU", "water_per_mm": settings.water_per_mm},
        "geometry": problem.describe(),
        "noise_std": problem.noise_std,
        "settings": settings.to_dict(),
        "prior_sha256": prior.card.sha256 if prior is not None else None,
        "device": str(problem.likelihood.data.device),
        "versions": {
            "diffusion_engine": __version__, "torch": torch.__version__, "numpy": np.__version__,
            "python": platform.python_version(),
        },
        "notes": notes,
    }
