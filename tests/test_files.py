"""Files say that they are synthetic, give their pixels back exactly, and are whole or absent."""

from __future__ import annotations

import csv
import errno
import io
import json
import shutil
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.pixels import apply_voi_lut
from pydicom.valuerep import validate_value

from medgen import ImageSet, MedgenError, ModelCard, Region, Request, files, noise, provenance

CARD = ModelCard(
    name="noise-cxr-9",
    family="noise",
    title="Noise",
    modality="CR",
    unit="au",
    window=(0.0, 255.0),
    shape=(1, 7, 9),
    licence="MIT",
    limits="Noise.",
    controls=("label", "steps"),
    labels=("normal", "viral pneumonia"),
    steps=4,
    weights={"model.safetensors": "ab" * 32},
)
REQUEST = Request(seeds=(3, 4), label="viral pneumonia")


def picture(height: int = 7, width: int = 9, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width), dtype=np.uint8)  # odd byte count on purpose


def image_set(n: int = 2) -> ImageSet:
    pixels = np.stack([picture(seed=i) for i in range(n)])[:, None].astype(np.float32)
    return ImageSet(pixels, "CR", "au", (0.0, 255.0))


def mark() -> dict[str, str]:
    return provenance.mark(CARD, REQUEST, 1)


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


# --- PNG


def test_png_gives_its_pixels_back_and_says_it_is_synthetic():
    image = Image.open(io.BytesIO(files.png_bytes(picture(), mark())))
    assert image.mode == "L"
    np.testing.assert_array_equal(np.asarray(image), picture())
    assert image.text["Synthetic"] == "true" and "Not for clinical use" in image.text["Disclaimer"]
    assert (image.text["Model"], image.text["Seed"], image.text["Label"]) == ("noise-cxr-9", "4", "viral pneumonia")
    xmp = image.text["XML:com.adobe.xmp"]
    (description,) = ElementTree.fromstring(xmp).iter("{http://www.w3.org/1999/02/22-rdf-syntax-ns#}Description")
    kind = description.get("{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}DigitalSourceType")
    assert kind == "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"


def test_a_png_alone_holds_the_request_that_remakes_it():
    image = Image.open(io.BytesIO(files.png_bytes(picture(), mark())))
    alone = Request.from_json(json.loads(image.text["Request"]))
    assert alone == Request(seeds=(4,), label="viral pneumonia", steps=4)  # the card's default is written out
    assert alone.checked(CARD) == alone


def test_png_marks_itself_without_any_provenance_and_keeps_other_alphabets():
    image = Image.open(io.BytesIO(files.png_bytes(picture(), {"Label": "пневмония"})))
    assert image.text["Synthetic"] == "true" and image.text["Label"] == "пневмония"


def test_png_refuses_pixels_it_would_have_to_change():
    for bad in (picture().astype(np.float32), picture()[None]):
        with pytest.raises(MedgenError, match="uint8"):
            files.png_bytes(bad, {})


# --- DICOM

# PS3.3 A.8.1.3, Secondary Capture Image IOD: its mandatory modules, and VOI LUT, as we write a window
FILLED = {
    "SOP Common": ("SOPClassUID", "SOPInstanceUID", "SpecificCharacterSet"),
    "Study and Series": ("StudyInstanceUID", "SeriesInstanceUID", "Modality"),
    "SC Equipment": ("ConversionType",),
    "Image Pixel": ("SamplesPerPixel", "PhotometricInterpretation", "Rows", "Columns", "BitsAllocated", "BitsStored"),
    "Image Pixel, continued": ("HighBit", "PixelRepresentation", "PixelData"),
    "VOI LUT": ("WindowCenter", "WindowWidth"),
}
PRESENT = {  # types 2 and 2C: may be empty
    "Patient": ("PatientName", "PatientID", "PatientBirthDate", "PatientSex"),
    "Study": ("StudyDate", "StudyTime", "ReferringPhysicianName", "StudyID", "AccessionNumber"),
    "Series and Equipment": ("SeriesNumber", "Laterality", "Manufacturer"),
    "General Image": ("InstanceNumber", "PatientOrientation", "ContentDate", "ContentTime"),
}


def read(content: bytes) -> pydicom.Dataset:
    return pydicom.dcmread(io.BytesIO(content))


def test_dicom_gives_its_pixels_back_and_shows_them_unchanged():
    ds = read(files.dicom_bytes(picture(), mark()))
    np.testing.assert_array_equal(ds.pixel_array, picture())
    assert ds.PhotometricInterpretation == "MONOCHROME2" and (ds.BitsAllocated, ds.BitsStored, ds.HighBit) == (8, 8, 7)
    assert len(ds.PixelData) % 2 == 0 and ds["PixelData"].VR == "OB"
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16)
    shown = apply_voi_lut(ramp, read(files.dicom_bytes(ramp, mark())))
    np.testing.assert_allclose(shown, ramp, atol=1e-9)


def test_dicom_has_every_attribute_its_class_demands():
    ds = read(files.dicom_bytes(picture(), mark()))
    assert ds.SOPClassUID.name == "Secondary Capture Image Storage" and ds.Modality == "CR"
    assert ds.file_meta.MediaStorageSOPInstanceUID == ds.SOPInstanceUID
    assert ds.file_meta.MediaStorageSOPClassUID == ds.SOPClassUID
    for keyword in (word for words in (*FILLED.values(), *PRESENT.values()) for word in words):
        assert keyword in ds, keyword
    for keyword in (word for words in FILLED.values() for word in words):
        assert ds[keyword].value not in (None, "", b""), keyword
    (maker,) = ds.ContributingEquipmentSequence
    assert maker.Manufacturer and maker.PurposeOfReferenceCodeSequence[0].CodeValue == "109102"


def test_every_value_of_a_dicom_fits_its_value_representation():
    checked = []
    for element in read(files.dicom_bytes(picture(), mark())).iterall():
        if element.VR in ("SQ", "OB", "US"):  # sequences and binary numbers have no text form to check
            continue
        for value in element.value if element.VM > 1 else [element.value]:
            validate_value(element.VR, str(value), pydicom.config.RAISE)
            checked.append(element.VR)
    assert len(checked) > 30 and {"DA", "TM", "UI", "CS", "LO", "PN", "DS", "IS"} <= set(checked)
    with pytest.raises(ValueError, match="CS"):
        validate_value("CS", "lower case", pydicom.config.RAISE)  # the check can fail


def test_dicom_says_it_is_synthetic_and_names_no_patient():
    ds = read(files.dicom_bytes(picture(), mark()))
    assert ds[0x0008, 0x001C].value == "YES" and list(ds.ImageType) == ["DERIVED", "SECONDARY"]
    assert ds.ConversionType == "SYN" and ds.BurnedInAnnotation == "NO"
    assert "SYNTHETIC" in str(ds.PatientName) and ds.PatientID == "SYNTHETIC"
    for keyword in ("PatientBirthDate", "PatientSex", "ReferringPhysicianName", "AccessionNumber"):
        assert not ds[keyword].value, keyword
    assert "noise-cxr-9, seed 4, label viral pneumonia" in ds.DerivationDescription
    assert ds.Manufacturer == "medgen" and ds.SoftwareVersions.startswith("medgen ")


def test_dicom_has_new_uids_each_time_unless_the_set_shares_them():
    first, second = (read(files.dicom_bytes(picture(), mark())) for _ in range(2))
    for keyword in ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"):
        assert first[keyword].value != second[keyword].value
        assert first[keyword].value.is_valid


def test_dicom_long_names_and_other_alphabets_survive():
    ds = read(files.dicom_bytes(picture(), {**mark(), "Label": "пневмония " * 20, "Model": "m" * 80}))
    assert "пневмония" in ds.DerivationDescription and len(ds.SeriesDescription) <= 64


def test_dicom_refuses_what_is_no_xray_picture():
    with pytest.raises(MedgenError, match="choose PNG"):
        files.dicom_bytes(picture(), mark(), modality="MR")
    for bad in (picture().astype(np.float32), picture()[:0]):
        with pytest.raises(MedgenError, match="uint8"):
            files.dicom_bytes(bad, mark())


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dicom3tools is not installed")
def test_dciodvfy_finds_no_error(tmp_path):
    path = tmp_path / "one.dcm"
    path.write_bytes(files.dicom_bytes(picture(), mark()))
    done = subprocess.run(["dciodvfy", path], capture_output=True, text=True, timeout=30, check=False)
    said = (done.stdout + done.stderr).splitlines()
    assert "SCImage" in said  # it recognised the class and checked it
    # releases before 2023 do not know (0008,001C) Synthetic Data, which PS3.3 C.12.1 has
    assert not [line for line in said if line.startswith("Error") and "(0x0008,0x001c)" not in line]


# --- sets


def test_a_saved_set_is_images_labels_and_manifest(tmp_path):
    path = files.save_set(image_set(), CARD, REQUEST, tmp_path / "deep" / "set", seconds=1.5, peak_mb=20.0)
    names = ["0000_seed3_viral-pneumonia.png", "0001_seed4_viral-pneumonia.png"]
    assert sorted(tree(path.parent)) == [*names, "labels.csv", "manifest.json"]
    assert [p.name for p in tmp_path.iterdir()] == ["deep"] and len(list((tmp_path / "deep").iterdir())) == 1
    with (path.parent / "labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows == [{"file": n, "seed": s, "label": "viral pneumonia"} for n, s in zip(names, "34", strict=True)]
    manifest = provenance.read_manifest(path)
    assert (manifest["model"], manifest["weights"]) == (CARD.name, CARD.weights)
    assert (manifest["seconds"], manifest["peak_mb"]) == (1.5, 20.0)
    assert provenance.requests_of(manifest) == [Request(seeds=(3, 4), label="viral pneumonia", steps=4)]
    for i, file in enumerate(manifest["files"]):
        pixels = np.asarray(Image.open(path.parent / file["file"]))
        np.testing.assert_array_equal(pixels, image_set().uint8()[i, 0])
        assert file["pixels_sha256"] == provenance.pixels_sha256(pixels)


def test_a_png_set_and_a_dicom_set_have_the_same_pixel_hashes(tmp_path):
    both = []
    for format in files.FORMATS:
        path = files.save_set(image_set(), CARD, REQUEST, tmp_path / format, seconds=0.0, format=format)
        both.append([file["pixels_sha256"] for file in json.loads(path.read_text())["files"]])
    assert both[0] == both[1] and both[0][0] != both[0][1]
    slices = [pydicom.dcmread(path) for path in sorted((tmp_path / "dcm").glob("*.dcm"))]
    assert len({ds.StudyInstanceUID for ds in slices}) == len({ds.SeriesInstanceUID for ds in slices}) == 1
    assert len({ds.SOPInstanceUID for ds in slices}) == 2 and [ds.InstanceNumber for ds in slices] == [1, 2]


def test_a_zip_holds_the_same_pictures_as_the_folder(tmp_path):
    files.save_set(image_set(), CARD, REQUEST, tmp_path / "set", seconds=1.0)
    path = files.zip_set(image_set(), CARD, REQUEST, tmp_path / "set.zip", seconds=1.0)
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        packed = {name: archive.read(name) for name in sorted(archive.namelist())}
    unpacked = tree(tmp_path / "set")
    for one in (packed, unpacked):
        manifest = json.loads(one.pop("manifest.json"))
        assert len(manifest["files"]) == 2
    assert packed == unpacked


def test_several_labels_make_several_requests(tmp_path):
    with files.folder_writer(CARD, tmp_path / "set") as writer:
        for label in CARD.labels:
            for seed in (0, 1):  # two batches of one request
                writer.add(image_set(1), Request(seeds=(seed,), label=label))
        manifest = writer.finish(seconds=0.0)
    assert [(r["label"], r["seeds"]) for r in manifest["request"]] == [("normal", [0, 1]), ("viral pneumonia", [0, 1])]
    assert [file["label"] for file in manifest["files"]] == ["normal"] * 2 + ["viral pneumonia"] * 2


def test_other_files_stay_and_no_file_is_ever_replaced(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    files.save_set(image_set(), CARD, REQUEST, tmp_path, seconds=0.0)
    before = tree(tmp_path)
    assert before["notes.txt"] == b"mine" and len(before) == 5
    with pytest.raises(MedgenError, match="already holds manifest"):
        files.save_set(image_set(), CARD, REQUEST, tmp_path, seconds=0.0)
    for name in ("manifest.json", "labels.csv"):
        (tmp_path / name).unlink()
    (tmp_path / "0000_seed3_viral-pneumonia.png").write_text("mine too")
    before = tree(tmp_path)
    with pytest.raises(MedgenError, match="already holds 0000_seed3"):
        files.save_set(image_set(), CARD, REQUEST, tmp_path, seconds=0.0)
    assert tree(tmp_path) == before and len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize("problem", ["nan", "wrong count", "volume", "unfinished", "format", "nothing"])
def test_a_set_that_fails_leaves_nothing(tmp_path, problem):
    images, format = image_set(), "png"
    if problem == "nan":
        images.pixels[1, 0, 2, 2] = np.nan  # the first file has been written by then
    elif problem == "wrong count":
        images = image_set(3)
    elif problem == "volume":
        images = ImageSet(np.zeros((2, 1, 4, 4, 4), np.float32), "CR", "au", (0.0, 1.0))
    elif problem == "format":
        format = "jpeg"
    with pytest.raises(MedgenError), files.folder_writer(CARD, tmp_path / "a" / "set", format) as writer:
        if problem != "nothing":
            writer.add(images, REQUEST)
        if problem != "unfinished":
            writer.finish(seconds=0.0)
    assert list(tmp_path.iterdir()) == []


def test_disk_full_is_one_sentence_and_leaves_nothing(tmp_path, monkeypatch):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "notes.txt").write_text("mine")
    write, written = Path.write_bytes, []

    def full(path: Path, content: bytes) -> int:
        if len(written) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(path)
        return write(path, content)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(MedgenError, match="Could not write set: No space left on device"):
        files.save_set(image_set(), CARD, REQUEST, tmp_path / "set", seconds=0.0)
    assert len(written) == 2 and tree(tmp_path) == {"set/notes.txt": b"mine"}
    assert [p.name for p in (tmp_path / "set").iterdir()] == ["notes.txt"]


@pytest.mark.parametrize(
    ("error", "expected", "words"),
    [
        (OSError(errno.EIO, "Input/output error"), MedgenError, "Input/output"),
        (KeyboardInterrupt(), KeyboardInterrupt, None),
    ],
)
def test_a_move_that_fails_takes_the_moved_files_back(tmp_path, monkeypatch, error, expected, words):
    (tmp_path / "notes.txt").write_text("mine")
    rename = Path.rename

    def failing(path: Path, target: Path) -> Path:
        if path.name == "labels.csv":
            raise error
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(expected, match=words):
        files.save_set(image_set(), CARD, REQUEST, tmp_path, seconds=0.0)
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]


def test_a_zip_that_fails_keeps_the_earlier_one(tmp_path, monkeypatch):
    path = files.zip_set(image_set(), CARD, REQUEST, tmp_path / "set.zip", seconds=1.0)
    before = path.read_bytes()

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(zipfile.ZipFile, "writestr", full)
    with pytest.raises(MedgenError, match="No space left"):
        files.zip_set(image_set(), CARD, REQUEST, path, seconds=2.0)
    assert tree(tmp_path) == {"set.zip": before}


# --- what a picture of half a disease, and one of which a region was made, are called

GRADED = replace(CARD, labels=("normal", "viral_pneumonia"), controls=("label", "severity", "source", "region"))
SEAM = Region.from_mask(np.eye(7, 9, dtype=bool))


def one_of_each(tmp_path: Path, request: Request) -> tuple[dict[str, str], dict[str, str], pydicom.Dataset, str]:
    """`(row of labels.csv, PNG text, DICOM file, names of the files)` of the first picture of `request`."""
    for format in files.FORMATS:
        images = noise.load(GRADED).sample(request)
        files.save_set(images, GRADED, request, tmp_path / format, seconds=0.0, format=format)
    with (tmp_path / "png" / "labels.csv").open(newline="") as file:
        row = next(csv.DictReader(file))
    (ds,) = (pydicom.dcmread(path) for path in (tmp_path / "dcm").glob("*.dcm"))
    return row, Image.open(tmp_path / "png" / row["file"]).text, ds, " ".join(tree(tmp_path))


@pytest.mark.parametrize(
    ("severity", "label", "name"),
    [
        (None, "viral_pneumonia", "viral_pneumonia"),
        (0.0, "normal", "normal_severity0.0"),
        (0.5, "viral_pneumonia", "viral_pneumonia_severity0.5"),
        (1, "viral_pneumonia", "viral_pneumonia_severity1.0"),
    ],
)
def test_no_file_claims_more_disease_than_was_asked(tmp_path, severity, label, name):
    request = Request((3,), label="viral_pneumonia", severity=severity)
    assert noise.load(GRADED).sample(request).labels == (label,)
    row, words, ds, names = one_of_each(tmp_path, request)
    graded = {} if severity is None else {"severity": str(severity)}
    assert row == {"file": f"0000_seed3_{name}.png", "seed": "3", "label": label, **graded}
    assert words["Label"] == label and words.get("Severity") == graded.get("severity")
    asked = "" if severity is None else f"severity {severity} "
    assert ds.SeriesDescription == f"SYNTHETIC noise-cxr-9 {asked}{label}"
    assert f"label {label}{', ' if asked else ''}{asked.strip()}." in ds.DerivationDescription
    (file,) = provenance.read_manifest(tmp_path / "png" / "manifest.json")["files"]
    assert (file["label"], file.get("severity")) == (label, severity)
    if severity == 0.0:
        assert "pneumonia" not in f"{names} {ds.SeriesDescription} {ds.DerivationDescription} {words['Label']}"


def test_a_severity_stands_where_a_long_label_cannot_push_it_out():
    words = {**mark(), "Label": "viral_pneumonia|" * 9, "Severity": "0.1"}
    assert "severity 0.1 viral" in read(files.dicom_bytes(picture(), words)).SeriesDescription


def test_pictures_of_one_set_with_and_without_a_severity_share_a_table(tmp_path):
    with files.folder_writer(GRADED, tmp_path / "set") as writer:
        for severity in (None, 0.0, 0.25):
            writer.add(image_set(1), Request((0,), label="viral_pneumonia", severity=severity))
        writer.finish(seconds=0.0)
    with (tmp_path / "set" / "labels.csv").open(newline="") as file:
        rows = [(row["label"], row["severity"]) for row in csv.DictReader(file)]
    assert rows == [("viral_pneumonia", ""), ("normal", "0.0"), ("viral_pneumonia", "0.25")]


def test_a_label_of_a_region_is_never_that_of_the_whole_picture(tmp_path):
    request = Request((3,), label="viral_pneumonia", source=image_set(1), region=SEAM, source_synthetic=True)
    assert noise.load(GRADED).sample(request).labels is None
    row, words, ds, _ = one_of_each(tmp_path, request)
    name = "0000_seed3_region-viral_pneumonia.png"
    assert row == {"file": name, "seed": "3", "label": "", "region_label": "viral_pneumonia"}
    assert "Label" not in words and words["Region label"] == "viral_pneumonia"
    assert ds.SeriesDescription == "SYNTHETIC noise-cxr-9 region: viral_pneumonia"
    assert ", region label viral_pneumonia." in ds.DerivationDescription
    (file,) = provenance.read_manifest(tmp_path / "png" / "manifest.json")["files"]
    assert (file["label"], file["region_label"]) == (None, "viral_pneumonia")


@pytest.mark.parametrize("uploaded", [True, False])
def test_a_repainted_upload_is_called_partly_synthetic_and_a_repainted_synthetic_picture_wholly(tmp_path, uploaded):
    # who says nothing is taken to give an upload
    request = Request((3,), label="normal", source=image_set(1), region=SEAM)
    request = request if uploaded else replace(request, source_synthetic=True)
    _, words, ds, _ = one_of_each(tmp_path, request)
    kind = "compositeWithTrainedAlgorithmicMedia" if uploaded else "trainedAlgorithmicMedia"
    share = "PARTLY SYNTHETIC" if uploaded else "SYNTHETIC"
    assert f'digitalsourcetype/{kind}"' in words["XML:com.adobe.xmp"]
    assert words["Synthetic"] == ("partly" if uploaded else "true")
    assert ds.DerivationDescription.endswith(f"digitalsourcetype/{kind}")
    assert str(ds.PatientName) == f"{share}^NOT A PATIENT{' RECORD' if uploaded else ''}"
    assert ds.PatientID == ds.StudyID == share and ds.SeriesDescription.startswith(f"{share} noise")
    assert ds[0x0008, 0x001C].value == "YES" and ds.ConversionType == ("WSD" if uploaded else "SYN")
    manifest = provenance.read_manifest(tmp_path / "dcm" / "manifest.json")
    for said in (words["Disclaimer"], words["XML:com.adobe.xmp"], ds.ImageComments, manifest["notice"]):
        assert ("Partly synthetic" in said) == ("the rest is an uploaded picture" in said) == uploaded
    assert ("The rest is the uploaded picture." in ds.DerivationDescription) == uploaded
    # of an upload nobody knows whether letters are burned in or it was a JPEG once
    assert ("BurnedInAnnotation" in ds) == ("LossyImageCompression" in ds) == (not uploaded)
    for element in ds.iterall():
        if element.VR in ("LO", "SH", "PN", "CS", "ST", "LT") and element.VM == 1:
            validate_value(element.VR, str(element.value), pydicom.config.RAISE)
    # whoever remakes it from the manifest marks it the same way
    (again,) = provenance.requests_of(manifest)
    assert again.keeps_upload() == uploaded and again == replace(request, source=None)


def test_a_manifest_must_not_say_in_words_that_a_source_is_synthetic(tmp_path):
    path = files.save_set(image_set(), CARD, REQUEST, tmp_path / "set", seconds=0.0)
    values = json.loads(path.read_text())
    for bad in ("no", 1):
        values["request"]["source_synthetic"] = bad
        with pytest.raises(MedgenError, match="source_synthetic it cannot have"):
            provenance.requests_of(values)


# --- provenance


def test_files_and_provenance_import_no_torch():
    code = "import medgen.files, medgen.provenance, sys; raise SystemExit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0


def test_a_manifest_is_json_and_names_versions_and_time():
    values = provenance.manifest(CARD, REQUEST, [], seconds=0.1)
    again = json.loads(json.dumps(values, allow_nan=False))
    assert again["synthetic"] is True and again["peak_mb"] is None
    assert {"medgen", "python", "numpy"} <= set(again["versions"])
    assert again["created"].endswith("+00:00")
    assert again["commit"] is None or len(again["commit"].removesuffix("-dirty")) == 40


def test_the_explicit_request_of_a_model_with_fixed_steps_can_be_asked_again():
    card = ModelCard(**{**CARD.__dict__, "controls": ("label",)})  # has default steps, takes none
    assert provenance.explicit(card, REQUEST).checked(card).steps == 4
