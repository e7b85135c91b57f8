"""Networks of the field as denoisers D(x; sigma): one short class for each way to parameterise a diffusion network.

A network is called as network(inner, time): ``inner`` (batch, channels, rows, columns) in the scaling that it was
trained with, planes of the condition concatenated to the channels, ``time`` (batch,). What it returns has the channels
of x, or twice as many where it also learned a variance; those are dropped.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ...denoiser import as_column
from .schedules import Schedule

Network = Callable[[Tensor, Tensor], Tensor]
PREDICTIONS = ("epsilon", "v", "sample")


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
    """Variance-exploding networks as EDM wraps them: D = x + s F(x; time), F being the noise with a minus sign.

    Sources: arXiv:2011.13456, arXiv:2206.00364 (table 1).
    """

    network: Network
    schedule: Schedule

    def __call__(self, x: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
        s = as_column(sigma, x)
        return x + s * call(self.network, x, self.schedule.time(sigma), condition, x.shape[1])


@dataclass(frozen=True, eq=False)
class FlowDenoiser:
    """Flow matching on straight paths: x_t = (1 - t) x_0 + t z, F = v = z - x_0, so that D = x_t - t v.

    s = t / (1 - t) and x_t = (1 - t) x. ``scale``: of the network's time. Source: arXiv:2210.02747.
    """

    network: Network
    scale: float = 1.0

    def __call__(self, x: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
        s = as_column(sigma, x)
        inner = x / (1 + s)
        level = sigma.double()
        raw = call(self.network, inner, level / (1 + level) * self.scale, condition, x.shape[1])
        return inner + s / (1 + s) * -raw
