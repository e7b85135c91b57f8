"""Maps that warn in a whole run: what they are made of, what they cost, and a lesion that a sure network loses."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusion_engine.__main__ import main
from diffusion_engine.denoiser import EDMDenoiser
from diffusion_engine.evaluation import calibrate_maps
from diffusion_engine.io.images import write_volume
from diffusion_engine.jobs.forecast import volume_count
from diffusion_engine.modalities.ct.trust import TRUST
from diffusion_engine.phantoms import synthetic_chest
from diffusion_engine.posterior.null import covariates, fit_null, smoothed
from diffusion_engine.priors.card import read_card, write_card
from diffusion_engine.priors.library import PRIORS_FOLDER, Prior
from diffusion_engine.run import maps, pipeline
from diffusion_engine.run.draws import asked_acquisition
from diffusion_engine.run.pipeline import Progress, reconstruct, reconstruct_steps
from diffusion_engine.run.settings import Settings
from diffusion_engine.run.surer import STAGE, surer
from diffusion_engine.volume import Volume
from stub_priors import FAILS, PASSES, stub_prior, typicality
from torch import Tensor

BOTH = ["prior_decided", "data_disagree"]
RUN: dict[str, Any] = {
    "methods": ["diffusion"], "views": 16, "draws": 2, "steps": 2, "device": "cpu", "keep": ["mean", *BOTH],
}


@pytest.fixture(scope="module")
def small() -> Volume:
    """Two slices of the chest, 32 x 40 pixels of 9 mm."""
    return synthetic_chest((2, 32, 40), (10.0, 9.0, 9.0))[0]


def test_the_maps_are_delivered_and_change_nothing_else(small: Volume, monkeypatch: pytest.MonkeyPatch) -> None:
    stub_prior(monkeypatch, typicality=typicality(PASSES))
    plain = reconstruct(small, RUN, keep=["mean", "uncertainty", "draws"])
    result = reconstruct(small, RUN, keep=["mean", "draws", *BOTH])
    assert set(result.volumes) == {"mean", "draw_1", "draw_2", "reference", *BOTH}
    for key in ("mean", "draw_1", "draw_2"):
        np.testing.assert_array_equal(result.volumes[key].array, plain.volumes[key].array)
    assert plain.report["maps"] == {}
    outside = ~TRUST.body(result.volumes["mean"].array)
    for key in BOTH:
        volume, told = result.volumes[key], result.report["maps"][key]
        assert (volume.unit, volume.array.dtype, volume.array.shape) == ("1", np.float32, small.array.shape)
        assert not volume.array[outside].any()
        # Robust, so that half of the voxels lie within .67 standard deviations.
        assert np.median(np.abs(volume.array[~outside])) == pytest.approx(0.674, rel=0.05)
        assert (told["threshold"], told["warnings"], told["false_alarms_per_32_slices"]) == (None, [], None)
        assert "no threshold, none was calibrated for this acquisition" in told["sentence"]
        assert told["sentence"] in result.report["notes"]
    assert volume_count({"keep": ["mean", *BOTH]}) == volume_count({"keep": ["mean"]}) + 2


@pytest.mark.parametrize("slab", [1, 2])
def test_where_the_prior_decided_is_the_first_draw_minus_a_surer_one(
    small: Volume, monkeypatch: pytest.MonkeyPatch, slab: int
) -> None:
    """Made again from runs of their own: the same noise in both, whatever is solved together."""
    stub_prior(monkeypatch)
    settings = Settings.from_dict({**RUN, "slab": slab, "keep": ["mean", "uncertainty", "draws", "prior_decided"]})
    own = reconstruct(small, settings).volumes
    asked = surer(settings)
    assert asked is not None
    mean, spread, first = (own[key].array for key in ("mean", "uncertainty", "draw_1"))
    difference = smoothed((first - reconstruct(small, asked).volumes["mean"].array) / 1000, maps.WIDTH_PIXELS)
    inside, local = TRUST.body(mean), covariates(mean / 1000, spread / 1000, maps.WIDTH_PIXELS)
    z = difference / fit_null(difference[inside], local[:, inside]).at(local)
    # Where a voxel lies on the edge of two bins, rounding decides.
    assert np.isclose(own["prior_decided"].array[inside], z[inside], rtol=0.02, atol=0.02).mean() > 0.97
    assert np.abs(z[inside]).max() > 2


def test_a_method_without_room_has_no_map_of_where_the_prior_decided(
    small: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    stub_prior(monkeypatch)
    result = reconstruct(small, RUN, solver="ddnm", slices=(0, 1))
    assert set(result.volumes) == {"mean", "data_disagree", "reference"}
    assert set(result.report["maps"]) == {"data_disagree"}


def test_progress_counts_the_surer_draw(small: Volume, monkeypatch: pytest.MonkeyPatch) -> None:
    stub_prior(monkeypatch, typicality=typicality(PASSES))
    steps = [step for step in reconstruct_steps(small, Settings.from_dict(RUN)) if isinstance(step, Progress)]
    stages = list(dict.fromkeys(step.stage for step in steps))
    assert [stage for stage in stages if stage == STAGE or "draw" in stage] == ["draw 1 of 2", "draw 2 of 2", STAGE]
    fractions = [step.fraction for step in steps]
    assert fractions == sorted(fractions)
    own = [step.fraction for step in steps if step.stage == STAGE]
    assert own[-1] > own[0]
    assert fractions[-1] < 1


@dataclass(frozen=True, eq=False)
class SurePrior(Prior):
    """Takes every image for the same ``image``, and is sure of it."""

    image: Tensor = field(kw_only=True)

    def __call__(self, x: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
        return self.image.expand_as(x) + 1e-3 * (x - self.image)


def patient(lesion: bool) -> Volume:
    """A slice of a round body, 48 x 48 pixels of 3 mm, with a faint lesion of 17 mm in it or without."""
    j, i = np.mgrid[:48, :48] - 23.5
    image = np.where(np.hypot(j, i) < 20, 0.0, -1000.0) + np.where(np.hypot(j - 8, i + 10) < 5, 200.0, 0.0)
    if lesion:
        image = image + 60 * np.exp(-(np.hypot(j + 7.5, i - 7.5) ** 2) / (2 * 2.5**2))
    return Volume(image[None].astype(np.float32), np.diag([-3.0, -3.0, 5.0, 1.0]), "HU")


LOST: dict[str, Any] = {
    **RUN, "seed": 11, "views": 30, "steps": 3, "pixel_mm": 3.0, "noise_percent": 0.3, "sigma_start": 0.02,
    "solver_options": {"broad_std": 0.001, "sigma_end": 0.001}, "keep": ["mean", "uncertainty", *BOTH],
}


@pytest.fixture
def sure(monkeypatch: pytest.MonkeyPatch) -> SurePrior:
    """The network that knows the twin without a lesion; its card's nulls come from twins under other noise."""
    card = replace(
        read_card(PRIORS_FOLDER / "ct-body.json"), pixel_mm=(1.0, 20.0), calibration=[], typicality=typicality(PASSES),
    )
    twin = patient(False)
    image = torch.from_numpy(twin.array / 1000)[None]
    prior = SurePrior(card, EDMDenoiser(torch.nn.Identity()), torch.device("cpu"), False, image=image)
    volumes, entry = [], {}
    for seed in range(1, 7):
        settings = Settings.from_dict({**LOST, "seed": seed})
        problem = settings.entry.prepare(twin, settings, torch.device("cpu"), card, lambda extent: None)
        volumes.append([calibrate_maps._maps(problem, settings, prior, slice(None))])
        entry = asked_acquisition(problem, settings, prior).entry()
    made = {key: calibrate_maps.make_null([[own[key] for own in each] for each in volumes]) for key in BOTH}
    card.maps.append({**entry, "slices": 6, "maps": made})
    monkeypatch.setattr(pipeline, "load_prior", lambda *given, **named: prior)
    return prior


def test_a_lesion_that_a_sure_network_loses_is_warned_of_and_its_twin_is_not(sure: SurePrior) -> None:
    found, without = reconstruct(patient(True), LOST), reconstruct(patient(False), LOST)
    assert found.volumes["mean"].array[0, 16, 31] < 20, "of 60 HU"
    for key in BOTH:
        told = found.report["maps"][key]
        first = told["warnings"][0]
        assert np.linalg.norm(np.array(first["ras"]) - [-93, -48, 0]) <= 8, "within the lesion"
        assert first["z"] > told["threshold"] > 2, key
        assert first["slice"] == 0
        assert first["size_mm"] == pytest.approx(20, abs=12)
        assert told["false_alarms_per_32_slices"] is not None
        assert without.report["maps"][key]["warnings"] == [], key
        assert without.report["maps"][key]["threshold"] == told["threshold"]
    assert "out, |z| of" in found.report["maps"]["prior_decided"]["sentence"]
    sentence = without.report["maps"]["prior_decided"]["sentence"]
    assert sentence.endswith("A lesion of which the map shows nothing is not excluded.")
    # Of an image that is unlike the held-out ones it warns too, and says that the rate does not hold.
    object.__setattr__(sure.card, "typicality", typicality(FAILS))
    doubtful = reconstruct(patient(True), LOST).report["maps"]["data_disagree"]
    assert doubtful["warnings"]
    assert doubtful["false_alarms_per_32_slices"] is None
    assert "not known, the image is unlike those it was calibrated on" in doubtful["sentence"]


def test_maps_are_fitted_on_the_held_out_volumes(
    small: Volume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    prior = stub_prior(monkeypatch, held_out=["a"])
    (tmp_path / "a").mkdir()
    write_volume(small, tmp_path / "a" / "ct.nrrd")
    settings = Settings(draws=2, steps=2, device="cpu")
    (entry,) = calibrate_maps.fit_maps(prior, tmp_path, settings, 2, [{"views": 12}])
    assert (entry["views"], entry["slices"], entry["draws"], set(entry["maps"])) == (12, 2, 2, set(BOTH))
    path = tmp_path / "mine.json"
    write_card(replace(prior.card, name="mine", maps=[]), path)
    monkeypatch.setattr("diffusion_engine.priors.library.load_prior", lambda *given, **named: prior)
    monkeypatch.setattr(calibrate_maps, "fit_maps", lambda *given: iter([entry]))
    shared = ["calibrate", "--prior", str(path), "--data", str(tmp_path), "--device", "cpu", "--part", "maps"]
    for _ in range(2):
        assert main(shared) == 0
        card = read_card(path)
        assert len(card.maps) == 1
        assert (card.calibration, card.typicality) == ([], {})
    assert "prior_decided warns from |z|" in capsys.readouterr().out
    stub_prior(monkeypatch, maps=card.maps)
    told = reconstruct(small, settings, views=12, pixel_mm=8.991, methods=("diffusion",)).report["maps"]
    assert told["prior_decided"]["threshold"] == card.maps[0]["maps"]["prior_decided"]["threshold"]
