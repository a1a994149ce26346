"""Axial brain slices: what is cut out of a head, its height, and what else is known of it."""

import csv
import io

import brain_fakes
import numpy as np
import pytest

from medgen.brain_people import people
from medgen.brain_slices_preparation import cut
from medgen.data import DATASETS, available, main, manifest_text, real, records
from medgen.errors import MedgenError
from medgen.image import concatenate
from medgen.volume import Volume
from medgen.volume_sets import splits

NAME = "ixi_brain_128"


@pytest.fixture
def here(heads, tmp_path, monkeypatch):
    monkeypatch.setenv("MEDGEN_DATA", str(heads))
    monkeypatch.setenv("MEDGEN_CACHE", str(heads / "cache"))
    return heads


def volumes(scan, mask, affine=None):
    affine = np.diag([brain_fakes.SPACING] * 3 + [1.0]) if affine is None else affine
    return Volume(scan, affine, "MR", "au"), Volume(mask.astype(np.float32), affine, "MR", "au")


def sliced(shift=(0.0, 0.0, 0.0), stripped=True, spacing_mm=1.5, axes="RAS"):
    scan, mask = (one.reoriented(axes) for one in volumes(*brain_fakes.head(shift)))
    return cut(scan, mask, side=128, spacing_mm=spacing_mm, stripped=stripped)


def test_height_is_from_the_middle_of_the_brain_wherever_the_head_lies():
    here, moved = sliced(), sliced((0.0, 12.0, 18.0))
    np.testing.assert_allclose(here.heights, moved.heights, atol=0.5)
    assert np.array_equal(here.pixels[:, 40:90, 40:90] > 0, moved.pixels[:, 40:90, 40:90] > 0)
    area = (here.pixels > 0).sum(axis=(1, 2))
    assert abs(here.heights[area.argmax()]) < 4 and (np.diff(here.heights) == 2.0).all()
    # an ellipsoid's slice at height h has 1 - (h / radius)^2 of the fullest one's area
    np.testing.assert_allclose(area / area.max(), 1 - (here.heights / brain_fakes.RADII_MM[2]) ** 2, atol=0.12)
    assert area.min() >= 0.2 * area.max()


def test_the_front_is_on_top_the_right_on_the_left_in_any_orientation():
    found = sliced()
    middle = found.pixels[len(found.pixels) // 2].astype(float)
    assert middle[36, 64] > middle[92, 64], "the head is brighter at the front"
    assert middle[64, 40] > middle[64, 90], "and to the right"
    assert found.pixels[-1].max() > found.pixels[0].max(), "and above"
    for axes in ("LPI", "PSR", "AIR"):
        assert np.array_equal(sliced(axes=axes).pixels, found.pixels)


@pytest.mark.parametrize("spacing_mm", [1.5, 2.0])
def test_pixels_have_their_size_and_outside_of_a_brain_is_black(spacing_mm):
    found, whole = sliced(spacing_mm=spacing_mm), sliced(spacing_mm=spacing_mm, stripped=False)
    shown = found.pixels[np.abs(found.heights).argmin()] > 0
    assert abs(shown.any(axis=0).sum() * spacing_mm - 2 * brain_fakes.RADII_MM[0]) < 8
    assert abs(shown.any(axis=1).sum() * spacing_mm - 2 * brain_fakes.RADII_MM[1]) < 8
    assert np.array_equal(found.pixels > 0, (found.pixels >= 1) & (whole.pixels > 0))
    brightest = np.percentile(found.pixels[found.pixels > 0], 99)
    assert 218 <= brightest <= 222 and whole.pixels.max() == 255, "the shell is brighter than any brain"


def test_the_set_has_the_published_split_of_its_volumes(here):
    assert available(NAME) and splits("ixi_brain_64")["IXI132"] == "val"
    for split in ("train", "val", "test"):
        images = real(NAME, split)
        own = {subject for subject, side in brain_fakes.SUBJECTS.items() if side == split}
        assert set(images.subjects) == own and images.labels is None
        assert images.pixels.shape[1:] == (1, 128, 128) and len(images.quantities) == len(images)
        assert images.modality == "MR" and all(dict(one) == {"cohort": NAME} for one in images.attributes)
    drawn = real(NAME, "train", n=4, seed=3)
    everything = real(NAME, "train")
    for pixels, number, subject in zip(drawn.pixels, drawn.quantities, drawn.subjects, strict=True):
        same = [i for i, one in enumerate(everything.pixels) if np.array_equal(one, pixels)]
        assert any((everything.quantities[i], everything.subjects[i]) == (number, subject) for i in same)


def test_numbers_stay_with_their_images(here):
    images = real(NAME, "val")
    assert images.take([3, 0]).quantities == (images.quantities[3], images.quantities[0])
    assert concatenate([images, images]).quantities == images.quantities * 2


def test_a_subject_of_no_manifest_goes_by_its_hash_and_a_scan_without_mask_is_left_out(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDGEN_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "IXI"
    for subject in ("IXI002", "IXI900"):
        brain_fakes.write(folder, subject, *brain_fakes.head())
    (folder / "brain_labels" / "IXI900-HH-1-DLMUSE.nii.gz").unlink()
    found = records(DATASETS[NAME], folder)
    assert {record.patient for record in found} == {"IXI002"}
    assert len({record.file for record in found}) == len(found) and found == sorted(found, key=lambda one: one.file)


def test_the_command_line_lists_checks_and_writes_the_manifest(here, capsys):
    assert main(["list"]) == 0 and "ixi_head_128" in capsys.readouterr().out
    for name in (NAME, "ixi_head_128"):
        assert main(["check", name]) == 0
    told = capsys.readouterr().out
    assert "Nothing wrong" in told and "patients" in told
    rows = list(csv.DictReader(io.StringIO(manifest_text(DATASETS[NAME], here / "IXI"))))
    assert {row["patient"]: row["split"] for row in rows} == brain_fakes.SUBJECTS
    assert main(["fetch", NAME]) == 2 and "brain_labels" in capsys.readouterr().err


def test_what_is_cut_is_kept_and_made_anew_when_a_file_changes(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDGEN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MEDGEN_DATA", str(tmp_path))
    brain_fakes.write(tmp_path / "IXI", "IXI162", *brain_fakes.head())
    before = real(NAME, "train")
    assert len(list((tmp_path / "cache" / "slices").iterdir())) == 1
    scan, mask = brain_fakes.head(scale=0.8)
    brain_fakes.write(tmp_path / "IXI", "IXI162", scan, mask)
    assert len(real(NAME, "train")) < len(before)


def test_what_is_missing_is_said(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDGEN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MEDGEN_DATA", str(tmp_path))
    with pytest.raises(MedgenError, match="ixi_t1_2mm"):
        real(NAME, "train")
    scan, mask = brain_fakes.head()
    brain_fakes.write(tmp_path / "IXI", "IXI162", scan, mask)
    (tmp_path / "IXI" / "brain_labels" / "IXI162-HH-1-DLMUSE.nii.gz").unlink()
    with pytest.raises(MedgenError, match=r"segment the scans of IXI-T1 with any tool"):
        real(NAME, "train")
    brain_fakes.write(tmp_path / "IXI", "IXI162", scan, mask * 0)
    with pytest.raises(MedgenError, match=r"IXI162-HH-1-T1.nii.gz: "):
        real(NAME, "train")
    with pytest.raises(MedgenError, match="lies outside"):
        cut(*volumes(scan, mask), side=48, spacing_mm=1.5, stripped=True)


TABLE = 'IXI_ID,"SEX_ID (1=m, 2=f)",AGE\n'


@pytest.mark.parametrize(
    ("rows", "known"),
    [
        ("162,1,35.8\n", {"IXI162": {"age": "35", "sex": "M"}}),
        ("2,2,\n", {"IXI002": {"sex": "F"}}),
        ("162,2,0\n", {"IXI162": {"sex": "F"}}),
        ("162,1,35.8\n162,2,35.9\n", {"IXI162": {"age": "35"}}),
        (",,\n", {}),
    ],
)
def test_age_and_sex_come_from_the_table(tmp_path, rows, known):
    assert people(tmp_path) == {}, "no table is no fault"
    (tmp_path / "IXI.csv").write_text(TABLE + rows)
    assert people(tmp_path) == known


def test_a_table_reaches_the_images_and_a_damaged_one_is_refused(here, tmp_path):
    (here / "IXI" / "IXI.csv").write_text(TABLE + "132,1,35.8\n")
    try:
        assert real(NAME, "val").attributes[0] == {"age": "35", "sex": "M", "cohort": NAME}
    finally:
        (here / "IXI" / "IXI.csv").unlink()
    (tmp_path / "IXI.csv").write_text("name;age\n")
    assert people(tmp_path) == {}
    (tmp_path / "IXI.csv").write_text("name,age\nx,3\n")
    with pytest.raises(MedgenError, match="no column IXI_ID"):
        people(tmp_path)


def test_an_excel_table_is_read_where_it_can_be(tmp_path):
    pytest.importorskip("xlrd")
    xlwt = pytest.importorskip("xlwt")
    book = xlwt.Workbook()
    sheet = book.add_sheet("Table")
    for i, row in enumerate([("IXI_ID", "SEX_ID (1=m, 2=f)", "AGE"), (162.0, 2.0, 41.2)]):
        for j, value in enumerate(row):
            sheet.write(i, j, value)
    book.save(str(tmp_path / "IXI.xls"))
    assert people(tmp_path) == {"IXI162": {"age": "41", "sex": "F"}}
    (tmp_path / "IXI.xls").write_bytes(b"no table")
    with pytest.raises(MedgenError, match="no Excel table"):
        people(tmp_path)


def test_real_brains_are_those_of_the_catalogue():
    if not available(NAME):
        pytest.skip("the heads are not here")
    entry = DATASETS[NAME]
    found = {split: real(NAME, split) for split in entry.splits}
    assert {split: len(images) for split, images in found.items()} == entry.splits
    assert {split: len(set(images.subjects)) for split, images in found.items()} == {"train": 27, "val": 4, "test": 6}
    heights = np.array(found["train"].quantities)
    inside = (heights >= entry.quantity["low"]) & (heights <= entry.quantity["high"])
    assert inside.mean() > 0.97
