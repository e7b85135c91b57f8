"""The projector pair: true adjoint, two implementations with the same numbers, ASTRA and exact chords."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from ct_phantoms import disc_sinogram
from diffusion_engine.physics import ct
from diffusion_engine.physics.ct import CTGeometry, ImageGrid, fan_geometry, make_projector, parallel_geometry
from diffusion_engine.physics.ct_matrix import MatrixProjector
from diffusion_engine.physics.ct_on_the_fly import OnTheFlyProjector
from diffusion_engine.physics.joseph import tap_weights

GRID = ImageGrid(50, 64, (1.3, 0.9), (3.0, -4.0))  # anisotropic, off centre
ANGLES = (0.3, 0.31, 1.2, 2.0, math.pi / 2, 4.4, -0.7)
GEOMETRIES = {
    "parallel": CTGeometry("parallel", ANGLES, 90, 1.1, 2.2),
    "fan_flat": CTGeometry("fan_flat", ANGLES, 90, 1.9, -7.0, 100.0, 180.0),
    "fan_curved": CTGeometry("fan_curved", ANGLES, 90, 1.9, -7.0, 100.0, 180.0),
}


def random(shape: tuple[int, ...], dtype: torch.dtype, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def smooth_image(grid: ImageGrid) -> np.ndarray:
    y, x = np.meshgrid(grid.y_mm, grid.x_mm, indexing="ij")
    size = grid.reach_mm
    return (np.exp(-((x - 0.2 * size) ** 2 + (y + 0.1 * size) ** 2) / (0.2 * size) ** 2)
            + 0.5 * np.exp(-((x + 0.3 * size) ** 2 + (y - 0.2 * size) ** 2) / (0.1 * size) ** 2)).astype(np.float32)


@pytest.mark.parametrize("name", GEOMETRIES)
@pytest.mark.parametrize("implementation", ["matrix", "on_the_fly"])
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-6), (torch.float64, 1e-12)])
@pytest.mark.parametrize(("batch", "interpolation"), [
    ((), "linear"), ((1,), "cubic"), ((2, 3), "linear"), ((40,), "cubic"),
])
def test_adjoint(name: str, implementation: str, dtype: torch.dtype, bound: float, batch: tuple[int, ...],
                 interpolation: str) -> None:
    projector = make_projector(GEOMETRIES[name], GRID, dtype=dtype, implementation=implementation,
                               interpolation=interpolation)
    assert projector.in_shape == (50, 64)
    assert projector.out_shape == (7, 90)
    x, y = random((*batch, 50, 64), dtype), random((*batch, 7, 90), dtype, 1)
    ax, aty = projector.forward(x), projector.adjoint(y)
    assert ax.shape == y.shape
    assert aty.shape == x.shape
    assert ax.dtype == aty.dtype == dtype
    gap = (ax.double() * y.double()).sum() - (x.double() * aty.double()).sum()
    assert abs(float(gap)) < bound * float(ax.norm() * y.norm())
    assert float(ax.norm()) > 0


@pytest.mark.parametrize("name", GEOMETRIES)
@pytest.mark.parametrize("interpolation", ["linear", "cubic"])
def test_implementations_agree(name: str, interpolation: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("diffusion_engine.physics.ct_on_the_fly._CHUNK_ENTRIES", 30_000)  # several chunks of views
    x, y = random((3, 50, 64), torch.float32), random((3, 7, 90), torch.float32, 1)
    stored, flying = (
        make_projector(GEOMETRIES[name], GRID, implementation=i, interpolation=interpolation)
        for i in ("matrix", "on_the_fly")
    )
    for a, b in ((stored.forward(x), flying.forward(x)), (stored.adjoint(y), flying.adjoint(y))):
        assert float((a - b).norm() / a.norm()) < 1e-5


@pytest.mark.parametrize("name", GEOMETRIES)
def test_the_accelerators_way_gives_the_same_numbers(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("diffusion_engine.physics.ct_on_the_fly._CHUNK_ENTRIES", 30_000)
    x, y = random((3, 50, 64), torch.float32), random((3, 7, 90), torch.float32, 1)
    stored = make_projector(GEOMETRIES[name], GRID, implementation="matrix", interpolation="cubic")
    flying = make_projector(GEOMETRIES[name], GRID, implementation="on_the_fly", interpolation="cubic")
    monkeypatch.setattr(flying, "_by_scipy", False)  # on a CPU, the products that other devices use
    for a, b in ((stored.forward(x), flying.forward(x)), (stored.adjoint(y), flying.adjoint(y))):
        assert float((a - b).norm() / a.norm()) < 1e-5


@pytest.mark.parametrize("name", GEOMETRIES)
@pytest.mark.parametrize("implementation", ["matrix", "on_the_fly"])
def test_gradients_are_the_adjoint(name: str, implementation: str) -> None:
    grid = ImageGrid(6, 5, (2.0, 3.0))
    geometry = CTGeometry(name, (0.2, 1.9), 7, 3.0, 0.4, *((None, None) if name == "parallel" else (40.0, 70.0)))
    projector = make_projector(geometry, grid, dtype=torch.float64, implementation=implementation)
    x = random((2, 6, 5), torch.float64).requires_grad_()
    y = random((2, 2, 7), torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(projector.forward, (x,))
    assert torch.autograd.gradcheck(projector.adjoint, (y,))
    assert torch.autograd.gradgradcheck(lambda v: projector.forward(v) ** 2, (x,))


@pytest.mark.parametrize("name", GEOMETRIES)
def test_disc_has_its_chord_lengths(name: str) -> None:
    # the disc's pixels carry the covered part of 8 x 8 samples, so the difference is that of interpolation
    grid = ImageGrid(200, 180, (0.8, 0.9), (4.0, -6.0))
    distances = () if name == "parallel" else (300.0, 540.0)
    geometry = CTGeometry(name, tuple(np.linspace(0, 6, 23)), 160, 1.9, 3.0, *distances)
    fine = ImageGrid(1600, 1440, (0.1, 0.1125), (4.0, -6.0))
    y, x = np.meshgrid(fine.y_mm, fine.x_mm, indexing="ij")
    disc = (np.hypot(x - 20, y + 15) < 35).reshape(200, 8, 180, 8).mean((1, 3)).astype(np.float32)
    found = make_projector(geometry, grid).forward(torch.from_numpy(disc)).double()
    chords = disc_sinogram(geometry, 20, -15, 35, 1.0)
    assert float((found - chords).norm() / chords.norm()) < 0.01
    inside = chords > 30
    assert float(((found - chords).abs() / chords)[inside].max()) < 0.02


@pytest.mark.parametrize("name", GEOMETRIES)
def test_cubic_is_nearer_to_wide_bins_and_averaged_pixels(name: str) -> None:
    grid = ImageGrid(120, 120, (1.0, 1.0), (0.3, -0.2))
    distances, bin_mm = ((), 1.0) if name == "parallel" else ((300.0, 540.0), 1.8)
    geometry = CTGeometry(name, tuple(np.linspace(0.05, 3, 31)), 150, bin_mm, 0.0, *distances)
    fine = ImageGrid(960, 960, (0.125, 0.125), grid.centre_mm)
    y, x = np.meshgrid(fine.y_mm, fine.x_mm, indexing="ij")
    disc = (np.hypot(x - 10, y + 7) < 25).reshape(120, 8, 120, 8).mean((1, 3)).astype(np.float32)
    rays = CTGeometry(name, geometry.angles_rad, 150 * 8, bin_mm / 8, 0.0, *distances)
    expected = disc_sinogram(rays, 10, -7, 25, 1.0).reshape(31, 150, 8).mean(-1)
    error = {
        kind: float((make_projector(geometry, grid, interpolation=kind).forward(torch.from_numpy(disc)).double()
                     - expected).norm()) for kind in ("linear", "cubic")
    }
    assert error["cubic"] < 0.8 * error["linear"]


def test_cubic_convolution_has_no_second_moment() -> None:
    w = torch.linspace(0, 1, 11, dtype=torch.float64)
    offsets = w - torch.arange(-1, 3, dtype=torch.float64)[:, None]
    kernel = torch.stack(tap_weights(w, "cubic"))
    for power, moment in ((0, 1.0), (1, 0.0), (2, 0.0)):
        assert torch.allclose((kernel * offsets**power).sum(0), torch.full_like(w, moment), atol=1e-12)


@pytest.mark.parametrize("name", GEOMETRIES)
def test_sums_of_cubic_weights_bound_the_projector_as_those_of_linear_ones_do(name: str) -> None:
    # what the step lengths of TV go by: some cubic weights are negative
    projector = make_projector(GEOMETRIES[name], GRID, dtype=torch.float64, interpolation="cubic")
    x = random(projector.in_shape, torch.float64)
    rows, columns = (
        torch.where(total > 1e-6 * total.max(), 1 / total.clamp_min(1e-30), 0.0)
        for total in (
            projector.forward(torch.ones(projector.in_shape, dtype=torch.float64)),
            projector.adjoint(torch.ones(projector.out_shape, dtype=torch.float64)),
        )
    )
    for _ in range(100):
        y = columns.sqrt() * projector.adjoint(rows * projector.forward(columns.sqrt() * x))
        norm = float(y.norm())
        x = y / norm
    assert norm < 1.05


def astra_sinogram(image: np.ndarray, geometry: CTGeometry, kernel: str) -> np.ndarray:
    astra = pytest.importorskip("astra", reason="astra-toolbox is not installed: no comparison with ASTRA")
    angles, spacing, count = np.array(geometry.angles_rad), geometry.detector_spacing_mm, geometry.detector_count
    if geometry.fan_distances_mm is None:
        rays = astra.create_proj_geom("parallel", spacing, count, angles)
    else:
        sid, sdd = geometry.fan_distances_mm
        rays = astra.create_proj_geom("fanflat", spacing, count, angles, sid, sdd - sid)
    projector = astra.create_projector(kernel, rays, astra.create_vol_geom(*image.shape))
    number, sinogram = astra.create_sino(image, projector)
    astra.data2d.delete(number)
    astra.projector.delete(projector)
    return sinogram


@pytest.mark.parametrize("implementation", ["matrix", "on_the_fly"])
def test_parallel_agrees_with_astra_linear(implementation: str) -> None:
    grid = ImageGrid(128, 128, (1.0, 1.0))
    geometry = parallel_geometry(grid, 40, 2 * math.pi, start_rad=0.1)
    image = random((128, 128), torch.float32).numpy()
    expected = astra_sinogram(image, geometry, "linear")
    found = make_projector(geometry, grid, implementation=implementation).forward(torch.from_numpy(image)).numpy()
    assert np.linalg.norm(found - expected) < 1e-3 * np.linalg.norm(expected)


@pytest.mark.parametrize(("kernel", "bound"), [("line_fanflat", 2e-3), ("strip_fanflat", 5e-4)])
def test_fan_agrees_with_astra(kernel: str, bound: float) -> None:
    # ASTRA's fan kernels take pixels as squares, Joseph interpolates: equal on smooth images only
    grid = ImageGrid(128, 128, (1.0, 1.0))
    geometry = fan_geometry(grid, 40, start_rad=0.1, source_to_isocentre_mm=250.0, source_to_detector_mm=430.0)
    image = smooth_image(grid)
    expected = astra_sinogram(image, geometry, kernel)
    found = make_projector(geometry, grid).forward(torch.from_numpy(image)).numpy()
    assert np.linalg.norm(found - expected) < bound * np.linalg.norm(expected)


def test_convention_of_angles() -> None:
    grid = ImageGrid(31, 31, (1.0, 1.0))
    image = torch.zeros(31, 31)
    image[15, 25] = 1.0  # 10 mm towards +x, the isocentre's row
    centre = 20
    for geometry in (CTGeometry("parallel", (0.0, math.pi / 2, math.pi), 41, 1.0),
                     CTGeometry("fan_flat", (0.0, math.pi / 2, math.pi), 41, 2.0, 0.0, 100.0, 200.0)):
        peaks = make_projector(geometry, grid).forward(image).argmax(-1).tolist()
        assert peaks == [centre + 10, centre, centre - 10]  # e_u is +x, then -y, then -x
    # at +90 degrees the source is on the +x side: a point nearer to it is magnified more
    image = torch.zeros(31, 31)
    image[5, 25] = image[5, 5] = 1.0
    fan = CTGeometry("fan_flat", (math.pi / 2,), 161, 0.5, 0.0, 100.0, 200.0)
    hits = torch.nonzero(make_projector(fan, grid).forward(image)[0] > 0.5).flatten() - 80
    assert float(hits.max()) * 0.5 == pytest.approx(200 * 10 / 90, abs=1)
    assert float(hits.min()) * 0.5 == pytest.approx(200 * 10 / 110, abs=1)


def test_auto_keeps_to_the_memory_cap() -> None:
    grid = ImageGrid(64, 64, (1.0, 1.0))
    geometry = parallel_geometry(grid, 30)
    stored = make_projector(geometry, grid)
    assert isinstance(stored, MatrixProjector)
    assert ct.matrix_bytes(geometry, grid) == pytest.approx(stored.bytes, rel=0.1)
    cubic = make_projector(geometry, grid, interpolation="cubic")
    assert isinstance(cubic, MatrixProjector)
    assert ct.matrix_bytes(geometry, grid, interpolation="cubic") == pytest.approx(cubic.bytes, rel=0.1)
    assert make_projector(geometry, grid) is stored  # kept
    assert isinstance(make_projector(geometry, grid, memory_cap_bytes=stored.bytes // 2), OnTheFlyProjector)


def test_kept_matrices_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    grid = ImageGrid(32, 32, (1.0, 1.0))
    geometries = [parallel_geometry(grid, views) for views in (10, 11, 12)]
    size = make_projector(geometries[0], grid).bytes
    monkeypatch.setattr(ct, "_CACHE_BYTES", int(2.5 * size))
    kept = [make_projector(geometry, grid) for geometry in geometries]
    assert make_projector(geometries[2], grid) is kept[2]
    assert make_projector(geometries[0], grid) is not kept[0]


def test_faults_are_refused() -> None:
    grid = ImageGrid(32, 32, (1.0, 1.0))
    with pytest.raises(ValueError, match="No ray"):
        make_projector(CTGeometry("parallel", (0.0,), 10, 1.0, 200.0), grid)
    with pytest.raises(ValueError, match="No ray"):
        make_projector(CTGeometry("fan_flat", (0.0,), 10, 1.0, 0.0, 1000.0, 1500.0),
                       ImageGrid(32, 32, (1.0, 1.0), (0.0, 300.0)))
    with pytest.raises(ValueError, match="source circles"):
        make_projector(CTGeometry("fan_flat", (0.0,), 10, 1.0, 0.0, 20.0, 50.0), grid)
    with pytest.raises(ValueError, match="implementation"):
        make_projector(parallel_geometry(grid, 3), grid, implementation="fast")
    with pytest.raises(ValueError, match="interpolation"):
        make_projector(parallel_geometry(grid, 3), grid, interpolation="nearest")
    with pytest.raises(ValueError, match="dtype"):
        make_projector(parallel_geometry(grid, 3), grid, dtype=torch.float16)
    projector = make_projector(parallel_geometry(grid, 3), grid)
    with pytest.raises(ValueError, match="shape"):
        projector.forward(torch.zeros(31, 32))
    with pytest.raises(ValueError, match="float64"):
        projector.adjoint(torch.zeros(projector.out_shape, dtype=torch.float64))
    with pytest.raises(ValueError, match="grid rows"):
        ImageGrid(0, 3, (1.0, 1.0))
    with pytest.raises(ValueError, match="pixel_mm"):
        ImageGrid(3, 3, (1.0, -1.0))
