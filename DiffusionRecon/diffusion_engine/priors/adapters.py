"""Networks of the field as denoisers D(x; sigma): one short class for each way to parameterise a diffusion network.

A network is called as network(inner, time): ``inner`` (batch, channels, rows, columns) in the scaling that it was
trained with, planes of the condition concatenated to the channels, ``time`` (batch,). What it returns has the channels
of x, or twice as many where it also learned a variance; those are dropped.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..denoiser import as_column
from .schedules import LevelTime, Schedule

Network = Callable[[Tensor, Tensor], Tensor]
PREDICTIONS = ("epsilon", "v", "sample")
SCORES = ("score", "noise", "minus_noise")
CONSISTENCY_TIME = LevelTime(250.0, logarithm=True)


def call(network: Network, inner: Tensor, time: Tensor, condition: Tensor | None, channels: int) -> Tensor:
    """The network's answer, first ``channels`` channels, in the dtype of ``inner``.

    ``time``: one value or one an image; ``condition``: (..., planes, rows, columns) or none. Raises ValueError when
    the answer has another shape.
    """
    if condition is not None:
        planes = condition.to(inner).expand(inner.shape[0], *condition.shape[-3:])
        inner = torch.cat([inner, planes], dim=1)
    raw = network(inner, time.to(inner).reshape(-1).expand(inner.shape[0]))
    if raw.shape[0] != inner.shape[0] or raw.shape[-2:] != inner.shape[-2:] or raw.shape[1] not in (
        channels, 2 * channels
    ):
        raise ValueError(
            f"the network returned {tuple(raw.shape)} for {channels} channels of {tuple(inner.shape)}: expected as "
            "many channels as the image, or twice as many"
        )
    return raw[:, :channels].to(inner.dtype)


@dataclass(frozen=True, eq=False)
class VPDenoiser:
    """Variance-preserving networks (DDPM): x_t = x / sqrt(1 + s^2), a = 1 / sqrt(1 + s^2), b = s / sqrt(1 + s^2).

    "epsilon": D = x - s F(x_t, t) (arXiv:2006.11239); "v", v = a z - b x_0: D = a x_t - b F (arXiv:2202.00512);
    "sample": D = F. The level s itself scales the state also where the schedule rounds the time to a step.
    Raises ValueError for another prediction.
    """

    network: Network
    schedule: Schedule
    prediction: str = "epsilon"

    def __post_init__(self) -> None:
        if self.prediction not in PREDICTIONS:
            raise ValueError(f"no prediction '{self.prediction}': choose from {PREDICTIONS}")

    def __call__(self, x: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
        s = as_column(sigma, x)
        inner = x / (1 + s**2).sqrt()
        raw = call(self.network, inner, self.schedule.time(sigma), condition, x.shape[1])
        if self.prediction == "epsilon":
            return x - s * raw
        if self.prediction == "v":
            return (inner - s * raw) / (1 + s**2).sqrt()
        return raw


@dataclass(frozen=True, eq=False)
class VEDenoiser:
    """Variance-exploding networks (NCSN, NCSN++): D = x + s^2 score(x, time), or D = x - s F for predicted noise.

    ``predicts``: "score" (networks whose output is already divided by sigma), "noise", or "minus_noise", D = x + s F.
    Sources: arXiv:1907.05600, arXiv:2011.13456, arXiv:2206.00364 (table 1). Raises ValueError for another prediction.
    """

    network: Network
    schedule: Schedule
    predicts: str = "score"

    def __post_init__(self) -> None:
        if self.predicts not in SCORES:
            raise ValueError(f"no prediction '{self.predicts}': choose from {SCORES}")

    def __call__(self, x: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
        s = as_column(sigma, x)
        raw = call(self.network, x, self.schedule.time(sigma), condition, x.shape[1])
        if self.predicts == "score":
            return x + s**2 * raw
        return x - s * raw if self.predicts == "noise" else x + s * raw


@dataclass(frozen=True, eq=False)
class FlowDenoiser:
    """Flow matching on straight paths: x_t = (1 - t) x_0 + t z, F = v = z - x_0, so that D = x_t - t v.

    s = t / (1 - t) and x_t = (1 - t) x. ``data_at_one``: the network counts time from noise to data, t' = 1 - t, and
    its velocity points the other way; ``scale``: of the network's time. Source: arXiv:2210.02747.
    """

    network: Network
    scale: float = 1.0
    data_at_one: bool = False

    def __call__(self, x: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
        s = as_column(sigma, x)
        inner = x / (1 + s)
        level = sigma.double()
        time = (1 / (1 + level) if self.data_at_one else level / (1 + level)) * self.scale
        raw = call(self.network, inner, time, condition, x.shape[1])
        return inner + s / (1 + s) * (raw if self.data_at_one else -raw)


@dataclass(frozen=True, eq=False)
class PFGMDenoiser:
    """PFGM++ networks told the radius: D(x; s) = F(x, r), r = s sqrt(dimension), for any augmented dimension.

    Networks with the preconditioning of EDM are an :class:`EDMDenoiser` in s already. Source: arXiv:2302.04265.
    """

    network: Network
    dimension: float

    def __call__(self, x: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
        time = LevelTime(math.sqrt(self.dimension)).time(sigma)
        return call(self.network, x, time, condition, x.shape[1])


@dataclass(frozen=True, eq=False)
class ConsistencyDenoiser:
    """Consistency networks: f(x, s) = c_skip x + c_out F(c_in x, time), exactly x at ``sigma_min``.

    c_skip = d^2 / ((s - m)^2 + d^2), c_out = d (s - m) / sqrt(s^2 + d^2), c_in = 1 / sqrt(s^2 + d^2), with
    m = ``sigma_min`` and d = ``sigma_data``. f is where the probability flow from (x, s) ends, not the mean
    E[clean | x]: sharp at every level, and to be used with fresh noise between steps. Source: arXiv:2303.01469.
    """

    network: Network
    schedule: Schedule = CONSISTENCY_TIME
    sigma_data: float = 0.5
    sigma_min: float = 0.002

    def __call__(self, x: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
        s, d = as_column(sigma, x).clamp_min(self.sigma_min), self.sigma_data
        norm = (s**2 + d**2).sqrt()
        time = self.schedule.time(sigma.clamp_min(self.sigma_min))
        raw = call(self.network, x / norm, time, condition, x.shape[1])
        away = s - self.sigma_min
        return x * d**2 / (away**2 + d**2) + raw * (d * away / norm)
