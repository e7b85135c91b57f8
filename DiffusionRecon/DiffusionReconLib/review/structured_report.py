"""A review as a DICOM Comprehensive 3D SR: a measurement report (TID 1500) with one group a finding.

Places are points in the patient's coordinates (LPS, mm) of the input's frame of reference. What DICOM has no code for
(verdict, reason, ends of the spread) has one of the scheme 99DIFFUSION with its meaning in words.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from typing import Any

import numpy as np
import pydicom
from diffusion_engine.posterior.findings import (
    BOTH,
    DATA_DISAGREE,
    DECIDED_AND_DISAGREE,
    NOT_SEEN,
    PRIOR_DECIDED,
    UNCERTAIN,
)
from pydicom.sr.coding import Code
from pydicom.uid import generate_uid
from slicer.i18n import tr as _

from DiffusionReconLib.scene.volumes import QUANTITIES, UNITS

SCHEME = "99DIFFUSION"
MANUFACTURER = "DiffusionPriors"
SERIES_NUMBER = 9100
# What highdicom copies from the images; all may be empty in DICOM and are missing in anonymised files.
COPIED = (
    "AccessionNumber", "PatientBirthDate", "PatientID", "PatientName", "PatientSex", "ReferringPhysicianName",
    "StudyDate", "StudyID", "StudyTime",
)  # fmt: skip
# Code and meaning.
REASONS = {
    UNCERTAIN: ("uncertain", "Uncertain region of a reconstruction"),
    NOT_SEEN: ("not-seen", "Region of a reconstruction that the scan does not determine"),
    BOTH: ("uncertain-and-no", "Uncertain region of a reconstruction that the scan does not determine"),
    PRIOR_DECIDED: ("prior-decided", "Region of a reconstruction in which the model decided"),
    DATA_DISAGREE: ("data-disagree", "Region of a reconstruction with which the data disagree"),
    DECIDED_AND_DISAGREE: (
        "decided-disagree", "Region of a reconstruction in which the model decided and with which the data disagree",
    ),
}
VERDICTS = {"trust": "Trusted", "doubt": "Doubtful", "rescan": "Needs another scan"}


def structuredReport(content: dict, sources: Sequence[pydicom.Dataset]) -> pydicom.Dataset:
    """The SR of a review (`reviewContent`) in the study of its source images, which it names as evidence.

    Raises RuntimeError when the package highdicom is missing, ValueError without source images.
    """
    if importlib.util.find_spec("highdicom") is None:
        raise RuntimeError(_(
            "A DICOM structured report needs the package highdicom: install highdicom and try again."
        ))
    if not sources:
        raise ValueError(_(
            "A DICOM structured report belongs to a study, but the input came without DICOM: use HTML."
        ))
    if len({source.StudyInstanceUID for source in sources}) != 1 or "FrameOfReferenceUID" not in sources[0]:
        raise ValueError(_("A DICOM structured report needs images of one study with a frame of reference."))
    from highdicom import sr

    groups = [_group(sr, finding, content, sources[0].FrameOfReferenceUID) for finding in content["findings"]]
    measurements = sr.MeasurementReport(
        observation_context=_context(sr, content),
        procedure_reported=Code("363679005", "SCT", "Imaging procedure"),
        imaging_measurements=[*groups, _whole(sr, content)],
        title=Code("126000", "DCM", "Imaging Measurement Report"),
    )
    return sr.Comprehensive3DSR(
        evidence=[_evidence(source) for source in sources],
        content=measurements[0],
        series_instance_uid=generate_uid(),
        series_number=SERIES_NUMBER,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer=MANUFACTURER,
        series_description=f"Review of {content['image']}"[:64],
        is_complete=all(finding["verdict"] for finding in content["findings"]),
    )


def _group(sr: Any, finding: dict, content: dict, frameOfReference: str) -> Any:
    """One finding: its place, what was measured there and what the reviewer said."""
    unit = _unit(content["unit"])
    quantity = QUANTITIES.get(content["unit"])
    value = Code(*quantity) if quantity else _code("value", "Image value")
    low, high = finding["interval"]
    # Only an interval that may claim its level is called one.
    kind, words = "spread" if finding["level"] is None else "interval", finding["spread"]
    measured = [
        sr.Measurement(Code("118565006", "SCT", "Volume"), finding["volume_mm3"], Code("mm3", "UCUM", "mm3")),
        sr.Measurement(value, finding["mean_value"], unit, derivation=Code("373098007", "SCT", "Mean")),
        sr.Measurement(value, low, unit, derivation=_code(f"{kind}-low", f"Low end: {words}")),
        sr.Measurement(value, high, unit, derivation=_code(f"{kind}-high", f"High end: {words}")),
    ]
    if finding["not_seen_share"] is not None:
        name = _code("not-seen-share", "Share of the variance that the scan does not determine")
        measured.append(sr.Measurement(name, finding["not_seen_share"], Code("1", "UCUM", "no units")))
    if finding["z"] is not None:
        name = _code("map-z", "Height of the warning map in standard deviations of its null")
        measured.append(sr.Measurement(name, finding["z"], Code("1", "UCUM", "no units")))
    right, anterior, superior = finding["peak_ras_mm"]
    group = sr.PlanarROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(generate_uid(), f"Finding {finding['number']}"),
        referenced_region=sr.ImageRegion3D("POINT", np.array([[-right, -anterior, superior]]), frameOfReference),
        finding_type=_code(*REASONS[finding["reason"]]),
        measurements=measured,
        qualitative_evaluations=_evaluations(sr, finding["verdict"]),
    )
    segment = f"Segment: {finding['segment']}" if finding["segment"] else ""
    _addTexts(sr, group, [finding["why"], finding["comment"], segment])
    return group


def _whole(sr: Any, content: dict) -> Any:
    """The verdict on the whole result, its comment and the banner."""
    group = sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(generate_uid(), "Whole result"),
        finding_type=_code("whole", "Whole reconstructed image"),
        qualitative_evaluations=_evaluations(sr, content["verdict"]["verdict"]),
    )
    _addTexts(sr, group, [content["verdict"]["comment"], *(line["text"] for line in content["banner"])])
    return group


def _evaluations(sr: Any, verdict: str) -> list[Any] | None:
    if not verdict:
        return None
    return [sr.QualitativeEvaluation(_code("verdict", "Verdict of the reviewer"), _code(verdict, VERDICTS[verdict]))]


def _addTexts(sr: Any, group: Any, texts: Sequence[str]) -> None:
    name = Code("121106", "DCM", "Comment")
    for text in filter(None, texts):
        group[0].ContentSequence.append(sr.TextContentItem(name, text, sr.RelationshipTypeValues.CONTAINS))


def _context(sr: Any, content: dict) -> Any:
    """The program, and the reviewer where there is one."""
    device = sr.ObserverContext(
        observer_type=Code("121007", "DCM", "Device"),
        observer_identifying_attributes=sr.DeviceObserverIdentifyingAttributes(uid=generate_uid(), name=MANUFACTURER),
    )
    names = [entry["reviewer"] for entry in (content["verdict"], *content["findings"]) if entry["reviewer"]]
    if not names:
        return sr.ObservationContext(observer_device_context=device)
    # In a DICOM name these characters part family name, scripts and values; it has 64 with the one added here.
    plain = "".join(" " if character in "^=\\" else character for character in names[0])[:63]
    person = sr.ObserverContext(
        observer_type=Code("121006", "DCM", "Person"),
        observer_identifying_attributes=sr.PersonObserverIdentifyingAttributes(name=f"{plain}^"),
    )
    return sr.ObservationContext(observer_person_context=person, observer_device_context=device)


def _evidence(source: pydicom.Dataset) -> pydicom.Dataset:
    """A copy of an image's header with the attributes that highdicom reads without asking."""
    copy = pydicom.Dataset()
    for name in (*COPIED, "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID", "Rows"):
        setattr(copy, name, source.get(name, None if name == "Rows" else ""))
    return copy


def _unit(unit: str) -> Code:
    code, meaning = UNITS.get(unit, (unit, unit))
    return Code(code, "UCUM", meaning)


def _code(value: str, meaning: str) -> Code:
    """A code of the own scheme; DICOM allows 16 characters for the value and 64 for the meaning."""
    return Code(value[:16], SCHEME, meaning[:64])
