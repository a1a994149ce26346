"""The viewer in headless Chromium: letters, keys, wheel, click, windows, pairs, films, speed, a phone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import browsing
import nibabel as nib
import numpy as np
import pytest
from viewer_page import BRIGHT, MEDIAN_MS, PAGE, WHITE_BELOW, write_all

sync_api = pytest.importorskip("playwright.sync_api")
pytestmark = browsing.MARKS


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("volumes")
    write_all(place)
    return place


@pytest.fixture(scope="module")
def address(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with browsing.serving(PAGE.format(folder=str(folder)), tmp_path_factory.mktemp("checkpoints")) as url:
        yield url


@pytest.fixture
def page(browser: sync_api.BrowserContext, address: str) -> Iterator[sync_api.Page]:
    with browsing.watched(browser) as tab:
        tab.goto(address)
        sync_api.expect(tab.locator("#viewer")).to_contain_text("Nothing is shown yet.")
        browsing.settle(tab)
        yield tab


def show(page: sync_api.Page, name: str, title: str) -> list[sync_api.Locator]:
    """Fills the viewer; returns its canvases, axial ones first."""
    page.get_by_role("button", name=name, exact=True).click()
    sync_api.expect(page.locator("#viewer .said").first).to_contain_text(title)
    sync_api.expect(page.locator("#viewer canvas").first).to_have_attribute("aria-label", re.compile("slice"))
    drawn(page)
    return page.locator("#viewer canvas").all()


def drawn(page: sync_api.Page) -> None:
    """Waits until what was asked is drawn: the viewer draws once a frame, and a busy machine may be late for one."""
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done())))")


def readout(page: sync_api.Page, index: int = 0) -> tuple[np.ndarray, tuple[int, ...], float]:
    """What stands below the pictures: mm, voxel of the file, value."""
    drawn(page)
    text = page.locator("#viewer .readout").nth(index).inner_text().replace("−", "-")
    found = re.fullmatch(r"x (\S+), y (\S+), z (\S+) mm · voxel (\S+), (\S+), (\S+) · (\S+) (au|HU)", text)
    assert found, text
    numbers = found.groups()[:7]
    return np.array(numbers[:3], float), tuple(int(n) for n in numbers[3:6]), float(numbers[6])


def agrees(page: sync_api.Page, file: Path, index: int = 0) -> None:
    """The readout names the voxel and the value that nibabel has at its mm."""
    mm, voxel, value = readout(page, index)
    image = nib.load(file)
    exact = np.linalg.inv(image.affine) @ [*mm, 1.0]
    assert np.abs(exact[:3] - voxel).max() < 0.56, "rounded to 0.1 mm, half a voxel in a pair"
    assert image.dataobj[voxel] == value


def number(canvas: sync_api.Locator) -> int:
    drawn(canvas.page)
    return int(re.search(r"slice (\d+) of", canvas.get_attribute("aria-label") or "")[1])


def shine(canvas: sync_api.Locator) -> list[float]:
    """Where the bright pixels lie, and their share."""
    drawn(canvas.page)
    return canvas.evaluate(BRIGHT)


def test_letters_keys_wheel_and_click_agree_with_nibabel(page: sync_api.Page, folder: Path) -> None:
    axial, coronal, sagittal = show(page, "oblique", "oblique")
    assert axial.get_attribute("aria-label").startswith("axial slice 15 of 0 to 29, oblique; left R, right L, top A,")
    assert "left R, right L, top S, bottom I" in coronal.get_attribute("aria-label")
    assert "left A, right P, top S, bottom I" in sagittal.get_attribute("aria-label")
    sync_api.expect(page.locator("#viewer .said")).to_contain_text("3 x 2.5 x 2 mm, axes PSR")
    agrees(page, folder / "oblique.nii.gz")
    axial.focus()
    for key, slice_ in (("ArrowUp", 16), ("ArrowLeft", 15), ("PageDown", 5), ("Home", 0), ("End", 29), ("PageUp", 29)):
        page.keyboard.press(key)
        assert number(axial) == slice_, key
        agrees(page, folder / "oblique.nii.gz")
    before = readout(page)[0]
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("Shift+ArrowDown")
    moved = np.array(readout(page)[0]) - before
    assert moved[0] < -1.0 and moved[1] < -2.0, "to the left of the patient, which is on the right, and to the back"
    sagittal.hover()
    page.mouse.wheel(0, -120)
    page.wait_for_function(
        "document.querySelectorAll('#viewer canvas')[2].getAttribute('aria-label').includes('e 25 ')"
    )
    agrees(page, folder / "oblique.nii.gz")
    box = coronal.bounding_box()
    page.mouse.click(box["x"] + box["width"] * 0.3, box["y"] + box["height"] * 0.4)
    assert number(sagittal) > 30 and 15 < number(axial) < 20, "the click is on the right and above the middle"
    agrees(page, folder / "oblique.nii.gz")
    page.mouse.move(box["x"] + box["width"] * 0.3, box["y"] + box["height"] * 0.4)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.7, box["y"] + box["height"] * 0.7, steps=3)
    page.mouse.up()
    page.wait_for_timeout(100)
    assert number(sagittal) < 20 and number(axial) < 12
    agrees(page, folder / "oblique.nii.gz")
    page.locator("#viewer input[aria-label=Axial]").fill("7")
    assert number(axial) == 7
    axial.focus()
    page.keyboard.press("+")
    sync_api.expect(page.locator("#viewer")).to_contain_text("1.5×")
    page.mouse.click(*(axial.bounding_box()[side] + 30 for side in ("x", "y")))
    agrees(page, folder / "oblique.nii.gz")


def test_left_front_and_top_are_where_their_letters_are(page: sync_api.Page) -> None:
    canvases = show(page, "corner", "corner")
    for plane, index in (("Axial", 32), ("Coronal", 32), ("Sagittal", 7)):
        page.locator(f"#viewer input[aria-label={plane}]").fill(str(index))
    places = [shine(canvas) for canvas in canvases]
    for (x, y, share), right in zip(places, (True, True, False), strict=True):
        assert share > 0.05 and y < 0.4 and (x > 0.6) == right and not 0.4 < x < 0.6
    canvases = show(page, "unknown", "unknown")
    assert canvases[0].get_attribute("aria-label").endswith("left ?, right ?, top ?, bottom ?")
    sync_api.expect(page.locator("#viewer .said")).to_contain_text("nobody knows left from right")


def test_windows_by_preset_number_and_right_button(page: sync_api.Page) -> None:
    canvas = show(page, "ct", "ct")[0]
    select, width, level = (page.locator(f"#viewer [aria-label='{name}']") for name in
                            ("Window", "Window width", "Window level"))  # fmt: skip
    assert select.locator("option").all_inner_texts()[:3] == [
        "brain 80/40: 0 to 80",
        "bone 2000/500: -500 to 1500",
        "lung 1500/-600: -1350 to 150",
    ]
    bright = shine(canvas)[2]
    select.select_option("1")
    assert (width.input_value(), level.input_value()) == ("2000", "500")
    assert shine(canvas)[2] < bright, "in the bone window grey matter is dark"
    width.fill("10")
    level.fill("-100")
    assert select.input_value() == "-1" and shine(canvas)[2] > 0.4, "by hand: all tissue is white"
    width.fill("-3")
    assert width.evaluate("field => !field.validity.valid")
    level.focus()
    assert width.input_value() == "10" and width.evaluate("field => field.validity.valid")
    box = canvas.bounding_box()
    page.mouse.move(box["x"] + 50, box["y"] + 50)
    page.mouse.down(button="right")
    page.mouse.move(box["x"] + 150, box["y"] + 50)
    page.mouse.up(button="right")
    canvas.focus()
    assert abs(float(width.input_value()) - 20) < 1.5, "100 pixels double the width"
    page.get_by_role("button", name="Reset").click()
    assert (width.input_value(), level.input_value(), select.input_value()) == ("80", "40", "0")


def test_a_pair_shares_its_crosshair_in_mm_and_a_film_its_frames(page: sync_api.Page, folder: Path) -> None:
    canvases = show(page, "pair", "made")
    assert len(canvases) == 6 and "made, synthetic;" in canvases[0].get_attribute("aria-label")
    assert canvases[1].get_attribute("aria-label").startswith("axial slice 15 of 0 to 29, oblique; left R")
    assert canvases[0].evaluate(WHITE_BELOW) > 100, "SYNTHETIC is burned in"
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    for plane, index in (("Axial", 20), ("Coronal", 11), ("Sagittal", 22)):
        page.locator(f"#viewer input[aria-label={plane}]").fill(str(index))
    for i, name in enumerate(("made", "oblique")):
        agrees(page, folder / f"{name}.nii.gz", i)
    np.testing.assert_array_equal(readout(page, 0)[0], readout(page, 1)[0])
    canvases[5].focus()
    page.keyboard.press("ArrowUp")
    np.testing.assert_array_equal(readout(page, 0)[0], readout(page, 1)[0])
    agrees(page, folder / "oblique.nii.gz", 1)
    sync_api.expect(page.locator("#viewer select")).to_have_count(2)
    page.locator("#viewer select").nth(1).select_option("1")
    assert not requests, "nobody was asked for a slice"

    show(page, "walk", "walk")
    first = readout(page)[2]
    requests.clear()
    page.locator("#viewer input[aria-label=Frame]").fill("2")
    sync_api.expect(page.locator("#viewer .film")).to_contain_text("3 of 4: third")
    assert readout(page)[2] == first + 200
    page.get_by_role("button", name="Play").click()
    sync_api.expect(page.locator("#viewer .film")).to_contain_text("start")
    page.get_by_role("button", name="Pause").click()
    assert not requests
    show(page, "pair", "made")
    page.get_by_role("button", name="nothing").click()
    sync_api.expect(page.locator("#viewer")).to_contain_text("Nothing is shown yet.")


def test_a_slice_of_a_head_of_1_mm_within_30_ms_and_on_a_phone(page: sync_api.Page) -> None:
    canvases = show(page, "head", "197 x 233 x 189 voxels of 1 x 1 x 1 mm")
    assert "slice 94 of 0 to 188" in canvases[0].get_attribute("aria-label")
    median = page.evaluate(MEDIAN_MS)
    print(f"slider to slice: {median:.1f} ms")
    assert median < 30  # 1.3 with 16 processes waiting for 2 cores: no patience is needed
    canvases[1].focus()
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("ArrowRight")  # the slider of the plane, by keyboard
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "Coronal"
    page.get_by_role("button", name="Enlarge sagittal").click()
    assert canvases[2].bounding_box()["width"] > 1.6 * canvases[0].bounding_box()["width"]
    page.set_viewport_size({"width": 390, "height": 844})
    page.wait_for_timeout(300)
    wide, window = page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
    assert wide <= window and canvases[0].bounding_box()["width"] > 250
    show(page, "pair", "made")
    left, right = (canvas.bounding_box() for canvas in page.locator("#viewer canvas").all()[:2])
    assert left["y"] == right["y"] and left["width"] > 130, "beside each other"
    assert page.evaluate("document.documentElement.scrollWidth") <= window
    page.set_viewport_size({"width": 1280, "height": 900})
