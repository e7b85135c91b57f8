"""What size and training buy: the three sizes of the network and MONAI's, each for the same wall times.

    .venv/bin/python Testing/benchmarks/networks.py --data FOLDER --exclude NAMES [--minutes 1,4]
        [--networks small,medium,large,monai] [--json FILE]

FOLDER holds CT volumes; the excluded ones validate. Prints parameters, milliseconds a 256 x 256 slice (median of
alternating calls, bfloat16 where the processor has it) and the denoising PSNR after each of the times of training,
every one a training of its own, whose learning rate falls to its end.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

import torch
from diffusion_engine.denoiser import EDMDenoiser
from diffusion_engine.priors.library import has_fast_bf16
from diffusion_engine.priors.networks import SIZES, sized
from diffusion_engine.training.data import PatchSampler
from diffusion_engine.training.sources import load_sources
from diffusion_engine.training.train import TrainingSettings, train
from diffusion_engine.training.validate import denoising_psnr
from monai.networks.nets import DiffusionModelUNet
from torch import Tensor, nn


class MonaiUNet(nn.Module):
    """MONAI's DiffusionModelUNet of about the same size, taking the noise level as its time step."""

    def __init__(self) -> None:
        super().__init__()
        self.net = DiffusionModelUNet(
            spatial_dims=2, in_channels=3, out_channels=1, channels=(32, 64, 96, 128), num_res_blocks=1,
            attention_levels=(False, False, False, False), norm_num_groups=16,
        )

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        return self.net(x, timesteps=1000 * level)


def milliseconds(networks: dict[str, nn.Module], bf16: bool, repeats: int = 9) -> dict[str, float]:
    """Median time of one forward call on a 256 x 256 slice, the networks taking turns."""
    x = torch.randn(1, 3, 256, 256).contiguous(memory_format=torch.channels_last)
    times: dict[str, list[float]] = {name: [] for name in networks}
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
        for turn in range(repeats + 2):
            for name, network in networks.items():
                start = time.perf_counter()
                network(x, torch.tensor([-0.5]))
                if turn >= 2:
                    times[name].append(1000 * (time.perf_counter() - start))
    return {name: statistics.median(values) for name, values in times.items()}


def untrained(name: str) -> nn.Module:
    """The network of a size, or MONAI's, with the same random weights each time."""
    torch.manual_seed(0)
    network = MonaiUNet() if name == "monai" else sized(name)
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--exclude", required=True, help="folders to validate on, with commas")
    parser.add_argument("--minutes", default="2", help="of training, with commas (2)")
    parser.add_argument("--networks", default="small,monai", help="small, medium, large, monai, with commas")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    held_names = options.exclude.split(",")
    sources, held = load_sources(options.data, held_names)[0], load_sources(options.data, only=held_names)[0]
    networks = {name: untrained(name) for name in options.networks.split(",")}
    bf16 = has_fast_bf16(torch.device("cpu"))
    forward = milliseconds(networks, bf16)
    sampler, rows = PatchSampler(sources), []
    for minutes in map(float, options.minutes.split(",")):
        for name in networks:
            network = untrained(name)
            # The rate falls over the run, so each network gets the number of steps that fits into the time.
            pilot = TrainingSettings(steps=12, warmup_steps=10, bf16=bf16)
            start = time.perf_counter()
            list(train(network, sampler, pilot))
            steps = max(20, int(60 * minutes / ((time.perf_counter() - start) / 12)))
            network = untrained(name)
            settings = TrainingSettings(
                steps=steps, warmup_steps=min(200, steps // 10), average_halflife_steps=max(1, steps // 12), bf16=bf16
            )
            start = time.perf_counter()
            list(train(network, sampler, settings))
            seconds = time.perf_counter() - start
            rows.append({
                "name": name, "peer": name not in SIZES, "case": f"{minutes:g} minutes of training",
                "parameters": sum(p.numel() for p in network.parameters()), "forward_ms": round(forward[name], 1),
                "adjoint_ms": None, "seconds": round(seconds, 1), "steps": steps,
                "psnr_db": denoising_psnr(EDMDenoiser(network), held),
            })
            print(json.dumps(rows[-1]), flush=True)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
