"""Who is told how many runs go."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fedpoison.outcomes import Outcome
from fedpoison.rounds import Round
from fedpoison.scenario import Scenario


@dataclass(frozen=True, eq=False)
class Watch:
    """Is told how the runs go; a hook that is not given does nothing."""

    on_start: Callable[[Scenario], None] = lambda _: None
    on_round: Callable[[Scenario, Round], None] = lambda *_: None
    on_end: Callable[[Scenario, Outcome], None] = lambda *_: None
    """Given the history, or why there is none."""
