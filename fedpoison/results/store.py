"""The run store: one folder per run, named by the content of its scenario."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from hashlib import blake2b
from itertools import count
from pathlib import Path

from packaging.version import InvalidVersion, Version
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from fedpoison import __version__
from fedpoison.errors import FedPoisonError, RunError
from fedpoison.own_code import defer_code, remember
from fedpoison.results.history import History
from fedpoison.results.round import Failure, Round
from fedpoison.scenario.scenario import Scenario

RUN_ID = r"[0-9a-f]{12}"
"""Names of folders that are run ids."""
CENTRALIZED = "central-"
"""Prefix of the folder names of centralized training. All other folders contain federated runs."""


class StoredRun:
    """One run in the run store, for reading.

    Its folder contains `scenario.toml`, `environment.json` and `rounds.jsonl`. Each round's record is on disk
    before the next round begins. A complete run has `model.safetensors`, a failed run `failure.json`. Saved
    updates are in `updates/`, and the user's code in `code/`. An unfinished run continues from
    `checkpoint.safetensors`. If a complete run is repeated, the new run is in `repeat/` until its end. A
    process that writes the run locks `.lock`.
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
    def scenario(self) -> Path:
        return self.path / "scenario.toml"

    @property
    def provenance(self) -> Path:
        return self.path / "environment.json"

    @property
    def checkpoint(self) -> Path:
        """State of an unfinished run, from which the run continues."""
        return self.path / "checkpoint.safetensors"

    @property
    def code(self) -> Path:
        """Folder with the user's code that the scenario names, in one folder per digest."""
        return self.path / "code"

    @property
    def updates(self) -> Path:
        """Folder of the saved updates, with one file per round."""
        return self.path / "updates"

    def updates_of(self, server_round: int) -> Path:
        """Return the file with the saved updates of a round."""
        return self.updates / f"round-{server_round:04d}.safetensors"

    @property
    def complete(self) -> bool:
        """Whether the run finished, and the file of its model is whole."""
        return self.model.is_file() and _is_whole(self.model)

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
        """Return the final global weights by parameter name.

        Raises:
            RunError: the run is not complete, or the file is damaged.
        """
        try:
            return load_file(self.model)
        except (SafetensorError, OSError) as error:
            raise RunError(f"{self.model}: cannot be read ({error}); run the scenario again.") from None

    @cached_property
    def environment(self) -> Mapping[str, object]:
        """Versions, machine and options of the run; empty if the file is missing or damaged."""
        try:
            found = json.loads(self.provenance.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes; empty if they have none."""
        names = self.environment.get("classes")
        return tuple(map(str, names)) if isinstance(names, list) else ()

    @cached_property
    def history(self) -> History:
        """Scenario and records, loaded once. An unfinished run has the records of its finished rounds.

        The code of users that the scenario names does not run before the scenario runs again.

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
        scenario = self._scenario()
        records = parse_records(lines, self.rounds, self._newer)
        if self.model.is_file() and not self.complete:
            raise RunError(f"{self.model}: is damaged (it was cut off); run the scenario again.")
        if self.complete and [record.round for record in records[-1:]] != [scenario.rounds]:
            raise RunError(
                f"{self.rounds}: is damaged (the run is complete, but its last record is not of round "
                f"{scenario.rounds}); delete the folder, or run the scenario again."
            )
        centralized = self.path.name.startswith(CENTRALIZED)
        return History(scenario, records, self.path, self.class_names, centralized)

    @property
    def _newer(self) -> str:
        """End of the message about a file that cannot be read, if a newer fedpoison wrote it."""
        packages = self.environment.get("packages")
        theirs = str(packages.get("fedpoison", "")) if isinstance(packages, dict) else ""
        try:
            newer = Version(theirs) > Version(__version__)
        except InvalidVersion:
            return ""
        return f"; fedpoison {theirs} wrote it, and this is {__version__}: update fedpoison" if newer else ""

    def _scenario(self) -> Scenario:
        """Return the scenario, or raise RunError if its file is not that of this folder."""
        for file in sorted(self.code.glob("*/*.py")):
            remember(file.name, file.read_bytes(), file.absolute())
        try:
            with defer_code():
                scenario = Scenario.load(self.scenario)
        except FedPoisonError as error:
            raise RunError(f"{self.scenario}: cannot be read ({error}){self._newer}.") from None
        if re.fullmatch(RUN_ID, self.path.name) and scenario.run_id != self.path.name:
            raise RunError(
                f"{self.scenario}: is damaged, or the folder was renamed (the scenario has the run id "
                f"{scenario.run_id}, expected {self.path.name}); run the scenario again."
            )
        return scenario


def _is_whole(path: Path) -> bool:
    """Return whether a file of safetensors has the length that its header gives."""
    with path.open("rb") as file:
        start = file.read(8)
        size = int.from_bytes(start, "little")
        if len(start) < 8 or size > path.stat().st_size:  # the header begins with its length
            return False
        try:
            header = json.loads(file.read(size))
            ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
        except (ValueError, AttributeError, KeyError, TypeError, IndexError):
            return False
    return 8 + size + max(ends, default=0) == path.stat().st_size


def parse_records(lines: Sequence[str], path: Path, remedy: str = "") -> list[Round]:
    """Return the records in the lines of a file. A last line that was interrupted is left out.

    Args:
        lines: Lines of the file.
        path: The file, for messages.
        remedy: End of the message for a line that is not a record. Default: to run the scenario again.

    Raises:
        RunError: another line is not a record.
    """
    records = []
    for number, line in enumerate(lines, start=1):
        try:
            records.append(Round.from_json(line))
        except (ValueError, AttributeError, KeyError, TypeError) as error:
            if number == len(lines) and isinstance(error, json.JSONDecodeError):
                break  # the run was interrupted while it wrote this line
            problem = f"line {number} is not a round's record ({error})"
            raise RunError(f"{path}: {problem}{remedy or '; run the scenario again'}.") from None
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
