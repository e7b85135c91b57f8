"""k-space bound to a grid: coil maps that carry the image's phase, network units, classical images, the scan again."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ...classical.complex_tv import complex_tv_steps
from ...classical.sense import cg_sense_steps, zero_filled
from ...classical.wavelet import wavelet_steps
from ...likelihoods.gaussian import GaussianLikelihood
from ...physics.grid import ImageGrid
from ...physics.mri import ROW_AXIS, MultiCoilFourier
from ...physics.noise import typical_noise_std
from ...physics.operator import view_axis
from ...sampling.noise import Noise
from .grids import carried

START_ITERATIONS = 8


@dataclass(frozen=True)
class Acquisition:
    """What the report and the fingerprint say of the measured samples.

    ``acceleration``: all samples over measured ones; ``pattern``: "uniform" or "random", in ``axes`` directions;
    ``acs_lines``: fully sampled ones in the middle; ``coils``: that measured, ``channels``: that are left of them;
    ``noise_percent``: of the 99.5th percentile of the image; ``partial``: one side of k-space was left out;
    ``classical``: weights of classical images by name.
    """

    acceleration: float
    pattern: str
    axes: int
    acs_lines: int
    coils: int
    channels: int
    noise_percent: float
    partial: bool = False
    classical: tuple[tuple[str, float], ...] = ()

    def weight(self, name: str) -> float:
        """Of a classical image by its name, in parts of the largest value of the zero-filled image."""
        return dict(self.classical)[name]


@dataclass(frozen=True, eq=False)
class MRISystem:
    """Samples on a matrix; images are complex, their smooth phase is removed, a network unit is ``unit`` of the input.

    ``measured``: the likelihood of images in the input's unit, whose variance is infinite where nothing was measured;
    ``imaginary_std``: of what is left in the imaginary part, network units; None: the phase is not smooth.
    ``removed``: the smooth phase (slices, rows, columns), radians.
    """

    grid: ImageGrid
    measured: GaussianLikelihood
    unit: float
    acquisition: Acquisition
    imaginary_std: float | None = None
    removed: Tensor | None = None

    complex_images = True

    @cached_property
    def likelihood(self) -> GaussianLikelihood:
        """Of images in network units."""
        operator: Any = self.measured.operator
        return replace(self.measured, operator=replace(operator, maps=operator.maps * self.unit))

    @property
    def data(self) -> Tensor:
        """Samples (slices, coils, rows, columns), 0 where not measured."""
        return self.measured.data

    @property
    def noise_std(self) -> float:
        """Of a complex sample, the input's unit."""
        return typical_noise_std(self.measured.variance / self.unit**2) * self.unit

    @property
    def conversion(self) -> dict[str, float]:
        """The input's value that is 1 for a network."""
        return {"network_unit": self.unit}

    def select(self, index: slice | Tensor) -> MRISystem:
        """The data of some slices."""
        removed = None if self.removed is None else self.removed[index]
        return replace(self, measured=self.measured.select(index), removed=removed)

    def with_data(self, data: Tensor) -> MRISystem:
        """The same acquisition with other samples, on this matrix or on another one of the same field of view."""
        data = carried(data, self.grid.shape) * self._mask()[:, None]
        return replace(self, measured=replace(self.measured, data=data))

    def start(self) -> Tensor:
        """A few iterations of SENSE, network units."""
        return deque(self.classical("sense", START_ITERATIONS), 1).pop()

    def classical(self, name: str, iterations: int) -> Iterator[Tensor]:
        """The zero-filled image or the iterates of SENSE, l1-wavelet or TV, by name, network units."""
        if name == "zero-filled":
            yield zero_filled(self.measured) / self.unit
        elif name == "sense":
            yield from cg_sense_steps(self.likelihood, iterations=iterations)
        else:
            solve = wavelet_steps if name == "wavelet" else complex_tv_steps
            for image in solve(self.measured, weight=self.acquisition.weight(name), iterations=iterations):
                yield image / self.unit

    def observed(self, clean: Tensor, noise: Noise) -> MRISystem:
        """The samples of images, with white noise as in these data."""
        own = self.likelihood
        ideal = own.operator.forward(clean)
        return self.with_data(ideal + own.noise_std * noise.normal(ideal))

    def local_gaussian(self, at: Tensor) -> GaussianLikelihood:
        """The likelihood itself: it is Gaussian."""
        return self.likelihood

    def physical(self, x: Tensor) -> tuple[GaussianLikelihood, Tensor]:
        """The likelihood of images in the input's unit, and ``x`` as one of them."""
        return self.measured, x * self.unit

    def groups(self, x: Tensor) -> Tensor:
        """Mean of |y - A x|^2 / v over the samples of a line: (slices, lines that were measured).

        Of samples that are no whole lines the sum over a line's own, by their number in an average line.
        """
        return self._residual(x).sum(1).sum(2 if self.lines_are_rows else 1)[:, self.measured_lines] / (
            self._used().sum((1, 2, 3)) / len(self.measured_lines)
        )[:, None]

    def by_coil(self, x: Tensor) -> Tensor:
        """Mean of |y - A x|^2 / v over the samples of a coil: (slices, coils)."""
        return self._residual(x).sum((2, 3)) * self.data.shape[1] / self._used().sum((1, 2, 3))[:, None]

    def further_groups(self, x: Tensor) -> dict[str, Tensor]:
        """:meth:`by_coil`, of several coils."""
        return {"coil": self.by_coil(x)} if self.data.shape[1] > 1 else {}

    @property
    def lines_are_rows(self) -> bool:
        """Whether the lines of phase encoding are rows of k-space."""
        return view_axis(self.measured.operator) == ROW_AXIS

    @cached_property
    def measured_lines(self) -> Tensor:
        """The indices of rows, or columns, with samples."""
        return self._mask().any(0).any(1 if self.lines_are_rows else 0).nonzero()[:, 0]

    def show(self, x: Tensor) -> Tensor:
        """Magnitudes."""
        return x.abs()

    def phase(self, x: Tensor) -> Tensor:
        """Of images together with the smooth phase that was removed, -pi to pi, relative to that of the coil maps."""
        if self.removed is None:
            return x.angle()
        return (x * torch.polar(torch.ones_like(self.removed), self.removed)).angle()

    def describe(self) -> dict[str, Any]:
        """The acquisition as JSON values for the report."""
        own = self.acquisition
        return {
            "type": "cartesian", "acceleration": round(own.acceleration, 3), "pattern": own.pattern,
            "axes": own.axes, "acs_lines": own.acs_lines, "coils": own.coils, "channels": own.channels,
            "noise_percent": round(own.noise_percent, 4), "partial": own.partial,
            "lines": len(self.measured_lines), "lines_along": "rows" if self.lines_are_rows else "columns",
        }

    def _mask(self) -> Tensor:
        operator: MultiCoilFourier = self.measured.operator  # type: ignore[assignment]
        return operator.mask

    def _used(self) -> Tensor:
        return torch.isfinite(self.measured.variance).expand(self.data.shape)

    def _residual(self, x: Tensor) -> Tensor:
        left = self.data - self.likelihood.operator.forward(x)
        return left.abs().square() / self.measured.variance
