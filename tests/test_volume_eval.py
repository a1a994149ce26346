"""Volumes measured: every metric against an answer that is known, and from the command line to the board."""

import ast
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import volume_eval_fakes as fakes
from skimage.metrics import structural_similarity

from demos import board as tab
from demos import board_volumes
from eval import board, protocols, run, summary, volumes
from eval.features import EXTRACTORS
from eval.volumes import autoencoder, control, distances, measures, memorisation, plausibility, similarity, structures
from eval.volumes import file as volumes_file
from eval.volumes.plan import PLANS
from medgen import MedgenError, registry, volume_sets

QUICK = ("--protocol", "hippo-48", "--extractor", "pixels-32", "--n", "8", "--repeats", "20")
FILE = "volumes-test-pixels-32-8.json"
MODELS = {
    "vae-hippo-48": fakes.card("vae-hippo-48"),
    "ldm-hippo-48": fakes.card("ldm-hippo-48", "deaf", trained={"autoencoder": {"name": "vae-hippo-48"}}),
    "gan-hippo-48": fakes.card("gan-hippo-48", "collapsed"),
    "gan-copies-48": fakes.card("gan-copies-48", "copies"),
    "gan-pieces-48": fakes.card("gan-pieces-48", "pieces"),
}
BALL = np.linalg.norm(np.indices((40, 40, 40)) - 19.5, axis=0) < 12


def at_home(patch, house, cache):
    patch.setitem(registry.FAMILIES, "volume", "volume_eval_fakes")
    patch.setenv("MEDGEN_CHECKPOINTS", str(house))
    patch.setenv("MEDGEN_CACHE", str(cache))
    patch.setattr(volume_sets, "volumes", fakes.volumes)
    patch.setattr(volume_sets, "structures", fakes.structures)
    patch.setattr("eval.volumes.setting.segmenter_for", lambda data: "judge")
    patch.setattr("eval.volumes.setting.load_segmenter", lambda name: fakes.Judge())


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """A checkpoints folder whose models have been measured by the command line."""
    folder = tmp_path_factory.mktemp("checkpoints")
    for one in MODELS.values():
        one.save(folder / one.name)
    with pytest.MonkeyPatch.context() as patch:
        at_home(patch, folder, tmp_path_factory.mktemp("cache"))
        assert run.main([*MODELS, *QUICK]) == 0
    return folder


@pytest.fixture
def house(measured, tmp_path, monkeypatch):
    """A copy of it that a test may break."""
    folder = tmp_path / "checkpoints"
    for path in measured.glob("*/*.json"):
        (folder / path.parent.name).mkdir(parents=True, exist_ok=True)
        (folder / path.parent.name / path.name).write_text(path.read_text())
    at_home(monkeypatch, folder, tmp_path / "cache")
    return folder


def report(house, name):
    return volumes_file.read(house / name / FILE)


def change(path, **changed):
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))


# --- the metrics ---------------------------------------------------------------------------------------------------


def test_similarity_is_that_of_scikit_image_and_one_for_copies(monkeypatch):
    some = fakes.volumes("", "test").take([0, 1]).unit_range()
    assert similarity.ssim(real=some, fake=some).tolist() == [1.0, 1.0]
    assert similarity.psnr(real=some, fake=some + 0.1) == pytest.approx([20.0, 20.0], abs=1e-3)
    monkeypatch.setattr(similarity, "RADIUS", 5)  # the window that scikit-image has
    own = similarity.ssim(real=some[:1], fake=some[1:])[0]
    theirs = structural_similarity(
        some[0, 0], some[1, 0], gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1.0
    )
    assert own == pytest.approx(theirs, abs=1e-4)


def test_a_collapsed_set_is_as_alike_as_can_be_and_noise_is_not():
    some = fakes.volumes("", "test").unit_range()
    varied = similarity.similarities(some)
    assert np.allclose(varied, varied.T) and np.allclose(np.diag(varied), 1)
    entry = similarity.mean_of_pairs(varied)
    off = varied[~np.eye(len(varied), dtype=bool)]
    assert entry["value"] == pytest.approx(off.mean()) and entry["low"] < entry["value"] < entry["high"] < 1
    assert (entry["n"], entry["pairs"]) == (8, 28)
    collapsed = similarity.mean_of_pairs(similarity.similarities(np.repeat(some[:1], 5, axis=0)))
    assert collapsed["value"] == collapsed["low"] == collapsed["high"] == pytest.approx(1)
    noise = np.random.default_rng(0).random((3, 1, 32, 32, 32))
    assert similarity.mean_of_pairs(similarity.similarities(noise))["value"] < 0.1
    assert similarity.mean_of_pairs(np.eye(1))["value"] is None


def test_planes_are_the_middle_ones_and_distances_know_a_set_from_itself():
    some = fakes.volumes("", "test")
    sagittal, coronal, axial = distances.mid_planes(some)
    x, y, z = fakes.SHAPE
    assert sagittal.pixels.shape == (8, 1, z, y) and coronal.pixels.shape == (8, 1, z, x)
    assert np.array_equal(axial.pixels[0, 0], some.pixels[0, 0, :, :, z // 2].T[::-1])
    # the head on top: the first row is the highest slice
    assert np.array_equal(coronal.pixels[0, 0, 0], some.pixels[0, 0, :, y // 2, -1])
    extractor = replace(EXTRACTORS["pixels-32"](), metrics=("fid", "kid"))
    real, floor = (distances.plane_features(one, extractor) for one in (some, fakes.volumes("", "train")))
    asked = {"real": real, "extractor": extractor, "subjects": some.subjects, "repeats": 20}
    same, near = distances.compare(fake=real, **asked), distances.compare(fake=floor, **asked)
    far = distances.compare(fake=distances.plane_features(replace(some, pixels=255 - some.pixels), extractor), **asked)
    assert same["fid"]["value"] == pytest.approx(0, abs=1e-6)
    assert near["kid"]["value"] < far["kid"]["low"] and near["fid"]["value"] < far["fid"]["low"]
    assert far["kid"]["low"] < far["kid"]["value"] < far["kid"]["high"]
    none = distances.compare(**{**asked, "fake": real, "extractor": EXTRACTORS["pixels-32"]()})
    assert none["fid"]["value"] is None and "pixels-32" in none["fid"]["reason"]


def test_size_surface_and_thickness_of_a_ball_and_a_plate():
    assert measures.surface_mm2(BALL, (1, 1, 1)) == pytest.approx(4 * np.pi * 12**2, rel=0.02)
    assert measures.surface_mm2(BALL, (2, 2, 2)) == pytest.approx(4 * np.pi * 24**2, rel=0.02)
    plate = np.zeros((40, 40, 40), bool)
    plate[5:35, 5:35, 10:17] = True
    assert measures.thickness_mm(plate, (3, 3, 3)) == pytest.approx(7 * 3, rel=0.1)
    assert 18 < measures.thickness_mm(BALL, (1, 1, 1)) < 24
    assert np.isnan(measures.thickness_mm(np.zeros((8, 8, 8), bool), (1, 1, 1)))
    assert np.isnan(measures.surface_mm2(np.zeros((8, 8, 8), bool), (1, 1, 1)))


def test_holes_pieces_and_the_edge_are_seen():
    hollow = BALL.copy()
    hollow[18:20, 18:20, 18:20] = False
    assert measures.holes(BALL) == 0 and measures.holes(hollow) == 8
    two = BALL.copy()
    two[0, 0, :3] = True
    assert np.array_equal(measures.one_piece(two), BALL)
    looks, classes = PLANS["hippo_48"], ("background", "anterior", "posterior")
    rows = measures.measured(
        fakes.images([two, hollow]), np.stack([two, hollow]).astype(np.uint8), looks, classes, (1.0,) * 3
    )
    assert rows["mm3 all"].tolist() == [two.sum(), hollow.sum()]
    assert rows["largest"][0] == pytest.approx(BALL.sum() / two.sum()) and rows["largest"][1] == 1
    assert rows["holes"][1] == pytest.approx(8 / hollow.sum()) and rows["border"][0] == pytest.approx(3 / two.sum())
    # there is no posterior part, so nobody knows whether the anterior one lies in front of it
    assert np.isnan(rows["ends"]).all()


def test_a_mirrored_brain_has_the_other_sign_and_the_same_symmetry():
    looks, classes = PLANS["ixi_brain_64"], volume_sets.VOLUMES["ixi_brain_64"].classes
    found = np.zeros((40, 40, 40), np.uint8)
    found[BALL] = 1
    found[22:, 10:30, 10:30] = 0  # less on the high side of the first axis: on the right, in RAS+
    found[15:20, 15:20, 4:8] = 5
    found[10:14, 18:22, 18:22] = 4
    volume = found * np.float32(40)
    some = replace(fakes.images([volume, volume[::-1]]), affine=np.diag([3.0, 3.0, 3.0, 1.0]))
    rows = measures.measured(some, np.stack([found, found[::-1]]), looks, classes, (3.0,) * 3)
    left = (found[:20] > 0).sum()
    right = (found[20:] > 0).sum()
    assert rows["asymmetry"][0] == pytest.approx(2 * (left - right) / (left + right)) and rows["asymmetry"][0] > 0.1
    assert rows["asymmetry"][1] == pytest.approx(-rows["asymmetry"][0])
    assert rows["mirror"][0] == pytest.approx(rows["mirror"][1]) and rows["mirror"][0] < 0.9
    assert rows["ends"][0] > 0 and rows["surface"][0] == pytest.approx(rows["surface"][1], rel=1e-3)
    # a grid whose first axis runs to the left
    turned = replace(some, affine=np.diag([-3.0, 3.0, 3.0, 1.0]))
    assert measures.measured(turned, np.stack([found] * 2), looks, classes, (3.0,) * 3)["asymmetry"][0] < -0.1
    even = measures.asymmetry(BALL), measures.mirror_correlation(BALL + np.indices(BALL.shape)[1] * 0.1, BALL)
    assert even == (0, pytest.approx(1))


def test_limits_leave_real_volumes_alone_and_catch_what_is_missing():
    known = {
        "size": measures.Measure("Size", "mm3", 0, True, "both"),
        "one": measures.Measure("One", "", 3, False, "low"),
    }
    allowed = plausibility.limits({"size": np.array([100.0, 200.0]), "one": np.array([1.0, 1.0])}, known)
    assert allowed["size"] == (75, 225) and allowed["one"][1] == np.inf
    values = {"size": np.array([100, 74, 230, np.nan]), "one": np.array([1, 1, 1, 0.9])}
    failed = plausibility.failures(values, allowed)
    assert failed["size"].tolist() == [False, True, True, True] and failed["one"].tolist() == [False] * 3 + [True]
    small = plausibility.limits({"size": np.array([10.0, 200.0]), "one": np.array([1.0])}, known)
    assert small["size"][0] == 5  # a structure may be small, but not gone


def test_copies_of_training_volumes_are_found_moved_or_mirrored():
    train, others = fakes.volumes("", "train"), fakes.volumes("", "test")
    own, other = train.unit_range(), others.unit_range()
    rows = lambda one: one.reshape(len(one), -1)[:, ::50]  # noqa: E731 - stands for features
    for mirror in (False, True):
        known = memorisation.known(train, rows(own), mirror, others, rows(other))
        made = [np.roll(own[[3, 5]], 2, axis=axis) for axis in (2, 3, 4)] + [own[[7, 9]][:, :, ::-1]]
        for moved, seen in zip(made, (True, True, True, mirror), strict=True):
            near = memorisation.nearest(moved, rows(moved), known.voxels, known.features, known.mirror)
            found = memorisation.judged(near, known, (0, 1))
            assert (found["voxels"]["near"]["value"] == 1) == seen
            assert (max(one["distance"] for one in found["samples"]) < 0.02) == seen
    exact = memorisation.nearest(own, rows(own), known.voxels, known.features, False)
    assert exact.voxel_of.tolist() == exact.feature_of.tolist() == list(range(len(own)))
    assert np.allclose(exact.voxels, 0, atol=1e-6) and np.allclose(exact.features, 0, atol=1e-6)
    found = memorisation.judged(exact, known, range(len(own)))
    assert [one["subject"] for one in found["samples"]] == list(train.subjects)
    assert all(one["percentile"] == 0 for one in found["samples"])


def test_control_knows_obedience_from_deafness():
    asked = np.linspace(1000, 3000, 5)
    random = np.random.default_rng(0)
    obeyed = control.agreement(asked, np.repeat(asked[:, None], 12, axis=1))
    assert [obeyed[name]["value"] for name in ("pearson", "spearman", "slope", "mae")] == pytest.approx([1, 1, 1, 0])
    half = control.agreement(asked, 2000 + 0.5 * (asked[:, None] - 2000) + random.normal(0, 50, (5, 12)))
    assert half["slope"]["low"] < 0.5 < half["slope"]["high"] and half["pearson"]["value"] > 0.95
    deaf = control.agreement(asked, 2000 + random.normal(0, 300, (5, 12)))
    assert deaf["pearson"]["low"] < 0 < deaf["pearson"]["high"] and abs(deaf["slope"]["value"]) < 0.15
    # every seed gives one size, whatever is asked: no noise, and still no obedience
    stubborn = control.agreement(asked, np.repeat(random.normal(2000, 300, (1, 12)), 5, axis=0))
    assert stubborn["slope"]["value"] == pytest.approx(0, abs=1e-9)
    constant = control.agreement(asked, np.full((5, 12), 2000.0))
    assert constant["pearson"]["value"] is None and constant["mae"]["value"] == 600


def test_distributions_are_compared_in_the_unit_of_the_measure():
    random = np.random.default_rng(0)
    real, fake = random.normal(1000, 100, 200), random.normal(1150, 100, 200)
    found = structures.distance(real=real, fake=fake, subjects=None, repeats=50)
    assert found["distance"]["low"] < 150 < found["distance"]["high"] and found["ks_p"] < 0.001
    same = structures.distance(real=real, fake=real, subjects=None, repeats=0)
    assert same["distance"]["value"] == 0 and same["ks_p"] == 1
    gone = structures.distance(real=real, fake=np.full(3, np.nan), subjects=None, repeats=0)
    assert gone["distance"]["value"] is None and gone["ks_p"] is None
    assert structures.spread(np.array([1.0, 3.0, np.nan])) == {"mean": 2, "sd": np.sqrt(2), "n": 2, "missing": 1}


# --- the command line ----------------------------------------------------------------------------------------------


def test_a_report_says_what_was_compared_with_what(house):
    found = report(house, "vae-hippo-48")
    assert (found["protocol"], found["data"], found["split"]) == ("hippo-48", "hippo_48", "test")
    assert (found["n"], found["n_real"], found["n_floor"], found["n_train"]) == (8, 8, 8, 16)
    assert found["weights"] == MODELS["vae-hippo-48"].weights and found["segmenter"]["name"] == "judge"
    assert "three planes" in found["space"] and "3 scales" in found["diversity"]["definition"]
    assert found["metrics"]["fid"]["value"] is None and "pixels-32" in found["metrics"]["fid"]["reason"]
    assert found["seconds_per_volume"] > 0 and found["cpu_seconds_per_volume"] >= 0
    json.loads((house / "vae-hippo-48" / FILE).read_text(), parse_constant=pytest.fail)


def test_every_fault_shows_in_its_own_number(house):
    good, deaf, collapsed, copies, pieces = (report(house, name)["metrics"] for name in MODELS)
    assert good["implausible"]["value"] == good["implausible"]["floor"] == 0
    assert good["near"]["value"] <= 25
    # the copies: only the nearest training subject tells
    assert copies["near"]["value"] == 100 and copies["near"]["low"] > 50
    nearest = report(house, "gan-copies-48")["memorisation"]["samples"]
    assert [one["subject"] for one in nearest] == [f"s{i}" for i in range(8)]
    # the collapsed: only diversity tells
    assert collapsed["ms_ssim"]["value"] == pytest.approx(1) and good["ms_ssim"]["high"] < 0.99
    assert good["ms_ssim"]["low"] < good["ms_ssim"]["floor"] + 0.2
    # two pieces
    assert pieces["implausible"]["value"] == 100 and pieces["implausible"]["floor"] == 0
    checks = report(house, "gan-pieces-48")["plausibility"]["checks"]
    assert checks["largest"]["fails"] == 8 and checks["mm3 posterior"]["fails"] == 0
    # asked and heard, asked and not heard, not asked
    assert good["control_r"]["value"] > 0.99 and good["control_mae"]["value"] < 60
    assert good["control_r"]["floor"] == pytest.approx(1) and good["control_mae"]["floor"] == 0
    assert abs(deaf["control_r"]["value"]) < 1e-6 and deaf["control_mae"]["value"] > 300
    assert copies["control_r"]["value"] is None and "cannot be asked" in copies["control_r"]["reason"]
    assert copies["control_r"]["floor"] == pytest.approx(1)


def test_the_autoencoder_behind_a_model_is_measured_too(house):
    own, behind = (report(house, name)["autoencoder"] for name in ("vae-hippo-48", "ldm-hippo-48"))
    assert own["model"] == behind["model"] == "vae-hippo-48"
    assert own["psnr"]["value"] == pytest.approx(20 * np.log10(255 / 10), abs=0.01) and own["psnr"]["n"] == 8
    assert own["psnr"]["value"] > own["psnr_of_mean"] and own["ssim"]["value"] > own["ssim_of_mean"]
    assert "no autoencoder" in report(house, "gan-hippo-48")["autoencoder"]["reason"]


def test_a_network_goes_there_and_back_by_the_mean_of_its_latents():
    class Coder(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.gain = torch.nn.Parameter(torch.tensor(2.0))

        def encode(self, voxels):
            return self.gain * voxels

        def decode(self, latents):
            return latents / self.gain + 0.2

    some = fakes.volumes("", "test").take([0, 1])
    found = autoencoder.reconstructed(SimpleNamespace(network=SimpleNamespace(autoencoder=Coder())), some)
    assert np.allclose(found, np.clip(some.unit_range() + 0.1, 0, 1), atol=1e-6)


def test_only_the_whole_protocol_has_the_main_name(house, capsys):
    name = volumes_file.file_name
    assert name("test", "inception-v3-2048", True, 60) == "volumes.json"
    assert name("test", "inception-v3-2048", False, 60) == "volumes-test-inception-v3-2048-60.json"
    words = ["vae-hippo-48", "--protocol", "hippo-48", "--extractor", "pixels-32", "--limit", "4", "--split", "val"]
    assert run.main(words) == 0
    few = volumes_file.read(house / "vae-hippo-48" / "volumes-val-pixels-32-4.json")
    assert (few["n"], few["n_real"]) == (4, 4)
    assert "4 real volumes, 4 generated" in capsys.readouterr().out


def test_without_a_segmenter_the_rest_is_measured_and_says_so(house, monkeypatch):
    monkeypatch.setattr("eval.volumes.setting.segmenter_for", lambda data: None)
    assert run.main(["gan-hippo-48", *QUICK]) == 0
    found = report(house, "gan-hippo-48")
    assert "train.segmenter" in found["segmenter"]["reason"] and "train.segmenter" in found["structures"]["reason"]
    assert found["metrics"]["implausible"]["value"] is None and found["metrics"]["kid"]["value"] is not None
    groups = volumes.groups(volumes.volumes())
    assert len(groups) == 2  # what no segmenter has seen is no row beside what one has


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nothing", *QUICK], "There is no model 'nothing'"),
        (["vae-hippo-48", "--protocol", "brain-64"], "choose the protocol of its data"),
        (["vae-hippo-48", "--protocol", "cxr-128"], "makes volumes; choose its protocol from hippo-48"),
        (["noise", *QUICK], "noise makes no volumes"),
        (["nan", *QUICK], "diverged"),
    ],
)
def test_bad_questions_get_one_sentence_and_leave_nothing(house, capsys, words, message):
    replace(fakes.card("noise", "x"), family="noise").save(house / "noise")
    fakes.card("nan", "nan").save(house / "nan")
    assert run.main(words) == 2
    assert message in capsys.readouterr().err
    assert not [path for name in ("noise", "nan") for path in (house / name).glob("volumes*")]
    with pytest.raises(SystemExit):
        run.main(["vae-hippo-48", *QUICK, "--guidance", "2", "--out", "x.json"])


def test_every_protocol_is_of_known_volumes():
    assert {known.data for known in protocols.VOLUMETRIC.values()} == set(PLANS) <= set(volume_sets.VOLUMES)
    for name, looks in PLANS.items():
        classes = volume_sets.VOLUMES[name].classes
        assert set(looks.ends[:2]) <= set(classes) and looks.thick in ("", *classes)
    assert protocols.volumetric_of(MODELS["vae-hippo-48"]).name == "hippo-48"
    assert protocols.volumetric_of(replace(MODELS["vae-hippo-48"], family="noise")) is None


# --- the board -----------------------------------------------------------------------------------------------------


def test_the_board_has_real_volumes_on_top_and_sorts(house):
    found = volumes.volumes()
    (group,) = volumes.groups(found)
    shown = volumes.table(found, group, "near")
    assert shown["model"][0] == volumes.FLOOR and shown["near"][0] == 5 and shown["implausible"][0] == 0
    assert shown["model"].tolist()[-1] == "gan-copies-48" and set(shown["model"][1:]) == set(MODELS)
    # the set that is as varied as real ones first, not the one whose number is lowest
    assert volumes.table(found, group, "ms_ssim")["model"].tolist()[-1] == "gan-hippo-48"
    assert volumes.table(found, group, "control_r")["model"].tolist()[1] == "vae-hippo-48"
    assert set(volumes.table(found, group, search="LDM")["model"][1:]) == {"ldm-hippo-48"}
    with pytest.raises(MedgenError, match="no column 'beauty'"):
        volumes.table(found, group, "beauty")
    words = volumes.tables(found, group)
    assert set(words) == set(volumes.PARTS) and all(len(one) for one in words.values())
    assert "100.0 %" in words["memorisation"].set_index("Model").loc["gan-copies-48", "Near training"].iloc[0]
    assert board.rows().empty  # they wait in no table of pictures


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: text[: len(text) // 2], "cannot be read as JSON"),
        (lambda text: "[]", "one JSON object"),
        (lambda text: text.replace('"n_real": 8', '"n_real": "eight"'), "n_real is missing"),
        (lambda text: text.replace('"metrics"', '"numbers"', 1), "report.metrics is missing"),
        (lambda text: text.replace('"value": ', '"value": NaN, "x": ', 1), "NaN is not JSON"),
        (lambda text: text.replace("model.safetensors", "other.safetensors"), "made with other weights"),
    ],
)
def test_a_broken_or_stale_report_is_a_row_that_says_so(house, damage, message, capsys):
    path = house / "gan-hippo-48" / FILE
    path.write_text(damage(path.read_text()))
    found = volumes.volumes()
    row = found.frame[found.frame["model"] == "gan-hippo-48"].iloc[0]
    assert message in row["problem"] and np.isnan(row["n"])
    assert volumes.table(found, volumes.groups(found)[0])["model"].tolist()[-1] == "gan-hippo-48"
    assert message in " ".join(draw()) and board.main([]) == 1
    assert message in capsys.readouterr().err


def draw(sort_by="kid"):
    """The texts on the tab."""
    return [one for one in board_volumes.draw("test", None, sort_by, "") if isinstance(one, str)]


def test_the_tab_shows_the_group_and_every_table(house):
    drawn = " ".join(draw())
    for word in ("Real volumes", "gan-copies-48", "seed ", "Autoencoder", "Pearson", "held-out", "PSNR", "→"):
        assert word in drawn, word
    assert tab.draw("test", None, "fid", "")[5]["choices"] if board.groups(board.rows()) else True
    assert FILE in tab.files_of("vae-hippo-48")
    for path in house.glob("*/volumes*.json"):
        path.unlink()
    assert "No model of volumes has been measured yet" in " ".join(draw())
    for path in house.glob("*/card.json"):
        path.unlink()
    assert "There is no model of volumes yet" in " ".join(draw())


def test_exports_and_the_table_of_checkpoints(house):
    found = volumes.volumes()
    table = volumes.table(found, volumes.groups(found)[0])
    assert "gan-hippo-48,gan-hippo-48,gan,hippo-48" in volumes.export(table, "csv")
    records = {row["model"]: row for row in json.loads(volumes.export(table, "json"))}
    assert records["gan-hippo-48"]["fid"] is None and records["gan-hippo-48"]["near"] is not None
    assert volumes.export(table, "latex").count(r"\begin{tabular}") == 1
    fakes.card("gan-new-48").save(house / "gan-new-48")
    text = summary.summary()
    assert "## Volumes" in text and "| *Real volumes* |" in text
    line = next(line for line in text.splitlines() if line.startswith("| [gan-copies-48]"))
    assert "100.0 [" in line and "| 8 (8) |" in line and text.count("[gan-copies-48]") == 1
    assert "**gan-new-48**: not measured; run `python -m eval.run gan-new-48 --protocol hippo-48`" in text
    assert text.count("not measured") == 1


def test_the_sub_package_keeps_the_arrows_of_the_house():
    root = Path(__file__).parent.parent / "eval" / "volumes"
    for path in sorted(root.glob("*.py")):
        nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        names = {node.module for node in nodes if isinstance(node, ast.ImportFrom)}
        assert not {name.split(".")[0] for name in names} & {"train", "demos", "gradio", "torch"}, path.name
