"""Whom a strategy believed: nodes by rounds, as the records tell it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fedpoison.report.thinning import MOST_TRUST_NODES, MOST_TRUST_ROUNDS, evenly_spaced
from fedpoison.results.history import History
from fedpoison.results.round import Round

DROPPED = -1
"""Stands for a reply that could not be used."""


@dataclass(frozen=True)
class TrustMatrix:
    """The trust that each node got in each round."""

    rounds: list[int]
    nodes: list[int]
    """Malicious ones first."""
    malicious: list[int]
    """Those of the nodes that were malicious in any round."""
    shares: list[list[int | None]]
    """(nodes, rounds): per cent of an equal share; DROPPED; None where the node was not asked."""
    acting: list[list[int]]
    """The nodes that attacked, for each round."""
    all_nodes: int
    all_rounds: int
    """How many there were before the ledger was thinned."""

    @property
    def size(self) -> int:
        return len(self.rounds) * len(self.nodes)


def trust_matrix(history: History) -> TrustMatrix | None:
    """Return the ledger of a run, thinned where it is large; None where its strategy tells no trust."""
    told = [record for record in history.records if record.training.trust]
    if not told:
        return None
    records = [told[place] for place in evenly_spaced(len(told), MOST_TRUST_ROUNDS)]
    malicious = {client_id for record in told for client_id in record.training.malicious}
    everyone = {client_id for record in told for client_id in record.training.sampled}
    client_ids = _chosen(sorted(malicious), sorted(everyone - malicious))
    kept = set(client_ids)
    return TrustMatrix(
        rounds=[record.round for record in records],
        nodes=client_ids,
        malicious=[client_id for client_id in client_ids if client_id in malicious],
        shares=_shares(records, client_ids),
        acting=[
            [client_id for client_id in record.training.acting if client_id in kept] for record in records
        ],
        all_nodes=len(everyone),
        all_rounds=len(told),
    )


def _chosen(malicious: Sequence[int], honest: Sequence[int]) -> list[int]:
    """Return the nodes to show: all, or else an even choice of both kinds."""
    room = max(MOST_TRUST_NODES - len(honest), MOST_TRUST_NODES // 2)
    bad = [malicious[place] for place in evenly_spaced(len(malicious), room)]
    good = [honest[place] for place in evenly_spaced(len(honest), MOST_TRUST_NODES - len(bad))]
    return bad + good


def _shares(records: Sequence[Round], client_ids: Sequence[int]) -> list[list[int | None]]:
    columns = [_column(record, client_ids) for record in records]
    return [list(row) for row in zip(*columns, strict=True)]


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
