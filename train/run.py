"""What every training script needs around its loop: folder, Accelerator, averaged weights, resuming, saving, curves."""

from __future__ import annotations

import copy
import json
import math
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from safetensors.torch import load as load_safetensors
from safetensors.torch import save as save_safetensors
from torch import Tensor, nn
from torch.optim import Optimizer
from tqdm import tqdm

from medgen.atomic import write_bytes, write_json
from medgen.errors import MedgenError
from train import state as saved_state
from train.config import Config
from train.data import Batch, Order, Split, generator
from train.pictures import film, grid, pixels


class Run:
    """One training run.

    A script registers what it trains with `track`, then loops over `steps()`. All randomness comes from
    `random(step, stream)` and all data from `batches(step)`, both pure functions of the step: a run that is killed and
    resumed, and a run spread over processes, see what the uninterrupted single process sees.
    """

    def __init__(self, config: Config, split: Split) -> None:
        if config.precision == "auto":
            config = replace(config, precision=best_precision(config.cpu))
        self.config = config
        self.accelerator = Accelerator(
            mixed_precision=config.precision,
            cpu=config.cpu,
            log_with=None if config.dry_run else "tensorboard",
            project_dir=str(config.folder),
        )
        if config.threads:
            torch.set_num_threads(config.threads)
        self.device = self.accelerator.device
        self.main = self.accelerator.is_main_process
        self.folder = config.folder
        self.split = split.to(self.device)
        self.order = Order(
            len(self.split.images), config.batch, config.accumulate, self.accelerator.num_processes, config.seed
        )
        self.total = math.ceil(config.images / self.order.update)
        self.modules: dict[str, nn.Module] = {}
        self.optimizers: dict[str, Any] = {}
        self.paces: dict[str, float] = {}
        self.averages: dict[str, nn.Module] = {}
        self.extra: dict[str, Tensor] = {}
        self.step = 0
        self.seconds = 0.0
        self.cpu_seconds = 0.0
        self.best: list[tuple[float, str]] = []
        self.stale = 0
        self._lines: list[tuple[int, dict[str, Tensor]]] = []
        torch.manual_seed(config.seed)

    # --- what is trained -------------------------------------------------------------------------------------------

    def track(
        self, name: str, module: nn.Module, optimizer: Optimizer | None = None, average: bool = False, pace: float = 1.0
    ) -> None:
        """Moves `module` to the device; it, its optimiser and, if asked, its running average are saved with the run.

        Args:
            name: of the module.
            module: what is trained.
            optimizer: of its weights.
            average: whether a running average of it is kept.
            pace: its learning rate in units of the run's.
        """
        # channels last: 1.1 to 1.4 times faster convolutions on CPUs and on tensor cores; not one weight for volumes
        volumes = any(parameter.ndim == 5 for parameter in module.parameters())
        module.to(self.device) if volumes else module.to(self.device, memory_format=torch.channels_last)
        self.modules[name] = module
        if optimizer is not None:
            self.optimizers[name] = self.accelerator.prepare(optimizer)
            self.paces[name] = pace
        if average:
            self.averages[name] = copy.deepcopy(module).eval().requires_grad_(False)

    def random(self, step: int, stream: str) -> torch.Generator:
        """Random numbers for one purpose of one step. Draw for the whole update, then take `batch.part`."""
        return generator(self.device, self.config.seed, step, stream)

    def batches(self, step: int) -> Iterator[Batch]:
        """This process's passes of one update."""
        return self.order.batches(self.split, step, self.accelerator.process_index)

    def backward(self, loss: Tensor) -> None:
        """Adds the gradients of one pass to those of the update."""
        self.accelerator.backward(loss / self.config.accumulate)

    def update(self, name: str) -> None:
        """One optimiser step of module `name`, with the gradients averaged over processes.

        Averaged here and not by DistributedDataParallel, which allows neither two networks in one backward pass nor
        second derivatives: GANs need both.
        """
        module, optimizer = self.modules[name], self.optimizers[name]
        gradients = [p.grad for p in module.parameters() if p.grad is not None]
        if self.accelerator.num_processes > 1:
            flat = torch.cat([g.flatten() for g in gradients])
            flat = self.accelerator.reduce(flat, reduction="mean")
            for gradient, mean in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
                gradient.copy_(mean.view_as(gradient))
        if self.config.clip > 0:
            self.accelerator.clip_grad_norm_(module.parameters(), self.config.clip)
        for group in optimizer.param_groups:
            group["lr"] = self.rate(self.step) * self.paces[name]
        optimizer.step()
        optimizer.zero_grad()

    def rate(self, step: int) -> float:
        """Learning rate of `step`: linear warm-up, then constant or a cosine to a hundredth."""
        seen, config = step * self.order.update, self.config
        warm = min(1.0, (seen + self.order.update) / max(config.warmup, 1))
        if config.schedule == "constant":
            return config.rate * warm
        return (
            config.rate * warm * (0.01 + 0.99 * 0.5 * (1.0 + math.cos(math.pi * min(1.0, step / max(self.total, 1)))))
        )

    @torch.no_grad()
    def average(self) -> None:
        """Moves every running average towards its module; the half-life grows with the run (Karras 2024, EDM2)."""
        seen = (self.step + 1) * self.order.update
        half_life = min(self.config.ema, 0.1 * seen)
        keep = 0.5 ** (self.order.update / half_life) if half_life > 0 else 0.0
        for name, mean in self.averages.items():
            current, running = self.modules[name].state_dict(), mean.state_dict()
            smooth = [k for k, v in running.items() if v.is_floating_point()]
            torch._foreach_lerp_([running[k] for k in smooth], [current[k] for k in smooth], 1.0 - keep)
            for key in running.keys() - set(smooth):
                running[key].copy_(current[key])

    # --- the loop --------------------------------------------------------------------------------------------------

    def steps(
        self, sample: Callable[[], Tensor] | None = None, validate: Callable[[], float] | None = None
    ) -> Iterator[int]:
        """Yields the updates still to make; between them averages, logs, saves, draws grids and validates.

        Args:
            sample: images `(N, 1, H, W)` in [-1, 1] of fixed seeds from the averaged weights.
            validate: the validation metric of the averaged weights, lower is better.

        Raises:
            MedgenError: a loss, a weight or the validation metric is not finite; the last saved state is untouched.
        """
        if self.config.dry_run:
            yield from self._dry_run()
            return
        self._begin()
        started, before = time.monotonic(), self.seconds
        cpu = time.process_time() - self.cpu_seconds
        bar = tqdm(initial=self.step, total=self.total, unit="update", disable=not self.main, smoothing=0.05)
        while self.step < self.total:
            yield self.step
            self.average()
            self.step += 1
            self.seconds = before + time.monotonic() - started
            self.cpu_seconds = time.process_time() - cpu
            bar.update()
            if self._due(self.config.sample_every) and sample is not None and self.main:
                self._draw(sample())
            out_of_time = self._out_of_time(self.seconds - before)
            # the last weights are among those that an export chooses from
            last = self.config.export and (out_of_time or self.step == self.total)
            if validate is not None and (last or self._due(self.config.validate_every)):
                self._validated(validate())
            enough = self.config.patience > 0 and self.stale >= self.config.patience
            if self._due(self.config.save_every) or self.step == self.total or out_of_time or enough:
                self._save()
            if out_of_time or enough:
                break
        bar.close()
        self.accelerator.wait_for_everyone()
        if self.main:
            film(self.folder / "samples", self.folder / "training.gif")
        self.accelerator.end_training()

    @property
    def seen(self) -> int:
        """Training images seen so far."""
        return self.step * self.order.update

    def log(self, **values: Tensor) -> None:
        """Notes scalar tensors of this step; they leave the device in bulk, so that the loop never waits for it."""
        self._lines.append((self.step, {name: value.detach().float() for name, value in values.items()}))
        if len(self._lines) >= 50 or self.config.dry_run:
            self._flush()

    # --- inside ----------------------------------------------------------------------------------------------------

    def _due(self, every: int) -> bool:
        """Whether the images seen have just passed a multiple of `every`."""
        return self.seen // every > (self.seen - self.order.update) // every

    def _draw(self, pictures: Tensor) -> None:
        """A grid of the fixed seeds, as a file and in TensorBoard."""
        png = grid(pictures)
        write_bytes(self.folder / "samples" / f"{self.seen:09d}.png", png)
        board = self.accelerator.get_tracker("tensorboard", unwrap=True)
        board.add_image("samples", pixels(png), self.step, dataformats="HW")

    def _out_of_time(self, seconds: float) -> bool:
        """Whether `--minutes` are over on any process: all stop at the same update, or they would wait for ever."""
        if self.config.minutes <= 0:
            return False
        over = seconds > 60 * self.config.minutes
        if self.accelerator.num_processes == 1:
            return over
        return bool(self.accelerator.reduce(torch.tensor(float(over), device=self.device), reduction="sum") > 0)

    def _diverged(self, what: str) -> MedgenError:
        return MedgenError(
            f"{what} not finite: lower --rate or use --precision no, then --resume from the last saved state in "
            f"{self.folder}."
        )

    def _flush(self) -> None:
        lines, self._lines = self._lines, []
        if not lines:
            return
        names = list(lines[0][1])
        table = torch.stack([torch.stack([values[name] for name in names]) for _, values in lines])
        table = self.accelerator.reduce(table, reduction="mean").cpu()
        if not torch.isfinite(table).all():
            bad = lines[int((~torch.isfinite(table)).any(dim=1).nonzero()[0])][0]
            raise self._diverged(f"The loss at update {bad} is")
        if self.config.dry_run or not self.main:
            return
        rows = [
            {
                "step": step,
                "images": (step + 1) * self.order.update,
                "rate": self.rate(step),
                **dict(zip(names, row, strict=True)),
            }
            for (step, _), row in zip(lines, table.tolist(), strict=True)
        ]
        with (self.folder / "log.jsonl").open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)
        for row in rows:
            self.accelerator.log({k: v for k, v in row.items() if k != "step"}, step=row["step"])

    def _begin(self) -> None:
        state_path = self.folder / saved_state.STATE
        if self.config.resume and state_path.exists():  # killed before the first save: from the beginning
            saved_state.restore(self, state_path)
        elif self.main and state_path.exists():
            raise MedgenError(f"{self.folder} already holds a run: go on with --resume, or choose another --out.")
        self.accelerator.wait_for_everyone()
        if self.main:
            saved_state.rewind_log(self.folder / "log.jsonl", self.step)
            # numbered by the updates made, a loss by the updates made before it
            saved_state.rewind_log(self.folder / "validation.jsonl", self.step + 1)
            write_json(self.folder / "config.json", asdict(self.config))
        purge = {"tensorboard": {"purge_step": self.step}}
        self.accelerator.init_trackers("tensorboard", init_kwargs=purge)

    def _save(self) -> None:
        self._flush()
        for name, module in self.modules.items():
            if not all(torch.isfinite(parameter).all() for parameter in module.parameters()):
                raise self._diverged(f"After update {self.step - 1} the weights of the {name} are")
        if self.main:
            saved_state.save(self, self.folder / saved_state.STATE)
            # only now: the state on disk must never name weights that are gone
            kept = {file for _, file in self.best}
            for old in self.folder.glob("best-*.safetensors"):
                if old.name not in kept:
                    old.unlink()

    def _validated(self, metric: float) -> None:
        """Keeps the averaged weights if they are among the best, and counts validations without improvement.

        Raises:
            MedgenError: the metric is not finite.
        """
        metric = float(self.accelerator.reduce(torch.tensor(metric, device=self.device), reduction="mean"))
        if not math.isfinite(metric):
            raise self._diverged(f"The validation metric after {self.seen:,} images is")
        best = not self.best or metric < self.best[0][0]
        self.stale = 0 if best else self.stale + 1
        name = f"best-{self.seen:09d}.safetensors"
        self.best = sorted([*self.best, (metric, name)])[: max(1, self.config.keep_best)]
        if self.main:
            if name in {file for _, file in self.best}:
                tensors = {
                    f"{m}/{k}": v.contiguous() for m, net in self.averages.items() for k, v in net.state_dict().items()
                }
                write_bytes(self.folder / name, save_safetensors(tensors))
            self.accelerator.log({"validation": metric}, step=self.step)
            with (self.folder / "validation.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps({"step": self.step, "images": self.seen, "metric": metric}) + "\n")

    def best_weights(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """The best averaged weights by validation, names as `module/tensor`; the last ones if nothing was validated.

        Second, for the card: how they were chosen, and after how many images they were taken.
        """
        if self.best:
            metric, name = self.best[0]
            taken = int("".join(filter(str.isdigit, name)))
            chosen = {"chosen_by": f"validation metric {metric:.5g}", "weights_after_images": taken}
            return load_safetensors((self.folder / name).read_bytes()), chosen
        tensors = {f"{m}/{k}": v for m, net in self.averages.items() for k, v in net.state_dict().items()}
        return tensors, {"chosen_by": "the last weights", "weights_after_images": self.seen}

    def _dry_run(self) -> Iterator[int]:
        started = time.monotonic()
        yield 0
        self._flush()
        seconds = time.monotonic() - started
        parameters = {name: f"{sum(p.numel() for p in m.parameters()) / 1e6:.2f}M" for name, m in self.modules.items()}
        self.accelerator.print(
            f"{self.config.name}: {parameters} parameters on {self.device}, {self.config.precision}; "
            f"{len(self.split.images)} images of {' + '.join(self.config.data)}, {self.order.update} an update, "
            f"{self.total} updates, {self.config.images / len(self.split.images):.1f} epochs; "
            f"the first update took {seconds:.1f} s (it is the slowest). Nothing was written."
        )


def best_precision(cpu: bool) -> str:
    """bf16 where the hardware multiplies it. A CPU that does not emulates it, four times slower than float32."""
    if torch.cuda.is_available() and not cpu:
        return "bf16" if torch.cuda.is_bf16_supported() else "no"
    flags = ("avx512_bf16", "amx_bf16")
    try:
        found = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:  # not Linux
        return "no"
    return "bf16" if any(flag in found for flag in flags) else "no"


def hardware(device: torch.device) -> str:
    """What the run ran on, for its card."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {os.cpu_count()} cores"
