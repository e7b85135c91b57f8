"""Side-by-side evaluation of a modality on real volumes, without inverse crime, one row a slice.

Items are the volumes of a folder whose slices are large enough; cases the slices at some depths of the stack, each the
middle of a small stack of its own where slices are to be tied: both as the modality's :class:`..modalities.contract.
Cases` say. Its scan is simulated from the native slice; the reference is the mean of native pixels. Known lesions are
then inserted into the native slice, and it is scanned and reconstructed again: see :mod:`.contrast`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from .. import metrics
from ..io.conventions import UNKNOWN_UNIT
from ..io.folder import volumes_below
from ..modalities.contract import Modality
from ..modalities.prepared import Prepared, no_limit
from ..orientation import axial_squares
from ..posterior import calibration as rule
from ..posterior.spread import Spread
from ..priors.library import Prior, load_prior
from ..priors.neighbours import slices_apart
from ..run.drawn import drawn
from ..run.pipeline import choose_device
from ..run.presets import PRESETS
from ..run.settings import Settings
from ..run.verdicts import calibration_for, gain_of
from ..solvers.catalogue import METHODS as SOLVERS
from ..volume import Volume
from .contrast import Twin, columns_of, contrast_kept, coverage_inside, lesions_for
from .lesions import inserted
from .spots import invented

TRUST = ("coverage90", "coverage90_calibrated", "error_spread_corr")


@dataclass(frozen=True, eq=False)
class Item:
    """A volume to evaluate on: its name (path below the folder), the chosen slices and their indices.

    ``counted``: which of them are evaluated, all if None; the others are only reconstructed with them. ``simulated``:
    its truth was made, not measured.
    """

    name: str
    volume: Volume
    indices: tuple[int, ...]
    counted: tuple[int, ...] | None = None
    simulated: bool = False

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
    items, skipped, least, make = [], [], modality.cases.smallest_matrix, modality.cases.made_of
    for place, volume in volumes_below(folder, modality.unit, own=modality.files.image):
        name, simulated = place.as_posix(), False
        if isinstance(volume, str):
            skipped.append(f"{name}: {volume}")
            continue
        question = modality.question(volume)
        made_of = make(volume) if make is not None and question is not None else None
        if made_of is not None:
            volume, question, simulated = made_of, None, True
        elif volume.unit == UNKNOWN_UNIT:
            simulated = True  # no scanner writes relative values: a phantom
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
                    items.append(Item(name, stack, around, (middle,), simulated))
            else:
                chosen = Volume(volume.array[indices], volume.ijk_to_ras, volume.unit)
                items.append(Item(name, chosen, tuple(indices), simulated=simulated))
    return items, skipped


@dataclass(frozen=True, eq=False)
class Made:
    """Images that a method delivers, seconds for all slices, further columns; ``spread``: of several draws."""

    label: str
    images: np.ndarray
    seconds: float
    columns: Mapping[str, Sequence[Any]]
    spread: Spread | None = None


def evaluate(
    items: Sequence[Item], scans: Sequence[Mapping[str, Any]], methods: Sequence[str], settings: Settings,
    lesions: bool = True, called: Mapping[str, str] | None = None, realisations: int = 1,
) -> Iterator[dict[str, Any]]:
    """Rows item, modality, case, what the scan is, method, psnr, ssim, nrmse, residual_ratio, coverage, seconds.

    One a slice. ``scans``: settings of the modality's scan by name, which become columns; ``methods``: out of the
    modality's classical images, its oracles and the solvers of the catalogue; ``called``: what rows call a method, such
    as the preset that the settings are of. Of a solver's draws: "coverage90", the
    share of the body's voxels inside their 90 % interval, "coverage90_calibrated", the same with the card's factor for
    this acquisition, "error_spread_corr", of |error| and spread there; null where there is no such thing.
    ``realisations``: of the noise, each with a seed of its own and the same lesions, told by a column of that name
    where there are several. ``lesions``: scan and reconstruct once more with the modality's known lesions, which
    doubles the time, for the columns of :mod:`.contrast`; an oracle has none, as its choice would not be the same
    twice.
    """
    modality = settings.entry
    known = (*(image.name for image in modality.classical), *modality.oracles, *SOLVERS)
    unknown = sorted(set(methods) - set(known))
    if unknown:
        raise ValueError(f"unknown methods {unknown}: choose from {known}")
    device = choose_device(settings.device)
    prior = load_prior(settings.prior, device, modality.unit) if set(methods) & set(SOLVERS) else None
    for scan in scans:
        for item in items:
            pixel = modality.cases.binned * min(item.volume.spacing_mm[:2]) * 0.999
            card = prior.card if prior else None
            for n in range(realisations):
                seed, told = settings.seed + n, {"realisation": n} if realisations > 1 else {}
                asked = settings.changed(**{**modality.cases.fixed, **scan, "pixel_mm": pixel, "seed": seed})
                problem = modality.prepare(item.volume, asked, device, card, no_limit)
                wanted = lesions_for(item.volume, item.cases, modality, settings.seed, problem.frame) if lesions else []
                twin = Twin(
                    modality.prepare(inserted(item.volume, wanted), asked, device, card, no_limit), wanted
                ) if wanted else None
                yield from _rows(item, {**scan, **told}, problem, twin, asked, methods, called or {}, prior)


def _rows(
    item: Item, scan: Mapping[str, Any], problem: Prepared[Any], twin: Twin | None, settings: Settings,
    methods: Sequence[str], called: Mapping[str, str], prior: Prior | None,
) -> Iterator[dict[str, Any]]:
    assert problem.reference is not None
    trust = settings.entry.trust
    usual = trust.value_range * trust.unit(problem.scale)
    for method in methods:
        chosen = replace(settings, solver=method) if method in SOLVERS else settings
        all_made = list(_run(method, problem, chosen, prior))
        again: Sequence[Made | None] = [None] * len(all_made)
        if twin is not None and method not in settings.entry.oracles:
            again = list(_run(method, twin.problem, chosen, prior))
        for made, other in zip(all_made, again, strict=True):
            ratios = problem.residuals(made.images).mean(-1)
            images = problem.shown(made.images)
            extra = {**made.columns, **_of_lesions(problem, twin, made, other, chosen, prior)}
            for n, index in item.cases:
                image, reference = images[n], problem.reference[n]
                yield {
                    "item": item.name, "modality": settings.modality, **_set(item, settings), "case": index, **scan,
                    "method": made.label.replace(method, called.get(method, method), 1),
                    "psnr": round(metrics.psnr(image, reference, usual), 3),
                    "ssim": round(metrics.ssim(image[None], reference[None], usual), 4),
                    "nrmse": round(metrics.nrmse(image, reference), 4),
                    "residual_ratio": round(float(ratios[n]), 4), **_spots(item, problem, image, n, settings),
                    **dict.fromkeys(TRUST),
                    **dict.fromkeys(columns_of(settings.entry)), "seconds": round(made.seconds / len(item.indices), 3),
                    **{key: values[n] for key, values in extra.items()},
                }


def _set(item: Item, settings: Settings) -> dict[str, str]:
    """Of which set an item is, where a modality makes truth."""
    return {} if settings.entry.cases.made_of is None else {"set": "simulated" if item.simulated else "real"}


def _spots(item: Item, problem: Prepared[Any], image: np.ndarray, n: int, settings: Settings) -> dict[str, int]:
    """The number of invented spots, where a modality makes truth."""
    if settings.entry.cases.made_of is None:
        return {}
    assert problem.reference is not None
    wide, tall = problem.frame.spacing_mm[:2]
    unit = settings.entry.trust.unit(problem.scale)
    return {"invented": invented(image, problem.reference[n], (tall, wide), unit)}


def _of_lesions(
    problem: Prepared[Any], twin: Twin | None, made: Made, other: Made | None, settings: Settings, prior: Prior | None
) -> Mapping[str, Sequence[Any]]:
    """The columns of :mod:`.contrast`, a value a slice; none without a second run."""
    if twin is None or other is None:
        return {}
    images = twin.problem.shown(other.images)
    columns = contrast_kept(problem.shown(made.images), images, problem, twin, settings.entry)
    if other.spread is not None and prior is not None:
        entry = calibration_for(problem, settings, prior).entry
        known = None if entry is None else other.spread.calibrated(entry, settings.entry.trust.classes)
        columns |= coverage_inside(other.spread, known, twin)
    return columns


def _run(method: str, problem: Prepared[Any], settings: Settings, prior: Prior | None) -> Iterator[Made]:
    """The images of a method, or first draw and mean."""
    start = time.perf_counter()
    system, modality = problem.delivered, settings.entry
    if method in modality.oracles:
        assert problem.reference is not None
        best, chosen = modality.oracles[method](system, problem.reference)
        yield Made(method, best, time.perf_counter() - start, chosen)
    elif method not in SOLVERS:
        image = problem.classical(method, settings.iterations(method))
        yield Made(method, problem.scale.from_network(image).cpu().numpy(), time.perf_counter() - start, {})
    else:
        assert prior is not None
        made = drawn(problem, settings, prior)
        entry = calibration_for(problem, settings, prior).entry
        extra = {"sigma_start": [round(level, 4) for level in made.sigma_start]}
        yield Made(f"{method}-draw", made.first, made.seconds[0], extra)
        if made.spread is None:
            yield Made(method, made.mean, made.seconds[1], extra)
            return
        gain = gain_of(problem, settings, prior) or 0.0
        spread = made.spread.moved(gain)
        trust = _trust(problem, settings, entry, spread)
        yield Made(method, spread.mean if gain else made.mean, made.seconds[1], {**extra, **trust}, spread)


def _trust(
    problem: Prepared[Any], settings: Settings, entry: Mapping[str, Any] | None, spread: Spread
) -> dict[str, list[float | None]]:
    """The columns of TRUST, a value a slice, over the body's voxels."""
    assert problem.reference is not None
    trust = settings.entry.trust
    known = None if entry is None else spread.calibrated(entry, trust.classes)
    body = trust.body(problem.reference)
    columns: dict[str, list[float | None]] = {key: [] for key in TRUST}
    for n, (truth, inside) in enumerate(zip(problem.reference, body, strict=True)):
        error, own = (spread.mean[n] - truth)[inside], spread.std[n][inside]
        if not error.size:
            for column in columns.values():
                column.append(None)
            continue
        correlation = rule.error_spread_correlation(error, own)
        columns["coverage90"].append(round(rule.coverage(error, own, settings.draws), 4))
        columns["coverage90_calibrated"].append(
            None if known is None else round(rule.coverage(error, known[n][inside], settings.draws), 4)
        )
        columns["error_spread_corr"].append(None if correlation is None else round(correlation, 4))
    return columns


def summary(rows: Sequence[dict[str, Any]], modality: Modality) -> list[str]:
    """Lines of a table: PSNR by slice and method, gain of each solver over the oracle, mean and worst; further means.

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
            for label in set(by) & {*SOLVERS, *PRESETS} if best in by else ():
                gains.setdefault(label, []).append(by[label] - by[best])
        means = [np.mean([r["psnr"] for r in part if r["method"] == label]) for label in labels]
        lines.append(f"  {'mean':<42}{'':>6}" + "".join(f"{m:>11.2f}" for m in means))
        for name in [name for name in ("nrmse", "ssim", "residual_ratio", "seconds") if all(name in r for r in part)]:
            values = [np.mean([r[name] for r in part if r["method"] == label]) for label in labels]
            lines.append(f"  {'mean ' + name:<42}{'':>6}" + "".join(f"{v:>11.3f}" for v in values))
        for name in (*TRUST, *columns_of(modality)):
            known = {m: [r[name] for r in part if r["method"] == m and r.get(name) is not None] for m in labels}
            if any(known.values()):
                cells = "".join(f"{np.mean(v):>11.3f}" if v else f"{'-':>11}" for v in known.values())
                lines.append(f"  {'mean ' + name:<42}{'':>6}" + cells)
        for label, gain in sorted(gains.items()):
            lines.append(f"  {label} minus {best}: mean {np.mean(gain):+.2f} dB, worst slice {min(gain):+.2f} dB")
    return lines
