"""The evaluation: which volumes count, the protocol of the scan, the best TV image, the summary."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusion_engine import metrics
from diffusion_engine.__main__ import main
from diffusion_engine.classical.tv import tv
from diffusion_engine.evaluation import evaluate
from diffusion_engine.io.images import write_volume
from diffusion_engine.modalities.ct import oracle
from diffusion_engine.modalities.ct import problem as problem_module
from diffusion_engine.modalities.ct.entry import CT
from diffusion_engine.modalities.ct.problem import prepare
from diffusion_engine.phantoms import synthetic_chest
from diffusion_engine.priors.adapter_card import SHIPPED
from diffusion_engine.priors.card import read_card
from diffusion_engine.run.settings import Settings
from diffusion_engine.volume import Volume
from small_modalities import Shrinking


@pytest.fixture(scope="module")
def stack() -> Volume:
    """Nine slices of the chest, 32 x 32 pixels of 8 mm."""
    return synthetic_chest((9, 32, 32), (10.0, 8.0, 8.0))[0]


SMALL = replace(CT, cases=replace(CT.cases, smallest_matrix=32))


def parallel(*views: int) -> list[dict[str, Any]]:
    return [{"geometry": "parallel", "views": count} for count in views]


def test_items_are_large_ct_volumes_at_three_depths(stack: Volume, tmp_path: Path) -> None:
    (tmp_path / "case").mkdir()
    write_volume(stack, tmp_path / "case" / "ct.nrrd")
    write_volume(stack.crop(slices=(0, 1)), tmp_path / "one.nrrd")
    write_volume(stack.crop(columns=(0, 31)), tmp_path / "narrow.nrrd")
    write_volume(stack.with_array(stack.array + 2000), tmp_path / "mr.nrrd")
    holes = stack.array.copy()
    holes[0, 0, 0] = np.nan
    write_volume(stack.with_array(holes), tmp_path / "holes.nrrd")
    items, skipped = evaluate.find_items(tmp_path, SMALL)
    assert [(item.name, item.indices) for item in items] == [("case/ct.nrrd", (2, 4, 6)), ("one.nrrd", (0,))]
    np.testing.assert_array_equal(items[0].volume.array, stack.array[[2, 4, 6]])
    reasons = dict(line.split(": ", 1) for line in skipped)
    assert set(reasons) == {"holes.nrrd", "mr.nrrd", "narrow.nrrd"}
    assert reasons["narrow.nrrd"] == "slices of 32 x 31 pixels, fewer than 32 x 32"
    assert "not CT in HU" in reasons["mr.nrrd"]
    assert "NaN" in reasons["holes.nrrd"]
    with pytest.raises(ValueError, match="expected a folder"):
        evaluate.find_items(tmp_path / "none", SMALL)


def test_tied_slices_are_the_middle_of_a_stack_of_their_own(stack: Volume, tmp_path: Path) -> None:
    """At least about 4 mm between neighbours, at their own places; the middle one alone is evaluated."""
    write_volume(stack, tmp_path / "ct.nrrd")
    items, _ = evaluate.find_items(tmp_path, SMALL, tied=True)
    assert [(item.indices, item.cases) for item in items] == [
        ((0, 1, 2, 3, 4), [(2, 2)]), ((2, 3, 4, 5, 6), [(2, 4)]), ((4, 5, 6, 7, 8), [(2, 6)]),
    ]
    row = next(evaluate.evaluate(items[1:2], parallel(6), ["fbp"], Settings(device="cpu")))
    whole = next(evaluate.evaluate(
        [evaluate.Item("ct.nrrd", stack.crop(slices=(2, 7)), (2, 3, 4, 5, 6))], parallel(6), ["fbp"],
        Settings(device="cpu"),
    ))
    assert (row["case"], whole["case"]) == (4, 2)
    fine = Volume(stack.array, stack.ijk_to_ras @ np.diag([1, 1, 0.15, 1]), "HU")
    found, indices, middle = evaluate.stack_around(fine, 4)
    assert (indices, middle) == ((1, 4, 7), 1)
    np.testing.assert_array_equal(found.array, fine.array[[1, 4, 7]])
    for place, index in enumerate(indices):
        np.testing.assert_allclose(found.ijk_to_ras @ [3, 5, place, 1], fine.ijk_to_ras @ [3, 5, index, 1])
    assert evaluate.stack_around(fine, 8)[1:] == ((2, 5, 8), 2)


def test_rows_follow_the_protocol(stack: Volume, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reference is the mean of 2 x 2 pixels, the noise 0.2 % of the largest line integral."""
    problems = []

    def watching(*arguments):
        problems.append(prepare(*arguments))
        return problems[-1]

    monkeypatch.setattr(problem_module, "prepare", watching)
    item = evaluate.Item("chest", stack.crop(slices=(3, 5)), (3, 4))
    settings = Settings(device="cpu", tv_iterations=30, seed=2)
    scans = [{"geometry": beam, "views": count} for beam in ("parallel", "fan_flat") for count in (10, 6)]
    rows = list(evaluate.evaluate([item], scans, ["fbp", "tv"], settings))
    assert [(r["geometry"], r["views"], r["method"], r["case"]) for r in rows] == [
        (g, v, m, c) for g in ("parallel", "fan_flat") for v in (10, 6) for m in ("fbp", "tv") for c in (3, 4)
    ]
    expected = np.maximum(stack.array[3:5], -1000).reshape(2, 16, 2, 16, 2).mean((2, 4))
    for problem in problems:
        np.testing.assert_allclose(problem.reference, expected, atol=0.02)
        std = problem.delivered.measured.variance.sqrt().flatten()
        largest = problem.delivered.measured.data.amax((-2, -1))
        np.testing.assert_allclose(std.numpy(), 0.002 * largest.numpy(), rtol=0.02)
    assert [len(p.delivered.geometry.angles_rad) for p in problems] == [10, 6, 10, 6]
    first = problems[0]
    image = (tv(first.delivered.measured.scaled(settings.scan.water_per_mm, 0.0), iterations=30) - 1) * 1000
    assert rows[2]["psnr"] == pytest.approx(metrics.psnr(image[0].numpy(), expected[0]), abs=0.02)
    assert rows[2]["residual_ratio"] > 0
    assert all(row[key] is None for row in rows for key in evaluate.TRUST)
    with pytest.raises(ValueError, match=r"unknown methods \['magic'\]"):
        next(evaluate.evaluate([item], parallel(10), ["magic"], settings))


def test_a_solver_has_columns_of_trust(stack: Volume) -> None:
    item = evaluate.Item("chest", stack.crop(slices=(4, 5)), (4,))
    settings = Settings(device="cpu", draws=2, steps=2)
    first, mean = evaluate.evaluate([item], parallel(12), ["dds"], settings)
    assert [first["method"], mean["method"]] == ["dds-draw", "dds"]
    assert all(first[key] is None for key in evaluate.TRUST)
    assert 0 <= mean["coverage90"] <= 1
    assert -1 <= mean["error_spread_corr"] <= 1
    lines = evaluate.summary([first, mean], CT)
    assert any(line.split()[:2] == ["mean", "coverage90"] and "-" in line.split() for line in lines)


def test_the_oracle_takes_the_best_weight_for_each_slice(stack: Volume, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(oracle, "ITERATIONS", 250)
    problem = prepare(stack.crop(slices=(3, 5)), Settings(views=12, noise_percent=2.0), torch.device("cpu"), None)
    water = problem.delivered.measured.scaled(0.0193, 0.0)
    reference = torch.from_numpy(problem.reference)
    images, columns = oracle.tv_oracle(problem.delivered, problem.reference)
    scores = np.array([
        [
            metrics.psnr(((image - 1) * 1000).numpy(), truth.numpy()) for image, truth in zip(
                tv(water, weight=torch.full((2,), weight), iterations=250), reference, strict=True
            )
        ] for weight in oracle.WEIGHTS
    ])
    for n in range(2):
        assert columns["weight"][n] == oracle.WEIGHTS[int(scores[:, n].argmax())]
        assert metrics.psnr(images[n], reference[n].numpy()) == pytest.approx(scores[:, n].max(), abs=0.01)
        ends = (oracle.WEIGHTS[0], oracle.WEIGHTS[-1])
        assert columns["weight_is_inside"][n] == (columns["weight"][n] not in ends)
        assert 0 <= columns["last_change_db"][n] < 3
    assert float(np.ptp(scores[:, 0])) > 0.3  # the weights differ, so the choice matters


def row(item: str, case: int, method: str, psnr: float, views: int = 20) -> dict:
    return {
        "item": item, "case": case, "method": method, "psnr": psnr, "geometry": "parallel", "views": views,
        "ssim": 0.5, "residual_ratio": 1.0, "seconds": 2.0, "coverage90": 0.5 if method == "dds" else None,
    }


def test_the_summary_adds_up() -> None:
    rows = [
        row("a", 1, "tv-oracle", 30.0), row("a", 1, "dds", 33.0), row("a", 2, "tv-oracle", 31.0),
        row("a", 2, "dds", 30.5), row("a", 1, "dds", 25.0, views=8),
    ]
    lines = evaluate.summary(rows, CT)
    assert sum("coverage90" in line for line in lines) == 2
    assert lines[0] == "parallel, 20 views: PSNR in dB over 2000 HU"
    assert lines[2].split() == ["a", "1", "30.00", "33.00"]
    assert lines[4].split() == ["mean", "30.50", "31.75"]
    assert "  dds minus tv-oracle: mean +1.25 dB, worst slice -0.50 dB" in lines
    assert [line for line in lines if line.endswith("over 2000 HU")][1].startswith("parallel, 8 views")
    assert sum("minus" in line for line in lines) == 1


def test_metrics_on_known_images() -> None:
    reference = np.zeros((2, 32, 32), np.float32)
    reference[:, 8:24, 8:24] = 100.0
    assert metrics.psnr(reference + 20, reference) == pytest.approx(40.0)
    assert metrics.psnr(reference, reference) == float("inf")
    assert metrics.nrmse(np.full_like(reference, reference.mean()), reference) == pytest.approx(1.0)
    assert metrics.ssim(reference, reference) == pytest.approx(1.0)
    noisy = reference + np.random.default_rng(0).normal(size=reference.shape).astype(np.float32) * 200
    assert metrics.ssim(noisy, reference) < 0.9
    # One slice alone is the same as a stack of that slice.
    assert metrics.ssim(noisy[0], reference[0]) == pytest.approx(metrics.ssim(noisy[:1], reference[:1]))


def test_every_solver_that_is_named_is_the_one_that_runs(stack: Volume) -> None:
    settings = Settings(device="cpu", draws=1, steps=3)
    item = evaluate.Item("chest", stack.crop(slices=(4, 5)), (4,))
    rows = list(evaluate.evaluate([item], parallel(12), ["dds", "consistency", "tweedie"], settings))
    scores = {row["method"]: row["psnr"] for row in rows}
    assert len({scores["dds"], scores["consistency"], scores["tweedie"]}) == 3


def body(size: int = 120) -> Volume:
    """A slice of tissue in air, 2 mm pixels, with room for lesions."""
    array = np.full((1, size, size), -1000.0, np.float32)
    array[:, 10:-10, 10:-10] = 60.0
    return Volume(array, np.diag([-2.0, -2.0, 5.0, 1.0]), "HU")


def test_contrast_kept_is_a_column_of_every_method(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many views and little noise: FBP keeps the contrast, two steps of TV blur it; an oracle is not asked."""
    monkeypatch.setattr(oracle, "ITERATIONS", 120)
    monkeypatch.setattr(oracle, "WEIGHTS", (4.0,))
    item = evaluate.Item("body", body(), (3,))
    scans = [{"geometry": "parallel", "views": 60, "noise_percent": 0.05}]
    settings = Settings(device="cpu", tv_iterations=2)
    rows = {row["method"]: row for row in evaluate.evaluate([item], scans, ["fbp", "tv", "tv-oracle"], settings)}
    assert rows["fbp"]["noise_percent"] == 0.05
    assert rows["fbp"]["contrast_15mm"] == pytest.approx(1, abs=0.1)
    assert 0.5 < rows["fbp"]["contrast_8mm"] < rows["fbp"]["contrast_15mm"]  # two pixels across are blurred
    assert rows["tv"]["contrast_15mm"] < rows["fbp"]["contrast_15mm"] - 0.1
    assert rows["tv-oracle"]["contrast_15mm"] is None
    assert rows["fbp"]["coverage_inside"] is None
    assert any("contrast_8mm" in line for line in evaluate.summary(list(rows.values()), CT))
    without = next(evaluate.evaluate([item], scans, ["fbp"], settings, lesions=False))
    assert without["contrast_15mm"] is None
    assert without["psnr"] == rows["fbp"]["psnr"]


def test_draws_have_coverage_inside_lesions(monkeypatch: pytest.MonkeyPatch) -> None:
    prior = Shrinking(replace(read_card(SHIPPED / "ct-body.json"), calibration=[]))
    monkeypatch.setattr(evaluate, "load_prior", lambda *given, **named: prior)
    settings = Settings(device="cpu", draws=2, steps=2)
    called = {"dds": "standard"}
    rows = list(evaluate.evaluate([evaluate.Item("body", body(), (3,))], parallel(12), ["dds"], settings, True, called))
    assert [row["method"] for row in rows] == ["standard-draw", "standard"]
    first, mean = rows
    assert first["coverage_inside"] is None
    assert 0 <= mean["coverage_inside"] <= 1
    assert mean["coverage_inside_calibrated"] is None
    assert None not in (first["contrast_8mm"], mean["contrast_8mm"])


def test_a_scan_is_told_with_what_was_set() -> None:
    scan = {"geometry": "parallel", "views": 20, "i0": 1e5, "method": "fbp", "psnr": 3.0}
    assert CT.in_words(scan) == "parallel, 20 views, 100000 photons a ray"
    assert CT.in_words({"geometry": "parallel", "views": 20}) == "parallel, 20 views"


def test_presets_and_noises_of_a_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Methods share the draws of a comparison, a preset has its own settings, unless they are given; once a noise."""
    asked = []

    def watching(items, scans, methods, settings, lesions, called, realisations):
        assert realisations == 1
        asked.append((methods, [dict(scan) for scan in scans], settings, lesions, called))
        return iter([])

    monkeypatch.setattr(evaluate, "evaluate", watching)
    monkeypatch.setattr(evaluate, "find_items", lambda folder, modality, tied: ([tied], []))
    command = ["evaluate", "--data", str(tmp_path), "--views", "20", "--device", "cpu"]
    noises = ["--noise", "noise_percent=1", "--noise", "i0=1e5,electronic_std=5", "--no-lesions"]
    assert main([*command, "--presets", "few-views,volume", *noises]) == 0
    (few, scans, settings, lesions, called), (_, _, volume, _, _) = asked
    assert (few, called, lesions) == (["dds"], {"dds": "few-views"}, False)
    assert (settings.preset, settings.draws, settings.prior) == ("few-views", 2, "ct-body-medium")
    assert (volume.coupling, volume.steps) == ("neighbours", 80)
    assert scans == [
        {"geometry": "parallel", "views": 20, "noise_percent": 1},
        {"geometry": "parallel", "views": 20, "i0": 1e5, "electronic_std": 5},
    ]
    asked.clear()
    assert main([*command, "--presets", "standard", "--methods", "tv,dds", "--draws", "3"]) == 0
    assert [(methods, settings.draws, settings.preset) for methods, _, settings, _, _ in asked] == [
        (["tv", "dds"], 3, None), (["dds"], 3, "standard"),
    ]
    assert [scans for _, scans, *_ in asked] == [[{"geometry": "parallel", "views": 20}]] * 2
    asked.clear()
    assert main(command) == 0
    assert [(methods, settings.draws, lesions) for methods, _, settings, lesions, _ in asked] == [
        (["fbp", "tv", "tv-oracle", "dds"], 8, True)
    ]
    assert main([*command, "--presets", "classical"]) == 2
