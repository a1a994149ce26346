"""Real volumes there and back: cut into slices, put together, written as NIfTI and DICOM, and read again."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from pydicom.uid import JPEG2000Lossless, JPEGLosslessSV1, RLELossless
from volumes import FREESURFER, MUSE, REQUEST, card, centre_mm, on_this_disk, shipped, volume

from medgen import MedgenError
from medgen.read_volume import find_series, read_volume
from medgen.volume import PLANES, Volume, grid_difference
from medgen.write_volume import save_dicom, save_nifti


def icbm152() -> Path:
    """The template that nilearn ships, 1 mm and without its skull; found without importing nilearn."""
    spec = find_spec("nilearn")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("nilearn is not installed")
    folder = Path(spec.submodule_search_locations[0]) / "datasets" / "data"
    return folder / "mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz"


def there_and_back(one: Volume, plane: str, folder: Path) -> list[Volume]:
    """Every slice of a plane and back, then into a NIfTI file and a ZIP of DICOM files, and out of them."""
    window = (float(one.array.min()), float(one.array.max()))
    slices = np.ascontiguousarray(one.sections(plane))
    made = one.with_sections(plane, slices, modality="MR", unit="au", window=window)
    save_nifti(made, folder / "a.nii.gz", card(), REQUEST, seconds=1.0)
    zipped = save_dicom(made, folder / "a.zip", card(), REQUEST, seconds=1.0, plane=plane)
    return [made, read_volume(folder / "a.nii.gz"), read_volume(zipped)]


def same(again: Volume, one: Volume, atol: float = 0.0) -> None:
    """Whether every voxel is where it was, and every plane is shown as it was."""
    assert grid_difference(one, again, 1e-4) is None
    assert again.synthetic and again.unit == "au" and again.oriented
    first, second = one.canonical(), again.canonical()
    np.testing.assert_allclose(second.array, first.array, rtol=0, atol=atol)
    np.testing.assert_allclose(second.affine, first.affine, atol=1e-4)
    for plane in PLANES:
        middle = one.count(plane) // 2
        mine, theirs = one.section(plane, middle), again.section(plane, middle)
        np.testing.assert_allclose(theirs.pixels, mine.pixels, rtol=0, atol=atol)
        assert theirs.edges == mine.edges and theirs.spacing_mm == pytest.approx(mine.spacing_mm, abs=1e-5)


@pytest.mark.parametrize("plane", PLANES)
def test_a_real_head_comes_back_voxel_by_voxel(tmp_path, plane):
    one = read_volume(on_this_disk("ixi_t1_2mm", "IXI-T1", "IXI211-HH-1568-T1.nii.gz"))
    assert (one.array != np.rint(one.array)).any()  # scaled by a header: fractions
    made, nifti, dicom = there_and_back(one, plane, tmp_path)
    same(made, one)
    same(nifti, one)
    same(dicom, one, atol=0.51 * float(np.ptp(one.array)) / 65535)
    # the NIfTI file also keeps the axes of the source; a DICOM series has those of its plane
    assert nifti.axes == one.axes == "PSR"
    np.testing.assert_allclose(nifti.affine, one.affine, atol=1e-4)
    np.testing.assert_array_equal(nib.load(tmp_path / "a.nii.gz").get_fdata(dtype=np.float32), one.array)


def test_the_template_comes_back_with_its_anatomy_where_mni_space_says(tmp_path):
    """The ventricles are dark at (+-8, 10, 16) mm, the white matter beside them is bright."""
    one = read_volume(icbm152())
    assert one.axes == "RAS" and one.spacing_mm == (1.0, 1.0, 1.0) and one.array.shape == (197, 233, 189)
    for again in there_and_back(one, "coronal", tmp_path):
        same(again, one)  # whole numbers: exact in DICOM as well
        for x in (-8, 8):
            assert around(again, (x, 10, 16)) < 0.6 * around(again, (3 * x, 10, 25))
        mean = again.world(np.argwhere(again.array > 120)[::50]).mean(axis=0)
        assert abs(mean[0]) < 2 and mean[1] < 0  # symmetric, and zero lies in front of the middle


def around(one: Volume, mm: tuple[float, float, float]) -> float:
    """Mean of 3 x 3 x 3 voxels."""
    i, j, k = np.rint(one.voxel(np.array(mm))).astype(int)
    return float(one.array[i - 1 : i + 2, j - 1 : j + 2, k - 1 : k + 2].mean())


@pytest.mark.parametrize(
    ("parts", "codes"),
    [
        (("head_label_maps_2mm", "training_seg_01.nii.gz"), FREESURFER),
        (("ixi_t1_2mm", "brain_labels", "IXI211-HH-1568-DLMUSE.nii.gz"), MUSE),
    ],
)
def test_regions_of_real_heads_stay_on_their_sides(tmp_path, parts, codes):
    labels = read_volume(on_this_disk(*parts))
    for again in there_and_back(labels, "sagittal", tmp_path):
        for code in codes.values():
            np.testing.assert_allclose(centre_mm(again, code), centre_mm(labels, code), atol=1e-3)
        left, right = (centre_mm(again, codes[side])[0] for side in ("left", "right"))
        assert left < right - 20


# --- compressed files, with a decoder


@pytest.mark.parametrize(
    ("name", "syntax", "plain"),
    [
        ("MR_small_RLE.dcm", RLELossless, "MR_small.dcm"),
        ("MR_small_jp2klossless.dcm", JPEG2000Lossless, "MR_small.dcm"),
        ("JPEG-LL.dcm", JPEGLosslessSV1, None),
    ],
)
def test_a_compressed_file_is_read_or_its_decoder_is_named(name, syntax, plain):
    path = shipped(name)
    ds = pydicom.dcmread(path)
    found = ds.file_meta.TransferSyntaxUID
    assert found.is_compressed and syntax == found
    if not pydicom.pixels.get_decoder(found).is_available:
        with pytest.raises(MedgenError, match="which needs") as caught:
            read_volume(path)
        assert "\n" not in str(caught.value)
        return
    again = read_volume(path)
    if plain is not None:
        np.testing.assert_array_equal(again.array, read_volume(shipped(plain)).array)
        assert grid_difference(again, read_volume(shipped(plain))) is None
    assert find_series(path)[0].modality == ds.Modality


def test_a_compressed_series_is_the_plain_one(tmp_path):
    """A whole series as RLE, which pydicom packs and unpacks by itself."""
    part = volume((20, 24, 6), modality="CT")
    folder = save_dicom(part, tmp_path / "series", card("CT"), REQUEST, seconds=1.0)
    plain = read_volume(folder)
    for path in folder.glob("*.dcm"):
        ds = pydicom.dcmread(path)
        ds.compress(RLELossless, generate_instance_uid=False)
        ds.save_as(path, enforce_file_format=True)
    packed = read_volume(folder)
    np.testing.assert_array_equal(packed.array, plain.array)
    assert packed.unit == "HU" and packed.array.min() < 0
    np.testing.assert_allclose(packed.affine, plain.affine)


def test_half_a_compressed_file_is_one_sentence(tmp_path):
    whole = shipped("MR_small_RLE.dcm").read_bytes()
    for part in (0.3, 0.7, 0.97):
        (tmp_path / "half.dcm").write_bytes(whole[: int(part * len(whole))])
        with pytest.raises(MedgenError) as caught:
            read_volume(tmp_path / "half.dcm")
        assert "\n" not in str(caught.value) and "half.dcm" in str(caught.value)


def test_an_infinite_voxel_is_counted_and_refused(tmp_path):
    one = volume().array
    for name, bad, slope in (("inf", np.inf, None), ("overflow", 3e38, 100.0)):
        one[1, 2, 3] = bad
        image = nib.Nifti1Image(one, volume().affine)
        image.header.set_slope_inter(slope, 0.0 if slope else None)
        image.to_filename(tmp_path / f"{name}.nii.gz")
        with pytest.raises(MedgenError, match="holds 1 voxels that are NaN or infinite"):
            read_volume(tmp_path / f"{name}.nii.gz")
