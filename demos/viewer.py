"""A viewer of volumes: three linked planes, drawn by the browser from voxels that are sent once.

python -m demos.viewer FILE [FILE] [--port N]
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import gradio as gr

_HERE = Path(__file__).parent
_SCRIPT = "".join((_HERE / name).read_text(encoding="utf-8") for name in ("viewer.js", "viewer_controls.js"))
_STYLE = (_HERE / "viewer.css").read_text(encoding="utf-8")


def viewer(*, label: str, elem_id: str) -> gr.HTML:
    """An empty viewer; an event fills it by returning `shown(...)`.

    Needs no network and no WebGL: everything is drawn on 2D canvases by `viewer.js`.
    """
    return gr.HTML(
        label=label,
        elem_id=elem_id,
        html_template="<div class='volume-view'></div>",
        css_template=_STYLE,
        js_on_load=_SCRIPT,
        apply_default_css=False,
        padding=False,
    )


def shown(*views: dict[str, Any] | None) -> dict[str, Any] | None:
    """What a viewer is given: volumes beside each other, with one crosshair for all, in mm.

    Args:
        views: of `medgen.view_volume.view` or `film`; None is left out.

    Returns:
        The value of the component; None, an empty viewer, where there is no view.
    """
    found = [one for one in views if one is not None]
    return {"views": found} if found else None


def main(argv: list[str] | None = None) -> int:
    """A page with one viewer of the files named."""
    from demos import widgets
    from medgen.read_volume import read_volume
    from medgen.view_volume import view

    parser = argparse.ArgumentParser(description="Shows volumes: NIfTI, a folder or ZIP of DICOM.")
    parser.add_argument("files", nargs="+", type=Path)
    chosen, rest = parser.parse_known_args(argv)

    def fill(page: gr.Blocks) -> None:
        one = viewer(label="Volumes", elem_id="viewer")
        page.load(
            lambda: shown(*(view(read_volume(path), title=path.name) for path in chosen.files)),
            outputs=one,
            api_visibility="private",
        )

    return widgets.launch(widgets.page("Volumes", fill), rest)


if __name__ == "__main__":
    raise SystemExit(main())
