"""Synthetic volumes keep grid and kind; a prior read from its card makes them, as stacks in slabs and as lesions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusion_engine.denoiser import EDMDenoiser
from diffusion_engine.priors.card import PriorCard
from diffusion_engine.priors.conditions import MASK, Condition
from diffusion_engine.priors.grow import seeing, told
from diffusion_engine.priors.library import Prior
from diffusion_engine.priors.networks import PatchUNet
from diffusion_engine.synthesis.generate import Generation
from diffusion_engine.synthesis.lesions import LesionSettings
from diffusion_engine.synthesis.maker import Maker
from diffusion_engine.volume import Volume

CONDITION = Condition(MASK, ("air", "body", "nodule"))
AXIAL = np.diag([-2.0, -2.0, 5.0, 1.0])
HOW = Generation(steps=2, slab=4, jumps=1)
SETTINGS = LesionSettings(steps=2, jumps=1)


class Classes(EDMDenoiser):
    """Voxels at the value of their class: air -1, body 0.04, nodule 0.1; 0 where nothing is known."""

    def forward(self, x: torch.Tensor, sigma: torch.Tensor, condition: torch.Tensor | None = None) -> torch.Tensor:
        assert condition is not None
        values = torch.tensor([-1.0, 0.04, 0.1])[:, None, None]
        return (condition[:, -3:] * values).sum(1, keepdim=True) + 0 * x


def prior(exact: bool = True, sees: str = "slice", condition: Condition | None = CONDITION) -> Prior:
    torch.manual_seed(0)
    network = told(seeing(PatchUNet(3, 1, (8, 12), 1), sees), 3)
    card = PriorCard(
        name="told", title="told", modality="ct", anatomy="", unit="HU", offset=0.0, scale=1000.0, sigma_data=0.5,
        sigma=(0.005, 5.0), pixel_mm=(1.5, 2.0), weights="told.safetensors", sha256="", date="", licence="",
        network={"type": "PatchUNet", "inputs": network.inputs, "outputs": 1, "channels": [8, 12], "conditions": 3},
        training={}, data=[], held_out=[], denoising_psnr_db={}, not_for=[],
        condition={} if condition is None else condition.to_card(),
    )
    denoiser = (Classes if exact else EDMDenoiser)(network.eval().requires_grad_(False))
    return Prior(card, denoiser, torch.device("cpu"), False)


def labels(matrix: np.ndarray = AXIAL) -> Volume:
    k, j, i = np.mgrid[:6, :16, :20]
    return Volume(((j - 7) ** 2 + (i - 8 - k) ** 2 < 30).astype(np.uint8), matrix, "label")


@pytest.mark.parametrize("sees", ["slice", "neighbours"])
def test_an_image_has_the_grid_of_its_label_map_and_the_values_of_its_classes(sees: str) -> None:
    found = Maker(prior(sees=sees), HOW)(labels(), 3)
    assert (found.unit, found.array.dtype, found.array.shape) == ("HU", np.float32, (6, 16, 20))
    np.testing.assert_array_equal(found.ijk_to_ras, AXIAL)
    np.testing.assert_allclose(found.array, np.where(labels().array == 1, 40.0, -1000.0), atol=0.5)


def test_a_label_map_stored_otherwise_gives_the_same_image_stored_so() -> None:
    maker = Maker(prior(exact=False, sees="neighbours"), HOW, weight=1.5)
    matrix = AXIAL.copy()
    matrix[:, 3] += matrix[:, 2] * 5 + matrix[:, 0] * 19
    matrix[:, [0, 2]] *= -1
    turned = Volume(labels().array[::-1, :, ::-1].copy(), matrix, "label")
    one, other = maker(labels(), 3), maker(turned, 3)
    np.testing.assert_array_equal(one.array, other.array[::-1, :, ::-1])
    assert (one.array != maker(labels(), 4).array).any()
    states = list(maker.steps(labels(), 3))
    # Two slabs of two steps; of the second nothing is there after the first.
    assert [s.done for s in states] == [1, 2, 3, 4]
    assert bool(states[1].images[4:].isnan().all())
    assert bool(states[-1].images.isfinite().all())


@pytest.mark.parametrize("kind", [np.int16, np.float32])
def test_a_lesion_changes_its_segment_alone(kind: type) -> None:
    maker = Maker(prior(), HOW)
    random = np.random.default_rng(0)
    image = Volume(random.normal(0, 100, (6, 16, 20)).astype(kind), AXIAL, "HU")
    inside = np.zeros(image.array.shape, np.uint8)
    inside[2:4, 6:9, 8:11] = 1
    segment = Volume(inside, AXIAL, "label")
    found, told_of = maker.lesion(image, segment, labels(), "nodule", SETTINGS, 1)
    assert found.array.dtype == kind
    np.testing.assert_array_equal(found.array[inside == 0], image.array[inside == 0])
    np.testing.assert_allclose(found.array[inside == 1], 100, atol=1)
    assert told_of.mean == pytest.approx(0.1, abs=1e-3)
    gone, _ = maker.without(found, segment, labels(), SETTINGS, 1)
    np.testing.assert_array_equal(gone.array[inside == 0], image.array[inside == 0])
    np.testing.assert_allclose(gone.array[inside == 1], 40, atol=1)


@pytest.mark.parametrize(("change", "sentence"), [
    ("fine", "from 1.5 to 2 mm, as told was trained on, found 0.7 x 0.7 mm"), ("flat", "two slices or more"),
    ("values", "map them to the classes"), ("tall", "found 2 x 1.6 mm"),
])
def test_label_maps_that_do_not_suit_the_prior_are_one_sentence(change: str, sentence: str) -> None:
    given = labels()
    if change == "fine":
        given = labels(np.diag([-0.7, -0.7, 5.0, 1.0]))
    elif change == "tall":
        given = labels(np.diag([-1.6, -2.0, 5.0, 1.0]))
    elif change == "flat":
        given = Volume(given.array[:1], AXIAL, "label")
    else:
        given = given.with_array(given.array * 7)
    with pytest.raises(ValueError, match=sentence) as caught:
        Maker(prior(), HOW)(given, 1)
    assert "\n" not in str(caught.value)


def test_priors_and_grids_that_do_not_belong_are_one_sentence() -> None:
    with pytest.raises(ValueError, match="told is told nothing: choose another model"):
        Maker(prior(condition=None))
    with pytest.raises(ValueError, match="a condition for 'image': choose"):
        Maker(prior(condition=Condition("image")))
    maker = Maker(prior(), HOW)
    image = Volume(np.zeros((6, 16, 20), np.float32), AXIAL, "HU")
    moved = AXIAL.copy()
    moved[0, 3] = 4.0
    segment = labels()
    for bad, sentence in (
        ((replace(image, unit="a.u."), segment, labels()), "expected an image in HU, found a.u."),
        ((image, labels(moved), labels()), "the segment on the grid of the image, .* 4 mm apart"),
        ((image, segment, labels(moved)), "the label map on the grid"),
    ):
        with pytest.raises(ValueError, match=sentence):
            maker.lesion(*bad, "nodule", SETTINGS, 1)
