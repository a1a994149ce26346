"""The data sets we know: a catalogue that is data. `medgen.data` reads the images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from medgen.errors import MedgenError


@dataclass(frozen=True)
class Dataset:
    """A catalogue entry: where images come from, what may be done with them, and how to know them again.

    Args:
        name: its key in `DATASETS`.
        title: what it is, in a few words.
        licence: of the images.
        citation: to print wherever they are used.
        url: upstream page.
        download: direct address of `download_name`; None where upstream has no stable one.
        download_name: the upstream file, a zip that unpacks to `folders[0]`; None as above.
        steps: what a person does where there is no direct address.
        archive: file name of our compact archive (resized images and labels); "" where there is none.
        sha256: of `archive`.
        labels: words an image may carry; none in a set that has no labels.
        n_images, n_subjects, splits, counts: of `archive`, or of the folder we used; images per split and per label.
        modality: DICOM modality code.
        shape: `(C, H, W)` of one image.
        layout: how the upstream folder is built: "kermany", "chestxray14", "ixi_brain" or "ixi_head".
        folders: names under which that folder is looked for in `$MEDGEN_DATA`.
        manifest: file below `medgen/manifests` that says which patient is in which split.
        min_side: images of the folder with a shorter side, in pixels, are left out.
        notes: what is known to be wrong with the images.
        spacing_mm: of a pixel, between rows and between columns; None where nobody knows.
        thickness_mm: from one slice to the next; None where the images are no slices.
        quantity: the number that each image has, as `ModelCard.quantity` describes one; empty where it has none.
    """

    name: str
    title: str
    licence: str
    citation: str
    url: str
    download: str | None
    download_name: str | None
    steps: tuple[str, ...]
    archive: str
    sha256: str
    labels: tuple[str, ...]
    n_images: int
    n_subjects: int
    splits: dict[str, int]
    counts: dict[str, int]
    modality: str
    shape: tuple[int, int, int]
    layout: str
    folders: tuple[str, ...]
    manifest: str
    min_side: int
    notes: tuple[str, ...]
    spacing_mm: tuple[float, float] | None = None
    thickness_mm: float | None = None
    quantity: Mapping[str, Any] = field(default_factory=dict)


_KERMANY_NOTES = (
    "One hospital, children of 1 to 5 years, AP films.",
    "Pneumonia films are wider, flatter and tighter collimated: border pixels alone tell normal from pneumonia with "
    "AUC 0.95, the aspect ratio alone 0.84, a linear model on 32x32 pixels 0.975. Show the border-only score beside "
    "every score of a classifier.",
    "Viral against bacterial is subtle (linear AUC on 32x32 pixels 0.75).",
    "bacterial_pneumonia is half of the set.",
    "Equal patient ids occur in upstream's train and test folders; we take them for one patient and split by patient.",
)
_KERMANY_CITATION = (
    "Kermany et al., Identifying Medical Diagnoses and Treatable Diseases by Image-Based Deep Learning, Cell 2018; "
    "Mendeley Data, doi:10.17632/rscbjbr9sj.2"
)
_KERMANY_PAGE = "https://data.mendeley.com/datasets/rscbjbr9sj/2"
_KERMANY_FILE = (
    "https://data.mendeley.com/public-files/datasets/rscbjbr9sj/files/"
    "f12eaf6d-6023-432f-acc9-80c9d7393433/file_downloaded"
)

HEIGHT = "slice height"
"""The quantity of axial slices: millimetres above the centre of gravity of the brain."""
_IXI_STEPS = (
    "Open {url}, download IXI-T1.tar (4.5 GB) and, if you like, IXI.xls with age and sex.",
    "Unpack the scans into $MEDGEN_DATA/IXI/IXI-T1/ and put the table beside that folder; save it as IXI.csv if the "
    "package xlrd is not installed.",
    "Segment the brain of each (DLMUSE, SynthSeg, HD-BET) into $MEDGEN_DATA/IXI/brain_labels/IXI*.nii.gz, above 0 "
    "inside.",
    "Run: python -m medgen.data check ixi_brain_128",
)
_IXI_NOTES = (
    "37 subjects of one hospital: a demonstration, not a benchmark. Slices of one head are not independent: count "
    "subjects, and look at the nearest training slice.",
    "Slice height is in millimetres above the centre of gravity of the brain mask, along the axis of the scanner; it "
    "is not scaled by the size of the brain, and heads are not turned.",
    "The mask was drawn by a network (DLMUSE), nobody corrected it.",
    "Made of scans that were halved to 2 mm before: pixels of 1.5 mm are interpolated.",
)

DATASETS: dict[str, Dataset] = {
    "kermany_cxr_128": Dataset(
        name="kermany_cxr_128",
        title="Paediatric chest X-rays, 128 px",
        licence="CC BY 4.0",
        citation=_KERMANY_CITATION,
        url=_KERMANY_PAGE,
        download=_KERMANY_FILE,
        download_name="ChestXRay2017.zip",
        steps=(),
        archive="kermany_cxr_128.zip",
        sha256="8643275458c611740e56a908b0845173c57fd70fd33e0ee6afe51d2a53f16263",
        labels=("normal", "bacterial_pneumonia", "viral_pneumonia"),
        n_images=4623,
        n_subjects=2672,
        splits={"train": 3677, "val": 362, "test": 584},
        counts={"normal": 1409, "bacterial_pneumonia": 2119, "viral_pneumonia": 1095},
        modality="CR",
        shape=(1, 128, 128),
        layout="kermany",
        folders=("chest_xray", "."),
        manifest="kermany_cxr_128.csv",
        min_side=0,
        notes=_KERMANY_NOTES,
    ),
    "kermany_cxr_256": Dataset(
        name="kermany_cxr_256",
        title="Paediatric chest X-rays, 256 px",
        licence="CC BY 4.0",
        citation=_KERMANY_CITATION,
        url=_KERMANY_PAGE,
        download=_KERMANY_FILE,
        download_name="ChestXRay2017.zip",
        steps=(),
        archive="kermany_cxr_256.zip",
        sha256="09756f45c8c6579df982c3a0c9bea26ae7984b8c2d1b09c242740688b92e072b",
        labels=("normal", "bacterial_pneumonia", "viral_pneumonia"),
        n_images=1948,
        n_subjects=1412,
        splits={"train": 1549, "val": 151, "test": 248},
        counts={"normal": 678, "bacterial_pneumonia": 835, "viral_pneumonia": 435},
        modality="CR",
        shape=(1, 256, 256),
        layout="kermany",
        folders=("chest_xray", "."),
        manifest="kermany_cxr_128.csv",  # the same patients on the same sides
        min_side=256,
        notes=("The images of kermany_cxr_128 whose source really has 256 pixels.", *_KERMANY_NOTES),
    ),
    "nih_cxr_128": Dataset(
        name="nih_cxr_128",
        title="Adult chest X-rays (ChestX-ray14), 128 px",
        licence="No restrictions on use; acknowledge the NIH Clinical Center",
        citation="Wang et al., ChestX-ray8: Hospital-scale Chest X-ray Database and Benchmarks, CVPR 2017 "
        "(arXiv:1705.02315); images provided by the NIH Clinical Center",
        url="https://nihcc.app.box.com/v/ChestXray-NIHCC",
        download=None,
        download_name=None,
        steps=(
            "Open {url} in a browser.",
            "Download Data_Entry_2017_v2020.csv and, from the folder images, as many images_*.tar.gz as you like "
            "(12 parts, 42 GB in all; the first alone will do).",
            "Put the table into $MEDGEN_DATA/ChestX-ray14 and unpack each part there into a folder of its own: "
            "mkdir images_001 && tar -xzf images_001.tar.gz -C images_001",
            "Run: python -m medgen.data check nih_cxr_128",
        ),
        archive="nih_cxr_128.zip",
        sha256="583cd091ce150351893aed9db6d35f96634b9e9e4f618db8ffcaf6e4b4d2945c",
        labels=(
            *("No Finding", "Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Effusion", "Emphysema"),
            *("Fibrosis", "Hernia", "Infiltration", "Mass", "Nodule", "Pleural_Thickening", "Pneumonia"),
            "Pneumothorax",
        ),
        n_images=975,
        n_subjects=676,
        splits={"train": 779, "val": 92, "test": 104},
        counts={
            "No Finding": 471,
            "Pneumonia": 453,
            "Infiltration": 162,
            "Atelectasis": 108,
            "Effusion": 80,
            "Edema": 77,
            "Consolidation": 28,
            "Pleural_Thickening": 24,
            "Nodule": 20,
            "Cardiomegaly": 18,
            "Fibrosis": 17,
            "Mass": 16,
            "Pneumothorax": 13,
            "Emphysema": 11,
            "Hernia": 10,
        },
        modality="CR",
        shape=(1, 128, 128),
        layout="chestxray14",
        folders=("ChestX-ray14", "CXR8", "."),
        manifest="nih_cxr_128.csv",
        min_side=0,
        notes=(
            "Burned-in text, arrows and borders; labels mined from reports.",
            "The view differs by class: No Finding is 68 % AP, Pneumonia 44 %.",
            "00002658_001 and 00002658_002 are one picture of one patient.",
        ),
    ),
    **{
        name: Dataset(
            name=name,
            title=f"Axial T1 slices of {what}, 128 px",
            licence="CC BY-SA 3.0",
            citation="IXI dataset, brain-development.org; brain regions by DLMUSE",
            url="https://brain-development.org/ixi-dataset/",
            download=None,
            download_name=None,
            steps=_IXI_STEPS,
            archive="",
            sha256="",
            labels=(),
            n_images=sum(splits),
            n_subjects=37,
            splits=dict(zip(("train", "val", "test"), splits, strict=True)),
            counts={},
            modality="MR",
            shape=(1, 128, 128),
            layout=layout,
            folders=("ixi_t1_2mm", "IXI"),
            manifest="ixi_brain_64.csv",  # the same subjects on the same sides as the volumes
            min_side=0,
            notes=(*notes, *_IXI_NOTES),
            spacing_mm=(spacing_mm, spacing_mm),
            thickness_mm=2.0,
            quantity={"name": HEIGHT, "unit": "mm", "low": -62.0, "high": 56.0, "step": 2.0},
        )
        for name, layout, what, spacing_mm, splits, notes in (
            ("ixi_brain_128", "ixi_brain", "skull-stripped brains", 1.5, (1568, 235, 349), ()),
            (
                "ixi_head_128",
                "ixi_head",
                "whole heads",
                2.0,
                (1570, 235, 349),
                ("Faces are in these slices: publish none of them.",),
            ),
        )
    },
}


def dataset(name: str) -> Dataset:
    """The catalogue entry called `name`.

    Raises:
        MedgenError: there is none.
    """
    if name not in DATASETS:
        raise MedgenError(f"There is no data set {name!r}; there are: {', '.join(DATASETS)}.")
    return DATASETS[name]
