"""The app: one tab a module of `demos/`.

python app.py [--port N]
"""

from __future__ import annotations

import gradio as gr

from demos import board, generate, pathology, translate, volume, widgets

TITLE = "Synthetic medical images"
TABS = (generate, pathology, translate, volume, board)


def fill(page: gr.Blocks) -> None:
    """One tab a module; a module knows its title and fills its tab."""
    # on a phone all tabs stay in sight, in two rows
    with gr.Tabs(overflow_behavior="wrap"):
        for module in TABS:
            with gr.Tab(module.TITLE, id=module.TITLE.lower()):
                module.create(page)


def main(argv: list[str] | None = None) -> int:
    """Builds the page and serves it."""
    return widgets.launch(widgets.page(TITLE, fill), argv)


if __name__ == "__main__":
    raise SystemExit(main())
