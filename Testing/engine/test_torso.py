"""The synthetic torso with FDG."""

from __future__ import annotations

import numpy as np
import pytest
from diffusion_engine.phantoms.torso import BQ_PER_SUV, LESION, TISSUES, synthetic_torso, torso_lesions, uptake
from diffusion_engine.phantoms.torso_anatomy import person, solids

GRID = ((3, 64, 64), (30.0, 9.0, 9.0))


def test_the_same_seed_is_the_same_person_and_another_is_not() -> None:
    first, again, other = (synthetic_torso(*GRID, seed) for seed in (1, 1, 2))
    assert np.array_equal(first.activity.array, again.activity.array)
    assert np.array_equal(first.labels, again.labels)
    assert not np.array_equal(first.activity.array, other.activity.array)


def test_organs_hold_their_activity_and_hu_but_for_the_slope() -> None:
    torso = synthetic_torso((4, 128, 128), (60.0, 4.5, 4.5), 3, middle_mm=-150.0)
    for name in ("liver", "lungs", "muscle"):
        inside = torso.labels == TISSUES[name].label
        assert inside.sum() > 100
        assert np.median(torso.activity.array[inside]) == pytest.approx(torso.suv[name], rel=0.1)
        assert np.median(torso.hu.array[inside]) == pytest.approx(TISSUES[name].hu, abs=40)
    assert not torso.activity.array[:, :8].any()
    assert (torso.hu.array[:, :8] == -1000).all()


def test_a_coarse_grid_holds_the_mean_of_a_fine_one() -> None:
    coarse = synthetic_torso((1, 40, 40), (10.0, 9.0, 9.0), 0, middle_mm=-120.0)
    fine = synthetic_torso((5, 160, 160), (2.0, 2.25, 2.25), 0, middle_mm=-120.0)
    mean = fine.activity.array.reshape(1, 5, 40, 4, 40, 4).mean((1, 3, 5))
    assert coarse.activity.array.sum() == pytest.approx(mean.sum(), rel=0.01)
    assert np.sqrt(np.mean((coarse.activity.array - mean) ** 2)) < 0.08 * mean.max()


def test_organs_are_on_their_side() -> None:
    torso = synthetic_torso((1, 128, 128), (4.0, 4.5, 4.5), 0, middle_mm=-130.0)
    for name, side in (("liver", -1), ("spleen", 1)):
        j, i = np.argwhere(torso.labels[0] == TISSUES[name].label).mean(0)
        right, anterior = (torso.activity.ijk_to_ras @ (i, j, 0, 1))[:2]
        assert np.sign(right) == -side
        assert name == "liver" or anterior < 0


def test_lesions_lie_in_their_parts_apart_and_are_labelled() -> None:
    lesions = torso_lesions(5, 24)
    assert len(lesions) >= 18
    assert len({lesion.part for lesion in lesions}) == 6
    suv = uptake(5)
    for n, lesion in enumerate(lesions):
        at = solids(person(5), *(np.array([c]) for c in lesion.centre_mm))
        assert at[lesion.part] < 0
        assert lesion.suv >= 2 * suv[lesion.part]
        for other in lesions[:n]:
            gap = np.linalg.norm(np.subtract(lesion.centre_mm, other.centre_mm))
            assert gap > lesion.radius_mm + other.radius_mm
    big = max(range(24), key=lambda n: lesions[n].radius_mm)
    height = lesions[big].centre_mm[2]
    torso = synthetic_torso((1, 128, 128), (4.0, 4.5, 4.5), 5, middle_mm=height)
    inside = torso.labels == LESION + big
    area = inside.sum() * 4.5**2
    assert area == pytest.approx(np.pi * lesions[big].radius_mm ** 2, rel=0.2)
    assert np.median(torso.activity.array[inside]) == pytest.approx(lesions[big].suv, rel=0.12)


def test_activity_in_becquerel_is_that_of_the_suv() -> None:
    suv, becquerel = synthetic_torso(*GRID), synthetic_torso(*GRID, unit="Bq/mL")
    assert becquerel.activity.unit == "Bq/mL"
    assert becquerel.activity.array == pytest.approx(BQ_PER_SUV * suv.activity.array, rel=1e-5)


def test_parts_of_every_person_are_within_their_ranges() -> None:
    for seed in range(5):
        for name, value in uptake(seed).items():
            assert TISSUES[name].low <= value <= TISSUES[name].high


@pytest.mark.parametrize("options", [
    {"shape": (0, 4, 4)}, {"spacing_mm": (1.0, -1.0, 1.0)}, {"unit": "kBq"},
])
def test_bad_grids_are_refused(options) -> None:
    with pytest.raises(ValueError, match="expected"):
        synthetic_torso(**options)
