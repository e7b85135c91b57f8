"""Simulate a scan, reconstruct one."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from ..modalities.table import FIRST, MODALITIES, modality_named, recognised
from ..run.settings import KEEP
from .options import Parsers, add_command, add_methods, given_settings


def add(parsers: Parsers) -> None:
    """Register the commands of this file."""
    sub = add_command(
        parsers, "simulate", simulate_command,
        "Scan a volume: writes the measured data (of CT sinogram.nrrd and geometry.json, of MRI kspace.h5) and "
        "reference.nrrd.",
    )
    _add_volume(sub)
    _add_acquisition(sub)
    sub.add_argument("--out", type=Path, required=True, help="output folder")

    sub = add_command(
        parsers, "reconstruct", reconstruct_command, "Reconstruct a simulated or measured scan in a worker process."
    )
    add_scan(sub)
    add_methods(sub)
    sub.add_argument("--region", help="part of the images to deliver: i0,i1,j0,j1 (voxels of the input)")
    sub.add_argument("--pixel-mm", type=float, help="pixel size of the reconstruction")
    sub.add_argument("--keep", help="what to deliver of the mean and its maps, with commas: " + ", ".join(KEEP))
    sub.add_argument("--keep-draws", action="store_true", help="deliver every draw as a volume")
    sub.add_argument("--out", type=Path, required=True, help="output folder (new or empty: it becomes the job folder)")


def add_scan(sub: argparse.ArgumentParser) -> None:
    """A scan, measured or to be simulated from a volume; see :func:`scan_source`."""
    _add_volume(sub)
    sub.add_argument(
        "--sinogram", "--measured", type=Path,
        help="measured data instead of --input: NRRD (slices, views, detectors), or a file of raw data",
    )
    sub.add_argument(
        "--geometry", "--description", dest="geometry_file", type=Path,
        help="geometry.json of the sinogram, or the JSON file that describes raw data",
    )
    _add_acquisition(sub)


def scan_source(options: argparse.Namespace) -> Any:
    """The measurement or volume that the options of :func:`add_scan` name; raises ValueError where one is lacking.

    Measured data tell their modality, which is then that of the ``options``.
    """
    if options.sinogram is None:
        return _read(options)
    alone = any(entry.files.recognise(options.sinogram, None) for entry in MODALITIES.values())
    if options.geometry_file is None and not alone:
        raise ValueError("a sinogram needs its geometry: give --geometry geometry.json")
    entry = recognised(options.sinogram, options.geometry_file)
    if options.modality not in (None, entry.name):
        raise ValueError(
            f"expected measured data of {options.modality}, found {entry.title}: leave out --modality or correct it"
        )
    options.modality = entry.name
    measured = entry.files.read(options.sinogram, options.geometry_file)
    print(entry.files.summarise(measured), file=sys.stderr)
    return measured


def _add_volume(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "--input", type=Path, help="volume (CT in HU, MR, or PET): .nrrd, .nii.gz, .mha, a DICOM folder, or for PET an "
        "Interfile header or ECAT 7",
    )
    sub.add_argument("--slices", help="first,last (last not included)")


def _add_acquisition(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--modality", choices=list(MODALITIES), help=f"of the scan ({FIRST})")
    sub.add_argument(
        "--scan", action="append", metavar="NAME=VALUE", help="a setting of the modality's own, by name"
    )
    sub.add_argument("--acceleration", type=float, help="of MRI: all samples over the measured ones (4)")
    sub.add_argument("--counts", type=float, help="of PET: million true counts a slice (1)")
    sub.add_argument("--views", type=int, help="projections (60)")
    sub.add_argument("--arc", type=float, dest="arc_degrees", help="degrees covered (180 parallel, 360 fan)")
    sub.add_argument("--beam", dest="geometry", choices=["parallel", "fan_flat", "fan_curved"], help="scan geometry")
    sub.add_argument(
        "--noise-percent", type=float, help="Gaussian noise in %% of the largest line integral (0.2), "
        "of MRI in %% of the brightest image values (1)",
    )
    sub.add_argument("--i0", type=float, help="Poisson noise instead: photons a ray")
    sub.add_argument("--scatter-percent", type=float, help="scattered photons, %% of the primary ones (0)")
    sub.add_argument("--beam-hardening", action="store_true", default=None, help="a beam of several energies")
    sub.add_argument(
        "--trust-unit", action="store_true", default=None, help="go on although it does not look like the unit"
    )


def simulate_command(options: argparse.Namespace) -> dict[str, Any]:
    """Write a simulated sinogram with its geometry and the reference image; returns their names and the geometry."""
    from ..io.images import write_volume
    from ..run.settings import Settings

    volume, settings = _read(options), Settings.from_dict(given_settings(options))
    measured, reference, facts = settings.entry.simulate(volume, settings)
    out: Path = options.out
    out.mkdir(parents=True, exist_ok=True)
    name, description = settings.entry.files.write(measured, out)
    write_volume(reference, out / "reference.nrrd")
    return {"sinogram": name, "geometry": description, "reference": "reference.nrrd", **facts}


def reconstruct_command(options: argparse.Namespace) -> dict[str, Any]:
    """Run a job in its folder with a progress line; the folder is the result."""
    from ..jobs import job, process
    from ..run.draws import check_method
    from ..run.settings import Settings

    source = scan_source(options)
    given = given_settings(options)
    check_method(Settings.from_dict(given))  # what cannot be run leaves no job behind
    made = not options.out.exists()
    job.write_job(options.out, source, given)

    def show(message: dict[str, Any]) -> None:
        if message["event"] == "progress" and sys.stderr.isatty():
            left = message["seconds_left"]
            text = "" if left is None else f", {left:.0f} s left"
            print(f"\r{message['stage']}: {100 * message['fraction']:.0f} %{text}        ", end="", file=sys.stderr)

    running = process.start(options.out)
    try:
        last = running.wait(show)
    except KeyboardInterrupt:
        running.cancel()
        running.wait()
        raise
    if sys.stderr.isatty():
        print(file=sys.stderr)
    if last["event"] != "done":
        if last.get("refused"):
            job.remove_job(options.out, made)
        raise ValueError(last.get("message", "the reconstruction was cancelled"))
    report, _ = job.read_result(options.out)
    for name, score in report["metrics"].items():
        print(name, *(f"{key} {value}" for key, value in score.items()), sep="  ")
    for note in report["notes"]:
        print(note)
    return report


def _read(options: argparse.Namespace) -> Any:
    """The volume to scan, in the unit of its modality."""
    from ..io.images import read_volume

    entry = modality_named(options.modality or FIRST)
    if options.input is None:
        raise ValueError(f"no input: give --input with a volume of {entry.title}")
    volume = entry.files.image(options.input) or read_volume(options.input)
    # NRRD and NIfTI carry no unit; what the values look like is questioned later.
    return volume if volume.unit != "a.u." else type(volume)(volume.array, volume.ijk_to_ras, entry.unit)
