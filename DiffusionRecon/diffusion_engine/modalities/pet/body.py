"""Sizes of a body that uptake is normalised by: lean and ideal weight, surface. No torch here.

Lean body mass: Janmahasatian et al. 2005, doi:10.2165/00003088-200544100-00004, and James 1976, compared by Tahari et
al. 2014, doi:10.2967/jnumed.113.136986. Surface: Du Bois and Du Bois 1916. Ideal weight: Sugawara et al. 1999,
doi:10.1148/radiology.213.2.r99nv37521.
"""

from __future__ import annotations

CM2_PER_M2 = 1e4


def lean_mass_kg(weight_kg: float, height_m: float, sex: str) -> float:
    """Janmahasatian: 9270 w / (6680 + 216 BMI) of men, 9270 w / (8780 + 244 BMI) of women, BMI = w / h^2."""
    index = weight_kg / height_m**2
    return 9270 * weight_kg / (6680 + 216 * index if _is_man(sex) else 8780 + 244 * index)


def lean_mass_james_kg(weight_kg: float, height_m: float, sex: str) -> float:
    """James: 1.10 w - 128 (w / h)^2 of men, 1.07 w - 148 (w / h)^2 of women, h in cm; it falls for the very heavy.

    Raises ValueError, one sentence, where it is not positive.
    """
    ratio = weight_kg / (100 * height_m)
    mass = 1.10 * weight_kg - 128 * ratio**2 if _is_man(sex) else 1.07 * weight_kg - 148 * ratio**2
    if mass <= 0:
        raise ValueError(
            f"expected a build for which James' formula holds, found {weight_kg:g} kg at {height_m:g} m, a lean mass "
            f"of {mass:.3g} kg: use that of Janmahasatian"
        )
    return mass


def surface_m2(weight_kg: float, height_m: float) -> float:
    """Du Bois: 0.007184 w^0.425 h^0.725, h in cm."""
    return float(0.007184 * weight_kg**0.425 * (100 * height_m) ** 0.725)


def ideal_weight_kg(height_m: float, sex: str) -> float:
    """48 + 1.06 (h - 152) of men, 45.5 + 0.91 (h - 152) of women, h in cm; ValueError where it is not positive."""
    above = 100 * height_m - 152
    weight = 48.0 + 1.06 * above if _is_man(sex) else 45.5 + 0.91 * above
    if weight <= 0:
        raise ValueError(f"expected an adult's height for the ideal weight, found {height_m:g} m: use SUVbw")
    return weight


def _is_man(sex: str) -> bool:
    if sex not in ("M", "F"):
        raise ValueError(f"expected M or F as PatientSex, found '{sex}': state it")
    return sex == "M"
