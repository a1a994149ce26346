"""`--find-batch-size`: the same update in smaller passes."""

from __future__ import annotations

from collections.abc import Callable

from accelerate.utils import find_executable_batch_size

from medgen.errors import MedgenError
from train.config import Config


def fitting(config: Config, train: Callable[[int, int], object]) -> tuple[int, int]:
    """Calls `train(batch, accumulate)`; with `--find-batch-size`, again with half the batch each time memory runs out.

    Batch times accumulate stays the same, so the losses do too. Returns the pair that worked.

    Raises:
        MedgenError: not even one image fits.
    """
    if not config.find_batch_size:
        train(config.batch, config.accumulate)
        return config.batch, config.accumulate
    images = config.batch * config.accumulate
    current = config.batch

    def halve() -> int:
        nonlocal current
        current //= 2
        # the next divisor, so that the update keeps its size
        while current > 1 and images % current:
            current -= 1
        return current

    @find_executable_batch_size(starting_batch_size=config.batch, reduce_batch_size_fn=halve)
    def attempt(batch: int) -> tuple[int, int]:
        train(batch, images // batch)
        return batch, images // batch

    try:
        found: tuple[int, int] = attempt()
    except RuntimeError as error:
        if "No executable batch size" in str(error):
            raise MedgenError("Not even one image fits into memory: choose a smaller network.") from error
        raise
    return found
