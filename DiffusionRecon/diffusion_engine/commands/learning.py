"""Train a prior, distil it, adapt it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ..jobs.lock import held
from ..priors.card import FURTHER_PLANES, SLICE
from ..priors.conditions import KINDS
from .options import Parsers, add_command, count, given_settings, listed, prior_name
from .scans import add_scan, scan_source


def add(parsers: Parsers) -> None:
    """Register the commands of this file."""
    sub = add_command(
        parsers, "train", train_command, "Train a prior from a folder of volumes; continues its checkpoint."
    )
    sub.set_defaults(what="training")
    _add_training(sub, "my-prior")
    sub.add_argument("--from", dest="origin", metavar="PRIOR", help="start from a prior's weights, by name or card")
    sub.add_argument("--size", help="of the network: tiny, small, medium, large (1.2 to 35 million); widens --from")
    sub.add_argument(
        "--sees", default=SLICE, choices=tuple(FURTHER_PLANES),
        help="what the prior sees at once: a slice, a slice with those below and above, or a volume (slice)",
    )
    sub.add_argument(
        "--condition", default="", choices=("", *KINDS),
        help="what it is told besides: a label map (mask), another image, the image that a run starts from (start), "
        "or the image that it is to segment",
    )
    sub.add_argument(
        "--given", type=Path, help="folder of the label maps or other images, laid out and named as those of --data"
    )
    sub.add_argument(
        "--classes", default="",
        help="names of the labels' values from 0 on, with commas, or semicolons where a name has one; 255: not known",
    )
    sub.add_argument("--ablation", type=float, default=0.3, help="chance of a class to be left out in training (0.3)")
    sub.add_argument(
        "--flip", action="store_true", help="learn left-right mirrored slices too: for the brain, and for DDS, whose "
        "every second call sees the image reversed",
    )
    sub.add_argument(
        "--augment", action="store_true",
        help="learn variants too: turned and stretched bodies, sharper and softer kernels, other orientations",
    )
    sub.add_argument(
        "--weigh", default="", help="how often sources are drawn, such as 'petctmr*=0.35,ct_slices*=1.6' (1 each)"
    )
    sub.add_argument("--patch", default="", help="edges of the patches in pixels, with commas (as suits the unit)")
    sub.add_argument("--pixels", type=int, help="of all patches of a step together (65536)")
    sub.add_argument(
        "--log-sigma", default="", help="mean and spread of the noise's logarithm, such as --log-sigma=-2.8,1.1 for "
        "few views (as suits the unit: -1.8,1.3 for HU)",
    )
    sub.add_argument("--rate", type=float, help="peak learning rate (0.02; 0.005 with --from)")
    sub.add_argument("--compile", action="store_true", help="a tenth to a quarter faster; needs a C++ compiler")
    sub.add_argument(
        "--processes", type=int, default=1, help="that share every step on a processor, such as one for each core (1)"
    )
    sub.add_argument("--split", action="store_true", help="write the weights as parts below 16 MB too (see parts)")
    sub.add_argument("--forecast", action="store_true", help="say how long it will take, and train nothing")
    sub.add_argument(
        "--messages", type=Path, metavar="FOLDER",
        help="speak as a job does: messages on stdout, all else in FOLDER/worker.log; FOLDER/cancel stops it",
    )

    sub = add_command(
        parsers, "distil", distil_command, "Teach a prior's whole flow to a student of one call or a few."
    )
    sub.set_defaults(what="training")
    sub.add_argument("--prior", required=True, help="the teacher: name or path of a card")
    _add_training(sub, "my-student")
    sub.add_argument("--skip", type=int, default=3, help="levels that the teacher passes at once (3)")
    sub.add_argument(
        "--calls", type=int, help="learn on simulated scans instead, reconstructed in so many calls: for CT, such as 4"
    )

    sub = add_command(
        parsers, "adapt", adapt_command,
        "Adapt a prior to a few CT volumes (writes a small adapter), or to a scan alone (writes a prior of its own).",
    )
    sub.set_defaults(what="training")
    sub.add_argument("--prior", default="ct-body", help="the base: name or path of a card (ct-body)")
    sub.add_argument("--data", type=Path, help="folder of CT volumes in HU; without it give a scan:")
    sub.add_argument("--exclude", default="", help="names of folders to leave out, with commas: kept for validation")
    add_scan(sub)
    sub.add_argument("--rounds", type=int, default=4, help="how often a scan is reconstructed and learnt from (4)")
    sub.add_argument("--out", type=Path, required=True, help="folder for checkpoint, weights and card")
    sub.add_argument("--name", type=prior_name, default="my-adapter", help="name of the adapter (my-adapter)")
    sub.add_argument("--steps", type=count, default=500, help="training steps, for a scan those of each round (500)")
    sub.add_argument("--rank", type=int, default=8, help="rank of the change of each layer (8)")
    sub.add_argument("--seed", type=int, default=0)
    sub.add_argument("--device", default="auto")


def _add_training(sub: argparse.ArgumentParser, name: str) -> None:
    sub.add_argument("--data", type=Path, required=True, help="folder of volumes")
    sub.add_argument(
        "--unit", default="HU", help="of the values: HU (CT), a.u. (MR), SUV (PET) or 'line integral' (of CT volumes)"
    )
    sub.add_argument("--files", default="*", help="pattern of the file names to take, such as 'mr*'")
    sub.add_argument("--exclude", default="", help="names of folders to leave out, with commas: kept for validation")
    sub.add_argument("--out", type=Path, required=True, help="folder for checkpoint, weights and card")
    sub.add_argument("--name", type=prior_name, default=name, help=f"name of the prior ({name})")
    sub.add_argument("--steps", type=count, default=2000, help="training steps (2000)")
    sub.add_argument("--seed", type=int, default=0)
    sub.add_argument("--device", default="auto")


def train_command(options: argparse.Namespace) -> dict[str, Any]:
    """Train, export weights and card, and return the card; with --forecast what it will take instead."""
    if options.messages is not None:
        from ..training.attached import attached

        return attached(options.messages, lambda each: _train(options, each))
    return _train(options, None)


def _train(options: argparse.Namespace, each: Any) -> dict[str, Any]:
    from ..training.run import foresee_prior, train_prior
    from ..training.settings import PriorTraining

    same = (
        "data", "steps", "seed", "device", "origin", "unit", "size", "sees", "flip", "augment", "files", "rate",
        "pixels", "processes", "condition", "given", "ablation",
    )
    asked = PriorTraining(
        **{name: getattr(options, name) for name in same}, exclude=tuple(listed(options.exclude, str)),
        classes=_names(options.classes),
        weigh=_factors(options.weigh), patches=tuple(listed(options.patch, int)),
        log_sigma=tuple(listed(options.log_sigma, float)), compiled=options.compile,
    )
    if options.forecast:
        found = foresee_prior(asked)
        print(found["sentence"], flush=True)
        return found
    with held(options.out, options.name):
        card = train_prior(asked, options.out, options.name, each)
    if options.split:
        from ..training.split import split

        print(f"parts listed in {split(options.out / card['weights'])}")
    return card


def _names(text: str) -> tuple[str, ...]:
    """Names with semicolons between them, or with commas where there is no semicolon."""
    return tuple(name.strip() for name in text.split(";" if ";" in text else ",") if name.strip())


def _factors(text: str) -> dict[str, float]:
    """PATTERN=FACTOR pairs with commas between."""
    try:
        pairs = [part.split("=") for part in text.split(",") if part]
        return {pattern: float(factor) for pattern, factor in pairs}
    except ValueError:
        raise ValueError(f"expected PATTERN=FACTOR pairs with commas between, found '{text}': correct it") from None


def distil_command(options: argparse.Namespace) -> dict[str, Any]:
    """Distil, export the student's weights and card, and return the card."""
    from ..training.distil_run import distil_prior

    with held(options.out, options.name):
        return distil_prior(
            options.prior, options.data, listed(options.exclude, str), options.out, options.name, options.steps,
            options.seed, options.device, options.unit, options.skip, options.files, options.calls,
        )


def adapt_command(options: argparse.Namespace) -> dict[str, Any]:
    """Fit an adapter, or adapt to a scan, write weights and card, and return the card."""
    if options.data is not None:
        if options.input is not None or options.sinogram is not None:
            raise ValueError("give --data or a scan, not both: an adapter is fitted to volumes or a prior to one scan")
        from ..training.adapt import adapt_prior

        with held(options.out, options.name):
            return adapt_prior(
                options.prior, options.data, listed(options.exclude, str), options.out, options.name, options.steps,
                options.rank, options.seed, options.device,
            )
    from ..run.settings import Settings
    from ..training.adapt_scan import adapt_to_scan

    given = {key: value for key, value in given_settings(options).items() if key not in ("prior", "steps")}
    with held(options.out, options.name):
        card = adapt_to_scan(
            options.prior, scan_source(options), Settings.from_dict(given), options.out, options.name, options.steps,
            options.rounds, options.seed, options.device,
            lambda done: print(f"round {done} of {options.rounds}", flush=True),
        )
    print("\n".join(card["training"]["notes"]))
    return card
