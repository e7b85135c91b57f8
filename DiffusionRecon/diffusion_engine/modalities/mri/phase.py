"""The image's smooth phase, from the fully sampled middle of k-space.

    phi = angle sum_c conj(S_c) F^-1 (h k_c),   h: a Hann window over the middle

Coil maps that carry it, S exp(i phi), leave an image that is real but for noise and what of its phase is not smooth: so
a network of magnitudes can judge the real part. How large the imaginary part is shows in the middle of k-space, too:

    t^2 = mean over the object of (Im x_m)^2 - v f / 2,   x_m = sum_c conj(S_c exp(i phi)) F^-1 k_c

of the whole fully sampled middle, f its share of k-space, v the noise variance of a complex sample. Source of the phase
from the middle: homodyne detection, doi:10.1109/42.79473. The estimate of t is this project's own.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ...physics.masked_fourier import centred_ifft
from .sampled import middle_block

LEAST, MOST = 0.005, 0.25
"""Of t, network units: below the first nothing is gained, beyond the second the phase is not smooth."""
OBJECT_SHARE = 0.1
"""The object is brighter than this share of the middle's own 99.9th percentile."""


def middle_window(mask: np.ndarray) -> Tensor:
    """h above: (rows, columns), 1 at frequency zero, equally wide in parts of the field's frequencies along both axes.

    As wide as the narrower side of :func:`middle_block` around frequency zero.
    """
    top, bottom, left, right = middle_block(mask)
    rows, columns = mask.shape
    reach = min(
        (rows // 2 - top + 1) / rows, (bottom - rows // 2) / rows,
        (columns // 2 - left + 1) / columns, (right - columns // 2) / columns,
    )
    tall, wide = (
        0.5 + 0.5 * torch.cos(torch.pi * ((torch.arange(n) - n // 2) / (n * max(reach, 1 / n))).clamp(-1, 1))
        for n in (rows, columns)
    )
    return tall[:, None] * wide


def smooth_phase(kspace: Tensor, maps: Tensor, window: Tensor) -> Tensor:
    """phi above, radians: (slices, rows, columns) from k-space and maps (slices, coils, rows, columns)."""
    return (maps.conj() * centred_ifft(kspace * window.to(kspace.device))).sum(-3).angle()


def imaginary_std(kspace: Tensor, maps: Tensor, masks: np.ndarray, std: float, unit: float) -> float | None:
    """t above in units of ``unit``, LEAST or more; None beyond MOST, or where the middle tells nothing.

    ``kspace``, ``maps``: (slices, coils, rows, columns), the maps with the smooth phase; ``masks``: (slices, rows,
    columns); ``std``: of a complex sample, in the unit of the data, as is ``unit``.
    """
    squares, count = 0.0, 0
    for samples, own, mask in zip(kspace, maps, masks, strict=True):
        top, bottom, left, right = middle_block(mask)
        if bottom <= top or right <= left:
            return None
        middle = torch.zeros_like(samples)
        middle[:, top:bottom, left:right] = samples[:, top:bottom, left:right]
        image = (own.conj() * centred_ifft(middle)).sum(0)
        size = image.abs()
        inside = size > OBJECT_SHARE * torch.quantile(size.flatten()[:: max(1, size.numel() >> 20)], 0.999)
        share = (bottom - top) * (right - left) / mask.size
        squares += float(image.imag[inside].square().sum()) - int(inside.sum()) * std**2 * share / 2
        count += int(inside.sum())
    t = (max(squares, 0.0) / max(count, 1)) ** 0.5 / unit
    return max(t, LEAST) if t <= MOST else None
