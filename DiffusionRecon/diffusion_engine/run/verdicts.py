"""What may be believed of a run's images: the residual test, the fallback, the calibration of the spread."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..modalities.contract import Smooth
from ..modalities.prepared import Prepared
from ..posterior.calibration import Calibration, matching_entry
from ..posterior.gate import blended, kept_foretelling, kept_unexplained, without_fallback
from ..posterior.residual import (
    CONVERGED,
    NOISE_SHARE,
    UNFITTED_SHARE,
    UNRESOLVED,
    ResidualTest,
    accepted_range,
    advised,
    ceiling,
    smooth_limit,
    summarise,
)
from ..posterior.spread import Spread
from ..priors.library import Prior
from .costs import Costs
from .draws import asked_acquisition
from .foretold import foretell
from .images import Progress, chunk_images
from .report import Tally
from .settings import Settings
from .surer import PULL, surer


def residual_tests(
    problem: Prepared[Any], settings: Settings, prior: Prior | None, costs: Costs, tally: Tally
) -> Iterator[Progress]:
    """Residual of every kind of image, and what the same kind reaches on a simulated scan of the central slice.

    None of data without noise of their own, which any image that follows them fits too well.
    """
    if not problem.noisy:
        return
    entry = settings.entry
    middle = problem.slices // 2
    best = "mean" if prior is not None else settings.methods[-1]
    image = tally.images[best][middle]
    # What is below the least possible value is error: of an image with such values no other would explain the scan.
    possible = image if not entry.is_fitted(best) else _raised(image, entry.trust.least)
    again = problem.rescanned(possible, middle, settings.seed)
    kinds = {*(own.name for own in entry.classical), "mean"}
    # What moves the mean of the run moves that of the copy.
    kinds |= {PULL} if tally.gain else set()
    copies = {key: np.zeros_like(image[:1]) for key, image in tally.images.items() if key in kinds}
    seconds = dict(tally.seconds)
    levels = list(tally.sigma_start)
    yield from chunk_images(again, settings, prior, costs, slice(0, 1), tally, copies, None)
    tally.seconds, tally.sigma_start = seconds, levels
    readings = _readings(problem)
    tests = []
    copies.pop(PULL, None)
    for key, copy in copies.items():
        fitted = entry.is_fitted(key)
        expected = _ratio(again.residuals(copy))
        groups = problem.residuals(tally.images[key])
        ratio = _ratio(groups)
        each = tuple(round(float(v), 3) for v in groups.mean(0))
        allowed = UNRESOLVED**2 * _signal(problem, tally.images[key]) if key == "mean" else 0.0
        accepted = accepted_range(expected, readings, fitted=fitted, allowed=allowed)
        explains = _explains(problem, settings, key, tally.images[key], ratio)
        test = ResidualTest(
            key, ratio, each, accepted, explains, fitted=fitted, group=entry.group,
            further={
                name: tuple(round(float(v), 3) for v in own.mean(0))
                for name, own in problem.further_residuals(tally.images[key]).items()
            },
        )
        if fitted and entry.smooth is not None:
            smooth = _smooth(problem, again, entry.smooth, middle, tally.images[key], copy)
            test = replace(test, smooth=smooth, causes=entry.smooth.causes)
        tests.append(test)
    tally.tests = advised(tests, settings.fallback_title, [own.name for own in entry.classical[::-1]])


def _smooth(
    problem: Prepared[Any], again: Prepared[Any], rule: Smooth, middle: int, images: np.ndarray, copy: np.ndarray
) -> tuple[float, float]:
    """What broad groups of readings of the slice ``middle`` leave, and the most that its simulated scan allows."""
    one = slice(middle, middle + 1)
    found = rule.sums(problem.delivered.select(one), problem.network(images[one])).square().mean()
    simulated = rule.sums(again.delivered, again.network(copy)).square()
    limit = smooth_limit(float(simulated.mean()), simulated.numel())
    return round(float(found), 4), round(limit, 4)


def fall_back(
    problem: Prepared[Any], settings: Settings, prior: Prior, tally: Tally
) -> Iterator[Progress]:
    """Blend the mean towards the fallback where the gate did not pass; it is made now if it was not asked for.

    Not where it does not explain the data, or foretells readings less well than the prior: a mean that explains them
    then stays, and of one that does not no image is recommended.
    """
    if tally.gate is None or tally.gate.passed:
        return
    name = settings.entry.fallback
    classical = tally.images.get(name)
    if classical is None:
        classical = np.empty_like(tally.images["mean"])
        total = settings.iterations(name)
        for first in range(0, problem.slices, settings.slab):
            chunk = slice(first, min(first + settings.slab, problem.slices))
            for step, image in enumerate(problem.delivered.select(chunk).classical(name, total), 1):
                if step % 20 == 0:
                    yield Progress(name, step, total, tally.fraction)
                if step == total:
                    classical[chunk] = problem.scale.from_network(image).cpu().numpy()
    ratio, title = _ratio(problem.residuals(classical)), settings.fallback_title
    mean = next((test for test in tally.tests if test.kind == "mean"), None)
    if not _explains(problem, settings, name, classical, ratio):
        verdict = kept_unexplained if mean is not None and mean.passed else without_fallback
        tally.gate = verdict(tally.gate, ratio, title)
        return
    explained = mean is not None and mean.explains
    found = (yield from foretell(problem, settings, prior, tally)) if explained else None
    if found is not None and found.draw_is_better:
        tally.gate = kept_foretelling(tally.gate, found.draw, found.classical, title)
        return
    tally.images["fallback"] = blended(tally.gate, tally.images["mean"], classical)


def calibrate(problem: Prepared[Any], settings: Settings, prior: Prior, tally: Tally) -> None:
    """Rescale the spread where the prior's card knows by how much for this acquisition, and nothing speaks against."""
    if "uncertainty" not in tally.images or "uncertainty" not in settings.keep:
        return
    doubt = doubt_of(tally)
    trust = settings.entry.trust
    tally.calibration = calibration_for(problem, settings, prior, doubt)
    if tally.calibration.entry is not None:
        spread = Spread(
            tally.images["uncertainty"], settings.draws, problem.shown(tally.images["mean"]), tally.images.get("pull"),
            trust.unit(problem.scale),
        )
        tally.images["uncertainty"] = spread.calibrated(tally.calibration.entry, trust.classes)


def gain_of(problem: Prepared[Any], settings: Settings, prior: Prior) -> float | None:
    """By how much of the pull the mean of a run is moved: as the card says, None where it does not know."""
    if surer(settings) is None or problem.delivered.complex_images:
        return None
    entry = calibration_for(problem, settings, prior).entry
    return None if entry is None else float(entry.get("gain", 0.0))


def calibration_for(
    problem: Prepared[Any], settings: Settings, prior: Prior, doubt: str = ""
) -> Calibration:
    """What the card knows of an acquisition: of the entries made with a pull where the run has one, else without."""
    pull = surer(settings) is not None
    entries = [entry for entry in prior.card.calibration if bool(entry.get("pull", False)) == pull]
    return matching_entry(entries, asked_acquisition(problem, settings, prior), settings.entry.trust, doubt)


def doubt_of(tally: Tally) -> str:
    """Why nothing that was calibrated on held-out images holds for this one, a clause; "" where nothing speaks against.
    """
    if tally.gate is not None and not tally.gate.passed:
        return "the image is unlike those it was calibrated on"
    of_mean = [test for test in tally.tests if test.kind == "mean"]
    if not all(test.explains for test in of_mean):
        return "the image does not explain the data"
    return "something smooth in the data is in no image" if any(test.drifts for test in of_mean) else ""


def _ratio(groups: Tensor) -> float:
    """Mean over the slices of a residual (slices, groups); raises where one is not finite."""
    return summarise([float(v) for v in groups.mean(-1)])


def _signal(problem: Prepared[Any], images: np.ndarray) -> float:
    """Mean square of the data in units of their noise, near ``images`` where that depends on them.

    Of the readings that have a weight.
    """
    likelihood, _ = problem.delivered.physical(problem.network(images))
    squares = likelihood.data.abs().square() / likelihood.variance
    used = torch.isfinite(likelihood.variance)
    return float(squares.mean() if bool(used.all()) else squares[used.expand_as(squares)].mean())


def _readings(problem: Prepared[Any]) -> int:
    """Of a slice, those that have a weight; complex ones count as one."""
    data, variance = problem.delivered.data, getattr(problem.delivered.likelihood, "variance", None)
    if variance is None:
        return int(data[0].numel())
    used = torch.isfinite(variance)
    return int(data[0].numel() if bool(used.all()) else used.expand_as(data)[0].sum())


def _explains(problem: Prepared[Any], settings: Settings, kind: str, images: np.ndarray, ratio: float) -> bool:
    """Whether the residual of delivered images, ``ratio`` times the noise, is small against the data themselves.

    Of images with values that are not possible, the residual of what is possible in them counts.
    """
    entry = settings.entry
    trust = entry.trust
    if entry.is_fitted(kind):
        if trust.least_fitted is not None and float(images.min()) < trust.least_fitted:
            ratio = _ratio(problem.residuals(_raised(images, trust.least_fitted)))
        iterations = settings.iterations(kind) if kind == entry.fallback else CONVERGED
        readings = _readings(problem)
        return ratio <= ceiling(_signal(problem, images), readings, iterations, trust.noise_share or NOISE_SHARE)
    likelihood, image = problem.delivered.physical(problem.network(_raised(images, trust.least)))
    data = likelihood.data
    left = data - likelihood.operator.forward(image)
    counted = (likelihood.variance < torch.inf).expand_as(data)
    return bool(left[counted].norm() <= UNFITTED_SHARE * data[counted].norm())


def _raised(images: np.ndarray, least: float | None) -> np.ndarray:
    """Values below the least possible one raised to it; complex images have none."""
    return images if least is None else np.maximum(images, least)
