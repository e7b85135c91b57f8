"""What a training run will need, before it starts: seconds and memory from a measured step on a copy."""

from __future__ import annotations

import copy
import time
from typing import Any

import psutil
import torch
from torch import Tensor, nn

from ..denoiser import EDMDenoiser
from ..jobs.forecast import SHARE
from ..memory import MEGABYTE, free_memory_mb
from .data import PatchSampler
from .train import TrainingSettings, edm_loss, patches_of

PART = 4
"""On a processor a quarter of a step is measured: its time is in proportion to the work."""


def foresee_training(
    network: nn.Module, sampler: PatchSampler, settings: TrainingSettings, free_mb: float | None = None,
    processes: int = 1,
) -> dict[str, Any]:
    """Seconds and memory of a whole run of ``settings``; the network and all random numbers of the run stay untouched.

    memory = process + weights (gradient, momenta, averages, one more copy while a checkpoint is written)
    + what one step keeps for its gradient, the largest of the patch sizes. seconds: mean over the patch sizes.
    ``free_mb``: memory to fit in, by default what is free now on the device; ``processes``: that share the steps, each
    with the weights and the volumes, in no more time than one alone. Returns seconds, memory_mb, sentence.
    Raises ValueError with advice when it cannot fit.
    """
    device = next(network.parameters()).device
    trial = copy.deepcopy(network).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    denoiser = EDMDenoiser(trial, settings.sigma_data)
    generator = torch.Generator().manual_seed(settings.seed)
    seconds, kept = [], []
    for size in settings.patch_sizes:
        whole = patches_of(settings.pixels_per_step, size, sampler.depth)
        elapsed = 0.0
        # The first call of a size pays for plans and caches that the others reuse.
        for count in (1, max(1, whole // PART) if device.type == "cpu" else whole):
            start = time.perf_counter()
            clean, place = (part.to(device) for part in sampler.draw(count, size, generator))
            noise = torch.randn(clean.shape, generator=generator).to(device)
            sigma = torch.full((count,), settings.sigma_data, device=device)
            tensors: dict[int, int] = {}

            def keep(tensor: Tensor, found: dict[int, int] = tensors) -> Tensor:
                found[tensor.data_ptr()] = tensor.numel() * tensor.element_size()
                return tensor

            with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
                loss = edm_loss(denoiser, clean, place, sigma, noise, settings.bf16)
            loss.backward()
            # Fetching the value waits for an accelerator to finish.
            loss.item()
            elapsed = time.perf_counter() - start
        seconds.append(elapsed * whole / count)
        kept.append(sum(tensors.values()) * whole / count)
    weights = sum(p.numel() * p.element_size() for p in network.parameters())
    copies = 6 + len(settings.further_halflives)
    here = psutil.Process().memory_info().rss / MEGABYTE if device.type == "cpu" else 0.0
    needed = (processes * copies * weights + max(kept)) / MEGABYTE + (processes - 1) * here
    if free_mb is None:
        free_mb = torch.cuda.mem_get_info(device)[0] / MEGABYTE if device.type == "cuda" else free_memory_mb()
    if needed > SHARE * free_mb:
        raise ValueError(
            f"training needs about {needed:.0f} MB more memory, {SHARE * free_mb:.0f} MB can be used: choose a smaller "
            "network (--size small) or close other programs"
        )
    total = settings.steps * sum(seconds) / len(seconds)
    text = duration(total)
    return {
        "seconds": round(total, 1), "memory_mb": round(here + needed),
        "sentence": f"about {text} for {settings.steps} steps and {here + needed:.0f} MB of memory",
    }


def duration(seconds: float) -> str:
    """Seconds in words, in the unit that suits them."""
    if seconds < 120:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"
