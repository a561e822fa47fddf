"""Rules with a memory follow their papers over several rounds, for any clients in any round."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from aggregating import CLASSES, LAYOUT, PIXELS, D, close, honest, normal, seeded
from oracles import memory as oracles

from strategies.base import Context
from strategies.rules.afa import AFA
from strategies.rules.clipped_clustering import ClippedClustering
from strategies.rules.flanders import Flanders
from strategies.rules.fldetector import FLDetector, hessian_product
from strategies.rules.foolsgold import FoolsGold

CASTS = [(0, 1, 2, 3, 4, 5, 6, 7), (9, 1, 0, 3, 8, 5), (7, 2, 9, 0, 1, 4, 3), (3, 2, 1, 0, 9, 8, 7, 6, 5)]
"""Who takes part in each round, and in which order."""


def rounds(play):
    """Let `play(round, nodes, rows, model)` take each round, and the model follow what it returns."""
    model = 3 * normal(D, seed=5)
    for number, client_ids in enumerate(CASTS, start=1):
        rows = honest(10, seed=number, drift=0.5 / number)[list(client_ids)]
        model = model + play(number, client_ids, rows, model)


def test_foolsgold_is_the_papers_over_several_rounds():
    rule, state, histories = FoolsGold(features="all"), {}, {}

    def play(number, client_ids, rows, model):
        nonlocal state
        rows = rows - rows.mean(dim=0)
        result = rule(rows, None, Context(round=number, client_ids=client_ids, state=state))
        for client_id, row in zip(client_ids, rows.numpy(), strict=True):
            histories[client_id] = histories.get(client_id, 0) + row
        rates = oracles.foolsgold(np.array([histories[client_id] for client_id in client_ids]))
        assert rates.max() > 0
        close(result.trust, rates / len(client_ids))
        close(result.update, rates @ rows.numpy() / len(client_ids))
        state = result.state
        return result.update

    rounds(play)
    assert state["nodes"].tolist() == list(range(10))


def test_foolsgold_remembers_the_output_layers_weights_alone():
    result = FoolsGold()(honest(5), None, Context(layout=LAYOUT))
    assert result.state["history"].shape == (5, CLASSES * PIXELS)


def test_clipped_clustering_is_the_papers_over_several_rounds():
    rule, state, norms = ClippedClustering(), {}, []

    def play(number, client_ids, rows, model):
        nonlocal state
        rows = rows.clone()
        rows[:2] *= -3
        result = rule(rows, None, Context(round=number, client_ids=client_ids, state=state))
        update, kept, sizes = oracles.clipped_clustering(rows.numpy(), norms)
        norms.extend(sizes)
        close(result.update, update)
        assert ((result.trust > 0).numpy() == kept).all()
        state = result.state
        return result.update

    rounds(play)


@pytest.mark.parametrize("m", [1, 3, 6])
def test_the_compact_form_is_the_one_updated_pair_by_pair(m):
    matrix = normal(D, D, seed=4)
    hessian = matrix @ matrix.T / D + torch.eye(D).double()
    steps, vector = normal(m, D, seed=6), normal(D, seed=7)
    changes = steps @ hessian
    got = hessian_product(steps, changes, vector)
    close(got, oracles.bfgs_product(steps.numpy(), changes.numpy(), vector.numpy()))
    close(hessian_product(steps, changes, steps[-1]), changes[-1])


def test_fldetector_is_the_papers_over_several_rounds():
    rule, state, oracle, found = FLDetector(window=2), {}, oracles.FLDetector(2), 0
    matrix = normal(D, D, seed=4)
    hessian = matrix @ matrix.T / D + torch.eye(D).double()
    optimum, model = 0.1 * normal(10, D, seed=6), normal(D, seed=5)
    casts = [*CASTS, *CASTS, range(10), range(10), range(10)]
    for number, client_ids in enumerate(map(tuple, casts), start=1):
        rows = 0.3 * (optimum[list(client_ids)] - model) @ hessian
        rows[[client_id in (2, 3) for client_id in client_ids]] *= 1 - 2 * (number % 2)
        context = Context(
            round=number, client_ids=client_ids, model=model, state=state, generator=seeded(number)
        )
        result = rule(rows, None, context)

        def samples(n, number=number):
            return torch.rand((10, n), generator=seeded(number), dtype=torch.float64).numpy()

        update, kept = oracle(rows.numpy(), client_ids, model.numpy(), samples)
        close(result.update, update)
        assert ((result.trust > 0).numpy() == kept).all()
        found += int((~kept).sum())
        state, model = result.state, model + 0.2 * result.update
    assert found


@pytest.mark.parametrize("window", [1, 2, 3])
def test_flanders_is_the_papers_over_several_rounds(window):
    rule, state, oracle = Flanders(byzantine=2, window=window, sampled=20, iterations=15), {}, None

    def play(number, client_ids, rows, model):
        nonlocal state, oracle
        context = Context(
            round=number,
            client_ids=client_ids,
            model=model,
            state=state,
            generator=None if state else seeded(),
        )
        result = rule(rows, None, context)
        oracle = oracle or oracles.Flanders(2, window, result.state["columns"].numpy(), 15, 1.0)
        update, kept = oracle(rows.numpy(), client_ids, model.numpy())
        close(result.update, update)
        assert result.trust.nonzero().flatten().tolist() == kept
        state = result.state
        return result.update

    rounds(play)


def test_afa_is_the_papers_over_several_rounds():
    rule, state, oracle, blocked = AFA(), {}, oracles.AFA(), 0
    examples = torch.arange(1.0, 11.0)
    for number, client_ids in enumerate(CASTS * 4, start=1):
        rows = honest(10, seed=number)[list(client_ids)]
        rows[[client_id == 1 for client_id in client_ids]] *= -1
        weights = examples[list(client_ids)]
        result = rule(rows, weights, Context(round=number, client_ids=client_ids, state=state))
        update, trust = oracle(rows.numpy(), client_ids, weights.numpy())
        close(result.update, update)
        close(result.trust, trust)
        state = result.state
        blocked += 1 in client_ids and trust[client_ids.index(1)] == 0
    assert blocked == 16
    assert state["bad"].tolist()[1] < 3 + 16  # once blocked it is not judged any more


REMEMBERING = [FoolsGold(), FLDetector(window=1), Flanders(byzantine=2, sampled=20), AFA()]


@pytest.mark.parametrize("rule", REMEMBERING, ids=repr)
def test_memory_is_by_node(rule):
    def run(orders):
        state, model, results = {}, normal(D, seed=5), []
        for number, order in enumerate(orders, start=1):
            rows = honest(8, seed=number, drift=0.5 / number)
            rows[1] *= -1
            context = Context(
                round=number,
                client_ids=tuple(20 + client_id for client_id in order),
                model=model,
                state=state,
                generator=seeded(number),
                layout=LAYOUT,
            )
            result = rule(rows[order], None, context)
            state, model = result.state, model + 0.01 * honest(1, seed=number)[0]
            results.append((result.update, result.trust[np.argsort(order)]))
        return results

    usual = [list(range(8))] * 5
    mixed = [[3, 1, 0, 2, 4, 5, 7, 6], [7, 6, 5, 4, 3, 2, 1, 0], *usual[:2], [4, 5, 6, 7, 0, 1, 2, 3]]
    for (update, trust), (other, trusted) in zip(run(usual), run(mixed), strict=True):
        torch.testing.assert_close(update, other)
        torch.testing.assert_close(trust, trusted)


def test_who_was_away_is_remembered():
    sybil = normal(1, D, seed=7)
    first = FoolsGold()(torch.cat([sybil, normal(3, D)]), None, Context(client_ids=(4, 5, 6, 7)))
    second = FoolsGold()(normal(3, D, seed=2), None, Context(client_ids=(5, 6, 7), state=first.state))
    rows = torch.cat([0.01 * sybil, normal(2, D, seed=3), sybil])
    third = FoolsGold()(rows, None, Context(client_ids=(4, 5, 6, 9), state=second.state))
    assert float(third.trust[0] + third.trust[3]) < 1e-6
    assert bool((third.trust[1:3] > 0).all())
