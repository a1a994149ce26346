"""Classifiers: they learn what is there to see, their baseline sees the border alone, each picture stands alone."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from sklearn.metrics import roc_auc_score

from medgen import data, registry
from medgen.auc import auc_entry, truth_table
from medgen.classifier import Classifier, ClassifierCard, classifier_for, classifiers, load_classifier
from medgen.errors import MedgenError
from medgen.image import ImageSet
from medgen.weights import read as read_weights
from train import classifier as script

ROOT = Path(__file__).parent.parent
LABELS = ("normal", "bacterial_pneumonia", "viral_pneumonia")
SMALL = ["--features", "8", "--growth", "4", "--blocks", "1", "1", "--threads", "1", "--cpu", "--patients", "2"]
SMALL += ["--augment", "0", "--dropout", "0", "--rate", "0.01", "--batch", "8"]
ENTRY = {"value": 0.9, "low": 0.8, "high": 1.0, "n_with": 10, "n_without": 20}
COMMITTED = sorted(path.parent.name for path in ROOT.glob("checkpoints/*/classifier.json"))


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDGEN_CHECKPOINTS", str(tmp_path / "checkpoints"))
    monkeypatch.chdir(tmp_path)
    AcceleratorState._reset_state()
    torch.set_num_threads(1)


def planted(where, count, seed):
    """Pictures of noise; bacteria are a bright bar, viruses a dark one, in the middle or at the left edge."""
    random = np.random.default_rng(seed)
    pixels = random.uniform(64, 192, (count, 1, 128, 128)).astype(np.float32)
    bar = pixels[:, :, 32:96, 48:80] if where == "middle" else pixels[:, :, 32:96, :8]
    for i in range(count):
        bar[i] += (0, 60, -60)[i % 3]
    return ImageSet(
        pixels, "CR", "au", (0.0, 255.0), labels=tuple(LABELS[i % 3] for i in range(count)),
        subjects=tuple(f"p{i}" for i in range(count)), attributes=({"cohort": "kermany_cxr_128"},) * count,
    )  # fmt: skip


@pytest.fixture
def trained(monkeypatch):
    """Trains a tiny classifier on `planted` pictures."""

    def run(where="middle", *flags, name="tiny", epochs=6):
        size, seed = {"train": 48, "val": 12, "test": 30}, {"train": 1, "val": 2, "test": 3}
        monkeypatch.setattr(data, "real", lambda _, split: planted(where, size[split], seed[split]))
        assert script.main([*SMALL, "--epochs", str(epochs), "--name", name, *map(str, flags)]) == 0
        return load_classifier(name)

    return run


@pytest.fixture(scope="module")
def judge(tmp_path_factory):
    """An untrained classifier of random coefficients, written as the real ones are."""
    folder = tmp_path_factory.mktemp("random") / "random"
    config = script.ClassifierConfig(features=8, growth=4, blocks=(1, 1))
    torch.manual_seed(0)
    network = script.build(config.net(128, 3))
    network.border_weight.normal_()
    areas = dict.fromkeys(LABELS, ENTRY)
    files = script.weights.save(network.state_dict(), folder)
    card = ClassifierCard(
        "random", "Random", "kermany_cxr_128", LABELS, (1, 128, 128), config.net(128, 3), files, {}, areas, areas,
        "MIT", "none", folder,
    )  # fmt: skip
    card.save(folder)
    return Classifier(card)


def both(judge, images):
    return np.stack([judge.probabilities(images), judge.border_probabilities(images)])


def test_a_sign_in_the_middle_is_learned_and_the_border_knows_nothing_of_it(trained):
    judge = trained("middle")
    assert all(judge.card.auc[label]["value"] > 0.95 for label in LABELS[1:])
    assert all(judge.card.border_auc[label]["low"] < 0.5 < judge.card.border_auc[label]["high"] for label in LABELS)
    entry = judge.card.auc["viral_pneumonia"]
    assert (entry["n_with"], entry["n_without"]) == (10, 20)
    # other pictures of the same kind: what it says of one is one probability a label, and the right one is highest
    probabilities = judge.probabilities(planted("middle", 12, seed=9))
    assert probabilities.dtype == np.float32 and probabilities.shape == (12, 3)
    assert probabilities[1::3, 1].min() > probabilities[2::3, 1].max()
    assert not list(Path("checkpoints/tiny").glob("card.json")) and registry.cards() == {}


def test_a_sign_at_the_border_is_what_the_baseline_is_there_to_show(trained):
    judge = trained("border", epochs=1)
    assert all(judge.card.border_auc[label]["value"] > 0.95 for label in LABELS[1:])


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(trained):
    weights = [trained("middle", "--seed", seed, name=f"c{i}", epochs=1).card.weights for i, seed in enumerate("001")]
    assert weights[0] == weights[1] != weights[2]


def test_a_run_can_start_from_the_features_of_another(trained):
    first = trained("middle", name="first", epochs=1)
    second = trained("middle", "--start", "first", "--rate", 1e-12, "--seed", 5, name="second", epochs=1)
    states = [read_weights(one.card.as_model()) for one in (first, second)]
    same = {key: torch.equal(states[0][key], states[1][key]) for key in states[0] if key.endswith("weight")}
    assert not same.pop("class_layers.out.weight")  # its own, from its own seed
    assert all(same.values())
    with pytest.raises(MedgenError, match="another shape"):
        trained("middle", "--start", "first", "--growth", 8, name="third")


def test_the_epoch_of_the_best_val_auc_is_the_one_exported(trained):
    card = trained("middle", epochs=4).card
    rows = [json.loads(line) for line in Path("checkpoints/tiny/log.jsonl").read_text().splitlines()]
    best = max(rows, key=lambda row: row["val_auc_mean"])
    assert len(rows) == 4
    assert card.trained["weights_after_images"] == best["images"]
    assert card.trained["val_auc"] == best["val_auc"]


def test_labels_of_too_few_patients_are_not_learned(monkeypatch):
    sets = {"train": planted("middle", 9, 0), "val": planted("middle", 6, 0).take([0, 1, 3, 4])}
    assert script.labels_with(sets, "kermany_cxr_128", 4) == LABELS[:2]
    with pytest.raises(MedgenError, match="--patients"):
        script.labels_with(sets, "kermany_cxr_128", 6)


@pytest.mark.parametrize(
    "flags", [["--name", "a/b"], ["--frame", "6"], ["--precision", "int8"], ["--epochs", "0"], ["--start", "nobody"]]
)
def test_options_that_cannot_work_are_refused(trained, flags):
    with pytest.raises(MedgenError):
        trained("middle", *flags)


def test_what_is_said_of_a_picture_does_not_depend_on_the_others(judge):
    images = planted("middle", 7, seed=4)
    whole = both(judge, images)
    assert np.unique(whole, axis=1).shape == whole.shape
    order = [3, 0, 6, 5, 1, 2, 4]
    assert np.array_equal(both(judge, images.take(order)), whole[:, order])
    assert all(np.array_equal(both(judge, images.take([i])), whole[:, [i]]) for i in range(7))
    assert both(judge, images.take([])).shape == (2, 0, 3)


def test_larger_pictures_are_averaged_down(judge):
    images = planted("middle", 3, seed=4)
    images = replace(images, pixels=images.pixels.clip(60, 190))
    double = images.pixels.repeat(2, axis=2).repeat(2, axis=3)
    assert np.array_equal(both(judge, replace(images, pixels=double)), both(judge, images))
    # a chequerboard finer than a pixel of the small picture averages away; every other pixel would show half of it
    grain = double + np.where(np.indices((256, 256)).sum(axis=0) % 2, 50, -50).astype(np.float32)
    assert np.allclose(both(judge, replace(images, pixels=grain)), both(judge, images), atol=1e-5)
    assert not np.allclose(both(judge, replace(images, pixels=grain[..., ::2, ::2])), both(judge, images), atol=1e-2)


def test_the_baseline_sees_the_border_alone(judge):
    images = planted("middle", 2, seed=4)
    middle, edge = images.pixels.copy(), images.pixels.copy()
    middle[..., 8:-8, 8:-8] = 255 - middle[..., 8:-8, 8:-8]
    edge[..., :, -1] = 255
    before = both(judge, images)
    assert np.array_equal(both(judge, replace(images, pixels=middle))[1], before[1])
    assert not np.isclose(both(judge, replace(images, pixels=middle))[0], before[0]).all()
    assert not np.isclose(both(judge, replace(images, pixels=edge))[1], before[1]).any()


@pytest.mark.parametrize("shape", [(1, 100, 100), (1, 128, 256), (1, 64, 64), (3, 128, 128), (1, 128, 128, 128)])
def test_pictures_of_another_kind_are_refused(judge, shape):
    images = ImageSet(np.zeros((1, *shape), np.float32), "CR", "au", (0.0, 255.0))
    for say in (judge.probabilities, judge.border_probabilities):
        with pytest.raises(MedgenError, match="128x128"):
            say(images)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_pixels_that_are_no_numbers_are_refused(judge, value):
    images = planted("middle", 2, seed=4)
    images.pixels[1, 0, 64, 64] = value
    for say in (judge.probabilities, judge.border_probabilities):
        with pytest.raises(MedgenError, match="NaN"):
            say(images)


@pytest.mark.parametrize(
    "change",
    [
        {"labels": None}, {"surplus": 1}, {"name": 3}, {"labels": []}, {"labels": ["normal", "normal"]}, {"auc": {}},
        {"labels": ["normal"]}, {"shape": [128, 128]}, {"shape": [3, 128, 128]}, {"net": {"labels": 2}},
        {"border_auc": {label: {"value": 1.0} for label in LABELS}},
        {"auc": {label: {**ENTRY, "value": 1.5} for label in LABELS}},
        {"auc": {label: {**ENTRY, "n_with": None} for label in LABELS}},
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_right_is_refused(judge, tmp_path, change):
    values = json.loads((judge.card.folder / "classifier.json").read_text())
    path = tmp_path / "checkpoints" / "random" / "classifier.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(values))
    assert classifiers() == {"random": judge.card}
    path.write_text(json.dumps({k: v for k, v in (values | change).items() if v is not None}))
    with pytest.raises(MedgenError, match=r"random/classifier\.json"):
        classifiers()


def test_a_judge_is_found_by_name_and_by_label(judge, tmp_path):
    assert classifiers() == {} and classifier_for("normal") is None
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "random").symlink_to(judge.card.folder)
    assert classifier_for("viral_pneumonia") == "random" and classifier_for("Hernia") is None
    assert load_classifier("random").card == judge.card
    with pytest.raises(MedgenError, match="there are: random"):
        load_classifier("nobody")
    (tmp_path / "checkpoints" / "random").rename(tmp_path / "checkpoints" / "other")
    with pytest.raises(MedgenError, match="must be equal"):
        classifiers()


def test_changed_weights_are_refused(judge):
    files = dict.fromkeys(judge.card.weights, "0" * 64)
    with pytest.raises(MedgenError, match="sha256"):
        Classifier(replace(judge.card, weights=files))


def test_auc_is_that_of_scikit_learn_and_its_interval_resamples_patients():
    random = np.random.default_rng(0)
    truth = random.random(300) < 0.3
    scores = np.round(truth + random.normal(0, 1.5, 300), 1)  # rounded: ties
    alone = auc_entry(scores, truth)
    assert alone["value"] == pytest.approx(roc_auc_score(truth, scores))
    assert alone["low"] < alone["value"] < alone["high"]
    assert (alone["n_with"], alone["n_without"]) == (truth.sum(), (~truth).sum())
    # the spread that Hanley and McNeil 1982 give for that many pictures
    area, n, m = alone["value"], alone["n_with"], alone["n_without"]
    q1, q2 = area / (2 - area), 2 * area**2 / (1 + area)
    error = np.sqrt((area * (1 - area) + (n - 1) * (q1 - area**2) + (m - 1) * (q2 - area**2)) / (n * m))
    assert alone["high"] - alone["low"] == pytest.approx(2 * 1.96 * error, rel=0.15)
    # every picture four times, as four films of one patient: nothing new is known
    four = auc_entry(scores.repeat(4), truth.repeat(4), [f"p{i // 4}" for i in range(1200)])
    assert (four["value"], four["high"] - four["low"]) == pytest.approx((area, alone["high"] - alone["low"]), rel=0.1)


def test_auc_says_nothing_where_nothing_can_be_said():
    scores, truth = np.arange(12.0), np.arange(12) >= 6
    assert auc_entry(scores, np.ones(12, bool))["value"] is None
    few = auc_entry(scores, truth, ["a", "b", "c"] * 4)
    assert (few["value"], few["low"], few["high"]) == (1.0, None, None)
    assert truth_table(["a|b", "b", "ab"], ["a", "b"]).tolist() == [[True, True], [False, True], [False, False]]


def test_listing_the_classifiers_loads_no_torch():
    code = (
        "import sys, medgen.classifier as c; c.classifiers(); print({'torch', 'monai', 'sklearn'} & set(sys.modules))"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "MEDGEN_CHECKPOINTS": str(ROOT / "checkpoints")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_each_chest_x_ray_cohort_has_a_judge(monkeypatch):
    monkeypatch.setenv("MEDGEN_CHECKPOINTS", str(ROOT / "checkpoints"))
    assert {classifier_for(label) for label in LABELS} == {"classifier-kermany-128"}
    assert classifier_for("No Finding") == classifier_for("Pneumonia") == "classifier-nih-128"


@pytest.mark.parametrize("name", COMMITTED)
def test_a_committed_classifier_is_what_its_file_says(name, monkeypatch):
    monkeypatch.setenv("MEDGEN_CHECKPOINTS", str(ROOT / "checkpoints"))
    judge = load_classifier(name)
    card, entry = judge.card, data.DATASETS[judge.card.data]
    assert sorted(path.name for path in card.folder.iterdir()) == [
        "classifier.json", "config.json", "log.jsonl", "model.safetensors",
    ]  # fmt: skip
    assert card.labels == tuple(label for label in entry.labels if label in card.labels)
    for areas in (card.auc, card.border_auc):
        assert all(area["n_with"] + area["n_without"] == entry.splits["test"] for area in areas.values())
    if not data.available(card.data):
        pytest.skip("the AUCs are measured again only where the pictures are")
    test = data.real(card.data, "test")
    truth = truth_table(test.labels, card.labels)
    for scores, areas in ((judge.probabilities(test), card.auc), (judge.border_probabilities(test), card.border_auc)):
        for i, label in enumerate(card.labels):
            # another processor may swap pictures of nearly equal scores
            assert roc_auc_score(truth[:, i], scores[:, i]) == pytest.approx(areas[label]["value"], abs=0.003), label
