"""From a folder of volumes to a prior on disk: train, export weights and card, measure the denoising error."""

from __future__ import annotations

import datetime
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..priors.card import FURTHER_PLANES, SLICE, VOLUME, PriorCard, write_card
from ..priors.grow import seeing, widened
from ..priors.library import load_prior, suits_bf16, write_weights
from ..priors.networks import PatchUNet, sized
from ..run.pipeline import choose_device
from ..sampling.noise import seeded
from .averages import halflives_around
from .curves import draw_curves
from .data import DEPTH, PatchSampler, TrainingSlices
from .forecast import foresee_training
from .memorisation import copies
from .sources import load_sources, names_of, reweighed, told
from .team import Team, check_team, gathered
from .train import AVERAGE_HALFLIFE, TrainingSettings, TrainingStep, averages_of, patches_of, train
from .units import LINE_INTEGRAL, UNITS, UnitRule, rule_of
from .validate import denoising_psnr
from .watch import LOG_EVERY, Log, Watch, logged

FRESH_RATE, CONTINUED_RATE = 0.02, 0.005
"""Peak learning rates from random weights and from those of a prior, which the higher one would throw away."""
COMPILERS = ("c++", "g++", "clang++", "cl")
SAVE_EVERY = 2 * LOG_EVERY
"""A multiple of LOG_EVERY, so that a line of a continued run is the mean of the same losses."""


def train_prior(
    data: Path, exclude: Sequence[str], out: Path, name: str, steps: int, seed: int = 0, device: str = "auto",
    origin: str | None = None, *, unit: str = "HU", size: str | None = None, sees: str = SLICE, flip: bool = False,
    files: str = "*", weigh: Mapping[str, float] | None = None, rate: float | None = None,
    patches: Sequence[int] = (), pixels: int | None = None, log_sigma: Sequence[float] = (), compiled: bool = False,
    augment: bool = False, processes: int = 1, each: Callable[[TrainingStep], None] | None = None,
) -> dict[str, Any]:
    """Train a prior on the volumes below ``data`` except ``exclude``, which validate it; returns its card.

    ``origin``: a prior to start from instead of random weights, by name or card, of any unit; the new one has its
    network, or a wider one or one that sees more grown from it. ``unit``: HU, a.u., SUV, or line integral for
    sinograms of CT (see :mod:`.units`); ``size``: of the network, None as the origin's, or small; ``sees``: what the
    network sees at once, a "slice", a slice with its "neighbours", or a "volume" (patches of 8 slices); ``flip``:
    mirrored slices too; ``files``: pattern of file names; ``weigh``: pattern of source names -> factor on how often
    they are drawn; ``rate``: peak learning rate; ``patches``: their edges in pixels (a slice is whole in larger ones),
    by default as suits the unit; ``pixels``: of all patches of a step together; ``log_sigma``: mean and standard
    deviation of ln sigma, sigma the noise levels trained at, by default as suits the unit; ``compiled``, ``augment``:
    see :class:`TrainingSettings`; ``processes``: that share every step on a processor (see :mod:`.team`).

    Writes NAME.checkpoint (continued when it exists), NAME.safetensors, NAME.json, NAME.log with loss and denoising
    PSNR (see :class:`Watch`) and their curves in NAME.png into ``out``. The length of the weight average is chosen on
    the excluded volumes. ``each`` is called after every step; whatever it raises ends the run, which the last
    checkpoint continues.
    """
    asked = (
        data, exclude, steps, seed, device, origin, unit, size, sees, files, weigh, rate, patches, pixels, log_sigma,
        compiled, augment,
    )
    plan = _planned(*asked)
    rule, network, settings, sources, held = plan.rule, plan.network, plan.settings, plan.sources, plan.held
    for line in told(sources, plan.skipped):
        print(line)
    if flip and not all(s.left_right for s in sources):
        print("slices whose columns do not run from left to right are not mirrored")
    sampler = PatchSampler(sources, plan.sees, flip, rule.empty_std)
    _check_processes(processes, plan, sampler)
    out.mkdir(parents=True, exist_ok=True)
    for source in sources:
        if not any(source is kept for kept in sampler.sources):
            print(f"left out {source.name}: not {DEPTH} neighbouring slices")
    sources = sampler.sources
    held_sampler = PatchSampler(held, plan.sees, False, rule.empty_std) if held else None
    watch = Watch(network, settings.sigma_data, sampler, held_sampler)
    averages = averages_of(network, settings)
    log = Log(out / f"{name}.log")
    checkpoint = out / f"{name}.checkpoint"
    if not checkpoint.exists():
        print(foresee_training(network, sampler, settings, processes=processes)["sentence"], flush=True)
    with gathered(processes, _assist, (checkpoint, flip, asked)) as team:
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
    shared = {"processes": processes} if processes > 1 else {}
    details = {"flip": flip, "augment": augment, "files": files, **shared, **choice}
    card = export_prior(network, out, name, settings, sources, held, rule, details, **plan.known)
    if held and not any("copies" in entry for entry in log.entries()):
        prior = load_prior(str(out / f"{name}.json"), choose_device(device), unit)
        found = copies(prior, sources, held, rule.sigma, seeded(seed), empty_std=rule.empty_std)
        log.add(step=steps, copies=found)
    return card


def foresee_prior(
    data: Path, exclude: Sequence[str], steps: int, seed: int = 0, device: str = "auto", origin: str | None = None, *,
    unit: str = "HU", size: str | None = None, sees: str = SLICE, flip: bool = False, files: str = "*",
    patches: Sequence[int] = (), pixels: int | None = None, log_sigma: Sequence[float] = (), processes: int = 1,
) -> dict[str, Any]:
    """What :func:`train_prior` would take with these arguments: see :func:`foresee_training`. Writes nothing."""
    plan = _planned(
        data, exclude, steps, seed, device, origin, unit, size, sees, files, patches=patches, pixels=pixels,
        log_sigma=log_sigma,
    )
    sampler = PatchSampler(plan.sources, plan.sees, flip, plan.rule.empty_std)
    _check_processes(processes, plan, sampler)
    return foresee_training(plan.network, sampler, plan.settings, processes=processes)


def _assist(team: Team, checkpoint: Path, flip: bool, asked: tuple[Any, ...]) -> None:
    """Train with the first process of a team, which keeps the results."""
    plan = _planned(*asked)
    sampler = PatchSampler(plan.sources, plan.sees, flip, plan.rule.empty_std)
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


def _check_processes(processes: int, plan: _Plan, sampler: PatchSampler) -> None:
    counts = [patches_of(plan.settings.pixels_per_step, edge, sampler.depth) for edge in plan.settings.patch_sizes]
    check_team(processes, next(plan.network.parameters()).device, counts)


def _planned(
    data: Path, exclude: Sequence[str], steps: int, seed: int, device: str, origin: str | None, unit: str,
    size: str | None, sees: str, files: str, weigh: Mapping[str, float] | None = None, rate: float | None = None,
    patches: Sequence[int] = (), pixels: int | None = None, log_sigma: Sequence[float] = (), compiled: bool = False,
    augment: bool = False,
) -> _Plan:
    if steps < 1:
        raise ValueError(f"expected 1 training step or more, found {steps}: choose more")
    if any(edge < 16 for edge in patches):
        raise ValueError(f"expected patches of 16 pixels or more, found {list(patches)}: choose larger ones")
    if pixels is not None and pixels < 256:
        raise ValueError(f"expected 256 pixels or more in a step, found {pixels}: choose more")
    if log_sigma and (len(log_sigma) != 2 or not log_sigma[1] > 0):
        raise ValueError(
            f"expected mean and positive standard deviation of the logarithm of the noise, found {list(log_sigma)}: "
            "give two numbers such as -2.8,1.1"
        )
    if compiled and not any(map(shutil.which, COMPILERS)):
        raise ValueError(f"compiling needs a C++ compiler, found none of {COMPILERS}: install one, or do not compile")
    rule = rule_of(unit)
    if sees not in FURTHER_PLANES:
        raise ValueError(f"a network cannot see a '{sees}': choose from {', '.join(FURTHER_PLANES)}")
    if augment and rule.unit == LINE_INTEGRAL:
        raise ValueError("variants of sinograms are no sinograms of variants: train on them without augmentation")
    sources, skipped = load_sources(data, exclude, (), unit, files)
    sources = reweighed(sources, weigh or {})
    held = load_sources(data, (), exclude, unit, files)[0] if exclude else []
    where = choose_device(device)
    torch.manual_seed(seed)
    known: dict[str, Any] = {}
    if origin is None:
        network = sized(size or "small", sees).to(where)
    else:
        network, known = _continued(origin, exclude, where, size, sees)
        sees = network.sees
    mean, std = log_sigma or (rule.log_sigma_mean, rule.log_sigma_std)
    settings = TrainingSettings(
        steps=steps, patch_sizes=tuple(patches) or rule.patch_sizes,
        learning_rate=rate or (FRESH_RATE if origin is None else CONTINUED_RATE),
        warmup_steps=min(200, max(1, steps // 10)), log_sigma_mean=mean, log_sigma_std=std,
        further_halflives=halflives_around(steps, AVERAGE_HALFLIFE),
        sigma_data=rule.sigma_data, seed=seed, bf16=suits_bf16(where, rule.sigma[0], rule.sigma_data),
        compiled=compiled, augment=augment, **({} if pixels is None else {"pixels_per_step": pixels}),
    )
    return _Plan(rule, sources, held, skipped, network, sees, settings, known)


def _continued(
    origin: str, exclude: Sequence[str], device: torch.device, size: str | None, sees: str
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
    origin: dict[str, str] | None = None, earlier: Sequence[dict[str, str]] = (), **known: Any,
) -> dict[str, Any]:
    """Write weights and card of a trained network, with the denoising error of the weights as written.

    ``details``: further entries of the card's "training"; ``origin``: name and hash of the prior that it was started
    from, and the ``earlier`` data it knows through it; ``known``: further fields of the card, such as data with
    licences.
    """
    digest = write_weights(network, out / f"{name}.safetensors")
    fields: dict[str, Any] = {
        "name": name, "title": name, "modality": rule.modality, "unit": rule.unit,
        "anatomy": "as in the training volumes", "offset": 0.0, "scale": rule.scale or 1.0,
        "scale_rule": rule.scale_rule, "sigma_data": settings.sigma_data, "sigma": rule.sigma,
        "pixel_mm": pixel_range(sources),
        "network": {
            "type": "PatchUNet", "inputs": network.inputs, "outputs": network.outputs,
            "channels": list(network.channels), "blocks": network.blocks, "volumes": network.sees == VOLUME,
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
    write_card(PriorCard(**fields), out / f"{name}.json")
    if held:
        written = load_prior(str(out / f"{name}.json"), unit=rule.unit)
        fields["denoising_psnr_db"] = denoising_psnr(written.denoiser, held)
        if written.card.sees != SLICE:
            fields["training"]["alone_psnr_db"] = denoising_psnr(written.denoiser, held, alone=True)
        write_card(PriorCard(**fields), out / f"{name}.json")
    return fields
