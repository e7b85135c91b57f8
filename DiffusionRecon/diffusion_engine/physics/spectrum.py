"""Beam hardening of a simulated CT scan: a beam of three energies through water and bone, precorrected for water."""

from __future__ import annotations

import math

import torch
from torch import Tensor

BEAM = ((40.0, 0.2, 0.2683, 0.6655), (60.0, 0.5, 0.2059, 0.3148), (100.0, 0.3, 0.1707, 0.1855))
"""Energy in keV, its share of the detected signal without an object, and the mass attenuation there in cm2/g of water
and of cortical bone (NIST, doi:10.18434/T4D01F); the shares resemble a filtered beam of 120 kV."""
WATER_HU, BONE_HU = 100.0, 1300.0
"""Below the first a pixel attenuates as water does, above the second as bone, between them as a blend."""
_STEPS = 40


def bone_share(hu: Tensor) -> Tensor:
    """The part of a pixel's attenuation that is bone's: 0 up to WATER_HU, 1 from BONE_HU on, linear between.

    The blend of thresholds of Joseph and Spital, J. Comput. Assist. Tomogr. 2 (1978) 100.
    """
    return ((hu - WATER_HU) / (BONE_HU - WATER_HU)).clamp(0, 1)


def hardened(water: Tensor, bone: Tensor) -> Tensor:
    """Line integrals of a beam of three energies after the correction that makes any path through water right.

    With w_E the shares and r_E the attenuation of a material over its mean in the beam, so that thin layers keep their
    line integrals, it is the p for which sum_E w_E exp(-r_E,water p) = sum_E w_E exp(-r_E,water water - r_E,bone bone):
    ``water`` itself where there is no ``bone``, less than their sum behind bone. ``water``, ``bone``: line integrals of
    either material, same shape. Raises ValueError for non-finite ones.
    """
    if not bool(torch.isfinite(water).all() and torch.isfinite(bone).all()):
        raise ValueError("Expected finite line integrals of water and bone, found NaN or infinity: correct the image.")
    thin = water.double()
    shares, of_water, of_bone = _relative()
    signal = -torch.logsumexp(torch.stack([
        math.log(share) - thin * low - bone.double() * high
        for share, low, high in zip(shares, of_water, of_bone, strict=True)
    ]), 0)
    # -ln of the signal behind water is concave and rises by 1 at 0, so that Newton's steps come from below.
    found = signal.clone()
    for _ in range(_STEPS):
        logs = torch.stack([math.log(share) - found * low for share, low in zip(shares, of_water, strict=True)])
        slope = (torch.softmax(logs, 0) * logs.new_tensor(of_water).reshape(-1, *[1] * found.ndim)).sum(0)
        step = (signal + torch.logsumexp(logs, 0)) / slope
        found = found + step
        if bool((step.abs() < 1e-9).all()):
            break
    return found.to(water)


def _relative() -> tuple[list[float], list[float], list[float]]:
    """Shares, and the attenuation of water and of bone over their means in the beam."""
    shares = [share for _, share, _, _ in BEAM]
    mean = [sum(row[1] * row[column] for row in BEAM) for column in (2, 3)]
    return shares, [row[2] / mean[0] for row in BEAM], [row[3] / mean[1] for row in BEAM]
