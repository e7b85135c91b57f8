"""The gate: what passes, how much TV is blended in otherwise, and what a whole run makes of it."""

from __future__ import annotations

import json
import math
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from diffusion_engine.phantoms import synthetic_chest
from diffusion_engine.posterior.gate import assess as assess_image
from diffusion_engine.posterior.gate import blended
from diffusion_engine.posterior.spread import smoothed
from diffusion_engine.priors.library import PRIORS_FOLDER
from diffusion_engine.run.pipeline import reconstruct
from diffusion_engine.solvers.listing import listed_methods
from diffusion_engine.volume import Volume

SETTINGS: dict[str, Any] = {"views": 16, "draws": 2, "steps": 2, "tv_iterations": 60, "device": "cpu", "pixel_mm": 10.0}
assess = partial(assess_image, image="TV")
LIMITS = {"threshold": 3.0, "full": 4.5}


@pytest.fixture(scope="module")
def small() -> Volume:
    """A slice of the chest, 36 x 36 pixels of 10 mm: the prior works on 180 x 180 of 2 mm."""
    return synthetic_chest((1, 36, 36), (10.0, 10.0, 10.0))[0]


def card(folder: Path, **changes: Any) -> str:
    """The path of the shipped prior's card with other keys, its weights beside it."""
    content = json.loads((PRIORS_FOLDER / "ct-body.json").read_text(encoding="utf-8"))
    shutil.copy(PRIORS_FOLDER / content["weights"], folder)
    path = folder / "card.json"
    path.write_text(json.dumps({**content, **changes}), encoding="utf-8")
    return str(path)


def flat(threshold: float, full: float) -> dict[str, Any]:
    """A typicality whose score is the length of f itself, far above 1 for every image."""
    zero = [0.0, 0.0]
    return {
        "sigma": [0.1, 0.3], "mean": zero, "slope": zero, "precision": [[1.0, 0.0], [0.0, 1.0]], "threshold": threshold,
        "full": full,
    }


def test_the_median_slice_decides() -> None:
    gate = assess([1.0, 2.0, 90.0], LIMITS)
    assert gate is not None
    assert (gate.score, gate.passed, gate.blend) == (2.0, True, 0.0)
    assert "does not exclude an unusual detail" in gate.sentence
    assert assess([3.0], LIMITS).passed


def test_the_blend_rises_from_the_threshold_to_all_of_tv() -> None:
    weights = [assess([score], LIMITS).blend for score in (3.0, 3.001, 3.5, 4.0, 4.5, 100.0)]
    assert weights == sorted(weights)
    assert weights[0] == 0
    assert weights[1] < 0.01
    assert weights[2] == pytest.approx(math.log(3.5 / 3) / math.log(1.5), abs=1e-4)
    assert weights[4:] == [1.0, 1.0]
    gate = assess([100.0], LIMITS)
    assert not gate.passed
    assert "use the fallback, which takes 100 % from the TV image" in gate.sentence


def test_a_blend_lies_between_both_images() -> None:
    mean, classical = np.zeros((1, 2, 2), np.float32), np.full((1, 2, 2), 100, np.float32)
    half = assess([3 * 1.5**0.5], LIMITS)
    np.testing.assert_allclose(blended(half, mean, classical), 50, atol=0.01)
    assert blended(half, mean, classical).dtype == np.float32


def test_no_verdict_without_a_threshold_or_finite_scores() -> None:
    assert assess([1.0], {}) is None
    assert assess([], LIMITS) is None
    with pytest.raises(FloatingPointError, match="not finite"):
        assess([1.0, float("nan")], LIMITS)


@pytest.mark.parametrize("methods", [["diffusion"], ["tv", "diffusion"]])
def test_an_unlike_image_falls_back_to_tv(small: Volume, tmp_path: Path, methods: list[str]) -> None:
    prior = card(tmp_path, typicality=flat(0.5, 1.0))
    result = reconstruct(small, SETTINGS, methods=methods, prior=prior)
    gate = result.report["gate"]
    assert (gate["passed"], gate["blend"]) == (False, 1.0)
    assert gate["score"] > 1
    assert gate["sentence"] in result.report["notes"]
    assert {"psnr", "ssim", "residual_ratio", "seconds"} == set(result.report["metrics"]["fallback"])
    classical = reconstruct(small, SETTINGS, methods=["tv"]).volumes["tv"].array
    np.testing.assert_allclose(result.volumes["fallback"].array, classical, atol=0.1)
    assert result.report["calibration"]["matched"] is False
    assert ("tv" in result.volumes) == ("tv" in methods)


def test_a_like_image_has_no_fallback(small: Volume, tmp_path: Path) -> None:
    prior = card(tmp_path, typicality=flat(1e3, 2e3), calibration=[])
    result = reconstruct(small, SETTINGS, methods=["diffusion"], prior=prior)
    assert result.report["gate"]["passed"]
    assert "fallback" not in result.volumes


def test_a_card_without_typicality_gives_no_verdict(small: Volume, tmp_path: Path) -> None:
    prior = card(tmp_path, typicality={}, calibration=[])
    result = reconstruct(small, SETTINGS, methods=["diffusion"], prior=prior, draws=1)
    assert result.report["gate"] is None
    assert result.report["calibration"] is None
    assert set(result.volumes) == {"mean", "residual", "reference"}


def test_a_matching_calibration_rescales_the_spread(
    small: Volume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Two steps of so coarse a grid leave more than noise, which is another reason not to calibrate.
    monkeypatch.setattr("diffusion_engine.run.verdicts.smooth_limit", lambda *given: math.inf)
    entry = {
        "geometry": "parallel", "views": 15, "arc_degrees": 180.0, "noise_percent": 0.25, "solver": "dds", "steps": 2,
        "draws": 2, "slices": 6, "factor": 2.5, "floor": 2.0, "coverage90": 0.6, "coverage90_calibrated": 0.9,
        "options": {option.name: option.default for option in listed_methods()["dds"].options} | {"broad_std": 0.0},
        "resampled": True,
    }
    settings = {
        **SETTINGS, "methods": ["diffusion"], "keep": ["uncertainty", "draws"], "solver_options": {"broad_std": 0.0},
    }
    other = {**entry, "views": 40}
    elsewhere = {**entry, "resampled": False}
    plain = reconstruct(small, settings, prior=card(tmp_path, typicality={}, calibration=[other, elsewhere]))
    assert plain.report["calibration"]["matched"] is False
    assert "not calibrated" in plain.report["calibration"]["sentence"]
    scaled = reconstruct(small, settings, prior=card(tmp_path, typicality={}, calibration=[other, entry]))
    assert scaled.report["calibration"]["factor"] == 2.5
    assert scaled.report["calibration"]["matched"] is True
    assert set(scaled.volumes) == {"uncertainty", "draw_1", "draw_2", "reference"}
    expected = 2.5 * np.maximum(np.sqrt(smoothed(plain.volumes["uncertainty"].array ** 2)), 2)
    np.testing.assert_allclose(scaled.volumes["uncertainty"].array, expected, rtol=1e-5)
    raw = np.abs(plain.volumes["draw_1"].array - plain.volumes["draw_2"].array) / 2**0.5
    np.testing.assert_allclose(plain.volumes["uncertainty"].array, raw, atol=0.05, rtol=2e-3)
