"""Composition of attacks, and the call of `craft` with the declared knowledge."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from clients.attacks.base import (
    Attack,
    AttackCard,
    AttackGoal,
    AttackSetting,
    ClientContext,
    CraftContext,
    Knowledge,
    crafts_updates,
)
from clients.training import Samples, Trainer
from strategies.kernels.columns import one_thread

_ORDER = (Knowledge.OWN, Knowledge.COLLUDING, Knowledge.OMNISCIENT)


@dataclass(frozen=True)
class Composite(Attack):
    """Apply the data stage of each attack, the training stage of the only part with one, then each craft.

    Raises:
        ValueError: There are fewer than two parts, or two parts replace the training.
    """

    parts: tuple[Attack, ...]

    def __post_init__(self) -> None:
        if len(self.parts) <= 1:
            raise ValueError(f"parts: got {len(self.parts)}, expected at least two attacks.")
        if sum(replaces_training(part) for part in self.parts) > 1:
            raise ValueError(
                f"parts: got {self.parts}, expected at most one that replaces the local training. Keep one."
            )

    @property
    def card(self) -> AttackCard:  # type: ignore[override]  # computed from the parts, so not a class variable
        cards = [part.card for part in self.parts]
        return AttackCard(
            paper="; ".join(card.paper for card in cards),
            knowledge=max((card.knowledge for card in cards), key=_ORDER.index),
            knows_rule=any(card.knows_rule for card in cards),
            trains=any(card.trains for card in cards),
            on_tokens=any(card.on_tokens for card in cards),
            goal="; ".join(dict.fromkeys(card.goal for card in cards)),
        )

    def check(self, setting: AttackSetting) -> None:
        for part in self.parts:
            part.check(setting)

    def poison_data(self, samples: Samples, trainer: Trainer, context: ClientContext) -> Samples:
        for part in self.parts:
            samples = part.poison_data(samples, trainer, context)
        return samples

    def train(self, trainer: Trainer, samples: Samples, context: ClientContext) -> float:
        chosen = next((part for part in self.parts if replaces_training(part)), self.parts[0])
        return chosen.train(trainer, samples, context)

    def craft(self, own: Tensor, seen: Tensor | None, context: CraftContext) -> Tensor:
        for part in self.parts:
            own = part.craft(own, seen, context)
        return own

    def claimed_examples(self, own: int) -> int:
        for part in self.parts:
            own = part.claimed_examples(own)
        return own

    def goal(self, classes: int) -> AttackGoal | None:
        goals = [part.goal(classes) for part in self.parts]
        return next((goal for goal in goals if goal is not None), None)

    def no_effect(self, clients: int, malicious: int) -> str | None:
        reasons = [part.no_effect(clients, malicious) for part in self.parts]
        return "; ".join(reason for reason in reasons if reason) if all(reasons) else None


def poisons_data(attack: Attack) -> bool:
    """Return whether `attack`, or a part of it, edits data."""
    return any(type(part).poison_data is not Attack.poison_data for part in parts_of(attack))


def replaces_training(attack: Attack) -> bool:
    """Return whether `attack`, or a part of it, replaces the local training."""
    return any(type(part).train is not Attack.train for part in parts_of(attack))


def crafts_by_itself(attack: Attack) -> bool:
    """Return whether `attack`, or a part of it, replaces updates and does not also poison data."""
    return any(crafts_updates(part) and not poisons_data(part) for part in parts_of(attack))


def parts_of(attack: Attack) -> tuple[Attack, ...]:
    """Return the parts of a composite, or the attack itself as its only part."""
    return attack.parts if isinstance(attack, Composite) else (attack,)


ContextFactory = Callable[[Attack, int | None], CraftContext]
"""`build_context(part, client_id)` returns the context of one part of the attack for one client.
With None, the context is that of the whole group. It is called once per call of `craft`."""


def craft_updates(
    attack: Attack,
    own: Tensor,
    honest: Tensor,
    build_context: ContextFactory,
    *,
    client_ids: tuple[int, ...],
    knowledge: Knowledge | None = None,
) -> Tensor:
    """Compute the updates of the malicious clients, (m, d), with the knowledge that each part declares.

    With knowledge `own`, a part runs once per row, with only that row. A colluding part runs once with all
    malicious rows. An omniscient part also receives the honest rows. Only attacks with `knows_rule` receive
    the rule, and only those with `trains` the attacker's trainer and data. Each part of a composite receives
    the result of the previous part.

    Args:
        attack: the attack. Parts without `craft` are skipped.
        own: the malicious clients' updates after their training, (m, d).
        honest: the honest clients' updates, (h, d).
        build_context: factory of the context for each call.
        client_ids: the m clients of the rows of `own`.
        knowledge: knowledge instead of the declared one, to measure its effect. Default: as declared.

    Raises:
        ValueError: The number of clients differs from the number of rows.
        TypeError: A part crafts updates of another shape.
    """
    if len(client_ids) != len(own):
        raise ValueError(f"client_ids: got {len(client_ids)} for {len(own)} rows, expected one per row.")
    for part in filter(crafts_updates, parts_of(attack)):
        known = knowledge or part.card.knowledge
        if known is Knowledge.OWN:
            rows = [
                _crafted(part, row[None], None, build_context(part, client_id))
                for client_id, row in zip(client_ids, own, strict=True)
            ]
            own = torch.cat(rows) if rows else own
        else:
            seen = honest if known is Knowledge.OMNISCIENT and len(honest) else None
            own = _crafted(part, own, seen, build_context(part, None))
    return own


def _crafted(part: Attack, own: Tensor, seen: Tensor | None, context: CraftContext) -> Tensor:
    """Return what an attack crafts from `own` (m, d), or raise TypeError if it has another shape."""
    # Training gives the same bits on every machine with one thread only.
    with one_thread() if part.card.trains else nullcontext():
        crafted: object = part.craft(own, seen, _allowed(part, seen, context))
    if isinstance(crafted, Tensor) and crafted.shape == own.shape:
        return crafted
    shape = f" of shape {tuple(crafted.shape)}" if isinstance(crafted, Tensor) else ""
    raise TypeError(
        f"{type(part).__module__}.{type(part).__qualname__} returned {type(crafted).__name__}{shape}, "
        f"expected a tensor of shape {tuple(own.shape)}"
    )


def _allowed(part: Attack, seen: Tensor | None, context: CraftContext) -> CraftContext:
    """Remove what `part` does not declare from the context."""
    if seen is None:
        context = replace(context, seen_client_ids=())
    if not part.card.trains:
        context = replace(context, own_training=None)
    if part.card.knows_rule:
        return context
    return replace(
        context,
        rule=None,
        trust=None,
        rule_kind=None,
        tolerated=None,
        group_client_ids=(),
        round_client_ids=(),
    )
