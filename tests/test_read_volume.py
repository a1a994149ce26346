"""Volumes from outside: real files of many kinds, and every bad form of them in one sentence and bounded memory."""

from __future__ import annotations

import gzip
import io
import struct
import tracemalloc
import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from nibabel.nicom.dicomwrappers import wrapper_from_data
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.pixels import apply_modality_lut
from pydicom.uid import EnhancedMRImageStorage, JPEGLSLossless
from volumes import REQUEST, card, oblique, shipped, volume

from medgen import MedgenError, provenance
from medgen.read_volume import find_series, read_volume
from medgen.write_volume import dicom_series

NIBABEL = Path(nib.__file__).parent
DICOMDIR = Path(pydicom.__file__).parent / "data" / "test_files" / "dicomdirtests"


def series(folder: Path, one=None, change=None) -> Path:
    """A DICOM series with names that say nothing, in shuffled order; `change(ds, k)` spoils slice k, None drops it."""
    one = one or volume()
    folder.mkdir(parents=True, exist_ok=True)
    contents = list(dicom_series(one, provenance.mark(card(one.modality), REQUEST, 0)))
    for k in np.random.default_rng(1).permutation(len(contents)):
        ds = pydicom.dcmread(io.BytesIO(contents[k]))
        if change is not None:
            ds = change(ds, int(k))
        if ds is not None:
            ds.save_as(folder / f"IM{(int(k) * 7) % 11}", enforce_file_format=True)
    return folder


def packed(folder: Path, path: Path) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("__MACOSX/._IM0", b"junk")
        for file in folder.iterdir():
            archive.write(file, f"patient/series/{file.name}")
    return path


# --- what can be read


@pytest.mark.parametrize("modality", ["CT", "MR"])
def test_a_series_is_sorted_by_place_whatever_its_names(tmp_path, modality):
    one = volume(modality=modality)
    folder = series(tmp_path / "series", one)
    for again in (read_volume(folder), read_volume(packed(folder, tmp_path / "upload"))):
        np.testing.assert_array_equal(again.canonical().array, one.canonical().array)
        np.testing.assert_allclose(again.canonical().affine, one.canonical().affine, atol=1e-6)


def test_nibabel_places_real_slices_where_we_do():
    for name in ("CT_small.dcm", "MR_small.dcm", "MR2_UNCI.dcm", "693_UNCI.dcm"):
        path = shipped(name)
        ours = read_volume(path)
        theirs = wrapper_from_data(pydicom.dcmread(path))
        r, c = 5, 40
        x, y, z = (theirs.affine @ (r, c, 0, 1))[:3]  # (row, column) to DICOM's LPS+
        np.testing.assert_allclose(ours.world(np.array((c, r, 0))), (-x, -y, z), atol=1e-3)


def test_values_of_real_slices_are_rescaled():
    for name, unit in (("CT_small.dcm", "HU"), ("MR2_UNCI.dcm", "au"), ("MR_small_RLE.dcm", "au")):
        path = shipped(name)
        ds = pydicom.dcmread(path)
        ours = read_volume(path)
        assert ours.unit == unit
        np.testing.assert_allclose(ours.array[:, :, 0].T, np.float32(apply_modality_lut(ds.pixel_array, ds)))


def test_a_ct_is_air_outside_its_circle():
    ours = read_volume(shipped("693_UNCI.dcm"))
    assert ours.array.min() == -1024.0 and ours.window == (-10.0, 89.0)  # the file holds -3995 there
    brain = ours.array[200:300, 200:300, 0]
    assert 0 < np.median(brain) < 60


def test_a_real_series_without_extensions_is_read_and_its_neighbours_refused():
    ours = read_volume(DICOMDIR / "98892001" / "CT5N")
    assert ours.array.shape == (16, 16, 5) and ours.axes == "LPS" and ours.unit == "HU"
    assert ours.spacing_mm == pytest.approx((0.488281, 0.488281, 2.5))
    np.testing.assert_allclose(ours.world(np.zeros(3)), (72.199997, 143.0, -1.2375))
    for folder, words in (
        ("77654033/CT2", r"gap: slices 1 and 2 of 4 lie 202\.50 mm apart"),
        ("98892001/CT2N", "turned against each other"),
        ("98892003/MR700", "turned against each other"),
        ("98892003/MR1", r"holds 3 series \(MR 'FAST LOCALIZER', 1 image"),
    ):
        with pytest.raises(MedgenError, match=words):
            read_volume(DICOMDIR / folder)


def test_one_of_several_series_can_be_chosen():
    found = find_series(DICOMDIR / "98892003" / "MR1")
    assert len(found) == 3 and {one.modality for one in found} == {"MR"}
    ours = read_volume(DICOMDIR / "98892003" / "MR1", series=found[1].uid)
    assert ours.axes == "PIR" and ours.array.shape == (16, 16, 1)
    with pytest.raises(MedgenError, match="no series"):
        read_volume(DICOMDIR / "98892003" / "MR1", series="1.2.3")


def test_a_real_enhanced_ct_has_its_place_and_does_not_claim_hounsfield_units():
    """Two frames of a perfusion map, stored from top to bottom, whose Rescale Type is US."""
    path = shipped("eCT_Supplemental.dcm")
    ours = read_volume(path)
    assert (ours.modality, ours.unit, ours.axes) == ("CT", "au", "RPI")
    assert ours.spacing_mm == pytest.approx((0.388672, 0.388672, 10.0))
    np.testing.assert_allclose(ours.world(np.zeros(3)), (-99.5, 301.5, -149.0))
    stored = pydicom.dcmread(path).pixel_array
    np.testing.assert_array_equal(ours.array[:, :, 0].T, stored[1] - 1024.0)


def test_a_real_enhanced_mr_of_176_frames_lies_where_nibabel_puts_it(tmp_path):
    """nibabel ships the header of a Philips head with blank pixels: they get numbers here, each frame its own."""
    source = NIBABEL / "nicom" / "tests" / "data" / "philips_mprage.dcm.gz"
    if not source.exists():
        pytest.skip("this nibabel comes without its test files")
    ds = pydicom.dcmread(io.BytesIO(gzip.decompress(source.read_bytes())))
    theirs = wrapper_from_data(ds)
    frames = np.zeros((176, 256, 256), np.uint16)
    frames[:, 10, 200] = np.arange(1, 177)
    ds.PixelData = frames.tobytes()
    ds.save_as(tmp_path / "head")
    ours = read_volume(tmp_path / "head")
    assert ours.array.shape == (256, 256, 176) and ours.spacing_mm == pytest.approx((1, 1, 1), abs=1e-5)
    assert ours.axes == "PIR"  # sagittal
    slope = 2.10793650793650
    for frame in (0, 80, 175):
        x, y, z = (theirs.affine @ (10, 200, 175 - frame, 1))[:3]  # nibabel begins with the last frame
        i, j, k = np.rint(ours.voxel(np.array((-x, -y, z)))).astype(int)
        assert ours.array[i, j, k] == pytest.approx((frame + 1) * slope, rel=1e-6)


def enhanced(path: Path, one) -> Path:
    """An enhanced multi-frame file of `one`, frames in reverse order, each with its own slope."""
    contents = [pydicom.dcmread(io.BytesIO(c)) for c in dicom_series(one, provenance.mark(card(), REQUEST, 0))][::-1]

    def item(**values) -> list[Dataset]:
        ds = Dataset()
        for keyword, value in values.items():
            setattr(ds, keyword, value)
        return [ds]

    first = contents[0]
    whole = pydicom.dcmread(io.BytesIO(next(dicom_series(one, provenance.mark(card(), REQUEST, 0)))))
    shared = item(
        PlaneOrientationSequence=item(ImageOrientationPatient=first.ImageOrientationPatient),
        PixelMeasuresSequence=item(PixelSpacing=first.PixelSpacing, SliceThickness=first.SliceThickness),
    )
    per_frame = []
    for n, ds in enumerate(contents):
        values = item(RescaleSlope=n + 1, RescaleIntercept=-n, RescaleType="US")
        place = item(ImagePositionPatient=ds.ImagePositionPatient)
        per_frame += item(PlanePositionSequence=place, PixelValueTransformationSequence=values)
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "RescaleSlope"):
        delattr(whole, keyword)
    whole.SOPClassUID = EnhancedMRImageStorage
    whole.SharedFunctionalGroupsSequence, whole.PerFrameFunctionalGroupsSequence = shared, per_frame
    whole.NumberOfFrames = len(contents)
    whole.PixelData = b"".join(ds.PixelData for ds in contents)
    whole.save_as(path, enforce_file_format=True)
    return path


def test_an_enhanced_multi_frame_file_uses_the_numbers_of_each_frame(tmp_path):
    one = volume((9, 6, 5))
    again = read_volume(enhanced(tmp_path / "enhanced", one))
    n = np.arange(5)[::-1]  # the first slice in space is the last frame
    np.testing.assert_allclose(again.canonical().array, one.canonical().array * (n + 1) - n, rtol=1e-6)
    np.testing.assert_allclose(again.canonical().affine, one.canonical().affine, atol=1e-6)


def test_monochrome1_is_turned_for_mr_and_padding_is_air_in_ct(tmp_path):
    def inverted(ds, k):
        ds.PhotometricInterpretation, ds.WindowCenter, ds.WindowWidth = "MONOCHROME1", 1500.5, 3001
        return ds

    one = volume()
    again = read_volume(series(tmp_path / "mr", one, inverted))
    np.testing.assert_array_equal(again.canonical().array, 3000.0 - one.canonical().array)

    def padded(ds, k):
        pixels = ds.pixel_array.copy()
        pixels[0, 0] = 20000
        ds.PixelData, ds.PhotometricInterpretation = pixels.tobytes(), "MONOCHROME1"
        ds.add_new("PixelPaddingValue", "SS", 20000)
        return ds

    one = volume(modality="CT")
    again = read_volume(series(tmp_path / "ct", one, padded)).reoriented("LPS")
    assert (again.array[0, 0] == -1024.0).all()
    np.testing.assert_array_equal(again.array[1:], one.array[1:])  # Hounsfield units are not display values


def test_a_tilted_gantry_is_read_with_its_shear(tmp_path):
    def tilted(ds, k):
        x, y, z = ds.ImagePositionPatient
        ds.ImagePositionPatient = [x, y + 0.8 * k, z]
        return ds

    one = volume(affine=np.diag([-0.5, -0.5, 3.0, 1.0]), modality="CT")
    again = read_volume(series(tmp_path / "ct", one, tilted))
    assert again.shear_degrees == pytest.approx(np.degrees(np.arctan(0.8 / 3)), abs=0.01)
    np.testing.assert_array_equal(again.array, one.array)
    np.testing.assert_allclose(again.world(np.array((0, 0, 4))), (0, -3.2, 12), atol=1e-9)


def test_nifti_of_many_kinds(tmp_path):
    one = volume()
    for kind, dtype in ((nib.Nifti1Image, np.float64), (nib.Nifti2Image, np.int16), (nib.Nifti1Image, ">i4")):
        image = kind(one.array.astype(dtype), one.affine)
        image.to_filename(tmp_path / "x.nii")
        (tmp_path / "no extension").write_bytes((tmp_path / "x.nii").read_bytes())
        (tmp_path / "x.gz").write_bytes(gzip.compress((tmp_path / "x.nii").read_bytes()))
        for name in ("no extension", "x.gz"):
            again = read_volume(tmp_path / name, "CT")
            np.testing.assert_array_equal(again.array, one.array)
            np.testing.assert_allclose(again.affine, one.affine, atol=1e-5)
            assert again.unit == "HU" and again.oriented and not again.synthetic
    image = nib.Nifti1Image(one.array[..., None].astype(np.int16), np.diag([1e-3, 2e-3, 3e-3, 1]))
    image.header.set_xyzt_units("meter")
    image.header.set_slope_inter(2.0, -5.0)
    image.to_filename(tmp_path / "scaled.nii")
    again = read_volume(tmp_path / "scaled.nii")
    assert again.spacing_mm == pytest.approx((1, 2, 3)) and again.array.shape == (9, 7, 5)
    np.testing.assert_allclose(again.array, nib.load(tmp_path / "scaled.nii").get_fdata()[..., 0])


def test_real_nifti_files_of_nibabel_read_as_nibabel_reads_them():
    for name in ("anatomical.nii", "reoriented_anat_moved.nii", "standard.nii.gz"):
        path = NIBABEL / "tests" / "data" / name
        if not path.exists():
            pytest.skip("this nibabel comes without its test files")
        theirs, ours = nib.load(path), read_volume(path)
        np.testing.assert_allclose(ours.array, theirs.get_fdata(dtype=np.float32), rtol=1e-6)
        np.testing.assert_allclose(ours.affine, theirs.affine)


def test_a_zip_may_hold_one_nifti_file(tmp_path):
    one = volume()
    nib.Nifti1Image(one.array, one.affine).to_filename(tmp_path / "x.nii.gz")
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.write(tmp_path / "x.nii.gz", "deep/x.nii.gz")
    np.testing.assert_array_equal(read_volume(tmp_path / "x.zip").array, one.array)


def test_a_picture_is_one_slice_that_does_not_know_left_from_right(tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (7, 9), dtype=np.uint8)
    Image.fromarray(picture).save(tmp_path / "picture.png")
    one = read_volume(tmp_path / "picture.png", "MR")
    assert one.array.shape == (9, 7, 1) and not one.oriented and one.unit == "au" and one.window == (0.0, 255.0)
    shown = one.section("axial", 0)
    np.testing.assert_array_equal(shown.pixels, picture)
    assert shown.edges == ("", "", "", "")


# --- what is refused


def spoiled_series(kind: str):
    def change(ds, k):
        if kind == "missing slice":
            return None if k == 2 else ds
        if kind == "one turned":
            ds.ImageOrientationPatient = [1, 0, 0, 0, 0, 1] if k == 1 else ds.ImageOrientationPatient
        elif kind == "two at one place":
            ds.ImagePositionPatient = [0, 0, 5.0 * (k // 2)]
        elif kind == "all at one place":
            ds.ImagePositionPatient = [0, 0, 0]
        elif kind == "one of another size":
            if k == 1:
                ds.Rows -= 1
                ds.PixelData = ds.PixelData[: -2 * ds.Columns]
        elif kind == "one of another spacing":
            ds.PixelSpacing = [1, 2] if k == 1 else ds.PixelSpacing
        elif kind == "no spacing":
            del ds.PixelSpacing
        elif kind == "no position":
            del ds.ImagePositionPatient
        elif kind == "damaged orientation":
            ds.ImageOrientationPatient = [1, 0, 0, 1, 0, 0]
        elif kind == "colour":
            ds.PhotometricInterpretation, ds.SamplesPerPixel = "RGB", 3
        elif kind == "mosaic":
            ds.ImageType = ["ORIGINAL", "PRIMARY", "M", "MOSAIC"]
        elif kind == "mixed":
            ds.SeriesInstanceUID = f"1.2.3.{k % 2}"
        elif kind == "truncated":
            ds.PixelData = ds.PixelData[:-20] if k == 3 else ds.PixelData
        elif kind == "no decoder":
            ds.file_meta.TransferSyntaxUID = JPEGLSLossless
            ds.PixelData = pydicom.encaps.encapsulate([b"\xff\xd8" + bytes(20)])
            ds["PixelData"].is_undefined_length = True
        elif kind == "constant":
            ds.PixelData = bytes(len(ds.PixelData))
        elif kind == "frames":
            ds.NumberOfFrames = 2**31 - 1
        elif kind == "huge":
            ds.Rows = ds.Columns = 60_000
        return ds

    return change


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("missing slice", r"gap: slices 2 and 3 of 4 lie 5\.00 mm apart, the others 2\.50 mm"),
        ("one turned", "turned against each other"),
        ("two at one place", "several images at one place"),
        ("all at one place", "several images at one place"),
        ("one of another size", "different sizes"),
        ("one of another spacing", "different pixel spacing"),
        ("no spacing", "usable pixel spacing"),
        ("no position", "where its slices lie"),
        ("damaged orientation", "damaged orientation"),
        ("colour", "no grey picture"),
        ("mosaic", "dcm2niix"),
        ("mixed", "holds 2 series"),
        ("truncated", "cut short"),
        ("no decoder", "JPEG-LS Lossless.*which needs"),
        ("constant", "every voxel is 0"),
        ("frames", "2147483647 frames"),
        ("huge", "60000 x 60000"),
    ],
)
def test_a_series_that_makes_no_volume_is_refused_in_one_sentence(tmp_path, kind, words):
    folder = series(tmp_path / "series", change=spoiled_series(kind))
    with pytest.raises(MedgenError, match=words) as caught:
        read_volume(folder)
    assert "\n" not in str(caught.value)


def test_a_ct_without_rescale_and_a_wrong_modality_are_refused(tmp_path):
    def bare(ds, k):
        del ds.RescaleSlope, ds.RescaleIntercept, ds.RescaleType
        return ds

    with pytest.raises(MedgenError, match="not HU"):
        read_volume(series(tmp_path / "ct", volume(modality="CT"), bare))
    with pytest.raises(MedgenError, match="modality MR, not CT"):
        read_volume(series(tmp_path / "mr"), only=("CT",))


def test_real_files_that_are_no_volume_are_refused():
    for name, words in (
        ("US1_UNCR.dcm", "no grey picture"),
        ("MR_truncated.dcm", "cut short"),
        ("MR_small_jpeg_ls_lossless.dcm", "needs .*pyjpegls"),
        ("emri_small.dcm", "where its slices lie"),
        ("image_dfl.dcm", "deflated"),
        ("reportsi.dcm", "no pictures"),
        ("badVR.dcm", "cannot be read"),
        ("no_meta.dcm", "neither DICOM"),
    ):
        path = shipped(name)
        if "jpeg_ls" in name and pydicom.pixels.get_decoder(JPEGLSLossless).is_available:
            continue
        with pytest.raises(MedgenError, match=words) as caught:
            read_volume(path)
        assert "\n" not in str(caught.value)


def nifti_header(shape, dtype=np.int16, **fields) -> bytes:
    header = nib.Nifti1Header()
    header.set_data_dtype(dtype)
    header.set_data_shape(shape)
    header["vox_offset"], header["magic"] = 352, b"n+1"
    header.set_sform(np.eye(4), 1)
    for name, value in fields.items():
        header[name] = value
    return header.binaryblock + bytes(4)


def bad_nifti(kind: str) -> bytes:
    whole = nifti_header((4, 5, 6), np.float32) + np.arange(120, dtype=np.float32).tobytes()
    nan = nifti_header((4, 5, 6), np.float32) + np.full(120, np.nan, np.float32).tobytes()
    return {
        "2 GB claim": nifti_header((1000, 1000, 250), np.float64) + bytes(700),
        "packed 2 GB claim": gzip.compress(nifti_header((1000, 1000, 250), np.float64) + bytes(700)),
        "huge": nifti_header((30000, 30000, 3000)) + bytes(700),
        "cut short": whole[:-7],
        "packed, cut short": gzip.compress(whole)[:-30],
        "damaged checksum": gzip.compress(whole)[:-8] + bytes(8),
        "4D": nifti_header((4, 5, 6, 3)) + bytes(720),
        "complex": nifti_header((4, 5, 6), np.complex64) + bytes(960),
        "no voxels": nifti_header((4, 5, 6), dim=[3, 4, 0, 6, 1, 1, 1, 1]) + bytes(240),
        "offset": nifti_header((4, 5, 6), vox_offset=1e9) + bytes(240),
        "unknown type": nifti_header((4, 5, 6), datatype=17) + bytes(240),
        "NaN": nan,
        "constant": nifti_header((4, 5, 6)) + bytes(240),
        "flat": nifti_header((4, 5, 6), srow_z=[0, 0, 0, 0]) + bytes(240),
        "pair": nifti_header((4, 5, 6), magic=b"ni1") + bytes(240),
        "gzip of something": gzip.compress(b"hello" * 100),
        "empty": b"",
        "text": b"hello" * 100,
    }[kind]


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("2 GB claim", "claims 2,000.0 MB"),
        ("packed 2 GB claim", "claims 2,000.0 MB"),
        ("huge", "at most"),
        ("cut short", "claims|cut short"),
        ("packed, cut short", "cut short"),
        ("damaged checksum", "CRC|cannot be read"),
        ("4D", "is 4D"),
        ("complex", "complex"),
        ("no voxels", "no voxels"),
        ("offset", "begin at byte"),
        ("unknown type", "cannot be read"),
        ("NaN", "120 voxels that are NaN"),
        ("constant", "every voxel is 0"),
        ("flat", "one plane"),
        ("pair", "pair of files"),
        ("gzip of something", "gzipped"),
        ("empty", "neither"),
        ("text", "neither"),
    ],
)
def test_a_bad_nifti_is_refused_in_one_sentence_and_little_memory(tmp_path, kind, words):
    (tmp_path / "x.nii.gz").write_bytes(bad_nifti(kind))
    tracemalloc.start()
    with pytest.raises(MedgenError, match=words) as caught:
        read_volume(tmp_path / "x.nii.gz")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20e6 and "\n" not in str(caught.value)


def bad_zip(path: Path, kind: str) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        if kind == "bomb":
            archive.writestr("IM0", bytes(60_000_000), compresslevel=1)
        elif kind == "link":
            link = zipfile.ZipInfo("IM0")
            link.external_attr = 0o120777 << 16
            archive.writestr(link, "/etc/passwd")
        elif kind == "many":
            for n in range(4200):
                archive.writestr(f"{n}", b"")
        elif kind != "empty":
            archive.writestr("IM0", bytes(1000))
            archive.writestr("IM1", np.random.default_rng(0).bytes(1000))
    content = path.read_bytes()
    if kind == "truncated":
        path.write_bytes(content[:-30])
    elif kind == "locked":
        path.write_bytes(content.replace(b"PK\x01\x02\x14\x03\x14\x00\x00", b"PK\x01\x02\x14\x03\x14\x00\x01"))
    elif kind == "damaged":
        at = content.index(b"IM1") + 300
        path.write_bytes(content[:at] + b"xx" + content[at + 2 :])
    elif kind == "lying":  # the directory claims ten times what is there
        path.write_bytes(content.replace(struct.pack("<I", 1000), struct.pack("<I", 10_000)))
    return path


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("bomb", "unpack to 60 MB"),
        ("link", "link"),
        ("many", "4200 files"),
        ("empty", "empty ZIP|neither"),
        ("truncated", "not a whole ZIP"),
        ("locked", "password"),
        ("damaged", "damaged"),
        ("lying", "damaged|no DICOM"),
        ("junk", "no DICOM"),
    ],
)
def test_a_bad_zip_is_refused_in_one_sentence(tmp_path, kind, words):
    path = bad_zip(tmp_path / "upload", kind)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(MedgenError, match=words) as caught:
        read_volume(path)
    assert "\n" not in str(caught.value) and sorted(tmp_path.rglob("*")) == before


@pytest.mark.filterwarnings("ignore")
def test_damaged_bytes_never_raise_anything_but_a_sentence(tmp_path):
    """Bytes of the headers of real and of written files, changed at random; some are still readable."""
    contents = [path.read_bytes() for path in sorted((DICOMDIR / "98892001" / "CT5N").iterdir())]
    rle, nifti = shipped("MR_small_RLE.dcm").read_bytes(), nib.Nifti1Image(volume().array, oblique()).to_bytes()
    for k, content in enumerate(contents):
        (tmp_path / f"IM{k}").write_bytes(content)
    rng = np.random.default_rng(0)
    for whole, name, first, last in ((contents[2], "IM2", 132, 2500), (rle, "IM2", 132, 3000), (nifti, "x", 0, 352)):
        for _ in range(60):
            content = bytearray(whole)
            for _ in range(rng.integers(1, 6)):
                content[rng.integers(first, last)] = rng.integers(0, 256)
            (tmp_path / name).write_bytes(content[: rng.integers(300, len(whole))] if rng.random() < 0.2 else content)
            try:
                read_volume(tmp_path / "x" if name == "x" else tmp_path)
            except MedgenError as error:
                assert "\n" not in str(error)
        (tmp_path / name).unlink()


def test_a_missing_file_and_an_empty_folder_are_refused(tmp_path):
    with pytest.raises(MedgenError, match="cannot be opened"):
        read_volume(tmp_path / "none")
    (tmp_path / "folder").mkdir()
    with pytest.raises(MedgenError, match="holds no files"):
        read_volume(tmp_path / "folder")


def test_oblique_test_volumes_are_oblique():
    assert abs(oblique()[1, 2]) > 0.1 and len({round(float(s), 3) for s in volume().spacing_mm}) == 3
