"""The worker process: ``python -m diffusion_engine.jobs.worker FOLDER`` runs a job and prints one JSON object a line.

Exit code 0: done, 1: error, 3: cancelled. Everything that libraries print goes to worker.log.
"""


from __future__ import annotations

from ..own_path import leave_current_folder

if __name__ == "__main__":
    leave_current_folder()

import argparse
import contextlib
import functools
import json
import math
import os
import sys
import time
import traceback
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import psutil

from ..io.images import read_volume, write_volume
from ..run.disk import output_bytes
from ..volume import Volume
from . import job as jobs
from . import lock
from .ending import ERROR, end_with_parent, sentence
from .inside import result_path
from .progress import PeakMemory, TimeLeft

DONE, CANCELLED = 0, 3
PREVIEW_EVERY_S = 1.0
REPORT_EVERY_S = 0.1

Pipeline = Callable[[Any, dict[str, Any]], Generator[Any, None, None]]
"""(Volume or measured data, settings) to a generator of Progress that ends with a Result, see ``pipeline``."""


def run_job(folder: Path, pipeline: Pipeline, out: TextIO) -> int:
    """Run the job of ``folder`` through ``pipeline``, print its messages to ``out``, return the exit code.

    Outputs appear together at the end, result.json last; a cancelled or failed run leaves none. The traceback
    of an error goes to stderr, one sentence to ``out``.
    """
    try:
        job = jobs.read_job(folder)
        jobs.clear_outputs(folder)
        source = read_source(folder, job)
        shape = source.array.shape if isinstance(source, Volume) else None
        jobs.check_folder(folder, output_bytes(shape, job.settings))
        steps = pipeline(source, job.settings)
        try:
            result = _iterate(folder, steps, out)
        finally:
            steps.close()  # what it keeps in the folder goes before the folder is cleared
        if result is None:
            jobs.clear_outputs(folder)
            _say(out, {"event": "cancelled"})
            return CANCELLED
        _deliver(folder, result)
    except Exception as error:
        traceback.print_exc()
        with contextlib.suppress(OSError):
            jobs.clear_outputs(folder)
        # What the input or the settings are to blame for can only be asked anew, in another way.
        _say(out, {"event": "error", "message": sentence(error), "refused": type(error) is ValueError})
        return ERROR
    _say(out, {"event": "done", "result": jobs.RESULT})
    return DONE


def read_source(folder: Path, job: jobs.Job) -> Any:
    """The job's image or measured data."""
    if job.kind == "simulate":
        return read_volume(folder / job.input)
    return job.modality.files.read(folder / job.input, None if job.geometry is None else folder / job.geometry)


def _iterate(folder: Path, steps: Iterator[Any], out: TextIO) -> Any | None:
    """Go through the steps; the last one, a Result, or None when the file ``cancel`` appeared."""
    time_left, memory = TimeLeft(), PeakMemory()
    stage, reported, previewed = "", -math.inf, -math.inf
    waiting: str | None = None
    if (folder / jobs.CANCEL).exists():
        return None
    for step in steps:
        if (folder / jobs.CANCEL).exists():
            return None
        if hasattr(step, "volumes"):
            report = {**step.report, "peak_memory_mb": round(memory.update(), 1)}
            return replace(step, report=report)
        seconds_left = time_left.update(step.fraction)
        now = time.monotonic()
        if step.preview is not None and now - previewed >= PREVIEW_EVERY_S:
            write_volume(step.preview, folder / jobs.PREVIEW)
            waiting, previewed = jobs.PREVIEW, now
        if now - reported < REPORT_EVERY_S and step.stage == stage and waiting is None:
            continue
        stage, reported = step.stage, now
        _say(out, {
            "event": "progress", "stage": step.stage, "step": step.step, "total": step.total,
            "fraction": round(time_left.fraction, 5),
            "seconds_left": None if seconds_left is None else round(seconds_left, 1),
            "memory_mb": round(memory.update(), 1), "preview": waiting,
        })
        waiting = None
    raise RuntimeError("the pipeline ended without a result")


def _deliver(folder: Path, result: Any) -> None:
    """Write all outputs beside their place and move them there together, result.json last."""
    volumes: Mapping[str, Volume] = result.volumes
    for key, volume in volumes.items():
        bad = int(np.count_nonzero(~np.isfinite(volume.array)))
        if bad:
            raise FloatingPointError(
                f"expected finite voxels in the result {key!r}, found {bad} NaN or infinite: "
                "nothing was saved; check the input, or try another seed or method"
            )
    files = {key: f"{key}.nrrd" for key in volumes}
    own = jobs.own_files(folder)
    for name in files.values():
        result_path(folder, name, own)
    staging = folder / jobs.STAGING
    staging.mkdir()
    # The list comes first: it tells a later clean-up which files a killed run had already moved.
    jobs.write_json(staging / jobs.RESULT, {**result.report, "files": files})
    for key, volume in volumes.items():
        write_volume(volume, staging / files[key])
    for name in files.values():
        os.replace(staging / name, folder / name)
    os.replace(staging / jobs.RESULT, folder / jobs.RESULT)
    staging.rmdir()


def _say(out: TextIO, message: dict[str, Any]) -> None:
    out.write(json.dumps(message, allow_nan=False) + "\n")
    out.flush()


def reconstruct(source: Any, settings: dict[str, Any], folder: Path | None = None) -> Generator[Any, None, None]:
    """The engine's own pipeline; torch is imported here, so that a bad job is refused before that.

    ``folder``: of the job, where draws are kept meanwhile.
    """
    import torch

    from ..run.pipeline import reconstruct_steps
    from ..run.settings import Settings

    if "OMP_NUM_THREADS" not in os.environ:
        allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        torch.set_num_threads(max(1, min(allowed, psutil.cpu_count(logical=False) or allowed)))
    keep = None if folder is None else folder / jobs.DRAWS
    yield from reconstruct_steps(source, Settings.from_dict(settings), keep)


def main(arguments: list[str], pipeline: Pipeline | None = None) -> int:
    """Run a job folder: ``FOLDER [--attached]``; attached, the process ends when its stdin closes.

    ``pipeline``: in place of :func:`reconstruct`.
    """
    parser = argparse.ArgumentParser(prog="python -m diffusion_engine.jobs.worker", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--attached", action="store_true", help="end when stdin closes (the parent process is gone)")
    parser.add_argument("--run", help="the identifier under which the process that started this one holds the folder")
    options = parser.parse_args(arguments)
    folder: Path = options.folder.resolve()
    # Messages get a stream of their own; whatever libraries print to fd 1 and 2 lands in the log.
    with os.fdopen(os.dup(1), "w", encoding="ascii") as out:
        try:
            jobs.read_job(folder)  # before anything is written: what is no job folder stays as it is
            jobs.check_free_names(folder)
            run = lock.take(folder, options.run)
        except ValueError as error:
            _say(out, {"event": "error", "message": str(error)})
            return ERROR
        except OSError as error:
            _say(out, {"event": "error", "message": _unwritable(folder, error)})
            return ERROR
        try:
            log = open(jobs.fresh_log(folder), "ab")  # noqa: SIM115 (it is the process's stdout until its end)
        except OSError as error:
            _say(out, {"event": "error", "message": _unwritable(folder, error)})
            lock.release(folder, run)
            return ERROR
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)

        def leave() -> None:
            jobs.clear_outputs(folder, keep_finished=True)
            lock.release(folder, run)

        if options.attached:
            end_with_parent(leave)
        try:
            return run_job(folder, pipeline or functools.partial(reconstruct, folder=folder), out)
        finally:
            lock.release(folder, run)


def _unwritable(folder: Path, error: OSError) -> str:
    return f"expected a job folder that can be written, found {folder} ({error.strerror}): choose another folder"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
