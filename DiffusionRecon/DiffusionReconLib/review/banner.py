"""What must be said above every result: how far it fits the data, the prior and its own error bars."""

from __future__ import annotations

from dataclasses import dataclass

GOOD, WARNING, BAD, PLAIN = "good", "warning", "bad", "plain"
LABELS = {
    "posterior": ("The uncertainty is a posterior standard deviation under this prior.", PLAIN),
    "near-posterior": ("The uncertainty is a spread of draws near the posterior, not an error bar.", WARNING),
    "concentrated": ("The uncertainty is a spread of estimates, not an error bar.", WARNING),
    "point": ("One estimate only: it has no uncertainty.", WARNING),
}
NOT_DIAGNOSTIC = "Not for diagnostic use."


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
        lines += [_gate(report.get("gate")), BannerLine(*LABELS[spread])]
        if spread != "point":
            lines.append(_calibration(report.get("calibration")))
    return [*lines, BannerLine(NOT_DIAGNOSTIC, WARNING)]


def _residual(report: dict) -> BannerLine:
    tests = {test["kind"]: test for test in report.get("residual_tests") or []}
    test = next((tests[kind] for kind in ("mean", "tv", "fbp") if kind in tests), None)
    if test is None:
        return BannerLine("Residual test: not made.", WARNING)
    low, high = test["accepted"]
    text = f"{test['ratio']:.2f} times the noise"
    if test.get("explains", True):
        text += f" (normal here: {low:.2f} to {high:.2f})"
    else:
        text += ", too large a part of the data themselves"
    if test["passed"]:
        # Passing it proves no more than that: what the scanner cannot see leaves no residual.
        return BannerLine(f"Residual test passed: {text}. It cannot see invented structure.", GOOD)
    # Reports of earlier versions have no advice.
    advice = test.get("advice", "Check geometry, units and noise level before any image is used.")
    return BannerLine(f"Residual test failed: {text}. {advice}".rstrip(), BAD)


def _gate(gate: dict | None) -> BannerLine:
    if gate is None:
        return BannerLine("Likeness to the prior's training data: not tested.", WARNING)
    score = f"score {gate['score']:.2f}, limit {gate['threshold']:.2f}"
    if gate["passed"]:
        return BannerLine(f"Like the prior's training data: {score}.", GOOD)
    share = f"{100 * gate['blend']:.0f} % of the shown image is the classical one"
    if not gate["blend"]:
        share = "no image explains the data, so none takes its place"
    return BannerLine(f"Unlike the prior's training data: {score}; {share}.", BAD)


def _calibration(calibration: dict | None) -> BannerLine:
    if calibration is None or not calibration["matched"]:
        return BannerLine("Uncertainty not calibrated for this acquisition.", WARNING)
    before, after = (100 * calibration[key] for key in ("coverage90", "coverage90_calibrated"))
    return BannerLine(
        f"Uncertainty calibrated for this acquisition: 90 % intervals held {after:.0f} % of the truth on held-out "
        f"cases ({before:.0f} % before).",
        GOOD if abs(after - 90) <= 5 else WARNING,
    )
