"""Which runtime is in force, who asked for it, and that manifests remake their pixels in theirs."""

import json
import logging
import threading
from importlib import import_module

import numpy as np
import pytest
from test_latent import PIXELS, save_model

from medgen import MedgenError, Request, backend, cards, provenance, runtime, sample

MEASURING = [
    "eval.run", "eval.collapse", "eval.height", "eval.hallucination", "eval.downstream.__main__", "eval.pathology",
    "eval.references", "eval.compare", "eval.selftest", "train.shrink",
]  # fmt: skip


@pytest.fixture(autouse=True)
def nothing_said(monkeypatch):
    monkeypatch.delenv("MEDGEN_RUNTIME", raising=False)
    monkeypatch.setenv("MEDGEN_DEVICE", "cpu")
    backend.say_once.cache_clear()


@pytest.fixture
def installed(monkeypatch):
    """Makes openvino look installed or not, and the CPU such that it multiplies bfloat16 or not."""

    def pretend(openvino=True, bf16=True):
        monkeypatch.setattr(backend, "find_spec", lambda name: object() if openvino else None)
        monkeypatch.setattr(backend, "multiplies_bf16", lambda: bf16)

    return pretend


@pytest.mark.parametrize(
    ("asked", "bf16", "name"),
    [
        ("auto", True, "openvino-bf16"), ("auto", False, "openvino"), ("torch", True, "torch"),
        ("openvino", True, "openvino"), ("openvino-bf16", True, "openvino-bf16"), ("openvino-bf16", False, "openvino"),
    ],
)  # fmt: skip
def test_the_name_of_the_runtime(installed, monkeypatch, asked, bf16, name):
    installed(bf16=bf16)
    with runtime.using(asked):
        assert runtime.name() == name
    monkeypatch.setenv("MEDGEN_RUNTIME", asked)
    assert runtime.name() == name


def test_without_openvino_networks_run_in_torch_and_one_line_says_so(installed, caplog):
    installed(openvino=False)
    with caplog.at_level(logging.WARNING):
        assert [runtime.name() for _ in range(3)] == ["torch"] * 3
    assert [record.message for record in caplog.records if "pip install openvino" in record.message] == [
        "openvino is not installed (pip install openvino): networks run in torch, which takes longer."
    ]


def test_a_gpu_is_used_by_torch(installed, monkeypatch):
    installed()
    monkeypatch.setenv("MEDGEN_DEVICE", "meta")
    assert runtime.name() == "torch"


def test_a_block_ends_where_it_ends(installed):
    installed()
    with runtime.using("torch"):
        with runtime.using("openvino"):
            assert runtime.name() == "openvino"
            with runtime.using(None):
                assert runtime.name() == "openvino"
        assert runtime.name() == "torch"
    assert runtime.name() == "openvino-bf16"


def test_an_unknown_runtime_is_one_sentence(monkeypatch):
    with pytest.raises(MedgenError, match="torch or openvino"), runtime.using("onnx"):
        pass
    monkeypatch.setenv("MEDGEN_RUNTIME", "onnx")
    with pytest.raises(MedgenError, match="torch or openvino"):
        runtime.name()


@pytest.mark.parametrize("module", MEASURING)
def test_commands_that_measure_run_in_torch_unless_they_are_told(installed, monkeypatch, module):
    installed()
    monkeypatch.setenv("MEDGEN_RUNTIME", "")
    monkeypatch.delenv("MEDGEN_RUNTIME")
    with pytest.raises(SystemExit):
        import_module(module).main(["--help"])
    assert runtime.name() == "torch"
    monkeypatch.setenv("MEDGEN_RUNTIME", "openvino")
    with pytest.raises(SystemExit):
        import_module(module).main(["--help"])
    assert runtime.name() == "openvino"


def test_a_manifest_is_remade_in_its_own_runtime(tmp_path, monkeypatch, capsys):
    pytest.importorskip("openvino")
    monkeypatch.setenv("MEDGEN_CHECKPOINTS", str(tmp_path / "checkpoints"))
    monkeypatch.setenv("MEDGEN_CACHE", str(tmp_path / "cache"))
    save_model(tmp_path / "checkpoints", PIXELS)
    for name in ("torch", "openvino"):
        monkeypatch.setenv("MEDGEN_RUNTIME", name)
        assert sample.main(["d-test-32", "--n", "2", "--out", str(tmp_path / name)]) == 0
        assert json.loads((tmp_path / name / "manifest.json").read_text())["runtime"] == name
    for other, name in (("openvino", "torch"), ("torch", "openvino")):
        monkeypatch.setenv("MEDGEN_RUNTIME", other)
        again = tmp_path / f"{name}-again"
        assert sample.main(["--manifest", str(tmp_path / name / "manifest.json"), "--out", str(again)]) == 0
        assert "the same pixels" in capsys.readouterr().out
        assert json.loads((again / "manifest.json").read_text())["runtime"] == name


def test_a_manifest_from_before_runtimes_was_made_by_torch_and_a_made_up_one_is_refused():
    assert provenance.runtime_of({}) == "torch"
    assert provenance.runtime_of({"runtime": "openvino-bf16"}) == "openvino-bf16"
    for wrong in ("auto", "onnx", 3):
        with pytest.raises(MedgenError, match="unknown runtime"):
            provenance.runtime_of({"runtime": wrong})


def test_values_are_scaled_to_the_window_and_clipped():
    made = runtime.scaled(np.array([-2.0, -1.0, 0.0, 1.0, 3.0], np.float32), (0.0, 255.0))
    assert made.dtype == np.float32 and made.tolist() == [0.0, 0.0, 127.5, 255.0, 255.0]


def test_the_app_makes_what_a_manifest_asked_in_its_runtime_and_the_rest_in_its_own(tmp_path, monkeypatch, installed):
    from demos import downloads, replay, runner

    installed()
    monkeypatch.setenv("MEDGEN_CHECKPOINTS", str(tmp_path / "checkpoints"))
    save_model(tmp_path / "checkpoints", PIXELS)
    card = cards()["d-test-32"]
    seen = []

    def process(tasks, stop, previews):
        seen.extend(tasks)
        yield from runner.run(tasks[:1], stop, previews)

    asked = Request((3, 4), label="normal", steps=3, guidance=1.0)
    manifest = {"request": asked.to_json(), "runtime": "torch"}
    tasks = [
        runner.Task(card, Request((3, 4), label="normal")),
        runner.Task(card, Request((3, 4), label="normal", steps=2)),
    ]
    events = list(replay.recorded(process, {card.name: manifest})(tasks, threading.Event(), False))
    assert [task.runtime for task in seen] == ["torch", None]
    result = events[-1]
    assert result.runtime == "torch" and runtime.name() == "openvino-bf16"
    _, manifests = downloads.pack([result], tmp_path)
    assert manifests[card.name]["runtime"] == "torch"
