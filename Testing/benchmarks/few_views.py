"""How many decibels the preset of few views buys for how much work: steps, products and draws side by side.

    python Testing/benchmarks/few_views.py --data FOLDER [--views 20,8] [--json FILE] [--rows NAME;NAME]

FOLDER holds ct_abdomen_crlm1006/ct.nii.gz and ct_chest_lidc0003/ct.nii.gz, on which no shipped prior was trained. Their
middle slices are scanned in the computer without inverse crime (parallel beam, 0.2 % noise) and reconstructed; PSNR of
the mean of all draws against the scanned slice, over 2000 HU. Work: network calls of all draws, a product counted as
one more call, in units of the preset Standard; a call of the medium network counts as much as it takes beside one of
Standard's, measured in turns on this machine. Finished rows of FILE are kept, so that a run can go on later, unless
they were measured with other weights or in another way.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "DiffusionRecon"))

from diffusion_engine.denoiser import positions
from diffusion_engine.evaluation.evaluate import indices_at
from diffusion_engine.io.images import read_volume
from diffusion_engine.metrics import psnr
from diffusion_engine.modalities.ct.problem import prepare
from diffusion_engine.priors.library import Prior, load_prior
from diffusion_engine.priors.slices import resample
from diffusion_engine.run.draws import diffusion_draws
from diffusion_engine.run.settings import Settings

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.protocol import weights_of

CASES = ("ct_abdomen_crlm1006", "ct_chest_lidc0003")
STANDARD = "standard"


@dataclass(frozen=True)
class Row:
    """One way to sample: the prior, steps of a draw, products of a step, draws, and whether they come in pairs."""

    name: str
    prior: str
    steps: int
    products: int
    draws: int
    pairs: bool
    prior_variance: float = 2.0

    @property
    def calls(self) -> int:
        """Network calls of all draws, a product counted as one."""
        return self.steps * (1 + self.products) * self.draws

    def settings(self, views: int) -> Settings:
        """The settings of a run of it."""
        options: dict[str, Any] = {"prior_variance": self.prior_variance}
        if self.pairs:
            options["antithetic"] = True
        if self.products:
            options["products"] = self.products
        return Settings(
            views=views, prior=self.prior, solver="dds", steps=self.steps, draws=self.draws, solver_options=options
        )


MEDIUM = "ct-body-medium"
ROWS = (
    Row(STANDARD, "ct-body", 30, 0, 4, False, 1.0),
    Row("40 steps", MEDIUM, 40, 0, 4, True),
    Row("60 steps", MEDIUM, 60, 0, 4, True),
    Row("26 steps, 1 product", MEDIUM, 26, 1, 4, True),
    Row("17 steps, 2 products", MEDIUM, 17, 2, 4, True),
    Row("13 steps, 3 products", MEDIUM, 13, 3, 4, True),
    Row("26 steps, 3 products, 2 draws", MEDIUM, 26, 3, 2, True),
    Row("thorough", MEDIUM, 30, 3, 8, True),
)


def today(row: Row) -> dict[str, Any]:
    """What the figures of a row depend on: how it is sampled, and the hash of its prior's weights."""
    return {"name": row.name, "calls": row.calls, "sampling": asdict(row), "weights": weights_of(row.prior)}


def is_current(entry: dict[str, Any]) -> bool:
    """Whether an entry of the file was measured with today's weights and in today's way."""
    return any(entry | today(row) == entry for row in ROWS)


def call_ratio(first: Prior, second: Prior, pairs: int = 9) -> float:
    """Time of a call of the second network over one of the first: the median over calls that take turns."""
    image, sigma = torch.zeros(1, 1, 256, 256), torch.tensor(0.2)
    place = positions(256, 256, (1.5, 1.5))

    def seconds(prior: Prior) -> float:
        start = time.perf_counter()
        with torch.no_grad():
            prior(image, sigma, place)
        return time.perf_counter() - start

    for prior in (first, second):
        seconds(prior)
    return statistics.median(seconds(second) / seconds(first) for _ in range(pairs))


def measured(folder: Path, case: str, views: int, row: Row) -> float:
    """PSNR in dB of the mean of a row's draws on the middle slice of a case."""
    volume = read_volume(folder / case / "ct.nii.gz", "HU")
    index = indices_at(volume, (0.5,))[0]
    volume = volume.crop(slices=(index, index + 1))
    settings = row.settings(views)
    prior = load_prior(row.prior, torch.device("cpu"))
    problem = prepare(volume, settings, torch.device("cpu"), prior.card)
    smooth = problem.classical("tv", settings.scan.tv_iterations)
    total, count = np.zeros((1, *problem.delivered.grid.shape)), 0
    for state in diffusion_draws(problem, settings, prior, slice(0, 1), smooth):
        if state.finished:
            total += resample(state.estimate, *problem.delivered.grid.shape).numpy() * 1000
            count += 1
    assert problem.reference is not None
    return round(psnr((total / count).astype(np.float32), problem.reference), 3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--views", default="20,8")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--rows", help="names out of the table, separated by semicolons (all)")
    options = parser.parse_args()
    wanted = [row for row in ROWS if options.rows is None or row.name in options.rows.split(";")]
    cpu = torch.device("cpu")
    ratio = call_ratio(load_prior("ct-body", cpu), load_prior(MEDIUM, cpu))
    standard = ROWS[0].calls
    found: dict[str, dict[str, Any]] = {}
    if options.json is not None and options.json.exists():
        rows = json.loads(options.json.read_text(encoding="utf-8"))["rows"]
        found = {row["name"]: row for row in rows if is_current(row)}

    def save() -> None:
        if options.json is not None:
            content = {"call_ratio": round(ratio, 3), "rows": list(found.values())}
            options.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")

    for views in (int(n) for n in options.views.split(",")):
        for row in wanted:
            entry = found.setdefault(row.name, {**today(row), "psnr": {}})
            entry["work"] = round(row.calls * (ratio if row.prior == MEDIUM else 1.0) / standard, 2)
            for case in CASES:
                key = f"{views} views, {case}"
                if key not in entry["psnr"]:
                    entry["psnr"][key] = measured(options.data, case, views, row)
                    save()
    save()
    keys = sorted({key for entry in found.values() for key in entry["psnr"]}, reverse=True)
    print(f"A call of {MEDIUM} takes {ratio:.2f} times one of ct-body.\n")
    print("| | work | " + " | ".join(keys) + " |\n|" + "---|" * (2 + len(keys)))
    for entry in found.values():
        print(f"| {entry['name']} | {entry['work']:.1f} | " + " | ".join(
            f"{entry['psnr'][key]:.2f}" if key in entry["psnr"] else "" for key in keys) + " |")


if __name__ == "__main__":
    main()
