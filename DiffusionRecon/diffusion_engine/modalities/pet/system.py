"""Counts bound to a grid: the emission likelihood, network units, classical images, the scan again."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ...classical.osem import osem_steps
from ...classical.relative_difference import RelativeDifference, certainty, relative_difference_steps
from ...likelihoods.gaussian import GaussianLikelihood
from ...likelihoods.poisson import PoissonEmission
from ...likelihoods.relinearised import RelinearisedLikelihood
from ...physics.grid import ImageGrid
from ...physics.pet import smoothed
from ...sampling.noise import Noise

EARLY_ITERATIONS, EARLY_SUBSETS, EARLY_FILTER_MM = 2, 10, 5.0
"""Of the image that network units and starts come from, whatever the settings of a run."""
EPSILON = 0.002
"""Of the relative difference penalty, network units: a hundredth of what the background of a body takes up."""


@dataclass(frozen=True)
class Acquisition:
    """What the report and the fingerprint say of the counts, and settings of classical images.

    ``counts``: true coincidences of a slice in millions, mean over the slices; ``background_percent``: of the trues;
    ``calibrated``: whether images have an absolute unit; ``denoised``: the counts are those that an image foretells,
    see :mod:`.denoising`.
    """

    counts: float
    background_percent: float
    angles: int
    bins: int
    bin_mm: float
    psf_mm: float
    attenuated: bool
    calibrated: bool
    osem_subsets: int = EARLY_SUBSETS
    osem_filter_mm: float = EARLY_FILTER_MM
    rdp_weight: float = 1.0
    rdp_gamma: float = 2.0
    denoised: bool = False


@dataclass(frozen=True, eq=False)
class PETSystem:
    """Counts of direct planes on a grid; a network unit is ``unit`` of the delivered activity.

    ``measured``: the likelihood of images in the delivered unit; bins of sensitivity 0 hold no counts in it.
    """

    grid: ImageGrid
    measured: PoissonEmission
    unit: float
    acquisition: Acquisition

    complex_images = False
    imaginary_std = None

    @cached_property
    def likelihood(self) -> PoissonEmission:
        """Of images in network units."""
        return self.measured.scaled(self.unit, 0.0)

    @property
    def data(self) -> Tensor:
        """Counts less the expected background (slices, angles, bins)."""
        return self.measured.data - self.measured.background

    @property
    def noise_std(self) -> float:
        """sqrt of the mean count of a bin."""
        return float(self.measured.data.mean().sqrt())

    @property
    def conversion(self) -> dict[str, float]:
        """The activity that is 1 for a network."""
        return {"network_unit": self.unit}

    @property
    def alive(self) -> Tensor:
        """Bins that see something: (slices or 1, angles or 1, bins or 1)."""
        operator: Any = self.measured.operator
        return operator.factors > 0

    def select(self, index: slice | Tensor) -> PETSystem:
        """The data of some slices."""
        return replace(self, measured=self.measured.select(index))

    def with_data(self, data: Tensor) -> PETSystem:
        """The same acquisition with other counts less background; what is below 0 with it becomes 0."""
        counts = (data + self.measured.background).clamp_min(0)
        return replace(self, measured=replace(self.measured, data=counts * self.alive))

    def start(self) -> Tensor:
        """An early OSEM image, network units."""
        return early_image(self.measured, self.grid) / self.unit

    def classical(self, name: str, iterations: int) -> Iterator[Tensor]:
        """The filtered iterates of OSEM ("osem"), or those of the penalised likelihood ("rdp"), network units."""
        own = self.acquisition
        if name == "osem":
            subsets = min(own.osem_subsets, own.angles)
            for image in osem_steps(self.measured, subsets=subsets, iterations=iterations):
                yield smoothed(image, self.grid.pixel_mm, own.osem_filter_mm) / self.unit
        else:
            yield from self.penalised(own.rdp_weight, iterations)

    def penalised(self, weight: float | Tensor, iterations: int) -> Iterator[Tensor]:
        """The iterates of the penalised likelihood with a ``weight`` in 1 / network unit, one or one a slice."""
        likelihood, early = self.likelihood, self.start()
        prior = RelativeDifference(EPSILON, self.acquisition.rdp_gamma, kappa=certainty(likelihood, early))
        yield from relative_difference_steps(
            likelihood, prior, weight=weight, subsets=min(EARLY_SUBSETS, self.acquisition.angles),
            iterations=iterations, start=early,
        )

    def observed(self, clean: Tensor, noise: Noise) -> PETSystem:
        """The counts of images, by Poisson's law with the expected background of these data."""
        mean = self.measured.mean(clean.clamp_min(0) * self.unit)
        drawn = [
            torch.from_numpy(stream.poisson(own.double().cpu().numpy()))
            for own, stream in zip(mean, noise.streams(len(mean)), strict=True)
        ]
        return replace(self, measured=replace(self.measured, data=torch.stack(drawn).to(mean) * self.alive))

    def local_gaussian(self, at: Tensor) -> GaussianLikelihood:
        """The Gaussian likelihood that the counts have near ``at``, network units, and that follows the estimate."""
        return RelinearisedLikelihood.of(self.likelihood, at.clamp_min(0))

    def physical(self, x: Tensor) -> tuple[GaussianLikelihood, Tensor]:
        """The Gaussian likelihood near ``x`` of images in the delivered unit, and ``x`` as one of them.

        Dead bins say nothing.
        """
        images = x * self.unit
        near = self.measured.local_gaussian(images.clamp_min(0))
        return replace(near, variance=near.variance.masked_fill(~self.alive, torch.inf)), images

    def groups(self, x: Tensor) -> Tensor:
        """Deviance of each view over that expected of an average one: (slices, views); dead bins hardly count."""
        return self.measured.residual_per_view(x * self.unit)

    def show(self, x: Tensor) -> Tensor:
        """Images themselves."""
        return x

    def describe(self) -> dict[str, Any]:
        """The acquisition as JSON values for the report."""
        own = self.acquisition
        return {
            "counts": round(own.counts, 6), "background_percent": round(own.background_percent, 3),
            "angles": own.angles, "bins": own.bins, "bin_mm": own.bin_mm, "psf_mm": own.psf_mm,
            "attenuated": own.attenuated, "calibrated": own.calibrated, "denoised": own.denoised,
        }


def early_image(measured: PoissonEmission, grid: ImageGrid) -> Tensor:
    """OSEM of 2 iterations and 10 subsets under a filter of 5 mm, in the unit of the likelihood's images."""
    subsets = min(EARLY_SUBSETS, measured.operator.out_shape[-2])
    image = deque(osem_steps(measured, subsets=subsets, iterations=EARLY_ITERATIONS), 1).pop()
    return smoothed(image, grid.pixel_mm, EARLY_FILTER_MM)
