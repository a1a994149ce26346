"""`python -m eval.board --check`: a number that no file backs is named, wherever it stands."""

from pathlib import Path

import pytest
from board_fakes import add, collapse, downstream, memorisation, reference, references, save, selftest, write

from eval import board, check, summary
from medgen import MedgenError, ModelCard

SHA = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"  # of b"test"


@pytest.fixture(autouse=True)
def house(tmp_path, monkeypatch) -> Path:
    """Two measured models with their weights, an unmeasured one, references, studies and the README of all."""
    folder, results = tmp_path / "checkpoints", tmp_path / "results"
    monkeypatch.setenv("MEDGEN_CHECKPOINTS", str(folder))
    monkeypatch.setenv("MEDGEN_RESULTS", str(results))
    weights = {"model.safetensors": SHA}
    per_class = {"normal": {"n_real": 187, "n_fake": 178, "fid": 61.5}}
    for name, fid in (("a", 30.0), ("b", 45.0)):
        write(add(folder, name, weights=weights), fid=fid, weights=weights, per_class=per_class)
        (folder / name / "model.safetensors").write_bytes(b"test")
    add(folder, "waits", weights={})
    references(results, reference("noise"), reference("train_copies"))
    for make in (collapse, downstream, selftest):
        make(results)
    (folder / "README.md").write_text(summary.summary())
    return folder


def faults(*exported: Path) -> str:
    return "\n".join(check.check(exported).faults)


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_a_board_of_files_alone_is_backed_and_is_looked_up_whole(house, capsys):
    found = check.check()
    assert found.faults == []
    # two models, a floor and two references of 13 metrics with ends; labels; three studies; README
    assert found.numbers > 150 and found.tables >= 8
    assert board.main(["--check"]) == 0
    assert "no faults" in capsys.readouterr().out


def test_a_cell_of_the_readme_typed_by_hand_is_named(house, capsys):
    change(house / "README.md", "| 30.0 (23.0) |", "| 20.0 (23.0) |")
    said = faults()
    assert "README.md" in said and "[a](a/card.json)" in said and "FID (floor): 20.0 (23.0)" in said and "30.0" in said
    assert board.main(["--check"]) == 1
    assert "20.0 (23.0)" in capsys.readouterr().err


def test_a_row_and_a_sentence_of_the_readme_that_nobody_measured_are_named(house):
    lines = (house / "README.md").read_text().splitlines()
    place = next(i for i, line in enumerate(lines) if line.startswith("| [b]"))
    lines.insert(place, lines[place].replace("[b](b/", "[best](best/"))
    lines.append("1. **best**: FID 1.0 times the floor.")
    (house / "README.md").write_text("\n".join(lines))
    assert "no file backs this row" in faults() and "FID 1.0 times the floor" in faults()
    (house / "README.md").write_text("\n".join(line for line in lines if not line.startswith("| [b]")))
    assert "lacks the row [b]" in faults()


@pytest.mark.parametrize("kind", ["csv", "json"])
def test_a_row_of_an_export_that_was_changed_is_named(house, tmp_path, kind):
    frame = board.rows()
    path = tmp_path / f"board.{kind}"
    path.write_text(board.export(board.table(frame), kind))
    assert faults(path) == ""
    change(path, "45.0", "25.0")
    assert f"board.{kind}, b: fid is 25.0, but its file gives 45.0." in faults(path)
    path.write_text(board.export(board.table(frame), kind).replace("train_copies", "dream").replace("0.85", "0.95"))
    said = faults(path)
    assert f"board.{kind}, dream: no report backs" in said and f"board.{kind}, real: recall is 0.95" in said


def test_a_floor_and_a_reference_without_a_report_are_named(house, tmp_path):
    path = tmp_path / "board.csv"
    path.write_text(board.export(board.table(board.rows()), "csv"))
    for report in house.glob("*/report.json"):
        report.unlink()
    said = faults(path)
    assert "board.csv, real: no report backs" in said and "board.csv, a: no report backs" in said
    (tmp_path / "results" / "references-cxr-128.json").unlink()
    assert "board.csv, noise: no report backs" in faults(path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"seconds_per_image": 0.1', '"seconds_per_image": 0.01', "seconds_per_image is 0.01, but its file gives 0."),
        (
            '"seconds_per_image": 0.1', '"cpu_seconds_per_image": 0.05, "seconds_per_image": 0.1',
            "cpu_seconds_per_image is 0.05, but its file gives nothing",
        ),
        (SHA, "0" * 64, "a/report.json was made with other weights"),
        ('"n_fake": 584', '"n_fake": "many"', "n_fake is missing or of the wrong type"),
    ],
)  # fmt: skip
def test_a_report_that_contradicts_itself_or_its_card_is_named(house, old, new, message):
    change(house / "a" / "report.json", old, new)
    assert message in faults()


def test_weights_that_are_not_those_of_the_card_are_named(house):
    (house / "a" / "model.safetensors").write_bytes(b"other")
    assert "a: model.safetensors is not the file whose sha256 the card names." in faults()


def test_a_board_that_displays_another_number_is_caught(house, monkeypatch):
    table, classes = board.table, board.classes

    def bent(*asked):
        shown = table(*asked)
        shown.loc[shown["model"].isin(["b", board.FLOOR]), "kid"] += 0.001
        return shown

    monkeypatch.setattr(board, "table", bent)
    said = faults()
    assert "b: kid is 0.501, but its file gives 0.5." in said and "real: kid is 0.851, but its file gives 0.85." in said
    monkeypatch.setattr(board, "table", table)
    monkeypatch.setattr(board, "classes", lambda *asked: classes(*asked).assign(fid=1.0))
    assert "a, normal: fid is 1.0, not 61.5." in faults()


def test_a_study_that_displays_another_number_or_is_broken_is_caught(house, tmp_path, monkeypatch):
    from eval import studies

    entry = studies.STUDIES["collapse"]
    one = entry.tables
    bent = lambda values, pick: [(said, shown.replace("1,000", "1,001")) for said, shown in one(values, pick)]  # noqa: E731
    monkeypatch.setitem(studies.STUDIES, "collapse", entry.__class__(**{**entry.__dict__, "tables": bent}))
    assert "falling, Images seen: 1,001 is not in the files." in faults()
    path = tmp_path / "results" / "selftest-cxr-128.json"
    path.write_text(path.read_text()[:-30])
    assert "selftest-cxr-128.json cannot be read as JSON" in faults()


def test_a_memorisation_of_other_weights_is_named(house):
    path = memorisation(house / "a", alarm=False, weights={"model.safetensors": SHA})
    assert faults() == ""
    change(path, SHA, "1" * 64)
    assert "a/memorisation.json was made with other weights" in faults()
    path.write_text("{")
    assert "a/memorisation.json cannot be read" in faults()


def test_a_file_that_is_no_table_of_a_board_is_refused(tmp_path, capsys):
    path = tmp_path / "other.csv"
    path.write_text("x,y\n1,2\n")
    with pytest.raises(MedgenError, match="no table of a board"):
        check.check([path])
    assert board.main(["--check", str(tmp_path / "gone.csv")]) == 2
    assert "gone.csv cannot be read as a table" in capsys.readouterr().err


def test_a_report_beside_a_broken_card_is_checked_without_falling_over(house):
    (house / "a" / "card.json").write_text("{")
    (house / "odd").mkdir()
    save(house / "odd" / "report.json", {"metrics": 3})
    assert "a/card.json cannot be read" in faults() and "odd/report.json" in faults()
    assert isinstance(ModelCard.read(house / "b" / "card.json"), ModelCard)
