"""Disagreement as a warning of error, and hallucination.json from the command line to the board."""

import json
from dataclasses import replace

import hallucination_fakes as made_up
import numpy as np
import pytest
from hallucination_fakes import INSIDE, Fake
from PIL import Image

from eval import disagreement, hallucination, hallucination_file, hallucination_plots, hallucination_tables
from eval.hallucination_words import tables
from eval.lesion_task import Task
from medgen import ImageSet, MedgenError, data, registry
from medgen.auc import auc_entry
from medgen.disagreement import disagreement as spread_of

K, PIXELS = 8, 4000
QUICK = ["--lesions", "18", "--slices", "6", "--samples", "3", "--repeated", "2"]


def drawn(patients=6, *, informative=True, width=1.0, seed=0):
    """Patients whose truth and samples scatter by known widths; `width`: of the samples, as a share of the truth's."""
    items = {}
    for number in range(patients):
        rng = np.random.default_rng((seed, number))
        real = rng.uniform(2.0, 30.0, PIXELS)
        said = real if informative else rng.permutation(real)
        truth = 128 + real * rng.normal(size=PIXELS)
        samples = 128 + width * said * rng.normal(size=(K + 1, PIXELS))
        own = disagreement.told(samples, truth, large=25.0, span=255.0)
        columns = {name: list(own[name]) for name in disagreement._COLUMNS}
        items[f"p{number}"] = columns | {name: [own[name]] for name in disagreement._NUMBERS}
    return disagreement.summary({"samples": K}, items)


def test_disagreement_is_the_standard_deviation_of_the_samples():
    stack = np.random.default_rng(0).normal(100, 7, (5, 1, 4, 6)).astype(np.float32)
    images = ImageSet(stack, "CT", "HU", (-100.0, 300.0))
    assert spread_of(images) == pytest.approx(stack[:, 0].std(axis=0, ddof=1), rel=1e-5)
    assert (spread_of(stack) == spread_of(images)).all() and spread_of(images).shape == (4, 6)
    assert (spread_of(np.repeat(stack[:1], 3, axis=0)) == 0).all(), "one picture for every seed"
    for wrong, said in ((stack[:1], "at least 2 samples"), (np.zeros((3, 2, 4, 6)), "one channel")):
        with pytest.raises(MedgenError, match=said):
            spread_of(wrong)


def test_samples_from_the_distribution_of_the_truth_keep_what_they_promise():
    found = drawn()
    assert found["ratio"]["value"] == pytest.approx(1.0, abs=0.02)
    assert found["coverage"]["value"] == pytest.approx((K - 1) / (K + 1), abs=0.02)
    for name in ("auc", "spearman", "coverage"):
        assert found[name]["value"] == pytest.approx(found[f"promised_{name}"]["value"], abs=0.02)
    for point in found["curve"]:
        assert point["error"]["value"] == pytest.approx(point["promised"], rel=0.12), "whatever k is"
    middle = found["curve"][4]
    assert middle["error"]["low"] < middle["error"]["value"] < middle["error"]["high"]
    assert sum(point["share"] for point in found["curve"]) == pytest.approx(1.0)
    promised = [point["promised"] for point in found["curve"]]
    assert promised == sorted(promised) and len(promised) == 10


def test_samples_that_are_too_sure_are_found_out():
    found = drawn(width=0.5)
    assert found["ratio"]["value"] > 1.8 and found["ratio"]["low"] > 1.5
    assert found["coverage"]["high"] < found["promised_coverage"]["value"] - 0.1
    assert drawn(width=2.0)["ratio"]["value"] < 0.75


def test_spread_where_the_error_is_predicts_it_and_spread_elsewhere_does_not():
    informed, blind = drawn(), drawn(informative=False)
    assert informed["auc"]["value"] > 0.75 and informed["spearman"]["value"] > 0.4
    # not quite: where samples scatter more, their mean is a little farther off
    assert blind["auc"]["value"] == pytest.approx(0.5, abs=0.04)
    assert blind["spearman"]["value"] == pytest.approx(0.0, abs=0.1)
    assert blind["promised_auc"]["value"] > 0.75, "what it says of itself"


def test_the_area_from_histograms_is_the_area_from_pixels():
    rng = np.random.default_rng(1)
    truth = rng.random(3000) < 0.2
    spread = np.exp(rng.normal(size=3000) + 1.0 * truth)
    samples = 100 + spread[None] * np.array([-1.0, 0.0, 1.0, 0.5])[:, None]
    own = disagreement.told(samples, 100 + 50.0 * truth, large=25.0, span=255.0)
    found = disagreement._auc(own["large"][None], (own["pixels"] - own["large"])[None])[0]
    assert found == pytest.approx(auc_entry(spread, truth, repeats=0)["value"], abs=0.003)
    assert own["pixels"].sum() == 3000 and own["squared_error"].sum() == pytest.approx(2500.0 * truth.sum())
    assert own["promised_squared_error"].sum() == pytest.approx((0.25 * spread**2).sum())
    assert (
        own["inside_range"] == pytest.approx(1 - (truth & (spread < 50)).mean()) and own["promised_inside_range"] == 1
    )


def test_few_patients_get_no_interval_and_equal_spreads_no_rank():
    assert drawn(patients=4)["auc"]["low"] is None and drawn(patients=5)["auc"]["low"] is not None
    same = disagreement.told(np.full((4, 50), 7.0), np.arange(50.0), large=25.0, span=255.0)
    assert same["spearman"] is None and same["pixels"][0] == 50, "no spread at all has a bin of its own"


def test_a_translator_that_knows_where_it_guesses_is_told_from_one_that_does_not(monkeypatch):
    """Wrong in the left third of each slice; its grain lies there, or anywhere."""
    made_up.with_pairs(monkeypatch, made_up.pair_set(4))
    doubtful = INSIDE & (made_up.COLUMNS < 50)

    def grain(seed):
        return 20 * np.random.default_rng(seed).normal(size=doubtful.shape)

    def knows(source, seed):
        return made_up.inverse(source) + np.where(doubtful, 40 + grain(seed), np.where(INSIDE, 0.02 * grain(seed), 0))

    def does_not(source, seed):
        return made_up.inverse(source) + np.where(doubtful, 40.0, 0.0) + np.where(INSIDE, grain(seed), 0)

    areas = []
    for draw in (knows, does_not):
        task = Task(Fake(draw, "diffusion"), slices=12, samples=6)
        items = dict(disagreement.measure(task, frozenset()))
        found = disagreement.summary(disagreement.settings(task), items)
        assert (found["n"], found["n_subjects"], found["k"]) == (12, 6, 6)
        areas.append(found["auc"]["value"])
    assert areas[0] > 0.97 and areas[1] == pytest.approx(0.5, abs=0.06)
    asked = {request.seeds for request in task.model.asked}
    assert asked == {tuple(range(7))}, "k seeds of each slice, and one to stand in for the truth"


@pytest.fixture(scope="module")
def archived(tmp_path_factory):
    """A folder for MEDGEN_DATA."""
    folder = tmp_path_factory.mktemp("pairs")
    made_up.archive(folder, made_up.pair_set())
    return folder


@pytest.fixture
def house(tmp_path, monkeypatch, archived):
    """Checkpoints with three translators, and the archive they are measured on."""
    monkeypatch.setenv("MEDGEN_CHECKPOINTS", str(tmp_path / "checkpoints"))
    monkeypatch.setenv("MEDGEN_DATA", str(archived))
    models = {
        fake.name: fake
        for fake in (
            Fake(made_up.perfect, "unet", "unet-t1-flair-128"),
            Fake(made_up.mean_picture, "pix2pix", "pix2pix-t1-flair-128"),
            Fake(made_up.grainy, "diffusion", "diffusion-t1-flair-128"),
        )
    }
    for name, fake in models.items():
        fake.card.save(tmp_path / "checkpoints" / name)
    monkeypatch.setattr(registry, "load", models.__getitem__)
    return tmp_path / "checkpoints", models


def test_the_command_line_measures_all_that_makes_sense_and_the_board_shows_it(house, capsys):
    folder, models = house
    assert hallucination.main([*models, *QUICK]) == 0
    printed = capsys.readouterr().out
    assert "T1 to FLAIR" in printed and "written: unet-t1-flair-128/hallucination-test-18.json" in printed
    for name, fake in models.items():
        values = hallucination_file.read(folder / name / "hallucination-test-18.json")
        wanted = ["lesions", "invention"] + ["disagreement"] * (fake.method == "diffusion")
        assert list(values["parts"]) == wanted and values["model"] == name
        assert all(part["weights"] == fake.card.weights for part in values["parts"].values())
        (folder / name / "hallucination.json").write_text(json.dumps(values))
    found = hallucination_tables.hallucination()
    assert not found.problems and found.lesions["measured"].all()
    words = tables(found._asdict())
    kept = words["lesions"].set_index("Model")["Kept"]
    assert kept["unet-t1-flair-128"].startswith("100 % [") and kept["pix2pix-t1-flair-128"].startswith("0 % [")
    assert len(set(found.lesions["group"])) == 1, "the same lesions"
    assert words["lesions"].set_index("Model")["Samples that keep it"]["diffusion-t1-flair-128"] == "100 % of 3"
    assert list(words["sizes"]["Radius mm"])[:3] == ["3 to 6", "6 to 9", "9 to 12"]
    assert list(words["invention"]["Model"]).count(hallucination_tables.AS_IT_WAS) == 1
    assert list(words["disagreement"]["Model"]) == ["diffusion-t1-flair-128"]
    figure = hallucination_plots.calibration_curves(found.curve)
    assert [trace.name for trace in figure.data] == ["as promised", "diffusion-t1-flair-128"]
    json.loads(figure.to_json())


def test_a_stopped_run_goes_on_and_other_weights_begin_anew(house, monkeypatch, capsys):
    folder, models = house
    fake = models["unet-t1-flair-128"]
    path = folder / fake.name / "hallucination-test-50.json"
    asked = [fake.name, "--lesions", "50", "--parts", "lesions"]
    fake.breaks_after = 4  # two calls of 20 lesions each
    assert hallucination.main(asked) == 130
    assert "goes on from there" in capsys.readouterr().err
    half = hallucination_file.read(path)["parts"]["lesions"]
    assert list(half["items"]) == ["0", "20"] and half["summary"] is None
    frame = hallucination_tables.frames(fake.card, hallucination_file.read(path), ["lesions"])["lesions"]
    assert not frame["measured"].any(), "an unfinished part has no numbers"
    fake.breaks_after, before = None, len(fake.asked)
    assert hallucination.main(asked) == 0
    assert len(fake.asked) - before == 1, "the ten that were missing, in one batch"
    whole = hallucination_file.read(path)["parts"]["lesions"]
    assert whole["items"]["0"] == half["items"]["0"] and whole["summary"]["kept"]["n"] == 50
    before = len(fake.asked)
    assert hallucination.main(asked) == 0 and len(fake.asked) == before, "nothing is left to do"
    other = replace(fake.card, weights={"model.safetensors": "e" * 64})
    monkeypatch.setattr(Fake, "card", other)
    assert hallucination.main(asked) == 0 and len(fake.asked) == before + 5, "all fifty again"


def test_stale_broken_and_missing_results_are_said_and_never_shown(house):
    folder, models = house
    name = "pix2pix-t1-flair-128"
    assert hallucination.main([name, *QUICK, "--parts", "invention"]) == 0
    values = json.loads((folder / name / "hallucination-test-18.json").read_text())
    file = folder / name / "hallucination.json"
    values["parts"]["invention"]["weights"] = {"model.safetensors": "f" * 64}
    file.write_text(json.dumps(values))
    found = hallucination_tables.hallucination()
    assert "other weights than the card names (invention)" in found.problems[0]
    assert not found.invention["measured"].any() and len(found.invention) == len(models)
    assert list(found.disagreement["model"]) == ["diffusion-t1-flair-128"], "others have no samples to disagree"
    shown = tables(found._asdict())["lesions"]
    assert set(shown["Lesions (patients)"]) == {"not measured"} and set(shown["Kept"]) == {"-"}
    assert hallucination_plots.calibration_curves(found.curve) is None
    for broken in ("{", '{"model": "x", "parts": {"other": {}}}', json.dumps({**values, "model": 3})):
        file.write_text(broken)
        (problem,) = hallucination_tables.hallucination().problems
        assert "run eval.hallucination for this model again" in problem
    values["parts"]["invention"]["summary"]["model"]["brighter"]["value"] = "many"
    file.write_text(json.dumps(values))
    assert "invention.summary.model.brighter.value" in hallucination_tables.hallucination().problems[0]


def test_the_file_is_short_and_says_the_same(tmp_path):
    path = tmp_path / "m" / "hallucination.json"
    for name in ("plain", "odd [ 1,  2 ] name"):
        values = {"model": name, "parts": {}, "more": [[1.5, None, name], [], [{"a": [1, 2]}], list(range(500))]}
        hallucination_file.write(path, values)
        assert json.loads(path.read_text()) == values
        assert hallucination_file.read(path)["model"] == name
    hallucination_file.write(path, {"model": "plain", "parts": {}, "more": list(range(500))})
    assert len(path.read_text().splitlines()) < 10
    with pytest.raises(ValueError, match="not JSON compliant"):
        hallucination_file.write(path, {"model": "plain", "parts": {"lesions": float("nan")}})


def test_a_quick_look_never_replaces_published_numbers(house):
    fake = house[1]["diffusion-t1-flair-128"]
    assert Task(fake).file() == "hallucination.json"
    for less in ({"lesions": 199}, {"samples": 4}, {"slices": 50}, {"repeated": 10}, {"steps": 2}, {"split": "val"}):
        name = Task(fake, **less).file()
        assert name == f"hallucination-{less.get('split', 'test')}-{less.get('lesions', 200)}.json"


def test_what_cannot_be_measured_is_one_sentence_and_leaves_nothing(house, capsys, monkeypatch, tmp_path):
    folder, _ = house
    for words, said in (
        (["unet-t1-flair-128", "--parts", "disagreement"], "same picture for every seed"),
        (["unet-t1-flair-128", "pix2pix-t1-flair-128", "--out", "x.json"], "cannot hold several models"),
        (["diffusion-t1-flair-128", "--samples", "1"], "at least 2"),
    ):
        assert hallucination.main(words) == 2
        assert said in capsys.readouterr().err
    monkeypatch.delenv("MEDGEN_DATA")
    assert data.data_dir() is None and hallucination.main(["unet-t1-flair-128"]) == 2
    assert "MEDGEN_DATA" in capsys.readouterr().err
    assert not list(folder.rglob("hallucination*"))


def test_pictures_go_where_the_user_says_and_nowhere_else(house, tmp_path):
    folder, _ = house
    place = tmp_path / "look"
    name = "unet-t1-flair-128"
    assert hallucination.main([name, *QUICK, "--parts", "lesions", "--pictures", str(place)]) == 0
    with Image.open(place / f"{name}-lesions.png") as picture:
        assert picture.size == (5 * 128, 6 * 128) and picture.text["Synthetic"] == "partly"
        pixels = np.asarray(picture)
    source, with_it, output, output_with, difference = np.split(pixels[:128], 5, axis=1)
    assert (source != with_it).any() and (output != output_with).any()
    assert ((difference != 128) == (output != output_with)).mean() > 0.99, "grey where nothing changed"
    assert not list(folder.rglob("*.png"))


def test_the_section_of_the_board_draws_what_there_is(house):
    from demos import hallucination as section

    lesions, sizes, floors, invention, waiting, plot, notes = section.draw()
    assert "not measured" in lesions and sizes == floors == "" and not plot["visible"]
    assert "not measured" in invention and "diffusion-t1-flair-128" in waiting and notes == ""
    assert len(section.CAPTIONS) == 5
