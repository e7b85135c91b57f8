"""The engine from a shell: simulate, reconstruct, suv, evaluate, calibrate, train, distil, adapt, import, priors."""


from __future__ import annotations

from .own_path import leave_current_folder

if __name__ == "__main__":
    leave_current_folder()

import argparse
import json
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

from .commands import foreign, learning, scans, trust, uptake, weights
from .jobs.shortage import did_not_suffice, ran_out


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; the exit code: 0 done, 2 unusable input or a lost process (one sentence on stderr), 130 stopped.

    2 also where the memory did not suffice, or where the result cannot be written.
    """
    options = _parser().parse_args(arguments)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _remark
            _check_report(options.json)
            result = options.command(options)
            _report(options.json, result)
    except (ValueError, FloatingPointError, ChildProcessError) as error:
        return _refused(str(error))
    except KeyboardInterrupt:
        return _refused("stopped", 130)
    except OSError as error:
        if ran_out(error):
            return _refused(did_not_suffice(options.what))
        return _refused(f"a file or folder cannot be used ({error}): choose another one")
    except (MemoryError, RuntimeError) as error:
        if not ran_out(error):
            raise
        return _refused(did_not_suffice(options.what))
    return 0


def _remark(message: Warning | str, *_where: object, **_how: object) -> None:
    """What a reader of files remarks, as a line without the place in the program."""
    print(" ".join(str(message).split()), file=sys.stderr)


def _refused(sentence: str, code: int = 2) -> int:
    print(" ".join(sentence.split()), file=sys.stderr)
    return code


def _check_report(path: str | None) -> None:
    """Raise ValueError before the work where the report could not be written after it."""
    if path not in (None, "-") and (Path(path).is_dir() or not Path(path).absolute().parent.is_dir()):
        raise ValueError(f"expected a file in a folder that exists for --json, found {path}: choose another one")


def _report(path: str | None, result: object) -> None:
    if path is None:
        return
    text = json.dumps(result, indent=2, allow_nan=False) + "\n"
    if path == "-":
        sys.stdout.write(text)
    else:
        Path(path).write_text(text, encoding="utf-8")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m diffusion_engine", description=__doc__)
    parsers = parser.add_subparsers(required=True, metavar="COMMAND")
    for group in (scans, uptake, trust, learning, foreign, weights):
        group.add(parsers)
    return parser


if __name__ == "__main__":
    sys.exit(main())
