"""How often the gate stops what the prior does not know, how often what it knows, and what its fallback is worth.

    .venv/bin/python Testing/benchmarks/typicality.py --data FOLDER [--views 60,20,8] [--limit N] [--gate]
        [--json FILE]

FOLDER holds train/ and eval/ with the volumes of the model card, volumes beyond it, MR volumes (mr_*) and measured
objects (proj_*). MR slices pose as CT: air at -1000 HU, the median of the tissue at 40 HU. Groups: training volumes,
held-out and evaluation CT (flags there are false alarms), MR of heads and of other parts, measured objects, discs that
are drawn here. There is no CT of heads among the data. With --gate some MR slices are reconstructed as well: PSNR of
TV, of the diffusion mean and of the delivered product (the fallback where the gate did not pass).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusion_engine.classical.tv import tv
from diffusion_engine.evaluation.calibrate import chosen_slices, scan
from diffusion_engine.io.folder import volumes_below
from diffusion_engine.metrics import psnr
from diffusion_engine.modalities.ct.entry import CT
from diffusion_engine.modalities.ct.problem import Problem, prepare
from diffusion_engine.modalities.ct.trust import density_of
from diffusion_engine.orientation import axial_squares
from diffusion_engine.posterior.gate import assess, blended
from diffusion_engine.posterior.moments import RunningMoments
from diffusion_engine.posterior.typicality import typicality_scores
from diffusion_engine.priors.library import Prior, load_prior
from diffusion_engine.priors.slices import resample
from diffusion_engine.run.costs import SURROGATE_ITERATIONS
from diffusion_engine.run.draws import diffusion_draws
from diffusion_engine.run.settings import Settings
from diffusion_engine.volume import Volume
from measured_projections import DISC, TOOTH, disc_scan, tooth_scan

DEPTHS = (0.25, 0.5, 0.75)


def posing(volume: Volume, depths: tuple[float, ...] = (0.5,)) -> Volume:
    """Axial slices of an MR volume as if they were CT in HU: air -1000, median of the tissue 40.

    Raises ValueError for a volume that gives none with square pixels.
    """
    volume = axial_squares(volume)[0]
    array = volume.array.astype(np.float32)
    tissue = float(np.median(array[array > 0.1 * np.percentile(array, 99)]))
    picked = array[[int(depth * len(array)) for depth in depths]]
    return Volume(np.clip(-1000 + 1040 * picked / tissue, -1000, 2000), volume.ijk_to_ras, "HU")


def discs() -> Iterator[tuple[str, Volume]]:
    """Plain discs of water and of metal-like density, and one of tissue with five holes."""
    y, x = np.mgrid[:256, :256] - 127.5
    for name, radius, value in (("water disc", 90, 0.0), ("dense disc", 60, 1000.0), ("disc with holes", 110, 300.0)):
        image = np.where(x**2 + y**2 < radius**2, value, -1000.0)
        for n in range(5 if value == 300 else 0):
            image[(y - 50 * np.sin(n)) ** 2 + (x - 50 * np.cos(n)) ** 2 < 15**2] = -1000
        yield name, Volume(image[None].astype(np.float32), np.diag([-1.6, -1.6, 5.0, 1.0]), "HU")


def groups(data: Path, prior: Prior, limit: int | None) -> Iterator[tuple[str, str, Volume]]:
    """(group, name, slices in HU), at most ``limit`` volumes a group."""
    train, rest = data / "train", data / "eval"
    for name, volume in chosen_slices(train, [e["name"] for e in prior.card.data][:limit], (0.3, 0.65), CT):
        yield "training CT", name, volume
    for name, volume in chosen_slices(train, prior.card.held_out[:limit], DEPTHS, CT):
        yield "held-out CT", name, volume
    names = sorted(path.name for path in rest.glob("ct*"))[:limit]
    for name, volume in chosen_slices(rest, names, DEPTHS, CT):
        if "seg_" not in name and "ct_sm" not in name:
            yield "evaluation CT", name, volume
    for group, of_head in (("MR head", True), ("MR elsewhere", False)):
        found = 0
        for home in (rest, train):
            for place, volume in volumes_below(home, "a.u.", lambda p: p.parts[0].startswith("mr_")):
                if isinstance(volume, str) or "lesion" in place.name or ("_brain_" in place.as_posix()) != of_head:
                    continue
                try:
                    posed = posing(volume)
                except ValueError as error:
                    print(f"{place.as_posix()}: {error}")
                    continue
                found += 1
                if limit is None or found <= limit:
                    yield group, f"{home.name}/{place.as_posix()}", posed
    for name, volume in discs():
        yield "disc", name, volume


def score(prior: Prior, problem: Problem, settings: Settings) -> list[float]:
    """The scores of a problem's slices, as in a reconstruction."""
    water = problem.delivered.measured.scaled(settings.scan.water_per_mm, 0.0)
    image = tv(water, iterations=SURROGATE_ITERATIONS) - 1
    views = len(problem.delivered.geometry.angles_rad)
    return typicality_scores(prior, image, problem.prior.grid, density_of(views), prior.card.typicality)


def detection(
    data: Path, prior: Prior, settings: Settings, views: list[int], limit: int | None
) -> list[dict[str, Any]]:
    """A row an image: its group and score."""
    rows = []
    acquisitions = [("parallel", count) for count in views] + [("fan_flat", max(views))]
    for group, name, volume in groups(data, prior, limit):
        for geometry, count in acquisitions:
            try:
                problem, asked = scan(
                    volume, {"geometry": geometry, "views": count}, replace(settings, trust_unit=True), prior
                )
            except ValueError as error:
                print(f"{name}: {error}")
                continue
            for value in score(prior, problem, asked):
                rows.append({"group": group, "name": name, "geometry": geometry, "views": count, "score": value})
        print(f"{group}: {name}", flush=True)
    for name, load in ((TOOTH, tooth_scan), (DISC, disc_scan)):
        if (data / "eval" / name).is_dir():
            measurement, asked = load(data / "eval" / name, settings)[:2]
            problem = prepare(measurement, asked, prior.device, prior.card)
            geometry = problem.delivered.geometry
            rows.append({
                "group": "measured object", "name": name, "geometry": geometry.type, "views": len(geometry.angles_rad),
                "score": score(prior, problem, asked)[0],
            })
    return rows


def rates(rows: list[dict[str, Any]], threshold: float) -> list[str]:
    """Lines of the table: share of the images of a group and acquisition that the gate stops."""
    lines = [f"{'group':<18}{'acquisition':<16}{'images':>7}{'stopped':>9}{'score: least':>14}{'median':>8}{'most':>8}"]
    for key in dict.fromkeys((r["group"], r["geometry"], r["views"]) for r in rows):
        values = [r["score"] for r in rows if (r["group"], r["geometry"], r["views"]) == key]
        share = float(np.mean([value > threshold for value in values]))
        lines.append(
            f"{key[0]:<18}{key[1] + ' ' + str(key[2]):<16}{len(values):>7}{share:>9.2f}{min(values):>14.2f}"
            f"{np.median(values):>8.2f}{max(values):>8.2f}"
        )
    return lines


def fallbacks(
    data: Path, prior: Prior, settings: Settings, views: list[int], limit: int | None
) -> list[dict[str, Any]]:
    """A row a posing MR slice and number of views: PSNR of TV, of the diffusion mean, of the product."""
    rows = []
    places = volumes_below(data / "eval", "a.u.", lambda p: p.parts[0].startswith("mr_") and "lesion" not in p.name)
    for place, volume in list(places)[:limit]:
        if isinstance(volume, str):
            continue
        name = place.as_posix()
        try:
            volume = posing(volume)
        except ValueError as error:
            print(f"{name}: {error}")
            continue
        for count in views:
            problem, asked = scan(
                volume, {"geometry": "parallel", "views": count}, replace(settings, trust_unit=True), prior
            )
            assert problem.reference is not None
            water = problem.delivered.measured.scaled(asked.scan.water_per_mm, 0.0)
            rough = tv(water, iterations=SURROGATE_ITERATIONS)
            classical = ((tv(water, iterations=asked.scan.tv_iterations) - 1) * 1000).numpy()
            moments = RunningMoments()
            for state in diffusion_draws(problem, asked, prior, slice(0, problem.slices), rough - 1):
                if state.finished:
                    moments.add(resample(state.estimate, *problem.delivered.grid.shape) * 1000)
            mean = moments.mean.numpy()
            gate = assess(score(prior, problem, asked), prior.card.typicality, "TV")
            assert gate is not None
            product = mean if gate.passed else blended(gate, mean, classical)
            row = {
                "name": name, "views": count, "score": gate.score, "passed": gate.passed, "blend": gate.blend,
                **{f"psnr_{key}": round(psnr(image, problem.reference), 2) for key, image in (
                    ("tv", classical), ("diffusion", mean), ("product", product)
                )},
            }
            rows.append(row)
            print("  ".join(f"{key} {value}" for key, value in row.items()), flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--views", default="60,20,8")
    parser.add_argument("--limit", type=int, help="volumes a group at most (all)")
    parser.add_argument("--gate", action="store_true", help="only reconstruct MR slices and compare with TV")
    parser.add_argument("--prior", default="ct-body")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    prior = load_prior(options.prior, torch.device("cpu"))
    settings, views = Settings(device="cpu"), [int(part) for part in options.views.split(",")]
    if options.gate:
        rows = fallbacks(options.data, prior, settings, views, options.limit)
    else:
        rows = detection(options.data, prior, settings, views, options.limit)
        print("\n".join(rates(rows, prior.card.typicality["threshold"])))
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
