"""Coverage, the conformal factor, which acquisition it is for, and the command that writes it into a card."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from diffusion_engine.__main__ import main
from diffusion_engine.evaluation import calibrate
from diffusion_engine.evaluation.calibrate import chosen_volumes
from diffusion_engine.evaluation.factors import Errors, gain_of, make_entry
from diffusion_engine.io.images import write_volume
from diffusion_engine.likelihoods.gaussian import GaussianLikelihood
from diffusion_engine.modalities.ct.fingerprint import CTFingerprint
from diffusion_engine.modalities.ct.system import CTSystem
from diffusion_engine.modalities.ct.trust import FLOOR_HU, TRUST, body
from diffusion_engine.modalities.table import MODALITIES
from diffusion_engine.phantoms import synthetic_chest
from diffusion_engine.physics.ct import CTGeometry
from diffusion_engine.physics.grid import ImageGrid
from diffusion_engine.posterior import calibration as rule
from diffusion_engine.posterior.spread import PULL, SMOOTHING, Spread, smoothed
from diffusion_engine.priors.card import read_card, sha256
from diffusion_engine.priors.library import PRIORS_FOLDER, load_prior
from diffusion_engine.run.draws import options_of
from diffusion_engine.run.pipeline import reconstruct
from diffusion_engine.run.settings import Settings
from diffusion_engine.solvers.dds import DDSSettings
from stub_priors import stub_prior


def drawn(draws: int, narrow: float, voxels: int = 100_000, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Error of the mean and spread of ``draws`` that are ``narrow`` times as wide as the truth's distribution."""
    rng = np.random.default_rng(seed)
    width = rng.uniform(20, 80, voxels)
    values = rng.normal(size=(draws, voxels)) * width * narrow
    # The truth is one more value of the full width around the same centre.
    return values.mean(0) - rng.normal(size=voxels) * width, values.std(0, ddof=1)


def errors(error: np.ndarray, std: np.ndarray, **changes: object) -> Errors:
    """Errors of soft tissue whose width is the spread itself."""
    nothing = np.zeros(error.shape)
    return replace(Errors(error, std, np.maximum(std, FLOOR_HU), nothing, nothing, np.zeros((0, 2))), **changes)


@pytest.mark.parametrize("draws", [2, 4, 16])
def test_draws_of_the_true_distribution_are_calibrated(draws: int) -> None:
    error, std = drawn(draws, 1.0)
    assert rule.coverage(error, std, draws) == pytest.approx(0.9, abs=0.005)
    assert rule.calibration_error(error, std, draws) < 0.01
    # Two draws often agree by chance; the floor would act on them.
    assert rule.conformal_factor(error, std, draws, 1e-6) == pytest.approx(1.0, abs=0.04)


@pytest.mark.parametrize("narrow", [0.3, 2.0])
def test_the_factor_mends_a_wrong_width(narrow: float) -> None:
    error, std = drawn(8, narrow)
    assert abs(rule.coverage(error, std, 8) - 0.9) > 0.05
    factor = rule.conformal_factor(error, std, 8, FLOOR_HU)
    fresh_error, fresh_std = drawn(8, narrow, seed=1)
    fresh = Spread(np.full((1, 250, 400), fresh_std.mean()), 8, np.zeros((1, 250, 400)))
    wide = fresh.calibrated({"factor": factor, "floor": FLOOR_HU}, TRUST.classes)
    np.testing.assert_allclose(wide, factor * fresh_std.mean(), rtol=1e-6)
    assert rule.coverage(fresh_error, factor * np.maximum(fresh_std, FLOOR_HU), 8) == pytest.approx(0.9, abs=0.01)
    assert (factor > 1) == (narrow < 1)


def test_the_factor_is_the_finite_sample_quantile() -> None:
    """Of nine scores the 90 % quantile is the largest, k = ceil(10 * 0.9); eight are too few."""
    scale = rule.spread_factor(4)
    error = np.arange(1.0, 10.0) * scale * 10
    assert rule.conformal_factor(error, np.full(9, 10.0), 4, FLOOR_HU) == pytest.approx(9.0)
    assert rule.conformal_factor(error, np.zeros(9), 4, 5.0) == pytest.approx(18.0)
    with pytest.raises(ValueError, match="more than 9 voxels"):
        rule.conformal_factor(error[:8], np.full(8, 10.0), 4, FLOOR_HU)


def entry(**changes: object) -> dict:
    return {
        "geometry": "parallel", "views": 20, "arc_degrees": 180.0, "noise_percent": 0.2, "solver": "dds", "steps": 30,
        "draws": 4, "slices": 6, "factor": 2.0, "floor": 2.0, "coverage90": 0.6, "coverage90_calibrated": 0.89,
        **changes,
    }


@pytest.mark.parametrize(("changes", "fits"), [
    ({}, True), ({"views": 25}, True), ({"views": 26}, False), ({"views": 14}, False), ({"solver": "other"}, False),
    ({"steps": 10}, False), ({"options": {"prior_variance": 4.0}}, False), ({"options": {}}, True),
    ({"geometry": "fan_flat"}, False), ({"noise_percent": 0.39}, True), ({"noise_percent": 0.41}, False),
    ({"noise_percent": 0.09}, False), ({"arc_degrees": 60.0}, False), ({"arc_degrees": 190.0}, True),
    ({"draws": 3}, False), ({"draws": 8}, False), ({"largest_gap_degrees": 9.0}, True),
    ({"largest_gap_degrees": 17.9}, True), ({"largest_gap_degrees": 19.0}, False), ({"noise_range": 1.04}, True),
    ({"noise_range": 1.9}, False), ({"resampled": True}, False), ({"truncated": True}, False),
    ({"scatter_percent": 5.0}, False), ({"beam_hardening": True}, False),
])
def test_the_rule_of_matching(changes: dict, fits: bool) -> None:
    asked = rule.acquisition_in(entry(**changes), TRUST)
    found = rule.matching_entry([entry()], asked, TRUST)
    assert (found.entry is not None) == fits
    assert found.to_dict()["matched"] == fits
    assert found.to_dict()["factor"] == (2.0 if fits else 1.0)
    doubted = rule.matching_entry([entry()], asked, TRUST, "the image is unlike")
    assert doubted.entry is None
    assert doubted.sentence == "The spread is not calibrated: the image is unlike."


def measured(
    angles: np.ndarray, kind: str = "parallel", variance: torch.Tensor | None = None
) -> rule.Acquisition:
    """What a calibration needs to know of a scan with these view angles (degrees)."""
    distances = (570.0, 1040.0) if kind != "parallel" else ()
    geometry = CTGeometry(kind, tuple(np.radians(angles)), 4, 1.0, 0.0, *distances)
    data = torch.full((1, len(angles), 4), 5.0)
    rays = SimpleNamespace(out_shape=tuple(data.shape[1:]))
    likelihood = GaussianLikelihood(rays, data, torch.tensor(1e-4) if variance is None else variance)
    system = CTSystem(geometry, ImageGrid(4, 4, (1.0, 1.0)), likelihood, 0.0193)
    problem = SimpleNamespace(delivered=system, prior=system)
    return rule.Acquisition(CTFingerprint.of(problem), "dds", 30, draws=4)


@pytest.mark.parametrize(("angles", "arc", "gap", "fits"), [
    (np.arange(60) * 3.0, 180, 3, True),
    (np.arange(60) * 3.0 - 720, 180, 3, True),  # wrapped
    (np.arange(60) * 6.0, 180, 6, False),  # a turn of parallel beams: every line twice
    (np.arange(120) * 3.0, 180, 3, True),
    (np.arange(60) * 111.246, 180, 3.83, True),  # golden angle
    (np.arange(60) * 1.0, 60, 121, False),  # a limited arc
    (np.r_[np.arange(30) * 0.5, 165 + np.arange(30) * 0.5], 30, 150.5, False),  # one arc across the ends
    (np.r_[np.arange(50) * 3.0, 150 + np.arange(10) * 0.5], 158, 25.5, False),  # dense here, unseen there
    (np.r_[np.arange(55) * 3.0, 165 + np.arange(5) * 0.5], 170, 13, False),  # nearly the whole arc, but for one gap
])
def test_the_arc_is_what_the_views_have_seen(angles: np.ndarray, arc: float, gap: float, fits: bool) -> None:
    asked = measured(angles)
    assert asked.scan.arc_degrees == pytest.approx(arc, rel=0.02)
    assert asked.scan.gap_degrees == pytest.approx(gap, rel=0.02)
    made = entry(views=60, options={}, noise_percent=0.2)
    assert (rule.matching_entry([made], asked, TRUST).entry is not None) == fits


def test_a_limited_scan_may_have_its_own_calibration() -> None:
    """An entry without a gap had evenly spaced views."""
    asked = measured(np.arange(60) * 1.0)
    made = entry(views=60, arc_degrees=60.0, options={})
    assert rule.acquisition_in(made, TRUST).scan.gap_degrees == pytest.approx(121)
    assert rule.matching_entry([made], asked, TRUST).entry == made
    fan = entry(views=60, arc_degrees=360.0, geometry="fan_flat", options={})
    assert rule.matching_entry([fan], measured(np.arange(60) * 6.0, "fan_flat"), TRUST).entry == fan


def test_the_noise_is_that_of_all_readings_that_count() -> None:
    variance = torch.full((1, 60, 4), 1e-4)
    assert measured(np.arange(60) * 3.0, variance=variance).scan.noise_percent == pytest.approx(0.2)
    assert measured(np.arange(60) * 3.0, variance=variance).scan.noise_range == pytest.approx(1)
    variance[0, 0] = 1e-8
    assert measured(np.arange(60) * 3.0, variance=variance).scan.noise_percent == pytest.approx(0.2, rel=0.01)
    variance[0, :, 3] = torch.inf
    assert measured(np.arange(60) * 3.0, variance=variance).scan.noise_percent == pytest.approx(0.2, rel=0.01)
    variance[0, :, :2] = 1e-2
    uneven = measured(np.arange(60) * 3.0, variance=variance)
    assert uneven.scan.noise_range == pytest.approx(10, rel=0.01)
    made = entry(views=60, options={}, noise_percent=uneven.scan.noise_percent)
    assert rule.matching_entry([made], uneven, TRUST).entry is None


@pytest.mark.parametrize(("changes", "other"), [
    ({}, False), ({"factor": 3.0, "slices": 2}, False), ({"draws": 8}, True), ({"coupling": "none"}, False),
    ({"steps": 10}, True), ({"coupling": "noise"}, True), ({"solver": "tmpd"}, True), ({"geometry": "fan_flat"}, True),
    ({"views": 21}, True), ({"arc_degrees": 170.0}, True), ({"noise_percent": 0.3}, True),
    ({"options": {"eta": 0.5}}, True),
    ({"largest_gap_degrees": 20.0}, True),
])
def test_an_entry_replaces_only_one_of_the_same_acquisition(changes: dict, other: bool) -> None:
    old, beside, made = entry(), entry(views=60), entry(**changes)
    assert rule.with_entry([old, beside], made, TRUST) == ([old, beside, made] if other else [beside, made])


def test_an_entry_is_that_of_its_acquisition() -> None:
    acquisition = rule.Acquisition(
        CTFingerprint("parallel", 20, 180.0, 0.2, largest_gap_degrees=9.0), "dds", 30, "noise", draws=4
    )
    made = make_entry([errors(*drawn(4, 0.5, 2000))], acquisition, TRUST, 6)
    assert rule.acquisition_in(made, TRUST) == acquisition
    assert rule.matching_entry([made], acquisition, TRUST).entry == made
    older = {k: v for k, v in made.items() if k not in ("steps", "coupling")}
    assert rule.acquisition_in(older, TRUST).coupling == "none"


def test_all_options_count_the_defaults_too() -> None:
    """An entry of a version with another default, or without an option, is not that of a run of this one."""
    prior = load_prior("ct-body")
    usual = options_of(Settings(), prior)
    assert usual.items() <= asdict(DDSSettings()).items()
    assert {"eta", "prior_variance", "local_variance"} <= set(usual)
    assert "steps" not in usual
    assert options_of(Settings(solver_options={"eta": 1.0}), prior) == usual
    own = options_of(Settings(solver_options={"eta": 0.5}), prior)
    assert own == {**usual, "eta": 0.5}
    made = entry(options=own)
    lacking = {name: value for name, value in own.items() if name != "local_variance"}
    others = [entry(), entry(options=usual), entry(options=lacking), entry(options={**own, "local_variance": False})]
    asked = rule.Acquisition(CTFingerprint("parallel", 20, 180.0, 0.2), "dds", 30, options=own, draws=4)
    assert rule.matching_entry([*others, made], asked, TRUST).entry == made
    assert rule.matching_entry(others, asked, TRUST).entry is None


def test_options_that_a_prior_was_taught_with_are_its_defaults() -> None:
    found = options_of(Settings(solver="consistency"), load_prior("ct-body-few"))
    assert found["sigma_end"] == 0.014
    assert "method" not in found


def test_shipped_calibrations_are_of_todays_options() -> None:
    for name, preset in (("ct-body", "standard"), ("ct-body-medium", "few-views"), ("ct-body-few", "fast")):
        settings, prior = Settings.from_dict({"preset": preset}), load_prior(name)
        asked = rule.Acquisition(
            CTFingerprint("parallel", 20, 180.0, 0.2), settings.solver, settings.steps, settings.coupling,
            options_of(settings, prior), draws=settings.draws,
        )
        assert rule.matching_entry(prior.card.calibration, asked, TRUST).entry is not None, preset


def test_the_factor_is_interpolated_between_numbers_of_views() -> None:
    """In the logarithm of the views and of the factor: half way between 20 and 45 lie 30, between 1 and 4 lies 2."""
    made = [entry(views=45, factor=1.0, factors={"a": 2.0, "b": 1.0}, coverage90_calibrated=0.8),
            entry(factor=4.0, factors={"a": 8.0})]
    for views, factor in ((20, 4.0), (30, 2.0), (45, 1.0)):
        asked = rule.Acquisition(CTFingerprint("parallel", views, 180.0, 0.2), "dds", 30, draws=4)
        found = rule.matching_entry(made, asked, TRUST)
        assert found.to_dict()["factor"] == pytest.approx(factor)
    asked = rule.Acquisition(CTFingerprint("parallel", 30, 180.0, 0.2), "dds", 30, draws=4)
    found = rule.matching_entry(made, asked, TRUST)
    assert found.entry is not None
    assert found.entry["factors"] == {"a": pytest.approx(4.0)}
    assert "12 held-out slices scanned with 45 views and with 20 views" in found.sentence
    assert "60 % of the body's voxels before and 80 % after" in found.sentence
    # Beyond the last one a quarter more is allowed, and no more; other noise is not between.
    for views, noise, known in ((16, 0.2, True), (14, 0.2, False), (56, 0.2, True), (57, 0.2, False), (30, 0.5, False)):
        asked = rule.Acquisition(CTFingerprint("parallel", views, 180.0, noise), "dds", 30, draws=4)
        assert (rule.matching_entry(made, asked, TRUST).entry is not None) == known, (views, noise)


def test_the_width_knows_where_the_data_pull() -> None:
    """A pull of 5 everywhere and draws without spread: hypot(floor, 8 * 5 / k); smoothing keeps what is even."""
    shape = (2, 12, 12)
    flat = Spread(np.zeros(shape), 4, np.zeros(shape), np.full(shape, 5.0))
    np.testing.assert_allclose(flat.width(3.0), np.hypot(3.0, PULL * 5 / rule.spread_factor(4)))
    np.testing.assert_allclose(Spread(np.full(shape, 7.0), 4, np.zeros(shape)).width(3.0), 7.0)
    np.testing.assert_allclose(flat.moved(0.5).mean, 2.5)
    assert flat.moved(0.0) is flat
    point = np.zeros((1, 41, 41))
    point[0, 20, 20] = 1.0
    apart = np.arange(41) - 20
    wide = smoothed(point)[0]
    assert float((wide * apart**2).sum()) == pytest.approx(SMOOTHING**2, rel=0.02)
    # Slices are not mixed.
    assert not smoothed(np.concatenate([point, 0 * point]))[1].any()


def test_classes_of_tissue_have_factors_of_their_own() -> None:
    mean = np.array([[[-900.0, 40.0, 150.0]]])
    entry_ = {"factor": 1.0, "factors": {"air and lung": 2.0, "bone and contrast": 3.0}, "floor": 10.0}
    np.testing.assert_allclose(Spread(0 * mean, 4, mean).calibrated(entry_, TRUST.classes), [[[20.0, 10.0, 30.0]]])
    with pytest.raises(ValueError, match="pull of the data"):
        Spread(0 * mean, 4, mean).calibrated({**entry_, "pull": True}, TRUST.classes)
    rng = np.random.default_rng(0)
    value = np.where(np.arange(4000) < 2000, -900.0, 40.0)
    error = rng.normal(size=4000) * np.where(value < 0, 3.0, 1.0) * 20
    acquisition = rule.Acquisition(CTFingerprint("parallel", 20, 180.0, 0.2), "dds", 30, draws=4)
    found = make_entry([errors(error, np.full(4000, 20.0), value=value)], acquisition, TRUST, 1)
    assert found["factors"]["air and lung"] == pytest.approx(3 * found["factors"]["soft tissue"], rel=0.1)
    assert "bone and contrast" not in found["factors"]
    assert found["coverage90_by_class"] == pytest.approx({"air and lung": 0.9, "soft tissue": 0.9}, abs=0.01)


def test_the_gain_brings_lesions_back_without_much_noise() -> None:
    """Lesions of which 0.4 is kept, and the pull 0.3: a gain of 2, unless it costs more than 0.2 dB."""
    rng = np.random.default_rng(0)
    error, away = rng.normal(size=10_000) * 20, rng.normal(size=10_000)
    lesions = np.array([[0.4, 0.3], [0.4, 0.3]])
    still = errors(error, np.full(10_000, 20.0), lesions=lesions)
    assert gain_of(replace(still, away=away)) == 2.0
    loud = gain_of(replace(still, away=4 * away))
    assert 0 < loud < 2
    assert 10 * np.log10(np.mean((error + loud * 4 * away) ** 2) / np.mean(error**2)) <= 0.2
    assert gain_of(replace(still, lesions=np.zeros((0, 2)), away=away)) == 0
    acquisition = rule.Acquisition(CTFingerprint("parallel", 20, 180.0, 0.2), "dds", 30, draws=4)
    found = make_entry([replace(still, away=away, pull=True)], acquisition, TRUST, 1)
    assert (found["gain"], found["contrast_kept"], found["pull"]) == (2.0, 1.0, True)


def test_the_coverage_after_is_of_volumes_that_the_factor_has_not_seen() -> None:
    parts = [drawn(4, 0.5, 20_000, seed=1), drawn(4, 0.25, 20_000, seed=2)]
    acquisition = rule.Acquisition(CTFingerprint("parallel", 20, 180.0, 0.2), "dds", 30, draws=4)
    made = make_entry([errors(*part) for part in parts], acquisition, TRUST, 6)
    wide, close = (rule.conformal_factor(*part, 4, FLOOR_HU) for part in parts)
    crossed = [
        rule.coverage(parts[0][0], close * np.maximum(parts[0][1], 2), 4),
        rule.coverage(parts[1][0], wide * np.maximum(parts[1][1], 2), 4),
    ]
    assert made["coverage90_calibrated"] == pytest.approx(np.mean(crossed), abs=1e-4)
    assert wide < made["factor"] < close
    assert made["coverage90"] < 0.8
    assert made["calibration_error_calibrated"] < made["calibration_error"]


def test_correlation_and_body() -> None:
    std = np.array([1.0, 2.0, 3.0])
    assert rule.error_spread_correlation(-2 * std, std) == pytest.approx(1.0)
    assert rule.error_spread_correlation(std, np.ones(3)) is None
    chest = synthetic_chest((1, 64, 64), (10.0, 6.0, 6.0))[0].array
    inside = body(chest)
    assert not inside[0, 0].any()
    assert inside[0, 32, 32]
    # Lungs belong to the body: most of what is inside it and as thin as air is kept.
    lung = (chest < -700) & inside
    assert 0.05 < lung.mean() < 0.6


@pytest.mark.slow
def test_the_command_writes_factors_and_typicality_into_the_card(tmp_path: Path) -> None:
    data = tmp_path / "data"
    names = ["a", "b", "c", "d"]
    for n, name in enumerate(names):
        (data / name).mkdir(parents=True)
        volume = synthetic_chest((1, 32, 32), (30.0, 12.0, 12.0))[0]
        # Other people: a little wider or denser each.
        array = np.where(volume.array > -900, volume.array + 15 * n, volume.array)
        write_volume(volume.with_array(array.astype(np.float32)), data / name / "ct.nrrd")
    content = json.loads((PRIORS_FOLDER / "ct-body.json").read_text(encoding="utf-8"))
    content.update(data=[{"name": name} for name in names[:3]], held_out=["d"], calibration=[], typicality={})
    shutil.copy(PRIORS_FOLDER / content["weights"], tmp_path)
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    shared = ["calibrate", "--prior", str(path), "--data", str(data), "--device", "cpu"]
    assert main([*shared, "--slices", "1", "--draws", "2", "--steps", "2"]) == 0
    card = read_card(path)
    assert [(e["geometry"], e["views"]) for e in card.calibration] == [
        ("parallel", 60), ("parallel", 20), ("parallel", 8), ("fan_flat", 60)
    ]
    for made in card.calibration:
        assert made["noise_percent"] == pytest.approx(0.2, rel=0.05)
        assert made["factor"] > 0
        assert 0 <= made["coverage90"] <= 1
        # A single held-out volume is covered by its own factor.
        assert made["coverage90_calibrated"] == pytest.approx(0.9, abs=0.01)
    assert card.typicality["volumes"] == 3
    assert math.isfinite(card.typicality["threshold"])
    assert card.sha256 == sha256(tmp_path / content["weights"])
    # The same acquisitions with another number of steps are further entries; made again, they replace their own.
    few = [*shared, "--part", "factors", "--slices", "1", "--draws", "2"]
    for _ in range(2):
        assert main([*few, "--steps", "3"]) == 0
        found = read_card(path).calibration
        assert found[:4] == card.calibration
        assert [(e["geometry"], e["views"], e["steps"]) for e in found[4:]] == [
            (e["geometry"], e["views"], 3) for e in card.calibration
        ]


LIKE = {
    "sigma": [0.1, 0.3], "mean": [1.0, 1.0], "slope": [1.0, 1.0], "precision": [[1.0, 0.0], [0.0, 1.0]],
    "threshold": 2.0, "full": 3.0,
}


def test_typical_scores_come_from_the_cases_that_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []

    class Stopped(Exception):
        pass

    def slices(folder: Path, names: list[str], *rest: object) -> None:
        asked.append(names)
        raise Stopped

    monkeypatch.setattr(calibrate, "chosen_slices", slices)
    prior = stub_prior(monkeypatch, data=[{"name": "head_1"}, {"name": "head_2"}, {"name": "leg"}])
    with pytest.raises(Stopped):
        calibrate.fit_scores(prior, tmp_path, Settings(), cases=("head*",))
    with pytest.raises(Stopped):
        calibrate.fit_scores(prior, tmp_path, Settings())
    assert asked == [["head_1", "head_2"], ["head_1", "head_2", "leg"]]
    with pytest.raises(ValueError, match="patterns of the card's training cases"):
        calibrate.fit_scores(prior, tmp_path, Settings(), cases=("arm*",))


def test_the_floor_of_an_older_card_is_found_under_its_former_name(tmp_path: Path) -> None:
    content = json.loads((PRIORS_FOLDER / "ct-body.json").read_text(encoding="utf-8"))
    former = {"floor_hu" if key == "floor" else key: value for key, value in entry(floor=7.0).items()}
    path = tmp_path / "card.json"
    path.write_text(json.dumps({**content, "calibration": [former]}), encoding="utf-8")
    assert read_card(path).calibration == [entry(floor=7.0)]


@pytest.mark.parametrize(("key", "value", "match"), [
    ("calibration", [{"factor": 1.0}], "needs .*coverage90"), ("calibration", {}, "as a list"),
    ("calibration", [entry(factor=-1.0)], "factor -1.0"), ("typicality", {"threshold": 1.0}, "needs .*precision"),
    ("typicality", {**LIKE, "threshold": 3.0, "full": 2.0}, "threshold < full"),
    ("typicality", {**LIKE, "full": "all"}, "threshold < full"), ("typicality", {**LIKE, "mean": [1.0]}, "a number a"),
    ("typicality", {**LIKE, "slope": [[1.0, 1.0], [1.0]]}, "a number a"),
])
def test_a_damaged_card_is_refused(tmp_path: Path, key: str, value: object, match: str) -> None:
    content = json.loads((PRIORS_FOLDER / "ct-body.json").read_text(encoding="utf-8"))
    path = tmp_path / "card.json"
    path.write_text(json.dumps({**content, key: value}), encoding="utf-8")
    with pytest.raises(ValueError, match=match):
        read_card(path)


@pytest.mark.parametrize("names", [["a"], ["a/ct.nrrd"], ["b"], ["a/ct.nrrd", "b"], ["volume"], ["c/volume.nrrd"]])
def test_cases_are_found_by_the_names_that_training_notes(tmp_path: Path, names: list[str]) -> None:
    """Training writes paths below its folder into the card, and held-out cases as they were named."""
    for place in ("a/ct.nrrd", "b/ct.nrrd", "c/volume.nrrd"):
        (tmp_path / place).parent.mkdir()
        write_volume(synthetic_chest((1, 32, 32), (30.0, 12.0, 12.0))[0], tmp_path / place)
    whole = {"a": "a/ct.nrrd", "b": "b/ct.nrrd", "volume": "c/volume.nrrd"}
    found = chosen_volumes(tmp_path, names, MODALITIES["ct"])
    assert [name for name, _ in found] == [whole.get(name, name) for name in names]
    with pytest.raises(ValueError, match=r"no volume of CT in HU called b/volume\.nrrd below .*: give the card's data"):
        chosen_volumes(tmp_path, [*names, "b/volume.nrrd"], MODALITIES["ct"])


@pytest.mark.parametrize(("broken", "match"), [
    (entry(views="many"), "has views 'many', expected a positive number: calibrate it again$"),
    (entry(noise_percent=0), "has noise_percent 0, expected a positive number"),
    ({key: value for key, value in entry().items() if key != "arc_degrees"}, "does not tell the scan .*arc_degrees"),
    ({key: value for key, value in entry().items() if key != "geometry"}, "does not tell the scan .*geometry"),
])
def test_a_calibration_must_tell_the_modalitys_own_scan(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, broken: dict, match: str
) -> None:
    """A card is read whatever its scans are described by; a run of a modality asks for what that one needs."""
    content = json.loads((PRIORS_FOLDER / "ct-body.json").read_text(encoding="utf-8"))
    (tmp_path / "card.json").write_text(json.dumps({**content, "calibration": [broken]}), encoding="utf-8")
    card = read_card(tmp_path / "card.json")
    stub_prior(monkeypatch, calibration=card.calibration)
    with pytest.raises(ValueError, match=match):
        reconstruct(synthetic_chest((1, 32, 32), (10.0, 8.0, 8.0))[0], views=8)

    class Spokes:
        stored = classmethod(lambda cls, made: made["factor"])

    assert rule.acquisition_in(broken, replace(TRUST, fingerprint=Spokes)).scan == broken["factor"]


@pytest.mark.parametrize("wrong", [{"gain": None}, {"gain": "3"}, {"gain": -1.0}, {"factors": {"soft tissue": 0.0}},
                                   {"factors": [1.0]}, {"factor": float("nan")}])
def test_a_card_with_numbers_that_are_none_is_refused(wrong: dict, tmp_path: Path) -> None:
    content = json.loads((PRIORS_FOLDER / "ct-body.json").read_text(encoding="utf-8"))
    content["calibration"] = [{**content["calibration"][0], **wrong}]
    (tmp_path / "mine.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(ValueError, match="calibrate it again"):
        read_card(tmp_path / "mine.json")
