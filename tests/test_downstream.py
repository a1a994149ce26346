"""`python -m eval.downstream`: what is trained on what, what is counted, and what a killed study leaves behind."""

import json
from dataclasses import replace

import numpy as np
import pytest
from sklearn import metrics as sklearn

from eval import downstream_file, downstream_plot
from eval import downstream_findings as findings
from eval.downstream import __main__ as command
from eval.downstream import learner, plan, pools, results, scores, study
from medgen import MedgenError, data

DATA = "kermany_cxr_128"
QUICK = replace(plan.SETTINGS, side=16, steps=4, batch=8, channels=(4, 4, 8, 8))


@pytest.fixture
def here(made_up_data, tmp_path, monkeypatch):
    """A study on 24 made-up train pictures, whose sizes are 8, 16 and all."""
    monkeypatch.setenv("MEDGEN_DATA", str(made_up_data))
    monkeypatch.setenv("MEDGEN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(plan, "SIZES", ("8", "16", "all"))
    monkeypatch.setattr(results, "SIZES", ("8", "16", "all"))
    monkeypatch.setattr(study, "POOL_LEAST", 16)
    return study.ready(DATA, tmp_path / "cells", QUICK)


@pytest.fixture
def pool(here):
    """48 pictures that look like a pool of stylegan2-cxr-128."""
    rng = np.random.default_rng(0)
    labels = [plan.STUDIES[DATA].classes[i % 3] for i in range(48)]
    images = rng.integers(0, 256, (48, 1, 128, 128)).astype(np.uint8)
    return pools.Pool(None, images, labels, {"weights": {}})


def some_probabilities(count=60, classes=3, seed=0):
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes, count)
    table = rng.dirichlet(np.ones(classes), count) + 0.3 * np.eye(classes)[truth]
    return table / table.sum(axis=1, keepdims=True), truth


def test_every_measure_is_that_of_scikit_learn():
    table, truth = some_probabilities()
    found = {name: value[0] for name, value in scores.measures(table, truth, np.ones((1, 60))).items()}
    guess = table.argmax(axis=1)
    assert found["accuracy"] == pytest.approx(sklearn.accuracy_score(truth, guess))
    assert found["auc"] == pytest.approx(sklearn.roc_auc_score(truth, table, multi_class="ovr"))
    assert found["precision"] == pytest.approx(sklearn.precision_score(truth, guess, average="macro"))
    assert found["recall"] == pytest.approx(sklearn.balanced_accuracy_score(truth, guess))
    brier = np.mean([np.sum((row - np.eye(3)[c]) ** 2) for row, c in zip(table, truth, strict=True)])
    assert found["brier"] == pytest.approx(brier)


def test_weights_count_a_picture_as_often_as_they_say():
    table, truth = some_probabilities()
    times = np.random.default_rng(1).integers(0, 3, 60)
    rows = np.repeat(np.arange(60), times)
    weighted = scores.measures(table, truth, times[None].astype(float))
    repeated = scores.measures(table[rows], truth[rows], np.ones((1, len(rows))))
    for name in weighted:
        assert weighted[name] == pytest.approx(repeated[name]), name


def test_a_calibrated_classifier_has_no_calibration_error_and_a_boaster_has():
    truth = np.array([0] * 70 + [1] * 30)
    honest, boaster = np.tile([0.7, 0.3], (100, 1)), np.tile([1.0, 0.0], (100, 1))
    one = np.ones((1, 100))
    assert scores.measures(honest, truth, one)["ece"][0] == pytest.approx(0.0, abs=1e-12)
    assert scores.measures(boaster, truth, one)["ece"][0] == pytest.approx(0.3)


def test_a_class_nobody_predicts_has_no_precision_and_a_class_nobody_has_no_recall():
    truth, table = np.array([0, 0, 1, 1]), np.tile([0.9, 0.1, 0.0], (4, 1))
    found = scores.measures(table, truth, np.ones((1, 4)))
    assert np.isnan(found["precision/1"][0]) and np.isnan(found["recall/2"][0]) and np.isnan(found["auc/2"][0])
    assert found["precision"][0] == pytest.approx(0.5 / 3)


def test_resamples_draw_patients_with_all_their_pictures():
    weights = scores.resamples(["a", "a", "b", "c"], repeats=50)
    assert (weights[0] == 1).all() and weights.shape == (51, 4)
    assert (weights[:, 0] == weights[:, 1]).all() and not (weights[:, 0] == weights[:, 2]).all()


def test_fewer_real_images_are_the_first_of_more_and_come_patient_by_patient(here):
    few, many = (study.real_images(here, n, seed=3) for n in (8, 16))
    assert few.subjects == many.subjects[:8] and np.array_equal(few.pixels, many.pixels[:8])
    assert study.real_images(here, 8, seed=4).subjects != few.subjects
    assert not set(here.train.subjects) & set(here.test.subjects)


def test_the_plan_has_every_cell_once_and_patterns_choose():
    every = plan.cells(("a", "b"))
    assert len(every) == len({cell.key for cell in every}) == 3 * 5 * (2 + 5 * 2)
    chosen = plan.cells(("a", "b"), ["real_50/a/100/*"])
    assert [cell.key for cell in chosen] == [f"real_50/a/100/{seed}" for seed in range(5)]
    with pytest.raises(MedgenError, match="No cell fits 'real_500"):
        plan.cells(("a",), ["real_500/*"])


def test_the_classes_of_adults_are_no_finding_and_any():
    adults = plan.STUDIES["nih_cxr_128"]
    assert adults.truth(["No Finding", "Edema", "Atelectasis|Pneumonia"]).tolist() == [0, 1, 1]
    with pytest.raises(MedgenError, match="none of the classes"):
        plan.STUDIES[DATA].truth(["Edema"])


@pytest.mark.parametrize(("arm", "real", "synthetic"), [
    ("real", 8, 0), ("augmented", 8, 0), ("synthetic", 0, 8), ("real_50", 8, 4), ("real_200", 8, 16),
    ("pretrained", 8, 8),
])  # fmt: skip
def test_each_arm_is_trained_on_what_its_name_says(here, pool, arm, real, synthetic):
    model = "stylegan2-cxr-128" if plan.ARMS[arm].share else None
    cell = plan.Cell(arm, model, "8", 0)
    file = study.train(here, cell, pool if model else None)
    assert (file["n_real"], file["n_synthetic"]) == (real, synthetic)
    assert len(file["probabilities"]) == len(here.test)
    assert study.finished(here, cell, pool) == json.loads(here.path(cell).read_text())


def test_a_training_is_repeatable_and_follows_its_seed(here):
    first, again, other = (study.train(here, plan.Cell("real", None, "8", seed), None) for seed in (0, 0, 1))
    assert first["probabilities"] == again["probabilities"] != other["probabilities"]


def test_a_cell_made_with_other_pictures_or_settings_is_trained_again(here, pool):
    cell = plan.Cell("real_50", "stylegan2-cxr-128", "8", 0)
    study.train(here, cell, pool)
    assert study.finished(here, cell, pool)
    assert study.finished(replace(here, settings=replace(QUICK, steps=5)), cell, pool) is None
    assert study.finished(here, cell, replace(pool, images=255 - pool.images)) is None
    grown = replace(pool, images=np.concatenate([pool.images] * 2), labels=pool.labels * 2)
    assert study.finished(here, cell, grown), "a pool that has grown gives the same pictures"


def test_a_pool_too_small_is_a_reason_and_says_what_to_run(here, pool):
    cell = plan.Cell("real_100", "ddpm-cxr-128", "8", 0)
    assert "--pool ddpm-cxr-128 --n 16" in study.why_not(here, cell, None)
    assert study.why_not(here, cell, pool) is None
    assert "24 images" in study.why_not(here, plan.Cell("real", None, "100", 0), None)


def test_all_updates_use_every_picture_before_one_again():
    import torch

    seen = torch.cat(list(learner._batches(5, 6, 4, torch.Generator().manual_seed(0))))
    assert len(seen) == 24 and all(sorted(seen[i : i + 5].tolist()) == list(range(5)) for i in range(0, 20, 5))


def test_the_study_can_be_stopped_goes_on_and_lists_what_is_missing(here, tmp_path):
    models = ["stylegan2-cxr-128", "ddpm-cxr-128"]
    first = command.run(here, models, ["real/-/8/[01]"], None)
    assert (first, command.run(here, models, ["real/-/8/*"], None)) == (2, 3)
    assert command.run(here, models, ["*/8/*"], 0.0) == 0
    found = command.outcome(here, models, "the command")
    path = tmp_path / "downstream.json"
    path.write_text(json.dumps(found, allow_nan=False))
    table = downstream_file.frame(downstream_file.read(path))
    row = table[(table["arm"] == "real") & (table["size"] == "8")].iloc[0]
    assert row["seeds"] == 5 and row["missing"] == 0 and row["accuracy_low"] <= row["accuracy"] <= row["accuracy_high"]
    waiting = table[table["arm"] == "synthetic"]
    assert waiting["accuracy"].isna().all() and waiting["missing"].eq(5).all()
    assert waiting["reason"].str.contains("--pool").all()
    cells = downstream_file.cells(found)
    assert (cells["missing"] == "").sum() == 5 and cells.loc[cells["missing"] != "", "accuracy"].isna().all()
    figure = downstream_plot.curves(table, "accuracy")
    assert "missing" in figure.layout.title.subtitle.text and len(figure.data) == 2


def test_a_truncated_or_altered_file_of_results_is_refused(here, tmp_path):
    found = command.outcome(here, ["stylegan2-cxr-128"], "the command")
    path = tmp_path / "downstream.json"
    path.write_text(json.dumps(found)[:-20])
    with pytest.raises(MedgenError, match="cannot be read"):
        downstream_file.read(path)
    path.write_text(json.dumps({**found, "classes": "normal"}))
    with pytest.raises(MedgenError, match="classes"):
        downstream_file.read(path)


def test_an_interval_over_seeds_needs_three_and_differences_are_paired():
    rng = np.random.default_rng(0)
    base = [rng.normal(0.7, 0.05, 101) for _ in range(5)]
    better = [one + 0.1 for one in base]
    change = results._difference(better, base)
    assert change["value"] == pytest.approx(0.1) and change["high"] - change["low"] < 1e-6
    two = results.entry(base[:2])
    assert two["seeds_low"] is None and two["low"] is None and two["patients_low"] < two["value"]
    assert results.entry([np.full(101, np.nan)])["value"] is None


def test_gaps_are_of_the_groups_that_are_known(made_up_data, tmp_path, monkeypatch):
    monkeypatch.setenv("MEDGEN_DATA", str(made_up_data))
    adults = study.ready("nih_cxr_128", tmp_path, QUICK)
    told = adults.test.attributes
    for name, pair in results.groups_of(adults).items():
        for word, rows in zip(plan.STUDIES["nih_cxr_128"].groups[name], pair, strict=True):
            for i in rows:
                value = told[i][name]
                assert (int(value) >= plan.AGE_CUT) == (word != "under 50") if name == "age" else value == word


def test_a_pool_is_sampled_in_chunks_that_are_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDGEN_CACHE", str(tmp_path))
    monkeypatch.setattr(pools, "CHUNK", 2)
    asked = []

    def sample(model, seeds, labels, like):
        asked.extend(seeds)
        pixels = np.full((len(seeds), 1, 128, 128), 7.0, np.float32)
        return data.ImageSet(pixels, "CR", "au", (0.0, 255.0), labels=tuple(labels))

    monkeypatch.setattr(pools, "sample", sample)
    monkeypatch.setattr(pools.registry, "load", lambda name: name)
    shares = {"normal": 0.5, "viral_pneumonia": 0.5}
    first = pools.fill("ddpm-cxr-128", 3, shares, 1.0)
    assert len(first) == 4 and first.request["guidance"] == 1.0 and set(first.labels) == set(shares)
    pools.fill("ddpm-cxr-128", 6, shares, 1.0)
    assert asked == [pools.FIRST_SEED + i for i in range(6)], "what is there is not sampled again"
    assert len(pools.stored("ddpm-cxr-128", shares, 1.0)) == 6
    assert len(pools.stored("ddpm-cxr-128", shares, 2.0)) == 0
    assert len(pools.fill("ddpm-cxr-128", 100, shares, 1.0, minutes=0.0)) == 6


def test_bad_input_is_one_sentence(capsys, monkeypatch, tmp_path):
    monkeypatch.delenv("MEDGEN_DATA", raising=False)
    assert command.main(["--data", "brains"]) == 2
    assert "choose from kermany_cxr_128, nih_cxr_128" in capsys.readouterr().err
    assert command.main(["--data", DATA]) == 2
    assert "MEDGEN_DATA" in capsys.readouterr().err
    with pytest.raises(MedgenError, match="no model 'nobody'"):
        pools.stored("nobody", {}, 1.0)
    with pytest.raises(MedgenError, match="takes no label"):
        pools.stored("dcgan-cxr-128", {}, 1.0)
    with pytest.raises(MedgenError, match="no metric"):
        downstream_plot.curves(None, "fid")


def change(value: float, half: float = 0.01, seeds: float | None = 0.01) -> dict[str, float | None]:
    ends = {"seeds_low": None, "seeds_high": None} if seeds is None else {
        "seeds_low": value - seeds, "seeds_high": value + seeds}  # fmt: skip
    return {"value": value, "low": value - half, "high": value + half, "patients_low": None, "patients_high": None,
            **ends}  # fmt: skip


@pytest.mark.parametrize(("entry", "metric", "said"), [
    (change(0.02), "auc", "better"),
    (change(-0.02), "auc", "worse"),
    (change(-0.02), "ece", "better"),
    (change(0.02, half=0.03), "auc", "not shown"),
    (change(0.02, seeds=0.03), "auc", "not shown"),
    (change(0.02, seeds=None), "auc", ""),
])  # fmt: skip
def test_a_verdict_needs_both_intervals_and_knows_which_end_is_good(entry, metric, said):
    assert findings.verdict(entry, metric) == said


def test_the_findings_say_plainly_that_generated_images_did_not_help():
    """Counted from a file, whatever it holds: here one harm, no gain, and the second model better than the first."""
    cell = {"missing": None}
    row = {"n_real": 8, "size": "8", "title": "real + 50 % synthetic", "arm": "real_50"}
    every = lambda value, **kind: dict.fromkeys(findings.JUDGED, change(value, **kind))  # noqa: E731
    values = {
        "rows": [
            {**row, "arm": "real", "model": None, "against_real": None},
            {**row, "model": "gan", "against_real": every(0.001, half=0.02)},
            {**row, "arm": "synthetic", "n_real": 0, "model": "gan", "against_real": every(-0.2)},
            {**row, "arm": "augmented", "model": None, "against_real": every(0.03)},
        ],
        "versus": [{"a": "ddpm", "b": "gan", "title": "x", "size": "8", "metrics": every(0.03)}],
        "cells": [cell, cell, {"missing": "not trained yet"}],
    }
    added, classical, alone, pair, left = findings.sentences(values)
    assert "for the better in 0 of 1 ways tried, for the worse in 0; in 1 no difference was shown." in added
    assert classical == "Classical augmentation: better at N 8."
    assert alone.endswith("worse at N 8 with gan.")
    assert pair.endswith("against those of gan, in AUC: better in 1 of 1 pairs, worse in 0, no difference shown in 0.")
    assert left.startswith("1 of 3 planned trainings are missing")
    assert findings.against_real(values)["AUC"].tolist()[1].startswith("worse: -0.200 [-0.210")
    assert findings.versus(values)["Images of"].tolist() == ["ddpm against gan"]
    assert findings.sentences({"rows": [], "versus": [], "cells": []}) == []


def test_two_models_are_compared_seed_by_seed_where_both_are_there(here, pool):
    models = ["stylegan2-cxr-128", "ddpm-cxr-128"]
    weights = scores.resamples(here.test.subjects, repeats=20)
    judged = {}
    for model, seed in ((models[0], 0), (models[1], 0), (models[0], 1)):
        cell = plan.Cell("real_50", model, "8", seed)
        own = pool if model == models[0] else replace(pool, images=255 - pool.images)
        judged[model, seed] = results.judged(here, cell, study.train(here, cell, own), weights)
    (row,) = results.versus(list(judged.values()), models)
    assert (row["a"], row["b"], row["seeds"]) == ("ddpm-cxr-128", "stylegan2-cxr-128", [0])
    difference = judged[models[1], 0].whole["auc"][0] - judged[models[0], 0].whole["auc"][0]
    assert row["metrics"]["auc"]["value"] == pytest.approx(difference, abs=1e-5)
    assert results.versus(list(judged.values()), models[:1]) == []
