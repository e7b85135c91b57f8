"""All checks: `python3 Testing/test.py [--fast] [-k EXPRESSION] [pytest arguments]`; exit code 0 only if all pass.

Linter, type checker and tests, in an environment that is set up on the first call. `--fast` leaves out the tests
marked slow; everything else goes to pytest, which runs in up to four processes of one thread each, in one process
with `-n0`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time

from environment import ROOT, prepare

MOST_PROCESSES = 4
"""Of the tests: each holds PyTorch and Slicer's libraries in memory."""


def processes(arguments: list) -> list:
    """pytest's arguments for a process a core, none where the caller chose or wants to see a test at work."""
    chosen = any(argument.startswith(("-n", "--numprocesses", "--pdb", "-s")) for argument in arguments)
    return [] if chosen else ["-n", str(min(MOST_PROCESSES, os.cpu_count() or 1))]


def main(arguments: list) -> int:
    """Run the three parts, all of them even when one fails."""
    rest = [argument for argument in arguments if argument != "--fast"]
    fast = ["-m", "not slow"] if len(rest) < len(arguments) else []
    parts = {
        "linter (ruff)": ["ruff", "check", "."],
        "types (mypy)": ["mypy"],
        "tests (pytest)": ["pytest", *fast, *processes(rest), *rest],
    }
    # One thread a process: more only wait for each other.
    environment = {"OMP_NUM_THREADS": "1", **os.environ} if processes(rest) else None
    lines, failed = [], False
    for name, command in parts.items():
        print(f"== {name}", flush=True)
        begin = time.monotonic()
        code = subprocess.call([sys.executable, "-m", *command], cwd=str(ROOT), env=environment)
        failed = failed or code != 0
        lines.append(f"{name:16s} {'passed' if code == 0 else 'FAILED'} in {time.monotonic() - begin:.0f} s")
    print("\n" + "\n".join(lines), flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    if sys.argv[1:] in (["-h"], ["--help"]):
        sys.exit(__doc__)
    prepare("test")
    sys.exit(main(sys.argv[1:]))
