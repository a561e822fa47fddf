"""The `local` engine: a Flower grid in the calling process."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from clients.training.trainer import Trainer
from fedpoison.engines.base import Cohort, CohortGrid
from fedpoison.federation.client import Outcome, attempt
from fedpoison.federation.federation import Federation
from fedpoison.federation.workers import Workers


class LocalGrid(CohortGrid):
    """Trains cohorts in worker threads and hands the weights over without serialising them.

    Args:
        federation: the nodes.
        workers: the threads, each with a model.
        cohort: as for every `CohortGrid`.
    """

    def __init__(self, federation: Federation, workers: Workers, *, cohort: int | None = None) -> None:
        super().__init__(federation, workers=workers.count, cohort=cohort)
        self._pool = workers

    def train(self, cohorts: Sequence[Cohort]) -> Iterable[Sequence[Outcome]]:
        """Return what came of the tasks of each cohort, in order."""

        def train_cohort(trainer: Trainer, cohort: Cohort) -> list[Outcome]:
            return [attempt(self._federation, trainer, task) for task in cohort]

        return self._pool.map(train_cohort, cohorts)
