"""Other people's diffusion models as priors: folders of diffusers, state dicts of MONAI, guided-diffusion and EDM.

What a file cannot say is asked for: ``scale`` and ``offset``, network value = (value - offset) / scale, with values in
the units that the prior is to work in. A network trained on [-1, 1] from CT clipped to -1000 ... 1000 HU has
scale 1 and offset 0 in units of HU / 1000. Run :func:`diffusion_engine.priors.foreign.self_test.self_test` on a few
images before any reconstruction: it finds a wrong scale or schedule.

Each family has a ``read_``, which gives a model's tensors, in their own precision, and an entry: plain names and
values, for a model card, of which :func:`build` makes the untrained network again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...denoiser import Denoiser, EDMDenoiser
from ..state import first_of, read_json, read_state
from .diffusers_unet import UNet2D, current_names
from .edm import EDM_LEVELS, preconditioning, read_edm
from .edm_unet import EDMNetOptions, EDMUNet
from .guided_unet import GuidedOptions, GuidedUNet
from .parameterised import FlowDenoiser, VPDenoiser
from .schedules import DiscreteSchedule, make_betas

PREDICTIONS = {"epsilon": "epsilon", "v_prediction": "v", "sample": "sample"}
VP_SCHEDULERS = (
    "DDPMScheduler", "DDIMScheduler", "PNDMScheduler", "DPMSolverMultistepScheduler", "DPMSolverSinglestepScheduler",
    "EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler", "HeunDiscreteScheduler", "UniPCMultistepScheduler",
    "DEISMultistepScheduler", "LMSDiscreteScheduler", "KDPM2DiscreteScheduler",
)
EDM_SCHEDULERS = ("EDMEulerScheduler", "EDMDPMSolverMultistepScheduler")
MONAI_BETAS = {"linear_beta": "linear", "scaled_linear_beta": "scaled_linear", "cosine": "squaredcos_cap_v2"}
MONAI_SCHEDULE = ("num_train_timesteps", "schedule", "prediction_type", "beta_start", "beta_end")
# Clipping concerns MONAI's own sampler, not what the network has learned.
MONAI_SAMPLER = ("clip_sample", "variance_type")
GUIDED_BETAS = {"linear": "linear", "cosine": "squaredcos_cap_v2"}
Entry = dict[str, Any]
Maker = Callable[[nn.Module], Denoiser]


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


@dataclass(frozen=True, eq=False)
class Foreign:
    """An untrained network, what makes a denoiser of it, the noise levels it knows; all in the network's own units."""

    network: nn.Module
    around: Maker
    levels: tuple[float, float]
    channels: tuple[int, int]
    """Channels in and out."""


def build(entry: Mapping[str, Any]) -> Foreign:
    """The untrained network of an entry and how to use it; raises ValueError for what is not known or not complete."""
    kind = entry.get("type")
    if kind not in FAMILIES:
        raise ValueError(f"no family of networks '{kind}': choose from {sorted(FAMILIES)}")
    try:
        return FAMILIES[kind](entry)
    except (KeyError, TypeError) as error:
        raise ValueError(f"the network of family {kind} cannot be built ({error}): correct its description") from None


def read_diffusers(folder: Path, interpolate: bool = True) -> tuple[Entry, dict[str, Tensor]]:
    """Entry and tensors of a folder of diffusers: unet/ and scheduler/ of a pipeline, or both files side by side.

    Read are config.json and diffusion_pytorch_model.safetensors (or .bin, tensors alone) of a UNet2DModel, and
    scheduler_config.json for the parameterisation. ``interpolate``: times between the steps trained, else the
    nearest step. Raises ValueError for what is missing or not known.
    """
    place = folder / "unet" if (folder / "unet").is_dir() else folder
    config = read_json(place / "config.json")
    kind = config.get("_class_name", "UNet2DModel")
    if kind != "UNet2DModel":
        raise ValueError(f"{place} holds a {kind}: only UNet2DModel, an unconditional image model, can be imported")
    options = read_json(first_of(folder / "scheduler" / "scheduler_config.json", place / "scheduler_config.json"))
    weights = first_of(place / "diffusion_pytorch_model.safetensors", place / "diffusion_pytorch_model.bin")
    entry = {"type": "diffusers", "config": config, "scheduler": options, "interpolate": interpolate}
    return entry, current_names(read_state(weights, exact=True))


def _diffusers(entry: Mapping[str, Any]) -> Foreign:
    network = UNet2D({key: value for key, value in entry["config"].items() if not key.startswith("_")})
    around, levels = _parameterised(entry["scheduler"], entry.get("interpolate", True), network.multiple)
    return Foreign(network, around, levels, (network.conv_in.in_channels, network.conv_out.out_channels))


def _parameterised(
    options: Mapping[str, Any], interpolate: bool, multiple: int
) -> tuple[Maker, tuple[float, float]]:
    """What makes a denoiser as a scheduler_config.json describes it, and its noise levels."""
    kind = options.get("_class_name", "DDPMScheduler")
    steps = int(options.get("num_train_timesteps", 1000))
    if kind == "FlowMatchEulerDiscreteScheduler":
        return lambda network: FlowDenoiser(Padded(network, multiple), float(steps)), (1 / steps, float(steps))
    prediction = options.get("prediction_type", "epsilon")
    if kind in EDM_SCHEDULERS and prediction == "epsilon":
        data = float(options.get("sigma_data", 0.5))
        return lambda network: EDMDenoiser(Padded(network, multiple), data), EDM_LEVELS
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
    return _discrete(betas, interpolate, PREDICTIONS[prediction], multiple)


def _discrete(betas: Tensor, interpolate: bool, prediction: str, multiple: int) -> tuple[Maker, tuple[float, float]]:
    schedule = DiscreteSchedule.from_betas(betas, interpolate)
    levels = (float(schedule.sigmas[0]), float(schedule.sigmas[-1]))
    return lambda network: VPDenoiser(Padded(network, multiple), schedule, prediction), levels


def read_monai(
    weights: Path, network: Mapping[str, Any], scheduler: Mapping[str, Any], interpolate: bool = True
) -> tuple[Entry, dict[str, Tensor]]:
    """Entry and tensors of a state dict of MONAI's two-dimensional DiffusionModelUNet.

    ``network``: the arguments it was made with; ``scheduler``: those of its DDPMScheduler or DDIMScheduler
    (num_train_timesteps, schedule, prediction_type, beta_start, beta_end), MONAI's defaults where left out.
    Raises ValueError for what cannot be read.
    """
    entry = {
        "type": "monai", "network": dict(network), "scheduler": dict(scheduler), "interpolate": interpolate,
    }
    return entry, read_state(weights, exact=True)


def _monai(entry: Mapping[str, Any]) -> Foreign:
    # Imported here: MONAI takes seconds to import, and only this function needs it.
    from monai.networks.nets import DiffusionModelUNet

    network, scheduler = entry["network"], entry["scheduler"]
    if network.get("spatial_dims", 2) != 2 or network.get("with_conditioning") or network.get("num_class_embeds"):
        raise ValueError("only two-dimensional networks without text or class conditioning can be imported")
    try:
        module = DiffusionModelUNet(**{"spatial_dims": 2, **network})
    except TypeError as error:
        raise ValueError(f"MONAI's DiffusionModelUNet cannot be built so ({error}): correct its arguments") from None
    name = scheduler.get("schedule", "linear_beta")
    if name not in MONAI_BETAS:
        raise ValueError(f"the schedule '{name}' is not known: expected one of {sorted(MONAI_BETAS)}")
    unknown = set(scheduler) - {*MONAI_SCHEDULE, *MONAI_SAMPLER}
    if unknown:
        raise ValueError(f"options {sorted(unknown)} of the schedule are not known: remove or correct them")
    options = {**scheduler, "_class_name": "DDPMScheduler", "beta_schedule": MONAI_BETAS[name]}
    multiple = 2 ** (len(network.get("channels", (32, 64, 64, 64))) - 1)
    around, levels = _parameterised(options, entry.get("interpolate", True), multiple)
    return Foreign(module, around, levels, (network["in_channels"], network["out_channels"]))


def read_guided(
    weights: Path, options: GuidedOptions, schedule: str = "linear", steps: int = 1000, prediction: str = "epsilon",
    interpolate: bool = True,
) -> tuple[Entry, dict[str, Tensor]]:
    """Entry and tensors of a state dict of guided-diffusion, a .safetensors or .pt file of tensors alone.

    ``schedule``: "linear" or "cosine" and ``steps``, as in training (noise_schedule, diffusion_steps); ``prediction``:
    "epsilon", or "sample" for predict_xstart. A learned variance (twice the channels) is dropped. Raises ValueError
    for what cannot be read.
    """
    entry = {
        "type": "guided-diffusion", "options": asdict(options), "schedule": schedule, "steps": steps,
        "prediction": prediction, "interpolate": interpolate,
    }
    return entry, read_state(weights, exact=True)


def _guided(entry: Mapping[str, Any]) -> Foreign:
    schedule, steps = entry["schedule"], int(entry["steps"])
    if schedule not in GUIDED_BETAS:
        raise ValueError(f"the schedule '{schedule}' is not known: expected one of {sorted(GUIDED_BETAS)}")
    options = GuidedOptions(**tuples(entry["options"]))
    network = GuidedUNet(options)
    # Its linear schedule keeps the total noise when there are fewer steps than 1000.
    betas = make_betas(GUIDED_BETAS[schedule], steps, 0.1 / steps, 20 / steps)
    around, levels = _discrete(betas, entry.get("interpolate", True), entry["prediction"], network.multiple)
    return Foreign(network, around, levels, (options.in_channels, options.out_channels))


def read_edm_network(
    weights: Path, precond: str = "", sigma_data: float = 0.5, interpolate: bool = True
) -> tuple[Entry, dict[str, Tensor]]:
    """Entry and tensors of EDM's SongUNet or DhariwalUNet, whose options are read off its names and shapes.

    ``precond``: "edm" with ``sigma_data`` as in training (the default), "ve", "vp", or "iddpm" (the default where the
    file has its noise levels). Raises ValueError for what is not known, and for pickled snapshots.
    """
    options, state, steps = read_edm(weights)
    if steps and precond not in ("", "iddpm"):
        raise ValueError(f"{weights.name} holds the noise levels of the iddpm preconditioning, not of '{precond}'")
    entry = {
        "type": "edm", "options": asdict(options), "precond": precond or ("iddpm" if steps else "edm"),
        "sigma_data": sigma_data, "steps": steps, "interpolate": interpolate,
    }
    return entry, state


def _edm(entry: Mapping[str, Any]) -> Foreign:
    options = EDMNetOptions(**tuples(entry["options"]))
    network = EDMUNet(options)
    around, levels = preconditioning(entry)
    return Foreign(
        network, lambda inner: around(Padded(inner, network.multiple)), levels,
        (options.in_channels, options.out_channels),
    )


FAMILIES: dict[str, Callable[[Mapping[str, Any]], Foreign]] = {
    "diffusers": _diffusers, "monai": _monai, "guided-diffusion": _guided, "edm": _edm,
}


def tuples(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options with lists, as JSON has them, as tuples."""
    return {key: tuple(value) if isinstance(value, list) else value for key, value in options.items()}
