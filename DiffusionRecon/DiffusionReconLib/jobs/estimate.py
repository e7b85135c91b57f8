"""What a run will take, said before it starts: an estimate from the last run's rate, without torch.

    seconds = start + (slices + 1) pixels (draws calls u_call + iterations u_classical)

with the units u (seconds a pixel) from the last run on this computer, else from two cores of a plain one. The run's
own forecast, measured on its data, replaces it as soon as the run has begun.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from diffusion_engine.modalities.table import FIRST
from diffusion_engine.run.settings import Settings
from diffusion_engine.run.surer import surer_work
from diffusion_engine.solvers.listing import Listed, listed_method, working_megabytes
from slicer.i18n import tr as _

MEGAPIXEL = 1e6
CLASSICAL_SHARE = 0.02
"""Cost of an iteration of a classical image relative to a step with the network, measured on a CPU."""
SURROGATE_ITERATIONS = 60


@dataclass(frozen=True)
class Rate:
    """How fast this computer is: seconds before the first slice, seconds a step and megapixel; memory at rest.

    `precision` of the network in the run that told it, "" where that is not known.
    """

    startSeconds: float = 8.0
    stepSeconds: float = 2.5
    baseMegabytes: float = 900.0
    device: str = "cpu"
    precision: str = ""

    @staticmethod
    def fromDict(content: Any) -> Rate:
        """A stored rate, the default one where it is damaged."""
        try:
            rate = Rate(**content)
            numbers = (rate.startSeconds, rate.stepSeconds, rate.baseMegabytes)
            return rate if all(math.isfinite(n) and n >= 0 for n in numbers) else Rate()
        except TypeError:
            return Rate()

    def toDict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


@dataclass(frozen=True)
class Estimate:
    """One line for the user; `fits` is False when the run cannot have the memory it needs."""

    text: str
    fits: bool
    seconds: float


def stepsOf(settings: Mapping[str, Any]) -> float:
    """A run's work for one pixel, in steps with the network."""
    asked = Settings.from_dict(settings)
    fallback = asked.entry.fallback
    shown = fallback in asked.methods
    classical = CLASSICAL_SHARE * (asked.iterations(fallback) if shown else SURROGATE_ITERATIONS * asked.draws_images)
    if not asked.draws_images:
        return classical
    work = asked.draws * methodOf(settings).draw_work(asked.steps, asked.options)
    return classical + work + surer_work(asked)


def methodOf(settings: Mapping[str, Any]) -> Listed:
    """The diffusion method of a run, the usual one where none is named."""
    return listed_method(settings.get("solver", "dds"), settings.get("modality", FIRST))


def rateOf(report: Mapping[str, Any], slices: int) -> Rate | None:
    """The rate that a finished run of some slices had; None when its report does not tell."""
    try:
        geometry, settings = report["geometry"], report["settings"]
        pixels = geometry["rows"] * geometry["columns"] / MEGAPIXEL
        spent = sum(entry["seconds"] for entry in report["metrics"].values())
        work = slices * pixels * stepsOf(settings)
        start = max(0.0, report["seconds"] - spent * (slices + 1) / slices)
        if work <= 0 or spent <= 0:
            return None
        return Rate(start, spent / work, max(300.0, report["peak_memory_mb"] or 900.0), str(report["device"]),
                    str(report.get("precision") or ""))
    except (KeyError, TypeError, ValueError):
        return None


def estimate(
    settings: Mapping[str, Any], shape: tuple[int, int, int], rate: Rate, calibrated: bool,
    freeMegabytes: float | None = None,
) -> Estimate:
    """What a run of `shape` (slices, rows, columns), at the resolution that is worked on, will take.

    `freeMegabytes`: memory to fit in, by default what is free now (not asked before psutil is installed).
    """
    from diffusion_engine.jobs.forecast import MicroRun, forecast

    slices, rows, columns = shape
    steps = stepsOf(settings)
    units = slices * (settings.get("draws", 4) if "diffusion" in settings.get("methods", ("diffusion",)) else 1)
    seconds = (slices + 1) * rows * columns / MEGAPIXEL * steps * rate.stepSeconds
    split = settings.get("draws", 4) > 1 and "not_seen" in settings.get("keep", ("not_seen",))
    ways = working_megabytes(
        methodOf(settings), settings.get("coupling", "none"), settings.get("solver_options", {}), rows * columns,
        slices, settings.get("slab", 8), split,
    )
    plain = {**settings, "slices": None, "region": None, "draws": settings.get("draws", 4)}
    plans = [
        forecast(shape, plain, lambda way=way: MicroRun(
            rate.startSeconds, seconds / units, rate.baseMegabytes, *way), freeMegabytes)
        for way in ways
    ]
    plan = next((plan for plan in plans if plan["fits"]), plans[-1])
    text = _("{what} on {device}: about {time}, {memory:.1f} GB ({basis})").format(
        what=workText(settings, slices), device=deviceText(settings, rate), time=timeText(plan["seconds"]),
        memory=plan["memory_mb"] / 1000,
        basis=_basis(settings, rate) if calibrated else _("first estimate"),
    )
    if not plan["fits"]:
        text = f"{text}. {plan['advice']}"
    return Estimate(text, plan["fits"], plan["seconds"])


def _basis(settings: Mapping[str, Any], rate: Rate) -> str:
    """What an estimate with a measured rate rests on."""
    precision = settings.get("precision", "auto")
    if precision != "auto" and rate.precision and precision != rate.precision:
        return _("estimate from a run of another precision")
    return _("estimate from the last run")


def workText(settings: Mapping[str, Any], slices: int) -> str:
    """What is about to happen: how many samples of how many slices."""
    count = _("1 slice") if slices == 1 else _("{n} slices").format(n=slices)
    if "diffusion" not in settings.get("methods", ("diffusion",)):
        return _("Classical images of {slices}").format(slices=count)
    draws = settings.get("draws", 4)
    return (_("1 sample of {slices}") if draws == 1 else _("{n} samples of {slices}")).format(n=draws, slices=count)


def deviceText(settings: Mapping[str, Any], rate: Rate) -> str:
    """Where it will run, as far as it is known."""
    device = settings.get("device", "auto")
    return rate.device if device == "auto" else device


def timeText(seconds: float) -> str:
    """A time in words, as exact as an estimate is."""
    if seconds < 90:
        return _("{n} s").format(n=max(5, 5 * round(seconds / 5)))
    if seconds < 90 * 60:
        return _("{n} min").format(n=round(seconds / 60))
    return _("{n:.1f} h").format(n=seconds / 3600)


def workingShape(
    shape: tuple[int, int, int], pixelMm: tuple[float, float], smallestMm: float
) -> tuple[int, int, int]:
    """(slices, rows, columns) after pixels finer than the prior's were averaged; `pixelMm`: of columns, of rows."""
    wide, tall = pixelMm
    if abs(wide / tall - 1) <= 0.01:
        wide = tall = min(wide, tall)
    down, along = (max(1, math.ceil(smallestMm * 0.98 / pixel)) for pixel in (tall, wide))
    return shape[0], max(1, shape[1] // down), max(1, shape[2] // along)
