"""The base class of attacks, its metadata card, and the contexts that its hooks receive."""

from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import ClassVar, Literal, TypeVar

import torch
from torch import Tensor

from clients.bounds import check_bounds
from clients.training import Buffers, Layout, LocalTraining, Samples, Trainer

Result = TypeVar("Result")
RuleKind = Literal["turns", "by coordinate"] | None
"""Symmetry of a rule, which permits trials on fewer columns: see `CraftContext.rule_kind`."""


class Knowledge(Enum):
    """Set of updates that an attack sees in a round before it sends its own."""

    OWN = "own"
    """Each malicious client sees only its own update."""
    COLLUDING = "colluding"
    """The malicious clients see the updates of all malicious clients."""
    OMNISCIENT = "omniscient"
    """The malicious clients also see every honest update of the round."""


@dataclass(frozen=True, kw_only=True)
class AttackCard:
    """Metadata of an attack: its paper, its knowledge, its goal and the settings without effect."""

    paper: str
    knowledge: Knowledge = Knowledge.OWN
    knows_rule: bool = False
    """Whether the attack receives the server's rule as a callable, and the number that the rule tolerates."""
    goal: str = "lower the accuracy on all classes"
    idle_when: str = "never"
    finite: bool = True
    """Whether finite updates result in finite ones. False is for updates that a server has to drop."""
    trains: bool = False
    """Whether `craft` trains models itself. It then receives `CraftContext.own_training`."""
    on_tokens: bool = False
    """Whether the attack changes sequences of tokens. Its check refuses other samples."""
    deviations: str = ""
    """Differences from the paper and from public implementations, and the default here."""


@dataclass(frozen=True, kw_only=True)
class Range:
    """Interval of one parameter, from `low` to `high`, from which a search samples."""

    low: float
    high: float
    log: bool = False
    """Whether the search samples the logarithm of the number."""


Candidates = Range | tuple[str | int, ...]
"""Values of one parameter for a search: a range of numbers, or a few values."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SearchSpace:
    """Settings of an attack that `fedpoison search` tries."""

    objective: Literal["accuracy", "backdoor"] = "accuracy"
    """`accuracy`: the attack lowers the accuracy of all classes or of one class. `backdoor`: the model
    predicts the attack's target for images with a trigger. Backdoors without a trigger are not comparable.
    Each is measured on other images, with another error rate of the clean model."""
    parameters: Mapping[str, Candidates] = field(default_factory=dict)
    """Candidates by parameter name. Parameters without an entry keep their defaults."""


SHARES = Range(low=0.05, high=1.0)
"""Range of the share of poisoned samples in a search."""

TRIGGER = "trigger"
"""Key of the learned trigger in a malicious client's memory. The success is measured with it."""


@dataclass(frozen=True, kw_only=True, eq=False)
class AttackGoal:
    """Measurement of a targeted attack's success on the test set."""

    target: int
    """The class that the model should predict."""
    source: int | None = None
    """The true class of the measured samples. Default: every class except the target."""
    trigger: Callable[[Samples], Samples] | None = None
    """Edits or selects test samples so that they carry the trigger. Default: clean samples."""
    learned: Callable[[Samples, Sequence[Tensor]], Samples] | None = None
    """Stamps the triggers that the clients learned (`TRIGGER`). It replaces `trigger` if there are any."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ClientContext:
    """Knowledge of a malicious client while it poisons its data and trains."""

    generator: torch.Generator
    """The random stream of this client in this round, for training."""
    poison_generator: torch.Generator
    """The random stream of this client's poisoned data, the same in every round."""
    round: int = 1
    client_id: int = 0
    rank: int = 0
    """Position among the malicious clients of its group, 0 to `size` - 1."""
    size: int = 1
    """Number of malicious clients in the group."""
    model: Tensor
    """Global weights at the start of the round, (d,)."""
    previous_model: Tensor | None = None
    """Global weights one round earlier, (d,). None in the first round."""
    buffers: Buffers = field(default_factory=dict)
    """Buffers of the model at the start of the round."""
    layout: Layout = ()
    memory: MutableMapping[str, Tensor] = field(default_factory=dict)
    """State of this client across rounds. A hook may write only to this field."""


@dataclass(frozen=True, kw_only=True, eq=False)
class OwnTraining:
    """The attacker's trainer, and the data of its clients, for models that the attacker trains itself."""

    trainer: Callable[[], Trainer]
    """Loads the global model of the round into the attacker's trainer and returns it. Each call ends the
    use of the previous one: there is one trainer."""
    samples: Callable[[int], Samples]
    """Returns the samples on which a client of the attacker trained, after the data stage of the attack."""


@dataclass(frozen=True, kw_only=True, eq=False)
class CraftContext:
    """Knowledge of the attacker when it replaces the updates of its clients."""

    generator: torch.Generator
    """The random stream of this client (knowledge own) or of the group, in this round."""
    round: int = 1
    client_ids: tuple[int, ...] = (0,)
    """The clients of the rows of `own`."""
    seen_client_ids: tuple[int, ...] = ()
    """The clients of the rows of `seen`, ascending. Empty without `seen`."""
    group_client_ids: tuple[int, ...] = ()
    """All clients of the attacker's group in the round, if the card declares `knows_rule`."""
    round_client_ids: tuple[int, ...] = ()
    """The clients of the rows of `rule`, in the server's order, if the card declares `knows_rule`."""
    clients: int = 1
    """Number of clients in the round, n."""
    malicious: int = 1
    """Number of malicious clients in the round, f."""
    model: Tensor
    """Global weights that the updates start from, (d,)."""
    previous_model: Tensor | None = None
    initial_model: Tensor | None = None
    layout: Layout = ()
    rule: Callable[[Tensor], Tensor] | None = None
    """The server's rule, `rule(updates (n, d)) -> (d,)`, if the card declares `knows_rule`. It needs one row
    per client of `round_client_ids`, in this order. Weights, state and root data are the server's. Only the
    random draws differ."""
    trust: Callable[[Tensor], Tensor] | None = None
    """The weights, (n,) float64, that the rule gives to the rows of updates (n, d), as for `rule`. A rule
    that reports no trust gives the shares of the clients' examples."""
    rule_kind: RuleKind = None
    """Symmetry of the rule, with which trials on fewer columns suffice. `turns`: a rotation of all updates
    rotates the aggregate. `by coordinate`: each coordinate depends only on that coordinate of the updates."""
    tolerated: int | None = None
    """Number of malicious clients that the rule tolerates, if the card declares `knows_rule`."""
    memory: MutableMapping[str, Tensor] = field(default_factory=dict)
    """State of the client or the group across rounds. A hook may write only to this field."""
    own_training: OwnTraining | None = None
    """Trainer and data of the attacker, if the card declares `trains`."""

    def require_training(self) -> OwnTraining:
        """Return `own_training`, or raise ValueError without it."""
        if self.own_training is None:
            raise ValueError(
                "own_training: got None, expected the attacker's trainer and data; run the attack with "
                "fedpoison.simulate."
            )
        return self.own_training


@dataclass(frozen=True, kw_only=True, eq=False)
class AttackSetting:
    """Setting of a run, in which an attack checks before the run whether it can work."""

    samples: Samples
    """Training samples of all clients, or those of one client in an app of Flower."""
    class_counts: tuple[int, ...] | None
    """Number of training samples of each class, over all clients. None: unknown."""
    training: LocalTraining
    """Settings of the honest clients' training."""
    layout: Layout
    """Names and shapes of the model's parameters."""
    clients: int
    """Number of clients."""
    malicious: int
    """Number of malicious clients that have the attack."""
    trainer: Callable[[], Trainer]
    """Creates a trainer of the model."""

    def require_images(self) -> None:
        """Raise ValueError unless the samples are images."""
        if not self.samples.has_pixels:
            raise ValueError(
                "changes or measures pixels, and the samples of the data set have the shape "
                f"{tuple(self.samples.images.shape[1:])}; choose an attack on labels or updates, such as "
                "label-flip."
            )

    def require_tokens(self) -> None:
        """Raise ValueError unless the samples are sequences of tokens."""
        samples = self.samples.images
        if samples.ndim != 2 or samples.is_floating_point():
            raise ValueError(
                f"changes tokens, and the samples of the data set have the shape {tuple(samples.shape[1:])} "
                f"and the type {str(samples.dtype).removeprefix('torch.')}; read the data with kind=tokens, "
                "or choose an attack on images, such as backdoor."
            )

    def require_class(self, name: str, value: int) -> None:
        """Raise ValueError if no training sample has the class `value` of the parameter `name`."""
        if self.class_counts is not None and not self.class_counts[value]:
            present = [label for label, count in enumerate(self.class_counts) if count]
            raise ValueError(
                f"{name}: got class {value}, of which no client has a training sample, expected one of "
                f"{present}; choose another class, or more samples."
            )

    def require_classifier(self) -> None:
        """Raise ValueError unless the output of the model is that of a linear layer."""
        self.trainer().classifier(self.samples.images[:2])


class Attack:
    """Base class of attacks: an honest client, until a subclass overrides one of the three stages.

    The stages are the data (`poison_data`), the training (`train`) and the update (`craft`). An attack is a
    frozen dataclass whose fields are its parameters. Field types from `clients.bounds`, such as `Share`,
    declare the values that a parameter takes. `check_attack` tests these properties of every attack:

    - A hook does not write to its arguments, except `memory`.
    - The same arguments result in the same output.
    - Shapes and dtypes stay: `craft` returns (m, d), and poisoned images keep (c, h, w).
    - Updates and rules outside of the declared knowledge do not change the result.
    """

    card: ClassVar[AttackCard]
    search_space: ClassVar[SearchSpace | None] = None
    """Settings that `fedpoison search` tries. None excludes the attack from every search."""

    def __post_init__(self) -> None:
        check_bounds(self)

    def check(self, setting: AttackSetting) -> None:
        """Check before the run that the attack can work in a setting. Default: it can in every setting.

        Raises:
            ValueError: The attack cannot work on the data, on the model or with the other settings. The
                message names the value, what is expected and the remedy.
        """

    def poison_data(self, samples: Samples, trainer: Trainer, context: ClientContext) -> Samples:
        """Return the data that this client trains on. The trainer contains the global model."""
        return samples

    def train(self, trainer: Trainer, samples: Samples, context: ClientContext) -> float:
        """Train from the global weights on the poisoned samples and return the mean loss."""
        return trainer.fit(samples, context.generator, memory=context.memory)

    def craft(self, own: Tensor, seen: Tensor | None, context: CraftContext) -> Tensor:
        """Return the updates that the malicious clients send, (m, d).

        Args:
            own: the malicious clients' updates after their training, (m, d). With knowledge `own`, the
                attack receives a single row, (1, d).
            seen: the honest updates of the round, (h, d), for an omniscient attack, else None.
            context: other knowledge of the attacker.
        """
        return own

    def claimed_examples(self, own: int) -> int:
        """Return the number of examples that the client reports, given its number before any attack."""
        return own

    def goal(self, classes: int) -> AttackGoal | None:
        """Return the measurement of the attack's success, or None for an attack without a target.

        Raises:
            ValueError: A class of the attack is not among the `classes`.
        """
        return None

    def no_effect(self, clients: int, malicious: int) -> str | None:
        """Return the reason why the attack has no effect with these settings, or None if it has one."""
        return None


@dataclass(frozen=True, kw_only=True)
class NoAttack(Attack):
    """Train and send like an honest client. A clean run uses it as the reference."""

    card = AttackCard(paper="-", goal="none", idle_when="always")


def checked_type(hook: str, result: object, kind: type[Result]) -> Result:
    """Return what a hook of an attack returned, or raise TypeError if it is of another type."""
    if isinstance(result, kind):
        return result
    raise TypeError(f"{hook} returned {type(result).__name__}, expected {kind.__name__}")


def crafts_updates(attack: Attack) -> bool:
    """Return whether `attack` replaces updates."""
    return type(attack).craft is not Attack.craft


def check_class(name: str, value: int, classes: int) -> None:
    """Raise ValueError unless `value` is one of the classes 0 to `classes` - 1."""
    if not 0 <= value < classes:
        raise ValueError(f"{name}: got class {value}, expected 0 to {classes - 1}.")
