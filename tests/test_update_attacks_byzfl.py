"""Update attacks send what ByzFL, an independent implementation, sends.

ByzFL attacks gradients, this project updates; as formulas on the rows that they are given both read alike,
but for the sign in front of the standard deviation.
"""

from __future__ import annotations

import byzfl
import numpy as np
import pytest
from crafting import M, context, numpy_rule, one

from clients.alie import Alie, OptimalAlie
from clients.ipm import Ipm, OptimalIpm
from clients.mimic import Mimic
from clients.simple_updates import NonFiniteUpdate


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (Ipm(epsilon=1.0), byzfl.SignFlipping()),
        (Ipm(epsilon=2.0), byzfl.InnerProductManipulation(2.0)),
        (Alie(z=1.5, direction=1, correction=1), byzfl.ALittleIsEnough(1.5)),
        (Mimic(node=5), byzfl.Mimic(5)),
        (NonFiniteUpdate(value="inf"), byzfl.Inf()),
    ],
    ids=repr,
)
def test_byzfl_sends_the_same(honest, ours, theirs):
    # `alie` sees only what its own clients would send, unless a scenario lets it see more.
    own, seen = (honest[:M], honest) if not isinstance(ours, Alie) else (honest, None)
    sent = ours.craft(own, seen, context())[0]
    np.testing.assert_allclose(sent.numpy(), np.asarray(theirs(honest.numpy())), rtol=1e-5)


AGGREGATORS = {
    "average": byzfl.Average(),
    "krum": byzfl.Krum(M),
    "median": byzfl.Median(),
    "trimmed mean": byzfl.TrMean(M),
    "geometric median": byzfl.GeometricMedian(),
}


@pytest.mark.parametrize("rule", AGGREGATORS.values(), ids=list(AGGREGATORS))
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (OptimalIpm(), byzfl.Optimal_InnerProductManipulation),
        (OptimalAlie(direction=1, correction=1), byzfl.Optimal_ALittleIsEnough),
    ],
    ids=["ipm", "alie"],
)
def test_byzfl_finds_the_same_factor(own, honest, rule, ours, theirs):
    sent = ours.craft(own, honest, context(rule=numpy_rule(rule)))
    expected = theirs(agg=rule, pre_agg_list=[], f=M)(honest.numpy())
    np.testing.assert_allclose(one(sent), expected, rtol=1e-5)
