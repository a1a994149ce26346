"""The sets of volumes we know: a catalogue that is data. `medgen.volume_sets` reads them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from medgen.errors import MedgenError
from medgen.volume import centred_affine


@dataclass(frozen=True)
class VolumeData:
    """A catalogue entry.

    Args:
        name: its key in `VOLUMES`.
        title: what it is, in a few words.
        modality: DICOM modality code.
        unit: of the voxels.
        window: `(low, high)` in `unit`.
        shape: `(C, X, Y, Z)` of one volume.
        spacing_mm: between voxels along x, y and z.
        licence: of the images; weights learned from them name it.
        citation: to print wherever they are used.
        url: where upstream offers them.
        steps: what a person does to have them.
        folder: below `$MEDGEN_DATA`.
        images: of one subject's volume, a pattern below `folder`; `{}` stands for the subject.
        labels: of its segmentation, likewise.
        classes: names of the values of `structures`; 0 is the background.
        quantity: name and unit of what `quantities` measures; None where there is no such number.
        shareable: whether a picture of a volume shows no face, and may be shown with a model.
        notes: what is known to be wrong with it, and what was done to it.
    """

    name: str
    title: str
    modality: str
    unit: str
    window: tuple[float, float]
    shape: tuple[int, int, int, int]
    spacing_mm: tuple[float, float, float]
    licence: str
    citation: str
    url: str
    steps: str
    folder: str
    images: str
    labels: str
    classes: tuple[str, ...]
    quantity: tuple[str, str] | None
    shareable: bool
    notes: tuple[str, ...]

    @property
    def affine(self) -> np.ndarray:
        """`(4, 4)` voxel to world, RAS+, millimetres; the middle of the grid is at 0."""
        return centred_affine(self.shape[1:], self.spacing_mm)


VOLUMES: dict[str, VolumeData] = {
    "ixi_brain_64": VolumeData(
        name="ixi_brain_64",
        title="Skull-stripped T1 brains of 37 healthy adults, 3 mm",
        modality="MR",
        unit="au",
        window=(0.0, 255.0),
        shape=(1, 64, 64, 64),
        spacing_mm=(3.0, 3.0, 3.0),
        licence="CC BY-SA 3.0",
        citation="IXI dataset, brain-development.org; brain regions by DLMUSE",
        url="https://brain-development.org/ixi-dataset/",
        steps=(
            "download IXI-T1.tar, halve its volumes to 2 mm into IXI-T1/ and segment them with DLMUSE into "
            "brain_labels/"
        ),
        folder="ixi_t1_2mm",
        images="IXI-T1/{}-*-T1.nii.gz",
        labels="brain_labels/{}-*-DLMUSE.nii.gz",
        classes=(
            "background",
            "cortex",
            "white matter",
            "deep grey",
            "ventricles",
            "brain stem and cerebellum",
        ),
        quantity=None,
        shareable=True,
        notes=(
            "37 subjects of one hospital and one scanner: a demonstration, not a benchmark; a model may learn them "
            "by heart, so look at the nearest training subject.",
            "The regions were drawn by a network (DLMUSE), nobody corrected them.",
            "Fluid around the brain is inside the skull-stripped volume but in no class: it counts as background.",
            "Axes follow the scanner; heads are moved to the middle, but not turned.",
        ),
    ),
    "hippo_48": VolumeData(
        name="hippo_48",
        title="T1 crops around 243 hippocampi, 1 mm",
        modality="MR",
        unit="au",
        window=(0.0, 255.0),
        shape=(1, 32, 48, 32),
        spacing_mm=(1.0, 1.0, 1.0),
        licence="CC BY-SA 4.0",
        citation="Simpson et al., arXiv:1902.09063, 2019 (Medical Segmentation Decathlon, Task04 Hippocampus)",
        url="http://medicaldecathlon.com",
        steps="download Task04_Hippocampus.tar and unpack it",
        folder="Task04_Hippocampus",
        images="imagesTr/{}.nii.gz",
        labels="labelsTr/{}.nii.gz",
        classes=("background", "anterior", "posterior"),
        quantity=("hippocampal volume", "mm3"),
        shareable=True,
        notes=(
            "Nobody knows which two volumes may be of one person: the left and the right hippocampus of one may be "
            "in different splits.",
            "All look like left hippocampi (the middle of the brain lies to their right): right ones, if there are "
            "any, were mirrored upstream. Nothing else in the files says which side or where in the head it was.",
            "A file ends a few millimetres beyond the hippocampus; where it is shorter than the box (two in nine, by "
            "one to eight slices) its last slice is repeated. Of the ten highest hippocampi one to three slices at "
            "either end lie outside of the box, and are not counted.",
            "Scales differ a hundredfold between files: each is scaled by its own percentiles.",
        ),
    ),
}


def entry(name: str) -> VolumeData:
    """The catalogue entry called `name`.

    Raises:
        MedgenError: there is none.
    """
    if name not in VOLUMES:
        raise MedgenError(f"There are no volumes {name!r}; choose from {', '.join(VOLUMES)}.")
    return VOLUMES[name]
