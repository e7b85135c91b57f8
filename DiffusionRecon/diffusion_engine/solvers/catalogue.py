"""The methods on offer: one literal entry each. Labels of spread are earned from the truth table."""

from __future__ import annotations

from .contract import Method
from .dds import DDSSettings, dds
from .padis import PaDISSettings, padis
from .pfgm import PFGMSettings, pfgm
from .resample import ReSampleSettings, resample

METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method(
            "dds", "Decomposed diffusion sampling", "fast and accurate images from a linear scan", dds, DDSSettings,
            "concentrated", "image", ("ct",), "30", "arXiv:2303.05754",
        ),
        Method(
            "pfgm", "PFGM++ posterior sampling", "draws with heavy-tailed noise, for priors trained with it", pfgm,
            PFGMSettings, "concentrated", "image", ("ct",), "30", "arXiv:2302.04265",
        ),
        Method(
            "padis", "Patch diffusion (PaDIS)", "any image size from a prior of patches, by guided Langevin steps",
            padis, PaDISSettings, "concentrated", "image", ("ct",), "60 with gradients", "arXiv:2406.02462",
        ),
        Method(
            "resample", "ReSample", "latent priors, with the data fitted in image and latent space", resample,
            ReSampleSettings, "concentrated", "noise", (), "60, and gradients of the decoder", "arXiv:2307.08123",
        ),
    )
}


def method_named(name: str) -> Method:
    """The entry of a method; raises ValueError with the names there are."""
    if name not in METHODS:
        raise ValueError(f"no method named '{name}': choose from {sorted(METHODS)}")
    return METHODS[name]
