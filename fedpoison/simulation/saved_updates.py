"""The updates of single rounds, kept beside a run so that other rules can be tried on them."""

from __future__ import annotations

import re
import shutil
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from fedpoison.errors import RunError, ScenarioError
from fedpoison.federation.federation import Federation
from fedpoison.federation.messages import Update
from fedpoison.results.store import StoredRun


@dataclass(frozen=True, eq=False, kw_only=True)
class SavedUpdates:
    """What the server aggregated in one round: n usable updates, ordered by node."""

    round: int
    model: Tensor
    """The global weights that the nodes started from, (d,)."""
    updates: Tensor
    """(n, d)."""
    weights: Tensor
    """The weight of each update, such as its node's number of samples, (n,) float64."""
    nodes: Tensor
    """The node behind each row, (n,) int64."""
    malicious: Tensor
    """Whether that node is malicious, (n,) bool."""
    acting: Tensor
    """Whether it attacked in this round, (n,) bool."""

    @property
    def attacking_clients(self) -> list[int]:
        """The nodes that attacked."""
        attackers: list[int] = self.nodes[self.acting].tolist()
        return attackers

    def write(self, run: Path) -> None:
        """Write the updates into a run's folder, whole or not at all.

        Raises:
            RunError: they cannot be written.
        """
        path = updates_path(run, self.round)
        tensors = {name: value for name, value in vars(self).items() if isinstance(value, Tensor)}
        unfinished = path.with_suffix(".unfinished")
        try:
            path.parent.mkdir(exist_ok=True)
            save_file({name: value.cpu().contiguous() for name, value in tensors.items()}, unfinished)
            shutil.copymode(StoredRun(run).rounds, unfinished)  # safetensors lets nobody else read
            unfinished.replace(path)
        except (OSError, SafetensorError) as error:
            raise RunError(f"{path}: cannot be written ({error}); keep fewer rounds' updates.") from None

    @classmethod
    def read(cls, run: Path, server_round: int) -> Self:
        """Return what a run's folder holds of a round.

        Raises:
            RunError: the round's updates were not kept, or the file is damaged.
        """
        path = updates_path(run, server_round)
        if not path.is_file():
            kept = ", ".join(map(str, saved_rounds(run))) or "none"
            raise RunError(
                f"{run}: the updates of round {server_round} were not kept (those of {kept} were); "
                f"run the scenario again with --keep-updates {server_round}."
            )
        try:
            return cls(round=server_round, **load_file(path))
        except (SafetensorError, TypeError) as error:
            raise RunError(f"{path}: does not hold a round's updates ({error}).") from None


def updates_path(run: Path, server_round: int) -> Path:
    """Return where a run's folder keeps the updates of a round."""
    return StoredRun(run).updates / f"round-{server_round:04d}.safetensors"


def saved_rounds(run: Path) -> list[int]:
    """Return the rounds whose updates a run's folder holds, ascending."""
    names = (re.fullmatch(r"round-(\d+)", path.stem) for path in StoredRun(run).updates.glob("*.safetensors"))
    return sorted(int(name[1]) for name in names if name)


class UpdateRecorder:
    """Keeps the updates of some rounds of a federation in its run's folder."""

    def __init__(self, run: Path, federation: Federation, rounds: Collection[int]) -> None:
        self._run = run
        self._federation = federation
        self._rounds = frozenset(rounds)

    def __call__(self, server_round: int, model: Tensor, updates: Sequence[Update], matrix: Tensor) -> None:
        """Write what the usable replies of a round hold, if it is one of the rounds."""
        if server_round not in self._rounds:
            return
        client_ids = [update.client_id for update in updates]
        selection = self._federation.selection
        malicious, attacking = selection.malicious(server_round), selection.attacking(server_round)
        SavedUpdates(
            round=server_round,
            model=model,
            updates=matrix,
            weights=torch.tensor([update.examples for update in updates], dtype=torch.float64),
            nodes=torch.tensor(client_ids),
            malicious=torch.tensor([client_id in malicious for client_id in client_ids]),
            acting=torch.tensor([client_id in attacking for client_id in client_ids]),
        ).write(self._run)


def check_rounds(rounds: Collection[int], last: int) -> None:
    """Raise ScenarioError unless the rounds are ones of a run of `last` rounds."""
    wrong = sorted(number for number in rounds if not 1 <= number <= last)
    if wrong:
        raise ScenarioError(f"keep_updates: got round {wrong[0]}, wanted rounds from 1 to {last}.")
