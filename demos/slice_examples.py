"""Heads to try the Translate tab with: drawn, shipped with a library, or of the test patients on this disk."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from medgen import ImageSet, MedgenError
from medgen.paired import CONTRASTS, PAIRED, available, paired, splits
from medgen.png import percentile_window
from medgen.volume import Volume

DRAWN, TEMPLATE, TEST = "drawn", "icbm152", "test"
PATIENTS = 4
"""Test patients offered of one data set."""
RENDERED = "head_mr_ct_256"
_SHIPPED = "datasets/data/mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz"


@dataclass(frozen=True, eq=False)
class Example:
    """A head that is already here.

    Args:
        volume: the head.
        window: what of its values is black and white for a model of MR.
        said: what it is, in a sentence.
        mark: the word burned into its pictures.
        stacked: whether nobody knows how far its slices lie apart.
    """

    volume: Volume
    window: tuple[float, float]
    said: str
    mark: str
    stacked: bool = False


def offered(direction: str) -> list[tuple[str, str, str | None]]:
    """What can be translated in `direction`, such as "t1-t2": (shown, key, key of the truth or None)."""
    source, target = direction.split("-")
    found: list[tuple[str, str, str | None]] = []
    if source == "t1" and _template() is not None:  # without a skull there is no CT to make of it
        shown = "ICBM152 template: average T1 of 152 adults without skull, from nilearn"
        found.append((shown, f"{TEMPLATE}:{source}", None))
    if {source, target} <= set(CONTRASTS):
        shown = f"Drawn head: ellipsoids, {CONTRASTS[source]} with its {CONTRASTS[target]} as the truth"
        found.append((shown, f"{DRAWN}:{source}", f"{DRAWN}:{target}"))
    for name, known in PAIRED.items():
        if direction in known.directions and available(name):
            for patient in _patients(name):
                kind = "Rendered test head" if name == RENDERED else "Real test patient"
                key = f"{TEST}:{name}:{patient}"
                found.append((f"{kind} {patient or 'of the test split'}", f"{key}:{source}", f"{key}:{target}"))
    return found


def opened(key: str) -> Example:
    """The example called `key`, as `offered` names it.

    Raises:
        MedgenError: it is no longer there.
    """
    kind, *rest = key.split(":")
    contrast = rest[-1] if rest else ""
    if kind == DRAWN and contrast in CONTRASTS:
        from demos.slice_phantom import phantom  # needs SciPy's image functions, which the page does not

        said = "A head drawn from ellipsoids, which no scanner saw; its lesion lies on the left."
        return Example(phantom(contrast), (0.0, 255.0), said, "DRAWN")
    if kind == TEMPLATE and (path := _template()) is not None:
        from medgen.read_volume import read_volume

        volume = read_volume(path)
        said = "ICBM152 2009a, the average T1 of 152 adults without skull (Fonov 2009), as it comes with nilearn."
        return Example(volume, percentile_window(volume.array), said, "TEMPLATE")
    if kind == TEST and len(rest) == 3 and rest[0] in PAIRED:
        return _test_patient(rest[0], rest[1], contrast)
    raise MedgenError("This example is no longer here: reload the page and choose another one.")


def _template() -> Path | None:
    """The T1 template that nilearn ships, found without importing nilearn."""
    spec = find_spec("nilearn")
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).parent / _SHIPPED
    return path if path.is_file() else None


def _patients(name: str) -> list[str]:
    """The first test patients of a data set, as published; "" where it publishes no list, for the first one."""
    try:
        sides = splits(name)
    except (OSError, MedgenError):
        return [""]
    return sorted(patient for patient, side in sides.items() if side == "test")[:PATIENTS]


def _test_patient(name: str, patient: str, contrast: str) -> Example:
    """The slices of one session of a test patient on top of each other; how far apart they lie nobody says."""
    known, pairs = PAIRED[name], paired(name, "test")
    images: ImageSet = pairs.source if contrast == known.source else pairs.target
    patient = patient or pairs.subjects[0]
    sessions = {facts.get("session", "") for facts, whose in zip(pairs.facts, pairs.subjects, strict=True)
                if whose == patient}  # fmt: skip
    if not sessions:
        raise MedgenError(f"{name} holds no test patient {patient}; reload the page and choose another example.")

    def rows() -> Iterator[tuple[float, int]]:
        for row, (facts, whose) in enumerate(zip(pairs.facts, pairs.subjects, strict=True)):
            if whose == patient and facts.get("session", "") == min(sessions):
                yield float(facts["slice"]), row

    stack = images.pixels[[row for _, row in sorted(rows())], 0]  # (N, H, W)
    pixel_mm = 256.0 / known.size
    affine = np.diag([-pixel_mm, -pixel_mm, 1.0, 1.0])
    volume = Volume(stack.transpose(2, 1, 0), affine, images.modality, images.unit, images.window, oriented=False)
    rendered = name == RENDERED
    kind = "rendered from label maps, test head" if rendered else "real, test patient"
    said = f"{known.title}: {kind} {patient}, {len(stack)} slices. {known.licence}. {known.citation}."
    return Example(volume, images.window, said, "RENDERED" if rendered else "REAL", stacked=True)
