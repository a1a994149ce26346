"""Pairs from folders people have: matched by name, checked by place, cut to one grid, and every refusal explained."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from volumes import on_this_disk

from medgen import MedgenError
from medgen.data import main
from medgen.pair_file import read_pair
from medgen.pair_layouts import find_bids, find_ixi, find_mask
from medgen.pair_slices import cut, head, resampled
from medgen.read_volume import read_volume
from medgen.record import hash_split
from medgen.registration import MissingLibraryError, register
from medgen.volume import Volume, grid_difference

AFFINE = np.diag([3.0, 3.0, 4.0, 1.0])
AFFINE[:3, 3] = (-75, -90, -70)
SHAPE = (50, 60, 40)


def phantom(contrast: str, affine=AFFINE, shape=SHAPE, matrix=None) -> Volume:
    """A head that is not the same on both sides, drawn in millimetres, so that it can be scanned on any grid.

    Args:
        contrast: "T1" or "T2": the same shapes in other greys.
        matrix: `(4, 4)` from where things are in the other scan to where they are in this one.
    """
    grey = {"T1": (300, 900, 600, 100, 750), "T2": (200, 350, 550, 1000, 150)}[contrast]
    ijk = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    mm = ijk @ affine[:3, :3].T + affine[:3, 3]
    if matrix is not None:
        back = np.linalg.inv(matrix)
        mm = mm @ back[:3, :3].T + back[:3, 3]
    array = np.zeros(shape, np.float32)
    ellipsoids = (
        ((0, 0, 0), (62, 78, 66)),
        ((0, -2, 4), (54, 68, 56)),
        ((0, -4, 6), (44, 58, 44)),
        ((-14, 8, 8), (8, 26, 12)),  # one ventricle is larger
        ((22, -20, -14), (13, 11, 10)),  # and something lies on the right
    )
    for (centre, radii), value in zip(ellipsoids, grey, strict=True):
        array[(((mm - centre) / radii) ** 2).sum(-1) < 1] = value
    return Volume(array, affine, "MR", "au")


def rigid(degrees: float, shift) -> np.ndarray:
    """A turn around z, then around x by half as much, then a shift, `(4, 4)`."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    d, t = np.cos(np.radians(degrees / 2)), np.sin(np.radians(degrees / 2))
    matrix = np.eye(4)
    matrix[:3, :3] = np.array([[1, 0, 0], [0, d, -t], [0, t, d]]) @ np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    matrix[:3, 3] = shift
    return matrix


def save(volume: Volume, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.Nifti1Image(volume.array, volume.affine).to_filename(path)
    return path


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")
    return root


def tree(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {
        str(p.relative_to(folder)): (p.read_bytes(), p.stat().st_mtime_ns) for p in folder.rglob("*") if p.is_file()
    }


def rows(out: Path) -> dict[str, dict[str, str]]:
    with (out / "pairs.csv").open(newline="") as file:
        return {row["key"]: row for row in csv.DictReader(file)}


ARGUMENTS = ["--spacing-mm", "3", "--side", "64"]


# --- names


def test_bids_pairs_scans_of_one_session_and_lists_the_others(tmp_path):
    root = touch(
        tmp_path,
        "sub-01/ses-a/anat/sub-01_ses-a_T1w.nii.gz",
        "sub-01/ses-a/anat/sub-01_ses-a_T2w.nii.gz",
        "sub-01/ses-a/anat/sub-01_ses-a_T1w.json",
        "sub-01/ses-b/anat/sub-01_ses-b_T1w.nii.gz",
        "sub-02/anat/sub-02_acq-x_run-1_T1w.nii.gz",
        "sub-02/anat/sub-02_acq-x_run-2_T1w.nii.gz",
        "sub-02/anat/sub-02_acq-tse_T2w.nii",
        "sub-03/anat/sub-03_run-1_T1w.nii.gz",
        "sub-03/anat/sub-03_run-2_T1w.nii.gz",
        "sub-03/anat/sub-03_run-1_T2w.nii.gz",
        "sub-03/anat/sub-03_run-2_T2w.nii.gz",
        "sub-04/func/sub-04_bold.nii.gz",
        "derivatives/sub-05/anat/sub-05_T1w.nii.gz",
    )
    found = {one.key: one for one in find_bids(root, "T1w", "T2w")}
    assert list(found) == [
        "sub-01_ses-a",
        "sub-01_ses-b",
        "sub-02",
        "sub-02_acq-x_run-2_T1w",
        "sub-03_run-1",
        "sub-03_run-2",
    ]
    assert (found["sub-01_ses-a"].subject, found["sub-01_ses-a"].session) == ("sub-01", "ses-a")
    assert found["sub-01_ses-b"].refused == "no T2w in this session"
    assert found["sub-02"].source.name == "sub-02_acq-x_run-1_T1w.nii.gz" and not found["sub-02"].refused
    assert found["sub-02_acq-x_run-2_T1w"].refused == "another T1w of this session is used"
    assert found["sub-03_run-2"].target.name == "sub-03_run-2_T2w.nii.gz"
    with pytest.raises(MedgenError, match="BIDS"):
        find_bids(root / "sub-04", "T1w", "T2w")
    with pytest.raises(MedgenError, match="no folder"):
        find_bids(root / "none", "T1w", "T2w")


def test_ixi_pairs_by_number_site_and_scan(tmp_path):
    root = touch(
        tmp_path,
        "IXI-T1/IXI002-Guys-0828-T1.nii.gz",
        "IXI-T2/IXI002-Guys-0828-T2.nii.gz",
        "IXI-T1/IXI012-HH-1211-T1.nii.gz",
        "IXI-PD/IXI012-HH-1211-PD.nii.gz",
        "IXI-T1/notes.txt",
    )
    found = {one.key: one for one in find_ixi(root, "T1w", "T2w")}
    assert found["IXI002-Guys-0828"].subject == "IXI002" and not found["IXI002-Guys-0828"].refused
    assert found["IXI012-HH-1211"].refused == "no T2 of this scan"
    assert [one.key for one in find_ixi(root, "T1w", "PDw") if not one.refused] == ["IXI012-HH-1211"]
    with pytest.raises(MedgenError, match="no FLAIR"):
        find_ixi(root, "T1w", "FLAIR")


def test_a_mask_belongs_to_the_key_it_begins_with(tmp_path):
    touch(tmp_path, "sub-1_mask.nii.gz", "sub-10_mask.nii.gz", "sub-2_a.nii", "sub-2_b.nii", "sub-1_mask.json")
    assert find_mask(tmp_path, "sub-1").name == "sub-1_mask.nii.gz"
    for key, n in (("sub-2", 2), ("sub-3", 0)):
        with pytest.raises(MedgenError, match=f"{n} masks"):
            find_mask(tmp_path, key)


# --- one grid


def test_scans_on_one_grid_with_square_pixels_are_not_interpolated():
    one, other = phantom("T1"), phantom("T2").reoriented("PSR")
    assert grid_difference(one, other) is None
    made = cut(one, other, side=64, spacing_mm=3.0, foreground=0.3)
    for volume, slices in ((one, made.source), (other, made.target)):
        stored = volume.sections("axial")[made.index]  # (N, 60, 50)
        assert slices.shape == (len(made.index), 64, 64)
        assert set(np.unique(slices)) == set(np.unique(stored)) | {0.0}
        np.testing.assert_array_equal(slices.sum(axis=(1, 2)), stored.sum(axis=(1, 2)))
    # the affine tells where a pixel lies: what lies on the right of the head is on the left of the picture
    spot = np.argwhere(made.source == 750).mean(axis=0)  # (n, row, column)
    place = made.affine @ (spot[2], spot[1], made.index[0] + spot[0], 1)
    np.testing.assert_allclose(place[:3], (22, -20, -14), atol=2.5)
    assert spot[2] < 32 and made.overlap > 0.95


def test_pixels_become_square_and_slices_without_enough_of_the_head_stay_out():
    narrow = AFFINE @ np.diag([0.5, 1.0, 1.0, 1.0])  # 1.5 x 3 x 4 mm
    one = phantom("T1", narrow, (100, 60, 40))
    made = cut(one, phantom("T2"), side=64, spacing_mm=3.0, foreground=0.5)
    ellipse = (made.source[len(made.index) // 2] > 100).sum() * 9.0
    assert ellipse == pytest.approx(np.pi * 62 * 78, rel=0.05)
    areas = (made.source > 100).sum(axis=(1, 2))
    assert areas.min() >= 0.48 * areas.max() and made.left_out[0] == 40 - len(made.index)
    assert made.overlap > 0.95
    with pytest.raises(MedgenError, match="lies outside 32 pixels"):
        cut(one, phantom("T2"), side=32, spacing_mm=3.0, foreground=0.5)


def test_slices_that_one_scan_does_not_reach_stay_out():
    low = phantom("T2", AFFINE, (50, 60, 18))
    made = cut(phantom("T1"), low, side=64, spacing_mm=3.0, foreground=0.2)
    assert made.index.max() == 17 and made.left_out[1] > 3
    away = AFFINE.copy()
    away[2, 3] += 400
    with pytest.raises(MedgenError, match="no slice"):
        cut(phantom("T1"), phantom("T2", away), side=64, spacing_mm=3.0, foreground=0.2)


def test_a_mask_acts_on_both():
    one = phantom("T1")
    inner = Volume((one.array == 600).astype(np.float32), one.affine, "MR", "au").reoriented("LPI")
    made = cut(one, phantom("T2"), side=64, spacing_mm=3.0, foreground=0.3, mask=inner)
    assert set(np.unique(made.source)) == {0, 600} and set(np.unique(made.target)) == {0, 550}
    np.testing.assert_array_equal(made.source > 0, made.target > 0)


def test_resampling_follows_a_move_and_smooths_what_gets_coarser():
    move = rigid(8, (4, -3, 5))
    other = phantom("T1", AFFINE @ np.diag([0.5, 0.5, 0.5, 1]), (100, 120, 80), move)
    there, reach = resampled(other, AFFINE, SHAPE, matrix=move)
    assert (head(there) == head(phantom("T1").array))[reach].mean() > 0.98
    noise = Volume(np.random.default_rng(0).normal(size=(40, 40, 40)).astype(np.float32), np.eye(4), "MR", "au")
    coarse, _ = resampled(noise, np.diag([4.0, 4, 4, 1]), (10, 10, 10))
    assert coarse.std() < 0.15


# --- registration


def test_a_known_move_is_found_again():
    pytest.importorskip("SimpleITK")
    move = rigid(7, (5, -4, 3))
    grid = np.diag([-2.5, 4.0, 3.0, 1.0])
    grid[:3, 3] = (85, -100, -75)
    moving = phantom("T2", grid, (68, 50, 52), move)
    fixed = phantom("T1")
    found = register(fixed, moving)
    points = fixed.world(np.argwhere(fixed.array > 0)[::500])
    error = np.linalg.norm(points @ (found.matrix - move)[:3, :3].T + (found.matrix - move)[:3, 3], axis=1)
    assert error.max() < 1 and found.after > found.before + 0.05  # of voxels of 3 to 4 mm
    assert found.rotation_degrees == pytest.approx(7.8, abs=1.0)
    assert (register(fixed, moving).matrix == found.matrix).all()  # the same on every run


def test_a_real_head_is_found_again_at_half_a_millimetre():
    pytest.importorskip("SimpleITK")
    whole = read_volume(on_this_disk("ixi_t1_2mm", "IXI-T1", "IXI132-HH-1415-T1.nii.gz")).canonical()
    coarse = whole.affine @ np.diag([2, 2, 2, 1])
    fixed = Volume(resampled(whole, coarse, (45, 60, 60))[0], coarse, "MR", "au")
    move = rigid(6, (3, -5, 6))
    grid = whole.affine @ np.diag([1.5, 1.5, 1.5, 1])
    inverted = Volume(np.where(whole.array < 40, whole.array, 700 - whole.array), whole.affine, "MR", "au")
    moved, _ = resampled(inverted, grid, (60, 80, 80), matrix=np.linalg.inv(move))
    found = register(fixed, Volume(moved, grid, "MR", "au"))
    points = fixed.world(np.argwhere(head(fixed.array))[::500])
    error = np.linalg.norm(points @ (found.matrix - move)[:3, :3].T + (found.matrix - move)[:3, 3], axis=1)
    assert error.max() < 0.5  # of voxels of 4 mm


def test_without_simpleitk_the_message_says_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "SimpleITK", None)
    with pytest.raises(MissingLibraryError, match="pip install 'SimpleITK"):
        register(phantom("T1"), phantom("T2"))


# --- the command


@pytest.fixture
def bids(tmp_path) -> Path:
    """Two good pairs on one grid, and one pair for each reason to refuse."""
    root = tmp_path / "bids"

    def scan(subject: str, kind: str) -> Path:
        return root / subject / "anat" / f"{subject}_{kind}.nii.gz"

    for subject in ("sub-01", "sub-02"):
        save(phantom("T1"), scan(subject, "T1w"))
        save(phantom("T2").reoriented("PIR"), scan(subject, "T2w"))
    for subject in ("sub-cut", "sub-4d", "sub-moved", "sub-empty", "sub-lost"):
        save(phantom("T1"), scan(subject, "T1w"))
    scan("sub-cut", "T2w").write_bytes(scan("sub-01", "T2w").read_bytes()[:-500])
    nib.Nifti1Image(np.zeros((4, 4, 4, 2), np.int16), AFFINE).to_filename(scan("sub-4d", "T2w"))
    save(phantom("T2", matrix=rigid(0, (70, 40, 0))), scan("sub-moved", "T2w"))  # and the header does not tell
    save(Volume(np.zeros(SHAPE, np.float32), AFFINE, "MR", "au"), scan("sub-empty", "T2w"))
    return root


def test_the_command_keeps_good_pairs_and_says_why_it_refuses_others(bids, tmp_path, capsys):
    before, out = tree(bids), tmp_path / "pairs"
    assert main(["pairs", "--bids", str(bids), "--out", str(out), *ARGUMENTS]) == 0
    assert tree(bids) == before
    told, table = capsys.readouterr().out, rows(out)
    assert [key for key, row in table.items() if row["status"] == "kept"] == ["sub-01", "sub-02"]
    for key, words in (
        ("sub-cut", "cut short"),
        ("sub-4d", "is 4D"),
        ("sub-moved", "do not lie on each other"),
        ("sub-empty", "every voxel is 0"),
        ("sub-lost", "no T2w in this session"),
    ):
        assert words in table[key]["reason"] and f"  {key}: " in told
        assert not (out / f"{key}.npz").exists()
    assert told.endswith((out / "report.txt").read_text()) and "2 pairs kept, 5 refused" in told
    row = table["sub-01"]
    assert (row["split"], row["grid"], row["source"]) == (hash_split("sub-01"), "same", "sub-01/anat/sub-01_T1w.nii.gz")
    pair = read_pair(out / "sub-01.npz")
    direct = cut(phantom("T1"), phantom("T2"), side=64, spacing_mm=3.0, foreground=0.3)
    np.testing.assert_array_equal(pair.source, direct.source)
    np.testing.assert_array_equal(pair.target, direct.target)
    np.testing.assert_allclose(pair.affine, direct.affine, atol=1e-5)
    with (out / "slices.csv").open(newline="") as file:
        listed = list(csv.DictReader(file))
    assert [int(s["slice"]) for s in listed if s["file"] == "sub-01.npz"] == pair.index.tolist()
    assert {s["split"] for s in listed if s["subject"] == "sub-02"} == {hash_split("sub-02")}


def test_a_stopped_run_goes_on_and_makes_only_what_is_missing(bids, tmp_path, monkeypatch):
    out = tmp_path / "pairs"
    command = ["pairs", "--bids", str(bids), "--out", str(out), *ARGUMENTS]
    made = []

    def stopping(source, target, **options):
        made.append(source)
        if len(made) == 2:
            raise KeyboardInterrupt
        return cut(source, target, **options)

    monkeypatch.setattr("medgen.pairs.cut", stopping)
    assert main(command) == 130
    assert (out / "sub-01.npz").exists() and not (out / "pairs.csv").exists()
    first = (out / "sub-01.npz").stat().st_mtime_ns
    monkeypatch.setattr("medgen.pairs.cut", cut)
    assert main(command) == 0
    assert (out / "sub-01.npz").stat().st_mtime_ns == first and len(rows(out)) == 7
    # a scan that was replaced is made again, a refused one tried again
    os.utime(bids / "sub-01" / "anat" / "sub-01_T1w.nii.gz")
    save(phantom("T2"), bids / "sub-empty" / "anat" / "sub-empty_T2w.nii.gz")
    second = (out / "sub-02.npz").stat().st_mtime_ns
    assert main(command) == 0
    assert rows(out)["sub-empty"]["status"] == "kept"
    assert (out / "sub-01.npz").stat().st_mtime_ns > first and (out / "sub-02.npz").stat().st_mtime_ns == second


def test_other_grids_are_registered_or_refused(tmp_path, capsys):
    pytest.importorskip("SimpleITK")
    root = tmp_path / "ixi"
    move = rigid(5, (4, 3, -2))
    grid = np.diag([-3.0, 3.5, 3.0, 1.0])
    grid[:3, 3] = (85, -100, -75)
    save(phantom("T1"), root / "IXI002-Guys-0828-T1.nii.gz")
    save(phantom("T2", grid, (58, 57, 52), move), root / "IXI002-Guys-0828-T2.nii.gz")
    for options, status, words in ((["--no-register"], 1, "different grids"), ([], 0, "1 registered rigidly")):
        out = tmp_path / f"out{status}"
        assert main(["pairs", "--ixi", str(root), "--out", str(out), *ARGUMENTS, *options]) == status
        assert words in capsys.readouterr().out
    row = rows(tmp_path / "out0")["IXI002-Guys-0828"]
    assert row["grid"].startswith("registered: ") and float(row["overlap"]) > 0.95
    assert float(row["rotation_degrees"]) == pytest.approx(5.6, abs=1.0)
    pair = read_pair(tmp_path / "out0" / "IXI002-Guys-0828.npz")
    brain = np.abs(pair.target - 550) < 60
    assert brain[pair.source == 600].mean() > 0.9


def test_without_simpleitk_the_command_stops_and_can_go_on(tmp_path, monkeypatch, capsys):
    save(phantom("T1"), tmp_path / "ixi" / "IXI002-Guys-0828-T1.nii.gz")
    save(phantom("T2", AFFINE @ np.diag([1, 1, 1.1, 1])), tmp_path / "ixi" / "IXI002-Guys-0828-T2.nii.gz")
    monkeypatch.setitem(sys.modules, "SimpleITK", None)
    assert main(["pairs", "--ixi", str(tmp_path / "ixi"), "--out", str(tmp_path / "out"), *ARGUMENTS]) == 2
    assert "pip install" in capsys.readouterr().err and not (tmp_path / "out" / "pairs.csv").exists()


def test_masks_are_taken_from_a_folder(bids, tmp_path):
    inner = Volume((phantom("T1").array == 600).astype(np.float32), AFFINE, "MR", "au")
    save(inner, tmp_path / "masks" / "sub-01_brain.nii.gz")
    out = tmp_path / "out"
    masks = ["--masks", str(tmp_path / "masks")]
    assert main(["pairs", "--bids", str(bids), "--out", str(out), *masks, *ARGUMENTS]) == 0
    assert set(np.unique(read_pair(out / "sub-01.npz").source)) == {0, 600}
    assert "0 masks in masks begin with sub-02" in rows(out)["sub-02"]["reason"]
    assert json.loads((out / "settings.json").read_text())["brain"] == "masks"


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("other files", "holds other files"),
        ("other settings", "other settings"),
        ("inside", "lies in the folder that is read"),
        ("same", "lies in the folder that is read"),
        ("side", "16 to 1024"),
        ("one kind", "two kinds"),
        ("no masks", "no folder"),
    ],
)
def test_a_command_that_would_mix_things_up_is_refused(bids, tmp_path, capsys, case, words):
    out, more = tmp_path / "out", []
    if case == "other files":
        touch(out, "mine.txt")
    elif case == "other settings":
        out.mkdir()
        (out / "settings.json").write_text('{"side": 1}')
    elif case in ("inside", "same"):
        out = bids / "out" if case == "inside" else bids
    elif case == "side":
        more = ["--side", "4"]
    elif case == "one kind":
        more = ["--target", "T1w"]
    else:
        more = ["--masks", str(tmp_path / "none")]
    before = tree(tmp_path)
    assert main(["pairs", "--bids", str(bids), "--out", str(out), *ARGUMENTS, *more]) == 2
    assert words in capsys.readouterr().err and tree(tmp_path) == before


def test_a_damaged_pair_is_refused_and_never_unpickled(tmp_path):
    for name, content in (("a", b""), ("b", b"PK\x03\x04junk"), ("c", b"\x80\x04N.")):
        (tmp_path / f"{name}.npz").write_bytes(content)
        with pytest.raises(MedgenError, match="cannot be read as a pair"):
            read_pair(tmp_path / f"{name}.npz")
    buffer = io.BytesIO()
    np.savez(buffer, source=np.array([{}], dtype=object), source_scale=np.ones(2))
    (tmp_path / "d.npz").write_bytes(buffer.getvalue())
    with pytest.raises(MedgenError, match="allow_pickle"):
        read_pair(tmp_path / "d.npz")


def test_real_heads_and_their_brain_labels_go_through_the_command(tmp_path):
    """T1 of IXI on its own labels as the target, which lie on the same grid: the brain must be where the mask is."""
    name = "IXI132-HH-1415"
    t1 = on_this_disk("ixi_t1_2mm", "IXI-T1", f"{name}-T1.nii.gz")
    labels = on_this_disk("ixi_t1_2mm", "brain_labels", f"{name}-DLMUSE.nii.gz")
    (tmp_path / "ixi").mkdir()
    (tmp_path / "ixi" / f"{name}-T1.nii.gz").write_bytes(t1.read_bytes())
    (tmp_path / "ixi" / f"{name}-T2.nii.gz").write_bytes(labels.read_bytes())
    masks = ["--masks", str(labels.parent), "--spacing-mm", "2", "--side", "96"]
    assert main(["pairs", "--ixi", str(tmp_path / "ixi"), "--out", str(tmp_path / "out"), *masks]) == 0
    pair = read_pair(tmp_path / "out" / f"{name}.npz")
    left, right = (np.argwhere(pair.target == code)[:, 2].mean() for code in (48, 47))
    assert left > right + 15  # the left hippocampus is on the right of the picture
    assert (pair.source[pair.target == 0] == 0).all() and (pair.source > 0).mean() > 0.2
