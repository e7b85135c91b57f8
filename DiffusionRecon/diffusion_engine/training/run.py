"""From a folder of volumes to a prior on disk: train, export weights and card, measure the denoising error."""

from __future__ import annotations

import datetime
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from ..pipeline import choose_device
from ..priors.card import PriorCard, write_card
from ..priors.library import has_fast_bf16, load_prior, write_weights
from ..priors.networks import SIZES, PatchUNet, sized
from ..sampling.noise import seeded
from .averages import Averages, halflives_around
from .curves import draw_curves
from .data import PatchSampler, TrainingSlices
from .forecast import foresee_training
from .memorisation import copies
from .sources import load_sources
from .train import AVERAGE_HALFLIFE, TrainingSettings, averages_of, train
from .units import UNITS, UnitRule, rule_of
from .validate import denoising_psnr
from .watch import Log, Watch, warning

LOG_EVERY = 100
SAVE_EVERY = 200
"""A multiple of LOG_EVERY, so that a line of a continued run is the mean of the same losses."""


def train_prior(
    data: Path, exclude: Sequence[str], out: Path, name: str, steps: int, seed: int = 0, device: str = "auto", *,
    unit: str = "HU", size: str = "small", stack: bool = False, flip: bool = False, files: str = "*",
) -> dict[str, Any]:
    """Train a prior on the volumes below ``data`` except ``exclude``, which validate it; returns its card.

    ``unit``: HU, a.u. or SUV (see :mod:`.units`); ``size``: of the network; ``stack``: three slices at once; ``flip``:
    mirrored slices too; ``files``: pattern of file names. Writes NAME.checkpoint (continued when it exists),
    NAME.safetensors, NAME.json, NAME.log with loss and denoising PSNR (see :class:`Watch`) and their curves in
    NAME.png into ``out``. The length of the weight average is chosen on the excluded volumes.
    """
    rule = rule_of(unit)
    sources, skipped = load_sources(data, exclude, (), unit, files)
    held = load_sources(data, (), exclude, unit, files)[0] if exclude else []
    for left_out in skipped:
        print(f"left out {left_out}")
    if flip and not all(s.left_right for s in sources):
        print("slices whose columns do not run from left to right are not mirrored")
    out.mkdir(parents=True, exist_ok=True)
    where = choose_device(device)
    torch.manual_seed(seed)
    network = sized(size, 6 if stack else 3, 3 if stack else 1).to(where)
    settings = TrainingSettings(
        steps=steps, patch_sizes=rule.patch_sizes, learning_rate=SIZES[size].learning_rate,
        warmup_steps=min(200, max(1, steps // 10)), log_sigma_mean=rule.log_sigma_mean,
        further_halflives=halflives_around(steps, AVERAGE_HALFLIFE), sigma_data=rule.sigma_data,
        seed=seed, bf16=has_fast_bf16(where),
    )
    sampler = PatchSampler(sources, stack, flip, rule.empty_std)
    held_sampler = PatchSampler(held, stack, False, rule.empty_std) if held else None
    watch = Watch(network, settings.sigma_data, sampler, held_sampler)
    averages = averages_of(network, settings)
    log = Log(out / f"{name}.log")
    _train_and_log(network, sampler, settings, out / f"{name}.checkpoint", averages, watch, log)
    draw_curves(log.entries(), out / f"{name}.png")
    choice: dict[str, Any] = {}
    if held:
        best, scores = watch.best(averages.values)
        network.load_state_dict(averages.values[best])
        choice = {"average_halflife_steps": best, "averages_psnr_db": scores}
    card = export_prior(network, out, name, settings, sources, held, rule, {"flip": flip, "files": files, **choice})
    if held and not any("copies" in entry for entry in log.entries()):
        prior = load_prior(str(out / f"{name}.json"), where, unit)
        found = copies(prior, sources, held, rule.sigma, seeded(seed), stack=stack, empty_std=rule.empty_std)
        log.add(step=steps, copies=found)
    return card


def _train_and_log(
    network: PatchUNet, sampler: PatchSampler, settings: TrainingSettings, checkpoint: Path, averages: Averages,
    watch: Watch, log: Log,
) -> None:
    """Train with a line of loss every 100 steps and one look at the held-out patches every 200 or more."""
    look_every = LOG_EVERY * max(2, settings.steps // (50 * LOG_EVERY))
    losses: deque[float] = deque(maxlen=LOG_EVERY)
    if not checkpoint.exists():
        print(foresee_training(network, sampler, settings)["sentence"], flush=True)
    for step in train(network, sampler, settings, checkpoint, SAVE_EVERY, averages):
        if not losses:
            # The first step is known only now: that of the checkpoint, or 1.
            log.keep_before(step.step)
        losses.append(step.loss)
        if step.step % LOG_EVERY == 0:
            entry: dict[str, Any] = {
                "step": step.step, "of": step.total, "loss": round(sum(losses) / len(losses), 5),
            }
            if step.step % look_every == 0 or step.step == step.total:
                entry |= watch.look(averages.values[settings.average_halflife_steps])
                sign = warning(entry)
                entry |= {} if sign is None else {"warning": sign}
            log.add(**entry)


def export_prior(
    network: PatchUNet, out: Path, name: str, settings: TrainingSettings, sources: Sequence[TrainingSlices],
    held: Sequence[TrainingSlices], rule: UnitRule = UNITS["HU"], details: Mapping[str, Any] | None = None,
    **known: Any,
) -> dict[str, Any]:
    """Write weights and card of a trained network, with the denoising error of the weights as written.

    ``details``: further entries of the card's "training"; ``known``: further fields of the card, such as data with
    licences.
    """
    pixels = [float(p) for s in sources for p in s.pixel_mm]
    digest = write_weights(network, out / f"{name}.safetensors")
    fields: dict[str, Any] = {
        "name": name, "title": name, "modality": rule.modality, "unit": rule.unit,
        "anatomy": "as in the training volumes", "offset": 0.0, "scale": rule.scale or 1.0,
        "scale_rule": rule.scale_rule, "sigma_data": settings.sigma_data, "sigma": rule.sigma,
        "pixel_mm": (round(min(pixels), 3), round(max(pixels), 3)),
        "network": {
            "type": "PatchUNet", "inputs": network.inputs, "outputs": network.outputs,
            "channels": list(network.channels), "blocks": network.blocks,
        },
        "weights": f"{name}.safetensors", "sha256": digest, "date": datetime.date.today().isoformat(),
        "licence": "as chosen by whoever trained it",
        "training": {
            "steps": settings.steps, "patch_sizes": list(settings.patch_sizes),
            "pixels_per_step": settings.pixels_per_step, "learning_rate": settings.learning_rate,
            "log_sigma": [settings.log_sigma_mean, settings.log_sigma_std],
            "slices": sum(len(s.values) for s in sources), "seed": settings.seed,
            "average_halflife_steps": settings.average_halflife_steps, **(details or {}),
        },
        "data": [{"name": s.name, "slices": str(len(s.values)), "weight": f"{s.weight:.2f}"} for s in sources],
        "held_out": sorted({Path(s.name).parts[0] for s in held}), "denoising_psnr_db": {},
        "not_for": ["diagnosis", f"images in other units than {rule.unit}"], **known,
    }
    write_card(PriorCard(**fields), out / f"{name}.json")
    if held:
        written = load_prior(str(out / f"{name}.json"), unit=rule.unit)
        fields["denoising_psnr_db"] = denoising_psnr(written.denoiser, held)
        write_card(PriorCard(**fields), out / f"{name}.json")
    return fields
