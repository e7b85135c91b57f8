"""The whole state of a run in one file that is either the old or the new one, whenever the process is killed."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch


def plain(settings: Any) -> dict[str, Any]:
    """A settings dataclass as a checkpoint holds it: numbers, texts and lists."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(settings).items()}


def save_checkpoint(path: Path, settings: Any, state: dict[str, Any]) -> None:
    """Write settings and state beside ``path``, then move them there in one step of the file system."""
    temporary = path.with_name(path.name + ".part")
    torch.save({**state, "settings": plain(settings)}, temporary)
    os.replace(temporary, path)


def load_checkpoint(path: Path | None, settings: Any, device: torch.device) -> dict[str, Any] | None:
    """The state of an earlier run, None where there is none; raises ValueError when its settings were others."""
    if path is None or not path.exists():
        return None
    state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    if state["settings"] != plain(settings):
        raise ValueError(f"{path} belongs to a run with other settings: {state['settings']}; choose another file")
    return state
