"""Where to look first: the regions of a result that the draws or the measurement leave open."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..volume import Volume
from .intervals import spread_factor, spread_in_words, spread_of
from .pieces import pieces
from .structures import structure_half_width
from .worth import local_contrast, score_mm

SHARE_FLOOR = 0.25
"""A large not-seen share counts only where the half width reaches this part of its threshold: a large share of next
to nothing is nothing."""

UNCERTAIN, NOT_SEEN = "uncertain", "not determined by the scan"
BOTH = "uncertain and not determined by the scan"
PRIOR_DECIDED, DATA_DISAGREE = "the model decided", "the data and this image disagree"
DECIDED_AND_DISAGREE = "the model decided, and the data and this image disagree"
WARNED = (PRIOR_DECIDED, DATA_DISAGREE, DECIDED_AND_DISAGREE)
"""Reasons of findings that a map warned of, see :mod:`.warned`."""
FROM_DRAWS, FROM_MAP = "draws", "map"
MAP_IN_WORDS = "average half width of the voxels, from the map"

Place = tuple[float, float, float]


@dataclass(frozen=True)
class Finding:
    """One region. Places are RAS in mm; ``mean_value``, ``interval`` and ``half_width`` are in the image's unit.

    ``reason``: one of UNCERTAIN, NOT_SEEN, BOTH and WARNED. ``basis`` of both widths: "draws" or "map". From
    the draws, ``interval`` goes from the smallest to the largest mean over the region of a draw, or holds that of a
    further one with probability ``level`` where there is one; from the map it is the mean and the average of the
    voxels' half widths to both sides, as if all voxels erred together. ``half_width``: the largest of a voxel in the
    region, see :func:`half_width`. A calibration stretches the widths from the map, not those from the draws.
    ``not_seen_share``: mean share of the variance, 0..1, None without that map. ``segment``: the smallest segment that
    holds half of the region, else the one that holds most of it, None outside all. ``contrast``: of the tissue around
    it, see :func:`.worth.local_contrast`, the root of its mean square over the region; ``score_mm``: what the region is
    ranked by, see :func:`.worth.score_mm`; both None in findings that were made before there was a score, and the score
    in those that a map warned of. ``z``: of the map there, in standard deviations of its null, None without a warning.
    """

    number: int
    reason: str
    centre_ras_mm: Place
    peak_ras_mm: Place
    volume_mm3: float
    mean_value: float
    interval: tuple[float, float]
    not_seen_share: float | None
    segment: str | None
    half_width: float
    basis: str
    level: float | None = None
    contrast: float | None = None
    score_mm: float | None = None
    z: float | None = None

    @property
    def spread(self) -> float:
        """Half the width of ``interval``."""
        return (self.interval[1] - self.interval[0]) / 2

    def spread_in_words(self, draws: int | None) -> str:
        """What the ends of ``interval`` are, one phrase for the user; ``draws``: how many there were."""
        return spread_in_words(draws, self.level) if self.basis == FROM_DRAWS else MAP_IN_WORDS


@dataclass(frozen=True, eq=False)
class Regions:
    """The findings, ranked from 1 on, and ``labels`` (slices, rows, columns) int32: a finding's number, 0 elsewhere.

    ``count``: how many regions there were before the lowest ranks were left out.
    """

    findings: tuple[Finding, ...]
    labels: np.ndarray
    count: int


def half_width(uncertainty: np.ndarray, draw_count: int | None) -> np.ndarray:
    """Half width of every voxel: its standard deviation times the factor of :func:`spread_factor` for its draws.

    It covers 90 % of voxels where the map was calibrated, and for draws from the posterior; else it is a measure only.
    """
    return uncertainty * spread_factor(draw_count)


def find_regions(
    uncertainty: Volume,
    mean: Volume,
    not_seen_share: Volume | None,
    draws: Sequence[np.ndarray],
    threshold: float,
    share_threshold: float,
    minimum_mm3: float,
    segments: Mapping[str, np.ndarray],
    *,
    draw_count: int | None = None,
    level: float | None = None,
    readable: float = 0.0,
    least_score_mm: float = 0.0,
    most: int | None = None,
) -> Regions:
    """Regions, connected by faces in 3D, whose spread is wide or whose uncertainty the measurement cannot lessen.

    A voxel belongs to one when half width >= ``threshold``, or when share >= ``share_threshold`` and half width >=
    SHARE_FLOOR x threshold; the half width is that of a structure around it, see
    :func:`.structures.structure_half_width`. What is connected over more than can be looked at is split at its peaks,
    see :func:`.pieces.pieces`. The order is by :func:`.worth.score_mm`, the highest first: a region is worth a look
    when its spread could make or hide what is seen there.
    ``uncertainty``: standard deviation, in the unit of ``mean``, as is ``threshold``; ``not_seen_share`` and
    ``share_threshold``: 0..1; ``draws``: arrays of the mean's shape, may be empty; ``minimum_mm3``: smaller regions
    are left out; ``segments``: masks of the mean's shape by name; ``draw_count``: number of draws behind the map when
    the draws themselves are not given (None: many); ``level``: of prediction intervals, as far as
    :func:`.intervals.claimed_level` allows them, None: smallest to largest; ``readable``: the smallest contrast that a
    reader tells from none, in the image's unit; ``least_score_mm``: regions of a lower score are left out;
    ``most``: so many are kept, those ranked first (None: all). Raises ValueError for sizes that do not fit and
    thresholds out of range, FloatingPointError for NaN or infinity.
    """
    _check(uncertainty, mean, not_seen_share, draws, segments)
    if not threshold > 0 or not 0 < share_threshold <= 1 or not minimum_mm3 >= 0:
        raise ValueError(
            "expected a threshold above 0, a share threshold up to 1 and a volume of at least 0, found "
            f"{threshold}, {share_threshold} and {minimum_mm3}: correct them"
        )
    if not readable >= 0 or not least_score_mm >= 0:
        raise ValueError(
            "expected a readable contrast and a least score of at least 0, found "
            f"{readable} and {least_score_mm}: correct them"
        )
    factor = spread_factor(len(draws) if len(draws) > 1 else draw_count)
    columns, rows, slices = np.linalg.norm(mean.ijk_to_ras[:3, :3], axis=0).tolist()
    spacing = (slices, rows, columns)
    voxels = np.asarray(uncertainty.array, np.float64) * factor
    wide = structure_half_width(voxels, draws, spacing)
    uncertain = wide >= threshold
    unseen = np.zeros_like(uncertain)
    if not_seen_share is not None:
        unseen = (not_seen_share.array >= share_threshold) & (wide >= SHARE_FLOOR * threshold)
    parts = pieces(uncertain | unseen, wide, spacing, threshold)
    contrast = local_contrast(mean.array, spacing)
    voxel_mm3 = float(abs(np.linalg.det(mean.ijk_to_ras[:3, :3])))
    sizes = np.bincount(parts.ravel())
    places, totals = _places(parts, sizes), {name: int(np.count_nonzero(mask)) for name, mask in segments.items()}
    found = []
    for part in range(1, len(sizes)):
        # One part of 1e9 against sizes that miss the minimum by rounding alone.
        if sizes[part] * voxel_mm3 < minimum_mm3 * (1 - 1e-9):
            continue
        place = np.unravel_index(places[part - 1], parts.shape)
        widths = voxels[place]
        value = float(np.mean(mean.array[place], dtype=np.float64))
        interval, largest, basis = widths_of(value, draws, widths, factor, place, level)
        around, volume = float(np.sqrt(np.mean(contrast[place] ** 2))), len(widths) * voxel_mm3
        score = score_mm((interval[1] - interval[0]) / 2, around, volume, readable)
        if score < least_score_mm:
            continue
        indices = np.stack(place, axis=1)
        finding = Finding(
            number=0,
            reason=_reason(bool(uncertain[place].any()), bool(unseen[place].any())),
            centre_ras_mm=ras_of(mean, indices.mean(axis=0)),
            peak_ras_mm=ras_of(mean, _peak(indices, wide[place])),
            volume_mm3=volume,
            mean_value=value,
            interval=interval,
            not_seen_share=(
                None if not_seen_share is None else float(np.mean(not_seen_share.array[place], dtype=np.float64))
            ),
            segment=segment_of(segments, totals, place),
            half_width=largest,
            basis=basis,
            level=level if basis == FROM_DRAWS else None,
            contrast=around,
            score_mm=score,
        )
        found.append((finding, place))
    found.sort(key=lambda each: -(each[0].score_mm or 0.0))
    labels, kept = np.zeros(parts.shape, np.int32), found[:most]
    for number, (_, place) in enumerate(kept, 1):
        labels[place] = number
    ranked = tuple(replace(finding, number=number) for number, (finding, _) in enumerate(kept, 1))
    return Regions(ranked, labels, len(found))


def _check(
    uncertainty: Volume,
    mean: Volume,
    share: Volume | None,
    draws: Sequence[np.ndarray],
    masks: Mapping[str, np.ndarray],
) -> None:
    arrays = {"uncertainty": uncertainty.array, **{f"draw {n}": draw for n, draw in enumerate(draws, 1)}}
    if share is not None:
        arrays["not-seen share"] = share.array
    for name, array in {**arrays, **{f"segment {name}": mask for name, mask in masks.items()}}.items():
        if np.shape(array) != mean.array.shape:
            raise ValueError(
                f"expected the {name} in the mean's shape {mean.array.shape}, found {np.shape(array)}: "
                "give volumes of one result"
            )
    for name, array in {"mean": mean.array, **arrays}.items():
        if not np.isfinite(array).all():
            raise FloatingPointError(f"the {name} holds NaN or infinite values: no findings can be given")


def _places(parts: np.ndarray, sizes: np.ndarray) -> list[np.ndarray]:
    """The flat indices of every part from 1 on, each in the order of the volume, which is gone through once."""
    inside = np.flatnonzero(parts)
    by_part = inside[np.argsort(parts.ravel()[inside], kind="stable")]
    return np.split(by_part, np.cumsum(sizes[1:])[:-1])


def widths_of(
    value: float,
    draws: Sequence[np.ndarray],
    widths: np.ndarray,
    factor: float,
    place: tuple[np.ndarray, ...],
    level: float | None,
) -> tuple[tuple[float, float], float, str]:
    """The region's interval, its largest half width and what both rest on: never one on the draws, one on the map."""
    if len(draws) > 1:
        values = np.stack([draw[place] for draw in draws]).astype(np.float64)
        largest = float((values.std(axis=0, ddof=1) * factor).max())
        return spread_of(values.mean(axis=1), level), largest, FROM_DRAWS
    half = float(widths.mean())
    return (value - half, value + half), float(widths.max()), FROM_MAP


def _reason(uncertain: bool, unseen: bool) -> str:
    if uncertain and unseen:
        return BOTH
    return UNCERTAIN if uncertain else NOT_SEEN


def _peak(indices: np.ndarray, widths: np.ndarray) -> np.ndarray:
    """The index with the largest half width; of several as large the one nearest to the region's centre."""
    largest = indices[widths >= widths.max() * (1 - 1e-6)]
    return largest[int(np.argmin(np.linalg.norm(largest - indices.mean(axis=0), axis=1)))]


def ras_of(volume: Volume, kji: np.ndarray) -> Place:
    """Place of an index (k, j, i), which may lie between voxels."""
    right, anterior, superior = (volume.ijk_to_ras[:3] @ [kji[2], kji[1], kji[0], 1.0]).tolist()
    return right, anterior, superior


def segment_of(
    segments: Mapping[str, np.ndarray], totals: Mapping[str, int], place: tuple[np.ndarray, ...]
) -> str | None:
    """The smallest of the segments that hold half of the region or more, else the one that holds most of it.

    Segments may lie within one another, as an organ does in a body. ``totals``: their voxels.
    """
    held = {name: int(np.count_nonzero(mask[place])) for name, mask in segments.items()}
    if not any(held.values()):
        return None
    holders = [name for name, count in held.items() if 2 * count >= len(place[0])]
    if holders:
        return min(holders, key=lambda name: totals[name])
    return max(held, key=lambda name: held[name])
