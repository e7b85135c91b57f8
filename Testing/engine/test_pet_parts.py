"""PET counts that lie anywhere, as the files of a job's folder: with all that belongs to them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from diffusion_engine.modalities.pet.files import FILES
from diffusion_engine.modalities.pet.parts import read_anywhere
from diffusion_engine.modalities.rules import Parts
from pet_files import describe, write_sinogram

COUNTS = np.random.default_rng(0).poisson(50.0, (6, 3, 8)).astype(np.float32)
SAID = {"axes": ["angle", "slice", "bin"], "bin_mm": 4.0, "arc_deg": 180, "slice_spacing_mm": 3.0}


def in_folder(parts: Parts, place: Path) -> tuple[Path, Path | None]:
    place.mkdir()
    for name, source in parts.copies.items():
        (place / name).write_bytes(source.read_bytes())
    for name, content in parts.written.items():
        (place / name).write_text(json.dumps(content))
    return place / parts.input, None if parts.description is None else place / parts.description


def test_an_interfile_brings_its_data_and_the_factors_that_a_description_names(tmp_path: Path) -> None:
    path = write_sinogram(tmp_path, COUNTS)
    write_sinogram(tmp_path, np.full_like(COUNTS, 0.5), "water", **{"!PET data type": "Transmission"})
    parts = FILES.parts(path, describe(path, attenuation="water.hs"))
    assert set(parts.copies) == {"counts.hs", "scan.s", "counts.attenuation.hs", "water.s"}
    found = FILES.read(*in_folder(parts, tmp_path / "job"))
    np.testing.assert_array_equal(found.prompts, FILES.read(path, path.with_suffix(".json")).prompts)
    np.testing.assert_allclose(found.attenuation, 0.5)
    (tmp_path / "other").mkdir()
    other = write_sinogram(tmp_path / "other", np.ones_like(COUNTS))
    with pytest.raises(ValueError, match="expected data files with names of their own"):
        FILES.parts(path, {"background": str(other)})


def test_a_description_by_its_content_may_name_files_elsewhere_and_variables(tmp_path: Path) -> None:
    path, background = tmp_path / "c.npz", tmp_path / "other" / "b.npy"
    background.parent.mkdir()
    np.save(background, np.full_like(COUNTS, 2.0))
    np.savez(path, prompts=COUNTS, survival=np.full_like(COUNTS, 0.25))
    said = {**SAID, "variable": "prompts", "background": str(background), "attenuation": "survival"}
    parts = FILES.parts(path, said)
    assert parts.written == {"counts.json": {**said, "background": "counts.background.npy"}}
    assert dict(FILES.named(parts.written["counts.json"])) == {
        "the background of the job's input": "counts.background.npy"}
    found = read_anywhere(path, said)
    np.testing.assert_allclose(found.background, 2.0)
    np.testing.assert_allclose(found.attenuation, 0.25)
    np.testing.assert_array_equal(FILES.read(*in_folder(parts, tmp_path / "job")).prompts, found.prompts)
    with pytest.raises(ValueError, match=r"beside .*c\.json as background, found '.*b\.npy': put it there"):
        FILES.parts(path, describe(path, **said))
    with pytest.raises(ValueError, match=r"PET counts at .*none\.npy, found none: check the path"):
        FILES.parts(path, {**SAID, "background": "none.npy"})


def test_a_file_alone_and_one_that_is_not_there(tmp_path: Path) -> None:
    path = write_sinogram(tmp_path, COUNTS)
    assert FILES.parts(path, None).description is None
    np.testing.assert_array_equal(read_anywhere(path, None).prompts, FILES.read(path, None).prompts)
    with pytest.raises(ValueError, match="found none: check the path"):
        FILES.parts(tmp_path / "none.hs", None)
    spect = write_sinogram(tmp_path, COUNTS, "spect", **{"!imaging modality": "nucmed"})
    (tmp_path / "spect.s").unlink()
    with pytest.raises(ValueError, match="PET") as refused:
        FILES.parts(spect, None)
    assert "data file" not in str(refused.value)
    below = write_sinogram(tmp_path, COUNTS, **{"name of data file": "data/scan.s"})
    (tmp_path / "data").mkdir()
    (tmp_path / "scan.s").rename(tmp_path / "data" / "scan.s")
    with pytest.raises(ValueError, match=r"the data file of scan\.hs beside it"):
        FILES.parts(below, None)
