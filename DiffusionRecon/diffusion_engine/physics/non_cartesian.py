"""What a coil array measures along radial and spiral trajectories, by the package finufft where it is installed.

    y_c(k) = sum_r S_c(r) x(r) exp(-i k r) / sqrt(pixels)

r counts pixels from index size // 2, k is in radians a pixel, from -pi to pi. On a Cartesian grid of k this is the
orthonormal transform of :mod:`.mri`.
"""

from __future__ import annotations

import importlib
import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .masked_fourier import centred_fft

GOLDEN_RADIAL_RAD = math.pi * (math.sqrt(5.0) - 1) / 2
"""111.25 degrees, from spoke to spoke; Winkelmann et al., doi:10.1109/TMI.2006.885337."""
GOLDEN_SPIRAL_RAD = math.pi * (3 - math.sqrt(5.0))
"""137.51 degrees, from arm to arm."""
_ACCURACY = {torch.complex64: 1e-6, torch.complex128: 1e-12}
_POWER_STEPS, _MARGIN = 20, 1.1


def radial(spokes: int, samples: int, golden: bool = False) -> Tensor:
    """Spokes through k = 0: (spokes, samples, 2) of (row, column) in radians a pixel, float64.

    Sample samples // 2 lies at k = 0; the angle grows by pi / spokes or by the golden angle.
    """
    step = GOLDEN_RADIAL_RAD if golden else math.pi / spokes
    radius = (torch.arange(samples, dtype=torch.float64) - samples // 2) * (2 * math.pi / samples)
    return _polar(radius, torch.arange(spokes, dtype=torch.float64)[:, None] * step)


def spiral(arms: int, samples: int, turns: float) -> Tensor:
    """Archimedean arms from k = 0, turned by the golden angle each: (arms, samples, 2), as :func:`radial`.

    |k| = pi t, angle = 2 pi turns t, t from 0 to less than 1.
    """
    t = torch.arange(samples, dtype=torch.float64) / samples
    start = torch.arange(arms, dtype=torch.float64)[:, None] * GOLDEN_SPIRAL_RAD
    return _polar(math.pi * t, start + 2 * math.pi * turns * t)


@dataclass(frozen=True, eq=False)
class NonCartesianFourier:
    """Images (..., rows, columns) to samples of every coil (..., coils, views, samples); views are spokes or arms.

    ``maps``: complex (slices or 1, coils, rows, columns); ``trajectory``: (views, samples, 2), row and column of k in
    radians a pixel, the same for all slices. Results are complex, of the precision of the argument, computed on the
    CPU. Raises ValueError for other shapes, k that is not finite or beyond pi, or where finufft is not installed.
    Source: Barnett et al., doi:10.1137/18M120885X.
    """

    maps: Tensor
    trajectory: Tensor

    def __post_init__(self) -> None:
        _finufft()
        if self.maps.ndim != 4 or not self.maps.is_complex():
            raise ValueError(
                "expected complex coil sensitivities (slices or 1, coils, rows, columns), found "
                f"{self.maps.dtype} of {tuple(self.maps.shape)}: estimate them from the middle of k-space"
            )
        if self.trajectory.ndim != 3 or self.trajectory.shape[-1] != 2 or self.trajectory.numel() == 0:
            raise ValueError(f"expected a trajectory (views, samples, 2), found {tuple(self.trajectory.shape)}")
        largest = float(self.trajectory.abs().max())
        if not largest <= math.pi * (1 + 1e-6):
            raise ValueError(
                f"expected k within pi radians a pixel, found {largest}: divide cycles over the field of view by the "
                "matrix size and multiply by 2 pi"
            )

    @property
    def in_shape(self) -> tuple[int, ...]:
        return tuple(self.maps.shape[-2:])

    @property
    def out_shape(self) -> tuple[int, ...]:
        return (int(self.maps.shape[1]), *self.trajectory.shape[:2])

    def forward(self, x: Tensor) -> Tensor:
        """A x: (..., coils, views, samples)."""
        return sampled(x[..., None, :, :] * self._maps(x), self.trajectory)

    def adjoint(self, y: Tensor) -> Tensor:
        """A' y: (..., rows, columns)."""
        return (spread(y, self.trajectory, self.in_shape) * self._maps(y).conj()).sum(-3)

    def of_images(self, index: slice | Tensor) -> NonCartesianFourier:
        """The operator of some images: their maps where each has its own."""
        return replace(self, maps=self.maps[index]) if len(self.maps) > 1 else self

    def subset(self, index: slice | Tensor) -> NonCartesianFourier:
        """The operator of some views."""
        return replace(self, trajectory=self.trajectory[index])

    @cached_property
    def squared_norm(self) -> Tensor:
        """A bound of |A|^2 for each image, or for all (slices or 1, 1, 1).

        max_r sum_c |S_c|^2 times the largest eigenvalue for one coil, by power iteration from a constant image, and a
        tenth more: trajectories are dense about k = 0.
        """
        x = torch.ones(self.in_shape, dtype=torch.complex64)
        for _ in range(_POWER_STEPS):
            x = spread(sampled(x / torch.linalg.vector_norm(x), self.trajectory), self.trajectory, self.in_shape)
        loudest = self.maps.abs().square().sum(1).amax((-2, -1), keepdim=True)
        return loudest * (_MARGIN * float(torch.linalg.vector_norm(x)))

    def _maps(self, like: Tensor) -> Tensor:
        maps = self.maps[0] if len(self.maps) == 1 else self.maps
        return maps.to(like.dtype.to_complex())


def density_weights(trajectory: Tensor, shape: tuple[int, int], iterations: int = 30) -> Tensor:
    """w with (K w)(k_i) = 1 at every sample, K(k) = sum_r h(r) exp(-i k r) / pixels: (views, samples), float64.

    h is a triangle over the field of view each way, so that K, its transform, is positive. Iterates w <- w / (K w)
    from 1; samples of a Cartesian grid have weight 1. A'(w y) is then about the image where samples are dense enough.
    Source: Pipe and Menon, doi:10.1002/(SICI)1522-2594(199901)41:1<179::AID-MRM25>3.0.CO;2-V.
    """
    window = torch.ones((), dtype=torch.float64)
    for size in shape:
        window = window[..., None] * (1 - (torch.arange(size, dtype=torch.float64) - size // 2).abs() / (size / 2 + 1))
    weights = torch.ones(trajectory.shape[:2], dtype=torch.float64)
    for _ in range(iterations):
        image = spread(weights.to(torch.complex128), trajectory, shape)
        weights = weights / sampled(image * window, trajectory).real.clamp_min(1e-12)
    return weights


def gridded(data: Tensor, trajectory: Tensor, weights: Tensor, shape: tuple[int, int]) -> Tensor:
    """Cartesian k-space (..., rows, columns) of density-compensated data (..., views, samples): F A'(w y) of each coil.

    From its middle, which trajectories sample densely, coil sensitivities are estimated.
    """
    return centred_fft(spread(data * weights.to(data.real), trajectory, shape))


def sampled(images: Tensor, trajectory: Tensor) -> Tensor:
    """sum_r x(r) exp(-i k r) / sqrt(pixels): (..., rows, columns) to (..., views, samples)."""
    images = images.to(images.dtype.to_complex())
    stack, (rows, columns) = _stacked(images), _places(trajectory, images)
    found = _finufft().nufft2d2(rows, columns, stack, eps=_ACCURACY[images.dtype], isign=-1)
    return _back(found, images, trajectory.shape[:2]) / math.sqrt(images.shape[-2] * images.shape[-1])


def spread(data: Tensor, trajectory: Tensor, shape: tuple[int, ...]) -> Tensor:
    """sum_k y(k) exp(i k r) / sqrt(pixels), the adjoint of :func:`sampled`: (..., views, samples) to images."""
    data = data.to(data.dtype.to_complex())
    stack, (rows, columns) = _stacked(data).reshape(-1, trajectory[..., 0].numel()), _places(trajectory, data)
    found = _finufft().nufft2d1(rows, columns, stack, tuple(shape), eps=_ACCURACY[data.dtype], isign=1)
    return _back(found, data, torch.Size(shape)) / math.sqrt(shape[0] * shape[1])


def _polar(radius: Tensor, angle: Tensor) -> Tensor:
    return torch.stack([radius * torch.sin(angle), radius * torch.cos(angle)], -1)


def _stacked(values: Tensor) -> np.ndarray:
    """All leading axes as one, contiguous."""
    return np.ascontiguousarray(values.detach().resolve_conj().cpu().reshape(-1, *values.shape[-2:]).numpy())


def _places(trajectory: Tensor, like: Tensor) -> tuple[np.ndarray, np.ndarray]:
    k = trajectory.reshape(-1, 2).to("cpu", like.real.dtype).numpy()
    return np.ascontiguousarray(k[:, 0]), np.ascontiguousarray(k[:, 1])


def _back(found: np.ndarray, like: Tensor, shape: torch.Size) -> Tensor:
    return torch.from_numpy(found).reshape(*like.shape[:-2], *shape).to(like)


def _finufft() -> Any:
    try:
        return importlib.import_module("finufft")
    except ImportError as error:
        raise ValueError(
            "radial and spiral data need the package finufft, which is not installed: install it (pip install finufft)"
        ) from error
