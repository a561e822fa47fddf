"""Provenance of a run: versions, machine, time. Warnings about runs that another version wrote."""

from __future__ import annotations

import functools
import json
import os
import platform
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from hashlib import blake2b
from importlib.metadata import PackageNotFoundError, entry_points, version
from importlib.util import find_spec
from pathlib import Path

import torch

from fedpoison.processors import processor_count
from fedpoison.results.store import StoredRun

Notify = Callable[[str], None]
"""Function that shows a warning to the user before a run."""
PACKAGES = ("fedpoison", "torch", "torchvision", "flwr", "ray", "numpy", "pandas", "scikit-learn", "pydantic")

COMMAND_VARIABLE = "FEDPOISON_COMMAND"
"""Environment variable with the user's command, for a run in processes that Flower starts."""
HIDDEN = "***"
"""Replacement of a secret."""
_SECRET_OPTION = re.compile(r"-.*(token|secret|passw|credential|auth|\bkey)", re.IGNORECASE)
_SECRET_IN_ADDRESS = re.compile(r"(\w://)[^/@\s]+@")


def versions() -> dict[str, str]:
    """Return the installed version of each package that a result may depend on."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


@functools.cache
def sources() -> str:
    """Return a digest of the code that results depend on: this package's and that of its plug-ins."""
    digest = blake2b(digest_size=6)
    for path in _sources():
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _sources() -> Iterator[Path]:
    ours = Path(__file__).parents[1]
    for package in (ours, ours.parent / "strategies", ours.parent / "clients"):
        for path in sorted(package.rglob("*.py")):
            if not {ours / "cli", ours / "report"} & set(path.parents):
                yield path
    points = entry_points()
    added = {
        point.module
        for group in points.groups
        if group.startswith("fedpoison.")
        for point in points.select(group=group)
    }
    for module in sorted(added):
        with suppress(ImportError):  # a broken package is not used
            found = find_spec(module)
            if found is not None and found.origin is not None:
                yield Path(found.origin)


def environment(
    engine: str, workers: int | None, warnings: Sequence[str] = (), classes: Sequence[str] = ()
) -> dict[str, object]:
    """Return the content of a run's `environment.json`, with the user's warnings and the names of classes."""
    named = {"classes": list(classes)} if classes else {}
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": command(),
        "engine": engine,
        "workers": workers or processor_count(),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "system": platform.platform(),
        "processors": processor_count(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "packages": versions(),
        "sources": sources(),
        "warnings": list(warnings),
        **named,
    }


def command() -> list[str]:
    """Return the command that started this run, without secrets.

    In a process that Flower starts, the command is that of the user, if `fedpoison` started Flower.
    """
    given = os.environ.get(COMMAND_VARIABLE)
    return without_secrets(sys.argv if given is None else json.loads(given))


def without_secrets(arguments: Iterable[str]) -> list[str]:
    """Replace values of options such as `--token`, and user names and passwords in addresses.

    >>> without_secrets(["run", "--token", "5b54", "--password=abc", "--lr", "0.1", "https://me:abc@host/runs"])
    ['run', '--token', '***', '--password=***', '--lr', '0.1', 'https://***@host/runs']
    """
    shown: list[str] = []
    hide = False
    for argument in arguments:
        name, equals, _ = argument.partition("=")
        secret = not hide and _SECRET_OPTION.match(name) is not None
        if hide or (secret and equals):
            shown.append(name + equals + HIDDEN if secret else HIDDEN)
        else:
            shown.append(_SECRET_IN_ADDRESS.sub(rf"\1{HIDDEN}@", argument))
        hide = secret and not equals
    return shown


def warn_version_mismatch(runs: Iterable[StoredRun], notify: Notify) -> None:
    """Notify once of each other version, and of other code of this version, that wrote stored runs."""
    writers = dict.fromkeys(_written_by(run) for run in runs)
    if not writers:
        return
    ours = versions()["fedpoison"]
    for other in dict.fromkeys(other for other, _ in writers):
        if other not in (None, ours):
            notify(f"loaded runs that fedpoison {other} wrote; this is {ours}. To repeat them, use --fresh.")
    if {code for other, code in writers if other == ours} - {None, sources()}:
        notify(
            f"loaded runs that fedpoison {ours} wrote before its code, or a plug-in, was edited. "
            "To repeat them, use --fresh."
        )


def _written_by(run: StoredRun) -> tuple[str | None, str | None]:
    """Return the version that wrote a run, and the digest of its code. None: unknown."""
    known = run.environment
    packages = known.get("packages")
    installed = packages.get("fedpoison") if isinstance(packages, dict) else None
    code = known.get("sources")
    return installed, code if isinstance(code, str) else None
