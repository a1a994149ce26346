"""Inserted lesions and structures: translators that keep, lose, move and invent are told from each other."""

from dataclasses import replace

import hallucination_fakes as made_up
import numpy as np
import pytest
from hallucination_fakes import DATA, INSIDE, MM, SIZE, Fake
from scipy import ndimage

from eval import (
    lesion_plan,
    lesion_rendered,
    lesion_response,
    lesion_structures,
    lesion_summary,
    lesions,
    over_patients,
)
from eval.lesion_task import Task, spread_over_patients
from medgen import ImageSet, MedgenError, paired
from medgen.lesion import Lesion, inserted

SPACING = (MM, MM)


@pytest.fixture(scope="module")
def pairs():
    return made_up.pair_set()


@pytest.fixture(autouse=True)
def seen(monkeypatch, pairs):
    made_up.with_pairs(monkeypatch, pairs)


def measured(draw, n=54, **asked):
    """The summary and the rows of a translator."""
    task = Task(Fake(draw, asked.pop("method", "unet")), lesions=n, **asked)
    items = dict(lesions.measure(task, frozenset()))
    rows = [dict(zip(item, one, strict=True)) for item in items.values() for one in zip(*item.values(), strict=True)]
    return lesions.summary(lesions.settings(task), items), rows


def values(summary, *names):
    return [summary[name]["value"] for name in names]


def test_a_lesion_is_as_large_and_as_bright_as_it_says_and_touches_nothing_else():
    images = ImageSet(np.full((2, 1, 128, 96), 100.0, np.float32), "MR", "au", (0.0, 255.0))
    lesion = Lesion((120.0, 60.0), 10.0, 0.3, 0.7, 0.5)
    mask = lesion.mask((128, 96), (2.0, 1.0))
    assert mask.sum() * 2.0 == pytest.approx(np.pi * 10.0**2, rel=0.02), "the area of the circle, in mm2"
    rows, columns = np.nonzero(mask)
    assert ((rows + 0.5) * 2.0).mean() == pytest.approx(120.0, abs=0.2)
    assert (columns + 0.5).mean() == pytest.approx(60.0, abs=0.2)
    change = inserted(images, lesion, (2.0, 1.0)).pixels - images.pixels
    assert change[0, 0, 60, 59] == pytest.approx(30.0, abs=0.1) and (change[0] == change[1]).all()
    away = np.hypot((np.arange(128)[:, None] + 0.5) * 2.0 - 120.0, np.arange(96)[None] + 0.5 - 60.0)
    assert (change[:, 0, away > 18.0] == 0.0).all()
    axes = [np.ptp(rows) * 2.0, float(np.ptp(columns))]
    tall = Lesion((120.0, 60.0), 10.0, 0.3, 0.7, np.pi / 2).mask((128, 96), (2.0, 1.0))
    assert np.ptp(np.nonzero(tall)[0]) * 2.0 > axes[0], "the angle turns the longer axis away from the rows"


def test_a_lesion_stays_within_the_window_and_counts_from_its_dark_end():
    ct = ImageSet(np.full((1, 1, 64, 64), 40.0, np.float32), "CT", "HU", (-1024.0, 1976.0))
    lesion = Lesion((64.0, 64.0), 6.0, 0.1)
    assert inserted(ct, lesion, SPACING).pixels.max() == pytest.approx(40.0 + 0.1 * 1064.0, abs=0.5)
    bright = replace(ct, pixels=ct.pixels + 1900.0)
    assert inserted(bright, lesion, SPACING).pixels.max() == 1976.0
    for wrong in ({"radius_mm": 0.0}, {"contrast": 0.0}, {"ratio": 1.5}, {"contrast": -1.5}):
        with pytest.raises(MedgenError, match="A lesion needs a radius"):
            replace(lesion, **wrong)
    with pytest.raises(MedgenError, match="covers no pixel"):
        inserted(ct, replace(lesion, centre_mm=(500.0, 500.0)), SPACING)


def test_all_models_get_the_same_lesions_in_equal_shares_and_inside_the_brain(pairs):
    found = lesion_plan.plan(pairs, 72)
    assert found == lesion_plan.plan(pairs, 72) and found != lesion_plan.plan(pairs, 72, seed=1)
    people = [pairs.subjects[one.index] for one in found]
    assert {people.count(name) for name in made_up.names()} == {72 // made_up.PATIENTS}
    assert len({one.index for one in found}) > 50, "one lesion a slice, as long as there are slices"
    drawn = [one.lesion for one in found]
    for low, high in lesion_plan.RADII_MM:
        assert sum(low <= one.radius_mm < high for one in drawn) == 24
    for low, high in lesion_plan.CONTRASTS:
        assert sum(low <= abs(one.contrast) < high for one in drawn) == 24
    assert sum(one.contrast > 0 for one in drawn) == 36
    depth = ndimage.distance_transform_edt(INSIDE) * MM
    for one in found:
        assert int(pairs.facts[one.index]["slice"]) >= int(0.45 * made_up.SLICES), "no face, no neck"
        assert depth[one.lesion.mask((SIZE, SIZE), SPACING)].min() >= lesion_plan.SCALP_MM - 2 * MM
        for place in one.elsewhere:
            assert np.hypot(*np.subtract(place, one.lesion.centre_mm)) > lesion_plan.FAR_MM
    assert np.mean([len(one.elsewhere) for one in found]) > 3


def test_lesions_keep_away_from_what_is_not_ordinary_tissue(pairs):
    """A third of each slice is fluid in the source, or a tumour that shows on the target alone."""
    source, target = pairs.source.pixels.copy(), pairs.target.pixels.copy()
    source[::2, :, :, :50] *= 0.4
    target[1::2, :, :, :50] *= 1.8
    odd = replace(
        pairs, source=replace(pairs.source, pixels=source), target=replace(pairs.target, pixels=target.clip(0, 255))
    )
    for one in lesion_plan.plan(odd, 36):
        mask = one.lesion.mask((SIZE, SIZE), SPACING)
        assert mask[:, :50].sum() <= 0.1 * mask.sum()
    dark = replace(pairs.source, pixels=np.zeros_like(pairs.source.pixels))
    with pytest.raises(MedgenError, match="No slice has room"):
        lesion_plan.plan(replace(pairs, source=dark, target=dark), 2)


def test_where_there_is_no_room_for_a_brighter_lesion_it_is_a_darker_one(pairs):
    bright = replace(pairs.source, pixels=np.where(pairs.source.pixels > 0, pairs.source.pixels + 90, 0))
    found = lesion_plan.plan(replace(pairs, source=bright), 36)
    assert sum(one.lesion.contrast > 0 for one in found) < 18
    for one in found:
        after = inserted(bright.take([one.index]), one.lesion, SPACING).pixels
        assert after.max() < 255.0, "nothing is cut off"


def test_a_faithful_translator_keeps_all_lesions_and_invents_nothing():
    found, rows = measured(made_up.perfect)
    assert values(found, "kept", "moved", "lost", "invented") == [1.0, 0.0, 0.0, 0.0]
    assert found["kept"]["n"] == 54 and found["kept"]["n_subjects"] == made_up.PATIENTS
    assert found["kept"]["low"] > 0.5 and found["kept"]["high"] == 1.0, "all of six patients is not certainty"
    assert found["response"]["value"] == pytest.approx(1.0, abs=0.01) and found["outside"]["value"] == 0.0
    assert found["samples"] is None, "it gives the same for every seed"
    assert found["recovered"]["value"] is found["reversed"]["value"] is None, "the truth of real pairs is not known"
    assert [cell["kept"]["n"] for cell in found["cells"]] == [6] * 9
    assert {word: entry["n"] for word, entry in found["signs"].items()} == {"darker": 27, "brighter": 27}
    assert all(np.sign(row["signed"]) == -np.sign(row["contrast"]) for row in rows), "what is bright becomes dark"


@pytest.mark.parametrize("draw", [made_up.mean_picture, made_up.blurred])
def test_a_translator_that_gives_the_mean_or_blurs_loses_all(draw):
    found, _ = measured(draw)
    assert values(found, "kept", "moved", "lost", "invented") == [0.0, 0.0, 1.0, 0.0]
    assert found["response"]["value"] < 0.05


def test_a_floor_keeps_a_trace_from_counting_and_is_shown_beside_others():
    """A hundredth of every lesion, and nothing else anywhere: significant, but nobody would see it."""

    def hundredth(source, seed):
        return made_up.inverse(110 + 0.01 * (source - 110))

    found, _ = measured(hundredth, n=18)
    assert found["lost"]["value"] == 1.0
    assert found["kept_at"] == {"0": 1.0, "0.1": 0.0, "0.2": 0.0, "0.5": 0.0}


def test_a_translator_that_shifts_by_a_centimetre_moves_lesions_and_invents_none():
    found, rows = measured(made_up.shifted)
    assert values(found, "kept", "moved", "invented") == [0.0, 1.0, 0.0]
    large = [row["shift_mm"] for row in rows if row["radius_mm"] > 9.5]
    assert np.mean(large) == pytest.approx(10.0, abs=1.0), "the middle of the response, where it still overlaps"


def test_a_shift_of_one_pixel_is_no_move():
    found, _ = measured(lambda source, seed: made_up.inverse(np.roll(source, 1, axis=0)), n=18)
    assert found["kept"]["value"] == 1.0


def test_structures_that_a_lesion_brings_about_elsewhere_are_invented():
    found, _ = measured(made_up.inventing)
    # one disc goes, one comes, unless they fall on the lesion or on each other
    assert 1.4 < found["invented"]["value"] < 2.0 and found["slices_with_invention"]["value"] > 0.9
    assert found["kept"]["value"] > 0.85, "the lesion itself is there"


def test_chance_passes_about_as_often_as_said():
    """A texture that the source does not decide: where a lesion lies means nothing to it."""
    found, rows = measured(made_up.unrelated, n=180)
    own = np.array([row["own"] for row in rows])
    assert (own > found["limits"]["own"]).mean() == pytest.approx(0.05, abs=0.04), "at the lesions"
    assert found["by_chance"]["own"] == pytest.approx(0.05, abs=0.02), (
        "at places without, by the limit of other patients"
    )
    assert found["by_chance"]["near"] == pytest.approx(0.05, abs=0.02)
    assert found["kept"]["value"] < 0.05 and found["lost"]["value"] > 0.8
    assert found["by_chance"]["own_and_floor"] <= found["by_chance"]["own"]


def test_with_and_without_share_the_seed_so_that_grain_is_no_response():
    fake = Fake(made_up.grainy, "diffusion")
    task = Task(fake, lesions=12, repeated=4, samples=3)
    items = dict(lesions.measure(task, frozenset()))
    for request in fake.asked:
        half = len(request.seeds) // 2
        assert request.seeds[:half] == request.seeds[half:] and len(set(request.seeds)) == half
    assert lesions.summary(lesions.settings(task), items)["kept"]["value"] == 1.0


def test_each_lesion_is_asked_with_several_seeds_and_may_be_kept_by_some():
    found, rows = measured(made_up.keeps_by_seed, n=18, method="diffusion", samples=4, repeated=12)
    assert found["samples"]["k"] == 4 and found["samples"]["kept"]["n"] == 12
    assert found["samples"]["kept"]["value"] == 0.5
    assert [found["samples"][word]["value"] for word in ("by_all", "by_none")] == [0.0, 0.0]
    assert found["kept"]["value"] == 1.0, "the verdict is of the first sample"
    assert [len(row["samples"]) for row in rows] == [4] * 12 + [0] * 6


def test_small_and_faint_lesions_may_be_lost_alone():
    def coarse(source, seed):
        return made_up.inverse(ndimage.gaussian_filter(np.where(INSIDE, source, 110.0), 8.0 / MM))

    found, _ = measured(coarse, n=72)
    share = {tuple(cell["radius_mm"]): 0.0 for cell in found["cells"]}
    for cell in found["cells"]:
        share[tuple(cell["radius_mm"])] += cell["kept"]["value"] / 3
    small, _, large = share.values()
    assert large > 0.95 and small < large


def test_how_much_of_the_true_change_is_there_is_a_slope(pairs):
    planned = lesion_plan.plan(pairs, 1)[0]
    truth = 20.0 * planned.lesion.share((SIZE, SIZE), SPACING)
    parts = [1.0, 0.25, 0.0, -0.5]
    found = [lesion_response.respond(part * truth, planned, SPACING, INSIDE, "HU", truth) for part in parts]
    assert [one["recovered"] for one in found] == pytest.approx(parts)
    assert lesion_response.respond(truth, planned, SPACING, INSIDE, "HU")["recovered"] is None
    rows = [{**one, "expected": np.abs(truth[truth >= 10]).mean()} for one in found]
    assert list(lesion_summary.verdicts(rows, (0.0, 0.0), 0.2)) == ["kept", "kept", "lost", "reversed"]
    left = planned.lesion.centre_mm[1] - 2
    half = np.where(left > made_up.COLUMNS * MM, truth, 0.0)
    own = lesion_response.respond(half, planned, SPACING, INSIDE, "HU", half)
    assert own["shift_mm"] == 0.0, "where the truth is, not where the outline is"


def test_rendered_lesions_have_known_hu_in_both_directions_and_are_kept_in_the_cache(monkeypatch, tmp_path):
    from medgen import render

    monkeypatch.setenv("MEDGEN_CACHE", str(tmp_path))
    side = 256
    rows, columns = np.mgrid[:side, :side]
    brain = ((rows - 128) / 90) ** 2 + ((columns - 128) / 70) ** 2 < 1
    hu = np.where(brain, 30.0, -1024.0)
    mr = np.where(brain, 120.0, 0.0)
    laid = []

    def rendered_slice(split, index, lesions):
        (one,) = lesions
        laid.append((index, one))
        return render.RenderedSlice(mr * (1 + one.mask * (one.mr - 1)), hu + one.mask * (one.hu - hu), brain)

    monkeypatch.setattr(render, "rendered_slice", rendered_slice)
    stack = [np.repeat(one[None], 6, axis=0) for one in (mr, hu)]
    names = [f"head{i // 2}" for i in range(6)]
    both = paired.PairedSet(
        paired.image_set(stack[0], "mr", names), paired.image_set(stack[1], "ct", names),
        tuple({"slice": str(i)} for i in range(6)), np.repeat(np.where(brain, 2, 0)[None], 6, axis=0).astype(np.int16),
    )  # fmt: skip
    planned = lesion_plan.plan(both, 12)
    there = lesion_rendered.with_lesions(both, planned, "test")
    back = lesion_rendered.with_lesions(both.swapped(), planned, "test")
    assert len(laid) == 12 and [index for index, _ in laid] == sorted(one.index for one in planned), (
        "head by head, once"
    )
    assert (there.target.pixels == back.source.pixels).all() and there.target.unit == back.source.unit == "HU"
    for i, one in enumerate(planned):
        row, column = (int(mm) for mm in one.lesion.centre_mm)
        step = lesion_rendered.BLOOD_HU if one.lesion.contrast > 0 else lesion_rendered.FLUID_HU
        assert there.target.pixels[i, 0, row, column] == pytest.approx(30.0 + step * one.lesion.contrast, abs=2.5)
        assert there.source.pixels[i, 0, row, column] == pytest.approx(120.0 * (1 + one.lesion.contrast), abs=4)


def test_a_structure_is_thick_and_large_and_of_one_sign():
    difference = np.zeros((SIZE, SIZE))
    difference[20:26, 20:26] = 30.0  # 144 mm2
    difference[60:62, 10:100] = 90.0  # an edge, 4 mm wide
    difference[62:63, 10:100] = -90.0
    difference[90:93, 90:93] = 90.0  # 36 mm2
    difference[100:106, 20:26] = -30.0
    parts = lesion_structures.structures(difference, 25.0, SPACING)
    assert parts.max() == 1 and 100 <= (parts > 0).sum() * MM * MM <= 144 and parts[22, 22] == 1
    assert lesion_structures.structures(-difference, 25.0, SPACING)[102, 22] == 1
    assert lesion_structures.structures(difference, 31.0, SPACING).max() == 0


def test_invention_on_pairs_as_they_are_counts_what_is_too_bright_and_too_dark(pairs):
    def spotted(source, seed):
        spots = np.hypot(made_up.ROWS - 50, made_up.COLUMNS - 60) * MM <= 10
        hole = np.hypot(made_up.ROWS - 85, made_up.COLUMNS - 60) * MM <= 8
        return made_up.inverse(source) + 60.0 * spots - 60.0 * hole

    task = Task(Fake(spotted), slices=12)
    items = dict(lesion_structures.measure(task, frozenset()))
    found = lesion_structures.summary(lesion_structures.settings(task), items)
    assert values(found["model"], "brighter", "darker") == [1.0, 1.0]
    assert found["model"]["brighter"]["n"] == 12 and found["model"]["brighter"]["n_subjects"] == made_up.PATIENTS
    area = 100.0 * np.pi * 10**2 / (INSIDE.sum() * MM * MM)
    assert found["model"]["brighter_percent"]["value"] == pytest.approx(area, rel=0.15)
    assert found["as_it_was"]["brighter"]["value"] + found["as_it_was"]["darker"]["value"] > 0
    clean = dict(lesion_structures.measure(Task(Fake(made_up.perfect), slices=12), frozenset()))
    assert values(lesion_structures.summary({}, clean)["model"], "brighter", "darker") == [0.0, 0.0]
    drifting = Task(Fake(lambda source, seed: made_up.inverse(source) + INSIDE * (40 + 0.3 * made_up.ROWS)), slices=12)
    items = dict(lesion_structures.measure(drifting, frozenset()))
    flat = lesion_structures.summary({}, items)["model"]
    assert values(flat, "brighter", "darker") == [0.0, 0.0], "grey levels of MR are arbitrary and drift"
    left = dict(lesion_structures.measure(task, frozenset(made_up.names()[1:])))
    assert list(left) == made_up.names()[:1], "what is done is not done again"


def test_intervals_resample_patients_and_few_patients_get_their_range():
    """Half of the patients have all, half none: a hundred slices each make that no more certain."""
    subjects = [name for name in "abcdefgh" for _ in range(100)]
    kept = np.repeat(np.arange(8) % 2, 100)
    wide = over_patients.entry(kept, subjects, proportion=True)
    alone = over_patients.entry(kept, [str(i) for i in range(800)], proportion=True)
    assert wide["value"] == alone["value"] == 0.5
    assert wide["high"] - wide["low"] > 5 * (alone["high"] - alone["low"])
    assert (wide["least"], wide["most"], wide["n"], wide["n_subjects"]) == (0.0, 1.0, 800, 8)
    few = over_patients.entry(kept[:300], subjects[:300])
    assert few["low"] is None and (few["least"], few["most"], few["n_subjects"]) == (0.0, 1.0, 3)
    assert over_patients.entry([], [])["value"] is None


def test_the_verdict_follows_the_definition():
    def verdict(own, near, shift, recovered=None):
        row = {"own": own, "near": near, "shift_mm": shift, "recovered": recovered, "expected": 10.0}
        return lesion_summary.verdicts([row], (1.0, 1.5), 0.2)[0]

    assert verdict(5.0, 0.0, 1.0) == "kept" and verdict(5.0, 0.0, 5.5) == "moved"
    assert verdict(1.9, 0.0, 1.0) == "lost", "significant, but below a fifth of what was inserted"
    assert verdict(0.5, 4.0, None) == "moved" and verdict(0.5, 1.9, None) == "lost"
    assert [verdict(5.0, 0.0, 1.0, slope) for slope in (0.5, 0.0, -1.0)] == ["kept", "reversed", "reversed"]
    high = [{"own": 2.5, "near": 2.5, "shift_mm": 0.0, "recovered": None, "expected": 10.0}]
    assert lesion_summary.verdicts(high, (3.0, 3.0), 0.2)[0] == "lost", "not more than chance gives"


def test_a_second_response_beside_a_kept_lesion_is_invented_and_does_not_move_it(pairs):
    planned = lesion_plan.plan(pairs, 1)[0]
    planned = replace(planned, lesion=replace(planned.lesion, centre_mm=(120.0, 100.0), radius_mm=5.0), elsewhere=())
    own = planned.lesion.share((SIZE, SIZE), SPACING)
    beside = Lesion((120.0, 116.0), 5.0, 0.3).share((SIZE, SIZE), SPACING)
    found = lesion_response.respond(40 * (own + 0.9 * beside), planned, SPACING, INSIDE, "au")
    assert found["shift_mm"] < 1.0 and (found["structures_near"], found["structures_far"]) == (1, 0)
    far = Lesion((120.0, 150.0), 5.0, 0.3).share((SIZE, SIZE), SPACING)
    found = lesion_response.respond(40 * (own - far), planned, SPACING, INSIDE, "au")
    assert (found["structures_near"], found["structures_far"]) == (0, 1), "what vanishes counts, too"


def test_slices_are_spread_evenly_over_patients():
    subjects = ["a"] * 50 + ["b"] * 3 + ["c"] * 20
    chosen = spread_over_patients(subjects, 15)
    assert [sum(subjects[i] == name for i in chosen) for name in "abc"] == [5, 3, 5]
    assert list(chosen[:5]) == [0, 12, 24, 37, 49] and len(set(chosen)) == len(chosen)


def test_only_translators_of_known_pairs_are_measured():
    fake = Fake(made_up.perfect)
    for changed, said in (
        ({"translates": {}}, "is no translator"),
        ({"data": "elsewhere"}, "is no translator of known pairs"),
        ({"translates": {"direction": "ct-mr"}}, f"for which {DATA} has no pairs"),
    ):
        with pytest.raises(MedgenError, match=said):
            Task(type("Other", (), {"card": replace(fake.card, **changed)})())
    with pytest.raises(MedgenError, match="no numbers"):
        dict(lesions.measure(Task(Fake(lambda source, seed: source * np.nan), lesions=2), frozenset()))
