"""Ranges of numbers that end where they say, in exact decimals."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Number = int | float
MOST = 10_000
"""How many numbers a range can have."""


class Range(BaseModel):
    """Numbers from one to another, both included.

    >>> Range.model_validate({"from": 0.0, "to": 0.3, "step": 0.1}).values()
    [0.0, 0.1, 0.2, 0.3]
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, strict=True)

    start: Annotated[Number, Field(alias="from")]
    to: Number
    step: Number

    @model_validator(mode="after")
    def _ends(self) -> Self:
        start, to, step = self._decimals()
        if step and (to - start) / step >= MOST:
            raise ValueError(f"range: got more than {MOST} values; make the step larger.")
        if step == 0 or (to - start) / step < 0 or (to - start) % step != 0:
            raise ValueError(
                f"range: got from={self.start}, to={self.to}, step={self.step}; "
                "wanted whole steps that lead from the one to the other."
            )
        return self

    def values(self) -> list[Number]:
        """Return the numbers: whole ones if all that is given is whole."""
        start, to, step = self._decimals()
        kind = int if all(isinstance(given, int) for given in (self.start, self.to, self.step)) else float
        return [kind(start + step * number) for number in range(int((to - start) / step) + 1)]

    def _decimals(self) -> tuple[Decimal, Decimal, Decimal]:
        return Decimal(str(self.start)), Decimal(str(self.to)), Decimal(str(self.step))
