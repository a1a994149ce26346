"""Compiled networks kept in files: whole or absent, each checked by its hash, none of them needed.

A file holds the SHA-256 of what follows, and what follows. It is written beside its place and moved there, so that two
processes that start at once both find a whole one or none. What is damaged is built anew; where nothing can be
written, networks are compiled in every process, and one message says so.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from medgen.atomic import write_bytes
from medgen.backend import say_once
from medgen.cache import cache_dir
from medgen.errors import MedgenError

_DIGEST = hashlib.sha256().digest_size


def place(facts: dict[str, Any]) -> Path:
    """Where what was built of `facts` is kept: they are all that its content depends on, as JSON values."""
    key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    return cache_dir() / "compiled" / f"{key}.blob"


def read(path: Path) -> bytes | None:
    """What is kept at `path`; None where there is nothing, or nothing whole."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    if hashlib.sha256(memoryview(content)[_DIGEST:]).digest() == content[:_DIGEST]:
        return content[_DIGEST:]
    say_once(f"A compiled network in {path.parent.name}/ of the cache is damaged; it is built anew.")
    return None


def write(path: Path, content: bytes) -> None:
    """Keeps `content` at `path`. A full disk costs the next process time; it must not cost this one its picture."""
    try:
        write_bytes(path, hashlib.sha256(content).digest() + content)
    except MedgenError as error:
        # the reason alone: with the name of the file in it, there would be one message a network
        reason = error.__cause__.strerror if isinstance(error.__cause__, OSError) else None
        say_once(
            "Compiled networks are not kept, and are compiled anew in every process: "
            f"{reason or 'they cannot be written'}. Free some space, or name another folder in MEDGEN_CACHE."
        )
