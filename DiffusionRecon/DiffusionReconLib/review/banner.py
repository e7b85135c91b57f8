"""What must be said above every result: how far it fits the data, the prior and its own error bars."""

from __future__ import annotations

from dataclasses import dataclass

from slicer.i18n import tr as _

from DiffusionReconLib.scene.classical import classicalTitles, firstOf

GOOD, WARNING, BAD, PLAIN = "good", "warning", "bad", "plain"


def labels() -> dict[str, tuple[str, str]]:
    """What the uncertainty of each kind of spread is, and the state of that line."""
    return {
        "posterior": (_("The uncertainty is a posterior standard deviation under this trained model."), PLAIN),
        "near-posterior": (
            _("The uncertainty is a spread of samples near the posterior, not an error bar."), WARNING,
        ),
        "concentrated": (_("The uncertainty is a spread of estimates, not an error bar."), WARNING),
        "point": (_("One estimate only: it has no uncertainty."), WARNING),
    }  # fmt: skip


def notDiagnostic() -> str:
    """The sentence that every result carries."""
    return _("Not for diagnostic use.")


@dataclass(frozen=True)
class BannerLine:
    """One line of the banner; `state` is "good", "warning", "bad" or "plain"."""

    text: str
    state: str


def banner(report: dict) -> list[BannerLine]:
    """The banner of a result: residual test, likeness to the training data, label, calibration, and its limits."""
    diffusion = report.get("prior") is not None
    lines = [_residual(report)]
    if diffusion:
        # One draw has no spread, whatever its method's is called.
        spread = (report.get("spread") or "point") if report.get("draws", 2) > 1 else "point"
        lines += [_gate(report.get("gate")), BannerLine(*labels()[spread])]
        if spread != "point":
            lines.append(_calibration(report.get("calibration")))
        lines += [_map(key, told) for key, told in (report.get("maps") or {}).items()]
    return [*lines, BannerLine(notDiagnostic(), WARNING)]


def _residual(report: dict) -> BannerLine:
    tests = {test["kind"]: test for test in report.get("residual_tests") or []}
    test = tests.get(firstOf(tests, "mean", *classicalTitles(report.get("modality") or ""), *reversed(tests)) or "")
    if test is None:
        return BannerLine(_("Residual test: not made."), WARNING)
    low, high = test["accepted"]
    numbers = {"ratio": f"{test['ratio']:.2f}", "low": f"{low:.2f}", "high": f"{high:.2f}"}
    if test.get("explains", True):
        text = _("{ratio} times the noise (normal here: {low} to {high})").format(**numbers)
    else:
        text = _("{ratio} times the noise, too large a part of the data themselves").format(**numbers)
    if test["passed"]:
        # Passing it proves no more than that: what the scanner cannot see leaves no residual.
        return BannerLine(
            _("Residual test passed: {result}. It cannot see invented structure.").format(result=text), GOOD
        )
    # Reports of earlier versions have no advice.
    advice = test.get("advice", _("Check geometry, units and noise level before any image is used."))
    advice = " ".join(part for part in (advice, test.get("misfit", "")) if part)
    return BannerLine(_("Residual test failed: {result}. {advice}").format(result=text, advice=advice).rstrip(), BAD)


def _gate(gate: dict | None) -> BannerLine:
    if gate is None:
        return BannerLine(_("Likeness to the model's training data: not tested."), WARNING)
    numbers = {"score": f"{gate['score']:.2f}", "limit": f"{gate['threshold']:.2f}"}
    if gate["passed"]:
        return BannerLine(_("Like the model's training data: score {score}, limit {limit}.").format(**numbers), GOOD)
    # Reports of earlier versions know no image that was kept.
    if gate.get("kept"):
        text = _("Unlike the model's training data: score {score}, limit {limit}; the classical image was found to be "
                 "no better, so the mean stays.")  # fmt: skip
        return BannerLine(text.format(**numbers), WARNING)
    if gate["blend"]:
        share = _("{share} % of the shown image is the classical one").format(share=f"{100 * gate['blend']:.0f}")
    else:
        share = _("no image explains the data, so none takes its place")
    text = _("Unlike the model's training data: score {score}, limit {limit}; {consequence}.")
    return BannerLine(text.format(consequence=share, **numbers), BAD)


def _map(key: str, told: dict) -> BannerLine:
    """What a map warns of. No warning is no good news: what both images lack leaves no trace."""
    titles = {
        "prior_decided": _("Where the model decided"), "data_disagree": _("Where the data and this image disagree"),
    }
    words = {"title": titles.get(key, key), "limit": f"{told['threshold'] or 0:.1f}", "count": len(told["warnings"])}
    if told["threshold"] is None:
        text = _("{title}: not calibrated for this acquisition, warns of no place.")
        return BannerLine(text.format(**words), WARNING)
    rate = told.get("false_alarms_per_32_slices")
    if rate is None:
        chance = _("rate of false alarms not known here")
    else:
        chance = _("{rate} false alarms in 32 ordinary slices").format(rate=f"{rate:.2g}")
    if not words["count"]:
        text = _("{title}: no place stands out, limit z {limit}, {chance}. That excludes no lesion.")
        return BannerLine(text.format(**words, chance=chance), PLAIN)
    text = _("{title}: 1 place to look at, limit z {limit}, {chance}.") if words["count"] == 1 else _(
        "{title}: {count} places to look at, limit z {limit}, {chance}.")
    return BannerLine(text.format(**words, chance=chance), BAD)


def _calibration(calibration: dict | None) -> BannerLine:
    if calibration is None or not calibration["matched"]:
        return BannerLine(_("Uncertainty not calibrated for this acquisition."), WARNING)
    before, after = (100 * calibration[key] for key in ("coverage90", "coverage90_calibrated"))
    text = _("Uncertainty calibrated for this acquisition: 90 % intervals held {after} % of the truth on held-out "
             "cases ({before} % before).")  # fmt: skip
    return BannerLine(
        text.format(after=f"{after:.0f}", before=f"{before:.0f}"), GOOD if abs(after - 90) <= 5 else WARNING
    )
