"""The reader of the lesion benchmark: what it says of discs that are known."""

from __future__ import annotations

import numpy as np
import pytest
from benchmarks import lesion_reader as reader
from scipy import ndimage

PIXEL = 1.5
SHAPE = (96, 96)
WHOLE = np.ones(SHAPE, bool)


def disc(radius: float = 6.0, contrast: float = 200.0, row: float = 60.0, column: float = 75.0) -> reader.Disc:
    return reader.Disc("lungs", row, column, radius, contrast)


def drawn(*discs: reader.Disc, noise: float = 0.0) -> np.ndarray:
    texture = np.random.default_rng(0).normal(scale=noise, size=SHAPE) if noise else 0.0
    return reader.add_discs(np.full(SHAPE, -850.0), discs, PIXEL) + texture


@pytest.mark.parametrize("radius", reader.RADII_MM)
def test_a_disc_answers_with_its_contrast_at_its_own_scale(radius: float) -> None:
    answer = reader.answers(drawn(disc(radius)), WHOLE, PIXEL)
    scale = reader.RADII_MM.index(radius)
    at = answer[:, 40, 50]
    assert at[scale] == pytest.approx(200, rel=0.15)
    assert at.argmax() == scale


def test_a_known_disc_has_contrast_one_and_size_one() -> None:
    known = disc(contrast=1.0)
    image, at = drawn(known), reader.parts(known, WHOLE, [known], PIXEL)
    assert reader.contrast(image, at) == pytest.approx(1.0, abs=0.1)
    assert reader.half_size(image, at) * PIXEL**2 == pytest.approx(np.pi * 6.0**2, rel=0.08)
    half = (image + 850) / 2
    assert reader.contrast(half, at) / reader.contrast(image, at) == pytest.approx(0.5, rel=1e-4)
    assert reader.half_size(half, at) == reader.half_size(image, at)


def test_a_blurred_disc_is_fainter_and_no_smaller() -> None:
    known = disc(4.0)
    at = reader.parts(known, WHOLE, [known], PIXEL)
    sharp = drawn(known)
    blurred = ndimage.gaussian_filter(sharp, 2.0)
    assert reader.contrast(blurred, at) < 0.7 * reader.contrast(sharp, at)
    assert reader.half_size(blurred, at) > reader.half_size(sharp, at)


def test_a_neighbour_is_outside_the_ring() -> None:
    known, neighbour = disc(), disc(5.0, 700.0, column=89.0)
    image, at = drawn(known, neighbour), reader.parts(known, WHOLE, [known, neighbour], PIXEL)
    assert reader.contrast(image, at) == pytest.approx(190, abs=15)
    assert reader.half_size(image, at) * PIXEL**2 == pytest.approx(np.pi * 36, rel=0.08)


def test_no_nodule_gives_no_blob() -> None:
    for image in (drawn(), drawn(noise=20.0)):
        assert reader.blobs(reader.answers(image, WHOLE, PIXEL), WHOLE, PIXEL) == []


def test_a_bright_wall_gives_no_blob() -> None:
    image, region = drawn(), WHOLE.copy()
    image[:, :20], region[:, :20] = 40.0, False
    assert reader.blobs(reader.answers(image, region, PIXEL), region, PIXEL) == []


def test_a_blurred_wall_is_left_out() -> None:
    image, region = drawn(), WHOLE.copy()
    image[:, :20], region[:, :20] = 40.0, False
    blurred = ndimage.gaussian_filter(image, 1.0) + np.random.default_rng(0).normal(scale=20.0, size=SHAPE)
    inner = reader.interior(region, PIXEL)
    assert inner[48, 22]
    assert not inner[48, 21]
    assert reader.blobs(reader.answers(blurred, region, PIXEL), region, PIXEL) != []
    assert reader.blobs(reader.answers(blurred, inner, PIXEL), inner, PIXEL) == []


def test_what_stands_out_of_the_noise_is_found_and_placed() -> None:
    known = [disc(6.0, 200.0), disc(3.5, 400.0, 30.0, 30.0)]
    found = reader.blobs(reader.answers(drawn(*known, noise=20.0), WHOLE, PIXEL), WHOLE, PIXEL)
    assert len(found) == 2
    for one in known:
        assert reader.shown(one, found)
        assert min(reader.apart(one, blob) for blob in found) <= 2 * PIXEL
    faint = disc(contrast=20.0)
    assert reader.blobs(reader.answers(drawn(faint), WHOLE, PIXEL), WHOLE, PIXEL) == []  # below the floor
    assert not reader.shown(disc(), [])


def test_only_what_the_reference_lacks_is_invented() -> None:
    vessel, false = disc(3.5, 500.0, 30.0, 30.0), disc(6.0, 300.0, 100.0, 100.0)
    reference = reader.answers(drawn(vessel), WHOLE, PIXEL)
    found = reader.blobs(reader.answers(drawn(vessel, false), WHOLE, PIXEL), WHOLE, PIXEL)
    invented = [blob for blob in found if reader.is_invented(blob, reference, PIXEL)]
    assert len(found) == 2
    assert [reader.shown(false, [blob]) for blob in invented] == [True]


def test_places_of_draws_are_counted_once_a_draw() -> None:
    rows, scores = (30.0, 33.0, 90.0), (3.0, 2.0, 1.5)
    here, near, far = (reader.Blob(row, 30.0, 2, 300.0, score) for row, score in zip(rows, scores, strict=True))
    places = reader.agreeing_places([[here], [near, far], [], [near, here]])
    assert [(blob, count) for blob, count in places] == [(here, 3), (far, 1)]


def test_placed_nodules_keep_their_distances_and_follow_the_seed() -> None:
    region, vessels = np.zeros((256, 256), bool), np.zeros((256, 256), bool)
    region[10:240, 10:240] = True
    vessels[100, 10:240] = True
    make = [
        reader.place_discs({"lungs": region}, vessels, 0.75, {"lungs": 8}, np.random.default_rng(seed))
        for seed in (0, 0, 1)
    ]
    assert make[0] == make[1] != make[2]
    assert len(make[0]) >= 6
    for one in make[0]:
        inside = one.distance(region.shape, 0.75) <= one.radius_mm
        assert region[inside].all()
        assert not vessels[inside].any()
        assert 2 <= one.radius_mm <= 10
        assert 50 <= one.contrast <= 800
        assert all(reader.apart(one, o) > one.radius_mm + o.radius_mm + 6 for o in make[0] if o != one)
    assert reader.place_discs({"lungs": ~WHOLE}, ~WHOLE, 0.75, {"lungs": 3}, np.random.default_rng(0)) == []
