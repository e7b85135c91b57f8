"""What is doubtful about k-space, or a volume to be scanned, before anything is solved."""

from __future__ import annotations

import numpy as np

from ...volume import Volume
from ..contract import Remark
from .kspace import KSpace

EMPTY = 1e-3
"""A line that holds less than this share of its neighbours' energy was not measured, but filled in."""
INTERPOLATED = 1e-3
"""A band of frequencies that holds less than this share of the mean of those just inside was added by interpolation."""


def judge(kspace: KSpace) -> tuple[Remark, ...]:
    """Remarks on measured samples; raises ValueError, one sentence, for what cannot be used."""
    remarks: list[Remark] = []
    for axis, name in ((1, "rows"), (2, "columns")):
        empty = _empty_lines(kspace, axis)
        if empty:
            raise ValueError(
                f"expected measured samples wherever the mask is true, found {empty} {name} of k-space that hold next "
                "to nothing: the data were accelerated already and filled up, give a mask that is false there"
            )
    if kspace.coils == 1 and kspace.acceleration > 1:
        remarks.append(Remark(
            "one_coil", "There is one coil, so that its maps tell nothing of what was not measured.", True
        ))
    return tuple(remarks)


def _empty_lines(kspace: KSpace, axis: int) -> int:
    """Lines whose measured samples hold less than EMPTY of the energy of the median line, noise included."""
    energy = (np.abs(kspace.values) ** 2).sum(1)
    along = 3 - axis
    count = kspace.mask.sum(along)
    mean = energy.sum(along) / np.maximum(count, 1)
    found = 0
    for own, measured in zip(mean, count > 0, strict=True):
        found = max(found, int((measured & (own < EMPTY * np.median(own[measured]))).sum()))
    return found


def question_of_detail(volume: Volume) -> str | None:
    """A sentence where the outer frequencies of the images are empty: they were interpolated when they were made."""
    middle = volume.array[len(volume.array) // 2].astype(np.float64)
    energy = np.abs(np.fft.fftshift(np.fft.fft2(middle))) ** 2
    shares = []
    for axis in (0, 1):
        line = energy.sum(1 - axis)
        count = len(line)
        away = np.abs(np.arange(count) - count // 2) / (count / 2)
        filled = line > INTERPOLATED * np.median(line[away < 0.5])
        shares.append(float(away[filled].max()))
    if min(shares) > 0.95:
        return None
    return (
        f"The volume's outer frequencies are empty (it has {100 * shares[0]:.0f} % of its rows' and "
        f"{100 * shares[1]:.0f} % of its columns' resolution): it was interpolated, and lines simulated there hold "
        "noise alone."
    )
