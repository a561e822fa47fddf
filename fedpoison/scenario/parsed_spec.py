"""Canonical specs together with the objects that they describe."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, Self, TypeVar

from fedpoison.own_code import files_in, is_deferring, refers_to_code

T = TypeVar("T")


class Spec(str, Generic[T]):  # noqa: SLOT000  # it has two attributes
    """Spec in canonical form, together with the object that it describes.

    Files, hashes and messages use it as a text. `read` returns a `Spec` unchanged, so each text is parsed
    once.
    """

    kind: str
    """Kind of the registry, such as `attack`."""
    value: T

    def __new__(cls, text: str, kind: str, value: T) -> Self:
        spec = super().__new__(cls, text)
        spec.kind, spec.value = kind, value
        return spec

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        if self.kind in READERS and refers_to_code(self):
            return _read_again, (str(self), self.kind, *files_in(self))
        return type(self), (str(self), self.kind, self.value)


class DeferredSpec(Spec[T]):
    """Canonical spec that names the code of a user. The code runs when `value` is first used."""

    def __new__(cls, text: str, kind: str, *_files: object) -> Self:
        spec = str.__new__(cls, text)
        spec.kind = kind
        return spec

    def __getattr__(self, name: str) -> Any:
        if name != "value":
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")
        self.value = READERS[self.kind](str(self)).value
        return self.value

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return type(self), (str(self), self.kind, *files_in(self))


def deferred(spec: object, kind: str) -> DeferredSpec[Any] | None:
    """Return a spec whose code is deferred, within `defer_code` and if the spec names the code of a user."""
    if is_deferring() and isinstance(spec, str) and refers_to_code(spec):
        return DeferredSpec(spec, kind)
    return None


READERS: dict[str, Callable[[Any], Spec[Any]]] = {}
"""Reader of each kind of spec. Another process reads a spec again if the spec names the code of a user."""


def _read_again(text: str, kind: str, *_files: object) -> Spec[Any]:
    """Return the spec. The process knows the content of the files since it unpickled them."""
    return READERS[kind](text)
