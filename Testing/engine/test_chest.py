"""The synthetic chest: the same anatomy on every grid, CT numbers and textures of a thorax, nodules in their places."""

from __future__ import annotations

import numpy as np
import pytest
from diffusion_engine.modalities.ct.hu_question import question_hu
from diffusion_engine.phantoms import chest_nodules, synthetic_chest
from diffusion_engine.phantoms.texture import Noise
from diffusion_engine.volume import Volume, check_image
from scipy import ndimage

Chest = tuple[Volume, dict[str, np.ndarray]]


@pytest.fixture(scope="module")
def chest() -> Chest:
    return synthetic_chest((6, 256, 256), (8.0, 1.5, 1.5), seed=0)


@pytest.fixture(scope="module")
def whole() -> Chest:
    """Apices to liver, coarse."""
    return synthetic_chest((14, 96, 96), (20.0, 4.0, 4.0), seed=0)


def inside(mask: np.ndarray, pixels: int = 2) -> np.ndarray:
    """The mask without its soft edge, slice by slice."""
    return np.stack([ndimage.binary_erosion(m, iterations=pixels) for m in mask > 0])


def test_image_is_ct_on_a_standard_axial_grid(chest: Chest) -> None:
    volume, masks = chest
    check_image(volume)
    assert question_hu(volume) is None
    assert volume.array.dtype == np.float32
    assert volume.unit == "HU"
    assert volume.array.min() == -1000.0
    assert 700 < volume.array.max() < 1500
    assert volume.spacing_mm == (1.5, 1.5, 8.0)
    assert np.array_equal(np.sign(np.diag(volume.ijk_to_ras)), (-1, -1, 1, 1))
    np.testing.assert_allclose(volume.ijk_to_ras @ (127.5, 127.5, 2.5, 1.0), (0, 0, 0, 1), atol=1e-12)
    assert all(mask.shape == volume.array.shape and mask.dtype == np.uint8 for mask in masks.values())


def test_same_seed_same_chest() -> None:
    first, second, other = (synthetic_chest((2, 64, 64), (10.0, 6.0, 6.0), seed=s)[0].array for s in (3, 3, 4))
    assert np.array_equal(first, second)
    assert np.abs(first - other).mean() > 20


def test_slices_do_not_depend_on_the_stack() -> None:
    one = synthetic_chest((1, 64, 64), (5.0, 6.0, 6.0))[0]
    three = synthetic_chest((3, 64, 64), (5.0, 6.0, 6.0))[0]
    assert np.array_equal(one.array[0], three.array[1])


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [("lungs", -900, -780), ("heart", 90, 150), ("bone", 180, 600), ("muscle", 35, 70)],
)
def test_mean_ct_number(chest: Chest, name: str, low: float, high: float) -> None:
    volume, masks = chest
    found = volume.array[inside(masks[name], 1)]
    assert found.size > 200
    assert low < found.mean() < high


def test_thick_vessels_hold_blood(chest: Chest) -> None:
    volume, masks = chest
    cores = inside(masks["vessels"], 1)
    assert cores.sum() > 30
    assert 40 < np.median(volume.array[cores]) < 110


def test_liver_and_its_texture(whole: Chest) -> None:
    volume, masks = whole
    found = volume.array[inside(masks["liver"])]
    assert found.size > 500
    assert 75 < found.mean() < 110
    assert 3 < found.std() < 25


@pytest.mark.parametrize(("name", "low", "high"), [("muscle", 6, 40), ("heart", 15, 60)])
def test_tissue_is_not_piecewise_constant(chest: Chest, name: str, low: float, high: float) -> None:
    volume, masks = chest
    assert low < volume.array[inside(masks[name])].std() < high


def test_lung_parenchyma_is_textured_and_denser_behind(chest: Chest) -> None:
    volume, masks = chest
    parenchyma = inside(masks["lungs"]) & (volume.array < -700)
    assert 12 < volume.array[parenchyma].std() < 45
    rows = np.arange(256)[None, :, None] * np.ones_like(parenchyma)
    assert volume.array[parenchyma & (rows > 150)].mean() - volume.array[parenchyma & (rows < 90)].mean() > 8


def test_no_two_neighbours_are_alike_inside_the_body(chest: Chest) -> None:
    volume, masks = chest
    body = inside(masks["body"])
    same = (np.diff(volume.array, axis=2) == 0) & body[:, :, 1:] & (volume.array[:, :, 1:] > -1000)
    assert same.sum() < 1e-3 * body.sum()


def test_both_lungs_on_their_sides(chest: Chest) -> None:
    volume, masks = chest
    for label, side in ((1, 1.0), (2, -1.0)):
        k, j, i = np.nonzero(masks["lungs"] == label)
        centre = volume.ijk_to_ras @ (i.mean(), j.mean(), k.mean(), 1.0)
        assert side * centre[0] > 40  # RAS: the right lung at positive x
        litres = len(k) * 1.5 * 1.5 * 8.0 / 1e6
        assert 0.3 < litres < 1.2  # 48 mm of height


def test_heart_is_left_and_in_front(whole: Chest) -> None:
    volume, masks = whole
    k, j, i = np.nonzero(masks["heart"])
    right, anterior, superior = (volume.ijk_to_ras @ (i.mean(), j.mean(), k.mean(), 1.0))[:3]
    assert right < 0 < anterior
    assert superior < 0


def test_body_is_one_piece_around_the_lungs(chest: Chest) -> None:
    _, masks = chest
    for body, lungs in zip(masks["body"], masks["lungs"], strict=True):
        assert ndimage.label(body)[1] == 1
        assert not (lungs[body == 0]).any()
        around = ndimage.binary_dilation(lungs > 0, iterations=3)
        assert body[around].all()


def test_vessels_get_thinner_towards_the_pleura(chest: Chest) -> None:
    _, masks = chest
    depth = np.stack([ndimage.distance_transform_edt(m) for m in masks["body"]]) * 1.5
    share_outside = masks["vessels"][(masks["lungs"] > 0) & (depth < 55)].mean()
    share_inside = masks["vessels"][(masks["lungs"] > 0) & (depth > 85)].mean()
    assert share_inside > 2 * share_outside > 0


def test_nodules_are_where_they_are_said_to_be() -> None:
    for seed in (0, 1, 2):
        volume, masks = synthetic_chest((15, 192, 192), (3.0, 2.0, 2.0), seed)
        nodules = chest_nodules(seed)
        assert [n.kind for n in nodules].count("ground-glass") == 1
        for label, nodule in enumerate(nodules, start=1):
            voxels = np.argwhere(masks["nodules"] == label)
            centre = (volume.ijk_to_ras @ (*voxels.mean(axis=0)[::-1], 1.0))[:3]
            assert np.linalg.norm(centre - nodule.centre_ras_mm) < 1.5
            size = len(voxels) * 12.0 / (4 / 3 * np.pi * nodule.radius_mm**3)
            assert 0.75 < size < 1.25
            core = np.stack([ndimage.binary_erosion(m) for m in masks["nodules"] == label])
            assert np.median(volume.array[core]) == pytest.approx(nodule.hu, abs=30)
            assert (masks["lungs"][masks["nodules"] == label] > 0).all()


def test_places_of_nodules_differ_between_seeds() -> None:
    assert chest_nodules(1) != chest_nodules(2)
    assert chest_nodules(1) == chest_nodules(1)


def test_same_anatomy_at_two_matrix_sizes() -> None:
    fine, fine_masks = synthetic_chest((2, 384, 384), (20.0, 1.0, 1.0))
    coarse, coarse_masks = synthetic_chest((2, 96, 96), (20.0, 4.0, 4.0))
    binned = fine.bin_in_plane(4)
    np.testing.assert_allclose(binned.ijk_to_ras, coarse.ijk_to_ras, atol=1e-9)
    difference = binned.array - coarse.array
    assert np.corrcoef(binned.array.ravel(), coarse.array.ravel())[0, 1] > 0.985
    assert abs(difference.mean()) < 8  # tubes far thinner than a 4 mm pixel weigh a little too much
    assert np.abs(difference).mean() < 25
    for name in ("body", "lungs", "heart", "bone", "nodules"):
        small = (fine_masks[name] > 0).reshape(2, 96, 4, 96, 4).mean(axis=(2, 4)) > 0.5
        large = coarse_masks[name] > 0
        assert 2 * (small & large).sum() / (small.sum() + large.sum()) > 0.93, name


def test_noise_is_normal_and_anti_aliased() -> None:
    at = np.arange(-150.0, 150.0, 1.0)
    noise = Noise(0, 1, (2.0, 2.0, 2.0))
    planes = np.stack([noise.plane(z, at, at, (1.0, 1.0)) for z in (-7.3, 0.0, 11.1)])
    assert abs(planes.mean()) < 0.03
    assert 0.85 < planes.std() < 1.05
    coarse_at = np.arange(-144.0, 144.0, 8.0)
    coarse = noise.plane(0.0, coarse_at, coarse_at, (8.0, 8.0))
    blocks = noise.plane(0.0, np.arange(-147.75, 140.0, 0.5), np.arange(-147.75, 140.0, 0.5), (0.5, 0.5))
    blocks = blocks.reshape(36, 16, 36, 16).mean(axis=(1, 3))
    assert np.corrcoef(coarse.ravel(), blocks.ravel())[0, 1] > 0.98
    assert coarse.std() < 0.5  # a point sample would have 1


@pytest.mark.parametrize(
    ("shape", "spacing"),
    [((0, 4, 4), (1, 1, 1)), ((4, 4), (1, 1, 1)), ((1, 4, 4), (1, 0, 1)), ((1, 4, 4), (1, np.nan, 1))],
)
def test_refuses_bad_grids(shape: tuple, spacing: tuple) -> None:
    with pytest.raises(ValueError, match="expected"):
        synthetic_chest(shape, spacing)
