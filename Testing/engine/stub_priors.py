"""A prior that costs nothing: the exact denoiser of white Gaussian images around water; it notes what it is asked."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import torch
from diffusion_engine.denoiser import EDMDenoiser
from diffusion_engine.priors.card import PriorCard, read_card
from diffusion_engine.priors.library import PRIORS_FOLDER, Prior
from torch import Tensor, nn

PASSES = {"threshold": 1e6, "full": 2e6}
FAILS = {"threshold": 1e-3, "full": 2e-3}


class _Nothing(nn.Module):
    def forward(self, x: Tensor, noise_level: Tensor) -> Tensor:
        return 0 * x[:, :1]


@dataclass(frozen=True, eq=False)
class StubPrior(Prior):
    """D(x; s) = x d^2 / (s^2 + d^2), d = 0.5; ``asked``: the noise levels that it was asked for."""

    asked: list[float] = field(default_factory=list)

    def __call__(self, x: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
        self.asked.extend(sigma.flatten().tolist())
        return super().__call__(x, sigma, condition)


def typicality(limits: dict[str, float]) -> dict[str, Any]:
    """A card's entry whose score is the length of the features themselves."""
    return {
        "sigma": [0.1, 0.3], "mean": [0.0, 0.0], "slope": [0.0, 0.0], "precision": [[1.0, 0.0], [0.0, 1.0]], **limits,
    }


def stub_prior(monkeypatch: pytest.MonkeyPatch, **changes: Any) -> StubPrior:
    """The prior that every run of the test gets; ``changes``: of its card, which knows pixels of 1 to 20 mm."""
    card: PriorCard = read_card(PRIORS_FOLDER / "ct-body.json")
    card = replace(card, **{"pixel_mm": (1.0, 20.0), "calibration": [], "typicality": {}, **changes})
    prior = StubPrior(card, EDMDenoiser(_Nothing()), torch.device("cpu"), False)
    monkeypatch.setattr("diffusion_engine.run.pipeline.load_prior", lambda *given, **named: prior)
    return prior
