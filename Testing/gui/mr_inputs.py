"""Small MR inputs of tests on the stand-in: a head in the scene, and its k-space in a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import slicer.util

PIXEL_MM = 0.9
SHAPE = (3, 64, 64)


def headArray(shape: tuple[int, int, int] = SHAPE) -> np.ndarray:
    """Slices of an ellipse with a bright rim, two dark ventricles and a lesion, 0 to 1000."""
    slices, rows, columns = shape
    y, x = np.mgrid[-1:1:rows * 1j, -1:1:columns * 1j]
    inside = (x / 0.72) ** 2 + (y / 0.86) ** 2
    image = np.where(inside < 1, 550.0 + 60 * x - 40 * y, 0.0)
    image[(inside > 0.86) & (inside < 1)] = 950.0
    for side in (-0.16, 0.16):
        image[((x - side) / 0.09) ** 2 + ((y + 0.1) / 0.3) ** 2 < 1] = 180.0
    image[(x - 0.35) ** 2 + (y - 0.3) ** 2 < 0.08**2] = 800.0
    return np.repeat(image[None], slices, 0).astype(np.float32)


def addHead(shape: tuple[int, int, int] = SHAPE) -> Any:
    """An MR volume in the scene, as a file without DICOM brings it."""
    matrix = np.diag([-PIXEL_MM, -PIXEL_MM, 5.0, 1.0])
    return slicer.util.addVolumeFromArray(headArray(shape).astype(np.int16), matrix, "Head")


def addMRHead(panel: Any) -> Any:
    """The head in the scene, and the panel's question answered."""
    node = addHead()
    panel.widget.ui.modalityQuestionLabel.linkActivated.emit("mri")
    return node


def kspaceArray(shape: tuple[int, int, int] = SHAPE, coils: int = 4, every: int = 2, middle: int = 16) -> np.ndarray:
    """(slices, coils, rows, columns) of the head: every second line and those in the middle, 0 elsewhere."""
    _slices, rows, columns = shape
    y, x = np.mgrid[-1:1:rows * 1j, -1:1:columns * 1j]
    angles = 2 * np.pi * np.arange(coils) / coils
    maps = np.stack([
        np.exp(-((x - 1.2 * np.cos(a)) ** 2 + (y - 1.2 * np.sin(a)) ** 2) / 1.5 + 1j * (a + 0.5 * x)) for a in angles
    ])
    images = headArray(shape)[:, None] * maps[None]
    values = np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(images, (2, 3)), norm="ortho"), (2, 3))
    noise = np.random.default_rng(0).normal(0, 4.0, (*values.shape, 2))
    measured = np.zeros(rows, bool)
    measured[::every] = True
    measured[rows // 2 - middle // 2 : rows // 2 + middle // 2] = True
    return ((values + noise[..., 0] + 1j * noise[..., 1]) * measured[:, None]).astype(np.complex64)


def writeKSpace(folder: Path) -> Path:
    """The k-space as ISMRMRD, with the size of its pixels and their place."""
    from diffusion_engine.modalities.mri.kspace import KSpace
    from diffusion_engine.modalities.mri.readings.own import write_kspace

    values = kspaceArray()
    matrix = np.diag([-PIXEL_MM, -PIXEL_MM, 5.0, 1.0])
    path = folder / "head.h5"
    write_kspace(KSpace(
        values, values.any(1), 5.0, (PIXEL_MM, PIXEL_MM), ijk_to_ras=matrix,
        facts={"format": "ISMRMRD", "vendor": "Maker", "field_T": 3.0},
    ), path)
    return path


def writeArray(folder: Path) -> Path:
    """The first slice as a plain array (coils, rows, columns), of which the file says nothing."""
    path = folder / "head.npy"
    np.save(path, kspaceArray()[0])
    return path
