"""Rules that train models on the server's data give what their papers say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from aggregating import close, normal, seeded
from oracles import server_training as oracles

from strategies.base import Context, InputError
from strategies.rules.masa import MASA
from strategies.synthetic import SyntheticRounds

ROUNDS = SyntheticRounds(n=9, dtype=torch.float64)


@pytest.mark.parametrize("changes", [{}, {"fusion": 1.0, "epochs": 2, "lr": 0.3, "clip": 0.5}])
@pytest.mark.parametrize("n", [8, 9])
def test_masa_is_the_authors(n, changes):
    rule = MASA(batch_size=4, **changes)
    rounds = SyntheticRounds(n=n, dtype=torch.float64)
    rows, weights, context = rounds.updates[0], rounds.weights, rounds.context()
    rows[0] *= 6
    result = rule(rows, weights, context)
    samples = context.root_images().double().numpy(), context.root_labels().numpy()
    generator = seeded(1)
    orders = [torch.randperm(len(samples[1]), generator=generator).numpy() for _ in range(rule.epochs)]
    update, kept = oracles.masa(
        rows.numpy(), (weights / weights.sum()).numpy(), rounds.model.numpy(), samples, orders,
        classes=rounds.classes, fusion=rule.fusion, size=4, lr=rule.lr, momentum=rule.momentum,
        clip=rule.clip, bound=rule.threshold,
    )  # fmt: skip
    close(result.update, update)
    assert ((result.trust > 0).numpy() == kept).all()
    assert 0 < kept.sum() < n


def trained(rounds, steps=60):
    """Return weights that classify the server's samples."""
    context, weights = rounds.context(), torch.zeros(rounds.d, dtype=torch.float64)
    for _ in range(steps):
        weights = weights - rounds.gradient(weights, context.root_images(), context.root_labels())[1]
    return weights


def test_masa_rejects_models_with_large_loss_and_keeps_the_others():
    context = replace(ROUNDS.context(), model=trained(ROUNDS))
    rows = 0.01 * normal(10, ROUNDS.d)
    rows[:2] += 2 * normal(ROUNDS.d, seed=4)
    trust = MASA()(rows, None, context).trust
    assert trust[:2].tolist() == [0, 0]
    assert trust[2:].tolist() == pytest.approx([1 / 8] * 8)
    assert bool((MASA(threshold=np.inf)(rows, None, context).trust > 0).all())


def test_masa_rejects_models_whose_loss_overflows():
    rows = torch.cat([0.01 * normal(5, ROUNDS.d), torch.full((1, ROUNDS.d), 1e308, dtype=torch.float64)])
    trust = MASA(fusion=1.0)(rows, None, ROUNDS.context()).trust
    assert trust.tolist() == pytest.approx([0.2] * 5 + [0])


@pytest.mark.parametrize(
    ("changes", "fault"),
    [({"gradient": None}, "got none to train"), ({"root_labels": None}, "root data: got none")],
)
def test_what_masa_lacks_is_named(changes, fault):
    with pytest.raises(InputError, match=fault):
        MASA()(ROUNDS.updates[0], None, replace(ROUNDS.context(), **changes))
    with pytest.raises(InputError, match="got none to train"):
        MASA()(ROUNDS.updates[0], None, Context())


@pytest.mark.parametrize("changes", [{"fusion": 0}, {"epochs": 0}, {"batch_size": 0}, {"momentum": 1}])
def test_masa_refuses_other_parameters(changes):
    with pytest.raises(ValueError, match=f"{next(iter(changes))}.*got"):
        MASA(**changes)
