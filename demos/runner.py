"""Runs generators in a worker thread and tells how far they are, so that a page can show it and stop it."""

from __future__ import annotations

import queue
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

import psutil

from medgen import Generator, ImageSet, MedgenError, ModelCard, Request, Stopped, backend, load
from medgen.image import concatenate

KEPT_MODELS = 6
BATCH = 8
"""Images a call of `sample()`: pictures appear, and survive a Stop, in portions of this size."""
PREVIEWS = 10

_loaded: OrderedDict[str, Generator] = OrderedDict()
_loading = threading.Lock()


@dataclass(frozen=True)
class Task:
    """One call of `sample()`; `runtime` is that of a manifest whose pixels are to be made again, or None."""

    card: ModelCard
    request: Request
    runtime: str | None = None


@dataclass(frozen=True)
class Loading:
    """The network of `name` is being read."""

    name: str


@dataclass(frozen=True)
class Step:
    """Step `done` of `total` of one task is over; `preview` is the unfinished picture, when one was made."""

    name: str
    task: int
    done: int
    total: int
    preview: ImageSet | None = None


@dataclass(frozen=True)
class Result:
    """What one model has finished: everything so far (`run`), or one task (`portions`).

    Args:
        card: the model.
        requests: what was asked, one a call of `sample()`.
        images: the answers, in the order of the requests.
        seconds: time inside `sample()`, without loading and without previews.
        peak_mb: highest memory of the process (or of the GPU, where that is more) while sampling, MiB.
        runtime: that made them; None where nobody said.
    """

    card: ModelCard
    requests: tuple[Request, ...]
    images: ImageSet
    seconds: float
    peak_mb: float
    runtime: str | None = None


Event = Loading | Step | Result
Process = Callable[[list[Task], threading.Event, bool], Iterator[Event]]
"""`process(tasks, stop, previews)` -> events; a tab receives one, tests give it a fake."""


def batches(card: ModelCard, request: Request) -> list[Task]:
    """`request` cut into calls of at most `BATCH` seeds; image i depends on seed i alone, so the pixels stay."""
    seeds = request.seeds
    return [Task(card, replace(request, seeds=seeds[i : i + BATCH])) for i in range(0, len(seeds), BATCH)]


def model(card: ModelCard) -> Generator:
    """The network of `card`, loaded on first use; the `KEPT_MODELS` last used stay in memory."""
    with _loading:
        kept = _loaded.get(card.name)
        if kept is None or kept.card != card:
            kept = load(card.name)
        _loaded[card.name] = kept
        _loaded.move_to_end(card.name)
        while len(_loaded) > KEPT_MODELS:
            _loaded.popitem(last=False)
        return kept


def run(tasks: list[Task], stop: threading.Event, previews: bool = False) -> Iterator[Event]:
    """Works through `tasks` in order in a worker thread.

    Yields:
        `Loading` before a model's first task, `Step` after each step, and a growing `Result` after each task.
        Once `stop` is set the iteration ends within one step; what was finished has been yielded.

    Raises:
        MedgenError: a model could not be loaded, could not answer, or the memory is full.
    """
    results: dict[str, Result] = {}
    for event in _events(tasks, stop, previews, in_step=False):
        if isinstance(event, Result):
            before = results.get(event.card.name)
            event = results[event.card.name] = event if before is None else joined(before, event)
        yield event


def portions(tasks: list[Task], stop: threading.Event, previews: bool = False) -> Iterator[Event]:
    """As `run`, but a `Result` holds the images of one task alone, and the next task waits until it is dealt with.

    So a thousand images need the memory of one task, and what the caller does with a result, such as judging it, is
    not counted in the seconds of the next.
    """
    yield from _events(tasks, stop, previews, in_step=True)


def _events(tasks: list[Task], stop: threading.Event, previews: bool, in_step: bool) -> Iterator[Event]:
    events: queue.SimpleQueue[Event | Future[None]] = queue.SimpleQueue()
    left, dealt_with = threading.Event(), threading.Semaphore(0)

    def over() -> bool:
        return stop.is_set() or left.is_set()

    def put(event: Event) -> None:
        events.put(event)
        while in_step and isinstance(event, Result) and not left.is_set() and not dealt_with.acquire(timeout=0.1):
            pass

    with ThreadPoolExecutor(1, thread_name_prefix="medgen-run") as executor:
        worker = executor.submit(_work, tasks, over, previews, put)
        worker.add_done_callback(events.put)
        try:
            while not isinstance(event := events.get(), Future):
                yield event
                if isinstance(event, Result):
                    dealt_with.release()
            _reraise(event)
        finally:
            left.set()  # the page was closed in the middle: the worker must not go on for nobody


def _reraise(worker: Future[None]) -> None:
    try:
        worker.result()
    except Stopped:
        return
    except (MemoryError, RuntimeError) as error:  # torch says a full GPU by a RuntimeError
        if isinstance(error, RuntimeError) and "out of memory" not in str(error).lower():
            raise
        raise MedgenError("The memory is full: ask for fewer images or fewer models at once.") from error


def _work(tasks: list[Task], over: Callable[[], bool], previews: bool, put: Callable[[Event], None]) -> None:
    met: set[str] = set()
    for index, task in enumerate(tasks):
        if over():
            return
        if task.card.name not in met:
            put(Loading(task.card.name))
        met.add(task.card.name)
        generator = model(task.card)
        put(_sample(generator, task, index, over, previews, put))


def _sample(
    generator: Generator, task: Task, index: int, over: Callable[[], bool], previews: bool, put: Callable[[Event], None]
) -> Result:
    """One call of `sample()`, timed, with `Step` events on the way."""
    preview_seconds = 0.0

    def on_step(done: int, total: int, preview: Callable[[], ImageSet]) -> None:
        nonlocal preview_seconds
        if over():
            raise Stopped
        picture = None
        if previews and done < total and done * PREVIEWS // total > (done - 1) * PREVIEWS // total:
            started = time.perf_counter()
            picture = preview()
            preview_seconds += time.perf_counter() - started
        put(Step(task.card.name, index, done, total, picture))

    with PeakMemory() as memory, backend.using(task.runtime):
        runtime = backend.name()
        started = time.perf_counter()
        images = generator.sample(task.request, on_step)
        seconds = time.perf_counter() - started - preview_seconds
    return Result(task.card, (task.request,), images, seconds, memory.peak_mb, runtime)


def joined(first: Result, second: Result) -> Result:
    """The two as one: what one model has finished in two portions."""
    return replace(
        first,
        requests=first.requests + second.requests,
        images=concatenate([first.images, second.images]),
        seconds=first.seconds + second.seconds,
        peak_mb=max(first.peak_mb, second.peak_mb),
    )


class PeakMemory:
    """Highest memory use inside a `with` block, MiB: resident memory every 20 ms, and torch's count on a GPU."""

    peak_mb: float = 0.0

    def __enter__(self) -> PeakMemory:
        self._process = psutil.Process()
        self._over = threading.Event()
        # sys.modules, not import: measuring must not load torch for a family that does without
        torch = sys.modules.get("torch")
        self._cuda = torch.cuda if torch is not None and torch.cuda.is_available() else None
        if self._cuda is not None:
            self._cuda.reset_peak_memory_stats()
        self._look()
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._watcher.join()
        self._look()
        if self._cuda is not None:
            self.peak_mb = max(self.peak_mb, self._cuda.max_memory_allocated() / 2**20)

    def _watch(self) -> None:
        while not self._over.wait(0.02):
            self._look()

    def _look(self) -> None:
        self.peak_mb = max(self.peak_mb, self._process.memory_info().rss / 2**20)
