"""Other people's diffusion models as priors: folders of diffusers, state dicts of MONAI and guided-diffusion.

What a file cannot say is asked for: ``scale`` and ``offset``, network value = (value - offset) / scale, with values in
the units that the prior is to work in. A network trained on [-1, 1] from CT clipped to -1000 ... 1000 HU has
scale 1 and offset 0 in units of HU / 1000. Run :func:`diffusion_engine.priors.self_test.self_test` on a few
images before any reconstruction: it finds a wrong scale or schedule.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .adapters import FlowDenoiser, VPDenoiser
from .combine import Rescaled
from .denoiser import Denoiser, EDMDenoiser
from .diffusers_unet import UNet2D, current_names
from .guided_unet import GuidedOptions, GuidedUNet
from .schedules import DiscreteSchedule, make_betas
from .state import fill, read_state

PREDICTIONS = {"epsilon": "epsilon", "v_prediction": "v", "sample": "sample"}
VP_SCHEDULERS = (
    "DDPMScheduler", "DDIMScheduler", "PNDMScheduler", "DPMSolverMultistepScheduler", "DPMSolverSinglestepScheduler",
    "EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler", "HeunDiscreteScheduler", "UniPCMultistepScheduler",
    "DEISMultistepScheduler", "LMSDiscreteScheduler", "KDPM2DiscreteScheduler",
)
EDM_SCHEDULERS = ("EDMEulerScheduler", "EDMDPMSolverMultistepScheduler")
MONAI_BETAS = {"linear_beta": "linear", "scaled_linear_beta": "scaled_linear", "cosine": "squaredcos_cap_v2"}
GUIDED_BETAS = {"linear": "linear", "cosine": "squaredcos_cap_v2"}


class Padded(nn.Module):
    """A float32 network at any image size: rows and columns padded by the last pixel to a multiple, then cropped."""

    def __init__(self, network: nn.Module, multiple: int) -> None:
        super().__init__()
        self.network, self.multiple = network, multiple

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        rows, columns = x.shape[-2:]
        pads = (0, -columns % self.multiple, 0, -rows % self.multiple)
        inner = F.pad(x.float(), pads, mode="replicate") if any(pads) else x.float()
        return self.network(inner, time.float())[..., :rows, :columns]


def load_diffusers(
    folder: Path, scale: float, offset: float = 0.0, device: str | torch.device = "cpu", interpolate: bool = True
) -> Denoiser:
    """A prior from a folder of diffusers: unet/ and scheduler/ of a pipeline, or both files side by side.

    Read are config.json and diffusion_pytorch_model.safetensors (or .bin, tensors alone) of a UNet2DModel, and
    scheduler_config.json for the parameterisation. ``interpolate``: times between the steps trained, else the
    nearest step. Raises ValueError for what is missing or not known.
    """
    place = folder / "unet" if (folder / "unet").is_dir() else folder
    config = _json(place / "config.json")
    kind = config.get("_class_name", "UNet2DModel")
    if kind != "UNet2DModel":
        raise ValueError(f"{place} holds a {kind}: only UNet2DModel, an unconditional image model, can be imported")
    options = _json(_first(folder / "scheduler" / "scheduler_config.json", place / "scheduler_config.json"))
    weights = _first(place / "diffusion_pytorch_model.safetensors", place / "diffusion_pytorch_model.bin")
    network = UNet2D({key: value for key, value in config.items() if not key.startswith("_")})
    fill(network, current_names(read_state(weights)), weights.name).to(device)
    return Rescaled(_parameterised(Padded(network, network.multiple), options, interpolate), scale, offset)


def _parameterised(network: Padded, options: Mapping[str, Any], interpolate: bool) -> Denoiser:
    """The denoiser that a scheduler_config.json describes."""
    kind = options.get("_class_name", "DDPMScheduler")
    steps = int(options.get("num_train_timesteps", 1000))
    if kind == "FlowMatchEulerDiscreteScheduler":
        return FlowDenoiser(network, float(steps))
    prediction = options.get("prediction_type", "epsilon")
    if kind in EDM_SCHEDULERS and prediction == "epsilon":
        return EDMDenoiser(network, float(options.get("sigma_data", 0.5)))
    if kind not in VP_SCHEDULERS:
        raise ValueError(
            f"the scheduler {kind} is not known here: expected one of {VP_SCHEDULERS}, flow matching, or EDM "
            "with prediction epsilon; if the network was trained with another name for the same noise, correct the name"
        )
    if options.get("rescale_betas_zero_snr"):
        raise ValueError("schedules rescaled to zero signal have no finite last noise level: they cannot be imported")
    if prediction not in PREDICTIONS:
        raise ValueError(f"the prediction type '{prediction}' is not known: expected one of {sorted(PREDICTIONS)}")
    trained = options.get("trained_betas")
    if trained is not None:
        betas = torch.tensor(trained, dtype=torch.float64)
    else:
        first, last = float(options.get("beta_start", 1e-4)), float(options.get("beta_end", 0.02))
        betas = make_betas(options.get("beta_schedule", "linear"), steps, first, last)
    return VPDenoiser(network, DiscreteSchedule.from_betas(betas, interpolate), PREDICTIONS[prediction])


def load_monai(
    weights: Path, network: Mapping[str, Any], scheduler: Mapping[str, Any], scale: float, offset: float = 0.0,
    device: str | torch.device = "cpu", interpolate: bool = True,
) -> Denoiser:
    """A prior from the state dict of MONAI's two-dimensional DiffusionModelUNet.

    ``network``: the arguments it was made with; ``scheduler``: those of its DDPMScheduler or DDIMScheduler
    (num_train_timesteps, schedule, prediction_type, beta_start, beta_end), MONAI's defaults where left out.
    Raises ValueError for what does not fit or is not known.
    """
    # Imported here: MONAI takes seconds to import, and only this function needs it.
    from monai.networks.nets import DiffusionModelUNet

    if network.get("spatial_dims", 2) != 2 or network.get("with_conditioning") or network.get("num_class_embeds"):
        raise ValueError("only two-dimensional networks without text or class conditioning can be imported")
    try:
        module = DiffusionModelUNet(**{"spatial_dims": 2, **network})
    except TypeError as error:
        raise ValueError(f"MONAI's DiffusionModelUNet cannot be built so ({error}): correct its arguments") from None
    fill(module, read_state(weights), weights.name).to(device)
    name = scheduler.get("schedule", "linear_beta")
    if name not in MONAI_BETAS:
        raise ValueError(f"the schedule '{name}' is not known: expected one of {sorted(MONAI_BETAS)}")
    unknown = set(scheduler) - {"num_train_timesteps", "schedule", "prediction_type", "beta_start", "beta_end"}
    # Clipping concerns MONAI's own sampler, not what the network has learned.
    unknown -= {"clip_sample", "variance_type"}
    if unknown:
        raise ValueError(f"options {sorted(unknown)} of the schedule are not known: remove or correct them")
    options = {**scheduler, "_class_name": "DDPMScheduler", "beta_schedule": MONAI_BETAS[name]}
    multiple = 2 ** (len(network.get("channels", (32, 64, 64, 64))) - 1)
    return Rescaled(_parameterised(Padded(module, multiple), options, interpolate), scale, offset)


def load_guided(
    weights: Path, options: GuidedOptions, scale: float, offset: float = 0.0, schedule: str = "linear",
    steps: int = 1000, prediction: str = "epsilon", device: str | torch.device = "cpu", interpolate: bool = True,
) -> Denoiser:
    """A prior from a state dict of guided-diffusion, a .safetensors or .pt file of tensors alone.

    ``schedule``: "linear" or "cosine" and ``steps``, as in training (noise_schedule, diffusion_steps); ``prediction``:
    "epsilon", or "sample" for predict_xstart. A learned variance (twice the channels) is dropped. Raises ValueError
    for what does not fit or is not known.
    """
    if schedule not in GUIDED_BETAS:
        raise ValueError(f"the schedule '{schedule}' is not known: expected one of {sorted(GUIDED_BETAS)}")
    network = GuidedUNet(options)
    fill(network, read_state(weights), weights.name).to(device)
    # Its linear schedule keeps the total noise when there are fewer steps than 1000.
    betas = make_betas(GUIDED_BETAS[schedule], steps, 0.1 / steps, 20 / steps)
    inner = VPDenoiser(Padded(network, network.multiple), DiscreteSchedule.from_betas(betas, interpolate), prediction)
    return Rescaled(inner, scale, offset)


def _first(*paths: Path) -> Path:
    for path in paths:
        if path.is_file():
            return path
    raise ValueError(f"expected {paths[0].name} in {paths[0].parent}, found none: give the folder that holds it")


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"expected {path.name} in {path.parent}, found none: give the folder that holds it") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not valid JSON ({error}): download it again") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path} does not hold names and values: download it again")
    return content
