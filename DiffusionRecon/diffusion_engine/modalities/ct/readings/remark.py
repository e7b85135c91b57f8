"""What is said about readings: everything that the judgement of a measurement found."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...contract import Remark
from ..measurement import Measurement

__all__ = ["Judged", "Remark", "numbers", "question"]


@dataclass(frozen=True, eq=False)
class Judged:
    """Remarks in order of certainty, the readings to use, and the measurement to solve.

    ``used``: booleans in the shape of the readings; ``measurement``: the one given, where readings are left out with
    values between their neighbours and, if it had a variance, an infinite one; ``detector_offset_mm``: the offset that
    fits better than the stated one, never applied by itself; None where there is none.
    """

    remarks: tuple[Remark, ...]
    used: np.ndarray
    measurement: Measurement
    detector_offset_mm: float | None = None


def question(kind: str, sentence: str, trusted: bool) -> Remark:
    """A remark where the user vouches for the readings; else ValueError with the sentence."""
    if not trusted:
        raise ValueError(f"{sentence} If the readings are right all the same, set trust_unit.")
    return Remark(kind, sentence, True)


def numbers(found: np.ndarray, limit: int = 12) -> str:
    """Whole numbers as a list in words, long ones cut: "3, 7 and 12"."""
    texts = [str(int(n)) for n in found[:limit]]
    if len(found) > limit:
        return f"{', '.join(texts)} and {len(found) - limit} more"
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} and {texts[-1]}"
