"""Simulates a sparse scan and reconstructs it classically and with a diffusion prior, with an uncertainty map.

Of CT few views, with --modality mri k-space of few lines, with --modality pet few counts. Without --input it scans a
built-in synthetic chest, head or torso.
Leaves in the output folder the volumes (.nrrd), result.json, a Slicer scene (scene.mrb) and a picture of its views
(views.png). The first call sets up an environment of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path

from demo_report import Bar, files_table, methods_table
from environment import ROOT, prepare

CHEST_SHAPE, CHEST_SPACING_MM = (256, 256), (8.0, 1.5, 1.5)
HEAD_SHAPE, HEAD_SPACING_MM = (256, 256), (5.0, 0.9, 0.9)
TORSO_SHAPE, TORSO_SPACING_MM = (128, 128), (5.0, 4.5, 4.5)
SLICES = {"ct": 8, "mri": 2, "pet": 2}
PHANTOMS = {"ct": "the synthetic chest", "mri": "the synthetic head", "pet": "the synthetic torso"}
BAD_INPUT, FAILED, INTERRUPTED = 2, 1, 130


class BadInput(Exception):
    """What is wrong with the input or the output folder, in one sentence."""


def parse(arguments: list) -> argparse.Namespace:
    """The command line; argparse itself ends with code 2 and one line on bad values."""
    parser = argparse.ArgumentParser(prog="demo.py", description=__doc__)
    parser.add_argument("--modality", choices=list(SLICES), default="ct", help="of the scan (ct)")
    parser.add_argument("--input", type=Path, help="CT, MR or PET volume: .nrrd, .nii.gz or a folder of DICOM slices")
    parser.add_argument("--assume-hu", action="store_true", help="take the input as CT in HU whatever it looks like")
    parser.add_argument("--slices", type=_whole(1, 4096), help="slices from the middle of the input (8; MRI, PET 2)")
    parser.add_argument("--acceleration", type=_acceleration, default=4.0, help="of MRI: all samples over measured (4)")
    parser.add_argument("--counts", type=_counts, default=0.1, help="of PET: million true counts a slice (0.1)")
    parser.add_argument("--views", type=_whole(2, 4096), default=60, help="projections of the simulated scan (60)")
    parser.add_argument("--arc", type=_degrees, default=180.0, help="degrees that the views cover (180)")
    parser.add_argument("--draws", type=_whole(1, 1024), default=4, help="samples drawn with the diffusion prior (4)")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--seed", type=_whole(0, 2**31 - 1), default=0, help="of noise and samples (0)")
    parser.add_argument("--gui", action="store_true", help="open the module's panel instead, on a stand-in for Slicer")
    parser.add_argument("--out", type=Path, default=ROOT / "demo-output", help="output folder (demo-output)")
    options = parser.parse_args(arguments)
    options.slices = options.slices or SLICES[options.modality]
    return options


def load(options: argparse.Namespace):
    """The volume to scan, and label values for the scene (body 1, lungs 2, bone 3, nodules 4) where known."""
    import numpy as np
    from diffusion_engine.io.images import read_volume
    from diffusion_engine.modalities.table import MODALITIES
    from diffusion_engine.volume import Volume, check_image

    entry = MODALITIES[options.modality]
    if options.input is None and options.modality == "mri":
        from diffusion_engine.phantoms.brain import synthetic_brain

        return synthetic_brain((options.slices, *HEAD_SHAPE), HEAD_SPACING_MM, seed=0)[0], None
    if options.input is None and options.modality == "pet":
        from diffusion_engine.phantoms.torso import synthetic_torso

        return synthetic_torso((options.slices, *TORSO_SHAPE), TORSO_SPACING_MM, seed=0).activity, None
    if options.input is None:
        from diffusion_engine.phantoms.chest import synthetic_chest

        volume, masks = synthetic_chest((options.slices, *CHEST_SHAPE), CHEST_SPACING_MM, seed=0)
        labels = np.zeros(volume.array.shape, np.uint8)
        for value, name in enumerate(("body", "lungs", "bone", "nodules"), 1):
            labels[masks[name] > 0] = value
        return volume, Volume(labels, volume.ijk_to_ras, "a.u.")
    try:
        whole = read_volume(options.input)
        first = max(0, (whole.array.shape[0] - options.slices) // 2)
        volume = whole.crop(slices=(first, min(whole.array.shape[0], first + options.slices)))
        check_image(volume)
        question = None if options.assume_hu else entry.question(volume)
    except ValueError as error:
        raise BadInput(str(error)) from error
    if question is not None:
        raise BadInput(f"{question} If it is, add --assume-hu.")
    unit = volume.unit if options.modality == "pet" and volume.unit != "a.u." else entry.unit
    return Volume(volume.array.astype(np.float32), volume.ijk_to_ras, unit), None


def scan_of(options: argparse.Namespace) -> tuple:
    """The settings of the simulated scan, and it in words."""
    if options.modality == "mri":
        return {"acceleration": options.acceleration}, f"{options.acceleration:g}-fold accelerated"
    if options.modality == "pet":
        return {"counts": options.counts}, f"{options.counts:g} million counts a slice"
    return {"views": options.views, "arc_degrees": options.arc}, f"{options.views} views over {options.arc:g} degrees"


def reconstruct(volume, settings: dict, folder: Path) -> dict:
    """Run the job in a process of its own and return its last message; Ctrl-C ends that process first."""
    from diffusion_engine.jobs import job, process

    job.write_job(folder, volume, settings)
    running = process.start(folder)
    bar = Bar(sys.stdout)
    try:
        return running.wait(bar.show)
    except KeyboardInterrupt:
        running.cancel()
        running.wait()
        raise
    finally:
        bar.end()


def collect(folder: Path, labels, staging: Path) -> dict:
    """Copy the outputs of a finished job to ``staging``, add the scene and its picture; return the report."""
    from diffusion_engine.io.images import read_volume, write_volume
    from diffusion_engine.jobs import job
    from host.render import publishAndRender

    report, volumes = job.read_result(folder)
    if labels is not None and read_volume(volumes["mean"]).array.shape == labels.array.shape:
        write_volume(labels, folder / "segments.nrrd")
    for path in (*volumes.values(), folder / job.RESULT):
        shutil.copyfile(path, staging / path.name)
    print("Rendering the views with Slicer's displayable managers", flush=True)
    publishAndRender(folder, staging)
    return report


def make_staging(out: Path) -> Path:
    """A folder beside the output folder, where files become complete before they get their final place."""
    try:
        if out.exists() and not out.is_dir():
            raise NotADirectoryError(0, "it is a file")
        out.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=out.name + ".", suffix=".part", dir=out.parent))
        if out.exists() and not os.access(out, os.W_OK):
            staging.rmdir()
            raise PermissionError(0, "not permitted")
    except OSError as error:
        raise BadInput(
            f"expected an output folder that can be written, found {out} ({error.strerror}): choose another by --out"
        ) from error
    return staging


def deliver(staging: Path, out: Path) -> list:
    """Move finished files to the output folder; samples of an earlier, larger run there are removed."""
    out.mkdir(exist_ok=True)
    try:
        earlier = json.loads((out / "result.json").read_text(encoding="utf-8"))["files"].values()
    except (OSError, ValueError, KeyError, AttributeError):
        earlier = []
    for name in earlier:
        if re.fullmatch(r"draw_\d+\.nrrd", str(name)):
            (out / name).unlink(missing_ok=True)
    # result.json last: where it is, everything is.
    files = sorted(staging.iterdir(), key=lambda path: (path.name == "result.json", path.name))
    for path in files:
        os.replace(path, out / path.name)
    return [out / path.name for path in files]


def main(options: argparse.Namespace) -> int:
    """The whole demonstration; returns the exit code: 0, 1 when it failed, 2 for bad input, 130 after Ctrl-C."""
    out = options.out.expanduser().absolute()
    made = [place for place in out.parents if not place.exists()]
    staging = None
    code = FAILED
    try:
        volume, labels = load(options)
        staging = make_staging(out)
        slices, rows, columns = volume.array.shape
        scan, words = scan_of(options)
        phantom = PHANTOMS[options.modality]
        print(f"Scanning {phantom if options.input is None else options.input}: {slices} slices of "
              f"{rows} x {columns}, {words}", flush=True)
        settings = {
            "modality": options.modality, **scan, "draws": options.draws, "device": options.device,
            "seed": options.seed, "keep_draws": True, **({"trust_unit": True} if options.assume_hu else {}),
        }
        with tempfile.TemporaryDirectory(prefix="diffusion-demo-", ignore_cleanup_errors=True) as temporary:
            folder = Path(temporary) / "job"
            last = reconstruct(volume, settings, folder)
            if last["event"] != "done":
                log = Path(tempfile.gettempdir()) / "diffusion-demo-worker.log"
                shutil.copyfile(folder / "worker.log", log)
                print(last["message"].replace("worker.log", str(log)), file=sys.stderr)
                return FAILED
            report = collect(folder, labels, staging)
        files = deliver(staging, out)
        print("\n".join(["", *methods_table(report), "", *files_table(files)]), flush=True)
        code = 0
    except BadInput as error:
        print(str(error), file=sys.stderr)
        code = BAD_INPUT
    except (ValueError, RuntimeError, OSError) as error:
        print(" ".join(str(error).split()), file=sys.stderr)
    except KeyboardInterrupt:
        print("Interrupted: nothing was saved.", file=sys.stderr)
        code = INTERRUPTED
    finally:
        if staging is not None:
            shutil.rmtree(staging, ignore_errors=True)
        if not out.exists():
            for place in made:
                if place.exists() and not any(place.iterdir()):
                    place.rmdir()
    return code


def show(options: argparse.Namespace) -> int:
    """Open the module's panel beside the rendered views, with the volume in the scene, until the window is closed."""
    try:
        volume, _labels = load(options)
    except BadInput as error:
        print(str(error), file=sys.stderr)
        return BAD_INPUT
    from host import window

    return window.run(ROOT / "DiffusionRecon" / "DiffusionRecon.py", volume)


def _whole(low: int, high: int):
    def number(text: str) -> int:
        if not re.fullmatch(r"\d{1,10}", text) or not low <= int(text) <= high:
            raise argparse.ArgumentTypeError(f"expected a whole number from {low} to {high}, found {text!r}")
        return int(text)

    return number


def _acceleration(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 1 <= value <= 32:
        raise argparse.ArgumentTypeError(f"expected an acceleration from 1 to 32, found {text!r}")
    return value


def _counts(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 1e-4 <= value <= 1000:
        raise argparse.ArgumentTypeError(f"expected counts from 0.0001 to 1000 million, found {text!r}")
    return value


def _degrees(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 360:
        raise argparse.ArgumentTypeError(f"expected degrees above 0 and up to 360, found {text!r}")
    return value


if __name__ == "__main__":
    chosen = parse(sys.argv[1:])
    prepare("gui" if chosen.gui else "demo")
    sys.exit(show(chosen) if chosen.gui else main(chosen))
