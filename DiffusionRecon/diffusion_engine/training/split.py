"""A large file as parts below a size limit, each with its hash, and back."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

PART_BYTES = 15_000_000
"""Below the 16 MB that many hosts of files and repositories allow."""
SUFFIX = ".parts.json"
FORMAT = "diffusion-priors parts 1"


def split(path: Path, part_bytes: int = PART_BYTES) -> Path:
    """Write NAME.part001, ... and the list NAME.parts.json beside the file NAME; returns the list's path.

    Raises ValueError for a missing or empty file or a size below 1.
    """
    if not path.is_file() or path.stat().st_size == 0:
        raise ValueError(f"expected a file with content to split, found none at {path}: give its path")
    if part_bytes < 1:
        raise ValueError(f"expected parts of 1 byte or more, found {part_bytes}: raise the size")
    whole = hashlib.sha256()
    parts: list[dict[str, str | int]] = []
    with path.open("rb") as stream:
        while piece := stream.read(part_bytes):
            part = path.with_name(f"{path.name}.part{len(parts) + 1:03d}")
            part.write_bytes(piece)
            whole.update(piece)
            parts.append({"name": part.name, "bytes": len(piece), "sha256": hashlib.sha256(piece).hexdigest()})
    listing = path.with_name(path.name + SUFFIX)
    content = {"format": FORMAT, "name": path.name, "sha256": whole.hexdigest(), "parts": parts}
    listing.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return listing


def join(listing: Path, out: Path | None = None) -> Path:
    """The file of a NAME.parts.json, written to ``out`` or beside it under its own name, once every hash is right.

    Raises ValueError, one sentence, for a list that is none and for a part that is missing, damaged or outside its
    folder; nothing is left behind then.
    """
    try:
        content = json.loads(listing.read_text(encoding="utf-8"))
        name, total = str(content["name"]), content["sha256"]
        parts = [(str(part["name"]), part["sha256"]) for part in content["parts"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{listing} is no list of parts ({error}): give the {SUFFIX} file") from None
    if content.get("format") != FORMAT or any(Path(n).name != n for n in (name, *(n for n, _ in parts))):
        raise ValueError(f"{listing.name} is not of format '{FORMAT}' with parts beside it: split the file again")
    target = listing.with_name(name) if out is None else out
    temporary = target.with_name(target.name + ".joining")
    whole = hashlib.sha256()
    try:
        with temporary.open("wb") as stream:
            for part, digest in parts:
                place = listing.with_name(part)
                piece = place.read_bytes() if place.is_file() else b""
                if hashlib.sha256(piece).hexdigest() != digest:
                    raise ValueError(f"the part {part} is missing or does not match its hash: get it again")
                whole.update(piece)
                stream.write(piece)
        if whole.hexdigest() != total:
            raise ValueError(f"the parts of {name} do not make the file that was split: get them all again")
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
    return target
