"""The rules that select, weigh or clip whole updates give what papers say, and bear what they promise."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from aggregating import agree, attacked, drawn
from oracles import selection as oracles

from strategies import STRATEGIES
from strategies.base import Context, PreconditionError
from strategies.checks import check_rule
from strategies.rules.aksel import Aksel
from strategies.rules.caf import CAF
from strategies.rules.centered_clipping import CenteredClipping
from strategies.rules.cge import CGE
from strategies.rules.crfl import CRFL
from strategies.rules.dnc import DnC
from strategies.rules.gas import COLUMNWISE, GAS, bases
from strategies.rules.geometric_median import GeometricMedian
from strategies.rules.mda import MDA
from strategies.rules.monna import MoNNA
from strategies.rules.norm_clipping import NormClipping, WeakDP
from strategies.rules.smea import SMEA
from strategies.rules.spectral_filter import SpectralFilter


def cases(n, f):
    """Return rules and oracles that are defined for n updates of which f are tolerated."""
    for clip in (0.5, 2.0, 50.0):
        yield NormClipping(clip=clip), lambda x, clip=clip: oracles.norm_clipping(x, clip)
        yield WeakDP(clip=clip, noise=0.0), lambda x, clip=clip: oracles.norm_clipping(x, clip)
        yield CRFL(rho=clip, growth=0.0, noise=0.0), lambda x, clip=clip: oracles.crfl(x, clip, 0 * x[0])
        for iterations in (1, 2, 5):
            yield (
                CenteredClipping(tau=clip, iterations=iterations),
                lambda x, clip=clip, i=iterations: oracles.centered_clipping(x, clip, i, 0 * x[0]),
            )
    for iterations in (1, 3, 40):
        yield (
            GeometricMedian(nu=0.3, iterations=iterations, tolerance=0.0),
            lambda x, i=iterations: oracles.weiszfeld(x, [1.0] * n, 0.3, i, x.mean(axis=0)),
        )
    if n <= 2 * f:
        return
    yield MDA(byzantine=f), lambda x: oracles.mda(x, f)
    yield SMEA(byzantine=f), lambda x: oracles.smea(x, f)
    yield MoNNA(byzantine=f), lambda x: oracles.monna(x, f)
    yield MoNNA(byzantine=f, trusted=n - 1), lambda x: oracles.monna(x, f, n - 1)
    yield CGE(byzantine=f), lambda x: oracles.cge(x, f)
    yield Aksel(byzantine=f), lambda x: oracles.aksel(x, f)
    if n != 2:  # both are equally far from their median, but for the last bit
        yield Aksel(byzantine=f, keep="half"), lambda x: oracles.aksel(x, f, "half")
    yield CAF(byzantine=f), lambda x: oracles.caf(x, f)
    yield DnC(byzantine=f), lambda x: oracles.dnc(x, f, [range(x.shape[1])])
    for sigma in (1e-5, 0.3):
        yield SpectralFilter(byzantine=f, sigma=sigma), lambda x, s=sigma: oracles.spectral_filter(x, f, s)
    for block in (1, 2, 3):
        yield (
            SpectralFilter(byzantine=f, sigma=0.2, block=block),
            lambda x, b=block: oracles.spectral_filter(x, f, 0.2, block=b),
        )


@pytest.mark.parametrize("f", [0, 1, 2, 3])
@pytest.mark.parametrize(("n", "d"), [(1, 3), (2, 5), (4, 1), (5, 7), (8, 5), (11, 4)])
def test_rules_are_what_the_papers_say(n, d, f):
    for rule, oracle in cases(n, f):
        agree(rule, oracle, drawn(n, d))
        agree(rule, oracle, drawn(n, d).astype(np.float32).astype(float), torch.float32, 2e-3)


def test_every_rule_of_this_file_has_been_compared():
    compared = {type(rule) for rule, _ in cases(11, 3)} | {GAS}
    assert compared <= set(STRATEGIES.values())
    assert len(compared) == 14


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(("n", "f"), [(5, 2), (8, 1), (9, 3), (10, 4)])
def test_of_equals_the_first_client_wins(n, f, seed):
    for d in (1, 2):
        updates = drawn(n, d, seed, whole=True)
        for rule, oracle in (
            (MDA(byzantine=f), lambda x: oracles.mda(x, f)),
            (MoNNA(byzantine=f), lambda x: oracles.monna(x, f)),
            (CGE(byzantine=f), lambda x: oracles.cge(x, f)),
            (Aksel(byzantine=f), lambda x: oracles.aksel(x, f)),
        ):
            agree(rule, oracle, updates)
    equal = torch.ones(n, 3)
    kept = torch.arange(n) < n - f
    for kind in (MDA, SMEA, MoNNA, CGE, Aksel, DnC, GAS):
        torch.testing.assert_close(kind(byzantine=f)(equal).trust, kept.double() / (n - f))


@pytest.mark.parametrize("base", ["median", "trimmed-mean", "multi-krum", "geometric-median"])
def test_gas_scores_the_pieces(base):
    updates, f, d = drawn(9, 23, 4), 2, 23
    rows = torch.from_numpy(updates)
    rule = STRATEGIES[base](**({"byzantine": f} if "byzantine" in STRATEGIES[base].card.needs else {}))
    order = torch.randperm(d, generator=torch.Generator().manual_seed(5))
    pieces = [piece.tolist() for piece in order.chunk(4)]
    assert len(pieces) == 4
    context = Context(generator=torch.Generator().manual_seed(5))
    ours = GAS(byzantine=f, parts=4, base=base)(rows, None, context)
    update, trust = oracles.gas(updates, f, pieces, lambda x: [rule(torch.from_numpy(x)).update.numpy()])
    np.testing.assert_allclose(ours.update, update)
    np.testing.assert_allclose(ours.trust, trust)


def test_bases_that_look_at_one_coordinate_at_a_time_are_named():
    rows = torch.from_numpy(drawn(15, 24, 1))
    for base in bases():
        kind = STRATEGIES[base]
        rule = kind(byzantine=2) if "byzantine" in kind.card.needs else kind()
        pieced = torch.cat([rule(piece).update for piece in rows.chunk(8, dim=1)])
        assert torch.allclose(pieced, rule(rows).update) == (base in COLUMNWISE | {"fedavg"}), base


@pytest.mark.parametrize(
    "rule",
    [
        GAS(byzantine=1, base="multi-krum", parts=5),
        GAS(byzantine=1, base="geometric-median", parts=5),
        Aksel(byzantine=2, keep="half"),
        CenteredClipping(tau=0.5, iterations=3),
        CRFL(rho=30.0, noise=0.0),
        DnC(byzantine=2, iterations=3, sub_dimension=40, fraction=1.5),
        GeometricMedian(iterations=3, tolerance=0.0),
        SpectralFilter(byzantine=2, block=90),
        SpectralFilter(byzantine=2, block=3),
        WeakDP(clip=0.5, noise=0.0),
    ],
    ids=repr,
)
def test_the_laws_hold_for_other_settings(rule):
    check_rule(rule)


def test_the_spectral_filter_removes_nobody_within_the_authors_bound():
    rows = 1e-3 * torch.from_numpy(drawn(10, 20))
    assert torch.equal(SpectralFilter(byzantine=2)(rows).trust, torch.full((10,), 0.1, dtype=torch.float64))


def test_the_spectral_filter_decomposes_narrow_blocks_together(monkeypatch):
    calls, decompose = [], torch.linalg.eigh
    monkeypatch.setattr(torch.linalg, "eigh", lambda matrix: calls.append(len(matrix)) or decompose(matrix))
    result = SpectralFilter(byzantine=2, block=2)(torch.from_numpy(drawn(6, 9001)))
    assert calls[0] == 4501
    assert len(calls) <= 4
    assert float(result.trust.sum()) == pytest.approx(1)


def test_the_spectral_filter_removes_at_most_two_clients_per_tolerated_one():
    for f in (1, 2, 3):
        trust = SpectralFilter(byzantine=f)(torch.from_numpy(drawn(10, 20))).trust
        assert (trust == 0).sum() == 2 * f


def test_dnc_draws_new_coordinates_for_every_test():
    updates = drawn(9, 40, 2)
    generator = torch.Generator().manual_seed(8)
    draws = [torch.randperm(40, generator=generator)[:6].tolist() for _ in range(3)]
    rule = DnC(byzantine=1, iterations=3, sub_dimension=6, fraction=1.5)
    result = rule(torch.from_numpy(updates), None, Context(generator=torch.Generator().manual_seed(8)))
    np.testing.assert_allclose(result.trust, oracles.dnc(updates, 1, draws, 1.5)[1])
    assert DnC(byzantine=2, fraction=1.5).minimum == 5


def test_dnc_averages_who_survived_most_where_nobody_survived_all():
    rows = torch.zeros(3, 3)
    rows += 9 * torch.eye(3)
    rule = DnC(byzantine=1, iterations=9, sub_dimension=1)
    result = rule(rows, None, Context(generator=torch.Generator().manual_seed(0)))
    assert 0 < (result.trust > 0).sum() < 3
    torch.testing.assert_close(result.trust.sum().item(), 1.0)


def test_weights_weigh():
    updates, weights = drawn(6, 4), np.array([3.0, 1, 2, 9, 0, 5])
    rows, shares = torch.from_numpy(updates), torch.from_numpy(weights)
    clipped = oracles.norm_clipping(updates, 2.0, weights)[0]
    np.testing.assert_allclose(NormClipping(clip=2.0)(rows, shares).update, clipped)
    np.testing.assert_allclose(WeakDP(clip=2.0, noise=0.0)(rows, shares).update, clipped)
    middle, start = weights / weights.sum(), weights @ updates / weights.sum()
    wanted, trust = oracles.weiszfeld(updates, middle, 1e-6, 400, start)
    result = GeometricMedian()(rows, shares)
    np.testing.assert_allclose(result.update, wanted, atol=1e-6)
    np.testing.assert_allclose(result.trust, trust, atol=1e-6)
    assert result.trust[4] == 0


def test_noise_comes_from_the_rounds_stream_and_has_its_size():
    rows = torch.full((3, 20_000), 1e-4)

    def stream(seed):
        return Context(generator=torch.Generator().manual_seed(seed), model=torch.zeros(20_000))

    for noisy, silent in (
        (WeakDP(noise=0.5), WeakDP(noise=0.0)),
        (CRFL(noise=0.5), CRFL(noise=0.0)),
    ):
        first = noisy(rows, None, stream(1)).update
        assert torch.equal(first, noisy(rows, None, stream(1)).update)
        assert not torch.equal(first, noisy(rows, None, stream(2)).update)
        noise = first - silent(rows, None, stream(1)).update
        assert abs(noise.std() - 0.5) < 0.01
        assert abs(noise.mean()) < 0.02


@pytest.mark.parametrize("server_round", [1, 40])
def test_crfl_clips_the_model(server_round):
    updates, model = drawn(5, 6), 10 * drawn(1, 6, 3)[0]
    context = Context(model=torch.from_numpy(model), round=server_round)
    result = CRFL(noise=0.0)(torch.from_numpy(updates), None, context)
    update, trust = oracles.crfl(updates, 2 + 0.1 * server_round, model)
    np.testing.assert_allclose(result.update, update)
    np.testing.assert_allclose(result.trust, trust)
    np.testing.assert_allclose((result.update + context.model).norm(), 2 + 0.1 * server_round)


def test_the_trusted_client_is_a_node():
    updates = drawn(7, 3)
    client_ids = (4, 9, 12, 30, 31, 40, 77)
    rows = torch.from_numpy(updates)
    result = MoNNA(byzantine=3, trusted=30)(rows, None, Context(client_ids=client_ids))
    np.testing.assert_allclose(result.trust, oracles.monna(updates, 3, 3)[1])
    with pytest.raises(PreconditionError, match="no update of client 5"):
        MoNNA(byzantine=3, trusted=5)(rows, None, Context(client_ids=client_ids))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: MDA(byzantine=-1), "byzantine: got -1"),
        (lambda: MDA(steps=0), "steps: got 0"),
        (lambda: SMEA(subsets=0), "subsets: got 0"),
        (lambda: MoNNA(trusted=-2), "trusted: got -2"),
        (lambda: Aksel(keep="all"), "keep: got 'all', expected 'n-f' or 'half'"),
        (lambda: GeometricMedian(nu=0.0), "nu: got 0.0"),
        (lambda: GeometricMedian(start="middle"), "start: got 'middle', expected 'mean' or 'zero'"),
        (lambda: GeometricMedian(iterations=0), "iterations: got 0"),
        (lambda: GeometricMedian(tolerance=-1.0), "tolerance: got -1.0"),
        (lambda: CenteredClipping(tau=0.0), "tau: got 0.0"),
        (lambda: NormClipping(clip=float("nan")), "clip: got nan"),
        (lambda: WeakDP(noise=-1.0), "noise: got -1.0"),
        (lambda: CRFL(rho=0.0), "rho: got 0.0"),
        (lambda: DnC(sub_dimension=0), "sub_dimension: got 0"),
        (lambda: SpectralFilter(block=0), "block: got 0"),
        (lambda: GAS(base="gas"), "base: got 'gas', expected one of .*median"),
        (lambda: GAS(base="norm-clipping"), "base: got 'norm-clipping'"),
    ],
)
def test_impossible_settings_cannot_be_built(build, message):
    with pytest.raises(ValueError, match=message):
        build()


STEADY = [MDA, SMEA, MoNNA, Aksel, CAF, DnC, GAS, SpectralFilter, GeometricMedian]


def tolerating(kind, f):
    return kind(byzantine=f) if "byzantine" in kind.card.needs else kind()


@pytest.mark.parametrize("strength", [5.0, -1e3, 1e12])
@pytest.mark.parametrize("kind", STEADY)
def test_as_many_as_are_tolerated_do_not_get_far(kind, strength):
    for f in (1, 2, 3):
        for seed in range(3):
            rows, honest = attacked(2 * f + 1 if kind not in FILTERS else 3 * f + 1, f, strength, seed)
            spread = (honest - honest.mean(dim=0)).norm(dim=1).max()
            off = (tolerating(kind, f)(rows).update - honest.mean(dim=0)).norm()
            assert off <= 5 * spread, (kind, f, seed)


FILTERS = {CAF, SpectralFilter, DnC}
"""Rules whose papers need more honest clients than just a majority to bound the error by a small constant."""


@pytest.mark.parametrize("strength", [1e3, -1e6])
@pytest.mark.parametrize("kind", STEADY)
def test_a_majority_moves_the_result_anywhere(kind, strength):
    rows, _ = attacked(11, 8, strength)
    if kind is MoNNA:  # as long as it has taken the trusted client's place
        rows = rows.flip(0)
    update = tolerating(kind, 2)(rows).update
    assert (update.sign() == np.sign(strength)).all()
    assert (update.abs() > abs(strength) / 20).all()


def test_cge_keeps_nobody_longer_than_the_longest_honest_client():
    for strength in (3.0, 1e3, -1e12):
        rows, honest = attacked(9, 4, strength)
        assert CGE(byzantine=4)(rows).update.norm() <= honest.norm(dim=1).max()
    rows, _ = attacked(9, 5, 1e6)
    assert (CGE(byzantine=4)(rows).update > 1e5 / 6).any() or (CGE(byzantine=4)(rows).update.norm() > 1e5)


@pytest.mark.parametrize("strength", [1.0, -1e6, 1e12])
def test_clipping_bounds_what_one_client_can_do(strength):
    rows, honest = attacked(10, 1, strength)
    alone = torch.cat([honest, 0 * honest[:1]])
    for rule, bound in (
        (NormClipping(clip=2.0), 0.2),
        (WeakDP(clip=2.0), 0.2),
        (CenteredClipping(tau=2.0), 0.2),
        (CRFL(), 2 * 2.1),
    ):
        moved = (rule(rows).update - rule(alone).update).norm()
        assert moved <= bound + 1e-9, rule
    assert (NormClipping(clip=1e9)(rows).update - NormClipping(clip=1e9)(alone).update).norm() >= min(
        abs(strength), 1e9
    ) / 10
