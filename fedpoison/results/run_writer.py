"""Writer of the folder of one run: it starts, continues or repeats the run, and never destroys a result."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

from filelock import BaseFileLock, FileLock, Timeout
from safetensors.torch import save
from torch import Tensor

from fedpoison.errors import RunError, file_errors
from fedpoison.own_code import files_in
from fedpoison.results.checkpoint import AGAIN, Checkpoint, replace_durably
from fedpoison.results.round import Failure, Round
from fedpoison.results.store import StoredRun, parse_records
from fedpoison.results.strict_json import to_json
from fedpoison.scenario.scenario import Scenario

LOCK_TIMEOUT = 5.0
"""Seconds to wait for another process that writes the same run."""
REPEAT = "repeat"
"""Folder, in the folder of a complete run, in which the run is repeated."""
_REPLACED = "replaced-updates"
_OF_RUN = ("command", "engine", "workers", "started", "packages", "sources")
"""Entries of the environment that are stored for each continuation of a run."""


class RunWriter:
    """Writer of the folder of one run.

    A complete run is repeated in the subfolder `repeat`. At the end, the new files replace the old ones.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.records: list[Round] = []
        """Records up to the checkpoint from which the run continues."""
        self.checkpoint: Checkpoint | None = None
        """State from which the run continues. None: the run starts with round 1."""
        self.notice: str | None = None
        """How this run uses what the folder contained. None: the folder contained nothing of use."""
        self._run = StoredRun(path)
        """Run that this writer writes: in the folder itself, or in the subfolder `repeat`."""
        self._lock: BaseFileLock | None = None
        """Lock from the start of a run in this process to its end."""

    @classmethod
    def begin(
        cls,
        path: Path,
        scenario: Scenario,
        environment: Mapping[str, object],
        *,
        fresh: bool = False,
        keep_updates: Collection[int] = (),
    ) -> Self:
        """Prepare the folder of a run that starts or continues now.

        The folder is locked until the run finishes or fails, or until the process ends.

        Args:
            path: folder of the run.
            scenario: scenario of the run.
            environment: content of `environment.json`.
            fresh: whether to start with round 1 in place of a stored checkpoint.
            keep_updates: rounds whose updates the run saves.

        Raises:
            RunError: the folder cannot be written, another process writes the same run, or the checkpoint is
                damaged or belongs to another run or version.
        """
        writer = cls(path)
        with file_errors(path, "; give another --out"):
            path.mkdir(parents=True, exist_ok=True)
            if not writer._acquire():
                problem = "another process writes the same run; wait for it, or give another --out."
                raise RunError(f"{path}: {problem}")
            try:
                writer._prepare(scenario, environment, keep_updates, fresh=fresh)
            except BaseException:
                writer.release()
                raise
        return writer

    @property
    def folder(self) -> Path:
        """Folder of the files that this run writes."""
        return self._run.path

    def append(self, record: Round) -> None:
        """Write the record of a round to disk, so that a power cut does not lose it.

        Raises:
            RunError: the folder cannot be written.
        """
        with file_errors(self.folder), self._run.rounds.open("a", encoding="utf-8") as file:
            file.write(record.to_json() + "\n")
            file.flush()
            os.fsync(file.fileno())

    def save(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint, which replaces the previous one.

        Raises:
            RunError: the folder cannot be written.
        """
        checkpoint.write(self._run.checkpoint)

    def finish(self, model: Mapping[str, Tensor]) -> None:
        """Write the final global model, by name, which marks the run as complete.

        Raises:
            RunError: the folder cannot be written.
        """
        with file_errors(self.folder):
            _write_whole(self._run.model, save(dict(model)))
            self._run.checkpoint.unlink(missing_ok=True)
            self._replace_repeated()
        self.release()

    def fail(self, scenario: Scenario, failure: Failure, *, permanent: bool = False) -> None:
        """Write why the run of a scenario failed. Keep its records and its checkpoint.

        If another process writes the same run, or if an earlier run is complete, do nothing.

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
        stored = StoredRun(self.path)
        with file_errors(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            if not self._acquire():
                return
            try:
                if stored.complete:
                    return
                _write_whole(stored.scenario, scenario.to_toml().encode())
                _write_whole(self.path / "failure.json", to_json(content).encode())
            finally:
                self.release()

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
            self.release()
            raise

    def discard(self) -> None:
        """Remove the files that an earlier, unfinished run of the same scenario left."""
        self._run.model.unlink(missing_ok=True)
        (self.folder / "failure.json").unlink(missing_ok=True)
        self._run.rounds.unlink(missing_ok=True)
        self._run.checkpoint.unlink(missing_ok=True)
        shutil.rmtree(self._run.updates, ignore_errors=True)

    def release(self) -> None:
        """Unlock the folder."""
        if self._lock is not None:
            self._lock.release(force=True)

    def _prepare(
        self,
        scenario: Scenario,
        environment: Mapping[str, object],
        keep_updates: Collection[int],
        *,
        fresh: bool,
    ) -> None:
        self._replace_repeated()
        if self._run.complete:
            if not fresh:  # otherwise, the user asked for it
                self.notice = (
                    f"{self.path}: the run is complete, and is repeated now. Its model, records and saved "
                    "updates stay until the end, and are replaced then."
                )
            self._run = StoredRun(self.path / REPEAT)
            self.folder.mkdir(exist_ok=True)
        else:
            shutil.rmtree(self.path / REPEAT, ignore_errors=True)
        if self._run.checkpoint.is_file() and not fresh:
            self._continue(scenario, environment, keep_updates)
        if self.checkpoint is None:
            self.discard()
            self._write_scenario(scenario)
            _write_whole(self._run.provenance, _json(environment))

    def _write_scenario(self, scenario: Scenario) -> None:
        """Write the scenario, and the user's code that it names, with which the run can be replayed."""
        text = scenario.to_toml()
        for file in files_in(text):
            folder = self._run.code / file.digest
            folder.mkdir(parents=True, exist_ok=True)
            _write_whole(folder / file.name, file.content)
        _write_whole(self._run.scenario, text.encode())

    def _continue(
        self, scenario: Scenario, environment: Mapping[str, object], keep_updates: Collection[int]
    ) -> None:
        """Continue from the checkpoint, unless it is too late for the updates that the run has to save."""
        checkpoint = Checkpoint.read(self._run.checkpoint, scenario.run_id)
        known = self._run.environment
        self._check_code(known, environment)
        missing = [
            kept
            for kept in sorted(keep_updates)
            if kept <= checkpoint.round and not self._run.updates_of(kept).is_file()
        ]
        if missing:
            self.notice = (
                f"{self.folder}: the run starts again with round 1, because the updates of round "
                f"{missing[0]} were not saved before the checkpoint."
            )
            return
        self.records = self._records_until(checkpoint, scenario)
        _write_whole(self._run.rounds, "".join(f"{each.to_json()}\n" for each in self.records).encode())
        (self.folder / "failure.json").unlink(missing_ok=True)
        now = {name: environment[name] for name in _OF_RUN if name in environment}
        before = known.get("continued")
        others = before if isinstance(before, list) else []
        if others and others[-1].get("after_round") == checkpoint.round:
            others = others[:-1]  # Flower's process continues what the command began
        continued = [*others, {"after_round": checkpoint.round, **now}]
        _write_whole(self._run.provenance, _json({**known, "continued": continued}))
        self.checkpoint = checkpoint
        self.notice = (
            f"{self.folder}: the run continues after round {checkpoint.round} of {scenario.rounds}. "
            "To start it again with round 1, use --fresh."
        )

    def _check_code(self, known: Mapping[str, object], environment: Mapping[str, object]) -> None:
        """Raise RunError if other code wrote the checkpoint, because names of its state can have changed."""
        theirs, ours = _code(known), _code(environment)
        if theirs != ours:
            raise RunError(
                f"{self._run.checkpoint}: was written by other code ({_words(theirs)}), expected "
                f"{_words(ours)}; use that code, or {AGAIN}."
            )

    def _records_until(self, checkpoint: Checkpoint, scenario: Scenario) -> list[Round]:
        """Return the records up to the checkpoint. The run repeats the rounds after it."""
        lines = self._run.rounds.read_text(encoding="utf-8", errors="replace").splitlines()
        records = [
            record for record in parse_records(lines, self._run.rounds) if record.round <= checkpoint.round
        ]
        expected = [number for number in range(checkpoint.round + 1) if scenario.evaluates(number)]
        if [record.round for record in records] != expected:
            raise RunError(
                f"{self._run.rounds}: lacks records of rounds before the checkpoint of round "
                f"{checkpoint.round}; {AGAIN}."
            )
        return records

    def _replace_repeated(self) -> None:
        """If the repeated run is complete, replace the files of the earlier run by its files.

        The model comes last. If the process is killed before that, the next start replaces the rest.
        """
        old, new = StoredRun(self.path), StoredRun(self.path / REPEAT)
        if not new.complete:
            return
        replaced = new.path / _REPLACED
        if not replaced.exists() and not _same_content(old.model, new.model):
            if old.updates.exists():
                old.updates.rename(replaced)  # updates of another result
            else:
                replaced.mkdir()
        if new.updates.is_dir():
            old.updates.mkdir(exist_ok=True)
            for kept in new.updates.iterdir():
                kept.replace(old.updates / kept.name)
        (old.path / "failure.json").unlink(missing_ok=True)
        for name in ("scenario", "provenance", "rounds", "model"):
            written: Path = getattr(new, name)
            if written.exists():
                replace_durably(written, getattr(old, name))
        shutil.rmtree(new.path, ignore_errors=True)
        self._run = old

    def _acquire(self) -> bool:
        """Lock the folder for this process. Return whether that succeeded."""
        path = self.path.resolve() / ".lock"
        self._lock = FileLock(path, timeout=LOCK_TIMEOUT, thread_local=False, is_singleton=True)
        try:
            self._lock.acquire()
        except Timeout:
            return False
        return True


def _write_whole(path: Path, content: bytes) -> None:
    """Write a file. A write that is interrupted, even by a power cut, keeps the previous file."""
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_bytes(content)
    replace_durably(unfinished, path)


def _same_content(one: Path, other: Path) -> bool:
    return one.is_file() and one.read_bytes() == other.read_bytes()


def _json(environment: Mapping[str, object]) -> bytes:
    return (to_json(environment, indent=2) + "\n").encode()


def _code(environment: Mapping[str, object]) -> dict[str, object]:
    """Return the entries of an environment on which the meaning and the bits of a state depend."""
    packages = environment.get("packages")
    installed = packages if isinstance(packages, dict) else {}
    versions = {name: installed.get(name) for name in ("fedpoison", "torch", "numpy")}
    return {**versions, "sources": environment.get("sources")}


def _words(code: Mapping[str, object]) -> str:
    return ", ".join(f"{name} {value or 'unknown'}" for name, value in code.items())
