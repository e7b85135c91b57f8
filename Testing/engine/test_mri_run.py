"""MRI through a run: samples to volumes, the rule for complex images, the residual test, what must not pass."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from diffusion_engine.__main__ import _parser
from diffusion_engine.commands.options import given_settings
from diffusion_engine.evaluation.contrast import lesions_for
from diffusion_engine.evaluation.evaluate import Item, evaluate
from diffusion_engine.evaluation.factors import errors_of
from diffusion_engine.likelihoods.conditional import SolveSettings
from diffusion_engine.modalities import table
from diffusion_engine.modalities.mri.grids import flipped_matrix
from diffusion_engine.modalities.mri.judge import judge
from diffusion_engine.modalities.mri.problem import prepare
from diffusion_engine.modalities.mri.question import question_mr
from diffusion_engine.modalities.mri.simulate import quadratic_phase, ring_of_coils
from diffusion_engine.modalities.mri.trust import body
from diffusion_engine.modalities.table import MODALITIES
from diffusion_engine.phantoms.brain import synthetic_brain
from diffusion_engine.phantoms.chest import synthetic_chest
from diffusion_engine.posterior.spread import Spread
from diffusion_engine.priors.adapter_card import SHIPPED
from diffusion_engine.priors.card import read_card
from diffusion_engine.priors.real_part import for_images
from diffusion_engine.run import draws as draws_module
from diffusion_engine.run.draws import diffusion_draws
from diffusion_engine.run.pipeline import Result, reconstruct
from diffusion_engine.run.presets import PRESETS
from diffusion_engine.run.settings import Settings
from diffusion_engine.run.surer import surer
from diffusion_engine.sampling.noise import Noise
from diffusion_engine.solvers.listing import listed_method, listed_methods
from diffusion_engine.volume import Volume
from mri_scans import as_measured, asked, errors, head, kspace, problem
from small_modalities import Shrinking
from stub_priors import stub_prior

MRI = MODALITIES["mri"]


@pytest.fixture
def exact(monkeypatch: pytest.MonkeyPatch) -> Shrinking:
    """Whatever prior is asked for is the exact one of white images, which knows pixels of any size."""
    card = replace(
        read_card(SHIPPED / "mr-head.json"), calibration=[], typicality={}, unit="a.u.", pixel_mm=(0.5, 8.0)
    )
    prior = Shrinking(card)
    for place in ("run.pipeline", "evaluation.evaluate"):
        monkeypatch.setattr(f"diffusion_engine.{place}.load_prior", lambda *given, **named: prior)
    return prior


def run(source: Any = None, **changes: Any) -> Result:
    settings = asked(**{"draws": 2, "steps": 4, "slab": 4, **changes})
    return reconstruct(head() if source is None else source, settings)


def mean_test(result: Result, kind: str = "mean") -> dict[str, Any]:
    return next(test for test in result.report["residual_tests"] if test["kind"] == kind)


def test_a_volume_runs_to_volumes_of_its_own_unit(exact: Shrinking) -> None:
    result = run(acceleration=1.5, noise_percent=0.5)
    volume = head()
    for key in ("zero-filled", "sense", "wavelet", "tv", "mean", "uncertainty", "not_seen", "residual", "reference"):
        assert result.volumes[key].array.dtype == np.float32, key
        assert result.volumes[key].array.shape == volume.array.shape, key
    assert errors(result.volumes["mean"].array, volume.array) < 0.12
    assert errors(result.volumes["wavelet"].array, volume.array) < 0.12
    assert result.report["metrics"]["diffusion"]["psnr"] > 25
    assert result.report["intensity"]["network_unit"] == pytest.approx(float(np.percentile(volume.array, 99)), rel=0.3)
    assert mean_test(result)["explains"]
    assert mean_test(result)["group"] == "line"
    assert len(mean_test(result)["further"]["coil"]) == 4
    assert any("Acquisition simulated" in note for note in result.report["notes"])


@pytest.mark.parametrize("turned", [False, True])
def test_the_phase_is_delivered_on_request(exact: Shrinking, turned: bool) -> None:
    """That of the mean with what was taken out of it, in radians, in the input's own order of axes."""
    volume = head()
    if turned:
        place = flipped_matrix(volume.ijk_to_ras[:, [1, 0, 2, 3]], (64, 64), (1,))
        volume = Volume(np.ascontiguousarray(volume.array.swapaxes(1, 2)[:, ::-1]), place, "a.u.")
    scan = {"acceleration": 1.0, "noise_percent": 0.05, "coils": 1, "phase_radians": 9.0, "keep": ("mean", "phase")}
    found = run(volume, **scan).volumes["phase"]
    assert found.unit == "rad"
    np.testing.assert_allclose(found.ijk_to_ras, volume.ijk_to_ras, atol=1e-9)
    off = np.exp(1j * (found.array[0] - quadratic_phase((64, 64), 9.0, 0).numpy()))[body(volume.array)[0]]
    assert float(np.abs(off - 1).mean()) < 0.03
    classical = run(volume, **scan, preset="classical")
    assert "mean" not in classical.volumes
    off = np.exp(1j * (classical.volumes["phase"].array - found.array))[body(volume.array)]
    assert float(np.abs(off - 1).mean()) < 0.05


def test_a_phase_is_asked_for_where_there_is_one() -> None:
    assert "phase" not in Settings(modality="mri").keep
    with pytest.raises(ValueError, match="expected no 'phase' in keep, as images of ct have none"):
        Settings(keep=("mean", "phase"))
    options = _parser().parse_args(["reconstruct", "--out", "x", "--modality", "mri", "--keep", "mean,phase"])
    assert Settings.from_dict(given_settings(options)).keep == ("mean", "phase")


def test_samples_from_a_file_run_without_a_reference(exact: Shrinking) -> None:
    result = run(as_measured(kspace()))
    assert "reference" not in result.volumes
    assert errors(result.volumes["mean"].array, head().array) < 0.5
    np.testing.assert_allclose(result.volumes["mean"].ijk_to_ras, head().ijk_to_ras, atol=1e-9)


def test_half_of_the_noise_in_the_real_part_and_a_shrunk_imaginary_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """The network sees the real part alone, at sigma / sqrt(2); the imaginary one shrinks by t^2 / (t^2 + s^2 / 2)."""
    prior = for_images(stub_prior(monkeypatch), 0.05)
    x = torch.complex(torch.full((2, 1, 8, 8), 3.0), torch.full((2, 1, 8, 8), -1.0)).requires_grad_()
    found = prior(x, torch.tensor(0.1))
    torch.testing.assert_close(found.real, x.real * 0.25 / (0.25 + 0.005))
    torch.testing.assert_close(found.imag, x.imag * 0.0025 / (0.0025 + 0.005))
    product, = torch.autograd.grad(found, x, 2j * torch.ones_like(x))
    torch.testing.assert_close(product, torch.full_like(x, 2j / 3))


def test_the_acquisition_s_imaginary_part_reaches_the_denoiser(
    exact: Shrinking, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[float | None] = []

    def wrapped(denoiser: Any, imaginary_std: float | None) -> Any:
        told.append(imaginary_std)
        return for_images(denoiser, imaginary_std)

    monkeypatch.setattr(draws_module, "for_images", wrapped)
    run(draws=1)
    assert set(told) == {problem().delivered.imaginary_std}


@pytest.mark.parametrize("pixels_mm", [(2.0, 2.4), (6.0, 8.0)])
def test_a_prior_of_other_pixels_runs(exact: Shrinking, monkeypatch: pytest.MonkeyPatch, pixels_mm: Any) -> None:
    """On a matrix of its own, finer or coarser; its simulated scan of the residual test too."""
    prior = replace(exact, card=replace(exact.card, pixel_mm=pixels_mm))
    monkeypatch.setattr("diffusion_engine.run.pipeline.load_prior", lambda *given, **named: prior)
    scan = {"acceleration": 1.5, "noise_percent": 0.5}
    result = run(as_measured(kspace(**scan)), **scan)
    low, high = pixels_mm
    assert low <= result.report["geometry"]["prior_pixel_mm"][0] <= high
    assert any("the result was resampled" in note for note in result.report["notes"])
    finer = high < 230 / 64
    assert errors(result.volumes["mean"].array, head().array) < (0.06 if finer else 0.4)
    assert mean_test(result)["passed"] == finer, "pixels that are too coarse cannot explain the data"


def test_data_of_another_matrix_are_brought_to_the_prior_s(exact: Shrinking) -> None:
    card = replace(exact.card, pixel_mm=(2.0, 2.4))
    ready = prepare(head(), asked(acceleration=2.0), torch.device("cpu"), card)
    assert not ready.one_grid
    again = ready.prior.with_data(ready.delivered.data)
    torch.testing.assert_close(again.data, ready.prior.data)


def test_usual_values_of_a_method_stand_for_its_defaults(exact: Shrinking, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of this modality alone, where none are given; the panel's table shows them as the defaults."""
    usual = MRI.usual["dds"]
    seen = []
    monkeypatch.setattr(draws_module, "method_named", _watched(seen))
    run(steps=None, draws=1)
    assert (seen[-1].steps, seen[-1].sigma_start, seen[-1].sigma_end) == (
        usual["steps"], usual["sigma_start"], usual["sigma_end"]
    )
    run(steps=3, sigma_start=0.5, solver_options={"sigma_end": 0.02}, draws=1)
    assert (seen[-1].steps, seen[-1].sigma_start, seen[-1].sigma_end) == (3, 0.5, 0.02)
    listed = listed_method("dds", "mri")
    assert {option.name: option.default for option in listed.options}["sigma_end"] == usual["sigma_end"]
    assert listed.steps == usual["steps"]
    assert listed_methods("ct")["dds"] == listed_methods()["dds"] != listed
    assert Settings(modality="mri", solver="tmpd").options == {}
    assert Settings(modality="mri").changed(solver="tmpd").solver_options == {}


def _watched(seen: list[Any]) -> Any:
    from diffusion_engine.solvers.catalogue import method_named

    def named(name: str) -> Any:
        method = method_named(name)

        def solve(denoiser: Any, likelihood: Any, start: Any, settings: Any, *rest: Any) -> Any:
            seen.append(settings)
            return method.solve(denoiser, likelihood, start, replace(settings, steps=2), *rest)

        return replace(method, solve=solve)

    return named


@pytest.mark.parametrize("name", ["standard", "posterior", "classical"])
def test_presets_serve_mri(name: str) -> None:
    settings = Settings(modality="mri", preset=name)
    assert settings.solver in (PRESETS[name].solver, "dds")
    if name == "classical":
        assert settings.methods == ("zero-filled", "sense", "tv", "wavelet")
        assert Settings(preset=name).methods == ("fbp", "tv")
    assert Settings.from_dict(settings.to_dict()) == settings


@pytest.mark.parametrize("solver", ["tmpd", "mmps"])
def test_draws_by_moment_matching_are_the_exact_posterior_s(exact: Shrinking, solver: str) -> None:
    """Re x ~ N(0, 0.25), Im x ~ N(0, t^2) where a coil sees it, else 0: their mean is C A' (V + A C A')^-1 y.

    One probe traces the covariance.
    """
    assert solver in listed_methods("mri")
    count, scan = 3, {"solver": solver, "steps": 60, "solver_options": {"sigma_max": 2.0}, "acs_lines": 8}
    scan["noise_percent"] = 10.0
    ready = problem(head(1, 24), acceleration=2.0, **scan)
    settings = asked(draws=count, acceleration=2.0, **scan)
    likelihood, spread = ready.prior.likelihood, ready.prior.imaginary_std
    assert spread is not None
    steps = diffusion_draws(ready, settings, exact, slice(0, 1), ready.prior.start())  # type: ignore[arg-type]
    draws = torch.cat([step.estimate for step in steps if step.finished])
    zero = torch.zeros_like(draws[:1])

    def covariance(v: torch.Tensor) -> torch.Tensor:
        return torch.complex(2 * 0.25 * v.real, 2 * spread**2 * v.imag) * likelihood.operator.support

    def estimate(data: torch.Tensor) -> torch.Tensor:
        solve = SolveSettings(products=3, tolerance=1e-5, inner_iterations=100, inner_tolerance=1e-5)
        return replace(likelihood, data=data).conditional_mean(zero, covariance, covariance, solve)

    mean, probe = estimate(likelihood.data), covariance(Noise(9).normal(zero))
    left = probe - estimate(likelihood.operator.forward(probe))
    variance = float((Noise(9).normal(zero).conj() * left).real.mean())
    assert float((draws - mean).abs().square().mean()) == pytest.approx(variance, rel=0.12)
    assert float((draws.mean(0) - mean).abs().square().mean()) == pytest.approx(variance / count, rel=0.25)


@pytest.mark.parametrize("solver", ["tmpd", "mmps"])
def test_methods_of_the_posterior_run_to_volumes_that_explain_the_data(exact: Shrinking, solver: str) -> None:
    result = run(head(1, 32), solver=solver, steps=8, solver_options={"sigma_max": 8.0}, acs_lines=10, acceleration=2.0,
                 methods=("zero-filled", "diffusion"))
    assert mean_test(result)["explains"]
    inside = head(1, 32).array > 0.2 * head(1, 32).array.max()
    assert result.volumes["uncertainty"].array[inside].min() > 0


def test_rows_of_an_evaluation(exact: Shrinking, monkeypatch: pytest.MonkeyPatch) -> None:
    assert MRI.cases.fixed == {"matrix": 256, "field_mm": 230.4}
    small = replace(MRI, cases=replace(MRI.cases, fixed={"matrix": 64, "field_mm": 230.0}))
    monkeypatch.setattr(table, "MODALITIES", {**MODALITIES, "mri": small})
    methods = ["zero-filled", "wavelet-oracle", "dds"]
    settings = asked(draws=2, steps=3)
    rows = list(evaluate([Item("head", head(2, 48), (3, 5))], [{"acceleration": 2.0}], methods, settings))
    assert [row["method"] for row in rows] == [
        name for name in ("zero-filled", "wavelet-oracle", "dds-draw", "dds") for _ in range(2)
    ]
    for row in rows:
        assert row["acceleration"] == 2.0
        assert 0 < row["nrmse"] < 1
        assert 5 < row["psnr"] < 60
        assert 0 < row["ssim"] <= 1
    best = {row["method"]: row["nrmse"] for row in rows}
    assert best["wavelet-oracle"] < best["zero-filled"]
    assert all(row["weight_is_inside"] for row in rows if row["method"] == "wavelet-oracle")


def test_every_method_that_is_offered_has_its_row(exact: Shrinking, monkeypatch: pytest.MonkeyPatch) -> None:
    """All but the one that adapts the prior's network: here there is none."""
    small = replace(MRI, cases=replace(MRI.cases, fixed={"matrix": 32, "field_mm": 230.0}))
    monkeypatch.setattr(table, "MODALITIES", {**MODALITIES, "mri": small})
    methods = [name for name in listed_methods("mri") if name != "scd"]
    assert {"dds", "tmpd", "mmps", "score_mri", "csgm", "ilvr", "r2d2"} <= set(methods)
    item, settings = Item("head", head(1, 32), (3,)), asked(draws=1, steps=2, acs_lines=10)
    rows = list(evaluate([item], [{"acceleration": 2.0}], methods, settings, lesions=False))
    assert [row["method"] for row in rows] == [label for name in methods for label in (f"{name}-draw", name)]
    assert all(np.isfinite(row["nrmse"]) for row in rows)


def test_usual_options_decide_whether_there_is_a_pull() -> None:
    """The usual settings of MRI leave the prior no room for what it missed, those of CT do."""
    assert surer(Settings(modality="mri", draws=2)) is None
    assert surer(Settings(modality="ct", draws=2)) is not None
    assert surer(Settings(modality="mri", draws=2, solver_options={"broad_std": 0.01})) is not None


def test_lesions_outside_of_the_field_of_view_are_none() -> None:
    """The acquisition shows a part of the volume; of a lesion beyond nothing could be read."""
    wide = Volume(np.full((1, 160, 160), 300.0, np.float32), np.diag([1.0, 1.0, 5.0, 1.0]), "a.u.")
    wide.array[:, 140:148] = 500
    inside = wide.crop(rows=(0, 60))
    every, some = (lesions_for(wide, [(0, 0)], MRI, 3, frame) for frame in (wide, inside))
    assert len(every) == 4
    assert 0 < len(some) < 4
    assert set(some) <= set(every)
    assert {round(abs(lesion.contrast)) for lesion in every} == {45}


def test_errors_of_a_calibration_are_in_network_units(exact: Shrinking) -> None:
    ready, settings = problem(head(1, 48)), asked(draws=2, steps=3)
    found = errors_of(ready, None, settings, exact, slice(0, 1))
    large = problem(Volume(head(1, 48).array * 50, head(1, 48).ijk_to_ras, "a.u."))
    again = errors_of(large, None, settings, exact, slice(0, 1))
    for name in ("error", "std", "width", "value"):
        np.testing.assert_allclose(getattr(again, name), getattr(found, name), atol=1e-3)
    assert float(np.abs(found.error).max()) < 2


def test_floor_of_a_calibrated_spread_counts_in_network_units() -> None:
    entry = {"factor": 2.0, "floor": 0.01}
    wide = Spread(np.ones((1, 9, 9)), 2, np.zeros((1, 9, 9)), unit=50.0)
    np.testing.assert_allclose(wide.calibrated(entry, ()), 2.0)
    np.testing.assert_allclose(replace(wide, std=np.zeros((1, 9, 9))).calibrated(entry, ()), 1.0)
    bright = replace(wide, mean=np.full((1, 9, 9), 60.0))
    classes = (("dark", -1.0, 1.0), ("bright", 1.0, 2.0))
    np.testing.assert_allclose(bright.calibrated({**entry, "factors": {"bright": 3.0}}, classes), 3.0)


# What must not pass.


def test_wrong_maps_do_not_explain_the_data(exact: Shrinking) -> None:
    """Given maps whose coils are exchanged, or whose rows and columns are."""
    right = ring_of_coils(4, (64, 64)).numpy()
    samples = kspace(acceleration=2.0)
    assert mean_test(run(as_measured(samples, maps=right[None])))["explains"]
    for wrong in (right[::-1].copy(), right.swapaxes(1, 2).copy()):
        test = mean_test(run(as_measured(samples, maps=wrong[None])))
        assert not test["explains"]
        assert not test["passed"]


def test_a_line_that_moved_is_found(exact: Shrinking) -> None:
    """The patient moved while one strong line was read: its phase is another one."""
    samples = kspace(acceleration=2.0)
    values = samples.values.copy()
    lines = np.flatnonzero(samples.mask[0].any(1))
    moved = int(lines[np.argmin(np.abs(lines - 35))])
    values[:, :, moved] *= np.exp(1j * (1.5 + 0.2 * np.arange(64))).astype(np.complex64)
    given = as_measured(replace(samples, values=values), maps=ring_of_coils(4, (64, 64)).numpy()[None])
    test = mean_test(run(given))
    assert not test["passed"]
    assert lines[int(np.argmax(test["per_view"]))] == moved


def test_zero_filled_data_given_as_full_are_refused() -> None:
    samples = kspace(acceleration=3.0)
    with pytest.raises(ValueError, match="filled"):
        problem(as_measured(samples, mask=np.ones_like(samples.mask)))
    # Filled up and interpolated since, so that what was filled holds rounding errors.
    rng = np.random.default_rng(0)
    filled = samples.values + 1e-3 * rng.standard_normal(samples.values.shape).astype(np.complex64)
    for known in (samples.noise_covariance, None):
        given = as_measured(samples, values=filled, mask=np.ones_like(samples.mask), noise_covariance=known)
        with pytest.raises(ValueError, match="accelerated already"):
            judge(given)
        assert judge(as_measured(samples, noise_covariance=known)) == ()


def test_a_mask_that_does_not_match_is_refused() -> None:
    samples = kspace(acceleration=3.0)
    with pytest.raises(ValueError, match="mask"):
        problem(as_measured(samples, mask=np.roll(samples.mask, 1, 1)))


def test_nan_is_refused() -> None:
    samples = kspace()
    values = samples.values.copy()
    values[0, 0, 32, 32] = np.nan
    with pytest.raises(ValueError, match="finite"):
        as_measured(samples, values=values)
    broken = head()
    broken.array[0, 3, 3] = np.nan
    with pytest.raises(ValueError, match="finite voxels"):
        problem(broken)


def test_axes_exchanged_are_refused() -> None:
    volume = head()
    samples = kspace(volume.crop(rows=(2, 60)))
    with pytest.raises(ValueError, match="exchange its rows and columns"):
        as_measured(samples, mask=samples.mask.swapaxes(1, 2))
    with pytest.raises(ValueError, match="exchange its rows and columns"):
        as_measured(samples, maps=ring_of_coils(4, (64, 58)).numpy()[None])


def test_no_maps_and_no_middle_ask_for_maps() -> None:
    samples = kspace(acs_lines=4, acceleration=4.0)
    with pytest.raises(ValueError, match="give the maps or a calibration scan"):
        problem(as_measured(samples))


def test_pixels_that_are_not_known_are_asked_for() -> None:
    samples = as_measured(kspace(), pixel_mm=None, ijk_to_ras=None)
    with pytest.raises(ValueError, match="give pixel_mm"):
        problem(samples)
    ready = problem(samples, pixel_mm=2.0)
    assert ready.delivered.grid.pixel_mm == pytest.approx((2.0, 2.0))
    assert any("where in the patient" in note for note in ready.notes)


@pytest.mark.parametrize("size", [63, 65])
def test_odd_sizes_work(size: int) -> None:
    volume = head(1, size)
    ready = problem(volume, acceleration=1.0, noise_percent=0.01)
    image = ready.scale.from_network(ready.delivered.start()).numpy()
    assert errors(image, volume.array) < 0.05


def test_images_that_are_too_small_are_refused() -> None:
    with pytest.raises(ValueError, match="too few to scan"):
        problem(head(1, 12))


def test_other_images_posing_as_mr_are_questioned() -> None:
    chest, _ = synthetic_chest((1, 48, 48), (10.0, 7.0, 7.0))
    ct = Volume(chest.array, chest.ijk_to_ras, "a.u.")
    assert "CT in HU" in (question_mr(ct) or "")
    assert "HU" in (question_mr(chest) or "")
    uptake = np.abs(np.random.default_rng(0).normal(0.3, 0.1, (4, 40, 40))).astype(np.float32)
    uptake[:, 10:12, 10:12] = 2.0
    pet = Volume(uptake, np.diag([-4.0, -4.0, 4.0, 1.0]), "a.u.")
    assert "PET" in (question_mr(pet) or "")
    labels = Volume((head().array > 300).astype(np.uint8), head().ijk_to_ras, "a.u.")
    assert "labels" in (question_mr(labels) or "")
    assert "no signal" in (question_mr(Volume(np.zeros((1, 9, 9)), np.eye(4), "a.u.")) or "")
    assert question_mr(head()) is None
    assert question_mr(synthetic_brain((3, 96, 96), (20.0, 2.4, 2.4))[0]) is None
    with pytest.raises(ValueError, match="trust_unit"):
        problem(ct)


def test_an_interpolated_volume_is_told() -> None:
    volume = head(1, 48)
    spectrum = np.fft.fftshift(np.fft.fft2(volume.array[0]))
    wide = np.pad(spectrum, 24)
    image = np.abs(np.fft.ifft2(np.fft.ifftshift(wide))).astype(np.float32)[None]
    place = volume.ijk_to_ras @ np.diag([0.5, 0.5, 1, 1])
    assert any("interpolated" in note for note in problem(Volume(image, place, "a.u.")).notes)
    assert not any("interpolated" in note for note in problem(volume).notes)


def test_a_brain_is_the_same_on_every_grid() -> None:
    fine, masks = synthetic_brain((1, 96, 96), (5.0, 2.4, 2.4))
    coarse, _ = synthetic_brain((1, 48, 48), (5.0, 4.8, 4.8))
    binned = fine.bin_in_plane(2)
    inside = binned.array > 100
    assert float(np.abs(binned.array - coarse.array)[inside].mean()) < 0.1 * float(binned.array[inside].mean())
    assert masks["lesion"].sum() > 0
    assert masks["brain"].sum() > masks["white"].sum() > masks["fluid"].sum()
    np.testing.assert_array_equal(synthetic_brain((1, 48, 48), (5.0, 4.8, 4.8))[0].array, coarse.array)
    with pytest.raises(ValueError, match="spacing"):
        synthetic_brain((1, 8, 8), (1.0, 0.0, 1.0))
