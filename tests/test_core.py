"""Cards, weights, requests and images: what is broken is refused in one sentence, and nothing is lost."""

import errno
import hashlib
import json
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import medgen
from medgen import atomic, weights
from medgen.card import ModelCard
from medgen.errors import MedgenError
from medgen.generator import CONTROLS, Request
from medgen.image import ImageSet, concatenate
from medgen.region import Region

SOURCE = ImageSet(np.arange(64, dtype=np.float32).reshape(1, 1, 8, 8), "CR", "au", (0.0, 255.0))


@pytest.fixture
def checkpoints(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDGEN_CHECKPOINTS", str(tmp_path))
    return tmp_path


def card(**changes):
    base = ModelCard("noise-cxr-8", "noise", "Noise", "CR", "au", (0.0, 255.0), (1, 8, 8), "MIT", "noise")
    return replace(base, controls=("label", "steps", "towards"), labels=("a", "b"), steps=2, **changes)


def dcgan_card(folder, **changes):
    """A card with real, untrained weights of a very small DCGAN."""
    from medgen.gan import build

    net = {"architecture": "dcgan", "size": 16, "width": 4, "latent": 8}
    one = replace(card(), name="g", family="gan", shape=(1, 16, 16), net=net, controls=(), labels=(), steps=None)
    folder = folder / "g"
    one = replace(one, weights=weights.save(build(net).state_dict(), folder), **changes)
    one.save(folder)
    return folder


def test_a_card_survives_its_file(checkpoints):
    card().save(checkpoints / "noise-cxr-8")
    assert medgen.cards()["noise-cxr-8"] == card()
    assert list(medgen.cards(modality="MR")) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda v: v | {"colour": "red"}, "unknown key 'colour'"),
        (lambda v: {k: x for k, x in v.items() if k != "unit"}, "lacks the key 'unit'"),
        (lambda v: v | {"shape": "big"}, "shape must be a list, not"),
        (lambda v: v | {"shape": [1, "8", 8]}, "wrong type"),
        (lambda v: v | {"window": [0.0]}, "two numbers"),
        (lambda v: v | {"family": "vae3"}, "unknown family"),
        (lambda v: v | {"name": "other"}, "must be equal"),
        (lambda v: [v], "one JSON object"),
    ],
)
def test_a_broken_card_is_refused(checkpoints, change, words):
    path = card().save(checkpoints / "noise-cxr-8")
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    with pytest.raises(MedgenError, match=words):
        medgen.cards()


def test_a_truncated_card_and_an_unknown_model_are_refused(checkpoints):
    path = card().save(checkpoints / "noise-cxr-8")
    with pytest.raises(MedgenError, match=r"noise-cxr-8"):
        medgen.load("ddpm")
    with pytest.raises(MedgenError, match="no model"):
        medgen.load("../noise-cxr-8")
    path.write_text(path.read_text()[:40])
    with pytest.raises(MedgenError, match="cannot be read as JSON"):
        medgen.load("noise-cxr-8")


def test_weights_survive_sharding(tmp_path):
    state = {f"layer{i}": torch.randn(100, 100) for i in range(5)} | {"count": torch.tensor(7)}
    hashes = weights.save(state, tmp_path, shard_bytes=45_000)
    assert len(hashes) == 3
    assert all((tmp_path / name).stat().st_size < 50_000 for name in hashes)
    back = weights.read(replace(card(), weights=hashes, folder=tmp_path))
    assert back["count"] == 7
    assert all(torch.allclose(back[k], v, atol=2e-3) for k, v in state.items() if k != "count")


def test_8_bit_weights_take_half_the_room_and_are_nearly_the_same(tmp_path):
    random = torch.Generator().manual_seed(0)
    state = {
        "conv.weight": torch.randn(64, 32, 3, 3, generator=random) * torch.logspace(-3, 1, 64)[:, None, None, None],
        "conv.bias": torch.randn(64, generator=random), "zero.weight": torch.zeros(64, 64), "count": torch.tensor(3),
    }  # fmt: skip
    hashes = weights.save(state, tmp_path, int8=True)
    found = weights.read(replace(card(), weights=hashes, folder=tmp_path))
    assert set(found) == set(state) and found["conv.weight"].shape == (64, 32, 3, 3) and int(found["count"]) == 3
    error = (found["conv.weight"] - state["conv.weight"]).flatten(1).norm(dim=1)
    assert (error / state["conv.weight"].flatten(1).norm(dim=1) < 0.012).all(), "a weak channel keeps its digits too"
    assert not found["zero.weight"].any() and torch.equal(found["conv.bias"], state["conv.bias"].half().float())
    fewer = sum((tmp_path / name).stat().st_size for name in hashes)
    more = sum((tmp_path / "half" / name).stat().st_size for name in weights.save(state, tmp_path / "half"))
    assert fewer < 0.55 * more
    with pytest.raises(MedgenError, match=r"conv.weight is not finite"):
        weights.save({"conv.weight": torch.full((64, 64), float("nan"))}, tmp_path, int8=True)


def test_a_header_whose_length_looks_like_a_pickle_is_read(tmp_path):
    """The first bytes are the length of the header: 0x0480 bytes are b"\\x80\\x04", as of a pickle of protocol 4."""
    (name,) = weights.save({"layer": torch.ones(2)}, tmp_path)
    content = (tmp_path / name).read_bytes()
    header = content[8 : 8 + int.from_bytes(content[:8], "little")]
    padded = (0x0480).to_bytes(8, "little") + header.ljust(0x0480) + content[8 + len(header) :]
    assert padded[:2] == b"\x80\x04"
    (tmp_path / name).write_bytes(padded)
    known = replace(card(), weights={name: hashlib.sha256(padded).hexdigest()}, folder=tmp_path)
    assert torch.equal(weights.read(known)["layer"], torch.ones(2))


def test_weights_that_are_not_finite_are_not_saved(tmp_path):
    for bad in (float("nan"), 1e30):
        with pytest.raises(MedgenError, match="diverged"):
            weights.save({"a": torch.tensor([bad])}, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_changed_missing_and_pickled_weights_are_refused(checkpoints):
    folder = dcgan_card(checkpoints)
    path = folder / "model.safetensors"
    good = path.read_bytes()
    assert medgen.load("g").sample(Request((1,))).pixels.shape == (1, 1, 16, 16)
    path.write_bytes(good[:-1] + b"\x01")
    with pytest.raises(MedgenError, match="sha256 differs"):
        medgen.load("g")
    path.write_bytes(good[: len(good) // 2])
    with pytest.raises(MedgenError, match="sha256 differs"):
        medgen.load("g")
    path.write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(MedgenError, match="never loaded"):
        medgen.load("g")
    torch.save({"a": torch.zeros(1)}, path)
    with pytest.raises(MedgenError, match="never loaded"):
        medgen.load("g")
    path.unlink()
    with pytest.raises(MedgenError, match="fetch the checkpoint again"):
        medgen.load("g")


def test_a_pickle_is_never_executed(checkpoints, tmp_path):
    class Bomb:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "exploded",))

    folder = dcgan_card(checkpoints)
    for name in ("model.safetensors", "model.bin", "../g/model.safetensors"):
        (folder / "model.safetensors").write_bytes(pickle.dumps(Bomb()))
        values = json.loads((folder / "card.json").read_text())
        (folder / "card.json").write_text(json.dumps(values | {"weights": {name: "0" * 64}}))
        with pytest.raises(MedgenError, match="never loaded"):
            medgen.load("g")
    assert not (tmp_path / "exploded").exists()


def test_weights_of_another_network_and_a_senseless_net_are_refused(checkpoints):
    folder = dcgan_card(checkpoints)
    values = json.loads((folder / "card.json").read_text())
    (folder / "card.json").write_text(json.dumps(values | {"net": values["net"] | {"width": 8}}))
    with pytest.raises(MedgenError, match="do not fit"):
        medgen.load("g")
    (folder / "card.json").write_text(json.dumps(values | {"net": values["net"] | {"colour": 8}}))
    with pytest.raises(MedgenError, match="does not describe a network"):
        medgen.load("g")
    (folder / "card.json").write_text(json.dumps(values | {"net": values["net"] | {"width": -4}}))
    with pytest.raises(MedgenError, match="does not describe a network"):
        medgen.load("g")


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (Request(()), "Seeds"),
        (Request((-1,)), "Seeds"),
        (Request((2**63,)), "Seeds"),
        (Request((True,)), "Seeds"),
        (Request((1,), label="c"), "choose from a, b"),
        (Request((1,), steps=0), "Steps"),
        (Request((1,), steps=10**6), "Steps"),
        (Request((1,), guidance=2.0), "takes no guidance"),
        (Request((1,), towards=3), "both"),
        (Request((1,), mix=0.5), "both"),
        (Request((1,), towards=3, mix=float("nan")), "fraction"),
        (Request((1,), towards=3, mix="half"), "fraction"),
    ],
)
def test_a_request_a_model_cannot_answer_is_refused(request_, words):
    with pytest.raises(MedgenError, match=words):
        request_.checked(card())


def told_card():
    """A model that takes whatever a request can say, of two cohorts."""
    labels = ("normal", "viral_pneumonia", "No Finding", "Effusion", "Pneumonia")
    columns = [f"label={word}" for word in labels] + ["cohort=kermany_cxr_128", "cohort=nih_cxr_128"]
    columns += ["age", "age known", "sex=F", "sex=M", "view=AP", "view=PA"]
    return replace(card(), name="all-cxr-8", labels=labels, net={"conditions": columns}, controls=CONTROLS,
                   quantity={"name": "height", "unit": "mm", "low": 0.0, "high": 9.0, "step": 1.0})  # fmt: skip


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"label": "Effusion|Hernia"}, "all-cxr-8 does not know the label 'Hernia'; choose from normal, viral_pneu"),
        ({"label": "Effusion|"}, "does not know the label ''"),
        ({"label": 3}, "does not know the label 3"),
        ({"label": "Effusion|Effusion"}, "each once"),
        ({"label": "viral_pneumonia|Effusion"}, "belong to different data sets"),
        ({"label": "No Finding|Effusion"}, "No Finding means no disease"),
        ({"label": "Effusion", "cohort": "kermany_cxr_128"}, "choose nih_cxr_128"),
        ({"cohort": "moon"}, "cannot be told cohort=moon"),
        ({"label": "Effusion", "severity": float("nan")}, "Severity must be"),
        ({"label": "Effusion", "severity": 1.5}, "Severity must be"),
        ({"label": "normal", "severity": 0.5}, "needs a disease"),
        ({"severity": 0.5}, "needs a disease"),
        ({"age": float("nan")}, "Age must be"),
        ({"age": 500}, "Age must be"),
        ({"sex": "X"}, "sex must be F or M"),
        ({"view": "lateral"}, "view must be AP or PA"),
        ({"region": Region.from_mask(np.ones((8, 8), bool))}, "give the request a source"),
        ({"region": Region.from_mask(np.ones((8, 9), bool)), "source": SOURCE}, "must be 8 x 8 pixels .* not 8 x 9"),
        ({"region": Region.from_mask(np.zeros((8, 8), bool)), "source": SOURCE}, "region is empty"),
    ],
)
def test_a_condition_that_makes_no_sense_is_refused(asked, words):
    with pytest.raises(MedgenError, match=words):
        Request((1,), **asked).checked(told_card())


def test_a_full_request_passes_and_every_control_must_be_on_the_card():
    region = Region.from_mask(np.eye(8, dtype=bool))
    asked = {"label": "Effusion|Pneumonia", "severity": 0.5, "age": 60, "sex": "F", "view": "PA", "steps": 3}
    asked |= {"cohort": "nih_cxr_128", "guidance": 2.0, "source": SOURCE, "region": region, "towards": 5}
    asked |= {"quantity": 5.0}
    full = Request((1,), mix=0.5, **asked)
    assert set(asked) == set(CONTROLS) and full.checked(told_card()) == full
    for name in CONTROLS:
        fewer = tuple(control for control in CONTROLS if control != name)
        with pytest.raises(MedgenError, match=f"all-cxr-8 takes no {name}"):
            full.checked(replace(told_card(), controls=fewer))


def test_a_model_without_conditions_takes_one_label():
    with pytest.raises(MedgenError, match="one label at a time"):
        Request((1,), label="a|b").checked(card())


def test_guidance_that_is_no_number_is_refused():
    guided = replace(card(), controls=("guidance",), guidance=1.0)
    for bad in (float("nan"), float("inf"), -1.0, 1e9, 10**400, "2"):
        with pytest.raises(MedgenError, match="Guidance"):
            Request((1,), guidance=bad).checked(guided)


def test_a_request_survives_json():
    told = {"label": "Effusion|Pneumonia", "severity": 0.5, "age": 60.0, "sex": "F", "view": "PA"}
    region = Region.from_mask(np.eye(8, dtype=bool))
    asked = Request((3, 4), steps=5, guidance=1.5, towards=9, mix=0.25, cohort="nih_cxr_128", region=region, **told)
    assert Request.from_json(json.loads(json.dumps(asked.to_json()))) == asked
    with pytest.raises(MedgenError, match="may hold"):
        Request.from_json({"seeds": [1], "colour": 3})
    with pytest.raises(MedgenError, match="list"):
        Request.from_json({"seeds": 5})
    with pytest.raises(MedgenError, match="region must be"):
        Request.from_json({"seeds": [1], "region": [3]})


def test_a_request_written_before_there_were_conditions_is_still_read():
    old = {"seeds": [3], "steps": 4, "guidance": None, "label": "a", "towards": None, "mix": None}
    assert Request.from_json(old) == Request((3,), steps=4, label="a")


def test_the_json_of_a_request_names_its_source_but_does_not_hold_it():
    asked = Request((3,), source=SOURCE)
    values = asked.to_json()
    assert len(values["source_sha256"]) == 64 and "source" not in values
    assert values == Request((3,), source=replace(SOURCE, pixels=SOURCE.pixels.copy())).to_json()
    assert values != Request((3,), source=replace(SOURCE, pixels=SOURCE.pixels + 1)).to_json()
    assert Request.from_json(values) == Request((3,))
    assert Request((3,)).to_json()["source_sha256"] is None
    for bad in ("abc", 3, "Z" * 64):
        with pytest.raises(MedgenError, match="64 hexadecimal digits"):
            Request.from_json(values | {"source_sha256": bad})


def test_images_refuse_wrong_arrays_and_nan():
    with pytest.raises(MedgenError, match="float32"):
        ImageSet(np.zeros((1, 1, 4, 4)), "CR", "au", (0, 1))
    with pytest.raises(MedgenError, match="window"):
        ImageSet(np.zeros((1, 1, 4, 4), np.float32), "CR", "au", (1, 1))
    with pytest.raises(MedgenError, match="NaN"):
        ImageSet(np.full((1, 1, 4, 4), np.nan, np.float32), "CR", "au", (0, 1)).uint8()


def test_the_window_maps_units_to_black_and_white():
    hu = ImageSet(np.array([[[[-1000, 0], [40, 3000]]]], np.float32), "CT", "HU", (0.0, 80.0))
    assert hu.unit_range().ravel().tolist() == [0, 0, 0.5, 1]
    assert hu.uint8().ravel().tolist() == [0, 0, 128, 255]


def test_taking_and_joining_keep_labels_with_their_images():
    pixels = np.arange(3, dtype=np.float32)[:, None, None, None] * np.ones((1, 1, 2, 2), np.float32)
    images = ImageSet(pixels, "CR", "au", (0.0, 2.0), labels=("a", "b", "c"))
    taken = images.take([2, 0])
    assert taken.labels == ("c", "a")
    assert taken.pixels[0, 0, 0, 0] == 2
    assert concatenate([taken, images]).labels == ("c", "a", "a", "b", "c")
    with pytest.raises(MedgenError, match="cannot stand in one set"):
        concatenate([images, ImageSet(pixels, "CT", "HU", (0.0, 2.0))])


def test_a_full_disk_leaves_the_old_file_and_nothing_half_written(tmp_path, monkeypatch):
    path = tmp_path / "kept.json"
    path.write_text("old")

    def full(self, content):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(MedgenError, match="No space left"):
        atomic.write_bytes(path, b"new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_really_full_device_is_one_sentence():
    with pytest.raises(MedgenError, match="Could not write"), atomic.replacing("/proc/medgen/x") as temporary:
        temporary.write_bytes(b"x")
