"""Real images of the data sets in the catalogue, and the command line that lists, checks and fetches them.

    >>> from medgen.data import real
    >>> images = real("kermany_cxr_128", "test", n=8)

    python -m medgen.data list | check NAME | fetch NAME [--out DIR] [--url URL] | manifest NAME [--out FILE]
    python -m medgen.data pairs --bids DIR | --ixi DIR --out DIR          # see medgen.pairs
    python -m medgen.data openneuro ds000001 --out DIR                    # see medgen.openneuro

Images are looked for in the folder `$MEDGEN_DATA`: a compact archive first, then the folders people download.
"""

from __future__ import annotations

import argparse
import csv
import io
import os
import sys
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np
from tqdm import tqdm

from medgen import data_check, layouts
from medgen.atomic import write_bytes
from medgen.catalogue import DATASETS, Dataset, dataset
from medgen.errors import MedgenError, exit_code
from medgen.image import ImageSet
from medgen.record import SPLITS, Record, on_two_sides, read_manifest
from medgen.volume_catalogue import VOLUMES

__all__ = ["DATASETS", "Dataset", "available", "data_dir", "real"]


def data_dir() -> Path | None:
    """The folder `$MEDGEN_DATA`, or None where the variable is not set."""
    folder = os.environ.get("MEDGEN_DATA")
    return Path(folder).expanduser() if folder else None


def locate(entry: Dataset) -> Path | None:
    """The archive or the folder of a data set on this disk; None where there is neither."""
    root = data_dir()
    if root is None:
        return None
    if entry.archive and (root / entry.archive).is_file():
        return root / entry.archive
    marks = {"kermany": ("train/NORMAL", "train/PNEUMONIA"), "chestxray14": ("Data_Entry_2017*.csv",)}
    for folder in (root / name for name in entry.folders):
        # a folder that bears the name is ours even if broken: its fault is worth a message
        if folder.is_dir() and (folder != root or any(any(folder.glob(mark)) for mark in marks.get(entry.layout, ()))):
            return folder
    return None


def available(name: str) -> bool:
    """Whether `real(name, ...)` has something to read; looks only at names, never raises."""
    try:
        return name in DATASETS and locate(DATASETS[name]) is not None
    except OSError:
        return False


@lru_cache(maxsize=4)
def published_splits(manifest: str) -> dict[str, str]:
    """Patient -> split as published in `medgen/manifests`, in a table of images or of subjects."""
    path = Path(__file__).parent / "manifests" / manifest
    with path.open(encoding="utf-8", newline="") as lines:
        rows = csv.DictReader(lines)
        if "subject" in (rows.fieldnames or ()):
            return {row["subject"]: row["split"] for row in rows}
    return {row.patient: row.split for row in read_manifest(path)}


def records(entry: Dataset, source: Path) -> list[Record]:
    """Every image of `source`, an archive or a folder, sorted by published file name.

    Raises:
        MedgenError: the archive or the folder is broken.
    """
    if source.is_file():
        return layouts.archive_records(source)
    splits = published_splits(entry.manifest)
    try:
        if entry.spacing_mm is not None:
            from medgen.brain_slices import brain_records  # nibabel and SciPy take a second to import

            return brain_records(entry, source, splits)
        if entry.layout == "kermany":
            return layouts.kermany_records(source, splits, entry.min_side)
        return layouts.chestxray14_records(source, splits)
    except OSError as error:
        raise MedgenError(f"The folder {source} cannot be read: {error.strerror}.") from error


def reader(entry: Dataset, source: Path) -> Callable[[Record], np.ndarray]:
    """What turns one of `records` into `(H, W)` uint8; it raises a MedgenError where the file is damaged."""
    if entry.spacing_mm is not None:
        from medgen.brain_slices import brain_reader

        return brain_reader(entry, source)
    return lambda record: layouts.pixels(source, record, entry.shape[1])


def present(entry: Dataset) -> Path:
    """Like `locate`, but says what to do where there is nothing.

    Raises:
        MedgenError: `$MEDGEN_DATA` is not set, or holds nothing of this data set.
    """
    root = data_dir()
    if root is None:
        what = entry.archive or entry.folders[0]
        raise MedgenError(f"{entry.name} is not here: set MEDGEN_DATA to the folder that holds {what}.")
    try:
        source = locate(entry)
    except OSError as error:
        raise MedgenError(f"The folder MEDGEN_DATA={root} cannot be read: {error.strerror}.") from error
    if source is None:
        raise MedgenError(
            f"MEDGEN_DATA={root} holds neither {entry.archive or entry.folders[-1]} nor a folder {entry.folders[0]}; "
            f"run: python -m medgen.data fetch {entry.name}"
        )
    return source


def real(name: str, split: str, n: int | None = None, seed: int = 0) -> ImageSet:
    """Real images of one split, with their labels, patients, attributes and the number of each, where they have one.

    Args:
        name: a key of `DATASETS`.
        split: "train", "val" or "test"; by patient.
        n: how many, drawn without replacement; None = all, sorted by file name. Fewer are the first of more.
        seed: of the draw; the same seed draws the same images from archive and folder.

    Returns:
        Pixels `(N, 1, H, W)` float32 in 0..255, unit "au", window (0, 255).

    Raises:
        MedgenError: unknown name or split, nothing on this disk, something broken, or fewer than `n` images.
    """
    entry = dataset(name)
    if split not in SPLITS:
        raise MedgenError(f"There is no split {split!r}; choose from {', '.join(SPLITS)}.")
    if (n is not None and n < 1) or seed < 0:
        raise MedgenError(f"Ask for at least one image and a seed of at least 0, not n={n}, seed={seed}.")
    source = present(entry)
    everything = records(entry, source)
    if leaked := on_two_sides(everything):
        raise MedgenError(f"Patient {leaked[0]} is in two splits of {source.name}; do not use this copy.")
    chosen = [record for record in everything if record.split == split]
    if not chosen or (n is not None and n > len(chosen)):
        raise MedgenError(f"{name} has {len(chosen)} {split} images on this disk, not {n or 'any'}; ask for fewer.")
    if n is not None:
        chosen = [chosen[i] for i in np.random.default_rng(seed).permutation(len(chosen))[:n]]
    # N x (H, W) uint8 -> (N, 1, H, W) float32 in 0..255
    stack = np.stack(list(map(reader(entry, source), chosen)))[:, None].astype(np.float32)
    return ImageSet(
        stack,
        entry.modality,
        "au",
        (0.0, 255.0),
        labels=tuple(record.label for record in chosen) if entry.labels else None,
        subjects=tuple(record.patient for record in chosen),
        attributes=tuple({**record.attributes, "cohort": name} for record in chosen),
        quantities=tuple(float(record.quantity or 0) for record in chosen) if entry.quantity else None,
    )


def manifest_text(entry: Dataset, source: Path) -> str:
    """The manifest as CSV: file, patient, label(s) and split, no pixels."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("file", "patient", "labels" if entry.layout == "chestxray14" else "label", "split"))
    writer.writerows((row.file, row.patient, row.label, row.split) for row in records(entry, source))
    return text.getvalue()


def _list() -> int:
    """Prints the catalogue, and what of it is on this disk."""
    print(f"{'name':16} {'images':>7} {'patients':>8}  {'train/val/test':15} {'here':8} licence")
    for entry in DATASETS.values():
        source = locate(entry) if available(entry.name) else None
        here = "no" if source is None else "archive" if source.is_file() else "folder"
        sides = "/".join(str(entry.splits[split]) for split in SPLITS)
        print(f"{entry.name:16} {entry.n_images:7} {entry.n_subjects:8}  {sides:15} {here:8} {entry.licence}")
    for entry in DATASETS.values():
        print(f"\n{entry.name}: {entry.title}\n  cite: {entry.citation}\n  from: {entry.url}")
        print("".join(f"  note: {note}\n" for note in entry.notes), end="")
    from medgen import volume_check  # which imports this module

    print("\nVolumes, read by medgen.volume_sets:", *volume_check.listed(), sep="\n")
    print(f"\nMEDGEN_DATA is {data_dir() or 'not set'}.")
    return 0


def _check(entry: Dataset) -> int:
    """Prints what is here and what is wrong with it; 1 if anything is. Changes nothing."""
    source = present(entry)
    print(f"{entry.name}: reading {source}")
    problems = []
    try:
        if source.is_file():
            problems += data_check.checksum_problems(source, entry.sha256)
        found = records(entry, source)
    except MedgenError as error:
        problems.append(str(error))
    else:
        print("\n".join(data_check.counts_table(found)))
        problems += data_check.record_problems(found, entry.labels)
        with tqdm(total=len(found), unit="image", disable=not sys.stderr.isatty()) as bar:
            problems += data_check.image_problems(found, reader(entry, source), bar.update)
    for problem in problems:
        print(f"WRONG: {problem}")
    print(f"{len(problems)} problems." if problems else "Nothing wrong: every image was read.")
    return 1 if problems else 0


def _manifest(entry: Dataset, out: Path | None) -> int:
    """Prints the manifest or writes it to `out`."""
    text = manifest_text(entry, present(entry))
    if out is None:
        sys.stdout.write(text)
    else:
        write_bytes(out, text.encode())
    return 0


def _fetch(entry: Dataset, out: Path | None, url: str | None) -> int:
    """Downloads into `out` or `$MEDGEN_DATA`."""
    from medgen.fetch import fetch

    folder = out or data_dir()
    if not entry.archive:
        steps = "\n".join(f"  {i}. {step.format(url=entry.url)}" for i, step in enumerate(entry.steps, 1))
        raise MedgenError(f"{entry.name} is fetched by hand ({entry.licence}):\n{steps}")
    if folder is None:
        raise MedgenError("Say where the download should go: --out DIR, or set MEDGEN_DATA.")
    print(f"{entry.name}: licence {entry.licence}. Cite: {entry.citation}")
    print(f"{fetch(entry, folder, url)} is complete.")
    current = data_dir()
    if current is None or folder.resolve() != current.resolve():
        print(f"Set MEDGEN_DATA={folder} to use it.")
    return 0


def _volumes(command: str, name: str) -> int:
    """`check NAME` of a set of volumes; nothing else can be done with one."""
    from medgen import volume_check

    if command != "check":
        raise volume_check.by_hand(name)
    return volume_check.check(name)


def main(argv: list[str] | None = None) -> int:
    """The command line; 0 = done, 1 = `check` found something, 2 = the user has to do something first."""
    parser = argparse.ArgumentParser(prog="python -m medgen.data", description="Real images: list, check, fetch.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="the catalogue, and what of it is here")
    check, fetch, manifest = (
        commands.add_parser(word, help=text)
        for word, text in (
            ("check", "checksum, counts, patients on two sides, broken images; reads only"),
            ("fetch", "download, with resume"),
            ("manifest", "file, patient, label and split of every image as CSV"),
        )
    )
    for command in (check, fetch, manifest):
        command.add_argument("name", metavar="NAME", help=" | ".join([*DATASETS, *VOLUMES]))
    fetch.add_argument("--out", type=Path, help="folder to download to (default: $MEDGEN_DATA)")
    fetch.add_argument("--url", help="another address of the compact archive or of the upstream file")
    manifest.add_argument("--out", type=Path, help="file to write (default: print)")
    commands.add_parser("pairs", add_help=False, help="pairs of slices from BIDS or IXI folders of NIfTI files")
    commands.add_parser("openneuro", add_help=False, help="heads of a data set of OpenNeuro, with resume")
    asked, rest = parser.parse_known_args(argv)
    if asked.command == "pairs":
        from medgen.pair_command import main as pairs

        return pairs(rest)
    if asked.command == "openneuro":
        from medgen.openneuro_command import main as openneuro

        return openneuro(rest)
    if rest:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")

    def work() -> int:
        if asked.command == "list":
            return _list()
        if asked.name in VOLUMES:
            return _volumes(asked.command, asked.name)
        entry = dataset(asked.name)
        if asked.command == "check":
            return _check(entry)
        return _manifest(entry, asked.out) if asked.command == "manifest" else _fetch(entry, asked.out, asked.url)

    return exit_code(work, "Interrupted; the same command again goes on where it can.")


if __name__ == "__main__":
    raise SystemExit(main())
