"""Effects of the attacks: whether they changed anything, by client."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Self


@dataclass(frozen=True)
class Effects:
    """Changes by the attack of one group: its value per client is whether the attack changed anything.

    An attack that poisons data has entries in `data` only, even if it also changes training or updates:
    without poisoned data, it has no target.
    """

    data: dict[int, bool] = field(default_factory=dict)
    """Clients on which the attack poisons data: whether a sample or the number of samples changed."""
    updates: dict[int, bool] = field(default_factory=dict)
    """Clients whose update the attack replaces: whether it is another update, not only rounded otherwise."""

    @classmethod
    def total(cls, several: Iterable[Self]) -> Self:
        """Return whether the attack changed anything in any of several rounds."""
        result = cls()
        for effects in several:
            result.add(effects)
        return result

    def add(self, other: Self) -> None:
        """Add the effects of another round to these."""
        for mine, theirs in ((self.data, other.data), (self.updates, other.updates)):
            for client_id, changed in theirs.items():
                mine[client_id] = mine.get(client_id, False) or changed

    def of(self, clients: Iterable[int]) -> Self:
        """Return the effects on some clients."""
        chosen = sorted(set(clients))
        data, updates = (
            {client_id: changes[client_id] for client_id in chosen if client_id in changes}
            for changes in (self.data, self.updates)
        )
        return type(self)(data, updates)

    @classmethod
    def from_json(cls, values: Mapping[str, Mapping[str, bool]]) -> Self:
        """Return the effects whose clients are texts, as in JSON."""
        data, updates = (
            {int(key): kept for key, kept in values[name].items()} for name in ("data", "updates")
        )
        return cls(data, updates)

    def notes(self, attack: str) -> list[str]:
        """Return a note if the attack changed nothing of some clients.

        >>> Effects(data={3: False, 8: True}).notes("label-flip")
        ['the attack label-flip did not change the data of 1 of 2 attacking clients']
        """
        return [
            f"the attack {attack} did not change the {what} of {idle} of {len(clients)} attacking clients"
            for what, clients in (("data", self.data), ("update", self.updates))
            if (idle := sum(not changed for changed in clients.values()))
        ]
