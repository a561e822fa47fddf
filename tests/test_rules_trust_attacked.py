"""The rules that trust, cluster and remember reject the attackers that each was made for."""

from __future__ import annotations

import torch
from linear_updates import D, backdoored, honest, inspected, normal, seeded

from strategies.afa import AFA
from strategies.auror import Auror
from strategies.clipped_clustering import ClippedClustering
from strategies.deepsight import DeepSight
from strategies.flame import Flame
from strategies.flanders import Flanders
from strategies.fldetector import FLDetector
from strategies.fltrust import FLTrust
from strategies.foolsgold import FoolsGold
from strategies.lasa import LASA
from strategies.rule import Context
from strategies.signguard import SignGuard
from strategies.slsgd import SLSGD


def accepted(result, attackers):
    """Return the trust of the last rows, and the share of the others that got any."""
    split = len(result.trust) - attackers
    return float(result.trust[split:].sum()), float((result.trust[:split] > 0).double().mean())


def test_foolsgold_starves_sybils():
    rows = torch.cat([normal(10, D), normal(1, D, seed=7) + 0.05 * normal(5, D, seed=8)])
    sybils, others = accepted(FoolsGold()(rows), 5)
    assert sybils < 0.01
    assert others == 1


def test_fltrust_rejects_sign_flips():
    rows = torch.cat([honest(10), -honest(6, seed=4)])
    flipped, others = accepted(FLTrust()(rows, None, Context(root_update=lambda: honest(1, seed=5)[0])), 6)
    assert (flipped, others) == (0, 1)


def test_flame_rejects_a_far_cluster_and_keeps_a_majority():
    rows = torch.cat([honest(14), honest(6, seed=4) - 2])
    far, others = accepted(Flame()(rows, None, Context(generator=seeded())), 6)
    assert far == 0
    assert others >= 11 / 14


def test_signguard_rejects_sign_flips_and_huge_norms():
    rows = torch.cat([honest(14, d=1000), -honest(4, d=1000, seed=4), 50 * honest(2, d=1000, seed=6)])
    bad, others = accepted(SignGuard()(rows, None, Context(generator=seeded())), 6)
    assert bad == 0
    assert others > 0.6


def test_clipped_clustering_rejects_the_smaller_cluster():
    rows = torch.cat([honest(12), 10 * normal(1, D, seed=7) + 0.1 * normal(8, D, seed=8)])
    assert accepted(ClippedClustering()(rows), 8) == (0, 1)


def test_deepsight_rejects_updates_of_few_neurons():
    bad, others = accepted(DeepSight(images=100)(backdoored(16, 5), None, inspected()), 5)
    assert bad == 0
    assert others > 0.8


def test_auror_rejects_who_keeps_standing_apart():
    rows = torch.cat([honest(12), honest(5, seed=4) - 2])
    assert accepted(Auror()(rows), 5) == (0, 1)


def test_lasa_rejects_in_the_poisoned_layer_alone():
    rows = honest(16, d=200)
    rows[12:, :100] *= -3
    layout = (("first", torch.Size([100])), ("second", torch.Size([100])))
    result = LASA()(rows, None, Context(layout=layout))
    bad, others = accepted(result, 4)
    assert others == 1
    assert 0 < bad <= 0.5 * 4 / 12
    clean = LASA()(rows[:, :100], None, Context())
    assert accepted(clean, 4)[0] == 0


def played(rule, attack=None, *, attackers=4, n=16, turns=20):
    """Return the last round of clients that walk to their optima on a common quadratic."""
    matrix = normal(D, D, seed=4)
    hessian = matrix @ matrix.T / D
    optimum, model, state = 0.3 * normal(n, D, seed=6), normal(D, seed=5), {}
    for number in range(1, turns + 1):
        rows = 0.1 * (optimum - model) @ hessian + 0.002 * normal(n, D, seed=100 + number)
        if attack is not None:
            rows[n - attackers :] = attack(rows[n - attackers :], number)
        context = Context(
            round=number, nodes=tuple(range(n)), model=model, state=state, generator=seeded(number)
        )
        result = rule(rows, None, context)
        state, model = result.state, model + result.update
    return result


def test_fldetector_finds_inconsistent_clients_and_lets_consistent_ones_be():
    def inconsistent(rows, number):
        return rows + 0.3 * rows.norm() / D**0.5 * normal(*rows.shape, seed=number)

    assert accepted(played(FLDetector(window=5), inconsistent), 4) == (0, 1)
    assert bool((played(FLDetector(window=30), inconsistent).trust > 0).all())  # nobody is judged yet
    assert float((played(FLDetector(window=5)).trust > 0).double().mean()) > 0.6


def test_flanders_rejects_noise_once_it_has_a_past():
    def noise(rows, number):
        return 3 * normal(*rows.shape, seed=number)

    assert accepted(played(Flanders(byzantine=4), noise, turns=1), 4)[0] > 0
    assert accepted(played(Flanders(byzantine=4), noise, turns=6), 4) == (0, 1)


def test_afa_blocks_for_good():
    state = {}
    for number in range(1, 8):
        rows = torch.cat([honest(12, seed=number), -honest(1, seed=50 + number)])
        state = AFA()(rows, None, Context(round=number, state=state)).state
    reformed, others = accepted(AFA()(honest(13, seed=70), None, Context(round=8, state=state)), 1)
    assert reformed == 0
    assert others > 0.7
    assert bool(AFA()(honest(13, seed=70)).trust[-1] > 0)


def test_slsgd_bounds_what_outliers_do():
    rows = torch.cat([honest(9), torch.full((2, D), 1e6, dtype=torch.float64)])
    assert float(SLSGD(byzantine=2)(rows).update.abs().max()) < 3
