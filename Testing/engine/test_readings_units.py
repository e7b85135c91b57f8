"""What readings are not: no logarithm, its sign, pixel units, normalised, counts far from i0. Each has its sentence."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from ct_phantoms import disc_sinogram
from diffusion_engine.modalities.ct.measurement import Measurement
from diffusion_engine.modalities.ct.readings.judge import judge
from diffusion_engine.physics.ct import CTGeometry
from readings_scans import geometry, kinds, lines, photons

BEAMS = ["parallel", "fan_flat", "fan_curved"]
Wrong = Callable[[CTGeometry], Measurement]

IMPOSSIBLE: dict[str, tuple[Wrong, str]] = {
    "transmission": (lambda g: replace(lines(g), values=np.exp(-lines(g).values)), "no logarithm was taken"),
    "percent": (lambda g: replace(lines(g), values=100 * np.exp(-lines(g).values)), "no logarithm was taken"),
    "counts as line integrals": (lambda g: replace(photons(g), kind="line_integrals"), "set values to counts"),
    "line integrals as counts": (lambda g: replace(lines(g), kind="counts"), "counts are smallest|counts reach only"),
    "scaled line integrals as counts": (
        lambda g: replace(lines(g), kind="counts", values=1e4 * lines(g).values), "counts are smallest"),
    "transmission as counts": (
        lambda g: replace(lines(g), kind="counts", values=np.exp(-lines(g).values)), "counts reach only"),
    "sign": (lambda g: replace(lines(g), values=-lines(g).values), "sign of the logarithm is wrong"),
    "pixels": (lambda g: replace(lines(g), values=18 * lines(g).values), "no body lets"),
    "i0 of one": (lambda g: replace(photons(g), i0=1.0), r"20,\d* times the stated i0 of 1"),
    "i0 too small": (lambda g: replace(photons(g), i0=5e3), "4.0 times the stated i0"),
}


@pytest.mark.parametrize("beam", BEAMS)
@pytest.mark.parametrize("wrong", IMPOSSIBLE)
def test_what_cannot_be_is_refused_in_one_sentence_unless_trusted(wrong: str, beam: str) -> None:
    make, sentence = IMPOSSIBLE[wrong]
    measurement = make(geometry(beam, 30))
    if wrong == "i0 of one":
        sentence = "times the stated i0 of 1"
    with pytest.raises(ValueError, match=sentence) as refusal:
        judge(measurement)
    assert "\n" not in str(refusal.value)
    assert "trust_unit" in str(refusal.value)
    assert judge(measurement, trusted=True).remarks[0].certain


@pytest.mark.parametrize("beam", BEAMS)
@pytest.mark.parametrize(("scale", "kind"), [(0.1, "density"), (1 / math.log(10), "density"), (3.0, "density")])
def test_a_density_far_from_water_is_a_doubt(beam: str, scale: float, kind: str) -> None:
    good = lines(geometry(beam, 40))
    wrong = replace(good, values=scale * good.values)
    remarks = judge(wrong).remarks
    assert [remark.kind for remark in remarks] == [kind]
    assert not remarks[0].certain
    assert kinds(wrong, water_per_mm=0.0193 * scale) == []  # another material or energy, and said so


@pytest.mark.parametrize("beam", BEAMS)
def test_a_logarithm_of_base_10_is_doubted(beam: str) -> None:
    rays = geometry(beam)
    clean = disc_sinogram(rays, 9, -6, 110, 0.0201).numpy()[None]  # an abdomen has no lungs that make it lighter yet
    good = Measurement((clean + 0.01 * np.random.default_rng(0).standard_normal(clean.shape)).astype(np.float32), rays)
    assert kinds(good) == []
    assert kinds(replace(good, values=good.values / np.float32(math.log(10)))) == ["density"]


def test_nothing_is_said_of_the_density_of_an_object_of_a_few_coarse_pixels() -> None:
    rays = geometry(count=240)
    clean = disc_sinogram(rays, 14, -10, 9, 0.02).numpy()[None]
    for std in (0.0004, 0.004):
        noise = std * np.random.default_rng(0).standard_normal(clean.shape)
        assert kinds(Measurement((clean + noise).astype(np.float32), rays)) == []


def test_a_density_of_few_views_is_judged_more_roughly() -> None:
    good = lines(geometry("parallel", 8))
    assert kinds(good) == []
    assert kinds(replace(good, values=0.1 * good.values)) == ["density"]


def test_readings_normalised_to_one_are_doubted() -> None:
    good = lines(geometry())
    assert kinds(replace(good, values=good.values / good.values.max())) == ["normalised"]
    exact = good.values / good.values.max() * np.float32(good.values.max())
    assert kinds(replace(good, values=exact)) == []


@pytest.mark.parametrize("beam", BEAMS)
def test_an_i0_somewhat_off_is_a_doubt(beam: str) -> None:
    good = photons(geometry(beam))
    assert kinds(good) == []
    for factor, sentence in ((0.75, "brightest readings count"), (1.3, "ends count"), (3.0, "ends count")):
        remarks = judge(replace(good, i0=2e4 * factor)).remarks
        assert remarks[0].kind == "i0"
        assert sentence in remarks[0].sentence
        assert not remarks[0].certain


@pytest.mark.parametrize("i0", [40.0, 300.0, 1e6])
def test_a_stated_i0_of_any_dose_is_believed(i0: float) -> None:
    assert [kind for kind in kinds(photons(geometry(), i0, electronic=2.0)) if kind == "i0"] == []
