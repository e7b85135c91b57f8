"""The report of a run: what was done, with what, how well, and what may not be concluded from it."""

from __future__ import annotations

import platform
import time
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch

from .. import __version__, metrics
from ..modalities.contract import DIFFUSION
from ..modalities.prepared import Prepared
from ..posterior.calibration import Calibration
from ..posterior.gate import Gate
from ..posterior.residual import ResidualTest
from ..priors.library import Prior
from ..solvers.catalogue import method_named
from ..solvers.effort import Efforts
from .settings import Settings
from .surer import surer

SPREAD_NOTES = {
    "near-posterior": (
        "The uncertainty is the spread of draws ({solver}): their mean and spread are near those of the posterior "
        "under this prior, but the method missed the limits of the truth test where distinct anatomies fit the data, "
        "which it weighs too evenly; do not read the spread as an error bar."
    ),
    "concentrated": (
        "The uncertainty is the spread of concentrated estimates ({solver}): it shows where the prior had to decide, "
        "but not how large the error is: with most of these methods it is narrower than the true error; do not read "
        "it as a posterior standard deviation."
    ),
}
"""What must be said of draws by the label of their method, where no calibration mends their spread."""


NOT_MOVED = (
    "Mean and samples were not moved by the pull of the data: by how much is not known for this acquisition, so small "
    "faint lesions may have lost more of their contrast than where it is."
)
MOVED = (
    "Mean and samples were moved by {gain:g} times the pull of the data, that is how much they differ from a sample "
    "whose prior counts in full: so much brings back small lesions that were inserted into held-out slices."
)


@dataclass
class Tally:
    """What a run accumulates: images by key and slice, seconds a method, work done, scores of the slices, verdicts.

    ``gain``: of the pull of the data, by which the mean was moved, see :mod:`.surer`; ``unknown_gain``: no card says.
    """

    images: dict[str, np.ndarray]
    seconds: dict[str, float] = field(default_factory=dict)
    done: float = 0.0
    total: float = 1.0
    plan: dict[str, Any] = field(default_factory=dict)
    sigma_start: list[float] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    tests: list[ResidualTest] = field(default_factory=list)
    gate: Gate | None = None
    calibration: Calibration | None = None
    efforts: Efforts = field(default_factory=Efforts)
    maps: dict[str, dict[str, Any]] = field(default_factory=dict)
    gain: float = 0.0
    unknown_gain: bool = False

    @property
    def fraction(self) -> float:
        """Part of the run that is done, below 1."""
        return min(0.99, 0.01 + 0.98 * self.done / self.total)

    def spend(self, method: str, since: float) -> None:
        self.seconds[method] = self.seconds.get(method, 0.0) + time.perf_counter() - since


def make_report(
    problem: Prepared[Any], settings: Settings, prior: Prior | None, tally: Tally, seconds: float
) -> dict[str, Any]:
    """The report as JSON values; see the keys below."""
    names = {"mean": DIFFUSION}
    scores: dict[str, dict[str, Any]] = {}
    for test in tally.tests:
        name = names.get(test.kind, test.kind)
        scores[name] = {"residual_ratio": round(test.ratio, 4), "seconds": round(tally.seconds.get(name, 0.0), 3)}
        scores[name].update(_quality(problem, settings, tally.images[test.kind]))
    if "fallback" in tally.images:
        image = tally.images["fallback"]
        ratio = float(problem.residuals(image).mean())
        scores["fallback"] = {"residual_ratio": round(ratio, 4), "seconds": 0.0, **_quality(problem, settings, image)}
    spread = method_named(settings.solver).spread_for(settings.modality, settings.options)
    notes = list(problem.notes)
    rescaled = tally.calibration is not None and tally.calibration.entry is not None
    if prior is not None and settings.draws > 1 and spread in SPREAD_NOTES and not rescaled:
        notes.append(SPREAD_NOTES[spread].format(solver=settings.solver.upper()))
    if problem.reference is not None and not _allows_ssim(problem):
        notes.append(f"The images have fewer than {metrics.SSIM_WINDOW} pixels one way: no SSIM is given.")
    if tally.gain:
        unlike = tally.gate is not None and not tally.gate.passed
        notes.append(MOVED.format(gain=tally.gain) + (" This image is unlike those." if unlike else ""))
    elif surer(settings) is not None and tally.unknown_gain:
        notes.append(NOT_MOVED)
    notes += [] if tally.efforts.sentence is None else [tally.efforts.sentence]
    notes += [verdict.sentence for verdict in (tally.calibration, tally.gate) if verdict is not None]
    notes += [test.statement for test in tally.tests]
    notes += [found["sentence"] for found in tally.maps.values()]
    return {
        "modality": settings.modality,
        "method": settings.solver if prior is not None else settings.methods[-1],
        "prior": prior.card.name if prior is not None else None,
        "gain": tally.gain,
        "seed": settings.seed,
        "draws": settings.draws if prior is not None else 0,
        "solver": settings.solver if prior is not None else None,
        "preset": settings.preset,
        "precision": ("bfloat16" if prior.bf16 else "float32") if prior is not None else None,
        "spread": spread if prior is not None else None,
        "gate": None if tally.gate is None else asdict(tally.gate),
        "calibration": None if tally.calibration is None else tally.calibration.to_dict(),
        "seconds": round(seconds, 3),
        "peak_memory_mb": None,
        "metrics": scores,
        "files": {},
        "forecast": tally.plan,
        "residual_tests": [
            {
                "kind": t.kind, "ratio": t.ratio, "accepted": t.accepted, "explains": t.explains, "passed": t.passed,
                "advice": t.advice, "per_view": t.per_group, "group": t.group, "smooth": t.smooth,
                "misfit": t.misfit, **({"further": dict(t.further)} if t.further else {}),
            }
            for t in tally.tests
        ],
        "maps": tally.maps,
        "sigma_start": tally.sigma_start,
        "data_steps": tally.efforts.to_dict(),
        "intensity": {"unit": problem.scale.unit, **problem.delivered.conversion},
        "geometry": problem.describe(),
        "noise_std": problem.delivered.noise_std,
        "settings": settings.to_dict(),
        "prior_sha256": prior.card.sha256 if prior is not None else None,
        "device": str(problem.device),
        "versions": {
            "diffusion_engine": __version__, "torch": torch.__version__, "numpy": np.__version__,
            "python": platform.python_version(),
        },
        "remarks": [asdict(remark) for remark in problem.remarks],
        "notes": notes,
    }


def _quality(problem: Prepared[Any], settings: Settings, image: np.ndarray) -> dict[str, float]:
    """PSNR and SSIM of the delivered part, where there is a reference, and it is large enough."""
    if problem.reference is None:
        return {}
    image, reference = problem.cropped(problem.shown(image)), problem.cropped(problem.reference)
    trust = settings.entry.trust
    usual = trust.value_range * trust.unit(problem.scale)
    quality = {"psnr": round(metrics.psnr(image, reference, usual), 3)}
    if _allows_ssim(problem):
        quality["ssim"] = round(metrics.ssim(image, reference, usual), 4)
    return quality


def _allows_ssim(problem: Prepared[Any]) -> bool:
    assert problem.reference is not None
    return min(problem.cropped(problem.reference).shape[1:]) >= metrics.SSIM_WINDOW
