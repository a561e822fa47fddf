"""Names that load on first use, and registries of what is built in or added by other packages."""

from __future__ import annotations

import functools
import inspect
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import is_dataclass
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from operator import attrgetter
from typing import Any, Generic, TypeVar

from fedpoison.errors import ScenarioError, code_errors, unknown
from fedpoison.own_code import is_code_name, read_code_name

Entry = TypeVar("Entry")

_KINDS = "attacks strategies preaggregators optimizers schedules datasets models partitions"
GROUPS = {kind: f"fedpoison.{kind}" for kind in _KINDS.split()}
"""Entry-point group of each kind of name that other packages can add."""
_REPAIR = "Correct the package, install another version of it, or uninstall it."


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


def _load(point: EntryPoint) -> Any:
    """Import what an entry point names, or raise a ScenarioError that names its package, group and cause."""
    try:
        return point.load()
    except (Exception, SystemExit) as error:
        cause = " ".join("".join(traceback.format_exception_only(error)).split())
        raise ScenarioError(f"{_origin(point)}: cannot be loaded ({cause}). {_REPAIR}") from error


def _has(entry: object, member: str) -> bool:
    """Return whether an object has an attribute such as `card.paper`."""
    try:
        attrgetter(member)(entry)
    except AttributeError:
        return False
    return True


def _origin(point: EntryPoint) -> str:
    """Return the package and the group of an entry point, for messages."""
    package = point.dist.name if point.dist is not None else point.module.partition(".")[0]
    return f"package {package}: the entry point {point.name} of the group {point.group}"


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
        members: Attributes that an entry of another package must have.
        dataclass: Whether an entry of another package must be a dataclass.
        from_function: Converts a function of a user into an entry. Default: functions are no entries.
    """

    def __init__(
        self,
        kind: str,
        builtin: Mapping[str, Entry],
        group: str,
        *members: str,
        dataclass: bool = True,
        from_function: Callable[[Callable[..., object]], Entry] | None = None,
    ) -> None:
        self.kind = kind
        self.group = group
        self.builtin = builtin
        self._members = members
        self._dataclass = dataclass
        self._from_function = from_function
        self._own: dict[str, Any] = {}

    def entries(self) -> dict[str, Entry]:
        """Return all entries by name, sorted. A built-in entry hides an entry point of the same name.

        Entry points that cannot be used are left out. `broken` returns their messages.
        """
        loaded = {}
        for name in added(self.group):
            with suppress(ScenarioError):  # one broken package does not hide the names of the others
                loaded[name] = self[name]
        return dict(sorted({**loaded, **self.builtin}.items()))

    def broken(self) -> list[str]:
        """Return the message of each entry point of another package that cannot be used."""
        messages = []
        for name in added(self.group):
            try:
                self[name]
            except ScenarioError as error:
                messages.append(str(error))
        return messages

    def __contains__(self, name: str) -> bool:
        if is_code_name(name):
            return self._fits(self._load_own(name))
        return name in self.builtin or name in added(self.group)

    def __getitem__(self, name: str) -> Entry:
        """Return the entry of that name, or raise a ScenarioError that suggests the nearest name."""
        if name in self.builtin:
            return self.builtin[name]
        if is_code_name(name):
            return self._checked(self._load_own(name), lambda: (f"{self.kind} {name}", "Correct the code."))
        points = added(self.group)
        if name not in points:
            raise unknown(self.kind, name, self.entries())
        return self._checked(_load(points[name]), lambda: (_origin(points[name]), _REPAIR))

    def canonical(self, name: str) -> str:
        """Return the name of an entry with which another process finds it."""
        return str(read_code_name(name)) if is_code_name(name) else name

    def _load_own(self, name: str) -> Any:
        """Return what a name such as `my_file.py:MyRule` refers to, loaded once per content of the file."""
        code = read_code_name(name)
        if str(code) not in self._own:
            found = code.load()
            if inspect.isfunction(found) and self._from_function is not None:
                with code_errors(name, ScenarioError):
                    found = self._from_function(found)
            self._own[str(code)] = found
        return self._own[str(code)]

    def _fits(self, entry: object) -> bool:
        right_kind = isinstance(entry, type) and is_dataclass(entry)
        return all(_has(entry, member) for member in self._members) and (right_kind or not self._dataclass)

    def _checked(self, entry: Any, describe: Callable[[], tuple[str, str]]) -> Entry:
        """Return the entry, or raise a ScenarioError with the origin and the repair from `describe`."""
        if not self._fits(entry):
            origin, repair = describe()
            kind = "a dataclass" if self._dataclass else "an object"
            raise ScenarioError(
                f"{origin}: got {entry!r}, expected {kind} with {', '.join(self._members)}. {repair}"
            )
        checked: Entry = entry
        return checked

    def check(self, name: str) -> str:
        """Return `name` if it is known; otherwise raise a ScenarioError that suggests the nearest name."""
        self[name]
        return name
