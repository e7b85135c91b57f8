"""The model card of a prior: what it was trained on, in which unit, and how well it denoises; checked at load."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..checks import number
from .conditions import START, condition_from_card

FORMAT = "diffusion-priors card 1"
STACK = 3
"""Slices that a denoiser of triplets sees at once."""
ALONE = 3
"""Inputs of a network that sees a slice and its two position planes."""
SLICE, NEIGHBOURS, VOLUME = "slice", "neighbours", "volume"
"""What a network sees at once; the last two are also the couplings of slices that such a network is for."""
FURTHER_PLANES = {SLICE: 0, NEIGHBOURS: 4, VOLUME: 1}
"""What it is told besides: of two neighbours (see :mod:`.neighbours`), or how close slices are (:mod:`.volumes`)."""
OPTIONAL = {
    "calibration": list, "typicality": dict, "sampler": dict, "detection": list, "maps": list, "condition": dict,
}
CALIBRATION_KEYS = {"solver", "draws", "slices", "factor", "floor", "coverage90", "coverage90_calibrated"}
"""What every entry needs; what tells its scan is the modality's own."""
DETECTION_KEYS = {"preset", "method", "views", "noise_percent", "contrast_up_to", "limit_mm", "tried_mm", "lesions"}
MAP_KEYS = {"spread_edges", "gradient_edges", "std", "threshold", "false_alarms_per_32_slices"}
"""What the null of a map needs."""
TYPICALITY_KEYS = {"sigma", "mean", "slope", "precision", "threshold", "full"}


@dataclass(frozen=True)
class PriorCard:
    """Everything a user or the engine must know of a weight file; the JSON beside it holds these keys.

    ``unit``, ``offset``, ``scale``: network value = (value in unit - offset) / scale; ``scale_rule``: what becomes 1,
    in words, where a volume without a physical unit must be brought to this scale first. ``pixel_mm``: range of
    in-plane pixel sizes it was trained on. ``sigma``: range of noise levels in network units. ``start_error``:
    see :mod:`diffusion_engine.solvers.start`. ``denoising_psnr_db``: noise level -> PSNR over a range of 2
    network units on the held-out volumes. ``calibration``: a factor of the spread for each acquisition, see
    :mod:`diffusion_engine.posterior.calibration`; ``typicality``: what its training images score, see
    :mod:`diffusion_engine.posterior.typicality`. Both are optional. ``sampler``: the one method that weights which are
    no denoiser were taught for, as "method", and options of it by name; empty for every denoiser. ``detection``: from
    which diameter on inserted lesions were kept, see :mod:`diffusion_engine.run.detection`; older cards have none.
    ``maps``: for each acquisition the nulls of the maps that warn, see :mod:`diffusion_engine.run.maps`; optional.
    ``condition``: what it is told besides, see :mod:`.conditions`; empty for a network that is told nothing.
    """

    name: str
    title: str
    modality: str
    anatomy: str
    unit: str
    offset: float
    scale: float
    sigma_data: float
    sigma: tuple[float, float]
    pixel_mm: tuple[float, float]
    network: dict[str, Any]
    weights: str
    sha256: str
    date: str
    licence: str
    training: dict[str, Any]
    data: list[dict[str, str]]
    held_out: list[str]
    denoising_psnr_db: dict[str, float]
    not_for: list[str]
    start_error: dict[str, float] = field(default_factory=dict)
    scale_rule: str = ""
    format: str = FORMAT
    calibration: list[dict[str, Any]] = field(default_factory=list)
    typicality: dict[str, Any] = field(default_factory=dict)
    sampler: dict[str, Any] = field(default_factory=dict)
    detection: list[dict[str, Any]] = field(default_factory=list)
    maps: list[dict[str, Any]] = field(default_factory=list)
    condition: dict[str, Any] = field(default_factory=dict)

    @property
    def told(self) -> str:
        """The kind of condition that the network is told, "" for none."""
        return str(self.condition.get("kind", ""))

    @property
    def reconstructs(self) -> bool:
        """Whether measured data can be reconstructed with it: it is told nothing, or what such a run starts from."""
        return self.told in ("", START)

    @property
    def sees(self) -> str:
        """What it sees at once: a slice, a slice with its neighbours, or a volume."""
        network = self.network
        further = network.get("conditions", 0) + network.get("outputs", 1) - 1
        return seen_by(network.get("inputs", ALONE) - further, bool(network.get("volumes")))


def seen_by(inputs: int, volumes: bool) -> str:
    """What a network of so many inputs sees at once, those of conditions and further channels not counted.

    ``volumes``: it convolves along the slices.
    """
    if volumes:
        return VOLUME
    return NEIGHBOURS if inputs == ALONE + FURTHER_PLANES[NEIGHBOURS] else SLICE


def check_sampler(card: PriorCard, method: str) -> None:
    """Raise ValueError where the weights were taught for another method than ``method``."""
    wanted = card.sampler.get("method", method)
    if method != wanted:
        raise ValueError(
            f"the prior {card.name} is no denoiser, it was taught for the method '{wanted}' alone: choose that method "
            f"instead of '{method}', or another prior"
        )


def check_seen(card: PriorCard, coupling: str) -> None:
    """Raise ValueError where the coupling of slices is by what the prior sees, and it does not see that."""
    if coupling in (NEIGHBOURS, VOLUME) and card.sees != coupling:
        wanted = "looks at neighbours, such as ct-body-stack" if coupling == NEIGHBOURS else "was trained on volumes"
        raise ValueError(
            f"the prior {card.name} sees a {card.sees} at a time: choose one that {wanted}, or another coupling than "
            f"'{coupling}'"
        )


def check_use(card: PriorCard, method: str, coupling: str) -> None:
    """Raise ValueError as :func:`check_sampler` and :func:`check_seen`, and for a model that is told masks."""
    check_sampler(card, method)
    check_seen(card, coupling)
    if not card.reconstructs:
        raise ValueError(
            f"the model {card.name} makes images of what it is told (a {card.told}), not of measured data: choose "
            "another"
        )


def read_card(path: Path) -> PriorCard:
    """Read and check a card; raises ValueError with one sentence for whatever is missing or wrong."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"no model card at {path}: every prior needs the JSON card that came with it") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"the model card {path.name} is not valid JSON ({error}): download it again") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ValueError(f"the model card {path.name} is not of format '{FORMAT}': convert it or use another version")
    known = set(PriorCard.__dataclass_fields__)
    required = known - {"start_error", "scale_rule", *OPTIONAL}
    missing, unknown = sorted(required - set(content)), sorted(set(content) - known)
    if missing or unknown:
        raise ValueError(
            f"the model card {path.name} has missing keys {missing} and unknown keys {unknown}: expected "
            f"{sorted(known)}"
        )
    for key in ("sigma", "pixel_mm"):
        pair = content[key]
        if not isinstance(pair, list) or len(pair) != 2 or not all(map(number, pair)) or not 0 < pair[0] <= pair[1]:
            raise ValueError(f"the model card {path.name} has {key} {pair!r}: expected two rising positive numbers")
        content[key] = tuple(pair)
    if not number(content["scale"]) or not number(content["sigma_data"]) or not number(content["offset"]):
        raise ValueError(f"the model card {path.name} has no number as scale, offset or sigma_data: correct it")
    if not isinstance(content["network"], dict) or Path(str(content["weights"])).name != content["weights"]:
        raise ValueError(f"the model card {path.name} must describe its network and name weights beside the card")
    if isinstance(content.get("calibration"), list):
        content["calibration"] = [_renamed(entry) for entry in content["calibration"]]
    _check_trust(content, path.name)
    card = PriorCard(**content)
    if not card.scale > 0 or not card.sigma_data > 0:
        raise ValueError(
            f"the model card {path.name} has scale {card.scale} and sigma_data {card.sigma_data}: both must be positive"
        )
    return card


def _check_trust(content: dict[str, Any], name: str) -> None:
    """Raise ValueError unless the optional calibration, detection and typicality have what the engine reads there."""
    for key, kind in OPTIONAL.items():
        if not isinstance(content.get(key, kind()), kind):
            raise ValueError(f"the model card {name} needs {key} as a {kind.__name__}: calibrate it again")
    for entry in content.get("calibration", []):
        if not isinstance(entry, dict) or CALIBRATION_KEYS - set(entry):
            needed = sorted(CALIBRATION_KEYS)
            raise ValueError(f"a calibration in the model card {name} needs {needed}: calibrate it again")
        by_class, gain = entry.get("factors", {}), entry.get("gain", 0.0)
        if not isinstance(by_class, dict):
            raise ValueError(f"a calibration in the model card {name} has factors {by_class!r}: calibrate it again")
        positive = {"factor": entry["factor"], "floor": entry["floor"], **by_class}
        for key, value in positive.items():
            if not number(value) or not value > 0:
                raise ValueError(f"a calibration in the model card {name} has {key} {value!r}: calibrate it again")
        if not number(gain) or not gain >= 0:
            raise ValueError(f"a calibration in the model card {name} has gain {gain!r}: calibrate it again")
    for entry in content.get("detection", []):
        if not isinstance(entry, dict) or DETECTION_KEYS - set(entry) or not isinstance(entry["method"], dict):
            needed = sorted(DETECTION_KEYS)
            raise ValueError(f"a limit of detection in the model card {name} needs {needed}: measure it again")
        counts = [entry["views"], entry["noise_percent"]]
        optional = [entry[key] for key in ("contrast_up_to", "limit_mm") if entry[key] is not None]
        tried = entry["tried_mm"] if isinstance(entry["tried_mm"], list) else []
        if len(tried) != 2 or not all(number(value) and value > 0 for value in (*counts, *optional, *tried)):
            raise ValueError(
                f"a limit of detection in the model card {name} has views, noise_percent, contrast_up_to, limit_mm or "
                "tried_mm that are no positive numbers: measure it again"
            )
    for entry in content.get("maps", []):
        nulls = list(entry["maps"].values()) if isinstance(entry, dict) and isinstance(entry.get("maps"), dict) else []
        if not nulls or not all(isinstance(null, dict) and set(null) >= MAP_KEYS for null in nulls):
            raise ValueError(f"a map in the model card {name} needs {sorted(MAP_KEYS)}: calibrate the maps again")
        for null in nulls:
            _check_null(null, name)
    _check_condition(content, name)
    typicality = content.get("typicality", {})
    if not typicality:
        return
    if TYPICALITY_KEYS - set(typicality):
        raise ValueError(f"the typicality in the model card {name} needs {sorted(TYPICALITY_KEYS)}: calibrate it again")
    limits = [typicality["threshold"], typicality["full"]]
    if not all(map(number, limits)) or not 0 < limits[0] < limits[1]:
        raise ValueError(f"the typicality in the model card {name} needs 0 < threshold < full: calibrate it again")
    # An older card has one slope a level; a newer one such a row for each number of the scan.
    slope = typicality["slope"]
    rows = slope if slope and all(isinstance(row, list) for row in slope) else [slope]
    lengths = {len(part) for part in (*rows, *(typicality[key] for key in ("sigma", "mean", "precision")))}
    if len(lengths) != 1:
        raise ValueError(f"the typicality in the model card {name} needs a number a noise level: calibrate it again")


def _check_condition(content: dict[str, Any], name: str) -> None:
    """Raise ValueError unless what the network is told is a condition that its inputs have room for."""
    try:
        condition = condition_from_card(content.get("condition", {}))
    except (TypeError, ValueError) as error:
        raise ValueError(f"the condition in the model card {name} is wrong ({error}): correct the card") from None
    told, expected = content["network"].get("conditions", 0), condition.channels if condition else 0
    if told != expected:
        raise ValueError(
            f"the network in the model card {name} takes {told} channels of a condition, which has {expected}: correct "
            "the card"
        )


def _check_null(null: dict[str, Any], name: str) -> None:
    """Raise ValueError unless a map's table fits its edges."""
    edges, table = (null["spread_edges"], null["gradient_edges"]), null["std"]
    listed = all(isinstance(own, list) for own in (*edges, table)) and all(isinstance(row, list) for row in table)
    rising = listed and all(all(map(number, own)) and sorted(own) == own for own in edges)
    square = rising and [len(row) for row in table] == [len(edges[1]) + 1] * (len(edges[0]) + 1)
    filled = square and all(number(value) and value >= 0 for row in table for value in row)
    threshold, alarms = null["threshold"], null["false_alarms_per_32_slices"]
    if not filled or not number(threshold) or not threshold > 0 or not number(alarms) or not alarms >= 0:
        raise ValueError(
            f"a map in the model card {name} needs rising edges, a table of numbers of at least 0 that fits them, a "
            "threshold above 0 and a rate of false alarms: calibrate the maps again"
        )


def _renamed(entry: Any) -> Any:
    """A calibration with the floor under the name that it has for every unit."""
    if not isinstance(entry, dict) or "floor_hu" not in entry:
        return entry
    return {"floor" if key == "floor_hu" else key: value for key, value in entry.items()}



def write_card(card: PriorCard, path: Path) -> None:
    """Write the card as indented JSON."""
    path.write_text(json.dumps(asdict(card), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def sha256(path: Path) -> str:
    """Hex digest of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
