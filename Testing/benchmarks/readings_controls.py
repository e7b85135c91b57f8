"""Good sinograms that must get no remark: scans of real slices and phantoms in many ways, and two measured sets.

    python Testing/benchmarks/readings_controls.py [--data FOLDER] [--json FILE] [--each 6]

Every object is scanned in ``--each`` of the ways below, by turns: 8 to 720 parallel views, golden angle, both ends of
the arc, fan beams, short scans, an off-centre detector, metal in the body, Gaussian noise of .1 to 1 %, 1e4 to 1e6
photons, electronic noise, i0 stated and not. With --data (a folder with eval/ and train/, or with measured sets alone)
the objects are slices of its CT volumes, and the measured tooth and the limited-angle disc are judged too, whose gap is
a true remark; without it they are the package's own phantoms. Prints what was remarked, and a table of the ways; exit
code 1 if more than 2 % of the controls got a false remark.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "DiffusionRecon"))

from diffusion_engine.io.images import read_volume
from diffusion_engine.modalities.ct.measurement import Measurement
from diffusion_engine.modalities.ct.readings.judge import judge
from diffusion_engine.modalities.ct.scale import hu_to_attenuation
from diffusion_engine.modalities.ct.simulate import readings
from diffusion_engine.phantoms import synthetic_chest
from diffusion_engine.physics.ct import CTGeometry, ImageGrid, fan_geometry, parallel_geometry
from diffusion_engine.physics.noise import simulate_counts
from diffusion_engine.run.settings import Settings

GOLDEN_RAD = math.pi * (math.sqrt(5) - 1) / 2
PIXEL_MM = 2.5
SID_MM, SDD_MM = 570.0, 1040.0
TOLERATED = 0.02


class Way(NamedTuple):
    """A way to scan: geometry, views, arc in degrees, noise (percent, or photons a ray), and what is special."""

    name: str
    beam: str
    views: int
    arc: float
    percent: float = 0.0
    photons: float = 0.0
    electronic: float = 0.0
    special: str = ""


WAYS = (
    Way("60 views, .1 %", "parallel", 60, 180, 0.1),
    Way("180 views, 1 %", "parallel", 180, 180, 1.0),
    Way("8 views, .2 %", "parallel", 8, 180, 0.2),
    Way("fan curved, 120 views, .3 %", "fan_curved", 120, 360, 0.3),
    Way("1e4 photons, i0 stated", "parallel", 90, 180, photons=1e4),
    Way("golden angle, .5 %", "parallel", 60, 0, 0.5, special="golden"),
    Way("fan flat, 60 views, .5 %", "fan_flat", 60, 360, 0.5),
    Way("1e5 photons, i0 unknown", "parallel", 120, 180, photons=1e5, special="no i0"),
    Way("short scan, .2 %", "fan_curved", 120, 230, 0.2),
    Way("off-centre detector, .3 %", "fan_flat", 180, 360, 0.3, special="half fan"),
    Way("metal, .3 %", "parallel", 90, 180, 0.3, special="metal"),
    Way("1e4 photons, electronic noise", "fan_curved", 90, 360, photons=1e4, electronic=10.0),
    Way("20 views, .2 %, stated noise", "parallel", 20, 180, 0.2, special="variance"),
    Way("fan, 1e6 photons, i0 unknown", "fan_flat", 60, 360, photons=1e6, special="no i0"),
    Way("720 views, 1 %", "parallel", 720, 360, 1.0),
    Way("metal, 1e5 photons", "fan_curved", 90, 360, photons=1e5, special="metal"),
    Way("0 to 180 degrees with both ends", "parallel", 61, 183, 0.2),
    Way("golden angle, fan", "fan_flat", 70, 0, 0.2, special="golden"),
    Way("off-centre parallel detector, 1e5 photons", "parallel", 180, 360, photons=1e5, special="half fan no i0"),
    Way("12 fan views, 1e5 photons, i0 unknown", "fan_curved", 12, 360, photons=1e5, special="no i0"),
)


def scan(image: np.ndarray, pixel_mm: float, way: Way, seed: int = 0) -> Measurement:
    """Slices in HU (slices, rows, columns) scanned in one way, without inverse crime."""
    if "metal" in way.special:
        image = with_metal(image, pixel_mm)
    rows, columns = image.shape[1:]
    grid = ImageGrid(rows, columns, (pixel_mm, pixel_mm))
    geometry = rays(grid, way)
    attenuation = torch.from_numpy(hu_to_attenuation(np.maximum(image, -1000.0)).astype(np.float32))
    clean = readings(attenuation, geometry, grid)
    generator = np.random.default_rng(seed)
    if way.photons:
        counts = simulate_counts(clean, way.photons, way.electronic, generator)
        i0 = None if "no i0" in way.special else way.photons
        return Measurement(counts.numpy(), geometry, 3.0, "counts", i0, way.electronic)
    std = way.percent / 100 * clean.amax((-2, -1), keepdim=True)
    noisy = clean + std * torch.from_numpy(generator.standard_normal(clean.shape, np.float32))
    return Measurement(noisy.numpy(), geometry, 3.0, variance=(std**2).numpy() if way.special == "variance" else None)


def rays(grid: ImageGrid, way: Way) -> CTGeometry:
    """The geometry of a way; its detector covers the grid's diagonal, an off-centre one a little more than half."""
    arc = math.radians(way.arc or 180)
    if way.beam == "parallel":
        geometry = parallel_geometry(grid, way.views, arc)
    else:
        geometry = fan_geometry(grid, way.views, arc, curved=way.beam == "fan_curved")
    if "golden" in way.special:
        geometry = replace(geometry, angles_rad=tuple(GOLDEN_RAD * np.arange(way.views)))
    if "half fan" in way.special:
        count = round(0.6 * geometry.detector_count)
        shift = (geometry.detector_count - count) / 2 * geometry.detector_spacing_mm
        geometry = replace(geometry, detector_count=count, detector_offset_mm=shift)
    return geometry


def with_metal(image: np.ndarray, pixel_mm: float) -> np.ndarray:
    """The slices with two rods of 8000 HU and 10 mm in the body, beside its middle."""
    rows, columns = image.shape[1:]
    y, x = np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij")
    body = np.argwhere(image[0] > -300)
    row, column = body.mean(0) if len(body) else (rows / 2, columns / 2)
    result = image.copy()
    for shift in (-40.0, 30.0):
        near = np.hypot(y - row - 10 / pixel_mm, x - column - shift / pixel_mm) * pixel_mm < 5
        result[:, near] = 8000.0
    return result


def coarse(array: np.ndarray, spacing_mm: float) -> tuple[np.ndarray, float]:
    """Slices averaged to pixels of at least PIXEL_MM, with their pixel."""
    factor = max(1, math.ceil(PIXEL_MM / spacing_mm - 1e-6))
    tall, wide = (size // factor * factor for size in array.shape[1:])
    parts = array[:, :tall, :wide].reshape(len(array), tall // factor, factor, wide // factor, factor)
    return parts.mean((2, 4), dtype=np.float64).astype(np.float32), spacing_mm * factor


def phantoms() -> Iterator[tuple[str, np.ndarray, float]]:
    """The synthetic chest in the middle and off-centre, its upper end, and small objects: name, slices, pixel."""
    chest = synthetic_chest((3, 120, 120), (60.0, 3.5, 3.5))[0].array
    yield "chest", chest, 3.5
    yield "chest off-centre", np.roll(chest, (5, -9), (1, 2)), 3.5
    size = np.arange(120) - 59.5
    y, x = np.meshgrid(size, size, indexing="ij")
    for name, radius, centre in (("small disc", 9.0, (2.0, -3.0)), ("arm", 14.0, (25.0, 30.0)), ("head", 30.0, (0, 0))):
        disc = np.where(np.hypot(y - centre[0], x - centre[1]) < radius, 40.0, -1000.0)
        disc[np.hypot(y - centre[0] - radius / 3, x - centre[1]) < radius / 4] = 700.0
        yield name, disc[None].astype(np.float32), 3.5


def volumes(data: Path) -> Iterator[tuple[str, np.ndarray, float]]:
    """Two slices each of the CT volumes in a folder: name, slices in HU, pixel."""
    for path in sorted(data.glob("*/*/ct*.nii.gz")):
        volume = read_volume(path, "HU")
        if abs(volume.spacing_mm[0] - volume.spacing_mm[1]) > 0.01 or volume.array.min() > -500:
            continue
        # NIfTI rows run to the front: what is judged does not depend on how a slice is turned
        for part in (0.35, 0.65):
            middle = int(part * len(volume.array))
            image, pixel = coarse(volume.array[middle:middle + 1].astype(np.float32), volume.spacing_mm[0])
            yield f"{path.parent.name} {path.name.split('.')[0]} slice {middle}", image, pixel


def measured(data: Path) -> Iterator[tuple[str, Measurement, float, set[str]]]:
    """The measured sets: name, measurement, attenuation of the material, kinds of remarks that are true."""
    from benchmarks.measured_projections import DISC, TOOTH, disc_scan, tooth_scan

    for folder in (data, data / "eval"):
        if (folder / TOOTH).is_dir():
            found, settings, logs, whole = tooth_scan(folder / TOOTH, Settings())
            yield "tooth, 31 views", found, settings.scan.water_per_mm, set()
            yield "tooth, 181 views", Measurement(logs, whole), settings.scan.water_per_mm, set()
        if (folder / DISC).is_dir():
            found, settings, _ = disc_scan(folder / DISC, Settings())
            yield "disc, 60 degrees", found, settings.scan.water_per_mm, {"gap"}


def remarked(measurement: Measurement, water_per_mm: float, true: set[str]) -> list[str]:
    """Sentences of the remarks that are false; a refusal is one."""
    try:
        found = judge(measurement, water_per_mm).remarks
    except ValueError as error:
        return [f"REFUSED: {error}"]
    sentences = [f"{remark.kind}: {remark.sentence}" for remark in found if remark.kind not in true]
    return sentences + [f"expected the true remark {kind}" for kind in true - {remark.kind for remark in found}]


def controls(data: Path | None, each: int) -> Iterator[tuple[str, str, list[str]]]:
    """Object, way and false remarks of every control."""
    objects = phantoms() if data is None else volumes(data)
    turn = 0
    for name, image, pixel in objects:
        ways = min(len(WAYS), 4 * each if data is None else each)
        for _ in range(ways):
            way = WAYS[turn % len(WAYS)]
            turn += 1
            yield name, way.name, remarked(scan(image, pixel, way, turn), 0.0193, set())
    if data is not None:
        for name, measurement, water, true in measured(data):
            yield name, "measured", remarked(measurement, water, true)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--each", type=int, default=5)
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    began = time.perf_counter()
    for name, way, false in controls(options.data, options.each):
        rows.append({"object": name, "way": way, "false_remarks": false})
        for sentence in false:
            print(f"{name} | {way} | {sentence}", flush=True)
    print(f"{'way':44} controls  false")
    for way in dict.fromkeys(row["way"] for row in rows):
        own = [row for row in rows if row["way"] == way]
        print(f"{way:44} {len(own):8} {sum(bool(row['false_remarks']) for row in own):6}")
    wrong = sum(bool(row["false_remarks"]) for row in rows)
    print(f"{wrong} of {len(rows)} controls got a false remark; {time.perf_counter() - began:.0f} s")
    if options.json:
        summary = {"controls": len(rows), "with_false_remarks": wrong, "rows": rows}
        options.json.write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    return 1 if wrong > TOLERATED * len(rows) else 0


if __name__ == "__main__":
    sys.exit(main())
