"""Activity drawn at random in the anatomy of CT and MR images, and the scale of activity."""

from __future__ import annotations

import numpy as np
import pytest
from diffusion_engine.phantoms.activity import activity_of_brain, activity_of_ct, at_resolution, body_of, grain
from diffusion_engine.phantoms.hot_spots import lesions
from diffusion_engine.phantoms.torso import TISSUES, synthetic_torso
from diffusion_engine.physics.activity_scale import UNIT, activity_scale

SPACING = (12.0, 4.5, 4.5)
TORSO = synthetic_torso((8, 96, 96), SPACING, 0, middle_mm=-90.0)
HU = TORSO.hu.array


def test_tissues_of_a_ct_are_those_that_it_was_made_of() -> None:
    table = HU.copy()
    table[:, 85:86, 20:76] = 50.0  # a thin plate below the body
    body = body_of(table, SPACING)
    truth = TORSO.labels > 0
    assert (body.whole != truth).sum() < 0.12 * truth.sum()
    assert not body.whole[:, 85].any()
    lungs = TORSO.labels == TISSUES["lungs"].label
    assert (body.lungs & lungs).sum() > 0.85 * lungs.sum()
    assert not (body.lungs & ~body.whole).any()
    parts = np.stack([body.lungs, body.gas, body.fat, body.bone, body.soft]).sum(0)
    assert np.array_equal(parts > 0, body.whole)
    assert parts.max() == 1
    with pytest.raises(ValueError, match="nothing above -300 HU"):
        body_of(np.full((2, 20, 20), -1000.0), SPACING)


def test_every_seed_is_another_patient_in_the_same_anatomy() -> None:
    first, again, other = (activity_of_ct(HU, SPACING, seed) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert np.abs(first - other).mean() > 0.1
    whole = body_of(HU, SPACING).whole
    for activity in (first, other):
        assert activity.dtype == np.float32
        assert np.isfinite(activity).all()
        assert activity.min() >= 0
        assert not activity[~whole].any()


def test_uptakes_are_those_of_fdg_images() -> None:
    body = body_of(HU, SPACING)
    medians = np.array([
        [np.median(activity[part]) for part in (body.fat, body.lungs, body.soft)]
        for activity in (activity_of_ct(HU, SPACING, seed) for seed in range(8))
    ])
    low, high = (0.1, 0.2, 0.35), (0.6, 0.9, 3.0)
    assert (medians > low).all()
    assert (medians < high).all()
    assert (medians.std(0) > 0.05).all()  # no fixed table of uptakes


def test_brain_takes_up_most_in_its_cortex() -> None:
    z, y, x = np.meshgrid(*(np.arange(-n / 2, n / 2) for n in (10, 48, 48)), indexing="ij")
    away = np.sqrt((z * 8) ** 2 + (y * 4) ** 2 + (x * 4) ** 2)
    t1 = np.where(away < 44, 1000.0, np.where(away < 60, 600.0, 0.0))
    t1[away < 12] = 200.0
    grey_over_white = []
    for seed in range(4):
        activity = activity_of_brain(t1, (8.0, 4.0, 4.0), seed)
        grey, white = (np.median(activity[(away > a) & (away < b)]) for a, b in ((49, 55), (18, 38)))
        grey_over_white.append(grey / white)
        assert np.median(activity[away < 6]) < 0.6 * grey
    assert min(grey_over_white) > 1.5
    with pytest.raises(ValueError, match="no voxel with signal"):
        activity_of_brain(np.zeros((3, 9, 9)), (8.0, 4.0, 4.0), 0)


def test_lesions_are_laid_inside_and_not_always() -> None:
    inside = np.zeros((6, 40, 40), bool)
    inside[:, 10:30, 10:30] = True
    changed = []
    for seed in range(12):
        activity = np.where(inside, 1.0, 0.0)
        lesions(activity, inside, (8.0, 4.0, 4.0), np.random.default_rng(seed), most=2)
        changed.append(np.abs(activity - inside).max())
        assert np.isfinite(activity).all()
    assert min(changed) == 0.0
    assert max(changed) > 1.0


def test_resolution_keeps_activity_and_has_its_width() -> None:
    point = np.zeros((15, 60, 60))
    point[7, 30, 30] = 1.0
    shown = at_resolution(point, (2.0, 2.0, 2.0), 6.0)
    assert shown.sum() == pytest.approx(1.0, abs=1e-3)
    place = np.arange(60) - 30
    assert 2.3548 * 2.0 * np.sqrt((shown.sum((0, 1)) * place**2).sum()) == pytest.approx(6.0, rel=0.03)
    assert at_resolution(point, (2.0, 2.0, 2.0), 6.0, 2).shape == (15, 30, 30)
    assert 4 * at_resolution(point, (2.0, 2.0, 2.0), 6.0, 2).sum() == pytest.approx(1.0, abs=1e-3)


def test_grain_is_of_unit_deviation_and_of_its_size() -> None:
    fine, coarse = (grain((4, 64, 64), (8.0, 4.0, 4.0), size, np.random.default_rng(0)) for size in (8.0, 30.0))
    for noise in (fine, coarse):
        assert noise.mean() == pytest.approx(0.0, abs=1e-9)
        assert noise.std() == pytest.approx(1.0)
    assert np.diff(coarse, axis=2).std() < 0.5 * np.diff(fine, axis=2).std()


def test_scale_follows_the_unit_and_not_the_bladder_nor_the_air_around() -> None:
    image = TORSO.activity.array
    scale = activity_scale(image)
    assert activity_scale(5000 * image) == pytest.approx(5000 * scale)
    usual = np.percentile(image[TORSO.labels > 0], 80)
    assert scale == pytest.approx(UNIT * usual, rel=0.25)
    hot = image.copy()
    hot[:, 44:50, 44:50] = 60.0
    assert activity_scale(hot) == pytest.approx(scale, rel=0.3)
    wide = np.pad(image, ((0, 0), (16, 16), (16, 16)))
    assert activity_scale(wide) == pytest.approx(scale, rel=0.1)


@pytest.mark.parametrize(("image", "words"), [
    (np.zeros((2, 3, 3)), "none above 0"), (np.full((1, 2, 2), np.nan), "NaN"),
])
def test_a_scale_of_nothing_is_refused(image, words) -> None:
    with pytest.raises(ValueError, match=words):
        activity_scale(image)
