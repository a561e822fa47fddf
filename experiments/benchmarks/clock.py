"""How a contender tells how long its rounds took."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any


class UnavailableError(Exception):
    """A contender cannot take part; the message says why."""


@dataclass
class Clock:
    """Notes when blocks of rounds end."""

    began: float
    """When the command was given, in seconds of the system's clock."""
    ends: list[float] = field(default_factory=list)
    idle: list[float] = field(default_factory=list)
    """Seconds of each block that are no part of the round, such as evaluation."""

    def tick(self, idle: float = 0.0) -> None:
        """Note the end of a block; the first tick is the beginning of round 1."""
        self.ends.append(time.time())
        self.idle.append(idle)

    def result(self, block: int) -> dict[str, Any]:
        """Return the seconds until the end of the first block, and a round of each block after it."""
        spans = [end - begin for begin, end in zip(self.ends, self.ends[1:], strict=False)]
        rounds = [(span - idle) / block for span, idle in zip(spans, self.idle[1:], strict=True)]
        return {"first": self.ends[1] - self.began, "rounds": rounds[1:]}
