"""Never worse than classical: what is unlike the training data is taken back to a classical image, where that helps.

The score of :mod:`.typicality` decides, not the residual: invented structure that the scanner does not see leaves no
residual. An unusual object is not yet a wrong image: where the mean explains the data and the classical image does
not, or foretells readings that were left out less well, see :mod:`..run.foretold`, the mean stays. Else, between the
threshold t and ``full`` u, the product is (1 - w) mean + w classical with

    w = log(score / t) / log(u / t), within 0 to 1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Gate:
    """Whether the image is like the training data; ``blend``: weight of the classical image in the fallback, or 0.

    ``kept``: it is not, but the classical image was found to be no better, so that the mean stays.
    """

    score: float
    threshold: float
    passed: bool
    blend: float
    sentence: str
    kept: bool = False


def assess(scores: Sequence[float], typicality: Mapping[str, Any], image: str) -> Gate | None:
    """The verdict on a run from the scores of its slices (their median); None where the prior's card has no threshold.

    ``typicality``: the card's entry with "threshold" and "full"; ``image``: the classical one in words. Raises
    FloatingPointError for a score that is not finite.
    """
    if not typicality or not scores:
        return None
    if not all(math.isfinite(score) for score in scores):
        raise FloatingPointError("the score of a slice is not finite: the classical image holds NaN or infinite values")
    threshold, full = float(typicality["threshold"]), float(typicality["full"])
    score = float(median(scores))
    found = f"score {score:.2f}, typical up to {threshold:.2f}"
    if score <= threshold:
        return Gate(round(score, 4), threshold, True, 0.0, (
            f"The image resembles those that the prior was trained on ({found}); that does not exclude an unusual "
            "detail."
        ))
    blend = min(1.0, math.log(score / threshold) / math.log(full / threshold))
    return Gate(round(score, 4), threshold, False, round(blend, 4), (
        f"The image is unlike those that the prior was trained on ({found}): use the fallback, which takes "
        f"{100 * blend:.0f} % from the {image} image, rather than the mean."
    ))


def without_fallback(gate: Gate, ratio: float, image: str) -> Gate:
    """The verdict on an image that has failed while the classical one does not explain the data either: no fallback.

    ``image``: that one in words, ``ratio``: its residual in units of the noise.
    """
    return replace(gate, blend=0.0, sentence=(
        f"{_unlike(gate)}, and the {image} image does not explain the data either (residual {ratio:.2f} times "
        "the noise), so there is no fallback: check geometry, units and noise level, and use none of the images."
    ))


def kept_unexplained(gate: Gate, ratio: float, image: str) -> Gate:
    """The verdict on an image that has failed but explains the data, while the classical one does not: the mean stays.

    ``image``: that one in words, ``ratio``: its residual in units of the noise.
    """
    return _kept(gate, image, f"it does not explain the data (residual {ratio:.2f} times the noise); the mean does")


def kept_foretelling(gate: Gate, draw: float, classical: float, image: str) -> Gate:
    """The verdict on an image that has failed but foretells readings better than the classical one: the mean stays.

    ``draw``, ``classical``: mean squared errors in units of the noise, ``image``: the classical image in words.
    """
    return _kept(gate, image, (
        f"without some of the readings, it misses them by {classical:.2f} times the noise, the prior's by {draw:.2f}"
    ))


def _kept(gate: Gate, image: str, why: str) -> Gate:
    return replace(gate, blend=0.0, kept=True, sentence=(
        f"{_unlike(gate)}, but the {image} image would be no safer: {why}. The mean stays; look for what the prior may "
        "have made usual."
    ))


def _unlike(gate: Gate) -> str:
    return (
        f"The image is unlike those that the prior was trained on (score {gate.score:.2f}, typical up to "
        f"{gate.threshold:.2f})"
    )


def blended(gate: Gate, mean: np.ndarray, classical: np.ndarray) -> np.ndarray:
    """(1 - blend) mean + blend classical: images in one unit and of one type."""
    return ((1 - gate.blend) * mean + gate.blend * classical).astype(mean.dtype)
