"""Volumes from files, and examples that are already here, made ready for the viewer; their voxels are not kept."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from nibabel.affines import obliquity

from demos import slice_examples
from demos.slice_examples import DRAWN, TEMPLATE
from medgen import MedgenError
from medgen.read_volume import read_volume
from medgen.view_volume import view
from medgen.volume import PLANES, Volume
from medgen.volume_sets import VOLUMES, available, volumes

MIN_SLICES = 4
"""Of every plane: fewer are no volume to look through."""
REAL_EACH = 3
"""Real test volumes offered of one data set."""
_COARSE = 2.5
_TURNED_DEGREES = 3.0
_reading = threading.Lock()


@dataclass(frozen=True, eq=False)
class Opened:
    """What a page keeps of a volume that was opened.

    Args:
        name: what the page calls it.
        said: what it is, and what to be careful about, one sentence each.
        view: what the viewer is sent.
    """

    name: str
    said: tuple[str, ...]
    view: dict[str, Any]


def open_file(path: str, says: str, series: str | None = None) -> Opened:
    """A file that somebody gave.

    Args:
        path: NIfTI, DICOM, or a ZIP of a DICOM series.
        says: the modality of a file that does not say it.
        series: of several DICOM series the one to read.

    Raises:
        MedgenError: it cannot be read, or is no volume; says what to do.
    """
    name = Path(path).name
    with _reading:  # one at a time: a large one takes a GiB
        try:
            volume = read_volume(path, says, series=series)
            refuse_flat(volume, name)
            return Opened(name, (about(volume, name), *warnings(volume)), view(volume, title=name))
        except MemoryError as error:
            raise MedgenError(f"{name} does not fit into the memory: crop it, or save it coarser.") from error


def examples(found: list[str]) -> list[tuple[str, str]]:
    """(shown, key) of what can be opened without a file.

    Args:
        found: the data sets that models here learned from: their real test volumes come first.
    """
    made = []
    for name in found:
        if available(name):
            made += [(f"Real test volume {i + 1}: {VOLUMES[name].title}", f"real:{name}:{i}") for i in range(REAL_EACH)]
    translations = {key: shown for shown, key, _ in slice_examples.offered("t1-t2")}
    for key in (f"{TEMPLATE}:t1", f"{DRAWN}:t1"):
        if key in translations:
            made.append((translations[key].split(", T1 with")[0], key))
    return made


def open_example(key: str) -> Opened:
    """The example called `key`, as `examples` names it.

    Raises:
        MedgenError: it is no longer there.
    """
    if key.startswith("real:"):
        _, name, index = key.split(":")
        return _real(name, int(index))
    example = slice_examples.opened(key)
    name = "ICBM152 template" if key.startswith(TEMPLATE) else "Drawn head"
    shown = view(example.volume, title=name, mark=example.mark)
    return Opened(name, (example.said, *warnings(example.volume)), shown)


def _real(name: str, index: int) -> Opened:
    if name not in VOLUMES or not available(name):
        raise MedgenError("This example is no longer here: reload the page and choose another one.")
    known, images = VOLUMES[name], volumes(name, "test")
    if not 0 <= index < len(images):
        raise MedgenError(f"{name} has only {len(images)} test volumes: choose another example.")
    title = f"Real, test volume {index + 1}"
    said = f"{title} of {known.title}: no model has seen it. {known.licence}. {known.citation}."
    return Opened(title, (said,), view(Volume.of(images, index, synthetic=False), title=title, mark="REAL"))


def refuse_flat(volume: Volume, name: str) -> None:
    """Raises:
    MedgenError: a plane has hardly any slices.
    """
    counts = {plane: volume.count(plane) for plane in PLANES}
    plane = min(counts, key=lambda one: counts[one])
    if counts[plane] < MIN_SLICES:
        shape = " x ".join(map(str, volume.array.shape))
        what = "a single slice" if counts[plane] == 1 else f"only {counts[plane]} {plane} slices"
        raise MedgenError(
            f"{name} is {what} ({shape} voxels), no volume: give one of at least {MIN_SLICES} slices, or open it in "
            "the Translate tab."
        )


def about(volume: Volume, name: str) -> str:
    """What was read, in a sentence."""
    shape = " x ".join(map(str, volume.array.shape))
    spacing = " x ".join(f"{length:.3g}" for length in volume.spacing_mm)
    place = f"axes {volume.axes}" if volume.oriented else "left and right unknown"
    low, high = float(volume.array.min()), float(volume.array.max())
    said = f"{name}: {volume.modality}, {shape} voxels of {spacing} mm, {place}, values {low:g} to {high:g}"
    return f"{said}{' HU' if volume.unit == 'HU' else ''}."


def warnings(volume: Volume) -> list[str]:
    """What makes the planes less sure than they look, one sentence each."""
    said, spacing = [], volume.spacing_mm
    if max(spacing) > _COARSE * min(spacing):
        said.append(
            f"Voxels are {max(spacing):.3g} mm long and {min(spacing):.3g} mm wide: two of the planes are coarse."
        )
    turned = float(np.degrees(obliquity(volume.affine)).max())
    if volume.oriented and turned > _TURNED_DEGREES:
        said.append(f"Its axes are turned by {turned:.0f} degrees: the planes follow the file, not the patient.")
    if volume.shear_degrees > 1.0:
        said.append(f"Its axes are {volume.shear_degrees:.0f} degrees from right angles (tilted gantry).")
    if not volume.oriented:
        said.append("The file does not say where left is, nor where the voxels lie.")
    return said
