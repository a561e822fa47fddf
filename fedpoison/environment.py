"""What a run was made with: versions, machine, time."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version

import torch

PACKAGES = ("fedpoison", "torch", "torchvision", "flwr", "ray", "numpy", "pandas", "scikit-learn", "pydantic")


def versions() -> dict[str, str]:
    """Return the installed version of each package that a result may depend on."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def environment(engine: str, workers: int | None, warnings: Sequence[str] = ()) -> dict[str, object]:
    """Return what belongs into a run's `environment.json`, with what its user was warned of."""
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": sys.argv,
        "engine": engine,
        "workers": workers or os.cpu_count(),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "system": platform.platform(),
        "processors": os.cpu_count(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "packages": versions(),
        "warnings": list(warnings),
    }
