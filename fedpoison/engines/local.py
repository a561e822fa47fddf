"""The `local` engine: a Flower grid in the calling process.

On an accelerator, clients train as stacked models, and updates stay on the device.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor

from clients.attacks.composite import poisons_data
from clients.training.batch import (
    Job,
    can_stack,
    poison_job,
    train_clients,
    train_clients_stacked,
    why_not_stacked,
)
from clients.training.trainer import Trainer
from fedpoison.devices import CPU, aggregation_device, deterministic_mode, device_name, resolve_device
from fedpoison.engines.base import ClientBatch, EngineGrid
from fedpoison.engines.options import EngineOptions
from fedpoison.errors import EngineError
from fedpoison.federation.client import (
    ClientResult,
    Task,
    error_line,
    job_for,
    keep_buffers,
    train_or_fail,
    training_of,
)
from fedpoison.federation.federation import Federation
from fedpoison.federation.workers import Workers

_log = logging.getLogger(__name__)

CLIENTS_PER_STACK = 100
"""Default number of clients per stack."""


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


class DeviceGrid(EngineGrid):
    """A grid that trains clients in stacks on the device.

    Clients whose attack changes the training train in threads on CPUs. Attacks on the data run on CPUs, too,
    with the same code as without a device; the poisoned data then moves to the device.

    Args:
        federation: federation whose clients receive the messages.
        trainer: trainer on the device.
        workers: threads for attacks, each with a model on the CPU.
        clients_per_task: largest number of clients per stack. Default: 100.
    """

    def __init__(
        self, federation: Federation, trainer: Trainer, workers: Workers, clients_per_task: int | None
    ) -> None:
        super().__init__(
            federation, workers=workers.count, clients_per_task=clients_per_task or CLIENTS_PER_STACK
        )
        self._trainer = trainer
        self._threads = workers
        self._aggregation_device = aggregation_device(trainer.device)
        self._resident = federation.train.to(trainer.device)

        obstacle = why_not_stacked(trainer.model, self._resident.images[:2])
        self._train_jobs = train_clients_stacked if obstacle is None else train_clients
        if obstacle is not None:
            _log.warning(
                "the model %s cannot train in stacks (%s), so the clients train one after the other on %s. A "
                "round takes up to %d times as long as with a stack of as many clients.",
                federation.scenario.model,
                obstacle,
                trainer.device,
                min(self._clients_per_task or 1, federation.scenario.sampled),
            )

    def train(self, client_batches: Sequence[ClientBatch]) -> Iterable[Sequence[ClientResult]]:
        """Return the results of the tasks of each client batch, in order.

        Raises:
            EngineError: the device has too little memory for a stack.
        """
        copies: dict[int, Tensor] = {}
        return [self._train_batch(client_batch, copies) for client_batch in client_batches]

    def _train_batch(self, client_batch: ClientBatch, copies: dict[int, Tensor]) -> list[ClientResult]:
        stacked, apart = [], []
        for task in client_batch:
            attack = self._federation.selection.role(task.client_id, task.request.server_round).attack
            if not can_stack(self._trainer.model, attack):
                apart.append(_on_cpu(task, copies))
            else:
                stacked.append(_on_cpu(task, copies) if poisons_data(attack) else task)
        prepared = self._threads.map(self._prepare_job, stacked)
        trained_apart = self._threads.map(self._train_in_loop, apart)  # runs while the stack trains
        results = self._train_stacked(dict(zip(stacked, prepared, strict=True)))
        results |= zip(apart, trained_apart, strict=True)
        by_client = {task.client_id: result for task, result in results.items()}
        return [by_client[task.client_id] for task in client_batch]

    def _prepare_job(self, trainer: Trainer, task: Task) -> Job | ClientResult:
        """Return the task as a job on poisoned data, without attack; if the attack fails, its failure."""
        try:
            attack = self._federation.selection.role(task.client_id, task.request.server_round).attack
            train = self._federation.train if poisons_data(attack) else self._resident
            job = job_for(self._federation, task.client_id, task.request, dict(task.memory), train=train)
            return poison_job(trainer, job)
        except Exception as error:  # noqa: BLE001  # the server stops the run and names the client
            return ClientResult(None, failure=error_line(error))

    def _train_in_loop(self, trainer: Trainer, task: Task) -> ClientResult:
        result = train_or_fail(self._federation, trainer, task)
        if result.trained is None:
            return result
        weights = result.trained.weights.to(self._aggregation_device)
        return replace(result, trained=replace(result.trained, weights=weights))

    def _train_stacked(self, prepared: dict[Task, Job | ClientResult]) -> dict[Task, ClientResult]:
        """Return the results. Jobs with the same training options train in one stack."""
        results = {task: each for task, each in prepared.items() if isinstance(each, ClientResult)}
        jobs = {task: each for task, each in prepared.items() if isinstance(each, Job)}
        for training in dict.fromkeys(training_of(self._federation, task.request) for task in jobs):
            tasks = [task for task in jobs if training_of(self._federation, task.request) == training]
            self._trainer.training = training
            try:
                stack = list(self._train_jobs(self._trainer, [jobs[task] for task in tasks]))
            except torch.OutOfMemoryError as error:
                raise EngineError(
                    f"{self._trainer.device}: no memory for a stack of {len(tasks)} clients; "
                    "train fewer at once (--clients-per-task)."
                ) from error
            except Exception as error:  # noqa: BLE001  # the server stops the run and names a client
                results |= {task: ClientResult(None, failure=error_line(error)) for task in tasks}
                continue
            for task, trained in zip(tasks, stack, strict=True):
                sent = replace(trained, weights=trained.weights.to(self._aggregation_device))
                memory = jobs[task].context.memory
                results[task] = ClientResult(keep_buffers(self._federation, sent, memory), memory)
        return results


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


@contextmanager
def device_grid(
    federation: Federation, device: torch.device, options: EngineOptions
) -> Iterator[tuple[DeviceGrid, Workers]]:
    """Yield a grid on `device`, and a worker on the device for the server. CPUs work, too, for tests."""
    training = federation.scenario.training
    with (
        deterministic_mode(device, deterministic=options.deterministic),
        Workers(federation.model, training, options.workers) as threads,
        Workers(federation.model, training, 1, device=device) as server,
    ):
        trainer = Trainer(federation.model().to(device), training)
        grid = DeviceGrid(federation, trainer, threads, options.clients_per_task)
        grid.environment["device"] = {"name": device_name(device), "deterministic": options.deterministic}
        yield grid, server


def _on_cpu(task: Task, copies: dict[int, Tensor]) -> Task:
    """Return the task with its models in main memory. All clients of a round share these copies."""
    request = task.request
    for vector in (request.model, request.previous_model):
        if vector is not None and id(vector) not in copies:
            copies[id(vector)] = vector.to(CPU)
    previous = None if request.previous_model is None else copies[id(request.previous_model)]
    return replace(task, request=replace(request, model=copies[id(request.model)], previous_model=previous))
