"""Pictures of models that learned from axial slices, as slices with a size in millimetres: DICOM MR or NIfTI."""

from __future__ import annotations

import numpy as np

from medgen.card import ModelCard
from medgen.catalogue import DATASETS, HEIGHT
from medgen.generator import Request
from medgen.volume import Volume
from medgen.write_series import dicom_series
from medgen.write_volume import nifti_bytes


def slice_spacing(card: ModelCard) -> tuple[float, float, float] | None:
    """Millimetres between rows, between columns and from slice to slice; None for a model whose pictures are no slices.

    What a picture of the model is must be known from its data set: axial, the patient's right on the left, the front
    on top.
    """
    first = DATASETS.get((card.data or "").partition("+")[0])
    if first is None or first.thickness_mm is None or card.spacing_mm is None or len(card.shape) != 3:
        return None
    rows, columns = card.spacing_mm
    return rows, columns, first.thickness_mm


def slice_volume(picture: np.ndarray, card: ModelCard, request: Request) -> Volume:
    """A picture as a volume of one slice whose middle is at 0 mm, at the height that was asked for, else also at 0.

    No head was there: the place is that of the request, in a frame of reference of its own.

    Args:
        picture: `(H, W)` uint8, row 0 at the front.
        card: of a model that has a `slice_spacing`.
        request: what was asked.
    """
    spacing = slice_spacing(card)
    assert spacing is not None
    between_rows, between_columns, thickness = spacing
    height, width = picture.shape
    asked = request.quantity if card.quantity.get("name") == HEIGHT else None
    # columns run to the left, rows to the back
    affine = np.diag([-between_columns, -between_rows, thickness, 1.0])
    affine[:3, 3] = [between_columns * (width - 1) / 2, between_rows * (height - 1) / 2, asked or 0.0]
    array = np.ascontiguousarray(picture.T[:, :, None], np.float32)
    return Volume(array, affine, card.modality, card.unit, card.window, synthetic=True)


def slice_bytes(
    picture: np.ndarray, card: ModelCard, request: Request, mark: dict[str, str], format: str, study_uid: str
) -> bytes:
    """One picture as a DICOM MR image, in a series and a frame of reference of its own, or as NIfTI.

    Args:
        picture: `(H, W)` uint8.
        card: of a model that has a `slice_spacing`.
        request: what was asked.
        mark: `provenance.mark(...)`.
        format: "dcm" or "nii".
        study_uid: shared by the files of one set.
    """
    volume = slice_volume(picture, card, request)
    return nifti_bytes(volume, mark) if format == "nii" else next(dicom_series(volume, mark, study_uid=study_uid))
