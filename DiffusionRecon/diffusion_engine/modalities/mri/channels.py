"""From the samples of coils to channels of white noise and their maps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ...physics.coil_compression import MOST_COILS, coil_compression, mixed
from ...physics.coil_maps import espirit_maps, given_maps
from ...physics.mri_noise import NoiseEstimate, estimate_noise, noise_levels, whitening
from ..contract import Remark
from .kspace import KSpace

OTHER_NOISE = 2.0
"""A noise scan whose level differs from that of the data by more than this factor was not recorded as they were."""


@dataclass(frozen=True, eq=False)
class Channels:
    """``data`` and ``maps``: (slices, channels, rows, columns), complex, on the device, the data 0 where not measured.

    ``std``: of a complex sample of every channel, the input's unit: their noise is white and equal. ``remarks``: on
    where maps and noise come from.
    """

    data: Tensor
    maps: Tensor
    std: float
    remarks: tuple[Remark, ...]


def channels_of(kspace: KSpace, device: torch.device, notes: list[str]) -> Channels:
    """Whiten the noise, compress more than MOST_COILS coils, and take or estimate the maps.

    There are maps, or calibration lines to estimate them from: see :func:`.judge.check_maps`.
    """
    remarks: list[Remark] = []
    values = torch.from_numpy(kspace.values).to(device)
    covariance = _covariance(kspace, values, remarks)
    level = float(covariance.diagonal().real.mean()) ** 0.5
    # Whitened so that the mean noise of the coils stays: the images keep the file's unit.
    matrix = level * whitening(covariance).to(torch.complex64)
    given = None if kspace.maps is None else mixed(matrix, torch.from_numpy(np.array(kspace.maps)).to(device))
    apart = None if kspace.calibration is None else mixed(matrix, torch.from_numpy(kspace.calibration).to(device))
    values = mixed(matrix, values)
    if kspace.coils > MOST_COILS:
        fewer = coil_compression(values, MOST_COILS)
        values = mixed(fewer.matrix, values)
        given, apart = (None if part is None else mixed(fewer.matrix, part) for part in (given, apart))
        notes.append(
            f"{kspace.coils} coils were combined to {MOST_COILS} channels, which hold {100 * fewer.energy:.1f} % of "
            "their energy."
        )
    return Channels(values, _maps(kspace, values, given, apart, remarks), level, tuple(remarks))


def _covariance(kspace: KSpace, values: Tensor, remarks: list[Remark]) -> Tensor:
    """That of the noise scan, or of the data themselves where there is none or the data contradict it."""
    mask = torch.from_numpy(kspace.mask.copy()).to(values.device)
    if kspace.noise_covariance is not None:
        given = torch.from_numpy(np.asarray(kspace.noise_covariance, np.complex128)).to(values.device)
        contradicting = None if kspace.facts.get("simulated") else _contradiction(given, values, mask)
        if contradicting is None:
            return given
        level = float(noise_levels(given).log().mean().exp())
        remarks.append(Remark(
            "noise_scan_left_out",
            f"The noise scan holds {level:.3g} a sample, the data themselves {contradicting.level:.3g} "
            f"({contradicting.place}): they were not recorded alike, so the noise was estimated from the data.",
            True,
        ))
        return contradicting.covariance
    estimate = estimate_noise(values, mask)
    remarks.append(Remark(
        "noise_estimated",
        f"No noise scan came with the data: the noise was estimated from the data themselves ({estimate.place}).",
        False,
    ))
    return estimate.covariance


def _contradiction(given: Tensor, values: Tensor, mask: Tensor) -> NoiseEstimate | None:
    """What the data say of their noise where a noise scan cannot be theirs, else None.

    Data cannot hold less than their noise; where two places without signal hold the same, that is the noise.
    """
    try:
        own = estimate_noise(values, mask)
    except ValueError:  # too few samples to tell
        return None
    ratio = own.level / float(noise_levels(given).log().mean().exp())
    return own if ratio < 1 / OTHER_NOISE or (ratio > OTHER_NOISE and own.confirmed) else None


def _maps(
    kspace: KSpace, values: Tensor, given: Tensor | None, apart: Tensor | None, remarks: list[Remark]
) -> Tensor:
    if given is not None:
        return given_maps(given, given.shape[1], kspace.shape)
    if kspace.coils == 1:
        return torch.ones_like(values)
    if apart is not None and kspace.calibration is not None:
        measured = torch.from_numpy((kspace.calibration != 0).any(1)).to(values.device)
        return torch.cat([espirit_maps(apart[n : n + 1], measured[n : n + 1]) for n in range(kspace.slices)])
    mask = torch.from_numpy(kspace.mask.copy()).to(values.device)
    return espirit_maps(values, mask)
