"""A prior that adapts to a scan alone: turned images, better images of the scan, files, and refusals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusion_engine import metrics
from diffusion_engine.io.images import write_volume
from diffusion_engine.modalities.ct.measurement import Measurement
from diffusion_engine.modalities.ct.problem import prepare
from diffusion_engine.priors.card import ALONE
from diffusion_engine.priors.library import load_prior
from diffusion_engine.priors.networks import PatchUNet
from diffusion_engine.run.pipeline import reconstruct
from diffusion_engine.run.settings import Settings
from diffusion_engine.training import adapt_scan
from diffusion_engine.training.data import PatchSampler, TrainingSlices
from diffusion_engine.training.run import export_prior
from diffusion_engine.training.train import TrainingSettings, train
from diffusion_engine.volume import Volume

VIEWS = 24
SETTINGS = Settings(views=VIEWS, draws=1, steps=12, methods=("diffusion",), device="cpu", pixel_mm=4.0)


def rods(slices: int = 3) -> Volume:
    """A water disc with many small rods, each slice another pattern; pixels of 2 mm, to be halved."""
    random = np.random.default_rng(5)
    y, x = np.mgrid[:128, :128] - 63.5
    images = np.where(x**2 + y**2 < 55**2, 0.0, -1000.0) * np.ones((slices, 1, 1))
    for image in images:
        for _ in range(60):
            angle, radius, size = random.uniform(0, 2 * np.pi), 48 * random.uniform() ** 0.5, random.uniform(2, 5)
            inside = (x - radius * np.cos(angle)) ** 2 + (y - radius * np.sin(angle)) ** 2 < size**2
            image[inside] = random.choice([-400.0, 300.0, 700.0])
    return Volume(images.astype(np.float32), np.diag([-2.0, -2.0, 5.0, 1.0]), "HU")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the prior "waves", which has seen nothing but slow waves."""
    out = tmp_path_factory.mktemp("waves")
    axis = np.arange(64) / 64 * 2 * np.pi
    waves = np.stack([np.sin(axis[:, None] * (1 + n % 3) + n) * np.cos(axis * (n % 2)) for n in range(8)]) * 0.5 - 0.5
    source = TrainingSlices("waves", waves.astype(np.float32), np.full(8, 4.0))
    torch.manual_seed(0)
    network = PatchUNet(ALONE, 1, (16, 24), 1)
    settings = TrainingSettings(steps=60, patch_sizes=(32,), pixels_per_step=8192, warmup_steps=6, bf16=False)
    for _ in train(network, PatchSampler([source]), settings):
        pass
    export_prior(network, out, "waves", settings, [source], [], pixel_mm=(4.0, 4.0))
    return out


def test_turned_images_are_half_as_they_were() -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(5, 40, 30, generator=generator)
    found = adapt_scan.turned(images, 2.0, generator)
    assert found.values.shape == (5 * adapt_scan.VARIANTS, 40, 30)
    assert found.pixel_mm.tolist() == [2.0] * 5 * adapt_scan.VARIANTS
    for n, value in enumerate(torch.from_numpy(found.values).float()):
        own = images[n % 5]
        kept = any(torch.equal(own.flip(axes).half().float(), value) for axes in ((), (0,), (1,), (0, 1)))
        assert kept == (n // 5 % 2 == 1)
        assert float(value.min()) >= float(own.min()) - 0.01


def test_a_turn_keeps_shapes_where_slices_are_not_square() -> None:
    """A disc stays a disc, in about the middle."""
    y, x = np.mgrid[:48, :80]
    disc = torch.from_numpy(((y - 23.5) ** 2 + (x - 39.5) ** 2 < 100).astype(np.float32))[None]
    for value in adapt_scan.turned(disc, 1.0, torch.Generator().manual_seed(1)).values.astype(np.float32):
        rows, columns = np.nonzero(value > 0.5)
        assert abs(np.ptp(rows) - np.ptp(columns)) <= 2
        assert abs(rows.mean() - 23.5) < 1
        assert abs(columns.mean() - 39.5) < 1


def test_a_scan_alone_makes_a_wrong_prior_better(folder: Path) -> None:
    """Reconstructions of the same scan improve clearly; prior and reference are not touched."""
    base = load_prior(str(folder / "waves.json"))
    before = {name: value.clone() for name, value in base.denoiser.state_dict().items()}
    card = adapt_scan.adapt_to_scan(
        str(folder / "waves.json"), rods(), SETTINGS, folder, "mine", steps=80, rounds=2
    )
    assert card["training"]["from"] == {"name": "waves", "sha256": base.card.sha256}
    assert card["training"]["rounds"] == 2
    assert any("Scan simulated" in note for note in card["training"]["notes"])
    assert card["training"]["views"] == VIEWS
    assert [entry["name"] for entry in card["data"]] == ["a scan alone", "waves"]
    assert card["data"][0]["slices"] == "3"
    again = load_prior(str(folder / "waves.json"))
    assert all(torch.equal(value, again.denoiser.state_dict()[name]) for name, value in before.items())
    problem = prepare(rods(), SETTINGS, torch.device("cpu"), base.card)
    assert problem.reference is not None
    naive, adapted = (
        metrics.psnr(
            reconstruct(rods(), SETTINGS, prior=str(folder / f"{name}.json")).volumes["mean"].array, problem.reference
        )
        for name in ("waves", "mine")
    )
    assert adapted > naive + 1.0


def test_measured_data_and_many_slices(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A measurement without a reference; of more slices than are needed, evenly spread ones are learnt from."""
    problem = prepare(rods(5), SETTINGS, torch.device("cpu"), None)
    monkeypatch.setattr(adapt_scan, "SLICES", 3)
    few = adapt_scan.spread(problem)
    assert few.slices == 3
    assert torch.equal(few.delivered.data, problem.delivered.measured.data[[0, 2, 4]])
    assert few.reference is not None
    assert few.reference.shape[0] == 3
    measured = Measurement(problem.delivered.measured.data.numpy(), problem.delivered.geometry, 5.0)
    told: list[int] = []
    card = adapt_scan.adapt_to_scan(
        str(folder / "waves.json"), measured, SETTINGS, folder, "measured", 2, 2, each=told.append
    )
    assert told == [1, 2]
    assert card["data"][0]["slices"] == "3"
    assert load_prior(str(folder / "measured.json")).card.training["from"]["name"] == "waves"


def test_what_cannot_be_adapted_to_a_scan_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="1 round or more"):
        adapt_scan.adapt_to_scan("ct-body", rods(), SETTINGS, tmp_path, "mine", rounds=0)
    with pytest.raises(ValueError, match=r"ct-body-stack sees more than a slice \(neighbours\)"):
        adapt_scan.adapt_to_scan("ct-body-stack", rods(), SETTINGS, tmp_path, "mine")
    with pytest.raises(ValueError, match="taught for 'consistency'"):
        adapt_scan.adapt_to_scan("ct-body-few", rods(), SETTINGS, tmp_path, "mine")
    with pytest.raises(ValueError, match="name of its base"):
        adapt_scan.adapt_to_scan("ct-body", rods(), SETTINGS, tmp_path, "ct-body")
    assert not list(tmp_path.iterdir())
    (tmp_path / "mine.json").touch()
    with pytest.raises(ValueError, match="a prior called 'mine'"):
        adapt_scan.adapt_to_scan("ct-body", rods(), SETTINGS, tmp_path, "mine")


def test_the_command_adapts_to_a_scan(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from diffusion_engine.__main__ import main

    write_volume(rods(1), tmp_path / "ct.nrrd")
    base = str(folder / "waves.json")
    line = ["adapt", "--prior", base, "--input", str(tmp_path / "ct.nrrd"), "--views", "12", "--rounds", "1"]
    assert main([*line, "--steps", "1", "--out", str(folder), "--name", "told"]) == 0
    assert "round 1 of 1" in capsys.readouterr().out
    assert load_prior(str(folder / "told.json")).card.name == "told"
    assert main(["adapt", "--prior", base, "--out", str(folder), "--name", "none"]) != 0
    assert "give --input" in capsys.readouterr().err
    assert main([*line, "--data", str(folder), "--out", str(folder), "--name", "both"]) != 0
    assert "give --data or a scan, not both" in capsys.readouterr().err
