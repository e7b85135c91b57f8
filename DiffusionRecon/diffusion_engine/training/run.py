"""From a folder of volumes to a prior on disk: train, export weights and card, measure the denoising error."""

from __future__ import annotations

import datetime
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..priors.card import SLICE, VOLUME, PriorCard, write_card
from ..priors.conditions import SEGMENT, Condition, condition_from_card
from ..priors.grow import seeing, segmenting, widened
from ..priors.grow import told as grown_told
from ..priors.library import load_prior, suits_bf16, write_weights
from ..priors.networks import PatchUNet, sized
from ..run.pipeline import choose_device
from ..sampling.noise import seeded
from .averages import halflives_around
from .curves import draw_curves
from .data import DEPTH, PatchSampler, TrainingSlices
from .forecast import foresee_training
from .given import with_given
from .memorisation import copies
from .settings import PriorTraining
from .sources import load_sources, names_of, reweighed, told
from .team import Team, check_team, gathered
from .train import AVERAGE_HALFLIFE, TrainingSettings, TrainingStep, averages_of, patches_of, train
from .units import LABEL, UNITS, UnitRule, rule_of
from .validate import denoising_psnr
from .watch import LOG_EVERY, Log, Watch, logged

FRESH_RATE, CONTINUED_RATE = 0.02, 0.005
"""Peak learning rates from random weights and from those of a prior, which the higher one would throw away."""
COMPILERS = ("c++", "g++", "clang++", "cl")
SAVE_EVERY = 2 * LOG_EVERY
"""A multiple of LOG_EVERY, so that a line of a continued run is the mean of the same losses."""


def train_prior(
    asked: PriorTraining, out: Path, name: str, each: Callable[[TrainingStep], None] | None = None
) -> dict[str, Any]:
    """Train a prior as ``asked`` and write it into ``out``; returns its card.

    Writes NAME.checkpoint (continued when it exists), NAME.safetensors, NAME.json, NAME.log with loss and denoising
    PSNR (see :class:`Watch`) and their curves in NAME.png. The length of the weight average is chosen on the excluded
    volumes. ``each`` is called after every step; whatever it raises ends the run, which the last checkpoint continues.
    Raises ValueError for volumes, an origin or a number of processes that do not fit.
    """
    plan = _planned(asked)
    rule, network, settings, sources, held = plan.rule, plan.network, plan.settings, plan.sources, plan.held
    for line in told(sources, plan.skipped):
        print(line)
    if asked.flip and not all(s.left_right for s in sources):
        print("slices whose columns do not run from left to right are not mirrored")
    sampler = plan.sampler(sources, asked.flip)
    _check_processes(asked.processes, plan, sampler)
    out.mkdir(parents=True, exist_ok=True)
    for source in sources:
        if not any(source is kept for kept in sampler.sources):
            print(f"left out {source.name}: not {DEPTH} neighbouring slices")
    sources = sampler.sources
    held_sampler = plan.sampler(held, False) if held else None
    watch = Watch(network, settings.sigma_data, sampler, held_sampler)
    averages = averages_of(network, settings)
    log = Log(out / f"{name}.log")
    checkpoint = out / f"{name}.checkpoint"
    if not checkpoint.exists():
        print(foresee_training(network, sampler, settings, processes=asked.processes)["sentence"], flush=True)
    with gathered(asked.processes, _assist, (checkpoint, asked)) as team:
        run = train(network, sampler, settings, checkpoint, SAVE_EVERY, averages, team)
        logged(
            run if each is None else _told(run, each), log,
            lambda: watch.look(averages.values[settings.average_halflife_steps]),
        )
    draw_curves(log.entries(), out / f"{name}.png")
    choice: dict[str, Any] = {}
    if held:
        best, scores = watch.best(averages.values)
        network.load_state_dict(averages.values[best])
        choice = {"average_halflife_steps": best, "averages_psnr_db": scores}
    shared = {"processes": asked.processes} if asked.processes > 1 else {}
    details = {"flip": asked.flip, "augment": asked.augment, "files": asked.files, **shared, **choice}
    card = export_prior(
        network, out, name, settings, sources, held, rule, details, condition=asked.told, **plan.known
    )
    comparable = asked.told is None or asked.told.outputs == 1
    if held and comparable and not any("copies" in entry for entry in log.entries()):
        prior = load_prior(str(out / f"{name}.json"), choose_device(asked.device), asked.unit)
        found = copies(prior, sources, held, rule.sigma, seeded(asked.seed), empty_std=rule.empty_std)
        log.add(step=asked.steps, copies=found)
    return card


def foresee_prior(asked: PriorTraining) -> dict[str, Any]:
    """What :func:`train_prior` would take: see :func:`foresee_training`. Writes nothing."""
    plan = _planned(asked)
    sampler = plan.sampler(plan.sources, asked.flip)
    _check_processes(asked.processes, plan, sampler)
    return foresee_training(plan.network, sampler, plan.settings, processes=asked.processes)


def _assist(team: Team, checkpoint: Path, asked: PriorTraining) -> None:
    """Train with the first process of a team, which keeps the results."""
    plan = _planned(asked)
    sampler = plan.sampler(plan.sources, asked.flip)
    for _ in train(plan.network, sampler, plan.settings, checkpoint, team=team):
        pass


def _told(run: Iterable[TrainingStep], each: Callable[[TrainingStep], None]) -> Iterator[TrainingStep]:
    """The steps of a run, each told of once its line is in the log."""
    for step in run:
        yield step
        each(step)


@dataclass(frozen=True, eq=False)
class _Plan:
    """A run before its first step."""

    rule: UnitRule
    sources: list[TrainingSlices]
    held: list[TrainingSlices]
    skipped: list[str]
    network: PatchUNet
    sees: str
    settings: TrainingSettings
    known: dict[str, Any]
    condition: Condition | None

    def sampler(self, sources: Sequence[TrainingSlices], flip: bool) -> PatchSampler:
        """Patches of these sources, of what the network sees and is told."""
        return PatchSampler(list(sources), self.sees, flip, self.rule.empty_std, self.condition)


def _check_processes(processes: int, plan: _Plan, sampler: PatchSampler) -> None:
    counts = [patches_of(plan.settings.pixels_per_step, edge, sampler.depth) for edge in plan.settings.patch_sizes]
    check_team(processes, next(plan.network.parameters()).device, counts)


def _planned(asked: PriorTraining) -> _Plan:
    if asked.compiled and not any(map(shutil.which, COMPILERS)):
        raise ValueError(f"compiling needs a C++ compiler, found none of {COMPILERS}: install one, or do not compile")
    rule, steps, exclude = rule_of(asked.unit), asked.steps, asked.exclude
    sources, skipped = load_sources(asked.data, exclude, (), asked.unit, asked.files)
    sources = reweighed(sources, asked.weigh)
    held = load_sources(asked.data, (), exclude, asked.unit, asked.files)[0] if exclude else []
    if asked.told is not None and asked.given is not None:
        sources, lacking = with_given(sources, asked.given, asked.told, rule)
        held, lacking_held = with_given(held, asked.given, asked.told, rule) if held else (held, [])
        skipped = [*skipped, *lacking, *lacking_held]
    where = choose_device(asked.device)
    torch.manual_seed(asked.seed)
    known: dict[str, Any] = {}
    sees = asked.sees
    if asked.origin is None:
        network = _with_room(sized(asked.size or "small", sees).to(where), asked.told)
    else:
        network, known = _continued(asked.origin, exclude, where, asked.size, sees, asked.told)
        sees = network.sees
    mean, std = asked.log_sigma or (rule.log_sigma_mean, rule.log_sigma_std)
    settings = TrainingSettings(
        steps=steps, patch_sizes=asked.patches or rule.patch_sizes,
        learning_rate=asked.rate or (FRESH_RATE if asked.origin is None else CONTINUED_RATE),
        warmup_steps=min(200, max(1, steps // 10)), log_sigma_mean=mean, log_sigma_std=std,
        further_halflives=halflives_around(steps, AVERAGE_HALFLIFE),
        sigma_data=rule.sigma_data, seed=asked.seed, bf16=suits_bf16(where, rule.sigma[0], rule.sigma_data),
        compiled=asked.compiled, augment=asked.augment,
        **({} if asked.pixels is None else {"pixels_per_step": asked.pixels}),
    )
    return _Plan(rule, sources, held, skipped, network, sees, settings, known, asked.told)


def _with_room(network: PatchUNet, condition: Condition | None) -> PatchUNet:
    """The network with room for what it is told."""
    if condition is None:
        return network
    if condition.kind == SEGMENT:
        return segmenting(network, condition.outputs)
    return grown_told(network, condition.channels)


def _continued(
    origin: str, exclude: Sequence[str], device: torch.device, size: str | None, sees: str,
    condition: Condition | None = None,
) -> tuple[PatchUNet, dict[str, Any]]:
    """The network of a prior of any unit, to be trained, and what the new card must say of it."""
    base = load_prior(origin, device, None)
    refuse_seen(base.card, exclude)
    network = base.own().network.requires_grad_(True).train()
    assert isinstance(network, PatchUNet)
    if size is not None and sized(size).channels != network.channels:
        network = widened(network, sized(size).channels)
    if sees not in (SLICE, network.sees):
        network = seeing(network, sees)
    earlier = condition_from_card(base.card.condition)
    if earlier is None:
        network = _with_room(network, condition)
    elif condition is None or (earlier.kind, earlier.classes) != (condition.kind, condition.classes):
        asked = "nothing" if condition is None else f"a {condition.kind} with the classes {list(condition.classes)}"
        raise ValueError(
            f"the prior {base.card.name} is told a {earlier.kind} with the classes {list(earlier.classes)}, found "
            f"{asked}: give the same, or start from another prior"
        )
    return network, {
        "origin": {"name": base.card.name, "sha256": base.card.sha256},
        "earlier": [{**entry, "through": base.card.name} for entry in base.card.data],
    }


def refuse_seen(base: PriorCard, exclude: Sequence[str]) -> None:
    """Raise ValueError when a case to validate on is among what a prior to start from was trained on."""
    seen = sorted(set(exclude) & {name for entry in base.data for name in names_of(Path(Path(entry["name"]).parts[0]))})
    if seen:
        raise ValueError(
            f"the prior {base.name} was trained on {seen[0]}, which therefore cannot validate it: exclude another case"
        )


def pixel_range(sources: Sequence[TrainingSlices]) -> tuple[float, float]:
    """Smallest and largest in-plane pixel size of training slices in mm, for a card."""
    pixels = [float(p) for s in sources for p in s.pixel_mm]
    return round(min(pixels), 3), round(max(pixels), 3)


def describe_sources(sources: Sequence[TrainingSlices]) -> list[dict[str, str]]:
    """What a card says of training slices: name, number and weight of each source, and what was made of it."""
    entries = [{"name": s.name, "slices": str(len(s.values)), "weight": f"{s.weight:.2f}"} for s in sources]
    return [{**e, "made": s.made} if s.made else e for e, s in zip(entries, sources, strict=True)]


def export_prior(
    network: PatchUNet, out: Path, name: str, settings: TrainingSettings, sources: Sequence[TrainingSlices],
    held: Sequence[TrainingSlices], rule: UnitRule = UNITS["HU"], details: Mapping[str, Any] | None = None,
    origin: dict[str, str] | None = None, earlier: Sequence[dict[str, str]] = (), condition: Condition | None = None,
    **known: Any,
) -> dict[str, Any]:
    """Write weights and card of a trained network, with the denoising error of the weights as written.

    ``details``: further entries of the card's "training"; ``origin``: name and hash of the prior that it was started
    from, and the ``earlier`` data it knows through it; ``condition``: what it is told. ``known``: further fields of the
    card, such as data with licences. Raises ValueError where the network takes another condition.
    """
    if network.conditions != (0 if condition is None else condition.channels):
        raise ValueError(f"the network is told {network.conditions} channels: say of which condition, for its card")
    digest = write_weights(network, out / f"{name}.safetensors")
    fields: dict[str, Any] = {
        "name": name, "title": name, "modality": rule.modality, "unit": rule.unit,
        "anatomy": "as in the training volumes", "offset": 0.0, "scale": rule.scale or 1.0,
        "scale_rule": rule.scale_rule, "sigma_data": settings.sigma_data, "sigma": rule.sigma,
        "pixel_mm": pixel_range(sources),
        "network": {
            "type": "PatchUNet", "inputs": network.inputs, "outputs": network.outputs,
            "channels": list(network.channels), "blocks": network.blocks, "volumes": network.sees == VOLUME,
            **({} if condition is None else {"conditions": condition.channels}),
        },
        "weights": f"{name}.safetensors", "sha256": digest, "date": datetime.date.today().isoformat(),
        "licence": "as chosen by whoever trained it",
        "training": {
            "steps": settings.steps, "patch_sizes": list(settings.patch_sizes),
            "pixels_per_step": settings.pixels_per_step, "learning_rate": settings.learning_rate,
            "log_sigma": [settings.log_sigma_mean, settings.log_sigma_std],
            "slices": sum(len(s.values) for s in sources), "seed": settings.seed,
            "average_halflife_steps": settings.average_halflife_steps, **(details or {}),
            **({} if origin is None else {"from": origin}),
        },
        "data": [*describe_sources(sources), *earlier],
        "held_out": sorted({Path(s.name).parts[0] for s in held}), "denoising_psnr_db": {},
        "not_for": ["diagnosis", f"images in other units than {rule.unit}"], **known,
    }
    if condition is not None:
        fields["condition"] = condition.to_card()
        if condition.kind == SEGMENT:
            # The image that it is told has the unit of the volumes; what it makes are bits.
            fields |= {"unit": LABEL, "not_for": ["diagnosis", f"segmenting images in other units than {rule.unit}"]}
            fields["scale_rule"] = f"bits of a segmentation; the image: {rule.scale_rule}"
    write_card(PriorCard(**fields), out / f"{name}.json")
    if held:
        written = load_prior(str(out / f"{name}.json"), unit=fields["unit"])
        fields["denoising_psnr_db"] = denoising_psnr(written.denoiser, held, condition=condition)
        if written.card.sees != SLICE or (condition is not None and condition.kind != SEGMENT):
            fields["training"]["alone_psnr_db"] = denoising_psnr(written.denoiser, held, alone=True)
        write_card(PriorCard(**fields), out / f"{name}.json")
    return fields
