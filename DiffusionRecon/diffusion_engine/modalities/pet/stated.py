"""What a user states for SUV in place of a DICOM header, in everyday units: as the header's fields. No torch here."""

from __future__ import annotations

import re
from typing import Any

BQ_PER_MBQ = 1e6
MOMENT = re.compile(r"(?:(\d{4})-?(\d\d)-?(\d\d)[ T]?)?(\d\d):?(\d\d)(?::?(\d\d(?:\.\d+)?))?")
"""A time of day, with or without its date."""


def stated_fields(weight_kg: float | None = None, height_m: float | None = None, sex: str | None = None,
                  injected_mbq: float | None = None, injected_at: str | None = None) -> dict[str, Any]:
    """DICOM keywords and values for :func:`.suv.suv_factors`; what is None is left to the header.

    ``injected_at``: "14:05", "14:05:30" or with its date "2024-03-15 14:05". Raises ValueError, one sentence.
    """
    fields: dict[str, Any] = {}
    if weight_kg is not None:
        fields["PatientWeight"] = weight_kg
    if height_m is not None:
        fields["PatientSize"] = height_m
    if sex is not None:
        if sex.upper() not in ("M", "F"):
            raise ValueError(f"expected M or F as sex, found '{sex}': the formulas of lean mass know these two")
        fields["PatientSex"] = sex.upper()
    if injected_mbq is not None:
        fields["RadionuclideTotalDose"] = injected_mbq * BQ_PER_MBQ
    if injected_at is not None:
        found = MOMENT.fullmatch(injected_at.strip())
        if found is None:
            raise ValueError(f"expected the time of injection as 14:05:30 or 2024-03-15 14:05:30, found "
                             f"'{injected_at}': write it so")
        date, time = "".join(part or "" for part in found.groups()[:3]), found[4] + found[5] + (found[6] or "00")
        fields["RadiopharmaceuticalStartDateTime" if date else "RadiopharmaceuticalStartTime"] = date + time
    return fields
