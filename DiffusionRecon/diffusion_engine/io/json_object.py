"""A JSON file that describes another file."""

from __future__ import annotations

import json
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
