"""Which nodes of the fleet belong to which group of attackers, and how many of them train in a round."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache

import torch

from fedpoison.errors import ScenarioError
from fedpoison.groups import Group
from fedpoison.schedules import build_schedule
from fedpoison.streams import stream


@lru_cache(maxsize=64)
def members(
    seed: int, clients: int, groups: tuple[Group, ...], turns: tuple[int | None, ...]
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
            order = torch.randperm(clients, generator=stream(seed, *name)).tolist()
            taken = frozenset[int]().union(*found.values())
            free = [node for node in order if node not in taken]
            found[index] = frozenset(free[: groups[index].size(clients)])
    return tuple(found[index] for index in range(len(groups)))


def expected(groups: Sequence[Group], clients: int, sampled: int) -> list[Fraction]:
    """Return how many nodes of each group train in a round, on average where it is left to chance.

    >>> expected([Group(attack="alie", count=15)], clients=100, sampled=10)
    [Fraction(3, 2)]
    """
    fixed, reserved = _fixed(groups, clients)
    chance = Fraction(sampled - fixed, max(1, clients - reserved))
    return [
        group.size(clients) * chance if group.per_round is None else Fraction(group.per_round)
        for group in groups
    ]


def check_groups(groups: Sequence[Group], clients: int, sampled: int) -> None:
    """Raise ScenarioError unless `clients` nodes, `sampled` of them a round, can hold the groups."""
    seen = Counter(node for group in groups for node in group.nodes)
    outside = sorted(node for node in seen if node >= clients)
    if outside:
        raise ScenarioError(
            f"malicious nodes: got {outside} in a fleet of {clients}; wanted 0 to {clients - 1}."
        )
    twice = sorted(node for node, times in seen.items() if times > 1)
    if twice:
        raise ScenarioError(f"groups: nodes {twice} are in more than one; list each node once.")
    shares = sum(group.share or 0 for group in groups)
    total = sum(group.size(clients) for group in groups)
    if shares > 1 + 1e-9 or total > clients:
        raise ScenarioError(
            f"groups: got {total} malicious nodes in a fleet of {clients} (shares add up to {shares:g}); "
            "make the groups smaller."
        )
    rotating = [group for group in groups if build_schedule(group.schedule).turn(1) is not None]
    if len(rotating) > 1:
        raise ScenarioError("groups: more than one rotates; let the others keep their nodes.")
    if any(group.nodes for group in rotating):
        raise ScenarioError(
            "nodes: a rotating group is drawn anew; give its share or count in place of a list."
        )
    _check_per_round(groups, clients, sampled)


def _check_per_round(groups: Sequence[Group], clients: int, sampled: int) -> None:
    fixed, reserved = _fixed(groups, clients)
    for group in groups:
        if group.per_round is not None and group.per_round > group.size(clients):
            raise ScenarioError(
                f"malicious per round: got {group.per_round} of a group of {group.size(clients)} nodes "
                f"({group.attack}); wanted at most {group.size(clients)}."
            )
    if fixed > sampled or sampled - fixed > clients - reserved:
        raise ScenarioError(
            f"malicious per round: got {fixed} of the {sampled} nodes that train in a round, but the others, "
            f"{sampled - fixed}, have to be found among {clients - reserved}; change participation."
        )


def _fixed(groups: Sequence[Group], clients: int) -> tuple[int, int]:
    """Return how many nodes of groups with a fixed number a round train, and how many those groups have."""
    bound = [group for group in groups if group.per_round is not None]
    return sum(group.per_round or 0 for group in bound), sum(group.size(clients) for group in bound)
