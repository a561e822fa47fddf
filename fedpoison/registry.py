"""Names that load on first use, and registries of what is built in or added by other packages."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Generic, TypeVar

from fedpoison.errors import unknown

Entry = TypeVar("Entry")

_KINDS = "attacks strategies preaggregators optimizers schedules datasets models partitions"
GROUPS = {kind: f"fedpoison.{kind}" for kind in _KINDS.split()}
"""Entry-point group of each kind of name that other packages can add."""


def lazy_names(
    package: str, modules: Mapping[str, Sequence[str]]
) -> tuple[Callable[[str], object], Callable[[], list[str]], list[str]]:
    """Return `__getattr__`, `__dir__` and `__all__` of a package whose names load on first use.

    Args:
        package: `__name__` of the package.
        modules: Public names by their module, such as `fedpoison.results.history`. The names of the
            package itself are those of its submodules.
    """
    places = {name: module for module, names in modules.items() for name in names}

    def load(name: str) -> object:
        if name not in places:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        place = places[name]
        value = (
            import_module(f"{package}.{name}") if place == package else getattr(import_module(place), name)
        )
        vars(sys.modules[package])[name] = value
        return value

    return load, lambda: sorted(places), sorted(places)


def added(group: str) -> Mapping[str, EntryPoint]:
    """Return the entry points of a group, by name."""
    return _on_path(group, tuple(sys.path))


@functools.lru_cache(maxsize=64)
def _on_path(group: str, _path: tuple[str, ...]) -> Mapping[str, EntryPoint]:
    """Search all installed packages once per search path, since the search is slow."""
    return {point.name: point for point in entry_points(group=group)}


def misnamed_groups() -> list[str]:
    """Return a message for each entry-point group of an installed package that fedpoison does not know."""
    found = entry_points()
    groups = {group for group in found.groups if group.startswith("fedpoison.")} - {*GROUPS.values()}
    packages = sorted(
        {(group, point.dist.name) for group in groups for point in found.select(group=group) if point.dist}
    )
    return [
        f"package {package}: {unknown('entry-point group', group, GROUPS.values())}"
        for group, package in packages
    ]


class Registry(Generic[Entry]):
    """The built-in entries of one kind by name, with those that other packages add as entry points.

    Args:
        kind: Name of the kind in messages, such as `strategy`.
        builtin: Built-in entries by name.
        group: Entry-point group of the entries of other packages.
    """

    def __init__(self, kind: str, builtin: Mapping[str, Entry], group: str) -> None:
        self.kind = kind
        self.group = group
        self.builtin = builtin

    def entries(self) -> dict[str, Entry]:
        """Return all entries by name, sorted. A built-in entry hides an entry point of the same name."""
        points = added(self.group).items()
        loaded = {name: point.load() for name, point in points if name not in self.builtin}
        return dict(sorted({**loaded, **self.builtin}.items()))

    def __contains__(self, name: str) -> bool:
        return name in self.builtin or name in added(self.group)

    def __getitem__(self, name: str) -> Entry:
        """Return the entry of that name, or raise a ScenarioError that suggests the nearest name."""
        if name in self.builtin:
            return self.builtin[name]
        entries = self.entries()
        if name not in entries:
            raise unknown(self.kind, name, entries)
        return entries[name]

    def check(self, name: str) -> str:
        """Return `name` if it is known; otherwise raise a ScenarioError that suggests the nearest name."""
        self[name]
        return name
