"""Sampling: image i depends on seed i alone, exactly, whatever stands beside it and however many threads there are."""

import math
import os
import subprocess
import sys
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import medgen
from medgen import runtime, solver, weights
from medgen.card import ModelCard
from medgen.generator import Request, Stopped

ROOT = Path(__file__).parent.parent
LABELS = ("normal", "bacterial_pneumonia", "viral_pneumonia")
COLUMNS = [f"label={word}" for word in LABELS]


def save_model(folder, kind):
    """A small untrained network of one family, with random weights everywhere (diffusers starts some at zero)."""
    torch.manual_seed(0)
    shape, controls, steps, guidance = (1, 32, 32), ("label", "severity", "towards"), None, None
    if kind == "diffusion":
        from medgen.diffusion import build

        net = {"size": 32, "fold": 4, "channels": [32, 64], "attention": [False, True], "conditions": COLUMNS}
        controls, steps, guidance = (*controls, "steps", "guidance"), 4, 1.0
    else:
        from medgen.gan import build

        net = {"architecture": "stylegan2", "channels": [16, 16, 16], "fold": 2, "latent": 16, "conditions": COLUMNS}
        if kind == "dcgan":
            net, controls = {"architecture": "dcgan", "size": 32, "width": 8, "latent": 16}, ("towards",)
    network = build(net)
    with torch.no_grad():
        for tensor in network.parameters():
            tensor.add_(0.05 * torch.randn_like(tensor))
    name = f"{kind}-test-32"
    base = ModelCard(
        name, "diffusion" if kind == "diffusion" else "gan", kind, "CR", "au", (0.0, 255.0), shape, "MIT", ""
    )
    labels = LABELS if "label" in controls else ()
    card = replace(base, net=net, controls=controls, labels=labels, steps=steps, guidance=guidance)
    replace(card, weights=weights.save(network.state_dict(), folder / name)).save(folder / name)
    return name


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    for kind in ("dcgan", "stylegan2", "diffusion"):
        save_model(folder, kind)
    return folder


@pytest.fixture(params=["dcgan", "stylegan2", "diffusion"])
def model(request, folder, monkeypatch):
    monkeypatch.setenv("MEDGEN_CHECKPOINTS", str(folder))
    return medgen.load(f"{request.param}-test-32")


@pytest.fixture(params=["stylegan2", "diffusion"])
def conditional(request, folder, monkeypatch):
    """A model of its own: a test may change its weights."""
    monkeypatch.setenv("MEDGEN_CHECKPOINTS", str(folder))
    return medgen.load(f"{request.param}-test-32")


def test_alone_in_a_batch_and_in_any_order_the_pixels_are_the_same(model):
    together = model.sample(Request((5, 6, 7, 8, 9))).pixels
    assert np.array_equal(model.sample(Request((7,))).pixels[0], together[2])
    assert np.array_equal(model.sample(Request((9, 5, 7))).pixels, together[[4, 0, 2]])
    assert not np.array_equal(together[0], together[1])
    assert np.abs(together).std() > 1


def test_one_thread_and_two_give_the_same_pixels(model, folder):
    script = (
        "import sys, hashlib, medgen; from medgen.generator import Request;"
        "print(hashlib.sha256(medgen.load(sys.argv[1]).sample(Request((3, 4, 5))).pixels.tobytes()).hexdigest())"
    )
    digests = set()
    for threads in ("1", "2"):
        environment = {**os.environ, "MEDGEN_CHECKPOINTS": str(folder), "PYTHONPATH": str(ROOT)}
        environment |= {"MEDGEN_THREADS": threads, "OMP_NUM_THREADS": threads, "MEDGEN_DEVICE": "cpu"}
        done = subprocess.run(
            [sys.executable, "-c", script, model.card.name], env=environment, capture_output=True, text=True, check=True
        )
        digests.add(done.stdout.strip())
    assert len(digests) == 1


def differ(one, other):
    """More than rounding, in a window of 255."""
    return np.abs(one - other).max() > 0.1


def draw(model, **asked):
    return model.sample(Request((3, 4), **asked)).pixels


def test_changing_only_the_label_changes_the_picture_and_changing_nothing_does_not(conditional):
    pictures = [draw(conditional, label=word) for word in (*LABELS, None, "bacterial_pneumonia|viral_pneumonia")]
    assert all(differ(one, other) for one, other in combinations(pictures, 2))
    assert np.array_equal(pictures[0], draw(conditional, label="normal"))
    assert np.array_equal(pictures[4], draw(conditional, label="viral_pneumonia|bacterial_pneumonia"))


def test_severity_leads_from_the_healthy_label_to_the_disease(conditional):
    healthy, sick = (draw(conditional, label=word) for word in ("normal", "viral_pneumonia"))
    none, half, all_of_it = (draw(conditional, label="viral_pneumonia", severity=s) for s in (0.0, 0.5, 1.0))
    assert np.array_equal(none, healthy)
    assert np.array_equal(all_of_it, sick)
    assert differ(half, healthy) and differ(half, sick)


def test_a_row_of_zeros_is_the_network_without_its_condition(conditional):
    """Saying nothing adds what the bias adds to every picture, and no column of the weights."""
    before = draw(conditional)
    labelled = draw(conditional, label="normal")
    layer = conditional.network.condition
    with torch.no_grad():
        layer.weight.add_(1.0)
    assert np.array_equal(draw(conditional), before)
    assert differ(draw(conditional, label="normal"), labelled)
    with torch.no_grad():
        layer.bias.add_(1.0)
    assert differ(draw(conditional), before)


def test_guidance_without_any_condition_changes_nothing(folder, monkeypatch):
    monkeypatch.setenv("MEDGEN_CHECKPOINTS", str(folder))
    model = medgen.load("diffusion-test-32")
    assert np.array_equal(draw(model, guidance=3.0), draw(model))


@pytest.mark.parametrize("fold", [1, 2])
def test_networks_make_pictures_of_several_channels(fold):
    """Latents of an autoencoder are small pictures of some eight channels."""
    from medgen.diffusion_networks import FoldedUNet
    from medgen.stylegan import StyleGenerator

    torch.manual_seed(0)
    unet = FoldedUNet(16, fold, (32, 64), 1, (False, False), ("label=normal",), image_channels=8)
    pixels = 0.5 * torch.randn(6, 8, 16, 16) + torch.arange(8.0)[:, None, None]
    unet.learn_prior(pixels)
    assert torch.allclose(unet.mean.mean(dim=(1, 2)), torch.arange(8.0), atol=0.3)
    level, told = torch.full((6,), -0.5), torch.ones(6, 1)
    with torch.no_grad():
        unet.unet.conv_out.weight.normal_(0.0, 0.1)
        outputs = unet(pixels, level, told)
        assert differ(outputs.numpy(), unet(pixels, level, 0 * told).numpy())
        style = StyleGenerator((16, 16, 16), fold, 16, ("label=normal",), image_channels=8)
        made = style(torch.randn(2, 16), torch.ones(2, 1))
    assert outputs.shape == pixels.shape
    assert made.shape == (2, 8, 16 * fold, 16 * fold)
    assert (made.std(dim=(2, 3)) > 0.01).all()


def test_a_network_told_nothing_has_no_condition_layer():
    from medgen.diffusion_networks import FoldedUNet
    from medgen.stylegan import StyleGenerator

    torch.manual_seed(0)
    unet, style = FoldedUNet(16, 4, (64,), attention=(False,)), StyleGenerator((16, 16), 1, 16)
    assert unet.condition is None and unet.unet.class_embedding is None and style.condition is None
    with torch.no_grad():
        assert unet(torch.randn(2, 1, 16, 16), torch.zeros(2), torch.zeros(2, 0)).shape == (2, 1, 16, 16)
        latent = torch.randn(2, 16)
        assert torch.equal(style(latent, torch.zeros(2, 0)), style(latent))


def test_a_walk_starts_at_one_seed_and_ends_at_the_other(model):
    start, end = model.sample(Request((3, 4))).pixels
    walk = [model.sample(Request((3,), towards=4, mix=mix)).pixels[0] for mix in (0.0, 0.5, 1.0)]
    np.testing.assert_allclose(walk[0], start, atol=1e-2)
    np.testing.assert_allclose(walk[2], end, atol=1e-2)
    assert np.abs(walk[1] - start).max() > 0.1


def test_every_step_is_reported_and_stop_stops(model):
    heard = []
    model.sample(Request((3, 4, 5)), lambda done, total, preview: heard.append((done, total, preview().pixels.shape)))
    assert [done for done, _, _ in heard][-1] == heard[0][1]
    assert all(shape[1:] == model.card.shape for _, _, shape in heard)

    def stop(done, total, preview):
        raise Stopped

    with pytest.raises(Stopped):
        model.sample(Request((3, 4, 5)), stop)


def test_guidance_and_steps_act_on_a_diffusion_model(folder, monkeypatch):
    monkeypatch.setenv("MEDGEN_CHECKPOINTS", str(folder))
    model = medgen.load("diffusion-test-32")
    one, three = (model.sample(Request((3,), label="viral_pneumonia", guidance=g)).pixels for g in (1.0, 3.0))
    assert np.abs(one - three).max() > 0.1
    few, many = (model.sample(Request((3,), steps=s)).pixels for s in (2, 6))
    assert np.abs(few - many).max() > 0.1


def test_a_diffusion_network_heeds_its_noise_level_and_its_label(folder, monkeypatch):
    monkeypatch.setenv("MEDGEN_CHECKPOINTS", str(folder))
    network = medgen.load("diffusion-test-32").network
    x = torch.randn(1, 1, 32, 32)
    with torch.no_grad():
        low, high = (network(x, torch.tensor([c]), torch.eye(3)[:1]) for c in (-1.0, 1.0))
        other = network(x, torch.tensor([-1.0]), torch.eye(3)[1:2])
    assert (low - high).abs().max() > 1e-3
    assert (low - other).abs().max() > 1e-3


def test_the_solver_recovers_a_known_distribution(monkeypatch):
    """With the exact denoiser of a Gaussian in place of the network, samples have its mean and spread."""
    from medgen.diffusion import DiffusionSampler

    mean, spread = 0.2, 0.3
    net = {"size": 16, "sigma_data": 0.3}

    def exact(scaled, noise_level):
        sigma = math.exp(4.0 * noise_level)
        noisy = scaled / solver.c_in(sigma, 0.3)
        denoised = mean + spread**2 / (spread**2 + sigma**2) * (noisy - mean)
        return solver.raw_output(noisy, denoised, sigma, 0.3)

    sampler = object.__new__(DiffusionSampler)
    sampler.card = ModelCard(
        "x", "diffusion", "", "CR", "au", (-1.0, 1.0), (1, 16, 16), "", "", net=net, controls=("steps",), steps=20
    )
    sampler.trained = SimpleNamespace(to_pixels=lambda values: values)
    monkeypatch.setattr(sampler, "predict", lambda scaled, level, *told: exact(scaled, level), raising=False)
    pixels = sampler.sample(Request(tuple(range(64)), steps=20)).pixels
    assert pixels.mean() == pytest.approx(mean, abs=0.01)
    assert pixels.std() == pytest.approx(spread, abs=0.02)


def test_slerp_keeps_the_norm():
    latents = runtime.gaussian((4096,), (1,), towards=2, mix=0.5)
    assert float(np.linalg.norm(latents)) == pytest.approx(64, rel=0.03)
