"""Specs: names with parameters as text, such as `krum` or `label-flip(mode=targeted, source=1)`.

Each spec is parsed once, here, into an object. A `Spec` carries the object together with the text.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import math
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic import TypeAdapter, ValidationError, ValidatorFunctionWrapHandler, WrapValidator

from clients.bounds import check_no_nan
from fedpoison.errors import ScenarioError, code_errors, unknown
from fedpoison.own_code import code_name_of
from fedpoison.registry import Registry
from fedpoison.scenario.parsed_spec import Spec, deferred

T = TypeVar("T")

_SPECIAL = "(),;|+"
"""Characters that separate the parts of a spec."""

_QUOTED = re.compile(r'"[^"]*"')
_CALL = re.compile(r"\s*([A-Za-z0-9_.:@/~-]+)\s*(?:\((.*)\))?\s*", re.DOTALL)


def split_outside(text: str, separator: str) -> list[str]:
    """Split `text` at `separator`, but not inside parentheses or quotation marks.

    >>> split_outside('krum(byzantine=2, power=1), npz(path="a (1).npz")', ",")
    ['krum(byzantine=2, power=1)', 'npz(path="a (1).npz")']
    """
    parts, depth, quoted = [""], 0, False
    for character in text:
        quoted ^= character == '"'
        depth += 0 if quoted else (character == "(") - (character == ")")
        if character == separator and depth == 0 and not quoted:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts if part.strip()]


def parse_call(text: str) -> tuple[str, dict[str, Any]]:
    """Return the name and the parameters of one spec.

    A value in quotation marks is a text.

    >>> parse_call("alie(z=1.5)"), parse_call('npz(path="2024, new.npz")')
    (('alie', {'z': 1.5}), ('npz', {'path': '2024, new.npz'}))

    Raises:
        ScenarioError: the text does not have the form `name` or `name(parameter=value, ...)`.
    """
    plain = _QUOTED.sub("", text)
    if plain.count("(") > plain.count(")"):
        raise ScenarioError(f"got {text!r}, expected a closing parenthesis at its end.")
    match = _CALL.fullmatch(text)
    if match is None:
        raise ScenarioError(f"got {text!r}, expected a name, or a name with parameters as in alie(z=1.5).")
    name, arguments = match.groups()
    parameters: dict[str, Any] = {}
    for argument in split_outside(arguments or "", ","):
        parameter, equals, value = argument.partition("=")
        if not equals:
            raise ScenarioError(
                f"{text}: got {argument!r}, expected parameter={argument}. Name the parameter."
            )
        value = value.strip()
        quoted = _QUOTED.fullmatch(value)
        parameters[parameter.strip()] = value[1:-1] if quoted else parse_scalar(value)
    return name, parameters


def parse_scalar(text: str) -> int | float | bool | str | None:
    """Return the value of `text`: a finite number, a truth value, None, or the text itself.

    `inf` remains a text, since a parameter may have that text as a value. Validation converts it to a
    number if the parameter is one.

    >>> [parse_scalar(text) for text in ("3", "-0.5", "true", "none", "mirror", "inf")]
    [3, -0.5, True, None, 'mirror', 'inf']
    """
    constants = {"true": True, "false": False, "none": None}
    if text.lower() in constants:
        return constants[text.lower()]
    for number in (int, float):
        try:
            value = number(text)
        except ValueError:
            continue
        return value if math.isfinite(value) else text
    return text


@dataclass(frozen=True)
class Call(Generic[T]):
    """Parsed spec: a registered class, and the parameters for its constructor."""

    text: str
    name: str
    chosen_class: type[T]
    parameters: Mapping[str, Any]

    @classmethod
    def check(
        cls, registry: Registry[type[T]], text: str, name: str, parameters: Mapping[str, Any]
    ) -> Call[T]:
        """Return the call of the class `name` in `registry`. Errors name `text`.

        Raises:
            ScenarioError: the name or a parameter is unknown.
        """
        chosen_class, name = registry[name], registry.canonical(name)
        known = [described.name for described in dataclasses.fields(chosen_class)]  # type: ignore[arg-type]
        for parameter in parameters:
            if not known:
                raise ScenarioError(f"{name} has no parameters, got {parameter!r}: write only {name}.")
            if parameter not in known:
                raise unknown(f"parameter of {name}", parameter, known)
        return cls(text, name, chosen_class, parameters)

    def build(self, **defaults: object) -> T:
        """Build the object.

        Args:
            defaults: values of parameters that the class has and the spec does not set.

        Raises:
            ScenarioError: a value is invalid.
            CrashError: the code of the class raised another exception than a ValueError.
        """
        known = {described.name for described in dataclasses.fields(self.chosen_class)}  # type: ignore[arg-type]
        values = {parameter: value for parameter, value in defaults.items() if parameter in known} | dict(
            self.parameters
        )
        with code_errors(self.text):
            try:
                built: T = _adapter(self.chosen_class).validate_python(values)  # type: ignore[arg-type]  # classes do hash
                check_no_nan(built)  # not every class of another package does that itself
            except ValidationError as error:
                raise ScenarioError(f"{self.text}: {validation_message(error)}") from None
            except ValueError as error:
                raise ScenarioError(f"{self.text}: {error}") from None
        return built

    def to_spec(self, built: T, *, kept: Collection[str] = ()) -> str:
        """Return the canonical spec of an object that this call built, without parameters at their default.

        If the spec sets a parameter in `kept`, it remains, since its default depends on the scenario.
        """
        values = {
            described.name: getattr(built, described.name)
            for described in dataclasses.fields(built)  # type: ignore[arg-type]
            if getattr(built, described.name) != _default(described)
            or (described.name in kept and described.name in self.parameters)
        }
        return format_call(self.name, values)


def read(registry: Registry[type[T]], spec: str | T) -> Spec[T]:
    """Return a spec in canonical form with its object. Parameters at their default are left out.

    Args:
        registry: Dataclasses; their fields are the parameters.
        spec: A name, with or without parameters, or an object of a class in `registry`.

    Raises:
        ScenarioError: the name or a parameter is unknown, a value is invalid, or the object has no spec.
    """
    if isinstance(spec, Spec) and spec.kind == registry.kind:
        return spec
    if (later := deferred(spec, registry.kind)) is not None:
        return later
    if not isinstance(spec, str):
        return read(registry, describe(spec, registry))
    call = Call.check(registry, spec, *parse_call(spec))
    built = call.build()
    return Spec(call.to_spec(built), registry.kind, built)


def describe(built: object, *registries: Registry[Any], kept: Collection[str] = ()) -> str:
    """Return the spec of an object whose class is in one of the registries.

    Args:
        built: A dataclass; its fields are the parameters.
        registries: Where to look for the class, in this order.
        kept: Parameters that the spec sets even if they have their default.

    Raises:
        ScenarioError: no registry has the class, or a spec cannot express a value.
    """
    kinds = " or ".join(registry.kind for registry in registries)
    for registry in registries:
        for name, known in registry.entries().items():
            if known is type(built):
                spec = format_call(name, _set_values(built, kept))
                if build(registry, spec) != built:
                    raise ScenarioError(
                        f"{kinds}: got {built!r}, which differs from {spec}; expected parameters that are "
                        "numbers, texts or truth values."
                    )
                return spec
    if isinstance(built, type):
        raise ScenarioError(
            f"{kinds}: got the class {built.__name__}, expected an object: {built.__name__}()."
        )
    defined = built if inspect.isfunction(built) else type(built)
    own = code_name_of(defined)
    fitting = [registry for registry in registries if own is not None and own in registry]
    if own is None or not fitting:
        raise ScenarioError(
            f"{kinds}: got {built!r}, and {defined.__name__} is not registered; give a name or an object "
            f"of a registered class, or write the code to a file and give my_file.py:{defined.__name__}."
        )
    return format_call(fitting[0].canonical(own), {} if defined is built else _set_values(built, kept))


def _set_values(built: object, kept: Collection[str]) -> dict[str, object]:
    """Return the parameters of an object that differ from their default, or are in `kept`."""
    return {
        described.name: getattr(built, described.name)
        for described in dataclasses.fields(built)  # type: ignore[arg-type]  # registered classes are dataclasses
        if described.name in kept or getattr(built, described.name) != _default(described)
    }


def validated_by(reader: Callable[[Any], str]) -> WrapValidator:
    """Return a pydantic validator that replaces the text or object of a field by `reader(value)`."""

    def validate(value: object, handler: ValidatorFunctionWrapHandler) -> str:
        is_object = (dataclasses.is_dataclass(value) and not isinstance(value, type)) or callable(value)
        return reader(value if isinstance(value, Spec) or is_object else handler(value))

    return WrapValidator(validate)


def build(registry: Registry[type[T]], spec: str, **defaults: object) -> T:
    """Build the object that `spec` describes, of a class in `registry`.

    Args:
        registry: Dataclasses; their fields are the parameters.
        spec: A name, with or without parameters.
        defaults: Values of parameters that the class has and the spec does not set.

    Raises:
        ScenarioError: the name or a parameter is unknown, or a value is invalid.
    """
    return Call.check(registry, spec, *parse_call(spec)).build(**defaults)


@functools.lru_cache(maxsize=256)
def _adapter(kind: Any) -> TypeAdapter[Any]:
    """Return the validator of a class's parameters. Building it takes a hundred times as long as a call."""
    return TypeAdapter(kind)


def _default(described: dataclasses.Field[Any]) -> object:
    if described.default_factory is not dataclasses.MISSING:
        return described.default_factory()
    return described.default


def format_call(name: str, parameters: Mapping[str, object]) -> str:
    """Return the spec from which `parse_call` returns this name and these parameters.

    >>> format_call("alie", {"z": None}), format_call("alie", {}), format_call("csv", {"path": "a,b"})
    ('alie(z=none)', 'alie', 'csv(path="a,b")')
    """
    written = [f"{parameter}={_format_value(value)}" for parameter, value in parameters.items()]
    return f"{name}({', '.join(written)})" if written else name


def _format_value(value: object) -> str:
    """Return a parameter's value as text, in quotation marks if it would mean something else without."""
    if value is None or isinstance(value, bool):
        return str(value).lower()
    ambiguous = isinstance(value, str) and (parse_scalar(value) != value or set(value) & set(_SPECIAL))
    if ambiguous and '"' not in str(value):  # a spec with a quoted parameter is unambiguous as it is
        return f'"{value}"'
    return str(value)


def validation_message(error: ValidationError) -> str:
    """Return the errors of pydantic as one line: field, reason and value."""
    lines = []
    for item in error.errors():
        where = ".".join(str(part) for part in item["loc"])
        if item["type"] == "value_error":  # raised by our own validators: the message is complete
            lines.append(item["msg"].removeprefix("Value error, "))
            continue
        if item["type"] == "missing":
            lines.append(f"got no {where}, expected {where}=<value>")
            continue
        given = "" if isinstance(item["input"], dict) else f", got {item['input']!r}"
        if item["type"] == "less_than_equal" and item["ctx"]["le"] == 1:
            given += ", expected a share from 0 to 1, such as 0.2"
        lines.append(f"{where}: {item['msg']}{given}" if where else item["msg"])
    return "; ".join(lines)
