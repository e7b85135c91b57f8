"""The input of a job, written a few milliseconds' worth at each step on the main thread.

Slicer's event loop may keep the interpreter's lock while it waits: a thread would get on at the timers' turns alone.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from diffusion_engine.volume import Volume
from slicer.i18n import tr as _

BYTES_A_STEP = 4_000_000
"""Written at once: some milliseconds, so that Slicer stays responsive."""
RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0])


def jobInSteps(folder: Path, volume: Volume, settings: dict[str, Any]) -> Generator[None, None, None]:
    """Write a job that simulates a scan of a float32 volume; job.json comes last, so a job is whole or none.

    The voxels are not compressed, which would take longer than to write them. Raises ValueError, one sentence, for a
    folder that cannot be written, for too little room, and for settings that JSON cannot hold.
    """
    from diffusion_engine.jobs.job import INPUT, JOB, SIMULATED, check_folder, write_json

    check_folder(folder, volume.array.nbytes)
    yield
    yield from nrrdInSteps(folder / INPUT, volume)
    write_json(folder / JOB, {**SIMULATED, "settings": settings})


def besideInSteps(
    folder: Path, beside: Mapping[str, Any], frame: Any
) -> Generator[None, None, dict[str, str]]:
    """Write further volumes into a job's folder, in the frame of the node `frame` (None: the scene's); returns the
    path of each by its setting.
    """
    from DiffusionReconLib.scene.volumes import inFrameOf, volumeInSteps

    files: dict[str, str] = {}
    for setting, node in beside.items():
        volume = yield from volumeInSteps(node)
        moved = inFrameOf(node, frame) @ volume.ijk_to_ras
        path = folder / f"{setting}.nrrd"
        yield from nrrdInSteps(path, Volume(volume.array, moved, volume.unit))
        files[setting] = str(path)
    return files


def nrrdInSteps(path: Path, volume: Volume) -> Generator[None, None, None]:
    """Write a float32 volume (slices, rows, columns) as an NRRD file without compression, its geometry exactly."""
    array = volume.array
    together = max(1, BYTES_A_STEP // max(1, array[0].nbytes))
    try:
        with open(path, "wb") as stream:
            stream.write(_header(volume))
            for first in range(0, len(array), together):
                stream.write(np.ascontiguousarray(array[first : first + together], "<f4").data)
                yield
    except OSError as error:
        raise ValueError(_(
            "The job could not be written to '{folder}' ({reason}): free some disk space, or choose another temporary "
            "folder in Slicer's settings."
        ).format(folder=path.parent, reason=error.strerror)) from error


def copyInSteps(source: Path, target: Path) -> Generator[None, None, None]:
    """Copy a file."""
    try:
        with open(source, "rb") as stream, open(target, "wb") as copy:
            while piece := stream.read(BYTES_A_STEP):
                copy.write(piece)
                yield
    except OSError as error:
        raise ValueError(_("The file '{source}' could not be copied into the job ({reason}): check that it can be read "
                           "and that there is room on the disk.").format(
            source=source, reason=error.strerror)) from error


def _header(volume: Volume) -> bytes:
    """The text before the voxels: type, size, and the grid in LPS with 17 digits, which is every bit of it."""
    spacing = np.asarray(volume.spacing_mm)
    # Product of direction and voxel size, as other writers of NRRD have it: the same to the last bit.
    axes = RAS_TO_LPS @ volume.ijk_to_ras[:3, :3] / spacing * spacing
    origin = RAS_TO_LPS @ volume.ijk_to_ras[:3, 3]
    slices, rows, columns = volume.array.shape
    lines = (
        "NRRD0004",
        "type: float",
        "dimension: 3",
        "space: left-posterior-superior",
        f"sizes: {columns} {rows} {slices}",
        "space directions: " + " ".join(_vector(axis) for axis in axes.T),
        "kinds: domain domain domain",
        "endian: little",
        "encoding: raw",
        f"space origin: {_vector(origin)}",
        f"unit:={volume.unit}",
    )
    return ("\n".join(lines) + "\n\n").encode()


def _vector(values: np.ndarray) -> str:
    return "(" + ",".join(f"{float(value):.17g}" for value in values) + ")"
