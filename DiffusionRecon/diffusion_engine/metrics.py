"""Image quality against a known reference: PSNR, SSIM, NRMSE, a slice at a time."""

from __future__ import annotations

import math

import numpy as np

CT_RANGE_HU = 2000.0
SSIM_WINDOW = 11
"""Pixels that an image must have each way for an SSIM."""


def psnr(image: np.ndarray, reference: np.ndarray, data_range: float = CT_RANGE_HU) -> float:
    """10 log10(range^2 / mean squared error) in dB, over all voxels; infinite for identical images."""
    error = float(np.mean((np.asarray(image, np.float64) - reference) ** 2))
    return math.inf if error == 0 else 10 * math.log10(data_range**2 / error)


def nrmse(image: np.ndarray, reference: np.ndarray) -> float:
    """|image - reference| / |reference - its mean|: 1 means no better than a constant."""
    away = np.asarray(reference, np.float64) - np.mean(reference, dtype=np.float64)
    return float(np.linalg.norm(np.asarray(image, np.float64) - reference) / np.linalg.norm(away))


def ssim(image: np.ndarray, reference: np.ndarray, data_range: float = CT_RANGE_HU) -> float:
    """Structural similarity, Gaussian window of 1.5 pixels, mean over the slices of (slices, rows, columns) arrays.

    MONAI's implementation (doi:10.1109/TIP.2003.819861), imported here because it takes seconds. Raises ValueError
    for images of fewer than SSIM_WINDOW pixels each way.
    """
    if min(np.shape(image)[-2:]) < SSIM_WINDOW:
        raise ValueError(
            f"expected images of {SSIM_WINDOW} pixels each way or more for an SSIM, found {np.shape(image)[-2:]}: "
            "compare larger ones"
        )
    import torch
    from monai.metrics.regression import compute_ssim_and_cs

    def planes(x: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(np.atleast_3d(x), dtype=np.float32)).reshape(-1, 1, *x.shape[-2:])

    value, _ = compute_ssim_and_cs(
        planes(image), planes(reference), spatial_dims=2, kernel_size=(SSIM_WINDOW, SSIM_WINDOW),
        kernel_sigma=(1.5, 1.5), data_range=data_range,
    )
    return float(value.mean())
