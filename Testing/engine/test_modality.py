"""A modality is a folder and an entry of the table: with photographs added, everything runs, no other file touched."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import diffusion_engine
import pytest
from diffusion_engine.jobs import job as jobs

HERE = Path(__file__).parent
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
    pixel_mm=(0.5, 2.0), calibration=[], typicality={}, weights="photo-small.safetensors",
    network={"type": "PatchUNet", "channels": [8, 8], "blocks": 1},
)
digest = write_weights(build_network(card), place / card.weights)
write_card(replace(card, sha256=digest), place / "photo-small.json")
y, x = np.mgrid[:32, :40]
image = ((y - 16) ** 2 + (x - 20) ** 2 < 80).astype(np.float32)[None]
volume = Volume(np.concatenate([image, 0.5 * image]), np.eye(4), "1")
given = {
    "modality": "photo", "blur_pixels": 2.0, "draws": 2, "steps": 3, "device": "cpu",
    "prior": str(place / "photo-small.json"), "keep": ["mean", "uncertainty", "not_seen", "residual"],
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
def engine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the engine with the folder of photographs and its entry, and the environment that finds it."""
    home = tmp_path_factory.mktemp("engine")
    shutil.copytree(Path(diffusion_engine.__file__).parent, home / "diffusion_engine")
    shutil.copytree(HERE / "photo", home / "diffusion_engine" / "modalities" / "photo")
    cards = home / "Resources" / "Priors"
    cards.mkdir(parents=True)
    source = Path(diffusion_engine.__file__).parents[1] / "Resources" / "Priors"
    shutil.copy(source / "ct-body.json", cards)
    table = home / "diffusion_engine" / "modalities" / "table.py"
    text = table.read_text(encoding="utf-8")
    text = text.replace("from .ct.entry import CT\n", "from .ct.entry import CT\nfrom .photo.entry import PHOTO\n")
    table.write_text(text.replace("        CT,\n", "        CT,\n        PHOTO,\n"), encoding="utf-8")
    return home


def run(engine: Path, *arguments: str) -> str:
    known = {**os.environ, "PYTHONPATH": str(engine), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, env=known, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_photographs_are_reconstructed_here_and_in_the_worker(engine: Path, tmp_path: Path) -> None:
    found = json.loads(run(engine, "-c", RUN, str(tmp_path)).splitlines()[-1])
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
    said = run(engine, "-m", "diffusion_engine.jobs.worker", str(tmp_path / "job"))
    assert json.loads(said.splitlines()[-1]) == {"event": "done", "result": "result.json"}
    report, files = jobs.read_result(tmp_path / "job")
    assert report["modality"] == "photo"
    assert {"mean", "uncertainty", "sharp"} <= set(files)
    assert "reference" not in files
