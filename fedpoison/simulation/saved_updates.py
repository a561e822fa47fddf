"""Saved updates of single rounds, on which `replay` tries other rules."""

from __future__ import annotations

import re
import shutil
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from clients.training.parameters import Buffers, ModelState
from fedpoison.errors import RunError, ScenarioError
from fedpoison.federation.federation import Federation
from fedpoison.federation.messages import Update, client_weights
from fedpoison.results.store import StoredRun


@dataclass(frozen=True, eq=False, kw_only=True)
class SavedUpdates:
    """The n usable updates that the server aggregated in one round, ordered by client."""

    round: int
    model: Tensor
    """Global weights that the clients started from, (d,)."""
    updates: Tensor
    """Updates, one row per client, (n, d)."""
    weights: Tensor
    """Weight of each update, such as its client's number of samples, (n,) float64."""
    nodes: Tensor
    """Client of each row, (n,) int64."""
    malicious: Tensor
    """Whether the client is malicious, (n,) bool."""
    acting: Tensor
    """Whether the client attacked in this round, (n,) bool."""
    model_buffers: Buffers = field(default_factory=dict)
    """Global buffers that the clients started from, by name."""
    buffers: Buffers = field(default_factory=dict)
    """Buffers of the clients, (n, ...) by name. Empty if the clients keep them."""

    @property
    def attacking_clients(self) -> list[int]:
        """Clients that attacked."""
        attackers: list[int] = self.nodes[self.acting].tolist()
        return attackers

    def write(self, run: Path) -> None:
        """Write the updates into a run's folder. A write that is interrupted leaves no file.

        Raises:
            RunError: the updates cannot be written.
        """
        path = StoredRun(run).updates_of(self.round)
        tensors = {name: value for name, value in vars(self).items() if isinstance(value, Tensor)}
        for kind in _NAMED:
            tensors |= {f"{kind}.{name}": value for name, value in getattr(self, kind).items()}
        unfinished = path.with_suffix(".unfinished")
        try:
            path.parent.mkdir(exist_ok=True)
            save_file({name: value.cpu().contiguous() for name, value in tensors.items()}, unfinished)
            shutil.copymode(StoredRun(run).rounds, unfinished)  # safetensors lets only the owner read
            unfinished.replace(path)
        except (OSError, SafetensorError) as error:
            raise RunError(f"{path}: cannot be written ({error}); save updates of fewer rounds.") from None

    @classmethod
    def read(cls, run: Path, server_round: int) -> Self:
        """Load the updates of a round from a run's folder.

        Raises:
            RunError: the updates of the round were not saved, or the file is damaged.
        """
        path = StoredRun(run).updates_of(server_round)
        if not path.is_file():
            saved = ", ".join(map(str, saved_rounds(run))) or "none"
            raise RunError(
                f"{run}: the updates of round {server_round} were not saved (saved rounds: {saved}); "
                f"run the scenario again with --keep-updates {server_round}."
            )
        try:
            tensors: dict[str, Any] = dict(load_file(path))
            named: dict[str, Any] = {kind: {} for kind in _NAMED}
            for name in [name for name in tensors if name.partition(".")[0] in _NAMED]:
                kind, _, buffer = name.partition(".")
                named[kind][buffer] = tensors.pop(name)
            return cls(round=server_round, **tensors, **named)
        except (SafetensorError, TypeError) as error:
            raise RunError(f"{path}: does not contain the updates of a round ({error}).") from None


_NAMED = ("model_buffers", "buffers")


def saved_rounds(run: Path) -> list[int]:
    """Return the rounds whose updates a run's folder contains, ascending."""
    names = (re.fullmatch(r"round-(\d+)", path.stem) for path in StoredRun(run).updates.glob("*.safetensors"))
    return sorted(int(name[1]) for name in names if name)


class UpdateRecorder:
    """Writer that saves the updates of some rounds of a federation in its run's folder."""

    def __init__(self, run: Path, federation: Federation, rounds: Collection[int]) -> None:
        self._run = run
        self._federation = federation
        self._rounds = frozenset(rounds)

    def __call__(
        self, server_round: int, model: ModelState, updates: Sequence[Update], matrix: Tensor
    ) -> None:
        """Save the updates of a round, if it is one of the rounds."""
        if server_round not in self._rounds:
            return
        client_ids = [update.client_id for update in updates]
        selection = self._federation.selection
        malicious, attacking = selection.malicious(server_round), selection.attacking(server_round)
        SavedUpdates(
            round=server_round,
            model=model.weights,
            model_buffers=model.buffers,
            buffers={
                name: torch.stack([update.buffers[name] for update in updates])
                for name in self._federation.shared_buffers
            },
            updates=matrix,
            weights=client_weights(updates, self._federation.scenario),
            nodes=torch.tensor(client_ids),
            malicious=torch.tensor([client_id in malicious for client_id in client_ids]),
            acting=torch.tensor([client_id in attacking for client_id in client_ids]),
        ).write(self._run)


def check_rounds(rounds: Collection[int], last: int) -> None:
    """Raise ScenarioError unless a run of `last` rounds has all these rounds."""
    wrong = sorted(number for number in rounds if not 1 <= number <= last)
    if wrong:
        raise ScenarioError(f"keep_updates: got round {wrong[0]}, expected rounds from 1 to {last}.")
