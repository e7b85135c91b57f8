"""The work of data steps that are solved to an accuracy, and where they stopped before reaching it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True)
class Effort:
    """Of one step: ``products`` with the Jacobian; ``error`` foretold and ``allowed``, in units of the noise level."""

    products: int
    error: float
    allowed: float

    @property
    def short(self) -> bool:
        """Whether the step stopped before it was as accurate as asked."""
        return self.error > self.allowed


def joined(efforts: Iterable[Effort | None]) -> Effort | None:
    """One effort for slices that were solved apart: the most products and the worst accuracy; None without any."""
    known = [effort for effort in efforts if effort is not None]
    if not known:
        return None
    worst = max(known, key=lambda effort: effort.error / effort.allowed)
    return replace(worst, products=max(effort.products for effort in known))


@dataclass
class Efforts:
    """Of a run: ``steps`` and their ``products``, how many stopped ``short``, at ``most`` products, and ``worst``: the
    largest error of those in units of what was allowed."""

    steps: int = 0
    products: int = 0
    short: int = 0
    most: int = 0
    worst: float = 0.0

    def add(self, effort: Effort | None) -> None:
        """Count a step; one that is not solved to an accuracy counts for nothing."""
        if effort is None:
            return
        self.steps += 1
        self.products += effort.products
        self.most = max(self.most, effort.products)
        if effort.short:
            self.short += 1
            self.worst = max(self.worst, effort.error / effort.allowed)

    @property
    def sentence(self) -> str | None:
        """What a reader of the result must know, None where every step was as accurate as asked."""
        if not self.short:
            return None
        return (
            f"The data step stopped at {self.most} products in {self.short} of {self.steps} steps, with up to "
            f"{self.worst:.1f} times the error that was to be left: mean and spread may be off there; allow more "
            "products."
        )

    def to_dict(self) -> dict[str, Any] | None:
        """As JSON values; None where no step was solved to an accuracy."""
        if not self.steps:
            return None
        return {"steps": self.steps, "products": self.products, "short": self.short, "worst": round(self.worst, 3)}
