"""One more draw in which the prior is as sure as the network states it: how far the data pull a run's draws away.

    d = draw 1 of the run - the same draw, with the same noise, with broad_std = 0 and prior_variance = 1

Where the two differ the data contradict what the network takes for granted, such as at a lesion that it never saw.
"""

from __future__ import annotations

from ..priors.library import Prior
from ..solvers.listing import listed_methods
from .draws import options_of
from .settings import Settings

STATED = {"broad_std": 0.0, "prior_variance": 1.0}
"""The options by which the prior counts as the network states it."""


def surer(settings: Settings, prior: Prior) -> Settings | None:
    """The settings of that draw; None where the method leaves no room for what the network missed, or draws once."""
    if not settings.draws_images or settings.draws < 2 or not options_of(settings, prior).get("broad_std"):
        return None
    own = {option.name for option in listed_methods()[settings.solver].options}
    stated = {name: value for name, value in STATED.items() if name in own}
    return settings.changed(draws=1, solver_options={**settings.solver_options, **stated})

