"""Selection of clients: which clients train, are malicious and attack in each round."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from math import ceil

import torch

from clients.attacks.base import Attack, NoAttack
from fedpoison.errors import ScenarioError, code_errors
from fedpoison.rng import generator_for
from fedpoison.scenario.attackers import AttackerGroup


@dataclass(frozen=True)
class Role:
    """Attack of a client in one round, and its position in its group."""

    attack: Attack
    """`NoAttack` if the client is honest, or if its group does not attack in this round."""
    rank: int = 0
    """Position of the client in its group, from 0."""
    size: int = 1
    """Number of clients in the group."""


@dataclass(frozen=True, eq=False)
class AttackerSelection:
    """Clients that train, are malicious and attack in each round. Rounds count from 1.

    Raises:
        ScenarioError: the federation, or the number of clients per round, is too small for the groups.
    """

    seed: int
    clients: int
    sampled: int
    """Number of clients that train per round."""
    groups: tuple[AttackerGroup, ...]

    def __post_init__(self) -> None:
        self._check_clients()
        self._check_rotating()
        self._check_per_round()

    def members_by_group(self, server_round: int) -> tuple[frozenset[int], ...]:
        """Return the clients of each group in this round, including clients that do not train."""
        rotations = tuple(group.rotation(server_round) for group in self.groups)
        return _members(self.seed, self.clients, self.groups, rotations)

    def groups_with_members(self, server_round: int) -> list[tuple[AttackerGroup, frozenset[int]]]:
        """Return each group with its clients in this round."""
        return list(zip(self.groups, self.members_by_group(server_round), strict=True))

    def malicious(self, server_round: int) -> frozenset[int]:
        """Return the malicious clients of this round, including clients that do not attack."""
        return frozenset[int]().union(*self.members_by_group(server_round))

    def attacking(self, server_round: int) -> frozenset[int]:
        """Return the clients whose group attacks in this round, including clients that do not train."""
        placed = self.groups_with_members(server_round)
        return frozenset[int]().union(
            *(members for group, members in placed if group.is_active(server_round))
        )

    def sample(self, server_round: int) -> list[int]:
        """Return the clients that train in this round, in ascending order.

        The sample is random. Groups with `per_round` contribute exactly that number of clients.
        """
        order = torch.randperm(self.clients, generator=generator_for(self.seed, "sample", server_round))
        others, chosen = order.tolist(), []
        for group, members in self.groups_with_members(server_round):
            if group.per_round is not None:
                chosen += [client_id for client_id in others if client_id in members][: group.per_round]
                others = [client_id for client_id in others if client_id not in members]
        return sorted(chosen + others[: self.sampled - len(chosen)])

    def role(self, client_id: int, server_round: int) -> Role:
        """Return the role of a client in this round."""
        for group, members in self.groups_with_members(server_round):
            if client_id in members:
                attack = group.built_attack if group.is_active(server_round) else NoAttack()
                return Role(attack, rank=sorted(members).index(client_id), size=len(members))
        return Role(NoAttack())

    def expected(self) -> list[Fraction]:
        """Return the expected number of training clients per round and group.

        >>> group = AttackerGroup(attack="alie", count=15)
        >>> AttackerSelection(seed=0, clients=100, sampled=10, groups=(group,)).expected()
        [Fraction(3, 2)]
        """
        fixed, reserved = self._fixed()
        chance = Fraction(self.sampled - fixed, max(1, self.clients - reserved))
        return [
            group.size(self.clients) * chance if group.per_round is None else Fraction(group.per_round)
            for group in self.groups
        ]

    def no_effect(self, rounds: int) -> dict[int, str]:
        """Return the reason why an attack cannot have an effect in a run of `rounds` rounds, by group.

        Groups of a stored run with the code of a user are left out: the code does not run.
        """
        reasons = {}
        for index, (group, number) in enumerate(zip(self.groups, self.expected(), strict=True)):
            if group.deferred or not group.attacks:
                continue
            if not number:
                reason: str | None = f"none of the {self.clients} clients is malicious"
            elif not any(group.is_active(server_round) for server_round in range(1, rounds + 1)):
                reason = f"the schedule {group.schedule} is active in none of the {rounds} rounds"
            elif not any(self._attacks(index, server_round) for server_round in range(1, rounds + 1)):
                reason = "in the rounds in which it is active, none of its clients is in the random sample"
            else:
                with code_errors(f"attack {group.attack}"):
                    reason = group.built_attack.no_effect(self.sampled, ceil(number))
            if reason is not None:
                reasons[index] = f"the attack {group.attack} has no effect: {reason}"
        return reasons

    def _attacks(self, index: int, server_round: int) -> bool:
        """Return whether a client of the group at this index trains and attacks in this round."""
        if not self.groups[index].is_active(server_round):
            return False
        return not self.members_by_group(server_round)[index].isdisjoint(self.sample(server_round))

    def _check_clients(self) -> None:
        clients = self.clients
        seen = Counter(client_id for group in self.groups for client_id in group.nodes)
        outside = sorted(client_id for client_id in seen if client_id >= clients)
        if outside:
            raise ScenarioError(
                f"malicious clients: got {outside} of {clients} clients, expected 0 to {clients - 1}."
            )
        twice = sorted(client_id for client_id, times in seen.items() if times > 1)
        if twice:
            raise ScenarioError(
                f"groups: got clients {twice} in more than one group, expected each client in at most one."
            )
        shares = sum(group.share or 0 for group in self.groups)
        total = sum(group.size(clients) for group in self.groups)
        if shares > 1 + 1e-9 or total > clients:
            raise ScenarioError(
                f"groups: got {total} malicious clients (sum of shares: {shares:g}), "
                f"expected at most {clients}; reduce the groups."
            )

    def _check_rotating(self) -> None:
        rotating = [group for group in self.groups if not group.deferred and group.rotation(1) is not None]
        if len(rotating) > 1:
            raise ScenarioError(
                f"groups: got {len(rotating)} rotating groups, expected at most one; use another schedule."
            )
        if any(group.nodes for group in rotating):
            raise ScenarioError("nodes: got a list for a rotating group, expected share or count.")

    def _check_per_round(self) -> None:
        clients, sampled = self.clients, self.sampled
        fixed, reserved = self._fixed()
        for group in self.groups:
            if group.per_round is not None and group.per_round > group.size(clients):
                raise ScenarioError(
                    f"malicious per round: got {group.per_round} for the group {group.attack}, "
                    f"expected at most its size, {group.size(clients)}."
                )
        if fixed > sampled or sampled - fixed > clients - reserved:
            raise ScenarioError(
                f"malicious per round: got {fixed} of {sampled} clients per round, expected room for at most "
                f"{clients - reserved} other clients; change participation."
            )

    def _fixed(self) -> tuple[int, int]:
        """Return the total `per_round` and the total size of the groups that set `per_round`."""
        bound = [group for group in self.groups if group.per_round is not None]
        return (
            sum(group.per_round or 0 for group in bound),
            sum(group.size(self.clients) for group in bound),
        )


@lru_cache(maxsize=64)
def _members(
    seed: int, clients: int, groups: tuple[AttackerGroup, ...], rotations: tuple[int | None, ...]
) -> tuple[frozenset[int], ...]:
    """Return the clients of each group, for the rotation of its schedule.

    Groups with listed clients get these. Each other group gets the next clients of one random order. The
    rotating group draws last, from the remaining clients.
    """
    found = {index: frozenset(group.nodes) for index, group in enumerate(groups)}
    for index in sorted(found, key=lambda index: rotations[index] is not None):
        if not groups[index].nodes:
            rotation = rotations[index]
            name: tuple[str | int, ...] = ("malicious",)
            if rotation is not None:
                name += ("turn", rotation)
            order = torch.randperm(clients, generator=generator_for(seed, *name)).tolist()
            taken = frozenset[int]().union(*found.values())
            free = [client_id for client_id in order if client_id not in taken]
            found[index] = frozenset(free[: groups[index].size(clients)])
    return tuple(found[index] for index in range(len(groups)))
