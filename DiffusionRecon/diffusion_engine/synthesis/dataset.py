"""A data set of synthetic cases from a few segmentations: made case by case, continued after a stop."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .. import __version__
from ..io.images import write_volume
from ..volume import Volume, check_image
from .deform import Deformation, deform
from .label_map import check_stack
from .layouts import case_files, check_labels, check_layout, index_files
from .provenance import MARK, SENTENCE, Provenance, check_clean

MANIFEST = "manifest.json"
PARTIAL = ".making-"
"""Begins the name of the folder in which a case is made before it is moved to its place."""

ImageMaker = Callable[[Volume, int], Volume]
"""Makes an image from a label map and a seed, on the same grid."""


@dataclass(frozen=True)
class Plan:
    """What to make: ``cases_each`` cases of every segmentation, deformed and drawn by seeds that come from ``seed``.

    ``labels``: name of each value of the label maps, 0 the background. ``layout``: "nnunet" or "bids"; ``modality``:
    "CT" or "MR"; ``prior``: name of what makes the images. Raises ValueError, one sentence, for zero cases, names that
    are no plain words, and layouts that there are not.
    """

    name: str
    cases_each: int
    labels: Mapping[int, str]
    seed: int = 0
    layout: str = "nnunet"
    modality: str = "CT"
    prior: str = ""
    deformation: Deformation = field(default_factory=Deformation)

    def __post_init__(self) -> None:
        if self.cases_each < 1:
            raise ValueError(f"expected at least one case of each segmentation, found {self.cases_each}: ask for more")
        if not self.name.isidentifier():
            raise ValueError(f"expected letters, digits and _ as name of a data set, found {self.name!r}: rename it")
        if self.seed < 0:
            raise ValueError(f"expected a seed of 0 or more, found {self.seed}: give another one")
        check_layout(self.layout, self.modality)
        check_labels(self.layout, self.labels)

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {**asdict(self), "labels": {str(value): text for value, text in sorted(self.labels.items())}}


class Step(NamedTuple):
    """A case that is done: how many are, of how many; whether it lay there already."""

    done: int
    total: int
    case: int
    found: bool


def build(
    sources: Sequence[Volume], folder: Path, plan: Plan, make_image: ImageMaker,
    identity: Mapping[str, set[str]] | None = None,
) -> Iterator[Step]:
    """Make a data set in ``folder``, one step a case; begun again, it goes on where it stopped.

    ``sources``: label maps. A case's deformation and image depend on the plan's seed, its source and number alone.
    ``identity``: of the sources, see :func:`.provenance.identity_of`; nothing that is written may hold it.
    A case appears when its files are complete; the manifest names no source, only its number. Closing the iterator
    before its end cancels: whatever this call made is removed, and a folder that it made, too. After an error the cases
    that are complete stay, so that the same call goes on. Raises ValueError, one sentence, for no sources, labels
    without a name, empty segmentations, single slices, a folder that holds something else, images on another grid, and
    for what the parts raise.
    """
    _check_sources(sources, plan)
    check_clean(plan.to_dict(), identity or {}, "the plan")
    return _steps(sources, _Place(folder, plan, _fingerprint(sources, plan)), make_image, identity or {})


def _steps(
    sources: Sequence[Volume], work: _Place, make_image: ImageMaker, identity: Mapping[str, set[str]]
) -> Iterator[Step]:
    plan = work.plan
    total = len(sources) * plan.cases_each
    try:
        work.open()
        for number in range(1, total + 1):
            found = work.has(number)
            if not found:
                source = (number - 1) // plan.cases_each
                work.add(_make(sources[source], source + 1, number, plan, make_image, identity, work.partial))
            yield Step(number, total, number, found)
        work.describe()
    except GeneratorExit:
        work.undo()
        raise
    finally:
        shutil.rmtree(work.partial, ignore_errors=True)


def case_seed(seed: int, source: int, number: int) -> int:
    """The seed of a case, from the plan's, and the numbers of source and case."""
    return int(np.random.SeedSequence([seed, source, number]).generate_state(1)[0])


def _check_sources(sources: Sequence[Volume], plan: Plan) -> None:
    if not sources:
        raise ValueError("expected at least one segmentation to make cases from, found none: add one")
    for number, source in enumerate(sources, 1):
        check_stack(source)
        if not (np.issubdtype(source.array.dtype, np.integer) or source.array.dtype == bool):
            raise ValueError(f"expected whole numbers as labels in segmentation {number}, found {source.array.dtype}")
        if not source.array.any():
            raise ValueError(f"expected segments with voxels in segmentation {number}, found it empty: draw something")
        if unknown := sorted({int(n) for n in np.unique(source.array)} - set(plan.labels)):
            raise ValueError(
                f"expected a name for every label of segmentation {number}, found none for {unknown}: name them"
            )


def _fingerprint(sources: Sequence[Volume], plan: Plan) -> str:
    """What a continued data set must share with the begun one."""
    found = hashlib.sha256(json.dumps(plan.to_dict(), sort_keys=True).encode())
    for source in sources:
        found.update(np.ascontiguousarray(source.array).tobytes())
        found.update(np.ascontiguousarray(source.ijk_to_ras).tobytes())
    return found.hexdigest()


def _make(
    source: Volume, source_number: int, number: int, plan: Plan, make_image: ImageMaker,
    identity: Mapping[str, set[str]], partial: Path,
) -> dict[str, Any]:
    """Write the files of one case into ``partial``; returns its row of the manifest."""
    seed = case_seed(plan.seed, source_number, number)
    labels, report = deform(source, plan.deformation, seed)
    image = make_image(labels, seed)
    if image.array.shape != labels.array.shape or not np.allclose(image.ijk_to_ras, labels.ijk_to_ras, atol=1e-6):
        raise ValueError(
            f"expected an image on the label map's grid of {labels.array.shape} voxels, found {image.array.shape}, or "
            "another place: the image maker must keep the grid"
        )
    check_image(image)
    names = tuple(plan.labels[int(n)] for n in np.unique(labels.array))
    made = Provenance("generated", plan.prior or "unnamed", seed, names, identity=f"{number:04d}")
    check_clean(made.to_dict(), identity, f"the note of case {number}")
    files = case_files(plan.layout, number, plan.modality)
    for path in (files.image, files.labels):
        (partial / path).parent.mkdir(parents=True, exist_ok=True)
    write_volume(image.with_array(image.array.astype(np.float32)), partial / files.image, made.description())
    kind = np.uint8 if max(plan.labels) < 256 else np.uint16
    write_volume(labels.with_array(labels.array.astype(kind)), partial / files.labels, made.description())
    if files.note:
        (partial / files.note).write_text(json.dumps(made.to_dict(), indent=2) + "\n", encoding="utf-8")
    return {
        "case": number, "source": source_number, "seed": seed, "deformation": report, "patient_id": made.patient,
        "files": {path: _sha256(partial / path) for path in (files.image, files.labels, files.note) if path},
    }


class _Place:
    """A data set's folder: what lies in it, what this call adds, and how that is taken away again."""

    def __init__(self, folder: Path, plan: Plan, fingerprint: str) -> None:
        self.folder, self.plan, self.fingerprint = folder, plan, fingerprint
        self.partial = folder / f"{PARTIAL}{uuid.uuid4().hex[:8]}"
        self.rows: dict[int, dict[str, Any]] = {}
        self.made: list[Path] = []
        self.folders: list[Path] = []
        self.before: str | None = None

    def open(self) -> None:
        """Read what is there; ValueError where it is not this plan's."""
        if self.folder.exists() and not self.folder.is_dir():
            raise ValueError(f"expected a folder for the data set, found the file {self.folder}: choose another place")
        place = self.folder / MANIFEST
        if place.is_file():
            self.before = place.read_text(encoding="utf-8")
            content = _parsed(place, self.before)
            if content.get("fingerprint") != self.fingerprint:
                raise ValueError(
                    f"expected the data set of this plan and these segmentations in {self.folder}, found another one: "
                    "choose an empty folder"
                )
            self.rows = {row["case"]: row for row in content["cases"]}
        elif self.folder.is_dir() and any(not p.name.startswith(PARTIAL) for p in self.folder.iterdir()):
            raise ValueError(f"expected an empty folder for the data set, found files in {self.folder}: choose another")
        self._mkdir(self.folder)
        for left in self.folder.glob(f"{PARTIAL}*"):
            shutil.rmtree(left)
        if self.before is None:
            self.made.append(place)
            self._save()

    def has(self, number: int) -> bool:
        """Whether a case is there, whole and unchanged."""
        files = self.rows[number]["files"] if number in self.rows else {}
        return bool(files) and all(
            (self.folder / path).is_file() and _sha256(self.folder / path) == known for path, known in files.items()
        )

    def add(self, row: dict[str, Any]) -> None:
        """Move a case's files to their places, then name it in the manifest."""
        for path in row["files"]:
            goal = self.folder / path
            self._mkdir(goal.parent)
            self.made.append(goal)
            os.replace(self.partial / path, goal)
        self.rows[row["case"]] = row
        self._save()

    def describe(self) -> None:
        """Write the files about the whole."""
        rows = [self.rows[n] for n in sorted(self.rows)]
        plan = self.plan
        for path, text in index_files(plan.layout, plan.name, plan.modality, plan.labels, rows).items():
            self._mkdir((self.folder / path).parent)
            (self.folder / path).write_text(text, encoding="utf-8")

    def manifest(self) -> dict[str, Any]:
        """The manifest as JSON values."""
        return {
            "synthetic": True, "description": f"{MARK}. {SENTENCE}", "engine_version": __version__,
            "plan": self.plan.to_dict(), "fingerprint": self.fingerprint,
            "cases": [self.rows[n] for n in sorted(self.rows)],
        }

    def undo(self) -> None:
        """Take away what this call made."""
        for path in self.made:
            path.unlink(missing_ok=True)
        if self.before is not None:
            _write(self.folder / MANIFEST, self.before)
        shutil.rmtree(self.partial, ignore_errors=True)
        for folder in reversed(self.folders):
            with suppress(OSError):  # something else lies in it
                folder.rmdir()

    def _mkdir(self, folder: Path) -> None:
        missing = [place for place in (folder, *folder.parents) if not place.exists()]
        for place in reversed(missing):
            place.mkdir()
            self.folders.append(place)

    def _save(self) -> None:
        _write(self.folder / MANIFEST, json.dumps(self.manifest(), indent=1, ensure_ascii=False) + "\n")


def _write(place: Path, text: str) -> None:
    """Write a text so that it is there as a whole or not at all."""
    partial = place.with_name(f"{PARTIAL}{place.name}")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, place)


def _parsed(place: Path, text: str) -> dict[str, Any]:
    try:
        content = json.loads(text)
    except ValueError as error:
        raise ValueError(f"expected the manifest of a data set at {place}, found no JSON: remove the file") from error
    if not isinstance(content, dict) or not isinstance(content.get("cases"), list):
        raise ValueError(f"expected the manifest of a data set at {place}, found something else: remove the file")
    return content


def _sha256(path: Path) -> str:
    found = hashlib.sha256()
    with open(path, "rb") as stream:
        while block := stream.read(1 << 20):
            found.update(block)
    return found.hexdigest()
