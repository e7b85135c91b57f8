"""What no image explains is said to be so: the ceiling of the residual, what it lets through, and what is advised."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from diffusion_engine.modalities.ct.measurement import Measurement
from diffusion_engine.modalities.ct.problem import Problem
from diffusion_engine.modalities.ct.simulate import simulate
from diffusion_engine.phantoms import synthetic_chest
from diffusion_engine.posterior.gate import Gate, without_fallback
from diffusion_engine.posterior.residual import (
    CHECK,
    COMPARE,
    TRUST_CLASSICAL,
    TRUST_NONE,
    ResidualTest,
    advised,
    ceiling,
)
from diffusion_engine.run.pipeline import Result, reconstruct, reconstruct_steps
from diffusion_engine.run.settings import Settings
from diffusion_engine.volume import Volume
from stub_priors import FAILS, stub_prior, typicality

CLASSICAL: dict[str, Any] = {"methods": ["fbp", "tv"], "views": 24, "device": "cpu", "pixel_mm": 9.0}
BOTH: dict[str, Any] = {**CLASSICAL, "methods": ["tv", "diffusion"], "draws": 1, "steps": 4, "tv_iterations": 200}


@pytest.fixture(scope="module")
def small() -> Volume:
    """A slice of the chest, 32 x 40 pixels of 9 mm."""
    return synthetic_chest((1, 32, 40), (10.0, 9.0, 9.0))[0]


@pytest.fixture(scope="module")
def scan(small: Volume) -> Measurement:
    return simulate(small, Settings(views=48, noise_percent=0.3), 1).measurement


def implant(volume: Volume) -> Volume:
    array = volume.array.copy()
    array[:, 15:17, 8:10] = 8000
    return volume.with_array(array)


@pytest.mark.parametrize("changes", [
    {"noise_percent": 0.1}, {"noise_percent": 1.0, "views": 8}, {"noise_percent": 0.1, "views": 60},
    {"i0": 1e4, "views": 8}, {"i0": 1e6}, {"i0": 1e3, "views": 60}, {"arc_degrees": 60.0, "noise_percent": 0.2},
    {"geometry": "fan_flat", "noise_percent": 0.2}, {"noise_percent": 0.2, "tv_iterations": 60},
    {"i0": 1e6, "tv_iterations": 60}, {"metal": True, "i0": 1e5},
])
def test_what_a_scan_leaves_stays_accepted(small: Volume, changes: dict) -> None:
    settings = dict(changes)
    report = reconstruct(implant(small) if settings.pop("metal", False) else small, CLASSICAL, **settings).report
    for test in report["residual_tests"]:
        assert test["explains"]
        assert (test["passed"], test["advice"]) == (True, "")


def nonsense(name: str, scan: Measurement) -> Measurement:
    """Readings that a reader could take for a scan: right in shape, finite, and of nothing."""
    rng = np.random.default_rng(0)
    values = scan.values.copy()
    if name == "random":
        values = np.abs(rng.normal(size=values.shape))
    elif name == "random, noise unknown":
        return replace(scan, values=np.abs(rng.normal(size=values.shape)).astype(np.float32), variance=None)
    elif name == "shuffled":
        values = values[:, rng.permutation(values.shape[1])]
    elif name == "no logarithm":
        values = np.exp(-values)
    elif name == "wrong sign":
        values = -values
    elif name == "dead bins":
        values[:, :, [20, 31, 32]] = 0
    elif name == "axes exchanged":
        values = np.resize(values.swapaxes(1, 2), values.shape)
    return replace(scan, values=values.astype(np.float32))


NONSENSE = (
    "random", "random, noise unknown", "shuffled", "no logarithm", "wrong sign", "dead bins", "axes exchanged",
)


@pytest.mark.parametrize("name", NONSENSE)
def test_what_no_image_explains_is_said(
    name: str, scan: Measurement, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the prior's image nor TV: there is no fallback, and nothing recommends an image."""
    stub_prior(monkeypatch, typicality=typicality(FAILS))
    monkeypatch.setattr("diffusion_engine.modalities.ct.problem._from_measurement", as_given)
    result = reconstruct(nonsense(name, scan), BOTH)
    report = result.report
    tv, mean = report["residual_tests"]
    assert not tv["explains"]
    assert not tv["passed"]
    assert not mean["passed"]
    assert tv["advice"] in (TRUST_NONE, CHECK)
    assert "fallback" not in result.volumes
    assert "fallback" not in report["metrics"]
    gate = report["gate"]
    assert (gate["passed"], gate["blend"]) == (False, 0.0)
    assert "no fallback" in gate["sentence"]
    assert "use none of the images" in gate["sentence"]
    notes = " ".join(report["notes"])
    assert "rust the classical" not in notes
    assert "use the fallback" not in notes
    assert not any(test["advice"] == TRUST_CLASSICAL for test in report["residual_tests"])
    again = reconstruct(nonsense(name, scan), BOTH, methods=["diffusion"])
    assert "fallback" not in again.volumes
    assert again.report["gate"]["blend"] == 0


def as_given(source: Measurement, settings: Settings, device: Any, card: Any, *_: Any) -> Problem:
    """The problem of a measurement that nobody has judged, on the grid of the object."""
    from diffusion_engine.modalities.ct.problem import _assemble
    from diffusion_engine.physics.ct import ImageGrid

    frame = Volume(np.zeros((1, 32, 40), np.float32), np.diag([-9.0, -9.0, 10.0, 1.0]), "HU")
    grid = ImageGrid(32, 40, (9.0, 9.0))
    return _assemble(source, grid, frame, settings, device, card, [], None, (), None)


def test_the_scan_itself_is_explained(scan: Measurement, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control of the nonsense above: the same readings as they were."""
    stub_prior(monkeypatch, typicality=typicality(FAILS))
    monkeypatch.setattr("diffusion_engine.modalities.ct.problem._from_measurement", as_given)
    result = reconstruct(scan, BOTH)
    assert result.report["residual_tests"][0]["passed"]
    assert "fallback" in result.volumes
    assert "use the fallback" in result.report["gate"]["sentence"]


@pytest.mark.parametrize(("name", "explained"), [
    ("good", True), ("no logarithm", False), ("wrong sign", False),
])
def test_backprojection_alone_is_asked_too(
    name: str, explained: bool, scan: Measurement, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was not fitted, so only what is far from any body of positive attenuation is told."""
    monkeypatch.setattr("diffusion_engine.modalities.ct.problem._from_measurement", as_given)
    test = reconstruct(nonsense(name, scan), CLASSICAL, methods=["fbp"]).report["residual_tests"][0]
    assert test["explains"] == explained
    assert (test["advice"] == TRUST_NONE) != explained


def test_the_ceiling_is_noise_and_three_per_cent_of_the_data() -> None:
    noise = 1.6 * (1 + 3 * math.sqrt(2 / 5000))
    # Line integrals of about half the largest one, noise of 0.1 and 0.5 % of that.
    assert ceiling(500.0**2, 5000) == pytest.approx(noise + 225)
    assert ceiling(100.0**2, 5000) == pytest.approx(noise + 9)
    assert ceiling(100.0**2, 50) > ceiling(100.0**2, 5000)
    # Data that are no more than noise explain nothing, whatever level is stated.
    assert ceiling(3.0, 5000) < 0.3
    # TV that was stopped early leaves more, one that went on no less than the pixels do.
    few, usual, many = (ceiling(100.0**2, 5000, iterations) - noise for iterations in (100, 400, 2000))
    assert few == pytest.approx(9 * 4**2.6)
    assert usual == many


def test_the_mean_of_draws_may_leave_a_little_more(small: Volume, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a per cent of the data's norm at most, which is as much again where the noise is that low."""
    stub_prior(monkeypatch)
    high = {}
    for share in (0.0, 0.005):
        monkeypatch.setattr("diffusion_engine.run.verdicts.UNRESOLVED", share)
        tests = reconstruct(small, BOTH, tv_iterations=60, noise_percent=0.5, steps=2).report["residual_tests"]
        high[share] = {test["kind"]: test["accepted"][1] for test in tests}
    assert high[0.0]["tv"] == high[0.005]["tv"]
    # Line integrals of 0.3 to 0.6 of the largest, noise of 0.5 % of it.
    assert 0.08 < high[0.005]["mean"] - high[0.0]["mean"] < 0.36


def made(kind: str, ratio: float = 1.0, explains: bool = True) -> ResidualTest:
    fitted = kind != "fbp"
    return ResidualTest(
        kind, ratio, (ratio, 2 * ratio), (0.6 if fitted else 0.0, 2.0), explains, fitted=fitted, group="view"
    )


def told(tests: list[ResidualTest]) -> list[ResidualTest]:
    return advised(tests, "TV", ["tv", "fbp"])


@pytest.mark.parametrize(("tests", "advice"), [
    ([made("tv"), made("mean")], ["", ""]),
    ([made("tv"), made("mean", 0.3)], ["", ""]),
    ([made("tv"), made("mean", 5.0)], ["", TRUST_CLASSICAL]),
    ([made("fbp"), made("mean", 5.0)], ["", TRUST_CLASSICAL]),
    ([made("fbp", 9.0), made("tv"), made("mean")], [TRUST_CLASSICAL, "", ""]),
    ([made("tv", 5.0), made("mean", 5.0)], [CHECK, CHECK]),
    ([made("mean", 5.0)], [COMPARE.format(image="TV")]),
    ([made("tv", 300.0, False), made("mean", 300.0, False)], [TRUST_NONE, TRUST_NONE]),
    ([made("fbp"), made("tv", 300.0, False)], ["", TRUST_NONE]),
    ([made("tv", 1.0, False), made("mean", 1.0)], [CHECK, ""]),
    ([made("mean", 300.0, False)], [TRUST_NONE]),
])
def test_no_image_is_recommended_that_does_not_fit(tests: list[ResidualTest], advice: list[str]) -> None:
    found = told(tests)
    assert [test.advice for test in found] == advice
    assert [test.passed for test in found] == [test.explains and test.accepted[0] <= test.ratio <= 2 for test in tests]
    for test in found:
        assert test.statement.endswith(test.advice)


def test_a_residual_beyond_the_ceiling_is_not_called_normal() -> None:
    (test,) = told([ResidualTest("tv", 16878.0, (9e3, 2.4e4), (1e4, 3e4), False, group="view")])
    assert not test.passed
    assert "normal" not in test.statement
    assert "16878.00 times the noise, too large a part of the data themselves; the worst view is number 2" in (
        test.statement
    )
    assert test.statement.endswith("use none of the images.")
    gate = without_fallback(Gate(4.0, 2.0, False, 0.7, "use the fallback"), 16878.0, "TV")
    assert (gate.passed, gate.blend, gate.score) == (False, 0.0, 4.0)
    assert "residual 16878.00 times the noise" in gate.sentence


@pytest.mark.parametrize("where", ["slice", "region"])
def test_images_below_the_window_of_ssim_end_with_a_report(small: Volume, where: str) -> None:
    """An SSIM needs 11 pixels each way: without it the run is told to its end, with a line that says so."""
    options: dict[str, Any] = {**CLASSICAL, "methods": ["fbp"], "pixel_mm": 9.0}
    volume = small
    if where == "region":
        options["region"] = [10, 20, 5, 30]
    else:
        volume = synthetic_chest((1, 10, 40), (10.0, 30.0, 9.0))[0]
    seen: Callable[..., Any] = reconstruct_steps
    result = list(seen(volume, Settings.from_dict(options)))[-1]
    assert isinstance(result, Result)
    assert set(result.report["metrics"]["fbp"]) == {"psnr", "residual_ratio", "seconds"}
    assert sum("no SSIM" in note for note in result.report["notes"]) == 1
    whole = reconstruct(small, options, region=[10, 21, 5, 30]).report
    assert "ssim" in whole["metrics"]["fbp"]
    assert not any("no SSIM" in note for note in whole["notes"])
