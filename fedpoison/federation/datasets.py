"""The data set of a scenario: load it, name what was loaded in the scenario, and note what to know of it."""

from __future__ import annotations

from pathlib import Path

from fedpoison.data import AUTO, Dataset, load_dataset
from fedpoison.data.own import OwnData
from fedpoison.data.partition import by_client
from fedpoison.scenario.attack_data import locate_attack_data, needs_locating
from fedpoison.scenario.datasets import own_spec, read_dataset
from fedpoison.scenario.registries import read_partition
from fedpoison.scenario.scenario import ATTACK_FIELDS, Scenario


def dataset_of(scenario: Scenario, *, data_dir: str | Path | None = None) -> Dataset:
    """Load the data set of a scenario.

    Raises:
        DataError: the data set is not available, cannot be used, or has changed since the run.
    """
    source = read_dataset(scenario.dataset).value
    if isinstance(source, OwnData):
        located, train, test = source.load()
        return Dataset(located.title, train, test, located)
    return load_dataset(scenario.dataset, data_dir=data_dir)


def resolve_dataset(scenario: Scenario, dataset: Dataset) -> Scenario:
    """Replace `auto` by the name of the loaded data set, and add the digest of own data, also in attacks.

    If `auto` has fewer samples than the scenario asks for, the scenario uses all of them.
    """
    scenario = _locate_attacks(scenario)
    if dataset.source is not None:
        spec = own_spec(dataset.source)
        return scenario if spec == scenario.dataset else scenario.replace(dataset=spec)
    if scenario.dataset != AUTO:
        return scenario
    remaining = len(dataset.train) - scenario.validation_samples
    sizes = {"train_samples": remaining, "test_samples": len(dataset.test)}
    changes = {field: 0 for field, size in sizes.items() if getattr(scenario, field) > size}
    return scenario.replace(dataset=dataset.name, **changes)


def needs_resolving(scenario: Scenario) -> bool:
    """Return whether the run id depends on the data set that is loaded."""
    source = read_dataset(scenario.dataset).value
    own = isinstance(source, OwnData) and not source.content
    return scenario.dataset == AUTO or own or any(map(needs_locating, _attacks(scenario)))


def _attacks(scenario: Scenario) -> list[str]:
    named = [scenario.attack, *(group.attack for group in scenario.groups), scenario.goal]
    return [attack for attack in named if attack is not None]


def _locate_attacks(scenario: Scenario) -> Scenario:
    """Add the digest of own data to the attacks."""
    if not any(map(needs_locating, _attacks(scenario))):
        return scenario
    groups = [group.content() | {"attack": locate_attack_data(group.attack)} for group in scenario.groups]
    changes = {
        name: locate_attack_data(named) for name in ATTACK_FIELDS if (named := getattr(scenario, name))
    }
    return scenario.replace(groups=groups, **changes)


def data_notes(scenario: Scenario, dataset: Dataset) -> list[str]:
    """Return facts about the data without which the result misleads: mapped labels, and unused clients."""
    train, notes = dataset.train, list[str]()
    if train.class_names and all(name.lstrip("-").isdecimal() for name in train.class_names):
        mapping = ", ".join(f"{name} to {label}" for label, name in enumerate(train.class_names))
        notes.append(f"labels of {dataset.name} are mapped to 0 to {train.classes - 1}: {mapping}")
    if train.clients is not None and not by_client(read_partition(scenario.partition).value):
        notes.append(
            f"{dataset.name} names the client of each sample, and the partition {scenario.partition} ignores "
            "it; to use it, set partition=natural"
        )
    return notes
