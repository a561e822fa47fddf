"""A registry: the named things of one kind, built in or added by other packages through entry points."""

from __future__ import annotations

import functools
import sys
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Generic, TypeVar

from fedpoison.errors import unknown

Entry = TypeVar("Entry")


def added(group: str) -> Mapping[str, EntryPoint]:
    """Return the entry points of other packages by name."""
    return _on_path(group, tuple(sys.path))


@functools.lru_cache(maxsize=64)
def _on_path(group: str, _path: tuple[str, ...]) -> Mapping[str, EntryPoint]:
    """Look for them once for each search path: everything that is installed is read."""
    return {point.name: point for point in entry_points(group=group)}


class Registry(Generic[Entry]):
    """The named things of one kind: ours, and those that other packages add through entry points."""

    def __init__(self, kind: str, builtin: Mapping[str, Entry], group: str) -> None:
        self.kind = kind
        self.group = group
        self._builtin = builtin

    def entries(self) -> dict[str, Entry]:
        """Return everything by name, sorted; what is built in wins over an entry point of the same name."""
        points = added(self.group).items()
        loaded = {name: point.load() for name, point in points if name not in self._builtin}
        return dict(sorted({**loaded, **self._builtin}.items()))

    def __contains__(self, name: str) -> bool:
        return name in self._builtin or name in added(self.group)

    def __getitem__(self, name: str) -> Entry:
        """Return the thing of that name, or raise ScenarioError with the nearest name."""
        if name in self._builtin:
            return self._builtin[name]
        entries = self.entries()
        if name not in entries:
            raise unknown(self.kind, name, entries)
        return entries[name]

    def check(self, name: str) -> str:
        """Return `name`, or raise ScenarioError with the nearest name unless it is known."""
        self[name]
        return name
