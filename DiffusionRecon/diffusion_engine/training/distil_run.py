"""From a prior and a folder of volumes to a few-step student on disk: weights and card."""

from __future__ import annotations

import copy
import datetime
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..denoiser import Denoiser
from ..priors.card import SLICE, write_card
from ..priors.library import Prior, load_prior, write_weights
from ..run.pipeline import choose_device
from ..sampling.grids import poly_grid
from ..sampling.noise import seeded
from .checkpoint import plain
from .data import PatchSampler, TrainingSlices
from .distil import DistilSettings, distil, flow
from .few_steps import FewStepSettings, teach
from .sources import load_sources, told
from .units import rule_of
from .validate import decibel, held_slices
from .watch import Log, logged

CHECKED = (0.5, 1.0, 2.0)
"""Noise levels of the check, as multiples of sigma_data."""
NOT_A_DENOISER = "every method but 'consistency': its estimates end the flow and are no mean of clean images"


def distil_prior(
    teacher_name: str, data: Path, exclude: Sequence[str], out: Path, name: str, steps: int, seed: int = 0,
    device: str = "auto", unit: str = "HU", skip: int = 3, files: str = "*", calls: int | None = None,
) -> dict[str, Any]:
    """Distil a prior into a few-step student of its own network, on volumes like its own; returns the student's card.

    Consistency distillation, ``skip`` levels at once; or, with ``calls``, training on the states of reconstructions of
    CT in that many calls (:mod:`few_steps`). ``exclude``: folders that are not trained on, to check the student. Writes
    NAME.checkpoint (continued when it exists), NAME.safetensors, NAME.json and NAME.log into ``out``. After consistency
    distillation the card's training entry holds, at some noise levels, the PSNR against the end of the teacher's
    probability flow, of the student's one step and of the teacher's.
    """
    if calls is not None and unit != "HU":
        raise ValueError(f"a student of a few calls learns on scans of CT, not of images in {unit}: leave out --calls")
    if calls is not None and calls < 2:
        raise ValueError(f"a student of a few calls takes 2 or more, found {calls}: leave out --calls for one call")
    where = choose_device(device)
    prior = load_prior(teacher_name, where, unit)
    card, rule = prior.card, rule_of(unit)
    if card.sees != SLICE:
        raise ValueError(f"a student sees single slices, {card.name} sees {card.sees}: choose another teacher")
    sources, skipped = load_sources(data, exclude, (), unit, files)
    held = load_sources(data, (), exclude, unit, files)[0] if exclude else []
    for line in told(sources, skipped):
        print(line)
    out.mkdir(parents=True, exist_ok=True)
    network = copy.deepcopy(prior.own().network).requires_grad_(True)
    warmup = min(100, max(1, steps // 10))
    checkpoint = out / f"{name}.checkpoint"
    settings: DistilSettings | FewStepSettings
    if calls is None:
        settings = DistilSettings(
            steps=steps, skip=skip, sigma_min=card.sigma[0], sigma_max=card.sigma[1], sigma_data=card.sigma_data,
            patch_sizes=rule.patch_sizes, warmup_steps=warmup, seed=seed,
        )
        sampler = PatchSampler(sources, empty_std=rule.empty_std)
        run, method = distil(prior.own(), network, sampler, settings, checkpoint), "consistency distillation"
    else:
        settings = FewStepSettings(
            steps=steps, calls=calls, sigma_data=card.sigma_data, warmup_steps=warmup, seed=seed, bf16=prior.bf16
        )
        run, method = teach(network, sources, settings, checkpoint), "states of few-step reconstructions"
    logged(run, Log(out / f"{name}.log"))
    digest = write_weights(network, out / f"{name}.safetensors")
    training: dict[str, Any] = {
        **plain(settings), "method": method, "teacher": card.name, "teacher_sha256": card.sha256
    }
    student = replace(
        card, name=name, title=f"{card.title}, few steps", weights=f"{name}.safetensors", sha256=digest,
        date=datetime.date.today().isoformat(), training=training, denoising_psnr_db={}, calibration=[], typicality={},
        detection=[], maps=[],
        start_error=card.start_error if calls else {}, sampler=_sampler(settings),
        data=[{"name": s.name, "slices": str(len(s.values)), "weight": f"{s.weight:.2f}"} for s in sources],
        held_out=sorted({Path(s.name).parts[0] for s in held}), not_for=[*card.not_for, NOT_A_DENOISER],
    )
    path = out / f"{name}.json"
    write_card(student, path)
    if held and isinstance(settings, DistilSettings):
        training["flow_psnr_db"] = check(prior, load_prior(str(path), where, unit), held, settings, seed)
        write_card(student, path)
    return asdict(student)


def _sampler(settings: DistilSettings | FewStepSettings) -> dict[str, Any]:
    """The sampler of a student, for its card: see :class:`PriorCard`."""
    if isinstance(settings, DistilSettings):
        return {"method": "consistency"}
    return {"method": "consistency", "sigma_end": settings.sigma_end, "prior_variance": settings.prior_variance}


def check(
    teacher: Prior, student: Denoiser, held: Sequence[TrainingSlices], settings: DistilSettings, seed: int
) -> dict[str, dict[str, float]]:
    """PSNR (dB, 2 network units) against the end of the teacher's flow, by noise level: "student", "teacher" in a step.

    One slice of each held-out volume; the flow by Heun's rule over the levels of the settings below the noise level.
    """
    device = teacher.device
    result = {}
    for factor in CHECKED:
        sigma = factor * settings.sigma_data
        noise = seeded(seed)
        errors: dict[str, list[Tensor]] = {"student": [], "teacher": []}
        for clean, place in held_slices(held, SLICE, (0.5,)):
            x = (clean + sigma * noise.normal(clean)).to(device)
            end = _end_of_flow(teacher, x, sigma, place, settings)
            for name, denoiser in (("student", student), ("teacher", teacher)):
                errors[name].append((denoiser(x, torch.tensor(sigma), place) - end).square().mean())
        result[f"{sigma:g}"] = {name: decibel(float(torch.stack(e).mean())) for name, e in errors.items()}
    return result


def _end_of_flow(teacher: Denoiser, x: Tensor, sigma: float, place: Tensor, settings: DistilSettings) -> Tensor:
    levels = poly_grid(sigma, settings.sigma_min, settings.levels).float()
    with torch.no_grad():
        return flow(teacher, x, levels[:, None].expand(-1, len(x)).to(x.device), place)
