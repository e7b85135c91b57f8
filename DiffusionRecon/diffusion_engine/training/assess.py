"""How good a prior is by itself: denoising against classical methods, draws to look at, signs of memorisation."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..classical.denoise import bm3d, tv_oracle, wiener
from ..denoiser import positions
from ..priors.library import Prior
from ..priors.neighbours import denoised
from ..sampling.noise import seeded
from .data import PatchSampler, TrainingSlices
from .memorisation import copies, excess_gap
from .samples import draw_samples, write_sheet
from .sinograms import VIEWS, sinogram_positions
from .sources import is_below, load_sources, told
from .units import LINE_INTEGRAL, rule_of
from .validate import decibel, held_slices
from .watch import PATCH_SIZE, PATCHES, WATCHED

LEVELS = (0.02, 0.04, 0.1, 0.2, 0.4, 1.0, 2.0)
"""Noise levels of the comparison, as multiples of sigma_data."""
DEPTHS = (0.25, 0.5, 0.75)
SHEET_MM = 360.0


def assess(
    prior: Prior, out: Path, data: Path | None = None, train_data: Path | None = None, samples: int = 4, seed: int = 0,
    files: str = "*",
) -> dict[str, Any]:
    """Assess a prior into the folder ``out``: assessment.json and samples.png; returns the content of the first.

    ``data``: folder of volumes that were not trained on: "denoising" rows (see :func:`denoising_rows`). ``train_data``:
    the training volumes, to look for memorisation with ``data`` as what to expect. ``samples``: how many images to
    draw (0: none). ``files``: pattern of file names. Raises ValueError where a folder holds no volume of the unit.
    """
    card = prior.card
    rule = rule_of(card.unit)
    out.mkdir(parents=True, exist_ok=True)
    result: dict[str, Any] = {
        "prior": card.name, "sha256": card.sha256, "denoising": None, "memorisation": None, "samples": None,
    }
    held = None
    if data is not None:
        held, skipped = load_sources(data, unit=card.unit, files=files)
        print("\n".join(told(held, skipped)))
    if held is not None:
        result["denoising"] = denoising_rows(prior, held, card.sees, seed)
    if held is not None and train_data is not None:
        kept_out = [name for name in card.held_out if is_below(train_data, name)]
        sources = load_sources(train_data, kept_out, unit=card.unit, files=files)[0]
        patches = [
            PatchSampler(part, card.sees, empty_std=rule.empty_std).draw(
                PATCHES, PATCH_SIZE, torch.Generator().manual_seed(seed)
            )
            for part in (sources, held)
        ]
        sigmas = [factor * card.sigma_data for factor in WATCHED[-2:]]
        near = copies(prior, sources, held, card.sigma, seeded(seed), empty_std=rule.empty_std)
        result["memorisation"] = {"gap_db": round(excess_gap(prior, patches[0], patches[1], sigmas, seed), 3), **near}
    if samples > 0:
        pixel = card.pixel_mm[1]
        size = min(round(SHEET_MM / pixel), 256)
        if card.unit == LINE_INTEGRAL:
            place = sinogram_positions(VIEWS, size, pixel)
        else:
            place = positions(size, size, (pixel, pixel))
        drawn = draw_samples(prior, (samples, 1, *place.shape[1:]), place, card.sigma, seeded(seed))
        write_sheet(drawn[:, 0], out / "samples.png", rule.window)
        result["samples"] = "samples.png"
    (out / "assessment.json").write_text(json.dumps(result, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    return result


def denoising_rows(prior: Prior, held: Sequence[TrainingSlices], sees: str, seed: int = 0) -> list[dict[str, Any]]:
    """A row a noise level: sigma (network units) and PSNR in dB over 2 units of noisy, wiener, tv-oracle, bm3d, prior.

    Of each volume the slices at 25, 50 and 75 % (all methods the same noise; a prior that looks at neighbours sees
    them, and one of volumes is judged by all slices of one about each). "bm3d" is None where the package is not
    installed.
    """
    rows = []
    for factor in LEVELS:
        sigma = factor * prior.card.sigma_data
        generator = torch.Generator().manual_seed(seed)
        errors: dict[str, list[float]] = {}
        for clean, place in held_slices(held, sees, DEPTHS):
            noisy = clean + sigma * torch.randn(clean.shape, generator=generator)
            truth, single = (x[:, :1].flatten(0, -3) for x in (clean, noisy))
            found: dict[str, Tensor | None] = {
                "noisy": single, "wiener": wiener(single, sigma), "tv-oracle": tv_oracle(single, sigma, truth),
                "bm3d": bm3d(single, sigma), "prior": denoised(prior, noisy, torch.tensor(sigma), place).flatten(0, -3),
            }
            for name, image in found.items():
                if image is not None:
                    errors.setdefault(name, []).append(float((image - truth).square().mean()))
        rows.append({
            "sigma": round(sigma, 6), "slices": len(errors["noisy"]),
            **{
                name: decibel(sum(errors[name]) / len(errors[name])) if name in errors else None
                for name in ("noisy", "wiener", "tv-oracle", "bm3d", "prior")
            },
        })
    return rows


def lines(result: dict[str, Any]) -> list[str]:
    """An assessment as text."""
    text = [f"prior {result['prior']}"]
    rows = result["denoising"]
    if rows:
        names = ("noisy", "wiener", "tv-oracle", "bm3d", "prior")
        text.append(f"denoising of {rows[0]['slices']} slices: PSNR in dB over 2 network units")
        text.append(f"  {'sigma':>8}" + "".join(f"{name:>15}" for name in names))
        for row in rows:
            cells = ("not installed" if row[name] is None else f"{row[name]:.2f}" for name in names)
            text.append(f"  {row['sigma']:>8g}" + "".join(f"{cell:>15}" for cell in cells))
    found = result["memorisation"]
    if found:
        text.append(f"memorisation: training patches {found['gap_db']:+.2f} dB beyond held-out ones at high noise")
        text.append(f"  {found['sentence']}")
    elif rows:
        text.append("memorisation: not looked for; give the training volumes with --train-data")
    return text
