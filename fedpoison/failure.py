"""Why a run did not come to its end, as a value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from fedpoison.errors import FedPoisonError, RefusalError


@dataclass(frozen=True)
class Failure:
    """Why a run did not come to its end."""

    reason: str
    """In one line."""
    refused: bool = False
    """Whether the strategy had no answer to the updates of a round: under an attack, the attack's doing."""

    @classmethod
    def of(cls, error: Exception) -> Self:
        """Return the failure that an error is, which may come out of a Ray task."""
        cause = getattr(error, "cause", None) or error
        if isinstance(cause, FedPoisonError):
            return cls(" ".join(str(cause).split()), isinstance(cause, RefusalError))
        words = str(cause).strip()
        return cls(f"{type(cause).__name__}: {words.splitlines()[0] if words else ''}")
