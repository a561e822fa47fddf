"""The rules on coordinates and nearest updates stand as many attackers as they promise, and no more."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from drawn_updates import attacked

from strategies.bulyan import Bulyan
from strategies.fedavg import FedAvg
from strategies.krum import Krum
from strategies.median import Median
from strategies.multi_krum import MultiKrum
from strategies.robust_learning_rate import RobustLearningRate
from strategies.sign_majority import SignMajority
from strategies.trimmed_mean import MeanAroundMedian, Phocas, TrimmedMean

STEADY = [Krum, MultiKrum, Median, TrimmedMean, MeanAroundMedian, Phocas, Bulyan]


@pytest.mark.parametrize("strength", [5.0, -1e3, 1e12])
@pytest.mark.parametrize("kind", STEADY)
def test_as_many_as_are_tolerated_do_not_get_far(kind, strength):
    for f in (1, 2, 3):
        rule = kind() if kind is Median else kind(byzantine=f)
        n = 2 * f + 1 if kind is Median else rule.minimum
        for seed in range(5):
            rows, honest = attacked(n, f, strength, seed)
            spread = honest.amax(dim=0) - honest.amin(dim=0)
            off = (rule(rows).update - honest.mean(dim=0)).abs()
            assert (off <= 2 * spread + 1e-9).all()


@pytest.mark.parametrize("kind", STEADY)
def test_a_majority_moves_the_result_anywhere(kind):
    rule = kind() if kind is Median else kind(byzantine=2)
    for strength in (1e3, -1e6):
        rows, _ = attacked(11, 6, strength)
        assert (rule(rows).update.sign() == np.sign(strength)).all()
        assert (rule(rows).update.abs() > abs(strength) / 20).all()


def test_one_client_moves_the_mean_anywhere():
    rows, _ = attacked(11, 1, 1e6)
    assert (FedAvg()(rows).update > 1e4).all()


def test_a_minority_neither_turns_a_clear_vote_nor_lengthens_the_step():
    rows = torch.full((9, 4), 0.5)
    rows[:4] = -1e9
    torch.testing.assert_close(SignMajority()(rows).update, torch.full((4,), 0.5))
    rows[:5] = -1e9
    torch.testing.assert_close(SignMajority()(rows).update, torch.full((4,), -1e9))


def test_the_robust_learning_rate_turns_back_what_few_push():
    rows = torch.zeros(10, 2)
    rows[:, 0] = 1.0
    rows[0, 1] = 10.0
    result = RobustLearningRate()(rows)
    torch.testing.assert_close(result.update, torch.tensor([1.0, -1.0]))
    assert result.trust[0] == result.trust[1]
