"""A few-step student of a CT prior, trained on the same states that few-step reconstruction passes through.

    x_1 = start + s_1 z                                        the start: filtered backprojection of a simulated scan
    c_k = argmin_z |z - f(x_k; s_k)|^2 / (2 g(s_k)) + |W(A z - y)|^2 / 2,   x_(k+1) = c_k + s_(k+1) z
    loss = mean over k of ln |c_k - clean|^2

the sampler of the solver "consistency" with its data step. No gradient passes through earlier states; every scan has
another number of views and other noise. A denoiser expects white noise in x, but after few steps x holds streaks. The
student starts with the teacher's weights and learns to remove them. It is not a denoiser any more: its estimate is the
mean over images given such a state.

Sources: data steps between calls of one network, trained together, arXiv:1712.02862 (MoDL); learning on a sampler's
own states, arXiv:1011.0686; the sampler, arXiv:2303.01469.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn

from ..classical.fbp import fbp
from ..denoiser import EDMDenoiser, positions
from ..likelihoods.gaussian import GaussianLikelihood
from ..likelihoods.implicit import proximal
from ..modalities.ct.simulate import readings
from ..physics.ct import RECONSTRUCTION, ImageGrid, make_projector, parallel_geometry
from ..sampling.grids import poly_grid
from ..solvers.contract import clean_variance
from ..solvers.start import start_levels
from .averages import Averages
from .checkpoint import Run
from .data import TrainingSlices
from .optimiser import MuonWithAdam
from .sinograms import squared
from .train import TrainingStep, rate

SMALLEST = 192
"""Narrower slices are not scanned: a crop around a limb does not show the whole object."""
WATER = 0.02
"""Attenuation of water a pixel: pixels count as 1 mm, and the noise follows the largest line integral."""


@dataclass(frozen=True)
class FewStepSettings:
    """Calls of a reconstruction, its scans (views, noise in percent of the largest line integral) and the optimiser."""

    steps: int = 800
    calls: int = 4
    views: tuple[int, ...] = (8, 12, 16, 20, 30, 45, 60, 80)
    noise_percent: tuple[float, float] = (0.1, 0.4)
    sigma_end: float = 0.02
    ratio: float = 2.0
    sigma_bounds: tuple[float, float] = (0.1, 1.5)
    prior_variance: float = 1.0
    cg_iterations: int = 8
    cg_tolerance: float = 1e-3
    sigma_data: float = 0.5
    learning_rate: float = 6e-3
    warmup_steps: int = 50
    average_halflife_steps: int = 60
    clip_norm: float = 1.0
    seed: int = 0
    bf16: bool = True


@dataclass(frozen=True, eq=False)
class ScannedSlice:
    """A slice (1, n, n) in network units, its position channels (2, n, n), its data, and the start made of them."""

    clean: Tensor
    place: Tensor
    likelihood: GaussianLikelihood
    start: Tensor


def scanned_slice(
    source: TrainingSlices, k: int, views: int, noise_percent: float, generator: torch.Generator,
    device: torch.device | None = None,
) -> ScannedSlice:
    """Scan slice ``k`` with parallel beams over half a turn, see :func:`readings`, on ``device`` (the CPU)."""
    clean = squared(torch.from_numpy(source.values[k].astype("float32")), -1.0).clamp_min(-1.0)[None].to(device)
    size = clean.shape[-1]
    place = positions(size, size, (float(source.pixel_mm[k]),) * 2)
    grid = ImageGrid(size, size, (1.0, 1.0))
    geometry = parallel_geometry(grid, views)
    noiseless = readings(WATER * (clean + 1), geometry, grid)
    spread = noise_percent / 100 * noiseless.max()
    data = noiseless + spread * torch.randn(noiseless.shape, generator=generator).to(noiseless)
    start = fbp(data, geometry, grid).clamp_min(0) / WATER - 1
    projector = make_projector(geometry, grid, device=clean.device, interpolation=RECONSTRUCTION)
    return ScannedSlice(clean, place, GaussianLikelihood(projector, data, spread**2).scaled(WATER, 1.0), start)


def losses(
    student: EDMDenoiser, scanned: ScannedSlice, settings: FewStepSettings, generator: torch.Generator
) -> Iterator[Tensor]:
    """ln of the mean square error after each call of one reconstruction, each with a gradient of its own."""
    error = (scanned.start - scanned.clean).square().mean().sqrt()
    low, high = settings.sigma_bounds
    first, = start_levels(error[None], {"ratio": settings.ratio, "smallest": low, "largest": high})
    levels = poly_grid(first, settings.sigma_end, settings.calls).tolist()

    def noise() -> Tensor:
        return torch.randn(scanned.clean.shape, generator=generator).to(scanned.clean)

    x = scanned.start + first * noise()
    for sigma, following in pairwise(levels):
        seen = x[:, None].contiguous(memory_format=torch.channels_last)
        with torch.autocast(x.device.type, dtype=torch.bfloat16, enabled=settings.bf16):
            estimate = student(seen, torch.tensor([sigma], device=x.device), scanned.place)[:, 0]
        variance = clean_variance(sigma, settings.sigma_data, settings.prior_variance)
        clean = proximal(
            scanned.likelihood, estimate.float(), variance, settings.cg_iterations, settings.cg_tolerance
        )
        yield (clean - scanned.clean).square().mean().log()
        x = clean.detach() + following * noise()


def teach(
    network: nn.Module, sources: Sequence[TrainingSlices], settings: FewStepSettings,
    checkpoint: Path | None = None, save_every: int = 50,
) -> Iterator[TrainingStep]:
    """Teach ``network``, begun with the teacher's weights, one scan a step; afterwards it holds the average.

    ``checkpoint``: file of the whole state; an existing one is continued (bit-identical on the same CPU). Raises
    ValueError where no slice is wide enough or the checkpoint's settings differ, FloatingPointError when the loss stops
    being finite.
    """
    wide = [s for s in sources if min(s.values.shape[1:]) >= SMALLEST]
    if not wide:
        raise ValueError(f"no training slice of {SMALLEST} x {SMALLEST} pixels or more: give whole slices of CT")
    weights = torch.tensor([s.weight for s in wide], dtype=torch.float64)
    device = next(network.parameters()).device
    student = EDMDenoiser(
        network.to(memory_format=torch.channels_last), settings.sigma_data,  # type: ignore[call-overload]
    )
    optimiser = MuonWithAdam(network, settings.learning_rate)
    generator = torch.Generator().manual_seed(settings.seed)
    averages = Averages(network, (settings.average_halflife_steps,))
    run = Run(network, optimiser, generator, averages, settings, checkpoint, save_every)
    low, high = settings.noise_percent
    for step in range(run.resume(), settings.steps):
        source = wide[int(torch.multinomial(weights, 1, generator=generator))]
        k = int(torch.randint(len(source.values), (1,), generator=generator))
        views = settings.views[int(torch.randint(len(settings.views), (1,), generator=generator))]
        percent = low * (high / low) ** float(torch.rand(1, generator=generator))
        scanned = scanned_slice(source, k, views, percent, generator, device)
        loss = torch.stack(list(losses(student, scanned, settings, generator))).mean()
        run.advance(loss, step, rate(settings, step))
        yield TrainingStep(step + 1, settings.steps, loss.item(), rate(settings, step))
    network.load_state_dict(averages.values[settings.average_halflife_steps])
