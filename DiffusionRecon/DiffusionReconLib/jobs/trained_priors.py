"""The user's own priors: the folders that hold them and the last training, remembered in Slicer's settings; cards."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import slicer
from diffusion_engine.training.units import UNITS

from DiffusionReconLib.jobs.training_request import TrainingRequest

FOLDERS_KEY = "DiffusionRecon/PriorFolders"
REQUEST_KEY = "DiffusionRecon/Training"


def defaultFolder() -> Path:
    """Where priors are kept unless another folder is chosen: beside Slicer's settings file."""
    return Path(slicer.app.settings().fileName()).parent / "DiffusionPriors"


def priorFolders() -> list[Path]:
    """The folders whose priors are offered: the default one, then those that were chosen, the oldest first."""
    try:
        stored = json.loads(slicer.app.settings().value(FOLDERS_KEY) or "[]")
    except (TypeError, ValueError):
        stored = []
    named = [Path(name) for name in stored if isinstance(name, str)] if isinstance(stored, list) else []
    return list(dict.fromkeys([defaultFolder(), *named]))


def rememberFolder(folder: Path) -> None:
    """Offer the priors of this folder from now on, in later sessions too."""
    place = folder.resolve()
    known = priorFolders()
    if place not in [each.resolve() for each in known]:
        names = [str(each) for each in (*known[1:], place)]
        slicer.app.settings().setValue(FOLDERS_KEY, json.dumps(names))


def ownCards() -> list[Path]:
    """The files that may be model cards of the user's own priors; whoever reads them finds out."""
    return [path for folder in priorFolders() for path in sorted(folder.glob("*.json")) if path.is_file()]


def rememberRequest(request: TrainingRequest) -> None:
    """Show these settings in the next session too."""
    slicer.app.settings().setValue(REQUEST_KEY, json.dumps(asdict(request)))


def rememberedRequest() -> TrainingRequest:
    """The settings of the last training; the first ones where there was none or they cannot be read."""
    try:
        content = json.loads(slicer.app.settings().value(REQUEST_KEY) or "")
        found = TrainingRequest(**{**content, "heldOut": tuple(content["heldOut"])})
        if found.unit in UNITS and isinstance(found.steps, int) and isinstance(found.minutes, (int, float)):
            return found
    except (ValueError, TypeError, KeyError):
        pass
    return TrainingRequest(data="", out=str(defaultFolder()))
