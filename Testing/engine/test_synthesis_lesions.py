"""Lesions: places with room, bodies of the wanted size, parts made anew as told, and nothing else changed."""

from __future__ import annotations

from collections import deque

import numpy as np
import pytest
import torch
from diffusion_engine.priors.conditions import MASK, UNKNOWN, Condition
from diffusion_engine.sampling.noise import Noise
from diffusion_engine.synthesis.lesions import LesionSettings, around, to_mean, with_lesion, without_lesion
from diffusion_engine.synthesis.shapes import body, random_places

SPACING = (1.0, 1.0, 2.0)
TOLD = Condition(MASK, ("lung", "wall", "nodule"))
MEANS = torch.tensor([-0.8, 0.05, 0.3])


class Tissues:
    """Voxels about the mean of their class, of deviation 0.1; where nothing is known, about 0."""

    def __call__(self, x: torch.Tensor, sigma: torch.Tensor, condition: torch.Tensor | None = None) -> torch.Tensor:
        assert condition is not None
        mean = (condition[:, 2:] * MEANS[:, None, None]).sum(1, keepdim=True)
        return mean + 0.01 / (0.01 + sigma**2) * (x - mean)


def scene() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Lung left, wall right, and a segment at the border of both: image, segment, labels."""
    labels = torch.zeros(8, 40, 40, dtype=torch.uint8)
    labels[:, :, 20:] = 1
    image = MEANS[labels.long()][:, None] + 0.1 * torch.randn(8, 1, 40, 40, generator=torch.Generator().manual_seed(0))
    segment = torch.from_numpy(body((8, 40, 40), SPACING, np.array([4, 20, 18]), 8.0, 0.1, generator(0)))
    return image, segment, labels


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def last(run: object) -> object:
    return deque(run, maxlen=1)[0]  # type: ignore[arg-type]


@pytest.mark.parametrize("roughness", [0.0, 0.2])
def test_a_body_has_the_volume_of_its_diameter_about_its_centre(roughness: float) -> None:
    found = body((20, 40, 40), SPACING, np.array([10, 20, 18]), 14.0, roughness, generator(1))
    assert found.sum() * 2.0 == pytest.approx(np.pi / 6 * 14**3, abs=2.0)
    assert found[10, 20, 18]
    centre = np.argwhere(found).mean(0)
    assert np.abs(centre - [10, 20, 18]).max() < (0.1 if roughness == 0 else 2.5)
    if roughness == 0:
        k, j, i = np.mgrid[:20, :40, :40]
        distance = np.sqrt(((k - 10) * 2.0) ** 2 + (j - 20) ** 2 + (i - 18) ** 2)
        assert distance[found].max() <= distance[~found].min()
        assert distance[found].max() == pytest.approx(7.0, abs=0.6)
    else:
        assert (found != body((20, 40, 40), SPACING, np.array([10, 20, 18]), 14.0, 0.2, generator(2))).any()
        assert (found == body((20, 40, 40), SPACING, np.array([10, 20, 18]), 14.0, 0.2, generator(1))).all()


def test_places_have_room_and_are_apart() -> None:
    allowed = np.zeros((20, 60, 60), bool)
    allowed[2:18, 5:50, 10:55] = True
    found = random_places(allowed, SPACING, 10.0, 4, generator(3))
    assert found.shape == (4, 3)
    for place in found:
        sphere = body(allowed.shape, SPACING, place, 9.0, 0.0, generator(0))
        assert allowed[sphere].all()
    for n, one in enumerate(found):
        for other in found[:n]:
            assert np.linalg.norm((one - other) * [2, 1, 1]) >= 10
    assert (found == random_places(allowed, SPACING, 10.0, 4, generator(3))).all()
    # The image's own edge is no room either.
    assert random_places(np.ones((20, 60, 60), bool), SPACING, 38.0, 1, generator(0)).tolist()[0][0] in (9, 10)


@pytest.mark.parametrize(("call", "sentence"), [
    (lambda a: random_places(a & False, SPACING, 5.0, 1, generator(0)), "found an empty one"),
    (lambda a: random_places(a, SPACING, 5.0, 0, generator(0)), "expected 1 place or more, found 0"),
    (lambda a: random_places(a, SPACING, 18.0, 3, generator(0)), "room for 3 lesions of 18 mm, found it for 1"),
    (lambda a: random_places(a, SPACING, 0.0, 1, generator(0)), "above 0 mm"),
    (lambda a: body(a.shape, SPACING, np.array([1, 10, 10]), 8.0, 0.0, generator(0)), "reaches the edge"),
    (lambda a: body(a.shape, SPACING, np.array([5, 10, 10]), 99.0, 0.0, generator(0)), "fills the whole image"),
    (lambda a: body(a.shape, SPACING, np.array([5, 10, 10]), 5.0, 0.9, generator(0)), "roughness from 0 to 0.3"),
])
def test_places_and_bodies_that_cannot_be_are_one_sentence(call: object, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence) as caught:
        call(np.ones((10, 20, 20), bool))  # type: ignore[operator]
    assert "\n" not in str(caught.value)


def test_a_lesion_is_made_as_its_class_says_and_nothing_else_changes() -> None:
    image, segment, labels = scene()
    before = image.clone()
    states = list(with_lesion(
        Tissues(), image, segment, labels, "nodule", torch.zeros(2, 40, 40), TOLD, LesionSettings(steps=8, jumps=2),
        Noise(1),
    ))
    assert len(states) == 8
    for state in states:
        assert torch.equal(state.image[~segment[:, None]], before[~segment[:, None]])
    assert torch.equal(image, before)
    final = states[-1]
    assert final.mean == pytest.approx(0.3, abs=0.03)
    assert final.deviation == pytest.approx(0.1, rel=0.25)
    assert torch.equal(final.labels == 2, segment)
    assert torch.equal(final.labels[~segment], labels[~segment])


def test_a_wanted_mean_is_met_and_the_texture_stays() -> None:
    image, segment, labels = scene()
    settings = LesionSettings(steps=8, jumps=2, mean=0.12)
    found = last(with_lesion(
        Tissues(), image, segment, labels, "nodule", torch.zeros(2, 40, 40), TOLD, settings, Noise(1)
    ))
    assert found.mean == pytest.approx(0.12, abs=1e-4)  # type: ignore[attr-defined]
    assert found.deviation == pytest.approx(0.1, rel=0.25)  # type: ignore[attr-defined]
    x = torch.randn(2, 1, 3, 3)
    inside = torch.zeros_like(x, dtype=torch.bool)
    inside[1] = True
    moved = to_mean(inside, 2.0)(x)
    assert torch.equal(moved[0], x[0])
    assert float(moved[1].mean()) == pytest.approx(2.0)
    torch.testing.assert_close(moved[1] - moved[1].mean(), x[1] - x[1].mean())


def test_a_removed_lesion_leaves_what_surrounds_it() -> None:
    """Half in lung, half in wall: each half becomes what lies nearest to it."""
    image, segment, labels = scene()
    ill, marked = image.clone(), torch.where(segment, torch.full_like(labels, 2), labels)
    ill[segment[:, None]] = 0.3
    found = last(without_lesion(
        Tissues(), ill, segment, marked, torch.zeros(2, 40, 40), TOLD, LesionSettings(steps=8, jumps=2), Noise(1),
        SPACING,
    ))
    assert torch.equal(found.image[~segment[:, None]], ill[~segment[:, None]])  # type: ignore[attr-defined]
    assert set(found.labels[segment].tolist()) == {0, 1}  # type: ignore[attr-defined]
    for value in (0, 1):
        part = segment & (found.labels == value)  # type: ignore[attr-defined]
        mean = float(found.image[part[:, None]].mean())  # type: ignore[attr-defined]
        assert mean == pytest.approx(float(MEANS[value]), abs=0.05)


def test_only_a_window_about_the_segment_is_computed_at_its_place() -> None:
    seen = []

    class Watching(Tissues):
        def __call__(self, x: torch.Tensor, sigma: torch.Tensor, condition: torch.Tensor | None = None) -> torch.Tensor:
            assert condition is not None
            seen.append((tuple(x.shape), condition[0, :2, 0, 0].tolist()))
            return super().__call__(x, sigma, condition)

    labels = torch.zeros(30, 100, 120, dtype=torch.uint8)
    segment = torch.zeros(labels.shape, dtype=torch.bool)
    segment[10:12, 40:44, 5:9] = True
    place = torch.stack(torch.meshgrid(torch.arange(100.0), torch.arange(120.0), indexing="ij"))
    settings = LesionSettings(steps=2, jumps=1)
    image = torch.zeros(30, 1, 100, 120)
    last(with_lesion(Watching(), image, segment, labels, "nodule", place, TOLD, settings, Noise(0)))
    assert seen == [((6, 1, 68, 41), [8.0, 0.0])] * 3
    assert around(segment.numpy(), 1, 0) == (slice(10, 12), slice(39, 45), slice(4, 10))


@pytest.mark.parametrize(("change", "sentence"), [
    ("class", "knows no class 'wart': choose from lung, wall, nodule"), ("empty", "found no voxel"),
    ("grid", "a segment and a label map of the same image"), ("labels", "found \\[9\\]: map them"),
    ("mean", "finite mean"), ("weight", "weight of guidance"),
])
def test_lesions_that_cannot_be_made_are_one_sentence(change: str, sentence: str) -> None:
    image, segment, labels = scene()
    lesion, settings = "nodule", {"steps": 3, "jumps": 1}
    if change == "class":
        lesion = "wart"
    elif change == "empty":
        segment = torch.zeros_like(segment)
    elif change == "grid":
        segment = segment[1:]
    elif change == "labels":
        labels[4, 20, 10] = 9
    elif change in ("mean", "weight"):
        settings[change] = float("nan")  # type: ignore[assignment]
    with pytest.raises(ValueError, match=sentence) as caught:
        with_lesion(
            Tissues(), image, segment, labels, lesion, torch.zeros(2, 40, 40), TOLD,
            LesionSettings(**settings), Noise(0),  # type: ignore[arg-type]
        )
    assert "\n" not in str(caught.value)


def test_tissue_that_is_not_known_may_surround_a_lesion() -> None:
    image, segment, labels = scene()
    labels[~segment] = UNKNOWN
    found = last(with_lesion(
        Tissues(), image, segment, labels, "nodule", torch.zeros(2, 40, 40), TOLD, LesionSettings(steps=8, jumps=2),
        Noise(1),
    ))
    assert found.mean == pytest.approx(0.3, abs=0.04)  # type: ignore[attr-defined]
