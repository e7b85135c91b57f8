"""The whole reconstruction at a small size: keys, units, geometry, refusals, residual test, reproducibility."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from diffusion_engine.modalities.ct import problem as problem_module
from diffusion_engine.modalities.ct.field_of_view import FieldOfView
from diffusion_engine.modalities.ct.measurement import Measurement
from diffusion_engine.modalities.ct.problem import prepare
from diffusion_engine.modalities.ct.simulate import simulate
from diffusion_engine.phantoms import synthetic_chest
from diffusion_engine.physics.ct import ImageGrid
from diffusion_engine.run.pipeline import Progress, Result, reconstruct, reconstruct_steps
from diffusion_engine.run.settings import Settings
from diffusion_engine.volume import Volume

CLASSICAL: dict[str, Any] = {"methods": ["fbp", "tv"], "views": 16, "tv_iterations": 40, "device": "cpu"}


@pytest.fixture(scope="module")
def small() -> Volume:
    """Three slices of the chest, 40 x 48 pixels of 8 mm."""
    return synthetic_chest((3, 40, 48), (10.0, 8.0, 8.0))[0]


@pytest.fixture(scope="module")
def run(chest: Volume) -> list[Progress | Result]:
    """A whole run with the shipped prior: every step that it yields."""
    settings = Settings(views=24, draws=2, steps=4, tv_iterations=100, keep_draws=True, device="cpu")
    return list(reconstruct_steps(chest, settings))


def test_a_run_delivers_every_image_in_hu_on_the_grid_of_the_input(run: list, chest: Volume) -> None:
    volumes = run[-1].volumes
    trusted = run[-1].report["gate"]["passed"] or run[-1].report["gate"]["kept"]
    assert set(volumes) - {"fallback"} == {
        "fbp", "tv", "mean", "uncertainty", "not_seen", "not_seen_share", "residual", "prior_decided", "draw_1",
        "draw_2", "reference",
    }
    assert ("fallback" in volumes) != trusted
    for key, volume in volumes.items():
        assert volume.array.dtype == np.float32
        assert volume.array.shape == chest.array.shape
        assert volume.unit == ("1" if key in ("not_seen_share", "residual", "prior_decided") else "HU")
        np.testing.assert_array_equal(volume.ijk_to_ras, chest.ijk_to_ras)
        assert np.isfinite(volume.array).all()
    np.testing.assert_allclose(volumes["reference"].array, np.maximum(chest.array, -1000), atol=0.01)
    mean = (volumes["draw_1"].array + volumes["draw_2"].array) / 2
    # Draws are kept in half precision, relative to the first.
    away = np.abs(volumes["draw_1"].array - volumes["draw_2"].array)
    assert (np.abs(volumes["mean"].array - mean) <= away / 4096 + 0.01).all()
    calibration = run[-1].report["calibration"]
    spread = away / 2**0.5
    if calibration["matched"]:
        spread = calibration["factor"] * np.maximum(spread, 2.0)
    np.testing.assert_allclose(volumes["uncertainty"].array, spread, rtol=1e-3, atol=0.1)


def test_what_the_scanner_did_not_see_is_a_part_of_the_spread(run: list) -> None:
    volumes = run[-1].volumes
    away = np.abs(volumes["draw_1"].array - volumes["draw_2"].array) / 2**0.5
    unseen, share = volumes["not_seen"].array, volumes["not_seen_share"].array
    assert share.min() >= 0
    assert share.max() <= 1
    # (I + pA'A)^-1 shrinks: in total the part is smaller than the whole, and 24 views leave a good deal of it.
    assert 0.1 < float(np.sum(unseen**2) / np.sum(away**2)) < 1


def test_the_residual_is_in_noise_units(run: list) -> None:
    """The image fits the data, so the residual is of the size of the noise, not of the signal."""
    residual = run[-1].volumes["residual"].array
    assert 0.1 < float(np.std(residual)) < 5


def test_progress_rises_and_the_result_is_last(run: list, chest: Volume) -> None:
    assert all(isinstance(step, Progress) for step in run[:-1])
    assert isinstance(run[-1], Result)
    fractions = [step.fraction for step in run[:-1]]
    assert fractions == sorted(fractions)
    assert fractions[0] == 0
    assert 0.9 < fractions[-1] < 1
    stages = list(dict.fromkeys(step.stage for step in run[:-1]))
    assert stages[:7] == ["prepare", "fbp", "tv", "likeness", "draw 1 of 2", "draw 2 of 2", "surer"]
    assert all(1 <= step.step <= step.total for step in run[2:-1])
    previews = [step.preview for step in run[:-1] if step.preview is not None]
    assert previews
    np.testing.assert_array_equal(previews[0].ijk_to_ras, chest.ijk_to_ras)


def test_the_report_says_what_was_done(run: list) -> None:
    report = run[-1].report
    assert json.loads(json.dumps(report, allow_nan=False))["method"] == "dds"
    assert (report["modality"], report["prior"], report["draws"], report["seed"]) == ("ct", "ct-body", 2, 0)
    assert report["spread"] == "concentrated"
    assert (report["solver"], report["preset"]) == ("dds", None)
    assert set(report["gate"]) == {"score", "threshold", "passed", "blend", "sentence", "kept"}
    assert set(report["calibration"]) == {"matched", "factor", "coverage90", "coverage90_calibrated", "sentence"}
    assert set(report["metrics"]) - {"fallback"} == {"fbp", "tv", "diffusion"}
    for scores in report["metrics"].values():
        assert set(scores) == {"psnr", "ssim", "residual_ratio", "seconds"}
    assert report["metrics"]["diffusion"]["psnr"] > report["metrics"]["fbp"]["psnr"] + 3
    assert report["metrics"]["diffusion"]["residual_ratio"] < report["metrics"]["fbp"]["residual_ratio"]
    assert [t["kind"] for t in report["residual_tests"]] == ["fbp", "tv", "mean"]
    for test in report["residual_tests"]:
        assert test["passed"] == (test["accepted"][0] <= test["ratio"] <= test["accepted"][1])
        assert test["ratio"] == pytest.approx(np.mean(test["per_view"]), rel=1e-3)
    assert report["residual_tests"][1]["passed"]
    assert all(len(t["per_view"]) == 24 for t in report["residual_tests"])
    assert len(report["prior_sha256"]) == 64
    assert report["settings"]["views"] == 24
    assert len(report["sigma_start"]) == 2


def test_the_notes_tell_the_limits(run: list) -> None:
    notes = " ".join(run[-1].report["notes"])
    assert "knows pixels of 1.25 to 2.00 mm; for 4 mm it worked on pixels of 2 mm" in notes
    assert "narrower than the true error" in notes
    assert "kinder than a scanner" in notes
    assert "not absence of invented structure" in notes


def test_a_seed_gives_the_same_numbers_again(small: Volume) -> None:
    settings = {"views": 12, "draws": 1, "steps": 2, "methods": ["diffusion"], "slices": [0, 1], "pixel_mm": 16.0}
    first, again, other = (reconstruct(small, settings, device="cpu", seed=seed) for seed in (3, 3, 4))
    assert set(first.volumes) - {"fallback"} == {"mean", "residual", "reference"}
    for key, volume in first.volumes.items():
        assert volume.array.tobytes() == again.volumes[key].array.tobytes()
    assert first.volumes["mean"].array.tobytes() != other.volumes["mean"].array.tobytes()


def flipped(volume: Volume, axes: tuple[int, ...]) -> Volume:
    """The same voxels at the same places, stored the other way round along some array axes."""
    matrix = volume.ijk_to_ras.copy()
    for axis in axes:
        column = 2 - axis
        matrix[:3, 3] += matrix[:3, column] * (volume.array.shape[axis] - 1)
        matrix[:3, column] *= -1
    return Volume(np.flip(volume.array, axes).copy(), matrix, volume.unit)


@pytest.mark.parametrize("axes", [(1,), (2,), (1, 2)])
@pytest.mark.parametrize("pixel_mm", [None, 16.0])
def test_a_flipped_image_gives_the_flipped_result(small: Volume, axes: tuple[int, ...], pixel_mm: float | None) -> None:
    settings = {**CLASSICAL, "methods": ["fbp"], "pixel_mm": pixel_mm, "slices": [0, 1], "region": [4, 30, 2, 25]}
    straight = reconstruct(small, settings)
    rows, columns = small.array.shape[1:]
    region = [4, 30, 2, 25]
    if 2 in axes:
        region[:2] = [columns - 30, columns - 4]
    if 1 in axes:
        region[2:] = [rows - 25, rows - 2]
    turned = reconstruct(flipped(small, axes), {**settings, "region": region})
    for key in ("fbp", "reference"):
        back = flipped(turned.volumes[key], axes)
        np.testing.assert_allclose(back.ijk_to_ras, straight.volumes[key].ijk_to_ras, atol=1e-9)
        np.testing.assert_allclose(back.array, straight.volumes[key].array, atol=1e-3)


def test_oblique_and_anisotropic_grids_come_back(small: Volume) -> None:
    turn = np.eye(4)
    angle = np.radians(20)
    turn[:3, :3] = [[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]]
    turn[:3, 3] = 12, -7, 30
    matrix = turn @ small.ijk_to_ras @ np.diag([1, 0.5, 1.7, 1])
    oblique = Volume(small.array, matrix, "HU")
    result = reconstruct(oblique, CLASSICAL, views=48)
    for volume in result.volumes.values():
        np.testing.assert_allclose(volume.ijk_to_ras, matrix, atol=1e-9)
    # A quarter of the pixels' height is a quarter of the rays' path: only a projector that knows it fits the data.
    assert all(t["passed"] for t in result.report["residual_tests"])
    error = result.volumes["tv"].array - result.volumes["reference"].array
    assert float(np.sqrt(np.mean(error**2))) < 150


def test_slices_and_region_are_the_parts_of_the_whole(small: Volume) -> None:
    whole = reconstruct(small, CLASSICAL)
    part = reconstruct(small, CLASSICAL, region=[5, 20, 3, 30])
    for key, volume in part.volumes.items():
        expected = whole.volumes[key].crop(rows=(3, 30), columns=(5, 20))
        np.testing.assert_array_equal(volume.array, expected.array)
        np.testing.assert_allclose(volume.ijk_to_ras, expected.ijk_to_ras)
    cut = reconstruct(small, CLASSICAL, slices=[1, 3]).volumes["reference"]
    expected = whole.volumes["reference"].crop(slices=(1, 3))
    np.testing.assert_allclose(cut.array, expected.array)
    np.testing.assert_allclose(cut.ijk_to_ras, expected.ijk_to_ras)


@pytest.mark.parametrize("axes", [(), (1, 2)])
def test_a_region_may_touch_rows_and_columns_that_binning_trims(small: Volume, axes: tuple[int, ...]) -> None:
    odd = flipped(small.crop(rows=(0, 39), columns=(0, 47), slices=(0, 1)), axes)
    settings = {**CLASSICAL, "methods": ["fbp"], "pixel_mm": 16.0}
    whole = reconstruct(odd, settings).volumes["fbp"]
    assert whole.array.shape == (1, 19, 23)
    np.testing.assert_array_equal(reconstruct(odd, settings, region=[0, 47, 0, 39]).volumes["fbp"].array, whole.array)
    with pytest.raises(ValueError, match="leaves the image of 47 columns and 39 rows"):
        reconstruct(odd, settings, region=[0, 48, 0, 39])


@pytest.mark.parametrize("geometry", ["fan_flat", "fan_curved"])
def test_fan_beams(small: Volume, geometry: str) -> None:
    result = reconstruct(small, CLASSICAL, geometry=geometry, views=24, slices=[1, 2])
    assert result.report["geometry"]["type"] == geometry
    assert result.report["geometry"]["arc_degrees"] == pytest.approx(360)
    assert all(t["passed"] for t in result.report["residual_tests"])
    assert result.report["metrics"]["tv"]["psnr"] > 20


def test_photon_counts(small: Volume) -> None:
    """More photons, better image; the variance of the counts is the one the residual test expects."""
    quality = []
    for i0 in (3e3, 1e6):
        result = reconstruct(small, CLASSICAL, i0=i0, views=40, slices=[1, 2])
        quality.append(result.report["metrics"]["fbp"]["psnr"])
        assert all(t["passed"] for t in result.report["residual_tests"])
    assert quality[1] > quality[0] + 1


def damaged(volume: Volume, case: str) -> Volume:
    array = volume.array.copy()
    if case == "nan":
        array[1, 20, 20] = np.nan
    elif case == "mr":
        array = np.maximum(array + 1000, 0)
    elif case == "air":
        array[1] = -1000
    elif case == "tiny":
        array = array[:, 16:21, 20:26]
    elif case == "none":
        array = array[:0]
    return Volume(array, volume.ijk_to_ras, "HU")


@pytest.mark.parametrize(("case", "match"), [
    ("nan", "NaN or infinite, the first in slice 1, row 20"), ("mr", "nowhere negative.*trust_unit"),
    ("air", "holds only air"), ("tiny", "too few to scan|almost no air|nothing denser"), ("none", "at least one slice"),
])
def test_input_that_cannot_be_used_is_refused_before_any_work(small: Volume, case: str, match: str) -> None:
    steps = reconstruct_steps(damaged(small, case), Settings.from_dict(CLASSICAL))
    assert next(steps).stage == "prepare"
    with pytest.raises(ValueError, match=match):
        next(steps)


def test_a_user_may_trust_the_unit(small: Volume) -> None:
    shifted = Volume(np.maximum(small.array, -900) + 900, small.ijk_to_ras, "HU")
    notes = reconstruct(shifted, CLASSICAL, slices=[0, 1], trust_unit=True).report["notes"]
    assert "nowhere negative" in notes[0]


@pytest.mark.parametrize(("changes", "match"), [
    ({"slices": [2, 5]}, "within 0 to 3"), ({"region": [0, 60, 0, 10]}, "leaves the image"),
    ({"prior": "nobody", "methods": ["diffusion"]}, "no prior named"), ({"device": "abacus"}, "cannot be used"),
    ({"unknown": 1}, "unknown settings"),
])
def test_settings_that_do_not_fit_are_refused(small: Volume, changes: dict, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        reconstruct(small, {**CLASSICAL, **changes})


@pytest.fixture
def measured(small: Volume, monkeypatch: pytest.MonkeyPatch) -> Measurement:
    """The fan scan of a slice as if it came from a scanner; its grid is given, not searched."""
    rows, columns = small.array.shape[1:]
    monkeypatch.setattr(
        problem_module, "reconstruction_grid",
        lambda values, geometry, pixel: FieldOfView(ImageGrid(rows, columns, (8.0, 8.0)), 0.0, "The grid was given."),
    )
    settings = Settings.from_dict({**CLASSICAL, "views": 40, "geometry": "fan_flat"})
    return simulate(small.crop(slices=(1, 2)), settings, 1).measurement


def test_measured_data_are_reconstructed(measured: Measurement, small: Volume) -> None:
    result = reconstruct(measured, CLASSICAL)
    assert set(result.volumes) == {"fbp", "tv"}
    assert set(result.report["metrics"]["tv"]) == {"residual_ratio", "seconds"}
    assert all(t["passed"] for t in result.report["residual_tests"])
    assert "The grid was given." in result.report["notes"]
    found = result.volumes["tv"]
    np.testing.assert_allclose(np.diag(found.ijk_to_ras), [-8, -8, 10, 1])
    centre = found.ijk_to_ras @ [(found.array.shape[2] - 1) / 2, (found.array.shape[1] - 1) / 2, 0, 1]
    np.testing.assert_allclose(centre, [0, 0, 0, 1], atol=1e-9)
    truth = np.maximum(small.array[1], -1000)
    assert float(np.sqrt(np.mean((found.array[0] - truth) ** 2))) < 120


@pytest.mark.parametrize("wrong", ["reversed", "off centre", "other arc"])
def test_a_wrong_geometry_fails_its_residual_test(measured: Measurement, wrong: str) -> None:
    right = measured.geometry
    geometry = {
        "reversed": replace(right, angles_rad=right.angles_rad[::-1]),
        "off centre": replace(right, detector_offset_mm=40.0),
        "other arc": replace(right, angles_rad=tuple(0.7 * a for a in right.angles_rad)),
    }[wrong]
    report = reconstruct(replace(measured, geometry=geometry), CLASSICAL).report
    test = report["residual_tests"][-1]
    assert not test["passed"]
    assert test["ratio"] > test["accepted"][1]
    assert any("inconsistent with geometry" in note for note in report["notes"])


def test_noise_that_is_said_to_be_larger_than_it_is_fails_too(measured: Measurement) -> None:
    assert measured.variance is not None
    quiet = replace(measured, variance=measured.variance * 400)
    report = reconstruct(quiet, CLASSICAL, tv_iterations=300).report
    fbp = report["residual_tests"][0]
    assert fbp["ratio"] < 1


def test_an_unknown_noise_level_is_estimated_and_said(measured: Measurement) -> None:
    assert measured.variance is not None
    report = reconstruct(replace(measured, variance=None), CLASSICAL).report
    assert any("noise was estimated" in note for note in report["notes"])
    assert report["noise_std"] > 0


def test_measurements_that_contradict_themselves_are_refused(measured: Measurement) -> None:
    values = measured.values.copy()
    with pytest.raises(ValueError, match="39"):
        replace(measured, values=values[:, 1:])
    values[0, 3, 4] = np.inf
    with pytest.raises(ValueError, match="1 NaN or infinite readings"):
        replace(measured, values=values)
    with pytest.raises(ValueError, match="found 'photons'"):
        replace(measured, kind="photons")
    with pytest.raises(ValueError, match="the sinogram has 1"):
        reconstruct(measured, CLASSICAL, slices=[0, 2])


def test_the_scan_is_simulated_without_inverse_crime(small: Volume) -> None:
    """The data come from pixels twice as fine as the image's; the reference is their mean over 2 x 2."""
    settings = Settings.from_dict({**CLASSICAL, "pixel_mm": 16.0, "noise_percent": 0.2})
    problem = prepare(small, settings, torch.device("cpu"), None)
    expected = np.maximum(small.array, -1000).reshape(3, 20, 2, 24, 2).mean((2, 4))
    assert problem.reference is not None
    np.testing.assert_allclose(problem.reference, expected, rtol=1e-5, atol=1e-2)
    assert problem.delivered.grid.shape == (20, 24)
    std = problem.delivered.measured.variance.sqrt().flatten()
    assert std.shape == (3,)
    largest = problem.delivered.measured.data.amax((-2, -1))
    np.testing.assert_allclose(std.numpy(), 0.002 * largest.numpy(), rtol=0.02)
    # The reference itself leaves more than the noise: the discretisation is not that of the data.
    assert float(problem.residuals(problem.reference).mean()) > 1.2


def test_draws_are_delivered_only_when_asked_for(small: Volume) -> None:
    """Draws are delivered only when they are asked for."""
    settings = {"methods": ["diffusion"], "views": 8, "draws": 2, "steps": 2, "slices": [0, 1], "pixel_mm": 16.0}
    for keep, expected in (
        (["mean", "uncertainty"], {"mean", "uncertainty"}), (["residual"], {"residual"}),
        (["mean", "not_seen"], {"mean", "not_seen", "not_seen_share"}), (["draws"], {"draw_1", "draw_2"}),
    ):
        volumes = reconstruct(small, settings, keep=keep, device="cpu").volumes
        assert set(volumes) - {"fallback"} == {*expected, "reference"}


def test_an_object_beyond_the_field_of_view_is_said_and_gets_a_larger_grid(small: Volume) -> None:
    scan = simulate(small, Settings(views=48), 1).measurement
    cut = slice(scan.geometry.detector_count // 4, -(scan.geometry.detector_count // 4))
    values = np.ascontiguousarray(scan.values[:, :, cut])
    narrow = Measurement(values, replace(scan.geometry, detector_count=values.shape[2]), variance=scan.variance)
    problem = prepare(narrow, Settings(), torch.device("cpu"), None)
    assert problem.delivered.truncated
    width = problem.delivered.grid.columns * problem.delivered.grid.pixel_mm[1]
    assert width > 1.05 * values.shape[2] * narrow.geometry.detector_spacing_mm
    assert any("reaches beyond the field of view" in note for note in problem.notes)
    assert not prepare(scan, Settings(), torch.device("cpu"), None).delivered.truncated


def test_a_run_is_forecast_and_refused_where_it_cannot_fit(small: Volume, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = reconstruct(small, CLASSICAL).report["forecast"]
    assert plan["seconds"] > 0
    assert plan["memory_mb"] > 50
    monkeypatch.setattr("diffusion_engine.jobs.forecast.free_memory_mb", lambda: 60.0)
    with pytest.raises(ValueError, match="The job needs about"):
        reconstruct(small, CLASSICAL)


def test_what_cannot_fit_is_refused_before_the_scan_is_simulated(
    small: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    def simulated(*_: object) -> None:
        raise AssertionError("the scan was simulated")

    monkeypatch.setattr(problem_module, "simulate", simulated)
    with pytest.raises(AssertionError, match="was simulated"):
        reconstruct(small, CLASSICAL)
    monkeypatch.setattr("diffusion_engine.jobs.forecast.free_memory_mb", lambda: 60.0)
    with pytest.raises(ValueError, match=r"^The job needs about \d+ MB of memory, 54 MB can be used: "):
        reconstruct(small, CLASSICAL)

@pytest.mark.parametrize("coupling", ["ztv", "noise", "ztv+noise"])
def test_coupled_slices_are_another_result_and_the_same_one_again(small: Volume, coupling: str) -> None:
    settings = {"views": 12, "draws": 2, "steps": 3, "methods": ["diffusion"], "pixel_mm": 16.0, "keep": ["mean"]}
    alone = reconstruct(small, settings).volumes["mean"].array
    coupled, again = (reconstruct(small, settings, coupling=coupling).volumes["mean"].array for _ in range(2))
    np.testing.assert_array_equal(coupled, again)
    assert np.isfinite(coupled).all()
    assert np.abs(coupled - alone).max() > 1


def test_a_method_near_the_posterior_says_so_and_keeps_its_draws(small: Volume) -> None:
    settings = {"preset": "posterior", "draws": 2, "steps": 4, "views": 12, "slices": [0, 1], "pixel_mm": 16.0}
    result = reconstruct(small, settings, keep=["mean", "uncertainty", "draws"])
    # With room for what the network never saw the draws are not those of its posterior.
    assert result.report["spread"] == "concentrated"
    assert result.report["preset"] == "posterior"
    assert "narrower than the true error" in " ".join(result.report["notes"])
    asked = {**settings, "solver_options": {"broad_std": 0.0}}
    result = reconstruct(small, asked, keep=["mean", "uncertainty", "draws"])
    assert result.report["spread"] == "near-posterior"
    assert {"draw_1", "draw_2", "uncertainty"} <= set(result.volumes)
    notes = " ".join(result.report["notes"])
    assert "narrower than the true error" not in notes
    assert "spread of draws (TMPD): their mean and spread are near those of the posterior" in notes
    assert "missed the limits of the truth test where distinct anatomies fit the data" in notes


def test_neighbours_are_looked_at_where_there_are_any(small: Volume) -> None:
    """The same result again, another one than slices alone give; of a single slice there is nothing else to see."""
    settings = Settings(views=16, draws=1, steps=2, methods=("diffusion",), device="cpu", prior="ct-body-stack")
    seen, again = (reconstruct(small, settings, coupling="neighbours").volumes["mean"].array for _ in range(2))
    np.testing.assert_array_equal(seen, again)
    assert not np.allclose(seen, reconstruct(small, settings).volumes["mean"].array, atol=1.0)
    alone, single = (
        reconstruct(small, settings, coupling=name, slices=(1, 2)).volumes["mean"].array
        for name in ("none", "neighbours")
    )
    np.testing.assert_allclose(single, alone, atol=0.01)
    with pytest.raises(ValueError, match="ct-body sees a slice at a time"):
        reconstruct(small, settings, prior="ct-body", coupling="neighbours")
    with pytest.raises(ValueError, match="mmps cannot tie slices by their neighbours"):
        reconstruct(small, settings, solver="mmps", coupling="neighbours")


@pytest.mark.parametrize("source", [None, "ct.nrrd", np.zeros((1, 32, 32), np.float32)])
def test_a_source_that_is_none_is_named(source: object) -> None:
    with pytest.raises(ValueError, match=f"^expected a Volume or a Measurement, found {type(source).__name__}: read"):
        reconstruct(source, methods=["fbp"])
