"""What SUV needs of DICOM headers, classic and enhanced, as mappings from keywords to values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pydicom

from ....io.dicom_file import DicomFile

PLAIN = (
    "SeriesDate", "SeriesTime", "AcquisitionDate", "AcquisitionTime", "AcquisitionDateTime", "StudyDate",
    "TimezoneOffsetFromUTC", "PatientSex", "PatientSize", "PatientWeight", "Units", "SUVType", "DecayCorrection",
    "DecayCorrectionDateTime", "CorrectedImage", "FrameReferenceTime", "ActualFrameDuration",
)
INJECTED = ("RadiopharmaceuticalStartTime", "RadiopharmaceuticalStartDateTime", "RadionuclideTotalDose",
            "RadionuclideHalfLife")
PHILIPS, GE = "Philips PET Private Group", "GEMS_PETD_01"
UNIT_CODES = {"Bq/ml": "BQML", "g/ml": "GML", "g/ml{SUVbw}": "GML", "{SUVbw}g/ml": "GML", "{SUVlbm}g/ml": "GML",
              "{SUVbsa}cm2/ml": "CM2ML", "{SUVibw}g/ml": "GML", "{counts}": "CNTS"}
"""Units of enhanced images by their UCUM codes."""
CODE_KINDS = {"{SUVbw}g/ml": "BW", "{SUVlbm}g/ml": "LBM", "{SUVbsa}cm2/ml": "BSA", "{SUVibw}g/ml": "IBW"}
ENHANCED_CORRECTIONS = {"AttenuationCorrected": "ATTN", "DecayCorrected": "DECY", "ScatterCorrected": "SCAT",
                        "RandomsCorrected": "RAN", "DeadTimeCorrected": "DTIM"}
ENHANCED_PET = ("1.2.840.10008.5.1.4.1.1.130", "1.2.840.10008.5.1.4.1.1.128.1")
BQ_PER_MBQ = 1e6


def pet_header(file: DicomFile) -> dict[str, Any]:
    """The fields of a PET file that SUV depends on; ValueError, one sentence, for damaged ones.

    Enhanced images state the dose in MBq, corrections one by one, and units by codes; here they read as classic ones.
    """
    data = file.data
    found: dict[str, Any] = {name: text for name in PLAIN if (text := file.text(name))}
    injected = next(iter(file.items("RadiopharmaceuticalInformationSequence")), None)
    if injected is not None:
        found |= {name: text for name in INJECTED if (text := file.text(name, injected))}
        nuclide = next(iter(file.items("RadionuclideCodeSequence", injected)), None)
        if nuclide is not None and file.text("CodeMeaning", nuclide):
            found["Radionuclide"] = file.text("CodeMeaning", nuclide)
    private = {name: text for name, element in (("SUVScaleFactor", 0x00), ("ActivityConcentrationScaleFactor", 0x09))
               if (text := _private(data, 0x7053, PHILIPS, element))}
    if private:
        found["PhilipsPETPrivateGroup"] = private
    scan = _private(data, 0x0009, GE, 0x0D)
    if scan:
        found["GEPrivatePostInjectionDateTime"] = scan
    if file.text("SOPClassUID") in ENHANCED_PET:
        found |= _enhanced(file, found)
    return found


def frame_headers(file: DicomFile) -> list[dict[str, Any]]:
    """The header of each frame of a file: one of a classic image."""
    header = pet_header(file)
    frames = file.shape[0]
    groups = file.items("PerFrameFunctionalGroupsSequence")
    if len(groups) != frames:
        return [header] * frames
    headers = []
    for group in groups:
        own = dict(header)
        content = next(iter(file.items("FrameContentSequence", group)), None)
        if content is not None:
            for name, keyword in (("AcquisitionDateTime", "FrameAcquisitionDateTime"),
                                  ("ActualFrameDuration", "FrameAcquisitionDuration")):
                text = file.text(keyword, content)
                if text:
                    own[name] = text
            if "AcquisitionDateTime" in own:
                own.pop("AcquisitionTime", None)
        headers.append(own)
    return headers


def place_of(file: DicomFile, frame: int) -> np.ndarray | None:
    """Centre of a frame's first voxel in LPS, mm; None where it is not stated."""
    groups = file.items("PerFrameFunctionalGroupsSequence")
    item = None
    if len(groups) == file.shape[0]:
        item = next(iter(file.items("PlanePositionSequence", groups[frame])), None)
    found = file.numbers("ImagePositionPatient", 3, item)
    return None if found is None else np.array(found)


def _enhanced(file: DicomFile, found: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of an enhanced image under the names of a classic one."""
    added: dict[str, Any] = {}
    if "RadionuclideTotalDose" in found:
        dose = float(found["RadionuclideTotalDose"])
        # In MBq by the standard; activities above a TBq are Bq that were copied from a classic image.
        added["RadionuclideTotalDose"] = dose * BQ_PER_MBQ if dose < BQ_PER_MBQ else dose
    made = [short for name, short in ENHANCED_CORRECTIONS.items() if file.text(name).upper() == "YES"]
    if file.text("AttenuationCorrected"):
        added["CorrectedImage"] = made
    decayed = file.text("DecayCorrected").upper()
    if decayed and "DecayCorrection" not in found:
        added["DecayCorrection"] = "START" if decayed == "YES" else "NONE"
    if "Units" not in found:
        code = _unit_code(file)
        if code in UNIT_CODES:
            added["Units"] = UNIT_CODES[code]
            if code in CODE_KINDS:
                added["SUVType"] = CODE_KINDS[code]
        elif code:
            added["Units"] = code
    return added


def _unit_code(file: DicomFile) -> str:
    """The unit of the first real-world mapping, shared or of the first frame."""
    groups = [*file.items("SharedFunctionalGroupsSequence")[:1], *file.items("PerFrameFunctionalGroupsSequence")[:1],
              file.data]
    for group in groups:
        for mapping in file.items("RealWorldValueMappingSequence", group):
            for unit in file.items("MeasurementUnitsCodeSequence", mapping):
                return file.text("CodeValue", unit)
    return ""


def _private(data: pydicom.Dataset, group: int, creator: str, element: int) -> str:
    """A private field as text, "" where it is missing; unknown representations are read as text."""
    try:
        value = data.private_block(group, creator)[element].value
    except KeyError:
        return ""
    if isinstance(value, bytes):
        value = value.decode("ascii", "replace")
    return str(value).strip(" \0")
