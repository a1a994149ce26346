"""What a viewer is sent: every voxel at its place and value, letters, windows, blocks of what is too large."""

from __future__ import annotations

import json
import tracemalloc

import numpy as np
import pytest
import volumes

from medgen import MedgenError, view_volume
from medgen.view_volume import block_means, film, levels, view
from medgen.volume import PLANES, Volume


def values(sent: dict) -> np.ndarray:
    """`(frames, X, Y, Z)` in the unit of the volume."""
    return sent["offset"] + sent["step"] * levels(sent)


@pytest.mark.parametrize("axes", ["RAS", "LPS", "PSR", "IAL"])
def test_every_voxel_keeps_its_place_and_its_value(axes: str) -> None:
    volume = volumes.volume(modality="CT").reoriented(axes)
    sent = json.loads(json.dumps(view(volume, title="CT")))
    found = values(sent)[0]
    assert sent["bytes"] == 2 and sent["digits"] == 0 and sent["blocks"] == [1, 1, 1]
    affine, back = np.array(sent["affine"]), np.array(sent["to_file"])
    assert (np.diag(affine)[:3] > 0).all(), "to the right, the front and the head"
    for ijk in np.ndindex(found.shape):
        place = affine[:3, :3] @ ijk + affine[:3, 3]
        voxel = np.rint(volume.voxel(place)).astype(int)
        np.testing.assert_allclose(back[:3, :3] @ ijk + back[:3, 3], voxel, atol=1e-6)
        assert found[ijk] == volume.array[tuple(voxel)], "whole numbers are exact"


def test_the_planes_of_the_grid_are_those_of_section() -> None:
    volume = volumes.volume()
    sent = view(volume, title="MR")
    x = values(sent)[0]
    planes = {"axial": x[::-1, ::-1, 3].T, "coronal": x[::-1, 2, ::-1].T, "sagittal": x[4, ::-1, ::-1].T}
    for plane, index in (("axial", 3), ("coronal", 2), ("sagittal", 4)):
        section = volume.section(plane, index)
        np.testing.assert_array_equal(planes[plane], section.pixels)
        assert tuple(sent["edges"][plane]) == section.edges


def test_fractions_are_within_half_a_level_and_whole_bytes_take_one(monkeypatch: pytest.MonkeyPatch) -> None:
    array = np.random.default_rng(0).normal(0.0, 1.0, (6, 7, 8)).astype(np.float32)
    sent = view(Volume(array, np.eye(4), "MR", "au"), title="fractions")
    assert np.abs(values(sent)[0] - array).max() <= sent["step"] * 0.51
    assert sent["digits"] == 3 and sent["levels"] == 65536
    monkeypatch.setattr(view_volume, "MANY_VOXELS", 100)
    sent = view(Volume(array * 100, np.eye(4), "MR", "au"), title="many")
    assert np.abs(values(sent)[0] - array * 100).max() <= sent["step"] * 0.51
    assert sent["digits"] == 0 and sent["levels"] == 4096
    whole = Volume(np.rint(array * 20), np.eye(4), "MR", "au")
    sent = view(whole, title="whole")
    assert sent["bytes"] == 1
    np.testing.assert_array_equal(values(sent)[0], whole.array)
    flat = view(Volume(np.full((1, 4, 5), 7.5, np.float32), np.eye(4), "MR", "au"), title="one value, one slice")
    assert (values(flat) == 7.5).all() and flat["window"][0] < 7.5 < flat["window"][1]


def test_nobody_knows_left_from_right_without_an_orientation() -> None:
    unknown = Volume(np.zeros((4, 6, 8), np.float32), np.diag([1.0, 2.0, 3.0, 1.0]), "MR", "au", oriented=False)
    sent = view(unknown, title="PNG")
    assert sent["edges"] == {plane: ["?"] * 4 for plane in PLANES} and not sent["oriented"]
    middle = np.array(sent["affine"]) @ [1.5, 2.5, 3.5, 1.0]
    np.testing.assert_allclose(middle[:3], 0.0)
    assert "nobody knows left from right" in sent["said"]


def test_windows_and_presets() -> None:
    ct = view(volumes.volume(modality="CT"), title="CT")
    presets = {one["name"]: (one["low"], one["high"]) for one in ct["presets"]}
    assert presets["brain 80/40"] == (0, 80) and presets["bone 2000/500"] == (-500, 1500)
    assert presets["lung 1500/-600"] == (-1350, 150) and ct["window"] == [0, 80]
    volume = volumes.volume()
    mr = view(volume, title="MR")
    assert mr["presets"][0] == {"name": "1 to 99 %", "low": mr["window"][0], "high": mr["window"][1]}
    np.testing.assert_allclose(mr["window"], np.percentile(volume.array, (1, 99)), rtol=1e-5)
    stored = Volume(volume.array, volume.affine, "MR", "au", window=(10.0, 200.0))
    assert view(stored, title="MR")["presets"][0] == {"name": "as stored", "low": 10.0, "high": 200.0}
    assert view(stored, title="MR", window=(1, 2))["window"] == [1.0, 2.0]
    own = view(stored, title="MR", presets={"narrow": (5.0, 6.0)})
    assert [one["name"] for one in own["presets"]] == ["narrow"] and own["window"] == [10.0, 200.0]
    for wrong in ({"window": (3.0, 3.0)}, {"presets": {"upside down": (9.0, 1.0)}}, {"window": (float("nan"), 1.0)}):
        with pytest.raises(MedgenError, match=r"empty: give \(low, high\)"):
            view(volume, title="MR", **wrong)


def test_what_a_model_made_is_marked() -> None:
    real = volumes.volume()
    made = Volume(real.array, real.affine, "MR", "au", synthetic=True)
    assert view(made, title="made")["mark"] == "SYNTHETIC" and view(real, title="real")["mark"] == ""
    assert view(real, title="real", mark="REAL")["mark"] == "REAL"
    assert film([real, made], title="both")["mark"] == "SYNTHETIC"


def test_large_volumes_become_means_over_blocks_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(view_volume, "MAX_BYTES", 2 * 6 * 5 * 10)
    affine = np.diag([-0.5, 0.5, 1.0, 1.0])
    affine[:3, 3] = (20.0, -10.0, 5.0)
    volume = Volume(np.random.default_rng(0).normal(0, 9, (17, 14, 10)).astype(np.float32), affine, "MR", "au")
    sent = view(volume, title="large")
    assert sent["blocks"] == [3, 3, 1] and sent["shape"] == [6, 5, 10], "the finest axes first"
    assert sent["view_spacing_mm"] == [1.5, 1.5, 1.0] and sent["spacing_mm"] == [0.5, 0.5, 1.0]
    assert sent["said"].endswith("shown as means over 1.5 x 1.5 x 1 mm")
    array, found = volume.canonical().array, values(sent)[0]
    for i, j, k in ((0, 0, 0), (2, 3, 4), (5, 4, 9)):
        block = array[3 * i : 3 * i + 3, 3 * j : 3 * j + 3, k]
        assert abs(found[i, j, k] - block.mean()) <= sent["step"]
    # the middle of a block is where its middle voxel is
    np.testing.assert_allclose(
        np.array(sent["affine"])[:3] @ [2, 3, 4, 1], volume.canonical().world(np.array([7, 10, 4]))
    )
    np.testing.assert_array_equal(np.array(sent["to_file"]) @ [2, 3, 4, 1], [9, 10, 4, 1])


@pytest.mark.parametrize("order", ["C", "F"])
def test_the_memory_of_a_view_is_bounded(monkeypatch: pytest.MonkeyPatch, order: str) -> None:
    monkeypatch.setattr(view_volume, "MAX_BYTES", 500_000)
    array = np.zeros((256, 256, 120), np.float32, order=order)  # 31 MB
    array[100:, 50:, 20:] = 700.5
    volume = Volume(array, np.diag([-0.5, -0.5, 1.0, 1.0]), "CT", "HU")
    tracemalloc.start()
    sent = view(volume, title="CT")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < array.nbytes / 3 and np.prod(sent["shape"]) * 2 <= 500_000
    assert levels(sent).shape[1:] == tuple(sent["shape"])


def test_whole_bytes_may_be_twice_as_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(view_volume, "MAX_BYTES", 1500)
    whole = Volume(np.arange(1000, dtype=np.float32).reshape(10, 10, 10) % 256, np.eye(4), "MR", "au")
    assert view(whole, title="bytes")["blocks"] == [1, 1, 1]
    assert view(Volume(whole.array + 0.5, np.eye(4), "MR", "au"), title="not")["blocks"] != [1, 1, 1]


def test_block_means_of_ragged_ends() -> None:
    array = np.arange(5 * 4 * 3, dtype=np.float32).reshape(5, 4, 3)
    found = block_means(array, (2, 3, 2))
    assert found.shape == (3, 2, 2) and found.dtype == np.float32
    np.testing.assert_allclose(found[2, 1, 1], array[4, 3, 2])
    np.testing.assert_allclose(found[0, 0, 0], array[:2, :3, :2].mean())
    np.testing.assert_allclose(block_means(np.asfortranarray(array), (2, 3, 2)), found)
    assert block_means(array, (1, 1, 1)) is array


def test_a_film_has_frames_of_one_grid() -> None:
    frames = [Volume(np.full((3, 4, 5), 10.0 * i, np.float32), np.eye(4), "MR", "au") for i in range(3)]
    sent = film(frames, title="walk", names=["a", "b", "c"])
    assert sent["frames"] == ["a", "b", "c"]
    np.testing.assert_array_equal(values(sent)[:, 1, 2, 3], [0, 10, 20])
    assert film(frames, title="walk")["frames"] == ["1", "2", "3"]
    with pytest.raises(MedgenError, match="share one grid"):
        film([frames[0], volumes.volume()], title="walk")
    for given, names in (([], []), (frames, ["a"])):
        with pytest.raises(MedgenError, match="a name for each"):
            film(given, title="walk", names=names)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_has_diverged_is_not_drawn(value: float) -> None:
    array = np.zeros((4, 4, 4), np.float32)
    array[1, 2, 3] = value
    with pytest.raises(MedgenError, match="NaN or infinite"):
        view(Volume(array, np.eye(4), "MR", "au"), title="diverged")
