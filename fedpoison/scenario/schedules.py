"""When a group of attackers attacks, and whether other nodes take its place: questions of the round alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from fedpoison.registry import Registry
from fedpoison.scenario.specs import Spec, read


class Schedule(Protocol):
    """Tells for each round, counted from 1, whether a group attacks, and who it is.

    A frozen dataclass whose fields are its knobs, each with a default. Laws, checked on every registered
    schedule:

    - a round's answer depends on the round alone, so a node finds it without asking anybody;
    - `turn` is None in every round, or in none;
    - nodes are swapped only where `turn` changes, and it never falls.
    """

    def active(self, server_round: int) -> bool:
        """Return whether the group attacks in this round; where not, its nodes are honest."""

    def rotation(self, server_round: int) -> int | None:
        """Return which draw of nodes forms the group in this round; None where they never change."""


class _Fixed:
    def rotation(self, server_round: int) -> int | None:
        return None


@dataclass(frozen=True, kw_only=True)
class Always(_Fixed):
    """Attack in every round."""

    def active(self, server_round: int) -> bool:
        return True


@dataclass(frozen=True, kw_only=True)
class Window(_Fixed):
    """Attack in every `every`-th round from `start` to `stop`.

    >>> [number for number in range(1, 12) if Window(start=3, stop=8, every=2).active(number)]
    [3, 5, 7]
    """

    start: int = 1
    """The first round of the attack."""
    stop: int | None = None
    """The last round in which it may attack; None is the end of the run."""
    every: int = 1

    def __post_init__(self) -> None:
        _check_window(self.start, self.stop, self.every)

    def active(self, server_round: int) -> bool:
        return _within(server_round, self.start, self.stop) and (server_round - self.start) % self.every == 0


@dataclass(frozen=True, kw_only=True)
class Once(_Fixed):
    """Attack in a single round."""

    round: int = 1

    def __post_init__(self) -> None:
        _check_positive("round", self.round)

    def active(self, server_round: int) -> bool:
        return server_round == self.round


@dataclass(frozen=True, kw_only=True)
class Sleeper(_Fixed):
    """Behave honestly until round `until`, and attack from that round on.

    >>> [number for number in range(1, 8) if Sleeper(until=5).active(number)]
    [5, 6, 7]
    """

    until: int = 10

    def __post_init__(self) -> None:
        _check_positive("until", self.until)

    def active(self, server_round: int) -> bool:
        return server_round >= self.until


@dataclass(frozen=True, kw_only=True)
class Rotating:
    """Attack from `start` to `stop`, with other nodes of the fleet every `every` rounds.

    >>> [Rotating(every=2).rotation(number) for number in range(1, 7)]
    [0, 0, 1, 1, 2, 2]
    """

    every: int = 1
    """Rounds until the group is drawn anew."""
    start: int = 1
    stop: int | None = None

    def __post_init__(self) -> None:
        _check_window(self.start, self.stop, self.every)

    def active(self, server_round: int) -> bool:
        return _within(server_round, self.start, self.stop)

    def rotation(self, server_round: int) -> int | None:
        return max(0, server_round - self.start) // self.every


SCHEDULES: dict[str, type[Schedule]] = {
    "always": Always,
    "once": Once,
    "rotating": Rotating,
    "sleeper": Sleeper,
    "window": Window,
}

schedules: Registry[type[Schedule]] = Registry("schedule", SCHEDULES, "fedpoison.schedules")


def read_schedule(spec: str) -> Spec[Schedule]:
    """Return a schedule's spec in canonical form with its object, such as `window(start=3, stop=8)`.

    Raises:
        ScenarioError: the name or a knob is unknown, or a value does not fit.
    """
    return read(schedules, spec)


def _within(server_round: int, start: int, stop: int | None) -> bool:
    return start <= server_round and (stop is None or server_round <= stop)


def _check_window(start: int, stop: int | None, every: int) -> None:
    _check_positive("start", start)
    _check_positive("every", every)
    if stop is not None and stop < start:
        raise ValueError(f"stop: got round {stop}, wanted at least start, round {start}.")


def _check_positive(name: str, value: int) -> None:
    if value < 1:
        raise ValueError(f"{name}: got {value}, wanted at least 1.")
