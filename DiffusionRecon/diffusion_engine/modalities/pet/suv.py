"""Factors from the values of a PET series to standardised uptake values, by the tags of its DICOM headers.

    SUVbw = value [Bq/mL] * weight [g] / (injected activity * 2^(-elapsed / half-life))

and likewise with the lean mass, the ideal weight (g) or the surface (cm^2) in place of the weight. Philips' counts are
brought to SUV by its own factor (7053,1000), or to Bq/mL by (7053,1009).

Rules: vendor-neutral pseudo-code of the Quantitative Imaging Biomarkers Alliance for SUVbw; vendors' conformance
statements as compared in arXiv:2410.13348. Headers are mappings from DICOM keywords to values; those of Philips'
private group are keyed "SUVScaleFactor" and "ActivityConcentrationScaleFactor" in "PhilipsPETPrivateGroup", GE's scan
time "GEPrivatePostInjectionDateTime", the name of the radionuclide "Radionuclide". No torch here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .body import CM2_PER_M2, ideal_weight_kg, lean_mass_james_kg, lean_mass_kg, surface_m2
from .clock import seconds_of_day, stamp_of, text_of
from .decay_reference import decay_reference, number_of
from .radionuclide import half_life

KINDS: Mapping[str, str] = {
    "bw": "g/mL, body weight", "lbm": "g/mL, lean body mass by Janmahasatian",
    "lbm_james": "g/mL, lean body mass by James", "bsa": "cm2/mL, body surface by Du Bois",
    "ibw": "g/mL, ideal body weight",
}
"""Kinds of SUV by name: unit, and what the uptake is normalised by."""

STORED_KINDS = {"": "bw", "BW": "bw", "LBMJANMA": "lbm", "LBMJAMES128": "lbm_james", "BSA": "bsa", "IBW": "ibw"}
"""Kinds by their names in SUVType; DICOM takes a missing one as BW. Its LBM leaves open by which formula."""

INJECTED_AT, INJECTED_ON = "RadiopharmaceuticalStartTime", "RadiopharmaceuticalStartDateTime"
"""The time of injection without and with its date."""

LEAST_DOSE_BQ, LARGEST_DOSE_BQ = 1e5, 1e11
"""A tenth of a MBq: smaller activities are not injected, but are what a number in MBq looks like; and 100 GBq."""
LEAST_BQ_PER_KG = 2e4
"""An activity below is a fiftieth of the least that PET uses, but is what a number in kBq looks like."""

NUMBERS = ("PatientWeight", "RadionuclideTotalDose", "RadionuclideHalfLife")
"""Fields that SUVbw of one Bq/mL depends on, beside times."""

CONSTANT = ("Units", "CorrectedImage", "DecayCorrection", "PatientWeight", "PatientSize", "PatientSex", "SUVType",
            "RadionuclideHalfLife", "RadionuclideTotalDose", "SeriesDate", "SeriesTime", INJECTED_AT, INJECTED_ON)
"""Fields that are the same in all images of a series."""


@dataclass(frozen=True, eq=False)
class SuvFactors:
    """By what the rescaled values of each image are multiplied to become SUV.

    ``bw``: (images,), SUVbw. ``ratios``: the factors of other kinds over that of SUVbw, by the names of ``KINDS``.
    ``missing``: a sentence for each kind that cannot be told. ``reasons``: whole sentences, in order, on how the
    factors were found. ``to_bqml``: (images,), from the values to Bq/mL, None where the header does not say.
    ``facts``: the numbers used, and as "stored" the kind of values that are SUV already.
    """

    bw: np.ndarray
    ratios: Mapping[str, float]
    missing: Mapping[str, str]
    reasons: tuple[str, ...]
    to_bqml: np.ndarray | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)

    def of(self, kind: str) -> np.ndarray:
        """The factors of a kind, (images,); ValueError, one sentence, for one that cannot be told."""
        if kind in self.missing:
            raise ValueError(self.missing[kind])
        if kind not in self.ratios:
            raise ValueError(f"expected a kind of SUV out of {', '.join(KINDS)}, found '{kind}': choose one")
        return self.bw * self.ratios[kind]


def suv_factors(headers: Sequence[Mapping[str, Any]], given: Mapping[str, Any] | None = None) -> SuvFactors:
    """The factors of a series by the headers of its images, rescale slope and intercept being applied already.

    ``given``: what the user states, by DICOM keyword such as PatientWeight (kg), in place of what the header says or
    lacks. Raises ValueError, one sentence that names the field to state, where SUVbw cannot be told.
    """
    if not headers:
        raise ValueError("expected the headers of a PET series, found none: choose its folder")
    stated = {name: value for name, value in (given or {}).items() if value is not None}
    merged = [{**header, **stated} for header in headers]
    if INJECTED_AT in stated and INJECTED_ON not in stated:
        # The header's own moment, which has a date, would go before the time that was stated.
        merged = [{**header, INJECTED_ON: None} for header in merged]
    first = merged[0]
    for name in CONSTANT:
        if len({text_of(header, name) for header in merged}) > 1:
            raise ValueError(f"expected one {name} in all images of a series, found several: give one series")
    reasons = [f"{name} was stated by the user." for name in stated]
    units = text_of(first, "Units").upper()
    _check_corrections(first, units, stated, reasons)
    ratios, missing = _ratios(first)
    to_bqml = None
    facts: dict[str, Any] = {"units": units}
    if units in ("GML", "CM2ML"):
        facts["stored"] = _stored_kind(first, units, missing, reasons)
        bw = np.full(len(merged), 1 / ratios[facts["stored"]])
    elif (units == "CNTS" and all(_private(header, "SUVScaleFactor") for header in merged)
          and not _replaced(headers, stated, merged)):
        bw = np.array([_private(header, "SUVScaleFactor") for header in merged], np.float64)
        reasons.append("The values are counts, and Philips states their SUVbw by the factor (7053,1000).")
        to_bqml = _concentrations(merged)
        if to_bqml is not None:
            _compare_with_formula(merged, bw, to_bqml, reasons)
    elif units in ("BQML", "CNTS"):
        to_bqml = np.ones(len(merged))
        if units == "CNTS":
            found = _concentrations(merged)
            if found is None:
                raise ValueError(
                    "expected Philips' factor (7053,1000) or (7053,1009) beside values in counts (CNTS), found "
                    "neither: export the series with its private fields, or in Bq/mL"
                )
            to_bqml = found
            reasons.append("The values are counts, which Philips' factor (7053,1009) brings to Bq/mL.")
        per_bqml, why, used = _formula(merged, stated)
        bw, facts = per_bqml * to_bqml, {**facts, **used}
        reasons += why
    else:
        raise ValueError(
            f"expected values in Bq/mL (BQML), g/mL (GML, CM2ML) or Philips counts (CNTS) as Units, found "
            f"'{units or 'none'}': SUV cannot be told, export the series in Bq/mL"
        )
    return SuvFactors(bw, ratios, missing, tuple(reasons), to_bqml, facts)


def _replaced(
    headers: Sequence[Mapping[str, Any]], stated: Mapping[str, Any], merged: Sequence[Mapping[str, Any]],
) -> bool:
    """Whether the user states what Philips' factor (7053,1000) was made from in another way: it then holds no more.

    Raises ValueError, one sentence, where (7053,1009) is missing, without which nothing can stand in its place.
    """
    old = headers[0]
    other = [name for name in NUMBERS
             if number_of(old, name) and number_of(stated, name) not in (None, number_of(old, name))]
    if _injected_s(stated) not in (None, _injected_s(old)) and _injected_s(old) is not None:
        other.append(INJECTED_AT)
    if other and _concentrations(merged) is None:
        raise ValueError(f"expected Philips' factor (7053,1009) to reckon with the {other[0]} that was stated, found "
                         "only (7053,1000), into which that of the header went: state no "
                         f"{other[0]}, or export the series in Bq/mL")
    return bool(other)


def _injected_s(header: Mapping[str, Any]) -> float | None:
    """The time of day of the injection in s, None where it is missing."""
    time, stamp = text_of(header, INJECTED_AT), text_of(header, INJECTED_ON)
    if stamp:
        at = stamp_of(stamp, INJECTED_ON)
        return (at - at.replace(hour=0, minute=0, second=0, microsecond=0)).total_seconds()
    return seconds_of_day(time, INJECTED_AT) if time else None


def _formula(
    headers: Sequence[Mapping[str, Any]], stated: Mapping[str, Any],
) -> tuple[np.ndarray, list[str], dict[str, Any]]:
    """SUVbw of one Bq/mL in each image, the reasons, and the numbers used."""
    first = headers[0]
    reasons: list[str] = []
    weight = weight_kg(first)
    dose = _dose_bq(first)
    if "RadionuclideTotalDose" not in stated and dose < LEAST_BQ_PER_KG * weight:
        raise ValueError(f"expected the injected activity in Bq as RadionuclideTotalDose, found {dose:g}, which is too "
                         f"little for {weight:g} kg and looks like kBq: state it in Bq, such as {dose * 1e3:g}")
    seconds = half_life(first, reasons)
    reference = decay_reference(headers, seconds)
    left = dose * np.exp2(-np.array(reference.elapsed_s) / seconds)
    reasons += reference.reasons
    reasons.append(f"{dose / 1e6:.6g} MBq were injected, of which {left[0] / 1e6:.6g} MBq are left at that moment; the "
                   f"patient weighs {weight:g} kg.")
    return 1000 * weight / left, reasons, {
        "weight_kg": weight, "injected_bq": dose, "half_life_s": seconds, "elapsed_s": float(reference.elapsed_s[0])}


def weight_kg(header: Mapping[str, Any]) -> float:
    """The patient's weight; ValueError that asks for it where it is missing, 0 or no weight of a body."""
    weight = number_of(header, "PatientWeight")
    if weight is None or not 0.005 <= weight <= 400:
        raise ValueError(f"expected the patient's weight in kg as PatientWeight, found "
                         f"{'none' if weight is None else f'{weight:g}'}: state it")
    return weight


def _dose_bq(header: Mapping[str, Any]) -> float:
    dose = number_of(header, "RadionuclideTotalDose")
    if dose is None or dose <= 0:
        raise ValueError(f"expected the injected activity in Bq as RadionuclideTotalDose, found "
                         f"{'none' if dose is None else f'{dose:g}'}: state it")
    if dose < LEAST_DOSE_BQ:
        raise ValueError(f"expected the injected activity in Bq as RadionuclideTotalDose, found {dose:g}, which looks "
                         f"like MBq: state it in Bq, such as {dose * 1e6:g}")
    if dose > LARGEST_DOSE_BQ:
        raise ValueError(f"expected the injected activity in Bq as RadionuclideTotalDose, found {dose:g}, more than "
                         "anyone is given: state it in Bq")
    return dose


def _check_corrections(first: Mapping[str, Any], units: str, stated: Mapping[str, Any], reasons: list[str]) -> None:
    """Values without attenuation correction are no uptake; a stated decay correction must have been made."""
    made = {part.strip().upper() for part in text_of(first, "CorrectedImage").split("\\")} - {""}
    if not made:
        reasons.append("The header does not say which corrections were made (CorrectedImage); those for attenuation "
                       "and decay are taken as made.")
        return
    if "ATTN" not in made:
        raise ValueError("expected values corrected for attenuation (ATTN in CorrectedImage), found "
                         f"{', '.join(sorted(made))}: choose the series that is corrected for attenuation")
    kind = text_of(first, "DecayCorrection").upper()
    if units in ("BQML", "CNTS") and kind in ("START", "ADMIN") and "DECY" not in made:
        raise ValueError(f"expected values corrected for decay (DECY in CorrectedImage) as DecayCorrection {kind} "
                         f"says, found {', '.join(sorted(made))}: state DecayCorrection, NONE where it was not made")
    if units in ("BQML", "CNTS") and kind == "NONE" and "DECY" in made and kind != text_of(stated, "DecayCorrection"):
        raise ValueError("expected values not corrected for decay as DecayCorrection NONE says, found DECY in "
                         "CorrectedImage: state DecayCorrection, START or ADMIN where it was made")


def _ratios(header: Mapping[str, Any]) -> tuple[dict[str, float], dict[str, str]]:
    """Factors of each kind over that of SUVbw; and the sentence for each kind that cannot be told."""
    ratios, missing = {"bw": 1.0}, {}
    for kind in ("lbm", "lbm_james", "bsa", "ibw"):
        try:
            ratios[kind] = _normaliser(kind, header) / weight_kg(header)
        except ValueError as error:
            missing[kind] = str(error)
    return ratios, missing


def _normaliser(kind: str, header: Mapping[str, Any]) -> float:
    """What stands for the weight in kg in the factor of a kind; of the surface, thousandths of a cm^2."""
    weight, height = weight_kg(header), number_of(header, "PatientSize")
    if height is None or not 0.2 <= height <= 2.8:
        looks = ", which looks like cm" if height is not None and 20 <= height <= 280 else ""
        raise ValueError(f"expected the patient's height in m as PatientSize, found "
                         f"{'none' if height is None else f'{height:g}'}{looks}: state it")
    if kind == "bsa":
        return surface_m2(weight, height) * CM2_PER_M2 / 1000
    sex = text_of(header, "PatientSex").upper()
    if kind == "ibw":
        return ideal_weight_kg(height, sex)
    return (lean_mass_kg if kind == "lbm" else lean_mass_james_kg)(weight, height, sex)


def _stored_kind(header: Mapping[str, Any], units: str, missing: Mapping[str, str], reasons: list[str]) -> str:
    """The kind of stored SUV; ValueError, one sentence, where it cannot be brought to others."""
    name = text_of(header, "SUVType").upper()
    kind = "bsa" if units == "CM2ML" and not name else STORED_KINDS.get(name)
    if kind is None:
        raise ValueError(f"expected {', '.join(filter(None, STORED_KINDS))} as SUVType, found '{name}'"
                         + (", which leaves the formula open" if name == "LBM" else "") + ": state it")
    if (kind == "bsa") != (units == "CM2ML"):
        raise ValueError(f"expected SUVType BSA beside values in cm2/mL (CM2ML) and another one beside g/mL (GML), "
                         f"found '{name or 'none'}' beside {units}: state SUVType or Units")
    if kind in missing:
        raise ValueError(f"the values are SUV of the kind {kind}: {missing[kind]}")
    reasons.append(f"The values are SUV already ({KINDS[kind]})"
                   + (", as DICOM takes it where SUVType is missing." if not name and kind == "bw" else "."))
    return kind


def _private(header: Mapping[str, Any], name: str) -> float | None:
    """A factor of Philips' private group, None where it is missing or 0."""
    group = header.get("PhilipsPETPrivateGroup")
    value = number_of(group if isinstance(group, Mapping) else header, name)
    if value is not None and value < 0:
        raise ValueError(f"expected a positive factor as Philips' {name}, found {value:g}: export the series again")
    return value or None


def _concentrations(headers: Sequence[Mapping[str, Any]]) -> np.ndarray | None:
    found = [_private(header, "ActivityConcentrationScaleFactor") for header in headers]
    return np.array(found, np.float64) if all(found) else None


def _compare_with_formula(headers: Sequence[Mapping[str, Any]], bw: np.ndarray, to_bqml: np.ndarray,
                          reasons: list[str]) -> None:
    """Say where weight and injected activity give another SUV than Philips' own factor."""
    try:
        other = _formula(headers, {})[0] * to_bqml
    except ValueError:
        return  # the fields of the formula are not needed here
    change = float(other[0] / bw[0] - 1)
    if abs(change) > 0.01:
        reasons.append(f"Weight, injected activity and decay would give a factor {100 * abs(change):.0f} % "
                       f"{'larger' if change > 0 else 'smaller'}; Philips' own was taken.")
