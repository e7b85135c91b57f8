"""Limits of detection: from rows, in a card, and in words for a run."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusion_engine.evaluation.detection import detection_limits, two_digits
from diffusion_engine.modalities.ct.dose import dose
from diffusion_engine.modalities.ct.entry import CT
from diffusion_engine.modalities.ct.fingerprint import CTFingerprint
from diffusion_engine.modalities.ct.problem import prepare
from diffusion_engine.modalities.ct.scan import CTScan
from diffusion_engine.modalities.ct.simulate import simulate
from diffusion_engine.priors.adapter_card import SHIPPED
from diffusion_engine.priors.card import PriorCard, read_card, write_card
from diffusion_engine.run import pipeline
from diffusion_engine.run.detection import detection_sentence, method_of
from diffusion_engine.run.pipeline import reconstruct
from diffusion_engine.run.settings import Settings
from diffusion_engine.volume import Volume
from small_modalities import Shrinking

CARD = replace(read_card(SHIPPED / "ct-body.json"), detection=[])


def row(diameter: float, kept: float, contrast: float = 60.0, views: int = 20, noise: float = 0.2) -> dict[str, Any]:
    return {
        "preset": "standard", "method": {"solver": "dds"}, "views": views, "noise_percent": noise,
        "diameter_mm": diameter, "contrast": contrast, "contrast_kept": kept,
    }


def test_a_limit_is_the_smallest_diameter_from_which_on_lesions_are_kept() -> None:
    rows = [row(4.0, 0.9), row(6.0, 0.5), row(8.0, 0.2), *(row(10.0, 0.6 if n else 0.1) for n in range(5))]
    rows += [row(15.0, 0.9, -50.0), row(15.0, 0.8)]
    rows += [row(6.0, 0.9, 100.0), row(15.0, 0.9, 61.0)]
    low, high = detection_limits(rows)
    assert (low["contrast_up_to"], low["limit_mm"], low["lesions"]) == (60.0, 10.0, 10)  # 4 of 5 of 10 mm
    assert low["tried_mm"] == [4.0, 15.0]
    assert (high["contrast_up_to"], high["limit_mm"], high["lesions"]) == (None, 6.0, 2)
    (none,) = detection_limits([row(4.0, 0.9), row(20.0, 0.5)])
    assert none["limit_mm"] is None  # half of the contrast is not more than half
    assert (low["preset"], low["method"], low["views"]) == ("standard", {"solver": "dds"}, 20)


def test_limits_are_apart_by_views_noise_and_method() -> None:
    other = {**row(8.0, 1.0), "method": {"solver": "tmpd"}}
    rows = [row(8.0, 1.0), row(8.0, 1.0, views=60), row(8.0, 1.0, noise=1.0), row(8.0, 1.0, noise=0.2004), other]
    found = [(limit["method"]["solver"], limit["views"], limit["noise_percent"]) for limit in detection_limits(rows)]
    assert sorted(found) == [("dds", 20, 0.2), ("dds", 20, 1.0), ("dds", 60, 0.2), ("tmpd", 20, 0.2)]
    assert [two_digits(value) for value in (0.2004, 0.5249, 12.6)] == [0.2, 0.52, 13.0]


def limited(*limits: tuple[int, float, float | None, float | None], settings: Settings) -> PriorCard:
    """A card with (views, noise, contrast, limit) for the method of some settings."""
    entries = [
        {
            "preset": "standard", "method": method_of(settings, CARD), "views": views, "noise_percent": noise,
            "contrast_up_to": contrast, "limit_mm": limit, "tried_mm": [4.0, 20.0], "lesions": 9,
        } for views, noise, contrast, limit in limits
    ]
    return replace(CARD, detection=entries)


def test_a_card_keeps_its_limits(tmp_path: Path) -> None:
    card = limited((20, 0.2, 60.0, 12.0), (20, 0.2, None, None), settings=Settings(preset="standard"))
    write_card(card, tmp_path / "card.json")
    read = read_card(tmp_path / "card.json")
    assert read == card
    assert detection_sentence(read, Settings(preset="standard", views=20)) is not None
    content = json.loads((tmp_path / "card.json").read_text())
    del content["detection"]
    (tmp_path / "older.json").write_text(json.dumps(content))
    assert read_card(tmp_path / "older.json").detection == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"limit_mm": -3}, "no positive numbers"), ({"views": "20"}, "no positive numbers"),
        ({"tried_mm": [4.0]}, "no positive numbers"), ({"noise_percent": None}, "no positive numbers"),
        ({"method": "dds"}, "needs"), ({"lesions": ...}, "needs"),
    ],
)
def test_wrong_limits_are_refused(change: dict[str, Any], words: str, tmp_path: Path) -> None:
    card = limited((20, 0.2, 60.0, 12.0), settings=Settings())
    entry = {**card.detection[0], **change}
    write_card(replace(card, detection=[{k: v for k, v in entry.items() if v is not ...}]), tmp_path / "card.json")
    with pytest.raises(ValueError, match=f"limit of detection in the model card card.json .*{words}"):
        read_card(tmp_path / "card.json")


def test_the_sentence_takes_the_nearest_lower_views_and_the_nearest_noise() -> None:
    settings = Settings(preset="standard", views=45, noise_percent=0.3)
    card = limited(
        (20, 0.2, 60.0, None), (30, 0.2, 60.0, 12.0), (30, 0.2, None, 4.0), (30, 1.0, 60.0, 20.0), (60, 0.2, 60.0, 6.0),
        settings=settings,
    )
    sentence = detection_sentence(card, settings)
    assert sentence == (
        "At this dose and with these views, lesions that differ by up to 60 HU may be missing below 12 mm; lesions "
        "that differ by more than 60 HU may be missing below 4 mm, the smallest size that was tried. Measured on "
        "lesions inserted into real images, with 30 views and noise of 0.2 % of the largest reading."
    )

    def said(**changes: Any) -> str:
        found = detection_sentence(card, settings.changed(**changes))
        assert found is not None
        return found

    assert "below 20 mm" in said(noise_percent=0.6)
    assert "below 6 mm" in said(views=200)
    assert "at every size that was tried (4 to 20 mm)" in said(views=25)
    assert "larger ones may be missing too" in said(views=12)
    assert "larger ones" not in said(views=20)


def test_another_method_or_card_says_nothing() -> None:
    settings = Settings(preset="standard")
    card = limited((20, 0.2, 60.0, 12.0), settings=settings)
    assert detection_sentence(card, settings) is not None
    assert detection_sentence(card, Settings()) is not None  # the same steps by default
    assert detection_sentence(card, settings.changed(seed=3, draws=9)) is not None
    others = ({"steps": 20}, {"coupling": "ztv"}, {"solver": "tmpd"}, {"solver_options": {"prior_variance": 4.0}})
    for changes in others:
        assert detection_sentence(card, settings.changed(**changes)) is None, changes
    assert detection_sentence(card, settings.changed(methods=("fbp", "tv"))) is None
    assert detection_sentence(CARD, settings) is None
    other = [{**card.detection[0], "method": {**card.detection[0]["method"], "prior_sha256": "other weights"}}]
    assert detection_sentence(replace(card, detection=other), settings) is None
    assert detection_sentence(replace(card, sha256="other weights"), settings) is None


def test_the_dose_of_a_scan_is_that_of_its_data(chest: Volume) -> None:
    """The same as the fingerprint of the simulated data, for what was measured and for what is foretold."""
    for scan in ({"noise_percent": 0.5}, {"i0": 1e5}, {"i0": 1e5, "electronic_std": 20.0}):
        settings = Settings(views=24, **scan)
        measured, _, _ = CT.simulate(chest, settings)
        known = CTFingerprint.of(prepare(chest, settings, torch.device("cpu"), None))
        views, noise = dose(CTScan(), measured)
        assert views == 24
        assert noise == pytest.approx(known.noise_percent, rel=0.1), scan
        counts = replace(measured, variance=None)
        assert dose(CTScan(), counts)[1] == pytest.approx(known.noise_percent, rel=1.5)
    assert dose(CTScan(views=9, noise_percent=0.7), None) == (9, 0.7)
    few, many = (dose(CTScan(i0=photons), None)[1] for photons in (1e4, 1e6))
    assert few == pytest.approx(10 * many, rel=1e-6)
    assert 0.3 < dose(CTScan(i0=1e5), None)[1] < 0.8


def test_photon_counts_tell_their_noise(chest: Volume) -> None:
    settings = Settings(views=16, i0=1e5)
    counts = simulate(chest, settings, 1).measurement
    assert counts.kind == "counts"
    known = dose(CTScan(), replace(counts))[1]
    assert known == pytest.approx(dose(CTScan(), replace(counts, i0=None))[1], rel=0.05)
    dead = np.zeros(counts.values.shape) + 1e-4
    dead[:, :, 3], dead[:, :, 4] = np.inf, 4.0
    lines = replace(counts, values=counts.values * 0 + 2, kind="line_integrals", variance=dead)
    assert dose(CTScan(), lines)[1] == pytest.approx(0.5)


def test_a_report_says_its_limits(chest: Volume, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(
        views=16, draws=1, steps=2, methods=("diffusion",), device="cpu", keep=("mean",), tv_iterations=2,
    )
    prior = Shrinking(limited((12, 0.2, 60.0, 9.0), settings=settings))
    monkeypatch.setattr(pipeline, "load_prior", lambda *given, **named: prior)
    notes = reconstruct(chest.crop(slices=(0, 1)), settings).report["notes"]
    assert sum("may be missing below 9 mm" in note for note in notes) == 1
