"""Study: scenarios along axes, loaded from a TOML file."""

from __future__ import annotations

import json
import tomllib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from importlib.resources import files
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Self

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from fedpoison.errors import ScenarioError, unknown
from fedpoison.results.store import file_name
from fedpoison.scenario.fields import read_toml
from fedpoison.scenario.scenario import Scenario
from fedpoison.scenario.specs import validation_message
from fedpoison.studies.axes import AxisValue, Label, StudyFigure, expand_range, parse_axis


@dataclass(frozen=True, eq=False)
class StudyCell:
    """One combination of a study: its label on each axis, and the scenario to run."""

    axis_labels: Mapping[str, Label]
    scenario: Scenario | None
    """None if the fields exclude each other, such as krum with too few clients."""
    reason: str = ""
    """Reason if there is no scenario."""


class Study(BaseModel):
    """Scenarios that differ along axes.

    Load one with `Study.load(path)` or `Study.parse(mapping)`.

    >>> study = Study.parse({"name": "s", "title": "S", "axes": {"lr": [0.1, 0.2], "seed": [0, 1]}})
    >>> [cell.axis_labels for cell in study.cells()][:2]
    [{'lr': 0.1, 'seed': 0}, {'lr': 0.1, 'seed': 1}]

    Raises:
        ScenarioError: From `load`, `parse` and `replace`, if a key, a value or an axis is invalid.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]
    """Name of the study and of the folder of its results."""
    title: str = ""
    """Title of tables and figures. Default: the name."""
    description: str = ""
    """Question that the study answers."""
    base: dict[str, Any] = {}
    """Fields that all scenarios share."""
    pretrain_rounds: Annotated[int, Field(ge=0)] = 0
    """Rounds of a clean run of the base. All scenarios start from its model. 0: no such run."""
    axes: Annotated[dict[str, Any], Field(min_length=1)]
    """By name: a list of values of a field, a range of values, or named settings of several fields."""
    exclude: tuple[dict[str, Any], ...] = ()
    """Combinations to leave out, which match each key of a table. A list matches any of its values."""
    figure: StudyFigure | None = None

    @field_validator("base")
    @classmethod
    def _without_unset(cls, base: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in base.items() if value is not None or not can_be_unset(name)}

    @field_validator("axes")
    @classmethod
    def _listed(cls, axes: dict[str, Any]) -> dict[str, Any]:
        return {name: expand_range(name, given) for name, given in axes.items()}

    @model_validator(mode="after")
    def _fits(self) -> Self:
        for name in self.base:
            if name not in Scenario.model_fields:
                raise unknown("field", name, Scenario.model_fields)
        axis_values = self.axis_values()
        _check_fields(self.base, axis_values)
        for table in self.exclude:
            _check_excluded(table, axis_values)
        if self.figure is not None:
            _check_drawn(self.figure, axis_values)
        if not self.cells():
            raise ScenarioError("exclude: leaves no run; remove a table, or a key of a table.")
        return self

    @classmethod
    def parse(cls, content: Mapping[str, Any]) -> Self:
        """Return the study with this content."""
        for name in content:
            if name not in cls.model_fields:
                raise unknown("key of a study", name, cls.model_fields)
        try:
            return cls(**{"title": content.get("name", ""), **content})
        except ValidationError as error:
            raise ScenarioError(validation_message(error)) from None

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Return the study in a TOML file. Default of its name: the name of the file."""
        content = {"name": file_name(Path(path).stem)} | read_toml(Path(path))
        try:
            return cls.parse(content)
        except ScenarioError as error:
            raise ScenarioError(f"{path}: {error}") from None

    def replace(self, **changes: Any) -> Self:
        """Return the study with fields set for all its scenarios, under a new name.

        If an axis has the name of a field, it gets this value, or the values of a list. An axis of named
        settings keeps the settings with these names. None unsets a field of the base.
        """
        if not changes:
            return self
        for axis, steps in self.axis_values().items():
            for field in {field for step in steps for field in step.fields if axis not in changes}:
                if field in changes:
                    raise ScenarioError(f"{field}: is set on the axis {axis} of {self.name}; edit it there.")
        narrowed = {axis: changes[axis] for axis in self.axes if axis in changes}
        kept = {axis: steps if isinstance(steps, list) else [steps] for axis, steps in narrowed.items()}
        axes = {axis: _bundled(axis, self.axes[axis], steps) for axis, steps in kept.items()}
        excluded = (_restricted(kept, table) for table in self.exclude)
        mark = blake2b(json.dumps(changes, sort_keys=True).encode(), digest_size=4).hexdigest()
        content = self.content() | {
            "name": f"{self.name}-{mark}",
            "base": self.base | {name: value for name, value in changes.items() if name not in kept},
            "axes": self.axes | axes,
            "exclude": [table for table in excluded if all(table.values())],
        }
        return self.parse(content)

    def started_from(self, run: Path) -> Self:
        """Return the study whose scenarios start from the final model of a run."""
        base = self.base | {"initial": str(run)}
        return self.parse(self.content() | {"base": base, "pretrain_rounds": 0})

    def content(self) -> dict[str, Any]:
        """Return the study as plain values, without unset fields."""
        return self.model_dump(mode="json", exclude_none=True, exclude_defaults=True)

    def to_toml(self) -> str:
        """Return the study as TOML, which `load` reads to an equal study."""
        return tomli_w.dumps(self.content(), multiline_strings=True)

    def axis_values(self) -> dict[str, tuple[AxisValue, ...]]:
        """Return the values of each axis, in the order of the file."""
        return {name: parse_axis(name, given) for name, given in self.axes.items()}

    def cells(self) -> list[StudyCell]:
        """Return every combination that is not excluded; the last axis varies fastest."""
        return list(self._cells)

    @cached_property
    def _cells(self) -> Sequence[StudyCell]:
        axis_values = self.axis_values()
        places = (dict(zip(axis_values, steps, strict=True)) for steps in product(*axis_values.values()))
        return [
            self._cell(place) for place in places if not any(_matches(table, place) for table in self.exclude)
        ]

    def _cell(self, steps: Mapping[str, AxisValue]) -> StudyCell:
        place = {axis: level.label for axis, level in steps.items()}
        fields = dict(self.base)
        for level in steps.values():
            fields |= level.fields
        try:
            return StudyCell(place, Scenario(**fields))
        except ValidationError as error:
            if any(item["loc"] for item in error.errors()):  # a field is wrong, whatever the others are
                raise ScenarioError(validation_message(error)) from None
            return StudyCell(place, None, validation_message(error))


def can_be_unset(field: str) -> bool:
    """Return whether a scenario may leave this field unset: None is its default."""
    return field in Scenario.model_fields and Scenario.model_fields[field].default is None


def _check_fields(base: Mapping[str, Any], axis_values: Mapping[str, Sequence[AxisValue]]) -> None:
    """Raise ScenarioError if two axes, or the base and a whole axis, set the same field."""
    setting = Counter(
        field
        for steps in axis_values.values()
        for field in {field for step in steps for field in step.fields}
    )
    twice = [field for field, axes in setting.items() if axes > 1]
    twice += [axis for axis, steps in axis_values.items() if axis in base and axis in steps[0].fields]
    if twice:
        raise ScenarioError(f"{twice[0]}: is set twice; set it on one axis, or in the base.")


def _check_excluded(table: Mapping[str, Any], axis_values: Mapping[str, Sequence[AxisValue]]) -> None:
    if not table:
        raise ScenarioError("exclude: got an empty table, expected an axis and its value.")
    for axis, wanted in table.items():
        if axis not in axis_values:
            raise unknown("axis", axis, axis_values)
        labels = [level.label for level in axis_values[axis]]
        for value in _as_sequence(wanted):
            if value not in labels:
                choices = ", ".join(map(str, labels))
                raise ScenarioError(f"exclude: got {axis} {value!r}; choose from {choices}.")


def _check_drawn(figure: StudyFigure, axis_values: Mapping[str, Sequence[AxisValue]]) -> None:
    for axis in figure.axes:
        if axis not in axis_values:
            raise unknown("axis", axis, axis_values)
    if len(set(figure.axes)) < len(figure.axes):
        raise ScenarioError("figure: got an axis twice; x, series and facet are different axes.")
    for axis, steps in axis_values.items():
        if axis not in (*figure.axes, "seed") and len(steps) > 1:
            raise ScenarioError(f"figure: does not show the axis {axis}; make it the x, series or facet.")


def _bundled(axis: str, values: Sequence[Any], kept: Sequence[object]) -> Sequence[object]:
    """Return the settings with the names `kept`, or `kept` itself if the axis has no named settings."""
    if not isinstance(values[0], Mapping):
        return kept
    named = {bundle["name"]: bundle for bundle in values}
    for name in kept:
        if name not in named:
            raise unknown(f"value of the axis {axis}", str(name), named)
    return [named[name] for name in kept]


def _restricted(kept: Mapping[str, Sequence[object]], table: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of an exclusion that concerns the kept values."""
    return {
        axis: [value for value in _as_sequence(wanted) if axis not in kept or value in kept[axis]]
        for axis, wanted in table.items()
    }


def _matches(table: Mapping[str, Any], steps: Mapping[str, AxisValue]) -> bool:
    return all(steps[axis].label in _as_sequence(wanted) for axis, wanted in table.items())


def _as_sequence(wanted: object) -> Sequence[object]:
    return wanted if isinstance(wanted, list | tuple) else (wanted,)


def built_in_studies() -> dict[str, str]:
    """Return the TOML texts of the built-in studies by name."""
    library = files("fedpoison.studies") / "library"
    texts = {
        file.name.removesuffix(".toml"): file.read_text(encoding="utf-8")
        for file in library.iterdir()
        if file.name.endswith(".toml")
    }
    return dict(sorted(texts.items()))


def find_study(name: str) -> Study:
    """Return the built-in study of that name, or the study in the file of that path.

    Raises:
        ScenarioError: No built-in study has the name and it is no TOML file, or the file is not a study.
    """
    texts = built_in_studies()
    if name in texts:
        return Study.parse(tomllib.loads(texts[name]))
    if not name.endswith(".toml"):
        raise unknown("study", name, texts)
    return Study.load(Path(name))
