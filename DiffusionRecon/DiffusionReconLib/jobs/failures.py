"""What went wrong, as one sentence for the user; an error that nobody foresaw keeps its traceback in Slicer's log."""

from __future__ import annotations

import logging
from typing import Protocol

from slicer.i18n import tr as _

FORESEEN = (ValueError, RuntimeError, OSError, FloatingPointError)
"""Errors whose own text is a sentence for the user..."""
MISTAKES = (NotImplementedError, RecursionError, UnicodeError)
"""...and kinds of them that are none."""


def sentenceOf(error: BaseException) -> str:
    """The sentence of an error; the traceback of one that is a mistake of the program goes to Slicer's log."""
    if isinstance(error, MemoryError):
        return _("Slicer's memory did not suffice: close other volumes, or choose fewer slices or a smaller region.")
    if isinstance(error, OSError) and error.strerror:  # the system's words, which are no sentence
        if error.filename is None:
            return _("A file cannot be used ({reason}): check the files, your right to use them, and the room on the "
                     "disk.").format(reason=error.strerror)
        return _("'{path}' cannot be used ({reason}): check that it is there, that you may use it, and that there is "
                 "room on the disk.").format(path=error.filename, reason=error.strerror)
    if isinstance(error, FORESEEN) and not isinstance(error, MISTAKES) and str(error):
        return str(error)
    logging.error("Diffusion Reconstruction met an error that is its own", exc_info=error)
    return _(
        "Diffusion Reconstruction failed by a mistake of its own ({kind}: {text}): Slicer's log has the details; "
        "please report it with them."
    ).format(kind=type(error).__name__, text=" ".join(str(error).split())[:200])


class Leaving(Protocol):
    """A run or a training whose process may still have to leave."""

    def gone(self) -> bool: ...


def isGone(left: Leaving) -> bool:
    """Whether its process has left; one of which nothing can be known any more counts as gone."""
    try:
        return left.gone()
    except Exception:
        logging.exception("The end of a process could not be watched")
        return True
