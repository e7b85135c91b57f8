"""What is watched while a prior trains: loss, denoising of held-out patches, first signs of memorisation; a log."""

from __future__ import annotations

import copy
import json
import statistics
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..denoiser import EDMDenoiser
from .data import PatchSampler
from .memorisation import GAP_DB, excess_gap, psnr_of
from .train import TrainingStep

PATCHES = 16
PATCH_SIZE = 64
SEED = 11
LOG_EVERY = 100
WATCHED = (0.1, 0.4, 1.0, 2.0)
"""Noise levels that are watched, as multiples of sigma_data."""


class Watch:
    """Fixed patches, of held-out and of training volumes, with fixed noise, denoised by the weights that are given."""

    def __init__(
        self, network: nn.Module, sigma_data: float, training: PatchSampler, held: PatchSampler | None
    ) -> None:
        self.probe = EDMDenoiser(copy.deepcopy(network).cpu(), sigma_data)
        self.own = getattr(network, "outputs", 1)
        self.sigmas = tuple(round(factor * sigma_data, 6) for factor in WATCHED)
        self.training = training.draw(PATCHES, PATCH_SIZE, torch.Generator().manual_seed(SEED))
        self.held = None if held is None else held.draw(PATCHES, PATCH_SIZE, torch.Generator().manual_seed(SEED))

    def look(self, weights: Mapping[str, Tensor]) -> dict[str, Any]:
        """Denoising PSNR in dB by noise level of held-out patches (of training patches where none are held out).

        With held-out patches also "gap_db" at the two highest levels (see :func:`excess_gap`).
        """
        denoiser = self._with(weights)
        clean, place = self.training if self.held is None else self.held
        found: dict[str, Any] = {
            "psnr_db": {f"{s:g}": round(psnr_of(clean, place, s, SEED, denoiser, self.own), 2) for s in self.sigmas}
        }
        if self.held is not None:
            gap = excess_gap(denoiser, self.training, self.held, self.sigmas[-2:], SEED, self.own)
            found["gap_db"] = round(gap, 2)
        return found

    def best(self, averages: Mapping[int, Mapping[str, Tensor]]) -> tuple[int, dict[str, float]]:
        """The half-life whose weights denoise the held-out patches best, and the mean PSNR in dB of each.

        Raises ValueError when nothing is held out.
        """
        if self.held is None:
            raise ValueError("the length of the average is chosen on held-out volumes: exclude some from training")
        scores = {}
        for halflife, weights in averages.items():
            denoiser = self._with(weights)
            scores[halflife] = statistics.fmean(psnr_of(*self.held, s, SEED, denoiser, self.own) for s in self.sigmas)
        return max(scores, key=lambda h: scores[h]), {str(h): round(score, 3) for h, score in scores.items()}

    def _with(self, weights: Mapping[str, Tensor]) -> EDMDenoiser:
        self.probe.network.load_state_dict(dict(weights))
        return self.probe


def warning(seen: Mapping[str, Any]) -> str | None:
    """A sentence when training patches are denoised clearly better than held-out ones at high noise, else None."""
    gap = seen.get("gap_db")
    if gap is None or gap < GAP_DB:
        return None
    return (
        f"At high noise the prior denoises its training images {gap:.1f} dB better than held-out ones: it begins to "
        "remember them. Stop here, or add volumes."
    )


class Log:
    """NAME.log, a JSON object a line; lines of steps that an interrupted run does again are taken out first."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def keep_before(self, step: int) -> None:
        """Forget lines of ``step`` and later, and a last line that broke off."""
        lines = []
        for text in self.path.read_text(encoding="utf-8").splitlines() if self.path.exists() else []:
            try:
                entry = json.loads(text)
            except json.JSONDecodeError:
                continue
            if entry.get("step", 0) < step:
                lines.append(text + "\n")
        self.path.write_text("".join(lines), encoding="utf-8")

    def add(self, **entry: Any) -> None:
        """Append one line, and print it."""
        text = json.dumps(entry)
        print(text, flush=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(text + "\n")

    def entries(self) -> list[dict[str, Any]]:
        """All lines; none before the file is there."""
        if not self.path.exists():
            return []
        return [json.loads(text) for text in self.path.read_text(encoding="utf-8").splitlines()]


def logged(run: Iterable[TrainingStep], log: Log, look: Callable[[], dict[str, Any]] | None = None) -> None:
    """Go through a training run: a line of mean loss every 100 steps, the result of ``look`` every 200 or more."""
    losses: deque[float] = deque(maxlen=LOG_EVERY)
    for step in run:
        if not losses:
            # The first step is known only now: that of the checkpoint, or 1.
            log.keep_before(step.step)
        losses.append(step.loss)
        if step.step % LOG_EVERY == 0:
            entry: dict[str, Any] = {
                "step": step.step, "of": step.total, "loss": round(sum(losses) / len(losses), 5),
            }
            look_every = LOG_EVERY * max(2, step.total // (25 * LOG_EVERY))
            if look is not None and (step.step % look_every == 0 or step.step == step.total):
                entry |= look()
                sign = warning(entry)
                entry |= {} if sign is None else {"warning": sign}
            log.add(**entry)
