"""The app without a browser: its form, its runs, its downloads, and what it takes to get on screen."""

from __future__ import annotations

import ast
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import astuple, replace
from html import unescape
from pathlib import Path

import gradio as gr
import numpy as np
import psutil
import pytest
from PIL import Image

import medgen
from demos import board, columns, controls, downloads, form, generate, lane, look, runner, widgets
from demos.form import ANY_LABEL, IMAGES, WALK, Form
from eval.board import Group
from medgen import ImageSet, MedgenError, ModelCard, Request
from medgen.data import available
from medgen.data import real as medgen_real
from medgen.generator import OnStep
from medgen.noise import NoiseGenerator

ROOT = Path(__file__).parent.parent
HAVE_DATA = available("kermany_cxr_128")
DATA = os.environ.get("MEDGEN_DATA", "")  # before a fixture hides it
PLAIN = Form(["noise-a-32"], IMAGES, "5", 3, "1", 4, ANY_LABEL, "", "", True, False)


def make_card(name: str, **other: object) -> ModelCard:
    values = {
        "name": name,
        "family": "noise",
        "title": name.title(),
        "modality": "CR",
        "unit": "au",
        "window": (0.0, 255.0),
        "shape": (1, 32, 32),
        "licence": "MIT",
        "limits": "Noise.",
        "controls": ("steps", "towards"),
        "steps": 20,
    }
    return ModelCard(**{**values, **other})


@pytest.fixture
def checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MEDGEN_CHECKPOINTS", str(tmp_path / "checkpoints"))
    monkeypatch.delenv("MEDGEN_DATA", raising=False)
    labelled = {"controls": ("steps", "label", "towards"), "labels": ("normal", "ill")}
    make_card("noise-a-32").save(tmp_path / "checkpoints" / "noise-a-32")
    make_card("noise-b-32", **labelled).save(tmp_path / "checkpoints" / "noise-b-32")
    make_card("noise-c-64", shape=(1, 64, 64), controls=(), steps=None).save(tmp_path / "checkpoints" / "noise-c-64")
    return tmp_path / "checkpoints"


def run_form(asked: Form) -> list[runner.Result]:
    results = {}
    for event in runner.run(form.tasks(asked, medgen.cards()), threading.Event()):
        if isinstance(event, runner.Result):
            results[event.card.name] = event
    return list(results.values())


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"models": []}, "models"),
        ({"models": ["m"] * 7}, "models"),
        ({"seeds": "-1"}, "seeds"),
        ({"seeds": "1.5"}, "seeds"),
        ({"seeds": str(2**63)}, "seeds"),
        ({"seeds": ""}, "seeds"),
        ({"seeds": "٣"}, "seeds"),
        ({"count": 0}, "count"),
        ({"count": 65}, "count"),
        ({"count": None}, "count"),
        ({"steps": "0"}, "steps"),
        ({"steps": "12.5"}, "steps"),
        ({"guidance": "21"}, "guidance"),
        ({"guidance": "nan"}, "guidance"),
        ({"mode": WALK, "towards": "x"}, "towards"),
        ({"mode": WALK, "frames": 1}, "frames"),
        ({"mode": WALK, "seeds": "1, 2"}, "seeds"),
    ],
)
def test_a_bad_value_turns_its_own_field_red_and_no_other(changed: dict, field: str) -> None:
    answers = dict(zip(form.FIELDS, form.validator(*astuple(replace(PLAIN, **changed))), strict=True))
    assert [name for name, answer in answers.items() if not answer["is_valid"]] == [field]
    assert answers[field]["message"].endswith(".")


def test_the_validator_answers_once_for_each_field_of_a_good_form() -> None:
    answers = form.validator(*astuple(PLAIN))
    assert len(answers) == len(form.FIELDS) and all(answer["is_valid"] for answer in answers)


def test_one_number_counts_on_and_a_list_is_taken_as_it_is() -> None:
    assert form.seeds(PLAIN) == (5, 6, 7)
    assert form.seeds(replace(PLAIN, seeds="9, 2;2 4")) == (9, 2, 2, 4)


def test_every_model_gets_the_same_seeds_and_only_the_controls_it_has(checkpoints: Path) -> None:
    asked = replace(PLAIN, models=["noise-a-32", "noise-b-32", "noise-c-64"], label="ill", steps="7")
    requests = {task.card.name: task.request for task in form.tasks(asked, medgen.cards())}
    assert {request.seeds for request in requests.values()} == {(5, 6, 7)}
    assert (requests["noise-a-32"].label, requests["noise-a-32"].steps) == (None, 7)
    assert (requests["noise-b-32"].label, requests["noise-b-32"].steps) == ("ill", 7)
    assert (requests["noise-c-64"].label, requests["noise-c-64"].steps) == (None, None)
    cards = medgen.cards()
    assert form.left_out(asked, cards["noise-c-64"]) == "This model takes no label “ill” and no steps."
    assert form.left_out(asked, cards["noise-b-32"]) == ""


def test_a_run_gives_the_pixels_of_the_plain_interface_whatever_the_portions(checkpoints: Path) -> None:
    (result,) = run_form(replace(PLAIN, count=runner.BATCH * 2 + 1))
    assert len(result.requests) == 3
    expected = medgen.load("noise-a-32").sample(Request(seeds=tuple(range(5, 22))))
    np.testing.assert_array_equal(result.images.pixels, expected.pixels)
    assert result.seconds > 0 and result.peak_mb > 1


def test_a_walk_moves_all_models_together_from_one_seed_to_the_other(checkpoints: Path) -> None:
    asked = replace(PLAIN, models=["noise-a-32", "noise-b-32", "noise-c-64"], mode=WALK, seeds="3", towards="8")
    order = [task.card.name for task in form.tasks(asked, medgen.cards())]
    assert order == ["noise-a-32", "noise-b-32"] * 4, "the model without a latent is left out, the others alternate"
    first = run_form(asked)[0].images
    ends = medgen.load("noise-a-32").sample(Request(seeds=(3, 8)))
    np.testing.assert_array_equal(first.pixels[[0, -1]], ends.pixels)
    with pytest.raises(MedgenError, match="can walk"):
        form.tasks(replace(asked, models=["noise-c-64"]), medgen.cards())


def test_stop_ends_a_run_within_one_step_and_keeps_what_was_finished(
    checkpoints: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop = threading.Event()
    reached = []
    whole = NoiseGenerator.sample

    def pressed_at_step_3(self: NoiseGenerator, request: Request, on_step: OnStep) -> ImageSet:
        def step(done: int, total: int, preview: Callable[[], ImageSet]) -> None:
            if self.card.name == "noise-b-32":
                reached.append(done)
                if done == 3:
                    stop.set()
            on_step(done, total, preview)

        return whole(self, request, step)

    monkeypatch.setattr(NoiseGenerator, "sample", pressed_at_step_3)
    tasks = form.tasks(replace(PLAIN, models=["noise-a-32", "noise-b-32"], count=20), medgen.cards())
    results = [event for event in runner.run(tasks, stop) if isinstance(event, runner.Result)]
    assert reached == [1, 2, 3]
    assert {result.card.name for result in results} == {"noise-a-32"} and len(results[-1].images) == 20


def test_leaving_the_page_ends_the_worker(checkpoints: Path) -> None:
    before = threading.active_count()
    work = runner.run(form.tasks(replace(PLAIN, steps="1000"), medgen.cards()), threading.Event())
    assert isinstance(next(work), runner.Loading)
    work.close()
    assert threading.active_count() == before


def test_a_diffusion_run_streams_about_ten_previews(checkpoints: Path) -> None:
    for steps in ("10", "25", "400"):
        tasks = form.tasks(replace(PLAIN, steps=steps), medgen.cards())
        events = list(runner.run(tasks, threading.Event(), previews=True))
        previews = [event for event in events if isinstance(event, runner.Step) and event.preview is not None]
        assert len(previews) == 9, "nine on the way; the tenth is the picture itself"
    assert not any(isinstance(e, runner.Step) and e.preview for e in runner.run(tasks, threading.Event(), False))


def test_a_full_memory_is_one_sentence_and_another_fault_is_not_hidden(
    checkpoints: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = form.tasks(PLAIN, medgen.cards())
    for error, expected in (
        (RuntimeError("CUDA out of memory. Tried ..."), MedgenError),
        (MemoryError(), MedgenError),
        (RuntimeError("shapes differ"), RuntimeError),
        (MedgenError("The weights are not here."), MedgenError),
    ):

        def fail(*_: object, error: Exception = error) -> None:
            raise error

        monkeypatch.setattr("medgen.noise.NoiseGenerator.sample", fail)
        with pytest.raises(expected) as caught:
            list(runner.run(tasks, threading.Event()))
        assert type(caught.value) is expected


def test_a_model_is_loaded_once_until_its_card_changes(checkpoints: Path) -> None:
    card = medgen.cards()["noise-a-32"]
    assert runner.model(card) is runner.model(card)
    kept = runner.model(card)
    replace(card, steps=3).save(checkpoints / "noise-a-32")
    assert runner.model(medgen.cards()["noise-a-32"]) is not kept


def test_the_mark_is_in_the_picture_on_the_page_and_not_in_the_download(checkpoints: Path, tmp_path: Path) -> None:
    (result,) = run_form(replace(PLAIN, count=1))
    page = np.asarray(look.pictures(result.images)[0])
    bare = np.asarray(look.pictures(result.images, "")[0])
    assert min(page.shape) >= look.SHOWN_PX and page.shape == bare.shape
    changed = np.flatnonzero((page != bare).any(axis=1))
    assert changed.min() > page.shape[0] * 0.8 and (page[changed.min() :] == 255).sum() > 100
    path, _ = downloads.pack([result], tmp_path)
    with zipfile.ZipFile(path) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".png")]
        clean = np.asarray(Image.open(archive.open(name)))
    np.testing.assert_array_equal(clean, result.images.uint8()[0, 0])


def test_the_mark_fits_a_narrow_a_wide_and_a_colour_picture() -> None:
    for size in ((1, 300, 40), (1, 40, 300), (3, 64, 64)):
        grey = ImageSet(np.full((1, *size), 100, np.float32), "CR", "au", (0.0, 255.0))
        (picture,) = look.pictures(grey)
        shown = np.asarray(picture)
        assert (shown == 255).any() and (shown == 0).any()


@pytest.mark.parametrize("mode", [IMAGES, WALK])
def test_the_downloaded_zip_fills_the_form_again_and_gives_the_same_pixels(
    mode: str, checkpoints: Path, tmp_path: Path
) -> None:
    asked = replace(PLAIN, models=["noise-a-32", "noise-b-32"], mode=mode, steps="12", denoising=False)
    path, manifests = downloads.pack(run_form(asked), tmp_path)
    read = downloads.read_manifests(path)
    again = downloads.form_of(read, medgen.cards())
    assert replace(again, count=asked.count, frames=asked.frames, towards=asked.towards) == asked
    assert form.tasks(again, medgen.cards()) == form.tasks(asked, medgen.cards())
    _, second = downloads.pack(run_form(again), tmp_path)
    n = 3 if mode == IMAGES else 4
    assert downloads.verdict(second, read).count(f"{n} of {n} pictures equal") == 2
    second["noise-a-32"]["files"][0]["pixels_sha256"] = "0" * 64
    assert f"{n - 1} of {n} pictures equal" in downloads.verdict(second, read)
    alone = downloads.manifest_files(manifests, tmp_path)[1]
    assert downloads.form_of(downloads.read_manifests(alone), medgen.cards()).models == ["noise-b-32"]


def test_a_manifest_of_other_weights_or_of_an_absent_model_is_refused(checkpoints: Path, tmp_path: Path) -> None:
    _, manifests = downloads.pack(run_form(PLAIN), tmp_path)
    manifests["noise-a-32"]["weights"] = {"model.safetensors": "0" * 64}
    with pytest.raises(MedgenError, match="other weights"):
        downloads.form_of(manifests, medgen.cards())
    with pytest.raises(MedgenError, match="is not here"):
        downloads.form_of({"gone-32": manifests["noise-a-32"]}, medgen.cards())


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"PK\x03\x04 truncated", b'{"synthetic": true}'])
def test_a_file_that_is_no_manifest_is_one_sentence(content: bytes, checkpoints: Path, tmp_path: Path) -> None:
    bad = tmp_path / "upload"
    bad.write_bytes(content)
    with pytest.raises(gr.Error) as caught:
        generate.fill(str(bad))
    assert 8 <= caught.value.duration <= 10 and str(tmp_path) not in str(caught.value)


def test_dicom_files_and_a_marked_animation_of_a_walk(checkpoints: Path, tmp_path: Path) -> None:
    results = run_form(replace(PLAIN, models=["noise-a-32", "noise-b-32"], mode=WALK))
    path, _ = downloads.pack(results, tmp_path, "dcm")
    with zipfile.ZipFile(path) as archive:
        assert sum(name.endswith(".dcm") for name in archive.namelist()) == 8
    moving = downloads.animation(results, tmp_path)
    assert moving is not None
    with Image.open(moving) as animation:
        assert animation.n_frames == 6, "four there, two back"
        assert animation.size == (2 * look.SHOWN_PX + 8, look.SHOWN_PX)
        assert b"Synthetic" in animation.info["comment"]
    assert downloads.animation(run_form(PLAIN), tmp_path) is None


def test_the_handler_shows_progress_results_and_the_seeds_used(checkpoints: Path) -> None:
    lane.arm("someone")
    screens = list(generate.generate(runner.run, "someone", *astuple(replace(PLAIN, models=["noise-a-32"]))))
    assert "<progress" in screens[0][0] and "Done: 3 pictures" in screens[-1][0]
    assert screens[-1][1][0].card.name == "noise-a-32"
    said = " ".join(str(value) for screen in screens for value in screen)
    assert "seeds 5 to 7" in said and "peak memory" in said
    assert len({len(screen) for screen in screens}) == 1


def test_a_run_stopped_while_it_waits_never_starts(checkpoints: Path) -> None:
    lane.arm("patient")
    lane.stop("patient")
    *_, last = generate.generate(runner.run, "patient", *astuple(PLAIN))
    assert "Stopped" in last[0] and last[1] == []


def test_an_error_is_a_toast_of_eight_to_ten_seconds_and_what_was_finished_stays(checkpoints: Path) -> None:
    def broken(tasks: list[runner.Task], *_: object) -> Iterator[runner.Event]:
        yield from runner.run(tasks[:1], threading.Event())
        raise MedgenError("The disk is full: free some space.")

    asked = replace(PLAIN, models=["noise-a-32", "noise-b-32"])
    screens = []
    with pytest.raises(gr.Error, match="free some space") as caught:
        for screen in generate.generate(broken, "nobody", *astuple(asked)):
            screens.append(screen)
    assert 8 <= caught.value.duration <= 10
    assert [result.card.name for result in screens[-1][1]] == ["noise-a-32"]
    assert "No picture was finished." in str(screens[-1])
    with pytest.raises(gr.Error, match="no longer there"):
        list(generate.generate(runner.run, "nobody", *astuple(replace(PLAIN, models=["gone"]))))


def test_the_form_shows_what_the_chosen_models_and_the_mode_have(
    checkpoints: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("mode", "seeds", "count", "towards", "frames", "label", "steps", "guidance", "denoising", "real")
    names += ("quantity", "any_quantity")

    def choose(models: list[str], mode: str) -> dict[str, dict]:
        return dict(zip(names, controls.on_choice(models, mode, "ill"), strict=True))

    def visible(shown: dict[str, dict]) -> set[str]:
        return {name for name, update in shown.items() if update.get("visible")}

    shown = choose(["noise-b-32", "noise-c-64"], IMAGES)
    assert list(shown["label"]["choices"]) == [ANY_LABEL, "normal", "ill"] and shown["label"]["value"] == "ill"
    assert shown["steps"]["placeholder"] == "20", "the default shows in the empty field"
    assert visible(shown) == {"count", "label", "steps", "denoising"}
    assert visible(choose(["noise-b-32"], WALK)) == {"towards", "frames", "label", "steps"}
    shown = choose(["noise-c-64"], WALK)
    assert shown["mode"] == gr.update(value=IMAGES, interactive=False), "it cannot walk"
    assert shown["label"]["value"] == ANY_LABEL and visible(shown) == {"count"}
    make_card("noise-c-64", controls=(), data="kermany_cxr_128").save(checkpoints / "noise-c-64")
    monkeypatch.setattr(controls, "available", lambda name: name == "kermany_cxr_128")
    assert visible(choose(["noise-c-64"], IMAGES)) == {"count", "real"}


def test_a_broken_card_is_a_toast_and_an_empty_folder_an_empty_form(
    checkpoints: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (checkpoints / "noise-a-32" / "card.json").write_text("{")
    with pytest.raises(gr.Error, match="noise-a-32"):
        controls.on_load()
    monkeypatch.setenv("MEDGEN_CHECKPOINTS", str(tmp_path / "empty"))
    with pytest.warns(UserWarning, match="no model yet"):
        modality, models = controls.on_load()
    assert modality["choices"] == [] and models["choices"] == []
    assert board.draw("nobody", None, "fid", "")[1] == board.EMPTY


@pytest.mark.skipif(not HAVE_DATA, reason="MEDGEN_DATA holds no kermany_cxr_128")
def test_real_images_stand_beside_and_follow_the_label(checkpoints: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDGEN_DATA", DATA)
    asked = replace(PLAIN, label="viral_pneumonia", real=True)
    found = columns.real_like("kermany_cxr_128", asked)
    assert found.labels == ("viral_pneumonia",) * 3
    everyone = columns.real_like("kermany_cxr_128", replace(asked, label=ANY_LABEL))
    np.testing.assert_array_equal(everyone.pixels, medgen_real("kermany_cxr_128", "train", 3, 5).pixels)
    card = make_card("noise-a-32", data="kermany_cxr_128")
    changes = columns.Columns(asked, [card]).changes()
    said = " ".join(map(str, changes))
    assert "<h2>Real</h2>" in said and "train split" in said
    without = columns.Columns(replace(asked, real=False), [card]).changes()
    assert "<h2>Real</h2>" not in " ".join(map(str, without))


def write_report(folder: Path, fid: float) -> None:
    metrics = {"fid": {"value": fid, "low": fid - 1, "high": fid + 1, "floor": 20.0}}
    metrics |= {name: {"value": 0.5, "low": 0.4, "high": 0.6, "floor": 0.8} for name in ("precision", "recall")}
    metrics["kid"] = {"value": None, "low": None, "high": None, "floor": None}
    report = {"protocol": "cxr-128", "data": "kermany_cxr_128", "split": "test", "real_sha256": "ab" * 32, "k": 5,
              "n_real": 10, "n_fake": 10, "extractor": {"name": "inception-v3-2048", "sha256": "cd" * 32},
              "metrics": metrics, "weights": {}, "created": "2026-01-01T00:00:00"}  # fmt: skip
    (folder / "report.json").write_text(json.dumps(report))


def cells(table: str) -> list[list[str]]:
    """The text of an HTML table, row by row; an interval stands in brackets after its value."""
    rows = re.findall(r"<tr[^>]*>(.*?)</tr>", table)
    return [
        [unescape(re.sub(r"<[^>]+>", " ", cell)).strip() for cell in re.split(r"</t[hd]>", row)[:-1]] for row in rows
    ]


def test_the_board_is_sorted_with_intervals_and_a_dash_for_what_is_missing(checkpoints: Path) -> None:
    write_report(checkpoints / "noise-a-32", 90.0)
    write_report(checkpoints / "noise-b-32", 30.0)
    Image.new("L", (64, 64), 90).save(checkpoints / "noise-a-32" / "samples.png")
    _, table, figure, strips, origins, model, *files = board.draw("me", None, "fid", "")
    head, *rows = cells(table)
    assert head == ["Model", "FID  ↓", "Precision  ↑", "Recall  ↑"], "a metric that nobody has is no column"
    assert [row[0].split()[-1] for row in rows] == ["floor", "noise-b-32", "noise-a-32", "noise-c-64"]
    assert [row[1] for row in rows] == ["20.00", "30.00 [29.00, 31.00]", "90.00 [89.00, 91.00]", "-"]
    assert rows[3] == ["Noise-C-64 noise-c-64", "-", "-", "-"] and "Not measured: noise-c-64" in table
    assert "lower is better" in table and "10 real ones of the test split" in table
    assert len(figure.data) >= 2 and model["value"] == "noise-b-32"
    assert [caption for _, caption in strips] == ["noise-a-32, synthetic samples"]
    assert strips[0][0].size[0] == 64 < strips[0][0].size[1], "the mark stands under the samples, not on them"
    assert [row[-1] for row in cells(origins)] == ["Measured", "2026-01-01", "2026-01-01", "-"]
    assert [Path(file["value"]).suffix for file in files] == [".csv", ".json", ".tex"]
    assert all(Path(file["value"]).stat().st_size > 50 for file in files)
    assert [row[0].split()[-1] for row in cells(board.draw("me", None, "fid", "noise-a")[1])[1:]] == [
        "floor",
        "noise-a-32",
    ]


def test_a_broken_report_is_said_in_the_table_and_names_are_no_html(checkpoints: Path) -> None:
    write_report(checkpoints / "noise-a-32", 90.0)
    make_card("noise-b-32", title="<b>bold</b>").save(checkpoints / "noise-b-32")
    (checkpoints / "noise-b-32" / "report.json").write_text("{")
    table = board.draw("me", None, "fid", "")[1]
    assert "noise-b-32/report.json cannot be read" in table
    assert "<b>" not in table and "&lt;b&gt;bold" in table


def test_a_group_has_a_short_name_only_where_that_is_enough() -> None:
    one = Group("cxr-128", "kermany", "test", "inception-v3 (7ff4)", "ab" * 6, 10, 10, 5)
    assert board.group_choices([one]) == [("cxr-128 test, inception, n 10", one.label)]
    both = board.group_choices([one, one._replace(k=3)])
    assert [shown for shown, _ in both] == [label for _, label in both]


def test_card_and_reports_are_the_files_on_the_disk_and_nothing_outside_the_folder(checkpoints: Path) -> None:
    write_report(checkpoints / "noise-a-32", 90.0)
    found = board.files_of("noise-a-32")
    assert found["card.json"]["licence"] == "MIT" and found["report.json"]["metrics"]["fid"]["value"] == 90.0
    assert board.files_of("../checkpoints/noise-a-32") == board.files_of("gone") == board.files_of(None) == {}


def test_models_stand_gan_before_diffusion_and_two_of_one_title_show_their_names(checkpoints: Path) -> None:
    make_card("a-diffusion", family="diffusion", title="Same").save(checkpoints / "a-diffusion")
    make_card("z-gan", family="gan", title="Same").save(checkpoints / "z-gan")
    found = widgets.known_cards("CR")
    assert list(found)[-2:] == ["z-gan", "a-diffusion"]
    shown = [title for title, _ in widgets.model_choices(found)]
    assert shown[-2:] == ["Same (z-gan)", "Same (a-diffusion)"] and shown[0] == "Noise-A-32"
    asked = replace(PLAIN, models=["noise-b-32", "noise-a-32"])
    order = [task.card.name for task in form.tasks(asked, found)]
    assert order == ["noise-a-32", "noise-b-32"], "the order of the clicks does not move the columns"


def test_the_slider_of_a_walk_follows_the_frames_that_every_model_has(checkpoints: Path) -> None:
    asked = replace(PLAIN, models=["noise-a-32", "noise-b-32"], mode=WALK)
    cards = [medgen.cards()[name] for name in asked.models]
    shown = columns.Columns(asked, cards)
    row, _, play, style = shown.changes()[:4]
    assert not row["visible"] and play == "Play" and style == ""
    seen = []
    for event in runner.run(form.tasks(asked, medgen.cards()), threading.Event()):
        shown.take(event)
        row, slider, _, style = shown.changes()[:4]
        if isinstance(event, runner.Result):
            seen.append((event.card.name[6], slider.get("value"), row.get("visible")))
            if slider.get("value"):
                assert f":nth-child({slider['value']})" in style
    assert seen[:4] == [("a", None, None), ("b", 1, False), ("a", 1, False), ("b", 2, True)]
    assert seen[-1] == ("b", 4, True)


def test_few_pictures_stand_large(checkpoints: Path) -> None:
    def across(count: int, models: list[str], mode: str = IMAGES) -> int:
        cards = [medgen.cards()[name] for name in models]
        shown = columns.Columns(replace(PLAIN, count=count, mode=mode), cards).changes()
        return next(change["columns"] for change in shown if isinstance(change, dict) and "columns" in change)

    three = ["noise-a-32", "noise-b-32", "noise-c-64"]
    assert [across(n, three) for n in (1, 2, 4, 8, 9, 64)] == [1, 1, 2, 2, 4, 4]
    assert [across(n, three[:1]) for n in (1, 2, 4, 9)] == [1, 2, 4, 4]
    assert across(1, three, WALK) == 1


def test_one_lane_stop_reaches_only_its_own_session() -> None:
    mine, yours = lane.arm("me"), lane.arm("you")
    lane.stop("me")
    assert mine.is_set() and not yours.is_set()
    assert not lane.arm("me").is_set(), "a new run starts unstopped"


def test_the_models_chosen_at_first_may_be_compared_and_are_of_several_families() -> None:
    """Or a lecturer would see three GANs before he has clicked anything."""
    chosen = controls.chosen_at_first({name: card for name, card in medgen.cards("CR").items() if not card.translates})
    assert chosen == ["dcgan-cxr-128", "ddpm-cxr-128", "stylegan2-cxr-128"]
    found = {
        name: replace(medgen.cards()["ddpm-cxr-128"], name=name, family=name[0]) for name in ("a1", "a2", "a3", "b1")
    }
    assert controls.chosen_at_first(found) == ["a1", "a2", "b1"]
    unlike = {name: replace(card, shape=(1, i, i)) for i, (name, card) in enumerate(found.items())}
    assert controls.chosen_at_first(unlike) == ["a1", "a2", "b1"]
    assert controls.chosen_at_first({}) == []


def test_demos_import_no_training_code_and_no_torch() -> None:
    for path in [ROOT / "app.py", *(ROOT / "demos").glob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {name.split(".")[0] for name in names} & {"train", "torch"}, path.name


def _seconds_to_import_gradio() -> float:
    """Processor seconds of a process that does nothing else: what these seconds are worth on this machine now."""
    before = os.times()
    subprocess.run([sys.executable, "-c", "import gradio"], check=True, cwd=ROOT)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def test_the_app_is_on_screen_with_less_than_twice_the_work_of_gradio_itself_and_without_torch(
    checkpoints: Path,
) -> None:
    gradio_alone = _seconds_to_import_gradio()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    app = subprocess.Popen(
        [sys.executable, "app.py", "--port", str(port)],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        env={name: value for name, value in os.environ.items() if name != "SPACE_ID"},
    )
    try:
        answer = _wait_for_page(f"http://127.0.0.1:{port}/", 60)
        process = psutil.Process(app.pid)
        times = process.cpu_times()
        assert "Synthetic medical images" in answer
        # processor time and not the clock, against gradio's own: neither a busy nor a slow machine must decide
        assert times.user + times.system < 2.0 * gradio_alone
        assert not [m.path for m in process.memory_maps() if "libtorch" in m.path]
        assert {c.laddr.ip for c in process.net_connections() if c.status == "LISTEN"} == {"127.0.0.1"}
    finally:
        app.terminate()
        app.wait(20)


def _wait_for_page(url: str, seconds: float) -> str:
    end = time.monotonic() + seconds
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                assert answer.status == 200
                return answer.read().decode()
        except OSError:
            assert time.monotonic() < end, "the page never came"
            time.sleep(0.1)
