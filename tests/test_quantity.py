"""A number that pictures have: how a network is told it, how it is asked for, and how it is read off again."""

import json
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
import torch
from accelerate.state import AcceleratorState
from torch import nn

import medgen
from eval import height, height_file, protocols
from eval.fakes import sample as sampled
from eval.quantities import quantities_for
from medgen import ImageSet, ModelCard, Request, waves
from medgen.agreement import agreement
from medgen.card import ModelCard as Card
from medgen.conditions import Conditions
from medgen.data import DATASETS
from medgen.errors import MedgenError
from medgen.files import formats, save_set
from medgen.gan import build
from medgen.gauge import GaugeCard, gauge_for, load_gauge
from medgen.sample import main as sample_main
from train import diffusion, gan, gauge
from train.adversarial import LOSSES, gradient_penalty, lipschitz_penalty
from train.data import Split
from train.discriminators import DCDiscriminator

NAME = "ixi_brain_128"
HEIGHT = {"name": "slice height", "unit": "mm", "low": -62.0, "high": 56.0, "step": 2.0}
COLUMNS = waves.columns(-62.0, 56.0)
RARE = ["--save-every", "100000", "--validate-every", "100000", "--sample-every", "100000", "--cpu", "--threads", "1"]
RARE += ["--precision", "no", "--data", NAME]


def card(**other):
    values = {
        "name": "noise-brain-128", "family": "noise", "title": "Noise", "modality": "MR", "unit": "au",
        "window": (0.0, 255.0), "shape": (1, 128, 128), "licence": "MIT", "limits": "Noise.", "data": NAME,
        "controls": ("quantity",), "quantity": HEIGHT, "spacing_mm": (1.5, 1.5),
    }  # fmt: skip
    return ModelCard(**{**values, **other})


class Painter:
    """A model whose picture is as bright as the number it is asked for."""

    def __init__(self, own):
        self.card = own

    def sample(self, request, on_step=None):
        asked = request.checked(self.card).quantity or 0.0
        pixels = np.stack([np.full((1, 128, 128), 128.0 + asked + seed / 1e4, np.float32) for seed in request.seeds])
        return ImageSet(pixels, "MR", "au", (0.0, 255.0))


@pytest.fixture
def here(heads, tmp_path, monkeypatch):
    monkeypatch.setenv("MEDGEN_DATA", str(heads))
    monkeypatch.setenv("MEDGEN_CACHE", str(heads / "cache"))
    monkeypatch.setenv("MEDGEN_CHECKPOINTS", str(tmp_path / "checkpoints"))
    monkeypatch.chdir(tmp_path)
    AcceleratorState._reset_state()
    torch.set_num_threads(1)
    return tmp_path


# ---- what a network is told


def test_numbers_of_the_range_are_told_apart_and_near_ones_alike():
    told = Conditions(COLUMNS)
    rows = np.stack([told.row(None, {"quantity": value}) for value in np.arange(-62.0, 57.0, 2.0)])
    away = np.linalg.norm(rows[:, None] - rows[None], axis=-1)
    assert away[~np.eye(len(rows), dtype=bool)].min() > 0.3
    neighbours = np.diagonal(away, 1)
    assert neighbours.max() < 0.2 * away.max(), "two millimetres change little"
    assert not told.row().any() and told.row(None, {"quantity": 0.0}).any(), "0 mm is not nobody said"
    assert told.groups == (tuple(range(len(COLUMNS))),)


@pytest.mark.parametrize(
    ("columns", "sentence"),
    [
        (("quantity known",), "go together"),
        (("quantity sin 30",), "go together"),
        (("quantity known", "quantity sin 0"), "is no condition"),
        (("quantity known", "quantity tan 30"), "is no condition"),
    ],
)
def test_columns_of_no_wave_are_refused(columns, sentence):
    with pytest.raises(MedgenError, match=sentence):
        Conditions(columns)


@pytest.mark.parametrize("value", [float("nan"), "high", True])
def test_a_number_that_is_none_is_refused(value):
    with pytest.raises(MedgenError, match="must be a number"):
        Conditions(COLUMNS).row(None, {"quantity": value}, strict=True)


def test_a_request_tells_its_number_and_one_out_of_range_is_refused():
    own = card(net={"conditions": list(COLUMNS)})
    asked = Request(seeds=(0,), quantity=10.0)
    assert asked.checked(own).quantity == 10.0
    assert np.array_equal(asked.condition(COLUMNS), Conditions(COLUMNS).row(None, {"quantity": 10.0}))
    assert not Request(seeds=(0,)).condition(COLUMNS).any()
    with pytest.raises(MedgenError, match="slice height must be a number from -62 to 56 mm"):
        Request(seeds=(0,), quantity=60.0).checked(own)


def test_the_plain_generator_and_its_judge_see_what_they_are_told():
    torch.manual_seed(0)
    net = {"architecture": "dcgan", "size": 32, "width": 8, "latent": 8}
    told, plain = build({**net, "conditions": list(COLUMNS)}).eval(), build(net).eval()
    z = torch.randn(2, 8)
    here, there = (
        torch.from_numpy(Conditions(COLUMNS).row(None, {"quantity": v})).expand(2, -1) for v in (-40.0, 40.0)
    )
    assert (told(z, here) - told(z, there)).abs().max() > 1e-5
    assert torch.equal(told(z, None), told(z, torch.zeros(2, len(COLUMNS))))
    assert torch.equal(plain(z, here), plain(z, there))
    judge = DCDiscriminator(32, 8, len(COLUMNS)).eval()
    pixels = torch.randn(2, 1, 32, 32)
    assert (judge(pixels, here) - judge(pixels, there)).abs().max() > 1e-6
    assert any(isinstance(one, nn.BatchNorm2d) for one in judge.modules())
    assert not any(isinstance(one, nn.BatchNorm2d) for one in DCDiscriminator(32, 8, normalised=False).modules())


# ---- WGAN-GP


class Plane(nn.Module):
    """A judge whose logit rises by `slope` a unit of Euclidean length."""

    def __init__(self, slope):
        super().__init__()
        self.slope = slope

    def forward(self, pixels, told=None):
        return self.slope * pixels.flatten(1).sum(dim=1) / pixels[0].numel() ** 0.5


@pytest.mark.parametrize("slope", [0.0, 1.0, 3.0])
def test_the_penalty_is_the_squared_distance_of_the_slope_from_one(slope):
    real, fake = torch.randn(3, 1, 8, 8), torch.randn(3, 1, 8, 8)
    found = lipschitz_penalty(Plane(torch.tensor(slope)), real, fake, torch.zeros(3, 0), torch.rand(3)).detach()
    assert float(found) == pytest.approx((slope - 1.0) ** 2, abs=1e-4)
    assert float(gradient_penalty(Plane(torch.tensor(slope)), real, torch.zeros(3, 0))) == pytest.approx(slope**2)


def test_the_penalty_looks_between_the_two_pictures():
    class Bent(nn.Module):
        def forward(self, pixels, told=None):
            return 0.5 * pixels.square().flatten(1).sum(dim=1)  # its slope is the length of the picture

    real, fake = torch.full((1, 1, 1, 1), 4.0), torch.zeros(1, 1, 1, 1)
    for mix in (0.0, 0.25, 1.0):
        found = lipschitz_penalty(Bent(), real, fake, torch.zeros(1, 0), torch.tensor([mix])).detach()
        assert float(found) == pytest.approx((4.0 * mix - 1.0) ** 2, abs=1e-4)


def test_each_loss_falls_for_a_better_judge_and_a_better_maker():
    real, fake = torch.tensor([2.0, 3.0]), torch.tensor([-1.0, -2.0])
    for judge, maker in LOSSES.values():
        assert judge(real, fake) < judge(fake, real) and maker(real) < maker(fake)
    judge, maker = LOSSES["wasserstein"]
    assert float(judge(real, fake)) == -4.0 and float(maker(fake)) == 1.5


# ---- training


def test_a_split_tells_the_height_of_each_slice(here, monkeypatch):
    split = Split.load((NAME,), "train")
    assert split.columns == COLUMNS and split.counts == {} and len(split.attributes) == 1
    real = medgen.data.real(NAME, "train")
    row = Conditions(COLUMNS).row(None, {"quantity": real.quantities[5]})
    np.testing.assert_array_equal(split.conditions[5].numpy(), row)
    both = (NAME, "ixi_head_128")
    assert len(Split.load(both, "train").images) > len(split.images)
    other = replace(DATASETS["ixi_head_128"], quantity={**HEIGHT, "unit": "cm"})
    monkeypatch.setitem(DATASETS, "ixi_head_128", other)
    with pytest.raises(MedgenError, match="count different things"):
        Split.load(both, "train")


def log(out):
    return [json.loads(line) for line in (Path(out) / "log.jsonl").read_text().splitlines()]


def test_wgan_is_told_heights_learns_five_to_one_and_resumes_where_it_was(here):
    flags = ["--preset", "wgan", "--width", "4", "--latent", "8", "--batch", "4", "--name", "wgan-brain-128", *RARE]
    gan.main([*flags, "--images", "40", "--out", "whole", "--export"])
    rows = log("whole")
    makers = [row["generator"] for row in rows]
    assert makers[:4] == [0.0] * 4 and makers[4] != 0.0 and makers[4:9] == [makers[4]] * 5 and makers[9] != makers[4]
    gan.main([*flags, "--images", "28", "--out", "halved"])
    AcceleratorState._reset_state()
    gan.main([*flags, "--images", "40", "--out", "halved", "--resume"])
    assert log("halved") == rows
    made = Card.read(here / "checkpoints" / "wgan-brain-128" / "card.json")
    assert (made.title, made.quantity, made.spacing_mm) == ("WGAN-GP", HEIGHT, (1.5, 1.5))
    assert made.controls == ("quantity", "towards") and made.licence.startswith("CC BY-SA 3.0")
    assert "37 people" in made.limits and made.net["conditions"] == list(COLUMNS)
    model = medgen.load("wgan-brain-128")
    low, high, any_height = (model.sample(Request(seeds=(3,), quantity=q)).pixels for q in (-50.0, 40.0, None))
    assert np.abs(low - high).max() > 1e-3 and np.abs(low - any_height).max() > 1e-3


@pytest.mark.parametrize("script", ["dcgan", "diffusion", "stylegan2"])
def test_every_script_is_told_the_height(here, script):
    flags = ["--batch", "4", "--images", "8", "--name", "a-brain-128", "--out", "run", "--export", *RARE]
    if script == "diffusion":
        flags += ["--fold", "8", "--channels", "32", "64", "--attention", "0", "0", "--sample-steps", "1"]
        diffusion.main(flags)
    elif script == "dcgan":
        gan.main(["--preset", "dcgan", "--conditional", "--width", "4", "--latent", "8", *flags])
    else:
        gan.main(["--channels", "16", "16", "16", "--fold", "8", "--latent", "16", *flags])
    made = Card.read(here / "checkpoints" / "a-brain-128" / "card.json")
    assert made.quantity == HEIGHT and made.net["conditions"] == list(COLUMNS) and "quantity" in made.controls


def test_a_gan_may_be_told_nothing(here):
    flags = ["--batch", "4", "--images", "4", "--name", "b-brain-128", "--out", "run", "--export", *RARE]
    gan.main(["--preset", "dcgan", "--width", "4", "--latent", "8", *flags])
    made = Card.read(here / "checkpoints" / "b-brain-128" / "card.json")
    assert not made.quantity and made.controls == ("towards",) and "conditions" not in made.net


# ---- how it is asked for and read off again


def test_asked_numbers_have_the_spread_of_the_train_split_and_hang_on_the_seed_alone():
    known = tuple(np.random.default_rng(0).normal(0.0, 30.0, 500))
    asked = quantities_for(card(), range(300), known)
    assert quantities_for(card(), (7, 3), known) == [asked[7], asked[3]]
    inside = np.clip(known, -62.0, 56.0)
    assert np.abs(np.quantile(asked, [0.1, 0.5, 0.9]) - np.quantile(inside, [0.1, 0.5, 0.9])).max() < 2.5
    assert min(asked) >= -62.0 and max(asked) <= 56.0 and all((one + 62.0) % 2.0 == 0 for one in asked)
    assert quantities_for(card(controls=(), quantity={}), range(2), known) == [None, None]
    assert quantities_for(card(), range(2), ()) == [None, None]


def test_every_image_is_asked_for_its_own_number():
    asked = [10.0, -20.0, 10.0, None]
    images = sampled(Painter(card()), (5, 6, 7, 8), [None] * 4, quantities=asked)
    np.testing.assert_allclose(images.pixels[:, 0, 0, 0], [138.0005, 108.0006, 138.0007, 128.0008], atol=1e-4)


def test_agreement_is_of_pairs_and_its_interval_of_subjects():
    known = np.repeat([-10.0, 0.0, 10.0, 20.0], 25)
    perfect = agreement(known, known)
    assert (perfect["mae"]["value"], perfect["bias"]["value"], perfect["r"]["value"]) == (0.0, 0.0, 1.0)
    subjects = [f"s{i % 4}" for i in range(100)]
    read = known + np.array([0.0, 2.0, 4.0, 6.0])[np.arange(100) % 4]
    whole, single = agreement(known, read, subjects), agreement(known, read)
    assert whole["mae"]["value"] == whole["bias"]["value"] == pytest.approx(3.0) and whole["n_subjects"] == 4
    width = [one["mae"]["high"] - one["mae"]["low"] for one in (whole, single)]
    assert width[0] > 2 * width[1], "four people say less than a hundred independent pictures"
    flat = agreement(known, np.zeros(100), ["one"] * 100)
    assert flat["r"]["value"] is None and flat["mae"]["low"] is None


@pytest.fixture(scope="module")
def gauged(heads, tmp_path_factory):
    """A gauge of the made-up heads, trained for seconds."""
    root = tmp_path_factory.mktemp("gauged")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDGEN_DATA", str(heads))
        patch.setenv("MEDGEN_CACHE", str(heads / "cache"))
        patch.setenv("MEDGEN_CHECKPOINTS", str(root / "checkpoints"))
        AcceleratorState._reset_state()
        torch.set_num_threads(1)
        options = ["--name", "height-brain-128", "--out", str(root / "run"), "--export", "--images", "1024", "--batch"]
        gauge.main([*options, "16", "--channels", "16", "24", "32", "--fold", "8", "--warmup", "100", *RARE])
    return root / "checkpoints"


@pytest.fixture
def judged(here, gauged, monkeypatch):
    monkeypatch.setenv("MEDGEN_CHECKPOINTS", str(gauged))
    return gauged


def test_a_gauge_reads_heights_of_people_it_has_not_seen(judged):
    own = GaugeCard.read(judged / "height-brain-128" / "gauge.json")
    assert own.test["n_subjects"] == 2 and own.test["r"]["value"] > 0.9
    assert own.test["mae"]["value"] < 15.0, "guessing the middle would be 23 mm off"
    reader = load_gauge("height-brain-128")
    images = medgen.data.real(NAME, "test")
    read = reader.read(images)
    assert np.array_equal(read[3:5], reader.read(images.take([3, 4]))), "each picture alone"
    assert gauge_for(card()) == "height-brain-128" and gauge_for(card(data="ixi_head_128")) is None
    with pytest.raises(MedgenError, match="reads pictures of 1x128x128"):
        reader.read(replace(images, pixels=images.pixels[:, :, :64, :64]))
    with pytest.raises(MedgenError, match="diverged"):
        reader.read(replace(images, pixels=images.pixels * np.float32(np.nan)))


def test_a_gauge_without_its_numbers_is_refused(judged, tmp_path):
    values = json.loads((judged / "height-brain-128" / "gauge.json").read_text())
    for broken in ({"test": {}}, {"quantity": {"name": "x"}}, {"weights": {}}, {"shape": [1, 2]}):
        (tmp_path / "gauge.json").write_text(json.dumps({**values, **broken}))
        with pytest.raises(MedgenError, match=next(iter(broken))):
            GaugeCard.read(tmp_path / "gauge.json")


def test_a_model_that_shows_what_it_is_asked_for_agrees_and_one_that_does_not_does_not(judged):
    real = medgen.data.real(NAME, "train")

    class Copier(Painter):
        def sample(self, request, on_step=None):
            wanted = request.quantity if self.obeys else 0.0
            place = int(np.abs(np.array(real.quantities) - wanted).argmin())
            return replace(real.take([place] * len(request.seeds)), subjects=None)

    reader, found = load_gauge("height-brain-128"), {}
    for obeys in (True, False):
        model = Copier(card())
        model.obeys = obeys
        found[obeys] = height.measured(model, reader, real.quantities, 40, Request(seeds=()))
    assert found[True]["agreement"]["r"]["value"] > 0.9 > 0.3 > abs(found[False]["agreement"]["r"]["value"] or 0.0)
    assert found[True]["agreement"]["mae"]["value"] < found[False]["agreement"]["mae"]["value"]
    assert found[True]["agreement"]["n"] == len(found[True]["measured"]) == 40
    assert "slice height asked" in height.summary(found[True])

    folder = judged / "noise-brain-128"
    card().save(folder)
    (folder / height_file.FILE).write_text(json.dumps(found[True]))
    rows, problems = height_file.rows()
    assert not problems and rows.iloc[0]["r"] == found[True]["agreement"]["r"]["value"]
    assert "noise-brain-128" in height_file.section() and " mm" in height_file.section()
    (folder / height_file.FILE).write_text(json.dumps({**found[True], "weights": {"other": "x"}}))
    assert height_file.rows()[0].empty and "other weights" in height_file.rows()[1][0]
    (folder / height_file.FILE).write_text(json.dumps({**found[True], "asked": [None]}))
    assert "height.asked" in height_file.rows()[1][0]


def test_height_of_a_model_without_a_number_or_a_gauge_is_refused(here, capsys):
    card(controls=(), quantity={}).save(here / "checkpoints" / "noise-brain-128")
    assert height.main(["noise-brain-128"]) == 2 and "no pictures of an asked number" in capsys.readouterr().err
    card().save(here / "checkpoints" / "noise-brain-128")
    assert height.main(["noise-brain-128"]) == 2 and "train.gauge" in capsys.readouterr().err
    assert height.main(["noise-brain-128", "--n", "1"]) == 2 and "at least 2" in capsys.readouterr().err


def test_real_brains_are_compared_between_subjects(here):
    asked = protocols.protocol("brain-128")
    found = protocols.sides(asked, "test")
    assert set(found.real.subjects) == {"IXI274", "IXI316"} and len(found.floor) == len(found.real)
    assert not set(found.floor.subjects) & set(found.real.subjects)
    assert found.proportions == {} and len(found.quantities) == len(found.train)
    assert protocols.protocols_of(card()) == (asked,)


# ---- files


def test_slices_are_saved_with_their_size_and_height_in_any_format(tmp_path):
    own = card()
    assert formats(own) == ("png", "dcm", "nii")
    assert formats(card(spacing_mm=None)) == formats(card(data="kermany_cxr_128")) == ("png", "dcm")
    request = Request(seeds=(4, 5), quantity=10.0)
    images = ImageSet(np.random.default_rng(0).random((2, 1, 128, 128), np.float32) * 255, "MR", "au", (0.0, 255.0))
    images.pixels[:, :, 10, 20] = 255.0  # a mark: row 10, column 20
    digests = {}
    for format in formats(own):
        manifest = save_set(images, own, request, tmp_path / format, seconds=1.0, format=format)
        digests[format] = [one["pixels_sha256"] for one in json.loads(manifest.read_text())["files"]]
    assert digests["png"] == digests["dcm"] == digests["nii"]

    first, second = (pydicom.dcmread(path) for path in sorted((tmp_path / "dcm").glob("*.dcm")))
    assert first.Modality == "MR" and first.SOPClassUID.name == "MR Image Storage" and first.SyntheticData == "YES"
    assert [float(one) for one in first.PixelSpacing] == [1.5, 1.5] and float(first.SliceThickness) == 2.0
    assert [float(one) for one in first.ImagePositionPatient] == [-95.25, -95.25, 10.0]
    assert np.array_equal(first.pixel_array, images.uint8()[0, 0])
    assert first.StudyInstanceUID == second.StudyInstanceUID and first.SeriesInstanceUID != second.SeriesInstanceUID

    volume = nib.load(min((tmp_path / "nii").glob("*.nii.gz")))
    assert volume.shape == (128, 128, 1) and [float(z) for z in volume.header.get_zooms()] == [1.5, 1.5, 2.0]
    assert volume.get_fdata()[20, 10, 0] == 255
    # column 20 lies on the patient's right, row 10 in front
    np.testing.assert_allclose(volume.affine @ [20, 10, 0, 1], [95.25 - 30, 95.25 - 15, 10.0, 1.0])
    with pytest.raises(MedgenError, match="choose png"):
        save_set(images, card(spacing_mm=None), request, tmp_path / "x", seconds=1.0, format="dcm")


def test_the_command_line_makes_and_remakes_a_slice(here, capsys):
    card().save(here / "checkpoints" / "noise-brain-128")
    assert sample_main(["noise-brain-128", "--n", "2", "--quantity", "10", "--format", "nii", "--out", "a"]) == 0
    assert sorted(path.name for path in Path("a").iterdir())[0] == "0000_seed0_quantity10.nii.gz"
    assert sample_main(["--manifest", "a/manifest.json", "--out", "b"]) == 0
    assert "the same pixels" in capsys.readouterr().out
    assert sample_main(["noise-brain-128", "--quantity", "90", "--out", "c"]) == 2
    assert "from -62 to 56 mm" in capsys.readouterr().err
