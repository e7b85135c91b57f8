"""A problem that is ready to solve: data on the delivered grid and on the prior's, and the way back to the patient."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor

from ..physics.grid import ImageGrid
from ..sampling.noise import Noise
from ..volume import IntensityScale, Volume
from .contract import Remark, System

S = TypeVar("S", bound=System)


@dataclass(frozen=True, eq=False)
class Prepared(Generic[S]):
    """Data and grids of one run; images are (slices, rows, columns) in standard axial orientation.

    ``delivered``: the data on the grid of the delivered images, ``prior``: on the one where the prior works (another
    one where the pixel size is outside its range); ``frame``: a volume that carries the delivered geometry; ``scale``:
    between the delivered unit and network units; ``flips``: axes to flip back; ``places``: the index of each slice in
    the whole stack of the input (none: from 0 on), by which it gets its random numbers; ``remarks``: on measured
    readings, also among the notes; ``exchanged``: whether rows and columns are exchanged once ``flips`` are undone;
    ``noisy``: whether the data have noise of their own, without which no residual can be tested.
    """

    delivered: S
    prior: S
    frame: Volume
    scale: IntensityScale
    reference: np.ndarray | None = None
    flips: tuple[int, ...] = ()
    region: tuple[int, int, int, int] | None = None
    places: tuple[int, ...] = ()
    notes: list[str] = field(default_factory=list)
    remarks: tuple[Remark, ...] = ()
    exchanged: bool = False
    noisy: bool = True

    @property
    def slices(self) -> int:
        return int(self.delivered.data.shape[0])

    @property
    def shape(self) -> tuple[int, int, int]:
        """(slices, rows, columns) of the delivered images before they are cropped."""
        return (self.slices, *self.delivered.grid.shape)

    @property
    def device(self) -> torch.device:
        return self.delivered.data.device

    @property
    def one_grid(self) -> bool:
        """Whether the prior works on the grid of the delivered images."""
        return self.prior is self.delivered

    @property
    def array_type(self) -> type[np.generic]:
        """Of the images while they are computed."""
        return np.complex64 if self.delivered.complex_images else np.float32

    @property
    def standing(self) -> Volume:
        """The frame with the axes that the images here have, before ``flips``."""
        if not self.exchanged:
            return self.frame
        return exchanged_axes(self.frame)

    def noise(self, seed: int, use: str, chunk: slice) -> Noise:
        """The random numbers of some slices, for a use out of :data:`..sampling.noise.USES`."""
        return Noise(seed, self.all_places[chunk], use)

    @property
    def all_places(self) -> tuple[int, ...]:
        """The index of each slice in the whole stack of the input."""
        return self.places or tuple(range(self.slices))

    def network(self, images: np.ndarray) -> Tensor:
        """Images of the delivered unit in network units, on the device."""
        return torch.from_numpy(self.scale.to_network(images)).to(self.device)

    def residuals(self, images: np.ndarray) -> Tensor:
        """Mean squared residual of delivered images in units of the noise: (slices, groups)."""
        return self.delivered.groups(self.network(images)).cpu()

    def further_residuals(self, images: np.ndarray) -> dict[str, Tensor]:
        """The same by other groups of readings, by what one of them is called, where a system has some."""
        further = getattr(self.delivered, "further_groups", None)
        return {} if further is None else {name: own.cpu() for name, own in further(self.network(images)).items()}

    def classical(self, name: str, iterations: int) -> Tensor:
        """A classical image of all slices, network units."""
        return deque(self.delivered.classical(name, iterations), 1).pop()

    def select(self, index: slice | Tensor) -> Prepared[S]:
        """The problem of some slices; the frame stays that of the whole stack."""
        chosen = np.arange(self.slices)[index if isinstance(index, slice) else index.cpu().numpy()]
        delivered = self.delivered.select(index)
        return replace(
            self, delivered=delivered, prior=delivered if self.one_grid else self.prior.select(index),
            reference=None if self.reference is None else self.reference[chosen],
            places=tuple(self.all_places[n] for n in chosen.tolist()),
        )

    def rescanned(self, image: np.ndarray, index: int, seed: int) -> Prepared[S]:
        """The scan of a delivered image (rows, columns), slice ``index``, made again in the computer.

        With the noise of that slice. What the discretisation costs there is what it costs in the real data, as far as
        the image resembles the object.
        """
        one = slice(index, index + 1)
        observed = self.delivered.select(one).observed(self.network(image[None]), self.noise(seed, "rescan", one))
        frame = self.frame.crop(slices=_slice_bounds(self, one))
        prior = observed if self.one_grid else self.prior.select(one).with_data(observed.data)
        return replace(self, delivered=observed, prior=prior, frame=frame, places=self.all_places[one])

    def cropped(self, images: np.ndarray) -> np.ndarray:
        """The delivered part of (slices, rows, columns)."""
        if self.region is None:
            return images
        i0, i1, j0, j1 = self.region
        return images[:, j0:j1, i0:i1]

    def shown(self, images: np.ndarray) -> np.ndarray:
        """Images as a reader sees them."""
        return self.delivered.show(torch.from_numpy(images)).numpy() if np.iscomplexobj(images) else images

    def phase(self, images: np.ndarray) -> Volume:
        """The phase of complex images of the delivered unit, delivered, in radians."""
        system: Any = self.delivered
        volume = self.deliver(system.phase(self.network(images)).cpu().numpy())
        return volume.with_array(volume.array, "rad")

    def deliver(self, images: np.ndarray) -> Volume:
        """Images in the geometry of the input, cropped to the region, float32, in the delivered unit."""
        array = np.flip(self.shown(images), self.flips)
        array = np.ascontiguousarray(array.swapaxes(1, 2) if self.exchanged else array, dtype=np.float32)
        volume = Volume(array, self.frame.ijk_to_ras, self.scale.unit)
        if self.region is None:
            return volume
        i0, i1, j0, j1 = flipped_bounds(self.region, images.shape, self.flips)
        if self.exchanged:
            i0, i1, j0, j1 = j0, j1, i0, i1
        return volume.crop(rows=(j0, j1), columns=(i0, i1))

    def preview(self, images: Tensor, chunk: slice) -> Volume:
        """Some slices of the current estimate as a volume at their place."""
        frame = self.frame.crop(slices=_slice_bounds(self, chunk))
        return replace(self, frame=frame).deliver(images.cpu().numpy())

    def describe(self) -> dict[str, Any]:
        """Acquisition and grids as JSON values for the report."""
        grid = self.delivered.grid
        return {
            **self.delivered.describe(), "rows": grid.rows, "columns": grid.columns, "pixel_mm": grid.pixel_mm,
            "prior_pixel_mm": self.prior.grid.pixel_mm,
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


def no_limit(extent: Extent) -> None:
    """Accepts a problem of any size."""


def check_region(region: tuple[int, int, int, int], rows: int, columns: int) -> None:
    """Raise ValueError for a region that leaves the image."""
    if region[1] > columns or region[3] > rows:
        raise ValueError(f"the region {region} leaves the image of {columns} columns and {rows} rows: make it smaller")


def flipped_bounds(
    region: tuple[int, int, int, int], shape: tuple[int, ...], flips: tuple[int, ...]
) -> tuple[int, int, int, int]:
    """A region (i0, i1, j0, j1) of an image whose axes ``flips`` are reversed."""
    i0, i1, j0, j1 = region
    if 2 in flips:
        i0, i1 = shape[2] - i1, shape[2] - i0
    if 1 in flips:
        j0, j1 = shape[1] - j1, shape[1] - j0
    return i0, i1, j0, j1


def exchanged_axes(volume: Volume) -> Volume:
    """The same volume with rows and columns exchanged: no value changes its place."""
    array = np.ascontiguousarray(volume.array.swapaxes(1, 2))
    return Volume(array, volume.ijk_to_ras[:, [1, 0, 2, 3]], volume.unit)


def _slice_bounds(problem: Prepared[Any], chunk: slice) -> tuple[int, int]:
    return int(chunk.start), min(int(chunk.stop), problem.slices)
