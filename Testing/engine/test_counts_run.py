"""Counts from the data to the volume: methods for Gaussian noise run on a small emission scan by its stand-in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
import torch
from diffusion_engine.likelihoods.gaussian import GaussianLikelihood
from diffusion_engine.likelihoods.poisson import PoissonEmission
from diffusion_engine.modalities.contract import Modality
from diffusion_engine.modalities.prepared import Prepared
from diffusion_engine.modalities.rules import Classical, Trust
from diffusion_engine.physics.grid import ImageGrid
from diffusion_engine.run.pipeline import Result, reconstruct
from diffusion_engine.sampling.noise import Noise
from diffusion_engine.volume import IntensityScale, Volume
from small_modalities import NO_FILES, Plain, entered
from torch import Tensor

SIZE, BACKGROUND = 16, 20.0
SCALE = IntensityScale("Bq/mL", 0.0, 500.0)


@dataclass(frozen=True)
class Minutes:
    """The scan: how many counts a unit of activity gives, and iterations of the classical image."""

    minutes: float = 1.0
    rounds: int = 20

    def iterations(self, name: str) -> int:
        return self.rounds


@dataclass(frozen=True)
class Sums:
    """Each reading is what a pixel and its two neighbours in the row emit, in thirds."""

    minutes: float
    in_shape: tuple[int, ...] = (SIZE, SIZE)
    out_shape: tuple[int, ...] = (SIZE, SIZE)

    def forward(self, x: Tensor) -> Tensor:
        return self.minutes * (x + x.roll(1, -1) + x.roll(-1, -1)) / 3

    adjoint = forward


@dataclass(frozen=True, eq=False)
class CountsSystem:
    """Counts; images in network units of 500. ``data``: without the expected background."""

    grid: ImageGrid
    emission: PoissonEmission
    noise_std: float = 1.0
    complex_images: bool = False
    imaginary_std: float | None = None
    conversion: dict[str, float] = field(default_factory=dict)

    @property
    def data(self) -> Tensor:
        return self.emission.data - self.emission.background

    @property
    def likelihood(self) -> PoissonEmission:
        return self.emission.scaled(SCALE.scale, 0.0)

    def select(self, index: Any) -> CountsSystem:
        return replace(self, emission=self.emission.select(index))

    def with_data(self, data: Tensor) -> CountsSystem:
        return replace(self, emission=replace(self.emission, data=(data + self.emission.background).clamp_min(0)))

    def start(self) -> Tensor:
        return self.data.clamp_min(0) / self.emission.operator.minutes / SCALE.scale

    def classical(self, name: str, iterations: int) -> Iterator[Tensor]:
        """Expectation maximisation."""
        e = self.emission
        x = torch.full_like(e.data, 100.0)
        for _ in range(iterations):
            x = x * e.operator.adjoint(e.data / e.mean(x)) / e.operator.minutes
            yield x / SCALE.scale

    def observed(self, clean: Tensor, noise: Noise) -> CountsSystem:
        mean = self.emission.mean(clean * SCALE.scale).clamp_min(0).numpy()
        drawn = [stream.poisson(own) for own, stream in zip(mean, noise.streams(len(mean)), strict=True)]
        return replace(self, emission=replace(self.emission, data=torch.from_numpy(np.stack(drawn)).float()))

    def local_gaussian(self, at: Tensor) -> GaussianLikelihood:
        return self.likelihood.local_gaussian(at)

    def physical(self, x: Tensor) -> tuple[GaussianLikelihood, Tensor]:
        return self.emission.local_gaussian(x * SCALE.scale), x * SCALE.scale

    def groups(self, x: Tensor) -> Tensor:
        return self.emission.residual_per_view(x * SCALE.scale)

    def show(self, x: Tensor) -> Tensor:
        return x

    def describe(self) -> dict[str, Any]:
        return {}


def prepare(source: Volume, asked: Any, device: Any, card: Any, foreseen: Any) -> Prepared[CountsSystem]:
    images = torch.from_numpy(source.array)
    emission = PoissonEmission(Sums(asked.scan.minutes), torch.zeros_like(images), torch.tensor(BACKGROUND))
    system = CountsSystem(ImageGrid(SIZE, SIZE, (3.0, 3.0)), emission)
    system = system.observed(images / SCALE.scale, Noise(asked.seed, 0, "scan"))
    return Prepared(system, system, source, SCALE, source.array)


COUNTS = Modality(
    name="counts", title="activity", unit="Bq/mL", scale=SCALE, scan=Minutes, group="row",
    classical=(Classical("em", "EM"),), fallback="em", default_prior="none", solvers=("dds", "dps"),
    trust=Trust(1000.0, 1.0, Plain, "nothing", lambda images: images > 1, lambda system: 0.0, 0.0, -100.0),
    files=NO_FILES,
    question=lambda volume: None, simulate=lambda *_: (None, None, {}), prepare=prepare, in_words=str,
)


@pytest.fixture
def square(monkeypatch: pytest.MonkeyPatch) -> Volume:
    """A slice with a hot square; the table has the modality."""
    entered(monkeypatch, COUNTS, mean=0.5)
    image = np.full((1, SIZE, SIZE), 100.0, np.float32)
    image[:, 5:11, 5:11] = 900.0
    return Volume(image, np.diag([-3.0, -3.0, 5.0, 1.0]), "Bq/mL")


@pytest.mark.parametrize("solver", ["dds", "dps"])
def test_an_emission_scan_runs_by_the_methods_it_is_offered(square: Volume, solver: str) -> None:
    """By the Gaussian stand-in (dds), and by the counts' own gradient (dps)."""
    result: Result = reconstruct(square, {
        "modality": "counts", "minutes": 4.0, "draws": 2, "steps": 6, "device": "cpu", "solver": solver,
        "keep": ["mean", "uncertainty", "not_seen", "residual"],
    })
    volumes = result.volumes
    assert {"em", "mean", "uncertainty", "not_seen", "residual"} <= set(volumes)
    assert volumes["mean"].unit == "Bq/mL"
    hot, cold = (float(volumes["mean"].array[0, rows, rows].mean()) for rows in (slice(6, 10), slice(0, 3)))
    assert hot == pytest.approx(900, rel=0.15)
    assert cold == pytest.approx(100, abs=80)
    tests = {test["kind"]: test for test in result.report["residual_tests"]}
    assert {test["group"] for test in tests.values()} == {"row"}
    assert tests["em"]["explains"]
    # So few gradient steps do not fit the counts; a proximal step of the stand-in does.
    if solver == "dds":
        assert tests["mean"]["explains"]
        assert tests["mean"]["ratio"] < 1.5
        assert 0.02 < float(np.std(volumes["residual"].array)) < 3
