"""A sheet for readers: pairs of a real and a synthetic image, in random order, and the key in another place."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import binomtest

ROWS = 4
"""Pairs of a page, one below the other."""
GAP = 12
"""Pixels of white between images."""
SIDES = ("left", "right")


def write_sheet(
    real: Sequence[np.ndarray], made: Sequence[np.ndarray], folder: Path, key: Path, window: tuple[float, float],
    seed: int,
) -> list[Path]:
    """Write pages of pairs (PNG), a table for the answers, and the key; returns the pages.

    ``real``, ``made``: as many images (rows, columns) each, of one shape; pairs are formed in their order, then mixed.
    ``window``: black and white, in the images' unit, the same for all. ``key``: a file outside of ``folder``, so that a
    reader can be given the folder. The table has pair, page, row and an empty column "real": left or right.
    Raises ValueError, one sentence: no pairs, unequal numbers or shapes, values that are not finite, an empty window, a
    key within the folder, a folder that holds files.
    """
    _check(real, made, folder, key, window)
    generator = np.random.default_rng(seed)
    order = generator.permutation(len(real))
    sides = generator.permutation(np.arange(len(real)) % 2)  # as many left as right
    folder.mkdir(parents=True, exist_ok=True)
    key.parent.mkdir(parents=True, exist_ok=True)
    pages: list[Path] = []
    answers, solution = [], []
    for first in range(0, len(order), ROWS):
        strips = []
        for row, n in enumerate(order[first : first + ROWS], 1):
            side = int(sides[first + row - 1])
            pair = (real[n], made[n]) if side == 0 else (made[n], real[n])
            strips.append(_strip([_grey(image, window) for image in pair]))
            number = first + row
            answers.append({"pair": number, "page": len(pages) + 1, "row": row, "real": ""})
            solution.append({"pair": number, "real": SIDES[side], "item": int(n)})
        path = folder / f"page_{len(pages) + 1:02d}.png"
        _save_png(np.concatenate(strips), path)
        pages.append(path)
    _save_table(folder / "answers.csv", answers)
    _save_table(key, solution)
    return pages


def score(answers: Path, key: Path) -> dict[str, Any]:
    """How many pairs a reader told apart: "right", "pairs", "share", and "p", how often guessing does as well.

    Raises ValueError for pairs that are missing or answered with neither left nor right.
    """
    given, wanted = (_table(path) for path in (answers, key))
    wrong = sorted(set(wanted) - {pair for pair, side in given.items() if side in SIDES}, key=int)
    if wrong:
        raise ValueError(f"expected left or right for every pair, found none for {', '.join(wrong)}: fill the table")
    right = sum(given[pair] == side for pair, side in wanted.items())
    chance = float(binomtest(right, len(wanted), 0.5, "greater").pvalue)
    return {"right": right, "pairs": len(wanted), "share": right / len(wanted), "p": chance}


def _check(
    real: Sequence[np.ndarray], made: Sequence[np.ndarray], folder: Path, key: Path, window: tuple[float, float]
) -> None:
    if not real or len(real) != len(made):
        raise ValueError(f"expected as many real as synthetic images, found {len(real)} and {len(made)}: give pairs")
    shapes = {image.shape for image in (*real, *made)}
    if len(shapes) > 1 or len(next(iter(shapes))) != 2:
        raise ValueError(f"expected images (rows, columns) of one shape, found {sorted(shapes)}: crop them alike")
    if not all(np.isfinite(image).all() for image in (*real, *made)):
        raise ValueError("expected finite pixels, found NaN or infinity: repair the images first")
    if not window[0] < window[1]:
        raise ValueError(f"expected black below white, found the window {window}: give two ascending numbers")
    if folder.resolve() in key.resolve().parents:
        raise ValueError(f"expected the key outside of the pages' folder, found {key} within it: put it elsewhere")
    if folder.is_dir() and any(folder.iterdir()):
        raise ValueError(f"expected an empty folder for the pages, found files in {folder}: choose another one")


def _grey(image: np.ndarray, window: tuple[float, float]) -> np.ndarray:
    low, high = window
    return np.clip((image.astype(np.float64) - low) / (high - low) * 255, 0, 255).round().astype(np.uint8)


def _strip(images: Sequence[np.ndarray]) -> np.ndarray:
    """Two images side by side on white."""
    rows, columns = images[0].shape
    strip = np.full((rows + GAP, 2 * columns + 3 * GAP), 255, np.uint8)
    for n, image in enumerate(images):
        first = GAP + n * (columns + GAP)
        strip[GAP:, first : first + columns] = image
    return strip


def _save_png(image: np.ndarray, path: Path) -> None:
    import SimpleITK as sitk

    sitk.WriteImage(sitk.GetImageFromArray(image), str(path))


def _save_table(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    with open(path, "w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def _table(path: Path) -> dict[str, str]:
    with open(path, encoding="utf-8", newline="") as stream:
        return {row["pair"]: row["real"].strip().lower() for row in csv.DictReader(stream)}
