"""Real measured projections by FBP, TV and the diffusion prior: a tooth (few views) and a disc (limited angle).

    .venv/bin/python Testing/benchmarks/measured_projections.py --data FOLDER [--out FOLDER] [--json FILE]

FOLDER holds proj_parallel_tooth_tomopy/tooth.h5 (raw counts, dark and white fields; every sixth of 181 views is used
and compared with the FBP of all) and proj_fanbeam_htc2022_ta60deg/*.mat (60 degrees of a fan beam; compared with the
segmentation of the full turn). Both objects are far from what the prior was trained on. They are a few centimetres
and millimetres wide, so lengths are multiplied until their pixels have a size that the prior knows, and the material
is set to the attenuation of water. Prints a table, writes pictures.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import scipy.io
import SimpleITK as sitk
import torch
from diffusion_engine import Measurement, Settings, reconstruct
from diffusion_engine.classical.fbp import fbp
from diffusion_engine.metrics import psnr
from diffusion_engine.modalities.ct.centre import centre_to_offset_mm, estimate_centre
from diffusion_engine.modalities.ct.scale import attenuation_to_hu
from diffusion_engine.physics.ct import CTGeometry, ImageGrid

TOOTH, DISC = "proj_parallel_tooth_tomopy", "proj_fanbeam_htc2022_ta60deg"
TOOTH_BIN_MM = 0.8
TOOTH_PIXELS = 320
DISC_MAGNIFIED = 10.0
EVERY = 6
METHODS = ("fbp", "tv", "mean")


def tooth_scan(folder: Path, settings: Settings) -> tuple[Measurement, Settings, np.ndarray, CTGeometry]:
    """The first tooth slice from few views, the settings for it, and the line integrals and geometry of all views."""
    with h5py.File(folder / "tooth.h5") as file:
        data, white, dark = (np.asarray(file[f"exchange/{name}"]) for name in ("data", "data_white", "data_dark"))
        angles = np.radians(np.asarray(file["exchange/theta"]))
    white, dark = white.mean(0), dark.mean(0)
    logs = -np.log((data - dark) / (white - dark)).transpose(1, 0, 2).astype(np.float32)[:1]
    centre = estimate_centre(torch.from_numpy(logs), tuple(angles))
    print(f"tooth: rotation axis estimated at bin {centre:.2f}")
    offset = centre_to_offset_mm(centre, logs.shape[2], TOOTH_BIN_MM)
    whole = CTGeometry("parallel", tuple(angles), logs.shape[2], TOOTH_BIN_MM, offset)
    pixel = TOOTH_BIN_MM * logs.shape[2] / TOOTH_PIXELS
    full = fbp(torch.from_numpy(logs), whole, ImageGrid(TOOTH_PIXELS, TOOTH_PIXELS, (pixel, pixel))).numpy()
    few = replace(whole, angles_rad=whole.angles_rad[::EVERY])
    scan = Measurement(np.ascontiguousarray(logs[:, ::EVERY]), few)
    return scan, replace(settings, pixel_mm=pixel, water_per_mm=material(full)), logs, whole


def tooth(folder: Path, settings: Settings) -> tuple[list[dict[str, Any]], list[np.ndarray]]:
    """Rows and pictures (full-view FBP, FBP, TV, diffusion, spread) of the first tooth slice."""
    scan, settings, logs, whole = tooth_scan(folder, settings)
    result = reconstruct(scan, settings)
    shape = result.volumes["fbp"].array.shape[1:]
    pixel = settings.pixel_mm or 1.0
    # The detector is off-centre, so the reconstruction may take another field of view than the full-view image.
    reference = attenuation_to_hu(
        fbp(torch.from_numpy(logs), whole, ImageGrid(*shape, (pixel, pixel))).numpy(), settings.scan.water_per_mm
    )
    case = f"tooth, {len(scan.geometry.angles_rad)} of {len(whole.angles_rad)} views"
    rows = [
        {
            "name": METHOD_NAMES[key], "peer": False, "case": case,
            "psnr_to_full_fbp": round(psnr(result.volumes[key].array, reference), 2), **scores(result.report, key),
        }
        for key in METHOD_NAMES if key in result.volumes
    ]
    return rows, [reference[0], *pictures(result)]


def disc_scan(folder: Path, settings: Settings) -> tuple[Measurement, Settings, np.ndarray]:
    """The limited-angle disc, the settings for it, and the segmentation of the full turn."""
    file = next(folder.glob("*.mat"))
    content = scipy.io.loadmat(str(file), squeeze_me=True, struct_as_record=False)["CtDataLimited"]
    scan = content.parameters
    truth = sitk.GetArrayFromImage(sitk.ReadImage(str(next(folder.glob("*.png"))))) > 0
    geometry = CTGeometry(
        "fan_flat", tuple(np.radians(scan.angles)), content.sinogram.shape[1], scan.pixelSizePost * DISC_MAGNIFIED, 0.0,
        scan.distanceSourceOrigin * DISC_MAGNIFIED, scan.distanceSourceDetector * DISC_MAGNIFIED,
    )
    pixel = float(scan.effectivePixelSizePost) * DISC_MAGNIFIED
    data = content.sinogram[None].astype(np.float32)
    water = chord_material(data, geometry, truth, ImageGrid(*truth.shape, (pixel, pixel)))
    return Measurement(data, geometry), replace(settings, pixel_mm=pixel, water_per_mm=water), truth


def disc(folder: Path, settings: Settings) -> tuple[list[dict[str, Any]], list[np.ndarray]]:
    """Rows and pictures (segmentation, FBP, TV, diffusion, spread) of the limited-angle disc."""
    scan, settings, truth = disc_scan(folder, settings)
    result = reconstruct(scan, settings)
    rows = []
    degrees = round(math.degrees(scan.geometry.angles_rad[-1]))
    ideal = np.where(truth, 0.0, -1000.0)
    for key in METHOD_NAMES:
        if key not in result.volumes:
            continue
        image = centred(result.volumes[key].array[0], truth.shape)
        overlap, level = best_dice(image, truth)
        rows.append({
            "name": METHOD_NAMES[key], "peer": False, "case": f"disc, {degrees} degrees",
            "dice": round(overlap, 4), "dice_at_half": round(dice(image > -500, truth), 4), "best_level_hu": level,
            "psnr_to_segmentation": round(psnr(image, ideal), 2), **scores(result.report, key),
        })
    images = [centred(image, truth.shape) for image in pictures(result)]
    return rows, [truth * 1000.0 - 1000.0, *images]


METHOD_NAMES = {"fbp": "FBP", "tv": "TV", "mean": "diffusion", "fallback": "fallback"}


def scores(report: dict[str, Any], key: str) -> dict[str, Any]:
    """Residual test, verdict of the gate and time of one method; the fallback has no residual test of its own."""
    gate = report["gate"]
    verdict = {} if gate is None or key not in ("mean", "fallback") else {
        "typicality": round(gate["score"], 2), "gate_passed": gate["passed"], "blend": round(gate["blend"], 3),
    }
    if key == "fallback":
        return {"residual_ratio": report["metrics"]["fallback"]["residual_ratio"], **verdict}
    test = next(t for t in report["residual_tests"] if t["kind"] == key)
    entry = report["metrics"]["diffusion" if key == "mean" else key]
    return {
        "residual_ratio": round(test["ratio"], 3), "accepted": [round(a, 3) for a in test["accepted"]],
        "residual_passed": test["passed"], "seconds": entry["seconds"], **verdict,
    }


def material(full: np.ndarray) -> float:
    """Attenuation of the object's material: median of what is above half of the brightest percent."""
    return float(np.median(full[full > np.percentile(full, 99) / 2]))


def chord_material(data: np.ndarray, geometry: CTGeometry, truth: np.ndarray, grid: ImageGrid) -> float:
    """Attenuation that makes the segmented object cast the measured mean line integral."""
    from diffusion_engine.physics.ct import make_projector

    lengths = make_projector(geometry, grid).forward(torch.from_numpy(truth[None].astype(np.float32))).numpy()
    return float(data.sum() / lengths.sum())


def dice(mask: np.ndarray, truth: np.ndarray) -> float:
    """2 |A and B| / (|A| + |B|)."""
    return float(2 * (mask & truth).sum() / (mask.sum() + truth.sum()))


def best_dice(image: np.ndarray, truth: np.ndarray) -> tuple[float, int]:
    """The best overlap over thresholds, and that threshold in HU: kind to every method alike."""
    return max((dice(image > level, truth), level) for level in range(-900, 300, 50))


def centred(image: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The central part of an image, or the image in a frame of air."""
    for axis, size in enumerate(shape):
        extra = image.shape[axis] - size
        if extra >= 0:
            image = image.take(range(extra // 2, extra // 2 + size), axis)
        else:
            before = -extra // 2
            pad = [(0, 0)] * image.ndim
            pad[axis] = (before, -extra - before)
            image = np.pad(image, pad, constant_values=-1000.0)
    return image


def pictures(result: Any) -> list[np.ndarray]:
    """FBP, TV and diffusion mean, then the spread, moved to the same grey scale (0 HU black, 300 HU white)."""
    spread = result.volumes["uncertainty"].array[0] / 300 * 1800 - 1200
    return [*(result.volumes[key].array[0] for key in METHODS), spread]


def sheet(images: list[np.ndarray], path: Path) -> None:
    """Images side by side as a PNG, window -1200 to 600 HU."""
    row = np.concatenate([np.clip((image + 1200) / 1800, 0, 1) * 255 for image in images], axis=1)
    sitk.WriteImage(sitk.GetImageFromArray(row.astype(np.uint8)), str(path))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("measured-output"))
    parser.add_argument("--draws", type=int, default=4)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    settings = Settings(draws=options.draws, keep=("mean", "uncertainty"))
    rows: list[dict[str, Any]] = []
    for name, run in ((TOOTH, tooth), (DISC, disc)):
        if not (options.data / name).is_dir():
            print(f"expected the folder {name} in {options.data}, found none: get it first", file=sys.stderr)
            return 2
        found, images = run(options.data / name, settings)
        rows += found
        sheet(images, options.out / f"{name}.png")
    for row in rows:
        print("  ".join(f"{key} {value}" for key, value in row.items() if key != "peer"))
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
