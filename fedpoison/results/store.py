"""The run store: one folder per run, named by the content of its scenario."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from hashlib import blake2b
from itertools import count
from pathlib import Path
from typing import Self

from filelock import BaseFileLock, FileLock, Timeout
from safetensors.torch import load_file, save
from torch import Tensor

from clients.training.parameters import Layout, split
from fedpoison.errors import RunError, file_errors
from fedpoison.results.history import History
from fedpoison.results.round import Failure, Round
from fedpoison.scenario.scenario import Scenario

LOCK_TIMEOUT = 5.0
"""Seconds to wait for another process that writes the same run."""
CENTRALIZED = "central-"
"""Prefix of the folder names of centralized training. All other folders contain federated runs."""


class StoredRun:
    """One run in the run store, for reading.

    Its folder contains `scenario.toml`, `environment.json` and `rounds.jsonl`. Each round's record is on disk
    before the next round begins. A complete run has `model.safetensors`, a failed run `failure.json`. Saved
    updates are in `updates/`. A process that writes the run locks `.lock`, an empty file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def rounds(self) -> Path:
        return self.path / "rounds.jsonl"

    @property
    def model(self) -> Path:
        return self.path / "model.safetensors"

    @property
    def updates(self) -> Path:
        """Folder of the saved updates, with one file per round."""
        return self.path / "updates"

    @property
    def complete(self) -> bool:
        """Whether the run finished."""
        return self.model.is_file()

    @property
    def failure(self) -> Failure | None:
        """Reason why the run failed. None: it did not fail, or it started again after the failure.

        Raises:
            RunError: the record of the failure is damaged.
        """
        written = self.path / "failure.json"
        if not written.is_file():
            return None
        try:
            found = json.loads(written.read_text(encoding="utf-8"))
            return Failure(str(found["reason"]), bool(found.get("refused")), bool(found.get("settled")))
        except (AttributeError, ValueError, KeyError, TypeError) as error:
            raise RunError(f"{written}: is damaged ({error}); delete it.") from None

    @property
    def permanent(self) -> Failure | None:
        """Failure of a run that a sweep repeats only with `retry_failed`."""
        return self.failure if self.failure is not None and self.failure.permanent else None

    @property
    def stopped(self) -> bool:
        """Whether the strategy could not aggregate a round, which counts as the worst result."""
        return self.failure is not None and self.failure.aggregation_failed

    @property
    def progress(self) -> tuple[bool, int]:
        """Whether the run is complete, and its number of records. A later state compares as greater."""
        return self.complete, len(self.history.records)

    def weights(self) -> dict[str, Tensor]:
        """Return the final global weights by parameter name."""
        return load_file(self.model)

    @cached_property
    def environment(self) -> Mapping[str, object]:
        """Versions, machine and options of the run; empty if the file is missing or damaged."""
        try:
            found = json.loads((self.path / "environment.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    @cached_property
    def history(self) -> History:
        """Scenario and records, loaded once. An unfinished run has the records of its finished rounds.

        Raises:
            RunError: the folder contains no run, or a record is damaged.
        """
        try:
            lines = self.rounds.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError as error:
            raise RunError(f"{self.rounds}: is damaged ({error}).") from None
        except OSError:
            if self.failure is None or self.rounds.exists():
                raise RunError(f"{self.path}: contains no run; give a folder with a rounds.jsonl.") from None
            lines = []  # the run failed before its first record
        scenario, records = Scenario.load(self.path / "scenario.toml"), _records(lines, self.rounds)
        if self.complete and [record.round for record in records[-1:]] != [scenario.rounds]:
            raise RunError(
                f"{self.rounds}: is damaged (the run is complete, but its last record is not of round "
                f"{scenario.rounds}); delete the folder, or run the scenario again."
            )
        return History(scenario, records, self.path)


class RunWriter:
    """Writer of the folder of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._run = StoredRun(path)
        self._lock: BaseFileLock | None = None
        """Lock from the start of a run in this process to its end."""

    @classmethod
    def begin(cls, path: Path, scenario: Scenario, environment: Mapping[str, object]) -> Self:
        """Create the folder of a run that starts now. Remove the files of an earlier run.

        The folder is locked until the run finishes or fails, or until the process ends.

        Raises:
            RunError: the folder cannot be written, or another process writes the same run.
        """
        writer = cls(path)
        with file_errors(path, "; give another --out"):
            path.mkdir(parents=True, exist_ok=True)
            if not writer._acquire():
                problem = "another process writes the same run; wait for it, or give another --out."
                raise RunError(f"{path}: {problem}")
            writer.discard()
            (path / "scenario.toml").write_text(scenario.to_toml(), encoding="utf-8")
            (path / "environment.json").write_text(json.dumps(environment, indent=2) + "\n", encoding="utf-8")
        return writer

    def append(self, record: Round) -> None:
        """Write the record of a round to disk, so that a power cut does not lose it.

        Raises:
            RunError: the folder cannot be written.
        """
        with file_errors(self.path), self._run.rounds.open("a", encoding="utf-8") as file:
            file.write(record.to_json() + "\n")
            file.flush()
            os.fsync(file.fileno())

    def finish(self, weights: Tensor, layout: Layout) -> None:
        """Write the final global weights (d,), which marks the run as complete.

        Raises:
            RunError: the folder cannot be written.
        """
        named = {name: part.clone() for (name, _), part in zip(layout, split(weights, layout), strict=True)}
        with file_errors(self.path):
            _write_whole(self._run.model, save(named))
        self._release()

    def fail(self, scenario: Scenario, failure: Failure, *, permanent: bool = False) -> None:
        """Write why the run of a scenario failed. Keep its records.

        If another process writes the same run, do nothing.

        Args:
            scenario: the scenario of the run.
            failure: why the run failed.
            permanent: whether a sweep repeats the run only with `retry_failed`. A failure of the strategy is
                always permanent, because it would happen again.

        Raises:
            RunError: the folder cannot be written.
        """
        content = {
            "reason": failure.reason,
            "refused": failure.aggregation_failed,
            "settled": permanent or failure.aggregation_failed,
        }
        with file_errors(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            if not self._acquire():
                return
            try:
                if self._run.complete:  # an earlier run, which would count as this one
                    self.discard()
                (self.path / "scenario.toml").write_text(scenario.to_toml(), encoding="utf-8")
                _write_whole(self.path / "failure.json", json.dumps(content).encode())
            finally:
                self._release()

    @contextmanager
    def record_failure(self, scenario: Scenario) -> Iterator[None]:
        """Write an error that ends the run of a scenario, and raise it again."""
        try:
            yield
        except Exception as error:
            with suppress(RunError):  # the error itself is more important
                self.fail(scenario, Failure.from_error(error))
            raise
        except BaseException:
            self._release()
            raise

    def discard(self) -> None:
        """Remove the files of an earlier run of the same scenario."""
        self._run.model.unlink(missing_ok=True)
        (self.path / "failure.json").unlink(missing_ok=True)
        self._run.rounds.unlink(missing_ok=True)
        shutil.rmtree(self._run.updates, ignore_errors=True)

    def _acquire(self) -> bool:
        """Lock the folder for this process. Return whether that succeeded."""
        path = self.path.resolve() / ".lock"
        self._lock = FileLock(path, timeout=LOCK_TIMEOUT, thread_local=False, is_singleton=True)
        try:
            self._lock.acquire()
        except Timeout:
            return False
        return True

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.release(force=True)


def _write_whole(path: Path, content: bytes) -> None:
    """Write a file. A write that is interrupted, even by a power cut, leaves no file."""
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
            if number == len(lines):  # the run was interrupted while it wrote this line
                break
            problem = f"line {number} is not a round's record ({error}); run the scenario again."
            raise RunError(f"{path}: {problem}") from None
    return records


LONGEST = 150
"""Largest number of letters in a file name. File systems allow 255 bytes."""


def file_name(name: str, taken: Collection[str] = ()) -> str:
    """Return the name with letters, digits and hyphens only. If it is taken, append a number.

    A long name is cut, and ends with a digest of the whole name.

    >>> file_name("sign-flip(factor=-5)"), file_name("sign-flip(factor=.5)", ["sign-flip-factor-5"])
    ('sign-flip-factor-5', 'sign-flip-factor-5-2')
    """
    plain = re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-")
    if len(plain) > LONGEST:
        plain = f"{plain[:LONGEST].rstrip('-')}-{_digest(name)}"
    numbered = (plain if number == 1 else f"{plain}-{number}" for number in count(1))
    return next(free for free in numbered if free not in taken)


def content_name(kind: str, *content: object) -> str:
    """Return a name that depends on the content only.

    >>> content_name("compare", "median", (0, 1))
    'compare-b17fabbc'
    """
    return f"{kind}-{_digest(repr(content))}"


def _digest(text: str) -> str:
    return blake2b(text.encode(), digest_size=4).hexdigest()
