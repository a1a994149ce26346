"""Learning curves: the validation metric of each model against the images it had seen, and whether it still fell.

Read from the log.jsonl beside its card. Every such metric is better lower; what it is differs by kind of model, so that
curves of two kinds must not be compared.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from medgen import registry
from medgen.errors import MedgenError

BARS = "▁▂▃▄▅▆▇█"
FEWEST = 4
"""Points of a curve, below which nothing is said of its end."""
_LONGEST = 24


@dataclass(frozen=True)
class Curve:
    """The validations of the last run of a model.

    Args:
        model: its name.
        points: `(images seen in that run, metric)`, in order.
    """

    model: str
    points: tuple[tuple[int, float], ...]

    @property
    def gain(self) -> float | None:
        """How much lower the last point is than the one nearest to half of the images, as a share of that one."""
        if len(self.points) < FEWEST:
            return None
        half = min(self.points[:-1], key=lambda point: abs(point[0] - self.points[-1][0] / 2))[1]
        return (half - self.points[-1][1]) / abs(half) if half else None

    @property
    def noise(self) -> float:
        """How far a point of the last half usually lies from between its neighbours, as a share of the last one."""
        values = [value for _, value in self.points[(len(self.points) - 1) // 2 :]]
        if len(values) < 3:
            values = [value for _, value in self.points[-3:]]
        off = [abs(b - (a + c) / 2) for a, b, c in zip(values, values[1:], values[2:], strict=False)]
        return median(off) / abs(values[-1]) if off and values[-1] else 0.0

    @property
    def verdict(self) -> str:
        """Whether the second half of the images still made it better, by more than its points scatter."""
        if self.gain is None:
            return f"too few validations ({len(self.points)}) to tell"
        percent = f"{100 * self.gain:.1f} %"
        if self.gain > max(2 * self.noise, 0.01):
            return f"still falling: {percent} over the last half"
        return f"flat: {percent} over the last half, its points scatter by {100 * self.noise:.1f} %"

    @property
    def drawn(self) -> str:
        """As bars, the highest value the tallest."""
        values = [value for _, value in self.points]
        every = max(1, -(-len(values) // _LONGEST))
        values = [*values[:-1][::every], values[-1]]
        low, high = min(values), max(values)
        step = (high - low) / (len(BARS) - 1) or 1.0
        return "".join(BARS[round((value - low) / step)] for value in values)


def curve(folder: Path) -> Curve | None:
    """The curve of the model in `folder`; None where its log has no validation.

    Raises:
        MedgenError: the log is broken.
    """
    path = folder / "log.jsonl"
    if not path.is_file():
        return None
    try:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        points = tuple((int(row["images"]), float(row["metric"])) for row in rows if "metric" in row)
    except (ValueError, KeyError, TypeError) as error:
        raise MedgenError(f"{folder.name}/{path.name} cannot be read ({error}); export the run again.") from error
    return Curve(folder.name, points) if points else None


def section() -> str:
    """All curves as a table of Markdown; "" where there is none.

    Raises:
        MedgenError: a log is broken.
    """
    found = [one for name in registry.cards() if (one := curve(registry.checkpoints_dir() / name)) is not None]
    if not found:
        return ""
    lines = ["| model | validations of its last run | from, to | images of that run | at its end |", "|" + "---|" * 5]
    for one in found:
        ends = f"{one.points[0][1]:.4g}, {one.points[-1][1]:.4g}"
        lines.append(f"| {one.model} | {one.drawn} | {ends} | {one.points[-1][0]:,} | {one.verdict} |")
    return HEAD + "\n".join(lines) + "\n"


HEAD = """
## Did training end where it stopped helping?

The metric that chose the weights, on the val split, lower is better, at each validation of the last run: the denoising
loss of diffusion models, the sliced Wasserstein distance of GANs and students, the error of translators and volumes.
Read one line by itself: metrics of two kinds of models are no scale. "Still falling" means that more computing time
would have helped.

"""
