"""A review in words: numbers with as many decimals as they deserve, why a region is listed, what was decided."""

from __future__ import annotations

import math

from diffusion_engine.posterior.findings import DATA_DISAGREE, DECIDED_AND_DISAGREE, NOT_SEEN, PRIOR_DECIDED, Finding
from diffusion_engine.posterior.worth import EVEN_SHARE, diameter_mm
from slicer.i18n import tr as _

CUBIC_CM = 1000.0


def verdictWords(verdict: str) -> str:
    """A verdict as the reader sees it, "" while there is none."""
    return {"trust": _("Trust"), "doubt": _("Doubt"), "rescan": _("Needs another scan")}.get(verdict, "")


def reasonWords(finding: Finding, unit: str) -> str:
    """One line: how wide the spread is, on what contrast, over what size, and where only the scan's part listed it.

    Of a place that a map warned of: what the map says, and how far it stands out.
    """
    if finding.z is not None:
        warned = {
            PRIOR_DECIDED: _("The model decided here: z {z}, {size} mm"),
            DATA_DISAGREE: _("The data and this image disagree here: z {z}, {size} mm"),
            DECIDED_AND_DISAGREE: _("The model decided here, and the data and this image disagree: z {z}, {size} mm"),
        }
        return warned[finding.reason].format(z=f"{finding.z:+.1f}", size=f"{diameter_mm(finding.volume_mm3):.0f}")
    places = decimals(finding.spread, finding.contrast or 0.0)
    words = {"spread": f"{finding.spread:.{places}f}", "unit": unit, "size": f"{diameter_mm(finding.volume_mm3):.0f}"}
    if finding.contrast is None:  # of a review that was made before contrasts were measured
        text = _("Spread of ±{spread} {unit} over {size} mm").format(**words)
    elif finding.contrast < EVEN_SHARE * finding.spread:
        text = _("Spread of ±{spread} {unit} in even tissue, {size} mm").format(**words)
    else:
        words["contrast"] = f"{finding.contrast:.{places}f}"
        text = _("Spread of ±{spread} {unit} on an edge of {contrast} {unit}, {size} mm").format(**words)
    if finding.reason == NOT_SEEN:
        text = _("{reason}; not determined by the scan").format(reason=text)
    return text


def detailWords(finding: Finding, unit: str, draws: int | None) -> str:
    """All that is known of a finding, one fact a line."""
    low, high = finding.interval
    right, anterior, superior = (f"{value:.0f}" for value in finding.peak_ras_mm)
    lines = [
        _("Place (R, A, S): {r}, {a}, {s} mm").format(r=right, a=anterior, s=superior),
        _("Mean {value} ({spread})").format(
            value=intervalWords(finding.mean_value, (low, high), unit), spread=finding.spread_in_words(draws)
        ),
        _("Volume {volume}").format(volume=volumeWords(finding.volume_mm3)),
    ]
    if finding.not_seen_share is not None:
        share = f"{100 * finding.not_seen_share:.0f}"
        lines.append(_("Not determined by the scan: {share} % of the variance").format(share=share))
    if finding.segment:
        lines.append(_("In {segment}").format(segment=finding.segment))
    return "\n".join(lines)


def intervalWords(value: float, interval: tuple[float, float] | None, unit: str) -> str:
    """A value with its interval, as "-860 [-880, -840] HU"; the interval decides the decimals."""
    if interval is None:
        return f"{value:.{decimals(abs(value) / 10, value)}f} {unit}".strip()
    low, high = interval
    places = decimals((high - low) / 2, value)
    return f"{value:.{places}f} [{low:.{places}f}, {high:.{places}f}] {unit}".strip()


def volumeWords(volume: float, interval: tuple[float, float] | None = None) -> str:
    """A volume of mm3, and its interval: in cm3 from 1 cm3 on."""
    scale, unit = (CUBIC_CM, "cm³") if volume >= CUBIC_CM else (1.0, "mm³")
    if interval is None:
        return intervalWords(volume / scale, None, unit)
    return intervalWords(volume / scale, (interval[0] / scale, interval[1] / scale), unit)


def decimals(width: float, value: float) -> int:
    """How many decimals show two figures of a width, without more than four figures of the value itself."""
    if not width > 0:
        width = abs(value) / 10
    return max(0, min(_figures(width, 2), _figures(value, 4)))


def _figures(value: float, count: int) -> int:
    """Decimals that show so many figures of a value; of zero one decimal."""
    return count - 1 - math.floor(math.log10(abs(value))) if value else 1
