"""Real images: the catalogue, splits by patient, the layouts people have on disk, and every broken form of them."""

import io
import os
import subprocess
import sys
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from conftest import compact_archive, webp
from PIL import Image

from medgen import layouts
from medgen.data import DATASETS, available, data_dir, main, manifest_text, published_splits, real
from medgen.errors import MedgenError
from medgen.image import ImageSet, concatenate
from medgen.record import Record, attributes, hash_split, on_two_sides, read_manifest

MANIFESTS = Path(layouts.__file__).parent / "manifests"
HERE = {name: available(name) for name in DATASETS}
ROOT = data_dir()


def picture(seed, side=(128, 128)):
    """A smooth picture (so that a resize keeps its mean), different for each seed."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (8, 8)).astype(np.uint8))
    return small.resize(side, Image.Resampling.BICUBIC)


def encoded(image, form):
    content = io.BytesIO()
    image.save(content, form)
    return content.getvalue()


def write_archive(root, rows, images=None):
    """kermany_cxr_128.zip; rows are (file, label, patient, split)."""
    files = [(images or {}).get(row[0]) or webp(picture(i)) for i, row in enumerate(rows)]
    return compact_archive(root / "kermany_cxr_128.zip", ("file", "label", "patient", "split"), rows, files)


def write_adults(root, rows):
    """nih_cxr_128.zip; rows are (file, labels, patient, age, sex, view)."""
    columns = ("file", "labels", "patient", "age", "sex", "view")
    return compact_archive(root / "nih_cxr_128.zip", columns, rows, [webp(picture(i)) for i in range(len(rows))])


def rows(n=12):
    return [
        (f"normal__IM-{i:04}-0001.webp", "normal", f"IM-{i:04}", ("train", "train", "val", "test")[i % 4])
        for i in range(n)
    ]


@pytest.fixture
def root(tmp_path, monkeypatch):
    folder = tmp_path / "data"
    folder.mkdir()
    monkeypatch.setenv("MEDGEN_DATA", str(folder))
    return folder


def kermany(root, names, form="PNG"):
    """chest_xray/{train,test}/{NORMAL,PNEUMONIA} with the given relative files."""
    for split in ("train", "test"):
        for kind in ("NORMAL", "PNEUMONIA"):
            (root / "chest_xray" / split / kind).mkdir(parents=True, exist_ok=True)
    for i, name in enumerate(names):
        (root / "chest_xray" / name).write_bytes(encoded(picture(i), form))
    return root / "chest_xray"


def digest(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


# ---- the catalogue and the published manifests


@pytest.mark.parametrize("name", ["kermany_cxr_128", "nih_cxr_128"])
def test_no_patient_is_on_two_sides_of_the_published_manifest(name):
    entry = DATASETS[name]
    published = read_manifest(MANIFESTS / entry.manifest)
    assert on_two_sides(published) == []
    assert len({record.file for record in published}) == len(published) == entry.n_images
    assert len({record.patient for record in published}) == entry.n_subjects
    assert dict(Counter(record.split for record in published)) == entry.splits
    assert dict(Counter(label for record in published for label in record.label.split("|"))) == entry.counts
    assert set(entry.counts) == set(entry.labels)


def test_the_check_for_two_sides_sees_a_leak():
    leak = [Record(f"{s}.webp", "normal", "IM-0001", s, f"{s}.webp") for s in ("train", "test")]
    assert on_two_sides(leak) == ["IM-0001"]


def test_patients_of_kermany_file_names_agree_with_the_published_ones():
    for record in read_manifest(MANIFESTS / "kermany_cxr_128.csv"):
        label, _, stem = record.file.removesuffix(".webp").partition("__")
        kind = "NORMAL" if label == "normal" else "PNEUMONIA"
        assert layouts._kermany_name(Path(kind) / f"{stem}.jpeg", kind) == (label, record.patient)


def test_split_by_hash_is_stable_and_about_80_10_10():
    published = read_manifest(MANIFESTS / "nih_cxr_128.csv")
    assert [r.split for r in published] == [hash_split(r.patient) for r in published]
    shares = Counter(hash_split(f"{i:08}") for i in range(5000))
    assert 3900 < shares["train"] < 4100 and 430 < shares["val"] < 570 and 430 < shares["test"] < 570


@pytest.mark.parametrize("name", [name for name, entry in DATASETS.items() if entry.archive])
def test_the_manifest_equals_the_archive(name):
    if not HERE[name]:
        pytest.skip(f"{name} is not here")
    entry = DATASETS[name]
    text = manifest_text(entry, ROOT / entry.archive)
    if name == "kermany_cxr_256":  # a subset of the same patients, on the same sides
        published = set((MANIFESTS / entry.manifest).read_text().splitlines())
        assert set(text.splitlines()) <= published
    else:
        assert text == (MANIFESTS / f"{name}.csv").read_text()


@pytest.mark.parametrize("name", DATASETS)
def test_the_real_archive_passes_its_own_check(name, capsys):
    if not HERE[name]:
        pytest.skip(f"{name} is not here")
    assert main(["check", name]) == 0
    told = capsys.readouterr().out
    assert "WRONG" not in told and str(DATASETS[name].splits["train"]) in told


def test_real_x_rays_come_with_labels_and_patients():
    if not HERE["kermany_cxr_128"]:
        pytest.skip("kermany_cxr_128 is not here")
    images = real("kermany_cxr_128", "test")
    assert images.pixels.shape == (584, 1, 128, 128) and images.pixels.dtype == np.float32
    assert (images.modality, images.unit, images.window) == ("CR", "au", (0.0, 255.0))
    assert 0 <= images.pixels.min() < 20 and 235 < images.pixels.max() <= 255
    assert set(images.labels) == set(DATASETS["kermany_cxr_128"].labels)
    # a chest X-ray: the spine and heart in the middle are brighter than the air in the upper corners
    mean = images.pixels.mean(axis=(0, 1))
    assert mean[40:90, 56:72].mean() > mean[:20, :20].mean() + 30


# ---- real()


def test_a_draw_is_repeatable_without_replacement_and_grows_by_its_end(root):
    write_archive(root, rows(40))
    six, ten = real("kermany_cxr_128", "train", n=6, seed=3), real("kermany_cxr_128", "train", n=10, seed=3)
    assert len(set(ten.subjects)) == 10
    assert ten.subjects[:6] == six.subjects and np.array_equal(ten.pixels[:6], six.pixels)
    assert real("kermany_cxr_128", "train", n=10, seed=4).subjects != ten.subjects
    everything = real("kermany_cxr_128", "train")
    assert len(everything) == 20 and list(everything.subjects) == sorted(everything.subjects)


def test_the_returned_pixels_may_be_changed_without_spoiling_the_next_call(root):
    write_archive(root, rows())
    first = real("kermany_cxr_128", "val")
    kept = first.pixels.copy()
    first.pixels[:] = 0
    assert np.array_equal(real("kermany_cxr_128", "val").pixels, kept)


def test_a_replaced_archive_is_read_anew(root):
    path = write_archive(root, rows())
    before = real("kermany_cxr_128", "val").pixels
    write_archive(root, rows(), images={row[0]: webp(picture(99 + i)) for i, row in enumerate(rows())})
    os.utime(path, ns=(1, 1))
    assert not np.array_equal(real("kermany_cxr_128", "val").pixels, before)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("kermany", "train"), "kermany_cxr_128"),
        (("kermany_cxr_128", "training"), "train, val, test"),
        (("kermany_cxr_128", "train", 7), "6 train images"),
        (("kermany_cxr_128", "train", 0), "at least one"),
        (("kermany_cxr_128", "train", 1, -1), "seed"),
        (("nih_cxr_128", "train"), "fetch nih_cxr_128"),
    ],
)
def test_a_question_that_has_no_answer_is_one_sentence(root, arguments, words):
    write_archive(root, rows())
    with pytest.raises(MedgenError, match=words) as caught:
        real(*arguments)
    assert "\n" not in str(caught.value)


def test_without_the_variable_nothing_is_available_and_the_message_names_it(monkeypatch):
    monkeypatch.delenv("MEDGEN_DATA", raising=False)
    assert data_dir() is None
    assert not any(available(name) for name in (*DATASETS, "no such set", ""))
    with pytest.raises(MedgenError, match="MEDGEN_DATA"):
        real("kermany_cxr_128", "train")


@pytest.mark.parametrize("folder", ["/nowhere/at/all", "/dev/null", "x" * 5000])
def test_available_never_raises_and_real_does(monkeypatch, folder):
    monkeypatch.setenv("MEDGEN_DATA", folder)
    assert not available("kermany_cxr_128")
    with pytest.raises(MedgenError, match="MEDGEN_DATA"):
        real("kermany_cxr_128", "train")


# ---- what is known of a picture besides its label


def test_attributes_come_with_the_pictures_and_stay_with_them(root):
    children = [(f"IM-{i:04}.webp", "normal", f"IM-{i:04}", "train") for i in range(2)]
    train = [f"{i:08}" for i in range(40) if hash_split(f"{i:08}") == "train"][:3]
    known = (("34", "F", "PA"), ("411", "M", "AP"), ("", "", ""))
    write_archive(root, children)
    write_adults(root, [(f"{p}_000.webp", "Mass", p, *told) for p, told in zip(train, known, strict=True)])
    adults, young = real("nih_cxr_128", "train"), real("kermany_cxr_128", "train")
    cohort = {"cohort": "nih_cxr_128"}
    expected = ({"age": "34", "sex": "F", "view": "PA", **cohort}, {"sex": "M", "view": "AP", **cohort}, cohort)
    assert adults.attributes == expected
    assert young.attributes == ({"cohort": "kermany_cxr_128"},) * 2
    assert adults.take([2, 0]).attributes == (expected[2], expected[0])
    assert concatenate([young, adults]).attributes == (*young.attributes, *expected)
    (drawn,) = real("nih_cxr_128", "train", n=1, seed=5).subjects
    assert real("nih_cxr_128", "train", n=1, seed=5).attributes == (expected[train.index(drawn)],)


def test_a_set_without_attributes_has_none_and_one_too_few_is_refused():
    plain = ImageSet(np.zeros((2, 1, 4, 4), np.float32), "CR", "au", (0.0, 1.0))
    told = ImageSet(plain.pixels, "CR", "au", (0.0, 1.0), attributes=({"sex": "F"}, {}))
    assert plain.take([0]).attributes is None and concatenate([plain, told]).attributes is None
    with pytest.raises(MedgenError, match="2 images but 1 attributes"):
        ImageSet(plain.pixels, "CR", "au", (0.0, 1.0), attributes=({},))


@pytest.mark.parametrize(
    ("age", "years"),
    [("58", "58"), ("058Y", "58"), ("0", "0"), ("018M", "1"), ("012D", "0"), (" 7 ", "7"), ("120", "120")]
    + [(age, None) for age in ("121", "411", "148Y", "", None, "-3", "58.5", "old", "Y")],
)
def test_an_age_is_in_whole_years_or_unknown(age, years):
    assert attributes(age, None, "") == ({} if years is None else {"age": years})


def test_only_the_sexes_and_views_that_models_know_are_taken():
    assert attributes(None, "M", "PA") == {"sex": "M", "view": "PA"}
    assert attributes(None, "f", "ap") == {"sex": "F", "view": "AP"}
    assert attributes(None, "unknown", "LATERAL") == {}


def test_what_is_known_of_the_real_adults():
    if not HERE["nih_cxr_128"]:
        pytest.skip("nih_cxr_128 is not here")
    told = [dict(one) for split in ("train", "val", "test") for one in real("nih_cxr_128", split).attributes]
    ages = [int(one["age"]) for one in told if "age" in one]
    assert len(told) == 975 and len(ages) == 898
    assert 1 <= min(ages) < 10 and 80 < max(ages) < 100 and 40 < np.mean(ages) < 55
    assert Counter(one.get("view") for one in told) == {"AP": 487, "PA": 411, None: 77}
    assert Counter(one.get("sex") for one in told) == {"M": 493, "F": 405, None: 77}


# ---- broken archives


def test_a_truncated_archive_is_told_from_a_good_one(root):
    path = write_archive(root, rows())
    path.write_bytes(path.read_bytes()[:-3000])
    with pytest.raises(MedgenError, match=r"kermany_cxr_128\.zip.*cut short"):
        real("kermany_cxr_128", "train")


def test_flipped_bytes_inside_an_archive_are_noticed(root):
    path = write_archive(root, rows())
    content = bytearray(path.read_bytes())
    content[2000:2010] = bytes(10)
    path.write_bytes(content)
    with pytest.raises(MedgenError, match="damaged"):
        real("kermany_cxr_128", "train")


def test_an_archive_without_labels_or_with_an_image_missing_is_refused(root):
    write_archive(root, rows())
    with zipfile.ZipFile(root / "kermany_cxr_128.zip", "w") as archive:
        archive.writestr("a.webp", b"")
    with pytest.raises(MedgenError, match=r"labels\.csv"):
        real("kermany_cxr_128", "train")
    with zipfile.ZipFile(root / "kermany_cxr_128.zip", "w") as archive:
        archive.writestr("labels.csv", "file,label,patient,split\ngone.webp,normal,IM-1,train\n")
    with pytest.raises(MedgenError, match=r"gone\.webp"):
        real("kermany_cxr_128", "train")


def test_an_archive_whose_directory_is_damaged_is_told(root):
    path = write_archive(root, rows(1))
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\x01\x02") + 6] = 255  # it now asks for version 25.5 of the zip format
    path.write_bytes(content)
    with pytest.raises(MedgenError, match="not a whole zip file"):
        real("kermany_cxr_128", "train")


@pytest.mark.parametrize(
    "table",
    [
        "file,label\na,b\n",
        "file,label,patient,split\na,normal,IM-1,nowhere\n",
        f'file,label,patient,split\n"{"x" * 200_000}',  # a quotation mark that is never closed
        "\xff",
    ],
    ids=("no column", "no split", "no end", "no text"),
)
def test_a_broken_table_is_refused(root, table):
    with zipfile.ZipFile(root / "kermany_cxr_128.zip", "w") as archive:
        archive.writestr("labels.csv", table.encode("latin-1"))
    with pytest.raises(MedgenError, match=r"labels\.csv"):
        real("kermany_cxr_128", "train")


def test_an_archive_with_a_patient_on_two_sides_is_refused(root):
    leaky = [("a.webp", "normal", "IM-1", "train"), ("b.webp", "normal", "IM-1", "test")]
    write_archive(root, leaky)
    with pytest.raises(MedgenError, match="IM-1 is in two splits"):
        real("kermany_cxr_128", "train")


def test_an_archive_with_an_image_of_another_size_is_refused(root):
    write_archive(root, rows(1), images={rows(1)[0][0]: webp(picture(0, (64, 64)))})
    with pytest.raises(MedgenError, match="128"):
        real("kermany_cxr_128", "train")


# ---- Kermany's folders


def test_folder_and_archive_of_the_same_images_give_the_same_set(root):
    some = read_manifest(MANIFESTS / "kermany_cxr_128.csv")[::400]
    write_archive(root, [(r.file, r.label, r.patient, r.split) for r in some])
    from_archive = real("kermany_cxr_128", "train", n=5, seed=1)
    (root / "kermany_cxr_128.zip").unlink()
    kinds = ["NORMAL" if r.label == "normal" else "PNEUMONIA" for r in some]
    stems = [r.file.partition("__")[2].removesuffix(".webp") for r in some]
    # on purpose all in upstream's train/: the published split counts, not the folder
    kermany(root, [f"train/{kind}/{stem}.png" for kind, stem in zip(kinds, stems, strict=True)])
    from_folder = real("kermany_cxr_128", "train", n=5, seed=1)
    assert np.array_equal(from_folder.pixels, from_archive.pixels)
    assert from_folder.labels == from_archive.labels and from_folder.subjects == from_archive.subjects


def test_all_images_of_one_id_stay_on_one_side_whatever_their_folder_and_kind(root):
    kinds = (("train", "bacteria"), ("test", "virus"))
    names = [f"{s}/PNEUMONIA/person{p}_{k}_{p}.png" for p in (7, 83, 9001, 9002) for s, k in kinds]
    folder = kermany(root, [*names, "test/NORMAL/IM-9003-0001.png", "train/NORMAL/NORMAL2-IM-9003-0001-0002.png"])
    published = published_splits("kermany_cxr_128.csv")
    found = layouts.kermany_records(folder, published)
    assert on_two_sides(found) == []
    assert Counter(r.label for r in found) == {"bacterial_pneumonia": 4, "viral_pneumonia": 4, "normal": 2}
    by_patient = {r.patient: r.split for r in found}
    assert by_patient["person83"] == published["person83"] == "test"
    assert by_patient["person9001"] == hash_split("person9001")
    assert {"IM-9003", "NORMAL2-IM-9003"} <= set(by_patient)


def test_an_image_that_lies_in_two_folders_counts_once(root):
    (root / "chest_xray/val/NORMAL").mkdir(parents=True)
    (root / "chest_xray/val/PNEUMONIA").mkdir()
    kermany(root, ["train/NORMAL/IM-0001-0001.png", "val/NORMAL/IM-0001-0001.png"])
    assert real("kermany_cxr_128", "train").subjects == ("IM-0001",)


def test_folder_images_become_grey_squares_of_the_right_size(root):
    red = Image.merge("RGB", [picture(1, (400, 300)), *[Image.new("L", (400, 300), 0)] * 2])
    folder = kermany(root, [])
    (folder / "train/NORMAL/IM-0001-0001.jpeg").write_bytes(encoded(red, "JPEG"))
    images = real("kermany_cxr_128", "train")
    expected = np.asarray(red.convert("L"), np.float32).mean()
    assert images.pixels.shape == (1, 1, 128, 128) and abs(images.pixels.mean() - expected) < 1.0


def test_the_256_set_leaves_out_images_whose_source_is_smaller(root):
    folder = kermany(root, [])
    (folder / "train/NORMAL/IM-0001-0001.png").write_bytes(encoded(picture(1, (300, 256)), "PNG"))
    (folder / "train/NORMAL/IM-0003-0001.png").write_bytes(encoded(picture(2, (300, 255)), "PNG"))
    images = real("kermany_cxr_256", "train")
    assert images.pixels.shape == (1, 1, 256, 256) and images.subjects == ("IM-0001",)


@pytest.mark.parametrize(
    "name",
    [
        "train/NORMAL/person1_bacteria_1.jpeg",
        "train/PNEUMONIA/IM-0115-0001.jpeg",
        "train/NORMAL/notes.txt",
        "test/PNEUMONIA/person1_fungus_1.jpeg",
        "train/NORMAL/NORMAL-28501-0001.jpeg",
    ],
)
def test_an_unexpected_name_stops_the_reading_because_its_patient_is_unknown(root, name):
    kermany(root, ["train/NORMAL/IM-0001-0001.png", name])
    with pytest.raises(MedgenError, match=Path(name).name):
        real("kermany_cxr_128", "train")


def test_files_that_macos_leaves_are_passed_over(root):
    kermany(root, ["train/NORMAL/IM-0001-0001.png", "train/NORMAL/.DS_Store", "train/NORMAL/._IM-0001-0001.png"])
    assert len(real("kermany_cxr_128", "train")) == 1


@pytest.mark.parametrize("missing", ["train/NORMAL", "test/PNEUMONIA"])
def test_a_missing_class_folder_is_named(root, missing):
    folder = kermany(root, [])
    (folder / missing).rmdir()
    with pytest.raises(MedgenError, match=f"chest_xray/{missing} is missing"):
        real("kermany_cxr_128", "train")


@pytest.mark.parametrize("content", [b"", b"no image at all", encoded(picture(0), "PNG")[:500]])
def test_a_corrupt_image_is_named(root, content):
    folder = kermany(root, [])
    (folder / "train/NORMAL/IM-0001-0001.png").write_bytes(content)
    with pytest.raises(MedgenError, match=r"IM-0001-0001\.png.*damaged"):
        real("kermany_cxr_128", "train")


# ---- ChestX-ray14's folders

HEADERS = {
    "Data_Entry_2017.csv": "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender",
    "Data_Entry_2017_v2020.csv": "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Sex",
}


def chestxray14(root, lines, images, table="Data_Entry_2017.csv", place="images", view=False):
    folder = root / "ChestX-ray14"
    header = HEADERS[table] + (",View Position" if view else "")
    (folder / place).mkdir(parents=True)
    (folder / table).write_text("\n".join([header, *lines]) + "\n", encoding="utf-8-sig")
    for i, name in enumerate(images):
        (folder / place / name).write_bytes(encoded(picture(i), "PNG"))
    return folder


@pytest.mark.parametrize("place", ["images", "images_001/images"])
@pytest.mark.parametrize("table", HEADERS)
def test_chestxray14_gives_joined_labels_and_splits_by_patient(root, table, place):
    patients = [str(i) for i in range(1, 41)]
    lines = [
        f"{p:0>8}_00{k}.png,{f},{k},{p},58,M" for p in patients for k, f in enumerate(("No Finding", "Mass|Edema"))
    ]
    folder = chestxray14(root, lines, [line.split(",")[0] for line in lines[:60]], table, place)
    found = layouts.chestxray14_records(folder, published_splits("nih_cxr_128.csv"))
    assert len(found) == 60 and on_two_sides(found) == []
    assert {r.label for r in found} == {"No Finding", "Edema|Mass"}
    images = real("nih_cxr_128", "train")
    assert set(images.subjects) == {r.patient for r in found if r.split == "train"}
    assert images.subjects[0] in {f"{p:0>8}" for p in patients}


@pytest.mark.parametrize(("table", "age"), [("Data_Entry_2017.csv", "058Y"), ("Data_Entry_2017_v2020.csv", "58")])
def test_chestxray14_tells_age_sex_and_view(root, table, age):
    lines = [f"00000001_000.png,Mass,0,1,{age},M,PA", "00000001_001.png,Mass,1,1,411,F,", "00000001_002.png,Mass,2,1"]
    folder = chestxray14(root, lines, [line.split(",")[0] for line in lines], table, view=True)
    found = layouts.chestxray14_records(folder, {})
    assert [r.attributes for r in found] == [{"age": "58", "sex": "M", "view": "PA"}, {"sex": "F"}, {}]
    images = real("nih_cxr_128", hash_split("00000001"))
    assert images.attributes[0] == {"age": "58", "sex": "M", "view": "PA", "cohort": "nih_cxr_128"}


def test_an_image_that_the_table_lacks_is_named(root):
    chestxray14(root, ["00000001_000.png,Mass,0,1,58,M"], ["00000001_000.png", "00000002_000.png"])
    with pytest.raises(MedgenError, match=r"00000002_000\.png is not in Data_Entry_2017\.csv"):
        real("nih_cxr_128", "train")


@pytest.mark.parametrize(
    ("lines", "images", "words"),
    [
        (["00000001_000.png,Mass,0,2,58,M"], ["00000001_000.png"], "patient"),
        (["00000001_000.png,Mass,0,1,58,M"], [], "holds no image"),
        (["00000001_000.png"], ["00000001_000.png"], "cannot be read"),
    ],
)
def test_a_table_that_cannot_be_true_is_refused(root, lines, images, words):
    chestxray14(root, lines, images)
    with pytest.raises(MedgenError, match=words):
        real("nih_cxr_128", "train")


def test_a_table_without_its_columns_and_a_folder_without_its_table_are_refused(root):
    folder = chestxray14(root, [], [])
    (folder / "Data_Entry_2017.csv").write_text("a,b\n1,2\n")
    with pytest.raises(MedgenError, match="Image Index"):
        real("nih_cxr_128", "train")
    (folder / "Data_Entry_2017.csv").unlink()
    with pytest.raises(MedgenError, match=r"no Data_Entry_2017\.csv"):
        real("nih_cxr_128", "train")


def test_a_16_bit_image_is_refused_rather_than_clipped(root):
    folder = chestxray14(root, ["00000001_000.png,Mass,0,1,58,M"], [])
    Image.fromarray(np.full((128, 128), 40000, np.uint16)).save(folder / "images/00000001_000.png")
    with pytest.raises(MedgenError, match="8-bit"):
        real("nih_cxr_128", hash_split("00000001"))


# ---- the command line


def test_check_finds_each_kind_of_fault_and_changes_nothing(root, capsys):
    same = webp(picture(7))
    faulty = [
        ("blank.webp", "normal", "IM-1", "train"),
        ("twin_a.webp", "normal", "IM-2", "train"),
        ("twin_b.webp", "normal", "IM-3", "test"),
        ("broken.webp", "normal", "IM-4", "val"),
        ("odd.webp", "zebra", "IM-5", "val"),
        ("leak_a.webp", "normal", "IM-6", "train"),
        ("leak_b.webp", "normal", "IM-6", "test"),
    ]
    blank = webp(Image.new("L", (128, 128), 9))
    images = {"blank.webp": blank, "twin_a.webp": same, "twin_b.webp": same, "broken.webp": b"no image"}
    write_archive(root, faulty, images=images)
    before = digest(root)
    assert main(["check", "kermany_cxr_128"]) == 1
    wrong = [line for line in capsys.readouterr().out.splitlines() if line.startswith("WRONG")]
    expected = ["sha256", "IM-6", "zebra", "blank.webp shows next to nothing", "broken.webp", "twin_a.webp (train)"]
    assert len(wrong) == len(expected)
    assert all(any(word in line for line in wrong) for word in expected)
    assert digest(root) == before


def test_check_counts_what_is_known(root, capsys):
    write_adults(root, [(f"{i:08}_000.webp", "Mass", f"{i:08}", "40" if i % 2 else "", "M", "") for i in range(8)])
    assert main(["check", "nih_cxr_128"]) == 1  # the checksum is not the published one
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    counts = {" ".join(words[:2]): sum(map(int, words[2:])) for words in lines if words[:1] == ["with"]}
    assert counts == {"with age": 4, "with sex": 8}


def test_check_of_a_truncated_archive_is_a_finding_not_a_crash(root, capsys):
    path = write_archive(root, rows())
    path.write_bytes(path.read_bytes()[:-3000])
    before = digest(root)
    assert main(["check", "kermany_cxr_128"]) == 1
    assert "cut short" in capsys.readouterr().out
    assert digest(root) == before


def test_check_of_a_sound_folder_finds_nothing(root, capsys):
    kermany(root, ["train/NORMAL/IM-0001-0001.png", "test/PNEUMONIA/person83_virus_1.png"])
    assert main(["check", "kermany_cxr_128"]) == 0
    assert "viral_pneumonia" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["check", "fetch", "manifest"])
def test_an_unknown_name_exits_with_2_and_no_traceback(command, capsys):
    assert main([command, "mnist"]) == 2
    told = capsys.readouterr().err
    assert "kermany_cxr_128" in told and told.count("\n") == 1


def test_list_says_what_is_here(root, capsys):
    write_archive(root, rows())
    assert main(["list"]) == 0
    told = capsys.readouterr().out
    lines = {line.split()[0]: line for line in told.splitlines() if line.startswith(("kermany", "nih")) and "/" in line}
    assert " archive " in lines["kermany_cxr_128"] and " no " in lines["nih_cxr_128"]
    assert "CC BY 4.0" in told and DATASETS["nih_cxr_128"].url in told


def test_manifest_writes_only_names(root, tmp_path):
    write_archive(root, rows(4))
    assert main(["manifest", "kermany_cxr_128", "--out", str(tmp_path / "m.csv")]) == 0
    found = read_manifest(tmp_path / "m.csv")
    assert [(r.file, r.label, r.patient, r.split) for r in found] == rows(4)


def test_the_module_runs_without_torch_and_without_data():
    code = "import sys; from medgen.data import main; main(['list']); assert 'torch' not in sys.modules"
    plain = {key: value for key, value in os.environ.items() if key != "MEDGEN_DATA"}
    ran = subprocess.run([sys.executable, "-c", code], env=plain, capture_output=True, text=True, check=True)
    assert "MEDGEN_DATA is not set" in ran.stdout and ran.stderr == ""
