"""Outcomes of random scenarios: a consistent result, an error of ours, or a finding."""

from __future__ import annotations

import contextlib
import io
import logging
import random
import signal
import traceback
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import Literal

import numpy as np
import torch

from experiments.fuzz.consistency import inconsistencies
from experiments.fuzz.repeats import repeats
from experiments.fuzz.scenarios import Drawn
from fedpoison.data import Dataset
from fedpoison.engines.options import EngineOptions
from fedpoison.errors import CheckError, CrashError, DataError, EngineError, FedPoisonError
from fedpoison.federation.federation import Federation
from fedpoison.results.round import Round
from fedpoison.scenario.scenario import Scenario
from fedpoison.simulation.run import run_federation

UNEXPECTED = (CheckError, CrashError, DataError, EngineError)
"""Our errors that no scenario of the registries causes by itself."""


Kind = Literal["complete", "refused", "stopped", "endless", "failed"]
"""`complete`: the run has a result. `refused`: an error before the first round. `stopped`: an error later.
`endless`: the scenario asks for more work than the time limit allows. `failed`: another exception."""


class TimeLimitError(BaseException):
    """A scenario took too long. It is no Exception, so that no code under test catches it."""


@dataclass(frozen=True)
class Outcome:
    """Outcome of one random scenario."""

    drawn: Drawn
    kind: Kind
    message: str = ""
    """Message of the error."""
    findings: tuple[str, ...] = ()
    """Faults, empty if the outcome is as promised."""


@dataclass
class _Trace:
    """What a run left next to its result."""

    records: list[Round] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)


def examine(drawn: Drawn, dataset: Dataset, *, limit: float) -> Outcome:
    """Run a random scenario in a temporary store, and check its outcome.

    Args:
        drawn: the scenario.
        dataset: data set that the scenario names.
        limit: longest time, in seconds. Call in the main thread, which receives the signal.
    """
    trace = _Trace()
    kind: Kind = "failed"
    message = ""
    try:
        with _observed(trace), time_limit(limit), TemporaryDirectory(prefix="fedpoison-fuzz-") as scratch:
            _run(drawn, dataset, Path(scratch), trace)
        kind = "complete"
    except UNEXPECTED as error:
        trace.findings.append(_described(error))
    except FedPoisonError as error:
        kind, message = ("stopped" if trace.records else "refused"), str(error)
        if not message.strip() or "\n" in message or "Traceback" in message:
            trace.findings.append(f"the message is not one line: {message!r}")
    except TimeLimitError as error:
        if drawn.endless and trace.records:
            return Outcome(drawn, "endless", "", tuple(trace.findings))
        trace.findings.append(f"the time limit: {_last_call(error)}")
    except Exception as error:  # noqa: BLE001  # a raw exception of any kind is a finding
        trace.findings.append(_described(error))
    return Outcome(drawn, kind, message, tuple(trace.findings))


def _run(drawn: Drawn, dataset: Dataset, store: Path, trace: _Trace) -> None:
    federation = Federation(Scenario.parse(drawn.fields), dataset)
    history = run_federation(
        federation,
        EngineOptions(workers=1, device="cpu"),
        out=store,
        on_round=trace.records.append,
        notify=trace.notices.append,
    )
    trace.findings.extend(inconsistencies(federation, history))
    trace.findings.extend(_bad_notices(trace.notices))
    for repeat in repeats(drawn.index):
        trace.findings.extend(repeat(federation, history))


def _bad_notices(notices: list[str]) -> Iterator[str]:
    for notice in notices:
        if not notice.strip() or "\n" in notice:
            yield f"a notice is not one line: {notice!r}"


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise TimeLimitError in the main thread after this time, and every second after it.

    Raises:
        TimeLimitError: the context took too long.
    """

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise TimeLimitError

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextlib.contextmanager
def _observed(trace: _Trace) -> Iterator[None]:
    """Note warnings, log records, printed text and draws from global generators as findings."""
    logged, printed = _Logged(), io.StringIO()
    states = _global_states()
    logging.getLogger().addHandler(logged)
    try:
        with (
            warnings.catch_warnings(record=True) as caught,
            contextlib.redirect_stdout(printed),
            contextlib.redirect_stderr(printed),
        ):
            warnings.simplefilter("always")
            yield
    finally:
        logging.getLogger().removeHandler(logged)
        found = [
            f"a warning: {item.category.__name__}: {item.message} [{_place(item.filename, item.lineno)}]"
            for item in caught
        ]
        found += [f"a log record: {text}" for text in logged.texts]
        found += [f"printed text: {printed.getvalue()!r}"] if printed.getvalue() else []
        found += ["a draw from a global generator"] if states != _global_states() else []
        trace.findings.extend(dict.fromkeys(found))


class _Logged(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(f"{record.name}: {record.getMessage()}")


def _global_states() -> tuple[object, ...]:
    numpy_state = np.random.get_state(legacy=False)  # noqa: NPY002  # to see that nothing draws from it
    return torch.get_rng_state().numpy().tobytes(), str(numpy_state), random.getstate()


def _described(error: BaseException) -> str:
    """Return the kind, the message and the place of an exception."""
    cause = error.__cause__ or error
    return f"{type(error).__name__}: {' '.join(str(error).split())} [{_last_call(cause)}]"


def _last_call(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    own = [
        frame for frame in frames if "site-packages" not in frame.filename and "/lib/" not in frame.filename
    ]
    return ", ".join(_place(frame.filename, frame.lineno) for frame in own[-3:])


def _place(file: str, line: int | None) -> str:
    return f"{Path(file).name}:{line}"
