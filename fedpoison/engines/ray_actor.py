"""The code that runs in a Ray actor, and the values that the driver and the actors exchange.

Tensors are sent as NumPy arrays, which Ray passes without a copy. All actors of a machine read the same data
set, and the driver reads results where an actor wrote them. The memory of a client is copied, because the
client may write to it.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clients.training.batch import Trained
from clients.training.trainer import Trainer
from fedpoison.data import Dataset
from fedpoison.federation.client import ClientResult, Task, train_or_fail
from fedpoison.federation.federation import Federation
from fedpoison.scenario.scenario import Scenario
from strategies.kernels.columns import use_one_thread

Weights = NDArray[np.float32]
NO_WEIGHTS = torch.empty(0)
"""Placeholder for weights that are sent separately."""


@dataclass(frozen=True, eq=False)
class SharedFederation:
    """A federation in Ray's object store."""

    scenario: Scenario
    dataset: Dataset
    """Data set without images and labels."""
    arrays: Sequence[tuple[NDArray[Any], NDArray[Any]]]
    """Images and labels of the training samples and of the test samples."""

    @classmethod
    def from_federation(cls, federation: Federation) -> Self:
        parts = federation.dataset.train, federation.dataset.test
        # Without the clones, the empty slices would send the storage of all samples.
        train, test = (
            replace(part, images=part.images[:0].clone(), labels=part.labels[:0].clone()) for part in parts
        )
        arrays = [(part.images.numpy(), part.labels.numpy()) for part in parts]
        return cls(federation.scenario, replace(federation.dataset, train=train, test=test), arrays)

    def federation(self) -> Federation:
        """Return the federation, whose samples share the memory of the object store."""
        parts = self.dataset.train, self.dataset.test
        train, test = (
            replace(part, images=view(images), labels=view(labels))
            for part, (images, labels) in zip(parts, self.arrays, strict=True)
        )
        return Federation(self.scenario, replace(self.dataset, train=train, test=test))


@dataclass(frozen=True, eq=False)
class Assignment:
    """A task for an actor. Each distinct model of a round is sent once; the task gives its position."""

    task: Task
    """Task without models."""
    model: int
    previous_model: int | None

    def restore(self, models: Sequence[Tensor]) -> Task:
        """Return the task with its models."""
        previous = None if self.previous_model is None else models[self.previous_model]
        request = replace(self.task.request, model=models[self.model], previous_model=previous)
        return replace(self.task, request=request)


@dataclass(frozen=True, eq=False)
class ClientBatchResult:
    """Results of a client batch, with all weights in one matrix."""

    weights: Weights
    """(m, d); the row of a failed client is zero."""
    results: Sequence[ClientResult]
    """Results of the m tasks, without weights."""

    @classmethod
    def from_results(cls, results: Sequence[ClientResult], size: int) -> Self:
        """Separate the weights, of `size` parameters per client, from the results."""
        weights = np.zeros((len(results), size), dtype=np.float32)
        for row, result in zip(weights, results, strict=True):
            if result.trained is not None:
                row[:] = result.trained.weights.numpy()
        return cls(weights, [_without_weights(result) for result in results])

    def restore(self) -> list[ClientResult]:
        """Return the results with their weights, which share the matrix's memory: do not write to them."""
        return [
            replace(result, trained=result.trained and replace(result.trained, weights=row))
            for row, result in zip(view(self.weights), self.results, strict=True)
        ]


class TrainingActor:
    """An actor that trains client batches, one after the other."""

    def __init__(self, shared: SharedFederation) -> None:
        use_one_thread()  # as on every engine: parallelism comes from workers
        self._federation = shared.federation()
        self._trainer = Trainer(self._federation.model(), self._federation.scenario.training)

    def numerics(self) -> dict[str, str]:
        """Return the result of `numerics`, which also shows that the actor has started."""
        return numerics()

    def train(self, client_batch: Sequence[Assignment], *models: Weights) -> ClientBatchResult:
        """Train a client batch, starting from the models (d,) at the positions in its assignments."""
        vectors = [view(model) for model in models]
        tasks = [assignment.restore(vectors) for assignment in client_batch]
        results = [train_or_fail(self._federation, self._trainer, task) for task in tasks]
        return ClientBatchResult.from_results(results, len(vectors[0]))


def numerics() -> dict[str, str]:
    """Return the version of torch and the CPU instructions that it uses: the last bits depend on both."""
    return {"torch": torch.__version__, "capability": torch.backends.cpu.get_cpu_capability()}


def view(array: NDArray[Any]) -> Tensor:
    """Return a tensor on the memory of `array`. Do not write to it: the object store may own the memory."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(array)


def _without_weights(result: ClientResult) -> ClientResult:
    """Return the result without weights. Copy its memory, whose tensors may be views of large storages."""
    memory = {name: value.detach().clone() for name, value in result.memory.items()}
    trained: Trained | None = result.trained and replace(result.trained, weights=NO_WEIGHTS)
    return replace(result, trained=trained, memory=memory)
