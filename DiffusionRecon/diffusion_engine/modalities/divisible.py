"""Data of which some readings can be left out and foretold. No torch here."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from .contract import System


@runtime_checkable
class Divisible(Protocol):
    """A system that can be asked for its data in two parts; those of other modalities have no such method."""

    def divided(self) -> tuple[System, System] | None:
        """The data without some readings that are spread evenly over them, and these; None where they are too few."""
        ...
