"""The question about CT numbers: what scanners make passes without one, what is in other units never does."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusion_engine.io.images import read_volume
from diffusion_engine.modalities.ct.hu_question import HIGHEST_HU, padding, question_hu
from diffusion_engine.modalities.ct.problem import prepare
from diffusion_engine.run.settings import Settings
from diffusion_engine.volume import Volume

REAL = Path(os.environ.get("DIFFUSION_PRIORS_DATA", "")) / "eval"
PADDINGS = (-1500, -2000, -2048, -3024, -32768)


def ellipse(radius_y: float, radius_x: float, centre_x: float = 0.0, size: int = 96) -> np.ndarray:
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    return (y / radius_y) ** 2 + ((x - centre_x) / radius_x) ** 2 < 1


def body(noise: float = 15.0) -> np.ndarray:
    """A thorax: fat around muscle, two lungs, a spine; (2, 96, 96) in HU."""
    image = np.full((96, 96), -1000.0)
    for inside, value in (
        (ellipse(32, 44), -100), (ellipse(28, 40), 45), (ellipse(20, 12, -18), -850), (ellipse(20, 12, 18), -850),
        (ellipse(5, 6), 500),
    ):
        image[inside] = value
    return np.stack([image, image]) + np.random.default_rng(0).normal(0, noise, (2, 96, 96)) * (noise > 0)


def head(noise: float = 8.0) -> np.ndarray:
    image = np.full((96, 96), -1000.0)
    for radius, value in ((40, -80), (38, 1100), (34, 35)):
        image[ellipse(radius, radius - 6)] = value
    return image[None] + np.random.default_rng(1).normal(0, noise, (1, 96, 96)) * (noise > 0)


def leg() -> np.ndarray:
    image = np.full((96, 96), -1000.0)
    for radius, value in ((14, -100), (12, 55), (4, 1200), (2, -60)):
        image[ellipse(radius, radius)] = value
    return image[None] + np.random.default_rng(2).normal(0, 20, (1, 96, 96))


def crop_without_air() -> np.ndarray:
    image = np.random.default_rng(3).normal(60, 15, (2, 40, 40))
    image[:, :, 30:] -= 160
    return image


def padded(image: np.ndarray, value: float) -> np.ndarray:
    """Outside the scan circle there is padding."""
    result = image.copy()
    result[:, ~ellipse(48, 48)] = value
    return result


def with_metal(image: np.ndarray, value: float) -> np.ndarray:
    result = image.copy()
    result[:, ellipse(3, 3)] = value
    return result


def asked(array: np.ndarray, unit: str = "HU") -> str | None:
    return question_hu(Volume(array, np.diag([-1.0, -1.0, 3.0, 1.0]), unit))


@pytest.mark.parametrize("stored", [np.float32, np.int16])
@pytest.mark.parametrize("unit", ["HU", "a.u."])
def test_what_scanners_make_is_not_questioned(stored: type, unit: str) -> None:
    images = [
        body(), body(0), body(120), np.maximum(body(), -1024), head(), head(0), leg(), crop_without_air(),
        body()[:1], body()[:, 30:66, 50:80], with_metal(body(), 3071), with_metal(head(), HIGHEST_HU),
        np.random.default_rng(0).normal(0, 20, (1, 40, 40)), *(padded(body(), p) for p in PADDINGS),
        *(padded(body(0), p) for p in PADDINGS), *(padded(head(), p) for p in PADDINGS),
    ]
    assert [asked(image.astype(stored), unit) for image in images] == [None] * len(images)


def test_resampled_padding_is_not_questioned() -> None:
    """Its edge has all values between the padding's and air's."""
    for value in PADDINGS:
        image = padded(body(), value)
        half = (image[..., ::2, ::2] + image[..., 1::2, ::2] + image[..., ::2, 1::2] + image[..., 1::2, 1::2]) / 4
        assert asked(half) is None


@pytest.mark.parametrize(
    ("array", "says"),
    [
        *((padded(body(noise) + 1024, p), "nowhere negative|offset .* missing|no crop of soft tissue")
          for noise in (0, 15) for p in (-2000, -3024)),
        (body() + 1024, "offset .* missing"), (body(0) + 1024, "nowhere negative"),
        (head() + 1000, "offset .* missing"),
        (leg() + 1024, "offset .* missing"), (np.maximum(leg() + 1024, 0), "nowhere negative"),
        *((image - 1024, "below air .* offset applied twice") for image in (body(), body(0), head(), head(0), leg())),
        (np.where(leg() < -600, -2048, leg() - 1024), "below air"), (body() / 10, "no crop of soft tissue"),
        (np.maximum(body(), -1024) - 1024, "below air"), (body() - 1000, "below air"),
        (padded(body() - 1024, -3024), "below air"),
        (body() * 10, "below air|other units"), (body(0) * 10, "below air|other units"),
        (head(0) * 10, "below air|other units"),
        (body() / 1000, "span only"), ((body() + 1024) / 4095, "span only|nowhere negative"),
        (np.clip((body() + 1000) / 8, 0, 255), "nowhere negative"), (0.0193 * (1 + body() / 1000), "span only"),
        (np.clip(body(), -160, 240), "no crop of soft tissue"), (-body(), "no crop|hardly any|offset"),
        (padded(body(), 62512), r"beyond any CT number .*\(22 % of the voxels"), (padded(body(), 31744), "beyond any"),
        (padded(body(), 20000), "above 3100 HU"), (with_metal(body(), 40000), "beyond any"),
        (np.full((2, 9, 9), -1000.0), "nothing denser"), (np.full((2, 9, 9), 40.0), "All voxels are 40"),
        (np.arange(18.0).reshape(2, 3, 3), "nowhere negative"), (np.full((1, 9, 9), -40_000.0), "beyond any"),
        (np.where(ellipse(30, 30), 1000.0, -1000.0)[None], "near 1000 HU"),
        (np.where(ellipse(32, 44), body(), 0.0), "exactly 0 at 100 % of the slices' edges"),
        (np.where(ellipse(47, 47), body(0), 0.0), "exactly 0 at"),
    ],
)
def test_what_is_not_in_hu_is_questioned_with_what_was_found(array: np.ndarray, says: str) -> None:
    found = asked(array.astype(np.float32))
    assert found is not None
    assert re.search(says, found), found


def test_images_of_other_kinds_are_questioned() -> None:
    random = np.random.default_rng(5)
    inside = ellipse(30, 40)
    mr = np.where(inside, 400 + 100 * np.sin(np.arange(96) / 5), 5) + np.abs(random.normal(0, 8, (2, 96, 96)))
    filtered = mr - 12  # its background undershoots
    pet = random.gamma(1.0, 0.5, (2, 40, 40)) + np.where(random.random((2, 40, 40)) > 0.99, 12, 0)
    labels = (random.integers(0, 118, (2, 40, 40)) * (random.random((2, 40, 40)) > 0.5)).astype(np.uint8)
    scores = (mr - mr.mean()) / mr.std()
    for array in (mr, filtered, pet, 20_000 * pet, labels, labels > 50, scores, 0.13 * inside[None]):
        assert asked(np.asarray(array)) is not None
    assert "peaks" not in str(asked(mr))
    assert "most of them near" in str(asked(mr))
    assert "are in SUV" in str(asked(pet, "SUV"))


def test_the_message_names_the_peaks() -> None:
    found = str(asked(padded(body(0) + 1024, -2000)))
    assert "near 24 and 1.07e+03" in found
    assert "-2000 in 2" in found


def test_padding_is_one_value_below_air() -> None:
    matrix = np.eye(4)
    assert padding(Volume(body(), matrix, "HU")) is None
    assert padding(Volume(np.maximum(body(), -1024), matrix, "HU")) is None
    noisy = body()[:1, :20, :20].copy()
    noisy[0, 3, :3] = -1200
    assert padding(Volume(noisy, matrix, "HU")) is None
    value, share = padding(Volume(padded(body(), -3024), matrix, "HU")) or (0, 0)
    assert (value, share) == (-3024, pytest.approx(1 - ellipse(48, 48).mean()))


def test_padding_counts_as_air_in_the_scan_and_is_said() -> None:
    """The scan of the padded image is that of the image with air there; nothing attenuates less than air."""
    settings = Settings(views=6, methods=("fbp",), device="cpu", pixel_mm=4.0)
    matrix, device = np.diag([-4.0, -4.0, 3.0, 1.0]), torch.device("cpu")
    air = prepare(Volume(padded(body(0), -1000), matrix, "HU"), settings, device, None)
    filled = prepare(Volume(padded(body(0), -3024), matrix, "HU"), settings, device, None)
    assert torch.equal(air.delivered.data, filled.delivered.data)
    assert filled.reference is not None
    assert float(filled.reference.min()) == -1000
    assert [note for note in filled.notes if note not in air.notes] == [
        "Padding of -3024 HU in 22 % of the voxels counts as air (-1000 HU)."
    ]
    with pytest.raises(ValueError, match=r"offset.*set trust_unit"):
        prepare(Volume(padded(body() + 1024, -2000), matrix, "HU"), settings, device, None)
    trusting = replace(settings, trust_unit=True)
    notes = prepare(Volume(padded(body() + 1024, -2000), matrix, "HU"), trusting, device, None).notes
    assert "most of them near" in notes[0]


@pytest.mark.skipif(not REAL.is_dir(), reason="real volumes are not here: set DIFFUSION_PRIORS_DATA to their folder")
def test_real_volumes() -> None:
    """Every CT volume passes; every other image taken for CT is questioned."""
    for path in sorted(REAL.rglob("*.n*")):
        if not path.name.endswith((".nii.gz", ".nrrd")):
            continue
        is_ct = path.name in ("ct.nii.gz", "ct_sm.nii.gz", "CT_image.nii.gz")
        assert (question_hu(read_volume(path, "HU")) is None) == is_ct, path
