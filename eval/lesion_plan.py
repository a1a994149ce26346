"""Which lesions are inserted, and where: the pairs and a fixed seed decide it, so that all models get the same ones.

Written down before any number:

- Sizes `RADII_MM`, contrasts `CONTRASTS` (of the brightness of the tissue they lie in) and both signs come in equal
  shares, drawn uniformly within each; ellipses have an axis ratio of 0.6 to 1 and any angle.
- Patients come in turn, and of each patient the slices in random order, one lesion a slice.
- A lesion lies wholly inside the brain, at least `SCALP_MM` from the outside of a whole head or `MARGIN_MM` from the
  edge of an extracted brain, where nine tenths of what it covers is ordinary tissue in both contrasts: neither fluid
  nor fat, nor a tumour that one of the two shows. The lowest `BELOW_BRAIN` of the slices of a whole head show face
  and neck and get none.
- Where there is no room for a brighter lesion under the white of the window, it is a darker one.
- Up to `ELSEWHERE` places in the same slice where the same lesion could be, but none is near, tell how often mere
  chance looks like a response.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from scipy import ndimage, signal

from eval.translation_masks import heads
from eval.translation_slices import levels
from medgen.errors import MedgenError
from medgen.image import ImageSet
from medgen.lesion import Lesion
from medgen.paired import FIELD_OF_VIEW_MM, PairedSet

RADII_MM = ((3.0, 6.0), (6.0, 9.0), (9.0, 12.0))
CONTRASTS = ((0.15, 0.30), (0.30, 0.45), (0.45, 0.60))
SCALP_MM, MARGIN_MM = 16.0, 4.0
BELOW_BRAIN = 0.45
ELSEWHERE = 4
FAR_MM = 45.0
"""From a lesion to a place without one: beyond twice the reach of `lesion_response` and both radii."""
_ORDINARY = (0.6, 1.5)
_TISSUE_SHARE = 0.9
_SMOOTH_MM = 2.0
_WHITE = 0.97
_BRAIN = (
    *("grey matter", "white matter", "cerebellar cortex", "deep grey matter"),
    *("pallidum", "brain stem", "white matter lesion"),
)


@dataclass(frozen=True)
class Planned:
    """One lesion of the experiment.

    Args:
        index: of its slice among the pairs.
        lesion: in that slice.
        elsewhere: places without a lesion in the same slice, as `Lesion.centre_mm`.
    """

    index: int
    lesion: Lesion
    elsewhere: tuple[tuple[float, float], ...]


def plan(pairs: PairedSet, n: int, seed: int = 0) -> list[Planned]:
    """`n` lesions.

    Raises:
        MedgenError: no slice has room for one.
    """
    rng = np.random.default_rng(seed)
    cells = list(product(RADII_MM, CONTRASTS, (-1.0, 1.0)))
    # whole rounds of all cells, each in its own order: neither patients nor slices go with a size or a contrast
    drawn = [cells[i] for _ in range(-(-n // len(cells))) for i in rng.permutation(len(cells))][:n]
    rows = _slices(pairs)
    people = [one for one in dict.fromkeys(pairs.subjects) if rows.get(one)]
    waiting = {one: deque(rng.permutation(rows[one])) for one in people}
    order = deque(people[i] for i in rng.permutation(len(people)))
    grounds: dict[int, _Ground] = {}
    found = []
    for radii, contrasts, sign in drawn:
        shape = Lesion(
            (0.0, 0.0),
            rng.uniform(*radii),
            sign * rng.uniform(*contrasts),
            rng.uniform(0.6, 1.0),
            rng.uniform(0, np.pi),
        )
        found.append(_first(_tries(order, waiting), pairs, shape, grounds, rng))
    return found


def kernel_of(lesion: Lesion, spacing_mm: tuple[float, float]) -> np.ndarray:
    """The mask of a lesion around the middle of the middle pixel, sides odd."""
    reach = lesion.radius_mm / np.sqrt(lesion.ratio) + 2.0
    sides = tuple(2 * int(np.ceil(reach / mm)) + 1 for mm in spacing_mm)
    middle = (sides[0] / 2 * spacing_mm[0], sides[1] / 2 * spacing_mm[1])
    return replace(lesion, centre_mm=middle).mask((sides[0], sides[1]), spacing_mm)


def mean_under(picture: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """`(H, W)`: the mean of `picture` under `kernel` laid on each pixel; what lies outside the picture counts as 0."""
    under = signal.fftconvolve(picture.astype(np.float64), kernel[::-1, ::-1].astype(np.float64), mode="same")
    # the Fourier transform leaves 1e-13 of the largest value where there is nothing
    under[np.abs(under) < 1e-9 * max(1.0, float(np.abs(picture).max()))] = 0.0
    return under / kernel.sum()


@dataclass(frozen=True)
class _Ground:
    """Of one slice: `deep`, where lesions may lie, and `tissue`, what is ordinary there; `(H, W)` bool."""

    deep: np.ndarray
    tissue: np.ndarray


def _tries(order: deque[str], waiting: dict[str, deque[int]]) -> Iterator[int]:
    """Slices to try for the next lesion: all of the patient whose turn it is, then of the others."""
    for _ in range(len(order)):
        person = order[0]
        order.rotate(-1)
        for _ in range(len(waiting[person])):
            index = waiting[person][0]
            waiting[person].rotate(-1)
            yield int(index)


def _first(
    tries: Iterator[int], pairs: PairedSet, shape: Lesion, grounds: dict[int, _Ground], rng: np.random.Generator
) -> Planned:
    for index in tries:
        if index not in grounds:
            grounds[index] = _ground(pairs, index)
        if (planned := _placed(pairs, index, shape, grounds[index], rng)) is not None:
            return planned
    raise MedgenError(
        f"No slice has room for a lesion of {shape.radius_mm:.1f} mm; these pairs show no brain, or another --split is "
        "needed."
    )


def _placed(pairs: PairedSet, index: int, shape: Lesion, ground: _Ground, rng: np.random.Generator) -> Planned | None:
    spacing = spacing_of(pairs)
    kernel = kernel_of(shape, spacing)
    allowed = mean_under(ground.deep, kernel) > 1 - 0.5 / kernel.sum()
    places = np.argwhere(allowed & (mean_under(ground.tissue, kernel) >= _TISSUE_SHARE))
    if not len(places):
        return None
    centres = (places + 0.5) * spacing
    own = centres[rng.integers(len(centres))]
    far = centres[np.hypot(*(centres - own).T) > FAR_MM]
    picked = far[rng.permutation(len(far))[:ELSEWHERE]]
    lesion = replace(shape, centre_mm=(float(own[0]), float(own[1])))
    mr = pairs.source if pairs.source.unit != "HU" else pairs.target
    if lesion.contrast > 0 and not _has_room(mr.take([index]), lesion, spacing):
        lesion = replace(lesion, contrast=-lesion.contrast)
    return Planned(index, lesion, tuple((float(row), float(column)) for row, column in picked))


def _has_room(one: ImageSet, lesion: Lesion, spacing: tuple[float, float]) -> bool:
    picture = one.unit_range()[0, 0]
    level = float(picture[lesion.mask(picture.shape, spacing)].mean())
    return level * (1 + lesion.contrast) <= _WHITE


def spacing_of(pairs: PairedSet) -> tuple[float, float]:
    """Of a pixel in mm, down and to the right."""
    height, width = pairs.source.pixels.shape[-2:]
    return FIELD_OF_VIEW_MM / height, FIELD_OF_VIEW_MM / width


def _slices(pairs: PairedSet) -> dict[str, list[int]]:
    """Patient -> the slices in which lesions may lie; of whole heads, those above the face."""
    scans: dict[tuple[str, str], list[int]] = {}
    for i, (subject, facts) in enumerate(zip(pairs.subjects, pairs.facts, strict=True)):
        scans.setdefault((subject, facts.get("session", "")), []).append(i)
    found: dict[str, list[int]] = {}
    for (subject, _), rows in scans.items():
        upwards = sorted(rows, key=lambda i: int(pairs.facts[i]["slice"]))
        # where the labels are known, they say where the brain is
        first = int(BELOW_BRAIN * len(upwards)) if _has_skull(pairs, rows[0]) and pairs.regions is None else 0
        found.setdefault(subject, []).extend(upwards[first:])
    return found


def _has_skull(pairs: PairedSet, index: int) -> bool:
    return pairs.facts[index].get("has_skull", "1") != "0"


def _ground(pairs: PairedSet, index: int) -> _Ground:
    one = pairs.take([index])
    if one.regions is not None:
        from medgen.render_tissues import TISSUES

        labels = [label for tissue in TISSUES if tissue.name in _BRAIN for label in tissue.labels]
        tissue = np.isin(one.regions[0], labels)
        brain = ndimage.binary_fill_holes(ndimage.binary_closing(tissue, iterations=3))
        return _Ground(_depth_mm(brain, pairs) >= MARGIN_MM, tissue)
    # where both show the head: the background of some scans is grey, and counts as head
    head = (heads(one.source) & heads(one.target))[0]
    deep = _depth_mm(head, pairs) >= (SCALP_MM if _has_skull(pairs, index) else MARGIN_MM)
    tissue = deep.copy()
    for side in (one.source, one.target):
        sigma = [_SMOOTH_MM / mm for mm in spacing_of(pairs)]
        smooth = ndimage.gaussian_filter(levels(side)[0][0], sigma)
        usual = float(np.median(smooth[deep])) if deep.any() else 0.0
        tissue &= (smooth >= _ORDINARY[0] * usual) & (smooth <= _ORDINARY[1] * usual) & (usual > 0)
    return _Ground(deep, tissue)


def _depth_mm(mask: np.ndarray, pairs: PairedSet) -> np.ndarray:
    """How far inside `mask` each pixel lies; beyond the edge of the picture is outside."""
    return ndimage.distance_transform_edt(np.pad(mask, 1), sampling=spacing_of(pairs))[1:-1, 1:-1]
