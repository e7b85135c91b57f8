"""Scattered radiation of a simulated CT scan: broad along the detector, added to the intensities."""

from __future__ import annotations

import torch
from torch import Tensor

from .ct_geometry import CTGeometry

WIDTH_MM = 100.0
"""Standard deviation of the Gaussian along the detector, in mm at the isocentre: much wider than organs."""


def scattered(line_integrals: Tensor, geometry: CTGeometry, percent: float) -> Tensor:
    """Line integrals -ln(e^-p + S) of a scan that counts scattered photons too; all in units of the open beam.

    A view's scatter S is the forward-scatter potential p e^-p spread by a Gaussian g of WIDTH_MM, and scaled so that
    its mean over the material of the object is ``percent`` / 100 of that of the primary intensity:

        S = percent / 100 * sum(p e^-p) / sum(p (g * p e^-p)) * (g * p e^-p)

    Behind the middle of an abdomen, where little of the beam is left, S is many times that share of it; 5 percent make
    soft tissue about 5 % too light, and its middle twice that. ``line_integrals``: p without noise (..., views,
    detectors) with the bins of ``geometry``; of a view that sees no object S is 0. Source of the kernel method:
    Ohnesorge, Flohr and Klingenbeck-Regn, Eur. Radiol. 9 (1999) 563, doi:10.1007/s003300050710.
    """
    p = line_integrals.double()
    primary, seen = torch.exp(-p), p.clamp_min(0)
    bins = torch.arange(p.shape[-1], dtype=p.dtype, device=p.device)
    pitch = geometry.detector_spacing_mm / geometry.magnification
    spread = torch.exp(-(((bins[:, None] - bins) * pitch / WIDTH_MM) ** 2) / 2)
    potential = seen * primary
    broad = potential @ spread
    least = torch.finfo(p.dtype).tiny
    level = potential.sum(-1, keepdim=True) / (seen * broad).sum(-1, keepdim=True).clamp_min(least)
    return -torch.log(primary + percent / 100 * level * broad).to(line_integrals)
