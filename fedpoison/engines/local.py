"""The `local` engine: a Flower grid in the calling process."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from clients.training.trainer import Trainer
from fedpoison.devices import resolve_device
from fedpoison.engines.base import ClientBatch, EngineGrid
from fedpoison.engines.gpu import device_grid
from fedpoison.engines.options import EngineOptions
from fedpoison.federation.client import ClientResult, train_or_fail
from fedpoison.federation.federation import Federation
from fedpoison.federation.workers import Workers


class LocalGrid(EngineGrid):
    """A grid that trains client batches in threads. Weights are passed without serialization."""

    def __init__(
        self, federation: Federation, workers: Workers, *, clients_per_task: int | None = None
    ) -> None:
        super().__init__(federation, workers=workers.count, clients_per_task=clients_per_task)
        self._pool = workers

    def train(self, client_batches: Sequence[ClientBatch]) -> Iterable[Sequence[ClientResult]]:
        def train_batch(trainer: Trainer, client_batch: ClientBatch) -> list[ClientResult]:
            return [train_or_fail(self._federation, trainer, task) for task in client_batch]

        return self._pool.map(train_batch, client_batches)


@contextmanager
def local_grid(federation: Federation, options: EngineOptions) -> Iterator[tuple[EngineGrid, Workers]]:
    """Yield a grid on the CPUs or on a device, and the workers of the server."""
    device = resolve_device(options.device)
    if device.type != "cpu":
        with device_grid(federation, device, options) as on_device:
            yield on_device
        return
    with Workers(federation.model, federation.scenario.training, options.workers) as pool:
        yield LocalGrid(federation, pool, clients_per_task=options.clients_per_task), pool
