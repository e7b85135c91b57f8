"""From the panel's parameters to the engine's settings: plain values, the same ones that the console call takes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from diffusion_engine.modalities.table import MODALITIES, modality_named
from diffusion_engine.run.presets import preset_named
from diffusion_engine.run.settings import PHASE, Settings
from diffusion_engine.solvers.listing import Listed, check_coupling, listed_couplings, listed_method, listed_methods
from slicer.i18n import tr as _

BALANCE_OPTION = "prior_variance"
KEPT = {
    "keepUncertainty": "uncertainty", "keepNotSeen": "not_seen", "keepResidual": "residual",
    "keepPriorDecided": "prior_decided", "keepDataDisagree": "data_disagree", "keepPhase": PHASE, "keepDraws": "draws",
}


def engineSettings(
    parameters: Any, scan: Mapping[str, Any], model: str, slices: tuple[int, int] | None,
    region: tuple[int, ...] | None,
) -> dict[str, Any]:
    """The settings of a run; `slices` and `region` are indices of the input's own voxels, None for all.

    `scan`: the modality and what describes a simulated scan; `model`: the trained model where none was chosen. Raises
    ValueError, one sentence, for values that the engine does not take.
    """
    modality = scan["modality"]
    settings = {**scan, **methodSettings(parameters, model, modality), **outputSettings(parameters, modality)}
    settings["seed"], settings["device"] = int(parameters.seed), parameters.device
    settings["slab"] = int(parameters.slab)
    if slices is not None:
        settings["slices"] = list(slices)
    if region is not None:
        settings["region"] = list(region)
    if parameters.trustUnit:
        settings["trust_unit"] = True
    Settings.from_dict(settings)
    return settings


def methodSettings(parameters: Any, model: str, modality: str) -> dict[str, Any]:
    """The preset's settings with what was chosen over them; `model`: the trained model where none was chosen.

    Without a method they are the classical images of the `modality`, all of them.
    """
    settings = dict(preset_named(parameters.preset).changes)
    method = chosenMethod(parameters, modality)
    if method is None:
        return _plain({**settings, "methods": [image.name for image in modality_named(modality).classical]})
    settings.update(solver=method.name, draws=int(parameters.draws), prior=parameters.prior or model)
    if parameters.solver:  # a method by its name is no longer the preset
        settings["preset"] = None
        settings.pop("methods", None)
    if parameters.steps:
        settings["steps"] = int(parameters.steps)
    if parameters.sigmaStart > 0:
        settings["sigma_start"] = float(parameters.sigmaStart)
    options = solverOptions(parameters, method, broughtOptions(parameters))
    settings.update(coupling=chosenCoupling(parameters, method, options), precision=parameters.precision)
    settings.pop("solver_options", None)
    if options:
        settings["solver_options"] = options
    return _plain(settings)


def chosenMethod(parameters: Any, modality: str) -> Listed | None:
    """The diffusion method of a run: by name, else the preset's; None for classical methods alone.

    Its options have the defaults that are usual in the `modality`. Raises ValueError for a name that this version does
    not have, as a scene of another one may bring.
    """
    name = parameters.solver or preset_named(parameters.preset).solver
    if name is None:
        return None
    if name not in listed_methods():
        raise ValueError(_("This version has no method '{name}': choose another preset or method.").format(name=name))
    return listed_method(name, modality)


def chosenCoupling(parameters: Any, method: Listed, options: Mapping[str, Any]) -> str:
    """The coupling of slices; raises ValueError for one that this version does not have or the method cannot take."""
    name = parameters.coupling
    if name not in listed_couplings():
        raise ValueError(_("This version has no coupling '{name}': choose another one.").format(name=name))
    check_coupling(name, method, options)
    return name


def broughtOptions(parameters: Any) -> Mapping[str, Any]:
    """The options that the preset brings; none where a method is chosen by its name."""
    return {} if parameters.solver else preset_named(parameters.preset).changes.get("solver_options", {})


def solverOptions(parameters: Any, method: Listed, brought: Mapping[str, Any]) -> dict[str, Any]:
    """The options `brought` by a preset, and those chosen that differ from them or else from the method's defaults.

    The balance scales the prior variance by powers of two.
    """
    chosen = storedOptions(parameters).get(method.name, {})
    defaults = {option.name: option.default for option in method.options}
    usual = {**defaults, **brought}
    options = {**brought, **{name: value for name, value in chosen.items() if name in usual and value != usual[name]}}
    if parameters.balance and defaults.get(BALANCE_OPTION):
        options[BALANCE_OPTION] = usual[BALANCE_OPTION] * 2.0 ** float(parameters.balance)
    return options


def storedOptions(parameters: Any) -> dict[str, dict[str, Any]]:
    """The options set in the panel, by method; a damaged text counts as none."""
    try:
        content = json.loads(parameters.solverOptions)
    except ValueError:
        return {}
    if not isinstance(content, dict):
        return {}
    return {name: options for name, options in content.items() if isinstance(options, dict)}


def outputSettings(parameters: Any, modality: str) -> dict[str, Any]:
    """What to deliver: the mean always, the rest as chosen, the phase where images of the `modality` have one."""
    kept = [key for name, key in KEPT.items() if getattr(parameters, name) and (key != PHASE or hasPhase(modality))]
    return {"keep": ["mean", *kept], "keep_draws": bool(parameters.keepDraws)}


def hasPhase(modality: str) -> bool:
    """Whether images of a modality are complex, so that their phase can be delivered."""
    known = MODALITIES.get(modality)
    return known is not None and known.phase


def _plain(settings: dict[str, Any]) -> dict[str, Any]:
    """JSON values: tuples as lists."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in settings.items()}
