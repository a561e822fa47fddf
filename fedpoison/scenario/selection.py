"""Selection of clients: which ones train, are malicious and attack, round by round."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from math import ceil

import torch

from clients.attacks.base import Attack, NoAttack
from fedpoison.errors import ScenarioError
from fedpoison.rng import generator_for
from fedpoison.scenario.attackers import AttackerGroup, ResolvedGroup


@dataclass(frozen=True)
class Role:
    """What a client is in one round."""

    attack: Attack
    """`NoAttack` for an honest client, and for one whose group does not attack in this round."""
    rank: int = 0
    """Its position in its group of attackers."""
    size: int = 1
    """How many clients the group has."""


@dataclass(frozen=True, eq=False)
class AttackerSelection:
    """Which clients train, are malicious and attack, in each round of a scenario; rounds count from 1."""

    seed: int
    clients: int
    sampled: int
    """How many clients train in a round."""
    groups: tuple[ResolvedGroup, ...]

    @classmethod
    def of(
        cls, groups: tuple[AttackerGroup, ...], seed: int, clients: int, sampled: int
    ) -> AttackerSelection:
        """Return the selection for these groups of attackers.

        Raises:
            ScenarioError: the clients, or those that train in a round, cannot hold the groups.
        """
        selection = cls(seed, clients, sampled, tuple(ResolvedGroup.from_group(group) for group in groups))
        selection._check_nodes()
        selection._check_rotating()
        selection._check_per_round()
        return selection

    def members_by_group(self, server_round: int) -> tuple[frozenset[int], ...]:
        """Return the clients of each group in this round, whether they train in it or not."""
        turns = tuple(attackers.schedule.rotation(server_round) for attackers in self.groups)
        return _members(self.seed, self.clients, self._described, turns)

    def placed(self, server_round: int) -> list[tuple[ResolvedGroup, frozenset[int]]]:
        """Return each group with its clients in this round."""
        return list(zip(self.groups, self.members_by_group(server_round), strict=True))

    def malicious(self, server_round: int) -> frozenset[int]:
        """Return the malicious clients of this round, whether they attack in it or not."""
        return frozenset[int]().union(*self.members_by_group(server_round))

    def acting(self, server_round: int) -> frozenset[int]:
        """Return the clients that are not honest in this round, if they train in it."""
        placed = self.placed(server_round)
        return frozenset[int]().union(
            *(pool for attackers, pool in placed if attackers.is_active(server_round))
        )

    def sample(self, server_round: int) -> list[int]:
        """Return the clients that train in this round, ascending.

        They are drawn at random; a group with a fixed number in every round is drawn from on its own.
        """
        order = torch.randperm(self.clients, generator=generator_for(self.seed, "sample", server_round))
        others, chosen = order.tolist(), []
        for attackers, pool in self.placed(server_round):
            if attackers.group.per_round is not None:
                chosen += [client_id for client_id in others if client_id in pool][
                    : attackers.group.per_round
                ]
                others = [client_id for client_id in others if client_id not in pool]
        return sorted(chosen + others[: self.sampled - len(chosen)])

    def role(self, client_id: int, server_round: int) -> Role:
        """Return what client `client_id` is in this round."""
        for attackers, pool in self.placed(server_round):
            if client_id in pool:
                attack = attackers.attack if attackers.is_active(server_round) else NoAttack()
                return Role(attack, rank=sorted(pool).index(client_id), size=len(pool))
        return Role(NoAttack())

    def expected(self) -> list[Fraction]:
        """Return how many clients of each group train in a round, on average where it is left to chance.

        >>> group = AttackerGroup(attack="alie", count=15)
        >>> AttackerSelection.of((group,), seed=0, clients=100, sampled=10).expected()
        [Fraction(3, 2)]
        """
        fixed, reserved = self._fixed()
        chance = Fraction(self.sampled - fixed, max(1, self.clients - reserved))
        return [
            group.size(self.clients) * chance if group.per_round is None else Fraction(group.per_round)
            for group in self._described
        ]

    def no_effect(self, rounds: int) -> list[str]:
        """Return, for each group whose attack cannot do anything in so many rounds, the reason."""
        reasons = []
        for attackers, number in zip(self.groups, self.expected(), strict=True):
            if isinstance(attackers.attack, NoAttack):
                continue
            if not number:
                reason: str | None = f"none of the {self.clients} nodes is malicious"
            elif not any(attackers.is_active(server_round) for server_round in range(1, rounds + 1)):
                reason = f"the schedule {attackers.group.schedule} has no round among the {rounds} of the run"
            else:
                reason = attackers.attack.no_effect(self.sampled, ceil(number))
            if reason is not None:
                reasons.append(f"the attack {attackers.group.attack} does nothing: {reason}")
        return reasons

    @property
    def _described(self) -> tuple[AttackerGroup, ...]:
        return tuple(attackers.group for attackers in self.groups)

    def _check_nodes(self) -> None:
        clients = self.clients
        seen = Counter(client_id for group in self._described for client_id in group.nodes)
        outside = sorted(client_id for client_id in seen if client_id >= clients)
        if outside:
            raise ScenarioError(
                f"malicious nodes: got {outside} in a fleet of {clients}; wanted 0 to {clients - 1}."
            )
        twice = sorted(client_id for client_id, times in seen.items() if times > 1)
        if twice:
            raise ScenarioError(f"groups: nodes {twice} are in more than one; list each node once.")
        shares = sum(group.share or 0 for group in self._described)
        total = sum(group.size(clients) for group in self._described)
        if shares > 1 + 1e-9 or total > clients:
            raise ScenarioError(
                f"groups: got {total} malicious nodes in a fleet of {clients} (shares add up to {shares:g}); "
                "make the groups smaller."
            )

    def _check_rotating(self) -> None:
        rotating = [
            attackers.group for attackers in self.groups if attackers.schedule.rotation(1) is not None
        ]
        if len(rotating) > 1:
            raise ScenarioError("groups: more than one rotates; let the others keep their nodes.")
        if any(group.nodes for group in rotating):
            raise ScenarioError(
                "nodes: a rotating group is drawn anew; give its share or count in place of a list."
            )

    def _check_per_round(self) -> None:
        clients, sampled = self.clients, self.sampled
        fixed, reserved = self._fixed()
        for group in self._described:
            if group.per_round is not None and group.per_round > group.size(clients):
                raise ScenarioError(
                    f"malicious per round: got {group.per_round} of a group of {group.size(clients)} nodes "
                    f"({group.attack}); wanted at most {group.size(clients)}."
                )
        if fixed > sampled or sampled - fixed > clients - reserved:
            raise ScenarioError(
                f"malicious per round: got {fixed} of the {sampled} nodes that train in a round, but "
                f"the others, {sampled - fixed}, have to be found among {clients - reserved}; "
                "change participation."
            )

    def _fixed(self) -> tuple[int, int]:
        """Return how many clients of groups with a fixed number train per round, and the groups' size."""
        bound = [group for group in self._described if group.per_round is not None]
        return (
            sum(group.per_round or 0 for group in bound),
            sum(group.size(self.clients) for group in bound),
        )


@lru_cache(maxsize=64)
def _members(
    seed: int, clients: int, groups: tuple[AttackerGroup, ...], turns: tuple[int | None, ...]
) -> tuple[frozenset[int], ...]:
    """Return the nodes of each group, in the turn that its schedule says.

    Listed nodes come first; the other groups take theirs from one random order, one group after the
    other, and a rotating group draws last, from what is left.
    """
    found = {index: frozenset(group.nodes) for index, group in enumerate(groups)}
    for index in sorted(found, key=lambda index: turns[index] is not None):
        if not groups[index].nodes:
            turn = turns[index]
            name: tuple[str | int, ...] = ("malicious",) if turn is None else ("malicious", "turn", turn)
            order = torch.randperm(clients, generator=generator_for(seed, *name)).tolist()
            taken = frozenset[int]().union(*found.values())
            free = [client_id for client_id in order if client_id not in taken]
            found[index] = frozenset(free[: groups[index].size(clients)])
    return tuple(found[index] for index in range(len(groups)))
