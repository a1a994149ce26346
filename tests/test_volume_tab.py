"""The Volume tab without a browser: what it asks, makes, measures, shows, writes, opens and refuses."""

from __future__ import annotations

import csv
import gzip
import io
import json
import struct
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import astuple, replace
from pathlib import Path
from typing import Any

import gradio as gr
import nibabel as nib
import numpy as np
import pytest
from translate_fakes import series_zip
from volume_fakes import QUANTITY, SHAPE, make_card, register

import medgen
from demos import (
    lane,
    runner,
    scratch,
    slice_examples,
    viewer,
    volume,
    volume_controls,
    volume_files,
    volume_form,
    volume_open,
    volume_run,
    volume_shelf,
    volume_source,
    widgets,
)
from demos.volume_columns import Made, captions, mid_planes
from demos.volume_form import VOLUMES_MODE, WALK, VolumeForm
from demos.volume_measure import Measured
from medgen import MedgenError, Request
from medgen.provenance import read_manifest
from medgen.read_volume import read_volume
from medgen.view_volume import levels
from medgen.volume import Volume

GAN, VAE, LDM = "gan-hippo-48", "vae-hippo-48", "ldm-hippo-48"
FORM = VolumeForm([GAN, VAE, LDM], VOLUMES_MODE, "5", 2, "8", 4, "", "", "", False)
AFFINE = np.diag([1.0, 1.0, 1.0, 1.0])


@pytest.fixture(autouse=True)
def checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    cards = [make_card("gan", quantity=QUANTITY), make_card("vae"), make_card("ldm", quantity=QUANTITY),
             make_card("gan", "ixi_brain_64", spacing_mm=(3.0, 3.0, 3.0))]  # fmt: skip
    register(tmp_path / "checkpoints", monkeypatch, cards)
    return tmp_path / "checkpoints"


def nothing(_card: Any, _images: Any) -> None:
    return None


def run(form: VolumeForm, process: runner.Process = runner.portions, measure: Any = nothing) -> list[list[Any]]:
    lane.arm("me-volume")
    return list(volume_run.run(process, measure, "me-volume", *astuple(form)))


def made(form: VolumeForm, measure: Any = nothing) -> Made:
    found: Made = run(form, measure=measure)[-1][2]
    return found


# --- what is asked


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"models": []}, "models"),
        ({"models": ["m"] * 7}, "models"),
        ({"seed": "-1"}, "seed"),
        ({"seed": str(2**63 - 1)}, "seed"),
        ({"count": 0}, "count"),
        ({"count": 7}, "count"),
        ({"count": None}, "count"),
        ({"mode": WALK, "towards": "x"}, "towards"),
        ({"mode": WALK, "frames": 25}, "frames"),
        ({"mode": WALK, "frames": 1}, "frames"),
        ({"quantity": "99"}, "quantity"),
        ({"quantity": "2001"}, "quantity"),
        ({"quantity": "nan"}, "quantity"),
        ({"quantity": "-300"}, "quantity"),
        ({"steps": "0"}, "steps"),
        ({"guidance": "21"}, "guidance"),
    ],
)
def test_a_bad_value_turns_its_own_field_red_and_no_other(changed: dict[str, Any], field: str) -> None:
    answers = volume_form.validated(astuple(replace(FORM, **changed)), medgen.cards())
    bad = [name for name, answer in zip(volume_form.FIELDS, answers, strict=True) if not answer["is_valid"]]
    assert bad == [field]
    assert all(answer["is_valid"] for answer in volume_form.validated(astuple(FORM), medgen.cards()))


def test_a_hidden_quantity_never_keeps_a_run_from_starting() -> None:
    form = replace(FORM, models=[VAE], quantity="no number")
    assert all(answer["is_valid"] for answer in volume_form.validated(astuple(form), medgen.cards()))


def test_every_model_gets_the_same_seeds_and_only_the_controls_it_has() -> None:
    form = replace(FORM, quantity="600", steps="3", guidance="2")
    work = volume_form.tasks(form, volume_form.chosen(form, medgen.cards()))
    asked = [(task.card.name, task.request) for task in work]
    assert asked == [
        (GAN, Request((5,), quantity=600.0)), (GAN, Request((6,), quantity=600.0)),
        (VAE, Request((5,))), (VAE, Request((6,))),
        *((LDM, Request((seed,), steps=3, guidance=2.0, quantity=600.0)) for seed in (5, 6)),
    ]  # fmt: skip
    cards = medgen.cards()
    assert volume_form.left_out(form, cards[VAE]) == "This model takes no steps and no guidance and no quantity."
    assert volume_form.left_out(form, cards[LDM]) == ""


def test_only_models_of_volumes_are_offered_one_data_set_at_a_time(checkpoints: Path) -> None:
    flat = make_card("gan", shape=(1, 32, 32), spacing_mm=None)
    replace(flat, name="flat-32").save(checkpoints / "flat-32")
    shown = volume_form.groups(medgen.cards())
    assert [data for _, data in shown] == ["hippo_48", "ixi_brain_64"] and "hippocampi" in shown[0][0]
    assert list(volume_form.offered(medgen.cards(), "hippo_48")) == [GAN, VAE, LDM], "what takes steps comes last"
    nobody, form, data, models = volume_controls.on_load()
    assert not nobody["visible"] and form["visible"] and data["value"] == "hippo_48"
    assert models["value"] == [GAN, VAE, LDM] and volume_controls.on_data("ixi_brain_64")["value"] == ["gan-ixi-48"]


def test_fields_follow_the_chosen_models() -> None:
    names = ("mode", "seed", "count", "towards", "frames", "quantity", "steps", "guidance", "previews")
    all_ = dict(zip(names, volume_controls.on_choice([GAN, VAE, LDM], VOLUMES_MODE), strict=True))
    assert (
        all_["quantity"]["visible"]
        and all_["guidance"]["visible"]
        and all_["quantity"]["label"] == "Hippocampal volume"
    )
    assert "100 to 2000 mm3" in all_["quantity"]["info"] and all_["steps"]["placeholder"] == "5"
    plain = dict(zip(names, volume_controls.on_choice([VAE], WALK), strict=True))
    assert not plain["quantity"]["visible"] and not plain["steps"]["visible"] and not plain["count"]["visible"]
    assert plain["towards"]["visible"] and plain["frames"]["visible"]


def test_without_a_model_the_tab_says_so_in_one_sentence_and_still_opens_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDGEN_CHECKPOINTS", str(tmp_path / "none"))
    nobody, form, _, _ = volume_controls.on_load()
    assert nobody["visible"] and nobody["value"].count(".") == 1 and "can be opened below" in nobody["value"]
    assert not form["visible"]
    opened = volume_open.on_upload(str(save(tmp_path / "head.nii")), "MR")[0]
    assert [update["value"] for update in volume_shelf.after_opening(None, opened)] == ["opened", "nothing", "nothing"]
    assert volume.show(None, opened, "opened", "nothing", "nothing")["views"][0]["title"] == "head.nii"
    widgets.page(volume.TITLE, volume.create)


# --- what is made


def test_a_run_shows_every_volume_with_its_seed_cost_and_mark() -> None:
    screens = run(FORM)
    assert "<progress" in screens[0][0] and "Done: 6 volumes in" in screens[-1][0]
    html, found = screens[-1][1:]
    assert html.count("<img") == 6 and html.count("peak memory") == 3 and html.count("2 volumes in") == 3
    assert "every model got seeds 5 to 6" in html and "All volumes are synthetic" in html
    assert "gan-hippo-48, seed 6, mid planes, synthetic" in html
    assert [len(result.images) for result in found.results] == [2, 2, 2]
    pixels = medgen.load(LDM).sample(Request((5, 6))).pixels
    np.testing.assert_array_equal(found.results[2].images.pixels, pixels)
    assert screens[0][2].results == (), "what was there before is gone at once"


def test_unfinished_volumes_are_shown_on_the_way() -> None:
    screens = run(replace(FORM, models=[LDM], count=1, previews=True), slowly)
    assert any("unfinished" in screen[1] for screen in screens[:-1])
    assert "unfinished" not in screens[-1][1] and screens[-1][1].count("<img") == 1


def slowly(tasks: list[runner.Task], stop: threading.Event, previews: bool) -> Iterator[runner.Event]:
    for event in runner.portions(tasks, stop, previews):
        threading.Event().wait(0.2)
        yield event


def test_stop_keeps_what_is_finished() -> None:
    def stopping(tasks: list[runner.Task], stop: threading.Event, previews: bool) -> Iterator[runner.Event]:
        for event in runner.portions(tasks, stop, previews):
            yield event
            if isinstance(event, runner.Result):
                stop.set()

    status, html, found = run(FORM, stopping)[-1]
    assert "Stopped after" in status and "1 finished volume was kept" in status
    assert len(found.results) == 1 and html.count("No volume was finished.") == 2


@pytest.mark.parametrize(("fails", "words"), [("weights", "fetch them again"), ("nan", "NaN")])
def test_an_error_is_a_toast_and_what_others_made_is_kept(checkpoints: Path, fails: str, words: str) -> None:
    make_card("ldm", quantity=QUANTITY, net={"fails": fails}).save(checkpoints / LDM)
    lane.arm("me-volume")
    screens = volume_run.run(runner.portions, nothing, "me-volume", *astuple(FORM))
    kept = Made()
    with pytest.raises(gr.Error, match=words):
        for screen in screens:
            kept = screen[2] if isinstance(screen[2], Made) else kept
    assert {result.card.name for result in kept.results} >= {GAN, VAE}
    assert volume_files.pack("me-volume", kept, {})[0]["interactive"]
    with pytest.raises(gr.Error, match="no longer there"):
        run(replace(FORM, models=["gone-64"]))


def test_measured_values_stand_beside_the_volumes_and_in_the_table() -> None:
    def measure(card: medgen.ModelCard, images: medgen.ImageSet) -> Measured | None:
        inside = float((images.pixels > 128).sum())
        return Measured(inside, 31.4) if card.quantity else None

    screens = run(replace(FORM, quantity="800"), measure=measure)
    html, found = screens[-1][1:]
    assert html.count("Hippocampal volume measured: ") == 4 and "(error on real volumes 31)" in html
    assert html.count("<span>seed 5, asked for 800 mm3") == 2 and "This model takes no quantity." in html
    with zipfile.ZipFile(volume_files.pack("me-volume", found, {})[0]["value"]) as archive:
        rows = list(csv.DictReader(io.TextIOWrapper(archive.open(f"{GAN}/labels.csv"), "utf-8")))
    assert [row["quantity"] for row in rows] == ["800.0", "800.0"]
    assert abs(float(rows[0]["hippocampal volume measured mm3"]) - 800) < 60


def test_mid_planes_are_on_one_scale_and_show_the_head_on_top() -> None:
    array = np.zeros((20, 24, 10), np.float32)
    array[:, :, 8:] = 255.0  # bright above
    array[0, 0, 0] = 1.0
    picture = np.asarray(mid_planes(Volume(array, np.diag([1, 1, 2, 1.0]), "MR", "au", (0.0, 255.0)), "SYNTHETIC"))
    height, width = picture.shape
    assert 250 < 256 * 20 / 24 * 2 < width < 3 * 256 + 50 and 256 < height < 330
    coronal = picture[:256, width // 2 - 5]
    assert coronal[:128].max() == 255 and coronal[140:].max() == 0


# --- films


def test_a_walk_is_a_film_of_every_model_from_one_seed_to_the_other() -> None:
    form = replace(FORM, mode=WALK)
    status, html, found = run(form)[-1]
    assert "12 volumes" in status and html.count("<img") == 3 and "from seed 5 to seed 8" in html
    assert found.walk and [len(result.images) for result in found.results] == [4, 4, 4]
    first, second, third = volume_shelf.after_run(found, None)
    assert first["value"] == f"{GAN}:film" and third["value"] == f"{LDM}:film"
    sent = volume.show(found, None, first["value"], second["value"], third["value"])["views"]
    assert len(sent) == 3 and len(sent[0]["frames"]) == 4 and "33% of the way" in sent[0]["frames"][1]
    assert sent[0]["bytes"] == 1 and sent[0]["mark"] == "SYNTHETIC"
    frames = levels(sent[0])
    assert frames.shape == (4, *SHAPE)
    for frame, seed in ((0, 5), (3, 8)):
        alone = medgen.load(GAN).sample(Request((seed,))).pixels[0, 0]
        assert ((frames[frame] > 128) == (alone > 128)).all()
    assert volume.save("me-volume-0", found, first["value"])["visible"] is False
    json.dumps(sent)


# --- what is shown


def test_the_same_seed_of_every_model_stands_beside_each_other_then_what_was_opened(tmp_path: Path) -> None:
    found = made(FORM)
    assert [side["value"] for side in volume_shelf.after_run(found, None)] == [f"{name}:0" for name in (GAN, VAE, LDM)]
    opened = volume_open.on_upload(str(save(tmp_path / "head.nii.gz")), "MR")[0]
    sides = volume_shelf.after_opening(found, opened, f"{GAN}:1", f"{VAE}:1", f"{LDM}:1")
    assert [side["value"] for side in sides] == [f"{GAN}:1", f"{VAE}:1", "opened"]
    sent = volume.show(found, opened, *(side["value"] for side in sides))["views"]
    assert [one["title"] for one in sent] == ["GAN, seed 6", "VAE, seed 6", "head.nii.gz"]
    assert [one["mark"] for one in sent] == ["SYNTHETIC", "SYNTHETIC", ""]
    again = volume_shelf.after_run(made(replace(FORM, models=[GAN], count=1)), opened)
    assert [side["value"] for side in again] == [f"{GAN}:0", "opened", "nothing"]
    assert [side["visible"] for side in again] == [True, True, False]
    for bad in ("gone:0", f"{GAN}:9", f"{GAN}:-1", f"{GAN}:film x", "", None):
        assert volume_shelf.shown(found, opened, bad) is None
    assert viewer.shown(None, None, None) is None


# --- what is written


def test_a_nifti_lies_where_the_volume_is_and_says_that_it_is_synthetic() -> None:
    found = made(replace(FORM, quantity="600"))
    path = Path(volume.save("me-volume-0", found, f"{GAN}:1")["value"])
    assert path.name == "gan-hippo-48-seed6-mm3600.nii.gz" and scratch.DOWNLOADS.root in path.parents
    image = nib.load(path)
    assert nib.aff2axcodes(image.affine) == ("R", "A", "S") and image.header.get_zooms() == (1.0, 1.0, 1.0)
    assert bytes(image.header["descrip"]).startswith(b"SYNTHETIC MR")
    np.testing.assert_array_equal(image.get_fdata(dtype=np.float32), found.results[0].images.pixels[1, 0])
    # the ball lies 2 mm to the right, the front and the head
    centre = nib.affines.apply_affine(image.affine, np.argwhere(image.get_fdata() > 128).mean(axis=0))
    np.testing.assert_allclose(centre, 2.0, atol=0.3)
    said = json.loads(image.header.extensions[0].get_content())
    assert said["Model"] == GAN and json.loads(said["Request"])["seeds"] == [6]
    assert read_volume(path).synthetic


@pytest.mark.parametrize(
    "form", [replace(FORM, quantity="700", steps="4"), replace(FORM, mode=WALK, models=[VAE, LDM])]
)
def test_the_same_manifest_gives_the_same_voxels(form: VolumeForm, tmp_path: Path) -> None:
    button, verdict = volume_files.pack("me-volume", made(form), {})
    assert button["interactive"] and verdict == ""
    with zipfile.ZipFile(button["value"]) as archive:
        names = archive.namelist()
        archive.extract(f"{LDM}/manifest.json", tmp_path)
    count = 4 if form.mode == WALK else 2
    assert sum(name.endswith(".nii.gz") for name in names) == count * len(form.models)
    assert read_manifest(tmp_path / LDM / "manifest.json")["volume"]["shape"] == list(SHAPE)
    expected, data, models, *values = volume_controls.on_manifest(button["value"])
    assert data == "hippo_48" and models["value"] == form.models
    asked = VolumeForm(models["value"], *values)
    assert replace(asked, count=form.count, towards=form.towards, frames=form.frames) == replace(
        form, steps=asked.steps, guidance=asked.guidance
    )
    _, verdict = volume_files.pack("me-volume", made(asked), expected)
    assert verdict.count(f"{count} of {count} volumes equal those of the manifest, voxel by voxel.") == len(form.models)


def test_a_manifest_that_the_form_cannot_ask_is_refused(tmp_path: Path, checkpoints: Path) -> None:
    button, _ = volume_files.pack("me-volume", made(replace(FORM, models=[GAN])), {})
    with zipfile.ZipFile(button["value"]) as archive:
        archive.extract(f"{GAN}/manifest.json", tmp_path)
    path = tmp_path / GAN / "manifest.json"
    values = json.loads(path.read_text())
    for changed, words in (
        ({"request": {**values["request"], "seeds": [3, 9]}}, "asks for more than the form"),
        ({"request": {**values["request"], "label": "x"}}, "asks for more than the form"),
        ({"model": "gone-64"}, "is not here"),
        ({"weights": {"model.safetensors": "0"}}, "other weights"),
    ):
        path.write_text(json.dumps({**values, **changed}))
        with pytest.raises(gr.Error, match=words):
            volume_controls.on_manifest(str(path))
    assert volume_files.pack("me-volume", None, {})[0] == gr.update(value=None, interactive=False)


# --- what is opened


def save(path: Path, shape: tuple[int, ...] = (20, 24, 16), affine: np.ndarray = AFFINE, kind: str = "<f4") -> Path:
    array = np.random.default_rng(0).uniform(0, 1000, shape).astype(kind)
    header = nib.Nifti1Header(endianness=kind[0] if kind[0] in "<>" else "<")
    image = nib.Nifti1Image(array, affine, header, dtype=np.dtype(kind))
    image.set_sform(affine, 1)
    image.to_filename(path)
    return path


def patched(path: Path, offset: int, kind: str, *values: float, sform: int = 0) -> Path:
    """A NIfTI file whose qform places it, with other bytes in its header."""
    image = nib.Nifti1Image(np.random.default_rng(0).random(SHAPE).astype(np.float32), AFFINE)
    image.set_qform(AFFINE, 1)
    image.header.set_sform(AFFINE, sform)
    content = bytearray(image.to_bytes())
    struct.pack_into(f"<{kind}", content, offset, *values)
    path.write_bytes(content)
    return path


def bad(kind: str, path: Path) -> Path:
    turned = np.diag([1.0, 1.0, 2.0, 1.0])
    if kind == "4D":
        return save(path, (10, 11, 12, 3))
    if kind in ("2D", "single slice", "three slices"):
        return save(path, {"2D": (20, 24), "single slice": (20, 24, 1), "three slices": (20, 3, 24)}[kind])
    if kind == "RGB":
        colour = np.zeros(SHAPE, np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")]))
        nib.Nifti1Image(colour, turned).to_filename(path)
        return path
    if kind == "complex":
        return save(path, kind="<c8")
    if kind == "128 bit":
        return patched(path, 70, "2h", 1536, 128)
    if kind == "NaN":
        nib.Nifti1Image(np.full(SHAPE, np.nan, np.float32), turned).to_filename(path)
        return path
    if kind == "constant":
        nib.Nifti1Image(np.ones(SHAPE, np.float32), turned).to_filename(path)
        return path
    if kind in ("truncated", "truncated gz"):
        content = save(path.with_name("plain.nii")).read_bytes()
        path.write_bytes(gzip.compress(content)[:-300] if "gz" in kind else content[:-300])
        return path
    if kind == "1 GB claim":
        header = nib.Nifti1Header()
        header.set_data_dtype(np.int16)
        header.set_data_shape((1000, 1000, 500))
        header["vox_offset"], header["magic"] = 352, b"n+1"
        path.write_bytes(gzip.compress(header.binaryblock + bytes(5000)))
        return path
    if kind == "text":
        path.write_text("hello " * 100)
        return path
    spacing = {"zero spacing": 0.0, "negative spacing": -1.0, "spacing no number": np.nan, "spacing of a house": 5e4}
    if kind in spacing:
        return patched(path, 76 + 8, "f", spacing[kind])
    if kind == "flat affine":
        return patched(path, 312, "4f", 0, 0, 0, 0, sform=1)
    assert kind == "damaged orientation"
    return patched(path, 256, "f", 3.0)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("4D", "is 4D .*give one of them"),
        ("2D", "is a single slice .*Translate tab"),
        ("single slice", "is a single slice .*at least 4 slices"),
        ("three slices", "only 3 coronal slices"),
        ("RGB", "colours"),
        ("complex", "complex"),
        ("128 bit", "128-bit"),
        ("NaN", "NaN"),
        ("constant", "shows nothing"),
        ("truncated", "claims .* but has"),
        ("truncated gz", "cut short"),
        ("1 GB claim", "1000 x 1000 x 500 voxels; at most"),
        ("text", "neither DICOM, NIfTI"),
        ("zero spacing", r"says that its voxels are 1 x 0 x 1 mm large; correct"),
        ("negative spacing", r"says that its voxels are 1 x -1 x 1 mm large; correct"),
        ("spacing no number", "is no number"),
        ("spacing of a house", "50000 mm apart"),
        ("flat affine", "lie in one plane"),
        ("damaged orientation", "damaged orientation"),
    ],
)
def test_what_is_no_volume_is_refused_in_one_sentence_that_names_the_file(
    tmp_path: Path, kind: str, words: str
) -> None:
    path = bad(kind, tmp_path / "scan.nii.gz")
    with pytest.raises(gr.Error, match=words) as caught:
        volume_open.on_upload(str(path), "MR")
    said = str(caught.value.message)
    assert said.startswith("scan.nii.gz ") and "\n" not in said and str(tmp_path) not in said


def memory_mb(line: str) -> float:
    """Of this process: VmRSS now, VmHWM the most since the mark was reset."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return float(status.split(f"{line}:")[1].split()[0]) / 1024


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux says how much memory was taken")
@pytest.mark.parametrize(("sides", "filling"), [((1000, 1000, 500), 5_000), ((1000, 1000, 250), 300_000)])
def test_a_gigabyte_that_is_only_claimed_takes_no_memory(tmp_path: Path, sides: tuple[int, ...], filling: int) -> None:
    """The second could be true by its size: as many bytes of gzip can hold a GiB of float32."""
    header = nib.Nifti1Header()
    header.set_data_dtype(np.uint8)
    header.set_data_shape(sides)
    header["vox_offset"], header["magic"] = 352, b"n+1"
    path = tmp_path / "scan.nii.gz"
    path.write_bytes(gzip.compress(header.binaryblock + bytes(4) + np.random.default_rng(0).bytes(filling)))
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    before = memory_mb("VmRSS")
    with pytest.raises(gr.Error, match=r"at most|cut short"):
        volume_open.on_upload(str(path), "MR")
    assert memory_mb("VmHWM") - before < 50


@pytest.mark.parametrize("kind", ["<i8", ">i2", ">f4", "<u2", "|u1", "<f8"])
def test_numbers_of_any_kind_are_shown_as_they_are(tmp_path: Path, kind: str) -> None:
    path = save(tmp_path / "scan.nii", kind=kind)
    sent = volume_open.on_upload(str(path), "MR")[0].view
    shown = levels(sent)[0] * sent["step"] + sent["offset"]
    np.testing.assert_allclose(shown, nib.load(path).get_fdata(), atol=0.51 * sent["step"] + 1e-3)


def test_what_is_unusual_is_shown_with_a_warning(tmp_path: Path) -> None:
    c, s = np.cos(np.radians(20)), np.sin(np.radians(20))
    oblique = np.array([[c, -s, 0, 0], [s, c, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    for affine, words in (
        (np.diag([0.9, 0.9, 5.0, 1.0]), "Voxels are 5 mm long and 0.9 mm wide: two of the planes are coarse."),
        (oblique, "Its axes are turned by 20 degrees"),
    ):
        opened = volume_open.on_upload(str(save(tmp_path / "scan.nii", affine=affine)), "MR")[0]
        assert any(words in one for one in opened.said[1:]), opened.said
        np.testing.assert_allclose(opened.view["affine"], affine, atol=1e-5)
        assert words.split(":")[0] in volume_open.said(opened)
    image = nib.Nifti1Image(np.random.default_rng(0).random(SHAPE).astype(np.float32), None)
    image.to_filename(tmp_path / "unknown.nii")
    opened = volume_open.on_upload(str(tmp_path / "unknown.nii"), "MR")[0]
    assert "does not say where left is" in opened.said[1] and opened.view["edges"]["axial"] == ["?"] * 4
    plain = volume_open.on_upload(str(save(tmp_path / "scan.nii")), "CT")[0]
    assert plain.said[1:] == () and plain.view["unit"] == "HU"


def test_a_series_of_dicom_is_opened_and_another_one_can_be_chosen(tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(0, 500, (12, 10, 6)).astype(np.float32)
    first = Volume(array, np.diag([-1.0, -1.0, 2.0, 1.0]), "MR", "au")
    path = series_zip(tmp_path / "study.zip", [first, replace(first, array=array[:, :, :5] + 1)])
    opened, said, kept, series, example = volume_open.on_upload(str(path), "MR")
    assert series["visible"] and len(series["choices"]) == 2 and kept == str(path) and example is None
    assert "12 x 10 x 6 voxels of 1 x 1 x 2 mm" in said
    again, said = volume_open.on_again(kept, "MR", series["choices"][1][1])
    assert "12 x 10 x 5 voxels" in said and again.view["shape"] == [12, 10, 5] and opened.view["shape"] == [12, 10, 6]


def test_examples_need_no_data_and_real_ones_say_that_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = [key for _, key in volume_source.examples(["hippo_48"])]
    assert f"{slice_examples.DRAWN}:t1" in keys and not any(key.startswith("real:") for key in keys)
    opened, said, path, series = volume_open.on_example(f"{slice_examples.DRAWN}:t1")
    assert opened.view["mark"] == "DRAWN" and "ellipsoids" in said and path is None and not series["visible"]
    images = medgen.load(GAN).sample(Request((0, 1)))
    monkeypatch.setattr(volume_source, "available", lambda name: name == "hippo_48")
    monkeypatch.setattr(volume_source, "volumes", lambda name, split: replace(images, subjects=("a", "b")))
    shown = volume_source.examples(["hippo_48"])
    assert shown[0][1] == "real:hippo_48:0" and shown[0][0].startswith("Real test volume 1")
    real = volume_source.open_example("real:hippo_48:1")
    assert real.view["mark"] == "REAL" and "CC BY-SA 4.0" in real.said[0] and "test volume 2" in real.view["title"]
    for key in ("real:hippo_48:7", "real:gone:0", "gone:t1"):
        with pytest.raises(gr.Error, match="example"):
            volume_open.on_example(key)
    assert MedgenError is not gr.Error


def test_captions_say_what_was_asked() -> None:
    found = made(replace(FORM, models=[LDM], mode=WALK, quantity="500"))
    assert captions(found.results[0])[1] == "seed 5 to 8, 33% of the way, asked for 500 mm3"
