"""Encoders: two views of one picture lie together, each vector depends on its own picture, the card tells the truth."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from accelerate.state import AcceleratorState

from medgen import registry
from medgen.encoder import Encoder, EncoderCard, encoders, load_encoder
from medgen.encoder_network import build
from medgen.errors import MedgenError
from medgen.weights import save as save_weights
from train import encoder as script
from train.encoder_data import pictures
from train.encoder_views import draws, nt_xent, top1, views

ROOT = Path(__file__).parent.parent
COMMITTED = sorted(path.parent.name for path in ROOT.glob("checkpoints/*/encoder.json"))
SMALL = ["--channels", "4", "8", "--dim", "16", "--head", "8", "--size", "32", "--batch", "8", "--warmup", "0"]
SMALL += ["--threads", "1", "--cpu", "--precision", "no", "--name", "tiny", "--ema", "50"]
NET = {"channels": [4, 8], "dim": 16}


@pytest.fixture(autouse=True)
def place(training_place):
    """See `training_place`."""


@pytest.fixture(scope="module")
def space(tmp_path_factory):
    """An untrained encoder, written as the real ones are."""
    folder = tmp_path_factory.mktemp("random") / "random"
    torch.manual_seed(0)
    files = save_weights(build(NET).state_dict(), folder)
    found = {"n": 2, "nt_xent": 1.0, "top1": 0.5, "top1_pixels": 0.5, "temperature": 0.2}
    card = EncoderCard("random", "Random", "made_up", "CR", (1, 32, 32), NET, files, {}, found, "MIT", "none", folder)
    card.save(folder)
    return Encoder(card)


def some(n, side=32, seed=0):
    return np.random.default_rng(seed).random((n, 1, side, side), dtype=np.float32)


# the reader


def test_a_vector_depends_on_its_own_picture_alone(space):
    pixels = some(5)
    together = space.features(pixels)
    assert together.shape == (5, 16) and together.dtype == np.float32
    assert np.array_equal(space.features(pixels[[3, 0]]), together[[3, 0]])
    assert len(np.unique(together, axis=0)) == 5 and space.features(pixels[:0]).shape == (0, 16)


def test_larger_pictures_are_averaged_down_and_channels_too(space):
    pixels = some(2)
    large = pixels.repeat(2, axis=2).repeat(2, axis=3)
    assert np.allclose(space.features(large), space.features(pixels), atol=1e-6)
    assert np.allclose(space.features(np.concatenate([pixels] * 3, axis=1)), space.features(pixels), atol=1e-6)


@pytest.mark.parametrize("shape", [(1, 1, 16, 16), (1, 1, 48, 48), (1, 1, 32, 64)])
def test_pictures_of_another_size_and_nan_are_refused(space, shape):
    with pytest.raises(MedgenError, match="32x32"):
        space.features(np.zeros(shape, np.float32))
    with pytest.raises(MedgenError, match="NaN"):
        space.features(np.full((1, 1, 32, 32), np.nan, np.float32))


@pytest.mark.parametrize(
    "change",
    [
        {"shape": [32, 32]}, {"shape": [3, 32, 32]}, {"net": {}}, {"net": {"dim": 0}}, {"weights": {}}, {"surplus": 1},
        {"validation": {}}, {"validation": {"n": 2, "nt_xent": None, "top1": 0.5, "top1_pixels": 0.5}}, {"name": 3},
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_right_is_refused(space, tmp_path, change):
    values = json.loads((space.card.folder / "encoder.json").read_text())
    path = tmp_path / "checkpoints" / "random" / "encoder.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(values))
    assert encoders() == {"random": space.card} and registry.cards() == {}
    path.write_text(json.dumps(values | change))
    with pytest.raises(MedgenError, match=r"random/encoder\.json"):
        encoders()


def test_changed_weights_and_unknown_names_are_refused(space):
    with pytest.raises(MedgenError, match="sha256"):
        Encoder(replace(space.card, weights=dict.fromkeys(space.card.weights, "0" * 64)))
    with pytest.raises(MedgenError, match="no encoder 'nobody'; there are: none yet"):
        load_encoder("nobody")


def test_listing_the_encoders_loads_no_torch():
    code = "import sys, medgen.encoder as e; e.encoders(); print({'torch', 'monai'} & set(sys.modules))"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "MEDGEN_CHECKPOINTS": str(ROOT / "checkpoints")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


# the loss and the views


def test_the_loss_is_the_one_of_the_paper_and_guessing_costs_ln_of_the_others():
    z = F.normalize(torch.randn(6, 4, generator=torch.Generator().manual_seed(0)), dim=1)
    costs = []
    for i in range(6):
        others = [math.exp(float(z[i] @ z[j]) / 0.5) for j in range(6) if j != i]
        costs.append(-math.log(math.exp(float(z[i] @ z[(i + 3) % 6]) / 0.5) / sum(others)))
    assert float(nt_xent(z, 0.5)) == pytest.approx(np.mean(costs), rel=1e-5)
    assert float(nt_xent(torch.ones(10, 4) / 2, 0.5)) == pytest.approx(math.log(9), rel=1e-5)
    apart = torch.eye(4).repeat(2, 1)
    assert float(nt_xent(apart, 0.05)) < 1e-3 and top1(apart) == 1.0
    assert top1(torch.cat([apart[:4], apart[:4].roll(1, 0)])) == 0.0


def test_views_differ_stay_in_range_and_are_never_mirrored_or_turned_over():
    # a wedge: dark at the left, bright at the right and below
    ramp = torch.linspace(-1, 1, 32)
    pixels = (0.7 * ramp[None] + 0.3 * ramp[:, None])[None, None].repeat(64, 1, 1, 1)
    random = torch.Generator().manual_seed(0)
    made = views(pixels, draws(64, random, torch.device("cpu")), random, 0.6)
    assert made.shape == (128, 1, 32, 32) and made.min() >= -1 and made.max() <= 1
    assert not torch.allclose(made[:64], made[64:], atol=0.05)
    assert (made[..., 16:].mean(dim=(1, 2, 3)) > made[..., :16].mean(dim=(1, 2, 3))).all()
    assert (made[:, :, 16:].mean(dim=(1, 2, 3)) > made[:, :, :16].mean(dim=(1, 2, 3))).all()
    middle = draws(1, random, torch.device("cpu"))
    middle[..., [0, 6, 8]], middle[..., 1:6] = torch.tensor([1.0, 0.0, 0.0]), 0.5
    same = views(pixels[:1], middle, random, 0.6)
    assert torch.allclose(same, pixels[:1].repeat(2, 1, 1, 1), atol=1e-5)


# the script


def train(*flags, out="run"):
    AcceleratorState._reset_state()
    assert script.main([*SMALL, "--out", out, *map(str, flags)]) == 0
    return [json.loads(line) for line in (Path(out) / "log.jsonl").read_text().splitlines()]


def test_it_learns_and_exports_what_it_says():
    """Update n sees the same views in every run, so the untrained network (rate 0) is a paired control."""
    flags = ["--images", 480, "--validate-every", 240, "--save-every", 480]
    untrained = train(*flags, "--rate", 0.0, out="untrained")
    learned = train(*flags, "--rate", 5e-3, "--export")
    better = [one["loss"] < other["loss"] for one, other in zip(learned[-30:], untrained[-30:], strict=True)]
    assert np.mean(better) > 0.8
    card = load_encoder("tiny").card
    assert sorted(path.name for path in card.folder.iterdir()) == [
        "config.json", "encoder.json", "log.jsonl", "model.safetensors",
    ]  # fmt: skip
    assert card.data == "kermany_cxr_128+nih_cxr_128" and card.shape == (1, 32, 32) and card.net == NET
    n = len(pictures(("kermany_cxr_128", "nih_cxr_128"), "val", 32).split.images)
    assert card.validation["n"] == n and card.validation["nt_xent"] < math.log(2 * n - 1)
    assert card.trained["parameters"] == sum(one.numel() for one in build(NET).parameters())
    assert card.trained["data"]["kermany_cxr_128"] == {"images": 24, "patients": 24}
    assert str(Path.cwd()) not in (card.folder / "config.json").read_text()


def test_a_run_killed_and_resumed_equals_the_uninterrupted_one():
    flags = ["--images", "160", "--save-every", "40", "--validate-every", "80"]
    whole = train(*flags, out="whole")
    command = [sys.executable, "-m", "train.encoder", *SMALL, *flags, "--out", "killed"]
    child = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not Path("killed/state.pt").exists() and child.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    child.send_signal(signal.SIGKILL)
    child.wait()
    step = torch.load("killed/state.pt", weights_only=True)["progress"]["step"]
    assert train(*flags, "--resume", out="killed") == whole and step in (5, 10, 15, 20)
    first, second = (torch.load(f"{out}/state.pt", weights_only=True) for out in ("whole", "killed"))
    for group in ("modules", "averages"):
        for key, value in first[group]["network"].items():
            assert torch.equal(value, second[group]["network"][key]), key


@pytest.mark.parametrize(
    "flags",
    [
        ["--batch", "1"], ["--channels", "4"], ["--size", "30"], ["--temperature", "0"], ["--smallest", "1.5"],
        ["--ema", "0"], ["--data", "nobody"], ["--data", "brain_t1_t2_256"], ["--size", "96"], ["--name", "a/b"],
    ],
)  # fmt: skip
def test_options_that_cannot_work_are_refused(flags):
    with pytest.raises(MedgenError):
        train(*flags)


def test_data_sets_may_be_joined_by_a_plus():
    config = script.parse(script.EncoderConfig, script.PRESETS, ["--name", "x", "--data", "a+b", "c"], "")
    assert config.names == ("a", "b", "c")


@pytest.mark.parametrize("name", COMMITTED)
def test_a_committed_encoder_is_what_its_file_says(name, monkeypatch):
    monkeypatch.setenv("MEDGEN_CHECKPOINTS", str(ROOT / "checkpoints"))
    found = load_encoder(name)
    card = found.card
    assert sum(one.numel() for one in build(card.net).parameters()) == card.trained["parameters"] <= 600_000
    assert card.validation["top1"] > 2 * card.validation["top1_pixels"]
    assert card.validation["nt_xent"] < math.log(2 * card.validation["n"] - 1) - 1
    assert found.features(some(1, side=card.shape[1])).shape == (1, card.net["dim"])
    assert "NC" not in card.licence or "CC BY-NC-SA 4.0 (weights)" in card.licence
