"""Sinograms of Interfile, 2D or 3D, brought to counts of direct planes in bins of equal width."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ....physics.rebinning import Segment, axial_error_mm, single_slice_rebinned
from ...rules import Remark
from ..sinogram import Sinogram
from .arc_correction import ArcCorrection, arc_correction
from .description import Description, without_negatives
from .factors import Factors
from .interfile_header import InterfileHeader, check_whole, key_of, read_header
from .interfile_image import position_of
from .interfile_layout import SegmentLayout, SinogramLayout, corrections_of, is_arc_corrected, sinogram_layout

OFF_AXIS_MM = 100.0
"""Distance from the axis for which the blur of rebinning is told."""


def read_interfile_sinogram(path: Path, description: Description) -> Sinogram:
    """The counts of a header's data file; raises ValueError, one sentence, for what cannot be used or told."""
    header = read_header(path)
    check_kind(header)
    layout = sinogram_layout(header, description)
    try:
        return _sinogram(header, layout, description)
    except ValueError as error:
        text = str(error)
        raise ValueError(text if path.name in text else f"{path.name}: {text}") from error


def check_kind(header: InterfileHeader) -> None:
    """Raise ValueError, one sentence, for anything but emission sinograms of PET."""
    name = header.path.name
    if header.text("imaging modality").lower() in ("nucmed", "nm", "spect") or (
            header.text("type of data").lower() == "tomographic"):
        raise ValueError(f"expected a PET sinogram, found SPECT projections in {name}: choose another file")
    if "list" in header.text("data format").lower():
        raise ValueError(f"expected a sinogram, found the header of list-mode data in {name}: histogram them first")
    check_whole(header)
    kind = key_of(header.text("pet data type"))
    if kind not in ("emission", ""):
        raise ValueError(f"expected emission data as PET data type in {name}, found '{kind}': choose the prompts")
    frames = header.whole_number("number of time frames") or 1
    if frames > 1:
        raise ValueError(f"expected one time frame in {name}, found {frames}: give each in a file of its own")
    geometry = next((value for (key, _), value in header.fields.items() if key.startswith("scanner geometry")), "")
    if key_of(geometry) not in ("", "cylindrical"):
        raise ValueError(f"expected detectors on a cylinder in {name}, found {geometry}: its lines are not those of a "
                         "ring, interpolate them to arc-corrected sinograms by STIR first")


def parts_of(header: InterfileHeader, layout: SinogramLayout) -> tuple[list[np.ndarray], list[np.ndarray] | None]:
    """The counts by segment as float32, and the delayed coincidences where the file holds them as well."""
    key = "scan data type description"
    kinds = {n: key_of(header.text(key, n)) for n in header.indices(key)}
    sets = {n: kind for n, kind in kinds.items() if kind in ("prompts", "randoms")}
    if not sets:
        offset = header.whole_number("data offset in bytes", 1) or 0
        return _scaled(header, layout.split(header.stored(layout.count, offset))), None
    found = {}
    for n, kind in sets.items():
        offset = header.whole_number("data offset in bytes", n) or 0
        found[kind] = _scaled(header, layout.split(header.stored(layout.count, offset, last=n == max(kinds))))
    if "prompts" not in found:
        raise ValueError(f"expected prompts in {header.path.name}, found {', '.join(found)}: choose another file")
    return found["prompts"], found.get("randoms")


def _scaled(header: InterfileHeader, parts: list[np.ndarray]) -> list[np.ndarray]:
    """The numbers times the image scaling factor: one, or one for each segment."""
    factors = header.numbers("image scaling factor", 1) or header.numbers("quantification units") or [1.0]
    if len(factors) not in (1, len(parts)):
        raise ValueError(f"expected one image scaling factor or {len(parts)} of the segments, found {len(factors)}: "
                         "correct the header")
    factors = factors * len(parts) if len(factors) == 1 else factors
    return [part.astype(np.float32) if factor == 1 else (part * np.float64(factor)).astype(np.float32)
            for part, factor in zip(parts, factors, strict=True)]


def _sinogram(header: InterfileHeader, layout: SinogramLayout, description: Description) -> Sinogram:
    siemens = not header.text("matrix axis label", 1).lower().startswith("tangential")
    prompts, randoms = parts_of(header, layout)
    remarks: list[Remark] = []
    whole = all(bool((part == np.rint(part)).all()) for part in prompts)
    if not whole:
        remarks.append(Remark("not_counts", "The values are no whole numbers, so they are simulated means or were "
                                            "corrected: their noise may not be that of counting.", True))
    made = corrections_of(header)
    if made:
        remarks.append(Remark("corrected", f"The header says that the counts were corrected ({', '.join(made)}): their "
                                           "noise is not that of counting.", True))
    kept = _kept(layout, description)
    factors = Factors.read(header, layout, description, randoms, remarks)
    lines = _multiplicities(layout, description, whole, factors.normalised, remarks)
    efficiency = [one * two for one, two in zip(lines, factors.efficiency, strict=True)]
    sensitivity = [one * two for one, two in zip(efficiency, factors.attenuation, strict=True)]
    segments = [Segment(prompts[n], layout.first_plane(layout.segments[n]), layout.segments[n].step,
                        (layout.segments[n].least + layout.segments[n].most) / 2) for n in kept]

    segments = [Segment(without_negatives(s.counts, description, remarks), s.first_plane, s.step, s.ring_difference)
                for s in segments]

    def rebinned(values: Sequence[np.ndarray]) -> np.ndarray:
        parts = [Segment(np.broadcast_to(values[n], prompts[n].shape), s.first_plane, s.step, s.ring_difference)
                 for n, s in zip(kept, segments, strict=True)]
        return single_slice_rebinned(parts, layout.rings)[0]

    first, covered = _covered(kept, layout)
    stacks = {"counts": single_slice_rebinned(segments, layout.rings)[0], "seen": rebinned(efficiency)}
    if factors.attenuated:
        stacks["through"] = rebinned(sensitivity)
    if factors.background is not None:
        stacks["background"] = rebinned(factors.background)
    stacks = {name: stack[covered] for name, stack in stacks.items()}
    arc = _arc(header, layout, description, siemens)
    if isinstance(arc, ArcCorrection):
        stacks = {name: arc(stack) for name, stack in stacks.items()}
        bin_mm, centre = arc.bin_mm, arc.centre_bin
        remarks.append(Remark("arc_corrected", f"The bins of the ring were brought to equal widths of {bin_mm:.4g} mm, "
                                               "counts kept: those of neighbouring bins are not wholly independent.",
                              True))
    else:
        bin_mm, centre = arc, float(layout.bins // 2)
    seen = stacks["seen"]
    ring = _ring_spacing(header, layout, description)
    spacing = ring / 2 * covered.step
    oblique = max(abs(s.ring_difference) for s in segments)
    if oblique:
        radius = _radius(header, description)
        blur = "" if radius is None else (
            f"; {OFF_AXIS_MM:g} mm off the axis that blurs by up to "
            f"{axial_error_mm(OFF_AXIS_MM, oblique, ring, radius):.2g} mm along it")
        remarks.append(Remark("rebinned", f"Oblique sinograms of ring differences up to {oblique:g} were added to the "
                                          f"direct planes half-way{blur}.", True))
    duration = description.duration_s or header.positive("image duration (sec)")
    attenuation = None
    if "through" in stacks:
        attenuation = np.divide(stacks["through"], seen, out=np.ones(seen.shape), where=seen > 0)
    equal = bool((seen == 1).all())
    return Sinogram(
        stacks["counts"].astype(np.float32), layout.angles_rad, bin_mm,
        centre if description.centre_bin is None else description.centre_bin, spacing, stacks.get("background"),
        attenuation, None if equal else _least(seen), duration, description.counts_per_bq,
        _place(header, description, first, spacing, ring), tuple(remarks), _facts(header, layout, description, made),
    )


def _least(seen: np.ndarray) -> np.ndarray:
    """The same numbers in the smallest array that broadcasts to them."""
    for axis in range(3):
        if seen.shape[axis] > 1 and bool((seen == seen.take([0], axis)).all()):
            seen = seen.take([0], axis)
    return seen


def _kept(layout: SinogramLayout, description: Description) -> list[int]:
    most = description.max_ring_difference
    middles = [abs(s.least + s.most) / 2 for s in layout.segments]
    kept = [n for n, middle in enumerate(middles) if most is None or middle <= most]
    if not kept:
        raise ValueError(f"expected segments of a ring difference up to {most}, found none below {min(middles):g}: "
                         "choose a larger max_ring_difference")
    return kept


def _covered(kept: list[int], layout: SinogramLayout) -> tuple[int, slice]:
    """The first plane r1 + r2 with a sinogram, and the range of those with one."""
    planes = sorted({layout.first_plane(layout.segments[n]) + layout.segments[n].step * at
                     for n in kept for at in range(layout.segments[n].planes)})
    steps = set(np.diff(planes).tolist())
    step = steps.pop() if len(steps) == 1 else 1
    return planes[0], slice(planes[0], planes[-1] + 1, step)


def _multiplicities(layout: SinogramLayout, description: Description, whole: bool, normalised: bool,
                    remarks: list[Remark]) -> list[np.ndarray]:
    """How many ring pairs each sinogram adds up, (planes, 1, 1) by segment; 1 where they were averaged."""
    ones = [np.ones((segment.planes, 1, 1)) for segment in layout.segments]
    if not any(segment.spanned for segment in layout.segments) or normalised:
        return ones
    how = description.ring_pairs
    if how is None:
        how = "summed" if whole else "averaged"
        remarks.append(Remark(
            "ring_pairs", f"Sinograms that combine ring pairs were taken as their {'sum' if whole else 'mean'}, as "
                          f"{'counts are' if whole else 'values that are no whole numbers are'}: state \"ring_pairs\" "
                          "in the description where it is otherwise.", False))
    if how == "averaged":
        return ones
    return [np.array([float(_pairs(segment, plane, layout.rings)) for plane in range(
        layout.first_plane(segment), layout.first_plane(segment) + segment.step * segment.planes, segment.step)]
    ).reshape(-1, 1, 1) for segment in layout.segments]


def _pairs(segment: SegmentLayout, plane: int, rings: int) -> int:
    """Ring pairs r1, r2 with r1 + r2 = plane and r2 - r1 within the segment."""
    return sum((plane - d) % 2 == 0 and 0 <= (plane - d) // 2 < rings and 0 <= (plane + d) // 2 < rings
               for d in range(segment.least, segment.most + 1))


def _arc(header: InterfileHeader, layout: SinogramLayout, description: Description, siemens: bool
         ) -> ArcCorrection | float:
    """The arc correction to make, or the width of equal bins in mm."""
    corrected = description.arc_corrected
    if corrected is None:
        corrected = is_arc_corrected(header, siemens)
    central, usual = (header.positive(f"{key} bin size (cm)") for key in ("effective central", "default"))
    pixels = header.positive("scale factor (mm/pixel)") if siemens else None
    width = description.bin_mm or (10 * central if central else None) or pixels
    if corrected:
        width = width or (10 * usual if usual else None)
        if width is None:
            raise ValueError("expected the width of a bin in the header, found none: write \"bin_mm\" into a JSON file "
                             "beside it")
        return width
    detectors = description.detectors_per_ring or header.whole_number("number of detectors per ring")
    radius = _radius(header, description)
    if radius is None or not detectors:
        raise ValueError(
            "expected the ring's diameter and its number of detectors in the header, as the bins are not arc-"
            "corrected, found none: write \"ring_diameter_mm\" and \"detectors_per_ring\" into a JSON file beside it"
        )
    central_mm = radius * float(np.sin(np.pi / detectors))
    return arc_correction(layout.bins, detectors, radius, description.bin_mm or central_mm)


def _radius(header: InterfileHeader, description: Description) -> float | None:
    """Of the ring on which lines end: the inner one and the depth of interaction, in mm."""
    if description.ring_diameter_mm is not None:
        return description.ring_diameter_mm / 2
    inner, depth = header.positive("inner ring diameter (cm)"), header.positive("average depth of interaction (cm)")
    return None if inner is None else 10 * (inner / 2 + (depth or 0.0))


def _ring_spacing(header: InterfileHeader, layout: SinogramLayout, description: Description) -> float:
    if description.ring_spacing_mm is not None:
        return description.ring_spacing_mm
    spacing = header.positive("distance between rings (cm)")
    if spacing is not None:
        return 10 * spacing
    planes = header.number("scale factor (mm/pixel)", 3)
    if planes is not None and planes > 0:
        return 2 * planes
    raise ValueError("expected the distance of rings in the header, found none: write \"ring_spacing_mm\" into a JSON "
                     "file beside it")


def _place(header: InterfileHeader, description: Description, first: int, spacing: float, ring: float
           ) -> np.ndarray | None:
    """Voxels of a grid of 1 mm pixels with (0, 0, k) on the axis in plane k, RAS; None where the patient's position is
    not stated."""
    if description.matrix is not None:
        return description.matrix
    signs = position_of(header)
    if signs is None:
        return None
    left, posterior, superior = signs
    matrix = np.diag([-1.0 * left, -1.0 * posterior, superior * spacing, 1.0])
    matrix[2, 3] = superior * first * ring / 2
    return matrix


def _facts(header: InterfileHeader, layout: SinogramLayout, description: Description, made: list[str]
           ) -> dict[str, Any]:
    facts: dict[str, Any] = {"format": "Interfile", "segments": len(layout.segments), "rings": layout.rings}
    scanner = header.text("originating system") or header.text("scanner type")
    if scanner and scanner.lower() != "unknown":
        facts["scanner"] = scanner
    isotope = description.isotope or header.text("radionuclide name", 1) or header.text("isotope name")
    if isotope:
        facts["isotope"] = isotope.replace("^", "")
    for name, key in (("half_life_s", "radionuclide halflife (sec)"), ("half_life_s", "isotope gamma halflife (sec)")):
        value = header.positive(key)
        if value is not None:
            facts[name] = value
    if made:
        facts["corrections"] = made
    return facts
