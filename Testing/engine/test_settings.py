"""Settings: what they accept, and one sentence for everything else."""

from __future__ import annotations

import json
from argparse import Namespace
from dataclasses import dataclass, replace

import pytest
from diffusion_engine.commands.options import given_settings
from diffusion_engine.modalities import table
from diffusion_engine.modalities.ct.entry import CT
from diffusion_engine.modalities.ct.scan import CTScan
from diffusion_engine.modalities.rules import Classical
from diffusion_engine.run.draws import check_method, solved_together, steps_of
from diffusion_engine.run.pipeline import reconstruct
from diffusion_engine.run.presets import PRESETS, available_presets
from diffusion_engine.run.settings import Settings
from diffusion_engine.solvers.catalogue import METHODS
from diffusion_engine.solvers.listing import listed_methods
from diffusion_engine.solvers.ranges import CHOICES, RANGES, check_option, range_of


def test_settings_survive_json() -> None:
    settings = Settings(
        geometry="fan_flat", views=20, arc_degrees=200.0, methods=("fbp", "diffusion"), slices=(1, 3),
        region=(0, 8, 2, 9), pixel_mm=1.5, i0=1e5, seed=7, keep_draws=True,
        keep=("mean", "draws"), preset="standard", coupling="ztv",
        precision="float32", slab=3,
    )
    assert Settings.from_dict(json.loads(json.dumps(settings.to_dict()))) == settings
    assert Settings.from_dict(json.loads(json.dumps(Settings().to_dict()))) == Settings()


def test_what_a_modality_alone_has_is_its_scan() -> None:
    """Names of the scan go there, from Python and JSON alike; in JSON all lie side by side."""
    settings = Settings(views=20, seed=3)
    assert settings.scan == CTScan(views=20)
    assert replace(settings, geometry="fan_flat").scan == CTScan(views=20, geometry="fan_flat")
    assert settings.changed(i0=1e4).scan == CTScan(views=20, i0=1e4)
    assert Settings(scan=CTScan(views=9), noise_percent=1.0).scan == CTScan(views=9, noise_percent=1.0)
    flat = settings.to_dict()
    assert (flat["views"], flat["seed"], flat["modality"]) == (20, 3, "ct")
    assert "scan" not in flat
    assert set(flat) == Settings.names("ct") == Settings.names()
    # A scan stands in place of the present one, single settings of it beside it count more.
    assert settings.changed(scan=CTScan(i0=1e5)) == Settings(scan=CTScan(i0=1e5), seed=3)
    assert settings.changed(scan=CTScan(i0=1e5), views=7).scan == CTScan(i0=1e5, views=7)
    assert settings.changed(scan=CTScan(views=9), preset="fast").scan == CTScan(views=9)
    with pytest.raises(ValueError, match="expected CTScan as scan, found 3"):
        Settings(scan=3)
    with pytest.raises(ValueError, match="expected CTScan as scan, found 3"):
        settings.changed(scan=3)
    with pytest.raises(ValueError, match="unknown settings"):
        Settings.from_dict({"scan.views": 3})


def test_another_modality_leaves_what_was_of_the_former_one(monkeypatch: pytest.MonkeyPatch) -> None:
    @dataclass(frozen=True)
    class Other:
        spokes: int = 5

        def iterations(self, name: str) -> int:
            return self.spokes

    image = Classical("quick", "quick", at_once=True)
    other = replace(CT, name="other", scan=Other, classical=(image,), fallback="quick", default_prior="theirs")
    monkeypatch.setattr(table, "MODALITIES", {**table.MODALITIES, "other": other})
    changed = Settings(preset="fast", views=9, seed=4).changed(modality="other", spokes=7)
    assert (changed.scan, changed.methods, changed.prior) == (Other(7), ("quick", "diffusion"), "theirs")
    assert (changed.seed, changed.preset, changed.iterations("quick")) == (4, None, 1)
    # What the former preset brought goes with it, what was chosen besides stays.
    assert (changed.solver, changed.steps) == ("dds", None)
    assert Settings(preset="fast", steps=7, draws=9).changed(modality="other") == Settings(
        modality="other", steps=7, draws=9
    )
    assert Settings.from_dict(changed.to_dict()) == changed
    with pytest.raises(ValueError, match="unknown settings \\['views'\\]"):
        Settings(modality="other", views=9)
    with pytest.raises(ValueError, match="expected a preset for other, found 'fast', which is for ct"):
        Settings(modality="other", preset="fast")
    # The shell's options of the first modality are not left out in silence for another one.
    asked = Namespace(modality="other", views=9, i0=None, scan=["spokes=7"])
    with pytest.raises(ValueError, match="unknown settings \\['views'\\]"):
        Settings.from_dict(given_settings(asked))
    asked.views = None
    assert Settings.from_dict(given_settings(asked)).scan == Other(7)
    assert available_presets(METHODS, "other") == []
    served = replace(other, presets=("standard",))
    monkeypatch.setattr(table, "MODALITIES", {**table.MODALITIES, "other": served})
    assert [preset.name for preset in available_presets(METHODS, "other")] == ["standard"]
    assert Settings(modality="other", preset="standard").steps == 30
    assert len(available_presets(METHODS, "ct")) == len(available_presets(METHODS)) == len(PRESETS)


def test_a_label_is_earned_a_modality_at_a_time() -> None:
    assert METHODS["mmps"].spread_for("ct") == METHODS["mmps"].spread == "near-posterior"
    assert METHODS["mmps"].spread_for("mri") == "near-posterior"
    assert METHODS["mmps"].spread_for("pet") == "concentrated"
    assert METHODS["dds"].spread_for("mri") == METHODS["dds"].spread_for("ct") == "concentrated"
    assert METHODS["tweedie"].spread_for("pet") == "point"
    assert listed_methods()["mmps"].earned == METHODS["mmps"].earned == ("ct", "mri")
    assert listed_methods()["dps"].likelihoods == ("gaussian", "poisson")
    assert listed_methods()["dds"].likelihoods == ("gaussian", "poisson via local gaussian")


def test_unknown_settings_are_named() -> None:
    with pytest.raises(ValueError, match=r"unknown settings \['color', 'view'\]: choose from"):
        Settings.from_dict({"view": 3, "color": 1, "seed": 2})


@pytest.mark.parametrize("values", [None, [1], "views", 3, {3: 4}, {"views": 3, None: 1}])
def test_what_is_no_object_is_refused_in_one_sentence(values: object) -> None:
    with pytest.raises(ValueError, match=r"^expected settings as names and values, found .*: give a JSON object$"):
        Settings.from_dict(values)
    if values is not None:
        with pytest.raises(ValueError, match="expected settings as names and values, found"):
            reconstruct(None, values)


def test_a_device_that_is_no_name_is_the_one_named() -> None:
    with pytest.raises(ValueError, match="expected device by name, found 3: change the setting"):
        Settings(device=3)


@pytest.mark.parametrize(("key", "value"), [
    ("modality", "mr"), ("geometry", "cone"), ("methods", []), ("methods", ["fbp", "magic"]), ("methods", "fbp"),
    ("methods", None), ("views", 1), ("views", 10001), ("views", 60.0), ("views", True), ("views", "60"),
    ("arc_degrees", 0), ("arc_degrees", 361), ("arc_degrees", "180"), ("noise_percent", 0), ("noise_percent", 51),
    ("noise_percent", float("nan")), ("noise_percent", "0.2"), ("noise_percent", None), ("i0", 9),
    ("i0", float("inf")), ("i0", "many"), ("electronic_std", -1), ("electronic_std", None), ("draws", 0),
    ("draws", 1001), ("draws", 2.5), ("steps", 1), ("steps", 1001), ("sigma_start", 0.01), ("sigma_start", 21),
    ("sigma_start", "auto"), ("tv_iterations", 0), ("slices", [3, 3]), ("slices", [-1, 3]), ("slices", [1]),
    ("slices", 3), ("region", [0, 4]), ("region", [0, 4, 5, 5]), ("region", [0, 4.5, 0, 5]), ("pixel_mm", 0),
    ("pixel_mm", 21), ("pixel_mm", "fine"), ("water_per_mm", 2), ("water_per_mm", None), ("seed", -1),
    ("seed", 1.5), ("seed", "a"), ("seed", 2**40), ("prior", None), ("device", None),
    ("keep", []), ("keep", ["mean", "magic"]), ("keep", "mean"), ("preset", 3), ("coupling", None),
    ("trust_unit", "no"), ("trust_unit", 1), ("keep_draws", "false"), ("keep_draws", None), ("i0", 1e300),
    ("scatter_percent", -1), ("scatter_percent", 51), ("scatter_percent", None), ("scatter_percent", float("nan")),
    ("beam_hardening", 1), ("beam_hardening", "yes"), ("beam_hardening", None),
    ("precision", "float64"), ("precision", None), ("precision", []), ("slab", 0), ("slab", 1001), ("slab", 8.0),
])
def test_values_out_of_range_are_refused_in_one_sentence(key: str, value: object) -> None:
    with pytest.raises(ValueError, match=r"^expected .*, found .*: change the setting$") as error:
        Settings.from_dict({key: value})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("values", [
    {"views": 2}, {"views": 10000}, {"arc_degrees": 360}, {"noise_percent": 50}, {"i0": 10}, {"steps": 2},
    {"draws": 1}, {"slices": [0, 1]}, {"region": [0, 1, 0, 1]}, {"pixel_mm": 20}, {"methods": ["tv"]},
    {"slab": 1}, {"slab": 1000}, {"precision": "bfloat16"}, {"scatter_percent": 50}, {"beam_hardening": True},
])
def test_values_at_the_bounds_are_accepted(values: dict) -> None:
    key, value = next(iter(values.items()))
    assert Settings.from_dict(values).to_dict()[key] == (tuple(value) if isinstance(value, list) else value)


def test_a_preset_sets_what_is_not_given() -> None:
    fast = Settings.from_dict({"preset": "fast"})
    assert (fast.solver, fast.prior, fast.steps, fast.draws) == ("consistency", "ct-body-few", 4, 4)
    assert Settings.from_dict({"preset": "fast", "draws": 7}).draws == 7
    assert Settings.from_dict({"preset": "few-views"}).prior == "ct-body-medium"
    assert Settings.from_dict({"preset": "volume"}).coupling == "neighbours"
    assert Settings.from_dict({"preset": "classical"}).methods == ("fbp", "tv")
    assert Settings.from_dict(fast.to_dict()) == fast
    with pytest.raises(ValueError, match="no preset named"):
        Settings.from_dict({"preset": "magic"})


def test_a_preset_means_the_same_however_it_is_given() -> None:
    for preset in PRESETS.values():
        built = Settings(preset=preset.name)
        assert all(getattr(built, key) == value for key, value in preset.changes.items() if key != "preset")
        assert built == Settings.from_dict({"preset": preset.name}) == Settings().changed(preset=preset.name)
        assert replace(built, seed=3) == Settings(preset=preset.name, seed=3)
    assert Settings(preset="fast", draws=7).draws == 7
    assert Settings(views=9).changed(preset="few-views", draws=2) == Settings(views=9, preset="few-views", draws=2)
    # What another preset brought goes with it, what was chosen besides stays.
    for former in PRESETS:
        for preset in PRESETS:
            assert Settings(preset=former, seed=2).changed(preset=preset) == Settings(preset=preset, seed=2)
    thorough = Settings(preset="few-views", steps=40, solver="tmpd").changed(preset="standard", solver="dds")
    assert thorough == Settings(preset="standard", steps=30)
    # What was changed over the same preset stays.
    assert Settings(preset="fast", draws=7).changed(preset="fast", seed=1).draws == 7
    other = Settings(preset="few-views", solver="tmpd")
    assert (other.solver_options, other.draws) == ({}, PRESETS["few-views"].changes["draws"])
    options = Settings(preset="few-views").solver_options
    options["eta"] = 0.5
    assert "eta" not in Settings(preset="few-views").solver_options
    for wrong in ({"preset": "magic"}, {"preset": ""}):
        with pytest.raises(ValueError, match="no preset named"):
            Settings(**wrong)
    with pytest.raises(ValueError, match="unknown settings"):
        Settings(view=3)


def test_few_views_take_at_most_four_times_standard() -> None:
    """By the count of calls; one of the medium network takes 2.3 times as long as one of Standard's (few_views.py)."""

    def work(preset: str) -> float:
        settings = Settings(preset=preset)
        call = 2.3 if settings.prior == "ct-body-medium" else 1.0
        return listed_methods()["dds"].draw_work(settings.steps, settings.solver_options) * settings.draws * call

    assert work("few-views") <= 4 * work("standard") < work("few-views-thorough")


@pytest.mark.parametrize(("solver", "name", "value", "sentence"), [
    ("dds", "eta", "abc", "a number from 0 to 1 as the option eta of dds, found 'abc'"),
    ("dds", "eta", -5, "a number from 0 to 1"), ("dds", "eta", 1.01, "a number from 0 to 1"),
    ("dds", "eta", True, "a number from 0 to 1"), ("dds", "eta", float("nan"), "a number from 0 to 1"),
    ("dds", "eta", None, "a number from 0 to 1"), ("dds", "eta", [0.5], "a number from 0 to 1"),
    ("dds", "cg_iterations", 0, "a whole number from 1 to 1000"), ("dds", "cg_iterations", 8.5, "a whole number"),
    ("dds", "cg_iterations", True, "a whole number"), ("dds", "cg_iterations", float("inf"), "a whole number"),
    ("dds", "prior_variance", 0, "a number from 1e-06"), ("dds", "prior_variance", float("inf"), "a number from"),
    ("dds", "mirrored", 1, "true or false as the option mirrored of dds, found 1"),
    ("dds", "antithetic", "yes", "true or false"), ("dds", "steps", 1, "a whole number from 2 to 1000"),
    ("dds", "sigma_data", "0.5", "a number from"), ("ddnm", "eta", 0, "a number from 0.001 to 1"),
    ("song", "predictor", "euler", r"one of \('ancestral', 'reverse_diffusion'\)"),
    ("tweedie", "family", 3, "one of"), ("tweedie", "noise_std", -1, "a number from 0 to 1000, or none"),
    ("pfgm", "dimension", 0, "a whole number from 1 to inf"),
])
def test_options_are_checked_before_any_work(solver: str, name: str, value: object, sentence: str) -> None:
    with pytest.raises(ValueError, match=f"^expected {sentence}.*: change the option$"):
        Settings(solver=solver, solver_options={name: value})
    with pytest.raises(ValueError, match=f"^expected {sentence}"):
        METHODS[solver].options({name: value})


@pytest.mark.parametrize(("solver", "name", "value"), [
    ("dds", "eta", 0), ("dds", "eta", 1), ("dds", "cg_iterations", 1), ("dds", "mirrored", False),
    ("consistency", "steps", 1), ("tweedie", "noise_std", None), ("pfgm", "dimension", float("inf")),
    ("padis", "outside", -1.0), ("mmps", "inner_iterations", 0), ("song", "predictor", "reverse_diffusion"),
])
def test_options_at_the_bounds_are_accepted(solver: str, name: str, value: object) -> None:
    assert Settings(solver=solver, solver_options={name: value}).solver_options == {name: value}
    assert getattr(METHODS[solver].options({name: value}), name) == value


def test_every_option_has_a_range_that_holds_its_default() -> None:
    for name, method in listed_methods().items():
        for option in method.options:
            known = option.name in {*RANGES, *CHOICES} or isinstance(option.default, bool)
            assert known, f"{name}: give {option.name} a range in solvers/ranges.py"
            check_option(name, option.name, option.default, option.default)
            assert (option.low, option.high) == range_of(name, option.name)


def test_every_preset_has_a_method_of_the_catalogue() -> None:
    for preset in PRESETS.values():
        settings = Settings.from_dict({"preset": preset.name})
        check_method(settings)
        assert all(name in METHODS for name in preset.solvers)


@pytest.mark.parametrize(("changes", "sentence"), [
    ({"solver": "magic"}, "no method named"), ({"solver_options": {"magic": 1}}, "no option"),
    ({"solver": "score_mri"}, "not offered for ct"), ({"coupling": "magic"}, "no coupling named"),
    ({"solver": "mmps", "coupling": "ztv"}, "cannot tie slices"),
    ({"solver_options": {"products": -1}}, "whole number from 0 to 100 as the option products"),
    ({"solver": "mmps", "solver_options": {"products": 0}}, "whole number from 1 to 100 as the option products"),
    ({"coupling": "ztv", "solver_options": {"products": 1}}, "dds with products cannot .* products 0"),
    ({"coupling": "neighbours", "solver_options": {"products": 1}}, "dds with products cannot .* products 0"),
])
def test_what_cannot_run_together_is_refused_before_any_work(changes: dict, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        check_method(Settings.from_dict(changes))


def test_slices_are_solved_together_where_draws_tie_them() -> None:
    assert solved_together(20, Settings(coupling="ztv")) == 20
    assert solved_together(20, Settings(coupling="ztv", methods=("fbp", "tv"))) == Settings().slab == 8
    assert (solved_together(20, Settings()), solved_together(3, Settings())) == (8, 3)


def test_the_steps_are_the_methods_own_unless_given() -> None:
    assert steps_of(Settings(solver="dps")) == METHODS["dps"].settings().steps
    assert steps_of(Settings(solver="dps", steps=7)) == 7
    assert steps_of(Settings(solver="tweedie")) is None


def test_work_goes_with_steps_and_products() -> None:
    methods = listed_methods()
    assert methods["mmps"].draw_work(15, {}) == METHODS["mmps"].work / 2
    assert methods["mmps"].draw_work(None, {"products": 1}) == 30 * (3 + 2 * 1)
    assert methods["dds"].draw_work(20, {"products": 3}) == 80
    assert methods["dds"].draw_work(None, {"steps": 15}) == 15
    assert methods["tweedie"].draw_work(None, {}) == METHODS["tweedie"].work
