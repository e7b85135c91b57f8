"""What tests of further modalities share: an entry without files, its place in the table, a prior that is exact."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest
from diffusion_engine.modalities import table
from diffusion_engine.modalities.contract import Modality
from diffusion_engine.modalities.rules import Files
from diffusion_engine.priors.adapter_card import SHIPPED
from diffusion_engine.priors.card import PriorCard, read_card
from diffusion_engine.solvers import listing
from torch import Tensor

NO_FILES = Files((), False, lambda *_: False, lambda *_: None, lambda *_: ("", None), lambda _: 0, str)


class Plain(tuple):
    """A fingerprint that says nothing."""

    of = classmethod(lambda cls, prepared: cls())
    stored = classmethod(lambda cls, entry: cls())


@dataclass(frozen=True)
class Shrinking:
    """The exact denoiser of white images, real or complex, of standard deviation 0.5 around ``mean``."""

    card: PriorCard
    mean: float = 0.0
    bf16: bool = False

    def __call__(self, x: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
        return self.mean + (x - self.mean) * 0.25 / (0.25 + sigma**2)


def entered(monkeypatch: pytest.MonkeyPatch, modality: Modality, mean: float = 0.0) -> Shrinking:
    """The table has the modality; whatever prior is asked for is the one that is returned, in its unit."""
    known: dict[str, Any] = {**table.MODALITIES, modality.name: modality}
    monkeypatch.setattr(table, "MODALITIES", known)
    monkeypatch.setattr(listing, "MODALITIES", known)
    card = replace(read_card(SHIPPED / "ct-body.json"), calibration=[], typicality={}, unit=modality.unit)
    prior = Shrinking(card, mean)
    for place in ("run.pipeline", "evaluation.evaluate"):
        monkeypatch.setattr(f"diffusion_engine.{place}.load_prior", lambda *given, **named: prior)
    return prior
