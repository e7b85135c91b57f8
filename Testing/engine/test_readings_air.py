"""The air beside the object: light that changes during the scan, and line integrals whose air is not 0."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from diffusion_engine.modalities.ct.readings.judge import judge
from readings_scans import changed, geometry, kinds, lines, photons

KINDS = ("parallel", "fan_flat", "fan_curved")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("end", [0.9, 0.5])
def test_light_that_changes_is_doubted(kind: str, end: float) -> None:
    scan = photons(geometry(kind))
    drift = np.linspace(1, end, scan.values.shape[1])[:, None]
    remarks = judge(replace(scan, values=(scan.values * drift).astype(np.float32))).remarks
    (sentence,) = (remark.sentence for remark in remarks if remark.kind == "air_drift")
    found = float(sentence.split("changed by ")[1].split(" %")[0])
    assert found == pytest.approx(100 * (1 / end - 1) * 0.9, rel=0.15)  # between the 5th and the 95th part of the views


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("offset", [0.2, -0.2])
def test_air_that_is_not_zero_is_doubted(kind: str, offset: float) -> None:
    scan = lines(geometry(kind), slices=2)
    assert "air_offset" in kinds(replace(scan, values=scan.values + np.float32(offset)))


@pytest.mark.parametrize("kind", KINDS)
def test_steady_air_is_not_remarked(kind: str) -> None:
    rays = geometry(kind)
    for scan in (lines(rays), lines(rays, 0.05), photons(rays), photons(rays, 500)):
        assert kinds(scan) == []
    flicker = photons(geometry(kind))
    wave = 1 + 0.004 * np.random.default_rng(0).standard_normal((60, 1))
    assert kinds(replace(flicker, values=(flicker.values * wave).astype(np.float32))) == []


def test_nothing_is_said_of_air_that_most_views_do_not_see() -> None:
    scan = lines(geometry())
    cut = changed(scan, np.s_[:, ::2, :8], 1.0)
    assert not {"air_drift", "air_offset"} & set(kinds(cut))
