"""The `local` engine: a Flower grid in the calling process."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from clients.training.trainer import Trainer
from fedpoison.engines.base import ClientBatch, EngineGrid
from fedpoison.federation.client import ClientResult, train_or_fail
from fedpoison.federation.federation import Federation
from fedpoison.federation.workers import Workers


class LocalGrid(EngineGrid):
    """Trains cohorts in worker threads and hands the weights over without serialising them.

    Args:
        federation: the nodes.
        workers: the threads, each with a model.
        clients_per_task: as for every `EngineGrid`.
    """

    def __init__(
        self, federation: Federation, workers: Workers, *, clients_per_task: int | None = None
    ) -> None:
        super().__init__(federation, workers=workers.count, clients_per_task=clients_per_task)
        self._pool = workers

    def train(self, client_batches: Sequence[ClientBatch]) -> Iterable[Sequence[ClientResult]]:
        """Return what came of the tasks of each cohort, in order."""

        def train_clients(trainer: Trainer, client_batch: ClientBatch) -> list[ClientResult]:
            return [train_or_fail(self._federation, trainer, task) for task in client_batch]

        return self._pool.map(train_clients, client_batches)
