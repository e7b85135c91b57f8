"""What a computer must have before the set-up can begin: standard library only, and readable by older Pythons too."""

from __future__ import annotations

import ctypes
import importlib.util
import platform

PYTHONS = ((3, 10), (3, 13))
PLATFORMS = (("Linux", "x86_64"), ("Windows", "AMD64"), ("Darwin", "arm64"))
QT_LIBRARIES = ("libGL.so.1", "libxkbcommon.so.0", "libdbus-1.so.3", "libfontconfig.so.1", "libglib-2.0.so.0")
WINDOW_LIBRARIES = ("libxcb-cursor.so.0", "libxcb-icccm.so.4", "libxcb-image.so.0", "libxcb-keysyms.so.1",
                    "libxcb-render-util.so.0", "libxkbcommon-x11.so.0")


class SetUpError(Exception):
    """What hinders the set-up, as one sentence for the user."""


def check_python(version: tuple, system: str, machine: str, is_64_bit: bool = True) -> None:
    """Raise SetUpError where Slicer's libraries have no wheel, or where Python cannot make environments."""
    (low, high) = PYTHONS
    if not low <= version <= high:
        raise SetUpError(
            f"Expected Python {low[0]}.{low[1]} to {high[0]}.{high[1]}, found {version[0]}.{version[1]}: "
            "start this with one of those."
        )
    if (system, machine) not in PLATFORMS or not is_64_bit:
        raise SetUpError(
            f"Expected Linux x86_64, Windows x86_64 or macOS on Apple silicon with 64-bit Python, found {system} "
            f"{machine}: Slicer's libraries (slicer-core) are not published for it."
        )
    if importlib.util.find_spec("ensurepip") is None or importlib.util.find_spec("venv") is None:
        raise SetUpError(
            "Expected Python's venv and ensurepip, found a Python without them: install them first (Debian and "
            f"Ubuntu: sudo apt install python{version[0]}.{version[1]}-venv)."
        )


def check_egl() -> None:
    """Raise SetUpError on a Linux without libEGL, through which the views are rendered without a display."""
    if platform.system() == "Linux":
        try:
            ctypes.CDLL("libEGL.so.1")
        except OSError:
            raise SetUpError(
                "Expected the library libEGL.so.1 for rendering, found none: install it first (Debian and Ubuntu: "
                "sudo apt install libegl1 libgl1-mesa-dri; Fedora: sudo dnf install mesa-libEGL mesa-dri-drivers)."
            ) from None


def check_qt() -> None:
    """Raise SetUpError on a Linux without the libraries that Qt's wheel takes from the system."""
    if platform.system() == "Linux":
        missing = missing_libraries(QT_LIBRARIES)
        if missing:
            raise SetUpError(
                f"Expected the libraries of Qt, found no {missing[0]}: install them first (Debian and Ubuntu: sudo apt "
                "install libgl1 libxkbcommon0 libdbus-1-3 libfontconfig1 libglib2.0-0; Fedora: sudo dnf install "
                "mesa-libGL libxkbcommon dbus-libs fontconfig glib2)."
            )


def check_display(variables: dict) -> None:
    """Raise SetUpError on a Linux where no window can be opened; Qt would end the process without a sentence."""
    if platform.system() != "Linux" or variables.get("QT_QPA_PLATFORM") in ("offscreen", "minimal", "vnc"):
        return
    if not (variables.get("DISPLAY") or variables.get("WAYLAND_DISPLAY")):
        raise SetUpError(
            "Expected a display for the window, found neither DISPLAY nor WAYLAND_DISPLAY: start this on a desktop, or "
            "without --gui."
        )
    missing = [] if variables.get("WAYLAND_DISPLAY") else missing_libraries(WINDOW_LIBRARIES)
    if missing:
        raise SetUpError(
            f"Expected the libraries of Qt's windows, found no {missing[0]}: install them first (Debian and Ubuntu: "
            "sudo apt install libxcb-cursor0 libxcb-icccm4 libxcb-image0 libxcb-keysyms1 libxcb-render-util0 "
            "libxkbcommon-x11-0)."
        )


def missing_libraries(names: tuple) -> list:
    """Those of the shared libraries that this system has not."""
    missing = []
    for name in names:
        try:
            ctypes.CDLL(name)
        except OSError:
            missing.append(name)
    return missing
