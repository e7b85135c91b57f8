"""SUV of a PET volume in the scene: factors by the headers of its series, their reasons, and a volume in SUV.

The headers are those of Slicer's DICOM database, or of a folder's files. A volume that was reconstructed here has those
of its input.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import slicer
import slicer.util
from diffusion_engine.volume import Volume
from slicer.i18n import tr as _

from DiffusionReconLib.scene.display import displayImage
from DiffusionReconLib.scene.publish import INPUT_REFERENCE
from DiffusionReconLib.scene.volumes import nodeFromVolume, unitOfNode, volumeFromNode

INSTANCES = "DICOM.instanceUIDs"
BQML = "Bq/mL"
Frames = list[tuple[dict[str, Any], "np.ndarray | None"]]
"""The header of each image of a series, and where it lies (LPS, mm)."""


def unitOfKind(kind: str) -> str:
    """The unit of a kind of SUV: that of the body weight is called SUV alone."""
    return "SUV" if kind == "bw" else f"SUV{kind}"


def framesOf(node: Any, folder: str = "") -> Frames:
    """The headers of the series that a volume was loaded or made from; ValueError, one sentence, where there are none.

    `folder`: of the series' files; "" asks Slicer's DICOM database.
    """
    from diffusion_engine.io.dicom_file import open_dicom
    from diffusion_engine.modalities.pet.readings.dicom_pet import frames_of_pet, pet_frames

    if folder:
        if not Path(folder).exists():
            raise ValueError(_("Expected the DICOM files of a PET series in '{folder}', found no such folder: choose "
                               "another one.").format(folder=folder))
        return pet_frames(Path(folder))[0]
    files = _filesOf(node)
    if not files:
        raise ValueError(_("Slicer's DICOM database has no PET series of '{name}': choose the folder of its DICOM "
                           "files.").format(name=node.GetName()))
    return frames_of_pet([open_dicom(file) for file in files], node.GetName())


def factorsOf(node: Any, frames: Frames, given: Mapping[str, Any]) -> Any:
    """The engine's `SuvFactors` of the values of a volume; ValueError, one sentence, where they cannot be told."""
    from diffusion_engine.modalities.pet.suv import SuvFactors, suv_factors

    found, unit = suv_factors([header for header, _place in frames], given), unitOfNode(node)
    stored = found.facts.get("stored")
    if unit == BQML:
        if found.to_bqml is None:
            raise ValueError(_("The values of '{name}' are Bq/mL, those of the series are not and cannot be brought to "
                               "it: choose the series of this volume.").format(name=node.GetName()))
        return SuvFactors(found.bw / found.to_bqml, found.ratios, found.missing, found.reasons,
                          np.ones_like(found.bw), found.facts)
    if unit.startswith("SUV") and (stored is None or unit != unitOfKind(stored)):
        raise ValueError(_("'{name}' is in {unit} already: choose the volume in Bq/mL for another kind of SUV.").format(
            name=node.GetName(), unit=unit))
    if not unit.startswith("SUV") and not node.GetAttribute(INSTANCES):
        raise ValueError(_("Choose under 'Values in' in which unit the values of '{name}' are.").format(
            name=node.GetName()))
    return found


def factorsText(factors: Any) -> str:
    """Factors, what is missing for others, and the reasons, a line each."""
    from diffusion_engine.modalities.pet.suv import KINDS

    lines = []
    for kind, meaning in KINDS.items():
        if kind in factors.missing:
            lines.append(f"{unitOfKind(kind)}: {factors.missing[kind]}")
            continue
        each = factors.of(kind)
        least, most = float(each.min()), float(each.max())
        text = f"{least:.6g}" if least == most else _("{least:.6g} to {most:.6g}, by slice").format(
            least=least, most=most)
        lines.append(_("{name} = value x {factor} ({meaning})").format(
            name=unitOfKind(kind), factor=text, meaning=meaning))
    return "\n".join([*lines, *factors.reasons])


def makeSUV(node: Any, kind: str = "bw", given: Mapping[str, Any] | None = None, folder: str = "",
            frames: Frames | None = None) -> Any:
    """Add a volume in SUV beside a PET volume, at its place, and return its node; the reasons are its description.

    `kind`, `given`: see the engine's `suv_factors`; `frames`: headers that were read already. Raises ValueError, one
    sentence.
    """
    from diffusion_engine.modalities.pet.readings.dicom_pet import by_slice

    volume = volumeFromNode(node)
    frames = framesOf(node, folder) if frames is None else frames
    factors = factorsOf(node, frames, given or {})
    each = by_slice(volume.ijk_to_ras, len(volume.array), factors.of(kind), [place for _header, place in frames])
    array = (volume.array * each[:, None, None]).astype(np.float32)
    unit = unitOfKind(kind)
    made = nodeFromVolume(Volume(array, volume.ijk_to_ras, unit), f"{node.GetName()} {unit}",
                          node.GetTransformNodeID())
    made.SetDescription(" ".join(factors.reasons))
    if node.GetAttribute(INSTANCES):
        made.SetAttribute(INSTANCES, node.GetAttribute(INSTANCES))
    displayImage(made, "pet")
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    item = hierarchy.GetItemByDataNode(node)
    parent = hierarchy.GetItemParent(item) if item else hierarchy.GetSceneItemID()
    hierarchy.SetItemParent(hierarchy.GetItemByDataNode(made) or hierarchy.CreateItem(parent, made), parent)
    return made


def _filesOf(node: Any) -> list[str]:
    """The DICOM files of a volume by Slicer's database, else those of the volume that it was reconstructed from."""
    database = getattr(slicer, "dicomDatabase", None)
    seen: set[str] = set()
    while node is not None and database is not None and node.GetID() not in seen:
        seen.add(node.GetID())
        named = [database.fileForInstance(uid) for uid in (node.GetAttribute(INSTANCES) or "").split()]
        files = [file for file in named if file and Path(file).is_file()]
        if files:
            return files
        node = node.GetNodeReference(INPUT_REFERENCE)
    return []
