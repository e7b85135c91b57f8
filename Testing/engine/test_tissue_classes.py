"""Tissue classes of CT by value and place, of MR by clusters; segments to classes, and to one label map."""

from __future__ import annotations

import numpy as np
import pytest
from diffusion_engine.evaluation.faithfulness import dice
from diffusion_engine.orientation import turn_of
from diffusion_engine.synthesis.classes import (
    AIR,
    BONE,
    CLASSES,
    FAT,
    LUNG,
    MUSCLE,
    SOFT,
    TYPICAL_HU,
    VESSEL,
    _muscle,
    body_of,
    ct_classes,
)
from diffusion_engine.synthesis.label_map import label_map
from diffusion_engine.synthesis.mr_classes import cluster_edges, mr_class_names, mr_classes
from diffusion_engine.synthesis.names import ClassTable, Segment, plain_name
from diffusion_engine.volume import Volume
from labelled_bodies import MATRIX, SHAPE, ct, label_volume, trunk


@pytest.fixture(scope="module")
def found() -> np.ndarray:
    return ct_classes(ct()).array


@pytest.mark.parametrize(
    ("label", "least"),
    [(AIR, 0.98), (LUNG, 0.95), (FAT, 0.9), (SOFT, 0.85), (MUSCLE, 0.75), (VESSEL, 0.8), (BONE, 0.8)],
)
def test_classes_of_a_known_trunk(found: np.ndarray, label: int, least: float) -> None:
    assert dice(found == label, trunk() == label) >= least, CLASSES[label]


def test_the_table_is_air_and_the_gas_of_a_stomach_too(found: np.ndarray) -> None:
    assert not found[:, 101, 20:50].any()
    assert not found[:, 101, 94:124].any()
    gas = found[:, 35:41, 69:75]
    assert (gas == AIR).all()
    assert body_of(found)[:, 35:41, 69:75].all(), "but the body holds it"


def test_a_small_pocket_is_no_lung_though_it_holds_more_than_gas() -> None:
    image = ct()
    image.array[:, 30:50, 60:85][trunk()[:, 30:50, 60:85] == AIR] = -800.0
    labels = ct_classes(image).array
    assert (labels[:, 36:41, 70:74] == AIR).all()
    assert dice(labels == LUNG, trunk() == LUNG) > 0.95


def test_what_lies_between_the_lungs_is_no_muscle() -> None:
    plane = np.full((1, 60, 60), FAT, np.uint8)
    plane[:, 5:55, 5:55] = SOFT
    body = np.ones(plane.shape, bool)
    body[:, 0] = False
    smooth = np.full(plane.shape, 55.0, np.float32)
    assert _muscle(smooth, plane, body, (4.0, 2.0, 2.0))[0, 8, 30]
    plane[:, 6:40, 10:22], plane[:, 6:40, 38:50] = LUNG, LUNG
    found = _muscle(smooth, plane, body, (4.0, 2.0, 2.0))[0]
    assert not found[8, 30]
    assert found[50, 30], "below them it is"


def test_even_contrast_medium_is_no_bone_however_dense() -> None:
    bright = ct()
    bright.array[trunk() == VESSEL] += 250.0
    labels = ct_classes(bright).array
    assert (labels[1, 54:58, 70:74] == VESSEL).all()
    assert dice(labels == BONE, trunk() == BONE) > 0.8


def test_bone_without_a_dense_core_is_known_by_the_bone_above_it() -> None:
    image = ct()
    plane = trunk()[2] == BONE
    image.array[2][plane] = np.where(np.indices(SHAPE[1:])[1][plane] % 4 < 2, 330.0, 180.0)
    assert (ct_classes(image).array[2][plane] == BONE).mean() > 0.7


def test_the_same_patient_has_the_same_classes_however_stored(found: np.ndarray) -> None:
    image = ct()
    matrix = MATRIX.copy()
    matrix[:, 3] += matrix[:, 0] * (SHAPE[2] - 1)
    matrix[:, 0] *= -1
    turned = Volume(np.ascontiguousarray(image.array[:, :, ::-1].transpose(1, 0, 2)), matrix[:, [0, 2, 1, 3]], "HU")
    assert turn_of(turned).axes != (0, 1, 2)
    labels = ct_classes(turned)
    assert np.array_equal(labels.array, found[:, :, ::-1].transpose(1, 0, 2))
    assert np.array_equal(labels.ijk_to_ras, turned.ijk_to_ras)
    assert (labels.unit, labels.array.dtype) == ("label", np.uint8)


def test_an_image_without_a_body_is_air() -> None:
    assert not ct_classes(Volume(np.full((2, 32, 32), -1000.0, np.float32), MATRIX, "HU")).array.any()
    assert set(TYPICAL_HU) == set(range(len(CLASSES)))


def test_images_that_cannot_be_divided_are_refused() -> None:
    with pytest.raises(ValueError, match=r"expected a CT in HU, found the unit a\.u\."):
        ct_classes(Volume(ct().array, MATRIX, "a.u."))
    with pytest.raises(ValueError, match="found a single slice"):
        ct_classes(Volume(ct().array[:1], MATRIX, "HU"))
    broken = ct()
    broken.array[1, 2, 3] = np.nan
    with pytest.raises(ValueError, match="found 1 NaN or infinite"):
        ct_classes(broken)


def test_mr_clusters_follow_intensity_and_are_the_same_every_time() -> None:
    levels = np.array([3.0, 90.0, 100.0, 200.0, 200.0, 300.0, 400.0])
    image = levels[trunk()] + np.random.default_rng(1).normal(0, 2, SHAPE)
    volume = Volume(np.abs(image).astype(np.float32), MATRIX, "a.u.")
    labels = mr_classes(volume, 4).array
    assert np.array_equal(labels, mr_classes(volume, 4).array)
    for label, wanted in ((AIR, 0), (FAT, 1), (SOFT, 2), (LUNG, 1), (MUSCLE, 2), (VESSEL, 3), (BONE, 4)):
        own = trunk() == label
        if label == AIR:
            own[:, 30:50, 60:85] = False  # gas within is of the darkest cluster
        assert (labels[own] == wanted).mean() > 0.8, label
    means = [volume.array[labels == n].mean() for n in range(5)]
    assert means == sorted(means)
    assert len(mr_class_names(4)) == 5


def test_cluster_edges_lie_between_clusters() -> None:
    values = np.concatenate([np.full(50, 1.0), np.full(10, 5.0), np.full(30, 9.0)])
    assert cluster_edges(values, 3).tolist() == pytest.approx([3.0, 7.0])
    with pytest.raises(ValueError, match="choose fewer clusters"):
        cluster_edges(np.array([1.0, 1.0, 2.0]), 4)


@pytest.mark.parametrize(
    ("volume", "clusters", "message"),
    [
        (np.ones((3, 8, 8)), 4, "found one value everywhere"),
        (-np.ones((3, 8, 8)), 4, "expected a magnitude image"),
        (np.ones((1, 8, 8)), 4, "found a single slice"),
        (np.ones((3, 8, 8)), 1, "expected 2 to 10 clusters"),
    ],
)
def test_mr_images_that_cannot_be_clustered_are_refused(volume: np.ndarray, clusters: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mr_classes(Volume(volume, MATRIX, "a.u."), clusters)


@pytest.mark.parametrize(
    ("name", "code", "wanted"),
    [
        ("lung_upper_lobe_left", "", "lung"), ("Right lung", "", "lung"), ("rib_left_4", "", "bone"),
        ("vertebrae_T12", "", "bone"), ("Segment_1", "10200004", "soft tissue"), ("aorta", "", "vessel"),
        ("gluteus_medius_right", "", "muscle"), ("torso_fat", "", "fat"), ("trachea", "", "air"),
        ("Blob", "24915002", "bone"), ("liver", "15825003", "vessel"), ("bone", "", "bone"),
        ("heart_ventricle_left", "", "vessel"), ("HeartMyocardium", "", "soft tissue"), ("Segment_2", "", None),
        ("hip_implant", "", None), ("liver", "999", "soft tissue"),
    ],
)
def test_the_class_of_a_segment(name: str, code: str, wanted: str | None) -> None:
    assert ClassTable().class_of(Segment(name, code)) == wanted


def test_unknown_segments_are_asked_for_and_a_choice_goes_first() -> None:
    table, segments = ClassTable(), [Segment("Liver"), Segment("Segment_2"), Segment("thing")]
    assert table.unknown(segments) == ["Segment_2", "thing"]
    with pytest.raises(ValueError, match="found none for Segment_2, thing: choose one of air, lung"):
        table.classes_of(segments)
    chosen = table.with_chosen({"Segment_2": "bone", "thing": "fat", "Liver": "vessel"})
    assert chosen.classes_of(segments) == {"Liver": "vessel", "Segment_2": "bone", "thing": "fat"}
    with pytest.raises(ValueError, match="found 'rock': choose one of these"):
        table.with_chosen({"thing": "rock"})
    assert plain_name("Rib_left_10") == "rib"


def masks() -> dict[str, Volume]:
    truth = trunk()
    body = Volume((truth > 0).astype(np.uint8), MATRIX, "label")
    return {"liver": body, "rib": Volume(truth == BONE, MATRIX, "label")}


CHOSEN = {"liver": "soft tissue", "rib": "bone"}


def test_overlapping_segments_become_one_map_on_the_geometry() -> None:
    found = label_map(masks(), CHOSEN, label_volume())
    again = label_map(dict(reversed(masks().items())), CHOSEN, label_volume())
    wanted = np.where(trunk() == BONE, BONE, np.where(trunk() > 0, SOFT, AIR))
    assert np.array_equal(found.array, wanted)
    assert np.array_equal(again.array, wanted), "the order of segments changes nothing"


def test_lesions_of_a_network_that_knows_them_lie_over_tissues() -> None:
    known = (*CLASSES, "nodule", "soft-tissue lesion")
    segments = [Segment("Segment_1"), Segment("rib")]
    table = ClassTable(known=known).with_chosen({"Segment_1": "nodule"})
    assert table.classes_of(segments) == {"Segment_1": "nodule", "rib": "bone"}
    assert table.class_of(Segment("Soft-tissue lesion")) == "soft-tissue lesion"
    assert ClassTable().class_of(Segment("Soft-tissue lesion")) is None
    given = {"Segment_1": Volume(trunk() == BONE, MATRIX, "label"), **masks()}
    labels = label_map(given, {**CHOSEN, "Segment_1": "nodule"}, label_volume(), known, rest=255)
    assert (labels.array[trunk() == BONE] == 7).all()
    assert (labels.array[trunk() == AIR][:5] == 255).all()
    assert label_map(masks(), CHOSEN, label_volume(), known).array.max() == BONE
    with pytest.raises(ValueError, match="expected classes that begin with air, lung"):
        label_map(masks(), CHOSEN, label_volume(), known[1:])


def moved(mm: float) -> Volume:
    matrix = MATRIX.copy()
    matrix[0, 3] += mm
    return Volume(trunk(), matrix, "label")


@pytest.mark.parametrize(
    ("segments", "classes", "message"),
    [
        ({}, {}, "found none: draw or load segments"),
        ({"rib": Volume(np.zeros(SHAPE), MATRIX, "label")}, {"rib": "bone"}, "found all of them empty"),
        ({"rib": moved(5000.0)}, {"rib": "bone"}, "segment 'rib' within the geometry, found all of it outside"),
        ({"rib": moved(1.0)}, {"rib": "bone"}, "found another grid .* is it of another patient"),
        ({"rib": Volume(trunk()[:3], MATRIX, "label")}, {"rib": "bone"}, r"found another grid of \(3, 112, 144\)"),
        ({"rib": moved(0.0)}, {}, "for the segment 'rib', found None: name one"),
        ({"rib": moved(0.0)}, {"rib": "rock"}, "for the segment 'rib', found 'rock': name one"),
        ({"rib": Volume(np.full(SHAPE, np.nan), MATRIX, "label")}, {"rib": "bone"}, "found NaN or infinity"),
    ],
)
def test_segments_that_give_no_label_map_are_refused(
    segments: dict[str, Volume], classes: dict[str, str], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        label_map(segments, classes, label_volume())


def test_a_geometry_of_one_slice_or_four_axes_is_refused() -> None:
    with pytest.raises(ValueError, match="at least two slices of 2 x 2 pixels, found 1 x 112 x 144"):
        label_map(masks(), CHOSEN, Volume(trunk()[:1], MATRIX, "label"))
    with pytest.raises(ValueError, match=r"an array \(slices, rows, columns\), found shape \(2, 4, 112, 144\)"):
        Volume(np.stack([trunk()] * 2), MATRIX, "label")
