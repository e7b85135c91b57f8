"""Draws of some slices of a problem by the chosen solver, a step at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..coupling import coupling_named
from ..coupling.ztv import ZTVLikelihood
from ..denoiser import Denoiser, positions, told_start
from ..likelihoods.gaussian import GaussianLikelihood
from ..modalities.contract import System
from ..modalities.prepared import Prepared
from ..orientation import turn_of
from ..physics.grid import ImageGrid
from ..posterior.calibration import Acquisition
from ..priors.card import NEIGHBOURS, VOLUME, check_use
from ..priors.conditions import START
from ..priors.library import Prior
from ..priors.neighbours import DownwardStack
from ..priors.real_part import for_images
from ..priors.slices import resample
from ..sampling.noise import Noise
from ..solvers.catalogue import method_named
from ..solvers.contract import Method, SolverStep
from ..solvers.dds import DDSSettings
from ..solvers.effort import joined
from ..solvers.listing import check_coupling, listed_methods, ties_slices
from ..solvers.start import predicted_start_error, start_levels
from .settings import Settings
from .slabs import Slabs, dds_in_slabs


@dataclass(frozen=True, eq=False)
class DrawStep:
    """One solver step of one draw (from 1), and the noise level at which each slice began."""

    draw: int
    step: SolverStep
    sigma_start: tuple[float, ...]

    @property
    def estimate(self) -> Tensor:
        """Clean image so far, (slices, rows, columns), network units, on the prior's grid."""
        return self.step.estimate

    @property
    def finished(self) -> bool:
        return self.step.index == self.step.total


def diffusion_draws(
    problem: Prepared[Any], settings: Settings, prior: Prior, chunk: slice, surrogate: Tensor, in_slabs: bool = False
) -> Iterator[DrawStep]:
    """``settings.draws`` draws of some slices, a solver step at a time.

    What a slice becomes depends on its data, the seed and its place in the stack alone, unless slices are tied to each
    other: those that begin at one noise level are solved together, and all step together. ``surrogate``: (slices,
    rows, columns) in network units, a rough image from which the error of the start is predicted. ``in_slabs``: tied
    slices are solved ``settings.slab`` at a time, at every noise level, for a method and a coupling that
    :func:`.solvers.listing.solves_in_slabs` allows; estimates are then on the CPU. Raises ValueError as
    :func:`check_use`.
    """
    check_use(prior.card, settings.solver, settings.coupling)
    system = problem.prior.select(chunk)
    grid: ImageGrid = system.grid
    method = method_named(settings.solver)
    sigma = first_levels(problem, settings, prior, chunk, surrogate)
    network = likelihood_for(method, system)
    place = positions(*grid.shape, grid.pixel_mm, grid.centre_mm).to(network.data.device)
    noise = problem.noise(settings.seed, "draw", chunk)
    coupling, spacing = coupling_named(settings.coupling), problem.frame.spacing_mm[2]
    denoiser = coupling.denoiser(prior, spacing)
    if settings.coupling in (NEIGHBOURS, VOLUME) and turn_of(problem.frame).downward:
        denoiser = DownwardStack(denoiser)
    denoiser = for_images(denoiser, system.imaginary_std)

    def start(part: slice | Tensor) -> Tensor:
        return system.select(part).start()

    # A method that samples the posterior from noise would count the data of the start twice.
    told = prior.card.told == START and method.start == "image"

    def seen(images: Tensor) -> Tensor:
        """Positions and, of a network that is told them, the images that a run starts from."""
        return told_start(place, images) if told else place

    if in_slabs:
        options = solver_options(settings, prior, sigma[0], system.complex_images)
        if told:
            place = seen(start(slice(0, chunk.stop - chunk.start)))
        yield from _in_slabs(settings, options, network, start, noise, denoiser, spacing, place, tuple(sigma))
        return
    groups = {level: [n for n, own in enumerate(sigma) if own == level] for level in sorted(set(sigma))}
    chosen = {level: solver_options(settings, prior, level, system.complex_images) for level in groups}
    pairs = any(getattr(given, "antithetic", False) for given in chosen.values())
    indices = {level: torch.tensor(members, device=place.device) for level, members in groups.items()}
    images = {level: start(index) for level, index in indices.items()}
    order = torch.cat(list(indices.values())).argsort()
    for draw, numbers in noise.draws(settings.draws, pairs):
        runs = []
        for level, members in groups.items():
            coupled, shared = coupling.couple(network.select(indices[level]), numbers.of(members), spacing)
            runs.append(method.solve(denoiser, coupled, images[level], chosen[level], shared, seen(images[level])))
        for steps in zip(*runs, strict=True):
            together = torch.cat([step.estimate for step in steps])[order]
            effort = joined(step.effort for step in steps)
            yield DrawStep(draw, replace(steps[-1], estimate=together, effort=effort), tuple(sigma))


def _in_slabs(
    settings: Settings, options: DDSSettings, network: GaussianLikelihood, start: Callable[[slice], Tensor],
    noise: Noise, denoiser: Denoiser, spacing: float, place: Tensor, sigma: tuple[float, ...],
) -> Iterator[DrawStep]:
    """The draws of :func:`diffusion_draws` with a slab of the stack at a time."""
    coupling = coupling_named(settings.coupling)
    for draw, numbers in noise.draws(settings.draws, options.antithetic):
        coupled, shared = coupling.couple(network, numbers, spacing)
        tie = coupled.weight if isinstance(coupled, ZTVLikelihood) else 0.0
        slabs = Slabs(settings.slab, tie, reach=coupling.reach(spacing))
        for step in dds_in_slabs(denoiser, network, start, options, shared, slabs, place):
            yield DrawStep(draw, step, sigma)


def likelihood_for(method: Method, system: System) -> Any:
    """The likelihood in network units that a method can take: the data's own, or its stand-in near the start."""
    own = system.likelihood
    return own if own.kind in method.likelihoods else gaussian_near_start(system)


def gaussian_near_start(system: System) -> GaussianLikelihood:
    """The likelihood in network units where it is Gaussian, else its stand-in near the start."""
    own = system.likelihood
    return own if isinstance(own, GaussianLikelihood) else system.local_gaussian(system.start())


def first_levels(
    problem: Prepared[Any], settings: Settings, prior: Prior, chunk: slice, surrogate: Tensor
) -> list[float]:
    """The noise level at which each slice begins: its own, the largest of all where slices are tied to each other.

    ``surrogate`` as in :func:`diffusion_draws`.
    """
    count = chunk.stop - chunk.start
    if settings.first_level is not None:
        return [float(settings.first_level)] * count
    whole = problem.prior.select(chunk)
    levels: list[float] = []
    for part in parts_of(slice(0, count), settings.slab):
        system, image = whole.select(part), resample(surrogate[part], *problem.prior.grid.shape)
        likelihood, physical = system.physical(image)

        def start(data: Tensor, system: System = system) -> Tensor:
            return system.with_data(data).start()

        noise = problem.noise(settings.seed, "start", chunk).of(range(part.start, part.stop))
        error = predicted_start_error(image, likelihood, start, noise, physical)
        levels += start_levels(error, prior.card.start_error)
    tied = ties_slices(listed_methods()[settings.solver], settings.coupling)
    return [max(levels)] * count if tied else levels


def solver_options(settings: Settings, prior: Prior, sigma: float, complex_images: bool = False) -> Any:
    """The options of a run whose first noise level is ``sigma``; no network is asked beyond the levels it knows.

    Of complex images it sees the parts, which have 1 / sqrt(2) of their noise, see :class:`..priors.library.Prior`.
    """
    low, high = (level * math.sqrt(2) if complex_images else level for level in prior.card.sigma)
    return method_named(settings.solver).options(
        {**taught_options(prior), **settings.options}, steps=settings.usual_steps, sigma_start=sigma,
        sigma_data=prior.card.sigma_data, sigma_max=high, sigma_min=low, rho_max=high, rho_min=low,
    )


def solved_together(slices: int, settings: Settings) -> int:
    """How many of ``slices`` a run solves at once: all where they are tied to each other, else a slab."""
    tied = settings.draws_images and ties_slices(listed_methods()[settings.solver], settings.coupling)
    return slices if tied else min(slices, settings.slab)


def parts_of(chunk: slice, size: int) -> list[slice]:
    """Some slices in parts of at most ``size``, in order."""
    return [slice(first, min(first + size, chunk.stop)) for first in range(chunk.start, chunk.stop, size)]


def steps_of(settings: Settings) -> int | None:
    """The steps that a run's method takes, None where it has no such option."""
    return getattr(method_named(settings.solver).options(settings.options, steps=settings.usual_steps), "steps", None)


def taught_options(prior: Prior) -> dict[str, Any]:
    """The options that a prior was taught with, which stand in for its method's defaults."""
    return {name: value for name, value in prior.card.sampler.items() if name != "method"}


def options_of(settings: Settings, prior: Prior) -> dict[str, Any]:
    """All options of a run's method, its defaults too: where a version changes one, what was calibrated before is not
    this run's."""
    usual = {option.name: option.default for option in listed_methods()[settings.solver].options}
    return {**usual, **taught_options(prior), **settings.options}


def asked_acquisition(problem: Prepared[Any], settings: Settings, prior: Prior) -> Acquisition:
    """The acquisition of a run, as a calibration must know it: a start that was set by hand is an option too."""
    options = options_of(settings, prior)
    if settings.first_level is not None:
        options["sigma_start"] = settings.first_level
    scan = settings.entry.trust.fingerprint.of(problem)
    return Acquisition(scan, settings.solver, steps_of(settings), settings.coupling, options, draws=settings.draws)


def check_method(settings: Settings) -> None:
    """Raise ValueError, before any work, for a method, option or coupling that cannot be used."""
    method = method_named(settings.solver)
    method.options(settings.options)
    offered = listed_methods(settings.modality)
    if method.name not in offered and settings.draws_images:
        raise ValueError(
            f"the method {method.name} is not offered for {settings.modality}: choose from {sorted(offered)}"
        )
    coupling_named(settings.coupling)
    check_coupling(settings.coupling, listed_methods()[method.name], settings.options)
