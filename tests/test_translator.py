"""Translators: pairs by patient, four ways to learn, and translations that depend on their source and seed alone."""

import csv
import io
import json
import shutil
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import safetensors.torch
import torch
from accelerate.state import AcceleratorState
from conftest import made_up_xray, webp
from PIL import Image
from torch import nn

import medgen
from medgen import ImageSet, Request, weights
from medgen.card import ModelCard
from medgen.errors import MedgenError
from medgen.paired import PAIRED, image_set, paired, splits
from medgen.translation_networks import ResidualGenerator, TranslationUNet
from medgen.translator import build, entrance
from train import cyclegan, pix2pix, residual, shrink, unet
from train.cyclegan import Both, CycleConfig, there_and_back
from train.discriminators import PatchDiscriminator
from train.pairs import DRAWS, PairConfig, augmented, load

RARE = [
    "--save-every",
    "100000",
    "--validate-every",
    "100000",
    "--sample-every",
    "100000",
    "--precision",
    "no",
    "--cpu",
]
SMALL = ["--fold", "4", "--channels", "16", "32"]
SMALL_DIFFUSION = ["--fold", "8", "--channels", "32", "64", "--attention", "0", "1", "--sample-steps", "3"]
SMALL_DIFFUSION += ["--unit-channels", "16", "--unit-images", "8"]


def flair_of(t1):
    """What a network has to learn: darkness and light change places."""
    return Image.fromarray((255 - np.asarray(t1)).astype(np.uint8))


@pytest.fixture(scope="module")
def made_up_pairs(tmp_path_factory):
    """A folder with brain_t1_flair_128.zip: six slices of two real patient names a split, made-up pictures."""
    folder = tmp_path_factory.mktemp("pairs")
    by_split = {
        side: [p for p, s in splits("brain_t1_flair_128").items() if s == side] for side in ("train", "val", "test")
    }
    table = io.StringIO()
    writer = csv.writer(table)
    writer.writerow(("file", "patient", "slice", "tumor_px"))
    with zipfile.ZipFile(folder / "brain_t1_flair_128.zip", "w") as archive:
        for number, patient in enumerate(p for side in by_split.values() for p in side[:2]):
            for i in range(6):
                name = f"{patient}_{i:02}.webp"
                picture = made_up_xray(10 * number + i, 60)
                archive.writestr(f"t1/{name}", webp(picture))
                archive.writestr(f"flair/{name}", webp(flair_of(picture)))
                writer.writerow((name, patient, i, 40 * i))
        archive.writestr("labels.csv", table.getvalue())
    return folder


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch, made_up_pairs):
    monkeypatch.setenv("MEDGEN_DATA", str(made_up_pairs))
    monkeypatch.setenv("MEDGEN_CHECKPOINTS", str(tmp_path / "checkpoints"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.chdir(tmp_path)
    AcceleratorState._reset_state()
    torch.set_num_threads(1)


def learn(script, name, *arguments):
    small = SMALL_DIFFUSION if script is residual else ["--fold", "4", "--width", "16", "--blocks", "1"]
    small = SMALL if script in (unet, pix2pix) else small
    flags = [*small, *RARE, "--name", name, "--out", f"runs/{name}", "--batch", "4", "--export", *map(str, arguments)]
    script.main(flags)
    return [json.loads(line) for line in Path(f"runs/{name}/log.jsonl").read_text().splitlines()]


def a_target(n=1):
    return paired("brain_t1_flair_128", "test").target.take(range(n))


def a_source(n=1, split="test"):
    return paired("brain_t1_flair_128", split).source.take(range(n))


def test_no_patient_is_on_two_sides_and_patients_of_two_sets_are_on_the_same():
    tables = {name: splits(name) for name in ("brain_t1_t2_256", "brain_t1_flair_128")}
    assert {side for table in tables.values() for side in table.values()} == {"train", "val", "test"}
    # brats_TCGA-DU-7294 and TCGA_DU_7294_19890104 are one patient
    short = {p.removeprefix("brats_").replace("-", "_"): s for p, s in tables["brain_t1_t2_256"].items() if "TCGA" in p}
    assert len(short) == 2
    for patient, side in short.items():
        (other,) = [s for p, s in tables["brain_t1_flair_128"].items() if p.startswith(patient)]
        assert other == side == "train"


def test_pairs_belong_together_and_know_their_patients():
    sides = {split: paired("brain_t1_flair_128", split) for split in ("train", "val", "test")}
    people = [set(pairs.subjects) for pairs in sides.values()]
    assert not (people[0] & people[1] or people[0] & people[2] or people[1] & people[2])
    pairs = sides["train"]
    np.testing.assert_array_equal(pairs.target.pixels, 255.0 - pairs.source.pixels)
    back = pairs.swapped()
    np.testing.assert_array_equal(back.source.pixels, pairs.target.pixels)
    assert [fact["tumor_px"] for fact in pairs.take([5, 0]).facts] == ["200", "0"]


@pytest.mark.parametrize(
    ("name", "split", "words"),
    [
        ("brain", "test", "choose from"),
        ("brain_t1_flair_128", "all", "no split"),
        ("brain_t1_t2_256", "val", "put it there"),
    ],
)
def test_pairs_that_are_not_there_are_one_sentence(name, split, words):
    with pytest.raises(MedgenError, match=words):
        paired(name, split)


def test_a_damaged_archive_of_pairs_is_one_sentence(tmp_path, monkeypatch):
    (tmp_path / "brain_t1_flair_128.zip").write_bytes(b"PK\x03\x04 cut short")
    monkeypatch.setenv("MEDGEN_DATA", str(tmp_path))
    with pytest.raises(MedgenError, match="no whole archive of pairs"):
        paired("brain_t1_flair_128", "test")


def test_a_unet_learns_to_translate_held_out_patients_better_than_copying():
    learn(unet, "unet-t1-flair-128", "--images", 600, "--rate", 3e-3, "--warmup", 0)
    pairs = paired("brain_t1_flair_128", "test")
    model = medgen.load("unet-t1-flair-128")
    made = model.sample(Request(seeds=tuple(range(len(pairs))), source=pairs.source))
    error = np.abs(made.pixels - pairs.target.pixels).mean()
    copied = np.abs(pairs.source.pixels - pairs.target.pixels).mean()
    assert error < 0.5 * copied
    assert made.subjects == pairs.subjects
    card = model.card
    assert card.translates["direction"] == "t1-flair" and card.translates["source"] == "T1"
    assert "NC" in card.licence and card.data == "brain_t1_flair_128" and card.spacing_mm == (2.0, 2.0)
    assert not (card.folder / "samples.png").exists(), "a picture of a patient is not published with the model"


def test_each_method_is_trained_exported_and_translates_by_its_source_alone():
    learn(unet, "unet-t1-flair-128", "--images", 16)
    learn(pix2pix, "pix2pix-t1-flair-128", "--images", 16, "--init", "unet-t1-flair-128", "--alone", 8)
    learn(residual, "diffusion-t1-flair-128", "--images", 16, "--regression", "unet-t1-flair-128")
    learn(cyclegan, "cyclegan-t1-flair-128", "--images", 16, "--back", "cyclegan-flair-t1-128")
    cards = medgen.cards()
    assert {card.net["method"] for card in cards.values()} == {"unet", "pix2pix", "diffusion", "cyclegan"}
    assert cards["cyclegan-flair-t1-128"].translates["direction"] == "flair-t1"
    two = a_source(2)
    for name, card in cards.items():
        model = medgen.load(name)
        both = model.sample(Request(seeds=(5, 6), source=two)).pixels
        assert both.shape == (2, *card.shape) and np.isfinite(both).all()
        alone = model.sample(Request(seeds=(6,), source=two.take([1]))).pixels
        np.testing.assert_array_equal(alone[0], both[1], err_msg=f"{name}: neighbours must not matter")
        assert np.abs(both[0] - both[1]).max() > 1.0, f"{name} ignores its source"


def test_a_diffusion_translator_varies_with_the_seed_and_one_pass_methods_do_not():
    learn(unet, "u", "--images", 16)
    learn(residual, "d", "--images", 200, "--regression", "u")
    one = a_source()
    flat = medgen.load("u").sample(Request(seeds=(1, 2), source=one)).pixels
    np.testing.assert_array_equal(flat[0], flat[1])
    model = medgen.load("d")
    varied = model.sample(Request(seeds=(1, 2), source=one)).pixels
    assert np.abs(varied[0] - varied[1]).mean() > 0.5
    more = model.sample(Request(seeds=(1,), source=one, steps=6)).pixels
    assert np.abs(more[0] - varied[0]).max() > 0.1, "the number of steps is ignored"
    seen = []
    model.sample(Request(seeds=(1,), source=one), lambda done, total, preview: seen.append((done, total, preview())))
    assert [(done, total) for done, total, _ in seen] == [(1, 3), (2, 3), (3, 3)]
    np.testing.assert_allclose(seen[-1][2].pixels, varied[:1], atol=0.01)


def test_a_diffusion_translator_keeps_its_unet_once_and_notices_another_one(capsys):
    learn(unet, "u", "--images", 16)
    learn(residual, "d", "--images", 16, "--regression", "u")
    cards = medgen.cards()
    u, d = cards["u"], cards["d"]
    assert d.parts == {"regression": "u"} and d.weights["u/model.safetensors"] == u.weights["model.safetensors"]
    state, own = weights.read(d), safetensors.torch.load_file(d.folder / "model.safetensors")
    assert not any(name.startswith("regression.") for name in own)
    for name, tensor in weights.read(u).items():
        np.testing.assert_array_equal(state[f"regression.{name}"], tensor)
    medgen.load("d").sample(Request(seeds=(1,), source=a_source()))
    learn(unet, "u", "--images", 32, "--out", "runs/again")
    assert "d was made on the weights that u had before" in capsys.readouterr().err
    with pytest.raises(MedgenError, match="is not what d was made with"):
        medgen.load("d")


def test_a_shrunk_model_has_half_the_weight_the_same_pictures_and_no_report(capsys):
    learn(unet, "u", "--images", 16)
    learn(residual, "d", "--images", 16, "--regression", "u")
    old = medgen.cards()["d"]
    (old.folder / "translation.json").write_text("{}")
    size = (old.folder / "model.safetensors").stat().st_size
    assert shrink.main(["d"]) == 0 and "dB" in capsys.readouterr().out
    new = medgen.cards()["d"]
    assert (new.folder / "model.safetensors").stat().st_size < 0.75 * size and new.parts == {"regression": "u"}
    assert new.trained["weights_bits"] == 8 and (new.folder / "log.jsonl").exists()
    assert not (new.folder / "translation.json").exists(), "a report of other weights"
    for name, words in (("u", "d shares the weights of u"), ("d", "shrunk before"), ("x", "no model 'x'")):
        with pytest.raises(MedgenError, match=words):
            shrink.shrink(name)


def test_what_a_translator_cannot_translate_is_one_sentence():
    learn(unet, "u", "--images", 8)
    model, source = medgen.load("u"), a_source(2)

    def refused(words, **change):
        with pytest.raises(MedgenError, match=words):
            model.sample(Request(**{"seeds": (0,), "source": source.take([0]), **change}))

    refused("needs a T1 picture", source=None)
    refused("1 seeds, 2 pictures", source=source)
    refused("bring them to its grid", source=ImageSet(source.pixels[:1, :, :64], "MR", "au", (0.0, 255.0)))
    refused("not CT in HU", source=image_set(np.zeros((1, 128, 128)), "ct", ("a",)))
    broken = source.take([0]).pixels.copy()
    broken[0, 0, 3, 3] = np.nan
    refused("NaN", source=ImageSet(broken, "MR", "au", (0.0, 255.0)))
    refused("takes no steps", steps=4)


def test_a_killed_and_resumed_cyclegan_has_the_same_pool_and_losses():
    flags = ["--fold", "8", "--width", "16", "--blocks", "1", *RARE[2:], "--batch", "2", "--images", "140"]
    flags += ["--name", "c", "--threads", "1"]
    cyclegan.main([*flags, "--save-every", "100000", "--out", "whole"])
    cyclegan.main([*flags, "--save-every", "120", "--out", "cut", "--minutes", "1e-9"])
    cyclegan.main([*flags, "--save-every", "120", "--out", "cut", "--resume", "--minutes", "0"])
    whole, cut = (Path(out, "log.jsonl").read_text() for out in ("whole", "cut"))
    assert whole == cut
    pools = [torch.load(Path(out) / "state.pt", weights_only=True)["extra"] for out in ("whole", "cut")]
    assert int(pools[0]["there count"]) == cyclegan.POOL
    assert all(torch.equal(value, pools[1][name]) for name, value in pools[0].items())


def test_the_way_back_is_measured_with_the_other_generator():
    """With there = x + 0.3 and back = x - 0.3 the right cycle is perfect; there after there would be 0.6 off."""

    class Shift(nn.Module):
        def __init__(self, by):
            super().__init__()
            self.by = by

        def forward(self, x):
            return x + self.by

    run = SimpleNamespace(accelerator=SimpleNamespace(autocast=lambda: torch.autocast("cpu", enabled=False)))
    a, b = torch.zeros(2, 1, 32, 32), torch.full((2, 1, 32, 32), 0.3)
    config = CycleConfig(name="c")
    judges = Both(PatchDiscriminator(16), PatchDiscriminator(16))
    made_b, made_a, terms = there_and_back(run, Both(Shift(0.3), Shift(-0.3)), judges, a, b, config)
    assert float(terms["cycle"]) < 1e-5 and float(terms["cycle_back"]) < 1e-5
    assert torch.allclose(made_b, b) and torch.allclose(made_a, a)
    assert float(terms["identity"]) == pytest.approx(config.identity * 0.6, rel=1e-4)


def test_a_generator_that_adds_to_its_input_begins_as_a_perfect_cycle_and_one_that_draws_does_not():
    picture = torch.rand(1, 1, 32, 32) * 2 - 1
    assert torch.equal(ResidualGenerator(2, 16, 1, skip=True)(picture), picture)
    drawn = ResidualGenerator(2, 16, 1, skip=False)(picture)
    assert not torch.allclose(drawn, picture, atol=0.1) and drawn.abs().max() < 1.0


def test_the_discriminator_of_pairs_sees_the_source():
    judge = PatchDiscriminator(16, inputs=2)
    source, target = torch.rand(1, 1, 64, 64), torch.rand(1, 1, 64, 64)
    one = judge(torch.cat([source, target], dim=1))
    assert not torch.allclose(one, judge(torch.cat([source.flip(3), target], dim=1)))


def test_a_diffusion_translator_knows_where_it_may_err_and_starts_from_its_unet():
    learn(unet, "u", "--images", 200, "--rate", 3e-3, "--warmup", 0)
    learn(residual, "d", "--images", 16, "--regression", "u", "--unit-images", 400)
    model = medgen.load("d")
    network, known = model.network, weights.read(medgen.load("u").card)
    assert all(torch.equal(value, known[name]) for name, value in network.regression.state_dict().items())
    source, target = (torch.from_numpy(s.unit_range() * 2 - 1) for s in (a_source(6), a_target(6)))
    with torch.no_grad():
        answer = network.answer(source)
        unit = network.unit(source, answer)
    error = (target - answer).abs().flatten()
    assert np.corrcoef(error, unit.flatten())[0, 1] > 0.3
    # half a standard deviation is what is denoised
    scaled = ((target - answer) / unit).std()
    assert 0.25 < float(scaled) < 1.0


def test_a_diffusion_translator_cut_short_and_resumed_keeps_its_unet_and_its_units():
    learn(unet, "u", "--images", 8)
    whole = learn(residual, "d", "--images", 48, "--regression", "u")
    flags = ["--name", "d", "--out", "cut", "--cpu", "--minutes"]
    small = [*SMALL_DIFFUSION, *RARE[:6], "--precision", "no", "--batch", "4", "--images", "48", "--regression", "u"]
    residual.main([*small, *flags, "1e-9"])
    shutil.rmtree("checkpoints")  # the model it started from may be gone
    residual.main([*flags, "0", "--resume"])
    assert [json.loads(line) for line in Path("cut/log.jsonl").read_text().splitlines()] == whole


def test_a_diffusion_translator_belongs_to_one_unet():
    learn(unet, "u", "--images", 8)
    learn(pix2pix, "p", "--images", 8)
    for arguments, words in (
        (("--regression", "p"), "no U-Net for"), (("--regression", "u", "--direction", "flair-t1"), "no U-Net for"),
        (("--regression", "gone"), "no model 'gone'"),
    ):  # fmt: skip
        with pytest.raises(MedgenError, match=words):
            learn(residual, "d", "--images", 8, *arguments)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--direction", "t2-t1"], "t1-flair or flair-t1"),
        (["--data", "kermany_cxr_128"], "no pairs"),
        (["--channels", "20"], "multiples of 16"),
        (["--fold", "3"], "multiple of 6"),
    ],
)
def test_a_wrong_option_of_a_translator_is_one_sentence(arguments, words):
    with pytest.raises(MedgenError, match=words):
        unet.main([*SMALL, *RARE, "--name", "u", "--out", "u", *arguments])


def test_the_way_back_learns_from_the_pairs_the_other_way_round():
    there, back = (load(PairConfig(name="x", direction=way), "train") for way in ("", "flair-t1"))
    assert torch.equal(there.images[:, 0], back.images[:, 1]) and torch.equal(there.images[:, 1], back.images[:, 0])


def test_pairs_are_augmented_alike_and_only_the_tone_of_an_mr_source_changes():
    pixels = torch.rand(8, 1, 32, 32).expand(-1, 2, -1, -1) * 1.8 - 0.9
    u = torch.rand(8, DRAWS, generator=torch.Generator().manual_seed(3))
    moved = augmented(pixels, u, PairConfig(name="x", geometry=1.0, tone=0.0))
    assert torch.equal(moved[:, 0], moved[:, 1]) and not torch.allclose(moved, pixels)
    toned = augmented(pixels, u, PairConfig(name="x", geometry=1.0, tone=0.3))
    assert torch.equal(toned[:, 1], moved[:, 1]) and not torch.allclose(toned[:, 0], moved[:, 0], atol=0.02)
    ct = PairConfig(name="x", data=("head_mr_ct_256",), direction="ct-mr", geometry=1.0, tone=0.3)
    assert torch.equal(augmented(pixels, u, ct), moved)
    plain = torch.full((8, DRAWS), 0.99)
    assert torch.equal(augmented(pixels, plain, PairConfig(name="x", geometry=0.0, tone=0.0)), pixels)


def test_hounsfield_units_enter_by_the_window_of_the_model_and_leave_as_hounsfield_units(tmp_path):
    """A translator that leaves its picture alone gives back the HU it was given, whatever the window they came with."""
    net = {"method": "unet", "fold": 2, "channels": [16, 16]}
    network = build(net)
    assert isinstance(network, TranslationUNet)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    folder = tmp_path / "checkpoints" / "unet-ct-ct-32"
    wanted = {
        "direction": "ct-mr",
        "source": "CT",
        "target": "MR",
        "modality": "CT",
        "unit": "HU",
        "window": [-1024, 1976],
    }
    card = ModelCard(
        name="unet-ct-ct-32", family="translator", title="constant", modality="CT", unit="HU", window=(-1024.0, 1976.0),
        shape=(1, 32, 32), licence="MIT", limits="none", net=net, controls=("source",), translates=wanted,
        weights=weights.save(network.state_dict(), folder),
    )  # fmt: skip
    card.save(folder)
    model = medgen.load(card.name)
    hu = np.linspace(-2000, 3000, 32 * 32, dtype=np.float32).reshape(1, 1, 32, 32)
    narrow = ImageSet(hu, "CT", "HU", (0.0, 80.0))
    seen = entrance(Request(seeds=(0,), source=narrow), model.card)
    expected = 2.0 * (np.clip(hu, -1024, 1976) + 1024) / 3000 - 1.0
    np.testing.assert_allclose(seen, expected, atol=1e-5)
    made = model.sample(Request(seeds=(0,), source=narrow))
    # all weights zero: the middle of the window
    np.testing.assert_allclose(made.pixels, 476.0, atol=1e-3)
    assert (made.modality, made.unit) == ("CT", "HU")


def test_the_catalogue_of_pairs_names_licence_and_source():
    for entry in PAIRED.values():
        assert entry.licence and entry.citation and entry.notes and entry.size in (128, 256)
