"""All checks: `python3 Testing/test.py [--fast] [-k EXPRESSION] [pytest arguments]`; exit code 0 only if all pass.

Linter, type checker and tests, in an environment that is set up on the first call. `--fast` leaves out the tests
marked slow; everything else goes to pytest.
"""

from __future__ import annotations

import subprocess
import sys
import time

from environment import ROOT, prepare


def main(arguments: list) -> int:
    """Run the three parts, all of them even when one fails."""
    rest = [argument for argument in arguments if argument != "--fast"]
    fast = ["-m", "not slow"] if len(rest) < len(arguments) else []
    parts = {
        "linter (ruff)": ["ruff", "check", "."],
        "types (mypy)": ["mypy"],
        "tests (pytest)": ["pytest", *fast, *rest],
    }
    lines, failed = [], False
    for name, command in parts.items():
        print(f"== {name}", flush=True)
        begin = time.monotonic()
        code = subprocess.call([sys.executable, "-m", *command], cwd=str(ROOT))
        failed = failed or code != 0
        lines.append(f"{name:16s} {'passed' if code == 0 else 'FAILED'} in {time.monotonic() - begin:.0f} s")
    print("\n" + "\n".join(lines), flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    if sys.argv[1:] in (["-h"], ["--help"]):
        sys.exit(__doc__)
    prepare("test")
    sys.exit(main(sys.argv[1:]))
