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
from conftest import compact_archive, made_up_xray, webp
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import medgen
from medgen import ImageSet
from medgen.conditions import Conditions
from medgen.data import DATASETS, real
from medgen.diffusion_networks import FoldedUNet
from medgen.errors import MedgenError
from medgen.gan import build as build_gan
from medgen.stylegan import StyleGenerator
from train import diffusion, gan
from train.augment import DRAWS, adapt, augment
from train.config import parse
from train.data import Order, Split, count_words, hidden
from train.discriminators import DCDiscriminator, StyleDiscriminator
from train.export import answers
from train.run import Run
from train.validate import sliced_wasserstein

ROOT = Path(__file__).parent.parent
SMALL_DIFFUSION = ["--fold", "8", "--channels", "32", "64", "--attention", "0", "1", "--precision", "no"]
SMALL_DIFFUSION += ["--sample-steps", "2", "--rarest", "1"]
SMALL_GAN = ["--channels", "16", "16", "16", "--fold", "8", "--latent", "16", "--precision", "no", "--r1-every", "2"]
SMALL_GAN += ["--rarest", "1"]
BOTH = ("kermany_cxr_128", "nih_cxr_128")
RARE = ["--save-every", "100000", "--validate-every", "100000", "--sample-every", "100000"]


@pytest.fixture(autouse=True)
def place(training_place, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


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

    def small_memory(self, scaled, level, told):
        sizes.append(len(scaled))
        if len(scaled) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return forward(self, scaled, level, told)

    monkeypatch.setattr("medgen.diffusion_networks.FoldedUNet.forward", small_memory)
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
        (["--data", "kermany_cxr_128", "kermany_cxr_128"], "several different ones"),
        (["--data", "kermany_cxr_128", "mnist"], "no data set 'mnist'"),
        (["--rarest", "0"], "--rarest"),
        (["--label-dropout", "1.5"], "--label-dropout must be from 0 to 1"),
        (["--attribute-dropout", "-0.1"], "--attribute-dropout must be from 0 to 1"),
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


def test_one_data_set_alone_is_told_its_labels_and_nothing_else():
    split = Split.load(("kermany_cxr_128",), "train")
    words = real("kermany_cxr_128", "train").labels
    assert split.columns == ("label=normal", "label=bacterial_pneumonia", "label=viral_pneumonia")
    expected = [[float(f"label={word}" == column) for column in split.columns] for word in words]
    assert split.conditions.tolist() == expected
    assert split.attributes == ()
    assert split.counts == {word: {"images": 8, "patients": 8} for word in DATASETS["kermany_cxr_128"].labels}


def test_a_rare_label_is_counted_by_patients_and_gets_no_column():
    common, every = (Split.load(("nih_cxr_128",), "train", rarest=rarest) for rarest in (5, 1))
    assert every.columns[:4] == ("label=No Finding", "label=Effusion", "label=Hernia", "label=Pneumonia")
    assert common.columns[:3] == ("label=No Finding", "label=Effusion", "label=Pneumonia")
    assert common.columns[3:] == ("age", "age known", "sex=F", "sex=M", "view=AP", "view=PA")
    assert every.counts == common.counts
    # two pictures a patient
    assert every.counts["Hernia"] == {"images": 2, "patients": 1}
    assert every.counts["Effusion"] == {"images": 10, "patients": 5}
    assert every.counts["Pneumonia"] == {"images": 20, "patients": 10}
    rarer = Split.load(("nih_cxr_128",), "train", rarest=6)
    assert rarer.columns[:2] == ("label=Pneumonia", "age")
    images = real("nih_cxr_128", "train")
    for word, told in zip(images.labels, common.conditions, strict=True):
        shown = {c.removeprefix("label=") for c, value in zip(common.columns, told, strict=True) if value and "=" in c}
        assert {one for one in shown if not one.startswith(("sex", "view"))} == set(word.split("|")) - {"Hernia"}


def test_attributes_are_told_where_they_are_known():
    split, images = Split.load(("nih_cxr_128",), "train"), real("nih_cxr_128", "train")
    at = {column: split.conditions[:, i] for i, column in enumerate(split.columns)}
    for i, told in enumerate(images.attributes):
        assert at["age known"][i] == ("age" in told)
        assert at["age"][i] == pytest.approx((int(told["age"]) - 50) / 25 if "age" in told else 0.0)
        for column in ("sex=F", "sex=M", "view=AP", "view=PA"):
            name, _, word = column.partition("=")
            assert at[column][i] == (told.get(name) == word)
    assert 0 < at["age known"].mean() < 1


def test_two_data_sets_together_tell_which_one_a_picture_is_of():
    train = Split.load(BOTH, "train")
    assert len(train.images) == 24 + 32
    first = train.columns.index("cohort=kermany_cxr_128")
    assert train.columns[first : first + 2] == tuple(f"cohort={name}" for name in BOTH)
    assert train.conditions[:, first : first + 2].sum(dim=1).eq(1).all()
    assert train.conditions[:24, first].eq(1).all() and train.conditions[24:, first + 1].eq(1).all()
    assert [[train.columns[i] for i in group] for group in train.attributes] == [
        [f"cohort={name}" for name in BOTH],
        ["age", "age known"],
        ["sex=F", "sex=M"],
        ["view=AP", "view=PA"],
    ]
    val = Split.load(BOTH, "val", train.columns)
    assert val.columns == train.columns and val.conditions.shape == (6 + 8, len(train.columns))


def test_the_val_split_is_told_what_the_train_split_is_told():
    train = Split.load(("kermany_cxr_128",), "train")
    plain, turned = (Split.load(("kermany_cxr_128",), "val", c) for c in (train.columns, train.columns[::-1]))
    assert torch.equal(turned.conditions, plain.conditions.flip(1))
    fewer = Split.load(("kermany_cxr_128",), "val", train.columns[:1])
    assert torch.equal(fewer.conditions, plain.conditions[:, :1])
    assert fewer.conditions.sum() == 2, "pictures of the other labels have an empty row"


def test_data_sets_of_different_size_cannot_be_joined(made_up_data, tmp_path, monkeypatch):
    row = ("a.webp", "normal", "IM-0001", "train")
    large = made_up_xray(0, 10).resize((256, 256))
    compact_archive(tmp_path / "kermany_cxr_256.zip", ("file", "label", "patient", "split"), [row], [webp(large)])
    shutil.copy(made_up_data / "kermany_cxr_128.zip", tmp_path)
    monkeypatch.setenv("MEDGEN_DATA", str(tmp_path))
    with pytest.raises(MedgenError, match="differ in size"):
        Split.load(("kermany_cxr_128", "kermany_cxr_256"), "train")


def test_patients_who_are_in_two_versions_of_a_data_set_count_once():
    told = tuple({"cohort": name} for name in ("kermany_cxr_128", "kermany_cxr_256", "nih_cxr_128"))
    images = ImageSet(np.zeros((3, 1, 4, 4), np.float32), "CR", "au", (0.0, 1.0), None, ("Mass",) * 3, ("7",) * 3, told)
    assert count_words(images, ("nih_cxr_128",)) == {"Mass": {"images": 3, "patients": 2}}


def test_hiding_takes_whole_rows_and_whole_groups_at_the_rates_asked_for():
    """Columns: two labels, a cohort of two, age and whether it is known; 20,000 rows, five standard errors of slack."""
    conditions = torch.tensor([1.0, 1.0, 1.0, 0.0, -0.4, 1.0]).repeat(20_000, 1)
    groups = ((2, 3), (4, 5))
    u = torch.rand(len(conditions), 3, generator=torch.Generator().manual_seed(0))
    out = hidden(conditions, groups, u, 0.1, 0.2)
    nothing = (out == 0).all(dim=1)
    assert nothing.float().mean() == pytest.approx(0.1, abs=0.011)
    told = out[~nothing]
    assert told[:, :2].eq(1).all(), "the labels of a row that is told are never hidden alone"
    no_cohort, no_age = told[:, 2] == 0, told[:, 5] == 0
    assert torch.equal(no_age, told[:, 4] == 0), "the age and whether it is known go together"
    for gone in (no_cohort, no_age):
        assert gone.float().mean() == pytest.approx(0.2, abs=0.015)
    assert (no_cohort & no_age).float().mean() == pytest.approx(0.04, abs=0.008), "independent of each other"
    kept = out != 0
    assert torch.equal(out[kept], conditions[kept])
    assert torch.equal(hidden(conditions, groups, u, 0.0, 0.0), conditions)
    assert not hidden(conditions, groups, u, 1.0, 0.0).any()
    assert torch.equal(hidden(conditions[:, :2], (), u[:, :1], 0.0, 1.0), conditions[:, :2])


@pytest.mark.parametrize("script", ["diffusion", "gan"])
def test_what_the_networks_are_told_obeys_both_dropouts(script, monkeypatch):
    """Both networks of a GAN must see the same: a discriminator that knows more would ask for what was not asked."""
    seen = {}
    kinds = {"diffusion": [FoldedUNet], "gan": [StyleGenerator, StyleDiscriminator]}[script]
    for kind in kinds:
        forward = kind.forward

        def spy(self, *inputs, kind=kind, forward=forward):
            if self.training:  # not the averaged copy
                seen.setdefault(kind, []).append(inputs[-1])
            return forward(self, *inputs)

        monkeypatch.setattr(kind, "forward", spy)
    train = train_diffusion if script == "diffusion" else train_gan
    columns = Split.load(BOTH, "train").columns
    labels = torch.tensor([column.startswith("label=") for column in columns])
    for number, (label_dropout, attribute_dropout) in enumerate(((0.0, 0.0), (0.0, 1.0), (1.0, 0.0))):
        seen.clear()
        flags = ["--label-dropout", label_dropout, "--attribute-dropout", attribute_dropout, "--data", *BOTH]
        train("--images", 56, "--batch", 8, *flags, out=f"run-{number}")
        for kind in kinds:
            told = torch.cat(seen[kind])
            assert told[:, labels].any() == (label_dropout == 0)
            assert told[:, ~labels].any() == (label_dropout == attribute_dropout == 0)
        first = [told[0] for told in seen.values()]
        assert all(torch.equal(one, first[0]) for one in first)


@pytest.mark.parametrize("script", ["diffusion", "gan"])
def test_a_card_says_what_the_model_was_told_and_what_of_it_can_be_asked(script):
    train = train_diffusion if script == "diffusion" else train_gan
    train("--images", 8, "--batch", 8, "--data", *BOTH, "--rarest", 5, "--export")
    (card,) = medgen.cards().values()
    columns = Split.load(BOTH, "train", rarest=5).columns
    assert tuple(card.net["conditions"]) == columns
    diseases = ("bacterial_pneumonia", "viral_pneumonia")
    assert card.labels == ("normal", *diseases, "No Finding", "Effusion", "Pneumonia")
    told = ("label", "severity", "age", "sex", "view", "cohort")
    steered = ("steps", "guidance", "towards", "source", "region") if script == "diffusion" else ("towards",)
    assert card.controls == (*told, *steered)
    assert card.data == "kermany_cxr_128+nih_cxr_128"
    assert "CC BY 4.0" in card.licence and "NIH Clinical Center" in card.licence
    assert "Kermany" in card.trained["citation"] and "Wang" in card.trained["citation"]
    assert card.trained["labels"]["Hernia"] == {"images": 2, "patients": 1}, "counted although it is not offered"
    assert card.trained["labels"]["normal"] == {"images": 8, "patients": 8}


def test_a_model_that_is_told_nothing_offers_nothing():
    small = ["--preset", "dcgan", "--width", "4", "--latent", "8", "--precision", "no", "--images", "8", "--batch", "8"]
    gan.main([*small, *RARE, "--cpu", "--name", "dc-cxr-128", "--export"])
    (card,) = medgen.cards().values()
    assert card.labels == () and card.controls == ("towards",)
    assert set(card.trained["labels"]) == set(DATASETS["kermany_cxr_128"].labels)


@pytest.mark.parametrize(
    ("columns", "fields"),
    [
        ((), ()),
        (("label=normal",), ("label",)),
        (("label=normal", "label=viral_pneumonia"), ("label", "severity")),
        (("label=Pneumonia", "label=Edema", "age", "age known"), ("label", "age")),
        (("label=normal", "label=Pneumonia"), ("label",)),  # health of one cohort, disease of the other
        (("cohort=kermany_cxr_128", "cohort=nih_cxr_128", "view=AP", "view=PA"), ("view", "cohort")),
    ],
)
def test_controls_follow_from_what_the_model_is_told(columns, fields):
    assert answers(Conditions(columns)) == fields


def test_a_run_of_the_time_of_one_data_set_is_resumed():
    train_diffusion("--images", 8, "--batch", 8)
    path = Path("run/config.json")
    values = json.loads(path.read_text())
    assert values["data"] == ["kermany_cxr_128"]
    path.write_text(json.dumps({**values, "data": "kermany_cxr_128"}))
    assert len(train_diffusion("--images", 16, "--batch", 8, "--resume")) == 2


def test_presets_differ_and_flags_override_them():
    laptop = parse(gan.GanConfig, gan.PRESETS, ["--name", "x"], "")
    gpu = parse(gan.GanConfig, gan.PRESETS, ["--name", "x", "--preset", "gpu"], "")
    assert (laptop.batch, gpu.batch) == (16, 64)
    assert parse(gan.GanConfig, gan.PRESETS, ["--name", "x", "--batch", "3"], "").batch == 3


@pytest.mark.parametrize("channels", [1, 4])
@pytest.mark.parametrize("architecture", ["dcgan", "stylegan2"])
def test_generators_make_pictures_of_the_size_their_discriminators_take(architecture, channels):
    if architecture == "dcgan":
        net, judge, channels = {"width": 4}, DCDiscriminator(128, 4), 1
    else:
        net = {"conditions": ["label=normal", "age", "age known"], "image_channels": channels}
        judge = StyleDiscriminator(conditions=3, image_channels=channels)
    generator = build_gan({"architecture": architecture, **net})
    told = torch.rand(4, 3)
    pictures = generator(torch.randn(4, generator.latent), told)
    assert pictures.shape == (4, channels, 128, 128)
    assert judge(pictures, told).shape == (4,)


@torch.no_grad()
def test_the_discriminator_judges_by_the_conditions_and_without_them_by_the_picture_alone():
    judge = StyleDiscriminator((8, 8), fold=8, conditions=2)
    pictures, told = torch.randn(4, 1, 64, 64), torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    alone, judged = judge(pictures), judge(pictures, told)
    assert judged[0] == alone[0]
    shift = judged - alone
    assert shift[1:].abs().min() > 1e-4
    # linear in the conditions, for the same picture
    none, one, other, both = judge(pictures[:1].expand(4, -1, -1, -1), told).tolist()
    assert both - none == pytest.approx((one - none) + (other - none), abs=1e-4)


def test_augmentation_off_is_the_identity_and_on_moves_pictures():
    pictures = torch.rand(16, 1, 32, 32) * 2 - 1
    u = torch.rand(16, DRAWS)
    assert torch.equal(augment(pictures, torch.tensor(0.0), u), pictures)
    moved = augment(pictures, torch.tensor(0.8), u)
    assert ((moved - pictures).abs().amax(dim=(1, 2, 3)) > 1e-3).float().mean() > 0.9
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(augment(pictures, torch.tensor(0.8), u), moved), "coordinates lost bits to mixed precision"


def test_augmentation_moves_all_channels_alike_and_leaves_the_values_of_latents():
    u = torch.rand(16, DRAWS, generator=torch.Generator().manual_seed(1))
    p = torch.tensor(0.8)
    one = torch.rand(16, 1, 32, 32)
    moved = augment(one.expand(-1, 3, -1, -1), p, u)
    assert torch.equal(moved, augment(one, p, u).expand(-1, 3, -1, -1))
    flat = torch.full((16, 4, 32, 32), 0.3)
    assert torch.allclose(augment(flat, p, u, colour=False), flat, atol=1e-6)
    assert (augment(flat, p, u) - flat).abs().amax(dim=(1, 2, 3)).gt(1e-3).float().mean() > 0.5
    geometry = augment(one, p, u, colour=False)
    assert ((geometry - one).abs().amax(dim=(1, 2, 3)) > 1e-3).float().mean() > 0.5


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


@pytest.mark.parametrize("script", ["diffusion", "gan"])
def test_a_run_started_from_a_model_makes_its_pictures_until_it_has_learned_more(script):
    train = train_diffusion if script == "diffusion" else train_gan
    train("--images", 32, "--batch", 8, "--rate", 1e-2, "--warmup", 0, "--export")
    (name,) = medgen.cards()
    asked = medgen.Request((0, 1), label="viral_pneumonia")
    old, before = medgen.load(name).sample(asked).pixels, medgen.cards()[name]
    more = ["--batch", 8, "--data", *BOTH, "--init", name, "--export"]
    train("--images", 8, "--rate", 0, *more, out="more")
    new = medgen.cards()[name]
    assert new.trained["started_from"]["name"] == name
    assert (new.trained["started_from"]["images_seen"], new.trained["images_seen"]) == (32, 32 + 8)
    assert set(before.net["conditions"]) < set(new.net["conditions"])
    assert new.trained["started_from"]["data"] == "kermany_cxr_128"
    np.testing.assert_allclose(medgen.load(name).sample(asked).pixels, old, atol=1.0)  # of 255; weights are fp16
    # its folder is gone, and the run goes on all the same
    train("--images", 16, "--rate", 0, "--resume", "--export", out="more")
    assert medgen.cards()[name].trained["started_from"] == new.trained["started_from"]
    np.testing.assert_allclose(medgen.load(name).sample(asked).pixels, old, atol=1.0)


def test_a_run_cannot_start_from_nothing_or_from_another_architecture():
    with pytest.raises(MedgenError, match="no model 'x' in checkpoints/"):
        train_diffusion("--images", 8, "--init", "x")
    train_gan("--images", 8, "--batch", 8, "--export")
    with pytest.raises(MedgenError, match="another architecture"):
        train_diffusion("--images", 8, "--init", "g-cxr-128", out="other")
