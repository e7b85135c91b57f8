"""What commands share: how one is registered, options of methods, and settings from the command line."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from ..checks import is_plain
from ..modalities import table
from ..run.presets import PRESETS

Parsers: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
"""What a parser's ``add_subparsers`` returns."""


def add_command(
    parsers: Parsers, name: str, command: Callable[[argparse.Namespace], Any], text: str
) -> argparse.ArgumentParser:
    """Register a command, a function of the parsed options that returns JSON values; returns the parser to add to."""
    sub = parsers.add_parser(name, help=text, description=text)
    sub.add_argument("--json", metavar="FILE", help="write the machine-readable result there (- for stdout)")
    sub.set_defaults(command=command, what="reconstruction")
    return sub


def add_methods(sub: argparse.ArgumentParser, draws: int | None = None) -> None:
    """Add the options of a diffusion method; with a number of ``draws`` as default, none that choose the method."""
    if draws is None:
        sub.add_argument("--methods", help="the modality's classical images and diffusion, with commas (all)")
        sub.add_argument("--preset", help=", ".join(PRESETS))
        sub.add_argument("--solver", help="a method of the catalogue (dds)")
        add_coupling(sub)
    add_option(sub)
    sub.add_argument("--draws", type=int, default=draws, help=f"samples of the diffusion prior ({draws or 4})")
    sub.add_argument("--steps", type=int, help="steps of the method (its own number)")
    sub.add_argument("--sigma-start", type=float, help="first noise level in network units (automatic)")
    sub.add_argument("--prior", help="name or path of a card (ct-body)")
    sub.add_argument("--device", help="auto, cpu, cuda")
    sub.add_argument("--seed", type=int, help="of noise and draws (0)")


def add_option(sub: argparse.ArgumentParser) -> None:
    """Options of the method itself."""
    sub.add_argument(
        "--option", action="append", dest="solver_options", metavar="NAME=VALUE",
        help="of the method, such as prior_variance=4 (its own)",
    )


def add_coupling(sub: argparse.ArgumentParser) -> None:
    """What ties the slices."""
    sub.add_argument("--coupling", help="of the slices: none, neighbours, volume, ztv, noise or ztv+noise (none)")


def given_settings(options: argparse.Namespace) -> dict[str, Any]:
    """The settings that were given on the command line."""
    from ..run.settings import Settings

    # Options of one modality's scan that were given for another one are refused by the settings, not left out.
    names = set[str]().union(*(Settings.names(name) for name in table.MODALITIES))
    given = {key: value for key, value in vars(options).items() if key in names}
    values = {key: value for key, value in given.items() if value is not None and value is not False}
    values.update(named_values(getattr(options, "scan", None) or []))
    for key, parse in (("slices", int), ("region", int), ("methods", str), ("keep", str)):
        if isinstance(values.get(key), str):
            values[key] = listed(values[key], parse)
    if "solver_options" in values:
        values["solver_options"] = named_values(values["solver_options"])
    return values


def prior_name(text: str) -> str:
    """A name that files of a folder can begin with; raises ArgumentTypeError for a path, or none at all."""
    if not is_plain(text) or text.startswith("."):
        raise argparse.ArgumentTypeError(f"expected a name, found '{text}': no path, and no dot at its beginning")
    return text


def count(text: str) -> int:
    """A whole number from 1 on; raises ArgumentTypeError for anything else."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of 1 or more, found '{text}'")
    return value


def named_values(given: Sequence[str]) -> dict[str, Any]:
    """Options NAME=VALUE by name: values as JSON has them, else text."""
    found: dict[str, Any] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise ValueError(f"expected an option as NAME=VALUE, found '{text}'")
        try:
            found[name] = json.loads(value)
        except json.JSONDecodeError:
            found[name] = value
    return found


def listed(text: str, parse: type) -> list[Any]:
    """The parts of "a,b,c", each parsed; raises ValueError for what is no number where one is expected."""
    try:
        return [parse(part.strip()) for part in text.split(",") if part.strip()]
    except ValueError:
        raise ValueError(f"expected numbers with commas between them, found '{text}'") from None
