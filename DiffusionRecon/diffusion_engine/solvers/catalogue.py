"""The methods on offer: one literal entry each. Labels of spread are earned from the truth table."""

from __future__ import annotations

from .contract import Method
from .dds import DDSSettings, dds
from .diffusion_blend import DiffusionBlendSettings, diffusion_blend
from .diffusion_mbir import DiffusionMBIRSettings, diffusion_mbir
from .tpdm import TPDMSettings, tpdm

METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method(
            "dds", "Decomposed diffusion sampling", "fast and accurate images from a linear scan", dds, DDSSettings,
            "concentrated", "image", ("ct",), "30", "arXiv:2303.05754",
        ),
        Method(
            "diffusion_mbir", "DiffusionMBIR", "stacks of slices tied by total variation along z", diffusion_mbir,
            DiffusionMBIRSettings, "concentrated", "image", ("ct",), "199", "arXiv:2211.10655",
        ),
        Method(
            "tpdm", "Two perpendicular priors (TPDM)", "volumes with priors of two planes", tpdm, TPDMSettings,
            "concentrated", "image", (), "about 650", "arXiv:2303.08440",
        ),
        Method(
            "diffusion_blend", "DiffusionBlend++", "volumes with a prior of three neighbouring slices",
            diffusion_blend, DiffusionBlendSettings, "concentrated", "image", (), "50, of three slices each",
            "arXiv:2406.10211",
        ),
    )
}


def method_named(name: str) -> Method:
    """The entry of a method; raises ValueError with the names there are."""
    if name not in METHODS:
        raise ValueError(f"no method named '{name}': choose from {sorted(METHODS)}")
    return METHODS[name]
