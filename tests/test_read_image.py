"""Pictures from outside: read as they are meant to look, or refused in one sentence."""

from __future__ import annotations

import io
import pickle
import struct
import zlib
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.data import get_testdata_file
from pydicom.pixels import apply_voi_lut

from medgen import MedgenError, files


def picture(height: int = 7, width: int = 9) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width), dtype=np.uint8)


def saved(path: Path, ds: pydicom.Dataset) -> Path:
    ds.save_as(path)
    return path


def xray() -> pydicom.Dataset:
    return pydicom.dcmread(io.BytesIO(files.dicom_bytes(picture(), {})))


def test_what_we_write_reads_back_as_it_was(tmp_path):
    for content in (files.png_bytes(picture(), {}), files.dicom_bytes(picture(), {}, modality="CR")):
        (tmp_path / "no extension").write_bytes(content)
        images = files.read_image(tmp_path / "no extension")
        assert (images.modality, images.unit, images.window) == ("CR", "au", (0.0, 255.0))
        np.testing.assert_array_equal(images.pixels[0, 0], picture())


def test_a_real_xray_of_monochrome1_shows_bone_white():
    path = get_testdata_file("RG1_UNCR.dcm", download=False)
    if path is None:
        pytest.skip("pydicom-data is not installed")
    images = files.read_image(path)
    ds = pydicom.dcmread(path)
    assert ds.PhotometricInterpretation == "MONOCHROME1" and images.modality == "CR"
    voi = apply_voi_lut(ds.pixel_array, ds)  # (H, W) 0..2**15 - 1, low is white
    expected = 1.0 - voi / (2.0**ds.BitsStored - 1)
    np.testing.assert_allclose(images.unit_range()[0, 0], expected, atol=2e-4)


def test_a_real_voi_table_is_applied():
    path = get_testdata_file("vlut_04.dcm", download=False)
    if path is None:
        pytest.skip("pydicom-data is not installed")
    ds = pydicom.dcmread(path)
    images = files.read_image(path)
    np.testing.assert_array_equal(images.pixels[0, 0], apply_voi_lut(ds.pixel_array, ds))
    assert images.window == (0.0, 65535.0)


def test_rescale_and_windows_of_a_dicom_act(tmp_path):
    ds = xray()
    ds.RescaleSlope, ds.RescaleIntercept, ds.RescaleType = 2, -1000, "HU"
    ds.WindowCenter, ds.WindowWidth = [40, 0], [400, 1]
    images = files.read_image(saved(tmp_path / "x.dcm", ds))
    np.testing.assert_array_equal(images.pixels[0, 0], picture() * 2.0 - 1000.0)
    assert images.unit == "HU" and images.window == (-160.0, 239.0)
    ds.VOILUTFunction = "LINEAR_EXACT"
    assert files.read_image(saved(tmp_path / "x.dcm", ds)).window == (-160.0, 240.0)
    del ds.WindowCenter
    low, high = files.read_image(saved(tmp_path / "x.dcm", ds)).window
    assert -1000.0 <= low < high <= -490.0


def test_png_of_16_bits_keeps_them_and_grey_rgb_counts_as_grey(tmp_path):
    deep = np.arange(0, 4096, 64, dtype=np.uint16).reshape(8, 8)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    images = files.read_image(tmp_path / "deep.png")
    np.testing.assert_array_equal(images.pixels[0, 0], deep)
    assert images.window[1] <= 4095  # not 65535, which would show black
    Image.fromarray(picture()).convert("RGB").save(tmp_path / "rgb.png")
    np.testing.assert_array_equal(files.read_image(tmp_path / "rgb.png", "DX").pixels[0, 0], picture())
    Image.new("RGB", (4, 4), (9, 0, 0)).save(tmp_path / "red.png")
    with pytest.raises(MedgenError, match="colour"):
        files.read_image(tmp_path / "red.png")


def bomb_png(path: Path) -> Path:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 0, 0, 0, 0)
    body = chunk(b"IDAT", zlib.compress(bytes(1_000_000)))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + body + chunk(b"IEND", b""))
    return path


ODD = {  # value representations that do not exist
    "odd modality": (b"\x08\x00\x60\x00CS", b"\x08\x00\x60\x00C\xbf"),
    "odd length": (b"\x02\x00\x00\x00UL", b"\x02\x00\x00\x00\xf3L"),
}


def bad_file(path: Path, kind: str) -> Path:
    """A file at `path` that must be refused for the reason `kind`."""
    whole_png, ds = files.png_bytes(picture(64, 64), {}), xray()
    if kind == "png bomb":
        return bomb_png(path)
    if kind in ODD:
        path.write_bytes(files.dicom_bytes(picture(), {}).replace(*ODD[kind]))
        return path
    if kind == "truncated dicom":
        path.write_bytes(files.dicom_bytes(picture(64, 64), {})[:-900])
        return path
    contents = {"pickle": pickle.dumps({"a": 1}), "empty": b"", "truncated png": whole_png[:-1500]}
    if kind in contents:
        path.write_bytes(contents[kind])
        return path
    if kind == "dicom bomb":
        ds.Rows = ds.Columns = 60_000
    elif kind == "frames":
        ds.NumberOfFrames = 2
    elif kind == "colour dicom":
        ds.PhotometricInterpretation = "RGB"
    elif kind == "deflated":
        ds.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    elif kind == "no pixels":
        del ds.PixelData
    return saved(path, ds)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("png bomb", "100000 x 100000"),
        ("truncated png", "PNG"),
        ("pickle", "neither"),
        ("empty", "neither"),
        ("truncated dicom", "cannot be read"),
        ("odd modality", "cannot be read"),
        ("odd length", "cannot be read|holds no picture"),
        ("dicom bomb", "60000 x 60000"),
        ("frames", "2 frames"),
        ("colour dicom", "grey"),
        ("deflated", "deflated"),
        ("no pixels", "cannot be read"),
    ],
)
def test_bad_pictures_are_refused_in_one_sentence(tmp_path, kind, words):
    with pytest.raises(MedgenError, match=words) as caught:
        files.read_image(bad_file(tmp_path / "file", kind))
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(MedgenError, match="cannot be opened"):
        files.read_image(tmp_path / "none.png")
