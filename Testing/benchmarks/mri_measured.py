"""A real accelerated MR acquisition: samples that were held out, foretold by classical images and the diffusion prior.

    python Testing/benchmarks/mri_measured.py --data FOLDER [--json FILE] [--prior CARD] [--accelerations 1,2,3]

FOLDER holds kspace_brain_8coil_sigpy/cartesian_ksp.npy, a head of eight coils that was measured 8-fold accelerated (a
Poisson disc in two directions), so that there is no image to compare with. A tenth of the measured samples outside the
fully sampled middle is held out; each image is made of the rest, or of one sample in 2 or 3 of the rest, and judged by

    | A x - y | / | y |   over the held-out samples, coils whitened, the same maps for all.

Noise alone leaves the ``floor`` of the table. CG-SENSE at its best stop and l1-wavelet and TV at their best weights are
chosen by the held-out samples themselves, which is more than anybody has; the diffusion prior is used as it is. Beside
that the residual test of a run with all samples.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "DiffusionRecon"))

from diffusion_engine import Settings, reconstruct
from diffusion_engine.classical.complex_tv import complex_tv_steps
from diffusion_engine.classical.sense import cg_sense_steps, zero_filled
from diffusion_engine.classical.wavelet import wavelet_steps
from diffusion_engine.likelihoods.gaussian import GaussianLikelihood
from diffusion_engine.modalities.mri.kspace import KSpace
from diffusion_engine.modalities.mri.peers import PENALTIES, PROGRAM, pics
from diffusion_engine.modalities.mri.problem import Problem, prepare
from diffusion_engine.modalities.mri.sampled import middle_block
from diffusion_engine.modalities.table import MODALITIES
from diffusion_engine.physics.coil_maps import EspiritSettings
from diffusion_engine.physics.mri_noise import estimate_noise
from diffusion_engine.priors.library import Prior, load_prior
from diffusion_engine.run.drawn import drawn

FILE = Path("kspace_brain_8coil_sigpy") / "cartesian_ksp.npy"
CASE = "8-coil head"
PIXEL_MM = 1.0
"""The file does not say how wide pixels are; so the head is 0.19 m long."""
HELD_OUT = 0.1
LOWEST, HIGHEST = 1e-5, 0.1
"""Weights tried, in parts of the largest value of the zero-filled image."""
MOST_ITERATIONS = 60
CPU = torch.device("cpu")


@dataclass(frozen=True, eq=False)
class Case:
    """``used``: the problem of the samples that images are made of; ``foretold``: that of all, whose ``held`` samples
    (rows, columns) are foretold."""

    acceleration: float
    used: Problem
    foretold: Problem
    held: Tensor

    def error(self, image: Tensor) -> float:
        """|A x - y| / |y| over the held-out samples of an image (1, rows, columns) in the input's unit."""
        whole = self.foretold.delivered.measured
        left = (whole.operator.forward(image) - whole.data)[..., self.held]
        return float(left.norm() / whole.data[..., self.held].norm())

    @property
    def floor(self) -> float:
        """What noise alone leaves of them."""
        whole = self.foretold.delivered.measured
        noise = float(whole.variance[torch.isfinite(whole.variance)].mean())
        data = whole.data[..., self.held]
        return math.sqrt(noise * data.numel()) / float(data.norm())


def read(path: Path) -> KSpace:
    """The acquisition; what is zero in every coil was not measured."""
    values = np.load(path)[None]
    return KSpace(values, (values != 0).any(1), 5.0, (PIXEL_MM, PIXEL_MM))


def outer(mask: np.ndarray) -> np.ndarray:
    """The measured samples (rows, columns) outside the middle from which maps and phase come."""
    top, bottom, left, right = middle_block(mask)
    reach = EspiritSettings().calibration // 2 + 1
    rows, columns = (n // 2 for n in mask.shape)
    found = mask.copy()
    tall = slice(min(top, rows - reach), max(bottom, rows + reach))
    found[tall, min(left, columns - reach) : max(right, columns + reach)] = False
    return found


def chosen(samples: np.ndarray, share: float, seed: int) -> np.ndarray:
    """A share of some samples (rows, columns) at random."""
    places = np.flatnonzero(samples)
    taken = np.random.default_rng(seed).choice(places, round(share * len(places)), replace=False)
    found = np.zeros(samples.size, bool)
    found[taken] = True
    return found.reshape(samples.shape)


def case_of(kspace: KSpace, factor: float, settings: Settings, prior: Prior) -> Case:
    """The case in which one in ``factor`` of the samples outside the middle that are not held out is used."""
    mask = kspace.mask[0]
    held = chosen(outer(mask), HELD_OUT, settings.seed)
    left = outer(mask) & ~held
    used = mask & ~held & ~chosen(left, 1 - 1 / factor, settings.seed + 1)
    # One noise level for all cases, without the samples that are held out: of fewer it could not be told.
    known = mask & ~held
    noise = estimate_noise(torch.from_numpy(kspace.values * known), torch.from_numpy(known[None])).covariance.numpy()
    part = replace(kspace, values=kspace.values * used, mask=used[None], noise_covariance=noise)
    problems = (prepare(each, settings, CPU, prior.card) for each in (part, replace(kspace, noise_covariance=noise)))
    return Case(used.size / int(used.sum()), *problems, torch.from_numpy(held))


def best_stop(case: Case) -> tuple[Tensor, dict[str, Any]]:
    """CG-SENSE at the number of iterations that foretells best."""
    images = list(cg_sense_steps(case.used.delivered.measured, iterations=MOST_ITERATIONS))
    count, image = min(enumerate(images, 1), key=lambda pair: case.error(pair[1]))
    return image, {"iterations": count, "inside": count < MOST_ITERATIONS}


def best_weight(case: Case, made: Callable[[float], Tensor]) -> tuple[Tensor, dict[str, Any]]:
    """The image of the weight that foretells best: a coarse ladder of weights, then finer ones about its best."""
    found: dict[float, tuple[float, Tensor]] = {}

    def least(weights: Iterator[float]) -> float:
        for weight in weights:
            image = made(weight)
            found[weight] = (case.error(image), image)
        return min(found, key=lambda weight: found[weight][0])

    best = least(LOWEST * (HIGHEST / LOWEST) ** (n / 10) for n in range(11))
    best = least(best * 1.25**n for n in (-2, -1, 1, 2))
    return found[best][1], {"weight": round(best, 6), "inside": LOWEST * 1.3 < best < HIGHEST / 1.3}


def last(solve: Callable[..., Iterator[Tensor]], own: GaussianLikelihood, iterations: int, weight: float) -> Tensor:
    """The result of iterations."""
    return deque(solve(own, weight=weight, iterations=iterations), 1).pop()


def in_phase(own: GaussianLikelihood, image: Tensor) -> Tensor:
    """An image of another program times the sign, or phase, by which its transform differs from ours."""
    return image * torch.sgn((own.operator.forward(image).conj() * own.data).sum())


def images_of(case: Case, settings: Settings, prior: Prior) -> Iterator[tuple[str, bool, Tensor, dict[str, Any]]]:
    """Name, whether it is a peer, image in the input's unit, and what was chosen for it."""
    own = case.used.delivered.measured
    yield "zero-filled", False, zero_filled(own), {}
    yield "CG-SENSE", True, *best_stop(case)
    yield "l1-wavelet", True, *best_weight(case, partial(last, wavelet_steps, own, MOST_ITERATIONS))
    yield "TV", True, *best_weight(case, partial(last, complex_tv_steps, own, 100))
    if shutil.which(PROGRAM):
        operator: Any = own.operator
        run = partial(pics, PENALTIES["bart-wavelet"], own.data[0], operator.maps[0])
        yield "BART l1-wavelet", True, *best_weight(case, lambda weight: in_phase(own, run(weight)[None]))
    made = drawn(case.used, settings, prior)
    yield "one draw", False, torch.from_numpy(made.first), {}
    yield "diffusion", False, torch.from_numpy(made.mean), {"draws": settings.draws}


def rows_of(kspace: KSpace, factor: float, settings: Settings, prior: Prior) -> Iterator[dict[str, Any]]:
    """The rows of one case."""
    case = case_of(kspace, factor, settings, prior)
    for name, peer, image, extra in images_of(case, settings, prior):
        ratio = float(case.used.delivered.measured.residual_ratio(image).mean())
        yield {
            "case": CASE, "acceleration": round(case.acceleration, 2), "name": name, "peer": peer,
            "prior": "" if peer or name == "zero-filled" else prior.card.name, "held_out": round(case.error(image), 4),
            "floor": round(case.floor, 4), "residual_ratio": round(ratio, 3), **extra,
        }


def residual_row(kspace: KSpace, settings: Settings) -> dict[str, Any]:
    """The residual test of the mean of a run with all samples."""
    report = reconstruct(kspace, settings.changed(methods=("wavelet", "diffusion"))).report
    test = next(own for own in report["residual_tests"] if own["kind"] == "mean")
    return {
        "case": CASE, "acceleration": round(kspace.acceleration, 2), "name": "diffusion, all samples", "peer": False,
        "prior": report["prior"], "residual_ratio": round(test["ratio"], 3),
        "accepted": [round(bound, 3) for bound in test["accepted"]], "residual_passed": test["passed"],
        "noise_percent": report["geometry"]["noise_percent"],
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--prior", help="name or path of a card (the modality's usual one)")
    parser.add_argument("--accelerations", default="1,2,3", help="of the samples that are left, with commas")
    parser.add_argument("--draws", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    path = options.data / FILE
    if not path.is_file():
        print(f"expected the acquisition {path}, found none: get it first", file=sys.stderr)
        return 2
    entry = MODALITIES["mri"]
    settings = Settings(
        modality="mri", preset="standard", draws=options.draws, seed=options.seed, device="cpu",
        prior=options.prior or entry.default_prior,
    )
    prior = load_prior(settings.prior, CPU, entry.unit)
    kspace = read(path)
    rows = [residual_row(kspace, settings)]
    print(rows[0])
    for factor in (float(text) for text in options.accelerations.split(",")):
        for row in rows_of(kspace, factor, settings, prior):
            print("  ".join(f"{key} {value}" for key, value in row.items() if key not in ("case", "peer")), flush=True)
            rows.append(row)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
