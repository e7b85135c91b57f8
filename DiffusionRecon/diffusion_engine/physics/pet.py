"""Expected coincidences of a positron emitter in direct planes: the projector of emission tomography.

    A x = s * (P G x),   A' y = G' P' (s * y),   s = duration * counts_per_bq * efficiency * attenuation of each bin

x is the activity in Bq/mL, P the line integrals in mm of the parallel-beam projector, G a Gaussian point spread in the
plane. Everything that multiplies a line stands in s, everything that adds to it (randoms, scatter) in the likelihood.
Source: Qi and Leahy, doi:10.1088/0031-9155/51/15/R01.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.special import ive
from torch import Tensor

from .ct import CTGeometry, ImageGrid, make_projector
from .operator import LinearOperator, some_views, taken

VIEW_AXIS = -2
FWHM_PER_SIGMA = math.sqrt(8 * math.log(2))
"""Full width at half maximum of a Gaussian over its standard deviation."""


@dataclass(frozen=True, eq=False)
class EmissionProjector:
    """Activity (..., rows, columns) in Bq/mL to expected coincidences (..., angles, bins).

    ``lines``: the line integrals P in mm, all of whose weights are at least 0 where EM is to be used (see
    :func:`emission_lines`); ``factors``: s, counts that one Bq/mL along one mm of a line gives, at least 0, 0 for a
    dead bin; of shape (angles, bins) or (slices, angles, bins), any of them 1; ``fwhm_mm``: of the point spread G, 0
    for none; ``pixel_mm``: (row, column) spacing of the images. Factors of more than one slice belong to images of as
    many, the last axis before the rows; :meth:`of_images` takes the same part. Raises ValueError for factors that are
    negative, not finite or of another shape, and for a point spread below 0.
    """

    lines: LinearOperator
    factors: Tensor
    pixel_mm: tuple[float, float]
    fwhm_mm: float = 0.0

    def __post_init__(self) -> None:
        shape, wanted = tuple(self.factors.shape), tuple(self.lines.out_shape)
        fits = len(shape) in (2, 3) and all(n in (1, m) for n, m in zip(shape[-2:], wanted, strict=True))
        if not fits:
            raise ValueError(f"expected count factors (angles, bins) or (slices, angles, bins) of {wanted} or 1, found "
                             f"{shape}: give one for each bin of the sinogram")
        if not bool((torch.isfinite(self.factors) & (self.factors >= 0)).all()):
            raise ValueError("expected finite count factors of 0 or more, found others: correct the normalisation or "
                             "the attenuation factors, with 0 for a dead bin")
        if not (math.isfinite(self.fwhm_mm) and self.fwhm_mm >= 0):
            raise ValueError(f"expected a point spread of 0 mm or more, found {self.fwhm_mm}: give its full width at "
                             "half maximum")

    @property
    def in_shape(self) -> tuple[int, ...]:
        return tuple(self.lines.in_shape)

    @property
    def out_shape(self) -> tuple[int, ...]:
        return tuple(self.lines.out_shape)

    @property
    def view_axis(self) -> int:
        return VIEW_AXIS

    def forward(self, x: Tensor) -> Tensor:
        """A x: expected counts (..., angles, bins) without background."""
        return self.lines.forward(smoothed(x, self.pixel_mm, self.fwhm_mm)) * self.factors.to(x)

    def adjoint(self, y: Tensor) -> Tensor:
        """A' y: (..., rows, columns)."""
        return smoothed(self.lines.adjoint(y * self.factors.to(y)), self.pixel_mm, self.fwhm_mm)

    def subset(self, index: slice | Tensor) -> EmissionProjector:
        """The projector of some angles."""
        own = self.factors.shape[VIEW_AXIS] > 1
        factors = taken(self.factors, index, VIEW_AXIS) if own else self.factors
        return replace(self, lines=some_views(self.lines, index), factors=factors)

    def of_images(self, index: slice | Tensor) -> EmissionProjector:
        """The projector of some images: their factors where each has its own."""
        own = self.factors.ndim == 3 and len(self.factors) > 1
        return replace(self, factors=self.factors[index]) if own else self


def smoothed(x: Tensor, pixel_mm: tuple[float, float], fwhm_mm: float) -> Tensor:
    """G x: images (..., rows, columns) under a Gaussian of ``fwhm_mm`` in the plane, zero beyond the edges; G = G'.

    The kernel exp(-t) I_k(t) of t = (sigma / pixel)^2 has exactly that variance at every width, and sums to 1. Source:
    Lindeberg, doi:10.1109/34.49051.
    """
    if fwhm_mm == 0:
        return x
    rows, columns = (_blur(n, fwhm_mm / size).to(x) for n, size in zip(x.shape[-2:], pixel_mm, strict=True))
    return rows @ x @ columns


@functools.lru_cache(maxsize=32)
def _blur(count: int, fwhm_pixels: float) -> Tensor:
    """The symmetric matrix (count, count) of the discrete Gaussian."""
    place = np.arange(count)
    return torch.from_numpy(ive(np.abs(place[:, None] - place), (fwhm_pixels / FWHM_PER_SIGMA) ** 2))


def emission_geometry(angles_rad: tuple[float, ...], bins: int, bin_mm: float, centre_bin: float | None = None,
                      time_of_flight_bins: int = 1) -> CTGeometry:
    """Where the lines of response of a direct plane run: those of :class:`CTGeometry` for parallel rays.

    Bin k at angle theta is the line through u (cos theta, -sin theta), as (x along columns, y along rows), along
    (sin theta, cos theta), with u = (k - centre_bin) * bin_mm; ``centre_bin``: that of the rotation axis, the middle
    unless given. Raises ValueError for time of flight.
    """
    if time_of_flight_bins != 1:
        raise ValueError(f"expected a sinogram without time of flight, found {time_of_flight_bins} time-of-flight "
                         "bins, which this projector does not know: sum the sinogram over them")
    middle = (bins - 1) / 2
    offset = 0.0 if centre_bin is None else (middle - centre_bin) * bin_mm
    return CTGeometry("parallel", angles_rad, bins, bin_mm, offset)


def emission_lines(geometry: CTGeometry, grid: ImageGrid, *, device: str | torch.device = "cpu",
                   dtype: torch.dtype = torch.float32) -> LinearOperator:
    """P of a direct plane by linear interpolation, none of whose weights is negative, as EM needs.

    Cubic interpolation, which CT reconstructs with, has negative weights: a bright pixel would lower the counts of
    lines beside it, and EM divides by them.
    """
    if geometry.type != "parallel":
        raise ValueError(f"expected the parallel lines of a rebinned sinogram, found geometry {geometry.type}: "
                         "rebin it")
    return make_projector(geometry, grid, device=device, dtype=dtype, interpolation="linear")


def count_factors(duration_s: float | None, counts_per_bq: float | None, efficiency: Tensor | None,
                  attenuation: Tensor | None) -> Tensor:
    """s = duration * counts_per_bq * efficiency * attenuation, what is not known being 1: (1, 1) at least.

    ``duration_s`` in s; ``counts_per_bq``: counts a second of 1 Bq/mL along 1 mm of a line; ``efficiency``: relative
    sensitivity of each bin, 0 where dead; ``attenuation``: survival probability of each line, (0, 1]. Where duration or
    calibration is not known, images are in relative units.
    """
    s = torch.ones(1, 1)
    for name, number in (("duration", duration_s), ("calibration", counts_per_bq)):
        if number is None:
            continue
        if not (math.isfinite(number) and number > 0):
            raise ValueError(f"expected a positive {name}, found {number}: correct it, or leave it out for an image in "
                             "relative units")
        s = s * number
    for bins in (efficiency, attenuation):
        s = s if bins is None else s * bins
    return s
