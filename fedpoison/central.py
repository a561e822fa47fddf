"""The baseline: one model trained centrally, on clean data or on poisoned data."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial
from pathlib import Path

from torch import Tensor

from clients.attack import TRIGGER, Attack, NoAttack, crafts
from clients.cohort import Job, Trained, train_cohort
from clients.composite import Composite
from clients.samples import Samples, chosen
from clients.training import Trainer
from fedpoison.environment import environment
from fedpoison.errors import ScenarioError
from fedpoison.evaluation import Evaluator
from fedpoison.fleet import Fleet
from fedpoison.history import History
from fedpoison.rounds import Round, Training
from fedpoison.scenario import Scenario
from fedpoison.server import OnRound
from fedpoison.simulation import prepare
from fedpoison.store import CENTRAL, RunFolder
from fedpoison.streams import stream
from fedpoison.workers import Workers

FLEET_ONLY = (
    "clients",
    "participation",
    "partition",
    "malicious_partition",
    "evaluate_every",
    "epochs",
    "steps",
    "persistent_momentum",
    "proximal",
    "malicious_count",
    "malicious_nodes",
    "malicious_per_round",
    "schedule",
    "knowledge",
    "groups",
    "strategy",
    "tolerated",
    "root_samples",
)
"""Fields that mean nothing without a fleet."""


def train_centrally(
    scenario: Scenario,
    *,
    out: Path | None = None,
    workers: int | None = None,
    data_dir: Path | None = None,
    on_round: OnRound | None = None,
) -> History:
    """Train one model on all data and return its history; each of `scenario.rounds` is one epoch.

    Under an attack on the data, the share `scenario.malicious` of the training samples is poisoned.

    Args:
        scenario: what to train; the fields that describe a fleet do not matter.
        out: the run store; None keeps nothing on disk.
        workers: threads for the evaluation; training is one stream of batches and takes one.
        data_dir: as for `simulate`.
        on_round: called with the record of each epoch.

    Raises:
        ScenarioError: the attack is not one on the data.
        DataError: the data set cannot be had.
    """
    if scenario.groups:
        raise ScenarioError("groups: central training knows one attack; name it as attack, and its share.")
    unset = {name: Scenario.model_fields[name].default for name in FLEET_ONLY}
    alone = scenario.but(**unset | {"clients": 1})
    fleet = prepare(alone, data_dir=data_dir)
    if not poisons_only(fleet.attack):
        raise ScenarioError(
            f"attack {scenario.attack}: acts on updates or training, where central training has no attacker; "
            "choose one on the data, such as label-flip, pixel-noise, inject or backdoor."
        )
    folder = None
    if out is not None:
        path = out / f"{CENTRAL}{fleet.scenario.run_id}"
        folder = RunFolder.begin(path, fleet.scenario, environment("central", workers))
    goal = fleet.goal
    records: list[Round] = []
    memory: dict[str, Tensor] = {}
    weights = fleet.initial
    training = replace(fleet.scenario.training, persistent_momentum=True)
    with Workers(fleet.model, training, workers) as pool:
        evaluator = Evaluator(fleet.test, goal, pool)
        samples, learned = pool.run(partial(_poisoned, fleet))
        for epoch in range(alone.rounds + 1):
            began = time.perf_counter()
            loss = None
            if epoch:
                job = fleet.job(0, epoch, weights, None, memory)
                job = Job(samples=samples, attack=NoAttack(), context=job.context)
                trained = pool.run(partial(_train, job))
                weights, loss = trained.weights, trained.loss
            trained_at = time.perf_counter()
            evaluation = evaluator(weights, learned)
            seconds = {"train": trained_at - began, "evaluate": time.perf_counter() - trained_at}
            records.append(Round.of(epoch, evaluation, goal, Training(train_loss=loss, seconds=seconds)))
            if folder is not None:
                folder.append(records[-1])
            if on_round is not None:
                on_round(records[-1])
    if folder is not None:
        folder.finish(weights, fleet.layout)
    return History(fleet.scenario, records, folder.path if folder else None)


def poisons_only(attack: Attack) -> bool:
    """Return whether `attack` acts on the data alone."""
    if isinstance(attack, Composite):
        return all(poisons_only(part) for part in attack.parts)
    return not crafts(attack) and type(attack).train is Attack.train


def _train(job: Job, trainer: Trainer) -> Trained:
    return next(train_cohort(trainer, [job]))


def _poisoned(fleet: Fleet, trainer: Trainer) -> tuple[Samples, list[Tensor]]:
    """Return the training samples, the scenario's malicious share of them poisoned, and a learned trigger."""
    if isinstance(fleet.attack, NoAttack):
        return fleet.train, []
    generator = stream(fleet.scenario.seed, "poisoned samples")
    mask = chosen(len(fleet.train), fleet.scenario.malicious, generator)
    if not mask.any():
        return fleet.train, []
    memory: dict[str, Tensor] = {}
    context = fleet.job(0, 0, fleet.initial, None, memory).context
    trainer.load(fleet.initial)
    poisoned = fleet.attack.poison_data(fleet.train[mask], trainer, context)
    learned = [memory[TRIGGER]] if TRIGGER in memory else []
    return fleet.train[~mask].joined(poisoned), learned
