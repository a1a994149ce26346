"""Sampling: image i depends on seed i alone, exactly, whatever stands beside it and however many threads there are."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import medgen
from medgen import runtime, weights
from medgen.card import ModelCard
from medgen.generator import Request, Stopped

ROOT = Path(__file__).parent.parent
LABELS = ("normal", "sick")


def save_model(folder, kind):
    """A small untrained network of one family, with random weights everywhere (diffusers starts some at zero)."""
    torch.manual_seed(0)
    shape, controls, steps, guidance = (1, 32, 32), ("label", "towards"), None, None
    if kind == "diffusion":
        from medgen.diffusion import build

        net = {"size": 32, "fold": 4, "channels": [32, 64], "attention": [False, True], "labels": 2}
        controls, steps, guidance = (*controls, "steps", "guidance"), 4, 1.0
    else:
        from medgen.gan import build

        net = {"architecture": "stylegan2", "channels": [16, 16, 16], "fold": 2, "latent": 16, "labels": 2}
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


def test_the_label_acts_and_the_same_label_twice_does_not(model):
    if "label" not in model.card.controls:
        pytest.skip("this model takes no label")
    normal, sick, none = (model.sample(Request((3,), label=word)).pixels for word in ("normal", "sick", None))
    assert np.abs(normal - sick).max() > 0.1
    assert np.abs(normal - none).max() > 0.1
    assert np.array_equal(normal, model.sample(Request((3,), label="normal")).pixels)


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
    one, three = (model.sample(Request((3,), label="sick", guidance=g)).pixels for g in (1.0, 3.0))
    assert np.abs(one - three).max() > 0.1
    few, many = (model.sample(Request((3,), steps=s)).pixels for s in (2, 6))
    assert np.abs(few - many).max() > 0.1


def test_a_diffusion_network_heeds_its_noise_level_and_its_label(folder, monkeypatch):
    monkeypatch.setenv("MEDGEN_CHECKPOINTS", str(folder))
    network = medgen.load("diffusion-test-32").network
    x = torch.randn(1, 1, 32, 32)
    with torch.no_grad():
        low, high = (network(x, torch.tensor([c]), torch.tensor([0])) for c in (-1.0, 1.0))
        other = network(x, torch.tensor([-1.0]), torch.tensor([1]))
    assert (low - high).abs().max() > 1e-3
    assert (low - other).abs().max() > 1e-3


def test_the_solver_recovers_a_known_distribution(monkeypatch):
    """With the exact denoiser of a Gaussian in place of the network, samples have its mean and spread."""
    from medgen.diffusion import DiffusionSampler, build

    mean, spread = 0.2, 0.3
    network = build({"size": 16, "fold": 4, "channels": [32], "attention": [False], "sigma_data": 0.3})
    scheduler = network.scheduler()

    def exact(scaled, noise_level):
        sigma = torch.exp(4 * noise_level)
        noisy = scaled / scheduler.precondition_inputs(torch.ones(()), sigma)
        denoised = mean + spread**2 / (spread**2 + sigma**2) * (noisy - mean)
        c_out = scheduler.precondition_outputs(torch.zeros(()), torch.ones(()), sigma)
        return (denoised - scheduler.precondition_outputs(noisy, torch.zeros(()), sigma)) / c_out

    sampler = object.__new__(DiffusionSampler)
    sampler.card = ModelCard(
        "x", "diffusion", "", "CR", "au", (-1.0, 1.0), (1, 16, 16), "", "", controls=("steps",), steps=20
    )
    sampler.network = network
    monkeypatch.setattr(sampler, "predict", lambda scaled, level, request: exact(scaled, level), raising=False)
    pixels = sampler.sample(Request(tuple(range(64)), steps=20)).pixels
    assert pixels.mean() == pytest.approx(mean, abs=0.01)
    assert pixels.std() == pytest.approx(spread, abs=0.02)


def test_slerp_keeps_the_norm():
    latents = runtime.gaussian((4096,), (1,), towards=2, mix=0.5)
    assert float(latents.norm()) == pytest.approx(64, rel=0.03)
