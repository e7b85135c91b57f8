"""The image's smooth phase, from the fully sampled middle of k-space.

    phi = angle sum_c conj(S_c) F^-1 (h k_c),   h: a Hann window over the middle

Coil maps that carry it, S exp(i phi), leave an image that is real but for noise and what of its phase is not smooth: so
a network of magnitudes can judge the real part, and what is left in the imaginary part is known to be small. Source of
the phase from the middle: homodyne detection, doi:10.1109/42.79473.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ...physics.masked_fourier import centred_ifft
from .sampled import middle_block


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
