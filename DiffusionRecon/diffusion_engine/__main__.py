"""The engine from a shell: simulate, reconstruct, evaluate, calibrate, train, distil, adapt, import, priors, parts."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from .commands import foreign, learning, scans, trust, weights


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code: 0 done, 2 unusable input or a lost process (one sentence on stderr)."""
    options = _parser().parse_args(arguments)
    try:
        result = options.command(options)
    except (ValueError, FloatingPointError, ChildProcessError) as error:
        print(str(error), file=sys.stderr)
        return 2
    except OSError as error:
        print(f"a file or folder cannot be used ({error}): choose another one", file=sys.stderr)
        return 2
    if options.json is not None:
        text = json.dumps(result, indent=2, allow_nan=False) + "\n"
        if options.json == "-":
            sys.stdout.write(text)
        else:
            Path(options.json).write_text(text, encoding="utf-8")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m diffusion_engine", description=__doc__)
    parsers = parser.add_subparsers(required=True, metavar="COMMAND")
    for group in (scans, trust, learning, foreign, weights):
        group.add(parsers)
    return parser


if __name__ == "__main__":
    sys.exit(main())
