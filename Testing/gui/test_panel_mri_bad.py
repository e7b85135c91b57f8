"""Raw data that cannot be used, or only with an answer: one clear sentence each, from the shell and from the panel."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from diffusion_engine.__main__ import _parser, main
from diffusion_engine.commands.options import given_settings
from diffusion_engine.commands.scans import scan_source
from diffusion_engine.modalities.prepared import Prepared, no_limit
from diffusion_engine.run.settings import Settings
from DiffusionReconLib.modalities.mri.acquisition import MRIAcquisition, summarise
from mr_inputs import PIXEL_MM, kspaceArray

SAID: dict[str, Any] = {"axes": ["coil", "row", "column"], "mask": "nonzero", "pixel_mm": [PIXEL_MM, PIXEL_MM]}
FASTMRI = (
    '<ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD"><encoding><encodedSpace><matrixSize><x>64</x><y>64</y><z>1</z>'
    "</matrixSize><fieldOfView_mm><x>{fov}</x><y>{fov}</y><z>5</z></fieldOfView_mm></encodedSpace><reconSpace>"
    "<matrixSize><x>64</x><y>64</y><z>1</z></matrixSize><fieldOfView_mm><x>{narrow}</x><y>{fov}</y><z>5</z>"
    "</fieldOfView_mm></reconSpace><trajectory>cartesian</trajectory></encoding></ismrmrdHeader>"
)


def array(folder: Path, values: np.ndarray | None = None, **said: Any) -> Path:
    """A plain array with its description; a key that is None is left out."""
    path = folder / "head.npy"
    np.save(path, kspaceArray()[0] if values is None else values)
    content = {key: value for key, value in {**SAID, **said}.items() if value is not None}
    path.with_suffix(".json").write_text(json.dumps(content))
    return path


def fastmri(folder: Path, fov: float = 57.6, narrow: float = 57.6) -> Path:
    """One slice as fastMRI has it, its lines along the last axis."""
    path = folder / "head.h5"
    values = kspaceArray()[:1].swapaxes(2, 3)
    with h5py.File(path, "w") as file:
        file["kspace"] = values
        file["mask"] = values[0].any((0, 1)).astype(np.float32)
        file["ismrmrd_header"] = FASTMRI.format(fov=fov, narrow=narrow)
    return path


def truncated(folder: Path) -> Path:
    path = fastmri(folder)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


def withNaN(folder: Path) -> Path:
    values = kspaceArray()[0]
    values[1, 32, 30] = np.nan
    return array(folder, values)


def withoutMiddle(folder: Path) -> Path:
    values = kspaceArray(every=2, middle=0)[0]
    return array(folder, values)


def withMask(folder: Path, mask: np.ndarray) -> Path:
    np.save(folder / "mask.npy", mask)
    return array(folder, mask="mask.npy")


def exchanged(folder: Path) -> Path:
    """A mask whose lines are columns: its rows and columns are those of the transposed image."""
    values = kspaceArray(shape=(1, 64, 48))[0]
    np.save(folder / "mask.npy", values.any(0).T)
    return array(folder, values, mask="mask.npy")


def coilLast(folder: Path) -> Path:
    """The coils' axis taken for columns."""
    return array(folder, kspaceArray(coils=20)[0].transpose(1, 2, 0), axes=["coil", "row", "column"])


def filledUp(folder: Path) -> Path:
    """Interpolated since: what was filled with zeros holds next to nothing."""
    rng = np.random.default_rng(0)
    values = kspaceArray()[0]
    faint = 1e-4 * np.abs(values).max() * rng.standard_normal(values.shape)
    return array(folder, np.where(values == 0, 1e-3 * faint, values).astype(np.complex64), mask="full")


def fromShell(path: Path, *more: str) -> Prepared[Any]:
    """What the command makes ready, its worker's part in this process."""
    beside = path.with_suffix(".json")
    described = ["--description", str(beside)] if beside.is_file() else []
    options = _parser().parse_args(["reconstruct", "--measured", str(path), *described, "--out", "x", *more])
    source = scan_source(options)
    settings = Settings.from_dict(given_settings(options))
    return settings.entry.prepare(source, settings, torch.device("cpu"), None, no_limit)


def fromPanel(path: Path) -> str:
    """What the panel shows of a file, with the description that it finds beside it."""
    found = summarise(MRIAcquisition(kspacePath=str(path)))
    return found.text


BAD: dict[str, tuple[Callable[[Path], Path], str]] = {
    "truncated": (truncated, r"head\.h5, found one that ends early: copy"),
    "NaN": (withNaN, "expected finite samples, found 1 that are NaN or infinite: repair them"),
    "no maps": (withoutMiddle, "expected coil maps, or 8 fully sampled lines or more .*: give the maps"),
    "another mask": (lambda f: withMask(f, np.roll(kspaceArray()[0].any(0), 1, 0)), "does not match the k-space"),
    "a mask of another size": (lambda f: withMask(f, np.ones((32, 64), bool)), "expected a k-space mask .*found"),
    "an exchanged mask": (exchanged, "exchange its rows and columns"),
    "exchanged axes": (coilLast, "are axes exchanged"),
    "zeros given as full": (lambda f: array(f, mask="full"), "filled with zeros"),
    "filled up": (filledUp, "were accelerated already and filled up"),
    "zeros not spoken of": (lambda f: array(f, mask=None), "expected to be told what was measured"),
    "field of view 0": (lambda f: fastmri(f, 0, 0), "how wide its pixels are: (give pixel_mm|enter the p)"),
    "contradicting oversampling": (lambda f: fastmri(f, 57.6, 99.0), "expected an oversampling of at least 1"),
}


@pytest.mark.parametrize("name", BAD)
def test_badDataAreOneSentenceFromShellAndPanel(name: str, tmp_path: Path) -> None:
    make, wanted = BAD[name]
    path = make(tmp_path)
    for ask in (fromShell, fromPanel):
        with pytest.raises(ValueError, match=wanted) as caught:
            ask(path)
        sentence = str(caught.value)
        assert "\n" not in sentence
        assert len(sentence) < 450
        assert ": " in sentence, "what to do stands after a colon"


def test_theCommandSaysItInOneLineAndLeavesNothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = withNaN(tmp_path)
    arguments = ["reconstruct", "--measured", str(path), "--description", str(path.with_suffix(".json"))]
    assert main([*arguments, "--out", str(tmp_path / "out")]) != 0
    lines = [line for line in capsys.readouterr().err.splitlines() if line.strip()]
    assert len(lines) == 1
    assert "NaN or infinite" in lines[0]
    assert not (tmp_path / "out").exists()


REMARKED: dict[str, tuple[Callable[[Path], Path], str]] = {
    "one coil": (lambda f: array(f, kspaceArray(coils=1)[0]), "There is one coil"),
    "oversampling not known": (lambda f: fastmri(f, 57.6, 0), "whether its readouts are oversampled"),
}


@pytest.mark.parametrize("name", REMARKED)
def test_whatCanBeUsedWithARemarkSaysIt(name: str, tmp_path: Path) -> None:
    make, wanted = REMARKED[name]
    path = make(tmp_path)
    assert any(wanted in note for note in fromShell(path).notes)
    assert wanted in fromPanel(path)


@pytest.mark.parametrize("shape", [(1, 63, 64), (1, 65, 63)])
def test_oddSizesAreFine(shape: tuple[int, int, int], tmp_path: Path) -> None:
    path = array(tmp_path, kspaceArray(shape=shape)[0])
    assert fromShell(path).shape == shape
    assert f"{shape[1]} x {shape[2]}" in fromPanel(path)
