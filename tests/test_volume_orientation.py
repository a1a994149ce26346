"""A generated brain lies in its file as a real one does: letters of the affine against anatomy.

Left and right are alike (training volumes were mirrored), so there the affine alone is asked. Top, bottom, front and
back show in the mask: cerebellum and brain stem lie at the bottom and behind, and are smaller than the vault.
"""

from functools import lru_cache

import nibabel as nib
import numpy as np
import pytest
import torch
from scipy import ndimage

import medgen
from medgen import Request
from medgen.read_volume import read_volume
from medgen.volume import Volume
from medgen.volume_sets import available, volumes
from medgen.write_volume import nifti_bytes

MODELS = ("ldm-brain-64", "vae-brain-64", "gan-brain-64")
REAL = "ixi_brain_64"
LEVEL = 64.0
"""Grey value of 255 above which a voxel is brain: above the lattice of the GAN's background."""
BEHIND, SMALLER = 0.7, 0.8
"""Share of the bottom quarter that lies behind the middle, at least; its size over that of the top quarter, at most.
Of 37 real brains, one by one: 0.79 to 0.99 (of the top quarter 0.35 to 0.64), and 0.31 to 0.66."""


@lru_cache
def made(name):
    torch.set_num_threads(1)
    return medgen.load(name).sample(Request((0, 1, 2, 3)))


def brain(array):
    """The largest piece, in its bounding box."""
    pieces, _ = ndimage.label(ndimage.uniform_filter(array, 3) > LEVEL)
    whole = pieces == 1 + np.argmax(np.bincount(pieces.ravel())[1:])
    return whole[ndimage.find_objects(whole.astype(int))[0]]


def upright(array):
    """Whether bottom and back are where axes to the right, front and top have them."""
    mask = brain(array)
    _, y, z = mask.shape
    bottom, top = mask[:, :, : z // 4], mask[:, :, -(z // 4) :]
    return bottom[:, : y // 2].sum() > BEHIND * bottom.sum() and bottom.sum() < SMALLER * top.sum()


def likeness(array, mean):
    return np.corrcoef(array.ravel(), mean.ravel())[0, 1]


def real_brains():
    if not available(REAL):
        pytest.skip(f"{REAL} is not here")
    return [volumes(REAL, split).pixels[:, 0] for split in ("train", "val", "test")]


def test_real_brains_are_upright_and_turned_ones_are_not(tmp_path):
    train, val, test = real_brains()
    for array in (*train, *val, *test):
        assert upright(array)
        assert not upright(array[:, ::-1])
        assert not upright(array[:, :, ::-1])
        assert not upright(array[:, ::-1, ::-1])
    assert upright(read_back(Volume.of(volumes(REAL, "test"), 0), tmp_path, "LPS").canonical().array)


def read_back(volume, folder, axes="RAS"):
    """The volume through a NIfTI file with axes to `axes`."""
    (folder / "brain.nii.gz").write_bytes(nifti_bytes(volume.reoriented(axes), {}))
    image = nib.load(folder / "brain.nii.gz")
    assert nib.aff2axcodes(image.affine) == tuple(axes)
    assert np.allclose(image.header.get_zooms(), 3.0)
    return read_volume(folder / "brain.nii.gz")


@pytest.mark.parametrize("name", MODELS)
def test_letters_of_a_generated_brain_agree_with_its_anatomy_however_it_is_stored(name, tmp_path):
    images = made(name)
    for seed, axes in enumerate(("RAS", "LPS", "PIR", "SAL")):
        volume = Volume.of(images, seed)
        assert volume.axes == "RAS" and upright(volume.array)
        back = read_back(volume, tmp_path, axes)
        assert back.axes == axes and upright(back.canonical().array)
        assert back.section("axial", 0).edges == ("R", "L", "A", "P")
        sagittal = back.section("sagittal", 32)
        assert sagittal.edges == ("A", "P", "S", "I")
        # on the screen: of what is low, the most is on the right, which is behind
        np.testing.assert_array_equal(sagittal.pixels, volume.array[32, ::-1, ::-1].T)


@pytest.mark.parametrize("name", MODELS)
def test_a_generated_brain_is_more_like_the_mean_brain_than_one_turned_over(name):
    """The mean of the autoencoder's Gaussian, and where they are here that of real ones."""
    network = medgen.load("vae-brain-64").network
    with torch.inference_mode():
        means = [network(torch.zeros(1, *network.latent), torch.zeros(1, 2))[0, 0].numpy()]
    if available(REAL):
        means.append(volumes(REAL, "train").pixels[:, 0].mean(axis=0))
    for mean in means:
        for array in made(name).pixels[:, 0]:
            for axes in ((1,), (2,), (1, 2)):
                assert likeness(array, mean) > likeness(np.flip(array, axes), mean) + 0.05


def test_real_held_out_brains_are_more_like_the_mean_brain_than_turned_ones():
    train, _, test = real_brains()
    for array in test:
        for axes, least in (((0,), 0.0), ((1,), 0.05), ((2,), 0.05)):
            assert likeness(array, train.mean(axis=0)) > likeness(np.flip(array, axes), train.mean(axis=0)) + least
