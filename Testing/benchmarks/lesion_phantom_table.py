"""The table and the picture of the nodules in the synthetic chest."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk
from benchmarks import lesion_reader as reader
from benchmarks.lesion_phantoms import COUNTS, FAINT_HU, SMALL_MM, Reading, Rows


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
