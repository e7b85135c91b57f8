"""Processes of one machine that train a network together, each on a part of every step's patches.

    loss = sum_r (n_r / n) loss_r,    its gradient likewise,    n_r of a step's n patches in process r

Every process draws the whole step with the same random numbers and takes its part, so that the result is that of one
process but for rounding. The threads of one process wait for each other in every layer, processes only once a step.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, distributed, nn

from ..safe_path import no_current_folder
from .augment import Variants
from .batches import Batch


@dataclass(frozen=True)
class Team:
    """The place of this process, from 0, among all ``size``; the first one writes the files."""

    rank: int = 0
    size: int = 1

    def part(self, batch: Batch) -> tuple[Batch, float]:
        """This process's patches of a step, and their share of all; the batch itself where there is no other."""
        if self.size == 1:
            return batch, 1.0
        mine = slice(self.rank, None, self.size)
        variants = batch.variants and Variants(*(each[mine] for each in vars(batch.variants).values()))
        sigma = batch.sigma[mine]
        part = replace(
            batch, clean=batch.clean[mine], place=batch.place[mine], sigma=sigma, noise=batch.noise[mine],
            variants=variants,
        )
        return part, len(sigma) / len(batch.sigma)

    def total(self, value: Tensor) -> Tensor:
        """Sum of a tensor over the processes; raises ChildProcessError when one of them is gone."""
        if self.size > 1:
            try:
                distributed.all_reduce(value)
            except RuntimeError as error:
                raise ChildProcessError(
                    "another process of the training ended: start it again to go on from its checkpoint"
                ) from error
        return value

    def total_gradients(self, network: nn.Module) -> None:
        """Put the sum over the processes in place of every gradient."""
        if self.size == 1:
            return
        gradients = [p.grad for p in network.parameters() if p.grad is not None]
        whole = self.total(torch.cat([gradient.reshape(-1) for gradient in gradients]))
        for gradient, summed in zip(gradients, whole.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(summed.reshape(gradient.shape))


ALONE = Team()


def check_team(size: int, device: torch.device, counts: Sequence[int]) -> None:
    """Raise ValueError where ``size`` processes cannot share steps of so many patches (``counts``)."""
    if size < 1:
        raise ValueError(f"expected 1 process or more, found {size}: choose more")
    if size > 1 and device.type != "cpu":
        raise ValueError(f"several processes share a processor, not a device {device.type}: choose --processes 1")
    if size > min(counts):
        raise ValueError(
            f"a step of {min(counts)} patches cannot be shared by {size} processes: ask for more pixels in a step "
            "(--pixels) or for fewer processes"
        )


@contextmanager
def gathered(size: int, assist: Callable[..., None], arguments: Sequence[Any]) -> Iterator[Team]:
    """This process as the first of a team, whose others call ``assist(team, *arguments)`` meanwhile.

    The threads of this process are divided among all. Raises ChildProcessError when one ends before the work begins.
    """
    if size == 1:
        yield ALONE
        return
    threads = torch.get_num_threads()
    each = max(1, threads // size)
    spawning = multiprocessing.get_context("spawn")
    helpers = []
    current = os.getcwd()
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        meeting = (Path(folder) / "meeting").as_uri()
        try:
            for rank in range(1, size):
                here, there = spawning.Pipe(duplex=False)
                helper = spawning.Process(
                    target=_help, args=(Team(rank, size), meeting, each, there, current, assist, arguments),
                    daemon=True,
                )
                with no_current_folder(Path(folder)):
                    helper.start()
                there.close()
                helpers.append((helper, here))
            for _, here in helpers:
                try:
                    here.recv()
                except EOFError:
                    raise ChildProcessError("another process of the training could not start: choose fewer") from None
            torch.set_num_threads(each)
            distributed.init_process_group("gloo", init_method=meeting, rank=0, world_size=size)
            yield Team(0, size)
        finally:
            torch.set_num_threads(threads)
            if distributed.is_initialized():
                distributed.destroy_process_group()
            for helper, _ in helpers:
                helper.terminate()
                helper.join()


def _help(
    team: Team, meeting: str, threads: int, told: Connection, current: str, assist: Callable[..., None],
    arguments: Sequence[Any],
) -> None:
    os.chdir(current)  # where the paths of the arguments begin
    torch.set_num_threads(threads)
    told.send("here")
    distributed.init_process_group("gloo", init_method=meeting, rank=team.rank, world_size=team.size)
    assist(team, *arguments)
