"""From a CT volume or sinogram to a problem that is ready to solve: checks, the scan, the grids."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from ...likelihoods.gaussian import GaussianLikelihood
from ...orientation import RAS_OF_AXIAL, turn_of
from ...physics.ct import RECONSTRUCTION, make_projector
from ...physics.grid import ImageGrid
from ...priors.card import PriorCard
from ...volume import AIR_HU, Volume, check_image
from ..contract import Asked, Remark
from ..grids import binnings, prior_grid
from ..prepared import Extent, Prepared, check_region, flipped_bounds, no_limit
from .field_of_view import reconstruction_grid
from .hu_question import padding, question_hu
from .measurement import Measurement
from .readings.judge import judge
from .readings.line_integrals import as_line_integrals, estimated_variance
from .scale import HU
from .scan import CTScan
from .simulate import scan_geometry, simulate
from .system import CTSystem

SMALLEST_PIXEL_MM = 1.25
"""Pixels finer than this are averaged when no prior says what it knows."""

Problem = Prepared[CTSystem]

Foresee = Callable[[Extent], object]
"""Raises ValueError for a problem that is too large."""


def prepare(
    source: Volume | Measurement, asked: Asked, device: torch.device, card: PriorCard | None,
    foreseen: Foresee = no_limit,
) -> Problem:
    """Check the input, simulate the scan if there is none, choose the grids; raises ValueError in one sentence.

    ``foreseen`` is called before the memory of the stack is taken.
    """
    if isinstance(source, Volume):
        return _from_volume(source, asked, device, card, foreseen)
    if not isinstance(source, Measurement):
        raise ValueError(
            f"expected a Volume or a Measurement, found {type(source).__name__}: read the file first, such as by "
            "diffusion_engine.io.images.read_volume"
        )
    return _from_measurement(source, asked, device, card, foreseen)


def _from_volume(
    volume: Volume, asked: Asked, device: torch.device, card: PriorCard | None, foreseen: Foresee
) -> Problem:
    check_image(volume)
    question = question_hu(volume)
    if question is not None and not asked.trust_unit:
        raise ValueError(f"{question} If it is CT in HU all the same, set trust_unit.")
    notes = [] if question is None else [question]
    if asked.slices is not None:
        volume = volume.crop(slices=asked.slices)
    filler = padding(volume)
    if filler is not None:
        notes.append(
            f"Padding of {filler[0]:g} HU in {100 * filler[1]:.2g} % of the voxels counts as air ({AIR_HU:g} HU)."
        )
    flips = _flips(volume, notes)
    smallest = asked.pixel_mm or (card.pixel_mm[0] if card else SMALLEST_PIXEL_MM)
    factors = binnings(volume.spacing_mm, smallest)
    if any(size < 8 * by for size, by in zip(volume.array.shape[1:], factors, strict=True)):
        raise ValueError(
            f"the slices have {volume.array.shape[1:]} pixels, too few to scan: expected at least {8 * factors[0]} "
            f"rows and {8 * factors[1]} columns"
        )
    down, along = factors
    expected = ImageGrid(
        volume.array.shape[1] // down, volume.array.shape[2] // along,
        (volume.spacing_mm[1] * down, volume.spacing_mm[0] * along),
    )
    scanned = scan_geometry(asked.scan, expected)
    foreseen(Extent(
        len(volume.array), expected, _worked_on(expected, card),
        len(volume.array) * len(scanned.angles_rad) * scanned.detector_count,
    ))
    upright = np.ascontiguousarray(np.flip(volume.array, flips))
    scan = simulate(Volume(upright, volume.ijk_to_ras, volume.unit), asked, factors, _first(asked))
    tall, wide = (size // by * by for size, by in zip(volume.array.shape[1:], factors, strict=True))
    # The frame keeps the input's own direction of axes; only the array was turned upright for the prior.
    i0 = volume.array.shape[2] - wide if 2 in flips else 0
    j0 = volume.array.shape[1] - tall if 1 in flips else 0
    frame = volume.crop(rows=(j0, j0 + tall), columns=(i0, i0 + wide)).bin_in_plane(factors)
    notes += _simulated(asked.scan)
    if factors[0] != factors[1]:
        notes.append(
            f"Reconstructed on pixels {factors[0]} times as tall and {factors[1]} times as wide as the input's "
            f"({frame.spacing_mm[1]:.2f} x {frame.spacing_mm[0]:.2f} mm)."
        )
    elif factors[0] > 1:
        notes.append(
            f"Reconstructed on pixels {factors[0]} times as wide as the input's ({frame.spacing_mm[0]:.2f} mm)."
        )
    rows, columns = frame.array.shape[1:]
    grid = ImageGrid(rows, columns, (frame.spacing_mm[1], frame.spacing_mm[0]))
    region = asked.region
    if region is not None:
        check_region(region, volume.array.shape[1], volume.array.shape[2])
        region = _binned(region, factors, flips, frame.array.shape, (i0, j0))
    measurement = as_line_integrals(scan.measurement, notes)
    problem = _assemble(measurement, grid, frame, asked, device, card, notes, scan.reference.array, flips, region)
    hardening = asked.scan.beam_hardening
    return _of_both(problem, scatter_percent=float(asked.scan.scatter_percent), beam_hardening=hardening)


def _from_measurement(
    source: Measurement, asked: Asked, device: torch.device, card: PriorCard | None, foreseen: Foresee
) -> Problem:
    notes: list[str] = []
    if asked.slices is not None:
        first, last = asked.slices
        if last > source.values.shape[0]:
            raise ValueError(f"slices {first} to {last} were asked for, the sinogram has {source.values.shape[0]}")
        variance = source.variance
        if variance is not None and variance.ndim == 3 and variance.shape[0] > 1:
            variance = variance[first:last]
        source = replace(source, values=source.values[first:last], variance=variance)
    judged = judge(source, asked.scan.water_per_mm, asked.trust_unit)
    remarks = judged.remarks
    source = as_line_integrals(judged.measurement, notes, judged.used)
    view = reconstruction_grid(torch.from_numpy(source.values), source.geometry, asked.pixel_mm)
    grid = view.grid
    if view.sentence is not None:
        remarks = (*remarks, Remark("cut_off", view.sentence, True))
    notes += [remark.sentence for remark in remarks]
    foreseen(Extent(len(source.values), grid, _worked_on(grid, card), source.values.size))
    matrix = np.eye(4)
    matrix[:3, :3] = RAS_OF_AXIAL * [grid.pixel_mm[1], grid.pixel_mm[0], source.slice_spacing_mm]
    matrix[:3, 3] = -matrix[:3, :3] @ [(grid.columns - 1) / 2, (grid.rows - 1) / 2, (len(source.values) - 1) / 2]
    frame = Volume(np.zeros((len(source.values), grid.rows, grid.columns), np.float32), matrix, "HU")
    problem = _assemble(source, grid, frame, asked, device, card, notes, None, (), asked.region)
    if view.sentence is not None:
        problem = _of_both(problem, truncated=True)
    return replace(problem, remarks=remarks)


def _assemble(
    measurement: Measurement, grid: ImageGrid, frame: Volume, asked: Asked, device: torch.device,
    card: PriorCard | None, notes: list[str], reference: np.ndarray | None, flips: tuple[int, ...],
    region: tuple[int, int, int, int] | None,
) -> Problem:
    data = torch.from_numpy(measurement.values).to(device)
    variance = estimated_variance(data, None, notes) if measurement.variance is None else measurement.variance
    spread = torch.from_numpy(np.asarray(variance, np.float32)).to(device)
    if region is not None:
        check_region(region, grid.rows, grid.columns)
    geometry = measurement.geometry
    working = grid if card is None else prior_grid(grid, card, notes)

    def on(pixels: ImageGrid) -> CTSystem:
        projector = make_projector(geometry, pixels, device=device, interpolation=RECONSTRUCTION)
        return CTSystem(geometry, pixels, GaussianLikelihood(projector, data, spread), asked.scan.water_per_mm)

    delivered = on(grid)
    first = _first(asked)
    return Prepared(
        delivered, delivered if working == grid else on(working), frame, HU, reference, flips, region,
        tuple(range(first, first + len(data))), notes,
    )


def _of_both(problem: Problem, **facts: Any) -> Problem:
    """The problem with facts about its data, on either grid."""
    delivered = replace(problem.delivered, **facts)
    prior = delivered if problem.prior is problem.delivered else replace(problem.prior, **facts)
    return replace(problem, delivered=delivered, prior=prior)


def _simulated(scan: CTScan) -> list[str]:
    """What must be said of a simulated scan."""
    hardening, scatter = scan.beam_hardening, scan.scatter_percent
    missing = [*([] if hardening else ["one energy"]), *([] if scatter else ["no scatter"]), "no motion"]
    notes = [
        f"Scan simulated from the volume with {scan.views} views ({scan.geometry}); simulating from "
        f"reconstructed images is kinder than a scanner: {', '.join(missing)}."
    ]
    if scatter:
        notes.append(
            f"The readings hold scattered photons, {scatter:g} % of the primary ones behind the object, which no image "
            "here knows of: values are too low, most of all in the middle."
        )
    if hardening:
        notes.append(
            "The beam has three energies and is corrected for water alone, which no image here knows of: dark streaks "
            "between bones are the beam's."
        )
    return notes


def _first(asked: Asked) -> int:
    """The index of the first chosen slice in the whole stack."""
    return asked.slices[0] if asked.slices is not None else 0


def _worked_on(grid: ImageGrid, card: PriorCard | None) -> ImageGrid:
    """The grid that a prior, if there is one, works on."""
    return grid if card is None else prior_grid(grid, card, [])


def _flips(volume: Volume, notes: list[str]) -> tuple[int, ...]:
    """Array axes to flip so that columns run to the patient's left and rows to posterior; a remark if not axial."""
    turn = turn_of(volume)
    if not turn.axial:
        notes.append(
            "The slices are not axial: the prior was trained on axial ones, so its result is less certain here."
        )
        return ()
    return tuple(axis for axis in (1, 2) if axis in turn.flips)


def _binned(
    region: tuple[int, int, int, int], factors: tuple[int, int], flips: tuple[int, ...], shape: tuple[int, ...],
    first: tuple[int, int],
) -> tuple[int, int, int, int]:
    """A region of input voxels in upright, binned ones: every touched pixel is kept.

    ``shape``: of the binned image; ``first``: column and row of the input where it begins, trimmed ones lie outside.
    """
    bounds = []
    sizes, along = (shape[2], shape[1]), factors[::-1]
    for start, stop, trimmed, size, by in zip(region[::2], region[1::2], first, sizes, along, strict=True):
        low = min(max((start - trimmed) // by, 0), size - 1)
        bounds += [low, min(max(-((trimmed - stop) // by), low + 1), size)]
    return flipped_bounds((bounds[0], bounds[1], bounds[2], bounds[3]), shape, flips)
