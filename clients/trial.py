"""Synthetic clients on which `check_attack` runs an attack."""

from __future__ import annotations

from collections.abc import MutableMapping
from copy import deepcopy
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from clients.attack import Attack, ClientContext, CraftContext, Knowledge
from clients.knowledge import crafted
from clients.parameters import layout_of
from clients.samples import Samples
from clients.training import LocalTraining, Trainer

ROUNDS = 3


@dataclass(kw_only=True)
class SyntheticClients:
    """Malicious and honest clients with random updates, on which an attack runs for a few rounds."""

    m: int = 3
    h: int = 6
    d: int = 24
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

    def untouched(self) -> bool:
        """Return whether all of it is still as it was drawn."""
        return all(map(same, (self.own, self.honest, self.models), self._kept))

    def play(self, attack: Attack, knowledge: Knowledge | None = None) -> list[Tensor]:
        """Return what the malicious clients send in each round, (m, d) each."""
        memories: dict[tuple[Attack, int | None], dict[str, Tensor]] = {}
        nodes = tuple(range(self.m))

        def play_round(index: int) -> Tensor:
            def context_of(part: Attack, node: int | None) -> CraftContext:
                seed = 100 * index + (99 if node is None else node)
                return CraftContext(
                    generator=torch.Generator().manual_seed(seed),
                    round=index + 1,
                    nodes=nodes if node is None else (node,),
                    seen_nodes=tuple(range(self.m, self.m + self.h)),
                    clients=self.m + self.h,
                    malicious=self.m,
                    model=self.models[index],
                    previous_model=self.models[index - 1] if index else None,
                    initial_model=self.models[0],
                    layout=(("weight", torch.Size([self.d - 4])), ("bias", torch.Size([4]))),
                    rule=lambda updates: self.rule_sign * updates.median(dim=0).values,
                    tolerated=self.tolerated,
                    memory=memories.setdefault((part, node), {}),
                )

            return crafted(
                attack, self.own[index], self.honest[index], context_of, nodes=nodes, knowledge=knowledge
            )

        return [play_round(index) for index in range(ROUNDS)]


def synthetic_samples(count: int, classes: int, shape: tuple[int, int, int]) -> Samples:
    """Return random images, normalised, with every class among the labels."""
    generator = torch.Generator().manual_seed(11)
    images = torch.rand((count, *shape), generator=generator)
    channels = shape[0]
    empty = Samples(
        images, torch.arange(count) % classes, classes, mean=(0.1,) * channels, std=(0.3,) * channels
    )
    return empty.with_pixels(images)


def synthetic_trainer(classes: int, shape: tuple[int, int, int]) -> Trainer:
    """Return a trainer of a small network with fixed weights."""
    pixels = shape[0] * shape[1] * shape[2]
    model = nn.Sequential(nn.Flatten(), nn.Linear(pixels, 8), nn.ReLU(), nn.Linear(8, classes))
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
    """Return the context of one malicious client."""
    return ClientContext(
        generator=torch.Generator().manual_seed(server_round),
        poison_generator=torch.Generator().manual_seed(0),
        round=server_round,
        node=2,
        rank=1,
        size=3,
        model=model,
        previous_model=previous,
        layout=layout_of(trainer.model),
        memory=memory,
    )


def same(first: list[Tensor], second: list[Tensor]) -> bool:
    """Return whether the tensors agree bit for bit, NaN with NaN."""
    return all(
        torch.equal(a, b) or torch.allclose(a, b, 0, 0, equal_nan=True)
        for a, b in zip(first, second, strict=True)
    )
