"""What a learning curve says of its end."""

import json
from pathlib import Path

import pytest
from board_fakes import add

from eval import learning, summary
from eval.learning import Curve
from medgen.errors import MedgenError


def curve(*values: float) -> Curve:
    return Curve("a", tuple((1000 * (i + 1), value) for i, value in enumerate(values)))


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (curve(1.0, 0.8, 0.64, 0.52, 0.42, 0.34), "still falling: 46.9 % over the last half"),
        (curve(1.0, 0.5, 0.5, 0.5, 0.5, 0.499), "flat: 0.2 %"),
        (curve(0.9, 0.5, 0.56, 0.47, 0.55, 0.48), "flat: "),
        (curve(0.5, 0.4, 0.5, 0.6, 0.7), "flat: -75.0 %"),
        (curve(1.0, 0.5, 0.2), "too few validations (3)"),
    ],
)
def test_the_end_of_a_curve_is_judged_by_its_second_half_and_its_own_scatter(found, words):
    assert found.verdict.startswith(words)


def test_a_curve_is_drawn_from_high_to_low_and_no_longer_than_a_line():
    drawn = curve(*(1.0 / (i + 1) for i in range(100))).drawn
    assert drawn[0] == "█" and drawn[-1] == "▁" and len(drawn) <= 26
    assert curve(0.5, 0.5).drawn == "▁▁"


def test_curves_come_from_the_logs_and_stand_in_the_summary(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDGEN_CHECKPOINTS", str(tmp_path))
    monkeypatch.setenv("MEDGEN_RESULTS", str(tmp_path / "results"))
    folder = add(tmp_path, "a")
    assert learning.section() == "" and learning.curve(folder) is None
    rows = [{"step": 1, "images": 8, "loss": 3.0}]
    rows += [{"step": i, "images": 100 * i, "metric": 1.0 / i} for i in range(1, 9)]
    (folder / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert learning.curve(folder).points[-1] == (800, 0.125)
    assert "| a | █" in summary.summary() and "still falling: 50.0 %" in summary.summary()
    (folder / "log.jsonl").write_text('{"metric": 1.0}\n')
    with pytest.raises(MedgenError, match="cannot be read"):
        learning.curve(Path(folder))
