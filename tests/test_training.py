"""Training: every option acts, and a run that is killed, resumed or spread over processes is the same run."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import medgen
from medgen.errors import MedgenError
from medgen.gan import build as build_gan
from train import diffusion, gan
from train.augment import DRAWS, adapt, augment
from train.config import parse
from train.data import Order, Split
from train.discriminators import DCDiscriminator, StyleDiscriminator
from train.run import Run
from train.validate import sliced_wasserstein

ROOT = Path(__file__).parent.parent
SMALL_DIFFUSION = ["--fold", "8", "--channels", "32", "64", "--attention", "0", "1", "--precision", "no"]
SMALL_DIFFUSION += ["--sample-steps", "2"]
SMALL_GAN = ["--channels", "16", "16", "16", "--fold", "8", "--latent", "16", "--precision", "no", "--r1-every", "2"]
RARE = ["--save-every", "100000", "--validate-every", "100000", "--sample-every", "100000"]


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch, made_up_data):
    monkeypatch.setenv("MEDGEN_DATA", str(made_up_data))
    monkeypatch.setenv("MEDGEN_CHECKPOINTS", str(tmp_path / "checkpoints"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.chdir(tmp_path)
    AcceleratorState._reset_state()  # one process makes many runs here, each with its own precision
    torch.set_num_threads(1)


def train_diffusion(*arguments, out="run"):
    """Runs the script in this process; returns its log."""
    flags = [*SMALL_DIFFUSION, *RARE, "--cpu", "--name", "d-cxr-128", "--out", out, *map(str, arguments)]
    diffusion.main(flags)
    return log(out)


def train_gan(*arguments, out="run"):
    gan.main([*SMALL_GAN, *RARE, "--cpu", "--name", "g-cxr-128", "--out", out, *map(str, arguments)])
    return log(out)


def log(out):
    return [json.loads(line) for line in (Path(out) / "log.jsonl").read_text().splitlines()]


def losses(rows, name="loss"):
    return [row[name] for row in rows]


def test_training_lowers_the_loss_on_the_same_pictures_and_noises():
    """Update n sees the same in every run, so the untrained network (rate 0, a Wiener filter) is a paired control."""
    flags = ["--images", 960, "--batch", 8, "--warmup", 0]
    learned = losses(train_diffusion(*flags, "--rate", 2e-3, out="learned"))[-40:]
    untrained = losses(train_diffusion(*flags, "--rate", 0.0, out="untrained"))[-40:]
    assert np.mean(learned) < np.mean(untrained)
    assert np.mean(np.less(learned, untrained)) > 0.8


@pytest.mark.parametrize("script", ["diffusion", "gan"])
def test_a_run_killed_at_any_step_and_resumed_equals_the_uninterrupted_one(script):
    small = SMALL_DIFFUSION if script == "diffusion" else SMALL_GAN
    flags = [*small, "--cpu", "--name", "x", "--batch", "4", "--images", "160", "--save-every", "12", "--threads", "1"]
    flags += ["--validate-every", "100000", "--sample-every", "100000"]
    module = diffusion if script == "diffusion" else gan
    module.main([*flags, "--out", "whole"])
    command = [sys.executable, "-m", f"train.{script}", *flags, "--out", "killed"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    child = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not Path("killed/state.pt").exists() and child.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert len(log("killed")) < 40, "the run had ended before it could be killed"
    module.main([*flags, "--out", "killed", "--resume"])
    assert log("killed") == log("whole")
    first, second = (torch.load(Path(o) / "state.pt", weights_only=True) for o in ("whole", "killed"))
    for group in ("modules", "averages"):
        for name, tensors in first[group].items():
            assert all(torch.equal(value, second[group][name][key]) for key, value in tensors.items())


@pytest.mark.parametrize("script", ["diffusion", "gan"])
def test_two_processes_train_to_the_losses_of_one_with_the_doubled_batch(script):
    """Tolerance: 1e-3 relative over 8 updates; sums run in another order."""
    small = SMALL_DIFFUSION if script == "diffusion" else SMALL_GAN
    flags = [*small, *RARE, "--cpu", "--name", "x", "--images", "64", "--threads", "1", "--warmup", "0"]
    module, name = (diffusion, "loss") if script == "diffusion" else (gan, "discriminator")
    module.main([*flags, "--batch", "8", "--out", "one"])
    launcher = shutil.which("accelerate", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    command = [launcher, "launch", "--num_processes", "2", "--cpu", "-m", f"train.{script}", *flags, "--batch", "4"]
    command += ["--out", "two"]
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=180, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert len(log("two")) == 8
    np.testing.assert_allclose(losses(log("two"), name), losses(log("one"), name), rtol=1e-3)


def test_accumulated_passes_equal_one_large_pass():
    large = losses(train_diffusion("--images", 64, "--batch", 8, out="large"))
    small = losses(train_diffusion("--images", 64, "--batch", 2, "--accumulate", 4, out="small"))
    np.testing.assert_allclose(small, large, rtol=1e-4)


def test_checkpointing_changes_memory_and_not_losses(monkeypatch):
    plain = losses(train_diffusion("--images", 32, "--batch", 8, out="plain"))
    kept = []
    hooks = torch.autograd.graph.saved_tensors_hooks
    with hooks(lambda t: (kept.append(t.numel()), t)[1], lambda t: t):
        train_diffusion("--images", 8, "--batch", 8, out="count-plain")
        plain_kept, kept[:] = sum(kept), []
        train_diffusion("--images", 8, "--batch", 8, "--checkpointing", out="count-checkpointed")
        assert sum(kept) < 0.6 * plain_kept
    checkpointed = losses(train_diffusion("--images", 32, "--batch", 8, "--checkpointing", out="checkpointed"))
    np.testing.assert_allclose(checkpointed, plain, rtol=1e-5)
    plain_gan = losses(train_gan("--images", 32, "--batch", 8, out="gan"), "generator")
    checkpointed_gan = losses(train_gan("--images", 32, "--batch", 8, "--checkpointing", out="gan-c"), "generator")
    np.testing.assert_allclose(checkpointed_gan, plain_gan, rtol=1e-4)


def test_mixed_precision_computes_in_bfloat16(monkeypatch):
    seen = set()
    real_forward = torch.nn.Conv2d.forward

    def spy(self, x):
        out = real_forward(self, x)
        seen.add(out.dtype)
        return out

    monkeypatch.setattr(torch.nn.Conv2d, "forward", spy)
    train_diffusion("--images", 8, "--batch", 8, "--precision", "bf16", out="bf16")
    assert torch.bfloat16 in seen
    seen.clear()
    AcceleratorState._reset_state()
    train_diffusion("--images", 8, "--batch", 8, out="f32")
    assert seen == {torch.float32}


def test_averaged_weights_lag_behind_and_without_averaging_they_are_the_weights():
    train_diffusion("--images", 64, "--batch", 8, "--rate", 1e-2, "--ema", 1000, out="mean")
    train_diffusion("--images", 64, "--batch", 8, "--rate", 1e-2, "--ema", 0, out="none")
    for out, same in (("mean", False), ("none", True)):
        state = torch.load(f"{out}/state.pt", weights_only=True)
        key = "unet.conv_in.weight"
        equal = torch.allclose(state["modules"]["network"][key], state["averages"]["network"][key], atol=1e-7)
        assert equal is same


def test_the_learning_rate_warms_up_and_falls():
    flags = ["--images", 320, "--batch", 8, "--rate", 1e-3]
    rates = [row["rate"] for row in train_diffusion(*flags, "--warmup", 80, "--schedule", "cosine", out="cosine")]
    assert rates[0] == pytest.approx(1e-4, rel=0.02)
    assert max(rates) == pytest.approx(1e-3, rel=0.2)
    assert rates[-1] < 0.02 * max(rates)
    flat = [row["rate"] for row in train_diffusion(*flags, "--warmup", 0, "--schedule", "constant", out="flat")]
    assert set(flat) == {1e-3}


def test_the_best_by_validation_are_kept_and_patience_ends_the_run():
    flags = ["--images", 4000, "--batch", 8, "--rate", 0.0, "--validate-every", 16, "--patience", 2, "--keep-best", 2]
    rows = train_diffusion(*flags)
    # a network that learns nothing improves once, at the first validation: two more end the run
    assert len(rows) == 6
    metrics = [json.loads(line)["metric"] for line in Path("run/validation.jsonl").read_text().splitlines()]
    assert len(metrics) == 3
    assert len(list(Path("run").glob("best-*.safetensors"))) == 2


def test_a_batch_that_does_not_fit_is_halved_and_the_losses_stay(monkeypatch):
    whole = losses(train_diffusion("--images", 32, "--batch", 8, out="fits"))
    forward = diffusion.build({}).__class__.forward
    sizes = []

    def small_memory(self, scaled, level, label):
        sizes.append(len(scaled))
        if len(scaled) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return forward(self, scaled, level, label)

    monkeypatch.setattr("medgen.diffusion.FoldedUNet.forward", small_memory)
    halved = losses(train_diffusion("--images", 32, "--batch", 8, "--find-batch-size", out="tight"))
    assert sizes[:3] == [8, 4, 2]
    np.testing.assert_allclose(halved, whole, rtol=1e-4)


def test_a_dry_run_writes_nothing_and_says_what_it_would_do(capsys):
    diffusion.main([*SMALL_DIFFUSION, "--cpu", "--name", "d-cxr-128", "--dry-run", "--images", "240", "--batch", "8"])
    assert "30 updates" in capsys.readouterr().out
    assert not Path("runs").exists()
    assert not Path("checkpoints").exists()


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_state():
    flags = ["--batch", 8, "--warmup", 0, "--clip", 0, "--save-every", 8, "--ema", 0]
    train_diffusion("--images", 32, *flags)
    before = Path("run/state.pt").read_bytes()
    # the loss of the update that ruins the weights is itself finite
    with pytest.raises(MedgenError, match="weights of the network are not finite"):
        train_diffusion("--images", 320, *flags, "--rate", 1e39, "--resume")
    assert Path("run/state.pt").read_bytes() == before
    with pytest.raises(MedgenError, match=r"loss at update .* not finite"):
        train_diffusion("--images", 320, *flags, "--save-every", 1000, "--rate", 1e30, "--resume")
    assert Path("run/state.pt").read_bytes() == before


def test_a_validation_metric_that_is_not_finite_picks_no_model(monkeypatch):
    monkeypatch.setattr("train.gan.sliced_wasserstein", lambda real, fake: float("nan"))
    with pytest.raises(MedgenError, match=r"validation metric .* not finite"):
        train_gan("--images", 16, "--batch", 8, "--validate-every", 16)
    assert not list(Path("run").glob("best-*"))


def test_a_run_killed_after_a_validation_still_has_the_best_weights_of_its_state():
    flags = ["--images", 96, "--batch", 8, "--save-every", 48, "--validate-every", 16, "--keep-best", 1]
    train_diffusion(*flags, out="whole")
    with pytest.MonkeyPatch.context() as patch:
        rate = Run.rate
        patch.setattr(Run, "rate", lambda run, step: 1 / 0 if step == 10 else rate(run, step))
        with pytest.raises(ZeroDivisionError):  # after the validations at 64 and 80 images, before the save at 96
            train_diffusion(*flags)
    ((_, name),) = torch.load("run/state.pt", weights_only=True)["progress"]["best"]
    assert (Path("run") / name).exists()
    train_diffusion(*flags, "--resume")
    assert Path("run/validation.jsonl").read_text() == Path("whole/validation.jsonl").read_text()
    assert [p.name for p in Path("run").glob("best-*")] == [p.name for p in Path("whole").glob("best-*")]


def test_a_run_killed_before_its_first_save_is_resumed_from_the_beginning():
    flags = ["--images", 32, "--batch", 8]
    whole = train_diffusion(*flags, out="whole")
    train_diffusion(*flags)
    Path("run/state.pt").unlink()
    assert train_diffusion(*flags, "--resume") == whole


def test_tensorboard_curves_grids_and_a_film_of_fixed_seeds_are_written():
    train_diffusion("--images", 32, "--batch", 8, "--sample-every", 8)
    curves = EventAccumulator(str(next(Path("run").rglob("events.out.tfevents*")).parent))
    curves.Reload()
    assert len(curves.Scalars("loss")) == 4
    assert [round(event.value, 6) for event in curves.Scalars("loss")] == [round(v, 6) for v in losses(log("run"))]
    assert len(curves.Images("samples")) == 4
    assert len(list(Path("run/samples").glob("*.png"))) == 4
    with Image.open("run/training.gif") as film:
        assert film.n_frames >= 2


@pytest.mark.parametrize("script", ["diffusion", "gan"])
def test_an_exported_model_loads_samples_and_obeys_its_label_and_seed(script):
    train = train_diffusion if script == "diffusion" else train_gan
    train("--images", 48, "--batch", 8, "--validate-every", 16, "--rate", 1e-2, "--warmup", 0, "--export")
    (name,) = medgen.cards()
    model = medgen.load(name)
    one, other = (model.sample(medgen.Request((0, 1, 2), label=word)).pixels for word in ("normal", "viral_pneumonia"))
    assert one.shape == (3, 1, 128, 128)
    assert np.abs(one - other).max() > 1e-3, "the label does not act"
    assert np.array_equal(model.sample(medgen.Request((2,), label="normal")).pixels[0], one[2])
    assert not np.array_equal(one[0], one[1])
    assert (Path("checkpoints") / name / "samples.png").exists()
    assert medgen.cards()[name].trained["images_seen"] == 48
    assert json.loads((Path("checkpoints") / name / "config.json").read_text())["out"] == "", "a path of this machine"


def test_an_export_that_fails_leaves_the_old_model(monkeypatch):
    train_diffusion("--images", 8, "--batch", 8, "--export")
    before = medgen.cards()
    move = shutil.move

    def full(source, target):
        if Path(target) == Path("checkpoints/d-cxr-128").absolute() and Path(source).name == "export":
            Path(target).mkdir()
            raise OSError(28, "No space left on device")
        return move(source, target)

    monkeypatch.setattr(shutil, "move", full)
    with pytest.raises(MedgenError, match="No space left"):
        train_diffusion("--images", 16, "--batch", 8, "--export", "--resume")
    assert medgen.cards() == before
    assert medgen.load("d-cxr-128").sample(medgen.Request((0,), steps=1)).pixels.shape == (1, 1, 128, 128)


def test_a_time_limit_saves_and_a_second_call_goes_on():
    train_diffusion("--images", 400, "--batch", 4, "--minutes", 1e-4)
    seen = log("run")[-1]["images"]
    assert 0 < seen < 400
    rows = train_diffusion("--images", 400, "--batch", 4, "--minutes", 1e-4, "--resume")
    assert rows[-1]["images"] > seen
    assert [row["step"] for row in rows] == list(range(len(rows)))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--resume"], "no run to resume"),
        (["--batch", "0"], "--batch"),
        (["--precision", "int4"], "--precision"),
        (["--name", "../x"], "--name"),
        (["--sample-steps", "0"], "--sample-steps"),
        (["--size", "64"], "change --data or --size"),
        (["--attention", "0"], "describe no network"),
    ],
)
def test_a_wrong_option_is_one_sentence(arguments, words):
    with pytest.raises(MedgenError, match=words):
        diffusion.main(["--name", "d", "--cpu", *arguments])


def test_an_old_run_is_not_overwritten_by_accident():
    train_diffusion("--images", 8, "--batch", 8)
    with pytest.raises(MedgenError, match="--resume"):
        train_diffusion("--images", 8, "--batch", 8)


def test_a_config_of_another_script_is_not_resumed():
    train_gan("--images", 8, "--batch", 8)
    with pytest.raises(MedgenError, match="the script that wrote it"):
        train_diffusion("--images", 8, "--batch", 8, "--resume")


def test_every_image_of_an_epoch_is_seen_once_and_processes_share_the_update():
    order = Order(count=24, batch=2, accumulate=2, processes=2, seed=3)
    seen = torch.cat([order.indices(step) for step in range(3)])
    assert sorted(seen.tolist()) == list(range(24))
    assert not torch.equal(order.indices(0), order.indices(3))
    assert torch.equal(order.indices(1), order.indices(1))


def test_the_labels_of_a_split_are_numbered_as_in_the_split_that_trains():
    train, val = (Split.load("kermany_cxr_128", name, torch.device("cpu")) for name in ("train", "val"))
    turned = Split.load("kermany_cxr_128", "val", torch.device("cpu"), train.names[::-1])
    assert turned.names == train.names[::-1]
    assert torch.equal(turned.labels, len(train.names) - 1 - val.labels)
    with pytest.raises(MedgenError, match="which the others lack"):
        Split.load("kermany_cxr_128", "val", torch.device("cpu"), train.names[:1])


def test_presets_differ_and_flags_override_them():
    laptop = parse(gan.GanConfig, gan.PRESETS, ["--name", "x"], "")
    gpu = parse(gan.GanConfig, gan.PRESETS, ["--name", "x", "--preset", "gpu"], "")
    assert (laptop.batch, gpu.batch) == (16, 64)
    assert parse(gan.GanConfig, gan.PRESETS, ["--name", "x", "--batch", "3"], "").batch == 3


@pytest.mark.parametrize("net", [{"architecture": "dcgan", "width": 4}, {"architecture": "stylegan2", "labels": 3}])
def test_generators_make_pictures_of_the_size_their_discriminators_take(net):
    generator = build_gan(net)
    pictures = generator(torch.randn(4, generator.latent), torch.zeros(4, dtype=torch.int64))
    assert pictures.shape == (4, 1, 128, 128)
    judge = DCDiscriminator(128, 4) if net["architecture"] == "dcgan" else StyleDiscriminator(labels=3)
    assert judge(pictures, torch.zeros(4, dtype=torch.int64)).shape == (4,)


def test_augmentation_off_is_the_identity_and_on_moves_pictures():
    pictures = torch.rand(16, 1, 32, 32) * 2 - 1
    u = torch.rand(16, DRAWS)
    assert torch.equal(augment(pictures, torch.tensor(0.0), u), pictures)
    moved = augment(pictures, torch.tensor(0.8), u)
    assert ((moved - pictures).abs().amax(dim=(1, 2, 3)) > 1e-3).float().mean() > 0.9
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(augment(pictures, torch.tensor(0.8), u), moved), "coordinates lost bits to mixed precision"


def test_augmentation_never_mirrors():
    """The centre of mass of a picture bright on its left stays on its left."""
    pictures = -torch.ones(64, 1, 32, 32)
    pictures[..., 2:10] = 1.0
    moved = augment(pictures, torch.tensor(1.0), torch.rand(64, DRAWS, generator=torch.Generator().manual_seed(0)))
    left, right = moved[..., :16].mean(dim=(1, 2, 3)), moved[..., 16:].mean(dim=(1, 2, 3))
    assert (left > right).float().mean() > 0.95


def test_augmentation_adapts_to_a_sure_discriminator():
    p = torch.tensor(0.1)
    assert adapt(p, torch.tensor(0.9), images=1000) > p
    assert adapt(p, torch.tensor(0.1), images=1000) < p
    assert adapt(torch.tensor(0.0), torch.tensor(0.1), images=1000) == 0


def test_the_validation_distance_orders_pictures():
    random = torch.Generator().manual_seed(0)
    base = torch.nn.functional.interpolate(torch.randn(64, 1, 8, 8, generator=random), size=128, mode="bicubic")
    other = torch.nn.functional.interpolate(torch.randn(64, 1, 8, 8, generator=random), size=128, mode="bicubic")
    noise = torch.randn(64, 1, 128, 128, generator=random)
    same, alike = sliced_wasserstein(real=base, fake=base), sliced_wasserstein(real=base, fake=other)
    far = sliced_wasserstein(real=base, fake=noise)
    collapsed = sliced_wasserstein(real=base, fake=other[:1].expand(64, -1, -1, -1))
    assert same == 0
    assert alike < 0.5 * collapsed
    assert alike < 0.2 * far
