"""Fields of a scenario: what they are about, and how a TOML file gives them."""

from __future__ import annotations

import tomllib
from enum import Flag, auto
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from fedpoison.errors import ScenarioError


class About(Flag):
    """Properties of the scenario's fields, by which `fields_about` selects them."""

    SIZE = auto()
    """Says how many clients are malicious; a scenario sets one of these fields at most."""
    MALICIOUS = auto()
    """Says which clients are malicious, or how many."""
    GROUP = auto()
    """Describes a single group of attackers: the short form of `groups`."""
    FEDERATION = auto()
    """Has no meaning in centralized training."""
    COMPARED = auto()
    """Says which attack, strategy or seed a run has; all other fields are the setting of a comparison."""
    REFERENCE = auto()
    """Has to be the same in a run and in the clean run that it is compared with."""


def fields_about(model: type[BaseModel], about: About) -> tuple[str, ...]:
    """Return the fields of `model` that have this property, in their order."""
    return tuple(
        name
        for name, field in model.model_fields.items()
        if any(isinstance(item, About) and about in item for item in field.metadata)
    )


def changed(values: BaseModel, about: About) -> list[str]:
    """Return the fields with this property that are not at their default."""
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
