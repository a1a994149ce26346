"""The bench: ways in turns, values compared in the same run, medians, and ratios that say what they are of."""

import json

import numpy as np
import pytest

from eval import bench, bench_cold, bench_image, bench_metrics
from medgen import MedgenError, turns
from medgen.turns import Contest, Gap

RATIOS = {
    "image_128_student", "image_128_teacher", "volume_64", "features", "fid_trace", "knn_time", "knn_memory", "ssim",
    "cold_start",
}  # fmt: skip


def contest(called: list, made: dict | None = None, **options) -> Contest:
    """Two ways that note their calls."""

    def way(name):
        return lambda seed: called.append((name, seed)) or (made or {}).get(name)

    return Contest({"stock": way("stock"), "ours": way("ours")}, {"key": "ours"}, **options)


def apart(made) -> list[Gap]:
    return [Gap("ours", "a value", abs(made["ours"] - made["stock"]), 0.1)]


def test_ways_take_turns_and_the_first_round_is_not_counted():
    called = []
    rows = turns.measured(contest(called), 2)["rows"]
    assert called == [("stock", 0), ("ours", 0), ("stock", 1), ("ours", 1), ("stock", 2), ("ours", 2)]
    assert [(row["way"], row["repeat"]) for row in rows] == [("stock", 0), ("ours", 0), ("stock", 1), ("ours", 1)]
    assert all(row["cpu_seconds"] >= 0 and row["seconds"] >= 0 for row in rows)


def test_a_slow_way_is_called_no_more_often_than_it_is_counted():
    called = []
    rows = turns.measured(contest(called, slow=frozenset({"stock"})), 2)["rows"]
    assert [name for name, _ in called] == ["stock", "ours", "stock", "ours", "ours"]
    assert [(row["way"], row["repeat"]) for row in rows] == [("stock", 0), ("stock", 1), ("ours", 0), ("ours", 1)]


def test_cpu_time_includes_that_of_processes_which_a_way_starts():
    def child(seed: int) -> None:
        with pytest.raises(MedgenError, match=r"eval\.bench_metrics nothing failed"):
            turns.said("eval.bench_metrics", "nothing")  # it has imported NumPy by then

    (row,) = turns.measured(Contest({"child": child}, {}, slow=frozenset({"child"})), 1)["rows"]
    assert row["cpu_seconds"] > 0.05


def test_values_are_compared_and_a_difference_beyond_the_tolerance_is_an_error():
    found = turns.measured(contest([], {"stock": 1.0, "ours": 1.05}, gaps=apart), 1)
    assert found["gaps"][0]["value"] == pytest.approx(0.05) and found["gaps"][0]["allowed"] == 0.1
    for wrong in (1.2, float("nan")):
        with pytest.raises(MedgenError, match="ours: a value differs by"):
            turns.measured(contest([], {"stock": 1.0, "ours": wrong}, gaps=apart), 1)


def test_a_ratio_is_of_medians_and_of_what_the_contest_measures():
    cpu = {"stock": (8.0, 6.0, 10.0), "ours": (2.0, 4.0, 1.0), "fewer": (1.0, 1.0, 1.0)}
    rows = [
        {"case": "a", "threads": threads, "way": way, "repeat": i, "cpu_seconds": value * threads, "seconds": 1.0,
         "extra_mib": 10.0 if way == "stock" else 1.0}
        for threads in (1, 2)
        for way, values in cpu.items()
        for i, value in enumerate(values)
    ]  # fmt: skip
    found = bench.summary(rows)
    assert [(row["way"], row["ratio"]) for row in found[:3]] == [("stock", 1.0), ("ours", 4.0), ("fewer", 8.0)]
    assert (found[3]["median_cpu_seconds"], found[3]["least_cpu_seconds"]) == (16.0, 12.0)
    assert [row["ratio"] for row in bench.summary(rows, "extra_mib")[:3]] == [1.0, 10.0, 10.0]
    assert "4.0x" in bench.table({"summary": found, "gaps": [], "skipped": {}})


def test_the_ratios_that_were_asked_for_are_there_and_each_is_of_one_case():
    keys = [key for case in bench.CASES.values() for key in case.ratios]
    assert set(keys) >= RATIOS and len(keys) == len(set(keys))
    assert bench.asked(["image_128_student", "image_128"]) == ["image_128"]
    assert bench.asked([]) == list(bench.CASES)


@pytest.fixture
def answers(monkeypatch):
    """Cases whose processes answer from here: contest -> what `medgen.turns` would print, or an error."""
    found = {}

    def said(*words, environment):
        answer = found[words[1]]
        if isinstance(answer, MedgenError):
            raise answer
        return answer

    monkeypatch.setattr(bench, "said", said)
    monkeypatch.setattr(
        bench, "CASES", {"a": bench.Case("a", ("a_one", "a_two"), threads=(1, 2)), "b": bench.Case("b", ("b",))}
    )
    return found


def answer(skipped: dict | None = None, **ratios) -> dict:
    rows = [
        {"way": way, "repeat": 0, "cpu_seconds": seconds, "seconds": seconds}
        for way, seconds in (("stock", 6.0), ("ours", 2.0))
    ]
    return {"rows": rows, "gaps": [], "ratios": ratios, "skipped": skipped or {}, "measure": "cpu_seconds"}


def test_what_is_missing_is_said_and_the_others_are_measured(answers, tmp_path, capsys):
    answers |= {"a": answer({"a_two": "there is no student"}, a_one="ours"), "b": answer(b="ours")}
    out = tmp_path / "bench.json"
    assert bench.main(["--out", str(out)]) == 0
    found = json.loads(out.read_text(encoding="utf-8"))
    assert found["ratios"] == {"a_one": 3.0, "a_two": None, "b": 3.0}
    assert found["skipped"] == {"a_two": "there is no student"} and found["failed"] == {}
    assert len(found["rows"]) == 8 and {row["threads"] for row in found["rows"]} == {1, 2}
    assert "a_two is skipped: there is no student" in capsys.readouterr().out


def test_a_case_that_fails_is_an_error_keeps_no_ratio_and_stops_no_other(answers, tmp_path, capsys):
    answers |= {"a": answer(a_one="ours", a_two="ours"), "b": answer(b="ours")}
    out = tmp_path / "bench.json"
    assert bench.main(["--out", str(out)]) == 0
    answers["a"] = MedgenError("values differ")
    assert bench.main(["--out", str(out), "--threads", "1"]) == 1
    found = json.loads(out.read_text(encoding="utf-8"))
    assert found["ratios"] == {"a_one": None, "a_two": None, "b": 3.0}
    assert found["failed"] == {"a": "values differ"} and {row["case"] for row in found["rows"]} == {"b"}
    assert "a                  FAILED: values differ" in capsys.readouterr().out


def test_cases_that_were_not_asked_for_stay_as_they_were_measured(answers, tmp_path):
    answers |= {"a": answer(a_one="ours", a_two="ours"), "b": answer(b="ours")}
    out = tmp_path / "bench.json"
    bench.main(["--out", str(out)])
    before = json.loads(out.read_text(encoding="utf-8"))
    answers["b"]["rows"][1]["cpu_seconds"] = 1.0
    bench.main(["b", "--out", str(out), "--threads", "1"])
    after = json.loads(out.read_text(encoding="utf-8"))
    assert after["ratios"] == {"a_one": 3.0, "a_two": 3.0, "b": 6.0}
    kept = [[row for row in found["rows"] if row["case"] == "a"] for found in (before, after)]
    assert kept[0] == kept[1] and after["cases"]["a"] == before["cases"]["a"]


@pytest.mark.parametrize(
    ("arguments", "words"), [(["volume_65"], "no case 'volume_65'"), (["--repeats", "0"], "at least 1")]
)
def test_what_cannot_be_measured_is_refused(arguments, words):
    with pytest.raises(MedgenError, match=words):
        bench.main(arguments)


# the contests themselves, small


def test_a_student_that_is_not_there_is_skipped_with_what_to_do(monkeypatch):
    monkeypatch.setattr(bench_image, "STUDENT", "no-such-student")
    monkeypatch.setattr(bench_image, "_ours", lambda name, n, guidance=None: None)
    found = bench_image.image_128()
    assert list(found.ratios) == ["image_128_teacher", "image_128_unguided"]
    assert "no no-such-student among the checkpoints" in found.skipped["image_128_student"]
    assert 9e6 < sum(p.numel() for p in bench_image.stock_network().parameters()) < 12e6


@pytest.mark.parametrize("name", ["fid_trace", "knn_time", "ssim"])
def test_our_metrics_agree_with_the_stock_ones_within_what_the_case_allows(name, monkeypatch):
    for size, small in (("_FID_SIZE", (40, 64)), ("_KNN_SIZE", (60, 8)), ("_SSIM_IMAGES", 2), ("_SSIM_SIDE", 48)):
        monkeypatch.setattr(bench_metrics, size, small)
    found = turns.measured(getattr(bench_metrics, name)(), 1)
    assert found["gaps"] and all(gap["value"] <= gap["allowed"] for gap in found["gaps"])
    assert set(found["ratios"]) == {name}


def test_two_pictures_of_one_seed_may_differ_by_rounding_alone():
    one = np.full((8, 8), 0.5)
    (near,) = bench_cold.gaps({"torch and diffusers": one, "medgen.load(...).sample(...)": one + 0.01})
    (far,) = bench_cold.gaps({"torch and diffusers": one, "medgen.load(...).sample(...)": one.T * 1.2})
    assert near.value <= near.allowed and far.value > far.allowed
