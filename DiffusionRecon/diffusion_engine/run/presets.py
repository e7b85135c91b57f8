"""What a user chooses from first: a few named sets of settings. No torch here: a panel lists them before any set-up."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from ..modalities import table


@dataclass(frozen=True)
class Preset:
    """A named set of settings: ``changes`` are values of :class:`diffusion_engine.run.settings.Settings` by field name.

    ``modalities``: which it is for; ``alternatives``: other solvers that serve the same purpose. One without a solver
    makes the classical images of the modality, all of them.
    """

    name: str
    title: str
    description: str
    changes: Mapping[str, Any]
    modalities: tuple[str, ...]
    alternatives: tuple[str, ...] = ()

    @property
    def solver(self) -> str | None:
        """The solver that it needs, None for a classical one."""
        return self.changes.get("solver")

    @property
    def solvers(self) -> tuple[str, ...]:
        """Its solver first, then the alternatives."""
        return (self.solver, *self.alternatives) if self.solver else ()


def _preset(
    name: str, title: str, description: str, modalities: tuple[str, ...], alternatives: tuple[str, ...] = (),
    **changes: Any,
) -> Preset:
    return Preset(name, title, description, MappingProxyType({"preset": name, **changes}), modalities, alternatives)


PRESETS: Mapping[str, Preset] = MappingProxyType({
    preset.name: preset
    for preset in (
        _preset(
            "fast", "Fast", "a first look: 4 samples of 4 steps, by a model that was trained for it", ("ct",),
            solver="consistency", prior="ct-body-few", steps=4, draws=4,
        ),
        _preset(
            "standard", "Standard", "the usual choice: 4 samples of 30 steps", ("ct",), solver="dds", steps=30, draws=4,
        ),
        _preset(
            "few-views", "Few views",
            "about 20 views or fewer: 2 samples of 26 thorough steps, larger model, up to four times as slow",
            ("ct",), solver="dds", prior="ct-body-medium", steps=26, draws=2,
            solver_options={"prior_variance": 2.0, "products": 3, "antithetic": True},
        ),
        _preset(
            "few-views-thorough", "Few views, thorough",
            "the same with 8 samples of 30 steps, for a smoother map of the spread: up to seventeen times as slow",
            ("ct",), solver="dds", prior="ct-body-medium", steps=30, draws=8,
            solver_options={"prior_variance": 2.0, "products": 3, "antithetic": True},
        ),
        _preset(
            "volume", "Volume", "several slices, few views: each is seen with its neighbours, 4 samples of 80 steps",
            ("ct",), solver="dds", prior="ct-body-stack", coupling="neighbours", steps=80, draws=4,
            solver_options={"prior_variance": 2.0},
        ),
        _preset(
            "posterior", "Moment matched", "8 samples whose mean and spread are near the posterior's",
            ("ct",), ("mmps",), solver="tmpd", draws=8,
        ),
        _preset(
            "low-dose", "Low dose", "few photons: every ray weighted by its noise, 4 samples of 30 steps", ("ct",),
            solver="dds", steps=30, draws=4,
        ),
        _preset(
            "unknown-anatomy", "Unknown anatomy", "what the model was not trained on: it adapts to the data, 4 samples",
            ("ct",), solver="scd", draws=4,
        ),
        _preset(
            "classical", "Classical", "without a trained model: all classical images", ("ct",),
        ),
    )
})
"""The presets by name, in the order in which they are offered."""


def preset_named(name: str) -> Preset:
    """A preset; raises ValueError with the names there are."""
    if name not in PRESETS:
        raise ValueError(f"no preset named '{name}': choose from {list(PRESETS)}")
    return PRESETS[name]


def available_presets(solvers: Collection[str], modality: str | None = None) -> list[Preset]:
    """The presets whose solver is among ``solvers``, and those that need none; for one ``modality`` if given."""
    return [
        preset for preset in PRESETS.values()
        if (preset.solver is None or preset.solver in solvers) and (modality is None or serves(preset, modality))
    ]


def serves(preset: Preset, modality: str) -> bool:
    """Whether a preset is for a modality: its own entry names it, or the modality's entry the preset."""
    entry = table.MODALITIES.get(modality)
    return modality in preset.modalities or (entry is not None and preset.name in entry.presets)
