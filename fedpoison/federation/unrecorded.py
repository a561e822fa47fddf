"""Sums over the rounds since the last record: unusable replies, unchanged rounds, effects, times."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from fedpoison.federation.server_strategy import NO_USABLE_REPLY
from fedpoison.results.checkpoint import Key, RunState, owned_by, owner_state
from fedpoison.results.effects import Effects
from fedpoison.results.round import Training

_WITHOUT_UPDATE: Key = ("rounds without update",)


@dataclass(eq=False)
class Unrecorded:
    """Sums over the rounds since the last record, which a checkpoint contains.

    Only a round with an evaluation has a record. Its record contains the sums.
    """

    drop_counts: Counter[str] = field(default_factory=Counter)
    """Number of unusable replies, by reason."""
    unchanged: Counter[str] = field(default_factory=Counter)
    """Number of rounds that left the model unchanged, by reason."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Wall-clock time by phase, in seconds."""
    effects: dict[int, Effects] = field(default_factory=dict)
    """Effects of the attacks, by group."""
    rounds_without_update: int = 0
    """Number of rounds of the whole run without a usable reply of a client that did not attack. If all
    clients of a round attacked: without any usable reply."""

    def add(self, training: Training, effects: Effects) -> None:
        """Add the training of one round, and the effects of its attacks."""
        self.drop_counts.update(training.drop_counts)
        self.unchanged.update(training.unchanged)
        honest = set(training.sampled) - set(training.acting)
        self.rounds_without_update += NO_USABLE_REPLY in training.unchanged or (
            bool(honest) and honest <= training.dropped.keys()
        )
        for phase, seconds in training.seconds.items():
            self.seconds[phase] = self.seconds.get(phase, 0.0) + seconds
        for index, group in enumerate(training.groups):
            self.effects.setdefault(index, Effects()).add(effects.of(group.nodes))

    def move_to(self, training: Training) -> None:
        """Write the sums into the record of an evaluated round, and start again from 0."""
        training.drop_counts.update(self.drop_counts)
        training.unchanged.update(self.unchanged)
        training.seconds.update(self.seconds)
        for index, group in enumerate(training.groups):
            if group.effects is not None:
                group.effects.add(self.effects[index])
        for sums in (self.drop_counts, self.unchanged, self.seconds, self.effects):
            sums.clear()

    def state(self) -> dict[Key, Tensor]:
        """Return the sums for a checkpoint."""
        return {
            _WITHOUT_UPDATE: torch.tensor(self.rounds_without_update),
            **owned_by("dropped", _scalars(self.drop_counts)),
            **owned_by("unchanged", _scalars(self.unchanged)),
            **owned_by("seconds", _scalars(self.seconds)),
            **owned_by("effects", self._effects()),
        }

    def restore(self, state: RunState) -> None:
        """Set the sums that `state` returned."""
        self.drop_counts = Counter(_counts(owner_state("dropped", state)))
        self.unchanged = Counter(_counts(owner_state("unchanged", state)))
        self.seconds = {str(name): float(kept) for (name,), kept in owner_state("seconds", state).items()}
        self.rounds_without_update = int(state[_WITHOUT_UPDATE])
        for (index, what, client_id), kept in owner_state("effects", state).items():
            effects = self.effects.setdefault(int(str(index)), Effects())
            (effects.data if what == "data" else effects.updates)[int(str(client_id))] = bool(kept)

    def _effects(self) -> dict[Key, Tensor]:
        """Return the effects by group, by what the attack changes and by client."""
        return {
            (index, what, client_id): torch.tensor(changed)
            for index, effects in self.effects.items()
            for what, clients in (("data", effects.data), ("updates", effects.updates))
            for client_id, changed in clients.items()
        }


def _scalars(sums: Mapping[str, float]) -> dict[str, Tensor]:
    kinds = {int: torch.int64, float: torch.float64}
    return {name: torch.tensor(value, dtype=kinds[type(value)]) for name, value in sums.items()}


def _counts(state: RunState) -> dict[str, int]:
    return {str(name): int(kept) for (name,), kept in state.items()}
