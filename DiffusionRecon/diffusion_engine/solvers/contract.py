"""What every solver has in common: its step record, calls of the denoiser, its entry in the catalogue."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from ..denoiser import Denoiser, mirrored_positions
from .effort import Effort
from .ranges import check_option

Solve = Callable[..., Iterator["SolverStep"]]
"""solve(denoiser, likelihood, start, settings, noise, condition=None) -> steps; the last estimate is the result.

``likelihood`` and ``start`` (batch, rows, columns) are in network units, as the denoiser is; real or complex.
"""

GAUSSIAN, POISSON, POISSON_NEAR = "gaussian", "poisson", "poisson via local gaussian"
"""What a method can take: likelihoods of these kinds, the last one by a Gaussian stand-in near the start."""

SPREADS = ("posterior", "near-posterior", "concentrated", "point")
"""Labels of draws: earned from the truth table, near it but outside its limits on some problem, mostly narrower (or
of unknown width), or no draws at all."""


def label_in(spread: str, earned: Sequence[str], modality: str) -> str:
    """A label of SPREADS in a modality: "concentrated" where a better one was not ``earned``."""
    return spread if modality in earned or spread not in ("posterior", "near-posterior") else "concentrated"


@dataclass(frozen=True, eq=False)
class SolverStep:
    """What a solver yields: index from 1, total, noise level, estimate of the clean image (batch, rows, columns).

    ``effort``: of a data step that is solved to an accuracy.
    """

    index: int
    total: int
    sigma: float
    estimate: Tensor
    effort: Effort | None = None


def denoise(
    denoiser: Denoiser, x: Tensor, sigma: float, condition: Tensor | None = None, mirrored: bool = False
) -> Tensor:
    """D(x; sigma) of images (batch, rows, columns), without gradients.

    ``mirrored``: asked of the images with their columns reversed, and their positions with them.
    """
    if mirrored:
        place = None if condition is None else mirrored_positions(condition)
        return denoise(denoiser, x.flip(-1), sigma, place).flip(-1)
    with torch.no_grad():
        return denoiser(x[:, None], torch.tensor(sigma), condition)[:, 0]


def linearise(
    denoiser: Denoiser, x: Tensor, sigma: float, condition: Tensor | None = None, mirrored: bool = False
) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """D(x; sigma) of images (batch, rows, columns), and v -> J' v with its Jacobian J, by reverse differentiation.

    J = Cov[clean | x] / sigma^2 for an exact denoiser, so it is symmetric and J' v is also J v. Each product costs
    one or two denoiser calls. The graph lives as long as the returned function. ``mirrored``: see :func:`denoise`.
    """
    if mirrored:
        place = None if condition is None else mirrored_positions(condition)
        turned, back = linearise(denoiser, x.flip(-1), sigma, place)
        return turned.flip(-1), lambda v: back(v.flip(-1)).flip(-1)
    leaf = x.detach().requires_grad_()
    with torch.enable_grad():
        estimate = denoiser(leaf[:, None], torch.tensor(sigma), condition)[:, 0]

    def product(v: Tensor) -> Tensor:
        return torch.autograd.grad(estimate, leaf, v, retain_graph=True)[0]

    return estimate.detach(), product


def clean_variance(sigma: float, sigma_data: float, factor: float = 1.0) -> float:
    """c s^2 d^2 / (s^2 + d^2): ``factor`` c times the variance of a white clean image of variance d^2, noisy by s."""
    return factor * sigma**2 * sigma_data**2 / (sigma**2 + sigma_data**2)


def finite(estimate: Tensor, sigma: float) -> Tensor:
    """The estimate itself; raises FloatingPointError where it is not finite."""
    if not bool(torch.isfinite(estimate).all()):
        raise FloatingPointError(f"the estimate is not finite at noise level {sigma:.3g}: check data and noise level")
    return estimate


@dataclass(frozen=True)
class Method:
    """An entry of the catalogue.

    ``purpose``: what it is for, one line; ``settings``: its frozen dataclass; ``spread``: one of SPREADS, "posterior"
    only when the truth table earned it, a modality at a time: ``earned`` for these; ``likelihoods``: what it can take;
    ``start``: "image", a classical image plus noise of level sigma_start, or
    "noise"; ``modalities``: where it was run and did not diverge; ``calls``: network calls a draw at the defaults, in
    words; ``source``: DOI or arXiv; ``work``: of a draw at the defaults, in network calls, a gradient counting as two;
    ``stacks``: its data step is the likelihood's proximal one alone, unless it has products, so that slices can be
    tied there; ``ties``: it ties slices by itself, so that all of a stack are solved together.
    """

    name: str
    title: str
    purpose: str
    solve: Solve
    settings: type
    spread: str
    start: str
    modalities: tuple[str, ...]
    calls: str
    source: str
    work: float
    stacks: bool = False
    ties: bool = False
    earned: tuple[str, ...] = ()
    likelihoods: tuple[str, ...] = (GAUSSIAN, POISSON_NEAR)

    def spread_for(self, modality: str, options: Mapping[str, Any] = MappingProxyType({})) -> str:
        """The label of its draws in a modality: "concentrated" where a better one was not earned.

        It was earned under the network's own prior: not where ``options`` widen that one.
        """
        widened = float(options.get("broad_std", 0.0)) > 0
        return label_in(self.spread, () if widened else self.earned, modality)

    def options(self, given: dict[str, Any], **known: Any) -> Any:
        """The settings of a run: ``known`` values that this method has, then the ``given`` ones.

        Raises ValueError for a name that the method does not have and a value that it cannot take.
        """
        names = {field.name for field in fields(self.settings)}
        wrong = sorted(set(given) - names)
        if wrong:
            raise ValueError(f"the method {self.name} has no option {wrong}: choose from {sorted(names)}")
        defaults = {field.name: field.default for field in fields(self.settings)}
        for name, value in given.items():
            check_option(self.name, name, value, defaults[name])
        return self.settings(**{**{k: v for k, v in known.items() if k in names and v is not None}, **given})
