"""`python -m eval.collapse`: what varied, narrow and collapsed sets of pictures are called, and by whom."""

import inspect
import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from eval import collapse, collapse_file, collapse_limits, collapse_measures
from eval.features import EXTRACTORS
from eval.protocols import PROTOCOLS
from medgen import ImageSet, MedgenError
from medgen.cache import read_arrays

SIDE, N, TRAIN = 32, 40, 400


def pictures(count, seed, smooth=3.0):
    """Smooth random fields: no two are alike."""
    noise = np.random.default_rng(seed).normal(size=(count, 1, SIDE, SIDE))
    field = gaussian_filter(noise, (0, 0, smooth, smooth))
    pixels = np.clip(field / field.std() * 50 + 128, 0, 255).astype(np.float32)
    return ImageSet(pixels, "CR", "au", (0.0, 255.0))


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """A detector that has learned from 400 made-up real pictures, two of each patient."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDGEN_CACHE", str(tmp_path_factory.mktemp("cache")))
        train = replace(
            pictures(TRAIN, 0), labels=("normal",) * TRAIN, subjects=tuple(str(i // 2) for i in range(TRAIN))
        )
        limits, facts = collapse_limits.limits(train, EXTRACTORS["pixels-32"](), N)
        yield collapse.Detector(PROTOCOLS["cxr-128"], train, N, (limits,), {"pixels-32": facts})


def repeated(images, kept, seed=1):
    """N pictures that show only `kept` different ones, each a little changed."""
    random = np.random.default_rng(seed)
    return collapse_limits.jittered(images.take(random.integers(0, kept, N)), random)


def test_other_pictures_of_the_same_kind_are_varied(here):
    assert here.point(pictures(N, 5), None)["verdict"] == "varied"


@pytest.mark.parametrize("kept", [1, 2])
def test_one_or_two_pictures_again_and_again_are_collapsed(here, kept):
    point = here.point(repeated(pictures(N, 6), kept), 1000)
    assert point["verdict"] == "collapsed" and point["images"] == 1000
    assert point["spaces"]["pixels-32"]["modes"]["value"] < 5


def test_half_of_the_modes_is_not_collapsed_and_the_controls_say_the_same(here):
    assert here.point(repeated(pictures(N, 7), N // 2), None)["verdict"] != "collapsed"
    controls = {(one["control"], one["kind"]): one["verdict"] for one in here.facts["pixels-32"]["controls"]}
    assert controls["twentieth", "few"] == "collapsed" and controls["half", "few"] != "collapsed"
    assert controls["half", "near"] != "collapsed"


def test_the_number_of_modes_is_found_by_the_birthday_paradox():
    centres = np.random.default_rng(0).normal(size=(7, 20)) * 100
    places = np.random.default_rng(1).integers(0, 7, 600)
    on = collapse_measures.Scale(radius=1.0, middle=100.0, real=centres)
    distance = collapse_measures.pairwise(centres[places] + np.random.default_rng(2).normal(size=(600, 20)) * 0.01)
    assert collapse_measures.modes(distance, on) == pytest.approx(7, rel=0.05)
    assert collapse_measures.vendi(distance, on) == pytest.approx(7, rel=0.05)


def test_vendi_is_one_for_equal_images_and_n_for_far_ones():
    on = collapse_measures.Scale(radius=1.0, middle=1.0, real=np.zeros((9, 2)))
    assert collapse_measures.vendi(np.zeros((30, 30)), on) == pytest.approx(1.0)
    assert collapse_measures.vendi(1e3 * (1 - np.eye(30)), on) == pytest.approx(30.0)


def test_intervals_hold_the_value_and_shrink_with_n(here):
    on = here.limits[0].on
    features = np.random.default_rng(0).normal(size=(240, 1024)) * on.middle / 45
    few, many = (collapse_measures.entries(features[:n], on)["vendi"] for n in (30, 240))
    for one in (few, many):
        assert one["low"] <= one["value"] <= one["high"]
    assert many["high"] / many["low"] < few["high"] / few["low"]


def test_all_spaces_have_to_agree_on_a_collapse():
    assert collapse_limits.together(["collapsed", "collapsed"]) == "collapsed"
    assert collapse_limits.together(["collapsed", "varied"]) == "narrow"
    assert collapse_limits.together(["varied"]) == "varied"


def snapshots(folder, sets, data=("kermany_cxr_128",)):
    (folder / "snapshots").mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"data": list(data)}))
    for seen, images in sets.items():
        np.savez(folder / "snapshots" / f"{seen:09d}.npz", images=images.uint8())
    return folder


def test_a_run_is_judged_snapshot_by_snapshot_and_kept_beside_others(here, tmp_path):
    run = snapshots(tmp_path / "falling", {1000: pictures(N, 8), 3000: repeated(pictures(N, 8), 1)})
    subject = collapse.of_run(here, run, "positive control", "python -m train.gan ...")
    assert [(point["images"], point["verdict"]) for point in subject["points"]] == [
        (1000, "varied"), (3000, "collapsed"),
    ]  # fmt: skip
    other = {**subject, "name": "another"}
    path = tmp_path / "collapse.json"
    path.write_text(json.dumps(collapse.results(here, [other], collapse.results(here, [subject], None))))
    values = collapse_file.read(path)
    assert [one["name"] for one in values["subjects"]] == ["another", "falling"]
    table = collapse_file.frame(values)
    row = table[(table["name"] == "falling") & (table["images"] == 3000)].iloc[0]
    assert row["role"] == "positive control" and row["vendi_high"] < row["vendi_collapsed_below"]
    assert set(table.loc[table["kind"] == "real", "space_verdict"]) <= set(collapse_limits.VERDICTS)
    again = collapse.results(here, [subject], values)
    assert len(again["subjects"]) == 2, "measured again, it replaces itself"
    with pytest.raises(MedgenError, match="other images, --n or --extractors"):
        collapse.results(replace(here, n=N - 1), [subject], values)


def test_bad_runs_say_what_to_do(here, tmp_path):
    with pytest.raises(MedgenError, match=r"train.gan --snapshots 40"):
        collapse.of_run(here, snapshots(tmp_path / "none", {}), None, None)
    with pytest.raises(MedgenError, match="not kermany"):
        collapse.of_run(here, snapshots(tmp_path / "other", {1: pictures(N, 1)}, ("nih_cxr_128",)), None, None)
    with pytest.raises(MedgenError, match="lower --n"):
        collapse.of_run(here, snapshots(tmp_path / "few", {1: pictures(9, 1)}), None, None)
    broken = snapshots(tmp_path / "broken", {1: pictures(N, 1)})
    next((broken / "snapshots").glob("*.npz")).write_bytes(b"no zip")
    with pytest.raises(MedgenError, match="damaged"):
        collapse.of_run(here, broken, None, None)
    with pytest.raises(MedgenError, match="cannot be read"):
        collapse.of_run(here, tmp_path / "nowhere", None, None)
    with pytest.raises(MedgenError, match="protocol of its data"):
        here.point(ImageSet(np.zeros((N, 1, 8, 8), np.float32), "CR", "au", (0.0, 255.0)), None)


def test_too_few_or_equal_real_images_set_no_limits(here):
    with pytest.raises(MedgenError, match="lower --n"):
        collapse_limits.limits(pictures(50, 0), EXTRACTORS["pixels-32"](), 40)
    with pytest.raises(MedgenError, match="different real images"):
        collapse_measures.scale(np.zeros((20, 4)), np.arange(20))
    with pytest.raises(MedgenError, match="NaN"):
        collapse_measures.entries(np.full((20, 4), np.nan), here.limits[0].on)


def test_a_truncated_file_is_refused(tmp_path):
    path = tmp_path / "collapse.json"
    path.write_text('{"protocol": "cxr-128"')
    with pytest.raises(MedgenError, match="cannot be read"):
        collapse_file.read(path)
    path.write_text('{"protocol": "cxr-128"}')
    with pytest.raises(MedgenError, match="missing or of the wrong type"):
        collapse_file.read(path)


def test_training_keeps_snapshots_of_fixed_seeds_whenever_it_draws_a_grid(tmp_path):
    import torch

    from train import gan
    from train.snapshots import keeping

    run = SimpleNamespace(folder=tmp_path, seen=4000)
    asked = []

    def made(count, seed):
        asked.append((count, seed))
        return torch.linspace(-1.2, 1.2, count).view(-1, 1, 1, 1).expand(-1, 1, 8, 8)

    grid = keeping(run, lambda: "grid", made, 12)
    assert grid() == "grid"
    run.seen = 8000
    assert grid() == "grid" and asked == [(12, 2), (12, 2)]
    files = sorted((tmp_path / "snapshots").glob("*.npz"))
    assert [file.name for file in files] == ["000004000.npz", "000008000.npz"]
    kept = read_arrays(files[0], {"images": "uint8"})["images"]
    assert kept.shape == (12, 1, 8, 8) and kept.min() == 0 and kept.max() == 255
    assert keeping(run, made, made, 0) is made
    assert gan.GanConfig().snapshots == 0 and "keeping(run, sample" in inspect.getsource(gan.train)
