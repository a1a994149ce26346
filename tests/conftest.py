"""What several test files share: a made-up data set of the layout of the real one."""

import csv
import io
import zipfile

import numpy as np
import pytest
from PIL import Image

LABELS = ("normal", "bacterial_pneumonia", "viral_pneumonia")


def made_up_xray(seed, brightness):
    """128 px of light and dark patches with sharp edges, whose brightness depends on the label.

    Edges and labels are what a linear filter cannot know and a network can learn.
    """
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (6, 6)).astype(np.uint8))
    smooth = np.asarray(coarse.resize((128, 128), Image.Resampling.BICUBIC))
    return Image.fromarray(np.where(smooth > 128, brightness + 90, brightness).astype(np.uint8))


@pytest.fixture(scope="session")
def made_up_data(tmp_path_factory):
    """A folder for MEDGEN_DATA: 24 train, 6 val and 6 test pictures as kermany_cxr_128.zip, one patient each."""
    folder = tmp_path_factory.mktemp("made_up_data")
    table = io.StringIO()
    writer = csv.writer(table)
    writer.writerow(("file", "label", "patient", "split"))
    with zipfile.ZipFile(folder / "kermany_cxr_128.zip", "w") as archive:
        for i in range(36):
            label = LABELS[i % 3]
            split = ("train", "train", "train", "train", "val", "test")[i // 3 % 6]
            kind = {"normal": f"IM-{i:04}-0001"}.get(label, f"person{i}_{label.split('_')[0].replace('al', '')}_{i}")
            name = f"{label}__{kind}.webp"
            content = io.BytesIO()
            made_up_xray(i, 75 * (i % 3)).save(content, "WEBP", lossless=True)
            archive.writestr(name, content.getvalue())
            writer.writerow((name, label, kind.rsplit("-", 1)[0] if label == "normal" else f"person{i}", split))
        archive.writestr("labels.csv", table.getvalue())
    return folder
