"""Priors of volumes: the network along slices, stacks of any number, patches of 8 slices, training, reconstruction."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusion_engine.coupling import coupling_named
from diffusion_engine.denoiser import EDMDenoiser, mirrored_positions, positions
from diffusion_engine.io.images import write_volume
from diffusion_engine.priors.card import check_seen
from diffusion_engine.priors.grow import seeing, widened
from diffusion_engine.priors.library import load_prior
from diffusion_engine.priors.neighbours import closeness
from diffusion_engine.priors.networks import PatchUNet
from diffusion_engine.priors.volumes import VolumeDenoiser, volume_planes
from diffusion_engine.run.pipeline import reconstruct
from diffusion_engine.run.settings import Settings
from diffusion_engine.training import run
from diffusion_engine.training.augment import draw_variants
from diffusion_engine.training.batches import Batch
from diffusion_engine.training.data import DEPTH, PatchSampler, TrainingSlices
from diffusion_engine.training.settings import PriorTraining
from diffusion_engine.training.train import TrainingSettings, train
from diffusion_engine.training.validate import denoising_psnr
from diffusion_engine.volume import Volume
from torch import Tensor

SIGMA = torch.tensor(0.2)


def busy(inputs: int) -> PatchUNet:
    """A network of random weights, none of them zero as at the start of a training."""
    torch.manual_seed(0)
    network = PatchUNet(inputs, 1, (8, 12), 1, volumes=inputs == 4)
    for weight in network.parameters():
        torch.nn.init.normal_(weight, std=0.1)
    return network


def test_a_network_of_slices_grows_into_one_of_volumes_that_learns_along_them() -> None:
    single = busy(3)
    grown = seeing(single, "volume")
    x, close, level = torch.randn(2, 3, 5, 24, 20), torch.rand(2, 1, 5, 24, 20), torch.randn(2)
    found = grown(torch.cat([x, close], dim=1), level)
    assert found.shape == (2, 1, 5, 24, 20)
    for k in range(5):
        torch.testing.assert_close(found[:, :, k], single(x[:, :, k], level))
    found.square().mean().backward()
    along = [p for name, p in grown.named_parameters() if "along" in name]
    assert along
    assert all(p.grad is not None and bool((p.grad != 0).any()) for p in along)


def test_a_slice_reaches_the_others_and_its_own_volume_alone() -> None:
    network = busy(4)
    x, level = torch.randn(2, 4, 6, 16, 16), torch.randn(2)
    changed = x.clone()
    changed[0, 0, 2] += 1
    difference = (network(changed, level) - network(x, level)).abs().amin((1, 3, 4))
    assert bool((difference[0] > 0).all())
    assert not difference[1].any()
    # An image is a volume of one slice.
    torch.testing.assert_close(network(x[:, :, 0], level), network(x[:, :, :1], level)[:, :, 0])


def test_a_wider_network_of_volumes_begins_as_the_narrow_one() -> None:
    narrow, x, level = busy(4), torch.randn(2, 4, 3, 16, 16), torch.randn(2)
    wide = widened(narrow, (10, 17))
    assert wide.sees == "volume"
    torch.testing.assert_close(wide(x, level), narrow(x, level))


class Watching(torch.nn.Module):
    """Gives back what it sees, and keeps what it was told of the places."""

    sigma_data = 0.5

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[Tensor, Tensor]] = []

    def forward(self, x: Tensor, sigma: Tensor, condition: Tensor) -> Tensor:
        self.seen.append((x, condition))
        return x


@pytest.mark.parametrize(("count", "slice_mm", "apart"), [(7, 5.0, 1), (7, 2.0, 2), (2, 1.0, 4)])
def test_a_stack_is_shown_as_volumes_of_slices_at_a_known_distance(count: int, slice_mm: float, apart: int) -> None:
    watching, place = Watching(), positions(6, 6, (2.0, 2.0))
    x = torch.arange(count, dtype=torch.float32)[:, None, None, None].expand(-1, 1, 6, 6)
    assert torch.equal(VolumeDenoiser(watching, slice_mm)(x, SIGMA, place), x)
    shown = [[int(k) for k in volume[0, 0, :, 0, 0]] for volume, _ in watching.seen]
    assert shown == [list(range(first, count, apart)) for first in range(min(apart, count))]
    for volume, planes in watching.seen:
        assert planes.shape == (1, 3, volume.shape[2], 6, 6)
        assert torch.equal(planes[0, :2, -1], place)
        assert float(planes[0, 2].min()) == pytest.approx(closeness(apart * slice_mm))


def test_a_loaded_prior_of_volumes_takes_slices_and_stacks(tmp_path: Path) -> None:
    """One slice of a stack of one is a slice alone but for the closeness; others than stacks are refused."""
    denoiser = EDMDenoiser(busy(4))
    place, x = positions(16, 16, (2.0, 2.0)), torch.randn(3, 1, 16, 16)
    stack = VolumeDenoiser(denoiser, 5.0)
    assert denoiser(x, SIGMA, place).shape == stack(x, SIGMA, place).shape == x.shape
    assert not torch.equal(stack(x, SIGMA, place), denoiser(x, SIGMA, place))
    mirrored = stack(x.flip(-1), SIGMA, mirrored_positions(place)).flip(-1)
    assert mirrored.shape == x.shape
    assert isinstance(coupling_named("volume").denoiser(denoiser, 5.0), VolumeDenoiser)
    with pytest.raises(ValueError, match="positive distance"):
        VolumeDenoiser(denoiser, 0.0)
    with pytest.raises(ValueError, match=r"\(slices, 1, rows, columns\)"):
        stack(x[:, 0], SIGMA, place)
    for sigma, planes in ((torch.ones(3), place), (SIGMA, None)):
        with pytest.raises(ValueError, match="shares one noise level and needs position planes"):
            stack(x, sigma, planes)
    with pytest.raises(ValueError, match="sees a slice at a time: choose one that was trained on volumes"):
        check_seen(load_prior("ct-body").card, "volume")


def told_by_slice(count: int) -> np.ndarray:
    """Slices (count, 12, 12) that tell their number in the hundreds and their pixel below."""
    return (100.0 * np.arange(count)[:, None, None] + np.linspace(0, 50, 144).reshape(12, 12)).astype(np.float32)


def test_patches_of_volumes_are_neighbours_and_say_how_close() -> None:
    source = TrainingSlices("a", told_by_slice(20), np.full(20, 2.0), slice_mm=5.0, left_right=True)
    short = TrainingSlices("b", told_by_slice(7) + 9000, np.full(7, 2.0), slice_mm=5.0)
    sampler = PatchSampler([source, short], sees="volume", flip=True)
    patches, planes = sampler.draw(100, 8, torch.Generator().manual_seed(0))
    assert patches.shape == (100, 1, DEPTH, 8, 8)
    assert planes.shape == (100, 3, DEPTH, 8, 8)
    seen = set()
    for patch, place in zip(patches[:, 0], planes, strict=True):
        steps = patch[1:] - patch[:-1]
        gap = round(float(steps[0, 0, 0]) / 100)
        torch.testing.assert_close(steps, torch.full_like(steps, 100.0 * gap))
        torch.testing.assert_close(place[2], torch.full_like(place[2], closeness(5.0 * gap)))
        assert torch.equal(place[:2, 0], place[:2, -1])
        # The position follows the image when it is mirrored: columns rise from left to right in the patient.
        assert bool((place[1, 0, 0, 1:] > place[1, 0, 0, :-1]).all())
        seen.add(gap)
    assert seen == {1, 2}
    for few in (short, replace(source, slice_mm=0.0)):
        with pytest.raises(ValueError, match="volume of 8 neighbouring slices"):
            PatchSampler([few], sees="volume")


def test_slices_of_a_volume_are_varied_alike() -> None:
    generator = torch.Generator().manual_seed(2)
    image = torch.randn(1, 1, 1, 24, 24, generator=generator)
    clean = image.expand(6, 1, 4, 24, 24).contiguous()
    place = volume_planes(positions(24, 24, (2.0, 2.0)), 5.0, 4).expand(6, 3, 4, 24, 24).contiguous()
    batch = Batch(clean, place, torch.ones(6), torch.zeros_like(clean), draw_variants(6, generator), torch.empty(0))
    found, told, _, _ = batch.on(torch.device("cpu"))
    assert found.shape == clean.shape
    assert not torch.equal(found, clean)
    for x in (found, told):
        torch.testing.assert_close(x, x[:, :, :1].expand_as(x))


def test_training_learns_from_the_slices_beside() -> None:
    """Noise that is the same anatomy in all slices: a volume is denoised better than its slices alone."""
    random = np.random.default_rng(1)
    values = np.repeat(random.normal(0, 0.5, (12, 1, 32, 32)), DEPTH, 1).astype(np.float32)
    sources = [TrainingSlices(str(n), v, np.full(DEPTH, 2.0), slice_mm=5.0) for n, v in enumerate(values)]
    torch.manual_seed(0)
    network = PatchUNet(4, 1, (16, 16), 1, volumes=True)
    settings = TrainingSettings(
        steps=120, patch_sizes=(16,), pixels_per_step=DEPTH * 16 * 16 * 4, warmup_steps=10, bf16=False,
        log_sigma_mean=-0.7, log_sigma_std=0.3, average_halflife_steps=10,
    )
    for _ in train(network, PatchSampler(sources, sees="volume"), settings):
        pass
    held = TrainingSlices("held", values[0] * 0 + random.normal(0, 0.5, (1, 32, 32)), np.full(DEPTH, 2.0), 1.0, 5.0)
    denoiser = EDMDenoiser(network)
    together, alone = (denoising_psnr(denoiser, [held], alone=alone)["0.5"] for alone in (False, True))
    assert together > alone + 1.5


def test_from_files_to_a_reconstruction_by_a_prior_of_volumes(tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    y, x = np.mgrid[:64, :64] - 31.5
    body = np.where(x**2 / 700 + y**2 / 500 < 1, 50.0, -1000.0)[None] + random.normal(0, 20, (10, 64, 64))
    matrix = np.diag([-2.0, -2.0, 5.0, 1.0])
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        write_volume(Volume(body.astype(np.float32), matrix, "HU"), tmp_path / name / "ct.nrrd")
    (tmp_path / "few").mkdir()
    write_volume(Volume(body[:5].astype(np.float32), matrix, "HU"), tmp_path / "few" / "ct.nrrd")
    origin = TrainingSlices("x", body.astype(np.float32) / 1000, np.full(10, 2.0), slice_mm=5.0)
    run.export_prior(busy(3), tmp_path, "slices", TrainingSettings(steps=1), [origin], [])
    asked = PriorTraining(
        data=tmp_path, exclude=("two",), steps=2, device="cpu", sees="volume", augment=True, patches=(32,),
        pixels=2 * DEPTH * 32 * 32, origin=str(tmp_path / "slices.json"),
    )
    card = run.train_prior(asked, tmp_path, "volumes")
    assert (card["network"]["inputs"], card["network"]["volumes"]) == (4, True)
    # What has too few slices is no training data of this prior.
    assert [entry["name"] for entry in card["data"]] == ["one/ct.nrrd", "x"]
    assert card["training"]["alone_psnr_db"].keys() == card["denoising_psnr_db"].keys()
    prior = load_prior(str(tmp_path / "volumes.json"))
    assert prior.card.sees == "volume"
    scanned = Volume(body[:4].astype(np.float32), matrix, "HU")
    settings = Settings(
        views=16, draws=1, steps=2, methods=("diffusion",), device="cpu", prior=str(tmp_path / "volumes.json")
    )
    together, alone = (
        reconstruct(scanned, settings, coupling=coupling).volumes["mean"].array for coupling in ("volume", "none")
    )
    assert together.shape == alone.shape == (4, 64, 64)
    assert np.isfinite(together).all()
    with pytest.raises(ValueError, match="sees a volume at a time: choose one that looks at neighbours"):
        reconstruct(scanned, settings, coupling="neighbours")
