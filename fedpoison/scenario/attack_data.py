"""Data sets that attacks name: read them, and add the digest of their content to the attack."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from clients.attacks.composite import Composite, parts_of
from clients.attacks.data.edge_case import EdgeCase
from clients.attacks.named_data import READERS
from clients.attacks.training.dark_fed import DarkFed
from clients.training.samples import Samples
from fedpoison.data.datasets import AUTO, load_dataset
from fedpoison.data.own import OwnData
from fedpoison.errors import ScenarioError
from fedpoison.scenario.datasets import dataset_identity, own_spec, read_dataset
from fedpoison.scenario.parsed_spec import DeferredSpec
from fedpoison.scenario.registries import read_attack


def read_samples(dataset: str) -> tuple[Samples, Samples]:
    """Return the training and the test set of the data set that an attack names. Nothing is downloaded.

    Raises:
        ScenarioError: the data set is unknown, or `auto`.
        DataError: the data set is not available, cannot be used, or has changed since the run.
    """
    if dataset == AUTO:
        raise ScenarioError(f"dataset: got {AUTO}, expected a certain data set in an attack, such as kmnist.")
    source = read_dataset(dataset).value
    if isinstance(source, OwnData):
        _, train, test = source.load()
        return train, test
    loaded = load_dataset(dataset, download=False)
    return loaded.train, loaded.test


if not READERS:
    READERS.append(read_samples)


def locate_attack_data(spec: str) -> str:
    """Return the attack with absolute paths, and with the digest of the content of each own data set.

    Raises:
        DataError: the data cannot be read.
    """
    return _with_data(spec, _located)


def needs_locating(spec: str) -> bool:
    """Return whether the attack names own data without the digest of its content."""
    return any(
        isinstance(source := read_dataset(part.dataset).value, OwnData) and not source.content
        for part in _naming(spec)
    )


def attack_identity(spec: str) -> str:
    """Return the attack without the places of own data, if it has the digest of their content."""
    return _with_data(spec, dataset_identity)


def _naming(spec: str) -> list[EdgeCase | DarkFed]:
    """Return the parts of an attack that name a data set. The code of a user is not run."""
    if isinstance(spec, DeferredSpec) or "dataset=" not in spec:
        return []
    parts = parts_of(read_attack(spec).value)
    return [part for part in parts if isinstance(part, EdgeCase | DarkFed) and part.dataset]


def _with_data(spec: str, change: Callable[[str], str]) -> str:
    if not _naming(spec):
        return spec
    parts = [
        replace(part, dataset=change(part.dataset))
        if isinstance(part, EdgeCase | DarkFed) and part.dataset
        else part
        for part in parts_of(read_attack(spec).value)
    ]
    return read_attack(parts[0] if len(parts) == 1 else Composite(parts=tuple(parts)))


def _located(dataset: str) -> str:
    source = read_dataset(dataset).value
    return str(own_spec(source.located())) if isinstance(source, OwnData) and not source.content else dataset
