"""The same run with a prior that counts less: what it changes is where the prior, not the data, decided. No torch here.

Its draws have the noise of the first ones of the run itself, so that the rest cancels in the difference of the two.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..modalities.contract import DIFFUSION
from ..solvers.listing import Listed, listed_methods
from ..solvers.ranges import RANGES
from .settings import DATA_DISAGREE, PRIOR_DECIDED, Settings

FACTOR = 16.0
"""So many times larger is the prior's variance."""
BROAD_STD = 0.04
"""Standard deviation of its broad part, network units: a few times what a run usually leaves."""
DRAWS = 2
STAND_IN = "dds"
"""The method of the freer run where the run's own has neither variance nor broad part."""
STAGE = "freer"


def compared_draws(settings: Settings) -> int:
    """How many draws the freer run has, and how many of the run's own they are compared with."""
    return min(DRAWS, settings.draws)


def runs_freer(settings: Settings) -> bool:
    """Whether a run has a freer one beside it."""
    return settings.draws_images and PRIOR_DECIDED in settings.keep


def freer(settings: Settings, taught: Mapping[str, Any] | None = None) -> Settings:
    """The settings of the freer run: variance times FACTOR, a broad part of BROAD_STD at least, no products.

    ``taught``: options that the prior was taught with, in place of the method's defaults. A method without these
    options is stood in for by DDS with as many steps as it usually takes.
    """
    method = listed_methods()[settings.solver]
    given = {**(taught or {}), **settings.solver_options}
    steps = settings.steps
    if not _can_be_freed(method):
        method, given, steps = listed_methods()[STAND_IN], {}, None
    options = {**{option.name: option.default for option in method.options}, **given}
    changed = {
        "prior_variance": min(FACTOR * options["prior_variance"], RANGES["prior_variance"][1]),
        "broad_std": max(BROAD_STD, options["broad_std"]), **({"products": 0} if "products" in options else {}),
    }
    own = given if method.name == settings.solver else {}
    return settings.changed(
        solver=method.name, solver_options={**own, **changed}, steps=steps, draws=compared_draws(settings),
        preset=None, keep=("mean",), keep_draws=False,
    )


def freer_work(settings: Settings, taught: Mapping[str, Any] | None = None) -> float:
    """Network calls that all draws of the freer run cost a slice; 0 where there is none."""
    if not runs_freer(settings):
        return 0.0
    other = freer(settings, taught)
    return other.draws * listed_methods()[other.solver].draw_work(other.steps, other.solver_options)


def map_keys(settings: Settings) -> list[str]:
    """The maps that a run makes, by result key."""
    made = DIFFUSION in settings.methods
    return [key for key in (PRIOR_DECIDED, DATA_DISAGREE) if made and key in settings.keep]


def described(settings: Settings, taught: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What of the freer run a calibration of its map depends on, as JSON values."""
    other = freer(settings, taught)
    return {"solver": other.solver, "steps": other.steps, "draws": other.draws, "options": other.solver_options}


def _can_be_freed(method: Listed) -> bool:
    return {"prior_variance", "broad_std"} <= {option.name for option in method.options}
