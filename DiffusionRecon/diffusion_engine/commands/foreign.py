"""Import somebody else's diffusion model."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from .options import Parsers, add_command, listed, named_values, prior_name


def add(parsers: Parsers) -> None:
    """Register the command of this file."""
    sub = add_command(
        parsers, "import", import_command, "Make a prior of somebody else's diffusion model, if it passes a self-test."
    )
    sub.add_argument("path", type=Path, help="state dict (.safetensors, or .pt of tensors), or folder of diffusers")
    sub.add_argument("--family", required=True, help="edm, diffusers, guided-diffusion or monai")
    sub.add_argument("--unit", default="HU", help="of the values: HU (CT), a.u. (MR) or SUV (PET)")
    sub.add_argument("--scale", type=float, required=True, help="network value = (value - offset) / scale, in the unit")
    sub.add_argument("--offset", type=float, default=0.0, help="value that is 0 in the network (0)")
    sub.add_argument("--schedule", default="", help="edm: edm, ve, vp, iddpm; guided-diffusion: linear, cosine; monai")
    sub.add_argument(
        "--option", dest="options", action="append", default=[], metavar="NAME=VALUE",
        help="what else the network was made with, such as sigma_data=0.5 or channel_mult=[1,2]; may be repeated",
    )
    sub.add_argument("--data", type=Path, help="folder of held-out images for the self-test (HU: the synthetic chest)")
    sub.add_argument("--files", default="*", help="pattern of the file names to take, such as 'mr*'")
    sub.add_argument("--pixel-mm", help="pixel sizes it was trained on: low,high (those of --data)")
    sub.add_argument("--slices", type=int, default=3, help="slices of the self-test (3)")
    sub.add_argument("--licence", default="as chosen by its authors", help="of the weights, for the card")
    sub.add_argument("--name", type=prior_name, required=True, help="of the prior")
    sub.add_argument("--out", type=Path, required=True, help="folder for weights and card")
    sub.add_argument("--device", default="auto")


def import_command(options: argparse.Namespace) -> dict[str, Any]:
    """Test and write the prior, and return its card."""
    from ..training.import_prior import ImportRequest, import_prior

    pixels = None if options.pixel_mm is None else listed(options.pixel_mm, float)
    if pixels is not None and len(pixels) not in (1, 2):
        raise ValueError(f"expected one or two pixel sizes in mm, found '{options.pixel_mm}'")
    request = ImportRequest(
        options.path, options.family, options.unit, options.scale, options.offset, options.schedule,
        named_values(options.options), None if pixels is None else (pixels[0], pixels[-1]), options.data, options.files,
        options.slices, options.licence,
    )
    card = import_prior(request, options.out, options.name, options.device)
    print(f"wrote {options.out / card['name']}.json: give this path as --prior, or load it in the panel")
    return card
