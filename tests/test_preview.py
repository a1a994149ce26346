"""The look ahead on a latent walk: which models, which picture, and in a browser how soon after the hand moves."""

from __future__ import annotations

import base64
import io
import re
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import browsing
import gradio as gr
import numpy as np
import pytest
import test_sampling
from PIL import Image

import medgen
from demos import look, preview
from demos.form import IMAGES, WALK
from medgen import ModelCard, Request

LIMIT_MS = 200
FIELDS = (WALK, "3", 4, "5", 24, "any", "", "", True, True, None, True)
"""Of a form behind the models."""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MEDGEN_CHECKPOINTS", str(tmp_path))
    return tmp_path


def save_noise(folder: Path, name: str, **changes: Any) -> None:
    common: dict[str, Any] = {"family": "noise", "modality": "CR", "unit": "au", "window": (0.0, 255.0)}
    common |= {"shape": (1, 32, 32), "licence": "MIT", "limits": "Noise.", "title": name, "controls": ("towards",)}
    ModelCard(name=name, **{**common, **changes}).save(folder / name)


def test_models_that_follow_a_hand_are_those_of_one_pass_or_two_that_can_walk(place: Path) -> None:
    save_noise(place, "one-pass")
    save_noise(place, "student", steps=2, controls=("towards", "steps"))
    save_noise(place, "slow", steps=10, controls=("towards", "steps"))
    save_noise(place, "standing", controls=())
    names = ["one-pass", "student", "slow", "standing"]
    assert [card.name for card in preview.fast(names)] == ["one-pass", "student"]
    assert preview.on_choice(names, WALK)[0]["visible"] is True
    assert preview.on_choice(names, IMAGES)[0]["visible"] is False
    assert preview.on_choice(["slow"], WALK)[0]["visible"] is False


def test_the_picture_is_that_of_the_walk_and_carries_its_mark(place: Path) -> None:
    save_noise(place, "one-pass")
    html = preview.on_move(25.0, ["one-pass"], *FIELDS)
    content = re.search("base64,([^']+)'", html)
    assert content is not None
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(content[1]))))
    request = Request((3,), towards=5, mix=0.25)
    (wanted,) = look.pictures(medgen.load("one-pass").sample(request))
    np.testing.assert_array_equal(shown, np.asarray(wanted))
    assert "seed 3 to 5, 25% of the way, synthetic" in html
    assert preview.on_move(75.0, ["one-pass"], *FIELDS) != html


def test_while_a_field_is_wrong_nothing_changes(place: Path) -> None:
    save_noise(place, "one-pass")
    for wrong in ({1: "minus one"}, {3: ""}, {0: IMAGES}):
        values = [wrong.get(index, value) for index, value in enumerate(FIELDS)]
        assert preview.on_move(25.0, ["one-pass"], *values) == gr.skip()
    odd = [*FIELDS[:4], None, *FIELDS[5:]]
    assert "img" in preview.on_move(25.0, ["one-pass"], *odd), "the number of frames is Generate's"


# the time from the move of the slider to the new picture's first frame on the screen; null when none comes in time
MOVE = """([value, limit]) => new Promise(done => {
  const range = document.querySelector("#ahead input[type=range]");
  const place = document.querySelector("#preview");
  const before = place.querySelector("img")?.src;
  const started = performance.now();
  const look = () => {
    const now = place.querySelector("img");
    const after = performance.now() - started;
    if (now && now.src !== before && now.complete) requestAnimationFrame(() => done(performance.now() - started));
    else if (after > limit) done(null);
    else requestAnimationFrame(look);
  };
  Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, "value").set.call(range, value);
  range.dispatchEvent(new Event("input", { bubbles: true }));
  look();
})"""


class TestBrowser:
    pytestmark = browsing.MARKS

    @pytest.fixture(scope="class")
    def address(self, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
        checkpoints = tmp_path_factory.mktemp("checkpoints")
        test_sampling.save_model(checkpoints, "dcgan")
        script = "import runpy, sys; sys.path.insert(0, '.'); runpy.run_path('app.py', run_name='__main__')"
        with browsing.serving(script, checkpoints) as url:
            yield url

    def test_a_new_picture_follows_the_hand(self, browser: Any, address: str, capsys: Any) -> None:
        with browsing.watched(browser) as page:
            page.goto(address)
            page.get_by_label("dcgan").wait_for()
            browsing.settle(page)
            page.get_by_label("Latent walk").check()
            page.locator("#ahead input[type=range]").wait_for()
            limit = 5_000 * browsing.PATIENCE
            # the first one loads the network, and a page that is not quite ready yet does not hear it
            assert any(page.evaluate(MOVE, [value, limit]) is not None for value in ("50", "40", "60"))
            took = [page.evaluate(MOVE, [str(value), limit]) for value in range(5, 100, 10)]
            assert None not in took, f"no picture within {limit / 1000:.0f} s"
            alt = page.locator("#preview img").get_attribute("alt") or ""
            assert "95% of the way" in alt
        median = statistics.median(took)
        with capsys.disabled():
            print(f"\nlook ahead: a new picture after {median:.0f} ms (median of {len(took)}, at most {max(took):.0f})")
        assert median < LIMIT_MS * browsing.PATIENCE
