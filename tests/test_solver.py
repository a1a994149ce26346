"""The solver: the steps of diffusers' for arrays and tensors alike, and a frame that is its own inverse."""

import math

import numpy as np
import pytest
import torch
from diffusers import EDMDPMSolverMultistepScheduler

from medgen import solver
from medgen.solver import PICTURES, VOLUMES, Levels, solve

LEVELS = [PICTURES, VOLUMES, Levels(0.3, 0.002, 20.0)]


def bent(scaled, level):
    """A network that is not linear, so that a wrong order of the steps shows."""
    tanh = torch.tanh if isinstance(scaled, torch.Tensor) else np.tanh
    return 0.7 * tanh(1.5 * scaled + level) - 0.2 * scaled


def oracle(levels, normal, steps):
    """What diffusers makes of the same noise."""
    noise = {"sigma_data": levels.sigma_data, "sigma_min": levels.sigma_min, "sigma_max": levels.sigma_max}
    scheduler = EDMDPMSolverMultistepScheduler(**noise, sigma_schedule="karras", final_sigmas_type="zero")
    scheduler.set_timesteps(steps)
    state = normal * scheduler.init_noise_sigma
    for level in scheduler.timesteps:
        output = bent(scheduler.scale_model_input(state, level), level)
        state = scheduler.step(output, level, state).prev_sample
    return state


@pytest.mark.parametrize("levels", LEVELS, ids=["pictures", "volumes", "others"])
@pytest.mark.parametrize("steps", [1, 2, 3, 10, 20])
def test_the_steps_are_those_of_diffusers(levels, steps):
    normal = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(steps))
    wanted = oracle(levels, normal, steps)
    assert torch.allclose(solve(levels, normal, steps, bent), wanted, atol=1e-5)
    plain = solve(levels, normal.numpy(), steps, bent)
    assert plain.dtype == np.float32
    assert np.allclose(plain, wanted.numpy(), atol=1e-5)


@pytest.mark.parametrize("levels", LEVELS, ids=["pictures", "volumes", "others"])
def test_the_frame_is_that_of_diffusers_for_floats_and_for_tensors(levels):
    noise = {"sigma_data": levels.sigma_data, "sigma_min": levels.sigma_min, "sigma_max": levels.sigma_max}
    scheduler = EDMDPMSolverMultistepScheduler(**noise)
    random = torch.Generator().manual_seed(0)
    noisy, output = torch.randn(3, 1, 4, 4, generator=random), torch.randn(3, 1, 4, 4, generator=random)
    many = torch.tensor([0.02, 1.0, 30.0])[:, None, None, None]
    for sigma in (0.02, 1.0, 30.0, many):
        clean = solver.denoised(noisy, output, sigma, levels.sigma_data)
        assert torch.allclose(clean, scheduler.precondition_outputs(noisy, output, sigma), rtol=1e-5)
        scaled = noisy * solver.c_in(sigma, levels.sigma_data)
        assert torch.allclose(scaled, scheduler.precondition_inputs(noisy, sigma), rtol=1e-5)
        again = solver.raw_output(noisy, clean, sigma, levels.sigma_data)
        assert torch.allclose(again, output, atol=1e-3)
    assert solver.c_noise(math.exp(2.0)) == pytest.approx(0.5)


def test_noise_levels_fall_from_the_first_to_the_last_and_then_to_none():
    sigmas = PICTURES.sigmas(5)
    assert sigmas == sorted(sigmas, reverse=True)
    assert sigmas[0] == pytest.approx(80.0) and sigmas[-2] == pytest.approx(0.01) and sigmas[-1] == 0.0
    assert PICTURES.of({"sigma_max": 20, "size": 128}) == Levels(0.5, 0.01, 20.0)


def test_guidance_is_extrapolation_from_what_the_network_makes_of_nothing():
    told, calls = np.array([[1.0, 0.0]], np.float32), []

    def run(scaled, levels, told):
        calls.append(told)
        return scaled + told.sum()

    scaled, levels = np.ones((1, 2), np.float32), np.zeros(1, np.float32)
    assert np.array_equal(solver.guided(run, scaled, levels, told, 3.0), scaled + 3.0)
    assert len(calls) == 2 and not calls[1].any()
    assert np.array_equal(solver.guided(run, scaled, levels, told, 1.0), scaled + 1.0)
    assert np.array_equal(solver.guided(run, scaled, levels, 0 * told, 3.0), scaled)
    assert len(calls) == 4, "nothing to guide by costs one evaluation"
