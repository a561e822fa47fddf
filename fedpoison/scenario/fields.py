"""Properties of the scenario's fields, and reading fields from TOML files."""

from __future__ import annotations

import tomllib
from enum import Flag, auto
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from fedpoison.errors import ScenarioError


class About(Flag):
    """Properties by which `fields_about` selects fields of the scenario."""

    SIZE = auto()
    """Number of malicious clients. A scenario sets at most one of these fields."""
    MALICIOUS = auto()
    """Which clients are malicious, or how many."""
    GROUP = auto()
    """Setting of a single attacker group: the short form of `groups`."""
    FEDERATION = auto()
    """Not used in centralized training."""
    COMPARED = auto()
    """Attack, strategy or seed of a run. The other fields are the setting that compared runs share."""
    ADDED = auto()
    """Left out of the content at its default, since scenarios without the field have a run id already."""
    REFERENCE = auto()
    """Equal in a run and in the clean run that it is compared with."""


def fields_about(model: type[BaseModel], about: About) -> tuple[str, ...]:
    """Return the names of the fields of `model` with this property, in order of definition."""
    return tuple(
        name
        for name, field in model.model_fields.items()
        if any(isinstance(item, About) and about in item for item in field.metadata)
    )


def changed(values: BaseModel, about: About) -> list[str]:
    """Return the names of the fields with this property that differ from their default."""
    defaults = type(values).model_fields
    return [
        name for name in fields_about(type(values), about) if getattr(values, name) != defaults[name].default
    ]


def read_toml(path: Path) -> dict[str, Any]:
    """Return the content of a TOML file.

    Raises:
        ScenarioError: the file cannot be read or is not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ScenarioError(
            f"{path}: cannot be read ({error.strerror}); give the path of a TOML file."
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ScenarioError(f"{path}: is not valid TOML: {error}.") from None
