"""What a training is asked for: checked before anything starts, written down beside the checkpoint, told the engine."""

from __future__ import annotations

import json
import os
import re
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from diffusion_engine.priors.adapter_card import SHIPPED
from diffusion_engine.priors.card import FURTHER_PLANES, SLICE
from diffusion_engine.training.settings import PriorTraining
from diffusion_engine.training.units import UNITS
from slicer.i18n import tr as _

SIZES = ("small", "medium", "large")
NAME = re.compile(r"[^\W_][\w-]{0,99}")
FREE = ("out", "name", "minutes", "device", "processes")
"""What may differ when a training is continued."""
RECORD, CHECKPOINT, CARD, LOG = "training", "checkpoint", "json", "log"


@dataclass(frozen=True)
class TrainingRequest:
    """A training as the panel or the console asks for it.

    `data`: folder of volumes; `out`: folder for checkpoint, weights and card; `heldOut`: names of folders or files
    below `data` that are not trained on; `startFrom`: a prior, by name or path of its card, whose network is taken or
    grown; `size`: of the network, "" for that prior's, or small; `sees`: a slice, a slice with its neighbours, or a
    volume at once; `minutes`: a wish in place of `steps` when it is not 0; `files`: pattern of file names; `processes`:
    that share every step on a processor.
    """

    data: str
    out: str
    name: str = "my-prior"
    unit: str = "HU"
    files: str = "*"
    heldOut: tuple[str, ...] = field(default=())
    startFrom: str = ""
    size: str = ""
    sees: str = SLICE
    flip: bool = False
    augment: bool = False
    steps: int = 20000
    minutes: float = 0.0
    seed: int = 0
    device: str = "auto"
    processes: int = 1

    def file(self, ending: str) -> Path:
        """A file of this training: `RECORD`, `CHECKPOINT`, `CARD` or `LOG`."""
        return Path(self.out) / f"{self.name}.{ending}"

    def has(self, ending: str) -> bool:
        """Whether such a file of this training is there; False where the folder cannot be looked into."""
        return os.path.isfile(self.file(ending))

    def checkData(self) -> None:
        """Raise ValueError, one sentence, when there is nothing to train on like this."""
        if not self.data:
            raise ValueError(_("Choose a folder of volumes to train on."))
        if not os.path.isdir(self.data):  # False, too, for a folder that nobody may look into
            raise ValueError(_("'{data}' is no folder: choose the folder of the volumes.").format(data=self.data))
        if self.unit not in UNITS:
            raise ValueError(_("There is no unit '{unit}' to train on: choose {units}.").format(
                unit=self.unit, units=", ".join(UNITS)))
        if self.size not in ("", *SIZES):
            raise ValueError(_("There is no network size '{size}': choose {sizes}.").format(
                size=self.size, sizes=", ".join(SIZES)))
        if self.sees not in FURTHER_PLANES:
            raise ValueError(_("A network cannot see a '{sees}' at once: choose {known}.").format(
                sees=self.sees, known=", ".join(FURTHER_PLANES)))
        if self.steps < 1 or self.minutes < 0:
            raise ValueError(_("A training takes 1 step or more, and no negative time: correct steps or minutes."))
        comma = next((name for name in self.heldOut if "," in name), None)
        if comma is not None:
            raise ValueError(_("The held-out name '{name}' has a comma in it: rename that case.").format(name=comma))
        self.asked()

    def asked(self) -> PriorTraining:
        """What the engine is told; raises ValueError, one sentence, for what it would refuse before it reads data."""
        return PriorTraining(
            data=Path(self.data), steps=self.steps, exclude=self.heldOut, seed=self.seed, device=self.device,
            origin=self.startFrom or None, unit=self.unit, size=self.size or None, sees=self.sees, flip=self.flip,
            augment=self.augment, files=self.files or "*", processes=self.processes,
        )

    def check(self) -> None:
        """Raise ValueError, one sentence, when this cannot be started."""
        self.checkData()
        if NAME.fullmatch(self.name) is None:
            raise ValueError(_("A name has at most 100 letters, digits, '-' and '_', and begins with a letter or a "
                               "digit; '{name}' does not: change it.").format(name=self.name))
        if not self.out:
            raise ValueError(_("Choose a folder to keep the trained model in."))
        if self.has(CARD) or os.path.isfile(SHIPPED / f"{self.name}.json"):
            raise ValueError(_("There is a trained model called '{name}' already: choose another name.").format(
                name=self.name))
        begun = self.begun()
        if begun is not None and (others := self.different(begun)):
            raise ValueError(_("A training called '{name}' was begun with other settings ({what}): continue it, or "
                               "choose another name.").format(name=self.name, what=", ".join(others)))

    def begun(self) -> TrainingRequest | None:
        """What a training of this name, whose checkpoint is there, was asked for; None where nothing tells."""
        if not self.has(CHECKPOINT):
            return None
        try:
            content = json.loads(self.file(RECORD).read_text(encoding="utf-8"))
            content["heldOut"] = tuple(content["heldOut"])
            return TrainingRequest(**{**content, "out": self.out, "name": self.name})
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def different(self, other: TrainingRequest) -> list[str]:
        """The settings in which another request would not continue this one, in words; a wish in minutes counts."""
        found = [
            f"{entry.name} {getattr(other, entry.name)}" for entry in fields(self)
            if entry.name not in FREE and getattr(self, entry.name) != getattr(other, entry.name)
        ]
        return found or ([f"steps {other.steps}"] if self.minutes else [])

    def write(self) -> None:
        """Keep the settings beside the checkpoint, for a later continuation."""
        Path(self.out).mkdir(parents=True, exist_ok=True)
        self.file(RECORD).write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")

    def arguments(self, forecast: bool = False) -> list[str]:
        """The engine's command line."""
        given = {
            "data": self.data, "out": self.out, "name": self.name, "unit": self.unit, "files": self.files or "*",
            "exclude": ",".join(self.heldOut), "from": self.startFrom, "size": self.size, "steps": self.steps,
            "seed": self.seed, "device": self.device, "sees": self.sees, "processes": self.processes,
        }
        line = [f"--{key}={value}" for key, value in given.items() if value != ""]
        switches = {"flip": self.flip, "augment": self.augment, "forecast": forecast}
        return ["train", *line, *(f"--{key}" for key, on in switches.items() if on)]


def requestOf(data: str, out: str, name: str, settings: dict[str, Any]) -> TrainingRequest:
    """A request of plain values; raises ValueError for a setting that there is not."""
    known = {entry.name for entry in fields(TrainingRequest)} - {"data", "out", "name"}
    unknown = sorted(set(settings) - known)
    if unknown:
        raise ValueError(_("There is no setting '{name}' of a training: choose from {known}.").format(
            name=unknown[0], known=", ".join(sorted(known))))
    held = settings.get("heldOut", ())
    held = (held,) if isinstance(held, str) else tuple(held)
    return TrainingRequest(data, out, name, **{**settings, "heldOut": held})


def readLog(path: Path) -> list[dict[str, Any]]:
    """The lines of a training's log, without one that is being written; none before the file is there."""
    found = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return []
    for line in lines:
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict):
            found.append(entry)
    return found


def signs(entries: list[dict[str, Any]]) -> tuple[str, bool]:
    """What the log says of memorised training images, and whether it warns."""
    for entry in reversed(entries):
        if "copies" in entry:
            return str(entry["copies"].get("sentence", "")), bool(entry["copies"].get("suspicious"))
        if "warning" in entry:
            return str(entry["warning"]), True
        if "loss" in entry and "psnr_db" in entry:
            break
    return "", False
