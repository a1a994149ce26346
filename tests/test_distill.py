"""Consistency models: their sampling is exact where their answer is, and training makes them of diffusion models."""

import json
import math
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState

import medgen
from medgen import Request, consistency, solver
from medgen.card import ModelCard
from medgen.diffusion import DiffusionSampler
from medgen.errors import MedgenError
from medgen.region import Region
from train import diffusion, distill
from train.distill import DistillConfig, huber
from train.distill_game import Game

SMALL = ["--cpu", "--precision", "no", "--rarest", "1", "--batch", "8", "--warmup", "0"]
SMALL += ["--save-every", "100000", "--validate-every", "100000", "--sample-every", "100000"]


@pytest.fixture
def place(training_place):
    net = ["--fold", "8", "--channels", "32", "64", "--attention", "0", "1", "--sample-steps", "2"]
    diffusion.main([*SMALL, *net, "--name", "teacher", "--images", "32", "--rate", "2e-3", "--export"])


def log(out):
    return [json.loads(line) for line in (Path(out) / "log.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_the_exact_answer_of_a_gaussian_gives_the_gaussian_in_any_number_of_steps(monkeypatch, steps):
    """The path of a point of N(mean, spread^2) keeps its place in units of the spread: the answer is linear."""
    mean, spread = 0.2, 0.3

    def exact(scaled, noise_level):
        sigma = math.exp(4.0 * noise_level)
        noisy = scaled / solver.c_in(sigma, 0.3)
        clean = mean + spread / (spread**2 + sigma**2) ** 0.5 * (noisy - mean)
        return solver.raw_output(noisy, clean, sigma, 0.3)

    sampler = object.__new__(DiffusionSampler)
    net = {"size": 16, "sigma_data": 0.3, "sampler": "consistency", "middle": [3.0, 0.6]}
    sampler.card = ModelCard(
        "x", "diffusion", "", "CR", "au", (-1.0, 1.0), (1, 16, 16), "", "", net=net, controls=("steps",), steps=2
    )
    sampler.trained = SimpleNamespace(to_pixels=lambda values: values)
    monkeypatch.setattr(sampler, "predict", lambda scaled, level, *told: exact(scaled, level), raising=False)
    pixels = sampler.sample(Request(tuple(range(64)), steps=steps)).pixels
    assert pixels.mean() == pytest.approx(mean, abs=0.01)
    assert pixels.std() == pytest.approx(spread, abs=0.02)


def test_levels_fall_from_pure_noise_through_the_middle():
    assert consistency.sigmas(1, 40.0, (3.0, 0.6)) == [40.0]
    assert consistency.sigmas(2, 40.0, (3.0, 0.6)) == [40.0, 0.6]
    four = consistency.sigmas(4, 40.0, (3.0, 0.6))
    assert four[1] == 3.0 and four[3] == pytest.approx(0.6) and four == sorted(four, reverse=True)


def test_the_pairs_of_noise_levels_come_closer_and_never_meet():
    config, sigma = DistillConfig(init="x", stages=4), torch.logspace(-2, 2, 50)
    ratios = [config.lower(sigma, done) / sigma for done in (0.0, 0.3, 0.6, 1.0)]
    assert all((ratio >= 0).all() and (ratio < 1).all() for ratio in ratios)
    assert all((later >= earlier).all() and (later > earlier).any() for earlier, later in pairwise(ratios))
    assert (ratios[0][:25] == 0).all(), "near sigma 0 the first stage is that of a diffusion model"


def test_the_loss_is_a_distance_far_away_and_a_square_near_by():
    one = torch.ones(1, 1, 8, 8)
    near, nearer, far, farther = (
        float(huber(one * size, 0.03, torch.ones(1, 1, 1, 1))) for size in (1e-3, 5e-4, 10, 5)
    )
    assert near / nearer == pytest.approx(4, rel=0.01)
    assert far / farther == pytest.approx(2, rel=0.01)
    assert float(huber(one, 0.03, torch.full((1, 1, 1, 1), 2.0))) == pytest.approx(
        float(huber(one, 0.03, torch.ones(1, 1, 1, 1))) / 2
    )


def test_a_student_is_a_model_like_any_other(place):
    distill.main([*SMALL, "--init", "teacher", "--name", "student", "--images", "48", "--rate", "2e-3", "--export"])
    model = medgen.load("student")
    card = model.card
    assert (card.family, card.steps, card.guidance) == ("diffusion", 2, 1.0)
    assert card.trained["started_from"]["name"] == "teacher" and "arXiv:2406.14548" in card.paper
    three = model.sample(Request((0, 1, 2), label="normal")).pixels
    assert np.array_equal(model.sample(Request((2,), label="normal")).pixels[0], three[2])
    assert np.abs(three - model.sample(Request((0, 1, 2), label="viral_pneumonia")).pixels).max() > 1e-3
    one, two, four = (model.sample(Request((0,), steps=steps)).pixels for steps in (1, 2, 4))
    assert np.abs(one - two).max() > 1e-3 and np.abs(two - four).max() > 1e-3
    seen = []
    model.sample(Request((0,), steps=4), lambda done, total, preview: seen.append((done, total, preview().pixels)))
    assert [step[:2] for step in seen] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert np.array_equal(seen[-1][2], four), "the last preview is the picture"
    with pytest.raises(MedgenError, match="region"):
        model.sample(Request((0,), region=Region.from_mask(np.ones((128, 128), bool))))


def test_training_lowers_the_distance_of_the_same_pairs(place):
    """Update n sees the same in every run: the teacher itself (rate 0) is a paired control."""
    found = []
    for rate in ("4e-3", "0"):
        flags = ["--init", "teacher", "--name", "s", "--out", f"run-{rate}", "--images", "480", "--stages", "1"]
        distill.main([*SMALL, *flags, "--rate", rate])
        found.append([row["loss"] for row in log(f"run-{rate}")][-20:])
    learned, teacher = found
    assert np.mean(learned) < np.mean(teacher)
    assert np.mean(np.less(learned, teacher)) > 0.8


def test_the_game_draws_as_the_sampler_does_and_learns_through_the_last_step_alone():
    """Of four pictures two are of one step and two of two; an answer that adds shows what each has gone through."""
    asked = []
    weight = torch.ones((), requires_grad=True)

    def answer(noisy, sigma, told):
        asked.append((len(noisy), float(sigma[0, 0, 0, 0]), torch.is_grad_enabled()))
        return weight * noisy

    game = Game(None, None, 1.0, 0, (40.0, 0.6), True)
    normal = torch.randn(4, 2, 1, 2, 2)
    drawn = game.drawn(answer, normal, torch.zeros(4, 3))
    assert asked == [(2, 40.0, True), (2, pytest.approx(40.0), False), (2, pytest.approx(0.6), True)]
    assert torch.allclose(drawn[:2], 40 * normal[:2, 0])
    assert torch.allclose(drawn[2:], 40 * normal[2:, 0] + 0.6 * normal[2:, 1])
    (slope,) = torch.autograd.grad(drawn.sum(), weight)
    assert float(slope) == pytest.approx(float(drawn.detach().sum()), rel=1e-5), "each once by the weight, not squared"


def test_the_student_hears_the_discriminator_only_after_it_has_learned_alone(place):
    """Until then every loss is that of the run without it; afterwards none is."""
    found = {}
    for name, more in (("plain", []), ("judged", ["--adversarial", "1", "--adversarial-alone", "24"])):
        distill.main([*SMALL, "--init", "teacher", "--name", name, "--images", "56", "--rate", "2e-3", *more])
        found[name] = log(f"runs/{name}")
    same = [a["loss"] == b["loss"] for a, b in zip(found["plain"], found["judged"], strict=True)]
    assert same == [True] * 4 + [False] * 3, "update 3 is the first whose gradient differs"
    assert [row["generator"] > 0 for row in found["judged"]] == [False] * 3 + [True] * 4
    assert found["judged"][-1]["discriminator"] < found["judged"][0]["discriminator"]


def test_a_judged_student_killed_and_resumed_equals_the_uninterrupted_one(place):
    flags = ["--init", "teacher", "--name", "s", "--images", "40", "--adversarial", "1", "--adversarial-alone", "8"]
    distill.main([*SMALL, *flags, "--out", "whole"])
    distill.main([*SMALL, *flags, "--out", "cut", "--minutes", "1e-6"])
    AcceleratorState._reset_state()
    distill.main(["--resume", "--out", "cut", "--minutes", "0"])
    assert log("cut") == log("whole")


def test_what_cannot_be_distilled_is_one_sentence(place):
    for arguments, words in (
        ([], "--init must name"),
        (["--init", "nobody"], "no model 'nobody'"),
        (["--init", "teacher", "--middle", "1", "2"], "--middle"),
        (["--init", "teacher", "--stages", "0"], "--stages"),
    ):
        with pytest.raises(MedgenError, match=words):
            distill.main([*SMALL, "--name", "s", "--images", "8", *arguments])
