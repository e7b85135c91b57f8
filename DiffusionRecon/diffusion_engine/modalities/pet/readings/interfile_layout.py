"""How the counts of an Interfile sinogram lie in its file, and where its lines run: STIR's and Siemens' dialects."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .description import Description
from .interfile_header import InterfileHeader, key_of

TOF_REFUSED = ("{name}: expected a sinogram without time of flight, found {bins} time-of-flight bins: add them up "
               "first, as the projector does not use them")
ARC_CORRECTED = ("arc correction", "arc corrected", "radial arc-correction")
NO_CORRECTION = ("none", "", "arc correction", "arc corrected", "radial arc-correction")


@dataclass(frozen=True)
class SegmentLayout:
    """Sinograms of one obliqueness: ``planes`` of them, ring differences from ``least`` to ``most``."""

    planes: int
    least: int
    most: int

    @property
    def spanned(self) -> bool:
        """Whether several ring differences are combined."""
        return self.least != self.most

    @property
    def step(self) -> int:
        """r1 + r2 from one sinogram to the next."""
        return 1 if self.spanned else 2


@dataclass(frozen=True)
class SinogramLayout:
    """``segments`` in the file's order; ``by_view``: views vary slower than planes in it; ``rings`` of the scanner;
    ``angles_rad``: such that lines run along u = x cos a - y sin a."""

    segments: tuple[SegmentLayout, ...]
    by_view: bool
    views: int
    bins: int
    rings: int
    angles_rad: np.ndarray

    @property
    def count(self) -> int:
        return sum(segment.planes for segment in self.segments) * self.views * self.bins

    def split(self, values: np.ndarray) -> list[np.ndarray]:
        """The numbers of the file as one array (planes, views, bins) for each segment."""
        parts, at = [], 0
        for segment in self.segments:
            size = segment.planes * self.views * self.bins
            part = values[at : at + size]
            at += size
            if self.by_view:
                parts.append(part.reshape(self.views, segment.planes, self.bins).swapaxes(0, 1))
            else:
                parts.append(part.reshape(segment.planes, self.views, self.bins))
        return parts

    def first_plane(self, segment: SegmentLayout) -> int:
        """r1 + r2 of a segment's first sinogram; segments lie symmetrically about the middle of the scanner."""
        twice = 2 * (self.rings - 1) - segment.step * (segment.planes - 1)
        if twice < 0 or twice % 2:
            raise ValueError(
                f"expected sinograms between the {self.rings} rings, found {segment.planes} in the segment of ring "
                f"differences {segment.least} to {segment.most}: correct the header"
            )
        return twice // 2


def sinogram_layout(header: InterfileHeader, description: Description) -> SinogramLayout:
    """The layout of a sinogram by its header; raises ValueError, one sentence, for one that is not to be used."""
    name = header.path.name
    dimensions = header.whole_number("number of dimensions")
    if dimensions is None:
        raise ValueError(f"expected 'number of dimensions' in {name}, found none: correct the header")
    labels = [key_of(header.text("matrix axis label", n + 1)) for n in range(dimensions)]
    sizes = [[int(n) for n in header.numbers("matrix size", n + 1)] for n in range(dimensions)]
    if not all(sizes) or min(map(min, sizes)) < 1:
        raise ValueError(f"{name}: expected positive sizes of {dimensions} axes, found {sizes}: correct the header")
    tof = _tof_bins(header, labels, sizes)
    if tof > 1:
        raise ValueError(TOF_REFUSED.format(name=name, bins=tof))
    siemens = labels[:1] != ["tangential coordinate"]
    if siemens:
        segments, by_view, views, bins = _siemens(header, labels, sizes)
    else:
        segments, by_view, views, bins = _stir(header, labels, sizes)
    rings = description.rings or header.whole_number("number of rings") or _rings(segments)
    return SinogramLayout(segments, by_view, views, bins, rings, _angles(header, description, views, siemens))


def corrections_of(header: InterfileHeader) -> list[str]:
    """The corrections that the header says were made to the counts, arc correction left out."""
    found = [key_of(text) for text in header.texts("applied corrections")]
    for key in ("method of attenuation correction", "method of scatter correction", "method of random correction"):
        text = key_of(header.text(key))
        if text not in ("", "none"):
            found.append(f"{key.removeprefix('method of ')} ({text})")
    return [text for text in found if text not in NO_CORRECTION]


def is_arc_corrected(header: InterfileHeader, siemens: bool) -> bool:
    """Whether bins are of equal width; STIR takes a header without corrections for one, Siemens' for none."""
    found = [key_of(text) for text in header.texts("applied corrections")]
    return any(text in ARC_CORRECTED for text in found) or (not found and not siemens)


def _tof_bins(header: InterfileHeader, labels: list[str], sizes: list[list[int]]) -> int:
    stated = header.whole_number("number of tof time bins") or 1
    axes = [math.prod(size) for label, size in zip(labels, sizes, strict=True)
            if label in ("timing positions", "tof bin", "tof bins")]
    return max([stated, *axes])


def _stir(
    header: InterfileHeader, labels: list[str], sizes: list[list[int]]
) -> tuple[tuple[SegmentLayout, ...], bool, int, int]:
    orders = {("tangential coordinate", "axial coordinate", "view", "segment"): True,
              ("tangential coordinate", "view", "axial coordinate", "segment"): False}
    by_view = orders.get((labels[0], labels[1], labels[2], labels[3])) if len(labels) > 3 else None
    if by_view is None:
        raise ValueError(
            f"{header.path.name}: expected the axes tangential coordinate, axial coordinate and view in either order, "
            f"segment, found {', '.join(labels)}: convert the file by STIR"
        )
    planes, views = (sizes[1], sizes[2]) if by_view else (sizes[2], sizes[1])
    least, most = (
        [int(n) for n in header.numbers(f"{end} ring difference per segment")] for end in ("minimum", "maximum"))
    count = sizes[3][0]
    if not len(planes) == len(least) == len(most) == count:
        raise ValueError(
            f"{header.path.name}: expected planes and ring differences of {count} segments, found {len(planes)}, "
            f"{len(least)} and {len(most)}: correct the header"
        )
    segments = tuple(SegmentLayout(n, min(a, b), max(a, b)) for n, a, b in zip(planes, least, most, strict=True))
    return segments, by_view, views[0], sizes[0][0]


def _siemens(
    header: InterfileHeader, labels: list[str], sizes: list[list[int]]
) -> tuple[tuple[SegmentLayout, ...], bool, int, int]:
    name = header.path.name
    known = (("bin", "projection", "plane"), ("x", "projection", "plane"),
             ("sinogram projections", "sinogram views", "number of sinograms"))
    if tuple(labels[:3]) not in known:
        raise ValueError(f"{name}: expected the axes bin, projection, plane of Siemens or those of STIR, found "
                         f"{', '.join(labels) or 'none'}: convert the file by STIR")
    if header.text("compression").lower() == "on":
        raise ValueError(f"{name}: expected an uncompressed sinogram, found Siemens' compression: uncompress it with "
                         "the scanner's own tools")
    bins, views, planes = (size[0] for size in sizes[:3])
    table = [int(n) for n in header.numbers("segment table")] or [planes]
    if sum(table) != planes:
        raise ValueError(f"{name}: expected {planes} planes in the segment table, found {sum(table)}: correct the "
                         "header")
    span = header.whole_number("axial compression") or 1
    segments = []
    for n, count in enumerate(table):  # 0, +1, -1, +2, ...
        middle = span * ((n + 1) // 2) * (1 if n % 2 else -1)
        segments.append(SegmentLayout(count, middle - span // 2, middle - span // 2 + span - 1))
    return tuple(segments), False, views, bins


def _rings(segments: tuple[SegmentLayout, ...]) -> int:
    """The number of rings by the direct segment."""
    direct = min(segments, key=lambda segment: abs(segment.least + segment.most))
    return (direct.planes + 1) // 2 if direct.spanned else direct.planes


def _angles(header: InterfileHeader, description: Description, views: int, siemens: bool) -> np.ndarray:
    """a = -phi, as STIR's lines run along s = x cos phi + y sin phi, x and y as columns and rows of its images."""
    if description.angles_deg is not None:
        if len(description.angles_deg) != views:
            raise ValueError(f"expected {views} angles_deg for {header.path.name}, found "
                             f"{len(description.angles_deg)}: correct the description")
        return np.radians(description.angles_deg)
    detectors = description.detectors_per_ring or header.whole_number("number of detectors per ring") or 0
    offset = math.radians(header.number("view offset (degrees)") or 0.0)
    if detectors > 2 and detectors % (2 * views) == 0:
        mashed = detectors // (2 * views)
        offset += math.pi / (detectors // 2) * (mashed - 1) / 2
    return -(np.arange(views) * math.pi / views + offset)
