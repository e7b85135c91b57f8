"""What is doubtful about k-space, or a volume to be scanned, before anything is solved."""

from __future__ import annotations

import numpy as np

from ...volume import Volume
from ..contract import Remark
from .kspace import KSpace
from .sampled import FEWEST_LINES, middle_lines

NOISELESS = 0.1
"""A line that holds less than this share of the noise's energy was not measured, but filled up."""
FILLED = 100.0
"""Where the noise is not known: between lines that were measured and lines that were filled up lies a jump of this
factor in their energy; from one measured line to the next in order of their energy it is at most about 10."""
FEWEST_FILLED = 3
INTERPOLATED = 6e-3
"""A band of frequencies that holds less than this share of the inner ones' energy was added by interpolation. Found:
0.01 to 0.06 in the outermost tenth of slices as acquired, 0.0007 to 0.005 where the outer part was filled up."""
BANDS = 10


def judge(kspace: KSpace) -> tuple[Remark, ...]:
    """Remarks on measured samples; raises ValueError, one sentence, for what cannot be used."""
    remarks: list[Remark] = []
    check_maps(kspace)
    for axis, name in ((1, "rows"), (2, "columns")):
        empty = _empty_lines(kspace, axis)
        if empty:
            raise ValueError(
                f"expected measured samples wherever the mask is true, found {empty} {name} of k-space that hold next "
                "to nothing: the data were accelerated already and filled up, give a mask that is false there"
                + ("" if kspace.noise_covariance is None else ", or leave out a noise scan of another scale")
            )
    if _gaps_along_readout(kspace):
        remarks.append(Remark(
            "axes_exchanged", "Whole columns of k-space were left out, and no rows: lines of phase encoding lie along "
            "rows here, so that rows and columns may be exchanged and the image turned. Check the order of the axes.",
            False,
        ))
    if kspace.coils == 1 and kspace.acceleration > 1:
        remarks.append(Remark(
            "one_coil", "There is one coil, so that its maps tell nothing of what was not measured.", True
        ))
    return tuple(remarks)


def _gaps_along_readout(kspace: KSpace) -> bool:
    """Whether all that was left out between measured columns are whole columns: no readout looks like that."""
    for mask in kspace.mask:
        columns = mask.any(0)
        if not np.array_equal(mask, np.broadcast_to(columns, mask.shape)):
            return False
        measured = np.flatnonzero(columns)
        if len(measured) == measured[-1] - measured[0] + 1:
            return False
    return True


def check_maps(kspace: KSpace) -> None:
    """Raise ValueError for several coils where there are neither maps nor lines to estimate them from."""
    if kspace.coils == 1 or kspace.maps is not None or kspace.calibration is not None:
        return
    lines = min(middle_lines(mask) for mask in kspace.mask)
    if lines < FEWEST_LINES:
        raise ValueError(
            f"expected coil maps, or {FEWEST_LINES} fully sampled lines or more in the middle of k-space to estimate "
            f"them from, found {lines}: give the maps or a calibration scan"
        )


def _empty_lines(kspace: KSpace, axis: int) -> int:
    """Lines that were filled up, the most of all slices, by NOISELESS or by FILLED."""
    energy = (np.abs(kspace.values) ** 2).sum(1)
    along = 3 - axis
    count = kspace.mask.sum(along)
    mean = energy.sum(along) / np.maximum(count, 1)
    found = 0
    for own, measured in zip(mean, count > 0, strict=True):
        ordered = np.sort(own[measured])
        if kspace.noise_covariance is not None:
            below = int((ordered < NOISELESS * np.trace(kspace.noise_covariance).real).sum())
        else:
            lower = ordered[: 9 * len(ordered) // 10]
            below = int(np.flatnonzero(lower[1:] > FILLED * lower[:-1]).max(initial=-1)) + 1
        found = max(found, below)
    return found if found >= FEWEST_FILLED else 0


def question_of_detail(volume: Volume) -> str | None:
    """A sentence where the outer frequencies of the images are empty: they were interpolated when they were made."""
    middle = volume.array[len(volume.array) // 2].astype(np.float64)
    energy = np.abs(np.fft.fftshift(np.fft.fft2(middle))) ** 2
    shares = [_filled_share(energy.sum(1 - axis)) for axis in (0, 1)]
    if min(shares) == 1:
        return None
    return (
        f"The volume's outer frequencies are nearly empty (it has about {100 * shares[0]:.0f} % of its rows' and "
        f"{100 * shares[1]:.0f} % of its columns' resolution): it was interpolated, and lines simulated there hold "
        "little but noise."
    )


def _filled_share(energy: np.ndarray) -> float:
    """Which part of the frequencies from the middle out holds signal, in bands of a tenth; ``energy``: of lines."""
    count = len(energy)
    away = np.abs(np.arange(count) - count // 2) / (count / 2)
    inner = np.median(energy[away < 0.5])
    for band in range(BANDS // 2, BANDS):
        inside = (away >= band / BANDS) & (away < (band + 1) / BANDS)
        if inside.any() and np.median(energy[inside]) < INTERPOLATED * inner:
            return band / BANDS
    return 1.0
