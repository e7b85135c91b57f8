"""Readings that are none: dead, hot and stuck bins, blank views, saturation, masked air, infinite variances, no air."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusion_engine import Settings, reconstruct
from diffusion_engine.modalities.ct.measurement import Measurement
from diffusion_engine.modalities.ct.problem import prepare
from diffusion_engine.modalities.ct.readings.air import require_air
from diffusion_engine.modalities.ct.readings.bins import filled
from diffusion_engine.modalities.ct.readings.judge import first_look, judge
from readings_scans import changed, geometry, kinds, lines, photons

CPU = torch.device("cpu")
BAD = [40, 65, 66]


@pytest.mark.parametrize("beam", ["parallel", "fan_flat", "fan_curved"])
@pytest.mark.parametrize("value", [0.0, 65535.0])
@pytest.mark.parametrize("counts", [True, False])
def test_bad_bins_are_named_and_left_out(beam: str, value: float, counts: bool) -> None:
    rays = geometry(beam, 40)
    good = photons(rays, slices=2) if counts else lines(rays, slices=2)
    judged = judge(changed(good, (..., BAD), value if counts or value == 0 else 20.0))
    assert [remark.kind for remark in judged.remarks] == ["bad_bins"]
    assert "bins 40, 65 and 66" in judged.remarks[0].sentence
    assert judged.remarks[0].certain
    assert np.flatnonzero(~judged.used[0].any(0)).tolist() == BAD
    assert judged.used.sum() == judged.used.size - 2 * 40 * 3
    between = np.sort(good.values[:, :, [64, 67]], axis=-1)
    middle = judged.measurement.values[:, :, 65]
    assert ((middle >= between[..., 0]) & (middle <= between[..., 1])).all()


def test_a_bad_bin_of_one_slice_is_left_out_there_alone() -> None:
    judged = judge(changed(lines(geometry(), slices=3), (1, slice(None), 50), 0.0))
    assert "bin 50 (from 0) of slice 1 " in judged.remarks[0].sentence
    assert not judged.used[1, :, 50].any()
    assert judged.used[[0, 2]].all()


def test_a_dead_bin_that_is_noisy_is_found() -> None:
    good = lines(geometry())
    noise = 0.02 * np.random.default_rng(1).standard_normal(60)
    values = good.values.copy()
    values[0, :, 50] = noise
    assert kinds(replace(good, values=values)) == ["bad_bins"]


def test_a_thin_dense_object_in_the_middle_is_no_bad_bin() -> None:
    good = lines(geometry())
    values = good.values.copy()
    values[0, :, 65:67] += 2.0 + 0.01 * np.random.default_rng(1).standard_normal((60, 2))
    assert not first_look(replace(good, values=values)).remarks


def test_blank_views_are_left_out() -> None:
    judged = judge(changed(lines(geometry()), (0, slice(10, 12)), 0.0))
    assert [remark.kind for remark in judged.remarks] == ["blank_views"]
    assert "Views 10 and 11" in judged.remarks[0].sentence
    assert np.flatnonzero(~judged.used[0].any(1)).tolist() == [10, 11]


def test_filled_lies_between_the_neighbours() -> None:
    values = np.array([[[1.0, 9, 3, 9], [5, 5, 5, 5], [3, 3, 3, 3]]])
    used = np.ones(values.shape, bool)
    used[0, 0, [1, 3]] = False
    used[0, 1] = False
    np.testing.assert_allclose(filled(values, used)[0], [[1, 2, 3, 3], [2, 2.5, 3, 3], [3, 3, 3, 3]])
    assert filled(values, np.ones_like(used)) is values


def test_saturated_counts_are_named_and_left_out_where_i0_is_larger() -> None:
    good = photons(geometry(), 1e5)
    clipped = replace(good, values=np.minimum(good.values, 65535))
    judged = judge(clipped)
    assert [remark.kind for remark in judged.remarks] == ["saturated"]
    assert (~judged.used == (clipped.values == 65535)).all()
    judged = first_look(replace(clipped, i0=65535.0))
    assert judged.remarks[0].kind == "saturated"
    assert judged.used.all()


def test_masked_air_is_named_and_its_noise_taken_from_the_rest() -> None:
    good = lines(geometry())
    clean = lines(geometry(), std=0.0).values
    masked = replace(good, values=np.where(clean == 0, 0, good.values).astype(np.float32))
    assert kinds(masked) == ["masked_air"]
    assert prepare(masked, Settings(), CPU, None).delivered.noise_std == pytest.approx(0.01, rel=0.35)


@pytest.mark.parametrize("beam", ["parallel", "fan_flat"])
@pytest.mark.parametrize("width", [50, 60])
def test_counts_without_air_need_their_i0(beam: str, width: int) -> None:
    good = photons(geometry(beam, 48), stated=False)
    first = (128 - width) // 2
    cut = replace(good, values=np.ascontiguousarray(good.values[..., first:first + width]),
                  geometry=replace(good.geometry, detector_count=width))
    with pytest.raises(ValueError, match="give i0") as refusal:
        judge(cut)
    assert "\n" not in str(refusal.value)
    with pytest.raises(ValueError, match="give i0"):
        judge(cut, trusted=True)  # there is nothing to estimate it from
    assert "density" not in kinds(replace(cut, i0=2e4))
    assert require_air(good.values, np.True_, good.geometry) == pytest.approx(2e4, rel=0.005)


def test_hot_bins_do_not_set_i0() -> None:
    wrong = changed(photons(geometry("parallel", 40), stated=False), (..., [20, 65, 66, 90]), 65535.0)
    problem = prepare(wrong, Settings(), CPU, None)
    assert "beside the object: 2e+04." in " ".join(problem.notes)
    assert "bins 20, 65, 66 and 90" in " ".join(problem.notes)
    assert problem.delivered.noise_std < 0.06
    weights = problem.delivered.measured.curvature(torch.zeros(1))[0]
    assert (weights == 0).all(0).nonzero().flatten().tolist() == [20, 65, 66, 90]
    assert bool((weights > 0).any(0).sum() == 124)


def test_an_infinite_variance_is_weight_zero_and_anything_below_positive_is_refused() -> None:
    good = lines(geometry(), variance=np.full((1, 1, 1), 1e-4))
    variance = np.full((1, 1, 128), 1e-4)
    variance[..., 30] = np.inf
    wild = changed(replace(good, variance=variance), (..., 30), 1e4)
    problem = prepare(wild, Settings(), CPU, None)
    assert [remark.kind for remark in problem.remarks] == ["infinite_variance"]
    assert bool(torch.isinf(problem.delivered.measured.variance.expand(1, 60, 128)[..., 30]).all())
    assert problem.delivered.noise_std == pytest.approx(0.01)
    for bad in (0.0, -1.0, np.nan):
        with pytest.raises(ValueError, match="positive variances, found 1 "):
            replace(good, variance=np.where(np.arange(128) == 30, bad, 1e-4)[None, None])
    with pytest.raises(ValueError, match="fits the sinogram"):
        replace(good, variance=np.full((1, 5, 128), 1e-4))
    with pytest.raises(ValueError, match="no reading is left"):
        replace(good, variance=np.array(np.inf))


@pytest.mark.parametrize("counts", [True, False])
def test_images_with_bad_bins_are_as_good_as_without(counts: bool) -> None:
    rays = geometry("parallel", 40)
    good = photons(rays) if counts else lines(rays)
    settings = Settings(methods=("fbp", "tv"), tv_iterations=60, pixel_mm=7.2)
    right = reconstruct(good, settings)
    assert right.report["remarks"] == []
    spoiled: Measurement = changed(good, (..., BAD), 0.0)
    found = reconstruct(spoiled, settings)
    assert [remark["kind"] for remark in found.report["remarks"]] == ["bad_bins"]
    assert found.report["remarks"][0]["sentence"] in found.report["notes"]
    for one, other in zip(found.report["residual_tests"], right.report["residual_tests"], strict=True):
        assert one["ratio"] == pytest.approx(other["ratio"], rel=0.15)
    assert found.report["noise_std"] == pytest.approx(right.report["noise_std"], rel=0.1)
    for name, limit in (("tv", 20.0), ("fbp", 40.0)):
        difference = found.volumes[name].array - right.volumes[name].array
        assert float(np.sqrt((difference**2).mean())) < limit
