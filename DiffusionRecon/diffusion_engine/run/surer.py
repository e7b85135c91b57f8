"""One more draw in which the prior is as sure as the network states it: how far the data pull a run's draws away.

    pull = draw 1 of the run - the same draw, with the same noise, with broad_std = 0 and prior_variance = 1

Where the two differ the data contradict what the network takes for granted, such as at a lesion that it never saw. It
moves the mean and widens the intervals (:mod:`..posterior.spread`), and tells where the prior decided. No torch here.
"""

from __future__ import annotations

from ..modalities.contract import DIFFUSION
from ..solvers.listing import listed_method
from .settings import DATA_DISAGREE, PRIOR_DECIDED, Settings

PULL = "pull"
"""Its key among the images of a run, in the delivered unit; it is no volume of a result."""
STATED = {"broad_std": 0.0, "prior_variance": 1.0}
"""The options by which the prior counts as the network states it."""
STAGE = "surer"


def surer(settings: Settings) -> Settings | None:
    """The settings of that draw; None where the method leaves no room for what the network missed, or draws once."""
    method = listed_method(settings.solver, settings.modality)
    own = {option.name: option.default for option in method.options}
    room = {**own, **settings.options}.get("broad_std", 0.0)
    if not settings.draws_images or settings.draws < 2 or not room:
        return None
    stated = {name: value for name, value in STATED.items() if name in own}
    return settings.changed(
        draws=1, solver_options={**settings.solver_options, **stated}, preset=None, keep=("mean",), keep_draws=False
    )


def surer_work(settings: Settings) -> float:
    """Network calls that it costs a slice; 0 where there is none."""
    asked = surer(settings)
    return 0.0 if asked is None else listed_method(asked.solver, asked.modality).draw_work(
        asked.steps, asked.options
    )


def map_keys(settings: Settings) -> list[str]:
    """The maps that a run makes, by result key."""
    made = [PRIOR_DECIDED] if surer(settings) is not None else []
    made += [DATA_DISAGREE] if DIFFUSION in settings.methods else []
    return [key for key in made if key in settings.keep]
