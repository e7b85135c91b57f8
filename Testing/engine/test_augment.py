"""Variants of training patches, and batches that are drawn ahead."""

from __future__ import annotations

import math
import threading
from dataclasses import replace

import pytest
import torch
from diffusion_engine.denoiser import positions
from diffusion_engine.training.augment import SHARPNESS, STRETCH, TURN_DEGREES, Variants, draw_variants, varied
from diffusion_engine.training.batches import one_ahead
from torch import Tensor

SIZE = 24


def unchanged(count: int) -> Variants:
    no = torch.zeros(count, dtype=torch.bool)
    return Variants(torch.eye(2, 3).repeat(count, 1, 1), torch.zeros(count), no, no, no)


def smooth(count: int = 2) -> tuple[Tensor, Tensor]:
    """Patches with a bright bar to the right of the middle, and their planes."""
    y, x = positions(SIZE, SIZE, (1.0, 1.0)) * 200
    image = torch.exp(-((x - 3) ** 2) / 4 - y**2 / 16) - 1
    return image.repeat(count, 1, 1, 1), positions(SIZE, SIZE, (1.0, 1.0)).repeat(count, 1, 1, 1)


def test_no_variant_is_the_patch_itself() -> None:
    patches, places = smooth()
    found, told = varied(patches, places, unchanged(2))
    assert torch.equal(found, patches)
    assert torch.equal(told, places)


def test_mirrored_and_swapped_patches_tell_how_they_lie() -> None:
    """Image and planes are turned alike, so every value keeps the position that belongs to it."""
    patches, places = smooth(8)
    turns = torch.tensor([[a, b, c] for a in (0, 1) for b in (0, 1) for c in (0, 1)], dtype=torch.bool)
    variants = replace(unchanged(8), swapped=turns[:, 0], upturned=turns[:, 1], mirrored=turns[:, 2])
    found, told = varied(patches, places, variants)
    assert len({tuple(image.flatten().tolist()) for image in found}) == 4  # the bar looks the same upside down
    y, x = told[:, 0] * 200, told[:, 1] * 200
    torch.testing.assert_close(found[:, 0], torch.exp(-((x - 3) ** 2) / 4 - y**2 / 16) - 1)


def test_a_body_is_moved_on_a_grid_that_stays() -> None:
    patches, places = smooth(1)
    quarter = torch.tensor([[[math.cos(a := math.pi / 2), -math.sin(a), 0.0], [math.sin(a), math.cos(a), 0.0]]])
    found, told = varied(patches, places, replace(unchanged(1), maps=quarter))
    torch.testing.assert_close(found[0, 0], patches[0, 0].rot90(1), atol=1e-5, rtol=0)
    assert torch.equal(told, places)
    halved = torch.tensor([[[0.5, 0.0, 0.0], [0.0, 0.5, 0.0]]])
    wide, _ = varied(patches, places, replace(unchanged(1), maps=halved))
    mass = [float((image + 1).sum()) for image in (patches, wide)]
    assert mass[1] == pytest.approx(4 * mass[0], rel=0.1)


def test_sharpness_changes_the_finest_detail_alone_and_nothing_falls_below_the_patch() -> None:
    generator = torch.Generator().manual_seed(0)
    noise, place = torch.randn(1, 1, SIZE, SIZE, generator=generator), torch.zeros(1, 2, SIZE, SIZE)
    for b in (-0.5, 0.5):
        found, _ = varied(10 + noise, place, replace(unchanged(1), sharpness=torch.tensor([b])))
        assert float(found.mean()) == pytest.approx(10 + float(noise.mean()), abs=0.02)
        assert float(found.std() / noise.std()) == pytest.approx(1 + 0.8 * b, abs=0.12)
        assert float(found.min()) >= float((10 + noise).min())
    flat, _ = varied(torch.full((1, 1, SIZE, SIZE), -1.0), place, replace(unchanged(1), sharpness=torch.tensor([0.5])))
    torch.testing.assert_close(flat, torch.full_like(flat, -1.0))


def test_variants_are_a_seed_and_stay_plausible() -> None:
    first, again = (draw_variants(4000, torch.Generator().manual_seed(3)) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(vars(first).values(), vars(again).values(), strict=True))
    moved = (first.maps != torch.eye(2, 3)).flatten(1).any(1)
    assert float(moved.float().mean()) == pytest.approx(0.5, abs=0.03)
    assert float((first.sharpness != 0).float().mean()) == pytest.approx(0.5, abs=0.03)
    assert float(first.sharpness.abs().max()) <= SHARPNESS
    angle = torch.atan2(-first.maps[:, 0, 1], first.maps[:, 0, 0])
    assert float(angle.abs().max()) <= math.radians(3 * TURN_DEGREES) + 1e-6
    scale = first.maps[:, :, :2].norm(dim=2).log()
    assert float(scale.abs().max()) <= 3 * STRETCH + 1e-5
    turned = first.swapped | first.upturned | first.mirrored
    assert float(turned.float().mean()) == pytest.approx(0.25 * 7 / 8, abs=0.03)


def test_the_next_is_made_while_the_last_is_used() -> None:
    made: list[int] = []
    begun = threading.Event()

    def make() -> int:
        made.append(len(made))
        if len(made) == 2:
            begun.set()
        return made[-1]

    items = one_ahead(make, 3)
    assert next(items) == 0
    assert begun.wait(60)
    assert list(items) == [1, 2]
    assert made == [0, 1, 2]
    assert list(one_ahead(make, 0)) == []

    def fail() -> int:
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        next(one_ahead(fail, 2))
