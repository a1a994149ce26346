"""Models at shares of their training: which weights they have, and what a study says of them."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import medgen
from demos import board_studies
from eval import budget, budget_file
from eval.studies import STUDIES
from medgen import weights
from medgen.atomic import write_json
from medgen.errors import MedgenError
from train import at, gan

SMALL = ["--preset", "dcgan", "--conditional", "--width", "8", "--latent", "16", "--precision", "no", "--rarest", "1"]
SMALL += ["--cpu", "--batch", "8", "--images", "80", "--validate-every", "8", "--sample-every", "1000", "--name", "g"]


@pytest.fixture
def place(training_place, monkeypatch, tmp_path):
    monkeypatch.setenv("MEDGEN_RESULTS", str(tmp_path / "results"))


def test_shares_are_measured_from_the_weights_of_their_time(place):
    gan.main([*SMALL, "--keep-best", "99", "--export"])
    assert at.main(["runs/g", "--shares", "0.1", "0.5", "1", "--out", "budget"]) == 0
    folders = sorted(path.name for path in Path("budget").iterdir())
    assert folders == ["g-at-40", "g-at-8", "g-at-80"]
    card = medgen.ModelCard.read("budget/g-at-40/card.json")
    assert (card.trained["images_seen"], card.trained["share"]) == (40, 0.5)
    whole = medgen.ModelCard.read("checkpoints/g/card.json").trained["cpu_seconds"]
    assert card.trained["cpu_seconds"] == round(whole / 2)
    then = load_file("runs/g/best-000000040.safetensors")
    for name, tensor in weights.read(card).items():
        assert torch.allclose(tensor.float(), then[f"generator/{name}"].float(), atol=1e-3), name
    assert budget.main(["--protocol", "cxr-128", "--models", "budget", "--extractor", "pixels-32"]) == 0
    found = budget_file.read(Path("results/budget-cxr-128.json"))
    frame = budget_file.frame(found).sort_values("share")
    assert frame["share"].tolist() == [10.0, 50.0, 100.0] and frame["images_seen"].tolist() == [8.0, 40.0, 80.0]
    assert set(frame["model"]) == {"g"} and frame["kid"].notna().all()
    assert (frame["kid_low"] <= frame["kid_high"]).all()
    assert "50 %" in budget_file.text(found)

    *_, html, plot = board_studies.draw_study(STUDIES["budget"], None, "kid")
    assert "Floor, real training images: FID" in html and html.count("<tr>") >= 4
    (line,) = plot["value"].data
    assert list(line.x) == frame["cpu_seconds"].tolist() and line.y[0] == pytest.approx(frame["kid"].iloc[0])
    assert {shape.y0 for shape in plot["value"].layout.shapes} == {frame["kid_floor"].iloc[0]}


def test_a_budget_makes_runs_of_unequal_length_comparable(place):
    gan.main([*SMALL, "--keep-best", "99", "--export"])
    card = medgen.ModelCard.read("checkpoints/g/card.json")
    write_json(Path("checkpoints/g/card.json"), {**json.loads(Path("checkpoints/g/card.json").read_text()),
                                                 "trained": {**card.trained, "cpu_seconds": 100}})  # fmt: skip
    half = at.at(Path("runs/g"), 1.0, Path("half"), budget=50)
    assert (half.trained["images_seen"], half.trained["cpu_seconds"]) == (40, 50)
    tenth = at.at(Path("runs/g"), 0.2, Path("half"), budget=50)
    assert (tenth.trained["images_seen"], tenth.trained["cpu_seconds"]) == (8, 10)
    with pytest.raises(MedgenError, match="train it longer"):
        at.at(Path("runs/g"), 1.0, Path("half"), budget=200)


def test_what_cannot_be_compared_says_what_to_do(place, tmp_path):
    with pytest.raises(MedgenError, match="--export"):
        at.at(Path("runs/nothing"), 0.5, Path("out"))
    gan.main([*SMALL, "--keep-best", "1", "--export"])
    with pytest.raises(MedgenError, match="--keep-best 99"):
        at.at(Path("runs/g"), 0.5, Path("out"))
    with pytest.raises(MedgenError, match=r"train\.at"):
        budget.study("cxr-128", tmp_path)
    broken = tmp_path / "budget-cxr-128.json"
    broken.write_text(json.dumps({"protocol": "cxr-128"}))
    with pytest.raises(MedgenError, match=r"eval\.budget"):
        budget_file.read(broken)
