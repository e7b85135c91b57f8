"""A modality is a folder and an entry, in the engine and in the panel: with photographs added everything runs.

In a copy of the module, with no other file touched: `reconstruct`, a job in the worker, the panel with a run of the
real engine by its Apply button, the review, and the job's result in the scene. The panel's widgets are the stand-in's.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import diffusion_engine
import pytest
from diffusion_engine.jobs import job as jobs

HERE = Path(__file__).parent
TESTING = HERE.parent
MODULE = Path(diffusion_engine.__file__).parents[1]
RUN = '''
import json, sys
import numpy as np
from dataclasses import replace
from pathlib import Path
from diffusion_engine import Settings, Volume, reconstruct
from diffusion_engine.jobs.job import write_job
from diffusion_engine.modalities.table import MODALITIES, recognised
from diffusion_engine.priors.card import read_card, write_card
from diffusion_engine.priors.library import PRIORS_FOLDER, build_network, write_weights
from diffusion_engine.solvers.listing import listed_methods

place = Path(sys.argv[1])
card = replace(
    read_card(PRIORS_FOLDER / "ct-body.json"), name="photo-small", modality="photo", unit="1", offset=0.5, scale=0.5,
    pixel_mm=(0.5, 2.0), calibration=[], maps=[], typicality={}, weights="photo-small.safetensors",
    network={"type": "PatchUNet", "channels": [8, 8], "blocks": 1},
)
digest = write_weights(build_network(card), PRIORS_FOLDER / card.weights)
write_card(replace(card, sha256=digest), PRIORS_FOLDER / "photo-small.json")
y, x = np.mgrid[:32, :40]
image = ((y - 16) ** 2 + (x - 20) ** 2 < 80).astype(np.float32)[None]
volume = Volume(np.concatenate([image, 0.5 * image]), np.eye(4), "1")
given = {
    "modality": "photo", "blur_pixels": 2.0, "draws": 2, "steps": 3, "device": "cpu",
    "keep": ["mean", "uncertainty", "not_seen", "residual"],
}
result = reconstruct(volume, given)
entry = MODALITIES["photo"]
settings = Settings.from_dict(given)
assert Settings.from_dict(settings.to_dict()) == settings
measured, _, _ = entry.simulate(volume, settings)
write_job(place / "job", measured, given)
assert recognised(place / "job" / "photo.nrrd", place / "job" / "photo.json") is entry
print(json.dumps({
    "volumes": {key: [list(each.array.shape), each.unit] for key, each in result.volumes.items()},
    "psnr": {key: score["psnr"] for key, score in result.report["metrics"].items()},
    "tests": [[test["kind"], test["group"], len(test["per_view"])] for test in result.report["residual_tests"]],
    "spread": result.report["spread"], "geometry": result.report["geometry"], "methods": list(listed_methods("photo")),
    "settings": result.report["settings"]["blur_pixels"],
    "mean": result.volumes["mean"].array[0, 16, 20].item(),
}))
'''


@pytest.fixture(scope="module")
def module(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the module with the folders of photographs, their entries and their widgets."""
    copy = tmp_path_factory.mktemp("photographs") / "DiffusionRecon"
    shutil.copytree(MODULE, copy, ignore=shutil.ignore_patterns("__pycache__", "*.safetensors"))
    add(copy / "diffusion_engine" / "modalities", HERE / "photo", "from .photo.entry import PHOTO", "PHOTO,")
    panel = TESTING / "gui" / "photo_panel"
    add(copy / "DiffusionReconLib" / "modalities", panel, "from DiffusionReconLib.modalities.photo.entry import PHOTO",
        '"photo": PHOTO,')
    (copy / "DiffusionReconLib" / "modalities" / "photo" / "AcquisitionPhoto.ui").rename(
        copy / "Resources" / "UI" / "AcquisitionPhoto.ui")
    return copy


def add(modalities: Path, folder: Path, wanted: str, entry: str) -> None:
    """Add a modality's folder, and its entry to the table, after the last one."""
    shutil.copytree(folder, modalities / "photo", ignore=shutil.ignore_patterns("__pycache__"))
    table = modalities / "table.py"
    lines = table.read_text(encoding="utf-8").splitlines()
    imported = next(at for at, line in enumerate(lines) if line.endswith(".ct.entry import CT"))
    lines.insert(imported + 1, wanted)
    last = next(at for at, line in enumerate(lines) if line.strip().endswith("CT,"))
    lines.insert(last + 1, lines[last][: len(lines[last]) - len(lines[last].lstrip())] + entry)
    table.write_text("\n".join(lines) + "\n", encoding="utf-8")


def run(module: Path, *arguments: str) -> str:
    places = os.pathsep.join(map(str, (module, TESTING, TESTING / "gui")))
    known = {**os.environ, "PYTHONPATH": places, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, env=known, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_photographs_are_reconstructed_in_python_the_worker_and_the_panel(module: Path, tmp_path: Path) -> None:
    before = files_of(module)
    in_python(json.loads(run(module, "-c", RUN, str(tmp_path)).splitlines()[-1]))
    said = run(module, "-m", "diffusion_engine.jobs.worker", str(tmp_path / "job"))
    assert json.loads(said.splitlines()[-1]) == {"event": "done", "result": "result.json"}
    report, files = jobs.read_result(tmp_path / "job")
    assert report["modality"] == "photo"
    assert {"mean", "uncertainty", "sharp"} <= set(files)
    assert "reference" not in files
    said = run(module, str(TESTING / "gui" / "photo_session.py"), str(module), str(tmp_path / "job"))
    in_the_panel(json.loads(said.splitlines()[-1]))
    own = {"photo-small.json", "photo-small.safetensors", "AcquisitionPhoto.ui"}
    touched = {path for path, content in files_of(module).items() if before.get(path) != content}
    assert {path.name for path in touched} <= own
    source = files_of(MODULE)
    differs = {path for path, content in before.items() if source.get(path) != content and path.parent.name != "photo"}
    assert {path.as_posix() for path in differs} == {
        "diffusion_engine/modalities/table.py", "DiffusionReconLib/modalities/table.py",
        "Resources/UI/AcquisitionPhoto.ui",
    }


def files_of(module: Path) -> dict[Path, bytes]:
    """The texts of a module by their paths in it."""
    return {
        path.relative_to(module): path.read_bytes() for path in module.rglob("*")
        if path.suffix in (".py", ".ui", ".json", ".txt")
    }


def in_python(found: dict[str, Any]) -> None:
    """A result of `reconstruct` is whole."""
    shape = [2, 32, 40]
    assert found["volumes"] == {
        **{key: [shape, "1"] for key in (
            "blurred", "sharp", "mean", "uncertainty", "not_seen", "not_seen_share", "residual", "reference"
        )},
    }
    assert found["psnr"]["sharp"] > found["psnr"]["blurred"] - 3
    assert found["tests"] == [["blurred", "row", 32], ["sharp", "row", 32], ["mean", "row", 32]]
    assert (found["spread"], found["methods"], found["settings"]) == ("concentrated", ["dds"], 2.0)
    assert found["geometry"]["blur_pixels"] == 2.0
    assert found["mean"] == pytest.approx(1.0, abs=0.3)


def in_the_panel(found: dict[str, Any]) -> None:
    """The run of Apply is a result of photographs, on show in the review; the job's result lies beside it."""
    assert found["modalities"] == ["CT", "Photograph", "MRI", "PET"]
    assert (found["presets"], found["purpose"], found["enabled"]) == (["Standard"], "Blurs this photograph.", True)
    assert found["estimate"].startswith("4 samples of 2 slices on cpu: about ")
    assert found["status"] == "Done."
    assert (found["modality"], found["preset"], found["blur"]) == ("photo", "standard", 3.0)
    assert found["result"].startswith("Disc: DDS, ")
    assert found["reviewed"]
    assert "Residual test passed" in found["banner"]
    assert "Not for diagnostic use." in found["banner"]
    images = {
        "blurred", "mean", "not_seen", "not_seen_share", "prior_decided", "reference", "residual", "sharp",
        "uncertainty",
    }
    assert set(found["nodes"]) == images | {"draws", "draws_browser", "report"}
    assert found["size"] == [2, 32, 40]
    assert (found["centre"], found["corner"]) == (pytest.approx(1.0, abs=0.3), pytest.approx(0.0, abs=0.3))
    said, listed, exported = found["looked"]
    assert (said, exported) == ("", True)
    assert "region" in listed
    assert found["published"] == [sorted(images - {"reference", "prior_decided"} | {"report"}), 2]
