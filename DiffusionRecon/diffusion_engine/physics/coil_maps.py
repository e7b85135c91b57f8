"""Coil sensitivities from the calibration lines: ESPIRiT, low-resolution sum of squares, or maps that are given.

All are normalised: sum_c |S_c|^2 = 1 in the body, exactly 0 where nothing is known. The image is then that of a
virtual coil whose sensitivity is the root sum of squares of the true ones, and its phase that of the first virtual
coil, the leading singular vector of the calibration.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .coil_compression import coil_compression
from .masked_fourier import centred_ifft

_SQUARINGS = 6  # of the pixels' matrices: 64 power iterations
_MATRICES = 2**24  # complex entries of them at a time


@dataclass(frozen=True)
class EspiritSettings:
    """``kernel``: its size each way; ``calibration``: most entries each way that are used, from the middle of k-space;
    ``threshold``: squared singular values of the calibration matrix below this share of the largest are its null space;
    ``crop``: maps are 0 where the eigenvalue, 1 in the body, is smaller. BART's defaults.
    """

    kernel: int = 6
    calibration: int = 24
    threshold: float = 0.001
    crop: float = 0.8


def espirit_maps(
    kspace: Tensor, measured: Tensor, settings: EspiritSettings | None = None, shape: tuple[int, int] | None = None
) -> Tensor:
    """G(r) S(r) = lambda(r) S(r), lambda near 1: the leading eigenvector of the calibration's signal space at a pixel.

    G(r) = sum_j k_j(r) k_j(r)' / (entries of a kernel), k_j the transforms of the kernels, which are the right singular
    vectors of the calibration matrix (its rows are all kernel-sized windows) above the threshold.
    ``kspace``: (slices, coils, rows, columns), complex, noise equal in all coils; ``measured``: bool (slices or 1,
    rows, columns); ``shape``: rows and columns of the maps where the calibration was acquired on a grid of its own.
    Returns maps (slices, coils, rows, columns) of the data's type.
    Raises ValueError where the fully measured block in the middle is not larger than the kernel, or empty.
    Source: Uecker et al., doi:10.1002/mrm.24751; defaults and phase as in BART, mrirecon.github.io/bart.
    """
    settings = settings or EspiritSettings()
    blocks = calibration_block(kspace, measured, settings.calibration, settings.kernel + 2)
    return torch.stack([_espirit(block, shape or _grid(kspace), settings) for block in blocks]).to(kspace.dtype)


def sum_of_squares_maps(
    kspace: Tensor, measured: Tensor, calibration: int = 24, crop: float = 0.05, shape: tuple[int, int] | None = None
) -> Tensor:
    """S_c = x_c / sqrt(sum |x_c|^2), x_c images of the calibration block under a Hann window; 0 where the root sum of
    squares is below ``crop`` of its largest value. Arguments, result and errors as of :func:`espirit_maps`.

    Source: McKenzie et al., doi:10.1002/mrm.10087.
    """
    blocks = calibration_block(kspace, measured, calibration, 4)
    rows, columns = shape or _grid(kspace)
    window = _hann(blocks.shape[-2]).to(blocks.real)[:, None] * _hann(blocks.shape[-1]).to(blocks.real)
    low = centred_ifft(_padded(blocks * window, rows, columns))
    power = low.abs().square().sum(-3, keepdim=True).sqrt()
    inside = power >= crop * power.amax((-2, -1), keepdim=True)
    maps = torch.where(inside, low / torch.where(inside, power, 1.0), 0.0)
    return torch.stack([_rephased(m, block) for m, block in zip(maps, blocks, strict=True)]).to(kspace.dtype)


def given_maps(maps: Tensor, coils: int, shape: tuple[int, int]) -> Tensor:
    """S_c / sqrt(sum |S_c|^2) of maps that came with the data; 0 stays 0. ``maps``: (slices, coils, rows, columns).

    The image that belongs to them is the former one times that root. Raises ValueError for other coils or another
    shape, maps that are not complex and finite, or zero throughout a slice.
    """
    if maps.ndim != 4 or not maps.is_complex() or tuple(maps.shape[1:]) != (coils, *shape):
        raise ValueError(
            f"expected complex coil sensitivities (slices, {coils}, {shape[0]}, {shape[1]}), as the k-space, found "
            f"{maps.dtype} of {tuple(maps.shape)}: give those of this acquisition, or have them estimated"
        )
    if not bool(torch.isfinite(torch.view_as_real(maps)).all()):
        raise ValueError("the coil sensitivities hold NaN or infinite values: give others, or have them estimated")
    power = maps.abs().square().sum(1, keepdim=True).sqrt()
    if not bool((power.flatten(1).amax(1) > 0).all()):
        raise ValueError("the coil sensitivities of a slice are zero throughout: give others, or have them estimated")
    return torch.where(power > 0, maps / torch.where(power > 0, power, 1.0), 0.0)


def calibration_block(kspace: Tensor, measured: Tensor, most: int, least: int) -> Tensor:
    """The largest block about k = 0, at most ``most`` each way, in which every entry is measured.

    ``kspace``: (slices, coils, rows, columns); ``measured``: bool (slices or 1, rows, columns). Rows and columns grow
    together as far as both can, then alone. Raises ValueError where it has fewer than ``least`` each way, or where a
    slice of it is zero throughout.
    """
    rows, columns = kspace.shape[-2:]
    whole = measured.all(0)
    size = [0, 0]
    growing = [True, True]
    while any(growing):
        for axis, limit in ((0, min(most, rows)), (1, min(most, columns))):
            wider = [max(s, 1) for s in size]
            wider[axis] = size[axis] + 1
            inside = whole[_middle(rows, wider[0]), _middle(columns, wider[1])]
            growing[axis] = wider[axis] <= limit and bool(inside.all())
            if growing[axis]:
                size = wider
    if min(size) < least:
        raise ValueError(
            f"expected a fully measured block of at least {least} x {least} in the middle of k-space to estimate coil "
            f"sensitivities, found {size[0]} x {size[1]}: give the maps, or calibration data of their own"
        )
    block = kspace[..., _middle(rows, size[0]), _middle(columns, size[1])]
    if not bool(block.flatten(1).abs().amax(1).gt(0).all()):
        raise ValueError("the calibration lines of a slice are zero throughout: leave that slice out, or give its maps")
    return block


def _middle(size: int, count: int) -> slice:
    """``count`` of ``size`` about size // 2, which lies at count // 2 of them."""
    return slice(size // 2 - count // 2, size // 2 - count // 2 + count)


def _grid(kspace: Tensor) -> tuple[int, int]:
    return int(kspace.shape[-2]), int(kspace.shape[-1])


def _padded(block: Tensor, rows: int, columns: int) -> Tensor:
    """A block about k = 0 in a k-space of zeros."""
    whole = block.new_zeros((*block.shape[:-2], rows, columns))
    whole[..., _middle(rows, block.shape[-2]), _middle(columns, block.shape[-1])] = block
    return whole


def _hann(size: int) -> Tensor:
    """A Hann window whose middle is size // 2 and which is 0 at no entry."""
    away = (torch.arange(size, dtype=torch.float64) - size // 2) / (size / 2 + 1)
    return torch.cos(away * torch.pi / 2).square()


def _espirit(block: Tensor, shape: tuple[int, int], settings: EspiritSettings) -> Tensor:
    """Maps (coils, rows, columns) of one slice's calibration block (coils, r, c)."""
    block = block.to(torch.complex128)
    coils, width = len(block), settings.kernel
    windows = block.unfold(1, width, 1).unfold(2, width, 1)  # coils, places, places, width, width
    matrix = windows.permute(1, 2, 0, 3, 4).reshape(-1, coils * width**2)
    squares, vectors = torch.linalg.eigh(matrix.mH @ matrix)
    kernels = vectors[:, squares > settings.threshold * squares[-1]].mT.reshape(-1, coils, width, width)
    return _rephased(_leading(_covariance(kernels), shape, settings.crop), block)


def _covariance(kernels: Tensor) -> Tensor:
    """The k-space of G: (coils, coils, 2 width, 2 width), all that it has, as it is a product of two kernels."""
    count, coils, width, _ = kernels.shape
    size = 2 * width
    spread = kernels.new_zeros((count, coils, size, size))
    spread[..., :width, :width] = kernels.conj()
    images = torch.fft.ifft2(spread) * size**2
    return torch.fft.fft2(torch.einsum("jarc,jbrc->abrc", images, images.conj())) / (size * width) ** 2


def _leading(covariance: Tensor, shape: tuple[int, int], crop: float) -> Tensor:
    """The leading eigenvector of G at every pixel where its eigenvalue reaches ``crop``, else 0: (coils, r, c)."""
    coils, size = len(covariance), covariance.shape[-1]
    rows, columns = shape
    signed = torch.fft.fftfreq(size, 1 / size)
    # G(r) = sum_k g_k exp(2 pi i k (r - middle) / n): two small matrices, exact at every pixel.
    across = [
        torch.exp(2j * torch.pi * torch.outer((torch.arange(n) - n // 2) / n, signed).to(torch.complex128))
        for n in (rows, columns)
    ]
    half = torch.einsum("abkl,cl->abkc", covariance, across[1])
    maps = covariance.new_zeros((coils, rows, columns))
    step = max(1, _MATRICES // (columns * coils**2))
    for start in range(0, rows, step):
        part = slice(start, start + step)
        matrices = torch.einsum("abkc,rk->rcab", half, across[0][part]).to(torch.complex64)
        maps[:, part] = _eigenvector(matrices, crop).movedim(-1, 0)
    return maps


def _eigenvector(matrices: Tensor, crop: float) -> Tensor:
    """Unit eigenvectors (..., n) of the largest eigenvalues of positive matrices (..., n, n); 0 below ``crop``."""
    power = matrices
    for _ in range(_SQUARINGS):
        power = power / power.diagonal(dim1=-2, dim2=-1).real.sum(-1)[..., None, None].clamp_min(1e-30)
        power = power @ power
    column = power.diagonal(dim1=-2, dim2=-1).real.argmax(-1)
    vector = power.gather(-1, column[..., None, None].expand(*power.shape[:-1], 1))
    vector = vector / torch.linalg.vector_norm(vector, dim=-2, keepdim=True).clamp_min(1e-30)
    value = (vector.mH @ matrices @ vector).real[..., 0, 0]
    return torch.where((value >= crop)[..., None], vector[..., 0], 0.0)


def _rephased(maps: Tensor, block: Tensor) -> Tensor:
    """Maps (coils, r, c) with the phase at which the first virtual coil of the calibration is real and positive."""
    first = coil_compression(block[None], 1).matrix[0].to(maps.dtype)
    seen = torch.einsum("v,vrc->rc", first, maps)
    size = seen.abs()
    return maps * torch.where(size > 0, seen.conj() / torch.where(size > 0, size, 1.0), 1.0)
