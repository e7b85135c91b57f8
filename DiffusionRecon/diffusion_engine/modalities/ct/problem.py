"""One reconstruction problem, ready to solve: likelihood, grids, and the way back to the patient's geometry."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...likelihoods.gaussian import GaussianLikelihood
from ...orientation import RAS_OF_AXIAL, turn_of
from ...physics.arc import seen_arc
from ...physics.ct import RECONSTRUCTION, CTGeometry, ImageGrid, make_projector
from ...physics.noise import typical_noise_std
from ...priors.card import PriorCard
from ...priors.slices import working_pixels
from ...run.settings import Settings
from ...sampling.noise import Noise
from ...volume import AIR_HU, Volume, check_image, hu_to_attenuation
from .field_of_view import reconstruction_grid
from .hu_question import padding, question_hu
from .measurement import Measurement
from .readings.judge import judge
from .readings.line_integrals import as_line_integrals, estimated_std
from .readings.remark import Remark
from .simulate import binnings, readings, scan_geometry, simulate

SMALLEST_PIXEL_MM = 1.25
"""Pixels finer than this are averaged when no prior says what it knows."""


@dataclass(frozen=True, eq=False)
class Problem:
    """Data and grids of one run; images are (slices, rows, columns) in standard axial orientation, in HU.

    ``grid``: of the delivered images, ``prior_grid``: where the prior works (another one where the pixel size is
    outside its range); ``frame``: a volume that carries the delivered geometry; ``flips``: axes to flip back;
    ``truncated``: the field of view cuts the object off; ``places``: the index of each slice in the whole stack of
    the input (none: from 0 on), by which it gets its random numbers; ``remarks``: on measured readings, also among the
    notes.
    """

    geometry: CTGeometry
    grid: ImageGrid
    likelihood: GaussianLikelihood
    prior_grid: ImageGrid
    prior_likelihood: GaussianLikelihood
    frame: Volume
    water_per_mm: float
    noise_std: float
    reference: np.ndarray | None = None
    flips: tuple[int, ...] = ()
    region: tuple[int, int, int, int] | None = None
    truncated: bool = False
    places: tuple[int, ...] = ()
    notes: list[str] = field(default_factory=list)
    remarks: tuple[Remark, ...] = ()

    @property
    def slices(self) -> int:
        return int(self.likelihood.data.shape[0])

    def noise(self, seed: int, use: str, chunk: slice) -> Noise:
        """The random numbers of some slices, for a use out of :data:`.sampling.noise.USES`."""
        return Noise(seed, self.all_places[chunk], use)

    @property
    def all_places(self) -> tuple[int, ...]:
        """The index of each slice in the whole stack of the input."""
        return self.places or tuple(range(self.slices))

    def cropped(self, images: np.ndarray) -> np.ndarray:
        """The delivered part of (slices, rows, columns)."""
        if self.region is None:
            return images
        i0, i1, j0, j1 = self.region
        return images[:, j0:j1, i0:i1]

    def deliver(self, images: np.ndarray) -> Volume:
        """Images in the geometry of the input, cropped to the region, float32 HU."""
        array = np.ascontiguousarray(np.flip(images, self.flips), dtype=np.float32)
        volume = Volume(array, self.frame.ijk_to_ras, "HU")
        if self.region is None:
            return volume
        i0, i1, j0, j1 = _flipped_bounds(self.region, images.shape, self.flips)
        return volume.crop(rows=(j0, j1), columns=(i0, i1))

    def preview(self, images: Tensor, chunk: slice) -> Volume:
        """Some slices of the current estimate as a volume at their place."""
        frame = self.frame.crop(slices=_slice_bounds(self, chunk))
        return replace(self, frame=frame).deliver(images.cpu().numpy())

    def residuals(self, images: np.ndarray, likelihood: GaussianLikelihood) -> Tensor:
        """Mean over the detector of ((y - A x) / sigma)^2 of images in HU: (slices, views)."""
        attenuation = torch.from_numpy(hu_to_attenuation(images, self.water_per_mm).astype(np.float32))
        return likelihood.residual_per_view(attenuation.to(likelihood.data.device)).cpu()

    def describe(self) -> dict[str, Any]:
        """Geometry and grid as JSON values for the report."""
        g = self.geometry
        seen = seen_arc(g)
        return {
            "type": g.type, "views": len(g.angles_rad), "arc_degrees": round(math.degrees(seen.covered_rad), 3),
            "largest_gap_degrees": round(math.degrees(seen.largest_gap_rad), 3),
            "detector_count": g.detector_count, "detector_spacing_mm": g.detector_spacing_mm,
            "detector_offset_mm": g.detector_offset_mm, "source_to_isocentre_mm": g.source_to_isocentre_mm,
            "source_to_detector_mm": g.source_to_detector_mm, "rows": self.grid.rows, "columns": self.grid.columns,
            "pixel_mm": self.grid.pixel_mm, "prior_pixel_mm": self.prior_grid.pixel_mm,
        }


@dataclass(frozen=True)
class Extent:
    """How large a problem is: its slices and grids, and the readings of the data that are yet to be made."""

    slices: int
    grid: ImageGrid
    prior_grid: ImageGrid
    readings: int = 0

    @property
    def pixels(self) -> int:
        """Of a slice, on the larger of the grids."""
        return max(self.grid.rows * self.grid.columns, self.prior_grid.rows * self.prior_grid.columns)


Foresee = Callable[[Extent], object]
"""Raises ValueError for a problem that is too large."""


def prepare(
    source: Volume | Measurement, settings: Settings, device: torch.device, card: PriorCard | None,
    foreseen: Foresee = lambda extent: None,
) -> Problem:
    """Check the input, simulate the scan if there is none, choose the grids; raises ValueError in one sentence.

    ``foreseen`` is called before the memory of the stack is taken.
    """
    if isinstance(source, Volume):
        return _from_volume(source, settings, device, card, foreseen)
    return _from_measurement(source, settings, device, card, foreseen)


def rescan(problem: Problem, image: np.ndarray, index: int, settings: Settings) -> Problem:
    """Scan a delivered slice again in the computer: pixels halved, detector bins averaged in pairs, same noise.

    ``image``: (rows, columns) in HU, slice ``index`` of the problem. What the discretisation costs there is what it
    costs in the real data, as far as the image resembles the object.
    """
    device = problem.likelihood.data.device
    attenuation = torch.from_numpy(hu_to_attenuation(image[None], settings.water_per_mm).astype(np.float32)).to(device)
    clean = readings(attenuation, problem.geometry, problem.grid)
    one = slice(index, index + 1)
    likelihood, noise = problem.likelihood.select(one), problem.noise(settings.seed, "rescan", one)
    data = clean + likelihood.noise_std * noise.normal(clean)
    frame = problem.frame.crop(slices=_slice_bounds(problem, one))
    return replace(
        problem, likelihood=replace(likelihood, data=data), frame=frame,
        prior_likelihood=replace(problem.prior_likelihood.select(one), data=data), places=problem.all_places[one],
    )


def _from_volume(
    volume: Volume, settings: Settings, device: torch.device, card: PriorCard | None, foreseen: Foresee
) -> Problem:
    check_image(volume)
    question = question_hu(volume)
    if question is not None and not settings.trust_unit:
        raise ValueError(f"{question} If it is CT in HU all the same, set trust_unit.")
    notes = [] if question is None else [question]
    if settings.slices is not None:
        volume = volume.crop(slices=settings.slices)
    filler = padding(volume)
    if filler is not None:
        notes.append(
            f"Padding of {filler[0]:g} HU in {100 * filler[1]:.2g} % of the voxels counts as air ({AIR_HU:g} HU)."
        )
    flips = _flips(volume, notes)
    smallest = settings.pixel_mm or (card.pixel_mm[0] if card else SMALLEST_PIXEL_MM)
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
    scanned = scan_geometry(settings, expected)
    foreseen(Extent(
        len(volume.array), expected, _worked_on(expected, card),
        len(volume.array) * len(scanned.angles_rad) * scanned.detector_count,
    ))
    upright = np.ascontiguousarray(np.flip(volume.array, flips))
    scan = simulate(Volume(upright, volume.ijk_to_ras, volume.unit), settings, factors, _first(settings))
    tall, wide = (size // by * by for size, by in zip(volume.array.shape[1:], factors, strict=True))
    # The frame keeps the input's own direction of axes; only the array was turned upright for the prior.
    i0 = volume.array.shape[2] - wide if 2 in flips else 0
    j0 = volume.array.shape[1] - tall if 1 in flips else 0
    frame = volume.crop(rows=(j0, j0 + tall), columns=(i0, i0 + wide)).bin_in_plane(factors)
    notes.append(
        f"Scan simulated from the volume with {settings.views} views ({settings.geometry}); simulating from "
        "reconstructed images is kinder than a scanner: one energy, no scatter, no motion."
    )
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
    region = settings.region
    if region is not None:
        _check_region(region, volume.array.shape[1], volume.array.shape[2])
        region = _binned(region, factors, flips, frame.array.shape, (i0, j0))
    measurement = as_line_integrals(scan.measurement, notes)
    return _assemble(measurement, grid, frame, settings, device, card, notes, scan.reference.array, flips, region)


def _from_measurement(
    source: Measurement, settings: Settings, device: torch.device, card: PriorCard | None, foreseen: Foresee
) -> Problem:
    notes: list[str] = []
    if settings.slices is not None:
        first, last = settings.slices
        if last > source.values.shape[0]:
            raise ValueError(f"slices {first} to {last} were asked for, the sinogram has {source.values.shape[0]}")
        variance = source.variance
        if variance is not None and variance.ndim == 3 and variance.shape[0] > 1:
            variance = variance[first:last]
        source = replace(source, values=source.values[first:last], variance=variance)
    judged = judge(source, settings.water_per_mm, settings.trust_unit)
    remarks = judged.remarks
    source = as_line_integrals(judged.measurement, notes, judged.used)
    view = reconstruction_grid(torch.from_numpy(source.values), source.geometry, settings.pixel_mm)
    grid = view.grid
    if view.sentence is not None:
        remarks = (*remarks, Remark("cut_off", view.sentence, True))
    notes += [remark.sentence for remark in remarks]
    foreseen(Extent(len(source.values), grid, _worked_on(grid, card), source.values.size))
    matrix = np.eye(4)
    matrix[:3, :3] = RAS_OF_AXIAL * [grid.pixel_mm[1], grid.pixel_mm[0], source.slice_spacing_mm]
    matrix[:3, 3] = -matrix[:3, :3] @ [(grid.columns - 1) / 2, (grid.rows - 1) / 2, (len(source.values) - 1) / 2]
    frame = Volume(np.zeros((len(source.values), grid.rows, grid.columns), np.float32), matrix, "HU")
    problem = _assemble(source, grid, frame, settings, device, card, notes, None, (), settings.region)
    return replace(problem, truncated=view.sentence is not None, remarks=remarks)


def _assemble(
    measurement: Measurement, grid: ImageGrid, frame: Volume, settings: Settings, device: torch.device,
    card: PriorCard | None, notes: list[str], reference: np.ndarray | None, flips: tuple[int, ...],
    region: tuple[int, int, int, int] | None,
) -> Problem:
    data = torch.from_numpy(measurement.values).to(device)
    if measurement.variance is None:
        spread = torch.tensor(estimated_std(data, None, notes) ** 2, dtype=torch.float32, device=device)
    else:
        spread = torch.from_numpy(np.asarray(measurement.variance, np.float32)).to(device)
    if region is not None:
        _check_region(region, grid.rows, grid.columns)
    geometry = measurement.geometry
    prior_grid = grid if card is None else _prior_grid(grid, card, notes)

    def likelihood_on(pixels: ImageGrid) -> GaussianLikelihood:
        projector = make_projector(geometry, pixels, device=device, interpolation=RECONSTRUCTION)
        return GaussianLikelihood(projector, data, spread)

    likelihood = likelihood_on(grid)
    elsewhere = likelihood if prior_grid == grid else likelihood_on(prior_grid)
    return Problem(
        geometry, grid, likelihood, prior_grid, elsewhere, frame, settings.water_per_mm, typical_noise_std(spread),
        reference, flips, region, notes=notes,
        places=tuple(range(_first(settings), _first(settings) + len(data))),
    )


def _first(settings: Settings) -> int:
    """The index of the first chosen slice in the whole stack."""
    return settings.slices[0] if settings.slices is not None else 0


def _worked_on(grid: ImageGrid, card: PriorCard | None) -> ImageGrid:
    """The grid that a prior, if there is one, works on."""
    return grid if card is None else _prior_grid(grid, card, [])


def _prior_grid(grid: ImageGrid, card: PriorCard, notes: list[str]) -> ImageGrid:
    """The grid of the same field of view whose pixels the prior was trained on."""
    wanted = working_pixels(grid.pixel_mm, card)
    if wanted == tuple(grid.pixel_mm):
        return grid
    rows, columns = (max(16, round(n * p / w)) for n, p, w in zip(grid.shape, grid.pixel_mm, wanted, strict=True))
    pixel = (grid.rows * grid.pixel_mm[0] / rows, grid.columns * grid.pixel_mm[1] / columns)
    low, high = card.pixel_mm
    notes.append(
        f"The prior {card.name} knows pixels of {low:.2f} to {high:.2f} mm; for {grid.pixel_mm[1]:.3g} mm it worked on "
        f"pixels of {pixel[1]:.3g} mm, and the result was resampled."
    )
    return ImageGrid(rows, columns, pixel, grid.centre_mm)


def _flips(volume: Volume, notes: list[str]) -> tuple[int, ...]:
    """Array axes to flip so that columns run to the patient's left and rows to posterior; a remark if not axial."""
    turn = turn_of(volume)
    if not turn.axial:
        notes.append(
            "The slices are not axial: the prior was trained on axial ones, so its result is less certain here."
        )
        return ()
    return tuple(axis for axis in (1, 2) if axis in turn.flips)


def _check_region(region: tuple[int, int, int, int], rows: int, columns: int) -> None:
    if region[1] > columns or region[3] > rows:
        raise ValueError(f"the region {region} leaves the image of {columns} columns and {rows} rows: make it smaller")


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
    return _flipped_bounds((bounds[0], bounds[1], bounds[2], bounds[3]), shape, flips)


def _flipped_bounds(
    region: tuple[int, int, int, int], shape: tuple[int, ...], flips: tuple[int, ...]
) -> tuple[int, int, int, int]:
    i0, i1, j0, j1 = region
    if 2 in flips:
        i0, i1 = shape[2] - i1, shape[2] - i0
    if 1 in flips:
        j0, j1 = shape[1] - j1, shape[1] - j0
    return i0, i1, j0, j1


def _slice_bounds(problem: Problem, chunk: slice) -> tuple[int, int]:
    return int(chunk.start), min(int(chunk.stop), problem.slices)

