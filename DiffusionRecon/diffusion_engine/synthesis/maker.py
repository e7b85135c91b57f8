"""From label maps and volumes with a geometry to synthetic ones: what comes in with a grid goes out with it.

A prior that is told label maps makes the images. Volumes are turned to standard axial stacks and back; pixels must be
as large as those that it was trained on, since nothing is resampled here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from ..denoiser import Denoiser, positions
from ..orientation import Turn, has_square_pixels, upright
from ..priors.card import NEIGHBOURS
from ..priors.conditions import MASK, Condition
from ..priors.library import Prior
from ..priors.neighbours import StackDenoiser
from ..sampling.noise import Noise
from ..volume import IntensityScale, Volume, check_image
from .generate import Generation, Made, generated_stack
from .guidance import Guided, condition_of, planes_of_labels
from .lesions import Changed, LesionSettings, with_lesion, without_lesion

PIXEL_TOLERANCE = 0.1
"""Share by which pixels may be smaller or larger than any in training."""
GRID_MM = 1e-3


@dataclass(frozen=True, eq=False)
class Maker:
    """Makes an image of a label map, or a lesion in an image; ``prior``: told label maps, see its card.

    ``weight``: of guidance; ``period``: slices from anchor to anchor of their shared noise, 1 for none (see
    :mod:`..sampling.noise`). Raises ValueError for a prior that is told none.
    """

    prior: Prior
    how: Generation = field(default_factory=Generation)
    weight: float = 1.0
    period: int = 1
    condition: Condition = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "condition", condition_of(self.prior.card, MASK))

    def __call__(self, labels: Volume, seed: int) -> Volume:
        """An image on the grid of a label map, in the unit of the prior, float32: see :meth:`steps`."""
        for made in self.steps(labels, seed):
            last = made
        return self.volume(labels, last)

    def steps(self, labels: Volume, seed: int) -> Iterator[Made]:
        """The standing stack after each step, in network units; slices not made yet are NaN.

        ``labels``: values of the classes, 255 where nothing is known, of two slices or more. Raises ValueError for
        other values, a single slice, oblique grids, and pixels that are not square or not as in the prior's training.
        """
        standing, _, place = self._standing(labels)
        told = torch.from_numpy(np.ascontiguousarray(standing.array)).to(self.prior.device)
        planes = planes_of_labels(place, told, self.condition)
        distance = float(standing.spacing_mm[2])
        return generated_stack(
            Guided(self._denoiser(distance), self.weight), planes, self.how, Noise(seed, period=self.period),
            distance if self.prior.card.sees == NEIGHBOURS else 0.0,
        )

    def volume(self, labels: Volume, made: Made) -> Volume:
        """The stack of a step as a volume on the grid of its label map, in the unit of the prior."""
        _, turn = upright(labels)
        values = self._scale.from_network(made.images[:, 0].cpu().numpy().astype(np.float32))
        return labels.with_array(np.ascontiguousarray(turn.undo(values)), self.prior.card.unit)

    def lesion(
        self, image: Volume, segment: Volume, labels: Volume, name: str, settings: LesionSettings, seed: int
    ) -> tuple[Volume, Changed]:
        """The image with a lesion of the class ``name`` in the segment, and what is inside in network units.

        Voxels outside the segment (where it is 0) are those of the image, bit by bit, and so is its kind of number.
        ``labels``: of the whole image. Raises ValueError for grids that differ, another unit, and what :meth:`steps`
        and :func:`with_lesion` refuse.
        """
        def run(x: Tensor, inside: Tensor, told: Tensor, place: Tensor, denoiser: Denoiser) -> Iterator[Changed]:
            return with_lesion(denoiser, x, inside, told, name, place, self.condition, settings, Noise(seed))

        return self._changed(image, segment, labels, run)

    def without(
        self, image: Volume, segment: Volume, labels: Volume, settings: LesionSettings, seed: int
    ) -> tuple[Volume, Changed]:
        """The image without what lies in the segment: see :func:`without_lesion`, and :meth:`lesion`."""
        def run(x: Tensor, inside: Tensor, told: Tensor, place: Tensor, denoiser: Denoiser) -> Iterator[Changed]:
            spacing = upright(image)[0].spacing_mm
            return without_lesion(denoiser, x, inside, told, place, self.condition, settings, Noise(seed), spacing)

        return self._changed(image, segment, labels, run)

    def _changed(
        self, image: Volume, segment: Volume, labels: Volume,
        run: Callable[[Tensor, Tensor, Tensor, Tensor, Denoiser], Iterator[Changed]],
    ) -> tuple[Volume, Changed]:
        if image.unit != self.prior.card.unit:
            raise ValueError(
                f"expected an image in {self.prior.card.unit}, found {image.unit}: choose a model of such images"
            )
        for what, other in (("segment", segment), ("label map", labels)):
            check_same_grid(image, other, what)
        standing, turn, place = self._standing(image)
        device = self.prior.device
        x = torch.from_numpy(self._scale.to_network(standing.array.astype(np.float32)))[:, None].to(device)
        inside, told = (
            torch.from_numpy(np.ascontiguousarray(turn.apply(volume.array))).to(device) for volume in (segment, labels)
        )
        for changed in run(x, inside != 0, told, place, self._denoiser(float(standing.spacing_mm[2]))):
            last = changed
        values = turn.undo(self._scale.from_network(last.image[:, 0].cpu().numpy()))
        if np.issubdtype(image.array.dtype, np.integer):
            values = np.rint(values)
        array = np.where(segment.array != 0, values.astype(image.array.dtype), image.array)
        return image.with_array(np.ascontiguousarray(array)), last

    @property
    def _scale(self) -> IntensityScale:
        card = self.prior.card
        return IntensityScale(card.unit, card.offset, card.scale)

    def _denoiser(self, slice_mm: float) -> Denoiser:
        """Of stacks of this distance of slices."""
        return StackDenoiser(self.prior, slice_mm) if self.prior.card.sees == NEIGHBOURS else self.prior

    def _standing(self, volume: Volume) -> tuple[Volume, Turn, Tensor]:
        """The standard axial stack, its turn, and its positions; raises ValueError where the prior has no such grid."""
        check_image(volume)
        standing, turn = upright(volume)
        wide, tall, _ = standing.spacing_mm
        low, high = self.prior.card.pixel_mm
        fits = low * (1 - PIXEL_TOLERANCE) <= wide <= high * (1 + PIXEL_TOLERANCE)
        if not fits or not has_square_pixels(standing):
            raise ValueError(
                f"expected square pixels of axial slices from {low:g} to {high:g} mm, as {self.prior.card.name} was "
                f"trained on, found {tall:.3g} x {wide:.3g} mm: resample to such a grid first"
            )
        if len(standing.array) < 2:
            raise ValueError("expected a stack of two slices or more, found a single slice: give the whole volume")
        _, rows, columns = standing.array.shape
        return standing, turn, positions(rows, columns, (tall, wide)).to(self.prior.device)


def check_same_grid(image: Volume, other: Volume, what: str) -> None:
    """Raise ValueError unless two volumes have the same voxels at the same places."""
    apart = float(np.abs(image.ijk_to_ras - other.ijk_to_ras).max())
    if image.array.shape != other.array.shape or apart > GRID_MM:
        raise ValueError(
            f"expected the {what} on the grid of the image, {image.array.shape} voxels, found {other.array.shape} "
            f"voxels, {apart:.3g} mm apart: resample it to the image, or check that both are of one patient"
        )
