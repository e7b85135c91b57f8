"""What a reader would find or miss: nodules of known place, size and contrast, by method and number of views.

    python Testing/benchmarks/lesions.py --json FILE [--views 60,20,8] [--cases 6] [--solver dds] [--draws 4]
        [--figure FILE]

Cases are slices of the synthetic chest (512 x 512 pixels of 0.75 mm; base and upper part of the lungs in turn, a new
patient every two), in which about eleven nodules of 4 to 20 mm are added: 50 to 800 HU in the lungs, 50 to 300 HU in
liver, heart and muscle. Scans (parallel beam, 0.2 % noise) are reconstructed on 256 x 256 as the pipeline does. One
detector, with one rule, reads every image: see lesion_reader.py. "truth" is the reference image read in the same way:
what no reconstruction can improve on. Contrast and size are those found, divided by those of the reference (size of
found nodules alone). Missed: share of the nodules without a blob. Invented: blobs a slice that the reference lacks.

The share of draws that show a nodule is compared with how often there is one: among places where draws show a blob and
the reference has no anatomy. It holds for this many nodules a slice alone: with fewer, less of what is shown is real.
Last, whether the spread warns: its mean at missed and at found nodules over its mean elsewhere in the same region.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "DiffusionRecon"))

import lesion_reader as reader
from diffusion_engine.classical.fbp import fbp
from diffusion_engine.classical.tv import tv_steps
from diffusion_engine.modalities.ct.problem import Problem, prepare
from diffusion_engine.modalities.ct.scale import attenuation_to_hu
from diffusion_engine.modalities.ct.trust import TRUST
from diffusion_engine.phantoms import synthetic_chest
from diffusion_engine.posterior.gate import Gate, assess, blended
from diffusion_engine.posterior.intervals import prediction_interval
from diffusion_engine.posterior.moments import RunningMoments
from diffusion_engine.posterior.typicality import typicality_scores
from diffusion_engine.priors.library import Prior, load_prior
from diffusion_engine.priors.slices import resample
from diffusion_engine.run.costs import SURROGATE_ITERATIONS
from diffusion_engine.run.draws import diffusion_draws
from diffusion_engine.run.likeness import judged_images, numbers_of_slices
from diffusion_engine.run.settings import Settings
from diffusion_engine.volume import Volume

FINE_MM, MATRIX, BETWEEN_MM, FIRST_SEED = 0.75, 512, 130.0, 100
COUNTS = {"lungs": 8, "soft": 3}
SMALL_MM, FAINT_HU = 8.0, 200.0
Rows = list[dict[str, Any]]


@dataclass(frozen=True, eq=False)
class Case:
    """A slice: its nodules; on the grid of the reconstruction its regions, and the image without nodules in HU."""

    discs: list[reader.Disc]
    regions: dict[str, np.ndarray]
    plain: np.ndarray


def phantoms(seed: int) -> tuple[Volume, list[Case]]:
    """The two slices of a seed with nodules in HU, and what is known of them."""
    volume, masks = synthetic_chest((2, MATRIX, MATRIX), (BETWEEN_MM, FINE_MM, FINE_MM), seed)
    images, cases = [], []
    for k in range(2):
        fine = {
            "lungs": masks["lungs"][k] > 0,
            "soft": (masks["liver"][k] > 0) | (masks["heart"][k] > 0) | (masks["muscle"][k] > 0),
        }
        # Nodules are for the part that is neither vessel nor fissure: what stands out is already something.
        bright = fine["lungs"] & (volume.array[k] > -700)
        discs = reader.place_discs(fine, bright, FINE_MM, COUNTS, np.random.default_rng((seed, k)))
        images.append(reader.add_discs(volume.array[k], discs, FINE_MM))
        cases.append(Case(discs, {n: _halved(m) > 0.5 for n, m in fine.items()}, _halved(volume.array[k])))
    return volume.with_array(np.stack(images)), cases


def _halved(image: np.ndarray) -> np.ndarray:
    return image.reshape(MATRIX // 2, 2, MATRIX // 2, 2).astype(np.float64).mean((1, 3))


class Reading:
    """All images of one slice and number of views, read."""

    def __init__(self, images: dict[str, np.ndarray], case: Case, about: dict[str, Any]) -> None:
        self.images, self.about = images, about
        self.discs, self.regions, self.plain = case.discs, case.regions, case.plain
        self.pixel, self.first = 2 * FINE_MM, FINE_MM / 2
        inner = {name: reader.interior(region, self.pixel) for name, region in case.regions.items()}
        answers = {k: {r: reader.answers(i, m, self.pixel) for r, m in inner.items()} for k, i in images.items()}
        self.reference = answers["truth"]
        self.found = {
            key: {r: reader.blobs(a, inner[r], self.pixel, self.first) for r, a in both.items()}
            for key, both in answers.items()
        }

    def places(self, disc: reader.Disc) -> reader.Parts:
        return reader.parts(disc, self.regions[disc.region], self.discs, self.pixel, self.first)

    def invented(self, key: str, region: str) -> list[reader.Blob]:
        """Blobs of an image that are neither a nodule nor in the reference."""
        return [
            b for b in self.found[key][region]
            if reader.is_invented(b, self.reference[region], self.pixel, self.first) and not self._at_nodule(b)
        ]

    def _at_nodule(self, blob: reader.Blob) -> bool:
        return any(reader.shown(disc, [blob]) for disc in self.discs)

    def rows(self, spread: np.ndarray, draws: list[str]) -> Rows:
        """Rows "nodule" (one a method), "slice", and "place": where draws show something."""
        rows: Rows = []
        reference = self.images["truth"]
        everywhere = np.logical_or.reduce([self.places(disc).near for disc in self.discs])
        for disc in self.discs:
            at = self.places(disc)
            # What the anatomy under nodule and ring differ by is no contrast of the nodule.
            anatomy = reader.contrast(self.plain, at)
            true = reader.contrast(reference, at) - anatomy
            agree = sum(reader.shown(disc, self.found[key][disc.region]) for key in draws)
            low, high = prediction_interval(np.array([self.images[key][at.core].mean() for key in draws]))
            around = float(spread[self.regions[disc.region] & ~everywhere].mean())
            for key, image in self.images.items():
                rows.append({
                    **self.about, "kind": "nodule", "method": key, "region": disc.region,
                    "diameter_mm": round(2 * disc.radius_mm, 2), "hu": round(disc.contrast, 1),
                    "found": reader.shown(disc, self.found[key][disc.region]),
                    "contrast": round((reader.contrast(image, at) - anatomy) / true, 4),
                    "size": round(reader.half_size(image, at) / reader.half_size(reference, at), 4),
                    "draws_showing": agree, "spread_over_elsewhere": round(float(spread[at.core].mean()) / around, 4),
                    "interval_holds_truth": bool(low <= reference[at.core].mean() <= high),
                })
        for key in self.images:
            counts = {f"invented_{region}": len(self.invented(key, region)) for region in self.regions}
            rows.append({**self.about, "kind": "slice", "method": key, **counts})
        for region in self.regions:
            for _, number in reader.agreeing_places([self.invented(key, region) for key in draws]):
                rows.append({**self.about, "kind": "place", "region": region, "draws_showing": number})
        return rows


def images_of(problem: Problem, settings: Settings, prior: Prior) -> tuple[dict[str, np.ndarray], Gate | None]:
    """Images in HU by name as a reconstruction delivers them, "spread" among them, and the verdict of the gate."""
    assert problem.reference is not None
    water = problem.delivered.measured.scaled(settings.scan.water_per_mm, 0.0)
    smooth = rough = water.data
    for step, smooth in enumerate(tv_steps(water, iterations=settings.scan.tv_iterations), 1):
        rough = smooth if step <= SURROGATE_ITERATIONS else rough
    analytic = fbp(problem.delivered.measured.data, problem.delivered.geometry, problem.delivered.grid)
    images = {
        "truth": problem.reference, "fbp": attenuation_to_hu(analytic, settings.scan.water_per_mm).numpy(),
        "tv": ((smooth - 1) * 1000).numpy(),
    }
    likeness = deque(judged_images(TRUST, problem.delivered, rough - 1, prior.card.typicality), 1).pop()
    numbers = numbers_of_slices(TRUST, problem.delivered)
    scores = typicality_scores(prior, likeness, problem.prior.grid, numbers, prior.card.typicality)
    gate = assess(scores, prior.card.typicality, "TV")
    moments, draws = RunningMoments(), {}
    for state in diffusion_draws(problem, settings, prior, slice(0, problem.slices), smooth - 1):
        if state.finished:
            image = resample(state.estimate, *problem.delivered.grid.shape) * 1000
            moments.add(image)
            draws[f"draw_{state.draw}"] = image.numpy()
    images["mean"] = moments.mean.numpy()
    if gate is not None and not gate.passed:
        images["fallback"] = blended(gate, images["mean"], images["tv"])
    return {**images, **draws, "spread": moments.std.numpy()}, gate


def read(
    volume: Volume, cases: Sequence[Case], settings: Settings, prior: Prior, seed: int
) -> tuple[Rows, Reading, np.ndarray]:
    """Rows of the slices of a seed at one number of views; the first slice's reading and spread."""
    images, gate = images_of(prepare(volume, settings, prior.device, prior.card), settings, prior)
    spread = images.pop("spread")
    about = {"views": settings.scan.views, "solver": settings.solver, "seed": seed}
    rows: Rows = [{**about, "kind": "gate", "score": gate.score, "passed": gate.passed}] if gate else []
    readings = []
    for n, case in enumerate(cases):
        own = {name: image[n].astype(np.float64) for name, image in images.items()}
        readings.append(Reading(own, case, {**about, "slice": n}))
        rows += readings[-1].rows(spread[n], [f"draw_{k + 1}" for k in range(settings.draws)])
    return rows, readings[0], spread[0]


def table(rows: Rows, draws: int) -> list[str]:
    """Lines: a table of methods by views, of the shares of draws, and of the spread at nodules."""
    gates = [r for r in rows if r["kind"] == "gate"]
    lines = [
        f"the gate stops {sum(not r['passed'] for r in gates)} of {len(gates)} scans of the phantom",
        "missed: share of the nodules; small: under 8 mm; faint: under 200 HU; contrast, size: median (10 to 90 %)",
        f"{'views':>5} {'method':<9}{'nodules':>7}{'missed':>8}{'lungs':>7}{'soft':>7}{'small':>7}{'faint':>7}"
        f"{'contrast found / true':>24}{'size found / true':>22}{'invented a slice: lungs':>26}{'soft':>7}",
    ]
    single = {f"draw_{n + 1}" for n in range(draws)}
    for views in dict.fromkeys(r["views"] for r in rows):
        nodules = [r for r in rows if r["views"] == views and r["kind"] == "nodule"]
        slices = [r for r in rows if r["views"] == views and r["kind"] == "slice"]
        for method in dict.fromkeys("draw" if r["method"] in single else r["method"] for r in nodules):
            members = single if method == "draw" else {method}
            own = [r for r in nodules if r["method"] in members]
            parts = [own, *([r for r in own if r["region"] == region] for region in COUNTS),
                     [r for r in own if r["diameter_mm"] < SMALL_MM], [r for r in own if r["hu"] < FAINT_HU]]
            missed = [f"{1 - np.mean([r['found'] for r in part]):.2f}" if part else "-" for part in parts]
            sizes = [r["size"] for r in own if r["found"]]
            false = [np.mean([r[f"invented_{region}"] for r in slices if r["method"] in members]) for region in COUNTS]
            lines.append(
                f"{views:>5} {method:<9}{len(own):>7}{missed[0]:>8}" + "".join(f"{m:>7}" for m in missed[1:])
                + f"{_spread([r['contrast'] for r in own]):>24}{_spread(sizes):>22}{false[0]:>26.2f}{false[1]:>7.2f}"
            )
    lines += ["", f"places that draws show: nodule or invented, by how many of {draws} draws show it"]
    lines.append(f"{'views':>5}{'draws':>7}{'nodules':>9}{'invented':>10}{'share that is real':>20}")
    for views in dict.fromkeys(r["views"] for r in rows):
        own = [r for r in rows if r["views"] == views]
        for number in range(draws + 1):
            real = sum(r["kind"] == "nodule" and r["method"] == "mean" and r["draws_showing"] == number for r in own)
            false = sum(r["kind"] == "place" and r["draws_showing"] == number for r in own)
            share = f"{real / (real + false):.2f}" if number and real + false else "-"
            lines.append(f"{views:>5}{number:>7}{real:>9}{false if number else '-':>10}{share:>20}")
    lines += ["", "spread at a nodule over its mean elsewhere in the region; draws' interval of the nodule's mean"]
    lines.append(f"{'views':>5}{'nodules of the mean':>22}{'number':>8}{'spread: median (10 to 90 %)':>30}"
                 f"{'above 1.5':>11}{'interval holds truth':>22}")
    for views in dict.fromkeys(r["views"] for r in rows):
        for name, found in (("missed", False), ("found", True)):
            own = [r for r in rows if r["views"] == views and r["kind"] == "nodule" and r["method"] == "mean"
                   and r["found"] is found]
            values = [r["spread_over_elsewhere"] for r in own]
            if own:
                lines.append(
                    f"{views:>5}{name:>22}{len(own):>8}{_spread(values):>30}{np.mean(np.array(values) > 1.5):>11.2f}"
                    f"{np.mean([r['interval_holds_truth'] for r in own]):>22.2f}"
                )
    return lines


def _spread(values: list[float]) -> str:
    if not values:
        return "-"
    low, middle, high = np.quantile(values, (0.1, 0.5, 0.9))
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


def figure(reading: Reading, spread: np.ndarray, place: Path, zoom: int = 2) -> None:
    """Truth, FBP, TV / mean, one draw, spread: HU -1000 to 200, spread 0 to 200; nodules circled in red when missed,
    in green when found; invented blobs in yellow."""
    tiles = []
    for key in ("truth", "fbp", "tv", "mean", "draw_1", "spread"):
        image, low, high = (spread, 0, 200) if key == "spread" else (reading.images[key], -1000, 200)
        grey = np.clip((image - low) / (high - low) * 255, 0, 255).repeat(zoom, 0).repeat(zoom, 1)
        tile = np.stack([grey] * 3, -1)
        whose = "mean" if key == "spread" else key
        marks = [
            (disc, (0, 255, 0) if reader.shown(disc, reading.found[whose][disc.region]) else (255, 0, 0))
            for disc in reading.discs
        ]
        for region in reading.regions if key != "spread" else ():
            marks += [(reader.Disc("", b.row_mm, b.column_mm, reader.RADII_MM[b.scale], 0.0), (255, 255, 0))
                      for b in reading.invented(key, region)]
        for disc, colour in marks:
            away = disc.distance(grey.shape, reading.pixel / zoom, reading.first - reading.pixel / 4)
            tile[np.abs(away - disc.radius_mm - 3) < 0.4] = colour
        tiles.append(tile.astype(np.uint8))
    whole = np.concatenate([np.concatenate(tiles[:3], 1), np.concatenate(tiles[3:], 1)], 0)
    sitk.WriteImage(sitk.GetImageFromArray(whole, isVector=True), str(place))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--views", default="60,20,8")
    parser.add_argument("--cases", type=int, default=6)
    parser.add_argument("--solver", default="dds")
    parser.add_argument("--draws", type=int, default=4)
    parser.add_argument("--figure", type=Path, help="PNG of the first case, a file for each number of views")
    options = parser.parse_args()
    if options.cases < 1 or options.draws < 2:
        parser.error("expected 1 case and 2 draws or more")
    rows: Rows = []
    prior = load_prior("ct-body", torch.device("cpu"))
    for first in range(0, options.cases, 2):
        seed = FIRST_SEED + first // 2
        volume, cases = phantoms(seed)
        cases = cases[: options.cases - first]
        volume = volume.crop(slices=(0, len(cases)))
        for views in (int(part) for part in options.views.split(",")):
            settings = Settings(
                views=views, solver=options.solver, draws=options.draws, device="cpu", pixel_mm=1.999 * FINE_MM,
                seed=seed,
            )
            found, reading, spread = read(volume, cases, settings, prior, seed)
            rows += found
            if options.json:
                options.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
            if options.figure and first == 0:
                figure(reading, spread, options.figure.with_stem(f"{options.figure.stem}-{views}"))
            print(f"seed {seed}, {views} views: read", flush=True)
    print("\n".join(table(rows, options.draws)))


if __name__ == "__main__":
    main()
