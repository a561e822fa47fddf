"""Clock that a contender uses to report the duration of its rounds."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any


class UnavailableError(Exception):
    """A contender cannot run; the message is the reason."""


@dataclass
class Clock:
    """Record of the end of each block of rounds."""

    began: float
    """Start of the command, in seconds of the system clock."""
    ends: list[float] = field(default_factory=list)
    idle: list[float] = field(default_factory=list)
    """Seconds of each block outside the rounds, such as evaluation."""

    def tick(self, idle: float = 0.0) -> None:
        """Record the end of a block; the first tick is the beginning of round 1."""
        self.ends.append(time.time())
        self.idle.append(idle)

    def result(self, block: int) -> dict[str, Any]:
        """Return the seconds until the end of the first block, and per round of each later block."""
        spans = [end - begin for begin, end in zip(self.ends, self.ends[1:], strict=False)]
        rounds = [(span - idle) / block for span, idle in zip(spans, self.idle[1:], strict=True)]
        return {"first": self.ends[1] - self.began, "rounds": rounds[1:]}
