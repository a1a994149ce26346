"""Which model is better: tests that find a difference that is there, and no other."""

import json

import numpy as np
import pytest
from test_metrics import gaussian

from eval import compare_file, comparison, halves
from eval.features import Extractor
from medgen import MedgenError

SPACE = Extractor("made up", "0" * 64, 8, ("fid", "kid"), lambda pixels: pixels)
SUBJECTS = [f"p{i // 2}" for i in range(120)]


def judged(*shifts: float) -> dict[str, comparison.Judged]:
    real = gaussian(120, 8)
    split = halves.drawn(120, 120, SUBJECTS, 60)
    return {
        f"m{i}": comparison.judge(real, gaussian(120, 8, seed=i + 1, shift=shift), SPACE, 5, split)
        for i, shift in enumerate(shifts)
    }


def test_a_better_model_is_found_and_equal_ones_are_not_told_apart():
    found = {(one["metric"], one["a"], one["b"]): one for one in comparison.tests(judged(0.1, 0.1, 0.8), 120)}
    assert len(found) == 3 * 6
    for metric in ("fid", "kid", "precision", "coverage"):
        if metric != "coverage":  # a chance in twenty befalls it here; see the test of how often that happens
            assert found[metric, "m0", "m1"]["verdict"] == "not distinguishable", metric
        for other in ("m0", "m1"):
            one = found[metric, other, "m2"]
            assert (one["verdict"], one["better"]) == ("A better", other), metric
            assert one["low"] * one["high"] > 0 and one["p"] <= one["p_holm"] < 0.05
    assert found["fid", "m0", "m2"]["difference"] < 0 < found["coverage", "m0", "m2"]["difference"]
    assert all(one["low"] <= one["difference"] <= one["high"] and one["n"] == 120 for one in found.values())


def test_the_better_one_is_named_whichever_comes_first():
    found = {one["metric"]: one for one in comparison.tests(judged(0.8, 0.1), 120)}
    assert found["fid"]["verdict"] == found["coverage"]["verdict"] == "B better"
    assert found["fid"]["better"] == "m1"


def test_a_model_compared_with_its_copy_is_not_distinguishable():
    one = judged(0.3)["m0"]
    for test in comparison.tests({"a": one, "b": one}, 120):
        assert test["difference"] == 0 and test["p_holm"] == 1.0 and test["better"] is None


@pytest.mark.parametrize("shift", [0.0, 0.4])
def test_equal_models_are_told_apart_as_seldom_as_promised(shift):
    """Two draws of one model: p below 0.05 about once in twenty, whatever the metric."""
    small: dict[str, int] = {}
    for seed in range(60):
        real = gaussian(60, 4, seed=10_000 + seed)
        split = halves.drawn(60, 60, SUBJECTS[:60], 40)
        pair = {
            name: comparison.judge(real, gaussian(60, 4, seed=place + 2 * seed, shift=shift), SPACE, 5, split)
            for place, name in ((1, "a"), (2, "b"))
        }
        for test in comparison.tests(pair, 60):
            small[test["metric"]] = small.get(test["metric"], 0) + (test["p"] < 0.05)
    assert all(count <= 8 for count in small.values()), small


def test_holm_corrects_step_by_step():
    assert comparison.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert comparison.holm([0.5, 0.9]) == [1.0, 1.0]


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(MedgenError, match="at least two models"):
        comparison.tests(judged(0.1), 120)
    few = comparison.judge(gaussian(120, 8), gaussian(60, 8), SPACE, 5, halves.drawn(120, 60, SUBJECTS, 3))
    with pytest.raises(MedgenError, match="different numbers of generated images"):
        comparison.tests({**judged(0.1), "few": few}, 120)
    with pytest.raises(MedgenError, match="NaN"):
        comparison.judge(gaussian(120, 8), np.full((120, 8), np.nan), SPACE, 5, halves.drawn(120, 120, SUBJECTS, 3))


def test_broken_files_are_named_and_do_not_hide_the_others(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDGEN_RESULTS", str(tmp_path))
    values = {
        "protocol": "good", "data": "x", "split": "test", "n": 120, "n_subjects": 60, "rule": "r", "real_sha256": "s",
        "models": {"m0": {"weights": {}}}, "extractors": {"made up": {"sha256": "0"}},
        "tests": [{"space": "made up", **one} for one in comparison.tests(judged(0.1, 0.8), 120)],
    }  # fmt: skip
    (tmp_path / "comparison-good.json").write_text(json.dumps(values))
    (tmp_path / "comparison-other.json").write_text(json.dumps(values))
    (tmp_path / "comparison-cut.json").write_text(json.dumps(values)[:300])
    unknown = {**values, "protocol": "unknown", "tests": [{**values["tests"][0], "metric": "beauty"}]}
    (tmp_path / "comparison-unknown.json").write_text(json.dumps(unknown))
    frame, problems = compare_file.tests()
    assert set(frame["protocol"]) == {"good"} and len(frame) == 6
    assert len(problems) == 3 and "beauty" in problems[2] and "is about good" in problems[1]
    assert "m0 is better" in compare_file.summary(values)
