"""Axes of a study: values of a field, ranges and named settings; and the figure that shows the axes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from fedpoison.errors import ScenarioError, unknown
from fedpoison.scenario.scenario import Scenario
from fedpoison.scenario.specs import validation_message

Label = str | int | float | bool

RESERVED_COLUMNS = frozenset(
    (
        "run_id", "round", "accuracy", "worst_class_accuracy", "loss", "attack_success_rate",
        "source_to_target_rate", "success", "true_positive_rate", "false_positive_rate", "trust_auroc",
        "malicious_mass", "acting", "malicious_norm", "malicious_distance", "malicious_cosine", "honest_norm",
        "honest_distance", "dropped", "seconds", "reason", "refused", "stopped", "asked", "ended", "seed",
        "unusable", "unchanged", "no_result", "notes", "validation_accuracy", "validation_loss",
        "validation_worst_class_accuracy", "validation_attack_success_rate",
        "validation_source_to_target_rate",
    )
)  # fmt: skip
"""Columns of the results. No axis of named settings can have one of these names, or `class_3`."""


Number = int | float
MOST_VALUES = 10_000
"""Most numbers in a range."""


class ValueRange(BaseModel):
    """Numbers from one to another, both included.

    >>> ValueRange.model_validate({"from": 0.0, "to": 0.3, "step": 0.1}).values()
    [0.0, 0.1, 0.2, 0.3]
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, strict=True)

    start: Annotated[Number, Field(alias="from")]
    to: Number
    step: Number

    @model_validator(mode="after")
    def _ends(self) -> Self:
        start, to, step = self._decimals()
        if step and (to - start) / step >= MOST_VALUES:
            raise ValueError(f"range: got more than {MOST_VALUES} values; make the step larger.")
        if step == 0 or (to - start) / step < 0 or (to - start) % step != 0:
            raise ValueError(
                f"range: got from={self.start}, to={self.to}, step={self.step}; "
                "expected a whole number of steps between the two."
            )
        return self

    def values(self) -> list[Number]:
        """Return the numbers: integers if all three values are integers."""
        start, to, step = self._decimals()
        kind = int if all(isinstance(given, int) for given in (self.start, self.to, self.step)) else float
        return [kind(start + step * number) for number in range(int((to - start) / step) + 1)]

    def _decimals(self) -> tuple[Decimal, Decimal, Decimal]:
        return Decimal(str(self.start)), Decimal(str(self.to)), Decimal(str(self.step))


@dataclass(frozen=True, eq=False)
class AxisValue:
    """Value of an axis: its label, and the fields that it sets."""

    label: Label
    fields: Mapping[str, Any]


def expand_range(axis: str, given: object) -> object:
    """Return the values of a range, and anything else unchanged.

    >>> expand_range("malicious", {"from": 0.0, "to": 0.2, "step": 0.1})
    [0.0, 0.1, 0.2]

    Raises:
        ScenarioError: The range is invalid.
    """
    if not isinstance(given, Mapping):
        return given
    for key in given:
        if key not in ("from", "to", "step"):
            raise unknown(f"key of the range axes.{axis}", key, ("from", "to", "step"))
    try:
        return ValueRange.model_validate(given).values()
    except ValidationError as error:
        raise ScenarioError(f"axes.{axis}: {validation_message(error)}") from None


def parse_axis(axis: str, values: object) -> tuple[AxisValue, ...]:
    """Return the values of an axis with their labels.

    >>> parse_axis("setting", [{"name": "skewed", "partition": "shards"}])[0].fields
    {'partition': 'shards'}

    Raises:
        ScenarioError: The values are no axis, or they are no tables and the name is no field.
    """
    if not isinstance(values, list | tuple) or not values:
        raise ScenarioError(
            f"axes.{axis}: got {values!r}, expected a list of values, a range such as "
            "{from=0.0, to=0.4, step=0.1}, or tables with a name."
        )
    if None in values:
        raise ScenarioError(
            f"axes.{axis}: got none, expected a value; remove the axis to leave the field unset."
        )
    bundled = [isinstance(value, Mapping) for value in values]
    if all(bundled):
        axis_values = _named_settings(axis, values)
    elif any(bundled):
        raise ScenarioError(f"axes.{axis}: got tables and values; choose one.")
    elif axis in Scenario.model_fields:
        axis_values = tuple(AxisValue(_label(value), {axis: value}) for value in values)
    else:
        raise unknown("axis", axis, Scenario.model_fields)
    labels = [level.label for level in axis_values]
    for label in labels:
        if labels.count(label) > 1:
            raise ScenarioError(f"axes.{axis}: got {label!r} twice; remove one.")
    return axis_values


def _named_settings(axis: str, tables: Sequence[Mapping[str, Any]]) -> tuple[AxisValue, ...]:
    if axis in RESERVED_COLUMNS or re.fullmatch(r"class_\d+", axis):
        raise ScenarioError(f"axes.{axis}: is a column of the results; give the axis another name.")
    axis_values = []
    for table in tables:
        fields = dict(table)
        name = fields.pop("name", None)
        if not isinstance(name, str) or not name:
            raise ScenarioError(f"axes.{axis}: got {dict(table)} without a name; add name = 'a label'.")
        for field in fields:
            if field not in Scenario.model_fields:
                raise unknown(f"field in axes.{axis}", field, Scenario.model_fields)
        axis_values.append(AxisValue(name, fields))
    return tuple(axis_values)


def _label(value: object) -> Label:
    return value if isinstance(value, str | int | float) else str(value)


AXIS_TITLES = {
    "accuracy": "accuracy, %",
    "worst_class_accuracy": "worst-class accuracy, %",
    "success": "attack success, %",
    "true_positive_rate": "malicious rejected, %",
    "false_positive_rate": "honest rejected, %",
    "malicious_mass": "trust in malicious, %",
}
"""Axis titles of the shares that a figure can show, by column."""


def _several(value: object) -> object:
    return (value,) if isinstance(value, str) else value


def _measure(name: str) -> str:
    if name not in AXIS_TITLES:
        raise unknown("measure", name, AXIS_TITLES)
    return name


class StudyFigure(BaseModel):
    """Figure of a study: means over the seeds after the last round."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["lines", "bars", "heatmap"]
    x: str
    """Axis along the panels, or the columns of a heat map."""
    series: str
    """Axis with a line, a bar or a row per value."""
    facet: str | None = None
    """Axis with a panel per value."""
    measure: Annotated[
        tuple[Annotated[str, AfterValidator(_measure)], ...], BeforeValidator(_several), Field(min_length=1)
    ] = ("accuracy",)
    """Measures, with a row of panels per measure."""

    @model_validator(mode="before")
    @classmethod
    def _known(cls, given: object) -> object:
        for key in given if isinstance(given, Mapping) else ():
            if key not in cls.model_fields:
                raise unknown("key of a figure", key, cls.model_fields)
        return given

    @property
    def axes(self) -> tuple[str, ...]:
        """Axes in the figure."""
        return tuple(axis for axis in (self.x, self.series, self.facet) if axis is not None)
