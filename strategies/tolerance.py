"""Base classes of rules and pre-aggregators that tolerate a number of malicious clients."""

from __future__ import annotations

from dataclasses import dataclass, field

from strategies.base import Rule


@dataclass(frozen=True, kw_only=True)
class Tolerant:
    """The parameter `byzantine` of rules and pre-aggregators that tolerate malicious clients."""

    byzantine: int = 0
    """Number of malicious clients to tolerate, f."""

    def __post_init__(self) -> None:
        if self.byzantine < 0:
            raise ValueError(
                f"byzantine: got {self.byzantine}, expected the number of tolerated clients, 0 or more."
            )

    @property
    def minimum(self) -> int:
        """Smallest number of updates for which the stage is defined: an honest majority."""
        return 2 * self.byzantine + 1


@dataclass(frozen=True, kw_only=True)
class Relaxable(Tolerant):
    """The parameter `strict` of stages that are still defined for fewer updates than their theorem needs."""

    strict: bool = field(default=True, repr=False)
    """Refuse fewer updates than the theorem needs. If false, the rule also runs outside its theorem."""

    @property
    def guaranteed(self) -> int:
        """Smallest number of updates for which the theorem is true: an honest majority."""
        return 2 * self.byzantine + 1

    @property
    def defined(self) -> int:
        """Smallest number of updates for which the stage can be computed: one honest update."""
        return self.byzantine + 1

    @property
    def minimum(self) -> int:
        return self.guaranteed if self.strict else self.defined


@dataclass(frozen=True, kw_only=True)
class ByzantineRule(Tolerant, Rule):
    """Base class of rules with the parameter `byzantine`."""


@dataclass(frozen=True, kw_only=True)
class RelaxableRule(Relaxable, ByzantineRule):
    """Base class of rules with the parameters `byzantine` and `strict`."""
