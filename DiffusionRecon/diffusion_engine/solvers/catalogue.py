"""The methods on offer: one literal entry each. Labels of spread are earned from the truth table."""

from __future__ import annotations

from .contract import Method
from .ddnm import DDNMSettings, ddnm
from .ddrm import DDRMSettings, ddrm
from .dds import DDSSettings, dds
from .diffpir import DiffPIRSettings, diffpir
from .dps import DPSSettings, dps
from .pigdm import PiGDMSettings, pigdm
from .red_diff import REDDiffSettings, red_diff

METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method(
            "dds", "Decomposed diffusion sampling", "fast and accurate images from a linear scan", dds, DDSSettings,
            "concentrated", "image", ("ct",), "30", "arXiv:2303.05754",
        ),
        Method(
            "dps", "Diffusion posterior sampling", "counts and other nonlinear measurements; slow", dps, DPSSettings,
            "concentrated", "image", ("ct",), "100, each with its reverse", "arXiv:2209.14687",
        ),
        Method(
            "pigdm", "Pseudo-inverse guidance", "linear scans, guided through the network", pigdm, PiGDMSettings,
            "concentrated", "image", ("ct",), "30, each with its reverse", "openreview:9_gsMA8MRKQ",
        ),
        Method(
            "ddnm", "Denoising diffusion null-space model", "linear scans; replaces what was measured", ddnm,
            DDNMSettings, "concentrated", "image", ("ct",), "30", "arXiv:2212.00490",
        ),
        Method(
            "ddrm", "Denoising diffusion restoration", "operators with known singular values, such as masks", ddrm,
            DDRMSettings, "concentrated", "image", (), "50", "arXiv:2201.11793",
        ),
        Method(
            "diffpir", "Plug-and-play restoration by diffusion", "linear scans with one weight of the prior", diffpir,
            DiffPIRSettings, "concentrated", "image", ("ct",), "30", "arXiv:2305.08995",
        ),
        Method(
            "red_diff", "Regularisation by denoising diffusion", "one image by gradient descent; any noise model",
            red_diff, REDDiffSettings, "point", "image", ("ct",), "100", "arXiv:2305.04391",
        ),
    )
}


def method_named(name: str) -> Method:
    """The entry of a method; raises ValueError with the names there are."""
    if name not in METHODS:
        raise ValueError(f"no method named '{name}': choose from {sorted(METHODS)}")
    return METHODS[name]
