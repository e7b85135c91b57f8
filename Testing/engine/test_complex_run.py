"""Complex images from the data to the volume: a small masked Fourier scan runs as any other, delivered by magnitude."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from diffusion_engine.evaluation import factors
from diffusion_engine.evaluation.evaluate import Item, evaluate
from diffusion_engine.likelihoods.gaussian import GaussianLikelihood
from diffusion_engine.modalities.contract import Modality
from diffusion_engine.modalities.prepared import Prepared
from diffusion_engine.modalities.rules import Classical, Trust
from diffusion_engine.physics.grid import ImageGrid
from diffusion_engine.physics.masked_fourier import MaskedFourier
from diffusion_engine.posterior.draws import DrawStore
from diffusion_engine.posterior.moments import RunningMoments
from diffusion_engine.posterior.typicality import denoising_features
from diffusion_engine.priors.slices import resample
from diffusion_engine.run import pipeline
from diffusion_engine.run.pipeline import Result, reconstruct
from diffusion_engine.run.settings import Settings
from diffusion_engine.sampling.noise import Noise
from diffusion_engine.solvers.catalogue import method_named
from diffusion_engine.solvers.contract import SolverStep
from diffusion_engine.solvers.scd import SCDSettings, adapt_step
from diffusion_engine.volume import IntensityScale, Volume
from small_modalities import NO_FILES, Plain, entered
from stub_priors import stub_prior
from torch import Tensor

SIZE, STD = 16, 0.02
SCALE = IntensityScale("a.u.", 0.0, 4.0)


@dataclass(frozen=True)
class Frequencies:
    """The scan: every ``step``-th row of frequencies and the middle ones."""

    step: int = 2

    def iterations(self, name: str) -> int:
        return 5


@dataclass(frozen=True, eq=False)
class FourierSystem:
    """Frequencies of images in network units of 4."""

    grid: ImageGrid
    measured: GaussianLikelihood
    complex_images: bool = True
    imaginary_std: float | None = None
    noise_std: float = STD
    conversion: dict[str, float] = field(default_factory=dict)

    @property
    def data(self) -> Tensor:
        return self.measured.data

    @property
    def likelihood(self) -> GaussianLikelihood:
        return self.measured.scaled(SCALE.scale, 0.0)

    def select(self, index: Any) -> FourierSystem:
        return replace(self, measured=self.measured.select(index))

    def with_data(self, data: Tensor) -> FourierSystem:
        return replace(self, measured=replace(self.measured, data=data))

    def start(self) -> Tensor:
        return self.measured.operator.adjoint(self.data) / SCALE.scale

    def classical(self, name: str, iterations: int) -> Iterator[Tensor]:
        for _ in range(iterations):
            yield self.start()

    def observed(self, clean: Tensor, noise: Noise) -> FourierSystem:
        ideal = self.measured.operator.forward(clean * SCALE.scale)
        return self.with_data(ideal + STD * noise.normal(ideal))

    def local_gaussian(self, at: Tensor) -> GaussianLikelihood:
        return self.likelihood

    def physical(self, x: Tensor) -> tuple[GaussianLikelihood, Tensor]:
        return self.measured, x * SCALE.scale

    def groups(self, x: Tensor) -> Tensor:
        return self.measured.residual_per_view(x * SCALE.scale)

    def show(self, x: Tensor) -> Tensor:
        return x.abs()

    def describe(self) -> dict[str, Any]:
        return {}


def prepare(source: Volume, asked: Any, device: Any, card: Any, foreseen: Any) -> Prepared[FourierSystem]:
    """A scan of the images with a phase that turns along the columns."""
    mask = torch.zeros(SIZE, SIZE, dtype=torch.bool)
    mask[:: asked.scan.step] = True
    mask[SIZE // 2 - 2 : SIZE // 2 + 2] = True
    turned = torch.from_numpy(source.array).to(torch.complex64) * torch.exp(1j * torch.linspace(0, 3, SIZE))
    operator = MaskedFourier(mask)
    empty = operator.forward(turned)
    system = FourierSystem(ImageGrid(SIZE, SIZE, (1.5, 1.5)), GaussianLikelihood(operator, empty, torch.tensor(STD**2)))
    system = system.observed(turned / SCALE.scale, Noise(asked.seed, 0, "scan"))
    return Prepared(system, system, source, SCALE, source.array)


FOURIER = Modality(
    name="fourier", title="complex images", unit="a.u.", scale=SCALE, scan=Frequencies, group="channel",
    classical=(Classical("filled", "zero-filled"),), fallback="filled", default_prior="none", solvers=("dds", "mmps"),
    trust=Trust(4.0, 0.01, Plain, "nothing", lambda images: images > 1, lambda system: 0.0),
    files=NO_FILES,
    question=lambda volume: None, simulate=lambda *_: (None, None, {}), prepare=prepare, in_words=str,
)


@pytest.fixture
def disc(monkeypatch: pytest.MonkeyPatch) -> Volume:
    """Two slices of a disc; the table has the modality, and its prior is the shrinking one."""
    entered(monkeypatch, FOURIER)
    y, x = np.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2
    image = 4.0 * (x**2 + y**2 < 20).astype(np.float32)
    return Volume(np.stack([image, image / 2]), np.diag([-1.5, -1.5, 5.0, 1.0]), "a.u.")


def run(volume: Volume, **changes: Any) -> Result:
    return reconstruct(volume, {
        "modality": "fourier", "draws": 2, "steps": 4, "device": "cpu",
        "keep": ["mean", "uncertainty", "not_seen", "residual", "draws"], **changes,
    })


def test_a_complex_scan_runs_to_real_volumes(disc: Volume) -> None:
    result = run(disc, step=1)
    for key, volume in result.volumes.items():
        assert volume.array.dtype == np.float32, key
        assert float(volume.array.min()) >= 0
    # All frequencies and little noise: magnitudes are those of the object, whatever its phase.
    np.testing.assert_allclose(result.volumes["filled"].array, disc.array, atol=0.1)
    np.testing.assert_allclose(result.volumes["mean"].array, disc.array, atol=0.15)
    assert result.report["metrics"]["diffusion"]["psnr"] > 35
    # What a scan of itself leaves is what the data leave: the noise of both is circular, of variance STD^2.
    test = next(test for test in result.report["residual_tests"] if test["kind"] == "mean")
    assert test["explains"]
    assert test["passed"]
    # The residual in units of its own noise has variance 1 or, where the image was fitted to it, less.
    assert 0.01 < float(np.mean(result.volumes["residual"].array ** 2)) < 1.5


def test_what_few_frequencies_leave_open_is_told(disc: Volume) -> None:
    """The prior's own spread, 0.5 network units of 4 each, is left along what was not measured."""
    few, all_ = run(disc, step=4, draws=4, steps=8), run(disc, step=1, draws=4, steps=8)
    assert float(few.volumes["uncertainty"].array.mean()) > 3 * float(all_.volumes["uncertainty"].array.mean())
    share = few.volumes["not_seen_share"].array
    assert float(np.median(share)) > 0.9
    # Both maps are in the delivered unit, and nearly all of the spread is of that part.
    unseen, spread = (few.volumes[key].array.mean() for key in ("not_seen", "uncertainty"))
    assert 0.8 * spread < unseen < 1.1 * spread


def test_mean_and_spread_are_of_complex_draws(disc: Volume, monkeypatch: pytest.MonkeyPatch) -> None:
    """Draws 0.3 + 0.4i and 0.3 - 0.4i: their mean is 0.3 although both have the magnitude 0.5."""
    drawn = itertools.cycle([0.3 + 0.4j, 0.3 - 0.4j])

    def solve(denoiser: Any, likelihood: Any, start: Tensor, *rest: Any) -> Iterator[SolverStep]:
        assert start.is_complex()
        yield SolverStep(1, 1, 0.1, torch.full_like(start, next(drawn)))

    method = replace(method_named("dds"), solve=solve)
    monkeypatch.setattr("diffusion_engine.run.draws.method_named", lambda name: method)
    volumes = run(disc, sigma_start=0.5).volumes
    np.testing.assert_allclose(volumes["mean"].array, 4 * 0.3, atol=1e-5)
    np.testing.assert_allclose(volumes["uncertainty"].array, 4 * 0.8 / 2**0.5, rtol=1e-5)
    for key in ("draw_1", "draw_2"):
        np.testing.assert_allclose(volumes[key].array, 4 * 0.5, rtol=2e-3)


def test_a_network_of_real_images_sees_the_parts_of_complex_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """Noise of variance s^2 has s^2 / 2 in either part; the exact denoiser there shrinks by d^2 / (d^2 + s^2 / 2)."""
    prior = stub_prior(monkeypatch)
    x = torch.complex(torch.full((2, 1, 8, 8), 3.0), torch.full((2, 1, 8, 8), -1.0)).requires_grad_()
    found = prior(x, torch.tensor(0.5))
    torch.testing.assert_close(found, x * 0.25 / (0.25 + 0.125))
    assert prior.asked[1:] == pytest.approx([0.5 / 2**0.5] * 2)
    product, = torch.autograd.grad(found, x, 2j * torch.ones_like(x))
    torch.testing.assert_close(product, torch.full_like(x, 2j * 0.25 / 0.375))


def test_no_network_is_asked_of_parts_beyond_the_levels_it_knows(
    disc: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    prior = stub_prior(monkeypatch, unit="a.u.", sigma=(0.1, 1.0))
    result = run(disc, solver="mmps", steps=4)
    # The levels of the complex images, and those of their parts that the network sees.
    assert min(prior.asked) >= 0.1 * (1 - 1e-5)
    assert max(prior.asked) == pytest.approx(2**0.5)
    assert result.volumes["mean"].array.dtype == np.float32


def test_moments_of_complex_draws() -> None:
    rng = np.random.default_rng(0)
    draws = (rng.normal(size=(9, 3, 4)) + 1j * rng.normal(size=(9, 3, 4))).astype(np.complex64)
    moments = RunningMoments()
    for draw in draws:
        moments.add(torch.from_numpy(draw))
    np.testing.assert_allclose(moments.mean, draws.mean(0), atol=1e-6)
    np.testing.assert_allclose(moments.std, draws.std(0, ddof=1), rtol=1e-5)
    assert (moments.mean.dtype, moments.std.dtype) == (torch.complex64, torch.float32)


def test_kept_draws_keep_their_phase() -> None:
    rng = np.random.default_rng(1)
    draws = (rng.normal(size=(3, 2, 4, 5)) + 1j * rng.normal(size=(3, 2, 4, 5))).astype(np.complex64)
    with DrawStore(3, (2, 4, 5), kind=np.complex64) as store:
        for n, draw in enumerate(draws):
            for k in (0, 1):
                store.write(n, slice(k, k + 1), draw[k : k + 1])
        np.testing.assert_array_equal(store.read(0), draws[0])
        np.testing.assert_allclose(store.read(2), draws[2], atol=4e-3)
        np.testing.assert_allclose(store.read(1, slice(1, 2)), draws[1][1:], atol=4e-3)


def test_complex_images_on_more_pixels_and_back_are_the_same() -> None:
    """No frequency changes, where linear interpolation would lower the fine ones."""
    parts = torch.randn(2, 1, 8, 9, generator=torch.Generator().manual_seed(0))
    images = torch.complex(*parts)
    finer = resample(images, 13, 16)
    assert finer.shape == (1, 13, 16)
    torch.testing.assert_close(resample(finer, 8, 9), images)


def test_a_likelihood_that_a_method_cannot_take_is_stood_in_for_near_the_start() -> None:
    from diffusion_engine.run.draws import gaussian_near_start, likelihood_for

    asked: list[Tensor] = []

    class Counts:
        likelihood = SimpleNamespace(kind="poisson")

        def start(self) -> Tensor:
            return torch.ones(1)

        def local_gaussian(self, at: Tensor) -> str:
            asked.append(at)
            return "stand-in"

    assert likelihood_for(method_named("dds"), Counts()) == gaussian_near_start(Counts()) == "stand-in"
    assert asked == [torch.ones(1)] * 2
    assert likelihood_for(method_named("dps"), Counts()) is Counts.likelihood


def test_an_evaluation_and_a_calibration_are_of_magnitudes(disc: Volume) -> None:
    """All frequencies and little noise: what is found is the object, although its phase turns."""
    settings = Settings(modality="fourier", draws=2, steps=4, device="cpu")
    rows = list(evaluate([Item("disc", disc, (0, 1))], [{"step": 1}], ["filled", "dds"], settings))
    assert [row["method"] for row in rows] == ["filled"] * 2 + ["dds-draw"] * 2 + ["dds"] * 2
    assert all(row["psnr"] > 35 and row["step"] == 1 for row in rows)
    problem = prepare(disc, replace(settings, step=1), "cpu", None, None)
    found = factors.errors_of(problem, None, settings, pipeline.load_prior("any"), slice(1, 2))
    assert found.error.shape == found.std.shape == found.away.shape == (int((disc.array[1] > 1).sum()),)
    assert found.error.dtype == found.std.dtype == np.float32
    assert float(np.abs(found.error).max()) < 0.2


def test_typical_features_are_of_the_magnitude() -> None:
    """D(x) = 0: they are ln of the mean |x|^2; D(x) = x: that of the noise, of variance s^2 whatever x is."""
    grid, images = ImageGrid(SIZE, SIZE, (1.5, 1.5)), torch.full((1, SIZE, SIZE), 3.0 + 4.0j)
    nothing = denoising_features(lambda x, sigma, condition=None: 0 * x, images, grid)
    torch.testing.assert_close(nothing, torch.full((1, 3), 25.0).log().double())
    seen: list[Tensor] = []
    features = denoising_features(lambda x, sigma, condition=None: seen.append(x) or x, images, grid)
    torch.testing.assert_close(features, torch.tensor([[0.01, 0.09, 1.0]]).log().double(), atol=0.2, rtol=0)
    assert not seen[-1].is_complex()
    assert float(seen[-1].mean()) == pytest.approx(5.0, abs=0.1)


def test_scd_takes_complex_images(disc: Volume, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its total variation is of the magnitudes of differences, a real number."""
    weight = torch.nn.Parameter(torch.tensor(0.0))
    likelihood = prepare(disc, SimpleNamespace(scan=Frequencies(1), seed=0), "cpu", None, None).delivered.likelihood
    x = likelihood.operator.adjoint(likelihood.data) / 4
    loss = adapt_step(
        lambda v, sigma, place: v * (0.8 + weight), torch.optim.Adam([weight]), likelihood, x, 0.1, 0.01, SCDSettings()
    )
    assert loss > 0
    assert weight.item() != 0


def test_chosen_slices_keep_their_places_in_the_stack(disc: Volume) -> None:
    """By which they get their random numbers, whatever is chosen from what was chosen before."""
    problem = prepare(disc, SimpleNamespace(scan=Frequencies(1), seed=0), "cpu", None, None)
    for index in (slice(1, 2), torch.tensor([1])):
        chosen = problem.select(index)
        assert chosen.all_places == (1,)
        assert replace(problem, places=(4, 7)).select(index).all_places == (7,)
        assert chosen.one_grid
        torch.testing.assert_close(chosen.delivered.data, problem.delivered.data[1:])
        np.testing.assert_array_equal(chosen.reference, disc.array[1:])
