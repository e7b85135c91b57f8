"""Other people's models: the same arithmetic as their libraries, safe reading, and a self-test that finds mistakes."""

from __future__ import annotations

import json
import math
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusion_engine.denoiser import Denoiser, as_column, positions
from diffusion_engine.phantoms import synthetic_chest
from diffusion_engine.priors.analytic import GaussianDenoiser
from diffusion_engine.priors.foreign.diffusers_unet import UNet2D
from diffusion_engine.priors.foreign.families import read_diffusers, read_guided, read_monai
from diffusion_engine.priors.foreign.guided_unet import GuidedOptions, GuidedUNet
from diffusion_engine.priors.foreign.parameterised import VPDenoiser
from diffusion_engine.priors.foreign.rescaled import Rescaled
from diffusion_engine.priors.foreign.schedules import DiscreteSchedule, make_betas
from diffusion_engine.priors.foreign.self_test import self_test
from diffusion_engine.priors.library import load_prior
from diffusion_engine.priors.state import read_state
from foreign_priors import imported
from safetensors.torch import save_file
from torch import Tensor, nn

BASE: dict[str, Any] = {
    "_class_name": "UNet2DModel", "sample_size": 16, "in_channels": 2, "out_channels": 1, "layers_per_block": 1,
    "block_out_channels": [8, 16], "down_block_types": ["DownBlock2D", "AttnDownBlock2D"],
    "up_block_types": ["AttnUpBlock2D", "UpBlock2D"], "norm_num_groups": 4, "attention_head_dim": 8,
}
# Values of diffusers 0.42.1 for the weights of `waves` and the input below.
GOLDEN = [
    ({}, [-0.314263, -0.456883, -0.483890, -0.377607]),
    ({"resnet_time_scale_shift": "scale_shift"}, [-0.422438, -0.601339, -0.459654, -0.460786]),
    (
        {"downsample_padding": 0, "freq_shift": 1, "flip_sin_to_cos": False},
        [-0.314718, -0.454526, -0.484431, -0.380163],
    ),
    (
        {
            "layers_per_block": 2, "block_out_channels": [8, 16, 24], "attention_head_dim": None,
            "down_block_types": ["DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"],
            "up_block_types": ["AttnUpBlock2D", "UpBlock2D", "UpBlock2D"],
        },
        [-0.339811, -0.415450, -0.450918, -0.387298],
    ),
    (
        {"mid_block_scale_factor": 1.5, "center_input_sample": True, "norm_eps": 1e-6},
        [-0.240391, -0.447325, -0.484081, -0.316849],
    ),
    ({"add_attention": False}, [-0.334699, -0.495052, -0.465504, -0.502233]),
    (
        {"resnet_time_scale_shift": "scale_shift", "attn_norm_num_groups": 2, "time_embedding_dim": 20},
        [-0.227900, -0.480044, -0.483433, -0.340343],
    ),
]


def waves(network: nn.Module) -> nn.Module:
    """Weights by a formula, the same for every network of the same names and shapes."""
    with torch.no_grad():
        for n, (name, value) in enumerate(sorted(network.state_dict().items())):
            wave = 0.3 * torch.sin(torch.arange(value.numel()).double() * (1.3 + 0.01 * n) + n).reshape(value.shape)
            size = 1 if value.ndim < 2 else value[0].numel() ** 0.5
            value.copy_(2 * wave / size + ("norm" in name and name.endswith("weight")))
    return network.eval()


@pytest.mark.parametrize(("changes", "expected"), GOLDEN, ids=str)
def test_unet_of_diffusers(changes: dict[str, Any], expected: list[float]) -> None:
    network = waves(UNet2D({**BASE, **changes}))
    x = torch.sin(torch.arange(2 * 2 * 16 * 24).float() * 0.37).reshape(2, 2, 16, 24)
    with torch.no_grad():
        found = network(x, torch.tensor([3.0, 700.5]))
    assert found.shape == (2, 1, 16, 24)
    torch.testing.assert_close(found.flatten()[[0, 100, 500, 700]], torch.tensor(expected), atol=2e-5, rtol=0)


@pytest.mark.parametrize(
    "changes",
    [
        {"down_block_types": ["SkipDownBlock2D", "DownBlock2D"]}, {"time_embedding_type": "fourier"},
        {"num_class_embeds": 10}, {"downsample_type": "resnet"}, {"block_out_channels": [8, 16, 24]},
    ],
    ids=str,
)
def test_networks_that_are_not_known_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="not known here"):
        UNet2D({**BASE, **changes})


def folder_of(place: Path, scheduler: dict[str, Any], pipeline: bool = True, channels: int = 1) -> UNet2D:
    """A folder as diffusers writes it, and its network."""
    config = {**BASE, "in_channels": channels}
    network = waves(UNet2D(config))
    unet = place / "unet" if pipeline else place
    unet.mkdir(parents=True, exist_ok=True)
    (unet / "config.json").write_text(json.dumps(config))
    home = place / "scheduler" if pipeline else place
    home.mkdir(exist_ok=True)
    (home / "scheduler_config.json").write_text(json.dumps(scheduler))
    save_file({name: value.contiguous() for name, value in network.state_dict().items()},
              str(unet / "diffusion_pytorch_model.safetensors"))
    assert isinstance(network, UNet2D)
    return network


@pytest.mark.parametrize("pipeline", [True, False])
@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "sample", "flow", "trained", "edm"])
def test_a_folder_of_diffusers_is_the_network_in_its_parameterisation(
    tmp_path: Path, kind: str, pipeline: bool
) -> None:
    """At step 300 of the schedule the whole chain, by hand: scale, offset, time, scaling of the state, prediction."""
    options: dict[str, Any] = {"_class_name": "DDIMScheduler", "num_train_timesteps": 1000}
    if kind == "flow":
        options["_class_name"] = "FlowMatchEulerDiscreteScheduler"
    elif kind == "edm":
        options |= {"_class_name": "EDMEulerScheduler", "sigma_data": 0.8}
    elif kind == "trained":
        options["trained_betas"] = [0.01] * 1000
    else:
        options |= {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012, "prediction_type": kind}
    network = folder_of(tmp_path / "model", options, pipeline)
    scale, offset = 0.5, -0.25
    x = torch.sin(torch.arange(2 * 16 * 16).float()).reshape(2, 1, 16, 16)
    if kind == "flow":
        sigma = 0.3 / 0.7
    elif kind == "edm":
        sigma = math.exp(1.2)
    else:
        betas = make_betas("scaled_linear", 1000, 0.00085, 0.012) if kind != "trained" else torch.full((1000,), 0.01)
        bar = float((1 - betas.double()).cumprod(0)[300])
        sigma = ((1 - bar) / bar) ** 0.5
    found = imported(read_diffusers(tmp_path / "model"), scale, offset)(x, torch.tensor(sigma * scale))
    z = (x - offset) / scale
    norm = (sigma**2 + 0.64) ** 0.5
    inner = z * 0.7 if kind == "flow" else z / norm if kind == "edm" else z * bar**0.5
    with torch.no_grad():
        raw = network(inner, torch.full((2,), 0.3 if kind == "edm" else 300.0))
    if kind == "flow":
        clean = inner - 0.3 * raw
    elif kind == "edm":
        clean = 0.64 / norm**2 * z + 0.8 * sigma / norm * raw
    elif kind == "v_prediction":
        clean = bar**0.5 * inner - (1 - bar) ** 0.5 * raw
    elif kind == "sample":
        clean = raw
    else:
        clean = (inner - (1 - bar) ** 0.5 * raw) / bar**0.5
    torch.testing.assert_close(found, offset + scale * clean, atol=1e-5, rtol=1e-5)


def test_any_image_size_and_double_precision(tmp_path: Path) -> None:
    folder_of(tmp_path, {"_class_name": "DDPMScheduler"})
    denoiser = imported(read_diffusers(tmp_path))
    x = torch.sin(torch.arange(13 * 15).double()).reshape(1, 1, 13, 15)
    found = denoiser(x, torch.tensor(0.5, dtype=torch.float64))
    assert found.shape == x.shape
    assert found.dtype == torch.float64


def test_old_names_and_torch_files_are_read(tmp_path: Path) -> None:
    folder_of(tmp_path, {"_class_name": "DDPMScheduler"}, pipeline=False)
    place = tmp_path / "diffusion_pytorch_model.safetensors"
    state = read_state(place)
    x, sigma = torch.ones(1, 1, 8, 8), torch.tensor(0.5)
    expected = imported(read_diffusers(tmp_path))(x, sigma)
    old = {}
    for name, value in state.items():
        if "attentions" in name:
            for new, was in (("to_q", "query"), ("to_k", "key"), ("to_v", "value"), ("to_out.0", "proj_attn")):
                name = name.replace(new, was)
        old["module." + name] = value
    assert any("query" in name for name in old)
    place.unlink()
    torch.save({"state_dict": old, "epoch": 3}, tmp_path / "diffusion_pytorch_model.bin")
    torch.testing.assert_close(imported(read_diffusers(tmp_path))(x, sigma), expected)


class Trap:
    """A pickle that runs code when it is read without care."""

    def __reduce__(self):
        return os.mkdir, (str(Trap.place),)

    place = Path()


def test_code_is_never_unpickled(tmp_path: Path) -> None:
    Trap.place = tmp_path / "ran"
    torch.save({"model": Trap()}, tmp_path / "weights.pt")
    (tmp_path / "weights.pkl").write_bytes(pickle.dumps(Trap(), protocol=2))
    (tmp_path / "broken.safetensors").write_bytes(b"not a file")
    torch.save({"epoch": 3}, tmp_path / "empty.pt")
    for name in ("weights.pt", "weights.pkl"):
        with pytest.raises(ValueError, match=r"could run code.*safetensors.torch.save_file"):
            read_state(tmp_path / name)
    with pytest.raises(ValueError, match="not a safetensors file"):
        read_state(tmp_path / "broken.safetensors")
    with pytest.raises(ValueError, match="no named tensors"):
        read_state(tmp_path / "empty.pt")
    with pytest.raises(ValueError, match="found none"):
        read_state(tmp_path / "nothing.pt")
    assert not Trap.place.exists()


def test_what_a_folder_lacks_or_says_wrongly_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"expected config.json"):
        imported(read_diffusers(tmp_path))
    for options, message in (
        ({"_class_name": "ScoreSdeVeScheduler"}, "the scheduler ScoreSdeVeScheduler is not known"),
        ({"prediction_type": "flow"}, "prediction type 'flow' is not known"),
        ({"rescale_betas_zero_snr": True}, "zero signal"),
        ({"beta_schedule": "odd"}, "no noise schedule named 'odd'"),
    ):
        folder_of(tmp_path, options)
        with pytest.raises(ValueError, match=message):
            imported(read_diffusers(tmp_path))
    weights = tmp_path / "unet" / "diffusion_pytorch_model.safetensors"
    state = read_state(weights)
    folder_of(tmp_path, {})
    save_file({n: v for n, v in state.items() if n != "conv_in.bias"}, str(weights))
    with pytest.raises(ValueError, match=r"1 tensors are missing.*such as conv_in.bias"):
        imported(read_diffusers(tmp_path))
    save_file({**state, "conv_in.bias": state["conv_in.bias"] * float("nan")}, str(weights))
    with pytest.raises(ValueError, match=r"not finite, such as in conv_in.bias"):
        imported(read_diffusers(tmp_path))
    (tmp_path / "unet" / "config.json").write_text(json.dumps({"_class_name": "UNet2DConditionModel"}))
    with pytest.raises(ValueError, match="only UNet2DModel"):
        imported(read_diffusers(tmp_path))


def test_a_model_of_monai(tmp_path: Path) -> None:
    nets = pytest.importorskip("monai.networks.nets")
    options = {
        "in_channels": 1, "out_channels": 1, "channels": (8, 16), "attention_levels": (False, True),
        "num_res_blocks": 1, "norm_num_groups": 4, "num_head_channels": 8,
    }
    network = waves(nets.DiffusionModelUNet(spatial_dims=2, **options))
    save_file(dict(network.state_dict()), str(tmp_path / "weights.safetensors"))
    scheduler = {"schedule": "scaled_linear_beta", "beta_start": 0.0015, "beta_end": 0.0195,
                 "prediction_type": "v_prediction"}
    denoiser = imported(read_monai(tmp_path / "weights.safetensors", options, scheduler), 2.0, 0.5)
    bar = float((1 - make_betas("scaled_linear", 1000, 0.0015, 0.0195)).cumprod(0)[200])
    x = torch.sin(torch.arange(2 * 12 * 16).float()).reshape(2, 1, 12, 16)
    found = denoiser(x, torch.tensor(2 * ((1 - bar) / bar) ** 0.5))
    inner = (x - 0.5) / 2 * bar**0.5
    with torch.no_grad():
        raw = network(inner, torch.tensor([200, 200]))
    expected = 0.5 + 2 * (bar**0.5 * inner - (1 - bar) ** 0.5 * raw)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    assert denoiser(torch.ones(1, 1, 9, 11), torch.tensor(0.5)).shape == (1, 1, 9, 11)
    place = tmp_path / "weights.safetensors"
    for network_options, schedule, message in (
        ({**options, "with_conditioning": True}, {}, "without text or class conditioning"),
        ({**options, "levels": 3}, {}, "correct its arguments"),
        ({**options, "channels": (8, 8)}, {}, "do not fit the network described"),
        (options, {"schedule": "sigmoid_beta"}, "the schedule 'sigmoid_beta' is not known"),
        (options, {"steps": 10}, r"options \['steps'\] of the schedule are not known"),
    ):
        with pytest.raises(ValueError, match=message):
            imported(read_monai(place, network_options, schedule))


TINY: dict[str, Any] = {
    "in_channels": 1, "out_channels": 2, "model_channels": 32, "num_res_blocks": 1, "channel_mult": (1, 2),
    "attention_factors": (2,),
}
# Values of openai/guided-diffusion for the weights of `waves` and the input below.
GUIDED = [
    ({}, [-0.378377, -0.032646, -0.624841, -0.484760]),
    ({"use_scale_shift_norm": False, "head_channels": 16}, [-0.546797, -0.094206, -0.546123, -0.453848]),
    ({"resblock_updown": True, "use_new_attention_order": True}, [-0.589655, -0.551137, 0.446944, 0.471092]),
    (
        {"conv_resample": False, "channel_mult": (1, 1, 2), "num_res_blocks": 2, "attention_factors": (2, 4)},
        [0.269769, 0.139249, -0.487766, -0.490539],
    ),
]


@pytest.mark.parametrize(("changes", "expected"), GUIDED, ids=str)
def test_unet_of_guided_diffusion(changes: dict[str, Any], expected: list[float]) -> None:
    network = waves(GuidedUNet(GuidedOptions(**{**TINY, **changes})))
    x = torch.sin(torch.arange(2 * 16 * 24).float() * 0.37).reshape(2, 1, 16, 24)
    with torch.no_grad():
        found = network(x, torch.tensor([3.0, 700.5]))
    assert found.shape == (2, 2, 16, 24)
    torch.testing.assert_close(found.flatten()[[0, 100, 700, 1500]], torch.tensor(expected), atol=2e-5, rtol=0)


def test_a_state_dict_of_guided_diffusion(tmp_path: Path) -> None:
    """At step 40 of 100 with a learned variance, by hand; the linear schedule is ten times steeper there."""
    options = GuidedOptions(**TINY)
    network = waves(GuidedUNet(options))
    torch.save(network.state_dict(), tmp_path / "ema.pt")
    denoiser = imported(read_guided(tmp_path / "ema.pt", options, steps=100), 0.5, 0.1)
    bar = float((1 - torch.linspace(1e-3, 0.2, 100).double()).cumprod(0)[40])
    sigma = ((1 - bar) / bar) ** 0.5
    x = torch.sin(torch.arange(12 * 16).float()).reshape(1, 1, 12, 16)
    with torch.no_grad():
        raw = network((x - 0.1) / 0.5 * bar**0.5, torch.tensor([40.0]))[:, :1]
    expected = 0.1 + 0.5 * ((x - 0.1) / 0.5 - sigma * raw)
    torch.testing.assert_close(denoiser(x, torch.tensor(0.5 * sigma)), expected, atol=1e-4, rtol=1e-4)
    with pytest.raises(ValueError, match="the schedule 'sqrt' is not known"):
        imported(read_guided(tmp_path / "ema.pt", options, schedule="sqrt"))
    with pytest.raises(ValueError, match="do not fit"):
        imported(read_guided(tmp_path / "ema.pt", GuidedOptions(**{**TINY, "num_res_blocks": 2})))


SIZE = 32
FREQUENCY = torch.fft.fftfreq(SIZE, dtype=torch.float64)
SPECTRUM = 0.02 / (0.003 + FREQUENCY[:, None] ** 2 + FREQUENCY**2) ** 1.5
PRIOR = GaussianDenoiser(torch.full((SIZE, SIZE), 0.4, dtype=torch.float64), SPECTRUM / SPECTRUM.mean())
LINEAR = DiscreteSchedule.from_betas(make_betas("linear"))


def images() -> Tensor:
    """Draws of PRIOR."""
    white = torch.randn(8, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    return PRIOR.mean + torch.fft.ifft2(PRIOR.spectrum.sqrt() * torch.fft.fft2(white)).real


def epsilon(inner: Tensor, time: Tensor) -> Tensor:
    """A linear network of the DDPM kind, exact for PRIOR with the linear schedule."""
    log_sigma = LINEAR.sigmas.log()
    below = time.floor().clamp(0, 998).long()
    s = as_column((log_sigma[below] + (time - below) * (log_sigma[below + 1] - log_sigma[below])).exp(), inner)
    x = inner * (1 + s**2).sqrt()
    return (x - PRIOR(x, s.flatten())) / s


def test_an_exact_prior_passes_its_self_test_in_any_units() -> None:
    denoiser = VPDenoiser(epsilon, LINEAR)
    found = self_test(denoiser, images())
    assert found.passed, found.sentence
    assert found.sentence.startswith("The prior passed its self-test")
    assert found == self_test(denoiser, images())
    assert found.change < 1.2
    for level in found.levels:
        assert level.balance == pytest.approx(1, abs=0.03)
        assert level.denoised_db > level.smoothed_db
    other = self_test(Rescaled(denoiser, 40.0, 7.0), 7 + 40 * images())
    assert other.passed, other.sentence


@pytest.mark.parametrize(
    ("mistake", "denoiser"),
    [
        ("twice the scale", Rescaled(VPDenoiser(epsilon, LINEAR), 2.0)),
        ("half the scale", Rescaled(VPDenoiser(epsilon, LINEAR), 0.5)),
        ("offset", Rescaled(VPDenoiser(epsilon, LINEAR), 1.0, 30.0)),
        ("cosine schedule", VPDenoiser(epsilon, DiscreteSchedule.from_betas(make_betas("squaredcos_cap_v2")))),
        ("ten times fewer steps", VPDenoiser(epsilon, DiscreteSchedule.from_betas(make_betas("linear", 100)))),
        ("prediction v", VPDenoiser(epsilon, LINEAR, "v")),
        ("prediction of the clean image", VPDenoiser(epsilon, LINEAR, "sample")),
        ("never trained", VPDenoiser(lambda x, t: torch.zeros_like(x), LINEAR)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_mistake_is_found(mistake: str, denoiser: Denoiser) -> None:
    found = self_test(denoiser, images())
    assert not found.passed, found
    assert "Check scale, offset and noise schedule" in found.sentence


def test_a_self_test_needs_structure_and_finite_estimates() -> None:
    with pytest.raises(ValueError, match="constant"):
        self_test(PRIOR, torch.ones(1, 1, SIZE, SIZE))
    with pytest.raises(FloatingPointError, match="not finite"):
        self_test(lambda x, s, c=None: x * float("nan"), images())


def test_the_shipped_prior_passes_on_a_chest_and_not_at_twice_the_scale() -> None:
    prior = load_prior("ct-body")
    pixel = prior.card.pixel_mm[1]
    chest, _ = synthetic_chest((1, 128, 128), (5.0, pixel, pixel))
    clean = torch.from_numpy(np.maximum(chest.array, -1000) / 1000)[:, None].float()
    place = positions(128, 128, (pixel, pixel))
    right = self_test(prior, clean, place, levels=(0.3,))
    assert right.passed, right.sentence
    for scale in (0.5, 2.0):
        wrong = self_test(Rescaled(prior, scale), clean, place, levels=(0.3,))
        assert not wrong.passed, wrong.sentence
