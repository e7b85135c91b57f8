"""The import command: other people's models become priors that everything else can use, or are refused.

Most models here have a last convolution of zero, which makes them exact for white images: EDM's D = d^2 / (s^2 + d^2) x
at standard deviation d, and D = x / (1 + s^2) of a predicted v at standard deviation 1.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusion_engine.__main__ import main
from diffusion_engine.evaluation.evaluate import Item, evaluate
from diffusion_engine.io.images import write_volume
from diffusion_engine.phantoms import synthetic_chest
from diffusion_engine.priors import library
from diffusion_engine.priors.foreign.edm_unet import EDMNetOptions
from diffusion_engine.priors.foreign.families import build
from diffusion_engine.priors.foreign.guided_unet import GuidedOptions
from diffusion_engine.priors.library import load_prior
from diffusion_engine.run.pipeline import reconstruct
from diffusion_engine.run.settings import Settings
from diffusion_engine.solvers.scd import with_adapter
from diffusion_engine.volume import Volume
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

STD_HU = 250.0
EDM = EDMNetOptions(resolution=16, model_channels=16, channel_mult=(1, 2), num_blocks=1, attn_resolutions=(8,))
CONFIG: dict[str, Any] = {
    "_class_name": "UNet2DModel", "in_channels": 1, "out_channels": 1, "layers_per_block": 1,
    "block_out_channels": [16], "down_block_types": ["DownBlock2D"], "up_block_types": ["UpBlock2D"],
    "norm_num_groups": 4, "add_attention": False,
}
MONAI: dict[str, Any] = {
    "in_channels": 1, "out_channels": 1, "channels": [8, 16], "attention_levels": [False, False], "num_res_blocks": 1,
    "norm_num_groups": 4, "num_head_channels": 8,
}
GUIDED = GuidedOptions(1, 2, 32, 1, (1, 2), (), 1)
LAST = {"edm": "dec.16x16_aux_conv", "diffusers": "conv_out", "guided-diffusion": "out.2", "monai": "out.2.conv"}
SCALE = {"edm": 2 * STD_HU, "diffusers": STD_HU, "guided-diffusion": STD_HU, "monai": STD_HU}
OPTIONS: dict[str, list[str]] = {
    "edm": ["--option", "sigma_data=0.5"], "diffusers": [],
    "guided-diffusion": ["--option", "prediction=v", *(
        word for key, value in asdict(GUIDED).items() for word in ("--option", f"{key}={json.dumps(value)}")
    )],
    "monai": ["--option", "prediction_type=v_prediction", *(
        word for key, value in MONAI.items() for word in ("--option", f"{key}={json.dumps(value)}")
    )],
}
MISTAKES: dict[str, list[str]] = {
    "edm": ["--schedule", "vp"], "guided-diffusion": ["--option", "prediction=epsilon"],
    "monai": ["--option", "prediction_type=epsilon"],
}


def network_of(family: str) -> nn.Module:
    """Random weights of a seed, but a last convolution of zero."""
    torch.manual_seed(3)
    entry: dict[str, Any] = {
        "edm": {"options": asdict(EDM)}, "diffusers": {"config": CONFIG, "scheduler": {}},
        "guided-diffusion": {"options": asdict(GUIDED), "schedule": "linear", "steps": 1000, "prediction": "v"},
        "monai": {"network": MONAI, "scheduler": {}},
    }[family]
    network = build({"type": family, **entry}).network
    for name, value in network.state_dict().items():
        if name.startswith(LAST[family]):
            value.zero_()
    return network


def model_of(family: str, place: Path, half: bool = False) -> Path:
    """A model's file or folder as its own program writes it."""
    state = {n: v.half() if half else v.contiguous() for n, v in network_of(family).state_dict().items()}
    if family != "diffusers":
        save_file(state, str(place / "model.safetensors"))
        return place / "model.safetensors"
    (place / "config.json").write_text(json.dumps(CONFIG))
    scheduler_of(place, prediction_type="v_prediction")
    save_file(state, str(place / "diffusion_pytorch_model.safetensors"))
    return place


def scheduler_of(place: Path, **options: Any) -> None:
    (place / "scheduler_config.json").write_text(json.dumps({"_class_name": "DDPMScheduler", **options}))


@pytest.fixture(scope="module")
def white(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of one volume of white images, mean 0 HU, 8 mm pixels."""
    values = torch.randn(3, 48, 48, generator=torch.Generator().manual_seed(4))
    values = STD_HU * (values - values.mean()) / values.std()
    place = tmp_path_factory.mktemp("white")
    write_volume(Volume(values.numpy(), np.diag([8.0, 8.0, 10.0, 1.0]), "HU"), place / "white.nrrd")
    return place


def command(family: str, model: Path, data: Path, out: Path, *more: str, scale: float = 1.0) -> list[str]:
    return [
        "import", str(model), "--family", family, "--scale", str(scale * SCALE[family]), "--data", str(data),
        "--name", "theirs", "--out", str(out), "--device", "cpu", *OPTIONS[family], *more,
    ]


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one sentence on stderr of a call that ends with 2."""
    capsys.readouterr()
    assert main(list(arguments)) == 2
    found = capsys.readouterr().err
    assert found.count("\n") == 1
    return found


@pytest.fixture(scope="module")
def small() -> Volume:
    return synthetic_chest((2, 32, 40), (10.0, 10.0, 10.0))[0]


@pytest.mark.parametrize("family", LAST)
def test_a_model_becomes_a_prior(
    family: str, white: Path, small: Volume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if family == "monai":
        pytest.importorskip("monai.networks.nets")
    model = model_of(family, tmp_path)
    out = tmp_path / "out"
    assert main(command(family, model, white, out)) == 0
    assert sorted(p.name for p in out.iterdir()) == ["theirs.json", "theirs.safetensors"]
    prior = load_prior(str(out / "theirs.json"))
    card = prior.card
    assert (card.unit, card.scale, card.offset, card.pixel_mm) == ("HU", 1000.0, 0.0, (8.0, 8.0))
    assert card.held_out == ["white.nrrd"]
    assert card.training["self_test"]["sentence"].startswith("The prior passed its self-test")
    assert 0 < card.sigma[0] < card.sigma_data < card.sigma[1]
    for name, value in network_of(family).state_dict().items():
        torch.testing.assert_close(prior.denoiser.network.state_dict()[name], value, rtol=0, atol=0)
    # The exact posterior mean of white images, through card, scale and parameterisation, at any size.
    x = torch.sin(torch.arange(2 * 15 * 17).float()).reshape(2, 1, 15, 17)
    d = STD_HU / 1000
    torch.testing.assert_close(prior(x, torch.tensor(0.3), torch.zeros(2, 15, 17)), d**2 / (d**2 + 0.09) * x)
    # By name like a shipped one.
    monkeypatch.setattr(library, "PRIORS_FOLDER", out)
    result = reconstruct(
        small, prior="theirs", views=8, draws=1, steps=2, methods=["diffusion"], pixel_mm=10.0, slices=[0, 1],
        device="cpu",
    )
    assert bool(np.isfinite(result.volumes["mean"].array).all())
    assert result.report["prior"] == "theirs"


@pytest.mark.parametrize("family", LAST)
def test_a_wrong_scale_or_parameterisation_is_refused(
    family: str, white: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if family == "monai":
        pytest.importorskip("monai.networks.nets")
    model = model_of(family, tmp_path)
    for scale in (0.5, 2.0) if family == "edm" else (2.0,):
        message = refused(capsys, *command(family, model, white, tmp_path / "out", scale=scale))
        assert "failed its self-test" in message
    if family == "diffusers":
        scheduler_of(model, prediction_type="epsilon")
    wrong = refused(capsys, *command(family, model, white, tmp_path / "out", *MISTAKES.get(family, [])))
    assert "Check scale, offset and noise schedule" in wrong
    assert not (tmp_path / "out").exists()


def taught(place: Path, clean: Tensor) -> Path:
    """A small model of diffusers that has learned these images with a linear schedule."""
    torch.manual_seed(0)
    foreign = build({"type": "diffusers", "config": CONFIG, "scheduler": {"prediction_type": "v_prediction"}})
    denoiser, steps = foreign.around(foreign.network.train()), 300
    generator = torch.Generator().manual_seed(1)
    optimiser = torch.optim.Adam(foreign.network.parameters(), betas=(0.9, 0.99))
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = 4e-3 * min(1, (step + 1) / 30) * (1 - step / steps)
        x = clean[torch.randint(len(clean), (6,), generator=generator)]
        s = torch.exp(5.3 * torch.rand(6, 1, 1, 1, generator=generator) - 5)
        found = denoiser(x + s * torch.randn(x.shape, generator=generator), s.flatten())
        loss = ((s**2 + 0.25) / (0.5 * s) ** 2 * (found - x).square()).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    (place / "config.json").write_text(json.dumps(CONFIG))
    scheduler_of(place, prediction_type="v_prediction")
    save_file(foreign.network.state_dict(), str(place / "diffusion_pytorch_model.safetensors"))
    return place


@pytest.mark.slow
def test_a_taught_model_passes_with_its_own_schedule_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chest = synthetic_chest((3, 24, 24), (40.0, 16.0, 16.0))[0]
    data, model = tmp_path / "data", tmp_path / "model"
    data.mkdir()
    model.mkdir()
    write_volume(chest, data / "chest.nrrd")
    taught(model, torch.from_numpy(np.maximum(chest.array, -1000) / 1000)[:, None].float())
    arguments = command("diffusers", model, data, tmp_path / "out", scale=1000 / STD_HU)
    assert main(arguments) == 0
    card = load_prior(str(tmp_path / "out" / "theirs.json")).card
    psnr = card.denoising_psnr_db
    assert psnr["0.1"] > 20 * np.log10(2 / 0.1) + 3
    scheduler_of(model, prediction_type="v_prediction", beta_schedule="squaredcos_cap_v2")
    assert "failed its self-test" in refused(capsys, *arguments)
    scheduler_of(model, prediction_type="v_prediction")
    assert "failed its self-test" in refused(
        capsys, *command("diffusers", model, data, tmp_path / "out", scale=2000 / STD_HU)
    )


@pytest.fixture(scope="module")
def imported(white: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The card of an imported EDM network in half precision."""
    place = tmp_path_factory.mktemp("imported")
    assert main(command("edm", model_of("edm", place, half=True), white, place / "out")) == 0
    return place / "out" / "theirs.json"


def test_half_precision_stays_and_nothing_is_rounded_to_it(imported: Path, white: Path, tmp_path: Path) -> None:
    kept = load_file(imported.with_suffix(".safetensors"))
    assert {value.dtype for value in kept.values()} == {torch.float16}
    assert main(command("edm", model_of("edm", tmp_path), white, tmp_path / "out")) == 0
    whole = load_file(tmp_path / "out" / "theirs.safetensors")
    assert {value.dtype for value in whole.values()} == {torch.float32}
    assert not load_prior(str(tmp_path / "out" / "theirs.json")).bf16


def test_an_imported_prior_is_evaluated_and_listed(
    imported: Path, small: Volume, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = Settings.from_dict(
        {"prior": str(imported), "views": 8, "draws": 2, "steps": 2, "device": "cpu", "solver": "dds"}
    )
    rows = list(evaluate([Item("chest", small, (0, 1))], [{"views": 8}], ["fbp", "dds"], settings))
    assert {row["method"] for row in rows} == {"fbp", "dds", "dds-draw"}
    assert all(np.isfinite(row["psnr"]) for row in rows)
    assert main(["priors", "--folder", str(imported.parent)]) == 0
    assert "theirs: theirs" in capsys.readouterr().out


def test_its_network_can_be_adapted_for_one_image(imported: Path) -> None:
    prior = load_prior(str(imported))
    adapted, factors = with_adapter(prior, 2)
    x, sigma = torch.ones(1, 1, 16, 16), torch.tensor(0.3)
    torch.testing.assert_close(adapted(x, sigma), prior(x, sigma))
    with torch.no_grad():
        for parameter in factors.parameters():
            parameter.add_(0.1)
        assert float((adapted(x, sigma) - prior(x, sigma)).abs().max()) > 1e-4
    assert len(factors.names) == sum(p.ndim > 1 for p in prior.denoiser.network.parameters())


def test_what_needs_a_network_of_this_project_refuses_it(
    imported: Path, small: Volume, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_volume(small, tmp_path / "chest.nrrd")
    data = ["--data", str(tmp_path), "--out", str(tmp_path / "out"), "--steps", "1", "--device", "cpu", "--name", "x"]
    for words in (["train", "--from", str(imported)], ["adapt", "--prior", str(imported)],
                  ["distil", "--prior", str(imported)]):
        assert "was imported, so it cannot be trained further" in refused(capsys, *words, *data)
    prior = load_prior(str(imported))
    with pytest.raises(ValueError, match="takes single slices, found 3"):
        prior(torch.zeros(1, 3, 16, 16), torch.tensor(0.3))
    settings: dict[str, Any] = {"prior": str(imported), "views": 8, "draws": 1, "steps": 2, "slices": [0, 1]}
    with pytest.raises(ValueError, match="cannot place patches"):
        reconstruct(small, settings, solver="padis", methods=["diffusion"], pixel_mm=10.0, device="cpu")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--family", "keras"], "no family of networks 'keras'"),
        (["--option", "depth=3"], r"options \['depth'\] are not known"),
        (["--option", "depth"], "expected an option as NAME=VALUE"),
        (["--schedule", "linear"], "no preconditioning 'linear' of EDM"),
        (["--scale", "0.01"], "the network knows noise up to 0.8 HU only"),
        (["--scale", "-1"], "expected a positive scale"),
        (["--files", "*.dcm"], "no volume in HU to test on"),
        (["--pixel-mm", "1,2"], "its pixels of 8 mm are not those of the model"),
        (["--pixel-mm", "2,1"], "two rising positive pixel sizes"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_unusable_requests(
    change: list[str], message: str, white: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = model_of("edm", tmp_path)
    with pytest.raises(ValueError, match=message):
        raise ValueError(refused(capsys, *command("edm", model, white, tmp_path / "out", *change)))
    assert not (tmp_path / "out").exists()


def test_more_that_is_refused(white: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = model_of("edm", tmp_path)
    arguments = command("edm", model, white, tmp_path / "out")
    place = arguments.index("--data")
    assert "nothing to test the model on" in refused(capsys, *arguments[:place], *arguments[place + 2 :])
    torch.save(nn.Linear(2, 2), tmp_path / "whole.pt")
    assert "could run code" in refused(capsys, *command("edm", tmp_path / "whole.pt", white, tmp_path / "out"))
    assert "does not tell its network" in refused(
        capsys, *[word for word in command("edm", model, white, tmp_path / "out") if "sigma_data" not in word
                  and word != "--option"], "--family", "monai"
    )
    save_file(
        {n: v.contiguous() for n, v in build({"type": "edm", "options": {**asdict(EDM), "in_channels": 3}})
         .network.state_dict().items()}, str(model)
    )
    assert "takes 3 channels and gives 1" in refused(capsys, *arguments)
