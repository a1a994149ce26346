"""Shortcuts of a model (other steps, guidance, runtime) are rows of their own beside it, and nothing else than rows."""

from pathlib import Path

import pytest
from board_fakes import add, write

from demos import tables
from eval import board, check, spaces, summary, variants
from medgen import ModelCard

CARD = ModelCard("a", "diffusion", "A", "CR", "au", (0.0, 255.0), (1, 8, 8), "MIT", "", steps=6, guidance=2.0)


@pytest.fixture(autouse=True)
def house(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("MEDGEN_CHECKPOINTS", str(tmp_path / "checkpoints"))
    monkeypatch.setenv("MEDGEN_RESULTS", str(tmp_path / "results"))
    monkeypatch.delenv("MEDGEN_DATA", raising=False)
    return tmp_path / "checkpoints"


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ((6, 2.0, "torch"), ""),
        ((None, None, "torch"), ""),
        ((1, 2.0, "torch"), "1 step"),
        ((12, 1.0, "torch"), "12 steps, guidance 1"),
        ((6, 2.0, "openvino-bf16"), "OpenVINO bfloat16"),
    ],
)
def test_a_variant_says_what_differs_from_the_card_and_nothing_else(asked, said):
    assert variants.words(CARD, *asked) == said


def test_files_of_variants_differ_and_are_no_reports():
    assert variants.stem("12 steps, guidance 1") == "variant-12-steps-guidance-1"
    assert not variants.stem("1 step").startswith("report")


def test_a_variant_is_a_row_beside_its_model_with_numbers_of_its_own(house):
    folder = add(house, "a")
    classes = {"normal": {"n_real": 9, "n_fake": 9, "fid": 1.0}}
    write(folder, fid=30.0, per_class=classes)
    write(
        folder,
        file="variant-2-steps.json",
        fid=40.0,
        per_class={"normal": {**classes["normal"], "fid": 2.0}},
        variant="2 steps",
        steps=2,
        created="2026-01-01",
    )
    add(house, "b")
    frame = board.rows()
    (group,) = board.groups(frame)
    shown = board.table(frame, group)
    assert shown["model"].tolist() == [board.FLOOR, "a", "a", "b"]
    assert shown["fid"].tolist()[1:3] == [30.0, 40.0]
    assert shown["title"].tolist()[1:3] == ["Title of a", "Title of a, 2 steps"]
    assert "Title of a, 2 steps" in tables.results(shown, "")
    assert "a, 2 steps" in board.export(shown, "markdown")
    assert check.check().faults == []
    write(folder, file="variant-2-steps.json", fid=40.0, variant="2 steps", weights={"model.safetensors": "b" * 64})
    assert "other weights" in " ".join(board.rows()["problem"])


def test_rankings_classes_and_the_summary_are_about_what_the_card_says(house):
    space = {"name": "pixels-32", "sha256": "0" * 64}
    for name, fid in (("a", 30.0), ("b", 35.0)):
        folder = add(house, name)
        for file, changed in (("report.json", {}), ("report-test-pixels-32-584.json", {"extractor": space})):
            write(folder, file=file, fid=fid, per_class={"normal": {"n_real": 9, "n_fake": 9, "fid": 1.0}}, **changed)
    write(house / "a", file="variant-2-steps.json", fid=99.0, variant="2 steps", per_class={"normal": {"fid": 5.0}})
    frame = board.rows()
    (ranking,) = spaces.rankings(frame)
    assert sorted(ranking.values.to_numpy().flatten()) == [30.0, 30.0, 35.0, 35.0]
    assert board.classes(frame, board.groups(frame)[0])["fid"].tolist() == [1.0, 1.0]
    said = summary.summary()
    assert "99.0" not in said and "30.0" in said


def test_a_model_that_only_a_variant_measures_still_has_its_row(house):
    write(add(house, "a"), file="variant-2-steps.json", variant="2 steps")
    assert board.table(board.rows())["title"].tolist() == ["Title of a, 2 steps"]
