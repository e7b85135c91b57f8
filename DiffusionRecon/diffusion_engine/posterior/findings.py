"""Where to look first: the regions of a result that the draws or the measurement leave open."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from ..volume import Volume
from .intervals import spread_factor, spread_in_words, spread_of

SHARE_FLOOR = 0.25
"""A large not-seen share counts only where the half width reaches this part of its threshold: a large share of next
to nothing is nothing."""

UNCERTAIN, NOT_SEEN, BOTH = "uncertain", "not seen", "uncertain and not seen"
FROM_DRAWS, FROM_MAP = "draws", "map"
MAP_IN_WORDS = "average half width of the voxels, from the map"

Place = tuple[float, float, float]


@dataclass(frozen=True)
class Finding:
    """One region. Places are RAS in mm; ``mean_value``, ``interval`` and ``half_width`` are in the image's unit.

    ``reason``: "uncertain", "not seen" or "uncertain and not seen". ``basis`` of both widths: "draws" or "map". From
    the draws, ``interval`` goes from the smallest to the largest mean over the region of a draw, or holds that of a
    further one with probability ``level`` where there is one; from the map it is the mean and the average of the
    voxels' half widths to both sides, as if all voxels erred together. ``half_width``: the largest of a voxel in the
    region, see :func:`half_width`; where a calibration has stretched the map, the widths from the map are stretched and
    those from the draws are not. ``not_seen_share``: mean share of the variance, 0..1, None without that map.
    ``segment``: the smallest segment that holds half of the region, else the one that holds most of it, None outside
    all.
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

    def spread_in_words(self, draws: int | None) -> str:
        """What the ends of ``interval`` are, one phrase for the user; ``draws``: how many there were."""
        return spread_in_words(draws, self.level) if self.basis == FROM_DRAWS else MAP_IN_WORDS


@dataclass(frozen=True, eq=False)
class Regions:
    """The findings, weightiest first, and ``labels`` (slices, rows, columns) int32: a finding's number, 0 elsewhere."""

    findings: tuple[Finding, ...]
    labels: np.ndarray


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
) -> Regions:
    """Regions, connected by faces in 3D, whose spread is wide or whose uncertainty the measurement cannot lessen.

    A voxel belongs to one when half width >= ``threshold``, or when share >= ``share_threshold`` and half width >=
    SHARE_FLOOR x threshold. The order is by the half width summed over the region, the largest first.
    ``uncertainty``: standard deviation, in the unit of ``mean``, as is ``threshold``; ``not_seen_share`` and
    ``share_threshold``: 0..1; ``draws``: arrays of the mean's shape, may be empty; ``minimum_mm3``: smaller regions
    are left out; ``segments``: masks of the mean's shape by name; ``draw_count``: number of draws behind the map when
    the draws themselves are not given (None: many); ``level``: of prediction intervals, as far as
    :func:`.intervals.claimed_level` allows them, None: smallest to largest. Raises ValueError for sizes that do not fit
    and thresholds out of range, FloatingPointError for NaN or infinity.
    """
    _check(uncertainty, mean, not_seen_share, draws, segments)
    if not threshold > 0 or not 0 < share_threshold <= 1 or not minimum_mm3 >= 0:
        raise ValueError(
            "expected a threshold above 0, a share threshold up to 1 and a volume of at least 0, found "
            f"{threshold}, {share_threshold} and {minimum_mm3}: correct them"
        )
    wide = half_width(np.asarray(uncertainty.array, np.float64), len(draws) if len(draws) > 1 else draw_count)
    uncertain = wide >= threshold
    unseen = np.zeros_like(uncertain)
    if not_seen_share is not None:
        unseen = (not_seen_share.array >= share_threshold) & (wide >= SHARE_FLOOR * threshold)
    parts = _components(uncertain | unseen)
    voxel_mm3 = float(abs(np.linalg.det(mean.ijk_to_ras[:3, :3])))
    sizes = np.bincount(parts.ravel())
    weights = np.bincount(parts.ravel(), wide.ravel())
    # One part of 1e9 against sizes that miss the minimum by rounding alone.
    kept = [part for part in range(1, len(sizes)) if sizes[part] * voxel_mm3 >= minimum_mm3 * (1 - 1e-9)]
    kept.sort(key=lambda part: -weights[part])
    labels = np.zeros(parts.shape, np.int32)
    found = []
    places, totals = _places(parts, sizes), {name: int(np.count_nonzero(mask)) for name, mask in segments.items()}
    for number, part in enumerate(kept, 1):
        place = np.unravel_index(places[part - 1], parts.shape)
        labels[place] = number
        widths = wide[place]
        share = None if not_seen_share is None else float(np.mean(not_seen_share.array[place], dtype=np.float64))
        value = float(np.mean(mean.array[place], dtype=np.float64))
        interval, largest, basis = _widths(value, draws, widths, place, level)
        indices = np.stack(place, axis=1)
        found.append(
            Finding(
                number=number,
                reason=_reason(bool(uncertain[place].any()), bool(unseen[place].any())),
                centre_ras_mm=_ras(mean, indices.mean(axis=0)),
                peak_ras_mm=_ras(mean, _peak(indices, widths)),
                volume_mm3=len(widths) * voxel_mm3,
                mean_value=value,
                interval=interval,
                not_seen_share=share,
                segment=_segment(segments, totals, place),
                half_width=largest,
                basis=basis,
                level=level if basis == FROM_DRAWS else None,
            )
        )
    return Regions(tuple(found), labels)


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


def _components(mask: np.ndarray) -> np.ndarray:
    """Numbers of the parts connected by faces; noise joins up more easily over edges and corners."""
    image = sitk.GetImageFromArray(mask.astype(np.uint8))
    return sitk.GetArrayFromImage(sitk.ConnectedComponent(image, False)).astype(np.int64)


def _widths(
    value: float, draws: Sequence[np.ndarray], widths: np.ndarray, place: tuple[np.ndarray, ...], level: float | None
) -> tuple[tuple[float, float], float, str]:
    """The region's interval, its largest half width and what both rest on: never one on the draws, one on the map."""
    if len(draws) > 1:
        values = np.stack([draw[place] for draw in draws]).astype(np.float64)
        largest = float(half_width(values.std(axis=0, ddof=1), len(draws)).max())
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


def _ras(volume: Volume, kji: np.ndarray) -> Place:
    """Place of an index (k, j, i), which may lie between voxels."""
    right, anterior, superior = (volume.ijk_to_ras[:3] @ [kji[2], kji[1], kji[0], 1.0]).tolist()
    return right, anterior, superior


def _segment(
    segments: Mapping[str, np.ndarray], totals: Mapping[str, int], place: tuple[np.ndarray, ...]
) -> str | None:
    """The smallest of the segments that hold half of the region or more, else the one that holds most of it.

    Segments may lie within one another: a lung in a body. ``totals``: their voxels.
    """
    held = {name: int(np.count_nonzero(mask[place])) for name, mask in segments.items()}
    if not any(held.values()):
        return None
    holders = [name for name, count in held.items() if 2 * count >= len(place[0])]
    if holders:
        return min(holders, key=lambda name: totals[name])
    return max(held, key=lambda name: held[name])
