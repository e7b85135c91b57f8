"""The grid fits the field of view; cut-off data are detected and reconstructed on a larger one."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from ct_phantoms import disc_sinogram
from diffusion_engine.classical.fbp import fbp
from diffusion_engine.modalities.ct.field_of_view import field_of_view_radius_mm, reconstruction_grid
from diffusion_engine.physics.ct import CTGeometry, ImageGrid, view_angles

TURN = 2 * math.pi


def scan(kind: str, count: int = 200, offset: float = 0.0, arc: float = TURN) -> CTGeometry:
    distances = () if kind == "parallel" else (400.0, 800.0)
    return CTGeometry(kind, view_angles(180, arc), count, 1.0 if kind == "parallel" else 2.0, offset, *distances)


def grid_of_air(geometry: CTGeometry, pixel_mm: float | None = None) -> ImageGrid:
    return reconstruction_grid(torch.zeros(1, 180, geometry.detector_count), geometry, pixel_mm).grid


@pytest.mark.parametrize(("kind", "radius"), [("parallel", 100.0), ("fan_flat", 400 * math.sin(math.atan(0.25))),
                                              ("fan_curved", 400 * math.sin(0.25))])
def test_the_grid_is_the_inscribed_square(kind: str, radius: float) -> None:
    assert field_of_view_radius_mm(scan(kind)) == pytest.approx(radius)
    grid = grid_of_air(scan(kind))
    assert grid.pixel_mm == (1.0, 1.0)  # a bin at the isocentre
    assert grid.rows == grid.columns == 2 * math.ceil(radius - 1e-9)
    assert grid_of_air(scan(kind), 2.5).columns == 2 * math.ceil(radius / 2.5 - 1e-9)


def test_off_centre_detectors() -> None:
    assert field_of_view_radius_mm(scan("parallel", offset=30.0, arc=math.pi)) == pytest.approx(70.0)
    assert field_of_view_radius_mm(scan("parallel", offset=60.0)) == pytest.approx(160.0)  # the turn covers both sides
    with pytest.raises(ValueError, match="pixel_mm"):
        grid_of_air(scan("parallel"), -1.0)


@pytest.mark.parametrize("kind", ["parallel", "fan_flat", "fan_curved"])
def test_complete_data_keep_the_grid_of_air(kind: str) -> None:
    geometry = scan(kind)
    noise = torch.randn(2, 180, 200, generator=torch.Generator().manual_seed(0)) * 0.02
    found = reconstruction_grid(disc_sinogram(geometry, 10, 5, 75, 0.02).float() + noise, geometry)
    assert found.grid == grid_of_air(geometry)
    assert found.sentence is None
    half = scan(kind, offset=70.0 if kind == "parallel" else 140.0)
    assert reconstruction_grid(disc_sinogram(half, 0, 0, 120, 0.02), half).sentence is None


@pytest.mark.parametrize("kind", ["parallel", "fan_flat", "fan_curved"])
def test_cut_off_data_are_detected_and_their_density_kept(kind: str) -> None:
    geometry = scan(kind)
    sinogram = disc_sinogram(geometry, 10, 0, 130, 0.0193)
    found = reconstruction_grid(sinogram, geometry)
    assert found.truncated_views > 0.9
    assert found.sentence is not None
    assert "beyond the field of view" in found.sentence
    assert 260 < found.grid.columns * found.grid.pixel_mm[1] < 330  # the disc is 260 mm wide
    y, x = np.meshgrid(found.grid.y_mm, found.grid.x_mm, indexing="ij")
    images = (fbp(sinogram, geometry, found.grid, "hann", extend=extend).numpy() for extend in (True, False))
    extended, plain = (image[np.hypot(x, y) < 80] / 0.0193 - 1 for image in images)
    assert abs(extended.mean()) < 0.03
    assert np.abs(extended).max() < 0.5 * np.abs(plain).max()


def test_one_sided_cut_is_seen() -> None:
    geometry = scan("parallel", arc=math.pi)
    assert reconstruction_grid(disc_sinogram(geometry, 70, 0, 50, 0.02), geometry).sentence is not None
