"""The adversarial half of distillation: what a student draws in its few steps has to pass for real.

A consistency loss ties neighbouring noise levels to each other and says nothing of the picture at the end; blur is a
cheap answer. So consistency trajectory models (Kim 2023, arXiv:2310.02279) and adversarial diffusion distillation
(Sauer 2023, arXiv:2311.17042) add a discriminator. Ours is that of `train.gan`, with its augmentation and penalty. The
student draws from pure noise, step after step, as it will be sampled: no step sees a real picture plus noise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from train.adversarial import gradient_penalty, logistic_judge, logistic_maker, share_of
from train.augment import adapt, augment, draws
from train.data import Batch
from train.discriminators import StyleDiscriminator
from train.run import Run

Answer = Callable[[Tensor, Tensor, Tensor], Tensor]
"""`answer(noisy, sigma, told)`: the clean picture that a network finds at once; sigma is `(N, 1, 1, 1)`."""
R1, R1_EVERY = 0.5, 16
PART = 2
"""One picture of so many of a batch is played for: drawing one costs more than a pair of noise levels."""
JUDGE_RATE = 2e-3
"""Of Adam; the weights of the discriminator are scaled while it runs, as those of StyleGAN2 are."""


@dataclass
class Game:
    """One discriminator and how it is played against.

    Args:
        run: that it is a part of.
        judge: tells real pictures from the student's.
        share: of the gradient that the student hears, in units of that of its consistency loss.
        alone: images that the discriminator learns before the student hears it.
        sigmas: noise levels that the student is sampled at, falling.
        pixels: whether pictures are pixels, whose brightness may be changed, and not latents.
    """

    run: Run
    judge: nn.Module
    share: float
    alone: int
    sigmas: Sequence[float]
    pixels: bool

    @classmethod
    def begin(cls, run: Run, share: float, alone: int, sigmas: Sequence[float], pixels: bool) -> Game:
        """Makes the discriminator and has the run keep it."""
        channels = run.split.images.shape[1]
        judge = StyleDiscriminator(conditions=len(run.split.columns), image_channels=channels)
        optimizer = torch.optim.Adam(judge.parameters(), betas=(0.0, 0.99))
        run.track("discriminator", judge, optimizer, pace=JUDGE_RATE / run.config.rate)
        run.extra["p"] = torch.zeros((), device=run.device)
        return cls(run, judge, share, alone, sigmas, pixels)

    @property
    def heard(self) -> bool:
        """Whether the student learns from it yet."""
        return self.run.seen >= self.alone

    def drawn(self, answer: Answer, normal: Tensor, told: Tensor) -> Tensor:
        """Pictures of the student, of one step, of two, ... in equal parts, each with a gradient through its last step.

        Args:
            answer: of the student.
            normal: `(N, S, C, H, W)` standard normal numbers.
            told: `(N, K)` conditions.
        """
        ready: list[Tensor] = []
        clean = torch.zeros_like(normal[:, 0])
        for index, level in enumerate(self.sigmas):
            sigma = torch.full((len(clean), 1, 1, 1), level, device=clean.device)
            noisy = clean + sigma * normal[:, index]
            now = len(clean) // (len(self.sigmas) - index)
            ready.append(answer(noisy[:now], sigma[:now], told[:now]))
            with torch.no_grad():
                clean = answer(noisy[now:], sigma[now:], told[now:]) if now < len(clean) else clean[now:]
            normal, told = normal[now:], told[now:]
        return torch.cat(ready)

    def loss(
        self, answer: Answer, batch: Batch, told: Tensor, step: int, rest: Tensor, last: Tensor, logs: dict[str, Tensor]
    ) -> Tensor | None:
        """Trains the discriminator on one pass; returns what the student adds to its loss, None while it does not hear.

        Args:
            answer: of the student.
            batch: of real pictures.
            told: `(N, K)` conditions of the batch as both see them.
            step: number of the update.
            rest: the consistency loss of the pass.
            last: the weights of the student at which both gradients are compared.
            logs: where the sign of the real logits and both losses are added up.
        """
        run, update = self.run, self.run.order.update
        few = slice(0, -(-len(told) // PART))
        real, told = batch.pixels[few], told[few]
        shape = (update, len(self.sigmas), *real.shape[1:])
        normal = torch.randn(shape, generator=run.random(step, "drawn"), device=run.device)[batch.part][few]
        u = draws(3 * update, run.random(step, "augmentation"), run.device).view(3, update, -1)[:, batch.part][:, few]
        with torch.set_grad_enabled(self.heard):
            fake = self.drawn(answer, normal, told)
        self.judge.requires_grad_(True)
        with run.accelerator.autocast():
            real_logits = self.judge(self._seen(real, u[0]), told).float()
            fake_logits = self.judge(self._seen(fake.detach(), u[1]), told).float()
        found = {"discriminator": logistic_judge(real_logits, fake_logits), "sign": real_logits.sign().mean()}
        run.backward(found["discriminator"])
        if step % R1_EVERY == 0:
            run.backward(gradient_penalty(self.judge, real, told) * (R1 / 2 * R1_EVERY))
        self.judge.requires_grad_(False)
        maker = None
        if self.heard:
            with run.accelerator.autocast():
                maker = logistic_maker(self.judge(self._seen(fake, u[2]), told).float())
        found["generator"] = torch.zeros((), device=run.device) if maker is None else maker
        for name, value in found.items():
            logs[name] = logs.get(name, torch.zeros((), device=run.device)) + value.detach() / run.config.accumulate
        return None if maker is None else share_of(rest, maker, last, self.share)

    def update(self, logs: dict[str, Tensor]) -> None:
        """One step of the discriminator, after the passes of an update."""
        self.run.update("discriminator")
        p = self.run.extra["p"]
        sign = self.run.accelerator.reduce(logs["sign"].clone(), reduction="mean")
        p.copy_(adapt(p, sign, self.run.order.update // PART))
        logs["p"] = p.clone()

    def _seen(self, pixels: Tensor, u: Tensor) -> Tensor:
        return augment(pixels, self.run.extra["p"], u, colour=self.pixels)
