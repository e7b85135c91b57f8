"""Synthetic volumes among Slicer's sample data: computed when first asked for, by a button or from Python.

SampleData's `downloadSample` knows addresses only, and no downloader of a module's own. An address may be rewritten at
the moment when its file is to be fetched, though: that is when a volume is computed, into a file of its own. Slicer
reads no unit from such a file; the torso's button therefore adds its nodes without one, with unit and CT.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import slicer
from diffusion_engine import __version__

CHEST, TORSO = "SyntheticChestCT", "SyntheticTorsoPET"
CATEGORY = "DiffusionPriors"
ADDRESSES: Mapping[str, str] = MappingProxyType({CHEST: "synthetic:chest", TORSO: "synthetic:torso"})
"""Of each volume, by its name."""
ICON = Path(__file__).resolve().parents[2] / "Resources" / "Icons" / "DiffusionRecon.png"


def offerSampleData(register: Callable[[], None]) -> None:
    """Call `register` once SampleData is loaded: at once where it is, else when Slicer has started.

    A module that is added later finds SampleData there, and no start follows.
    """
    if hasattr(slicer.modules, "sampledata"):
        register()
    elif hasattr(slicer.app, "connect"):  # the Qt application; without it there is no SampleData either
        slicer.app.connect("startupCompleted()", register)


def registerSampleData() -> None:
    """Offer the synthetic volumes among Slicer's sample data; nothing happens in a Slicer without SampleData."""
    if importlib.util.find_spec("SampleData") is None:
        return
    import SampleData

    SampleData.SampleDataLogic.registerUrlRewriteRule(CATEGORY, addressOfFile)
    for name, address in ADDRESSES.items():
        SampleData.SampleDataLogic.registerCustomSampleDataSource(
            category=CATEGORY,
            sampleName=name,
            uris=address,
            # Kept in Slicer's cache under this name: another version's is another file.
            fileNames=f"{name}-{__version__}.nrrd",
            nodeNames=name,
            thumbnailFileName=str(ICON),
            loadFileTypes="VolumeFile",
            customDownloader=(lambda _source: list(addTorso())) if name == TORSO else None,
        )


def addressOfFile(address: str) -> str:
    """The address to fetch: of a file that is written now, for a synthetic volume's own; any other one as it is."""
    for name, own in ADDRESSES.items():
        if address == own:
            return written(name).as_uri()
    return address


def written(name: str) -> Path:
    """A file with a synthetic volume in Slicer's temporary folder; raises ValueError where it has no room."""
    from diffusion_engine.io.images import write_volume

    path = Path(slicer.app.temporaryPath).resolve() / f"{name}.nrrd"
    write_volume(_volume(name), path)
    return path


def addTorso() -> tuple[Any, Any]:
    """Add the engine's synthetic torso with FDG to the scene; returns the nodes of its PET (Bq/mL) and its CT."""
    from DiffusionReconLib.scene.display import displayImage
    from DiffusionReconLib.scene.volumes import nodeFromVolume

    torso = _torso()
    ct, pet = nodeFromVolume(torso.hu, "SyntheticTorsoCT"), nodeFromVolume(torso.activity, TORSO)
    displayImage(ct, "ct")
    displayImage(pet, "pet")
    return pet, ct


def _volume(name: str) -> Any:
    if name == TORSO:
        return _torso().activity
    from diffusion_engine.phantoms.chest import synthetic_chest

    return synthetic_chest()[0]


def _torso() -> Any:
    from diffusion_engine.phantoms import torso

    return torso.synthetic_torso((12, 112, 112), unit="Bq/mL")
