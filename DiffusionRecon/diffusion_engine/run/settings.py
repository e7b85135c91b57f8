"""The settings of one reconstruction: plain values, checked once, the same in Python, shell, job file and panel."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from typing import Any

from ..checks import need, number, whole
from ..modalities.contract import DIFFUSION, Modality, Scan
from ..modalities.table import FIRST, modality_named
from ..solvers.listing import check_options, listed_methods
from .presets import preset_named, serves

PRIOR_DECIDED, DATA_DISAGREE = "prior_decided", "data_disagree"
"""The maps that warn: where the prior decided, and where the data and the image disagree, see :mod:`.maps`."""
PHASE = "phase"
"""The phase of complex images, see :meth:`..modalities.prepared.Prepared.phase`: of the mean, else of the last
classical image."""
KEEP = ("mean", "uncertainty", "not_seen", "residual", PRIOR_DECIDED, DATA_DISAGREE, PHASE, "draws")
RUN_OPTIONS = ("steps", "sigma_start")
"""Settings of a method that are settings of a run."""
PRECISIONS: dict[str, bool | None] = {"auto": None, "float32": False, "bfloat16": True}
"""Precisions of the network by name: whether it computes in bfloat16, None where the device decides."""


@dataclass(frozen=True, init=False)
class Settings:
    """What to simulate, how to reconstruct, and what to deliver.

    ``scan``: the settings that the modality alone has, see its own dataclass; each may be given by its name beside the
    others (``Settings(views=60)``), and in JSON all lie in one flat object. ``methods``: out of the modality's
    classical images and "diffusion" (all, unless given). ``slices``: [first, last) of the input; ``region``: [i0, i1,
    j0, j1), the part of the images to deliver; ``pixel_mm``: of the reconstruction, None chooses one the prior knows.
    ``prior`` (the modality's usual one, unless given): name, or path of a card. ``sigma_start`` None: from the expected
    error of the start, or the modality's usual one. ``solver``: a method of the catalogue, with its ``solver_options``
    by name and ``steps`` (None: as many as it usually takes); ``trust_unit``: go on although the values do not look
    like the modality's. ``keep``: what of the diffusion result to deliver, out of KEEP (``keep_draws`` adds "draws");
    ``preset``: its values stand where no others are given (with another ``solver`` its solver_options do not);
    ``coupling``: of the slices, by name; ``precision``: of the network, out of PRECISIONS ("auto": bfloat16 where the
    device is faster with it); ``slab``: slices that are solved at once, fewer need less memory; coupled ones are solved
    all together, or where memory does not suffice a slab at a time. Equal seeds give equal draws of a slice, whatever
    is solved with it, before they are moved by the pull of the data. Raises ValueError, one sentence, for unknown
    names and values out of range.
    """

    modality: str
    scan: Scan
    methods: tuple[str, ...]
    prior: str
    solver: str = "dds"
    solver_options: dict[str, Any] = field(default_factory=dict)
    draws: int = 4
    steps: int | None = None
    sigma_start: float | None = None
    seed: int = 0
    device: str = "auto"
    slices: tuple[int, int] | None = None
    region: tuple[int, int, int, int] | None = None
    pixel_mm: float | None = None
    trust_unit: bool = False
    keep_draws: bool = False
    keep: tuple[str, ...] = ("mean", "uncertainty", "not_seen", "residual", PRIOR_DECIDED)
    preset: str | None = None
    coupling: str = "none"
    precision: str = "auto"
    slab: int = 8

    def __init__(self, **given: Any) -> None:
        entry = modality_named(given.get("modality", FIRST))
        names, own = self.names(entry.name), scan_names(entry)
        unknown = sorted(set(given) - names - {"scan"})
        if unknown:
            raise ValueError(f"unknown settings {unknown}: choose from {sorted(names)}")
        values = {**_of_preset(given), **given}
        scan = values.get("scan")
        if scan is not None and not isinstance(scan, entry.scan):
            raise ValueError(
                f"expected {entry.scan.__name__} as scan, found {scan!r}: give its settings by name, beside the others"
            )
        described = {} if scan is None else {name: getattr(scan, name) for name in own}
        values["scan"] = entry.scan(**{**described, **{name: values[name] for name in own & set(values)}})
        usual = {"modality": entry.name, "methods": entry.methods, "prior": entry.default_prior}
        for known in fields(Settings):
            default = known.default_factory() if known.default_factory is not MISSING else known.default
            object.__setattr__(self, known.name, values.get(known.name, usual.get(known.name, default)))
        self._check()

    @staticmethod
    def names(modality: str = FIRST) -> set[str]:
        """The names of all settings of a run of a modality, those of its scan among them."""
        return {known.name for known in fields(Settings)} - {"scan"} | scan_names(modality_named(modality))

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> Settings:
        """Settings from JSON values, in which tuples are lists; raises ValueError also for what is no JSON object."""
        if not isinstance(values, Mapping) or not all(isinstance(name, str) for name in values):
            raise ValueError(f"expected settings as names and values, found {values!r}: give a JSON object")
        return Settings(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})

    def changed(self, **changes: Any) -> Settings:
        """The same with ``changes``; another preset among them brings its values in place of the present one's.

        Another modality has its own scan, methods, prior and presets: those of the present one are left. A ``scan``
        stands in place of the present one.
        """
        present, brought, left = self.to_dict(), {}, set[str]()
        other = changes.get("modality", self.modality) != self.modality
        if other or changes.get("scan") is not None:
            left = scan_names(self.entry)
        if other:
            left |= {"modality", "methods", "prior", "preset"}
        if other or changes.get("preset") not in (None, self.preset):
            former = _of_preset({"preset": self.preset, "solver": self.solver, "modality": self.modality})
            left |= {key for key, value in former.items() if present[key] == value}
        present = {key: value for key, value in present.items() if key not in left}
        if not other and changes.get("preset") not in (None, self.preset):
            brought = _of_preset({**changes, "modality": self.modality})
        return Settings.from_dict({**present, **brought, **changes})

    @property
    def entry(self) -> Modality:
        """The modality's entry of the table."""
        return modality_named(self.modality)

    @property
    def usual(self) -> Mapping[str, Any]:
        """What stands in this modality in place of the defaults of the method's own settings."""
        return self.entry.usual.get(self.solver, {})

    @property
    def options(self) -> dict[str, Any]:
        """The method's options, as usual in this modality where none were given; without ``RUN_OPTIONS``."""
        return {**{name: value for name, value in self.usual.items() if name not in RUN_OPTIONS}, **self.solver_options}

    @property
    def first_level(self) -> float | None:
        """The noise level to begin at that was given or is usual in this modality, None: from the expected error."""
        usual: float | None = self.usual.get("sigma_start")
        return usual if self.sigma_start is None else self.sigma_start

    @property
    def usual_steps(self) -> int | None:
        """The steps that were given or are usual in this modality, None: as many as the method usually takes."""
        steps: int | None = self.usual.get("steps")
        return steps if self.steps is None else self.steps

    @property
    def draws_images(self) -> bool:
        """Whether the run draws images with a prior."""
        return DIFFUSION in self.methods

    @property
    def fallback_title(self) -> str:
        """The modality's fallback in sentences."""
        return self.entry.image(self.entry.fallback).title

    def iterations(self, name: str) -> int:
        """Of a classical image by its name, 1 for one that is made at once."""
        return 1 if self.entry.image(name).at_once else self.scan.iterations(name)

    @property
    def keeps_draws(self) -> bool:
        """Whether every draw is delivered."""
        return self.keep_draws or "draws" in self.keep

    def to_dict(self) -> dict[str, Any]:
        """JSON values, one flat object, that :meth:`from_dict` takes back."""
        values = asdict(self)
        scan = values.pop("scan")
        return {**values, **scan}

    def _check(self) -> None:
        methods = self.entry.methods
        known = isinstance(self.methods, tuple) and all(method in methods for method in self.methods)
        need(bool(self.methods) and known, f"methods out of {methods}", self.methods)
        kept = isinstance(self.keep, tuple) and all(key in KEEP for key in self.keep)
        need(bool(self.keep) and kept, f"keep out of {KEEP}", self.keep)
        if PHASE in self.keep and not self.entry.phase:
            raise ValueError(f"expected no 'phase' in keep, as images of {self.modality} have none: leave it out")
        need(isinstance(self.coupling, str), "a coupling by name", self.coupling)
        precise = isinstance(self.precision, str) and self.precision in PRECISIONS
        need(precise, f"precision out of {tuple(PRECISIONS)}", self.precision)
        need(whole(self.slab) and 1 <= self.slab <= 1000, "slab from 1 to 1000 slices", self.slab)
        for name in ("trust_unit", "keep_draws"):  # a text such as "no" would count as yes
            need(isinstance(getattr(self, name), bool), f"true or false as {name}", getattr(self, name))
        for name in ("sigma_start", "pixel_mm"):
            value = getattr(self, name)
            need(value is None or number(value), f"a finite number as {name}, or none", value)
        need(whole(self.seed) and 0 <= self.seed < 2**31, "a whole seed from 0 to 2147483647", self.seed)
        need(isinstance(self.solver, str), "a solver by name", self.solver)
        need(isinstance(self.solver_options, dict), "solver_options as names and values", self.solver_options)
        solvers = listed_methods()
        if self.solver in solvers:
            check_options(solvers[self.solver], self.solver_options)
        for name in ("prior", "device"):
            need(isinstance(getattr(self, name), str), f"{name} by name", getattr(self, name))
        need(whole(self.draws) and 1 <= self.draws <= 1000, "draws from 1 to 1000", self.draws)
        steps, sigma = self.steps, self.sigma_start
        need(steps is None or (whole(steps) and 2 <= steps <= 1000), "steps from 2 to 1000, or none", steps)
        need(sigma is None or 0.02 <= sigma <= 20, "sigma_start from 0.02 to 20", sigma)
        need(self.slices is None or _ascending(self.slices, 1), "slices [first, last) with first < last", self.slices)
        need(self.region is None or _ascending(self.region, 2), "region [i0, i1, j0, j1)", self.region)
        need(self.pixel_mm is None or 0.01 <= self.pixel_mm <= 20, "pixel_mm from 0.01 to 20", self.pixel_mm)


def scan_names(entry: Modality) -> set[str]:
    """The names of the settings that a modality alone has."""
    return {known.name for known in fields(entry.scan)}


def _of_preset(given: Mapping[str, Any]) -> dict[str, Any]:
    """What the preset of some settings brings; ValueError for one that there is not."""
    name = given.get("preset")
    if name is None:
        return {}
    if not isinstance(name, str):
        raise ValueError(f"expected a preset by name, or none, found {name!r}: change the setting")
    preset, modality = preset_named(name), given.get("modality", FIRST)
    if not serves(preset, modality):
        raise ValueError(
            f"expected a preset for {modality}, found '{name}', which is for {' and '.join(preset.modalities)}: change "
            "the setting"
        )
    brought = {**preset.changes}
    if preset.solver is None:
        brought["methods"] = tuple(image.name for image in modality_named(modality).classical)
    options = dict(brought.pop("solver_options", {}))
    if options and given.get("solver", brought["solver"]) == brought["solver"]:
        brought["solver_options"] = options
    return brought


def _ascending(bounds: object, pairs: int) -> bool:
    if not isinstance(bounds, tuple) or len(bounds) != 2 * pairs or not all(whole(b) for b in bounds):
        return False
    return all(0 <= bounds[2 * n] < bounds[2 * n + 1] for n in range(pairs))
