"""A small stand-in for the Slicer application around the real slicer-core libraries: scene, logics, views, widgets.

application.py and what it imports need no Qt; guiapplication.py adds the Qt side on PySide6.
"""

import os

# Before anything imports PySide6: its enums become ints, as they are in Slicer.
os.environ.setdefault("PYSIDE6_OPTION_PYTHON_ENUM", "0x02")
