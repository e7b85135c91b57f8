"""What looks like noise and is none: even and odd bins of different gain, and a stated noise that is not there."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from readings_scans import geometry, kinds, lines

BEAMS = ["parallel", "fan_flat", "fan_curved"]


@pytest.mark.parametrize("beam", BEAMS)
@pytest.mark.parametrize("std", [0.004, 0.04])
def test_even_and_odd_bins_of_different_gain_are_doubted(beam: str, std: float) -> None:
    good = lines(geometry(beam), std)
    assert kinds(good) == []
    values = good.values.copy()
    values[..., ::2] *= 1.2
    assert "pattern" in kinds(replace(good, values=values))


@pytest.mark.parametrize("beam", BEAMS)
def test_a_stated_noise_that_is_not_there_is_doubted(beam: str) -> None:
    good = lines(geometry(beam), 0.02)
    for std, remarks in ((0.02, []), (0.05, []), (0.02**0.5, ["stated_noise"])):  # last: 0.02 where its square belongs
        assert kinds(replace(good, variance=np.full((1, 1, 1), std**2))) == remarks
