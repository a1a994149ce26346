"""What `python -m eval.run` can be told."""

from __future__ import annotations

import argparse
from pathlib import Path

from eval.features import EXTRACTORS
from eval.protocols import PROTOCOLS, SPLITS, TRANSLATIONS, VOLUMETRIC
from eval.setting import ALL, MAIN
from eval.variants import RUNTIMES

_ALL = (*PROTOCOLS, *TRANSLATIONS, *VOLUMETRIC)


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The options of the command line; says what is wrong and exits where they make no sense."""
    parser = argparse.ArgumentParser(prog="python -m eval.run", description="Measure models on held-out patients.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="folder below checkpoints/")
    parser.add_argument("--images", type=Path, metavar="DIR", help="measure the PNG files of a folder instead")
    parser.add_argument(
        "--protocol", required=True, metavar="P", help=" | ".join((*PROTOCOLS, *TRANSLATIONS, *VOLUMETRIC))
    )
    parser.add_argument("--split", choices=SPLITS, default="test", help="val for choosing models (default: test)")
    parser.add_argument("--n", type=positive, metavar="N", help="generated images (default: as many as real ones)")
    parser.add_argument("--steps", type=positive, help="default: the card's; choose them on --split val")
    parser.add_argument("--guidance", type=float, help="likewise")
    parser.add_argument(
        "--runtime", choices=tuple(RUNTIMES), default="torch", help="what computes the images (default: torch)"
    )
    parser.add_argument("--limit", type=positive, metavar="M", help="at most M real and M generated: a quick look")
    parser.add_argument(
        "--samples", type=positive, default=4, help="of each slice, of translators that draw (default: 4)"
    )
    parser.add_argument(
        "--extractor", choices=(*EXTRACTORS, ALL),
        help=f"default: {MAIN} where installed; {ALL}: samples once, a report in every space that is installed",
    )  # fmt: skip
    parser.add_argument("--repeats", type=positive, default=200, help="halves for an interval (default: 200)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="default: report*.json in the model's folder")
    options = parser.parse_args(argv)
    if bool(options.names) == (options.images is not None):
        parser.error("give the names of models, or --images DIR")
    if options.out is not None and (len(options.names) > 1 or options.extractor == ALL):
        parser.error("--out takes one model and one feature space at a time")
    if options.extractor == ALL and options.protocol in (*TRANSLATIONS, *VOLUMETRIC):
        parser.error(f"--extractor {ALL} is for models of images; translators and volumes take one feature space")
    asked = (options.steps, options.guidance, options.runtime)
    if asked != (None, None, "torch") and options.images is not None:
        parser.error("--steps, --guidance and --runtime are for models, not for images that are there")
    if options.runtime != "torch" and options.protocol in (*TRANSLATIONS, *VOLUMETRIC):
        parser.error("--runtime is for models of images; translators and volumes take MEDGEN_RUNTIME")
    if asked != (None, None, "torch") and options.protocol in (*TRANSLATIONS, *VOLUMETRIC) and options.out is None:
        parser.error("translators and volumes need --out for them: a report is about what the card says")
    if options.protocol in TRANSLATIONS and (options.images, options.n, options.guidance) != (None, None, None):
        parser.error("translators are measured by name, on each source, without guidance")
    if options.protocol in VOLUMETRIC and (options.images, options.guidance) != (None, None):
        parser.error("models of volumes are measured by name, without guidance")
    return options


def positive(text: str) -> int:
    """A whole number of at least 1, for argparse."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)
