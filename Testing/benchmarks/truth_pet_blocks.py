"""The small PET with activities near 0: blocks of an exponential law, whose posterior is skewed and ends at 0.

    x = B a,  a_k ~ Exp(mean q) each on its own,  y ~ Poisson(A x + b),   B: blocks of 4 x 4 pixels

The noise of a block of n pixels lies in its mean t alone, of standard deviation s = sigma / sqrt(n), and a_k given t is
N(t - s^2 / q, s^2) beyond 0: the denoiser is its mean, in closed form. The reference takes Hamiltonian moves in w with
a = -q ln Phi(-u), which is exponential where u is standard normal, and u = u_map + H^-1/2 w.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from diffusion_engine.denoiser import as_column
from diffusion_engine.sampling.hamiltonian import Chain, hamiltonian_move
from diffusion_engine.sampling.noise import seeded
from torch import Tensor
from torch.special import log_ndtr
from truth_chain import checked
from truth_pet import CHAINS, SIZE, TRUES, counted, scan
from truth_problems import Case, Truth, TruthProblem, sampled_content

MEAN, BLOCK = 0.5, 4
LENGTH, BURN, LEAPS = 800, 200, 12
"""Of the reference: moves of each chain that count, those before them, which find the step, and leaps of each at most:
their number is random, as a fixed one would bring some directions back to where they began."""


def pet_blocks(
    draws: int = 400, trues: tuple[int, ...] = TRUES, size: int = SIZE, length: int = LENGTH
) -> TruthProblem:
    """Blocks of 16 mm whose activity is exponential with mean and standard deviation 0.5: many are near 0."""
    cases = [_case(size, total, 110 + number, length) for number, total in enumerate(trues)]
    return TruthProblem("pet_blocks", BlockDenoiser(), cases, draws, False, "pet")


@dataclass(frozen=True)
class BlockDenoiser:
    """E[x | x + sigma z] of images (batch, 1, rows, columns) of exponential blocks: exact, and never below 0."""

    mean: float = MEAN
    block: int = BLOCK

    def __call__(self, x: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
        s = as_column(sigma, x).double() / self.block
        centre = blocks(x.double(), self.block) - s**2 / self.mean
        z = centre / s
        # E of N(c, s^2) beyond 0 is c + s phi(c / s) / Phi(c / s).
        clean = s * (z + torch.exp(-z.square() / 2 - math.log(2 * math.pi) / 2 - log_ndtr(z)))
        return spread(clean, self.block).to(x)


def blocks(x: Tensor, block: int = BLOCK) -> Tensor:
    """Means of the blocks: (..., rows, columns) to (..., rows / block, columns / block)."""
    *before, rows, columns = x.shape
    return x.reshape(*before, rows // block, block, columns // block, block).mean((-3, -1))


def spread(a: Tensor, block: int = BLOCK) -> Tensor:
    """B a: each value over its block."""
    return a.repeat_interleave(block, -1).repeat_interleave(block, -2)


@dataclass(frozen=True, eq=False)
class BlocksAround:
    """E = -log p(u | y) of u = peak + root w; ``matrix`` A B (readings, blocks); all float64."""

    matrix: Tensor
    background: Tensor
    counts: Tensor
    peak: Tensor
    root: Tensor

    @classmethod
    def of(cls, matrix: Tensor, background: Tensor, counts: Tensor) -> BlocksAround:
        """Around the peak, by Fisher scoring with steps that lower E."""
        count = matrix.shape[1]
        own = cls(matrix, background, counts, torch.zeros(count).double(), torch.eye(count).double())
        hessian, rest = own.root, torch.zeros(1, count).double()
        for _ in range(200):
            change = own.change(rest)[0]
            expected = activity(own.peak) @ matrix.T + background
            hessian = change[:, None] * ((matrix.T / expected) @ matrix) * change + torch.eye(count).double()
            move = torch.linalg.solve(hessian, own.slope(rest)[0])
            if float(move.abs().max()) < 1e-6:
                break
            while own.energy(-move[None]) > own.energy(rest):
                move = move / 2
            own = replace(own, peak=own.peak - move)
        values, vectors = torch.linalg.eigh(hessian)
        return replace(own, root=vectors * values.rsqrt() @ vectors.T)

    def at(self, w: Tensor) -> Tensor:
        """u of w: (n, blocks)."""
        return self.peak + w @ self.root

    def change(self, w: Tensor) -> Tensor:
        """da / du = q phi(u) / Phi(-u) of each."""
        u = self.at(w)
        return MEAN * torch.exp(-u.square() / 2 - math.log(2 * math.pi) / 2 - log_ndtr(-u))

    def energy(self, w: Tensor) -> Tensor:
        """E, (n,)."""
        u = self.at(w)
        expected = activity(u) @ self.matrix.T + self.background
        return u.square().sum(-1) / 2 + (expected - self.counts * expected.log()).sum(-1)

    def slope(self, w: Tensor) -> Tensor:
        """dE / dw, (n, blocks)."""
        u = self.at(w)
        share = 1 - self.counts / (activity(u) @ self.matrix.T + self.background)
        return (u + self.change(w) * (share @ self.matrix)) @ self.root

    def draws(self, length: int, seed: int, burn: int = BURN) -> tuple[Tensor, dict[str, Any]]:
        """Activities (n, blocks) of the posterior, and the chains' own checks."""
        noise, generator = seeded(seed), torch.Generator().manual_seed(seed)
        count = len(self.peak)
        chain = Chain(
            torch.zeros(CHAINS, count).double(), torch.full((CHAINS,), 0.2).double(), torch.zeros(CHAINS).bool()
        )
        kept = []
        for move in range(burn + length):
            leaps = int(torch.randint(1, LEAPS + 1, (1,), generator=generator))
            chain = hamiltonian_move(chain, self.energy, self.slope, leaps, noise, move < burn)
            if move >= burn:
                kept.append(self.at(chain.position))
        u, checks = checked(torch.stack(kept, 1))
        return activity(u), checks


def activity(u: Tensor) -> Tensor:
    """a = -q ln Phi(-u), exponential of mean q where u is standard normal."""
    return -MEAN * log_ndtr(-u)


def _case(size: int, trues: int, seed: int, length: int) -> Case:
    generator = torch.Generator().manual_seed(seed)
    count = size // BLOCK
    values = -MEAN * torch.rand(1, count, count, generator=generator).log()
    image = spread(values)
    likelihood = scan(image, None, trues, generator)
    eye = torch.eye(count * count).reshape(-1, count, count)
    matrix = likelihood.operator.forward(spread(eye)).double().flatten(1).T
    background, counts = (part.double().flatten() for part in (likelihood.background, likelihood.data))
    samples, checks = BlocksAround.of(matrix, background, counts).draws(length, seed)
    expected = matrix @ samples.mean(0) + background
    information, directions = torch.linalg.eigh(MEAN**2 * (matrix.T / expected) @ matrix)
    seen = samples @ directions / MEAN
    truth = Truth(
        lambda x: blocks(x.double()).flatten(1) @ directions / MEAN, seen.mean(0), seen.var(0), information > 1,
        sampled_content(spread(samples.float().reshape(-1, count, count)).flatten(1)),
    )
    remarks = {"trues": trues, "measured_directions": int((information > 1).sum()), **checks}
    return counted(likelihood, image, truth, remarks)


BLOCKS: dict[str, Callable[..., TruthProblem]] = {"pet_blocks": pet_blocks}
