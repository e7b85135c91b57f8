"""The XML header of ISMRMRD files, also stored in fastMRI ones: matrix, field of view, limits, machine, sequence."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass, field
from typing import Any

LONGEST = 1 << 24
Three = tuple[float, float, float]

SEQUENCE = {
    "TR_ms": "sequenceParameters/TR", "TE_ms": "sequenceParameters/TE", "TI_ms": "sequenceParameters/TI",
    "flip_angle_deg": "sequenceParameters/flipAngle_deg",
}
MACHINE = {
    "vendor": "acquisitionSystemInformation/systemVendor", "model": "acquisitionSystemInformation/systemModel",
    "protocol": "measurementInformation/protocolName", "sequence": "sequenceParameters/sequence_type",
}


@dataclass(frozen=True)
class Encoding:
    """One encoding of a header; what it does not state is 0 or None.

    ``matrix``, ``fov_mm``: of k-space (x, y, z), readout oversampling included; ``image_matrix``, ``image_fov_mm``: of
    the image; ``centre_line``, ``centre_partition``: indices of k = 0; ``last_line``, ``last_partition``: the largest
    indices; ``calibration``: how calibration lines were acquired.
    """

    trajectory: str = ""
    matrix: Three = (0.0, 0.0, 0.0)
    fov_mm: Three = (0.0, 0.0, 0.0)
    image_matrix: Three = (0.0, 0.0, 0.0)
    image_fov_mm: Three = (0.0, 0.0, 0.0)
    centre_line: int | None = None
    centre_partition: int | None = None
    last_line: int | None = None
    last_partition: int | None = None
    calibration: str = ""

    @property
    def oversampling(self) -> float | None:
        """Of the readout: field of view of k-space over that of the image, None where one is not stated."""
        wide, narrow = self.fov_mm[0], self.image_fov_mm[0]
        return wide / narrow if wide > 0 and narrow > 0 else None


@dataclass(frozen=True)
class Header:
    """``facts``: on machine and sequence, JSON values without anything on the patient; ``noise_bandwidth``: of the
    receiver, relative."""

    encodings: tuple[Encoding, ...]
    facts: dict[str, Any] = field(default_factory=dict)
    noise_bandwidth: float = 1.0


def parse_header(text: bytes | str) -> Header:
    """The header from its XML; raises ValueError, one sentence, for text that is none or that defines entities."""
    content = text.encode() if isinstance(text, str) else bytes(text)
    if len(content) > LONGEST or b"<!DOCTYPE" in content or b"<!ENTITY" in content:
        raise ValueError("expected an ISMRMRD header, found XML that is too long or defines entities: write it again")
    try:
        root = ElementTree.fromstring(content.rstrip(b"\0"))
    except ElementTree.ParseError as error:
        raise ValueError(f"expected an ISMRMRD header as XML, found other text ({error}): write it again") from error
    for node in root.iter():
        node.tag = node.tag.rpartition("}")[2]
    if root.tag != "ismrmrdHeader":
        raise ValueError(f"expected an ISMRMRD header, found <{root.tag}>: give the raw data file")
    facts: dict[str, Any] = {name: text for name, place in MACHINE.items() if (text := _text(root, place))}
    tesla = _number(root, "acquisitionSystemInformation/systemFieldStrength_T")
    hertz = _number(root, "experimentalConditions/H1resonanceFrequency_Hz")
    if tesla or hertz:
        facts["field_T"] = round(tesla or hertz / 42.577478518e6, 2)
    for name, place in SEQUENCE.items():
        values = [value for node in root.findall(place) if (value := _float(node.text)) > 0]
        if values:
            facts[name] = values[0] if len(values) == 1 else values
    bandwidth = _number(root, "acquisitionSystemInformation/relativeReceiverNoiseBandwidth")
    return Header(tuple(_encoding(node) for node in root.findall("encoding")), facts, bandwidth or 1.0)


def _encoding(node: ElementTree.Element) -> Encoding:
    line, partition = "encodingLimits/kspace_encoding_step_1", "encodingLimits/kspace_encoding_step_2"
    acceleration = _number(node, "parallelImaging/accelerationFactor/kspace_encoding_step_1")
    return Encoding(
        _text(node, "trajectory").lower(), _three(node, "encodedSpace/matrixSize"),
        _three(node, "encodedSpace/fieldOfView_mm"), _three(node, "reconSpace/matrixSize"),
        _three(node, "reconSpace/fieldOfView_mm"), _whole(node, f"{line}/center"), _whole(node, f"{partition}/center"),
        _whole(node, f"{line}/maximum"), _whole(node, f"{partition}/maximum"),
        _text(node, "parallelImaging/calibrationMode").lower() if acceleration else "",
    )


def _text(node: ElementTree.Element, place: str) -> str:
    return (node.findtext(place) or "").strip()[:200]


def _float(text: str | None) -> float:
    try:
        value = float(text or "")
    except ValueError:
        return 0.0
    return value if math.isfinite(value) else 0.0


def _number(node: ElementTree.Element, place: str) -> float:
    return _float(node.findtext(place))


def _whole(node: ElementTree.Element, place: str) -> int | None:
    text = (node.findtext(place) or "").strip()
    return int(text) if text.isdigit() else None


def _three(node: ElementTree.Element, place: str) -> Three:
    x, y, z = (_number(node, f"{place}/{axis}") for axis in "xyz")
    return x, y, z
