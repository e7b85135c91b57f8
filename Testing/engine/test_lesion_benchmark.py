"""The benchmark of inserted lesions: its cases, what it reads of a run, its table and its page."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from benchmarks import lesion_cases, lesion_page, lesion_rows, lesion_table, lesions
from diffusion_engine.evaluation.lesions import Lesion, inserted
from diffusion_engine.io.images import write_volume
from diffusion_engine.modalities.ct.entry import CT
from diffusion_engine.priors.adapter_card import SHIPPED
from diffusion_engine.priors.card import read_card
from diffusion_engine.run import pipeline
from diffusion_engine.run.pipeline import Result
from diffusion_engine.run.settings import Settings
from diffusion_engine.volume import Volume
from small_modalities import Shrinking

MATRIX = np.diag([-3.0, -3.0, 5.0, 1.0])
PRIOR = Shrinking(replace(read_card(SHIPPED / "ct-body.json"), calibration=[], typicality={}))


def body(size: int = 96) -> Volume:
    """A disc of tissue, as bright as a liver, in air."""
    away = np.hypot(*(np.indices((size, size)) - (size - 1) / 2))
    return Volume(np.where(away < 0.42 * size, 100.0, -1000.0)[None].astype(np.float32), MATRIX, "HU")


def lesion(row: float, column: float, contrast: float = 60.0, diameter: float = 15.0) -> Lesion:
    r, a, s = (MATRIX @ [column, row, 0, 1])[:3].tolist()
    return Lesion("liver", 0, (r, a, s), diameter, contrast)


def run_of(maps: dict[str, np.ndarray], stated: Any) -> Result:
    volumes = {key: Volume(image[None], MATRIX, "1") for key, image in maps.items()}
    return Result(volumes, {} if stated is None else {"maps": stated})


def test_maps_are_read_where_there_are_some() -> None:
    image = np.zeros((8, 8), np.float32)
    both = {key: {"threshold": 4.5} for key in lesion_rows.MAPS}
    assert lesion_rows.maps_of(run_of({}, None)) == {}
    assert lesion_rows.maps_of(run_of({"mean": image}, {})) == {}
    assert lesion_rows.maps_of(run_of({"prior_decided": image}, None)) == {}
    found = lesion_rows.maps_of(run_of({key: image for key in both}, both))
    assert {key: threshold for key, (_, threshold) in found.items()} == dict.fromkeys(both, 4.5)


def test_peaks_are_counted_once_and_of_either_sign() -> None:
    image = np.zeros((40, 40))
    image[10, 10], image[10, 11], image[10, 12] = 5.0, 4.0, 4.5
    image[30, 30], image[20, 5] = -6.0, 3.9
    found = lesion_rows.peaks(image, 4.0, (1.5, 1.5))
    assert found.tolist() == [[30, 30], [10, 10]]  # (10, 12) is 3 mm from a higher one
    assert len(lesion_rows.peaks(image, 4.0, (3.0, 3.0))) == 3
    assert lesion_rows.peaks(image, 7.0, (1.5, 1.5)).shape == (0, 2)


def test_a_warning_counts_near_the_lesion_alone() -> None:
    volume = body()
    for diameter, away, expected in ((4.0, 1, True), (4.0, 2, False), (15.0, 2, True), (15.0, 3, False)):
        image = np.zeros((96, 96))
        image[40, 40 + away] = -5.0
        one = lesion(40, 40, diameter=diameter)
        assert lesion_rows.warned(image, 4.0, one, volume, 0) is expected, (diameter, away)
        assert not lesion_rows.warned(image, 5.5, one, volume, 0)


def test_the_signal_is_that_of_a_matched_filter() -> None:
    """Twice the contrast gives twice the signal; it is the norm of the change of the data over their noise."""
    volume, one = body(64), lesion(32, 30)
    settings = Settings(views=8, pixel_mm=2.9)
    problem = CT.prepare(volume, settings, torch.device("cpu"), None, lambda extent: None)
    found = lesion_rows.signal(problem, one)
    twice = lesion_rows.signal(problem, replace(one, contrast=120.0))
    assert twice == pytest.approx(2 * found, rel=1e-3)
    added = torch.from_numpy(60 / 1000 * 0.0193 * one.coverage(volume))
    data = problem.delivered.measured.operator.forward(added)
    assert found == pytest.approx(float(data.norm()) / problem.delivered.noise_std, rel=1e-3)
    assert lesion_rows.noise_percent(problem) == pytest.approx(0.2, rel=0.02)


def test_conditions_are_seeded_and_pass_the_scan_on(tmp_path: Path) -> None:
    write_volume(body(160), tmp_path / "ct.nrrd")
    given = (tmp_path, CT, ["standard", "few-views"], [20, 30], ["noise_percent=1", "i0=1e5,electronic_std=5"], 3)
    found = list(lesion_cases.conditions(*given))
    assert [(c.preset, c.settings.scan.views, c.settings.scan.i0) for c in found] == [
        (preset, views, i0) for preset in ("standard", "few-views") for views in (20, 30) for i0 in (None, 1e5)
    ]
    assert found[1].settings.scan.electronic_std == 5
    assert found[0].settings.scan.noise_percent == 1
    assert found[4].settings.prior == "ct-body-medium"
    assert found[0].lesions == next(lesion_cases.conditions(*given)).lesions
    assert 1 <= len(found[0].lesions) <= lesion_cases.MOST
    assert {own.tissue for own in found[0].lesions} == {"liver"}
    other = next(lesion_cases.conditions(*given[:-1], 4))
    assert other.lesions != found[0].lesions
    assert len({lesion_cases.key_of(json.loads(json.dumps(c.about))) for c in found}) == len(found)
    with pytest.raises(ValueError, match="expected presets that draw images, found 'classical'"):
        next(lesion_cases.conditions(tmp_path, CT, ["classical"], [20], ["noise_percent=1"], 0))
    order = [want.tissue for want in lesion_cases.wanted(CT, np.random.default_rng(0))]
    assert len(set(order[:5])) == 5
    assert len(order) == len(CT.cases.hunted)


def test_rows_of_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Known images in place of a reconstruction: half of one lesion is kept, a quarter of the other."""
    volume, shown = body(), [lesion(40, 38), lesion(40, 62, -50.0)]
    plain = {key: volume.array for key in ("reference", "mean", "tv")}
    truth = inserted(volume, shown).array
    mean = volume.array + 30 * shown[0].coverage(volume) - 12.5 * shown[1].coverage(volume)
    full = {"reference": truth, "mean": mean, "tv": truth}
    decided = np.zeros_like(truth)
    decided[0, 40, 62], decided[0, 20, 40] = -9.0, 8.0
    covered = sum(one.coverage(volume) for one in shown)
    spread = np.where(covered > 0, 12.0, np.where(volume.array > 0, 6.0, 1.0)).astype(np.float32)

    def made(source: Volume, settings: Settings) -> Result:
        images = full if source.array.max() > 110 else plain
        volumes = {key: volume.with_array(image) for key, image in images.items()}
        volumes |= {"uncertainty": volume.with_array(spread), "prior_decided": volume.with_array(decided, "1")}
        report = {"calibration": {"matched": False}, "maps": {"prior_decided": {"threshold": 5.0}}}
        return Result(volumes, report)

    monkeypatch.setattr(lesion_rows, "reconstruct", made)
    item = lesion_cases.Item("liver.nrrd", volume, (7,))
    settings = Settings(preset="standard", views=8, pixel_mm=2.9, device="cpu", draws=4)
    condition = lesion_cases.Condition(item, tuple(shown), "standard", {"views": 8}, "noise", settings)
    rows, crops = lesion_rows.measured(condition, PRIOR.card)
    first, second, slices = rows
    assert (first["contrast_kept"], second["contrast_kept"]) == (0.5, 0.25)
    assert first["contrast_kept_tv"] == 1
    assert (first["warned_prior_decided"], second["warned_prior_decided"]) == (False, True)
    # Four draws: the half width is 12 * 2.63 = 31.6; at the first lesion 30 are missing, at the second 37.5.
    assert first["coverage_inside"] == 1
    assert second["coverage_inside"] < 0.4
    assert (first["interval_is"], first["spread_inside_over_around"], first["case"]) == ("raw", 2.0, 7)
    assert first["signal"] > second["signal"] > 0
    assert (slices["false_prior_decided"], slices["invented"], slices["invented_tv"]) == (2, 0, 0)
    assert slices["width"] == pytest.approx(2 * 6 * 2.631, rel=1e-3)  # of the body outside lesions
    assert crops["0"].shape == (5, 21, 21)
    np.testing.assert_allclose(crops["1"][0, 10, 10], truth[0, 40, 62])
    assert crops["1"][4, 10, 10] == pytest.approx(-9 / 5)
    json.dumps(rows)


def lesion_row(kept: float, diameter: float = 10.0, signal: float = 9.0, **more: Any) -> dict[str, Any]:
    return {
        "kind": "lesion", "item": "a", "slices": "1", "preset": "standard", "views": 30, "noise": "n", "scan": {},
        "case": 1, "diameter_mm": diameter, "contrast_kept": kept, "contrast_kept_tv": 0.9, "signal": signal,
        "coverage_inside": 0.5, "spread_inside_over_around": 0.8, "tissue": "liver", "contrast": 60.0, **more,
    }


def slice_row(**more: Any) -> dict[str, Any]:
    about = {key: lesion_row(0)[key] for key in ("item", "slices", "preset", "views", "noise")}
    return {**about, "kind": "slice", "scan": {}, "case": 1, "invented": 1, "invented_tv": 2, "width": 60.0, **more}


def test_the_table_adds_up() -> None:
    rows = [
        lesion_row(0.9), lesion_row(0.6), lesion_row(0.2, warned_prior_decided=True),
        lesion_row(0.1, warned_prior_decided=False), lesion_row(0.0, diameter=4.0), lesion_row(0.3, signal=2.0),
        slice_row(false_prior_decided=1), slice_row(case=2, false_prior_decided=0),
    ]
    head, line = lesion_table.summary(rows, "tv", [slice_row(width=50.0)])
    cells = dict(zip(head.split("  "), (part.strip() for part in line.split("  ") if part.strip()), strict=True))
    assert (cells["lesions"], cells["kept"], cells["good"], cells["tv kept"]) == ("6", "0.33", "0.17", "1.00")
    assert cells["lost: warned"] == "0.25 of 4"
    assert cells["kept or warned (>= 8 mm, signal > 6)"] == "0.75 of 4"
    assert cells["false alarms / 32"] == "16.0"
    assert (cells["invented a slice"], cells["width / baseline"]) == ("1.00", "1.20")
    plain = lesion_table.summary([lesion_row(0.9), slice_row()], "tv")[1]
    assert plain.split()[-1] == "-"


def test_the_page_shows_lost_lesions_first(tmp_path: Path) -> None:
    rows = [lesion_row(kept, signal=signal) for kept, signal in ((0.9, 20.0), (0.1, 5.0), (0.2, 8.0), (0.7, 3.0))]
    assert [row["contrast_kept"] for row in lesion_page.chosen(rows)] == [0.2, 0.1, 0.7, 0.9]
    assert len(lesion_page.chosen(rows * 3)) == 6
    rows = [{**row, "warned_prior_decided": True} for row in rows[:2]]
    crops = [np.full((5, 21, 21), 1.2) for _ in rows]
    crops[0][:, :5] = np.nan
    lesion_page.page(rows, crops, "tv", ["prior_decided"], "HU", tmp_path / "page.png")
    from PIL import Image

    with Image.open(tmp_path / "page.png") as sheet:
        assert sheet.size == (lesion_page.LEFT + 5 * lesion_page.TILE, lesion_page.TOP + 2 * lesion_page.TILE)
        at = lesion_page.LEFT + 4 * lesion_page.TILE + 100
        assert sheet.getpixel((at, lesion_page.TOP + 20)) == (200, 220, 240)
        red, green, blue = sheet.getpixel((at, lesion_page.TOP + 120))
        assert red > 100
        assert green == 90  # above the threshold
        assert blue == 0


def test_the_benchmark_runs_and_goes_on_where_it_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A whole run on a small slice, by an exact denoiser: rows, table, page, limits; the second computes nothing."""
    (tmp_path / "data").mkdir()
    write_volume(body(64), tmp_path / "data" / "ct.nrrd")
    monkeypatch.setattr(lesion_cases, "SMALLEST_MATRIX", 64)
    monkeypatch.setattr(lesion_cases, "MOST", 2)
    usual = lesion_cases.settings_for
    monkeypatch.setattr(
        lesion_cases, "settings_for", lambda *given: usual(*given).changed(steps=2, draws=2, tv_iterations=3)
    )
    for place in (pipeline, lesions):
        monkeypatch.setattr(place, "load_prior", lambda *given, **named: PRIOR)
    rows, page = tmp_path / "rows.json", tmp_path / "page.png"
    command = ["lesions.py", "--data", str(tmp_path / "data"), "--json", str(rows), "--views", "6", "--depths", "0.5"]
    monkeypatch.setattr(sys, "argv", [*command, "--noise", "noise_percent=0.5", "--page", str(page)])
    lesions.main()
    found = json.loads(rows.read_text())
    assert [row["kind"] for row in found] == ["lesion", "lesion", "slice"]
    assert all(math.isfinite(row["contrast_kept"]) for row in found[:2])
    assert found[0]["noise_percent"] == pytest.approx(0.5, rel=0.05)
    assert page.exists()
    printed = capsys.readouterr().out
    assert "1 of 1: ct.nrrd, standard, 6 views" in printed
    assert '"limit_mm"' in printed
    monkeypatch.setattr(lesions, "measured", None)
    lesions.main()
    assert json.loads(rows.read_text()) == found
