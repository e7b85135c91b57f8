"""The job folder: a reconstruction written down, so that any process can run it, now or again."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ..checks import is_plain
from ..io.images import write_volume
from ..modalities.contract import Modality
from ..modalities.table import FIRST, MODALITIES, modality_named
from ..volume import Volume
from .inside import inside, named_files, readable, result_path

JOB, RESULT, LOG, CANCEL, LOCK = "job.json", "result.json", "worker.log", "cancel", "run.lock"
STAGING, DRAWS = "outputs.part", "draws.part"
"""Folders of a running job: finished outputs before they are moved, and draws that are kept."""
PARTIAL = re.compile(r"\.[0-9a-f]{32}\.\w+")
"""Names of files while they are being written, here and by ``io.images``."""
INPUT, PREVIEW = "input.nrrd", "preview.nrrd"
OWN = (JOB, RESULT, LOG, CANCEL, LOCK, INPUT, PREVIEW, *(name for m in MODALITIES.values() for name in m.files.names))
"""Files of a job folder that are no results, whatever a report says."""
KINDS = ("simulate", "measured")
SIMULATED: Mapping[str, Any] = MappingProxyType({"kind": KINDS[0], "input": INPUT, "geometry": None})
"""A job without its settings that simulates a scan of a volume."""
WRITE_AGAIN = "write the job again"


@dataclass(frozen=True)
class Job:
    """What job.json says: the kind of job, its files (names within the folder) and the settings as plain values.

    ``geometry``: the file that describes measured data, None where there is none and they need none.
    """

    kind: str
    input: str
    geometry: str | None
    settings: dict[str, Any]

    @property
    def modality(self) -> Modality:
        """The entry of the job's modality."""
        return modality_of(self.settings)


def modality_of(settings: Mapping[str, Any]) -> Modality:
    """The entry of the modality that settings name; raises ValueError for one that there is not."""
    return modality_named(settings.get("modality", FIRST))


def write_job(folder: str | os.PathLike[str], source: Any, settings: Mapping[str, Any]) -> Path:
    """Write a job and return its folder, made when it is missing; job.json comes last, so a job is whole or none.

    ``source``: an image to simulate a scan of, or measured data of the modality. ``settings``: plain JSON values, see
    ``settings.Settings``. Raises ValueError, one sentence, for a folder that holds other files or cannot be
    written, for too little disk space, and for settings that JSON cannot hold; what was written is removed.
    """
    place = Path(folder)
    try:
        settings_text = json.dumps(dict(settings), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"expected settings of finite JSON values, found others ({error}): correct them") from error
    files, made = modality_of(settings).files, not place.exists()
    check_folder(place, int(source.array.nbytes) if isinstance(source, Volume) else files.size(source))
    if any(place.iterdir()):
        raise ValueError(f"expected an empty folder for the job, found files in {place}: choose another folder")
    try:
        if isinstance(source, Volume):
            write_volume(source, place / INPUT)
            job: Mapping[str, Any] = SIMULATED
        else:
            name, description = files.write(source, place)
            job = {"kind": "measured", "input": name, "geometry": description}
        write_json(place / JOB, {**job, "settings": json.loads(settings_text)})
    except BaseException:
        for name in (INPUT, JOB, *files.names):
            (place / name).unlink(missing_ok=True)
        if made:
            place.rmdir()
        raise
    return place


def read_job(folder: str | os.PathLike[str]) -> Job:
    """The job of a folder; raises ValueError, one sentence, when it is missing or damaged or its files are not there.

    Files lie in the folder itself: a path or a link to elsewhere is refused.
    """
    place = Path(folder)
    content = _read_json(place / JOB, WRITE_AGAIN)
    if not isinstance(content, dict) or set(content) != {"kind", "input", "geometry", "settings"}:
        raise ValueError(f"expected kind, input, geometry, settings in {place / JOB}, found other content: rewrite it")
    job = Job(**content)
    if job.kind not in KINDS:
        raise ValueError(f"expected a job of kind {' or '.join(KINDS)}, found {job.kind!r}: {WRITE_AGAIN}")
    if not isinstance(job.settings, dict):
        raise ValueError(f"expected settings as names and values, found {job.settings!r}: {WRITE_AGAIN}")
    files = job.modality.files
    lacking = job.geometry is None and files.described
    if lacking if job.kind == "measured" else job.geometry is not None:
        raise ValueError(f"expected a geometry with measured data and only there, found {job.geometry!r}: write it")
    inside(place, job.input, "the job's input", WRITE_AGAIN)
    if job.geometry is not None:
        described = readable(inside(place, job.geometry, "the job's geometry", WRITE_AGAIN))
        for what, further in files.named(described).items():
            inside(place, further, what, WRITE_AGAIN)
    return job


def read_result(folder: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, Path]]:
    """The report (result.json) of a finished job and its volume files by key.

    Raises ValueError, one sentence, when the job has no whole result, or names files that are no results of its own.
    """
    place = Path(folder)
    again = "run the job again"
    report = _read_json(place / RESULT, "run the job first")
    if not isinstance(report, dict) or not isinstance(report.get("files"), dict):
        raise ValueError(f"expected a report with its files in {place / RESULT}, found other content: {again}")
    own = own_files(place)
    volumes = {key: result_path(place, name, own) for key, name in report["files"].items()}
    for key, path in volumes.items():
        inside(place, path.name, f"the result {key}", again)
    return report, volumes


def own_files(folder: str | os.PathLike[str]) -> list[Path]:
    """The files of a job folder that no result may take the place of: those of fixed names and those the job names."""
    place = Path(folder)
    content = readable(place / JOB)
    found = [content.get("input"), content.get("geometry")] if isinstance(content, dict) else []
    named = [place / str(name) for name in found if is_plain(name)]
    beside = named_files(place, named[-1]) if len(named) == 2 else []
    return [*(place / name for name in OWN), *named, *beside]


def remove_job(folder: str | os.PathLike[str], made: bool) -> None:
    """Take back a job whose worker refused it: its own files, and the folder where it was ``made`` for the job."""
    place = Path(folder)
    for path in own_files(place):
        if path.is_file():
            path.unlink()
    if made and not any(place.iterdir()):
        place.rmdir()


def write_json(path: Path, content: Any) -> None:
    """Write JSON that appears under its name only when complete; raises ValueError for NaN and infinity."""
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    partial = path.with_name(f".{uuid.uuid4().hex}.part")
    try:
        partial.write_text(text, encoding="utf-8")
        os.replace(partial, path)
    except OSError as error:
        raise ValueError(
            f"expected to write {path}, but it failed ({error.strerror}): free disk space or choose another folder"
        ) from error
    finally:
        partial.unlink(missing_ok=True)


def check_folder(folder: str | os.PathLike[str], needed_bytes: int) -> None:
    """Make sure of a folder that can be written and has room; raises ValueError, one sentence, otherwise."""
    place = Path(folder)
    probe = place / f".{uuid.uuid4().hex}.part"
    try:
        place.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
        free = shutil.disk_usage(place).free
    except OSError as error:
        raise ValueError(
            f"expected a folder that can be written, found {place} ({error.strerror}): choose another folder"
        ) from error
    if free < needed_bytes:
        raise ValueError(
            f"expected {needed_bytes / 1e6:.0f} MB of free disk space for {place}, found {free / 1e6:.0f} MB: "
            "free some space or choose another disk"
        )


def clear_outputs(folder: str | os.PathLike[str], keep_finished: bool = False) -> None:
    """Remove what an earlier or ended run left: kept draws, staged and half-moved outputs, preview, and the result.

    ``keep_finished``: leave a whole result alone. Only files that a run itself listed are removed; the job's own files,
    and what lies outside the folder, stay whatever a list says.
    """
    place = Path(folder)
    finished = (place / RESULT).is_file()
    if finished and not keep_finished:
        _remove_listed(place, place / RESULT)
        (place / RESULT).unlink()
        finished = False
    if (place / STAGING).is_dir() and not finished:
        _remove_listed(place, place / STAGING / RESULT)
    for name in (STAGING, DRAWS):
        _remove_folder(place / name)
    for path in place.iterdir():
        if PARTIAL.fullmatch(path.name) and not path.is_dir():
            path.unlink(missing_ok=True)
    if not finished and not (place / PREVIEW).is_dir():
        (place / PREVIEW).unlink(missing_ok=True)


def check_free_names(folder: Path) -> None:
    """Raise ValueError where a folder lies at a place of a file that a run writes, or a file at that of a folder.

    Asked before the run computes anything: at its end it would be lost.
    """
    for path in folder.iterdir():
        if path.is_dir() and (path.name in (RESULT, PREVIEW, LOG, CANCEL, LOCK) or path.suffix == ".nrrd"):
            raise ValueError(f"expected no folder named {path.name} in the job folder {folder}, found one: remove it")
        if path.name in (STAGING, DRAWS) and not path.is_dir():
            raise ValueError(f"expected no file named {path.name} in the job folder {folder}, found one: remove it")


def fresh_log(folder: Path) -> Path:
    """The path of an empty log; one that leads elsewhere is replaced, not written through."""
    path = folder / LOG
    if path.is_symlink():
        path.unlink()
    return path


def _remove_folder(path: Path) -> None:
    if path.is_symlink():
        path.unlink()  # only the link: what it leads to is none of the job's
    elif path.is_dir():
        shutil.rmtree(path, ignore_errors=True)


def _remove_listed(place: Path, report: Path) -> None:
    """Delete the results that a report names, when the report can be read; what is no result stays."""
    content = readable(report)
    files = content.get("files") if isinstance(content, dict) else None
    own = own_files(place)
    for name in files.values() if isinstance(files, dict) else ():
        with contextlib.suppress(ValueError):
            path = result_path(place, name, own)
            if path.is_file() and not path.is_symlink():
                path.unlink()


def _read_json(path: Path, remedy: str) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ValueError(f"expected the file {path}, but it cannot be read ({error.strerror}): {remedy}") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"expected JSON in {path}, found something else ({error}): {remedy}") from error
