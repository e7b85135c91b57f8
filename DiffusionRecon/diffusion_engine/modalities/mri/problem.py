"""From k-space, or an MR volume that is scanned in the computer, to a problem that is ready to solve."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...likelihoods.gaussian import GaussianLikelihood
from ...orientation import RAS_OF_AXIAL, turn_of
from ...physics.grid import ImageGrid
from ...physics.mri import COLUMN_AXIS, ROW_AXIS, MultiCoilFourier
from ...priors.card import PriorCard
from ...priors.slices import resample
from ...volume import Volume, check_image
from ..contract import Asked
from ..grids import FEWEST, on_other_pixels, prior_grid
from ..prepared import Extent, Prepared, check_region, flipped_bounds, no_limit
from .channels import Channels, channels_of
from .grids import carried, flipped, flipped_mask, flipped_matrix, grid_of, grown, on_matrix
from .judge import judge, question_of_detail
from .kspace import KSpace
from .phase import imaginary_std, middle_window, smooth_phase
from .question import question_mr
from .sampled import Sampled, sampled
from .scale import network_unit, scale_of
from .simulate import matrix_for, simulate
from .system import Acquisition, MRISystem

Problem = Prepared[MRISystem]

Foresee = Callable[[Extent], object]
"""Raises ValueError for a problem that is too large."""

EXCHANGED = (0, 2, 1)
"""Axes of a turn that exchanges rows and columns."""


def prepare(
    source: Volume | KSpace, asked: Asked, device: torch.device, card: PriorCard | None, foreseen: Foresee = no_limit
) -> Problem:
    """Check the input, simulate the acquisition if there is none, find maps and phase, choose the grids.

    Raises ValueError in one sentence. ``foreseen`` is called before the memory of the stack is taken.
    """
    if isinstance(source, Volume):
        return _from_volume(source, asked, device, card, foreseen)
    if not isinstance(source, KSpace):
        raise ValueError(
            f"expected a Volume or a KSpace, found {type(source).__name__}: read the file first, such as by "
            "diffusion_engine.io.images.read_volume"
        )
    return _from_kspace(source, asked, device, card, foreseen)


def scanned(volume: Volume, asked: Asked, card: PriorCard | None, foreseen: Foresee = no_limit) -> tuple[
    KSpace, Volume, list[str]
]:
    """The acquisition of a volume that is asked for, its reference image, and what is to be said of them."""
    check_image(volume)
    question = question_mr(volume)
    if question is not None and not asked.trust_unit:
        raise ValueError(f"{question} If it is MR all the same, set trust_unit.")
    notes = [] if question is None else [question]
    if asked.slices is not None:
        volume = volume.crop(slices=asked.slices)
    smallest = asked.pixel_mm or (card.pixel_mm[0] if card else 0.0)
    scan = asked.scan
    fine, coarse = matrix_for(volume, scan, smallest)
    if min(coarse) < FEWEST:
        raise ValueError(f"the images have {coarse} pixels, too few to scan: expected at least {FEWEST} x {FEWEST}")
    samples = 2 * len(volume.array) * scan.coils * coarse[0] * coarse[1]
    height, width = (
        size * own / new for size, own, new in zip(fine, volume.spacing_mm[1::-1], coarse, strict=True)
    )
    grid = ImageGrid(*coarse, (height, width))
    foreseen(Extent(len(volume.array), grid, grid if card is None else prior_grid(grid, card, []), samples))
    detail = question_of_detail(volume)
    if detail is not None:
        notes.append(detail)
    result = simulate(volume, scan, asked.seed, fine, coarse, asked.slices[0] if asked.slices is not None else 0)
    notes.append(
        f"Acquisition simulated from the volume, {result.kspace.acceleration:.3g}-fold accelerated, {scan.coils} "
        f"coil{'' if scan.coils == 1 else 's'}; simulating from magnitude images is kinder than a scanner: a smooth "
        "phase, no motion, no field errors."
    )
    if (fine, coarse) != (volume.array.shape[1:], volume.array.shape[1:]):
        wide, tall, _ = np.linalg.norm(result.kspace.ijk_to_ras[:3, :3], axis=0)  # type: ignore[index]
        notes.append(
            f"Reconstructed as {coarse[0]} x {coarse[1]} pixels of {tall:.2f} x {wide:.2f} mm; the input's are "
            f"{volume.spacing_mm[1]:.2f} x {volume.spacing_mm[0]:.2f} mm."
        )
    assert result.kspace.ijk_to_ras is not None
    return result.kspace, Volume(result.reference, result.kspace.ijk_to_ras, "a.u."), notes


def _from_volume(
    volume: Volume, asked: Asked, device: torch.device, card: PriorCard | None, foreseen: Foresee
) -> Problem:
    kspace, reference, notes = scanned(volume, asked, card, foreseen)
    region = asked.region
    if region is not None:
        check_region(region, volume.array.shape[1], volume.array.shape[2])
        region = on_other_pixels(region, volume, reference)
    return _assemble(kspace, asked, device, card, notes, reference.array, region)


def _from_kspace(
    source: KSpace, asked: Asked, device: torch.device, card: PriorCard | None, foreseen: Foresee
) -> Problem:
    notes: list[str] = []
    if asked.slices is not None:
        first, last = asked.slices
        if last > source.slices:
            raise ValueError(f"slices {first} to {last} were asked for, the k-space has {source.slices}")
        source = of_slices(source, first, last)
    if min(source.shape) < FEWEST:
        raise ValueError(f"the k-space has {source.shape} samples a slice, expected at least {FEWEST} x {FEWEST}")
    pixel = source.pixel_mm
    if pixel is None:
        if asked.pixel_mm is None:
            raise ValueError(
                "the k-space does not say how wide its pixels are: give pixel_mm, the field of view over the matrix"
            )
        pixel = (asked.pixel_mm, asked.pixel_mm)
        notes.append(f"The file does not say how wide pixels are: {asked.pixel_mm:g} mm as given.")
        source = replace(source, pixel_mm=pixel)
    elif asked.pixel_mm is not None and max(abs(asked.pixel_mm / own - 1) for own in pixel) > 0.02:
        notes.append(
            f"Pixels are those of the acquisition, {pixel[0]:.3g} x {pixel[1]:.3g} mm; the {asked.pixel_mm:g} mm that "
            "were asked for count for data that do not say theirs."
        )
    grid = ImageGrid(*source.shape, pixel)
    foreseen(Extent(
        source.slices, grid, grid if card is None else prior_grid(grid, card, []), 2 * source.values.size
    ))
    if source.ijk_to_ras is None:
        notes.append("The file does not say where in the patient the images lie: they are shown as axial ones.")
        source = replace(source, ijk_to_ras=_anywhere(source.slices, grid, source.slice_spacing_mm))
    if asked.region is not None:
        check_region(asked.region, grid.rows, grid.columns)
    return _assemble(source, asked, device, card, notes, None, asked.region)


def _assemble(
    kspace: KSpace, asked: Asked, device: torch.device, card: PriorCard | None, notes: list[str],
    reference: np.ndarray | None, region: tuple[int, int, int, int] | None,
) -> Problem:
    assert kspace.ijk_to_ras is not None
    frame = Volume(np.zeros((kspace.slices, *kspace.shape), np.float32), kspace.ijk_to_ras, "a.u.")
    remarks = (*kspace.remarks, *judge(kspace))
    exchanged, flips = _turn(frame, notes)
    if exchanged:
        kspace = kspace.exchanged()
        reference = None if reference is None else reference.swapaxes(1, 2)
        region = None if region is None else (*region[2:], *region[:2])
    shape = (kspace.slices, *kspace.shape)
    kspace = upright(kspace, flips)
    if reference is not None:
        reference = np.ascontiguousarray(np.flip(reference, flips))
    if region is not None:
        region = flipped_bounds(region, shape, flips)
    found = sampled(kspace.mask)
    channels = channels_of(kspace, device, notes)
    remarks = (*remarks, *channels.remarks)
    notes += [remark.sentence for remark in remarks]
    assert kspace.ijk_to_ras is not None
    grid = grid_of(kspace.shape, kspace.ijk_to_ras)
    masks = torch.from_numpy(kspace.mask.copy()).to(device)
    one = masks if (kspace.mask != kspace.mask[:1]).any() else masks[:1]
    phase = _phase(channels, kspace)
    view = ROW_AXIS if found.rows else COLUMN_AXIS

    def on(pixels: ImageGrid, unit: float, acquisition: Acquisition) -> MRISystem:
        maps, data, mask = channels.maps, channels.data, one
        turned = torch.polar(torch.ones_like(phase), phase)
        if pixels != grid:
            maps = torch.stack([_smoothly(part, pixels) for part in maps])
            turned = _smoothly(turned, pixels)
            turned = turned / turned.abs().clamp_min(1e-6)
            data = carried(data, pixels.shape)
            mask = on_matrix(mask.float(), pixels.shape) > 0
        operator = MultiCoilFourier(maps * turned[:, None], mask, view)
        variance = operator.variance(
            torch.tensor(channels.std**2 * grown(grid.shape, pixels.shape), device=device)
        )
        likelihood = GaussianLikelihood(operator, data * operator.mask[:, None], variance)
        return MRISystem(pixels, likelihood, unit, acquisition, left, turned.angle())

    left: float | None = None
    plain = on(grid, 1.0, _acquisition(found, kspace, channels, asked, 1.0))
    unit = network_unit(plain.start().abs().cpu().numpy())
    acquisition = _acquisition(found, kspace, channels, asked, unit)
    turned_maps = channels.maps * torch.polar(torch.ones_like(phase), phase)[:, None]
    left = imaginary_std(channels.data, turned_maps, kspace.mask, channels.std, unit)
    delivered = on(grid, unit, acquisition)
    working = grid if card is None else prior_grid(grid, card, notes)
    first = asked.slices[0] if asked.slices is not None else 0
    return Prepared(
        delivered, delivered if working == grid else on(working, unit, acquisition), frame, scale_of(unit), reference,
        flips, region, tuple(range(first, first + kspace.slices)), notes, remarks, exchanged,
    )


def _smoothly(values: Tensor, pixels: ImageGrid) -> Tensor:
    """Complex values that hardly differ from pixel to pixel but end somewhere, on other pixels: linear."""
    return torch.complex(*(resample(part, *pixels.shape) for part in (values.real, values.imag)))


def _acquisition(
    found: Sampled, kspace: KSpace, channels: Channels, asked: Asked, unit: float
) -> Acquisition:
    scan = asked.scan
    return Acquisition(
        found.acceleration, found.pattern, found.axes, found.lines, kspace.coils, channels.data.shape[1],
        100 * channels.std / unit, found.partial,
        (("wavelet", scan.wavelet_weight), ("tv", scan.tv_weight)),
    )


def _phase(channels: Channels, kspace: KSpace) -> Tensor:
    """The smooth phase of each slice, radians; 0 where the middle of k-space does not tell."""
    return torch.cat([
        smooth_phase(channels.data[n : n + 1], channels.maps[n : n + 1], middle_window(mask))
        for n, mask in enumerate(kspace.mask)
    ])


def of_slices(kspace: KSpace, first: int, last: int) -> KSpace:
    """The acquisition of some slices, at their place."""
    part: dict[str, Any] = {
        name: None if (own := getattr(kspace, name)) is None else own[first:last]
        for name in ("values", "mask", "maps", "calibration")
    }
    place = kspace.ijk_to_ras
    if place is not None:
        place = np.array(place)
        place[:3, 3] += first * place[:3, 2]
    return replace(kspace, **part, ijk_to_ras=place)


def upright(kspace: KSpace, flips: tuple[int, ...]) -> KSpace:
    """The acquisition of the same patient with the pixels of some axes (1: rows, 2: columns) in reverse order."""
    if not flips:
        return kspace

    def turned(samples: np.ndarray | None) -> np.ndarray | None:
        return None if samples is None else flipped(torch.from_numpy(samples), flips).numpy()

    mask = flipped_mask(kspace.mask, flips)
    values = turned(kspace.values)
    assert values is not None
    maps = None if kspace.maps is None else np.flip(kspace.maps, tuple(axis + 1 for axis in flips))
    calibration = turned(kspace.calibration)
    if calibration is not None and kspace.calibration is not None:
        measured = flipped_mask((kspace.calibration != 0).any(1), flips)
        calibration = calibration * measured[:, None]
    place = kspace.ijk_to_ras
    if place is not None:
        place = flipped_matrix(place, kspace.shape, flips)
    return replace(
        kspace, values=np.where(mask[:, None], values, 0), mask=mask, maps=maps, calibration=calibration,
        ijk_to_ras=place,
    )


def _turn(frame: Volume, notes: list[str]) -> tuple[bool, tuple[int, ...]]:
    """How axial slices come to stand upright, columns to the patient's left and rows to posterior: whether rows and
    columns are to be exchanged, and the axes to flip then. Others stay as they are, with a remark.
    """
    turn = turn_of(frame)
    if turn.axes[0] != 0 or turn.oblique:
        notes.append(
            "The slices are not axial: the prior was trained on axial ones, so its result is less certain here."
        )
        return False, ()
    return turn.axes == EXCHANGED, tuple(axis for axis in (1, 2) if axis in turn.flips)


def _anywhere(slices: int, grid: ImageGrid, apart: float) -> np.ndarray:
    """A standard axial stack around the origin."""
    matrix = np.eye(4)
    matrix[:3, :3] = RAS_OF_AXIAL * [grid.pixel_mm[1], grid.pixel_mm[0], apart]
    matrix[:3, 3] = -matrix[:3, :3] @ [(grid.columns - 1) / 2, (grid.rows - 1) / 2, (slices - 1) / 2]
    return matrix
