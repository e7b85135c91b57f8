"""Photographs that were blurred: a modality as small as one can be, which a test adds to a copy of the engine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...classical.tv import tv_steps
from ...io.images import read_array, write_volume
from ...likelihoods.gaussian import GaussianLikelihood
from ...physics.grid import ImageGrid
from ...sampling.noise import Noise
from ...volume import IntensityScale, Volume
from ..contract import Modality
from ..prepared import Prepared
from ..rules import Classical, Files, Trust

SCALE = IntensityScale("1", 0.5, 0.5)


@dataclass(frozen=True)
class Blur:
    """The scan: a Gaussian blur and white noise. It is its own fingerprint."""

    blur_pixels: float = 1.5
    noise_std: float = 0.05

    def iterations(self, name: str) -> int:
        return 12

    of = classmethod(lambda cls, prepared: prepared.delivered.blur)
    stored = classmethod(lambda cls, entry: cls(entry["blur_pixels"], entry["noise_std"]))
    entry = asdict
    fits = object.__eq__
    distance = lambda self, asked: 0.0  # noqa: E731
    words = lambda self: f"a blur of {self.blur_pixels:g} pixels"  # noqa: E731


@dataclass(frozen=True)
class Photo:
    """Blurred photographs (slices, rows, columns), and how they were made."""

    values: np.ndarray
    blur: Blur


@dataclass(frozen=True)
class Blurring:
    """y = k * x with a symmetric kernel, periodic: its own adjoint."""

    out_shape: tuple[int, ...]
    width: float
    in_shape = property(lambda self: self.out_shape)

    def forward(self, x: Tensor) -> Tensor:
        rows, columns = (torch.fft.fftfreq(n) for n in self.out_shape)
        response = torch.exp(-2 * (torch.pi * self.width) ** 2 * (rows[:, None] ** 2 + columns**2))
        return torch.fft.ifft2(torch.fft.fft2(x) * response).real

    adjoint = forward


@dataclass(frozen=True, eq=False)
class PhotoSystem:
    grid: ImageGrid
    measured: GaussianLikelihood
    blur: Blur
    complex_images = False
    imaginary_std = None
    data = property(lambda self: self.measured.data)
    noise_std = property(lambda self: self.blur.noise_std)
    conversion = property(lambda self: {})
    likelihood = cached_property(lambda self: self.measured.scaled(SCALE.scale, SCALE.offset / SCALE.scale))
    select = lambda self, index: replace(self, measured=self.measured.select(index))  # noqa: E731
    with_data = lambda self, data: replace(self, measured=replace(self.measured, data=data))  # noqa: E731
    start = lambda self: SCALE.to_network(self.data)  # noqa: E731
    local_gaussian = lambda self, at: self.likelihood  # noqa: E731
    physical = lambda self, x: (self.measured, SCALE.from_network(x))  # noqa: E731
    groups = lambda self, x: self.measured.residual_per_view(SCALE.from_network(x))  # noqa: E731
    show = staticmethod(lambda x: x)
    describe = lambda self: asdict(self.blur)  # noqa: E731

    def classical(self, name: str, iterations: int) -> Iterator[Tensor]:
        images = [self.data] if name == "blurred" else tv_steps(self.measured, iterations=iterations)
        return map(SCALE.to_network, images)

    def observed(self, clean: Tensor, noise: Noise) -> PhotoSystem:
        ideal = self.measured.operator.forward(SCALE.from_network(clean))
        return self.with_data(ideal + self.noise_std * noise.normal(ideal))


def prepare(source: Any, asked: Any, device: Any, card: Any, foreseen: Any) -> Prepared[PhotoSystem]:
    new = isinstance(source, Volume)
    values = torch.from_numpy(np.asarray(source.array if new else source.values, np.float32)).to(device)
    blur, frame = (asked.scan, source) if new else (source.blur, Volume(source.values, np.eye(4), "1"))
    likelihood = GaussianLikelihood(
        Blurring(tuple(values.shape[1:]), blur.blur_pixels), values, torch.tensor(blur.noise_std**2)
    )
    system = PhotoSystem(ImageGrid(*values.shape[1:], frame.spacing_mm[1::-1]), likelihood, blur)
    if new:
        system = system.observed(SCALE.to_network(values), Noise(asked.seed, 0, "scan"))
    return Prepared(system, system, frame, SCALE, source.array if new else None)


def simulate(volume: Volume, asked: Any) -> tuple[Photo, Volume, dict[str, Any]]:
    system = prepare(volume, asked, "cpu", None, None).delivered
    return Photo(system.data.numpy(), asked.scan), volume, system.describe()


def write(photo: Photo, place: Path) -> tuple[str, str]:
    write_volume(Volume(photo.values, np.eye(4), "1"), place / "photo.nrrd")
    (place / "photo.json").write_text(json.dumps(asdict(photo.blur)))
    return "photo.nrrd", "photo.json"


PHOTO = Modality(
    name="photo", title="photographs", unit="1", scale=SCALE, scan=Blur, group="row",
    classical=(Classical("blurred", "blurred", False, True), Classical("sharp", "sharpened")), fallback="sharp",
    default_prior="photo-small", solvers=("dds",), presets=("standard",),
    trust=Trust(1.0, 0.01, Blur, "the same blur", lambda images: images > 0.1, lambda system: 0.0, 0.0, -0.2),
    files=Files(
        ("photo.nrrd", "photo.json"), True, lambda path, beside: path.name == "photo.nrrd",
        lambda path, beside: Photo(read_array(path), Blur(**json.loads(beside.read_text()))), write,
        lambda photo: photo.values.nbytes, lambda photo: f"{len(photo.values)} photographs",
    ),
    question=lambda volume: None, simulate=simulate, prepare=prepare,
    in_words=lambda scan: f"a blur of {scan['blur_pixels']:g} pixels",
)
