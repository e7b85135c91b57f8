"""The image planes of DICOM files: one of a classic image, one a frame of an enhanced one by its functional groups."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pydicom

from .dicom_file import DicomFile
from .planes import Plane

FRAME_TYPES = ("CTImageFrameTypeSequence", "MRImageFrameTypeSequence", "PETFrameTypeSequence")
RESCALE = "PixelValueTransformationSequence"


def planes_of(files: Sequence[DicomFile], name: str) -> list[Plane]:
    """The planes of all frames of some files in stored order, those of localizers left out with a warning.

    ``name``: what a message calls them all together. Raises ValueError, one sentence, where a frame states no position,
    orientation or pixel spacing, and where some state their rescaling and others do not.
    """
    frames = [frame for number, file in enumerate(files) for frame in _frames(number, file)]
    images = [frame for frame in frames if not frame.is_localizer()] or frames
    if len(images) < len(frames):
        warnings.warn(
            f"{len(frames) - len(images)} of {len(frames)} images in {name} are localizers and were left out.",
            stacklevel=5,
        )
    planes = [frame.plane() for frame in images]
    without = [plane.name for plane in planes if not plane.rescaled]
    if 0 < len(without) < len(planes):
        raise ValueError(
            f"expected a rescale slope and intercept in all images of {name} or in none, found {len(without)} of "
            f"{len(planes)} without (the first is {without[0]}): export the series again"
        )
    return planes


@dataclass(frozen=True)
class _Frame:
    """One frame of a file; ``groups``: its own functional groups, then the shared ones; ``place``: where it is stated
    elsewhere (dose grids, emission tomography), its position and orientation."""

    number: int
    file: DicomFile
    index: int
    groups: tuple[pydicom.Dataset, ...] = ()
    place: tuple[tuple[float, ...], tuple[float, ...]] | None = None

    @property
    def name(self) -> str:
        one = self.file.shape[0] == 1
        return self.file.path.name if one else f"frame {self.index + 1} of {self.file.path.name}"

    def items(self, sequence: str) -> list[pydicom.Dataset]:
        """Where an attribute of this functional group may stand, the frame's own first, the header last."""
        found = [item for group in self.groups for item in self.file.items(sequence, group)[:1]]
        # A position of the whole file is that of none of its frames.
        by_frame = sequence == "PlanePositionSequence" and self.file.shape[0] > 1
        return found if by_frame else [*found, self.file.data]

    def numbers(self, sequence: str, keyword: str, count: int) -> tuple[float, ...] | None:
        found = (self.file.numbers(keyword, count, item) for item in self.items(sequence))
        return next((values for values in found if values is not None), None)

    def text(self, sequence: str, keyword: str) -> str:
        return next(filter(None, (self.file.text(keyword, item) for item in self.items(sequence))), "")

    def is_localizer(self) -> bool:
        kinds = [self.text(sequence, "FrameType") for sequence in FRAME_TYPES] if self.groups else []
        return any("LOCALIZER" in kind.split("\\")[2:] for kind in [*kinds, self.file.text("ImageType")])

    def thickness(self) -> float | None:
        """Distance to the next slice, else the slice's own thickness, in mm; None where neither is stated."""
        for keyword in ("SpacingBetweenSlices", "SliceThickness"):
            try:
                found = self.numbers("PixelMeasuresSequence", keyword, 1)
            except ValueError:  # asked for a single slice alone, which says that it is missing
                continue
            if found is not None and found[0] != 0:
                return abs(found[0])
        return None

    def plane(self) -> Plane:
        """The plane of this frame."""
        position, orientation = self.place or (
            self.numbers("PlanePositionSequence", "ImagePositionPatient", 3),
            self.numbers("PlaneOrientationSequence", "ImageOrientationPatient", 6),
        )
        if position is None or orientation is None:
            raise ValueError(
                f"expected a position and orientation in all images, found {self.name} without: "
                "choose a series of CT, MR or PET slices"
            )
        spacing = self.numbers("PixelMeasuresSequence", "PixelSpacing", 2)
        if spacing is None:
            detector = self.file.numbers("ImagerPixelSpacing", 2)
            hint = " (its ImagerPixelSpacing is that of the detector, not of the patient)" if detector else ""
            raise ValueError(
                f"expected a pixel spacing in all images, found {self.name} without{hint}: "
                "export the series again with PixelSpacing"
            )
        slope = self.numbers(RESCALE, "RescaleSlope", 1) or self.file.numbers("DoseGridScaling", 1)
        intercept = self.numbers(RESCALE, "RescaleIntercept", 1)
        _, rows, columns = self.file.shape
        return Plane(
            name=self.name,
            source=(self.number, self.index),
            position=position,
            orientation=orientation,
            spacing=spacing,
            shape=(rows, columns),
            thickness=self.thickness(),
            slope=slope[0] if slope else 1.0,
            intercept=intercept[0] if intercept else 0.0,
            rescaled=slope is not None and intercept is not None,
            kind=self.text(RESCALE, "RescaleType").removeprefix("HU"),
            time=(
                self.text("FrameContentSequence", "TemporalPositionIndex")
                if self.groups
                else self.file.text("TemporalPositionIdentifier")
            ),
            stack=self.text("FrameContentSequence", "StackID") if self.groups else "",
        )


def _frames(number: int, file: DicomFile) -> list[_Frame]:
    """The frames of a file with the places where their attributes stand."""
    count = file.shape[0]
    shared = tuple(file.items("SharedFunctionalGroupsSequence")[:1])
    own = file.items("PerFrameFunctionalGroupsSequence")
    if own or shared:
        if len(own) != count and (own or count > 1):
            raise ValueError(
                f"expected functional groups for each of the {count} frames of {file.path.name}, found {len(own)}: "
                "export it again"
            )
        frames = [_Frame(number, file, n, (*own[n : n + 1], *shared)) for n in range(count)]
    elif count == 1:
        frames = [_Frame(number, file, 0)]
    else:
        places = _places_by_offsets(file, count)
        frames = [_Frame(number, file, n, place=place) for n, place in enumerate(places)]
    return frames


def _places_by_offsets(file: DicomFile, count: int) -> list[tuple[tuple[float, ...], tuple[float, ...]]]:
    """Position and orientation of the frames of a dose grid or a reconstructed emission tomogram.

    Their header places the first frame; the others follow along its normal, by GridFrameOffsetVector (in mm, from the
    first frame or as positions on the long axis) or by SliceVector (numbers from 1) times SpacingBetweenSlices.
    """
    head = next(iter(file.items("DetectorInformationSequence")), file.data)
    position, orientation = (file.numbers(f"Image{what}Patient", n, head) for what, n in _PLACE)
    offsets = file.numbers("GridFrameOffsetVector", count)
    number, gap = file.numbers("SliceVector", count), file.numbers("SpacingBetweenSlices", 1)
    if offsets is None and number and gap:
        offsets = tuple((n - 1) * gap[0] for n in number)
    if position is None or orientation is None or offsets is None:
        raise ValueError(
            f"expected a position of each of the {count} frames of {file.path.name}, found none (a secondary capture, "
            "a film or another image without a place in the patient): choose the original CT, MR or PET images"
        )
    row, column = np.reshape(orientation, (2, 3))
    normal = np.cross(row, column)
    if offsets[0] != 0:
        if offsets[0] != position[2] or abs(normal[2]) < 1 - 1e-6:
            raise ValueError(
                f"expected GridFrameOffsetVector of {file.path.name} to begin with 0 or the first frame's position on "
                f"the long axis, found {offsets[0]:g}: export it again"
            )
        offsets = tuple((offset - offsets[0]) * float(normal[2]) for offset in offsets)
    return [(tuple(np.add(position, offset * normal).tolist()), orientation) for offset in offsets]


_PLACE = (("Position", 3), ("Orientation", 6))
