"""The methods on offer: one literal entry each. Labels of spread are earned from the truth table."""

from __future__ import annotations

from .contract import Method
from .dds import DDSSettings, dds

METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method(
            "dds", "Decomposed diffusion sampling", "fast and accurate images from a linear scan", dds, DDSSettings,
            "concentrated", "image", ("ct",), "30", "arXiv:2303.05754",
        ),
    )
}


def method_named(name: str) -> Method:
    """The entry of a method; raises ValueError with the names there are."""
    if name not in METHODS:
        raise ValueError(f"no method named '{name}': choose from {sorted(METHODS)}")
    return METHODS[name]
