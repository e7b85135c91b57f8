"""Split a prior's weights into parts, list the priors."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from .options import Parsers, add_command


def add(parsers: Parsers) -> None:
    """Register the commands of this file."""
    sub = add_command(parsers, "parts", parts_command, "Split a large file into parts below 16 MB, or join them.")
    sub.add_argument("file", type=Path, help="the file to split, or the .parts.json of one to join")

    sub = add_command(parsers, "priors", priors_command, "List the priors and check their weights.")
    sub.add_argument("--folder", type=Path, help="another folder of cards")


def parts_command(options: argparse.Namespace) -> dict[str, Any]:
    """Split or join, and return the path that was written."""
    from ..training.split import SUFFIX, join, split

    joining = options.file.name.endswith(SUFFIX)
    written = join(options.file) if joining else split(options.file)
    print(f"wrote {written}")
    return {"path": str(written)}


def priors_command(options: argparse.Namespace) -> list[dict[str, Any]]:
    """List cards after loading each prior, so that hash, names and shapes are checked."""
    from dataclasses import asdict

    from ..priors.library import PRIORS_FOLDER, list_priors, load_prior

    folder = options.folder or PRIORS_FOLDER
    if not folder.is_dir():
        raise ValueError(f"expected a folder of model cards, found none at {folder}: give another one")
    cards = list_priors(folder)
    for card in cards:
        load_prior(str(folder / f"{card.name}.json"), unit=card.unit)
        print(
            f"{card.name}: {card.title}, {card.anatomy}; {card.unit}, pixels "
            f"{card.pixel_mm[0]}-{card.pixel_mm[1]} mm; {card.date}, {card.licence}; weights match their hash"
        )
    return [asdict(card) for card in cards]
