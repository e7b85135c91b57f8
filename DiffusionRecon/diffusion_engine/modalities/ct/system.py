"""CT data bound to a grid: the conversion between network units and attenuation, FBP and TV, the scan made again."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ...classical.fbp import fbp
from ...classical.tv import tv_steps
from ...likelihoods.gaussian import GaussianLikelihood
from ...physics.arc import seen_arc
from ...physics.ct import CTGeometry
from ...physics.grid import ImageGrid
from ...physics.noise import typical_noise_std
from ...sampling.noise import Noise
from .simulate import readings

LEFT_OUT, FEWEST_VIEWS = 10, 8
"""One view of so many is left out to be foretold, two at least; nothing of a scan with fewer views."""


@dataclass(frozen=True, eq=False)
class CTSystem:
    """Sinograms on a grid; a network unit is the contrast of water to air, from water on: mu = water (1 + x).

    ``measured``: the likelihood of attenuation images in 1/mm; ``water_per_mm``: attenuation of water in 1/mm;
    ``truncated``: the field of view cuts the object off; ``scatter_percent``, ``beam_hardening``: what a simulated scan
    holds of either, which nothing here corrects.
    """

    geometry: CTGeometry
    grid: ImageGrid
    measured: GaussianLikelihood
    water_per_mm: float
    truncated: bool = False
    scatter_percent: float = 0.0
    beam_hardening: bool = False

    @cached_property
    def likelihood(self) -> GaussianLikelihood:
        """Of images in network units."""
        return self.measured.scaled(self.water_per_mm, 1.0)

    @property
    def data(self) -> Tensor:
        """Line integrals (slices, views, detectors)."""
        return self.measured.data

    @property
    def noise_std(self) -> float:
        """One typical standard deviation of the line integrals."""
        return typical_noise_std(self.measured.variance)

    @property
    def complex_images(self) -> bool:
        return False

    @property
    def imaginary_std(self) -> None:
        return None

    @property
    def conversion(self) -> dict[str, float]:
        """HU = 1000 (mu / water - 1)."""
        return {"water_per_mm": self.water_per_mm}

    def select(self, index: slice | Tensor) -> CTSystem:
        """The data of some slices."""
        return replace(self, measured=self.measured.select(index))

    def with_data(self, data: Tensor) -> CTSystem:
        """The same scan with other line integrals."""
        return replace(self, measured=replace(self.measured, data=data))

    def start(self) -> Tensor:
        """The filtered images, network units."""
        # Nothing attenuates less than air: what a filtered image has below it is known to be error.
        return self._filtered().clamp_min(0) / self.water_per_mm - 1

    def classical(self, name: str, iterations: int) -> Iterator[Tensor]:
        """The filtered image ("fbp") or the iterates of total variation ("tv"), network units."""
        if name == "fbp":
            yield self._filtered() / self.water_per_mm - 1.0
            return
        # Images in units of water, which are not negative.
        for image in tv_steps(self.measured.scaled(self.water_per_mm, 0.0), iterations=iterations):
            yield image - 1

    def refined(self, iterations: int) -> Iterator[Tensor]:
        """The iterates of total variation that begin with the filtered image, network units."""
        start = self.start() + 1
        for image in tv_steps(self.measured.scaled(self.water_per_mm, 0.0), iterations=iterations, start=start):
            yield image - 1

    def observed(self, clean: Tensor, noise: Noise) -> CTSystem:
        """Line integrals of images on pixels halved, detector bins averaged in pairs, and noise as in these data."""
        ideal = readings(self.attenuation(clean), self.geometry, self.grid)
        return self.with_data(ideal + self.measured.noise_std * noise.normal(ideal))

    def divided(self) -> tuple[CTSystem, CTSystem] | None:
        """The scan without evenly spread views, a tenth of them and two at least, and these; None for fewer than 8."""
        count = len(self.geometry.angles_rad)
        if count < FEWEST_VIEWS:
            return None
        every = min(LEFT_OUT, count // 2)
        places = torch.arange(count, device=self.data.device)
        apart = places % every == every // 2
        return self._some(places[~apart]), self._some(places[apart])

    def local_gaussian(self, at: Tensor) -> GaussianLikelihood:
        """The likelihood itself: it is Gaussian."""
        return self.likelihood.local_gaussian(at)

    def physical(self, x: Tensor) -> tuple[GaussianLikelihood, Tensor]:
        """The likelihood of attenuation images, and ``x`` as one of them."""
        return self.measured, self.attenuation(x)

    def groups(self, x: Tensor) -> Tensor:
        """Mean over the detector of ((y - A x) / sigma)^2: (slices, views)."""
        return self.measured.residual_per_view(self.attenuation(x))

    def show(self, x: Tensor) -> Tensor:
        return x

    def describe(self) -> dict[str, Any]:
        """The geometry as JSON values for the report."""
        g = self.geometry
        seen = seen_arc(g)
        return {
            "type": g.type, "views": len(g.angles_rad), "arc_degrees": round(math.degrees(seen.covered_rad), 3),
            "largest_gap_degrees": round(math.degrees(seen.largest_gap_rad), 3),
            "detector_count": g.detector_count, "detector_spacing_mm": g.detector_spacing_mm,
            "detector_offset_mm": g.detector_offset_mm, "source_to_isocentre_mm": g.source_to_isocentre_mm,
            "source_to_detector_mm": g.source_to_detector_mm,
        }

    def attenuation(self, x: Tensor) -> Tensor:
        """mu = water (1 + x) in 1/mm."""
        return (1.0 + x) * self.water_per_mm

    def _some(self, index: Tensor) -> CTSystem:
        """The data of some views."""
        angles = tuple(self.geometry.angles_rad[n] for n in index.tolist())
        return replace(self, geometry=replace(self.geometry, angles_rad=angles), measured=self.measured.subset(index))

    def _filtered(self) -> Tensor:
        return fbp(self.measured.data, self.geometry, self.grid, extend=self.truncated)
