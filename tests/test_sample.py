"""The command line: what it writes, what it remakes, and what it says when it cannot."""

from __future__ import annotations

import csv
import json
import os
import resource
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import medgen
from medgen import ModelCard, Request, noise, sample
from medgen.provenance import pixels_sha256, read_manifest, requests_of

NAME = "noise-cxr-8"
ROOT = Path(medgen.__file__).parent.parent


@pytest.fixture
def card(tmp_path, monkeypatch) -> ModelCard:
    """A noise model in a checkpoints folder of its own; steps only pace the progress."""
    made = ModelCard(
        name=NAME,
        family="noise",
        title="Noise",
        modality="CR",
        unit="au",
        window=(0.0, 255.0),
        shape=(1, 8, 8),
        licence="MIT",
        limits="Noise.",
        controls=("label", "steps", "towards"),
        labels=("normal", "viral_pneumonia"),
        steps=4,
        weights={"model.safetensors": "ab" * 32},
    )
    made.save(tmp_path / "checkpoints" / NAME)
    monkeypatch.setenv("MEDGEN_CHECKPOINTS", str(tmp_path / "checkpoints"))
    return made


def run(*words: object) -> int:
    return sample.main([str(word) for word in words])


def hashes(folder: Path) -> list[str]:
    return [pixels_sha256(np.asarray(Image.open(path))) for path in sorted(folder.glob("*.png"))]


def left(tmp_path: Path) -> list[str]:
    return sorted(p.name for p in tmp_path.iterdir() if p.name != "checkpoints")


def test_n_images_of_each_label_with_consecutive_seeds(tmp_path, card, capsys):
    out = tmp_path / "out"
    assert run(NAME, "--n", 3, "--seed", 7, "--out", out, "--label", "normal", "--label", "viral_pneumonia") == 0
    with (out / "labels.csv").open(newline="") as file:
        rows = [(row["file"], row["seed"], row["label"]) for row in csv.DictReader(file)]
    assert rows[0] == ("0000_seed7_normal.png", "7", "normal") and len(rows) == 6
    assert rows[5] == ("0005_seed9_viral_pneumonia.png", "9", "viral_pneumonia")
    for label, first in (("normal", 0), ("viral_pneumonia", 3)):
        expected = medgen.load(NAME).sample(Request(seeds=(7, 8, 9), label=label)).uint8()
        for i in range(3):
            np.testing.assert_array_equal(np.asarray(Image.open(out / rows[first + i][0])), expected[i, 0])
    captured = capsys.readouterr()
    assert "6 images" in captured.out and "100%" in captured.err


def test_the_batch_size_changes_no_pixel(tmp_path, card):
    for batch in (1, 2, 100):
        assert run(NAME, "--n", 5, "--out", tmp_path / str(batch), "--batch", batch) == 0
    assert hashes(tmp_path / "1") == hashes(tmp_path / "2") == hashes(tmp_path / "100")
    assert len(set(hashes(tmp_path / "1"))) == 5


def test_progress_follows_the_steps_of_the_model(card):
    seen: list[float] = []
    requests = [Request(seeds=(0, 1, 2), label=label) for label in card.labels]
    sizes = [len(images) for images, _ in sample.parts(medgen.load(NAME), requests, 2, seen.append)]
    assert sizes == [2, 1, 2, 1] and seen == sorted(seen) and seen[-1] == 6
    assert seen[:5] == [0.5, 1.0, 1.5, 2.0, 2.0]  # four steps of two images, then the finished part


@pytest.mark.parametrize("format", ["png", "dcm"])
def test_a_manifest_remakes_the_same_pixels(tmp_path, card, capsys, format):
    first, again = tmp_path / "first", tmp_path / "again"
    labels = ("--label", "normal", "--label", "viral_pneumonia")
    assert run(NAME, "--n", 2, "--steps", 2, "--out", first, "--format", format, *labels) == 0
    # the card's defaults changing meanwhile must not matter
    ModelCard(**{**card.__dict__, "steps": 9}).save(tmp_path / "checkpoints" / NAME)
    assert run("--manifest", first / "manifest.json", "--out", again, "--batch", 3) == 0
    assert "the same pixels" in capsys.readouterr().out
    old, new = (json.loads((folder / "manifest.json").read_text()) for folder in (first, again))
    assert old["files"] == new["files"] and old["request"] == new["request"]
    assert old["request"][0]["steps"] == 2 and len(list(again.glob(f"*.{format}"))) == 4


def test_a_latent_walk_is_remade_too(tmp_path, card):
    request = Request(seeds=(1,), towards=2, mix=0.25)
    images = medgen.load(NAME).sample(request)
    path = medgen.files.save_set(images, card, request, tmp_path / "walk", seconds=0.0)
    assert run("--manifest", path, "--out", tmp_path / "again") == 0
    assert hashes(tmp_path / "walk") == hashes(tmp_path / "again")


TOLD = {"severity": 0.25, "age": 61.5, "sex": "F", "view": "PA", "cohort": "nih_cxr_128", "steps": 2, "guidance": 2.0}
COLUMNS = [*(f"label={word}" for word in ("No Finding", "Effusion", "Pneumonia")), "cohort=nih_cxr_128"]
COLUMNS += ["age", "age known", "sex=F", "sex=M", "view=AP", "view=PA"]


@pytest.fixture
def told_card(tmp_path, card) -> ModelCard:
    """The noise model with a card that takes every flag."""
    changes = {"net": {"conditions": COLUMNS}, "labels": ("No Finding", "Effusion", "Pneumonia")}
    made = replace(card, controls=("label", *TOLD), guidance=1.0, **changes)
    made.save(tmp_path / "checkpoints" / NAME)
    return made


def test_every_flag_reaches_the_request_and_its_manifest(tmp_path, told_card):
    flags = [word for name, value in TOLD.items() for word in (f"--{name}", value)]
    assert run(NAME, "--label", "Effusion", *flags, "--out", tmp_path / "out") == 0
    written = read_manifest(tmp_path / "out" / "manifest.json")
    assert requests_of(written) == [Request((0,), label="Effusion", **TOLD)]
    assert run("--manifest", tmp_path / "out" / "manifest.json", "--out", tmp_path / "again") == 0


def test_severity_zero_is_filed_as_healthy(tmp_path, told_card):
    assert run(NAME, "--label", "Effusion|Pneumonia", "--severity", 0, "--out", tmp_path / "out") == 0
    with (tmp_path / "out" / "labels.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["label"], row["severity"]) == ("No Finding", "0.0") and "Effusion" not in row["file"]
    words = Image.open(tmp_path / "out" / row["file"]).text
    assert words["Label"] == "No Finding" and json.loads(words["Request"])["label"] == "Effusion|Pneumonia"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--severity", "nan", "--label", "Effusion"), "Severity must be"),
        (("--severity", "0.5"), "needs a disease to grade"),
        (("--severity", "0.5", "--label", "Effusion", "--label", "No Finding"), "not No Finding"),
        (("--age", "200"), "Age must be"),
        (("--sex", "W"), "sex must be F or M"),
        (("--view", "LL"), "view must be AP or PA"),
        (("--cohort", "moon"), "cannot be told cohort=moon"),
        (("--label", "Effusion|Hernia"), "does not know the label 'Hernia'"),
        (("--label", "Effusion|No Finding"), "means no disease"),
    ],
)
def test_a_flag_without_sense_is_one_sentence_and_writes_nothing(tmp_path, told_card, capsys, words, sentence):
    assert run(NAME, *words, "--out", tmp_path / "out") == 2
    said = capsys.readouterr().err
    assert sentence in said and "Traceback" not in said and left(tmp_path) == []


def test_a_committed_model_heeds_severity_and_two_labels(tmp_path):
    name, sick = "stylegan2-cxr-128", ("bacterial_pneumonia", "viral_pneumonia")
    asked = {
        "healthy": ("--label", "normal"),
        "none": ("--label", sick[0], "--severity", 0),
        "half": ("--label", sick[0], "--severity", 0.5),
        "all": ("--label", sick[0], "--severity", 1),
        "one": ("--label", sick[0]),
        "other": ("--label", sick[1]),
        "both": ("--label", "|".join(sick)),
    }
    for folder, words in asked.items():
        assert run(name, "--seed", 5, *words, "--out", tmp_path / folder) == 0
    made = {folder: hashes(tmp_path / folder)[0] for folder in asked}
    assert made["none"] == made["healthy"] and made["all"] == made["one"]
    assert len({made[folder] for folder in ("healthy", "half", "one", "other", "both")}) == 5
    assert (tmp_path / "both" / "0000_seed5_bacterial_pneumonia-viral_pneumonia.png").is_file()
    assert run("--manifest", tmp_path / "half" / "manifest.json", "--out", tmp_path / "again") == 0


def test_a_set_made_from_a_picture_cannot_be_remade_from_its_manifest_alone(tmp_path, card, capsys):
    assert run(NAME, "--out", tmp_path / "out") == 0
    path = tmp_path / "out" / "manifest.json"
    values = json.loads(path.read_text())
    values["request"]["source_sha256"] = "ab" * 32
    path.write_text(json.dumps(values))
    assert run("--manifest", path, "--out", tmp_path / "again") == 2
    assert f"a picture that it does not hold, sha256 {'ab' * 32}" in capsys.readouterr().err
    assert left(tmp_path) == ["out"]


def test_other_pixels_than_the_manifest_says_exit_1(tmp_path, card, capsys):
    assert run(NAME, "--n", 2, "--out", tmp_path / "out") == 0
    values = json.loads((tmp_path / "out" / "manifest.json").read_text())
    values["files"][1]["pixels_sha256"] = "0" * 64
    values["versions"]["numpy"] = "1.0"
    (tmp_path / "old.json").write_text(json.dumps(values))
    assert run("--manifest", tmp_path / "old.json", "--out", tmp_path / "again") == 1
    said = capsys.readouterr().err
    assert "1 of 2 images differ" in said and "0001_seed1.png" in said and "numpy 1.0 -> " in said


def test_other_weights_than_the_manifest_says_exit_1_and_write_nothing(tmp_path, card, capsys):
    assert run(NAME, "--out", tmp_path / "out") == 0
    ModelCard(**{**card.__dict__, "weights": {"model.safetensors": "cd" * 32}}).save(tmp_path / "checkpoints" / NAME)
    assert run("--manifest", tmp_path / "out" / "manifest.json", "--out", tmp_path / "again") == 1
    assert "other weights" in capsys.readouterr().err and left(tmp_path) == ["out"]


BAD = [
    ((NAME, "--n", "0"), "--n must be at least 1"),
    ((NAME, "--n", "-3"), "--n must be at least 1"),
    ((NAME, "--n", "999999999999"), "at most 1,000,000"),
    ((NAME, "--seed", "-1"), "--seed must be"),
    ((NAME, "--seed", str(2**63 - 1), "--n", "2"), "--seed must be"),
    ((NAME, "--batch", "0"), "--batch must be"),
    ((NAME, "--label", "broken_leg"), "does not know the label 'broken_leg'"),
    ((NAME, "--label", "normal", "--label", "broken_leg"), "does not know the label"),
    ((NAME, "--guidance", "3"), "takes no guidance"),
    ((NAME, "--steps", "0"), "Steps must be"),
    (("ddpm-cat-64",), f"There is no model 'ddpm-cat-64'; there are: {NAME}"),
    (("../" + NAME,), "There is no model"),
    ((), f"Name a model: {NAME}"),
]


@pytest.mark.parametrize(("words", "sentence"), BAD)
def test_bad_input_is_one_sentence_and_writes_nothing(tmp_path, card, capsys, words, sentence):
    assert run(*words, "--out", tmp_path / "out") == 2
    said = capsys.readouterr().err
    assert sentence in said and "Traceback" not in said and left(tmp_path) == []


def test_a_bad_folder_or_a_bad_second_label_is_refused_before_sampling(tmp_path, card, capsys, monkeypatch):
    (tmp_path / "file").write_text("mine")
    assert run(NAME, "--out", tmp_path / "done") == 0

    def never(*_: object) -> None:
        raise AssertionError("sampled for nothing")

    monkeypatch.setattr(noise.NoiseGenerator, "sample", never)
    assert run(NAME, "--out", tmp_path / "new", "--label", "normal", "--label", "broken_leg") == 2
    assert run(NAME, "--out", tmp_path / "file") == 2
    assert run(NAME, "--out", tmp_path / "file" / "below") == 2
    assert capsys.readouterr().err.count("is a file, not a folder") == 2
    assert run(NAME, "--out", tmp_path / "done") == 2
    assert "already holds manifest.json" in capsys.readouterr().err
    assert (tmp_path / "file").read_text() == "mine" and left(tmp_path) == ["done", "file"]


BROKEN = {
    "truncated": (lambda text: text[: len(text) // 2], "damaged"),
    "no manifest": (lambda text: "[1, 2]", "no manifest of medgen"),
    "foreign json": (lambda text: '{"model": "x"}', "no manifest of medgen"),
    "no images": (lambda text: json.dumps({**json.loads(text), "files": [], "request": []}), "lists no images"),
    "no files": (lambda text: text.replace('"files"', '"fils"'), "'files'"),
    "no seeds": (lambda text: text.replace('"seeds"', '"seds"'), "seeds"),
    "negative seed": (lambda text: text.replace('"seeds": [\n      0', '"seeds": [\n      -1'), "Seeds must be"),
    "steps of text": (lambda text: text.replace('"steps": 4', '"steps": "4"'), "steps it cannot have"),
    "unknown field": (lambda text: text.replace('"steps": 4', '"step": 4'), "may hold"),
    "fewer files": (lambda text: text.replace('"seeds": [\n      0,', '"seeds": ['), "another number"),
    "unknown model": (lambda text: text.replace(f'"model": "{NAME}"', '"model": "gone"'), "There is no model 'gone'"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_manifest_is_one_sentence(tmp_path, card, capsys, kind):
    assert run(NAME, "--n", 2, "--out", tmp_path / "out") == 0
    change, sentence = BROKEN[kind]
    text = (tmp_path / "out" / "manifest.json").read_text()
    assert change(text) != text
    (tmp_path / "broken.json").write_text(change(text))
    capsys.readouterr()
    assert run("--manifest", tmp_path / "broken.json", "--out", tmp_path / "again") == 2
    assert sentence in capsys.readouterr().err and left(tmp_path) == ["broken.json", "out"]


def test_a_missing_manifest_and_a_second_request_are_refused(tmp_path, card, capsys):
    assert run("--manifest", tmp_path / "none.json", "--out", tmp_path / "out") == 2
    assert "none.json cannot be read" in capsys.readouterr().err
    assert run(NAME, "--manifest", tmp_path / "none.json", "--n", 3, "--out", tmp_path / "out") == 2
    assert "leave out name, n" in capsys.readouterr().err


def test_ctrl_c_in_the_second_batch_leaves_nothing(tmp_path, card, capsys, monkeypatch):
    draw, calls = noise.NoiseGenerator.sample, []

    def interrupted(self, request, on_step=None):
        calls.append(request)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return draw(self, request, on_step)

    monkeypatch.setattr(noise.NoiseGenerator, "sample", interrupted)
    assert run(NAME, "--n", 4, "--batch", 2, "--out", tmp_path / "out") == 130
    assert len(calls) == 2 and left(tmp_path) == [] and "nothing was written" in capsys.readouterr().err


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "medgen.sample", *map(str, words)]


def test_the_module_runs_and_needs_no_torch_for_a_family_without(tmp_path, card):
    code = (
        "import sys; from medgen.sample import main; status = main(sys.argv[1:]); "
        "raise SystemExit(status or ('torch' in sys.modules) * 9)"
    )
    words = [NAME, "--n", "2", "--out", str(tmp_path / "out")]
    done = subprocess.run([sys.executable, "-c", code, *words], cwd=ROOT, timeout=60, check=False)
    assert done.returncode == 0 and len(hashes(tmp_path / "out")) == 2


@pytest.mark.skipif(sys.platform != "linux", reason="file size limits of Linux")
def test_a_write_the_system_refuses_leaves_nothing(tmp_path, card):
    def limit() -> None:  # a real OSError from the kernel: no file may exceed one kilobyte
        resource.setrlimit(resource.RLIMIT_FSIZE, (1024, 1024))

    words = command(NAME, "--n", 2, "--out", tmp_path / "out")
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=60, preexec_fn=limit, check=False)
    assert done.returncode == 2 and "Could not write out: File too large" in done.stderr
    assert "Traceback" not in done.stderr and left(tmp_path) == []


def test_a_really_full_disk_leaves_nothing(tmp_path, card):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = f'mount -t tmpfs -o size=64k none "{disk}" && '
    if (
        not shutil.which("unshare")
        or subprocess.run(
            ["unshare", "-rm", "sh", "-c", mounted + "true"], capture_output=True, timeout=30, check=False
        ).returncode
    ):
        pytest.skip("this system lets nobody mount a small disk")
    # about 60 files of one 4 KiB block each on 16 blocks; ls runs inside the namespace, where the disk is
    script = f'{mounted} {{ "$@"; status=$?; ls -A "{disk}"; exit $status; }}'
    words = ["unshare", "-rm", "sh", "-c", script, "sh", *command(NAME, "--n", 60, "--out", disk / "out")]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False, env=os.environ)
    assert done.returncode == 2 and "No space left on device" in done.stderr and "Traceback" not in done.stderr
    assert done.stdout == ""
