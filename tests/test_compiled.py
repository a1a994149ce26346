"""The compiled runtime computes what torch computes, whatever stands beside an image, and is kept in a cache that may
be absent, damaged, shared or full."""

import errno
import hashlib
import logging
import os
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import test_sampling
from test_latent import LATENTS, PIXELS, save_model
from test_volume_models import save_model as save_volume_model

import medgen
from medgen import Request, atomic, backend, compiled, runtime
from medgen.registry import FAMILIES

ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.skipif(find_spec("openvino") is None, reason="openvino is not installed")

# what a process that only samples prints: a hash of the pixels, and what it had to load
CHILD = """
import sys, hashlib, medgen
pixels = medgen.load(sys.argv[1]).sample(medgen.Request(tuple(map(int, sys.argv[2:])))).pixels
print(*(hashlib.sha256(one.tobytes()).hexdigest() for one in pixels))
print(*(name for name in ("torch", "diffusers", "monai", "transformers") if name in sys.modules))
"""


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """Checkpoints and an empty cache of their own."""
    monkeypatch.setenv("MEDGEN_CHECKPOINTS", str(tmp_path))
    monkeypatch.setenv("MEDGEN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MEDGEN_RUNTIME", "openvino")
    monkeypatch.setenv("MEDGEN_DEVICE", "cpu")
    backend.say_once.cache_clear()
    return tmp_path


def blobs(place):
    return sorted((place / "cache" / "compiled").glob("*"))


def start(name, *seeds, **environment):
    words = [sys.executable, "-c", CHILD, name, *map(str, seeds)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    return subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def ended(child):
    """Hashes of the pixels, modules, and what it said."""
    out, said = child.communicate(timeout=600)
    assert child.returncode == 0, said
    hashes, loaded = out.split("\n")[:2]
    return hashes.split(), loaded.split(), said


def made_up(kind, place):
    """A model of random weights; its name."""
    if kind == "latents":
        save_model(place, LATENTS)
        return "d-test-32"
    return save_volume_model(place, kind) if kind == "ldm" else test_sampling.save_model(place, kind)


def hashes_of(images):
    return [hashlib.sha256(one.tobytes()).hexdigest() for one in images.pixels]


def test_compiled_networks_make_the_pictures_of_torch(place):
    save_model(place, PIXELS)
    request = Request((3, 4, 5), label="normal")
    with runtime.using("torch"):
        plain = medgen.load("d-test-32").sample(request)
    model = medgen.load("d-test-32")
    fast = model.sample(request)
    assert blobs(place)
    assert np.abs(fast.pixels - plain.pixels).max() < 0.05  # of 255
    assert not np.array_equal(fast.pixels, plain.pixels), "it was torch that computed"
    assert not np.array_equal(fast.pixels[0], fast.pixels[1])
    assert np.array_equal(model.sample(Request((5, 3), label="normal")).pixels[0], fast.pixels[2])


@pytest.mark.parametrize("kind", ["stylegan2", "latents", "ldm"])
def test_from_the_cache_nothing_heavy_is_loaded_and_the_pixels_depend_on_the_seed_alone(kind, place):
    """In another process, another batch, another order and with another number of threads."""
    name = made_up(kind, place)
    together = hashes_of(medgen.load(name).sample(Request((3, 4, 5))))
    assert len(set(together)) == 3
    again, loaded, _ = ended(start(name, 5, 3))
    assert again == [together[2], together[0]]
    assert loaded == []
    assert ended(start(name, 4, 3, MEDGEN_THREADS="1"))[:2] == ([together[1], together[0]], [])


def test_bfloat16_is_used_where_the_cpu_multiplies_it_and_nowhere_else(place, monkeypatch, caplog):
    name = save_volume_model(place, "ldm")
    with runtime.using("torch"):
        exact = medgen.load(name).sample(Request((3,))).pixels
    kept, really = [], compiled.kept

    def spy(about, inputs, numbers, function):
        kept.append(numbers)
        return really(about, inputs, numbers, function)

    monkeypatch.setattr(compiled, "kept", spy)
    monkeypatch.setattr(backend, "multiplies_bf16", lambda: False)
    with runtime.using("openvino-bf16"):
        float32 = medgen.load(name).sample(Request((3,))).pixels
    assert "does not multiply bfloat16" in caplog.text
    assert np.abs(float32 - exact).max() < 0.05  # of 255
    assert set(kept) == {"f32"}
    monkeypatch.undo()
    if not backend.multiplies_bf16():
        pytest.skip("this CPU does not multiply bfloat16")
    monkeypatch.setenv("MEDGEN_CHECKPOINTS", str(place))
    monkeypatch.setenv("MEDGEN_CACHE", str(place / "cache"))
    with runtime.using("auto"):
        rough = medgen.load(name).sample(Request((3,))).pixels
    error = np.sqrt(np.mean((rough - exact) ** 2)) / exact.std()
    assert 1e-6 < error < 0.1


def test_networks_that_measure_are_compiled_only_where_asked_by_name_and_in_float32():
    torch = pytest.importorskip("torch")
    network, values = torch.nn.Conv2d(1, 4, 3).eval(), torch.randn(2, 1, 8, 8)
    with torch.no_grad():
        plain = network(values)
    with runtime.using("auto"):
        runtime.evaluate(network, values)
    assert "compiled_forms" not in network.__dict__
    with runtime.using("openvino-bf16"):
        assert torch.allclose(runtime.evaluate(network, values), plain, atol=1e-5)
    assert network.compiled_forms


def test_two_processes_that_start_at_once_on_an_empty_cache_both_work(place):
    name = test_sampling.save_model(place, "dcgan")
    first, second = [ended(child) for child in [start(name, 3), start(name, 3)]]
    assert first[0] == second[0]
    assert "torch" in first[1] and "torch" in second[1], "both found it empty"
    assert len(blobs(place)) == 1, "no temporary file is left"
    hashes, loaded, said = ended(start(name, 3))
    assert (hashes, loaded) == (first[0], []) and "damaged" not in said


@pytest.mark.parametrize("damage", ["cut", "changed", "empty"])
def test_a_damaged_entry_is_built_anew(place, damage, caplog):
    name = test_sampling.save_model(place, "dcgan")
    whole = medgen.load(name).sample(Request((3,)))
    (blob,) = blobs(place)
    content = blob.read_bytes()
    middle = len(content) // 2
    changed = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
    blob.write_bytes({"cut": content[:middle], "changed": changed, "empty": b""}[damage])
    assert hashes_of(medgen.load(name).sample(Request((3,)))) == hashes_of(whole)
    assert "is damaged; it is built anew" in caplog.text
    assert ended(start(name, 3))[:2] == (hashes_of(whole), [])


def test_a_whole_entry_that_openvino_cannot_load_is_built_anew(place, caplog):
    name = test_sampling.save_model(place, "dcgan")
    whole = medgen.load(name).sample(Request((3,)))
    (blob,) = blobs(place)
    blob.write_bytes(hashlib.sha256(b"of another version").digest() + b"of another version")
    assert hashes_of(medgen.load(name).sample(Request((3,)))) == hashes_of(whole)
    assert "cannot be loaded and is built anew" in caplog.text


def full(*_args, **_options):
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("trouble", ["read-only", "full"])
def test_without_a_cache_it_works_and_one_message_says_so(place, monkeypatch, caplog, trouble):
    names = [test_sampling.save_model(place, kind) for kind in ("dcgan", "stylegan2")]
    if trouble == "read-only":
        (place / "file").write_text("no folder can be made below a file")
        monkeypatch.setenv("MEDGEN_CACHE", str(place / "file" / "cache"))
    else:
        monkeypatch.setattr(atomic.Path, "write_bytes", full)
    with caplog.at_level(logging.WARNING):
        for name in names:
            model = medgen.load(name)
            first = model.sample(Request((3,)))
            assert np.array_equal(model.sample(Request((3,))).pixels, first.pixels)
    said = [record.message for record in caplog.records if "not kept" in record.message]
    assert len(said) == 1, said
    assert blobs(place) == [], "nothing half written is left"


def test_without_openvino_the_picture_is_that_of_torch(place, monkeypatch, caplog):
    name = test_sampling.save_model(place, "dcgan")
    with runtime.using("torch"):
        plain = medgen.load(name).sample(Request((3,)))
    monkeypatch.setattr(backend, "find_spec", lambda name: None)
    monkeypatch.setenv("MEDGEN_RUNTIME", "auto")
    assert np.array_equal(medgen.load(name).sample(Request((3,))).pixels, plain.pixels)
    assert caplog.text.count("openvino is not installed") == 1


def test_other_weights_other_code_and_another_network_have_another_entry(place, monkeypatch):
    name = test_sampling.save_model(place, "dcgan")
    medgen.load(name).sample(Request((3,)))
    assert len(blobs(place)) == 1
    monkeypatch.setattr(compiled, "_code", lambda: "edited")
    medgen.load(name).sample(Request((3,)))
    assert len(blobs(place)) == 2
    model = medgen.load(name)
    model.card.weights["model.safetensors"] = "0" * 64
    with pytest.raises(medgen.MedgenError, match="sha256 differs"):
        model.sample(Request((3,)))
    assert len(blobs(place)) == 2


def test_every_module_of_a_generating_network_is_part_of_the_key():
    """An edit of a network must not be answered from the cache."""
    torch = pytest.importorskip("torch")
    for kind, net in {
        "gan": {"architecture": "stylegan2"}, "diffusion": LATENTS, "volume": {"method": "ldm", "latent": [4, 4, 4, 4]},
        "translator": {"method": "unet"},
    }.items():  # fmt: skip
        network = import_module(FAMILIES[kind]).build(net)
        assert isinstance(network, torch.nn.Module)
        for module in network.modules():
            for base in type(module).__mro__:
                room, _, name = base.__module__.rpartition(".")
                assert room != "medgen" or name in compiled.SOURCES, base
    assert all((Path(compiled.__file__).parent / f"{name}.py").is_file() for name in compiled.SOURCES)


def test_a_sampler_knows_what_its_network_wants_without_building_it():
    """The shapes and noise levels that samplers read from a card are those of the networks that it describes."""
    from medgen import diffusion, gan, solver, volume_models

    for net in ({"architecture": "dcgan"}, {"architecture": "stylegan2"}, {"architecture": "dcgan", "latent": 32}):
        assert gan.latent(net) == gan.build(net).latent
    for net in ({"channels": [32], "attention": [False]}, {**PIXELS, "sigma_max": 20}, LATENTS):
        network = diffusion.build(net)
        assert diffusion.latent(net) == tuple(network.mean.shape)
        assert solver.PICTURES.of(net) == network.levels
    ldm = {"method": "ldm", "latent": [4, 4, 4, 4], "channels": [16, 32]}
    for net in (ldm, {"method": "vae", "latent": [4, 4, 4, 4]}, {"method": "gan"}):
        network = volume_models.build(net)
        assert volume_models.latent(net) == network.latent
    assert solver.VOLUMES.of(ldm) == volume_models.build(ldm).levels
