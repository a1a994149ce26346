"""The self-test of the metrics: known damage, a rule that can say no, a file that is checked."""

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from eval import selftest, selftest_file
from eval.features import pixels_32
from eval.report import METRICS
from eval.result_files import path_of
from eval.selftest_damage import DAMAGES, Base
from eval.selftest_rule import judged
from eval.selftest_sets import halves
from medgen import ImageSet, MedgenError, data

AGAIN = r"run eval\.selftest for this protocol again"
LABELS = ("normal", "bacterial_pneumonia", "viral_pneumonia")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDGEN_CACHE", str(tmp_path / "cache"))


def images(n, seed):
    """Two smooth pictures a patient, whose look depends on the label."""
    random = np.random.default_rng(seed)
    coarse = random.normal(size=(n, 1, 8, 8)).astype(np.float32).repeat(4, axis=2).repeat(4, axis=3)
    shift = np.array([(0, 40, -40)[i // 2 % 3] for i in range(n)], np.float32)[:, None, None, None]
    return ImageSet(
        np.clip(128 + 30 * coarse + shift, 0, 255), "CR", "au", (0.0, 255.0),
        labels=tuple(LABELS[i // 2 % 3] for i in range(n)), subjects=tuple(f"{seed}-{i // 2}" for i in range(n)),
    )  # fmt: skip


@pytest.fixture
def base():
    test, train = images(120, 1), images(90, 2)
    return Base(test, halves(test, None)[1], train)


# the sets


def test_the_two_halves_share_no_patient_and_have_the_same_size():
    test = images(121, 1)
    real, base = halves(test, None)
    assert len(real) == len(base) == 60 and not set(real) & set(base)
    assert not {test.subjects[i] for i in real} & {test.subjects[i] for i in base}
    assert len(halves(test, 30)[0]) == len(halves(test, 30)[1]) == 30
    with pytest.raises(MedgenError, match="at least 20"):
        halves(test, 10)


@pytest.mark.parametrize("kind", ["blur", "noise", "jpeg"])
def test_painted_damage_grows_and_is_the_same_each_time(base, kind):
    damage, clean = DAMAGES[kind], base.images.pixels
    sets = [damage.of(base, strength) for strength in damage.strengths]
    assert np.array_equal(sets[0].images.pixels, clean) and np.array_equal(sets[0].rows, base.rows)
    changes = [float(np.abs(one.images.pixels - clean).mean()) for one in sets]
    assert changes[0] == 0 and np.all(np.diff(changes) > 0)
    assert np.array_equal(damage.of(base, damage.strengths[1]).images.pixels, sets[1].images.pixels)
    assert all(one.rows is None and one.images.subjects == base.images.subjects for one in sets[1:])


def test_dropped_patients_are_gone_and_n_stays(base):
    damage = DAMAGES["mode_dropping"]
    sets = [damage.of(base, strength) for strength in damage.strengths]
    patients = [set(one.images.subjects) for one in sets]
    assert [len(one) for one in patients] == [30, 15, 8, 3]
    assert all(fewer < more for more, fewer in pairwise(patients))
    assert all(len(one.images) == len(base) for one in sets)


def test_one_class_takes_over_without_any_image_twice(base):
    damage = DAMAGES["class_imbalance"]
    sets = [damage.of(base, strength) for strength in damage.strengths]
    labels = [[base.test.labels[row] for row in one.rows] for one in sets]
    common = max(set(base.images.labels), key=base.images.labels.count)
    shares = [own.count(common) / len(own) for own in labels]
    assert np.all(np.diff(shares) > 0) and shares[-1] == 1.0 and len({len(own) for own in labels}) == 1
    assert shares[0] == pytest.approx(base.images.labels.count(common) / len(base), abs=0.06)
    assert all(len(set(one.rows)) == len(one.rows) for one in sets)
    alone = ImageSet(base.test.pixels, "CR", "au", (0.0, 255.0), labels=("a",) * len(base.test))
    with pytest.raises(MedgenError, match="two labels"):
        damage.of(Base(alone, base.rows, base.train), 0.5)


def test_copies_are_train_images_to_the_pixel(base):
    damage = DAMAGES["memorised_copies"]
    half = damage.of(base, 0.5)
    copied = half.rows >= len(base.test)
    assert copied.sum() == len(base) // 2
    for row, pixels, subject in zip(half.rows, half.images.pixels, half.images.subjects, strict=True):
        source, place = (base.train, row - len(base.test)) if row >= len(base.test) else (base.test, row)
        assert np.array_equal(pixels, source.pixels[place]) and subject == source.subjects[place]
    few = damage.of(base, 0.1).rows
    assert set(few[few >= len(base.test)]) < set(half.rows[copied])


# the rule


@pytest.mark.parametrize(
    ("values", "width", "way", "why"),
    [
        ((1, 2, 3, 4), 0.1, "up", ""),
        ((4, 3, 2, 1), 0.1, "down", ""),
        ((1, 2, 3, 4), 0.1, "down", "goes the other way"),
        ((1, 2, 3, 4), 10, "up", "does not move"),
        ((1, 1, 1, 1), 0, "up", "does not move"),
        ((1, 4, 2, 5), 0.1, "up", "goes back on the way"),
        ((1, 3, 2.95, 5), 0.2, "up", ""),
        ((1, 3, 2.95, 5), 0.02, "up", "goes back on the way"),
        ((0.9, 0.2, 0, 0), 0.1, "down", ""),
        ((1, 5, 4.9, 4.8), 0.5, "up", "goes back on the way"),
        ((1, None, 3, 4), 0.1, "up", "has no value at some strength"),
    ],
)  # fmt: skip
def test_the_rule(values, width, way, why):
    ends = [(None, None) if v is None else (v - width / 2, v + width / 2) for v in values]
    verdict = judged((0, 0.5, 1, 2), values, [low for low, _ in ends], [high for _, high in ends], way)
    assert (verdict.why, verdict.monotone) == (why, not why)


def test_without_intervals_every_step_back_counts():
    verdict = judged((0, 1, 2), (1, 3, 2.99), (None,) * 3, (None,) * 3, "up")
    assert verdict.why == "goes back on the way" and verdict.spearman == pytest.approx(0.5)


# the file


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """A whole study of made-up pictures in one space."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDGEN_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(data, "real", lambda _, split: images(*{"test": (160, 1), "train": (160, 2)}[split]))
        return selftest.study("cxr-128", (pixels_32(),), repeats=20)


@pytest.fixture
def path(found, tmp_path):
    path = tmp_path / "selftest-cxr-128.json"
    path.write_text(json.dumps(found))
    return path


def test_a_study_sees_what_it_was_made_to_see(path):
    values = selftest_file.read(path)
    spaces = values["spaces"]
    assert set(spaces) == {"images", "pixels-32"} and set(spaces["pixels-32"]) == set(DAMAGES)
    assert set(spaces["images"]["noise"]["metrics"]) == {"histogram_distance", "spectrum_distance", "ms_ssim"}
    assert "fid" not in spaces["pixels-32"]["blur"]["metrics"]
    for kind, names in {
        "noise": ("precision", "coverage"), "mode_dropping": ("recall", "coverage", "vendi"),
        "memorised_copies": ("authenticity", "c_t"), "class_imbalance": ("vendi",),
    }.items():  # fmt: skip
        for name in names:
            assert spaces["pixels-32"][kind]["monotone"][name], (kind, name)
    assert spaces["images"]["noise"]["monotone"]["spectrum_distance"]
    assert (values["n_real"], values["n_base"], values["n_train"]) == (80, 80, 160)
    # strength 0 is the base itself in every kind that keeps its size
    same = [spaces["pixels-32"][kind]["metrics"]["kid"][0] for kind in ("blur", "noise", "jpeg", "mode_dropping")]
    assert same == pytest.approx([same[0]] * 4)


def test_the_frame_and_the_words_say_where_a_metric_fails(path):
    values = selftest_file.read(path)
    one = values["spaces"]["pixels-32"]["blur"]
    one["expected"] = {"kid": "up"}
    one["monotone"], one["spearman"], one["fails"] = {"kid": False}, {"kid": None}, {"kid": "does not move"}
    path.write_text(json.dumps(values))
    values = selftest_file.read(path)
    frame = selftest_file.frame(values)
    assert set(frame["metric"]) <= set(METRICS)
    row = frame[(frame["space"] == "pixels-32") & (frame["degradation"] == "blur") & (frame["metric"] == "kid")]
    assert list(row["strength"]) == list(DAMAGES["blur"].strengths) and list(row["value"]) == one["metrics"]["kid"]
    assert set(row["fails"]) == {"does not move"} and row["spearman"].isna().all()
    assert "FAILS pixels-32, blur: KID should go up and does not move" in selftest_file.words(values)
    assert selftest_file.verdicts(values).loc[("blur", "kid"), "pixels-32"] == "FAILS: does not move"


def broken(values, change):
    one = values["spaces"]["pixels-32"]["noise"]
    if change == "short":
        one["metrics"]["kid"].pop()
    elif change == "unjudged":
        del one["monotone"]["kid"]
    elif change == "silent":
        one["monotone"]["kid"] = not one["monotone"]["kid"]
    elif change == "metric":
        one["metrics"]["magic"], one["low"]["magic"], one["high"]["magic"] = one["metrics"]["kid"], [], []
    elif change == "space":
        values["spaces"]["other"] = values["spaces"]["images"]
    elif change == "damage":
        values["spaces"]["images"]["rust"] = one
    else:
        del values[change]
    return values


@pytest.mark.parametrize("change", ["short", "unjudged", "silent", "metric", "space", "damage", "rule", "real_sha256"])
def test_a_file_that_cannot_be_right_is_refused(path, change):
    path.write_text(json.dumps(broken(json.loads(path.read_text()), change)))
    with pytest.raises(MedgenError, match=AGAIN):
        selftest_file.read(path)


def test_a_truncated_file_is_refused(path):
    path.write_text(path.read_text()[:500])
    with pytest.raises(MedgenError, match=AGAIN):
        selftest_file.read(path)


def test_a_space_for_other_pictures_is_left_out(monkeypatch):
    monkeypatch.setattr(data, "real", lambda _, split: images(60, 1))
    with pytest.raises(MedgenError, match="not for CR pictures"):
        selftest.study("cxr-128", (replace(pixels_32(), modality="MR"),))


def test_the_reader_needs_no_torch():
    import ast

    for name in ("selftest_file", "report", "shapes"):
        tree = ast.parse((Path(selftest_file.__file__).parent / f"{name}.py").read_text())
        names = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        assert not names & {"torch", "eval.features", "eval.measure", "eval.selftest"}, name


@pytest.mark.parametrize("path", sorted(selftest_file.FOLDER.glob("selftest-*.json")), ids=lambda path: path.stem)
def test_a_committed_study_is_whole(path):
    values = selftest_file.read(path)
    assert path == path_of("selftest", values["protocol"])
    for damages in values["spaces"].values():
        assert set(damages) == set(DAMAGES)
        for kind, one in damages.items():
            assert one["strengths"] == list(DAMAGES[kind].strengths)
            assert one["expected"] == {k: v for k, v in DAMAGES[kind].expected.items() if k in one["metrics"]}
            for name, way in one["expected"].items():
                curves = (one[part][name] for part in selftest_file.PARTS)
                verdict = judged(one["strengths"], *curves, way=way)
                assert (verdict.monotone, verdict.why) == (one["monotone"][name], one["fails"].get(name, ""))
