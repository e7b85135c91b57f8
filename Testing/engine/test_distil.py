"""Consistency distillation of a Gaussian prior, whose probability flow ends at a known image."""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusion_engine.__main__ import main
from diffusion_engine.denoiser import EDMDenoiser
from diffusion_engine.io.images import write_volume
from diffusion_engine.phantoms import synthetic_chest
from diffusion_engine.priors.analytic import GaussianDenoiser
from diffusion_engine.priors.card import PriorCard, check_sampler, write_card
from diffusion_engine.priors.library import load_prior, write_weights
from diffusion_engine.priors.networks import PatchUNet
from diffusion_engine.sampling.grids import poly_grid
from diffusion_engine.training.data import PatchSampler, TrainingSlices
from diffusion_engine.training.distil import DistilSettings, consistency_loss, distil, flow
from torch import Tensor, nn

SIZE = 8
MEAN, VARIANCE = 0.3, 0.04
SETTINGS = DistilSettings(
    steps=200, levels=12, skip=2, sigma_min=0.02, sigma_max=2.0, patch_sizes=(SIZE,), pixels_per_step=16 * SIZE**2,
    learning_rate=0.3, warmup_steps=10, target_halflife_steps=4, average_halflife_steps=30, huber=0.1,
)


class PixelNetwork(nn.Module):
    """A perceptron of a pixel's value and the noise level, enough for white images."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(2, 32), nn.SiLU(), nn.Linear(32, 32), nn.SiLU(), nn.Linear(32, 1))

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        value = x[:, :1]
        features = torch.stack([value, level.reshape(-1, 1, 1, 1).expand_as(value)], dim=-1)
        return self.layers(features)[..., 0]


def teacher() -> GaussianDenoiser:
    return GaussianDenoiser(torch.full((SIZE, SIZE), MEAN), torch.full((SIZE, SIZE), VARIANCE))


def end_of_flow(x: Tensor, sigma: float | Tensor, end: float = 0.0) -> Tensor:
    """The exact flow of the teacher: m + sqrt((v + end^2) / (v + s^2)) (x - m)."""
    s = torch.as_tensor(sigma).reshape(-1, 1, 1, 1)
    return MEAN + ((VARIANCE + end**2) / (VARIANCE + s**2)).sqrt() * (x - MEAN)


def network(seed: int = 0) -> PixelNetwork:
    torch.manual_seed(seed)
    return PixelNetwork()


def sampler() -> PatchSampler:
    values = np.random.default_rng(0).normal(MEAN, math.sqrt(VARIANCE), size=(50, SIZE, SIZE)).astype(np.float32)
    return PatchSampler([TrainingSlices("a", values, np.ones(50))])


def noisy(sigma: float, count: int = 64) -> Tensor:
    generator = torch.Generator().manual_seed(5)
    clean = MEAN + math.sqrt(VARIANCE) * torch.randn(count, 1, SIZE, SIZE, generator=generator)
    return clean + sigma * torch.randn(clean.shape, generator=generator)


def test_the_flow_is_the_exact_one() -> None:
    """Each image along its own levels; one whose levels stay the same is left alone; zero is reached.

    The last step, of 0.02 into zero, is Euler's: it misses by 0.02^2 / (2 v) = 0.5 % of the distance to the mean.
    """
    start = noisy(1.0, 3)
    grids = [poly_grid(1.0, 0.02, 40), torch.full((41,), 0.7), poly_grid(0.5, 0.1, 41)[:-1]]
    moved = flow(teacher(), start, torch.stack(grids, dim=1).float(), None)
    torch.testing.assert_close(moved[:1], end_of_flow(start[:1], 1.0), atol=5e-3, rtol=0)
    assert torch.equal(moved[1], start[1])
    torch.testing.assert_close(moved[2:], end_of_flow(start[2:], 0.5, 0.1), atol=2e-3, rtol=0)
    resting = torch.zeros(3, 2)
    assert torch.equal(flow(teacher(), start[:2], resting, None), start[:2])


def test_the_student_ends_the_flow_in_one_step() -> None:
    net = network()
    list(distil(teacher(), net, sampler(), SETTINGS))
    student = EDMDenoiser(net, SETTINGS.sigma_data)
    for sigma in (0.3, 1.0, 2.0):
        x = noisy(sigma)
        exact = end_of_flow(x, sigma)
        with torch.no_grad():
            ours, theirs = (
                float((f(x, torch.tensor(sigma)) - exact).square().mean().sqrt()) for f in (student, teacher())
            )
        assert ours < 0.4 * theirs, (sigma, ours, theirs)


def test_an_interrupted_distillation_ends_with_the_same_weights(tmp_path: Path) -> None:
    settings, checkpoint = replace(SETTINGS, steps=12), tmp_path / "run.checkpoint"
    whole, broken, resumed = network(), network(), network(9)
    list(distil(teacher(), whole, sampler(), settings))
    list(itertools.islice(distil(teacher(), broken, sampler(), settings, checkpoint, save_every=3), 8))
    rest = list(distil(teacher(), resumed, sampler(), settings, checkpoint, save_every=3))
    assert [step.step for step in rest] == [7, 8, 9, 10, 11, 12]
    assert all(torch.equal(v, resumed.state_dict()[n]) for n, v in whole.state_dict().items())
    with pytest.raises(ValueError, match="other settings"):
        next(distil(teacher(), network(), sampler(), replace(settings, skip=3), checkpoint))


def test_the_loss_is_zero_for_the_exact_consistency_function() -> None:
    """And not for the denoiser, which is what a student must not stay."""

    class Exact(EDMDenoiser):
        def forward(self, x: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
            return end_of_flow(x, sigma)

    class Denoiser(EDMDenoiser):
        def forward(self, x: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
            return teacher()(x, sigma)

    start, sigma = noisy(0.8, 4), torch.full((4,), 0.8)
    to = torch.tensor([0.5, 0.5, 0.0, 0.0])
    moved = torch.cat([end_of_flow(start[:2], 0.8, 0.5), end_of_flow(start[2:], 0.8)])
    for name in ("huber", "l2"):
        settings = replace(SETTINGS, loss=name)
        exact, plain = Exact(nn.Identity()), Denoiser(nn.Identity())
        assert float(consistency_loss(exact, exact, start, sigma, moved, to, None, settings)) < 1e-6
        assert float(consistency_loss(plain, plain, start, sigma, moved, to, None, settings)) > 1e-3


def test_what_cannot_be_distilled_is_refused() -> None:
    with pytest.raises(ValueError, match="skip from 1 to the 12 levels"):
        replace(SETTINGS, skip=13)
    with pytest.raises(ValueError, match="loss out of"):
        replace(SETTINGS, loss="l1")
    with pytest.raises(FloatingPointError, match="not finite at step"):
        list(distil(teacher(), network(), sampler(), replace(SETTINGS, learning_rate=1e30)))


def command_for(tmp_path: Path, shape: tuple[int, int, int], spacing_mm: tuple[float, float, float]) -> list[str]:
    """A tiny prior, two volumes of which one is held out, and the command that distils the prior on the other."""
    data = tmp_path / "data"
    for name in ("a", "b"):
        (data / name).mkdir(parents=True)
        write_volume(synthetic_chest(shape, spacing_mm)[0], data / name / "ct.nrrd")
    torch.manual_seed(0)
    net = PatchUNet(channels=(8, 12), blocks=1)
    digest = write_weights(net, tmp_path / "teacher.safetensors")
    network_card = {"type": "PatchUNet", "inputs": 3, "outputs": 1, "channels": [8, 12], "blocks": 1}
    card = PriorCard(
        "teacher", "Teacher", "ct", "chest", "HU", 0.0, 1000.0, 0.5, (0.02, 2.0), (spacing_mm[1], spacing_mm[1]),
        network_card, "teacher.safetensors", digest, "2026-01-01", "none", {}, [], [], {}, ["diagnosis"],
    )
    write_card(card, tmp_path / "teacher.json")
    command = ["distil", "--prior", str(tmp_path / "teacher.json"), "--data", str(data), "--exclude", "b"]
    return [*command, "--name", "quick", "--device", "cpu", "--out", str(tmp_path / "out")]


def test_from_a_prior_to_a_student(tmp_path: Path) -> None:
    """By the command; the student is a prior of the teacher's kind, whose card says what it is not for."""
    out = tmp_path / "out"
    command = command_for(tmp_path, (2, 40, 48), (10.0, 8.0, 8.0))
    assert main([*command, "--steps", "3", "--json", str(tmp_path / "card.json")]) == 0
    written = json.loads((tmp_path / "card.json").read_text())
    assert written["training"]["teacher_sha256"] == load_prior(str(tmp_path / "teacher.json")).card.sha256
    assert written["held_out"] == ["b"]
    assert written["denoising_psnr_db"] == {}
    assert "'consistency'" in written["not_for"][-1]
    checked = written["training"]["flow_psnr_db"]
    assert set(checked) == {"0.25", "0.5", "1"}
    assert all(math.isfinite(row[name]) for row in checked.values() for name in ("student", "teacher"))
    student = load_prior(str(out / "quick.json"))
    assert student.card.training == written["training"]
    assert {p.name for p in out.iterdir()} == {"quick.checkpoint", "quick.safetensors", "quick.json", "quick.log"}


def test_a_student_of_a_few_calls_learns_on_scans(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = command_for(tmp_path, (2, 192, 200), (10.0, 2.0, 2.0))
    assert main([*command, "--steps", "2", "--calls", "2", "--json", str(tmp_path / "card.json")]) == 0
    training = json.loads((tmp_path / "card.json").read_text())["training"]
    assert (training["calls"], training["teacher"]) == (2, "teacher")
    card = load_prior(str(tmp_path / "out" / "quick.json")).card
    assert card.training == training
    assert card.sampler == {"method": "consistency", "sigma_end": 0.02, "prior_variance": 1.0}
    check_sampler(card, "consistency")
    with pytest.raises(ValueError, match="taught for the method 'consistency' alone"):
        check_sampler(card, "dds")
    before = sorted(path.name for path in tmp_path.rglob("*"))
    assert main([*command, "--name", "other", "--calls", "1"]) != 0
    assert "takes 2 or more, found 1" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.rglob("*")) == before
    assert main([*command, "--unit", "a.u.", "--calls", "2"]) != 0
    assert "leave out --calls" in capsys.readouterr().err
    adapting = ["adapt", "--prior", str(tmp_path / "out" / "quick.json"), "--data", command[4]]
    assert main([*adapting, "--out", str(tmp_path / "adapted")]) != 0
    assert "taught for 'consistency' and is no denoiser: adapt its teacher" in capsys.readouterr().err
    assert not (tmp_path / "adapted").exists()
