"""What `eval.run` prints: a report and a memorisation file as lines of text."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from eval import report

_ASKED = {"split": "test", "extractor": None, "n": None, "limit": None, "steps": None, "guidance": None, "repeats": 200}
"""Options that change a report -> their defaults."""


def command(options: Namespace, name: str | None) -> str:
    """What measures the model `name` again, or a folder of pictures, whose path is of this machine and left out."""
    words = ["python -m eval.run", name or "--images DIR", "--protocol", options.protocol]
    for option, default in _ASKED.items():
        if (value := getattr(options, option)) != default:
            words += [f"--{option}", str(value)]
    return " ".join(words)


def summary(found: dict[str, Any]) -> str:
    """A report: value, interval, floor and n of each metric."""
    head = (
        f"{found['model']} | {found['protocol']} {found['split']} split | {found['extractor']['name']} | "
        f"{found['n_real']} real of {found['n_subjects']} patients, {found['n_fake']} generated, "
        f"{found['n_train']} train"
    )
    lines = [head, f"{'':20} {'value':>9}  {'95 % interval':^21} {'floor':>9} {'real':>8}  n real, generated"]
    for name, entry in found["metrics"].items():
        shown = report.METRICS[name]
        value, low, high, floor, real = (
            "-" if entry.get(key) is None else f"{entry[key]:.{shown.digits}f}"
            for key in ("value", "low", "high", "floor", "real")
        )
        n = f"{entry['n_real']}, {entry['n_fake']}" if entry.get("n_fake") else "-"
        said = "".join(f"  ({entry[key]})" for key in ("reason", "warning") if key in entry)
        lines.append(f"{shown.title:20} {value:>9}  {low:>9} .. {high:<9} {floor:>9} {real:>8}  {n}{said}")
    return "\n".join(lines)


def memorisation(found: dict[str, Any]) -> str:
    """How near the samples come to the training images in each space, and the closest pair of each."""
    verdict = "ALARM" if found["alarm"] else "no alarm"
    lines = [
        f"{found['model']} | memorisation: {verdict} | {found['n_fake']} generated and {found['n_held_out']} held-out "
        f"real images against {found['n_train']} train images"
    ]
    for name, space in found["spaces"].items():
        own, real, lonely, first = space["share"], space["held_out"], space["lonely"], space["closest"][0]
        limits = "" if real["low"] is None else f" ({real['low']:.3f} .. {real['high']:.3f})"
        lines.append(
            f"{name:20} near {own['value']:.3f} ({own['low']:.3f} .. {own['high']:.3f}), held-out {real['value']:.3f}"
            f"{limits}; lonely {lonely['share']['value']:.3f} ({lonely['share']['low']:.3f} .. "
            f"{lonely['share']['high']:.3f}), held-out {lonely['held_out']['value']:.3f}"
            f"{'  ALARM' if space['alarm'] else ''}; closest: seed {first['seed']} to train image "
            f"{first['train']} of {first['subject']}, {first['distance']:.4g}, percentile {first['percentile']:.1f}"
        )
    return "\n".join(lines)
