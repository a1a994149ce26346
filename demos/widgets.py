"""What every tab shares: the page around it, the notice, the hardware, the model picker, the progress bar."""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from html import escape
from typing import Any

import gradio as gr
import psutil

from demos import look, scratch
from medgen import MedgenError, ModelCard, cards
from medgen.provenance import NOTICE
from medgen.registry import FAMILIES

TOAST_SECONDS = 9
MAX_UPLOAD = "200mb"
MODALITIES = {"CR": "X-ray", "DX": "X-ray, digital", "CT": "CT", "MR": "MRI"}


def toast(error: MedgenError) -> gr.Error:
    """The error as the page shows it: its one sentence, long enough to be read."""
    return gr.Error(str(error), duration=TOAST_SECONDS, print_exception=False)


def known_cards(modality: str | None = None) -> dict[str, ModelCard]:
    """`medgen.cards`, family by family, with a broken card as a toast."""
    try:
        found = cards(modality)
    except MedgenError as error:
        raise toast(error) from error
    families = list(FAMILIES)
    return dict(sorted(found.items(), key=lambda item: families.index(item[1].family)))


def titles(found: Iterable[ModelCard]) -> dict[str, str]:
    """Card name -> what the page calls it: its title, with the name where two cards share a title."""
    found = list(found)
    often = Counter(card.title for card in found)
    return {card.name: card.title if often[card.title] == 1 else f"{card.title} ({card.name})" for card in found}


def hardware() -> str:
    """The machine as a small table. Looks at torch only if something else has loaded it."""
    memory = psutil.virtual_memory()
    torch = sys.modules.get("torch")
    if torch is None:
        accelerator = "torch loads with the first image"
    elif torch.cuda.is_available():
        free, total = torch.cuda.mem_get_info()
        accelerator = f"{torch.cuda.get_device_name()}, {(total - free) / 2**30:.1f} of {total / 2**30:.0f} GiB used"
    else:
        accelerator = "none: networks run on the CPU"
    own = psutil.Process().memory_info().rss / 2**30
    rows = {
        "CPU": f"{os.cpu_count()} cores",
        "Memory": f"{memory.used / 2**30:.1f} of {memory.total / 2**30:.1f} GiB used",
        "This app": f"{own:.1f} GiB",
        "GPU": accelerator,
    }
    cells = "".join(f"<tr><th scope='row'>{name}</th><td>{escape(value)}</td></tr>" for name, value in rows.items())
    return f"<table class='hardware'>{cells}</table>"


def frame(page: gr.Blocks, title: str) -> None:
    """The head of the page with the permanent notice, and a sidebar with the hardware."""
    head = f"<h1>{escape(title)}</h1><p class='notice' role='note'>{NOTICE}</p>"
    gr.HTML(f"<header class='masthead'>{head}</header>", padding=False)
    with gr.Sidebar(open=False, width=300):
        gr.Markdown("## Hardware")
        machine = gr.HTML(hardware)
        refresh = gr.Button("Refresh", size="sm")
        gr.Markdown(
            "Everything runs on this machine; no page asks anyone outside. "
            "Pictures on the pages carry a burned-in mark; downloads hold the clean pixels and say "
            "in their metadata that they are synthetic.",
            elem_classes="quiet",
        )
    refresh.click(hardware, outputs=machine, queue=False, api_visibility="private")
    page.load(hardware, outputs=machine, queue=False, api_visibility="private")


def page(title: str, fill: Callable[[gr.Blocks], None]) -> gr.Blocks:
    """A whole page: title, notice, sidebar, and what `fill` puts below."""
    # temporary files are looked at every hour and kept for a day
    with gr.Blocks(title=title, analytics_enabled=False, delete_cache=(3600, 86400), fill_width=True) as blocks:
        frame(blocks, title)
        fill(blocks)
    return blocks


def launch(blocks: gr.Blocks, argv: list[str] | None = None) -> int:
    """Serves `blocks` until interrupted: on this machine only, or to the world inside a Hugging Face Space."""
    parser = argparse.ArgumentParser(description="Shows the app in a browser.")
    parser.add_argument("--port", type=int, help="port to listen on (default: the first free one from 7860 on)")
    port = parser.parse_args(argv).port
    if port is None and os.environ.get("GRADIO_SERVER_PORT", "").isdecimal():
        port = int(os.environ["GRADIO_SERVER_PORT"])
    try:
        blocks.queue(max_size=16).launch(
            server_name="0.0.0.0" if os.environ.get("SPACE_ID") else "127.0.0.1",
            server_port=port,
            theme=look.THEME,
            css_paths=look.CSS,
            footer_links=[],
            run_history=False,
            enable_monitoring=False,
            ssr_mode=False,
            pwa=False,
            mcp_server=False,
            share=False,
            max_file_size=MAX_UPLOAD,
            allowed_paths=[str(scratch.SHOWN.root)],
            state_session_capacity=100,
        )
    except OSError as error:
        print(
            f"The app cannot listen on port {port or '7860 to 7959'} ({error}); choose another with --port.",
            file=sys.stderr,
        )
        return 2
    return 0


def modality_choices(modalities: Iterable[str]) -> list[tuple[str, str]]:
    """(shown, DICOM code) of each."""
    return [(f"{MODALITIES[code]} ({code})" if code in MODALITIES else code, code) for code in modalities]


def model_choices(found: dict[str, ModelCard]) -> list[tuple[str, str]]:
    """(shown, name) of every card."""
    return [(shown, name) for name, shown in titles(found.values()).items()]


def bar(text: str, fraction: float | None = None) -> str:
    """The progress bar as HTML; without a fraction only the line of text, which screen readers announce.

    While the bar moves it is busy: nobody wants to hear every step. It belongs into a live region.
    """
    if fraction is None:
        return f"<div class='run-bar'><p>{escape(text)}</p></div>"
    return (
        f"<div class='run-bar' aria-busy='true'><p>{escape(text)}</p>"
        f"<progress aria-label='Progress of the run' max='1' value='{fraction:.4f}'></progress></div>"
    )


def about(card: ModelCard) -> str:
    """What a reader must know of a model, as Markdown."""
    size = " x ".join(map(str, card.shape[1:]))
    facts: dict[str, Any] = {
        "Family": card.family,
        "Images": f"{card.modality}, {size} pixels",
        "Trained on": card.data or "nothing: it is untrained",
        "Licence of the weights": card.licence,
        "Method": card.paper,
    }
    lines = "\n".join(f"- {name}: {value}" for name, value in facts.items() if value)
    return f"**{card.title}** (`{card.name}`)\n\n{card.limits}\n\n{lines}"
