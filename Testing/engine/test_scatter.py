"""Scatter and beam hardening of simulated scans: their models by hand, and where they reach in a run."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusion_engine.__main__ import main
from diffusion_engine.io.images import read_array, write_volume
from diffusion_engine.modalities.ct import simulate as module
from diffusion_engine.modalities.ct.entry import in_words
from diffusion_engine.modalities.ct.fingerprint import CTFingerprint
from diffusion_engine.modalities.ct.problem import prepare
from diffusion_engine.modalities.ct.simulate import simulate
from diffusion_engine.phantoms import synthetic_chest
from diffusion_engine.physics.ct import CTGeometry, view_angles
from diffusion_engine.physics.scatter import WIDTH_MM, scattered
from diffusion_engine.physics.spectrum import BEAM, BONE_HU, WATER_HU, bone_share, hardened
from diffusion_engine.run.settings import Settings
from diffusion_engine.volume import Volume

RAYS = CTGeometry("parallel", view_angles(3, math.pi), 64, 8.0)
FAN = replace(RAYS, type="fan_flat", source_to_isocentre_mm=570.0, source_to_detector_mm=1140.0)
BOTH: dict[str, Any] = {"scatter_percent": 5.0, "beam_hardening": True}


@pytest.fixture(scope="module")
def small() -> Volume:
    """A slice of the chest, 32 x 40 pixels of 9 mm."""
    return synthetic_chest((1, 32, 40), (10.0, 9.0, 9.0))[0]


def ellipse_lines() -> torch.Tensor:
    """Line integrals of water, 300 mm wide and as deep as the view says: (1, views, detectors)."""
    chord = np.sqrt(np.clip(1 - (RAYS.detector_u_mm / 150) ** 2, 0, None))
    return torch.tensor(np.stack([depth * chord for depth in (3.0, 5.0, 7.0)]), dtype=torch.float32)[None]


def test_scatter_is_the_stated_part_of_the_primary_beam() -> None:
    """Weighted by path length, in every view; the reading is the sum of both."""
    p = ellipse_lines()
    scatter = (torch.exp(-scattered(p, RAYS, 8.0)) - torch.exp(-p)).double()
    part = (p * scatter).sum(-1) / (p * torch.exp(-p)).sum(-1)
    torch.testing.assert_close(part, torch.full_like(part, 0.08), rtol=1e-4, atol=0)
    torch.testing.assert_close(
        torch.exp(-scattered(p, RAYS, 4.0)) - torch.exp(-p), (scatter / 2).float(), rtol=1e-3, atol=1e-7
    )


@pytest.mark.parametrize(("rays", "width"), [(RAYS, WIDTH_MM), (FAN, 2 * WIDTH_MM)], ids=["parallel", "fan"])
def test_scatter_of_a_thin_object_falls_off_as_a_gaussian_at_the_isocentre(rays: CTGeometry, width: float) -> None:
    p = torch.zeros(1, 3, 64)
    p[..., 40] = 2.0
    scatter = (torch.exp(-scattered(p.double(), rays, 5.0)) - torch.exp(-p.double()))[0, 1]
    away = torch.arange(64) - 40.0
    torch.testing.assert_close(scatter / scatter[40], torch.exp(-((away * 8.0 / width) ** 2) / 2).double())
    assert float(scatter[40]) == pytest.approx(0.05 * math.exp(-2.0), rel=1e-6)


def test_air_scatters_nothing() -> None:
    assert torch.equal(scattered(torch.zeros(1, 3, 64), RAYS, 5.0), torch.zeros(1, 3, 64))


def test_water_is_corrected_and_bone_is_not() -> None:
    """By the equation itself, solved by bisection."""
    water, bone = np.array([0.0, 0.5, 6.0, 14.0, 0.0, 2.0, 4.0]), np.array([0.0, 0.0, 0.0, 0.0, 3.0, 2.0, 0.5])
    share = np.array([row[1] for row in BEAM])
    low, high = (np.array([row[k] for row in BEAM]) for k in (2, 3))
    low, high = low / (share @ low), high / (share @ high)
    found = hardened(torch.tensor(water), torch.tensor(bone)).numpy()
    for own, hard, value in zip(water, bone, found, strict=True):
        signal = share @ np.exp(-low * own - high * hard)
        below, above = 0.0, 30.0
        for _ in range(80):
            middle = (below + above) / 2
            below, above = (middle, above) if share @ np.exp(-low * middle) > signal else (below, middle)
        assert value == pytest.approx(below, abs=1e-7)
    np.testing.assert_allclose(found[:4], water[:4], atol=1e-7)
    assert (found[4:] < (water + bone)[4:] - 0.05).all()
    thin = hardened(torch.tensor([0.0]).double(), torch.tensor([1e-4]).double())
    assert float(thin) == pytest.approx(1e-4, rel=1e-3)
    assert share.sum() == pytest.approx(1)
    with pytest.raises(ValueError, match="finite line integrals of water and bone"):
        hardened(torch.tensor([math.nan]), torch.tensor([0.0]))


def test_bone_begins_between_two_numbers() -> None:
    values = torch.tensor([-1000.0, WATER_HU, (WATER_HU + BONE_HU) / 2, BONE_HU, 3000.0])
    assert bone_share(values).tolist() == [0, 0, 0.5, 1, 1]


def test_a_scan_without_them_asks_neither(small: Volume, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: Any) -> None:
        raise AssertionError

    usual = simulate(small, Settings(views=8), 1).measurement.values
    monkeypatch.setattr(module, "scattered", never)
    monkeypatch.setattr(module, "hardened", never)
    off = Settings(views=8, scatter_percent=0, beam_hardening=False)
    np.testing.assert_array_equal(simulate(small, off, 1).measurement.values, usual)


@pytest.mark.parametrize("noise", [{"noise_percent": 1e-4}, {"i0": 1e12}], ids=["lines", "counts"])
def test_both_lessen_what_is_read_with_either_noise(small: Volume, noise: dict[str, float]) -> None:
    """Hardening only where there is bone, scatter most behind the middle."""
    def read(**changes: Any) -> np.ndarray:
        measurement = simulate(small, Settings(views=8, **noise, **changes), 1).measurement
        values = measurement.values.astype(np.float64)
        return values if measurement.kind == "line_integrals" else np.log(measurement.i0 / values)

    clean, hard, light = read(), read(beam_hardening=True), read(scatter_percent=5.0)
    soft = small.with_array(np.minimum(small.array, 100.0))
    plain, beam = (
        simulate(soft, Settings(views=8, **noise, beam_hardening=own), 1).measurement.values for own in (False, True)
    )
    np.testing.assert_allclose(beam, plain, rtol=1e-4, atol=1e-4)
    assert hard.max() < clean.max() - 0.02
    assert (hard - clean).max() < 1e-3
    middle = clean > 0.8 * clean.max()
    assert np.median((clean - light)[middle]) > 3 * np.median((clean - light)[(clean > 0.5) & ~middle])
    both = read(**BOTH)
    assert both[middle].mean() < min(hard[middle].mean(), light[middle].mean())


def test_the_shell_offers_both(small: Volume, tmp_path: Path) -> None:
    write_volume(small, tmp_path / "ct.nrrd")
    for name, more in (("clean", ()), ("both", ("--scatter-percent", "5", "--beam-hardening"))):
        command = ["simulate", "--input", str(tmp_path / "ct.nrrd"), "--views", "8", *more]
        assert main([*command, "--out", str(tmp_path / name)]) == 0
    clean, both = (read_array(tmp_path / name / "sinogram.nrrd") for name in ("clean", "both"))
    wanted = simulate(small, Settings(views=8, **BOTH), 1).measurement.values
    np.testing.assert_allclose(both, wanted, atol=1e-6)
    assert both.max() < clean.max() - 0.1


def test_a_report_says_what_its_images_do_not_know_of(small: Volume) -> None:
    clean = prepare(small, Settings(views=8), torch.device("cpu"), None)
    assert "one energy, no scatter, no motion" in clean.notes[0]
    notes = prepare(small, Settings(views=8, **BOTH), torch.device("cpu"), None).notes
    assert "kinder than a scanner: no motion." in notes[0]
    assert any("scattered photons, 5 % of the primary ones" in note for note in notes)
    assert any("three energies and is corrected for water alone" in note for note in notes)
    assert in_words({"geometry": "parallel", "views": 8}) == "parallel, 8 views"
    row = Settings(views=8, **BOTH).to_dict()
    assert in_words(row) == "parallel, 8 views, 0.2 % noise, 5 % scatter, beam hardening"


def test_a_calibration_without_them_is_not_of_a_scan_with_them(small: Volume) -> None:
    def scan(**changes: Any) -> CTFingerprint:
        return CTFingerprint.of(prepare(small, Settings(views=8, **changes), torch.device("cpu"), None))

    clean, light, hard = scan(), scan(scatter_percent=5.0), scan(beam_hardening=True)
    assert clean.fits(scan(seed=1))
    for other in (light, hard):
        assert not clean.fits(other)
        assert not other.fits(clean)
        assert CTFingerprint.stored(other.entry()).fits(other)
    assert replace(light, scatter_percent=9.0).fits(light)
    assert not replace(light, scatter_percent=11.0).fits(light)
    # Noise by ray is another kind even where it varies little, as behind a thin object.
    assert replace(clean, noise_range=1.5).fits(replace(clean, noise_range=1.2))
    assert not replace(clean, noise_range=1.5).fits(clean)
