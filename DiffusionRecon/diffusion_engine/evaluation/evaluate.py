"""Side-by-side evaluation of a modality on real volumes, without inverse crime, one row a slice.

Items are the volumes of a folder whose slices are large enough; cases the slices at some depths of the stack, each the
middle of a small stack of its own where slices are to be tied: both as the modality's :class:`..modalities.contract.
Cases` say. Its scan is simulated from the native slice; the reference is the mean of native pixels.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from .. import metrics
from ..io.folder import volumes_below
from ..modalities.contract import Modality
from ..modalities.prepared import Prepared, no_limit
from ..orientation import axial_squares
from ..posterior import calibration as rule
from ..posterior.moments import RunningMoments
from ..priors.library import Prior, load_prior
from ..priors.neighbours import slices_apart
from ..priors.slices import resample
from ..run.costs import fallback_iterations
from ..run.draws import asked_acquisition, diffusion_draws
from ..run.pipeline import choose_device
from ..run.settings import Settings
from ..solvers.catalogue import METHODS as SOLVERS
from ..volume import Volume

TRUST = ("coverage90", "coverage90_calibrated", "error_spread_corr")


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


def find_items(folder: Path, modality: Modality, tied: bool = False) -> tuple[list[Item], list[str]]:
    """The items of a folder by the rule above, and one line for each image that was left out, with the reason.

    Volumes are turned upright, see :func:`axial_squares`: slices are counted from the lowest one.
    ``tied``: slices are to be tied to their neighbours, so that an item is a slice with its own.
    """
    if not folder.is_dir():
        raise ValueError(f"expected a folder of image volumes, found none at {folder}: give an existing folder")
    items, skipped, least = [], [], modality.cases.smallest_matrix
    for place, volume in volumes_below(folder, modality.unit):
        name = place.as_posix()
        if isinstance(volume, str):
            skipped.append(f"{name}: {volume}")
            continue
        question = modality.question(volume)
        if question is not None:
            skipped.append(f"{name}: not {modality.title} ({question})")
            continue
        try:
            volume, made = axial_squares(volume)
        except ValueError as error:
            skipped.append(f"{name}: {error}")
            continue
        name = f"{name} ({made})" if made else name
        rows, columns = volume.array.shape[1:]
        if min(rows, columns) < least:
            skipped.append(f"{name}: slices of {rows} x {columns} pixels, fewer than {least} x {least}")
        else:
            indices = indices_at(volume, modality.cases.depths)
            if tied:
                for index in indices:
                    stack, around, middle = stack_around(volume, index)
                    items.append(Item(name, stack, around, (middle,)))
            else:
                chosen = Volume(volume.array[indices], volume.ijk_to_ras, modality.unit)
                items.append(Item(name, chosen, tuple(indices)))
    return items, skipped


def evaluate(
    items: Sequence[Item], scans: Sequence[Mapping[str, Any]], methods: Sequence[str], settings: Settings
) -> Iterator[dict[str, Any]]:
    """Rows item, modality, case, what the scan is, method, psnr, ssim, nrmse, residual_ratio, coverage, seconds.

    One a slice. ``scans``: settings of the modality's scan by name, which become columns; ``methods``: out of the
    modality's classical images, its oracles and the solvers of the catalogue. Of a solver's draws: "coverage90", the
    share of the body's voxels inside their 90 % interval, "coverage90_calibrated", the same with the card's factor for
    this acquisition, "error_spread_corr", of |error| and spread there; null where there is no such thing.
    """
    modality = settings.entry
    known = (*(image.name for image in modality.classical), *modality.oracles, *SOLVERS)
    unknown = sorted(set(methods) - set(known))
    if unknown:
        raise ValueError(f"unknown methods {unknown}: choose from {known}")
    device = choose_device(settings.device)
    prior = None
    if set(methods) & set(SOLVERS):
        prior = load_prior(settings.prior, device, modality.unit, imaginary_std=modality.imaginary_std)
    for scan in scans:
        for item in items:
            pixel = modality.cases.binned * min(item.volume.spacing_mm[:2]) * 0.999
            asked = settings.changed(**{**modality.cases.fixed, **scan, "pixel_mm": pixel})
            problem = modality.prepare(item.volume, asked, device, prior.card if prior else None, no_limit)
            yield from _rows(item, scan, problem, asked, methods, prior)


def _rows(
    item: Item, scan: Mapping[str, Any], problem: Prepared[Any], settings: Settings, methods: Sequence[str],
    prior: Prior | None,
) -> Iterator[dict[str, Any]]:
    assert problem.reference is not None
    trust = settings.entry.trust
    usual = trust.value_range * trust.unit(problem.scale)
    for method in methods:
        chosen = replace(settings, solver=method) if method in SOLVERS else settings
        for label, computed, seconds, extra in _run(method, problem, chosen, prior):
            ratios = problem.residuals(computed).mean(-1)
            images = problem.shown(computed)
            for n, index in item.cases:
                image, reference = images[n], problem.reference[n]
                yield {
                    "item": item.name, "modality": settings.modality, "case": index, **scan, "method": label,
                    "psnr": round(metrics.psnr(image, reference, usual), 3),
                    "ssim": round(metrics.ssim(image[None], reference[None], usual), 4),
                    "nrmse": round(metrics.nrmse(image, reference), 4),
                    "residual_ratio": round(float(ratios[n]), 4), **dict.fromkeys(TRUST),
                    "seconds": round(seconds / len(item.indices), 3),
                    **{key: values[n] for key, values in extra.items()},
                }


def _run(
    method: str, problem: Prepared[Any], settings: Settings, prior: Prior | None
) -> Iterator[tuple[str, np.ndarray, float, Mapping[str, Sequence[Any]]]]:
    """(label, delivered images, seconds for all slices, further columns) of a method."""
    start = time.perf_counter()
    whole, system, modality = slice(0, problem.slices), problem.delivered, settings.entry
    if method in modality.oracles:
        assert problem.reference is not None
        best, chosen = modality.oracles[method](system, problem.reference)
        yield method, best, time.perf_counter() - start, chosen
    elif method not in SOLVERS:
        image = problem.classical(method, settings.iterations(method))
        yield method, problem.scale.from_network(image).cpu().numpy(), time.perf_counter() - start, {}
    else:
        assert prior is not None
        surrogate = problem.classical(modality.fallback, fallback_iterations(settings, False))
        moments = RunningMoments()
        draw: np.ndarray | None = None
        for state in diffusion_draws(problem, settings, prior, whole, surrogate):
            if state.finished:
                image = problem.scale.from_network(resample(state.estimate, *system.grid.shape))
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
    problem: Prepared[Any], settings: Settings, prior: Prior, mean: np.ndarray, std: np.ndarray
) -> dict[str, list[float | None]]:
    """The columns of TRUST, a value a slice, over the body's voxels."""
    assert problem.reference is not None
    trust = settings.entry.trust
    entry = rule.matching_entry(prior.card.calibration, asked_acquisition(problem, settings, prior), trust).entry
    body = trust.body(problem.reference)
    columns: dict[str, list[float | None]] = {key: [] for key in TRUST}
    for image, spread, truth, inside in zip(problem.shown(mean), std, problem.reference, body, strict=True):
        error, own = (image - truth)[inside], spread[inside]
        if not error.size:
            for column in columns.values():
                column.append(None)
            continue
        correlation = rule.error_spread_correlation(error, own)
        columns["coverage90"].append(round(rule.coverage(error, own, settings.draws), 4))
        columns["coverage90_calibrated"].append(
            None if entry is None
            else round(rule.coverage(error, rule.rescaled(own, entry, trust.unit(problem.scale)), settings.draws), 4)
        )
        columns["error_spread_corr"].append(None if correlation is None else round(correlation, 4))
    return columns


def summary(rows: Sequence[dict[str, Any]], modality: Modality) -> list[str]:
    """Lines of a table: PSNR by slice and method, the gain of each solver over the oracle, mean and worst; coverage.

    A block for each scan, in the order in which they come.
    """
    lines: list[str] = []
    best = next(iter(modality.oracles), "")
    for words in dict.fromkeys(modality.in_words(row) for row in rows):
        part = [r for r in rows if modality.in_words(r) == words]
        labels = list(dict.fromkeys(r["method"] for r in part))
        unit = "network units" if modality.trust.relative else modality.unit
        lines.append(f"{words}: PSNR in dB over {modality.trust.value_range:g} {unit}")
        lines.append(f"  {'item':<42}{'slice':>6}" + "".join(f"{label:>11}" for label in labels))
        gains: dict[str, list[float]] = {}
        for item, case in dict.fromkeys((r["item"], r["case"]) for r in part):
            by = {r["method"]: r["psnr"] for r in part if (r["item"], r["case"]) == (item, case)}
            lines.append(f"  {item[-42:]:<42}{case:>6}" + "".join(f"{by[label]:>11.2f}" for label in labels))
            for label in set(by) & set(SOLVERS) if best in by else ():
                gains.setdefault(label, []).append(by[label] - by[best])
        means = [np.mean([r["psnr"] for r in part if r["method"] == label]) for label in labels]
        lines.append(f"  {'mean':<42}{'':>6}" + "".join(f"{m:>11.2f}" for m in means))
        for name in [name for name in ("nrmse", "ssim", "residual_ratio", "seconds") if all(name in r for r in part)]:
            values = [np.mean([r[name] for r in part if r["method"] == label]) for label in labels]
            lines.append(f"  {'mean ' + name:<42}{'':>6}" + "".join(f"{v:>11.3f}" for v in values))
        for name in TRUST:
            known = {m: [r[name] for r in part if r["method"] == m and r.get(name) is not None] for m in labels}
            if any(known.values()):
                cells = "".join(f"{np.mean(v):>11.3f}" if v else f"{'-':>11}" for v in known.values())
                lines.append(f"  {'mean ' + name:<42}{'':>6}" + cells)
        for label, gain in sorted(gains.items()):
            lines.append(f"  {label} minus {best}: mean {np.mean(gain):+.2f} dB, worst slice {min(gain):+.2f} dB")
    return lines
