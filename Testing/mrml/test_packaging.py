"""What a Slicer build packages: CMake runs the real CMakeLists files, Slicer's macros replaced by printing ones."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
RUNTIME_ENDINGS = {".py", ".ui", ".png", ".json", ".safetensors"}
# What ScriptedLoadableModule's macro of Slicer takes; anything else would be ignored by it without a word.
WRAPPER = """
cmake_minimum_required(VERSION 3.16)
set(CMAKE_SUPPRESS_REGENERATION ON)
macro(slicerMacroBuildScriptedModule)
  cmake_parse_arguments(MODULE "WITH_GENERIC_TESTS" "NAME" "SCRIPTS;RESOURCES" ${ARGN})
  foreach(kind SCRIPTS RESOURCES UNPARSED_ARGUMENTS)
    foreach(name ${MODULE_${kind}})
      message(STATUS "@${kind}|${MODULE_NAME}|${name}")
    endforeach()
  endforeach()
endmacro()
macro(slicer_add_python_unittest)
  message(STATUS "@TEST|${ARGN}")
endmacro()
macro(find_package name)
endmacro()
function(report_metadata)
  message(STATUS "@PROJECT|${PROJECT_NAME}")
  foreach(name HOMEPAGE CATEGORY CONTRIBUTORS DESCRIPTION ICONURL SCREENSHOTURLS DEPENDS)
    message(STATUS "@METADATA|${name}|${EXTENSION_${name}}")
  endforeach()
endfunction()
set(BUILD_TESTING ON)
"""


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> list[list[str]]:
    """What the macros were given, one list of fields a call."""
    if shutil.which("cmake") is None:
        pytest.skip("cmake is not installed")
    folder = tmp_path_factory.mktemp("packaging")
    source = folder / "source"
    unwanted = shutil.ignore_patterns(".*", "__pycache__", "demo-output", "build", "*.egg-info")
    shutil.copytree(ROOT, source, ignore=unwanted)
    # Slicer's own files, which the extension includes by name.
    for name in ("use", "generate_config", "cpack"):
        (folder / f"{name}.cmake").write_text("report_metadata()\n" if name == "cpack" else "", encoding="ascii")
    (folder / "macros.cmake").write_text(WRAPPER, encoding="ascii")
    command = [
        "cmake", "-S", str(source), "-B", str(folder / "build"),
        f"-DCMAKE_PROJECT_TOP_LEVEL_INCLUDES={folder / 'macros.cmake'}",
        f"-DSlicer_USE_FILE={folder / 'use.cmake'}",
        f"-DSlicer_EXTENSION_GENERATE_CONFIG={folder / 'generate_config.cmake'}",
        f"-DSlicer_EXTENSION_CPACK={folder / 'cpack.cmake'}",
    ]  # fmt: skip
    # No compiler is needed: the languages that project() switches on by default are none of this test's business.
    text = (source / "CMakeLists.txt").read_text(encoding="utf-8")
    changed = text.replace("project(DiffusionPriors)", "project(DiffusionPriors LANGUAGES NONE)")
    assert changed != text, "the root CMakeLists.txt must say project(DiffusionPriors)"
    (source / "CMakeLists.txt").write_text(changed, encoding="utf-8")
    run = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    return [line.removeprefix("-- @").split("|") for line in run.stdout.splitlines() if line.startswith("-- @")]


def listed(lines: list[list[str]], *kinds: str) -> list[str]:
    return [line[2] for line in lines if line[0] in kinds]


def test_projectNameAndMetadata(lines: list[list[str]]) -> None:
    assert ["PROJECT", "DiffusionPriors"] in lines
    metadata = {line[1]: line[2] for line in lines if line[0] == "METADATA"}
    assert metadata["DEPENDS"] == "PyTorch"
    assert metadata["CATEGORY"] == "Tomographic Reconstruction"
    assert all(metadata.values())
    assert metadata["ICONURL"].endswith("/Resources/DiffusionPriors.png")
    assert (ROOT / "Resources" / "DiffusionPriors.png").is_file()
    assert metadata["HOMEPAGE"].startswith("https://")
    # The catalogue takes repositories whose name begins with "Slicer", and wants an affiliation of each contributor.
    repository = metadata["HOMEPAGE"].removeprefix("https://github.com/")
    assert repository.split("/")[1] == "SlicerDiffusionPriors"
    assert re.fullmatch(r"[^()]+ \([^()]+\)", metadata["CONTRIBUTORS"])
    pictures = metadata["SCREENSHOTURLS"].split(" ")
    assert len(pictures) >= 2
    for address in (metadata["ICONURL"], *pictures):
        assert address.startswith(f"https://raw.githubusercontent.com/{repository}/main/"), address
        assert (ROOT / address.partition("/main/")[2]).is_file(), address


def test_catalogueEntryIsWhatSlicersIndexWants(lines: list[list[str]]) -> None:
    """Category and dependencies agree with the build's; the name of the file is the extension's."""
    entry = json.loads((ROOT / "Resources" / "DiffusionPriors.json").read_text(encoding="utf-8"))
    metadata = {line[1]: line[2] for line in lines if line[0] == "METADATA"}
    required = {"$schema", "build_dependencies", "build_subdirectory", "category", "scm_revision", "scm_url", "tier"}
    assert set(entry) == required
    assert "slicer-extension-catalog-entry-schema" in entry["$schema"]
    assert entry["scm_url"] == metadata["HOMEPAGE"] + ".git"
    assert entry["category"] == metadata["CATEGORY"]
    assert entry["build_dependencies"] == metadata["DEPENDS"].split()


def test_theTreeStaysUnder90Megabytes() -> None:
    """A published repository may weigh 100 MB, its history included."""
    places = [path for name in ("DiffusionRecon", "Resources", "Testing") for path in (ROOT / name).rglob("*")]
    sizes = {path: path.stat().st_size for path in places if path.is_file() and path.suffix != ".pyc"}
    assert "ct-body.safetensors" in {path.name for path in sizes}
    assert sum(sizes.values()) < 90e6


def test_picturesOfThePanelAreSmall() -> None:
    pictures = sorted((ROOT / "Resources" / "Screenshots").glob("*.png"))
    wanted = {"compare.png", "lesions.png", "mri-kspace.png", "mri-result.png", "panel-idle.png", "panel-review.png",
              "panel-running.png", "pet-result.png", "pet-suv.png", "result.png"}
    assert {path.name for path in pictures} == wanted
    assert all(path.stat().st_size < 200_000 for path in pictures)


def test_everyRuntimeFileIsPackaged(lines: list[list[str]]) -> None:
    module = ROOT / "DiffusionRecon"
    wanted = {
        path.relative_to(module).as_posix()
        for path in module.rglob("*")
        if path.suffix in RUNTIME_ENDINGS and not {"Testing", "__pycache__"} & set(path.relative_to(module).parts)
    }
    assert wanted >= {"DiffusionRecon.py", "Resources/UI/DiffusionRecon.ui", "Resources/Icons/DiffusionRecon.png"}
    assert set(listed(lines, "SCRIPTS", "RESOURCES")) == wanted
    assert not listed(lines, "UNPARSED_ARGUMENTS")


def test_nothingLeavesTheModuleAndNoNamesCollideOnceFlat(lines: list[list[str]]) -> None:
    names = listed(lines, "SCRIPTS", "RESOURCES")
    assert not [name for name in names if name.startswith("/") or ".." in Path(name).parts]
    # Windows and macOS do not tell case apart.
    assert len({name.lower() for name in names}) == len(names)
    packages = {Path(name).parts[0] for name in listed(lines, "SCRIPTS") if len(Path(name).parts) > 1}
    assert packages == {"DiffusionReconLib", "diffusion_engine"}
    # Installed into Slicer's Python path: a package must not hide one of Python's or of another installed library.
    for package in packages:
        assert package not in sys.stdlib_module_names
        assert not list(Path(json.__file__).parents[1].glob(f"site-packages/{package}"))


def test_selfTestIsRegistered(lines: list[list[str]]) -> None:
    assert ["TEST", "SCRIPT;DiffusionRecon.py"] in lines


@pytest.mark.parametrize("path", ["Resources/DiffusionPriors.png", "DiffusionRecon/Resources/Icons/DiffusionRecon.png"])
def test_iconsAre128PixelsAndWhatTheScriptDraws(path: str) -> None:
    import runpy

    import numpy as np
    import SimpleITK as sitk

    script = runpy.run_path(str(ROOT / "Resources" / "draw_icons.py"))
    pixels = sitk.GetArrayFromImage(sitk.ReadImage(str(ROOT / path)))
    assert pixels.shape == (128, 128, 4)
    drawn = script["icon"](script["TARGETS"][ROOT / path]).astype(int)
    assert np.abs(pixels.astype(int) - drawn).max() <= 1


def test_panelFilesHaveEveryWidgetThatTheCodeNames() -> None:
    """The panel itself needs Slicer's Qt; here: the .ui files are well-formed and agree with the code."""
    from xml.etree import ElementTree

    module = ROOT / "DiffusionRecon"
    trees = [ElementTree.parse(path) for path in sorted((module / "Resources" / "UI").glob("*.ui"))]
    names = [widget.get("name") for tree in trees for widget in tree.iter("widget")]
    assert len(set(names)) == len(names)
    folders = [module / "DiffusionReconLib" / name for name in ("panel", "modalities")]
    files = [module / "DiffusionRecon.py", *(path for folder in folders for path in sorted(folder.rglob("*.py")))]
    code = "\n".join(path.read_text(encoding="utf-8") for path in files)
    used = set(re.findall(r"\bui\.([a-z]\w+)", code))
    assert {"applyButton", "measuredGroup", "partCollapsibleButton"} <= used <= set(names)
    for tree in trees:
        custom = {each.findtext("class") for each in tree.iter("customwidget")}
        own = {widget.get("class") for widget in tree.iter("widget") if not widget.get("class").startswith("Q")}
        assert own == custom
