"""Missing views completed in the sinogram: a prior of sinograms with DDS, against interpolation between views.

    .venv/bin/python Testing/benchmarks/sinogram_completion.py --volume CT.nii.gz --prior sino.json --json F

Of 180 parallel views of a slice two sets are kept: every third one, and those again without a block of 30 degrees. The
scan is simulated from native pixels without inverse crime, with noise of 0.2 % of the largest line integral, as in
``evaluate``. Rows give the RMSE of the missing readings (line integrals, against readings without noise) and the PSNR
of FBP of the completed sinogram. Methods of the image domain are left out: ``evaluate`` measures them, on 60 views.
The volume must not be among those that the prior was trained on.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusion_engine import metrics
from diffusion_engine.classical.denoise import Identity
from diffusion_engine.classical.fbp import fbp
from diffusion_engine.io.images import read_volume
from diffusion_engine.likelihoods.gaussian import GaussianLikelihood
from diffusion_engine.modalities.ct.scale import attenuation_to_hu
from diffusion_engine.modalities.ct.simulate import simulate
from diffusion_engine.modalities.grids import binning
from diffusion_engine.orientation import axial_squares
from diffusion_engine.physics.ct import CTGeometry, ImageGrid
from diffusion_engine.priors.library import Prior, load_prior
from diffusion_engine.run.settings import Settings
from diffusion_engine.sampling.noise import seeded
from diffusion_engine.solvers.dds import DDSSettings, dds
from diffusion_engine.training.sinograms import VIEWS, HalfTurnDenoiser, continued
from diffusion_engine.training.units import LINE_INTEGRAL
from torch import Tensor

NOISE_PERCENT = 0.2
CLEAN_PERCENT = 1e-6
"""Noise of the scan that stands for none: the noise of the measurement is added here, to know the truth."""
BLOCK = (75, 105)


def kept_views(block: bool) -> Tensor:
    """Which of the views are measured: every third one; ``block``: but none of the 30 in the middle."""
    kept = torch.arange(VIEWS) % 3 == 0
    if block:
        kept[BLOCK[0] : BLOCK[1]] = False
    return kept


def interpolated(sinogram: Tensor, kept: Tensor) -> Tensor:
    """Linear in the angle between measured views (views, detectors), across the end of the half turn too."""
    turn = continued(sinogram, -VIEWS, 3 * VIEWS)
    known = torch.nonzero(kept.repeat(3))[:, 0]
    wanted = torch.arange(VIEWS, 2 * VIEWS)
    after = torch.searchsorted(known, wanted)
    low, high = known[after - (known[after] != wanted).long()], known[after]
    part = ((wanted - low) / (high - low).clamp_min(1))[:, None]
    return (1 - part) * turn[low] + part * turn[high]


def completed(
    prior: Prior, data: Tensor, std: float, kept: Tensor, detector_mm: float, options: dict[str, Any], seed: int
) -> Tensor:
    """The whole sinogram (views, detectors) by DDS from the measured views of ``data``, noise ``std``.

    Missing readings have infinite variance, so that the likelihood says nothing of them.
    """
    scale = prior.card.scale
    variance = torch.full_like(data, (std / scale) ** 2)
    variance[~kept] = torch.inf
    likelihood = GaussianLikelihood(Identity(tuple(data.shape)), data[None] / scale, variance)
    start = interpolated(data, kept)[None] / scale
    settings = DDSSettings(sigma_data=prior.card.sigma_data, **options)
    *_, last = dds(HalfTurnDenoiser(prior, detector_mm), likelihood, start, settings, seeded(seed))
    return last.estimate[0] * scale


def rows_of(
    prior: Prior, clean: Tensor, geometry: CTGeometry, grid: ImageGrid, reference: np.ndarray, water_per_mm: float,
    options: dict[str, Any], seed: int, draws: int,
) -> list[dict[str, Any]]:
    """Rows missing, method, missing_rmse (None where nothing is completed), psnr, seconds of one slice."""
    std = NOISE_PERCENT / 100 * float(clean.max())
    noisy = clean + std * torch.randn(clean.shape, generator=torch.Generator().manual_seed(seed + 1))
    rows = []
    for block in (False, True):
        kept = kept_views(block)
        # Nothing of a missing reading can reach a method.
        measured = torch.where(kept[:, None], noisy, torch.zeros(()))
        some = CTGeometry(
            "parallel", tuple(a for a, k in zip(geometry.angles_rad, kept.tolist(), strict=True) if k),
            geometry.detector_count, geometry.detector_spacing_mm,
        )

        def by_prior(data: Tensor, kept: Tensor = kept) -> Tensor:
            found = [
                completed(prior, data, std, kept, geometry.detector_spacing_mm, options, seed + n) for n in range(draws)
            ]
            return torch.stack(found).mean(0)

        methods = {
            "measured views only": None, "linear interpolation": lambda data, kept=kept: interpolated(data, kept),
            f"DDS, {prior.card.name}": by_prior,
        }
        for name, complete in methods.items():
            start = time.perf_counter()
            full = None if complete is None else complete(measured)
            image = fbp(measured[kept], some, grid) if full is None else fbp(full, geometry, grid)
            error = None if full is None else float((full - clean)[~kept].square().mean().sqrt())
            hu = attenuation_to_hu(image.numpy(), water_per_mm)
            rows.append({
                "missing": "two of three and a block" if block else "two of three", "kept": int(kept.sum()),
                "method": name, "missing_rmse": None if error is None else round(error, 5), "noise_std": round(std, 5),
                "psnr": round(metrics.psnr(hu, reference), 2), "seconds": round(time.perf_counter() - start, 1),
            })
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--volume", type=Path, required=True, help="CT volume in HU, not one of the training volumes")
    parser.add_argument("--slice", type=int, help="index (the middle one)")
    parser.add_argument("--prior", required=True, help="card of a prior of sinograms")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--sigma-start", type=float, default=0.1, help="first noise level in network units (0.1)")
    parser.add_argument("--sigma-end", type=float, default=0.002, help="last one (0.002)")
    parser.add_argument("--draws", type=int, default=1, help="whose mean is taken (1)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    prior = load_prior(options.prior, unit=LINE_INTEGRAL)
    volume = axial_squares(read_volume(options.volume, unit="HU"))[0]
    index = len(volume.array) // 2 if options.slice is None else options.slice
    factor = binning(min(volume.spacing_mm[:2]), prior.card.pixel_mm[0])
    settings = Settings(views=VIEWS, noise_percent=CLEAN_PERCENT)
    scan = simulate(volume.crop(slices=(index, index + 1)), settings, factor)
    pixel = (scan.reference.spacing_mm[1], scan.reference.spacing_mm[0])
    grid = ImageGrid(*scan.reference.array.shape[1:], pixel)
    chosen = {"steps": options.steps, "sigma_start": options.sigma_start, "sigma_end": options.sigma_end}
    clean = torch.from_numpy(np.asarray(scan.measurement.values, np.float32))[0]
    about = {"volume": options.volume.parent.name, "slice": index, "prior": prior.card.name, **chosen}
    rows = []
    for row in rows_of(
        prior, clean, scan.measurement.geometry, grid, scan.reference.array[0], settings.scan.water_per_mm, chosen,
        options.seed, options.draws,
    ):
        rows.append({**about, **row})
        error = "      -" if row["missing_rmse"] is None else f"{row['missing_rmse']:.5f}"
        print(
            f"{row['missing']:<25} {row['method']:<24} missing readings {error}  FBP {row['psnr']:.2f} dB  "
            f"{row['seconds']:.0f} s", flush=True,
        )
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
