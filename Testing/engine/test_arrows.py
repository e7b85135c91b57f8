"""Which room may import which: arrows point down only, those of type checking and within functions too."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

HOUSE = Path(__file__).resolve().parents[2] / "DiffusionRecon"
ENGINE, LIB = "diffusion_engine", "DiffusionReconLib"

ENGINE_FLOORS: tuple[tuple[str, ...], ...] = (
    ("", "__main__"),
    ("commands", "jobs.worker"),
    ("evaluation", "training", "synthesis"),
    ("run",),
    ("solvers", "posterior", "jobs"),
    ("coupling", "modalities"),
    ("likelihoods", "classical", "priors"),
    ("physics", "sampling", "phantoms", "io"),
    ("volume", "orientation", "denoiser", "metrics", "checks", "memory", "own_path", "safe_path", "__version__"),
)
"""Rooms from the roof to the ground; "" is the package itself, a file counts with its folder unless it is named."""

LIB_FLOORS: tuple[tuple[str, ...], ...] = (
    ("", "panel"), ("review", "scene", "modalities", "jobs", "setup"),
)



class Arrow(NamedTuple):
    """An import: the file, its line, and the module it names, with the package."""

    file: str
    line: int
    module: str


def arrows(source: str, file: str, package: str) -> Iterator[Arrow]:
    """The imports of a file of ``package``, wherever they stand in it; ``file``: path within the package."""
    inside = [package, *Path(file).parent.parts]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (Arrow(file, node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = inside[: len(inside) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            # "from .. import metrics" names a module, "from ..metrics import psnr" lies in one.
            yield from (Arrow(file, node.lineno, f"{module}.{alias.name}") for alias in node.names)


def room(place: str, floors: tuple[tuple[str, ...], ...]) -> str | None:
    """The room of a dotted place within its package; None for a file at the top that belongs to none."""
    rooms = [name for floor in floors for name in floor]
    parts = place.split(".") if place else []
    for count in range(len(parts), -1, -1):
        name = ".".join(parts[:count])
        if name in rooms and (name or not parts):
            return name
    return None


def crossings(package: str, floors: tuple[tuple[str, ...], ...]) -> Iterator[tuple[Arrow, str, str]]:
    """Arrows of a package between its own rooms, with both of them."""
    for path in sorted((HOUSE / package).rglob("*.py")):
        file = path.relative_to(HOUSE / package).as_posix()
        parts = [part for part in Path(file).with_suffix("").parts if part != "__init__"]
        own = room(".".join(parts), floors)
        assert own is not None, f"{package}/{file} stands in no room: name it on a floor"
        for arrow in arrows(path.read_text(encoding="utf-8"), file, package):
            head, _, place = arrow.module.partition(".")
            if head != package:
                continue
            other = room(place, floors)
            assert other is not None, f"{package}/{file}:{arrow.line} imports {arrow.module}, which is in no room"
            if other != own:
                yield arrow, own, other


def upward(package: str, floors: tuple[tuple[str, ...], ...]) -> list[tuple[str, str]]:
    """Arrows that point up: from which file to which room, and where exactly."""
    height = {name: -number for number, floor in enumerate(floors) for name in floor}
    found = []
    for arrow, own, other in crossings(package, floors):
        if height[other] > height[own]:
            found.append((f"{arrow.file} -> {other or 'the package'}", f"{arrow.file}:{arrow.line} {arrow.module}"))
    return found


@pytest.mark.parametrize(("package", "floors"), [(ENGINE, ENGINE_FLOORS), (LIB, LIB_FLOORS)], ids=[ENGINE, LIB])
def test_arrows_point_down(package: str, floors: tuple[tuple[str, ...], ...]) -> None:
    assert [where for _what, where in upward(package, floors)] == []


@pytest.mark.parametrize(("package", "floors"), [(ENGINE, ENGINE_FLOORS), (LIB, LIB_FLOORS)], ids=[ENGINE, LIB])
def test_rooms_of_one_floor_do_not_import_each_other_in_a_circle(
    package: str, floors: tuple[tuple[str, ...], ...]
) -> None:
    floor_of = {name: number for number, floor in enumerate(floors) for name in floor}
    below: dict[str, dict[str, str]] = defaultdict(dict)
    for arrow, own, other in crossings(package, floors):
        if floor_of[own] == floor_of[other]:
            below[own].setdefault(other, f"{arrow.file}:{arrow.line}")

    def reached(start: str) -> set[str]:
        found: set[str] = set()
        ahead = [start]
        while ahead:
            new = set(below[ahead.pop()]) - found
            found |= new
            ahead += new
        return found

    assert [(name, dict(below[name])) for name in floor_of if name in reached(name)] == []


def test_the_engine_knows_no_application_and_the_panel_knows_the_engine() -> None:
    """The Slicer side imports the engine, never the other way; the engine has neither Slicer, Qt nor VTK."""
    outside = ("slicer", "qt", "ctk", "vtk", "vtkmodules", "mrml", "PythonQt", "PySide6", LIB, "DiffusionRecon")
    for path in sorted((HOUSE / ENGINE).rglob("*.py")):
        file = path.relative_to(HOUSE / ENGINE).as_posix()
        for arrow in arrows(path.read_text(encoding="utf-8"), file, ENGINE):
            assert arrow.module.split(".")[0] not in outside, arrow


def test_an_arrow_is_seen_wherever_it_stands() -> None:
    text = (
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    from ..run.settings import Settings\n"
        "def late():\n    from .. import metrics\n    import diffusion_engine.run.draws\n"
    )
    found = {arrow.module for arrow in arrows(text, "posterior/x.py", ENGINE)}
    assert {"diffusion_engine.run.settings.Settings", "diffusion_engine.metrics", "diffusion_engine.run.draws"} <= found
    assert room("run.settings.Settings", ENGINE_FLOORS) == "run"
    assert room("jobs.worker", ENGINE_FLOORS) == "jobs.worker"
    assert room("jobs.job", ENGINE_FLOORS) == "jobs"
    assert room("attic", ENGINE_FLOORS) is None
