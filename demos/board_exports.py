"""The files of a table on the Board tab, and the short names of its groups."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from medgen.atomic import write_bytes

EXPORTS = {"csv": "CSV", "json": "JSON", "latex": "LaTeX"}


def buttons(prefix: str = "") -> list[gr.DownloadButton]:
    """A button a kind, which cannot be pressed before there is a file.

    Args:
        prefix: of their ids on the page.
    """
    return [
        gr.DownloadButton(f"Export {word}", interactive=False, size="md", min_width=140, elem_id=f"{prefix}{kind}")
        for kind, word in EXPORTS.items()
    ]


def write(text: Callable[[str], str], place: Path, stem: str) -> list[Any]:
    """What the buttons become once the files are written.

    Args:
        text: kind -> the text of the file.
        place: the folder.
        stem: of the file names.

    Raises:
        MedgenError: a file could not be written.
    """
    made = []
    for kind in EXPORTS:
        path = place / f"{stem}.{'tex' if kind == 'latex' else kind}"
        write_bytes(path, text(kind).encode())
        made.append(gr.update(value=str(path), interactive=True))
    return made


def no_files() -> list[Any]:
    """What they become where there is nothing to export."""
    return [gr.update(value=None, interactive=False) for _ in EXPORTS]


def choices(short: Sequence[str], labels: Sequence[str]) -> list[tuple[str, str]]:
    """(shown, label) of each group: the short name where that is enough to tell it apart."""
    return [
        (words if words and short.count(words) == 1 else label, label)
        for words, label in zip(short, labels, strict=True)
    ]
