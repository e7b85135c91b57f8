"""What a region is ranked by: contrast around it, spread of a structure, size; and how large ones are split."""

from __future__ import annotations

import numpy as np
import pytest
from diffusion_engine.posterior.findings import find_regions
from diffusion_engine.posterior.pieces import LARGEST_MM, components, pieces
from diffusion_engine.posterior.structures import box_voxels, structure_half_width
from diffusion_engine.posterior.worth import diameter_mm, local_contrast, score_mm
from diffusion_engine.volume import Volume

SPACING = (2.0, 1.0, 1.0)


def test_contrast_of_an_edge_is_its_step_and_of_even_tissue_nothing() -> None:
    image = np.full((6, 40, 40), 1040.0)
    image[:, :, 20:] = 1000.0
    contrast = local_contrast(image, SPACING)
    # Nine voxels wide, the box has four on one side of the edge and five on the other.
    assert contrast[3, 20, 19:21] == pytest.approx(np.full(2, 40 * 2 * np.sqrt(4 * 5) / 9))
    assert contrast[3, 20, [2, 37]] == pytest.approx(np.zeros(2), abs=1e-6)
    # One voxel alone has no contrast: on a coarse grid its neighbours count; slices far apart do not.
    assert local_contrast(image, (20.0, 15.0, 15.0))[3, 20, 20] == pytest.approx(40 * 2 * np.sqrt(2) / 3)
    apart = np.where(np.arange(6)[:, None, None] % 2, 100.0, 0.0) * np.ones((6, 20, 20))
    assert local_contrast(apart, (15.0, 1.0, 1.0)).max() == pytest.approx(0.0, abs=1e-6)


def test_score_weighs_spread_against_contrast_and_size() -> None:
    sphere = np.pi / 6 * 8.0**3
    assert diameter_mm(sphere) == pytest.approx(8.0)
    assert score_mm(40.0, 40.0, sphere) == pytest.approx(4.0)
    assert score_mm(60.0, 900.0, sphere) == pytest.approx(8 * 60 / 960)
    assert score_mm(5.0, 0.0, sphere, readable=15.0) == pytest.approx(2.0)
    assert score_mm(0.0, 0.0, sphere) == 0.0


def test_what_differs_voxel_by_voxel_averages_out_and_a_structure_does_not() -> None:
    rng = np.random.default_rng(0)
    shape = (8, 30, 30)
    assert box_voxels(4.0, SPACING) == [1, 5, 5]
    draws = [rng.normal(1000, 20, shape) for _ in range(8)]
    for draw in draws:
        draw[:, 5:15, 5:15] += rng.normal(0, 100)
    widths = np.std(draws, axis=0, ddof=1)
    found = structure_half_width(widths, draws, SPACING)
    assert np.median(found[:, 20:, 20:]) == pytest.approx(20 / 5, rel=0.15)
    inside = (slice(None), slice(8, 12), slice(8, 12))
    assert np.median(found[inside]) == pytest.approx(np.median(widths[inside]), rel=0.1)
    assert (found <= np.sqrt(np.max(widths**2)) * (1 + 1e-9)).all()
    # A stretched map stays stretched; without draws, or in voxels as large as structures, it is taken as it is.
    assert structure_half_width(2.5 * widths, draws, SPACING) == pytest.approx(2.5 * found)
    assert np.array_equal(structure_half_width(widths, [], SPACING), widths)
    assert np.array_equal(structure_half_width(widths, draws, (4.0, 4.0, 4.0)), widths)


def lung() -> tuple[np.ndarray, np.ndarray]:
    """A mask of 60 x 60 x 60 mm with a half width of 20 and three peaks of 90 in it, and a small part of its own."""
    k, j, i = np.meshgrid(*(np.arange(count) * step for count, step in zip((40, 80, 80), SPACING, strict=True)),
                          indexing="ij")
    half_width = np.where((k < 60) & (j < 60) & (i < 60), 20.0, 0.0)
    for place in ((16, 16, 16), (40, 40, 16), (30, 16, 44)):
        distance = np.sqrt((k - place[0]) ** 2 + (j - place[1]) ** 2 + (i - place[2]) ** 2)
        half_width += 70 * np.exp(-((distance / 6) ** 2))
    half_width[36:38, 70:76, 70:76] = 50.0
    return half_width >= 15, half_width


def test_a_lung_is_split_at_its_peaks_and_a_small_part_stays_whole() -> None:
    mask, half_width = lung()
    assert components(mask).max() == 2
    labels = pieces(mask, half_width, SPACING, 15.0)
    sizes = np.bincount(labels.ravel())[1:] * float(np.prod(SPACING))
    assert len(sizes) == 4
    assert sizes.max() <= np.pi / 6 * LARGEST_MM**3 * 1.1
    assert sorted(sizes)[0] == 2 * 6 * 6 * 2
    for at in ((8, 16, 16), (20, 40, 16), (15, 16, 44), (36, 72, 72)):
        assert labels[at] > 0
    assert len({labels[at] for at in ((8, 16, 16), (20, 40, 16), (15, 16, 44))}) == 3
    assert labels[8, 16, 26] == 0  # 10 mm from a peak, at less than half of its height
    assert labels[28, 56, 56] == 0  # far from every peak: it says nothing about a place
    # Every region is connected by faces.
    for number in range(1, 5):
        assert components(labels == number).max() == 1


def test_an_even_lung_is_one_place_to_look_at_and_not_a_region_of_its_size() -> None:
    mask = np.zeros((40, 80, 80), bool)
    mask[2:38, 10:70, 10:70] = True
    labels = pieces(mask, np.where(mask, 30.0, 0.0), SPACING, 15.0)
    sizes = np.bincount(labels.ravel())[1:] * float(np.prod(SPACING))
    assert 0 < sizes.max() <= np.pi / 6 * LARGEST_MM**3 * 1.1


def test_regions_are_ranked_by_what_they_could_change() -> None:
    """A wide spread on the edge of a bone comes after a smaller one in even tissue; the least score leaves it out."""
    shape = (6, 40, 60)
    image, spread = np.zeros(shape), np.zeros(shape)
    image[:, :, 20:] = 1000.0
    spread[2:4, 10:18, 16:24] = 60.0  # half of it on either side of the edge
    spread[2:4, 10:18, 40:48] = 40.0
    matrix = np.diag([1.0, 1.0, 2.0, 1.0])
    given = [Volume(each.astype(np.float32), matrix, "HU") for each in (spread, image)]
    even, edge = find_regions(*given, None, [], 30.0, 0.5, 50.0, {}).findings
    assert (even.contrast, edge.contrast) == (pytest.approx(0.0, abs=1e-3), pytest.approx(860.66, rel=1e-4))
    assert even.score_mm == pytest.approx(diameter_mm(256.0))
    assert edge.score_mm == pytest.approx(score_mm(edge.spread, edge.contrast, 256.0))
    assert [each.number for each in (even, edge)] == [1, 2]
    kept = find_regions(*given, None, [], 30.0, 0.5, 50.0, {}, least_score_mm=2.0)
    assert len(kept.findings) == 1
    assert set(np.unique(kept.labels)) == {0, 1}
    first = find_regions(*given, None, [], 30.0, 0.5, 50.0, {}, most=1)
    assert (first.findings, first.count, first.labels.max()) == ((even,), 2, 1)
    faint = find_regions(*given, None, [], 30.0, 0.5, 50.0, {}, readable=1e4).findings
    assert faint[0].score_mm < 0.1
    with pytest.raises(ValueError, match="readable contrast"):
        find_regions(*given, None, [], 30.0, 0.5, 50.0, {}, readable=-1.0)
