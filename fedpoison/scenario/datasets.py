"""Specs of data sets: registered names, formats with parameters, and Python objects."""

from __future__ import annotations

from typing import Any, cast

from pydantic import ValidatorFunctionWrapHandler, WrapValidator

from fedpoison.data.code import CodeData
from fedpoison.data.datasets import AUTO, datasets
from fedpoison.data.objects import Arrays
from fedpoison.data.own import OwnData
from fedpoison.data.sources import Source
from fedpoison.errors import ScenarioError, unknown
from fedpoison.own_code import is_code_name, read_code_name
from fedpoison.registry import Registry
from fedpoison.scenario.parsed_spec import Spec
from fedpoison.scenario.specs import Call, format_call, parse_call


def read_dataset(given: object) -> Spec[Source | OwnData | None]:
    """Return the spec of a data set in canonical form, with its source. `auto` has none.

    Args:
        given: A spec such as `mnist`, `npz(path=data.npz)` or `my_file.py:load`, an object of a format such
            as `Npz`, or arrays, tensors or torch data sets.

    Raises:
        ScenarioError: a name or a parameter is unknown, or a value is invalid.
        DataError: given arrays cannot be used.
    """
    if isinstance(given, Spec) and given.kind == datasets.kind:
        return given
    if isinstance(given, str):
        return _parse(given)
    return own_spec(given if isinstance(given, OwnData) else Arrays.of(given))


def _parse(text: str) -> Spec[Source | OwnData | None]:
    name, parameters = parse_call(text)
    if is_code_name(name):
        content = str(parameters.pop("content", ""))
        return own_spec(
            CodeData(code=read_code_name(name), parameters=tuple(parameters.items()), content=content)
        )
    if name != AUTO and name not in datasets:
        raise unknown("data set", name, [AUTO, *datasets.entries()])
    entry = None if name == AUTO else datasets[name]
    if isinstance(entry, type):
        formats = cast("Registry[type[OwnData]]", datasets)
        return own_spec(Call.check(formats, text, name, parameters).build())
    if parameters:
        raise ScenarioError(f"{name} has no parameters, got {', '.join(parameters)}: write only {name}.")
    return Spec(name, datasets.kind, entry)


def own_spec(data: OwnData) -> Spec[Any]:
    """Return the spec of a user's data set.

    Raises:
        ScenarioError: its class is not registered.
    """
    return Spec(format_call(_name(data), data.settings(places=True)), datasets.kind, data)


def _name(data: OwnData) -> str:
    if isinstance(data, CodeData):
        return str(data.code)
    names = [name for name, entry in datasets.entries().items() if entry is type(data)]
    if not names:
        raise ScenarioError(
            f"data set: got {data!r}, and {type(data).__name__} is not registered; add the class by an entry "
            "point of the group fedpoison.datasets."
        )
    return names[0]


def dataset_identity(spec: str) -> str:
    """Return the spec without the places of the data, if it has the digest of their content."""
    data = read_dataset(spec).value
    if isinstance(data, OwnData) and data.content:
        return format_call(_name(data), data.settings(places=False))
    return str(spec)


def dataset_title(spec: str) -> str:
    """Return a short name of a data set: the file name in place of its path, without the digest.

    >>> dataset_title("npz(path=/home/me/faces.npz, content=0123456789ab)"), dataset_title("mnist")
    ('faces.npz', 'mnist')
    """
    data = read_dataset(spec).value
    return data.title if isinstance(data, OwnData) else str(spec)


def _validate(value: object, handler: ValidatorFunctionWrapHandler) -> str:
    return read_dataset(handler(value) if isinstance(value, str) and not isinstance(value, Spec) else value)


DATASET = WrapValidator(_validate)
"""Validator that replaces the data set of a scenario by its spec."""
