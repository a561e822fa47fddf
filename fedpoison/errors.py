"""What can go wrong, for a user to read.

FedPoisonError
├── ScenarioError   a scenario that cannot be run as written
├── DataError       a data set that cannot be had, or is damaged
├── RunError        a run that had to stop
│   └── RefusalError   the strategy had no answer to the updates of a round
├── EngineError     an engine that could not do its work
└── CheckError      an attack or a rule that fails `check_attack` or `check_rule`
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path


class FedPoisonError(Exception):
    """The root: whoever catches it catches everything that fedpoison raises on purpose."""


class ScenarioError(FedPoisonError, ValueError):
    """A scenario cannot be run as written: an unknown name, a wrong value, an unmet precondition."""


class DataError(FedPoisonError):
    """A data set cannot be had, or its files are damaged."""


class RunError(FedPoisonError):
    """A run had to stop: too few usable updates were left, or its store cannot be read."""


class AggregationError(RunError):
    """A strategy had no answer to the updates of a round: too few were left, or they made no finite model."""


class EngineError(FedPoisonError):
    """An engine could not do its work: a runtime did not start, or ended with an error."""


class CheckError(FedPoisonError, AssertionError):
    """An attack or a rule lacks a property that all attacks or rules must have, or its card is wrong."""


def ensure(condition: object, subject: object, fault: str) -> None:
    """Raise CheckError, which names the `subject` and its `fault`, unless the condition holds."""
    if not condition:
        raise CheckError(f"{subject!r} {fault}.")


@contextmanager
def file_errors(path: Path, remedy: str = "") -> Iterator[None]:
    """Turn an OSError into a RunError that names `path`, the reason and, if given, the remedy.

    Raises:
        RunError: `path`, or a file in it, cannot be written.
    """
    try:
        yield
    except OSError as error:
        raise RunError(f"{path}: cannot be written ({error.strerror}){remedy}.") from None


def unknown(kind: str, name: str, choices: Iterable[str]) -> ScenarioError:
    """Return the error for a name that is not among `choices`, with the nearest one suggested.

    >>> print(unknown("strategy", "kurm", ["krum", "median"]))
    unknown strategy 'kurm': did you mean 'krum'? Choose from krum, median.
    """
    names = sorted(choices)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    hint = f" did you mean {near[0]!r}?" if near else ""
    return ScenarioError(f"unknown {kind} {name!r}:{hint} Choose from {', '.join(names)}.")
