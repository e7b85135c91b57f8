"""A prior that never saw anatomy, adapted from the measurement alone: naive use, SCD, by rounds, the right prior, TV.

    .venv/bin/python Testing/benchmarks/adaptation.py --volume CT.nii.gz [--slice N] [--views 60] --work FOLDER --json F

The wrong prior is trained on random ellipses only (a small PatchUNet; kept in --work, where a second run finds it).
The scan is simulated from the slice's native pixels without inverse crime, as in ``evaluate``. SCD sees the one slice,
"by rounds" is ``adapt_to_scan`` on the scan of the whole volume, then DDS on the slice. The settings of SCD are its
defaults unless given as --option NAME=VALUE; they were chosen on a training slice, not on the one reported here.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusion_engine import metrics
from diffusion_engine.classical.tv import tv
from diffusion_engine.io.images import read_volume
from diffusion_engine.modalities.ct.problem import Problem, prepare
from diffusion_engine.priors.library import Prior, has_fast_bf16, load_prior
from diffusion_engine.priors.networks import PatchUNet
from diffusion_engine.priors.slices import resample
from diffusion_engine.run.costs import SURROGATE_ITERATIONS
from diffusion_engine.run.pipeline import diffusion_draws
from diffusion_engine.run.settings import Settings
from diffusion_engine.training.adapt_scan import adapt_to_scan
from diffusion_engine.training.data import PatchSampler
from diffusion_engine.training.run import export_prior
from diffusion_engine.training.train import TrainingSettings, train
from ellipses import ellipse_slices

CHANNELS = (24, 40, 56, 64)
LEARNT, NAIVE, SCD = "DDS, ellipses adapted by rounds", "DDS, ellipses (naive)", "SCD, ellipses"


def ellipse_prior(folder: Path, steps: int) -> Prior:
    """The prior of ellipses from ``folder``, trained there if it is missing."""
    card = folder / "ellipses.json"
    if not card.exists():
        folder.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(0)
        network = PatchUNet(channels=CHANNELS)
        settings = TrainingSettings(
            steps=steps, warmup_steps=50, pixels_per_step=32768, average_halflife_steps=100,
            bf16=has_fast_bf16(torch.device("cpu")),
        )
        sources, held = [ellipse_slices(200)], [ellipse_slices(6, seed=1)]
        for step in train(network, PatchSampler(sources), settings, folder / "ellipses.checkpoint"):
            if step.step % 50 == 0:
                print(json.dumps({"step": step.step, "of": step.total, "loss": round(step.loss, 4)}), flush=True)
        # Ellipses have no size of their own: any pixel size is as good as the one they were drawn on.
        export_prior(network, folder, "ellipses", settings, sources, held, pixel_mm=(1.25, 2.0), anatomy="none")
    return load_prior(str(card))


def draw_of(problem: Problem, settings: Settings, prior: Prior, surrogate: torch.Tensor) -> np.ndarray:
    """The mean of the draws of a solver in HU, (1, rows, columns)."""
    draws = [
        resample(state.estimate, *problem.delivered.grid.shape) * 1000
        for state in diffusion_draws(problem, settings, prior, slice(0, 1), surrogate) if state.finished
    ]
    return torch.stack(draws).mean(0).cpu().numpy()


def compare(
    problem: Problem, settings: Settings, wrong: Prior, right: Prior, options: dict[str, Any], both: bool = False,
    learnt: Callable[[], Prior] | None = None,
) -> Iterator[dict[str, Any]]:
    """Rows method, psnr, ssim, residual_ratio, seconds; ``both``: adapt the right prior too.

    ``learnt``: gives the wrong prior adapted to the whole scan.
    """
    water = problem.delivered.measured.scaled(settings.scan.water_per_mm, 0.0)
    surrogate = tv(water, iterations=SURROGATE_ITERATIONS) - 1
    adaptive = replace(settings, solver="scd", solver_options=options)
    calls = {
        "TV": lambda: ((tv(water, iterations=settings.scan.tv_iterations) - 1) * 1000).cpu().numpy(),
        NAIVE: lambda: draw_of(problem, settings, wrong, surrogate),
        SCD: lambda: draw_of(problem, adaptive, wrong, surrogate),
        **({} if learnt is None else {LEARNT: lambda: draw_of(problem, settings, learnt(), surrogate)}),
        f"DDS, {right.card.name} (right prior)": lambda: draw_of(problem, settings, right, surrogate),
    }
    if both:
        calls[f"SCD, {right.card.name}"] = lambda: draw_of(problem, adaptive, right, surrogate)
    assert problem.reference is not None
    for name, call in calls.items():
        start = time.perf_counter()
        image = call()
        yield {
            "method": name, "psnr": round(metrics.psnr(image, problem.reference), 2),
            "ssim": round(metrics.ssim(image, problem.reference), 4),
            "residual_ratio": round(float(problem.residuals(image).mean()), 3),
            "seconds": round(time.perf_counter() - start, 1),
        }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--volume", type=Path, required=True, help="CT volume in HU with slices of 512 x 512 pixels")
    parser.add_argument("--slice", type=int, help="index (the middle one)")
    parser.add_argument("--views", type=int, default=60)
    parser.add_argument("--draws", type=int, default=1)
    parser.add_argument("--training-steps", type=int, default=600)
    parser.add_argument("--option", action="append", default=[], metavar="NAME=VALUE", help="of SCD")
    parser.add_argument("--rounds", type=int, default=4, help="of learning from the scan (0: none)")
    parser.add_argument("--steps", type=int, default=500, help="of training in each")
    parser.add_argument("--both", action="store_true", help="adapt the right prior, too")
    parser.add_argument("--work", type=Path, required=True, help="folder for the prior of ellipses")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    wrong, right = ellipse_prior(options.work, options.training_steps), load_prior("ct-body")
    whole = read_volume(options.volume, unit="HU")
    index = len(whole.array) // 2 if options.slice is None else options.slice
    volume = whole.crop(slices=(index, index + 1))
    settings = Settings(views=options.views, draws=options.draws, pixel_mm=2 * min(volume.spacing_mm[:2]) * 0.999)
    problem = prepare(volume, settings, torch.device("cpu"), right.card)

    def learnt() -> Prior:
        name = f"{options.volume.parent.name}-{options.views}-{options.rounds}x{options.steps}"
        if not (options.work / f"{name}.json").exists():
            adapt_to_scan(
                str(options.work / "ellipses.json"), whole, settings, options.work, name, options.steps, options.rounds,
                each=lambda done: print(f"round {done} of {options.rounds}", flush=True),
            )
        return load_prior(str(options.work / f"{name}.json"))

    chosen = {name: json.loads(value) for name, value in (entry.split("=", 1) for entry in options.option)}
    about = {"volume": options.volume.parent.name, "slice": index, "views": options.views, "options": chosen}
    rows = []
    for row in compare(problem, settings, wrong, right, chosen, options.both, learnt if options.rounds else None):
        rows.append({**about, **row})
        print(
            f"{row['method']:<32} {row['psnr']:6.2f} dB  ssim {row['ssim']:.3f}  residual {row['residual_ratio']:.2f}"
            f"  {row['seconds']:.0f} s", flush=True,
        )
    by = {row["method"]: row["psnr"] for row in rows}
    for name in (SCD, LEARNT):
        if name in by:
            print(f"{name} over naive use: {by[name] - by[NAIVE]:+.2f} dB")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
