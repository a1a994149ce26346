"""Translators from the command line to the board: what is written, what is believed, and where it is shown."""

import io
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from translation_fakes import SLICES, archive, card

from demos import board as tab
from demos import board_translation, tables
from eval import board, plots, protocols, run, summary, translation_board, translation_file
from medgen import MedgenError, ModelCard, registry
from medgen.paired import PAIRED

MODELS = {
    "unet-t1-flair-128": card("unet-t1-flair-128"),
    "unet-flair-t1-128": card("unet-flair-t1-128", direction="flair-t1"),
    "pix2pix-t1-flair-128": card("pix2pix-t1-flair-128", makes="copy", method="pix2pix"),
    "diffusion-t1-flair-128": card("diffusion-t1-flair-128", makes="noise", method="diffusion"),
}
QUICK = ("--protocol", "t1-flair-128", "--extractor", "pixels-32")
FILE = f"translation-test-pixels-32-{sum(SLICES)}.json"


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("pairs")
    archive(folder)
    return folder


@pytest.fixture(scope="module")
def measured(data, tmp_path_factory) -> Path:
    """A checkpoints folder whose four translators have been measured by the command line."""
    folder = tmp_path_factory.mktemp("checkpoints")
    for one in MODELS.values():
        one.save(folder / one.name)
    with pytest.MonkeyPatch.context() as patch:
        at_home(patch, data, folder)
        patch.setattr("eval.pairwise.lpips", lambda: lambda real, fake: np.abs(real - fake).mean(axis=(1, 2, 3)))
        assert run.main([*MODELS, *QUICK, "--samples", "3"]) == 0
    return folder


def at_home(patch: pytest.MonkeyPatch, data: Path, house: Path) -> None:
    patch.setitem(registry.FAMILIES, "translator", "translation_fakes")
    patch.setenv("MEDGEN_CHECKPOINTS", str(house))
    patch.setenv("MEDGEN_DATA", str(data))
    patch.setenv("MEDGEN_CACHE", str(data / "cache"))


@pytest.fixture
def house(measured, data, tmp_path, monkeypatch) -> Path:
    """A copy of it that a test may break."""
    folder = tmp_path / "checkpoints"
    shutil.copytree(measured, folder)
    at_home(monkeypatch, data, folder)
    return folder


def change(path: Path, **changed) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))


def test_a_report_says_what_was_compared_with_what(house):
    found = translation_file.read(house / "unet-t1-flair-128" / FILE)
    assert (found["protocol"], found["direction"], found["split"]) == ("t1-flair-128", "t1-flair", "test")
    assert (found["n"], found["n_subjects"], found["unit"]) == (sum(SLICES), len(SLICES), "grey levels of 255")
    assert [one["n"] for one in found["patients"].values()] == list(SLICES)
    assert found["weights"] == MODELS["unet-t1-flair-128"].weights
    ssim = found["metrics"]["ssim"]
    assert ssim["value"] == pytest.approx(np.mean([one["ssim"] for one in found["patients"].values()]))
    assert ssim["low"] < ssim["value"] < ssim["high"]
    assert found["metrics"]["fid"]["value"] is None and "pixels-32" in found["metrics"]["fid"]["reason"]
    assert found["metrics"]["tumour_error"]["value"] < -60
    assert "Approximate" in found["regions"]["tumour"]
    assert set(found["baselines"]) == {"copy", "mean", "lookup", "real"}
    assert found["baselines"]["copy"]["gains"]["mae"]["better"] == len(SLICES)
    assert found["cycle"]["model"] == "unet-flair-t1-128"
    assert "every seed" in found["samples"]["reason"] and "MR to CT" in found["heads"]["reason"]
    assert found["seconds_per_image"] > 0 and found["versions"]["numpy"] == np.__version__
    json.loads((house / "unet-t1-flair-128" / FILE).read_text(), parse_constant=pytest.fail)


def test_the_other_direction_has_the_same_pairs_swapped_and_no_tumour(house):
    found = translation_file.read(house / "unet-flair-t1-128" / FILE)
    assert found["direction"] == "flair-t1" and found["cycle"]["model"] == "unet-t1-flair-128"
    assert "tumour_mae" not in found["metrics"] and found["regions"]["tumour"] is None
    pix2pix = translation_file.read(house / "pix2pix-t1-flair-128" / FILE)
    assert "no pix2pix model goes the other way" in pix2pix["cycle"]["reason"]
    assert pix2pix["metrics"]["ssim"]["value"] == pix2pix["baselines"]["copy"]["metrics"]["ssim"]["value"]


def test_a_model_that_draws_is_measured_by_one_sample_and_by_their_mean(house):
    found = translation_file.read(house / "diffusion-t1-flair-128" / FILE)["samples"]
    assert found["k"] == 3 and found["mean"]["psnr"]["value"] > found["one"]["psnr"]["value"] + 2


def test_only_the_whole_test_split_with_inception_has_the_main_name(house, capsys):
    name = translation_file.file_name
    assert name("test", "inception-v3-2048", True, 674) == "translation.json"
    assert name("test", "inception-v3-2048", False, 20) == "translation-test-inception-v3-2048-20.json"
    assert name("val", "inception-v3-2048", True, 268) == "translation-val-inception-v3-2048-268.json"
    model = "pix2pix-t1-flair-128"
    assert run.main([model, *QUICK, "--limit", "5", "--split", "val"]) == 0
    few = translation_file.read(house / model / "translation-val-pixels-32-5.json")
    assert few["n"] == 5 and few["metrics"]["ssim"]["low"] is None
    assert few["metrics"]["ssim"]["least"] <= few["metrics"]["ssim"]["value"] <= few["metrics"]["ssim"]["most"]
    printed = capsys.readouterr().out
    assert "5 slices of 2 patients" in printed and " to " in printed


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nothing", *QUICK], "There is no model 'nothing'"),
        (["unet-t1-flair-128", "--protocol", "t1-t2-256"], "choose the protocol of its pairs"),
        (["unet-t1-flair-128", "--protocol", "cxr-128"], "is a translator; choose its protocol from t1-t2-256"),
        (["noise", *QUICK], "noise is no translator"),
        (["small", *QUICK], "small makes 1 x 64 x 64 pixels"),
        (["sideways", *QUICK], "not t1-t2: choose the protocol"),
        (["nan", *QUICK], "diverged"),
    ],
)
def test_bad_questions_get_one_sentence_and_leave_nothing(house, capsys, words, message):
    known = MODELS["unet-t1-flair-128"]
    replace(known, name="noise", family="noise", translates={}, controls=()).save(house / "noise")
    replace(known, name="small", shape=(1, 64, 64)).save(house / "small")
    card("sideways", direction="t1-t2").save(house / "sideways")
    card("nan", makes="nan").save(house / "nan")
    assert run.main(words) == 2
    assert message in capsys.readouterr().err
    assert not [path for name in ("noise", "small", "sideways", "nan") for path in (house / name).glob("trans*")]


def test_every_protocol_is_of_known_pairs():
    assert {known.data for known in protocols.TRANSLATIONS.values()} == set(PAIRED)
    assert protocols.translation_of(MODELS["unet-t1-flair-128"]).name == "t1-flair-128"
    assert protocols.translation_of(replace(MODELS["unet-t1-flair-128"], translates={})) is None
    with pytest.raises(SystemExit):
        run.main(["unet-t1-flair-128", *QUICK, "--guidance", "2", "--out", "x.json"])


def test_the_board_has_a_group_a_direction_with_the_baselines_on_top(house):
    found = translation_board.translations()
    there, back = translation_board.groups(found)
    assert (there.direction, back.direction) == ("flair-t1", "t1-flair")
    shown = translation_board.table(found, back, "mae")
    assert shown["family"].tolist()[:4] == [translation_board.BASELINE] * 4
    assert shown["model"].tolist()[4:] == ["unet-t1-flair-128", "diffusion-t1-flair-128", "pix2pix-t1-flair-128"]
    assert shown["n"].eq(sum(SLICES)).all() and shown.loc[3, ["ssim", "fid"]].isna().all()
    assert shown.loc[0, "ssim"] < shown.loc[4, "ssim"]
    assert translation_board.table(found, back, "ssim")["model"].tolist()[4] == "unet-t1-flair-128"
    closest = translation_board.table(found, back, "tumour_error")["tumour_error"].tolist()[4:]
    assert [abs(one) for one in closest] == sorted(abs(one) for one in closest)
    assert set(translation_board.table(found, back, search="DIFF")["model"][4:]) == {"diffusion-t1-flair-128"}
    with pytest.raises(MedgenError, match="no column 'beauty'"):
        translation_board.table(found, back, "beauty")


def test_what_is_not_comparable_never_shares_a_table(house):
    change(house / "unet-t1-flair-128" / FILE, pairs_sha256="0" * 64)
    change(house / "pix2pix-t1-flair-128" / FILE, n=5)
    found = translation_board.translations()
    groups = translation_board.groups(found)
    assert len(groups) == len({group.label for group in groups}) == 4
    for group in groups:
        shown = translation_board.table(found, group)
        assert (shown["family"] == translation_board.BASELINE).sum() == 4 and len(shown) == 5


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: text[: len(text) // 2], "cannot be read as JSON"),
        (lambda text: "[]", "one JSON object"),
        (lambda text: text.replace('"n_subjects": 6', '"n_subjects": "six"'), "n_subjects is missing"),
        (lambda text: text.replace('"metrics"', '"numbers"', 1), "report.metrics is missing"),
        (lambda text: text.replace('"k": 3', '"k": null'), "samples.k is missing"),
        (lambda text: text.replace('"value": ', '"value": NaN, "x": ', 1), "NaN is not JSON"),
        (lambda text: text.replace("model.safetensors", "other.safetensors"), "made with other weights"),
    ],
)
def test_a_broken_or_stale_report_is_a_row_that_says_so(house, damage, message, capsys):
    path = house / "diffusion-t1-flair-128" / FILE
    path.write_text(damage(path.read_text()))
    found = translation_board.translations()
    row = found.frame.set_index("model").loc["diffusion-t1-flair-128"]
    assert message in row["problem"] and path.name in row["problem"]
    assert np.isnan(row["n"]) and np.isnan(row["ssim"])
    group = translation_board.groups(found)[-1]
    assert translation_board.table(found, group)["model"].tolist()[-1] == "diffusion-t1-flair-128"
    assert message in " ".join(draw()) and board.main([]) == 1
    assert message in capsys.readouterr().err


def test_a_way_back_that_has_changed_since_is_not_believed(house):
    replace(MODELS["unet-flair-t1-128"], weights={"model.safetensors": "new"}).save(house / "unet-flair-t1-128")
    found = translation_board.translations()
    assert "unet-flair-t1-128 is gone or has other weights now" in " ".join(found.problems)
    group = next(one for one in translation_board.groups(found) if one.direction == "t1-flair")
    way = translation_board.tables(found, group)["cycle"].set_index("Model")
    assert way.loc["unet-t1-flair-128", "SSIM there and back"] == "-"


def test_broken_cards_orphans_and_the_unmeasured_are_rows(house):
    (house / "broken").mkdir()
    (house / "broken" / "card.json").write_text("{")
    shutil.copy(house / "unet-t1-flair-128" / FILE, house / "broken" / FILE)
    card("cyclegan-t1-flair-128", method="cyclegan").save(house / "cyclegan-t1-flair-128")
    found = translation_board.translations()
    frame = found.frame.set_index("model")
    assert "card.json cannot be read" in frame.loc["broken", "problem"]
    way = translation_board.groups(found)[-1]
    assert translation_board.table(found, way)["model"].tolist()[-1] == "cyclegan-t1-flair-128"
    assert "Not measured: cyclegan-t1-flair-128." in board_translation.caption(translation_board.table(found, way), way)
    for path in house.glob("*/translation*.json"):
        path.unlink()
    found = translation_board.translations()
    assert translation_board.groups(found) == []
    assert set(translation_board.table(found, None)["model"]) == {*MODELS, "cyclegan-t1-flair-128"}
    assert "No translator has been measured yet" in " ".join(draw())


def test_translators_are_no_rows_of_the_other_groups(house):
    ModelCard(
        name="dcgan", family="noise", title="x", modality="CR", unit="au", window=(0.0, 255.0), shape=(1, 8, 8),
        licence="MIT", limits="None.", data="kermany_cxr_128",
    ).save(house / "dcgan")  # fmt: skip
    assert board.rows()["model"].tolist() == ["dcgan"]
    assert board.table(board.rows())["model"].tolist() == ["dcgan"]
    assert len(plots.recall_precision(board.table(board.rows())).data) == 0


def test_the_table_of_checkpoints_lists_translators_with_their_own_numbers_and_commands(house):
    card("cyclegan-t1-flair-128", method="cyclegan").save(house / "cyclegan-t1-flair-128")
    text = summary.summary()
    ssim = translation_file.read(house / "unet-t1-flair-128" / FILE)["metrics"]["ssim"]["value"]
    line = next(line for line in text.splitlines() if line.startswith("| [unet-t1-flair-128]"))
    assert "t1 to flair" in line and f"| {ssim:.3f} [" in line and f"| {sum(SLICES)} ({len(SLICES)}) |" in line
    assert text.count("[unet-t1-flair-128]") == 1 and "*Copy of the source" in text
    assert (
        "**cyclegan-t1-flair-128**: not measured; run `python -m eval.run cyclegan-t1-flair-128 --protocol "
        "t1-flair-128`" in text
    )
    assert text.count("not measured") == 1


def test_exports_can_be_read_back(house):
    found = translation_board.translations()
    table = translation_board.table(found, translation_board.groups(found)[-1])
    back = pd.read_csv(io.StringIO(translation_board.export(table, "csv"))).set_index("model")
    assert back.loc["unet-t1-flair-128", "ssim"] == table.set_index("model").loc["unet-t1-flair-128", "ssim"]
    records = {row["model"]: row for row in json.loads(translation_board.export(table, "json"))}
    assert records["unet-t1-flair-128"]["fid"] is None and records["unet-t1-flair-128"]["n"] == sum(SLICES)
    latex = translation_board.export(table, "latex")
    assert latex.count(r"\begin{tabular}") == 1 and "unet-t1-flair-128 & unet & 17 (6) & " in latex
    with pytest.raises(MedgenError, match="no export as 'xlsx'"):
        translation_board.export(table, "xlsx")


def draw(sort_by: str = "ssim") -> list[str]:
    """The texts on the tab."""
    return [one for one in board_translation.draw("test", None, sort_by, "") if isinstance(one, str)]


def test_the_tab_shows_the_groups_and_every_table(house):
    found = translation_board.translations()
    label = translation_board.groups(found)[-1].label
    drawn = board_translation.draw("test", label, "mae", "")
    page = " ".join(one for one in drawn if isinstance(one, str))
    assert drawn[0]["value"] == label and len(drawn[0]["choices"]) == 2
    assert "Mean picture of the train patients" in page and "95 % interval over patients" in page
    assert "mean of 3" in page and "17 of 17" not in page and "6 of 6" in page
    assert "no pix2pix model goes the other way" in page and "best at 0" in page
    patient = next(iter(translation_file.read(house / "unet-t1-flair-128" / FILE)["patients"]))
    assert patient in page
    assert "-0.000" not in page, "the copy gains nothing over the copy"
    assert all(Path(one["value"]).is_file() for one in drawn[-3:])
    assert tab.files_of("unet-t1-flair-128")[FILE]["n"] == sum(SLICES)
    for model in MODELS:
        shutil.rmtree(house / model)
    assert board_translation.EMPTY in draw()


def test_text_of_others_is_escaped(house):
    replace(MODELS["unet-t1-flair-128"], title="<b>x").save(house / "unet-t1-flair-128")
    assert "<b>x" not in " ".join(draw())
    assert tables._limited("<i> [1, 2]") == "&lt;i&gt;<small>[1, 2]</small>"
