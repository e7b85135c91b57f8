"""deepinv's samplers on the masked Fourier problem, at their own defaults, as rows of the truth table.

deepinv expects images in 0 to 1: the problem is moved there by x -> x / 4 + 1/2, so that its clips lie four standard
deviations away, and its exact denoiser with it. Its import needs torchvision, of which the samplers use nothing: where
torchvision does not fit the installed torch, empty names stand in for it.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import sys
import time
import types
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from truth_problems import Case, TruthProblem
from truth_scans import HartleyMask, hartley

SCALE, OFFSET = 4.0, 0.5
DRAWS = 200


class _Empty(types.ModuleType):
    """A module in which every name is a class that does nothing."""

    __path__: Sequence[str] = []

    def __getattr__(self, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


class _EmptyFinder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name: str, path: Any, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        if name.split(".")[0] != "torchvision":
            return None
        return importlib.machinery.ModuleSpec(name, self, is_package=True)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        return _Empty(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        pass


def import_deepinv() -> Any:
    """The package; raises ImportError when it is not installed."""
    try:
        import torchvision  # noqa: F401
    except (ImportError, RuntimeError):
        for name in [n for n in sys.modules if n.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        sys.meta_path.insert(0, _EmptyFinder())
    import deepinv

    return deepinv


def peer_rows(problem: TruthProblem, score: Callable[..., dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Rows for the first and the last measurement joined as for our own solvers: the worst is kept by the caller."""
    deepinv = import_deepinv()
    for name in ("DDRM", "DiffPIR", "DPS", "PiGDM"):
        scores, calls, began = [], 0, time.perf_counter()
        for case in problem.cases:
            denoiser = _denoiser(deepinv, problem.denoiser)
            torch.manual_seed(0)
            draws = _sample(deepinv, name, denoiser, case)
            calls = denoiser.calls
            scores.append(score((draws[:, 0] - OFFSET) * SCALE, case.truth))
        seconds = (time.perf_counter() - began) / len(problem.cases) / DRAWS
        yield {"solver": f"deepinv {name}", "scores": scores, "forwards": calls, "seconds": round(seconds, 4)}


def _denoiser(deepinv: Any, exact: Any) -> Any:
    class Exact(deepinv.models.Denoiser):
        def __init__(self) -> None:
            super().__init__()
            self.calls = 0

        def forward(self, x: Tensor, sigma: Any, *arguments: Any, **options: Any) -> Tensor:
            self.calls += 1
            level = torch.as_tensor(sigma, dtype=x.dtype).reshape(-1) * SCALE
            return exact((x - OFFSET) * SCALE, level.expand(x.shape[0])) / SCALE + OFFSET

    return Exact()


def _sample(deepinv: Any, name: str, denoiser: Any, case: Case) -> Tensor:
    operator = case.likelihood.operator
    assert isinstance(operator, HartleyMask)
    noise = float(case.likelihood.variance.sqrt()) / SCALE
    physics = deepinv.physics.DecomposablePhysics(
        U=lambda y: y, U_adjoint=lambda y: y, V=hartley, V_adjoint=hartley, mask=operator.mask[None, None],
        noise_model=deepinv.physics.GaussianNoise(noise),
    )
    shifted = case.likelihood.data / SCALE + operator.forward(torch.full_like(case.likelihood.data, OFFSET))
    data = shifted[None].expand(DRAWS, *shifted.shape).clone()
    if name == "DDRM":
        return deepinv.sampling.DDRM(denoiser)(data, physics)
    if name == "DiffPIR":
        return deepinv.sampling.DiffPIR(denoiser, deepinv.optim.data_fidelity.L2(), sigma=noise)(data, physics)
    if name == "DPS":
        return deepinv.sampling.DPS(denoiser, num_steps=1000)(data, physics).float()
    sampling = deepinv.sampling
    times = torch.linspace(1, 0.001, 100, dtype=torch.float64)
    posterior = sampling.PosteriorDiffusion(
        data_fidelity=sampling.PiGDMDataFidelity(denoiser=denoiser), denoiser=denoiser,
        sde=sampling.VariancePreservingDiffusion(), solver=sampling.EulerSolver(timesteps=times),
    )
    return posterior(data, physics, x_init=(DRAWS, 1, *operator.in_shape)).float()
