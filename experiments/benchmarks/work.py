"""Work of the engine benchmarks: equal federations, sizes and numbers of steps for every contender."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

from fedpoison.scenario.scenario import Scenario


@dataclass(frozen=True, kw_only=True)
class Work:
    """Kind of round."""

    title: str
    model: str
    clients: int
    """Honest clients."""
    samples: int
    """Training samples per client."""
    batch_size: int = 32
    steps: int = 0
    """Mini-batches per round; 0 means one epoch."""
    malicious: int = 0
    """Malicious clients, in addition to the honest clients."""
    block: int = 1
    """Rounds that are timed together, if one round is too short."""
    dataset: str = "mnist"

    @classmethod
    def from_fields(cls, fields: dict[str, Any]) -> Self:
        """Return the work with these fields, as `fields` gave them."""
        return cls(**fields)

    def fields(self) -> dict[str, Any]:
        """Return the fields as plain values."""
        return asdict(self)

    @property
    def everyone(self) -> int:
        """Number of clients, honest and malicious."""
        return self.clients + self.malicious

    @property
    def images(self) -> int:
        """Number of training images of the honest clients per round."""
        return self.clients * (self.steps * self.batch_size or self.samples)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an image."""
        return (1, 8, 8) if self.dataset == "digits" else (1, 28, 28)

    @property
    def one_step(self) -> bool:
        """Whether a round is a step of distributed SGD under attack instead of federated averaging."""
        return self.steps == 1

    def scenario(self, rounds: int, precision: Literal["fp32", "bf16"] = "fp32") -> Scenario:
        """Return the work as a scenario that is evaluated after every block of rounds."""
        attacked = {
            "malicious_count": self.malicious,
            "attack": "sign-flip",
            "strategy": "trimmed-mean",
            "momentum": 0.9,
            "persistent_momentum": True,
            "lr": 0.01,
        }
        return Scenario(
            dataset=self.dataset,
            model=self.model,
            clients=self.everyone,
            train_samples=self.everyone * self.samples,
            batch_size=self.batch_size,
            steps=self.steps,
            rounds=rounds,
            evaluate_every=self.block,
            precision=precision,
            **(attacked if self.one_step else {"malicious": 0.0}),
        )


WORKS = {
    "cnn": Work(title="100 clients x 600 images, `cnn`", model="cnn", clients=100, samples=600),
    "mcmahan": Work(
        title="100 clients x 600 images, `cnn-mcmahan`", model="cnn-mcmahan", clients=100, samples=600
    ),
    "one-step": Work(
        title="10 + 3 clients x 1 step, `cnn-byzfl`, trimmed mean",
        model="cnn-byzfl",
        clients=10,
        malicious=3,
        samples=4000,
        batch_size=25,
        steps=1,
        block=10,
    ),
    "one-step-25": Work(
        title="20 + 5 clients x 1 step, `cnn-byzfl`, trimmed mean",
        model="cnn-byzfl",
        clients=20,
        malicious=5,
        samples=2400,
        batch_size=25,
        steps=1,
        block=10,
    ),
    "thousand": Work(title="1,000 clients x 60 images, `cnn`", model="cnn", clients=1000, samples=60),
}
