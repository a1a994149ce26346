"""The Translate tab in headless Chromium: a 1 mm head from upload to download, Stop, an example, refusals, a phone."""

from __future__ import annotations

import csv
import io
import re
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import browsing
import nibabel as nib
import numpy as np
import pytest
from translate_fakes import coarse, make_card, save

from demos.slice_phantom import phantom
from medgen.read_volume import read_volume
from medgen.volume import Volume

sync_api = pytest.importorskip("playwright.sync_api")
pytestmark = browsing.MARKS

# The real app, with translators that need no weights: they copy their source.
APP = """
import runpy, sys
sys.path[:0] = [".", "tests"]
from medgen import registry
registry.FAMILIES["fake"] = "translate_fakes"
runpy.run_path("app.py", run_name="__main__")
"""


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    checkpoints = tmp_path_factory.mktemp("checkpoints")
    cards = [
        make_card("pix2pix", "t1-t2"),
        make_card("diffusion", "t1-t2", net={"noise": 12.0}),
        make_card("unet", "mr-ct"),
        make_card("diffusion", "t2-t1", net={"pace": 0.2}),
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
        tab.get_by_role("tab", name="Translate").click()
        sync_api.expect(tab.locator("#translate-models").get_by_role("checkbox")).to_have_count(2)
        browsing.settle(tab)
        yield tab


def upload(page: sync_api.Page, button: str, path: Path) -> None:
    with page.expect_file_chooser() as chooser:
        page.locator(button).click()
    chooser.value.set_files(path)


def next_radio(page: sync_api.Page) -> None:
    """Chooses the next button by keyboard; each of gradio's is a group of its own, so that arrow keys do nothing."""
    page.keyboard.press("Tab")
    page.keyboard.press("Space")


def seen(page: sync_api.Page, place: str, count: int) -> list[str]:
    """The alt texts of the `count` pictures below `place`, once all of them have really arrived."""
    page.wait_for_function(
        """([place, count]) => { const all = [...document.querySelectorAll(place + ' img')];
        return all.length === count && all.every(e => e.complete && e.naturalWidth >= 256) }""",
        arg=[place, count],
    )
    return [picture.get_attribute("alt") for picture in page.locator(f"{place} img").all()]


def head(contrast: str) -> Volume:
    """The drawn head of 1 mm as a scanner might store it: axes to the left, the back and the head, slightly turned."""
    drawn = phantom(contrast).reoriented("LPS")
    c, s = np.cos(np.radians(8)), np.sin(np.radians(8))
    affine = np.eye(4)
    affine[:3, :3] = np.array([[1, 0, 0], [0, c, -s], [0, s, c]]) @ np.diag([-1.0, -1.0, 1.0])
    affine[:3, 3] = (88.5, 104.0, -61.5)
    return Volume(np.ascontiguousarray(drawn.array), affine, drawn.modality, drawn.unit)


def test_a_head_of_1_mm_goes_from_upload_to_download(page: sync_api.Page, tmp_path: Path) -> None:
    volume = head("t1")
    upload(page, "#translate-upload", save(tmp_path / "head.nii.gz", volume))
    sync_api.expect(page.locator("#translate-about")).to_contain_text("181 x 217 x 181 voxels, 1 x 1 x 1 mm, axes LPS")
    assert seen(page, "#translate-preview", 1) == ["axial slice 90 of head.nii.gz"]
    page.locator("#translate-slice input[type=number]").fill("96")
    sync_api.expect(page.locator("#translate-preview img")).to_have_attribute("alt", re.compile("axial slice 96"))
    sync_api.expect(page.locator("#translate-preview")).to_contain_text("letters R L A P")

    upload(page, "#translate-truth", save(tmp_path / "small.nii.gz", coarse("t2", 4)))
    sync_api.expect(page.get_by_text("does not lie on the grid of the source")).to_be_visible()
    sync_api.expect(page.locator("#translate-preview img")).to_have_count(1)
    upload(page, "#translate-truth", save(tmp_path / "truth.nii.gz", head("t2")))
    sync_api.expect(page.locator("#translate-truth-said")).to_contain_text("truth.nii.gz, on the grid of the source")

    page.locator("#translate-go").focus()
    page.keyboard.press("Enter")
    assert "5 pictures" in browsing.finish(page, "translate", "Done:")
    alts = seen(page, "#translate-result", 4)
    assert alts[1:3] == [f"result of {name}-t1-t2-256, axial slice 96, synthetic" for name in ("pix2pix", "diffusion")]
    said = page.locator("#translate-result").inner_text()
    assert said.count("SSIM") == 3 and "4 images in" in said and "n = 1 slice" in said
    sync_api.expect(page.locator("#translate-slider img")).to_have_count(2)
    page.locator("#translate-view input[value=result]").focus()
    next_radio(page)
    seen(page, "#translate-result", 2)
    sync_api.expect(page.locator("#translate-result")).to_contain_text("Result less source")
    next_radio(page)
    sync_api.expect(page.locator("#translate-result")).to_contain_text("Standard deviation over 4 samples")
    next_radio(page)
    sync_api.expect(page.locator("#translate-result")).to_contain_text("Result less truth")

    with zipfile.ZipFile(browsing.download(page, "#translate-zip", tmp_path)) as archive:
        scores = list(csv.DictReader(io.TextIOWrapper(archive.open("scores.csv"), "utf-8")))
        assert "pix2pix-t1-t2-256/manifest.json" in archive.namelist()
    assert [row["picture"] for row in scores] == ["first", "first", "mean of 4"]

    page.get_by_role("button", name="A whole head, slice by slice").click()
    page.locator("#translate-whole input").click()
    page.get_by_role("option", name="Pix2Pix").click()
    page.locator("#translate-whole-go").click()
    assert "181 slices" in browsing.finish(page, "translate-whole", "Done:")
    sync_api.expect(page.locator("#translate-whole-said")).to_contain_text("181 x 217 x 181 voxels on the grid of")
    saved = browsing.download(page, "#translate-nifti", tmp_path)
    made = nib.load(saved)
    assert made.shape == (181, 217, 181) and bytes(made.header["descrip"]).startswith(b"SYNTHETIC MR")
    np.testing.assert_allclose(made.affine, volume.affine, atol=1e-4)
    low, high = np.percentile(volume.array, (0.5, 99.5))
    expected = (np.clip(volume.array, low, high) - low) / (high - low) * 255
    assert np.abs(read_volume(saved).array - expected).max() <= 0.51, "the fake copies: every voxel is where it was"
    assert browsing.download(page, "#translate-json", tmp_path).read_text().startswith("{")


def test_an_example_with_its_truth_ct_presets_stop_and_a_phone(page: sync_api.Page) -> None:
    page.locator("#translate-direction").get_by_label("MR to CT").check()
    sync_api.expect(page.locator("#translate-models").get_by_role("checkbox")).to_have_count(1)
    page.locator("#translate-example input").click()
    page.get_by_role("option", name="Drawn head").click()
    sync_api.expect(page.locator("#translate-truth-said")).to_contain_text("comes with the example")
    assert seen(page, "#translate-preview", 1) == ["axial slice 90 of Drawn head"]
    page.locator("#translate-go").click()
    browsing.finish(page, "translate", "Done:")
    seen(page, "#translate-result", 3)
    sync_api.expect(page.locator("#translate-result")).to_contain_text("in HU, data range 3000")
    before = page.locator("#translate-result img").nth(1).get_attribute("src")
    page.locator("#translate-ct").get_by_label("brain 80/40").check()
    sync_api.expect(page.locator("#translate-result img").nth(1)).not_to_have_attribute("src", before)

    page.locator("#translate-direction").get_by_label("T2 to T1").check()
    sync_api.expect(page.locator("#translate-truth-said")).to_contain_text("No truth is given")
    page.get_by_role("button", name="A whole head, slice by slice").click()
    sync_api.expect(page.locator("#translate-whole input")).to_have_value("Diffusion")
    page.locator("#translate-whole-go").click()
    sync_api.expect(page.locator("#translate-whole-status")).to_contain_text(re.compile(r"slice [1-9]\d* of 181"))
    pressed = time.monotonic()
    page.locator("#translate-whole-stop").click()
    assert "of 181 slices" in browsing.finish(page, "translate-whole", "Stopped")
    assert time.monotonic() - pressed < 5.0 * browsing.PATIENCE
    sync_api.expect(page.locator("#translate-nifti")).to_be_disabled()

    page.set_viewport_size({"width": 390, "height": 844})
    page.wait_for_timeout(300)
    wide, window = page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
    assert wide <= window
    page.set_viewport_size({"width": 1280, "height": 900})
