"""The truth test: spreads of every solver against exact posteriors, with exact denoisers.

    .venv/bin/python Testing/benchmarks/posterior_truth.py --json F [--markdown F] [--solvers a,b] [--problems p,q]

For each solver and problem, over all its measurements: variance found / true in the measured and the unmeasured
subspace (eigenvectors of C^1/2 A'A C^1/2 / sigma^2 above and below 1, each direction with equal weight), error of the
posterior mean in posterior standard deviations (its Monte Carlo floor is 1 / sqrt(draws)), true probability of the
draws' 90 % interval (finite-sample quantiles), error of mode weights, network calls, vector-Jacobian products, seconds.
A solver earns "posterior" in CT and MRI with rows of every linear problem and none outside the limits, in PET with
those of a small PET too; wider limits earn "near-posterior". The floor counts against it.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / "DiffusionRecon"), str(Path(__file__).resolve().parent)]

import torch  # noqa: E402
from diffusion_engine.likelihoods.poisson import PoissonEmission  # noqa: E402
from diffusion_engine.likelihoods.relinearised import RelinearisedLikelihood  # noqa: E402
from diffusion_engine.modalities.table import MODALITIES  # noqa: E402
from diffusion_engine.posterior.intervals import prediction_interval  # noqa: E402
from diffusion_engine.run.presets import PRESETS  # noqa: E402
from diffusion_engine.sampling.noise import seeded  # noqa: E402
from diffusion_engine.solvers.catalogue import METHODS  # noqa: E402
from diffusion_engine.solvers.contract import POISSON, Method  # noqa: E402
from torch import Tensor  # noqa: E402
from truth_complex import COMPLEX  # noqa: E402
from truth_pet import PET  # noqa: E402
from truth_pet_blocks import BLOCKS  # noqa: E402
from truth_problems import PROBLEMS as EVEN  # noqa: E402
from truth_problems import Case, Truth, TruthProblem  # noqa: E402
from truth_uneven import UNEVEN  # noqa: E402

LIMITS = {"variance": (0.95, 1.05), "mean_error_sd": 0.1, "coverage90": (0.88, 0.92), "mode_weight_error": 0.05}
PROBLEMS = {**EVEN, **UNEVEN, **COMPLEX, **PET, **BLOCKS}
LINEAR = (*(name for name in EVEN if name != "poisson"), *UNEVEN, *COMPLEX)
"""The problems that are linear with Gaussian noise."""
LABELLED = {"ct": LINEAR, "mri": LINEAR, "pet": (*LINEAR, *PET, *BLOCKS)}
"""By modality, the problems on which its labels are earned: of PET those of counts too."""
TOLD = 0.025
"""Standard deviation of a variance ratio that its limit can be told from: of fewer directions it is not given."""
NEAR = {"variance": (0.9, 1.1), "mean_error_sd": 0.15, "coverage90": (0.88, 0.92), "mode_weight_error": 0.2}
"""The limits of the label "near-posterior"."""
CHUNK = 100
FIELDS = (
    "solver", "problem", "peer", "preset", "spread", "variance_ratio_measured", "variance_ratio_unmeasured",
    "mean_error_sd", "coverage90", "mode_weight_error", "forwards", "vjps", "seconds",
)


class Counted:
    """A denoiser that counts its calls and the vector-Jacobian products taken through them."""

    def __init__(self, denoiser: Any) -> None:
        self.denoiser = denoiser
        self.forwards = self.vjps = 0

    def __call__(self, x: Tensor, sigma: Tensor, condition: Tensor | None = None) -> Tensor:
        self.forwards += 1
        estimate = self.denoiser(x, sigma, condition)
        if estimate.requires_grad:
            estimate.register_hook(self._back)
        return estimate

    def _back(self, gradient: Tensor) -> None:
        self.vjps += 1


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--markdown", type=Path)
    parser.add_argument("--solvers", default=",".join(METHODS))
    parser.add_argument("--problems", default=",".join(PROBLEMS))
    parser.add_argument("--draws", type=int, help="of each measurement, instead of the problem's own number")
    parser.add_argument("--merge", action="store_true", help="keep the rows of other solvers and problems in the file")
    options = parser.parse_args(arguments)
    result: dict[str, Any] = {"limits": LIMITS, "problems": {}, "rows": [], "left_out": []}
    if options.merge and options.json.exists():
        result = _labelled(json.loads(options.json.read_text(encoding="utf-8")))
    solvers = options.solvers.split(",")
    for name in options.problems.split(","):
        problem = PROBLEMS[name]()
        problem = replace(problem, draws=options.draws or problem.draws)
        result["problems"][name] = {"draws": problem.draws, "cases": [case.remarks for case in problem.cases]}
        for solver in solvers:
            for key in ("rows", "left_out"):
                result[key] = [r for r in result[key] if (r["solver"], r["problem"]) != (solver, name)]
            row = run(METHODS[solver], problem)
            result["rows" if "reason" not in row else "left_out"].append(row)
            print(json.dumps(row), flush=True)
            options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    if "peers" not in result:
        result["peers"] = _peers(result) if "gauss_fourier" in result["problems"] else "not run"
    options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    text = markdown(result)
    print(text)
    if options.markdown:
        options.markdown.write_text(text, encoding="utf-8")
    return 0


def _labelled(result: dict[str, Any]) -> dict[str, Any]:
    """Earlier rows with the labels that their methods have now."""
    result["rows"] = [
        row if row["peer"] else
        {**row, "spread": label(row["solver"], row["problem"]), "preset": _preset(row["solver"])}
        for row in result["rows"]
    ]
    return result


def label(solver: str, problem: str) -> str:
    """The label of a method's draws, in PET where the problem is of PET."""
    method = METHODS[solver]
    return method.spread_for("pet") if problem in {**PET, **BLOCKS} else method.spread


def _preset(solver: str) -> str | None:
    name = next((key for key, preset in PRESETS.items() if solver in preset.solvers), None)
    return None if name is None else PRESETS[name].title


def run(method: Method, problem: TruthProblem) -> dict[str, Any]:
    """A row of the table, or {"solver", "problem", "reason"}."""
    scores, counts, began = [], [], time.perf_counter()
    for number, case in enumerate(problem.cases):
        denoiser = Counted(problem.denoiser)
        try:
            draws = torch.cat(list(_draws(method, denoiser, problem, case, number)))
        except (ValueError, FloatingPointError, AttributeError, TypeError, RuntimeError) as error:
            return {"solver": method.name, "problem": problem.name, "reason": str(error).splitlines()[0]}
        scores.append(score(draws, case.truth))
        blocks = -(-problem.draws // CHUNK)
        counts.append((denoiser.forwards / blocks, denoiser.vjps / blocks))
    row: dict[str, Any] = {
        "solver": method.name, "problem": problem.name, "peer": False, "draws": problem.draws,
        "preset": _preset(method.name), "spread": label(method.name, problem.name),
    }
    row.update(_worst(scores))
    row["forwards"] = round(max(c[0] for c in counts))
    row["vjps"] = round(max(c[1] for c in counts))
    row["seconds"] = round((time.perf_counter() - began) / len(problem.cases) / problem.draws, 4)
    return row


def _peers(result: dict[str, Any]) -> str:
    """Add deepinv's rows; returns what was measured or why not."""
    if importlib.util.find_spec("deepinv") is None:
        return "deepinv is not installed: its samplers were not run"
    from truth_peers import DRAWS, peer_rows

    for found in peer_rows(PROBLEMS["gauss_fourier"](), score):
        row = {
            "solver": found["solver"], "problem": "gauss_fourier", "peer": True, "preset": None, "spread": "",
            **_worst(found["scores"]), "forwards": found["forwards"], "vjps": 0, "seconds": found["seconds"],
        }
        print(json.dumps(row), flush=True)
        result["rows"].append(row)
    return f"deepinv's samplers at their defaults, {DRAWS} draws"


def _worst(scores: Sequence[dict[str, float | None]]) -> dict[str, float | None]:
    """Over measurements, each figure furthest from its ideal, so that no case hides behind another."""
    joined: dict[str, float | None] = {}
    for key in scores[0]:
        values = [s[key] for s in scores if s[key] is not None]
        joined[key] = round(_joined(key, values), 4) if values else None
    return joined


def _joined(key: str, values: list[float]) -> float:
    ideal = {"variance_ratio_measured": 1.0, "variance_ratio_unmeasured": 1.0, "coverage90": 0.9}.get(key, 0.0)
    return max(values, key=lambda v: abs(v - ideal))


def _draws(method: Method, denoiser: Counted, problem: TruthProblem, case: Case, number: int) -> Iterator[Tensor]:
    known = {"sigma_start": 2 * case.start_error, "sigma_data": 0.5}
    usual = MODALITIES[problem.modality].usual.get(method.name, {}) if problem.modality else {}
    options = method.options(dict(usual), **known)
    for block in range(0, problem.draws, CHUNK):
        count = min(CHUNK, problem.draws - block)
        start = case.start.expand(count, *case.start.shape).clone()
        likelihood = _likelihood(method, case.likelihood, start)
        steps = method.solve(denoiser, likelihood, start, options, seeded(1000 * number + block))
        yield deque(steps, 1)[0].estimate.detach()


def _likelihood(method: Method, own: Any, start: Tensor) -> Any:
    """The likelihood that a run gives a method: of emission counts their own, or the Gaussian that follows the step."""
    if not isinstance(own, PoissonEmission):
        return own
    counts = own.select(torch.zeros(len(start), dtype=torch.long))
    return counts if POISSON in method.likelihoods else RelinearisedLikelihood.of(counts, start.clamp_min(0))


def score(draws: Tensor, truth: Truth) -> dict[str, float | None]:
    """The table's figures for draws (n, rows, columns) of one posterior; of complex ones, intervals of their parts."""
    count = len(draws)
    found = truth.coordinates(draws).double()
    ratio = found.var(0) / truth.variance.double()
    away = (found.mean(0) - truth.mean.double()) / truth.variance.double().sqrt()
    seen = torch.view_as_real(draws) if draws.is_complex() else draws
    low, high = (torch.from_numpy(end).to(seen) for end in prediction_interval(seen.cpu().numpy()))
    modes = None
    if truth.mode_of is not None and truth.mode_weights is not None:
        mode = truth.mode_of(draws)
        shares = torch.stack([(mode == k).double().mean() for k in range(len(truth.mode_weights))])
        modes = float((shares - truth.mode_weights).abs().max())
    whole = modes is None
    measured = truth.measured if truth.measured is not None else torch.ones_like(ratio, dtype=torch.bool)
    return {
        "variance_ratio_measured": _told(ratio[measured], count) if whole else None,
        "variance_ratio_unmeasured": _told(ratio[~measured], count) if whole else None,
        "mean_error_sd": float(away.square().mean().sqrt()),
        "mean_error_floor": count**-0.5,
        "coverage90": float(truth.content(low, high).double().mean()),
        "mode_weight_error": modes,
    }


def _told(ratio: Tensor, draws: int) -> float | None:
    """The mean, None of so few directions that it is not known to TOLD."""
    return float(ratio.mean()) if len(ratio) and (2 / draws / len(ratio)) ** 0.5 <= TOLD else None


def outside(row: dict[str, Any], limits: dict[str, Any]) -> list[str]:
    """The figures of a row that lie outside the limits; those that do not arise (None) do not count."""
    low, high = limits["variance"]
    least, most = limits["coverage90"]
    within = {
        "variance_ratio_measured": (low, high), "variance_ratio_unmeasured": (low, high), "coverage90": (least, most),
        "mean_error_sd": (0.0, limits["mean_error_sd"]), "mode_weight_error": (0.0, limits["mode_weight_error"]),
    }
    return [key for key, (a, b) in within.items() if row[key] is not None and not a <= row[key] <= b]


def passes(
    rows: Sequence[dict[str, Any]], solver: str, modality: str, limits: dict[str, Any] = LIMITS
) -> bool:
    """Whether a solver has rows of all problems that a modality's labels need, and none of them outside the limits."""
    own = [row for row in rows if row["solver"] == solver and row["problem"] in LABELLED[modality]]
    return set(LABELLED[modality]) == {row["problem"] for row in own} and not any(outside(row, limits) for row in own)


def earned(rows: Sequence[dict[str, Any]], modality: str, limits: dict[str, Any]) -> list[str]:
    """The solvers that pass within ``limits``, by name."""
    return sorted(name for name in METHODS if passes(rows, name, modality, limits))


def _not_run(result: dict[str, Any], problem: str) -> list[str]:
    """The methods of the catalogue that have neither a row of the problem nor a reason to be left out."""
    known = {r["solver"] for key in ("rows", "left_out") for r in result[key] if r["problem"] == problem}
    return [name for name in METHODS if name not in known]


def markdown(result: dict[str, Any]) -> str:
    """The table as Markdown, one part a problem."""
    lines = ["# Spreads against exact posteriors", "", __doc__.split("\n\n")[2].replace("\n", " "), ""]
    for name, about in result["problems"].items():
        cases = "; ".join(", ".join(f"{k} {v}" for k, v in case.items()) for case in about["cases"])
        lines += [
            f"## {name}", "", f"{about['draws']} draws of each measurement unless the floor says otherwise: {cases}. "
            "The worst measurement is shown.",
            "", "| solver | label | variance, measured | unmeasured | mean error (floor) | coverage of 90 % | "
            "mode weights | calls + products | s a draw |", "|---|---|---|---|---|---|---|---|---|",
        ]
        for row in (r for r in result["rows"] if r["problem"] == name):
            shown = {key: "" if row[key] is None else f"{row[key]:.3f}" for key in FIELDS[5:10]}
            lines.append(
                f"| {row['solver']}{' (peer)' if row['peer'] else ''} | {row['spread']} | "
                f"{shown['variance_ratio_measured']} | {shown['variance_ratio_unmeasured']} | "
                f"{shown['mean_error_sd']} ({row['mean_error_floor']:.3f}) | {shown['coverage90']} | "
                f"{shown['mode_weight_error']} | {row['forwards']} + {row['vjps']} | {row['seconds']:.3f} |"
            )
        left = [r for r in result["left_out"] if r["problem"] == name]
        lines += [""] + [f"Left out: {r['solver']} ({r['reason']})." for r in left]
        missing = ", ".join(_not_run(result, name))
        lines += ([f"Not run: {missing}."] if missing else []) + [""]
    for title, limits in (("posterior", LIMITS), ("near-posterior", NEAR)):
        parts = [f"{modality.upper()}: {', '.join(earned(result['rows'], modality, limits)) or 'none'}"
                 for modality in LABELLED]
        lines.append(f'The label "{title}" or a better one is earned by these. {"; ".join(parts)}.')
    return "\n".join([*lines, f"Peers: {result['peers']}.", ""])


if __name__ == "__main__":
    raise SystemExit(main())
