"""The rotation axis of parallel data: known in simulation, and in a measured tooth."""

from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from ct_phantoms import disc_sinogram
from diffusion_engine.modalities.ct.centre import centre_to_offset_mm, estimate_centre
from diffusion_engine.physics.ct import CTGeometry, view_angles


@pytest.mark.parametrize("centre", [63.5, 57.3, 70.8])
@pytest.mark.parametrize("arc", [math.pi, 2 * math.pi])
def test_axis_of_simulated_data(centre: float, arc: float) -> None:
    angles = view_angles(90, arc)
    geometry = CTGeometry("parallel", angles, 128, 0.5, centre_to_offset_mm(centre, 128, 0.5))
    discs = ((3, -2, 18, 0.05), (-8, 4, 3, 0.1), (9, 6, 2, 0.1), (0, -12, 4, -0.04))
    clean = sum(disc_sinogram(geometry, *disc) for disc in discs)
    noisy = clean + 0.01 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0), dtype=clean.dtype)
    assert estimate_centre(noisy[None], angles) == pytest.approx(centre, abs=0.25)


def test_offset_sign() -> None:
    geometry = CTGeometry("parallel", (0.0,), 128, 0.5, centre_to_offset_mm(70.0, 128, 0.5))
    assert geometry.detector_u_mm[70] == pytest.approx(0.0)


def test_faults_are_refused() -> None:
    angles = view_angles(20, math.pi / 2)
    with pytest.raises(ValueError, match="half a turn apart"):
        estimate_centre(torch.ones(1, 20, 64), angles)
    with pytest.raises(ValueError, match="at least 8 views"):
        estimate_centre(torch.ones(1, 4, 64), angles[:4])
    with pytest.raises(ValueError, match="20 views"):
        estimate_centre(torch.ones(1, 21, 64), angles)
    with pytest.raises(ValueError, match="NaN"):
        estimate_centre(torch.full((1, 20, 64), math.nan), angles)


def tooth() -> Path | None:
    here = Path(__file__).resolve()
    roots = [Path(os.environ["DIFFUSION_PRIORS_DATA"])] if "DIFFUSION_PRIORS_DATA" in os.environ else []
    roots += [parent / "shared" / "data" for parent in (here.parents[2], here.parents[3])]
    for root in roots:
        for path in (root / "eval" / "proj_parallel_tooth_tomopy" / "tooth.h5",
                     root / "proj_parallel_tooth_tomopy" / "tooth.h5"):
            if path.is_file():
                return path
    return None


@pytest.mark.skipif(tooth() is None, reason="measured data are not here: set DIFFUSION_PRIORS_DATA to their folder")
def test_axis_of_a_measured_tooth() -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(tooth()) as file:
        group = file["exchange"]
        counts, dark, white = (np.asarray(group[key], dtype=np.float64) for key in ("data", "data_dark", "data_white"))
        theta = np.radians(np.asarray(group["theta"], dtype=np.float64))
    sinogram = -np.log((counts - dark.mean(0)) / (white.mean(0) - dark.mean(0))).transpose(1, 0, 2)
    found = estimate_centre(torch.from_numpy(sinogram.copy()), tuple(theta))
    assert found == pytest.approx(296, abs=0.5)
