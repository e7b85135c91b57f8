"""A small finished job folder, made without the engine: an analytic thorax, its blurred versions and a spread."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from diffusion_engine.io.images import write_volume
from diffusion_engine.volume import Volume
from scipy import ndimage


def analyticThorax(shape: tuple[int, int, int] = (24, 64, 64)) -> np.ndarray:
    """A thorax of ellipses in HU, (K,J,I) float32: body, two lungs, heart (to the patient's left), spine, a nodule."""
    k, j, i = np.meshgrid(*(np.linspace(-1, 1, count) for count in shape), indexing="ij")
    hu = np.full(shape, -1000.0, np.float32)
    hu[(i / 0.88) ** 2 + (j / 0.66) ** 2 < 1] = -90.0
    hu[(i / 0.80) ** 2 + (j / 0.58) ** 2 < 1] = 50.0
    for side in (-0.4, 0.4):
        hu[((i - side) / 0.30) ** 2 + ((j - 0.02) / 0.44) ** 2 + (k / 1.3) ** 2 < 1] = -850.0
    hu[((i - 0.18) / 0.26) ** 2 + ((j + 0.16) / 0.22) ** 2 + (k / 0.8) ** 2 < 1] = 60.0
    hu[(i / 0.12) ** 2 + ((j - 0.42) / 0.12) ** 2 < 1] = 450.0
    hu[(i + 0.42) ** 2 + (j - 0.05) ** 2 + (k * 0.6) ** 2 < 0.09**2] = 40.0
    return hu


def axialMatrix(shape: tuple[int, int, int], spacing: tuple[float, float, float] = (6.0, 5.5, 5.5)) -> np.ndarray:
    """Standard axial axes (I to patient left, J to posterior, K to superior), centred, spacing (k, j, i) in mm."""
    matrix = np.diag([-spacing[2], -spacing[1], spacing[0], 1.0])
    matrix[:3, 3] = [(shape[2] - 1) * spacing[2] / 2, (shape[1] - 1) * spacing[1] / 2, -(shape[0] - 1) * spacing[0] / 2]
    return matrix


def writeResultFolder(
    folder: str | Path, shape: tuple[int, int, int] = (24, 64, 64), spread: str = "concentrated"
) -> Path:
    """Write `result.json` and its volumes as a finished worker leaves them."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    reference = analyticThorax(shape)
    rng = np.random.default_rng(0)
    mean = ndimage.gaussian_filter(reference, (0, 0.5, 0.5)) + rng.normal(0, 8, shape)
    arrays = {
        "mean": mean,
        "uncertainty": 4 + 0.12 * ndimage.gaussian_gradient_magnitude(reference, 0.9),
        "fbp": ndimage.gaussian_filter(reference, (0, 0.8, 0.8)) + rng.normal(0, 60, shape),
        "tv": ndimage.gaussian_filter(reference, (0, 0.7, 0.7)),
        "draw_1": mean + rng.normal(0, 10, shape),
        "reference": reference,
    }
    matrix = axialMatrix(shape)
    for key, array in arrays.items():
        write_volume(Volume(array.astype(np.float32), matrix, "HU"), folder / f"{key}.nrrd")
    report = {
        "modality": "ct",
        "method": "diffusion",
        "prior": "ct-body",
        "seed": 7,
        "draws": 4,
        "spread": spread,
        "seconds": 1.5,
        "peak_memory_mb": 500.0,
        "metrics": {"fbp": {"psnr": 25.0, "ssim": 0.7, "residual_ratio": 3.0, "seconds": 0.1}},
        "files": {key: f"{key}.nrrd" for key in arrays},
        "notes": ["Made for a test, not reconstructed: Größe in mm."],
    }
    (folder / "result.json").write_text(json.dumps(report, ensure_ascii=False), encoding="utf-8")
    return folder
