"""Volumes written and read back: same voxels at the same places, in their unit, marked, whole or absent."""

from __future__ import annotations

import errno
import io
import json
import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from pydicom.valuerep import validate_value
from volumes import FREESURFER, REQUEST, card, centre_mm, on_this_disk, volume

from medgen import MedgenError, Request, provenance
from medgen.read_volume import read_volume
from medgen.volume import PLANES, Volume, grid_difference
from medgen.write_volume import dicom_series, nifti_bytes, save_dicom, save_nifti, voxels_sha256


def mark(modality="MR"):
    return provenance.mark(card(modality), REQUEST, 0)


def slices(one: Volume, plane="axial"):
    return [pydicom.dcmread(io.BytesIO(content)) for content in dicom_series(one, mark(one.modality), plane)]


def test_nifti_gives_back_voxels_place_and_mark(tmp_path):
    for i, one in enumerate((volume(), volume(modality="CT").reoriented("PSR"))):
        sidecar = save_nifti(one, tmp_path / f"{i}.nii.gz", card(one.modality), REQUEST, seconds=1.0)
        again = read_volume(tmp_path / f"{i}.nii.gz", one.modality)
        np.testing.assert_array_equal(again.array, one.array)
        np.testing.assert_allclose(again.affine, one.affine, atol=1e-5)  # NIfTI-1 holds float32
        assert (again.unit, again.axes, again.synthetic) == (one.unit, one.axes, True)
        theirs = nib.load(tmp_path / f"{i}.nii.gz")
        np.testing.assert_allclose(theirs.get_qform(), one.affine, atol=1e-4)
        assert theirs.header.get_xyzt_units()[0] == "mm" and theirs.get_data_dtype() == np.int16
        descrip = bytes(theirs.header["descrip"]).decode()
        assert descrip.startswith(f"SYNTHETIC {one.modality} {one.unit}") and "noise-head-9" in descrip
        (comment,) = theirs.header.extensions
        assert json.loads(comment.get_content())["Synthetic"] == "true"
        manifest = provenance.read_manifest(sidecar)
        assert sidecar.name == f"{i}.json" and manifest["files"][0]["pixels_sha256"] == voxels_sha256(again)
        assert provenance.requests_of(manifest) == [REQUEST]
        assert manifest["volume"]["unit"] == one.unit and manifest["volume"]["shape"] == list(one.array.shape)


def test_nifti_of_fractions_is_float_and_equal_volumes_give_equal_files():
    one = Volume(volume().array / 7, volume().affine, "MR", "au")
    assert nib.Nifti1Image.from_bytes(_plain(nifti_bytes(one, mark()))).get_data_dtype() == np.float32
    assert nifti_bytes(one, mark()) == nifti_bytes(one, mark())


def _plain(content: bytes) -> bytes:
    import gzip

    return gzip.decompress(content)


def test_nifti_does_not_pretend_to_know_an_unknown_orientation(tmp_path):
    unknown = Volume(volume().array, np.diag([-1.0, -1.0, 3.0, 1.0]), "MR", "au", oriented=False)
    save_nifti(unknown, tmp_path / "a.nii.gz", card(), REQUEST, seconds=0.0)
    again = read_volume(tmp_path / "a.nii.gz")
    assert not again.oriented and again.axes == "" and again.spacing_mm == (1.0, 1.0, 3.0)
    assert again.section("axial", 0).edges == ("", "", "", "")


@pytest.mark.parametrize("plane", PLANES)
@pytest.mark.parametrize("modality", ["CT", "MR"])
def test_a_dicom_series_gives_back_voxels_and_place(tmp_path, plane, modality):
    one = volume(modality=modality).reoriented("PSR")
    folder = save_dicom(one, tmp_path / "series", card(modality), REQUEST, seconds=1.0, plane=plane)
    again = read_volume(folder)
    assert grid_difference(one, again, 1e-6) is None
    np.testing.assert_array_equal(again.canonical().array, one.canonical().array)
    assert (again.modality, again.unit, again.synthetic) == (modality, one.unit, True)
    assert again.window == pytest.approx(one.shown(), abs=1e-6)


def test_a_dicom_series_of_fractions_is_exact_to_half_a_step(tmp_path):
    one = Volume(np.float32(np.random.default_rng(0).normal(size=(6, 5, 4))), volume().affine, "MR", "au")
    again = read_volume(save_dicom(one, tmp_path / "series.zip", card(), REQUEST, seconds=1.0))
    step = np.ptp(one.array) / 65535
    np.testing.assert_allclose(again.canonical().array, one.canonical().array, atol=0.51 * step)
    hounsfield = Volume(one.array * 100, one.affine, "CT", "HU")
    again = read_volume(save_dicom(hounsfield, tmp_path / "ct.zip", card("CT"), REQUEST, seconds=1.0))
    np.testing.assert_allclose(again.canonical().array, hounsfield.canonical().array, atol=0.5)


def test_another_program_reads_the_series_at_the_same_places(tmp_path):
    sitk = pytest.importorskip("SimpleITK", reason="SimpleITK (GDCM) is not installed")
    one = volume(modality="CT")
    for plane in PLANES:
        folder = save_dicom(one, tmp_path / plane, card("CT"), REQUEST, seconds=1.0, plane=plane)
        reader = sitk.ImageSeriesReader()
        reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
        image = reader.Execute()
        for ijk in ((0, 0, 0), (8, 6, 4), (1, 4, 2)):
            x, y, z = one.world(np.array(ijk))
            index = image.TransformPhysicalPointToIndex((-x, -y, z))  # ITK counts to the left and to the back
            assert image.GetPixel(*index) == one.array[ijk]
    save_nifti(one, tmp_path / "one.nii.gz", card("CT"), REQUEST, seconds=0.0)
    image = sitk.ReadImage(str(tmp_path / "one.nii.gz"))
    x, y, z = one.world(np.array((1, 4, 2)))
    assert image.GetPixel(*image.TransformPhysicalPointToIndex((-x, -y, z))) == one.array[1, 4, 2]


def test_a_real_head_keeps_left_and_right_through_dicom_and_nifti(tmp_path):
    labels = read_volume(on_this_disk("head_label_maps_2mm", "training_seg_01.nii.gz")).reoriented("PSR")
    affine = labels.affine.copy()
    affine[:3, 3] = labels.world(np.array((30, 30, 20)))
    part = Volume(labels.array[30:100, 30:100, 20:110], affine, "MR", "au")
    save_nifti(part, tmp_path / "a.nii.gz", card(), REQUEST, seconds=0.0)
    save_dicom(part, tmp_path / "a", card(), REQUEST, seconds=0.0, plane="coronal")
    for again in (read_volume(tmp_path / "a.nii.gz"), read_volume(tmp_path / "a")):
        for side in ("left", "right"):
            there = centre_mm(again, FREESURFER[side])
            np.testing.assert_allclose(there, centre_mm(labels, FREESURFER[side]), atol=1e-3)
            assert (there[0] < 0) == (side == "left")


def test_every_slice_is_a_whole_derived_image_of_nobody():
    for modality in ("CT", "MR"):
        one = volume(modality=modality)
        files = slices(one)
        for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
            assert len({ds[keyword].value for ds in files}) == 1
        assert len({ds.SOPInstanceUID for ds in files}) == 5 and [ds.InstanceNumber for ds in files] == [1, 2, 3, 4, 5]
        ds = files[2]
        assert ds.SOPClassUID.name == f"{modality} Image Storage" and ds.Modality == modality
        assert ds[0x0008, 0x001C].value == "YES" and list(ds.ImageType)[:2] == ["DERIVED", "SECONDARY"]
        assert str(ds.PatientName) == "SYNTHETIC^NOT A PATIENT" and not ds.PatientBirthDate and not ds.PatientSex
        assert "noise-head-9, seed 3" in ds.DerivationDescription
        assert ds.RescaleType == ("HU" if modality == "CT" else "US")
        np.testing.assert_allclose(ds.PixelSpacing, (0.9, 0.7))
        for element in ds.iterall():
            if element.VR not in ("SQ", "OB", "OW", "US", "SS"):
                for value in element.value if element.VM > 1 else [element.value]:
                    validate_value(element.VR, "" if value is None else str(value), pydicom.config.RAISE)


def test_slices_are_turned_as_viewers_expect_them():
    one = volume(affine=np.diag([2.0, 2.0, 2.0, 1.0]))  # stored to the right, front and head
    expected = {"axial": [1, 0, 0, 0, 1, 0], "coronal": [1, 0, 0, 0, 0, -1], "sagittal": [0, 1, 0, 0, 0, -1]}
    for plane, orientation in expected.items():
        ds = slices(one, plane)[1]
        np.testing.assert_allclose(ds.ImageOrientationPatient, orientation, atol=1e-9)
        section = one.section(plane, 1).pixels
        np.testing.assert_array_equal(ds.pixel_array * float(ds.RescaleSlope) + float(ds.RescaleIntercept), section)


def test_what_cannot_be_written_is_refused_and_leaves_nothing(tmp_path):
    nan = volume()
    nan.array[1, 1, 1] = np.nan
    xray = Volume(volume().array, volume().affine, "CR", "au")
    no_unit = Volume(volume().array, volume().affine, "CT", "au")
    metal = Volume(volume().array * 100, volume().affine, "CT", "HU")
    unknown = Volume(volume().array, volume().affine, "MR", "au", oriented=False)
    for bad, words in ((nan, "NaN"), (xray, "CT in HU and MR"), (no_unit, "CT in HU"), (metal, "16 bits"),
                       (unknown, "left from right")):  # fmt: skip
        with pytest.raises(MedgenError, match=words):
            save_dicom(bad, tmp_path / "series", card(), REQUEST, seconds=0.0)
        with pytest.raises(MedgenError, match=words):
            save_dicom(bad, tmp_path / "series.zip", card(), REQUEST, seconds=0.0)
    with pytest.raises(MedgenError, match="NaN"):
        save_nifti(nan, tmp_path / "a.nii.gz", card(), REQUEST, seconds=0.0)
    with pytest.raises(MedgenError, match="end in"):
        save_nifti(volume(), tmp_path / "a.nii", card(), REQUEST, seconds=0.0)
    with pytest.raises(MedgenError, match="one seed"):
        save_nifti(volume(), tmp_path / "a.nii.gz", card(), Request(seeds=(1, 2)), seconds=0.0)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_files_is_never_touched_and_a_full_disk_leaves_nothing(tmp_path, monkeypatch):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    with pytest.raises(MedgenError, match="not an empty folder"):
        save_dicom(volume(), tmp_path / "mine", card(), REQUEST, seconds=0.0)
    written, write = [], Path.write_bytes

    def full(path: Path, content: bytes) -> int:
        if len(written) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(path)
        return write(path, content)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(MedgenError, match="No space left"):
        save_dicom(volume(), tmp_path / "series", card(), REQUEST, seconds=0.0)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_a_zip_holds_the_series_and_its_manifest(tmp_path):
    path = save_dicom(volume(), tmp_path / "a.zip", card(), REQUEST, seconds=2.0)
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        manifest = json.loads(archive.read("manifest.json"))
    assert manifest["files"][0]["slices"] == names[:-1] and len(names) == 6
    assert manifest["synthetic"] is True and manifest["volume"]["modality"] == "MR"
