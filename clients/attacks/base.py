"""The base class of attacks: what an attacker knows, and hooks that default to an honest client."""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import ClassVar, Literal

import torch
from torch import Tensor

from clients.bounds import check_bounds
from clients.training.parameters import Layout
from clients.training.samples import Samples
from clients.training.trainer import Trainer

RuleKind = Literal["turns", "by coordinate"] | None
"""What an attacker may make of a rule on fewer columns: see `CraftContext.rule_kind`."""


class Knowledge(Enum):
    """Says which updates of the round an attack sees before it sends its own."""

    OWN = "own"
    """Each malicious client sees only its own."""
    COLLUDING = "colluding"
    """The malicious clients see what each of them would honestly have sent."""
    OMNISCIENT = "omniscient"
    """They also see every honest update of the round."""


@dataclass(frozen=True, kw_only=True)
class AttackCard:
    """Says where an attack comes from, what it knows, what it is after and when it does nothing."""

    paper: str
    knowledge: Knowledge = Knowledge.OWN
    knows_rule: bool = False
    """Whether the attack is handed the server's rule as a callable, and the number that it tolerates."""
    goal: str = "lower the accuracy on all classes"
    idle_when: str = "never"
    finite: bool = True
    """Whether finite updates give finite ones; False is for payloads that a server has to drop."""
    deviations: str = ""
    """Where public implementations differ, and which variant is the default here."""


@dataclass(frozen=True, kw_only=True)
class Range:
    """The numbers from `low` to `high` that a search tries for one parameter."""

    low: float
    high: float
    log: bool = False
    """Whether the search samples the logarithm of the number."""


Candidates = Range | tuple[str | int, ...]
"""What a search tries for one parameter: a range of numbers, or a few values."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SearchSpace:
    """The settings of an attack that `fedpoison search` tries."""

    objective: Literal["accuracy", "backdoor"] = "accuracy"
    """`accuracy`: the attack lowers the accuracy of all classes or of one. `backdoor`: the attack makes the
    model predict its target for images with a trigger. Backdoors without a trigger are not comparable: each
    is measured on other images, where a clean model errs more often or less."""
    parameters: Mapping[str, Candidates] = field(default_factory=dict)
    """By name; a parameter that is left out keeps its default."""


SHARES = Range(low=0.05, high=1.0)
"""The shares of poisoned samples that a search tries."""

TRIGGER = "trigger"
"""Where a malicious client's memory keeps a trigger that it has learned, for the success to be measured."""


@dataclass(frozen=True, kw_only=True, eq=False)
class AttackGoal:
    """Says how the success of a targeted attack is measured on the test set."""

    target: int
    """The class that the attacker wants to see predicted."""
    source: int | None = None
    """The class that is to be mistaken; None is every class but the target."""
    trigger: Callable[[Samples], Samples] | None = None
    """Edits or selects test samples so that they carry the trigger; None measures on the clean ones."""
    learned: Callable[[Samples, Sequence[Tensor]], Samples] | None = None
    """Does so with what each malicious client keeps in its memory under `TRIGGER`, once there is any."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ClientContext:
    """Carries what a malicious client knows while it poisons its data and trains."""

    generator: torch.Generator
    """The random stream of this client in this round, for training."""
    poison_generator: torch.Generator
    """The random stream of this client's poison: the same in every round."""
    round: int = 1
    client_id: int = 0
    rank: int = 0
    """Position among the malicious clients of its group, 0 to `size` - 1."""
    size: int = 1
    """How many malicious clients the group has."""
    model: Tensor
    """The global weights that the round starts from, (d,)."""
    previous_model: Tensor | None = None
    """The global weights one round earlier, (d,); None in the first round."""
    layout: Layout = ()
    memory: MutableMapping[str, Tensor] = field(default_factory=dict)
    """What this client remembers from round to round; the only thing here that a hook may write."""


@dataclass(frozen=True, kw_only=True, eq=False)
class CraftContext:
    """Carries what the attacker knows when it replaces the updates of its clients."""

    generator: torch.Generator
    """The random stream of this client (knowledge own) or of the group, in this round."""
    round: int = 1
    client_ids: tuple[int, ...] = (0,)
    """The nodes behind the rows of `own`."""
    seen_client_ids: tuple[int, ...] = ()
    """The nodes behind the rows of `seen`, ascending, where it is handed over."""
    clients: int = 1
    """How many clients take part in the round, n."""
    malicious: int = 1
    """How many of them are malicious, f."""
    model: Tensor
    """The global weights that the updates start from, (d,)."""
    previous_model: Tensor | None = None
    initial_model: Tensor | None = None
    layout: Layout = ()
    rule: Callable[[Tensor], Tensor] | None = None
    """The server's rule, `rule(updates (n, d)) -> (d,)`, where the card says that it is known."""
    rule_kind: RuleKind = None
    """Whether turning all updates turns what the rule makes of them, or each coordinate of that depends on
    the same coordinate of the updates alone; then the rule is as good on fewer columns. None is neither."""
    tolerated: int | None = None
    """How many malicious clients the rule is built to tolerate, where the card says that it is known."""
    memory: MutableMapping[str, Tensor] = field(default_factory=dict)
    """What the client or the group remembers from round to round; the only thing here to write to."""


class Attack:
    """Base class of attacks: an honest client, until a subclass overrides one of the three stages.

    The stages are the data (`poison_data`), the training (`train`) and the update (`craft`). An attack is a
    frozen dataclass whose fields are its parameters. Field types from `clients.bounds`, such as `Share`,
    declare the values that a parameter takes. `check_attack` tests these properties of every attack:

    - the arguments are not written to, but for `memory`;
    - the same arguments give the same result;
    - shapes and dtypes stay: `craft` returns (m, d), poisoned images keep (c, h, w);
    - what the declared knowledge does not cover is never handed over, so it cannot change the result.
    """

    card: ClassVar[AttackCard]
    search_space: ClassVar[SearchSpace | None] = None
    """What `fedpoison search` tries. None leaves the attack out of every search."""

    def __post_init__(self) -> None:
        check_bounds(self)

    def poison_data(self, samples: Samples, trainer: Trainer, context: ClientContext) -> Samples:
        """Return the data that this client trains on. The trainer holds the global model."""
        return samples

    def train(self, trainer: Trainer, samples: Samples, context: ClientContext) -> float:
        """Train from the global weights on the poisoned samples and return the mean loss."""
        return trainer.fit(samples, context.generator, memory=context.memory)

    def craft(self, own: Tensor, seen: Tensor | None, context: CraftContext) -> Tensor:
        """Return the updates that are sent, (m, d).

        Args:
            own: what the malicious clients would send after their training, (m, d). With knowledge
                `own` it is a single row, (1, d).
            seen: the honest updates of the round, (h, d), for an omniscient attack, else None.
            context: what else is known.
        """
        return own

    def goal(self, classes: int) -> AttackGoal | None:
        """Return how success is measured, or None for an attack without a target.

        Raises:
            ValueError: a class that the attack names does not exist among `classes`.
        """
        return None

    def no_effect(self, clients: int, malicious: int) -> str | None:
        """Return why these settings make the attack do nothing, or None where they do not."""
        return None


@dataclass(frozen=True, kw_only=True)
class NoAttack(Attack):
    """Behave like an honest client: the clean run that every attack is compared with."""

    card: ClassVar = AttackCard(paper="-", goal="none", idle_when="always")


def crafts_updates(attack: Attack) -> bool:
    """Return whether `attack` replaces updates."""
    return type(attack).craft is not Attack.craft


def check_class(name: str, value: int, classes: int) -> None:
    """Raise ValueError unless `value` is one of the classes 0 to `classes` - 1."""
    if not 0 <= value < classes:
        raise ValueError(f"{name}: got class {value}, expected 0 to {classes - 1}.")


def boosted(own: Tensor, factor: float | None, context: CraftContext) -> Tensor:
    """Return the updates `own` (m, d) times `factor`, by default n / f.

    With n / f the mean over n clients moves by the mean of the f malicious updates. Bagdasaryan et al.,
    AISTATS 2020, have one attacker, and n / eta under a server's learning rate eta.
    """
    return (context.clients / context.malicious if factor is None else factor) * own
