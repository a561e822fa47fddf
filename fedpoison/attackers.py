"""A group of attackers at work: its attack, when it acts, and what it is handed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil

from clients.attack import Attack, Knowledge, NoAttack
from fedpoison.groups import Group
from fedpoison.registries import build_attack
from fedpoison.roster import expected
from fedpoison.schedules import Schedule, build_schedule
from fedpoison.specs import split_outside


@dataclass(frozen=True, eq=False)
class Attackers:
    """One group of the scenario, its texts turned into objects."""

    group: Group
    attack: Attack
    schedule: Schedule
    knowledge: Knowledge | None
    """What the attack is handed, in place of what its card declares."""

    @classmethod
    def of(cls, group: Group, attack: Attack | None = None) -> Attackers:
        """Return the attackers that `group` describes, with another attack if one is given."""
        return cls(
            group=group,
            attack=build_attack(group.attack) if attack is None else attack,
            schedule=build_schedule(group.schedule),
            knowledge=None if group.knowledge is None else Knowledge(group.knowledge),
        )

    @property
    def handed(self) -> Knowledge:
        """What the group's attack is handed, by its card or by the override."""
        return self.knowledge or self.attack.card.knowledge

    def act(self, server_round: int) -> bool:
        """Return whether the group does anything dishonest in this round."""
        return not isinstance(self.attack, NoAttack) and self.schedule.active(server_round)


def idle_reasons(groups: Sequence[Attackers], *, clients: int, sampled: int, rounds: int) -> list[str]:
    """Return, for each group whose attack cannot do anything with these settings, the reason.

    Args:
        groups: the groups of attackers.
        clients: nodes in the fleet.
        sampled: nodes that train in a round.
        rounds: rounds of the run.
    """
    numbers = expected([attackers.group for attackers in groups], clients, sampled)
    reasons = []
    for attackers, number in zip(groups, numbers, strict=True):
        if isinstance(attackers.attack, NoAttack):
            continue
        if not number:
            reason: str | None = f"none of the {clients} nodes is malicious"
        elif not any(attackers.act(server_round) for server_round in range(1, rounds + 1)):
            reason = f"the schedule {attackers.group.schedule} has no round among the {rounds} of the run"
        else:
            reason = attackers.attack.idle(sampled, ceil(number))
        if reason is not None:
            reasons.append(f"the attack {attackers.group.attack} does nothing: {reason}")
    return reasons


def aim(specs: Iterable[str], classes: int) -> str | None:
    """Return the first attack in `specs` whose success can be measured on a data set with `classes`.

    Raises:
        ValueError: an attack names a class that the data set does not have; the message says which attack.
    """
    found = None
    for spec in specs:
        for part in split_outside(spec, "+"):
            try:
                goal = build_attack(part).goal(classes)
            except ValueError as error:
                raise ValueError(f"attack {spec}: {error}") from None
            if found is None and goal is not None:
                found = part
    return found
