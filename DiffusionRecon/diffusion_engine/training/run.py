"""From a folder of volumes to a prior on disk: train, export weights and card, measure the denoising error."""

from __future__ import annotations

import datetime
import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch

from ..pipeline import choose_device
from ..priors.card import PriorCard, write_card
from ..priors.denoiser import EDMDenoiser, positions
from ..priors.library import has_fast_bf16, load_prior, write_weights
from ..priors.networks import PatchUNet
from .data import PatchSampler, TrainingSlices
from .sources import load_sources
from .train import TrainingSettings, TrainingStep, train

VALIDATION_SIGMAS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
VALIDATION_DEPTHS = (0.2, 0.5, 0.8)


def train_prior(
    data: Path, exclude: Sequence[str], out: Path, name: str, steps: int, seed: int = 0, device: str = "auto",
    origin: str | None = None,
) -> dict[str, Any]:
    """Train a CT prior on the volumes below ``data`` except ``exclude``, which validate it; returns its card.

    ``origin``: a prior to start from instead of random weights, by name or card; the new one has its network. Writes
    NAME.checkpoint (continued when it exists), NAME.safetensors, NAME.json and a line of loss a 100 steps in
    NAME.log into ``out``.
    """
    sources, skipped = load_sources(data, exclude)
    for left_out in skipped:
        print(f"left out {left_out}")
    out.mkdir(parents=True, exist_ok=True)
    where = choose_device(device)
    torch.manual_seed(seed)
    known: dict[str, Any] = {}
    if origin is None:
        network = PatchUNet().to(where)
    else:
        network, known = _continued(origin, exclude, where)
    warmup = min(200, max(1, steps // 10))
    settings = TrainingSettings(steps=steps, seed=seed, warmup_steps=warmup, bf16=has_fast_bf16(where))
    sigma_data = known.get("sigma_data", 0.5)
    run = train(network, PatchSampler(sources), settings, out / f"{name}.checkpoint", sigma_data=sigma_data)
    logged(run, out / f"{name}.log")
    held = load_sources(data, only=exclude)[0] if exclude else []
    return export_prior(network, out, name, settings, sources, held, **known)


def _continued(origin: str, exclude: Sequence[str], device: torch.device) -> tuple[PatchUNet, dict[str, Any]]:
    """The network of a prior, to be trained, and the fields of the new card that follow from it."""
    base = load_prior(origin, device)
    refuse_seen(base.card, exclude)
    network = base.denoiser.network.requires_grad_(True).train()
    assert isinstance(network, PatchUNet)
    return network, {
        "sigma_data": base.card.sigma_data,
        "origin": {"name": base.card.name, "sha256": base.card.sha256},
        "earlier": [{**entry, "through": base.card.name} for entry in base.card.data],
    }


def refuse_seen(base: PriorCard, exclude: Sequence[str]) -> None:
    """Raise ValueError when a case to validate on is among what a prior to start from was trained on."""
    seen = sorted(set(exclude) & {Path(entry["name"]).parts[0] for entry in base.data})
    if seen:
        raise ValueError(
            f"the prior {base.name} was trained on {seen[0]}, which therefore cannot validate it: exclude another case"
        )


def logged(run: Iterable[TrainingStep], path: Path) -> None:
    """Go through a training run, with a line of its mean loss every 100 steps on stdout and in the file ``path``."""
    losses: list[float] = []
    with path.open("a", encoding="utf-8") as log:
        for step in run:
            losses.append(step.loss)
            if step.step % 100 == 0:
                line = {"step": step.step, "of": step.total, "loss": round(sum(losses) / len(losses), 5)}
                print(json.dumps(line), flush=True)
                log.write(json.dumps(line) + "\n")
                losses.clear()


def pixel_range(sources: Sequence[TrainingSlices]) -> tuple[float, float]:
    """Smallest and largest in-plane pixel size of training slices in mm, for a card."""
    pixels = [float(p) for s in sources for p in s.pixel_mm]
    return round(min(pixels), 3), round(max(pixels), 3)


def describe_sources(sources: Sequence[TrainingSlices]) -> list[dict[str, str]]:
    """What a card says of training slices: name, number and weight of each source."""
    return [{"name": s.name, "slices": str(len(s.values)), "weight": f"{s.weight:.2f}"} for s in sources]


def export_prior(
    network: PatchUNet, out: Path, name: str, settings: TrainingSettings, sources: Sequence[TrainingSlices],
    held: Sequence[TrainingSlices], origin: dict[str, str] | None = None, earlier: Sequence[dict[str, str]] = (),
    **known: Any,
) -> dict[str, Any]:
    """Write weights and card of a trained network, with the denoising error of the weights as written.

    ``origin``: name and hash of the prior that it was started from, and the ``earlier`` data it knows through it;
    ``known``: further fields of the card, such as data with licences.
    """
    digest = write_weights(network, out / f"{name}.safetensors")
    fields: dict[str, Any] = {
        "name": name, "title": name, "modality": "ct", "anatomy": "as in the training volumes", "unit": "HU",
        "offset": 0.0, "scale": 1000.0, "sigma_data": 0.5, "sigma": (0.005, 5.0),
        "pixel_mm": pixel_range(sources),
        "network": {
            "type": "PatchUNet", "inputs": 3, "outputs": 1, "channels": list(network.channels),
            "blocks": network.blocks,
        },
        "weights": f"{name}.safetensors", "sha256": digest, "date": datetime.date.today().isoformat(),
        "licence": "as chosen by whoever trained it",
        "training": {
            "steps": settings.steps, "patch_sizes": list(settings.patch_sizes),
            "pixels_per_step": settings.pixels_per_step, "learning_rate": settings.learning_rate,
            "log_sigma": [settings.log_sigma_mean, settings.log_sigma_std],
            "slices": sum(len(s.values) for s in sources), "seed": settings.seed,
            **({} if origin is None else {"from": origin}),
        },
        "data": [*describe_sources(sources), *earlier],
        "held_out": sorted({Path(s.name).parts[0] for s in held}), "denoising_psnr_db": {},
        "not_for": ["diagnosis", "images in other units than HU"], **known,
    }
    write_card(PriorCard(**fields), out / f"{name}.json")
    if held:
        fields["denoising_psnr_db"] = denoising_psnr(load_prior(str(out / f"{name}.json")).denoiser, held)
        write_card(PriorCard(**fields), out / f"{name}.json")
    return fields


def denoising_psnr(denoiser: EDMDenoiser, held: Sequence[TrainingSlices]) -> dict[str, float]:
    """PSNR in dB over a range of 2 network units of D(x + s n; s), by noise level, over held-out slices."""
    generator = torch.Generator().manual_seed(1)
    result = {}
    for sigma in VALIDATION_SIGMAS:
        errors = []
        for source in held:
            for depth in VALIDATION_DEPTHS:
                k = int(depth * len(source.values))
                clean = torch.from_numpy(source.values[k].astype("float32"))[None, None]
                pixel = float(source.pixel_mm[k])
                noisy = clean + sigma * torch.randn(clean.shape, generator=generator)
                with torch.no_grad():
                    place = positions(clean.shape[-2], clean.shape[-1], (pixel, pixel))
                    estimate = denoiser(noisy, torch.tensor([sigma]), place)
                errors.append(float((estimate - clean).square().mean()))
        result[f"{sigma:g}"] = round(10 * math.log10(4 / (sum(errors) / len(errors))), 2)
    return result
