"""How varied a set is and how fine its structure: cases whose answer is known, and other people's code."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from skimage.metrics import structural_similarity
from torchmetrics.functional.image.ssim import _ssim_update

from eval import diversity, halves, metrics
from eval.bootstrap import halves as row_halves
from eval.nearest import Rows, blocks, least_cosine_distance, nearest, nearest_other, radii
from eval.spectrum import radial_spectra, spectrum_distance
from medgen import MedgenError


def gaussian(n: int, d: int = 16, *, seed: int = 0, shift: float = 0.0) -> np.ndarray:
    return (np.random.default_rng(seed).normal(size=(n, d)) + shift).astype(np.float32)


def pictures(n: int, side: int = 64, seed: int = 0) -> np.ndarray:
    """Smooth random pictures `(n, 1, side, side)` uint8."""
    smooth = gaussian_filter(np.random.default_rng(seed).normal(size=(n, 1, side, side)), (0, 0, 3, 3))
    return np.clip(smooth / smooth.std() * 50 + 128, 0, 255).astype(np.uint8)


# MS-SSIM


@pytest.mark.parametrize(("side", "count"), [(16, 1), (22, 2), (64, 3), (128, 4), (160, 4), (176, 5), (256, 5)])
def test_small_pictures_have_fewer_scales(side, count):
    assert diversity.scales(side) == count


def test_a_picture_is_wholly_like_itself_and_less_like_noise():
    pixels = pictures(3)
    same, other = diversity.ms_ssim(pixels, np.array([0, 0]), np.array([0, 1]))
    assert same == pytest.approx(1.0, abs=1e-5)
    assert 0 <= other < 0.6


def test_ms_ssim_agrees_with_other_peoples_parts():
    """torchmetrics' contrast of each scale, and on the last scikit-image's SSIM; torchmetrics itself pads that one."""
    pixels = pictures(2, 128, seed=3)
    left, right = (torch.from_numpy(one[None]).double() / 255 for one in pixels)
    weights = np.array((0.0448, 0.2856, 0.3001, 0.2363))
    expected = 1.0
    for place, weight in enumerate(weights / weights.sum()):
        _, contrast = _ssim_update(left, right, data_range=1.0, return_contrast_sensitivity=True)
        if place == 3:
            pair = (left[0, 0].numpy(), right[0, 0].numpy())
            last = structural_similarity(
                *pair, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1.0
            )
        expected *= max(0.0, last if place == 3 else float(contrast)) ** weight
        left, right = (torch.nn.functional.avg_pool2d(side, 2) for side in (left, right))
    (found,) = diversity.ms_ssim(pixels, np.array([0]), np.array([1]))
    assert found == pytest.approx(expected, abs=1e-4)


def test_a_set_of_one_picture_is_all_alike_and_the_pairs_are_fixed():
    one, varied = np.repeat(pictures(1), 12, axis=0), pictures(12)
    assert diversity.alike(one).mean() == pytest.approx(1.0, abs=1e-5)
    found, again = diversity.alike(varied), diversity.alike(varied)
    assert np.array_equal(found.first, again.first) and found.mean() == again.mean() < 0.6
    assert (found.first != found.second).all() and len(set(zip(found.first, found.second, strict=True))) == 36
    low, high = found.interval()
    assert low < found.mean() < high
    assert len(diversity.alike(varied[:2]).values) == 1 and diversity.alike(varied[:3]).interval() is None


def test_the_interval_of_ms_ssim_holds_what_it_promises():
    """Pairs share images: resampling pairs would be too sure of itself."""
    truth = diversity.alike(pictures(300, 24, seed=99)).mean()
    limits = [diversity.alike(pictures(24, 24, seed=seed)).interval() for seed in range(60)]
    assert 0.85 <= np.mean([low <= truth <= high for low, high in limits]) <= 1.0


# Vendi


def test_vendi_counts_different_images():
    assert diversity.vendi(np.eye(8, 20)) == pytest.approx(8.0)
    assert diversity.vendi(np.repeat(gaussian(1), 8, axis=0)) == pytest.approx(1.0)
    assert diversity.vendi(np.repeat(np.eye(4), 3, axis=0)) == pytest.approx(4.0)
    many = gaussian(300, 16)
    assert diversity.vendi(many) == pytest.approx(diversity.vendi_of(diversity.cosines(many))), "both ways round"
    assert diversity.vendi(many) <= 16


# spectrum


def test_the_spectrum_distance_sees_blur_noise_and_a_change_of_contrast():
    base = pictures(20)
    spectra = radial_spectra(base)
    assert spectra.shape == (20, 32)
    assert spectrum_distance(real=spectra, fake=spectra) == 0.0
    half = radial_spectra((base // 2).astype(np.uint8))[:, :4]  # half the amplitude is a quarter of the power: 6 dB
    assert spectrum_distance(real=spectra[:, :4], fake=half) == pytest.approx(6.02, abs=0.2)
    worse = [spectrum_distance(real=spectra, fake=radial_spectra(gaussian_filter(base, (0, 0, s, s)))) for s in (1, 2)]
    noisy = np.clip(base + np.random.default_rng(0).normal(size=base.shape) * 20, 0, 255).astype(np.uint8)
    assert 0 < worse[0] < worse[1] and spectrum_distance(real=spectra, fake=radial_spectra(noisy)) > worse[0]


def test_a_wave_stands_on_its_ring_whatever_its_direction():
    x, y = np.meshgrid(*[np.arange(64) / 64] * 2)
    waves = np.stack([np.sin(2 * np.pi * 12 * x), np.sin(2 * np.pi * 12 * y)])[:, None]
    spectra = radial_spectra(np.rint(waves * 100 + 128).astype(np.uint8))
    assert spectra.argmax(axis=1).tolist() == [11, 11]
    assert spectra[0] == pytest.approx(spectra[1], abs=1e-6)
    assert np.isfinite(radial_spectra(np.zeros((1, 1, 9, 12), np.uint8))).all()
    with pytest.raises(MedgenError, match="dimensions"):
        spectrum_distance(real=spectra, fake=spectra[:, :3])


# neighbours, and halves at the cost of one


def test_blocks_give_the_same_neighbours_as_all_at_once(monkeypatch):
    monkeypatch.setattr("eval.nearest.ELEMENTS", 64)
    monkeypatch.setattr("eval.nearest._FEWEST", 7)
    assert [rows.stop - rows.start for rows in blocks(20, 1000)] == [7, 7, 6]
    x, y = gaussian(50, 5), gaussian(30, 5, seed=1)
    every = np.linalg.norm(x[:, None].astype(float) - y, axis=2)
    distance, place = nearest(x, y)
    assert distance == pytest.approx(every.min(axis=1)) and np.array_equal(place, every.argmin(axis=1))
    own = np.linalg.norm(y[:, None].astype(float) - y, axis=2) + np.diag(np.full(30, np.inf))
    assert nearest_other(y) == pytest.approx(own.min(axis=1))
    assert radii(Rows(y), 3) == pytest.approx(np.sort(own, axis=1)[:, 2] ** 2)
    assert nearest(y[4:5], y)[0].tolist() == [0.0], "an equal image is at distance 0, not at rounding noise"
    unit = [side / np.linalg.norm(side, axis=1, keepdims=True) for side in (x.astype(float), y.astype(float))]
    assert least_cosine_distance(x, y) == pytest.approx((1 - np.abs(unit[0] @ unit[1].T)).min(axis=1))
    assert least_cosine_distance(np.zeros((1, 5)), y).tolist() == [1.0]


@pytest.mark.parametrize("dim", [8, 300])
def test_metrics_of_a_memory_map_in_blocks_are_the_same(tmp_path, monkeypatch, dim):
    real, fake = gaussian(90, dim), gaussian(80, dim, seed=1, shift=0.2)
    expected = [metric(real=real, fake=fake) for metric in (metrics.fid, metrics.kid, metrics.recall)]
    monkeypatch.setattr("eval.metrics.ELEMENTS", 64)
    monkeypatch.setattr("eval.nearest.ELEMENTS", 64)
    monkeypatch.setattr("eval.nearest._FEWEST", 7)
    for name, one in (("real", real), ("fake", fake)):
        np.save(tmp_path / f"{name}.npy", one)
    mapped = {name: np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in ("real", "fake")}
    found = [metric(**mapped) for metric in (metrics.fid, metrics.kid, metrics.recall)]
    assert found == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("dim", [6, 90])
def test_values_of_halves_are_those_of_the_metrics(monkeypatch, dim):
    real, fake = gaussian(40, dim), gaussian(36, dim, seed=1, shift=0.3)
    subjects = [str(i // 2) for i in range(40)]
    split = halves.drawn(40, 36, subjects, 5)
    rows = list(row_halves(40, 36, subjects, 5))
    for name in ("fid", "kid"):
        expected = [getattr(metrics, name)(real=real[own], fake=fake[others]) for own, others in rows]
        assert getattr(halves, name)(real, fake, split) == pytest.approx(expected, rel=1e-6), name
    assert halves.vendi(fake, split) == pytest.approx([diversity.vendi(fake[others]) for _, others in rows])
    flat = [np.abs(side.astype(float)) / np.abs(side).sum(axis=1, keepdims=True) for side in (real, fake)]
    expected = [metrics.histogram_distance(real=flat[0][own], fake=flat[1][others]) for own, others in rows]
    assert halves.histogram(*flat, split) == pytest.approx(expected)
    expected = [spectrum_distance(real=real[own], fake=fake[others]) for own, others in rows]
    assert halves.spectrum(real, fake, split) == pytest.approx(expected, rel=1e-5)
    monkeypatch.setattr(halves, "MOST_PAIRS", 10)
    assert halves.fid(real, fake, split)[0] == pytest.approx(metrics.fid(real=real[rows[0][0]], fake=fake[rows[0][1]]))
    assert halves.vendi(fake, split) is None
    assert halves.drawn(40, 3, subjects, 5) is None
