"""Parallel-beam sinograms of CT slices: half a turn of views, and what continues it.

    p(theta, u) = integral of mu over the line x cos theta - y sin theta = u,    p(theta + pi, u) = p(theta, -u)

so that a half turn may begin at any view: its last view is followed by its first ones, with the detector mirrored.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..denoiser import Denoiser, positions
from ..modalities.ct.scale import hu_to_attenuation
from ..physics.ct import ImageGrid, parallel_geometry
from ..physics.ct_matrix import MatrixProjector

VIEWS = 180
"""Views of a half turn, a multiple of four."""
SLICES_A_VOLUME = 16
"""Number of slices of a volume that are scanned, evenly spread: neighbours are similar, and scanning takes time."""
PADDED_TO = 64
"""Slices are padded with air to squares of a multiple of this, so that few projectors serve all volumes."""
HALF_TURN_MM = 200.0 * math.pi
"""Length that stands for half a turn in position channels, which makes them angles from the middle view in radians."""


def line_integrals(hu: np.ndarray, pixel_mm: np.ndarray) -> np.ndarray:
    """Line integrals (slices, VIEWS, detectors) of slices (slices, rows, columns) in HU, of one pixel size each in mm.

    Detectors are as far apart as pixels and cover the diagonal of the padded square, so that no view is cut off.
    """
    square = squared(torch.from_numpy(hu_to_attenuation(hu.astype(np.float32))), 0.0)
    # On pixels of 1 mm; a line through others is as much longer as they are wider.
    return half_turn(square, VIEWS).numpy() * pixel_mm.astype(np.float32)[:, None, None]


def squared(images: Tensor, air: float) -> Tensor:
    """Images (..., rows, columns) in the middle of squares whose edge is a multiple of PADDED_TO, ``air`` around."""
    rows, columns = images.shape[-2:]
    size = -(-max(rows, columns) // PADDED_TO) * PADDED_TO
    top, left = (size - rows) // 2, (size - columns) // 2
    return F.pad(images, (left, size - columns - left, top, size - rows - top), value=air)


def half_turn(images: Tensor, views: int) -> Tensor:
    """Views over 180 degrees (batch, views, detectors) of square images (batch, n, n) on pixels of 1 mm.

    Only an eighth of a turn is projected: the views from 45 to 90 degrees are those of the transposed image in reverse
    with mirrored detector, and the second quarter is the first of the image turned by 90 degrees. Raises ValueError for
    images that are not square and for views that are no multiple of four.
    """
    if images.ndim != 3 or images.shape[-1] != images.shape[-2] or views < 4 or views % 4:
        raise ValueError(
            f"expected square images (batch, n, n) and a multiple of four views, found {tuple(images.shape)} and "
            f"{views}: pad the images, or choose other views"
        )
    projector = _eighth(images.shape[-1], views // 4)

    def quarter(x: Tensor) -> Tensor:
        across = projector.forward(x.transpose(-1, -2))[:, 1:-1]
        return torch.cat([projector.forward(x), across.flip(-2, -1)], dim=1)

    return torch.cat([quarter(images), quarter(images.flip(-2).transpose(-1, -2))], dim=1)


@functools.lru_cache(maxsize=3)
def _eighth(size: int, last: int) -> MatrixProjector:
    """Views 0 to ``last``, from 0 to 45 degrees, of ``size`` x ``size`` pixels of 1 mm."""
    grid = ImageGrid(size, size, (1.0, 1.0))
    geometry = parallel_geometry(grid, last + 1, math.pi / 4 * (last + 1) / last)
    return MatrixProjector(geometry, grid, torch.device("cpu"), torch.float32)


def continued(sinograms: Tensor, first: int, count: int) -> Tensor:
    """Views ``first`` to ``first + count`` (..., count, detectors) of half turns (..., views, detectors).

    Any whole ``first``, negative ones too: every half turn has the same readings, on a mirrored detector.
    """
    views = sinograms.shape[-2]
    index = torch.arange(first, first + count)
    chosen = sinograms[..., index % views, :]
    odd = (index // views % 2 == 1)[:, None]
    return torch.where(odd, chosen.flip(-1), chosen)


def sinogram_positions(
    views: int, detectors: int, detector_mm: float, first: int = 0, count: int | None = None
) -> Tensor:
    """Position channels (2, count, detectors): angle from the middle of the half turn in radians, offset in 200 mm.

    Of the views ``first`` to ``first + count`` (all of them) as of :func:`continued`, whose angles go on beyond the
    half turn.
    """
    count = views if count is None else count
    pitch = HALF_TURN_MM / views
    centre = (first + (count - 1) / 2 - (views - 1) / 2) * pitch
    return positions(count, detectors, (pitch, detector_mm), (centre, 0.0))


@dataclass(frozen=True, eq=False)
class HalfTurnDenoiser:
    """A denoiser of whole half turns: it sees ``margin`` views more at either end, as they continue.

    x: (batch, 1, views, detectors). The position channels follow from ``detector_mm``; a given condition is refused.
    """

    denoiser: Denoiser
    detector_mm: float
    margin: int = 32

    def __call__(self, x: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
        if condition is not None:
            raise ValueError("a denoiser of half turns makes its own position channels: give no condition")
        views, detectors = x.shape[-2:]
        more = views + 2 * self.margin
        place = sinogram_positions(views, detectors, self.detector_mm, -self.margin, more)
        found = self.denoiser(continued(x, -self.margin, more), sigma, place)
        return found[..., self.margin : self.margin + views, :]
