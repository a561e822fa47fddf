"""Schedules: in which rounds a group attacks, and when other clients replace its members."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from clients.bounds import PositiveCount, check_bounds
from fedpoison.registry import Registry
from fedpoison.scenario.parsed_spec import READERS, Spec
from fedpoison.scenario.specs import read


class Schedule(Protocol):
    """Rounds, counted from 1, in which a group attacks, and the draw of its clients.

    A frozen dataclass; its fields are its parameters, each with a default. The tests check these
    properties of each registered schedule:

    - the results depend only on the round;
    - `rotation` is None in all rounds, or in none;
    - `rotation` never decreases. The clients change only when it does.
    """

    def active(self, server_round: int) -> bool:
        """Return whether the group attacks in this round. If it does not, its clients are honest."""

    def rotation(self, server_round: int) -> int | None:
        """Return the number of the draw that selects the group's clients. None: they never change."""


class _Fixed:
    def __post_init__(self) -> None:
        check_bounds(self)

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

    start: PositiveCount = 1
    """First round of the attack."""
    stop: int | None = None
    """Last round of the attack. Default: the last round of the run."""
    every: PositiveCount = 1
    """Interval between attacks, in rounds."""

    def __post_init__(self) -> None:
        check_bounds(self)
        _check_order(self.start, self.stop)

    def active(self, server_round: int) -> bool:
        return _within(server_round, self.start, self.stop) and (server_round - self.start) % self.every == 0


@dataclass(frozen=True, kw_only=True)
class Once(_Fixed):
    """Attack in a single round."""

    round: PositiveCount = 1
    """Round of the attack."""

    def active(self, server_round: int) -> bool:
        return server_round == self.round


@dataclass(frozen=True, kw_only=True)
class Sleeper(_Fixed):
    """Behave honestly before round `until`, and attack from that round on.

    >>> [number for number in range(1, 8) if Sleeper(until=5).active(number)]
    [5, 6, 7]
    """

    until: PositiveCount = 10
    """First round of the attack."""

    def active(self, server_round: int) -> bool:
        return server_round >= self.until


@dataclass(frozen=True, kw_only=True)
class Rotating:
    """Attack from `start` to `stop`, with newly drawn clients every `every` rounds.

    >>> [Rotating(every=2).rotation(number) for number in range(1, 7)]
    [0, 0, 1, 1, 2, 2]
    """

    every: PositiveCount = 1
    """Interval between draws of the group, in rounds."""
    start: PositiveCount = 1
    """First round of the attack."""
    stop: int | None = None
    """Last round of the attack. Default: the last round of the run."""

    def __post_init__(self) -> None:
        check_bounds(self)
        _check_order(self.start, self.stop)

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

schedules: Registry[type[Schedule]] = Registry(
    "schedule", SCHEDULES, "fedpoison.schedules", "active", "rotation"
)


def read_schedule(spec: str | Schedule) -> Spec[Schedule]:
    """Return a schedule's spec in canonical form with its object, such as `window(start=3, stop=8)`.

    Raises:
        ScenarioError: the name or a parameter is unknown, or a value is invalid.
    """
    return read(schedules, spec)


READERS[schedules.kind] = read_schedule


def _within(server_round: int, start: int, stop: int | None) -> bool:
    return start <= server_round and (stop is None or server_round <= stop)


def _check_order(start: int, stop: int | None) -> None:
    if stop is not None and stop < start:
        raise ValueError(f"stop: got round {stop}, expected at least start, round {start}.")
