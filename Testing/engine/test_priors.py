"""Denoisers: exact formulas, the network's shape and reach, and what the library refuses to load."""

from __future__ import annotations

import json
import math
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusion_engine.denoiser import EDMDenoiser, positions
from diffusion_engine.phantoms import synthetic_chest
from diffusion_engine.priors.analytic import DenseMixtureDenoiser, GaussianDenoiser, MixtureDenoiser
from diffusion_engine.priors.card import PriorCard, read_card, sha256, write_card
from diffusion_engine.priors.library import PRIORS_FOLDER, list_priors, load_prior, write_weights
from diffusion_engine.priors.networks import PatchUNet
from diffusion_engine.priors.slices import resample, working_pixel
from safetensors.torch import load_file, save_file
from torch import Tensor, nn


def random(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_gaussian_denoiser_is_the_dense_wiener_filter() -> None:
    """Against C (C + s^2 I)^-1 with the covariance matrix built from the definition of the Fourier transform."""
    rows, columns, sigma = 4, 5, 0.6
    spectrum = torch.rand(rows, columns, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    spectrum = spectrum + spectrum.flip(0, 1).roll((1, 1), (0, 1))
    basis = np.kron(np.fft.fft(np.eye(rows), norm="ortho"), np.fft.fft(np.eye(columns), norm="ortho"))
    covariance = (basis.conj().T @ np.diag(spectrum.flatten().numpy()) @ basis).real
    mean, x = random(rows, columns), random(3, 1, rows, columns, seed=2)
    found = GaussianDenoiser(mean, spectrum)(x, torch.tensor(sigma, dtype=torch.float64))
    gain = covariance @ np.linalg.inv(covariance + sigma**2 * np.eye(rows * columns))
    expected = mean.flatten().numpy() + (x - mean).flatten(1).numpy() @ gain.T
    np.testing.assert_allclose(found.flatten(1).numpy(), expected, atol=1e-7)
    with pytest.raises(ValueError, match="must not be negative"):
        GaussianDenoiser(mean, -spectrum)


def test_mixture_denoiser_is_the_posterior_mean() -> None:
    """Two pixels, so that the posterior mean can be integrated on a grid; each image has its own noise level."""
    means = torch.tensor([[[1.0, -0.5]], [[-1.0, 0.8]], [[0.2, 1.5]]], dtype=torch.float64)
    variances, weights = torch.tensor([0.1, 0.4, 0.2]).double(), torch.tensor([0.5, 0.2, 0.3]).double()
    x = torch.tensor([[[[0.3, 0.2]]], [[[-0.9, 1.1]]]], dtype=torch.float64)
    sigma = torch.tensor([0.5, 1.3], dtype=torch.float64)
    found = MixtureDenoiser(means, variances, weights)(x, sigma)
    axis = np.linspace(-7, 7, 701)
    points = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1)
    prior = sum(
        float(w / v) * np.exp(-((points - m.numpy().ravel()) ** 2).sum(-1) / (2 * float(v)))
        for m, v, w in zip(means, variances, weights, strict=True)
    )
    for n in range(2):
        posterior = prior * np.exp(-((points - x[n].numpy().ravel()) ** 2).sum(-1) / (2 * float(sigma[n]) ** 2))
        expected = (posterior[..., None] * points).sum((0, 1)) / posterior.sum()
        np.testing.assert_allclose(found[n].numpy().ravel(), expected, atol=1e-6)


def test_mixture_denoiser_at_its_limits() -> None:
    means, x = random(3, 2, 3), random(2, 1, 2, 3, seed=2)
    weights = torch.tensor([0.5, 0.2, 0.3], dtype=torch.float64)
    mixture = MixtureDenoiser(means, torch.tensor([0.1, 0.4, 0.2]).double(), weights)
    torch.testing.assert_close(mixture(x, torch.tensor(1e-6).double()), x, atol=1e-9, rtol=0)
    centre = (weights[:, None, None] * means).sum(0).expand(x.shape)
    torch.testing.assert_close(mixture(x, torch.tensor(1e6).double()), centre, atol=1e-5, rtol=0)
    with pytest.raises(ValueError, match="must be positive"):
        MixtureDenoiser(means, torch.tensor([0.1, 0.0, 0.2]).double(), weights)


class Recorder(nn.Module):
    """Returns a constant and remembers what it was given."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        self.x, self.level = x, level
        return torch.full_like(x[:, :1], self.value)


def test_edm_coefficients() -> None:
    sigma, d = torch.tensor([0.1, 2.0], dtype=torch.float64), 0.5
    x, place = random(2, 1, 4, 5), random(2, 4, 5, seed=2)
    total = (sigma**2 + d**2).reshape(2, 1, 1, 1)
    torch.testing.assert_close(EDMDenoiser(Recorder(0.0), d)(x, sigma, place), d**2 / total * x)
    network = Recorder(1.0)
    found = EDMDenoiser(network, d)(x, sigma, place)
    torch.testing.assert_close(found - d**2 / total * x, (sigma.reshape(2, 1, 1, 1) * d / total.sqrt()).expand_as(x))
    torch.testing.assert_close(network.level, sigma.log() / 4)
    torch.testing.assert_close(network.x[:, :1], x / total.sqrt())
    torch.testing.assert_close(network.x[:, 1:], place.expand(2, 2, 4, 5))


def small(seed: int = 0, zero_start: bool = False) -> PatchUNet:
    torch.manual_seed(seed)
    network = PatchUNet(channels=(8, 12), blocks=1)
    if not zero_start:
        for parameter in network.parameters():
            nn.init.normal_(parameter, std=0.15)
    return network.requires_grad_(False)


@pytest.mark.parametrize("size", [(16, 16), (17, 23), (1, 7), (5, 40)])
def test_network_takes_any_size(size: tuple[int, int]) -> None:
    x = random(2, 3, *size).float()
    found = small()(x, torch.tensor([-1.0, 0.5]))
    assert found.shape == (2, 1, *size)
    assert bool(torch.isfinite(found).all())
    assert float(found.std()) > 0


def test_network_starts_as_the_bare_preconditioning() -> None:
    network = small(zero_start=True)
    nn.init.zeros_(network.tail.bias)
    assert not network(random(1, 3, 16, 16).float(), torch.tensor([0.3])).any()


def test_network_is_the_same_function_on_a_crop() -> None:
    """No statistics over the image: inside the reach of its convolutions the network sees no border."""
    network, x, level = small(), random(1, 3, 96, 96).float(), torch.tensor([-0.5])
    whole = network(x, level)
    crop = network(x[..., 8:88, 8:88], level)
    inner = 32
    same = whole[..., 8:88, 8:88]
    torch.testing.assert_close(crop[..., inner:-inner, inner:-inner], same[..., inner:-inner, inner:-inner])
    assert float((crop - same).abs().max()) > 1e-3  # the border does differ: the test can fail


def test_positions_are_millimetres_from_the_axis() -> None:
    place = positions(5, 4, (2.0, 1.5), (10.0, -20.0)) * 200
    assert place.shape == (2, 5, 4)
    assert place[0, :, 0].tolist() == pytest.approx([6, 8, 10, 12, 14])
    assert place[1, 0].tolist() == pytest.approx([-22.25, -20.75, -19.25, -17.75])
    fine = positions(10, 8, (1.0, 0.75), (10.0, -20.0)) * 200
    torch.testing.assert_close(fine.reshape(2, 5, 2, 4, 2).mean((2, 4)), place)


def test_pixels_that_a_prior_knows() -> None:
    card = list_priors()[0]
    low, high = card.pixel_mm
    assert working_pixel(low * 0.99, card) == low * 0.99
    assert working_pixel(low * 0.5, card) == low
    assert working_pixel(high * 3, card) == high


def test_resampling_keeps_field_of_view_and_mean() -> None:
    ramp = torch.linspace(0, 1, 40).expand(1, 30, 40)
    for size in ((15, 20), (60, 80), (30, 40), (23, 31)):
        found = resample(ramp, *size)
        assert found.shape == (1, *size)
        assert float(found.mean()) == pytest.approx(0.5, abs=2e-3)
        middle = found[0, 5, 5:-5]
        pitch = float((middle[1:] - middle[:-1]).mean())
        assert pitch == pytest.approx(40 / 39 / size[1], rel=0.02)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the prior "tiny": real weights, a real card."""
    digest = write_weights(small(), tmp_path / "tiny.safetensors")
    write_card(PriorCard(
        name="tiny", title="t", modality="ct", anatomy="a", unit="HU", offset=0.0, scale=1000.0, sigma_data=0.5,
        sigma=(0.005, 5.0), pixel_mm=(1.0, 2.0),
        network={"type": "PatchUNet", "inputs": 3, "outputs": 1, "channels": [8, 12], "blocks": 1},
        weights="tiny.safetensors", sha256=digest, date="2026-01-01", licence="l", training={}, data=[], held_out=[],
        denoising_psnr_db={}, not_for=[],
    ), tmp_path / "tiny.json")
    return tmp_path


def change(folder: Path, **values: object) -> None:
    card = json.loads((folder / "tiny.json").read_text())
    for key, value in values.items():
        if value is None:
            del card[key]
        else:
            card[key] = value
    (folder / "tiny.json").write_text(json.dumps(card))


def refuse(folder: Path, match: str) -> None:
    """Loading raises one sentence that says so."""
    with pytest.raises(ValueError, match=match) as error:
        load_prior(str(folder / "tiny.json"))
    assert "\n" not in str(error.value)


def test_a_prior_survives_writing_and_loading(folder: Path) -> None:
    prior = load_prior(str(folder / "tiny.json"), bf16=False)
    x, place = random(3, 1, 20, 24).float(), positions(20, 24, (1.5, 1.5))
    expected = EDMDenoiser(small())(x, torch.tensor(0.3), place)
    torch.testing.assert_close(prior(x, torch.tensor(0.3), place), expected, atol=2e-3, rtol=2e-3)
    assert read_card(folder / "tiny.json") == prior.card


def test_weights_that_are_not_the_cards_are_refused(folder: Path) -> None:
    weights = folder / "tiny.safetensors"
    good = weights.read_bytes()
    weights.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    refuse(folder, "do not match the hash")
    weights.unlink()
    refuse(folder, "are missing beside the card")


def test_a_pickle_is_refused_whatever_its_name(folder: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple:
            return (Path.touch, (folder / "exploded",))

    weights = folder / "tiny.safetensors"
    weights.write_bytes(pickle.dumps(Bomb()))
    change(folder, sha256=sha256(weights))
    refuse(folder, "not a safetensors file")
    weights.rename(folder / "tiny.pt")
    change(folder, weights="tiny.pt")
    refuse(folder, r"must be a \.safetensors file, found tiny\.pt")
    assert not (folder / "exploded").exists()


@pytest.mark.parametrize("damage", ["shape", "missing", "unknown"])
def test_weights_of_another_network_are_refused(folder: Path, damage: str) -> None:
    path = folder / "tiny.safetensors"
    weights = load_file(path)
    if damage == "shape":
        weights["head.bias"] = torch.zeros(9)
    elif damage == "missing":
        del weights["head.bias"]
    else:
        weights["surplus"] = torch.zeros(1)
    save_file(weights, path)
    change(folder, sha256=sha256(path))
    refuse(folder, "1 tensors differ, such as " + ("surplus" if damage == "unknown" else r"head\.bias"))


@pytest.mark.parametrize(("values", "match"), [
    ({"licence": None}, r"missing keys \['licence'\]"),
    ({"surprise": 1}, r"unknown keys \['surprise'\]"),
    ({"format": "other"}, "not of format"),
    ({"unit": "SUV"}, "works in SUV, not in HU"),
    ({"scale": 0.0}, "must be positive"),
    ({"scale": "much"}, "scale"),
    ({"sigma": 3}, "sigma"),
    ({"pixel_mm": [1.0]}, "pixel_mm"),
    ({"network": {"type": "Transformer"}}, "asks for a network 'Transformer'"),
    ({"network": {"type": "PatchUNet"}}, "network"),
    ({"network": {"type": "PatchUNet", "channels": [8, 12], "depth": 3}}, "network"),
    ({"weights": "../tiny.safetensors"}, "beside the card"),
])
def test_cards_that_cannot_be_used_are_refused(folder: Path, values: dict, match: str) -> None:
    change(folder, **values)
    refuse(folder, match)


def test_unreadable_and_unknown_cards_are_refused(folder: Path) -> None:
    (folder / "tiny.json").write_text("{")
    refuse(folder, "not valid JSON")
    with pytest.raises(ValueError, match="no prior named 'nobody': choose one of ct-body"):
        load_prior("nobody")
    with pytest.raises(ValueError, match="no model card at"):
        read_card(folder / "none.json")
    assert list_priors(folder / "empty") == []


def test_the_shipped_prior_says_what_it_is() -> None:
    prior = load_prior("ct-body")
    card = prior.card
    assert card.unit == "HU"
    assert sha256(PRIORS_FOLDER / card.weights) == card.sha256
    assert card.held_out
    assert not set(card.held_out) & {entry["name"] for entry in card.data}
    assert all(entry["licence"] for entry in card.data)
    assert card.not_for
    assert 0.5 <= card.pixel_mm[0] < card.pixel_mm[1] <= 3


@pytest.mark.parametrize(("sigma", "gain_db"), [(0.05, 4.0), (0.2, 7.0)])
def test_the_shipped_prior_denoises_a_chest(sigma: float, gain_db: float) -> None:
    prior = load_prior("ct-body")
    pixel = prior.card.pixel_mm[1]
    chest, _ = synthetic_chest((1, 128, 128), (5.0, pixel, pixel))
    clean = torch.from_numpy(np.maximum(chest.array, -1000) / 1000)[:, None].float()
    noisy = clean + sigma * random(*clean.shape).float()
    found = prior(noisy, torch.tensor(sigma), positions(128, 128, (pixel, pixel)))

    def error(x: Tensor) -> float:
        return float((x - clean).square().mean())

    assert 10 * math.log10(error(noisy) / error(found)) > gain_db


def test_a_dense_mixture_of_one_is_the_conditional_mean() -> None:
    generator = torch.Generator().manual_seed(3)
    root = torch.randn(12, 12, generator=generator, dtype=torch.float64)
    covariance, mean = root @ root.T + 0.1 * torch.eye(12), torch.randn(1, 3, 4, generator=generator).double()
    x, sigma = torch.randn(5, 1, 3, 4, generator=generator).double(), torch.rand(5, generator=generator).double() + 0.1
    found = DenseMixtureDenoiser(mean, covariance[None], torch.ones(1))(x, sigma)
    for n in range(5):
        gain = covariance @ torch.linalg.inv(covariance + sigma[n] ** 2 * torch.eye(12))
        expected = mean.flatten() + gain @ (x[n].flatten() - mean.flatten())
        torch.testing.assert_close(found[n].flatten(), expected)


def test_a_dense_mixture_of_white_images_is_the_white_mixture() -> None:
    generator = torch.Generator().manual_seed(4)
    means, weights = torch.randn(3, 2, 2, generator=generator).double(), torch.tensor([0.2, 0.5, 0.3]).double()
    variances = torch.tensor([0.1, 0.4, 0.2]).double()
    dense = DenseMixtureDenoiser(means, variances[:, None, None] * torch.eye(4).double(), weights)
    x, sigma = torch.randn(6, 1, 2, 2, generator=generator).double(), torch.rand(6, generator=generator).double() + 0.1
    torch.testing.assert_close(dense(x, sigma), MixtureDenoiser(means, variances, weights)(x, sigma))
    torch.testing.assert_close(dense.shares(x, sigma).sum(1), torch.ones(6).double())
    with pytest.raises(ValueError, match="must be positive"):
        DenseMixtureDenoiser(means, -torch.eye(4).expand(3, 4, 4), weights)
    with pytest.raises(ValueError, match="expects covariances"):
        DenseMixtureDenoiser(means, torch.eye(4)[None], weights)
