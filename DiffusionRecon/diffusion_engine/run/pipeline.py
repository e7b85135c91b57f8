"""From a source and settings to volumes: scan (or take measured data), classical images, draws, gate, residual test.

A generator: every step can be shown, and a caller that stops iterating has cancelled.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..modalities.prepared import Prepared
from ..posterior.calibration import check_calibrations
from ..posterior.draws import DrawStore
from ..posterior.gate import assess
from ..posterior.spread import moved_by
from ..priors.card import check_use
from ..priors.library import load_prior
from ..volume import Volume
from .costs import Costs, extent_of, foresee, measure, slabs_note
from .detection import detection_sentence
from .draws import DrawStep, check_method, diffusion_draws, solved_together
from .images import Progress, chunk_images
from .maps import finish_maps
from .products import REAL, product_keys
from .report import Tally, make_report
from .settings import DATA_DISAGREE, PHASE, PRECISIONS, PRIOR_DECIDED, Settings
from .surer import PULL
from .verdicts import calibrate, fall_back, gain_of, residual_tests

__all__ = ["DrawStep", "Progress", "Result", "choose_device", "diffusion_draws", "reconstruct", "reconstruct_steps"]


@dataclass(frozen=True, eq=False)
class Result:
    """Volumes on one grid by key ("mean", "uncertainty", classical images, "draw_1", "reference", ...) and the report.

    In the modality's unit, but for "not_seen_share" (0 to 1), "residual" (noise standard deviations) and the maps that
    warn (standard deviations of their null), whose unit is "1", and "phase" (radians, "rad").
    """

    volumes: dict[str, Volume]
    report: dict[str, Any]


def reconstruct(source: Any, settings: Settings | Mapping[str, Any] | None = None, **changes: Any) -> Result:
    """Reconstruct slices and return volumes and report.

    ``source``: a Volume in the modality's unit, of which a scan is simulated, or its measured data; ``settings``: see
    :class:`diffusion_engine.run.settings.Settings`, ``changes`` are single settings by name. Raises ValueError for
    input that cannot be used, FloatingPointError where numbers stop being finite.
    """
    if isinstance(settings, Settings):
        asked = settings.changed(**changes)
    else:
        given = {} if settings is None else settings
        asked = Settings.from_dict({**given, **changes} if isinstance(given, Mapping) else given)
    result = None
    for step in reconstruct_steps(source, asked):
        result = step
    assert isinstance(result, Result)
    return result


def reconstruct_steps(source: Any, settings: Settings, folder: Path | None = None) -> Iterator[Progress | Result]:
    """The steps of :func:`reconstruct`: many Progress, last the Result. ``folder``: a new one for kept draws."""
    began = time.perf_counter()
    yield Progress("prepare", 0, 1, 0.0)
    device = choose_device(settings.device)
    check_method(settings)
    prior = None
    if settings.draws_images:
        prior = load_prior(settings.prior, device, settings.entry.unit, bf16=PRECISIONS[settings.precision])
        check_use(prior.card, settings.solver, settings.coupling)
        check_calibrations([*prior.card.calibration, *prior.card.maps], settings.entry.trust)
    problem = settings.entry.prepare(
        source, settings, device, prior.card if prior else None,
        lambda extent: foresee(extent, settings, Costs(0.0, 0.0)),
    )
    if prior is not None:
        limit = detection_sentence(prior.card, settings, None if isinstance(source, Volume) else source)
        problem.notes.extend([] if limit is None else [limit])
    yield Progress("prepare", 1, 1, 0.01)
    tally = Tally({
        key: np.zeros(problem.shape, np.float32 if key in REAL else problem.array_type)
        for key in product_keys(settings)
    })
    gain = None if prior is None else gain_of(problem, settings, prior)
    tally.gain, tally.unknown_gain = gain or 0.0, gain is None
    costs = measure(problem, settings, prior, tally.gain != 0)
    tally.plan, in_slabs = foresee(extent_of(problem), settings, costs)
    if in_slabs:
        problem.notes.append(slabs_note(settings))
    together = solved_together(problem.slices, settings)
    tally.total = costs.seconds(settings, problem.slices)
    kept = settings.draws if prior is not None and settings.keeps_draws else 0
    with DrawStore(kept, problem.shape, folder, problem.array_type) if kept else nullcontext() as store:
        for first in range(0, problem.slices, together):
            chunk = slice(first, min(first + together, problem.slices))
            yield from chunk_images(problem, settings, prior, costs, chunk, tally, tally.images, store, in_slabs)
        yield from residual_tests(problem, settings, prior, costs, tally)
        if prior is not None:
            tally.gate = assess(tally.scores, prior.card.typicality, settings.fallback_title)
            yield from fall_back(problem, settings, prior, tally)
            finish_maps(problem, settings, prior, tally)
            calibrate(problem, settings, prior, tally)
        report = make_report(problem, settings, prior, tally, time.perf_counter() - began)
        volumes = _delivered(problem, settings, tally.images)
        if store is not None:
            away = moved_by(tally.images[PULL], tally.gain) if tally.gain else np.float32(0)
            volumes.update({f"draw_{n + 1}": problem.deliver(store.read(n) + away) for n in range(kept)})
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


def _delivered(problem: Prepared[Any], settings: Settings, images: dict[str, np.ndarray]) -> dict[str, Volume]:
    shown = {
        key: image for key, image in images.items()
        if key != PULL and (key not in ("mean", "uncertainty") or key in settings.keep)
    }
    if problem.reference is not None:
        shown["reference"] = problem.reference
    volumes = {key: problem.deliver(image) for key, image in shown.items()}
    for key in {"not_seen_share", "residual", PRIOR_DECIDED, DATA_DISAGREE} & set(volumes):
        volumes[key] = volumes[key].with_array(volumes[key].array, "1")
    if PHASE in settings.keep:
        volumes[PHASE] = problem.phase(images["mean" if "mean" in images else settings.methods[-1]])
    return volumes
