"""What the options of methods may be: kinds and ranges by name, checked before any work. No torch here."""

from __future__ import annotations

import math
from typing import Any

Range = tuple[float, float]

RANGES: dict[str, Range] = {
    "broad_pixels": (0.1, 100), "broad_std": (0, 10),
    "cg_iterations": (1, 1000), "cg_tolerance": (0, 1), "dimension": (1, math.inf), "entry": (0.001, 10),
    "eta": (0, 1), "eta_b": (0, 1), "every": (1, 1000), "factor": (1, 1000), "first_inner_steps": (0, 10000),
    "flow_steps": (1, 100), "gain": (1e-6, 1e6), "gamma": (0, 1e6), "guidance": (0, 100), "inner": (1, 100),
    "inner_iterations": (0, 1000), "inner_steps": (0, 10000), "inner_tolerance": (0, 1), "inner_variance": (1e-6, 1e3),
    "iterations": (1, 10000), "last": (0, 1000), "latent_iterations": (0, 10000), "latent_rate": (1e-6, 10),
    "leaps": (1, 1000), "learning_rate": (1e-6, 1), "levels": (1, 1000), "momentum": (0, 0.9999), "moves": (1, 1000),
    "noise_std": (0, 1000), "outside": (-1000, 1000), "patch": (2, 4096), "pixel_iterations": (1, 1000),
    "pixel_weight": (1e-6, 1e6), "prior_span": (1.001, 1e6), "prior_steps": (2, 1000), "prior_variance": (1e-6, 1e6),
    "products": (0, 100), "rank": (1, 1024), "rate": (1e-6, 1e6), "relaxation": (0, 2), "relaxation_first": (0, 2),
    "relaxation_last": (0, 2), "repeats": (1, 100), "rho_max": (1e-3, 1e4), "rho_min": (1e-5, 100),
    "shape": (1.001, 1e6), "sigma_data": (1e-3, 100), "sigma_end": (1e-4, 20), "sigma_max": (1e-3, 1e4),
    "sigma_min": (1e-5, 100), "sigma_start": (1e-3, 1000), "skip": (1, 1000), "snr": (0, 10),
    "square_momentum": (0, 0.9999), "step": (1e-4, 2), "step_length": (1e-6, 10), "steps": (2, 1000),
    "subsets": (1, 10000), "sweeps": (1, 100), "tolerance": (0, 1), "tv_weight": (0, 1e6), "weight": (0, 1e6),
    "z_weight": (0, 1e6), "zeta": (0, 1e6),
}
"""Least and largest value of an option by its name, both allowed; (1, inf) allows inf, too."""

OWN_RANGES: dict[tuple[str, str], Range] = {
    ("consistency", "steps"): (1, 1000), ("csgm", "step"): (1e-4, 1), ("ddnm", "eta"): (1e-3, 1),
    ("diffpir", "weight"): (1e-6, 1e6), ("diffpir", "zeta"): (0, 1), ("hijack", "weight"): (0, 1),
    ("mmps", "products"): (1, 100), ("r2d2", "weight"): (0, 1), ("tmpd", "products"): (1, 100),
}
"""Ranges of single methods, where they differ: by method and option."""

CHOICES: dict[str, tuple[str, ...]] = {
    "family": ("gaussian", "poisson", "gamma"), "predictor": ("ancestral", "reverse_diffusion"),
    "channels": ("combined", "separate"),
}
"""The values of options that are words."""


def range_of(method: str, name: str) -> Range:
    """Least and largest value of an option of a method; unbounded where none is known."""
    return OWN_RANGES.get((method, name), RANGES.get(name, (-math.inf, math.inf)))


def check_option(method: str, name: str, value: object, default: Any) -> None:
    """Raise ValueError, one sentence, for a value of another kind than the ``default`` or out of its range."""
    low, high = range_of(method, name)
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if isinstance(default, bool):
        good, wanted = isinstance(value, bool), "true or false"
    elif isinstance(default, str):
        good, wanted = value in CHOICES.get(name, (value,)), f"one of {CHOICES.get(name, 'the words it knows')}"
        good = good and isinstance(value, str)
    else:
        whole = isinstance(default, int)
        kind = "a whole number" if whole else "a number"
        wanted = f"{kind} from {low:g} to {high:g}" + (", or none" if default is None else "")
        good = (value is None and default is None) or (number and _within(value, low, high, whole))
    if not good:
        raise ValueError(f"expected {wanted} as the option {name} of {method}, found {value!r}: change the option")


def _within(value: Any, low: float, high: float, whole: bool) -> bool:
    if math.isinf(value):
        return bool(value == high)
    return low <= value <= high and (isinstance(value, int) or not whole)
