"""Images from the command line: `python -m medgen.sample NAME --n 64 --seed 0 --out DIR`.

The manifest.json beside them given back as `--manifest FILE --out OTHER` remakes the same pixels and says so if not.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

import medgen
from medgen.backend import using
from medgen.conditions import CHOICES
from medgen.errors import MedgenError, exit_code
from medgen.files import FORMATS, VOLUME_FORMATS, SetWriter, folder_writer
from medgen.generator import MAX_SEED, Generator, Request
from medgen.image import ImageSet
from medgen.provenance import read_manifest, requests_of, runtime_of, versions

MAX_IMAGES = 1_000_000
Progress = Callable[[float], None]
"""Called with the number of images made so far; a diffusion step counts as a fraction of its images."""
ASKED = ("severity", "age", "sex", "view", "cohort", "quantity", "steps", "guidance")
"""Flags that go into every `Request` as they are."""


def main(argv: list[str] | None = None) -> int:
    """Exit status: 0 done, 1 other pixels or weights than the manifest says, 2 bad input, 130 interrupted."""

    def work() -> int:
        args = _parser().parse_args(argv)
        return remake(args) if args.manifest else make(args)

    return exit_code(work, "Stopped; nothing was written.")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m medgen.sample", description=__doc__.splitlines()[0])
    parser.add_argument("name", nargs="?", metavar="NAME", help="a model: the name of a folder of checkpoints/")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="a new folder; no file is ever replaced")
    parser.add_argument("--n", type=int, help="images of each label (default 1)")
    parser.add_argument("--seed", type=int, help="seed of the first image (default 0); the next have seed + 1, ...")
    parser.add_argument("--label", action="append", help='what to show, "A|B" for both; may be given several times')
    parser.add_argument("--severity", type=float, help="from 0, healthy, to 1, the label (default)")
    parser.add_argument("--age", type=float, help="of the patient in years")
    parser.add_argument("--sex", help=" or ".join(CHOICES["sex"]))
    parser.add_argument("--view", help=" or ".join(CHOICES["view"]))
    parser.add_argument("--cohort", help="the data set whose pictures to make, for a model of several")
    parser.add_argument("--quantity", type=float, help="how much of what the model's card names, in the unit it names")
    parser.add_argument("--steps", type=int, help="network evaluations of a diffusion model")
    parser.add_argument("--guidance", type=float, help="strength of classifier-free guidance; 1 = none")
    parser.add_argument(
        "--format", choices=FORMATS + VOLUME_FORMATS, help="png (default) or dcm; volumes nii, slices any"
    )
    parser.add_argument(
        "--batch", type=int, help="images at a time (default 16, volumes 1); changes memory and speed, not pixels"
    )
    parser.add_argument("--manifest", type=Path, metavar="FILE", help="remake the images of this manifest.json")
    return parser


def make(args: argparse.Namespace) -> int:
    """`NAME --n ... --out DIR`: new images."""
    if not args.name:
        raise MedgenError(f"Name a model: {', '.join(medgen.cards()) or 'there is none in checkpoints/ yet'}.")
    n, seed = 1 if args.n is None else args.n, args.seed or 0
    labels = list(dict.fromkeys(args.label or [None]))
    if not 1 <= n * len(labels) <= MAX_IMAGES:
        raise MedgenError(f"--n must be at least 1, and one run makes at most {MAX_IMAGES:,} images; it is {n}.")
    if not 0 <= seed <= MAX_SEED + 1 - n:
        raise MedgenError(f"--seed must be a whole number from 0 to 2**63 - {n}; it is {seed}.")
    seeds = tuple(range(seed, seed + n))
    asked = {name: getattr(args, name) for name in ASKED}
    requests = [Request(seeds=seeds, label=label, **asked) for label in labels]
    made = _run(args.name, requests, args.out, args.format, args.batch)
    print(f"{len(made['files'])} {_kind(made)} in {args.out} after {made['seconds']:.1f} s")
    return 0


def remake(args: argparse.Namespace) -> int:
    """`--manifest FILE --out DIR`: the same images again; 1 where the weights or a pixel differ."""
    fixed = ("name", "n", "seed", "label", *ASKED)
    if given := [name for name in fixed if getattr(args, name) is not None]:
        raise MedgenError(f"--manifest fixes model and request; leave out {', '.join(given)}.")
    old = read_manifest(args.manifest)
    asked = old["request"] if isinstance(old["request"], list) else [old["request"]]
    if sources := sorted({one["source_sha256"] for one in asked if one.get("source_sha256")}):
        raise MedgenError(
            f"{args.manifest.name} was made from a picture that it does not hold, sha256 {sources[0]}; "
            "remake it in Python with that picture as the source of each request."
        )
    suffix = Path(str(old["files"][0].get("file")).removesuffix(".gz")).suffix.lstrip(".")
    format = args.format or (suffix if suffix in FORMATS + VOLUME_FORMATS else None)
    card = medgen.cards().get(old["model"])
    if card is not None and card.weights != old["weights"]:
        print(
            f"{card.name} has other weights now than when {args.manifest.name} was written, so its pixels cannot be "
            "remade; restore the weights whose sha256 the manifest names.",
            file=sys.stderr,
        )
        return 1
    with using(runtime_of(old)):  # another one rounds differently
        new = _run(old["model"], requests_of(old), args.out, format, args.batch)
    pairs = zip(old["files"], new["files"], strict=True)
    differing = [made["file"] for kept, made in pairs if kept["pixels_sha256"] != made["pixels_sha256"]]
    if differing:
        print(
            f"{len(differing)} of {len(new['files'])} {_kind(new)} differ from {args.manifest.name}, "
            f"first {differing[0]}{_changes(old)}. The new ones are in {args.out}, with a manifest of their own.",
            file=sys.stderr,
        )
        return 1
    print(f"{len(new['files'])} {_kind(new)} in {args.out}: the same pixels as {args.manifest.name}")
    return 0


def _changes(old: dict[str, Any]) -> str:
    """Which versions changed since: the likely reason of other pixels."""
    before, now = old.get("versions"), versions()
    if not isinstance(before, dict):
        return ""
    changed = [f"{key} {before[key]} -> {now[key]}" for key in before if key in now and before[key] != now[key]]
    return (
        f" (since then: {', '.join(changed)})" if changed else " (the same versions: another device or thread setup?)"
    )


def _kind(manifest: dict[str, Any]) -> str:
    return "volumes" if "volume" in manifest else "images"


def _run(name: str, requests: list[Request], out: Path, format: str | None, batch: int | None) -> dict[str, Any]:
    """Samples and writes batch by batch; returns the manifest."""
    if batch is not None and batch < 1:
        raise MedgenError(f"--batch must be at least 1; it is {batch}.")
    generator = medgen.load(name)
    for request in requests:
        request.checked(generator.card)  # the last label is checked before the first is drawn
    size = batch or (16 if len(generator.card.shape) == 3 else 1)
    total = sum(len(request.seeds) for request in requests)
    layout = "{percentage:3.0f}%|{bar}| {n:.1f}/{total} images [{elapsed}<{remaining}]"
    with (
        folder_writer(generator.card, out, format) as writer,
        tqdm(total=total, bar_format=layout, file=sys.stderr) as bar,
    ):
        start = time.perf_counter()
        _fill(writer, parts(generator, requests, size, lambda done: bar.update(done - bar.n)))
        return writer.finish(seconds=time.perf_counter() - start, peak_mb=peak_memory_mb())


def _fill(writer: SetWriter, made: Iterator[tuple[ImageSet, Request]]) -> None:
    for images, request in made:
        writer.add(images, request)


def parts(
    generator: Generator, requests: list[Request], batch: int, progress: Progress
) -> Iterator[tuple[ImageSet, Request]]:
    """The images of `requests`, at most `batch` at a time: a seed's pixels do not depend on its neighbours."""
    before = 0
    for request in requests:
        for first in range(0, len(request.seeds), batch):
            part = replace(request, seeds=request.seeds[first : first + batch])

            def on_step(
                done: int,
                total: int,
                preview: Callable[[], ImageSet],
                before: int = before,
                size: int = len(part.seeds),
            ) -> None:
                progress(before + size * done / total)

            images = generator.sample(part, on_step)
            before += len(part.seeds)
            progress(before)
            yield images, part


def peak_memory_mb() -> float | None:
    """Peak resident memory of this process in MiB so far; None on Windows, which has no getrusage."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10  # bytes on macOS, KiB on Linux


if __name__ == "__main__":
    raise SystemExit(main())
