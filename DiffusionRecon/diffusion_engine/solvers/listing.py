"""The methods and couplings without torch, for a panel: names, titles, options with their defaults.

The table is written from the catalogue by ``python -m diffusion_engine.solvers.listing``; a test compares the two.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from ..modalities.table import MODALITIES
from ..priors.card import NEIGHBOURS, VOLUME
from .listed import COUPLED, LISTED
from .ranges import check_option, range_of

FROM_THE_RUN = ("steps", "sigma_start", "sigma_data", "sigma_max", "sigma_min", "rho_max", "rho_min")
"""Options that a run sets itself, from its settings and the prior's card."""

BEYOND_A_SLAB = 6
"""Slices beyond either end of a slab that tied slices are solved with, see :mod:`..coupling.slabs`."""
ARRAYS_OF_A_STACK, ARRAYS_OF_MOMENTS, ARRAYS_OF_A_SPLIT = 4, 4, 9
"""Arrays of 32 bits that a tied stack keeps, for each slice: its state in slabs; moments of its draws, and of their
parts."""
ARRAYS_A_STEP, ARRAYS_OF_A_GRAPH = 24, 720
"""Working arrays of 32 bits of a step, for each image: state, estimates and conjugate gradients, while the network
works on a bounded number of pixels at once; with products its whole graph (measured: medium network; small: 550)."""

CALLS_OF_A_STEP = 3
"""Network calls of a step before its products: an estimate, and the product of a probing vector that counts as two."""


@dataclass(frozen=True)
class Option:
    """A parameter of a method: its name, default (int, float, bool, str or None), least and largest value."""

    name: str
    default: Any
    low: float
    high: float


@dataclass(frozen=True)
class Listed:
    """What of a method's entry can be shown without loading it, see :class:`.contract.Method`.

    ``steps``: the default number of steps, None where the method has no such option; ``work``: of a draw, in network
    calls; ``stacks``: slices can be tied by total variation along z, by neighbours and by a prior of volumes; ``ties``:
    it ties them by itself; ``earned``: the modalities in which its draws have the label ``spread``; ``likelihoods``:
    what it can take.
    """

    name: str
    title: str
    purpose: str
    spread: str
    modalities: tuple[str, ...]
    calls: str
    source: str
    steps: int | None
    work: float
    stacks: bool
    ties: bool
    earned: tuple[str, ...]
    likelihoods: tuple[str, ...]
    options: tuple[Option, ...]

    def products(self, options: Mapping[str, Any]) -> int:
        """Products with the network's Jacobian in a step of a run with ``options``."""
        usual = {option.name: option.default for option in self.options}
        return int({**usual, **options}.get("products", 0))

    def draw_work(self, steps: int | None, options: Mapping[str, Any]) -> float:
        """Network calls that a draw costs: ``work`` in proportion to its steps and to 1 + products of each.

        A method with a tolerance takes as many products as that needs: no more work than its steps with all of them.
        """
        asked = options.get("steps", steps)
        share = asked / self.steps if asked and self.steps else 1.0
        if self.steps and any(option.name == "tolerance" for option in self.options):
            return min(self.work * share, (asked or self.steps) * (CALLS_OF_A_STEP + 2 * self.products(options)))
        return self.work * share * (1 + self.products(options)) / (1 + self.products({}))

    def step_megabytes(self, pixels: int, images: int, options: Mapping[str, Any]) -> float:
        """Working memory of a step of ``images`` at once, each of ``pixels``, in MB."""
        return 4e-6 * pixels * images * (ARRAYS_OF_A_GRAPH if self.products(options) else ARRAYS_A_STEP)


def listed_methods(modality: str | None = None) -> dict[str, Listed]:
    """The methods by name, those for one modality when it is given: their own entries name it, or its entry them.

    Of a modality that has other usual values, these are the defaults.
    """
    known = MODALITIES.get(modality) if modality is not None else None
    beside = known.solvers if known is not None else ()
    methods = {}
    for entry in LISTED:
        options = tuple(Option(name, default, *range_of(entry["name"], name)) for name, default in entry["options"])
        several = {key: tuple(entry[key]) for key in ("modalities", "earned", "likelihoods")}
        method = Listed(**{**entry, **several, "options": options})
        if modality is None or modality in method.modalities or method.name in beside:
            methods[method.name] = method if known is None else _as_usual(method, known.usual.get(method.name, {}))
    return methods


def listed_method(name: str, modality: str) -> Listed:
    """A method with its defaults in a modality, whether or not that offers it."""
    return listed_methods(modality).get(name) or listed_methods()[name]


def _as_usual(method: Listed, usual: Mapping[str, Any]) -> Listed:
    """The method with other defaults, and the work of as many steps."""
    if not usual:
        return method
    options = tuple(replace(option, default=usual.get(option.name, option.default)) for option in method.options)
    work = method.draw_work(usual.get("steps"), usual)
    return replace(method, options=options, steps=usual.get("steps", method.steps), work=work)


def listed_couplings() -> dict[str, str]:
    """The titles of the couplings of slices by name, see :data:`..coupling.COUPLINGS`."""
    return dict(COUPLED)


def ties_slices(method: Listed | None, coupling: str) -> bool:
    """Whether a slice's image depends on other slices: by the coupling, unless it is noise alone, or by the method."""
    return "ztv" in coupling or coupling in (NEIGHBOURS, VOLUME) or (method is not None and method.ties)


def solves_in_slabs(method: Listed, coupling: str, options: Mapping[str, Any]) -> bool:
    """Whether tied slices can be solved a slab at a time: by DDS, with any tie but a prior of volumes."""
    return method.name == "dds" and ties_slices(None, coupling) and coupling != VOLUME and not method.products(options)


def working_megabytes(
    method: Listed, coupling: str, options: Mapping[str, Any], pixels: int, slices: int, slab: int, split: bool
) -> list[tuple[float, float]]:
    """Working memory of a run in MB, in all and for each slice: as usual, and in slabs where tied slices can be.

    ``pixels``: of a slice; ``slab``: slices that are solved at once where they need not be together; ``split``: what
    the scan did not see is asked for.
    """
    few = min(slab, slices)
    if not ties_slices(method, coupling):
        return [(method.step_megabytes(pixels, few, options), 0.0)]
    array = 4e-6 * pixels
    kept = array * (ARRAYS_OF_MOMENTS + ARRAYS_OF_A_SPLIT * split)
    found = [(0.0, method.step_megabytes(pixels, 1, options) + kept)]
    if few < slices and solves_in_slabs(method, coupling, options):
        wide = min(few + 2 * BEYOND_A_SLAB, slices)
        found.append((method.step_megabytes(pixels, wide, options), kept + ARRAYS_OF_A_STACK * array))
    return found


def check_options(method: Listed, options: Mapping[str, Any]) -> None:
    """Raise ValueError, one sentence, for options that a method does not have or values that it cannot take."""
    known = {option.name: option.default for option in method.options}
    # Whether it has one of those that a run sets itself is seen by whoever builds its settings.
    known.update({name: 1 if name == "steps" else 1.0 for name in FROM_THE_RUN})
    wrong = sorted(set(options) - set(known))
    if wrong:
        raise ValueError(
            f"the method {method.name} has no option {wrong}: choose from "
            f"{sorted(option.name for option in method.options)}"
        )
    for name, value in options.items():
        check_option(method.name, name, value, known[name])


def check_coupling(coupling: str, method: Listed, options: Mapping[str, Any]) -> None:
    """Raise ValueError for a coupling other than by noise of a method, with its options, that cannot tie slices so."""
    # The covariance of slices that a network sees together would be that of the whole stack.
    alone = method.stacks and method.products(options) > 0
    if ties_slices(None, coupling) and (alone or not method.stacks):
        how = {NEIGHBOURS: "their neighbours", VOLUME: "a prior of volumes"}.get(coupling, "total variation")
        others = f"one of {sorted(name for name, entry in listed_methods().items() if entry.stacks)}"
        raise ValueError(
            f"the method {method.name}{' with products' if alone else ''} cannot tie slices by {how}: choose the "
            f"coupling 'noise' or {'products 0' if alone else others}"
        )


def coupling_titles() -> dict[str, str]:
    """The couplings' part of the table, from their own list; this imports torch."""
    from ..coupling import COUPLINGS

    return {name: coupling.title for name, coupling in COUPLINGS.items()}


def catalogue_entries() -> Iterator[dict[str, Any]]:
    """The table's entries, from the catalogue itself; this imports torch."""
    from .catalogue import METHODS

    for method in METHODS.values():
        known = {entry.name: entry.default for entry in fields(method.settings)}
        plain = {name: value for name, value in known.items() if isinstance(value, (bool, int, float, str, type(None)))}
        yield {
            "name": method.name, "title": method.title, "purpose": method.purpose, "spread": method.spread,
            "modalities": list(method.modalities), "calls": method.calls, "source": method.source,
            "steps": known.get("steps"), "work": float(method.work),
            "stacks": method.stacks, "ties": method.ties, "earned": list(method.earned),
            "likelihoods": list(method.likelihoods),
            "options": [[name, value] for name, value in plain.items() if name not in FROM_THE_RUN],
        }


def table_text() -> str:
    """The content of listed.py."""
    lines = ['"""Written by ``python -m diffusion_engine.solvers.listing``: the catalogue without torch."""', ""]
    lines += ["from __future__ import annotations", "", "from typing import Any", ""]
    lines += ["COUPLED: dict[str, str] = {"]
    lines += [f"    {_text(name)}: {_text(title)}," for name, title in coupling_titles().items()]
    lines += ["}", ""]
    lines += ["LISTED: list[dict[str, Any]] = ["]
    for entry in catalogue_entries():
        options = entry.pop("options")
        lines += ["    {", *(f"        {_text(key)}: {_text(value)}," for key, value in entry.items())]
        lines += ['        "options": [', *(f"            {_text(option)}," for option in options), "        ],"]
        lines += ["    },"]
    return "\n".join([*lines, "]", ""])


def _text(value: Any) -> str:
    """A literal with double quotes."""
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if isinstance(value, list):
        return "[" + ", ".join(map(_text, value)) + "]"
    return repr(value)


if __name__ == "__main__":
    Path(__file__).with_name("listed.py").write_text(table_text(), encoding="utf-8")
