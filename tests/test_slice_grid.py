"""Slices on the picture grid of a model and back, and scores inside the head: millimetres, places, known numbers."""

from __future__ import annotations

import numpy as np
import pytest

from demos.slice_phantom import phantom
from medgen import MedgenError
from medgen.pair_metrics import PSNR_CAP, compared, inside_head
from medgen.slice_grid import SliceGrid, middle
from medgen.volume import PLANES, Volume


def disc(shape: tuple[int, int], spacing_mm: tuple[float, float], diameter_mm: float) -> np.ndarray:
    """A disc in the middle of a slice, with soft pixels at its edge."""
    rows, columns = np.indices(shape)
    middle_row, middle_column = ((n - 1) / 2 for n in shape)
    apart = np.hypot((rows - middle_row) * spacing_mm[0], (columns - middle_column) * spacing_mm[1])
    return np.clip((diameter_mm / 2 - apart) / max(spacing_mm) + 0.5, 0.0, 1.0).astype(np.float32)


def extent_mm(picture: np.ndarray, spacing_mm: tuple[float, float]) -> tuple[float, float]:
    """Height and width of what is brighter than a half, summed through the middle of the picture."""
    row, column = (round(float(c)) for c in np.argwhere(picture > 0.5).mean(axis=0))
    return float(picture[:, column].sum() * spacing_mm[0]), float(picture[row].sum() * spacing_mm[1])


@pytest.mark.parametrize("side", [128, 256])
@pytest.mark.parametrize(
    ("shape", "spacing_mm"),
    [((217, 181), (1.0, 1.0)), ((60, 256), (3.0, 0.9)), ((512, 512), (0.45, 0.45)), ((640, 90), (0.3, 2.2))],
)
def test_a_disc_of_50_mm_is_a_disc_of_50_mm_on_the_picture_and_again_on_the_slice(
    shape: tuple[int, int], spacing_mm: tuple[float, float], side: int
) -> None:
    grid = SliceGrid.around(shape, spacing_mm, side, 256 / side)
    drawn = disc(shape, spacing_mm, 50.0)
    picture = grid.picture(drawn, 0.0)
    assert picture.shape == (side, side) and picture.dtype == np.float32
    coarsest = max(256 / side, *spacing_mm)
    for size in (*extent_mm(picture, (256 / side,) * 2), *extent_mm(grid.slice(picture, 0.0), spacing_mm)):
        assert abs(size - 50.0) < 0.6 * coarsest
    area = float(picture.sum()) * (256 / side) ** 2
    assert abs(area / (np.pi * 25.0**2) - 1) < 0.05
    where = np.argwhere(picture > 0.5).mean(axis=0)
    assert np.abs(where - (side - 1) / 2).max() <= 1.0, "in the middle"


def test_where_the_grids_agree_nothing_is_changed() -> None:
    rng = np.random.default_rng(0)
    same = rng.normal(size=(256, 256)).astype(np.float32)
    grid = SliceGrid.around((256, 256), (1.0, 1.0), 256, 1.0)
    np.testing.assert_array_equal(grid.picture(same, 0.0), same)
    np.testing.assert_array_equal(grid.slice(same, 0.0), same)
    assert grid.covered().all()
    smaller = rng.normal(size=(217, 181)).astype(np.float32)
    grid = SliceGrid.around((217, 181), (1.004, 0.998), 256, 1.0)  # a scanner's millimetre
    picture = grid.picture(smaller, -9.0)
    np.testing.assert_array_equal(grid.slice(picture, 0.0), smaller)
    assert (picture == -9.0).sum() == 256**2 - smaller.size, "whole pixels, and background around them"


@pytest.mark.parametrize("spacing_mm", [(2.0, 2.0), (5.0, 1.0), (4.0, 2.0)])
def test_a_slice_of_whole_millimetres_comes_back_as_it_was(spacing_mm: tuple[float, float]) -> None:
    pixels = np.random.default_rng(0).normal(size=(41, 90)).astype(np.float32)
    grid = SliceGrid.around((41, 90), spacing_mm, 256, 1.0)
    np.testing.assert_allclose(grid.slice(grid.picture(pixels, 0.0), 0.0), pixels, atol=1e-5)


@pytest.mark.parametrize("plane", PLANES)
def test_left_stays_left_in_every_plane(plane: str) -> None:
    head = phantom("flair")  # its lesion is the brightest thing, at (-36, -40, 24) mm
    seen = head.reoriented("RAS").voxel(np.array([-36.0, -40.0, 24.0]))
    index = {"axial": round(seen[2]), "coronal": round(seen[1]), "sagittal": round(seen[0])}[plane]
    section = head.section(plane, index)
    grid = SliceGrid.around(section.pixels.shape, section.spacing_mm, 256, 1.0)
    picture = grid.picture(section.pixels, 0.0)
    row, column = np.argwhere(picture > 200).mean(axis=0) - 127.5  # from the middle of the head at (0, -18, 18) mm
    below, right = {"axial": (22, 36), "coronal": (-6, 36), "sagittal": (-6, 22)}[plane]
    assert abs(row - below) < 1.5 and abs(column - right) < 1.5


def test_what_a_picture_cannot_hold_is_cut_around_the_head_and_the_rest_is_background() -> None:
    array = np.full((400, 400, 3), -1024.0, np.float32)
    array[220:380, 100:300] = 40.0  # along i, which is to the left in the pictures, beyond their middle
    head = Volume(array, np.diag([-1.0, -1.0, 5.0, 1.0]), "CT", "HU")
    centre = middle(head, "axial")
    assert centre == pytest.approx((199.5, 299.5), abs=2)
    section = head.section("axial", 1)
    grid = SliceGrid.around(section.pixels.shape, section.spacing_mm, 256, 1.0, centre)
    picture = grid.picture(section.pixels, -1024.0)
    assert (picture == 40.0).sum() == (section.pixels == 40.0).sum(), "the whole head is in the picture"
    covered = grid.covered()
    assert covered.sum() == 256**2 and covered[:, 399].any(), "and the picture stays on the slice"
    back = grid.slice(np.full((256, 256), 7.0, np.float32), -1024.0)
    assert (back[covered] == 7.0).all() and (back[~covered] == -1024.0).all()


def test_finer_pixels_are_averaged_and_not_skipped() -> None:
    checks = (np.indices((512, 512)).sum(axis=0) % 2).astype(np.float32)
    picture = SliceGrid.around((512, 512), (0.5, 0.5), 128, 2.0).picture(checks, 0.0)
    assert np.abs(picture[4:-4, 4:-4] - 0.5).max() < 0.05


@pytest.mark.parametrize("spacing_mm", [(1e-5, 1e-5), (1.0, 1e4)])
def test_a_damaged_spacing_is_refused_before_it_costs_time(spacing_mm: tuple[float, float]) -> None:
    with pytest.raises(MedgenError, match="correct the spacing"):
        SliceGrid.around((64, 64), spacing_mm, 256, 1.0)


# scores


def test_equal_slices_agree_and_a_known_error_gives_its_number() -> None:
    real = phantom("ct").section("axial", 96).pixels
    inside = real > -300
    same = compared(real=real, fake=real, inside=inside, data_range=3000.0)
    assert (same.ssim, same.psnr_db, same.mae) == (pytest.approx(1.0), PSNR_CAP, 0.0)
    off = compared(real=real, fake=real + 30.0, inside=inside, data_range=3000.0)
    assert off.mae == pytest.approx(30.0) and off.psnr_db == pytest.approx(40.0)
    outside = np.where(inside, real, 500.0)
    assert compared(real=real, fake=outside, inside=inside, data_range=3000.0).mae == 0.0
    turned = compared(real=real, fake=np.ascontiguousarray(real[:, ::-1]), inside=inside, data_range=3000.0)
    assert same.ssim > turned.ssim, "the lesion is on the other side"
    noisy = real + np.random.default_rng(0).normal(0, 300, real.shape).astype(np.float32)
    assert compared(real=real, fake=noisy, inside=inside, data_range=3000.0).ssim < 0.9 * turned.ssim


def test_scores_refuse_what_they_cannot_mean() -> None:
    one, everywhere = np.zeros((32, 32), np.float32), np.ones((32, 32), bool)
    with pytest.raises(MedgenError, match="data range"):
        compared(real=one, fake=one, inside=everywhere, data_range=0.0)
    with pytest.raises(MedgenError, match="one shape"):
        compared(real=one, fake=one[:16], inside=everywhere, data_range=1.0)
    with pytest.raises(MedgenError, match="NaN"):
        compared(real=one, fake=one * np.nan, inside=everywhere, data_range=1.0)
    with pytest.raises(MedgenError, match="no head"):
        compared(real=one, fake=one, inside=~everywhere, data_range=1.0)
    small = compared(real=one[:8], fake=one[:8], inside=everywhere[:8], data_range=1.0)
    assert small.ssim is None and small.n_pixels == 8 * 32


def test_the_head_has_its_ventricles_and_no_air_around_it_whatever_the_spacing() -> None:
    for spacing_mm, step in (((1.0, 1.0), (1, 1)), ((3.0, 1.0), (3, 1))):
        slices = [
            (phantom("t1").section("axial", 96).pixels[:: step[0], :: step[1]] / 255.0, "au"),
            (phantom("t2").section("axial", 96).pixels[:: step[0], :: step[1]] / 255.0, "au"),
        ]
        body = phantom("ct").section("axial", 96).pixels[:: step[0], :: step[1]]
        truth = body > -500
        for found in (inside_head(slices, spacing_mm), inside_head([slices[0], (body, "HU")], spacing_mm)):
            assert 2 * (found & truth).sum() / (found.sum() + truth.sum()) > 0.97
    assert not inside_head([(np.zeros((64, 64), np.float32), "au")], (1.0, 1.0)).any()
    assert not inside_head([(np.full((64, 64), -1024, np.float32), "HU")], (1e-4, 1e-4)).any()
