"""How a Python process is started that imports nothing from the current folder: a ``torch.py`` there is no torch.

Python puts the current folder first on its path for ``-m`` and ``-c``. From 3.11 on ``-P`` and PYTHONSAFEPATH keep it
off; an older one takes it off itself before the first import. No torch here: the panel uses this, too.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

WITHOUT = "import sys; sys.path[:] = [place for place in sys.path if place]\n"
"""Takes off the current folder, which ``-c`` names by nothing; sys itself is built in."""
RUN = WITHOUT + "import runpy; runpy.run_module(sys.argv.pop(1), run_name='__main__', alter_sys=True)"
ENGINE = str(Path(__file__).resolve().parents[1])


def module_line(module: str, python: str = sys.executable) -> list[str]:
    """The command that runs a module; its arguments follow."""
    return [python, "-P", "-m", module] if _knows_flag(python) else [python, "-c", RUN, module]


def code_line(code: str, python: str = sys.executable) -> list[str]:
    """The command that runs some code."""
    return [python, "-P", "-c", code] if _knows_flag(python) else [python, "-c", WITHOUT + code]


def safe_environment() -> dict[str, str]:
    """This process's environment with the engine first on the path, and the current folder not on it."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join([ENGINE, *_named_places()]), "PYTHONSAFEPATH": "1"}


@contextmanager
def no_current_folder(elsewhere: Path | None = None) -> Iterator[None]:
    """While this lasts, processes that others start (multiprocessing, pip) import nothing from the current folder.

    ``elsewhere``: an empty folder, the current one meanwhile for a Python that does not know PYTHONSAFEPATH.
    """
    before = {name: os.environ.get(name) for name in ("PYTHONPATH", "PYTHONSAFEPATH")}
    here = os.getcwd() if elsewhere is not None and sys.version_info < (3, 11) else None
    os.environ.update(PYTHONPATH=os.pathsep.join(_named_places()), PYTHONSAFEPATH="1")
    try:
        if elsewhere is not None and here is not None:
            os.chdir(elsewhere)
        yield
    finally:
        if here is not None:
            os.chdir(here)
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _named_places() -> list[str]:
    """The parts of PYTHONPATH without the current folder, for which an empty one stands, most often by accident."""
    named = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    return [place for place in named if place not in ("", os.curdir)]


def _knows_flag(python: str) -> bool:
    return python == sys.executable and sys.version_info >= (3, 11)
