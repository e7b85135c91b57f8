"""Where the rotation axis of measured parallel data falls on the detector."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from ...classical.fbp import fbp
from ...physics.ct_geometry import CTGeometry, ImageGrid

_VIEWS = 96  # of the half turn are enough to judge an axis


def estimate_centre(sinogram: Tensor, angles_rad: tuple[float, ...], search_bins: float = 8.0) -> float:
    """Detector position of the rotation axis in bins (0 is the centre of the first bin), to about a quarter of a bin.

    First the shift that best matches a view with the mirrored view half a turn later (or, where the arc ends
    before it, the last view with the mirrored first one); then, within ``search_bins`` of it, the axis whose FBP
    of the middle slice has the least negative attenuation, since a wrong axis doubles every edge.
    ``sinogram``: parallel line integrals (slices, views, detectors). Raises ValueError for another shape,
    non-finite data, fewer than 8 views or an arc of less than about 170 degrees.
    """
    if sinogram.ndim != 3 or sinogram.shape[1] != len(angles_rad):
        raise ValueError(f"Expected a sinogram of shape (slices, {len(angles_rad)} views, detectors), found "
                         f"{tuple(sinogram.shape)}.")
    if not bool(torch.isfinite(sinogram).all()):
        raise ValueError("The sinogram contains NaN or infinity: correct or remove the affected readings.")
    if len(angles_rad) < 8:
        raise ValueError(f"Expected at least 8 views to find the rotation axis, found {len(angles_rad)}: give the "
                         "detector offset instead.")
    start = pair_centre(sinogram, angles_rad)
    # of a whole turn one half: both halves together blur a wrong axis without leaving negative values
    half = np.flatnonzero(np.mod(np.asarray(angles_rad) - angles_rad[0], 2 * math.pi) < math.pi)
    half = half[::math.ceil(len(half) / _VIEWS)]
    middle = sinogram[sinogram.shape[0] // 2, torch.from_numpy(half)].float()
    angles_rad = tuple(np.asarray(angles_rad)[half])
    count = sinogram.shape[-1]
    wide = np.arange(math.ceil(-search_bins), search_bins + 1)
    best = start + wide[int(np.argmin(_blur(middle, angles_rad, start + wide, pixel_bins=max(1.0, count / 192))))]
    step = 0.5
    offsets = step * np.arange(-3, 4)
    scores = _blur(middle, angles_rad, best + offsets, max(1.0, count / 384))
    k = int(np.clip(np.argmin(scores), 1, len(scores) - 2))
    left, here, right = scores[k - 1:k + 2]  # the vertex of the parabola through the best three
    bend = left - 2 * here + right
    vertex = 0.5 * (left - right) / bend if bend > 0 else 0.0
    return float(best + offsets[k] + step * np.clip(vertex, -1, 1))


def centre_to_offset_mm(centre_bins: float, detector_count: int, detector_spacing_mm: float) -> float:
    """The detector_offset_mm that puts u = 0 on the rotation axis: ((n - 1) / 2 - centre) * spacing."""
    return ((detector_count - 1) / 2 - centre_bins) * detector_spacing_mm


def pair_centre(sinogram: Tensor, angles_rad: tuple[float, ...]) -> float:
    """The axis from opposite views alone, in half bins: the best match of p(theta, u) and p(theta + pi, -u)."""
    angles = np.asarray(angles_rad)
    gap = np.abs(np.mod(angles[None, :] - angles[:, None], 2 * math.pi) - math.pi)  # [first, second]
    closest = gap.min()
    if closest > math.radians(10):
        raise ValueError("No two views are half a turn apart (to 10 degrees): the rotation axis cannot be found "
                         "from these data, give the detector offset.")
    pairs = np.argwhere(gap <= closest + 1e-6)[:16]
    data = sinogram.double() - sinogram.double().mean(dim=-1, keepdim=True)
    count = sinogram.shape[-1]
    length = 2 * count
    match = torch.zeros(length, dtype=torch.float64)
    energy = torch.zeros(length, dtype=torch.float64)
    ones = torch.fft.rfft(torch.ones(count, dtype=torch.float64), n=length)
    for first, second in pairs:
        one, other = data[:, first], data[:, second].flip(-1)
        spectra = [torch.fft.rfft(v, n=length) for v in (one, other, one**2, other**2)]
        match += torch.fft.irfft(spectra[0] * spectra[1].conj(), n=length).sum(0)
        energy += torch.fft.irfft(spectra[2] * ones.conj() + ones * spectra[3].conj(), n=length).sum(0)
    # normalised by the energy in the overlap, which must be at least half of the detector
    shifts = torch.fft.fftfreq(length, 1 / length)
    score = torch.where(shifts.abs() <= count / 2, 2 * match / energy.clamp(min=1e-12), torch.tensor(-math.inf))
    return (count - 1 + float(shifts[int(score.argmax())])) / 2


def _blur(sinogram: Tensor, angles_rad: tuple[float, ...], centres: np.ndarray, pixel_bins: float) -> np.ndarray:
    """Mean negative part over mean absolute value of the FBP at each axis position, inside the field of view."""
    count = sinogram.shape[-1]
    side = int(count / pixel_bins)
    grid = ImageGrid(side, side, (pixel_bins, pixel_bins))
    y, x = np.meshgrid(grid.y_mm, grid.x_mm, indexing="ij")
    inside = torch.from_numpy(np.hypot(x, y) < 0.45 * count)
    scores = []
    for centre in centres:
        geometry = CTGeometry("parallel", angles_rad, count, 1.0, centre_to_offset_mm(float(centre), count, 1.0))
        image = fbp(sinogram, geometry, grid, "hann")[inside]
        scores.append(float(image.clamp(max=0).abs().mean() / image.abs().mean().clamp(min=1e-30)))
    return np.asarray(scores)
