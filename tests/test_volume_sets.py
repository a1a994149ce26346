"""Sets of volumes: what is left on the new grid, where it lies, whose it is, and what is said when it is not here."""

from __future__ import annotations

from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
from volumes import DATA, MUSE

from medgen import MedgenError, data, volume_sets
from medgen.read_volume import read_volume
from medgen.record import SPLITS
from medgen.volume import Volume, centred_affine
from medgen.volume_catalogue import VOLUMES
from medgen.volume_preparation import MUSE_CLASSES, brain, hippocampus
from medgen.volume_sets import available, files, quantities, splits, structures, volumes

COUNTS = {"ixi_brain_64": (27, 4, 6), "hippo_48": (163, 20, 60)}


def ball(shape, centre, radius):
    distance = sum((axis - middle) ** 2 for axis, middle in zip(np.indices(shape), centre, strict=True))
    return distance <= radius**2


def head(axes="PSR"):
    """A head of 2 mm and its regions: brain of one brightness, a bright skull, an amygdala on the right, brain stem."""
    shape = (60, 70, 50)
    regions = np.where(ball(shape, (30, 35, 25), 20), 100, 0)
    regions[ball(shape, (40, 35, 25), 5)] = 31  # right amygdala, to higher x
    regions[ball(shape, (30, 35, 10), 5)] = 35
    array = np.where(regions > 0, 100.0, 0.0)
    array[ball(shape, (30, 35, 25), 26) & (regions == 0)] = 400.0
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    affine[:3, 3] = (7, -20, 33)
    scan, labels = (Volume(a.astype(np.float32), affine, "MR", "au") for a in (array, regions))
    return scan.reoriented(axes), labels.reoriented(axes)


def crop(scale=1.0, offset=0.0):
    """A crop of 1 mm with noise, a hippocampus of two boxes near its lower end."""
    rng = np.random.default_rng(0)
    shape = (30, 44, 24)
    parts = np.zeros(shape, np.float32)
    parts[10:20, 24:36, 4:12], parts[12:18, 8:24, 8:14] = 1, 2
    array = rng.uniform(0, 1, shape) + parts
    affine = np.eye(4)
    return Volume((array * scale + offset).astype(np.float32), affine, "MR", "au"), Volume(parts, affine, "MR", "au")


def test_a_brain_is_stripped_moved_to_the_middle_and_keeps_its_brightness():
    made = brain(*head(), (64, 64, 64), 3.0)
    inside = made.voxels > 0
    # a constant brain stays constant up to its rim: no skull bled in, no air
    assert made.voxels[inside].min() >= 218 and made.voxels[inside].max() <= 222
    volume_ml, true_ml = inside.sum() * 27 / 1000, (head()[1].array > 0).sum() * 8 / 1000
    assert abs(volume_ml / true_ml - 1) < 0.05
    places = np.argwhere(inside)
    np.testing.assert_allclose((places.min(0) + places.max(0)) / 2, 31.5, atol=0.51)
    assert not made.classes[~inside].any()


@pytest.mark.parametrize("axes", ["RAS", "PSR", "LPI"])
def test_regions_lie_where_they_did_whatever_way_the_file_runs(axes):
    made = brain(*head(axes), (64, 64, 64), 3.0)
    reference = brain(*head("RAS"), (64, 64, 64), 3.0)
    np.testing.assert_array_equal(made.voxels, reference.voxels)
    np.testing.assert_array_equal(made.classes, reference.classes)
    amygdala, stem = (np.argwhere(made.classes == k).mean(0) for k in (3, 5))
    assert amygdala[0] > 36 and abs(amygdala[2] - 31.5) < 1  # to the right, 20 mm
    assert stem[2] < 26


def test_a_brain_that_does_not_fit_or_is_not_there_is_refused():
    scan, regions = head()
    with pytest.raises(MedgenError, match="grid 60 mm"):
        brain(scan, regions, (20, 20, 20), 3.0)
    with pytest.raises(MedgenError, match="empty"):
        brain(scan, replace(regions, array=regions.array * 0), (64, 64, 64), 3.0)
    moved = regions.affine.copy()
    moved[0, 3] += 5
    with pytest.raises(MedgenError, match="corners 5"):
        brain(scan, replace(regions, affine=moved), (64, 64, 64), 3.0)


def test_the_scale_of_a_crop_does_not_matter_and_no_voxel_of_the_structure_is_lost():
    made = hippocampus(*crop(), (32, 48, 40), 1.0)
    for scale, offset in ((1000.0, 0.0), (0.01, 5.0)):
        other = hippocampus(*crop(scale, offset), (32, 48, 40), 1.0)
        assert np.abs(other.voxels.astype(int) - made.voxels).max() <= 1
    parts = crop()[1].array
    np.testing.assert_array_equal(np.bincount(made.classes.ravel())[1:], np.bincount(parts.ravel().astype(int))[1:])
    low, high = np.percentile(made.voxels[:, :, 14:30], (0.5, 99.5))
    assert 5 < low < 20 and 225 < high < 250
    places = np.argwhere(made.classes)
    np.testing.assert_allclose((places.min(0) + places.max(0)) / 2, (15.5, 23.5, 19.5), atol=0.51)
    # beyond the end of the file its last slice is repeated, without labels
    np.testing.assert_array_equal(made.voxels[:, :, 0], made.voxels[:, :, 1])
    assert not made.classes[:, :, 0].any()


def test_a_crop_with_other_labels_or_voxels_is_refused():
    scan, parts = crop()
    with pytest.raises(MedgenError, match="Labels must be"):
        hippocampus(scan, replace(parts, array=parts.array * 3), (32, 48, 40), 1.0)
    with pytest.raises(MedgenError, match="must be 2 mm"):
        hippocampus(scan, parts, (32, 48, 40), 2.0)
    with pytest.raises(MedgenError, match="box 20"):
        hippocampus(scan, parts, (32, 20, 40), 1.0)
    cut = hippocampus(scan, parts, (32, 24, 40), 1.0).classes
    assert 0 < (cut > 0).sum() < (parts.array > 0).sum(), "of a longer one the tips lie outside of the box"


def test_no_region_is_in_two_classes():
    every = [number for members in MUSE_CLASSES for number in members]
    assert len(every) == len(set(every)) and MUSE["left"] in MUSE_CLASSES[2] and MUSE["stem"] in MUSE_CLASSES[4]


@pytest.mark.parametrize("name", VOLUMES)
def test_the_split_is_by_subject_and_fixed(name):
    sides = splits(name)
    assert tuple(list(sides.values()).count(split) for split in SPLITS) == COUNTS[name]
    affine = VOLUMES[name].affine
    middle = affine @ [*((n - 1) / 2 for n in VOLUMES[name].shape[1:]), 1]
    np.testing.assert_allclose(middle[:3], 0)
    assert nib.aff2axcodes(affine) == ("R", "A", "S") and VOLUMES[name].licence.startswith("CC BY-SA")


def test_what_is_not_here_says_how_to_get_it(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("MEDGEN_DATA", raising=False)
    with pytest.raises(MedgenError, match=r"Set MEDGEN_DATA to .* Task04_Hippocampus.tar .*medicaldecathlon"):
        volumes("hippo_48", "train")
    monkeypatch.setenv("MEDGEN_DATA", str(tmp_path))
    assert not available("hippo_48") and not available("nothing")
    with pytest.raises(MedgenError, match=r"IXI-T1\.tar"):
        structures("ixi_brain_64", "train")
    (tmp_path / "Task04_Hippocampus").mkdir()
    with pytest.raises(MedgenError, match=r"one imagesTr/hippocampus_001\.nii\.gz .* not 0 and 0"):
        volumes("hippo_48", "train")
    for name, split, words in (("hippo", "train", "choose from ixi_brain_64"), ("hippo_48", "all", "no split 'all'")):
        with pytest.raises(MedgenError, match=words):
            volumes(name, split)
    with pytest.raises(MedgenError, match="choose from hippo_48"):
        quantities("ixi_brain_64", "test")
    assert data.main(["fetch", "hippo_48"]) == 2 and "by hand" in capsys.readouterr().err
    assert data.main(["list"]) == 0 and "163/20/60" in capsys.readouterr().out


FEW = dict.fromkeys(["a", "c"], "train") | dict.fromkeys(["b", "d"], "val") | {"e": "test"}


def write_crops(folder):
    """The files of a small hippo_48, with the same made-up crop under each name but for its scale."""
    for part in ("imagesTr", "labelsTr"):
        (folder / "Task04_Hippocampus" / part).mkdir(parents=True)
    for i, subject in enumerate(sorted(FEW)):
        for part, one in zip(("imagesTr", "labelsTr"), crop(1 + i), strict=True):
            image = nib.Nifti1Image(one.array, one.affine)
            image.set_sform(one.affine, 1)
            image.to_filename(folder / "Task04_Hippocampus" / part / f"{subject}.nii.gz")


def test_a_made_up_set_is_read_measured_cached_and_read_anew_when_a_file_changes(tmp_path, monkeypatch, capsys):
    write_crops(tmp_path / "data")
    monkeypatch.setattr(volume_sets, "splits", lambda name: FEW)
    monkeypatch.setenv("MEDGEN_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("MEDGEN_CACHE", str(tmp_path / "cache"))
    images = volumes("hippo_48", "val")
    assert images.pixels.shape == (2, 1, 32, 48, 32) and images.pixels.dtype == np.float32
    assert images.subjects == ("b", "d")
    true = np.count_nonzero(crop()[1].array)
    assert quantities("hippo_48", "val").tolist() == [true] * 2 and quantities("hippo_48", "val").dtype == np.float32
    (kept,) = (tmp_path / "cache" / "volumes").iterdir()
    kept.write_bytes(kept.read_bytes()[:1000])  # damaged: made anew
    np.testing.assert_array_equal(volumes("hippo_48", "val").pixels, images.pixels)
    changed = files(VOLUMES["hippo_48"])[images.subjects[0]][1]
    less = nib.load(changed).get_fdata().astype(np.float32)
    less[10, 24:36, 4:12] = 0
    nib.Nifti1Image(less, nib.load(changed).affine).to_filename(changed)
    assert quantities("hippo_48", "val")[0] == true - 96
    # one volume under many names, in several splits, is what `check` is for
    assert data.main(["check", "hippo_48"]) == 1 and "is the same volume as" in capsys.readouterr().out


needs_ixi = pytest.mark.skipif(not (DATA / "ixi_t1_2mm").is_dir(), reason="needs the IXI volumes in $MEDGEN_DATA")
needs_hippo = pytest.mark.skipif(not (DATA / "Task04_Hippocampus").is_dir(), reason="needs Task04 in $MEDGEN_DATA")


@needs_ixi
def test_real_brains_face_front_and_right_is_right():
    images, classes = volumes("ixi_brain_64", "test"), structures("ixi_brain_64", "test")
    assert images.pixels.shape == (6, 1, 64, 64, 64) and images.affine is not None
    assert np.array_equal(images.affine, centred_affine((64, 64, 64), (3, 3, 3)))
    for volume, regions, subject in zip(images.pixels[:, 0], classes, images.subjects or (), strict=True):
        inside = volume > 0
        assert 800 < inside.sum() * 27 / 1000 < 2000 and 215 <= np.percentile(volume[inside], 99) <= 225
        assert not inside[[0, -1]].any() and not inside[:, [0, -1]].any() and not inside[:, :, [0, -1]].any()
        middle = {k: np.argwhere(regions == k).mean(0) for k in range(1, 6)}
        assert middle[5][1] < middle[1][1] - 5 and middle[5][2] < middle[1][2] - 5  # cerebellum: behind and below
        bright = [volume[regions == k].mean() for k in (4, 1, 2)]
        assert bright[0] < bright[1] < bright[2]  # T1: fluid, grey, white
        # the right half of the grid is the right half of the head: MUSE 47 is the right hippocampus
        scan, labels = files(VOLUMES["ixi_brain_64"])[subject]
        side = read_volume(labels)
        only = replace(side, array=np.where(side.array == MUSE["right"], 100, side.array.clip(0, 1)).astype(np.float32))
        alone = brain(read_volume(scan), only, (64, 64, 64), 3.0)
        assert np.argwhere(alone.classes == 1)[:, 0].mean() > 36


@needs_hippo
def test_real_hippocampi_keep_their_labelled_voxels_but_for_the_tips_of_a_few():
    known = VOLUMES["hippo_48"]
    images, mm3 = volumes("hippo_48", "test"), quantities("hippo_48", "test")
    subjects = images.subjects or ()
    assert images.pixels.shape == (60, 1, 32, 48, 32) and images.pixels.min() >= 0 and images.pixels.max() <= 255
    whole = np.array([(np.asarray(nib.load(files(known)[name][1]).dataobj) > 0).sum() for name in subjects])
    assert (mm3 <= whole).all() and (mm3 > 0.97 * whole).all() and (mm3 == whole).mean() > 0.9
    classes = structures("hippo_48", "test")
    front, back = (np.argwhere(classes == k)[:, 2].mean() for k in (1, 2))
    assert front > back + 10  # anterior is in front
    assert images.pixels.mean(axis=(1, 2, 3, 4)).std() < 20  # all in one scale
