"""Sinograms as training data: projected from CT in HU, continued beyond the half turn, trained on and denoised."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from benchmarks import sinogram_completion as completion
from diffusion_engine.classical.denoise import Identity
from diffusion_engine.io.images import write_volume
from diffusion_engine.likelihoods.gaussian import GaussianLikelihood
from diffusion_engine.modalities.ct.scale import hu_to_attenuation
from diffusion_engine.physics.ct import ImageGrid, make_projector, parallel_geometry, view_angles
from diffusion_engine.priors.library import load_prior, suits_bf16
from diffusion_engine.priors.networks import PatchUNet
from diffusion_engine.training import assess, run, sinograms
from diffusion_engine.training.data import PatchSampler, TrainingSlices
from diffusion_engine.training.settings import PriorTraining
from diffusion_engine.training.sinograms import HalfTurnDenoiser, continued, half_turn, sinogram_positions
from diffusion_engine.training.sources import as_source, load_sources
from diffusion_engine.training.units import LINE_INTEGRAL, rule_of
from diffusion_engine.volume import Volume

RULE = rule_of(LINE_INTEGRAL)


def blob(slices: int = 3, rows: int = 24, columns: int = 30, pixel: float = 2.0) -> Volume:
    """An off-centre box of soft tissue with a dense corner, in air that some scanners write as -2000."""
    hu = np.full((slices, rows, columns), -1000, np.float32)
    hu[:, 0] = -2000
    hu[:, 5:18, 8:26] = 40
    hu[:, 6:9, 20:25] = 900
    hu[1:] = np.where(hu[1:] == 40, 200, hu[1:])
    return Volume(hu, np.diag([-pixel, -pixel, 3.0, 1.0]), "HU")


def test_a_volume_becomes_sinograms_of_its_mass() -> None:
    volume = blob()
    source = as_source("a", volume, np.array([2.0, 1.5, 2.0]), RULE)
    assert source.half_turn
    assert source.values.dtype == np.float16
    assert source.values.shape == (3, sinograms.VIEWS, 92)  # the diagonal of 64 pixels, in an even number of steps
    assert source.pixel_mm.tolist() == [2.0, 1.5, 2.0]
    mass = hu_to_attenuation(np.maximum(volume.array, -1000.0)).sum((1, 2)) * source.pixel_mm**2
    views = 4.0 * source.values.astype(np.float64).sum(-1) * source.pixel_mm[:, None]
    np.testing.assert_allclose(views.mean(1), mass, rtol=2e-3)
    np.testing.assert_allclose(views, mass[:, None] * np.ones(180), rtol=0.02)


def test_an_eighth_of_a_turn_makes_the_whole_half() -> None:
    """Against the projector itself, of an image without any symmetry."""
    image = torch.rand(2, 16, 16, generator=torch.Generator().manual_seed(0))
    grid = ImageGrid(16, 16, (1.0, 1.0))
    expected = make_projector(parallel_geometry(grid, 12), grid).forward(image)
    torch.testing.assert_close(half_turn(image, 12), expected, rtol=1e-4, atol=1e-4)
    for wrong, views in ((image[..., 1:], 12), (image, 10), (image[0], 12)):
        with pytest.raises(ValueError, match="square images"):
            half_turn(wrong, views)


def test_views_beyond_the_half_turn_are_those_of_its_mirrored_continuation() -> None:
    image = torch.rand(1, 16, 16, generator=torch.Generator().manual_seed(1))
    grid = ImageGrid(16, 16, (1.0, 1.0))
    half = half_turn(image, 12)
    for first, count in ((-7, 30), (9, 6), (0, 12), (12, 12)):
        angles = view_angles(count, math.pi * count / 12, math.pi * first / 12)
        geometry = replace(parallel_geometry(grid, 12), angles_rad=angles)
        expected = make_projector(geometry, grid).forward(image)
        torch.testing.assert_close(continued(half, first, count), expected, rtol=1e-4, atol=1e-4)
    assert torch.equal(continued(continued(half, 5, 12), -5, 12), half)


def test_patches_begin_at_any_view_and_tell_their_angle() -> None:
    rows, columns = 24, 20
    values = (np.arange(rows)[:, None] * 32 + np.arange(columns)).astype(np.float16)[None]
    source = TrainingSlices("a", values, np.array([1.5]), half_turn=True)
    patches, places = PatchSampler([source]).draw(200, 8, torch.Generator().manual_seed(0))
    starts = set()
    for patch, place in zip(patches[:, 0], places, strict=True):
        # The angle channel runs on through the wrap; view and detector follow from it.
        view = (place[0, :, 0] / (math.pi / rows) + (rows - 1) / 2).round().long()
        detector = (place[1, 0] * 200 / 1.5 + (columns - 1) / 2).round().long()
        whole = continued(torch.from_numpy(values[0]), int(view[0]), 8).float()
        assert torch.equal(patch, whole[:, detector[0] : detector[0] + 8])
        torch.testing.assert_close(view, int(view[0]) + torch.arange(8))
        starts.add(int(view[0]))
    assert starts == set(range(-4, rows - 4))
    larger, _ = PatchSampler([source]).draw(2, 32, torch.Generator().manual_seed(0))
    assert larger.shape == (2, 1, 32, 32)
    torch.testing.assert_close(source.place(0)[:, 5:9], source.place(0, 5, 4))


def test_a_denoiser_of_half_turns_sees_across_the_ends() -> None:
    """A mean over three views gives at the first view what it gives of the turned sinogram."""

    def smooth(x: torch.Tensor, sigma: torch.Tensor, condition: torch.Tensor | None = None) -> torch.Tensor:
        assert condition is not None
        assert condition.shape == (2, *x.shape[-2:])
        assert float(condition[0].diff(dim=0).mean()) == pytest.approx(math.pi / 12)
        return (x.roll(1, -2) + x + x.roll(-1, -2)) / 3

    half = torch.rand(1, 1, 12, 7, generator=torch.Generator().manual_seed(2))
    denoiser, level = HalfTurnDenoiser(smooth, 2.0, 4), torch.tensor(0.1)
    found = denoiser(half, level)
    turned = denoiser(continued(half, 6, 12), level)
    torch.testing.assert_close(continued(turned, -6, 12), found)
    with pytest.raises(ValueError, match="give no condition"):
        denoiser(half, level, sinogram_positions(12, 7, 2.0))


def test_a_small_prior_is_trained_and_assessed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "sized", lambda size, sees: PatchUNet(3, 1, (8, 12), 1))
    monkeypatch.setattr(sinograms, "VIEWS", 64)
    monkeypatch.setattr(assess, "LEVELS", (0.1,))
    data, out = tmp_path / "data", tmp_path / "out"
    for name, pixel in (("one", 2.0), ("two", 1.6)):
        (data / name).mkdir(parents=True)
        write_volume(blob(34, pixel=pixel), data / name / "ct.nrrd")
    sources, skipped = load_sources(data, unit=LINE_INTEGRAL)
    assert skipped == []
    assert [(len(s.values), s.slice_mm) for s in sources] == [(11, 9.0), (11, 9.0)]
    asked = PriorTraining(data=data, exclude=("two",), steps=2, device="cpu", unit=LINE_INTEGRAL)
    card = run.train_prior(asked, out, "sino")
    assert (card["modality"], card["unit"], card["scale"]) == ("sinogram", LINE_INTEGRAL, 4.0)
    assert card["sigma"] == (0.001, 5.0)
    assert card["training"]["log_sigma"] == [RULE.log_sigma_mean, 1.8]
    prior = load_prior(str(out / "sino.json"), unit=LINE_INTEGRAL)
    # Its noise levels are below what bfloat16 resolves.
    assert not prior.bf16
    assert not suits_bf16(torch.device("cpu"), 0.001, 0.5)
    with pytest.raises(ValueError, match="works in line integral, not in HU"):
        load_prior(str(out / "sino.json"))
    held = load_sources(data, only=["two"], unit=LINE_INTEGRAL)[0]
    x = torch.from_numpy(held[0].values[:1].astype(np.float32))[None]
    found = HalfTurnDenoiser(prior, 1.6)(x, torch.tensor(0.01))
    assert found.shape == x.shape
    result = assess.assess(prior, tmp_path / "sheet", data / "two", samples=1)
    assert (tmp_path / "sheet" / "samples.png").exists()
    assert [row["sigma"] for row in result["denoising"]] == [0.05]


def test_volumes_that_give_no_sinogram_are_left_out_with_a_reason(tmp_path: Path) -> None:
    box = blob()
    skewed = Volume(box.array, np.diag([-2.0, -2.5, 3.0, 1.0]), "HU")
    positive = Volume(np.abs(box.array), box.ijk_to_ras, "HU")
    for name, volume in (("a", skewed), ("b", positive), ("c", box)):
        write_volume(volume, tmp_path / f"{name}.nrrd")
    sources, skipped = load_sources(tmp_path, unit=LINE_INTEGRAL)
    assert [(s.name, s.made) for s in sources] == [
        ("a.nrrd", "pixels of 2.5 x 2 mm averaged to squares of 2.5 mm"), ("c.nrrd", ""),
    ]
    assert sources[0].pixel_mm.tolist() == pytest.approx([2.5] * 3)
    assert len(skipped) == 1
    assert "nowhere negative" in skipped[0]
    (tmp_path / "a.nrrd").unlink()
    (tmp_path / "c.nrrd").unlink()
    with pytest.raises(ValueError, match=r"no CT volume in HU below .*left out: b\.nrrd: .* nowhere negative"):
        load_sources(tmp_path, unit=LINE_INTEGRAL)
    with pytest.raises(ValueError, match=r"HU, a\.u\., SUV, line integral"):
        rule_of("sinogram")


def test_missing_readings_have_no_say_and_interpolation_wraps() -> None:
    """Infinite variance leaves what the prior says; between views 177 and 180 runs a line to the mirrored view 0."""
    kept = completion.kept_views(True)
    assert int(kept.sum()) == 50
    image = torch.rand(1, 16, 16, generator=torch.Generator().manual_seed(3))
    whole = half_turn(image, 180)[0]
    measured = torch.where(kept[:, None], whole, torch.zeros(()))
    found = completion.interpolated(measured, kept)
    assert torch.equal(found[kept], whole[kept])
    torch.testing.assert_close(found[178], (2 * whole[177] + whole[0].flip(-1)) / 3)
    torch.testing.assert_close(found[73], (32 * whole[72] + whole[105]) / 33)
    variance = torch.full_like(whole, 0.01)
    variance[~kept] = torch.inf
    likelihood = GaussianLikelihood(Identity(tuple(whole.shape)), measured[None], variance)
    guess = torch.full_like(whole, 5.0)[None]
    moved = likelihood.proximal(guess, 0.03)[0]
    assert torch.equal(moved[~kept], guess[0, ~kept])
    torch.testing.assert_close(moved[kept], (3 * whole[kept] + 5) / 4)
