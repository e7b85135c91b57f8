"""The assessment of a prior: denoising beside classical methods, draws to look at, copies; and its command."""

from __future__ import annotations

import importlib.util
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from diffusion_engine.__main__ import main
from diffusion_engine.classical.denoise import bm3d, tv_oracle, wiener
from diffusion_engine.denoiser import EDMDenoiser
from diffusion_engine.io.images import write_volume
from diffusion_engine.phantoms import synthetic_chest
from diffusion_engine.priors.analytic import GaussianDenoiser
from diffusion_engine.priors.card import PriorCard, write_card
from diffusion_engine.priors.library import Prior, write_weights
from diffusion_engine.priors.networks import PatchUNet
from diffusion_engine.sampling.noise import seeded
from diffusion_engine.training.assess import denoising_rows, lines
from diffusion_engine.training.data import TrainingSlices
from diffusion_engine.training.samples import draw_samples, write_sheet
from torch import Tensor, nn

VARIANCE = 0.09


def white(count: int = 4, size: int = 32) -> Tensor:
    return math.sqrt(VARIANCE) * torch.randn(count, size, size, generator=torch.Generator().manual_seed(0))


def disc(size: int = 48) -> Tensor:
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    return torch.from_numpy(np.where(x**2 + y**2 < (size / 3) ** 2, 0.5, -0.5).astype(np.float32))[None]


def noise_like(x: Tensor, sigma: float) -> Tensor:
    return sigma * torch.randn(x.shape, generator=torch.Generator().manual_seed(1))


def error(x: Tensor, truth: Tensor) -> float:
    return float((x - truth).square().mean())


def test_wiener_of_white_images_comes_near_the_best_linear_filter() -> None:
    """Over windows wide enough to know the variance, its error is v s^2 / (v + s^2)."""
    clean, sigma = white(2, 96), 0.3
    noisy = clean + noise_like(clean, sigma)
    best = VARIANCE * sigma**2 / (VARIANCE + sigma**2)
    assert error(wiener(noisy, sigma, 31), clean) == pytest.approx(best, rel=0.05)
    flat = torch.zeros(1, 64, 64)
    assert error(wiener(flat + noise_like(flat, sigma), sigma), flat) < 0.4 * sigma**2
    torch.testing.assert_close(wiener(clean, 1e-6), clean, atol=1e-3, rtol=0)


def test_tv_denoises_what_is_piecewise_constant() -> None:
    clean, sigma = disc(), 0.2
    noisy = clean + noise_like(clean, sigma)
    found = tv_oracle(noisy, sigma, clean)
    assert error(found, clean) < 0.2 * sigma**2
    assert error(found, clean) < 0.7 * error(wiener(noisy, sigma), clean)
    # Means are kept: the data term alone sees a constant.
    assert float(found.mean()) == pytest.approx(float(noisy.mean()), abs=1e-3)
    # The units of the image change nothing.
    torch.testing.assert_close(tv_oracle(10 * noisy, 10 * sigma, 10 * clean), 10 * found, atol=1e-2, rtol=0)


def prior_of(denoiser: nn.Module) -> Prior:
    card = PriorCard(
        "toy", "Toy", "ct", "none", "HU", 0.0, 1000.0, 0.5, (0.005, 5.0), (8.0, 8.0), {"outputs": 1}, "w", "0" * 64,
        "2026-01-01", "none", {}, [], [], {}, [],
    )
    return Prior(card, denoiser, torch.device("cpu"), False)  # type: ignore[arg-type]


class White(nn.Module):
    """The exact denoiser of white images of :data:`VARIANCE`."""

    def forward(self, x: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
        spectrum = torch.full(x.shape[-2:], VARIANCE)
        return GaussianDenoiser(torch.zeros(x.shape[-2:]), spectrum)(x, sigma)


def test_the_rows_hold_every_method_and_the_exact_prior_is_best() -> None:
    held = [TrainingSlices("a", white(8).numpy(), np.full(8, 8.0))]
    rows = denoising_rows(prior_of(White()), held, sees="slice")
    assert [row["sigma"] for row in rows] == pytest.approx([0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0])
    assert {row["slices"] for row in rows} == {3}
    for row in rows:
        assert row["noisy"] == pytest.approx(10 * math.log10(4 / row["sigma"] ** 2), abs=0.2)
        best = VARIANCE * row["sigma"] ** 2 / (VARIANCE + row["sigma"] ** 2)
        assert row["prior"] == pytest.approx(10 * math.log10(4 / best), abs=0.25)
        assert row["prior"] > max(row["wiener"], row["tv-oracle"]) - 0.02
    text = lines({"prior": "toy", "denoising": rows, "memorisation": None})
    assert len([line for line in text if "not installed" in line]) == (7 if rows[0]["bm3d"] is None else 0)
    assert "--train-data" in text[-1]


def test_bm3d_is_used_where_it_is_installed() -> None:
    clean = disc(64)
    found = bm3d(clean + noise_like(clean, 0.2), 0.2)
    if importlib.util.find_spec("bm3d") is None:
        assert found is None
    else:
        assert found is not None
        assert error(found, clean) < 0.3 * 0.2**2


def test_draws_of_a_gaussian_prior_have_its_variance() -> None:
    drawn = draw_samples(White(), (4, 1, 32, 32), None, (0.005, 5.0), seeded(0))
    assert float(drawn.var()) == pytest.approx(VARIANCE, rel=0.1)
    assert torch.equal(drawn, draw_samples(White(), (4, 1, 32, 32), None, (0.005, 5.0), seeded(0)))

    class Broken(nn.Module):
        def forward(self, x: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
            return x * float("nan")

    with pytest.raises(FloatingPointError, match="draw of the prior is not finite"):
        draw_samples(Broken(), (1, 1, 8, 8), None, (0.005, 5.0), seeded(0))


def test_a_sheet_shows_every_image(tmp_path: Path) -> None:
    images = torch.stack([torch.full((6, 8), v) for v in (-2.0, -1.0, -0.2, 0.6, 2.0)])
    write_sheet(images, tmp_path / "sheet.png", (-1.0, 0.6), columns=3)
    sheet = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "sheet.png")))
    assert sheet.shape == (2 * 8, 3 * 10)
    assert [int(sheet[4 + 8 * (n // 3), 5 + 10 * (n % 3)]) for n in range(6)] == [0, 0, 128, 255, 255, 128]


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    """The card of a tiny untrained prior of pixels of 8 mm."""
    torch.manual_seed(0)
    net = PatchUNet(channels=(8, 12), blocks=1)
    digest = write_weights(net, tmp_path / "toy.safetensors")
    shape = {"type": "PatchUNet", "inputs": 3, "outputs": 1, "channels": [8, 12], "blocks": 1}
    card = replace(
        prior_of(EDMDenoiser(net)).card, network=shape, weights="toy.safetensors", sha256=digest, held_out=["b"]
    )
    write_card(card, tmp_path / "toy.json")
    return tmp_path / "toy.json"


def test_a_prior_is_assessed_by_the_command(toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = tmp_path / "data"
    for name, depth in (("a", 4), ("b", 3)):
        (data / name).mkdir(parents=True)
        write_volume(synthetic_chest((depth, 40, 48), (10.0, 8.0, 8.0))[0], data / name / "ct.nrrd")
    out = tmp_path / "out"
    command = ["evaluate", "--prior", str(toy), "--out", str(out), "--samples", "2", "--device", "cpu"]
    assert main([*command]) == 0
    assert {p.name for p in out.iterdir()} == {"assessment.json", "samples.png"}
    assert json.loads((out / "assessment.json").read_text())["denoising"] is None
    sheet = sitk.GetArrayFromImage(sitk.ReadImage(str(out / "samples.png")))
    assert sheet.shape == (45 + 2, 2 * (45 + 2))
    capsys.readouterr()
    command += ["--data", str(data / "b"), "--train-data", str(data), "--views", "", "--json", str(tmp_path / "r.json")]
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert "denoising of 3 slices" in printed
    assert "times as far from their nearest training images" in printed
    result = json.loads((tmp_path / "r.json").read_text())
    assert result["rows"] == []
    assert len(result["denoising"]) == 7
    assert {"gap_db", "ratio", "suspicious", "samples", "held", "sentence"} == set(result["memorisation"])


def test_evaluation_without_volumes_or_place_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["evaluate"]) == 2
    assert "give --data FOLDER, or --out FOLDER" in capsys.readouterr().err
    assert main(["evaluate", "--data", str(tmp_path), "--unit", "SUV"]) == 2
    assert "for CT in HU" in capsys.readouterr().err
