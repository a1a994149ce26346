"""The Generate tab with a number: the card alone says that there is a slider, and what it asks."""

import json
from dataclasses import astuple, replace

import brain_fakes
import numpy as np
import pytest

import medgen
from demos import columns, controls, downloads, form, generate
from demos.form import ANY_LABEL, IMAGES, Form
from demos.runner import Result
from medgen import ImageSet, ModelCard

HEIGHT = {"name": "slice height", "unit": "mm", "low": -62.0, "high": 56.0, "step": 2.0}
ASKED = Form(["noise-brain-128"], IMAGES, "5", 3, "1", 4, ANY_LABEL, "", "", True, True, 10.0, False)


def card(name, **other):
    values = {
        "name": name, "family": "noise", "title": name, "modality": "MR", "unit": "au", "window": (0.0, 255.0),
        "shape": (1, 128, 128), "licence": "MIT", "limits": "Noise.", "data": "ixi_brain_128",
        "controls": ("quantity", "towards"), "quantity": HEIGHT, "spacing_mm": (1.5, 1.5),
    }  # fmt: skip
    return ModelCard(**{**values, **other})


@pytest.fixture
def checkpoints(tmp_path, monkeypatch):
    place = tmp_path / "checkpoints"
    monkeypatch.setenv("MEDGEN_CHECKPOINTS", str(place))
    monkeypatch.delenv("MEDGEN_DATA", raising=False)
    for one in (
        card("noise-brain-128"),
        card("plain-brain-128", controls=(), quantity={}, spacing_mm=None),
        card("noise-cxr-128", modality="CR", data=None, controls=(), quantity={}, spacing_mm=None),
    ):
        one.save(place / one.name)
    return place


def shown(models, quantity=None):
    *_, slider, anything = controls.on_choice(models, IMAGES, None, quantity)
    return slider, anything


def test_the_slider_is_there_because_a_card_says_so(checkpoints):
    assert [choice["visible"] for choice in shown(["noise-cxr-128"])] == [False, False]
    slider, anything = shown(["plain-brain-128", "noise-brain-128"])
    assert (slider["minimum"], slider["maximum"], slider["step"], slider["value"]) == (-62.0, 56.0, 2.0, 0.0)
    assert slider["label"] == "Slice height, mm" and anything["label"] == "Any slice height"
    assert shown(["noise-brain-128"], 30.0)[0]["value"] == 30.0, "what was chosen stays"
    assert shown(["noise-brain-128"], 90.0)[0]["value"] == 0.0
    assert set(controls.offered("MR")) == {"noise-brain-128", "plain-brain-128"}


def test_the_form_asks_for_the_number_where_a_model_takes_it(checkpoints):
    known = medgen.cards()
    assert form.request(ASKED, known["noise-brain-128"]).quantity == 10.0
    assert form.request(ASKED, known["plain-brain-128"]).quantity is None
    assert form.request(replace(ASKED, any_quantity=True), known["noise-brain-128"]).quantity is None
    both = replace(ASKED, models=["noise-brain-128", "plain-brain-128"])
    assert form.left_out(both, known["plain-brain-128"]) == "This model takes no slice height."
    assert form.left_out(both, known["noise-brain-128"]) == ""
    assert form.left_out(replace(ASKED, models=["noise-cxr-128"]), known["noise-cxr-128"]) == ""


@pytest.mark.parametrize("quantity", [60.0, -63.0, None])
def test_a_number_out_of_range_turns_its_field_red(checkpoints, quantity):
    wrong = replace(ASKED, quantity=quantity)
    assert "-62 to 56 mm" in form.problems(wrong)["quantity"]
    assert not form.problems(replace(wrong, any_quantity=True))
    assert not form.problems(replace(wrong, models=["noise-cxr-128"])), "a hidden field may hold anything"
    assert [one["is_valid"] for one in form.validator(*astuple(wrong))].count(False) == 1


@pytest.mark.parametrize("anything", [False, True])
def test_a_manifest_fills_the_form_again(checkpoints, tmp_path, anything):
    asked = replace(ASKED, any_quantity=anything)
    own = medgen.cards()["noise-brain-128"]
    request = form.request(asked, own)
    made = ImageSet(np.zeros((3, 1, 128, 128), np.float32), "MR", "au", (0.0, 255.0))
    result = Result(own, [request], made, 1.0, 1.0)
    for format in ("png", "nii"):
        path, manifests = downloads.pack([result], tmp_path, format)
        again = downloads.form_of(downloads.read_manifests(path), medgen.cards())
        assert again.any_quantity is anything and (anything or again.quantity == 10.0)
    assert json.loads(json.dumps(manifests))["noise-brain-128"]["slice"]["spacing_mm"] == [1.5, 1.5]
    *_, slider, box = generate.fill(str(path))
    assert slider["value"] == (0.0 if anything else 10.0) and box is anything
    said = columns._captions(result)[0]
    assert ("slice height 10 mm" in said) is not anything


def test_formats_are_those_that_all_chosen_models_have(checkpoints):
    assert [format for _, format in generate.choices(["noise-brain-128"])] == ["png", "dcm", "nii"]
    assert [format for _, format in generate.choices(["noise-brain-128", "noise-cxr-128"])] == ["png", "dcm"]
    assert generate.on_models(["noise-cxr-128"], "nii")["value"] == "png"
    assert generate.on_models(["noise-brain-128"], "nii")["value"] == "nii"


def test_real_slices_beside_are_of_the_asked_height_and_of_different_people(checkpoints, tmp_path, monkeypatch):
    brain_fakes.ixi(tmp_path / "data" / "IXI")
    monkeypatch.setenv("MEDGEN_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("MEDGEN_CACHE", str(tmp_path / "cache"))
    images = columns.real_like("ixi_brain_128", ASKED)
    assert len(set(images.subjects)) == 3 and np.abs(np.array(images.quantities) - 10.0).max() < 2.0
    more = columns.real_like("ixi_brain_128", replace(ASKED, count=5))
    assert len(set(more.subjects[:3])) == 3 and np.abs(np.array(more.quantities) - 10.0).max() < 4.0
    anywhere = columns.real_like("ixi_brain_128", replace(ASKED, any_quantity=True))
    assert np.ptp(anywhere.quantities) > 4.0
