"""The state of a run: one optimiser step, and all of it in one file that survives a kill at any time."""

from __future__ import annotations

import math
import os
import pickle
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..jobs.shortage import ran_out
from .averages import Averages
from .optimiser import MuonWithAdam
from .team import ALONE, Team


def plain(settings: Any) -> dict[str, Any]:
    """A settings dataclass as a checkpoint holds it: numbers, texts and lists."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(settings).items()}


def save_checkpoint(path: Path, settings: Any, state: dict[str, Any]) -> None:
    """Write settings and state beside ``path``, then move them there in one step of the file system."""
    temporary = path.with_name(path.name + ".part")
    torch.save({**state, "settings": plain(settings)}, temporary)
    os.replace(temporary, path)


def load_checkpoint(path: Path | None, settings: Any, device: torch.device) -> dict[str, Any] | None:
    """The state of an earlier run, None where there is none.

    Raises ValueError for a file that is no checkpoint, or a damaged one, and when its settings were others.
    """
    if path is None or not path.exists():
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    except (pickle.UnpicklingError, EOFError, RuntimeError, ValueError, KeyError) as error:
        if ran_out(error):
            raise
        raise _damaged(path) from error
    if not isinstance(state, dict) or "settings" not in state:
        raise _damaged(path)
    if state["settings"] != plain(settings):
        raise ValueError(f"{path} belongs to a run with other settings: {state['settings']}; choose another file")
    return state


def _damaged(path: Path) -> ValueError:
    return ValueError(
        f"expected the checkpoint of a training in {path}, found something else: remove it to begin anew, or choose "
        "another name"
    )


@dataclass(eq=False)
class Run:
    """What changes while a network is trained, with its checkpoint; ``settings``: with steps, clip_norm."""

    network: nn.Module
    optimiser: MuonWithAdam
    generator: torch.Generator
    averages: Averages
    settings: Any
    checkpoint: Path | None
    save_every: int
    team: Team = ALONE

    def resume(self) -> int:
        """Take over the checkpoint's state and return the steps done; 0 where there is none."""
        device = next(self.network.parameters()).device
        state = load_checkpoint(self.checkpoint, self.settings, device)
        if state is None:
            return 0
        try:
            self.network.load_state_dict(state["network"])
            self.optimiser.load_state_dict(state["optimiser"])
            self.generator.set_state(state["generator"].cpu())
            self.averages.restore(state["averages"])
            return int(state["step"])
        except (KeyError, RuntimeError, ValueError) as error:
            if ran_out(error):
                raise
            raise ValueError(
                f"the checkpoint {self.checkpoint} belongs to a run of another network: choose another name, or remove "
                "it to begin anew"
            ) from error

    def advance(self, loss: Tensor, step: int, rate: float) -> float:
        """Follow the gradient of the loss at step ``step`` (from 0) and save where it is time; returns the loss.

        Of a team, both are sums over its processes. Raises FloatingPointError when the loss is not finite.
        """
        value = self.team.total(loss.detach().clone()).item()
        if not math.isfinite(value):
            raise FloatingPointError(f"the training loss is not finite at step {step + 1}: lower the learning rate")
        self.network.zero_grad(set_to_none=True)
        loss.backward()
        self.team.total_gradients(self.network)
        nn.utils.clip_grad_norm_(self.network.parameters(), self.settings.clip_norm)
        self.optimiser.step(rate)
        self.averages.update(self.network, step)
        last = step + 1 == self.settings.steps
        due = self.team.rank == 0 and ((step + 1) % self.save_every == 0 or last)
        if self.checkpoint is not None and due:
            save_checkpoint(self.checkpoint, self.settings, {
                "network": self.network.state_dict(), "optimiser": self.optimiser.state_dict(),
                "generator": self.generator.get_state(), "averages": self.averages.values, "step": step + 1,
            })
        return value
