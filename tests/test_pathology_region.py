"""Regions of X-rays: uploads of every kind, boxes and drawings, what changes and what must not."""

from __future__ import annotations

import csv
import io
import json
import re
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import pytest
from pathology_fakes import PLAIN, fixed, make_card, run_grid, save_cards, text
from PIL import Image
from pydicom.data import get_testdata_file

import medgen
from demos import (
    lane,
    pathology,
    region,
    region_run,
    runner,
)
from demos import region_source as source_of
from demos.pathology_grid import Finished
from demos.region_run import BOX, DRAWING, RegionForm
from demos.region_source import Source
from medgen import ImageSet, MedgenError, Request
from medgen.files import dicom_bytes, png_bytes, read_image
from medgen.generator import OnStep
from medgen.noise import NoiseGenerator

BOXED = RegionForm(None, BOX, 25.0, 25.0, 75.0, 75.0, None, "noise-r-32", "viral_pneumonia", "", "", "3")


@pytest.fixture
def checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MEDGEN_CHECKPOINTS", str(tmp_path / "checkpoints"))
    monkeypatch.delenv("MEDGEN_DATA", raising=False)
    save_cards(tmp_path / "checkpoints")
    return tmp_path / "checkpoints"


# uploads


def real_file(name: str) -> str:
    path = get_testdata_file(name, download=False)
    assert path is not None, "pydicom-data is in requirements-dev.txt"
    return str(path)


def test_a_real_chest_xray_of_monochrome1_is_read_with_bone_white_and_fitted(checkpoints: Path) -> None:
    given = source_of.read_upload(real_file("RG1_UNCR.dcm"))
    assert given.mark is None and "1841 x 1955" in given.said
    card = make_card("x", shape=(1, 128, 128))
    small = source_of.fitted(given.images, card)
    assert small.pixels.shape == (1, 1, 128, 128) and (small.unit, small.window) == ("au", (0.0, 255.0))
    picture = small.pixels[0, 0]
    # in a chest the spine in the middle is brighter than the lungs beside it
    assert picture[50:80, 58:66].mean() > picture[50:80, 30:42].mean() + 20.0
    np.testing.assert_array_equal(picture, np.rint(picture))
    assert abs(picture.mean() / 255.0 - given.images.unit_range().mean()) < 0.01


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("CT_small.dcm", "modality CT"),
        ("eCT_Supplemental.dcm", "modality CT"),  # before it says that it has two frames
        ("MR_small.dcm", "modality MR"),
        ("US1_UNCR.dcm", "modality US"),  # before it says that it is in colour
        ("SC_rgb.dcm", "modality OT"),
        ("RG3_UNCR.dcm", "EXTREMITY, not CHEST"),
    ],
)
def test_a_real_dicom_file_of_something_else_is_refused_by_name(name: str, words: str) -> None:
    with pytest.raises(MedgenError, match=words) as caught:
        source_of.read_upload(real_file(name))
    assert name in str(caught.value) and str(caught.value).endswith(".")


def xray(height: int, width: int) -> np.ndarray:
    """Grey waves, (height, width) uint8."""
    y, x = np.mgrid[0:height, 0:width]
    return np.rint(127.5 + 127.5 * np.sin(x / 17.0) * np.cos(y / 23.0)).astype(np.uint8)


def save(path: Path, picture: Image.Image, **options: Any) -> Path:
    picture.save(path, **options)
    return path


def test_pictures_of_every_good_kind_are_taken(tmp_path: Path) -> None:
    card = make_card("x", shape=(1, 128, 128))
    grey = Image.fromarray(xray(256, 256))
    expected = np.asarray(grey.resize((128, 128), Image.Resampling.BILINEAR), np.float32)
    opaque = grey.convert("RGBA")
    deep = Image.fromarray(xray(256, 256).astype(np.uint16) * 16)
    (tmp_path / "x.dcm").write_bytes(dicom_bytes(xray(256, 256), {}, modality="DX"))
    turned = Image.Exif()
    turned[0x0112] = 3  # lies upside down
    files = {
        "grey.png": (save(tmp_path / "grey.png", grey), 1.0),
        "opaque alpha": (save(tmp_path / "alpha.png", opaque), 1.0),
        "16 bits": (save(tmp_path / "deep.png", deep), 4.0),  # its window is percentiles
        "jpeg": (save(tmp_path / "grey.jpg", grey, format="JPEG", quality=95), 6.0),
        "grey jpeg in colour": (save(tmp_path / "rgb", grey.convert("RGB"), format="JPEG", quality=95), 6.0),
        "turned jpeg": (save(tmp_path / "turned.jpg", grey.rotate(180), format="JPEG", quality=95, exif=turned), 6.0),
        "dicom": (tmp_path / "x.dcm", 1.0),
    }
    for kind, (path, levels) in files.items():
        pixels = source_of.fitted(source_of.read_upload(path).images, card).pixels[0, 0]
        assert np.abs(pixels - expected).max() <= levels, kind
    tiles = np.tile(xray(500, 500), (8, 8))
    large = source_of.read_upload(save(tmp_path / "large.png", Image.fromarray(tiles), compress_level=1))
    fitted = source_of.fitted(large.images, card).pixels[0, 0]
    assert fitted.shape == (128, 128) and abs(fitted.mean() - tiles.mean()) < 2.0
    rows = np.abs(np.diff(fitted, axis=0)).mean()
    assert rows < np.abs(np.diff(tiles[::31].astype(np.float32), axis=0)).mean(), "averaged, not every 31st pixel"


def test_monochrome1_is_turned(tmp_path: Path) -> None:
    import pydicom

    ds = pydicom.dcmread(io.BytesIO(dicom_bytes(xray(64, 64), {}, modality="CR")))
    ds.PhotometricInterpretation = "MONOCHROME1"
    ds.save_as(tmp_path / "one.dcm")
    images = source_of.read_upload(tmp_path / "one.dcm").images
    np.testing.assert_array_equal(images.pixels[0, 0], 255.0 - xray(64, 64))


def test_what_is_no_grey_xray_is_refused_in_one_sentence(tmp_path: Path) -> None:
    colour = np.random.default_rng(0).integers(0, 256, (80, 80, 3), dtype=np.uint8)
    clear = Image.fromarray(xray(80, 80)).convert("RGBA")
    clear.putalpha(Image.fromarray(xray(80, 80)))
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "cut.jpg").write_bytes(
        save(tmp_path / "x.jpg", Image.fromarray(colour), format="JPEG").read_bytes()[:900]
    )
    bad = {
        "in colour": save(tmp_path / "colour.png", Image.fromarray(colour)),
        "is in colour; save": save(tmp_path / "colour.jpg", Image.fromarray(colour), format="JPEG"),
        r"in colour \(CMYK\)": save(tmp_path / "cmyk.jpg", Image.fromarray(colour).convert("CMYK"), format="JPEG"),
        "transparent": save(tmp_path / "clear.png", clear),
        "1 x 1 pixels": save(tmp_path / "one.png", Image.new("L", (1, 1), 90)),
        "4000 x 20 pixels": save(tmp_path / "strip.png", Image.fromarray(xray(20, 4000))),
        "one grey all over": save(tmp_path / "flat.png", Image.new("L", (100, 100), 90)),
        "neither": tmp_path / "text.png",
        "cannot be read as a JPEG": tmp_path / "cut.jpg",
    }
    for words, path in bad.items():
        with pytest.raises(MedgenError, match=words) as caught:
            source_of.read_upload(path)
        assert "\n" not in str(caught.value) and str(tmp_path) not in str(caught.value)
    assert read_image(save(tmp_path / "tiny.jpg", Image.new("L", (9, 5), 7), format="JPEG")).pixels.shape == (
        1,
        1,
        5,
        9,
    )


# regions


@pytest.fixture
def painter(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """Makes the noise family inpaint; `leak` is what it adds to every pixel outside the region."""
    how = {"leak": 0.0}

    def paint(self: NoiseGenerator, request: Request, on_step: OnStep | None = None) -> ImageSet:
        request = request.checked(self.card)
        made = np.random.default_rng(request.seeds[0]).uniform(0, 255, (1, *self.card.shape))
        mask = request.region.mask()
        pixels = np.where(mask, made, request.source.pixels + how["leak"]).astype(np.float32)
        return ImageSet(pixels, "CR", "au", (0.0, 255.0), labels=(request.label,))

    monkeypatch.setattr(NoiseGenerator, "sample", paint)
    return how


def change(form: RegionForm) -> list[list[Any]]:
    lane.arm("me-region")
    return list(region_run.run(runner.portions, fixed, "me-region", *(getattr(form, n) for n in region_run.FIELDS)))


def asking(**changed: Any) -> RegionForm:
    """`BOXED`, changed; `replace` compares nothing, so arrays are welcome."""
    return replace(BOXED, **changed)


def uploaded(tmp_path: Path) -> Source:
    return source_of.read_upload(save(tmp_path / "patient.png", Image.fromarray(xray(200, 160))))


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"left": None}, "left"),
        ({"top": -1.0}, "top"),
        ({"right": 101.0}, "right"),
        ({"bottom": float("nan")}, "bottom"),
        ({"right": 25.0}, "right"),
        ({"bottom": 10.0}, "bottom"),
        ({"model": None}, "model"),
        ({"label": None}, "label"),
        ({"guidance": "nan"}, "guidance"),
        ({"steps": "x"}, "steps"),
        ({"seed": ""}, "seed"),
    ],
)
def test_a_bad_value_of_the_region_form_turns_its_field_red(changed: dict[str, Any], field: str) -> None:
    form = asking(**changed)
    answers = region_run.validator(*(getattr(form, name) for name in region_run.FIELDS))
    wrong = [name for name, answer in zip(region_run.FIELDS, answers, strict=True) if not answer["is_valid"]]
    assert wrong == [field]


def test_edges_that_are_hidden_cannot_be_wrong_and_the_preview_of_wild_ones_is_quick() -> None:
    answers = region_run.problems(asking(where=DRAWING, left=101.0, right=None))
    assert answers == {}
    framed = source_of.with_box(Image.new("L", (512, 512)), (-1e300, 50.0, 1e300, 1e12))
    assert framed.size == (512, 512) and framed.getpixel((0, 400)) == (255, 191, 0)


def test_boxes_and_drawings_become_the_mask_they_look_like() -> None:
    mask = source_of.box_mask((40, 80), (25.0, 50.0, 75.0, 100.0))
    rows, columns = np.nonzero(mask)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (20, 39, 20, 59) and mask.sum() == 20 * 40
    with pytest.raises(MedgenError, match="no pixel"):
        source_of.box_mask((40, 40), (50.0, 50.0, 50.4, 60.0))
    layer = np.zeros((512, 512, 4), np.uint8)
    layer[128:256, 0:256, 3] = 255
    drawing = source_of.drawn({"background": None, "layers": [np.zeros_like(layer), layer], "composite": None})
    np.testing.assert_array_equal(
        source_of.drawn_mask((32, 32), drawing), source_of.box_mask((32, 32), (0.0, 25.0, 50.0, 50.0))
    )
    assert source_of.drawn(None) is None and source_of.drawn({"layers": [np.zeros_like(layer)]}) is None
    with pytest.raises(MedgenError, match="Nothing is drawn"):
        source_of.drawn_mask((32, 32), None)


def test_the_region_changes_and_the_rest_stays_and_both_are_measured(
    checkpoints: Path, painter: dict[str, float], tmp_path: Path
) -> None:
    given = uploaded(tmp_path)
    _, changed, html = change(asking(source=given))[-2]
    levels, mask = changed.levels(), source_of.box_mask((32, 32), (25.0, 25.0, 75.0, 75.0))
    assert not levels[~mask].any() and np.abs(levels[mask]).mean() > 10
    said = text(html)
    assert "largest change outside it 0.00" in said and "25% of the picture" in said
    assert f"mean change inside {np.abs(levels[mask]).mean():.1f}" in said
    assert said.count("Classifier: viral pneumonia") == 2, "before and after"
    assert said.count("Border alone: viral pneumonia 75%") == 2
    assert [alt.split(":")[0] for alt in re.findall(r"alt='([^']*)'", html)] == ["Before", "After", "Difference"]
    before, after, difference = (np.asarray(Image.open(name)) for name in re.findall(r"file=([^']*)' alt", html))
    assert (before[:40, :40] == after[:40, :40]).all() and len(np.unique(difference[:40, :40])) == 1

    painter["leak"] = 4.0
    html = change(asking(source=given))[-2][2]
    assert re.search(r"largest change outside it [34]\.\d\d", text(html)), "a model that does not keep the rest is seen"


def test_a_classifier_that_fails_does_not_take_the_picture_away(
    checkpoints: Path, painter: dict[str, float], tmp_path: Path
) -> None:
    def broken(images: ImageSet, label: str) -> list[Any]:
        raise MedgenError("The weights are damaged: fetch them again.")

    form, screens = asking(source=uploaded(tmp_path)), []
    lane.arm("me-region")
    with pytest.raises(gr.Error, match="fetch them again"):
        values = (getattr(form, name) for name in region_run.FIELDS)
        for screen in region_run.run(runner.portions, broken, "me-region", *values):
            screens.append(screen)
    _, changed, html = screens[-1]
    assert text(html).count("Not judged.") == 2 and "No classifier" not in html
    assert region_run.pack("me-region", changed, "png")["interactive"]


def test_a_changed_upload_is_called_synthetic_inside_the_region_alone(
    checkpoints: Path, painter: dict[str, float], tmp_path: Path
) -> None:
    given = uploaded(tmp_path)
    said = text(change(asking(source=given))[-2][2])
    assert "Asked inside the region: viral pneumonia. The rest is the upload." in said and "All synthetic" not in said
    said = text(change(asking(source=replace(given, mark={"Model": "noise-a-32"})))[-2][2])
    assert "All synthetic." in said and "upload" not in said


def test_the_download_of_a_region_holds_the_very_picture_that_its_manifest_names(
    checkpoints: Path, painter: dict[str, float], tmp_path: Path
) -> None:
    for given in (uploaded(tmp_path), replace(uploaded(tmp_path), mark={"Model": "noise-a-32"})):
        changed = change(asking(source=given))[-2][1]
        button = region_run.pack("me-region", changed, "png")
        with zipfile.ZipFile(button["value"]) as archive:
            manifest = json.loads(archive.read("noise-r-32/manifest.json"))
            (row,) = csv.DictReader(io.TextIOWrapper(archive.open("noise-r-32/labels.csv"), "utf-8"))
            with Image.open(archive.open("source.png")) as picture:
                said, pixels = dict(picture.info), np.asarray(picture, np.float32)
            mask = np.asarray(Image.open(archive.open("region.png")))
            after = np.asarray(Image.open(archive.open(f"noise-r-32/{manifest['files'][0]['file']}")))
        assert ("Synthetic" in said) == (given.mark is not None), "an upload is not called synthetic"
        asked = Request.from_json(manifest["request"])
        again = replace(asked, source=ImageSet(pixels[None, None], "CR", "au", (0.0, 255.0)))
        assert again.to_json() == manifest["request"], "the same SHA-256"
        remade = medgen.load("noise-r-32").sample(again)
        np.testing.assert_array_equal(remade.uint8()[0, 0], after)
        np.testing.assert_array_equal(mask > 0, asked.region.mask())
        assert {"judge-children viral_pneumonia", "before: judge-children border normal"} <= set(row)
        assert (row["label"], row["region_label"]) == ("", "viral_pneumonia")
        assert asked.keeps_upload() == (given.mark is None), "what is left of an upload is not called synthetic"
        # the manifest alone cannot remake it, and says so instead of making something else
        with pytest.raises(gr.Error, match="picture that a manifest does not hold"):
            pathology.fill(button["value"])
    assert region_run.pack("me-region", None, "png")["interactive"] is False


def test_without_a_picture_a_region_or_a_model_that_can_there_is_one_sentence(
    checkpoints: Path, painter: dict[str, float], tmp_path: Path
) -> None:
    with pytest.raises(gr.Error, match="no picture to change"):
        change(BOXED)
    with pytest.raises(gr.Error, match="Nothing is drawn"):
        change(asking(source=uploaded(tmp_path), where=DRAWING))
    with pytest.raises(gr.Error, match="cannot change a region"):
        change(asking(source=uploaded(tmp_path), model="noise-a-32"))
    with pytest.raises(gr.Error, match="bogus"):
        change(asking(source=uploaded(tmp_path), label="bogus"))
    nobody, form, model = region.on_load()
    assert nobody["visible"] is False and form["visible"] and model["value"] == "noise-r-32"
    (checkpoints / "noise-r-32" / "card.json").unlink()
    nobody, form, _ = region.on_load()
    assert region.NOBODY in nobody["value"] and nobody["visible"] and not form["visible"]


def test_a_picture_of_the_grid_can_be_changed_and_stays_synthetic(checkpoints: Path) -> None:
    finished = run_grid(replace(PLAIN, count=2))[-1][1]
    choices = region.offer(finished)["choices"]
    assert len(choices) == 8 and choices[3][0] == "viral pneumonia · Noise-A-32 · seed 8"
    given = region.of_grid(finished, choices[3][1])
    assert given.mark["Model"] == "noise-a-32" and given.mark["Seed"] == "8"
    expected = medgen.load("noise-a-32").sample(Request((8,), label="viral_pneumonia"))
    np.testing.assert_array_equal(given.images.pixels, expected.uint8().astype(np.float32))
    assert region.of_grid(Finished(), choices[3][1]) is None
    newer = run_grid(replace(PLAIN, count=2, seed="70"))[-1][1]
    assert region.of_grid(newer, choices[3][1]) is None, "another picture in the same place is not the chosen one"
    html = region.shown("me-source", given, BOX, 10.0, 20.0, 30.0, 40.0)
    assert "10 to 30 % from the left" in text(html)
    assert region.NO_PICTURE in region.shown("me-source", None, BOX, 1.0, 2.0, 3.0, 4.0)


def test_a_picture_of_the_right_size_is_only_rounded() -> None:
    card = make_card("x")
    exact = ImageSet(np.arange(1024, dtype=np.float32).reshape(1, 1, 32, 32) % 256, "CR", "au", (0.0, 255.0))
    np.testing.assert_array_equal(source_of.fitted(exact, card).pixels, exact.pixels)
    assert png_bytes(exact.uint8()[0, 0], {}) == png_bytes(source_of.fitted(exact, card).uint8()[0, 0], {})
