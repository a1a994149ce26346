"""What the browser tests share: an app of ours in a process of its own, and a headless Chromium to look at it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, ConsoleMessage, Locator, Page, Request

ROOT = Path(__file__).parent.parent
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
MARKS = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine"),
]
PATIENCE = float(os.environ.get("MEDGEN_PATIENCE") or 1.0)
"""How many times longer than on an idle machine to wait for things; raise it where other work takes the cores."""
_ASKING: WeakKeyDictionary[Page, set[Request]] = WeakKeyDictionary()
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@contextmanager
def serving(script: str, checkpoints: Path) -> Iterator[str]:
    """The address of `python -c script`, which serves a page on the port it is given, on these checkpoints."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    patch = pytest.MonkeyPatch()
    patch.setenv("MEDGEN_CHECKPOINTS", str(checkpoints))
    patch.delenv("MEDGEN_DATA", raising=False)
    patch.delenv("SPACE_ID", raising=False)
    command = [sys.executable, "-c", script, "--port", str(port)]
    app = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}/"
    try:
        end = time.monotonic() + 90 * PATIENCE
        while True:
            try:
                urllib.request.urlopen(url, timeout=5).close()
                break
            except OSError:
                assert time.monotonic() < end and app.poll() is None, "the app did not start"
                time.sleep(0.2)
        yield url
    finally:
        app.terminate()
        app.wait(20)
        patch.undo()


@contextmanager
def chromium(profile: Path) -> Iterator[BrowserContext]:
    """A headless Chromium with an empty `profile` folder."""
    from playwright.sync_api import expect, sync_playwright

    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            profile,
            executable_path=CHROMIUM,
            headless=True,
            args=FLAGS,
            viewport={"width": 1280, "height": 900},
        )
        context.set_default_timeout(20_000 * PATIENCE)
        expect.set_options(timeout=20_000 * PATIENCE)
        yield context
        context.close()


@contextmanager
def watched(browser: BrowserContext) -> Iterator[Page]:
    """An empty page; afterwards nobody outside may have been asked, and the console must be empty of errors."""
    tab = browser.new_page()
    faults: list[str] = []
    hosts: set[str] = set()

    def hear(message: ConsoleMessage) -> None:
        # 422 is how gradio answers a form that its validator refused; the browser logs it as an error
        if message.type == "error" and "status of 422" not in message.text:
            faults.append(message.text)

    tab.on("console", hear)
    tab.on("pageerror", lambda error: faults.append(str(error)))
    tab.on("request", lambda request: hosts.add(urlsplit(request.url).hostname or urlsplit(request.url).scheme))
    asking = _ASKING[tab] = set()
    tab.on("request", lambda request: asking.add(request))
    for over in ("requestfinished", "requestfailed"):
        tab.on(over, lambda request: asking.discard(request))
    yield tab
    tab.close()
    assert hosts <= {"127.0.0.1", "localhost", "data", "blob"}
    assert faults == [], faults


def settle(page: Page, seconds: float = 0.4, limit: float = 15.0) -> None:
    """Waits until a page of `watched` has asked for nothing for so long: what it asks when it opens changes its fields.

    A click before that may be undone by the answer. After `limit` seconds it goes on: a stream may be kept open.
    """
    end = time.monotonic() + limit
    quiet = time.monotonic()
    while time.monotonic() < min(end, quiet + seconds):
        page.wait_for_timeout(50)
        if any("/heartbeat/" not in request.url for request in _ASKING[page]):
            quiet = time.monotonic()


def finish(page: Page, run: str, word: str) -> str:
    """Waits until the status of `run` says `word` and it can be started again; returns the status."""
    from playwright.sync_api import expect

    status = page.locator(f"#{run}-status")
    expect(status).to_contain_text(word)
    expect(page.locator(f"#{run}-go")).to_be_enabled()
    return status.inner_text()


def refused(field: Locator, words: str, press: Callable[[], None]) -> None:
    """Calls `press` until `field` says `words`: a page that has only just drawn a field may clear what it says."""
    from playwright.sync_api import expect

    for patience in (0.2, 0.2, 1.0):
        press()
        try:
            expect(field).to_contain_text(words, timeout=20_000 * PATIENCE * patience)
            return
        except AssertionError:
            if patience == 1.0:
                raise


def download(page: Page, button: str, folder: Path) -> Path:
    """Presses `button` once it can be pressed, and keeps in `folder` what it gives; returns the file."""
    from playwright.sync_api import expect

    expect(page.locator(button)).to_be_enabled()
    with page.expect_download() as waiting:
        page.locator(button).click()
    saved = folder / waiting.value.suggested_filename
    waiting.value.save_as(saved)
    return saved
