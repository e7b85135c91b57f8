"""Dates and times as DICOM writes them, and what they say together. No torch here."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

DAY_S = 86400.0
APART_DAYS = 2
"""Dates of one examination that lie farther apart were shifted when the patient's name was taken out."""

_TIME = re.compile(r"(\d{2}):?(\d{2})?:?(\d{2})?(?:\.(\d{1,9}))?")
_DATE = re.compile(r"(\d{4})[.\-/]?(\d{2})[.\-/]?(\d{2})")
_STAMP = re.compile(r"(\d{8})(\d{2}(?:\d{2}(?:\d{2}(?:\.\d{1,9})?)?)?)([+-]\d{4})?")


def text_of(header: Mapping[str, Any], name: str) -> str:
    """A field as text without blanks, "" where it is missing or empty; values of a list joined by a backslash."""
    value = header.get(name)
    if value is None:
        return ""
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        return "\\".join(str(part).strip(" \0") for part in value)
    return str(value).strip(" \0")


def seconds_of_day(text: str, name: str) -> float:
    """Seconds since midnight of a time HHMMSS.FFFFFF, from the right shortened as DICOM allows; ValueError else."""
    found = _TIME.fullmatch(text.strip())
    hours, minutes, seconds = (int(n or 0) for n in found.groups()[:3]) if found else (99, 0, 0)
    if hours > 23 or minutes > 59 or seconds > 60:
        raise ValueError(f"expected a time HHMMSS as {name}, found '{text[:40]}': correct the header")
    fraction = float(f"0.{found.group(4)}") if found and found.group(4) else 0.0
    return hours * 3600 + minutes * 60 + seconds + fraction


def day_of(text: str, name: str) -> datetime:
    """Midnight of a date YYYYMMDD; ValueError for another text."""
    found = _DATE.fullmatch(text.strip())
    try:
        if found is None:
            raise ValueError(text)
        return datetime(int(found.group(1)), int(found.group(2)), int(found.group(3)))
    except ValueError as error:
        raise ValueError(f"expected a date YYYYMMDD as {name}, found '{text[:40]}': correct the header") from error


def stamp_of(text: str, name: str, zone: str = "") -> datetime:
    """A date with time, YYYYMMDDHHMMSS.FFFFFF&ZZXX; the hour is that of the scanner's clock.

    An offset from UTC that differs from ``zone``, the one of the other times of the header, is allowed for; where the
    header names none, the clock's own reading is taken.
    """
    found = _STAMP.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"expected a date and time YYYYMMDDHHMMSS as {name}, found '{text[:40]}': correct the header")
    at = day_of(found.group(1), name) + timedelta(seconds=seconds_of_day(found.group(2), name))
    own = found.group(3)
    if own and re.fullmatch(r"[+-]\d{4}", zone):
        at += timedelta(minutes=_minutes(zone) - _minutes(own))
    return at


def acquired(header: Mapping[str, Any], kind: str, near: datetime | None = None) -> datetime | None:
    """When a series or acquisition began, by its fields such as "Acquisition"; None where the time is missing.

    ``near``: a time of the same examination; a time without a date is put on the day that brings it nearest.
    """
    zone = text_of(header, "TimezoneOffsetFromUTC")
    stamp = text_of(header, f"{kind}DateTime")
    time, date = text_of(header, f"{kind}Time"), text_of(header, f"{kind}Date")
    if time:
        seconds = seconds_of_day(time, f"{kind}Time")
        if date:
            return day_of(date, f"{kind}Date") + timedelta(seconds=seconds)
        return nearest(seconds, near) if near is not None else None
    return stamp_of(stamp, f"{kind}DateTime", zone) if stamp else None


def nearest(seconds: float, near: datetime) -> datetime:
    """The moment with this time of day that lies nearest to another one."""
    at = near.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(seconds=seconds)
    days = round((near - at).total_seconds() / DAY_S)
    return at + timedelta(days=days)


def on_one_day(at: datetime, near: datetime) -> tuple[datetime, bool]:
    """A moment, brought to the day of another where their dates lie too far apart; and whether it was."""
    if abs((at - near).total_seconds()) <= APART_DAYS * DAY_S:
        return at, False
    midnight = at.replace(hour=0, minute=0, second=0, microsecond=0)
    return nearest((at - midnight).total_seconds(), near), True


def _minutes(offset: str) -> int:
    sign = -1 if offset[0] == "-" else 1
    return sign * (int(offset[1:3]) * 60 + int(offset[3:5]))
