"""Volumes from an autoencoder, a latent diffusion model and a GAN: size, place, seeds, walks, and what is asked."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import medgen
from medgen import MedgenError, Request, weights
from medgen.card import ModelCard
from medgen.denoiser import dct_matrix
from medgen.generator import Stopped
from medgen.volume_models import build, told
from medgen.volume_networks import LatentGaussian, LatentUNet, VolumeAutoencoder, fold, unfold

SHAPE, SPACING = (16, 24, 16), (1.0, 2.0, 3.0)
LATENT = [4, 4, 6, 4]
INNER = {"channels": [16, 16], "blocks": 1}
QUANTITY = {"name": "hippocampal volume", "unit": "mm3", "low": 2000.0, "high": 4000.0, "step": 50.0}
NETS = {
    "vae": {"latent": LATENT, "directions": 6, **INNER},
    "ldm": {"latent": LATENT, "channels": [16, 32], "autoencoder": {"latent_channels": 4, **INNER}},
    "gan": {"shape": SHAPE, "channels": [16, 16, 8], "width": 16, "directions": 4},
}


def save_model(folder, method, **changes):
    """A model of random weights."""
    net = {"method": method, "quantity": {"mean": 3000.0, "std": 400.0}, "black": False, **NETS[method]}
    torch.manual_seed(0)
    network = build(net)
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if tensor.is_floating_point() and "std" not in name and "spectrum" not in name:
                tensor.add_(0.05 * torch.randn_like(tensor))
    steps = {"steps": 3, "guidance": 1.0} if method == "ldm" else {}
    card = ModelCard(
        f"{method}-test-16", "volume", method, "MR", "au", (0.0, 255.0), (1, *SHAPE), "MIT", "", spacing_mm=SPACING,
        net=net, controls=("quantity", *steps, "towards"), quantity=QUANTITY, **steps,
    )  # fmt: skip
    card = replace(card, **changes)
    replace(card, weights=weights.save(network.state_dict(), folder / card.name)).save(folder / card.name)
    return card.name


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDGEN_CHECKPOINTS", str(tmp_path))
    torch.set_num_threads(1)
    return tmp_path


@pytest.fixture(params=["vae", "ldm", "gan"])
def model(request, place):
    return medgen.load(save_model(place, request.param))


def test_a_volume_has_the_size_unit_and_place_of_its_card(model):
    images = model.sample(Request((0, 1)))
    assert images.pixels.shape == (2, 1, *SHAPE)
    assert images.pixels.min() >= 0.0
    assert images.pixels.max() <= 255.0
    assert (images.modality, images.unit, images.window) == ("MR", "au", (0.0, 255.0))
    middle = images.affine @ [*(np.array(SHAPE) - 1) / 2, 1.0]
    assert np.allclose(middle[:3], 0.0)
    assert np.array_equal(np.diag(images.affine)[:3], SPACING), (
        "RAS+: every axis runs to the patient's left-to-right, ..."
    )


def test_a_volume_depends_on_its_seed_alone(model):
    together = model.sample(Request((5, 6, 7))).pixels
    assert np.array_equal(model.sample(Request((6,))).pixels[0], together[1])
    assert np.array_equal(model.sample(Request((7, 5))).pixels, together[[2, 0]])
    assert not np.array_equal(together[0], together[1])


def test_a_walk_begins_and_ends_at_its_two_seeds_and_differs_between(model):
    start, half, end = (model.sample(Request((1,), towards=2, mix=mix)).pixels for mix in (0.0, 0.5, 1.0))
    assert np.allclose(start, model.sample(Request((1,))).pixels, atol=0.05)
    assert np.allclose(end, model.sample(Request((2,))).pixels, atol=0.05)
    assert np.abs(half - start).max() > 0.5
    assert np.abs(half - end).max() > 0.5


def test_the_quantity_reaches_the_output(model):
    small, large, unsaid = (model.sample(Request((0,), quantity=asked)).pixels for asked in (2000.0, 4000.0, None))
    assert np.abs(small - large).max() > 0.05
    assert np.abs(small - unsaid).max() > 0.01


def test_a_model_that_was_told_nothing_refuses_to_be_asked(place):
    model = medgen.load(save_model(place, "gan", controls=("towards",), quantity={}))
    with pytest.raises(MedgenError, match="takes no quantity"):
        model.sample(Request((0,), quantity=3000.0))


def test_steps_act_on_the_diffusion_model_alone(place):
    model = medgen.load(save_model(place, "ldm"))
    assert not np.array_equal(model.sample(Request((0,), steps=2)).pixels, model.sample(Request((0,), steps=6)).pixels)
    gan = medgen.load(save_model(place, "gan"))
    with pytest.raises(MedgenError, match="takes no steps"):
        gan.sample(Request((0,), steps=2))


def test_guidance_moves_what_is_asked_for_and_nothing_else(place):
    model = medgen.load(save_model(place, "ldm"))
    asked = [model.sample(Request((0,), quantity=4000.0, guidance=g)).pixels for g in (1.0, 4.0)]
    assert not np.array_equal(*asked)
    unasked = [model.sample(Request((0,), guidance=g)).pixels for g in (1.0, 4.0)]
    assert np.array_equal(*unasked)


def test_previews_have_the_size_of_the_volume_and_the_last_is_the_result(model):
    seen = []
    images = model.sample(Request((0, 1, 2)), lambda done, total, preview: seen.append((done, total, preview())))
    done, total, last = seen[-1]
    assert done == total
    assert last.pixels.shape == (3, 1, *SHAPE)
    assert np.abs(last.pixels - images.pixels).max() < 1.0
    assert np.array_equal(last.affine, images.affine)


def test_a_stop_is_heard(model):
    def stop(done, total, preview):
        raise Stopped

    with pytest.raises(Stopped):
        model.sample(Request((0, 1, 2)), stop)


def test_a_black_background_is_exactly_black(place):
    name = save_model(place, "gan")
    model = medgen.load(name)
    grey = model._images(np.full((1, 1, *SHAPE), -0.99, np.float32), Request((0,)))
    assert grey.pixels.max() > 1.0
    model.card.net["black"] = True
    assert model._images(np.full((1, 1, *SHAPE), -0.99, np.float32), Request((0,))).pixels.max() == 0.0


def test_a_card_without_spacing_says_what_it_lacks(place):
    with pytest.raises(MedgenError, match="spacing_mm"):
        medgen.load(save_model(place, "gan", spacing_mm=None))


def test_a_card_of_another_network_is_refused(place):
    net = {"method": "gan", **NETS["gan"], "shape": [15, 24, 16]}
    with pytest.raises(MedgenError, match="does not describe a network"):
        medgen.load(save_model(place, "gan", net=net))


def test_folding_loses_nothing():
    voxels = torch.randn(2, 1, 4, 6, 8)
    assert fold(voxels).shape == (2, 8, 2, 3, 4)
    assert torch.equal(unfold(fold(voxels)), voxels)
    assert torch.equal(fold(voxels)[0, :, 0, 0, 0], voxels[0, 0, :2, :2, :2].flatten())


def test_a_copy_that_only_decodes_decodes_the_same_and_is_smaller():
    torch.manual_seed(0)
    whole = VolumeAutoencoder(channels=(16, 16))
    half = VolumeAutoencoder(channels=(16, 16), encoder=False)
    own = half.state_dict()
    half.load_state_dict({name: value for name, value in whole.state_dict().items() if name in own})
    latent = torch.randn(1, 4, 4, 6, 4)
    assert torch.equal(half.decode(latent), whole.decode(latent))
    assert len(own) < len(whole.state_dict())


def test_scaled_latents_have_mean_zero_and_variance_one_and_decode_to_the_same_volume():
    torch.manual_seed(0)
    network, voxels = VolumeAutoencoder(channels=(16, 16)), torch.rand(4, 1, *SHAPE) * 2 - 1
    raw = network.gaussian(voxels)[0]
    before = network.decoded(raw)
    network.learn_scale(raw)
    latents = network.encode(voxels)
    assert list(latents.shape[1:]) == LATENT
    assert latents.mean(dim=(0, 2, 3, 4)).abs().max() < 1e-4
    assert (latents.std(dim=(0, 2, 3, 4)) - 1).abs().max() < 1e-3
    assert torch.allclose(network.decode(latents), before, atol=1e-4)


def joint(count=400):
    """Latents of two directions, of which the first is 0.8 correlated with the quantity."""
    torch.manual_seed(0)
    told = torch.stack([torch.randn(count), torch.ones(count)], dim=1)
    first = 0.8 * told[:, 0] + 0.6 * torch.randn(count)
    shape = torch.randn(2, 1, 2, 2, 2)
    latents = 5.0 + torch.einsum("nk,kcxyz->ncxyz", torch.stack([3.0 * first, torch.randn(count)], dim=1), shape)
    return latents, told


def test_the_gaussian_of_the_latents_has_their_mean_and_covariance():
    latents, told = joint()
    density = LatentGaussian((1, 2, 2, 2), directions=4)
    density.fit(latents, told)
    drawn = density(torch.randn(20_000, 4), torch.zeros(20_000, 2))
    assert (drawn.mean(dim=0) - latents.mean(dim=0)).abs().max() < 0.15
    ours, theirs = torch.cov(drawn.flatten(1).T), torch.cov(latents.flatten(1).T)
    assert (ours - theirs).abs().max() < 0.05 * theirs.abs().max()


def test_latents_asked_for_a_quantity_are_those_of_such_volumes():
    """Of a joint Gaussian: mean r q along the direction, standard deviation sqrt(1 - r^2)."""
    latents, told = joint()
    density = LatentGaussian((1, 2, 2, 2), directions=4)
    density.fit(latents, told)
    asked = torch.tensor([[2.0, 1.0]]).expand(20_000, -1)
    drawn = density(torch.randn(20_000, 4), asked) - density.center
    direction = density.spread[0].flatten() / density.spread[0].norm().square()
    along = drawn.flatten(1) @ direction
    sign = torch.sign(density.link[0])
    assert float(sign * along.mean()) == pytest.approx(1.6, abs=0.2)
    assert float(along.std()) == pytest.approx(0.6, abs=0.06)


def test_fewer_volumes_than_directions_leave_the_others_empty():
    density = LatentGaussian((1, 2, 2, 2), directions=8)
    density.fit(torch.randn(3, 1, 2, 2, 2))
    assert density.spread[2:].abs().max() == 0.0
    assert torch.isfinite(density(torch.randn(2, 8), torch.tensor([[1.0, 1.0], [0.0, 0.0]]))).all()


def test_the_untrained_denoiser_is_the_best_linear_one():
    torch.manual_seed(0)
    network = LatentUNet(LATENT, channels=(16, 32)).eval()
    network.learn_prior(torch.randn(6, *LATENT))
    matrices = [dct_matrix(side) for side in LATENT[1:]]
    values = torch.randn(2, *LATENT)
    assert torch.allclose(network.dct(values), torch.einsum("ncxyz,ax,by,dz->ncabd", values, *matrices), atol=1e-5)
    assert torch.allclose(network.dct(network.dct(values), inverse=True), values, atol=1e-5)
    for out in network.unet.out.parameters():
        torch.nn.init.zeros_(out)
    scheduler, sigma = network.scheduler(), torch.tensor(0.7)
    noisy = network.mean + sigma * torch.randn(2, *LATENT)
    scaled = scheduler.precondition_inputs(noisy, sigma)
    output = network(scaled, scheduler.precondition_noise(sigma).expand(2), torch.zeros(2, 2))
    found = scheduler.precondition_outputs(noisy, output, sigma)
    gain = network.spectrum / (network.spectrum + sigma**2)
    wanted = network.mean + network.dct(gain * network.dct(noisy - network.mean), inverse=True)
    assert torch.allclose(found, wanted, atol=1e-4)


def test_what_is_told_is_in_standard_deviations():
    net = {"quantity": {"mean": 3000.0, "std": 400.0}}
    assert told(net, 3400.0, 2).tolist() == [[1.0, 1.0], [1.0, 1.0]]
    assert told(net, None, 1).tolist() == [[0.0, 0.0]]
