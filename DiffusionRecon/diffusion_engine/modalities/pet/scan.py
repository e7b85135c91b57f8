"""The settings that PET alone has. No torch here."""

from __future__ import annotations

from dataclasses import dataclass

from ...checks import need, number, whole

MAP_UNITS = ("HU", "1/mm")
TUBE_KVP = (80, 100, 110, 120, 130, 140)


@dataclass(frozen=True)
class PETScan:
    """A simulated acquisition, what is known of the patient and the scanner, and how classical images are made.

    ``counts``: expected true coincidences of each slice in millions, as if a slice without much activity were measured
    for longer; ``background_percent``: expected randoms (even) and scatter (smooth), half each, in percent of the
    trues, known to the reconstruction; ``angles`` over half a turn; ``bins`` of ``bin_mm`` (None: as wide as a pixel,
    and as many as cover the image); ``duration_s``; ``attenuated``: whether the body attenuates. These describe a
    simulation and are ignored for measured data. ``denoise``: the volume is itself the image of a scan of as few
    ``counts``, whose raw data there are none of: its projections stand in their place, see :mod:`.denoising`.
    ``psf_mm``: full width at half maximum of the scanner's point spread
    in the plane, simulated and known to the reconstruction, 0 for none. ``attenuation_map``: the path of a volume, a CT
    in HU or attenuation at 511 keV in 1/mm as ``attenuation_unit`` says where the file does not, of a CT made at
    ``tube_kvp`` (None: a simulation takes the body in the PET as water, measured data have their own factors or none).
    ``osem_iterations`` of ``osem_subsets`` subsets, then a Gaussian filter of ``osem_filter_mm``; ``rdp_iterations``,
    ``rdp_weight`` in 1 / network unit for a million counts a slice, in proportion to their cube root for others, and
    ``rdp_gamma``: of the image with a relative difference penalty. Raises ValueError, one sentence, for values out of
    range.
    """

    counts: float = 1.0
    background_percent: float = 30.0
    angles: int = 180
    bins: int | None = None
    bin_mm: float | None = None
    psf_mm: float = 4.0
    duration_s: float = 180.0
    attenuated: bool = True
    denoise: bool = False
    attenuation_map: str | None = None
    attenuation_unit: str | None = None
    tube_kvp: int = 120
    osem_iterations: int = 2
    osem_subsets: int = 10
    osem_filter_mm: float = 5.0
    rdp_iterations: int = 20
    rdp_weight: float = 20.0
    rdp_gamma: float = 2.0

    def __post_init__(self) -> None:
        for name in ("counts", "background_percent", "psf_mm", "duration_s", "osem_filter_mm", "rdp_weight",
                     "rdp_gamma"):
            need(number(getattr(self, name)), f"a finite number as {name}", getattr(self, name))
        need(1e-4 <= self.counts <= 1000, "counts from 0.0001 to 1000 million true coincidences a slice", self.counts)
        need(0 <= self.background_percent <= 1000, "background_percent from 0 to 1000", self.background_percent)
        need(whole(self.angles) and 2 <= self.angles <= 10000, "angles from 2 to 10000", self.angles)
        need(self.bins is None or (whole(self.bins) and 8 <= self.bins <= 10000), "bins from 8 to 10000, or none",
             self.bins)
        need(self.bin_mm is None or (number(self.bin_mm) and 0.1 <= self.bin_mm <= 50),
             "bin_mm from 0.1 to 50, or none", self.bin_mm)
        need(0 <= self.psf_mm <= 50, "psf_mm from 0 to 50", self.psf_mm)
        need(0.001 <= self.duration_s <= 1e6, "duration_s from 0.001 to 1000000", self.duration_s)
        for name in ("attenuated", "denoise"):
            need(isinstance(getattr(self, name), bool), f"true or false as {name}", getattr(self, name))
        path = self.attenuation_map
        need(path is None or (isinstance(path, str) and bool(path.strip())),
             "the path of a volume as attenuation_map, or none", path)
        unit = self.attenuation_unit
        need(unit is None or unit in MAP_UNITS, f"attenuation_unit out of {MAP_UNITS}, or none", unit)
        need(self.attenuated or path is None, "no attenuation_map where the body is not to attenuate", path)
        need(whole(self.tube_kvp) and self.tube_kvp in TUBE_KVP, f"tube_kvp out of {TUBE_KVP}", self.tube_kvp)
        for name in ("osem_iterations", "osem_subsets", "rdp_iterations"):
            need(whole(getattr(self, name)) and 1 <= getattr(self, name) <= 10000, f"{name} from 1 to 10000",
                 getattr(self, name))
        need(0 <= self.osem_filter_mm <= 100, "osem_filter_mm from 0 to 100", self.osem_filter_mm)
        need(0 < self.rdp_weight <= 1e9, "rdp_weight above 0 and up to 1e9", self.rdp_weight)
        need(0 <= self.rdp_gamma <= 100, "rdp_gamma from 0 to 100", self.rdp_gamma)

    def iterations(self, name: str) -> int:
        """Of a classical image by its name."""
        return int({"osem": self.osem_iterations, "rdp": self.rdp_iterations}[name])
