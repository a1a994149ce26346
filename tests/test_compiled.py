"""The compiled runtime computes what torch computes, whatever stands beside an image."""

from importlib.util import find_spec

import numpy as np
import pytest
from test_latent import LATENTS, PIXELS, save_model

import medgen
from medgen import MedgenError, Request

needs_openvino = pytest.mark.skipif(find_spec("openvino") is None, reason="openvino is not installed")


@needs_openvino
@pytest.mark.parametrize("net", [PIXELS, LATENTS], ids=["pixels", "latents"])
def test_compiled_networks_make_the_pictures_of_torch(net, tmp_path, monkeypatch):
    monkeypatch.setenv("MEDGEN_CHECKPOINTS", str(tmp_path))
    save_model(tmp_path, net)
    request = Request((3, 4, 5), label="normal")
    plain = medgen.load("d-test-32").sample(request)
    monkeypatch.setenv("MEDGEN_RUNTIME", "openvino")
    model = medgen.load("d-test-32")
    fast = model.sample(request)
    assert np.abs(fast.pixels - plain.pixels).max() < 0.05  # of 255
    assert not np.array_equal(fast.pixels[0], fast.pixels[1])
    assert np.array_equal(model.sample(Request((5, 3), label="normal")).pixels[0], fast.pixels[2])
    assert model.network.compiled_forms


def test_an_unknown_runtime_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDGEN_CHECKPOINTS", str(tmp_path))
    save_model(tmp_path, PIXELS)
    monkeypatch.setenv("MEDGEN_RUNTIME", "onnx")
    with pytest.raises(MedgenError, match="torch or openvino"):
        medgen.load("d-test-32").sample(Request((1,)))
