"""Partitioners of Flower Datasets, by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fedpoison.data.partition import check_samples
from fedpoison.errors import ScenarioError, unknown

FLOWER_DATASETS = "flwr-datasets:"
"""Prefix of a spec that names a partitioner of Flower Datasets."""
CLIENT = "client"
"""Value of `partition_by` for the client of each sample, in place of its label."""


@dataclass(frozen=True)
class FlowerPartition:
    """A partitioner of Flower Datasets with its arguments.

    The number of clients, the labels and the seed come from the scenario.
    """

    name: str
    arguments: tuple[tuple[str, Any], ...] = ()

    @property
    def by_client(self) -> bool:
        """Whether the partition divides clients of the data set, not labels."""
        return dict(self.arguments).get("partition_by") == CLIENT

    def __call__(self, labels: Tensor, clients: int, generator: torch.Generator) -> list[Tensor]:
        check_samples(len(labels), clients)
        kind = self._partitioner_class()
        try:
            import datasets  # noqa: PLC0415  # an optional package

            datasets.disable_progress_bars()
            partitioner = kind(**self._complete(kind, clients, generator))
            column = self._column(kind) or "label"
            positions = list(range(len(labels)))
            partitioner.dataset = datasets.Dataset.from_dict({column: labels.tolist(), "position": positions})
            if partitioner.num_partitions != clients:
                raise ScenarioError(
                    f"{self._title}: got {partitioner.num_partitions} partitions, expected {clients}, one "
                    f"per client; set clients={partitioner.num_partitions}, or change the arguments."
                )
            parts = [
                torch.tensor(partitioner.load_partition(client)["position"][:], dtype=torch.int64)
                for client in range(clients)
            ]
        except (TypeError, ValueError, KeyError, IndexError) as error:
            if isinstance(error, ScenarioError):
                raise
            raise ScenarioError(f"{self._title}: Flower Datasets refuses the arguments: {error}") from None
        empty = sum(not len(part) for part in parts)
        if empty:
            raise ScenarioError(
                f"{self._title}: {empty} of {clients} clients get no sample, expected at least one each; "
                "change the arguments, or reduce the number of clients."
            )
        return parts

    @property
    def _title(self) -> str:
        return f"partition {FLOWER_DATASETS}{self.name}"

    def _partitioner_class(self) -> Callable[..., Any]:
        try:
            from flwr_datasets import partitioner  # noqa: PLC0415  # an optional package
        except ImportError:
            raise ScenarioError(
                f"{self._title}: the package flwr-datasets is not installed; install it with: "
                "pip install 'fedpoison[hub]'."
            ) from None
        names = [name for name in partitioner.__all__ if name != "Partitioner" and "Vertical" not in name]
        if self.name not in names:
            raise unknown("partitioner of Flower Datasets", self.name, names)
        found: Callable[..., Any] = getattr(partitioner, self.name)
        return found

    def _column(self, kind: Callable[..., Any]) -> str | None:
        """Return the column that the partitioner divides by. None: it divides by none."""
        if "partition_by" not in inspect.signature(kind).parameters:
            return None
        return str(dict(self.arguments).get("partition_by", "label"))

    def _complete(self, kind: Callable[..., Any], clients: int, generator: torch.Generator) -> dict[str, Any]:
        """Return the arguments, with those that the scenario sets."""
        known = inspect.signature(kind).parameters
        given = dict(self.arguments)
        for name in given:
            if name not in known:
                raise unknown(f"argument of {self.name}", name, known)
        ours = {
            "num_partitions": clients,
            "partition_by": self._column(kind),
            "seed": int(torch.randint(2**31, (), generator=generator)),
        }
        return {name: value for name, value in ours.items() if name in known} | given
