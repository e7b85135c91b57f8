"""The engine from a shell: simulate, reconstruct, evaluate, train, distil, adapt, calibrate, priors, parts."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code: 0 done, 2 unusable input (one sentence on stderr)."""
    options = _parser().parse_args(arguments)
    try:
        result = options.command(options)
    except (ValueError, FloatingPointError) as error:
        print(str(error), file=sys.stderr)
        return 2
    except OSError as error:
        print(f"a file or folder cannot be used ({error}): choose another one", file=sys.stderr)
        return 2
    if options.json is not None:
        text = json.dumps(result, indent=2, allow_nan=False) + "\n"
        if options.json == "-":
            sys.stdout.write(text)
        else:
            Path(options.json).write_text(text, encoding="utf-8")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m diffusion_engine", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, command: Any, text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.add_argument("--json", metavar="FILE", help="write the machine-readable result there (- for stdout)")
        sub.set_defaults(command=command)
        return sub

    sub = add("simulate", simulate_command, "Scan a CT volume: writes sinogram.nrrd, geometry.json and reference.nrrd.")
    _add_source(sub)
    _add_scan(sub)
    sub.add_argument("--out", type=Path, required=True, help="output folder")

    sub = add("reconstruct", reconstruct_command, "Reconstruct a simulated or measured scan in a worker process.")
    _add_source(sub)
    sub.add_argument("--sinogram", type=Path, help="measured data instead of --input: NRRD (slices, views, detectors)")
    sub.add_argument("--geometry", dest="geometry_file", type=Path, help="geometry.json of the sinogram")
    _add_scan(sub)
    _add_methods(sub)
    sub.add_argument("--region", help="part of the images to deliver: i0,i1,j0,j1 (voxels of the input)")
    sub.add_argument("--pixel-mm", type=float, help="pixel size of the reconstruction")
    sub.add_argument("--keep-draws", action="store_true", help="deliver every draw as a volume")
    sub.add_argument("--out", type=Path, required=True, help="output folder (new or empty: it becomes the job folder)")

    sub = add("evaluate", evaluate_command, "Compare methods on the CT volumes of a folder, without inverse crime.")
    sub.add_argument("--modality", choices=["ct"], default="ct")
    sub.add_argument("--data", type=Path, help="folder of volumes (may be left out with --out)")
    sub.add_argument("--out", type=Path, help="assess the prior itself too, into this folder: denoising, draws, copies")
    sub.add_argument("--train-data", type=Path, help="with --out: the prior's training volumes, to look for copies")
    sub.add_argument("--files", default="*", help="with --out: pattern of the file names to denoise, such as 'pet*'")
    sub.add_argument("--samples", type=int, default=4, help="with --out: draws of the prior alone (4)")
    sub.add_argument("--unit", default="HU", help="of the prior, as in training; other than HU needs --out")
    sub.add_argument("--views", default="60,20,8", help="numbers of views (60,20,8)")
    sub.add_argument("--methods", default="fbp,tv,tv-oracle,dds", help="out of fbp, tv, tv-oracle and the solvers")
    sub.add_argument("--geometries", default="parallel", help="out of parallel, fan_flat, fan_curved (parallel)")
    _add_methods(sub, draws=8)

    sub = add("train", train_command, "Train a prior from a folder of volumes; continues its checkpoint.")
    _add_training(sub, "my-prior")
    sub.add_argument("--from", dest="origin", metavar="PRIOR", help="start from a prior's weights, by name or card")
    sub.add_argument("--size", help="of the network: small, medium, large (2.7, 6.9, 34.7 million); widens --from")
    sub.add_argument("--stack", action="store_true", help="learn three neighbouring slices at once")
    sub.add_argument(
        "--flip", action="store_true", help="learn left-right mirrored slices too: for the brain, not for the torso"
    )
    sub.add_argument(
        "--weigh", default="", help="how often sources are drawn, such as 'petctmr*=0.35,ct_slices*=1.6' (1 each)"
    )
    sub.add_argument("--compile", action="store_true", help="compile the network first: for runs of an hour")
    sub.add_argument("--split", action="store_true", help="write the weights as parts below 16 MB too (see parts)")

    sub = add("distil", distil_command, "Teach a prior's whole flow to a student of one call or a few.")
    sub.add_argument("--prior", required=True, help="the teacher: name or path of a card")
    _add_training(sub, "my-student")
    sub.add_argument("--skip", type=int, default=3, help="levels that the teacher passes at once (3)")

    sub = add("parts", parts_command, "Split a large file into parts below 16 MB, or join them.")
    sub.add_argument("file", type=Path, help="the file to split, or the .parts.json of one to join")

    sub = add("adapt", adapt_command, "Adapt a prior to a few CT volumes: writes a small adapter with a card.")
    sub.add_argument("--prior", default="ct-body", help="the base: name or path of a card (ct-body)")
    sub.add_argument("--data", type=Path, required=True, help="folder of CT volumes in HU")
    sub.add_argument("--exclude", default="", help="names of folders to leave out, with commas: kept for validation")
    sub.add_argument("--out", type=Path, required=True, help="folder for checkpoint, weights and card")
    sub.add_argument("--name", default="my-adapter", help="name of the adapter (my-adapter)")
    sub.add_argument("--steps", type=int, default=500, help="training steps (500)")
    sub.add_argument("--rank", type=int, default=8, help="rank of the change of each layer (8)")
    sub.add_argument("--seed", type=int, default=0)
    sub.add_argument("--device", default="auto")

    sub = add("calibrate", calibrate_command, "Fit a prior's calibration and gate; writes them into its card.")
    sub.add_argument("--prior", default="ct-body", help="name or path of a card (ct-body)")
    sub.add_argument("--data", type=Path, required=True, help="folder of the card's held-out and training volumes")
    sub.add_argument("--part", choices=["both", "factors", "typicality"], default="both", help="what to fit (both)")
    sub.add_argument("--slices", type=int, dest="slice_count", default=3, help="slices a held-out volume (3)")
    sub.add_argument("--solver", help="method to calibrate (dds)")
    sub.add_argument("--draws", type=int, default=4, help="draws a slice (4)")
    sub.add_argument("--steps", type=int, help="steps of the method (its own number)")
    sub.add_argument("--device", help="auto, cpu, cuda")

    sub = add("priors", priors_command, "List the priors and check their weights.")
    sub.add_argument("--folder", type=Path, help="another folder of cards")
    return parser


def _add_training(sub: argparse.ArgumentParser, name: str) -> None:
    sub.add_argument("--data", type=Path, required=True, help="folder of volumes")
    sub.add_argument(
        "--unit", default="HU", help="of the values: HU (CT), a.u. (MR), SUV (PET) or 'line integral' (of CT volumes)"
    )
    sub.add_argument("--files", default="*", help="pattern of the file names to take, such as 'mr*'")
    sub.add_argument("--exclude", default="", help="names of folders to leave out, with commas: kept for validation")
    sub.add_argument("--out", type=Path, required=True, help="folder for checkpoint, weights and card")
    sub.add_argument("--name", default=name, help=f"name of the prior ({name})")
    sub.add_argument("--steps", type=int, default=2000, help="training steps (2000)")
    sub.add_argument("--seed", type=int, default=0)
    sub.add_argument("--device", default="auto")


def _add_source(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--input", type=Path, help="CT volume in HU: .nrrd, .nii.gz, .mha or a DICOM folder")
    sub.add_argument("--slices", help="first,last (last not included)")


def _add_scan(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--views", type=int, help="projections (60)")
    sub.add_argument("--arc", type=float, dest="arc_degrees", help="degrees covered (180 parallel, 360 fan)")
    sub.add_argument("--beam", dest="geometry", choices=["parallel", "fan_flat", "fan_curved"], help="scan geometry")
    sub.add_argument("--noise-percent", type=float, help="Gaussian noise in %% of the largest line integral (0.2)")
    sub.add_argument("--i0", type=float, help="Poisson noise instead: photons a ray")
    sub.add_argument("--trust-unit", action="store_true", default=None, help="go on although it does not look like HU")


def _add_methods(sub: argparse.ArgumentParser, draws: int | None = None) -> None:
    if draws is None:
        sub.add_argument("--methods", help="out of fbp, tv, diffusion, with commas (all)")
        sub.add_argument("--preset", help="fast, standard, posterior, low-dose, unknown-anatomy or classical")
        sub.add_argument("--solver", help="a method of the catalogue (dds)")
        sub.add_argument("--coupling", help="of the slices: none, ztv, noise or ztv+noise (none)")
    sub.add_argument("--draws", type=int, default=draws, help=f"samples of the diffusion prior ({draws or 4})")
    sub.add_argument("--steps", type=int, help="steps of the method (its own number)")
    sub.add_argument("--sigma-start", type=float, help="first noise level in network units (automatic)")
    sub.add_argument("--prior", help="name or path of a card (ct-body)")
    sub.add_argument("--device", help="auto, cpu, cuda")
    sub.add_argument("--seed", type=int, help="of noise and draws (0)")


def _settings(options: argparse.Namespace) -> dict[str, Any]:
    """The settings that were given on the command line."""
    from .settings import Settings

    given = {key: value for key, value in vars(options).items() if key in Settings.__dataclass_fields__}
    values = {key: value for key, value in given.items() if value is not None and value is not False}
    for key, parse in (("slices", int), ("region", int), ("methods", str)):
        if isinstance(values.get(key), str):
            values[key] = _listed(values[key], parse)
    return values


def _listed(text: str, parse: type) -> list[Any]:
    try:
        return [parse(part.strip()) for part in text.split(",") if part.strip()]
    except ValueError:
        raise ValueError(f"expected numbers with commas between them, found '{text}'") from None


def simulate_command(options: argparse.Namespace) -> dict[str, Any]:
    """Write a simulated sinogram with its geometry and the reference image; returns their names and the geometry."""
    import torch

    from .io.images import write_volume
    from .measurement import Measurement, write_measurement
    from .problem import prepare
    from .settings import Settings

    volume = _read(options.input)
    problem = prepare(volume, Settings.from_dict(_settings(options)), torch.device("cpu"), None)
    data = problem.likelihood.data.numpy()
    out: Path = options.out
    out.mkdir(parents=True, exist_ok=True)
    measurement = Measurement(data, problem.geometry, float(volume.spacing_mm[2]))
    write_measurement(measurement, out / "sinogram.nrrd", out / "geometry.json")
    assert problem.reference is not None
    write_volume(problem.deliver(problem.reference), out / "reference.nrrd")
    return {
        "sinogram": "sinogram.nrrd", "geometry": "geometry.json", "reference": "reference.nrrd",
        "shape": list(data.shape), "noise_std": problem.noise_std, "notes": problem.notes, **problem.describe(),
    }


def reconstruct_command(options: argparse.Namespace) -> dict[str, Any]:
    """Run a job in its folder with a progress line; the folder is the result."""
    from .jobs import job, process
    from .measurement import read_measurement

    if options.sinogram is not None:
        if options.geometry_file is None:
            raise ValueError("a sinogram needs its geometry: give --geometry geometry.json")
        source: Any = read_measurement(options.sinogram, options.geometry_file)
    else:
        source = _read(options.input)
    job.write_job(options.out, source, _settings(options))

    def show(message: dict[str, Any]) -> None:
        if message["event"] == "progress" and sys.stderr.isatty():
            left = message["seconds_left"]
            text = "" if left is None else f", {left:.0f} s left"
            print(f"\r{message['stage']}: {100 * message['fraction']:.0f} %{text}        ", end="", file=sys.stderr)

    last = process.start(options.out).wait(show)
    if sys.stderr.isatty():
        print(file=sys.stderr)
    if last["event"] != "done":
        raise ValueError(last.get("message", "the reconstruction was cancelled"))
    report, _ = job.read_result(options.out)
    for name, score in report["metrics"].items():
        print(name, *(f"{key} {value}" for key, value in score.items()), sep="  ")
    for note in report["notes"]:
        print(note)
    return report


def evaluate_command(options: argparse.Namespace) -> Any:
    """Print and return the evaluation rows; with --out, the assessment of the prior, and in it these rows if any."""
    if options.out is None:
        if options.data is None:
            raise ValueError("nothing to evaluate on: give --data FOLDER, or --out FOLDER to assess the prior alone")
        if options.unit != "HU":
            raise ValueError("the comparison of methods is for CT in HU: give --out FOLDER to assess the prior alone")
        return _sparse_rows(options)
    from .pipeline import choose_device
    from .priors.library import load_prior
    from .settings import Settings
    from .training.assess import assess, lines

    prior = load_prior(options.prior or Settings().prior, choose_device(options.device or "auto"), options.unit)
    result = assess(
        prior, options.out, options.data, options.train_data, options.samples, options.seed or 0, options.files
    )
    print("\n".join(lines(result)), flush=True)
    wanted = options.unit == "HU" and options.data is not None and bool(_listed(options.views, int))
    return {**result, "rows": _sparse_rows(options) if wanted else []}


def _sparse_rows(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Compare methods on sparse-view CT."""
    from .evaluate import evaluate, find_items, summary
    from .settings import Settings

    methods, views = _listed(options.methods, str), _listed(options.views, int)
    options.methods = options.views = None
    settings = Settings.from_dict(_settings(options))
    items, skipped = find_items(options.data)
    for line in skipped:
        print(f"skipped {line}", flush=True)
    if not items:
        raise ValueError(f"no CT volume with slices of 512 x 512 pixels in {options.data}: nothing to evaluate")
    rows = []
    for row in evaluate(items, views, methods, settings, _listed(options.geometries, str)):
        rows.append(row)
        print(
            f"{row['geometry']} {row['views']:>3} {row['item']} {row['case']:>3} {row['method']:<9} "
            f"{row['psnr']:.2f} dB  ssim {row['ssim']:.3f}  residual {row['residual_ratio']:.2f}  "
            f"{row['seconds']:.1f} s",
            flush=True,
        )
    print("\n".join(summary(rows)))
    return rows


def train_command(options: argparse.Namespace) -> dict[str, Any]:
    """Train, export weights and card, and return the card."""
    from .training.run import train_prior

    card = train_prior(
        options.data, _listed(options.exclude, str), options.out, options.name, options.steps, options.seed,
        options.device, options.origin, unit=options.unit, size=options.size, stack=options.stack, flip=options.flip,
        files=options.files, weigh=_factors(options.weigh), compiled=options.compile,
    )
    if options.split:
        from .training.split import split

        print(f"parts listed in {split(options.out / card['weights'])}")
    return card


def _factors(text: str) -> dict[str, float]:
    """PATTERN=FACTOR pairs with commas between."""
    try:
        pairs = [part.split("=") for part in text.split(",") if part]
        return {pattern: float(factor) for pattern, factor in pairs}
    except ValueError:
        raise ValueError(f"expected PATTERN=FACTOR pairs with commas between, found '{text}': correct it") from None


def distil_command(options: argparse.Namespace) -> dict[str, Any]:
    """Distil, export the student's weights and card, and return the card."""
    from .training.distil_run import distil_prior

    return distil_prior(
        options.prior, options.data, _listed(options.exclude, str), options.out, options.name, options.steps,
        options.seed, options.device, options.unit, options.skip, options.files,
    )


def parts_command(options: argparse.Namespace) -> dict[str, Any]:
    """Split or join, and return the path that was written."""
    from .training.split import SUFFIX, join, split

    joining = options.file.name.endswith(SUFFIX)
    written = join(options.file) if joining else split(options.file)
    print(f"wrote {written}")
    return {"path": str(written)}


def adapt_command(options: argparse.Namespace) -> dict[str, Any]:
    """Fit an adapter, write its weights and card, and return the card."""
    from .training.adapt import adapt_prior

    return adapt_prior(
        options.prior, options.data, _listed(options.exclude, str), options.out, options.name, options.steps,
        options.rank, options.seed, options.device,
    )


def calibrate_command(options: argparse.Namespace) -> dict[str, Any]:
    """Fit and write calibration and typicality into the card; returns them. The weights stay as they are."""
    from dataclasses import replace

    from .calibrate import fit_factors, fit_scores
    from .pipeline import choose_device
    from .priors.card import read_card, write_card
    from .priors.library import PRIORS_FOLDER, load_prior
    from .settings import Settings

    settings = Settings.from_dict(_settings(options))
    prior = load_prior(settings.prior, choose_device(settings.device))
    path = PRIORS_FOLDER / f"{settings.prior}.json"
    path = path if path.exists() else Path(settings.prior)
    read_card(path)  # An adapter's card takes no calibration: refused before any work.
    if options.part != "factors":
        found = fit_scores(prior, options.data, settings)
        write_card(replace(read_card(path), typicality=found), path)
        print(f"typical up to a score of {found['threshold']:.2f}, fallback in full from {found['full']:.2f}")
    if options.part != "typicality":
        for entry in fit_factors(prior, options.data, settings, options.slice_count):
            card = read_card(path)
            others = [e for e in card.calibration if any(e.get(k) != entry[k] for k in _ACQUISITION)]
            write_card(replace(card, calibration=[*others, entry]), path)
            print(
                f"{entry['geometry']} {entry['views']:>3} views: factor {entry['factor']:.2f}, coverage of 90 % "
                f"intervals {entry['coverage90']:.3f} -> {entry['coverage90_calibrated']:.3f}", flush=True,
            )
    card = read_card(path)
    return {"calibration": card.calibration, "typicality": card.typicality}


_ACQUISITION = ("geometry", "views", "arc_degrees", "noise_percent", "solver")


def priors_command(options: argparse.Namespace) -> list[dict[str, Any]]:
    """List cards after loading each prior, so that hash, names and shapes are checked."""
    from dataclasses import asdict

    from .priors.library import PRIORS_FOLDER, list_priors, load_prior

    folder = options.folder or PRIORS_FOLDER
    cards = list_priors(folder)
    for card in cards:
        load_prior(str(folder / f"{card.name}.json"), unit=card.unit)
        print(
            f"{card.name}: {card.title}, {card.anatomy}; {card.unit}, pixels "
            f"{card.pixel_mm[0]}-{card.pixel_mm[1]} mm; {card.date}, {card.licence}; weights match their hash"
        )
    return [asdict(card) for card in cards]


def _read(path: Path | None) -> Any:
    from .io.images import read_volume

    if path is None:
        raise ValueError("no input: give --input with a CT volume in HU")
    volume = read_volume(path)
    # NRRD and NIfTI carry no unit; what the values look like is questioned later.
    return volume if volume.unit != "a.u." else type(volume)(volume.array, volume.ijk_to_ras, "HU")


if __name__ == "__main__":
    sys.exit(main())
