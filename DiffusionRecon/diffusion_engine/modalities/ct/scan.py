"""The settings that CT alone has. No torch here."""

from __future__ import annotations

from dataclasses import dataclass

from ...checks import need, number, whole
from ...volume import WATER_PER_MM

GEOMETRIES = ("parallel", "fan_flat", "fan_curved")


@dataclass(frozen=True)
class CTScan:
    """A simulated scan, and what turns its data into images.

    ``views``, ``arc_degrees`` (None: 180 parallel, 360 fan), ``geometry`` and noise are ignored for measured data.
    ``noise_percent``: standard deviation of Gaussian noise in percent of a slice's largest line integral; ``i0``
    instead: photons a ray, with ``electronic_std`` counts. ``scatter_percent``: scattered photons in percent of the
    primary ones behind the object, see :func:`...physics.scatter.scattered`; ``beam_hardening``: what a beam of several
    energies leaves behind bone, see :func:`...physics.spectrum.hardened`; a reconstruction knows of neither.
    ``water_per_mm``: attenuation of water, by which 1/mm becomes HU; ``tv_iterations``: of the TV image. Raises
    ValueError, one sentence, for values out of range.
    """

    geometry: str = "parallel"
    views: int = 60
    arc_degrees: float | None = None
    noise_percent: float = 0.2
    i0: float | None = None
    electronic_std: float = 0.0
    scatter_percent: float = 0.0
    beam_hardening: bool = False
    tv_iterations: int = 400
    water_per_mm: float = WATER_PER_MM

    def __post_init__(self) -> None:
        need(self.geometry in GEOMETRIES, f"geometry out of {GEOMETRIES}", self.geometry)
        need(whole(self.views) and 2 <= self.views <= 10000, "views from 2 to 10000", self.views)
        for name in ("noise_percent", "electronic_std", "scatter_percent", "water_per_mm"):
            need(number(getattr(self, name)), f"a finite number as {name}", getattr(self, name))
        for name in ("arc_degrees", "i0"):
            value = getattr(self, name)
            need(value is None or number(value), f"a finite number as {name}, or none", value)
        arc = self.arc_degrees
        need(arc is None or 0 < arc <= 360, "arc_degrees above 0 and up to 360", arc)
        need(0 < self.noise_percent <= 50, "noise_percent above 0 and up to 50", self.noise_percent)
        need(self.i0 is None or 10 <= self.i0 <= 1e15, "i0 from 10 to 1e15 photons a ray, or none", self.i0)
        need(self.electronic_std >= 0, "electronic_std of 0 or more", self.electronic_std)
        need(0 <= self.scatter_percent <= 50, "scatter_percent from 0 to 50", self.scatter_percent)
        need(isinstance(self.beam_hardening, bool), "beam_hardening true or false", self.beam_hardening)
        need(whole(self.tv_iterations) and self.tv_iterations >= 1, "tv_iterations of 1 or more", self.tv_iterations)
        need(1e-4 <= self.water_per_mm <= 1, "water_per_mm from 0.0001 to 1", self.water_per_mm)

    def iterations(self, name: str) -> int:
        """Of the TV image, the only one that is not made at once."""
        return self.tv_iterations
