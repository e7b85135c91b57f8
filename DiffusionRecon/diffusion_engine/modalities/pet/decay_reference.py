"""To which moment the values of a PET series are decay-corrected, and how long after the injection it lies.

The rules are those of the vendor-neutral pseudo-code of the Quantitative Imaging Biomarkers Alliance: the series time,
unless it is later than the acquisition; the series was then made afterwards, and the scan's own time counts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from .clock import DAY_S, acquired, day_of, nearest, on_one_day, seconds_of_day, stamp_of, text_of

LONGEST_WAIT = 8.0
"""Half-lives between injection and scan beyond which the two times do not belong together: 1/256 is left."""

LONGEST_LEAD_S = 3600.0
"""How long before the injection a dynamic scan may have begun."""

NOTICED = 1e-3
"""Relative change of a factor from which a contradiction is said."""

LONG_LIVED_S = 6 * 3600.0
"""Half-life from which a time of injection without its date leaves the day open."""

ANY_DAY = datetime(2000, 1, 2)


@dataclass(frozen=True)
class Reference:
    """``elapsed_s``: from the injection to the moment of the values, one number for each header; ``reasons``: whole
    sentences on how it was found."""

    elapsed_s: tuple[float, ...]
    reasons: tuple[str, ...]


def decay_reference(headers: Sequence[Mapping[str, Any]], half_life_s: float) -> Reference:
    """The moment of a series' values by its headers, keyed by DICOM keywords; raises ValueError, one sentence.

    ``half_life_s``: tells whether two times can belong to one examination.
    """
    kind = text_of(headers[0], "DecayCorrection").upper()
    if kind == "ADMIN":
        return Reference((0.0,) * len(headers), (
            "The values are decay-corrected to the injection (DecayCorrection ADMIN), so that the injected activity "
            "is taken as it is.",))
    reasons: list[str] = []
    if kind == "START":
        moments = _stated_moments(headers, reasons) or [_start_of_scan(headers, half_life_s, reasons)] * len(headers)
    elif kind == "NONE":
        moments = [_middle(header, half_life_s) for header in headers]
        reasons.append("The values are not decay-corrected (DecayCorrection NONE): the injected activity was brought "
                       "to the mean of each frame.")
    else:
        raise ValueError(
            f"expected START, ADMIN or NONE as DecayCorrection, found '{kind}': state to which moment the values are "
            "decay-corrected"
        )
    injection = _injection(headers[0], moments[0], half_life_s, reasons)
    elapsed = tuple((moment - injection).total_seconds() for moment in moments)
    reasons.append(f"Injection {injection:%H:%M:%S}, values of {moments[0]:%H:%M:%S}: {elapsed[0] / 60:.1f} minutes of "
                   "decay.")
    if elapsed[0] < 0:
        reasons.append("That moment lies before the injection, as where a dynamic scan began before it; for another "
                       "scan one of the two times is wrong.")
    return Reference(elapsed, tuple(reasons))


def _stated_moments(headers: Sequence[Mapping[str, Any]], reasons: list[str]) -> list[datetime]:
    """The moments that the headers state for their values, none where no header does; ValueError where some do not."""
    name = "DecayCorrectionDateTime"
    stated = [text_of(header, name) for header in headers]
    if not any(stated):
        return []
    if not all(stated):
        raise ValueError(f"expected {name} in all images of a series or in none, found it in "
                         f"{sum(map(bool, stated))} of {len(stated)}: give one series, or state it")
    reasons.append(f"The header states the moment to which the values are decay-corrected ({name})"
                   + ("." if len(set(stated)) == 1 else ", of each image its own."))
    return [stamp_of(text, name, text_of(header, "TimezoneOffsetFromUTC"))
            for text, header in zip(stated, headers, strict=True)]


def _start_of_scan(headers: Sequence[Mapping[str, Any]], half_life_s: float, reasons: list[str]) -> datetime:
    """The moment that DecayCorrection START means."""
    first = headers[0]
    series = acquired(first, "Series", _own_day(first))
    scans = [(header, moment) for header in headers if (moment := acquired(header, "Acquisition", series))]
    if not scans:
        if series is None:
            raise ValueError("expected SeriesTime or AcquisitionTime in the header, found neither: state when the scan "
                             "began")
        reasons.append("The header has no acquisition time; the values are taken as those of the series time.")
        return series
    earliest = min(moment for _, moment in scans)
    if series is None:
        reasons.append("The header has no series time; the values are taken as those of the earliest acquisition time.")
        return earliest
    earliest, shifted = on_one_day(earliest, series)
    if shifted:
        reasons.append("The dates of series and acquisition lie days apart, as where dates are replaced to hide the "
                       "patient; their times of day were compared.")
    if series <= earliest:
        reasons.append("The series time is not after the acquisition, so that the values are those of the series time "
                       "(DecayCorrection START).")
        return series
    private = text_of(first, "GEPrivatePostInjectionDateTime")
    if private:
        reasons.append("The series time is after the acquisition: the series was made afterwards, and the scan time of "
                       "GE (0009,100D) counts.")
        begun = stamp_of(private, "the scan time of GE (0009,100D)", text_of(first, "TimezoneOffsetFromUTC"))
        late = (on_one_day(begun, earliest)[0] - earliest).total_seconds()
        if abs(2 ** (late / half_life_s) - 1) > NOTICED and late > 0:
            reasons.append(f"It lies {late:.0f} s after the earliest acquisition time, where it should not be later: "
                           "check the times of the header.")
        return begun
    reasons.append("The series time is after the acquisition: the series was made afterwards, and the earliest "
                   "acquisition time counts.")
    if not shifted:
        _compare_frames(scans, earliest, half_life_s, reasons)
    return earliest


def _compare_frames(scans: Sequence[tuple[Mapping[str, Any], datetime]], earliest: datetime, half_life_s: float,
                    reasons: list[str]) -> None:
    """Say where the frame reference times point to an earlier start of scan: images of the first bed may be missing."""
    starts = []
    for header, moment in scans:
        offset, duration = number_of(header, "FrameReferenceTime"), number_of(header, "ActualFrameDuration")
        if offset and duration and offset > 0 and duration > 0:
            starts.append(moment + timedelta(seconds=_mean_time(duration / 1e3, half_life_s) - offset / 1e3))
    if not starts:
        return
    away = (earliest - min(starts)).total_seconds()
    change = 2 ** (away / half_life_s) - 1
    if abs(change) > NOTICED:
        reasons.append(
            f"The frame reference times put the start of the scan {abs(away):.0f} s "
            f"{'before' if away > 0 else 'after'} the earliest acquisition time of these images, which would make the "
            f"factor {100 * abs(change):.1f} % {'smaller' if away > 0 else 'larger'}: give all images of the series."
        )


def _middle(header: Mapping[str, Any], half_life_s: float) -> datetime:
    """When the activity of a frame equals its mean over the frame."""
    moment = acquired(header, "Acquisition", acquired(header, "Series", _own_day(header)) or _own_day(header))
    duration = number_of(header, "ActualFrameDuration")
    if moment is None or duration is None or duration < 0:
        raise ValueError(
            "expected AcquisitionTime and ActualFrameDuration of every image, as its values are not decay-corrected, "
            f"found {'no time' if moment is None else 'no duration'}: state them"
        )
    return moment + timedelta(seconds=_mean_time(duration / 1e3, half_life_s))


def _mean_time(duration_s: float, half_life_s: float) -> float:
    """ln(l d / (1 - e^(-l d))) / l with l = ln 2 / T: when a frame's activity equals its mean."""
    rate = math.log(2) / half_life_s
    lost = rate * duration_s
    return duration_s / 2 if lost < 1e-8 else math.log(lost / -math.expm1(-lost)) / rate


def _injection(header: Mapping[str, Any], scan: datetime, half_life_s: float, reasons: list[str]) -> datetime:
    """When the tracer was injected, on the day that belongs to the scan."""
    stamp, time = (text_of(header, f"RadiopharmaceuticalStart{kind}") for kind in ("DateTime", "Time"))
    if stamp:
        name = "RadiopharmaceuticalStartDateTime"
        found = stamp_of(stamp, name, text_of(header, "TimezoneOffsetFromUTC"))
        if _belongs(found, scan, half_life_s):
            if time:
                other = nearest(seconds_of_day(time, "RadiopharmaceuticalStartTime"), found)
                change = abs(2 ** (abs((other - found).total_seconds()) / half_life_s) - 1)
                if change > NOTICED:
                    reasons.append(f"The two times of injection in the header differ ({found:%H:%M:%S} with a date, "
                                   f"{other:%H:%M:%S} without); that with a date was taken.")
            return found
        midnight = found.replace(hour=0, minute=0, second=0, microsecond=0)
        moved = _on_day_of((found - midnight).total_seconds(), scan, half_life_s)
        if moved is None or abs((found - scan).total_seconds()) < DAY_S:
            raise ValueError(
                f"expected an injection before the scan of {scan:%Y-%m-%d %H:%M:%S}, at most {LONGEST_WAIT:g} "
                f"half-lives, found {found:%Y-%m-%d %H:%M:%S} as {name}: correct the time of injection"
            )
        reasons.append("The dates of injection and scan do not belong together, as where dates are replaced to hide "
                       "the patient; the time of day was taken, on the day of the scan or the day before.")
        return moved
    if not time:
        raise ValueError("expected RadiopharmaceuticalStartTime or RadiopharmaceuticalStartDateTime in the header, "
                         "found neither: state when the tracer was injected")
    seconds = seconds_of_day(time, "RadiopharmaceuticalStartTime")
    placed = _on_day_of(seconds, scan, half_life_s)
    if placed is None:
        raise ValueError(
            f"expected an injection before the scan at {scan:%H:%M:%S}, at most {LONGEST_WAIT:g} half-lives, found "
            f"{time} as RadiopharmaceuticalStartTime: correct the time of injection, or state its date"
        )
    if placed.date() < scan.date():
        reasons.append("The injection has no date and a later time of day than the scan: it was the day before.")
    elif half_life_s > LONG_LIVED_S:
        reasons.append("The injection has no date; it was taken as that of the scan, although a tracer of this "
                       "half-life may be scanned days later: state the date.")
    return placed


def _on_day_of(seconds: float, scan: datetime, half_life_s: float) -> datetime | None:
    """The last moment of this time of day before the scan, or one shortly after a dynamic scan began; None if none."""
    same = scan.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(seconds=seconds)
    before = same if same <= scan else same - timedelta(days=1)
    after = before + timedelta(days=1)
    if (scan - before).total_seconds() <= LONGEST_WAIT * half_life_s:
        return before
    return after if (after - scan).total_seconds() <= LONGEST_LEAD_S else None


def _belongs(injection: datetime, scan: datetime, half_life_s: float) -> bool:
    return -LONGEST_LEAD_S <= (scan - injection).total_seconds() <= LONGEST_WAIT * half_life_s


def _own_day(header: Mapping[str, Any]) -> datetime:
    """The day of a header whose series has no date: any one, as only differences count."""
    for name in ("SeriesDate", "AcquisitionDate", "StudyDate"):
        text = text_of(header, name)
        if text:
            return day_of(text, name) + timedelta(hours=12)
    for name in ("AcquisitionDateTime", "SeriesDateTime", "RadiopharmaceuticalStartDateTime"):
        text = text_of(header, name)
        if text:
            return stamp_of(text, name)
    return ANY_DAY


def number_of(header: Mapping[str, Any], name: str) -> float | None:
    """A finite number of a header, None where it is missing or empty; ValueError for another text."""
    text = text_of(header, name)
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"expected a number as {name}, found '{text[:40]}': correct the header")
    return value
