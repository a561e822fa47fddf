"""Scenarios of an audit: the protocol's settings on the user's data, model and strategy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Self

from fedpoison.audits.protocol import UNATTACKED, Protocol, ProtocolAttack, Strength
from fedpoison.data import Dataset
from fedpoison.errors import ScenarioError
from fedpoison.federation.datasets import dataset_of, resolve_dataset
from fedpoison.federation.federation import Federation
from fedpoison.scenario.attackers import KnowledgeName
from fedpoison.scenario.registries import read_attack
from fedpoison.scenario.scenario import Scenario

VARIED = ("attack", "groups", "goal", "schedule", "knowledge", "partition", "seed", "malicious")
"""Fields that an audit sets."""
FIXED = ("malicious_count", "malicious_nodes", "malicious_per_round", "malicious_partition")
"""Fields that an audit needs at their defaults."""
VALIDATION = 0.2
"""Largest share of the training samples for validation."""


@dataclass(frozen=True)
class Case:
    """One attack with one strength and knowledge, on one partition with one malicious share."""

    attack: ProtocolAttack
    strength: Strength
    partition: str
    """Name of the partition in the protocol."""
    share: float
    knowledge: KnowledgeName | None = None
    """Knowledge of the attack. Default: that of the protocol."""


@dataclass(frozen=True, eq=False)
class AuditSetting:
    """Protocol, strategy, data and model of an audit.

    Raises:
        ScenarioError: the scenario sets a field that the audit sets.
    """

    protocol: Protocol
    base: Scenario
    """Scenario that all runs share, with the loaded data set."""
    dataset: Dataset
    left_out: Mapping[str, str]
    """Reason by attack why the protocol's attack is not run."""
    undefined: Mapping[float, str]
    """Reason by malicious share why the strategy is not defined."""
    attacks: tuple[ProtocolAttack, ...] = field(default=())
    """Attacks of the protocol that can run."""

    @classmethod
    def load(cls, protocol: Protocol, scenario: Scenario, *, data_dir: str | Path | None = None) -> Self:
        """Load the data and find which attacks and shares can run.

        Raises:
            ScenarioError: the scenario sets a field that the audit sets, or the strategy is not defined for
                any malicious share of the protocol.
            DataError: the data set is not available.
        """
        for name in (*VARIED, *FIXED):
            if getattr(scenario, name) not in (Scenario.model_fields[name].default, UNATTACKED.get(name)):
                raise ScenarioError(f"{name}: an audit sets this field; leave it out.")
        dataset = dataset_of(scenario, data_dir=data_dir)
        base = resolve_dataset(_fitting(scenario, dataset), dataset)
        undefined = {
            share: reason
            for share in protocol.shares
            if (reason := _refusal(partial(base.replace, malicious=share))) is not None
        }
        defined = [share for share in protocol.shares if share not in undefined]
        if not defined:
            raise ScenarioError(f"{base.strategy}: {next(iter(undefined.values()))}")
        loaded = cls(protocol, base, dataset, {}, undefined)
        left_out: dict[str, str] = {}
        able: list[ProtocolAttack] = []
        for attack in protocol.attacks:
            case = Case(attack, attack.tries[0], next(iter(protocol.partitions)), defined[0])
            reason = _refusal(partial(loaded.check, case))
            if reason is None:
                able.append(attack)
            else:
                left_out[loaded.spec(case)] = reason
        return replace(loaded, left_out=left_out, attacks=tuple(able))

    @property
    def classes(self) -> int:
        """Number of classes of the data set."""
        return self.dataset.train.classes

    @property
    def shares(self) -> list[float]:
        """Malicious shares for which the strategy is defined."""
        return [share for share in self.protocol.shares if share not in self.undefined]

    @property
    def headline_share(self) -> float:
        """Malicious share of the numbers at the top: the protocol's, or the largest defined one below it."""
        wanted = self.protocol.headline_share
        return max((share for share in self.shares if share <= wanted), default=min(self.shares))

    def spec(self, case: Case) -> str:
        """Return the canonical spec of the attack of a case."""
        return read_attack(case.attack.spec(case.strength, classes=self.classes))

    def scenario(self, case: Case, seed: int) -> Scenario:
        """Return the scenario of a case with a seed."""
        return self.base.replace(
            attack=self.spec(case),
            schedule=case.attack.schedule,
            knowledge=case.knowledge or case.attack.knowledge,
            partition=self.protocol.partitions[case.partition],
            malicious=case.share,
            seed=seed,
        )

    def check(self, case: Case) -> None:
        """Check that a case can run on the data.

        Raises:
            ScenarioError: it cannot.
        """
        Federation(self.scenario(case, self.protocol.first_seed), self.dataset)

    def clean(self, partition: str, share: float, seed: int, goal: str | None = None) -> Scenario:
        """Return the run without attack that the attacks on this partition with this share compare to."""
        fields = {"partition": self.protocol.partitions[partition], "malicious": share, "seed": seed}
        return self.base.replace(**fields, goal=goal)

    def undefended(self, partition: str, seed: int) -> Scenario:
        """Return the run of FedAvg without attack, the reference for the cost of robustness."""
        return self.clean(partition, self.headline_share, seed).replace(strategy="fedavg")

    def goal(self, case: Case) -> str | None:
        """Return the attack as the goal of a clean run, if its success is measured on triggered images."""
        goal = read_attack(self.spec(case)).value.goal(self.classes)
        return self.spec(case) if goal is not None and goal.source is None else None


def _fitting(scenario: Scenario, dataset: Dataset) -> Scenario:
    """Return the scenario with at most the samples that the data set has. 0 means all."""
    reserved = min(scenario.validation_samples, int(VALIDATION * len(dataset.train)))
    sizes = {
        "validation_samples": reserved,
        "train_samples": scenario.train_samples
        if scenario.train_samples <= len(dataset.train) - reserved
        else 0,
        "test_samples": scenario.test_samples if scenario.test_samples <= len(dataset.test) else 0,
    }
    return scenario.replace(**sizes)


def _refusal(attempt: Callable[[], object]) -> str | None:
    """Return the message of the ScenarioError that a call raises, or None."""
    try:
        attempt()
    except ScenarioError as error:
        return str(error)
    return None
