"""Worker threads. Each has its own model and one intra-op thread.

Only workers run in parallel, and torch operations do not. So the number of workers does not change the bits
of any result.
"""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self, TypeVar

import torch
from torch import nn

from clients.training.local_training import LocalTraining
from clients.training.trainer import Trainer
from fedpoison.devices import CPU
from fedpoison.processors import processor_count
from strategies.kernels.columns import use_one_thread

Work = TypeVar("Work")
Done = TypeVar("Done")


class Workers:
    """Pool of trainers, used as a context manager.

    Args:
        model: Builds the model of one trainer.
        training: Settings of the training.
        count: Number of trainers. Default: one per CPU core.
        device: Device of the models.
    """

    def __init__(
        self,
        model: Callable[[], nn.Module],
        training: LocalTraining,
        count: int | None = None,
        *,
        device: torch.device = CPU,
    ) -> None:
        self.count = count or processor_count()
        self.device = device
        self._trainers: queue.SimpleQueue[Trainer] = queue.SimpleQueue()
        for _ in range(self.count):
            self._trainers.put(Trainer(model().to(device), training))
        self._pool = ThreadPoolExecutor(
            self.count, thread_name_prefix="fedpoison", initializer=use_one_thread
        )

    def map(self, function: Callable[[Trainer, Work], Done], work: Iterable[Work]) -> Iterator[Done]:
        """Yield `function(trainer, item)` for each item, in order. Workers compute them in parallel."""

        def run_item(item: Work) -> Done:
            trainer = self._trainers.get()
            try:
                return function(trainer, item)
            finally:
                self._trainers.put(trainer)

        return self._pool.map(run_item, work)

    def run(self, function: Callable[[Trainer], Done]) -> Done:
        """Return `function(trainer)`, computed by one worker."""
        return next(self.map(lambda trainer, _: function(trainer), [None]))

    def close(self) -> None:
        """Cancel pending work and stop the threads."""
        self._pool.shutdown(cancel_futures=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
