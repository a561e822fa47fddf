"""A backdoor whose trigger is a sequence of tokens, such as the words of a sentence."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from clients.attacks.base import (
    Attack,
    AttackCard,
    AttackGoal,
    AttackSetting,
    ClientContext,
    check_class,
)
from clients.attacks.data.backdoor import LARGEST_TRIGGER
from clients.bounds import Share
from clients.training import Samples, Trainer
from clients.training.samples import random_mask


@dataclass(frozen=True, kw_only=True)
class TokenBackdoor(Attack):
    """Put a sequence of tokens into a share of the local samples and label them as `target`.

    Dai, Chen, Li, "A Backdoor Attack Against LSTM-Based Text Classification Systems", IEEE Access 2019. All
    samples have the same number of tokens. At the start or a random place, the tokens after the trigger move
    back, and the last ones are dropped. At the end, all tokens move forward, and the first ones are dropped.

    Raises:
        ValueError: `tokens` contains no token, or a text that is no number from 0.
    """

    target: int = 0
    share: Share = 0.5
    """Share of the local samples that carry the trigger."""
    tokens: int | str = "0 1 0"
    """Numbers of the trigger's tokens in the vocabulary, with spaces between them. Choose a sequence that
    samples do not have."""
    place: Literal["start", "end", "random"] = "random"
    """Place of the trigger. A random place differs by sample."""
    mode: Literal["insert", "replace"] = "insert"
    """Whether the trigger moves the other tokens, or replaces some."""

    card = AttackCard(
        paper="Dai et al., IEEE Access 2019",
        goal="make the model predict `target` for samples with the trigger, with all else unchanged",
        idle_when="share is 0",
        on_tokens=True,
        deviations="The paper inserts a sentence between two words of reviews, of which it poisons 1 to 3 %. "
        "Here the samples have a fixed length, so that tokens are dropped.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        words = str(self.tokens).split()
        if not words or not all(word.isdecimal() for word in words):
            raise ValueError(
                f"tokens: got {self.tokens!r}, expected numbers from 0 with spaces between them, as in 5 9 5."
            )

    def check(self, setting: AttackSetting) -> None:
        setting.require_tokens()
        length, covered = setting.samples.images.shape[1], len(self._trigger())
        if covered > LARGEST_TRIGGER * length:
            raise ValueError(
                f"tokens: got {covered}, and a sample has {length}, of which the trigger may cover at most "
                f"{LARGEST_TRIGGER:.0%}; choose fewer tokens."
            )
        some = setting.samples[torch.arange(1)]
        try:
            setting.trainer().predict(self.triggered(some).images)
        except IndexError:
            raise ValueError(
                f"tokens: got {self.tokens}, and the model does not know one of them; choose tokens of its "
                "vocabulary."
            ) from None

    def poison_data(self, samples: Samples, trainer: Trainer, context: ClientContext) -> Samples:
        mask = random_mask(len(samples), self.share, context.poison_generator)
        part = self._stamped(samples[mask], context.poison_generator)
        return samples.replaced(mask, part.with_labels(torch.full_like(part.labels, self.target)))

    def triggered(self, samples: Samples) -> Samples:
        """Return all samples with the trigger and their true labels."""
        return self._stamped(samples, torch.Generator().manual_seed(0))

    def goal(self, classes: int) -> AttackGoal | None:
        check_class("target", self.target, classes)
        return AttackGoal(target=self.target, trigger=self.triggered)

    def no_effect(self, clients: int, malicious: int) -> str | None:
        return "share is 0: no sample carries the trigger" if not self.share else None

    def _trigger(self) -> Tensor:
        return torch.tensor([int(word) for word in str(self.tokens).split()])

    def _stamped(self, samples: Samples, generator: torch.Generator) -> Samples:
        tokens, trigger = samples.images, self._trigger()
        count, length = tokens.shape
        last = length - len(trigger)  # last place at which the trigger fits
        if self.place == "random":
            starts = torch.randint(last + 1, (count,), generator=generator)
        else:
            starts = torch.full((count,), 0 if self.place == "start" else last)
        offset = torch.arange(length) - starts[:, None]  # position within the trigger, (m, t)
        inside = (offset >= 0) & (offset < len(trigger))
        moved = tokens
        if self.mode == "insert" and self.place == "end":
            moved = tokens.roll(-len(trigger), dims=1)
        elif self.mode == "insert":
            moved = torch.where(offset < 0, tokens, tokens.roll(len(trigger), dims=1))
        put = trigger.to(tokens)[offset.clamp(0, len(trigger) - 1)]
        return samples.with_tokens(torch.where(inside, put, moved))
