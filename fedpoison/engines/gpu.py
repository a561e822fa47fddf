"""The `local` engine on an accelerator: cohorts as stacked models, updates that stay on the device."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor

from clients.attacks.composite import poisons
from clients.training.batch import Job
from clients.training.stacked import poisoned, train_cohort_vectorised, vectorises
from clients.training.trainer import Trainer
from fedpoison.devices import CPU, aggregation_device, deterministic_mode, device_name
from fedpoison.engines.base import Cohort, CohortGrid
from fedpoison.errors import EngineError
from fedpoison.federation.client import Outcome, Task, attempt, job_of, reason, training_of
from fedpoison.federation.federation import Federation
from fedpoison.federation.workers import Workers

COHORT = 100
"""Nodes in a stack, unless a run says otherwise."""


class DeviceGrid(CohortGrid):
    """Trains nodes in stacks on the device, and those whose attack hooks into the training in threads beside.

    Attacks run on the processors, in the code that they run in without a device; what they make of the data
    goes to the device then.

    Args:
        federation: the nodes.
        trainer: the model, on the device.
        workers: threads for the attacks, each with a model on the processors.
        cohort: how many nodes a stack has at most.
    """

    def __init__(
        self, federation: Federation, trainer: Trainer, workers: Workers, *, cohort: int | None = None
    ) -> None:
        super().__init__(federation, workers=workers.count, cohort=cohort or COHORT)
        self._trainer = trainer
        self._threads = workers
        self._home = aggregation_device(trainer.device)
        self._resident = federation.train.to(trainer.device)

    def train(self, cohorts: Sequence[Cohort]) -> Iterable[Sequence[Outcome]]:
        """Return what came of the tasks of each cohort, in order.

        Raises:
            EngineError: the device has too little memory for a stack.
        """
        copies: dict[int, Tensor] = {}
        return [self._outcomes(cohort, copies) for cohort in cohorts]

    def _outcomes(self, cohort: Cohort, copies: dict[int, Tensor]) -> list[Outcome]:
        stacked, apart = [], []
        for task in cohort:
            attack = self._federation.attackers.role(task.node, task.order.server_round).attack
            if not vectorises(self._trainer.model, attack):
                apart.append(_on_processors(task, copies))
            else:
                stacked.append(_on_processors(task, copies) if poisons(attack) else task)
        prepared = self._threads.map(self._prepared, stacked)
        trained_apart = self._threads.map(self._apart, apart)  # goes on while the stack trains
        outcomes = self._stack(dict(zip(stacked, prepared, strict=True)))
        outcomes |= zip(apart, trained_apart, strict=True)
        by_node = {task.node: outcome for task, outcome in outcomes.items()}
        return [by_node[task.node] for task in cohort]

    def _prepared(self, trainer: Trainer, task: Task) -> Job | Outcome:
        """Return the task as a job without an attack, or why there is none."""
        try:
            attack = self._federation.attackers.role(task.node, task.order.server_round).attack
            train = self._federation.train if poisons(attack) else self._resident
            job = job_of(self._federation, task.node, task.order, dict(task.memory), train=train)
            return poisoned(trainer, job)
        except Exception as error:  # noqa: BLE001  # a client that fails must not end the run
            return Outcome(None, failure=reason(error))

    def _apart(self, trainer: Trainer, task: Task) -> Outcome:
        outcome = attempt(self._federation, trainer, task)
        if outcome.trained is None:
            return outcome
        weights = outcome.trained.weights.to(self._home)
        return replace(outcome, trained=replace(outcome.trained, weights=weights))

    def _stack(self, prepared: dict[Task, Job | Outcome]) -> dict[Task, Outcome]:
        """Return what comes of the jobs, trained together as far as they are asked for the same training."""
        outcomes = {task: each for task, each in prepared.items() if isinstance(each, Outcome)}
        jobs = {task: each for task, each in prepared.items() if isinstance(each, Job)}
        for training in dict.fromkeys(training_of(self._federation, task.order) for task in jobs):
            tasks = [task for task in jobs if training_of(self._federation, task.order) == training]
            self._trainer.training = training
            try:
                stack = list(train_cohort_vectorised(self._trainer, [jobs[task] for task in tasks]))
            except torch.OutOfMemoryError as error:
                raise EngineError(
                    f"{self._trainer.device}: no memory for a stack of {len(tasks)} nodes; "
                    "train fewer at once (--cohort)."
                ) from error
            for task, trained in zip(tasks, stack, strict=True):
                sent = replace(trained, weights=trained.weights.to(self._home))
                outcomes[task] = Outcome(sent, jobs[task].context.memory)
        return outcomes


@contextmanager
def device_grid(
    federation: Federation,
    device: torch.device,
    *,
    workers: int | None = None,
    cohort: int | None = None,
    deterministic: bool = False,
) -> Iterator[tuple[DeviceGrid, Workers]]:
    """Have a grid on `device`, and a worker on it for what the server does, while the context lasts.

    Args:
        federation: the nodes.
        device: an accelerator; the processors work too, which is how this is tested.
        workers: threads for attacks; None is one for each processor.
        cohort: how many nodes a stack has at most.
        deterministic: whether the same run gives the same bits again on the same device.
    """
    training = federation.scenario.training
    with (
        deterministic_mode(device, deterministic=deterministic),
        Workers(federation.model, training, workers) as threads,
        Workers(federation.model, training, 1, device=device) as server,
    ):
        grid = DeviceGrid(
            federation, Trainer(federation.model().to(device), training), threads, cohort=cohort
        )
        grid.facts["device"] = {"name": device_name(device), "deterministic": deterministic}
        yield grid, server


def _on_processors(task: Task, copies: dict[int, Tensor]) -> Task:
    """Return the task with its global weights in main memory, which all nodes of a round share."""
    order = task.order
    for vector in (order.model, order.previous_model):
        if vector is not None and id(vector) not in copies:
            copies[id(vector)] = vector.to(CPU)
    previous = None if order.previous_model is None else copies[id(order.previous_model)]
    return replace(task, order=replace(order, model=copies[id(order.model)], previous_model=previous))
