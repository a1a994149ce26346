"""The app in headless Chromium, as a lecturer uses it: choose, generate, stop, download, look at the board."""

from __future__ import annotations

import io
import json
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import browsing
import numpy as np
import pytest
from PIL import Image

import medgen
from medgen import ModelCard, Request

sync_api = pytest.importorskip("playwright.sync_api")
pytestmark = browsing.MARKS

# The real app; only the noise family takes 10 ms a step, so that there is something to stop, and fails at seed 13.
SLOW_APP = """
import runpy, sys, time
from medgen import MedgenError
from medgen.noise import NoiseGenerator
whole = NoiseGenerator.sample
def paced(self, request, on_step=None):
    if request.seeds[0] == 13:
        raise MedgenError("Seed 13 brings bad luck: choose another.")
    def step(*values):
        time.sleep(0.01)
        on_step(*values)
    return whole(self, request, step)
NoiseGenerator.sample = paced
sys.path.insert(0, ".")
runpy.run_path("app.py", run_name="__main__")
"""


def save_cards(checkpoints: Path) -> None:
    common: dict[str, Any] = {"family": "noise", "modality": "CR", "unit": "au", "window": (0.0, 255.0)}
    common |= {"shape": (1, 32, 32), "licence": "MIT", "limits": "Noise, nobody's image.", "steps": 20}
    first = ModelCard(name="noise-a-32", title="Noise A", controls=("steps", "towards"), **common)
    first.save(checkpoints / first.name)
    labels = ("normal", "ill")
    second = ModelCard(name="noise-b-32", title="Noise B", controls=("steps", "label"), labels=labels, **common)
    second.save(checkpoints / second.name)
    metric = {"value": 0.5, "low": 0.4, "high": 0.6, "floor": 0.9}
    report = {"protocol": "cxr-128", "data": "kermany_cxr_128", "split": "test", "real_sha256": "ab" * 32, "k": 5,
              "n_real": 10, "n_fake": 10, "extractor": {"name": "inception-v3-2048", "sha256": "cd" * 32},
              "metrics": {"fid": metric, "precision": metric, "recall": metric}, "weights": {}}  # fmt: skip
    (checkpoints / "noise-a-32" / "report.json").write_text(json.dumps(report))


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The app, running on checkpoints of its own."""
    checkpoints = tmp_path_factory.mktemp("checkpoints")
    save_cards(checkpoints)
    with browsing.serving(SLOW_APP, checkpoints) as url:
        yield url


@pytest.fixture
def page(browser: sync_api.BrowserContext, address: str) -> Iterator[sync_api.Page]:
    """A loaded page, `browsing.watched`."""
    with browsing.watched(browser) as tab:
        tab.goto(address)
        tab.get_by_label("Noise B").wait_for()
        sync_api.expect(tab.get_by_label("Steps")).to_be_visible()
        browsing.settle(tab)
        yield tab


def press(page: sync_api.Page, name: str) -> None:
    page.get_by_role("button", name=name, exact=True).click()


def finish(page: sync_api.Page, word: str) -> str:
    """Waits until the status says `word` and Generate can be pressed again; returns the status."""
    status = page.locator("#status")
    sync_api.expect(status).to_contain_text(word)
    sync_api.expect(page.locator("#generate")).to_be_enabled()
    return status.inner_text()


def test_generate_side_by_side_download_and_remake(page: sync_api.Page, tmp_path: Path) -> None:
    press(page, "Generate")
    assert "8 pictures" in finish(page, "Done:")
    for slot, name in enumerate(("noise-a-32", "noise-b-32")):
        pictures = page.locator(f"#gallery-{slot} img")
        sync_api.expect(pictures).to_have_count(4)
        alt = pictures.first.get_attribute("alt") or ""
        assert name in alt and "seed 0" in alt and "synthetic" in alt
        assert pictures.first.get_attribute("src").endswith(".png")
        note = page.locator(f"#note-{slot}").inner_text()
        assert "peak memory" in note and "seeds 0 to 3" in note and " s " in note
    sync_api.expect(page.locator("#zip")).to_be_enabled()
    with page.expect_download() as waiting:
        page.locator("#zip").click()
    saved = tmp_path / waiting.value.suggested_filename
    waiting.value.save_as(saved)
    with zipfile.ZipFile(saved) as archive:
        names = archive.namelist()
        assert sum(name.endswith(".png") for name in names) == 8
        manifest = json.loads(archive.read("noise-a-32/manifest.json"))
        assert manifest["synthetic"] is True and manifest["request"]["seeds"] == [0, 1, 2, 3]
        picture = Image.open(io.BytesIO(archive.read(f"noise-a-32/{manifest['files'][2]['file']}")))
    expected = medgen.load("noise-a-32").sample(Request(seeds=(2,)))
    np.testing.assert_array_equal(np.asarray(picture), expected.uint8()[0, 0])

    page.locator("#seed textarea, #seed input").fill("77")
    with page.expect_file_chooser() as chooser:
        press(page, "Load a manifest or ZIP")
    chooser.value.set_files(saved)
    sync_api.expect(page.locator("#seed textarea, #seed input")).to_have_value("0")
    press(page, "Generate")
    finish(page, "Done:")
    sync_api.expect(page.locator("#verdict")).to_contain_text("noise-b-32: 4 of 4 pictures equal")


def test_stop_acts_at_once_and_keeps_the_finished_portion(page: sync_api.Page) -> None:
    page.get_by_label("Noise B").uncheck()
    page.get_by_label("Images", exact=False).and_(page.locator("input[type=number]")).fill("16")
    page.get_by_label("Steps").fill("400")  # two portions of some four seconds
    press(page, "Generate")
    sync_api.expect(page.locator("#gallery-0 img").first).to_be_visible()  # a preview on the way
    assert "unfinished" in (page.locator("#gallery-0 img").first.get_attribute("alt") or "")
    sync_api.expect(page.locator("#status")).to_contain_text("part 2 of 2")
    assert float(page.locator("#status progress").get_attribute("value")) >= 0.5
    pressed = time.monotonic()
    press(page, "Stop")
    assert "8 finished pictures" in finish(page, "Stopped")
    assert time.monotonic() - pressed < 3.0
    sync_api.expect(page.locator("#gallery-0 img")).to_have_count(8)
    sync_api.expect(page.locator("#zip")).to_be_enabled()


def visible_frames(page: sync_api.Page) -> list[str]:
    return page.locator("#gallery-0 .gallery-item").evaluate_all(
        "items => items.filter(e => getComputedStyle(e).visibility === 'visible').map(e => e.querySelector('img').alt)"
    )


def test_a_latent_walk_is_scrubbed_with_a_slider_and_plays(page: sync_api.Page) -> None:
    page.get_by_label("Latent walk").check()
    page.get_by_label("Frames").and_(page.locator("input[type=number]")).fill("5")
    press(page, "Generate")
    assert "5 pictures" in finish(page, "Done:")
    slider = page.locator("#frame input[type=range]")
    sync_api.expect(slider).to_have_value("5")
    sync_api.expect(page.locator("#gallery-0 img")).to_have_count(5)
    assert [alt.split(", ")[2] for alt in visible_frames(page)] == ["100% of the way"]
    slider.focus()
    for _ in range(2):
        page.keyboard.press("ArrowLeft")
    sync_api.expect(slider).to_have_value("3")
    page.wait_for_timeout(500)
    assert [alt.split(", ")[2] for alt in visible_frames(page)] == ["50% of the way"]
    press(page, "Play")
    sync_api.expect(slider).to_have_value("1")  # it goes to the end and back
    press(page, "Pause")
    page.wait_for_timeout(300)
    rests = slider.input_value()
    page.wait_for_timeout(500)
    assert slider.input_value() == rests
    page.get_by_role("button", name="Single files").click()
    sync_api.expect(page.get_by_text(".gif")).to_be_visible()
    page.get_by_label("Images", exact=True).and_(page.locator("input[type=radio]")).check()
    press(page, "Generate")
    finish(page, "8 pictures")
    sync_api.expect(slider).to_have_count(0)
    assert len(visible_frames(page)) == 4


def test_an_error_is_a_toast_and_the_next_run_goes_well(page: sync_api.Page) -> None:
    seed = page.locator("#seed textarea, #seed input")
    seed.fill("13")
    press(page, "Generate")
    sync_api.expect(page.get_by_text("Seed 13 brings bad luck")).to_be_visible()
    finish(page, "ended with an error")
    sync_api.expect(page.locator("#stop")).to_be_disabled()
    seed.fill("1")
    press(page, "Generate")
    finish(page, "Done:")


def test_the_board_shows_numbers_and_dashes_and_fits_a_phone(page: sync_api.Page) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    narrow = "[document.documentElement.scrollWidth, window.innerWidth]"
    for tab in ("Generate", "Board"):
        page.get_by_role("tab", name=tab).click()
        page.wait_for_timeout(300)
        wide, window = page.evaluate(narrow)
        assert wide <= window, tab
    title = page.locator("#scatter .gtitle")
    title.wait_for()
    box, frame = title.bounding_box(), page.locator("#scatter").bounding_box()
    assert box["x"] + box["width"] <= frame["x"] + frame["width"], "the title of the plot is cut off"
    page.set_viewport_size({"width": 1280, "height": 900})
    sync_api.expect(page.get_by_text("Not for clinical use")).to_be_visible()
    table = page.locator("#results")
    row = table.get_by_role("row").filter(has_text="noise-a-32")
    sync_api.expect(row.get_by_role("cell").first).to_have_text("0.50[0.40, 0.60]")
    sync_api.expect(table.get_by_role("row").filter(has_text="noise-b-32").get_by_role("cell").first).to_have_text("-")
    with page.expect_download() as waiting:
        page.locator("#export-csv").click()
    assert "noise-a-32" in Path(waiting.value.path()).read_text()


def test_a_bad_seed_turns_its_field_red_and_the_keyboard_alone_can_put_it_right(page: sync_api.Page) -> None:
    seed = page.locator("#seed textarea, #seed input")
    seed.fill("minus one")
    sync_api.expect(page.locator("#generate")).to_be_enabled()

    def press() -> None:
        page.locator("#generate").focus()
        page.keyboard.press("Enter")

    browsing.refused(page.locator("#seed"), "Give a whole number such as 0", press)
    sync_api.expect(page.locator("#status")).to_contain_text("Choose models")
    seed.focus()
    page.keyboard.press("Control+a")
    page.keyboard.type("3, 3")
    page.locator("#models").get_by_role("checkbox").first.focus()
    page.keyboard.press("Space")
    sync_api.expect(page.get_by_label("Noise A")).not_to_be_checked()
    page.locator("#generate").focus()
    page.keyboard.press("Enter")
    assert "2 pictures" in finish(page, "Done:")


def test_the_tab_key_reaches_the_form_and_nothing_that_is_hidden(page: sync_api.Page) -> None:
    words = "e => e.getAttribute('aria-label') || e.closest('label')?.innerText || e.innerText"
    reached = []
    for _ in range(9):  # the sidebar, five tabs, the form
        page.keyboard.press("Tab")
        assert page.locator(":focus").is_visible()
        box = page.locator(":focus").bounding_box()
        assert box["x"] + box["width"] > 0, "on the screen"
        reached.append(page.locator(":focus").evaluate(words).strip())
    assert reached[0] == "Toggle Sidebar" and reached[-2:] == ["Noise B", "Images"], reached


def test_a_closed_page_gives_the_machine_back(page: sync_api.Page, browser: sync_api.BrowserContext) -> None:
    left = browser.new_page()
    left.goto(page.url)
    left.get_by_label("Steps").wait_for()
    page.wait_for_timeout(1_000)
    left.get_by_label("Steps").fill("1000")
    left.get_by_label("Images", exact=False).and_(left.locator("input[type=number]")).fill("64")
    press(left, "Generate")
    sync_api.expect(left.locator("#status")).to_contain_text("step")  # 160 seconds of work have begun
    left.close()
    press(page, "Generate")
    assert "8 pictures" in finish(page, "Done:")
