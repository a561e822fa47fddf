"""Centralized training: a baseline that trains one model, on clean or on poisoned data."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial
from pathlib import Path

from torch import Tensor

from clients.attacks.base import TRIGGER, Attack, NoAttack, crafts_updates
from clients.attacks.composite import Composite
from clients.training.batch import Job, Trained, poisoned_samples, train_clients
from clients.training.parameters import ModelState
from clients.training.samples import Samples, random_mask
from clients.training.trainer import Trainer
from fedpoison.errors import ScenarioError, code_errors
from fedpoison.federation.evaluation import RoundEvaluator
from fedpoison.federation.federation import Federation
from fedpoison.federation.workers import Workers
from fedpoison.results.effects import Effects
from fedpoison.results.history import History
from fedpoison.results.provenance import environment
from fedpoison.results.round import GroupRecord, OnRound, Round, Training
from fedpoison.results.run_writer import RunWriter
from fedpoison.results.store import CENTRALIZED
from fedpoison.rng import generator_for
from fedpoison.scenario.fields import About, fields_about
from fedpoison.scenario.scenario import Scenario

FEDERATION_ONLY = fields_about(Scenario, About.FEDERATION)
"""Fields that centralized training does not use."""


def train_centralized(
    scenario: Scenario | None = None,
    *,
    out: str | Path | None = None,
    workers: int | None = None,
    data_dir: str | Path | None = None,
    on_round: OnRound | None = None,
    **fields: object,
) -> History:
    """Train one model on all data and return its history. Each of `scenario.rounds` is one epoch.

    An attack on the data poisons the share `scenario.malicious` of the training samples.

    Args:
        scenario: scenario to train. Fields that describe a federation are ignored. Default: `Scenario()`.
        out: run store. Default: write no files.
        workers: number of threads for the evaluation; training uses one thread. Default: one per CPU.
        data_dir: folder of the data sets, as for `simulate`.
        on_round: function that receives the record of each epoch.
        fields: fields of the scenario that differ, as for `simulate`.

    Raises:
        ScenarioError: the attack is not an attack on the data.
        CrashError: the code of the attack or the model raised an exception.
        DataError: the data set is not available.
    """
    scenario = Scenario.given(scenario, fields)
    check_centralized(scenario)
    unset = {name: Scenario.model_fields[name].default for name in FEDERATION_ONLY}
    alone = scenario.replace(**unset | {"clients": 1})
    federation = Federation.load(alone, data_dir=data_dir)
    folder = None
    if out is not None:
        path = Path(out) / f"{CENTRALIZED}{federation.scenario.run_id}"
        folder = RunWriter.begin(
            path, federation.scenario, environment("central", workers, classes=federation.class_names)
        )
    records: list[Round] = []
    memory: dict[str, Tensor] = {}
    weights, buffers = federation.initial, federation.initial_buffers
    training = replace(federation.scenario.training, persistent_momentum=True)
    with Workers(federation.model, training, workers) as pool:
        evaluator = RoundEvaluator(federation, federation.goal, pool)
        with code_errors(f"attack {scenario.attack}"):
            samples, learned, effects = pool.run(partial(_poisoned, federation))
        for epoch in range(alone.rounds + 1):
            began = time.perf_counter()
            loss = None
            if epoch:
                job = federation.job(0, epoch, weights, None, memory, buffers=buffers)
                job = Job(samples=samples, attack=NoAttack(), context=job.context)
                with code_errors(f"epoch {epoch}, model {scenario.model}"):
                    trained = pool.run(partial(_train, job))
                weights, buffers, loss = trained.weights, trained.buffers, trained.loss
            trained_at = time.perf_counter()
            spent = Training(train_loss=loss, seconds={"train": trained_at - began})
            if epoch == 1 and effects is not None:
                spent.groups.append(
                    GroupRecord(attack=scenario.attack, nodes=[], acted=True, effects=effects)
                )
            records.append(evaluator(epoch, spent, weights, learned, buffers=buffers))
            spent.seconds["evaluate"] = time.perf_counter() - trained_at
            if folder is not None:
                folder.append(records[-1])
            if on_round is not None:
                on_round(records[-1])
    if folder is not None:
        folder.finish(federation.state_dict(ModelState(weights, buffers)))
    return History(
        federation.scenario,
        records,
        folder.path if folder else None,
        federation.class_names,
        centralized=True,
    )


def check_centralized(scenario: Scenario) -> None:
    """Raise a ScenarioError if centralized training cannot use the attack of `scenario`."""
    if scenario.groups:
        raise ScenarioError("groups: centralized training has one attack; set attack and malicious instead.")
    if not only_poisons_data(_attack(scenario)):
        raise ScenarioError(
            f"attack {scenario.attack}: changes updates or training, but central training has no clients; "
            "choose one on the data, such as label-flip, pixel-noise, inject or backdoor."
        )


def only_poisons_data(attack: Attack) -> bool:
    """Return whether `attack` changes the data only."""
    if isinstance(attack, Composite):
        return all(only_poisons_data(part) for part in attack.parts)
    return not crafts_updates(attack) and type(attack).train is Attack.train


def _attack(scenario: Scenario) -> Attack:
    """Return the attack of a scenario with a single group of attackers."""
    (group,) = scenario.attackers
    return group.built_attack


def _train(job: Job, trainer: Trainer) -> Trained:
    return next(train_clients(trainer, [job]))


def _poisoned(federation: Federation, trainer: Trainer) -> tuple[Samples, list[Tensor], Effects | None]:
    """Return the training samples, with the malicious share poisoned, the learned trigger and the effect."""
    attack = _attack(federation.scenario)
    if isinstance(attack, NoAttack):
        return federation.train, [], None
    generator = generator_for(federation.scenario.seed, "poisoned samples")
    mask = random_mask(len(federation.train), federation.scenario.malicious, generator)
    if not mask.any():
        return federation.train, [], Effects(data={0: False})
    memory: dict[str, Tensor] = {}
    context = federation.job(0, 0, federation.initial, None, memory).context
    trainer.load(federation.initial, federation.initial_buffers)
    clean = federation.train[mask]
    poisoned = poisoned_samples(trainer, Job(samples=clean, attack=attack, context=context))
    learned = [memory[TRIGGER]] if TRIGGER in memory else []
    effects = Effects(data={0: not poisoned.same_as(clean)})
    return federation.train[~mask].concatenated(poisoned), learned, effects
