"""A single slice of a stack that is other than the rest is named, wherever it lies."""

from __future__ import annotations

import numpy as np
import pytest
from diffusion_engine.modalities.ct.readings.judge import judge
from readings_scans import changed, geometry, kinds, lines, photons

SLICES, WRONG = 9, 4  # not among those that are looked at for the whole stack


@pytest.mark.parametrize("beam", ["parallel", "fan_flat"])
def test_a_slice_without_logarithm_or_of_the_other_sign_is_refused_by_its_number(beam: str) -> None:
    good = lines(geometry(beam), slices=SLICES)
    assert kinds(good) == []
    one = good.values[WRONG]
    for readings, sentence in ((-one, "the sign of the logarithm"), (np.exp(-one), "no logarithm was taken")):
        with pytest.raises(ValueError, match=rf"^Slice {WRONG} \(from 0\): .*{sentence}"):
            judge(changed(good, WRONG, readings))
    trusted = judge(changed(good, WRONG, -one), trusted=True)
    assert trusted.remarks[0].kind == "sign"
    scan = photons(geometry(beam), slices=SLICES)
    assert kinds(scan) == []
    with pytest.raises(ValueError, match=rf"^Slice {WRONG} \(from 0\): The counts are smallest"):
        judge(changed(scan, WRONG, 2e4 - scan.values[WRONG]))


def test_slices_that_were_never_written_and_denser_ones_are_named() -> None:
    good = lines(geometry(), slices=24)
    blank = judge(changed(good, slice(3, 4), 0.0)).remarks
    assert [remark.kind for remark in blank] == ["blank_slices"]
    assert blank[0].sentence.startswith("Slice 3 (from 0): all readings are the same")
    denser = judge(changed(good, [5, 6], 3 * good.values[[5, 6]])).remarks
    assert [remark.kind for remark in denser] == ["slice_density"]
    assert denser[0].sentence.startswith("Slices 5 and 6 (from 0): 3 times as dense")


@pytest.mark.parametrize("share", [0.0, 0.05, 0.2])
def test_slices_of_air_or_of_the_table_alone_are_good(share: float) -> None:
    good = lines(geometry(), slices=SLICES)
    noise = 0.01 * np.random.default_rng(1).standard_normal(good.values[WRONG].shape)
    assert kinds(changed(good, WRONG, share * good.values[WRONG] + noise)) == []
