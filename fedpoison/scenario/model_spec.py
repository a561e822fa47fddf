"""Models in a scenario: registered names with parameters, code of users, and objects."""

from __future__ import annotations

import copy
import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, cast
from weakref import WeakValueDictionary

import torch
from pydantic import TypeAdapter, ValidationError
from torch import nn
from torch.nn.parameter import UninitializedParameter

from fedpoison import models as model_builders
from fedpoison.errors import ScenarioError, code_errors, unknown
from fedpoison.models import Shape
from fedpoison.own_code import CodeName, is_code_name, read_code_name
from fedpoison.scenario.parsed_spec import Spec
from fedpoison.scenario.registries import models
from fedpoison.scenario.specs import format_call, parse_call

GIVEN = ("shape", "classes", "num_classes")
"""Parameters of a builder that depend on the data set: the shape of a sample, and the number of classes."""
_OBJECT = re.compile(r"\w+@[0-9a-f]{12}")
_objects: WeakValueDictionary[str, nn.Module] = WeakValueDictionary()
"""Models that scenarios of this process were given as objects, by their text."""


@dataclass(frozen=True, eq=False)
class ModelChoice:
    """A model of a scenario, which `build` builds for the data set."""

    text: str
    """Spec, for error messages."""
    made_by: Callable[..., object] | nn.Module | CodeName | None
    """Builder or model. A `CodeName` is loaded when it is built. None: the model is not available."""
    parameters: Mapping[str, object] = field(default_factory=dict)

    @property
    def is_object(self) -> bool:
        """Whether the model was given as an object, which only this process and those of Ray have."""
        return _OBJECT.fullmatch(self.text) is not None

    def build(self, shape: Shape, classes: int, generator: torch.Generator) -> nn.Module:
        """Build the model on the CPU. A model that was given as an object is copied with its weights.

        Args:
            shape: Shape of one sample.
            classes: Number of classes.
            generator: Random stream of the initial weights.

        Raises:
            ScenarioError: the builder raises, does not return a module, or is not available.
        """
        made_by = self.made_by
        if made_by is None:
            raise ScenarioError(
                f"model {self.text}: was given as an object, which no file contains; expected the object "
                "again, as in model=MyNet(), or its code, as in my_file.py:MyNet."
            )

        def built(shape: Shape, classes: int) -> nn.Module:
            with code_errors(f"model {self.text}", ScenarioError):
                found = made_by.load() if isinstance(made_by, CodeName) else made_by
                if isinstance(found, nn.Module):
                    return copy.deepcopy(found).cpu()
                found = _call(found, self.text, self.parameters, shape, classes)
                if not isinstance(found, nn.Module):
                    raise ScenarioError(
                        f"model {self.text}: got {type(found).__name__}, expected a torch.nn.Module, or a "
                        "function that returns one."
                    )
                return found.cpu()

        return model_builders.build(built, shape, classes, generator)


def read_model(spec: str | nn.Module) -> Spec[ModelChoice]:
    """Return a model's spec in canonical form, with its parsed form.

    Args:
        spec: A registered name with or without parameters, `my_file.py:MyNet`, `package.module:MyNet`, or a
            module. The text of a module contains a digest of its weights and its `repr`.

    Raises:
        ScenarioError: the name or a parameter is unknown, a value is invalid, or a file cannot be loaded.
    """
    if isinstance(spec, Spec) and spec.kind == models.kind:
        return spec
    if isinstance(spec, nn.Module):
        return _read_object(spec)
    if not isinstance(spec, str):
        raise ScenarioError(
            f"model: got {spec!r}, expected a name such as cnn, a torch.nn.Module, or my_file.py:MyNet."
        )
    if _OBJECT.fullmatch(spec):
        return Spec(spec, models.kind, ModelChoice(spec, _objects.get(spec)))
    name, parameters = parse_call(spec)
    if not is_code_name(name):
        builder = models[name]
        values = _checked(name, builder, parameters)
        text = format_call(name, values)
        return Spec(text, models.kind, ModelChoice(text, builder, values))
    code = read_code_name(name)
    if code.available and "@" not in name:
        found = code.load()
        if isinstance(found, nn.Module) and parameters:
            raise ScenarioError(f"{name}: is a model, not a builder, and has no parameters.")
        if not callable(found):
            raise ScenarioError(f"{name}: got {type(found).__name__}, expected a model or its builder.")
        parameters = {} if isinstance(found, nn.Module) else _checked(name, found, parameters)
    text = format_call(str(code), parameters)
    return Spec(text, models.kind, ModelChoice(text, code, parameters))


def _read_object(module: nn.Module) -> Spec[ModelChoice]:
    check_initialised(f"model {type(module).__name__}", module)
    with code_errors(f"model {type(module).__name__}", ScenarioError):
        kept = copy.deepcopy(module).cpu()
        state = kept.state_dict()
    digest = blake2b(repr(kept).encode(), digest_size=6)
    frozen = [name for name, parameter in kept.named_parameters() if not parameter.requires_grad]
    digest.update(repr((type(kept).__qualname__, frozen)).encode())
    for name, value in sorted(state.items()):
        if isinstance(value, torch.Tensor):
            digest.update(repr((name, value.dtype, value.shape)).encode())
            digest.update(value.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    text = f"{type(kept).__name__}@{digest.hexdigest()}"
    _objects[text] = kept
    return Spec(text, models.kind, ModelChoice(text, kept))


def check_initialised(place: str, module: nn.Module) -> None:
    """Raise ScenarioError if a lazy layer of the module has no parameters yet."""
    if any(isinstance(parameter, UninitializedParameter) for parameter in module.parameters()):
        raise ScenarioError(
            f"{place}: has lazy layers, expected initialised parameters; run the model on a sample first, or "
            "give the sizes of its inputs."
        )


def builder_parameters(builder: Callable[..., object]) -> dict[str, inspect.Parameter]:
    """Return the parameters of a builder that a spec can set, by name."""
    signature = inspect.signature(builder, eval_str=True)
    required = [name for name, each in signature.parameters.items() if _is_required(each)]
    given = {*GIVEN, *(required if len(required) == len(("shape", "classes")) else ())}
    return {name: each for name, each in signature.parameters.items() if name not in given}


def _is_required(parameter: inspect.Parameter) -> bool:
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return parameter.kind in positional and parameter.default is inspect.Parameter.empty


def _call(builder: object, text: str, parameters: Mapping[str, object], shape: Shape, classes: int) -> object:
    """Call a builder with the shape, the classes and its parameters.

    It receives the shape and the classes as its only two required arguments, or by these names.
    """
    if not callable(builder):
        raise ScenarioError(f"model {text}: got {type(builder).__name__}, expected a model or its builder.")
    signature = inspect.signature(builder)
    required = [name for name, each in signature.parameters.items() if _is_required(each)]
    if len(required) == len(("shape", "classes")) and not set(required) & set(parameters):
        return builder(shape, classes, **parameters)
    known = {"shape": shape, "classes": classes, "num_classes": classes}
    given = {name: value for name, value in known.items() if name in signature.parameters}
    return builder(**given | dict(parameters))


def _checked(name: str, builder: object, parameters: Mapping[str, Any]) -> dict[str, object]:
    """Return the parameters that differ from their default, converted to the type of their annotation.

    Raises:
        ScenarioError: a parameter is unknown, or has a wrong value.
    """
    with code_errors(name, ScenarioError):
        signature = inspect.signature(cast("Callable[..., object]", builder), eval_str=True)
    known = signature.parameters
    catches_all = any(each.kind is inspect.Parameter.VAR_KEYWORD for each in known.values())
    settable = builder_parameters(cast("Callable[..., object]", builder))
    values: dict[str, object] = {}
    for parameter, value in parameters.items():
        if parameter not in settable and parameter != "num_classes":
            if catches_all:
                values[parameter] = value
                continue
            if not settable:
                raise ScenarioError(f"{name} has no parameters, got {parameter!r}: write only {name}.")
            raise unknown(f"parameter of {name}", parameter, settable)
        described = known.get(parameter)
        annotation = Any if described is None else described.annotation
        if annotation is inspect.Parameter.empty:
            annotation = Any
        try:
            converted = TypeAdapter[Any](annotation).validate_python(value)
        except ValidationError as error:
            raise ScenarioError(f"{name}: {parameter}: {error.errors()[0]['msg']}, got {value!r}.") from None
        if described is None or converted != described.default:
            values[parameter] = converted
    return values
