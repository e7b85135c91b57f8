"""Training steps a second on this processor: the same step shared by one process with all its threads, or by several.

    .venv/bin/python Testing/benchmarks/processes.py [--processes 1,2] [--sizes small,medium] [--steps 8] [--rounds 2]
        [--compile] [--json FILE]

The processes take turns; each line is the median over the rounds of seconds a step (131,072 pixels in patches of 256),
the first two steps left out. The limit is the cores' arithmetic, which is the same for all.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import torch
from diffusion_engine.priors.library import has_fast_bf16
from diffusion_engine.priors.networks import sized
from diffusion_engine.training.data import PatchSampler, TrainingSlices
from diffusion_engine.training.team import Team, gathered
from diffusion_engine.training.train import TrainingSettings, train

WARM_UP = 2


def work(team: Team, size: str, steps: int, compiled: bool) -> float:
    """Mean seconds of a training step of this process's team."""
    torch.manual_seed(0)
    slices = np.random.default_rng(0).normal(-0.5, 0.5, (4, 256, 256)).astype(np.float16)
    sampler = PatchSampler([TrainingSlices("noise", slices, np.full(4, 1.5))])
    settings = TrainingSettings(
        steps=WARM_UP + steps, patch_sizes=(256,), pixels_per_step=131072, bf16=has_fast_bf16(torch.device("cpu")),
        compiled=compiled,
    )
    start = 0.0
    for step in train(sized(size), sampler, settings, team=team):
        if step.step == WARM_UP:
            start = time.perf_counter()
    return (time.perf_counter() - start) / steps


def assist(team: Team, size: str, steps: int, compiled: bool) -> None:
    """The part of a further process."""
    work(team, size, steps, compiled)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", default="1,2")
    parser.add_argument("--sizes", default="small,medium")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows = []
    print(f"{torch.get_num_threads()} threads\nsize     processes  seconds a step  times one process's")
    for size in options.sizes.split(","):
        counts = [int(count) for count in options.processes.split(",")]
        times: dict[int, list[float]] = {count: [] for count in counts}
        for _ in range(options.rounds):
            for count in counts:
                arguments = (size, options.steps, options.compile)
                with gathered(count, assist, arguments) as team:
                    times[count].append(work(team, *arguments))
        for count in counts:
            seconds = statistics.median(times[count])
            ratio = statistics.median(times[counts[0]]) / seconds
            print(f"{size:8} {count:9}  {seconds:14.2f}  {ratio:19.2f}", flush=True)
            rows.append({"size": size, "processes": count, "seconds": seconds, "rounds": times[count]})
    if options.json is not None:
        options.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
