"""Normal numbers without torch are those of torch, and the great circle between two of them keeps their length."""

import numpy as np
import pytest
import torch

from medgen import normal, runtime

SEEDS = (0, 1, 7, 123456789, 2**31, 2**32 - 1, 2**32, 2**32 + 5, 2**40 + 3, 2**63 - 1)
SHAPES = [(1,), (2,), (15,), (16,), (17,), (31,), (128,), (4, 32, 32), (1, 128, 128), (5, 7, 3), (4, 8, 12, 8)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_numbers_are_those_of_torch(shape):
    for seed in SEEDS:
        wanted = torch.randn(shape, generator=torch.Generator("cpu").manual_seed(seed)).numpy()
        drawn = normal.drawn(shape, seed)
        assert drawn.dtype == np.float32
        np.testing.assert_allclose(drawn, wanted, atol=1e-6, err_msg=str(seed))


def test_the_compiled_runtime_draws_what_torch_draws(monkeypatch):
    """A manifest of one runtime must mean the same picture in the other, but for rounding."""
    monkeypatch.setattr("medgen.backend.find_spec", lambda name: object())
    with runtime.using("torch"):
        exact = runtime.gaussian((1, 16, 16), (3, 4), towards=5, mix=0.25)
    with runtime.using("openvino"):
        fast = runtime.gaussian((1, 16, 16), (3, 4), towards=5, mix=0.25)
    np.testing.assert_allclose(fast, exact, atol=2e-6)
    assert not np.array_equal(exact[0], exact[1])


def test_slerp_keeps_the_norm_and_ends_at_its_ends():
    start, end = normal.drawn((4096,), 1), normal.drawn((4096,), 2)
    assert np.linalg.norm(normal.slerp(start, end, 0.5)) == pytest.approx(64, rel=0.03)
    np.testing.assert_allclose(normal.slerp(start, end, 0.0), start, atol=1e-5)
    np.testing.assert_allclose(normal.slerp(start, end, 1.0), end, atol=1e-5)
    np.testing.assert_array_equal(normal.slerp(start, start, 0.3), start)
