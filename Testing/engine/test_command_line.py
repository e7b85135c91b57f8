"""The engine's commands from simulation to training, with the real worker where one runs."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from diffusion_engine.__main__ import main
from diffusion_engine.commands.options import given_settings
from diffusion_engine.io.images import read_volume, write_volume
from diffusion_engine.jobs import job, lock, process
from diffusion_engine.modalities import table
from diffusion_engine.modalities.ct import oracle
from diffusion_engine.modalities.ct.entry import CT
from diffusion_engine.phantoms import synthetic_chest
from diffusion_engine.run.settings import Settings
from diffusion_engine.volume import Volume
from waiting import wait_until


@pytest.fixture(scope="module")
def small() -> Volume:
    """Two slices of the chest, 40 x 48 pixels of 8 mm."""
    return synthetic_chest((2, 40, 48), (10.0, 8.0, 8.0))[0]


@pytest.fixture
def image(small: Volume, tmp_path: Path) -> Path:
    write_volume(small, tmp_path / "chest.nrrd")
    return tmp_path / "chest.nrrd"


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The one sentence on stderr of a call that ends with 2."""
    assert main([str(a) for a in arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    return captured.err


def test_simulate_writes_a_scan(image: Path, small: Volume, tmp_path: Path) -> None:
    out = tmp_path / "scan"
    command = ["simulate", "--input", str(image), "--scan", "views=20", "--beam", "fan_flat", "--slices", "1,2"]
    assert main([*command, "--out", str(out), "--json", str(tmp_path / "report.json")]) == 0
    report = json.loads((tmp_path / "report.json").read_text())
    geometry = json.loads((out / "geometry.json").read_text())
    sinogram = read_volume(out / "sinogram.nrrd")
    assert sinogram.array.shape == (1, 20, geometry["detector_count"]) == tuple(report["shape"])
    assert geometry["type"] == "fan_flat"
    assert len(geometry["angles_rad"]) == 20
    assert geometry["noise_std"] == pytest.approx(report["noise_std"])
    assert 2 < float(sinogram.array.max()) < 20
    reference = read_volume(out / "reference.nrrd")
    np.testing.assert_allclose(reference.array, np.maximum(small.array[1:], -1000), atol=0.01)
    np.testing.assert_allclose(reference.ijk_to_ras, small.crop(slices=(1, 2)).ijk_to_ras)


@pytest.mark.slow
def test_reconstruct_runs_a_job_that_can_be_run_again(
    image: Path, small: Volume, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "job"
    command = ["reconstruct", "--input", str(image), "--views", "12", "--methods", "fbp,diffusion", "--steps", "2"]
    command += ["--draws", "2", "--pixel-mm", "16", "--slices", "0,1", "--seed", "5", "--device", "cpu"]
    assert main([*command, "--out", str(out), "--json", "-"]) == 0
    printed = capsys.readouterr().out
    report, files = job.read_result(out)
    assert json.loads(printed[printed.index("\n{") :]) == report
    assert "diffusion" in printed.splitlines()[1]
    expected = {"fbp", "mean", "uncertainty", "not_seen", "not_seen_share", "residual", "prior_decided", "reference"}
    assert set(files) - {"fallback"} == expected
    assert report["settings"]["seed"] == 5
    assert report["peak_memory_mb"] > 50
    volumes = {key: read_volume(path) for key, path in files.items()}
    assert all(v.array.shape == (1, 20, 24) and v.array.dtype == np.float32 for v in volumes.values())
    assert process.start(out).wait()["event"] == "done"
    for key, path in job.read_result(out)[1].items():
        assert read_volume(path).array.tobytes() == volumes[key].array.tobytes(), key


@pytest.mark.slow
def test_a_simulated_scan_can_be_reconstructed_as_a_measured_one(image: Path, small: Volume, tmp_path: Path) -> None:
    scan, out = tmp_path / "scan", tmp_path / "job"
    assert main(["simulate", "--input", str(image), "--views", "60", "--slices", "0,1", "--out", str(scan)]) == 0
    command = ["reconstruct", "--sinogram", str(scan / "sinogram.nrrd"), "--geometry", str(scan / "geometry.json")]
    assert main([*command, "--methods", "fbp", "--pixel-mm", "8", "--device", "cpu", "--out", str(out)]) == 0
    files = job.read_result(out)[1]
    assert set(files) == {"fbp"}
    found, truth = read_volume(files["fbp"]).array[0], np.maximum(small.array[0], -1000)
    j, i = ((n - m) // 2 for n, m in zip(found.shape, truth.shape, strict=True))
    assert min(i, j) >= 0, found.shape
    part = found[j : j + truth.shape[0], i : i + truth.shape[1]]
    assert float(np.corrcoef(part.ravel(), truth.ravel())[0, 1]) > 0.95


@pytest.mark.slow
def test_a_real_run_is_cancelled(small: Volume, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"methods": ["diffusion"], "draws": 500, "steps": 100, "views": 12, "device": "cpu"}
    folder = job.write_job(tmp_path / "job", small.crop(slices=(0, 1)), settings)
    running = process.start(folder)
    stages: list[str] = []

    def draws() -> bool:
        messages = running.poll()
        assert all(m["event"] == "progress" for m in messages), messages
        stages.extend(m["stage"] for m in messages)
        return any(stage.startswith("draw") for stage in stages)

    wait_until(draws, 300, "the first draw")
    running.cancel()
    assert running.wait()["event"] == "cancelled"
    assert not (folder / job.RESULT).exists()
    assert {p.name for p in folder.iterdir()} == {job.JOB, job.INPUT, job.LOG}


def test_priors_are_listed_and_checked(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["priors", "--json", str(tmp_path / "priors.json")]) == 0
    assert "ct-body: " in capsys.readouterr().out
    names = [card["name"] for card in json.loads((tmp_path / "priors.json").read_text())]
    of_ct = ["ct-body", "ct-body-few", "ct-body-medium", "ct-body-stack"]
    assert names == [*of_ct, "ct-sinogram", "mr-head", "pet-torso"]


def test_evaluate_a_folder(
    small: Volume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    smaller = replace(CT, cases=replace(CT.cases, smallest_matrix=40))
    monkeypatch.setattr(table, "MODALITIES", {"ct": smaller})
    monkeypatch.setattr(oracle, "ITERATIONS", 120)
    folder = tmp_path / "data"
    folder.mkdir()
    write_volume(small, folder / "chest.nrrd")
    write_volume(small.crop(rows=(0, 20)), folder / "small.nrrd")
    command = ["evaluate", "--data", str(folder), "--views", "12", "--draws", "2", "--steps", "2", "--device", "cpu"]
    assert main([*command, "--json", str(tmp_path / "rows.json")]) == 0
    printed = capsys.readouterr().out
    assert "skipped small.nrrd: slices of 20 x 48 pixels" in printed
    rows = json.loads((tmp_path / "rows.json").read_text())
    assert {row["method"] for row in rows} == {"fbp", "tv", "tv-oracle", "dds-draw", "dds"}
    assert {row["case"] for row in rows} == {0, 1}
    assert len(rows) == 10
    assert "parallel, 12 views: PSNR in dB over 2000 HU" in printed
    assert "dds minus tv-oracle: mean" in printed


def test_train_makes_a_prior(small: Volume, tmp_path: Path) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    for name in ("a", "b"):
        (data / name).mkdir(parents=True)
        write_volume(small, data / name / "ct.nrrd")
    command = ["train", "--data", str(data), "--exclude", "b", "--steps", "2", "--name", "mine", "--device", "cpu"]
    command += ["--out", str(out), "--json", str(tmp_path / "card.json")]
    assert main([*command, "--pixels", "8192", "--log-sigma=-2.8,1.1"]) == 0
    card = json.loads((tmp_path / "card.json").read_text())
    assert (card["held_out"], card["training"]["pixels_per_step"]) == (["b"], 8192)
    assert card["training"]["log_sigma"] == [-2.8, 1.1]
    assert (out / card["weights"]).exists()
    assert main(["priors", "--folder", str(out)]) == 0


def test_bad_input_ends_with_one_sentence(image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert "give --input" in refused(capsys, "simulate", "--out", out)
    assert "nothing.nrrd" in refused(capsys, "simulate", "--input", tmp_path / "nothing.nrrd", "--out", out)
    assert "views from 2" in refused(capsys, "simulate", "--input", image, "--views", 1, "--out", out)
    assert "unknown settings ['spokes']" in refused(
        capsys, "simulate", "--input", image, "--scan", "spokes=5", "--out", out
    )
    assert "numbers with commas" in refused(capsys, "simulate", "--input", image, "--slices", "a,b", "--out", out)
    assert "cannot be used" in refused(capsys, "simulate", "--input", image, "--views", 9, "--out", image)
    assert "needs its geometry" in refused(capsys, "reconstruct", "--sinogram", image, "--out", out)
    assert "expected a folder" in refused(capsys, "evaluate", "--data", tmp_path / "none")
    assert "no CT volume" in refused(capsys, "train", "--data", out, "--out", out)
    assert "expected 256 pixels or more" in refused(capsys, "train", "--data", out, "--out", out, "--pixels", 100)
    for noise in ("-2.8", "-2.8,0", "-2.8,1,1"):
        assert "give two numbers" in refused(capsys, "train", "--data", out, "--out", out, f"--log-sigma={noise}")
    assert "unknown settings ['spokes']" in refused(
        capsys, "simulate", "--input", image, "--scan", "spokes=5", "--out", out
    )
    assert "numbers with commas" in refused(capsys, "train", "--data", out, "--out", out, "--log-sigma=low,1")
    assert "expected a file in a folder that exists for --json" in refused(
        capsys, "simulate", "--input", image, "--out", out, "--json", tmp_path / "none" / "report.json"
    )
    assert not out.exists()
    assert "expected region" in refused(capsys, "reconstruct", "--input", image, "--region", "1,2", "--out", out)
    assert "folder of model cards" in refused(capsys, "priors", "--folder", tmp_path / "none")
    assert not out.exists()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "note.txt").write_text("mine")
    assert "expected an empty folder" in refused(capsys, "reconstruct", "--input", image, "--out", tmp_path / "full")
    assert [p.name for p in (tmp_path / "full").iterdir()] == ["note.txt"]


@pytest.mark.parametrize("wrong", [("--solver", "magic"), ("--coupling", "magic"), ("--solver", "score_mri")])
def test_a_method_that_cannot_run_leaves_no_job(
    image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], wrong: tuple[str, str]
) -> None:
    said = refused(capsys, "reconstruct", "--input", image, *wrong, "--out", tmp_path / "out")
    assert wrong[1] in said
    assert "choose from" in said
    assert not (tmp_path / "out").exists()


def test_a_remark_of_the_reader_is_a_line_without_a_place_in_the_program(
    small: Volume, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "quantised.nrrd"
    voxels = np.ascontiguousarray(small.array, "<f4")
    sizes = " ".join(map(str, voxels.shape[::-1]))
    header = f"NRRD0004\ntype: float\ndimension: 3\nsizes: {sizes}\nspacings: 6 6 10\nendian: little\n"
    path.write_bytes(f"{header}encoding: raw\nold min: 0\nold max: 9\n\n".encode() + voxels.tobytes())
    command = ["simulate", "--input", str(path), "--views", "9", "--slices", "0,1"]
    assert main([*command, "--out", str(tmp_path / "scan")]) == 0
    lines = capsys.readouterr().err.strip().splitlines()
    assert len([line for line in lines if line.endswith("(old min, old max); they were not turned back.")]) == 1
    assert not any("Warning" in line or ".py" in line for line in lines)


def test_an_error_of_the_worker_is_one_sentence(
    image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = refused(capsys, "reconstruct", "--input", image, "--prior", "nobody", "--out", tmp_path / "job")
    assert "no prior named 'nobody'" in text
    # What was refused leaves nothing behind, so that the next call may take the same folder.
    assert not (tmp_path / "job").exists()
    (tmp_path / "there").mkdir()
    refused(capsys, "reconstruct", "--input", image, "--slices", "0,99", "--out", tmp_path / "there")
    assert list((tmp_path / "there").iterdir()) == []


def test_a_name_is_no_path(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("../mine", "/mine", "..", ".mine", "a\\b", ""):
        for command in (["train", "--data", "x"], ["distil", "--prior", "x", "--data", "x"], ["adapt", "--data", "x"],
                        ["import", "x", "--family", "edm", "--scale", "1"]):  # fmt: skip
            with pytest.raises(SystemExit):
                main([*command, "--out", str(tmp_path / "out"), f"--name={name}"])
            assert "expected a name" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_training_has_a_step_at_least(image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in (["train"], ["distil", "--prior", "ct-body"], ["adapt"]):
        for steps in ("0", "-3", "1.5"):
            with pytest.raises(SystemExit):
                main([*command, "--data", str(image.parent), "--out", str(tmp_path / "out"), f"--steps={steps}"])
            assert "expected a whole number of 1 or more" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_second_training_of_the_name_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from diffusion_engine.training import adapt, distil_run, run

    for module, call in ((run, "train_prior"), (distil_run, "distil_prior"), (adapt, "adapt_prior")):
        monkeypatch.setattr(module, call, lambda *_arguments, **_named: {})
    commands: list[list[object]] = [["train"], ["distil", "--prior", "x"], ["adapt"]]
    for command in commands:
        whole = [*command, "--data", tmp_path, "--out", tmp_path / "priors", "--name", "mine"]
        with lock.held(tmp_path / "priors", "mine"):
            assert "no other run uses" in refused(capsys, *whole)
        assert main([str(word) for word in whole]) == 0
        assert not (tmp_path / "priors").exists()


def test_a_stop_by_hand_ends_the_worker_and_keeps_the_job(
    image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[dict] = []

    class Interrupted:
        def wait(self, show: object = None) -> dict:
            if show is not None:
                raise KeyboardInterrupt
            ended.append({"event": "cancelled"})
            return ended[-1]

        def cancel(self) -> None:
            ended.append({"event": "asked"})

    monkeypatch.setattr(process, "start", lambda _folder: Interrupted())
    assert main(["reconstruct", "--input", str(image), "--out", str(tmp_path / "job")]) == 130
    assert [each["event"] for each in ended] == ["asked", "cancelled"]
    assert capsys.readouterr().err == "stopped\n"
    assert job.read_job(tmp_path / "job").kind == "simulate"


def test_no_command_and_unknown_options_show_the_usage(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in ([], ["paint"], ["simulate", "--colour", "red"]):
        with pytest.raises(SystemExit) as end:
            main(arguments)
        assert end.value.code == 2
        assert "usage: python -m diffusion_engine" in capsys.readouterr().err


def test_options_of_a_method_are_settings_and_text_is_refused() -> None:
    def given(*options: str) -> dict[str, object]:
        return given_settings(argparse.Namespace(steps=80, solver_options=list(options), views=None))

    assert given("prior_variance=4", "mirrored=false") == {
        "steps": 80, "solver_options": {"prior_variance": 4, "mirrored": False},
    }
    with pytest.raises(ValueError, match="expected a number from 0 to 1 as the option eta of dds, found 'much'"):
        Settings.from_dict(given("eta=much"))
    with pytest.raises(ValueError, match="NAME=VALUE, found 'eta'"):
        given("eta")
