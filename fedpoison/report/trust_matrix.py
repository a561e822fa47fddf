"""Trust of a strategy in each client per round, downsampled for the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fedpoison.results.history import History
from fedpoison.results.round import Round

MOST_TRUST_ROUNDS = 60
MOST_TRUST_NODES = 150
DROPPED = -1
"""Share of a reply that the server could not use."""


@dataclass(frozen=True)
class TrustMatrix:
    """Trust of the strategy in each client per round. The page's scripts use the names of the fields."""

    rounds: list[int]
    nodes: list[int]
    """Client ids, malicious clients first."""
    malicious: list[int]
    """Clients that were malicious in any round."""
    shares: list[list[int | None]]
    """(clients, rounds): per cent of an equal share; DROPPED; None if the client was not sampled."""
    acting: list[list[int]]
    """Clients that attacked, per round."""
    all_nodes: int
    """Number of clients before downsampling."""
    all_rounds: int
    """Number of rounds before downsampling."""

    @property
    def size(self) -> int:
        return len(self.rounds) * len(self.nodes)


def trust_matrix(history: History) -> TrustMatrix | None:
    """Return the trust matrix of a run, downsampled if it is large; None if its strategy reports no trust."""
    trusting = [record for record in history.records if record.training.trust]
    if not trusting:
        return None
    records = [trusting[place] for place in evenly_spaced(len(trusting), MOST_TRUST_ROUNDS)]
    malicious = {client_id for record in trusting for client_id in record.training.malicious}
    sampled = {client_id for record in trusting for client_id in record.training.sampled}
    client_ids = _chosen(sorted(malicious), sorted(sampled - malicious))
    kept = set(client_ids)
    columns = [_column(record, client_ids) for record in records]
    return TrustMatrix(
        rounds=[record.round for record in records],
        nodes=client_ids,
        malicious=[client_id for client_id in client_ids if client_id in malicious],
        shares=[list(row) for row in zip(*columns, strict=True)],
        acting=[
            [client_id for client_id in record.training.acting if client_id in kept] for record in records
        ],
        all_nodes=len(sampled),
        all_rounds=len(trusting),
    )


def _chosen(malicious: Sequence[int], honest: Sequence[int]) -> list[int]:
    """Return the clients to show: all clients, or evenly spaced clients of both kinds."""
    room = max(MOST_TRUST_NODES - len(honest), MOST_TRUST_NODES // 2)
    bad = [malicious[place] for place in evenly_spaced(len(malicious), room)]
    good = [honest[place] for place in evenly_spaced(len(honest), MOST_TRUST_NODES - len(bad))]
    return bad + good


def _column(record: Round, client_ids: Sequence[int]) -> list[int | None]:
    training, trust = record.training, record.training.trust or {}
    equal = sum(trust.values()) / len(trust)
    return [
        DROPPED
        if client_id in training.dropped
        else max(0, round(100 * trust[client_id] / equal) if equal else 0)
        if client_id in trust
        else None
        for client_id in client_ids
    ]


def evenly_spaced(count: int, most: int) -> list[int]:
    """Return at most `most` of the places 0 to count - 1, evenly spaced, with the first and the last.

    >>> evenly_spaced(10, 4)
    [0, 3, 6, 9]
    >>> evenly_spaced(3, 4)
    [0, 1, 2]
    """
    if count <= most:
        return list(range(count))
    return sorted({round(step * (count - 1) / (most - 1)) for step in range(most)})
