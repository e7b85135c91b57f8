"""Modules that are imported at their first use, so that the panel opens at once."""

from __future__ import annotations

import importlib
from typing import Any


class Lazily:
    """A module of this package, by its name in it: imported when something of it is first asked for."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        return getattr(importlib.import_module(f"DiffusionReconLib.{self._name}"), attribute)
