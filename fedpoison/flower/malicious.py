"""Which clients of a Flower app are malicious: one decision for the server and the clients."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Self

from flwr.app import Context

from fedpoison.errors import ScenarioError
from fedpoison.federation.messages import PARTITION
from fedpoison.flower.replies import signed
from fedpoison.rng import generator_for
from fedpoison.scenario.attackers import NO_ATTACK, AttackerGroup
from fedpoison.scenario.selection import AttackerSelection

PARTITIONS = "num-partitions"
"""Key of the number of partitions in the config of a SuperNode."""


@dataclass(frozen=True)
class Place:
    """Place of a malicious client among the malicious clients."""

    client_id: int
    """Number of its partition, or its node id."""
    rank: int
    """Position among the malicious clients, from 0."""
    size: int
    """Number of malicious clients."""


@dataclass(frozen=True, kw_only=True)
class Malicious:
    """Decision which clients are malicious.

    A share of partitions is drawn from the seed as in a scenario of fedpoison. Therefore the decision is the
    same in each process that knows the number of a client's partition and the number of partitions. A share
    of node ids is ranked by a hash of seed and node id.
    """

    share: float | None
    nodes: tuple[int, ...]
    """Numbers of partitions, or node ids."""
    seed: int

    @classmethod
    def read(cls, malicious: float | None, nodes: Collection[int], seed: int) -> Self:
        """Check the arguments of a public function.

        Raises:
            ScenarioError: both or none of `malicious` and `nodes` are given, or the share is not from 0 to 1.
        """
        if (malicious is None) == (not nodes):
            raise ScenarioError(
                f"malicious clients: got malicious={malicious} and nodes={list(nodes)}, expected one of the "
                "two: a share such as malicious=0.2, or a list such as nodes=[0, 3]."
            )
        if malicious is not None and not 0 <= malicious <= 1:
            raise ScenarioError(f"malicious: got {malicious}, expected a share from 0 to 1, such as 0.2.")
        return cls(share=malicious, nodes=tuple(sorted(nodes)), seed=seed)

    def of_partitions(self, count: int) -> list[int]:
        """Return the malicious ones of the partitions 0 to `count` - 1, ascending."""
        if self.share is None:
            return [number for number in self.nodes if number < count]
        group = AttackerGroup(attack=NO_ATTACK, share=self.share)
        selection = AttackerSelection(seed=self.seed, clients=count, sampled=count, groups=(group,))
        return sorted(selection.malicious(1))

    def of_nodes(self, node_ids: Collection[int]) -> list[int]:
        """Return the malicious ones of these node ids, ascending."""
        if self.share is None:
            return sorted(set(self.nodes) & set(node_ids))
        ranked = sorted(node_ids, key=self._hash)
        return sorted(ranked[: round(self.share * len(ranked))])

    def place_of(self, context: Context) -> Place | None:
        """Return the place of the client with this context, or None for an honest client.

        Raises:
            ScenarioError: a share needs the client's partition, and the context has none.
        """
        partition, count = (context.node_config.get(key) for key in (PARTITION, PARTITIONS))
        number = None if partition is None else int(str(partition))
        if self.share is None and number not in self.nodes:
            return self.place(context.node_id, self.nodes)
        if number is None or (self.share is not None and count is None):
            raise ScenarioError(
                f"malicious: got the share {self.share} for a client without {PARTITION} and {PARTITIONS} in "
                f"its node config, expected both, as in `flower-supernode --node-config '{PARTITION}=0 "
                f"{PARTITIONS}=4'`; or list the malicious clients: nodes=[...]."
            )
        return self.place(number, self.nodes if self.share is None else self.of_partitions(int(str(count))))

    def place(self, client_id: int, malicious: Collection[int]) -> Place | None:
        """Return the place of a client among the malicious ones, or None for an honest client."""
        ids = sorted(malicious)
        if client_id not in ids:
            return None
        return Place(signed(client_id), ids.index(client_id), len(ids))

    def _hash(self, node_id: int) -> int:
        return generator_for(self.seed, "malicious", node_id).initial_seed()
