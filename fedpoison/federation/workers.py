"""Worker threads, each with a model of its own and one intra-op thread.

Parallelism comes from workers and never from inside an operation, so the number of workers does not
change a bit of any result.
"""

from __future__ import annotations

import os
import queue
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self, TypeVar

import torch
from torch import nn

from clients.training.trainer import LocalTraining, Trainer
from fedpoison.devices import CPU
from strategies.kernels.columns import use_one_thread

Work = TypeVar("Work")
Done = TypeVar("Done")


class Workers:
    """A pool of trainers. Use it as a context manager.

    Args:
        model: builds the model of one trainer.
        training: how they train.
        count: how many there are; None is one for each processor.
        device: where their models lie.
    """

    def __init__(
        self,
        model: Callable[[], nn.Module],
        training: LocalTraining,
        count: int | None = None,
        *,
        device: torch.device = CPU,
    ) -> None:
        self.count = count or os.cpu_count() or 1
        self.device = device
        self._trainers: queue.SimpleQueue[Trainer] = queue.SimpleQueue()
        for _ in range(self.count):
            self._trainers.put(Trainer(model().to(device), training))
        self._pool = ThreadPoolExecutor(
            self.count, thread_name_prefix="fedpoison", initializer=use_one_thread
        )

    def map(self, function: Callable[[Trainer, Work], Done], work: Iterable[Work]) -> Iterator[Done]:
        """Yield `function(trainer, item)` for each item, in order, worked on in parallel."""

        def one(item: Work) -> Done:
            trainer = self._trainers.get()
            try:
                return function(trainer, item)
            finally:
                self._trainers.put(trainer)

        return self._pool.map(one, work)

    def run(self, function: Callable[[Trainer], Done]) -> Done:
        """Return `function(trainer)`, worked on by one of the workers."""
        return next(self.map(lambda trainer, _: function(trainer), [None]))

    def close(self) -> None:
        """Drop what has not begun, and end the threads."""
        self._pool.shutdown(cancel_futures=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
