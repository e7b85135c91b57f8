"""CT projector pairs side by side in one run: this engine's two implementations, ASTRA's CPU kernels, deepinv.

    python Testing/benchmarks/ct_projectors.py [--json FILE] [--size 256] [--views 60] [--slices 16] [--repeats 7]

Each candidate projects and backprojects the same stack of slices; candidates alternate within every repeat, the
table shows medians. ASTRA's 2D kernels take one slice a call and run on one core: its time is that of the whole
stack, with all its objects made beforehand. ``adjoint_error`` is |<Ax, y> - <x, A'y>| / (|Ax| |y|).
The exit code is 0 only if at least one peer took part and every candidate finished.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "DiffusionRecon"))

from diffusion_engine.physics.ct import CTGeometry, ImageGrid, fan_geometry, make_projector, parallel_geometry

ASTRA_KERNELS = {"parallel": ("linear", "line"), "fan_flat": ("line_fanflat", "strip_fanflat")}


@dataclass(frozen=True)
class Candidate:
    """A projector pair over a stack: numpy float32 arrays in and out, (slices, ...)."""

    name: str
    peer: bool
    forward: Callable[[np.ndarray], np.ndarray]
    adjoint: Callable[[np.ndarray], np.ndarray]


def own(geometry: CTGeometry, grid: ImageGrid, implementation: str) -> Candidate:
    projector = make_projector(geometry, grid, implementation=implementation)
    return Candidate(f"diffusion_engine {implementation}", False,
                     lambda x: projector.forward(torch.from_numpy(x)).numpy(),
                     lambda y: projector.adjoint(torch.from_numpy(y)).numpy())


def astra_pair(geometry: CTGeometry, grid: ImageGrid, kernel: str, slices: int) -> Candidate:
    """ASTRA's angles, detector axis and row order are those of CTGeometry; its pixels are squares of unit side."""
    import astra

    pixel = grid.pixel_mm[0]
    angles, count = np.array(geometry.angles_rad), geometry.detector_count
    spacing = geometry.detector_spacing_mm / pixel
    if geometry.fan_distances_mm is None:
        rays = astra.create_proj_geom("parallel", spacing, count, angles)
    else:
        sid, sdd = geometry.fan_distances_mm
        rays = astra.create_proj_geom("fanflat", spacing, count, angles, sid / pixel, (sdd - sid) / pixel)
    image_geometry = astra.create_vol_geom(grid.rows, grid.columns)
    projector = astra.create_projector(kernel, rays, image_geometry)
    images = np.zeros((slices, grid.rows, grid.columns), np.float32)
    data = np.zeros((slices, geometry.views, count), np.float32)
    forwards, adjoints = [], []
    for k in range(slices):
        image = astra.data2d.link("-vol", image_geometry, images[k])
        sinogram = astra.data2d.link("-sino", rays, data[k])
        for kind, into in (("FP", forwards), ("BP", adjoints)):
            settings = astra.astra_dict(kind)
            settings["ProjectorId"] = projector
            settings["ProjectionDataId"] = sinogram
            settings["VolumeDataId" if kind == "FP" else "ReconstructionDataId"] = image
            into.append(astra.algorithm.create(settings))

    def forward(x: np.ndarray) -> np.ndarray:
        images[...] = x
        for algorithm in forwards:
            astra.algorithm.run(algorithm)
        return data * np.float32(pixel)

    def adjoint(y: np.ndarray) -> np.ndarray:
        data[...] = y
        for algorithm in adjoints:
            astra.algorithm.run(algorithm)
        return images * np.float32(pixel)

    return Candidate(f"astra {kernel}", True, forward, adjoint)


def deepinv_pair(geometry: CTGeometry, grid: ImageGrid) -> Candidate | None:
    """deepinv's own rotation-based pair; it has no free detector, so only its time is comparable."""
    if geometry.type != "parallel" or grid.rows != grid.columns:
        return None
    from deepinv.physics import Tomography

    angles = torch.rad2deg(torch.tensor(geometry.angles_rad))
    physics = Tomography(angles=angles, img_width=grid.rows, circle=False, normalize=False, adjoint_via_backprop=True)

    def forward(x: np.ndarray) -> np.ndarray:
        return physics.A(torch.from_numpy(x)[:, None]).numpy()

    def adjoint(y: np.ndarray) -> np.ndarray:
        return physics.A_adjoint(torch.from_numpy(y)).numpy()[:, 0]

    return Candidate("deepinv", True, forward, adjoint)


def candidates(geometry: CTGeometry, grid: ImageGrid, slices: int) -> tuple[list[Candidate], list[str]]:
    found, notes = [own(geometry, grid, "matrix"), own(geometry, grid, "on_the_fly")], []
    try:
        found += [astra_pair(geometry, grid, kernel, slices) for kernel in ASTRA_KERNELS[geometry.type]]
    except ImportError:
        notes.append("astra-toolbox is not installed: pip install astra-toolbox (Linux and Windows).")
    try:
        pair = deepinv_pair(geometry, grid)
        found += [pair] if pair is not None else []
    except Exception as fault:  # its import can fail in more ways than ImportError
        notes.append(f"deepinv takes no part: {type(fault).__name__}: {fault}.")
    return found, notes


def measure(found: list[Candidate], x: np.ndarray, repeats: int) -> list[dict[str, object]]:
    generator = np.random.default_rng(0)
    data = [c.forward(x) for c in found]
    targets = [generator.random(d.shape, dtype=np.float32) for d in data]
    errors = []
    for c, ax, y in zip(found, data, targets, strict=True):
        ax, y = ax.astype(np.float64), np.asarray(y)
        gap = np.vdot(ax, y) - np.vdot(x.astype(np.float64), c.adjoint(y).astype(np.float64))
        errors.append(abs(gap) / (np.linalg.norm(ax) * np.linalg.norm(y)))
    times: list[tuple[list[float], list[float]]] = [([], []) for _ in found]
    for _ in range(repeats):
        for c, y, (forward, adjoint) in zip(found, targets, times, strict=True):
            start = time.perf_counter()
            c.forward(x)
            middle = time.perf_counter()
            c.adjoint(y)
            forward.append(middle - start)
            adjoint.append(time.perf_counter() - middle)
    rows: list[dict[str, object]] = []
    for c, error, (forward, adjoint) in zip(found, errors, times, strict=True):
        f, a = statistics.median(forward), statistics.median(adjoint)
        rows.append({"name": c.name, "peer": c.peer, "forward_ms": 1e3 * f, "adjoint_ms": 1e3 * a, "seconds": f + a,
                     "adjoint_error": float(error)})
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--views", type=int, default=60)
    parser.add_argument("--slices", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=7)
    settings = parser.parse_args()
    grid = ImageGrid(settings.size, settings.size, (1.5, 1.5))
    case = f"{settings.slices} x {settings.size} x {settings.size}, {settings.views} views"
    x = np.random.default_rng(1).random((settings.slices, *(settings.size,) * 2), dtype=np.float32)
    distance = math.hypot(settings.size, settings.size) * 1.5
    geometries = (parallel_geometry(grid, settings.views),
                  fan_geometry(grid, settings.views, source_to_isocentre_mm=distance,
                               source_to_detector_mm=1.8 * distance))
    print(f"{case}; torch uses {torch.get_num_threads()} threads; medians of {settings.repeats}, milliseconds")
    rows: list[dict[str, object]] = []
    complete = True
    for geometry in geometries:
        found, notes = candidates(geometry, grid, settings.slices)
        new = measure(found, x, settings.repeats)
        peers = [float(str(row["seconds"])) for row in new if row["peer"]]
        complete = complete and bool(peers)
        print(f"\n{geometry.type} ({geometry.detector_count} bins)\n{'':30s}{'forward':>10s}{'adjoint':>10s}"
              f"{'both':>10s}{'adjoint error':>16s}{'best peer / it':>16s}")
        for row in new:
            ratio = f"{min(peers) / float(str(row['seconds'])):16.1f}" if peers else f"{'-':>16s}"
            print(f"{row['name']:30s}{row['forward_ms']:10.1f}{row['adjoint_ms']:10.1f}"
                  f"{1e3 * float(str(row['seconds'])):10.1f}{row['adjoint_error']:16.1e}{ratio}")
            rows.append({**row, "case": case, "geometry": geometry.type})
        for note in notes:
            print(note)
    if settings.json:
        settings.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    if not complete:
        print("No peer took part: nothing was compared.", file=sys.stderr)
    return 0 if complete else 1


if __name__ == "__main__":
    sys.exit(main())
