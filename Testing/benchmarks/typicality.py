"""How often the gate stops what the prior does not know, how often what it knows, and whether that is for the better.

    .venv/bin/python Testing/benchmarks/typicality.py --data FOLDER [--part ordinary,other,objects] [--views 20,60,120]
        [--noise g0.1,g0.2,g0.5,g1,p1e4,p1e5,p1e6,p1e7] [--images] [--draws N] [--limit N] [--json FILE]

FOLDER holds train/ and eval/ with the held-out volumes of the model card, CT for evaluation, MR (mr_*), PET and
measured objects (proj_*). Kinds: ordinary CT, where a stop is a false alarm; MR of heads and of other parts and PET
posing as CT, each in three scalings; objects that are drawn or were measured. "g0.2" is Gaussian noise of 0.2 % of the
largest line integral, "p1e5" Poisson noise of 1e5 photons a ray. With --images slices are reconstructed as well: PSNR
of TV, of the mean of the draws and of what is delivered, and which of them foretold readings that were left out; a
stop is undone where the mean did. There is no CT of heads, of children, or of large metal among the data.
"""

from __future__ import annotations

import argparse
import json
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusion_engine.evaluation.calibrate import scan
from diffusion_engine.metrics import psnr
from diffusion_engine.modalities.ct.problem import Problem, prepare
from diffusion_engine.modalities.ct.trust import TRUST
from diffusion_engine.posterior.gate import assess, blended
from diffusion_engine.posterior.moments import RunningMoments
from diffusion_engine.posterior.typicality import typicality_scores
from diffusion_engine.priors.library import Prior, load_prior
from diffusion_engine.priors.slices import resample
from diffusion_engine.run.draws import diffusion_draws
from diffusion_engine.run.foretold import Foretold, foretell
from diffusion_engine.run.likeness import judged_images, numbers_of_slices
from diffusion_engine.run.report import Tally
from diffusion_engine.run.settings import Settings
from diffusion_engine.volume import Volume
from measured_projections import DISC, TOOTH, disc_scan, tooth_scan
from typicality_kinds import objects, ordinary, other_images

DEPTHS = (0.25, 0.5, 0.75)
NOISE = "g0.1,g0.2,g0.5,g1,p1e4,p1e5,p1e6,p1e7"
WORSE_DB = 0.2
"""What is delivered may be so much worse than TV."""


def noise_setting(name: str) -> dict[str, float]:
    """The settings of a noise such as "g0.2" or "p1e5"."""
    return {"noise_percent" if name[0] == "g" else "i0": float(name[1:])}


def scores_of(prior: Prior, problem: Problem) -> list[float]:
    """The scores of a problem's slices, as in a reconstruction."""
    system, entry = problem.delivered, prior.card.typicality
    rough = deque(system.classical("tv", 60), 1).pop() if TRUST.surrogate is None else torch.zeros(0)
    image = deque(judged_images(TRUST, system, rough, entry), 1).pop()
    return typicality_scores(prior, image, problem.prior.grid, numbers_of_slices(TRUST, system), entry)


def delivered(problem: Problem, asked: Settings, prior: Prior, scores: list[float]) -> dict[str, Any]:
    """PSNR of the images of a single slice, what was foretold where the gate stopped it, and what is delivered."""
    assert problem.reference is not None
    surrogate = problem.classical("tv", asked.scan.tv_iterations)
    moments = RunningMoments()
    for state in diffusion_draws(problem, asked, prior, slice(0, problem.slices), surrogate):
        if state.finished:
            moments.add(resample(state.estimate, *problem.delivered.grid.shape) * 1000)
    mean, classical = moments.mean.numpy(), (surrogate * 1000).numpy()
    gate = assess(scores, prior.card.typicality, "TV")
    assert gate is not None
    found = None if gate.passed else _outcome(foretell(problem, asked, prior, Tally({}, scores=scores)))
    kept = gate.passed or (found is not None and found.draw_is_better)
    product = mean if kept else blended(gate, mean, classical)
    values = {"tv": classical, "mean": mean, "product": product}
    return {
        "kept": kept, "foretold_tv": None if found is None else round(found.classical, 3),
        "foretold_draw": None if found is None else round(found.draw, 3),
        **{f"psnr_{key}": round(psnr(image, problem.reference), 2) for key, image in values.items()},
    }


def rows_of(
    kind: str, name: str, volume: Volume, scans: list[tuple[str, int, str]], settings: Settings, prior: Prior,
    images: bool,
) -> Iterator[dict[str, Any]]:
    """A row an image and scan."""
    for beam, views, noise in scans:
        wanted: Mapping[str, Any] = {"geometry": beam, "views": views, **noise_setting(noise)}
        try:
            problem, asked = scan(volume, wanted, replace(settings, trust_unit=True), prior)
        except ValueError as error:
            print(f"{name}: {error}")
            continue
        for n, score in enumerate(scores_of(prior, problem)):
            row = {
                "kind": kind, "name": name, "slice": n, "geometry": beam, "views": views, "noise": noise,
                "score": round(score, 3), "stopped": score > prior.card.typicality["threshold"],
            }
            if images:
                row.update(delivered(problem.select(slice(n, n + 1)), asked, prior, [score]))
            print("  ".join(f"{key} {value}" for key, value in row.items()), flush=True)
            yield row


def measured(data: Path, settings: Settings, prior: Prior) -> Iterator[dict[str, Any]]:
    """A row a measured object: its score."""
    for name, load in ((TOOTH, tooth_scan), (DISC, disc_scan)):
        if (data / "eval" / name).is_dir():
            measurement, asked = load(data / "eval" / name, settings)[:2]
            problem = prepare(measurement, asked, prior.device, prior.card)
            geometry, score = problem.delivered.geometry, scores_of(prior, problem)[0]
            yield {
                "kind": "measured object", "name": name, "slice": 0, "geometry": geometry.type,
                "views": len(geometry.angles_rad), "noise": "measured", "score": round(score, 3),
                "stopped": score > prior.card.typicality["threshold"],
            }


def table(rows: list[dict[str, Any]], keys: tuple[str, ...]) -> list[str]:
    """Lines by ``keys``: images, share that the score stops, that is stopped in the end, that is no worse than TV."""
    heads = f"{'images':>7}{'unlike':>8}{'to TV':>7}{'median':>8}{'stopped or no worse':>21}{'gain dB':>9}"
    lines = [f"{' '.join(keys):<30}{heads}"]
    for key in dict.fromkeys(tuple(row[name] for name in keys) for row in rows):
        part = [row for row in rows if tuple(row[name] for name in keys) == key]
        cells = f"{np.mean([row['stopped'] for row in part]):>8.2f}"
        seen = [row for row in part if "kept" in row]
        tail = f"{'-':>21}{'-':>9}"
        final = f"{'-':>7}"
        if seen:
            final = f"{np.mean([not row['kept'] for row in seen]):>7.2f}"
            gains = [row["psnr_mean"] - row["psnr_tv"] for row in seen if row["kept"]]
            well = np.mean([not row["kept"] or row["psnr_mean"] >= row["psnr_tv"] - WORSE_DB for row in seen])
            tail = f"{well:>21.2f}" + (f"{np.mean(gains):>+9.2f}" if gains else f"{'-':>9}")
        middle = f"{np.median([row['score'] for row in part]):>8.2f}"
        lines.append(f"{' '.join(map(str, key)):<30}{len(part):>7}{cells}{final}{middle}{tail}")
    return lines


def _outcome(steps: Any) -> Foretold | None:
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--part", default="ordinary,other,objects")
    parser.add_argument("--views", default="20,60,120")
    parser.add_argument("--noise", default=NOISE)
    parser.add_argument("--beams", default="parallel", help="out of parallel, fan_flat, fan_curved (parallel)")
    parser.add_argument("--depths", default=",".join(map(str, DEPTHS)), help="of the slices of ordinary CT")
    parser.add_argument("--images", action="store_true", help="reconstruct, and compare with TV")
    parser.add_argument("--draws", type=int, default=2)
    parser.add_argument("--limit", type=int, help="volumes a kind at most (all)")
    parser.add_argument("--prior", default="ct-body")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    prior = load_prior(options.prior, torch.device("cpu"))
    settings, parts = Settings(device="cpu", draws=options.draws), options.part.split(",")
    scans = [
        (beam, int(views), noise) for beam in options.beams.split(",") for views in options.views.split(",")
        for noise in options.noise.split(",")
    ]
    cases: list[tuple[str, str, Volume]] = []
    if "ordinary" in parts:
        depths = tuple(float(part) for part in options.depths.split(","))
        cases += [("CT", *case) for case in ordinary(options.data, prior.card, depths, options.limit)]
    if "objects" in parts:
        cases += [("object", *case) for case in list(objects())[: options.limit]]
    if "other" in parts:
        cases += other_images(options.data, options.limit)
    rows: list[dict[str, Any]] = []
    for case in cases:
        rows += rows_of(*case, scans, settings, prior, options.images)
        if options.json:
            options.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    if "objects" in parts:
        rows += measured(options.data, settings, prior)
    for keys in (("kind",), ("kind", "noise"), ("kind", "views")):
        print("\n".join(table(rows, keys)))
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
