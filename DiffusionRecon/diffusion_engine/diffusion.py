"""Draws of some slices of a problem by the chosen solver, a step at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .classical.fbp import fbp
from .coupling import coupling_named
from .orientation import turn_of
from .posterior.calibration import Acquisition, acquisition_of
from .priors.card import NEIGHBOURS, VOLUME, check_use
from .priors.denoiser import positions
from .priors.library import Prior
from .priors.neighbours import DownwardStack
from .priors.slices import resample
from .problem import Problem
from .sampling.noise import Noise, numbered_draws
from .settings import Settings
from .solvers.catalogue import METHODS, method_named
from .solvers.contract import SolverStep
from .solvers.listing import check_coupling, listed_methods
from .solvers.start import predicted_start_error, start_level


@dataclass(frozen=True, eq=False)
class DrawStep:
    """One solver step of one draw (from 1), and the noise level at which the draw began."""

    draw: int
    step: SolverStep
    sigma_start: float

    @property
    def estimate(self) -> Tensor:
        """Clean image so far, (slices, rows, columns), network units, on the prior's grid."""
        return self.step.estimate

    @property
    def finished(self) -> bool:
        return self.step.index == self.step.total


def diffusion_draws(
    problem: Problem, settings: Settings, prior: Prior, chunk: slice, surrogate: Tensor
) -> Iterator[DrawStep]:
    """``settings.draws`` draws of some slices, a solver step at a time.

    ``surrogate``: (slices, rows, columns) in units of water, a rough image from which the error of the start is
    predicted. Raises ValueError as :func:`check_use`.
    """
    check_use(prior.card, settings.solver, settings.coupling)
    water, grid = settings.water_per_mm, problem.prior_grid
    likelihood = problem.prior_likelihood.select(chunk)
    generator = torch.Generator().manual_seed(settings.seed * 1_000_003 + chunk.start)

    def classical(data: Tensor) -> Tensor:
        # Nothing attenuates less than air: what a filtered image has below it is known to be error.
        return fbp(data, problem.geometry, grid, extend=problem.truncated).clamp_min(0)

    sigma = settings.sigma_start
    if sigma is None:
        attenuation = resample(surrogate, *grid.shape) * water
        error = predicted_start_error(attenuation, likelihood, classical, generator) / water
        sigma = start_level(error, prior.card.start_error)
    start = classical(likelihood.data) / water - 1
    network = likelihood.scaled(water, 1.0)
    method = method_named(settings.solver)
    low, high = prior.card.sigma
    # No network is asked beyond the noise levels that it was trained on.
    options = method.options(
        {**taught_options(prior), **settings.solver_options}, steps=settings.steps, sigma_start=sigma,
        sigma_data=prior.card.sigma_data, sigma_max=high, sigma_min=low, rho_max=high, rho_min=low,
    )
    place = positions(*grid.shape, grid.pixel_mm, grid.centre_mm).to(start.device)
    noise = Noise(generator)
    coupling, spacing = coupling_named(settings.coupling), problem.frame.spacing_mm[2]
    denoiser = coupling.denoiser(prior, spacing)
    if settings.coupling in (NEIGHBOURS, VOLUME) and turn_of(problem.frame).downward:
        denoiser = DownwardStack(denoiser)
    for draw in numbered_draws(noise, settings.draws, getattr(options, "antithetic", False)):
        coupled, shared = coupling.couple(network, noise, spacing)
        for step in method.solve(denoiser, coupled, start, options, shared, place):
            yield DrawStep(draw, step, float(sigma))


def steps_of(settings: Settings) -> int | None:
    """The steps that a run's method takes, None where it has no such option."""
    return getattr(method_named(settings.solver).options(settings.solver_options, steps=settings.steps), "steps", None)


def taught_options(prior: Prior) -> dict[str, Any]:
    """The options that a prior was taught with, which stand in for its method's defaults."""
    return {name: value for name, value in prior.card.sampler.items() if name != "method"}


def options_of(settings: Settings, prior: Prior) -> dict[str, Any]:
    """All options of a run's method, its defaults too: where a version changes one, what was calibrated before is not
    this run's."""
    usual = {option.name: option.default for option in listed_methods()[settings.solver].options}
    return {**usual, **taught_options(prior), **settings.solver_options}


def asked_acquisition(problem: Problem, settings: Settings, prior: Prior) -> Acquisition:
    """The acquisition of a run, as a calibration must know it: a start that was set by hand is an option too."""
    options = options_of(settings, prior)
    if settings.sigma_start is not None:
        options["sigma_start"] = settings.sigma_start
    return acquisition_of(problem, settings, steps_of(settings), options)


def check_method(settings: Settings) -> None:
    """Raise ValueError, before any work, for a method, option or coupling that cannot be used."""
    method = method_named(settings.solver)
    method.options(settings.solver_options)
    if settings.modality not in method.modalities and "diffusion" in settings.methods:
        raise ValueError(
            f"the method {method.name} is not offered for {settings.modality}: choose from "
            f"{sorted(m.name for m in METHODS.values() if settings.modality in m.modalities)}"
        )
    coupling_named(settings.coupling)
    check_coupling(settings.coupling, listed_methods()[method.name], settings.solver_options)
