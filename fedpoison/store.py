"""The run store: one folder a run, named by the content of its scenario."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Self

from filelock import BaseFileLock, FileLock, Timeout
from safetensors.torch import load_file, save
from torch import Tensor

from clients.parameters import Layout, split
from fedpoison.errors import RunError
from fedpoison.failure import Failure
from fedpoison.history import History
from fedpoison.rounds import Round
from fedpoison.scenario import Scenario
from fedpoison.writing import writing

PATIENCE = 5.0
"""Seconds to wait for another process with the same run: one that was made elsewhere is soon written."""
CENTRAL = "central-"
"""What the names of the folders of central training begin with; all others are a federated run's."""


class RunFolder:
    """Writes and reads the folder of one run.

    `scenario.toml`, `environment.json`, `rounds.jsonl` (one record a round, on disk before the next round
    begins) and, once the run is complete, `model.safetensors`; `updates/` where updates are kept;
    `failure.json` if it failed. A process that makes the run holds `.lock`, which stays there empty.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: BaseFileLock | None = None
        """Held from the beginning of a run that this process makes to its end."""

    @classmethod
    def begin(cls, path: Path, scenario: Scenario, environment: Mapping[str, object]) -> Self:
        """Make the folder for a run that starts now, in place of what an earlier one left there.

        It is this process's until the run finishes or fails, or the process ends in whatever way.

        Raises:
            RunError: the folder cannot be written, or another process is making the same run.
        """
        folder = cls(path)
        with writing(path, "; give another --out"):
            path.mkdir(parents=True, exist_ok=True)
            if not folder._take():
                raise RunError(
                    f"{path}: another process is making this very run; wait for it, or give another --out."
                )
            folder.discard()
            (path / "scenario.toml").write_text(scenario.to_toml(), encoding="utf-8")
            (path / "environment.json").write_text(json.dumps(environment, indent=2) + "\n", encoding="utf-8")
        return folder

    @property
    def rounds(self) -> Path:
        return self.path / "rounds.jsonl"

    @property
    def model(self) -> Path:
        return self.path / "model.safetensors"

    @property
    def updates(self) -> Path:
        """The folder of the updates that were kept, a file a round."""
        return self.path / "updates"

    @property
    def complete(self) -> bool:
        """Whether the run that the folder holds came to its end."""
        return self.model.is_file()

    @property
    def failure(self) -> Failure | None:
        """Why the run failed, if that was written down and it was not begun anew since.

        Raises:
            RunError: what was written down is damaged.
        """
        return self._noted()[0]

    @property
    def settled(self) -> Failure | None:
        """The same, where a sweep makes the run again only if it is asked to."""
        failure, settled = self._noted()
        return failure if settled else None

    def _noted(self) -> tuple[Failure | None, bool]:
        written = self.path / "failure.json"
        if not written.is_file():
            return None, False
        try:
            found = json.loads(written.read_text(encoding="utf-8"))
            return Failure(str(found["reason"]), bool(found.get("refused"))), bool(found.get("settled"))
        except (AttributeError, ValueError, KeyError, TypeError) as error:
            raise RunError(f"{written}: is damaged ({error}); delete it.") from None

    def fail(self, scenario: Scenario, failure: Failure, *, settled: bool = False) -> None:
        """Write down why the run of a scenario failed; the rounds that it came to are kept.

        Where another process is making the run, that is left to it.

        Args:
            scenario: of the run.
            failure: why there is no more of it.
            settled: whether a sweep makes the run again only if it is asked to. Where the strategy refused
                that is always so: it would again. Any other run may only have been lost.

        Raises:
            RunError: the folder cannot be written.
        """
        noted = {**asdict(failure), "settled": settled or failure.refused}
        with writing(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            if not self._take():
                return
            try:
                if self.complete:  # an earlier run, which would pass for this one
                    self.discard()
                (self.path / "scenario.toml").write_text(scenario.to_toml(), encoding="utf-8")
                _write_whole(self.path / "failure.json", json.dumps(noted).encode())
            finally:
                self._leave()

    @contextmanager
    def noting(self, scenario: Scenario) -> Iterator[None]:
        """Have an error that ends the run of a scenario written down on its way."""
        try:
            yield
        except Exception as error:
            with suppress(RunError):  # that it cannot be written says less than the error itself
                self.fail(scenario, Failure.of(error))
            raise
        except BaseException:
            self._leave()
            raise

    def discard(self) -> None:
        """Remove what an earlier run of the same scenario left."""
        self.model.unlink(missing_ok=True)
        (self.path / "failure.json").unlink(missing_ok=True)
        self.rounds.unlink(missing_ok=True)
        shutil.rmtree(self.updates, ignore_errors=True)

    def append(self, record: Round) -> None:
        """Write the record of a round, so that not even a power cut loses it.

        Raises:
            RunError: the folder cannot be written.
        """
        with writing(self.path), self.rounds.open("a", encoding="utf-8") as file:
            file.write(record.to_json() + "\n")
            file.flush()
            os.fsync(file.fileno())

    def finish(self, weights: Tensor, layout: Layout) -> None:
        """Write the final global weights (d,), which marks the run as complete.

        Raises:
            RunError: the folder cannot be written.
        """
        named = {name: part.clone() for (name, _), part in zip(layout, split(weights, layout), strict=True)}
        with writing(self.path):
            _write_whole(self.model, save(named))
        self._leave()

    def _take(self) -> bool:
        """Return whether the folder is this process's to write now."""
        path = self.path.resolve() / ".lock"
        self._lock = FileLock(path, timeout=PATIENCE, thread_local=False, is_singleton=True)
        try:
            self._lock.acquire()
        except Timeout:
            return False
        return True

    def _leave(self) -> None:
        if self._lock is not None:
            self._lock.release(force=True)

    def weights(self) -> dict[str, Tensor]:
        """Return the final global weights by parameter name."""
        return load_file(self.model)

    def environment(self) -> dict[str, object]:
        """Return what the run was made with; empty where that is missing or damaged."""
        try:
            found = json.loads((self.path / "environment.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def history(self) -> History:
        """Return what the folder holds, the rounds of an unfinished run included.

        Raises:
            RunError: there is no run in the folder, or a record is damaged.
        """
        try:
            lines = self.rounds.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError as error:
            raise RunError(f"{self.rounds}: is damaged ({error}).") from None
        except OSError:
            raise RunError(f"{self.path}: holds no run; give a folder with a rounds.jsonl.") from None
        scenario, records = Scenario.load(self.path / "scenario.toml"), _records(lines, self.rounds)
        if self.complete and [record.round for record in records[-1:]] != [scenario.rounds]:
            raise RunError(
                f"{self.rounds}: is damaged (the run is complete, but its last record is not of round "
                f"{scenario.rounds}); delete the folder, or make the run anew."
            )
        return History(scenario, records, self.path)


def _write_whole(path: Path, content: bytes) -> None:
    """Write a file that is there whole or not at all, whenever the power is cut."""
    unfinished = path.with_suffix(".unfinished")
    with unfinished.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)


def _records(lines: Sequence[str], path: Path) -> list[Round]:
    records = []
    for number, line in enumerate(lines, start=1):
        try:
            records.append(Round.from_json(line))
        except (ValueError, AttributeError, KeyError, TypeError) as error:
            if number == len(lines):  # the run was cut off while it wrote this one
                break
            raise RunError(f"{path}: line {number} is not a round's record ({error}).") from None
    return records
