"""What stands around the board's numbers: references, the cost of quality, one model's page, spaces and studies."""

import json
import re
from dataclasses import replace
from pathlib import Path

import gradio as gr
import numpy as np
import pytest
from board_fakes import (
    add,
    collapse,
    downstream,
    memorisation,
    reference,
    references,
    save,
    selftest,
    write,
)
from PIL import Image

from demos import board as tab
from demos import board_model, board_pairs, board_strips, board_studies
from eval import board, cost_plot, model_page, plots, spaces
from eval.studies import STUDIES
from medgen import ImageSet, ModelCard


@pytest.fixture(autouse=True)
def house(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("MEDGEN_CHECKPOINTS", str(tmp_path / "checkpoints"))
    monkeypatch.setenv("MEDGEN_RESULTS", str(tmp_path / "results"))
    monkeypatch.delenv("MEDGEN_DATA", raising=False)
    return tmp_path / "checkpoints"


@pytest.fixture
def results(tmp_path) -> Path:
    return tmp_path / "results"


def text(html: str) -> str:
    return re.sub(r"\s+", " ", re.sub("<[^>]+>", " ", html))


def test_references_stand_beside_the_floor_of_their_own_group_and_nowhere_else(house, results):
    write(add(house, "a"))
    write(add(house, "b"), split="val")
    references(results, reference("noise"), reference("train_copies"), reference("mean_image", k=3))
    frame = board.rows()
    test, val = board.groups(frame)
    shown = board.table(frame, test)
    assert shown["model"].tolist() == [board.FLOOR, "noise", "train_copies", "a"]
    assert shown["family"].tolist()[1] == board.REFERENCE and shown["fid"].tolist()[1] == 0.25
    assert board.table(frame, val)["model"].tolist() == [board.FLOOR, "b"]
    assert board.table(frame, test, search="a")["model"].tolist()[-1] == "a"
    page = tab.draw("me", None, "fid", "")
    assert "Copies of train images" in page[1] and "References show the scale" in page[1]
    assert page[5]["choices"] == ["a", "b"], "a reference is no model to choose"
    assert board.classes(frame, test).empty
    figure = plots.recall_precision(shown)
    assert {trace.name for trace in figure.data} == {"noise", "references", "real images (floor)"}


def test_broken_references_are_a_row_that_says_so_and_an_empty_board_stays_empty(house, results):
    path = references(results, reference("noise", n_real="many"))
    assert board.rows().empty
    write(add(house, "a"))
    problem = board.rows().set_index("model").loc["references-cxr-128", "problem"]
    assert "n_real is missing or of the wrong type" in problem and "eval.references --protocol cxr-128" in problem
    path.write_text('{"reports": 3}')
    assert "reports is missing" in board.rows().set_index("model").loc["references-cxr-128", "problem"]


def test_the_family_filter_keeps_one_family_and_the_floor(house, results):
    write(add(house, "a", family="gan"))
    write(add(house, "b", family="diffusion"))
    references(results, reference("noise"))
    frame = board.rows()
    kept = {one: board.table(frame, family=one)["model"].tolist() for one in ("gan", "diffusion", board.REFERENCE)}
    assert kept == {"gan": ["real", "a"], "diffusion": ["real", "b"], "reference": ["real", "noise"]}
    assert "Title of b" not in tab.draw("me", None, "fid", "", "gan")[1]


def test_a_metric_that_is_best_as_of_real_images_is_sorted_by_its_distance_to_them(house):
    for name, value in (("low", 0.2), ("near", 0.8), ("high", 2.0)):
        folder = add(house, name)
        write(folder)
        values = json.loads((folder / "report.json").read_text())
        values["metrics"]["vendi"]["value"] = value  # the floor is 0.85
        (folder / "report.json").write_text(json.dumps(values))
    frame = board.rows()
    assert board.table(frame, sort_by="vendi")["model"].tolist()[1:] == ["near", "low", "high"]
    assert "best as of real images" in tab.draw("me", None, "vendi", "")[1]


def test_a_warning_of_a_report_stands_above_the_table(house):
    folder = add(house, "a")
    write(folder)
    values = json.loads((folder / "report.json").read_text())
    values["metrics"]["fid"]["warning"] = "584 images are few"
    (folder / "report.json").write_text(json.dumps(values))
    assert "FID: 584 images are few." in tab.draw("me", None, "fid", "")[1]


def test_a_sheet_of_real_images_stands_first_where_the_data_are_and_is_never_written(house, tmp_path, monkeypatch):
    Image.new("L", (48, 48), 90).save(add(house, "a") / "samples.png")
    write(house / "a", n_real=8)
    asked = ("me", None, "fid", "")
    assert [said for _, said in tab.draw(*asked)[3]] == ["a, synthetic samples"]
    assert "Real images stand first where $MEDGEN_DATA holds kermany_cxr_128" in tab.draw(*asked)[1]
    seen: list[tuple[object, ...]] = []

    def real(*words) -> ImageSet:
        seen.append(words)
        return ImageSet(np.full((8, 1, 4, 4), 200, np.float32), "CR", "au", (0.0, 255.0))

    monkeypatch.setattr(board_strips, "available", lambda name: name == "kermany_cxr_128")
    monkeypatch.setattr(board_strips, "real", real)
    before = sorted(tmp_path.rglob("*"))
    (sheet, said), (_, other) = tab.draw(*asked)[3]
    assert seen == [("kermany_cxr_128", "test", 8)], "eight of the split that the models are compared with"
    assert (said, other) == ("real test images", "a, synthetic samples")
    pixels = np.asarray(sheet)[:8]
    assert sheet.width == 24 and (pixels[:4] == 200).all() and (pixels[4:, :8] == 200).all()
    assert not pixels[4:, 8:].any(), "the last row is not filled up with repeated images"
    assert sorted(tmp_path.rglob("*")) == before
    board_strips._real_sheet.cache_clear()


def test_the_front_holds_the_models_that_none_is_faster_and_better_than(house, results):
    for name, seconds, fid in (("fast", 0.01, 90.0), ("slow", 1.0, 30.0), ("worse", 2.0, 40.0), ("middle", 0.1, 90.0)):
        write(add(house, name), fid=fid, seconds_per_image=seconds)
    write(add(house, "no-time"), seconds_per_image=None)
    references(results, reference("noise"))
    shown = board.table(board.rows())
    assert cost_plot.front(shown, "fid")["model"].tolist() == ["fast", "slow"]
    figure = cost_plot.quality_and_cost(shown, "fid")
    assert list(figure.data[0].y) == [90.0, 30.0] and len(figure.data[1].x) == 4
    assert "1 without these numbers" in figure.layout.title.text and figure.layout.shapes[0].y0 == 23.0
    assert cost_plot.quality_and_cost(shown, "model").layout.yaxis.title.text == "FID"
    assert cost_plot.quality_and_cost(shown[shown["model"] == "no-time"], "fid") is None
    json.loads(figure.to_json())
    assert tab.draw_cost(None, "recall", "", "")["visible"] and not tab.draw_cost(None, "fid", "", "gan")["visible"]


def test_the_front_counts_cpu_seconds_where_every_model_has_them(house):
    """By the clock b is the quicker one; of the processors it took more, as two threads do on an idle machine."""
    for name, wall, cpu, fid in (("a", 0.2, 0.1, 50.0), ("b", 0.15, 0.3, 60.0)):
        write(add(house, name), fid=fid, seconds_per_image=wall, cpu_seconds_per_image=cpu)
    shown = board.table(board.rows())
    assert cost_plot.front(shown, "fid")["model"].tolist() == ["a"]
    figure = cost_plot.quality_and_cost(shown, "fid")
    assert figure.layout.xaxis.title.text == "CPU seconds an image" and list(figure.data[1].x) == [0.1, 0.3]
    assert "Title of a a 0.2 0.1" in text(tab.draw("me", None, "cpu_seconds_per_image", "")[4])
    write(add(house, "old"), fid=90.0, seconds_per_image=0.1)
    shown = board.table(board.rows())
    assert cost_plot.front(shown, "fid")["model"].tolist() == ["old", "b", "a"]
    assert "Clock" in cost_plot.quality_and_cost(shown, "fid").layout.xaxis.title.text


def test_higher_is_better_turns_the_front_around(house):
    for name, seconds, kid in (("fast", 0.01, 0.3), ("slow", 1.0, 0.4)):
        folder = add(house, name)
        write(folder, seconds_per_image=seconds)
        values = json.loads((folder / "report.json").read_text())
        values["metrics"]["recall"]["value"] = kid
        (folder / "report.json").write_text(json.dumps(values))
    shown = board.table(board.rows())
    assert cost_plot.front(shown, "recall")["model"].tolist() == ["fast", "slow"]


def test_spaces_rank_models_and_tau_says_how_alike(house):
    other = {"extractor": {"name": "pixels-32", "sha256": "0" * 64}}
    for name, first, second in (("a", 10.0, 3.0), ("b", 20.0, 2.0), ("c", 30.0, 1.0)):
        write(add(house, name), fid=first)
        write(house / name, file="report-test-pixels-32-584.json", fid=second, **other)
    write(add(house, "only-one"), fid=5.0)
    (found,) = spaces.rankings(board.rows())
    assert found.agreement[["tau", "n"]].to_numpy().tolist() == [[-1.0, 3]]
    places = spaces.ranks(found)
    assert places.loc["a"].tolist() == [2.0, 3.0] and places.loc["only-one"].isna().tolist() == [False, True]
    ranking, _ = spaces.tables(found, "fid")
    assert ranking.set_index("Model").loc["a"].tolist() == ["2 (10.00)", "3 (3.00)"]
    assert "-1.00" in board_studies.draw_ranks("fid") and "hardly differ from chance" in board_studies.draw_ranks("fid")


def test_one_space_alone_ranks_nothing_and_says_what_would(house):
    write(add(house, "a"))
    assert spaces.rankings(board.rows()) == []
    assert "--extractor all" in board_studies.draw_ranks("fid")


def test_the_page_of_a_model_says_limits_bias_data_provenance_and_alarm(house, results):
    folder = add(house, "a")
    card = ModelCard.read(folder / "card.json")
    labels = {"<b>normal": {"images": 12, "patients": 5}}
    replace(card, limits="Not for clinics.", net={"conditions": ["age", "sex=F"]}, trained={"labels": labels}).save(
        folder
    )
    write(folder, command="python -m eval.run a --protocol cxr-128 --repeats 9")
    memorisation(folder, alarm=True)
    page = board_model.draw("a")
    words = text(page)
    assert "Not for clinics." in words and "MIT" in words and "Kermany et al." in words and "CC BY 4.0" in words
    assert (
        "ALARM: nearer to training images" in words
        and "40.0 [30.0, 50.0] 5.0 [0.0, 10.0] 40.0 / 5.0" in words
        and "caption warning" in page
    )
    assert "told age, sex" in words and "some groups of people worse than others was not measured" in words
    assert "--repeats 9" in words and "board prose" in page and "2025-01-01 abc model.safetensors aaaaaaaaaaaa" in words
    assert "<b>normal" not in page and "&lt;b&gt;normal" in page and "12 5 no" in words
    downstream(results)
    words = text(board_model.draw("a"))
    assert "Usefulness by group, below" in words and "F (12), M (12)" in words


def test_a_model_that_nobody_measured_or_whose_files_are_stale_or_broken_says_so(house):
    assert board_model.draw(None) == board_model.draw("../checkpoints") == board_model.draw("gone") == board_model.NONE
    folder = add(house, "a")
    assert "Memorisation was not measured" not in board_model.draw("a"), "no protocol is known that would measure it"
    write(folder)
    assert "eval.run a --protocol cxr-128 --extractor all" in board_model.draw("a")
    assert "not recorded; python -m eval.run a --protocol cxr-128 measures it again" in board_model.draw("a")
    memorisation(folder, alarm=False)
    assert "No alarm of memorisation." in board_model.draw("a")
    memorisation(folder, alarm=False, weights={"model.safetensors": "b" * 64})
    assert "memorisation.json was made with other weights" in board_model.draw("a")
    assert "not those of the card" in model_page.page("a").sections["Provenance"].to_string()
    (folder / "memorisation.json").write_text("{")
    assert "memorisation.json cannot be read" in board_model.draw("a")
    (folder / "card.json").write_text("{")
    assert "card.json cannot be read" in board_model.draw("a") and "report.json" in board_model.draw("a")


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_that_nobody_made_says_which_command_does(name):
    file, pick, html, plot = board_studies.draw_study(STUDIES[name])
    assert STUDIES[name].command in html and "--" in STUDIES[name].command
    assert not file["visible"] and not pick["visible"] and not plot["visible"]


def test_studies_are_tables_and_a_picture_of_what_is_picked(results):
    for make in (selftest, collapse, downstream):
        make(results)
    drawn = {name: board_studies.draw_study(STUDIES[name]) for name in ("selftest", "collapse", "downstream")}
    assert "FAILS: rises by 0.1 at 1" in drawn["selftest"][2] and drawn["selftest"][1]["value"] == "fid"
    assert [trace.line.dash for trace in drawn["selftest"][3]["value"].data] == ["solid"]
    recall = board_studies.draw_study(STUDIES["selftest"], None, "recall")[3]["value"]
    assert recall.data[0].line.dash == "dot" and list(recall.data[0].y) == [0.8, 0.9, 0.7]
    falling = drawn["collapse"][3]["value"]
    assert list(falling.data[0].y) == [18.0, 3.0] and {shape.y0 for shape in falling.layout.shapes} == {16.0, 8.0}
    assert "collapsed" in drawn["collapse"][2] and "Real images cut on purpose" in drawn["collapse"][2]
    assert "pixels-32 Vendi 20.0 16.0 8.0" in text(drawn["collapse"][2]), "the limits stand beside the verdicts"
    words = text(drawn["downstream"][2])
    assert "Real and 50 % synthetic a 100 100 50 2" in words and "-0.030 [-0.080, 0.020]" in words
    assert all("Made by the command, 2025-01-03" in text(one[2]) for one in drawn.values())


def test_a_comparison_is_shown_space_by_space(results):
    test = {"metric": "fid", "a": "x", "b": "y", "a_value": 30.0, "b_value": 50.0, "difference": -20.0, "low": -25.0,
            "high": -15.0, "p": 0.001, "p_holm": 0.002, "n": 10, "n_real": 10,
            "verdict": "A better", "better": "x"}  # fmt: skip
    equal = {**test, "space": "pixels-32", "verdict": "not distinguishable", "better": None}
    values = {
        "protocol": "cxr-128", "data": "kermany_cxr_128", "split": "test", "n": 10, "n_subjects": 5, "rule": "Holm.",
        "real_sha256": "f", "models": {"x": {"weights": {}}, "y": {"weights": {}}}, "extractors": {},
        "tests": [{**test, "space": "inception-v3-2048"}, equal],
    }  # fmt: skip
    save(results / "comparison-cxr-128.json", values)
    _, pick, html, _ = board_studies.draw_study(STUDIES["comparison"])
    assert pick["value"] == "inception-v3-2048" and "x is better" in html and "not distinguishable" not in html
    assert "-20.00 [-25.00, -15.00]" in text(html) and "0.0020" in html
    other = board_studies.draw_study(STUDIES["comparison"], None, "pixels-32")[2]
    assert "not distinguishable" in other and "x is better" not in other


def test_a_broken_study_is_said_and_hides_its_picture(results):
    path = selftest(results)
    path.write_text(path.read_text()[:-20])
    *_, html, plot = board_studies.draw_study(STUDIES["selftest"])
    assert "selftest-cxr-128.json cannot be read" in html and "warning" in html and not plot["visible"]


def test_closest_pairs_are_numbers_where_no_data_are(house):
    assert "Not measured yet" in board_pairs.draw(None, None)[2]
    memorisation(add(house, "a"), alarm=True)
    memorisation(add(house, "b"), alarm=False)
    model, space, html, button, _ = board_pairs.draw("b", "gone")
    assert (model["value"], space["value"]) == ("b", "pixels-32")
    assert "7 normal 3 person3 0.2500 0.0 0.500" in text(html) and "ALARM" in html
    assert not button["visible"] and "$MEDGEN_DATA holds kermany_cxr_128" in html
    with pytest.raises(gr.Error, match="MEDGEN_DATA"):
        board_pairs.pictures("b", "pixels-32")


def test_pictures_of_a_pair_are_made_again_from_its_seed(house, made_up_data, monkeypatch):
    monkeypatch.setenv("MEDGEN_DATA", str(made_up_data))
    from medgen.data import real

    train = real("kermany_cxr_128", "train")
    folder = add(house, "a", weights={})
    path = memorisation(folder, alarm=False, weights={})
    values = json.loads(path.read_text())
    values["spaces"]["pixels-32"]["closest"][0] |= {"label": None, "subject": train.subjects[3]}
    path.write_text(json.dumps(values))
    assert board_pairs.draw("a", None)[3]["visible"]
    ((picture, caption),) = board_pairs.pictures("a", "pixels-32")["value"]
    assert picture.width > picture.height and "seed 7, beside train image 3" in caption
    assert "0.0 % of held-out images are as near" in caption
    values["spaces"]["pixels-32"]["closest"][0]["subject"] = "somebody else"
    path.write_text(json.dumps(values))
    with pytest.raises(gr.Error, match="not the one that was measured"):
        board_pairs.pictures("a", "pixels-32")
