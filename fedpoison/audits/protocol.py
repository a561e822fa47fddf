"""The protocol of an audit: a frozen, versioned table of attacks, settings, shares and seeds."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from hashlib import blake2b
from types import MappingProxyType
from typing import Literal

from fedpoison.errors import unknown
from fedpoison.scenario.attackers import KnowledgeName
from fedpoison.scenario.scenario import Scenario

Threat = Literal["untargeted", "targeted", "backdoor"]
"""Goal of an attacker: low accuracy, one class as another class, or a trigger that the model obeys."""
THREATS: tuple[Threat, ...] = ("untargeted", "targeted", "backdoor")
Family = Literal["crude", "data", "hidden", "rule-aware", "static", "distributed", "replacement", "durable"]
Strength = float | str | None
"""Value of the parameter that sets the strength of an attack. A text: a choice. None: the paper's formula."""


@dataclass(frozen=True, kw_only=True)
class ProtocolAttack:
    """One attack of the protocol, and the strengths that tuning tries.

    >>> ProtocolAttack(attack="alie(z={strength})", threat="untargeted", family="hidden",
    ...     strengths=(None, 1.5)).spec(1.5, classes=10)
    'alie(z=1.5)'
    """

    attack: str
    """Spec, in which `{strength}`, `{source}` and `{target}` are replaced by values."""
    threat: Threat
    family: Family
    strengths: tuple[Strength, ...] = ()
    """Strengths to try, the attack's default first. Tuning also tries numbers between them."""
    knowledge: KnowledgeName | None = None
    """Knowledge of the attack. Default: the one that it declares."""
    less_knowledge: KnowledgeName | None = None
    """Smaller knowledge with which the tuned attack runs again."""
    schedule: str = "always"
    """Rounds of the attack. A durable backdoor ends before the last round."""

    @property
    def tries(self) -> tuple[Strength, ...]:
        """Strengths to try; a single None for an attack without strengths."""
        return self.strengths or (None,)

    def spec(self, strength: Strength, *, classes: int) -> str:
        """Return the spec of the attack with this strength on data with so many classes."""
        written = (
            "none" if strength is None else f"{strength:.4g}" if isinstance(strength, float) else strength
        )
        source, target = class_pair(classes)
        return self.attack.format(strength=written, source=source, target=target)


def class_pair(classes: int) -> tuple[int, int]:
    """Return the source and the target of a targeted attack: those of label-flip, or two classes that exist.

    >>> class_pair(10), class_pair(3), class_pair(2)
    ((1, 7), (1, 2), (1, 0))
    """
    return 1, (7 if classes > 7 else 2 if classes > 2 else 0)


@dataclass(frozen=True, kw_only=True)
class Budget:
    """Effort of an audit. The settings of its runs are the same for every budget."""

    seeds: int
    """Number of seeds of every reported number."""
    tuning_seeds: int
    """Number of other seeds with which strengths are compared."""
    tuned_shares: tuple[float, ...]
    """Malicious shares at which strengths are tuned. Other shares use the strengths of the nearest one."""
    finalists: Mapping[Threat, int]
    """Number of tuned attacks of each threat whose result is reported, per share and partition."""
    refinements: int
    """Number of times that tuning halves the gaps next to the strongest strength."""


UNATTACKED: Mapping[str, object] = MappingProxyType({"malicious": 0.0})
"""Fields of a scenario to audit, which sets the share. Some strategies are defined for small shares only."""


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """Everything that an audit does not leave to the user."""

    name: str
    settings: Mapping[str, object]
    """Fields of every scenario."""
    partitions: Mapping[str, str]
    """Partitions of the training data, by name."""
    shares: tuple[float, ...]
    """Malicious shares of the reported numbers."""
    headline_share: float
    """Malicious share of the numbers at the top of the card."""
    attacks: Sequence[ProtocolAttack]
    budgets: Mapping[str, Budget]
    broken: float = 0.1
    """Loss of accuracy, as a share, that breaks a rule."""
    first_seed: int = 0
    """First seed of the reported numbers. The others follow."""
    first_tuning_seed: int = 1000
    """First seed of tuning."""

    def scenario(self, **fields: object) -> Scenario:
        """Return the scenario to audit: the settings of the protocol with other values of some fields.

        Raises:
            ScenarioError: a value is invalid.
        """
        return Scenario.parse({**self.settings, **UNATTACKED, **fields})

    def budget(self, name: str) -> Budget:
        """Return the budget of that name.

        Raises:
            ScenarioError: the protocol has no such budget.
        """
        if name not in self.budgets:
            raise unknown("budget", name, self.budgets)
        return self.budgets[name]

    def seeds(self, budget: Budget) -> range:
        """Return the seeds of the reported numbers."""
        return range(self.first_seed, self.first_seed + budget.seeds)

    def tuning_seeds(self, budget: Budget) -> range:
        """Return the seeds of tuning, which no reported number uses."""
        return range(self.first_tuning_seed, self.first_tuning_seed + budget.tuning_seeds)

    @cached_property
    def digest(self) -> str:
        """Hash of the content. Two audits with one digest ran the same protocol."""
        return blake2b(json.dumps(asdict(self), sort_keys=True).encode(), digest_size=6).hexdigest()


def _untargeted(family: Family, attack: str, *strengths: Strength) -> ProtocolAttack:
    return ProtocolAttack(attack=attack, threat="untargeted", family=family, strengths=strengths)


def _backdoor(family: Family, attack: str, *strengths: Strength, schedule: str = "always") -> ProtocolAttack:
    return ProtocolAttack(
        attack=attack, threat="backdoor", family=family, strengths=strengths, schedule=schedule
    )


_FLIP = "label-flip(mode=targeted, source={source}, target={target})"
_ENDED = "window(stop=5)"
"""Schedule of an attack that ends three rounds before the last one."""

AUDIT_1 = Protocol(
    name="audit-1",
    settings={
        "rounds": 8,
        "evaluate_every": 4,
        "train_samples": 7500,
        "test_samples": 2000,
        "validation_samples": 1000,
        "model": "mlp-small",
        "clients": 25,
        "batch_size": 16,
        "lr": 0.2,
    },
    partitions={"iid": "iid", "skewed": "dirichlet(alpha=0.5)"},
    shares=(0.1, 0.2, 0.3, 0.4),
    headline_share=0.2,
    attacks=(
        _untargeted("crude", "scaled-update(factor={strength})", -10.0, -30.0, -3.0, -1.0),
        _untargeted("crude", "gaussian-update(std={strength})", 1.0, 0.1, 0.01),
        _untargeted("crude", "non-finite-update"),
        _untargeted("data", "label-flip"),
        _untargeted("data", "label-flip+scaled-update(factor={strength})", 5.0, 2.0),
        replace(
            _untargeted("hidden", "alie(z={strength})", None, 0.5, 1.5, 4.0),
            knowledge="omniscient",
            less_knowledge="colluding",
        ),
        replace(
            _untargeted("hidden", "ipm(epsilon={strength})", 0.1, 0.5, 2.0, 10.0), less_knowledge="colluding"
        ),
        _untargeted("hidden", "min-max(direction={strength})", "std", "unit", "sign"),
        _untargeted("hidden", "min-sum"),
        _untargeted("hidden", "mimic"),
        _untargeted("hidden", "rop"),
        _untargeted("hidden", "poisoned-fl(factor={strength})", 8.0, 2.0),
        _untargeted("rule-aware", "fang-krum"),
        _untargeted("rule-aware", "fang-trimmed-mean(b={strength})", 2.0, 1.2, 8.0),
        _untargeted("rule-aware", "optimal-alie"),
        _untargeted("rule-aware", "optimal-ipm"),
        _untargeted("rule-aware", "tailored(direction={strength})", "std", "unit"),
        ProtocolAttack(attack=_FLIP, threat="targeted", family="data"),
        ProtocolAttack(
            attack=f"{_FLIP}+scaled-update(factor={{strength}})",
            threat="targeted",
            family="crude",
            strengths=(5.0, 2.0, 15.0),
        ),
        _backdoor("static", "backdoor(target={target})"),
        _backdoor("static", "blended(target={target}, alpha={strength})", 0.2, 0.4),
        _backdoor("distributed", "distributed-backdoor(target={target})"),
        _backdoor("replacement", "model-replacement(target={target}, factor={strength})", None, 2.0, 10.0),
        _backdoor("replacement", "pgd(target={target}, radius={strength})", 0.5, 2.0),
        _backdoor("replacement", "constrain-and-scale(target={target}, alpha={strength})", 0.5, 0.9),
        _backdoor("durable", "neurotoxin(target={target}, top={strength})", 0.05, 0.3, schedule=_ENDED),
        _backdoor(
            "durable", "model-replacement(target={target}, factor={strength})", None, 2.0, schedule=_ENDED
        ),
    ),
    budgets={
        "quick": Budget(
            seeds=3,
            tuning_seeds=1,
            tuned_shares=(0.2,),
            finalists={"untargeted": 2, "targeted": 1, "backdoor": 1},
            refinements=1,
        ),
        "standard": Budget(
            seeds=5,
            tuning_seeds=2,
            tuned_shares=(0.1, 0.2, 0.3, 0.4),
            finalists={"untargeted": 3, "targeted": 1, "backdoor": 2},
            refinements=2,
        ),
        "full": Budget(
            seeds=10,
            tuning_seeds=3,
            tuned_shares=(0.1, 0.2, 0.3, 0.4),
            finalists={"untargeted": 4, "targeted": 2, "backdoor": 3},
            refinements=4,
        ),
    },
)
"""The first protocol. A change of any value needs another name."""

AUDIT_2 = replace(
    AUDIT_1,
    name="audit-2",
    attacks=(
        *AUDIT_1.attacks,
        _untargeted("data", "label-flip(mode=cyclic)"),
        _untargeted("data", "label-flip+claimed-examples(factor={strength})", 10.0, 100.0),
        _untargeted("hidden", "anti-signguard"),
        _untargeted("hidden", "anti-clipped-clustering(length={strength})", 10.0, 1.0),
        ProtocolAttack(
            attack=f"{_FLIP}+claimed-examples(factor={{strength}})",
            threat="targeted",
            family="data",
            strengths=(10.0, 100.0),
        ),
        _backdoor("static", "sig(target={target}, delta={strength})", 20 / 255, 0.3),
        _backdoor("static", "wanet(target={target}, share=0.3, strength={strength})", 0.5, 1.5),
        _backdoor("distributed", "fcba(target={target})"),
    ),
)
"""The second protocol: attacks since 2023, and false numbers of examples."""

PROTOCOLS = {protocol.name: protocol for protocol in (AUDIT_1, AUDIT_2)}
"""Protocols by name."""
LATEST = AUDIT_2
"""Protocol of an audit by default."""
