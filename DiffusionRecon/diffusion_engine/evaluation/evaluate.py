"""Side-by-side evaluation of sparse-view CT on real volumes, without inverse crime, one row a slice.

Items are the CT volumes of a folder whose slices have 512 x 512 pixels or more; cases the slices at 25, 50 and 75 % of
the stack, each the middle of a small stack of its own where slices are to be tied. Data come from the native slice
(raised to -1000 HU or more) through the projector at that resolution, detector readings averaged in pairs, plus
Gaussian noise of 0.2 % of the largest line integral; the reference is the mean of 2 x 2 pixels.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import metrics
from ..classical.fbp import fbp
from ..classical.tv import tv, tv_steps
from ..io.folder import volumes_below
from ..likelihoods.gaussian import GaussianLikelihood
from ..modalities.ct.hu_question import question_hu
from ..modalities.ct.problem import Problem, prepare
from ..orientation import axial_squares
from ..posterior import calibration as rule
from ..posterior.moments import RunningMoments
from ..priors.library import Prior, load_prior
from ..priors.neighbours import slices_apart
from ..priors.slices import resample
from ..run.costs import SURROGATE_ITERATIONS
from ..run.draws import asked_acquisition, diffusion_draws
from ..run.pipeline import choose_device
from ..run.settings import Settings
from ..solvers.catalogue import METHODS as SOLVERS
from ..volume import Volume, attenuation_to_hu

CLASSICAL = ("fbp", "tv", "tv-oracle")
TRUST = ("coverage90", "coverage90_calibrated", "error_spread_corr")
DEPTHS = (0.25, 0.5, 0.75)
SMALLEST_MATRIX = 512
ORACLE_ITERATIONS = 1500
ORACLE_WEIGHTS = (1.0, 2.0, 4.0, 6.0, 9.0, 14.0, 28.0)
"""Weights of TV in noise-normalised units, image in units of water: the best for each image is taken."""


@dataclass(frozen=True, eq=False)
class Item:
    """A volume to evaluate on: its name (path below the folder), the chosen slices and their indices.

    ``counted``: which of them are evaluated, all if None; the others are only reconstructed with them.
    """

    name: str
    volume: Volume
    indices: tuple[int, ...]
    counted: tuple[int, ...] | None = None

    @property
    def cases(self) -> list[tuple[int, int]]:
        """Place in the volume and index of every slice that is evaluated."""
        chosen = range(len(self.indices)) if self.counted is None else self.counted
        return [(n, self.indices[n]) for n in chosen]


def indices_at(volume: Volume, depths: Sequence[float]) -> list[int]:
    """The slices at some depths of a volume."""
    count = len(volume.array)
    return sorted({min(count - 1, int(depth * count)) for depth in depths})


def stack_around(volume: Volume, index: int) -> tuple[Volume, tuple[int, ...], int]:
    """A slice with two neighbours on either side, as far as there are: the stack, their indices, the place of it.

    In a fine stack some slices are left out between them, see :func:`slices_apart`.
    """
    step = slices_apart(volume.spacing_mm[2])
    indices = tuple(k for k in range(index - 2 * step, index + 2 * step + 1, step) if 0 <= k < len(volume.array))
    matrix = volume.ijk_to_ras.copy()
    matrix[:, 3] += indices[0] * matrix[:, 2]
    matrix[:, 2] *= step
    return Volume(volume.array[list(indices)], matrix, volume.unit), indices, indices.index(index)


def find_items(folder: Path, tied: bool = False) -> tuple[list[Item], list[str]]:
    """The items of a folder by the rule above, and one line for each image that was left out, with the reason.

    Volumes are turned upright, see :func:`axial_squares`: slices are counted from the lowest one.
    ``tied``: slices are to be tied to their neighbours, so that an item is a slice with its own.
    """
    if not folder.is_dir():
        raise ValueError(f"expected a folder of image volumes, found none at {folder}: give an existing folder")
    items, skipped = [], []
    for place, volume in volumes_below(folder, "HU"):
        name = place.as_posix()
        if isinstance(volume, str):
            skipped.append(f"{name}: {volume}")
            continue
        question = question_hu(volume)
        if question is not None:
            skipped.append(f"{name}: not CT in HU ({question})")
            continue
        try:
            volume, made = axial_squares(volume)
        except ValueError as error:
            skipped.append(f"{name}: {error}")
            continue
        name = f"{name} ({made})" if made else name
        rows, columns = volume.array.shape[1:]
        if min(rows, columns) < SMALLEST_MATRIX:
            skipped.append(
                f"{name}: slices of {rows} x {columns} pixels, fewer than {SMALLEST_MATRIX} x {SMALLEST_MATRIX}"
            )
        else:
            indices = indices_at(volume, DEPTHS)
            if tied:
                for index in indices:
                    stack, around, middle = stack_around(volume, index)
                    items.append(Item(name, stack, around, (middle,)))
            else:
                items.append(Item(name, Volume(volume.array[indices], volume.ijk_to_ras, "HU"), tuple(indices)))
    return items, skipped


def evaluate(
    items: Sequence[Item], views: Sequence[int], methods: Sequence[str], settings: Settings, geometries: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """Rows item, modality, case, geometry, views, method, psnr, ssim, nrmse, residual_ratio, coverage, seconds.

    One a slice. ``methods``: out of CLASSICAL and the solvers of the catalogue. Of a solver's draws: "coverage90", the
    share of the body's voxels inside their 90 % interval, "coverage90_calibrated", the same with the card's factor for
    this acquisition, "error_spread_corr", of |error| and spread there; null where there is no such thing.
    """
    known = (*CLASSICAL, *SOLVERS)
    unknown = sorted(set(methods) - set(known))
    if unknown:
        raise ValueError(f"unknown methods {unknown}: choose from {known}")
    device = choose_device(settings.device)
    prior = load_prior(settings.prior, device) if set(methods) & set(SOLVERS) else None
    for geometry in geometries:
        for count in views:
            for item in items:
                pixel = 2 * min(item.volume.spacing_mm[:2]) * 0.999
                asked = replace(settings, geometry=geometry, views=count, pixel_mm=pixel, arc_degrees=None)
                problem = prepare(item.volume, asked, device, prior.card if prior else None)
                yield from _rows(item, problem, asked, methods, prior)


def _rows(
    item: Item, problem: Problem, settings: Settings, methods: Sequence[str], prior: Prior | None
) -> Iterator[dict[str, Any]]:
    assert problem.reference is not None
    for method in methods:
        chosen = replace(settings, solver=method) if method in SOLVERS else settings
        for label, images, seconds, extra in _run(method, problem, chosen, prior):
            ratios = problem.residuals(images, problem.likelihood).mean(-1)
            for n, index in item.cases:
                image, reference = images[n], problem.reference[n]
                yield {
                    "item": item.name, "modality": "ct", "case": index, "geometry": settings.geometry,
                    "views": settings.views, "method": label,
                    "psnr": round(metrics.psnr(image, reference), 3),
                    "ssim": round(metrics.ssim(image[None], reference[None]), 4),
                    "nrmse": round(metrics.nrmse(image, reference), 4),
                    "residual_ratio": round(float(ratios[n]), 4), **dict.fromkeys(TRUST),
                    "seconds": round(seconds / len(item.indices), 3),
                    **{key: values[n] for key, values in extra.items()},
                }


def _run(
    method: str, problem: Problem, settings: Settings, prior: Prior | None
) -> Iterator[tuple[str, np.ndarray, float, dict[str, list[Any]]]]:
    """(label, images in HU, seconds for all slices, further columns) of a method."""
    start = time.perf_counter()
    whole = slice(0, problem.slices)
    water = problem.likelihood.scaled(settings.water_per_mm, 0.0)
    if method == "fbp":
        analytic = fbp(problem.likelihood.data, problem.geometry, problem.grid)
        image = attenuation_to_hu(analytic, settings.water_per_mm)
        yield "fbp", image.cpu().numpy(), time.perf_counter() - start, {}
    elif method == "tv":
        image = (tv(water, iterations=settings.tv_iterations) - 1) * 1000
        yield "tv", image.cpu().numpy(), time.perf_counter() - start, {}
    elif method == "tv-oracle":
        assert problem.reference is not None
        best, extra = tv_oracle(water, torch.from_numpy(problem.reference))
        yield "tv-oracle", best, time.perf_counter() - start, extra
    else:
        assert prior is not None
        surrogate = tv(water, iterations=SURROGATE_ITERATIONS)
        moments = RunningMoments()
        draw: np.ndarray | None = None
        for state in diffusion_draws(problem, settings, prior, whole, surrogate):
            if state.finished:
                image = resample(state.estimate, *problem.grid.shape) * 1000
                moments.add(image)
                if state.draw == 1:
                    draw, first = image.cpu().numpy(), time.perf_counter() - start
                    extra = {"sigma_start": [round(level, 4) for level in state.sigma_start]}
        assert draw is not None
        yield f"{method}-draw", draw, first, extra
        mean, seconds = moments.mean.cpu().numpy(), time.perf_counter() - start
        trust = _trust(problem, settings, prior, mean, moments.std.cpu().numpy()) if settings.draws > 1 else {}
        yield method, mean, seconds, {**extra, **trust}


def _trust(
    problem: Problem, settings: Settings, prior: Prior, mean: np.ndarray, std: np.ndarray
) -> dict[str, list[float | None]]:
    """The columns of TRUST, a value a slice, over the body's voxels."""
    assert problem.reference is not None
    entry = rule.matching_entry(prior.card.calibration, asked_acquisition(problem, settings, prior)).entry
    columns: dict[str, list[float | None]] = {key: [] for key in TRUST}
    for image, spread, truth, inside in zip(mean, std, problem.reference, rule.body(problem.reference), strict=True):
        error, own = (image - truth)[inside], spread[inside]
        if not error.size:
            for column in columns.values():
                column.append(None)
            continue
        correlation = rule.error_spread_correlation(error, own)
        columns["coverage90"].append(round(rule.coverage(error, own, settings.draws), 4))
        columns["coverage90_calibrated"].append(
            None if entry is None else round(rule.coverage(error, rule.rescaled(own, entry), settings.draws), 4)
        )
        columns["error_spread_corr"].append(None if correlation is None else round(correlation, 4))
    return columns


def tv_oracle(likelihood: GaussianLikelihood, reference: Tensor) -> tuple[np.ndarray, dict[str, list[Any]]]:
    """The strongest TV image: for each slice the best of several weights, judged by the reference itself.

    ``likelihood``: image in units of water; ``reference``: (slices, rows, columns) in HU. Returns images in HU and,
    a slice each, the weight, whether it lies inside the tried range, and the last change of PSNR over 100 steps.
    """
    count, tried = reference.shape[0], len(ORACLE_WEIGHTS)
    many = GaussianLikelihood(
        likelihood.operator, likelihood.data.repeat(tried, 1, 1),
        likelihood.variance.repeat(tried, 1, 1) if likelihood.variance.ndim == 3 else likelihood.variance,
    )
    weight = torch.tensor(ORACLE_WEIGHTS).repeat_interleave(count)
    earlier = image = torch.zeros(0)
    for step, image in enumerate(tv_steps(many, weight=weight, iterations=ORACLE_ITERATIONS), 1):
        if step == ORACLE_ITERATIONS - 100:
            earlier = image
    truth = reference.to(image).repeat(tried, 1, 1)

    def quality(x: Tensor) -> Tensor:
        error = ((x - 1) * 1000 - truth).square().mean((-2, -1))
        return (10 * torch.log10(metrics.CT_RANGE_HU**2 / error)).reshape(tried, count)

    score = quality(image)
    best = score.argmax(0)
    change = (score - quality(earlier)).abs()
    chosen = image.reshape(tried, count, *image.shape[-2:])[best, torch.arange(count)]
    columns: dict[str, list[Any]] = {
        "weight": [ORACLE_WEIGHTS[int(b)] for b in best],
        "weight_is_inside": [0 < int(b) < tried - 1 for b in best],
        "last_change_db": [round(float(change[int(b), n]), 4) for n, b in enumerate(best)],
    }
    return ((chosen - 1) * 1000).cpu().numpy(), columns


def summary(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Lines of a table: PSNR by slice and method, the gain of each solver over tv-oracle, mean and worst; coverage."""
    lines: list[str] = []
    groups = sorted({(r["geometry"], r["views"]) for r in rows}, key=lambda g: (g[0] != "parallel", g[0], -g[1]))
    for geometry, views in groups:
        part = [r for r in rows if (r["geometry"], r["views"]) == (geometry, views)]
        labels = list(dict.fromkeys(r["method"] for r in part))
        lines.append(f"{geometry}, {views} views: PSNR in dB over 2000 HU")
        lines.append(f"  {'item':<42}{'slice':>6}" + "".join(f"{label:>11}" for label in labels))
        gains: dict[str, list[float]] = {}
        for item, case in dict.fromkeys((r["item"], r["case"]) for r in part):
            by = {r["method"]: r["psnr"] for r in part if (r["item"], r["case"]) == (item, case)}
            lines.append(f"  {item[-42:]:<42}{case:>6}" + "".join(f"{by[label]:>11.2f}" for label in labels))
            for label in set(by) & set(SOLVERS) if "tv-oracle" in by else ():
                gains.setdefault(label, []).append(by[label] - by["tv-oracle"])
        means = [np.mean([r["psnr"] for r in part if r["method"] == label]) for label in labels]
        lines.append(f"  {'mean':<42}{'':>6}" + "".join(f"{m:>11.2f}" for m in means))
        for name in ("ssim", "residual_ratio", "seconds"):
            values = [np.mean([r[name] for r in part if r["method"] == label]) for label in labels]
            lines.append(f"  {'mean ' + name:<42}{'':>6}" + "".join(f"{v:>11.3f}" for v in values))
        for name in TRUST:
            known = {m: [r[name] for r in part if r["method"] == m and r.get(name) is not None] for m in labels}
            if any(known.values()):
                cells = "".join(f"{np.mean(v):>11.3f}" if v else f"{'-':>11}" for v in known.values())
                lines.append(f"  {'mean ' + name:<42}{'':>6}" + cells)
        for label, gain in sorted(gains.items()):
            lines.append(f"  {label} minus tv-oracle: mean {np.mean(gain):+.2f} dB, worst slice {min(gain):+.2f} dB")
    return lines
