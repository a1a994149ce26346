"""The pathology tab without a browser: its forms, its grid, the opinions and the export."""

from __future__ import annotations

import csv
import io
import json
import re
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import astuple, replace
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import pytest
from pathology_fakes import ADULT, PLAIN, WORDS, fixed, judge_card, make_card, run_grid, save_cards, text
from PIL import Image

import medgen
from demos import (
    export_form,
    export_set,
    generate,
    labels,
    lane,
    opinions,
    pathology,
    pathology_form,
    runner,
    scratch,
    widgets,
)
from demos.export_form import ExportForm
from demos.opinions import Opinion
from demos.pathology_form import TOGETHER, PathologyForm
from demos.pathology_grid import Finished
from medgen import ImageSet, MedgenError, Request
from medgen.classifier import ClassifierCard
from medgen.data import DATASETS
from medgen.generator import OnStep
from medgen.noise import NoiseGenerator
from medgen.sample import main as sample

SET = ExportForm("noise-a-32", ["normal", "viral_pneumonia"], 10, "100", "", "", "png", True)


@pytest.fixture
def checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MEDGEN_CHECKPOINTS", str(tmp_path / "checkpoints"))
    monkeypatch.delenv("MEDGEN_DATA", raising=False)
    save_cards(tmp_path / "checkpoints")
    return tmp_path / "checkpoints"


@pytest.fixture
def judges(checkpoints: Path) -> list[ClassifierCard]:
    """Cards of two classifiers, without weights."""
    made = [judge_card("judge-children", WORDS, 32, 0.93), judge_card("judge-adults", ADULT, 16, 0.61)]
    for card in made:
        card.save(checkpoints / card.name)
    return made


# the form


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"models": []}, "models"),
        ({"models": ["m"] * 7}, "models"),
        ({"labels": []}, "labels"),
        ({"labels": ["x"] * 9}, "labels"),
        ({"labels": ["normal", "viral_pneumonia"], "combine": TOGETHER}, "labels"),
        ({"seed": "-1"}, "seed"),
        ({"seed": "1, 2"}, "seed"),
        ({"seed": str(2**63 - 1)}, "seed"),
        ({"count": 5}, "count"),
        ({"count": float("nan")}, "count"),
        ({"severity": 1.1}, "severity"),
        ({"severity": float("nan")}, "severity"),
        ({"guidance": "nan"}, "guidance"),
        ({"guidance": "-1"}, "guidance"),
        ({"steps": "0"}, "steps"),
        ({"age": "121"}, "age"),
        ({"age": "nan"}, "age"),
    ],
)
def test_a_bad_value_turns_its_own_field_red_and_no_other(changed: dict[str, Any], field: str) -> None:
    answers = pathology_form.validator(*astuple(replace(PLAIN, **changed)))
    by_name = dict(zip(pathology_form.FIELDS, answers, strict=True))
    assert [name for name, answer in by_name.items() if not answer["is_valid"]] == [field]
    assert by_name[field]["message"].endswith(".")


def test_a_good_form_asks_every_model_on_the_same_seeds_with_the_controls_it_has(checkpoints: Path) -> None:
    assert all(answer["is_valid"] for answer in pathology_form.validator(*astuple(PLAIN)))
    form = replace(PLAIN, count=3, severity=0.5, guidance="2.5", steps="9", age="40", sex="F", view="PA")
    columns, found = pathology_form.cells(form, pathology_form.offered(medgen.cards()))
    assert [card.name for card in columns] == ["noise-a-32", "noise-b-32"]
    assert {asked.seeds for asked in found.values()} == {(7, 8, 9)}
    a, b = found["noise-a-32", "viral_pneumonia"], found["noise-b-32", "viral_pneumonia"]
    assert (a.severity, a.guidance, a.steps, a.age, a.sex) == (None, None, 9, None, None)
    assert (b.severity, b.guidance, b.steps, b.age, b.sex, b.view) == (0.5, 2.5, None, 40.0, "F", None)
    assert found["noise-b-32", "normal"].severity is None, "a healthy picture has no severity"
    assert pathology_form.left_out(form, columns[0]) == (
        "This model takes no severity and no guidance and no age and no sex and no view."
    )
    assert pathology_form.request(replace(form, severity=1.0), columns[1], "viral_pneumonia").severity is None


def test_a_cell_that_a_model_cannot_fill_says_why_and_the_others_are_made(checkpoints: Path) -> None:
    cards = pathology_form.offered(medgen.cards())
    assert "noise-u-32" not in cards, "a model without labels has no column"
    form = replace(PLAIN, labels=["normal", "Effusion"])
    columns, found = pathology_form.cells(form, cards)
    assert found["noise-a-32", "Effusion"] == "This model does not know Effusion."
    assert len(pathology_form.tasks(columns, found)) == 3
    joined = pathology_form.cells(replace(form, labels=["Effusion", "Pneumonia"], combine=TOGETHER), cards)[1]
    assert joined["noise-b-32", "Effusion|Pneumonia"].label == "Effusion|Pneumonia"
    with pytest.raises(MedgenError, match="No cell"):  # labels of two cohorts in one picture
        pathology_form.cells(replace(form, labels=["viral_pneumonia", "Pneumonia"], combine=TOGETHER), cards)
    with pytest.raises(MedgenError, match="does not know bogus"):
        pathology_form.cells(replace(form, labels=["bogus"]), cards)
    with pytest.raises(MedgenError, match="no longer there"):
        pathology_form.cells(replace(form, models=["noise-u-32"]), cards)


def test_a_field_that_no_chosen_model_takes_is_hidden_and_keeps_no_run_from_starting(checkpoints: Path) -> None:
    def wrong(**changed: Any) -> list[str]:
        return list(pathology_form.problems(replace(PLAIN, **changed)))

    bad = {"guidance": "x", "age": "x"}
    assert wrong(models=["noise-a-32"], **bad) == [] and wrong(models=["noise-b-32"], steps="x") == []
    assert set(wrong(**bad, steps="x")) == {"guidance", "age", "steps"}, "one of the two models shows it"
    assert export_form.problems(replace(SET, guidance="x")) == {} and export_form.problems(replace(SET, steps="x"))


def test_a_model_itself_refuses_an_unknown_label_and_nan(checkpoints: Path) -> None:
    model = medgen.load("noise-b-32")
    for bad, words in (({"label": "bogus"}, "bogus"), ({"label": "normal", "guidance": float("nan")}, "Guidance"),
                       ({"label": "Effusion", "severity": float("nan")}, "Severity")):  # fmt: skip
        with pytest.raises(MedgenError, match=words):
            model.sample(Request((0,), **bad))


def test_labels_stand_with_the_real_pictures_behind_them_and_a_warning_where_they_are_few(checkpoints: Path) -> None:
    entry = DATASETS["kermany_cxr_128"]
    plain = make_card("noise-a-32", data=entry.name)
    counts = [labels.counts(plain, word) for word in WORDS]
    assert sum(images for images, _ in counts) == entry.splits["train"], "the published list of the train split"
    assert all(0 < patients <= images for images, patients in counts)
    said = {"normal": {"images": 1234, "patients": 1000}, "viral_pneumonia": {"images": 70, "patients": 49}}
    told = make_card("noise-b-32", trained={"labels": said}, labels=(*WORDS, "Hernia"), data="nowhere")
    choices = {word: shown for shown, word in labels.label_choices([told])}
    assert choices["normal"] == "normal · 1,234 images, 1,000 patients"
    assert choices["viral_pneumonia"] == "viral pneumonia · 70 images, 49 patients ⚠ rare"
    assert choices["Hernia"] == "Hernia · - real images", "nobody knows"
    assert labels.counts(make_card("x", data="kermany_cxr_256"), "normal") is None, "a part of the published list"
    both = {word: shown for shown, word in labels.label_choices([told, plain])}
    assert "70 images" not in both["viral_pneumonia"] and "rare" not in both["viral_pneumonia"], "the best of the two"


# the grid


def test_the_grid_has_a_row_a_label_a_column_a_model_and_opinions_under_each_picture(checkpoints: Path) -> None:
    screens = run_grid(replace(PLAIN, labels=["normal", "viral_pneumonia", "Effusion"], count=2))
    assert "<progress" in screens[0][0] and "Done: 10 pictures" in screens[-1][0]
    assert len({len(screen) for screen in screens}) == 1
    html = screens[-1][2]
    assert html.count("scope='col'>") - html.count("class='board small'") * 5 == 2 and html.count("rowgroup") == 3
    alts = re.findall(r"alt='([^']*)'", html)
    assert alts[:4] == [f"normal, {name}, seed {seed}, synthetic" for name in PLAIN.models for seed in (7, 8)]
    said = text(html)
    assert "Seeds 7 to 8 in every cell: along a row only the model changes" in said
    assert len(re.findall(r"Classifier: normal \d+%, next", said)) == 4
    assert said.count("Border alone: viral pneumonia 75%") == 4
    assert said.count("No classifier here knows this label.") == 2
    assert "- This model does not know Effusion." in said
    assert "0.91 [0.87, 0.95] 0.93" in said and "40 60" in said, "how good the classifier is"
    for address in re.findall(r"src='gradio_api/file=([^']*)'", html):
        assert Path(address).is_file() and scratch.SHOWN.root in Path(address).parents
    shown = Image.open(re.findall(r"src='gradio_api/file=([^']*)'", html)[0])
    assert min(shown.size) >= 256, "enlarged, with the mark burned in"


def test_a_graded_picture_is_never_shown_as_the_whole_disease(
    checkpoints: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flat(self: NoiseGenerator, request: Request, on_step: OnStep | None = None) -> ImageSet:
        request = request.checked(self.card)
        return ImageSet(np.full((len(request.seeds), 1, 32, 32), 9, np.float32), "CR", "au", (0.0, 255.0))

    monkeypatch.setattr(NoiseGenerator, "sample", flat)
    _, finished, html = run_grid(replace(PLAIN, severity=0.0))[-1]
    assert re.findall(r"alt='([^']*)'", html) == [
        "normal, noise-a-32, seed 7, synthetic",
        "normal, noise-b-32, seed 7, synthetic",
        "viral pneumonia, noise-a-32, seed 7, synthetic",  # this model takes no severity, and its column says so
        "viral pneumonia, severity 0, noise-b-32, seed 7, synthetic",
    ]
    assert text(html).count("severity 0, seed 7") == 1 and "This model takes no severity." in text(html)
    assert finished.pictures()[3][0] == "viral pneumonia, severity 0 · Noise-B-32 · seed 7"


def test_each_column_states_the_real_pictures_that_it_has_learned_from(checkpoints: Path) -> None:
    for name, patients in (("noise-a-32", 40), ("noise-b-32", 900)):
        card = medgen.cards()[name]
        told = {"normal": {"images": 1000, "patients": patients}, "viral_pneumonia": {"images": 80, "patients": 70}}
        replace(card, trained={"labels": told}).save(checkpoints / name)
    said = text(run_grid(PLAIN)[-1][2])
    assert "1,000 images, 40 patients ⚠ rare: fewer than 50 patients, hardly learned (Noise-A-32)" in said
    assert "or 1,000 images, 900 patients (Noise-B-32)" in said, "one column's data says nothing of another's"
    assert said.count("learned from 80 images, 70 patients") == 1, "said once where all have learned from the same"


def test_another_label_changes_the_picture_of_a_seed_and_nothing_changes_nothing(checkpoints: Path) -> None:
    def pixels(form: PathologyForm) -> list[np.ndarray]:
        return [result.images.pixels for result in run_grid(form)[-1][1].results]

    first = pixels(PLAIN)
    again = pixels(PLAIN)
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)
    assert all((images[0] != images[1]).any() for images in first), "two labels, one seed"
    expected = medgen.load("noise-b-32").sample(Request((7,), label="viral_pneumonia"))
    np.testing.assert_array_equal(first[1][1:], expected.pixels)


def test_names_of_others_are_no_html(checkpoints: Path) -> None:
    make_card("noise-a-32", title="<b>bold</b>", labels=("<i>x</i>", "normal")).save(checkpoints / "noise-a-32")
    html = run_grid(replace(PLAIN, labels=["<i>x</i>", "normal"], models=["noise-a-32"]))[-1][2]
    assert "<b>" not in html and "<i>" not in html and "&lt;i&gt;x" in html


def test_a_run_that_is_stopped_keeps_what_was_finished_and_says_what_was_not(checkpoints: Path) -> None:
    def stopping(images: ImageSet, label: str) -> list[Opinion | None]:
        lane.stop("stopper")
        return fixed(images, label)

    lane.arm("stopper")
    *_, last = pathology.generate(runner.portions, stopping, "stopper", *astuple(PLAIN))
    assert "Stopped" in last[0] and "1 finished picture was kept" in last[0]
    assert [len(result.images) for result in last[1].results] == [1]
    assert text(last[2]).count("No picture was finished.") == 3
    lane.arm("patient")
    lane.stop("patient")
    *_, last = pathology.generate(runner.portions, fixed, "patient", *astuple(PLAIN))
    assert "Stopped" in last[0] and last[1].results == []


def test_an_error_is_a_toast_and_what_was_finished_stays(checkpoints: Path) -> None:
    def broken(images: ImageSet, label: str) -> list[Opinion | None]:
        if label == "viral_pneumonia":
            raise MedgenError("The weights are damaged: fetch them again.")
        return fixed(images, label)

    lane.arm("unlucky")
    screens = []
    with pytest.raises(gr.Error, match="fetch them again") as caught:
        for screen in pathology.generate(runner.portions, broken, "unlucky", *astuple(PLAIN)):
            screens.append(screen)
    assert 8 <= caught.value.duration <= 10
    assert sum(len(result.images) for result in screens[-1][1].results) == 2
    with pytest.raises(gr.Error, match="no longer there"):
        run_grid(replace(PLAIN, models=["gone"]))


def test_the_next_task_waits_until_a_result_is_dealt_with(checkpoints: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = []
    whole = NoiseGenerator.sample

    def counted(self: NoiseGenerator, request: Request, on_step: OnStep | None = None) -> ImageSet:
        begun.append(request.label)
        return whole(self, request, on_step)

    monkeypatch.setattr(NoiseGenerator, "sample", counted)
    tasks = pathology_form.tasks(*pathology_form.cells(PLAIN, medgen.cards()))
    events = runner.portions(tasks, threading.Event())
    held = 0
    for event in events:
        if isinstance(event, runner.Result):
            held += 1
            threading.Event().wait(0.15)
            assert len(begun) == held, "nothing runs ahead, however slow the reader is"
            assert len(event.images) == 1, "its own task alone"
    assert held == 4
    before = threading.active_count()
    left = runner.portions(tasks, threading.Event())
    while not isinstance(next(left), runner.Result):
        pass
    left.close()
    assert threading.active_count() == before, "a closed page ends the worker that waits"


def test_the_download_holds_the_scores_and_its_manifest_remakes_the_pixels(checkpoints: Path, tmp_path: Path) -> None:
    form = replace(PLAIN, severity=1.0, count=2, labels=["normal", "Effusion"], guidance="3", steps="4")
    finished = run_grid(form)[-1][1]
    button, verdict = pathology.pack("me", finished, "png", {})
    assert button["interactive"] and verdict == ""
    path = Path(button["value"])
    with zipfile.ZipFile(path) as archive:
        rows = list(csv.DictReader(io.TextIOWrapper(archive.open("noise-b-32/labels.csv"), "utf-8")))
        archive.extract("noise-b-32/manifest.json", tmp_path)
    assert [row["label"] for row in rows] == ["normal", "normal", "Effusion", "Effusion"]
    assert [row["judge-children border normal"] for row in rows] == ["0.7500", "0.7500", "", ""]
    seen = fixed(finished.results[1].images.take([1]), "normal")[0]
    assert rows[1]["judge-children normal"] == f"{seen.network['normal']:.4f}"
    assert sample(["--manifest", str(tmp_path / "noise-b-32" / "manifest.json"), "--out", str(tmp_path / "x")]) == 0

    kept = path.read_bytes()
    (tmp_path / "again.zip").write_bytes(kept)
    expected, *fields = pathology.fill(str(tmp_path / "again.zip"))
    filled = PathologyForm(*(field["value"] for field in fields))
    assert replace(filled, steps="", guidance="") == replace(form, steps="", guidance="")
    assert (filled.steps, filled.guidance) == ("4", "3")
    _, verdict = pathology.pack("me", run_grid(filled)[-1][1], "png", expected)
    assert verdict.count("pictures equal those of the manifest") == 2 and "4 of 4" in verdict
    button, _ = pathology.pack("me", finished, "dcm", {})
    with zipfile.ZipFile(button["value"]) as archive:
        assert sum(name.endswith(".dcm") for name in archive.namelist()) == 6
    assert pathology.pack("me", Finished(), "png", {})[0]["interactive"] is False


def test_several_labels_in_one_picture_and_a_severity_come_back_from_the_manifest(
    checkpoints: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flat(self: NoiseGenerator, request: Request, on_step: OnStep | None = None) -> ImageSet:
        request = request.checked(self.card)
        return ImageSet(np.full((len(request.seeds), 1, 32, 32), 9, np.float32), "CR", "au", (0.0, 255.0))

    monkeypatch.setattr(NoiseGenerator, "sample", flat)
    form = replace(PLAIN, models=["noise-b-32"], labels=["Effusion", "Pneumonia"], combine=TOGETHER, severity=0.5,
                   age="61", sex="M")  # fmt: skip
    button, _ = pathology.pack("me", run_grid(form)[-1][1], "png", {})
    (tmp_path / "set.zip").write_bytes(Path(button["value"]).read_bytes())
    _, *fields = pathology.fill(str(tmp_path / "set.zip"))
    assert replace(PathologyForm(*(field["value"] for field in fields)), guidance="") == form
    with pytest.raises(gr.Error, match="asks for more than the form can"):
        generate.fill(str(tmp_path / "set.zip"))  # the other tab knows no severity, and does not leave it out silently
    with zipfile.ZipFile(tmp_path / "set.zip") as archive:
        manifest = json.loads(archive.read("noise-b-32/manifest.json"))
    manifest["request"] = [{**manifest["request"], "seeds": []}, manifest["request"]]
    (tmp_path / "odd.json").write_text(json.dumps(manifest))
    with pytest.raises(gr.Error, match="asks for more than the form can"):
        pathology.fill(str(tmp_path / "odd.json"))
    (tmp_path / "bad.zip").write_bytes(b"PK")
    with pytest.raises(gr.Error, match="damaged or no manifest"):
        pathology.fill(str(tmp_path / "bad.zip"))


def test_the_form_shows_what_the_chosen_models_take(checkpoints: Path) -> None:
    def visible(models: list[str]) -> set[str]:
        shown = dict(zip(pathology.pathology_controls.CHANGED, pathology.on_choice(models, []), strict=True))
        return {name for name, update in shown.items() if update.get("visible")}

    assert visible(["noise-a-32"]) == {"steps"}
    assert pathology.on_choice(["noise-a-32"], [])[1]["value"] == pathology_form.EACH, "what is hidden asks for nothing"
    assert visible(["noise-a-32", "noise-b-32"]) == {"combine", "severity", "guidance", "steps", "age", "sex"}
    chosen, *_ = pathology.on_choice(["noise-b-32"], ["Effusion", "bogus"])
    assert chosen["value"] == ["Effusion"], "what the models still know stays chosen"
    none = pathology.on_choice([], ["Effusion"])[0]
    assert "value" not in none and none["choices"] == ["Effusion"], "kept while one model is exchanged for another"
    assert pathology.on_choice(["noise-b-32"], ["bogus"])[0]["value"] == list(WORDS)


# opinions


def test_the_classifier_that_knows_the_label_and_the_size_is_asked(
    judges: list[ClassifierCard], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Fake:
        def __init__(self, card: ClassifierCard) -> None:
            self.card = card

        def probabilities(self, images: ImageSet) -> np.ndarray:
            assert (images.pixels == np.rint(images.pixels)).all(), "what is judged is what is saved"
            return np.tile(np.linspace(0.1, 0.9, len(self.card.labels), dtype=np.float32), (len(images), 1))

        def border_probabilities(self, images: ImageSet) -> np.ndarray:
            return 1.0 - self.probabilities(images)

    by_name = {card.name: card for card in judges}
    monkeypatch.setattr(opinions, "load_classifier", lambda name: Fake(by_name[name]))
    monkeypatch.setattr(opinions, "_loaded", {})
    pixels = np.random.default_rng(0).uniform(0, 255, (2, 1, 32, 32)).astype(np.float32)
    images = ImageSet(pixels, "CR", "au", (0.0, 255.0))
    first, _ = opinions.judge(images, "viral_pneumonia")
    assert first.card.name == "judge-children" and round(first.network["viral_pneumonia"], 3) == 0.9
    assert opinions.sentences(first, "viral_pneumonia") == (
        "Classifier: viral pneumonia 90%, next bacterial pneumonia 50%", "Border alone: viral pneumonia 10%",
    )  # fmt: skip
    adult, _ = opinions.judge(images, "Effusion|Pneumonia")
    assert opinions.sentences(adult, "Effusion|Pneumonia")[0] == (
        "Classifier: Effusion 50% and Pneumonia 90%, next No Finding 10%"
    )
    assert opinions.judge(images, "Hernia") == [None, None]
    assert opinions.judge(images, "normal|Pneumonia") == [None, None], "no classifier knows both"
    odd = ImageSet(pixels[..., :24], "CR", "au", (0.0, 255.0))
    assert opinions.judge(odd, "normal") == [None, None], "no classifier takes this size"


def test_the_warning_states_the_number_of_the_card(judges: list[ClassifierCard], checkpoints: Path) -> None:
    assert "AUC 0.93" in opinions.warning() and "tell normal from everything else" in opinions.warning()
    judge_card("judge-children", WORDS, 32, 0.71).save(checkpoints / "judge-children")
    assert "AUC 0.71" in opinions.warning()
    for name in ("judge-children", "judge-adults"):
        (checkpoints / name / "classifier.json").unlink()
    assert "no classifier here" in opinions.warning()


# the export


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"model": None}, "model"),
        ({"labels": []}, "labels"),
        ({"count": 501}, "count"),
        ({"count": 0}, "count"),
        ({"count": None}, "count"),
        ({"seed": "x"}, "seed"),
        ({"seed": str(2**63 - 1)}, "seed"),
        ({"guidance": "inf"}, "guidance"),
    ],
)
def test_a_bad_value_of_the_export_form_turns_its_field_red(changed: dict[str, Any], field: str) -> None:
    answers = export_form.validator(*astuple(replace(SET, **changed)))
    wrong = [name for name, answer in zip(export_form.FIELDS, answers, strict=True) if not answer["is_valid"]]
    assert wrong == [field]
    assert all(answer["is_valid"] for answer in export_form.validator(*astuple(replace(SET, count=500))))


def export(form: ExportForm, process: runner.Process = runner.portions) -> list[list[Any]]:
    lane.arm("me-export")
    return list(export_set.run(process, fixed, "me-export", *astuple(form)))


def test_a_balanced_set_has_a_folder_a_label_a_seed_a_picture_and_remakes(checkpoints: Path, tmp_path: Path) -> None:
    screens = export(replace(SET, count=20))
    assert "Done: 40 pictures" in screens[-1][0] and "normal: 20 of 20" in text(screens[-1][1])
    path = Path(screens[-1][2]["value"])
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        rows = list(csv.DictReader(io.TextIOWrapper(archive.open("labels.csv"), "utf-8")))
        manifest = json.loads(archive.read("manifest.json"))
        (tmp_path / "manifest.json").write_bytes(archive.read("manifest.json"))
        first = np.asarray(Image.open(archive.open(manifest["files"][0]["file"])))
    assert sum(name.startswith("normal/") for name in names) == 20
    assert sum(name.startswith("viral_pneumonia/") for name in names) == 20 and len(names) == 42
    assert sorted(int(file["seed"]) for file in manifest["files"]) == list(range(100, 140)), "no seed twice"
    assert all(set(one) >= {"seeds", "label"} for one in manifest["request"])
    assert {one["label"] for one in manifest["request"][:2]} == {"normal", "viral_pneumonia"}, "they take turns"
    assert len(rows) == 40 and all(row["judge-children border normal"] == "0.7500" for row in rows)
    expected = medgen.load("noise-a-32").sample(Request((100,), label="normal"))
    np.testing.assert_array_equal(first, expected.uint8()[0, 0])
    assert sample(["--manifest", str(tmp_path / "manifest.json"), "--out", str(tmp_path / "again")]) == 0
    with zipfile.ZipFile(export(replace(SET, count=1, format="dcm", scores=False))[-1][2]["value"]) as archive:
        assert sum(name.endswith(".dcm") for name in archive.namelist()) == 2
        assert archive.read("labels.csv").splitlines()[0] == b"file,seed,label"


def test_a_stopped_export_leaves_a_nearly_balanced_set_or_none(checkpoints: Path) -> None:
    def stopping(after: int) -> runner.Process:
        def process(tasks: list[runner.Task], stop: threading.Event, previews: bool) -> Iterator[runner.Event]:
            results = 0
            if not after:
                stop.set()
            for event in runner.portions(tasks, stop, previews):
                results += isinstance(event, runner.Result)
                if results == after:
                    stop.set()
                yield event

        return process

    screens = export(replace(SET, count=100), stopping(3))
    assert "Stopped" in screens[-1][0]
    with zipfile.ZipFile(screens[-1][2]["value"]) as archive:
        made = json.loads(archive.read("manifest.json"))["files"]
    per_label = [sum(file["label"] == label for file in made) for label in SET.labels]
    assert per_label == [16, 8], "a portion apart at most"
    screens = export(SET, stopping(0))
    assert "before the first picture" in screens[-1][0] and screens[-1][2] == gr.skip()
    assert not list(scratch.DOWNLOADS.folder("me-export").iterdir())


def test_every_portion_is_on_the_disk_before_the_next_is_made(
    checkpoints: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = []
    whole = zipfile.ZipFile.writestr

    def writing(self: zipfile.ZipFile, name: str, *rest: Any, **options: Any) -> None:
        written.append(str(name))
        whole(self, name, *rest, **options)

    monkeypatch.setattr(zipfile.ZipFile, "writestr", writing)
    before = []
    sampling = NoiseGenerator.sample

    def sampled(self: NoiseGenerator, request: Request, on_step: OnStep | None = None) -> ImageSet:
        before.append(len(written))
        return sampling(self, request, on_step)

    monkeypatch.setattr(NoiseGenerator, "sample", sampled)
    export(replace(SET, count=24))
    assert before == [0, 8, 16, 24, 32, 40]


def test_two_exports_have_two_names_and_a_full_disk_is_one_sentence(
    checkpoints: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = {Path(export(replace(SET, seed=seed, count=1))[-1][2]["value"]).name for seed in ("1", "2")}
    assert len(names) == 2 and all(
        re.fullmatch(r"medgen-noise-a-32-1-each-seed\d-png-\d{8}-\d{6}.zip", n) for n in names
    )

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(zipfile.ZipFile, "writestr", full)
    with pytest.raises(gr.Error, match="No space left on device"):
        export(replace(SET, count=1))
    assert not list(scratch.DOWNLOADS.folder("me-export").iterdir())


# the page


def test_the_tab_stands_alone_and_its_files_go_when_its_page_is_closed(checkpoints: Path) -> None:
    page = widgets.page(pathology.TITLE, pathology.create)
    ids = {block.elem_id for block in page.blocks.values()}
    assert {"pathology-go", "region-go", "export-go", "shortcut"} <= ids
    place = scratch.SHOWN.folder("gone-pathology")
    address = scratch.address(Image.new("L", (4, 4)), place)
    assert Path(address.removeprefix("gradio_api/file=")).is_file()
    other = scratch.SHOWN.folder("here-pathology")
    scratch.discard("gone")
    assert not place.exists() and other.exists()


def test_a_session_that_names_itself_like_a_path_empties_no_folder_but_its_own(tmp_path: Path) -> None:
    class Asking:
        def __init__(self, session_hash: str) -> None:
            self.session_hash = session_hash

    victim = tmp_path / "victim-pathology"
    victim.mkdir()
    for name in (str(tmp_path / "victim"), "../" * 9 + str(tmp_path / "victim"), "*", ".", "a/b"):
        place = scratch.SHOWN.folder(lane.session(Asking(name), "pathology"))  # type: ignore[arg-type]
        assert place.parent == scratch.SHOWN.root and victim.is_dir()
    mine, other = scratch.SHOWN.folder("abc-region"), scratch.SHOWN.folder("abcd-region")
    for name in ("*", "abc"):
        scratch.discard(lane.session(Asking(name)))  # type: ignore[arg-type]
    assert not mine.exists() and other.exists() and lane.session(Asking("abc"), "k") == "abc-k"  # type: ignore[arg-type]
    scratch.discard("abcd")
