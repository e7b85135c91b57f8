"""How slices become a volume.

By neighbours, a prior of volumes, z-TV, shared noise, stack blending, perpendicular planes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from ..denoiser import Denoiser
from ..likelihoods.gaussian import GaussianLikelihood
from ..priors.card import NEIGHBOURS, VOLUME
from ..priors.neighbours import ScaledDenoiser, StackDenoiser, slices_apart
from ..priors.volumes import VolumeDenoiser
from ..sampling.noise import Noise
from .ztv import couple_z

Coupled = tuple[GaussianLikelihood, Noise]
Couple = Callable[[GaussianLikelihood, Noise, float], Coupled]

ZTV_WEIGHT = 1.0
"""Weight of z-TV in 1 / network unit for slices 5 mm apart.

Chosen on two volumes that the prior was not trained on: means over 4 x 4 pixels are then about as rough along z as the
reference's; three times as much gains another 0.2 dB and is too smooth.
"""

PERIOD_MM = 20.0
"""Distance along z over which the shared noise becomes independent, chosen on the same volumes."""


class Coupling(NamedTuple):
    """An entry: ``couple(likelihood, noise, slice_spacing_mm)`` -> the coupled ones, once for every draw.

    ``denoiser(prior, slice_spacing_mm)``: of the stack, where that is not the prior itself;
    ``reach(slice_spacing_mm)``: how many slices beyond a slab it must be shown, where it can be asked slab by slab.
    """

    title: str
    couple: Couple
    denoiser: Callable[[ScaledDenoiser, float], Denoiser] = lambda prior, slice_spacing_mm: prior
    reach: Callable[[float], int] = lambda slice_spacing_mm: 0


def none(likelihood: GaussianLikelihood, noise: Noise, slice_spacing_mm: float) -> Coupled:
    """Each slice alone."""
    return likelihood, noise


def ztv(likelihood: GaussianLikelihood, noise: Noise, slice_spacing_mm: float) -> Coupled:
    """z-TV in every proximal step, with a weight in proportion to 1 / spacing, at most twice that of 5 mm.

    Closer slices differ less in structure. Closer than 2.5 mm their difference is mostly noise.
    """
    return couple_z(likelihood, ZTV_WEIGHT * min(5.0 / slice_spacing_mm, 2.0)), noise


def shared_noise(likelihood: GaussianLikelihood, noise: Noise, slice_spacing_mm: float) -> Coupled:
    """Slices closer than about ``PERIOD_MM`` get similar noise."""
    return likelihood, noise.shared(max(1, round(PERIOD_MM / slice_spacing_mm)))


def ztv_and_noise(likelihood: GaussianLikelihood, noise: Noise, slice_spacing_mm: float) -> Coupled:
    """Both of the above."""
    return shared_noise(ztv(likelihood, noise, slice_spacing_mm)[0], noise, slice_spacing_mm)


COUPLINGS: dict[str, Coupling] = {
    "none": Coupling("each slice alone", none),
    NEIGHBOURS: Coupling("the trained model looks at neighbouring slices", none, StackDenoiser, slices_apart),
    VOLUME: Coupling("the trained model sees the volume", none, VolumeDenoiser),
    "ztv": Coupling("total variation along z", ztv),
    "noise": Coupling("shared noise along z", shared_noise),
    "ztv+noise": Coupling("total variation and shared noise along z", ztv_and_noise),
}


def coupling_named(name: str) -> Coupling:
    """The entry of a coupling; raises ValueError with the names there are."""
    if name not in COUPLINGS:
        raise ValueError(f"no coupling named '{name}': choose from {sorted(COUPLINGS)}")
    return COUPLINGS[name]
