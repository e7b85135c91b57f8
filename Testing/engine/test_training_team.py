"""Training by several processes: their parts make the whole, an interrupted run resumes, and a lost one is noticed."""

from __future__ import annotations

import itertools
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusion_engine.denoiser import EDMDenoiser
from diffusion_engine.io.images import write_volume
from diffusion_engine.jobs.ending import sentence
from diffusion_engine.priors.library import load_prior
from diffusion_engine.training import run
from diffusion_engine.training.settings import PriorTraining
from diffusion_engine.training.team import Team, check_team, gathered
from diffusion_engine.training.train import draw_batch, edm_loss, train
from diffusion_engine.volume import Volume
from test_training import SETTINGS, network, sampler


def assist(team: Team, checkpoint: Path | None) -> None:
    """What the second process of these tests does."""
    torch.set_num_threads(1)
    for _ in train(network(), sampler(), SETTINGS, checkpoint, team=team):
        pass


def leave(team: Team) -> None:
    """A process that is killed."""
    os._exit(9)


@pytest.mark.parametrize("augment", [False, True])
def test_the_parts_of_a_step_make_the_whole(augment: bool) -> None:
    settings = replace(SETTINGS, augment=augment, pixels_per_step=2 * 1200)
    batch = draw_batch(sampler(), settings, torch.Generator().manual_seed(1))
    assert len(batch.sigma) in (4, 9)

    def gradient(loss: torch.Tensor, net: torch.nn.Module) -> torch.Tensor:
        return torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(net.parameters()))])

    net = network()
    denoiser = EDMDenoiser(net)
    whole = edm_loss(denoiser, *batch.on(torch.device("cpu")), False)
    parts, shares = zip(*(Team(rank, 3).part(batch) for rank in range(3)), strict=True)
    losses = [
        share * edm_loss(denoiser, *part.on(torch.device("cpu")), False)
        for part, share in zip(parts, shares, strict=True)
    ]
    assert sum(shares) == pytest.approx(1)
    assert sum(x.item() for x in losses) == pytest.approx(whole.item(), rel=1e-5)
    expected = gradient(whole, net)
    assert torch.allclose(sum(gradient(x, net) for x in losses), expected, atol=1e-5 * float(expected.abs().max()))


def test_two_processes_learn_what_one_does_and_resume_to_the_bit(tmp_path: Path) -> None:
    alone = [step.loss for step in train(network(), sampler(), SETTINGS)]
    whole, broken, resumed = network(), network(), network(seed=99)
    checkpoint = tmp_path / "run.checkpoint"
    threads = torch.get_num_threads()
    with gathered(2, assist, [None]) as team:
        assert team == Team(0, 2)
        losses = [step.loss for step in train(whole, sampler(), SETTINGS, team=team)]
    assert torch.get_num_threads() == threads
    assert losses == pytest.approx(alone, rel=0.02)
    assert losses[0] == pytest.approx(alone[0], rel=1e-5)
    with gathered(2, assist, [checkpoint]) as team:
        first = list(itertools.islice(train(broken, sampler(), SETTINGS, checkpoint, 3, team=team), 5))
    with gathered(2, assist, [checkpoint]) as team:
        rest = list(train(resumed, sampler(), SETTINGS, checkpoint, 3, team=team))
    assert [s.step for s in rest] == [4, 5, 6, 7, 8]
    assert [s.loss for s in first[:3]] + [s.loss for s in rest] == losses
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_a_prior_by_two_processes(tmp_path: Path) -> None:
    image = np.random.default_rng(0).normal(-500, 300, (3, 32, 32)).astype(np.float32)
    for case in ("one", "two"):
        (tmp_path / case).mkdir()
        write_volume(Volume(image, np.diag([-1.5, -1.5, 5.0, 1.0]), "HU"), tmp_path / case / "ct.nrrd")
    asked = PriorTraining(
        data=tmp_path, exclude=("two",), steps=3, device="cpu", patches=(16,), pixels=768, processes=2
    )
    card = run.train_prior(asked, tmp_path / "out", "mine")
    assert card["training"]["processes"] == 2
    assert card["training"]["pixels_per_step"] == 768
    assert load_prior(str(tmp_path / "out" / "mine.json")).card.sha256 == card["sha256"]
    many = replace(asked, exclude=(), processes=4)
    with pytest.raises(ValueError, match="a step of 3 patches cannot be shared by 4 processes"):
        run.train_prior(many, tmp_path / "other", "p")
    assert not (tmp_path / "other").exists()
    with pytest.raises(ValueError, match="a step of 3 patches cannot be shared by 4 processes"):
        run.foresee_prior(many)


def test_a_lost_process_ends_the_run(tmp_path: Path) -> None:
    lost = pytest.raises(ChildProcessError, match="another process of the training ended")
    with lost as told, gathered(2, leave, []) as team:
        list(train(network(), sampler(), SETTINGS, team=team))
    assert sentence(told.value) == str(told.value)


def test_which_teams_there_are() -> None:
    check_team(2, torch.device("cpu"), [8, 2])
    check_team(1, torch.device("cuda"), [1])
    with pytest.raises(ValueError, match="a step of 2 patches cannot be shared by 3 processes"):
        check_team(3, torch.device("cpu"), [8, 2])
    with pytest.raises(ValueError, match="choose --processes 1"):
        check_team(2, torch.device("cuda"), [8])
    with pytest.raises(ValueError, match="expected 1 process or more"):
        check_team(0, torch.device("cpu"), [8])
