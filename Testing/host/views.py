"""Slice and 3D views without Qt: Slicer's own displayable managers in off-screen render windows.

`FourViews` composes axial, 3D, coronal and sagittal views into one picture, as Slicer's four-up layout does. Make it
before what it shall show: the colour-legend manager sees only legends that are added while it exists.
"""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

import numpy as np
import slicer
import vtk
from vtk.util import numpy_support

from host.application import Application

SLICE_MANAGERS = (
    "vtkMRMLModelSliceDisplayableManager",
    "vtkMRMLOrientationMarkerDisplayableManager",
    "vtkMRMLRulerDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager2D",
    "vtkMRMLMarkupsDisplayableManager",
    "vtkMRMLColorLegendDisplayableManager",
)
THREE_D_MANAGERS = (
    "vtkMRMLCameraDisplayableManager",
    "vtkMRMLViewDisplayableManager",
    "vtkMRMLModelDisplayableManager",
    "vtkMRMLThreeDReformatDisplayableManager",
    "vtkMRMLOrientationMarkerDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager3D",
    "vtkMRMLMarkupsDisplayableManager",
)
# Slicer's names, orientations, letters and colours of its three slice views.
SLICE_VIEWS = {
    "Red": ("Axial", "R", (0.953, 0.290, 0.200)),
    "Green": ("Coronal", "G", (0.431, 0.690, 0.294)),
    "Yellow": ("Sagittal", "Y", (0.929, 0.835, 0.298)),
}
# Where the patient's sides are written, in fractions of the window.
EDGES = {"left": (0.04, 0.5), "right": (0.96, 0.5), "top": (0.5, 0.96), "bottom": (0.5, 0.04)}
TITLE_PLACE = (0.02, 0.96)
FOUR_UP = (("Red", "1"), ("Green", "Yellow"))


def requireRendering() -> None:
    """Raise RuntimeError, in one sentence, where pictures cannot be made for want of libEGL."""
    if sys.platform.startswith("linux") and not os.environ.get("DISPLAY"):
        os.environ.setdefault("VTK_DEFAULT_OPENGL_WINDOW", "vtkEGLRenderWindow")
        try:
            ctypes.CDLL("libEGL.so.1")
        except OSError as error:
            raise RuntimeError(
                "Rendering without a display needs libEGL: install it (Debian, Ubuntu: `apt install libegl1 libgl1`)."
            ) from error


def anatomicalLetter(direction: np.ndarray) -> str:
    """The letter (R, L, A, P, S, I) of the patient side that a RAS direction points to most."""
    axis = int(np.argmax(np.abs(direction)))
    return ("LR", "PA", "IS")[axis][int(direction[axis] > 0)]


class _View:
    """A render window whose content Slicer's displayable managers draw."""

    def __init__(self, application: Application, factory: object, managers: tuple[str, ...], size: int) -> None:
        requireRendering()
        self.renderer = vtk.vtkRenderer()
        self.window = vtk.vtkRenderWindow()
        self.window.SetOffScreenRendering(1)
        self.window.SetMultiSamples(0)
        self.window.SetAlphaBitPlanes(1)
        self.window.SetSize(size, size)
        self.window.AddRenderer(self.renderer)
        self.interactor = vtk.vtkRenderWindowInteractor()
        self.interactor.SetRenderWindow(self.window)
        self.interactor.Initialize()
        self.addOwnProps()
        factory.SetMRMLApplicationLogic(application.logic)
        for name in managers:
            if not factory.IsDisplayableManagerRegistered(name):
                factory.RegisterDisplayableManager(name)
        self.managers = slicer.vtkMRMLDisplayableManagerGroup()
        self.managers.SetRenderer(self.renderer)
        self.managers.Initialize(factory, self.renderer)

    def addOwnProps(self) -> None:
        """What must be in the renderer before the displayable managers' props."""

    def setNode(self, node: slicer.vtkMRMLAbstractViewNode) -> None:
        """Show what this view node says."""
        self.node = node
        node.SetMappedInLayout(1)
        self.managers.SetMRMLDisplayableNode(node)

    def close(self) -> None:
        """Leave the scene and free the window; the view shows nothing any more."""
        self.managers.SetMRMLDisplayableNode(None)
        self.window.Finalize()

    def resize(self, columns: int, rows: int) -> None:
        """Change the window's size in pixels."""
        self.window.SetSize(columns, rows)

    def addText(
        self, text: str, place: tuple[float, float], colour: tuple[float, float, float], fontSize: int, centred: bool
    ) -> None:
        """Write a text around a place given in fractions of the window, with a shadow so that it reads on white."""
        actor = vtk.vtkTextActor()
        actor.SetInput(text)
        actor.GetPositionCoordinate().SetCoordinateSystemToNormalizedViewport()
        actor.SetPosition(*place)
        style = actor.GetTextProperty()
        style.SetFontSize(fontSize)
        style.SetBold(True)
        style.SetShadow(True)
        style.SetColor(*colour)
        if centred:
            style.SetJustificationToCentered()
        style.SetVerticalJustificationToCentered()
        self.renderer.AddViewProp(actor)

    def image(self) -> np.ndarray:
        """Render, and return the picture as (rows, columns, 3) uint8, top row first."""
        self.window.Render()
        grab = vtk.vtkWindowToImageFilter()
        grab.SetInput(self.window)
        grab.ReadFrontBufferOff()
        grab.ShouldRerenderOff()
        grab.Update()
        output = grab.GetOutput()
        columns, rows, _ = output.GetDimensions()
        pixels = numpy_support.vtk_to_numpy(output.GetPointData().GetScalars()).reshape(rows, columns, -1)
        return pixels[::-1, :, :3].copy()


class SliceView(_View):
    """One of Slicer's slice views, with the patient's sides written at its edges."""

    def __init__(self, application: Application, name: str, size: int = 512) -> None:
        orientation, letter, colour = SLICE_VIEWS.get(name) or ("Axial", name[-1], (0.5, 0.5, 0.5))
        super().__init__(
            application, slicer.vtkMRMLSliceViewDisplayableManagerFactory.GetInstance(), SLICE_MANAGERS, size
        )
        self.renderer.GetActiveCamera().ParallelProjectionOn()
        self.logic = slicer.vtkMRMLSliceLogic()
        self.logic.SetMRMLApplicationLogic(application.logic)
        application.logic.GetSliceLogics().AddItem(self.logic)
        self.logic.SetMRMLScene(application.scene)
        self.setNode(self.logic.AddSliceNode(name))
        self.node.SetOrientation(orientation)
        self.node.SetLayoutLabel(letter)
        self.node.SetLayoutColor(*colour)
        self._title = (f"{orientation} ({name})", colour)
        self._labelled = False

    def setTitle(self, text: str, colour: tuple[float, float, float]) -> None:
        """What is written in the upper left corner, before the first picture."""
        self._title = (text, colour)

    def addOwnProps(self) -> None:
        """The slice's image first: added later, a segmentation's fill is blended with black and hides the image."""
        self._mapper = vtk.vtkImageMapper()
        self._mapper.SetColorWindow(255)
        self._mapper.SetColorLevel(127.5)
        self._image = vtk.vtkActor2D()
        self._image.SetMapper(self._mapper)
        self._image.GetProperty().SetDisplayLocationToBackground()
        self._image.SetVisibility(False)
        self.renderer.AddViewProp(self._image)

    def sideLetters(self) -> dict[str, str]:
        """The patient's side at each edge of the view, from the slice's own matrix."""
        matrix = slicer.util.arrayFromVTKMatrix(self.node.GetSliceToRAS())
        right, up = matrix[:3, 0], matrix[:3, 1]
        return {
            "right": anatomicalLetter(right),
            "left": anatomicalLetter(-right),
            "top": anatomicalLetter(up),
            "bottom": anatomicalLetter(-up),
        }

    def resize(self, columns: int, rows: int) -> None:
        """Change the window's size in pixels, keeping what the slice shows in its middle."""
        if tuple(self.window.GetSize()) != (columns, rows):
            super().resize(columns, rows)
            self.logic.ResizeSliceNode(columns, rows)

    def scroll(self, steps: int) -> None:
        """Move by some slices of the background volume."""
        spacing = self.logic.GetLowestVolumeSliceSpacing()[2]
        self.logic.SetSliceOffset(self.logic.GetSliceOffset() + steps * spacing)

    def fit(self) -> None:
        """Fit the slice to its background volume, in its middle, on a voxel plane."""
        self.logic.ResizeSliceNode(*self.window.GetSize())
        self.logic.FitSliceToBackground()
        self.logic.SnapSliceOffsetToIJK()

    def image(self) -> np.ndarray:
        """Render, and return the picture as (rows, columns, 3) uint8, top row first."""
        if not self._labelled:
            side = self.sideLetters()
            size = max(14, self.window.GetSize()[0] // 26)
            for edge, place in EDGES.items():
                self.addText(side[edge], place, (1.0, 1.0, 1.0), size, centred=True)
            title, colour = self._title
            self.addText(title, TITLE_PLACE, colour, int(size * 0.8), centred=False)
            self._labelled = True
        connection = self.logic.GetImageDataConnection()
        self._mapper.SetInputConnection(connection)
        self._image.SetVisibility(connection is not None)
        return super().image()


class ThreeDView(_View):
    """Slicer's 3D view, seen from the front, a little from the left and above."""

    def __init__(self, application: Application, name: str = "1", size: int = 512) -> None:
        super().__init__(
            application, slicer.vtkMRMLThreeDViewDisplayableManagerFactory.GetInstance(), THREE_D_MANAGERS, size
        )
        self.renderer.SetUseDepthPeeling(True)
        self.renderer.GradientBackgroundOn()
        self.renderer.SetBackground(0.757, 0.765, 0.910)
        self.renderer.SetBackground2(0.455, 0.471, 0.745)
        self.logic = slicer.vtkMRMLViewLogic()
        self.logic.SetMRMLApplicationLogic(application.logic)
        application.logic.GetViewLogics().AddItem(self.logic)
        self.logic.SetMRMLScene(application.scene)
        self.setNode(self.logic.AddViewNode(name))
        self.addText("3D", TITLE_PLACE, (1.0, 1.0, 1.0), max(11, int(size / 26 * 0.8)), centred=False)

    def fit(self) -> None:
        """Turn the camera to the front and let what is shown fill the view."""
        self.window.Render()
        self.node.InvokeEvent(slicer.vtkMRMLViewNode.ResetFocalPointRequestedEvent)
        self.node.SetBoxVisible(False)
        self.node.SetAxisLabelsVisible(False)
        self.window.Render()
        bounds = [0.0] * 6
        self.renderer.ComputeVisiblePropBounds(bounds)
        self.node.SetBoxVisible(True)
        self.node.SetAxisLabelsVisible(True)
        manager = self.managers.GetDisplayableManagerByClassName("vtkMRMLCameraDisplayableManager")
        manager.GetCameraNode().RotateTo(slicer.vtkMRMLCameraNode.Anterior)
        camera = self.renderer.GetActiveCamera()
        camera.SetFocalPoint(*((bounds[2 * axis] + bounds[2 * axis + 1]) / 2 for axis in range(3)))
        self.renderer.ResetCamera(bounds)
        camera.Azimuth(25)
        camera.Elevation(25)
        self.renderer.ResetCamera(bounds)
        camera.Zoom(1.0)
        self.renderer.ResetCameraClippingRange()


class FourViews:
    """Slicer's four-up layout: axial and 3D above, coronal and sagittal below."""

    def __init__(self, application: Application, size: int = 512) -> None:
        self.application = application
        self.slices = {name: SliceView(application, name, size) for name in SLICE_VIEWS}
        self.threeD = ThreeDView(application, "1", size)
        # The layout travels with the scene: opened in Slicer, the bundle shows these four views.
        layout = slicer.vtkMRMLLayoutNode()
        layout.SetSingletonTag("vtkMRMLLayoutNode")  # as Slicer's: it stays when the scene is closed
        layout.AddLayoutDescription(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView, "<layout type=\"grid\"/>")
        layout.SetViewArrangement(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
        application.scene.AddNode(layout)

    def fit(self) -> None:
        """Fit every view to what it shows."""
        for view in self.slices.values():
            view.fit()
            view.node.SetSliceVisible(False)
            view.node.SetRulerType(slicer.vtkMRMLAbstractViewNode.RulerTypeThin)
        self.slices["Red"].node.SetSliceVisible(True)
        self.threeD.fit()

    def close(self) -> None:
        """Close all views."""
        for view in (*self.slices.values(), self.threeD):
            view.close()

    def image(self) -> np.ndarray:
        """The four views as one picture, (rows, columns, 3) uint8, with a thin gap between them."""
        views = {**self.slices, "1": self.threeD}
        rows = [[views[name].image() for name in names] for names in FOUR_UP]
        size = rows[0][0].shape[0]
        picture = np.full((2 * size + 4, 2 * size + 4, 3), 40, np.uint8)
        for row, images in enumerate(rows):
            for column, image in enumerate(images):
                top, left = row * (size + 4), column * (size + 4)
                picture[top : top + size, left : left + size] = image
        return picture

    def save(self, path: str | Path) -> Path:
        """Write the four views as one PNG."""
        return writePng(self.image(), path)


def writePng(picture: np.ndarray, path: str | Path) -> Path:
    """Write (rows, columns, 3) uint8 as a PNG; raises RuntimeError if the file cannot be written."""
    rows, columns, _ = picture.shape
    data = vtk.vtkImageData()
    data.SetDimensions(columns, rows, 1)
    flat = np.ascontiguousarray(picture[::-1]).reshape(-1, 3)
    data.GetPointData().SetScalars(numpy_support.numpy_to_vtk(flat, deep=True))
    writer = vtk.vtkPNGWriter()
    writer.SetFileName(str(path))
    writer.SetInputData(data)
    writer.Write()
    if writer.GetErrorCode() or not Path(path).is_file():
        raise RuntimeError(f"The picture could not be written as {path}: check that the folder exists and is writable.")
    return Path(path)
