"""Planes of a volume: a denoiser of axial, coronal or sagittal slices becomes one of volumes.

A noisy volume cannot be resampled, because its noise would no longer be white. A denoiser can therefore be used only
in a plane whose pixels already have a size that it was trained on.

Source: two perpendicular models (TPDM), arXiv:2303.08440.
"""

from __future__ import annotations

from torch import Tensor

from ..denoiser import Denoiser

PLANES: dict[str, tuple[int, int, int]] = {"axial": (0, 1, 2), "coronal": (1, 0, 2), "sagittal": (2, 0, 1)}
"""For each plane the axes of (slices, rows, columns) that become its stack, its rows and its columns."""


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
