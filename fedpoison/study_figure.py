"""What a study's figure shows: which axis goes where."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from fedpoison.specs import unknown

AXIS_TITLES = {
    "accuracy": "accuracy, %",
    "worst_class_accuracy": "worst-class accuracy, %",
    "success": "attack success, %",
    "true_positive_rate": "malicious rejected, %",
    "false_positive_rate": "honest rejected, %",
    "malicious_mass": "trust in malicious, %",
}
"""The shares that a figure can show, by their column, with what is written beside them."""


def _several(value: object) -> object:
    return (value,) if isinstance(value, str) else value


def _measure(name: str) -> str:
    if name not in AXIS_TITLES:
        raise unknown("measure", name, AXIS_TITLES)
    return name


class StudyFigure(BaseModel):
    """How a study is drawn: means over the seeds after the last round."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["lines", "bars", "heatmap"]
    x: str
    """The axis along the panels; the columns of a heat map."""
    series: str
    """The axis with a line, a bar or a row for each value."""
    facet: str | None = None
    """The axis with a panel for each value."""
    measure: Annotated[
        tuple[Annotated[str, AfterValidator(_measure)], ...], BeforeValidator(_several), Field(min_length=1)
    ] = ("accuracy",)
    """A row of panels for each."""

    @model_validator(mode="before")
    @classmethod
    def _known(cls, given: object) -> object:
        for key in given if isinstance(given, Mapping) else ():
            if key not in cls.model_fields:
                raise unknown("key of a figure", key, cls.model_fields)
        return given

    @property
    def axes(self) -> tuple[str, ...]:
        """The axes that are drawn."""
        return tuple(axis for axis in (self.x, self.series, self.facet) if axis is not None)
