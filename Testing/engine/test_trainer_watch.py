"""What is looked at while a prior trains: forecast, denoising, copies of training images, curves; and large files."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from diffusion_engine.priors.analytic import GaussianDenoiser, MixtureDenoiser
from diffusion_engine.priors.networks import PatchUNet
from diffusion_engine.sampling.noise import seeded
from diffusion_engine.training.curves import draw_curves
from diffusion_engine.training.data import PatchSampler, TrainingSlices
from diffusion_engine.training.forecast import duration, foresee_training
from diffusion_engine.training.memorisation import copies, excess_gap, nearest
from diffusion_engine.training.split import join, split
from diffusion_engine.training.train import TrainingSettings, averages_of, train
from diffusion_engine.training.watch import Watch, warning
from scipy.ndimage import gaussian_filter

SETTINGS = TrainingSettings(
    steps=30, patch_sizes=(16, 32), pixels_per_step=2048, warmup_steps=2, average_halflife_steps=5,
    further_halflives=(10_000,), bf16=False, learning_rate=0.06,
)


def smooth(seed: int, slices: int = 4, size: int = 64) -> TrainingSlices:
    """Smooth random images of standard deviation 0.5: no two places alike."""
    noise = np.random.default_rng(seed).normal(size=(slices, size, size))
    images = np.stack([gaussian_filter(n, 4.0) for n in noise])
    return TrainingSlices(f"s{seed}", (0.5 * images / images.std()).astype(np.float32), np.full(slices, 2.0))


def network() -> PatchUNet:
    torch.manual_seed(0)
    return PatchUNet(channels=(8, 12), blocks=1)


def test_the_forecast_grows_with_the_work_and_changes_nothing() -> None:
    net, sampler = network(), PatchSampler([smooth(0)])
    before = {name: value.clone() for name, value in net.state_dict().items()}
    state = torch.get_rng_state()
    short, long = (foresee_training(net, sampler, replace(SETTINGS, steps=n)) for n in (10, 1_000_000))
    assert long["seconds"] > 1000 * short["seconds"]
    assert all(torch.equal(before[n], v) for n, v in net.state_dict().items())
    assert all(p.grad is None for p in net.parameters())
    assert torch.equal(state, torch.get_rng_state())
    larger = foresee_training(net, sampler, replace(SETTINGS, pixels_per_step=40 * 2048, steps=10))
    assert larger["memory_mb"] > short["memory_mb"] + 10
    with pytest.raises(ValueError, match="choose a smaller network"):
        foresee_training(net, sampler, SETTINGS, free_mb=1.0)
    assert [duration(s) for s in (30, 1200, 9000)] == ["30 seconds", "20 minutes", "2.5 hours"]


def test_the_average_is_chosen_by_held_out_denoising() -> None:
    """Weights as they were before the training are among the choices, and are not taken."""
    net, sampler = network(), PatchSampler([smooth(0)])
    watch = Watch(net, 0.5, sampler, PatchSampler([smooth(1)]))
    averages = averages_of(net, SETTINGS)
    begun = watch.look(net.state_dict())
    list(train(net, sampler, SETTINGS, averages=averages))
    best, scores = watch.best({5: averages.values[5], 10_000: network().state_dict()})
    assert best == 5
    assert scores["5"] > scores["10000"] + 0.5
    trained = watch.look(net.state_dict())
    assert all(trained["psnr_db"][level] > begun["psnr_db"][level] for level in ("0.2", "0.5", "1"))
    assert trained == watch.look(net.state_dict())
    with pytest.raises(ValueError, match="exclude some from training"):
        Watch(net, 0.5, sampler, None).best(averages.values)


def test_a_copy_is_found_wherever_it_was_cut_from() -> None:
    source, other = smooth(0), smooth(5)
    values = torch.from_numpy(source.values)
    cut = torch.stack([values[1, 3:35, 6:38], values[3, 17:49, 29:61]])
    strange = torch.from_numpy(other.values)[:2, :32, :32]
    assert float(nearest(cut, [other, source]).max()) < 1e-3
    assert float(nearest(strange, [source]).min()) > 0.3
    noisy = cut + 0.05 * torch.randn(cut.shape, generator=torch.Generator().manual_seed(0))
    assert float(nearest(noisy, [source]).max()) < 0.1
    flat = TrainingSlices("flat", np.full((1, 64, 64), float(cut[0].mean())), np.ones(1))
    assert float(nearest(cut[:1], [flat])) == pytest.approx(1.0, abs=0.05)
    with pytest.raises(ValueError, match="8 x 8 pixels"):
        nearest(cut[:, :7, :7], [source])


def test_a_prior_that_repeats_its_training_images_is_found_out() -> None:
    """The mixture of narrow peaks at the training images draws copies; the Gaussian of their statistics does not."""
    source, held = smooth(0, 3, 32), smooth(5, 3, 32)
    images = torch.from_numpy(source.values)
    parrot = MixtureDenoiser(images, torch.full((3,), 1e-4), torch.full((3,), 1 / 3))
    spectrum = torch.fft.fft2(torch.from_numpy(smooth(9, 200, 32).values), norm="ortho").abs().square().mean(0)
    honest = GaussianDenoiser(torch.zeros(32, 32), spectrum)
    found = copies(parrot, [source], [held], (0.005, 5.0), seeded(0))
    assert found["suspicious"]
    assert "repeats" in found["sentence"]
    assert max(found["samples"]) < 0.2
    fair = copies(honest, [source], [held], (0.005, 5.0), seeded(0))
    assert not fair["suspicious"]
    assert fair["ratio"] == pytest.approx(1.0, abs=0.4)
    assert fair == copies(honest, [source], [held], (0.005, 5.0), seeded(0))
    leaked = copies(honest, [source, held], [held], (0.005, 5.0), seeded(0))
    assert leaked["suspicious"]
    assert leaked["ratio"] is None
    assert "hold out other volumes" in leaked["sentence"]
    pairs = [(torch.from_numpy(s.values)[:, None], torch.zeros(3, 2, 32, 32)) for s in (source, held)]
    gaps = [excess_gap(d, pairs[0], pairs[1], (0.5, 1.0), 0) for d in (parrot, honest)]
    assert gaps[0] > 5
    assert abs(gaps[1]) < 1
    assert "begins to remember" in str(warning({"gap_db": gaps[0]}))
    assert warning({"gap_db": gaps[1]}) is None
    assert warning({}) is None


def test_curves_are_drawn_once_there_are_two_points(tmp_path: Path) -> None:
    one = [{"step": 100, "loss": 0.5}]
    assert not draw_curves(one, tmp_path / "a.png")
    assert not list(tmp_path.iterdir())
    entries = [{"step": s, "loss": 1 / s, "psnr_db": {"0.05": 30 + s / 100, "0.5": 20.0}} for s in (100, 200, 900)]
    assert draw_curves(entries, tmp_path / "a.png")
    picture = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "a.png")))
    assert picture.shape == (480, 640, 3)
    blue = (picture == (0, 90, 160)).all(-1)
    rows, columns = np.nonzero(blue[:240, 60:580])
    # The loss falls from the left to the right, so its rows rise.
    assert rows[columns.argmin()] < rows[columns.argmax()]
    assert blue[240:].any()
    assert (picture[240:] == (200, 80, 0)).all(-1).any()


def test_a_large_file_is_split_and_joined(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    path.write_bytes(np.random.default_rng(0).bytes(25_001))
    original = path.read_bytes()
    listing = split(path, 10_000)
    parts = sorted(p for p in tmp_path.iterdir() if ".part0" in p.name)
    assert [p.stat().st_size for p in parts] == [10_000, 10_000, 5_001]
    path.unlink()
    assert join(listing).read_bytes() == original
    path.unlink()
    content = json.loads(listing.read_text())
    parts[1].write_bytes(parts[1].read_bytes()[:-1] + b"x")
    for damage, words in ((lambda: None, "does not match its hash"), (parts[1].unlink, "part002 is missing")):
        damage()
        with pytest.raises(ValueError, match=words):
            join(listing)
        assert not path.exists()
        assert not list(tmp_path.glob("*.joining"))
    listing.write_text(json.dumps({**content, "name": "../elsewhere"}))
    with pytest.raises(ValueError, match="parts beside it"):
        join(listing)
    listing.write_text("[]")
    with pytest.raises(ValueError, match="no list of parts"):
        join(listing)
    (tmp_path / "empty").touch()
    with pytest.raises(ValueError, match="file with content"):
        split(tmp_path / "empty")
