"""Faithfulness, realism and the reader's sheet of synthetic images, on images whose answers are known."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from diffusion_engine.evaluation.faithfulness import dice, dice_by_class
from diffusion_engine.evaluation.reader_sheet import GAP, score, write_sheet
from diffusion_engine.evaluation.realism import (
    inside,
    noise_power,
    roughness,
    roughness_row,
    spectrum_rows,
    tissue_rows,
)
from scipy import ndimage

NAMES = ("air", "fat", "bone")


def labels() -> np.ndarray:
    found = np.zeros((4, 40, 40), np.uint8)
    found[:, 5:35, 5:35] = 1
    found[:, 10:20, 10:20] = 2
    found[:, 25:30, 25:30] = 0
    return found


def noisy(seed: int, level: float = 10.0, smooth: float = 0.0, shape: tuple[int, ...] = (4, 96, 96)) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, 1, shape)
    if smooth:
        noise = ndimage.gaussian_filter(noise, (0, smooth, smooth), mode="wrap")
    return level * noise / noise.std()


def test_dice_of_masks() -> None:
    one, other = np.zeros((2, 4), bool), np.zeros((2, 4), bool)
    assert math.isnan(dice(one, other))
    one[0, :3], other[0, 1:4] = True, True
    assert dice(one, other) == pytest.approx(2 * 2 / 6)
    with pytest.raises(ValueError, match="masks of one shape"):
        dice(one, other[:1])


def test_dice_of_classes_and_of_the_body_with_what_it_encloses() -> None:
    wanted, found = labels(), labels()
    found[:, 10:15, 10:20] = 1
    found[:, 26:28, 26:28] = 1
    rows = {row["item"]: row for row in dice_by_class(wanted, found, NAMES, {"bone": 0.9, "body": 0.9})}
    assert rows["bone"]["value"] == pytest.approx(2 * 50 / 150, abs=1e-4)
    assert rows["bone"]["passed"] is False
    assert rows["body"]["value"] == 1.0
    assert rows["body"]["passed"] is True
    assert "bar" not in rows["fat"]
    one_only = {row["item"]: row["value"] for row in dice_by_class(np.zeros_like(wanted), found, NAMES)}
    assert one_only["bone"] == 0
    assert "bone" not in {row["item"] for row in dice_by_class(wanted.clip(0, 1), found.clip(0, 1), NAMES)}
    with pytest.raises(ValueError, match="expected labels up to 1, found 2"):
        dice_by_class(wanted, found, NAMES[:2])


def test_tissue_statistics_follow_a_shift_and_a_spread() -> None:
    classes = labels()
    real = noisy(0, 10, shape=classes.shape)
    rows = tissue_rows((real, classes), (2 * noisy(1, 10, shape=classes.shape) + 5, classes), NAMES)
    found = {(row["item"], row["name"]): row["value"] for row in rows}
    assert found["fat", "mean difference"] == pytest.approx(0.5, abs=0.15)
    assert found["fat", "deviation ratio"] == pytest.approx(2, abs=0.15)
    assert found["fat", "histogram distance"] > 0.6
    same = {row["name"]: row["value"] for row in tissue_rows((real, classes), (real, classes), NAMES)}
    assert (same["mean difference"], same["deviation ratio"], same["histogram distance"]) == (0, 1, 0)


def test_small_tissues_have_no_row_and_edges_are_left_out() -> None:
    classes = labels()
    classes[classes == 2] = 1
    classes[0, 12:15, 12:15] = 2
    assert {row["item"] for row in tissue_rows((classes, classes), (classes, classes), NAMES)} == {"air", "fat"}
    assert inside(labels(), 2)[0].sum() == 8 * 8
    assert inside(labels(), 2, 0)[0].sum() == 100


def test_white_noise_has_a_flat_spectrum_of_its_variance() -> None:
    image, pixel = noisy(0, 10), 0.8
    frequency, power = noise_power(image, np.ones(image.shape, bool), pixel)
    # Variance is the integral of the spectrum over the square of all frequencies, which is 1 / pixel^2 large.
    assert power[2:] == pytest.approx(100 * pixel**2, rel=0.12)
    assert frequency[-1] < 0.5 / pixel


def test_slow_changes_of_the_image_are_no_noise() -> None:
    image = noisy(0, 10)
    slope = image + np.arange(96.0)[None, :, None] * 3
    whole = np.ones(image.shape, bool)
    assert noise_power(slope, whole, 1.0)[1] == pytest.approx(noise_power(image, whole, 1.0)[1])


def test_spectra_tell_smoother_noise_from_equal_noise() -> None:
    whole = np.ones((4, 96, 96), bool)
    real, same, smooth = (noise_power(noisy(*of), whole, 1.0) for of in ((0, 10), (1, 10), (2, 10, 1.5)))
    assert [row["passed"] for row in spectrum_rows(real, same)] == [True, True]
    amount, tone = spectrum_rows(real, smooth, "lung")
    assert tone["value"] < 0.5
    assert not tone["passed"]
    assert amount["item"] == "lung"
    louder = spectrum_rows(real, noise_power(2 * noisy(1, 10), whole, 1.0))[0]
    assert louder["value"] == pytest.approx(2, rel=0.05)
    with pytest.raises(ValueError, match="squares of 24 x 24 pixels, found none"):
        noise_power(noisy(0), np.zeros((4, 96, 96), bool), 1.0)


def test_roughness_between_slices() -> None:
    whole = np.ones((4, 96, 96), bool)
    assert roughness(noisy(0, 10), whole) == pytest.approx(10, rel=0.02)
    constant = np.repeat(noisy(0, 10)[:1], 4, 0)
    assert roughness(constant, whole) == 0
    row = roughness_row((noisy(0, 10), whole), (noisy(1, 12), whole), "all")
    assert row["value"] == pytest.approx(1.2, rel=0.02)
    assert (row["passed"], row["item"]) == (False, "all")
    with pytest.raises(ValueError, match="expected neighbouring slices"):
        roughness(noisy(0)[:1], whole[:1])


def pairs(count: int = 6) -> tuple[list[np.ndarray], list[np.ndarray]]:
    return [np.full((8, 10), 100.0 + n) for n in range(count)], [np.full((8, 10), -100.0 - n) for n in range(count)]


def test_the_sheet_and_its_key_agree_with_the_pictures(tmp_path: Path) -> None:
    pages = write_sheet(*pairs(), tmp_path / "sheet", tmp_path / "key" / "key.csv", (-200, 200), 1)
    assert [path.name for path in pages] == ["page_01.png", "page_02.png"]
    assert not list((tmp_path / "sheet").glob("*key*"))
    with open(tmp_path / "key" / "key.csv", encoding="utf-8") as stream:
        key = list(csv.DictReader(stream))
    assert sorted(int(row["item"]) for row in key) == list(range(6))
    assert sorted(row["real"] for row in key) == ["left"] * 3 + ["right"] * 3
    with open(tmp_path / "sheet" / "answers.csv", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    for row, known in zip(rows, key, strict=True):
        page = sitk.GetArrayFromImage(sitk.ReadImage(str(pages[int(row["page"]) - 1])))
        top = (int(row["row"]) - 1) * (8 + GAP) + GAP
        left, right = page[top, GAP], page[top, 2 * GAP + 10]
        assert ("left" if left > right else "right") == known["real"]
        assert row["real"] == ""


def test_a_filled_sheet_is_scored(tmp_path: Path) -> None:
    write_sheet(*pairs(), tmp_path / "sheet", tmp_path / "key.csv", (-200, 200), 1)
    answers = tmp_path / "sheet" / "answers.csv"
    with pytest.raises(ValueError, match="for every pair, found none for 1, 2, 3, 4, 5, 6: fill the table"):
        score(answers, tmp_path / "key.csv")
    with open(tmp_path / "key.csv", encoding="utf-8") as stream:
        known = [row["real"] for row in csv.DictReader(stream)]
    known[0] = "left" if known[0] == "right" else "right"
    answers.write_text("pair,real\n" + "".join(f"{n},{side.title()}\n" for n, side in enumerate(known, 1)))
    found = score(answers, tmp_path / "key.csv")
    assert (found["right"], found["pairs"]) == (5, 6)
    assert found["p"] == pytest.approx(7 / 64)


def test_bad_sheets_are_refused(tmp_path: Path) -> None:
    real, made = pairs()
    folder, key = tmp_path / "sheet", tmp_path / "key.csv"
    for args, message in (
        (([], [], folder, key, (0, 1)), "found 0 and 0"), ((real, made[:2], folder, key, (0, 1)), "found 6 and 2"),
        ((real[:1], [np.zeros((3, 3))], folder, key, (0, 1)), "of one shape"),
        (([real[0] * np.nan], made[:1], folder, key, (0, 1)), "found NaN or infinity"),
        ((real, made, folder, key, (1, 1)), "expected black below white"),
        ((real, made, folder, folder / "key.csv", (0, 1)), "expected the key outside"),
    ):
        with pytest.raises(ValueError, match=message):
            write_sheet(*args, 0)
    assert not folder.exists()
    folder.mkdir()
    (folder / "x").write_text("")
    with pytest.raises(ValueError, match="expected an empty folder for the pages"):
        write_sheet(real, made, folder, key, (0, 1), 0)
