"""A training that another process follows: messages as a job's, one JSON object a line, and a file that stops it.

    {"event": "progress", "stage": "train", "step", "total", "fraction", "seconds_left", "memory_mb"}
    {"event": "done", "result": {...}} | {"event": "cancelled"} | {"event": "error", "message": one sentence}
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from ..jobs import job as jobs
from ..jobs.ending import end_with_parent, sentence
from ..jobs.progress import PeakMemory

if TYPE_CHECKING:  # torch is imported by `work`, so that its absence becomes a message too
    from .train import TrainingStep

REPORT_EVERY_S = 0.25

Each = Callable[["TrainingStep"], None]


class Cancelled(ValueError):
    """The file ``cancel`` appeared: the last checkpoint stays."""


def attached(folder: Path, work: Callable[[Each], dict[str, Any]]) -> dict[str, Any]:
    """Run ``work``, telling of every step that it passes on; returns its result.

    What libraries print goes to worker.log of ``folder``. The process ends when its stdin closes. Raises what ``work``
    raises, after a message about it, and :class:`Cancelled`.
    """
    # Messages get a stream of their own; the log is the process's stdout and stderr until its end.
    with os.fdopen(os.dup(1), "w", encoding="ascii") as out:
        with open(jobs.fresh_log(folder), "ab") as log:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
        end_with_parent()
        try:
            result = work(follower(folder, out))
        except Cancelled:
            _say(out, {"event": "cancelled"})
            raise
        except Exception as error:
            _say(out, {"event": "error", "message": sentence(error, "training")})
            raise
        _say(out, {"event": "done", "result": result})
        return result


def follower(folder: Path, out: TextIO, clock: Callable[[], float] = time.monotonic) -> Each:
    """A function that reports steps to ``out``, a few times a second, and raises :class:`Cancelled` once asked to.

    seconds_left = seconds since the first step told / steps since then * steps to come.
    """
    memory = PeakMemory()
    first: TrainingStep | None = None
    began, told = 0.0, -math.inf

    def each(step: TrainingStep) -> None:
        nonlocal first, began, told
        if (folder / jobs.CANCEL).exists():
            raise Cancelled(f"the training was cancelled at step {step.step}: start it again to go on")
        now = clock()
        if first is None:
            first, began = step, now
        if now - told < REPORT_EVERY_S and step.step < step.total:
            return
        told, done = now, step.step - first.step
        _say(out, {
            "event": "progress", "stage": "train", "step": step.step, "total": step.total,
            "fraction": round(step.step / step.total, 5),
            "seconds_left": round((now - began) / done * (step.total - step.step), 1) if done else None,
            "memory_mb": round(memory.update(), 1),
        })

    return each


def _say(out: TextIO, message: dict[str, Any]) -> None:
    out.write(json.dumps(message, allow_nan=False) + "\n")
    out.flush()
