"""Tissues of a rendered head: which labels they have, their Hounsfield units, and how bright MR shows them.

Labels are FreeSurfer's; 502 to 530 are those of the SAMSEG atlas of whole heads that CHARM also uses (Puonti et al.,
NeuroImage 2020): 502 artery, 506 eyeball, 507 other tissue, 508 eye muscles, 509 mucosa, 511 skin, 512 spinal cord,
514 vein and sinus, 515 cortical bone, 516 cancellous bone, 530 optic nerve. The maps have no fat and no air: 507 holds
fat and muscle alike, cavities are 0 like the room. `medgen.render_head` tells them apart and gives them 600 and 601.

Hounsfield units: fat -50 to -100, white matter 20 to 30, grey matter 37 to 45, blood 45 to 65, bone above 700 are from
Buzug, Computed Tomography (Springer 2008, page 475) and Prokop and Galanski, Spiral and Multislice Computed Tomography
of the Body (Thieme 2003); CSF and vitreous lie just above water. The skull is spread around what the three real heads
of the shared data show: half of their voxels above 700 HU lie between 850 and 1440 HU, after the blur of the scanner.

Relative MR intensities are typical of an MPRAGE and of a fast spin echo T2, and only the middle of what is drawn.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

CAVITY, FAT = 600, 601
"""Labels of ours, for what the maps do not tell apart."""
OTHER_TISSUE, SKIN, CORTICAL, CANCELLOUS = 507, 511, 515, 516
BRAIN_STEM, CSF = 16, 24
ORBIT = (506, 508, 530)
"""Eyeball, its muscles, optic nerve: what the fat of the orbit lies around."""
ROOM_HU = -1024.0
"""Around the head, as CT files are padded and as the real heads of the shared data are stored; cavities hold air."""


@dataclass(frozen=True)
class Tissue:
    """What pictures a tissue gives.

    Args:
        name: in a word.
        labels: of the label maps.
        hu: mean over heads.
        hu_sd: between heads.
        hu_texture: within one head, standard deviation from place to place.
        t1: brightness in a T1-weighted picture, 0 to 1.
        t2: in a T2-weighted one.
        mr_spread: how much brighter or darker it is from protocol to protocol, standard deviation of the logarithm;
            large for fat, which may be suppressed, and for blood, which flows.
        dark: no signal in any MR: air and cortical bone.
    """

    name: str
    labels: tuple[int, ...]
    hu: float
    hu_sd: float
    hu_texture: float
    t1: float
    t2: float
    mr_spread: float = 0.1
    dark: bool = False


TISSUES = (
    Tissue("cavity", (CAVITY,), -1000.0, 0.0, 0.0, 0.0, 0.0, dark=True),
    Tissue("fat", (FAT,), -95.0, 8.0, 8.0, 0.85, 0.70, mr_spread=0.3),
    Tissue("skin", (SKIN,), 40.0, 8.0, 8.0, 0.50, 0.28),
    Tissue("muscle", (OTHER_TISSUE, 508), 55.0, 4.0, 5.0, 0.42, 0.20),
    Tissue("mucosa", (509,), 40.0, 6.0, 8.0, 0.50, 0.80),
    Tissue("cortical bone", (515,), 1350.0, 130.0, 120.0, 0.04, 0.04, dark=True),
    Tissue("cancellous bone", (516,), 550.0, 90.0, 120.0, 0.50, 0.38, mr_spread=0.3),
    Tissue("csf", (4, 5, 14, 15, 24, 30, 43, 44, 62, 72), 8.0, 2.0, 1.0, 0.16, 1.0),
    Tissue("grey matter", (3, 42), 39.0, 1.5, 1.0, 0.50, 0.52),
    Tissue("white matter", (2, 7, 41, 46, 85, 530), 28.0, 1.5, 0.7, 0.74, 0.36),
    Tissue("cerebellar cortex", (8, 47), 39.0, 1.5, 1.0, 0.53, 0.50),
    Tissue(
        "deep grey matter",
        (10, 11, 12, 17, 18, 26, 28, 49, 50, 51, 53, 54, 58, 60, 136, 137, 163, 164),
        38.0,
        1.5,
        1.0,
        0.60,
        0.46,
    ),
    Tissue("pallidum", (13, 52), 41.0, 2.0, 1.0, 0.68, 0.30),
    Tissue("brain stem", (16, 512), 31.0, 1.5, 1.0, 0.67, 0.40),
    Tissue("white matter lesion", (25, 57), 23.0, 2.0, 1.0, 0.58, 0.72),
    Tissue("blood", (502, 514), 50.0, 4.0, 1.5, 0.50, 0.15, mr_spread=0.6),
    Tissue("vitreous", (506,), 9.0, 2.0, 1.0, 0.17, 0.97),
)
ROOM = len(TISSUES)
"""Number of the room, after those of the tissues."""
BONES = tuple(k for k, tissue in enumerate(TISSUES) if "bone" in tissue.name)


def _numbers() -> np.ndarray:
    numbers = np.full(FAT + 2, -1, np.int8)  # the last entry stands for all that is no label
    numbers[0] = ROOM
    for k, tissue in enumerate(TISSUES):
        numbers[list(tissue.labels)] = k
    return numbers


TISSUE_OF = _numbers()
"""Label -> number of its tissue; -1 where the label is unknown."""


@dataclass(frozen=True, eq=False)
class HeadHU:
    """Hounsfield units of one rendering; entry k belongs to tissue k, the last one to the room.

    Args:
        mean: `(K + 1,)` HU.
        texture: `(K + 1,)` HU, standard deviation from place to place.
        blur_mm: width of the scanner's point spread (standard deviation).
    """

    mean: np.ndarray
    texture: np.ndarray
    blur_mm: float


@dataclass(frozen=True, eq=False)
class Contrast:
    """How one rendering shows tissues on MR; entry k belongs to tissue k, the last one to the room.

    Args:
        kind: "t1", "t2" or "random".
        mean: `(K + 1,)` brightness; 1 is white.
        texture: `(K + 1,)` standard deviation from place to place.
        pixel_mm: size of the scanner's own pixels, along columns and along rows of the picture.
        noise: standard deviation in both channels, before the magnitude is taken.
        bias: how much brightness changes across the head: standard deviation of its logarithm.
        waves: `(3, 4)` of that change: wave vectors in radians per millimetre, and phases.
        gamma: exponent applied last.
    """

    kind: str
    mean: np.ndarray
    texture: np.ndarray
    pixel_mm: tuple[float, float]
    noise: float
    bias: float
    waves: np.ndarray
    gamma: float


CONTRASTS = ("t1", "t2", "random")


def draw_hu(rng: np.random.Generator) -> HeadHU:
    """Hounsfield units of one head."""
    spread = np.clip(rng.standard_normal(ROOM), -2.0, 2.0)
    mean = [tissue.hu + s * tissue.hu_sd for tissue, s in zip(TISSUES, spread, strict=True)]
    texture = [tissue.hu_texture for tissue in TISSUES]
    return HeadHU(np.array([*mean, ROOM_HU]), np.array([*texture, 0.0]), float(rng.uniform(0.5, 0.9)))


def draw_contrast(rng: np.random.Generator, kind: str) -> Contrast:
    """A way to show tissues.

    Args:
        rng: decides everything.
        kind: "t1" and "t2" stay near the table; "random" draws every tissue anew, as SynthSeg does (Billot et al.,
            Medical Image Analysis 2023), except that air and cortical bone are dark.
    """
    if kind == "random":
        mean = rng.uniform(0.05, 1.0, ROOM)
    else:
        mean = np.array([tissue.t1 if kind == "t1" else tissue.t2 for tissue in TISSUES])
        mean = mean * np.exp([tissue.mr_spread for tissue in TISSUES] * rng.standard_normal(ROOM))
    dark = [tissue.dark for tissue in TISSUES]
    mean[dark] = [rng.uniform(0.0, 0.1) if k in BONES else 0.0 for k in np.flatnonzero(dark)]
    texture = rng.uniform(0.01, 0.06, ROOM) * rng.choice((-1.0, 1.0), ROOM)
    texture[dark] = 0.0
    # vessels are too small to set the window of a picture
    scale = rng.uniform(0.65, 0.95) / max(
        one for one, tissue in zip(mean, TISSUES, strict=True) if tissue.name != "blood"
    )
    height, width = (float(size) for size in rng.uniform(0.8, 2.0, 2))
    waves = rng.standard_normal((3, 3))
    waves *= 2 * np.pi / (np.linalg.norm(waves, axis=1) * rng.uniform(180.0, 400.0, 3))[:, None]
    return Contrast(
        kind,
        mean=np.array([*(mean * scale), 0.0]),
        texture=np.array([*texture, 0.0]),
        pixel_mm=(height, width),
        noise=float(rng.uniform(0.003, 0.03)),
        bias=float(rng.uniform(0.05, 0.2)),
        waves=np.column_stack([waves, rng.uniform(0, 2 * np.pi, 3)]),
        gamma=float(np.exp(0.15 * rng.standard_normal())),
    )
