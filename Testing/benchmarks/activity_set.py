"""A training set of activity for a PET prior: FDG drawn at random in the anatomy of CT and MR volumes, and real PET.

    .venv/bin/python Testing/benchmarks/activity_set.py --data FOLDER --out FOLDER --variants 12

CT volumes are those below folders "ct_*", brains "mr_brain_t1_ds*", real PET files "pet_suv*" or "PET_image*" of
folders "petct*". Each variant takes a body of its own size and turn, a run of its slices and a
resolution of 4 to 7 mm; pixels are 4 mm. Every volume is written as 10 times its network values (see
``physics.activity_scale``), times a random factor of 15 % in simulated ones, since the scale of a reconstruction is
known from noisy data only: so that `train --unit SUV` trains on network units. What is real is not changed otherwise.
Continues where it was stopped: files that exist are left. Sources: anatomy and licences of what is below --data.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from diffusion_engine.io.images import read_volume, write_volume
from diffusion_engine.orientation import axial_squares
from diffusion_engine.phantoms.activity import activity_of_brain, activity_of_ct, at_resolution
from diffusion_engine.physics.activity_scale import activity_scale
from diffusion_engine.training.units import UNITS
from diffusion_engine.volume import Volume
from scipy import ndimage

PIXEL_MM, PARTS = 4.0, 2
EDGE = 128
LEAST_MM = 40.0
"""Shorter stacks show too little to tell what of the body they are."""
APART_MM = 60.0
"""Between slices of different persons, so that nothing reaches from one into the other."""
STORED = UNITS["SUV"].scale
HELD_OUT = ("ct_chest_lidc0003", "ct_abdomen_crlm1006")
"""Two variants each, to validate and tune on: give their names to `train --exclude`."""


def main() -> None:
    """Write the set."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--variants", type=int, default=12, help="of each CT; half as many of each brain (12)")
    parser.add_argument("--only", default="*", help="pattern of the folders to take (all)")
    options = parser.parse_args()
    began, folders = time.time(), [place for place in sorted(options.data.glob(options.only)) if place.is_dir()]
    for name, variant, volume in _wanted(folders, options.variants, options.out):
        place = options.out / f"{name}_{variant:02d}"
        place.mkdir(parents=True, exist_ok=True)
        write_volume(volume, place / "pet.nii.gz")
        print(f"{place.name}: {volume.array.shape}, {time.time() - began:.0f} s", flush=True)


def _wanted(folders: list[Path], variants: int, out: Path) -> Iterator[tuple[str, int, Volume]]:
    """Name, number and volume of each that is not there yet; a round of variants after the other."""
    for variant in range(variants):
        for folder in folders:
            for place in sorted(folder.glob("*.nii.gz")):
                name = f"{folder.name}_{place.name.split('.')[0]}"
                kind = _kind(folder.name, place.name)
                if kind is None or (out / f"{name}_{variant:02d}" / "pet.nii.gz").exists():
                    continue
                if (kind == "real" and variant) or (kind == "brain" and variant % 2):
                    continue
                if folder.name in HELD_OUT and variant > 1:
                    continue
                # Text hashes differ between runs of Python; this sum does not.
                seed = variant * 100_003 + sum(ord(c) * (n + 1) for n, c in enumerate(name))
                source = axial_squares(read_volume(place))[0]
                made = _real(source) if kind == "real" else _simulated(source, kind, seed)
                if made is not None:
                    yield name, variant, made


def _kind(folder: str, file: str) -> str | None:
    if folder.startswith("petct") and (file.startswith(("pet_suv", "PET_image"))):
        return "real"
    if folder.startswith("mr_brain_t1_ds"):
        return "brain"
    if folder.startswith("ct_slices"):
        return "slices"
    return "ct" if folder.startswith("ct_") else None


def _real(source: Volume) -> Volume:
    values = np.maximum(source.array.astype(np.float32), 0)
    return Volume((STORED / activity_scale(values) * values).astype(np.float32), source.ijk_to_ras, "SUV")


def _simulated(source: Volume, kind: str, seed: int) -> Volume | None:
    rng = np.random.default_rng((seed, 41))
    fine = PIXEL_MM / PARTS
    edge = EDGE if kind == "brain" else EDGE * PARTS
    count = len(source.array)
    take = int(min(count, rng.integers(12, 41)))
    first = int(rng.integers(0, count - take + 1))
    stack = source.array[first : first + take].astype(np.float32)
    thick = APART_MM if kind == "slices" else float(source.spacing_mm[2])
    if count * thick < LEAST_MM:
        return None
    if kind == "brain":  # to 4 mm slices
        step = max(1, round(4.0 / thick))
        stack = stack[: len(stack) - len(stack) % step]
        if not len(stack):
            return None
        stack = stack.reshape(-1, step, *stack.shape[1:]).mean(1)
        thick *= step
    outside = 0.0 if kind == "brain" else -1000.0
    turned = _placed(stack, float(source.spacing_mm[0]), fine, edge, outside, rng)
    spacing = (thick, fine, fine)
    make = activity_of_brain if kind == "brain" else activity_of_ct
    try:
        activity = make(turned, spacing, seed)
    except ValueError:
        return None
    shown = at_resolution(activity, spacing, float(rng.uniform(4, 7)), PARTS)
    if not shown.mean() > 0:
        return None
    values = STORED / activity_scale(shown) * np.exp(rng.normal(0, 0.15)) * shown
    matrix = np.diag([-PIXEL_MM, -PIXEL_MM, thick, 1.0])
    # Steps of a 512th SUV keep the files small and are far below any noise level.
    return Volume((np.round(values * 512) / 512).astype(np.float32), matrix, "SUV")


def _placed(
    stack: np.ndarray, pixel_mm: float, fine_mm: float, edge: int, outside: float, rng: np.random.Generator
) -> np.ndarray:
    """Slices turned by up to 6 degrees and scaled by up to 10 %, the body in the middle of ``edge`` pixels each way."""
    seen = stack > (outside + 700 if outside < 0 else 0.1 * stack.max())
    middle = np.array(ndimage.center_of_mass(seen.any(0))) + rng.normal(0, 8 / pixel_mm, 2)
    turn, scale = rng.uniform(-0.1, 0.1), rng.uniform(0.9, 1.1, 2)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    matrix = rotation @ np.diag(1 / scale) * fine_mm / pixel_mm
    offset = middle - matrix @ np.full(2, (edge - 1) / 2)
    sharp = [0.5 * max(fine_mm / pixel_mm - 1, 0)] * 2
    soft = (ndimage.gaussian_filter(part, sharp) for part in stack)
    return np.stack([
        ndimage.affine_transform(part, matrix, offset, (edge, edge), order=1, cval=outside) for part in soft
    ])


if __name__ == "__main__":
    main()
