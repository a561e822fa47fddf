"""Synthetic clients, samples, trainers and contexts, on which the checks run attacks."""

from collections.abc import MutableMapping
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import partial
from math import prod

import torch
from torch import Tensor, nn

from clients.attacks.base import Attack, ClientContext, CraftContext, Knowledge, OwnTraining
from clients.attacks.composite import craft_updates
from clients.training.local_training import LocalTraining
from clients.training.parameters import layout_of
from clients.training.samples import Samples
from clients.training.trainer import Trainer

ROUNDS = 3
VOCABULARY = 128
"""Number of different tokens."""


@dataclass(kw_only=True)
class SyntheticClients:
    """Malicious and honest clients with random updates, on which an attack runs for a few rounds."""

    m: int = 3
    h: int = 6
    d: int = 24
    """Number of coordinates, a multiple of 4 of at least 8: those of a linear model with 4 classes."""
    dtype: torch.dtype = torch.float32
    rule_sign: int = 1
    tolerated: int = 2
    own: list[Tensor] = field(init=False)
    honest: list[Tensor] = field(init=False)
    models: list[Tensor] = field(init=False)

    def __post_init__(self) -> None:
        generator = torch.Generator().manual_seed(7)

        def draw(*shape: int) -> Tensor:
            return torch.randn(shape, generator=generator, dtype=torch.float64).to(self.dtype)

        drift = draw(self.d)
        self.own = [drift + draw(self.m, self.d) for _ in range(ROUNDS)]
        self.honest = [drift + draw(self.h, self.d) for _ in range(ROUNDS)]
        self.models = [draw(self.d) for _ in range(ROUNDS)]
        self._kept = deepcopy((self.own, self.honest, self.models))
        features = self.d // 4 - 1
        model = nn.Sequential(nn.Flatten(), nn.Linear(features, 4))
        self._trainer = Trainer(model, LocalTraining(batch_size=4))
        self._data = synthetic_samples(12, 4, (1, 1, features))

    def unchanged(self) -> bool:
        """Return whether all tensors still have their initial values."""
        return all(map(bitwise_equal, (self.own, self.honest, self.models), self._kept))

    def _at(self, index: int) -> Trainer:
        """Return the trainer with the global model of a round."""
        self._trainer.load(self.models[index])
        return self._trainer

    def _samples(self, client_id: int) -> Samples:
        """Return samples of a client, a third of them poisoned."""
        return replace(self._data, poisoned=torch.arange(len(self._data)) % self.m == client_id % self.m)

    def run(self, attack: Attack, knowledge: Knowledge | None = None) -> list[Tensor]:
        """Return the malicious clients' updates per round, (m, d) each."""
        memories: dict[tuple[Attack, int | None], dict[str, Tensor]] = {}
        client_ids = tuple(range(self.m))

        def run_round(index: int) -> Tensor:
            def build_context(part: Attack, client_id: int | None) -> CraftContext:
                seed = 100 * index + (99 if client_id is None else client_id)
                return CraftContext(
                    generator=torch.Generator().manual_seed(seed),
                    round=index + 1,
                    client_ids=client_ids if client_id is None else (client_id,),
                    seen_client_ids=tuple(range(self.m, self.m + self.h)),
                    group_client_ids=client_ids,
                    round_client_ids=tuple(range(self.m + self.h)),
                    clients=self.m + self.h,
                    malicious=self.m,
                    model=self.models[index],
                    previous_model=self.models[index - 1] if index else None,
                    initial_model=self.models[0],
                    layout=layout_of(self._trainer.model),
                    rule=lambda updates: self.rule_sign * updates.median(dim=0).values,
                    trust=self._trust,
                    tolerated=self.tolerated,
                    memory=memories.setdefault((part, client_id), {}),
                    own_training=OwnTraining(trainer=partial(self._at, index), samples=self._samples),
                )

            return craft_updates(
                attack,
                self.own[index],
                self.honest[index],
                build_context,
                client_ids=client_ids,
                knowledge=knowledge,
            )

        return [run_round(index) for index in range(ROUNDS)]

    def _trust(self, updates: Tensor) -> Tensor:
        """Return larger weights for updates near the median. The rule's sign reverses the order."""
        distances: Tensor = torch.linalg.vector_norm((updates - updates.median(dim=0).values).double(), dim=1)
        return (-self.rule_sign * distances).softmax(dim=0)


def synthetic_samples(count: int, classes: int, shape: tuple[int, int, int]) -> Samples:
    """Sample normalised random images, with labels of every class."""
    generator = torch.Generator().manual_seed(11)
    images = torch.rand((count, *shape), generator=generator)
    channels = shape[0]
    empty = Samples(
        images, torch.arange(count) % classes, classes, mean=(0.1,) * channels, std=(0.3,) * channels
    )
    return empty.with_pixels(images)


def synthetic_tokens(count: int, classes: int, shape: tuple[int, int, int]) -> Samples:
    """Sample random sequences of tokens, one per value of an image of `shape`, with labels of every class."""
    generator = torch.Generator().manual_seed(12)
    tokens = torch.randint(VOCABULARY, (count, prod(shape)), generator=generator)
    return Samples(tokens, torch.arange(count) % classes, classes)


def synthetic_trainer(samples: Samples) -> Trainer:
    """Build a trainer of a small network for images or tokens, with fixed weights."""
    values = samples.images[0].numel()
    tail = (nn.Linear(values, 8), nn.ReLU(), nn.Linear(8, samples.classes))
    first = [nn.Flatten()] if samples.has_pixels else [nn.Embedding(VOCABULARY, 1), nn.Flatten()]
    model = nn.Sequential(*first, *tail)
    weights = torch.randn(
        sum(p.numel() for p in model.parameters()), generator=torch.Generator().manual_seed(13)
    )
    trainer = Trainer(model, LocalTraining(batch_size=16))
    trainer.load(0.05 * weights)
    return trainer


def synthetic_context(
    model: Tensor,
    previous: Tensor | None,
    server_round: int,
    trainer: Trainer,
    memory: MutableMapping[str, Tensor],
) -> ClientContext:
    """Build the context of one malicious client."""
    return ClientContext(
        generator=torch.Generator().manual_seed(server_round),
        poison_generator=torch.Generator().manual_seed(0),
        round=server_round,
        client_id=2,
        rank=1,
        size=3,
        model=model,
        previous_model=previous,
        layout=layout_of(trainer.model),
        memory=memory,
    )


def bitwise_equal(first: list[Tensor], second: list[Tensor]) -> bool:
    """Return whether the tensors have the same bits. NaN equals NaN."""
    return all(
        torch.equal(a, b) or torch.allclose(a, b, 0, 0, equal_nan=True)
        for a, b in zip(first, second, strict=True)
    )
