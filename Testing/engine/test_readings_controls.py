"""What is good gets no remark and is given back as it is: a dozen scans of phantoms; the benchmark has many more."""

from __future__ import annotations

import numpy as np
import pytest
from benchmarks.readings_controls import PIXEL_MM, WAYS, coarse, scan
from diffusion_engine.modalities.ct.readings.judge import first_look, judge
from diffusion_engine.phantoms import synthetic_chest
from readings_scans import geometry, lines, photons


@pytest.fixture(scope="module")
def chest() -> np.ndarray:
    """One slice of the synthetic chest off the middle, 72 x 72 pixels of 6 mm."""
    return np.roll(synthetic_chest((1, 72, 72), (5.0, 6.0, 6.0))[0].array, (2, -5), (1, 2))


@pytest.mark.parametrize("way", [way for way in WAYS if way.views <= 180], ids=lambda way: way.name)
def test_a_good_scan_gets_no_remark_and_is_not_changed(chest: np.ndarray, way) -> None:
    measurement = scan(chest, 6.0, way)
    judged = judge(measurement)
    assert judged.remarks == ()
    assert judged.measurement is measurement
    assert judged.used.all()
    assert judged.detector_offset_mm is None


@pytest.mark.parametrize("beam", ["parallel", "fan_flat", "fan_curved"])
def test_stacks_get_no_remark(beam: str) -> None:
    rays = geometry(beam, 24)
    for good in (lines(rays, slices=6), photons(rays, stated=False, slices=3)):
        assert judge(good).remarks == ()
        assert first_look(good).remarks == ()


def test_coarse_pixels_are_means() -> None:
    image, pixel = coarse(np.arange(16.0).reshape(1, 4, 4), 0.7 * PIXEL_MM)
    np.testing.assert_allclose(image[0], [[2.5, 4.5], [10.5, 12.5]])
    assert pixel == pytest.approx(1.4 * PIXEL_MM)
