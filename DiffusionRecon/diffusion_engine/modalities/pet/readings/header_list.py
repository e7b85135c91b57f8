"""Headers of a PET series without its images: a JSON list of fields by DICOM keyword."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

LARGEST = 1 << 28


def is_header_list(path: Path) -> bool:
    """Whether a file is named as such a list."""
    return path.is_file() and path.suffix.lower() == ".json"


def read_header_list(path: Path) -> list[dict[str, Any]]:
    """The headers, one for each image; ValueError, one sentence, for anything else."""
    try:
        if path.stat().st_size > LARGEST:
            raise ValueError(f"expected headers of less than 256 MB, found {path}: give the folder of the images")
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ValueError(f"expected to read {path}, but it failed ({error.strerror}): check the file") from error
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"expected JSON in {path}, found other text ({error}): correct it") from error
    headers = content if isinstance(content, list) else [content]
    if not headers or not all(isinstance(header, dict) for header in headers):
        raise ValueError(f"expected a list of headers by DICOM keyword in {path}, found another content: correct it")
    return headers
