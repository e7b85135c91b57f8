"""Low-rank adapters: nothing at scale 0, the weights of the formula otherwise, and files tied to their base."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusion_engine.__main__ import main
from diffusion_engine.denoiser import EDMDenoiser, positions
from diffusion_engine.io.images import write_volume
from diffusion_engine.priors.card import PriorCard, read_card, write_card
from diffusion_engine.priors.library import list_priors, load_prior, write_weights
from diffusion_engine.priors.lora import LowRank, restored
from diffusion_engine.priors.networks import PatchUNet
from diffusion_engine.training import adapt, run
from diffusion_engine.training.data import PatchSampler, TrainingSlices
from diffusion_engine.training.train import TrainingSettings, edm_loss, train
from diffusion_engine.volume import Volume
from torch import Tensor, nn

SETTINGS = TrainingSettings(steps=3, patch_sizes=(16,), pixels_per_step=1024, warmup_steps=1, bf16=False)


def network(seed: int = 0) -> PatchUNet:
    torch.manual_seed(seed)
    result = PatchUNet(channels=(8, 12), blocks=1)
    for parameter in result.parameters():
        nn.init.normal_(parameter, std=0.15)
    return result.requires_grad_(False)


def inputs(size: int = 16) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(2, 3, size, size, generator=generator), torch.tensor([-1.0, 0.4])


def shake(adapter: LowRank, size: float = 0.1) -> None:
    generator = torch.Generator().manual_seed(2)
    for value in adapter.parameters():
        value.data = size * torch.randn(value.shape, generator=generator)


def state(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def same(before: dict[str, Tensor], module: nn.Module) -> bool:
    after = module.state_dict()
    return list(before) == list(after) and all(torch.equal(value, after[name]) for name, value in before.items())


def test_a_new_adapter_and_scale_zero_change_nothing() -> None:
    base, x = network(), inputs()
    expected, before = base(*x), state(base)
    adapter = LowRank(base, 3)
    assert torch.equal(adapter(*x), expected)
    shake(adapter)
    assert not torch.allclose(adapter(*x), expected, atol=0.01)
    adapter.scale = 0.0
    assert torch.equal(adapter(*x), expected)
    assert same(before, base)
    assert torch.equal(base(*x), expected)


def test_the_weights_are_those_of_the_formula() -> None:
    """A convolution of W + s B A, for a kernel, a transposed kernel and a matrix; ranks are cut to what a layer has."""
    torch.manual_seed(0)
    for layer, x in (
        (nn.Conv2d(4, 6, 3, padding=1), torch.randn(1, 4, 5, 5)),
        (nn.ConvTranspose2d(4, 6, 2, stride=2), torch.randn(1, 4, 5, 5)),
        (nn.Linear(4, 6), torch.randn(3, 4)),
    ):
        base = nn.Sequential(layer.requires_grad_(False))
        adapter = LowRank(base, 5)
        shake(adapter)
        adapter.scale = 0.5
        a, b = (next(v for n, v in adapter.named_parameters() if n.endswith(end)) for end in ("/A", "/B"))
        first, rest = layer.weight.shape[0], layer.weight[0].numel()
        assert (a.shape[1], b.shape[0]) == (rest, first)
        assert a.shape[0] == b.shape[1] == min(5, first, rest)
        found = adapter(x)
        layer.weight += 0.5 * (b @ a).reshape(layer.weight.shape).detach()
        torch.testing.assert_close(found, base(x))


def test_only_the_adapter_has_parameters_and_gradients() -> None:
    base = network()
    adapter = LowRank(base, 2)
    layers = [m for m in base.modules() if isinstance(m, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear))]
    assert len(adapter.names) == len(layers)
    assert all(name.endswith(("/A", "/B")) for name, _ in adapter.named_parameters())
    assert sum(p.numel() for p in adapter.parameters()) < 0.5 * sum(p.numel() for p in base.parameters())
    adapter(*inputs()).square().sum().backward()
    # With B = 0 the gradient reaches B alone, so that every layer begins to move at once.
    gradients = {name: float(p.grad.abs().max()) for name, p in adapter.named_parameters() if p.grad is not None}
    assert all((value > 0) == name.endswith("/B") for name, value in gradients.items())
    assert len(gradients) == 2 * len(layers)
    assert all(p.grad is None for p in base.parameters())


def test_an_exception_inside_leaves_the_network_as_it_was() -> None:
    base = network()
    before = state(base)
    adapter = LowRank(base, 2)
    shake(adapter)
    with pytest.raises(RuntimeError):
        adapter(torch.zeros(1, 5, 8, 8), torch.tensor([0.0]))
    assert same(before, base)


def test_a_merged_adapter_stays() -> None:
    base, x = network(), inputs()
    adapter = LowRank(base, 3)
    shake(adapter)
    expected = adapter(*x)
    adapter.merge()
    torch.testing.assert_close(base(*x), expected)
    torch.testing.assert_close(adapter(*x), expected)


def test_what_cannot_be_adapted_is_refused() -> None:
    with pytest.raises(ValueError, match="rank 1 or more, found 0"):
        LowRank(network(), 0)
    with pytest.raises(ValueError, match="no convolution or linear layer"):
        LowRank(nn.Sequential(nn.SiLU()), 2)
    factors = LowRank(network(), 2).state_dict()
    with pytest.raises(ValueError, match="does not fit its base prior"):
        restored(network(), 3, factors)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the prior "tiny" and its adapter "mine"."""
    out = tmp_path / "priors"
    out.mkdir()
    digest = write_weights(network(), out / "tiny.safetensors")
    card = PriorCard(
        name="tiny", title="t", modality="ct", anatomy="a", unit="HU", offset=0.0, scale=1000.0, sigma_data=0.5,
        sigma=(0.005, 5.0), pixel_mm=(1.0, 2.0),
        network={"type": "PatchUNet", "inputs": 3, "outputs": 1, "channels": [8, 12], "blocks": 1},
        weights="tiny.safetensors", sha256=digest, date="2026-01-01", licence="l", training={},
        data=[{"name": "old/ct.nrrd"}], held_out=["h"], denoising_psnr_db={"0.1": 30.0}, not_for=[],
        start_error={"ratio": 3.0},
    )
    write_card(card, out / "tiny.json")
    adapter = LowRank(load_prior(str(out / "tiny.json")).denoiser.network, 2)
    shake(adapter)
    slices = TrainingSlices("new/ct.nrrd", np.zeros((2, 16, 16), np.float16), np.array([1.5, 2.5]))
    adapt.export_adapter(adapter, card, out, "mine", SETTINGS, [slices])
    return out


def test_an_adapter_survives_writing_and_loading(folder: Path) -> None:
    base, found = (load_prior(str(folder / f"{name}.json"), bf16=False) for name in ("tiny", "mine"))
    adapter = LowRank(base.denoiser.network, 2)
    shake(adapter)
    network, around = base.adaptable()
    assert network is base.denoiser.network
    x, place, sigma = torch.randn(1, 1, 12, 20), positions(12, 20, (1.5, 1.5)), torch.tensor(0.3)
    torch.testing.assert_close(found(x, sigma, place), around(adapter)(x, sigma, place).detach(), atol=2e-3, rtol=2e-3)
    assert float((found(x, sigma, place) - base(x, sigma, place)).abs().max()) > 0.01
    assert (folder / "mine.safetensors").stat().st_size < (folder / "tiny.safetensors").stat().st_size


def test_the_card_is_of_base_and_adapter_together(folder: Path) -> None:
    tiny, mine = read_card(folder / "tiny.json"), load_prior(str(folder / "mine.json")).card
    assert [card.name for card in list_priors(folder)] == ["mine", "tiny"]
    assert mine.training["base_sha256"] == tiny.sha256 != mine.sha256
    assert [entry["name"] for entry in mine.data] == ["old/ct.nrrd", "new/ct.nrrd"]
    assert mine.pixel_mm == (1.0, 2.5)
    # What was measured of the base alone says nothing of the two together.
    assert mine.denoising_psnr_db == {}
    assert (mine.network, mine.start_error) == (tiny.network, tiny.start_error)
    assert main(["priors", "--folder", str(folder)]) == 0


@pytest.mark.parametrize(("values", "match"), [
    ({"base_sha256": "0" * 64}, "was made for other weights of tiny"),
    ({"base": "nobody"}, "neither beside it nor installed"),
    ({"base": "../tiny"}, "without a folder"),
    ({"sha256": "0" * 64}, "do not match the hash"),
    ({"rank": 3}, "does not fit its base prior"),
    ({"rank": 0}, "has rank 0"),
    ({"pixel_mm": [2.0, 1.0]}, "rising positive"),
    ({"surprise": 1}, r"unknown keys \['surprise'\]"),
])
def test_adapters_that_cannot_be_used_are_refused(folder: Path, values: dict, match: str) -> None:
    path = folder / "mine.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))
    with pytest.raises(ValueError, match=match) as error:
        load_prior(str(path))
    assert "\n" not in str(error.value)


def discs(inside: float) -> PatchSampler:
    y, x = np.mgrid[:40, :40] - 19.5
    slices = np.stack([np.where(x**2 + y**2 < r**2, inside, -1.0) for r in (8, 12, 16)]).astype(np.float16)
    return PatchSampler([TrainingSlices("a", slices, np.ones(3))])


def test_fine_tuning_lowers_the_loss_and_leaves_the_base_alone() -> None:
    """From discs of -0.2 to discs of 0.8, on patches, noise levels and noise that stay the same."""
    torch.manual_seed(0)
    base = PatchUNet(channels=(8, 12), blocks=1)
    list(train(base, discs(-0.2), replace(SETTINGS, steps=60, warmup_steps=5, learning_rate=0.02)))
    before = state(base.requires_grad_(False))
    adapter = LowRank(base, 4)
    generator = torch.Generator().manual_seed(1)
    clean, place = discs(0.8).draw(16, 16, generator)
    noise = torch.randn(clean.shape, generator=generator)

    def loss(network: nn.Module) -> float:
        with torch.no_grad():
            return float(edm_loss(EDMDenoiser(network), clean, place, torch.full((16,), 0.3), noise, False))

    # The adapter's factors follow Adam, at a small share of this rate.
    list(train(adapter, discs(0.8), replace(SETTINGS, steps=60, warmup_steps=5, learning_rate=0.3)))
    assert loss(adapter) < 0.9 * loss(base)
    assert same(before, base)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two CT volumes, "new" and "held"."""
    y, x = np.mgrid[:32, :32] - 15.5
    for name in ("new", "held", "old"):
        (tmp_path / "data" / name).mkdir(parents=True)
        array = np.tile(np.where(x**2 + y**2 < 150, 30.0, -1000.0).astype(np.float32), (3, 1, 1))
        write_volume(Volume(array, np.diag([1.5, 1.5, 3.0, 1.0]), "HU"), tmp_path / "data" / name / "ct.nrrd")
    return tmp_path / "data"


def test_adapt_from_a_folder_to_an_adapter(
    folder: Path, data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(adapt, "TrainingSettings", lambda **given: replace(SETTINGS, **{**given, "bf16": False}))
    command = ["adapt", "--prior", str(folder / "tiny.json"), "--data", str(data), "--exclude", "held", "--steps", "3"]
    command += ["--out", str(folder), "--name", "ours", "--rank", "2", "--device", "cpu"]
    assert main([*command, "--json", str(folder.parent / "card.json")]) == 0
    written = json.loads((folder.parent / "card.json").read_text())
    card = load_prior(str(folder / "ours.json")).card
    assert (card.held_out, card.training["rank"], card.training["steps"]) == (["held"], 2, 3)
    assert card.denoising_psnr_db == written["denoising_psnr_db"] != {}
    command[command.index("held")] = "old"
    assert main(command) == 2
    assert "trained on old, which therefore cannot validate" in capsys.readouterr().err
    command[2] = str(folder / "mine.json")
    assert main(command) == 2
    assert "is an adapter itself: adapt its base tiny" in capsys.readouterr().err


def test_training_starts_from_another_prior(folder: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a learning rate of next to nothing the weights are those of the origin, and the card says whose."""
    still = {"bf16": False, "learning_rate": 1e-12}
    monkeypatch.setattr(run, "TrainingSettings", lambda **given: replace(SETTINGS, **{**given, **still}))
    command = ["train", "--from", str(folder / "tiny.json"), "--data", str(data), "--exclude", "held", "--steps", "2"]
    assert main([*command, "--out", str(folder), "--name", "next", "--device", "cpu"]) == 0
    base, found = (load_prior(str(folder / f"{name}.json")) for name in ("tiny", "next"))
    assert found.card.training["from"] == {"name": "tiny", "sha256": base.card.sha256}
    assert [e["name"] for e in found.card.data] == ["new/ct.nrrd", "old/ct.nrrd", "old/ct.nrrd"]
    for name, value in base.denoiser.state_dict().items():
        torch.testing.assert_close(found.denoiser.state_dict()[name], value, atol=1e-4, rtol=1e-3)
