"""How often the gate of MRI stops what the prior does not know, and how often what it knows.

    .venv/bin/python Testing/benchmarks/mri_gate.py --data FOLDER [--acceleration 4,8] [--prior NAME] [--json FILE]

FOLDER holds train/ and eval/. Kinds: ordinary heads (the card's held-out volumes, those for evaluation), where a stop
is a false alarm; MR of other parts; CT and PET posing as MR, their least value 0; the drawn head of the demo, and the
head phantom of ellipses. Slices in the middle of the stack, and of ordinary heads three of each.
"""

from __future__ import annotations

import argparse
import json
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusion_engine.evaluation.calibrate import chosen_slices, scan
from diffusion_engine.evaluation.evaluate import indices_at
from diffusion_engine.io.folder import volumes_below
from diffusion_engine.modalities.mri.entry import MRI
from diffusion_engine.orientation import axial_squares
from diffusion_engine.phantoms.brain import synthetic_brain
from diffusion_engine.posterior.typicality import typicality_scores
from diffusion_engine.priors.library import Prior, load_prior
from diffusion_engine.run.costs import fallback_iterations
from diffusion_engine.run.likeness import judged_images, numbers_of_slices
from diffusion_engine.run.settings import Settings
from diffusion_engine.volume import Volume
from typicality_kinds import objects

LEFT_OUT = ("mask", "lesion", "seg", "label")
POSING = (("CT", "HU", "ct*"), ("PET", "SUV", "pet*"), ("MR elsewhere", "a.u.", "mr_*"))


def as_mr(volume: Volume, depths: tuple[float, ...] = (0.5,)) -> Volume:
    """Slices of a volume of any unit with its least value at 0. Raises ValueError where pixels cannot be square."""
    volume = axial_squares(volume)[0]
    array = volume.array[indices_at(volume, depths)].astype(np.float32)
    return Volume(array - min(0.0, float(array.min())), volume.ijk_to_ras, MRI.unit)


def ordinary(data: Path, prior: Prior) -> Iterator[tuple[str, str, Volume]]:
    """Heads that the prior was not trained on."""
    for name, volume in chosen_slices(data / "train", prior.card.held_out, MRI.cases.depths, MRI):
        yield "head", name, volume
    for folder in sorted((data / "eval").glob("mr_brain*")):
        for place, volume in volumes_below(folder, MRI.unit):
            if isinstance(volume, Volume) and not any(word in place.name.lower() for word in LEFT_OUT):
                yield "head", f"{folder.name}/{place.name}", as_mr(volume, MRI.cases.depths)


def others(data: Path) -> Iterator[tuple[str, str, Volume]]:
    """What poses as MR of a head."""
    for kind, unit, pattern in POSING:
        folders = sorted(path for home in ("train", "eval") for path in (data / home).glob(pattern))
        for folder in folders:
            if not folder.is_dir() or "_brain_" in folder.name or "_head_" in folder.name:
                continue
            for place, volume in volumes_below(folder, unit):
                name = place.name.lower()
                if isinstance(volume, str) or any(word in name for word in LEFT_OUT):
                    continue
                if (kind == "PET") != ("pet" in name) and "petct" in folder.name:
                    continue
                try:
                    yield kind, f"{folder.name}/{place.name}", as_mr(volume)
                except ValueError as error:
                    print(f"{folder.name}: {error}")
                break
    yield "drawn head", "of the demo", synthetic_brain((1, 256, 256))[0]
    for name, volume in objects():
        yield "object", name, as_mr(volume)


def rows_of(
    kind: str, name: str, volume: Volume, accelerations: list[float], settings: Settings, prior: Prior
) -> Iterator[dict[str, Any]]:
    """A row a slice and acceleration."""
    entry, trust = prior.card.typicality, MRI.trust
    for acceleration in accelerations:
        try:
            problem, asked = scan(volume, {"acceleration": acceleration}, settings, prior)
        except ValueError as error:
            print(f"{name}: {error}")
            return
        rough = problem.classical(MRI.fallback, fallback_iterations(asked, False))
        image = deque(judged_images(trust, problem.delivered, rough, entry), 1).pop()
        numbers = numbers_of_slices(trust, problem.delivered)
        for n, score in enumerate(typicality_scores(prior, image, problem.prior.grid, numbers, entry)):
            yield {
                "kind": kind, "name": name, "slice": n, "acceleration": acceleration, "score": round(score, 3),
                "stopped": bool(score > entry["threshold"]), "stopped_in_full": bool(score > entry["full"]),
            }


def table(rows: list[dict[str, Any]]) -> list[str]:
    """Images, the share that is stopped in part or in full, and in full, and the median score of each kind."""
    lines = [f"{'kind':<16}{'acceleration':>13}{'images':>8}{'stopped':>9}{'in full':>9}{'median score':>14}"]
    for kind, factor in dict.fromkeys((row["kind"], row["acceleration"]) for row in rows):
        part = [row for row in rows if (row["kind"], row["acceleration"]) == (kind, factor)]
        stopped, full = (np.mean([row[key] for row in part]) for key in ("stopped", "stopped_in_full"))
        median = np.median([row["score"] for row in part])
        lines.append(f"{kind:<16}{factor:>13g}{len(part):>8}{stopped:>9.2f}{full:>9.2f}{median:>14.2f}")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--acceleration", default="4,8")
    parser.add_argument("--prior", default=MRI.default_prior)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    prior = load_prior(options.prior, torch.device("cpu"), MRI.unit)
    settings = Settings(modality="mri", device="cpu", trust_unit=True)
    accelerations = [float(part) for part in options.acceleration.split(",")]
    rows: list[dict[str, Any]] = []
    for case in (*ordinary(options.data, prior), *others(options.data)):
        rows += rows_of(*case, accelerations, settings, prior)
        print(f"{case[0]}: {case[1]}", flush=True)
    print("\n".join(table(rows)))
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
