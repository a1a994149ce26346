"""The pathology tab in headless Chromium: a grid with opinions, Stop, a region, an upload, a set of files, a phone."""

from __future__ import annotations

import csv
import io
import json
import re
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import browsing
import numpy as np
import pytest
from pathology_fakes import WORDS, make_card
from PIL import Image
from pydicom.data import get_testdata_file

import medgen
from medgen import Request

sync_api = pytest.importorskip("playwright.sync_api")
pytestmark = browsing.MARKS

# The real app, with an untrained classifier of random weights as the real ones are stored. The noise family takes 10 ms
# a step, so that there is something to stop, and keeps what lies outside a region.
APP = """
import os, runpy, sys, time
from pathlib import Path
import numpy as np
import torch
from medgen import weights
from medgen.classifier import ClassifierCard, build
from medgen.image import ImageSet
from medgen.noise import NoiseGenerator
net = {"size": 32, "labels": 3, "init_features": 8, "growth_rate": 4, "block_config": [1, 1], "dropout": 0.0,
       "frame": 4, "pool": 2}
torch.manual_seed(0)
network = build(net)
network.border_weight.normal_()
folder = Path(os.environ["MEDGEN_CHECKPOINTS"]) / "judge-32"
words = ("normal", "bacterial_pneumonia", "viral_pneumonia")
entry = {"value": 0.87, "low": 0.8, "high": 0.9, "n_with": 40, "n_without": 60}
files = weights.save(network.state_dict(), folder)
card = ClassifierCard("judge-32", "Judge", "kermany_cxr_128", words, (1, 32, 32), net, files, {},
                      dict.fromkeys(words, entry), dict.fromkeys(words, {**entry, "value": 0.77}), "MIT", "Random.")
card.save(folder)
whole = NoiseGenerator.sample
def paced(self, request, on_step=None):
    def step(*values):
        time.sleep(0.01)
        on_step(*values)
    images = whole(self, request, step)
    if request.region is None:
        return images
    pixels = np.where(request.region.mask(), images.pixels, request.source.pixels).astype(np.float32)
    return ImageSet(pixels, images.modality, images.unit, images.window, labels=images.labels)
NoiseGenerator.sample = paced
sys.path.insert(0, ".")
runpy.run_path("app.py", run_name="__main__")
"""


DATA = "kermany_cxr_128"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    checkpoints = tmp_path_factory.mktemp("checkpoints")
    cards = [
        make_card("noise-a-32", title="Noise A", data=DATA, steps=5),
        make_card("noise-b-32", title="Noise B", data=DATA, labels=WORDS[:2], steps=5),
        make_card("noise-r-32", title="Painter", data=DATA, controls=("label", "steps", "source", "region"), steps=5),
    ]
    for card in cards:
        card.save(checkpoints / card.name)
    with browsing.serving(APP, checkpoints) as url:
        yield url


@pytest.fixture
def page(browser: sync_api.BrowserContext, address: str) -> Iterator[sync_api.Page]:
    """The tab, loaded; see `browsing.watched`."""
    with browsing.watched(browser) as tab:
        tab.goto(address)
        tab.get_by_role("tab", name="Chest X-ray by pathology").click()
        sync_api.expect(tab.locator("#pathology-labels").get_by_role("checkbox")).to_have_count(3)
        browsing.settle(tab)
        yield tab


def seen(page: sync_api.Page, place: str) -> list[str]:
    """The alt texts of the pictures below `place`, once all of them have really arrived."""
    page.wait_for_function(
        "place => [...document.querySelectorAll(place + ' img')].every(e => e.complete && e.naturalWidth >= 256)",
        arg=place,
    )
    return [picture.get_attribute("alt") for picture in page.locator(f"{place} img").all()]


def test_a_grid_of_labels_and_models_with_opinions_is_made_by_keyboard_saved_and_remade(
    page: sync_api.Page, tmp_path: Path
) -> None:
    sync_api.expect(page.locator("#shortcut")).to_contain_text("AUC 0.77")
    page.locator("#pathology-models").get_by_label("Painter").uncheck()
    page.locator("#pathology-labels").get_by_role("checkbox").nth(1).focus()
    page.keyboard.press("Space")
    page.locator("#pathology-seed").get_by_role("textbox").fill("41")
    page.locator("#pathology-go").focus()
    page.keyboard.press("Enter")
    assert "3 pictures" in browsing.finish(page, "pathology", "Done:")
    grid = page.locator(".board.grid")
    sync_api.expect(grid.get_by_role("columnheader")).to_have_count(2)
    heads = grid.locator("th[scope=rowgroup]").all_inner_texts()
    assert [head.split("\n")[0] for head in heads] == ["normal", "viral pneumonia"]
    assert seen(page, ".board.grid") == [
        "normal, noise-a-32, seed 41, synthetic",
        "normal, noise-b-32, seed 41, synthetic",
        "viral pneumonia, noise-a-32, seed 41, synthetic",
    ]
    sync_api.expect(grid).to_contain_text("This model does not know viral pneumonia.")
    said = grid.inner_text()
    assert len(re.findall(r"Classifier: \D+\d+%, next \D+\d+%", said)) == 3
    assert len(re.findall(r"Border alone: \D+\d+%", said)) == 3
    sync_api.expect(page.get_by_role("region", name="AUC of judge-32")).to_contain_text("0.87")
    grid.focus()
    assert grid.evaluate("e => document.activeElement === e"), "what scrolls can be reached by the keyboard"

    saved = browsing.download(page, "#pathology-zip", tmp_path)
    with zipfile.ZipFile(saved) as archive:
        rows = list(csv.DictReader(io.TextIOWrapper(archive.open("noise-a-32/labels.csv"), "utf-8")))
        picture = np.asarray(Image.open(archive.open(f"noise-a-32/{rows[1]['file']}")))
    assert 0.0 < float(rows[0]["judge-32 normal"]) < 1.0 and 0.0 < float(rows[0]["judge-32 border normal"]) < 1.0
    expected = medgen.load("noise-a-32").sample(Request((41,), label="viral_pneumonia"))
    np.testing.assert_array_equal(picture, expected.uint8()[0, 0])

    page.locator("#pathology-seed").get_by_role("textbox").fill("1")
    with page.expect_file_chooser() as chooser:
        page.locator("#pathology-manifest").click()
    chooser.value.set_files(saved)
    sync_api.expect(page.locator("#pathology-seed").get_by_role("textbox")).to_have_value("41")
    page.locator("#pathology-go").click()
    sync_api.expect(page.locator("#pathology-verdict")).to_contain_text("noise-a-32: 2 of 2 pictures equal")


def test_stop_acts_at_once_and_a_bad_guidance_is_refused_by_name(page: sync_api.Page) -> None:
    steps = page.locator("#pathology-steps").get_by_role("textbox")
    steps.fill("many")
    go = page.locator("#pathology-go")
    browsing.refused(page.locator("#pathology-steps"), "Give a whole number from 1 to 1000", go.click)
    steps.fill("1000")  # ten seconds a picture, and there are six
    page.locator("#pathology-models").get_by_label("Noise B").uncheck()
    page.locator("#pathology-go").click()
    sync_api.expect(page.locator("#pathology-status")).to_contain_text("step")
    pressed = time.monotonic()
    page.locator("#pathology-stop").click()
    said = browsing.finish(page, "pathology", "Stopped")
    assert time.monotonic() - pressed < 5.0 * browsing.PATIENCE
    kept = re.search(r"(\d+) finished pictures? w", said)
    assert kept and int(kept[1]) < 6
    sync_api.expect(page.locator(".board.grid")).to_contain_text("No picture was finished.")


def test_a_region_of_a_picture_and_of_an_upload_is_changed(page: sync_api.Page, tmp_path: Path) -> None:
    page.locator("#pathology-go").click()
    browsing.finish(page, "pathology", "Done:")
    page.get_by_role("tab", name="Change a region").click()
    page.locator("#region-picture input").click()
    page.get_by_role("option", name="viral pneumonia · Noise A · seed 0").click()
    sync_api.expect(page.locator("#region-preview")).to_contain_text("Box: 55 to 85 % from the left")
    page.locator("#region-left input").fill("0")
    sync_api.expect(page.locator("#region-preview")).to_contain_text("Box: 0 to 85 % from the left")
    page.locator("#region-go").click()
    browsing.finish(page, "region", "Done:")
    assert [alt.split(":")[0] for alt in seen(page, "#region-result")] == ["Before", "After", "Difference"]
    said = page.locator("#region-result").inner_text()
    assert "largest change outside it 0.00" in said and said.count("Border alone: viral pneumonia") == 2
    with zipfile.ZipFile(browsing.download(page, "#region-zip", tmp_path)) as archive:
        assert {"source.png", "region.png", "noise-r-32/manifest.json"} <= set(archive.namelist())

    for name, words in (("CT_small.dcm", "modality CT"), ("RG1_UNCR.dcm", None)):
        with page.expect_file_chooser() as chooser:
            page.locator("#region-upload").click()
        chooser.value.set_files(get_testdata_file(name, download=False))
        if words:
            sync_api.expect(page.get_by_text(words)).to_be_visible()
    sync_api.expect(page.locator("#region-preview")).to_contain_text("RG1_UNCR.dcm, 1841 x 1955 pixels")
    page.locator("#region-go").click()
    sync_api.expect(page.locator("#region-result")).to_contain_text("RG1_UNCR.dcm")
    browsing.finish(page, "region", "Done:")


def test_a_balanced_set_is_made_and_every_page_fits_a_phone(page: sync_api.Page, tmp_path: Path) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    for name in ("Compare", "Change a region", "Export a set"):
        page.get_by_role("tab", name=name).click()
        page.wait_for_timeout(300)
        wide, window = page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
        assert wide <= window, name
    page.locator("#export-count input").fill("2")
    page.locator("#export-seed").get_by_role("textbox").fill("70")
    page.locator("#export-go").click()
    assert "6 pictures" in browsing.finish(page, "export", "Done:")
    assert len(seen(page, "#export-shown")) == 3
    with zipfile.ZipFile(browsing.download(page, "#export-zip", tmp_path)) as archive:
        folders = [name.split("/")[0] for name in archive.namelist() if name.endswith(".png")]
        manifest = json.loads(archive.read("manifest.json"))
    assert sorted(folders) == sorted([*WORDS, *WORDS])
    assert sorted(file["seed"] for file in manifest["files"]) == list(range(70, 76))
    page.set_viewport_size({"width": 1280, "height": 900})
