"""What of the sets of volumes is on this disk, and what is wrong with it. It only reads."""

from __future__ import annotations

import hashlib
from collections import Counter

import numpy as np

from medgen.data_check import NEAR_CONSTANT
from medgen.errors import MedgenError
from medgen.record import SPLITS
from medgen.volume_catalogue import VOLUMES, entry
from medgen.volume_sets import available, quantities, splits, structures, volumes


def listed() -> list[str]:
    """Lines of the catalogue: a table, then where each set is from and what is known to be wrong with it."""
    lines = [f"{'name':16} {'subjects':>8}  {'train/val/test':15} {'grid':20} {'here':8} licence"]
    for known in VOLUMES.values():
        counts = Counter(splits(known.name).values())
        sides = "/".join(str(counts[split]) for split in SPLITS)
        grid = f"{'x'.join(map(str, known.shape[1:]))} of {known.spacing_mm[0]:g} mm"
        here = "folder" if available(known.name) else "no"
        lines.append(f"{known.name:16} {counts.total():8}  {sides:15} {grid:20} {here:8} {known.licence}")
    for known in VOLUMES.values():
        lines += ["", f"{known.name}: {known.title}", f"  cite: {known.citation}", f"  from: {known.url}"]
        lines += [f"  note: {note}" for note in known.notes]
    return lines


def by_hand(name: str) -> MedgenError:
    """What to say where somebody wants a set of volumes fetched."""
    known = entry(name)
    where = f"$MEDGEN_DATA/{known.folder}"
    return MedgenError(f"{name} is fetched by hand: {known.steps}; it is read from {where}. See {known.url}")


def check(name: str) -> int:
    """Prints what is here of a set and what is wrong with it; 1 if anything is. Changes nothing.

    Raises:
        MedgenError: the set is not here, or a file of it is damaged.
    """
    known = entry(name)
    problems: list[str] = []
    first_with: dict[bytes, tuple[str, str]] = {}
    for split in SPLITS:
        images, classes = volumes(name, split), structures(name, split)
        ml = np.bincount(classes.ravel(), minlength=len(known.classes)) * np.prod(known.spacing_mm) / len(images) / 1000
        means = ", ".join(f"{word} {size:.3g} ml" for word, size in list(zip(known.classes, ml, strict=True))[1:])
        print(f"{split:6} {len(images):4} volumes; mean {means}")
        if known.quantity is not None:
            sizes = quantities(name, split)
            print(f"{'':6} {known.quantity[0]} {sizes.min():.0f} to {sizes.max():.0f} {known.quantity[1]}")
        for subject, volume, regions in zip(images.subjects or (), images.pixels, classes, strict=True):
            if float(np.std(volume)) < NEAR_CONSTANT:
                problems.append(f"{subject} shows next to nothing.")
            if missing := set(range(len(known.classes))) - set(np.unique(regions).tolist()):
                problems.append(f"{subject} has no {known.classes[min(missing)]}.")
            twin = first_with.setdefault(hashlib.sha256(volume.tobytes()).digest(), (subject, split))
            if twin[0] != subject:
                problems.append(f"{subject} ({split}) is the same volume as {twin[0]} ({twin[1]}).")
    print("\n".join(f"WRONG: {problem}" for problem in problems) or "Nothing wrong: every volume was read.")
    return 1 if problems else 0
