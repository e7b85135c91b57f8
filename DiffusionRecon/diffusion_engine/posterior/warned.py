"""Findings that a map warned of, ranked before those of the spread: a lesion that was lost has none to be found by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..volume import Volume
from .findings import DECIDED_AND_DISAGREE, Finding, Place, Regions, ras_of, segment_of, widths_of
from .intervals import spread_factor
from .warnings import APART_MM
from .worth import local_contrast

REACH_MM = 15.0
"""A warning's region lies within so much of its peak."""
PEAK_SHARE = 0.5
"""A region goes down to this part of its peak."""


@dataclass(frozen=True, eq=False)
class Warned:
    """What one map says: its ``reason`` in a finding, the map ``z`` (standard deviations of its null), the
    ``threshold`` of |z|, and the places (RAS, mm) that it warns of."""

    reason: str
    z: Volume
    threshold: float
    places: tuple[Place, ...]


def with_warnings(
    regions: Regions, maps: Sequence[Warned], uncertainty: Volume, mean: Volume, not_seen_share: Volume | None,
    draws: Sequence[np.ndarray], segments: Mapping[str, np.ndarray], *, draw_count: int | None = None,
    level: float | None = None,
) -> Regions:
    """The findings of the maps first, those of the largest |z| / threshold before the others, then ``regions``.

    A finding's region is what is connected to the peak where the map keeps PEAK_SHARE of it, within REACH_MM; a weaker
    peak in it, or within APART_MM of it, is the same place, of this map or the other one. The first of two findings has
    the voxels that both hold, and one of the spread that has none left goes. Arguments as in
    :func:`.findings.find_regions`. Raises ValueError for a map of another grid or a place outside it.
    """
    columns, rows, slices = np.linalg.norm(mean.ijk_to_ras[:3, :3], axis=0).tolist()
    contrast = local_contrast(mean.array, (slices, rows, columns)) if maps else np.zeros(0)
    factor = spread_factor(len(draws) if len(draws) > 1 else draw_count)
    voxel_mm3 = float(abs(np.linalg.det(mean.ijk_to_ras[:3, :3])))
    totals = {name: int(np.count_nonzero(mask)) for name, mask in segments.items()}
    made = []
    peaks = [each for one in maps for each in _peaks(one, mean)]
    for (peak, reason, z, _), place in _merged(peaks, (slices, rows, columns)):
        widths = np.asarray(uncertainty.array[place], np.float64) * factor
        value = float(np.mean(mean.array[place], dtype=np.float64))
        interval, largest, basis = widths_of(value, draws, widths, factor, place, level)
        share = None if not_seen_share is None else float(np.mean(not_seen_share.array[place], dtype=np.float64))
        made.append((place, peak, Finding(
            number=0, reason=reason, centre_ras_mm=ras_of(mean, np.stack(place, axis=1).mean(axis=0)),
            peak_ras_mm=ras_of(mean, np.array(peak)), volume_mm3=len(place[0]) * voxel_mm3, mean_value=value,
            interval=interval, not_seen_share=share, segment=segment_of(segments, totals, place), half_width=largest,
            basis=basis, level=level if basis == "draws" else None,
            contrast=float(np.sqrt(np.mean(contrast[place] ** 2))), z=float(z[peak]),
        )))
    labels = np.where(regions.labels > 0, regions.labels + len(made), 0).astype(np.int32)
    for number, (place, _, _) in reversed(list(enumerate(made, 1))):
        labels[place] = number
    for number, (_, peak, _) in enumerate(made, 1):
        labels[peak] = number  # so that none is hidden by a stronger one altogether
    findings = [finding for _, _, finding in made] + list(regions.findings)
    left = np.bincount(labels.ravel(), minlength=len(findings) + 1)[1:] > 0
    numbers = np.concatenate([[0], np.cumsum(left)]).astype(np.int32)
    kept = [finding for finding, is_left in zip(findings, left, strict=True) if is_left]
    ranked = tuple(replace(finding, number=number) for number, finding in enumerate(kept, 1))
    return Regions(ranked, numbers[labels], regions.count + len(kept) - len(regions.findings))


Peak = tuple[tuple[int, int, int], str, np.ndarray, float]
"""Index (k, j, i), reason, map, |z| / threshold."""


def _peaks(one: Warned, mean: Volume) -> list[Peak]:
    if one.z.array.shape != mean.array.shape:
        raise ValueError(
            f"expected the map of '{one.reason}' in the mean's shape {mean.array.shape}, found {one.z.array.shape}: "
            "give volumes of one result"
        )
    to_index, found = np.linalg.inv(mean.ijk_to_ras), []
    for place in one.places:
        i, j, k = (round(float(value)) for value in (to_index @ [*place, 1.0])[:3])
        if not all(0 <= index < size for index, size in zip((k, j, i), mean.array.shape, strict=True)):
            raise ValueError(
                f"expected a place within the image, found {place}, of which the map of '{one.reason}' warns: give the "
                "map and the places of one result"
            )
        found.append(((k, j, i), one.reason, one.z.array, abs(float(one.z.array[k, j, i])) / one.threshold))
    return found


def _merged(peaks: list[Peak], spacing_mm: tuple[float, float, float]) -> list[tuple[Peak, tuple[np.ndarray, ...]]]:
    """The strongest first, each with its region; one in the region of a stronger one, or near it, joins it."""
    kept: list[tuple[Peak, tuple[np.ndarray, ...]]] = []
    for peak in sorted(peaks, key=lambda each: -each[3]):
        joined = next((n for n, (_, place) in enumerate(kept) if _joins(peak[0], place, spacing_mm)), None)
        if joined is None:
            kept.append((peak, _region(peak[2], peak[0], spacing_mm)))
        elif kept[joined][0][1] != peak[1]:
            (index, _, z, strength), place = kept[joined]
            kept[joined] = (index, DECIDED_AND_DISAGREE, z, strength), place
    return kept


def _joins(
    peak: tuple[int, int, int], place: tuple[np.ndarray, ...], spacing_mm: tuple[float, float, float]
) -> bool:
    """Whether a peak lies within APART_MM of a voxel of a region."""
    squares = sum(((axis - at) * step) ** 2 for axis, at, step in zip(place, peak, spacing_mm, strict=True))
    return bool(np.min(squares) < APART_MM**2)


def _region(
    z: np.ndarray, peak: tuple[int, int, int], spacing_mm: tuple[float, float, float]
) -> tuple[np.ndarray, ...]:
    """Indices of what belongs to a peak of a map."""
    from scipy.ndimage import label

    reach = [max(1, int(REACH_MM / each)) for each in spacing_mm]
    low = [max(0, at - far) for at, far in zip(peak, reach, strict=True)]
    part = z[tuple(slice(first, at + far + 1) for first, at, far in zip(low, peak, reach, strict=True))]
    middle = tuple(at - first for at, first in zip(peak, low, strict=True))
    squares = sum(
        ((axis - at) * step) ** 2
        for axis, at, step in zip(np.indices(part.shape), middle, spacing_mm, strict=True)
    )
    numbers, _ = label((part * np.sign(z[peak]) >= PEAK_SHARE * abs(z[peak])) & (squares <= REACH_MM**2))
    inside = np.nonzero(numbers == numbers[middle])
    return tuple(axis + first for axis, first in zip(inside, low, strict=True))
