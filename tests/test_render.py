"""Rendered MR/CT pairs: the truth is exact, anatomy is where it belongs, a seed decides all; and the real heads."""

import numpy as np
import pytest
from nibabel import Nifti1Image
from scipy import ndimage
from volumes import on_this_disk

from medgen import MedgenError, heads, paired, render
from medgen.read_volume import read_volume
from medgen.render_cut import cut, draw_warp
from medgen.render_head import generator, prepare
from medgen.render_tissues import CONTRASTS, ROOM_HU, TISSUE_OF, TISSUES, draw_contrast, draw_hu
from medgen.volume import Volume

NAMES = ("training_seg_01", "training_seg_02", "training_seg_03", "training_seg_05")
NUMBER = {tissue.name: k for k, tissue in enumerate(TISSUES)}
LEFT, RIGHT = (2, 3), (41, 42)


def labels(size=1.0, spacing=3.0):
    """A head of ellipsoids with all that has a side: axes to the right, front and head, 0 in the middle."""
    n = int(240 / spacing)
    x, y, z = (np.indices((n, n, n)) - (n - 1) / 2) * spacing / size

    def ellipsoid(width, depth, height, at=(0, 0, 0)):
        return ((x - at[0]) / width) ** 2 + ((y - at[1]) / depth) ** 2 + ((z - at[2]) / height) ** 2 < 1

    made = np.zeros((n, n, n), np.float32)
    made[ellipsoid(88, 104, 112)] = 511
    made[ellipsoid(84, 100, 108)] = 507
    for side in (-1, 1):
        made[ellipsoid(13, 13, 13, (side * 30, 80, -30))] = 506
    made[ellipsoid(14, 14, 14, (0, 82, 20))] = 0  # a sinus
    skull = ellipsoid(72, 78, 88, (0, -12, 6))
    made[skull] = 515
    inside = ellipsoid(62, 68, 78, (0, -12, 6))
    made[inside] = 24
    for code, (white, grey) in zip((-1, 1), (LEFT, RIGHT), strict=True):
        made[ellipsoid(56, 62, 72, (0, -12, 6)) & (x * code > 0)] = grey
        made[ellipsoid(46, 52, 62, (0, -12, 6)) & (x * code > 0)] = white
    return made


def volume(array, spacing=3.0):
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = -(np.array(array.shape) - 1) / 2 * spacing
    return Volume(array.astype(np.float32), affine, "MR", "au")


@pytest.fixture(scope="session")
def one_head():
    return prepare(volume(labels()), "made-up")


@pytest.fixture
def maps(tmp_path, monkeypatch):
    """A folder of four label maps, stored as the real ones are, few slices of each, and an empty cache."""
    folder = tmp_path / "data" / render.FOLDER
    folder.mkdir(parents=True)
    for i, name in enumerate(NAMES):
        stored = volume(labels(size=1 - 0.03 * i, spacing=4.0), 4.0).reoriented("LIA")
        Nifti1Image(stored.array.astype(np.int16), stored.affine).to_filename(folder / f"{name}.nii.gz")
    monkeypatch.setenv("MEDGEN_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("MEDGEN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(render, "SLICES", {"train": 2, "val": 2, "test": 3})
    return folder


def pair(head, level=None, contrast="t1", lesions=(), seed=0):
    """A slice, and the HU of its tissues."""
    at = cut(head, np.mean(head.levels_mm) if level is None else level)
    hu = draw_hu(generator("hu", seed))
    rng = generator("noise", seed)
    return render.render_slice(at, hu, draw_contrast(generator(contrast, seed), contrast), rng, lesions), hu, at


def deep(mask, pixels=6):
    return ndimage.binary_erosion(mask, iterations=pixels)


@pytest.mark.parametrize("tissue", ["grey matter", "white matter", "vitreous", "cavity"])
def test_the_truth_is_the_hu_of_the_tissue_inside_its_region(one_head, tissue):
    k = NUMBER[tissue]
    level = {"vitreous": -30.0, "cavity": 20.0}.get(tissue)
    made, hu, at = pair(one_head, level)
    # the cortex, 10 mm thick, has no 6 mm on both sides
    inside = deep(TISSUE_OF[made.regions] == k, 4 if tissue == "grey matter" else 6)
    assert inside.sum() > 10
    assert abs(made.hu[inside].mean() - hu.mean[k]) < 1.0
    expected = at.picture(hu.mean, hu.texture)
    assert abs(made.hu - ndimage.gaussian_filter(expected, hu.blur_mm))[inside].max() <= 0.5001
    assert (made.hu == np.rint(made.hu)).all()


def test_hu_agree_with_the_table_and_literature_over_heads():
    means = np.stack([draw_hu(generator("many", i)).mean for i in range(300)])
    for tissue, low, high in (("fat", -120, -70), ("white matter", 20, 34), ("grey matter", 35, 45), ("csf", 0, 15)):
        assert low <= means[:, NUMBER[tissue]].min() < means[:, NUMBER[tissue]].max() <= high
    bone = means[:, NUMBER["cortical bone"]]
    assert bone.min() > 1000
    assert bone.std() > 80
    assert (means[:, NUMBER["cavity"]] == -1000).all()


@pytest.mark.parametrize("kind", CONTRASTS)
def test_bone_is_bright_on_ct_and_dark_on_mr_like_air(one_head, kind):
    for seed in range(3):
        made, _, _ = pair(one_head, contrast=kind, seed=seed)
        bone = deep(made.regions == 515, 1)
        assert made.hu[bone].mean() > 700
        brain = np.isin(made.regions, (*LEFT, *RIGHT))
        assert made.mr[bone].mean() < 0.6 * np.percentile(made.mr[brain], 90)
        outside = deep(made.regions == 0)
        assert (made.hu[outside] == ROOM_HU).all()
        assert made.mr[outside].mean() < 40
        assert made.mr.max() <= 255
        assert (made.mr == np.rint(made.mr)).all()


def test_a_picture_shows_right_on_the_left_and_front_on_top(one_head):
    made, hu, _ = pair(one_head, -30.0)
    row = {code: np.argwhere(np.isin(made.regions, code)).mean(axis=0)[0] for code in ((506,), LEFT + RIGHT)}
    column = {code: np.argwhere(np.isin(made.regions, code)).mean(axis=0)[1] for code in (LEFT, RIGHT)}
    assert row[(506,)] < 60 < row[LEFT + RIGHT]
    assert column[RIGHT] < 127.5 < column[LEFT]
    # pixels are 1 mm, the middle of the head is the middle of the picture
    body = np.argwhere(made.regions > 0)
    size = body.max(axis=0) - body.min(axis=0)
    assert np.abs(body.mean(axis=0) - 127.5).max() < 4
    assert abs(size - 2 * np.array([104, 88]) * np.sqrt(1 - (30 / 112) ** 2)).max() < 6
    eyes = made.regions == 506
    assert abs(made.hu[deep(eyes)].mean() - hu.mean[NUMBER["vitreous"]]) < 5


def test_how_the_axes_are_stored_does_not_matter(one_head):
    turned = prepare(volume(labels()).reoriented("LIA"), "made-up")
    assert np.allclose(turned.levels_mm, one_head.levels_mm)
    first, second = (pair(head, 10.0)[0] for head in (one_head, turned))
    assert np.abs(first.hu - second.hu).max() <= 1
    assert np.array_equal(first.regions, second.regions)


def test_edges_are_smooth_where_voxels_are_steps(one_head):
    """An ellipse: the border of the brain follows it to a millimetre, though voxels are 3 mm."""
    at = cut(one_head, 6.0)
    skull = np.isin(at.regions, (24, *LEFT, *RIGHT))
    rows, columns = np.indices(skull.shape)
    x, y = (127.5 - columns) + one_head.centre_mm[0], (127.5 - rows) + one_head.centre_mm[1]
    away = (np.sqrt((x / 62) ** 2 + ((y + 12) / 68) ** 2) - 1) * 65
    assert skull[away < -2].all()
    assert not skull[away > 2].any()
    assert 0.05 < at.shares[:, NUMBER["cortical bone"]].mean() < 0.5
    assert np.allclose(at.shares.sum(axis=1), 1, atol=1e-5)
    # labels and tissues tell the same story
    told = TISSUE_OF[at.regions.ravel()[at.index]] == at.shares.argmax(axis=1)
    assert told.mean() > 0.999


def test_fat_and_cavities_are_found(one_head):
    made, hu, _ = pair(one_head, 20.0)
    assert (made.regions == 601).sum() > 500
    assert (made.regions == 600).sum() > 300
    fat = deep(made.regions == 601, 2)
    assert abs(made.hu[fat].mean() - hu.mean[NUMBER["fat"]]) < 25
    whole, _, _ = pair(one_head, -30.0)
    around_the_eyes = ndimage.binary_dilation(whole.regions == 506, iterations=6) & (whole.regions != 506)
    assert (whole.regions[around_the_eyes] == 601).mean() > 0.4


def test_a_lesion_is_exact_in_truth_and_mr_and_leaves_the_rest(one_head):
    mask = np.zeros((256, 256), np.float32)
    mask[100:120, 100:120] = 1
    lesion = render.Lesion(mask, hu=70.0, mr=0.5)
    without, with_it = (pair(one_head, lesions=lesions)[0] for lesions in ((), (lesion,)))
    inside, far = deep(mask > 0), ~ndimage.binary_dilation(mask > 0, iterations=8)
    assert (with_it.hu[inside] == 70).all()
    assert np.array_equal(with_it.hu[far], without.hu[far])
    assert np.array_equal(with_it.mr[far], without.mr[far])
    assert np.array_equal(with_it.regions, without.regions)
    assert with_it.mr[inside].mean() < 0.75 * without.mr[inside].mean()
    for wrong in (np.zeros((8, 8)), mask * 2, np.full((256, 256), np.nan)):
        with pytest.raises(MedgenError, match="mask of 256x256"):
            render.Lesion(wrong, 70.0, 1.0)


def test_noise_of_a_scanner_keeps_the_mean_and_the_padding(one_head):
    made, _, _ = pair(one_head)
    noisy = render.noisy_ct(made.hu, np.random.default_rng(0), sd=6.0)
    body = deep(made.regions > 0)
    error = (noisy - made.hu)[body]
    assert abs(error.mean()) < 0.3
    assert 5 < error.std() < 7
    assert (noisy[made.hu == ROOM_HU] == ROOM_HU).all()


def test_a_seed_decides_all_and_others_differ(one_head):
    assert np.array_equal(pair(one_head)[0].mr, pair(one_head)[0].mr)
    assert not np.array_equal(pair(one_head, seed=1)[0].mr, pair(one_head)[0].mr)
    state = np.random.get_state()[1].copy()
    pair(one_head, contrast="random")
    assert np.array_equal(state, np.random.get_state()[1])
    bent = [cut(one_head, 10.0, draw_warp(generator("warp", i))).regions for i in range(2)]
    assert 0.02 < (bent[0] != bent[1]).mean() < 0.5


def test_random_contrasts_are_of_many_kinds():
    order = [draw_contrast(generator("c", i), "random").mean for i in range(60)]
    white, grey, csf = (
        np.array([one[NUMBER[name]] for one in order]) for name in ("white matter", "grey matter", "csf")
    )
    assert 0.3 < (white > grey).mean() < 0.7
    assert 0.3 < (csf > grey).mean() < 0.7
    t1, t2 = (draw_contrast(generator("c", 1), kind).mean for kind in ("t1", "t2"))
    assert t1[NUMBER["white matter"]] > t1[NUMBER["grey matter"]] > t1[NUMBER["csf"]]
    assert t2[NUMBER["white matter"]] < t2[NUMBER["grey matter"]] < t2[NUMBER["csf"]]


def test_splits_are_by_head_and_a_slice_can_be_rendered_again(maps):
    sets = {split: render.rendered_arrays(split) for split in ("train", "val", "test")}
    subjects = {split: set(one.subjects) for split, one in sets.items()}
    assert subjects == {"train": {NAMES[0], NAMES[1]}, "val": {NAMES[2]}, "test": {NAMES[3]}}
    assert [len(one.mr) for one in sets.values()] == [2 * 3 * 2, 2, 3]
    assert [fact["contrast"] for fact in sets["train"].facts[:6:2]] == list(CONTRASTS)
    assert all(len({slice_.tobytes() for slice_ in one.hu}) == len(one.hu) for one in sets.values())
    assert sets["test"].regions[-1].astype(bool).sum() < sets["test"].regions[1].astype(bool).sum()  # towards the head
    for split, i in (("train", 9), ("test", 2)):
        render._head.cache_clear()
        again = render.rendered_slice(split, i)
        for name in ("mr", "hu", "regions"):
            assert np.array_equal(getattr(again, name), getattr(sets[split], name)[i])
    other = render.rendered_arrays("test", "t2")
    assert np.array_equal(other.hu, sets["test"].hu)
    assert not np.array_equal(other.mr, sets["test"].mr)
    # the pairs of the catalogue are these
    pairs = paired.paired("head_mr_ct_256", "test")
    assert np.array_equal(pairs.target.pixels[:, 0], sets["test"].hu)
    assert pairs.regions is not None
    assert pairs.subjects == sets["test"].subjects


def test_a_missing_file_moves_nobody_to_another_side(maps):
    (maps / f"{NAMES[0]}.nii.gz").unlink()
    assert set(render.rendered_arrays("val").subjects) == {NAMES[2]}
    (maps / f"{NAMES[3]}.nii.gz").unlink()
    with pytest.raises(MedgenError, match="no test heads"):
        render.rendered_arrays("test")
    assert not set(render.HELD_OUT["val"]) & set(render.HELD_OUT["test"])


def test_the_cache_is_used_and_rebuilt_when_damaged(maps, tmp_path, monkeypatch):
    first = render.rendered_arrays("val")
    (place,) = (tmp_path / "cache" / "rendered").glob("*.npz")
    with monkeypatch.context() as without:
        without.setattr(render, "_slice", None)  # rendering again would fail
        assert np.array_equal(render.rendered_arrays("val").hu, first.hu)
    whole = place.read_bytes()
    middle = len(whole) // 2
    flipped = whole[:middle] + bytes(255 - byte for byte in whole[middle : middle + 64]) + whole[middle + 64 :]
    for damaged in (whole[:middle], b"", flipped):
        place.write_bytes(damaged)
        again = render.rendered_arrays("val")
        assert np.array_equal(again.mr, first.mr)
        assert place.read_bytes() == whole
    np.savez(place, mr=np.zeros((1, 256, 256), np.uint8), hu=np.zeros(1, np.int16), regions=np.zeros(1, np.int16))
    assert np.array_equal(render.rendered_arrays("val").hu, first.hu)
    # another source file is another key
    (maps / f"{NAMES[2]}.nii.gz").write_bytes((maps / f"{NAMES[0]}.nii.gz").read_bytes())
    assert not np.array_equal(render.rendered_arrays("val").regions, first.regions)


def test_an_unwritable_cache_costs_only_time(maps, tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("MEDGEN_CACHE", str(tmp_path / "file"))
    assert len(render.rendered_arrays("val").mr) == 2
    assert "not cached" in capsys.readouterr().err


def test_what_cannot_be_rendered_is_said(maps, monkeypatch):
    for call, words in (
        (lambda: render.rendered_arrays("all"), "no split 'all'"),
        (lambda: render.rendered_arrays("val", "pd"), "no contrast 'pd'"),
        (lambda: render.rendered_slice("val", 2), "choose from 0 to 1"),
    ):
        with pytest.raises(MedgenError, match=words):
            call()
    wrong = labels(spacing=4.0)
    for value, words in ((999, "label 999"), (2.5, "label 2.5"), (-1, "label -1"), (63, "label 63")):
        wrong[30, 30, 30] = value
        with pytest.raises(MedgenError, match=words):
            prepare(volume(wrong, 4.0), "wrong")
    with pytest.raises(MedgenError, match="empty"):
        prepare(volume(np.zeros((9, 9, 9)), 4.0), "empty")
    with pytest.raises(MedgenError, match="too little"):
        prepare(volume(np.pad(labels(spacing=4.0)[:, :, 28:31], ((0, 0), (0, 0), (1, 1))), 4.0), "flat")
    monkeypatch.setenv("MEDGEN_DATA", "nowhere")
    with pytest.raises(MedgenError, match="set MEDGEN_DATA"):
        render.rendered_arrays("val")


def test_crumbs_beside_the_head_and_holes_in_the_brain_are_repaired():
    broken = labels(spacing=4.0)
    broken[1:3, 1:3, 20:22] = 24
    broken[24:26, 24:26, 32:34] = 0
    head = prepare(volume(broken, 4.0), "broken")
    whole = prepare(volume(labels(spacing=4.0), 4.0), "broken")
    assert head.labels.shape == whole.labels.shape
    assert (head.labels == 600).sum() == (whole.labels == 600).sum()


def test_real_ct_heads(tmp_path, monkeypatch):
    scan = np.array(["cq500_ct0", "invesalius", "unc_cthead", "unc_cthead"])
    hu = np.arange(4, dtype=np.int16)[:, None, None] * np.ones((1, 256, 256), np.int16)
    np.savez(tmp_path / heads.CT_ARCHIVE, hu=hu, scan=scan, z_mm=np.array([0, 0, 0, 120], np.float32))
    monkeypatch.setenv("MEDGEN_DATA", str(tmp_path))
    train, test = heads.ct_slices(), heads.ct_slices(heads.TEST_SCANS)
    assert train.subjects == ("invesalius", "unc_cthead")
    assert test.subjects == ("cq500_ct0",)
    assert (train.unit, train.window, train.pixels[:, 0, 0, 0].tolist()) == ("HU", (-1024.0, 1976.0), [1, 3])
    assert len(heads.ct_slices(neck=True)) == 3
    assert heads.ct_slices("train").subjects == heads.ct_slices(heads.TRAIN_SCANS).subjects == train.subjects
    assert heads.ct_slices("test").subjects == test.subjects
    for wrong in (("other",), "val", ()):
        with pytest.raises(MedgenError, match="or from invesalius"):
            heads.ct_slices(wrong)
    (tmp_path / heads.CT_ARCHIVE).write_bytes(b"PK\x03\x04 broken")
    with pytest.raises(MedgenError, match="copy it again"):
        heads.ct_slices()


@pytest.mark.parametrize("axes", ["RAS", "PSR"])
def test_real_mr_slices_are_turned_centred_and_scaled(axes):
    bright = {0: 0, 511: 60, 507: 50, 506: 90, 515: 5, 24: 10, 2: 100, 3: 70, 41: 100, 42: 70}
    whole = labels()
    array = np.select([whole == code for code in bright], list(bright.values()), 0).astype(np.float32)
    array[(whole == 2)] = 300  # the left half is brighter
    images = heads.axial_t1(volume(array).reoriented(axes), "one", step_mm=10.0)
    assert set(images.subjects) == {"one"}
    assert (images.modality, images.window) == ("MR", (0.0, 255.0))
    middle = images.pixels[len(images) // 2, 0]
    assert middle[:, 130:170].mean() > 1.5 * middle[:, 86:126].mean()  # the patient's left is on the right
    assert images.pixels.max() == 255
    columns = np.flatnonzero((middle > 20).any(axis=0))
    assert abs(columns.mean() - 127.5) < 3
    assert 165 < np.ptp(columns) < 180


def test_the_real_label_maps_look_like_heads():
    path = on_this_disk("head_label_maps_2mm", "training_seg_05.nii.gz")
    head = prepare(read_volume(path), "training_seg_05")
    shown = [pair(head, level)[0] for level in np.linspace(*head.levels_mm, 12)]
    regions, hu, mr = (np.stack([getattr(one, name) for one in shown]) for name in ("regions", "hu", "mr"))
    places = {name: np.argwhere(np.isin(regions, codes)).mean(axis=0) for name, codes in _PLACES.items()}
    assert places["right"][2] < 125 < 130 < places["left"][2]
    assert places["eyes"][1] < places["brain"][1] - 50
    assert places["cerebellum"][0] < places["brain"][0]
    assert places["cerebellum"][1] > places["brain"][1] + 20
    body = hu[regions > 0]
    assert 0.1 < (body > 300).mean() < 0.35
    assert 0.3 < ((body > 20) & (body < 60)).mean() < 0.75
    assert 0.05 < ((body > -150) & (body < -40)).mean() < 0.3
    assert mr[regions == 515].mean() < 0.5 * mr[np.isin(regions, (2, 41))].mean()


_PLACES = {
    "left": tuple(range(2, 29)),
    "right": tuple(range(41, 61)),
    "eyes": (506,),
    "brain": (2, 3, 41, 42),
    "cerebellum": (7, 8, 46, 47),
}


def test_real_heads_of_the_shared_data(monkeypatch):
    root = on_this_disk("head_ct_hu_256.npz").parent
    on_this_disk("ixi_t1_2mm", "IXI-T1")
    monkeypatch.setenv("MEDGEN_DATA", str(root))
    ct = heads.ct_slices(heads.TRAIN_SCANS + heads.TEST_SCANS)
    hu = ct.pixels[:, 0]
    for scan in heads.TRAIN_SCANS + heads.TEST_SCANS:
        mine = hu[np.array(ct.subjects) == scan]
        body = ndimage.binary_fill_holes(mine.max(axis=0) > -300)
        cavities = (mine < -600) & deep(body, 25) & ndimage.binary_fill_holes(mine > -300, structure=np.ones((1, 3, 3)))
        assert np.argwhere(cavities)[:, 1].mean() < 128  # sinuses lie in front
    mr = {split: heads.mr_slices(split, 20.0) for split in ("val", "test")}
    assert not set(mr["val"].subjects) & set(mr["test"].subjects)
    assert all(100 < one.pixels[one.pixels > 30].mean() < 180 for one in mr.values())
