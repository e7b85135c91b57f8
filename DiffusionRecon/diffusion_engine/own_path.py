"""What a module that is run from a shell does before it imports anything that the current folder could hold."""

import os
import sys

_ENGINE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def leave_current_folder() -> None:
    """Take the current folder, which ``python -m`` puts first, off the path: a torch.py there is the user's."""
    if not getattr(sys.flags, "safe_path", False) and sys.path[0] != _ENGINE:
        sys.path[:1] = [place for place in sys.path[:1] if place != os.getcwd()]
