"""Where the rays of a two-dimensional CT scan run, in mm."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .grid import ImageGrid, require_positive

GEOMETRY_TYPES = ("parallel", "fan_flat", "fan_curved")


@dataclass(frozen=True)
class CTGeometry:
    """One circular scan of a slice: x grows along the image columns, y along its rows, the isocentre is the origin.

    At angle theta the source lies in direction s = (sin theta, cos theta) and the detector axis points along
    e_u = (cos theta, -sin theta), as (x, y); detector bin k has its centre at
    u_k = (k - (n - 1) / 2) * detector_spacing_mm + detector_offset_mm.

    - ``parallel``: rays run along -s through the points u_k e_u.
    - ``fan_flat``: source at SID s, flat detector through -(SDD - SID) s, u measured on the detector.
    - ``fan_curved``: detector arc of radius SDD about the source, u measured along the arc; ray angle u_k / SDD.

    SID is ``source_to_isocentre_mm``, SDD ``source_to_detector_mm``; both are None for parallel rays.
    Raises ValueError for an unknown type, non-finite or non-positive lengths, or missing or superfluous distances.
    """

    type: str
    angles_rad: tuple[float, ...]
    detector_count: int
    detector_spacing_mm: float
    detector_offset_mm: float = 0.0
    source_to_isocentre_mm: float | None = None
    source_to_detector_mm: float | None = None

    def __post_init__(self) -> None:
        if self.type not in GEOMETRY_TYPES:
            raise ValueError(f"Geometry type must be one of {', '.join(GEOMETRY_TYPES)}, found {self.type!r}.")
        angles = tuple(float(a) for a in np.asarray(self.angles_rad, dtype=np.float64).ravel())
        object.__setattr__(self, "angles_rad", angles)
        if not angles:
            raise ValueError("Expected at least one view angle, found none: give angles_rad, one value a view.")
        if not all(math.isfinite(a) for a in angles):
            raise ValueError("Expected finite view angles in radians, found NaN or infinity: correct angles_rad.")
        if int(self.detector_count) != self.detector_count or self.detector_count < 1:
            raise ValueError(f"Expected a whole detector_count of at least 1, found {self.detector_count}.")
        object.__setattr__(self, "detector_count", int(self.detector_count))
        require_positive("detector_spacing_mm", self.detector_spacing_mm)
        if not math.isfinite(self.detector_offset_mm):
            raise ValueError(f"Expected a finite detector_offset_mm, found {self.detector_offset_mm}.")
        distances = (self.source_to_isocentre_mm, self.source_to_detector_mm)
        if self.type == "parallel":
            if distances != (None, None):
                raise ValueError("Parallel rays have no source distance: leave out source_to_isocentre_mm and "
                                 "source_to_detector_mm, or choose a fan type.")
            return
        if self.source_to_isocentre_mm is None or self.source_to_detector_mm is None:
            raise ValueError(f"Geometry {self.type} needs source_to_isocentre_mm and source_to_detector_mm: give both.")
        require_positive("source_to_isocentre_mm", self.source_to_isocentre_mm)
        require_positive("source_to_detector_mm", self.source_to_detector_mm)
        if self.source_to_detector_mm < self.source_to_isocentre_mm:
            raise ValueError(f"Expected source_to_detector_mm of at least source_to_isocentre_mm, found "
                             f"{self.source_to_detector_mm} and {self.source_to_isocentre_mm}: are they swapped?")
        if self.type == "fan_curved" and np.abs(self.detector_u_mm).max() >= self.source_to_detector_mm * math.pi / 2:
            raise ValueError("The curved detector reaches more than 90 degrees to one side of the central ray: "
                             "check detector_spacing_mm, detector_count and source_to_detector_mm.")

    @property
    def views(self) -> int:
        return len(self.angles_rad)

    @property
    def fan_distances_mm(self) -> tuple[float, float] | None:
        """(source_to_isocentre_mm, source_to_detector_mm), or None for parallel rays."""
        if self.source_to_isocentre_mm is None or self.source_to_detector_mm is None:
            return None
        return self.source_to_isocentre_mm, self.source_to_detector_mm

    @property
    def fan_angles_rad(self) -> np.ndarray:
        """Angle of each bin's ray from the central ray, positive towards e_u, (detectors,); zeros for parallel rays."""
        if self.fan_distances_mm is None:
            return np.zeros(self.detector_count)
        ratio = self.detector_u_mm / self.fan_distances_mm[1]
        return np.arctan(ratio) if self.type == "fan_flat" else ratio

    @property
    def magnification(self) -> float:
        """SDD / SID: size of a detector bin over its size at the isocentre (1 for parallel rays)."""
        distances = self.fan_distances_mm
        return 1.0 if distances is None else distances[1] / distances[0]

    @property
    def detector_u_mm(self) -> np.ndarray:
        """Centres u_k of the detector bins in mm, shape (detectors,)."""
        k = np.arange(self.detector_count, dtype=np.float64)
        return (k - (self.detector_count - 1) / 2) * self.detector_spacing_mm + self.detector_offset_mm


def view_angles(views: int, arc_rad: float, start_rad: float = 0.0) -> tuple[float, ...]:
    """Angles start + arc * v / views for v = 0 .. views - 1, in radians: the end of the arc is not repeated."""
    if views < 1:
        raise ValueError(f"Expected at least one view, found {views}.")
    if not math.isfinite(arc_rad) or arc_rad <= 0:
        raise ValueError(f"Expected a positive arc in radians, found {arc_rad}.")
    return tuple(start_rad + arc_rad * v / views for v in range(views))


def parallel_geometry(grid: ImageGrid, views: int, arc_rad: float = math.pi, *, start_rad: float = 0.0,
                      detector_spacing_mm: float | None = None, detector_count: int | None = None,
                      detector_offset_mm: float = 0.0) -> CTGeometry:
    """Equally spaced parallel views; the detector covers the grid's diagonal in steps of its smaller pixel side."""
    spacing = min(grid.pixel_mm) if detector_spacing_mm is None else detector_spacing_mm
    count = _even(2 * grid.reach_mm / spacing) if detector_count is None else detector_count
    return CTGeometry("parallel", view_angles(views, arc_rad, start_rad), count, spacing, detector_offset_mm)


def fan_geometry(grid: ImageGrid, views: int, arc_rad: float = 2 * math.pi, *, curved: bool = False,
                 source_to_isocentre_mm: float = 570.0, source_to_detector_mm: float = 1040.0,
                 start_rad: float = 0.0, detector_spacing_mm: float | None = None, detector_count: int | None = None,
                 detector_offset_mm: float = 0.0) -> CTGeometry:
    """Equally spaced fan views; the detector covers the grid's circumscribed circle in steps of its smaller pixel side.

    The bin is that pixel side at the isocentre times the magnification. The default distances are those of a
    common clinical scanner. Raises ValueError if the source would pass through the grid.
    """
    sid, sdd = source_to_isocentre_mm, source_to_detector_mm
    if grid.reach_mm >= sid:
        raise ValueError(f"The grid reaches {grid.reach_mm:.1f} mm from the isocentre but the source circles at "
                         f"{sid:.1f} mm: enlarge source_to_isocentre_mm or use a smaller grid.")
    half_fan = math.asin(grid.reach_mm / sid)
    reach = sdd * (half_fan if curved else math.tan(half_fan))
    spacing = min(grid.pixel_mm) * sdd / sid if detector_spacing_mm is None else detector_spacing_mm
    count = _even(2 * reach / spacing) if detector_count is None else detector_count
    return CTGeometry("fan_curved" if curved else "fan_flat", view_angles(views, arc_rad, start_rad), count, spacing,
                      detector_offset_mm, sid, sdd)


def ray_lines(geometry: CTGeometry, views: slice = slice(None)) -> tuple[np.ndarray, np.ndarray]:
    """A point of every ray and its unit direction away from the source, each (views, detectors, 2) as (x, y) in mm."""
    theta = np.asarray(geometry.angles_rad, dtype=np.float64)[views, None]
    u = geometry.detector_u_mm[None, :]
    source = np.stack((np.sin(theta), np.cos(theta)), axis=-1)  # s, (views, 1, 2)
    axis = np.stack((np.cos(theta), -np.sin(theta)), axis=-1)  # e_u
    distances = geometry.fan_distances_mm
    if distances is None:
        points = u[..., None] * axis
        return points, np.broadcast_to(-source, points.shape)
    angle = geometry.fan_angles_rad[:, None]
    directions = np.sin(angle) * axis - np.cos(angle) * source
    return np.broadcast_to(distances[0] * source, directions.shape), directions


def _even(value: float) -> int:
    return 2 * math.ceil(value / 2 - 1e-9)
