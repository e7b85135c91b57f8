"""What became of inserted lesions in one condition: a row for each lesion, a row for each slice, crops for a page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from benchmarks import lesion_reader as reader
from benchmarks.lesion_cases import Condition
from diffusion_engine.evaluation.lesions import Lesion, Parts, inserted, kept, parts, regions
from diffusion_engine.modalities.prepared import Prepared, no_limit
from diffusion_engine.posterior.intervals import spread_factor
from diffusion_engine.priors.card import PriorCard
from diffusion_engine.run.detection import method_of
from diffusion_engine.run.pipeline import Result, reconstruct
from diffusion_engine.volume import Volume
from scipy import ndimage

MAPS = ("prior_decided", "data_disagree")
"""Result keys of maps of signed standard deviations, in which a peak above the stated threshold warns of a place."""
REACH_MM = 4.0
"""A warning counts within this distance of a lesion's centre, or within its radius; nearer peaks are one."""
CROP_MM = 60.0
Rows = list[dict[str, Any]]


def maps_of(result: Result) -> dict[str, tuple[np.ndarray, float]]:
    """The maps of a result by key, (slices, rows, columns), each with its threshold; none without one."""
    stated = result.report.get("maps") or {}
    return {
        key: (result.volumes[key].array, float(stated[key]["threshold"]))
        for key in MAPS if key in result.volumes and stated.get(key, {}).get("threshold") is not None
    }


def peaks(image: np.ndarray, threshold: float, pixel_mm: tuple[float, float]) -> np.ndarray:
    """Places (peaks, 2) in pixels where |image| (rows, columns) has a peak above a threshold, the highest first.

    Of peaks within REACH_MM of each other the highest stays.
    """
    size = np.abs(image)
    here = np.argwhere((size > threshold) & (size == ndimage.maximum_filter(size, 3)))
    found: list[np.ndarray] = []
    for place in sorted(here, key=lambda at: -size[at[0], at[1]]):
        if all(np.hypot(*((place - other) * pixel_mm)) > REACH_MM for other in found):
            found.append(place)
    return np.array(found).reshape(-1, 2)


def warned(image: np.ndarray, threshold: float, lesion: Lesion, volume: Volume, index: int) -> bool:
    """Whether a map's slice has a peak above its threshold within max(radius, REACH_MM) of a lesion's centre."""
    pixel = (volume.spacing_mm[1], volume.spacing_mm[0])
    column, row, _ = np.linalg.solve(volume.ijk_to_ras, [*lesion.centre_mm, 1.0])[:3]
    away = (peaks(image, threshold, pixel) - (row, column)) * pixel
    return bool((np.hypot(*away.T) <= max(lesion.radius_mm, REACH_MM)).any())


def signal(problem: Prepared[Any], lesion: Lesion) -> float:
    """Standard deviations by which the data tell that a lesion is there, were all else known.

    The matched filter at its place: sqrt(sum (A t)^2 / v), t: the lesion alone, v: the variance of the readings.
    """
    assert problem.reference is not None
    shares = np.flip(lesion.coverage(problem.frame), problem.flips)
    index = int(shares.sum((1, 2)).argmax())
    one = problem.select(slice(index, index + 1))
    assert one.reference is not None
    likelihood, plain = one.delivered.physical(one.network(one.reference))
    added = (one.reference + lesion.contrast * shares[index : index + 1]).astype(one.reference.dtype)
    _, image = one.delivered.physical(one.network(added))
    seen = likelihood.operator.forward(image - plain)
    return float((seen.abs().square().double() / likelihood.variance).sum().sqrt())


def noise_percent(problem: Prepared[Any]) -> float:
    """Noise of the readings in percent of the largest one: the median over slices."""
    assert problem.reference is not None
    likelihood, _ = problem.delivered.physical(problem.network(problem.reference))
    largest = likelihood.data.abs().flatten(1).amax(1)
    return float((100 * likelihood.noise_levels() / largest).median())


def measured(condition: Condition, card: PriorCard) -> tuple[Rows, dict[str, np.ndarray]]:
    """The rows of a condition, and crops (images, rows, columns) around its lesions by their number.

    The slices are reconstructed twice, without and with lesions, with the same noise and seed.
    """
    settings, modality, lesions = condition.settings, condition.settings.entry, condition.lesions
    plain = reconstruct(condition.item.volume, settings)
    full = reconstruct(inserted(condition.item.volume, lesions), settings)
    problem = modality.prepare(condition.item.volume, settings, torch.device("cpu"), None, no_limit)
    frame, method = full.volumes["reference"], method_of(settings, card)
    spread = spread_factor(settings.draws) * full.volumes["uncertainty"].array
    calibrated = (full.report["calibration"] or {}).get("matched", False)
    about = {**condition.about, "noise_percent": round(noise_percent(problem), 4)}
    maps, counted = maps_of(full), dict(condition.item.cases)
    delivered = "fallback" if "fallback" in plain.volumes and "fallback" in full.volumes else "mean"
    outside = np.prod([lesion.coverage(frame) == 0 for lesion in lesions], axis=0).astype(bool)
    rows: Rows = []
    crops: dict[str, np.ndarray] = {}
    for number, lesion in enumerate(lesions):
        at = parts(lesion, frame, lesions)
        error = np.abs(full.volumes["mean"].array - frame.array)[at.index]
        own = full.volumes["uncertainty"].array[at.index]
        rows.append({
            **about, "kind": "lesion", "case": counted[lesion.index], "lesion": number, "method": method,
            "tissue": lesion.tissue, "diameter_mm": lesion.diameter_mm, "contrast": lesion.contrast,
            "contrast_kept": _kept(plain, full, "mean", at),
            f"contrast_kept_{modality.fallback}": _kept(plain, full, modality.fallback, at),
            "contrast_kept_delivered": _kept(plain, full, delivered, at), "delivered": delivered,
            "coverage_inside": round(float((error <= spread[at.index])[at.inside].mean()), 4),
            "interval_is": "calibrated" if calibrated else "raw",
            "spread_inside_over_around": round(float(own[at.inside].mean() / own[at.ring].mean()), 4),
            "signal": round(signal(problem, lesion), 2),
            **{
                f"warned_{key}": warned(image[at.index], threshold, lesion, frame, at.index)
                for key, (image, threshold) in maps.items()
            },
        })
        crops[str(number)] = _crop(full, maps, lesion, at.index, modality.fallback)
    body = modality.trust.body(frame.array) & outside
    for place, index in condition.item.cases:
        rows.append({
            **about, "kind": "slice", "case": index,
            "width": round(float(2 * spread[place][body[place]].mean()), 3),
            **{
                f"false_{key}": len(peaks(image[place], threshold, _pixel(frame)))
                for key, (image, threshold) in maps_of(plain).items()
            },
            "invented": _invented(plain, "mean", place, condition),
            f"invented_{modality.fallback}": _invented(plain, modality.fallback, place, condition),
        })
    return rows, crops


def _kept(plain: Result, full: Result, key: str, at: Parts) -> float:
    one, other = (run.volumes[key].array for run in (full, plain))
    return round(kept(one, other, full.volumes["reference"].array, plain.volumes["reference"].array, at), 4)


def _pixel(volume: Volume) -> tuple[float, float]:
    return volume.spacing_mm[1], volume.spacing_mm[0]


def _invented(plain: Result, key: str, place: int, condition: Condition) -> int:
    """Bright and dark blobs of a slice without lesions that the reference lacks, in the tissues of an evaluation."""
    modality, reference = condition.settings.entry, plain.volumes["reference"]
    named = {want.tissue for want in modality.cases.lesions}
    pixel, found = max(_pixel(reference)), 0
    for name, region in regions(reference, place, modality).items():
        if name not in named or not region.any():
            continue
        for sign in (1, -1):
            answer, truth = (
                reader.answers(sign * image.array[place].astype(np.float64), region, pixel)
                for image in (plain.volumes[key], reference)
            )
            blobs = reader.blobs(answer, region, pixel)
            found += sum(reader.is_invented(blob, truth, pixel) for blob in blobs)
    return found


def _crop(
    full: Result, maps: dict[str, tuple[np.ndarray, float]], lesion: Lesion, index: int, classical: str
) -> np.ndarray:
    """Truth, classical image, mean, spread and maps over their thresholds around a lesion; NaN beyond the image."""
    volume = full.volumes["reference"]
    column, row, _ = np.linalg.solve(volume.ijk_to_ras, [*lesion.centre_mm, 1.0])[:3]
    tall, wide = (int(CROP_MM / 2 / width) for width in _pixel(volume))
    images = [full.volumes[key].array[index] for key in ("reference", classical, "mean", "uncertainty")]
    images += [image[index] / threshold for image, threshold in maps.values()]
    return np.stack([_around(image, round(row), round(column), tall, wide) for image in images])


def _around(image: np.ndarray, row: int, column: int, tall: int, wide: int) -> np.ndarray:
    padded = np.pad(image.astype(np.float32), ((tall, tall), (wide, wide)), constant_values=np.nan)
    return padded[row : row + 2 * tall + 1, column : column + 2 * wide + 1]


def lesion_rows(rows: Sequence[dict[str, Any]]) -> Rows:
    """Those of lesions."""
    return [row for row in rows if row["kind"] == "lesion"]
