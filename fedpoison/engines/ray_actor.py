"""What runs in a Ray actor: the fleet, shared with the other actors of the machine, and one trainer.

Tensors travel as NumPy arrays, which Ray hands over without a copy: every actor of a machine reads the same
data set, and the driver reads an actor's results where they were written. What a node remembers is copied,
because it is the one thing that a client may write to.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clients.training.batch import Trained
from clients.training.samples import Samples
from clients.training.trainer import Trainer
from fedpoison.data import Dataset
from fedpoison.federation.client import ClientResult, Task, TrainRequest, train_or_fail
from fedpoison.federation.federation import Federation
from fedpoison.scenario.scenario import Scenario
from strategies.kernels.columns import use_one_thread

Weights = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class SharedFederation:
    """A fleet as it lies in the object store."""

    scenario: Scenario
    dataset: Dataset
    """Without its images and labels, which follow."""
    train: tuple[NDArray[Any], NDArray[Any]]
    test: tuple[NDArray[Any], NDArray[Any]]

    @classmethod
    def from_federation(cls, federation: Federation) -> Self:
        """Return what an actor needs to have the same fleet."""
        train, test = federation.dataset.train, federation.dataset.test
        hollow = replace(federation.dataset, train=_without_data(train), test=_without_data(test))
        return cls(federation.scenario, hollow, _arrays(train), _arrays(test))

    def federation(self) -> Federation:
        """Return the fleet, whose data shares the memory of the object store."""
        train = _with_data(self.dataset.train, self.train)
        test = _with_data(self.dataset.test, self.test)
        return Federation(self.scenario, replace(self.dataset, train=train, test=test))


@dataclass(frozen=True, eq=False)
class Assignment:
    """A task as it travels: global weights are sent once a round, and named here by their position."""

    client_id: int
    server_round: int
    model: int
    previous_model: int | None
    proximal: float | None
    memory: Mapping[str, Tensor]

    def task(self, models: Sequence[Tensor]) -> Task:
        """Return the task, given the global weights that came with it."""
        previous = None if self.previous_model is None else models[self.previous_model]
        request = TrainRequest(self.server_round, models[self.model], previous, self.proximal)
        return Task(self.client_id, request, self.memory)


@dataclass(frozen=True, eq=False)
class ClientBatchResult:
    """What came of a cohort as it travels: all weights in one matrix."""

    weights: Weights
    """(m, d); the row of a node that failed is zero."""
    results: Sequence[ClientResult]
    """Those of the m tasks, without the weights."""

    @classmethod
    def from_results(cls, results: Sequence[ClientResult], size: int) -> Self:
        """Return the outcomes of tasks on a model of `size` parameters, ready to travel."""
        weights = np.zeros((len(results), size), dtype=np.float32)
        for row, result in zip(weights, results, strict=True):
            if result.trained is not None:
                row[:] = result.trained.weights.numpy()
        nothing = torch.empty(0)
        return cls(weights, [_sent(result, nothing) for result in results])

    def received(self) -> list[ClientResult]:
        """Return the outcomes; their weights share the matrix's memory and are to be read only."""
        rows = view(self.weights)
        return [
            result
            if result.trained is None
            else replace(result, trained=replace(result.trained, weights=row))
            for row, result in zip(rows, self.results, strict=True)
        ]


class TrainingActor:
    """Trains cohorts, one after the other."""

    def __init__(self, shared: SharedFederation) -> None:
        use_one_thread()  # as on every engine: parallelism comes from workers
        self._federation = shared.federation()
        self._trainer = Trainer(self._federation.model(), self._federation.scenario.training)

    def numerics(self) -> dict[str, str]:
        """Return what the last bits of a result depend on; that it answers says that the actor is up."""
        return numerics()

    def train(self, client_batch: Sequence[Assignment], *models: Weights) -> ClientBatchResult:
        """Return what comes of a cohort, given the global weights (d,) that its assignments name."""
        vectors = [view(model) for model in models]
        results = [
            train_or_fail(self._federation, self._trainer, each.task(vectors)) for each in client_batch
        ]
        return ClientBatchResult.from_results(results, len(vectors[0]))


def numerics() -> dict[str, str]:
    """Return the version of torch and the processor's vector instructions that it uses."""
    return {"torch": torch.__version__, "capability": torch.backends.cpu.get_cpu_capability()}


def view(array: NDArray[Any]) -> Tensor:
    """Return a tensor on the memory of `array`, which may be the object store's: not to be written to."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(array)


def _sent(result: ClientResult, nothing: Tensor) -> ClientResult:
    """Return the outcome without its weights, and with memory that is a part of nothing larger."""
    memory = {name: value.detach().clone() for name, value in result.memory.items()}
    trained: Trained | None = result.trained and replace(result.trained, weights=nothing)
    return replace(result, trained=trained, memory=memory)


def _without_data(samples: Samples) -> Samples:
    return replace(samples, images=samples.images[:0], labels=samples.labels[:0])


def _arrays(samples: Samples) -> tuple[NDArray[Any], NDArray[Any]]:
    return samples.images.numpy(), samples.labels.numpy()


def _with_data(hollow: Samples, arrays: tuple[NDArray[Any], NDArray[Any]]) -> Samples:
    images, labels = arrays
    return replace(hollow, images=view(images), labels=view(labels))
