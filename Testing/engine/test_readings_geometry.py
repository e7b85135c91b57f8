"""Whether readings and geometry belong together: degrees, order, exchanged axes, sums, rotation axis, gaps."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusion_engine import Settings
from diffusion_engine.modalities.ct.measurement import Measurement
from diffusion_engine.modalities.ct.problem import prepare
from diffusion_engine.modalities.ct.readings.judge import first_look, judge
from readings_scans import changed, geometry, kinds, lines, photons

GOLDEN = math.pi * (math.sqrt(5) - 1) / 2


def turned(measurement: Measurement, angles: np.ndarray) -> Measurement:
    return replace(measurement, geometry=replace(measurement.geometry, angles_rad=tuple(angles)))


@pytest.mark.parametrize(("beam", "views"), [("parallel", 40), ("parallel", 8), ("fan_flat", 36), ("fan_curved", 12)])
def test_degrees_are_refused(beam: str, views: int) -> None:
    good = lines(geometry(beam, views))
    assert kinds(good) == []
    with pytest.raises(ValueError, match="look like degrees, expected radians"):
        judge(turned(good, np.degrees(good.geometry.angles_rad)))


@pytest.mark.parametrize("beam", ["parallel", "fan_flat"])
def test_golden_angles_are_good_in_radians_and_refused_in_degrees(beam: str) -> None:
    rays = replace(geometry(beam), angles_rad=tuple(GOLDEN * np.arange(60)))
    good = lines(rays)
    assert kinds(good) == []
    with pytest.raises(ValueError, match="degrees"):
        judge(turned(good, np.degrees(rays.angles_rad)))


def test_several_turns_are_good() -> None:
    assert kinds(lines(geometry("fan_flat", 120, 6 * math.pi))) == []
    assert kinds(lines(geometry("parallel", 120, 6 * math.pi))) == []


def test_angles_in_another_order_are_doubted() -> None:
    good = lines(geometry())
    shuffled = np.random.default_rng(0).permutation(good.geometry.angles_rad)
    assert "order" in kinds(turned(good, shuffled))


def test_exchanged_axes_are_named() -> None:
    square = lines(geometry(views=128))
    assert kinds(square) == []
    with pytest.raises(ValueError, match="Views and detectors seem to be exchanged"):
        judge(replace(square, values=np.ascontiguousarray(square.values.swapaxes(1, 2))))
    stack = lines(geometry(views=16), slices=16)
    tapered = replace(stack, values=stack.values * np.linspace(0.5, 1.5, 16, dtype=np.float32)[:, None, None])
    assert kinds(tapered) == []
    with pytest.raises(ValueError, match="Slices and views seem to be exchanged"):
        judge(replace(tapered, values=np.ascontiguousarray(tapered.values.swapaxes(0, 1))))
    with pytest.raises(ValueError, match="exchange its axes"):
        replace(stack, values=np.zeros((128, 16, 16), np.float32).transpose(1, 2, 0)[:, :8])
    with pytest.raises(ValueError, match="exchange its axes"):
        Measurement(np.zeros((128, 60, 1), np.float32), geometry())


def test_sums_that_differ_are_doubted() -> None:
    good = lines(geometry())
    weak = good.values.copy()
    weak[:, 20:40] *= 0.6
    assert kinds(replace(good, values=weak)) == ["view_sums"]


def shifted(measurement: Measurement, bins: float) -> Measurement:
    rays = measurement.geometry
    return replace(measurement, geometry=replace(
        rays, detector_offset_mm=rays.detector_offset_mm + bins * rays.detector_spacing_mm
    ))


@pytest.mark.parametrize(("beam", "views", "arc"), [
    ("parallel", 60, math.pi), ("parallel", 12, math.pi), ("parallel", 90, 2 * math.pi), ("fan_flat", 60, None),
    ("fan_curved", 24, None),
])
@pytest.mark.parametrize("bins", [0.5, -1.5])
def test_a_wrong_rotation_axis_is_remarked_with_the_offset_that_fits(
    beam: str, views: int, arc: float | None, bins: float
) -> None:
    good = lines(geometry(beam, views, arc))
    wrong = shifted(good, bins)
    judged = judge(wrong)
    assert [remark.kind for remark in judged.remarks] == ["axis"]
    assert not judged.remarks[0].certain
    assert judged.detector_offset_mm == pytest.approx(0.0, abs=0.3 * wrong.geometry.detector_spacing_mm)
    assert "detector_offset_mm" in judged.remarks[0].sentence
    assert judged.measurement is wrong  # offered, never applied
    assert kinds(shifted(wrong, -bins)) == []


def test_no_axis_is_claimed_where_the_readings_cannot_tell() -> None:
    limited = shifted(lines(geometry("parallel", 40, math.pi / 2)), 1.0)
    short = shifted(lines(geometry("fan_flat", 60, math.radians(220))), 1.0)
    noisy = shifted(lines(geometry("parallel", 20), std=1.5), 0.5)
    for measurement in (limited, short, noisy):
        assert "axis" not in kinds(measurement)
    cut = shifted(lines(geometry(count=80)), 1.0)
    assert "axis" not in kinds(cut)


@pytest.mark.parametrize(("beam", "arc", "sentence"), [
    ("parallel", 90, "cover 90 degrees, the largest gap between them is 92"), ("fan_flat", 60, "cover 60 degrees"),
    ("fan_flat", 180, "cover 180 degrees"), ("parallel", 180, None), ("fan_curved", 230, None),
])
def test_a_gap_in_the_views_is_remarked(beam: str, arc: float, sentence: str | None) -> None:
    remarks = first_look(lines(geometry(beam, 45, math.radians(arc)))).remarks
    assert [remark.kind for remark in remarks] == ([] if sentence is None else ["gap"])
    if sentence is not None:
        assert sentence in remarks[0].sentence
        assert remarks[0].certain


@pytest.mark.parametrize(("beam", "views"), [("parallel", 2), ("parallel", 4), ("fan_flat", 3)])
def test_so_few_views_are_mostly_gap(beam: str, views: int) -> None:
    assert kinds(lines(geometry(beam, views))) == ["gap"]
    assert kinds(lines(geometry(beam, 8))) == []


def test_cut_off_rays_are_remarked_once_in_the_report() -> None:
    problem = prepare(lines(geometry(count=80)), Settings(), torch.device("cpu"), None)
    assert [remark.kind for remark in problem.remarks] == ["cut_off"]
    assert sum("beyond the field of view" in note for note in problem.notes) == 1


def test_what_is_refused_is_refused_before_anything_is_solved() -> None:
    wrong = changed(photons(geometry()), (..., slice(0, 0)), 0.0)
    with pytest.raises(ValueError, match="times the stated i0"):
        prepare(replace(wrong, i0=1.0), Settings(), torch.device("cpu"), None)
    trusted = prepare(replace(wrong, i0=1.0), Settings(trust_unit=True), torch.device("cpu"), None)
    assert trusted.remarks[0].kind == "i0"
