"""The plain learned baseline: filtered backprojection, then a U-Net of the shipped prior's size that cleans it.

    .venv/bin/python Testing/benchmarks/postprocessor.py --data TRAIN [--exclude NAMES] --eval EVAL --work F
        [--minutes 60] [--views 60,20] [--per-volume 12] [--json F]

Pairs of FBP and reference are simulated from slices of TRAIN once, and kept in --work with the state of the training,
which a second run continues for its own --minutes. One network serves all numbers of views, which it is told in place
of the noise level; it learns FBP + network(FBP) -> reference by mean square error, so it aims at PSNR itself. The rows
are those of ``evaluate``, on the same slices and the same data; the prior itself is in no way involved.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusion_engine import metrics
from diffusion_engine.classical.fbp import fbp
from diffusion_engine.denoiser import positions
from diffusion_engine.evaluation.evaluate import find_items
from diffusion_engine.io.folder import volumes_below
from diffusion_engine.modalities.ct.entry import CT
from diffusion_engine.modalities.ct.hu_question import question_hu
from diffusion_engine.modalities.ct.problem import Problem, prepare
from diffusion_engine.modalities.ct.scale import attenuation_to_hu
from diffusion_engine.orientation import axial_squares
from diffusion_engine.priors.library import has_fast_bf16
from diffusion_engine.priors.networks import PatchUNet
from diffusion_engine.run.settings import Settings
from diffusion_engine.volume import Volume
from torch import Tensor, nn

PATCH, PATCHES, RATE = 128, 4, 6e-4
AVERAGE = 0.995
CPU = torch.device("cpu")


@dataclass(frozen=True, eq=False)
class Pairs:
    """Slices of one volume at one number of views: FBP and reference (slices, rows, columns), network units."""

    views: int
    pixel_mm: float
    analytic: np.ndarray
    reference: np.ndarray


class PostProcessor(nn.Module):
    """FBP (batch, 1, rows, columns), position channels, number of views -> estimate, all in network units."""

    def __init__(self) -> None:
        super().__init__()
        self.network = PatchUNet()

    def forward(self, analytic: Tensor, place: Tensor, views: int) -> Tensor:
        level = torch.full((analytic.shape[0],), math.log(views / 60) / 4)
        inputs = torch.cat([analytic, place.expand(analytic.shape[0], *place.shape[-3:])], dim=1)
        return analytic + self.network(inputs.contiguous(memory_format=torch.channels_last), level).float()


def filtered(problem: Problem) -> np.ndarray:
    """FBP of a problem's data in network units."""
    image = fbp(problem.delivered.measured.data, problem.delivered.geometry, problem.delivered.grid)
    return attenuation_to_hu(image, problem.delivered.water_per_mm).numpy() / 1000


def simulate_pairs(volume: Volume, views: int, seed: int) -> Pairs:
    """Scans of the slices of a CT volume, as a reconstruction would meet them."""
    problem = prepare(volume, Settings(views=views, seed=seed), CPU, None)
    assert problem.reference is not None
    half = (filtered(problem).astype(np.float16), (problem.reference / 1000).astype(np.float16))
    return Pairs(views, float(problem.delivered.grid.pixel_mm[0]), *half)


def training_pairs(
    data: Path, exclude: Sequence[str], views: Sequence[int], each: int, work: Path
) -> Iterator[Pairs]:
    """Pairs of up to ``each`` slices of every CT volume, from ``work`` or simulated and kept there.

    Volumes of independent slices (those with a slices.csv), whose pixel sizes differ, are left out.
    """
    def wanted(place: Path) -> bool:
        return not set(exclude) & set(place.parts) and not (data / place.parent / "slices.csv").exists()

    for number, (place, volume) in enumerate(volumes_below(data, "HU", wanted)):
        if isinstance(volume, str) or question_hu(volume) is not None:
            continue
        try:
            volume = axial_squares(volume)[0]
        except ValueError:
            continue
        chosen = sorted({int((n + 0.5) * len(volume.array) / each) for n in range(each)})
        part = Volume(volume.array[chosen], volume.ijk_to_ras, "HU")
        for count in views:
            name = f"{place.as_posix().replace('/', '-').split('.')[0]}-{each}-{count}.npz"
            if not (work / name).exists():
                made = simulate_pairs(part, count, number)
                np.savez(work / name, pixel=made.pixel_mm, analytic=made.analytic, reference=made.reference)
                print(f"simulated {name}", flush=True)
            with np.load(work / name) as kept:
                yield Pairs(count, float(kept["pixel"]), kept["analytic"], kept["reference"])


def draw(pairs: Sequence[Pairs], generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor, int]:
    """Patches of one source: FBP, reference (PATCHES, 1, PATCH, PATCH), positions, number of views."""
    source = pairs[int(torch.randint(len(pairs), (1,), generator=generator))]
    slices, rows, columns = source.analytic.shape
    tall, wide = min(PATCH, rows), min(PATCH, columns)
    whole = positions(rows, columns, (source.pixel_mm, source.pixel_mm))
    blurred, clean, place = [], [], []
    for _ in range(PATCHES):
        k = int(torch.randint(slices, (1,), generator=generator))
        j = int(torch.randint(rows - tall + 1, (1,), generator=generator))
        i = int(torch.randint(columns - wide + 1, (1,), generator=generator))
        here = (slice(j, j + tall), slice(i, i + wide))
        blurred.append(torch.from_numpy(source.analytic[k][here].astype(np.float32))[None])
        clean.append(torch.from_numpy(source.reference[k][here].astype(np.float32))[None])
        place.append(whole[(slice(None), *here)])
    return torch.stack(blurred), torch.stack(clean), torch.stack(place), source.views


def train_for(minutes: float, pairs: Sequence[Pairs], checkpoint: Path, seed: int = 0) -> PostProcessor:
    """Train for so many minutes more, the learning rate falling over them, and return the averaged network."""
    torch.manual_seed(seed)
    model, generator = PostProcessor(), torch.Generator().manual_seed(seed)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = torch.optim.Adam(model.parameters(), lr=RATE, betas=(0.9, 0.99))
    average = {name: value.detach().clone() for name, value in model.state_dict().items()}
    steps, before = 0, 0.0
    if checkpoint.exists():
        state = torch.load(checkpoint, map_location="cpu", weights_only=True)
        model.load_state_dict(state["model"])
        optimiser.load_state_dict(state["optimiser"])
        generator.set_state(state["generator"])
        average, steps, before = state["average"], state["steps"], state["minutes"]

    def save(spent: float) -> None:
        temporary = checkpoint.with_suffix(".part")
        torch.save({
            "model": model.state_dict(), "optimiser": optimiser.state_dict(), "generator": generator.get_state(),
            "average": average, "steps": steps, "minutes": before + spent,
        }, temporary)
        os.replace(temporary, checkpoint)

    bf16 = has_fast_bf16(CPU)
    began, losses, spent, saved = time.perf_counter(), [], 0.0, 0.0
    while spent < minutes:
        fraction = spent / minutes
        for group in optimiser.param_groups:
            group["lr"] = RATE * min(1.0, (steps + 1) / 200) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * fraction)))
        blurred, clean, place, views = draw(pairs, generator)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            estimate = model(blurred, place, views)
        loss = (estimate - clean).square().mean()
        if not math.isfinite(loss.item()):
            raise FloatingPointError(f"the loss is not finite at step {steps + 1}: begin again with a lower rate")
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        steps += 1
        for name, value in model.state_dict().items():
            average[name].lerp_(value, 1 - min(AVERAGE, steps / (steps + 10)))
        losses.append(loss.item())
        spent = (time.perf_counter() - began) / 60
        if steps % 100 == 0:
            print(json.dumps({"step": steps, "minutes": round(before + spent, 1), "mse": np.mean(losses)}), flush=True)
            losses.clear()
        if spent - saved > 5:
            save(spent)
            saved = spent
    save(spent)
    print(json.dumps({"steps": steps, "minutes": round(before + spent, 1)}), flush=True)
    model.load_state_dict(average)
    return model.eval()


def scores(model: PostProcessor, folder: Path, views: Sequence[int]) -> Iterator[dict[str, Any]]:
    """Rows of ``fbp`` and ``fbp-unet`` on the slices of ``evaluate``."""
    items, _ = find_items(folder, CT)
    for count in views:
        for item in items:
            pixel = 2 * min(item.volume.spacing_mm[:2]) * 0.999
            problem = prepare(item.volume, replace(Settings(views=count), pixel_mm=pixel), CPU, None)
            assert problem.reference is not None
            start = time.perf_counter()
            analytic = filtered(problem)
            place = positions(*problem.delivered.grid.shape, problem.delivered.grid.pixel_mm)
            with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=has_fast_bf16(CPU)):
                estimate = model(torch.from_numpy(analytic)[:, None].float(), place, count)[:, 0].numpy()
            seconds = time.perf_counter() - start
            for method, images in (("fbp", analytic * 1000), ("fbp-unet", estimate * 1000)):
                ratios = problem.residuals(images).mean(-1)
                for n, index in enumerate(item.indices):
                    image, reference = images[n], problem.reference[n]
                    yield {
                        "item": item.name, "modality": "ct", "case": index, "geometry": "parallel", "views": count,
                        "method": method, "psnr": round(metrics.psnr(image, reference), 3),
                        "ssim": round(metrics.ssim(image[None], reference[None]), 4),
                        "nrmse": round(metrics.nrmse(image, reference), 4),
                        "residual_ratio": round(float(ratios[n]), 4),
                        "seconds": round(seconds / len(item.indices), 3),
                    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of CT volumes to train on")
    parser.add_argument("--exclude", default="", help="folders to leave out of the training, with commas")
    parser.add_argument("--eval", type=Path, required=True, help="folder of CT volumes to report on")
    parser.add_argument("--work", type=Path, required=True, help="folder for pairs and state of the training")
    parser.add_argument("--minutes", type=float, default=60.0, help="of training in this run (60)")
    parser.add_argument("--views", default="60,20")
    parser.add_argument("--per-volume", type=int, default=12, help="slices of each volume (12)")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    views = [int(part) for part in options.views.split(",")]
    exclude = [name for name in options.exclude.split(",") if name]
    pairs = list(training_pairs(options.data, exclude, views, options.per_volume, options.work))
    if not pairs:
        print(f"no CT volume in HU below {options.data}: nothing to train on", file=sys.stderr)
        return 2
    model = train_for(options.minutes, pairs, options.work / "postprocessor.checkpoint")
    rows = []
    for row in scores(model, options.eval, views):
        rows.append(row)
        print(f"{row['views']:>3} {row['item']} {row['case']:>3} {row['method']:<9} {row['psnr']:.2f} dB", flush=True)
    for count in views:
        for method in ("fbp", "fbp-unet"):
            found = [row["psnr"] for row in rows if (row["views"], row["method"]) == (count, method)]
            print(f"{count} views, {method}: mean {np.mean(found):.2f} dB")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
