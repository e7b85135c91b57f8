"""Filtered backprojection of parallel and fan-beam data over any arc.

    f(x, y) = sum_v dtheta_v g_v [ h * (w c p) ](theta_v, u_v(x, y))

h is the ramp kernel, built in the spatial domain so that flat regions keep their value; c the cosine weight of
fan rays; g the distance weight (1/U^2 flat, SID/L^2 curved, 1 parallel); dtheta the angle that a view stands for;
w shares every line between its two readings (theta, gamma) and (theta + pi - 2 gamma, -gamma).
Source: A. C. Kak, M. Slaney, Principles of Computerized Tomographic Imaging (1988) chapter 3,
doi:10.1137/1.9780898719277; w after F. Noo et al., Phys. Med. Biol. 47 (2002) 2525, doi:10.1088/0031-9155/47/14/311.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import scipy.fft
import torch
from torch import Tensor

from ..physics.arc import view_gaps
from ..physics.ct_geometry import CTGeometry, ImageGrid
from ..volume import WATER_PER_MM

WINDOWS = ("ram-lak", "hann")
_CPU_CROSSINGS, _GPU_CROSSINGS = 1 << 15, 1 << 22  # pixels times views at a time: what the cache, the GPU likes
_ARC_FEATHER_RAD = math.radians(10.0)  # over which a doubly measured line passes from one reading to the other
_DETECTOR_FEATHER = 0.1  # the same along the detector, as a part of its length


def fbp(sinogram: Tensor, geometry: CTGeometry, grid: ImageGrid, window: str = "ram-lak", *,
        extend: bool = False) -> Tensor:
    """Reconstruct line integrals (..., views, detectors) into attenuation (..., rows, columns) in 1/mm.

    ``window`` is "ram-lak" or "hann" (falls to zero at the detector's Nyquist frequency). Limited arcs are
    reconstructed as they are: what was not measured is missing from the image. ``extend`` continues data that the
    detector's ends cut off as those of a disc of water would go on, which removes most of the bright rim that the ramp
    filter makes of a cut.
    Raises ValueError for an unknown window, a wrong shape or non-finite data.
    """
    shape = (geometry.views, geometry.detector_count)
    if sinogram.ndim < 2 or tuple(sinogram.shape[-2:]) != shape:
        raise ValueError(f"Expected a sinogram of shape (..., views {shape[0]}, detectors {shape[1]}), found "
                         f"{tuple(sinogram.shape)}: sinogram and geometry do not belong together.")
    if not sinogram.is_floating_point():
        raise ValueError(f"Expected line integrals in floating point, found {sinogram.dtype}: convert counts first.")
    if not bool(torch.isfinite(sinogram).all()):
        raise ValueError("The sinogram contains NaN or infinity: correct or remove the affected readings.")
    weights = torch.from_numpy(_reading_weights(geometry)).to(sinogram)
    data = sinogram.reshape(-1, *shape)
    weighted = data * weights
    if extend:
        weighted, geometry = _continue_detector(data, weighted, geometry)
    weighted, geometry = _mirror_detector(weighted, geometry)
    filtered = _filter(weighted, geometry, window)
    return _backproject(filtered, geometry, grid).reshape(*sinogram.shape[:-2], grid.rows, grid.columns)


def view_weights(angles_rad: tuple[float, ...], period_rad: float) -> tuple[np.ndarray, np.ndarray]:
    """The angle each view stands for (views,), and the scanned arcs as rows (start, end), all in radians.

    Angles are taken modulo the period; a view stands for half of the gap to either neighbour, but for gaps that were
    not scanned, see :func:`view_gaps`. Where nothing is missing there is one arc of the whole period.
    """
    found = view_gaps(angles_rad, period_rad)
    weights = np.empty(len(angles_rad))
    weights[found.order] = found.before + np.roll(found.after, 1)
    if not found.unseen.any():
        return weights, np.array([[0.0, period_rad]])
    last = np.flatnonzero(found.unseen)
    starts = np.roll(found.angles, -1)[last] - found.after[last]
    ends = np.roll(found.angles[last] + found.before[last], -1)
    return weights, np.stack((starts, starts + np.mod(ends - starts, period_rad)), axis=1)


def _reading_weights(geometry: CTGeometry) -> np.ndarray:
    """dtheta_v times the share w of every reading, (views, detectors); the shares of one line add up to one."""
    u = geometry.detector_u_mm
    edges = (u[0] - geometry.detector_spacing_mm / 2, u[-1] + geometry.detector_spacing_mm / 2)
    feather = _DETECTOR_FEATHER * (edges[1] - edges[0])
    here, mirrored = (_feather(np.minimum(v - edges[0], edges[1] - v), feather) for v in (u, -u))
    turn, arcs = view_weights(geometry.angles_rad, 2 * math.pi)
    if geometry.type == "parallel":
        dtheta = view_weights(geometry.angles_rad, math.pi)[0]
        # a detector that covers one half only needs the whole turn; else both readings of a line are alike
        share = 2 * here / (here + mirrored) if _whole_turn(geometry) else np.ones_like(u)
        return dtheta[:, None] * share[None, :]
    gamma = geometry.fan_angles_rad
    theta = np.mod(np.asarray(geometry.angles_rad), 2 * math.pi)[:, None]
    own = _arc_feather(theta, arcs) * here
    other = _arc_feather(theta + math.pi - 2 * gamma, arcs) * mirrored
    return turn[:, None] * own / (own + other)


def _mirror_detector(weighted: Tensor, geometry: CTGeometry) -> tuple[Tensor, CTGeometry]:
    """Lengthen an off-centre detector of a whole turn by zeros until it is centred (to a bin).

    What it misses was measured from the other side, so that its weight here is zero, not its filtered value.
    """
    extra = round(2 * abs(geometry.detector_offset_mm) / geometry.detector_spacing_mm)
    if extra == 0 or not _whole_turn(geometry):
        return weighted, geometry
    positive = geometry.detector_offset_mm > 0
    shift = extra * geometry.detector_spacing_mm / 2
    longer = replace(geometry, detector_count=geometry.detector_count + extra,
                     detector_offset_mm=geometry.detector_offset_mm + (-shift if positive else shift))
    return torch.nn.functional.pad(weighted, (extra, 0) if positive else (0, extra)), longer


def _continue_detector(data: Tensor, weighted: Tensor, geometry: CTGeometry) -> tuple[Tensor, CTGeometry]:
    """Lengthen the detector on both sides by the shadow of a water disc about the isocentre.

    A disc whose chord at the edge R is p / mu has the half chord e = p / (2 mu) there, and at R + t the half chord
    sqrt(e^2 - 2 R t - t^2). Source: J. Hsieh et al., Med. Phys. 31 (2004) 2385, doi:10.1118/1.1776673, without slope.
    """
    extra = geometry.detector_count // 2
    if geometry.type == "fan_curved" and geometry.fan_distances_mm is not None:
        room = 0.49 * math.pi * geometry.fan_distances_mm[1] - np.abs(geometry.detector_u_mm).max()
        extra = max(0, min(extra, int(room / geometry.detector_spacing_mm)))
    bins = max(1, geometry.detector_count // 100)
    t = torch.arange(1, extra + 1).to(data) * (geometry.detector_spacing_mm / geometry.magnification)
    sides = []
    for end, u in ((slice(None, bins), -geometry.detector_u_mm[0]), (slice(-bins, None), geometry.detector_u_mm[-1])):
        half_chord = (data[..., end].mean(-1, keepdim=True) / (2 * WATER_PER_MM)).clamp(min=1e-6)
        reach = max(u / geometry.magnification, 0.0)
        shadow = (1 - (2 * reach * t + t**2) / half_chord**2).clamp(min=0).sqrt()
        sides.append(weighted[..., end].mean(-1, keepdim=True) * shadow)
    longer = replace(geometry, detector_count=geometry.detector_count + 2 * extra)
    return torch.cat((sides[0].flip(-1), weighted, sides[1]), dim=-1), longer


def _whole_turn(geometry: CTGeometry) -> bool:
    arcs = view_weights(geometry.angles_rad, 2 * math.pi)[1]
    return bool(np.isclose(np.diff(arcs).sum(), 2 * math.pi))


def _arc_feather(theta: np.ndarray, arcs: np.ndarray) -> np.ndarray:
    """1 well inside the scanned arcs, falling smoothly to 0 at their ends and staying 0 outside."""
    if np.isclose(np.diff(arcs).sum(), 2 * math.pi):
        return np.ones_like(theta)
    result = np.zeros_like(theta)
    for start, end in arcs:
        inside = np.mod(theta - start, 2 * math.pi)
        result = np.maximum(result, _feather(np.minimum(inside, end - start - inside), _ARC_FEATHER_RAD))
    return result


def _feather(distance: np.ndarray, width: float) -> np.ndarray:
    return np.sin(np.clip(distance / width, 0, 1) * math.pi / 2) ** 2


def _filter(sinogram: Tensor, geometry: CTGeometry, window: str) -> Tensor:
    """Cosine weight and ramp filter along the detector; (slices, views, detectors) in and out."""
    if window not in WINDOWS:
        raise ValueError(f"Expected a window among {', '.join(WINDOWS)}, found {window!r}.")
    count = geometry.detector_count
    length = scipy.fft.next_fast_len(2 * count - 1, real=True)
    n = np.minimum(np.arange(length), length - np.arange(length))
    kernel = np.zeros(length)
    odd = n % 2 == 1
    kernel[odd] = -1 / (math.pi * n[odd]) ** 2
    kernel[0] = 0.25
    step = geometry.detector_spacing_mm
    cosine = np.cos(geometry.fan_angles_rad)
    if geometry.type == "fan_flat":
        step /= geometry.magnification
    elif geometry.fan_distances_mm is not None:
        sid, sdd = geometry.fan_distances_mm
        step /= sdd  # now radians
        # lags beyond the detector never meet data; keep the sine away from its next zero there
        lag = np.minimum(np.minimum(n, count) * step, 0.99 * math.pi)
        kernel /= np.sinc(lag / math.pi) ** 2
        cosine = cosine * sid
    response = scipy.fft.rfft(kernel).real / step
    if window == "hann":
        response *= 0.5 * (1 + np.cos(np.linspace(0, math.pi, len(response))))
    spectrum = torch.fft.rfft(sinogram * torch.from_numpy(cosine).to(sinogram), n=length)
    return torch.fft.irfft(spectrum * torch.from_numpy(response).to(sinogram), n=length)[..., :count]


def _backproject(filtered: Tensor, geometry: CTGeometry, grid: ImageGrid) -> Tensor:
    """Pixel-driven, linear between bins; a pixel outside the detector in some view gets nothing from that view."""
    _, views, count = filtered.shape
    x = torch.from_numpy(np.tile(grid.x_mm, grid.rows)).to(filtered)[:, None]
    y = torch.from_numpy(np.repeat(grid.y_mm, grid.columns)).to(filtered)[:, None]
    theta = torch.tensor(geometry.angles_rad, dtype=torch.float64)
    sine, cosine = torch.sin(theta).to(filtered), torch.cos(theta).to(filtered)
    data = filtered.flatten(1).t().contiguous()
    first = count * torch.arange(views, device=data.device, dtype=torch.int32)
    blocks = []
    step = max(1, (_CPU_CROSSINGS if data.device.type == "cpu" else _GPU_CROSSINGS) // views)
    for start in range(0, len(x), step):
        part = slice(start, start + step)
        across = x[part] * cosine - y[part] * sine
        if geometry.fan_distances_mm is None:
            u, gain = across, torch.ones_like(across)
        else:
            sid, sdd = geometry.fan_distances_mm
            depth = sid - x[part] * sine - y[part] * cosine
            if geometry.type == "fan_flat":
                u, gain = sdd * across / depth, (sid / depth) ** 2
            else:
                u, gain = sdd * torch.atan2(across, depth), 1 / (across**2 + depth**2)
        position = (u - geometry.detector_offset_mm) / geometry.detector_spacing_mm + (count - 1) / 2
        gain = gain * ((position > -0.5) & (position < count - 0.5))
        position = position.clamp_(0, count - 1)
        low = position.to(torch.int32).clamp_(max=max(count - 2, 0))
        fraction = position - low
        low += first
        index = torch.stack((low, low + min(1, count - 1)), dim=-1).flatten(1)
        weight = torch.stack(((1 - fraction) * gain, fraction * gain), dim=-1).flatten(1)
        blocks.append(torch.nn.functional.embedding_bag(index, data, mode="sum", per_sample_weights=weight))
    return torch.cat(blocks).t().contiguous()
