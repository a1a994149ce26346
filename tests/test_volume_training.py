"""Training of volumes: every script learns, resumes to the same bits and exports a model that loads."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState

import medgen
from medgen import ImageSet, MedgenError, Request, volume_sets
from train import volume_gan, volume_ldm, volume_vae, volumes
from train.volume_discriminator import VolumeDiscriminator, sliced_wasserstein
from train.volume_gan import gradient_penalty
from train.volumes import DRAWS, planes, varied

SHAPE = (32, 24, 32)
COUNTS = {"train": 12, "val": 3, "test": 3}
RARE = ["--save-every", "100000", "--validate-every", "100000", "--sample-every", "100000"]
COMMON = [*RARE, "--precision", "no", "--cpu", "--threads", "1", "--batch", "4", "--warmup", "0"]
SMALL = {
    "vae": ["--channels", "16", "16", "--directions", "4", "--width", "8", "--adversarial-from", "8",
            "--adversarial-alone", "4"],
    "gan": ["--channels", "16", "16", "8", "--judge", "8", "16", "--width", "8", "--directions", "4",
            "--r1-every", "2", "--shift", "1"],
    "ldm": ["--channels", "16", "32", "--copies", "2", "--sample-steps", "2", "--shift", "1"],
}  # fmt: skip
SCRIPTS = {"vae": volume_vae, "gan": volume_gan, "ldm": volume_ldm}


def amounts(split):
    return np.linspace(2400.0, 4400.0, COUNTS[split]).astype(np.float32)


def made_up(name, split):
    """Bright ellipsoids, the larger the more is in them; of "train" first."""
    known = volume_sets.VOLUMES[name]
    axes = np.meshgrid(*(np.linspace(-1.0, 1.0, side) for side in SHAPE), indexing="ij")
    radius = np.sqrt(sum(axis**2 for axis in axes))
    rng = np.random.default_rng(list(COUNTS).index(split))
    pixels = [230.0 * (radius < amount / 5000.0) + rng.uniform(0.0, 20.0) for amount in amounts(split)]
    return ImageSet(np.stack(pixels)[:, None].astype(np.float32), "MR", "au", (0.0, 255.0), known.affine)


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    for name in ("hippo_48", "ixi_brain_64"):
        entry = replace(volume_sets.VOLUMES[name], shape=(1, *SHAPE), spacing_mm=(1.0, 1.0, 1.0))
        monkeypatch.setitem(volume_sets.VOLUMES, name, entry)
    monkeypatch.setattr(volumes, "volumes", made_up)
    monkeypatch.setattr(volumes, "quantities", lambda name, split: amounts(split))
    monkeypatch.setenv("MEDGEN_CHECKPOINTS", str(tmp_path / "checkpoints"))
    monkeypatch.chdir(tmp_path)
    AcceleratorState._reset_state()  # one process makes many runs here
    torch.set_num_threads(1)


def train(method, *arguments, out="run", data="hippo_48"):
    """Runs the script in this process; returns its log."""
    flags = [*COMMON, *SMALL[method], "--name", f"{method}-x", "--out", out, "--data", data]
    if method == "ldm":
        flags += ["--autoencoder", "vae-x"]
    SCRIPTS[method].main([*flags, *map(str, arguments)])
    return log(out)


def log(out):
    return [json.loads(line) for line in (Path(out) / "log.jsonl").read_text().splitlines()]


def ready(method, data="hippo_48"):
    """What `method` needs before it: of a latent model, an autoencoder in checkpoints/."""
    if method == "ldm":
        train("vae", "--images", 8, "--export", out="vae", data=data)


@pytest.mark.parametrize("method", SCRIPTS)
def test_a_run_is_exported_as_a_model_that_loads_and_makes_volumes_of_the_size_of_its_data(method):
    ready(method)
    train(method, "--images", 16, "--validate-every", 8, "--sample-every", 8, "--export")
    model = medgen.load(f"{method}-x")
    assert model.card.shape == (1, *SHAPE)
    assert model.card.data == "hippo_48"
    assert model.card.licence.startswith("CC BY-SA 4.0")
    assert model.card.quantity["unit"] == "mm3"
    assert 2400.0 <= model.card.quantity["low"] < model.card.quantity["high"] <= 4400.0
    assert "12 volumes" in model.card.limits
    images = model.sample(Request((0, 1), quantity=3000.0))
    assert images.pixels.shape == (2, 1, *SHAPE)
    assert np.array_equal(images.affine, volume_sets.VOLUMES["hippo_48"].affine)
    for name in ("samples.png", "config.json", "log.jsonl"):
        assert (Path("checkpoints") / f"{method}-x" / name).is_file()


@pytest.mark.parametrize("method", SCRIPTS)
def test_a_run_killed_and_resumed_equals_the_uninterrupted_one(method):
    ready(method)
    whole = train(method, "--images", 24, out="whole")
    train(method, "--images", 24, "--minutes", 1e-6, out="cut")
    assert len(log("cut")) == 1
    AcceleratorState._reset_state()
    SCRIPTS[method].main(["--resume", "--out", "cut", "--minutes", "0"])
    assert log("cut") == whole
    first, second = (torch.load(Path(out) / "state.pt", weights_only=True) for out in ("whole", "cut"))
    for group in ("modules", "averages"):
        for name, tensors in first[group].items():
            assert all(torch.equal(value, second[group][name][key]) for key, value in tensors.items())


@pytest.mark.parametrize("method", SCRIPTS)
def test_a_dry_run_writes_nothing(method):
    ready(method)
    flags = [*COMMON, *SMALL[method], "--name", "x", "--out", "dry", "--dry-run", "--data", "hippo_48"]
    SCRIPTS[method].main([*flags, *(["--autoencoder", "vae-x"] if method == "ldm" else [])])
    assert not Path("dry").exists()


@pytest.mark.parametrize("method", SCRIPTS)
def test_accumulated_passes_equal_one_large_pass(method):
    """But for the GAN, whose discriminator compares the volumes of a pass with each other."""
    ready(method)
    small = ["--batch", 2, "--accumulate", 2] if method != "gan" else ["--batch", 4]
    name = {"vae": "l1", "ldm": "loss", "gan": "discriminator"}[method]
    large = [row[name] for row in train(method, "--images", 16, "--batch", 4, out="large")]
    again = [row[name] for row in train(method, "--images", 16, *small, out="small")]
    np.testing.assert_allclose(again, large, rtol=2e-3)


def test_the_autoencoder_learns_and_states_how_well_held_out_volumes_come_back():
    rows = train("vae", "--images", 200, "--adversarial", 0, "--rate", 3e-3, "--export")
    assert np.mean([row["l1"] for row in rows[-5:]]) < 0.7 * np.mean([row["l1"] for row in rows[:5]])
    said = medgen.load("vae-x").card.trained["validation"]
    assert said["n"] == 3
    assert said["psnr_db"] > 8.0


def test_the_diffusion_model_learns_more_than_the_linear_denoiser_it_starts_as():
    ready("ldm")
    flags = ["--images", 240, "--copies", 1]
    learned = [row["loss"] for row in train("ldm", *flags, "--rate", 2e-3, out="learned")][-20:]
    untrained = [row["loss"] for row in train("ldm", *flags, "--rate", 0.0, out="untrained")][-20:]
    assert np.mean(learned) < np.mean(untrained)


def test_the_decoder_of_the_diffusion_model_is_that_of_the_autoencoder_and_stays_so():
    ready("ldm")
    train("ldm", "--images", 16, "--export")
    vae, ldm = medgen.load("vae-x").network.autoencoder, medgen.load("ldm-x").network.autoencoder
    latent = torch.randn(1, 4, *(side // 4 for side in SHAPE))
    assert torch.allclose(vae.decode(latent), ldm.decode(latent), atol=1e-5)
    assert not any("encoder" in name for name in ldm.state_dict() if "autoencoder" not in name)
    assert medgen.load("ldm-x").card.trained["autoencoder"]["name"] == "vae-x"


def test_a_run_does_not_go_on_in_the_latents_of_another_autoencoder():
    ready("ldm")
    train("ldm", "--images", 16, "--minutes", 1e-6)
    train("vae", "--images", 16, "--export", out="vae2")
    AcceleratorState._reset_state()
    with pytest.raises(MedgenError, match="not the one this run began with"):
        volume_ldm.main(["--resume", "--out", "run", "--minutes", "0"])


def test_an_autoencoder_of_other_data_is_refused():
    ready("ldm")
    with pytest.raises(MedgenError, match="no autoencoder of ixi_brain_64"):
        train("ldm", "--images", 8, data="ixi_brain_64")


def test_the_gan_starts_with_volumes_that_differ_as_the_training_volumes_do():
    train("gan", "--images", 4, "--rate", 0.0, "--export")
    model = medgen.load("gan-x")
    made, real = model.sample(Request(tuple(range(24)))).pixels, made_up("hippo_48", "train").pixels
    assert np.abs(made.mean(axis=0) - real.mean(axis=0)).mean() < 8.0
    assert 0.5 < made.std(axis=0).mean() / real.std(axis=0).mean() < 1.5
    small, large = (model.sample(Request((0, 1), quantity=asked)).pixels.mean() for asked in (2500.0, 4300.0))
    assert large - small > 10.0, "of the made-up volumes, the larger are the brighter"


def test_brains_are_asked_for_nothing_and_said_to_be_mirrored(monkeypatch):
    train("gan", "--images", 4, "--export", data="ixi_brain_64")
    card = medgen.load("gan-x").card
    assert card.quantity == {}
    assert "quantity" not in card.controls
    assert "mirrored" in card.limits
    assert card.licence.startswith("CC BY-SA 3.0")
    assert card.net["black"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "hippo_48", "ixi_brain_64"], "one data set"),
        (["--data", "kermany_cxr_128"], "no volumes"),
        (["--channels", "10", "16"], "multiples of 8"),
        (["--shift", "-1"], "--shift"),
    ],
)
def test_options_that_cannot_work_are_refused(arguments, message):
    with pytest.raises(MedgenError, match=message):
        volume_vae.main(["--name", "x", *arguments])


def test_variation_moves_by_whole_voxels_and_keeps_black_black():
    voxels = torch.full((1, 1, 8, 8, 8), -1.0)
    voxels[0, 0, 4, 4, 4] = 1.0
    u = torch.full((1, DRAWS), 0.5)
    still = varied(voxels, u, shift=2, contrast=0.1, mirror=False)
    assert torch.equal(still, voxels)
    u[0, 0], u[0, 4] = 0.0, 0.0
    moved = varied(voxels, u, shift=2, contrast=0.1, mirror=False)
    assert moved[0, 0, 6, 4, 4] == pytest.approx(0.8)
    assert moved.min() == -1.0
    u[0, 3] = 0.0
    assert varied(voxels, u, shift=2, contrast=0.1, mirror=True)[0, 0, 1, 4, 4] == pytest.approx(0.8)
    assert varied(voxels, u, shift=2, contrast=0.1, mirror=False).shape == voxels.shape


def test_a_box_is_cut_out_of_what_the_discriminator_sees_and_gradients_pass_the_rest():
    voxels = torch.ones(2, 1, 8, 12, 8, requires_grad=True)
    u = torch.full((2, DRAWS), 0.5)
    seen = varied(voxels, u, shift=1, contrast=0.0, mirror=False, cut=0.5)
    assert 0.05 < float((seen == 0).float().mean()) < 0.25
    seen.sum().backward()
    assert float((voxels.grad > 0).float().mean()) > 0.7


def test_planes_show_the_right_on_the_left_and_the_head_up():
    voxels = torch.full((1, 1, 4, 6, 8), -1.0)
    voxels[0, 0, 3, 3, 7] = 1.0  # right, middle, top
    axial, coronal, sagittal = planes(voxels)[:, 0]
    assert axial.shape == coronal.shape == sagittal.shape == (8, 8)
    assert torch.nonzero(coronal > 0).tolist() == [[0, 2]], "top row; x = 3 of 0..3 is leftmost of four in the middle"
    assert (axial <= 0).all()


def test_the_distance_is_zero_for_equal_sets_and_grows_with_the_difference():
    torch.manual_seed(0)
    real = torch.rand(4, 1, 32, 40, 32)
    near, far = (sliced_wasserstein(real=real, fake=real + add) for add in (0.05, 0.5))
    assert sliced_wasserstein(real=real, fake=real[[1, 0, 3, 2]]) == pytest.approx(0.0, abs=1e-6)
    assert 0.0 < near < far


def test_the_penalty_is_the_squared_gradient_of_the_logit():
    torch.manual_seed(0)
    network, voxels = VolumeDiscriminator(SHAPE, (8, 16)), torch.rand(1, 1, *SHAPE)
    seen = voxels.clone().requires_grad_(True)
    network(seen)[0].sum().backward()
    assert gradient_penalty(network, voxels).item() == pytest.approx(seen.grad.square().sum().item(), rel=1e-4)


@pytest.mark.parametrize("network", [VolumeDiscriminator((32, 48, 40)), volume_vae.Judge(24)])
def test_gradients_in_bfloat16_are_near_those_in_float32(network):
    """torch 2.13 returns unset memory for some convolutions of small volumes: none of them may run in bfloat16."""
    for seed in range(3):
        torch.manual_seed(seed)
        voxels, gradients = torch.rand(2, 1, 32, 48, 40) * 2 - 1, []
        for fast in (False, True):
            network.zero_grad()
            with torch.autocast("cpu", torch.bfloat16, enabled=fast):
                out = network(voxels)
            (out[0] if isinstance(out, tuple) else out).float().square().sum().backward()
            gradients.append([weight.grad.clone() for weight in network.parameters() if weight.grad is not None])
        for exact, rough in zip(*gradients, strict=True):
            assert (rough - exact).norm() < 0.5 * exact.norm() + 1e-3
