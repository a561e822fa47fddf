"""Data sets that the code of a user loads: `my_file.py:load` and `package.module:load`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Self, cast

from clients.training.samples import Samples
from fedpoison.data.arrays import samples_digest
from fedpoison.data.objects import to_sets
from fedpoison.data.own import OwnData
from fedpoison.errors import ScenarioError, code_errors
from fedpoison.own_code import CodeName


@dataclass(frozen=True, kw_only=True)
class CodeData(OwnData):
    """A function that returns arrays, tensors or torch data sets, or such an object, in the code of a user.

    An object with the methods of `Source` works as well. The code must return the same data each time.
    """

    code: CodeName
    parameters: tuple[tuple[str, Any], ...] = ()
    """Arguments of the function."""

    @property
    def title(self) -> str:
        return f"{self.code.place}:{self.code.attribute}"

    def located(self) -> Self:
        return replace(self, content=samples_digest(*self.read()))

    def read(self) -> tuple[Samples, Samples]:
        return _read_once(replace(self, content=""))

    def settings(self, *, places: bool) -> dict[str, object]:
        return dict(self.parameters) | ({"content": self.content} if self.content else {})


@lru_cache(maxsize=2)
def _read_once(data: CodeData) -> tuple[Samples, Samples]:
    found = data.code.load()
    with code_errors(f"dataset {data.title}", ScenarioError):
        if isinstance(found, type) or (callable(found) and not hasattr(found, "__getitem__")):
            found = cast("Callable[..., object]", found)(**dict(data.parameters))
        if isinstance(found, OwnData):
            return found.read()
        if hasattr(found, "read"):
            read: tuple[Samples, Samples] = found.read(Path())
            return read
        return to_sets(found, data.title)
