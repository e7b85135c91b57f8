"""SUV factors by the rules of the vendors, and what is asked for where a header does not tell them."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from diffusion_engine.modalities.pet.body import ideal_weight_kg, lean_mass_james_kg, lean_mass_kg, surface_m2
from diffusion_engine.modalities.pet.suv import suv_factors
from sample_data import samples

T = 6586.2


def header(**changes: Any) -> dict[str, Any]:
    """A header of F-18 injected an hour before the series time; ``None`` takes a field out."""
    whole: dict[str, Any] = {
        "SeriesDate": "20240315", "SeriesTime": "110000", "AcquisitionDate": "20240315", "AcquisitionTime": "110005.25",
        "PatientWeight": 70, "PatientSex": "M", "PatientSize": 1.80, "Units": "BQML", "DecayCorrection": "START",
        "CorrectedImage": ["NORM", "ATTN", "SCAT", "DECY"], "RadionuclideTotalDose": 3.5e8, "RadionuclideHalfLife": T,
        "RadiopharmaceuticalStartTime": "100000.00", "ActualFrameDuration": 120000,
    }
    return {name: value for name, value in {**whole, **changes}.items() if value is not None}


def expected(minutes: float, dose: float = 3.5e8, weight: float = 70) -> float:
    """SUVbw of one Bq/mL, worked out apart from the code."""
    return weight * 1000 / (dose * 0.5 ** (minutes * 60 / T))


def factor(*headers: dict[str, Any], **given: Any) -> float:
    return float(suv_factors(headers, given).bw[0])


def said(*headers: dict[str, Any]) -> str:
    return " ".join(suv_factors(headers).reasons)


def test_the_published_factors_of_vendors_headers() -> None:
    cases = samples("suv_reference_cases")
    published = json.loads((cases / "expected.json").read_text())["suvbw_per_rescaled_value"]
    assert published
    for name, value in published.items():
        headers = json.loads((cases / f"{name}-instances.json").read_text())
        assert suv_factors(headers).bw == pytest.approx([value] * len(headers), rel=1e-9), name


def test_decay_from_the_series_time() -> None:
    assert factor(header()) == pytest.approx(expected(60), rel=1e-12)
    assert "series time" in said(header())


def test_several_beds_share_the_series_time() -> None:
    beds = [header(AcquisitionTime=time) for time in ("111000", "110005", "110500.5")]
    assert suv_factors(beds).bw == pytest.approx([expected(60)] * 3, rel=1e-12)


def test_a_series_made_afterwards_counts_from_the_earliest_acquisition() -> None:
    beds = [header(SeriesTime="114500", AcquisitionTime=time) for time in ("110500", "110000", "110730")]
    assert suv_factors(beds).bw == pytest.approx([expected(60)] * 3, rel=1e-12)
    assert "made afterwards" in said(*beds)


def test_a_series_made_afterwards_by_ge_counts_from_its_own_scan_time() -> None:
    late = header(SeriesTime="114500", GEPrivatePostInjectionDateTime="20240315105500.00")
    assert factor(late) == pytest.approx(expected(55), rel=1e-12)
    assert factor(header(GEPrivatePostInjectionDateTime="20240315105500.00")) == pytest.approx(expected(60), rel=1e-12)


def test_frame_reference_times_that_point_to_a_missing_bed_are_said() -> None:
    mean = 60.0  # of a frame of 120 s, nearly
    first = header(SeriesTime="114500", AcquisitionTime="110000", FrameReferenceTime=1000 * mean)
    later = header(SeriesTime="114500", AcquisitionTime="111000", FrameReferenceTime=1000 * (600 + mean))
    assert "frame reference times" not in said(first, later)
    assert "600 s before" in said(later)


def test_the_moment_of_the_values_stated_by_the_header_counts_most() -> None:
    stated = header(DecayCorrectionDateTime="20240315103000", SeriesTime="114500")
    assert factor(stated) == pytest.approx(expected(30), rel=1e-12)


@pytest.mark.parametrize(("changes", "minutes"), [
    ({"SeriesTime": None}, 60 + 5.25 / 60),
    ({"SeriesTime": None, "SeriesDate": None}, 60 + 5.25 / 60),
    ({"AcquisitionTime": None, "AcquisitionDate": None}, 60),
    ({"AcquisitionDate": None}, 60),
    ({"SeriesDate": None, "AcquisitionDate": None}, 60),
    ({"AcquisitionTime": None, "AcquisitionDateTime": "20240315110001.5"}, 60),
    ({"SeriesTime": "1100"}, 60), ({"SeriesTime": "11:00:00"}, 60),
    ({"SeriesTime": "110000.999999"}, 60 + .999999 / 60),
    ({"SeriesDate": "2024.03.15"}, 60), ({"RadiopharmaceuticalStartTime": " 095959.5 "}, 60 + .5 / 60),
    ({"RadiopharmaceuticalStartDateTime": "20240315094500.00 "}, 75),
    ({"RadiopharmaceuticalStartDateTime": ""}, 60),
    ({"RadiopharmaceuticalStartTime": None, "RadiopharmaceuticalStartDateTime": "20240315093000"}, 90),
    ({"RadiopharmaceuticalStartDateTime": "20240315090000+0000", "TimezoneOffsetFromUTC": "+0100"}, 60),
    ({"RadiopharmaceuticalStartDateTime": "20240315100000+0100", "TimezoneOffsetFromUTC": "+0100"}, 60),
    ({"RadiopharmaceuticalStartDateTime": "20240315100000+0100"}, 60),
])
def test_times_as_headers_write_them(changes: dict[str, Any], minutes: float) -> None:
    assert factor(header(**changes)) == pytest.approx(expected(minutes), rel=1e-12)


def test_an_injection_before_midnight() -> None:
    late = header(SeriesTime="003000", AcquisitionTime="003001", RadiopharmaceuticalStartTime="234500")
    assert factor(late) == pytest.approx(expected(45), rel=1e-12)
    assert "the day before" in said(late)
    dated = header(SeriesDate="20240316", AcquisitionDate="20240316", SeriesTime="003000", AcquisitionTime="003001",
                   RadiopharmaceuticalStartDateTime="20240315234500")
    assert factor(dated) == pytest.approx(expected(45), rel=1e-12)


def test_a_scan_over_midnight_without_dates() -> None:
    beds = [header(SeriesDate=None, AcquisitionDate=None, SeriesTime="235900", AcquisitionTime=time,
                   RadiopharmaceuticalStartTime="225900") for time in ("000300", "235901")]
    assert factor(*beds) == pytest.approx(expected(60), rel=1e-12)


def test_a_dynamic_scan_that_begins_before_the_injection() -> None:
    dynamic = header(RadiopharmaceuticalStartTime="110030")
    assert factor(dynamic) == pytest.approx(expected(-0.5), rel=1e-12)


def test_dates_replaced_to_hide_the_patient() -> None:
    moved = header(RadiopharmaceuticalStartDateTime="20190101100000", RadiopharmaceuticalStartTime=None)
    assert factor(moved) == pytest.approx(expected(60), rel=1e-12)
    assert "hide" in said(moved)
    apart = header(AcquisitionDate="20100101", SeriesTime="114500")
    assert factor(apart) == pytest.approx(expected(60 + 5.25 / 60), rel=1e-12)
    assert "hide" in said(apart)


def test_values_corrected_to_the_injection() -> None:
    assert factor(header(DecayCorrection="ADMIN", SeriesTime=None, AcquisitionTime=None)) == pytest.approx(
        expected(0), rel=1e-12)


def test_values_not_corrected_for_decay_belong_to_the_mean_of_their_frame() -> None:
    frames = [header(DecayCorrection="NONE", CorrectedImage="NORM\\ATTN", AcquisitionTime=time,
                     ActualFrameDuration=1_200_000) for time in ("110000", "113000")]
    rate = np.log(2) / T
    mean = (1 - np.exp(-rate * 1200)) / (rate * 1200)
    wanted = [expected(60) / mean, expected(90) / mean]
    assert suv_factors(frames).bw == pytest.approx(wanted, rel=1e-9)
    with pytest.raises(ValueError, match="ActualFrameDuration"):
        suv_factors([header(DecayCorrection="NONE", CorrectedImage="ATTN", ActualFrameDuration=None)])


def test_philips_counts() -> None:
    own = header(Units="CNTS", PhilipsPETPrivateGroup={
        "SUVScaleFactor": "0.0007", "ActivityConcentrationScaleFactor": 2})
    found = suv_factors([own, {**own, "PhilipsPETPrivateGroup": {"SUVScaleFactor": 0.0008}}])
    assert found.bw == pytest.approx([0.0007, 0.0008])
    concentration = header(Units="CNTS", PhilipsPETPrivateGroup={
        "SUVScaleFactor": 0.0, "ActivityConcentrationScaleFactor": "1.5"})
    assert factor(concentration) == pytest.approx(1.5 * expected(60), rel=1e-12)
    assert suv_factors([concentration]).to_bqml == pytest.approx([1.5])
    assert "Philips' own was taken" in said(own)
    with pytest.raises(ValueError, match="7053,1000"):
        suv_factors([header(Units="CNTS", PhilipsPETPrivateGroup={})])
    with_private = header(PhilipsPETPrivateGroup={"SUVScaleFactor": 0.0007})
    assert factor(with_private) == pytest.approx(expected(60), rel=1e-12)


def test_stored_suv() -> None:
    assert factor(header(Units="GML")) == 1
    lean = suv_factors([header(Units="GML", SUVType="LBMJANMA")])
    assert lean.of("lbm") == pytest.approx([1])
    assert lean.bw == pytest.approx([70 / lean_mass_kg(70, 1.8, "M")])
    assert suv_factors([header(Units="CM2ML")]).of("bsa") == pytest.approx([1])
    with pytest.raises(ValueError, match="kind lbm"):
        suv_factors([header(Units="GML", SUVType="LBMJANMA", PatientSize=None)])
    with pytest.raises(ValueError, match="leaves the formula open: state it"):
        suv_factors([header(Units="GML", SUVType="LBM")])
    assert suv_factors([header(Units="GML", SUVType="LBM")], {"SUVType": "LBMJANMA"}).of("lbm") == pytest.approx([1])


def test_kinds_of_suv() -> None:
    found = suv_factors([header()])
    bw = expected(60)
    assert found.of("bw") == pytest.approx([bw])
    # 70 kg, 1.80 m: index 21.604938; 9270 * 70 / (6680 + 216 * 21.604938) = 57.188602 kg
    assert found.of("lbm") == pytest.approx([bw * 57.188602 / 70], rel=1e-7)
    assert found.of("lbm_james") == pytest.approx([bw * (77 - 128 * (70 / 180) ** 2) / 70])
    assert found.of("ibw") == pytest.approx([bw * (48 + 1.06 * 28) / 70])
    assert found.of("bsa") == pytest.approx([bw * 0.007184 * 70**0.425 * 180**0.725 * 1e4 / 70e3])
    woman = suv_factors([header(PatientSex="F")])
    assert woman.of("lbm") == pytest.approx([bw * 9270 / (8780 + 244 * 70 / 1.8**2)])
    assert woman.of("lbm_james") == pytest.approx([bw * (74.9 - 148 * (70 / 180) ** 2) / 70])
    assert woman.of("ibw") == pytest.approx([bw * (45.5 + 0.91 * 28) / 70])
    assert surface_m2(70, 1.8) == pytest.approx(1.886, abs=2e-3)
    with pytest.raises(ValueError, match="out of bw"):
        found.of("lean")


def test_what_other_kinds_lack_is_told_when_they_are_asked_for() -> None:
    short = suv_factors([header(PatientSize=None)])
    assert short.bw == pytest.approx([expected(60)])
    with pytest.raises(ValueError, match="height in m as PatientSize, found none"):
        short.of("lbm")
    with pytest.raises(ValueError, match="looks like cm"):
        suv_factors([header(PatientSize=180)]).of("bsa")
    with pytest.raises(ValueError, match="PatientSex, found 'O'"):
        suv_factors([header(PatientSex="O")]).of("lbm")
    with pytest.raises(ValueError, match="Janmahasatian"):
        lean_mass_james_kg(300, 1.5, "F")
    with pytest.raises(ValueError, match="adult"):
        ideal_weight_kg(0.9, "M")


@pytest.mark.parametrize(("changes", "asked"), [
    ({"PatientWeight": None}, "weight in kg as PatientWeight, found none: state it"),
    ({"PatientWeight": 0}, "weight in kg as PatientWeight, found 0"),
    ({"PatientWeight": "heavy"}, "a number as PatientWeight"),
    ({"RadionuclideTotalDose": None}, "RadionuclideTotalDose, found none"),
    ({"RadionuclideTotalDose": 350}, "looks like MBq: state it in Bq, such as 3.5e"),
    ({"RadionuclideHalfLife": None}, "RadionuclideHalfLife, found none"),
    ({"RadionuclideHalfLife": 109.77, "Radionuclide": "^18^Fluorine"}, "F-18 has 6586.2"),
    ({"RadiopharmaceuticalStartTime": None}, "when the tracer was injected"),
    ({"RadiopharmaceuticalStartTime": "xx"}, "a time HHMMSS"),
    ({"RadiopharmaceuticalStartTime": "150000"}, "before the scan"),
    ({"RadiopharmaceuticalStartDateTime": "20240315180000"}, "before the scan"),
    ({"SeriesTime": None, "AcquisitionTime": None}, "when the scan began"),
    ({"DecayCorrection": None}, "START, ADMIN or NONE"),
    ({"Units": "PROPCPS"}, "PROPCPS"), ({"Units": None}, "found 'none'"),
    ({"CorrectedImage": ["DECY", "NORM"]}, "corrected for attenuation"),
    ({"CorrectedImage": ["ATTN", "NORM"]}, "DECY in CorrectedImage"),
    ({"DecayCorrection": "NONE"}, "found DECY in CorrectedImage"),
    ({"RadionuclideTotalDose": 350000}, "looks like kBq: state it in Bq, such as 3.5e"),
    ({"RadionuclideTotalDose": 3.5e14}, "more than anyone is given"),
    ({"RadionuclideHalfLife": 109.77, "RadiopharmaceuticalStartTime": "105500"}, "looks like F-18 in minutes"),
    ({"RadionuclideHalfLife": 6586200}, "looks like F-18 in milliseconds"),
    ({"RadionuclideHalfLife": 1.8295}, "looks like F-18 in hours"),
    ({"Units": "CM2ML", "SUVType": "BW"}, "found 'BW' beside CM2ML"),
    ({"Units": "GML", "SUVType": "BSA"}, "found 'BSA' beside GML"),
])
def test_what_a_header_lacks_is_asked_for(changes: dict[str, Any], asked: str) -> None:
    with pytest.raises(ValueError, match=asked) as caught:
        suv_factors([header(**changes)])
    assert str(caught.value).count(". ") == 0
    assert "\n" not in str(caught.value)


def test_what_the_user_states_is_taken() -> None:
    assert factor(header(PatientWeight=0), PatientWeight=80) == pytest.approx(expected(60, weight=80), rel=1e-12)
    assert "PatientWeight was stated by the user." in suv_factors([header()], {"PatientWeight": 80}).reasons


def test_a_half_life_by_the_name_of_the_radionuclide() -> None:
    named = header(RadionuclideHalfLife=None, Radionuclide="^18^Fluorine")
    assert factor(named) == pytest.approx(expected(60), rel=1e-12)
    assert "F-18" in said(named)


def test_images_of_two_series_are_refused() -> None:
    with pytest.raises(ValueError, match="PatientWeight in all images"):
        suv_factors([header(), header(PatientWeight=71)])
    with pytest.raises(ValueError, match="RadiopharmaceuticalStartTime in all images"):
        suv_factors([header(), header(RadiopharmaceuticalStartTime="090000")])


def test_what_contradicts_a_header_can_be_stated() -> None:
    """What a sentence asks for is then taken: no decay correction, an activity that is small for the weight."""
    mean = factor(header(DecayCorrection="NONE", CorrectedImage="ATTN"))
    assert factor(header(), DecayCorrection="NONE") == mean
    assert factor(header(), RadionuclideTotalDose=3.5e5) == pytest.approx(expected(60, dose=3.5e5), rel=1e-12)


@pytest.mark.parametrize(("dose", "weight", "half_life"), [
    (5e6, 0.025, T), (1.4e9, 75, 76.38), (2.5e7, 70, 360806.4), (2.5e7, 70, 4062.6), (1e9, 80, 122.24),
])
def test_usual_activities_and_tracers_are_taken(dose: float, weight: float, half_life: float) -> None:
    tracer = header(RadionuclideTotalDose=dose, PatientWeight=weight, RadionuclideHalfLife=half_life,
                    RadiopharmaceuticalStartTime="105950")
    left = dose * 0.5 ** (10 / half_life)
    assert factor(tracer) == pytest.approx(1000 * weight / left, rel=1e-12)


def test_philips_own_factor_gives_way_to_what_the_user_states_otherwise() -> None:
    own = header(Units="CNTS", PhilipsPETPrivateGroup={"SUVScaleFactor": 0.0007})
    assert factor(own, PatientWeight=70.0) == 0.0007
    for missing in ("", "0", 0):
        assert factor({**own, "PatientWeight": missing}, PatientWeight=90) == 0.0007
    with pytest.raises(ValueError, match=r"the PatientWeight that was stated, found only .7053,1000., into which"):
        factor(own, PatientWeight=90)
    both = {**own, "PhilipsPETPrivateGroup": {"SUVScaleFactor": 0.0007, "ActivityConcentrationScaleFactor": 1.5}}
    assert factor(both) == 0.0007
    assert factor(both, PatientWeight=90) == pytest.approx(1.5 * expected(60, weight=90), rel=1e-12)
    assert factor(own, RadiopharmaceuticalStartTime="10:00") == 0.0007
    for name, moment in (("Time", "103000"), ("DateTime", "20240315103000")):
        stated = {f"RadiopharmaceuticalStart{name}": moment}
        assert factor(both, **stated) == pytest.approx(1.5 * expected(30), rel=1e-12)


def test_images_corrected_to_different_moments() -> None:
    frames = [header(DecayCorrectionDateTime=f"20240315{time}") for time in ("110000", "113000")]
    assert suv_factors(frames).bw == pytest.approx([expected(60), expected(90)], rel=1e-12)
    assert "of each image its own" in said(*frames)
    with pytest.raises(ValueError, match="found it in 1 of 2"):
        suv_factors([frames[0], header()])


def test_values_of_a_moment_before_the_injection_are_said() -> None:
    assert "before the injection" in said(header(RadiopharmaceuticalStartTime="113000"))
    assert "before the injection" not in said(header())


def test_a_scan_time_of_ge_after_the_acquisition_is_said() -> None:
    late, early = (header(SeriesTime="114500", GEPrivatePostInjectionDateTime=f"20240315{time}.00")
                   for time in ("113000", "105500"))
    assert "1795 s after the earliest acquisition" in said(late)
    assert "after the earliest acquisition" not in said(early)
