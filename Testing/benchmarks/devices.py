"""Reconstruction on each device of this machine: milliseconds, and how far the images are from the processor's.

    python Testing/benchmarks/devices.py [--json FILE] [--slices 8] [--views 60] [--prior ct-body-medium] [--repeats 3]

The synthetic chest (256 x 256, 1.5 mm) is scanned by parallel beam; FBP, TV and one DDS draw of 30 steps of all slices
are run on the processor and on CUDA where there is one: medians after one run that is not counted, each ended by
fetching the image. "difference" is the norm of image minus processor's image over the norm of the latter in units of
water; random numbers are the same on every device. Exit code 1 if a classical image differs by more than 1e-3, or a
draw, which is computed in bfloat16 where that is faster, by more than 3e-2.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "DiffusionRecon"))

from diffusion_engine.classical.tv import tv
from diffusion_engine.modalities.ct.problem import prepare
from diffusion_engine.phantoms.chest import synthetic_chest
from diffusion_engine.priors.library import load_prior
from diffusion_engine.run.costs import SURROGATE_ITERATIONS
from diffusion_engine.run.draws import diffusion_draws
from diffusion_engine.run.settings import Settings
from diffusion_engine.volume import Volume

ALLOWED = {"fbp": 1e-3, "tv": 1e-3, "dds": 3e-2}


def methods(volume: Volume, settings: Settings, device: str) -> dict[str, Callable[[], Tensor]]:
    """What is timed on a device, each giving its image (slices, rows, columns) in units of water on the processor."""
    prior = load_prior(settings.prior, device)
    problem = prepare(volume, settings, torch.device(device), prior.card)
    water = problem.delivered.measured.scaled(settings.scan.water_per_mm, 0.0)
    surrogate = tv(water, iterations=SURROGATE_ITERATIONS) - 1

    def draw() -> Tensor:
        whole = slice(0, problem.slices)
        *_, last = diffusion_draws(problem, settings, prior, whole, surrogate)
        return last.estimate.cpu() + 1

    return {
        "fbp": lambda: problem.classical("fbp", 1).cpu() + 1,
        "tv": lambda: tv(water, iterations=settings.scan.tv_iterations).cpu(),
        "dds": draw,
    }


def timed(run: Callable[[], Tensor], repeats: int) -> tuple[float, Tensor]:
    """Median milliseconds of some runs after one that is not counted, and the image."""
    image, taken = run(), []
    for _ in range(repeats):
        began = time.perf_counter()
        image = run()
        taken.append(1000 * (time.perf_counter() - began))
    return statistics.median(taken), image


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    parser.add_argument("--slices", type=int, default=8)
    parser.add_argument("--views", type=int, default=60)
    parser.add_argument("--prior", default="ct-body-medium")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    volume, _ = synthetic_chest((options.slices, 512, 512), (5.0, 0.75, 0.75))
    settings = Settings(views=options.views, prior=options.prior, draws=1, steps=30, pixel_mm=1.49)
    devices = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    rows: list[dict[str, Any]] = []
    reference: dict[str, Tensor] = {}
    for device in devices:
        name = torch.cuda.get_device_name() if device == "cuda" else f"{torch.get_num_threads()} cores"
        for method, run in methods(volume, settings, device).items():
            milliseconds, image = timed(run, options.repeats)
            base = reference.setdefault(method, image)
            difference = float((image - base).norm() / base.norm())
            rows.append({
                "device": device, "name": name, "method": method, "slices": options.slices, "views": options.views,
                "milliseconds": round(milliseconds, 2), "difference": difference,
            })
            print(f"{name:<24}{method:<6}{milliseconds:>12.1f} ms   difference {difference:.1e}", flush=True)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    return 1 if any(row["difference"] > ALLOWED[row["method"]] for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
