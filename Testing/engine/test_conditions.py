"""Networks that are told label maps or other images: how they begin, what they learn from, and what their cards say."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusion_engine.commands.learning import _names
from diffusion_engine.denoiser import EDMDenoiser, positions
from diffusion_engine.io.images import write_volume
from diffusion_engine.priors.channels import bits, labels_of, left_out, one_hot
from diffusion_engine.priors.conditions import IMAGE, MASK, SEGMENT, UNKNOWN, Condition, condition_from_card, values_of
from diffusion_engine.priors.grow import seeing, segmenting, told
from diffusion_engine.priors.library import load_prior
from diffusion_engine.priors.neighbours import StackDenoiser, denoised
from diffusion_engine.priors.networks import PatchUNet, seeing_network
from diffusion_engine.training import run
from diffusion_engine.training.data import PatchSampler, TrainingSlices
from diffusion_engine.training.given import most_of_four, with_given
from diffusion_engine.training.settings import PriorTraining
from diffusion_engine.training.sources import load_sources
from diffusion_engine.training.train import TrainingSettings, edm_loss, train
from diffusion_engine.training.units import UNITS
from diffusion_engine.volume import Volume

AXIAL = np.diag([-2.0, -2.0, 5.0, 1.0])
CLASSES = ("air", "body")
TOLD = Condition(MASK, CLASSES)


def busy(inputs: int = 3) -> PatchUNet:
    """A network of random weights, none of them zero as at the start of a training."""
    torch.manual_seed(0)
    network = PatchUNet(inputs, 1, (8, 12), 1)
    for weight in network.parameters():
        torch.nn.init.normal_(weight, std=0.1)
    return network


def body(slices: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """A CT of a disc in air that moves from slice to slice, in HU, and its label map."""
    k, j, i = np.mgrid[:slices, :40, :40]
    inside = (j - 20) ** 2 + (i - 17 - k) ** 2 < 120
    return np.where(inside, 40.0, -1000.0).astype(np.float32), inside.astype(np.float32)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Volumes of two patients below "ct", their label maps below "labels", a third without."""
    hu, labels = body()
    for name in ("one", "two", "three"):
        (tmp_path / "ct" / name).mkdir(parents=True)
        write_volume(Volume(hu, AXIAL, "HU"), tmp_path / "ct" / name / "ct.nii.gz")
        if name != "three":
            (tmp_path / "labels" / name).mkdir(parents=True)
            write_volume(Volume(labels, AXIAL, "label"), tmp_path / "labels" / name / "ct.nrrd")
    return tmp_path


def test_label_maps_become_channels_and_back() -> None:
    labels = torch.tensor([[0, 1], [2, UNKNOWN]], dtype=torch.uint8)
    planes = one_hot(labels, 3)
    assert planes.tolist() == [[[1, 0], [0, 0]], [[0, 1], [0, 0]], [[0, 0], [1, 0]]]
    assert bits(labels, 3)[1].tolist() == [[-0.5, 0.5], [-0.5, -0.5]]
    assert labels_of(planes)[0].tolist() == [0, 1]
    assert values_of(("air", "lung", "bone"), ["bone", "air"]) == [2, 0]
    with pytest.raises(ValueError, match="knows no class 'liver': choose from air, body"):
        values_of(CLASSES, ["liver"])
    with pytest.raises(ValueError, match=r"labels from 0 to 1, or 255 .* found \[2\]: map them"):
        one_hot(labels, 2)


@pytest.mark.parametrize(("kind", "classes", "sentence"), [
    ("sound", (), "cannot be told a 'sound': choose from mask, image, start, segment"),
    (MASK, (), "expected 1 to 64 different names"), (MASK, ("a", "a"), "different names"),
    (SEGMENT, ("a",), "expected 2 to 64"), (IMAGE, ("a",), "an image has no classes"),
])
def test_a_condition_that_cannot_be_is_one_sentence(kind: str, classes: tuple[str, ...], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence) as caught:
        Condition(kind, classes)
    assert "\n" not in str(caught.value)


def test_every_class_is_left_out_as_often_as_told_and_all_together_too() -> None:
    generator = torch.Generator().manual_seed(0)
    found = torch.stack([left_out(TOLD, torch.ones(2, 1, 1), generator)[:, 0, 0] for _ in range(4000)])
    # Kept: not ablated (0.7) and not all dropped (0.9); independent but for the latter.
    assert found.mean(0).tolist() == pytest.approx([0.63, 0.63], abs=0.02)
    assert float((found.sum(1) == 2).float().mean()) == pytest.approx(0.9 * 0.49, abs=0.02)
    image = Condition(IMAGE)
    kept = torch.stack([left_out(image, torch.ones(1, 1, 1), generator) for _ in range(2000)])
    assert float(kept.mean()) == pytest.approx(0.9, abs=0.02)


@pytest.mark.parametrize("sees", ["slice", "neighbours"])
def test_a_network_that_is_told_begins_where_the_prior_was(sees: str) -> None:
    """Whatever the label map, and without it: bit by bit what the prior gives, alone or in a stack."""
    base = seeing(busy(), sees)
    grown = EDMDenoiser(told(base, 2))
    before = EDMDenoiser(base)
    place = positions(16, 24, (2.0, 2.0))
    x, sigma = torch.randn(4, 1, 16, 24), torch.tensor(0.3)
    planes = torch.cat([place.expand(4, 2, 16, 24), torch.randint(0, 2, (4, 2, 16, 24)).float()], 1)
    if sees == "neighbours":
        wanted = StackDenoiser(before, 4.0)(x, sigma, place)
        found, untold = (StackDenoiser(grown, 4.0)(x, sigma, p) for p in (planes, place))
    else:
        wanted, found, untold = before(x, sigma, place), grown(x, sigma, planes), grown(x, sigma, place)
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(untold, wanted)
    torch.testing.assert_close(grown(x, sigma, place), before(x, sigma, place))
    with pytest.raises(ValueError, match="told nothing"):
        told(told(base, 2), 2)


def test_a_stack_tells_each_slice_its_own_label_map() -> None:
    """Planes are positions, noisy neighbours with their closeness, then the condition, in training and in use alike."""

    class Recorder(torch.nn.Module):
        sees, inputs = "neighbours", 9
        sigma_data = 0.5

        def forward(self, x: torch.Tensor, sigma: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
            self.seen = condition
            return x

    recorder = Recorder()
    place = torch.cat([positions(4, 4, (1.0, 1.0)).expand(3, 2, 4, 4), torch.arange(3.0)[:, None, None, None].expand(
        3, 2, 4, 4)], 1)
    StackDenoiser(recorder, 4.0)(torch.randn(3, 1, 4, 4), torch.tensor(0.1), place)  # type: ignore[arg-type]
    assert recorder.seen.shape == (3, 8, 4, 4)
    assert recorder.seen[:, 6:].amax((1, 2, 3)).tolist() == [0, 1, 2]
    assert recorder.seen[:, 4, 0, 0].tolist() == pytest.approx([0, 0.67, 0.67], abs=0.01)
    told_place = torch.cat([place[:, :2], torch.full((3, 2, 4, 4), 0.5), place[:, 2:]], 1)
    denoised(recorder, torch.randn(3, 3, 4, 4), torch.tensor(0.1), told_place)  # type: ignore[arg-type]
    assert torch.equal(recorder.seen[:, 6:], place[:, 2:])
    assert recorder.seen[:, 4:6].unique().tolist() == [0.5]


def test_patches_come_with_the_labels_of_their_place_mirrored_with_them() -> None:
    hu, labels = body()
    source = TrainingSlices(
        "a", hu / 1000, np.full(5, 2.0), slice_mm=4.0, left_right=True, given=labels.astype(np.uint8)
    )
    told_all = replace(TOLD, ablation=0.0, dropped=0.0)
    for sees, first in (("slice", 2), ("neighbours", 4)):
        sampler = PatchSampler([source], sees, flip=True, condition=told_all)
        patches, places = sampler.draw(20, 48, torch.Generator().manual_seed(0))
        assert places.shape == (20, first + 2, 48, 48)
        inside = (patches[:, 0] > -0.5).float()
        assert torch.equal(places[:, first + 1], inside)
        assert torch.equal(places[:, first], 1 - inside)
    with pytest.raises(ValueError, match="labels or another image of a, found none"):
        PatchSampler([replace(source, given=None)], condition=TOLD).draw(1, 16, torch.Generator())
    with pytest.raises(ValueError, match="not of volumes or sinograms"):
        PatchSampler([replace(source, half_turn=True)], condition=TOLD)


def test_without_a_condition_patches_are_what_they_were() -> None:
    hu, labels = body()
    plain = TrainingSlices("a", hu / 1000, np.full(5, 2.0), slice_mm=4.0)
    given = replace(plain, given=labels.astype(np.uint8))
    drawn = [PatchSampler([s], "neighbours").draw(6, 16, torch.Generator().manual_seed(3)) for s in (plain, given)]
    for one, other in zip(*drawn, strict=True):
        assert torch.equal(one, other)


def test_given_files_are_found_by_name_on_the_same_grid(folder: Path) -> None:
    sources, _ = load_sources(folder / "ct")
    found, lacking = with_given(sources, folder / "labels", TOLD, UNITS["HU"])
    assert [s.name for s in found] == ["one/ct.nii.gz", "two/ct.nii.gz"]
    assert lacking == ["three/ct.nii.gz: nothing is given for it"]
    for source in found:
        assert source.given is not None
        assert source.given.dtype == np.uint8
        np.testing.assert_array_equal(source.given, source.values > -0.5)
    image, _ = with_given(sources, folder / "ct", Condition(IMAGE), UNITS["HU"])
    assert len(image) == 3
    np.testing.assert_array_equal(image[0].given, sources[0].values)


def test_labels_stored_otherwise_are_turned_with_the_volume(folder: Path) -> None:
    """A label map of the same voxels, stored from superior to inferior and columns reversed."""
    _, labels = body()
    matrix = AXIAL.copy()
    matrix[:, 3] += matrix[:, 2] * 4 + matrix[:, 0] * 39
    matrix[:, [0, 2]] *= -1
    write_volume(Volume(labels[::-1, :, ::-1].copy(), matrix, "label"), folder / "labels" / "one" / "ct.nrrd")
    found, _ = with_given(load_sources(folder / "ct", only=["one"])[0], folder / "labels", TOLD, UNITS["HU"])
    np.testing.assert_array_equal(found[0].given, found[0].values > -0.5)


@pytest.mark.parametrize(("change", "sentence"), [
    ("moved", "on its own grid, found 5 x 40 x 40 voxels, 3 mm away"),
    ("fewer", "on its own grid, found 4 x 40 x 40 voxels: resample"),
    ("value", "expected labels from 0 to 1, or 255, for one/ct.nii.gz, found 7: map"),
    ("half", "found 0.5: map them to the classes"), ("none", "nothing below .* lay it out as the"),
    ("folder", "no folder"),
])
def test_what_does_not_belong_to_a_volume_is_one_sentence(folder: Path, change: str, sentence: str) -> None:
    sources, _ = load_sources(folder / "ct", only=["one"])
    _, labels = body()
    matrix = AXIAL.copy()
    place = folder / "labels" / "one" / "ct.nrrd"
    if change == "moved":
        matrix[0, 3] = 3.0
    elif change == "fewer":
        labels = labels[:4]
    elif change in ("value", "half"):
        labels[2, 3, 3] = 7.0 if change == "value" else 0.5
    write_volume(Volume(labels, matrix, "label"), place)
    where = folder / "labels"
    if change == "none":
        place.unlink()
    elif change == "folder":
        where = folder / "nowhere"
    with pytest.raises(ValueError, match=sentence) as caught:
        with_given(sources, where, TOLD, UNITS["HU"])
    assert "\n" not in str(caught.value)


def test_fine_labels_are_those_that_most_pixels_have() -> None:
    fine = np.array([[[3, 3, 1, 2, 9], [0, 3, 2, 1, 9], [5, 5, 255, 0, 9], [5, 5, 255, 255, 9]]], np.uint8)
    assert most_of_four(fine).tolist() == [[[3, 1], [5, 255]]]


def test_a_prior_told_masks_from_files_to_a_card_and_back(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "sized", lambda size, sees: seeing_network(sees, (8, 12), 1))
    monkeypatch.setattr(run, "copies", lambda *_, **__: {})
    asked = PriorTraining(
        data=folder / "ct", exclude=("two",), steps=2, device="cpu", sees="neighbours", patches=(32,), pixels=4096,
        condition=MASK, given=folder / "labels", classes=CLASSES,
    )
    out = tmp_path / "out"
    card = run.train_prior(asked, out, "told")
    assert card["condition"] == {"kind": "mask", "classes": ["air", "body"], "ablation": 0.3, "dropped": 0.1}
    assert (card["network"]["inputs"], card["network"]["conditions"]) == (9, 2)
    assert set(card["training"]["alone_psnr_db"]) == set(card["denoising_psnr_db"])
    prior = load_prior(str(out / "told.json"))
    assert prior.card.sees == "neighbours"
    assert condition_from_card(prior.card.condition) == TOLD
    again = replace(asked, origin=str(out / "told.json"), sees="slice")
    assert run._planned(again).network.conditions == 2
    with pytest.raises(ValueError, match=r"told a mask with the classes \['air', 'body'\], found nothing"):
        run._planned(replace(again, condition="", given=None, classes=()))
    with pytest.raises(ValueError, match=r"found a mask with the classes \['body', 'air'\]"):
        run._planned(replace(again, classes=("body", "air")))
    path = out / "told.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    for key, value, sentence in (
        ("classes", ["air"], "takes 2 channels of a condition, which has 1"), ("kind", "sound", "cannot be told a"),
    ):
        path.write_text(json.dumps({**content, "condition": {**content["condition"], key: value}}), encoding="utf-8")
        with pytest.raises(ValueError, match=sentence):
            load_prior(str(path))


def test_a_network_that_segments_learns_the_bits_from_the_image(folder: Path, tmp_path: Path) -> None:
    """It begins as the best that knows nothing, and a few steps show it the discs."""
    hu, labels = body()
    source = TrainingSlices("a", hu / 1000, np.full(5, 2.0), given=labels.astype(np.uint8))
    condition = Condition(SEGMENT, CLASSES, dropped=0.0)
    torch.manual_seed(0)
    network = segmenting(PatchUNet(3, 1, (8, 12), 1), 2)
    assert (network.inputs, network.outputs, network.conditions, network.sees) == (5, 2, 1, "slice")
    sampler = PatchSampler([source], condition=condition)
    clean, place = sampler.draw(8, 32, torch.Generator().manual_seed(1))
    assert torch.equal(clean[:, 1] > 0, place[:, 2] > -0.5)
    sigma, noise = torch.full((8,), 1.0), torch.randn(clean.shape, generator=torch.Generator().manual_seed(2))
    denoiser = EDMDenoiser(network)
    torch.testing.assert_close(denoiser(clean + noise, sigma, place), (clean + noise) * 0.2)
    with torch.no_grad():
        before = float(edm_loss(denoiser, clean, place, sigma, noise, False))
    settings = TrainingSettings(
        steps=20, patch_sizes=(32,), pixels_per_step=4096, warmup_steps=3, average_halflife_steps=2, bf16=False,
        log_sigma_mean=0.0,
    )
    list(train(network, sampler, settings))
    with torch.no_grad():
        after = float(edm_loss(denoiser, clean, place, sigma, noise, False))
        unseen = place * torch.tensor([1.0, 1.0, 0.0])[:, None, None]
        blind = float(edm_loss(denoiser, clean, unseen, sigma, noise, False))
    assert after < 0.9 * before
    assert after < 0.97 * blind, (after, blind)
    with pytest.raises(ValueError, match="of one slice"):
        segmenting(seeing(busy(), "neighbours"), 2)


def test_a_prior_that_segments_has_a_unit_of_its_own(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "sized", lambda size, sees: seeing_network(sees, (8, 12), 1))
    monkeypatch.setattr(run, "copies", lambda *_, **__: {})
    asked = PriorTraining(
        data=folder / "ct", exclude=("two",), steps=1, device="cpu", patches=(32,), pixels=2048, condition=SEGMENT,
        given=folder / "labels", classes=CLASSES,
    )
    card = run.train_prior(asked, tmp_path / "out", "parts")
    assert (card["unit"], card["network"]["outputs"], card["network"]["conditions"]) == ("label", 2, 1)
    assert len(card["denoising_psnr_db"]) == 7
    with pytest.raises(ValueError, match="works in label, not in HU"):
        load_prior(str(tmp_path / "out" / "parts.json"))
    assert load_prior(str(tmp_path / "out" / "parts.json"), unit="label").card.sees == "slice"


def test_classes_are_named_with_commas_or_semicolons() -> None:
    assert _names("air, soft tissue,bone") == ("air", "soft tissue", "bone")
    assert _names("air; tissue 1, dark") == ("air", "tissue 1, dark")
    assert _names("") == ()


@pytest.mark.parametrize(("change", "sentence"), [
    ({"given": None}, "give both, or neither"), ({"condition": "", "classes": ()}, "give both, or neither"),
    ({"augment": True}, "without augmentation"), ({"sees": "volume"}, "neither on volumes"),
    ({"condition": SEGMENT, "sees": "neighbours"}, "made of one slice"), ({"ablation": 1.0}, "below 1 to leave out"),
])
def test_trainings_with_conditions_that_do_not_fit_are_one_sentence(
    change: dict[str, object], sentence: str, tmp_path: Path
) -> None:
    asked: dict[str, object] = {"data": tmp_path, "steps": 1, "condition": MASK, "given": tmp_path, "classes": CLASSES}
    with pytest.raises(ValueError, match=sentence):
        PriorTraining(**{**asked, **change})  # type: ignore[arg-type]
