"""The shortest spelling of each thing that a scenario names."""

from __future__ import annotations

from collections.abc import Callable

from fedpoison.pipelines import canonical_pipeline
from fedpoison.registries import canonical_attack, canonical_dataset, models, partitions
from fedpoison.schedules import schedules
from fedpoison.specs import canonical


def _partition(spec: str) -> str:
    return canonical(partitions, spec)


SPELLINGS: dict[str, Callable[[str], str]] = {
    "dataset": canonical_dataset,
    "partition": _partition,
    "malicious_partition": _partition,
    "model": models.check,
    "attack": canonical_attack,
    "schedule": lambda spec: canonical(schedules, spec),
    "goal": canonical_attack,
    "strategy": canonical_pipeline,
}
"""By field, what turns a spec into its shortest spelling or raises ScenarioError."""
