"""Real heads that nobody scanned twice: CT slices of three, MR slices of 37. No MR has a CT of the same person.

They adapt a translator learned from rendered pairs, unpaired, and show what it does with a real scan.

All slices are 256 x 256 pixels of 1 mm, patient's right on the left, front on top. Front and back can be seen in every
head. Left and right follow from the files for MR; they cannot be checked for `invesalius` and `unc_cthead`.

IXI heads have faces, which a rendering of the surface would show: train on them, but publish only what is in the skull.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy import ndimage

from medgen.data import data_dir
from medgen.errors import MedgenError
from medgen.image import ImageSet, concatenate
from medgen.pair_slices import head
from medgen.paired import image_set
from medgen.read_volume import read_volume
from medgen.record import SPLITS, hash_split
from medgen.volume import Volume

TRAIN_SCANS = ("invesalius", "unc_cthead")
TEST_SCANS = ("cq500_ct0",)
"""The one from a hospital's routine with reliable HU, and so the fairest test; and its licence, CC BY-NC-SA 4.0, would
pass on to weights learned from it. Its vessels and falx are bright, as with a contrast agent, and it has a cyst at the
back of the head. The others: GPL-2 (sample of InVesalius; a part of the skull is cut out) and free test data (UNC; HU
approximate).
"""
TRAIN_LICENCES = ("CC BY-SA 3.0 (IXI)", "GPL-2 (InVesalius sample)", "free test data (UNC)")
"""Of what weights learn that have seen the train heads, MR and CT; their cards name them."""
CITATION = "IXI dataset, brain-development.org; InVesalius; UNC Chapel Hill"
CT_ARCHIVE = "head_ct_hu_256.npz"
MR_FOLDER = "ixi_t1_2mm/IXI-T1"
LOWEST_MM = {"unc_cthead": 96.0}
"""Where a scan begins to be a head; below lie a neck and the streaks of dental metal."""
SIDE = 256
HEIGHT_MM = 155.0
"""How far down from the vertex MR slices go: to the skull base, as the rendered ones do."""
STEP_MM = 4.0


def ct_slices(scans: str | Sequence[str] = "train", *, neck: bool = False) -> ImageSet:
    """All axial slices of real CT heads, `(N, 1, 256, 256)` in HU; `subjects` are the names of the scans.

    Args:
        scans: "train" or "test", or names of `TRAIN_SCANS` and `TEST_SCANS`; three heads have no val.
        neck: also those below `LOWEST_MM`.

    Raises:
        MedgenError: an unknown scan, nothing on this disk, or a damaged file.
    """
    known = TRAIN_SCANS + TEST_SCANS
    if isinstance(scans, str):
        scans = {"train": TRAIN_SCANS, "test": TEST_SCANS}.get(scans, (scans,))
    if not scans or not set(scans) <= set(known):
        raise MedgenError(f"There are no CT heads {scans!r}; choose train, test, or from {', '.join(known)}.")
    path = _place(CT_ARCHIVE)
    try:
        with np.load(path, allow_pickle=False) as file:
            hu, scan, z_mm = file["hu"], file["scan"].astype(str), file["z_mm"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise MedgenError(f"{path.name} is no whole archive of CT slices ({error}); copy it again.") from error
    lowest = np.array([-np.inf if neck else LOWEST_MM.get(name, -np.inf) for name in scan])
    chosen = np.concatenate([np.flatnonzero((scan == name) & (z_mm >= lowest)) for name in scans])
    return image_set(hu[chosen], "ct", scan[chosen].tolist())


def mr_slices(split: str, step_mm: float = STEP_MM) -> ImageSet:
    """Axial T1 slices of real whole heads, `(N, 1, 256, 256)`, 0 to 255 by percentiles 0.5 and 99.5 of each volume.

    Args:
        split: "train", "val" or "test", by the hash of the subject as everywhere (32, 3 and 2 subjects).
        step_mm: between slices.

    Raises:
        MedgenError: an unknown split, or no volumes of it on this disk.
    """
    if split not in SPLITS:
        raise MedgenError(f"There is no split {split!r}; choose from {', '.join(SPLITS)}.")
    folder = _place(MR_FOLDER)
    paths = {path: path.name.partition("-")[0] for path in sorted(folder.glob("IXI*.nii.gz"))}
    chosen = {path: subject for path, subject in paths.items() if hash_split(subject) == split}
    if not chosen:
        raise MedgenError(f"{folder.name} holds no {split} volumes; copy all of its files.")
    return concatenate([axial_t1(read_volume(path), subject, step_mm) for path, subject in chosen.items()])


def axial_t1(volume: Volume, subject: str, step_mm: float = STEP_MM) -> ImageSet:
    """Slices of one whole-head MR as a translator wants them: 256 pixels of 1 mm, head in the middle, 0 to 255.

    Args:
        volume: the scan; its axes may run anywhere.
        subject: whose it is.
        step_mm: between slices, which go from the vertex down to the skull base.

    Raises:
        MedgenError: there is no head in it.
    """
    seen = volume.reoriented("LPS")
    shown = head(seen.array)
    area = shown.sum(axis=(0, 1))
    if not area.any():
        raise MedgenError(f"{subject}: nothing in this volume is bright enough to be a head; give a whole-head MR.")
    top = float(np.flatnonzero(area >= 0.2 * area.max())[-1])
    low = max(0.0, top - HEIGHT_MM / seen.spacing_mm[2])
    box = shown[:, :, int(low) : int(top) + 1].sum(axis=2)
    # rows and columns with little in them are noise, not head
    ends = [np.flatnonzero((lines := box.sum(axis=axis)) > 0.02 * lines.max())[[0, -1]] for axis in (1, 0)]
    n = int((top - low) * seen.spacing_mm[2] / step_mm) + 1
    across, down = (
        _linear(count, pair.mean(), 1 / spacing, SIDE)
        for count, pair, spacing in zip(seen.array.shape, ends, seen.spacing_mm, strict=False)
    )
    step = step_mm / seen.spacing_mm[2]
    up = _linear(seen.array.shape[2], top - (n - 1) * step / 2, step, n)
    # (X, Y, Z) -> (n, X, Y) -> (n, rows, columns)
    # files of 2 mm that were thinned out from 1 mm have stairs at every edge; half a voxel of blur removes them
    smooth = ndimage.gaussian_filter(seen.array, 0.5)
    slices = down @ np.tensordot(up, smooth, (1, 2)).transpose(0, 2, 1) @ across.T
    black, white = np.percentile(volume.array, (0.5, 99.5))
    scaled = 255 * np.clip((slices - black) / (white - black), 0, 1)
    return image_set(scaled, "mr", [subject] * n)


def _linear(count: int, middle: float, step: float, n: int) -> np.ndarray:
    """Linear interpolation along one axis: `(n, count)` weights of voxels, for places `step` apart around `middle`."""
    places = middle + (np.arange(n) - (n - 1) / 2) * step
    return np.maximum(0.0, 1 - np.abs(places[:, None] - np.arange(count))).astype(np.float32)


def _place(name: str) -> Path:
    root = data_dir()
    if root is None or not (root / name).exists():
        raise MedgenError(f"There are no real heads here: set MEDGEN_DATA to the folder that holds {name}.")
    return root / name
