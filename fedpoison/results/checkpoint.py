"""Checkpoints: the state of a run after a round, from which the run continues with the same bits."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from fedpoison.errors import RunError, file_errors
from fedpoison.results.strict_json import to_json

FORMAT = 1
"""Version of the file format. Increase it if the meaning of a stored name changes."""
_META = "checkpoint"
"""Key of the description in the file's metadata."""

AGAIN = "start the run again: delete checkpoint.safetensors, or use --fresh"
"""Advice if a checkpoint cannot be used. In a batch, --fresh repeats the other runs, too."""

Key = tuple[str | int | None, ...]
"""Name of a tensor of the state. Its first part names the owner, as in `("client", 3, "momentum")`."""
RunState = Mapping[Key, Tensor]


def owned_by(owner: str, state: Mapping[Key, Tensor] | Mapping[str, Tensor]) -> dict[Key, Tensor]:
    """Return the state with the owner as the first part of each name.

    >>> owned_by("optimizer", {"velocity": torch.zeros(1)})
    {('optimizer', 'velocity'): tensor([0.])}
    """
    return {(owner, *((name,) if isinstance(name, str) else name)): kept for name, kept in state.items()}


def owner_state(owner: str, state: RunState) -> dict[Key, Tensor]:
    """Return the part of the state that belongs to the owner, without the first part of each name."""
    return {key[1:]: kept for key, kept in state.items() if key[0] == owner}


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """State of a run after one of its rounds."""

    run_id: str
    round: int
    """Last round that the state includes."""
    state: RunState = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Size of the tensors, in bytes."""
        return sum(kept.nbytes for kept in self.state.values())

    def copy(self) -> Self:
        """Return a checkpoint whose tensors are contiguous copies in main memory."""
        copies = {
            key: kept.detach().cpu().clone(memory_format=torch.contiguous_format)
            for key, kept in self.state.items()
        }
        return type(self)(self.run_id, self.round, copies)

    def write(self, path: Path) -> None:
        """Write the checkpoint. A write that is interrupted, even by a power cut, keeps the previous one.

        Raises:
            RunError: the file cannot be written.
        """
        named: dict[str, Tensor] = {}
        storages: set[int] = set()
        for key, kept in self.state.items():
            plain = kept.detach().cpu().contiguous()
            shared = plain.untyped_storage().data_ptr() in storages  # the format does not allow that
            storages.add(plain.untyped_storage().data_ptr())
            named[json.dumps(key)] = plain.clone() if shared else plain
        meta = {"format": FORMAT, "run_id": self.run_id, "round": self.round, "digest": _digest(named)}
        unfinished = path.with_suffix(".unfinished")
        with file_errors(path, "; free some space, or give another --out"):
            try:
                save_file(named, unfinished, {_META: to_json(meta)})
            except SafetensorError as error:
                raise RunError(f"{path}: cannot be written ({error}); free some space.") from None
            replace_durably(unfinished, path)

    @classmethod
    def read(cls, path: Path, run_id: str) -> Self:
        """Load the checkpoint of a run.

        Raises:
            RunError: the file is damaged, belongs to another run, or has a newer format.
        """
        try:
            with safe_open(path, framework="pt") as file:
                meta = json.loads(file.metadata()[_META])
                found = int(meta["format"])
                if found > FORMAT:
                    raise RunError(
                        f"{path}: has format {found}, expected at most {FORMAT}, because a newer fedpoison "
                        f"wrote it; update fedpoison, or {AGAIN}."
                    )
                # A copy is aligned like any other tensor, and the bits of some kernels depend on that.
                named = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
                state = {tuple(json.loads(name)): kept for name, kept in named.items()}
                stored = cls(str(meta["run_id"]), int(meta["round"]), state)
            fault = None if _digest(named) == meta["digest"] else "its content has changed"
        except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
            fault = str(error) or type(error).__name__
        if fault is not None:
            raise RunError(f"{path}: is damaged ({fault}); {AGAIN}.")
        if stored.run_id != run_id:
            raise RunError(
                f"{path}: belongs to the run {stored.run_id}, expected {run_id}; move it back, or {AGAIN}."
            )
        return stored


def replace_durably(unfinished: Path, path: Path) -> None:
    """Rename a written file to `path` so that a power cut leaves either the old file or the new one."""
    with unfinished.open("rb+") as file:
        os.fsync(file.fileno())
    unfinished.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _digest(named: Mapping[str, Tensor]) -> int:
    """Return a checksum of the names and values."""
    checksum = 0
    for name, kept in sorted(named.items()):
        checksum = zlib.crc32(name.encode(), checksum)
        checksum = zlib.crc32(kept.reshape(-1).view(torch.uint8).numpy().data, checksum)
    return checksum
