"""Image volumes with their place and unit, and the scale between a unit and network units."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

WATER_PER_MM = 0.0193
"""Linear attenuation of water near 70 keV, the mean energy of a 120 kVp beam, in 1/mm."""

AIR_HU = -1000.0
"""CT number of air: the least that a scanner can produce."""

SHEAR_TOLERANCE = 1e-3
"""Largest cosine between two axes of a grid that still counts as rectangular (0.06 degrees)."""

VOXEL_MM = (1e-4, 100.0)
"""Least and greatest distance of neighbouring voxels that is not questioned."""

SMALLEST_IMAGE_MM, LARGEST_IMAGE_MM = 0.5, 3000.0
"""Longest side of a whole image that is not questioned."""

Values = TypeVar("Values", float, np.ndarray, "Tensor")


@dataclass(frozen=True, eq=False)
class Volume:
    """An image stack with its place in the patient and its unit.

    ``array``: real numbers, shape (slices K, rows J, columns I). ``ijk_to_ras``: (4, 4), maps the homogeneous
    index (i, j, k, 1) of a voxel's centre to patient coordinates (right, anterior, superior, 1) in mm.
    ``unit``: of the values, such as "HU", "1/mm", "SUV", "Bq/mL" or "a.u.".
    Raises ValueError when the array is not 3D or the matrix is not an invertible affine one.
    """

    array: np.ndarray
    ijk_to_ras: np.ndarray
    unit: str

    def __post_init__(self) -> None:
        array = np.asarray(self.array)
        if array.ndim != 3:
            raise ValueError(f"expected an array (slices, rows, columns), found shape {array.shape}: reshape it")
        if not (np.issubdtype(array.dtype, np.number) or array.dtype == bool) or np.iscomplexobj(array):
            raise ValueError(f"expected real numbers as voxels, found {array.dtype}: convert the array first")
        matrix = np.array(self.ijk_to_ras, dtype=np.float64)
        if matrix.shape != (4, 4):
            raise ValueError(f"expected ijk_to_ras of shape (4, 4), found {matrix.shape}: give the full matrix")
        if not np.isfinite(matrix).all():
            raise ValueError("expected finite numbers in ijk_to_ras, found NaN or infinity: repair the geometry")
        if not np.array_equal(matrix[3], (0.0, 0.0, 0.0, 1.0)):
            raise ValueError(f"expected 0 0 0 1 as last row of ijk_to_ras, found {matrix[3].tolist()}: transpose it?")
        lengths = np.linalg.norm(matrix[:3, :3], axis=0)
        if lengths.min() <= 0 or abs(np.linalg.det(matrix[:3, :3] / lengths)) < 1e-6:
            raise ValueError("expected an invertible ijk_to_ras, found a singular matrix: check spacing and axes")
        if not isinstance(self.unit, str) or not self.unit.strip():
            raise ValueError(f"expected the unit of the values as text, found {self.unit!r}: give HU, SUV or a.u.")
        matrix.flags.writeable = False
        object.__setattr__(self, "array", array)
        object.__setattr__(self, "ijk_to_ras", matrix)

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance of neighbouring voxels along columns i, rows j and slices k, in mm."""
        si, sj, sk = np.linalg.norm(self.ijk_to_ras[:3, :3], axis=0).tolist()
        return si, sj, sk

    @property
    def origin(self) -> tuple[float, float, float]:
        """Centre of the first voxel in RAS, mm."""
        r, a, s = self.ijk_to_ras[:3, 3].tolist()
        return r, a, s

    def with_array(self, array: np.ndarray, unit: str | None = None) -> Volume:
        """The same place with other values of the same shape, and another unit when given."""
        if np.shape(array) != self.array.shape:
            raise ValueError(f"expected an array of shape {self.array.shape}, found {np.shape(array)}: use crop or bin")
        return Volume(array, self.ijk_to_ras, self.unit if unit is None else unit)

    def crop(
        self,
        slices: tuple[int, int] | None = None,
        rows: tuple[int, int] | None = None,
        columns: tuple[int, int] | None = None,
    ) -> Volume:
        """The part between half-open index ranges (None: the whole axis); every voxel keeps its place.

        Raises ValueError for a range that is empty or leaves the volume.
        """
        bounds = []
        names = ("slices", "rows", "columns")
        for name, wanted, size in zip(names, (slices, rows, columns), self.array.shape, strict=True):
            first, last = (0, size) if wanted is None else (int(wanted[0]), int(wanted[1]))
            if not 0 <= first < last <= size:
                raise ValueError(f"expected {name} first < last within 0 to {size}, found {first} to {last}")
            bounds.append((first, last))
        (k0, k1), (j0, j1), (i0, i1) = bounds
        return Volume(self.array[k0:k1, j0:j1, i0:i1], _shifted(self.ijk_to_ras, (i0, j0, k0)), self.unit)

    def bin_in_plane(self, factor: int | tuple[int, int]) -> Volume:
        """Means over blocks of pixels of each slice, at the blocks' centres.

        ``factor``: pixels of a block along rows and columns (j, i), one number for both. Rows and columns that fill no
        block are trimmed, half at each side (the odd one at the end). Integers become float32. Raises ValueError when a
        factor is below 1 or no block fits.
        """
        slices, rows, columns = self.array.shape
        down, along = (factor, factor) if isinstance(factor, int) else factor
        if min(down, along) < 1 or rows < down or columns < along:
            raise ValueError(f"expected a factor from 1 to {min(rows, columns)}, found {factor}: choose another")
        tall, wide = rows // down, columns // along
        j0, i0 = (rows - tall * down) // 2, (columns - wide * along) // 2
        blocks = self.array[:, j0 : j0 + tall * down, i0 : i0 + wide * along]
        kept = np.float64 if self.array.dtype == np.float64 else np.float32
        means = blocks.reshape(slices, tall, down, wide, along).mean(axis=(2, 4), dtype=np.float64).astype(kept)
        matrix = _shifted(self.ijk_to_ras, (i0 + (along - 1) / 2, j0 + (down - 1) / 2, 0))
        matrix[:3, 0] *= along
        matrix[:3, 1] *= down
        return Volume(means, matrix, self.unit)


def _shifted(ijk_to_ras: np.ndarray, ijk: tuple[float, float, float]) -> np.ndarray:
    """The matrix of a grid whose first voxel is at index ``ijk`` of the given one."""
    matrix = ijk_to_ras.copy()
    matrix[:3, 3] += ijk_to_ras[:3, :3] @ np.asarray(ijk, dtype=np.float64)
    return matrix


def check_image(volume: Volume) -> None:
    """Raise ValueError, one sentence, when the volume cannot be worked on.

    Refused: no voxels or slices below 2 x 2 pixels, NaN or infinite voxels, axes that are not perpendicular, and a
    size in mm that no patient and no specimen has.
    """
    slices, rows, columns = volume.array.shape
    if slices < 1 or min(rows, columns) < 2:
        raise ValueError(
            f"expected at least one slice of 2 x 2 pixels, found {slices} x {rows} x {columns} voxels: "
            "choose another image"
        )
    bad = ~np.isfinite(volume.array)
    count = int(np.count_nonzero(bad))
    if count:
        k, j, i = (int(v) for v in np.unravel_index(int(np.argmax(bad)), bad.shape))
        raise ValueError(
            f"expected finite voxels, found {count} NaN or infinite, the first in slice {k}, row {j}, column {i}: "
            "repair or mask them first"
        )
    check_rectangular(volume.ijk_to_ras)
    check_size(volume.ijk_to_ras, volume.array.shape)


def check_rectangular(ijk_to_ras: np.ndarray) -> None:
    """Raise ValueError, one sentence, for a matrix whose axes are not perpendicular."""
    axes = ijk_to_ras[:3, :3] / np.linalg.norm(ijk_to_ras[:3, :3], axis=0)
    skew = float(np.abs(axes.T @ axes - np.eye(3)).max())
    if skew > SHEAR_TOLERANCE:
        raise ValueError(
            f"expected perpendicular axes, found a grid sheared by {np.degrees(np.arcsin(min(skew, 1.0))):.2f} degrees "
            "(tilted gantry): resample the image to a rectangular grid first"
        )


def check_size(ijk_to_ras: np.ndarray, shape: tuple[int, ...]) -> None:
    """Raise ValueError, one sentence, for voxels or an image of a size that no patient and no specimen has.

    ``ijk_to_ras``: (4, 4), in mm; ``shape``: slices, rows, columns.
    Accepted: voxels of ``VOXEL_MM`` in an image up to ``LARGEST_IMAGE_MM``; one of 64 pixels and more along a side is
    at least ``SMALLEST_IMAGE_MM`` wide. Sizes in micrometres or metres that were taken as mm lie outside.
    """
    spacing = np.linalg.norm(ijk_to_ras[:3, :3], axis=0)
    extents = np.array(shape[::-1])
    sides = spacing * extents
    too_small = extents.max() >= 64 and sides.max() < SMALLEST_IMAGE_MM
    if spacing.min() < VOXEL_MM[0] or spacing.max() > VOXEL_MM[1] or sides.max() > LARGEST_IMAGE_MM or too_small:
        voxel, image = (" x ".join(f"{n:.4g}" for n in sizes) for sizes in (spacing, sides))
        raise ValueError(
            f"expected an image of a patient or a specimen, found voxels of {voxel} mm and an image of {image} mm: "
            "are these sizes in another unit than mm? Correct them in the file or in the volume's properties"
        )


@dataclass(frozen=True)
class IntensityScale:
    """The affine map between an image unit and network units: network = (value - offset) / scale.

    ``unit``: of the image values; ``offset`` and ``scale`` (positive) are in that unit. Nothing is clipped,
    so the map is reversible up to rounding. Recorded in model cards and results by :meth:`to_dict`.
    """

    unit: str = "HU"
    offset: float = 0.0
    scale: float = 1000.0

    def __post_init__(self) -> None:
        if not isinstance(self.unit, str) or not self.unit.strip():
            raise ValueError(f"expected the unit of the values as text, found {self.unit!r}: give HU, SUV or a.u.")
        for name in ("offset", "scale"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not np.isfinite(value):
                raise ValueError(f"expected a finite number as {name}, found {value!r}: correct the intensity scale")
        if self.scale <= 0:
            raise ValueError(f"expected a positive scale, found {self.scale}: correct the intensity scale")

    def to_network(self, values: Values) -> Values:
        """Network units from image values, of any shape."""
        return (values - self.offset) / self.scale

    def from_network(self, values: Values) -> Values:
        """Image values from network units, of any shape."""
        scaled = values * self.scale
        return scaled + self.offset if self.offset else scaled

    def to_dict(self) -> dict[str, Any]:
        """The scale as plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> IntensityScale:
        """The scale from :meth:`to_dict`; raises ValueError for missing and unknown keys."""
        known = {"unit", "offset", "scale"}
        if set(content) != known:
            raise ValueError(f"expected {sorted(known)} in an intensity scale, found {sorted(content)}: correct it")
        return cls(**content)
