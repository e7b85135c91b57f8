"""PET through a run: counts to volumes by every kind of method, residual test, evaluation, what must not pass."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from diffusion_engine.__main__ import _parser
from diffusion_engine.commands.options import given_settings
from diffusion_engine.commands.trust import _scans
from diffusion_engine.evaluation.evaluate import Item, evaluate
from diffusion_engine.likelihoods.poisson import PoissonEmission
from diffusion_engine.modalities import table
from diffusion_engine.modalities.table import MODALITIES
from diffusion_engine.priors.adapter_card import SHIPPED
from diffusion_engine.priors.card import read_card
from diffusion_engine.run.pipeline import Result, reconstruct
from diffusion_engine.run.settings import Settings
from diffusion_engine.sampling.noise import Noise
from diffusion_engine.solvers.listing import listed_methods
from diffusion_engine.solvers.pet_dds import PETDDSSettings, pet_dds
from emission_scans import activity, scan
from pet_scans import asked, error, sinogram, torso
from small_modalities import Shrinking

PET = MODALITIES["pet"]


@pytest.fixture
def exact(monkeypatch: pytest.MonkeyPatch) -> Shrinking:
    """Whatever prior is asked for is the exact one of white images, which knows pixels of any size."""
    card = replace(read_card(SHIPPED / "pet-torso.json"), calibration=[], typicality={}, pixel_mm=(0.5, 20.0))
    prior = Shrinking(card, mean=0.2)
    for place in ("run.pipeline", "evaluation.evaluate"):
        monkeypatch.setattr(f"diffusion_engine.{place}.load_prior", lambda *given, **named: prior)
    return prior


def run(source: Any = None, **changes: Any) -> Result:
    settings = asked(**{"draws": 2, "steps": 4, "rdp_iterations": 4, **changes})
    return reconstruct(torso() if source is None else source, settings)


def mean_test(result: Result, kind: str = "mean") -> dict[str, Any]:
    return next(test for test in result.report["residual_tests"] if test["kind"] == kind)


@pytest.mark.parametrize("solver", ["pet_dds", "dds", "tmpd"])
def test_a_volume_runs_to_volumes_of_its_own_unit(exact: Shrinking, solver: str) -> None:
    extra: dict[str, Any] = {
        "tmpd": {"solver_options": {"sigma_max": 1.0}},
        "dds": {"solver_options": {"prior_variance": 2.0}, "sigma_start": 0.1},
        "pet_dds": {"solver_options": {"prior_variance": 1.0}, "sigma_start": 0.1},
    }.get(solver, {})
    result = run(solver=solver, **extra)
    for key in ("osem", "rdp", "mean", "uncertainty", "not_seen", "residual", "reference"):
        assert result.volumes[key].array.dtype == np.float32, key
        assert result.volumes[key].array.shape == torso().array.shape, key
    assert result.volumes["mean"].unit == result.volumes["rdp"].unit == "Bq/mL"
    assert result.volumes["residual"].unit == "1"
    # White images as a prior know nothing of a body, and a few gradient steps hardly reach the counts.
    assert error(result.volumes["mean"].array, torso().array) < 0.5
    assert error(result.volumes["rdp"].array, torso().array) < 0.35
    assert mean_test(result, "rdp")["explains"]
    assert mean_test(result)["group"] == "angle"
    assert result.report["geometry"]["counts"] == pytest.approx(0.5, rel=0.02)
    assert any("Acquisition simulated" in note for note in result.report["notes"])
    if solver in ("pet_dds", "dds"):
        assert mean_test(result)["explains"]
    if solver == "pet_dds":
        assert result.volumes["mean"].array.min() >= 0


def test_counts_from_a_file_run_without_a_reference(exact: Shrinking) -> None:
    result = run(sinogram(), solver="pet_dds")
    assert "reference" not in result.volumes
    np.testing.assert_allclose(result.volumes["mean"].ijk_to_ras, torso().ijk_to_ras, atol=1e-9)
    assert error(result.volumes["mean"].array, torso().array) < 0.5


def test_a_background_that_is_left_out_is_found(exact: Shrinking) -> None:
    """Even counts all over the field, of which no image inside the body knows."""
    found = sinogram(background_percent=100.0)
    right = mean_test(run(found, preset="classical"), "rdp")
    wrong = mean_test(run(replace(found, background=None), preset="classical"), "rdp")
    assert right["passed"]
    assert wrong["ratio"] > 1.5 * right["ratio"]


def test_angles_in_the_wrong_order_do_not_explain_the_counts(exact: Shrinking) -> None:
    found = sinogram()
    mixed = np.random.default_rng(0).permutation(found.angles)
    test = mean_test(run(replace(found, angles_rad=found.angles_rad[mixed]), preset="classical"), "rdp")
    assert not test["passed"]


def test_pet_dds_agrees_with_the_counts_and_stays_positive() -> None:
    """With a prior that says little the draw has the likelihood of converged maximisation, from any start."""
    likelihood = scan().scaled(100.0, 0.0)

    def wide(x: torch.Tensor, sigma: torch.Tensor, condition: Any = None) -> torch.Tensor:
        return x

    start = (activity() / 100.0).clamp_min(0.05)
    settings = PETDDSSettings(steps=30, sigma_start=0.3, prior_variance=20.0, sweeps=3, subsets=3)
    *_, last = pet_dds(wide, likelihood, start, settings, Noise(0))
    assert float(last.estimate.min()) >= 0
    truth = likelihood.misfit(activity() / 100.0)
    assert bool((likelihood.misfit(last.estimate) < truth).all())


def test_pet_dds_ties_neighbouring_slices_on_request() -> None:
    likelihood: PoissonEmission = scan().scaled(100.0, 0.0)

    def flat(x: torch.Tensor, sigma: torch.Tensor, condition: Any = None) -> torch.Tensor:
        return 0.5 * x

    start = (activity() / 100.0).clamp_min(0.05)
    rough = []
    for weight in (0.0, 30.0):
        settings = PETDDSSettings(steps=8, sigma_start=0.3, subsets=3, z_weight=weight)
        *_, last = pet_dds(flat, likelihood, start, settings, Noise(0))
        rough.append(float((last.estimate[0] - last.estimate[1]).square().sum()))
    assert rough[1] < 0.7 * rough[0]


def test_rows_of_an_evaluation_and_every_method_that_is_offered(
    exact: Shrinking, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = replace(PET, cases=replace(PET.cases, fixed={"angles": 24}))
    monkeypatch.setattr(table, "MODALITIES", {**MODALITIES, "pet": small})
    offered = list(listed_methods("pet"))
    assert {"pet_dds", "dds", "tmpd", "mmps"} <= set(offered)
    methods = ["osem", "osem-oracle", "rdp-oracle", *offered]
    settings = asked(draws=1, steps=2, solver_options={})
    item = Item("torso", torso(1, 32, "SUV"), (3,))
    rows = list(evaluate([item], [{"counts": 0.1}], methods, settings, lesions=False))
    assert [row["method"] for row in rows] == [
        *methods[:3], *(label for name in offered for label in (f"{name}-draw", name))
    ]
    assert all(np.isfinite(row["nrmse"]) and row["counts"] == 0.1 for row in rows)
    errors = {row["method"]: row["nrmse"] for row in rows}
    assert errors["osem-oracle"] <= errors["osem"]


def test_counts_come_from_the_shell() -> None:
    parser = _parser()
    options = parser.parse_args(["evaluate", "--modality", "pet", "--data", ".", "--counts", "1,0.1"])
    assert _scans(options, PET) == [{"counts": 1.0}, {"counts": 0.1}]
    usual = parser.parse_args(["evaluate", "--modality", "pet", "--data", "."])
    assert [scan["counts"] for scan in _scans(usual, PET)] == [1.0, 0.25, 0.1, 0.025]
    options = parser.parse_args(["reconstruct", "--out", "x", "--modality", "pet", "--counts", "0.1"])
    assert Settings.from_dict(given_settings(options)).scan.counts == 0.1
    options = parser.parse_args(["reconstruct", "--out", "x", "--counts", "0.1"])
    with pytest.raises(ValueError, match="counts"):
        Settings.from_dict(given_settings(options))
