"""Units, mirrored slices and neighbours: what a prior of MR, PET or neighbouring slices is trained on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusion_engine.denoiser import EDMDenoiser, positions
from diffusion_engine.io.images import write_volume
from diffusion_engine.priors.grow import seeing, widened
from diffusion_engine.priors.library import load_prior
from diffusion_engine.priors.neighbours import StackDenoiser, closeness
from diffusion_engine.priors.networks import SIZES, PatchUNet, seeing_network, sized
from diffusion_engine.training import run
from diffusion_engine.training.data import PatchSampler, TrainingSlices
from diffusion_engine.training.settings import PriorTraining
from diffusion_engine.training.sources import load_sources, reweighed
from diffusion_engine.training.train import TrainingSettings
from diffusion_engine.training.units import UNITS, rule_of
from diffusion_engine.training.validate import denoising_psnr
from diffusion_engine.volume import Volume
from test_images import straight, write_dicom

AXIAL = np.diag([-1.0, -1.0, 3.0, 1.0])


def head(scale: float, slices: int = 5, unit: str = "a.u.", matrix: np.ndarray = AXIAL) -> Volume:
    """A bright ellipse with texture in a dark, faintly noisy background."""
    random = np.random.default_rng(7)
    y, x = np.mgrid[:40, :40] - 19.5
    array = np.where(x**2 / 200 + y**2 / 300 < 1, 0.7, 0.0) * (1 + 0.2 * np.sin(x / 3)) + 0.01 * random.random((40, 40))
    return Volume((scale * np.stack([array] * slices)).astype(np.float32), matrix, unit)


def test_an_mr_volume_has_the_same_network_values_at_every_scale() -> None:
    rule = rule_of("a.u.")
    small, large = (rule.to_network(head(s).array) for s in (1.0, 2500.0))
    np.testing.assert_allclose(small, large, rtol=1e-5)
    # Two thirds of the image are background, which the percentile must not see.
    assert float((small > 1).mean()) < 0.005
    assert 1.0 < float(small.max()) < 1.1
    assert rule.to_network(head(1.0).array * 0 + 5.0).max() == pytest.approx(1.0)


def test_fixed_scales_and_noise_levels() -> None:
    assert UNITS["HU"].to_network(np.array([-1000.0, 0.0, 500.0])).tolist() == [-1.0, 0.0, 0.5]
    assert UNITS["SUV"].to_network(np.array([0.0, 5.0])).tolist() == [0.0, 0.5]
    assert UNITS["HU"].sigma == (0.005, 5.0)
    assert UNITS["HU"].log_sigma_mean == -1.8
    assert UNITS["SUV"].sigma == (0.001, 1.0)
    with pytest.raises(ValueError, match=r"choose from HU, a\.u\., SUV"):
        rule_of("Bq/mL")


def test_what_does_not_look_like_the_unit_is_questioned() -> None:
    mr, pet = rule_of("a.u."), rule_of("SUV")
    assert mr.question(head(800.0)) is None
    assert pet.question(head(8.0)) is None
    assert "not those of a magnitude image" in str(mr.question(head(1.0).with_array(head(800.0).array - 400)))
    assert "in Bq/mL" in str(pet.question(head(20_000.0)))
    assert "HU, SUV was expected" in str(pet.question(head(8.0, unit="HU")))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two patients with MR and PET side by side, as NIfTI files that carry no unit."""
    for name, scale in (("one", 900.0), ("two", 30.0)):
        (tmp_path / name).mkdir()
        write_volume(head(scale), tmp_path / name / "mr.nii.gz")
        write_volume(head(6.0), tmp_path / name / "pet.nii.gz")
    return tmp_path


def test_files_are_chosen_by_name_and_scaled_by_unit(folder: Path) -> None:
    mr = load_sources(folder, unit="a.u.", files="mr*")[0]
    assert [s.name for s in mr] == ["one/mr.nii.gz", "two/mr.nii.gz"]
    np.testing.assert_allclose(mr[0].values.astype(float), mr[1].values.astype(float), atol=2e-3)
    assert mr[0].left_right
    assert mr[0].slice_mm == pytest.approx(3.0)
    pet = load_sources(folder, only=["two"], unit="SUV", files="pet*")[0]
    np.testing.assert_allclose(pet[0].values.astype(float), head(6.0).array / 10, atol=1e-3)
    with pytest.raises(ValueError, match="no PET volume in SUV below"):
        load_sources(folder, unit="SUV", files="ct*")


def test_dicom_slices_of_a_folder_are_one_volume(tmp_path: Path) -> None:
    """Several series of a folder are told apart, and files of one slice alone stay what they are."""
    stored = np.random.default_rng(2).integers(0, 3000, size=(4, 16, 16))
    write_dicom(tmp_path / "one", stored, straight(4))
    for uid in ("1.2.3.5", "1.2.3.6"):
        write_dicom(tmp_path / "two", stored[:3], straight(3), uid)
    write_dicom(tmp_path / "three", stored[:1], straight(1), "1.2.3.7")
    sources, skipped = load_sources(tmp_path)
    assert skipped == []
    assert {s.name: len(s.values) for s in sources} == {
        "one": 4, "two/1.2.3.5": 3, "two/1.2.3.6": 3, "three/00-1.2.3.7.dcm": 1,
    }
    by = {s.name: s for s in sources}
    assert by["one"].slice_mm == pytest.approx(2.5)
    assert load_sources(tmp_path, only=["two"])[0][0].name == "two/1.2.3.5"


def told_by_place(slices: int = 1) -> np.ndarray:
    """Slices whose pixel values tell slice, row and column: k + j / 64 + i / 4096, exact in single precision."""
    k, j, i = np.mgrid[:slices, :20, :30]
    return k + j / 64 + i / 4096


def test_mirrored_patches_are_those_of_the_mirrored_slice() -> None:
    values = told_by_place()
    source = TrainingSlices("a", values, np.array([2.0]), left_right=True)
    patches, places = PatchSampler([source], flip=True).draw(40, 8, torch.Generator().manual_seed(0))
    whole = positions(20, 30, (2.0, 2.0))
    seen = {False: 0, True: 0}
    for patch, place in zip(patches, places, strict=True):
        mirrored = bool(patch[0, 0, 0] > patch[0, 0, 1])
        image = torch.from_numpy(values[0].astype(np.float32))
        # A mirrored image lies on the same grid.
        image = image.flip(-1) if mirrored else image
        j, i = (int(n) for n in np.argwhere(image.numpy() == float(patch[0, 0, 0]))[0])
        assert torch.equal(patch[0], image[j : j + 8, i : i + 8])
        torch.testing.assert_close(place, whole[:, j : j + 8, i : i + 8])
        seen[mirrored] += 1
    assert min(seen.values()) > 8
    for sampler in (PatchSampler([source]), PatchSampler([TrainingSlices("a", values, np.ones(1))], flip=True)):
        drawn, _ = sampler.draw(20, 8, torch.Generator().manual_seed(0))
        assert bool((drawn[..., 1:] > drawn[..., :-1]).all())


def test_patches_come_with_their_neighbours_and_how_close_they_are() -> None:
    source = TrainingSlices("a", told_by_place(9), np.full(9, 2.0), slice_mm=5.0)
    lone = TrainingSlices("b", told_by_place(9) + 50, np.full(9, 2.0))
    patches, places = PatchSampler([lone, source], sees="neighbours").draw(200, 8, torch.Generator().manual_seed(0))
    assert patches.shape == (200, 3, 8, 8)
    assert places.shape == (200, 4, 8, 8)
    seen = set()
    for patch, place in zip(patches, places, strict=True):
        slice_, first = int(patch[0, 0, 0]), patch[0] - int(patch[0, 0, 0])
        for side, other, close in zip((-1, 1), patch[1:], place[2:], strict=True):
            assert bool((close == close[0, 0]).all())
            if float(close[0, 0]) == 0:
                assert not other.any()
                seen.add(0)
                continue
            assert slice_ < 50
            gap = next(g for g in (1, 2) if float(close[0, 0]) == pytest.approx(closeness(5.0 * g)))
            torch.testing.assert_close(other, first + slice_ + side * gap)
            seen.add(side * gap)
    assert seen == {-2, -1, 0, 1, 2}
    ends = [float(place[3, 0, 0]) for patch, place in zip(patches, places, strict=True) if 8 <= patch[0, 0, 0] < 9]
    assert ends
    assert not any(ends)
    missing = (places[:, 2:, 0, 0] == 0)[patches[:, 0, 0, 0] < 50]
    assert 0.1 < float(missing.float().mean()) < 0.45
    for alone in (lone, replace(source, values=source.values[:1])):
        with pytest.raises(ValueError, match="volume of neighbouring slices"):
            PatchSampler([alone], sees="neighbours")
    with pytest.raises(ValueError, match="positive distance"):
        closeness(0.0)
    with pytest.raises(ValueError, match="sinograms have no neighbours"):
        PatchSampler([replace(source, half_turn=True)], sees="neighbours")


def test_sizes_have_the_parameters_they_claim() -> None:
    counts = {name: sum(p.numel() for p in sized(name).parameters()) / 1e6 for name in SIZES}
    assert counts == {
        "tiny": pytest.approx(1.2, abs=0.1),
        "small": pytest.approx(2.7, abs=0.1), "medium": pytest.approx(6.9, abs=0.1),
        "large": pytest.approx(34.7, abs=0.5),
    }
    with pytest.raises(ValueError, match="small, medium, large"):
        sized("huge")


def test_an_mr_prior_that_looks_at_neighbours(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From files to a prior that works on a stack of any number of slices."""
    monkeypatch.setattr(run, "sized", lambda size, sees: seeing_network(sees, (8, 12), 1))
    out = tmp_path / "out"
    asked = PriorTraining(
        data=folder, exclude=("two",), steps=2, device="cpu", unit="a.u.", sees="neighbours", flip=True, files="mr*"
    )
    card = run.train_prior(asked, out, "mr")
    assert (card["modality"], card["unit"], card["scale"], card["sigma_data"]) == ("mri", "a.u.", 1.0, 0.3)
    assert "99.5th percentile" in card["scale_rule"]
    assert (card["network"]["inputs"], card["network"]["outputs"]) == (7, 1)
    assert card["training"]["flip"] is True
    assert card["held_out"] == ["two"]
    prior = load_prior(str(out / "mr.json"), unit="a.u.")
    with pytest.raises(ValueError, match="not in HU"):
        load_prior(str(out / "mr.json"))
    stack = StackDenoiser(prior, 3.0)
    found = stack(torch.randn(4, 1, 40, 40), torch.tensor(0.2), positions(40, 40, (1.0, 1.0)))
    assert found.shape == (4, 1, 40, 40)
    alone = prior(torch.zeros(1, 1, 40, 40), torch.tensor(0.2), positions(40, 40, (1.0, 1.0)))
    assert alone.shape == (1, 1, 40, 40)
    held = load_sources(folder, only=["two"], unit="a.u.", files="mr*")[0]
    assert denoising_psnr(prior.denoiser, held) == card["denoising_psnr_db"]
    assert card["training"]["alone_psnr_db"] == denoising_psnr(prior.denoiser, held, alone=True)


def busy(channels: tuple[int, ...]) -> PatchUNet:
    """A network of random weights, none of them zero as at the start of a training."""
    torch.manual_seed(0)
    network = PatchUNet(3, 1, channels, 1)
    for weight in network.parameters():
        torch.nn.init.normal_(weight, std=0.1)
    return network


def test_a_wider_network_begins_as_the_narrow_one_and_learns_with_all_of_it() -> None:
    narrow = busy((8, 12))
    wide = widened(narrow, (10, 17))
    x, level = torch.randn(2, 3, 24, 20), torch.randn(2)
    torch.testing.assert_close(wide(x, level), narrow(x, level))
    wide(x, level).square().mean().backward()
    assert wide.tail.weight.grad is not None
    assert bool((wide.tail.weight.grad[:, 8:] != 0).any())
    for channels in ((6, 12), (8, 12, 16)):
        with pytest.raises(ValueError, match="can only be widened"):
            widened(narrow, channels)


def test_a_prior_of_one_slice_and_another_unit_is_a_start(folder: Path, tmp_path: Path) -> None:
    """At first a network that sees neighbours makes nothing of them; the card names the origin and its data."""
    single = busy((8, 12))
    x, planes, level = torch.randn(2, 3, 24, 20), torch.randn(2, 4, 24, 20), torch.randn(2)
    found = seeing(single, "neighbours")(torch.cat([x, planes], dim=1), level)
    torch.testing.assert_close(found, single(x, level))
    with pytest.raises(ValueError, match="one slice and two planes"):
        seeing(seeing(single, "neighbours"), "neighbours")
    sources = load_sources(folder, ["two"], unit="SUV", files="pet*")[0]
    settings = TrainingSettings(steps=5)
    run.export_prior(single, tmp_path, "first", settings, sources, [], UNITS["SUV"])
    asked = PriorTraining(
        data=folder, exclude=("two",), steps=2, device="cpu", unit="a.u.", files="mr*", sees="neighbours",
        origin=str(tmp_path / "first.json"), weigh={"one*": 0.5}, patches=(48,),
    )
    card = run.train_prior(asked, tmp_path, "second")
    assert card["training"]["patch_sizes"] == [48]
    assert (card["unit"], card["sigma_data"], card["network"]["inputs"]) == ("a.u.", 0.3, 7)
    assert card["training"]["from"]["name"] == "first"
    assert {entry.get("through") for entry in card["data"]} == {None, "first"}


def test_sources_are_weighed_by_name() -> None:
    sources = [TrainingSlices(name, np.zeros((3, 8, 8)), np.ones(3), 0.5) for name in ("ct_a/x", "mr_b/y")]
    assert [s.weight for s in reweighed(sources, {"ct*": 0.4, "*y": 3.0})] == [0.2, 1.5]
    with pytest.raises(ValueError, match=r"found pet\*=2 with 0 sources"):
        reweighed(sources, {"pet*": 2.0})
    with pytest.raises(ValueError, match=r"found ct\*=0"):
        reweighed(sources, {"ct*": 0.0})


def test_neighbours_are_told_to_the_denoiser_and_the_slice_itself_counts() -> None:
    """A perfect denoiser that finds its neighbours in the planes, as noisy as itself and in the network's scale."""

    class Seeing(torch.nn.Module):
        inputs, sees = 7, "neighbours"

    class Oracle(EDMDenoiser):
        def forward(
            self, x: torch.Tensor, sigma: torch.Tensor, condition: torch.Tensor | None = None
        ) -> torch.Tensor:
            assert condition is not None
            assert (x.shape[1], condition.shape[1]) == (1, 6)
            assert float(condition[0, 4, 0, 0]) == pytest.approx(closeness(5.0))
            neighbours = condition[:, 2:4] * (float(sigma) ** 2 + 0.25) ** 0.5
            assert float((neighbours - 0.5).std()) == pytest.approx(float(sigma), rel=0.2)
            return torch.full_like(x, 0.5 + 1e-3)

    source = TrainingSlices("a", np.full((10, 16, 16), 0.5), np.ones(10), slice_mm=5.0)
    levels = denoising_psnr(Oracle(Seeing()), [source])
    assert list(levels.values()) == pytest.approx([66.02] * 7, abs=0.01)
