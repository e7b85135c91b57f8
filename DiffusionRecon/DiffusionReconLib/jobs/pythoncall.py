"""The panel's run as Python: the exact call, to paste into Slicer's console or a script."""

from __future__ import annotations

import pprint
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any


def pythonCall(
    settings: dict[str, Any], inputID: str | None, measured: tuple[str, Any] | None, folderName: str = "",
    beside: Mapping[str, str] = MappingProxyType({}),
) -> str:
    """Source text that runs the same reconstruction: of the volume node `inputID`, or of `measured` data.

    `beside`: IDs of further volume nodes by the setting that names their file.
    """
    lines = ["import slicer", "from DiffusionRecon import DiffusionReconLogic", ""]
    lines += [f"settings = {pprint.pformat(settings, indent=1, width=100, sort_dicts=False)}"]
    folder = f", folderName={folderName!r}" if folderName else ""
    if beside:
        lines += ["beside = {", *(f"    {setting!r}: slicer.mrmlScene.GetNodeByID({nodeID!r}),"
                                  for setting, nodeID in beside.items()), "}"]
        folder += ", beside=beside"
    if measured is not None:
        data, description = measured
        lines += [f"nodes = DiffusionReconLogic().reconstructMeasured(\n    {data!r},\n    {description!r},\n"
                  f"    settings{folder})"]
    else:
        lines += [f"volume = slicer.mrmlScene.GetNodeByID({inputID!r})",
                  f"nodes = DiffusionReconLogic().reconstruct(volume, settings{folder})"]
    return "\n".join([*lines, ""])
