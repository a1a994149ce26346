"""The Volume tab in headless Chromium: generate, compare, scrub a film, open a file beside it, download, a phone."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import browsing
import nibabel as nib
import numpy as np
import pytest
from volume_fakes import QUANTITY, make_card

import medgen
from medgen import Request, registry

sync_api = pytest.importorskip("playwright.sync_api")
pytestmark = browsing.MARKS

# The real app, with models of volumes that need no weights.
APP = """
import runpy, sys
sys.path[:0] = [".", "tests"]
from medgen import registry
registry.FAMILIES["fake-volume"] = "volume_fakes"
runpy.run_path("app.py", run_name="__main__")
"""


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("checkpoints")


@pytest.fixture(scope="module")
def address(checkpoints: Path) -> Iterator[str]:
    cards = [make_card("gan", quantity=QUANTITY), make_card("vae"), make_card("ldm", quantity=QUANTITY)]
    for card in cards:
        card.save(checkpoints / card.name)
    with browsing.serving(APP, checkpoints) as url:
        yield url


@pytest.fixture
def page(browser: sync_api.BrowserContext, address: str) -> Iterator[sync_api.Page]:
    """The tab, loaded; see `browsing.watched`."""
    with browsing.watched(browser) as tab:
        tab.goto(address)
        tab.get_by_role("tab", name="Volume").click()
        sync_api.expect(tab.locator("#volume-models").get_by_role("checkbox")).to_have_count(3)
        browsing.settle(tab)
        yield tab


def press(page: sync_api.Page, words: str) -> None:
    """Generates, and waits until the status says `words`."""
    page.locator("#volume-go").click()
    browsing.finish(page, "volume", words)


def canvases(page: sync_api.Page, count: int) -> list[str]:
    found = page.locator("#volume-viewer canvas[role=img]")
    sync_api.expect(found).to_have_count(count)
    return [one.get_attribute("aria-label") or "" for one in found.all()]


def test_generate_compare_download_and_remake(
    page: sync_api.Page, tmp_path: Path, checkpoints: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page.locator("#volume-seed input, #volume-seed textarea").fill("3")
    quantity = page.locator("#volume-quantity input, #volume-quantity textarea")
    quantity.fill("50")
    go = page.locator("#volume-go")
    browsing.refused(page.locator("#volume-quantity"), "Give a number from 100 to 2000 mm3", go.click)
    quantity.fill("700")
    press(page, "Done: 6 volumes")
    sync_api.expect(page.locator("#volume-columns img")).to_have_count(6)
    sync_api.expect(page.locator("#volume-columns section").nth(1)).to_contain_text("This model takes no quantity.")
    page.wait_for_function(
        "[...document.querySelectorAll('#volume-columns img')].every(e => e.complete && e.naturalWidth > 256)"
    )
    shown = canvases(page, 9)  # three planes of three models
    assert all("synthetic" in label for label in shown)
    for title in ("GAN, seed 3", "VAE, seed 3", "Latent diffusion, seed 3"):
        assert sum(title in label for label in shown) == 3

    monkeypatch.setenv("MEDGEN_CHECKPOINTS", str(checkpoints))
    monkeypatch.setitem(registry.FAMILIES, "fake-volume", "volume_fakes")
    expected = medgen.load("ldm-hippo-48").sample(Request((3,), quantity=700.0)).pixels[0, 0]
    image = nib.load(browsing.download(page, "#volume-nifti-third", tmp_path))
    np.testing.assert_array_equal(image.get_fdata(dtype=np.float32), expected)
    assert nib.aff2axcodes(image.affine) == ("R", "A", "S")
    assert bytes(image.header["descrip"]).startswith(b"SYNTHETIC")
    saved = browsing.download(page, "#volume-zip", tmp_path)
    with zipfile.ZipFile(saved) as archive:
        assert sum(name.endswith(".nii.gz") for name in archive.namelist()) == 6
        assert json.loads(archive.read("gan-hippo-48/manifest.json"))["request"]["quantity"] == 700.0

    with page.expect_file_chooser() as chooser:
        page.locator("#volume-manifest").click()
    chooser.value.set_files(saved)
    sync_api.expect(quantity).to_have_value("700")
    press(page, "Done: 6 volumes")
    sync_api.expect(page.locator("#volume-verdict")).to_contain_text("ldm-hippo-48: 2 of 2 volumes equal")


def test_a_film_is_scrubbed_without_the_server_and_a_file_stands_beside_it(page: sync_api.Page, tmp_path: Path) -> None:
    page.locator("#volume-mode").get_by_label("Latent walk").check()
    page.locator("#volume-frames input").fill("5")
    press(page, "Done: 15 volumes")
    sync_api.expect(page.locator("#volume-first input")).to_have_value("GAN, film of 5 frames")
    frame = page.locator("#volume-viewer").get_by_label("Frame", exact=True).first
    sync_api.expect(frame).to_be_visible()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    pixels = "e => e.getContext('2d').getImageData(0, 0, e.width, e.height).data.reduce((a, b) => a + b, 0)"
    canvas = page.locator("#volume-viewer canvas[role=img]").first
    page.wait_for_timeout(500)
    asked.clear()
    frame.focus()
    page.keyboard.press("Home")
    page.wait_for_timeout(200)
    before = canvas.evaluate(pixels)
    page.keyboard.press("End")
    page.wait_for_timeout(200)
    assert canvas.evaluate(pixels) != before
    assert [url for url in asked if "/queue/" in url or "/run/" in url] == [], "a film is scrubbed without the server"

    flat = tmp_path / "flat.nii"
    nib.Nifti1Image(np.arange(400, dtype=np.float32).reshape(20, 20), np.eye(4)).to_filename(flat)
    scan = tmp_path / "scan.nii.gz"
    array = np.random.default_rng(0).integers(0, 99, (40, 40, 9)).astype(np.int16)
    nib.Nifti1Image(array, np.diag([-0.9, 0.9, 5.0, 1.0])).to_filename(scan)
    with page.expect_file_chooser() as chooser:
        page.locator("#volume-upload").click()
    chooser.value.set_files(flat)
    sync_api.expect(page.get_by_text("flat.nii is a single slice")).to_be_visible()
    with page.expect_file_chooser() as chooser:
        page.locator("#volume-upload").click()
    chooser.value.set_files(scan)
    sync_api.expect(page.locator("#volume-about")).to_contain_text("40 x 40 x 9 voxels of 0.9 x 0.9 x 5 mm, axes LAS")
    sync_api.expect(page.locator("#volume-about")).to_contain_text("two of the planes are coarse")
    sync_api.expect(page.locator("#volume-third input")).to_have_value("scan.nii.gz")
    sync_api.expect(page.locator("#volume-viewer canvas[role=img][aria-label*='scan.nii.gz']")).to_have_count(3)
    sync_api.expect(page.locator("#volume-nifti-third")).to_be_hidden()
    page.locator("#volume-first input").click()
    page.get_by_role("option", name="nothing").click()
    sync_api.expect(page.locator("#volume-viewer canvas[aria-label*='GAN']")).to_have_count(0)

    page.set_viewport_size({"width": 390, "height": 844})
    page.wait_for_timeout(300)
    wide, window = page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
    assert wide <= window
    page.set_viewport_size({"width": 1280, "height": 900})
