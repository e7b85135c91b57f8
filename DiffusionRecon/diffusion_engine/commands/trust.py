"""Evaluate methods and priors, calibrate a prior."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..modalities.table import FIRST, MODALITIES, modality_named
from .options import (
    Parsers,
    add_command,
    add_coupling,
    add_methods,
    add_option,
    count,
    given_settings,
    listed,
    named_values,
)

if TYPE_CHECKING:
    from ..evaluation.evaluate import Item
    from ..modalities.contract import Modality
    from ..run.settings import Settings

DRAWS = 8
"""Of a comparison that names no draws, unless presets bring theirs."""
PARTS = "what to fit: factors and typicality (both), one of them, or the nulls of the maps that warn (both)"


def add(parsers: Parsers) -> None:
    """Register the commands of this file."""
    sub = add_command(
        parsers, "evaluate", evaluate_command, "Compare methods on the volumes of a folder, without inverse crime."
    )
    sub.add_argument("--modality", choices=list(MODALITIES), default=FIRST)
    sub.add_argument("--data", type=Path, help="folder of volumes (may be left out with --out)")
    sub.add_argument("--out", type=Path, help="assess the prior itself too, into this folder: denoising, draws, copies")
    sub.add_argument("--train-data", type=Path, help="with --out: the prior's training volumes, to look for copies")
    sub.add_argument("--files", default="*", help="with --out: pattern of the file names to denoise, such as 'pet*'")
    sub.add_argument("--samples", type=int, default=4, help="with --out: draws of the prior alone (4)")
    sub.add_argument("--unit", help="of the prior, as in training (the modality's); another one needs --out")
    sub.add_argument("--views", default="60,20,8", help="of CT: numbers of views (60,20,8)")
    sub.add_argument("--acceleration", default="4,8", help="of MRI: accelerations (4,8)")
    sub.add_argument(
        "--counts", default="1,0.25,0.1,0.025", help="of PET: million true counts a slice (1,0.25,0.1,0.025)"
    )
    sub.add_argument(
        "--methods", help="out of the modality's classical images, those tuned on the reference, and the solvers (all "
        "but the solvers, and dds; none where presets are given)",
    )
    sub.add_argument("--presets", default="", help="presets with commas, each by its own settings; rows have its name")
    sub.add_argument("--geometries", default="parallel", help="of CT: parallel, fan_flat, fan_curved (parallel)")
    sub.add_argument(
        "--noise", action="append", metavar="NAME=VALUE[,NAME=VALUE]",
        help="noise, or other settings of the scan, such as noise_percent=1 or i0=1e5: once for every kind to measure",
    )
    sub.add_argument("--realisations", type=count, default=1, help="of the noise, each with a seed of its own (1)")
    sub.add_argument("--no-lesions", action="store_true", help="leave out the second run, with known lesions")
    add_methods(sub, draws=DRAWS)
    sub.set_defaults(draws=None)
    add_coupling(sub)

    sub = add_command(
        parsers, "calibrate", calibrate_command, "Fit a prior's calibration and gate; writes them into its card."
    )
    sub.add_argument("--modality", choices=list(MODALITIES), default=FIRST)
    sub.add_argument("--prior", help="name or path of a card (ct-body)")
    sub.add_argument("--data", type=Path, required=True, help="folder of the card's held-out and training volumes")
    sub.add_argument("--part", choices=["both", "factors", "typicality", "maps"], default="both", help=PARTS)
    sub.add_argument("--cases", default="*", help="typicality: patterns of the training cases to take, with commas")
    sub.add_argument("--slices", type=count, dest="slice_count", default=3, help="slices a held-out volume (3)")
    sub.add_argument("--solver", help="method to calibrate (dds)")
    add_option(sub)
    sub.add_argument("--draws", type=int, default=4, help="draws a slice (4)")
    sub.add_argument("--steps", type=int, help="steps of the method (its own number)")
    add_coupling(sub)
    sub.add_argument("--device", help="auto, cpu, cuda")


def evaluate_command(options: argparse.Namespace) -> Any:
    """Print and return the evaluation rows; with --out, the assessment of the prior, and in it these rows if any."""
    entry = MODALITIES[options.modality]
    options.unit = options.unit or entry.unit
    if options.out is None:
        if options.data is None:
            raise ValueError("nothing to evaluate on: give --data FOLDER, or --out FOLDER to assess the prior alone")
        if options.unit != entry.unit:
            raise ValueError(
                f"the comparison of methods is for {entry.title}: give --out FOLDER to assess the prior alone"
            )
        return _sparse_rows(options)
    from ..priors.library import load_prior
    from ..run.pipeline import choose_device
    from ..training.assess import assess, lines

    prior = load_prior(options.prior or entry.default_prior, choose_device(options.device or "auto"), options.unit)
    result = assess(
        prior, options.out, options.data, options.train_data, options.samples, options.seed or 0, options.files
    )
    print("\n".join(lines(result)), flush=True)
    wanted = options.unit == entry.unit and options.data is not None and bool(listed(options.views, int))
    return {**result, "rows": _sparse_rows(options) if wanted else []}


def _sparse_rows(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Compare methods and presets on simulated scans."""
    from ..evaluation.evaluate import evaluate, summary

    modality, presets = modality_named(options.modality), listed(options.presets, str)
    usual = [*(image.name for image in modality.classical), *modality.oracles, "dds"]
    methods = listed(options.methods, str) if options.methods else [] if presets else usual
    scans = _scans(options, modality)
    options.methods = options.views = options.acceleration = options.counts = None
    given = given_settings(options)
    rows = []
    for names, settings, called in _compared(given, methods, presets):
        items = _items(options.data, modality, settings.coupling != "none")
        for row in evaluate(items, scans, names, settings, not options.no_lesions, called, options.realisations):
            rows.append(row)
            print(
                f"{modality.in_words(row)} {row['item']} {row['case']:>3} {row['method']:<9} "
                f"{row['psnr']:.2f} dB  nrmse {row['nrmse']:.3f}  ssim {row['ssim']:.3f}  "
                f"residual {row['residual_ratio']:.2f}  {row['seconds']:.1f} s",
                flush=True,
            )
    print("\n".join(summary(rows, modality)))
    return rows


def _scans(options: argparse.Namespace, modality: Modality) -> list[Mapping[str, Any]]:
    """The scans to compare on, as settings by name: those of the options that the modality has, in every noise."""
    from ..run.settings import scan_names

    own = scan_names(modality)
    scans: list[Mapping[str, Any]] = list(modality.cases.calibrated)
    if {"geometry", "views"} <= own:
        beams, views = listed(options.geometries, str), listed(options.views, int)
        scans = [{"geometry": beam, "views": count} for beam in beams for count in views]
    elif "acceleration" in own:
        scans = [{"acceleration": factor} for factor in listed(options.acceleration, float)]
    elif "counts" in own:
        scans = [{"counts": count} for count in listed(options.counts, float)]
    noises = [named_values(kind.split(",")) for kind in options.noise or [""] if kind] or [{}]
    return [{**scan, **noise} for scan in scans for noise in noises]


def _compared(
    given: Mapping[str, Any], methods: Sequence[str], presets: Sequence[str]
) -> list[tuple[Sequence[str], Settings, Mapping[str, str]]]:
    """Methods with their settings, and what their rows are called: the methods together, every preset alone."""
    from ..run.settings import Settings

    runs: list[tuple[Sequence[str], Settings, Mapping[str, str]]] = []
    if methods:
        runs.append((methods, Settings.from_dict({"draws": DRAWS, **given}), {}))
    for name in presets:
        settings = Settings.from_dict({**given, "preset": name})
        if not settings.draws_images:
            raise ValueError(
                f"expected presets that draw images, found '{name}': give --methods {','.join(settings.methods)}"
            )
        runs.append(([settings.solver], settings, {settings.solver: name}))
    return runs


def _items(data: Path, modality: Modality, tied: bool) -> list[Item]:
    """The items of a folder, those left out are printed; raises ValueError where there are none."""
    from ..evaluation.evaluate import find_items
    from ..io.folder import left_out

    least = modality.cases.smallest_matrix
    items, skipped = find_items(data, modality, tied)
    for line in skipped:
        print(f"skipped {line}", flush=True)
    if not items:
        raise ValueError(
            f"no volume of {modality.title} with slices of {least} x {least} pixels in {data}"
            f"{left_out(skipped)}: nothing to evaluate"
        )
    return items


def calibrate_command(options: argparse.Namespace) -> dict[str, Any]:
    """Fit and write calibration, typicality or maps into the card; returns them. The weights stay as they are."""
    from dataclasses import replace

    from ..evaluation.calibrate import fit_factors, fit_scores
    from ..evaluation.calibrate_maps import fit_maps
    from ..posterior.calibration import with_entry
    from ..priors.card import read_card, write_card
    from ..priors.library import PRIORS_FOLDER, load_prior
    from ..run.pipeline import choose_device
    from ..run.settings import Settings

    cases = listed(options.cases, str)
    settings = Settings.from_dict(given_settings(options))
    entry = settings.entry
    prior = load_prior(settings.prior, choose_device(settings.device), entry.unit)
    path = PRIORS_FOLDER / f"{settings.prior}.json"
    path = path if path.exists() else Path(settings.prior)
    read_card(path)  # An adapter's card takes no calibration: refused before any work.
    if options.part in ("both", "typicality"):
        found = fit_scores(prior, options.data, settings, cases=cases)
        write_card(replace(read_card(path), typicality=found), path)
        print(f"typical up to a score of {found['threshold']:.2f}, fallback in full from {found['full']:.2f}")
    if options.part in ("both", "factors"):
        for made in fit_factors(prior, options.data, settings, options.slice_count):
            card = read_card(path)
            write_card(replace(card, calibration=with_entry(card.calibration, made, entry.trust)), path)
            print(
                f"{entry.in_words(made)}: factor {made['factor']:.2f}, coverage of 90 % "
                f"intervals {made['coverage90']:.3f} -> {made['coverage90_calibrated']:.3f}", flush=True,
            )
    for made in fit_maps(prior, options.data, settings, options.slice_count) if options.part == "maps" else ():
        card = read_card(path)
        write_card(replace(card, maps=with_entry(card.maps, made, entry.trust)), path)
        for name, null in made["maps"].items():
            print(
                f"{entry.in_words(made)}: {name} warns from |z| {null['threshold']:.2f} on, "
                f"{null['false_alarms_per_32_slices']:.2f} false alarms in 32 held-out slices", flush=True,
            )
    card = read_card(path)
    return {"calibration": card.calibration, "typicality": card.typicality, "maps": card.maps}
