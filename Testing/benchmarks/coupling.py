"""What ties slices to a volume: roughness along z, PSNR and seconds of each coupling on stacks of real slices.

    python Testing/benchmarks/coupling.py --data FOLDER [--prior ct-body] [--json FILE] [--views 20] [--slices 12]

FOLDER holds ct_chest_lidc0003/ct.nii.gz and ct_abdomen_crlm1006/ct.nii.gz, on which the prior was not trained and the
weights of the couplings were chosen. The central slices, cropped to ``--size`` pixels, are scanned in the computer
(parallel beam, finer grid, 0.2 % noise) and reconstructed by one DDS draw each. Roughness: mean |x_(k-1) - 2 x_k +
x_(k+1)| inside the body, divided by the reference's; 1 is as rough as the reference, which holds the scanner's noise.
"Coarse" is the same of means over 4 x 4 pixels: noise averages out, invented structures that flicker do not. "Mean" is
the average of all draws.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "DiffusionRecon"))

from diffusion_engine.classical.fbp import fbp
from diffusion_engine.classical.tv import tv
from diffusion_engine.coupling import COUPLINGS, Coupling, couple_z, coupling_named
from diffusion_engine.denoiser import positions
from diffusion_engine.io.images import read_volume
from diffusion_engine.likelihoods.gaussian import GaussianLikelihood
from diffusion_engine.metrics import psnr
from diffusion_engine.modalities.ct.problem import prepare
from diffusion_engine.priors.card import NEIGHBOURS, VOLUME
from diffusion_engine.priors.library import Prior, load_prior
from diffusion_engine.run.settings import Settings
from diffusion_engine.sampling.noise import Noise
from diffusion_engine.solvers.dds import DDSSettings, dds
from diffusion_engine.solvers.start import predicted_start_error, start_levels

CASES = ("ct_chest_lidc0003", "ct_abdomen_crlm1006")
BODY_HU = -500.0
COARSE = 4


@dataclass(frozen=True, eq=False)
class Case:
    """A scanned stack, network units: likelihood, start (slices, rows, columns), its level; the reference in HU."""

    name: str
    likelihood: GaussianLikelihood
    start: Tensor
    sigma: float
    place: Tensor
    reference: np.ndarray
    spacing_mm: float


def scanned(folder: Path, name: str, prior: Prior, views: int, slices: int, size: int) -> Case:
    volume = read_volume(folder / name / "ct.nii.gz", "HU")
    depth, rows, columns = volume.array.shape
    first, top, left = depth // 2 - slices // 2, max(0, rows - size) // 2, max(0, columns - size) // 2
    volume = volume.crop((first, first + slices), (top, min(rows, top + size)), (left, min(columns, left + size)))
    settings = Settings(views=views)
    problem = prepare(volume, settings, torch.device("cpu"), prior.card)
    assert problem.reference is not None
    water, grid = settings.scan.water_per_mm, problem.prior.grid
    if grid != problem.delivered.grid:
        raise ValueError(f"{name}: expected pixels that the prior knows, found {problem.delivered.grid.pixel_mm} mm")

    def classical(data: Tensor) -> Tensor:
        return fbp(data, problem.delivered.geometry, grid).clamp_min(0)

    surrogate = tv(problem.delivered.measured.scaled(water, 0.0), iterations=60) * water
    noise = problem.noise(0, "start", slice(None))
    error = predicted_start_error(surrogate, problem.delivered.measured, classical, noise) / water
    return Case(
        name, problem.delivered.measured.scaled(water, 1.0), classical(problem.delivered.measured.data) / water - 1,
        max(start_levels(error, prior.card.start_error)), positions(*grid.shape, grid.pixel_mm, grid.centre_mm),
        problem.reference, float(volume.spacing_mm[2]),
    )


def roughness(image: np.ndarray, body: np.ndarray) -> float:
    """Mean |second difference along z| of (slices, rows, columns) where ``body`` holds in the middle slice."""
    return float(np.abs(image[2:] - 2 * image[1:-1] + image[:-2])[body[1:-1]].mean())


def coarse(image: np.ndarray) -> np.ndarray:
    """Means over COARSE x COARSE pixels; rows and columns that are left over are dropped."""
    slices, rows, columns = (image.shape[0], *(n // COARSE for n in image.shape[1:]))
    cut = image[:, : rows * COARSE, : columns * COARSE]
    return cut.reshape(slices, rows, COARSE, columns, COARSE).mean((2, 4))


def run(case: Case, prior: Prior, label: str, coupling: Coupling, steps: int, draws: int) -> dict[str, Any]:
    """One row: roughness of a draw and of the mean of draws, and their PSNR, of one coupling."""
    settings = DDSSettings(steps=steps, sigma_start=case.sigma, sigma_data=prior.card.sigma_data)
    denoiser = coupling.denoiser(prior, case.spacing_mm)
    began, images = time.perf_counter(), []
    for _, noise in Noise(1).draws(draws):
        likelihood, shared = coupling.couple(case.likelihood, noise, case.spacing_mm)
        for step in dds(denoiser, likelihood, case.start, settings, shared, case.place):
            estimate = step.estimate
        images.append(estimate.numpy() * 1000)
    seconds = (time.perf_counter() - began) / draws
    body = case.reference > BODY_HU
    reference = roughness(case.reference, body)
    inner = coarse(case.reference)
    wide = roughness(inner, inner > BODY_HU)
    mean = np.mean(images, axis=0)
    return {
        "case": case.name, "coupling": label, "steps": steps, "draws": draws, "sigma_start": round(case.sigma, 3),
        "roughness": round(float(np.mean([roughness(x, body) for x in images])) / reference, 4),
        "roughness_mean": round(roughness(mean, body) / reference, 4),
        "coarse": round(float(np.mean([roughness(coarse(x), inner > BODY_HU) for x in images])) / wide, 4),
        "psnr": round(float(np.mean([psnr(x, case.reference) for x in images])), 3),
        "psnr_mean": round(psnr(mean, case.reference), 3),
        "residual": round(float(case.likelihood.residual_ratio(torch.from_numpy(images[0]) / 1000).mean()), 3),
        "seconds": round(seconds, 2), "reference_hu": round(reference, 2),
    }


def candidate(name: str) -> Coupling:
    """A coupling of the table by name, or "w,m": z-TV of weight w and noise shared with a period of m slices."""
    if "," not in name:
        return coupling_named(name)
    weight, period = float(name.split(",")[0]), int(name.split(",")[1])

    def couple(likelihood: GaussianLikelihood, noise: Any, spacing_mm: float) -> Any:
        return couple_z(likelihood, weight), noise.shared(period)

    return Coupling(name, couple)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the training volumes")
    parser.add_argument("--prior", default="ct-body", help="name or path of a card")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    parser.add_argument("--views", type=int, default=20)
    parser.add_argument("--slices", type=int, default=12)
    parser.add_argument("--size", type=int, default=160)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--draws", type=int, default=1)
    parser.add_argument("--cases", nargs="+", default=list(CASES))
    parser.add_argument("--couplings", nargs="+", help="names (all that suit the prior), or w,m: weight and period")
    options = parser.parse_args()
    prior = load_prior(options.prior)
    suited = [name for name in COUPLINGS if name not in (NEIGHBOURS, VOLUME) or prior.card.sees == name]
    print(f"{options.slices} slices of {options.size} x {options.size}, {options.views} views, {options.steps} steps, "
          f"{options.draws} draws; seconds a draw on {torch.get_num_threads()} threads")
    print(f"{'case':<22}{'coupling':<12}{'roughness':>10}{'coarse':>8}{'of mean':>9}{'PSNR':>8}{'of mean':>9}"
          f"{'residual':>10}{'seconds':>9}")
    rows = []
    for name in options.cases:
        case = scanned(options.data, name, prior, options.views, options.slices, options.size)
        for label in options.couplings or suited:
            row = run(case, prior, label, candidate(label), options.steps, options.draws)
            rows.append(row)
            print(f"{name:<22}{label:<12}{row['roughness']:>10.3f}{row['coarse']:>8.3f}{row['roughness_mean']:>9.3f}{row['psnr']:>8.2f}"
                  f"{row['psnr_mean']:>9.2f}{row['residual']:>10.3f}{row['seconds']:>9.1f}", flush=True)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
