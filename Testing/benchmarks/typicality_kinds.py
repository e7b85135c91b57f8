"""Images that the gate of CT is tried on: CT, what poses as CT, and objects that are drawn here."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from diffusion_engine.evaluation.calibrate import chosen_slices
from diffusion_engine.io.folder import volumes_below
from diffusion_engine.modalities.ct.entry import CT
from diffusion_engine.orientation import axial_squares
from diffusion_engine.priors.card import PriorCard
from diffusion_engine.volume import Volume

POSES = ("tissue at 40 HU", "brightest at 300 HU", "zero at 0 HU")
"""How values become HU: air -1000 and the median of the tissue 40; air -1000 and the 99.5 % quantile 300; both as they
are but for that quantile, 1000."""
SHEPP_LOGAN = (
    (1.0, 0.69, 0.92, 0.0, 0.0, 0), (-0.8, 0.6624, 0.874, 0.0, -0.0184, 0), (-0.2, 0.11, 0.31, 0.22, 0.0, -18),
    (-0.2, 0.16, 0.41, -0.22, 0.0, 18), (0.1, 0.21, 0.25, 0.0, 0.35, 0), (0.1, 0.046, 0.046, 0.0, 0.1, 0),
    (0.1, 0.046, 0.046, 0.0, -0.1, 0), (0.1, 0.046, 0.023, -0.08, -0.605, 0), (0.1, 0.023, 0.023, 0.0, -0.606, 0),
    (0.1, 0.023, 0.046, 0.06, -0.605, 0),
)
"""Ellipses of the head phantom: value, half axes, centre, degrees. Source: doi:10.1109/TNS.1974.6499235."""


def ordinary(data: Path, card: PriorCard, depths: tuple[float, ...], limit: int | None) -> Iterator[tuple[str, Volume]]:
    """CT that the prior was not trained on: the held-out volumes, and those for evaluation."""
    yield from chosen_slices(data / "train", card.held_out[:limit], depths, CT)
    names = sorted(path.name for path in (data / "eval").glob("ct*"))[:limit]
    for name, volume in chosen_slices(data / "eval", names, depths, CT) if names else ():
        if "seg_" not in name and "ct_sm" not in name and min(volume.array.shape[1:]) >= 128:
            yield name, volume


def posing(volume: Volume, depth: float = 0.5) -> Iterator[tuple[str, Volume]]:
    """An axial slice of a volume of another unit as if it were CT in HU, in each of POSES.

    Raises ValueError for a volume that gives none with square pixels.
    """
    volume = axial_squares(volume)[0]
    array = volume.array.astype(np.float32)
    tissue = float(np.median(array[array > 0.1 * np.percentile(array, 99)]))
    top = float(np.percentile(array, 99.5))
    picked = array[[int(depth * len(array))]]
    images = (-1000 + 1040 * picked / tissue, -1000 + 1300 * picked / top, 1000 * picked / top)
    for pose, image in zip(POSES, images, strict=True):
        yield pose, Volume(np.clip(image, -1000, 2000).astype(np.float32), volume.ijk_to_ras, "HU")


def other_images(data: Path, limit: int | None) -> Iterator[tuple[str, str, Volume]]:
    """(kind, name, slice): MR of heads, MR of other parts, and PET posing as CT, at most ``limit`` volumes a kind."""
    places = sorted(path for home in ("train", "eval") for path in (data / home).glob("*") if path.is_dir())
    mr = [path for path in places if path.name.startswith("mr_")]
    heads = [path for path in mr if "_brain_" in path.name or "_head_" in path.name]
    elsewhere = [path for path in mr if path not in heads]
    pet = [path for path in places if path.name.startswith("pet")]
    for kind, unit, folders in (("MR head", "a.u.", heads), ("MR elsewhere", "a.u.", elsewhere), ("PET", "SUV", pet)):
        step = 1 if limit is None else max(1, len(folders) // limit)
        for folder in folders[::step][:limit]:
            for place, volume in volumes_below(folder, unit, lambda path: "CT" not in path.name):
                name = place.name.lower()
                if isinstance(volume, str) or any(word in name for word in ("mask", "lesion", "seg")):
                    continue
                if unit == "SUV" and "pet" not in name:
                    continue
                try:
                    for pose, image in posing(volume):
                        yield kind, f"{folder.name}, {pose}", image
                except ValueError as error:
                    print(f"{folder.name}: {error}")
                break


def objects() -> Iterator[tuple[str, Volume]]:
    """Discs, boxes, rods and the head phantom, 256 x 256 pixels of 1 mm."""
    y, x = np.mgrid[:256, :256] - 127.5
    for name, radius, value in (("water disc", 90, 0.0), ("dense disc", 60, 1000.0), ("disc with holes", 110, 300.0)):
        image = np.where(x**2 + y**2 < radius**2, value, -1000.0)
        for n in range(5 if value == 300 else 0):
            image[(y - 50 * np.sin(n)) ** 2 + (x - 50 * np.cos(n)) ** 2 < 15**2] = -1000
        yield name, _drawn(image)
    image = np.full((256, 256), -1000.0)
    image[60:200, 40:220], image[90:130, 70:120], image[150:180, 140:200] = 0, -1000, 500
    yield "boxes", _drawn(image)
    rng, image = np.random.default_rng(0), np.where(x**2 + y**2 < 100**2, 0.0, -1000.0)
    for _ in range(60):
        row, column, radius = *rng.uniform(-65, 65, 2), rng.uniform(2, 8)
        image[(y - row) ** 2 + (x - column) ** 2 < radius**2] = rng.choice([-800, -300, 200, 800])
    yield "rods", _drawn(image)
    head = _shepp_logan(x / 110, -y / 110)
    yield "head phantom", _drawn(-1000 + 1000 * head)
    yield "head phantom, brain at 40 HU", _drawn(np.clip(-1000 + 5200 * head, -1000, 2000))


def _shepp_logan(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    image = np.zeros_like(x)
    for value, a, b, x0, y0, degrees in SHEPP_LOGAN:
        cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
        along, across = (x - x0) * cos + (y - y0) * sin, (y - y0) * cos - (x - x0) * sin
        image[(along / a) ** 2 + (across / b) ** 2 <= 1] += value
    return image


def _drawn(image: np.ndarray) -> Volume:
    return Volume(image[None].astype(np.float32), np.diag([-1.0, -1.0, 5.0, 1.0]), "HU")
