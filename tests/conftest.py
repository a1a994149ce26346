"""What several test files share: made-up data sets of the layout of the real ones, and a browser."""

import csv
import io
import os
import zipfile

import brain_fakes
import browsing
import numpy as np
import pytest
from PIL import Image

from medgen.record import hash_split

# compiling a made-up network for one test takes seconds, and a cache would outlive it; tests of the compiled runtime
# ask for it by name. Children that tests start inherit this.
os.environ.setdefault("MEDGEN_RUNTIME", "torch")

LABELS = ("normal", "bacterial_pneumonia", "viral_pneumonia")
ADULT_LABELS = ("No Finding", "Pneumonia", "Effusion|Pneumonia")
ADULTS = {"train": 16, "val": 4, "test": 4}


def webp(image):
    content = io.BytesIO()
    image.save(content, "WEBP", lossless=True)
    return content.getvalue()


def compact_archive(path, columns, rows, images):
    """A compact archive as in the shared data: `images` are encoded, one a row; the first column is its file name."""
    table = io.StringIO()
    writer = csv.writer(table)
    writer.writerow(columns)
    writer.writerows(rows)
    with zipfile.ZipFile(path, "w") as archive:
        for row, image in zip(rows, images, strict=True):
            archive.writestr(row[0], image)
        archive.writestr("labels.csv", table.getvalue())
    return path


def made_up_xray(seed, brightness):
    """128 px of light and dark patches with sharp edges, whose brightness depends on the label.

    Edges and labels are what a linear filter cannot know and a network can learn.
    """
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (6, 6)).astype(np.uint8))
    smooth = np.asarray(coarse.resize((128, 128), Image.Resampling.BICUBIC))
    return Image.fromarray(np.where(smooth > 128, brightness + 90, brightness).astype(np.uint8))


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """A headless Chromium for the browser tests of one file."""
    with browsing.chromium(tmp_path_factory.mktemp("profile")) as context:
        yield context


@pytest.fixture
def training_place(tmp_path, monkeypatch, made_up_data):
    """An empty folder to train in, in this process and on one thread: made-up data, and checkpoints of its own."""
    import torch
    from accelerate.state import AcceleratorState

    monkeypatch.setenv("MEDGEN_DATA", str(made_up_data))
    monkeypatch.setenv("MEDGEN_CHECKPOINTS", str(tmp_path / "checkpoints"))
    monkeypatch.chdir(tmp_path)
    AcceleratorState._reset_state()  # one process makes many runs, each with its own precision
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def made_up_data(tmp_path_factory):
    """A folder for MEDGEN_DATA: `children` as kermany_cxr_128.zip and `adults` as nih_cxr_128.zip."""
    folder = tmp_path_factory.mktemp("made_up_data")
    children(folder / "kermany_cxr_128.zip")
    adults(folder / "nih_cxr_128.zip")
    return folder


def children(path):
    """24 train, 6 val and 6 test pictures, one patient each, of three labels."""
    rows = []
    for i in range(36):
        label = LABELS[i % 3]
        split = ("train", "train", "train", "train", "val", "test")[i // 3 % 6]
        kind = {"normal": f"IM-{i:04}-0001"}.get(label, f"person{i}_{label.split('_')[0].replace('al', '')}_{i}")
        patient = kind.rsplit("-", 1)[0] if label == "normal" else f"person{i}"
        rows.append((f"{label}__{kind}.webp", label, patient, split))
    images = [webp(made_up_xray(i, 75 * (i % 3))) for i in range(36)]
    compact_archive(path, ("file", "label", "patient", "split"), rows, images)


def adults(path):
    """16 train, 4 val and 4 test patients with two pictures each, of ADULT_LABELS in turn, but one Hernia in train.

    Of every fourth patient nothing else is known.
    """
    rows, left = [], dict(ADULTS)
    number = 0
    while any(left.values()):
        number += 1
        patient = f"{number:08}"
        split = hash_split(patient)
        if not left[split]:
            continue
        left[split] -= 1
        turn = ADULTS[split] - left[split] - 1
        label = "Hernia" if (split, turn) == ("train", 15) else ADULT_LABELS[turn % 3]
        known = ("", "", "") if turn % 4 == 3 else (20 + turn, "FM"[turn % 2], ("AP", "PA")[turn // 2 % 2])
        rows += [(f"{patient}_{k:03}.webp", label, patient, *known) for k in range(2)]
    images = [webp(made_up_xray(1000 + i, 60)) for i in range(len(rows))]
    compact_archive(path, ("file", "labels", "patient", "age", "sex", "view"), rows, images)


@pytest.fixture(scope="module")
def heads(tmp_path_factory):
    """A folder with made-up heads in the layout of IXI."""
    root = tmp_path_factory.mktemp("heads")
    brain_fakes.ixi(root / "IXI")
    return root
