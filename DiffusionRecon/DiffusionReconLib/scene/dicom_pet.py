"""What a derived PET image needs beside its pixels: its unit, and what SUV is computed from, as the input states it."""

from __future__ import annotations

from collections.abc import Sequence

import pydicom

PET_STORAGE = "1.2.840.10008.5.1.4.1.1.128"
# Units by the engine's names: DICOM's, and its kind of SUV.
UNITS = {
    "Bq/mL": ("BQML", ""), "SUV": ("GML", "BW"), "SUVlbm": ("GML", "LBMJANMA"), "SUVlbm_james": ("GML", "LBMJAMES128"),
    "SUVbsa": ("CM2ML", "BSA"), "SUVibw": ("GML", "IBW"),
}
# Taken from the input, all of one moment: SUV of the result is computed from these.
FROM_SOURCE = (
    "SeriesDate", "SeriesTime", "AcquisitionDate", "AcquisitionTime", "AcquisitionDateTime", "TimezoneOffsetFromUTC",
    "DecayCorrection", "DecayCorrectionDateTime", "DecayFactor", "CorrectedImage", "FrameReferenceTime",
    "ActualFrameDuration", "RadiopharmaceuticalInformationSequence", "CountsSource", "CollimatorType",
    "RandomsCorrectionMethod", "AttenuationCorrectionMethod", "ScatterCorrectionMethod",
)  # fmt: skip
GE_CREATOR, GE_SCAN_TIME = "GEMS_PETD_01", 0x0D


def petImage(data: pydicom.Dataset, unit: str, slices: int, sources: Sequence[pydicom.Dataset]) -> None:
    """Set the fields of PET images in `data`: unit, number of slices, and times, decay and tracer of the input.

    The times are those of the input's earliest acquisition. Without an input there is nothing to compute SUV from, and
    none of it is made up.
    """
    data.Units, kind = UNITS[unit]
    data.SeriesType, data.NumberOfSlices = ["STATIC", "IMAGE"], slices
    if kind:
        data.SUVType = kind
    data.CountsSource, data.CollimatorType, data.CorrectedImage = "EMISSION", "NONE", ""
    pets = [source for source in sources if source.get("Modality") == "PT"]
    if not pets:
        return
    first = min(pets, key=lambda source: (
        str(source.get("AcquisitionDate", "")), str(source.get("AcquisitionTime", ""))))
    for name in FROM_SOURCE:
        if name in first:
            data[name] = first[name]
    try:
        scan = str(first.private_block(0x0009, GE_CREATOR)[GE_SCAN_TIME].value).strip()
    except KeyError:
        return
    late = f"{first.get('SeriesDate', '')}{first.get('SeriesTime', '')}" > (
        f"{first.get('AcquisitionDate', '')}{first.get('AcquisitionTime', '')}")
    if late and len(scan) >= 14:
        # The private field is not copied: the series time then says what it says.
        data.SeriesDate, data.SeriesTime = scan[:8], scan[8:].partition("+")[0].partition("-")[0]
