"""Segmenters: they learn what is there to see, measure it in mm3, and each volume stands alone."""

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

from medgen import registry, volume_sets
from medgen.errors import MedgenError
from medgen.image import ImageSet
from medgen.segmenter import Segmenter, load_segmenter, segmenter_for, segmenters, volumes_mm3
from medgen.segmenter_network import build
from train import segmenter as script
from train.segmenter_export import dice

ROOT = Path(__file__).parent.parent
SMALL = [
    "--channels",
    "4",
    "4",
    "8",
    "--threads",
    "1",
    "--cpu",
    "--augment",
    "0",
    "--rate",
    "0.02",
    "--precision",
    "no",
]
SIDES = (16, 16, 16)
COMMITTED = sorted(path.parent.name for path in ROOT.glob("checkpoints/*/segmenter.json"))


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDGEN_CHECKPOINTS", str(tmp_path / "checkpoints"))
    monkeypatch.chdir(tmp_path)
    AcceleratorState._reset_state()
    torch.set_num_threads(1)


def planted(count, seed):
    """Noise with a ball in it, bright in front and grey behind: volumes and their classes."""
    random = np.random.default_rng(seed)
    pixels = random.uniform(0, 60, (count, 1, *SIDES)).astype(np.float32)
    classes = np.zeros((count, *SIDES), np.uint8)
    grid = np.stack(np.meshgrid(*[np.arange(16)] * 3, indexing="ij"), axis=-1)
    for i in range(count):
        middle = random.uniform(6, 9, 3)
        ball = np.linalg.norm(grid - middle, axis=-1) < random.uniform(3, 5.5)
        classes[i][ball] = np.where(grid[..., 1] > middle[1], 1, 2)[ball]
        pixels[i, 0] += np.array([0, 180, 100], np.float32)[classes[i]]
    return ImageSet(pixels, "MR", "au", (0.0, 255.0), np.eye(4), subjects=tuple(f"s{i}" for i in range(count))), classes


@pytest.fixture
def trained(monkeypatch):
    """Trains a tiny segmenter on `planted` volumes."""

    def run(*flags, name="tiny", epochs=8):
        made = {"train": planted(16, 1), "val": planted(4, 2), "test": planted(6, 3)}
        monkeypatch.setattr(volume_sets, "volumes", lambda _, split: made[split][0])
        monkeypatch.setattr(volume_sets, "structures", lambda _, split: made[split][1])
        assert script.main([*SMALL, "--epochs", str(epochs), "--name", name, *map(str, flags)]) == 0
        return load_segmenter(name)

    return run


def test_structures_are_found_and_measured(trained):
    judge = trained()
    card = judge.card
    assert card.classes == ("background", "anterior", "posterior")
    assert all(card.dice[name]["value"] > 0.8 and card.dice[name]["n"] == 6 for name in card.classes[1:])
    assert card.dice["anterior"]["low"] <= card.dice["anterior"]["value"] <= card.dice["anterior"]["high"]
    images, truth = planted(5, seed=9)
    found = judge.classes(images)
    assert found.dtype == np.uint8 and found.shape == truth.shape
    wanted, got = volumes_mm3(truth, 3, card.spacing_mm), judge.volumes_mm3(images)
    assert np.corrcoef(wanted[:, 1:].sum(axis=1), got[:, 1:].sum(axis=1))[0, 1] > 0.95
    assert card.volume_error["all"]["mae_mm3"] < 0.2 * card.volume_error["all"]["mean_mm3"]
    # a segmenter is no model, and is found by the data it knows
    assert registry.cards() == {} and segmenter_for("hippo_48") == "tiny" and segmenter_for("ixi_brain_64") is None
    files = sorted(path.name for path in Path("checkpoints/tiny").iterdir())
    assert files == ["config.json", "log.jsonl", "model.safetensors", "segmenter.json"]


def test_what_is_said_of_a_volume_does_not_depend_on_the_others(trained):
    judge = trained(epochs=1)
    images, _ = planted(4, seed=4)
    whole = judge.classes(images)
    assert np.array_equal(judge.classes(images.take([2, 0])), whole[[2, 0]])
    assert judge.classes(images.take([])).shape == (0, *SIDES)


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(trained):
    weights = [trained("--seed", seed, name=f"s{i}", epochs=1).card.weights for i, seed in enumerate("001")]
    assert weights[0] == weights[1] != weights[2]


def test_volumes_are_counted_in_cubic_millimetres():
    classes = np.zeros((2, 4, 4, 4), np.uint8)
    classes[0, 0] = 1
    classes[1, :2] = 2
    assert volumes_mm3(classes, 3, (1.0, 2.0, 3.0)).tolist() == [[48 * 6, 16 * 6, 0], [32 * 6, 0, 32 * 6]]


def test_dice_by_hand():
    truth, made = np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8)
    truth[0], made[0, :2] = 1, 1
    assert dice(truth, made, 3)[0] == pytest.approx(2 * 8 / (16 + 8))
    assert np.isnan(dice(truth, made, 3)[1])


def test_folded_networks_put_every_voxel_back_where_it_came_from():
    torch.manual_seed(0)
    network = build({"classes": 2, "channels": [4, 4, 8], "fold": 2}).eval()
    first = torch.zeros(1, 1, 16, 16, 16)
    second = first.clone()
    second[0, 0, 3, 12, 9] = 5.0
    with torch.no_grad():
        change = (network(second) - network(first)).abs().sum(dim=1)[0]
    assert change.shape == (16, 16, 16)
    # normalisation spreads a little everywhere; the largest change is near the voxel that changed
    place = np.unravel_index(int(change.argmax()), change.shape)
    assert np.abs(np.array(place) - (3, 12, 9)).max() <= 4


def test_every_weight_is_saved_once_and_all_are_loaded():
    net = {"classes": 3, "channels": [4, 4, 8], "fold": 1}
    torch.manual_seed(0)
    first, second = build(net).eval(), build(net).eval()
    state = first.state_dict()
    assert sum(one.numel() for one in state.values()) == sum(one.numel() for one in first.parameters())
    second.load_state_dict(state)
    some = torch.randn(1, 1, *SIDES)
    with torch.no_grad():
        assert torch.equal(first(some), second(some))
    del state[next(iter(state))]
    with pytest.raises(RuntimeError, match="Missing"):
        second.load_state_dict(state)


def test_a_mirrored_volume_has_mirrored_structures():
    images, classes = planted(2, seed=5)
    volume, truth = torch.from_numpy(2 * images.unit_range() - 1), torch.from_numpy(classes)
    u = torch.full((2, 16), 0.9)
    u[0, 8] = 0.1
    random = torch.Generator().manual_seed(0)
    seen, moved = script.augment(volume, truth, 0.0, True, u, random)
    assert torch.allclose(seen[0], volume[0].flip(1), atol=1e-4) and torch.equal(moved[0], truth[0].flip(0))
    assert torch.allclose(seen[1], volume[1], atol=1e-4) and torch.equal(moved[1], truth[1])
    same, _ = script.augment(volume, truth, 0.0, False, u, random)
    assert torch.allclose(same, volume, atol=1e-4)
    # all of it: still in range, and the structures still lie on what is bright
    seen, moved = script.augment(volume, truth, 1.0, False, torch.full((2, 16), 0.5), random)
    assert seen.min() >= -1 and seen.max() <= 1
    assert seen[:, 0][moved == 1].mean() > seen[:, 0][moved == 0].mean() + 0.5


@pytest.mark.parametrize(
    "flags", [["--name", "a/b"], ["--epochs", "0"], ["--precision", "int8"], ["--channels", *"444444"]]
)  # fmt: skip
def test_options_that_cannot_work_are_refused(trained, flags):
    with pytest.raises(MedgenError):
        trained(*flags)


def test_volumes_of_another_kind_and_nan_are_refused(trained):
    judge = trained(epochs=1)
    images, _ = planted(1, seed=6)
    with pytest.raises(MedgenError, match="1x16x16x16"):
        judge.classes(replace(images, pixels=np.zeros((1, 1, 8, 16, 16), np.float32)))
    images.pixels[0, 0, 1, 1, 1] = np.nan
    with pytest.raises(MedgenError, match="NaN"):
        judge.classes(images)


def test_a_file_that_cannot_be_right_and_changed_weights_are_refused(trained):
    judge = trained(epochs=1)
    path = Path("checkpoints/tiny/segmenter.json")
    values = json.loads(path.read_text())
    for change in (
        {"classes": ["background"]}, {"shape": [16, 16]}, {"spacing_mm": [1, 1, 0]}, {"net": {"classes": 2}},
        {"dice": {}}, {"volume_error": {}}, {"surplus": 1}, {"window": [0]},
    ):  # fmt: skip
        path.write_text(json.dumps(values | change))
        with pytest.raises(MedgenError, match=r"tiny/segmenter\.json"):
            segmenters()
    path.write_text(json.dumps(values))
    assert segmenters() == {"tiny": judge.card}
    with pytest.raises(MedgenError, match="sha256"):
        Segmenter(replace(judge.card, weights=dict.fromkeys(judge.card.weights, "0" * 64)))
    with pytest.raises(MedgenError, match="there are: tiny"):
        load_segmenter("nobody")


def test_listing_the_segmenters_loads_no_torch():
    code = "import sys, medgen.segmenter as s; s.segmenters(); print({'torch', 'monai'} & set(sys.modules))"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "MEDGEN_CHECKPOINTS": str(ROOT / "checkpoints")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize("name", COMMITTED)
def test_a_committed_segmenter_is_what_its_file_says(name, monkeypatch):
    monkeypatch.setenv("MEDGEN_CHECKPOINTS", str(ROOT / "checkpoints"))
    judge = load_segmenter(name)
    card, entry = judge.card, volume_sets.VOLUMES[judge.card.data]
    assert (card.classes, card.shape, card.spacing_mm) == (entry.classes, entry.shape, entry.spacing_mm)
    assert sum(path.stat().st_size for path in card.folder.glob("*.safetensors")) < 2**20
    if not volume_sets.available(card.data):
        pytest.skip("measured again only where the volumes are")
    test, truth = volume_sets.volumes(card.data, "test"), volume_sets.structures(card.data, "test")
    few = list(range(min(4, len(test))))
    values = [dice(*pair, len(card.classes)) for pair in zip(truth[few], judge.classes(test.take(few)), strict=True)]
    for i, one in enumerate(card.classes[1:]):
        assert np.nanmean(values, axis=0)[i] == pytest.approx(card.dice[one]["value"], abs=0.08), one
