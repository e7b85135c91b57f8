"""The demo's command line, its refusals, its output folder and what it prints; the reconstruction itself is faked."""

from __future__ import annotations

import io
import json
from pathlib import Path

import demo
import demo_report
import numpy as np
import pytest
from diffusion_engine.io.images import read_volume, write_volume
from diffusion_engine.jobs import job
from diffusion_engine.volume import Volume

REPORT = {
    "modality": "ct", "method": "dds", "prior": "ct-body", "seed": 0, "draws": 4, "spread": "concentrated",
    "seconds": 61.3, "peak_memory_mb": 1234.5, "notes": ["The pixels were resampled for the prior."],
    "metrics": {
        "diffusion": {"psnr": 38.123, "ssim": 0.95, "residual_ratio": 1.3, "seconds": 50.0},
        "fbp": {"psnr": 25.0, "ssim": 0.41, "residual_ratio": None, "seconds": 0.1},
        "tv": {"psnr": 33.5, "ssim": 0.9, "residual_ratio": 1.01, "seconds": 4.0},
    },
}


@pytest.fixture
def chest() -> Volume:
    values = np.full((20, 24, 24), -1000.0, np.float32)
    values[:, 6:18, 6:18] = 40.0
    values += np.arange(20, dtype=np.float32)[:, None, None]
    return Volume(values, np.diag([-1.4, -1.4, 5.0, 1.0]), "HU")


@pytest.fixture
def faked(monkeypatch: pytest.MonkeyPatch) -> list[dict]:
    """The worker and Slicer's views are replaced; the settings that the worker would get are recorded."""
    calls: list[dict] = []

    def reconstruct(volume: Volume, settings: dict, folder: Path) -> dict:
        calls.append(settings)
        job.write_job(folder, volume, settings)
        names = ["mean", "fbp", *(f"draw_{n + 1}" for n in range(settings["draws"]))]
        for name in names:
            write_volume(volume, folder / f"{name}.nrrd")
        job.write_json(folder / job.RESULT, {**REPORT, "files": {name: f"{name}.nrrd" for name in names}})
        return {"event": "done", "result": job.RESULT}

    def collect(folder: Path, labels: Volume | None, staging: Path) -> dict:
        report, volumes = job.read_result(folder)
        for path in (*volumes.values(), folder / job.RESULT):
            (staging / path.name).write_bytes(path.read_bytes())
        return report

    monkeypatch.setattr(demo, "reconstruct", reconstruct)
    monkeypatch.setattr(demo, "collect", collect)
    return calls


def run(*arguments: object) -> int:
    return demo.main(demo.parse([str(argument) for argument in arguments]))


def test_the_middle_slices_of_a_file_keep_their_place(chest: Volume, faked: list[dict], tmp_path: Path) -> None:
    write_volume(chest, tmp_path / "CT für Ärzte.nrrd")
    out = tmp_path / "new" / "out"
    assert run("--input", tmp_path / "CT für Ärzte.nrrd", "--slices", 4, "--views", 20, "--arc", 200, "--out", out) == 0
    assert faked[0]["views"] == 20
    assert faked[0]["arc_degrees"] == 200.0
    mean = read_volume(out / "mean.nrrd")
    assert np.array_equal(mean.array, chest.array[8:12])
    assert mean.ijk_to_ras[2, 3] == pytest.approx(40.0)
    assert list((tmp_path / "new").iterdir()) == [out]


def test_a_smaller_second_run_leaves_no_stale_samples(chest: Volume, faked: list[dict], tmp_path: Path) -> None:
    write_volume(chest, tmp_path / "ct.nrrd")
    out = tmp_path / "out"
    for draws in (4, 2):
        assert run("--input", tmp_path / "ct.nrrd", "--draws", draws, "--out", out) == 0
        (out / "mine.nrrd").touch()
    assert {path.name for path in out.glob("draw_*")} == {"draw_1.nrrd", "draw_2.nrrd"}
    assert (out / "mine.nrrd").exists()
    assert len(json.loads((out / "result.json").read_text())["files"]) == 4


def test_bad_input_is_one_sentence_code_2_and_nothing_left(
    chest: Volume, faked: list[dict], tmp_path: Path, capsys: pytest.CaptureFixture[str],
) -> None:
    broken = chest.array.copy()
    broken[10, 3, 4] = np.nan
    write_volume(chest.with_array(broken), tmp_path / "nan.nrrd")
    write_volume(chest.with_array(np.abs(chest.array), "a.u."), tmp_path / "mr.nrrd")
    write_volume(chest, tmp_path / "whole.nrrd")
    (tmp_path / "half.nrrd").write_bytes((tmp_path / "whole.nrrd").read_bytes()[:400])
    (tmp_path / "empty").mkdir()
    for name, words in (
        ("nan.nrrd", "NaN"), ("mr.nrrd", "--assume-hu"), ("half.nrrd", "half.nrrd"), ("empty", "empty"),
        ("none.nrrd", "nothing at"),
    ):
        assert run("--input", tmp_path / name, "--out", tmp_path / "new" / "out") == 2
        message = capsys.readouterr().err.strip()
        assert words in message
        assert "\n" not in message
        assert not (tmp_path / "new").exists()
    assert faked == []
    assert run("--input", tmp_path / "mr.nrrd", "--assume-hu", "--out", tmp_path / "out") == 0


def test_an_output_folder_below_a_file_is_one_sentence(
    chest: Volume, faked: list[dict], tmp_path: Path, capsys: pytest.CaptureFixture[str],
) -> None:
    write_volume(chest, tmp_path / "ct.nrrd")
    for out in (tmp_path / "ct.nrrd", tmp_path / "ct.nrrd" / "deeper"):
        assert run("--input", tmp_path / "ct.nrrd", "--out", out) == 2
        message = capsys.readouterr().err.strip()
        assert "choose another by --out" in message
        assert "\n" not in message
    assert [path.name for path in tmp_path.iterdir()] == ["ct.nrrd"]


@pytest.mark.parametrize(
    ("last", "code"),
    [
        ({"event": "error", "message": "It failed: see worker.log."}, 1),
        (KeyboardInterrupt(), 130),
        (ValueError("no\nroom"), 1),
    ],
)
def test_a_failed_or_interrupted_run_leaves_nothing(
    chest: Volume, faked: list[dict], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str], tmp_path_factory: pytest.TempPathFactory, last: object, code: int,
) -> None:
    def failing(*arguments: object) -> object:
        if isinstance(last, BaseException):
            raise last
        folder = arguments[2]
        folder.mkdir()
        (folder / "worker.log").write_text("Traceback")
        return last

    monkeypatch.setattr(demo, "reconstruct", failing)
    monkeypatch.setattr(demo.tempfile, "tempdir", str(tmp_path_factory.mktemp("temporary")))
    write_volume(chest, tmp_path / "ct.nrrd")
    assert run("--input", tmp_path / "ct.nrrd", "--out", tmp_path / "out") == code
    message = capsys.readouterr().err.strip()
    assert len(message.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["ct.nrrd"]
    if "see " in message:
        assert Path(message.split("see ")[1].rstrip(".")).read_text() == "Traceback"


@pytest.mark.parametrize(
    "arguments", [["--views", "1"], ["--views", "x"], ["--arc", "0"], ["--arc", "nan"], ["--draws", "0"], ["--no"]],
)
def test_a_bad_option_ends_with_code_2_before_any_set_up(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        demo.parse(arguments)
    assert caught.value.code == 2


def test_the_synthetic_chest_comes_with_labels_of_its_grid() -> None:
    volume, labels = demo.load(demo.parse(["--slices", "2"]))
    assert labels.array.shape == volume.array.shape == (2, 256, 256)
    assert {1, 2, 3} <= set(np.unique(labels.array))


def test_the_closing_table() -> None:
    lines = demo_report.methods_table(REPORT)
    assert [line.split()[0] for line in lines[:4]] == ["method", "FBP", "TV", "diffusion"]
    assert lines[1].split() == ["FBP", "25.00", "0.410", "-", "0.1"]
    assert lines[3].split() == ["diffusion", "prior", "38.12", "0.950", "1.30", "50.0"]
    text = "\n".join(lines)
    assert "narrower than a posterior" in text
    assert "peak memory 1234 MB, 61 s in all, seed 0" in text
    assert lines[-1] == "The pixels were resampled for the prior."
    rescaled = "\n".join(demo_report.methods_table({**REPORT, "calibration": {"matched": True}}))
    assert "rescaled for this acquisition" in rescaled
    assert "narrower" not in rescaled


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def message(fraction: float) -> dict:
    return {
        "event": "progress", "stage": "sampling", "step": 3, "total": 9, "fraction": fraction, "seconds_left": 65.2,
        "memory_mb": 800.0, "preview": None,
    }


def test_progress_on_a_terminal_is_one_line() -> None:
    out = Terminal()
    bar = demo_report.Bar(out)
    for fraction in (0.1, 0.5, 0.9):
        bar.show(message(fraction))
    bar.show({"event": "done"})
    bar.end()
    assert out.getvalue().count("\n") == 1
    assert "90%  sampling 3/9  1 min 5 s left  800 MB" in out.getvalue().split("\r")[-1]


def test_progress_elsewhere_is_a_line_each_five_seconds() -> None:
    now = [0.0]
    out = io.StringIO()
    bar = demo_report.Bar(out, clock=lambda: now[0])
    for second in range(12):
        now[0] = float(second)
        bar.show(message(second / 12))
    bar.end()
    assert len(out.getvalue().splitlines()) == 3
    assert "\r" not in out.getvalue()


def test_a_torso_is_scanned_with_few_counts() -> None:
    options = demo.parse(["--modality", "pet"])
    volume, labels = demo.load(options)
    assert (volume.unit, volume.array.shape, labels) == ("SUV", (2, 128, 128), None)
    assert demo.scan_of(options) == ({"counts": 0.1}, "0.1 million counts a slice")
    assert demo.scan_of(demo.parse(["--modality", "pet", "--counts", "1"]))[0] == {"counts": 1.0}
    with pytest.raises(SystemExit):
        demo.parse(["--counts", "0"])
