"""Images of another program, BART, from the same samples and the same maps: for comparison only, where it is installed.

Its regularised images are those of the best weight for each slice, judged by the reference itself. Source of the
program: Uecker et al., ISMRM 2015, mrirecon.github.io/bart.
"""

from __future__ import annotations

import subprocess
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...classical.best_weight import HIGHEST, LOWEST, best_weight
from .system import MRISystem

PROGRAM = "bart"
ITERATIONS = 60
PENALTIES = {"bart-wavelet": "W:3:0:{weight}", "bart-tv": "T:3:0:{weight}", "bart-sense": "Q:{weight}"}
"""The program's own words for them: l1 of wavelets, total variation, Tikhonov."""


def bart_image(name: str, system: MRISystem, reference: np.ndarray) -> tuple[np.ndarray, dict[str, list[Any]]]:
    """The images by ``pics`` with a penalty of PENALTIES, the best weight from 0.0005 to 0.05 for each slice.

    ``reference``: (slices, rows, columns), magnitudes in the input's unit. Returns complex images in it and, a slice
    each, the weight and that it is a peer's. Raises ValueError where the program fails.
    """
    truth = torch.from_numpy(reference)
    images, weights = [], []
    for n in range(len(truth)):
        operator: Any = system.measured.select(slice(n, n + 1)).operator
        made = partial(pics, PENALTIES[name], system.data[n], operator.maps[0])
        best = best_weight(made, truth[n], LOWEST, HIGHEST)
        images.append(best.image)
        weights.append(round(best.weight, 6))
    return torch.stack(images).numpy(), {"weight": weights, "peer": [True] * len(weights)}


def pics(penalty: str, data: Tensor, maps: Tensor, weight: float) -> Tensor:
    """The image (rows, columns) of one slice's samples and maps (coils, rows, columns)."""
    with tempfile.TemporaryDirectory(prefix="bart-") as folder:
        place = Path(folder)
        for name, values in (("kspace", data), ("maps", maps)):
            write_cfl(values.movedim(0, -1)[:, :, None].cpu().numpy(), place / name)
        wanted = f"-R{penalty.format(weight=weight)}"
        command = [PROGRAM, "pics", "-S", f"-i{ITERATIONS}", wanted, "kspace", "maps", "x"]
        done = subprocess.run(command, cwd=place, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            said = " ".join((done.stderr or done.stdout).split())[-200:]
            raise ValueError(f"the program {PROGRAM} failed ({said}): leave its methods out")
        return torch.from_numpy(read_cfl(place / "x").reshape(tuple(data.shape[-2:]), order="F").copy())


def write_cfl(values: np.ndarray, place: Path) -> None:
    """Complex numbers, first axis fastest, and their shape beside them."""
    place.with_suffix(".hdr").write_text("# Dimensions\n" + " ".join(map(str, values.shape)) + "\n", encoding="ascii")
    values.astype(np.complex64).ravel(order="F").tofile(place.with_suffix(".cfl"))


def read_cfl(place: Path) -> np.ndarray:
    """What :func:`write_cfl` wrote, without axes of one entry."""
    lines = place.with_suffix(".hdr").read_text(encoding="ascii").splitlines()
    shape = [int(n) for n in lines[1].split()]
    values = np.fromfile(place.with_suffix(".cfl"), np.complex64).reshape(shape, order="F")
    return values.squeeze()
