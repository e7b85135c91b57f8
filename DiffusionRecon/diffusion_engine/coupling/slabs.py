"""DDS of stacks that do not fit in memory: the state lives in files, a slab of slices at a time is worked on.

Each step goes over the stack slab by slab, so that slices can be tied to their neighbours at every noise level. On
disk lie the state x, mean and squares of the draws, the denoiser's estimate, how much it changes and, with z-TV, the
duals: six volumes at most, float32. In memory is one slab.

Without z-TV a slice's result depends on its own data and its own noise (:mod:`.shared_noise`, shared along z or not)
alone: slabs of any size give what the whole stack gives, bit for bit, as far as denoiser and projector treat an image
alike in batches of any size (the stored projection matrix sums in another order below four slices), and with products
up to the tolerance of the conjugate gradients, which end for all images of a slab together. With z-TV the
proximal step sees ``halo`` slices beyond either end of its slab. What a slice does to another falls quickly with their
distance, and a slab's result approaches the whole stack's, up to the tolerance of the conjugate gradients.

Source of the steps: see solvers/dds.py; of the moments: doi:10.1080/00401706.1962.10490022.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..likelihoods.gaussian import GaussianLikelihood
from ..priors.denoiser import Denoiser
from ..sampling.grids import poly_grid
from ..sampling.movers import ddim
from ..sampling.noise import numbered_draws
from ..solvers.contract import denoise, finite
from ..solvers.dds import DDSSettings, corrected
from ..solvers.local_variance import LocalVariance
from .shared_noise import SliceNoise
from .ztv import NO_COVARIANCE, ztv_proximal

Part = Callable[[slice], GaussianLikelihood]
Start = Callable[[slice], Tensor]


@dataclass(frozen=True)
class SlabSettings:
    """``slices`` of a slab, at most; z-TV: ``weight`` (0: none), ``sweeps``, and ``halo`` slices beyond either end."""

    slices: int = 16
    weight: float = 0.0
    sweeps: int = 2
    halo: int = 6

    def __post_init__(self) -> None:
        if self.slices < 1 or not self.weight >= 0 or self.sweeps < 1 or self.halo < 1:
            raise ValueError(
                f"slabs need 1 slice or more, a weight of 0 or more, 1 sweep and 1 halo slice or more, found {self}: "
                "correct them"
            )


class StoredVolume:
    """A float32 volume in a .npy file, zero at first, of which slabs are read and written; nothing stays mapped."""

    def __init__(self, path: Path, shape: tuple[int, int, int]) -> None:
        self.path, self.shape = path, shape
        np.lib.format.open_memmap(path, "w+", np.float32, shape).flush()

    def read(self, part: slice) -> Tensor:
        """A copy of some slices."""
        return torch.from_numpy(np.array(np.load(self.path, mmap_mode="r")[part]))

    def write(self, part: slice, images: Tensor) -> None:
        """Replace some slices; raises ValueError where the shapes differ."""
        stored = np.load(self.path, mmap_mode="r+")
        if stored[part].shape != tuple(images.shape):
            raise ValueError(f"expected slices of shape {stored[part].shape}, found {tuple(images.shape)}: see {part}")
        stored[part] = images.detach().cpu().numpy()
        stored.flush()


@dataclass(frozen=True, eq=False)
class SlabStep:
    """A slab of a step of a draw is done: ``draw``, ``step``, ``slab`` from 1 of ``draws``, ``steps``, ``slabs``."""

    draw: int
    draws: int
    step: int
    steps: int
    slab: int
    slabs: int
    sigma: float


class SlabRun:
    """A run over a stack of ``shape`` (slices, rows, columns), its files in ``folder``, network units.

    ``part``: the likelihood of some slices; ``start``: their classical images (slices, rows, columns); both are asked
    again for every slab, so they can read from disk. ``noise``: its first slice, call and period are those of the
    whole stack, and a run takes the same numbers from it as :func:`dds` does. Files are overwritten.
    """

    def __init__(
        self, shape: tuple[int, int, int], folder: Path, part: Part, start: Start, slabs: SlabSettings,
        device: torch.device | str = "cpu",
    ) -> None:
        if min(shape) < 1:
            raise ValueError(f"expected a stack (slices, rows, columns) of at least one voxel each way, found {shape}")
        folder.mkdir(parents=True, exist_ok=True)
        self.shape, self.folder, self.part, self.start, self.slabs = shape, folder, part, start, slabs
        self.device = torch.device(device)
        self.state = StoredVolume(folder / "state.npy", shape)
        self.moments = [StoredVolume(folder / f"{name}.npy", shape) for name in ("mean", "squares")]
        self.estimate, self.change = (StoredVolume(folder / f"{name}.npy", shape) for name in ("estimate", "change"))
        self.draws = 0
        if slabs.weight > 0:
            self.dual = StoredVolume(folder / "dual.npy", shape)

    def parts(self) -> list[slice]:
        """The slabs, in order, whose sizes differ by one slice at most."""
        count = -(-self.shape[0] // self.slabs.slices)
        bounds = [n * self.shape[0] // count for n in range(count + 1)]
        return [slice(a, b) for a, b in pairwise(bounds)]

    def draw(
        self, denoiser: Denoiser, settings: DDSSettings, noise: SliceNoise, draws: int = 1,
        condition: Tensor | None = None,
    ) -> Iterator[SlabStep]:
        """``draws`` draws into the moments, a slab of a step at a time; ``state`` then holds the last draw.

        Raises ValueError for the covariance of the network together with z-TV, FloatingPointError where an estimate is
        not finite.
        """
        if self.slabs.weight > 0 and settings.products > 0:
            raise ValueError(NO_COVARIANCE)
        levels = poly_grid(settings.sigma_start, settings.sigma_end, settings.steps).tolist()
        parts = self.parts()
        for number in numbered_draws(noise, draws, settings.antithetic):
            self._begin(levels[0], noise, noise.take())
            for index in range(settings.steps):
                sigma, following, call = levels[index], levels[index + 1], noise.take()
                cold = index == 0
                if self.slabs.weight > 0:
                    for part in parts:
                        self._estimate(part, denoiser, settings, sigma, index, condition)
                carried = None
                for n, part in enumerate(parts, 1):
                    if self.slabs.weight > 0:
                        x, estimate = self._read(self.state, part), self._read(self.estimate, part)
                        clean, carried = self._coupled(part, sigma, settings, cold, carried)
                    else:
                        x, local = self._known(part, index)
                        estimate, clean = corrected(
                            denoiser, self.part(part), x, sigma, index, settings, local, condition
                        )
                        self._keep(part, local)
                    fresh = noise.part(call, part.start, x)
                    # The last level is 0: what is left in the state is the result.
                    moved = ddim(x, estimate, clean, sigma, following, settings.eta, fresh)
                    self.state.write(part, moved if following > 0 else clean)
                    yield SlabStep(number, draws, index + 1, settings.steps, n, len(parts), sigma)
            self._add()

    def std(self, part: slice) -> Tensor:
        """Standard deviation of the draws with n - 1 of some slices; raises ValueError below two draws."""
        if self.draws < 2:
            raise ValueError("a spread needs at least 2 draws")
        return (self.moments[1].read(part) / (self.draws - 1)).sqrt()

    def mean(self, part: slice) -> Tensor:
        """Mean of the draws of some slices; raises ValueError without a draw."""
        if self.draws < 1:
            raise ValueError("no draw yet: the mean of nothing is undefined")
        return self.moments[0].read(part)

    def _begin(self, sigma: float, noise: SliceNoise, call: int) -> None:
        """The state of a new draw: the start with noise of the first level."""
        for part in self.parts():
            start = self.start(part).to(self.device)
            fresh = noise.part(call, part.start, start)
            self.state.write(part, start + sigma * fresh)

    def _estimate(
        self, part: slice, denoiser: Denoiser, settings: DDSSettings, sigma: float, index: int,
        condition: Tensor | None,
    ) -> None:
        """Store the estimate of call ``index`` of a draw, of a slab, and how much it changed."""
        x, local = self._known(part, index)
        local.update(denoise(denoiser, x, sigma, condition, settings.mirrors(index)), sigma)
        self._keep(part, local)

    def _known(self, part: slice, index: int) -> tuple[Tensor, LocalVariance]:
        """The state of a slab before call ``index`` of a draw, and what is known of its estimates."""
        x = self._read(self.state, part)
        if index == 0:
            return x, LocalVariance()
        return x, LocalVariance(self._read(self.estimate, part), self._read(self.change, part))

    def _keep(self, part: slice, local: LocalVariance) -> None:
        """Store the last estimate of a slab and how much it changed."""
        assert local.previous is not None
        assert local.change is not None
        self.estimate.write(part, local.previous)
        self.change.write(part, local.change)

    def _coupled(
        self, part: slice, sigma: float, settings: DDSSettings, cold: bool, carried: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """The proximal step with z-TV of a slab and its halo: its own slices, and the duals that the next needs.

        Dual k belongs to the difference of slices k and k + 1. ``carried``: the duals of the lower halo as they were
        before the slab below replaced them, so that all slabs of a step start from the same ones; ``cold``: there are
        none yet.
        """
        low, high = max(0, part.start - self.slabs.halo), min(self.shape[0], part.stop + self.slabs.halo)
        wide = slice(low, high)
        dual = self._read(self.dual, slice(low, high - 1))
        if carried is not None:
            dual[: part.start - low] = carried
        variance = settings.variance(sigma, self._read(self.change, wide))
        clean, new = ztv_proximal(
            self.part(wide), self._read(self.estimate, wide), variance, self.slabs.weight,
            None if cold else dual, self.slabs.sweeps, settings.cg_iterations, settings.cg_tolerance,
        )
        last = min(part.stop, high - 1)
        self.dual.write(slice(part.start, last), new[part.start - low : last - low])
        following = max(0, part.stop - self.slabs.halo)
        return finite(clean[part.start - low : part.stop - low], sigma), dual[following - low : last - low]

    def _add(self) -> None:
        """Welford's update by the finished draw, slab by slab."""
        self.draws += 1
        mean, squares = self.moments
        for part in self.parts():
            image, old = self.state.read(part), mean.read(part)
            new = old + (image - old) / self.draws
            squares.write(part, squares.read(part) + (image - old) * (image - new))
            mean.write(part, new)

    def _read(self, volume: StoredVolume, part: slice) -> Tensor:
        return volume.read(part).to(self.device)
