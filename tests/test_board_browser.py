"""The Board tab in headless Chromium: what stands behind its tabs is drawn when they are opened, also on a phone."""

from __future__ import annotations

from collections.abc import Iterator

import browsing
import pytest
from board_fakes import add, collapse, write

sync_api = pytest.importorskip("playwright.sync_api")
pytestmark = browsing.MARKS
BOARD = "import runpy, sys; sys.path.insert(0, '.'); runpy.run_module('demos.board', run_name='__main__')"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The tab alone, on two made-up models and one study."""
    folder = tmp_path_factory.mktemp("board")
    write(add(folder / "checkpoints", "slow", family="diffusion"), fid=30.0, seconds_per_image=1.0)
    write(add(folder / "checkpoints", "quick", family="gan"), fid=60.0, seconds_per_image=0.01)
    collapse(folder / "results")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDGEN_RESULTS", str(folder / "results"))
        with browsing.serving(BOARD, folder / "checkpoints") as url:
            yield url


def test_the_tabs_of_the_board_are_drawn_when_opened_and_fit_a_phone(
    browser: sync_api.BrowserContext, address: str
) -> None:
    with browsing.watched(browser) as page:
        page.set_viewport_size({"width": 390, "height": 844})
        page.goto(address)
        page.locator("#cost .gtitle").wait_for()
        browsing.settle(page)
        boxes = [page.locator(f"#{plot}").bounding_box() for plot in ("scatter", "cost")]
        assert all(box["width"] > 300 for box in boxes), "on a phone the plots stand below each other"
        rows = page.locator("#results").get_by_role("row")
        sync_api.expect(rows).to_have_count(4)
        page.locator("#family input").click()
        page.get_by_role("option", name="GAN").click()
        sync_api.expect(rows).to_have_count(3)
        page.get_by_role("tab", name="One model").click()
        sync_api.expect(page.locator("#model-page")).to_contain_text("Title of quick")
        page.get_by_role("tab", name="Studies").click()
        page.get_by_role("button", name="Mode collapse").click()
        sync_api.expect(page.locator("#study-collapse")).to_contain_text("falling")
        sync_api.expect(page.locator("#study-collapse .gtitle, #study-collapse .main-svg").first).to_be_visible()
        page.get_by_role("button", name="Usefulness").click()
        sync_api.expect(page.locator("#study-downstream")).to_contain_text("python -m eval.downstream")
        wide, window = page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
        assert wide <= window
        page.set_viewport_size({"width": 1280, "height": 900})
        page.get_by_role("tab", name="Pictures").click()
        page.locator("#cost").hover()
        with page.expect_download() as waiting:
            page.locator("#cost .modebar-btn[data-title*='PNG']").click()
        assert waiting.value.suggested_filename.endswith(".png")
