"""A JSON file that describes another file."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

LONGEST = 1 << 20
"""Bytes; a description is shorter."""


def read_json(path: Path) -> dict[str, Any]:
    """The object of a JSON file; raises ValueError, one sentence, for anything else."""
    try:
        if path.stat().st_size > LONGEST:
            raise ValueError(f"expected a description of less than 1 MB, found {path}: give the JSON file")
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ValueError(f"expected to read {path}, but it failed ({error.strerror}): check the file") from error
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"expected JSON in {path}, found other text ({error}): correct it") from error
    if not isinstance(content, dict):
        raise ValueError(f"expected one JSON object in {path}, found {type(content).__name__}: put it in braces")
    return content


def read_keys(path: Path, keys: Sequence[str], fault: Callable[[str, Any], str]) -> dict[str, Any]:
    """The values of a JSON file by key, null ones left out; raises ValueError for a wrong key or value.

    ``fault``: what is expected of a key's value instead of this one, "" where it is right.
    """
    content = read_json(path)
    unknown = sorted(set(content) - set(keys))
    if unknown:
        raise ValueError(f"expected only the keys {', '.join(keys)} in {path}, found '{unknown[0]}': correct it")
    given = {key: value for key, value in content.items() if value is not None}
    for key, value in given.items():
        expected = fault(key, value)
        if expected:
            raise ValueError(f"expected {expected} as {key} in {path}, found {json.dumps(value)[:80]}: correct it")
    return given


def content_of(description: Path | Mapping[str, Any] | None) -> dict[str, Any] | None:
    """What a description says, a file or its content; None where there is none."""
    if isinstance(description, Path):
        return read_json(description)
    return dict(description) if description else None
