"""The data of a malicious client in any training loop: attacks on data sets, arrays and tensors."""

from __future__ import annotations

from collections.abc import Collection
from copy import deepcopy
from typing import Any, TypeVar, cast

import torch
from flwr.app import Context
from torch import Tensor, nn

from clients.attacks.base import Attack, AttackSetting, ClientContext
from clients.training.local_training import LocalTraining
from clients.training.parameters import flatten, layout_of
from clients.training.samples import Samples
from clients.training.trainer import Trainer
from fedpoison.errors import ScenarioError
from fedpoison.federation.attack_checks import check_attack_in
from fedpoison.flower.attack_argument import read_data_attack
from fedpoison.flower.client_mod import store_memory, stored_memory
from fedpoison.flower.data_sources import Change, Source
from fedpoison.flower.malicious import Malicious, Place
from fedpoison.rng import generator_for

Data = TypeVar("Data")
MEMORY = "fedpoison-data"
"""Key of the attack's memory in the state of a client."""


def poison_dataset(
    data: Data,
    attack: str | Attack,
    *,
    context: Context | None = None,
    node: int | None = None,
    partitions: int | None = None,
    malicious: float | None = None,
    nodes: Collection[int] = (),
    seed: int = 0,
    server_round: int = 1,
    classes: int | None = None,
    mean: Collection[float] | None = None,
    std: Collection[float] | None = None,
    model: nn.Module | None = None,
    keys: tuple[str, str] | None = None,
) -> Data:
    """Return the data of a malicious client poisoned, and the data of an honest client unchanged.

    The result has the kind of `data`, so that any training loop takes it. A data set stays lazy: only its
    poisoned items are kept in memory, and all other items still come from `data`.

    Args:
        data: A pair of inputs and labels, which are NumPy arrays or tensors. Or a data set with a length,
            whose items are pairs or mappings, such as one of torch or of Hugging Face.
        attack: An attack on data, as text or object.
        context: Flower's context of the client, which contains its partition and stores the state of the
            attack.
        node: Number of the client's partition, if there is no context.
        partitions: Number of partitions, for `node`.
        malicious: Share of malicious clients, 0 to 1.
        nodes: Malicious clients, in place of a share: numbers of partitions, or node ids.
        seed: Seed of the decision who is malicious, and of the poison.
        server_round: Round, for attacks that draw new random numbers in each round.
        classes: Number of classes. Default: that of the data set if it knows it, otherwise the largest label
            of this client plus 1.
        mean: Mean of each channel with which the inputs were normalised. Default: 0.
        std: Standard deviation of each channel with which the inputs were normalised. Default: 1.
        model: The global model, for attacks that compute gradients or features. It is not changed.
        keys: Keys of the input and the label in items that are mappings. Default: common names.

    Raises:
        ScenarioError: the attack is unknown, changes training or updates, or does not fit the data.
    """
    read = read_data_attack(attack)
    place = _place(Malicious.read(malicious, nodes, seed), context, node, partitions)
    if place is None:
        return data
    source = Source.read(data, keys)
    samples = source.samples(classes, mean, std)
    known = classes or source.classes
    if known is not None:
        _check_classes(read, known)
    check_attack_in(_setting(samples, read, model, partitions, place), read, repr(read))
    stored = {} if context is None else stored_memory(context.state, MEMORY)
    poisoned = read.poison_data(
        samples, _trainer(read, model), _context(place, seed, server_round, stored, model)
    )
    if context is not None and stored:
        store_memory(context.state, MEMORY, stored)
    return cast("Data", source.poisoned(Change.between(samples, poisoned, source.inputs, read)))


class _NoModel:
    """Replaces the trainer of attacks that need none, and refuses the others."""

    def __init__(self, attack: Attack) -> None:
        self._attack = attack

    def __getattr__(self, name: str) -> Any:
        raise ScenarioError(
            f"attack {self._attack!r}: computes with the global model, got no model; expected an nn.Module: "
            "poison_dataset(..., model=model)."
        )


def _place(who: Malicious, context: Context | None, node: int | None, partitions: int | None) -> Place | None:
    if (context is None) == (node is None):
        raise ScenarioError("client: got context and node, or none of them, expected one of the two.")
    if context is not None:
        return who.place_of(context)
    assert node is not None  # noqa: S101  # checked above
    if who.share is None:
        return who.place(node, who.nodes)
    if partitions is None or not 0 <= node < partitions:
        raise ScenarioError(
            f"node: got the partition {node} of {partitions}, expected a number below `partitions`, since a "
            "share of them is malicious."
        )
    return who.place(node, who.of_partitions(partitions))


def _setting(
    samples: Samples, attack: Attack, model: nn.Module | None, partitions: int | None, place: Place
) -> AttackSetting:
    return AttackSetting(
        samples=samples,
        class_counts=None,
        training=LocalTraining(),
        layout=() if model is None else layout_of(model),
        clients=partitions or place.size,
        malicious=place.size,
        trainer=lambda: _trainer(attack, model),
    )


def _trainer(attack: Attack, model: nn.Module | None) -> Trainer:
    if model is None:
        return cast("Trainer", _NoModel(attack))
    return Trainer(deepcopy(model), LocalTraining())


def _context(
    place: Place, seed: int, server_round: int, memory: dict[str, Tensor], model: nn.Module | None
) -> ClientContext:
    parameters = {} if model is None else dict(model.named_parameters())
    return ClientContext(
        generator=generator_for(seed, "client", place.client_id, "round", server_round),
        poison_generator=generator_for(seed, "poison", place.client_id),
        round=server_round,
        client_id=place.client_id,
        rank=place.rank,
        size=place.size,
        model=flatten(parameters.values()) if parameters else torch.zeros(0),
        layout=tuple((name, parameter.shape) for name, parameter in parameters.items()),
        memory=memory,
    )


def _check_classes(attack: Attack, classes: int) -> None:
    try:
        attack.goal(classes)
    except ValueError as error:
        raise ScenarioError(f"attack {attack!r}: {error}") from None
