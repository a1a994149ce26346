"""`python -m eval.pathology`: a control that acts measures as acting, one that does nothing as nothing."""

import json
from dataclasses import dataclass, field, replace
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import compact_archive, webp
from PIL import Image
from scipy.stats import norm

from demos import board as tab
from eval import (
    adherence,
    board,
    control,
    judge,
    pathology,
    pathology_file,
    plots,
    regional,
    severity,
    summary,
    sweep,
)  # fmt: skip
from eval.report import SWEPT
from eval.task import Task
from medgen import ImageSet, MedgenError, ModelCard, data, registry
from medgen.auc import truth_table

LABELS = ("normal", "bacterial_pneumonia", "viral_pneumonia")
ADULT = ("No Finding", "Pneumonia", "Effusion")
JUDGE = "classifier-fake"
SIZE = 8
SPREAD = 8.0  # grey levels of noise in a zone


def make_card(name="planted", *, labels=LABELS, source="kermany_cxr_128", side=SIZE, **changed):
    values = {
        "name": name, "family": "noise", "title": f"Title of {name}", "modality": "CR", "unit": "au",
        "window": (0.0, 255.0), "shape": (1, side, side), "licence": "MIT", "limits": "None.", "labels": labels,
        "controls": ("label", "severity", "guidance", "source", "region"), "guidance": 1.0, "data": source,
        "net": {"conditions": [f"label={word}" for word in labels]}, "weights": {"model.safetensors": "a" * 64},
    }  # fmt: skip
    return ModelCard(**(values | changed))


def zone(pixels, place):
    """The block of a picture in which label number `place` shows."""
    return pixels[..., 3:5, 1 + 2 * place : 3 + 2 * place]


@dataclass
class Planted:
    """A generator whose labels are brighter blocks: `effect` standard deviations brighter, times `strength(severity)`.

    A picture is SIZE px. With a source it copies it and adds `paint` grey levels inside the region if the label is a
    disease, takes them away if it is healthy, and adds `leak` outside.
    """

    card: ModelCard = field(default_factory=make_card)
    effect: float = 4.0
    strength: object = staticmethod(lambda severity: severity)
    offset: int = 0
    paint: float = 40.0
    leak: float = 0.0
    made: int = 0

    def sample(self, request, on_step=None):
        request = request.checked(self.card)
        self.made += len(request.seeds)
        if request.source:
            images = [self.repainted(request, pixels) for pixels in request.source.pixels]
        else:
            images = [self.drawn(request, seed) for seed in request.seeds]
        return ImageSet(np.stack(images).astype(np.float32), "CR", "au", self.card.window)

    def drawn(self, request, seed):
        pixels = np.full(self.card.shape, 128.0)
        level = 1.0 if request.severity is None else self.strength(request.severity)
        words = request.label.split("|")
        for place, word in enumerate(self.card.labels):
            # the seed alone decides the noise, so that only the label differs between two severities
            noise = np.random.default_rng((seed, place, self.offset)).normal()
            shown = level if word in words else (1.0 - level) * (word == self.card.labels[0])
            zone(pixels, place)[:] += SPREAD * (noise + self.effect * shown)
        return pixels

    def repainted(self, request, source):
        pixels = source.astype(np.float64)
        inside = request.region.mask()
        healthy = request.label == self.card.labels[0]
        pixels[:, inside] += -self.paint if healthy else self.paint
        pixels[:, ~inside] += self.leak
        return pixels


class Judging:
    """A classifier that reads the blocks of `Planted`, or the middle of a large picture, and a baseline of its edge."""

    def __init__(self, labels):
        self.card = SimpleNamespace(labels=labels, weights={"model.safetensors": "c" * 64})

    def probabilities(self, images):
        pixels = images.pixels[:, 0]
        if pixels.shape[-1] != SIZE:
            value = (pixels[:, 50:90, 25:50].mean(axis=(1, 2)) - 128.0) / 40.0
            return self.probability(np.stack([-value, value, value], axis=1)[:, : len(self.card.labels)])
        values = [zone(pixels, place).mean(axis=(1, 2)) for place in range(len(self.card.labels))]
        return self.probability((np.stack(values, axis=1) - 128.0) / SPREAD)

    def border_probabilities(self, images):
        edge = images.pixels[:, 0, 0, :3].mean(axis=1)
        return self.probability(np.repeat(edge[:, None] / 50, len(self.card.labels), axis=1))

    @staticmethod
    def probability(logits):
        return (1.0 / (1.0 + np.exp(-logits / 2.0))).astype(np.float32)


@pytest.fixture(autouse=True)
def house(tmp_path, monkeypatch, made_up_data):
    """An empty checkpoints folder, a judge of the Kermany labels, made-up real pictures; returns the folder."""
    monkeypatch.setenv("MEDGEN_CHECKPOINTS", str(tmp_path / "checkpoints"))
    monkeypatch.setenv("MEDGEN_DATA", str(made_up_data))
    monkeypatch.setenv("MEDGEN_CACHE", str(tmp_path / "cache"))
    judging(monkeypatch, LABELS)
    return tmp_path / "checkpoints"


def judging(monkeypatch, labels):
    one = Judging(labels)
    monkeypatch.setattr(judge, "classifiers", lambda: {JUDGE: one.card})
    monkeypatch.setattr(judge, "classifier_for", lambda label: JUDGE if label in labels else None)
    monkeypatch.setattr(judge, "load_classifier", lambda name: one)


def measured(module, model, **asked):
    return dict(module.measure(Task(model, **asked), frozenset()))


def test_one_picture_serves_several_labels_and_without_is_the_others_in_equal_shares():
    plan = adherence.plan_alone(LABELS, 10)
    assert len(plan.asked) == 30 and {plan.asked.count(word) for word in LABELS} == {10}
    for word in LABELS:
        assert [plan.asked[row] for row in plan.shown[word]] == [word] * 10
        without = [plan.asked[row] for row in plan.absent[word]]
        assert len(set(plan.absent[word])) == 10
        assert {without.count(other) for other in LABELS if other != word} == {5} and word not in without
    assert adherence.plan_alone(("normal",), 10).shown == {}


def test_label_sets_are_drawn_as_they_occur_and_a_rare_label_gets_its_number_too():
    sets = ["A"] * 50 + ["B"] * 30 + ["B|C"] * 3 + ["D"] * 17
    words = ("A", "B", "C", "D", "E")
    plan = adherence.plan_sets(words, sets, 200)
    assert set(plan.shown) == set("ABCD"), "what no real image shows cannot be measured"
    truth = truth_table(plan.asked, words)
    for i, word in enumerate("ABCD"):
        assert len(set(plan.shown[word])) == len(set(plan.absent[word])) == 200
        assert truth[plan.shown[word], i].all() and not truth[plan.absent[word], i].any()
    # without C: the shares of the rest, 50 : 30 : 17
    without = [plan.asked[row] for row in plan.absent["C"]]
    assert [without.count(one) / 200 for one in ("A", "B", "D")] == pytest.approx([0.515, 0.309, 0.175], abs=0.09)
    # with B: "B|C" as rare as it is, although pictures of C were made in plenty
    assert [plan.asked[row] for row in plan.shown["B"]].count("B|C") < 50
    assert len(plan.asked) < 2 * 4 * 200, "shared between labels"
    assert adherence.plan_sets(("A",), ["A"], 5).asked == ()


def test_a_generator_that_obeys_its_labels_is_told_apart():
    found = measured(adherence, Planted(effect=5.0), n=60)
    assert set(found) == set(LABELS)
    for item in found.values():
        assert item["generated"]["value"] > 0.98
        assert item["generated_border"]["value"] == 0.5, "nothing is planted at the edge"
        assert (item["generated"]["n_with"], item["generated"]["n_without"]) == (60, 60)
        assert (item["real"]["n_with"], item["real"]["n_without"]) == (2, 4)
        assert item["real"]["low"] is None, "two patients are no interval"


def test_a_generator_that_ignores_its_labels_is_at_one_half():
    entries = []
    for offset in range(5):
        found = measured(adherence, Planted(effect=0.0, offset=offset), n=100)
        entries += [item["generated"] for item in found.values()]
    assert np.mean([entry["value"] for entry in entries]) == pytest.approx(0.5, abs=0.03)
    assert np.mean([entry["low"] < 0.5 < entry["high"] for entry in entries]) >= 0.8


def test_the_interval_of_adherence_holds_the_true_value_about_as_often_as_it_says():
    truth = norm.cdf(1.0 / np.sqrt(2.0))  # AUC of two normal distributions one standard deviation apart
    entries = []
    for offset in range(12):
        found = measured(adherence, Planted(effect=1.0, offset=offset), n=60)
        entries += [item["generated"] for item in found.values()]
    held = [entry["low"] <= truth <= entry["high"] for entry in entries]
    assert 0.8 <= np.mean(held) <= 1.0
    assert np.mean([entry["value"] for entry in entries]) == pytest.approx(truth, abs=0.03)


def test_adults_are_asked_for_whole_label_sets_of_the_train_split(monkeypatch):
    judging(monkeypatch, ADULT)
    asked = []
    card = make_card(labels=ADULT, source="nih_cxr_128")
    model = Planted(card)
    sample = model.sample
    monkeypatch.setattr(model, "sample", lambda request: (asked.append(request.label), sample(request))[1])
    found = measured(adherence, model, n=40)
    assert set(found) == set(ADULT)
    assert {"No Finding", "Pneumonia", "Pneumonia|Effusion"} >= set(asked) - {"Effusion|Pneumonia"}
    assert "Effusion|Pneumonia" in asked and not any("Hernia" in label for label in asked)
    assert all(item["generated"]["value"] > 0.95 and item["cohort"] == "nih_cxr_128" for item in found.values())


def test_a_model_of_two_data_sets_is_measured_on_each_and_what_nobody_can_judge_is_left_out():
    card = make_card(labels=(*LABELS, *ADULT), source="kermany_cxr_128+nih_cxr_128")
    task = Task(Planted(card))
    assert task.cohorts() == {"kermany_cxr_128": LABELS, "nih_cxr_128": ADULT}
    found = measured(adherence, Planted(card), n=20)
    assert {label: item["cohort"] for label, item in found.items()} == dict.fromkeys(LABELS, "kermany_cxr_128")


def test_without_a_classifier_there_is_one_clear_sentence(monkeypatch):
    judging(monkeypatch, ())
    with pytest.raises(MedgenError, match=r"No classifier can tell normal.*train\.classifier"):
        adherence.settings(Task(Planted()))


def test_a_severity_that_acts_is_monotone_and_one_that_does_nothing_is_not():
    acts = measured(severity, Planted(), seeds=40)
    assert set(acts) == set(LABELS[1:]), "nothing to grade between normal and normal"
    for item in acts.values():
        means = [entry["value"] for entry in item["label"]]
        assert item["monotone"] and means == sorted(means) and item["rising_seeds"] == 1.0
        assert item["rise"]["low"] > 0.3 and item["healthy"] == "normal"
        falling = [entry["value"] for entry in item["healthy_word"]]
        assert falling == sorted(falling, reverse=True)
        assert all(entry["low"] < entry["value"] < entry["high"] for entry in item["label"])
        # paired: the same seeds rise, so the rise is known better than either end of it
        ends = sum(entry["high"] - entry["low"] for entry in (item["label"][0], item["label"][-1]))
        assert item["rise"]["high"] - item["rise"]["low"] < 0.7 * ends
    for strength in (lambda severity: 1.0, lambda severity: 4 * severity * (1 - severity)):
        for item in measured(severity, Planted(strength=strength), seeds=40).values():
            assert not item["monotone"] and item["rising_seeds"] == 0.0
            assert item["rise"]["value"] == pytest.approx(0.0, abs=0.01)


def test_a_mean_curve_may_rise_although_few_seeds_do():
    steps = np.array([[0.1, 0.3, 0.2, 0.6, 0.5], [0.1, 0.0, 0.4, 0.3, 0.9], [0.1, 0.2, 0.3, 0.4, 0.5]])
    assert not severity.curve(steps)["monotone"], "three seeds show nothing"
    found = severity.curve(np.tile(steps, (40, 1)))
    assert found["monotone"] and found["rising_seeds"] == pytest.approx(1 / 3)
    assert found["steps"][0]["value"] == pytest.approx(steps[:, 1].mean() - 0.1)


@pytest.fixture
def varied(tmp_path, monkeypatch):
    """Real pictures of two independent numbers, enough for nearest neighbours."""
    folder = tmp_path / "varied"
    folder.mkdir()
    rows = [(f"{i:03}.webp", "normal", f"p{i}", ("train", "val", "test")[i % 3]) for i in range(180)]
    images = [webp(Image.fromarray(two_numbers(i, 1.0).astype(np.uint8))) for i in range(180)]
    compact_archive(folder / "kermany_cxr_128.zip", ("file", "label", "patient", "split"), rows, images)
    monkeypatch.setenv("MEDGEN_DATA", str(folder))


def two_numbers(seed, spread):
    left, top = np.random.default_rng(seed).normal(size=2) * spread * 20
    ramp = np.linspace(-1, 1, 128)
    return np.clip(128 + left * ramp[None, :] + top * ramp[:, None], 0, 255)


class Narrowing(Planted):
    """Guidance draws its pictures towards the middle."""

    def sample(self, request, on_step=None):
        request = request.checked(self.card)
        drawn = [two_numbers(10_000 + seed, 1.0 / request.guidance)[None] for seed in request.seeds]
        return ImageSet(np.stack(drawn).astype(np.float32), "CR", "au", self.card.window)


def test_a_sweep_sees_guidance_buy_likeness_with_variety(varied):
    task = Task(Narrowing(make_card(side=128, labels=("normal",))), extractor="pixels-32", repeats=5)
    settings = sweep.settings(task)
    assert (settings["protocol"], settings["n_real"], settings["n_fake"]) == ("cxr-128", 60, 60)
    found = dict(sweep.measure(task, frozenset({"1.5"})))
    assert list(found) == ["1", "2", "3", "5"], "what is done is not done again"
    recall = [item["metrics"]["recall"]["value"] for item in found.values()]
    precision = [item["metrics"]["precision"]["value"] for item in found.values()]
    assert recall == sorted(recall, reverse=True) and recall[0] > recall[-1] + 0.3
    assert precision[-1] >= precision[0] and precision[-1] == 1.0
    first, last = found["1"]["metrics"], found["5"]["metrics"]
    assert last["recall"]["low"] < last["recall"]["value"] < last["recall"]["high"]
    assert first["fid"]["value"] is None, "the name FID stands for Inception features"


def test_the_box_lies_where_it_is_said_to():
    mask = regional.box((128, 128), (0.25, 0.5, 0.125, 0.25)).mask()
    assert mask.sum() == 32 * 16 and mask[32:64, 16:32].all()
    for fractions in regional.BOXES.values():  # the right lung is at the left of the picture, above the diaphragm
        share = regional.box((256, 256), fractions).mask().mean()
        assert 0.05 < share < 0.15 and fractions[3] < 0.5


def test_a_region_that_keeps_the_rest_is_told_from_one_that_leaks():
    card = make_card(side=128)
    keeps = measured(regional, Planted(card), region_n=2)
    assert set(keeps) == {
        "normal -> normal", "normal -> bacterial_pneumonia", "normal -> viral_pneumonia",
        "bacterial_pneumonia -> bacterial_pneumonia", "bacterial_pneumonia -> normal",
        "viral_pneumonia -> viral_pneumonia", "viral_pneumonia -> normal",
    }  # fmt: skip
    for item in keeps.values():
        assert item["outside"]["value"] == item["outside_largest"] == 0.0
        assert item["inside"]["value"] > 5 and item["n"] == item["n_subjects"] == 2
    leaks = measured(regional, Planted(card, leak=1.0, paint=0.0), region_n=2)["normal -> viral_pneumonia"]
    assert leaks["inside"]["value"] == 0.0
    assert [leaks["outside"]["value"], leaks["outside_largest"]] == pytest.approx([1.0, 1.0], abs=1e-5)


def test_repainted_pictures_of_different_labels_stay_with_their_sources(monkeypatch):
    judging(monkeypatch, ADULT)
    asked = []
    model = Planted(make_card(labels=ADULT, source="nih_cxr_128", side=128))
    sample = model.sample
    monkeypatch.setattr(model, "sample", lambda request: (asked.append(request.label), sample(request))[1])
    found = measured(regional, model, region_n=100)
    assert {*ADULT, "Effusion|Pneumonia"} == set(asked)
    assert all(item["outside_largest"] == 0.0 for item in found.values())
    item = found["Pneumonia -> Pneumonia"]
    real = data.real("nih_cxr_128", "test")
    assert item["n"] == sum("Pneumonia" in label for label in real.labels) and item["n_subjects"] < item["n"]


def test_each_word_is_judged_by_the_classifier_that_knows_it(monkeypatch):
    class One:
        def __init__(self, **values):
            self.values = values
            self.card = SimpleNamespace(labels=tuple(values), weights={})

        def probabilities(self, images):
            return np.tile(np.array(list(self.values.values()), np.float32), (len(images), 1))

        def border_probabilities(self, images):
            return self.probabilities(images) / 2

    known = {"first": One(viral_pneumonia=0.25, normal=0.5), "second": One(other=0.125, bacterial_pneumonia=0.75)}
    owner = {word: name for name, one in known.items() for word in one.values}
    monkeypatch.setattr(judge, "classifier_for", owner.get)
    monkeypatch.setattr(judge, "load_classifier", known.get)
    found = judge.Judge((*LABELS, "nobody"))
    scores = found.scores(ImageSet(np.zeros((2, 1, 8, 8), np.float32), "CR", "au", (0.0, 255.0)))
    assert found.words == LABELS
    assert scores.network.tolist() == [[0.5, 0.75, 0.25]] * 2 and scores.border.tolist() == [[0.25, 0.375, 0.125]] * 2


def test_what_a_region_does_to_the_probability_is_paired_and_has_the_border_beside_it():
    found = measured(regional, Planted(make_card(side=128), paint=30.0), region_n=2)
    item = found["normal -> viral_pneumonia"]["words"]["viral_pneumonia"]
    assert item["network"]["change"]["value"] > 0.05
    difference = item["network"]["after"]["value"] - item["network"]["before"]["value"]
    assert item["network"]["change"]["value"] == pytest.approx(difference)
    assert item["border"]["change"]["value"] == 0.0
    back = found["viral_pneumonia -> normal"]["words"]["viral_pneumonia"]["network"]
    assert back["change"]["value"] < 0


def test_changes_are_in_grey_levels_whatever_the_unit():
    before = ImageSet(np.zeros((3, 1, 4, 4), np.float32), "CT", "HU", (-1000.0, 1040.0))
    after = replace(before, pixels=before.pixels + 80.0)
    found = regional.changes(before, after, regional.box((4, 4), (0.0, 0.5, 0.0, 0.5)), None)
    assert found["inside"]["value"] == found["outside"]["value"] == pytest.approx(10.0, abs=1e-4)
    assert found["outside_largest"] == pytest.approx(10.0, abs=1e-4)


QUICK = ["planted", "--n", "6", "--seeds", "5"]


@pytest.fixture
def planted(house, monkeypatch):
    """The model as the command line finds it."""
    model = Planted()
    model.card.save(house / "planted")
    monkeypatch.setattr(registry, "load", lambda name: model)
    return model


def test_what_is_done_is_kept_and_what_has_changed_is_done_again(planted, house, capsys):
    both = [*QUICK, "--parts", "adherence", "severity"]
    assert pathology.main(both) == 0
    path = house / "planted" / "pathology-test-6.json"
    first, made = pathology_file.read(path), planted.made
    assert made == 3 * 6 + 2 * 5 * 5
    printed = capsys.readouterr().out
    assert "viral_pneumonia" in printed and "6 / 6" in printed and "yes" in printed
    assert pathology.main(both) == 0 and planted.made == made
    assert pathology_file.read(path) == first
    assert pathology.main([*both, "--guidance", "2"]) == 0
    assert planted.made == 2 * made and pathology_file.read(path)["parts"]["severity"]["settings"]["guidance"] == 2.0
    planted.card = replace(planted.card, weights={"model.safetensors": "b" * 64})
    assert pathology.main([*QUICK, "--guidance", "2", "--parts", "severity"]) == 0
    parts = pathology_file.read(path)["parts"]
    assert planted.made == 2 * made + 50
    assert parts["severity"]["weights"] != parts["adherence"]["weights"]


def test_results_of_two_models_never_share_a_file(planted, house, tmp_path, capsys):
    out = tmp_path / "out.json"
    assert pathology.main([*QUICK, "--parts", "adherence", "--out", str(out)]) == 0
    planted.card = replace(planted.card, name="second")
    before = out.read_bytes()
    assert pathology.main([*QUICK, "--parts", "severity", "--out", str(out)]) == 2
    assert "holds the results of planted, not of second" in capsys.readouterr().err
    assert out.read_bytes() == before


def test_a_stopped_run_goes_on_where_it_was(planted, house, monkeypatch):
    sample, asked = planted.sample, []

    def stopped(request):
        asked.append(request.label)
        if request.label == "viral_pneumonia":
            raise KeyboardInterrupt
        return sample(request)

    monkeypatch.setattr(planted, "sample", stopped)
    assert pathology.main([*QUICK, "--parts", "severity"]) == 130
    path = house / "planted" / "pathology-test-6.json"
    assert list(pathology_file.read(path)["parts"]["severity"]["items"]) == ["bacterial_pneumonia"]
    monkeypatch.setattr(planted, "sample", lambda request: (asked.append(request.label), sample(request))[1])
    asked.clear()
    assert pathology.main([*QUICK, "--parts", "severity"]) == 0
    assert set(asked) == {"viral_pneumonia"}
    assert set(pathology_file.read(path)["parts"]["severity"]["items"]) == set(LABELS[1:])


def test_only_a_full_run_on_the_test_split_bears_the_published_name(planted):
    assert Task(planted).file() == "pathology.json"
    assert Task(planted, split="val").file() == "pathology-val-500.json"
    for less in ({"n": 499}, {"seeds": 99}, {"region_n": 10}, {"sweep_n": 64}, {"extractor": "pixels-32"}):
        assert Task(planted, **less).file() == f"pathology-test-{less.get('n', 500)}.json"


@pytest.mark.parametrize(
    ("controls", "words", "message"),
    [
        (("label",), ["--parts", "region"], "takes no region; leave region out of --parts"),
        (("towards",), [], "no control to measure"),
        (("label",), ["--guidance", "3"], "takes no guidance"),
        (("label", "guidance"), ["--guidance", "nan"], "Guidance must be a number"),
    ],
)
def test_what_cannot_be_measured_is_one_sentence_and_leaves_nothing(planted, house, capsys, controls, words, message):
    planted.card = replace(planted.card, controls=controls)
    assert pathology.main([*QUICK, *words]) == 2
    assert message in capsys.readouterr().err
    assert not list(house.rglob("pathology*"))


def test_parts_without_a_control_are_left_out_and_missing_data_are_said(planted, house, capsys, monkeypatch):
    planted.card = replace(planted.card, controls=("label",))
    assert pathology.main(QUICK) == 0
    assert list(pathology_file.read(house / "planted" / "pathology-test-6.json")["parts"]) == ["adherence"]
    monkeypatch.delenv("MEDGEN_DATA")
    assert pathology.main(QUICK) == 2
    assert "MEDGEN_DATA" in capsys.readouterr().err


MEAN = {"value": 0.6, "low": 0.5, "high": 0.7}
AUC = {**MEAN, "n_with": 500, "n_without": 500}
PAIR = {"before": MEAN, "after": MEAN, "change": MEAN}


def published(guidances=(1.0, 2.0)):
    """The content of a pathology.json."""
    asked = {"split": "test", "guidance": 1.5, "steps": 16, "classifiers": {JUDGE: {"model.safetensors": "c" * 64}}}
    weights, created = {"model.safetensors": "a" * 64}, "2026-01-01T00:00:00"
    metrics = {name: dict(MEAN) for name in SWEPT}
    parts = {
        "adherence": {"settings": {**asked, "n": 500, "real_sha256": {}}, "items": {"normal": {
            "cohort": "kermany_cxr_128", "classifier": JUDGE, "generated": AUC, "generated_border": AUC,
            "real": AUC, "real_border": {**AUC, "value": None, "low": None, "high": None}}}},
        "severity": {"settings": {**asked, "seeds": 100}, "items": {"viral_pneumonia": {
            "cohort": "kermany_cxr_128", "classifier": JUDGE, "healthy": "normal", "n": 100,
            "severities": [0.0, 1.0], "label": [MEAN] * 2, "border": [MEAN] * 2, "healthy_word": [MEAN] * 2,
            "rise": MEAN, "steps": [MEAN], "rising_seeds": 0.5, "monotone": True}}},
        "guidance": {"settings": {
            "split": "test", "steps": 16, "protocol": "cxr-128", "data": "kermany_cxr_128", "k": 5, "n_real": 584,
            "extractor": {"name": "inception-v3-2048", "sha256": "7" * 64}, "n_fake": 584, "real_sha256": "f" * 64},
            "items": {f"{g:g}": {"guidance": g, "metrics": metrics} for g in guidances}},
        "region": {"settings": {**asked, "n": 100, "place": "lung", "boxes": {}}, "items": {"normal -> x": {
            "cohort": "kermany_cxr_128", "shown": "normal", "asked": "viral_pneumonia", "n": 100, "n_subjects": 90,
            "inside": MEAN, "outside": MEAN, "outside_largest": 1.25,
            "words": {word: {"classifier": JUDGE, "network": PAIR, "border": PAIR} for word in LABELS}}}},
    }  # fmt: skip
    parts = {name: {"weights": weights, "created": created, **part} for name, part in parts.items()}
    return json.loads(json.dumps({"model": "planted", "parts": parts}))


@pytest.fixture
def results(house):
    """The published file of one model, whose content a test may change; returns its path."""
    make_card().save(house / "planted")
    path = house / "planted" / "pathology.json"
    path.write_text(json.dumps(published()))
    return path


def test_the_board_reads_what_was_measured(results):
    found = board.control()
    assert found.problems == () and not any(found.missing(part) for part in pathology_file.PARTS)
    assert found.adherence.loc[0, ["label", "generated", "generated_low"]].tolist() == ["normal", 0.6, 0.5]
    words = board.tables(found._asdict())
    row = words["adherence"].iloc[0]
    assert row["Classifier, generated"] == "0.60 [0.50, 0.70]" and row["Border, real"] == "-"
    assert (row["n generated"], row["Guidance"]) == ("500 / 500", "1.5")
    assert words["severity"].iloc[0][["0", "1", "Seeds that do"]].tolist() == ["0.60 [0.50, 0.70]"] * 2 + ["50 %"]
    assert words["severity"].iloc[0]["Healthy word, from 0 to 1"] == "0.60 [0.50, 0.70] to 0.60 [0.50, 0.70]"
    assert words["guidance"]["Guidance"].tolist() == ["1", "2"]
    row = words["region"].iloc[0]
    assert len(words["region"]) == 1 and (row["Probability of"], row["Largest outside"]) == ("viral_pneumonia", "1.25")


def test_the_tab_draws_it(results):
    shown, sweep_figure, curves, steps, region, notes = tab.draw_control()
    assert "<td class=words>normal</td><td>0.60<small>[0.50, 0.70]</small></td>" in shown and notes == ""
    assert sweep_figure["visible"] and len(sweep_figure["value"].data) == 2
    assert "<td>yes</td>" in steps and "<td>50 %</td>" in steps
    assert curves["visible"] and "<td class=words>viral_pneumonia</td>" in region
    assert "| planted | normal | 0.60 [0.50, 0.70] | 0.60 [0.50, 0.70] |" in summary.summary()


def test_a_model_without_the_file_is_not_measured_and_one_without_the_control_not_listed(results, house):
    make_card("other").save(house / "other")
    make_card("plain", controls=(), labels=()).save(house / "plain")
    found = board.control()
    assert all(found.missing(part) == ["other"] for part in pathology_file.PARTS)
    for words in board.tables(found._asdict()).values():
        assert words.loc[words["Model"] == "other"].iloc[0, 1:].tolist() == ["not measured"] + ["-"] * (
            words.shape[1] - 2
        )
        assert "plain" not in set(words["Model"])


@pytest.mark.parametrize("part", pathology_file.PARTS)
def test_numbers_of_other_weights_are_refused_as_those_of_a_report_are(results, part):
    values = published()
    values["parts"][part]["weights"] = {"model.safetensors": "b" * 64}
    results.write_text(json.dumps(values))
    found = board.control()
    assert found.missing(part) == ["planted"] and len(found.problems) == 1
    assert f"made with other weights than the card names ({part})" in found.problems[0]
    assert [name for name in pathology_file.PARTS if found.missing(name)] == [part]
    if part == "guidance":
        assert plots.guidance_sweep(found.guidance) is None


def test_the_judgement_of_another_classifier_is_refused(results, monkeypatch):
    other = SimpleNamespace(weights={"model.safetensors": "d" * 64})
    monkeypatch.setattr(control, "classifiers", lambda: {JUDGE: other})
    found = board.control()
    assert [part for part in pathology_file.PARTS if found.missing(part)] == ["adherence", "severity", "region"]
    assert f"other weights of {JUDGE}" in found.problems[0]


def without(values, *keys):
    for key in keys[:-1]:
        values = values[key]
    del values[keys[-1]]


def put(new, values, *keys):
    for key in keys[:-1]:
        values = values[key]
    values[keys[-1]] = new


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda v: without(v, "model"), "must hold a model"),
        (lambda v: put({}, v, "parts", "beauty"), "parts among"),
        (lambda v: without(v, "parts", "adherence", "weights"), r"adherence\.weights"),
        (lambda v: put("0.9", v, "parts", "adherence", "items", "normal", "real", "value"), r"normal\.real\.value"),
        (lambda v: without(v, "parts", "adherence", "items", "normal", "generated_border"), "generated_border"),
        (lambda v: put(None, v, "parts", "guidance", "items", "2", "guidance"), r"guidance\.items\.2\.guidance"),
        (lambda v: put(True, v, "parts", "region", "items", "normal -> x", "n"), r"normal -> x\.n"),
        (lambda v: put([MEAN], v, "parts", "severity", "items", "viral_pneumonia", "label"), "differ in length"),
        (lambda v: put(1, v, "parts", "severity", "items", "viral_pneumonia", "monotone"), "monotone"),
    ],
)
def test_a_damaged_file_is_refused_and_says_where(results, damage, message):
    values = published()
    pathology_file.read(results)
    damage(values)
    results.write_text(json.dumps(values))
    with pytest.raises(MedgenError, match=message):
        pathology_file.read(results)
    found = board.control()
    assert found.missing("adherence") == ["planted"] and "planted/pathology.json" in found.problems[0]


@pytest.mark.parametrize("text", ["{", "[]", json.dumps(published()).replace("1.25", "NaN")])
def test_what_is_no_json_object_is_refused(results, text):
    results.write_text(text)
    with pytest.raises(MedgenError, match=r"planted/pathology\.json"):
        pathology_file.read(results)


def test_what_was_written_can_be_read_and_shown(planted, house):
    """The writer and the strict reader agree, for every part that made-up data allow."""
    planted.card = make_card(side=128)
    model = registry.load("planted")
    path = house / "planted" / "pathology.json"
    planted.card.save(house / "planted")
    task = Task(model, n=6, seeds=5, region_n=2)
    pathology.measure(task, "region", path)
    values = pathology_file.read(path)
    shown = board.tables(control.frames(planted.card, values, ["region"]))["region"]
    assert len(shown) == 4 + 2 * 2  # normal as itself is judged on both diseases
    assert values["parts"]["region"]["settings"]["place"] == regional.PLACE
    assert values["parts"]["region"]["weights"] == planted.card.weights


def test_figures_draw_one_line_a_model_with_its_bars(results, house):
    make_card("other").save(house / "other")
    second = published((1.0, 3.0, 2.0))
    second["parts"]["guidance"]["items"]["2"]["metrics"]["recall"] = dict.fromkeys(("value", "low", "high"))
    (house / "other" / "pathology.json").write_text(json.dumps({**second, "model": "other"}))
    found = board.control()
    figure = plots.guidance_sweep(found.guidance)
    assert [(trace.name, trace.showlegend) for trace in figure.data] == [
        ("other", True), ("planted", True), ("other", False), ("planted", False)
    ]  # fmt: skip
    precision, recall = figure.data[0], figure.data[2]
    assert list(precision.x) == [1.0, 2.0, 3.0] and list(precision.error_y.array) == pytest.approx([0.1] * 3)
    assert list(recall.y) == [0.6, None, 0.6], "a missing number is a gap, not a zero"
    assert [note.text for note in figure.layout.annotations] == ["Precision (cxr-128)", "Recall (cxr-128)"]
    curves = plots.severity_curves(found.severity)
    assert {trace.name for trace in curves.data} == {
        f"{name}{end}" for name in ("other", "planted") for end in ("", ", border only", ", healthy")
    }
    assert [note.text for note in curves.layout.annotations] == ["viral_pneumonia"]
    json.loads(figure.to_json()), json.loads(curves.to_json())
    empty = control.frames(make_card(), {"parts": {}}, [])
    assert plots.guidance_sweep(empty["guidance"]) is plots.severity_curves(empty["severity"]) is None


def test_sweeps_of_other_images_are_drawn_apart(results, house):
    make_card("other").save(house / "other")
    second = published()
    second["parts"]["guidance"]["settings"] |= {"protocol": "cxr-256", "n_real": 248}
    (house / "other" / "pathology.json").write_text(json.dumps(second))
    figure = plots.guidance_sweep(board.control().guidance)
    assert [note.text for note in figure.layout.annotations] == [
        "Precision (cxr-128)", "Recall (cxr-128)", "Precision (cxr-256)", "Recall (cxr-256)"
    ]  # fmt: skip
    assert [trace.name for trace in figure.data] == ["planted", "planted", "other", "other"]


def test_real_scores_are_those_of_whole_patients(monkeypatch):
    """Real pictures come with their patients, so that the interval resamples people."""
    seen = []
    entry = adherence.auc_entry
    monkeypatch.setattr(adherence, "auc_entry", lambda *words: (seen.append(words[2:]), entry(*words))[1])
    measured(adherence, Planted(), n=6)
    subjects = data.real("kermany_cxr_128", "test").subjects
    assert seen == [(), (), (subjects,), (subjects,)] * 3
