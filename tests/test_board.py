"""The board: every model is there, only comparable rows share a table, and a missing number is never a zero."""

import io
import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import gradio as gr
import pandas as pd
import pytest
from board_fakes import add, write

from demos import board as tab
from eval import board, plots, summary
from eval.report import METRICS
from medgen import MedgenError, ModelCard


@pytest.fixture(autouse=True)
def house(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("MEDGEN_CHECKPOINTS", str(tmp_path))
    return tmp_path


def test_every_model_is_a_row_and_a_missing_number_is_nan(house):
    write(add(house, "good"))
    write(add(house, "no-fid"), fid=None)
    add(house, "unmeasured")
    frame = board.rows().set_index("model")
    assert set(frame.index) == {"good", "no-fid", "unmeasured", board.FLOOR}
    assert frame.loc["good", ["fid", "fid_low", "fid_high", "fid_floor", "kid"]].tolist() == [30, 28, 32, 23, 0.5]
    assert math.isnan(frame.loc["no-fid", "fid"])
    assert frame.loc["no-fid", "kid"] == 0.5
    assert frame.loc["unmeasured", ["fid", "recall", "n_real", "seconds"]].isna().all()
    assert frame.loc["unmeasured", "params"] == 123
    assert frame.loc["good", "images_seen"] == 1000
    assert (frame["problem"] == "").all()
    assert all(frame[name].dtype == "float64" for name in METRICS)


def test_an_empty_house_has_an_empty_board(capsys):
    frame = board.rows()
    assert frame.empty
    assert "fid" in frame.columns
    assert board.groups(frame) == []
    assert board.table(frame).empty
    assert len(plots.recall_precision(board.table(frame)).data) == 0
    assert board.main([]) == 0
    assert "no models" in capsys.readouterr().err


@pytest.mark.parametrize(
    "changed",
    [
        {"split": "val"},
        {"n_real": 100},
        {"n_fake": 100},
        {"extractor": {"name": "pixels-32", "sha256": "0" * 64}},
        {"extractor": {"name": "inception-v3-2048", "sha256": "0" * 64}},
        {"protocol": "other"},
        {"real_sha256": "0" * 64},
        {"k": 3},
    ],
)
def test_what_is_not_comparable_never_shares_a_table(house, changed):
    write(add(house, "a"))
    write(add(house, "b"), **changed)
    frame = board.rows()
    found = board.groups(frame)
    assert len(found) == 2
    assert len({group.label for group in found}) == 2
    tables = [set(board.table(frame, group)["model"]) for group in found]
    assert sorted(tables, key=sorted) == [{"a", board.FLOOR}, {"b", board.FLOOR}]


def test_the_test_split_with_inception_comes_first(house):
    folder = add(house, "a")
    write(folder, file="report-val.json", split="val")
    write(folder, file="report-x.json", extractor={"name": "pixels-32", "sha256": "0" * 64})
    write(folder)
    first = board.groups(board.rows())[0]
    assert (first.split, first.extractor) == ("test", "inception-v3-2048 (7ff4a85c)")


def test_the_table_is_sorted_by_numbers_with_the_floor_on_top_and_the_missing_last(house):
    for name, fid in (("a", 100.0), ("b", 9.5), ("c", 30.0), ("d", None)):
        write(add(house, name), fid=fid)
    add(house, "e")
    frame = board.rows()
    assert board.table(frame)["model"].tolist() == [board.FLOOR, "b", "c", "a", "d", "e"]
    assert board.table(frame, sort_by="recall")["model"].tolist()[0] == board.FLOOR
    assert board.table(frame, sort_by="model")["model"].tolist()[1:] == ["a", "b", "c", "d", "e"]
    assert board.table(frame)["fid"].tolist()[:4] == [23.0, 9.5, 30.0, 100.0]
    with pytest.raises(MedgenError, match="no column 'beauty'"):
        board.table(frame, sort_by="beauty")


def test_higher_is_better_for_recall(house):
    for name, value in (("low", 0.1), ("high", 0.9)):
        folder = add(house, name)
        write(folder)
        values = json.loads((folder / "report.json").read_text())
        values["metrics"]["recall"]["value"] = value
        (folder / "report.json").write_text(json.dumps(values))
    assert board.table(board.rows(), sort_by="recall")["model"].tolist()[1:] == ["high", "low"]


def test_search_is_plain_text_in_name_title_and_family(house):
    write(add(house, "gan-cxr"))
    write(add(house, "ddpm-cxr"))
    frame = board.rows()
    assert set(board.table(frame, search="GAN")["model"]) == {"gan-cxr", board.FLOOR}
    assert set(board.table(frame, search="Title of ddpm")["model"]) == {"ddpm-cxr", board.FLOOR}
    assert set(board.table(frame, search="(")["model"]) == {board.FLOOR}


def test_a_measured_model_is_not_called_unmeasured_in_the_table_of_another_group(house):
    write(add(house, "a"))
    write(add(house, "b"), split="val")
    frame = board.rows()
    assert "b" not in set(board.table(frame, board.groups(frame)[0])["model"])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: text[:100], "cannot be read as JSON"),
        (lambda text: "[]", "one JSON object"),
        (lambda text: text.replace('"n_real": 584', '"n_real": "many"'), "n_real is missing or of the wrong type"),
        (lambda text: text.replace("30.0", '"thirty"'), "the metric fid does not hold numbers"),
        (lambda text: text.replace("30.0", "NaN"), "NaN is not JSON"),
        (lambda text: text.replace('"kid"', '"beauty"'), "there is no metric 'beauty'"),
        (lambda text: text.replace('"sha256": "7ff4', '"sha": "7ff4'), "extractor needs a name and a sha256"),
        (lambda text: text.replace('"weights": {', '"weights": [], "x": {'), "weights is missing or of the wrong type"),
        (lambda text: text.replace("aaaa", "bbbb"), "made with other weights"),
    ],
)
def test_a_broken_or_stale_report_is_a_row_that_says_so(house, damage, message, capsys):
    write(add(house, "good"))
    folder = add(house, "bad")
    write(folder)
    path = folder / "report.json"
    path.write_text(damage(path.read_text()))
    frame = board.rows().set_index("model")
    assert message in frame.loc["bad", "problem"]
    assert "bad/report.json" in frame.loc["bad", "problem"]
    assert frame.loc["bad", list(METRICS)].isna().all()
    assert frame.loc["good", "fid"] == 30.0
    assert "bad" in set(board.table(board.rows())["model"])
    assert board.main([]) == 1
    printed = capsys.readouterr()
    assert "| bad | noise | - |" in printed.out
    assert message in printed.err


def test_broken_cards_and_reports_without_a_card_are_rows(house):
    write(add(house, "good"))
    (house / "broken").mkdir()
    (house / "broken" / "card.json").write_text("{")
    (house / "orphan").mkdir()
    write(house / "orphan", fid=50.0)
    frame = board.rows().set_index("model")
    assert "card.json cannot be read" in frame.loc["broken", "problem"]
    assert "no card.json" in frame.loc["orphan", "problem"]
    assert {"broken", "orphan"} <= set(board.table(board.rows())["model"])


def test_only_broken_models_still_make_a_board(house):
    add(house, "a")
    frame = board.rows()
    assert board.groups(frame) == [board.NOT_MEASURED]
    assert board.table(frame, board.NOT_MEASURED)["model"].tolist() == ["a"]
    assert len(plots.recall_precision(board.table(frame)).data) == 0


def test_display_shows_a_dash_and_never_a_zero_for_a_missing_number(house):
    write(add(house, "a"), fid=None)
    shown = board.display(board.table(board.rows())).set_index("model")
    assert shown.loc["a", "fid"] == "-"
    assert shown.loc["a", "kid"] == "0.5000"
    assert shown.loc["a", "n_fake"] == "584"


def test_exports_can_be_read_back(house):
    write(add(house, "a_1"), fid=None)
    write(add(house, "b"))
    table = board.table(board.rows())
    back = pd.read_csv(io.StringIO(board.export(table, "csv"))).set_index("model")
    assert math.isnan(back.loc["a_1", "fid"])
    assert back.loc["b", "fid"] == 30.0
    records = {row["model"]: row for row in json.loads(board.export(table, "json"))}
    assert records["a_1"]["fid"] is None
    assert records["b"]["fid"] == 30.0
    latex = board.export(table, "latex")
    assert r"a\_1 & noise & 584 & - &" in latex
    assert r"b & noise & 584 & 30.00 [28.00, 32.00] &" in latex
    assert latex.count(rf"\begin{{tabular}}{{ll{'r' * (1 + len(METRICS))}}}") == 1
    with pytest.raises(MedgenError, match="no export as 'xlsx'"):
        board.export(table, "xlsx")


def test_latex_of_the_whole_board_keeps_groups_apart(house):
    write(add(house, "a"))
    write(add(house, "b"), split="val")
    assert board.export(board.rows(), "latex").count(r"\begin{tabular}") == 2


def test_the_plot_places_models_by_recall_and_precision(house):
    write(add(house, "a", family="gan"))
    write(add(house, "b", family="diffusion"), fid=None)
    add(house, "c")
    figure = plots.recall_precision(board.table(board.rows()))
    traces = {trace.name: trace for trace in figure.data}
    assert set(traces) == {"gan", "diffusion (no FID)", "real images (floor)"}
    gan = traces["gan"]
    assert (gan.x[0], gan.y[0], gan.marker.color[0]) == (0.5, 0.5, 30.0)
    assert gan.error_x.array[0] == pytest.approx(0.1)
    assert traces["real images (floor)"].x[0] == 0.85
    assert traces["diffusion (no FID)"].marker.color == "#555555"
    assert len({trace.marker.symbol for trace in figure.data}) == 3
    assert "2 models; 1 without these numbers" in figure.layout.title.text
    json.loads(figure.to_json())


def test_the_checkpoints_table_holds_full_runs_only_and_says_how_to_make_the_others(house):
    folder = add(house, "a")
    write(folder, file="report.json", fid=30.0)
    write(folder, file="report-x.json", fid=31.0, n_real=8, n_fake=8)
    write(folder, file="report-y.json", fid=32.0, n_fake=5000)
    write(folder, file="report-z.json", fid=33.0, n_real=900, n_fake=900, split="val")
    write(add(house, "b"), file="report-x.json", fid=34.0, n_real=8, n_fake=8)
    text = summary.summary()
    assert "| 30.0 (23.0) |" in text
    assert not [fid for fid in ("31.0", "32.0", "33.0", "34.0") if fid in text]
    assert "**b**: not measured; run `python -m eval.run b --protocol cxr-128`" in text


PER_CLASS = {
    "normal": {"n_real": 187, "n_fake": 178, "fid": 61.5, "kid": 0.2, "recall": 0.4},
    "viral_pneumonia": {"n_real": 123, "n_fake": 141, "kid": 0.1},
}


def test_label_by_label_with_n_and_a_gap_for_what_an_older_report_lacks(house):
    write(add(house, "a"), per_class=PER_CLASS)
    write(add(house, "b"), per_class={"normal": PER_CLASS["normal"]})
    write(add(house, "other"), n_fake=10, per_class=PER_CLASS)
    write(add(house, "stale"), per_class=PER_CLASS, weights={"model.safetensors": "b" * 64})
    frame = board.rows()
    found = board.classes(frame, board.groups(frame)[0])
    assert found[["label", "model"]].to_numpy().tolist() == [
        ["normal", "a"], ["normal", "b"], ["viral_pneumonia", "a"]
    ]  # fmt: skip
    assert found.loc[0, ["n_real", "n_fake", "fid", "recall"]].tolist() == [187, 178, 61.5, 0.4]
    assert math.isnan(found.loc[2, "fid"]) and found.loc[2, "kid"] == 0.1
    assert board.classes(frame, board.NOT_MEASURED).empty
    page = tab.draw_classes(None)
    assert "61.50" in page and "biased upwards" in page and "<td>-</td>" in page
    assert "stale" not in page and "other" not in page


@pytest.mark.parametrize("broken", [[], {"normal": 3}, {"normal": {"fid": "low"}}])
def test_broken_numbers_of_a_label_are_a_broken_report(house, broken):
    write(add(house, "a"), per_class=broken)
    assert "per_class" in board.rows().set_index("model").loc["a", "problem"]


def test_a_model_of_two_data_sets_waits_in_the_tables_of_both(house):
    write(add(house, "a"))
    write(add(house, "b"), protocol="nih-128", data="nih_cxr_128")
    write(add(house, "c"), protocol="cxr-256", data="kermany_cxr_256")
    card = ModelCard.read(add(house, "both") / "card.json")
    replace(card, data="kermany_cxr_128+nih_cxr_128").save(house / "both")
    frame = board.rows()
    there = {group.protocol: "both" in set(board.table(frame, group)["model"]) for group in board.groups(frame)}
    assert there == {"cxr-128": True, "nih-128": True, "cxr-256": False}
    write(house / "both")
    write(house / "both", file="report-nih-128.json", protocol="nih-128", data="nih_cxr_128", fid=77.0)
    frame = board.rows()
    shown = {g.protocol: board.table(frame, g).set_index("model")["fid"] for g in board.groups(frame)}
    assert (shown["cxr-128"]["both"], shown["nih-128"]["both"]) == (30.0, 77.0)
    text = summary.summary()
    assert text.count("| [both](both/card.json) |") == 2 and "| cxr-128 | 30.0 (23.0) |" in text
    assert "| nih-128 | 77.0 (23.0) |" in text and "1. **both**, nih-128: FID 3.3 times the floor" in text


def test_controls_that_nobody_measured_are_said_not_drawn(house):
    card = ModelCard.read(add(house, "plain") / "card.json")
    adherence, sweep, curves, severity, region, notes = tab.draw_control()
    assert adherence == severity == region == "" and "No model here takes a label." in notes
    controls = ("label", "guidance", "severity", "region")
    replace(card, labels=("<b>normal",), controls=controls).save(house / "plain")
    adherence, sweep, curves, severity, region, notes = tab.draw_control()
    assert sweep == curves == gr.update(value=None, visible=False)
    assert all("not measured" in table for table in (adherence, severity, region))
    assert notes == "Guidance sweep not measured: plain."
    (house / "plain" / "pathology.json").write_text("{")
    assert "plain/pathology.json cannot be read" in tab.draw_control()[-1]
    assert "| plain | not measured | - |" in summary.summary()


def test_the_board_imports_neither_torch_nor_plotly():
    code = "import sys, eval.board, eval.plots; print([m for m in ('torch', 'plotly', 'gradio') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_names_of_models_close_together_do_not_lie_on_each_other():
    frame = pd.DataFrame({"recall": [0.0, 0.0, 0.9], "precision": [0.026, 0.002, 0.8]})
    assert [plots._place(row, frame) for row in frame.itertuples()] == ["top right", "middle right", "top left"]
