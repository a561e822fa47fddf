"""Adaptive mimicry copies the honest client that the rule trusts most."""

import numpy as np
import pytest
import torch
from crafting import D, H, M, context, drawn, one
from oracles import update_attacks as oracles

from clients.attacks.updates.adaptive_mimic import AdaptiveMimic
from strategies.rules.fedavg import FedAvg
from strategies.rules.krum import Krum

ROUNDS = [
    ((4, 5, 6, 7), (0.1, 0.4, 0.4, 0.1)),  # a tie: the farther one
    ((4, 5, 6, 7), (0.1, 0.4, 0.4, 0.1)),  # the same one
    ((5, 6, 9), (0.2, 0.1, 0.7)),  # a new client, whose first weight is its score
    ((4, 5, 6), (1.0, 0.0, 0.0)),
    ((4, 5, 6, 9), (0.0, 0.9, 0.0, 0.0)),
]


def trusting(honest, trust):
    """Return the trust of a rule, which is largest in the malicious clients. They come first."""

    def weights(updates):
        assert torch.equal(updates[M:], honest)
        return torch.tensor([9.0] * M + list(trust), dtype=torch.float64)

    return weights


@pytest.mark.parametrize("rate", [0.1, 0.5, 1.0])
def test_the_client_with_the_best_running_average_of_trust_is_copied(own, rate):
    rounds = [
        (drawn(len(ids), D, seed=seed), ids, trust) for seed, (ids, trust) in enumerate(ROUNDS, start=30)
    ]
    targets = oracles.most_trusted([(honest.numpy(), *rest) for honest, *rest in rounds], rate)
    assert len(set(targets)) > 1
    attack, memory, attackers = AdaptiveMimic(rate=rate), {}, tuple(range(M))
    for (honest, client_ids, trust), target in zip(rounds, targets, strict=True):
        given = context(
            trust=trusting(honest, trust), memory=memory, client_ids=attackers, group_client_ids=attackers,
            seen_client_ids=client_ids, round_client_ids=(*attackers, *client_ids), clients=M + len(honest),
        )  # fmt: skip
        np.testing.assert_array_equal(one(attack.craft(own, honest, given)), honest[target])


def test_krums_pick_among_the_honest_is_copied_and_picked_again(own, honest):
    rule = Krum(byzantine=M)
    sent = AdaptiveMimic().craft(own + 5, honest, context(trust=lambda updates: rule(updates).trust))
    pick = int(rule(torch.cat([own + 5, honest])).trust.argmax())
    np.testing.assert_array_equal(one(sent), honest[pick - M])
    assert torch.equal(rule(torch.cat([sent, honest])).update, sent[0])


def test_of_clients_with_equal_trust_the_farthest_is_copied_in_every_round(own, honest):
    attack, memory = AdaptiveMimic(), {}
    far = honest.clone()
    far[5] += 9
    for rows in (far, honest):
        given = context(trust=lambda updates: FedAvg()(updates).trust, memory=memory)
        np.testing.assert_array_equal(one(attack.craft(own, rows, given)), rows[5])


def test_by_distance_the_scores_are_those_of_the_library_and_sample_the_client(own):
    rounds = [drawn(H, D, seed=seed) * torch.arange(1, H + 1)[:, None] for seed in (1, 2, 3)]
    expected = oracles.scores_by_distance([honest.numpy() for honest in rounds], 0.4)
    attack, memory = AdaptiveMimic(follow="distance", rate=0.4), {}
    for honest, after in zip(rounds, expected[1:], strict=True):
        attack.craft(own, honest, context(trust=pytest.fail, memory=memory))
        np.testing.assert_allclose(memory["scores"], after)
    counts = np.zeros(H)
    for seed in range(400):
        given = context(trust=pytest.fail, memory=dict(memory), seed=seed)
        counts += (attack.craft(own, rounds[0], given)[0] == rounds[0]).all(dim=1).numpy()
    np.testing.assert_allclose(counts / 400, expected[-1], atol=0.07)


def test_without_an_honest_client_the_own_updates_are_sent(own):
    given = context(trust=pytest.fail, clients=M)
    assert torch.equal(AdaptiveMimic().craft(own, None, given), own)
