"""Whole heads translated slice by slice: on the grid of the source, in its place, within memory."""

from __future__ import annotations

import json
import tracemalloc
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr
import nibabel as nib
import numpy as np
import pytest
from translate_fakes import coarse, make_card, register, save, series_zip

from demos import lane, runner, scratch, slice_source, translate, translate_form, translate_source, translate_volume
from demos.slice_phantom import phantom
from demos.slice_source import Given
from demos.translate_form import TranslateForm
from demos.translate_volume import Made
from medgen.provenance import read_manifest
from medgen.read_volume import read_volume
from medgen.volume import PLANES, Volume, grid_difference

FORM = TranslateForm(None, None, "t1-t2", ["ignored"], "axial", 0, "5", 4, "")


@pytest.fixture(autouse=True)
def cards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    slice_source._kept.clear()
    made = [make_card("unet", "t1-t2"), make_card("diffusion", "t1-t2"), make_card("unet", "mr-ct"),
            make_card("unet", "ct-mr")]  # fmt: skip
    register(tmp_path / "checkpoints", monkeypatch, made)
    return tmp_path / "checkpoints"


def run(model: str, form: TranslateForm, process: runner.Process = runner.portions) -> tuple[list[list[Any]], Made]:
    lane.arm("whole")
    values = [getattr(form, name) for name in translate_form.FIELDS]
    screens = list(translate_volume.run(process, "whole", model, *values))
    return screens, screens[-1][1]


def oblique() -> Volume:
    """The drawn head on a coarse grid of three different spacings, turned, with axes to the left, back and head."""
    head = coarse("t1", 2).reoriented("LPS")
    c, s = np.cos(np.radians(9)), np.sin(np.radians(9))
    turn = np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag([-1.9, -2.0, 3.5])
    affine[:3, 3] = (80.0, 95.0, -60.0)
    return Volume(np.ascontiguousarray(head.array), affine, "MR", "au")


@pytest.mark.parametrize("plane", PLANES)
def test_a_model_that_copies_gives_back_the_head_at_its_place_in_every_plane(tmp_path: Path, plane: str) -> None:
    head = oblique()
    source = Given("head.nii.gz", str(save(tmp_path / "head.nii.gz", head)))
    screens, made = run("unet-t1-t2-256", replace(FORM, source=source, plane=plane))
    assert "<progress" in screens[0][0] and "Done:" in screens[-1][0] and "slices in" in screens[-1][0]
    assert made.dicom is None and "91 x 109 x 91 voxels on the grid of head.nii.gz" in made.said
    assert scratch.DOWNLOADS.root in made.nifti.parents
    raw, back = nib.load(made.nifti), read_volume(made.nifti)
    assert raw.shape == head.array.shape
    np.testing.assert_allclose(raw.affine, head.affine, atol=1e-4)
    assert back.synthetic and grid_difference(head, back) is None
    expected = slice_source.opened(source).levels(head.array)
    gap = np.abs(back.array - expected)
    assert np.median(gap) < 1.0 and gap.mean() < 4.0, "but for what interpolation costs"


def test_the_manifest_names_the_source_and_one_seed_stands_for_all_slices(tmp_path: Path) -> None:
    source = Given("head.nii.gz", str(save(tmp_path / "head.nii.gz", coarse("t1", 8))))
    asked = []

    def listening(tasks: list[runner.Task], stop: Any, previews: bool) -> Iterator[runner.Event]:
        asked.extend(task.request for task in tasks)
        yield from runner.portions(tasks, stop, previews)

    _, made = run("diffusion-t1-t2-256", replace(FORM, source=source, steps="2"), listening)
    assert {seed for request in asked for seed in request.seeds} == {5}
    assert max(len(request.seeds) for request in asked) <= runner.BATCH
    assert all(request.steps == 2 and len(request.source) == len(request.seeds) for request in asked)
    manifest = read_manifest(made.manifest)
    assert manifest["request"]["seeds"] == [5] and manifest["volume"]["shape"] == [23, 28, 23]
    assert manifest["request"]["source_sha256"] and manifest["files"][0]["file"] == made.nifti.name
    said, nifti, side, dicom = translate.files(made)
    assert nifti["interactive"] and side["interactive"] and not dicom["visible"] and made.said in said
    assert translate.files(None)[1]["interactive"] is False


def test_a_dicom_series_comes_back_as_one_and_what_no_model_sees_is_air(tmp_path: Path) -> None:
    head = phantom("t1")
    wide = np.zeros((90, 90, 12), np.float32)
    wide[:46, :55] = head.array[::4, ::4, 60:120:5]  # 4 mm: 360 mm wide, the head in one corner
    volume = Volume(wide, np.diag([4.0, 4.0, 5.0, 1.0]), "MR", "au")
    path = series_zip(tmp_path / "series.zip", [volume])
    given = translate_source.on_upload(str(path), "MR")[0]
    _, made = run("unet-mr-ct-256", replace(FORM, source=given, direction="mr-ct"))
    assert "49% of each slice lies outside the 256 mm that the model sees: -1024 HU." in made.said
    back = read_volume(made.dicom)
    assert (back.modality, back.unit, back.synthetic) == ("CT", "HU", True) and grid_difference(volume, back) is None
    nifti = read_volume(made.nifti, "CT")
    np.testing.assert_array_equal(nifti.canonical().array, back.canonical().array)
    assert (nifti.canonical().array[-10:] == -1024.0).all() and nifti.array.max() > 1000.0
    with zipfile.ZipFile(made.dicom) as archive:
        assert json.loads(archive.read("manifest.json"))["synthetic"] is True and len(archive.namelist()) == 13


def test_slices_that_show_nothing_are_left_to_the_background_and_said(tmp_path: Path) -> None:
    head = coarse("ct", 4)
    head.array[:, :, :10] = -1024.0
    source = Given("head.nii.gz", str(save(tmp_path / "head.nii.gz", head)), says="CT")
    asked = []

    def listening(tasks: list[runner.Task], stop: Any, previews: bool) -> Iterator[runner.Event]:
        asked.extend(task.request for task in tasks)
        yield from runner.portions(tasks, stop, previews)

    _, made = run("unet-ct-mr-256", replace(FORM, source=source, direction="ct-mr"), listening)
    assert sum(len(request.seeds) for request in asked) < 46 - 9
    assert "slices show nothing and stayed 0 levels" in made.said
    assert (read_volume(made.nifti).array[:, :, :10] == 0.0).all()


def test_a_stopped_head_is_not_kept_and_an_error_is_a_toast(tmp_path: Path, cards: Path) -> None:
    source = Given("head.nii.gz", str(save(tmp_path / "head.nii.gz", coarse("t1", 2))))
    form = replace(FORM, source=source)

    def stopping(tasks: list[runner.Task], stop: Any, previews: bool) -> Iterator[runner.Event]:
        for event in runner.portions(tasks, stop, previews):
            yield event
            if isinstance(event, runner.Result):
                stop.set()

    screens, _ = run("unet-t1-t2-256", form, stopping)
    assert "Stopped after 8 of 91 slices" in screens[-1][0] and not isinstance(screens[-1][1], Made)
    assert screens[0][1] is None, "the files of the run before are gone"
    make_card("unet", "t1-t2", net={"fails": True}).save(cards / "unet-t1-t2-256")
    with pytest.raises(gr.Error, match="fetch them again"):
        run("unet-t1-t2-256", form)
    with pytest.raises(gr.Error, match="choose another translation"):
        run("unet-ct-mr-256", replace(form, direction="ct-mr"))
    with pytest.raises(gr.Error, match="no head to translate"):
        run("unet-t1-t2-256", FORM)
    answers = translate_volume.validator(None, *[getattr(form, name) for name in translate_form.FIELDS])
    assert len(answers) == 1 + len(translate_form.FIELDS) and not answers[0]["is_valid"]


def test_memory_does_not_grow_with_the_number_of_slices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    head = np.zeros((32, 32, 160), np.float32)
    head[8:24, 8:24] = np.random.default_rng(0).uniform(50, 100, (16, 16, 160))
    volume = Volume(head, np.diag([4.0, 4.0, 1.0, 1.0]), "MR", "au")
    source = Given("long.nii", str(save(tmp_path / "long.nii", volume)))
    pictures = 160 * 256 * 256 * 4

    def instant(tasks: list[runner.Task], stop: Any, previews: bool) -> Iterator[runner.Event]:
        for task in tasks:
            yield runner.Result(task.card, (task.request,), task.request.source, 0.01, 1.0)

    monkeypatch.setattr(translate_volume, "_PART", 16)
    tracemalloc.start()
    try:
        _, made = run("unet-t1-t2-256", replace(FORM, source=source), instant)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert isinstance(made, Made) and peak < pictures / 2
    monkeypatch.setattr(translate_volume, "MAX_VOXELS", 32 * 32 * 159)
    with pytest.raises(gr.Error, match=r"32 x 32 x 160 voxels are too many.*crop the head"):
        run("unet-t1-t2-256", replace(FORM, source=source), instant)
