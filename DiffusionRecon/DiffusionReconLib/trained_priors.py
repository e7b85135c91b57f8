"""The user's own priors: the folders that hold them, remembered in Slicer's settings, and their cards."""

from __future__ import annotations

import json
from pathlib import Path

import slicer

FOLDERS_KEY = "DiffusionRecon/PriorFolders"


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
