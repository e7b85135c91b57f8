"""Peak memory of DDS in slabs on a large stack: 512 x 512 x 600 by default.

    python Testing/benchmarks/slabs.py [--json FILE] [--slices 600] [--size 512] [--slab 16] [--prior gaussian|ct-body]

A made-up object (discs that drift from slice to slice) is scanned slab by slab with few parallel views, and two steps
of one draw with z-TV are run, which use every array that a long run uses. ``gaussian`` stands for the network where
only the size of the stack matters; ``ct-body`` adds the network's own memory, which the slab does not change. Peak
memory is that of the whole process, torch included; "volume" is the size of one float32 volume of the stack. The exit
code is 1 if the peak is above five volumes and 1.5 GB.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from pathlib import Path

import psutil
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "DiffusionRecon"))

from diffusion_engine.classical.fbp import fbp
from diffusion_engine.denoiser import Denoiser, positions
from diffusion_engine.likelihoods.gaussian import GaussianLikelihood
from diffusion_engine.physics.ct import ImageGrid, make_projector, parallel_geometry
from diffusion_engine.priors.analytic import GaussianDenoiser
from diffusion_engine.priors.library import load_prior
from diffusion_engine.run.slabs import Slabs, dds_in_slabs
from diffusion_engine.sampling.noise import Noise
from diffusion_engine.solvers.dds import DDSSettings

MEGABYTE = 2**20
LIMIT_MB, LIMIT_VOLUMES = 1536, 5
PIXEL_MM = 1.3
WATER = 0.0193


def discs(grid: ImageGrid, part: slice) -> Tensor:
    """Some slices of the object in units of water: a body with three rods that drift along z."""
    y, x = (torch.linspace(-1, 1, n) for n in grid.shape)
    z = torch.arange(part.start, part.stop)[:, None, None] / 50
    image = 1.0 * (y[:, None] ** 2 / 0.5 + x**2 / 0.7 < 1).expand(len(z), *grid.shape)
    for n, value in enumerate((-0.7, 0.2, 0.8)):
        rod = (y[:, None] - 0.3 * torch.sin(z + n)) ** 2 + (x - 0.3 * torch.cos(2 * z + 2 * n)) ** 2 < 0.02
        image = image + value * rod
    return image


def gaussian(size: int) -> GaussianDenoiser:
    frequency = torch.fft.fftfreq(size)
    spectrum = 1 / (1e-4 + frequency[:, None] ** 2 + frequency**2)
    return GaussianDenoiser(torch.full((size, size), -0.5), 0.25 * spectrum / spectrum.mean())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the row to this file")
    parser.add_argument("--slices", type=int, default=600)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--slab", type=int, default=16)
    parser.add_argument("--halo", type=int, default=6)
    parser.add_argument("--views", type=int, default=4)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--weight", type=float, default=1.0, help="of z-TV; 0: uncoupled")
    parser.add_argument("--prior", choices=("gaussian", "ct-body"), default="gaussian")
    options = parser.parse_args()
    before = psutil.Process().memory_info().rss / MEGABYTE
    grid = ImageGrid(options.size, options.size, (PIXEL_MM, PIXEL_MM))
    geometry = parallel_geometry(grid, options.views)
    projector = make_projector(geometry, grid)
    data = torch.cat([
        projector.forward(WATER * discs(grid, slice(n, min(n + options.slab, options.slices))))
        for n in range(0, options.slices, options.slab)
    ])
    std = 0.002 * float(data.max())
    data += std * torch.randn(data.shape, generator=torch.Generator().manual_seed(0))
    likelihood = GaussianLikelihood(projector, data, torch.tensor(std**2)).scaled(WATER, 1.0)
    denoiser: Denoiser = gaussian(options.size) if options.prior == "gaussian" else load_prior(options.prior)
    condition = None if options.prior == "gaussian" else positions(*grid.shape, grid.pixel_mm)

    def start(part: slice) -> Tensor:
        return fbp(data[part], geometry, grid).clamp_min(0) / WATER - 1

    settings = DDSSettings(steps=options.steps, cg_iterations=2)
    slabs = Slabs(options.slab, options.weight, sweeps=1, halo=options.halo)
    began = time.perf_counter()
    for step in dds_in_slabs(denoiser, likelihood, start, settings, Noise(0), slabs, condition):
        print(f"step {step.index} of {step.total}: {time.perf_counter() - began:.0f} s", flush=True)
        estimate = step.estimate
    seconds = time.perf_counter() - began
    checked = float((estimate[:1] - (discs(grid, slice(0, 1)) - 1)).square().mean().sqrt())
    first = float((start(slice(0, 1)) - (discs(grid, slice(0, 1)) - 1)).square().mean().sqrt())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    volume = 4 * options.slices * options.size**2 / MEGABYTE
    row = {
        "slices": options.slices, "size": options.size, "slab": options.slab, "halo": options.halo,
        "views": options.views, "weight": options.weight, "prior": options.prior, "steps": options.steps,
        "seconds": round(seconds, 1), "before_mb": round(before), "peak_mb": round(peak), "volume_mb": round(volume),
        "rmse_start": round(first, 4), "rmse": round(checked, 4),
    }
    for key, value in row.items():
        print(f"  {key:<14}{value}")
    if options.json:
        options.json.write_text(json.dumps(row, indent=1) + "\n", encoding="utf-8")
    return 0 if peak < LIMIT_MB + LIMIT_VOLUMES * volume else 1


if __name__ == "__main__":
    sys.exit(main())
