"""What a reader would find or miss: nodules of known place, size and contrast, by method and number of views.

    python Testing/benchmarks/lesions.py --json FILE [--views 60,20,8] [--cases 6] [--solver dds] [--draws 4]
        [--figure FILE]
    python Testing/benchmarks/lesions.py --data FOLDER --json FILE [--presets standard,few-views] [--views 60,30,20]
        [--noise noise_percent=0.2 --noise i0=1e5 ...] [--baseline JSON] [--page PNG] [--card CARD]

Without --data, cases are slices of the synthetic chest (512 x 512 pixels of 0.75 mm; base and upper part of the lungs
in turn, a new patient every two), in which about eleven nodules of 4 to 20 mm are added: 50 to 800 HU in the lungs, 50
to 300 HU in liver, heart and muscle. Scans (parallel beam, 0.2 % noise) are reconstructed on 256 x 256 as the pipeline
does. One detector, with one rule, reads every image: see lesion_reader.py. "truth" is the reference image read in the
same way: what no reconstruction can improve on. Contrast and size are those found, divided by those of the reference
(size of found nodules alone). Missed: share of the nodules without a blob. Invented: blobs a slice that the reference
lacks.

The share of draws that show a nodule is compared with how often there is one: among places where draws show a blob and
the reference has no anatomy. It holds for this many nodules a slice alone: with fewer, less of what is shown is real.
Last, whether the spread warns: its mean at missed and at found nodules over its mean elsewhere in the same region.

With --data, FOLDER holds real volumes that no prior was trained on. In slices at some depths (--depths) up to six known
lesions each are inserted into liver, kidney, muscle, lung and bone; the scan is simulated and reconstructed as a user
does it, without and with them, with the same noise and seed, by every preset, number of views and kind of noise (any
settings of the scan, with commas). A row a lesion: the part of its contrast that is kept, whether the interval holds
the truth inside it, what the data tell of it, which map warns of it; a row a slice: the interval's width outside
lesions, false alarms and invented lesions without any. Rows are written after each condition; what FILE holds already
is skipped. --page draws the six lesions that were lost although the data show them most clearly; --card writes the
limits of detection into a model card, for the rows of that prior.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "DiffusionRecon"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.lesion_cases import NOISES, Condition, conditions, key_of
from benchmarks.lesion_page import chosen, page
from benchmarks.lesion_phantom_table import figure, table
from benchmarks.lesion_phantoms import FINE_MM, FIRST_SEED, phantoms, read
from benchmarks.lesion_rows import MAPS, Rows, lesion_rows, measured
from benchmarks.lesion_table import summary
from diffusion_engine.commands.options import listed
from diffusion_engine.evaluation.detection import detection_limits
from diffusion_engine.modalities.table import FIRST, modality_named
from diffusion_engine.priors.card import read_card, write_card
from diffusion_engine.priors.library import load_prior
from diffusion_engine.run.settings import Settings


def on_phantoms(options: argparse.Namespace) -> None:
    """Nodules in the synthetic chest."""
    rows: Rows = []
    prior = load_prior("ct-body", torch.device("cpu"))
    for first in range(0, options.cases, 2):
        seed = FIRST_SEED + first // 2
        volume, cases = phantoms(seed)
        cases = cases[: options.cases - first]
        volume = volume.crop(slices=(0, len(cases)))
        for views in (int(part) for part in (options.views or "60,20,8").split(",")):
            settings = Settings(
                views=views, solver=options.solver, draws=options.draws, device="cpu", pixel_mm=1.999 * FINE_MM,
                seed=seed,
            )
            found, reading, spread = read(volume, cases, settings, prior, seed)
            rows += found
            if options.json:
                options.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
            if options.figure and first == 0:
                figure(reading, spread, options.figure.with_stem(f"{options.figure.stem}-{views}"))
            print(f"seed {seed}, {views} views: read", flush=True)
    print("\n".join(table(rows, options.draws)))


def on_data(options: argparse.Namespace) -> None:
    """Lesions in real slices."""
    modality = modality_named(options.modality)
    rows = stored(options.json)
    todo = list(conditions(
        options.data, modality, listed(options.presets, str), listed(options.views or "60,30,20", int),
        options.noise or NOISES, options.seed, listed(options.depths, float), options.device,
    ))
    if not todo:
        raise SystemExit(f"no slices of {modality.title} with room for a lesion in {options.data}: give other volumes")
    done = {key_of(row) for row in rows}
    for n, condition in enumerate(todo, 1):
        if key_of(condition.about) in done:
            continue
        began = time.perf_counter()
        card = load_prior(condition.settings.prior, torch.device("cpu"), modality.unit).card
        found, crops = measured(condition, card)
        rows += found
        write(options.json, rows)
        folder = crops_of(options.json)
        folder.mkdir(exist_ok=True)
        np.savez_compressed(folder / crop_name(condition), **crops)
        words = f"{condition.item.name}, {condition.preset}, {condition.settings.scan.views} views, {condition.noise}"
        print(f"{n} of {len(todo)}: {words}: {len(crops)} lesions, {time.perf_counter() - began:.0f} s", flush=True)
    asked = {key_of(condition.about): condition for condition in todo}
    rows = [row for row in rows if key_of(row) in asked]
    print("\n".join(summary(rows, modality.fallback, stored(options.baseline) if options.baseline else None)))
    limits = detection_limits(lesion_rows(rows))
    for limit in limits:
        print(json.dumps({name: value for name, value in limit.items() if name != "method"}))
    if options.card:
        card = read_card(options.card)
        own = [limit for limit in limits if limit["method"]["prior_sha256"] == card.sha256]
        write_card(replace(card, detection=own), options.card)
        print(f"{len(own)} of {len(limits)} limits are of the prior {card.name}, whose card has them now")
    if options.page:
        best = chosen(lesion_rows(rows))
        crops = [
            np.load(crops_of(options.json) / crop_name(asked[key_of(row)]))[str(row["lesion"])] for row in best
        ]
        maps = [key for key in MAPS if all(f"warned_{key}" in row for row in best)]
        page(best, crops, modality.fallback, maps, modality.unit, options.page)


def stored(path: Path) -> Rows:
    """The rows of a file, none where there is none."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else []


def write(path: Path, rows: Rows) -> None:
    """The rows, one a line; a file that is half written never takes the place of a whole one."""
    draft = path.with_suffix(".part")
    draft.write_text("[\n" + ",\n".join(map(json.dumps, rows)) + "\n]\n", encoding="utf-8")
    draft.replace(path)


def crops_of(path: Path) -> Path:
    """The folder of the crops beside a file of rows."""
    return path.with_name(f"{path.stem}-crops")


def crop_name(condition: Condition) -> str:
    """The file of a condition's crops."""
    scan = (f"{name}{value}" for name, value in sorted(condition.scan.items()))
    text = "-".join((condition.item.name, condition.about["slices"], condition.preset, *scan))
    return "".join(letter if letter.isalnum() or letter in "-." else "_" for letter in text) + ".npz"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--views", help="60,20,8; with --data 60,30,20")
    parser.add_argument("--cases", type=int, default=6)
    parser.add_argument("--solver", default="dds")
    parser.add_argument("--draws", type=int, default=4)
    parser.add_argument("--figure", type=Path, help="PNG of the first case, a file for each number of views")
    parser.add_argument("--data", type=Path, help="real volumes in place of phantoms")
    parser.add_argument("--modality", default=FIRST)
    parser.add_argument("--presets", default="standard")
    parser.add_argument("--noise", action="append", help="NAME=VALUE,...: a kind of noise, once for each")
    parser.add_argument("--depths", default="", help="of the slices, as parts of a volume (0.25,0.5,0.75)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--baseline", type=Path, help="earlier rows, with whose interval widths these are compared")
    parser.add_argument("--page", type=Path, help="PNG of six lesions")
    parser.add_argument("--card", type=Path, help="a model card that gets the limits of detection")
    options = parser.parse_args()
    if options.cases < 1 or options.draws < 2:
        parser.error("expected 1 case and 2 draws or more")
    if options.data is None:
        on_phantoms(options)
    elif options.json is None:
        parser.error("expected --json FILE with --data, where the rows are kept")
    else:
        on_data(options)


if __name__ == "__main__":
    main()
