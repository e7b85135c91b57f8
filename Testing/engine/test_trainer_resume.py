"""A training that is killed at any moment and continued ends with the weights of one that was not, bit for bit."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusion_engine.priors.networks import PatchUNet
from diffusion_engine.training.averages import Averages, halflives_around
from diffusion_engine.training.data import PatchSampler, TrainingSlices
from diffusion_engine.training.train import TrainingSettings, averages_of, train
from diffusion_engine.training.watch import Log
from torch import nn

SETTINGS = TrainingSettings(
    steps=24, patch_sizes=(16,), pixels_per_step=512, warmup_steps=2, average_halflife_steps=5,
    further_halflives=(1, 9), seed=3, bf16=False,
)


def network(seed: int = 0) -> PatchUNet:
    torch.manual_seed(seed)
    return PatchUNet(channels=(8, 12), blocks=1)


def sampler() -> PatchSampler:
    values = np.random.default_rng(0).normal(0, 0.5, size=(3, 24, 24)).astype(np.float16)
    return PatchSampler([TrainingSlices("a", values, np.ones(3))])


def train_until_killed(folder: Path) -> None:
    """What the other process runs: a checkpoint after every step, and the step's number once it is written."""
    torch.set_num_threads(1)
    for step in train(network(), sampler(), SETTINGS, folder / "run.checkpoint", save_every=1):
        print(step.step, flush=True)
        time.sleep(0.05)
        if step.step == SETTINGS.steps - 1:
            sys.stdin.read()  # never to the end: a kill that comes late is one all the same


def test_a_killed_process_is_continued_bit_for_bit(tmp_path: Path) -> None:
    """The kill comes at a random step and at a random part of it: in the step, in the writing, or after it."""
    last = random.randint(2, SETTINGS.steps - 6)
    # Where the modules are found, whatever the working directory of the tests is.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    code = "import sys, pathlib, test_trainer_resume as t; t.train_until_killed(pathlib.Path(sys.argv[1]))"
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env=environment,
        cwd=Path(__file__).parent,
    )
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        for line in child.stdout:
            if int(line) == last:
                time.sleep(random.uniform(0, 0.12))
                break
    finally:
        child.kill()
        child.wait()
        child.stdin.close()
        child.stdout.close()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        whole, resumed = network(), network(seed=99)
        every, again = averages_of(whole, SETTINGS), averages_of(resumed, SETTINGS)
        list(train(whole, sampler(), SETTINGS, averages=every))
        rest = list(train(resumed, sampler(), SETTINGS, tmp_path / "run.checkpoint", 1, again))
    finally:
        torch.set_num_threads(threads)
    assert last < rest[0].step <= SETTINGS.steps, f"killed after step {last}"
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), (last, name)
        for halflife in (5, 1, 9):
            assert torch.equal(every.values[halflife][name], again.values[halflife][name]), (last, halflife, name)


def test_averages_are_exponential_and_short_at_first() -> None:
    layer = nn.Linear(1, 1, bias=False)
    layer.weight.data.fill_(0.0)
    averages = Averages(layer, (2, 1000))
    layer.weight.data.fill_(1.0)
    # Long after the start the first is 1 - 0.5^(n / 2), the second 1 - 0.5^(n / 1000).
    for step in range(100_000, 100_004):
        averages.update(layer, step)
    assert float(averages.values[2]["weight"]) == pytest.approx(0.75)
    assert float(averages.values[1000]["weight"]) == pytest.approx(1 - 0.5**0.004, rel=1e-4)
    early = Averages(layer, (1000,))
    layer.weight.data.fill_(3.0)
    early.update(layer, 0)
    assert float(early.values[1000]["weight"]) == pytest.approx(2.0)
    with pytest.raises(ValueError, match="different half-lives"):
        Averages(layer, (5, 5))
    assert halflives_around(20_000, 500) == (125, 2000)
    assert halflives_around(1, 500) == (1, 125)


def test_the_network_ends_with_the_average_of_the_settings(tmp_path: Path) -> None:
    net, settings = network(), replace(SETTINGS, steps=6)
    averages = averages_of(net, settings)
    list(train(net, sampler(), settings, averages=averages))
    final = {h: torch.cat([v.flatten() for v in values.values()]) for h, values in averages.values.items()}
    assert torch.equal(final[5], torch.cat([v.flatten() for v in net.state_dict().values()]))
    assert not torch.equal(final[1], final[9])


def test_the_log_forgets_what_is_done_again(tmp_path: Path) -> None:
    log = Log(tmp_path / "a.log")
    assert log.entries() == []
    for step in (100, 200, 300):
        log.add(step=step, loss=1.0)
    with log.path.open("a") as file:
        file.write('{"step": 4')
    log.keep_before(201)
    assert [entry["step"] for entry in log.entries()] == [100, 200]
    assert json.loads(log.path.read_text().splitlines()[0]) == {"step": 100, "loss": 1.0}
