"""A training that is followed from outside: what it says of its steps, how it is stopped, what is said of its death."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest
from diffusion_engine.jobs import process
from diffusion_engine.training.attached import Cancelled, follower, sentence
from diffusion_engine.training.train import TrainingStep


def test_steps_are_told_now_and_then_and_the_last_one_always(tmp_path: Path) -> None:
    """A continued run: 2 seconds for each step from 1001 on."""
    out, times = io.StringIO(), iter((0.0, 2.0, 2.1, 4.0))
    each = follower(tmp_path, out, lambda: next(times))
    for step in (1001, 1002, 1003, 1004):
        each(TrainingStep(step, 1004, 0.5, 1e-3))
    told = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [message["step"] for message in told] == [1001, 1002, 1004]
    assert [message["seconds_left"] for message in told] == [None, 4.0, 0.0]
    assert [message["fraction"] for message in told] == [pytest.approx(step / 1004, abs=1e-5)
                                                         for step in (1001, 1002, 1004)]
    assert told[0]["event"] == "progress"
    assert told[0]["memory_mb"] > 1


def test_the_file_cancel_stops_it(tmp_path: Path) -> None:
    each = follower(tmp_path, io.StringIO())
    each(TrainingStep(1, 10, 0.5, 1e-3))
    (tmp_path / "cancel").touch()
    with pytest.raises(Cancelled, match="cancelled at step 2"):
        each(TrainingStep(2, 10, 0.5, 1e-3))


def test_what_went_wrong_is_one_sentence(tmp_path: Path) -> None:
    assert sentence(ValueError("two\nlines")) == "two lines"
    assert "smaller network" in sentence(RuntimeError("CUDA out of memory. Tried to allocate"), "training")
    assert sentence(KeyError("x"), "training").startswith("The training failed (KeyError: 'x')")
    last = process.launch(tmp_path, [sys.executable, "-c", "raise SystemExit(7)"], "training").wait()
    assert last["event"] == "error"
    assert last["message"].startswith("The training process ended before its result (exit code 7)")
    with pytest.raises(ValueError, match="check its path"):
        process.launch(tmp_path, [str(tmp_path / "no-python")])
