"""Evaluate methods and priors, calibrate a prior."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..modalities.table import FIRST, MODALITIES
from .options import Parsers, add_command, add_coupling, add_methods, add_option, count, given_settings, listed


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
        "--methods", help="out of the modality's classical images, those tuned on the reference, and the solvers (all "
        "but the solvers, and dds)",
    )
    sub.add_argument("--geometries", default="parallel", help="of CT: parallel, fan_flat, fan_curved (parallel)")
    add_methods(sub, draws=8)
    add_coupling(sub)

    sub = add_command(
        parsers, "calibrate", calibrate_command, "Fit a prior's calibration and gate; writes them into its card."
    )
    sub.add_argument("--modality", choices=list(MODALITIES), default=FIRST)
    sub.add_argument("--prior", help="name or path of a card (ct-body)")
    sub.add_argument("--data", type=Path, required=True, help="folder of the card's held-out and training volumes")
    sub.add_argument("--part", choices=["both", "factors", "typicality"], default="both", help="what to fit (both)")
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
    """Compare methods on sparse-view CT."""
    from ..evaluation.evaluate import evaluate, find_items, summary
    from ..io.folder import left_out
    from ..run.settings import Settings, scan_names

    methods = None if options.methods is None else listed(options.methods, str)
    views, accelerations = listed(options.views, int), listed(options.acceleration, float)
    options.methods = options.views = options.acceleration = None
    settings = Settings.from_dict(given_settings(options))
    if methods is None:
        entry = settings.entry
        methods = [*(image.name for image in entry.classical), *entry.oracles, settings.solver]
    modality, least = settings.entry, settings.entry.cases.smallest_matrix
    items, skipped = find_items(options.data, modality, tied=settings.coupling != "none")
    for line in skipped:
        print(f"skipped {line}", flush=True)
    if not items:
        raise ValueError(
            f"no volume of {modality.title} with slices of {least} x {least} pixels in {options.data}"
            f"{left_out(skipped)}: nothing to evaluate"
        )
    own = scan_names(modality)
    scans: list[Mapping[str, Any]] = list(modality.cases.calibrated)
    if {"geometry", "views"} <= own:
        scans = [{"geometry": beam, "views": count} for beam in listed(options.geometries, str) for count in views]
    elif "acceleration" in own:
        scans = [{"acceleration": factor} for factor in accelerations]
    rows = []
    for row in evaluate(items, scans, methods, settings):
        rows.append(row)
        print(
            f"{modality.in_words(row)} {row['item']} {row['case']:>3} {row['method']:<9} "
            f"{row['psnr']:.2f} dB  nrmse {row['nrmse']:.3f}  ssim {row['ssim']:.3f}  "
            f"residual {row['residual_ratio']:.2f}  "
            f"{row['seconds']:.1f} s",
            flush=True,
        )
    print("\n".join(summary(rows, modality)))
    return rows


def calibrate_command(options: argparse.Namespace) -> dict[str, Any]:
    """Fit and write calibration and typicality into the card; returns them. The weights stay as they are."""
    from dataclasses import replace

    from ..evaluation.calibrate import fit_factors, fit_scores
    from ..posterior.calibration import with_entry
    from ..priors.card import read_card, write_card
    from ..priors.library import PRIORS_FOLDER, load_prior
    from ..run.pipeline import choose_device
    from ..run.settings import Settings

    settings = Settings.from_dict(given_settings(options))
    entry = settings.entry
    prior = load_prior(
        settings.prior, choose_device(settings.device), entry.unit, imaginary_std=entry.imaginary_std
    )
    path = PRIORS_FOLDER / f"{settings.prior}.json"
    path = path if path.exists() else Path(settings.prior)
    read_card(path)  # An adapter's card takes no calibration: refused before any work.
    if options.part != "factors":
        found = fit_scores(prior, options.data, settings)
        write_card(replace(read_card(path), typicality=found), path)
        print(f"typical up to a score of {found['threshold']:.2f}, fallback in full from {found['full']:.2f}")
    if options.part != "typicality":
        for made in fit_factors(prior, options.data, settings, options.slice_count):
            card = read_card(path)
            write_card(replace(card, calibration=with_entry(card.calibration, made, entry.trust)), path)
            print(
                f"{entry.in_words(made)}: factor {made['factor']:.2f}, coverage of 90 % "
                f"intervals {made['coverage90']:.3f} -> {made['coverage90_calibrated']:.3f}", flush=True,
            )
    card = read_card(path)
    return {"calibration": card.calibration, "typicality": card.typicality}
