"""Other shapes from one segmentation: smooth random deformations that fold nothing and change volumes within bounds."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy import ndimage

from ..volume import Volume
from .label_map import check_stack

STRETCH = 0.6
"""Largest singular value of the field's gradient: below 1 no two points meet (Banach), and nothing folds."""
SMALLER = 0.7
"""Factor of the next try where volumes change too much."""
TRIES = 12
LEAST_VOXELS = 50
"""Labels of fewer voxels, whose volume is a matter of chance, are not held to the bound."""


@dataclass(frozen=True)
class Deformation:
    """How far and how smoothly to deform.

    ``amplitude_mm``: root mean square of the displacement along each axis, before what folding and volumes allow;
    ``smooth_mm``: standard deviation of the Gaussian that the random field is filtered with; ``volume_change``: largest
    change of a label's volume, relative. Raises ValueError outside of 0 to 50 mm, 2 to 200 mm and 0.01 to 1.
    """

    amplitude_mm: float = 6.0
    smooth_mm: float = 25.0
    volume_change: float = 0.25

    def __post_init__(self) -> None:
        for name, low, high in (("amplitude_mm", 0, 50), ("smooth_mm", 2, 200), ("volume_change", 0.01, 1)):
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f"expected {name} from {low} to {high}, found {value}: change the deformation")

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)


def deform(labels: Volume, deformation: Deformation, seed: int) -> tuple[Volume, dict[str, Any]]:
    """A label map deformed by a smooth random field, on its own grid; and what was done.

    new(x) = old(x + u(x)), u = a * w * (G_s * white noise): Gaussian-filtered noise of each axis, faded out by w within
    two lengths s of the faces that it points at, so that the grid is mapped onto itself; ``a`` is made smaller, axis by
    axis, until the largest singular value of grad u is 0.6 (a one-to-one map: what hangs together stays so, up to
    voxels) and no label's volume changes by more than allowed. The nearest voxel's label is taken, never a new one.
    The same seed gives the same map. Returns also "amplitude_mm" (reached, root mean square), "stretch",
    "volume_ratios" by label, "tries". Raises ValueError for a single slice, labels that are not whole numbers, and
    where even small deformations change a volume too much.
    """
    check_stack(labels)
    old = labels.array
    if not (np.issubdtype(old.dtype, np.integer) or old.dtype == bool):
        raise ValueError(f"expected whole numbers as labels, found {old.dtype}: give a label map, not an image")
    voxel_mm = np.array(labels.spacing_mm[::-1])
    field = _field(old.shape, voxel_mm, deformation, np.random.default_rng(seed))
    # A share of the stretch for each axis: the short one of a thin stack does not hold back the others.
    for part in field:
        part *= min(1.0, STRETCH / 3**0.5 / max(_stretch(part[None], voxel_mm), 1e-12))
    stretch, scale = _stretch(field, voxel_mm), 1.0
    numbers = [int(n) for n in np.unique(old)]
    for tries in range(1, TRIES + 1):
        new = _taken(old, field * scale, voxel_mm)
        ratios = {n: float((new == n).sum() / (old == n).sum()) for n in numbers}
        held = [n for n in numbers if (old == n).sum() >= LEAST_VOXELS]
        if all(abs(ratios[n] - 1) <= deformation.volume_change for n in held):
            reached = float(np.sqrt(np.mean((field * scale) ** 2)))
            return labels.with_array(new), {
                "seed": seed, "amplitude_mm": round(reached, 3), "stretch": round(stretch * scale, 4),
                "volume_ratios": {str(n): round(ratio, 4) for n, ratio in ratios.items()}, "tries": tries,
            }
        scale *= SMALLER
    raise ValueError(
        f"expected volumes within {deformation.volume_change:.0%} of their own, found more for small deformations: "
        "allow a larger change or a smoother field"
    )


def _field(
    shape: tuple[int, ...], voxel_mm: np.ndarray, deformation: Deformation, generator: np.random.Generator
) -> np.ndarray:
    """Displacements (3, slices, rows, columns) in mm, of the wanted root mean square but for the fading at the faces.

    Made on a coarse grid of a third of the smoothing, so that large volumes take no longer.
    """
    step = np.maximum(1, np.floor(deformation.smooth_mm / 3 / voxel_mm)).astype(int)
    coarse = tuple(int(-(-n // s)) + 1 for n, s in zip(shape, step, strict=True))
    sigma = deformation.smooth_mm / (voxel_mm * step)
    noise = np.stack([
        ndimage.gaussian_filter(generator.standard_normal(coarse), sigma, mode="reflect") for _ in range(3)
    ])
    where = np.meshgrid(*(np.arange(n) / s for n, s in zip(shape, step, strict=True)), indexing="ij")
    noise /= np.sqrt(np.mean(noise**2, axis=(1, 2, 3), keepdims=True))
    fine = np.stack([ndimage.map_coordinates(part, where, order=3, mode="nearest") for part in noise])
    for axis, n in enumerate(shape):
        fade = np.minimum(2 * deformation.smooth_mm / voxel_mm[axis], (n - 1) / 2)
        away = np.minimum(np.arange(n), np.arange(n)[::-1]) / max(fade, 1e-9)
        window = np.sin(np.pi / 2 * np.minimum(away, 1.0)) ** 2
        fine[axis] *= window.reshape([-1 if a == axis else 1 for a in range(3)])
    return fine * deformation.amplitude_mm


def _stretch(field: np.ndarray, voxel_mm: np.ndarray) -> float:
    """The largest singular value of the field's gradient anywhere, by its Frobenius norm, which is never less."""
    total = np.zeros(field.shape[1:])
    for part in field:
        for axis, size in enumerate(voxel_mm):
            total += (np.diff(part, axis=axis, append=np.take(part, [-1], axis)) / size) ** 2
    return float(np.sqrt(total.max()))


def _taken(old: np.ndarray, field: np.ndarray, voxel_mm: np.ndarray) -> np.ndarray:
    where = [
        np.arange(n).reshape([-1 if a == axis else 1 for a in range(3)]) + field[axis] / voxel_mm[axis]
        for axis, n in enumerate(old.shape)
    ]
    taken: np.ndarray = ndimage.map_coordinates(old.astype(np.int32), where, order=0, mode="nearest")
    return taken.astype(old.dtype)


