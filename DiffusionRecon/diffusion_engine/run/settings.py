"""The settings of one reconstruction: plain values, checked once, the same in Python, shell, job file and panel."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from typing import Any

from ..solvers.listing import check_options, listed_methods
from .presets import preset_named

GEOMETRIES = ("parallel", "fan_flat", "fan_curved")
METHODS = ("fbp", "tv", "diffusion")
KEEP = ("mean", "uncertainty", "not_seen", "residual", "draws")
PRECISIONS: dict[str, bool | None] = {"auto": None, "float32": False, "bfloat16": True}
"""Precisions of the network by name: whether it computes in bfloat16, None where the device decides."""


@dataclass(frozen=True, init=False)
class Settings:
    """What to simulate, how to reconstruct, and what to deliver.

    ``views``, ``arc_degrees`` (None: 180 parallel, 360 fan), ``geometry`` and noise describe a simulated scan and are
    ignored for measured data. ``noise_percent``: standard deviation of Gaussian noise in percent of a slice's largest
    line integral; ``i0`` instead: photons a ray, with ``electronic_std`` counts. ``slices``: [first, last) of the
    input; ``region``: [i0, i1, j0, j1), the part of the images to deliver; ``pixel_mm``: of the reconstruction, None
    chooses one the prior knows. ``sigma_start`` None: from the expected error of the start. ``solver``: a method of the
    catalogue, with its ``solver_options`` by name and ``steps`` (None: as many as it usually takes); ``trust_unit``: go
    on although the values do not look like CT in HU. ``keep``: what of the diffusion result to deliver, out of KEEP
    (``keep_draws`` adds "draws"); ``preset``: its values stand where no others are given (with another ``solver`` its
    solver_options do not); ``coupling``: of the slices, by name; ``precision``: of the network, out of PRECISIONS
    ("auto": bfloat16 where the device is faster with it); ``slab``: slices that are solved at once, fewer need less
    memory; coupled ones are solved all together, or where memory does not suffice a slab at a time. Equal seeds give
    equal draws of a slice, whatever is solved with it. Raises ValueError, one sentence, for unknown names and values
    out of range.
    """

    modality: str = "ct"
    geometry: str = "parallel"
    views: int = 60
    arc_degrees: float | None = None
    noise_percent: float = 0.2
    i0: float | None = None
    electronic_std: float = 0.0
    methods: tuple[str, ...] = METHODS
    solver: str = "dds"
    solver_options: dict[str, Any] = field(default_factory=dict)
    draws: int = 4
    steps: int | None = None
    sigma_start: float | None = None
    tv_iterations: int = 400
    prior: str = "ct-body"
    seed: int = 0
    device: str = "auto"
    slices: tuple[int, int] | None = None
    region: tuple[int, int, int, int] | None = None
    pixel_mm: float | None = None
    water_per_mm: float = 0.0193
    trust_unit: bool = False
    keep_draws: bool = False
    keep: tuple[str, ...] = ("mean", "uncertainty", "not_seen", "residual")
    preset: str | None = None
    coupling: str = "none"
    precision: str = "auto"
    slab: int = 8

    def __init__(self, **given: Any) -> None:
        known = {entry.name: entry for entry in fields(Settings)}
        unknown = sorted(set(given) - set(known))
        if unknown:
            raise ValueError(f"unknown settings {unknown}: choose from {sorted(known)}")
        values = {**_of_preset(given), **given}
        for name, entry in known.items():
            usual = entry.default_factory() if entry.default_factory is not MISSING else entry.default
            object.__setattr__(self, name, values.get(name, usual))
        self._check()

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> Settings:
        """Settings from JSON values, in which tuples are lists."""
        return Settings(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})

    def changed(self, **changes: Any) -> Settings:
        """The same with ``changes``; another preset among them brings its values in place of the present one's."""
        present, brought = self.to_dict(), {}
        if changes.get("preset") not in (None, self.preset):
            former = _of_preset({"preset": self.preset, "solver": self.solver})
            present = {key: value for key, value in present.items() if key not in former or value != former[key]}
            brought = _of_preset(changes)
        return Settings.from_dict({**present, **brought, **changes})

    @property
    def keeps_draws(self) -> bool:
        """Whether every draw is delivered."""
        return self.keep_draws or "draws" in self.keep

    def to_dict(self) -> dict[str, Any]:
        """JSON values that :meth:`from_dict` takes back."""
        return asdict(self)

    def _check(self) -> None:
        def need(condition: bool, expected: str, found: object) -> None:
            if not condition:
                raise ValueError(f"expected {expected}, found {found!r}: change the setting")

        need(self.modality == "ct", "modality 'ct'", self.modality)
        need(self.geometry in GEOMETRIES, f"geometry out of {GEOMETRIES}", self.geometry)
        known = isinstance(self.methods, tuple) and all(method in METHODS for method in self.methods)
        need(bool(self.methods) and known, f"methods out of {METHODS}", self.methods)
        kept = isinstance(self.keep, tuple) and all(key in KEEP for key in self.keep)
        need(bool(self.keep) and kept, f"keep out of {KEEP}", self.keep)
        need(isinstance(self.coupling, str), "a coupling by name", self.coupling)
        precise = isinstance(self.precision, str) and self.precision in PRECISIONS
        need(precise, f"precision out of {tuple(PRECISIONS)}", self.precision)
        need(_whole(self.slab) and 1 <= self.slab <= 1000, "slab from 1 to 1000 slices", self.slab)
        need(_whole(self.views) and 2 <= self.views <= 10000, "views from 2 to 10000", self.views)
        for name in ("trust_unit", "keep_draws"):  # a text such as "no" would count as yes
            need(isinstance(getattr(self, name), bool), f"true or false as {name}", getattr(self, name))
        arc, sigma = self.arc_degrees, self.sigma_start
        for name in ("noise_percent", "electronic_std", "water_per_mm"):
            need(_number(getattr(self, name)), f"a finite number as {name}", getattr(self, name))
        for name in ("arc_degrees", "i0", "sigma_start", "pixel_mm"):
            value = getattr(self, name)
            need(value is None or _number(value), f"a finite number as {name}, or none", value)
        need(_whole(self.seed) and 0 <= self.seed < 2**31, "a whole seed from 0 to 2147483647", self.seed)
        need(isinstance(self.solver, str), "a solver by name", self.solver)
        need(isinstance(self.solver_options, dict), "solver_options as names and values", self.solver_options)
        methods = listed_methods()
        if self.solver in methods:
            check_options(methods[self.solver], self.solver_options)
        need(isinstance(self.prior, str) and isinstance(self.device, str), "prior and device by name", self.prior)
        need(arc is None or 0 < arc <= 360, "arc_degrees above 0 and up to 360", arc)
        need(0 < self.noise_percent <= 50, "noise_percent above 0 and up to 50", self.noise_percent)
        need(self.i0 is None or 10 <= self.i0 <= 1e15, "i0 from 10 to 1e15 photons a ray, or none", self.i0)
        need(self.electronic_std >= 0, "electronic_std of 0 or more", self.electronic_std)
        need(_whole(self.draws) and 1 <= self.draws <= 1000, "draws from 1 to 1000", self.draws)
        steps = self.steps
        need(steps is None or (_whole(steps) and 2 <= steps <= 1000), "steps from 2 to 1000, or none", steps)
        need(sigma is None or 0.02 <= sigma <= 20, "sigma_start from 0.02 to 20", sigma)
        need(_whole(self.tv_iterations) and self.tv_iterations >= 1, "tv_iterations of 1 or more", self.tv_iterations)
        need(self.slices is None or _ascending(self.slices, 1), "slices [first, last) with first < last", self.slices)
        need(self.region is None or _ascending(self.region, 2), "region [i0, i1, j0, j1)", self.region)
        need(self.pixel_mm is None or 0.01 <= self.pixel_mm <= 20, "pixel_mm from 0.01 to 20", self.pixel_mm)
        need(1e-4 <= self.water_per_mm <= 1, "water_per_mm from 0.0001 to 1", self.water_per_mm)


def _of_preset(given: Mapping[str, Any]) -> dict[str, Any]:
    """What the preset of some settings brings; ValueError for one that there is not."""
    name = given.get("preset")
    if name is None:
        return {}
    if not isinstance(name, str):
        raise ValueError(f"expected a preset by name, or none, found {name!r}: change the setting")
    brought = {**preset_named(name).changes}
    options = dict(brought.pop("solver_options", {}))
    if options and given.get("solver", brought["solver"]) == brought["solver"]:
        brought["solver_options"] = options
    return brought


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _ascending(bounds: object, pairs: int) -> bool:
    if not isinstance(bounds, tuple) or len(bounds) != 2 * pairs or not all(_whole(b) for b in bounds):
        return False
    return all(0 <= bounds[2 * n] < bounds[2 * n + 1] for n in range(pairs))
