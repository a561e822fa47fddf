"""The rules on coordinates and nearest updates give what other libraries give, where both mean the same."""

from __future__ import annotations

import byzfl
import numpy as np
import pytest
import scipy.stats
import torch
from drawn_updates import drawn
from flwr.app import ArrayRecord, RecordDict
from flwr.serverapp.strategy.bulyan import aggregate_n_closest_weights
from flwr.serverapp.strategy.fedtrimmedavg import trim_mean
from flwr.serverapp.strategy.multikrum import select_multikrum

from strategies.bulyan import Bulyan
from strategies.fedavg import FedAvg
from strategies.krum import Krum
from strategies.median import Median
from strategies.multi_krum import MultiKrum
from strategies.trimmed_mean import MeanAroundMedian, TrimmedMean


@pytest.mark.parametrize("f", [0, 1, 3])
@pytest.mark.parametrize("n", [9, 12])
def test_byzfl_agrees(n, f):
    updates = drawn(n, 50)
    pairs = [
        (FedAvg(), byzfl.Average()),
        (Median(), byzfl.Median()),
        (TrimmedMean(byzantine=f), byzfl.TrMean(f=f)),
        (MeanAroundMedian(byzantine=f), byzfl.Meamed(f=f)),
        # ByzFL scores the n - f - 1 nearest, the paper n - f - 2.
        (Krum(byzantine=f, excluded=1), byzfl.Krum(f=f)),
        (MultiKrum(byzantine=f, excluded=1), byzfl.MultiKrum(f=f)),
    ]
    for rule, theirs in pairs:
        ours = rule(torch.from_numpy(updates)).update
        np.testing.assert_allclose(ours, theirs(updates), rtol=1e-5, err_msg=repr(rule))


@pytest.mark.parametrize("share", [0.0, 0.1, 0.25, 0.4])
def test_scipy_and_flower_agree_on_trimmed_means(share):
    # Both cut int(share n) values at each end, we the number that is tolerated.
    updates = drawn(12, 50)
    ours = TrimmedMean(byzantine=int(share * 12))(torch.from_numpy(updates)).update
    np.testing.assert_allclose(ours, scipy.stats.trim_mean(updates, share, axis=0), rtol=1e-5)
    np.testing.assert_allclose(ours, trim_mean(updates, share), rtol=1e-5)


@pytest.mark.parametrize("n", [1, 2, 9, 12])
def test_numpy_and_so_flower_agree_on_medians(n):
    updates = drawn(n, 50)
    ours = Median()(torch.from_numpy(updates)).update
    np.testing.assert_allclose(ours, np.median(updates, axis=0), rtol=1e-5)


def flower_selection(updates, f, count):
    contents = [RecordDict({"arrays": ArrayRecord([row])}) for row in updates]
    chosen = select_multikrum(contents, f, count)
    return np.stack([content["arrays"].to_numpy_ndarrays()[0] for content in chosen])


@pytest.mark.parametrize(("n", "f"), [(9, 0), (11, 1), (12, 2), (20, 4)])
def test_flower_agrees_on_krum_and_bulyan(n, f):
    # Flower weights the selected clients of Multi-Krum by their examples: all alike here. Its Bulyan selects
    # by one run of Krum, where the paper runs it once for each pick.
    updates = drawn(n, 50)
    rows = torch.from_numpy(updates)
    np.testing.assert_allclose(Krum(byzantine=f)(rows).update, flower_selection(updates, f, 1)[0], rtol=1e-5)
    several = flower_selection(updates, f, n - f).mean(axis=0)
    np.testing.assert_allclose(MultiKrum(byzantine=f)(rows).update, several, rtol=1e-5)
    selected = list(flower_selection(updates, f, n - 2 * f))
    wanted = aggregate_n_closest_weights(
        [np.median(selected, axis=0)], [[row] for row in selected], n - 4 * f
    )
    ours = Bulyan(byzantine=f, selection="one-shot")(rows).update
    np.testing.assert_allclose(ours, wanted[0], rtol=1e-5)
