"""What a card may claim about the columns of a matrix of updates, for who tries the rule on fewer of them."""

from __future__ import annotations

from dataclasses import replace

import torch

from fedpoison.errors import ensure
from strategies.examined import close, examined
from strategies.rule import AggregationRule as Rule
from strategies.trial import SyntheticRounds


def check_columns(rule: Rule, rounds: SyntheticRounds) -> None:
    """Check that the rule turns along with its updates, or treats coordinates one by one, if it says so."""
    card = rule.card
    if not (card.rotation_equivariant or card.coordinate_wise):
        return
    usual = rounds.play(rule, examined)
    if card.rotation_equivariant:
        generator = torch.Generator().manual_seed(rounds.n)
        drawn = torch.randn(rounds.d, rounds.d, generator=generator, dtype=torch.float64)
        turn = torch.linalg.qr(drawn)[0].to(rounds.dtype)
        turned = rounds.play(rule, examined, change=lambda rows: rows @ turn)
        wanted = [replace(result, update=result.update @ turn) for result in usual]
        ensure(close(wanted, turned, rounds.dtype), rule, "does not turn along with its updates")
    if card.coordinate_wise:
        half = rounds.play(rule, examined, change=lambda rows: rows[..., ::2].contiguous())
        for result, part in zip(usual, half, strict=True):
            alike = torch.allclose(result.update[::2], part.update, rtol=1e-4, atol=1e-6)
            ensure(alike, rule, "does not treat each coordinate by itself")
