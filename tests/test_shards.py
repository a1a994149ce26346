"""One process, two processes, and images that nobody holds all at once: the same features and the same report."""

import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from test_eval_run import archive, card, house, measured  # noqa: F401

from eval import kept_features, reduction, reference_rows, references, run
from eval.features import EXTRACTORS
from eval.reduction import CHUNK, Source, kept_rows, reduce
from eval.report import read
from eval.shards import Shards, shards
from medgen import ImageSet, MedgenError, cache

ROOT = Path(__file__).parent.parent
N = 2 * CHUNK + 9


class Barrier:
    """accelerate's part, played by threads."""

    def __init__(self, count: int) -> None:
        self.wait_for_everyone = threading.Barrier(count).wait


def part(rows: range) -> ImageSet:
    pixels = np.stack([np.random.default_rng(i).integers(0, 256, (1, 20, 20)) for i in rows])
    return ImageSet(pixels.astype(np.float32), "CR", "au", (0.0, 255.0))


def reduced_by(count: int, folder: Path) -> list[reduction.Reduced]:
    state, found = Barrier(count) if count > 1 else None, {}

    def work(index: int) -> None:
        shard = Shards(folder, index, count, state)
        found[index] = reduce(Source(N, part), [EXTRACTORS["pixels-32"]()], shard, "x")

    threads = [threading.Thread(target=work, args=(i,)) for i in range(count)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    return [found[i] for i in range(count)]


def test_a_set_shared_by_three_is_reduced_to_the_same_as_by_one(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDGEN_CACHE", str(tmp_path / "cache"))
    for name in ("one", "three"):
        (tmp_path / name).mkdir()
    (alone,) = reduced_by(1, tmp_path / "one")
    whole = part(range(N))
    assert np.array_equal(alone.features["pixels-32"], EXTRACTORS["pixels-32"]().run(whole.uint8()))
    assert np.array_equal(alone.look.pixels, whole.uint8()[alone.look.kept])
    assert isinstance(alone.features["pixels-32"], np.memmap), "on disk, however many there are"
    for one in reduced_by(3, tmp_path / "three"):
        assert np.array_equal(one.features["pixels-32"], alone.features["pixels-32"])
        for name in ("histograms", "spectra", "kept", "pixels"):
            assert np.array_equal(getattr(one.look, name), getattr(alone.look, name)), name


def test_no_more_images_are_held_than_a_piece_and_the_pieces_are_cleared_away(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDGEN_CACHE", str(tmp_path))
    asked = []
    with shards() as alone:
        reduce(Source(N, lambda rows: (asked.append(len(rows)), part(rows))[1]), [], alone, "x")
        assert not list(alone.folder.rglob("*.npz"))
    assert asked == [CHUNK, CHUNK, 9]
    assert not list(tmp_path.glob("pieces-*"))
    assert kept_rows(3).tolist() == [0, 1, 2]
    assert len(kept_rows(100_000)) == 500 and kept_rows(100_000)[-1] == 99_999


def test_features_are_kept_by_their_content(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDGEN_CACHE", str(tmp_path))
    features = np.random.default_rng(0).normal(size=(9, 4)).astype(np.float32)
    name = kept_features.keep(features)
    assert np.array_equal(kept_features.kept(name), features)
    assert kept_features.kept("0" * 64) is None
    (path,) = tmp_path.rglob("*.npz")
    cache.write_arrays(path, {"features": features + 1})
    assert kept_features.kept(name) is None, "another content is not believed"


def test_every_space_that_is_installed_has_its_report_and_the_samples_are_made_once(house, monkeypatch, capsys):  # noqa: F811
    base = EXTRACTORS["pixels-32"]()

    def second():
        return base.__class__(**{**vars(base), "name": "second", "sha256": "5" * 64, "metrics": ("fid", *base.metrics)})

    def absent():
        raise MedgenError("pip install something.")

    monkeypatch.setattr("eval.setting.EXTRACTORS", {"pixels-32": lambda: base, "second": second, "absent": absent})
    made = []
    sample = run.fakes_of
    monkeypatch.setattr(run, "fakes_of", lambda *args, **more: (made.append(args[0]), sample(*args, **more))[1])
    assert run.main(["noise-b", "--protocol", "cxr-128", "--extractor", "all", "--repeats", "5"]) == 0
    said = capsys.readouterr()
    assert "absent is skipped: pip install something." in said.err and made == ["noise-b"]
    reports = {read(path)["extractor"]["name"]: read(path) for path in (house / "noise-b").glob("report*.json")}
    assert set(reports) == {"pixels-32", "second"}
    assert reports["second"]["metrics"]["mifid"]["value"] >= reports["second"]["metrics"]["fid"]["value"] > 0
    assert reports["second"]["metrics"]["mifid"]["n_train"] == 48
    same = [one["metrics"]["ms_ssim"]["value"] for one in reports.values()]
    assert same[0] == same[1]
    assert "biased upwards" in reports["second"]["per_class_warning"]["normal"]
    assert reports["second"]["per_class_floor"]["normal"]["fid"] > 0
    found = json.loads((house / "noise-b" / "memorisation.json").read_text())
    assert set(found["spaces"]) == {"pixels-32", "second"} and len(found["seeds"]) == 20
    assert all(len(one["closest"]) == 8 for one in found["spaces"].values())
    assert "noise-b | memorisation:" in said.out


def test_references_show_the_scale(house, tmp_path, monkeypatch, capsys):  # noqa: F811
    monkeypatch.setenv("MEDGEN_RESULTS", str(tmp_path / "results"))
    assert references.main(["--protocol", "cxr-128", "--extractor", "pixels-32", "--repeats", "5"]) == 0
    (path,) = (tmp_path / "results").glob("*.json")
    rows = {row["model"]: row for row in reference_rows.reference_rows()}
    assert set(rows) == {"noise", "mean_image", "blurred_real", "train_copies"}
    assert rows["train_copies"]["authenticity"] == 0.0 and rows["noise"]["recall"] == 0.0
    assert rows["mean_image"]["vendi"] == pytest.approx(1.0) and rows["mean_image"]["ms_ssim"] == pytest.approx(1.0)
    assert rows["blurred_real"]["spectrum_distance"] > 2 * rows["train_copies"]["spectrum_distance"]
    found = json.loads(path.read_text())
    assert found["command"] == "python -m eval.references --protocol cxr-128 --extractor pixels-32 --repeats 5"
    assert found["memorisation"]["train_copies"]["pixels-32"]["alarm"]


def test_models_are_compared_from_kept_features_or_by_sampling_again(house, tmp_path, monkeypatch, capsys):  # noqa: F811
    from eval import compare, compare_file

    monkeypatch.setenv("MEDGEN_RESULTS", str(tmp_path / "results"))
    words = ["--protocol", "cxr-128", "--extractor", "pixels-32", "--repeats", "10"]
    assert measured("noise-a") == 0 and compare.main(words) == 2
    assert "Fewer than two models" in capsys.readouterr().err
    assert measured("noise-b") == 0 and compare.main(words) == 0
    first = json.loads((tmp_path / "results" / "comparison-cxr-128.json").read_text())
    assert {one["features"]["pixels-32"]["from"] for one in first["models"].values()} == {"kept"}
    shutil.rmtree(tmp_path / "cache" / "generated")
    assert compare.main(words) == 0
    again = json.loads((tmp_path / "results" / "comparison-cxr-128.json").read_text())
    assert {one["features"]["pixels-32"]["from"] for one in again["models"].values()} == {"sampled again"}
    assert again["tests"] == first["tests"]
    frame, problems = compare_file.tests()
    assert not problems and set(frame["metric"]) == {"kid", "precision", "recall", "density", "coverage"}
    assert compare.main([*words, "nobody", "--out", str(tmp_path / "x.json")]) == 2
    assert "nobody has no full report" in capsys.readouterr().err


@pytest.mark.skipif(not os.environ.get("MEDGEN_SLOW"), reason="three processes that import torch: set MEDGEN_SLOW=1")
def test_accelerate_with_two_processes_writes_the_report_of_one(house, tmp_path):  # noqa: F811
    launcher = shutil.which("accelerate", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    words = ["noise-b", "--protocol", "cxr-128", "--extractor", "pixels-32", "--repeats", "5", "--n", "150", "--out"]
    assert run.main([*words, str(tmp_path / "one.json")]) == 0
    done = subprocess.run(
        [launcher, "launch", "--num_processes", "2", "--cpu", "-m", "eval.run", *words, str(tmp_path / "two.json")],
        env={**os.environ, "PYTHONPATH": str(ROOT), "MEDGEN_CACHE": str(tmp_path / "other")},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    reports = [json.loads((tmp_path / f"{name}.json").read_text()) for name in ("one", "two")]
    for found in reports:
        for key in ("created", "seconds", "seconds_per_image", "cpu_seconds_per_image", "versions"):
            del found[key]  # versions are of what has been imported
    assert reports[0] == reports[1]
    assert done.stdout.count("noise-b | cxr-128") == 1, "one process speaks"
