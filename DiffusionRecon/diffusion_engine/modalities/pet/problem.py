"""From counts, or a PET volume that is scanned in the computer, to a problem that is ready to solve."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...likelihoods.poisson import PoissonEmission
from ...physics.activity_scale import activity_scale
from ...physics.attenuation import survival
from ...physics.grid import ImageGrid
from ...physics.pet import EmissionProjector, count_factors, emission_geometry, emission_lines
from ...priors.card import PriorCard
from ...volume import Volume, check_image
from ..contract import Asked, Remark
from ..grids import FEWEST, binnings, on_other_pixels, prior_grid
from ..prepared import Extent, Prepared, check_region, flipped_bounds, no_limit
from .attenuation_map import attenuation_of
from .denoising import said_of
from .judge import judge
from .placing import of_slices, placed_anywhere, standing, turned
from .scale import BQML, RELATIVE, scale_of
from .simulate import MILLION, scan_geometry, simulate
from .sinogram import Sinogram
from .system import Acquisition, PETSystem, early_image
from .unit_question import question_pet

SMALLEST_PIXEL_MM = 2.0
"""Pixels finer than this are averaged when no prior says what it knows."""

Problem = Prepared[PETSystem]
Foresee = Callable[[Extent], object]
"""Raises ValueError for a problem that is too large."""


def prepare(
    source: Volume | Sinogram, asked: Asked, device: torch.device, card: PriorCard | None, foreseen: Foresee = no_limit
) -> Problem:
    """Check the input, simulate the acquisition if there is none, find attenuation and scale, choose the grids.

    Raises ValueError in one sentence. ``foreseen`` is called before the memory of the stack is taken.
    """
    if isinstance(source, Volume):
        return _from_volume(source, asked, device, card, foreseen)
    if not isinstance(source, Sinogram):
        raise ValueError(
            f"expected a Volume or a Sinogram, found {type(source).__name__}: read the file first, such as by "
            "diffusion_engine.io.images.read_volume"
        )
    return _from_sinogram(source, asked, device, card, foreseen)


def scanned(volume: Volume, asked: Asked, card: PriorCard | None, foreseen: Foresee = no_limit) -> tuple[
    Sinogram, Volume, list[str]
]:
    """The acquisition of a volume that is asked for, its reference image, and what is to be said of them."""
    check_image(volume)
    question = question_pet(volume)
    if question is not None and not asked.trust_unit:
        raise ValueError(f"{question} If it is PET in {volume.unit} all the same, set trust_unit.")
    notes = [] if question is None else [question]
    if asked.slices is not None:
        volume = volume.crop(slices=asked.slices)
    factors = binnings(volume.spacing_mm, asked.pixel_mm or (card.pixel_mm[0] if card else SMALLEST_PIXEL_MM))
    rows, columns = (size // by for size, by in zip(volume.array.shape[1:], factors, strict=True))
    if min(rows, columns) < FEWEST:
        raise ValueError(
            f"the slices have {volume.array.shape[1:]} pixels, too few to scan: expected at least "
            f"{FEWEST * factors[0]} rows and {FEWEST * factors[1]} columns"
        )
    wide, tall = volume.spacing_mm[:2]
    grid = ImageGrid(rows, columns, (tall * factors[0], wide * factors[1]))
    lines = scan_geometry(asked.scan, grid)
    foreseen(Extent(
        len(volume.array), grid, grid if card is None else prior_grid(grid, card, []),
        3 * len(volume.array) * len(lines.angles_rad) * lines.detector_count,
    ))
    made = simulate(volume, asked, factors, asked.slices[0] if asked.slices is not None else 0)
    scan = asked.scan
    notes.append(said_of(scan) if scan.denoise else
        f"Acquisition simulated from the volume, {scan.counts:g} million true coincidences a slice and "
        f"{scan.background_percent:g} % background over {scan.angles} angles; simulating from reconstructed images is "
        "kinder than a scanner: direct planes, a background that is known, no motion."
    )
    notes += made.notes
    if factors != (1, 1):
        notes.append(
            f"Reconstructed on pixels of {grid.pixel_mm[0]:.2f} x {grid.pixel_mm[1]:.2f} mm; the input's are "
            f"{tall:.2f} x {wide:.2f} mm."
        )
    return made.sinogram, made.reference, notes


def _from_volume(
    volume: Volume, asked: Asked, device: torch.device, card: PriorCard | None, foreseen: Foresee
) -> Problem:
    sinogram, reference, notes = scanned(volume, asked, card, foreseen)
    region = asked.region
    if region is not None:
        check_region(region, volume.array.shape[1], volume.array.shape[2])
        region = on_other_pixels(region, volume, reference)
    truth = None if asked.scan.denoise else reference.array
    problem = _assemble(sinogram, reference, asked, device, card, notes, truth, region)
    return replace(problem, noisy=not asked.scan.denoise)


def _from_sinogram(
    source: Sinogram, asked: Asked, device: torch.device, card: PriorCard | None, foreseen: Foresee
) -> Problem:
    notes: list[str] = []
    if asked.slices is not None:
        source = of_slices(source, *asked.slices)
    grid = _grid_of(source, asked, card, notes)
    foreseen(Extent(
        source.slices, grid, grid if card is None else prior_grid(grid, card, []), 3 * source.prompts.size
    ))
    if source.ijk_to_ras is None:
        if asked.scan.attenuation_map is not None:
            raise ValueError(
                "expected counts that say where in the patient they lie, to bring an attenuation map to them, found "
                "none: give ijk_to_ras, or the attenuation of each bin"
            )
        notes.append("The file does not say where in the patient the images lie: they are shown as axial ones.")
        source = placed_anywhere(source)
    matrix = source.placed(grid.rows, grid.columns, grid.pixel_mm)
    assert matrix is not None
    frame = Volume(np.zeros((source.slices, *grid.shape), np.float32), matrix, unit_of(source))
    if asked.region is not None:
        check_region(asked.region, grid.rows, grid.columns)
    source, remarks = _attenuated(source, frame, grid, asked, notes)
    notes += [remark.sentence for remark in remarks]
    problem = _assemble(source, frame, asked, device, card, notes, None, asked.region)
    return replace(problem, remarks=remarks)


def unit_of(sinogram: Sinogram) -> str:
    """The unit of images: what counts were simulated of, else Bq/mL where they are calibrated."""
    calibrated = sinogram.duration_s is not None and sinogram.counts_per_bq is not None
    return str(sinogram.facts.get("unit", BQML if calibrated else RELATIVE))


def _grid_of(sinogram: Sinogram, asked: Asked, card: PriorCard | None, notes: list[str]) -> ImageGrid:
    """The square that all angles see, or the grid of the images that were scanned."""
    known = sinogram.facts
    if asked.pixel_mm is None and {"rows", "columns", "pixel_mm"} <= set(known):
        tall, wide = known["pixel_mm"]
        return ImageGrid(int(known["rows"]), int(known["columns"]), (float(tall), float(wide)))
    pixel = asked.pixel_mm or max(sinogram.bin_mm, card.pixel_mm[0] if card else 0.0)
    seen = 2 * min(sinogram.centre_bin + 0.5, sinogram.bins - 0.5 - sinogram.centre_bin) * sinogram.bin_mm
    size = math.floor(seen / pixel + 1e-6)
    if size < FEWEST:
        raise ValueError(
            f"the bins see {seen:.4g} mm around the axis, {size} pixels of {pixel:.3g} mm, expected at least {FEWEST}: "
            "give smaller pixels, or correct centre_bin"
        )
    notes.append(f"Images of {size} x {size} pixels of {pixel:.3g} mm, as much as the bins see around the axis.")
    return ImageGrid(size, size, (pixel, pixel))


def _attenuated(
    source: Sinogram, frame: Volume, grid: ImageGrid, asked: Asked, notes: list[str]
) -> tuple[Sinogram, tuple[Remark, ...]]:
    """Counts with the attenuation of the map that is named, in place of their own, and remarks."""
    mu, said = attenuation_of(frame, asked.scan)
    remarks = source.remarks
    if mu is not None:
        lines = emission_lines(_geometry(source), grid)
        through = survival(torch.from_numpy(mu), lines).numpy()
        if source.attenuation is not None:
            said.append("It stands in place of the attenuation that came with the counts.")
        source = replace(source, attenuation=through)
        remarks = tuple(remark for remark in remarks if remark.kind != "attenuation")
        notes += said
    return source, (*remarks, *judge(source, source.attenuation is not None))


def _assemble(
    sinogram: Sinogram, frame: Volume, asked: Asked, device: torch.device, card: PriorCard | None, notes: list[str],
    reference: np.ndarray | None, region: tuple[int, int, int, int] | None,
) -> Problem:
    """The problem of placed counts; ``frame``: the delivered images' grid about the axis."""
    frame = Volume(frame.array, frame.ijk_to_ras, unit_of(sinogram))
    wide, tall, _ = frame.spacing_mm
    exchanged, flips = standing(frame, notes)
    sinogram = turned(sinogram, exchanged, flips)
    rows, columns = frame.array.shape[1:]
    grid = ImageGrid(rows, columns, (tall, wide))
    if exchanged:
        grid = ImageGrid(columns, rows, (wide, tall))
        reference = None if reference is None else reference.swapaxes(1, 2)
        region = None if region is None else (*region[2:], *region[:2])
    if reference is not None:
        reference = np.ascontiguousarray(np.flip(reference, flips))
    if region is not None:
        region = flipped_bounds(region, (sinogram.slices, *grid.shape), flips)
    acquisition = acquisition_of(sinogram, asked)
    factors, counts, background = (part.to(device) for part in _bins(sinogram))

    def on(pixels: ImageGrid, unit: float) -> PETSystem:
        lines = emission_lines(_geometry(sinogram), pixels, device=device)
        projector = EmissionProjector(lines, factors, pixels.pixel_mm, asked.scan.psf_mm)
        return PETSystem(pixels, PoissonEmission(projector, counts, background), unit, acquisition)

    plain = on(grid, 1.0)
    unit = activity_scale(early_image(plain.measured, grid).cpu().numpy())
    delivered = replace(plain, unit=unit)
    working = grid if card is None else prior_grid(grid, card, notes)
    first = asked.slices[0] if asked.slices is not None else 0
    return Prepared(
        delivered, delivered if working == grid else on(working, unit), frame, scale_of(unit, frame.unit), reference,
        flips, region, tuple(range(first, first + sinogram.slices)), notes, (), exchanged,
    )


def _geometry(sinogram: Sinogram) -> Any:
    return emission_geometry(
        tuple(sinogram.angles_rad.tolist()), sinogram.bins, sinogram.bin_mm, sinogram.centre_bin
    )


def _bins(sinogram: Sinogram) -> tuple[Tensor, Tensor, Tensor]:
    """Count factors, counts and background; where a bin sees nothing, neither counts nor background say anything."""
    efficiency, attenuation = (
        None if part is None else torch.from_numpy(np.ascontiguousarray(part))
        for part in (sinogram.efficiency, sinogram.attenuation)
    )
    factors = count_factors(sinogram.duration_s, sinogram.counts_per_bq, efficiency, attenuation)
    shape = sinogram.prompts.shape
    alive = (factors > 0).expand(shape)
    counts = torch.from_numpy(sinogram.prompts) * alive
    background = torch.zeros(shape) if sinogram.background is None else torch.from_numpy(sinogram.background) * alive
    return factors, counts, background


def acquisition_of(sinogram: Sinogram, asked: Asked) -> Acquisition:
    """What is to be said of counts: the trues are the prompts beyond the background."""
    scan = asked.scan
    total = float(sinogram.prompts.sum(dtype=np.float64))
    away = 0.0 if sinogram.background is None else float(sinogram.background.sum(dtype=np.float64))
    trues = max(total - away, 1.0)
    return Acquisition(
        trues / sinogram.slices / MILLION, 100 * away / trues, sinogram.angles, sinogram.bins, sinogram.bin_mm,
        float(scan.psf_mm), sinogram.attenuation is not None,
        sinogram.duration_s is not None and sinogram.counts_per_bq is not None, scan.osem_subsets,
        float(scan.osem_filter_mm), scan.rdp_weight * (trues / sinogram.slices / MILLION) ** (1 / 3),
        float(scan.rdp_gamma), bool(sinogram.facts.get("denoised", False)),
    )
