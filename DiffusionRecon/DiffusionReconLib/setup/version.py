"""Whether this Slicer is new enough. Readable by older Pythons too, and imports nothing that older Slicers lack."""

from __future__ import annotations

import importlib.util

import slicer
from slicer.i18n import tr as _

LEAST = "5.12"


def tooOld() -> str:
    """Why this Slicer cannot run the module, one sentence; "" when it can.

    What it needs of 5.12 is `slicer.packaging`.
    """
    if importlib.util.find_spec("slicer.packaging") is not None:
        return ""
    return _(
        "Diffusion Reconstruction needs Slicer {least} or newer, but this is Slicer {found}: install a newer Slicer."
    ).format(least=LEAST, found=f"{slicer.app.majorVersion}.{slicer.app.minorVersion}")
