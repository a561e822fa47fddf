"""Exceptions whose messages are written for users.

FedPoisonError
├── ScenarioError   a scenario that cannot run as written
├── DataError       a data set that is not available, or is damaged
├── RunError        a run that stopped early
│   ├── AggregationError   a round that the strategy could not aggregate
│   └── CrashError   an exception in the code of an attack, a strategy or a client
├── EngineError     an engine that did not start, or failed
└── CheckError      an attack or a rule that fails `check_attack` or `check_rule`
"""

from __future__ import annotations

import difflib
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path


class FedPoisonError(Exception):
    """Base class of all exceptions that fedpoison raises on purpose."""


class ScenarioError(FedPoisonError, ValueError):
    """The scenario cannot run as written: an unknown name, a wrong value or an unmet precondition."""


class DataError(FedPoisonError):
    """The data set is not available, or its files are damaged."""


class RunError(FedPoisonError):
    """The run stopped early, for example at a full disk, or its store cannot be read."""


class AggregationError(RunError):
    """The strategy could not aggregate a round: too few usable updates, or a non-finite result."""


class CrashError(RunError):
    """The code of an attack, a strategy or a client raised an exception, so the run has no result."""


class EngineError(FedPoisonError):
    """The engine failed: its runtime did not start, or ended with an error."""


class CheckError(FedPoisonError, AssertionError):
    """An attack or a rule lacks a required property, or its metadata card is wrong."""


def ensure(condition: object, subject: object, fault: str) -> None:
    """Raise a CheckError that names `subject` and `fault` if `condition` is false."""
    if not condition:
        raise CheckError(f"{subject!r} {fault}.")


@contextmanager
def file_errors(path: Path, remedy: str = "") -> Iterator[None]:
    """Convert an OSError into a RunError that names `path`, the reason and the remedy, if given.

    Raises:
        RunError: `path`, or a file in it, is not writable.
    """
    try:
        yield
    except OSError as error:
        raise RunError(f"{path}: cannot be written ({error.strerror}){remedy}.") from None


@contextmanager
def code_errors(place: str, kind: type[FedPoisonError] = CrashError) -> Iterator[None]:
    """Convert an unexpected exception into an error of this kind that names `place` and the cause.

    Args:
        place: Code in the context, such as the spec of an attack.
        kind: Class of the error. A ScenarioError is for code that fails when it is loaded.

    Raises:
        CrashError: the code raised an exception that is not a FedPoisonError, and `kind` is the default.
    """
    try:
        yield
    except FedPoisonError:
        raise
    except (Exception, SystemExit) as error:  # a script that calls sys.exit when it is loaded
        raise code_error(place, "".join(traceback.format_exception_only(error)), kind) from error


def code_error(place: str, cause: str, kind: type[FedPoisonError] = CrashError) -> FedPoisonError:
    """Return the error for an exception in the code that `place` names."""
    plain = [line for line in cause.splitlines() if line.strip() and not line.startswith((" ", "Traceback"))]
    line = plain[0] if plain else "no reason given"  # other lines are those of the call stack, or empty
    return kind(
        f"{place}: the code raised {line.strip().removesuffix('.')}; correct the code, or change the "
        "settings that it cannot work with."
    )


def unknown(kind: str, name: str, choices: Iterable[str]) -> ScenarioError:
    """Return the error for a name that is not among `choices`; its message suggests the nearest choice.

    >>> print(unknown("strategy", "kurm", ["krum", "median"]))
    unknown strategy 'kurm': did you mean 'krum'? Choose from krum, median.
    """
    names = sorted(choices)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    hint = f" did you mean {near[0]!r}?" if near else ""
    return ScenarioError(f"unknown {kind} {name!r}:{hint} Choose from {', '.join(names)}.")
