"""The scenario as Flower's run-config: flat, without lists, and without missing values."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from flwr.app import Context

from fedpoison.scenario.scenario import Scenario

OUT = "out"
"""Key of the run store."""
DATA_DIR = "data-dir"
"""Key of the folder with the data sets."""


def to_run_config(
    scenario: Scenario, *, out: str = "", data_dir: str = ""
) -> dict[str, int | float | str | bool]:
    """Return the scenario as a run-config; what is unset becomes an empty text."""
    values: dict[str, Any] = scenario.model_dump(mode="json")
    values["malicious_nodes"] = ",".join(str(client_id) for client_id in scenario.malicious_nodes)
    values["groups"] = "; ".join(group.to_spec() for group in scenario.groups)
    return {name: "" if value is None else value for name, value in values.items()} | {
        OUT: out,
        DATA_DIR: data_dir,
    }


def from_run_config(config: Mapping[str, Any]) -> tuple[Scenario, Path | None, Path | None]:
    """Return the scenario, the run store and the data folder that a run-config describes.

    Raises:
        ScenarioError: a field is unknown, or a value does not fit.
    """
    fields = {name: value for name, value in config.items() if value != ""}
    out, data_dir = fields.pop(OUT, None), fields.pop(DATA_DIR, None)
    return Scenario.parse(fields), _path(out), _path(data_dir)


def scenario_of(context: Context) -> tuple[Scenario, Path | None, Path | None]:
    """Return what the run-config of a Flower context describes."""
    return _read(tuple(sorted(context.run_config.items())))


@lru_cache(maxsize=8)
def _read(items: tuple[tuple[str, Any], ...]) -> tuple[Scenario, Path | None, Path | None]:
    """Read each run-config once: Flower hands it over with every message."""
    return from_run_config(dict(items))


def _path(value: str | None) -> Path | None:
    return None if value is None else Path(value).expanduser()
