"""The synthetic chest among Slicer's sample data: computed when it is first asked for, by a button or from Python.

SampleData's `downloadSample` knows addresses only, and no downloader of a module's own. An address may be rewritten at
the moment when its file is to be fetched, though: that is when the chest is computed, into a file of its own.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import slicer
from diffusion_engine import __version__

NAME = "SyntheticChestCT"
CATEGORY = "DiffusionPriors"
ADDRESS = "synthetic:chest"
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
    """Offer the synthetic chest among Slicer's sample data; nothing happens in a Slicer without SampleData."""
    if importlib.util.find_spec("SampleData") is None:
        return
    import SampleData

    SampleData.SampleDataLogic.registerUrlRewriteRule(CATEGORY, addressOfFile)
    SampleData.SampleDataLogic.registerCustomSampleDataSource(
        category=CATEGORY,
        sampleName=NAME,
        uris=ADDRESS,
        # Kept in Slicer's cache under this name: another version's is another file.
        fileNames=f"{NAME}-{__version__}.nrrd",
        nodeNames=NAME,
        thumbnailFileName=str(ICON),
        loadFileTypes="VolumeFile",
    )


def addressOfFile(address: str) -> str:
    """The address to fetch: of a file with the chest, written now, for the chest's own; any other one as it is."""
    return writtenChest().as_uri() if address == ADDRESS else address


def writtenChest() -> Path:
    """A file with the engine's synthetic chest in Slicer's temporary folder; raises ValueError where it has no room."""
    from diffusion_engine.io.images import write_volume
    from diffusion_engine.phantoms.chest import synthetic_chest

    path = Path(slicer.app.temporaryPath).resolve() / f"{NAME}.nrrd"
    volume, _masks = synthetic_chest()
    write_volume(volume, path)
    return path
