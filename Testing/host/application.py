"""A headless Slicer application: the real MRML scene and module logics of slicer-core, without Qt.

`slicer-core` gives Slicer's classes and `slicer.util`, but no scene and no application object: `makeApplication` makes
them and puts them where Slicer's own Python code looks for them (`slicer.mrmlScene`, `slicer.app`, `slicer.modules`).
"""

from __future__ import annotations

import sys
import tempfile
import types
from dataclasses import dataclass
from pathlib import Path

from host import scripted

try:
    import slicer
    import slicer.util
    import vtk
except ImportError as error:
    raise RuntimeError(
        "Slicer's libraries were not found: install slicer-core "
        "(`python -m pip install slicer-core`; Python 3.10 to 3.13 on Linux x86_64, Windows or macOS arm64) "
        f"[{error}]"
    ) from error

# What Slicer's Python files import from the application can be imported from here on.
scripted.install(slicer)

VERSION = (5, 12)
MODULE_LOGICS = {
    "Colors": "vtkSlicerColorLogic",
    "Volumes": "vtkSlicerVolumesLogic",
    "Markups": "vtkSlicerMarkupsLogic",
    "Segmentations": "vtkSlicerSegmentationsModuleLogic",
    "Sequences": "vtkSlicerSequencesLogic",
    "SubjectHierarchy": "vtkSlicerSubjectHierarchyModuleLogic",
    "Tables": "vtkSlicerTablesLogic",
    "Models": "vtkSlicerModelsLogic",
    "Transforms": "vtkSlicerTransformLogic",
    "Data": "vtkSlicerDataModuleLogic",
}


@dataclass(frozen=True)
class Application:
    """One scene with its application logic; the newest one made is the one that `slicer.mrmlScene` names."""

    scene: slicer.vtkMRMLScene
    logic: slicer.vtkSlicerApplicationLogic
    moduleLogics: dict[str, object]


_home: tempfile.TemporaryDirectory | None = None


def _homeFolder() -> str:
    """A home folder with the one colour file that Slicer's label maps ask for by name; slicer-core brings none."""
    global _home
    if _home is None:
        _home = tempfile.TemporaryDirectory(prefix="slicer-core-home-")
        colours = Path(_home.name, "share", "ColorFiles")
        colours.mkdir(parents=True)
        Path(_home.name, "cache").mkdir()
        lines = [f"{n} {n} {37 * n % 256} {91 * n % 256} {153 * n % 256} 255" for n in range(1, 32)]
        (colours / "GenericColors.txt").write_text("0 background 0 0 0 0\n" + "\n".join(lines) + "\n", encoding="ascii")
    return _home.name


def makeApplication(temporaryPath: str | Path | None = None) -> Application:
    """Make a fresh scene with application and module logics, and make it Slicer's current one.

    `temporaryPath` is what `slicer.app.temporaryPath` answers (default: the system's temporary folder).
    """
    window = vtk.vtkOutputWindow()
    window.SetDisplayModeToAlwaysStdErr()
    vtk.vtkOutputWindow.SetInstance(window)

    scene = slicer.vtkMRMLScene()
    crosshair = slicer.vtkMRMLCrosshairNode()
    crosshair.SetCrosshairName("default")
    scene.AddNode(crosshair)

    logic = slicer.vtkSlicerApplicationLogic()
    logic.SetHomeDirectory(_homeFolder())
    logic.SetShareDirectory("share")
    logic.SetMRMLScene(scene)
    logic.SetSliceLogics(vtk.vtkCollection())
    logic.SetViewLogics(vtk.vtkCollection())

    # Scene bundles are unpacked into the cache folder.
    remote = slicer.vtkMRMLRemoteIOLogic()
    remote.SetMRMLApplicationLogic(logic)
    remote.SetMRMLScene(scene)
    remote.GetCacheManager().SetRemoteCacheDirectory(str(Path(_homeFolder(), "cache")))
    remote.AddDataIOToScene()

    modules = types.SimpleNamespace()
    moduleLogics: dict[str, object] = {"RemoteIO": remote}
    for name, className in MODULE_LOGICS.items():
        moduleLogic = getattr(slicer, className)()
        # The application logic first: vtkSlicerColorLogic registers the colour legend when it gets its scene.
        moduleLogic.SetMRMLApplicationLogic(logic)
        moduleLogic.SetMRMLScene(scene)
        logic.SetModuleLogic(name, moduleLogic)
        moduleLogics[name] = moduleLogic
        setattr(modules, name.lower(), types.SimpleNamespace(name=name, logic=lambda kept=moduleLogic: kept))
    slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(scene, True)

    slicer.mrmlScene = scene
    slicer.modules = modules
    slicer.app = types.SimpleNamespace(
        applicationName="Slicer",
        temporaryPath=str(temporaryPath or tempfile.gettempdir()),
        mrmlScene=lambda: scene,
        applicationLogic=lambda: logic,
        layoutManager=lambda: None,
        processEvents=lambda *_: None,
        pauseRender=lambda: None,
        resumeRender=lambda: None,
        testingEnabled=lambda: True,
        majorVersion=VERSION[0],
        minorVersion=VERSION[1],
    )
    slicer.app.hostApplication = Application(scene, logic, moduleLogics)
    scripted.install(slicer)
    return slicer.app.hostApplication


def openBundle(path: str | Path, application: Application | None = None) -> Application:
    """Open a .mrb in the application (default: a fresh one) as Slicer does; RuntimeError if it cannot be read."""
    application = application or makeApplication()
    if not application.scene.ReadFromMRB(str(path), True):
        raise RuntimeError(f"The scene bundle {path} could not be read: check that it exists and is complete.")
    return application


def saveBundle(scene: slicer.vtkMRMLScene, path: str | Path) -> Path:
    """Save the scene as one .mrb file; raises RuntimeError if the folder cannot be written."""
    path = Path(path).resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    scene.SetURL(str(path))
    scene.SetRootDirectory(str(path.parent))
    if not scene.WriteToMRB(str(path)):
        raise RuntimeError(f"The scene could not be saved as {path}: check that the folder is writable and has room.")
    return path


def loadScriptedModule(path: str | Path) -> types.ModuleType:
    """Import a scripted module's file as Slicer does: its folder on sys.path, then by its name."""
    path = Path(path)
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    return __import__(path.stem)
