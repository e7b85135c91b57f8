"""DiffusionBlend++: a prior of three neighbouring slices, blended over the stack; DDIM; z-TV in the data step.

    x0 = blend of D3 over triplets at random offsets, neighbours and jumps in turn      (coupling/stack.py)
    x0' = argmin_z |z - x0|^2 / (2 g(sigma)) + |W (A z - y)|^2 / 2 + lambda |D_z z|_1    (ADMM, warm duals)
    x   = x0' + sigma' (sqrt(1 - eta^2) (x - x0) / sigma + eta z)

which is DDS with another denoiser and likelihood. The z-TV is weak, since the prior itself ties the slices. Any
number of slices. The denoiser must know triplets, as coupling/stack.py describes, marked by an attribute ``stack`` of
3, or look at neighbours (:class:`priors.neighbours.StackDenoiser`): then every slice is the middle of a triplet of its
own, near and far in turn. A prior of single slices is refused: this would be DDS with another name.

Source: arXiv:2406.10211.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from ..coupling.stack import StackBlend, StackDenoiser, WanderingStack
from ..coupling.ztv import couple_z
from ..denoiser import Denoiser
from ..likelihoods.gaussian import GaussianLikelihood
from ..priors.card import STACK
from ..priors.neighbours import StackDenoiser as NeighbourStack
from ..sampling.noise import Noise
from .contract import SolverStep
from .dds import DDSSettings, dds


@dataclass(frozen=True)
class DiffusionBlendSettings(DDSSettings):
    """Those of DDS, and the ``weight`` of z-TV in 1 / network unit with its ADMM ``sweeps``.

    No call is reversed by default: calls take near and far neighbours in turn already.
    """

    steps: int = 50
    eta: float = 0.85
    mirrored: bool = False
    weight: float = 0.01
    sweeps: int = 1


def diffusion_blend(
    denoiser: StackDenoiser | NeighbourStack, likelihood: GaussianLikelihood, start: Tensor,
    settings: DiffusionBlendSettings, noise: Noise, condition: Tensor | None = None,
) -> Iterator[SolverStep]:
    """One draw of a stack (slices, rows, columns); the last step's estimate is the result.

    ``likelihood`` and ``start`` in network units. Raises ValueError for a prior that does not know triplets,
    FloatingPointError where an estimate is not finite.
    """
    blend: Denoiser
    if isinstance(denoiser, NeighbourStack):
        blend = WanderingStack(denoiser)
    elif getattr(denoiser, "stack", 1) != STACK:
        raise ValueError(
            "the method diffusion_blend needs a prior of three neighbouring slices, found one of single slices: "
            "choose dds with a coupling along z, or give such a prior"
        )
    else:
        blend = StackBlend(denoiser, noise)
    coupled = couple_z(likelihood, settings.weight, settings.sweeps)
    yield from dds(blend, coupled, start, settings, noise, condition)
