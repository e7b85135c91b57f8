"""FBP recovers known densities for every geometry, arc, window and detector offset."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from ct_phantoms import disc_sinogram
from diffusion_engine.classical.fbp import fbp, view_weights
from diffusion_engine.physics.arc import seen_arc
from diffusion_engine.physics.ct import CTGeometry, ImageGrid, fan_geometry, make_projector, parallel_geometry

GRID = ImageGrid(120, 160, (1.2, 0.9))
FAN = {"source_to_isocentre_mm": 300.0, "source_to_detector_mm": 520.0}
TURN = 2 * math.pi
SHORT = math.radians(180 + 40)  # the fan opens 38.9 degrees


GEOMETRIES = {
    "parallel, half turn": parallel_geometry(GRID, 180),
    "parallel, half turn and both ends": CTGeometry("parallel", tuple(np.radians(np.arange(181))), 240, 0.9, 1.3),
    "parallel, 270 degrees": parallel_geometry(GRID, 270, math.radians(270)),
    "parallel, whole turn, odd": parallel_geometry(GRID, 361, TURN, start_rad=0.4),
    "parallel, growing steps": CTGeometry("parallel", tuple(math.pi * np.linspace(0, 1, 240, endpoint=False) ** 1.5),
                                          240, 0.9),
    "parallel, golden angle": CTGeometry("parallel", tuple(np.radians(111.246) * np.arange(200)), 240, 0.9),
    "parallel, half a detector": parallel_geometry(GRID, 360, TURN, detector_count=130, detector_offset_mm=48.0),
    "flat": fan_geometry(GRID, 360, **FAN),
    "flat, offset": fan_geometry(GRID, 360, detector_offset_mm=5.3, **FAN),
    "flat, short scan": fan_geometry(GRID, 240, SHORT, start_rad=1.0, **FAN),
    "flat, 300 degrees": fan_geometry(GRID, 300, math.radians(300), start_rad=1.0, **FAN),
    "flat, growing steps": CTGeometry("fan_flat", tuple(TURN * np.linspace(0, 1, 500, endpoint=False) ** 1.5), 270, 1.5,
                                      0.0, 300.0, 520.0),
    "flat, half a detector": fan_geometry(GRID, 360, detector_count=130, detector_offset_mm=80.0, **FAN),
    "curved": fan_geometry(GRID, 360, curved=True, **FAN),
    "curved, offset": fan_geometry(GRID, 360, curved=True, detector_offset_mm=-5.3, **FAN),
    "curved, short scan": fan_geometry(GRID, 240, SHORT, curved=True, start_rad=-1.0, **FAN),
    "curved, half a detector": fan_geometry(GRID, 360, curved=True, detector_count=130, detector_offset_mm=80.0, **FAN),
}


@pytest.mark.parametrize("window", ["ram-lak", "hann"])
@pytest.mark.parametrize("name", GEOMETRIES)
def test_density_of_discs_within_one_percent(name: str, window: str) -> None:
    geometry = GEOMETRIES[name]
    sinogram = disc_sinogram(geometry, 12, -9, 35, 0.02) + disc_sinogram(geometry, -25, 20, 10, 0.01)
    image = fbp(sinogram.float(), geometry, GRID, window).numpy()
    y, x = np.meshgrid(GRID.y_mm, GRID.x_mm, indexing="ij")
    to_large, to_small = np.hypot(x - 12, y + 9), np.hypot(x + 25, y - 20)
    assert image[(to_large < 31) & (to_small > 14)].mean() == pytest.approx(0.02, rel=0.01)
    assert image[(to_small < 7) & (to_large > 39)].mean() == pytest.approx(0.01, rel=0.01)
    around = (np.hypot(x, y) < 65) & (to_large > 39) & (to_small > 14)
    assert abs(image[around].mean()) < 0.01 * 0.02  # no bias of the filter in air
    assert image[(to_large < 31) & (to_small > 14)].std() < 0.01 * 0.02  # flat: no cupping


def test_fbp_inverts_the_projector() -> None:
    grid = ImageGrid(96, 96, (2.0, 2.0), (5.0, -8.0))
    y, x = np.meshgrid(grid.y_mm, grid.x_mm, indexing="ij")
    image = torch.from_numpy(0.02 * np.exp(-((x - 10) ** 2 + (y + 20) ** 2) / (2 * 15**2)))
    for geometry in (parallel_geometry(grid, 180), fan_geometry(grid, 360), fan_geometry(grid, 360, curved=True)):
        sinogram = make_projector(geometry, grid, dtype=torch.float64).forward(image)
        error = fbp(sinogram, geometry, grid) - image
        assert float(error.norm() / image.norm()) < 0.01


def test_batch_and_float64() -> None:
    geometry = GEOMETRIES["flat"]
    one = disc_sinogram(geometry, 12, -9, 35, 0.02)
    stack = fbp(torch.stack((one, 3 * one))[:, None], geometry, GRID)
    assert stack.shape == (2, 1, 120, 160)
    assert stack.dtype == torch.float64
    torch.testing.assert_close(stack[1, 0], 3 * fbp(one, geometry, GRID), rtol=1e-9, atol=1e-12)


def test_missing_wedge_is_left_out_of_the_weights() -> None:
    weights, arcs = view_weights(tuple(np.radians(np.arange(0, 60, 2.0))), math.pi)
    np.testing.assert_allclose(weights, math.radians(2))
    np.testing.assert_allclose(arcs, [[math.radians(-1), math.radians(59)]])
    weights, arcs = view_weights(tuple(np.radians((0.0, 30, 50, 90, 150))), math.pi)
    assert weights.sum() == pytest.approx(math.pi)
    assert arcs.tolist() == [[0.0, math.pi]]


DENSE_AND_SPARSE = tuple(np.radians(np.concatenate((np.arange(0, 20.1, 2 / 3), np.arange(30, 171, 10)))))


@pytest.mark.parametrize(("angles", "covered"), [
    (DENSE_AND_SPARSE, 180), (tuple(np.radians(np.arange(60) * 111.246)), 180), ((0.0, math.pi / 2), 180),
    (tuple(np.radians(np.concatenate((np.arange(0, 15, 0.5), np.arange(165, 180, 0.5))))), 30),
    (tuple(np.radians(np.concatenate((np.arange(0, 20, 0.5), np.arange(20, 60, 10))))), 55.25),
    (tuple(np.radians(np.repeat(np.arange(0, 180, 5), 2) + np.tile((0, 0.1), 36))), 180),
    (tuple(np.radians(np.arange(0, 360.5, 1))), 180), (tuple(np.radians((0.0, 1.0))), 2),
    (tuple(np.radians(np.repeat(np.arange(0, 90, 3), 3))), 90),
])
def test_weights_and_seen_arc_share_one_rule(angles: tuple[float, ...], covered: float) -> None:
    seen = seen_arc(CTGeometry("parallel", angles, 64, 1.0))
    weights, arcs = view_weights(angles, math.pi)
    assert math.degrees(seen.covered_rad) == pytest.approx(covered, abs=0.3)
    assert weights.sum() == pytest.approx(seen.covered_rad)
    assert np.diff(arcs).sum() == pytest.approx(seen.covered_rad)


def test_seen_arc_of_fans_and_of_one_view() -> None:
    def degrees(*angles: float) -> tuple[float, float]:
        seen = seen_arc(CTGeometry("fan_flat", tuple(np.radians(angles)), 64, 1.0, 0.0, 300.0, 500.0))
        return math.degrees(seen.covered_rad), math.degrees(seen.largest_gap_rad)

    assert degrees(*range(361)) == pytest.approx((360, 1))
    assert degrees(*range(0, 220, 2)) == pytest.approx((220, 142))
    assert degrees(*range(-10, 11)) == pytest.approx((21, 340))
    assert degrees(5) == pytest.approx((0, 360))


def test_views_of_changing_density_reach_the_right_density() -> None:
    geometry = CTGeometry("parallel", DENSE_AND_SPARSE, 240, 0.9)
    sinogram = disc_sinogram(geometry, 12, -9, 35, 0.02).float()
    image = fbp(sinogram, geometry, GRID, "hann").numpy()
    y, x = np.meshgrid(GRID.y_mm, GRID.x_mm, indexing="ij")
    assert image[np.hypot(x - 12, y + 9) < 31].mean() == pytest.approx(0.02, rel=0.02)


def test_faults_are_refused() -> None:
    geometry = parallel_geometry(GRID, 10)
    data = torch.zeros(10, geometry.detector_count)
    with pytest.raises(ValueError, match="window among"):
        fbp(data, geometry, GRID, "hamming")
    with pytest.raises(ValueError, match="do not belong together"):
        fbp(data.T, geometry, GRID)
    data[3, 4] = math.nan
    with pytest.raises(ValueError, match="NaN"):
        fbp(data, geometry, GRID)
