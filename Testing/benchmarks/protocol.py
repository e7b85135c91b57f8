"""What the presets reach beside classical reconstruction: the shell's ``evaluate`` for each of them, in one file.

    python Testing/benchmarks/protocol.py --data FOLDER [--json FILE] [--views 60,20,8] [--presets fast,standard]

FOLDER holds CT volumes with slices of 512 x 512 pixels or more that no prior was trained on; what they are scanned and
compared like is said in ``diffusion_engine/evaluation/evaluate.py``. FBP, TV and the best TV that there is for each
image stand beside Standard. Finished parts of FILE are kept, so that a run can go on later, unless the weights or the
settings of the preset are others now.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "DiffusionRecon"))

from diffusion_engine.__main__ import main as shell
from diffusion_engine.run.presets import PRESETS
from diffusion_engine.solvers.listing import listed_methods

ROOT = Path(__file__).resolve().parents[2]
RESULTS = Path(__file__).with_name("results")
PRIORS = ROOT / "DiffusionRecon" / "Resources" / "Priors"
DEFAULT_PRIOR = "ct-body"
PLANNED = {"standard": (60, 20, 8), "fast": (60, 20, 8), "few-views": (20, 8)}
"""The presets of the protocol and the views at which each is measured."""
BESIDE = "standard"
"""The preset in whose run the classical images are made, too."""


def weights_of(name: str) -> str:
    """The hash of a shipped prior's weights, as its card has it."""
    return json.loads((PRIORS / f"{name}.json").read_text(encoding="utf-8"))["sha256"]


def part_of(preset: str) -> dict[str, Any]:
    """What a preset's rows depend on: its settings, all options of its method and its prior's weights."""
    changes = {key: value for key, value in PRESETS[preset].changes.items() if key != "preset"}
    prior = changes.pop("prior", DEFAULT_PRIOR)
    usual = {option.name: option.default for option in listed_methods()[changes["solver"]].options}
    options = {**usual, **changes.get("solver_options", {})}
    return {
        "preset": preset, "prior": prior, "weights": weights_of(prior), "settings": changes, "options": options,
    }


def arguments_of(part: dict[str, Any], views: int, data: Path) -> list[str]:
    """The arguments of ``evaluate`` for one part of the protocol at some number of views."""
    settings = part["settings"]
    methods = [settings["solver"]] if part["preset"] != BESIDE else ["fbp", "tv", "tv-oracle", settings["solver"]]
    given = ["evaluate", "--data", str(data), "--views", str(views), "--methods", ",".join(methods)]
    given += ["--no-lesions", "--prior", part["prior"]]
    given += ["--draws", str(settings["draws"]), "--steps", str(settings["steps"])]
    for name, value in settings.get("solver_options", {}).items():
        given += ["--option", f"{name}={json.dumps(value)}"]
    return given


def kept_parts(path: Path) -> list[dict[str, Any]]:
    """The parts of a file whose weights and settings are today's; none where there is no file."""
    if not path.exists():
        return []
    found = json.loads(path.read_text(encoding="utf-8"))["parts"]
    return [part for part in found if part["preset"] in PLANNED and is_current(part)]


def is_current(part: dict[str, Any]) -> bool:
    """Whether a part was measured with the weights and the settings that its preset has today."""
    today = part_of(part["preset"])
    return all(part.get(key) == today[key] for key in today)


def write(path: Path, parts: Sequence[dict[str, Any]]) -> None:
    """The parts as JSON, one row a line."""
    texts = []
    for part in parts:
        head = {key: value for key, value in part.items() if key != "rows"}
        rows = ",\n".join(f"   {json.dumps(row)}" for row in part["rows"])
        texts.append(f'  {{{json.dumps(head)[1:-1]},\n  "rows": [\n{rows}\n  ]}}')
    path.write_text('{"parts": [\n' + ",\n".join(texts) + "\n]}\n", encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--json", type=Path, default=RESULTS / "protocol.json")
    parser.add_argument("--views", default="60,20,8")
    parser.add_argument("--presets", default=",".join(PLANNED))
    options = parser.parse_args(arguments)
    wanted = {int(views) for views in options.views.split(",")}
    parts = kept_parts(options.json)
    for preset in options.presets.split(","):
        part = next((known for known in parts if known["preset"] == preset), None)
        if part is None:
            part = {**part_of(preset), "rows": []}
            parts.append(part)
        measured = {row["views"] for row in part["rows"]}
        for views in (n for n in PLANNED[preset] if n in wanted - measured):
            with tempfile.TemporaryDirectory() as folder:
                report = Path(folder) / "rows.json"
                if shell([*arguments_of(part, views, options.data.resolve()), "--json", str(report)]) != 0:
                    return 2
                part["rows"] += json.loads(report.read_text(encoding="utf-8"))
            write(options.json, parts)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
