"""Planes of a volume: a denoiser of axial, coronal or sagittal slices becomes one of volumes, and planes alternate.

A noisy volume cannot be resampled, for its noise would no longer be white. A denoiser is therefore used in a plane
only where that plane's pixels, as they are, have a size that it knows; :func:`check_plane` refuses the others.

Source: two perpendicular models (TPDM), arXiv:2303.08440.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..priors.denoiser import Denoiser

PLANES: dict[str, tuple[int, int, int]] = {"axial": (0, 1, 2), "coronal": (1, 0, 2), "sagittal": (2, 0, 1)}
"""For each plane the axes of (slices, rows, columns) that become its stack, its rows and its columns."""


def check_plane(plane: str, spacing_mm: tuple[float, float, float], known_mm: tuple[float, float]) -> None:
    """Raises ValueError unless the plane's pixels have a size that the prior knows, 2 % beyond its range allowed.

    ``spacing_mm``: of slices, rows and columns; ``known_mm``: smallest and largest pixel of the prior's card.
    """
    axes = _axes(plane)
    pixel = tuple(spacing_mm[axis] for axis in axes[1:])
    if not all(known_mm[0] * 0.98 <= size <= known_mm[1] * 1.02 for size in pixel):
        raise ValueError(
            f"{plane} slices of this volume have pixels of {pixel[0]:.3g} x {pixel[1]:.3g} mm, the prior knows "
            f"{known_mm[0]:.3g} to {known_mm[1]:.3g} mm, and noisy images cannot be resampled: reconstruct on other "
            "voxels, or choose z-TV or shared noise"
        )


class InPlane:
    """D of volumes (slices, 1, rows, columns) that denoises the slices of one plane.

    ``condition``: what the denoiser needs for images of this plane, in mm of this plane (for position channels:
    :func:`priors.denoiser.positions` of its rows, columns and pixels). For axial slices it may be left out: the
    condition of the call is then used, which describes axial slices.
    """

    def __init__(self, denoiser: Denoiser, plane: str, condition: Tensor | None = None) -> None:
        self.denoiser, self.plane, self.axes, self.condition = denoiser, plane, _axes(plane), condition

    def __call__(self, x: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
        if x.ndim != 4 or x.shape[1] != 1:
            raise ValueError(f"a plane expects a volume (slices, 1, rows, columns), found {tuple(x.shape)}")
        if sigma.numel() != 1:
            raise ValueError(f"a plane expects one noise level for the whole volume, found {sigma.numel()}")
        own = condition if self.condition is None and self.plane == "axial" else self.condition
        turned = x[:, 0].permute(self.axes).contiguous()
        clean = self.denoiser(turned[:, None], sigma, own)[:, 0]
        back = sorted(range(3), key=self.axes.__getitem__)
        return clean.permute(back).contiguous()[:, None]


class Alternating:
    """D of volumes that takes one of several denoisers of volumes a call, in turn or at random.

    ``chances``: None, in turn; or one number of 0 or more for each, with a ``generator``, in proportion to which they
    are drawn. Calls are counted: use a new one for every draw. Raises ValueError for numbers that do not fit.
    """

    def __init__(
        self, denoisers: Sequence[Denoiser], chances: Sequence[float] | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        fits = chances is None or (
            len(chances) == len(denoisers) and min(chances) >= 0 and sum(chances) > 0 and generator is not None
        )
        if not denoisers or not fits:
            raise ValueError(
                f"expected denoisers, and chances of 0 or more for each with a generator, or none; found "
                f"{len(denoisers)} denoisers and chances {chances}"
            )
        self.denoisers, self.chances, self.generator, self.calls = list(denoisers), chances, generator, 0

    def __call__(self, x: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
        if self.chances is None:
            index = self.calls % len(self.denoisers)
        else:
            index = int(torch.multinomial(torch.tensor(self.chances), 1, generator=self.generator))
        self.calls += 1
        return self.denoisers[index](x, sigma, condition)


class TwoPlanes:
    """A prior of axial slices with an ``auxiliary`` denoiser of volumes beside it, as TPDM wants it.

    Called, it is the ``primary``; ``auxiliary`` is commonly an :class:`InPlane` of a prior of coronal or sagittal
    slices.
    """

    def __init__(self, primary: Denoiser, auxiliary: Denoiser) -> None:
        self.primary, self.auxiliary = primary, auxiliary

    def __call__(self, x: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
        return self.primary(x, sigma, condition)


def _axes(plane: str) -> tuple[int, int, int]:
    if plane not in PLANES:
        raise ValueError(f"no plane named '{plane}': choose from {sorted(PLANES)}")
    return PLANES[plane]
