"""Known lesions in images: what they cover, where they are placed, what is read of them."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from diffusion_engine.evaluation import contrast
from diffusion_engine.evaluation.lesions import (
    APART_MM,
    EDGE_MM,
    Lesion,
    inserted,
    kept,
    parts,
    placed,
    regions,
)
from diffusion_engine.modalities.contract import Tissue, Wanted
from diffusion_engine.modalities.ct.entry import CT
from diffusion_engine.modalities.prepared import Prepared
from diffusion_engine.posterior.intervals import spread_factor
from diffusion_engine.posterior.spread import Spread
from diffusion_engine.volume import Volume

RAS = np.diag([-1.5, -1.5, 5.0, 1.0])
"""Columns to the left, rows to the back, 1.5 mm."""
SOFT = replace(CT, cases=replace(CT.cases, tissues=(Tissue("soft", 20.0, 100.0, 14.0),)))


def slab(level: float = 60.0, size: int = 64, slices: int = 1) -> Volume:
    """A square of tissue in air."""
    array = np.full((slices, size, size), -1000.0, np.float32)
    array[:, 4:-4, 4:-4] = level
    return Volume(array, RAS, "HU")


def at(row: float, column: float, k: int = 0, **given: float) -> Lesion:
    centre = (RAS @ [column, row, k, 1])[:3].tolist()
    return Lesion("soft", k, tuple(centre), **{"diameter_mm": 12.0, "contrast": 50.0, **given})


def test_a_lesion_covers_its_area_and_halves_at_its_edge() -> None:
    for ratio in (1.0, 1.4):
        shares = at(30.3, 20.7, ratio=ratio, axis=(0.6, 0.8, 0.0)).coverage(slab())
        assert shares.sum() * 1.5**2 == pytest.approx(math.pi * 36, rel=0.01)
        assert shares.max() == 1
        assert ((shares > 0) & (shares < 1)).sum() > 15
        centre = (np.argwhere(shares[0] > 0) * shares[0][shares[0] > 0][:, None]).sum(0) / shares.sum()
        np.testing.assert_allclose(centre, (30.3, 20.7), atol=0.05)
    on_edge = at(30, 20, diameter_mm=12.0).coverage(slab())[0, 30]
    assert on_edge[24] == pytest.approx(0.5, abs=0.1)  # 4 pixels of 1.5 mm are the radius
    assert on_edge[25] == 0


def test_the_long_axis_is_where_it_is_said() -> None:
    shares = at(30, 20, ratio=1.4, axis=(0.0, 1.0, 0.0)).coverage(slab())[0]
    tall, wide = (np.flatnonzero(shares.any(axis)) for axis in (1, 0))
    assert np.ptp(tall) > np.ptp(wide)


def test_a_lesion_has_one_place_on_every_grid_of_the_patient() -> None:
    """Flipped, binned and moved grids show the same lesion at the same place in the patient."""
    volume, lesion = slab(), at(31.2, 22.9, ratio=1.3, axis=(0.8, -0.6, 0.0))
    matrix = RAS.copy()
    matrix[:, 3] += matrix[:, 0] * 63
    matrix[:, 0] *= -1
    flipped = Volume(volume.array[:, :, ::-1], matrix, "HU")
    np.testing.assert_allclose(lesion.coverage(flipped)[:, :, ::-1], lesion.coverage(volume), atol=1e-6)
    coarse = volume.bin_in_plane(2)
    binned = volume.with_array(lesion.coverage(volume)).bin_in_plane(2)
    np.testing.assert_allclose(lesion.coverage(coarse), binned.array, atol=0.04)
    cropped = volume.crop(rows=(20, 50), columns=(10, 40))
    np.testing.assert_allclose(lesion.coverage(cropped), lesion.coverage(volume)[:, 20:50, 10:40], atol=1e-6)
    assert not at(200, 200).coverage(volume).any()


def test_neighbours_in_a_stack_meet_the_same_ball() -> None:
    lesion = at(30, 30, k=1, diameter_mm=13.0)
    areas = lesion.coverage(slab(slices=4)).sum((1, 2)) * 1.5**2
    radius = math.sqrt(6.5**2 - 5.0**2)
    np.testing.assert_allclose(areas, [math.pi * radius**2, math.pi * 6.5**2, math.pi * radius**2, 0], rtol=0.02)


def test_lesions_lie_in_their_tissue_apart_and_follow_the_seed() -> None:
    volume = slab(size=96)
    wanted = [Wanted("soft", size, contrast) for size in (12.0, 8.0, 4.0) for contrast in (60.0, -50.0)] * 2
    made = [placed(volume, 0, wanted, SOFT, np.random.default_rng(seed)) for seed in (0, 0, 1)]
    assert made[0] == made[1] != made[2]
    assert len(made[0]) >= 6
    region = regions(volume, 0, SOFT)["soft"]
    for one in made[0]:
        own = one.within(volume, 1 + EDGE_MM / one.radius_mm * 0.9)[0] > 0.5
        assert region[own].all()
        for other in made[0]:
            gap = math.dist(one.centre_mm, other.centre_mm) - one.reach_mm - other.reach_mm
            assert one == other or gap >= APART_MM - 1e-6
    assert len(placed(volume, 0, wanted, SOFT, np.random.default_rng(0), most=2)) == 2
    assert placed(volume, 0, [Wanted("soft", 2.9, 60.0)], SOFT, np.random.default_rng(0)) == []  # under two pixels
    assert placed(volume, 0, [Wanted("soft", 200.0, 60.0)], SOFT, np.random.default_rng(0)) == []
    with pytest.raises(ValueError, match=r"expected tissues out of \('soft',\), found \['liver'\]"):
        placed(volume, 0, [Wanted("liver", 8.0, 60.0)], SOFT, np.random.default_rng(0))


def test_tissues_are_told_by_level_and_texture() -> None:
    """Liver and muscle by their level, bone by its own, nothing at rough places, outside the body or in a table."""
    volume = slab(size=96)
    array = volume.array.copy()
    array[0, :, 48:92] = 110.0
    array[0, 58:84, 8:48] = -850.0
    array[0, 4:30, 4:48] += 120 * (np.indices((26, 44)).sum(0) // 4 % 2)
    array[0, :4], array[0, 92:] = -850.0, -850.0
    found = regions(volume.with_array(array), 0, CT)
    middle = {"liver": (40, 70), "muscle": (45, 24), "lung": (71, 26)}
    for name, place in middle.items():
        assert found[name][place], name
        assert sum(found[other][place] for other in middle) == 1
    assert not any(found[name][16, 24] for name in ("muscle", "liver", "soft"))
    assert not found["lung"][1, 50]
    assert not found["lung"][94, 50]


def test_a_body_beside_the_patient_holds_no_lesion() -> None:
    """Such as a table or an arm: the largest part of a slice is the patient."""
    array = np.full((1, 96, 96), -1000.0, np.float32)
    array[:, 4:60, 4:92], array[:, 68:92, 4:92] = 60.0, 60.0
    found = regions(slab(size=96).with_array(array), 0, CT)["muscle"]
    assert found[30, 40]
    assert not found[64:].any()


def test_inserted_adds_contrast_times_share() -> None:
    volume, one, other = slab(), at(20, 20), at(44, 44, contrast=-30.0)
    added = inserted(volume, [one, other]).array - volume.array
    np.testing.assert_allclose(added, 50 * one.coverage(volume) - 30 * other.coverage(volume), atol=1e-3)
    assert added.max() == pytest.approx(50, abs=1e-3)
    assert added.min() == pytest.approx(-30, abs=1e-3)


def test_core_inside_and_ring() -> None:
    volume, one, other = slab(), at(30, 30), at(30, 42)
    read = parts(one, volume, [one, other])
    shares = one.coverage(volume)[0]
    assert (shares[read.core] == 1).all()
    assert (shares[read.inside] >= 0.5).all()
    assert read.inside.sum() * 1.5**2 == pytest.approx(math.pi * 36, rel=0.05)
    assert not (read.ring & ((shares > 0) | (other.coverage(volume)[0] > 0))).any()
    assert read.ring.any()
    small = parts(at(30.5, 30.5, diameter_mm=1.5), volume, [])
    assert 1 <= small.core.sum() <= 4
    with pytest.raises(ValueError, match="expected a lesion within the image"):
        parts(at(200, 200), volume, [])
    turned = parts(one, volume, [one, other], flips=(1, 2))
    np.testing.assert_array_equal(turned.core, read.core[::-1, ::-1])


def test_kept_is_the_share_of_the_contrast() -> None:
    volume, lesion = slab(), at(30, 30)
    truth, plain = inserted(volume, [lesion]).array, volume.array
    noise = np.random.default_rng(0).normal(scale=30, size=plain.shape)
    found = plain + 0.25 * (truth - plain)
    assert kept(found + noise, plain + noise, truth, plain, parts(lesion, volume, [])) == pytest.approx(0.25, abs=1e-4)


def twin_of(volume: Volume, lesions: list[Lesion]) -> tuple[Prepared, contrast.Twin]:
    """A problem of which these columns read the reference and the frame alone."""
    def problem(of: Volume) -> Prepared:
        class Data:
            data = np.zeros((len(of.array), 1))

        return Prepared(Data(), Data(), of, CT.scale, of.array)

    return problem(volume), contrast.Twin(problem(inserted(volume, lesions)), lesions)


def test_columns_by_diameter_and_coverage() -> None:
    """8 mm: .2 and .6 kept; 15 mm: all; nothing in the second slice. Intervals reach the truth in one lesion alone."""
    volume = slab(size=96, slices=2)
    small = [at(20, 20, diameter_mm=8.0), at(20, 60, diameter_mm=8.0, contrast=-50.0)]
    large = at(70, 40, diameter_mm=15.0)
    problem, twin = twin_of(volume, [*small, large])
    truth = twin.problem.reference
    found = truth.copy()
    for lesion, share in zip(small, (0.2, 0.6), strict=True):
        found -= (1 - share) * lesion.contrast * lesion.coverage(volume)
    columns = contrast.contrast_kept(volume.array, found, problem, twin, CT)
    assert columns == {"contrast_8mm": [0.4, None], "contrast_15mm": [1.0, None]}
    inside = [parts(own, volume, []) for own in twin.lesions]
    std = np.full(found.shape, 30 / spread_factor(4), np.float32)  # half width 30: 20 off is held, 40 off is not
    spread = Spread(std, 4, found)
    covered = contrast.coverage_inside(spread, None, twin)
    counts = [int(own.inside.sum()) for own in inside]
    missed = (0.8 * 50 * small[0].coverage(volume)[0] > 30) & inside[0].inside
    assert covered["coverage_inside"] == [pytest.approx(1 - missed.sum() / sum(counts), abs=1e-4), None]
    assert covered["coverage_inside"][0] < 1
    assert covered["coverage_inside_calibrated"] == [None, None]
    wider = contrast.coverage_inside(spread, 2 * std, twin)
    assert wider["coverage_inside"] == covered["coverage_inside"]
    assert wider["coverage_inside_calibrated"] == [1.0, None]


def test_only_a_modality_with_lesions_has_their_columns() -> None:
    assert contrast.columns_of(CT) == (
        "contrast_8mm", "contrast_15mm", "coverage_inside", "coverage_inside_calibrated",
    )
    assert contrast.columns_of(replace(CT, cases=replace(CT.cases, lesions=()))) == ()
    known = {tissue.name for tissue in CT.cases.tissues}
    assert {want.tissue for want in (*CT.cases.lesions, *CT.cases.hunted)} <= known
