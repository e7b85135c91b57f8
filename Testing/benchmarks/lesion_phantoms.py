"""Nodules in the synthetic chest: its slices, their reconstructions, and what the reader finds in them."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from benchmarks import lesion_reader as reader
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
from diffusion_engine.priors.library import Prior
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
