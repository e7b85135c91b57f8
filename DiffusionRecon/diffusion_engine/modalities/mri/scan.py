"""The settings that MRI alone has. No torch here."""

from __future__ import annotations

from dataclasses import dataclass

from ...checks import need, number, whole

PATTERNS = ("uniform", "random", "gaussian", "poisson")
"""At even distances; at random; more often near the middle of k-space; at random with distances between them."""


@dataclass(frozen=True)
class MRIScan:
    """A simulated acquisition, and how classical images are made.

    ``acceleration``: all samples over the measured ones; ``pattern`` out of PATTERNS, of lines, or with ``axes`` 2 of
    single samples (as of a 3D acquisition), ``elliptical`` then without the corners of k-space; ``acs_lines``: fully
    sampled lines in the middle of k-space, from which coil maps and phase are estimated; ``coils``: of a ring around
    the patient (1: a single coil of even sensitivity); ``noise_percent``: standard deviation of a complex sample in
    percent of the 99.5th percentile of the image; ``phase_radians``: range of the image's smooth, quadratic phase;
    ``partial_fourier``: the part of the lines that is used, from one side on (1: all). These describe a simulation and
    are ignored for measured data, as are ``matrix`` and ``field_mm``: rows and columns, and their field of view (None:
    those of the volume, on the pixels that are asked for). ``sense_iterations``, ``wavelet_iterations`` and
    ``tv_iterations``: of classical images; ``wavelet_weight`` and ``tv_weight``: their weights, in parts of the largest
    value of the zero-filled image. Raises ValueError, one sentence, for values out of range.
    """

    acceleration: float = 4.0
    pattern: str = "gaussian"
    axes: int = 1
    elliptical: bool = False
    acs_lines: int = 24
    coils: int = 8
    noise_percent: float = 1.0
    phase_radians: float = 6.0
    partial_fourier: float = 1.0
    matrix: int | None = None
    field_mm: float | None = None
    sense_iterations: int = 12
    wavelet_iterations: int = 60
    wavelet_weight: float = 0.004
    tv_iterations: int = 100
    tv_weight: float = 0.004

    def __post_init__(self) -> None:
        for name in (
            "acceleration", "noise_percent", "phase_radians", "partial_fourier", "wavelet_weight", "tv_weight"
        ):
            need(number(getattr(self, name)), f"a finite number as {name}", getattr(self, name))
        need(1 <= self.acceleration <= 32, "acceleration from 1 to 32", self.acceleration)
        need(self.pattern in PATTERNS, f"pattern out of {PATTERNS}", self.pattern)
        need(whole(self.axes) and self.axes in (1, 2), "axes 1 or 2", self.axes)
        need(isinstance(self.elliptical, bool), "true or false as elliptical", self.elliptical)
        need(self.axes == 2 or not self.elliptical, "elliptical with axes 2 only", self.elliptical)
        need(whole(self.acs_lines) and 4 <= self.acs_lines <= 512, "acs_lines from 4 to 512", self.acs_lines)
        need(whole(self.coils) and 1 <= self.coils <= 64, "coils from 1 to 64", self.coils)
        need(0 < self.noise_percent <= 50, "noise_percent above 0 and up to 50", self.noise_percent)
        need(0 <= self.phase_radians <= 30, "phase_radians from 0 to 30", self.phase_radians)
        need(0.55 <= self.partial_fourier <= 1, "partial_fourier from 0.55 to 1", self.partial_fourier)
        for name in ("wavelet_weight", "tv_weight"):
            need(0 < getattr(self, name) < 1, f"{name} between 0 and 1", getattr(self, name))
        need((self.matrix is None) == (self.field_mm is None), "matrix and field_mm together", self.matrix)
        size = self.matrix
        need(size is None or (whole(size) and 16 <= size <= 2048), "matrix from 16 to 2048, or none", size)
        field = self.field_mm
        need(field is None or (number(field) and 10 <= field <= 1000), "field_mm from 10 to 1000, or none", field)
        for name in ("sense_iterations", "wavelet_iterations", "tv_iterations"):
            need(whole(getattr(self, name)) and getattr(self, name) >= 1, f"{name} of 1 or more", getattr(self, name))

    def iterations(self, name: str) -> int:
        """Of a classical image that is not made at once, by its name."""
        return int({
            "sense": self.sense_iterations, "wavelet": self.wavelet_iterations, "tv": self.tv_iterations,
        }[name])
