"""Two maps that warn of places: where the prior decided, and where the data and the image disagree.

    prior_decided:  the pull of the data, smoothed (:mod:`.surer`)
    data_disagree:  matched filter of the residual (:mod:`..posterior.disagreement`)

each over the standard deviation that it has on held-out images where nothing is wrong, by spread and gradient around a
voxel (:mod:`..posterior.null`). Without a null in the prior's card for the acquisition, the image's own takes its
place; then there is no threshold and no warning. Outside the body the maps are 0: nothing is asked there.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..modalities.prepared import Prepared
from ..posterior.calibration import nearest_entry
from ..posterior.null import Null, covariates, fit_null, smoothed, stored
from ..posterior.warnings import SLICES, MapWarning, warnings_of
from ..priors.library import Prior
from .draws import asked_acquisition
from .report import Tally
from .settings import DATA_DISAGREE, PRIOR_DECIDED, Settings
from .surer import PULL, map_keys
from .verdicts import doubt_of

WIDTH_PIXELS = 1.5
"""Of the window under which differences and covariates are smoothed."""
MOST_VOXELS = 500_000
"""So many tell the null of an image, evenly taken from all of it."""
TITLES = {PRIOR_DECIDED: "Where the prior decided", DATA_DISAGREE: "Where the data and this image disagree"}


def finish_maps(problem: Prepared[Any], settings: Settings, prior: Prior, tally: Tally) -> None:
    """Bring the maps of a run into units of their null, in place, and note in ``tally.maps`` what they warn of."""
    for key in map_keys(settings):
        null, alarms, note = _null_of(problem, settings, prior, tally, key)
        image = tally.images.setdefault(key, np.zeros(problem.shape, np.float32))
        for part, difference, local, inside in local_values(problem, settings, tally.images, key):
            image[part] = np.where(inside, difference / null.at(local), 0.0)
        found = [] if null.threshold is None else warnings_of(problem.deliver(image), null.threshold)
        doubt = doubt_of(tally)
        alarms = None if doubt else alarms
        tally.maps[key] = {
            "threshold": null.threshold, "warnings": [_listed(each) for each in found],
            "false_alarms_per_32_slices": alarms, "sentence": _sentence(key, null, found, alarms, doubt, note),
        }


def local_values(
    problem: Prepared[Any], settings: Settings, images: dict[str, np.ndarray], key: str
) -> Iterator[tuple[slice, np.ndarray, np.ndarray, np.ndarray]]:
    """A slice at a time: the map in network units before its null is known, its covariates, and where the body is.

    ``images``: of a run by result key; the map ``key`` as the run left it.
    """
    scale = problem.scale.scale
    for n in range(problem.slices):
        part = slice(n, n + 1)
        mean = problem.shown(images["mean"][part])
        spread = images["uncertainty"][part] / scale if "uncertainty" in images else None
        difference = smoothed(images[PULL][part] / scale, WIDTH_PIXELS) if key == PRIOR_DECIDED else images[key][part]
        inside = settings.entry.trust.body(mean)
        yield part, difference, covariates(mean / scale, spread, WIDTH_PIXELS), inside


def body_values(
    problem: Prepared[Any], settings: Settings, images: dict[str, np.ndarray], key: str
) -> tuple[np.ndarray, np.ndarray]:
    """(n,) of a map and (2, n) of its covariates in the body, evenly taken voxels, MOST_VOXELS at the most."""
    step = max(1, -(-int(np.prod(problem.shape)) // MOST_VOXELS))
    differences, locals_ = [], []
    for _, difference, local, inside in local_values(problem, settings, images, key):
        differences.append(difference[inside][::step])
        locals_.append(local[:, inside][:, ::step])
    return np.concatenate(differences), np.concatenate(locals_, axis=1)


def _null_of(
    problem: Prepared[Any], settings: Settings, prior: Prior, tally: Tally, key: str
) -> tuple[Null, float | None, str]:
    """The null of a map, its false alarms in SLICES slices, and why there is no threshold, "" where there is one."""
    asked, trust = asked_acquisition(problem, settings, prior), settings.entry.trust
    own = [entry for entry in prior.card.maps if key in entry["maps"]]
    found = nearest_entry(own, asked, trust)
    if found is not None:
        entry = found[0]["maps"][key]
        return stored(entry), entry["false_alarms_per_32_slices"], ""
    difference, local = body_values(problem, settings, tally.images, key)
    if difference.size == 0:
        return Null((), (), ((1.0,),)), None, "there is no body in the image"
    return fit_null(difference, local), None, "none was calibrated for this acquisition"


def _listed(warning: MapWarning) -> dict[str, Any]:
    """A warning as JSON values."""
    return {
        "ras": [round(value, 2) for value in warning.ras], "z": round(warning.z, 2),
        "size_mm": round(warning.size_mm, 2), "slice": warning.slice,
    }


def _sentence(
    key: str, null: Null, found: list[MapWarning], alarms: float | None, doubt: str, note: str
) -> str:
    title = TITLES[key]
    if null.threshold is None:
        return (
            f"{title}: the map has no threshold, {note}; it is in standard deviations of this image's own differences, "
            "and nobody is warned of a place."
        )
    count = len(found)
    places = "no place stands" if count == 0 else "1 place stands" if count == 1 else f"{count} places stand"
    if alarms is None:
        rate = f"how often that happens by chance is not known{', ' + doubt if doubt else ''}"
    else:
        rate = f"on ordinary held-out images {alarms:.2g} a {SLICES} slices did"
    end = "" if count else " A lesion of which the map shows nothing is not excluded."
    return f"{title}: {places} out, |z| of {null.threshold:.1f} or more ({rate}).{end}"
