"""Adapt a prior to a few volumes that it nearly fits: train low-rank adapters, and write them with a card."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ..denoiser import EDMDenoiser
from ..priors.adapter_card import AdapterCard, write_adapter_card
from ..priors.card import PriorCard
from ..priors.library import Prior, load_prior, read_adapter_weights, write_weights
from ..priors.lora import LowRank
from ..run.pipeline import choose_device
from .data import PatchSampler, TrainingSlices
from .run import describe_sources, pixel_range, refuse_seen
from .sources import load_sources, told
from .train import TrainingSettings, train
from .validate import denoising_psnr
from .watch import Log, logged


def adapt_prior(
    prior: str, data: Path, exclude: Sequence[str], out: Path, name: str, steps: int, rank: int = 8, seed: int = 0,
    device: str = "auto",
) -> dict[str, Any]:
    """Fit adapters of ``prior`` to the CT volumes below ``data`` except ``exclude``, which validate; returns the card.

    The loss is that of training, arXiv:2206.00364, eq. 108. Writes NAME.checkpoint (continued when it exists),
    NAME.safetensors, NAME.json and NAME.log into ``out``; a base that is not a shipped prior must lie beside them to
    load the adapter. Raises ValueError for a prior that is itself adapted, taught for one method, or that has seen the
    excluded cases.
    """
    base = adaptable_prior(prior, name, device)
    refuse_seen(base.card, exclude)
    sources, skipped = load_sources(data, exclude)
    for line in told(sources, skipped):
        print(line)
    out.mkdir(parents=True, exist_ok=True)
    adapter = LowRank(base.own().network, rank, seed)
    warmup = min(200, max(1, steps // 10))
    settings = TrainingSettings(
        steps=steps, seed=seed, warmup_steps=warmup, bf16=base.bf16, sigma_data=base.card.sigma_data
    )
    logged(train(adapter, PatchSampler(sources), settings, out / f"{name}.checkpoint"), Log(out / f"{name}.log"))
    held = load_sources(data, only=exclude)[0] if exclude else []
    card = export_adapter(adapter, base.card, out, name, settings, sources)
    if held:
        # The error is of the weights as written, on top of the base as loaded.
        fresh = load_prior(prior, bf16=False).own()
        written = EDMDenoiser(read_adapter_weights(out / f"{name}.json", card, fresh.network), fresh.sigma_data)
        names = sorted({Path(s.name).parts[0] for s in held})
        card = replace(card, held_out=names, denoising_psnr_db=denoising_psnr(written, held))
        write_adapter_card(card, out / f"{name}.json")
    return asdict(card)


def adaptable_prior(prior: str, name: str, device: str) -> Prior:
    """The prior from which ``name`` is made; raises ValueError where it cannot be adapted (see :func:`adapt_prior`)."""
    base = load_prior(prior, choose_device(device))
    if "base_sha256" in base.card.training:
        below = base.card.training["base"]
        raise ValueError(f"the prior {base.card.name} is an adapter itself: adapt its base {below}")
    if base.card.sampler:
        method = base.card.sampler["method"]
        raise ValueError(f"the prior {base.card.name} was taught for '{method}' and is no denoiser: adapt its teacher")
    if name == base.card.name:
        raise ValueError(f"an adapter cannot have the name of its base prior {name}: give another name")
    return base


def export_adapter(
    adapter: LowRank, base: PriorCard, out: Path, name: str, settings: TrainingSettings,
    sources: Sequence[TrainingSlices],
) -> AdapterCard:
    """Write weights and card of a trained adapter of the prior ``base``; returns the card."""
    digest = write_weights(adapter, out / f"{name}.safetensors")
    card = AdapterCard(
        name=name, title=f"{base.title}, adapted ({name})", base=base.name, base_sha256=base.sha256,
        rank=adapter.rank, weights=f"{name}.safetensors", sha256=digest, date=datetime.date.today().isoformat(),
        licence="as chosen by whoever adapted it", pixel_mm=pixel_range(sources),
        training={"steps": settings.steps, "learning_rate": settings.learning_rate, "seed": settings.seed},
        data=describe_sources(sources), held_out=[], denoising_psnr_db={},
    )
    write_adapter_card(card, out / f"{name}.json")
    return card
