"""The Translate tab without a browser: what it reads, refuses, translates, measures, shows and writes."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
import struct
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import gradio as gr
import nibabel as nib
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.data import get_testdata_file
from translate_fakes import coarse, make_card, register, save, series_zip
from volumes import DATA, on_this_disk, shipped
from volumes import card as noise_card

import medgen
from demos import (
    controls,
    lane,
    runner,
    slice_examples,
    slice_source,
    translate,
    translate_controls,
    translate_files,
    translate_form,
    translate_run,
    translate_source,
    translate_view,
    widgets,
)
from demos.slice_phantom import phantom
from demos.slice_source import Given, opened
from demos.translate_form import TranslateForm
from demos.translate_run import Translated
from demos.translate_view import CT_WINDOWS, DIFFERENCE, DISAGREEMENT, ERROR, MR_WINDOWS, RESULT, SOURCE, View
from medgen import MedgenError
from medgen.disagreement import disagreement
from medgen.read_volume import read_volume
from medgen.volume import Volume

FULL, AS_SEEN = next(iter(CT_WINDOWS)), next(iter(MR_WINDOWS))
PLAIN = View(RESULT, FULL, AS_SEEN)
DRAWN = Given("Drawn head", example="drawn:t1")
FORM = TranslateForm(DRAWN, None, "t1-t2", ["unet-t1-t2-256", "diffusion-t1-t2-256"], "axial", 96, "7", 3, "")


@pytest.fixture(autouse=True)
def cards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    slice_source._kept.clear()
    made = [make_card("unet", "t1-t2"), make_card("diffusion", "t1-t2"), make_card("unet", "mr-ct"),
            make_card("unet", "ct-mr"), make_card("unet", "t1-flair", 128)]  # fmt: skip
    register(tmp_path / "checkpoints", monkeypatch, made)
    return tmp_path / "checkpoints"


def run(form: TranslateForm, session: str = "me") -> tuple[list[list[Any]], Translated | None]:
    """All screens of a run, and what it has left."""
    lane.arm(session)
    screens = list(translate_run.run(runner.portions, session, *values_of(form)))
    left = [screen[1] for screen in screens if isinstance(screen[1], Translated)]
    return screens, left[-1] if left else None


def values_of(form: TranslateForm) -> tuple[Any, ...]:
    return tuple(getattr(form, name) for name in translate_form.FIELDS)


def text(html: str) -> str:
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", html)).split())


def uploaded(path: Path | str, says: str = "MR") -> Given:
    """What the page keeps of an upload."""
    return translate_source.on_upload(str(path), says)[0]


# what there is to choose


def test_only_translations_that_a_model_here_makes_are_offered_and_all_its_models(cards: Path) -> None:
    nobody, box, direction = translate_controls.on_load()
    assert [one for _, one in direction["choices"]] == ["t1-t2", "t1-flair", "mr-ct", "ct-mr"]
    assert direction["choices"][0][0] == "T1 to T2" and not nobody["visible"] and box["visible"]
    models, example, says, steps, samples, truth, _, button, ct, mr, whole = translate_controls.on_direction(
        "t1-t2", None, None
    )
    assert models["value"] == ["unet-t1-t2-256", "diffusion-t1-t2-256"], (
        "the fast ones first" and whole["value"] in models["value"]
    )
    assert steps["visible"] and steps["placeholder"] == "3" and samples["visible"] and truth is None
    assert (ct["visible"], mr["visible"], says["value"]) == (False, True, "MR") and "T2" in button["label"]
    assert [key for _, key in example["choices"]][-1] == "drawn:t1"
    *_, ct, mr, whole = translate_controls.on_direction("ct-mr", None, None)
    assert (ct["visible"], mr["visible"], whole["value"]) == (True, True, "unet-ct-mr-256")
    for path in cards.glob("*"):
        (path / "card.json").unlink()
    nobody, box, _ = translate_controls.on_load()
    assert nobody["visible"] and "checkpoints" in nobody["value"] and not box["visible"]


def test_the_generate_tab_offers_no_model_that_needs_a_picture_to_begin_with(cards: Path) -> None:
    noise = noise_card("CR")
    noise.save(cards / noise.name)
    modality, models = controls.on_load()
    assert [code for _, code in modality["choices"]] == ["CR"]
    assert [name for _, name in models["choices"]] == [noise.name]


def test_every_translation_has_an_example_on_a_fresh_clone_and_it_is_named_as_what_it_is() -> None:
    for direction in translate_form.KNOWN_DIRECTIONS:
        source, target = direction.split("-")
        shown, key, truth = slice_examples.offered(direction)[-1]
        assert shown.startswith("Drawn head") and (key, truth) == (f"drawn:{source}", f"drawn:{target}")
        given, *_, true, words = translate_source.on_example(key, direction)
        found, truth_of_it = opened(given), opened(true)
        assert "drawn" in found.said and found.mark == "DRAWN" and "example" in words
        slice_source.refuse_truth(found, truth_of_it, "", "CT" if target == "ct" else "MR", target)
        assert found.volume.spacing_mm == (1.0, 1.0, 1.0)
    with pytest.raises(MedgenError, match="no longer here"):
        opened(Given("x", example="drawn:../../etc"))


def test_the_template_of_nilearn_is_found_without_importing_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "site" / "nilearn"
    (package / "datasets" / "data").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('nobody may import this')")
    save(package / slice_examples._SHIPPED, coarse("t1"))
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    keys = [key for _, key, _ in slice_examples.offered("t1-t2")]
    assert keys[0] == "icbm152:t1" and not any(
        "icbm152" in str(slice_examples.offered(one)) for one in ("t2-t1", "mr-ct")
    )
    found = opened(Given("ICBM152", example="icbm152:t1"))
    assert found.mark == "TEMPLATE" and "nilearn" in found.said and found.volume.axes == "RAS"


def test_test_patients_on_this_disk_are_offered_with_their_truth(monkeypatch: pytest.MonkeyPatch) -> None:
    on_this_disk("brain_t1_flair_128.zip")
    monkeypatch.setenv("MEDGEN_DATA", str(DATA))
    shown, key, truth = next(one for one in slice_examples.offered("t1-flair") if one[1].startswith("test:"))
    assert shown.startswith("Real test patient TCGA")
    source, true = opened(Given("a", example=key)), opened(Given("b", example=truth))
    assert source.mark == "REAL" and "CC BY-NC-SA" in source.said and source.planes() == ["axial"]
    slice_source.refuse_truth(source, true, "b", "MR", "FLAIR")
    assert source.volume.array.shape[:2] == (128, 128) and (source.volume.array != true.volume.array).any()
    _, done = run(replace(FORM, source=Given("a", example=key), truth=Given("b", example=truth), direction="t1-flair",
                          models=["unet-t1-flair-128"], index=8))  # fmt: skip
    np.testing.assert_array_equal(done.answers[0].result.requests[0].source.pixels[0, 0], done.section.pixels)
    assert 0.0 < done.answers[0].agreement.ssim < 1.0


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"direction": None}, "direction"),
        ({"models": []}, "models"),
        ({"models": ["m"] * 7}, "models"),
        ({"seed": "-1"}, "seed"),
        ({"seed": "1, 2"}, "seed"),
        ({"seed": str(2**63 - 1)}, "seed"),
        ({"samples": 9}, "samples"),
        ({"samples": None}, "samples"),
        ({"steps": "many"}, "steps"),
    ],
)
def test_a_bad_value_turns_its_own_field_red_and_no_other(changed: dict[str, Any], field: str) -> None:
    answers = translate_form.validator(*values_of(replace(FORM, **changed)))
    by_name = dict(zip(translate_form.FIELDS, answers, strict=True))
    assert [name for name, answer in by_name.items() if not answer["is_valid"]] == [field]
    assert by_name[field]["message"].endswith(".")
    assert all(answer["is_valid"] for answer in translate_form.validator(*values_of(FORM)))


# what is read, and what is refused


def test_a_dicom_series_a_single_file_without_extension_a_nifti_and_a_png_are_read(tmp_path: Path) -> None:
    head = coarse("ct", 4)
    series = opened(uploaded(series_zip(tmp_path / "upload", [head])))
    assert (series.volume.modality, series.volume.unit, series.dicom, series.silent) == ("CT", "HU", True, False)
    np.testing.assert_allclose(series.volume.canonical().array, np.rint(head.array), atol=0.51)
    assert series.section("axial", 20).edges == ("R", "L", "A", "P") and series.mark == "UPLOADED"
    with zipfile.ZipFile(tmp_path / "upload") as archive:
        (tmp_path / "IM020").write_bytes(archive.read("0/IM020"))
    single = opened(uploaded(tmp_path / "IM020"))
    np.testing.assert_array_equal(single.section("axial", 0).pixels, series.section("axial", 20).pixels)
    nifti = opened(uploaded(save(tmp_path / "head.nii.gz", head), "CT"))
    assert (nifti.volume.unit, nifti.dicom, nifti.silent) == ("HU", False, True)
    Image.fromarray(phantom("t1").section("axial", 96).pixels.astype(np.uint8)).save(tmp_path / "slice.png")
    png = opened(uploaded(tmp_path / "slice.png"))
    assert png.planes() == ["axial"] and png.section("axial", 0).edges == ("", "", "", "")
    assert png.section("axial", 0).spacing_mm[0] == pytest.approx(256 / 217), "the longer side is a field of view"
    said = " ".join(slice_source.warnings(png, "axial"))
    assert "size of a pixel is unknown" in said and "where left is" in said


@pytest.mark.parametrize("name", ["MR_small_RLE.dcm", "MR2_J2KI.dcm", "CT_small.dcm"])
def test_real_files_plain_or_compressed_with_a_decoder_are_read(name: str) -> None:
    found = opened(uploaded(shipped(name)))
    assert (found.volume.unit == "HU") == name.startswith("CT") and found.sized
    assert found.planes() == ["sagittal" if name.startswith("MR2") else "axial"], "of one slice, the plane it lies in"


def test_of_several_series_one_is_chosen_and_the_chooser_is_shown(tmp_path: Path) -> None:
    path = str(series_zip(tmp_path / "both.zip", [coarse("t1", 8), coarse("t2", 4)]))
    given, about, series, plane, index, *_ = translate_source.on_upload(path, "MR")
    assert series["visible"] and len(series["choices"]) == 2 and series["value"] == given.series
    assert "46 images" in series["choices"][0][0] and "46" in about, "the one with most images comes first"
    assert (index["maximum"], index["value"]) == (45, 23) and plane["value"] == "axial"
    other = translate_source.on_series(given, series["choices"][1][1])[0]
    assert opened(other).volume.array.shape == (23, 28, 23)


def test_mr_is_brought_to_0_to_255_by_percentiles_of_the_whole_head(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    array = rng.uniform(100, 1100, (40, 40, 40)).astype(np.float32)
    array[0, 0, 0], array[1, 1, 1] = -9e5, 9e5  # a dead and a hot voxel
    found = opened(uploaded(save(tmp_path / "a.nii", Volume(array, np.eye(4), "MR", "au"))))
    np.testing.assert_allclose(found.window, np.percentile(array, (0.5, 99.5)), rtol=0.01)
    levels = found.levels(array)
    assert (levels.min(), levels.max()) == (0.0, 255.0) and abs(float(levels.mean()) - 127.5) < 2
    sparse = np.zeros((64, 64, 64), np.float32)
    sparse[30:34, 30:34, 30:34] = 50.0
    few = opened(uploaded(save(tmp_path / "b.nii", Volume(sparse, np.eye(4), "MR", "au"))))
    assert few.levels(sparse).max() == 255.0 and few.levels(sparse).mean() < 1.0, "not white all over"


def test_a_head_of_the_wrong_modality_is_refused_in_a_sentence_that_says_what_to_do(tmp_path: Path) -> None:
    series = uploaded(series_zip(tmp_path / "ct.zip", [coarse("ct", 8)]))
    with pytest.raises(gr.Error, match=r"ct.zip is read as CT, but T1 to T2 translates MR.*give MR\."):
        run(replace(FORM, source=series, index=3))
    nifti = uploaded(save(tmp_path / "head.nii.gz", coarse("t1", 8)))
    with pytest.raises(gr.Error, match="say above that the file shows CT"):
        run(replace(FORM, source=nifti, direction="ct-mr", models=["unet-ct-mr-256"], index=3))
    said = translate_source.preview("me", series, "t1-t2", "axial", 3, FULL, AS_SEEN)
    assert "is read as CT" in text(said), "and it is said before anybody presses a button"
    hounsfield = uploaded(save(tmp_path / "hu.nii.gz", coarse("ct", 8)))
    assert "look like Hounsfield units" in " ".join(slice_source.warnings(opened(hounsfield), "axial"))
    told = translate_source.on_says(hounsfield, "CT")[0]
    assert opened(told).volume.unit == "HU" and slice_source.warnings(opened(told), "axial") == []
    assert translate_source.on_says(series, "MR")[0] == gr.skip(), "DICOM says itself what it is"


def broken_files(place: Path) -> dict[str, tuple[Path, str]]:
    """Name -> a bad file, and words of the sentence that refuses it."""
    found: dict[str, tuple[Path, str]] = {}
    head = coarse("t1", 8)

    def keep(name: str, content: bytes, words: str) -> None:
        (place / name).write_bytes(content)
        found[name] = (place / name, words)

    whole = series_zip(place / "s.zip", [head])
    with zipfile.ZipFile(whole) as archive:
        one = archive.read("0/IM010")
    nifti = save(place / "ok.nii", head).read_bytes()
    ct = pydicom.dcmread(io.BytesIO(one))
    ct.Modality = "CT"
    del ct.RescaleSlope, ct.RescaleIntercept, ct.RescaleType
    buffer = io.BytesIO()
    ct.save_as(buffer)
    keep("no_rescale.dcm", buffer.getvalue(), "not HU")
    keep("truncated.dcm", one[: len(one) - 300], "cut short|cannot be read")
    keep("truncated.zip", whole.read_bytes()[:-400], "whole ZIP")
    keep("truncated.nii", nifti[:-100], "claims|cut short")
    huge = bytearray(nifti[:1024])
    huge[40:48] = struct.pack("<4h", 3, 1024, 1024, 250)
    keep("two_gigabytes.nii", bytes(huge), "claims")
    four = nib.Nifti1Image(np.zeros((8, 8, 8, 3), np.float32), np.eye(4))
    keep("four.nii", four.to_bytes(), "4D")
    for name, value, words in (("nan.nii", np.nan, "NaN"), ("constant.nii", 7.0, "shows nothing")):
        array = np.full((20, 20, 20), 7.0, np.float32)
        array[3] = value
        keep(name, nib.Nifti1Image(array, np.eye(4)).to_bytes(), words)
    keep("words.txt", b"no picture at all", "neither DICOM")
    colour = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    Image.fromarray(colour).save(place / "colour.png")
    found["colour.png"] = (place / "colour.png", "colour")
    Image.fromarray(colour[..., 0]).save(place / "grey.png")
    found["tiny.nii"] = (
        save(place / "tiny.nii", Volume(head.array[:9, :9, :9].copy(), np.eye(4), "MR", "au")),
        "voxels",
    )
    return found


def test_bad_files_are_one_sentence_each_and_name_no_folder(tmp_path: Path) -> None:
    for name, (path, words) in broken_files(tmp_path).items():
        with pytest.raises(gr.Error, match=words) as caught:
            translate_source.on_upload(str(path), "MR")
        assert str(tmp_path) not in str(caught.value) and caught.value.message.endswith("."), name
        assert 8 <= caught.value.duration <= 10
    with pytest.raises(gr.Error, match="grey levels"):
        translate_source.on_upload(str(tmp_path / "grey.png"), "CT")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("US1_UNCR.dcm", "modality US|no grey picture"),
        ("SC_rgb.dcm", "modality OT"),
        ("JPEG-LL.dcm", "compressed as JPEG Lossless|modality NM|cannot be read"),
        ("rtplan.dcm", "no pictures"),
        ("eCT_Supplemental.dcm", "values are no HU"),  # an enhanced file of two frames: a perfusion map
    ],
)
def test_real_dicom_files_of_something_else_are_refused(name: str, words: str) -> None:
    path = get_testdata_file(name, download=False)
    assert path is not None, "pydicom-data is in requirements-dev.txt"
    with pytest.raises(gr.Error, match=words):
        translate_source.on_upload(path, "MR")


def test_what_was_read_is_kept_within_a_budget_and_read_again_when_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [save(tmp_path / f"{n}.nii", coarse("t1", 4)) for n in range(4)]
    monkeypatch.setattr(slice_source, "KEPT_BYTES", int(2.5 * coarse("t1", 4).array.nbytes))
    first, *others = (Given(path.name, str(path)) for path in paths)
    once = opened(first)
    assert opened(first) is once
    for other in others:
        opened(other)
    assert len(slice_source._kept) == 2
    assert opened(first) is not once


# one slice


def test_all_models_translate_the_same_slice_on_the_same_seeds_and_each_says_its_time(cards: Path) -> None:
    screens, done = run(FORM)
    assert done is not None and [answer.card.name for answer in done.answers] == FORM.models
    single, drawn = done.answers
    assert drawn.result.requests[0].seeds == (7, 8, 9) and single.result.requests[0].seeds == (7,)
    np.testing.assert_array_equal(drawn.result.requests[0].source.pixels, single.result.requests[0].source.pixels)
    assert done.section.pixels.shape == (217, 181) == single.samples.shape[1:] and single.covered.all()
    np.testing.assert_allclose(single.samples[0], np.rint(done.section.pixels), atol=1e-3)
    assert "Done: 4 pictures" in screens[-1][0] and "<progress" in screens[0][0]
    html = text(translate_view.html(done, PLAIN, cards))
    assert "3 images in" in html and "1 image in" in html and "peak memory" in html
    assert "axial slice 96, 181 x 217 pixels of 1 x 1 mm" in html


def test_disagreement_is_the_spread_of_the_samples(cards: Path) -> None:
    make_card("diffusion", "t1-t2", net={"noise": 20.0}).save(cards / "diffusion-t1-t2-256")
    _, done = run(replace(FORM, samples=8))
    drawn = done.answers[1]
    inside = (done.section.pixels > 80) & (done.section.pixels < 175)  # where nothing is clipped
    assert disagreement(drawn.samples)[inside].mean() == pytest.approx(20.0, rel=0.1)
    said = text(translate_view.html(done, replace(PLAIN, kind=DISAGREEMENT), cards))
    assert "Standard deviation over 8 samples" in said and "One sample only" in said


def test_the_truth_gives_known_numbers_inside_the_head_and_says_that_it_is_one_slice(cards: Path) -> None:
    truth = Given("truth", example="drawn:t1")  # the fake copies its source
    for add, error in ((0.0, 0.0), (10.0, 10.0)):
        make_card("unet", "t1-t2", net={"add": add}).save(cards / "unet-t1-t2-256")
        _, done = run(replace(FORM, truth=truth, samples=1))
        found = done.answers[0].agreement
        assert found.mae == pytest.approx(error, abs=0.3) and found.n_pixels < 0.7 * done.section.pixels.size
        if error:
            assert found.psnr_db == pytest.approx(20 * np.log10(255 / 10), abs=0.3)
        else:
            assert found.ssim > 0.99 and found.psnr_db > 50.0
    _, done = run(replace(FORM, truth=truth, samples=4))
    noisy = done.answers[1]
    assert noisy.mean_agreement.mae < noisy.agreement.mae
    said = text(translate_view.html(done, PLAIN, cards))
    assert "n = 1 slice" in said and "PSNR 28" in said and "mean of 4: SSIM" in said and "levels of 255" in said
    _, above = run(replace(FORM, truth=truth, index=180, samples=1))
    assert above.answers[0].agreement is None
    assert "no head in this slice" in text(translate_view.html(above, PLAIN, cards))


def test_a_ct_is_measured_in_hounsfield_units(cards: Path) -> None:
    make_card("unet", "mr-ct", net={"add": 30.0}).save(cards / "unet-mr-ct-256")
    source = Given("CT as MR", example="drawn:mr")
    _, done = run(replace(FORM, source=source, truth=Given("t", example="drawn:ct"), direction="mr-ct",
                          models=["unet-mr-ct-256"]))  # fmt: skip
    answer = done.answers[0]
    expected = np.clip(done.section.pixels / 255.0 * 3000.0 - 1024.0 + 30.0, -1024, 1976)
    np.testing.assert_allclose(answer.samples[0], expected, atol=7.0)  # levels of 255 are 12 HU
    assert answer.agreement.mae > 500 and "in HU, data range 3000" in text(translate_view.html(done, PLAIN, cards))


def test_a_truth_on_another_grid_or_of_another_modality_is_refused_and_the_reason_given(tmp_path: Path) -> None:
    source = uploaded(save(tmp_path / "head.nii.gz", coarse("t1", 4)))
    moved = coarse("t2", 4)
    moved.affine[0, 3] += 3.0
    other = save(tmp_path / "moved.nii.gz", moved)
    with pytest.raises(gr.Error, match=r"corners 3.00 mm apart.*python -m medgen.data pairs"):
        translate_source.on_truth(str(other), source, "t1-t2")
    with pytest.raises(gr.Error, match="voxels"):
        translate_source.on_truth(str(save(tmp_path / "small.nii.gz", coarse("t2", 8))), source, "t1-t2")
    with pytest.raises(gr.Error, match="truth of a translation to T2 is MR"):
        path = series_zip(tmp_path / "ct.zip", [coarse("ct", 8)])
        translate_source.on_truth(str(path), source, "t1-t2")
    with pytest.raises(gr.Error, match="no head to translate"):
        translate_source.on_truth(str(other), None, "t1-t2")
    turned = coarse("t2", 4).reoriented("PSL")
    given, said = translate_source.on_truth(str(save(tmp_path / "turned.nii.gz", turned)), source, "t1-t2")
    assert given.path.endswith("turned.nii.gz") and "on the grid of the source" in said, (
        "axes in another order are fine"
    )
    _, done = run(replace(FORM, source=source, truth=given, index=24, samples=1))
    assert done.answers[0].agreement is not None
    slice_source._kept.clear()
    save(tmp_path / "turned.nii.gz", moved)  # between upload and run
    with pytest.raises(gr.Error, match="corners"):
        run(replace(FORM, source=source, truth=given, index=24))


def test_two_pictures_of_one_size_are_compared_with_a_word_of_doubt(tmp_path: Path) -> None:
    for contrast in ("t1", "t2"):
        Image.fromarray(phantom(contrast).section("axial", 96).pixels.astype(np.uint8)).save(
            tmp_path / f"{contrast}.png"
        )
    source = uploaded(tmp_path / "t1.png")
    given, said = translate_source.on_truth(str(tmp_path / "t2.png"), source, "t1-t2")
    assert "Nobody can tell" in said
    _, done = run(replace(FORM, source=source, truth=given, index=0))
    assert done.answers[0].agreement.mae > 5
    Image.fromarray(np.arange(64 * 64, dtype=np.uint8).reshape(64, 64)).save(tmp_path / "other.png")
    with pytest.raises(gr.Error, match="pixels"):
        translate_source.on_truth(str(tmp_path / "other.png"), source, "t1-t2")


def test_anisotropic_slices_of_any_plane_come_back_on_their_own_grid(tmp_path: Path) -> None:
    head = phantom("t1")
    thick = Volume(np.ascontiguousarray(head.array[:, ::2, ::5]), head.affine @ np.diag([1, 2, 5, 1.0]), "MR", "au")
    source = uploaded(save(tmp_path / "thick.nii.gz", thick))
    for plane, shape in (("axial", (109, 181)), ("coronal", (37, 181)), ("sagittal", (37, 109))):
        _, done = run(replace(FORM, source=source, plane=plane, index=20 if plane == "axial" else 50, samples=1))
        answer = done.answers[0]
        assert answer.samples.shape == (1, *shape) and answer.covered.all()
        again = np.abs(answer.samples[0] - done.section.pixels)
        assert np.median(again) < 1.0 and again.mean() < 6.0, plane
    assert "expect worse" in " ".join(slice_source.warnings(opened(source), "coronal"))


def test_a_stopped_run_keeps_what_was_finished_and_an_error_is_a_toast_that_takes_nothing_away(cards: Path) -> None:
    def stopping(tasks: list[runner.Task], stop: Any, previews: bool) -> Iterator[runner.Event]:
        for event in runner.portions(tasks, stop, previews):
            yield event
            if isinstance(event, runner.Result):
                stop.set()

    lane.arm("stopper")
    *_, before, last = translate_run.run(stopping, "stopper", *values_of(FORM))
    assert "Stopped" in last[0] and [len(screen[1].answers) for screen in (before,)] == [1]
    make_card("diffusion", "t1-t2", net={"fails": True}).save(cards / "diffusion-t1-t2-256")
    lane.arm("unlucky")
    screens = []
    with pytest.raises(gr.Error, match="fetch them again") as caught:
        for screen in translate_run.run(runner.portions, "unlucky", *values_of(FORM)):
            screens.append(screen)
    assert 8 <= caught.value.duration <= 10
    assert [len(screen[1].answers) for screen in screens if isinstance(screen[1], Translated)] == [1]
    make_card("unet", "t1-t2", net={"nan": True}).save(cards / "unet-t1-t2-256")
    with pytest.raises(gr.Error, match="diverged"):
        run(FORM)
    with pytest.raises(gr.Error, match="reload the page"):
        run(replace(FORM, models=["gone"]))
    with pytest.raises(gr.Error, match="choose from 0 to 180"):
        run(replace(FORM, index=181))


# how it is shown


def test_every_view_shows_each_model_with_its_mark_and_names_are_no_html(cards: Path, tmp_path: Path) -> None:
    card = replace(make_card("unet", "t1-t2"), title="<b>bold</b>")
    card.save(cards / card.name)
    _, done = run(replace(FORM, truth=Given("truth", example="drawn:t2")))
    counts = {SOURCE: 1, RESULT: 4, DIFFERENCE: 2, DISAGREEMENT: 1, ERROR: 2}
    for kind, count in counts.items():
        html = translate_view.html(done, replace(PLAIN, kind=kind), tmp_path)
        assert html.count("<img") == count, kind
        assert "<b>" not in html
    assert len(list(tmp_path.glob("*.png"))) == sum(counts.values())
    alts = re.findall(r"alt='([^']*)'", translate_view.html(done, PLAIN, tmp_path))
    assert alts[1] == "result of unet-t1-t2-256, axial slice 96, synthetic" and "synthetic" not in alts[0]
    assert translate_view.html(None, PLAIN, tmp_path) == translate_view.NOTHING
    said = translate_view.html(run(FORM)[1], replace(PLAIN, kind=ERROR), tmp_path)
    assert text(said).count("No truth was given") == 2


def test_ct_presets_are_the_numbers_they_name_and_mr_shares_one_window(cards: Path) -> None:
    for name, (low, high) in CT_WINDOWS.items():
        numbers = re.findall(r"-?\d+", name)
        if name != FULL:
            width, level = map(float, numbers)
            assert (low, high) == (level - width / 2, level + width / 2)
        hu = np.array([[low - 100, low, (low + high) / 2, high, high + 100]], np.float32)
        np.testing.assert_allclose(translate_view.windowed(hu, "HU", View(RESULT, name, AS_SEEN)), [[0, 0, 0.5, 1, 1]])
    one_to_99 = View(RESULT, FULL, list(MR_WINDOWS)[1])
    dark = np.linspace(0, 100, 101, dtype=np.float32)[None]
    assert translate_view.windowed(dark, "au", one_to_99)[0, 50] == pytest.approx(0.5)
    bright = np.linspace(0, 200, 201, dtype=np.float32)[None]
    assert translate_view.windowed(dark, "au", one_to_99, like=bright)[0, 50] == pytest.approx(0.25, abs=0.01)


def test_a_slice_is_shown_with_square_millimetres_and_its_letters(tmp_path: Path) -> None:
    head = phantom("t1")
    thick = Volume(np.ascontiguousarray(head.array[:, :, ::4]), head.affine @ np.diag([1, 1, 4, 1.0]), "MR", "au")
    section = thick.section("coronal", 100)
    assert section.edges == ("R", "L", "S", "I")
    picture = translate_view.slice_picture(section.pixels / 255.0, section, "")
    height, width = 46 * 4, 181
    assert picture.width / picture.height == pytest.approx(width / height, rel=0.01) and max(picture.size) == 512
    bare = translate_view.slice_picture(section.pixels / 255.0, replace(section, edges=("", "", "", "")), "")
    changed = np.argwhere(np.asarray(picture) != np.asarray(bare))
    rows, columns = changed[:, 0] / picture.height, changed[:, 1] / picture.width
    for name, near in {"left": columns < 0.1, "right": columns > 0.9, "top": rows < 0.1, "bottom": rows > 0.9}.items():
        assert near.any(), name
    marked = translate_view.slice_picture(section.pixels / 255.0, section, "SYNTHETIC")
    assert marked.height > picture.height, "the mark stands under the slice and hides nothing"
    said = text(translate_source.preview("me", DRAWN, "t1-t2", "axial", 96, FULL, AS_SEEN))
    assert "axial slice 96 of Drawn head, letters R L A P at the left, right, top and bottom" in said


def test_the_slider_has_source_and_result_of_the_chosen_model() -> None:
    _, done = run(FORM)
    offered = translate.offer(done, None)
    assert [name for _, name in offered["choices"]] == [answer.card.name for answer in done.answers]
    assert translate.offer(done, "unet-t1-t2-256")["value"] == "unet-t1-t2-256"
    before, after = translate_view.pair(done, "unet-t1-t2-256", PLAIN)
    assert before.size == after.size and before.mode == after.mode == "L"
    assert translate_view.pair(done, "gone", PLAIN) is None and translate_view.pair(None, None, PLAIN) is None


# downloads


def test_the_zip_holds_the_source_the_manifest_names_and_the_values_at_their_place(tmp_path: Path) -> None:
    source = Given("CT", example="drawn:ct")
    _, done = run(replace(FORM, source=source, direction="ct-mr", models=["unet-ct-mr-256"],
                          truth=Given("t", example="drawn:mr")))  # fmt: skip
    path = Path(translate_files.pack("me", done)["value"])
    with zipfile.ZipFile(path) as archive:
        folder = "unet-ct-mr-256"
        manifest = json.loads(archive.read(f"{folder}/manifest.json"))
        bits = np.asarray(Image.open(archive.open(f"{folder}/source.png")))
        (tmp_path / "slice.nii.gz").write_bytes(archive.read(f"{folder}/slice.nii.gz"))
        rows = list(csv.DictReader(io.TextIOWrapper(archive.open(f"{folder}/labels.csv"), "utf-8")))
        scores = list(csv.DictReader(io.TextIOWrapper(archive.open("scores.csv"), "utf-8")))
        png = Image.open(archive.open(f"{folder}/{manifest['files'][0]['file']}"))
        assert png.text["Synthetic"] == "true" and png.size == (256, 256)
        assert not Image.open(archive.open(f"{folder}/source.png")).text, "an upload is no synthetic image"
    hu = bits.astype("<f4") - translate_files.HU_OFFSET
    assert hashlib.sha256(hu[None, None].tobytes()).hexdigest() == manifest["request"]["source_sha256"]
    assert float(rows[0]["mae"]) == pytest.approx(done.answers[0].agreement.mae, rel=1e-4)
    assert (scores[0]["slices"], scores[0]["unit"]) == ("1", "au") and "HU > -300" in scores[0]["where"]
    made, head = read_volume(tmp_path / "slice.nii.gz"), phantom("ct")
    assert made.synthetic and made.array.shape == (181, 217, 1)
    corner = head.reoriented("LPS").world(np.array([0, 0, 96]))
    np.testing.assert_allclose(made.world(np.zeros(3)), corner)
    np.testing.assert_allclose(made.section("axial", 0).pixels, done.answers[0].samples[0], atol=1e-3)
    assert translate_files.pack("me", None)["interactive"] is False


def test_the_real_family_of_translators_answers_the_tab(cards: Path) -> None:
    torch = pytest.importorskip("torch")
    from medgen import translator, weights

    net = {"method": "pix2pix", "fold": 2, "channels": [16, 32]}
    torch.manual_seed(0)
    folder = cards / "pix2pix-t1-flair-128"
    files = weights.save(translator.build(net).state_dict(), folder)
    card = replace(make_card("pix2pix", "t1-flair", 128), family="translator", net=net, weights=files)
    card.save(folder)
    _, done = run(replace(FORM, direction="t1-flair", models=[card.name]))
    answer = done.answers[0]
    assert answer.samples.shape == (1, 217, 181) and np.ptp(answer.samples) > 0.0
    direct = medgen.load(card.name).sample(answer.result.requests[0])
    np.testing.assert_array_equal(direct.pixels, answer.result.images.pixels)


def test_a_broken_card_is_a_toast(cards: Path) -> None:
    (cards / "unet-t1-t2-256" / "card.json").write_text("{")
    with pytest.raises(gr.Error, match="unet-t1-t2-256"):
        translate_controls.on_load()
    assert widgets.TOAST_SECONDS == 9
