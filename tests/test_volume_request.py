"""What a model of volumes may be asked for, and the files that the command line writes and remakes."""

from __future__ import annotations

import csv
import json
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest

import medgen
from medgen import ImageSet, MedgenError, ModelCard, Request, provenance, sample
from medgen.files import FORMATS, folder_writer, formats, save_set, zip_writer
from medgen.read_volume import read_volume
from medgen.registry import FAMILIES
from medgen.volume import Volume, centred_affine
from medgen.write_volume import save_nifti, voxels_sha256

NAME = "blob-hippo-8"
QUANTITY = {"name": "hippocampal volume", "unit": "mm3", "low": 24.0, "high": 440.0, "step": 5.0}


class Blobs:
    """A family of the tests: noise with a bright box of as many voxels as asked, in place."""

    def __init__(self, card: ModelCard) -> None:
        self.card = card
        self.batches: list[int] = []

    def sample(self, request, on_step=None):
        request = request.checked(self.card)
        self.batches.append(len(request.seeds))
        made = []
        for seed in request.seeds:
            volume = np.random.default_rng(seed).uniform(0, 100, self.card.shape).astype(np.float32)
            volume.reshape(-1)[: int(request.quantity or 0)] = 200
            made.append(volume)
        affine = centred_affine(self.card.shape[1:], self.card.spacing_mm)
        return ImageSet(np.stack(made), self.card.modality, self.card.unit, self.card.window, affine)


@pytest.fixture
def card(tmp_path, monkeypatch) -> ModelCard:
    """A model of volumes, and one of pictures, in a checkpoints folder of their own."""
    made = ModelCard(
        name=NAME,
        family="volume",
        title="Blobs",
        modality="MR",
        unit="au",
        window=(0.0, 255.0),
        shape=(1, 8, 10, 12),
        spacing_mm=(1.0, 1.0, 2.0),
        licence="MIT",
        limits="Blobs.",
        controls=("quantity",),
        quantity=QUANTITY,
        weights={"model.safetensors": "ab" * 32},
    )
    made.save(tmp_path / "checkpoints" / NAME)
    flat = replace(made, name="noise-cxr-8", family="noise", shape=(1, 8, 8), controls=(), quantity={}, weights={})
    flat.save(tmp_path / "checkpoints" / flat.name)
    monkeypatch.setenv("MEDGEN_CHECKPOINTS", str(tmp_path / "checkpoints"))
    monkeypatch.setitem(sys.modules, "blobs", SimpleNamespace(load=Blobs))
    monkeypatch.setitem(FAMILIES, "volume", "blobs")
    return made


def run(*words: object) -> int:
    return sample.main([str(word) for word in words])


def test_a_quantity_is_a_number_in_the_range_of_the_card(card):
    for asked in (24, 240.5, 440.0, None):
        assert Request((1,), quantity=asked).checked(card).quantity == asked
    for asked in (23.9, 440.1, float("nan"), float("inf"), True, "100"):
        with pytest.raises(MedgenError, match="hippocampal volume must be a number from 24 to 440 mm3, not"):
            Request((1,), quantity=asked).checked(card)
    with pytest.raises(MedgenError, match="takes no quantity"):
        Request((1,), quantity=100.0).checked(replace(card, controls=(), quantity={}))


def test_a_quantity_travels_with_the_request(card):
    asked = Request((1, 2), quantity=100.0)
    assert Request.from_json(json.loads(json.dumps(asked.to_json()))) == asked
    mark = provenance.mark(card, asked, 1)
    assert mark["Quantity"] == "100.0" and json.loads(mark["Request"])["quantity"] == 100.0
    old = {name: value for name, value in asked.to_json().items() if name != "quantity"}  # of an older manifest
    assert Request.from_json(old).quantity is None
    with pytest.raises(MedgenError, match="a quantity it cannot have"):
        provenance.requests_of({"request": {"seeds": [1], "quantity": "much"}})


def test_a_card_says_what_the_quantity_is(card, tmp_path):
    path = tmp_path / "checkpoints" / NAME / "card.json"
    assert ModelCard.read(path) == card
    values = json.loads(path.read_text())
    wrong = [
        ({"controls": []}, "both name a quantity"),
        ({"quantity": {}}, "both name a quantity"),
        ({"quantity": {**QUANTITY, "low": 500.0}}, "low < high"),
        ({"quantity": {**QUANTITY, "step": 0}}, "low < high and a step above 0"),
        ({"quantity": {**QUANTITY, "high": "440"}}, "numbers low, high and step"),
        ({"quantity": {"name": "height", "unit": "mm"}}, "numbers low, high and step"),
        ({"quantity": 3}, "quantity must be an object"),
    ]
    for changes, words in wrong:
        path.write_text(json.dumps({**values, **changes}))
        with pytest.raises(MedgenError, match=words):
            ModelCard.read(path)
    del values["quantity"], values["controls"]  # a card of before
    path.write_text(json.dumps(values))
    assert ModelCard.read(path).quantity == {}


def test_the_command_line_writes_volumes_in_place_and_marked(card, tmp_path, capsys):
    out = tmp_path / "out"
    assert run(NAME, "--n", 3, "--seed", 4, "--quantity", 100, "--format", "nii", "--out", out) == 0
    assert "3 volumes" in capsys.readouterr().out
    names = [f"{i:04d}_seed{4 + i}_quantity100.nii.gz" for i in range(3)]
    assert sorted(path.name for path in out.iterdir()) == [*names, "labels.csv", "manifest.json"]
    expected = medgen.load(NAME).sample(Request((4, 5, 6), quantity=100.0))
    for i, name in enumerate(names):
        theirs = nib.load(out / name)
        np.testing.assert_array_equal(np.asarray(theirs.dataobj), expected.pixels[i, 0])
        np.testing.assert_allclose(theirs.affine, expected.affine)
        assert nib.aff2axcodes(theirs.affine) == ("R", "A", "S") and theirs.header.get_zooms() == (1, 1, 2)
        assert bytes(theirs.header["descrip"]).startswith(b"SYNTHETIC MR au")
        said = json.loads(theirs.header.extensions[0].get_content())
        assert json.loads(said["Request"])["seeds"] == [4 + i] and said["Model"] == NAME
        assert read_volume(out / name).synthetic
    with (out / "labels.csv").open(newline="") as file:
        assert [(row["seed"], row["quantity"]) for row in csv.DictReader(file)] == [(s, "100.0") for s in "456"]
    manifest = provenance.read_manifest(out / "manifest.json")
    assert provenance.requests_of(manifest) == [Request((4, 5, 6), quantity=100.0)]
    digests = [voxels_sha256(Volume.of(expected, i)) for i in range(3)]
    assert [file["pixels_sha256"] for file in manifest["files"]] == digests
    assert manifest["volume"]["spacing_mm"] == [1, 1, 2] and manifest["volume"]["shape"] == [8, 10, 12]


def test_a_manifest_remakes_the_same_voxels_and_notices_others(card, tmp_path, capsys, monkeypatch):
    first = tmp_path / "first"
    assert run(NAME, "--n", 2, "--quantity", 50, "--out", first) == 0  # nii is what volumes are saved as
    assert run("--manifest", first / "manifest.json", "--out", tmp_path / "again", "--batch", 2) == 0
    assert "2 volumes" in (said := capsys.readouterr().out) and "the same pixels as manifest.json" in said
    old, new = (json.loads((tmp_path / name / "manifest.json").read_text()) for name in ("first", "again"))
    assert old["files"] == new["files"] and old["request"] == new["request"] and old["volume"] == new["volume"]
    assert (first / old["files"][1]["file"]).read_bytes() == (tmp_path / "again" / new["files"][1]["file"]).read_bytes()
    sample_of = Blobs.sample

    def other(self, request, on_step=None):
        made = sample_of(self, request, on_step)
        made.pixels[-1, 0, 3, 3, 3] += 1e-3
        return made

    monkeypatch.setattr(Blobs, "sample", other)
    assert run("--manifest", first / "manifest.json", "--out", tmp_path / "other") == 1
    assert "2 of 2 volumes differ from manifest.json, first 0000_seed0" in capsys.readouterr().err


def test_the_sidecar_of_one_volume_is_a_manifest_too(card, tmp_path, capsys):
    request = Request((7,))
    volume = Volume.of(medgen.load(NAME).sample(request), 0)
    sidecar = save_nifti(volume, tmp_path / "one.nii.gz", card, request, seconds=1.0)
    assert run("--manifest", sidecar, "--out", tmp_path / "again") == 0
    assert "the same pixels as one.json" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "format", "words"),
    [
        (NAME, "png", "makes volumes; choose nii, not png"),
        (NAME, "dcm", "makes volumes; choose nii, not dcm"),
        ("noise-cxr-8", "nii", "makes pictures; choose png or dcm, not nii"),
    ],
)
def test_a_format_of_the_other_kind_is_refused_before_anything_is_made(card, tmp_path, capsys, name, format, words):
    assert run(name, "--format", format, "--out", tmp_path / "out") == 2
    assert words in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_a_bad_quantity_is_refused_before_anything_is_made(card, tmp_path, capsys):
    assert run(NAME, "--quantity", 9000, "--out", tmp_path / "out") == 2
    assert "from 24 to 440 mm3" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_volumes_are_made_one_at_a_time_unless_asked_otherwise(card, tmp_path, monkeypatch):
    model = Blobs(card)
    monkeypatch.setattr(medgen, "load", lambda name: model)
    assert run(NAME, "--n", 3, "--out", tmp_path / "a") == 0 and model.batches == [1, 1, 1]
    assert run(NAME, "--n", 3, "--out", tmp_path / "b", "--batch", 2) == 0 and model.batches[3:] == [2, 1]
    files = [sorted((tmp_path / name).glob("*.nii.gz")) for name in "ab"]
    assert [path.read_bytes() for path in files[0]] == [path.read_bytes() for path in files[1]]


def test_sets_of_volumes_in_a_zip_with_columns_of_their_own(card, tmp_path):
    images = medgen.load(NAME).sample(Request((1, 2)))
    with zip_writer(card, tmp_path / "all.zip") as writer:
        writer.add(images, Request((1, 2)), folder="GAN", columns=[{"mm3": "10"}, {"mm3": "20"}])
        writer.finish(seconds=1.0)
    with zipfile.ZipFile(tmp_path / "all.zip") as archive:
        assert archive.namelist()[:2] == ["GAN/0000_seed1.nii.gz", "GAN/0001_seed2.nii.gz"]
        assert "GAN/0000_seed1.nii.gz,1,,10" in archive.read("labels.csv").decode()
        (tmp_path / "one.nii.gz").write_bytes(archive.read("GAN/0001_seed2.nii.gz"))
    np.testing.assert_array_equal(read_volume(tmp_path / "one.nii.gz").array, images.pixels[1, 0])


def test_what_is_no_volume_and_what_has_diverged_is_not_saved(card, tmp_path):
    flat = ImageSet(np.zeros((1, 1, 8, 8), np.float32), "MR", "au", (0.0, 255.0))
    with pytest.raises(MedgenError, match="1 grey volumes"):
        save_set(flat, card, Request((1,)), tmp_path / "flat", seconds=0.0)
    broken = medgen.load(NAME).sample(Request((1,)))
    broken.pixels[0, 0, 1, 2, 3] = np.nan
    with pytest.raises(MedgenError, match="NaN"), folder_writer(card, tmp_path / "nan") as writer:
        writer.add(broken, Request((1,)))
    assert formats(card) == ("nii",) and formats(replace(card, shape=(1, 8, 8))) == FORMATS
    assert [path.name for path in Path(tmp_path).iterdir()] == ["checkpoints"]


def test_a_volume_of_a_set_lies_where_the_set_says(card):
    images = medgen.load(NAME).sample(Request((1, 2)))
    one = Volume.of(images, 1)
    assert one.synthetic and one.axes == "RAS" and one.window == (0, 255) and one.spacing_mm == (1, 1, 2)
    np.testing.assert_array_equal(one.array, images.pixels[1, 0])
    np.testing.assert_array_equal(one.images().pixels, images.pixels[1:])
    np.testing.assert_allclose(one.world(np.array([3.5, 4.5, 5.5])), 0, atol=1e-12)
    assert not Volume.of(replace(images, subjects=("a", "b")), 0).synthetic
    assert not Volume.of(replace(images, affine=None), 0).oriented
    with pytest.raises(MedgenError, match="no grey volumes"):
        Volume.of(replace(images, pixels=images.pixels[:, :, 0]), 0)
