"""What may be missing in an image: limits of detection from a prior's card, said for one run. No torch here.

A card's ``detection`` holds, for a preset, its method, a number of views, a noise and a class of contrast, the smallest
diameter from which on inserted lesions were kept: see :mod:`..evaluation.detection`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ..priors.card import PriorCard
from ..solvers.listing import listed_method
from .settings import Settings


def method_of(settings: Settings, card: PriorCard) -> dict[str, Any]:
    """What of a run decides which lesions its images keep, as JSON values: method, options, steps, coupling, prior.

    ``options`` are all of the method's, so that a limit that was measured with other defaults is not this run's.
    """
    listed = listed_method(settings.solver, settings.modality)
    usual = {option.name: option.default for option in listed.options}
    taught = {name: value for name, value in card.sampler.items() if name != "method"}
    return {
        "solver": settings.solver, "steps": settings.steps or listed.steps, "coupling": settings.coupling,
        "options": {**usual, **taught, **settings.solver_options}, "sigma_start": settings.sigma_start,
        "prior_sha256": card.sha256,
    }


def detection_sentence(card: PriorCard, settings: Settings, data: Any = None) -> str | None:
    """Below which diameter lesions may be missing in the images of a run, in words; None where it was not measured.

    ``data``: measured data of the modality, None for a scan that is simulated. From the card's limits for this method
    those of the nearest number of views that is not larger are taken (of the smallest where all are larger), and of
    these the ones of the nearest noise, or of the largest where the noise is not known.
    """
    told = settings.entry.trust.dose
    own = method_of(settings, card)
    limits = [entry for entry in card.detection if entry["method"] == own]
    if told is None or not limits or not settings.draws_images:
        return None
    views, noise = told(settings.scan, data)
    tried = sorted({entry["views"] for entry in limits})
    nearest = max((count for count in tried if count <= views), default=tried[0])
    limits = [entry for entry in limits if entry["views"] == nearest]
    levels = sorted({entry["noise_percent"] for entry in limits})
    level = levels[-1] if noise is None else min(levels, key=lambda known: abs(math.log(known / noise)))
    limits = [entry for entry in limits if entry["noise_percent"] == level]
    clauses = "; ".join(_clause(entry, limits, card.unit) for entry in limits)
    fewer = "" if nearest <= views else " With fewer views than that, larger ones may be missing too."
    return (
        f"At this dose and with these views, {clauses}. Measured on lesions inserted into real images, with {nearest} "
        f"views and noise of {level:.2g} % of the largest reading.{fewer}"
    )


def _clause(entry: Mapping[str, Any], limits: Sequence[Mapping[str, Any]], unit: str) -> str:
    """What may be missing of one class of contrast, without a full stop."""
    bounds = [other["contrast_up_to"] for other in limits if other["contrast_up_to"] is not None]
    if entry["contrast_up_to"] is not None:
        kind = f"lesions that differ by up to {entry['contrast_up_to']:g} {unit}"
    else:
        kind = f"lesions that differ by more than {max(bounds):g} {unit}" if bounds else "lesions"
    smallest, largest = entry["tried_mm"]
    if entry["limit_mm"] is None:
        return f"{kind} may be missing at every size that was tried ({smallest:g} to {largest:g} mm)"
    if entry["limit_mm"] <= smallest:
        return f"{kind} may be missing below {smallest:g} mm, the smallest size that was tried"
    return f"{kind} may be missing below {entry['limit_mm']:g} mm"
