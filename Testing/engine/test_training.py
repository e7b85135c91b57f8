"""Training: exact resume, refusals, patches with their places, and which volumes of a folder count."""

from __future__ import annotations

import itertools
import json
import pickle
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from diffusion_engine.denoiser import EDMDenoiser, positions
from diffusion_engine.io.images import write_volume
from diffusion_engine.priors.library import load_prior
from diffusion_engine.priors.networks import PatchUNet
from diffusion_engine.training import run
from diffusion_engine.training.data import PatchSampler, TrainingSlices
from diffusion_engine.training.settings import PriorTraining
from diffusion_engine.training.sources import load_sources
from diffusion_engine.training.train import TrainingSettings, edm_loss, levels, rate, train
from diffusion_engine.volume import Volume

SETTINGS = TrainingSettings(
    steps=8, patch_sizes=(16, 24), pixels_per_step=1200, warmup_steps=2, average_halflife_steps=5, seed=3, bf16=False,
    learning_rate=0.06,
)


def network(seed: int = 0) -> PatchUNet:
    torch.manual_seed(seed)
    return PatchUNet(channels=(8, 12), blocks=1)


def sampler() -> PatchSampler:
    """Discs of 0 in air of -1, on two pixel sizes."""
    y, x = np.mgrid[:40, :40] - 19.5
    discs = np.stack([np.where(x**2 + y**2 < r**2, 0.0, -1.0) for r in (8, 12, 16)]).astype(np.float16)
    return PatchSampler([
        TrainingSlices("a", discs, np.array([1.0, 1.0, 1.0])),
        TrainingSlices("b", discs[:, 4:36], np.full(3, 2.0), 0.5),
    ])


@pytest.mark.parametrize("augment", [False, True])
def test_an_interrupted_run_ends_with_the_same_weights(augment: bool, tmp_path: Path) -> None:
    settings = replace(SETTINGS, augment=augment)
    whole = network()
    losses = [step.loss for step in train(whole, sampler(), settings)]
    assert len(losses) == SETTINGS.steps
    broken, checkpoint = network(), tmp_path / "run.checkpoint"
    # Stops two steps after the last checkpoint, so that these steps must be done again.
    first = list(itertools.islice(train(broken, sampler(), settings, checkpoint, save_every=3), 5))
    resumed = network(seed=99)
    rest = list(train(resumed, sampler(), settings, checkpoint, save_every=3))
    assert [s.step for s in rest] == [4, 5, 6, 7, 8]
    assert [s.loss for s in first[:3]] + [s.loss for s in rest] == losses
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
    assert not any(torch.equal(v, network().state_dict()[n]) for n, v in whole.state_dict().items() if "head" in n)


@pytest.mark.skipif(shutil.which("c++") is None, reason="no C++ compiler to make kernels with")
def test_compiled_training_differs_in_the_last_bits_alone() -> None:
    few = replace(SETTINGS, steps=3, patch_sizes=SETTINGS.patch_sizes[:1])
    plain = [step.loss for step in train(network(), sampler(), few)]
    found = [step.loss for step in train(network(), sampler(), replace(few, compiled=True))]
    assert found == pytest.approx(plain, rel=1e-3)


def test_compiling_needs_a_compiler(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(ValueError, match=r"needs a C\+\+ compiler"):
        run.train_prior(PriorTraining(data=folder, steps=1, compiled=True), tmp_path / "out", "p")
    assert not (tmp_path / "out").exists()


def test_a_finished_run_gives_its_weights_again(tmp_path: Path) -> None:
    checkpoint = tmp_path / "run.checkpoint"
    first, again = network(), network(seed=5)
    list(train(first, sampler(), SETTINGS, checkpoint))
    assert list(train(again, sampler(), SETTINGS, checkpoint)) == []
    assert all(torch.equal(v, again.state_dict()[n]) for n, v in first.state_dict().items())
    assert [p.name for p in tmp_path.iterdir()] == ["run.checkpoint"]


def test_a_checkpoint_of_other_settings_is_refused(tmp_path: Path) -> None:
    checkpoint = tmp_path / "run.checkpoint"
    list(train(network(), sampler(), replace(SETTINGS, steps=1), checkpoint))
    with pytest.raises(ValueError, match="belongs to a run with other settings"):
        next(train(network(), sampler(), SETTINGS, checkpoint))


@pytest.mark.parametrize("name", ["text", "empty", "half", "tensor", "pickle"])
def test_what_is_no_checkpoint_is_one_sentence_and_stays(tmp_path: Path, name: str) -> None:
    checkpoint = tmp_path / "run.checkpoint"
    list(train(network(), sampler(), replace(SETTINGS, steps=1), checkpoint))
    whole = checkpoint.read_bytes()
    pieces = {"text": b"my notes", "empty": b"", "half": whole[: len(whole) // 2], "pickle": pickle.dumps({"a": 1})}
    if name == "tensor":
        torch.save(torch.ones(3), checkpoint)
    else:
        checkpoint.write_bytes(pieces[name])
    before = checkpoint.read_bytes()
    with pytest.raises(ValueError, match="expected the checkpoint of a training in") as caught:
        next(train(network(), sampler(), SETTINGS, checkpoint))
    assert "\n" not in str(caught.value)
    assert checkpoint.read_bytes() == before


def test_a_checkpoint_of_another_network_is_refused(tmp_path: Path) -> None:
    checkpoint = tmp_path / "run.checkpoint"
    list(train(PatchUNet(channels=(4, 8), blocks=1), sampler(), SETTINGS, checkpoint))
    with pytest.raises(ValueError, match="belongs to a run of another network") as caught:
        next(train(network(), sampler(), SETTINGS, checkpoint))
    assert "\n" not in str(caught.value)


def test_the_loss_falls() -> None:
    """On patches, noise levels and noise that stay the same, so that only the weights differ."""
    generator = torch.Generator().manual_seed(1)
    clean, place = sampler().draw(16, 24, generator)
    noise, sigma = torch.randn(clean.shape, generator=generator), torch.full((16,), 0.4)
    net = network()

    def loss() -> float:
        with torch.no_grad():
            return float(edm_loss(EDMDenoiser(net), clean, place, sigma, noise, False))

    before = loss()
    list(train(net, sampler(), replace(SETTINGS, steps=60)))
    assert loss() < 0.6 * before


def test_the_loss_is_the_weighted_error() -> None:
    """A network of zeros leaves D = c_skip x, whose expected loss is 1 for images of variance sigma_data^2."""

    class Zero(torch.nn.Module):
        def forward(self, x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
            return torch.zeros_like(x[:, :1])

    generator = torch.Generator().manual_seed(0)
    clean = 0.5 * torch.randn(64, 1, 32, 32, generator=generator)
    noise = torch.randn(clean.shape, generator=generator)
    for sigma in (0.05, 0.5, 4.0):
        loss = edm_loss(EDMDenoiser(Zero()), clean, torch.zeros(64, 2, 32, 32), torch.full((64,), sigma), noise, False)
        assert float(loss) == pytest.approx(1.0, abs=0.03)


def test_training_stops_at_data_that_are_not_finite() -> None:
    values = np.random.default_rng(0).normal(size=(1, 24, 24)).astype(np.float16)
    values[0, 12, 12] = np.nan
    bad = PatchSampler([TrainingSlices("bad", values, np.ones(1))])
    with pytest.raises(FloatingPointError, match="not finite at step 1"):
        list(train(network(), bad, replace(SETTINGS, patch_sizes=(24,))))


def test_noise_levels_are_spread_but_never_beyond_what_is_trained() -> None:
    settings = TrainingSettings(log_sigma_mean=-1.8, log_sigma_std=1.3)
    logarithm = levels(settings, 20_000, torch.Generator().manual_seed(0)).log()
    assert float(logarithm.mean()) == pytest.approx(-1.8, abs=0.03)
    assert float(logarithm.std()) == pytest.approx(1.3, abs=0.03)
    assert float((logarithm + 1.8).abs().max()) == pytest.approx(3.9, abs=1e-5)


def test_the_rate_warms_up_and_falls() -> None:
    settings = TrainingSettings(steps=100, warmup_steps=10, learning_rate=1.0)
    rates = [rate(settings, step) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == pytest.approx(1.0)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert 0.02 <= rates[-1] < 0.03


def test_patches_come_with_the_places_they_were_cut_from() -> None:
    rows, columns, pixel = 30, 44, 1.7
    # Pixel values that tell their own place.
    values = (np.arange(rows)[:, None] * 32 + np.arange(columns)).astype(np.float16)[None]
    source = PatchSampler([TrainingSlices("a", values, np.array([pixel]))])
    patches, places = source.draw(6, 12, torch.Generator().manual_seed(0))
    whole = positions(rows, columns, (pixel, pixel))
    assert patches.shape == (6, 1, 12, 12)
    assert places.shape == (6, 2, 12, 12)
    for patch, place in zip(patches[:, 0], places, strict=True):
        found = np.argwhere(values[0].astype(np.float32) == float(patch[0, 0]))
        fits = [
            torch.equal(patch, torch.from_numpy(values[0, j : j + 12, i : i + 12].astype(np.float32)))
            and torch.equal(place, whole[:, j : j + 12, i : i + 12]) for j, i in found
        ]
        assert any(fits)


def test_patches_larger_than_the_slice_are_padded_and_air_is_rare() -> None:
    values = np.random.default_rng(0).normal(size=(1, 10, 20)).astype(np.float16)
    patches, places = PatchSampler([TrainingSlices("a", values, np.ones(1))]).draw(
        2, 16, torch.Generator().manual_seed(0)
    )
    assert patches.shape == (2, 1, 16, 16)
    assert torch.equal(patches[:, :, 10:], patches[:, :, 9:10].expand(2, 1, 6, 16))
    assert torch.equal(places[:, :, 10:], places[:, :, 9:10].expand(2, 2, 6, 16))
    mixed = np.stack([np.zeros((16, 16)), np.random.default_rng(0).normal(size=(16, 16))]).astype(np.float16)
    drawn, _ = PatchSampler([TrainingSlices("a", mixed, np.ones(2))]).draw(600, 16, torch.Generator().manual_seed(0))
    assert float((drawn.flatten(1).std(1) < 0.02).float().mean()) == pytest.approx(1 / 3, abs=0.07)
    with pytest.raises(ValueError, match="no slices to train or validate on"):
        PatchSampler([])


def ct(rows: int, pixel: float, slices: int = 3, fill: float = 40.0) -> Volume:
    """A block of ``fill`` HU with a brighter core, in air."""
    array = np.full((slices, rows, rows), -1024.0, np.float32)
    array[:, rows // 4 : -rows // 4, rows // 4 : -rows // 4] = fill
    array[:, rows // 2] += np.arange(rows) % 7
    return Volume(array, np.diag([-pixel, -pixel, 5.0, 1.0]), "HU")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, volume in {"fine": ct(32, 0.8), "coarse": ct(30, 1.5, 6), "held": ct(32, 2.0)}.items():
        (tmp_path / name).mkdir()
        write_volume(volume, tmp_path / name / "ct.nrrd")
    mr = ct(32, 1.0)
    write_volume(mr.with_array(mr.array + 1024, unit="a.u."), tmp_path / "fine" / "mr.nrrd")
    (tmp_path / "coarse" / "broken.nrrd").write_bytes(b"NRRD0004\nnot an image")
    return tmp_path


def test_which_volumes_count(folder: Path) -> None:
    sources, skipped = load_sources(folder, exclude=["held"])
    by = {s.name: s for s in sources}
    assert set(by) == {"fine/ct.nrrd", "coarse/ct.nrrd"}
    assert sorted(line.split(":")[0] for line in skipped) == ["coarse/broken.nrrd", "fine/mr.nrrd"]
    fine, coarse = by["fine/ct.nrrd"], by["coarse/ct.nrrd"]
    # Fine pixels are averaged in blocks of 2 x 2; air is raised to -1000 HU first.
    assert fine.values.shape == (3, 16, 16)
    assert fine.pixel_mm.tolist() == pytest.approx([1.6] * 3)
    expected = np.maximum(ct(32, 0.8).array, -1000).reshape(3, 16, 2, 16, 2).mean((2, 4)) / 1000
    np.testing.assert_allclose(fine.values.astype(np.float32), expected, atol=1e-3)
    assert coarse.values.shape == (6, 30, 30)
    assert coarse.pixel_mm.tolist() == pytest.approx([1.5] * 6)
    assert fine.weight == pytest.approx(3 / 60 * 16 * 1.6 / 400)
    assert coarse.weight == pytest.approx(6 / 60 * 30 * 1.5 / 400)
    assert float(coarse.values.min()) == -1.0


def test_held_out_cases_by_name(folder: Path) -> None:
    assert [s.name for s in load_sources(folder, only=["held"])[0]] == ["held/ct.nrrd"]
    with pytest.raises(ValueError, match="no folder named nobody below"):
        load_sources(folder, exclude=["held", "nobody"])
    with pytest.raises(ValueError, match="no CT volume in HU below"):
        load_sources(folder, exclude=["held", "fine", "coarse"])


@pytest.mark.parametrize("name", ["case-07", "case-07.nii.gz"])
def test_a_held_out_file_is_called_with_or_without_its_ending(name: str, tmp_path: Path) -> None:
    for case in ("case-07", "case-08"):
        write_volume(ct(32, 1.0), tmp_path / f"{case}.nii.gz")
    assert [s.name for s in load_sources(tmp_path, exclude=[name])[0]] == ["case-08.nii.gz"]
    assert [s.name for s in load_sources(tmp_path, only=[name])[0]] == ["case-07.nii.gz"]
    base = SimpleNamespace(name="base", data=[{"name": "case-07.nii.gz"}])
    with pytest.raises(ValueError, match=f"was trained on {name}, which therefore cannot validate"):
        run.refuse_seen(base, [name])  # type: ignore[arg-type]


def test_a_table_gives_each_slice_its_pixel_size(folder: Path) -> None:
    """Also when a volume between two others is left out: its rows are its own."""
    place = folder / "mixed"
    place.mkdir()
    write_volume(ct(30, 1.5, 2), place / "1.nrrd")
    write_volume(ct(30, 1.5, 1).with_array(np.full((1, 30, 30), 50.0, np.float32)), place / "2.nrrd")
    write_volume(ct(30, 1.5, 2), place / "3.nrrd")
    table = place / "slices.csv"
    table.write_text("name,pixel_mm_256\n" + "".join(f"s{n},{1.3 + n / 10}\n" for n in range(5)))
    sources, skipped = load_sources(folder, only=["mixed"])
    assert len(skipped) == 1
    assert [s.pixel_mm.tolist() for s in sources] == [pytest.approx([1.3, 1.4]), pytest.approx([1.6, 1.7])]
    table.write_text("name,pixel_mm_256\ns0,1.3\n")
    with pytest.raises(ValueError, match="fewer rows than there are slices"):
        load_sources(folder, only=["mixed"])


def test_from_a_folder_to_a_prior(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Writes weights, card, log and checkpoint; called again it continues, here with nothing left to do."""
    monkeypatch.setattr(run, "sized", lambda size, sees: PatchUNet(3, 1, (8, 12), 1))
    monkeypatch.setattr(run, "TrainingSettings", lambda **given: replace(SETTINGS, **{**given, "bf16": False}))
    out = tmp_path / "out"
    asked = PriorTraining(data=folder, exclude=("held",), steps=101, seed=4, device="cpu")
    card = run.train_prior(asked, out, "mine")
    assert {p.name for p in out.iterdir()} == {"mine.checkpoint", "mine.safetensors", "mine.json", "mine.log"}
    assert card["held_out"] == ["held"]
    assert sorted(d["name"] for d in card["data"]) == ["coarse/ct.nrrd", "fine/ct.nrrd"]
    assert card["training"]["seed"] == 4
    assert card["pixel_mm"] == (1.5, 1.6)
    prior = load_prior(str(out / "mine.json"))
    assert prior.card.denoising_psnr_db == card["denoising_psnr_db"]
    psnr = list(card["denoising_psnr_db"].values())
    assert len(psnr) == 7
    assert psnr[0] > psnr[-1]
    lines = [json.loads(line) for line in (out / "mine.log").read_text().splitlines()]
    assert [line["step"] for line in lines if "loss" in line] == [100]
    assert {"samples", "held", "ratio", "suspicious", "sentence"} == set(lines[-1]["copies"])
    assert card["training"]["averages_psnr_db"].keys() == {"5", "50", "125"}
    assert str(card["training"]["average_halflife_steps"]) == max(
        card["training"]["averages_psnr_db"], key=card["training"]["averages_psnr_db"].get
    )
    assert run.train_prior(asked, out, "mine") == card
